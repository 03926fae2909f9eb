"""Sums over the steps of a scan as one operation behind it: a carry that only ever adds to itself.

In the derivative of a loop such is the gradient of everything that is the same in all steps: weights, biases, tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core import ShapedArray
from ..core.ops import elementwise, index, linalg, reduce, shape
from .graph import Builder, Node, Value
from .loop import Carried, Loop, needed_for

Total = Callable[[Builder], Value]  # appends what computes the sum over all steps


def is_sum(loop: Loop, carried: Carried) -> bool:
    """Whether the body does nothing with a value of the carry but add to it."""
    return _terms(carried.out, carried.inner, _uses(loop)) is not None and _uses(loop).get(carried.inner) == 1


def hoist_sums(loop: Loop, builder: Builder) -> list[Callable[[], None]]:
    """Take terms out of the carry that can be summed behind the loop; the functions returned do so, once it stands."""
    finish = []
    # Products first: what they stack costs the sums over it nothing more.
    for pattern in (_product, _rows, _reduction):
        for c in list(loop.carry):
            uses = _uses(loop)
            terms = _terms(c.out, c.inner, uses) if uses.get(c.inner) == 1 else None
            if not terms:
                continue
            totals = [pattern(loop, term) for term in terms]
            if any(total is not None for total in totals):
                rest = [term for term, total in zip(terms, totals) if total is None]
                finish.append(_finisher(loop, builder, c, [t for t in totals if t is not None], rest))
    return finish


def _finisher(loop: Loop, builder: Builder, c: Carried, totals: Sequence[Total], rest: Sequence[Value]) -> Any:
    result, aval = c.result, c.inner.aval
    start: Any = c.start
    if rest:
        c.result = start = Value(aval)
        out = c.inner
        for term in rest:
            node = Node(elementwise.add, [out, term], {}, [aval])
            loop.nodes.append(node)
            out = node.results[0]
        c.out = out
    else:
        loop.carry.remove(c)
    loop.nodes = needed_for(loop.nodes, loop.outputs)

    def finish() -> None:
        total = builder.operand(start)
        if is_zero(builder, total):
            total = None
        for make in totals:
            y = make(builder)
            total = y if total is None else builder.add(elementwise.add, [total, y], {}, [aval]).results[0]
        builder.replaced[result] = total

    return finish


def is_zero(builder: Builder, x: Any) -> bool:
    """Whether a value of a new graph is a constant of zeros."""
    array = builder.graph.constants.get(x)
    if array is None:
        return False
    host = array._host("a constant")
    first = tuple(slice(0, 1) if step == 0 else slice(None) for step in host.strides)
    return not host[first].any()


def _uses(loop: Loop) -> dict[Value, int]:
    counts: dict[Value, int] = {}
    for x in (*(x for node in loop.nodes for x in node.values), *loop.outputs):
        counts[x] = counts.get(x, 0) + 1
    return counts


def _terms(out: Any, inner: Value, uses: dict[Value, int]) -> list[Value] | None:
    """What is added to ``inner`` to make ``out``, or None if something else happens to it."""
    terms: list[Value] = []
    while out is not inner:
        node = out.node
        if node is None or node.op is not elementwise.add or uses.get(out) != 1:
            return None
        a, b = node.operands
        if type(a) is not Value or type(b) is not Value or a.aval != inner.aval or b.aval != inner.aval:
            return None
        if _leads_to(a, inner):
            a, b = b, a
        terms += _parts(a, inner.aval, uses)
        out = b
    return terms


def _leads_to(x: Value, inner: Value) -> bool:
    while x is not inner:
        if x.node is None or x.node.op is not elementwise.add:
            return False
        a, b = x.node.operands
        if type(a) is Value and _leads_to(a, inner):
            return True
        if type(b) is not Value:
            return False
        x = b
    return True


def _parts(x: Value, aval: ShapedArray, uses: dict[Value, int]) -> list[Value]:
    """The terms of a sum that nothing else uses."""
    node = x.node
    if node is not None and node.op is elementwise.add and uses.get(x) == 1:
        a, b = node.operands
        if type(a) is Value and type(b) is Value and a.aval == aval == b.aval:
            return [*_parts(a, aval, uses), *_parts(b, aval, uses)]
    return [x]


# --- terms, each to its sum over all steps ----------------------------------------------------------------------------


def _through_views(loop: Loop, term: Value, pattern: Callable[[Loop, Value], Total | None]) -> Total | None:
    """A view of a sum is the sum of views."""
    node = term.node
    if node is None or node.op not in (shape.reshape, shape.permute):
        return None
    inside = pattern(loop, node.operands[0])
    if inside is None:
        return None
    return lambda builder: builder.add(node.op, [inside(builder)], node.params, [term.aval]).results[0]


def _product(loop: Loop, term: Value) -> Total | None:
    """sum_t a_t b_t = [a_0 a_1 ...] [b_0; b_1; ...], one product along time and the axis that each contracts.

    Leading axes over which the products are summed as well are contracted with it.
    """
    node = term.node
    if node is None or any(x in loop.consts or x in loop.constants for x in node.values):
        return _through_views(loop, term, _product)
    axes: tuple[int, ...] = ()
    if node.op is reduce.reduce_sum and not node.params["keepdims"]:
        axes = node.params["axis"]
        node = node.operands[0].node
        if node is None:
            return None
    if node.op is not linalg.matmul:
        return _through_views(loop, term, _product)
    a, b = node.operands
    lead = a.shape[:-2]
    if b.shape[:-2] != lead or axes != tuple(range(len(lead))):
        return None
    left, right = _rows_of(loop, a, -1), _rows_of(loop, b, -2)

    def total(builder: Builder) -> Value:
        x, y = left(builder), right(builder)
        x = builder.add(shape.permute, [x], {"axes": (1, 0)}, [ShapedArray(x.shape[::-1], x.dtype)]).results[0]
        return builder.add(linalg.matmul, [x, y], {}, [term.aval]).results[0]

    return total


def _rows_of(loop: Loop, x: Value, axis: int) -> Total:
    """[T * leading * K, N] of matrices [leading, K, N] in every step, where K stands at ``axis``."""
    swapped = axis == -1
    node = x.node
    if node is not None and node.op is shape.permute:
        axes, n = node.params["axes"], len(x.shape)
        if axes == (*range(n - 2), n - 1, n - 2):  # a transposed matrix is what it was before: no copy is needed
            x, swapped = node.operands[0], not swapped
    stacked = loop.emit(x)

    def rows(builder: Builder) -> Value:
        y = builder.operand(stacked)
        if swapped:
            n = len(y.shape)
            order = (*range(n - 2), n - 1, n - 2)
            aval = ShapedArray(tuple(y.shape[i] for i in order), y.dtype)
            y = builder.add(shape.permute, [y], {"axes": order}, [aval]).results[0]
        flat = (y.size // y.shape[-1] if y.shape[-1] else 0, y.shape[-1])
        return builder.add(shape.reshape, [y], {"shape": flat}, [ShapedArray(flat, y.dtype)]).results[0]

    return rows


def _rows(loop: Loop, term: Value) -> Total | None:
    """Rows added to a table of zeros in each step are added to it at once."""
    node = term.node
    if node is None or node.op is not index.put_add:
        return _through_views(loop, term, _rows)
    table, ids, update = node.operands
    if table not in loop.constants or any(x in loop.consts or x in loop.constants for x in (ids, update)):
        return None
    array = loop.constants[table]
    if array._host("a constant")[tuple(slice(0, 1) if s == 0 else slice(None) for s in array._host("").strides)].any():
        return None
    ids, update = loop.emit(ids), loop.emit(update)

    def total(builder: Builder) -> Value:
        builder.graph.constants[table] = array
        return builder.add(
            index.put_add, [table, builder.operand(ids), builder.operand(update)], {}, [term.aval]
        ).results[0]

    return total


def _reduction(loop: Loop, term: Value) -> Total | None:
    """Sums over axes of what is stacked anyway."""
    node = term.node
    if node is None or node.op is not reduce.reduce_sum:
        return _through_views(loop, term, _reduction)
    (x,) = node.operands
    if not loop.stacks(x):
        return None
    stacked, keepdims = loop.emit(x), node.params["keepdims"]
    axis = (0, *(i + 1 for i in node.params["axis"]))

    def total(builder: Builder) -> Value:
        shape_ = tuple(n for i, n in enumerate((1, *x.shape)) if i not in axis)
        y = builder.add(
            reduce.reduce_sum, [builder.operand(stacked)], {"axis": axis, "keepdims": False},
            [ShapedArray(shape_, term.dtype)],
        ).results[0]  # fmt: skip
        return builder.add(shape.reshape, [y], {"shape": term.shape}, [term.aval]).results[0] if keepdims else y

    return total
