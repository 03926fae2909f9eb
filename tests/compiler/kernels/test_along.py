"""Kernels along an axis against the NumPy bodies: ties, NaN, every dtype, long and short lines."""

import numpy as np
import pytest
from standin import TARGETS, run

from knet.compiler.kernels.along import GENERATORS
from knet.core import dtypes
from knet.core.ops import reduce, sort

from .thorough import combinations

BOTH = [(form, literal) for form in TARGETS for literal in (False, True)]
DTYPES = ["bool", "int8", "uint8", "int64", "uint64", "float16", "bfloat16", "float32", "float64"]
PLACES = [reduce.argmax, reduce.argmin, sort.cumulative_argmax, sort.cumulative_argmin]
SUMS = [reduce.cumulative_sum, reduce.cumulative_prod]
SOME = (reduce.argmax, reduce.cumulative_sum)  # a place and a sum


def name(x):
    """The id of an operation among parameters."""
    return getattr(x, "name", None)


def numbers(shape, dtype, seed=0):
    """Small numbers with many ties."""
    dtype = dtypes.canonical(dtype)
    rng = np.random.default_rng(seed)
    low = 0 if dtype.kind in "ub" else -5
    return np.asarray(rng.integers(low, 2 if dtype.kind == "b" else 6, shape)).astype(dtype)


def check(op, arrays, params, form, literal, bases=None):
    (y,), _ = run(GENERATORS[op.name], op, arrays, params, TARGETS[form], literal, bases)
    np.testing.assert_array_equal(y, op.body(*arrays, **params))


@pytest.mark.parametrize(
    "op, form, literal",
    combinations([*PLACES, *SUMS], TARGETS, (False, True), default=lambda op, _form, literal: literal or op in SOME),
    ids=name,
)
def test_shapes_and_axes(op, form, literal):
    for shape in ((1,), (1031,), (3, 5, 7), (257, 3), (0, 4)):
        for axis in range(len(shape)):
            if shape[axis] or op in SUMS:
                check(op, [numbers(shape, "int32")], {"axis": axis}, form, literal)


@pytest.mark.parametrize(
    "op, dtype, form",
    combinations([*PLACES, *SUMS], DTYPES, TARGETS, default=lambda op, dtype, _form: op in SOME or dtype == "float32"),
    ids=name,
)
def test_dtypes(op, dtype, form):
    for shape in ((3, 9), (2, 531)):
        x = numbers(shape, dtype)
        if op is reduce.cumulative_prod and x.dtype.kind not in "biu":
            x[:, 5:] = 1  # what is rounded depends on the order
        check(op, [x], {"axis": 1}, form, False)


@pytest.mark.parametrize(
    "op, form, literal",
    combinations(PLACES, TARGETS, (False, True), default=lambda op, _form, literal: literal or op in SOME),
    ids=name,
)
def test_nan_is_the_extremum(op, form, literal):
    for n in (5, 35, 700):
        x = np.random.default_rng(n).standard_normal((6, n)).astype("float32")
        x[0, 3], x[1, [2, 4]], x[2, 0], x[3, -1] = np.nan, np.nan, np.nan, np.nan
        x[4] = -np.inf
        x[5] = np.inf
        check(op, [x], {"axis": 1}, form, literal)


@pytest.mark.parametrize(
    "op, form", combinations([*PLACES, *SUMS], TARGETS, default=lambda op, _form: op in SOME), ids=name
)
def test_views(op, form):
    base = numbers((6, 140, 4), "float32")
    if op is reduce.cumulative_prod:
        base = np.where(base < 0, -1, 1).astype("float32")
    for view in (base.transpose(2, 0, 1), base[::-1, ::2], np.broadcast_to(base[:, :1], base.shape), base[:, ::-1, 1]):
        for axis in range(view.ndim):
            check(op, [view], {"axis": axis}, form, False, [base])


def test_sums_of_floats_in_a_loop_are_the_bodys():
    x = np.random.default_rng(0).standard_normal((3, 700)).astype("float32")
    check(reduce.cumulative_sum, [x], {"axis": 1}, "loops", True)


def test_sums_of_floats_in_items():
    """Another order of additions, the same on every run."""
    x = np.random.default_rng(0).standard_normal((3, 3000)).astype("float32")
    y, again = (
        run(GENERATORS["cumulative_sum"], reduce.cumulative_sum, [x], {"axis": 1}, TARGETS["items"], True)[0][0]
        for _ in range(2)
    )
    np.testing.assert_allclose(y, np.cumsum(x, 1, np.float64), rtol=0, atol=2e-4)
    assert y.tobytes() == again.tobytes()


@pytest.mark.parametrize("form, literal", BOTH)
@pytest.mark.parametrize("right", [False, True])
def test_searchsorted(form, literal, right):
    x = numbers((3, 50), "float32")
    x[0, 7] = np.nan
    for n in (0, 1, 17, 1000):
        edges = np.sort(np.random.default_rng(n).integers(-6, 6, n).astype("float32"))
        if n > 3:
            edges[-2:] = np.nan
        check(sort.searchsorted, [edges, x], {"right": right}, form, literal)
    lines = np.sort(numbers((3, 20), "float32"), axis=1)
    check(sort.searchsorted, [lines, x], {"right": right}, form, literal)
    base = np.sort(numbers((20, 6), "float32"), axis=0)
    check(sort.searchsorted, [base.T[::2], x[:, ::-3]], {"right": right}, form, literal, [base, x])


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_searchsorted_of_dtypes(form, dtype):
    edges = np.sort(numbers((13,), "float32")).astype(dtypes.canonical(dtype))
    edges = np.sort(edges) if edges.dtype != dtypes.bfloat16 else edges
    check(sort.searchsorted, [edges, numbers((5, 5), dtype, 1)], {"right": False}, form, False)
