"""Reductions that leave NaN out, and its replacement. Left-out elements have the derivative 0."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from ..core import dtypes
from ..core.array import Array
from ..core.device import as_array
from ..core.ops import elementwise, reduce
from . import statistics
from .manipulation import canonical_axes

__all__ = [
    "nan_to_num", "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmin", "nanprod",
    "nanstd", "nansum", "nanvar",
]  # fmt: skip


def _replaced(x: Any, value: float) -> tuple[Array, Array | None]:
    """x with another value for NaN, and where x is none; None where its dtype has no NaN."""
    x = as_array(x)
    if not dtypes.is_differentiable(x.dtype):
        return x, None
    missing = elementwise.isnan(x)
    return elementwise.where(missing, value, x), elementwise.logical_not(missing)


def nansum(x: Any, /, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Array:
    """Sum over axes of the elements that are not NaN; 0 where there are none."""
    return statistics.sum(_replaced(x, 0.0)[0], axis, dtype=dtype, keepdims=keepdims)


def nanprod(x: Any, /, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Array:
    """Product over axes of the elements that are not NaN; 1 where there are none."""
    return statistics.prod(_replaced(x, 1.0)[0], axis, dtype=dtype, keepdims=keepdims)


def _extremum(reduction: Any, worst: float, x: Any, axis: Any, keepdims: bool) -> Array:
    filled, valid = _replaced(x, worst)
    y = reduction(filled, axis, keepdims=keepdims)
    return y if valid is None else elementwise.where(statistics.any(valid, axis, keepdims=keepdims), y, np.nan)


def nanmax(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Maximum over axes of the elements that are not NaN; NaN where there are none. Ties share the derivative."""
    return _extremum(statistics.max, -np.inf, x, axis, keepdims)


def nanmin(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Minimum over axes of the elements that are not NaN; NaN where there are none. Ties share the derivative."""
    return _extremum(statistics.min, np.inf, x, axis, keepdims)


def _mean(total: Array, valid: Array, axes: tuple[int, ...], keepdims: bool, correction: float) -> Array:
    """total / (number of valid elements - correction); NaN where that is not positive."""
    count = reduce.reduce_sum(elementwise.cast(valid, dtypes.default_int), axis=axes, keepdims=keepdims)
    count = elementwise.cast(count, total.dtype) - correction
    some = elementwise.greater(count, 0)
    return elementwise.where(some, total / elementwise.where(some, count, 1.0), np.nan)


def nanmean(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Mean over axes of the elements that are not NaN; NaN where there are none."""
    filled, valid = _replaced(x, 0.0)
    if valid is None:
        return statistics.mean(filled, axis, keepdims=keepdims)
    axes = canonical_axes(axis, filled.ndim, "nanmean")
    return _mean(reduce.reduce_sum(filled, axis=axes, keepdims=keepdims), valid, axes, keepdims, 0.0)


def nanvar(x: Any, /, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Variance over axes of the elements that are not NaN: sum((x - mean) ** 2) / (number of them - correction).

    Args:
      correction: 0 for the population's variance, 1 for the sample's.

    Returns:
      x.shape without ``axis``; NaN where the number of elements does not exceed ``correction``.
    """
    filled, valid = _replaced(x, 0.0)
    if valid is None:
        return statistics.var(filled, axis, correction=correction, keepdims=keepdims)
    axes = canonical_axes(axis, filled.ndim, "nanvar")
    mean = _mean(reduce.reduce_sum(filled, axis=axes, keepdims=True), valid, axes, True, 0.0)
    squares = elementwise.square(elementwise.where(valid, filled - mean, 0.0))
    return _mean(reduce.reduce_sum(squares, axis=axes, keepdims=keepdims), valid, axes, keepdims, correction)


def nanstd(x: Any, /, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Standard deviation over axes of the elements that are not NaN: the root of :func:`nanvar`."""
    return elementwise.sqrt(nanvar(x, axis, correction=correction, keepdims=keepdims))


def nan_to_num(x: Any, /, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Array:
    """x with numbers in place of NaN, inf and -inf (the last two by default the dtype's largest and smallest)."""
    x = as_array(x)
    if not dtypes.is_differentiable(x.dtype):
        return x
    largest = float(ml_dtypes.finfo(x.dtype).max)
    x = elementwise.where(elementwise.isnan(x), nan, x)
    x = elementwise.where(elementwise.equal(x, np.inf), largest if posinf is None else posinf, x)
    return elementwise.where(elementwise.equal(x, -np.inf), -largest if neginf is None else neginf, x)


def nancumsum(x: Any, /, axis: int | None = None, *, dtype: Any = None) -> Array:
    """Cumulative sum along an axis (of all elements by default) in which NaN counts as 0."""
    return statistics.cumsum(_replaced(x, 0.0)[0], axis, dtype=dtype)


def nancumprod(x: Any, /, axis: int | None = None, *, dtype: Any = None) -> Array:
    """Cumulative product along an axis (of all elements by default) in which NaN counts as 1."""
    return statistics.cumprod(_replaced(x, 1.0)[0], axis, dtype=dtype)


def _place(find: Any, worst: float, x: Any, axis: int | None, keepdims: bool) -> Array:
    filled, valid = _replaced(x, worst)
    y = find(filled, axis, keepdims=keepdims)
    if valid is None:
        return y
    # Of the infinite elements the first may be one that was NaN: then it is the first that was not.
    first = statistics.argmax(valid, axis, keepdims=keepdims)
    extreme = elementwise.equal(filled, worst)
    plain = statistics.all(extreme, axis, keepdims=keepdims)
    found = statistics.any(valid, axis, keepdims=keepdims)
    return elementwise.where(found, elementwise.where(plain, first, y), -1)


def nanargmax(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Index of the first maximum of the elements that are not NaN, int64; -1 where there are none, as in JAX."""
    return _place(statistics.argmax, -np.inf, x, axis, keepdims)


def nanargmin(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Index of the first minimum of the elements that are not NaN, int64; -1 where there are none, as in JAX."""
    return _place(statistics.argmin, np.inf, x, axis, keepdims)
