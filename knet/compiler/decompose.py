"""Operations taken apart into elementwise ones and plain reductions, which fuse with what stands around them."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from ..core import ShapedArray, dtypes
from ..core.ops import elementwise, reduce, shape
from .graph import Builder, Graph, Node, Value


def decompose(graph: Graph, widened: Container[str] | None = None) -> Graph:
    """The graph without the operations for which ``_RULES`` has another form.

    Args:
      widened: operations that a backend cannot do on half types; all that ``WIDENED`` names by default.
    """
    builder = Builder(graph)
    for node in graph.nodes:
        name = getattr(node.op, "name", "")
        rule = _RULES.get(name)
        if rule is None and name in (WIDENED if widened is None else widened):
            rule = _widened
        result = rule(builder, node, builder.operands(node)) if rule is not None else None
        if result is None:
            builder.copy(node)
        else:
            builder.replaced[node.results[0]] = result
    return builder.finish()


def _logsumexp(builder: Builder, node: Node, operands: Any) -> Value | None:
    (x,), axis, keepdims = operands, node.params["axis"], node.params["keepdims"]
    if dtypes.kind(x.dtype) != "f":
        return None
    if x.dtype.itemsize < 4:
        return _widened(builder, node, operands, _logsumexp)
    if all(x.shape[i] == 1 for i in axis):
        return _reduction(builder, node, operands)
    row = ShapedArray(tuple(1 if i in axis else n for i, n in enumerate(x.shape)), x.dtype)

    def add(op: Any, *xs: Any, aval: ShapedArray = row, **params: Any) -> Value:
        return builder.add(op, xs, params, [aval]).results[0]

    top = add(reduce.reduce_max, x, axis=axis, keepdims=True)
    finite = add(elementwise.isfinite, top, aval=ShapedArray(row.shape, dtypes.bool_))
    # All -inf, or an inf: the sum of exponentials is 0 or inf then, not NaN.
    top = add(elementwise.where, finite, top, 0.0)
    shifted = add(elementwise.subtract, x, top, aval=x.aval)
    total = add(reduce.reduce_sum, add(elementwise.exp, shifted, aval=x.aval), axis=axis, keepdims=True)
    y = add(elementwise.add, add(elementwise.log, total), top)
    return y if keepdims else add(shape.reshape, y, aval=node.results[0].aval, shape=node.results[0].shape)


def _reduction(builder: Builder, node: Node, operands: Any) -> Value | None:
    """A reduction along axes of size 1 takes nothing together: a view."""
    (x,), y = operands, node.results[0].aval
    if x.dtype != y.dtype or any(x.shape[i] != 1 for i in node.params["axis"]):
        return None
    return builder.add(shape.reshape, [x], {"shape": y.shape}, [y]).results[0]


def _truth(op: Any) -> Callable[[Builder, Node, Any], Value | None]:
    """Any is the maximum of truth values, all the minimum."""

    def rule(builder: Builder, node: Node, operands: Any) -> Value | None:
        (x,) = operands
        if dtypes.kind(x.dtype) == "c":
            return None
        if x.dtype != dtypes.bool_:
            aval = ShapedArray(x.shape, dtypes.bool_)
            x = builder.add(elementwise.not_equal, [x, 0], {}, [aval]).results[0]
        if all(x.shape[i] == 1 for i in node.params["axis"]):
            return _reduction(builder, node, [x])
        return builder.add(op, [x], node.params, [node.results[0].aval]).results[0]

    return rule


def _widened(builder: Builder, node: Node, operands: Any, rule: Any = None) -> Value | None:
    """An operation on half types in float32, its result rounded: products and sums accumulate in float32 anyway.

    ``rule`` takes the operation apart further.
    """
    half = {dtypes.float16, dtypes.bfloat16}
    if not any(x.dtype in half for x in operands):
        return None

    def cast(x: Value, dtype: Any) -> Value:
        return builder.add(elementwise._cast, [x], {"dtype": dtype}, [ShapedArray(x.shape, dtype)]).results[0]

    wide = [cast(x, dtypes.float32) if x.dtype in half else x for x in operands]
    aval = node.results[0].aval
    dtype = dtypes.float32 if aval.dtype in half else aval.dtype
    results = [ShapedArray(aval.shape, dtype)]
    if rule is None:
        y = builder.add(node.op, wide, node.params, results).results[0]
    else:
        y = rule(builder, Node(node.op, wide, node.params, results), wide)
    return y if y.dtype == aval.dtype else cast(y, aval.dtype)


# What kernels rather do in float32, with sums of many terms.
WIDENED = (
    "matmul", "conv", "conv_input_grad", "conv_weight_grad", "max_pool", "avg_pool", "avg_pool_grad",
    "argmax", "argmin", "cumulative_sum", "cumulative_prod",
)  # fmt: skip
_RULES: dict[str, Callable[[Builder, Node, Any], Value | None]] = {
    "logsumexp": _logsumexp,
    "reduce_any": _truth(reduce.reduce_max),
    "reduce_all": _truth(reduce.reduce_min),
    **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min"), _reduction),
}
TAKEN_APART = frozenset(_RULES)
