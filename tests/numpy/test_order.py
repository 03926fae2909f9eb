"""Quantiles, top_k, cumulative extrema and the nan-functions against NumPy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import knet
import knet.numpy as knp
from knet.core.errors import ArgumentError, ShapeError
from knet.testing import check_grads

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 7, 4)).round(1)
HOLES = np.where(RNG.random(X.shape) < 0.3, np.nan, X)
HOLES[0, :, 0] = np.nan
METHODS = ["linear", "weibull", "hazen", "median_unbiased", "normal_unbiased", "interpolated_inverted_cdf", "lower",
           "higher", "nearest", "midpoint"]  # fmt: skip
AXES = [None, 0, 1, -1, (0, 2)]
REAL_ARRAYS = hnp.arrays(np.float64, hnp.array_shapes(max_dims=2, max_side=6), elements=st.floats(-9, 9, width=16))


def numpys(function, *args, **kwargs):
    with warnings.catch_warnings():  # NumPy warns of slices without elements
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axis", AXES)
def test_quantiles(method, axis):
    for q in (0.0, 0.3, 1.0, np.array([0.1, 0.5, 0.99])):
        for keepdims in (False, True):
            p: dict = {"method": method, "keepdims": keepdims}
            want = np.quantile(X, q, axis=axis, **p)
            np.testing.assert_allclose(np.asarray(knp.quantile(X, q, axis, **p)), want, rtol=1e-13, atol=1e-14)
            want = numpys(np.nanquantile, HOLES, q, axis=axis, **p)
            np.testing.assert_allclose(np.asarray(knp.nanquantile(HOLES, q, axis, **p)), want, rtol=1e-13, atol=1e-14)


@given(REAL_ARRAYS)
def test_median_and_percentile(x):
    np.testing.assert_allclose(np.asarray(knp.median(x, -1)), np.median(x, -1), rtol=1e-14)
    np.testing.assert_allclose(np.asarray(knp.percentile(x, [25, 60])), np.percentile(x, [25, 60]), rtol=1e-13)
    assert np.isnan(np.asarray(knp.median(np.append(x, np.nan))))


def test_an_infinite_neighbour_does_not_spoil_a_quantile():
    x = np.array([1.0, 2.0, np.inf])
    assert float(knp.quantile(x, 0.5)) == 2.0
    assert np.array_equal(np.asarray(knet.grad(lambda x: knp.quantile(x, 0.5))(x)), [0.0, 1.0, 0.0])


def test_quantiles_of_single_precision_take_places_in_it_and_halves_in_single():
    x = np.arange(2001, dtype=np.float16)
    assert float(knp.median(x)) == 1000 and knp.median(x).dtype == np.float16
    assert abs(float(knp.quantile(np.arange(11.0), 0.7)) - 7) < 1e-14  # 0.7 in double precision


def test_derivatives_of_quantiles_by_elements_and_levels():
    x, q = RNG.permutation(28).reshape(7, 4) + 0.1, np.array([0.33, 0.71])
    check_grads(lambda x, q: knp.quantile(x, q, 0), (x, q), order=2)
    check_grads(lambda x, q: knp.nanquantile(x, q, (0, 1)), (x, q), order=2)
    check_grads(lambda x: knp.median(x, 1), (x,), order=2)


def test_vmap_of_quantiles_is_a_loop():
    got = knet.vmap(lambda x: knp.quantile(x, 0.3, 0))(X)
    np.testing.assert_allclose(np.asarray(got), np.quantile(X, 0.3, axis=1), rtol=1e-13)
    got = knet.vmap(lambda x: knp.nanmedian(x, 0))(HOLES)
    np.testing.assert_allclose(np.asarray(got), numpys(np.nanmedian, HOLES, axis=1), rtol=1e-13)


def test_arguments_of_quantiles():
    with pytest.raises(ArgumentError, match=r"it is one of linear, weibull"):
        knp.quantile(X, 0.5, method="best")
    with pytest.raises(ShapeError):
        knp.median(np.zeros((2, 0)), 1)


@given(REAL_ARRAYS, st.data())
def test_top_k(x, data):
    k = data.draw(st.integers(0, x.shape[-1]))
    values, places = knp.top_k(x, k)
    np.testing.assert_array_equal(np.asarray(values), -np.sort(-x, -1)[..., :k])
    np.testing.assert_array_equal(np.asarray(places), np.argsort(-x, -1, kind="stable")[..., :k])


def test_top_k_of_a_long_axis_ties_and_nan():
    for x in (RNG.normal(size=(5, 300)), RNG.integers(0, 9, (5, 300)).astype(float)):
        np.testing.assert_array_equal(np.asarray(knp.top_k(x, 4)[1]), np.argsort(-x, -1, kind="stable")[:, :4])
    assert knp.top_k(np.array([1.0, np.nan, 3.0]), 2)[1].tolist() == [1, 2]
    check_grads(lambda x: knp.top_k(x, 3, axis=0)[0], (RNG.normal(size=(6, 2)),), order=2)
    with pytest.raises(ShapeError, match="needs at least k elements"):
        knp.top_k(X, 8)


@given(REAL_ARRAYS)
def test_cumulative_extrema(x):
    for axis in range(x.ndim):
        np.testing.assert_array_equal(np.asarray(knp.cummax(x, axis=axis)), np.maximum.accumulate(x, axis))
        np.testing.assert_array_equal(np.asarray(knp.cummin(x, axis=axis)), np.minimum.accumulate(x, axis))


@given(REAL_ARRAYS)
def test_logcumsumexp(x):
    x = np.where(x > 7, -np.inf, x * 100)
    np.testing.assert_allclose(np.asarray(knp.logcumsumexp(x)), np.logaddexp.accumulate(x, -1), rtol=1e-14, atol=1e-14)


def test_derivatives_of_scans():
    x = RNG.normal(size=(5, 3))
    check_grads(lambda x: knp.cummax(x, axis=0), (x,), order=2)
    check_grads(lambda x: knp.logcumsumexp(x, axis=0), (x,), order=2)
    y = np.array([-np.inf, -np.inf, 1.0, 2.0])
    assert np.isfinite(np.asarray(knet.grad(lambda y: knp.logcumsumexp(y)[2:].sum())(y))).all()


def test_partition_and_digitize():
    x = RNG.normal(size=(4, 9))
    y = np.asarray(knp.partition(x, 3))
    assert (y[:, 3:4] >= y[:, :3]).all() and (y[:, 3:4] <= y[:, 4:]).all()
    np.testing.assert_array_equal(np.asarray(knp.partition(x, 2, axis=None)), np.sort(x.ravel()))
    for right in (False, True):
        bins = np.array([-1.0, 0.0, x[0, 0], 5.0])
        np.testing.assert_array_equal(np.asarray(knp.digitize(x, np.sort(bins), right)),
                                      np.digitize(x, np.sort(bins), right))  # fmt: skip


# --- NaN left out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin"])
@pytest.mark.parametrize("axis", AXES)
def test_nan_functions(name, axis):
    for keepdims in (False, True):
        want = numpys(getattr(np, name), HOLES, axis=axis, keepdims=keepdims)
        got = np.asarray(getattr(knp, name)(HOLES, axis, keepdims=keepdims))
        np.testing.assert_allclose(got, want, rtol=1e-13)
    ints = np.arange(12).reshape(3, 4)
    np.testing.assert_allclose(np.asarray(getattr(knp, name)(ints)), getattr(np, name)(ints), rtol=1e-6)


@pytest.mark.parametrize("name", ["nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin"])
def test_derivatives_of_nan_functions(name):
    hole = np.isnan(HOLES[1])
    check_grads(lambda x: getattr(knp, name)(knp.where(hole, np.nan, x), 0), (RNG.normal(size=(7, 4)),), order=2)


def test_nan_to_num():
    x = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    np.testing.assert_array_equal(np.asarray(knp.nan_to_num(x)), np.nan_to_num(x))
    p = {"nan": 1.0, "posinf": 2.0, "neginf": 3.0}
    np.testing.assert_array_equal(np.asarray(knp.nan_to_num(x, **p)), np.nan_to_num(x, **p))
