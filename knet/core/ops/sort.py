"""Orders: places of elements, which have no derivative. Values follow by a gather, which has one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import batching, dtypes, errors
from ..aval import ShapedArray
from ..primitive import primitive


@primitive(
    aval=lambda x, *, axis: ShapedArray(x.shape, dtypes.default_int),
    vjp="an index has no derivative",
    batch=batching.shifted(batching.next_axis),
)
def argsort(x: Any, *, axis: int) -> Any:
    """Indices that sort along an axis, ascending and stable; NaN last.

    x: [...] real. Returns int64, x.shape.
    """
    # NumPy's order of bfloat16 does not know NaN; float32 holds every bfloat16.
    return np.argsort(x.astype(np.float32) if x.dtype == dtypes.bfloat16 else x, axis=axis, kind="stable")


def _search_aval(edges: Any, x: Any, *, right: bool) -> ShapedArray:
    lead = len(edges.shape) - 1
    if lead < 0 or x.shape[:lead] != edges.shape[:-1]:
        raise errors.shape_argument(
            "searchsorted", "edges", list(edges.shape), "it must be sorted along its only axis", "pass a sorted vector"
        )
    return ShapedArray(x.shape, dtypes.default_int)


def _search_batch(primitive: Any, args: Any, batched: Any, size: int, *, right: bool) -> Any:
    edges, x = args
    if not batched[0] and edges.ndim == 1:
        return primitive(edges, x, right=right)
    return primitive(batching.spread(edges, batched[0], size), batching.spread(x, batched[1], size), right=right)


@primitive(aval=_search_aval, vjp="an index has no derivative", batch=_search_batch)
def searchsorted(edges: Any, x: Any, *, right: bool) -> Any:
    """Number of elements of a sorted vector that are below each number (``right``: not above it); NaN is above all.

    edges: [..., N] ascending, one dtype with x: [..., *S]; leading axes are batches. Returns int64 [..., *S].
    """
    side: Any = "right" if right else "left"
    if edges.dtype == dtypes.bfloat16:
        edges, x = edges.astype(np.float32), x.astype(np.float32)
    y = np.empty(x.shape, np.int64)
    for batch in np.ndindex(*edges.shape[:-1]):
        y[batch] = np.searchsorted(edges[batch], x[batch], side=side)
    return y


def _first_so_far(x: Any, axis: int, extremum: Any, beyond: Any) -> Any:
    last = np.moveaxis(x.astype(np.float32) if x.dtype == dtypes.bfloat16 else x, axis, -1)
    best = extremum.accumulate(last, axis=-1)[..., :-1]
    new = beyond(last[..., 1:], best) | (np.isnan(last[..., 1:]) & ~np.isnan(best))
    ids = np.zeros(last.shape, np.int64)
    ids[..., 1:] = np.where(new, np.arange(1, last.shape[-1]), 0)
    return np.moveaxis(np.maximum.accumulate(ids, axis=-1), -1, axis)


def _places_aval(x: Any, *, axis: int) -> ShapedArray:
    return ShapedArray(x.shape, dtypes.default_int)


@primitive(aval=_places_aval, vjp="an index has no derivative", batch=batching.shifted(batching.next_axis))
def cumulative_argmax(x: Any, *, axis: int) -> Any:
    """Index of the first maximum of the elements up to and including each, along an axis; NaN counts as the maximum.

    x: [...] real. Returns int64, x.shape.
    """
    return _first_so_far(x, axis, np.maximum, np.greater)


@primitive(aval=_places_aval, vjp="an index has no derivative", batch=batching.shifted(batching.next_axis))
def cumulative_argmin(x: Any, *, axis: int) -> Any:
    """Index of the first minimum of the elements up to and including each, along an axis; NaN counts as the minimum.

    x: [...] real. Returns int64, x.shape.
    """
    return _first_so_far(x, axis, np.minimum, np.less)


def _top_aval(x: Any, *, k: int) -> ShapedArray:
    if not x.shape or not 0 <= k <= x.shape[-1]:
        raise errors.shape_argument(
            "top_k", "k", k, f"x {list(x.shape)} needs at least k elements on the axis", "pass 0 <= k <= its size"
        )
    return ShapedArray((*x.shape[:-1], k), dtypes.default_int)


@primitive(aval=_top_aval, vjp="an index has no derivative", batch=batching.shifted(lambda _size, **p: p))
def top_places(x: Any, *, k: int) -> Any:
    """Indices of the k largest elements along the last axis, largest first, of equal ones the first; NaN is largest.

    x: [..., N] real. Returns int64 [..., k].
    """
    x = np.flip(x.astype(np.float32) if x.dtype == dtypes.bfloat16 else x, -1)
    last = x.shape[-1]
    if k and 8 * k < last and x.dtype.kind == "f":
        # Only elements not below the k-th largest need sorting; flipped order makes the first of equal ones come last.
        bound = np.partition(x, last - k, axis=-1)[..., last - k, None]
        if (np.count_nonzero(~(x < bound), axis=-1) == k).all() and not np.isnan(bound).any():
            ids = np.nonzero(~(x < bound))[-1].reshape(*x.shape[:-1], k)
            order = np.argsort(np.take_along_axis(x, ids, -1), axis=-1, kind="stable")
            return last - 1 - np.flip(np.take_along_axis(ids, order, -1), -1)
    return last - 1 - np.flip(np.argsort(x, axis=-1, kind="stable"), -1)[..., :k]
