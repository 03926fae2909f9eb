"""Compiled concatenations and slices put back: the values of NumPy, computed in place where that is possible."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core.ops import shape

A = np.random.default_rng(1).standard_normal((3, 4, 5)).astype(np.float32)
B = np.random.default_rng(2).standard_normal((3, 2, 5)).astype(np.float32)


def test_operands_are_computed_in_the_result(compiled):
    f = lambda a, b: knp.concatenate([a * 2, b + 1, a], axis=1)  # noqa: E731
    np.testing.assert_array_equal(compiled(f, A, B), np.concatenate([A * 2, B + 1, A], 1))
    kernels = knet.jit(f).lower(knp.asarray(A), knp.asarray(B)).kernels
    assert sum("copy" in k for k in kernels) == 1  # of the input alone
    assert len(kernels) == 3


def test_an_operand_that_is_used_elsewhere_too(compiled):
    def f(a, b):
        c = knp.exp(a)
        joined = knp.concatenate([c, b, c], axis=1)
        return knp.concatenate([joined.sum(2), (c @ knp.ones((5, 2))).sum(2), c.sum(2) * 3], axis=1)

    e = np.exp(A)
    joined = np.concatenate([e, B, e], 1)
    want = np.concatenate([joined.sum(2), (e @ np.ones((5, 2))).sum(2), e.sum(2) * 3], 1)
    np.testing.assert_allclose(compiled(f, A, B), want, rtol=1e-5, atol=1e-6)


def test_products_and_concatenations_in_slices(compiled):
    w = np.random.default_rng(3).standard_normal((4, 6)).astype(np.float32)
    x = A[:, :, 0]

    def f(x, w):
        inner = knp.concatenate([x - 1, x @ w], axis=1)
        return knp.concatenate([inner, 2 * inner, knp.concatenate([x @ w, x], axis=1)], axis=0)

    inner = np.concatenate([x - 1, x @ w], 1)
    want = np.concatenate([inner, 2 * inner, np.concatenate([x @ w, x], 1)])
    np.testing.assert_allclose(compiled(f, x, w), want, rtol=1e-5, atol=1e-6)


def test_results_that_are_returned_too(compiled):
    def f(a, b):
        c = a * 2
        return knp.concatenate([c, b], axis=1), c, knp.concatenate([b, b], axis=0)

    got = knet.jit(f)(knp.asarray(A), knp.asarray(B))
    for g, w in zip(got, (np.concatenate([A * 2, B], 1), A * 2, np.concatenate([B, B])), strict=True):
        np.testing.assert_array_equal(np.asarray(g), w)


def test_results_are_computed_in_the_order_in_which_they_are_read(compiled):
    x, y = (np.random.default_rng(i).standard_normal((2, 3, 4, 5)).astype(np.float32) for i in (1, 2))

    def heads(x, y):
        return (x @ y.mT).transpose(0, 2, 1, 3).reshape(8, 12) @ knp.ones((12, 2))

    want = (x @ y.swapaxes(2, 3)).transpose(0, 2, 1, 3).reshape(8, 12) @ np.ones((12, 2))
    np.testing.assert_allclose(compiled(heads, x, y), want, rtol=1e-5, atol=1e-5)
    kernels = knet.jit(heads).lower(knp.asarray(x), knp.asarray(y)).kernels
    assert not any("copy" in k for k in kernels), kernels

    def gradients(x, y):
        parts = [(x @ y.mT)[None], (y @ x.mT)[None] * 2, (x * y)[..., :4][None]]
        return knp.concatenate(parts, axis=0).transpose(1, 3, 0, 2, 4).reshape(2, 4, 36).sum(1)

    a, b, c = x @ y.swapaxes(2, 3), y @ x.swapaxes(2, 3) * 2, (x * y)[..., :4]
    want = np.stack([a, b, c]).transpose(1, 3, 0, 2, 4).reshape(2, 4, 36).sum(1)
    np.testing.assert_allclose(compiled(gradients, x, y), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bool", "int16", "bfloat16", "complex128"])
def test_slices_put_back(compiled, dtype):
    u = knp.asarray(A[:2, ::2, 1:3]).astype(dtype)
    x = knp.asarray(A * 7).astype(dtype)
    where = {"starts": (2, 0, 4), "steps": (-2, 2, -3)}
    got = compiled(lambda u: shape.unslice(u, shape=A.shape, **where), u)
    np.testing.assert_array_equal(got, shape.unslice.body(np.asarray(u), shape=A.shape, **where))
    got = compiled(lambda x, u: shape.update_slice(x, u, **where), x, u)
    np.testing.assert_array_equal(got, shape.update_slice.body(np.asarray(x), np.asarray(u), **where))


def test_concatenations_in_a_scan(compiled):
    def step(c, x):
        c = knp.concatenate([x, c[:3] * 2])
        return c, knp.concatenate([c, x])

    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    f = knet.jit(lambda x: knet.scan(step, knp.zeros(5), x))
    assert not any("NumPy" in k for k in f.lower(knp.asarray(x)).kernels)
    c, ys = np.zeros(5, np.float32), []
    for row in x:
        c = np.concatenate([row, c[:3] * 2])
        ys.append(np.concatenate([c, row]))
    got = f(knp.asarray(x))
    np.testing.assert_array_equal(np.asarray(got[0]), c)
    np.testing.assert_array_equal(np.asarray(got[1]), np.stack(ys))
