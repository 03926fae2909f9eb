"""Special functions: elementwise primitives whose bodies are SciPy's.

SciPy is imported when the first of them is called. C99 has erf, erfc and lgamma alone; a primitive whose C expression
is empty has none, and runs its body.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import batching, dtypes, errors
from ..aval import ShapedArray, broadcast_shapes
from ..device import from_numpy
from ..pointwise import elementwise
from ..primitive import LINEAR, ZERO, primitive
from . import creation, reduce
from .elementwise import cast, equal, exp, expm1, greater, isnan, less, log, log1p, sigmoid, sign, trunc, where


@functools.cache
def scipy_function(name: str) -> Callable[..., Any]:
    """A function of scipy.special."""
    import scipy.special  # deferred: import knet must not pay for it

    return getattr(scipy.special, name)


def _evaluate(function: Callable[..., Any], *args: Any) -> Any:
    """The function in the operands' dtype, half types by way of float32. Python numbers are weak."""
    dtype = next(x.dtype for x in reversed(args) if hasattr(x, "dtype"))  # orders, which come first, may be integers
    wide = np.dtype(np.float32) if dtype.itemsize == 2 else dtype
    with np.errstate(all="ignore"):  # poles give inf, and points outside the domain NaN, as in C
        y = function(*(np.asarray(x, wide) for x in args))
    return np.asarray(y, dtype)[()]


def _unary(name: str) -> Callable[[Any], Any]:
    return lambda x: _evaluate(scipy_function(name), x)


def _binary(name: str) -> Callable[[Any, Any], Any]:
    return lambda x, y: _evaluate(scipy_function(name), x, y)


def _array(x: Any, like: Any) -> Any:
    """A Python number as an array of the dtype that it has beside ``like``; alone it would become float32."""
    return creation.full((), x, like.dtype, creation.device_of(like)) if isinstance(x, (int, float)) else x


_REAL: dict[str, Any] = {"accepts": "biuf", "compute": "float"}
_ORDER = "its derivative by the order is not implemented"

# --- error functions and the normal distribution ----------------------------------------------------------------------

_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
_NORMAL_PEAK = 1 / math.sqrt(2 * math.pi)

erf = elementwise(
    "erf", _unary("erf"), "erf(x)", lambda g, _y, x: g * (_TWO_OVER_ROOT_PI * exp(-(x * x))),
    "Error function, 2 / sqrt(pi) times the integral of e ** -t**2 from 0 to x; in [-1, 1].", **_REAL,
)  # fmt: skip
erfc = elementwise(
    "erfc", _unary("erfc"), "erfc(x)", lambda g, _y, x: g * (-_TWO_OVER_ROOT_PI * exp(-(x * x))),
    "Complementary error function, 1 - erf(x), accurate where it is small; in [0, 2].", **_REAL,
)  # fmt: skip
erfinv = elementwise(
    "erfinv", _unary("erfinv"), "", lambda g, y, _x: g * (exp(y * y) / _TWO_OVER_ROOT_PI),
    "Inverse of erf, on [-1, 1]; NaN outside.", **_REAL,
)  # fmt: skip

ndtr = elementwise(
    "ndtr", _unary("ndtr"), "0.5 * erfc(-x * M_SQRT1_2)", lambda g, _y, x: g * (exp(x * x * -0.5) * _NORMAL_PEAK),
    "Distribution function of the standard normal distribution, accurate in the lower tail.", **_REAL,
)  # fmt: skip
log_ndtr = elementwise(
    "log_ndtr", _unary("log_ndtr"), "", lambda g, y, x: g * (exp(x * x * -0.5 - y) * _NORMAL_PEAK),
    "Logarithm of ndtr, without underflow.", **_REAL,
)  # fmt: skip
ndtri = elementwise(
    "ndtri", _unary("ndtri"), "", lambda g, y, _x: g * (exp(y * y * 0.5) / _NORMAL_PEAK),
    "Quantile function of the standard normal distribution, the inverse of ndtr, on [0, 1]; NaN outside.", **_REAL,
)  # fmt: skip

# --- gamma, beta and zeta ---------------------------------------------------------------------------------------------

gammaln = elementwise(
    "gammaln", _unary("gammaln"), "lgamma(x)", lambda g, _y, x: g * digamma(x),
    "Logarithm of the absolute value of the gamma function; inf at 0, -1, -2, ...", **_REAL,
)  # fmt: skip
digamma = elementwise(
    "digamma", _unary("psi"), "", lambda g, _y, x: g * polygamma(1, x), "Derivative of gammaln.", **_REAL
)
polygamma = elementwise(
    "polygamma", _binary("polygamma"), "", (_ORDER, lambda g, _y, n, x: g * polygamma(n + 1, x)),
    "Derivative of digamma of order n = 0, 1, 2, ... at x: polygamma(n, x). n, x: [...].", argnames=("n", "x"), **_REAL,
)  # fmt: skip
betaln = elementwise(
    "betaln", _binary("betaln"), "",
    (
        lambda g, _y, a, b: g * (digamma(a) - digamma(a + b)),
        lambda g, _y, a, b: g * (digamma(b) - digamma(a + b)),
    ),
    "Logarithm of the absolute value of the beta function: gammaln(x) + gammaln(y) - gammaln(x + y).", **_REAL,
)  # fmt: skip
zeta = elementwise(
    "zeta", _binary("zeta"), "", (_ORDER, lambda g, _y, x, q: g * (-x * zeta(x + 1, q))),
    "Hurwitz's zeta function: sum of (k + q) ** -x over k = 0, 1, 2, ...; zeta(x, 1) is Riemann's. x, q: [...].",
    argnames=("x", "q"), **_REAL,
)  # fmt: skip


def _incomplete_by_x(g: Any, _y: Any, a: Any, x: Any) -> Any:
    return g * exp(xlogy(a - 1, x) - x - gammaln(_array(a, g)))


def _incomplete_by_a(g: Any, _y: Any, a: Any, x: Any) -> Any:
    x = _array(x, g)
    inside = (x > 0) & (x < math.inf)
    safe = where(inside, x, 1.0)
    density = exp(xlogy(a, safe) - safe - gammaln(a))  # of log X at log x, for X from the gamma distribution
    return where(inside, -g * density * loggamma_slope(a, log(safe)), 0.0)


gammainc = elementwise(
    "gammainc", _binary("gammainc"), "", (_incomplete_by_a, _incomplete_by_x),
    "Regularised lower incomplete gamma function P(a, x): the distribution function of the gamma distribution of shape "
    "a > 0 at x >= 0. Derivative by a: see loggamma_slope.", argnames=("a", "x"), **_REAL,
)  # fmt: skip
gammaincc = elementwise(
    "gammaincc", _binary("gammaincc"), "",
    (lambda g, y, a, x: _incomplete_by_a(-g, y, a, x), lambda g, y, a, x: _incomplete_by_x(-g, y, a, x)),
    "Regularised upper incomplete gamma function, 1 - gammainc(a, x), accurate where it is small.",
    argnames=("a", "x"), **_REAL,
)  # fmt: skip

# --- the slope of the gamma distribution's quantiles ------------------------------------------------------------------

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(80)
_DEPTH = 42.0  # e ** -42 is below half an ulp
_SMALL = 8.0  # shapes below have a short series
_TERMS = 80


def _slope_by_series(a: Any, log_x: Any) -> Any:
    """P = p x / a * sum c[n], c[n] = x ** n / ((a + 1) ... (a + n)); differentiated term by term. For x <= a + 0.3."""
    x = np.exp(log_x)
    term, total = np.ones_like(a), np.ones_like(a)
    harmonic, weighted = np.zeros_like(a), np.zeros_like(a)
    for n in range(1, _TERMS):
        term = term * (x / (a + n))
        harmonic = harmonic + 1 / (a + n)
        total = total + term
        weighted = weighted + term * harmonic
    return ((scipy_function("psi")(a + 1) - log_x) * total + weighted) / a


def _end(a: Any, log_x: Any) -> Any:
    """Where the density ratio of _slope_by_quadrature has fallen to e ** -42."""
    x = np.exp(log_x)
    side = np.where(x > a, 1.0, -1.0)

    def f(s: Any) -> Any:
        return x * np.expm1(side * s) - side * a * s

    # Newton's method for f(s) = 42 comes from above: it starts where lower bounds of f reach that.
    away = np.abs(x - a)
    to_right = np.minimum((np.sqrt(away**2 + 2 * _DEPTH * x) - away) / x, np.log1p((_DEPTH + 750 * a) / x))
    end = np.where(side > 0, to_right, (_DEPTH + x) / a)
    for _ in range(12):
        end = end - (f(end) - _DEPTH) / (side * (x * np.exp(side * end) - a))
    return end


def _slope_by_quadrature(a: Any, log_x: Any) -> Any:
    """Integral of (log t - digamma(a)) p(t) / p(x) over log t, away from x on the side where the factor has one sign.

    At log t = log x -+ s the density ratio is e ** -f(s), f(s) = x (e ** -+s - 1) +- a s, which is convex and grows:
    the interval ends where f reaches 42.
    """
    x = np.exp(log_x)
    side = np.where(x > a, 1.0, -1.0)
    end = _end(a, log_x)
    centre = scipy_function("psi")(a)
    total = np.zeros_like(a)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        s = end * (0.5 * (node + 1))
        total += weight * (log_x + side * s - centre) * np.exp(side * a * s - x * np.expm1(side * s))
    return side * 0.5 * end * total


def _loggamma_slope(a: Any, log_x: Any) -> Any:
    dtype = getattr(a, "dtype", None) or log_x.dtype
    a, log_x = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(log_x, np.float64))
    y = np.full(a.shape, np.nan)
    with np.errstate(all="ignore"):
        valid = (a > 0) & np.isfinite(a) & (log_x < 709)
        short = valid & (a < _SMALL) & (log_x <= np.log(a + 0.3))
        y[short] = _slope_by_series(a[short], log_x[short])
        rest = valid & ~short
        y[rest] = _slope_by_quadrature(a[rest], log_x[rest])
    return np.asarray(y, dtype)[()]


def _slope_by_a(g: Any, y: Any, a: Any, log_x: Any) -> Any:
    """The same two ways, differentiated by a under the sum and the integral, in Knet's operations: to any order."""
    a, log_x = _array(a, g), _array(log_x, g)
    if g.dtype.itemsize < 8:  # the terms of the derivative cancel
        a, log_x, y = (cast(v, np.dtype(np.float64)) for v in (a, log_x, y))
    short = (a < _SMALL) & less(log_x, log(a + 0.3))

    def like_terms(values: Any) -> Any:
        return from_numpy(
            np.reshape(values, (-1,) + (1,) * max(a.ndim, log_x.ndim)).astype(np.float64), creation.device_of(a)
        )

    def total(x: Any) -> Any:
        return reduce.reduce_sum(x, axis=(0,), keepdims=False)

    p, q = where(short, a, 1.0), where(short, log_x, 0.0)
    orders = like_terms(np.arange(1, _TERMS)) + p
    c = reduce.cumulative_prod(exp(q) / orders, axis=0)
    h = reduce.cumulative_sum(1 / orders, axis=0)
    h2 = reduce.cumulative_sum(1 / (orders * orders), axis=0)
    front = digamma(p + 1) - q
    value = front * (1 + total(c)) + total(c * h)
    by_series = (polygamma(1, p + 1) * (1 + total(c)) - front * total(c * h) - total(c * (h * h + h2)) - value / p) / p

    p, q = where(short, 10.0, a), where(short, 2.0, log_x)
    end = integration_end(p, q)
    side = where(greater(q, log(p)), 1.0, -1.0)
    s = end * like_terms(0.5 * (_NODES + 1))
    ratio = exp(side * p * s - exp(q) * expm1(side * s)) * like_terms(_WEIGHTS)
    moved = (q + side * s - digamma(p)) * (side * s) - polygamma(1, p)
    by_quadrature = side * 0.5 * end * total(moved * ratio)
    return g * cast(where(short, by_series, by_quadrature), g.dtype)


def _slope_by_log_x(g: Any, y: Any, a: Any, log_x: Any) -> Any:
    return g * (digamma(_array(a, g)) - log_x - y * (a - exp(log_x)))


integration_end = elementwise(
    "integration_end", lambda a, log_x: _evaluate(_end, a, log_x), "", ZERO,
    "Length of the interval over which loggamma_slope's derivative is integrated; the rest counts for nothing. [...].",
    argnames=("a", "log_x"), **_REAL,
)  # fmt: skip
loggamma_slope = elementwise(
    "loggamma_slope", _loggamma_slope, "",
    (_slope_by_a, _slope_by_log_x),
    """Derivative by a > 0 of log x on the curve gammainc(a, x) = constant: how a quantile of the gamma distribution
    moves with its shape, -P_a / (p x). Computed in float64 by a series, or where that is long by quadrature; both sum
    terms of one sign, so the relative error stays within some units of 1e-15 also in the tails.

    Reference: Figurnov, Mohamed, Mnih 2018, "Implicit reparameterization gradients".""",
    argnames=("a", "log_x"), **_REAL,
)  # fmt: skip

# --- Bessel functions: iv and jv differentiate to any order, at 0 too -------------------------------------------------

i0 = elementwise(
    "i0", _unary("i0"), "", lambda g, _y, x: g * i1(x), "Modified Bessel function of the first kind of order 0.",
    **_REAL,
)  # fmt: skip
i1 = elementwise(
    "i1", _unary("i1"), "", lambda g, _y, x: g * (0.5 * (i0(x) + iv(2, x))),
    "Modified Bessel function of the first kind of order 1.", **_REAL,
)  # fmt: skip
iv = elementwise(
    "iv", _binary("iv"), "", (_ORDER, lambda g, _y, n, x: g * (0.5 * (iv(n - 1, x) + iv(n + 1, x)))),
    "Modified Bessel function of the first kind of order n at x: iv(n, x); NaN at x < 0 but for whole n. n, x: [...].",
    argnames=("n", "x"), **_REAL,
)  # fmt: skip
i0e = elementwise(
    "i0e", _unary("i0e"), "", lambda g, y, x: g * (i1e(x) - sign(x) * y), "i0(x) e ** -|x|; the derivative at 0 is 0.",
    **_REAL,
)  # fmt: skip
i1e = elementwise(
    "i1e", _unary("i1e"), "", lambda g, y, x: g * (0.5 * (i0e(x) + ive(2, x)) - sign(x) * y), "i1(x) e ** -|x|.",
    **_REAL,
)  # fmt: skip
ive = elementwise(
    "ive", _binary("ive"), "",
    (_ORDER, lambda g, y, n, x: g * (0.5 * (ive(n - 1, x) + ive(n + 1, x)) - sign(x) * y)),
    "iv(n, x) e ** -|x|. n, x: [...].", argnames=("n", "x"), **_REAL,
)  # fmt: skip
j0 = elementwise(
    "j0", _unary("j0"), "", lambda g, _y, x: -g * j1(x), "Bessel function of the first kind of order 0.", **_REAL
)
j1 = elementwise(
    "j1", _unary("j1"), "", lambda g, _y, x: g * (0.5 * (j0(x) - jv(2, x))),
    "Bessel function of the first kind of order 1.", **_REAL,
)  # fmt: skip
jv = elementwise(
    "jv", _binary("jv"), "", (_ORDER, lambda g, _y, n, x: g * (0.5 * (jv(n - 1, x) - jv(n + 1, x)))),
    "Bessel function of the first kind of order n at x: jv(n, x); NaN at x < 0 but for whole n. n, x: [...].",
    argnames=("n", "x"), **_REAL,
)  # fmt: skip

# --- logarithms -------------------------------------------------------------------------------------------------------

logit = elementwise(
    "logit", _unary("logit"), "log(x / (1 - x))", lambda g, _y, x: g / (x * (1 - x)),
    "Inverse of sigmoid, log(x / (1 - x)), on [0, 1]; NaN outside.", **_REAL,
)  # fmt: skip


def _ratio(x: Any, y: Any) -> Any:
    zero = equal(x, 0)
    return where(zero, 0.0, x / where(zero, 1.0, y))


xlogy = elementwise(
    "xlogy", _binary("xlogy"), "x == 0 && y == y ? 0 : x * log(y)",
    (lambda g, _y, _a, b: g * log(_array(b, g)), lambda g, _y, a, b: g * _ratio(a, b)),
    "x log(y), which is 0 where x = 0, and so is its derivative by y there.", **_REAL,
)  # fmt: skip
xlog1py = elementwise(
    "xlog1py", _binary("xlog1py"), "x == 0 && y == y ? 0 : x * log1p(y)",
    (lambda g, _y, _a, b: g * log1p(_array(b, g)), lambda g, _y, a, b: g * _ratio(a, 1 + b)),
    "x log(1 + y), which is 0 where x = 0, and so is its derivative by y there.", **_REAL,
)  # fmt: skip

expit = sigmoid

# --- the rest of C99's functions --------------------------------------------------------------------------------------

exp2 = elementwise("exp2", np.exp2, "exp2(x)", lambda g, y, _x: g * (y * math.log(2)), "Power of two, 2 ** x.", **_REAL)
cbrt = elementwise(
    "cbrt", np.cbrt, "cbrt(x)", lambda g, y, _x: g / (3 * (y * y)), "Cube root, of negative numbers too.", **_REAL
)
fmod = elementwise(
    "fmod", np.fmod, "fmod(x, y)", (lambda g, _y, _a, _b: g, lambda g, _y, a, b: -g * trunc(a / b)),
    "Remainder of x / y with the sign of x.", accepts="iuf",
)  # fmt: skip


def _ldexp_aval(x: Any, n: Any) -> ShapedArray:
    if dtypes.kind(x.dtype) != "f" or n.dtype.kind not in "iu":
        raise errors.unsupported_dtype("ldexp", ("x", "n"), (x, n), "a floating-point x and an integer n")
    shape = broadcast_shapes(x.shape, n.shape)
    if shape is None:
        raise errors.broadcast("ldexp", ("x", "n"), (x, n))
    return ShapedArray(shape, x.dtype)


@primitive(
    aval=_ldexp_aval,
    vjp=(lambda g, _y, x_aval, n: reduce.sum_to(ldexp(g, n), x_aval.shape), "an exponent is an integer"),
    jvp=LINEAR(0),
    batch=batching.pointwise,
)
def ldexp(x: Any, n: Any) -> Any:
    """x 2 ** n, rounded once: exact unless it overflows or becomes subnormal.

    x: [...] floating, n: [...] integer; they broadcast. Returns [...] of x's dtype.
    """
    with np.errstate(all="ignore"):
        n = np.clip(n, -9999, 9999).astype(np.int32)  # beyond any dtype's range
        return np.ldexp(x if x.dtype.itemsize > 2 else x.astype(np.float32), n).astype(x.dtype)


@primitive(
    aval=lambda x: ShapedArray(x.shape, dtypes.int32), vjp="integers have no derivative", batch=batching.pointwise
)
def exponent(x: Any) -> Any:
    """The n of x = m 2 ** n with 0.5 <= |m| < 1; 0 for 0, infinities and NaN.

    x: [...] floating. Returns int32 [...].
    """
    return np.where(np.isfinite(x), np.frexp(x.astype(np.float64))[1], 0).astype(np.int32)


def _preferred(g: Any, a: Any, b: Any, before: Any) -> Any:
    """Cotangent of a, where the result is a unless b comes before it or a alone is NaN; ties share it."""
    g = where(isnan(b), g, where(equal(a, b), g * 0.5, where(before(a, b), g, 0.0)))
    return where(isnan(a), where(isnan(b), g * 0.5, 0.0), g)


fmax = elementwise(
    "fmax", np.fmax, "fmax(x, y)",
    (lambda g, _y, a, b: _preferred(g, a, b, greater), lambda g, _y, a, b: _preferred(g, b, a, greater)),
    "Larger of x and y; the other one if one is NaN. Ties share the cotangent.", accepts="biuf",
)  # fmt: skip
fmin = elementwise(
    "fmin", np.fmin, "fmin(x, y)",
    (lambda g, _y, a, b: _preferred(g, a, b, less), lambda g, _y, a, b: _preferred(g, b, a, less)),
    "Smaller of x and y; the other one if one is NaN. Ties share the cotangent.", accepts="biuf",
)  # fmt: skip
