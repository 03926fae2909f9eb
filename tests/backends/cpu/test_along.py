"""Compiled extrema's places, running sums and further reductions: the values of NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core.ops import reduce

RNG = np.random.default_rng(1)
FLOATS = RNG.standard_normal((3, 17, 5)).astype(np.float32)
ODD = np.where(RNG.random((3, 17, 5)) < 0.05, np.nan, np.where(FLOATS > 1, np.inf, np.where(FLOATS < -1, -np.inf, 0)))
WHOLE = RNG.integers(-3, 4, (3, 17, 5))


@pytest.mark.parametrize("x", [FLOATS, ODD, ODD.astype(np.float32), WHOLE, WHOLE.astype(np.uint8), WHOLE > 2])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("op", [reduce.argmax, reduce.argmin])
def test_places_of_extrema(compiled, x, axis, op):
    np.testing.assert_array_equal(compiled(lambda x: op(x, axis=axis), x), op.body(x, axis=axis))
    turned = compiled(lambda x: op(knp.permute_dims(x, (2, 0, 1))[::2], axis=axis), x)
    np.testing.assert_array_equal(turned, op.body(x.transpose(2, 0, 1)[::2], axis=axis))


@pytest.mark.parametrize("x", [FLOATS, ODD, WHOLE, WHOLE.astype(np.int8), WHOLE.astype(np.uint16)])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("op", [reduce.cumulative_sum, reduce.cumulative_prod])
def test_running_sums(compiled, x, axis, op):
    with np.errstate(all="ignore"):
        want = op.body(x, axis=axis), op.body(x.transpose(2, 0, 1)[::2], axis=axis)
    np.testing.assert_array_equal(compiled(lambda x: op(x, axis=axis), x), want[0])
    turned = compiled(lambda x: op(knp.permute_dims(x, (2, 0, 1))[::2], axis=axis), x)
    np.testing.assert_array_equal(turned, want[1])


@pytest.mark.parametrize("x", [FLOATS, ODD, WHOLE, WHOLE.astype(np.int8), WHOLE > -3, np.zeros((3, 17, 5))])
@pytest.mark.parametrize("axis", [(0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("op", [reduce.reduce_any, reduce.reduce_all])
def test_any_and_all(compiled, x, axis, op):
    for keepdims in (False, True):
        params = {"axis": axis, "keepdims": keepdims}
        got = compiled(lambda x, params=params: op(x, **params), x)
        assert got.dtype == np.bool_
        np.testing.assert_array_equal(got, op.body(x, **params))


@pytest.mark.parametrize("x", [FLOATS, FLOATS.astype(np.float64), WHOLE, WHOLE.astype(np.int16)])
@pytest.mark.parametrize("axis", [(0,), (1, 2), (0, 1, 2)])
def test_products(compiled, x, axis):
    want = reduce.reduce_prod.body(x, axis=axis, keepdims=False)
    got = compiled(lambda x: reduce.reduce_prod(x, axis=axis, keepdims=False), x)
    np.testing.assert_allclose(got, want, rtol=1e-4 if x.dtype == np.float32 else 1e-12)


def test_reductions_in_one_nest(compiled):
    def f(x):
        return knp.where(knp.any(x > 1, axis=1, keepdims=True), x * knp.prod(x, axis=1, keepdims=True), 0)

    got = compiled(f, FLOATS[:, :4])
    x = FLOATS[:, :4]
    np.testing.assert_allclose(got, np.where((x > 1).any(1, keepdims=True), x * x.prod(1, keepdims=True), 0), rtol=1e-5)
    assert len(knet.jit(f).lower(knp.asarray(x)).kernels) == 1
