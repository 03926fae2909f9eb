"""Reductions and scans."""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import ml_dtypes

from ..core import dtypes, errors, shortcut
from ..core.array import Array
from ..core.aval import broadcast_shapes, size_of
from ..core.device import as_array
from ..core.ops import elementwise, reduce
from ..core.ops import shape as shape_ops
from .manipulation import broadcast_to, canonical_axes, canonical_axis, concatenate, ravel

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "logsumexp",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
]


def _widened(x: Array, dtype: Any) -> Array:
    """Operand of sum and prod: in ``dtype``; by default small integers and booleans count in 64 bits."""
    if dtype is not None:
        return elementwise.cast(x, dtypes.canonical(dtype))
    if x.dtype.kind in "bi":
        return elementwise.cast(x, dtypes.default_int)
    return elementwise.cast(x, dtypes.uint64) if x.dtype.kind == "u" else x


@shortcut.of_one
def sum(x: Any, /, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Array:
    """Sum over axes.

    Args:
      x: [...]; integers and booleans add up in 64 bits.
      axis: an int, a tuple of ints, or None for all axes.
      dtype: of the sum.
      keepdims: keep the axes, with size 1.

    Returns:
      x.shape without ``axis``.

    Example:
      >>> import knet.numpy as knp
      >>> knp.sum(knp.ones((2, 3)), axis=0)
      Array([2., 2., 2.], dtype=float32)
    """
    x = as_array(x)
    return reduce.reduce_sum(_widened(x, dtype), axis=canonical_axes(axis, x.ndim, "sum"), keepdims=keepdims)


@shortcut.of_one
def prod(x: Any, /, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Array:
    """Product over axes; arguments as in :func:`sum`. The derivative is exact at zeros."""
    x = as_array(x)
    return reduce.reduce_prod(_widened(x, dtype), axis=canonical_axes(axis, x.ndim, "prod"), keepdims=keepdims)


@shortcut.of_one
def max(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Maximum over axes; NaN if one is NaN. Tied maxima share the derivative.

    Raises:
      ShapeError: an axis without elements.
    """
    x = as_array(x)
    return reduce.reduce_max(x, axis=canonical_axes(axis, x.ndim, "max"), keepdims=keepdims)


@shortcut.of_one
def min(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Minimum over axes; NaN if one is NaN. Tied minima share the derivative.

    Raises:
      ShapeError: an axis without elements.
    """
    x = as_array(x)
    return reduce.reduce_min(x, axis=canonical_axes(axis, x.ndim, "min"), keepdims=keepdims)


@shortcut.of_one
def mean(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Arithmetic mean over axes; integers give the default float. No elements give NaN.

    Returns:
      x.shape without ``axis``.
    """
    x = as_array(x)
    axes = canonical_axes(axis, x.ndim, "mean")
    x = elementwise.cast(x, dtypes.to_float(x.dtype))
    count = size_of([x.shape[i] for i in axes])
    return reduce.reduce_sum(x, axis=axes, keepdims=keepdims) * (1.0 / count if count else float("nan"))


@shortcut.of_one
def var(x: Any, /, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Variance over axes: sum(abs(x - mean(x)) ** 2) / (n - correction).

    Args:
      correction: 0 for the population's variance, 1 for the sample's.

    Returns:
      x.shape without ``axis``; NaN where n <= correction.
    """
    x = as_array(x)
    axes = canonical_axes(axis, x.ndim, "var")
    centred = x - mean(x, axes, keepdims=True)
    if centred.dtype.kind == "c":
        squared = elementwise.square(elementwise.real(centred)) + elementwise.square(elementwise.imag(centred))
    else:
        squared = elementwise.square(centred)
    count = size_of([x.shape[i] for i in axes]) - correction
    return reduce.reduce_sum(squared, axis=axes, keepdims=keepdims) * (1.0 / count if count > 0 else float("nan"))


@shortcut.of_one
def std(x: Any, /, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Standard deviation over axes: the root of :func:`var`."""
    return elementwise.sqrt(var(x, axis, correction=correction, keepdims=keepdims))


@shortcut.of_one
def any(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Whether any element over axes is true."""
    x = as_array(x)
    return reduce.reduce_any(x, axis=canonical_axes(axis, x.ndim, "any"), keepdims=keepdims)


@shortcut.of_one
def all(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Whether all elements over axes are true."""
    x = as_array(x)
    return reduce.reduce_all(x, axis=canonical_axes(axis, x.ndim, "all"), keepdims=keepdims)


@shortcut.of_one
def count_nonzero(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Number of elements over axes that are not zero, int64."""
    return sum(elementwise.not_equal(as_array(x), 0), axis, keepdims=keepdims)


@overload
def logsumexp(
    x: Any, /, axis: Any = None, *, b: Any = None, keepdims: bool = False, return_sign: Literal[False] = False
) -> Array: ...
@overload
def logsumexp(
    x: Any, /, axis: Any = None, *, b: Any = None, keepdims: bool = False, return_sign: Literal[True]
) -> tuple[Array, Array]: ...
def logsumexp(x: Any, /, axis: Any = None, *, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Any:
    """log(sum(b exp(x))) over axes, without overflow. Derivative: the softmax of x.

    Args:
      x: [...].
      b: weights of any sign that broadcast against x, 1 by default; where one is 0, x does not count. Differentiable.
      return_sign: return the logarithm of the sum's absolute value and the sum's sign. Otherwise the logarithm is NaN
        for a sum below 0.

    Raises:
      ShapeError: an axis without elements.
    """
    if b is not None or return_sign:
        return _weighted_logsumexp(x, 1.0 if b is None else b, axis, keepdims, return_sign)
    x = as_array(x)
    x = elementwise.cast(x, dtypes.to_float(x.dtype))
    return reduce.reduce_logsumexp(x, axis=canonical_axes(axis, x.ndim, "logsumexp"), keepdims=keepdims)


def _weighted_logsumexp(x: Any, b: Any, axis: Any, keepdims: bool, return_sign: bool) -> Any:
    x, b = elementwise.operands(x, b)
    x, b = (elementwise.cast(v, dtypes.to_float(v.dtype)) for v in (x, b))
    shape = broadcast_shapes(x.shape, b.shape)
    if shape is None:
        raise errors.broadcast("logsumexp", ("x", "b"), (x, b))
    x, b = broadcast_to(x, shape), broadcast_to(b, shape)
    axes = canonical_axes(axis, x.ndim, "logsumexp")
    none = elementwise.equal(b, 0)
    largest = elementwise.where(none, -math.inf, elementwise.stop_gradient(x))
    largest = reduce.reduce_max(largest, axis=axes, keepdims=True)
    largest = elementwise.where(elementwise.isfinite(largest), largest, 0.0)
    shifted = x - largest
    # A power that does not count stays finite, so that 0 times it is 0; the derivative by its weight is the power.
    limit = math.log(float(ml_dtypes.finfo(x.dtype).max)) - 1
    shifted = elementwise.where(none, elementwise.minimum(shifted, limit), shifted)
    total = reduce.reduce_sum(b * elementwise.exp(shifted), axis=axes, keepdims=keepdims)
    largest = largest if keepdims else shape_ops.reshape(largest, shape=total.shape)
    if return_sign:
        return elementwise.log(elementwise.abs(total)) + largest, elementwise.sign(total)
    return elementwise.log(total) + largest


def _arg(op: Any, x: Any, axis: int | None, keepdims: bool) -> Array:
    x = as_array(x)
    shape = x.shape
    if axis is None:
        y = op(ravel(x), axis=0)
        return shape_ops.reshape(y, shape=(1,) * len(shape)) if keepdims else y
    axis = canonical_axis(axis, x.ndim, op.name)
    y = op(x, axis=axis)
    return shape_ops.expand(y, (axis,)) if keepdims else y


@shortcut.of_one
def argmax(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Index of the first maximum along an axis (of all elements in row-major order by default), int64."""
    return _arg(reduce.argmax, x, axis, keepdims)


@shortcut.of_one
def argmin(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Index of the first minimum along an axis (of all elements in row-major order by default), int64."""
    return _arg(reduce.argmin, x, axis, keepdims)


def _scan(op: Any, x: Any, axis: int | None, dtype: Any, include_initial: bool, initial: float) -> Array:
    x = _widened(as_array(x), dtype)
    if axis is None:
        if x.ndim > 1:
            raise errors.argument(op.name, "axis", axis, f"x has {x.ndim} axes, name one", "give axis=, or ravel x")
        axis = 0
    axis = canonical_axis(axis, x.ndim, op.name)
    y = op(x, axis=axis)
    if not include_initial:
        return y
    from_shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    start = shape_ops.broadcast_to(as_array(initial), shape=from_shape)
    return shape_ops.concatenate(elementwise.cast(start, y.dtype), y, axis=axis)


@shortcut.of_one
def cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """Sums of the elements up to and including each; ``include_initial`` puts a 0 before them."""
    return _scan(reduce.cumulative_sum, x, axis, dtype, include_initial, 0.0)


@shortcut.of_one
def cumulative_prod(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """Products of the elements up to and including each; ``include_initial`` puts a 1 before them."""
    return _scan(reduce.cumulative_prod, x, axis, dtype, include_initial, 1.0)


@shortcut.of_one
def cumsum(x: Any, /, axis: int | None = None, *, dtype: Any = None) -> Array:
    """Cumulative sum along an axis (of all elements in row-major order by default)."""
    x = as_array(x)
    return cumulative_sum(ravel(x) if axis is None else x, axis=0 if axis is None else axis, dtype=dtype)


@shortcut.of_one
def cumprod(x: Any, /, axis: int | None = None, *, dtype: Any = None) -> Array:
    """Cumulative product along an axis (of all elements in row-major order by default)."""
    x = as_array(x)
    return cumulative_prod(ravel(x) if axis is None else x, axis=0 if axis is None else axis, dtype=dtype)


@shortcut.of_one
def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Array:
    """Differences of neighbours along an axis, x[i + 1] - x[i], taken n times; booleans differ where they are unequal.

    Args:
      x: [..., N, ...].
      prepend, append: joined to x before that; arrays, or numbers for one element.

    Returns:
      [..., N - n, ...], of N elements with those joined.
    """
    x = as_array(x)
    axis = canonical_axis(axis, x.ndim, "diff")
    if n < 0:
        raise errors.argument("diff", "n", n, "it is a number of times", "give n >= 0")
    if n == 0:
        return x
    one = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    parts = [x]
    if prepend is not None:
        parts.insert(0, _joined(x, prepend, one))
    if append is not None:
        parts.append(_joined(x, append, one))
    x = concatenate(parts, axis=axis) if len(parts) > 1 else x
    before = (slice(None),) * axis
    for _ in range(n):
        high, low = x[(*before, slice(1, None))], x[(*before, slice(None, -1))]
        x = elementwise.not_equal(high, low) if x.dtype.kind == "b" else elementwise.subtract(high, low)
    return x


def _joined(x: Array, part: Any, one: tuple[int, ...]) -> Array:
    part = elementwise.operands(x, part)[1]
    return part if part.ndim else broadcast_to(part, one)
