"""Products of gathered rows as gathers of products: fewer of them where a table has fewer rows than are asked for.

A character model multiplies the embedded text, N rows of a table E of V, with the weights of a layer. Each row of E
needs that once, and so do the gradients, for which rows of one id are added first (S = sum of G's rows by id)::

    E[ids] W            = (E W)[ids]
    E[ids]^T G          = E^T S
    scatter_add(ids, G W) = S W

This comes after work has left loops, where the ids of a single step would often be too few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import ShapedArray, dtypes
from ..core.ops import creation, index, linalg, shape
from .accumulate import is_zero
from .graph import Graph, Node, Value
from .rules import made_by
from .simplify import Rule, Simplifier, by_name

_DEPTH = 32  # multiply-adds of an element of a product; fewer take less time than adding the element to its row


def gather_products(graph: Graph) -> Graph:
    """The graph with the rules of :data:`RULES` applied."""
    return _Gathered(graph, by_name(RULES)).run()


class _Gathered(Simplifier):
    """A simplifier that makes zeros once, so that equal sums of rows are seen to be equal."""

    def __init__(self, graph: Graph, rules: Any) -> None:
        super().__init__(graph, rules)
        self.zeros: dict[ShapedArray, Value] = {}

    def row_sums(self, ids: Value, rows: int, g: Value) -> Value:
        """[rows, H]: the sums of g's rows of one id; g: [*ids.shape, H]."""
        aval = ShapedArray((rows, g.shape[-1]), g.dtype)
        if aval not in self.zeros:
            self.zeros[aval] = zero = Value(aval)
            self.builder.graph.constants[zero] = creation.zeros(aval.shape, aval.dtype)
        return self.make(index.put_add, [self.zeros[aval], ids, g], aval)


def _rows_of(x: Any) -> tuple[Value, list[Node]]:
    """What x is a view of, and the views, the innermost first, that leave the last axis as it is."""
    views: list[Node] = []
    while node := made_by(x, shape.reshape, shape.permute):
        inner = node.operands[0]
        if not inner.shape or not x.shape or inner.shape[-1] != x.shape[-1]:
            break
        if node.op is shape.permute and node.params["axes"][-1] != len(x.shape) - 1:
            break
        views.append(node)
        x = inner
    return x, views[::-1]


def _gathered(x: Any) -> tuple[Node, list[Node]] | None:
    """The gather of rows of a matrix that x is a view of, and the views; None if there are too few ids."""
    base, views = _rows_of(x)
    node = made_by(base, index.take)
    if node is None:
        return None
    table, ids = node.operands
    if type(table) is not Value or len(table.shape) != 2 or not _fewer(table.shape[0], ids):
        return None
    return node, views


def _fewer(rows: int, ids: Value) -> bool:
    return 0 < rows * 2 <= ids.size


def _replayed(s: Simplifier, x: Value, views: Sequence[Node]) -> Value:
    """The same views of x, whose last axis may have another length."""
    for node in views:
        if node.op is shape.permute:
            full = tuple(x.shape[i] for i in node.params["axes"])
            x = s.make(shape.permute, [x], ShapedArray(full, x.dtype), **node.params)
        else:
            x = _reshaped(s, x, (*node.results[0].shape[:-1], x.shape[-1]))
    return x


def _undone(s: Simplifier, x: Value, views: Sequence[Node]) -> Value:
    """What :func:`_replayed` makes x of."""
    for node in reversed(views):
        if node.op is shape.permute:
            axes = node.params["axes"]
            back = tuple(axes.index(i) for i in range(len(axes)))
            x = s.make(shape.permute, [x], ShapedArray(tuple(x.shape[i] for i in back), x.dtype), axes=back)
        else:
            x = _reshaped(s, x, (*node.operands[0].shape[:-1], x.shape[-1]))
    return x


def _reshaped(s: Simplifier, x: Value, full: tuple[int, ...]) -> Value:
    return x if x.shape == full else s.make(shape.reshape, [x], ShapedArray(full, x.dtype), shape=full)


def _turned(s: Simplifier, x: Value) -> Value:
    return s.make(shape.permute, [x], ShapedArray(x.shape[::-1], x.dtype), axes=(1, 0))


def _sums_well(aval: ShapedArray) -> bool:
    """Whether many rows may be added in this dtype: products accumulate in a wider one where there are few bits."""
    return aval.dtype in (dtypes.float32, dtypes.float64)


# --- rules ------------------------------------------------------------------------------------------------------------


def product_of_rows(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    """E[ids] W = (E W)[ids]."""
    x, w = operands
    found = _gathered(x)
    if found is None or len(w.shape) != 2 or len(x.shape) < 2 or dtypes.kind(aval.dtype) != "f":
        return None
    take, views = found
    table, ids = take.operands
    products = s.make(linalg.matmul, [table, w], ShapedArray((table.shape[0], w.shape[1]), aval.dtype))
    rows = s.make(index.take, [products, ids], ShapedArray((*ids.shape, w.shape[1]), aval.dtype))
    return _replayed(s, rows, views)


def product_with_rows(s: _Gathered, operands: Any, params: Any, aval: Any) -> Any:
    """E[ids]^T G = E^T S, and G^T E[ids] = S^T E."""
    a, b = operands
    turned = made_by(a, shape.permute)
    if turned is None or len(a.shape) != 2 or len(b.shape) != 2 or not _sums_well(aval):
        return None
    for x, g, left in ((turned.operands[0], b, True), (b, turned.operands[0], False)):
        found = _gathered(x)
        if found is None or x.shape[1] < _DEPTH:
            continue
        take, views = found
        table, ids = take.operands
        sums = s.row_sums(ids, table.shape[0], _undone(s, g, views))
        pair = [_turned(s, table), sums] if left else [_turned(s, sums), table]
        return s.make(linalg.matmul, pair, aval)
    return None


def rows_of_product(s: _Gathered, operands: Any, params: Any, aval: Any) -> Any:
    """scatter_add(ids, G W) = S W, where nothing else needs G W."""
    zero, ids, update = operands
    if len(aval.shape) != 2 or not _fewer(aval.shape[0], ids) or not _sums_well(aval) or not is_zero(s.builder, zero):
        return None
    base, views = _rows_of(update)
    product = made_by(base, linalg.matmul)
    if product is None or any(s.uses.get(x, 0) > 1 for x in (base, *(node.results[0] for node in views))):
        return None
    g, w = product.operands
    # The sums are as wide as g: a narrow product of wide rows is the shorter way.
    if len(w.shape) != 2 or len(g.shape) < 2 or aval.shape[1] < _DEPTH:
        return None
    sums = s.row_sums(ids, aval.shape[0], _replayed(s, g, views))
    return s.make(linalg.matmul, [sums, w], aval)


RULES = (
    Rule("product of gathered rows", ("matmul",), product_of_rows),
    Rule("product with gathered rows (rounds)", ("matmul",), product_with_rows),
    Rule("scattered rows of a product (rounds)", ("put_add",), rows_of_product),
)
