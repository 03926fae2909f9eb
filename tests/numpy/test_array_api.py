"""The array API standard: functions against NumPy on random arrays, what NumPy does not have, and derivatives.

KNET_ARRAY_API_TESTS names a checkout of data-apis/array-api-tests; with it, the standard's own suite runs, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import knet
import knet.numpy as knp
from knet.core.errors import ArgumentError, DTypeError, IndexOutOfBounds, ShapeError
from knet.testing import check_grads

nan, inf = float("nan"), float("inf")
SUITE = os.environ.get("KNET_ARRAY_API_TESTS")
HERE = Path(__file__).parent

FLOATS = st.floats(width=32, allow_subnormal=False)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def floats(shape=SHAPES, elements=FLOATS):
    return hnp.arrays(np.float32, shape, elements=elements)


def integers(shape=SHAPES, low=-5, high=5):
    return hnp.arrays(np.int64, shape, elements=st.integers(low, high))


def anything(shape=SHAPES):
    return floats(shape) | integers(shape) | hnp.arrays(np.bool_, shape)


def same(got, want):
    """Equal shape, dtype, values and signs of zero; NaN equals NaN."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape and got.dtype == want.dtype, (got, want)
    assert np.array_equal(got, want, equal_nan=got.dtype.kind in "fc"), (got, want)
    if got.dtype.kind == "f":
        zero = want == 0
        assert np.array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


VECTORS = hnp.array_shapes(min_dims=1, max_dims=1, min_side=0, max_side=8)
LINES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)

# --- against NumPy ----------------------------------------------------------------------------------------------------


@given(floats())
def test_signbit(x):
    same(knp.signbit(knp.asarray(x)), np.signbit(x))


@given(hnp.arrays(np.float32, (4,), elements=FLOATS), hnp.arrays(np.float32, (3, 1), elements=FLOATS))
def test_copysign_and_nextafter(x, y):
    same(knp.copysign(knp.asarray(x), knp.asarray(y)), np.copysign(x, y))
    want = np.where(x == y, np.broadcast_to(y, (3, 4)), np.nextafter(x, y))
    same(knp.nextafter(knp.asarray(x), knp.asarray(y)), want)


@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "round"])
@pytest.mark.parametrize("value", [2**62 + 1, -(2**62) - 1, 3])
def test_rounding_leaves_integers_alone(name, value):
    assert int(getattr(knp, name)(knp.asarray(value))) == value


@given(anything(LINES), st.data())
def test_sort_and_argsort(x, data):
    axis, descending = data.draw(st.integers(-x.ndim, x.ndim - 1)), data.draw(st.booleans())
    places = np.asarray(knp.argsort(knp.asarray(x), axis=axis, descending=descending))
    got = knp.sort(knp.asarray(x), axis=axis, descending=descending)
    want = np.sort(x, axis=axis, kind="stable")
    if not descending:
        assert np.array_equal(places, np.argsort(x, axis=axis, kind="stable"))
        same(
            np.asarray(got) + (0 if x.dtype == bool else x.dtype.type(0)),
            want + (0 if x.dtype == bool else x.dtype.type(0)),
        )
    else:
        assert np.array_equal(np.asarray(got), np.flip(want, axis), equal_nan=x.dtype.kind == "f")
        moved, order = np.moveaxis(x, axis, -1), np.moveaxis(places, axis, -1)
        for line in np.ndindex(moved.shape[:-1]):
            values = moved[line][order[line]]
            for i in range(1, len(values)):
                if values[i] == values[i - 1]:
                    assert order[line][i] > order[line][i - 1], "equal elements keep their order"


@given(floats(VECTORS), floats(), st.sampled_from(["left", "right"]))
def test_searchsorted(edges, x, side):
    edges = np.sort(edges)
    same(knp.searchsorted(knp.asarray(edges), knp.asarray(x), side=side), np.searchsorted(edges, x, side=side))


def test_searchsorted_with_a_sorter():
    x, sorter = np.array([3.0, 1.0, 2.0]), np.array([1, 2, 0])
    got = knp.searchsorted(knp.asarray(x), knp.asarray([1.5, 9.0]), sorter=knp.asarray(sorter))
    same(got, np.searchsorted(x, [1.5, 9.0], sorter=sorter))


@given(anything())
def test_unique(x):
    values, indices, inverse, counts = map(np.asarray, knp.unique_all(knp.asarray(x)))
    want = np.unique(x, equal_nan=False)
    assert np.array_equal(values, want, equal_nan=x.dtype.kind == "f") and values.dtype == x.dtype
    assert indices.dtype == inverse.dtype == counts.dtype == np.int64
    assert np.array_equal(values, x.ravel()[indices], equal_nan=x.dtype.kind == "f")
    assert inverse.shape == x.shape and np.array_equal(values[inverse], x, equal_nan=x.dtype.kind == "f")
    assert counts.sum() == x.size and np.array_equal(counts, np.bincount(inverse.ravel(), minlength=len(values)))
    for value, first in zip(values, indices, strict=True):
        assert value != value or first == np.flatnonzero(x.ravel() == value)[0]
    assert np.array_equal(knp.unique_values(knp.asarray(x)), values, equal_nan=x.dtype.kind == "f")
    assert np.array_equal(knp.unique_counts(knp.asarray(x)).counts, counts)
    assert np.array_equal(knp.unique_inverse(knp.asarray(x)).inverse_indices, inverse)


@given(floats(), floats(), st.booleans())
def test_isin(x, known, invert):
    same(knp.isin(knp.asarray(x), knp.asarray(known), invert=invert), np.isin(x, known, invert=invert))


@given(anything(LINES), st.integers(0, 3), st.data())
def test_diff(x, n, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    with np.errstate(all="ignore"):
        same(knp.diff(knp.asarray(x), axis=axis, n=n), np.diff(x, axis=axis, n=n))


def test_diff_with_more():
    x = np.array([[1.0, 4.0, 9.0]], np.float32)
    same(
        knp.diff(knp.asarray(x), prepend=0.0, append=knp.asarray([[20.0]])),
        np.diff(x, prepend=np.float32(0), append=np.float32([[20]])),
    )


def test_broadcast_shapes():
    assert knp.broadcast_shapes((2, 1), (3,), 3, ()) == np.broadcast_shapes((2, 1), (3,), 3, ()) == (2, 3)
    assert knp.broadcast_shapes() == ()


@given(integers(LINES), st.data())
def test_repeat(x, data):
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    size = x.size if axis is None else x.shape[axis]
    repeats = data.draw(st.integers(0, 3) | hnp.arrays(np.int64, (size,), elements=st.integers(0, 3)))
    same(knp.repeat(knp.asarray(x), repeats, axis=axis), np.repeat(x, repeats, axis=axis))
    if isinstance(repeats, np.ndarray):
        same(knp.repeat(knp.asarray(x), knp.asarray(repeats), axis=axis), np.repeat(x, repeats, axis=axis))


@given(
    st.lists(integers(hnp.array_shapes(min_dims=0, max_dims=1, min_side=0)), max_size=3), st.sampled_from(["xy", "ij"])
)
def test_meshgrid(xs, indexing):
    got = knp.meshgrid(*map(knp.asarray, xs), indexing=indexing)
    want = np.meshgrid(*xs, indexing=indexing)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        same(a, b)


@given(floats(elements=st.floats(-8, 8, width=32)), st.floats(-4, 4, width=32), st.floats(-4, 4, width=32))
def test_clip(x, low, high):
    same(knp.clip(knp.asarray(x), low, high), np.minimum(np.maximum(x, np.float32(low)), np.float32(high)))
    same(knp.clip(knp.asarray(x), knp.full(x.shape, low)), np.maximum(x, np.float32(low)))


@given(st.integers(0, 6), st.booleans())
def test_linspace_between_arrays(num, endpoint):
    a, b = np.array([0.0, 1.0]), np.array([[3.0], [4.0]])
    got = knp.linspace(knp.asarray(a), knp.asarray(b), num, endpoint=endpoint)
    assert got.shape == (num, 2, 2)
    assert np.allclose(got, np.linspace(a, b, num, endpoint=endpoint))


@given(st.data())
def test_indexing_with_masks(data):
    x = data.draw(integers(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3)))
    axis = data.draw(st.integers(0, x.ndim - 1))
    axes = data.draw(st.integers(0, x.ndim - axis))
    mask = data.draw(hnp.arrays(np.bool_, x.shape[axis : axis + axes]))
    mask = bool(mask) if mask.ndim == 0 and data.draw(st.booleans()) else mask
    index = (*(slice(None),) * axis, mask)
    if axis + axes == x.ndim and data.draw(st.booleans()):
        index = (..., mask)
    same(knp.asarray(x)[index], x[index])


@pytest.mark.parametrize("q", [2.0, -2.0, inf, -inf, nan, 0.5])
def test_floor_divide_follows_the_standard_at_infinity(q):
    with np.errstate(all="ignore"):
        x = np.array([1.0, -1.0, inf, -inf, 0.0, -0.0, nan])
        want = np.floor(x / q)
        same(knp.floor_divide(knp.asarray(x), q), want)
        same(x // knp.asarray(np.full(7, q)), want)


# --- dtypes -----------------------------------------------------------------------------------------------------------

DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128"


@pytest.mark.parametrize("name", DTYPES.split())
def test_kinds(name):
    dtype = getattr(knp, name)
    of = {"bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu", "real floating": "f",
          "complex floating": "c", "numeric": "iufc"}  # fmt: skip
    letter = "f" if name == "bfloat16" else dtype.kind
    for kind, letters in of.items():
        assert knp.isdtype(dtype, kind) == (letter in letters)
    assert knp.isdtype(dtype, dtype) and knp.isdtype(dtype, ("bool", dtype)) and not knp.isdtype(dtype, ())
    with pytest.raises(ArgumentError, match="'real floating'"):
        knp.isdtype(dtype, "real")


def test_can_cast_is_promotion():
    for a in DTYPES.split():
        for b in DTYPES.split():
            try:
                want = knp.result_type(getattr(knp, a), getattr(knp, b)) == getattr(knp, b)
            except DTypeError:
                want = False
            assert knp.can_cast(getattr(knp, a), getattr(knp, b)) == want
    assert knp.can_cast(knp.asarray([1]), knp.int64) and not knp.can_cast(knp.asarray([1.0]), knp.int64)


def test_limits():
    for name in ("float16", "bfloat16", "float32", "float64"):
        got, want = knp.finfo(name), ml_dtypes.finfo(getattr(knp, name))
        for field in ("eps", "max", "min", "smallest_normal"):
            assert type(getattr(got, field)) is float and getattr(got, field) == float(getattr(want, field))
        assert got.bits == want.bits and got.dtype == getattr(knp, name)
    assert knp.finfo(knp.complex128).dtype == knp.float64
    assert knp.iinfo(knp.zeros((), dtype="uint8")) == knp.iinfo("uint8") and knp.iinfo("int8").min == -128
    with pytest.raises(DTypeError, match=r"finfo accepts floating-point.*\n.*iinfo"):
        knp.finfo("int8")
    with pytest.raises(DTypeError, match=r"iinfo accepts integer.*\n.*finfo"):
        knp.iinfo("float32")


def test_no_dtype_is_the_default_and_not_numpys():
    for f in (knp.zeros, knp.ones, knp.empty, knp.eye, knp.tri):
        assert f(2, dtype=None).dtype == knp.float32
    with pytest.raises(DTypeError):
        knp.ones(2).astype(None)


def test_namespace_info():
    info = knp.__array_namespace_info__()
    assert info.capabilities() == {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}
    assert info.default_device() in info.devices()
    assert info.default_dtypes() == {
        "real floating": knp.float32, "complex floating": knp.complex64, "integral": knp.int64, "indexing": knp.int64
    }  # fmt: skip
    assert set(info.dtypes(kind="signed integer")) == {"int8", "int16", "int32", "int64"}
    assert info.dtypes()["bool"] == knp.bool and len(info.dtypes()) == 13
    assert knp.zeros((1,) * 64).ndim == 64


def test_namespace_of_an_array():
    x = knp.ones(2)
    assert x.__array_namespace__() is knp and x.__array_namespace__(api_version="2024.12") is knp
    assert knp.__array_api_version__ == "2024.12"
    with pytest.raises(ArgumentError, match=r"Knet follows 2024\.12"):
        x.__array_namespace__(api_version="1999.01")


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: knp.expand_dims(x, axis=5), IndexError),
        (lambda x: knp.sum(x, axis=2), ValueError),
        (lambda x: x[True, True, True, 0, 0, 0], IndexOutOfBounds),
        (lambda x: x[knp.ones((3,), dtype=bool)], IndexOutOfBounds),
        (lambda x: x[..., knp.ones((2,), dtype=bool)], IndexOutOfBounds),
        (lambda x: knp.repeat(x, [1, 2, 3], axis=0), ShapeError),
        (lambda x: knp.repeat(x, -1), ArgumentError),
        (lambda x: knp.repeat(x, [-1, 1], axis=0), ShapeError),
        (lambda x: knp.meshgrid(x), ShapeError),
        (lambda x: knp.broadcast_shapes(x.shape, (2,)), ShapeError),
        (lambda x: knp.meshgrid(x[0], indexing="yx"), ArgumentError),
        (lambda x: knp.searchsorted(x, x), ShapeError),
        (lambda x: knp.searchsorted(x[0], x, side="middle"), ArgumentError),
        (lambda x: knp.diff(x, n=-1), ArgumentError),
        (lambda x: knp.from_dlpack([1.0]), DTypeError),
    ],
)
def test_errors(call, error):
    with pytest.raises(error, match="\n  fix: "):
        call(knp.ones((2, 3)))


# --- derivatives ------------------------------------------------------------------------------------------------------

X = np.array([[0.3, -1.2, 2.0], [0.7, 0.1, -0.4]])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: knp.sort(x, axis=1, descending=True),
        lambda x: knp.diff(x, n=2, prepend=x[:, :1]),
        lambda x: knp.repeat(x, np.array([2, 0, 1]), axis=1),
        lambda x: knp.meshgrid(x[0], x[1])[0] * 2,
        lambda x: knp.unique_values(x) ** 2,
        lambda x: knp.linspace(x[0], x[1], 4),
        lambda x: knp.copysign(x, -2.0),
        lambda x: knp.nextafter(x, 9.0),
        lambda x: knp.clip(x, -1.0, x[0, 0] * 2),
        lambda x: x[True][..., np.array([True, False, True])] ** 2,
        lambda x: knp.imag(x) + knp.real(x) * 3 + knp.conj(x),
    ],
)
def test_derivatives(f):
    check_grads(f, (X,), order=2)


def test_sort_and_friends_under_vmap():
    batched = knet.vmap(lambda row: knp.sort(row) + knp.diff(row, append=0.0))(knp.asarray(X))
    assert np.allclose(batched, np.sort(X, axis=1) + np.diff(X, append=np.zeros((2, 1))))


# --- the standard's suite ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(SUITE is None, reason="KNET_ARRAY_API_TESTS names no checkout of data-apis/array-api-tests")
def test_conformance():
    environment = {**os.environ, "ARRAY_API_TESTS_VERSION": "2024.12", "ARRAY_API_TESTS_MODULE": "knet.numpy"}
    environment["PYTHONPATH"] = str(Path(knet.__file__).parent.parent)
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "array_api_tests",
               "--max-examples", "30", "--skips-file", str(HERE / "array_api_skips.txt")]  # fmt: skip
    ran = subprocess.run(command, cwd=SUITE, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-8000:]
