"""Segment reductions, counts, histograms and scatter against plain loops and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import knet
import knet.numpy as knp
from knet.core.errors import ArgumentError, DTypeError, ShapeError
from knet.testing import check_grads

RNG = np.random.default_rng(0)
REDUCTIONS = {knp.segment_sum: np.sum, knp.segment_max: np.max, knp.segment_min: np.min, knp.segment_prod: np.prod}
each = pytest.mark.parametrize(("f", "reduce"), REDUCTIONS.items(), ids=lambda f: getattr(f, "__name__", ""))
EMPTY = {np.sum: 0.0, np.max: -np.inf, np.min: np.inf, np.prod: 1.0}


def loop(reduce, x, ids, count):
    rows = [x[ids == s] for s in range(count)]
    return np.array([reduce(r, axis=0) if len(r) else np.full(x.shape[ids.ndim :], EMPTY[reduce]) for r in rows])


@each
@given(st.lists(st.integers(-2, 5), max_size=9))
def test_segments(f, reduce, ids):
    ids = np.array(ids, np.int64)
    x = np.random.default_rng(1).normal(size=(len(ids), 3)).round(1)
    np.testing.assert_allclose(np.asarray(f(x, ids, 4)), loop(reduce, x, ids, 4), rtol=1e-13)


@each
def test_derivatives_of_segments_and_vmap(f, reduce):
    ids = np.array([0, 2, 0, 1, 5, -1, 2, 2])
    x = RNG.normal(size=(8, 3))
    check_grads(lambda x: f(x, ids, 3), (x,), order=2)
    x[2, 1] = 0  # products are differentiated without division
    if reduce is np.prod:
        check_grads(lambda x: f(x, ids, 3), (x,), order=2)
    batch, numbers = RNG.normal(size=(4, 8, 3)), RNG.integers(0, 4, (4, 8))
    want = np.array([loop(reduce, a, b, 4) for a, b in zip(batch, numbers, strict=True)])
    np.testing.assert_allclose(np.asarray(knet.vmap(lambda x, i: f(x, i, 4))(batch, numbers)), want, rtol=1e-13)
    want = np.array([loop(reduce, a, numbers[0], 4) for a in batch])
    np.testing.assert_allclose(np.asarray(knet.vmap(lambda x: f(x, numbers[0], 4))(batch)), want, rtol=1e-13)


def test_ties_share_and_the_number_of_segments_follows_from_the_ids():
    x, ids = knp.asarray([1.0, 1.0, 0.0, 5.0]), np.array([0, 0, 0, 2])
    assert knp.segment_max(x, ids).tolist() == [1.0, -np.inf, 5.0]
    assert knet.grad(lambda x: knp.segment_max(x, ids, 1).sum())(x).tolist() == [0.5, 0.5, 0.0, 0.0]


def test_arguments_of_segments():
    with pytest.raises(ShapeError, match="must be the first axes of data"):
        knp.segment_sum(np.zeros(3), np.zeros(2, int), 2)
    with pytest.raises(DTypeError, match="integers as segment_ids"):
        knp.segment_sum(np.zeros(3), np.zeros(3), 2)
    with pytest.raises(ArgumentError, match="pass num_segments="):
        knet.vmap(lambda i: knp.segment_sum(np.zeros(3), i))(np.zeros((2, 3), int))


@given(st.lists(st.integers(0, 9), max_size=9), st.integers(0, 12))
def test_bincount(values, minlength):
    x = np.array(values, np.int64)
    np.testing.assert_array_equal(np.asarray(knp.bincount(x, minlength=minlength)), np.bincount(x, minlength=minlength))
    np.testing.assert_array_equal(np.asarray(knp.bincount(x, length=5)), np.bincount(x, minlength=10)[:5])
    w = np.arange(len(x)) * 0.5
    np.testing.assert_allclose(np.asarray(knp.bincount(x, w, 3)), np.bincount(x, w, 3))


def test_arguments_of_bincount():
    with pytest.raises(ArgumentError, match="numbers below 0 have no bin"):
        knp.bincount(np.array([-1]))
    with pytest.raises(ShapeError, match="a vector of integers"):
        knp.bincount(np.ones(2))
    with pytest.raises(ArgumentError, match="pass length="):
        knet.vmap(knp.bincount)(np.zeros((2, 3), int))


@pytest.mark.parametrize("options", [{}, {"bins": 7}, {"bins": [-1, 0, 0.5, 2]}, {"range": (-1, 1)}, {"density": True},
                                     {"bins": "auto"}, {"weights": 1}, {"weights": 1, "density": True, "bins": 4}],
                         ids=str)  # fmt: skip
def test_histogram(options):
    x = RNG.normal(size=50)
    if "weights" in options:
        options = {**options, "weights": RNG.random(50)}
    for got, want in zip(knp.histogram(x, **options), np.histogram(x, **options), strict=True):
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-13)
        assert got.dtype == want.dtype


def test_histogram_of_edges_single_values_and_batches():
    x = np.array([1.0, 2.0, 2.0, 5.0, np.nan, 7.0])
    assert knp.histogram(x, [1, 2, 5])[0].tolist() == np.histogram(x, [1, 2, 5])[0].tolist() == [1, 3]
    np.testing.assert_allclose(np.asarray(knp.histogram(np.ones(3))[1]), np.histogram(np.ones(3))[1])
    check_grads(lambda w: knp.histogram(x[:4], 3, weights=w)[0], (np.arange(4.0),))
    batch = RNG.normal(size=(3, 20))
    got = knet.vmap(lambda x: knp.histogram(x, 5)[0])(batch)
    assert np.asarray(got).tolist() == [np.histogram(row, 5)[0].tolist() for row in batch]


def test_put_along_axis():
    x, v = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 2))
    ids = np.array([[0, 3], [-1, 1], [2, 2]])
    want = x.copy()
    np.put_along_axis(want, ids, v, 1)
    np.testing.assert_array_equal(np.asarray(knp.put_along_axis(x, ids, v, axis=1)), want)
    check_grads(lambda x, v: knp.put_along_axis(x, ids, v, axis=1), (x, v), order=2)
    check_grads(lambda x, v: knp.put_along_axis(x, ids, v, axis=1, mode="add"), (x, v), order=2)
    got = knp.put_along_axis(knp.zeros(3), np.array([1, 1]), np.ones(2), mode="add")
    assert got.tolist() == [0.0, 2.0, 0.0]
    with pytest.raises(ShapeError, match="indices needs the 2 axes"):
        knp.put_along_axis(x, np.array([0]), 1.0)
    with pytest.raises(ArgumentError, match="it is 'set' or 'add'"):
        knp.put_along_axis(x, ids, v, mode="max")
