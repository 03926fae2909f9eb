"""C kernels of pooling against the primitives' NumPy bodies, in buffers with guards around them."""

from __future__ import annotations

import numpy as np
import pytest

from knet.backends.cpu.compiled import pool as kernels
from knet.core.ops import pool as ops

KINDS = ("plain", "ties", "special")
EPS = np.finfo(np.float32).eps

# (x shape, window, stride, padding): what models use, and the corners of the generators.
CASES = [
    ((3, 20, 24, 24), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((3, 50, 8, 8), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((2, 3, 9, 11), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((2, 4, 28, 28), (3, 3), (2, 2), ((1, 1), (1, 1))),
    ((2, 4, 15, 33), (3, 3), (1, 1), ((1, 1), (1, 1))),
    ((1, 6, 14, 14), (3, 3), (3, 3), ((0, 0), (0, 0))),
    ((2, 3, 8, 8), (8, 8), (8, 8), ((0, 0), (0, 0))),
    ((2, 3, 7, 40), (7, 20), (1, 7), ((0, 0), (0, 0))),
    ((2, 3, 17), (3,), (2,), ((1, 0),)),
    ((4, 2, 1), (1,), (1,), ((0, 0),)),
]


def random_case(seed):
    rng = np.random.default_rng(seed)
    window = tuple(int(k) for k in rng.integers(1, 6, 2))
    stride = window if seed % 4 == 0 else tuple(int(k) for k in rng.integers(1, 5, 2))
    padding = tuple((int(rng.integers(0, k)), int(rng.integers(0, k))) for k in window)
    if seed % 3 == 0:
        padding = ((0, 0), (0, 0))
    sizes = tuple(max(1, k - sum(p)) + int(rng.integers(0, 25)) for k, p in zip(window, padding, strict=True))
    return (int(rng.integers(1, 4)), int(rng.integers(1, 5)), *sizes), window, stride, padding


ALL = CASES + [random_case(seed) for seed in range(60)]


def parameters(case):
    return dict(zip(("window", "stride", "padding"), case[1:], strict=True))


def values(case, kind):
    """x, y and g. kind "ties" has few different values, "special" NaN, infinities and signed zeros among them."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal(case[0]).astype(np.float32)
    if kind == "ties":
        x = np.round(x)
    if kind == "special":
        odd = np.array([np.nan, -np.inf, -np.inf, np.inf, 0.0, -0.0], np.float32)
        x = np.where(rng.random(x.shape) < 0.7, rng.choice(odd, x.shape), x)
    y = ops.max_pool.body(x, **parameters(case))
    return x, y, rng.standard_normal(y.shape).astype(np.float32)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_max_pool(case, compile_kernel, guarded):
    program = compile_kernel(kernels.max_pool("k", case[0], **parameters(case), threads=1), 2)
    for kind in KINDS:
        x, y, _ = values(case, kind)
        buffers = guarded(x), guarded(y.shape)
        program(*(b.array for b in buffers))
        np.testing.assert_array_equal(buffers[-1].array, y)
        assert all(b.untouched() for b in buffers)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_max_pool_grad(case, compile_kernel, guarded):
    y_shape = values(case, "plain")[1].shape
    kernel = kernels.max_pool_grad("k", y_shape, case[0], y_shape, **parameters(case), threads=1)
    program = compile_kernel(kernel, 4)
    for kind in KINDS:
        x, y, g = values(case, kind)
        buffers = guarded(g), guarded(x), guarded(y), guarded(x.shape)
        program(*(b.array for b in buffers))
        want = ops.max_pool_grad.body(g.astype(np.float64), x, y, **parameters(case))
        np.testing.assert_allclose(buffers[-1].array, want, rtol=0, atol=EPS * 25 * np.abs(g).max())
        assert all(b.untouched() for b in buffers)


@pytest.mark.parametrize("include_padding", [True, False])
@pytest.mark.parametrize("case", ALL, ids=str)
def test_avg_pool(case, include_padding, compile_kernel, guarded):
    x, y, _ = values(case, "plain")
    params = {**parameters(case), "include_padding": include_padding}
    program = compile_kernel(kernels.avg_pool("k", x.shape, **params, threads=1), 2)
    buffers = guarded(x), guarded(y.shape)
    program(*(b.array for b in buffers))
    want = ops.avg_pool.body(x.astype(np.float64), **params)
    bound = EPS * (2 + sum(case[1])) * ops.avg_pool.body(np.abs(x).astype(np.float64), **params)
    assert np.all(np.abs(buffers[-1].array - want) <= bound)
    assert all(b.untouched() for b in buffers)


@pytest.mark.parametrize("include_padding", [True, False])
@pytest.mark.parametrize("case", ALL, ids=str)
def test_avg_pool_grad(case, include_padding, compile_kernel, guarded):
    x, _, g = values(case, "plain")
    params = {**parameters(case), "include_padding": include_padding, "input_shape": x.shape}
    program = compile_kernel(kernels.avg_pool_grad("k", g.shape, **params, threads=1), 2)
    buffers = guarded(g), guarded(x.shape)
    program(*(b.array for b in buffers))
    want = ops.avg_pool_grad.body(g.astype(np.float64), **params)
    bound = EPS * (2 + sum(case[1])) * ops.avg_pool_grad.body(np.abs(g).astype(np.float64), **params)
    assert np.all(np.abs(buffers[-1].array - want) <= bound)
    assert all(b.untouched() for b in buffers)
