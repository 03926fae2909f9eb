"""Elementwise primitives: name, NumPy body, C expression and derivative of each stand together.

Rules leave broadcasting and promotion to the engine. Where a function is not differentiable at single points, the rule
returns a subgradient, named in its text.

Complex numbers: a rule is the transpose of the derivative with respect to <g, t> = Re(sum(g * t)), without conjugation,
as in JAX. A holomorphic function's rule is therefore g * f'(x), the same text as for real numbers; see docs/complex.md.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .. import batching, dtypes
from ..array import install_operators
from ..aval import ShapedArray
from ..device import as_array, from_numpy
from ..pointwise import elementwise
from ..primitive import LINEAR, ZERO, primitive

# --- arithmetic -----------------------------------------------------------------------------------------------------

add = elementwise("add", np.add, "x + y", (lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: g), "Sum, x + y.")
subtract = elementwise(
    "subtract", np.subtract, "x - y", (lambda g, _y, _a, _b: g, lambda g, _y, _a, _b: -g), "Difference, x - y.",
    accepts="iufc",
)  # fmt: skip
multiply = elementwise(
    "multiply", np.multiply, "x * y", (lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: g * a), "Product, x * y."
)
divide = elementwise(
    "divide", np.divide, "x / y", (lambda g, _y, _a, b: g / b, lambda g, y, _a, b: -(g * y) / b),
    "Quotient, x / y; integers divide as the default float.", compute="float",
)  # fmt: skip
negative = elementwise("negative", np.negative, "-x", lambda g, _y, _x: -g, "Negation, -x.", accepts="iufc")
positive = elementwise("positive", np.positive, "x", lambda g, _y, _x: g, "The number itself, +x.", accepts="iufc")


def _power_base(g: Any, _y: Any, a: Any, b: Any) -> Any:
    if isinstance(b, (int, float)):
        return None if b == 0 else g * (b * a ** (b - 1))
    # b a^(b-1), which at b = 0 is 0 even where a^(-1) is not finite.
    zero = equal(b, 0)
    return g * where(zero, 0.0, b * power(where(zero, 1.0, a), where(zero, 1.0, b - 1)))


def _power_exponent(g: Any, y: Any, a: Any, _b: Any) -> Any:
    if isinstance(a, (int, float)):
        return g * y * float(np.log(a)) if a > 0 else g * (y * log(add(a, 0.0 * y)))
    return g * y * log(where(equal(a, 0), 1.0, a))


power = elementwise(
    "power", np.power, "pow(x, y)", (_power_base, _power_exponent),
    "Power, x ** y. At x = 0 the derivative by y is taken as 0.", accepts="iufc",
)  # fmt: skip
square = elementwise("square", np.square, "x * x", lambda g, _y, x: g * (2 * x), "Square, x * x.", accepts="iufc")
reciprocal = elementwise(
    "reciprocal", np.reciprocal, "1 / x", lambda g, y, _x: -g * (y * y), "Reciprocal, 1 / x.",
    accepts="iufc", compute="float",
)  # fmt: skip
remainder = elementwise(
    "remainder", np.remainder, "x - floor(x / y) * y",
    (lambda g, _y, _a, _b: g, lambda g, _y, a, b: -g * floor(a / b)),
    "Remainder of x / y with the sign of y.", accepts="iuf",
)  # fmt: skip


def _floor_divide(x: Any, y: Any) -> Any:
    finite = np.isfinite(x) & np.isfinite(y)
    if np.all(finite):
        return np.floor_divide(x, y)
    with np.errstate(invalid="ignore"):  # NumPy makes inf // 2 NaN, and 1 // -inf -1; the standard wants floor(x / y)
        return np.where(finite, np.floor_divide(x, y), np.floor(np.true_divide(x, y)))


floor_divide = elementwise(
    "floor_divide", _floor_divide, "floor(x / y)", ZERO, "Largest integer not above x / y.", accepts="iuf"
)


def _abs_rule(g: Any, y: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        return g * sign(x)
    return g * conj(x) / where(equal(y, 0), 1.0, y)


abs = elementwise("abs", np.abs, "fabs(x)", _abs_rule, "Absolute value, of a complex number its distance from 0; the "
                  "derivative at 0 is 0.", accepts="iufc", result="real")  # fmt: skip
sign = elementwise("sign", np.sign, "x != x ? x : (x > 0) - (x < 0)", ZERO, "Sign: -1, 0 or 1.", accepts="iuf")


def _nextafter(x: Any, y: Any) -> Any:
    return np.where(np.equal(x, y), y, np.nextafter(x, y))  # -0.0 follows 0.0, in half precision, too


copysign = elementwise(
    "copysign", np.copysign, "copysign(x, y)",
    (lambda g, _y, a, b: where(equal(signbit(a), signbit(b)), g, -g), ZERO),
    "The magnitude of x with the sign of y, which zeros and NaN have, too.", accepts="iuf", compute="float",
)  # fmt: skip
nextafter = elementwise(
    "nextafter", _nextafter, "nextafter(x, y)", (lambda g, _y, _a, _b: g, ZERO),
    "The neighbour of x in its dtype on the way to y; the derivative is that of x.", accepts="f",
)  # fmt: skip


def _larger(g: Any, a: Any, b: Any) -> Any:
    return where(equal(a, b), g * 0.5, where(greater(a, b), g, 0.0))


maximum = elementwise(
    "maximum", np.maximum, "x > y || x != x ? x : y",
    (lambda g, _y, a, b: _larger(g, a, b), lambda g, _y, a, b: _larger(g, b, a)),
    "Larger of x and y; NaN if one is NaN. Ties share the cotangent.", accepts="biuf",
)  # fmt: skip
minimum = elementwise(
    "minimum", np.minimum, "x < y || x != x ? x : y",
    (lambda g, _y, a, b: _larger(g, b, a), lambda g, _y, a, b: _larger(g, a, b)),
    "Smaller of x and y; NaN if one is NaN. Ties share the cotangent.", accepts="biuf",
)  # fmt: skip

# --- complex numbers --------------------------------------------------------------------------------------------------

real = elementwise(
    "real", lambda x: x.real, "x", lambda g, _y, x_aval: cast(g, x_aval.dtype), "Real part; of a real number, itself.",
    accepts="iufc", result="real",
)  # fmt: skip
imag = elementwise(
    "imag", lambda x: x.imag, "0", lambda g, _y, x_aval: g * -1j if x_aval.dtype.kind == "c" else None,
    "Imaginary part; of a real number, 0.", accepts="iufc", result="real",
)  # fmt: skip
conj = elementwise(
    "conj", np.conjugate, "x", lambda g, _y, _x: conj(g), "Complex conjugate; of a real number, itself.",
    accepts="iufc",
)  # fmt: skip

# --- exponentials and logarithms ------------------------------------------------------------------------------------

_FLOAT: dict[str, Any] = {"accepts": "biufc", "compute": "float"}
_REAL: dict[str, Any] = {"accepts": "biuf", "compute": "float"}


def _expm1(x: Any) -> Any:
    if x.dtype.kind != "c":
        return np.expm1(x)
    with np.errstate(all="ignore"):
        y = np.expm1(x)
    # NumPy makes these NaN where the standard does not: infinite real parts, and a NaN on the real line.
    exp_x = np.exp(x)
    y = np.where(np.isposinf(x.real), exp_x, np.where(np.isneginf(x.real), exp_x - 1, y))
    y = np.where(np.isnan(x.real) & (x.imag == 0), x, y).astype(x.dtype, copy=False)
    y.real += 0.0  # -0.0 to 0.0
    return y


exp = elementwise("exp", np.exp, "exp(x)", lambda g, y, _x: g * y, "Exponential, e ** x.", **_FLOAT)
expm1 = elementwise("expm1", _expm1, "expm1(x)", lambda g, y, _x: g * (y + 1), "e ** x - 1, accurate near 0.", **_FLOAT)
log = elementwise("log", np.log, "log(x)", lambda g, _y, x: g / x, "Natural logarithm; NaN below 0.", **_FLOAT)
log1p = elementwise(
    "log1p", np.log1p, "log1p(x)", lambda g, _y, x: g / (1 + x), "log(1 + x), accurate near 0.", **_FLOAT
)
log2 = elementwise(
    "log2", np.log2, "log2(x)", lambda g, _y, x: g / (x * float(np.log(2))), "Logarithm to base 2.", **_FLOAT
)
log10 = elementwise(
    "log10", np.log10, "log10(x)", lambda g, _y, x: g / (x * float(np.log(10))), "Logarithm to base 10.", **_FLOAT
)
sqrt = elementwise("sqrt", np.sqrt, "sqrt(x)", lambda g, y, _x: g * 0.5 / y, "Square root; NaN below 0.", **_FLOAT)
logaddexp = elementwise(
    "logaddexp", np.logaddexp, "x == y ? x + 0.6931471805599453 : fmax(x, y) + log1p(exp(-fabs(x - y)))",
    (lambda g, y, a, _b: g * exp(a - y), lambda g, y, _a, b: g * exp(b - y)),
    "log(e ** x + e ** y), without overflow.", **_REAL,
)  # fmt: skip

# --- trigonometry ---------------------------------------------------------------------------------------------------

sin = elementwise("sin", np.sin, "sin(x)", lambda g, _y, x: g * cos(x), "Sine of x radians.", **_FLOAT)
cos = elementwise("cos", np.cos, "cos(x)", lambda g, _y, x: -g * sin(x), "Cosine of x radians.", **_FLOAT)
tan = elementwise("tan", np.tan, "tan(x)", lambda g, y, _x: g * (1 + y * y), "Tangent of x radians.", **_FLOAT)
asin = elementwise(
    "asin", np.arcsin, "asin(x)", lambda g, _y, x: g / sqrt((1 - x) * (1 + x)), "Inverse sine, in radians.", **_FLOAT
)
acos = elementwise(
    "acos", np.arccos, "acos(x)", lambda g, _y, x: -g / sqrt((1 - x) * (1 + x)), "Inverse cosine, in radians.", **_FLOAT
)
atan = elementwise(
    "atan", np.arctan, "atan(x)", lambda g, _y, x: g / (1 + x * x), "Inverse tangent, in radians.", **_FLOAT
)
atan2 = elementwise(
    "atan2", np.arctan2, "atan2(x, y)",
    (lambda g, _y, a, b: g * b / (a * a + b * b), lambda g, _y, a, b: -g * a / (a * a + b * b)),
    "Angle of the point (y, x) in radians, in [-pi, pi]: the inverse tangent of x / y in the right quadrant.", **_REAL,
)  # fmt: skip
sinh = elementwise("sinh", np.sinh, "sinh(x)", lambda g, _y, x: g * cosh(x), "Hyperbolic sine.", **_FLOAT)
cosh = elementwise("cosh", np.cosh, "cosh(x)", lambda g, _y, x: g * sinh(x), "Hyperbolic cosine.", **_FLOAT)
tanh = elementwise(
    # Written so that it does not cancel near |y| = 1.
    "tanh", np.tanh, "tanh(x)", lambda g, y, _x: (g + g * y) * (1 - y), "Hyperbolic tangent, in [-1, 1].", **_FLOAT
)  # fmt: skip
asinh = elementwise(
    "asinh", np.arcsinh, "asinh(x)", lambda g, _y, x: g / sqrt(x * x + 1), "Inverse hyperbolic sine.", **_FLOAT
)
acosh = elementwise(
    # Two roots: of complex factors, the root of the product may lie on another branch.
    "acosh", np.arccosh, "acosh(x)", lambda g, _y, x: g / (sqrt(x - 1) * sqrt(x + 1)), "Inverse hyperbolic cosine.",
    **_FLOAT,
)  # fmt: skip
atanh = elementwise(
    "atanh", np.arctanh, "atanh(x)", lambda g, _y, x: g / ((1 - x) * (1 + x)), "Inverse hyperbolic tangent.", **_FLOAT
)
hypot = elementwise(
    "hypot", np.hypot, "hypot(x, y)",
    (lambda g, y, a, _b: g * a / where(equal(y, 0), 1.0, y), lambda g, y, _a, b: g * b / where(equal(y, 0), 1.0, y)),
    "sqrt(x ** 2 + y ** 2), without overflow; the derivative at (0, 0) is 0.", **_REAL,
)  # fmt: skip

# --- activations ----------------------------------------------------------------------------------------------------


def _sigmoid(x: Any) -> Any:
    small = np.exp(-np.abs(x))  # never overflows
    one = x.dtype.type(1)  # of bfloat16, for which NumPy 2.0 would let a Python number widen the result
    return np.where(x >= 0, one, small) / (one + small)


relu = elementwise(
    "relu", lambda x: np.maximum(x, x.dtype.type(0)), "x <= 0 ? 0 : x", lambda g, y, _x: where(greater(y, 0), g, 0.0),
    "Rectified linear unit, max(x, 0); the derivative at 0 is 0.", accepts="iuf",
)  # fmt: skip
sigmoid = elementwise(
    "sigmoid", _sigmoid, "1 / (1 + exp(-x))", lambda g, y, _x: g * (y * (1 - y)),
    "Logistic function, 1 / (1 + e ** -x), in [0, 1].", **_REAL,
)  # fmt: skip
softplus = elementwise(
    "softplus", lambda x: np.logaddexp(x, np.zeros((), x.dtype)).astype(x.dtype), "fmax(x, 0) + log1p(exp(-fabs(x)))",
    lambda g, _y, x: g * sigmoid(x), "log(1 + e ** x), a smooth relu, without overflow.", **_REAL,
)  # fmt: skip

# --- rounding and tests ---------------------------------------------------------------------------------------------


def _whole(ufunc: Any) -> Any:
    return lambda x: x if x.dtype.kind in "iu" else ufunc(x)  # by way of floats, large integers would change


floor = elementwise("floor", _whole(np.floor), "floor(x)", ZERO, "Largest integer not above x.", accepts="iuf")
ceil = elementwise("ceil", _whole(np.ceil), "ceil(x)", ZERO, "Smallest integer not below x.", accepts="iuf")
trunc = elementwise("trunc", _whole(np.trunc), "trunc(x)", ZERO, "Integer part of x.", accepts="iuf")
rint = elementwise("rint", _whole(np.rint), "rint(x)", ZERO, "Nearest integer, halves to even; of complex numbers, of "
                   "each part.", accepts="iufc")  # fmt: skip

_BOOL: dict[str, Any] = {"result": "bool"}
_NO = "a truth value has no derivative"
isnan = elementwise("isnan", np.isnan, "x != x", _NO, "Whether x is NaN.", **_BOOL)
isinf = elementwise("isinf", np.isinf, "isinf(x)", _NO, "Whether x is infinite.", **_BOOL)
signbit = elementwise(
    "signbit", np.signbit, "signbit(x) != 0", _NO, "Whether x's sign bit is set, as in -0.0.", accepts="iuf", **_BOOL
)
isfinite = elementwise("isfinite", np.isfinite, "isfinite(x)", _NO, "Whether x is neither NaN nor infinite.", **_BOOL)
equal = elementwise("equal", np.equal, "x == y", _NO, "Whether x == y.", **_BOOL)
not_equal = elementwise("not_equal", np.not_equal, "x != y", _NO, "Whether x != y.", **_BOOL)
less = elementwise("less", np.less, "x < y", _NO, "Whether x < y.", accepts="biuf", **_BOOL)
less_equal = elementwise("less_equal", np.less_equal, "x <= y", _NO, "Whether x <= y.", accepts="biuf", **_BOOL)
greater = elementwise("greater", np.greater, "x > y", _NO, "Whether x > y.", accepts="biuf", **_BOOL)
greater_equal = elementwise(
    "greater_equal", np.greater_equal, "x >= y", _NO, "Whether x >= y.", accepts="biuf", **_BOOL
)
logical_and = elementwise("logical_and", np.logical_and, "x && y", _NO, "Whether both are true.", **_BOOL)
logical_or = elementwise("logical_or", np.logical_or, "x || y", _NO, "Whether at least one is true.", **_BOOL)
logical_xor = elementwise("logical_xor", np.logical_xor, "!x != !y", _NO, "Whether exactly one is true.", **_BOOL)
logical_not = elementwise("logical_not", np.logical_not, "!x", _NO, "Whether x is false.", **_BOOL)

_BITS = "integers have no derivative"
bitwise_and = elementwise("bitwise_and", np.bitwise_and, "x & y", _BITS, "Bits set in both.", accepts="biu")
bitwise_or = elementwise("bitwise_or", np.bitwise_or, "x | y", _BITS, "Bits set in one or both.", accepts="biu")
bitwise_xor = elementwise("bitwise_xor", np.bitwise_xor, "x ^ y", _BITS, "Bits set in exactly one.", accepts="biu")
bitwise_invert = elementwise("bitwise_invert", np.invert, "~x", _BITS, "Bits inverted.", accepts="biu")
bitwise_left_shift = elementwise("bitwise_left_shift", np.left_shift, "x << y", _BITS, "x * 2 ** y.", accepts="iu")
bitwise_right_shift = elementwise(
    "bitwise_right_shift", np.right_shift, "x >> y", _BITS, "floor(x / 2 ** y).", accepts="iu"
)

# --- selection and conversion -----------------------------------------------------------------------------------------

where = elementwise(
    "where", np.where, "condition ? x : y",
    (
        ZERO,
        lambda g, _y, condition, _a, _b: where(condition, g, 0.0),
        lambda g, _y, condition, _a, _b: where(condition, 0.0, g),
    ),
    "x where the condition holds, else y.", argnames=("condition", "x", "y"), free=(0,),
)  # fmt: skip
stop_gradient = elementwise("stop_gradient", lambda x: x, "x", ZERO, "x, through which no derivative flows.")


def _cast_aval(x: Any, *, dtype: Any) -> ShapedArray:
    return ShapedArray(x.shape, dtype)


@primitive(
    "cast",
    aval=_cast_aval,
    vjp=(lambda g, _y, x_aval, *, dtype: cast(g, x_aval.dtype),),
    jvp=LINEAR(),
    batch=batching.pointwise,
)
def _cast(x: Any, *, dtype: Any) -> Any:
    """Elements converted to another dtype; floats to integers truncate.

    Complex to real takes the real part: the adjoint of real to complex, which only derivatives ask for.
    """
    return (x.real if x.dtype.kind == "c" and dtype.kind not in "cb" else x).astype(dtype)


def cast(x: Any, dtype: Any) -> Any:
    """Elements converted to a (canonical) dtype; the array itself if it has that already."""
    return x if x.dtype is dtype else _cast(x, dtype=dtype)


def as_dtype(x: Any, dtype: Any, device: Any = None) -> Any:
    """Operand in a given dtype. A Python float goes there straight: by way of the default float it would be rounded."""
    if isinstance(x, float) and dtypes.is_differentiable(dtype):
        return from_numpy(np.asarray(x, dtype), device)
    return cast(as_array(x), dtype)


def operands(*xs: Any) -> list[Any]:
    """Arrays of one dtype for operands of a function: Python numbers take the arrays' dtype, as in the operators."""
    scalars = [x for x in xs if isinstance(x, (bool, int, float, complex))]
    if not scalars or len(scalars) == len(xs):
        return meet(*map(as_array, xs))
    arrays = [x if isinstance(x, (bool, int, float, complex)) else as_array(x) for x in xs]
    dtype = functools.reduce(dtypes.promote, [x.dtype for x in arrays if not isinstance(x, (int, float, complex))])
    dtype = functools.reduce(dtypes.promote_scalar, scalars, dtype)
    return [as_dtype(x, dtype) for x in arrays]


def meet(*xs: Any) -> list[Any]:
    """Arrays cast to their common dtype."""
    dtype = xs[0].dtype
    for x in xs[1:]:
        dtype = dtypes.promote(dtype, x.dtype)
    return [cast(x, dtype) for x in xs]


# --- operators --------------------------------------------------------------------------------------------------------


def power_operator(x: Any, y: Any) -> Any:
    """``x ** y``; squares, the most frequent power, go to their own primitive."""
    return square(x) if type(y) is int and y == 2 else power.apply(x, y)


_UNARY = {"neg": negative, "pos": positive, "abs": abs, "invert": bitwise_invert}
_COMPARISONS = {
    "eq": equal, "ne": not_equal, "lt": less, "le": less_equal, "gt": greater, "ge": greater_equal,
}  # fmt: skip
_ARITHMETIC = {
    "add": add, "sub": subtract, "mul": multiply, "truediv": divide, "floordiv": floor_divide, "mod": remainder,
    "and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor,
    "lshift": bitwise_left_shift, "rshift": bitwise_right_shift,
}  # fmt: skip

install_operators(
    [
        *((f"__{name}__", op.apply, False) for name, op in (_UNARY | _COMPARISONS | _ARITHMETIC).items()),
        *((f"__r{name}__", op.apply, True) for name, op in _ARITHMETIC.items()),
        ("__pow__", power_operator, False),
        ("__rpow__", power.apply, True),
    ],
    {np.floor_divide: floor_divide}
    | {op.body: op for op in (*_COMPARISONS.values(), *_ARITHMETIC.values(), power) if op is not floor_divide},
)
