"""Orders against the NumPy bodies: stable, NaN last, every dtype, lines of one run and of many."""

import numpy as np
import pytest
from standin import TARGETS, run

from knet.compiler.kernels import sort as kernels
from knet.compiler.kernels.sort import GENERATORS
from knet.core import dtypes
from knet.core.ops import sort

from .thorough import combinations

BOTH = [(form, literal) for form in TARGETS for literal in (False, True)]
DTYPES = ["bool", "int8", "uint8", "int16", "uint32", "int64", "uint64", "float16", "bfloat16", "float32", "float64"]


def numbers(shape, dtype, seed=0):
    """Numbers with ties, and for floats NaN, infinities and both zeros."""
    dtype = dtypes.canonical(dtype)
    rng = np.random.default_rng(seed)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        x = rng.integers(max(info.min, -40), 40, shape).astype(dtype)
        x.flat[::7] = info.max
        x.flat[3::11] = info.min
        return x
    x = np.asarray(rng.integers(0, 2, shape) if dtype.kind == "b" else rng.integers(-40, 40, shape) / 4).astype(dtype)
    if dtype.kind != "b":
        for k, special in enumerate((np.nan, -np.inf, np.inf, -0.0, 0.0, -np.nan)):
            x.flat[k :: 17 + k] = special
    return x


def check(op, x, params, form, literal, base=None):
    (y,), lowering = run(GENERATORS[op.name], op, [x], params, TARGETS[form], literal, [base])
    np.testing.assert_array_equal(y, op.body(x, **params))
    return lowering


@pytest.mark.parametrize("form, literal", BOTH)
def test_shapes_and_axes(form, literal):
    for shape in ((1,), (17,), (257,), (3, 5, 7), (70, 3), (0, 4), (4, 0)):
        for axis in range(len(shape)):
            check(sort.argsort, numbers(shape, "float32"), {"axis": axis}, form, literal)
        for k in {0, 1, shape[-1] // 2, shape[-1]}:
            if k <= shape[-1]:
                check(sort.top_places, numbers(shape, "float32"), {"k": k}, form, literal)


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(form, dtype):
    x = numbers((3, 150), dtype)
    check(sort.argsort, x, {"axis": 1}, form, False)
    check(sort.argsort, x, {"axis": 0}, form, False)
    check(sort.top_places, x, {"k": 9}, form, False)


@pytest.mark.parametrize(
    "dtype, form, literal",
    combinations(["float32", "int64"], TARGETS, (False, True), default=lambda dtype, _f, _l: dtype == "float32"),
)
def test_long_lines(dtype, form, literal):
    for n in (2048, 2049, 20011):
        x = numbers((2, n), dtype)
        lowering = check(sort.argsort, x, {"axis": 1}, form, literal)
        assert len(lowering.items) == 1 or form == "items"
        check(sort.top_places, x, {"k": 100}, form, literal)
    check(sort.argsort, numbers((5000, 3), dtype), {"axis": 0}, form, literal)


def test_runs_are_merged_in_rounds():
    """One launch for runs that local memory holds, and one each time that their length doubles."""
    lowering = check(sort.argsort, numbers((8 * kernels.ITEMS_RUN,), "float32"), {"axis": 0}, "items", False)
    assert [launch.name for launch in lowering.items] == ["sort_runs"] + 3 * ["sort_merge"]


@pytest.mark.parametrize("form", TARGETS)
def test_views(form):
    base = numbers((6, 40, 4), "float32")
    for view in (base.transpose(2, 0, 1), base[::-1, ::2], np.broadcast_to(base[:, :1], base.shape), base[:, ::-1, 1]):
        for axis in range(view.ndim):
            check(sort.argsort, view, {"axis": axis}, form, False, base)
        check(sort.top_places, view, {"k": 2}, form, False, base)
