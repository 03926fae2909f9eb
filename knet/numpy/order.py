"""Orders and what is made of them: sort, top_k, searchsorted, quantiles, cumulative extrema.

Places are computed first and have no derivative; the values are gathered from them, so a cotangent goes where its value
came from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dtypes, errors
from ..core.array import Array
from ..core.device import as_array
from ..core.ops import elementwise, reduce
from ..core.ops import shape as shape_ops
from ..core.ops import sort as ops
from .indexing import take, take_along_axis
from .manipulation import canonical_axes, canonical_axis, moveaxis, ravel, reshape

__all__ = [
    "argpartition",
    "cummax",
    "cummin",
    "cumulative_max",
    "cumulative_min",
    "digitize",
    "logcumsumexp",
    "median",
    "nanmedian",
    "nanpercentile",
    "nanquantile",
    "partition",
    "percentile",
    "quantile",
    "top_k",
]


def partition(x: Any, kth: int, /, *, axis: int | None = -1) -> Array:
    """x with element ``kth`` along the axis (None: of all elements) where sorting puts it, smaller ones before it and
    larger ones behind. Here the whole axis is sorted, which is one such order.
    """
    x = as_array(x)
    x, axis = (ravel(x), 0) if axis is None else (x, canonical_axis(axis, x.ndim, "partition"))
    return take_along_axis(x, argpartition(x, kth, axis=axis), axis=axis)


def argpartition(x: Any, kth: int, /, *, axis: int | None = -1) -> Array:
    """Indices that :func:`partition` an array, int64."""
    x = as_array(x)
    x, axis = (ravel(x), 0) if axis is None else (x, canonical_axis(axis, x.ndim, "argpartition"))
    if not -x.shape[axis] <= kth < x.shape[axis]:
        raise errors.shape_argument(
            "argpartition", "kth", kth, f"the axis has {x.shape[axis]} elements", "pass the place of one of them"
        )
    return ops.argsort(x, axis=axis)


def top_k(x: Any, k: int, /, *, axis: int = -1) -> tuple[Array, Array]:
    """The k largest elements along an axis, largest first; of equal ones the first.

    Args:
      x: [...] real; NaN counts as the largest.
      k: 0 <= k <= the size of the axis.

    Returns:
      values and int64 indices, both with k in place of the axis's size.

    Raises:
      ShapeError: fewer than k elements.

    Derivative: a value's cotangent goes to the element that it is.

    Example:
      >>> import knet.numpy as knp
      >>> knp.top_k(knp.asarray([1.0, 3.0, 2.0]), 2)
      (Array([3., 2.], dtype=float32), Array([1, 2]))
    """
    x = as_array(x)
    axis = canonical_axis(axis, x.ndim, "top_k")
    ids = moveaxis(ops.top_places(moveaxis(x, axis, -1), k=k), -1, axis)
    return take_along_axis(x, ids, axis=axis), ids


def digitize(x: Any, bins: Any, /, right: bool = False) -> Array:
    """Number of the bin of each element: i where bins[i - 1] <= x < bins[i] (right: bins[i - 1] < x <= bins[i]).

    Args:
      x: [...]. bins: [N], ascending.

    Returns:
      int64 [...]; 0 below all bins, N above.
    """
    x, bins = elementwise.operands(x, bins)
    return ops.searchsorted(bins, x, right=not right)


# --- cumulative -------------------------------------------------------------------------------------------------------


def _cumulative(places: Any, x: Any, axis: int | None) -> Array:
    x = as_array(x)
    if axis is None:
        x, axis = ravel(x), 0
    axis = canonical_axis(axis, x.ndim, places.name)
    return take_along_axis(x, places(x, axis=axis), axis=axis)


def cumulative_max(x: Any, /, *, axis: int | None = None) -> Array:
    """Largest of the elements up to and including each, along an axis (of all elements by default); NaN from the first
    NaN on. The first of equal maxima has the derivative.
    """
    return _cumulative(ops.cumulative_argmax, x, axis)


def cumulative_min(x: Any, /, *, axis: int | None = None) -> Array:
    """Smallest of the elements up to and including each, along an axis; see :func:`cumulative_max`."""
    return _cumulative(ops.cumulative_argmin, x, axis)


cummax, cummin = cumulative_max, cumulative_min


def logcumsumexp(x: Any, /, *, axis: int = -1) -> Array:
    """log(cumsum(exp(x))) along an axis, without overflow or loss: each element has its own maximum.

    By doubling (Hillis and Steele 1986), with log2(n) steps for n elements.
    """
    x = as_array(x)
    x = elementwise.cast(x, dtypes.to_float(x.dtype))
    axis = canonical_axis(axis, x.ndim, "logcumsumexp")
    low = as_array(np.asarray(-np.inf, x.dtype))
    step = 1
    while step < x.shape[axis]:
        y = reduce.shift(x, step, axis, low)
        nothing = elementwise.equal(elementwise.maximum(x, y), -np.inf)  # where logaddexp has no derivative
        both = elementwise.logaddexp(elementwise.where(nothing, 0.0, x), elementwise.where(nothing, 0.0, y))
        x = elementwise.where(nothing, -np.inf, both)
        step *= 2
    return x


# --- quantiles --------------------------------------------------------------------------------------------------------

# Place of quantile q among n sorted elements: n q + alpha + q (1 - alpha - beta) - 1 (Hyndman, Fan 1996).
_METHODS = {
    "linear": (1.0, 1.0),
    "weibull": (0.0, 0.0),
    "hazen": (0.5, 0.5),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
    "interpolated_inverted_cdf": (0.0, 1.0),
}
_BETWEEN = ("lower", "higher", "nearest", "midpoint")  # of linear's two neighbours


def _quantile(where: str, x: Any, q: Any, axis: Any, keepdims: bool, method: str, ignore_nan: bool) -> Array:
    x = as_array(x)
    x = elementwise.cast(x, dtypes.to_float(x.dtype))
    # All in x's dtype, at least float32: places in a half type would be wrong from 256 elements on.
    dtype = x.dtype if x.dtype.itemsize > 2 else dtypes.float32
    q = q if isinstance(q, Array) else as_array(np.asarray(q, dtype))
    if method not in _METHODS and method not in _BETWEEN:
        known = ", ".join([*_METHODS, *_BETWEEN])
        raise errors.argument(where, "method", method, f"it is one of {known}", "pass method='linear'")
    axes = canonical_axes(axis, x.ndim, where)
    if any(x.shape[i] == 0 for i in axes):
        raise errors.empty_reduction(where, x.shape, axis)
    rest = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    rows = reshape(moveaxis(x, axes, tuple(range(len(axes)))), (-1 if axes else 1, *rest))
    rows = take_along_axis(rows, ops.argsort(rows, axis=0), axis=0)
    level = reshape(elementwise.cast(ravel(q), dtype), (-1,) + (1,) * len(rest))
    count: Any = rows.shape[0]
    if ignore_nan:
        valid = elementwise.cast(elementwise.logical_not(elementwise.isnan(rows)), dtypes.default_int)
        count = elementwise.cast(reduce.reduce_sum(valid, axis=(0,), keepdims=True), dtype)
    alpha, beta = _METHODS.get(method, (1.0, 1.0))
    place = level * count + (alpha + level * (1 - alpha - beta)) - 1
    place = elementwise.maximum(elementwise.minimum(place, count - 1), 0.0)
    below = elementwise.floor(place)
    fraction: Any = place - below
    if method == "nearest":
        below, fraction = elementwise.rint(place), None
    elif method == "lower":
        fraction = None
    elif method == "higher":
        below, fraction = elementwise.ceil(place), None
    elif method == "midpoint":
        fraction = elementwise.where(elementwise.greater(fraction, 0), 0.5, 0.0)

    def at(place: Any) -> Any:
        ids = elementwise.cast(place, dtypes.default_int)
        if not ignore_nan:
            return take(rows, ravel(ids), axis=0)
        return take_along_axis(rows, shape_ops.broadcast_to(ids, shape=(ids.shape[0], *rest)), axis=0)

    y = at(below)
    if where in ("median", "nanmedian"):  # a mean loses no digit where its two elements cancel, a step from one does
        y = 0.5 * y + 0.5 * at(elementwise.ceil(place))
    elif fraction is not None:
        gap = at(elementwise.minimum(below + 1, count - 1)) - y
        gap = elementwise.where(elementwise.isfinite(gap) | (fraction > 0), gap, 0.0)  # 0 * inf must not spoil y
        y = y + elementwise.cast(fraction, x.dtype) * gap
    if not ignore_nan:  # NaN is last in order
        y = elementwise.where(elementwise.isnan(rows[-1]), np.nan, y)
    shape = (tuple(1 if i in axes else n for i, n in enumerate(x.shape))) if keepdims else rest
    return reshape(y, (*q.shape, *shape))


def quantile(x: Any, q: Any, /, axis: Any = None, *, method: str = "linear", keepdims: bool = False) -> Array:
    """Quantiles over axes: the value below which a fraction q of the elements lies; NaN if one is NaN.

    Among n sorted elements y[0..n-1] the place is i = n q + alpha + q (1 - alpha - beta) - 1, limited to [0, n - 1],
    and between places the result is linear. (alpha, beta): (1, 1) for "linear", (0, 0) "weibull", (1/2, 1/2) "hazen",
    (1/3, 1/3) "median_unbiased", (3/8, 3/8) "normal_unbiased", (0, 1) "interpolated_inverted_cdf". "lower", "higher",
    "nearest" and "midpoint" are linear's neighbours in place of the interpolation.

    Args:
      x: [...] real.
      q: number or array in [0, 1]; [*Q].
      axis: an int, a tuple of ints, or None for all axes.
      method: see above.
      keepdims: keep the axes, with size 1.

    Returns:
      [*Q, *x.shape without axis], floating.

    Raises:
      ShapeError: an axis without elements. ArgumentError: an unknown method.

    Derivative: by x, to the two elements between which the quantile lies; by q, their distance times n - 1.

    Example:
      >>> import knet.numpy as knp
      >>> knp.quantile(knp.asarray([3.0, 1.0, 2.0]), 0.75)
      Array(2.5, dtype=float32)

    Reference: Hyndman, Fan 1996, "Sample quantiles in statistical packages".
    """
    return _quantile("quantile", x, q, axis, keepdims, method, False)


def percentile(x: Any, q: Any, /, axis: Any = None, *, method: str = "linear", keepdims: bool = False) -> Array:
    """:func:`quantile` for q in percent, [0, 100]."""
    return _quantile("percentile", x, _percent(q), axis, keepdims, method, False)


def median(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Median over axes: the middle element, or the mean of the two in the middle; NaN if one is NaN."""
    return _quantile("median", x, 0.5, axis, keepdims, "linear", False)


def nanquantile(x: Any, q: Any, /, axis: Any = None, *, method: str = "linear", keepdims: bool = False) -> Array:
    """:func:`quantile` of the elements that are not NaN; NaN where there are none."""
    return _quantile("nanquantile", x, q, axis, keepdims, method, True)


def nanpercentile(x: Any, q: Any, /, axis: Any = None, *, method: str = "linear", keepdims: bool = False) -> Array:
    """:func:`nanquantile` for q in percent, [0, 100]."""
    return _quantile("nanpercentile", x, _percent(q), axis, keepdims, method, True)


def nanmedian(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """:func:`median` of the elements that are not NaN; NaN where there are none."""
    return _quantile("nanmedian", x, 0.5, axis, keepdims, "linear", True)


def _percent(q: Any) -> Any:
    return (q if isinstance(q, Array) else np.asarray(q, np.float64)) / 100
