"""Rules of algebra on graphs; simplify.py has the table of them, and says how they are called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from ..core import ShapedArray, dtypes
from ..core.ops import elementwise as ew
from ..core.ops import linalg, reduce, shape
from .graph import Value

if TYPE_CHECKING:
    from .simplify import Simplifier


def made_by(x: Any, *ops: Any) -> Any:
    """The node that makes x, if it is one of these operations."""
    return x.node if type(x) is Value and x.node is not None and x.node.op in ops else None


def is_number(x: Any) -> bool:
    """Whether an operand is a Python number."""
    return type(x) is not Value


def same(x: Any, aval: ShapedArray) -> Any:
    """x where it is an array of this very shape and dtype."""
    return x if type(x) is Value and x.aval == aval else None


def without_broadcasts(s: Simplifier, op: Any, operands: Sequence[Any], aval: ShapedArray) -> Any:
    """Elementwise operations broadcast by themselves."""
    slim = [n.operands[0] if (n := made_by(x, shape.broadcast_to)) else x for x in operands]
    for i, x in enumerate(operands):
        if slim[i] is not x:
            shapes = [y.shape for y in slim if type(y) is Value]
            if np.broadcast_shapes(*shapes) == aval.shape:
                return s.make(op, slim, aval)
            slim[i] = x  # this one gives the result its shape
    return None


# --- shapes -----------------------------------------------------------------------------------------------------------


def reshape(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    (x,) = operands
    if x.aval == aval:
        return x
    inner = made_by(x, shape.reshape)
    return s.make(shape.reshape, inner.operands, aval, **params) if inner else None


def permute(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    (x,), axes = operands, params["axes"]
    if axes == tuple(range(len(axes))):
        return x
    if inner := made_by(x, shape.permute):
        total = tuple(inner.params["axes"][i] for i in axes)
        return s.make(shape.permute, inner.operands, aval, axes=total)
    # An axis of size 1 has no place in memory: moving it is a reshape, which costs nothing.
    moved = [i for i in axes if x.shape[i] != 1]
    if moved == sorted(moved):
        return s.make(shape.reshape, [x], aval, shape=aval.shape)
    return None


def transposed_product(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    product = made_by(operands[0], linalg.matmul)
    axes = params["axes"]
    swapped = (*range(len(axes) - 2), len(axes) - 1, len(axes) - 2)
    if product is None or axes != swapped or s.uses.get(operands[0], 0) > 1:
        return None
    a, b = product.operands
    if any(len(x.shape) != len(axes) for x in (a, b)) or not any(made_by(x, shape.permute) for x in (a, b)):
        return None
    flipped = [
        s.make(shape.permute, [x], ShapedArray(tuple(x.shape[i] for i in axes), x.dtype), axes=axes) for x in (b, a)
    ]
    return s.make(linalg.matmul, flipped, aval)


def product_with_vector(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    (x, w), given = operands, [v.shape for v in operands]
    shapes = [(1, *given[0])[-2:], (*given[1], 1)[:2]]
    matrices = [s.make(shape.reshape, [v], ShapedArray(n, v.dtype), shape=n) for v, n in zip((x, w), shapes)]
    y = s.make(linalg.matmul, matrices, ShapedArray((shapes[0][0], shapes[1][1]), aval.dtype))
    return s.make(shape.reshape, [y], aval, shape=aval.shape)


def broadcast_to(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    (x,) = operands
    if x.aval == aval:
        return x
    inner = made_by(x, shape.broadcast_to)
    return s.make(shape.broadcast_to, inner.operands, aval, **params) if inner else None


def pieces(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    """Sum of slices' cotangents, which lie side by side along one axis, as their concatenation."""
    found: list[Any] = []
    stack = list(operands)
    while stack:
        x = stack.pop()
        if inner := made_by(x, ew.add):
            stack += inner.operands
        elif (inner := made_by(x, shape.unslice)) and set(inner.params["steps"]) <= {1}:
            found.append((inner.params["starts"], inner.operands[0]))
        else:
            return None
    axes = {i for _, piece in found for i, n in enumerate(piece.shape) if n != aval.shape[i]}
    if len(axes) != 1:
        return None
    (axis,) = axes
    found.sort(key=lambda f: f[0][axis])
    end = 0
    for starts, piece in found:
        if starts[axis] != end or not piece.shape[axis]:
            return None
        end += piece.shape[axis]
    if end != aval.shape[axis]:
        return None
    return s.make(shape.concatenate, [piece for _, piece in found], aval, axis=axis)


# --- reductions -------------------------------------------------------------------------------------------------------

REDUCTIONS = (reduce.reduce_sum, reduce.reduce_max, reduce.reduce_min, reduce.reduce_prod)


def of_size_one(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    (x,) = operands
    if x.dtype == aval.dtype and all(x.shape[i] == 1 for i in params["axis"]):
        return s.make(shape.reshape, [x], aval, shape=aval.shape)
    return None


def whole(op: Any) -> Any:
    """A reduction of all elements does not mind their shape."""

    def rule(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
        inner = made_by(operands[0], shape.reshape)
        if inner is None or aval.shape != () or not inner.operands[0].shape:
            return None
        (x,) = inner.operands
        return s.make(op, [x], aval, axis=tuple(range(len(x.shape))), keepdims=False)

    return rule


def sum_of_broadcast(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    inner = made_by(operands[0], shape.broadcast_to)
    if inner is None:
        return None
    (x,), wide = inner.operands, operands[0].shape
    lead = len(wide) - len(x.shape)
    repeated = [i for i in params["axis"] if i < lead or x.shape[i - lead] == 1]
    count = math.prod(wide[i] for i in repeated)
    if len(repeated) != len(params["axis"]) or x.size != math.prod(aval.shape) or not _holds(x.dtype, count):
        return None
    y = s.make(shape.reshape, [x], aval, shape=aval.shape)
    return s.make(ew.multiply, [y, count], aval)


def _holds(dtype: Any, count: int) -> bool:
    """Whether a count is a number of this dtype, exactly."""
    if dtypes.kind(dtype) == "f":
        return 0 < count <= 2 ** (ml_dtypes.finfo(dtype).nmant + 1)
    return dtype.kind in "iu" and 0 < count <= np.iinfo(dtype).max


def below_maximum(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    """logsumexp of scores from which their maximum has been subtracted cannot overflow as it is written."""
    (x,) = operands
    difference = made_by(x, ew.subtract)
    top = made_by(difference.operands[1], reduce.reduce_max) if difference else None
    if top is None or top.operands[0] is not difference.operands[0] or x.dtype not in (dtypes.float32, dtypes.float64):
        return None
    if not top.params["keepdims"] or top.params["axis"] != params["axis"]:
        return None
    total = s.make(reduce.reduce_sum, [s.make(ew.exp, [x], x.aval)], aval, **params)
    return s.make(ew.log, [total], aval)


def softmax(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    difference = made_by(operands[0], ew.subtract)
    if difference is None or is_number(difference.operands[0]):
        return None
    x, y = difference.operands
    moved = made_by(y, shape.reshape)
    log = made_by(moved.operands[0] if moved else y, ew.log)
    total = made_by(log.operands[0], reduce.reduce_sum) if log else None
    e = made_by(total.operands[0], ew.exp) if total else None
    if e is None or e.operands[0] is not x:
        return None
    divisor = s.make(shape.reshape, [log.operands[0]], y.aval, shape=y.shape)
    return s.make(ew.divide, [e.results[0], divisor], aval)


# --- arithmetic -------------------------------------------------------------------------------------------------------


def times_one(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    x, y = operands
    if is_number(y) and y == 1:
        return same(x, aval)
    return same(y, aval) if is_number(x) and x == 1 else None


def right_one(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    x, y = operands
    return same(x, aval) if is_number(y) and y == 1 else None


def plus_zero(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    for x, y in (operands, operands[::-1]):
        # -0.0 + 0.0 is 0.0: of the two zeros only the negative one changes nothing.
        if is_number(y) and y == 0 and (aval.dtype.kind in "iu" or (isinstance(y, float) and math.copysign(1, y) < 0)):
            return same(x, aval)
    return None


def twice(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    x, y = operands
    if x is not y or is_number(x) or aval.dtype.kind == "b":
        return None
    return s.make(ew.multiply, [x, 2], aval)


def minus_zero(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    x, y = operands
    zero = is_number(y) and not isinstance(y, complex) and y == 0 and math.copysign(1, y) > 0
    return same(x, aval) if zero else None


def _factor(x: Any, aval: ShapedArray) -> Any:
    """(y, a) for x = y * a or y / (1 / a) with a Python number a; else None."""
    if node := made_by(x, ew.multiply):
        for y, a in (node.operands, node.operands[::-1]):
            if type(a) in (int, float) and type(y) is Value and y.dtype == aval.dtype:
                return y, float(a)
    if node := made_by(x, ew.divide):
        y, a = node.operands
        if type(a) in (int, float) and a and type(y) is Value and y.dtype == aval.dtype:
            return y, 1.0 / a
    return None


def _in_range(a: float, dtype: Any) -> bool:
    info = ml_dtypes.finfo(dtype)
    return float(info.smallest_normal) <= abs(a) <= float(info.max)


def numbers_together(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    if dtypes.kind(aval.dtype) != "f":
        return None
    for x, b in (operands, operands[::-1]):
        if type(b) in (int, float) and (found := _factor(x, aval)):
            y, a = found
            if y.shape == aval.shape and all(_in_range(n, aval.dtype) for n in (a, b, a * b)):
                return s.make(ew.multiply, [y, a * b], aval)
    return None


def divided_numbers_together(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    x, b = operands
    if type(b) not in (int, float) or not b or dtypes.kind(aval.dtype) != "f" or math.isinf(b):
        return None
    if math.frexp(b)[0] in (0.5, -0.5) and _in_range(1.0 / b, aval.dtype):  # a power of two: exact
        return s.make(ew.multiply, [x, 1.0 / b], aval)
    return numbers_together(s, [x, 1.0 / b], params, aval) if _factor(x, aval) else None


def double_negative(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    inner = made_by(operands[0], ew.negative)
    return inner.operands[0] if inner else None


def negative_of_product(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    inner = made_by(operands[0], ew.multiply, ew.divide)
    if inner is None or s.uses.get(operands[0], 0) > 1:
        return None
    for i, a in enumerate(inner.operands):
        if type(a) in (int, float) and a and aval.dtype.kind != "u":
            return s.make(inner.op, [-a if j == i else x for j, x in enumerate(inner.operands)], aval)
    return None


def product_with_negative(op: Any) -> Any:
    def rule(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
        x, y = operands
        nx, ny = made_by(x, ew.negative), made_by(y, ew.negative)
        if nx and ny:
            return s.make(op, [nx.operands[0], ny.operands[0]], aval)
        if nx and type(y) in (int, float) and y and aval.dtype.kind != "u":
            return s.make(op, [nx.operands[0], -y], aval)
        if ny and type(x) in (int, float) and x and aval.dtype.kind != "u":
            return s.make(op, [-x, ny.operands[0]], aval)
        return None

    return rule


def plus_negative(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    x, y = operands
    if aval.dtype.kind == "b":
        return None
    if n := made_by(y, ew.negative):
        return s.make(ew.subtract, [x, n.operands[0]], aval)
    if n := made_by(x, ew.negative):
        return s.make(ew.subtract, [y, n.operands[0]], aval)
    return None


def minus_negative(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    n = made_by(operands[1], ew.negative)
    return s.make(ew.add, [operands[0], n.operands[0]], aval) if n else None


def small_power(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    x, n = operands
    if is_number(x) or not is_number(n) or n not in (2, 3, 4) or dtypes.kind(aval.dtype) == "c":
        return None
    squared = s.make(ew.square, [x], aval)
    if n == 2:
        return squared
    return s.make(ew.multiply, [squared, x], aval) if n == 3 else s.make(ew.square, [squared], aval)


# --- conversion and selection -----------------------------------------------------------------------------------------


def identity(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    return same(operands[0], aval)


def of_real(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    return same(operands[0], aval) if dtypes.kind(aval.dtype) != "c" else None


def cast(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    (x,) = operands
    if x.aval == aval:
        return x
    inner = made_by(x, ew._cast)
    if inner and _lossless(inner.operands[0].dtype, x.dtype):
        return s.make(ew._cast, inner.operands, aval, **params)
    return None


def _lossless(a: Any, b: Any) -> bool:
    """Whether every value of dtype a is one of dtype b."""
    kinds = dtypes.kind(a), dtypes.kind(b)
    if kinds[0] == "b" or a == b:
        return True
    if kinds[0] in "iu":
        bits = a.itemsize * 8
        if kinds[1] in "iu":
            return bool(np.can_cast(a, b, "safe"))
        return kinds[1] == "f" and bits <= ml_dtypes.finfo(b).nmant + 1 and b != dtypes.float16
    if kinds == ("f", "f"):
        wide, slim = ml_dtypes.finfo(b), ml_dtypes.finfo(a)
        return bool(wide.nmant >= slim.nmant and wide.maxexp >= slim.maxexp and wide.minexp <= slim.minexp)
    return kinds == ("c", "c") and b.itemsize >= a.itemsize


def where(s: Simplifier, operands: Any, params: Any, aval: Any) -> Any:
    c, x, y = operands
    if type(x) is Value and x is y:
        return same(x, aval)
    if n := made_by(c, ew.logical_not, ew.bitwise_invert):
        if n.operands[0].dtype == dtypes.bool_:
            return s.make(ew.where, [n.operands[0], y, x], aval)
    for i, side in ((1, x), (2, y)):
        inner = made_by(side, ew.where)
        if inner and inner.operands[0] is c and (type(inner.operands[i]) is Value or type(operands[3 - i]) is Value):
            chosen = [c, x, y]
            chosen[i] = inner.operands[i]
            if np.broadcast_shapes(*(v.shape for v in chosen if type(v) is Value)) != aval.shape:
                continue
            return s.make(ew.where, chosen, aval)
    return None
