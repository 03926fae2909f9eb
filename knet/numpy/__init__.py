"""Arrays: the Python array API standard, then NumPy. ``import knet.numpy as knp``.

Functions take arrays, Python numbers and NumPy arrays, and are differentiable where a derivative exists.
Dtypes: float32 and int64 by default; see :mod:`knet.core.dtypes` for promotion.
"""

from __future__ import annotations

import importlib as _importlib
import math as _math
import sys as _sys
import typing as _typing


from ..core.array import install_namespace as _install_namespace
from ..core.dtypes import (
    bfloat16 as bfloat16,
    complex64 as complex64,
    complex128 as complex128,
    float16 as float16,
    float32 as float32,
    float64 as float64,
    int8 as int8,
    int16 as int16,
    int32 as int32,
    int64 as int64,
    uint8 as uint8,
    uint16 as uint16,
    uint32 as uint32,
    uint64 as uint64,
)
from ..core.dtypes import bool_ as bool
from ..core.ops.elementwise import (
    abs as abs,
    acos as acos,
    acosh as acosh,
    add as add,
    asin as asin,
    asinh as asinh,
    atan as atan,
    atan2 as atan2,
    atanh as atanh,
    bitwise_and as bitwise_and,
    bitwise_invert as bitwise_invert,
    bitwise_left_shift as bitwise_left_shift,
    bitwise_or as bitwise_or,
    bitwise_right_shift as bitwise_right_shift,
    bitwise_xor as bitwise_xor,
    ceil as ceil,
    conj as conj,
    copysign as copysign,
    cos as cos,
    cosh as cosh,
    divide as divide,
    equal as equal,
    exp as exp,
    expm1 as expm1,
    floor as floor,
    floor_divide as floor_divide,
    greater as greater,
    greater_equal as greater_equal,
    hypot as hypot,
    imag as imag,
    isfinite as isfinite,
    isinf as isinf,
    isnan as isnan,
    less as less,
    less_equal as less_equal,
    log as log,
    log1p as log1p,
    log2 as log2,
    log10 as log10,
    logaddexp as logaddexp,
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    logical_xor as logical_xor,
    maximum as maximum,
    minimum as minimum,
    multiply as multiply,
    negative as negative,
    nextafter as nextafter,
    not_equal as not_equal,
    positive as positive,
    power as power,
    real as real,
    reciprocal as reciprocal,
    remainder as remainder,
    signbit as signbit,
    sin as sin,
    sinh as sinh,
    sqrt as sqrt,
    square as square,
    subtract as subtract,
    tan as tan,
    tanh as tanh,
    trunc as trunc,
)
from .creation import *
from .elementwise import *
from .indexing import *
from .inspection import *
from .inspection import __array_namespace_info__
from .manipulation import *
from .products import (
    cross as cross,
    diag as diag,
    diagonal as diagonal,
    dot as dot,
    einsum as einsum,
    inner as inner,
    kron as kron,
    matmul as matmul,
    outer as outer,
    tensordot as tensordot,
    trace as trace,
    vdot as vdot,
    vecdot as vecdot,
)
from .statistics import *

if _typing.TYPE_CHECKING:
    from . import fft as fft
    from . import linalg as linalg
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


if not _typing.TYPE_CHECKING:  # type checkers see the names above, and no others

    def __getattr__(name: str) -> _typing.Any:
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


_install_namespace(_sys.modules[__name__])
