"""Special functions: error functions, gamma and its relatives, Bessel functions, logarithms that stay finite; and the
elementary ones that the array API leaves out."""

from __future__ import annotations

import math
from typing import Any

from ..core import dtypes, errors
from ..core.array import Array
from ..core.device import as_array
from ..core.ops import elementwise
from ..core.ops.special import (
    betaln,
    cbrt,
    digamma,
    erf,
    erfc,
    erfinv,
    exp2,
    expit,
    exponent,
    fmax,
    fmin,
    fmod,
    gammainc,
    gammaincc,
    gammaln,
    i0,
    i0e,
    i1,
    i1e,
    iv,
    ive,
    j0,
    j1,
    jv,
    log_ndtr,
    logit,
    ndtr,
    ndtri,
    polygamma,
    xlog1py,
    xlogy,
    zeta,
)
from ..core.ops.special import ldexp as _ldexp

__all__ = [
    "betaln",
    "cbrt",
    "deg2rad",
    "degrees",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp2",
    "expit",
    "fmax",
    "fmin",
    "fmod",
    "frexp",
    "gammainc",
    "gammaincc",
    "gammaln",
    "heaviside",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "iv",
    "ive",
    "j0",
    "j1",
    "jv",
    "ldexp",
    "log_ndtr",
    "logit",
    "ndtr",
    "ndtri",
    "polygamma",
    "rad2deg",
    "radians",
    "xlog1py",
    "xlogy",
    "zeta",
]


def ldexp(x: Any, n: Any, /) -> Array:
    """x 2 ** n, rounded once, for integers n; its derivative by x is 2 ** n. x, n: [...], they broadcast."""
    x = as_array(x)
    return _ldexp(elementwise.cast(x, dtypes.to_float(x.dtype)), as_array(n))


def frexp(x: Any, /) -> tuple[Array, Array]:
    """Mantissa m and exponent n of x = m 2 ** n, 0.5 <= |m| < 1; of 0, infinities and NaN themselves, and 0.

    Args:
      x: [...] real.

    Returns:
      m [...] of x's dtype, n [...] int32. The derivative of m is 2 ** -n, of n there is none.
    """
    x = as_array(x)
    x = elementwise.cast(x, dtypes.to_float(x.dtype))
    if dtypes.kind(x.dtype) == "c":
        raise errors.unsupported_dtype("frexp", ("x",), (x,), "real numbers")
    n = exponent(x)
    return _ldexp(x, -n), n


def deg2rad(x: Any, /) -> Array:
    """Degrees as radians, x pi / 180."""
    return as_array(x) * (math.pi / 180)


def rad2deg(x: Any, /) -> Array:
    """Radians as degrees, x 180 / pi."""
    return as_array(x) * (180 / math.pi)


radians, degrees = deg2rad, rad2deg


def heaviside(x: Any, at_zero: Any, /) -> Array:
    """Step: 0 below 0, 1 above, ``at_zero`` at 0, NaN for NaN. The derivative by x is 0."""
    x, at_zero = elementwise.operands(x, at_zero)
    x, at_zero = (elementwise.cast(v, dtypes.to_float(v.dtype)) for v in (x, at_zero))
    x = elementwise.stop_gradient(x)
    step = elementwise.where(elementwise.greater(x, 0), 1.0, elementwise.where(elementwise.less(x, 0), 0.0, x))
    return elementwise.where(elementwise.equal(x, 0), at_zero, step)
