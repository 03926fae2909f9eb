"""Operations that Knet prints no kernel for, by CuPy: on arrays of CuPy's in the memory of Knet's, in Knet's stream.

``CALLS`` says what computes a primitive: linear algebra (cuSOLVER, cuBLAS), Fourier transforms (cuFFT), special
functions, and whatever has complex numbers in it. The functions are written against :class:`Modules`, and tested with
NumPy's and SciPy's in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...core import ShapedArray, errors
from . import linear


class Modules(Protocol):
    """Modules of functions.

    Attributes:
      xp: numpy, or what is like it.
      special: likewise scipy.special.
      linalg: likewise scipy.linalg.
    """

    xp: Any
    special: Any
    linalg: Any


class Call(NamedTuple):
    """What computes a primitive.

    Attributes:
      function: of Modules, the operands and the primitive's parameters; returns an array, or a tuple of several.
      library: that CuPy needs for it, by the name that cuda-pathfinder knows it under; empty for CuPy's own kernels.
      failure: the error that NumPy's LinAlgError becomes, of the primitive's name, the operand's, and the operand.
    """

    function: Callable[..., Any]
    library: str = ""
    failure: Callable[[str, str, Any], Exception] | None = None


# --- special functions ------------------------------------------------------------------------------------------------


def _special(name: str) -> Call:
    """A function of scipy.special, in float64: CuPy's float32 ones keep to no bound, and are not SciPy's."""

    def function(lib: Modules, *operands: Any) -> Any:
        doubles = [lib.xp.asarray(x, np.float64) for x in operands]
        return getattr(lib.special, name)(*doubles).astype(operands[-1].dtype)

    return Call(function)


# As far as the two agree everywhere. CuPy's i0e and i1e do not: they are 0 times infinity for large operands.
_SPECIAL = {
    "betaln": "betaln", "digamma": "psi", "erfinv": "erfinv", "gammainc": "gammainc", "gammaincc": "gammaincc",
    "i0": "i0", "i1": "i1", "j0": "j0", "j1": "j1", "log_ndtr": "log_ndtr", "ndtri": "ndtri", "polygamma": "polygamma",
    "zeta": "zeta",
}  # fmt: skip


# --- complex numbers --------------------------------------------------------------------------------------------------


def _ufunc(name: str) -> Call:
    return Call(lambda lib, *operands: getattr(lib.xp, name)(*operands))


def _truth(name: str) -> Call:
    """A function of truth values, of which CuPy's knows no complex numbers."""
    return Call(lambda lib, *operands: getattr(lib.xp, name)(*(x != 0 for x in operands)))


def _expm1(lib: Modules, x: Any) -> Any:
    """e ** x - 1 without CuPy's cancellation: for x = a + ib its real part is expm1(a) cos b - 2 sin(b/2)^2.

    At infinite real parts, and NaN on the real line, it is what the standard says.
    """
    xp, exp_x = lib.xp, lib.xp.exp(x)
    half = xp.sin(x.imag / 2)
    y = xp.empty(x.shape, x.dtype)
    y.real = xp.expm1(x.real) * xp.cos(x.imag) - 2 * half * half
    y.imag = exp_x.imag
    infinite = xp.isinf(x.real)
    y = xp.where(infinite, xp.where(x.real > 0, exp_x, exp_x - 1), y)
    y = xp.where(xp.isnan(x.real) & (x.imag == 0), x, y)
    y.real += 0.0  # -0.0 to 0.0
    return y


def _cast(lib: Modules, x: Any, *, dtype: Any) -> Any:
    if dtype.kind == "b":
        return x != 0
    return (x.real if x.dtype.kind == "c" and dtype.kind != "c" else x).astype(wide(dtype))


def _reduction(name: str) -> Call:
    def function(lib: Modules, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return getattr(lib.xp, name)(x, axis=axis, keepdims=keepdims) if axis else x

    return Call(function)


def _truth_reduction(name: str) -> Call:
    def function(lib: Modules, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        truth = x != 0
        return getattr(lib.xp, name)(truth, axis=axis, keepdims=keepdims) if axis else truth

    return Call(function)


_SAME = (
    "add", "conj", "cos", "cosh", "divide", "equal", "exp", "imag", "isfinite", "isinf", "isnan", "log", "log10",
    "log1p", "log2", "multiply", "negative", "not_equal", "positive", "power", "real", "reciprocal", "rint", "sin",
    "sinh", "sqrt", "square", "subtract", "tan", "tanh", "where",
)  # fmt: skip
_OTHER = {
    "abs": "abs", "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan",
    "atanh": "arctanh",
}  # fmt: skip

COMPLEX: dict[str, Call] = {
    **{name: _ufunc(name) for name in _SAME},
    **{name: _ufunc(theirs) for name, theirs in _OTHER.items()},
    **{name: _truth(name) for name in ("logical_and", "logical_not", "logical_or", "logical_xor")},
    "stop_gradient": Call(lambda lib, x: x),
    "expm1": Call(_expm1),
    "cast": Call(_cast),
    "reduce_sum": _reduction("sum"),
    "reduce_prod": _reduction("prod"),
    "reduce_any": _truth_reduction("any"),
    "reduce_all": _truth_reduction("all"),
    "cumulative_sum": Call(lambda lib, x, *, axis: lib.xp.cumsum(x, axis)),
    "cumulative_prod": Call(lambda lib, x, *, axis: lib.xp.cumprod(x, axis)),
    "matmul": Call(lambda lib, x, w: lib.xp.matmul(x, w), "cublas"),
    "matvec": Call(lambda lib, x, w: lib.xp.matmul(x, w), "cublas"),
}

# --- the table --------------------------------------------------------------------------------------------------------

CALLS: dict[str, Call] = {
    **{name: _special(theirs) for name, theirs in _SPECIAL.items()},
    **{name: Call(f, "cusolver", errors.not_converged) for name, f in (linear.FACTORS | linear.GENERAL).items()},
    **{name: Call(f, "cusolver", errors.singular) for name, f in linear.SYSTEMS.items()},
    **{name: Call(f, "cufft") for name, f in linear.TRANSFORMS.items()},
    "cholesky": Call(linear.cholesky, "cusolver", errors.not_positive_definite),
}


def call_of(primitive: Any, operands: Sequence[Any], results: Sequence[Any]) -> Call | None:
    """What computes a primitive for values of these dtypes; None where that is nothing here."""
    if primitive.name in CALLS:
        return CALLS[primitive.name]
    if any(getattr(x, "dtype", np.dtype(bool)).kind == "c" for x in (*operands, *results)):
        return COMPLEX.get(primitive.name)
    return None


def compute(lib: Modules, call: Call, primitive: Any, operands: Sequence[Any], params: dict[str, Any]) -> list[Any]:
    """Results of a call for arrays of the modules; of half types in float32.

    Raises:
      LinAlgError: what the primitive raises.
    """
    try:
        results = call.function(lib, *operands, **params)
    except np.linalg.LinAlgError:
        assert call.failure is not None
        argname = "a" if primitive.name in ("solve", "triangular_solve") else "x"
        x = operands[0]
        raise call.failure(primitive.name, argname, ShapedArray(x.shape, x.dtype)) from None
    return list(results) if primitive.multiple else [results]


def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype itself; float32 for half types, which CuPy does not compute with."""
    return np.dtype(np.float32) if dtype.itemsize == 2 and dtype.kind not in "iu" else dtype
