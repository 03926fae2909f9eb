"""One row for each primitive: what it computes, on which domain, how exactly, and how it behaves at special points.

The tests in ``ops/`` walk this table, so a primitive is tested by having a row; ``structure/test_complete.py`` fails
for a primitive without a row and for a row without a primitive.

``want`` is an oracle that shares nothing with the primitive: a formula evaluated in numpy.longdouble, or a plain loop.
``ulp`` bounds the distance from it, in units in the last place of the result's dtype. Bounds of elementary functions
are those of the OpenCL standard's full profile, so that one table serves every backend.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np

import knet.numpy as knp
from knet.core import ShapedArray, registry
from knet.core.errors import DTypeError, IndexOutOfBounds, LinAlgError, ShapeError

FLOATS = (knp.float16, knp.bfloat16, knp.float32, knp.float64)
INT32, BOOL, UINT64 = np.dtype("int32"), np.dtype("bool"), np.dtype("uint64")
DTYPES = (*FLOATS, INT32, BOOL)
COMPLEXES = (knp.complex64, knp.complex128)
LONG, LONG_COMPLEX = np.longdouble, np.clongdouble

inf, nan, pi = np.inf, np.nan, np.pi

# --- domains ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Domain:
    """Where operands are drawn from: ``floats(rng, shape)``, as the parts of complex numbers, too, and ``integers``."""

    name: str
    floats: Callable[..., Any]
    integers: Callable[..., Any]

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Random array; booleans are the integers' last bits."""
        if dtype == BOOL:
            return np.asarray(rng.integers(0, 2, shape), bool)
        if dtype.kind == "c":
            return np.asarray(self.floats(rng, shape) + 1j * self.floats(rng, shape)).astype(dtype)
        return np.asarray((self.integers if dtype.kind in "iu" else self.floats)(rng, shape)).astype(dtype)


def _integers(low: int, high: int) -> Any:
    return lambda rng, shape: rng.integers(low, high + 1, shape)


def _uniform(low: float, high: float) -> Any:
    return lambda rng, shape: rng.uniform(low, high, shape)


def _signed(low: float, high: float) -> Any:
    return lambda rng, shape: rng.uniform(low, high, shape) * rng.choice([-1, 1], shape)


def _distinct(rng: Any, shape: Any) -> Any:
    size = int(np.prod(shape))
    return (rng.permutation(size).reshape(shape) - size / 2) * 0.25


REAL = Domain("REAL", _uniform(-2, 2), _integers(-5, 5))
POSITIVE = Domain("POSITIVE", _uniform(0.3, 3), _integers(1, 5))
NONZERO = Domain("NONZERO", _signed(0.4, 2), lambda rng, shape: rng.integers(1, 5, shape) * rng.choice([-1, 1], shape))
ABS_LT_1 = Domain("ABS_LT_1", _uniform(-0.8, 0.8), _integers(0, 0))
ABOVE_1 = Domain("ABOVE_1", _uniform(1.3, 4), _integers(2, 6))
ABOVE_MINUS_1 = Domain("ABOVE_MINUS_1", _uniform(-0.7, 3), _integers(0, 5))
BELOW_HALF_PI = Domain("BELOW_HALF_PI", _uniform(-1.2, 1.2), _integers(-1, 1))
HALVES = Domain("HALVES", lambda rng, shape: rng.integers(-5, 6, shape) * 0.5, _integers(-5, 5))
NONZERO_HALVES = Domain(
    "NONZERO_HALVES", lambda rng, shape: rng.integers(1, 5, shape) * 0.5 * rng.choice([-1, 1], shape), NONZERO.integers
)
ODD_QUARTERS = Domain("ODD_QUARTERS", lambda rng, shape: rng.integers(-5, 6, shape) * 0.5 + 0.25, _integers(-5, 5))
DISTINCT = Domain("DISTINCT", _distinct, lambda rng, shape: rng.permutation(int(np.prod(shape))).reshape(shape))
INTEGERS = Domain("INTEGERS", REAL.floats, _integers(-50, 50))
SHIFTS = Domain("SHIFTS", REAL.floats, _integers(0, 6))
BOOLEANS = Domain("BOOLEANS", _uniform(0, 1), _integers(0, 1))
ZERO_OR_ONE = Domain("ZERO_OR_ONE", lambda rng, shape: rng.integers(0, 2, shape), _integers(0, 1))

# --- rows -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Draw:
    """An operand to be drawn; ``dtype`` None means the dtype under test."""

    shape: tuple[int, ...]
    domain: Domain = REAL
    dtype: np.dtype[Any] | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """Operands (drawn, given, or computed from those before them) and static parameters."""

    operands: tuple[Any, ...]
    params: dict[str, Any]

    def draw(self, dtype: np.dtype[Any], seed: str) -> list[Any]:
        """The operands as NumPy arrays; the same seed draws the same."""
        rng = np.random.default_rng(zlib.crc32(f"{seed} {self}".encode()))
        arrays: list[Any] = []
        for operand in self.operands:
            if isinstance(operand, Draw):
                arrays.append(operand.domain.draw(rng, operand.shape, operand.dtype or dtype))
            else:
                arrays.append(operand(*arrays) if callable(operand) else operand)
        return arrays

    def __str__(self) -> str:
        parts = [str(list(o.shape)) if hasattr(o, "shape") else "..." for o in self.operands]
        return ", ".join(parts + [f"{k}={v}" for k, v in self.params.items()])


def case(*operands: Any, **params: Any) -> Case:
    """A case; a tuple stands for a real operand of that shape."""
    return Case(tuple(Draw(o) if isinstance(o, tuple) else o for o in operands), params)


RULE, ZERO, REFUSED, INDEX = "rule", "zero", "refused", "index"


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """What the tests know of one primitive.

    Args:
      name: of the primitive.
      want: oracle, called with longdouble (or integer) arrays and the parameters.
      cases: operands and parameters.
      kinds: kinds of dtype that all drawn operands may have, letters of b i f c.
      grads: for each operand RULE, ZERO (the derivative is zero), REFUSED (the result has no derivative) or INDEX (the
        operand is an index, a condition or a key, and cannot be differentiated by).
      ulp: bound on the error, in units in the last place of the result, or of ``scale`` where that is given.
      scale: magnitude against which errors count, for results that cancel; called like want, with absolute values.
      special: rows (operands, result), compared exactly but for ulp.
      slopes: rows (operands, which operand, derivative by it for a cotangent of ones).
      bad: rows (case, exception, dtype or None).
      fixed: dtype of all drawn operands, if the primitive has only one.
      at_special: parameters of the special points and slopes.
    """

    name: str
    want: Callable[..., Any]
    cases: tuple[Case, ...]
    kinds: str
    grads: tuple[str, ...]
    ulp: float = 0.5
    scale: Callable[..., Any] | None = None
    special: Sequence[tuple[Any, Any]] = ()
    slopes: Sequence[tuple[Any, int, Any]] = ()
    bad: Sequence[tuple[Case, type[Exception]]] = ()
    grad_ulp: float = 16
    fixed: np.dtype[Any] | None = None
    at_special: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def primitive(self) -> Any:
        """The primitive itself."""
        return registry[self.name]

    @property
    def dtypes(self) -> tuple[np.dtype[Any], ...]:
        """The dtypes to test."""
        return (self.fixed,) if self.fixed else tuple(d for d in (*DTYPES, *COMPLEXES) if kind(d) in self.kinds)

    @property
    def double(self) -> np.dtype[Any]:
        """The dtype in which derivatives are compared with differences."""
        return knp.complex128 if "f" not in self.kinds and "c" in self.kinds else knp.float64

    @property
    def elementwise(self) -> bool:
        """Whether it is one function applied to each element, without parameters."""
        return self in ELEMENTWISE

    @property
    def rejected(self) -> tuple[np.dtype[Any], ...]:
        """Dtypes that it must refuse."""
        kinds = "".join(k for k, names in _REJECTED.items() if self.name in names)
        return tuple(d for d in (*DTYPES, knp.complex64) if kind(d) in kinds)


def kind(dtype: np.dtype[Any]) -> str:
    """Kind letter of a dtype, f for bfloat16 too."""
    return "f" if dtype == knp.bfloat16 else dtype.kind


# --- comparing --------------------------------------------------------------------------------------------------------


def ulp_size(magnitude: Any, dtype: np.dtype[Any]) -> Any:
    """Distance between neighbouring numbers of ``dtype`` at a magnitude (longdouble)."""
    info = ml_dtypes.finfo(dtype)
    safe = np.maximum(np.abs(magnitude), LONG(info.smallest_normal))
    return np.exp2(np.floor(np.log2(safe))) * LONG(info.eps)


def assert_within_ulp(got: Any, want: Any, ulp: float, scale: Any = None, label: str = "") -> None:
    """Fail unless got is within ``ulp`` units in the last place of want. NaN must stand where want has NaN, infinities
    and signs of zero must be equal; integers and booleans must be equal. Of complex numbers each part must be within
    ``ulp`` units of the whole number's magnitude.
    """
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{label}: shape {got.shape}, expected {want.shape}"
    if got.dtype.kind == "c":
        scale = np.abs(want) if scale is None else scale
        for part, of in (("real", np.real), ("imaginary", np.imag)):
            assert_within_ulp(of(got), of(want), ulp, scale, f"{label}, {part} part")
        return
    if kind(got.dtype) != "f":
        assert np.array_equal(got, want), f"{label}: {got.tolist()}, expected {want.tolist()}"
        return
    wide, want = got.astype(LONG), want.astype(LONG)
    with np.errstate(all="ignore"):
        largest = LONG(ml_dtypes.finfo(got.dtype).max)
        overflows = np.isfinite(want) & (np.abs(want) > largest)
        want = np.where(overflows, np.sign(want) * inf, want)
        finite = np.isfinite(want)
        same = (wide == want) | (np.isnan(wide) & np.isnan(want))
        unit = ulp_size(np.where(finite, want, 1) if scale is None else np.abs(scale).astype(LONG), got.dtype)
        error = np.where(same, 0, np.where(finite & np.isfinite(wide), np.abs(wide - np.where(finite, want, 0)), inf))
        error = error / unit
    worst = np.max(error, initial=0.0)
    if not worst <= ulp * (1 + 1e-3):  # a comparison with NaN is false, and therefore fails
        at = np.unravel_index(np.argmax(error), error.shape)
        raise AssertionError(f"{label}: at {list(map(int, at))} {wide[at]}, expected {want[at]}: {worst:.3g} ulp of "
                             f"{got.dtype}, allowed {ulp}")  # fmt: skip


def aval(row: Row, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
    """Shape and dtype by the primitive's own rule; a tuple of them for a primitive with several results."""
    return row.primitive.aval(*(ShapedArray(a.shape, a.dtype) for a in arrays), **params)


def each(result: Any) -> list[Any]:
    """The results of a primitive as a list, whether it has one or several."""
    return list(result) if isinstance(result, tuple) else [result]


def expected(row: Row, case: Case, arrays: Sequence[Any], result: np.dtype[Any]) -> tuple[list[Any], list[Any]]:
    """What the oracle says of these operands, and the scales of the errors: one of each for every result.

    Operands of the dtype under test are widened: to longdouble where they or the result are floating, else to int64.
    Given ones (indices, conditions, keys) go to the oracle as they are.
    """
    operands = []
    for array, spec in zip(arrays, case.operands, strict=True):
        if (isinstance(spec, Draw) and spec.dtype is not None) or isinstance(spec, np.ndarray):
            operands.append(array)
        elif array.dtype.kind == "c":
            operands.append(array.astype(LONG_COMPLEX))
        elif kind(result) in "fc" or kind(array.dtype) == "f":
            operands.append(array.astype(LONG))
        else:
            operands.append(array.astype(np.int64) if array.dtype.kind == "i" else array)
    with np.errstate(all="ignore"):
        want = each(row.want(*operands, **case.params))
        if row.scale is None or kind(result) not in "fc":
            return want, [None] * len(want)
        sizes = (np.abs(o) if o.dtype in (LONG, LONG_COMPLEX) else o for o in operands)
        return want, each(row.scale(*sizes, **case.params))


def in_reals(arrays: Sequence[Any]) -> list[Any]:
    """Arrays with a real and an imaginary part in place of each complex one; NumPy's or Knet's."""
    return [part for x in arrays for part in ((x.real, x.imag) if x.dtype.kind == "c" else (x,))]


def from_reals(parts: Sequence[Any], complexes: Sequence[bool]) -> list[Any]:
    """The inverse of :func:`in_reals`, for operands of which ``complexes`` says which are complex."""
    left = iter(parts)
    return [next(left) + 1j * next(left) if c else next(left) for c in complexes]


def special_case(row: Row, point: Sequence[Any], dtype: np.dtype[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Operands and parameters of a special point; a bool is a condition, a list lies along the only axis."""
    arrays = [np.asarray(v, BOOL if isinstance(v, bool) else dtype) for v in point]
    return arrays, row.at_special


# --- elementwise ------------------------------------------------------------------------------------------------------

UNARY_SHAPES = ((), (0,), (1,), (5,), (2, 3), (2, 0, 3))
PAIRS = (
    ((), ()), ((3,), ()), ((), (2, 2)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((0,), (1,)), ((4, 1, 2), (3, 1)), ((5,),
    (5,)),
)  # fmt: skip
TRIPLES = (((), (), ()), ((3,), (), (2, 1)), ((2, 3), (3,), (1, 1)), ((0,), (1,), ()), ((4,), (4,), (4,)))


def _elementwise(name: str, want: Any, domains: Sequence[Domain], kinds: str, grads: Any, **options: Any) -> Row:
    count = len(domains)
    shapes: Any = {1: [(s,) for s in UNARY_SHAPES], 2: PAIRS, 3: TRIPLES}[count]
    dtypes = (BOOL, None, None) if count == 3 else (None,) * count
    cases = tuple(Case(tuple(map(Draw, group, domains, dtypes)), {}) for group in shapes)
    bad: list[tuple[Case, type[Exception]]] = []
    if count == 2:
        bad = [(Case((Draw((2,), domains[0]), Draw((3,), domains[1])), {}), ShapeError)]
    grads = (grads,) * count if isinstance(grads, str) else grads
    return Row(name, want, cases, kinds, grads, bad=bad, **options)


def unary(name: str, want: Any, domain: Domain, kinds: str, grad: str, ulp: float = 0.5, **options: Any) -> Row:
    """Row of a function of one number; special points are pairs (x, y), slopes pairs (x, dy/dx)."""
    special = [((x,), y) for x, y in options.pop("special", ())]
    slopes = [((x,), 0, d) for x, d in options.pop("slopes", ())]
    return _elementwise(name, want, (domain,), kinds, grad, ulp=ulp, special=special, slopes=slopes, **options)


def binary(name: str, want: Any, domains: Any, kinds: str, grads: Any, ulp: float = 0.5, **options: Any) -> Row:
    """Row of a function of two numbers; special points are triples (x, y, z)."""
    domains = (domains, domains) if isinstance(domains, Domain) else domains
    special = [((x, y), z) for x, y, z in options.pop("special", ())]
    return _elementwise(name, want, domains, kinds, grads, ulp=ulp, special=special, **options)


def _truth(function: Any) -> Any:
    return lambda *xs: np.asarray(function(*xs), bool)


def _round_half_even(x: Any) -> Any:
    low = np.floor(x)
    odd = low - 2 * np.floor(low / 2)
    return np.where(x - low == 0.5, low + odd, np.floor(x + 0.5)).astype(x.dtype)


def _mod(x: Any, y: Any) -> Any:
    r = x - np.floor(x / y) * y
    return np.asarray(r).astype(x.dtype)


_ZEROS_OF_ONE_SIGN = [(0.0, 0.0), (-0.0, -0.0)]
_ODD = [(0.0, 0.0), (-0.0, -0.0), (nan, nan)]
_COMPARE = {"domains": HALVES, "kinds": "bif", "grads": REFUSED}

ELEMENTWISE = [
    binary("add", lambda x, y: x + y, REAL, "bif", RULE,
           special=[(inf, -inf, nan), (-0.0, -0.0, -0.0), (-0.0, 0.0, 0.0)],
           scale=lambda x, y: x + y),
    binary("subtract", lambda x, y: x - y, REAL, "if", RULE, special=[(inf, inf, nan), (0.0, 0.0, 0.0)],
           scale=lambda x, y: x + y),
    binary("multiply", lambda x, y: x * y, REAL, "bif", RULE, special=[(inf, 0.0, nan), (-0.0, 2.0, -0.0)]),
    binary("divide", lambda x, y: x / y, (REAL, NONZERO), "if", RULE, 2.5,
           special=[(1.0, 0.0, inf), (1.0, -0.0, -inf), (0.0, 0.0, nan), (1.0, inf, 0.0), (-3.0, 2.0, -1.5)]),
    unary("negative", lambda x: 0 - x if x.dtype.kind == "i" else -x, REAL, "if", RULE,
          special=[(0.0, -0.0), (inf, -inf)]),
    unary("positive", lambda x: x, REAL, "if", RULE, special=[*_ODD, (-inf, -inf)]),
    binary("power", lambda x, y: x**y, (POSITIVE, REAL), "f", RULE, 16,
           special=[(0.0, 0.0, 1.0), (2.0, 10.0, 1024.0), (-2.0, 3.0, -8.0), (-2.0, 0.5, nan), (nan, 0.0, 1.0),
                    (0.0, -1.0, inf), (inf, -1.0, 0.0)],
           slopes=[((0.0, 2.0), 0, 0.0), ((0.0, 1.0), 0, 1.0), ((0.0, 0.0), 0, 0.0), ((-2.0, 3.0), 0, 12.0),
                   ((3.0, 0.0), 0, 0.0), ((0.0, 2.0), 1, 0.0), ((1.0, 5.0), 1, 0.0), ((-1.5, 2.0), 0, -3.0)]),
    unary("square", lambda x: x * x, REAL, "if", RULE, special=[(-inf, inf), (-0.0, 0.0), (nan, nan)]),
    unary("reciprocal", lambda x: 1 / x, NONZERO, "if", RULE, 2.5,
          special=[(0.0, inf), (-0.0, -inf), (inf, 0.0), (-inf, -0.0), (4.0, 0.25)]),
    binary("remainder", _mod, (ODD_QUARTERS, NONZERO_HALVES), "if", RULE, 1,
           special=[(-3.0, 2.0, 1.0), (3.0, -2.0, -1.0), (5.0, 2.5, 0.0), (1.0, 0.0, nan), (2.0, inf, 2.0)]),
    binary("floor_divide", lambda x, y: np.floor(x / y).astype(x.dtype), (ODD_QUARTERS, NONZERO_HALVES), "if", ZERO,
           special=[(-3.0, 2.0, -2.0), (3.0, -2.0, -2.0), (4.0, 2.0, 2.0), (inf, 2.0, inf), (inf, -2.0, -inf),
                    (1.0, -inf, -0.0), (-1.0, -inf, 0.0), (inf, inf, nan)]),
    unary("abs", lambda x: np.where(x < 0, 0 - x, x), NONZERO, "if", RULE,
          special=[(-inf, inf), (nan, nan), (-0.0, 0.0)],
          slopes=[(0.0, 0.0), (-2.0, -1.0), (3.0, 1.0)]),
    unary("sign", lambda x: np.where(x > 0, 1, np.where(x < 0, -1, 0)), NONZERO, "if", ZERO,
          special=[(0.0, 0.0), (nan, nan), (-inf, -1.0), (5.0, 1.0)]),
    binary("copysign", lambda x, y: np.where(y < 0, -abs(x), abs(x)), NONZERO, "if", (RULE, ZERO),
           special=[(2.0, -0.0, -2.0), (-2.0, 0.0, 2.0), (0.0, -1.0, -0.0), (inf, -1.0, -inf), (nan, 1.0, nan)],
           slopes=[((2.0, -1.0), 0, -1.0), ((2.0, 1.0), 0, 1.0), ((-2.0, -0.0), 0, 1.0)]),
    binary("nextafter", lambda x, y: x + 0 * y, (POSITIVE, POSITIVE), "f", (RULE, ZERO), 1,
           special=[(0.0, -0.0, -0.0), (-0.0, 0.0, 0.0), (nan, 1.0, nan), (1.0, nan, nan), (inf, inf, inf)]),
    unary("real", lambda x: x, REAL, "if", RULE, special=[*_ODD, (-inf, -inf)]),
    unary("imag", lambda x: abs(x) * 0, NONZERO, "if", RULE, special=[(2.0, 0.0), (inf, 0.0), (nan, 0.0)]),
    unary("conj", lambda x: x, REAL, "if", RULE, special=[*_ODD, (-inf, -inf)]),
    binary("maximum", lambda x, y: np.where(x > y, x, y), (HALVES, ODD_QUARTERS), "bif", RULE,
           special=[(nan, 1.0, nan), (1.0, nan, nan), (-inf, -3.0, -3.0), (inf, 3.0, inf)],
           slopes=[((1.0, 1.0), 0, 0.5), ((1.0, 1.0), 1, 0.5), ((2.0, 1.0), 0, 1.0), ((2.0, 1.0), 1, 0.0)]),
    binary("minimum", lambda x, y: np.where(x < y, x, y), (HALVES, ODD_QUARTERS), "bif", RULE,
           special=[(nan, 1.0, nan), (1.0, nan, nan), (-inf, -3.0, -inf), (inf, 3.0, 3.0)],
           slopes=[((1.0, 1.0), 0, 0.5), ((1.0, 1.0), 1, 0.5), ((2.0, 1.0), 0, 0.0), ((2.0, 1.0), 1, 1.0)]),
    unary("exp", np.exp, REAL, "bif", RULE, 3, special=[(0.0, 1.0), (-inf, 0.0), (inf, inf), (nan, nan)]),
    unary("expm1", lambda x: np.expm1(x), REAL, "bif", RULE, 3, special=[*_ODD, (-inf, -1.0), (inf, inf)]),
    unary("log", lambda x: np.log(x), POSITIVE, "if", RULE, 3,
          special=[(1.0, 0.0), (0.0, -inf), (-1.0, nan), (inf, inf)],
          scale=lambda x: 1 + np.abs(np.log(x))),
    unary("log1p", lambda x: np.log1p(x), ABOVE_MINUS_1, "bif", RULE, 3, special=[*_ODD, (-1.0, -inf), (-2.0, nan)]),
    unary("log2", lambda x: np.log2(x), POSITIVE, "if", RULE, 3, special=[(8.0, 3.0), (0.0, -inf), (-1.0, nan)],
          scale=lambda x: 1 + np.abs(np.log2(x))),
    unary("log10", lambda x: np.log10(x), POSITIVE, "if", RULE, 3, special=[(100.0, 2.0), (0.0, -inf), (-1.0, nan)],
          scale=lambda x: 1 + np.abs(np.log10(x))),
    unary("sqrt", lambda x: x ** LONG(0.5), POSITIVE, "if", RULE, 3,
          special=[(4.0, 2.0), (0.0, 0.0), (-0.0, -0.0), (-1.0, nan), (inf, inf)], slopes=[(4.0, 0.25), (0.0, inf)]),
    binary("logaddexp", lambda x, y: np.log(np.exp(x) + np.exp(y)), REAL, "bif", RULE, 4,
           scale=lambda x, y: 1 + np.maximum(x, y),
           special=[(-inf, -inf, -inf), (-inf, 2.0, 2.0), (inf, 1.0, inf), (1000.0, 0.0, 1000.0), (nan, 1.0, nan)]),
    unary("sin", np.sin, REAL, "bif", RULE, 4, special=[*_ODD, (inf, nan)]),
    unary("cos", np.cos, REAL, "bif", RULE, 4, special=[(0.0, 1.0), (inf, nan)], scale=lambda x: np.ones_like(x)),
    unary("tan", lambda x: np.sin(x) / np.cos(x), BELOW_HALF_PI, "bif", RULE, 5, special=[*_ODD, (inf, nan)]),
    unary("asin", np.arcsin, ABS_LT_1, "f", RULE, 4, special=[*_ODD, (1.0, pi / 2), (-1.0, -pi / 2), (1.5, nan)]),
    unary("acos", np.arccos, ABS_LT_1, "f", RULE, 4, special=[(1.0, 0.0), (-1.0, pi), (0.0, pi / 2), (1.5, nan)]),
    unary("atan", np.arctan, REAL, "bif", RULE, 5, special=[*_ODD, (inf, pi / 2), (-inf, -pi / 2)]),
    binary("atan2", np.arctan2, NONZERO, "if", RULE, 6,
           special=[(0.0, -1.0, pi), (-0.0, -1.0, -pi), (0.0, 1.0, 0.0), (1.0, 0.0, pi / 2), (inf, inf, pi / 4),
                    (nan, 1.0, nan)]),
    unary("sinh", lambda x: (np.expm1(x) - np.expm1(-x)) / 2, REAL, "bif", RULE, 4, special=[*_ODD, (inf, inf)]),
    unary("cosh", lambda x: (np.exp(x) + np.exp(-x)) / 2, REAL, "bif", RULE, 4, special=[(0.0, 1.0), (-inf, inf)]),
    unary("tanh", lambda x: np.expm1(2 * x) / (np.expm1(2 * x) + 2), REAL, "bif", RULE, 5,
          special=[*_ODD, (inf, 1.0), (-inf, -1.0), (300.0, 1.0)], slopes=[(0.0, 1.0)]),
    unary("asinh", np.arcsinh, REAL, "bif", RULE, 4, special=[*_ODD, (-inf, -inf)]),
    unary("acosh", np.arccosh, ABOVE_1, "if", RULE, 4, special=[(1.0, 0.0), (0.5, nan), (inf, inf)]),
    unary("atanh", lambda x: (np.log1p(x) - np.log1p(-x)) / 2, ABS_LT_1, "f", RULE, 5,
          special=[*_ODD, (1.0, inf), (-1.0, -inf), (2.0, nan)]),
    binary("hypot", lambda x, y: (x * x + y * y) ** LONG(0.5), NONZERO, "if", RULE, 4,
           special=[(3.0, -4.0, 5.0), (inf, nan, inf), (nan, -inf, inf), (0.0, 0.0, 0.0), (3e4, 4e4, 5e4)],
           slopes=[((0.0, 0.0), 0, 0.0), ((0.0, 0.0), 1, 0.0), ((3.0, 4.0), 1, 0.8)]),
    unary("relu", lambda x: np.where(x > 0, x, 0), NONZERO, "if", RULE,
          special=[(-1.0, 0.0), (0.0, 0.0), (inf, inf), (-inf, 0.0), (nan, nan)],
          slopes=[(0.0, 0.0), (1.0, 1.0), (-1.0, 0.0)]),
    unary("sigmoid", lambda x: 1 / (1 + np.exp(-x)), REAL, "bif", RULE, 5,
          special=[(0.0, 0.5), (inf, 1.0), (-inf, 0.0), (-300.0, 5.148200222412014e-131), (300.0, 1.0), (nan, nan)],
          slopes=[(0.0, 0.25), (800.0, 0.0), (-800.0, 0.0)]),
    unary("softplus", lambda x: np.log1p(np.exp(x)), REAL, "bif", RULE, 5,
          special=[(inf, inf), (-inf, 0.0), (300.0, 300.0), (nan, nan)],
          slopes=[(0.0, 0.5), (800.0, 1.0), (-800.0, 0.0)]),
    unary("floor", lambda x: x // 1, ODD_QUARTERS, "if", ZERO,
          special=[(-0.5, -1.0), (2.5, 2.0), (inf, inf), (nan, nan)]),
    unary("ceil", lambda x: -((-x) // 1), ODD_QUARTERS, "if", ZERO, special=[(0.5, 1.0), (-2.5, -2.0), (-inf, -inf)]),
    unary("trunc", lambda x: np.where(x < 0, -((-x) // 1), x // 1), ODD_QUARTERS, "if", ZERO,
          special=[(2.7, 2.0), (-2.7, -2.0), (inf, inf)]),
    unary("rint", _round_half_even, ODD_QUARTERS, "if", ZERO,
          special=[(0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (-0.5, -0.0), (-1.5, -2.0), (nan, nan)]),
    unary("isnan", _truth(lambda x: x != x), REAL, "bif", REFUSED, special=[(nan, True), (inf, False), (0.0, False)]),
    unary("isinf", _truth(lambda x: x == x + 1 if x.dtype == LONG else x != x), REAL, "bif", REFUSED,
          special=[(nan, False), (inf, True), (-inf, True), (2.0, False)]),
    unary("signbit", _truth(lambda x: x < 0), NONZERO, "if", REFUSED,
          special=[(-0.0, True), (0.0, False), (-inf, True), (inf, False), (nan, False)]),
    unary("isfinite", _truth(lambda x: x - x == 0 if x.dtype == LONG else x == x), REAL, "bif", REFUSED,
          special=[(nan, False), (inf, False), (-inf, False), (2.0, True)]),
    binary("equal", _truth(lambda x, y: ~(x != y)), **_COMPARE, special=[(nan, nan, False), (0.0, -0.0, True)]),
    binary("not_equal", _truth(lambda x, y: ~(x == y)), **_COMPARE, special=[(nan, nan, True), (0.0, -0.0, False)]),
    binary("less", _truth(lambda x, y: (y > x)), **_COMPARE,
           special=[(nan, 1.0, False), (-inf, inf, True), (1.0, 1.0, False)]),
    binary("less_equal", _truth(lambda x, y: ~(x > y)), **_COMPARE, special=[(nan, 1.0, False), (1.0, 1.0, True)]),
    binary("greater", _truth(lambda x, y: (y < x)), **_COMPARE, special=[(nan, 1.0, False), (inf, -inf, True)]),
    binary("greater_equal", _truth(lambda x, y: ~(x < y)), **_COMPARE, special=[(nan, 1.0, False), (1.0, 1.0, True)]),
    binary("logical_and", _truth(lambda x, y: (x != 0) & (y != 0)), ZERO_OR_ONE, "bif", REFUSED,
           special=[(nan, 1.0, True)]),
    binary("logical_or", _truth(lambda x, y: (x != 0) | (y != 0)), ZERO_OR_ONE, "bif", REFUSED,
           special=[(0.0, 0.0, False)]),
    binary("logical_xor", _truth(lambda x, y: (x != 0) != (y != 0)), ZERO_OR_ONE, "bif", REFUSED,
           special=[(2.0, 3.0, False)]),
    unary("logical_not", _truth(lambda x: x == 0), ZERO_OR_ONE, "bif", REFUSED, special=[(0.0, True), (nan, False)]),
    binary("bitwise_and", np.vectorize(int.__and__, otypes=[int]), INTEGERS, "bi", REFUSED),
    binary("bitwise_or", np.vectorize(int.__or__, otypes=[int]), INTEGERS, "bi", REFUSED),
    binary("bitwise_xor", np.vectorize(int.__xor__, otypes=[int]), INTEGERS, "bi", REFUSED),
    unary("bitwise_invert", lambda x: x == 0 if x.dtype == BOOL else -x - 1, INTEGERS, "bi", REFUSED),
    binary("bitwise_left_shift", lambda x, y: x * 2**y, (INTEGERS, SHIFTS), "i", REFUSED),
    binary("bitwise_right_shift", lambda x, y: x // 2**y, (INTEGERS, SHIFTS), "i", REFUSED),
    _elementwise("where", lambda c, x, y: np.choose(c, np.broadcast_arrays(c, y, x)[1:]), (BOOLEANS, REAL, REAL), "bif",
                 (INDEX, RULE, RULE), special=[((True, 1.0, nan), 1.0), ((False, inf, -0.0), -0.0)],
                 slopes=[((True, 1.0, nan), 1, 1.0), ((True, 1.0, nan), 2, 0.0)]),
    unary("stop_gradient", lambda x: x, REAL, "bif", ZERO, special=[(nan, nan), (-0.0, -0.0)]),
]  # fmt: skip

_COMPARISONS = {"less", "less_equal", "greater", "greater_equal"}
_SHIFTS = {"bitwise_left_shift", "bitwise_right_shift"}
_BITS = {"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert"}
_STEPS = {"sign", "floor", "ceil", "trunc", "rint", "floor_divide", "remainder", "abs", "relu"}
_PARTS = {"real", "imag", "conj"}
_SIGNS = {"signbit", "copysign", "nextafter"}
_REJECTED = {
    "b": {"subtract", "negative", "positive", "power", "square", "reciprocal", *_PARTS, *_SIGNS} | _STEPS | _SHIFTS,
    "f": _BITS | _SHIFTS,
    "c": {"maximum", "minimum", "logaddexp", "atan2", "hypot", "sigmoid", "softplus"}
    | _COMPARISONS | (_STEPS - {"abs", "rint"}) | _BITS | _SHIFTS | _SIGNS,
}  # fmt: skip

# --- special functions: oracles are series, in numpy.longdouble ------------------------------------------------------

_BERNOULLI = [
    LONG(n) / d for n, d in ((1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66), (-691, 2730), (7, 6), (-3617, 510))
]
_PI = LONG("3.14159265358979323846264338327950288")
_FAR = 20  # where the asymptotic series begin


def _sum_of(term: Any, first: Any, count: int = 80) -> Any:
    """first + first * term(1) + first * term(1) * term(2) + ...; ``term`` gives the ratio of neighbours."""
    total = first
    for k in range(1, count):
        first = first * term(k)
        total = total + first
    return total


def _erf(x: Any) -> Any:
    # All terms are positive in this one: 2 x e^-x^2 / sqrt(pi) * sum (2 x^2)^k / (1 3 5 ... (2k + 1)).
    return _sum_of(lambda k: 2 * x * x / (2 * k + 1), 2 * x * np.exp(-x * x) / np.sqrt(_PI), 150)


def _inverse(function: Any, slope: Any) -> Any:
    def want(y: Any) -> Any:
        x = y * 0
        for _ in range(60):
            x = x - (function(x) - y) / slope(x)
        return x

    return want


def _ndtr(x: Any) -> Any:
    return (1 + _erf(x / np.sqrt(LONG(2)))) / 2


def _lgamma(x: Any) -> Any:
    product, far = x * 0 + 1, x + _FAR
    for k in range(_FAR):
        product = product * (x + k)
    tail = sum(b / (2 * k * (2 * k - 1) * far ** (2 * k - 1)) for k, b in enumerate(_BERNOULLI, 1))
    return (far - LONG(0.5)) * np.log(far) - far + np.log(2 * _PI) / 2 + tail - np.log(np.abs(product))


def _psi(x: Any) -> Any:
    far = x + _FAR
    tail = sum(b / (2 * k * far ** (2 * k)) for k, b in enumerate(_BERNOULLI, 1))
    return np.log(far) - 1 / (2 * far) - tail - sum(1 / (x + k) for k in range(_FAR))


def _zeta(s: Any, q: Any) -> Any:
    far, rising = q + _FAR, s
    total = sum((q + k) ** -s for k in range(_FAR)) + far ** (1 - s) / (s - 1) + far**-s / 2
    power, factorial = far ** (-s - 1), LONG(2)
    for k, b in enumerate(_BERNOULLI, 1):
        total = total + b / factorial * rising * power
        rising = rising * (s + 2 * k - 1) * (s + 2 * k)
        factorial = factorial * (2 * k + 1) * (2 * k + 2)
        power = power / far**2
    return total


def _polygamma(n: Any, x: Any) -> Any:
    n, x = np.broadcast_arrays(n, x)
    sign = np.where(n % 2 == 1, 1, -1)
    return np.where(n == 0, _psi(x), sign * np.exp(_lgamma(n + LONG(1))) * _zeta(np.where(n == 0, 2, n + 1), x))


def _bessel(sign: int) -> Any:
    """Sum of sign^k (x / 2)^(2k + n) / (k! (n + k)!)."""

    def want(n: Any, x: Any) -> Any:
        first = (x / 2) ** n / np.rint(np.exp(_lgamma(n + LONG(1))))
        return _sum_of(lambda k: sign * (x / 2) ** 2 / (k * (n + k)), first)

    return want


_iv, _jv = _bessel(1), _bessel(-1)


def _order(function: Any, n: int, scaled: bool = False) -> Any:
    return lambda x: function(np.full(x.shape, n), x) * (np.exp(-np.abs(x)) if scaled else 1)


def _gammainc(a: Any, x: Any) -> Any:
    return _sum_of(lambda k: x / (a + k), np.exp(a * np.log(x) - x - _lgamma(a + 1)))


def _loggamma_slope(a: Any, log_x: Any) -> Any:
    x, term, harmonic, weighted = np.exp(log_x), a * 0 + 1, a * 0, a * 0
    total = term
    for k in range(1, 120):
        term = term * (x / (a + k))
        harmonic = harmonic + 1 / (a + k)
        total, weighted = total + term, weighted + term * harmonic
    return ((_psi(a + 1) - log_x) * total + weighted) / a


_ORDERS = Domain("ORDERS", _integers(0, 3), _integers(0, 3))
_UNIT = Domain("UNIT", _uniform(0.1, 0.9), _integers(0, 0))
_LOGS = Domain("LOGS", _uniform(-2, 1), _integers(0, 1))
_FROM_2 = Domain("FROM_2", _integers(2, 5), _integers(2, 5))


def _with_order(name: str, want: Any, domain: Domain, orders: Domain = _ORDERS, **options: Any) -> Row:
    """Row of a function of an order, an integer, and of a number."""
    cases = tuple(Case((Draw(a, orders, INT32), Draw(b, domain)), {}) for a, b in PAIRS)
    return Row(name, want, cases, "f", (INDEX, RULE), **options)


SPECIAL = [
    unary("erf", _erf, REAL, "f", RULE, 4, special=[*_ODD, (inf, 1.0), (-inf, -1.0)], slopes=[(0.0, 2 / pi**0.5)]),
    unary("erfc", lambda x: 1 - _erf(x), REAL, "f", RULE, 8, special=[(0.0, 1.0), (inf, 0.0), (-inf, 2.0), (nan, nan)]),
    unary("erfinv", _inverse(_erf, lambda x: 2 * np.exp(-x * x) / np.sqrt(_PI)), ABS_LT_1, "f", RULE, 8,
          special=[(0.0, 0.0), (1.0, inf), (-1.0, -inf), (1.5, nan)], slopes=[(0.0, pi**0.5 / 2)]),
    unary("ndtr", _ndtr, REAL, "f", RULE, 6, special=[(0.0, 0.5), (inf, 1.0), (-inf, 0.0), (nan, nan)]),
    unary("log_ndtr", lambda x: np.log(_ndtr(x)), REAL, "f", RULE, 8, special=[(-inf, -inf), (inf, -0.0), (nan, nan)],
          scale=lambda x: x * 0 + 1),
    unary("ndtri", _inverse(_ndtr, lambda x: np.exp(-x * x / 2) / np.sqrt(2 * _PI)), _UNIT, "f", RULE, 8,
          special=[(0.0, -inf), (1.0, inf), (-0.5, nan), (nan, nan)], scale=lambda x: x * 0 + 1),
    unary("gammaln", _lgamma, POSITIVE, "if", RULE, 8, scale=lambda x: 1 + np.abs(_lgamma(x)),
          special=[(1.0, 0.0), (2.0, 0.0), (0.0, inf), (-1.0, inf), (inf, inf), (nan, nan)]),
    unary("digamma", _psi, POSITIVE, "if", RULE, 8, scale=lambda x: 1 + np.abs(_psi(x)),
          special=[(inf, inf), (nan, nan), (-1.0, nan)]),
    binary("betaln", lambda x, y: _lgamma(x) + _lgamma(y) - _lgamma(x + y), POSITIVE, "if", RULE, 8,
           scale=lambda x, y: 1 + np.abs(_lgamma(x)) + np.abs(_lgamma(y)) + np.abs(_lgamma(x + y)),
           special=[(1.0, 1.0, 0.0), (nan, 1.0, nan)]),
    binary("gammainc", _gammainc, POSITIVE, "f", RULE, 12, grad_ulp=32,
           special=[(1.0, 0.0, 0.0), (1.0, inf, 1.0), (nan, 1.0, nan)], slopes=[((1.0, 0.0), 1, 1.0)]),
    binary("gammaincc", lambda a, x: 1 - _gammainc(a, x), POSITIVE, "f", RULE, 16, grad_ulp=32,
           scale=lambda a, x: a * 0 + x * 0 + 1,
           special=[(1.0, 0.0, 1.0), (1.0, inf, 0.0), (nan, 1.0, nan)]),
    binary("loggamma_slope", _loggamma_slope, (POSITIVE, _LOGS), "f", RULE, 16, grad_ulp=32,
           special=[(-1.0, 0.0, nan), (1.0, nan, nan)]),
    unary("i0", _order(_iv, 0), REAL, "f", RULE, 6, special=[(0.0, 1.0), (nan, nan)]),
    unary("i1", _order(_iv, 1), REAL, "f", RULE, 6, special=[(0.0, 0.0), (nan, nan)], slopes=[(0.0, 0.5)]),
    unary("i0e", _order(_iv, 0, True), REAL, "f", RULE, 6, special=[(0.0, 1.0), (nan, nan)], slopes=[(0.0, 0.0)]),
    unary("i1e", _order(_iv, 1, True), REAL, "f", RULE, 6, special=[(0.0, 0.0), (nan, nan)], slopes=[(0.0, 0.5)]),
    unary("j0", _order(_jv, 0), REAL, "f", RULE, 6, special=[(0.0, 1.0), (nan, nan)], slopes=[(0.0, 0.0)]),
    unary("j1", _order(_jv, 1), REAL, "f", RULE, 6, special=[(0.0, 0.0), (nan, nan)], slopes=[(0.0, 0.5)]),
    unary("logit", lambda x: np.log(x) - np.log1p(-x), _UNIT, "f", RULE, 6, scale=lambda x: x * 0 + 1,
          special=[(0.5, 0.0), (0.0, -inf), (1.0, inf), (1.5, nan)]),
    binary("xlogy", lambda x, y: x * np.log(y), (REAL, POSITIVE), "f", RULE, 6,
           special=[(0.0, 0.0, 0.0), (0.0, inf, 0.0), (0.0, nan, nan), (1.0, 0.0, -inf)],
           slopes=[((0.0, 0.0), 1, 0.0), ((0.0, 1.0), 0, 0.0)]),
    binary("xlog1py", lambda x, y: x * np.log1p(y), (REAL, ABOVE_MINUS_1), "f", RULE, 6,
           special=[(0.0, -1.0, 0.0), (0.0, nan, nan), (1.0, -1.0, -inf)], slopes=[((0.0, -1.0), 1, 0.0)]),
    unary("exp2", lambda x: LONG(2) ** x, REAL, "bif", RULE, 4,
          special=[(0.0, 1.0), (-inf, 0.0), (inf, inf), (3.0, 8.0)]),
    unary("cbrt", lambda x: np.sign(x) * np.exp(np.log(np.abs(x)) / 3), NONZERO, "if", RULE, 4,
          special=[*_ODD, (8.0, 2.0), (-inf, -inf)]),
    binary("fmod", lambda x, y: x - np.trunc(x / y).astype(x.dtype) * y, (ODD_QUARTERS, NONZERO_HALVES), "if", RULE, 1,
           special=[(-3.0, 2.0, -1.0), (3.0, -2.0, 1.0), (1.0, inf, 1.0)]),
    binary("fmax", lambda x, y: np.where(x > y, x, y), (HALVES, ODD_QUARTERS), "bif", RULE,
           special=[(nan, 1.0, 1.0), (1.0, nan, 1.0), (nan, nan, nan), (-inf, 1.0, 1.0)],
           slopes=[((2.0, 2.0), 0, 0.5), ((nan, 2.0), 1, 1.0), ((nan, 2.0), 0, 0.0)]),
    binary("fmin", lambda x, y: np.where(x < y, x, y), (HALVES, ODD_QUARTERS), "bif", RULE,
           special=[(nan, 1.0, 1.0), (1.0, nan, 1.0), (nan, nan, nan), (inf, 1.0, 1.0)],
           slopes=[((2.0, 2.0), 0, 0.5), ((nan, 2.0), 1, 1.0), ((nan, 2.0), 0, 0.0)]),
]  # fmt: skip
ELEMENTWISE += SPECIAL
_REJECTED["c"] |= {row.name for row in SPECIAL}
_REJECTED["b"] |= {"fmod"}

ORDERED = [
    _with_order("polygamma", _polygamma, POSITIVE, ulp=8),
    _with_order("iv", _iv, NONZERO, ulp=8),
    _with_order("ive", lambda n, x: _iv(n, x) * np.exp(-np.abs(x)), NONZERO, ulp=8),
    _with_order("jv", _jv, NONZERO, ulp=12),
    _with_order("zeta", _zeta, POSITIVE, orders=_FROM_2, ulp=8),
    Row("integration_end", lambda a, log_x: a * 0 + LONG(1), (case((0,), (0,)),), "f", (ZERO, ZERO)),
]  # fmt: skip

# --- reductions and scans ---------------------------------------------------------------------------------------------


def _reduce(function: Any, dtype: Any = None) -> Any:
    """Oracle of a reduction from a function of one list of numbers, called for each place of the result."""

    def want(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        rest = [n for i, n in enumerate(x.shape) if i not in axis]
        count = int(np.prod([x.shape[i] for i in axis]))
        moved = np.moveaxis(x, axis, tuple(range(x.ndim - len(axis), x.ndim))).reshape(*rest, count)
        y = np.empty(rest, dtype or x.dtype)
        for place in np.ndindex(*rest):
            y[place] = function(list(moved[place]))
        return y.reshape([1 if i in axis else n for i, n in enumerate(x.shape)]) if keepdims else y

    return want


def _product(values: Any) -> Any:
    y = 1
    for v in values:
        y = y * v
    return y


def _nan_max(values: Any) -> Any:
    return nan if any(v != v for v in values) else max(values)


def _nan_min(values: Any) -> Any:
    return nan if any(v != v for v in values) else min(values)


def _log_sum_exp(values: Any) -> Any:
    top = max(values)
    return top if np.isinf(top) else np.log(sum(np.exp(v - top) for v in values)) + top


_AXES = (((), ()), ((3,), (0,)), ((2, 3), (1,)), ((2, 3), (0, 1)), ((2, 3, 4), (0, 2)), ((2, 1, 2), (1,)), ((2, 3), ()))


def _reductions(domain: Domain = REAL, empty: bool = False) -> tuple[Case, ...]:
    shapes = _AXES + ((((0,), (0,)), ((2, 0), (1,))) if empty else ())
    cases = [(shape, axis, keepdims) for shape, axis in shapes for keepdims in (False, True)]
    cases.append(((0, 2), (1,), False))
    return tuple(case(Draw(shape, domain), axis=axis, keepdims=keepdims) for shape, axis, keepdims in cases)


def _arg(better: Any) -> Any:
    def want(x: Any, *, axis: int) -> Any:
        def first(values: Any) -> int:
            best = 0
            for i, v in enumerate(values):
                if (better(v, values[best]) or v != v) and values[best] == values[best]:
                    best = i
            return best

        return np.apply_along_axis(first, axis, x) if x.size else np.zeros(np.delete(x.shape, axis), int)

    return want


def _sorted_places(x: Any, *, axis: int) -> Any:
    def places(values: Any) -> Any:
        return sorted(
            range(len(values)), key=lambda i: (values[i] != values[i], 0 if values[i] != values[i] else values[i], i)
        )

    return np.apply_along_axis(places, axis, x) if x.size else np.zeros(x.shape, int)


def _scan(combine: Any) -> Any:
    def want(x: Any, *, axis: int) -> Any:
        y = np.array(np.moveaxis(x, axis, 0))
        for i in range(1, len(y)):
            y[i] = combine(y[i - 1], y[i])
        return np.moveaxis(y, 0, axis)

    return want


_ALONG = tuple(
    case(Draw(s, DISTINCT), axis=a) for s, a in (((4,), 0), ((2, 3), 0), ((2, 3), 1), ((1,), 0), ((2, 1, 3), 2))
)
_SCANS = (case((5,), axis=0), case((2, 3), axis=0), case((2, 3), axis=1), case((1,), axis=0), case((0,), axis=0),
          case((2, 0), axis=0), case((2, 3, 2), axis=1))  # fmt: skip
_EMPTY = [(Case((Draw((2, 0)),), {"axis": (1,), "keepdims": False}), ShapeError)]


_WHOLE: dict[str, Any] = {"axis": (0,), "keepdims": False}
_FIRST: dict[str, Any] = {"axis": 0}
REDUCTIONS = [
    Row("reduce_sum", _reduce(sum), _reductions(empty=True), "if", (RULE,), 2, scale=_reduce(sum),
        at_special=_WHOLE, special=[(([inf, 1.0],), inf), (([inf, -inf],), nan), (([],), 0.0)]),
    Row("reduce_max", _reduce(_nan_max), _reductions(DISTINCT), "if", (RULE,), bad=_EMPTY,
        at_special=_WHOLE, special=[(([1.0, nan, 3.0],), nan), (([-inf, -inf],), -inf)],
        slopes=[(([1.0, 3.0, 3.0],), 0, [0.0, 0.5, 0.5]), (([2.0, 2.0, 2.0, 2.0],), 0, [0.25] * 4)]),
    Row("reduce_min", _reduce(_nan_min), _reductions(DISTINCT), "if", (RULE,), bad=_EMPTY,
        at_special=_WHOLE, special=[(([1.0, nan, 3.0],), nan), (([inf, inf],), inf)],
        slopes=[(([1.0, 3.0, 1.0],), 0, [0.5, 0.0, 0.5])]),
    Row("reduce_prod", _reduce(_product), _reductions(empty=True), "if", (RULE,), 12,
        at_special=_WHOLE, special=[(([0.0, inf],), nan), (([],), 1.0), (([-0.0, 2.0],), -0.0)],
        slopes=[(([0.0, 2.0, 3.0],), 0, [6.0, 0.0, 0.0]), (([0.0, 2.0, 0.0],), 0, [0.0] * 3),
                (([2.0, 3.0, 4.0],), 0, [12.0, 8.0, 6.0])]),
    Row("logsumexp", _reduce(_log_sum_exp), _reductions(), "f", (RULE,), 6, bad=_EMPTY,
        scale=lambda x, **params: 3 + np.max(x, params["axis"], keepdims=params["keepdims"], initial=0),
        at_special=_WHOLE, special=[(([-inf, -inf],), -inf), (([-inf, 2.0],), 2.0), (([inf, 1.0],), inf),
                 (([1000.0, -1000.0],), 1000.0), (([nan, 1.0],), nan)],
        slopes=[(([0.0, 0.0],), 0, [0.5, 0.5]), (([-inf, 1.0],), 0, [0.0, 1.0])]),
    Row("reduce_any", _reduce(lambda v: any(x != 0 for x in v), bool), _reductions(ZERO_OR_ONE, empty=True), "bif",
        (REFUSED,), at_special=_WHOLE, special=[(([0.0, nan],), True), (([],), False)]),
    Row("reduce_all", _reduce(lambda v: all(x != 0 for x in v), bool), _reductions(ZERO_OR_ONE, empty=True), "bif",
        (REFUSED,), at_special=_WHOLE, special=[(([1.0, 0.0],), False), (([],), True)]),
    Row("argmax", _arg(lambda a, b: a > b), _ALONG, "if", (REFUSED,), bad=[(case((2, 0), axis=1), ShapeError)],
        at_special=_FIRST, special=[(([1.0, 3.0, 3.0],), 1), (([1.0, nan, inf, nan],), 1)]),
    Row("argmin", _arg(lambda a, b: a < b), _ALONG, "if", (REFUSED,), bad=[(case((2, 0), axis=1), ShapeError)],
        at_special=_FIRST, special=[(([3.0, 1.0, 1.0],), 1), (([1.0, nan, -inf],), 1)]),
    Row("cumulative_sum", _scan(lambda a, b: a + b), _SCANS, "if", (RULE,), 2.5, scale=_scan(lambda a, b: a + b),
        at_special=_FIRST, special=[(([1.0, inf, -inf],), [1.0, inf, nan])]),
    Row("cumulative_prod", _scan(lambda a, b: a * b), _SCANS, "if", (RULE,), 8,
        at_special=_FIRST, special=[(([2.0, 0.0, inf],), [2.0, 0.0, nan])],
        slopes=[(([2.0, 0.0, 3.0],), 0, [1.0, 8.0, 0.0])]),
    Row("argsort", _sorted_places, (*_ALONG, case((0,), axis=0), case(Draw((3, 5), HALVES), axis=1)), "if", (REFUSED,),
        at_special=_FIRST, special=[(([3.0, nan, 1.0, 1.0, -inf],), [4, 2, 3, 0, 1])]),
]  # fmt: skip


def _first_so_far(better: Any) -> Any:
    def places(values: Any) -> Any:
        best, found = 0, []
        for i, v in enumerate(values):
            if (better(v, values[best]) or v != v) and values[best] == values[best]:
                best = i
            found.append(best)
        return found

    return lambda x, *, axis: np.apply_along_axis(places, axis, x) if x.size else np.zeros(x.shape, int)


def _top(x: Any, *, k: int) -> Any:
    def places(values: Any) -> Any:
        order = sorted(range(len(values)), key=lambda i: (values[i] == values[i], -values[i], i))
        return np.array(order[:k], int)

    return np.apply_along_axis(places, -1, x) if x.size and k else np.zeros((*x.shape[:-1], k), int)


def _searched(edges: Any, x: Any, *, right: bool) -> Any:
    y = np.zeros(x.shape, int)
    for place in np.ndindex(*x.shape):
        row = edges[place[: edges.ndim - 1]]
        y[place] = sum(bool(e < x[place] or (right and e == x[place])) for e in row)
    return y


def _segments(x: Any, ids: Any, *, count: int, largest: bool) -> Any:
    y = np.full((count, *x.shape[ids.ndim :]), -inf if largest else inf, x.dtype if x.dtype == LONG else LONG)
    for place in np.ndindex(*ids.shape):
        row = ids[place]
        y[row] = np.where((x[place] > y[row]) == largest, x[place], y[row])
    return y


_SEGMENTS = tuple(case(Draw(s, DISTINCT), ids, count=n, largest=largest) for largest in (True, False) for s, ids, n in
                  (((5,), np.array([0, 2, 0, 1, 2]), 3), ((4, 2), np.array([1, 1, 0, 1]), 2), ((2, 2, 3),
                  np.array([[0, 1], [1, 0]]), 2), ((2, 0), np.array([0, 1]), 2)))  # fmt: skip
ORDERS = [
    Row("cumulative_argmax", _first_so_far(lambda a, b: a > b), (*_ALONG, case((0,), axis=0)), "if", (REFUSED,),
        at_special=_FIRST, special=[(([1.0, nan, 3.0, nan],), [0, 1, 1, 1]), (([2.0, 2.0, 3.0],), [0, 0, 2])]),
    Row("cumulative_argmin", _first_so_far(lambda a, b: a < b), (*_ALONG, case((0,), axis=0)), "if", (REFUSED,),
        at_special=_FIRST, special=[(([1.0, nan, -3.0],), [0, 1, 1]), (([2.0, 2.0, 1.0],), [0, 0, 2])]),
    Row("top_places", _top, tuple(case(Draw(s, d), k=k) for d in (DISTINCT, HALVES) for s, k in
                                  (((5,), 2), ((5,), 5), ((2, 30), 2), ((3, 4), 0), ((0,), 0), ((2, 0), 0))),
        "if", (REFUSED,), at_special={"k": 2},
        special=[(([1.0, nan, 3.0, nan],), [1, 3]), (([2.0, 2.0, 1.0],), [0, 1])],
        bad=[(case((2, 3), k=4), ShapeError), (case((), k=0), ShapeError)]),
    Row("searchsorted", _searched,
        tuple(case(np.sort(np.random.default_rng(0).integers(-9, 9, a) * 0.5, -1), Draw(b, HALVES), right=right)
              for right in (True, False)
              for a, b in (((6,), (5,)), ((0,), (2,)), ((3,), (0,)), ((4,), ()), ((4,), (2, 3)), ((2, 5), (2, 3)),
                           ((2, 5), (2, 3, 2)))),
        "f", (REFUSED, REFUSED), fixed=np.dtype("float64"),
        bad=[(case(np.zeros((2, 3)), np.zeros((3, 2)), right=True), ShapeError),
             (case(np.zeros(()), np.zeros(2), right=True), ShapeError)]),
    Row("segment_extremum", _segments, _SEGMENTS, "f", (RULE, INDEX), 0,
        bad=[(case((3,), np.array([0, 1]), count=2, largest=True), ShapeError)]),
]  # fmt: skip
# --- shape ------------------------------------------------------------------------------------------------------------


def _places(starts: Any, sizes: Any, steps: Any) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(place in the slice, place in the whole), for each element of a slice."""
    for k in np.ndindex(*sizes):
        yield k, tuple(a + s * i for a, s, i in zip(starts, steps, k, strict=True))


def _slice(x: Any, *, starts: Any, sizes: Any, steps: Any) -> Any:
    y = np.empty(sizes, x.dtype)
    for k, at in _places(starts, sizes, steps):
        y[k] = x[at]
    return y


def _unslice(x: Any, *, shape: Any, starts: Any, steps: Any) -> Any:
    y = np.zeros(shape, x.dtype)
    for k, at in _places(starts, x.shape, steps):
        y[at] = x[k]
    return y


def _update_slice(x: Any, u: Any, *, starts: Any, steps: Any) -> Any:
    y = np.array(x)
    for k, at in _places(starts, u.shape, steps):
        y[at] = u[k]
    return y


def _permute(x: Any, *, axes: Any) -> Any:
    y = np.empty([x.shape[i] for i in axes], x.dtype)
    for place in np.ndindex(*y.shape):
        y[place] = x[tuple(place[axes.index(i)] for i in range(x.ndim))]
    return y


def _concatenate(*xs: Any, axis: int) -> Any:
    shape = list(xs[0].shape)
    shape[axis] = sum(x.shape[axis] for x in xs)
    y, start = np.empty(shape, xs[0].dtype), 0
    for x in xs:
        for place in np.ndindex(*x.shape):
            y[(*place[:axis], place[axis] + start, *place[axis + 1 :])] = x[place]
        start += x.shape[axis]
    return y


def _flip(x: Any, *, axis: Any) -> Any:
    y = np.empty_like(x)
    for place in np.ndindex(*x.shape):
        y[tuple(n - 1 - i if a in axis else i for a, (i, n) in enumerate(zip(place, x.shape, strict=True)))] = x[place]
    return y


_SLICES = (
    ((6,), (1,), (3,), (2,)), ((6,), (5,), (6,), (-1,)), ((6,), (5,), (3,), (-2,)), ((4, 5), (1, 4), (2, 2), (2, -3)),
    ((3, 2), (0, 0), (3, 2), (1, 1)), ((3, 2), (1, 0), (0, 2), (1, 1)), ((), (), (), ()), ((1,), (0,), (1,), (1,)),
    ((2, 3, 4), (1, 0, 3), (1, 3, 4), (1, 1, -1)), ((0, 2), (0, 1), (0, 1), (1, 1)),
)  # fmt: skip

SHAPE = [
    Row("reshape", lambda x, *, shape: np.array(list(x.ravel()), x.dtype).reshape(shape),
        tuple(case(s, shape=t) for s, t in (((6,), (2, 3)), ((2, 3), (3, 2)), ((), (1, 1)), ((1,), ()), ((0, 3), (3,
        0, 2)),
                                            ((2, 2), (2, 2)))),
        "bif", (RULE,), 0, bad=[(case((6,), shape=(4,)), ShapeError)]),
    Row("permute", _permute,
        tuple(case(s, axes=a) for s, a in (((2, 3), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((), ()), ((3,), (0,)),
                                           ((2, 0, 3), (1, 2, 0)), ((2, 1, 3, 2), (3, 1, 0, 2)))),
        "bif", (RULE,), 0, bad=[(case((2, 3), axes=(0, 0)), ShapeError), (case((2, 3), axes=(0,)), ShapeError)]),
    Row("broadcast_to", lambda x, *, shape: x + np.zeros(shape, x.dtype),
        tuple(case(s, shape=t) for s, t in (((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1, 1), (4, 2, 3)),
        ((1,), (0,)),
                                            ((2, 3), (2, 3)), ((1, 3), (2, 3)), ((0, 1), (0, 2)))),
        "bif", (RULE,), 0, bad=[(case((2,), shape=(3,)), ShapeError), (case((2, 3), shape=(3,)), ShapeError)]),
    Row("slice", _slice, tuple(case(s, starts=a, sizes=n, steps=d) for s, a, n, d in _SLICES), "bif", (RULE,), 0),
    Row("unslice", _unslice, tuple(case(n, shape=s, starts=a, steps=d) for s, a, n, d in _SLICES), "bif", (RULE,), 0),
    Row("update_slice", _update_slice, tuple(case(s, n, starts=a, steps=d) for s, a, n, d in _SLICES), "bif",
        (RULE, RULE),
        0),
    Row("flip", _flip,
        tuple(case(s, axis=a) for s, a in (((4,), (0,)), ((2, 3), (0,)), ((2, 3), (0, 1)), ((2, 3), ()), ((0, 2),
        (0,)))),
        "bif", (RULE,), 0),
    Row("concatenate", _concatenate,
        (case((2,), (3,), axis=0), case((2, 3), (2, 1), axis=1), case((1, 2), (0, 2),
        (3, 2), axis=0), case((2,), axis=0)),
        "bif", (RULE, RULE, RULE), 0,
        bad=[(case((2, 3), (3, 2), axis=0), ShapeError), (case((2, 3), (2,), axis=0), ShapeError)]),
]  # fmt: skip


UNSTACK = [
    Row("unstack", lambda x, *, axis: tuple(np.take(x, i, axis) for i in range(x.shape[axis])),
        tuple(case(s, axis=a) for s, a in (((3,), 0), ((2, 3), 0), ((2, 3), 1), ((1, 2), 0), ((2, 0), 0),
                                           ((2, 1, 2), 2))),
        "bif", (RULE,), 0),
]  # fmt: skip


def _cast(x: Any, *, dtype: Any) -> Any:
    if dtype == BOOL:
        return x != 0
    return np.trunc(x).astype(np.int64) if dtype.kind == "i" and x.dtype == LONG else x.astype(LONG)


CAST = [
    Row("cast", _cast,
        tuple(Case((Draw(s, ODD_QUARTERS),), {"dtype": d}) for s, d in
              (((), knp.float32), ((3,), knp.float64), ((2, 3), knp.float16), ((0,), knp.float32), ((4,), knp.bfloat16),
               ((1,), INT32), ((5,), BOOL))),
        "bif", (RULE,), 0.5),
]  # fmt: skip


def _exponent(x: Any) -> Any:
    """How often |x| is halved or doubled until it is in [0.5, 1)."""
    y = np.zeros(x.shape, np.int32)
    for place in np.ndindex(*x.shape):
        v = abs(x[place])
        while np.isfinite(v) and v >= 1:
            v, y[place] = v / 2, y[place] + 1
        while 0 < v < 0.5:
            v, y[place] = v * 2, y[place] - 1
    return y


_POWERS = np.array([3, -2, 0], np.int64)
BINARY_POWERS = [
    Row("ldexp", lambda x, n: x * LONG(2) ** n,
        (case((3,), _POWERS), case((), _POWERS), case((2, 1), _POWERS), case((2, 3), np.array(-4)), case((3,),
        _POWERS.astype(np.uint8) % 7), case((0,), np.array(1)), case((2, 3), _POWERS.astype(np.int8))),
        "f", (RULE, INDEX), 0,
        bad=[(case((3,), np.ones(3)), DTypeError), (case(Draw((3,), REAL, INT32), _POWERS), DTypeError),
             (case((2,), _POWERS), ShapeError)]),
    Row("exponent", _exponent, (case((5,)), case(()), case((2, 0)), case(Draw((40,), HALVES)),
                                case(np.array([0.0, -0.0, inf, -inf, 2.0**-1074, 2.0**1000, -1.0, 0.25]))),
        "f", (REFUSED,), 0),
]  # fmt: skip

# --- index ------------------------------------------------------------------------------------------------------------


def _ids(*values: Any) -> Any:
    return np.array(values, np.int64)


def _take(x: Any, ids: Any) -> Any:
    y = np.empty((*ids.shape, *x.shape[1:]), x.dtype)
    for place in np.ndindex(*ids.shape):
        y[place] = x[int(ids[place])]
    return y


def _put(x: Any, ids: Any, u: Any, add: bool = False) -> Any:
    y = np.array(x)
    for place in np.ndindex(*ids.shape):
        row = int(ids[place])
        y[row] = y[row] + u[place] if add else u[place]
    return y


_NO_IDS = np.zeros((0,), np.int64)
_SETS = (((4,), _ids(2, 0, -1)), ((4, 3), _ids(1, 1, -3, 0)), ((3, 2), _ids([0, 2], [0, -1])), ((3, 2), np.array(1)),
         ((3, 2), _NO_IDS), ((2, 0), _ids(1)), ((5, 2, 2), _ids(4, 4, 4)))  # fmt: skip
_PUTS = tuple(case(s, ids, (*ids.shape, *s[1:])) for s, ids in _SETS)
_PUT_BAD = [(case((3,), _ids(3), (1,)), IndexOutOfBounds), (case((3,), _ids(-4), (1,)), IndexOutOfBounds),
            (case((3, 2), _ids(0), (2,)), ShapeError)]  # fmt: skip

INDEXING = [
    Row("wrap_index", lambda ids, *, size, axis: np.array([i % size for i in ids.ravel()], np.int64).reshape(ids.shape),
        tuple(case(ids, size=4, axis=0) for ids in (_ids(0, -1, 3, -4), _ids([1, -2]), np.array(-3), _NO_IDS)), "",
        (INDEX,),
        fixed=np.dtype("int64"),
        bad=[(case(_ids(4), size=4, axis=0), IndexOutOfBounds), (case(_ids(0, -5), size=4, axis=1), IndexOutOfBounds)]),
    Row("take", _take, tuple(case(s, ids) for s, ids in _SETS), "bif", (RULE, INDEX), 0,
        bad=[(case((3,), _ids(3)), IndexOutOfBounds), (case((3,), _ids(1, -4)), IndexOutOfBounds)]),
    Row("put_add", lambda x, ids, u: _put(x, ids, u, add=True), _PUTS, "if", (RULE, INDEX, RULE), 3,
        scale=lambda x, ids, u: _put(x, ids, u, add=True), bad=_PUT_BAD),
    Row("put", _put, _PUTS, "bif", (RULE, INDEX, RULE), 0, bad=_PUT_BAD),
]  # fmt: skip

# --- contractions -----------------------------------------------------------------------------------------------------


def _matmul(x: Any, w: Any) -> Any:
    m, k, n = *x.shape[-2:], w.shape[-1]
    batch = np.broadcast_shapes(x.shape[:-2], w.shape[:-2])
    x, w = np.broadcast_to(x, (*batch, m, k)), np.broadcast_to(w, (*batch, k, n))
    y = np.zeros((*batch, m, n), x.dtype)
    for i, j, c in itertools.product(range(m), range(n), range(k)):
        y[..., i, j] += x[..., i, c] * w[..., c, j]
    return y


def _matvec(x: Any, w: Any) -> Any:
    y = _matmul(np.atleast_2d(x), w if w.ndim == 2 else w[:, None])
    return y.reshape((*x.shape[:-1], *w.shape[1:]))


CONTRACTIONS = [
    Row("matmul", _matmul,
        tuple(case(a, b) for a, b in (((2, 3), (3, 4)), ((1, 1), (1, 1)), ((2, 0), (0, 3)), ((0, 2), (2, 3)),
                                      ((4, 2, 3), (4, 3, 2)), ((2, 1, 2, 3), (4, 3, 1)), ((5, 2, 3), (3, 2)),
                                      ((2, 3), (2, 3, 2)), ((1, 2, 3), (4, 3, 2)))),
        "if", (RULE, RULE), 4, scale=_matmul,
        bad=[(case((2, 3), (2, 3)), ShapeError), (case((2, 2, 3), (3, 3, 2)), ShapeError),
             (case((2, 3), Draw((3, 2), REAL, np.dtype("int16"))), DTypeError)]),
    Row("matvec", _matvec,
        tuple(case(a, b) for a, b in (((2, 3), (3,)), ((3,), (3, 4)), ((3,), (3,)), ((1, 1), (1,)), ((1,), (1,)),
                                      ((2, 0), (0,)), ((0,), (0, 3)), ((0,), (0,)), ((0, 2), (2,)))),
        "if", (RULE, RULE), 4, scale=_matvec,
        bad=[(case((2, 3), (2,)), ShapeError), (case((2,), (3,)), ShapeError), (case((2, 3), (3, 2)), ShapeError),
             (case((), (1,)), ShapeError), (case((2, 2, 3), (3,)), ShapeError),
             (case((2, 3), Draw((3,), REAL, np.dtype("int16"))), DTypeError)]),
]  # fmt: skip


# --- linear algebra ---------------------------------------------------------------------------------------------------


def _added(diagonal: Any) -> Any:
    """Small random matrices plus a diagonal, which keeps them well-conditioned."""

    def floats(rng: Any, shape: Any) -> Any:
        eye = np.eye(*shape[-2:]) * diagonal(np.arange(1, shape[-1] + 1))
        return rng.uniform(-0.5, 0.5, shape) + eye

    return floats


def _gram(rng: Any, shape: Any) -> Any:
    x = rng.uniform(-0.5, 0.5, shape)
    return x @ np.swapaxes(x, -1, -2) + np.diag(np.arange(1, shape[-1] + 1))


REGULAR = Domain("REGULAR", _added(lambda i: 2 + 0 * i), _integers(0, 0))
GRADED = Domain("GRADED", _added(lambda i: 1.5 * i), _integers(0, 0))
GRAM = Domain("GRAM", _gram, _integers(0, 0))
TINY = Domain("TINY", _uniform(1e-6, 1e-5), _integers(0, 0))
SQUARES = ((1, 1), (3, 3), (2, 3, 3), (0, 0), (0, 2, 2))
OBLONGS = (*SQUARES, (4, 2), (2, 2, 4), (3, 0))


def _each_matrix(function: Any, *stacks: Any, dtype: Any = LONG) -> Any:
    """A function of matrices applied to stacks of them, which broadcast; a tuple of stacks if it returns several."""
    batch = np.broadcast_shapes(*(s.shape[:-2] for s in stacks))
    full = [np.broadcast_to(s, (*batch, *s.shape[-2:])) for s in stacks]
    if 0 in batch:  # only the shapes count
        like = function(*(np.eye(*s.shape[-2:], dtype=LONG) for s in stacks))
        return tuple(np.zeros((*batch, *np.shape(y)), dtype) for y in each(like)) if isinstance(like, tuple) else (
            np.zeros((*batch, *np.shape(like)), dtype))  # fmt: skip
    found = [function(*(s[i] for s in full)) for i in np.ndindex(*batch)]
    if isinstance(found[0], tuple):
        return tuple(np.asarray(y, dtype).reshape((*batch, *np.shape(y[0]))) for y in zip(*found, strict=True))
    return np.asarray(found, dtype).reshape((*batch, *np.shape(found[0])))


def _eliminated(a: Any, b: Any) -> Any:
    """Solution of a y = b by Gauss and Jordan's elimination with pivoting."""
    a, b = np.array(a, LONG), np.array(b, LONG)
    for i in range(len(a)):
        p = i + int(np.argmax(abs(a[i:, i])))
        a[[i, p]], b[[i, p]] = a[[p, i]], b[[p, i]]
        b[i], a[i] = b[i] / a[i, i], a[i] / a[i, i]
        for j in range(len(a)):
            if j != i:
                b[j], a[j] = b[j] - a[j, i] * b[i], a[j] - a[j, i] * a[i]
    return b


def _expanded(x: Any) -> Any:
    """Determinant by expansion along the first row."""
    if not len(x):
        return LONG(1)
    minors = [np.delete(x[1:], j, 1) for j in range(len(x))]
    return sum(((-1) ** j * x[0, j] * _expanded(m) for j, m in enumerate(minors)), LONG(0))


def _minors(x: Any) -> Any:
    y = np.zeros(x.shape, LONG)
    for i, j in np.ndindex(*x.shape):
        y[i, j] = (-1) ** (i + j) * _expanded(np.delete(np.delete(x, i, 0), j, 1))
    return y


def _triangle(a: Any, lower: bool, unit: bool) -> Any:
    t = np.tril(a) if lower else np.triu(a)
    return t - np.diag(np.diag(t)) + np.eye(len(t), dtype=LONG) if unit else t


def _exponential(x: Any) -> Any:
    term = total = np.eye(len(x), dtype=LONG)
    for k in range(1, 60):
        term = term @ x / k
        total = total + term
    return total


def _cholesky(x: Any) -> Any:
    y = np.zeros(x.shape, LONG)
    for i, j in np.ndindex(*x.shape):
        if i == j:
            y[i, i] = np.sqrt(x[i, i] - y[i, :i] @ y[i, :i])
        elif i > j:
            y[i, j] = (x[i, j] - y[i, :j] @ y[j, :j]) / y[j, j]
    return y


def _householder(x: Any, complete: bool) -> Any:
    """QR by reflections; the last row of a square matrix is not reflected, as in LAPACK."""
    (m, n), r, q = x.shape, np.array(x, LONG), np.eye(len(x), dtype=LONG)
    for i in range(min(m - 1, n)):
        v = np.array(r[i:, i])
        v[0] += np.sign(v[0]) * np.sqrt(v @ v)
        h = np.eye(m, dtype=LONG)
        h[i:, i:] -= 2 * np.outer(v, v) / (v @ v)
        q, r = q @ h, h @ r
    k = m if complete else min(m, n)
    return q[:, :k], np.triu(r[:k])


def _jacobi(x: Any) -> Any:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix, by Jacobi's rotations."""
    n, a, v = len(x), np.array((x + x.T) / 2, LONG), np.eye(len(x), dtype=LONG)
    for _ in range(12):
        for i, j in itertools.combinations(range(n), 2):
            angle = np.arctan2(2 * a[i, j], a[i, i] - a[j, j]) / 2
            turn = np.eye(n, dtype=LONG)
            turn[i, i] = turn[j, j] = np.cos(angle)
            turn[j, i], turn[i, j] = np.sin(angle), -np.sin(angle)
            a, v = turn.T @ a @ turn, v @ turn
    order = np.argsort(np.diag(a))
    return np.diag(a)[order], v[:, order]


def _towards(v: Any, like: Any) -> Any:
    """Columns with the free signs of others."""
    return v * np.where((v * like).sum(0) < 0, -1, 1)


def _eigh(x: Any) -> Any:
    w, v = _jacobi(x)
    return w, _towards(v, np.linalg.eigh(x.astype(float))[1])


def _svd(x: Any, full: bool) -> Any:
    (m, n), k = x.shape, min(x.shape)
    if not k:
        return np.eye(m, m if full else k, dtype=LONG), np.zeros(0, LONG), np.eye(n if full else k, n, dtype=LONG)
    u, _, vh = np.linalg.svd(x.astype(float), full_matrices=full)
    w, v = _jacobi(x.T @ x if m >= n else x @ x.T)
    s = np.sqrt(w[::-1])
    if m >= n:
        v = _towards(v[:, ::-1], vh.T)
        return x @ v / s, s, v.T
    v = _towards(v[:, ::-1], u)
    return v, s, (v.T @ x) / s[:, None]


def _pinv(x: Any) -> Any:
    m, n = x.shape
    return _eliminated(x.T @ x, x.T) if m >= n else _eliminated(x @ x.T, x).T


def _matrix_row(
    name: str, want: Any, cases: Any, grads: Any, size: float = 1, dtype: Any = LONG, **options: Any
) -> Row:
    """Row of a function of matrices, whose errors count against ``size``."""

    def full(*operands: Any, **params: Any) -> Any:
        return _each_matrix(lambda *matrices: want(*matrices, **params), *operands, dtype=dtype)

    def scale(*operands: Any, **params: Any) -> Any:
        return tuple(size * np.ones(y.shape, LONG) for y in each(full(*operands, **params)))

    return Row(name, full, tuple(cases), "f", grads, ulp=16, grad_ulp=64, scale=scale, **options)


def _of(domain: Domain, shapes: Any, **params: Any) -> Any:
    return [case(Draw(s, domain), **params) for s in shapes]


_SYSTEMS = (((3, 3), (3, 2)), ((2, 3, 3), (1, 3, 1)), ((1, 1), (4, 1, 2)), ((0, 0), (0, 2)), ((2, 2), (2, 0)))
_NOT_SQUARE = [(case((2, 3)), ShapeError), (case((3,)), ShapeError)]
_NOT_A_MATRIX = (case((3,)), ShapeError)
_SINGULAR = np.zeros((2, 2), np.float32)
LINEAR_ALGEBRA = [
    _matrix_row("solve", _eliminated, [case(Draw(a, REGULAR), b) for a, b in _SYSTEMS], (RULE, RULE), 4,
                bad=[(case((2, 2), (3, 2)), ShapeError), (case((2, 3), (2, 2)), ShapeError),
                     (case((2, 2, 2), (3, 2, 2)), ShapeError), (case(_SINGULAR, _SINGULAR), LinAlgError)]),
    _matrix_row("triangular_solve", lambda a, b, lower, unit: _eliminated(_triangle(a, lower, unit), b),
                [case(Draw(a, REGULAR), b, lower=lower, unit=unit) for a, b in _SYSTEMS
                 for lower, unit in ((True, False), (False, True))], (RULE, RULE), 4,
                bad=[(case((2, 2), (3, 2), lower=True, unit=False), ShapeError),
                     (case(_SINGULAR, _SINGULAR, lower=True, unit=False), LinAlgError)]),
    _matrix_row("inv", lambda x: _eliminated(x, np.eye(len(x))), _of(REGULAR, SQUARES), (RULE,),
                bad=[*_NOT_SQUARE, (case(_SINGULAR), LinAlgError)]),
    _matrix_row("det", _expanded, _of(REGULAR, SQUARES), (RULE,), 8, bad=_NOT_SQUARE),
    _matrix_row("cofactor", _minors, _of(REGULAR, SQUARES), (RULE,), 4, bad=_NOT_SQUARE),
    _matrix_row("slogdet", lambda x: (np.sign(_expanded(x)), np.log(abs(_expanded(x)))), _of(REGULAR, SQUARES),
                (RULE,), 2, bad=_NOT_SQUARE),
    _matrix_row("expm", _exponential, _of(REGULAR, SQUARES), (RULE,), 8, bad=_NOT_SQUARE),
    _matrix_row("cholesky", _cholesky, _of(GRAM, SQUARES), (RULE,), 2,
                bad=[*_NOT_SQUARE, (case(_SINGULAR), LinAlgError)]),
    _matrix_row("qr", _householder,
                [*_of(GRADED, OBLONGS, complete=False), *_of(GRADED, (*SQUARES, (2, 4)), complete=True)], (RULE,), 4,
                bad=[(case((3,), complete=False), ShapeError)]),
    _matrix_row("eigh", _eigh, _of(GRAM, SQUARES), (RULE,), 4, bad=_NOT_SQUARE),
    _matrix_row("eigvalsh", lambda x: _jacobi(x)[0], _of(GRAM, SQUARES), (RULE,), 4, bad=_NOT_SQUARE),
    _matrix_row("svd", _svd, [*_of(GRADED, OBLONGS, full=False), *_of(GRADED, SQUARES, full=True)], (RULE,), 4,
                bad=[(case((3,), full=False), ShapeError)]),
    _matrix_row("svdvals", lambda x: _svd(x, False)[1], _of(GRADED, OBLONGS), (RULE,), 4, bad=[_NOT_A_MATRIX]),
    Row("pinv", lambda x, _rtol: _each_matrix(_pinv, x),
        tuple(case(Draw(s, GRADED), Draw((), TINY)) for s in OBLONGS), "f", (RULE, ZERO), 16,
        scale=lambda x, _rtol: np.ones((*x.shape[:-2], x.shape[-1], x.shape[-2]), LONG), grad_ulp=64,
        bad=[(case((3,), Draw((), TINY)), ShapeError), (case((2, 2), Draw((3,), TINY)), ShapeError)]),
]  # fmt: skip


# --- Fourier transforms and general eigenvalues: complex results ------------------------------------------------------


def _fourier(n: int, sign: int, inverse: bool, norm: str) -> Any:
    """The matrix c exp(sign 2 pi i j k / n), its angles reduced before they are rounded."""
    angle = (np.outer(np.arange(n), np.arange(n)) % n).astype(LONG) * (2 * _PI / n)
    c = {"ortho": 1 / np.sqrt(LONG(n)), "forward": 1 / LONG(n), "backward": LONG(1)}[
        {"forward": "backward", "backward": "forward"}.get(norm, norm) if inverse else norm
    ]
    return (np.cos(angle) + sign * 1j * np.sin(angle)) * c


_PI = np.arctan2(LONG(0), LONG(-1))


def _along(matrix: Any, x: Any, axis: int) -> Any:
    return np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)


def _dft(x: Any, *, axes: Any, inverse: bool, norm: str) -> Any:
    for axis in axes:
        x = _along(_fourier(x.shape[axis], 1 if inverse else -1, inverse, norm), x, axis)
    return x


def _rfft(x: Any, *, axis: int, norm: str) -> Any:
    n = x.shape[axis]
    return _along(_fourier(n, -1, False, norm)[: n // 2 + 1], x, axis)


def _irfft(x: Any, *, n: int, axis: int, norm: str) -> Any:
    weights = np.full(n // 2 + 1, LONG(2))
    weights[0] = 1
    if n % 2 == 0:
        weights[-1] = 1
    matrix = _fourier(n, 1, True, norm)[:, : n // 2 + 1] * weights
    return _along(matrix.real, x.real, axis) - _along(matrix.imag, x.imag, axis)


def _flat(function: Any) -> Any:
    """Magnitude against which a transform's errors count: the largest result for the operand's absolute values."""

    def scale(x: Any, **params: Any) -> Any:
        y = function(x, **params)
        return np.full(y.shape, np.max(np.abs(y), initial=0))

    return scale


_TRANSFORMED = (
    ((4,), (0,)),
    ((2, 3, 5), (1,)),
    ((2, 3), (0, 1)),
    ((3,), ()),
    ((0, 4), (1,)),
    ((1,), (0,)),
    ((7,), (0,)),
)
_LINES = (((4,), 0), ((2, 5, 3), 1), ((0, 3), 1), ((1,), 0), ((2, 6), 1))
_NORMS = ("backward", "ortho", "forward")
FOURIER = [
    Row("dft", _dft, tuple(case(s, axes=a, inverse=i, norm=n) for (s, a), (i, n) in
                           zip(_TRANSFORMED * 6, itertools.product((False, True), _NORMS * 7))),
        "c", (RULE,), 4, scale=_flat(_dft),
        bad=[(case(Draw((3,), REAL, knp.float32), axes=(0,), inverse=False, norm="ortho"), DTypeError)]),
    Row("rfft", _rfft, tuple(case(s, axis=a, norm=n) for s, a in _LINES for n in _NORMS), "f", (RULE,), 4,
        scale=_flat(_rfft), bad=[(case(Draw((3,), REAL, INT32), axis=0, norm="ortho"), DTypeError)]),
    Row("irfft", _irfft,
        tuple(case((*s[:a], s[a] // 2 + 1, *s[a + 1 :]), n=s[a], axis=a, norm=n) for s, a in _LINES for n in _NORMS),
        "c", (RULE,), 4, scale=_flat(_irfft),
        bad=[(case((3,), n=6, axis=0, norm="ortho"), ShapeError),
             (case(Draw((3,), REAL, knp.float32), n=4, axis=0, norm="ortho"), DTypeError)]),
]  # fmt: skip


def _characteristic(x: Any) -> Any:
    """Coefficients of det(t - x), highest power first, by Faddeev and LeVerrier."""
    n, m, c = len(x), np.zeros(x.shape, LONG), [LONG(1)]
    for k in range(1, n + 1):
        m = x @ m + c[-1] * np.eye(n, dtype=LONG)
        c.append(-np.trace(x @ m) / k)
    return c


def _eig(x: Any) -> Any:
    """Roots of the characteristic polynomial by Durand and Kerner, and for each the null vector of x - w, by columns of
    the adjugate; in LAPACK's order, and scaled as there."""
    n, c = len(x), _characteristic(x)
    w = LONG_COMPLEX(0.4 + 0.9j) ** np.arange(n) * (1 + np.max(np.abs(c), initial=0))
    for _ in range(200):
        value = np.zeros(n, LONG_COMPLEX)
        for coefficient in c:
            value = value * w + coefficient
        apart = np.prod(w[:, None] - w + np.eye(n), axis=1)
        w = w - value / apart
    near = np.linalg.eigvals(x.astype(float)) if n else w
    w = w[[int(np.argmin(np.abs(w - v))) for v in near]] if n else w
    v = np.zeros((n, n), LONG_COMPLEX)
    for k in range(n):
        minors = _adjugate(x - w[k] * np.eye(n))
        column = minors[:, int(np.argmax(np.abs(minors).sum(0)))]
        v[:, k] = column / np.sqrt(np.sum(np.abs(column) ** 2))
        top = v[int(np.argmax(np.abs(v[:, k]))), k]
        v[:, k] *= np.conj(top) / np.abs(top)
    like = np.linalg.eig(x.astype(float))[1] if n else v
    return w, v * np.where(np.sum(v * np.conj(like), 0).real < 0, -1, 1)


def _adjugate(x: Any) -> Any:
    y = np.zeros(x.shape, x.dtype)
    for i, j in np.ndindex(*x.shape):
        y[j, i] = (-1) ** (i + j) * _expanded(np.delete(np.delete(x, i, 0), j, 1))
    return y


def _turning(rng: Any, shape: Any) -> Any:
    """Matrices with a pair of complex eigenvalues and real ones beside it, all apart."""
    n = shape[-1]
    x = rng.uniform(-0.3, 0.3, shape) + np.diag(np.arange(n) * 1.5)
    if n > 1:
        x[..., :2, :2] += np.array([[0.7, 2.0], [-1.6, -0.8]])
    return x


TURNING = Domain("TURNING", _turning, _integers(0, 0))
EIGEN = [
    _matrix_row("eig", _eig, _of(TURNING, SQUARES), (RULE,), 8, dtype=LONG_COMPLEX, bad=_NOT_SQUARE),
    _matrix_row("eigvals", lambda x: _eig(x)[0], _of(TURNING, SQUARES), (RULE,), 8, dtype=LONG_COMPLEX,
                bad=_NOT_SQUARE),
]  # fmt: skip


def _conv_terms(x_shape: Any, w_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Iterator[Any]:
    """(index into y, index into x, index into w) of each product of a convolution, cell by cell."""
    n, o, per_group = x_shape[0], w_shape[0], w_shape[1]
    spatial = list(zip(x_shape[2:], w_shape[2:], stride, padding, dilation, strict=True))
    sizes = [(s + p[0] + p[1] - d * (k - 1) - 1) // t + 1 for s, k, t, p, d in spatial]
    outs = o // groups
    for i, out, c in itertools.product(range(n), range(o), range(per_group)):
        for place in itertools.product(*map(range, sizes)):
            for tap in itertools.product(*map(range, w_shape[2:])):
                cell = [
                    p * t - b + k * d for p, k, t, (b, _), d in zip(place, tap, stride, padding, dilation, strict=True)
                ]
                if all(0 <= u < s for u, s in zip(cell, x_shape[2:], strict=True)):
                    yield (i, out, *place), (i, out // outs * per_group + c, *cell), (out, c, *tap)


def _conv_sizes(x: Any, w: Any, p: Any) -> list[int]:
    return [
        (s + a + b - d * (k - 1) - 1) // t + 1
        for s, k, t, (a, b), d in zip(x[2:], w[2:], p["stride"], p["padding"], p["dilation"], strict=True)
    ]


def _conv(x: Any, w: Any, **p: Any) -> Any:
    y = np.zeros((x.shape[0], w.shape[0], *_conv_sizes(x.shape, w.shape, p)), x.dtype)
    for iy, ix, iw in _conv_terms(x.shape, w.shape, **p):
        y[iy] += x[ix] * w[iw]
    return y


def _conv_input(g: Any, w: Any, *, input_shape: Any, **p: Any) -> Any:
    dx = np.zeros(input_shape, g.dtype)
    for iy, ix, iw in _conv_terms(input_shape, w.shape, **p):
        dx[ix] += g[iy] * w[iw]
    return dx


def _conv_weight(x: Any, g: Any, *, kernel_shape: Any, **p: Any) -> Any:
    dw = np.zeros(kernel_shape, g.dtype)
    for iy, ix, iw in _conv_terms(x.shape, kernel_shape, **p):
        dw[iw] += g[iy] * x[ix]
    return dw


def _window(stride: Any, padding: Any, dilation: Any, groups: int = 1) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


_CONVS = (
    ((2, 3, 5), (4, 3, 3), _window((1,), ((0, 0),), (1,))),
    ((1, 2, 7), (3, 2, 2), _window((2,), ((1, 2),), (2,))),
    ((2, 4, 6), (6, 2, 3), _window((1,), ((1, 1),), (1,), 2)),
    ((2, 1, 4, 5), (2, 1, 2, 3), _window((1, 1), ((0, 0), (0, 0)), (1, 1))),
    ((1, 2, 5, 4), (2, 2, 3, 2), _window((2, 1), ((1, 0), (0, 1)), (1, 2))),
    ((2, 3, 3, 3), (2, 3, 1, 1), _window((1, 1), ((0, 0), (0, 0)), (1, 1))),
    ((1, 2, 4, 4), (2, 1, 3, 3), _window((1, 1), ((1, 1), (1, 1)), (1, 1), 2)),
    ((1, 1, 3, 3, 4), (2, 1, 2, 2, 2), _window((1, 2, 1), ((0, 1), (0, 0), (1, 0)), (1, 1, 1))),
    ((0, 2, 4), (3, 2, 2), _window((1,), ((0, 0),), (1,))),
)


def _y(x: Any, w: Any, p: Any) -> tuple[int, ...]:
    return (x[0], w[0], *_conv_sizes(x, w, p))


_CONV_1D = _window((1,), ((0, 0),), (1,))
CONVOLUTIONS = [
    Row("conv", _conv, tuple(case(x, w, **p) for x, w, p in _CONVS), "f", (RULE, RULE), 4, scale=_conv, grad_ulp=32,
        bad=[(case((2, 3, 5), (4, 2, 3), **_CONV_1D), ShapeError), (case((2, 3), (4, 3), **_CONV_1D), ShapeError),
             (case((2, 3, 2), (4, 3, 3), **_CONV_1D), ShapeError),
             (case((2, 3, 5), Draw((4, 3, 3), REAL, INT32), **_CONV_1D), DTypeError)]),
    Row("conv_input_grad", _conv_input, tuple(case(_y(x, w, p), w, input_shape=x, **p) for x, w, p in _CONVS), "f",
        (RULE, RULE), 4, scale=_conv_input, grad_ulp=32),
    Row("conv_weight_grad", _conv_weight, tuple(case(x, _y(x, w, p), kernel_shape=w, **p) for x, w, p in _CONVS), "f",
        (RULE, RULE), 4, scale=_conv_weight, grad_ulp=32),
]  # fmt: skip


def _cells(x_shape: Any, y_shape: Any, window: Any, stride: Any, padding: Any) -> Iterator[Any]:
    """(index into y, indices into x of the window's real cells in row-major order), window by window."""
    for place in np.ndindex(*y_shape):
        corner = [p * s - b for p, s, (b, _) in zip(place[2:], stride, padding, strict=True)]
        cells = []
        for tap in itertools.product(*map(range, window)):
            cell = [c + k for c, k in zip(corner, tap, strict=True)]
            if all(0 <= u < n for u, n in zip(cell, x_shape[2:], strict=True)):
                cells.append((*place[:2], *cell))
        yield place, cells


def _pooled(x_shape: Any, window: Any, stride: Any, padding: Any) -> tuple[int, ...]:
    sizes = zip(x_shape[2:], window, stride, padding, strict=True)
    return (*x_shape[:2], *((n + a + b - k) // s + 1 for n, k, s, (a, b) in sizes))


def _first_max(x: Any, cells: Any) -> Any:
    best = cells[0]
    for cell in cells[1:]:
        if x[best] == x[best] and (x[cell] > x[best] or x[cell] != x[cell]):
            best = cell
    return best


def _max_pool(x: Any, **p: Any) -> Any:
    y = np.empty(_pooled(x.shape, **p), x.dtype)
    for place, cells in _cells(x.shape, y.shape, **p):
        y[place] = x[_first_max(x, cells)]
    return y


def _max_pool_grad(g: Any, x: Any, _y: Any, **p: Any) -> Any:
    dx = np.zeros(x.shape, g.dtype)
    for place, cells in _cells(x.shape, g.shape, **p):
        dx[_first_max(x, cells)] += g[place]
    return dx


def _max_pool_gather(t: Any, x: Any, y: Any, **p: Any) -> Any:
    z = np.zeros(y.shape, t.dtype)
    for place, cells in _cells(x.shape, y.shape, **p):
        z[place] = t[_first_max(x, cells)]
    return z


def _avg_pool(x: Any, *, include_padding: bool, **p: Any) -> Any:
    y = np.empty(_pooled(x.shape, **p), x.dtype)
    for place, cells in _cells(x.shape, y.shape, **p):
        y[place] = sum((x[c] for c in cells), LONG(0)) / (np.prod(p["window"]) if include_padding else len(cells))
    return y


def _avg_pool_grad(g: Any, *, input_shape: Any, include_padding: bool, **p: Any) -> Any:
    dx = np.zeros(input_shape, g.dtype)
    for place, cells in _cells(input_shape, g.shape, **p):
        for c in cells:
            dx[c] += g[place] / (np.prod(p["window"]) if include_padding else len(cells))
    return dx


def _pool(window: Any, stride: Any, padding: Any) -> dict[str, Any]:
    return {"window": window, "stride": stride, "padding": padding}


_POOLS = (
    ((2, 2, 6), _pool((2,), (2,), ((0, 0),))),
    ((1, 2, 7), _pool((3,), (2,), ((1, 2),))),
    ((2, 2, 4, 4), _pool((2, 2), (2, 2), ((0, 0), (0, 0)))),
    ((1, 2, 5, 4), _pool((3, 2), (1, 2), ((1, 1), (0, 1)))),
    ((1, 1, 3, 3), _pool((1, 1), (1, 1), ((0, 0), (0, 0)))),
    ((1, 1, 5, 5), _pool((2, 2), (3, 3), ((0, 0), (0, 0)))),
    ((1, 1, 3, 4, 3), _pool((2, 2, 2), (1, 2, 1), ((0, 0), (1, 1), (0, 1)))),
    ((0, 2, 4), _pool((2,), (2,), ((0, 0),))),
)


def _selecting(shape: Any, p: Any, tied: bool, first: str) -> Case:
    """Operands of max_pool_grad and max_pool_gather: g or t, x, and y computed from x."""
    x = Draw(shape, HALVES if tied else DISTINCT)
    return Case((Draw(_pooled(shape, **p) if first == "g" else shape), x, lambda _, x: _max_pool(x, **p)), p)


_AVERAGES = tuple((s, p, include) for s, p in _POOLS for include in (True, False))
_WINDOW_BAD = [_pool((5,), (1,), ((0, 0),)), _pool((2, 2), (1, 1), ((0, 0), (0, 0))), _pool((2,), (1,), ((2, 0),))]
POOLING = [
    Row("max_pool", _max_pool, tuple(case(Draw(s, DISTINCT), **p) for s, p in _POOLS), "if", (RULE,), 0,
        bad=[(case((1, 1, 4), **p), ShapeError) for p in _WINDOW_BAD]),
    Row("max_pool_grad", _max_pool_grad, tuple(_selecting(s, p, t, "g") for s, p in _POOLS for t in (False, True)), "f",
        (RULE, ZERO, ZERO), 3, scale=lambda g, x, y, **p: _max_pool_grad(g, x, y, **p) + g.max(initial=0)),
    Row("max_pool_gather", _max_pool_gather, tuple(_selecting(s, p, t, "t") for s, p in _POOLS for t in
        (False, True)), "f",
        (RULE, ZERO, ZERO), 0),
    Row("avg_pool", _avg_pool, tuple(case(s, **p, include_padding=i) for s, p, i in _AVERAGES), "f", (RULE,), 4,
        scale=_avg_pool, bad=[(case((1, 1, 4), **p, include_padding=True), ShapeError) for p in _WINDOW_BAD]),
    Row("avg_pool_grad", _avg_pool_grad,
        tuple(case(_pooled(s, **p), input_shape=s, **p, include_padding=i) for s, p, i in _AVERAGES), "f", (RULE,), 6,
        scale=_avg_pool_grad),
]  # fmt: skip

# --- random -----------------------------------------------------------------------------------------------------------


def _philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox-4x64-10 on Python integers."""
    mask = 2**64 - 1
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = c[0] * 0xD2E7470EE14C6C93, c[2] * 0xCA5A826395121157
        c = [b >> 64 ^ c[1] ^ k[0], b & mask, a >> 64 ^ c[3] ^ k[1], a & mask]
        k = [k[0] + 0x9E3779B97F4A7C15 & mask, k[1] + 0xBB67AE8584CAA73B & mask]
    return c


def _random_bits(key: Any, *, shape: Any, dtype: Any) -> Any:
    size = int(np.prod(shape))
    y = np.zeros((*key.shape[:-1], size), dtype)
    for place in np.ndindex(*key.shape[:-1]):
        words: list[int] = []
        while len(words) < size + 8:
            b = _philox([len(words) // 4 + 1, 0, 0, 0], [int(k) for k in key[place]])
            words += [b[0], b[1], b[2], b[3]]
        if dtype.itemsize == 4:
            words = [half for w in words for half in (w & 0xFFFFFFFF, w >> 32)]
        y[place] = words[:size]
    return y.reshape((*key.shape[:-1], *shape))


def _derive_key(key: Any, data: Any, *, tag: int) -> Any:
    shape = np.broadcast_shapes(key.shape[:-1], data.shape)
    key, data = np.broadcast_to(key, (*shape, 2)), np.broadcast_to(data, shape)
    y = np.zeros((*shape, 2), np.uint64)
    for place in np.ndindex(*shape):
        y[place] = _philox([int(data[place]), 0, 0, tag], [int(k) for k in key[place]])[:2]
    return y


def _uniforms(key: Any, place: int, round_: int, tag: int) -> list[float]:
    return [((w >> 12) + 0.5) / 2**52 for w in _philox([place, round_, 0, tag], [int(k) for k in key])]


def _drawn(one: Any) -> Any:
    """Oracle of a sampler from a function of a key, the number of the element, and its parameter."""

    def want(key: Any, parameter: Any) -> Any:
        y = np.zeros(parameter.shape, LONG)
        for batch in np.ndindex(*key.shape[:-1]):
            for i, place in enumerate(np.ndindex(*parameter.shape[key.ndim - 1 :])):
                y[batch + place] = one(key[batch], i, float(parameter[batch + place]))
        return y

    return want


def _loggamma(key: Any, i: int, a: float) -> float:
    d = a + (a < 1) - 1 / 3
    for round_ in range(64):
        u = _uniforms(key, i, round_, 3)
        z = math.sqrt(-2 * math.log(u[0])) * math.cos(2 * math.pi * u[1])
        v = (1 + z / math.sqrt(9 * d)) ** 3
        if v > 0 and math.log(u[2]) < z * z / 2 + d * (1 - v + math.log(v)):
            return math.log(d * v) + (math.log(_uniforms(key, i, 0, 3)[3]) / a if a < 1 else 0)
    raise AssertionError("64 rejections in a row")


def _poisson(key: Any, i: int, rate: float) -> int:
    if rate < 10:
        u, k, p = _uniforms(key, i, 0, 4)[0], 0, math.exp(-rate)
        while u > p:
            u, k = u - p, k + 1
            p *= rate / k
        return k
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = 0.02483 * b - 0.059
    for round_ in range(64):
        u, v, *_ = _uniforms(key, i, round_, 4)
        edge = 0.5 - abs(u - 0.5)
        k = math.floor((2 * a / edge + b) * (u - 0.5) + rate + 0.43)
        if edge >= 0.07 and v <= 0.9277 - 3.6224 / (b - 2):
            return k
        if k < 0 or (edge < 0.013 and v > edge):
            continue
        hat = v * (1.1239 + 1.1328 / (b - 3.4)) / (a / edge**2 + b)
        if math.log(hat) <= k * math.log(rate) - rate - math.lgamma(k + 1):
            return k
    raise AssertionError("64 rejections in a row")


_KEY = np.array([0x0123456789ABCDEF, 2**64 - 3], np.uint64)
_KEYS = np.array([[1, 2], [3, 2**63]], np.uint64)
RANDOM = [
    Row("random_bits", _random_bits,
        tuple(case(k, shape=s, dtype=np.dtype(d)) for k, s, d in
              ((_KEY, (), "uint32"), (_KEY, (5,), "uint32"), (_KEY, (3, 3), "uint64"), (_KEYS, (3,), "uint64"),
               (_KEYS, (2, 5), "uint32"), (_KEY, (0,), "uint32"))),
        "", (INDEX,), fixed=UINT64,
        bad=[(case(_ids(1, 2), shape=(), dtype=np.dtype("uint32")), DTypeError),
             (case(np.zeros(3, np.uint64), shape=(), dtype=np.dtype("uint32")), DTypeError)]),
    *(Row(name, _drawn(one),
          (case(_KEY, Draw((3,), POSITIVE, INT32)), case(_KEY, np.array(2.5)), case(_KEY, np.zeros((0,))),
           case(_KEY, np.array([[0.1, 0.7, 9.5], [11.0, 40.0, 1e3]])), case(_KEYS, np.array([[0.3, 5.0], [2.0, 20.0]])),
           case(_KEYS, np.full((2, 3, 40), 12.0))),
          "", (INDEX, INDEX), 4, fixed=UINT64, scale=lambda key, a: np.ones(a.shape, LONG),
          bad=[(case(_ids(1, 2), np.ones(2)), DTypeError)])
      for name, one in (("random_loggamma", _loggamma), ("random_poisson", _poisson))),
    Row("derive_key", _derive_key,
        tuple(case(k, d, tag=t) for k, d, t in ((_KEY, np.array(7), 1), (_KEY, _ids(0, 1, 2), 2),
        (_KEYS, _ids(5, 6), 1),
                                                (_KEYS, _ids([0], [1]), 1))),
        "", (INDEX, INDEX), fixed=UINT64,
        bad=[(case(_ids(1, 2), np.array(0), tag=1), DTypeError), (case(_KEYS, _ids(1, 2, 3), tag=1), ShapeError)]),
]  # fmt: skip

ROWS = {
    row.name: row
    for row in (
        *ELEMENTWISE,
        *ORDERED,
        *ORDERS,
        *CAST,
        *BINARY_POWERS,
        *REDUCTIONS,
        *SHAPE,
        *UNSTACK,
        *INDEXING,
        *CONTRACTIONS,
        *LINEAR_ALGEBRA,
        *FOURIER,
        *EIGEN,
        *CONVOLUTIONS,
        *POOLING,
        *RANDOM,
    )
}
