"""Arrays: the Python array API standard, then NumPy. ``import knet.numpy as knp``.

Functions take arrays, Python numbers and NumPy arrays, and are differentiable where a derivative exists.
Dtypes: float32 and int64 by default; see :mod:`knet.core.dtypes` for promotion.
"""

from __future__ import annotations

import importlib as _importlib
import math as _math
import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ..core.array import Array as _Array
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
    conj,
    copysign,
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
    imag,
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
    nextafter,
    not_equal,
    positive,
    power,
    real,
    reciprocal,
    remainder,
    signbit,
    sin,
    sinh,
    sqrt,
    square,
    subtract,
    tan,
    tanh,
    trunc,
)
from .creation import *
from .elementwise import *
from .indexing import *
from .inspection import *
from .inspection import __array_namespace_info__
from .manipulation import *
from .products import cross, diag, diagonal, dot, einsum, inner, kron, matmul, outer, tensordot, trace, vdot, vecdot
from .statistics import *

if _TYPE_CHECKING:
    from . import fft, linalg
    from .arrangement import *
    from .at import *
    from .comparison import *
    from .covariance import *
    from .missing import *
    from .order import *
    from .padding import *
    from .scatter import *
    from .search import *
    from .segments import *
    from .shorthands import *
    from .signal import *
    from .special import *

pow = power
arccos, arcsin, arctan, arctan2 = acos, asin, atan, atan2
arccosh, arcsinh, arctanh = acosh, asinh, atanh
true_divide, absolute, mod = divide, abs, remainder
conjugate = conj
invert = bitwise_not = bitwise_invert
left_shift, right_shift = bitwise_left_shift, bitwise_right_shift
around = round

pi, e, inf, nan, newaxis = _math.pi, _math.e, _math.inf, _math.nan, None

__array_api_version__ = "2024.12"

# What many programs do without is imported when one of its names is first used: it would double import knet's time.
_LATER = (
    "search", "arrangement", "at", "comparison", "covariance", "missing", "order", "padding", "scatter", "segments",
    "shorthands", "signal", "special",
)  # fmt: skip
_EXTENSIONS = ("fft", "linalg")


def __getattr__(name: str) -> _Any:
    if name in _EXTENSIONS:
        return _importlib.import_module(f"{__name__}.{name}")
    if name == "__all__":
        return __dir__()
    if not name.startswith("_"):
        for later in _LATER:
            module = _importlib.import_module(f"{__name__}.{later}")
            if name in module.__all__:
                globals()[name] = value = getattr(module, name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    names = {n for n, v in globals().items() if not n.startswith("_") and not isinstance(v, type(_sys))} - {
        "annotations"
    }
    for later in _LATER:
        names.update(_importlib.import_module(f"{__name__}.{later}").__all__)
    return sorted(names | set(_EXTENSIONS))


_Array.namespace = _sys.modules[__name__]
