"""Sorting, searching and sets.

Places come first and have no derivative; values are gathered from them, so a cotangent goes where its value came from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..core import dtypes, errors
from ..core.array import Array
from ..core.device import as_array
from ..core.ops import creation, elementwise, reduce
from ..core.ops import index as index_ops
from ..core.ops import sort as ops
from .indexing import nonzero, take, take_along_axis
from .manipulation import canonical_axis, concatenate, flip, ravel, reshape

__all__ = [
    "argsort",
    "isin",
    "searchsorted",
    "sort",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
]


def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Indices that sort along an axis, int64; equal elements keep their order, whatever ``stable`` says.

    NaN counts as the largest number. Complex numbers are ordered by their real, then their imaginary parts.
    """
    x = as_array(x)
    axis = canonical_axis(axis, x.ndim, "argsort")
    if not descending:
        return ops.argsort(x, axis=axis)
    # Sorted from behind and read backwards, so that equal elements keep their order.
    return x.shape[axis] - 1 - flip(ops.argsort(flip(x, axis=axis), axis=axis), axis=axis)


def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Elements in order along an axis; arguments as in :func:`argsort`. The derivative follows the elements.

    Example:
      >>> import knet.numpy as knp
      >>> knp.sort(knp.asarray([3.0, 1.0, 2.0]), descending=True)
      Array([3., 2., 1.], dtype=float32)
    """
    x = as_array(x)
    return take_along_axis(x, argsort(x, axis=axis, descending=descending, stable=stable), axis=axis)


def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Array:
    """Where x2's numbers belong in sorted x1: x1[i-1] < x2 <= x1[i] for side "left", x1[i-1] <= x2 < x1[i] for "right".

    Args:
      x1: [N] ascending, or such that x1[sorter] is.
      x2: [...].
      side: "left" or "right".
      sorter: [N] integers.

    Returns:
      int64, x2.shape, in [0, N].
    """
    x1, x2 = elementwise.operands(x1, x2)
    if side not in ("left", "right"):
        raise errors.argument("searchsorted", "side", side, "it is 'left' or 'right'", "pass side='left'")
    if x1.ndim != 1:
        raise errors.shape_argument("searchsorted", "x1", list(x1.shape), "x1 is a vector [N]", "pass x1.reshape(-1)")
    return ops.searchsorted(x1 if sorter is None else take(x1, sorter), x2, right=side == "right")


class UniqueAll(NamedTuple):
    """Result of :func:`unique_all`."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """Result of :func:`unique_counts`."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """Result of :func:`unique_inverse`."""

    values: Array
    inverse_indices: Array


def unique_all(x: Any, /) -> UniqueAll:
    """Elements that differ from one another, ascending; their number is known on the host only.

    NaN differs from itself, so each NaN is an element of its own; 0.0 and -0.0 are equal.

    Returns:
      values [U]; indices [U], where in ravel(x) each occurs first; inverse_indices, x.shape, with
      values[inverse_indices] equal to x; counts [U]. The last three are int64.

    Example:
      >>> import knet.numpy as knp
      >>> knp.unique_all(knp.asarray([2, 1, 2])).counts
      Array([1, 2])
    """
    x = as_array(x)
    flat = ravel(x)
    order = ops.argsort(flat, axis=0)
    ordered = take(flat, order)
    start = creation.full((min(flat.size, 1),), True, dtypes.bool_, x.device)
    first = concatenate([start, elementwise.not_equal(ordered[1:], ordered[:-1])])
    (places,) = nonzero(first)
    group = reduce.cumulative_sum(elementwise.cast(first, dtypes.default_int), axis=0) - 1
    inverse = index_ops.put(order, order, group)
    end = creation.full((1,), flat.size, dtypes.default_int, x.device)
    counts = concatenate([places[1:], end])[: places.size] - places
    return UniqueAll(take(ordered, places), take(order, places), reshape(inverse, x.shape), counts)


def unique_counts(x: Any, /) -> UniqueCounts:
    """Elements that differ from one another, and how often each occurs; see :func:`unique_all`."""
    every = unique_all(x)
    return UniqueCounts(every.values, every.counts)


def unique_inverse(x: Any, /) -> UniqueInverse:
    """Elements that differ from one another, and which of them stands where in x; see :func:`unique_all`."""
    every = unique_all(x)
    return UniqueInverse(every.values, every.inverse_indices)


def unique_values(x: Any, /) -> Array:
    """Elements that differ from one another, ascending; see :func:`unique_all`."""
    return unique_all(x).values


def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Array:
    """Whether each element of x1 occurs in x2 (``invert``: whether it does not); NaN occurs nowhere.

    Returns:
      bool, x1.shape.
    """
    x1, x2 = elementwise.operands(x1, x2)
    known = sort(ravel(x2))
    if not known.size:
        return creation.full(x1.shape, invert, dtypes.bool_, x1.device)
    place = elementwise.minimum(ops.searchsorted(known, x1, right=False), known.size - 1)
    return (elementwise.not_equal if invert else elementwise.equal)(take(known, place), x1)
