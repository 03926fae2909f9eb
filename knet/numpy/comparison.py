"""Comparisons of whole arrays, and within tolerances."""

from __future__ import annotations

from typing import Any

from ..core import dtypes
from ..core.array import Array
from ..core.aval import broadcast_shapes
from ..core.device import as_array
from ..core.ops import elementwise
from .statistics import all as every

__all__ = ["allclose", "array_equal", "array_equiv", "isclose"]


def isclose(x: Any, y: Any, /, rtol: float = 1e-5, atol: float = 1e-8, *, equal_nan: bool = False) -> Array:
    """Whether |x - y| <= atol + rtol |y|, element by element; infinities are close to themselves, NaN to nothing.

    Args:
      x, y: arrays that broadcast.
      equal_nan: let NaN be close to NaN.
    """
    x, y = elementwise.operands(x, y)
    same = elementwise.equal(x, y)
    if dtypes.kind(x.dtype) not in "fc":
        x, y = (elementwise.cast(v, dtypes.float64) for v in (x, y))
    finite = elementwise.isfinite(y)
    close = elementwise.less_equal(elementwise.abs(x - elementwise.where(finite, y, 0.0)),
                                   atol + rtol * elementwise.abs(elementwise.where(finite, y, 0.0)))  # fmt: skip
    close = same | (close & finite)
    return close | (elementwise.isnan(x) & elementwise.isnan(y)) if equal_nan else close


def allclose(x: Any, y: Any, /, rtol: float = 1e-5, atol: float = 1e-8, *, equal_nan: bool = False) -> Array:
    """Whether :func:`isclose` holds everywhere."""
    return every(isclose(x, y, rtol, atol, equal_nan=equal_nan))


def array_equal(x: Any, y: Any, /, *, equal_nan: bool = False) -> Array:
    """Whether shapes and all elements are equal."""
    x, y = elementwise.operands(x, y)
    if x.shape != y.shape:
        return as_array(False)
    same = elementwise.equal(x, y)
    return every(same | (elementwise.isnan(x) & elementwise.isnan(y)) if equal_nan else same)


def array_equiv(x: Any, y: Any, /) -> Array:
    """Whether the arrays broadcast against one another and are equal then."""
    x, y = elementwise.operands(x, y)
    return as_array(False) if broadcast_shapes(x.shape, y.shape) is None else every(elementwise.equal(x, y))
