"""Convolution, interpolation, differences, covariances, comparisons and shorthands against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import knet
import knet.numpy as knp
from knet.core.errors import ArgumentError, ShapeError, TracerError
from knet.testing import check_grads

RNG = np.random.default_rng(0)
MODES = ["full", "same", "valid"]


@pytest.mark.parametrize("name", ["convolve", "correlate"])
@pytest.mark.parametrize("mode", MODES)
@given(st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_convolve_and_correlate(name, mode, n, m, whole):
    rng = np.random.default_rng(n * 10 + m)
    a, v = (rng.normal(size=k) * 9 for k in (n, m))
    if whole:
        a, v = a.astype(np.int64), v.astype(np.int64)
    got, want = np.asarray(getattr(knp, name)(a, v, mode)), getattr(np, name)(a, v, mode)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    assert got.dtype == want.dtype


@pytest.mark.parametrize("mode", MODES)
def test_derivatives_of_convolutions_and_vmap(mode):
    a, v = RNG.normal(size=6), RNG.normal(size=3)
    check_grads(lambda a, v: knp.convolve(a, v, mode), (a, v), order=2)
    check_grads(lambda a, v: knp.correlate(v, a, mode), (a, v), order=2)
    batch = RNG.normal(size=(4, 6))
    got = knet.vmap(lambda a: knp.convolve(a, v, mode))(batch)
    np.testing.assert_allclose(np.asarray(got), [np.convolve(a, v, mode) for a in batch], rtol=1e-12, atol=1e-12)


def test_arguments_of_convolutions():
    with pytest.raises(ShapeError, match="both are vectors"):
        knp.convolve(np.ones((2, 2)), np.ones(2))
    with pytest.raises(ArgumentError, match="it is 'full', 'same' or 'valid'"):
        knp.convolve(np.ones(2), np.ones(2), "all")


@pytest.mark.parametrize("name", ["convolve", "correlate"])
@pytest.mark.parametrize("mode", MODES)
def test_convolutions_of_complex_numbers(name, mode):
    rng = np.random.default_rng(1)
    f, want = getattr(knp, name), getattr(np, name)
    for n, m in ((5, 3), (3, 5), (1, 1), (4, 4), (2, 7)):
        a, b, v, w = (rng.normal(size=k) for k in (n, n, m, m))
        a, v = a + 1j * b, v + 1j * w
        for x, y in ((a, v), (a, w), (b, v), (a.astype(np.complex64), v.astype(np.complex64))):
            got = np.asarray(f(x, y, mode))
            assert got.dtype == np.result_type(x, y)
            np.testing.assert_allclose(got, want(x, y, mode), atol=64 * np.finfo(got.dtype).eps)

        def of_reals(a, b, v, w):
            y = f(a + 1j * b, v + 1j * w, mode)
            return knp.real(y), knp.imag(y)

        check_grads(of_reals, (a.real, a.imag, v.real, v.imag), order=2)
    batch = rng.normal(size=(2, 5)) + 1j
    got = knet.vmap(lambda a: f(a, v, mode))(batch)
    np.testing.assert_allclose(np.asarray(got), [want(a, v, mode) for a in batch], atol=1e-13)


def test_interp():
    xp, fp, x = np.sort(RNG.normal(size=6)), RNG.normal(size=6), RNG.normal(size=(4, 5)) * 2
    for p in ({}, {"left": 3, "right": -1}, {"period": 1.3}):
        np.testing.assert_allclose(np.asarray(knp.interp(x, xp, fp, **p)), np.interp(x, xp, fp, **p), atol=1e-13)
    np.testing.assert_allclose(np.asarray(knp.interp(xp, xp, fp)), fp, rtol=1e-14)
    check_grads(knp.interp, (x, xp, fp), order=2, rtol=1e-5)
    assert np.isnan(float(knp.interp(np.nan, xp, fp)))
    assert knp.interp(x, xp[:1], fp[:1]).tolist() == np.full((4, 5), fp[0]).tolist()
    with pytest.raises(ShapeError, match="vectors of one size"):
        knp.interp(x, xp, fp[1:])


@pytest.mark.parametrize("edge_order", [1, 2])
def test_gradient(edge_order):
    f, c0, c1 = RNG.normal(size=(4, 6)), np.sort(RNG.normal(size=4)), np.sort(RNG.normal(size=6))
    for args, p in (((), {}), ((2.0,), {}), ((2.0, c1), {}), ((c0, c1), {}), ((c1,), {"axis": 1}), ((0.5,),
                    {"axis": 0})):  # fmt: skip
        got = knp.gradient(f, *args, edge_order=edge_order, **p)
        want = np.gradient(f, *args, edge_order=edge_order, **p)
        for a, b in zip(got if isinstance(got, tuple) else [got], want if isinstance(want, tuple) else [want]):
            np.testing.assert_allclose(np.asarray(a), b, rtol=1e-10, atol=1e-12)
    check_grads(lambda f, c: knp.gradient(f, c, axis=0, edge_order=edge_order), (f, c0), order=2, rtol=1e-5)


def test_arguments_of_gradient():
    with pytest.raises(ArgumentError, match="axes need none, one number, or one each"):
        knp.gradient(np.ones((3, 3)), 1.0, 2.0, 3.0)
    with pytest.raises(ShapeError, match="needs more than 1 samples"):
        knp.gradient(np.ones(1))
    with pytest.raises(ShapeError, match="axis 0 has 3 samples"):
        knp.gradient(np.ones(3), np.ones(2))
    with pytest.raises(ArgumentError, match="it is 1 or 2"):
        knp.gradient(np.ones(3), edge_order=3)


def test_integrals_polynomials_and_angles():
    f, c = RNG.normal(size=(4, 6)), np.sort(RNG.normal(size=6))
    for args, p in (((), {}), ((c,), {}), ((f,), {"axis": 0}), ((), {"dx": 0.5, "axis": 0})):
        np.testing.assert_allclose(np.asarray(knp.trapezoid(f, *args, **p)), np.trapezoid(f, *args, **p), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(knp.polyval(c, f)), np.polyval(c, f), rtol=1e-11)
    u = RNG.normal(size=(3, 20)).cumsum(1) * 3
    for p in ({}, {"axis": 0, "period": 3}):
        np.testing.assert_allclose(np.asarray(knp.unwrap(u, **p)), np.unwrap(u, **p), rtol=1e-12)
    turns = np.array([0, np.pi, 0, -np.pi, 0])
    np.testing.assert_array_equal(np.asarray(knp.unwrap(turns)), np.unwrap(turns))
    got = knp.ediff1d(f, to_begin=np.array([1.0, 2.0]), to_end=5)
    np.testing.assert_array_equal(np.asarray(got), np.ediff1d(f, to_begin=[1.0, 2.0], to_end=5))


def test_sinc_near_zero():
    x = np.concatenate([np.linspace(-2, 2, 101), [1e-3, 1e-9, 0.0031, 0.0032, 0.03, 0.04]])
    np.testing.assert_allclose(np.asarray(knp.sinc(x)), np.sinc(x), rtol=1e-14, atol=1e-16)
    single = x.astype(np.float32)
    np.testing.assert_allclose(np.asarray(knp.sinc(single)), np.sinc(single.astype(np.float64)), rtol=1e-6, atol=1e-7)
    check_grads(knp.sinc, (np.array([0.0, 0.3, 1e-3, 0.0031, 2.0]),), order=2, rtol=1e-5)


# --- covariance -------------------------------------------------------------------------------------------------------


def test_cov_and_corrcoef():
    x = RNG.normal(size=(3, 4))
    counts, weights = np.array([1, 2, 1, 3]), np.array([0.1, 0.2, 1, 3])
    for p in ({}, {"rowvar": False}, {"bias": True}, {"ddof": 0}, {"fweights": counts}, {"aweights": weights},
              {"aweights": weights, "fweights": counts, "ddof": 2}):  # fmt: skip
        np.testing.assert_allclose(np.asarray(knp.cov(x, **p)), np.cov(x, **p), rtol=1e-13)
    np.testing.assert_allclose(np.asarray(knp.cov(x[0])), np.cov(x[0]), rtol=1e-13)
    np.testing.assert_allclose(np.asarray(knp.cov(x[0], x[1])), np.cov(x[0], x[1]), rtol=1e-13)
    np.testing.assert_allclose(np.asarray(knp.corrcoef(x)), np.corrcoef(x), rtol=1e-13)
    check_grads(knp.cov, (x,), order=2)
    with pytest.raises(ShapeError, match="there are 4 samples"):
        knp.cov(x, aweights=np.ones(3))


def test_average():
    x = RNG.normal(size=(3, 4))
    for axis in (None, 0, 1, (0, 1)):
        for w in (None, x**2):
            np.testing.assert_allclose(np.asarray(knp.average(x, axis, w)), np.average(x, axis, w), rtol=1e-13)
    got = knp.average(x, 0, x[:, 0], returned=True)
    for a, b in zip(got, np.average(x, 0, x[:, 0], returned=True), strict=True):
        np.testing.assert_allclose(np.asarray(a), b, rtol=1e-13)
    check_grads(lambda x, w: knp.average(x, 1, w), (x, x**2), order=2)
    with pytest.raises(ShapeError, match="pass weights of x's shape"):
        knp.average(x, 0, np.ones(4))


# --- comparisons and shorthands ---------------------------------------------------------------------------------------


def test_comparisons():
    x = np.array([1, 1 + 1e-9, np.nan, np.inf, -np.inf, 0, 3, np.inf])
    y = np.array([1, 1, np.nan, np.inf, np.inf, 1e-9, np.inf, 2])
    for p in ({}, {"equal_nan": True}, {"rtol": 0, "atol": 0}):
        np.testing.assert_array_equal(np.asarray(knp.isclose(x, y, **p)), np.isclose(x, y, **p))
    assert np.asarray(knp.isclose(np.array([1, 2]), np.array([1, 3]))).tolist() == [True, False]
    assert knp.allclose(y[:2], y[:2] + 1e-9) and not knp.allclose(x, y)
    assert knp.array_equal(y[:2], y[:2]) and not knp.array_equal(y[:2], y[:1]) and not knp.array_equal(x, x)
    assert knp.array_equal(x, x, equal_nan=True) and knp.array_equiv(np.ones((2, 3)), 1.0)


def test_shorthands():
    x = np.arange(24).reshape(2, 3, 4)
    for k in range(-3, 5):
        for axes in ((0, 1), (1, 0), (2, 0), (-1, 1)):
            np.testing.assert_array_equal(np.asarray(knp.rot90(x, k, axes)), np.rot90(x, k, axes))
    for name in ("vstack", "hstack", "dstack", "column_stack"):
        for xs in ([np.ones(3), np.zeros(3)], [np.ones((3, 2)), np.zeros((3, 2))]):
            np.testing.assert_array_equal(np.asarray(getattr(knp, name)(xs)), getattr(np, name)(xs))
    for name in ("argwhere", "flatnonzero"):
        np.testing.assert_array_equal(np.asarray(getattr(knp, name)(x % 5 == 0)), getattr(np, name)(x % 5 == 0))
    np.testing.assert_allclose(np.asarray(knp.logspace(0, 3, 7, dtype="float64")), np.logspace(0, 3, 7), rtol=1e-14)
    np.testing.assert_allclose(np.asarray(knp.geomspace(-1, -300, 7)), np.geomspace(-1, -300, 7), rtol=1e-6)
    with pytest.raises(ArgumentError, match="both must be positive"):
        knp.geomspace(0, 1)
    with pytest.raises(ShapeError, match="names an axis twice"):
        knp.rot90(x, 1, (0, 0))
    with pytest.raises(ArgumentError, match="a plane has two axes"):
        knp.rot90(x, 1, (0,))


def test_unique():
    x = np.array([[3, 1.0, 1], [2, 2, 0], [3, 1, 1]])
    for axis in (None, 0, 1):
        got, want = (f(x, True, True, True, axis) for f in (knp.unique, np.unique))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(np.asarray(a), b)
    grad = knet.grad(lambda x: (knp.unique(x) * np.arange(1.0, 5.0)).sum())(x)
    assert grad.tolist() == [[4, 2, 0], [3, 0, 1], [0, 0, 0]]
    for f in (knp.unique, knp.nonzero):
        with pytest.raises(TracerError):
            knet.vmap(f)(x)
