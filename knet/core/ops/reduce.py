"""Reductions and scans. ``axis`` is a canonical tuple of axes (an int for arg-reductions and scans)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import batching, dtypes, errors
from ..aval import Shape, ShapedArray, reduced_shape, size_of
from ..primitive import LINEAR, primitive
from . import creation, elementwise
from . import shape as shape_ops

Axes = tuple[int, ...]


def _aval(x: Any, *, axis: Axes, keepdims: bool) -> ShapedArray:
    return ShapedArray(reduced_shape(x.shape, axis, keepdims), x.dtype)


def _aval_nonempty(name: str) -> Any:
    def aval(x: Any, *, axis: Axes, keepdims: bool) -> ShapedArray:
        if x.dtype.kind == "c":
            raise errors.unsupported_dtype(name, ("x",), (x,), "real numbers")
        if any(x.shape[i] == 0 for i in axis):
            raise errors.empty_reduction(name, x.shape, axis)
        return _aval(x, axis=axis, keepdims=keepdims)

    return aval


def _bool_aval(x: Any, *, axis: Axes, keepdims: bool) -> ShapedArray:
    return ShapedArray(reduced_shape(x.shape, axis, keepdims), dtypes.bool_)


def restore(y: Any, axis: Axes, keepdims: bool) -> Any:
    """The result of a reduction with its axes put back as size 1, so that it broadcasts against the input."""
    return y if keepdims or not axis else shape_ops.expand(y, axis)


def wide(x: Any) -> Any:
    """Accumulator dtype: half types add up in float32."""
    return np.float32 if x.dtype.itemsize == 2 and dtypes.is_differentiable(x.dtype) else x.dtype


def _sum_vjp(g: Any, _y: Any, x_aval: Any, *, axis: Axes, keepdims: bool) -> Any:
    return shape_ops.broadcast_to(restore(g, axis, keepdims), shape=x_aval.shape)


@primitive(aval=_aval, vjp=(_sum_vjp,), jvp=LINEAR(), batch=batching.shifted(batching.next_axes))
def reduce_sum(x: Any, *, axis: Axes, keepdims: bool) -> Any:
    """Sum over axes, in x's dtype; half types accumulate in float32.

    x: [...]. Returns x.shape without ``axis``.

    Numerics: float32 is added up pairwise, or in blocks: seven digits of a mean stay right however long it is.
    """
    dtype = x.dtype
    if x.size >= LONG and axis and wide(x) == np.float32:
        return _add_rows(x, axis, keepdims)
    if dtype.itemsize > 2:
        return np.add.reduce(x, axis, dtype, None, keepdims)
    return np.add.reduce(x, axis, wide(x), None, keepdims).astype(dtype, copy=False)


LONG, BLOCK = 4096, 64  # terms


def _add_rows(x: Any, axis: Axes, keepdims: bool) -> Any:
    """Sum in float32, in blocks where NumPy would add ``LONG`` rows or more one after the other.

    NumPy adds pairwise along the axis that is contiguous in memory, and naively along others. There rows that are
    nearly equal are rounded the same way every time: three digits are left of a mean over 65536 of them.
    """
    contiguous = min((i for i, n in enumerate(x.shape) if n > 1), key=lambda i: abs(x.strides[i]))
    if contiguous in axis or size_of(tuple(x.shape[i] for i in axis)) < LONG:
        y = np.add.reduce(x, axis=axis, keepdims=keepdims, dtype=np.float32)
    else:
        y = x
        for i in axis:
            y = _add_along(y, i)
        y = y if keepdims else np.squeeze(y, axis)
    return y.astype(x.dtype, copy=False)


def _add_along(x: Any, i: int) -> Any:
    """Sum along one axis, kept as size 1: of blocks, then of their sums; what does not fill a block comes last."""
    before, after = (slice(None),) * i, x.shape[i + 1 :]
    total: Any = 0
    while x.shape[i] > BLOCK:
        whole = x.shape[i] // BLOCK * BLOCK
        total = total + np.add.reduce(x[(*before, slice(whole, None))], axis=i, keepdims=True, dtype=np.float32)
        blocks = x[(*before, slice(whole))].reshape(*x.shape[:i], whole // BLOCK, BLOCK, *after)
        x = np.add.reduce(blocks, axis=i + 1, dtype=np.float32)
    return np.add.reduce(x, axis=i, keepdims=True, dtype=np.float32) + total


def sum_to(c: Any, shape: Shape) -> Any:
    """c summed over the axes along which ``shape`` was broadcast to c's: the adjoint of broadcasting."""
    if c.shape == shape:
        return c
    lead = c.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(i for i, n in enumerate(shape, lead) if n == 1 and c.shape[i] != 1)
    if axes:
        c = reduce_sum(c, axis=axes, keepdims=False)
    return c if c.shape == shape else shape_ops.reshape(c, shape=shape)


def _extremum_vjp(g: Any, y: Any, x: Any, *, axis: Axes, keepdims: bool) -> Any:
    chosen = elementwise.equal(x, restore(y, axis, keepdims))
    count = reduce_sum(elementwise.cast(chosen, x.dtype), axis=axis, keepdims=True)
    return elementwise.where(chosen, restore(g, axis, keepdims) / count, 0.0)


@primitive(aval=_aval_nonempty("max"), vjp=(_extremum_vjp,), batch=batching.shifted(batching.next_axes))
def reduce_max(x: Any, *, axis: Axes, keepdims: bool) -> Any:
    """Maximum over axes; NaN if one is NaN. Ties share the cotangent.

    x: [...] real. Returns x.shape without ``axis``.
    """
    return np.maximum.reduce(x, axis=axis, keepdims=keepdims)


@primitive(aval=_aval_nonempty("min"), vjp=(_extremum_vjp,), batch=batching.shifted(batching.next_axes))
def reduce_min(x: Any, *, axis: Axes, keepdims: bool) -> Any:
    """Minimum over axes; NaN if one is NaN. Ties share the cotangent.

    x: [...] real. Returns x.shape without ``axis``.
    """
    return np.minimum.reduce(x, axis=axis, keepdims=keepdims)


def _prod_vjp(g: Any, _y: Any, x: Any, *, axis: Axes, keepdims: bool) -> Any:
    # The product of the others, from products before and after, never by division: exact at zeros, to any order.
    rest = tuple(i for i in range(x.ndim) if i not in axis)
    order = rest + axis
    moved = shape_ops.permute(x, axes=order)
    kept = tuple(x.shape[i] for i in rest)
    rows = shape_ops.reshape(moved, shape=(*kept, moved.size // max(1, size_of(kept))))
    last = rows.ndim - 1
    ones = creation.full((), 1, x.dtype, creation.device_of(x))
    before = shift(running_product(rows, last), 1, last, ones)
    after = shape_ops.flip(
        shift(running_product(shape_ops.flip(rows, axis=(last,)), last), 1, last, ones), axis=(last,)
    )
    others = shape_ops.reshape(before * after, shape=moved.shape)
    return restore(g, axis, keepdims) * shape_ops.permute(others, axes=shape_ops.inverse_permutation(order))


@primitive(aval=_aval, vjp=(_prod_vjp,), batch=batching.shifted(batching.next_axes))
def reduce_prod(x: Any, *, axis: Axes, keepdims: bool) -> Any:
    """Product over axes, in x's dtype; half types accumulate in float32.

    x: [...]. Returns x.shape without ``axis``.
    """
    return np.multiply.reduce(x, axis=axis, keepdims=keepdims, dtype=wide(x)).astype(x.dtype, copy=False)


def _logsumexp(x: Any, *, axis: Axes, keepdims: bool) -> Any:
    top = np.maximum.reduce(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)  # all -inf: the sum of exponentials is 0, not NaN
    total = np.add.reduce(np.exp(x - top), axis=axis, keepdims=True)
    with np.errstate(divide="ignore"):  # log 0 = -inf is the answer there
        y = np.log(total) + top
    return y if keepdims else y.squeeze(axis)


@primitive(
    "logsumexp",
    aval=_aval_nonempty("logsumexp"),
    vjp=(
        lambda g, y, x, *, axis, keepdims: restore(g, axis, keepdims) * elementwise.exp(x - restore(y, axis, keepdims)),
    ),
    batch=batching.shifted(batching.next_axes),
)
def reduce_logsumexp(x: Any, *, axis: Axes, keepdims: bool) -> Any:
    """log(sum(exp(x))) over axes, without overflow; -inf where all elements are -inf.

    x: [...] float. Returns x.shape without ``axis``. Derivative: the softmax of x.
    """
    if x.dtype.itemsize == 2:
        return _logsumexp(x.astype(np.float32), axis=axis, keepdims=keepdims).astype(x.dtype)
    return _logsumexp(x, axis=axis, keepdims=keepdims)


@primitive(aval=_bool_aval, vjp="a truth value has no derivative", batch=batching.shifted(batching.next_axes))
def reduce_any(x: Any, *, axis: Axes, keepdims: bool) -> Any:
    """Whether any element over axes is true.

    x: [...]. Returns bool, x.shape without ``axis``.
    """
    return np.any(x, axis=axis, keepdims=keepdims)


@primitive(aval=_bool_aval, vjp="a truth value has no derivative", batch=batching.shifted(batching.next_axes))
def reduce_all(x: Any, *, axis: Axes, keepdims: bool) -> Any:
    """Whether all elements over axes are true.

    x: [...]. Returns bool, x.shape without ``axis``.
    """
    return np.all(x, axis=axis, keepdims=keepdims)


def _arg_aval(name: str) -> Any:
    def aval(x: Any, *, axis: int) -> ShapedArray:
        if x.dtype.kind == "c":
            raise errors.unsupported_dtype(name, ("x",), (x,), "real numbers")
        if x.shape[axis] == 0:
            raise errors.empty_reduction(name, x.shape, axis)
        return ShapedArray(reduced_shape(x.shape, (axis,), False), dtypes.default_int)

    return aval


@primitive(aval=_arg_aval("argmax"), vjp="an index has no derivative", batch=batching.shifted(batching.next_axis))
def argmax(x: Any, *, axis: int) -> Any:
    """Index of the first maximum along an axis; the first NaN counts as the maximum.

    x: [...] real. Returns int64, x.shape without ``axis``.
    """
    return x.argmax(axis)


@primitive(aval=_arg_aval("argmin"), vjp="an index has no derivative", batch=batching.shifted(batching.next_axis))
def argmin(x: Any, *, axis: int) -> Any:
    """Index of the first minimum along an axis; the first NaN counts as the minimum.

    x: [...] real. Returns int64, x.shape without ``axis``.
    """
    return x.argmin(axis)


# --- scans ------------------------------------------------------------------------------------------------------------


def shift(x: Any, by: int, axis: int, fill: Any) -> Any:
    """x moved ``by`` places towards the end of an axis, with ``fill`` (a scalar array) coming in at its start."""
    by = min(by, x.shape[axis])
    zeros, ones = (0,) * x.ndim, (1,) * x.ndim
    head = shape_ops.broadcast_to(fill, shape=(*x.shape[:axis], by, *x.shape[axis + 1 :]))
    sizes = (*x.shape[:axis], x.shape[axis] - by, *x.shape[axis + 1 :])
    return shape_ops.concatenate(head, shape_ops.slice_axes(x, starts=zeros, sizes=sizes, steps=ones), axis=axis)


def running_product(x: Any, axis: int) -> Any:
    """Cumulative product by doubling (Hillis and Steele 1986), made of multiplications alone."""
    one = creation.full((), 1, x.dtype, creation.device_of(x))
    step = 1
    while step < x.shape[axis]:
        x = x * shift(x, step, axis, one)
        step *= 2
    return x


def _cumulative_prod_vjp(g: Any, y: Any, x: Any, *, axis: int) -> Any:
    # s[k] = g[k] + x[k+1] s[k+1] from the end, by doubling over pairs (a, b) of s -> b + a s; then dx[k] = s[k] y[k-1].
    one, zero = (creation.full((), v, x.dtype, creation.device_of(x)) for v in (1, 0))
    a = shift(shape_ops.flip(x, axis=(axis,)), 1, axis, zero)
    b = shape_ops.flip(g, axis=(axis,))
    step = 1
    while step < x.shape[axis]:
        b = b + a * shift(b, step, axis, zero)
        a = a * shift(a, step, axis, zero)
        step *= 2
    return shape_ops.flip(b, axis=(axis,)) * shift(y, 1, axis, one)


def _scan_aval(x: Any, *, axis: int) -> ShapedArray:
    return ShapedArray(x.shape, x.dtype)


@primitive(
    aval=_scan_aval,
    vjp=(
        lambda g, _y, _x, *, axis: shape_ops.flip(
            cumulative_sum(shape_ops.flip(g, axis=(axis,)), axis=axis), axis=(axis,)
        ),
    ),
    jvp=LINEAR(),
    batch=batching.shifted(batching.next_axis),
)
def cumulative_sum(x: Any, *, axis: int) -> Any:
    """Sums of the elements up to and including each, along an axis; half types accumulate in float32.

    x: [...]. Returns x.shape.
    """
    return np.add.accumulate(x, axis=axis, dtype=wide(x)).astype(x.dtype, copy=False)


@primitive(aval=_scan_aval, vjp=(_cumulative_prod_vjp,), batch=batching.shifted(batching.next_axis))
def cumulative_prod(x: Any, *, axis: int) -> Any:
    """Products of the elements up to and including each, along an axis; half types accumulate in float32.

    x: [...]. Returns x.shape.
    """
    return np.multiply.accumulate(x, axis=axis, dtype=wide(x)).astype(x.dtype, copy=False)
