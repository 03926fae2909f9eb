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


ALL = CASES + [random_case(seed) for seed in range(30)]


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


def every_kernel(case, threads):
    """(kernel, inputs, shape of the result) of the four."""
    x, y, g = values(case, "ties")
    params = {**parameters(case), "threads": threads}
    mean = {**params, "include_padding": False}
    yield kernels.max_pool("k", x.shape, **params), (x,), y.shape
    yield kernels.max_pool_grad("k", g.shape, x.shape, y.shape, **params), (g, x, y), x.shape
    yield kernels.avg_pool("k", x.shape, **mean), (x,), y.shape
    yield kernels.avg_pool_grad("k", g.shape, input_shape=x.shape, **mean), (g,), x.shape


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_unit_touches_its_own_slabs_alone(case, threads, compile_kernel, guarded):
    for kernel, inputs, shape in every_kernel(case, threads):
        program = compile_kernel(kernel, len(inputs) + 1)
        whole, (phase,) = guarded(shape), kernel.phases
        program(*inputs, whole.array)
        assert phase.units == case[0][0] * (case[0][1] if case[0][0] < threads else 1)
        assert phase.rows == tuple(range(len(inputs) + 1))
        for unit in {0, phase.units // 2, phase.units - 1}:
            lonely = [np.full_like(a, np.nan) for a in inputs]
            for a, b in zip(inputs, lonely, strict=True):
                b.reshape(phase.units, -1)[unit] = a.reshape(phase.units, -1)[unit]
            out = np.full(shape, np.nan, np.float32)
            program.one(0, [*lonely, out], unit)
            slabs = out.reshape(phase.units, -1)
            np.testing.assert_array_equal(slabs[unit], whole.array.reshape(phase.units, -1)[unit])
            assert np.isnan(np.delete(slabs, unit, 0)).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_any_division_and_alignment_gives_the_same_bits(case, compile_kernel, guarded):
    for kernel, inputs, shape in every_kernel(case, 2):
        program = compile_kernel(kernel, len(inputs) + 1)
        results = set()
        for runs, threads, shift in ((1, 1, 0), (2, 2, 4), (5, 2, 36)):
            buffers = [*(guarded(a, shift) for a in inputs), guarded(shape, shift)]
            program(*(b.array for b in buffers), runs=runs, threads=threads)
            results.add(buffers[-1].array.tobytes())
        assert len(results) == 1


def test_unsupported_shapes_are_left_to_numpy():
    params = {"window": (2, 2, 2), "stride": (2, 2, 2), "padding": ((0, 0),) * 3, "threads": 1}
    x, y = (1, 2, 4, 4, 4), (1, 2, 2, 2, 2)
    assert kernels.max_pool("k", x, **params) is None
    assert kernels.max_pool_grad("k", y, x, y, **params) is None
    assert kernels.avg_pool("k", x, include_padding=True, **params) is None
    assert kernels.avg_pool_grad("k", y, input_shape=x, include_padding=True, **params) is None
