"""Sorting."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..aval import ShapedArray
from ..primitive import primitive


@primitive(
    aval=lambda x, *, axis: ShapedArray(x.shape, dtypes.default_int),
    vjp="an index has no derivative",
    family="scan",
)
def argsort(x: Any, *, axis: int) -> Any:
    """Indices that sort along an axis, ascending and stable; NaN last.

    x: [...] real. Returns int64, x.shape.
    """
    return np.argsort(x, axis=axis, kind="stable")
