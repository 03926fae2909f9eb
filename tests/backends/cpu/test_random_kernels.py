"""Compiled random bits and keys: the very words of the primitives' bodies, for any team."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core.ops import random as spec

KEY = np.array([0x0123456789ABCDEF, 0xFEDCBA9876543210], np.uint64)
KEYS = np.random.default_rng(1).integers(0, 2**64, (3, 2, 2), np.uint64)


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (4,), (8, 4), (5, 7), (1001,)])
@pytest.mark.parametrize("key", [KEY, KEYS])
def test_words(compiled, dtype, shape, key):
    params = {"shape": shape, "dtype": np.dtype(dtype)}
    got = compiled(lambda key: spec.random_bits(key, **params), key)
    want = spec.random_bits.body(key, **params)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


def test_words_are_those_of_numpy(compiled):
    got = compiled(lambda key: spec.random_bits(key, shape=(9,), dtype=np.dtype(np.uint64)), KEY)
    np.testing.assert_array_equal(got, np.random.Philox(key=KEY).random_raw(9))


@pytest.mark.parametrize(
    ("key", "data"),
    [
        (KEY, np.int64(-3)),
        (KEY, np.arange(6, dtype=np.int32).reshape(2, 3) - 2),
        (KEYS, np.array([5, 2**64 - 1], np.uint64)),
        (KEYS[:, :1], np.arange(8, dtype=np.uint8).reshape(4, 1, 2)),
    ],
)
def test_derived_keys(compiled, key, data):
    got = compiled(lambda key, data: spec.derive_key(key, data, tag=2), key, data)
    np.testing.assert_array_equal(got, spec.derive_key.body(key, np.asarray(data), tag=2))
    if data.ndim == 2 and key.ndim == 1:
        got = compiled(lambda key, data: spec.derive_key(key, data.T, tag=1), key, data)
        np.testing.assert_array_equal(got, spec.derive_key.body(key, data.T, tag=1))


def test_draws_are_those_without_jit():
    key = knet.random.key(7)
    for draw in (lambda k: knet.random.normal(k, (37,)), lambda k: knet.random.split(k, 5)[2]):
        np.testing.assert_allclose(np.asarray(knet.jit(draw)(key)), np.asarray(draw(key)), rtol=1e-5)
    f = knet.jit(lambda key, x: x * knet.random.bernoulli(key, 0.5, x.shape))
    x = knp.ones((64, 64))
    assert not any("NumPy" in k for k in f.lower(key, x).kernels)
    np.testing.assert_array_equal(np.asarray(f(key, x)), np.asarray(x * knet.random.bernoulli(key, 0.5, x.shape)))
