"""Extrema of segments: of the rows of an array that bear one number."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import batching, dtypes, errors
from ..aval import ShapedArray
from ..primitive import primitive
from . import creation, elementwise, index
from . import shape as shape_ops


def lowest(dtype: Any) -> Any:
    """The number that no other of the dtype is below."""
    if dtypes.is_differentiable(dtype):
        return -np.inf
    return False if dtype.kind == "b" else int(np.iinfo(dtype).min)


def highest(dtype: Any) -> Any:
    """The number that no other of the dtype is above."""
    if dtypes.is_differentiable(dtype):
        return np.inf
    return True if dtype.kind == "b" else int(np.iinfo(dtype).max)


def _aval(x: Any, ids: Any, *, count: int, largest: bool) -> ShapedArray:
    if x.shape[: len(ids.shape)] != ids.shape:
        raise errors.shape_argument(
            "segment_max", "segment_ids", list(ids.shape), f"it must be the first axes of data {list(x.shape)}",
            "give each row one segment number",
        )  # fmt: skip
    return ShapedArray((count, *x.shape[len(ids.shape) :]), x.dtype)


def _vjp(g: Any, y: Any, x: Any, ids: Any, *, count: int, largest: bool) -> Any:
    chosen = elementwise.equal(x, index.take(y, ids))
    ties = index.put_add(creation.zeros(g.shape, g.dtype, g.device), ids, elementwise.cast(chosen, g.dtype))
    share = g / elementwise.maximum(ties, 1.0)
    return elementwise.where(chosen, index.take(share, ids), 0.0)


def _batch(primitive: Any, args: Any, batched: Any, size: int, *, count: int, largest: bool) -> Any:
    x, ids = (batching.spread(a, b, size) for a, b in zip(args, batched, strict=True))
    first = creation.arange(size, dtypes.default_int, creation.device_of(x)) * count
    ids = ids + shape_ops.reshape(first, shape=(size,) + (1,) * (ids.ndim - 1))
    y = primitive(x, ids, count=size * count, largest=largest)
    return shape_ops.reshape(y, shape=(size, count, *y.shape[1:]))


@primitive(aval=_aval, vjp=(_vjp, "an index has no derivative"), batch=_batch)
def segment_extremum(x: Any, ids: Any, *, count: int, largest: bool) -> Any:
    """Largest (or smallest) of the rows of each segment, element by element; NaN if one is NaN. Ties share cotangents.

    x: [*I, ...] real, ids: [*I] integer in [0, count). Returns [count, ...]; without rows the lowest (highest) number.
    """
    y = np.full((count, *x.shape[ids.ndim :]), (lowest if largest else highest)(x.dtype), x.dtype)
    (np.maximum if largest else np.minimum).at(y, ids, x)
    return y
