"""Sorting."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import batching, dtypes
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
