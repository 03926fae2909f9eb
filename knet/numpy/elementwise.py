"""Elementwise functions that are made of primitives; the primitives themselves are exported as they are."""

from __future__ import annotations

from typing import Any, overload

from ..core.array import Array
from ..core.device import as_array
from ..core.dtypes import bool_
from ..core.ops import elementwise as ops
from .indexing import nonzero

__all__ = ["angle", "clip", "round", "sign", "where"]


@overload
def where(condition: Any, /) -> tuple[Array, ...]: ...
@overload
def where(condition: Any, x: Any, y: Any, /) -> Array: ...
def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    """x where the condition holds, else y; all three broadcast. With the condition alone, :func:`nonzero`.

    The derivative of the branch not taken is zero, but a NaN or infinity in that branch's own derivative still spoils
    it (0 * inf): guard the argument, as in where(x > 0, log(where(x > 0, x, 1)), 0).
    """
    if x is None and y is None:
        return nonzero(condition)
    condition = as_array(condition)
    if condition.dtype is not bool_:
        condition = ops.not_equal(condition, 0)
    return ops.where.apply(condition, x, y)


def clip(x: Any, /, min: Any = None, max: Any = None) -> Array:
    """Elements limited to [min, max], numbers or arrays that broadcast against x; None is no limit.

    Where min > max the result is max; where x or a limit is NaN, it is NaN.
    """
    x = as_array(x)
    if min is not None:
        x = ops.maximum(x, min)
    return x if max is None else ops.minimum(x, max)


def round(x: Any, /, decimals: int = 0) -> Array:
    """Nearest number with that many decimals, halves to even; of complex numbers, of each part."""
    x = as_array(x)
    if decimals == 0 or (x.dtype.kind in "iu" and decimals > 0):
        return ops.rint(x)
    scale = 10.0**decimals
    return ops.rint(x * scale) / scale


def sign(x: Any, /) -> Array:
    """Sign: -1, 0 or 1; of a complex number x / abs(x), the point of the unit circle in its direction, or 0."""
    x = as_array(x)
    if x.dtype.kind != "c":
        return ops.sign(x)
    size = ops.abs(x)
    zero = ops.equal(size, 0)
    return ops.where(zero, 0.0, x / ops.where(zero, 1.0, size))


def angle(x: Any, /) -> Array:
    """Argument of complex numbers in radians, in [-pi, pi]; of real ones 0, or pi below zero."""
    x = as_array(x)
    return ops.atan2(ops.imag(x), ops.real(x))
