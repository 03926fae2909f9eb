"""Initialisers: fans, ranges, variances."""

from __future__ import annotations

import math

import numpy as np
import pytest

import knet
from knet import nn
from knet.nn import init

KEY = knet.random.key(3)
SHAPES = [(300, 200), (64, 16, 3, 3), (32, 8, 25), (10_000,)]


@pytest.mark.parametrize(
    ("shape", "fans"),
    [((784, 64), (784, 64)), ((20, 1, 5, 5), (25, 500)), ((8, 3, 7), (21, 56)), ((5,), (5, 1)), ((), (1, 1))],
)
def test_fans(shape, fans):
    assert init.fans(shape) == fans


VARIANCES = {
    init.xavier_uniform: lambda i, o: 2 / (i + o),
    init.xavier_normal: lambda i, o: 2 / (i + o),
    init.he_uniform: lambda i, o: 2 / i,
    init.he_normal: lambda i, o: 2 / i,
    init.normal(0.3): lambda i, o: 0.09,
    init.uniform(0.3): lambda i, o: 0.03,
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("initializer", VARIANCES, ids=lambda f: getattr(f, "__name__", repr(f)))
def test_mean_variance_and_range(initializer, shape):
    w = np.asarray(initializer(KEY, shape, "float64"))
    n, variance = w.size, VARIANCES[initializer](*init.fans(shape))
    assert w.shape == shape and abs(w.mean()) < 5 * math.sqrt(variance / n)
    assert abs(w.var() / variance - 1) < 5 * math.sqrt(2 / n)
    if "uniform" in getattr(initializer, "__name__", repr(initializer)):
        assert np.abs(w).max() <= math.sqrt(3 * variance) * (1 + 1e-12)


@pytest.mark.parametrize(
    "initializer", [*VARIANCES, init.zeros, init.ones], ids=lambda f: getattr(f, "__name__", repr(f))
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_and_repetition(initializer, dtype):
    a, b = initializer(KEY, (4, 3), dtype), initializer(KEY, (4, 3), dtype)
    assert a.dtype == knet.numpy.zeros((), dtype=dtype).dtype
    assert (np.asarray(a) == np.asarray(b)).all()
    assert initializer(KEY, (2,)).dtype == np.float32
    assert initializer(KEY, (0, 3)).shape == (0, 3)


def test_zeros_and_ones():
    assert not np.asarray(init.zeros(KEY, (3,))).any() and (np.asarray(init.ones(KEY, (3,))) == 1).all()


def test_signals_keep_their_size_through_deep_networks():
    """Thirty layers of relu with he, thirty of tanh in its linear part with xavier."""
    x = knet.random.normal(KEY, (64, 256))
    for initializer, f in ((init.he_normal, nn.relu), (init.he_uniform, nn.relu), (init.xavier_normal, lambda x: x)):
        y = x
        for k in knet.random.split(KEY, 30):
            y = f(y @ initializer(k, (256, 256)))
        assert 0.1 < float((y * y).mean()) < 10


def test_settings_compare():
    assert init.normal(0.1) == init.normal(0.1) != init.normal(0.2)
    assert hash(init.uniform(0.1)) == hash(init.uniform(0.1))
    assert repr(init.normal(0.1)) == "normal(stddev=0.1)"
