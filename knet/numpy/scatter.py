"""Counts, and updates at index arrays: bincount, histogram, put_along_axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dtypes, errors
from ..core.array import Array, DeviceArray
from ..core.device import as_array, from_numpy
from ..core.ops import creation, elementwise, index, reduce, sort
from .indexing import index_add, index_set
from .manipulation import broadcast_to, canonical_axis, ravel, reshape

__all__ = ["bincount", "histogram", "histogram_bin_edges", "put_along_axis"]


def put_along_axis(x: Any, indices: Any, values: Any, /, *, axis: int = -1, mode: str = "set") -> Array:
    """Copy of x with x[..., indices[..., i, ...], ...] replaced: the counterpart of :func:`take_along_axis`.

    Args:
      x: [...].
      indices: integers; all axes but ``axis`` are x's, or of size 1.
      values: broadcast to the indices, cast to x's dtype.
      mode: "set", where of repeated indices the last counts, or "add", where they add up.
    """
    x, ids = as_array(x), as_array(indices)
    axis = canonical_axis(axis, x.ndim, "put_along_axis")
    if mode not in ("set", "add"):
        raise errors.argument("put_along_axis", "mode", mode, "it is 'set' or 'add'", "pass mode='set'")
    if ids.ndim != x.ndim:
        raise errors.shape_argument(
            "put_along_axis", "indices", list(ids.shape), f"indices needs the {x.ndim} axes of x {list(x.shape)}",
            "insert axes with indices[..., None]",
        )  # fmt: skip
    places = [
        ids if i == axis else reshape(creation.arange(n, dtypes.default_int, x.device), (-1,) + (1,) * (x.ndim - i - 1))
        for i, n in enumerate(x.shape)
    ]
    return (index_set if mode == "set" else index_add)(x, tuple(places), values)


def bincount(x: Any, /, weights: Any = None, minlength: int = 0, *, length: int | None = None) -> Array:
    """Number of times that each integer 0, 1, 2, ... occurs; or with weights the sum of theirs.

    Args:
      x: [N], integers >= 0.
      weights: [N], differentiable.
      minlength: least size of the result.
      length: the size itself; larger numbers are left out. Needed within transformations, where x is not known.

    Returns:
      [max(largest number + 1, minlength)] or [length]; int64, or the weights' dtype.
    """
    x = as_array(x)
    if x.ndim != 1 or dtypes.kind(x.dtype) not in "biu":
        raise errors.shape_argument(
            "bincount", "x", errors.describe(x), "a vector of integers is counted", "ravel x, or cast it to integers"
        )
    ids = elementwise.cast(x, dtypes.default_int)
    if length is None:
        if not isinstance(ids, DeviceArray):
            raise errors.argument(
                "bincount", "length", None, "within a transformation the largest number is not known", "pass length="
            )
        host = ids._host("bincount")
        if host.size and host.min() < 0:
            raise errors.argument("bincount", "x", int(host.min()), "numbers below 0 have no bin", "add an offset")
        length = max(int(host.max(initial=-1)) + 1, minlength)
    counted = creation.full(ids.shape, 1, dtypes.default_int, ids.device) if weights is None else as_array(weights)
    if counted.shape != ids.shape:
        raise errors.shape_argument(
            "bincount", "weights", list(counted.shape), f"x is {list(ids.shape)}", "pass one weight for each number"
        )
    ids = elementwise.where((ids < 0) | (ids >= length), length, ids)
    return index.put_add(creation.zeros((length + 1,), counted.dtype, ids.device), ids, counted)[:length]


def histogram_bin_edges(x: Any, /, bins: Any = 10, range: Any = None) -> Array:
    """Edges of :func:`histogram`'s bins, [bins + 1]; ``bins`` itself if it is an array of edges.

    A name ("auto", "fd", "doane", "scott", "stone", "rice", "sturges", "sqrt") chooses the number by the data, as
    numpy.histogram_bin_edges does, and needs these on the host.
    """
    x = as_array(x)
    x = ravel(elementwise.cast(x, dtypes.to_float(x.dtype)))
    if isinstance(bins, str):
        host = np.histogram_bin_edges(x._host("histogram_bin_edges"), bins, range)
        return from_numpy(np.asarray(host, x.dtype), x.device)
    if not isinstance(bins, (int, np.integer)):
        edges = as_array(np.asarray(bins) if isinstance(bins, (list, tuple)) else bins)
        if edges.ndim != 1 or edges.size < 2:
            raise errors.shape_argument(
                "histogram", "bins", list(edges.shape), "edges are a vector of at least 2", "pass a number of bins"
            )
        return elementwise.cast(edges, x.dtype)
    if bins < 1:
        raise errors.argument("histogram", "bins", bins, "at least one bin is needed", "pass bins >= 1")
    low: Any
    high: Any
    if range is not None and all(isinstance(v, (int, float)) for v in range) and range[0] != range[1]:
        return from_numpy(np.linspace(range[0], range[1], int(bins) + 1).astype(x.dtype), x.device)
    if range is not None:
        low, high = (elementwise.as_dtype(v, x.dtype, x.device) for v in range)
    elif x.size:
        low, high = (f(x, axis=(0,), keepdims=False) for f in (reduce.reduce_min, reduce.reduce_max))
    else:
        low, high = (creation.full((), v, x.dtype, x.device) for v in (0, 1))
    flat = elementwise.equal(low, high)  # a single value stands in the middle of a range of 1
    low, high = elementwise.where(flat, low - 0.5, low), elementwise.where(flat, high + 0.5, high)
    steps = creation.arange(int(bins) + 1, x.dtype, x.device)
    edges = low + steps * ((high - low) / int(bins))
    return elementwise.where(elementwise.equal(steps, int(bins)), high, edges)


def histogram(
    x: Any, /, bins: Any = 10, range: Any = None, weights: Any = None, density: bool = False
) -> tuple[Array, Array]:
    """Number of elements in each bin [edges[i], edges[i + 1]), of which the last includes its upper edge.

    Args:
      x: [...] real.
      bins: how many of equal width, or their edges (ascending), or a name, see :func:`histogram_bin_edges`.
      range: (lowest, highest) edge; by default those of x. Elements outside are left out.
      weights: of x's shape, added up in place of counts; differentiable.
      density: divide by the bins' widths and the total, so that the integral is 1.

    Returns:
      counts [B] (int64, the weights' dtype, or floating with density) and edges [B + 1]. Counts have no derivative.
    """
    edges = histogram_bin_edges(x, bins, range)
    x = ravel(as_array(x))
    x = elementwise.cast(x, dtypes.to_float(x.dtype))
    count = edges.size - 1
    place = sort.searchsorted(edges, x, right=True) - 1
    place = elementwise.where(elementwise.equal(x, edges[count]), count - 1, place)
    if weights is not None:
        weights = as_array(weights)
        weights = ravel(broadcast_to(weights, weights.shape))
    y = bincount(elementwise.where(place < 0, count, place), weights, length=count)
    if density:
        y = elementwise.cast(y, edges.dtype) if not dtypes.is_differentiable(y.dtype) else y
        y = y / (edges[1:] - edges[:-1]) / reduce.reduce_sum(y, axis=(0,), keepdims=False)
    return y, edges
