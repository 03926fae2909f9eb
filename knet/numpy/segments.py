"""Reductions of segments: of rows that bear one number, as the nodes of a graph or the words of a sentence do."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dtypes, errors
from ..core.array import Array, DeviceArray
from ..core.device import as_array
from ..core.ops import creation, elementwise, index, segment, sort
from ..core.ops import shape as shape_ops
from .manipulation import reshape

__all__ = ["segment_max", "segment_min", "segment_prod", "segment_sum"]


def _segments(name: str, data: Any, ids: Any, num_segments: int | None) -> tuple[Array, Array, int]:
    """Rows, their numbers with those out of range replaced by ``num_segments``, and that."""
    data, ids = as_array(data), as_array(np.asarray(ids) if isinstance(ids, list) else ids)
    if ids.dtype.kind not in "iu":
        raise errors.unsupported_dtype(name, ("data", "segment_ids"), (data, ids), "integers as segment_ids")
    if data.shape[: ids.ndim] != ids.shape:
        raise errors.shape_argument(
            name, "segment_ids", list(ids.shape), f"it must be the first axes of data {list(data.shape)}",
            "give each row one segment number",
        )  # fmt: skip
    ids = elementwise.cast(ids, dtypes.default_int)
    if num_segments is None:
        if not isinstance(ids, DeviceArray):
            raise errors.argument(
                name, "num_segments", None, "within a transformation the number of segments is not known from the ids",
                "pass num_segments=",
            )  # fmt: skip
        num_segments = int(ids._host(name).max(initial=-1)) + 1
    outside = (ids < 0) | (ids >= num_segments)
    return data, elementwise.where(outside, num_segments, ids), num_segments


def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None) -> Array:
    """Sum of the rows of each segment: y[s] = sum of data[i] over segment_ids[i] = s.

    Args:
      data: [*I, ...].
      segment_ids: [*I], integers in any order; rows with numbers outside [0, num_segments) are left out.
      num_segments: S; the largest number + 1 if None, which needs the ids on the host.

    Returns:
      [S, ...] of data's dtype; 0 for a segment without rows.

    Raises:
      ShapeError: ids that do not fit data. DTypeError: ids that are no integers. ArgumentError: num_segments left out
      within a transformation.

    Example:
      >>> import knet.numpy as knp
      >>> knp.segment_sum(knp.asarray([1.0, 2.0, 4.0]), knp.asarray([0, 2, 0]), 3)
      Array([5., 0., 2.], dtype=float32)
    """
    data, ids, count = _segments("segment_sum", data, segment_ids, num_segments)
    zeros = creation.zeros((count + 1, *data.shape[ids.ndim :]), data.dtype, data.device)
    return index.put_add(zeros, ids, data)[:count]


def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None) -> Array:
    """Maximum of the rows of each segment, element by element; arguments as in :func:`segment_sum`.

    Returns:
      [S, ...]; -inf (the smallest integer) for a segment without rows, NaN if one is NaN. Ties share the derivative.
    """
    data, ids, count = _segments("segment_max", data, segment_ids, num_segments)
    return segment.segment_extremum(data, ids, count=count + 1, largest=True)[:count]


def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None) -> Array:
    """Minimum of the rows of each segment, element by element; arguments as in :func:`segment_sum`.

    Returns:
      [S, ...]; inf (the largest integer) for a segment without rows, NaN if one is NaN. Ties share the derivative.
    """
    data, ids, count = _segments("segment_min", data, segment_ids, num_segments)
    return segment.segment_extremum(data, ids, count=count + 1, largest=False)[:count]


def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None) -> Array:
    """Product of the rows of each segment, element by element; arguments as in :func:`segment_sum`.

    Made of products alone, by doubling over the rows sorted by segment, so the derivative is exact at zeros.

    Returns:
      [S, ...] of data's dtype; 1 for a segment without rows.
    """
    data, ids, count = _segments("segment_prod", data, segment_ids, num_segments)
    rest = data.shape[ids.ndim :]
    data, ids = reshape(data, (ids.size, *rest)), reshape(ids, (ids.size,))
    order = sort.argsort(ids, axis=0)
    data, ids = index.take(data, order), index.take(ids, order)
    total = ids.shape[0]
    step = 1
    while step < total:
        same = reshape(elementwise.equal(ids[step:], ids[:-step]), (total - step,) + (1,) * len(rest))
        before = elementwise.where(same, data[:-step], 1)
        data = shape_ops.concatenate(data[:step], data[step:] * elementwise.cast(before, data.dtype), axis=0)
        step *= 2
    ones = creation.full((count + 1, *rest), 1, data.dtype, data.device)
    return index.put(ones, ids, data)[:count]  # the last row of a segment holds the product of all
