"""Arrays: the Python array API standard, then NumPy. ``import knet.numpy as knp``.

Functions take arrays, Python numbers and NumPy arrays, and are differentiable where a derivative exists.
Dtypes: float32 and int64 by default; see :mod:`knet.core.dtypes` for promotion.
"""

from __future__ import annotations

import builtins as _builtins
import math as _math
import sys as _sys
from typing import Any as _Any

import ml_dtypes as _ml_dtypes
import numpy as _numpy

from ..core import dtypes as _dtypes
from ..core import errors as _errors
from ..core.array import Array as _Array
from ..core.device import as_array as _as_array
from ..core.dtypes import (
    bfloat16,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from ..core.dtypes import bool_ as bool
from ..core.ops import elementwise as _elementwise
from ..core.ops.elementwise import (
    abs,
    acos,
    acosh,
    add,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    ceil,
    cos,
    cosh,
    divide,
    equal,
    exp,
    expm1,
    floor,
    floor_divide,
    greater,
    greater_equal,
    hypot,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    positive,
    power,
    reciprocal,
    remainder,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    subtract,
    tan,
    tanh,
    trunc,
)
from . import linalg
from .creation import *
from .indexing import *
from .linalg import dot, einsum, matmul, outer, tensordot, vecdot
from .manipulation import *
from .order import *
from .special import *
from .statistics import *

pow = power
arccos, arcsin, arctan, arctan2 = acos, asin, atan, atan2
arccosh, arcsinh, arctanh = acosh, asinh, atanh
true_divide, absolute, mod = divide, abs, remainder

_PYTHON_SCALARS = (_builtins.bool, int, float, complex)
pi, e, inf, nan, newaxis = _math.pi, _math.e, _math.inf, _math.nan, None


def where(condition: _Any, x: _Any = None, y: _Any = None, /) -> _Any:
    """x where the condition holds, else y; all three broadcast. With the condition alone, :func:`nonzero`.

    The derivative of the branch not taken is zero, but a NaN or infinity in that branch's own derivative still spoils
    it (0 * inf): guard the argument, as in where(x > 0, log(where(x > 0, x, 1)), 0).
    """
    if x is None and y is None:
        return nonzero(condition)
    condition = _as_array(condition)
    if condition.dtype is not bool:
        condition = not_equal(condition, 0)
    return _elementwise.where(condition, x, y)


def clip(x: _Any, /, min: _Any = None, max: _Any = None) -> _Array:
    """Elements limited to [min, max]; None is no limit."""
    x = _as_array(x)
    if min is not None:
        x = maximum(x, min)
    return x if max is None else minimum(x, max)


def round(x: _Any, /, decimals: int = 0) -> _Array:
    """Nearest number with that many decimals, halves to even."""
    x = _as_array(x)
    if decimals == 0 or (x.dtype.kind in "iu" and decimals > 0):
        return _elementwise.rint(x)
    scale = 10.0**decimals
    return _elementwise.rint(x * scale) / scale


def result_type(*operands: _Any) -> _numpy.dtype[_Any]:
    """The dtype in which operands (arrays, dtypes, Python scalars) meet.

    Raises:
      DTypeError: uint64 with a signed integer.
    """
    dtype, scalars = None, []
    for x in operands:
        if type(x) in _PYTHON_SCALARS:
            scalars.append(x)
            continue
        own = x.dtype if isinstance(x, (_Array, _numpy.ndarray, _numpy.generic)) else _dtypes.canonical(x)
        dtype = own if dtype is None else _dtypes.promote(dtype, own)
    for scalar in scalars:
        dtype = _dtypes.of_scalar(scalar) if dtype is None else _dtypes.promote_scalar(dtype, scalar)
    if dtype is None:
        raise _errors.no_arrays("result_type")
    return dtype


def finfo(dtype: _Any) -> _Any:
    """Limits of a floating dtype: bits, eps, max, min, smallest_normal, dtype."""
    return _ml_dtypes.finfo(_dtypes.canonical(getattr(dtype, "dtype", dtype)))


def iinfo(dtype: _Any) -> _Any:
    """Limits of an integer dtype: bits, max, min, dtype."""
    return _numpy.iinfo(_dtypes.canonical(getattr(dtype, "dtype", dtype)))


__all__ = [_name for _name in globals() if not _name.startswith("_")]

_Array.namespace = _sys.modules[__name__]
