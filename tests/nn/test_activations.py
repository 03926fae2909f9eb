"""Activations, the softmax family and dropout against formulas in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import knet
import knet.numpy as knp
from knet import nn
from knet.core import errors
from knet.testing import check_grads

X = np.array([-30.0, -5.0, -3.0, -1.0, -0.5, -1e-3, 0.0, 1e-3, 0.5, 1.0, 3.0, 5.0, 30.0])
SMOOTH = np.array([-4.0, -2.5, -1.0, -0.3, 0.2, 0.7, 1.5, 2.8, 4.0])  # no kinks here
EXTREME = {"float16": 6e4, "float32": 3e38, "float64": 1e308, "bfloat16": 3e38}


def sigmoid(x):
    return np.array([1 / (1 + math.exp(-v)) if v > -700 else 0.0 for v in np.ravel(x)]).reshape(np.shape(x))


def tanh_gelu(x):
    return nn.gelu(x, approximate=True)


FORMULAS = {
    nn.relu: lambda x: (x + np.abs(x)) / 2,
    nn.sigmoid: sigmoid,
    nn.tanh: np.tanh,
    nn.softplus: lambda x: np.log1p(np.exp(x)),
    nn.log_sigmoid: lambda x: np.log(sigmoid(x)),
    nn.silu: lambda x: x * sigmoid(x),
    nn.elu: lambda x: np.where(x > 0, x, np.exp(x) - 1),
    nn.selu: lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)),
    nn.leaky_relu: lambda x: np.where(x > 0, x, x / 100),
    nn.gelu: lambda x: np.array([v / 2 * math.erfc(-v / math.sqrt(2)) for v in np.ravel(x)]).reshape(np.shape(x)),
    tanh_gelu: lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    nn.hard_sigmoid: lambda x: np.clip(x / 6 + 0.5, 0, 1),
    nn.hard_swish: lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
}
each = pytest.mark.parametrize("f", FORMULAS, ids=lambda f: f.__name__)


@each
def test_values(f):
    expected = FORMULAS[f](X)
    np.testing.assert_allclose(np.asarray(f(knp.asarray(X))), expected, rtol=1e-12, atol=1e-12)
    single = f(knp.asarray(X.astype(np.float32)))
    np.testing.assert_allclose(np.asarray(single), expected, rtol=1e-5, atol=1e-6)


@each
def test_derivatives_to_second_order(f):
    check_grads(f, (SMOOTH,), order=2, rtol=1e-5)


@each
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_dtype_and_shape_stay(f, dtype):
    for shape in ((), (3,), (0, 2), (2, 1, 3)):
        y = f(knp.ones(shape, dtype=dtype))
        assert y.dtype == knp.zeros((), dtype=dtype).dtype and y.shape == shape


@each
def test_python_and_numpy_numbers(f):
    expected = float(FORMULAS[f](np.array(0.5)))
    for x in (0.5, np.float32(0.5), np.array(0.5, np.float32)):
        y = f(x)
        assert isinstance(y, knet.Array) and y.dtype == np.float32 and abs(float(y) - expected) < 1e-6


@pytest.mark.parametrize(
    "f", [f for f in FORMULAS if f not in (nn.gelu, tanh_gelu, nn.hard_swish)], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_extreme_arguments_give_no_nan(f, dtype):
    x = knp.asarray(np.array([-EXTREME[dtype], -100, 0, 100, EXTREME[dtype] / 2], dtype))
    assert not np.isnan(np.asarray(f(x))).any()
    assert not np.isnan(np.asarray(knet.grad(lambda x: knp.sum(f(x) * 1e-3))(x))).any()


@pytest.mark.parametrize(
    ("f", "slope"),
    [(nn.relu, 0.0), (nn.elu, 1.0), (nn.leaky_relu, 0.01), (nn.gelu, 0.5), (tanh_gelu, 0.5), (nn.silu, 0.5),
     (nn.log_sigmoid, 0.5), (lambda x: nn.elu(x, 0.25), 0.25)],
)  # fmt: skip
def test_derivatives_at_zero(f, slope):
    assert abs(float(knet.grad(f)(0.0)) - slope) < 1e-7


def test_the_approximate_gelu_is_close_to_the_exact_one():
    x = np.linspace(-6, 6, 1001)
    np.testing.assert_allclose(np.asarray(tanh_gelu(x)), FORMULAS[tanh_gelu](x), rtol=1e-12, atol=1e-15)
    assert np.abs(np.asarray(tanh_gelu(x)) - np.asarray(nn.gelu(x))).max() < 5e-4


def test_gelu_keeps_its_relative_accuracy_below_zero():
    x = np.linspace(-12, -1, 50)
    exact = np.array([v / 2 * math.erfc(-v / math.sqrt(2)) for v in x])
    np.testing.assert_allclose(np.asarray(nn.gelu(x)), exact, rtol=1e-13)


def test_selu_keeps_mean_and_variance():
    y = np.asarray(nn.selu(knet.random.normal(knet.random.key(1), 100_000, "float64")))
    assert abs(y.mean()) < 0.02 and abs(y.var() - 1) < 0.02


# --- softmax ---------------------------------------------------------------------------------------------------------


def reference_softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


LOGITS = np.random.default_rng(0).standard_normal((3, 4, 5)) * 3


@pytest.mark.parametrize("axis", [-1, 0, 1, (0, 2), (0, 1, 2)])
def test_softmax_and_its_logarithm(axis):
    expected = reference_softmax(LOGITS, axis)
    np.testing.assert_allclose(np.asarray(nn.softmax(LOGITS, axis)), expected, rtol=1e-13)
    np.testing.assert_allclose(np.asarray(nn.log_softmax(LOGITS, axis)), np.log(expected), rtol=1e-12)
    check_grads(lambda x: nn.softmax(x, axis), (LOGITS,), order=2, rtol=1e-5)
    check_grads(lambda x: nn.log_softmax(x, axis), (LOGITS,), order=2, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("f", [nn.softmax, nn.log_softmax])
def test_softmax_keeps_the_dtype_and_is_accurate_in_it(f, dtype):
    x = knp.asarray(LOGITS * 4).astype(dtype)
    y = f(x)
    assert y.dtype == x.dtype
    expected = reference_softmax(np.asarray(x).astype(np.float64), -1)
    expected = expected if f is nn.softmax else np.log(expected)
    rtol = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-5, "float64": 1e-13}[dtype]
    # Logarithms near 0 are those of sums near 1; below 6e-8 float16 is subnormal.
    atol = 1e-12 if dtype == "float64" else 1e-7
    np.testing.assert_allclose(np.asarray(y).astype(np.float64), expected, rtol=rtol, atol=atol)


def test_softmax_of_extreme_logits():
    x = knp.asarray([[1e38, -2e38, 0.0], [-math.inf, 0.0, 0.0], [3e38, 3e38, 3e38]])
    np.testing.assert_allclose(np.asarray(nn.softmax(x)), [[1, 0, 0], [0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)
    g = knet.grad(lambda x: knp.sum(nn.softmax(x) * np.float32([1, 2, 3])))(x[1:])
    assert np.isfinite(np.asarray(g)).all()


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=8))
def test_softmax_is_a_distribution_and_ignores_a_shift(values):
    x = np.array(values, np.float32)
    y = np.asarray(nn.softmax(x))
    assert (y >= 0).all() and abs(y.sum() - 1) < 1e-5
    np.testing.assert_allclose(np.asarray(nn.softmax(x + np.float32(64))), y, rtol=1e-2, atol=1e-6)


def test_softmax_of_integers_and_wrong_axes():
    assert nn.softmax(knp.asarray([1, 2])).dtype == np.float32
    with pytest.raises(errors.ShapeError, match="softmax"):
        nn.softmax(LOGITS, 3)
    with pytest.raises(errors.ShapeError, match="empty"):
        nn.log_softmax(np.zeros((2, 0), np.float32))


# --- dropout ---------------------------------------------------------------------------------------------------------

KEY = knet.random.key(5)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_keeps_the_expectation(rate):
    n = 100_000
    y = np.asarray(nn.dropout(KEY, knp.ones(n), rate))
    kept = y != 0
    assert abs(kept.mean() - (1 - rate)) < 5 * math.sqrt(rate * (1 - rate) / n)
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-6)


def test_dropout_depends_on_the_key_alone():
    x = knp.asarray(LOGITS)
    a, b, c = (np.asarray(nn.dropout(k, x, 0.5)) for k in (KEY, KEY, knet.random.key(6)))
    assert (a == b).all() and (a != c).any()


def test_dropout_passes_gradients_where_it_passes_values():
    x = LOGITS
    mask = np.asarray(nn.dropout(KEY, knp.ones(x.shape, dtype="float64"), 0.4))
    np.testing.assert_array_equal(np.asarray(knet.grad(lambda x: knp.sum(nn.dropout(KEY, x, 0.4)))(x)), mask)
    check_grads(lambda x: nn.dropout(KEY, x, 0.4) ** 2, (x,), order=2, rtol=1e-5)


def test_dropout_hides_what_it_drops_and_keeps_the_dtype():
    y = nn.dropout(KEY, knp.full((50,), math.nan, dtype="float16"), 0.5)
    assert y.dtype == np.float16 and (np.asarray(y) == 0).any()
    x = knp.asarray(LOGITS)
    assert nn.dropout(KEY, x, 0.0) is x


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2, math.nan])
def test_a_rate_outside_its_range_is_an_error(rate):
    with pytest.raises(errors.ArgumentError, match=r"dropout: rate=.* probability"):
        nn.dropout(KEY, LOGITS, rate)
