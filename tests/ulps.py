"""One row for each public function of knet.numpy, linalg and fft: its oracle in NumPy or SciPy, what it is called with,
and how many units in the last place it may be off. ``numpy/test_ulps.py`` walks the table.

A bound of 0 means equal, NaN where the oracle has NaN. Other errors count in units in the last place of the oracle's
value or, where a row has a ``scale`` (sums that cancel, matrices, transforms), of that: the magnitude of what was added
up, or the largest element of the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import scipy.special
from hypothesis import strategies as st

import knet.numpy as knp

F32, F64 = np.dtype("float32"), np.dtype("float64")
SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (3,), (5,), (2, 3), (3, 1), (2, 0), (2, 1, 4))
FULL = ((1,), (3,), (7,), (2, 3), (3, 1), (2, 1, 4), (3, 3))

# The elementary functions that decide the error of others made of them, where a backend has its own.
OWN = {"angle": "atan2", "float_power": "power"}

# --- elements ---------------------------------------------------------------------------------------------------------

SPECIAL = {
    d: [
        float(d.type(v))
        for v in (
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            2.0,
            np.inf,
            -np.inf,
            np.nan,
            np.finfo(d).tiny,
            np.finfo(d).smallest_subnormal,
            -np.finfo(d).smallest_subnormal,
            np.finfo(d).max,
        )
    ]
    for d in (F32, F64)
}


def anything(dtype: Any) -> Any:
    """Any number of the dtype; the special ones often."""
    return st.sampled_from(SPECIAL[dtype]) | st.floats(width=8 * dtype.itemsize)


def between(low: float, high: float) -> Any:
    """Numbers of an interval."""
    return lambda dtype: st.floats(float(np.float32(low)), float(np.float32(high)), width=8 * dtype.itemsize)


def gappy(dtype: Any) -> Any:
    """Numbers of moderate size, and NaN."""
    return st.just(np.nan) | MODERATE(dtype)


def ended(dtype: Any) -> Any:
    """Numbers of moderate size, infinities and NaN."""
    return st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0]) | MODERATE(dtype)


MODERATE, POSITIVE, UNIT = between(-100, 100), between(0.01, 100), between(-1, 1)


def tied(_dtype: Any) -> Any:
    """Small whole numbers: many are equal."""
    return st.integers(-2, 2).map(float)


def integers(low: int = -9, high: int = 9) -> Any:
    """Whole numbers for arrays of integers."""
    return lambda _dtype: st.integers(low, high)


def array(draw: Any, dtype: Any, elements: Any = MODERATE, shapes: Any = SHAPES) -> Any:
    """An array whose elements repeat a few drawn ones."""
    shape = (
        draw(st.sampled_from(shapes))
        if isinstance(shapes, tuple) and shapes and isinstance(shapes[0], tuple)
        else shapes
    )
    values = draw(st.lists(elements(np.dtype(dtype)), min_size=1, max_size=7))
    return np.resize(np.asarray(values, dtype), shape)


def whole(draw: Any, low: int = -9, high: int = 9, shapes: Any = SHAPES, dtype: str = "int64") -> Any:
    """An array of integers."""
    return array(draw, dtype, integers(low, high), shapes)


def axis(draw: Any, x: Any, none: bool = True) -> Any:
    """An axis of x, or None."""
    return draw(st.sampled_from(([None] if none else []) + list(range(-x.ndim, x.ndim)))) if x.ndim or none else None


def random(draw: Any) -> np.random.Generator:
    """Where many numbers are needed: a generator with a drawn seed."""
    return np.random.default_rng(draw(st.integers(0, 2**32)))


# --- rows -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """What is known of one function.

    Args:
      name: in knet.numpy.
      make: ``make(draw, dtype)``, the arguments: a list, or a list and a dictionary.
      want: the oracle, called with the same.
      ulp: bound on the error.
      scale: ``scale(want, *args)``, the magnitude that errors count against, for each result.
      view: what of Knet's result is compared, called with it and the arguments.
      dtypes: whether results must have the oracle's dtype.
    """

    name: str
    make: Callable[..., Any]
    want: Callable[..., Any]
    ulp: float = 0
    scale: Callable[..., Any] | None = None
    view: Callable[..., Any] | None = None
    dtypes: bool = True

    @property
    def function(self) -> Any:
        """Knet's function."""
        found: Any = knp
        for part in self.name.split("."):
            found = getattr(found, part)
        return found


def numpys(name: str) -> Any:
    """The function of that name in NumPy, else in SciPy."""
    found: Any = np
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if callable(found) else getattr(scipy.special, name)


def rows(names: str, make: Any, ulp: float = 0, want: Any = None, **options: Any) -> list[Row]:
    """Rows of functions that are called alike."""
    return [Row(name, make, want or numpys(name), ulp, **options) for name in names.split()]


def of(*elements: Any, shapes: Any = SHAPES) -> Any:
    """Maker of arrays that broadcast: all of one shape, or the first without axes."""

    def make(draw: Any, dtype: Any) -> Any:
        shape = draw(st.sampled_from(shapes))
        lone = draw(st.booleans()) and len(elements) > 1
        return [array(draw, dtype, e, () if lone and not i else shape) for i, e in enumerate(elements)]

    return make


def flat(size: float) -> Any:
    """One magnitude for all errors, for products of numbers below 1."""
    return lambda want, *_args, **_params: np.full(np.shape(want), float(size))


def largest(want: Any, *_args: Any, **_params: Any) -> Any:
    """The largest magnitude of a result: the measure of matrices and transforms."""
    return np.full(np.shape(want), max(np.max(np.abs(want), initial=0), 1e-30))


def added_up(want: Any, x: Any, *_args: Any, **_params: Any) -> Any:
    """The sum of the magnitudes of all elements: of what is added up."""
    x = np.abs(np.asarray(x, np.float64))
    return np.full(np.shape(want), max(np.nansum(np.where(np.isfinite(x), x, 0)), 1e-30))


def real_or_complex(draw: Any, dtype: Any, shape: Any) -> Any:
    """Numbers of size 1 about; complex if that is drawn."""
    rng = random(draw)
    x = rng.uniform(-1, 1, shape)
    if draw(st.booleans()):
        return (x + 1j * rng.uniform(-1, 1, shape)).astype(np.result_type(dtype, np.complex64))
    return x.astype(dtype)


# --- elementwise ------------------------------------------------------------------------------------------------------


def whole_pairs(low: int, high: int) -> Any:
    """Maker of two integer arrays, the second in [low, high]."""
    return lambda draw, _dtype: [whole(draw, shapes=(3,)), whole(draw, low, high, shapes=(3,))]


def orders(high: int, elements: Any, dtype: Any = None) -> Any:
    """Maker of an order and an argument, for functions of both."""
    return lambda draw, d: [np.asarray(draw(st.integers(0, high)), dtype or d), array(draw, d, elements)]


ELEMENTWISE = [
    *rows(
        "abs absolute acos acosh arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh cbrt ceil conj "
        "conjugate cos cosh exp exp2 expm1 floor imag isfinite isinf isnan log log10 log1p log2 logical_not negative "
        "positive real reciprocal sign signbit sin sinh sqrt square tan tanh trunc",
        of(anything),
    ),
    *rows("erf erfc erfinv gammaln i0e i1 i1e j0 j1 log_ndtr logit ndtr ndtri", of(anything)),
    *rows("i0", of(anything), want=scipy.special.i0),  # NumPy's is less exact
    *rows("digamma", of(anything), want=scipy.special.psi),
    *rows("expit", of(anything), 2),
    *rows("deg2rad radians rad2deg degrees", of(anything), 1),
    *rows("sinc", of(MODERATE), 4, scale=lambda want, x: np.abs(want) + np.abs(x) * 0 + 1e-3),
    *rows("angle", lambda draw, d: [real_or_complex(draw, d, (3,))]),
    *rows("round", lambda draw, d: [array(draw, d), draw(st.integers(-2, 3))], 1, scale=lambda w, x, n: np.abs(x) + 1),
    *rows("nan_to_num", of(anything)),
    *rows(
        "add subtract multiply divide true_divide power pow remainder mod fmod copysign nextafter maximum minimum fmax "
        "fmin atan2 arctan2 hypot logaddexp equal not_equal less less_equal greater greater_equal logical_and "
        "logical_or logical_xor",
        of(anything, anything),
    ),
    *rows(
        "floor_divide",
        of(anything, anything),
        want=lambda x, y: np.where(  # the standard's, for infinities
            np.isfinite(x) & np.isfinite(y), np.floor_divide(x, y), np.floor(x / y)
        ),
    ),
    *rows("heaviside", of(anything, MODERATE)),
    *rows("xlogy xlog1py", of(anything, anything)),
    *rows("betaln gammainc gammaincc", of(POSITIVE, POSITIVE)),
    *rows("zeta", of(between(1.1, 30), POSITIVE)),
    *rows("polygamma", orders(4, POSITIVE), 1),
    *rows("iv ive jv", orders(5, between(-30, 30))),
    *rows("bitwise_and bitwise_or bitwise_xor", whole_pairs(-9, 9)),
    *rows("bitwise_left_shift bitwise_right_shift", whole_pairs(0, 9)),
    *rows("bitwise_invert", lambda draw, _: [whole(draw)]),
    *rows("ldexp", lambda draw, d: [array(draw, d, anything), np.asarray(draw(st.integers(-1200, 1200)))]),
    *rows(
        "frexp",
        lambda draw, d: [array(draw, d, anything)],
        want=lambda x: (np.frexp(x)[0], np.where(np.isfinite(x), np.frexp(x)[1], 0).astype(np.int32)),
    ),
    *rows(
        "clip", lambda draw, d: [array(draw, d, anything), draw(st.none() | st.floats(-9, 0)), draw(st.floats(0, 9))]
    ),
    *rows(
        "where",
        lambda draw, d: [whole(draw, 0, 1, (3,)) > 0, array(draw, d, anything, (3,)), array(draw, d, anything, (2, 3))],
    ),
    *rows("isclose allclose array_equal array_equiv", of(ended, ended)),
]

# --- reductions and scans ---------------------------------------------------------------------------------------------


def reduced(elements: Any, shapes: Any = SHAPES, **extra: Any) -> Any:
    """Maker of an array, an axis, and keepdims."""

    def make(draw: Any, dtype: Any) -> Any:
        x = array(draw, dtype, elements, shapes)
        return [x, axis(draw, x)], {"keepdims": draw(st.booleans()), **{k: draw(v) for k, v in extra.items()}}

    return make


def scanned(elements: Any) -> Any:
    """Maker of an array and the axis of a scan."""

    def make(draw: Any, dtype: Any) -> Any:
        x = array(draw, dtype, elements, FULL)
        return [x], {"axis": axis(draw, x, none=False)}

    return make


def quantiles(elements: Any, unit: float) -> Any:
    """Maker of an array and quantiles of it, which are exact in both precisions."""

    def make(draw: Any, dtype: Any) -> Any:
        x = array(draw, dtype, elements, FULL)
        q = np.asarray(draw(st.lists(st.integers(0, 64), min_size=1, max_size=3)), dtype) / 64 * unit
        return [x, q, axis(draw, x)], {"keepdims": draw(st.booleans()), "method": draw(st.sampled_from(METHODS))}

    return make


METHODS = ("linear", "lower", "higher", "nearest", "midpoint")
SPREAD = {"correction": st.sampled_from([0, 1])}


def squares(want: Any, x: Any, *_args: Any, **_params: Any) -> Any:
    """The mean square, against which a variance's error counts."""
    return np.full(np.shape(want), max(np.nanmean(np.square(np.asarray(x, float))) if np.size(x) else 0, 1e-30))


def size_of(want: Any, x: Any, *_args: Any, **_params: Any) -> Any:
    """The largest element."""
    x = np.asarray(x, float)
    return np.full(np.shape(want), max(np.max(np.where(np.isfinite(x), np.abs(x), 0), initial=0), 1e-30))


def averaged(draw: Any, dtype: Any) -> Any:
    x = array(draw, dtype, MODERATE, FULL)
    a = axis(draw, x, none=False)
    return [x, a, array(draw, dtype, POSITIVE, (x.shape[a],))]


REDUCTIONS = [
    *rows("sum mean", reduced(MODERATE, FULL), 1, scale=added_up),
    *rows("nansum", reduced(gappy), 1, scale=added_up),
    *rows("nanmean", reduced(gappy, FULL), 1, scale=added_up),
    *rows("prod", reduced(between(-2, 2)), 2),
    *rows("nanprod", reduced(lambda d: st.just(np.nan) | between(-2, 2)(d)), 2),
    *rows("var", reduced(MODERATE, FULL, **SPREAD), 4, scale=squares),
    *rows("nanvar", reduced(gappy, FULL, **SPREAD), 4, scale=squares),
    *rows("std", reduced(POSITIVE, ((5,), (3, 3)), **SPREAD), 4, scale=size_of),
    *rows("nanstd", reduced(POSITIVE, ((5,), (3, 3)), **SPREAD), 4, scale=size_of),
    *rows("max min", reduced(anything, FULL)),
    *rows("nanmax nanmin", reduced(gappy, FULL)),
    *rows("argmax argmin", reduced(tied, FULL)),
    *rows("any all count_nonzero", reduced(tied)),
    *rows("median", reduced(MODERATE, FULL), 1),
    *rows("nanmedian", reduced(gappy, FULL), 1),
    *rows("quantile nanquantile", quantiles(gappy, 1), 2, scale=size_of),
    *rows("percentile nanpercentile", quantiles(gappy, 100), 2, scale=size_of),
    *rows(
        "logsumexp",
        reduced(ended, FULL),
        2,
        want=lambda x, a, keepdims: scipy.special.logsumexp(x, a, keepdims=keepdims).astype(x.dtype),
        scale=lambda w, x, *_, **__: np.abs(w) + 1,
    ),
    *rows("average", averaged, 2, scale=added_up),
    *rows("cumsum", scanned(MODERATE), 1, scale=added_up),
    *rows("cumulative_sum", scanned(MODERATE), 1, want=np.cumsum, scale=added_up),
    *rows("cumprod", scanned(between(-2, 2)), 1),
    *rows("cumulative_prod", scanned(between(-2, 2)), 1, want=np.cumprod),
    *rows("cummax cumulative_max", scanned(anything), want=np.maximum.accumulate),
    *rows("cummin cumulative_min", scanned(anything), want=np.minimum.accumulate),
    *rows("logcumsumexp", scanned(MODERATE), 2, want=np.logaddexp.accumulate, scale=lambda w, x, **_: np.abs(w) + 1),
    *rows("diff", lambda draw, d: ([array(draw, d, ended, FULL)], {"n": draw(st.integers(0, 2))})),
    *rows("ediff1d", lambda draw, d: [array(draw, d, ended), draw(st.none() | st.just(0.1)), draw(st.none())]),
]

# --- shapes -----------------------------------------------------------------------------------------------------------


def alone(elements: Any = anything, shapes: Any = SHAPES) -> Any:
    """Maker of one array."""
    return lambda draw, dtype: [array(draw, dtype, elements, shapes)]


def several(shapes: Any) -> Any:
    """Maker of a list of arrays of one shape."""

    def make(draw: Any, dtype: Any) -> Any:
        shape = draw(st.sampled_from(shapes))
        return [[array(draw, dtype, anything, shape) for _ in range(draw(st.integers(1, 3)))]]

    return make


def with_axis(make: Any, word: str = "axis") -> Any:
    """Maker with an axis in addition, by keyword."""

    def more(draw: Any, dtype: Any) -> Any:
        args = make(draw, dtype)
        x = args[0] if isinstance(args[0], np.ndarray) else args[0][0]
        return args, {word: axis(draw, x, none=False)}

    return more


def permuted(draw: Any, dtype: Any) -> Any:
    x = array(draw, dtype, anything)
    return [x, tuple(draw(st.permutations(range(x.ndim))))]


def reshaped(draw: Any, dtype: Any) -> Any:
    return [array(draw, dtype, anything, (2, 6)), draw(st.sampled_from([(12,), (3, 4), (-1, 2), (2, 2, 3), (4, -1)]))]


SQUARE = ((3, 3), (2, 3), (3, 2), (0, 2), (1, 1))
DIAGONALS = st.integers(-3, 3)
EVERY = tuple(s for s in SHAPES if s)

SHAPE = [
    *rows("atleast_1d atleast_2d atleast_3d ravel", alone()),
    *rows(
        "astype",
        lambda draw, d: [array(draw, d), draw(st.sampled_from(["float32", "float64", "int64", "bool"]))],
        want=lambda x, t: x.astype(t),
    ),
    *rows("broadcast_to", lambda draw, d: [array(draw, d, anything, ((), (3,), (1, 1), (2, 1))), (4, 2, 3)]),
    *rows("broadcast_arrays", lambda draw, d: [array(draw, d, anything, (3,)), array(draw, d, anything, (2, 1))]),
    *rows("broadcast_shapes", lambda draw, d: [draw(st.sampled_from([(), (3,), (2, 1)])), (1, 3)]),
    *rows("column_stack hstack vstack dstack", several(((3,), (2, 3)))),
    *rows("concat concatenate", with_axis(several(EVERY)), want=np.concatenate),
    *rows("stack", with_axis(several(EVERY))),
    *rows("unstack", with_axis(alone(shapes=EVERY)), want=lambda x, axis: tuple(np.moveaxis(x, axis, 0))),
    *rows("split", lambda draw, d: [array(draw, d, anything, (6, 2)), draw(st.sampled_from([2, 3, [1, 4], [0, 9]]))]),
    *rows("expand_dims", lambda draw, d: [array(draw, d, anything), draw(st.sampled_from([0, -1]))]),
    *rows("squeeze", lambda draw, d: [array(draw, d, anything, ((3, 1), (1, 2, 1), ())), None]),
    *rows(
        "flip",
        lambda draw, d: ([array(draw, d, anything, (2, 3))], {"axis": draw(st.sampled_from([None, 0, 1, (0, 1)]))}),
    ),
    *rows("fliplr flipud", alone(shapes=((2, 3), (0, 2)))),
    *rows("rot90", lambda draw, d: [array(draw, d, anything, (2, 3)), draw(st.integers(-4, 5))]),
    *rows(
        "roll",
        lambda draw, d: (
            [array(draw, d, anything, (2, 3)), draw(st.integers(-9, 9))],
            {"axis": draw(st.sampled_from([None, 0, 1]))},
        ),
    ),
    *rows(
        "moveaxis",
        lambda draw, d: [array(draw, d, anything, (2, 1, 4)), draw(st.integers(-3, 2)), draw(st.integers(-3, 2))],
    ),
    *rows(
        "swapaxes",
        lambda draw, d: [array(draw, d, anything, (2, 1, 4)), draw(st.integers(-3, 2)), draw(st.integers(-3, 2))],
    ),
    *rows("permute_dims transpose", permuted, want=np.transpose),
    *rows("matrix_transpose linalg.matrix_transpose", alone(shapes=SQUARE), want=lambda x: x.swapaxes(-1, -2)),
    *rows("reshape", reshaped),
    *rows(
        "repeat",
        lambda draw, d: (
            [array(draw, d, anything, (2, 3)), draw(st.integers(0, 3))],
            {"axis": draw(st.sampled_from([None, 0, 1]))},
        ),
    ),
    *rows("tile", lambda draw, d: [array(draw, d, anything), draw(st.sampled_from([2, (2, 1), (0,), (1, 2, 2)]))]),
    *rows("tril triu", lambda draw, d: ([array(draw, d, anything, SQUARE)], {"k": draw(DIAGONALS)})),
    *rows("diag", lambda draw, d: [array(draw, d, anything, ((3,), (3, 2))), draw(DIAGONALS)]),
    *rows("diagonal", lambda draw, d: [array(draw, d, anything, ((3, 2), (2, 1, 4))), draw(DIAGONALS)]),
    *rows("linalg.diagonal", lambda draw, d: ([array(draw, d, anything, (2, 3, 4))], {"offset": draw(DIAGONALS)})),
    *rows("trace", lambda draw, d: [array(draw, d, MODERATE, SQUARE), draw(DIAGONALS)], 1, scale=added_up),
    *rows(
        "linalg.trace",
        lambda draw, d: ([array(draw, d, MODERATE, SQUARE)], {"offset": draw(DIAGONALS)}),
        1,
        scale=added_up,
    ),
    *rows(
        "meshgrid",
        lambda draw, d: (
            [array(draw, d, anything, (2,)), array(draw, d, anything, (3,))],
            {"indexing": draw(st.sampled_from(["xy", "ij"]))},
        ),
    ),
    *rows(
        "pad",
        lambda draw, d: (
            [array(draw, d, MODERATE, (4, 3)), draw(st.sampled_from([1, (0, 2), ((1, 0), (5, 2))]))],
            {"mode": draw(st.sampled_from(["constant", "edge", "reflect", "symmetric", "wrap", "maximum", "minimum"]))},
        ),
    ),
    *rows("array asarray", alone(), want=np.array),
]

# --- creation ---------------------------------------------------------------------------------------------------------


def named(*values: Any) -> Any:
    """Maker of arguments that are drawn one by one, and a dtype by keyword."""
    return lambda draw, dtype: ([draw(v) for v in values], {"dtype": dtype})


SIDES = st.integers(0, 4)
NUMBER = st.floats(-100, 100)

CREATION = [
    *rows("zeros ones", named(st.sampled_from(SHAPES))),
    *rows("full", named(st.sampled_from(SHAPES), NUMBER)),
    *rows("zeros_like ones_like", alone()),
    *rows("empty", named(st.sampled_from(SHAPES)), want=np.zeros, view=lambda y, *_, **__: np.zeros(y.shape, y.dtype)),
    *rows("empty_like", alone(), want=np.zeros_like, view=lambda y, *_: np.zeros(y.shape, y.dtype)),
    *rows("full_like", lambda draw, d: [array(draw, d), draw(NUMBER)]),
    *rows("arange", named(st.integers(-9, 9), st.integers(-9, 20), st.sampled_from([1, 2, -3, 7]))),
    *rows("eye", named(SIDES, SIDES), want=np.eye),
    *rows("tri", lambda draw, d: ([draw(SIDES), draw(SIDES), draw(DIAGONALS)], {"dtype": d})),
    *rows(
        "linspace",
        lambda draw, d: (
            [draw(NUMBER), draw(NUMBER), draw(st.integers(0, 9))],
            {"endpoint": draw(st.booleans()), "dtype": d},
        ),
        1,
    ),
    *rows(
        "logspace",
        lambda draw, d: ([draw(st.floats(-5, 5)), draw(st.floats(-5, 5)), draw(st.integers(1, 9))], {"dtype": d}),
        2,
    ),
    *rows(
        "geomspace",
        lambda draw, d: ([draw(st.floats(0.01, 99)), draw(st.floats(0.01, 99)), draw(st.integers(2, 9))], {"dtype": d}),
        2,
    ),
    *rows(
        "can_cast",
        lambda draw, d: [draw(st.sampled_from(["int8", "float32"])), draw(st.sampled_from(["int16", "float64"]))],
    ),
    *rows(
        "isdtype",
        lambda draw, d: [
            np.dtype(draw(st.sampled_from(["int8", "float32", "bool", "complex64", "uint16"]))),
            draw(
                st.sampled_from(["bool", "integral", "real floating", "numeric", "complex floating", "signed integer"])
            ),
        ],
    ),
]

# --- indices, orders, counts ------------------------------------------------------------------------------------------


def chosen(draw: Any, dtype: Any) -> Any:
    x = array(draw, dtype, anything, ((4,), (4, 4)))
    return [x, whole(draw, -4, 3, ((2,), (2, 2), ()))], {"axis": draw(st.sampled_from([None, 0, -1])), "mode": "raise"}


def led(draw: Any, dtype: Any) -> Any:
    args, params = chosen(draw, dtype)
    return [args[0], args[1] * 3], {**params, "mode": draw(st.sampled_from(["clip", "wrap"]))}


def along(draw: Any, dtype: Any) -> Any:
    x = array(draw, dtype, anything, (3, 4))
    return [x, whole(draw, -3, 2, (3, 4))], {"axis": draw(st.sampled_from([0, -1]))}


def put(x: Any, ids: Any, values: Any, axis: int) -> Any:
    y = x.copy()
    np.put_along_axis(y, ids, values, axis)
    return y


def changed(ufunc: Any) -> Any:
    """np.ufunc.at on a copy, or setting."""

    def want(x: Any, index: Any, value: Any, **_params: Any) -> Any:
        y = x.copy()
        if ufunc is None:
            y[index] = value
        else:
            ufunc.at(y, index, value)
        return y

    return want


def updated(draw: Any, dtype: Any) -> Any:
    """Maker of an array, rows of it, each once, and a value."""
    ids = np.asarray(draw(st.permutations(range(4)))[: draw(st.integers(0, 4))], np.int64)
    return [array(draw, dtype, MODERATE, (4, 2)), ids, array(draw, dtype, MODERATE, (2,))]


def ordered(draw: Any, dtype: Any) -> Any:
    x = array(draw, dtype, draw(st.sampled_from([tied, anything])), FULL)
    return [x], {"axis": axis(draw, x, none=False)}


def kth(draw: Any, dtype: Any) -> Any:
    return [array(draw, dtype, tied, (3, 5)), draw(st.integers(0, 4))]


def sorted_bins(draw: Any, dtype: Any) -> Any:
    return np.sort(array(draw, dtype, tied, (5,)))


def ids_of(draw: Any, dtype: Any) -> Any:
    return [array(draw, dtype, MODERATE, (5, 2)), whole(draw, 0, 3, (5,)), 4]


def ids_of_factors(draw: Any, dtype: Any) -> Any:
    return [array(draw, dtype, between(0.25, 2), (5, 2)), *ids_of(draw, dtype)[1:]]


def by_segment(ufunc: Any, start: Any) -> Any:
    def want(x: Any, ids: Any, count: int) -> Any:
        y = np.full((count, *x.shape[1:]), start, x.dtype)
        ufunc.at(y, ids, x)
        return y

    return want


def top_k(x: Any, k: int) -> Any:
    order = np.argsort(-x, -1, kind="stable")[..., :k]
    return np.take_along_axis(x, order, -1), order


def binned(draw: Any, dtype: Any) -> Any:
    x = array(draw, dtype, MODERATE, ((3,), (7,), (2, 3)))
    return [x, draw(st.integers(1, 5)), (-64.0, 64.0)]


INDICES = [
    *rows("take", lambda draw, d: draw(st.sampled_from([chosen, led]))(draw, d)),
    *rows("take_along_axis", along),
    *rows(
        "put_along_axis",
        lambda draw, d: (
            [*(a := along(draw, d))[0][:1], np.argsort(a[0][0], a[1]["axis"]), array(draw, d, anything, (3, 4))],
            a[1],
        ),
        want=put,
    ),
    *rows(
        "getitem index_get",
        lambda draw, d: [
            array(draw, d, anything, (3, 4)),
            draw(
                st.sampled_from(
                    [1, (slice(None), 2), (slice(None, None, -1),), (..., None, 0), ([0, 2],), ([0, 1], [3, -1])]
                )
            ),
        ],
        want=lambda x, i: x[i],
    ),
    *rows("index_set", updated, want=changed(None)),
    *rows("index_add", updated, want=changed(np.add)),
    *rows("index_update", lambda draw, d: (updated(draw, d), {"how": "max"}), want=changed(np.maximum)),
    *rows("nonzero argwhere flatnonzero", alone(tied, FULL)),
    *rows("sort", ordered),
    *rows("argsort", ordered, want=lambda x, axis: np.argsort(x, axis, kind="stable")),
    *rows("partition", kth, want=lambda x, k: np.sort(x, -1)[..., k], view=lambda y, x, k: y[..., k]),
    *rows(
        "argpartition",
        kth,
        want=lambda x, k: np.sort(x, -1)[..., k],
        view=lambda y, x, k: np.take_along_axis(x, np.asarray(y), -1)[..., k],
    ),
    *rows("top_k", lambda draw, d: [array(draw, d, tied, (3, 5)), draw(st.integers(0, 5))], want=top_k),
    *rows(
        "searchsorted",
        lambda draw, d: (
            [sorted_bins(draw, d), array(draw, d, tied)],
            {"side": draw(st.sampled_from(["left", "right"]))},
        ),
    ),
    *rows("digitize", lambda draw, d: [array(draw, d, tied), sorted_bins(draw, d), draw(st.booleans())]),
    *rows("isin", lambda draw, d: [array(draw, d, tied), array(draw, d, tied)]),
    *rows("unique", lambda draw, d: [array(draw, d, tied), True, True, True]),
    *rows("unique_all unique_counts unique_inverse unique_values", alone(tied)),
    *rows("bincount", lambda draw, d: [whole(draw, 0, 6, ((0,), (5,))), None, draw(st.integers(0, 9))]),
    *rows("histogram histogram_bin_edges", binned),
    *rows("segment_sum", ids_of, 2, want=by_segment(np.add, 0), scale=added_up),
    *rows("segment_prod", ids_of_factors, 4, want=by_segment(np.multiply, 1)),
    *rows("segment_max", ids_of, want=by_segment(np.maximum, -np.inf)),
    *rows("segment_min", ids_of, want=by_segment(np.minimum, np.inf)),
]

# --- samples ----------------------------------------------------------------------------------------------------------


def slid(draw: Any, dtype: Any) -> Any:
    n, m = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    return [
        real_or_complex(draw, dtype, n),
        real_or_complex(draw, dtype, m),
        draw(st.sampled_from(["full", "same", "valid"])),
    ]


def interpolated(draw: Any, dtype: Any) -> Any:
    xp = np.cumsum(array(draw, dtype, POSITIVE, (5,)), dtype=dtype)
    return [array(draw, dtype, between(-9, 300)), xp, array(draw, dtype, MODERATE, (5,))]


def observed(draw: Any, dtype: Any) -> Any:
    return [random(draw).normal(size=(3, 8)).astype(dtype)]


SAMPLES = [
    *rows("convolve correlate", slid, 2, scale=flat(4)),
    *rows(
        "interp",
        interpolated,
        2,
        want=lambda *a: np.interp(*a).astype(a[0].dtype),
        scale=lambda w, x, xp, fp: np.full(
            np.shape(w), max(np.max(np.abs(fp)), 1e-30) * max(1, np.max(np.abs(x), initial=0) / np.min(np.diff(xp)))
        ),
    ),
    *rows(
        "gradient",
        lambda draw, d: (
            [array(draw, d, MODERATE, ((5,), (7,))), draw(st.sampled_from([1.0, 0.5]))],
            {"edge_order": draw(st.sampled_from([1, 2]))},
        ),
        8,
        scale=size_of,
    ),
    *rows("trapezoid", alone(MODERATE, ((5,), (2, 3))), 4, scale=added_up),
    *rows(
        "polyval",
        lambda draw, d: [array(draw, d, UNIT, (4,)), array(draw, d, UNIT)],
        4,
        scale=lambda w, p, x: np.full(np.shape(w), max(np.sum(np.abs(p)), 1e-30)),
    ),
    *rows(
        "unwrap", lambda draw, d: [array(draw, d, between(-20, 20), FULL)], 2, scale=lambda w, x: np.full(w.shape, 99.0)
    ),
    *rows("cov", observed, 4, want=lambda x: np.cov(x, dtype=x.dtype), scale=largest),
    *rows("corrcoef", observed, 4, want=lambda x: np.corrcoef(x, dtype=x.dtype), scale=largest),
]

# --- products and linear algebra --------------------------------------------------------------------------------------


def factors(*shapes: Any) -> Any:
    """Maker of arrays of these shapes, with elements of size 1."""
    return lambda draw, d: [real_or_complex(draw, d, s) for s in shapes]


def matrices(*shape: int, added: float = 3.0, hermitian: bool = False) -> Any:
    """Maker of a well-conditioned matrix, or a stack of them."""

    def make(draw: Any, dtype: Any) -> Any:
        size = shape or draw(st.sampled_from([(1, 1), (3, 3), (2, 4, 4), (0, 3, 3)]))
        x = real_or_complex(draw, dtype, size)
        if hermitian:
            x = x + np.conj(x.swapaxes(-1, -2))
        return [(x + added * np.arange(1, 1 + size[-1]) * np.eye(*size[-2:])).astype(x.dtype)]

    return make


def with_side(make: Any) -> Any:
    """Maker of a matrix and a right side."""

    def more(draw: Any, dtype: Any) -> Any:
        (a,) = make(draw, dtype)
        b = real_or_complex(draw, dtype, (a.shape[-1], 2))
        return [a, b if a.dtype.kind == "c" else b.real]

    return more


def _eig(x: Any) -> Any:
    w, v = np.linalg.eig(x)
    dtype = np.result_type(x.dtype, np.complex64)
    return w.astype(dtype), v.astype(dtype)


def triangular(draw: Any, dtype: Any) -> Any:
    a, b = with_side(matrices(3, 3))(draw, dtype)
    return [a, b], {
        "lower": draw(st.booleans()),
        "trans": draw(st.sampled_from([0, 1, 2])),
        "unit_diagonal": draw(st.booleans()),
    }


def normed(orders: Any, shapes: Any) -> Any:
    return lambda draw, d: (
        [real_or_complex(draw, d, draw(st.sampled_from(shapes)))],
        {"ord": draw(st.sampled_from(orders)), "keepdims": draw(st.booleans())},
    )


PRODUCTS = [
    *rows(
        "matmul linalg.matmul",
        lambda draw, d: factors(
            *draw(
                st.sampled_from(
                    [
                        ((2, 3), (3, 4)),
                        ((3,), (3,)),
                        ((2, 2, 3), (3, 2)),
                        ((0, 3), (3, 2)),
                        ((2, 0), (0, 2)),
                        ((3,), (2, 3, 2)),
                    ]
                )
            )
        )(draw, d),
        4,
        want=np.matmul,
        scale=flat(2),
    ),
    *rows("dot", factors((2, 3), (3, 4)), 4, scale=flat(2)),
    *rows("inner", factors((2, 3), (4, 3)), 4, scale=flat(2)),
    *rows("vdot", factors((2, 3), (2, 3)), 8, scale=flat(2)),
    *rows("vecdot linalg.vecdot", factors((2, 3), (3,)), 4, want=np.vecdot, scale=flat(2)),
    *rows("outer linalg.outer", factors((3,), (2,)), 2, want=np.outer, scale=flat(1)),
    *rows("kron", factors((2, 3), (3, 1)), 2, scale=flat(1)),
    *rows("cross linalg.cross", factors((2, 3), (3,)), 4, want=np.cross, scale=flat(2)),
    *rows(
        "tensordot linalg.tensordot",
        lambda draw, d: (factors((2, 3, 4), (3, 4, 2))(draw, d), {"axes": 2}),
        4,
        want=np.tensordot,
        scale=flat(4),
    ),
    *rows("einsum", lambda draw, d: ["ijk,jl,kl->il", *factors((2, 3, 2), (3, 4), (2, 4))(draw, d)], 4, scale=flat(4)),
    *rows("linalg.multi_dot", lambda draw, d: [factors((2, 3), (3, 4), (4, 2))(draw, d)], 4, scale=flat(4)),
]

LINALG = [
    *rows("linalg.solve", with_side(matrices(3, 3)), 4, scale=largest),
    *rows("linalg.triangular_solve", triangular, 4, scale=largest, want=scipy.linalg.solve_triangular),
    *rows("linalg.inv linalg.det", matrices(), 4, scale=largest),
    *rows("linalg.slogdet", matrices(), 4, scale=lambda w, *_: np.abs(w) + 1),
    *rows("linalg.pinv", matrices(3, 2), 8, scale=largest),
    *rows(
        "linalg.lstsq",
        with_side(matrices(3, 3)),
        16,
        want=lambda a, b: (
            np.linalg.solve(a, b),
            np.zeros(2, a.real.dtype),
            np.asarray(3),
            np.linalg.svd(a, compute_uv=False),
        ),
        scale=lambda w, *_: np.maximum(largest(w), 1),
    ),
    *rows(
        "linalg.matrix_power",
        lambda draw, d: [*factors((3, 3))(draw, d), draw(st.integers(0, 5))],
        4,
        scale=lambda w, x, n: np.full(w.shape, max(float(np.linalg.norm(x)), 1.0) ** n),
    ),
    *rows("linalg.expm", factors((3, 3)), 16, scale=largest, want=scipy.linalg.expm),
    *rows("linalg.matrix_rank", lambda draw, d: [np.outer(*factors((3,), (3,))(draw, d)) + 0 * np.eye(3, dtype=d)]),
    *rows(
        "linalg.cholesky",
        lambda draw, d: ([matrices(hermitian=True, added=8.0)(draw, d)[0]], {"upper": draw(st.booleans())}),
        8,
        scale=largest,
    ),
    *rows("linalg.qr", matrices(4, 3), 4, scale=largest, want=np.linalg.qr),
    *rows("linalg.eigh", matrices(3, 3, hermitian=True), 4, scale=largest),
    *rows("linalg.eigvalsh", matrices(3, 3, hermitian=True), 4, scale=largest),
    *rows("linalg.eig", matrices(3, 3), 0, want=_eig),
    *rows("linalg.eigvals", matrices(3, 3), 0, want=lambda x: _eig(x)[0]),
    *rows(
        "linalg.svd",
        lambda draw, d: (matrices(4, 3)(draw, d), {"full_matrices": draw(st.booleans())}),
        4,
        scale=largest,
    ),
    *rows("linalg.svdvals", matrices(4, 3), 4, scale=largest),
    *rows("linalg.vector_norm", normed([2, 1, 0, 3, 0.5, -1, np.inf, -np.inf], ((3,), (2, 3))), 4, scale=largest),
    *rows(
        "linalg.matrix_norm",
        normed(["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf], ((3, 3), (2, 3, 2))),
        4,
        scale=largest,
    ),
    *rows(
        "linalg.norm",
        lambda draw, d: [*factors((3, 3))(draw, d), draw(st.sampled_from([None, "fro", 1, 2, "nuc"]))],
        4,
        scale=largest,
    ),
    *rows(
        "linalg.cond",
        lambda draw, d: [*matrices(3, 3)(draw, d), draw(st.sampled_from([None, 1, -2, "fro", np.inf]))],
        8,
        scale=largest,
    ),
]

# --- Fourier transforms -----------------------------------------------------------------------------------------------


def transformed(real: bool = False, many: bool = False) -> Any:
    """Maker of what is transformed, and how."""

    def make(draw: Any, dtype: Any) -> Any:
        x = real_or_complex(
            draw, dtype, draw(st.sampled_from([(4, 3), (5, 2), (2, 8)] if many else [(4,), (5,), (2, 8)]))
        )
        x = x.real if real else x
        norm = draw(st.sampled_from(["backward", "ortho", "forward"]))
        if many:
            return [x], {"axes": draw(st.sampled_from([(0, 1), (1,)])), "norm": norm}
        return [x], {"n": draw(st.sampled_from([None, 3, 6])), "norm": norm}

    return make


_NORMED = {"ulp": 4, "scale": largest}
TRANSFORMS = [
    *rows("fft.fft fft.ifft fft.irfft fft.hfft", transformed(), **_NORMED),
    *rows("fft.rfft fft.ihfft", transformed(real=True), **_NORMED),
    *rows("fft.fftn fft.ifftn fft.irfftn", transformed(many=True), **_NORMED),
    *rows("fft.rfftn", transformed(real=True, many=True), **_NORMED),
    *rows(
        "fft.fftshift fft.ifftshift",
        lambda draw, d: ([array(draw, d, anything, FULL)], {"axes": draw(st.sampled_from([None, 0, (0,)]))}),
    ),
    *rows(
        "fft.fftfreq fft.rfftfreq",
        lambda draw, d: ([draw(st.integers(1, 9))], {"d": draw(st.sampled_from([1.0, 0.5, 0.1]))}),
        1,
        want=None,
        dtypes=False,
    ),
]

# --- shorthands -------------------------------------------------------------------------------------------------------


def pieces(shape: tuple[int, ...]) -> Any:
    """Maker of an array and where to cut it."""
    return lambda draw, d: [array(draw, d, anything, shape), draw(st.sampled_from([2, [1, 4], [0, 9], [2]]))]


def selected(draw: Any, dtype: Any) -> Any:
    conditions = [whole(draw, 0, 1, (3,)) > 0 for _ in range(2)]
    return [conditions, [array(draw, dtype, anything, (3,)) for _ in range(2)], draw(st.sampled_from([0, -1.5]))]


def triangle(draw: Any, _dtype: Any) -> Any:
    return [draw(SIDES), draw(DIAGONALS), draw(st.none() | SIDES)]


def nan_scanned(elements: Any) -> Any:
    """Maker of an array with NaN and the axis of a scan, or none."""

    def make(draw: Any, dtype: Any) -> Any:
        x = array(draw, dtype, elements, FULL)
        return [x, axis(draw, x)]

    return make


def some_are_numbers(draw: Any, dtype: Any) -> Any:
    """An array with a number in each row and column, and an axis."""
    x = array(draw, dtype, ended, (3, 3))
    x[range(3), draw(st.permutations(range(3)))] = 1.0  # NumPy takes NaN for an infinity, where that is all there is
    return [x, draw(st.sampled_from([None, 0, -1]))]


SHORTHANDS = [
    *rows("rint", of(anything)),
    *rows("around", lambda draw, d: [array(draw, d)]),
    *rows("divmod", of(MODERATE, MODERATE)),
    *rows("modf", alone(anything)),
    *rows("float_power", of(MODERATE, MODERATE), want=np.power),
    *rows("logaddexp2", of(ended, ended), 4, scale=lambda w, *_: np.abs(w) + 1),
    *rows("select", selected, want=lambda c, v, default: np.select(c, v, default).astype(v[0].dtype)),
    *rows("invert bitwise_not", lambda draw, _: [whole(draw)]),
    *rows("left_shift right_shift", whole_pairs(0, 9)),
    *rows("ptp", reduced(ended, FULL)),
    *rows(
        "append",
        lambda draw, d: [
            array(draw, d, anything, (2, 3)),
            array(draw, d, anything, (1, 3)),
            draw(st.none() | st.just(0)),
        ],
    ),
    *rows(
        "array_split", lambda draw, d: [array(draw, d, anything, (5, 2)), draw(st.sampled_from([1, 2, 3, 7, [1, 4]]))]
    ),
    *rows("hsplit", pieces((3, 4))),
    *rows("vsplit", pieces((4, 3))),
    *rows("dsplit", pieces((1, 3, 4))),
    *rows("diagflat", lambda draw, d: [array(draw, d, anything, ((3,), (2, 2), ())), draw(DIAGONALS)]),
    *rows("identity", lambda draw, d: ([draw(SIDES)], {"dtype": d})),
    *rows("tril_indices triu_indices", triangle),
    *rows("nancumsum", nan_scanned(gappy), 1, scale=added_up),
    *rows("nancumprod", nan_scanned(lambda d: st.just(np.nan) | between(-2, 2)(d)), 1),
    *rows("nanargmax nanargmin", some_are_numbers),
    *rows("fft.fft2 fft.ifft2 fft.irfft2", lambda draw, d: [real_or_complex(draw, d, (4, 3))], **_NORMED),
    *rows("fft.rfft2", lambda draw, d: [real_or_complex(draw, d, (4, 3)).real], **_NORMED),
]

TABLE = [*ELEMENTWISE, *REDUCTIONS, *SHAPE, *CREATION, *INDICES, *SAMPLES, *PRODUCTS, *LINALG, *TRANSFORMS, *SHORTHANDS]

# Functions without an oracle in NumPy or SciPy, or whose result is no array of numbers; and the test that holds them.
ELSEWHERE = {
    "finfo": "limits of dtypes, bfloat16 among them; numpy/test_array_api.py",
    "iinfo": "limits of dtypes; numpy/test_array_api.py",
    "result_type": "Knet's own promotion; core/test_dtypes.py",
    "from_dlpack": "memory of other libraries; numpy/test_interop.py",
    "to_device": "a copy on another device; core/test_device.py",
}
