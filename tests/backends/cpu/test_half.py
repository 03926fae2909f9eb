"""Half types in compiled programs: every result is rounded as without compilation, sums accumulate in float32."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core.ops import reduce

X = np.random.default_rng(1).standard_normal((13, 37)).astype(np.float32)
HALF = pytest.mark.parametrize("dtype", ["bfloat16", "float16"])


@HALF
def test_each_result_is_rounded(compiled, dtype):
    x = knp.asarray(X).astype(dtype)

    def f(x):
        return (x * 1.1 + 0.3) * x - x / 3

    np.testing.assert_array_equal(compiled(f, x), np.asarray(f(x)))


@HALF
def test_conversions(compiled, dtype):
    odd = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-8, 65519.0, 65520.0, 1e38, -3.4e38, 2.0**-24, 1.00390625])
    for x in (odd.astype(np.float32), np.arange(-300, 300), np.array([True, False])):
        with np.errstate(over="ignore"):
            want = np.asarray(knp.asarray(x).astype(dtype))
        got = compiled(lambda x: x.astype(dtype), x)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got.astype(np.float32), want.astype(np.float32))
        np.testing.assert_array_equal(compiled(lambda h: h.astype("float32"), want), want.astype(np.float32))


@HALF
@pytest.mark.parametrize("axis", [(0,), (1,), (0, 1)])
def test_sums_accumulate_in_float32(compiled, dtype, axis):
    x = knp.asarray(X * 100).astype(dtype)
    for op in (reduce.reduce_sum, reduce.reduce_max, reduce.reduce_min):
        got = compiled(lambda x, op=op: op(x, axis=axis, keepdims=False), x)
        want = np.asarray(op(x, axis=axis, keepdims=False))
        assert got.dtype == want.dtype
        tolerance = 0.01 if op is reduce.reduce_sum else 0.0
        np.testing.assert_allclose(got.astype(np.float32), want.astype(np.float32), rtol=tolerance)
    many = knp.ones((5000,)).astype(dtype)
    assert float(compiled(lambda x: x.sum(), many)) == float(many.sum())


@HALF
def test_products_accumulate_in_float32(compiled, dtype):
    x, w = knp.asarray(X).astype(dtype), knp.asarray(X.T[:, :5]).astype(dtype)
    np.testing.assert_allclose(
        compiled(knp.matmul, x, w).astype(np.float32), np.asarray(x @ w).astype(np.float32), rtol=0.01, atol=0.02
    )
    np.testing.assert_array_equal(compiled(lambda x: knp.argmax(x, axis=1), x), np.asarray(knp.argmax(x, axis=1)))
    got, want = compiled(lambda x: knp.cumulative_sum(x, axis=1), x), knp.cumulative_sum(x, axis=1)
    np.testing.assert_array_equal(got, np.asarray(want))


@HALF
def test_softmax_is_one_nest(compiled, dtype):
    x = knp.asarray(X).astype(dtype)
    got = compiled(knet.nn.softmax, x).astype(np.float32)
    np.testing.assert_allclose(got, np.asarray(knet.nn.softmax(x)).astype(np.float32), rtol=0.03)
    assert len(knet.jit(knet.nn.softmax).lower(x).kernels) == 1
