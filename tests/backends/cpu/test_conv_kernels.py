"""C kernels of convolution against the primitives' NumPy bodies in float64, in buffers with guards around them."""

from __future__ import annotations

import numpy as np
import pytest

from knet.backends.cpu.compiled import conv as kernels
from knet.core.ops import conv as ops

EPS = np.finfo(np.float32).eps

# (x shape, w shape, stride, padding, dilation, groups): what models use, and the corners of the generators.
CASES = [
    ((3, 1, 28, 28), (20, 1, 5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((3, 20, 12, 12), (50, 20, 5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((2, 3, 32, 32), (16, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((2, 16, 32, 32), (16, 16, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((2, 16, 32, 32), (32, 16, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
    ((2, 32, 16, 16), (64, 32, 1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    ((2, 64, 8, 8), (64, 64, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((2, 8, 10, 10), (8, 8, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((1, 1, 28, 28), (20, 1, 5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((2, 24, 14, 14), (24, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 24),
    ((2, 24, 15, 15), (48, 1, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 24),
    ((1, 3, 40, 40), (8, 3, 7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1), 1),
    ((5, 7, 2, 2), (3, 7, 2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((2, 8, 60, 61), (9, 8, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((2, 40, 30, 61), (9, 40, 3, 3), (2, 1), ((1, 1), (1, 1)), (1, 2), 1),
    ((3, 4, 50), (6, 4, 5), (1,), ((2, 2),), (1,), 1),
    ((3, 4, 50), (6, 2, 3), (2,), ((1, 0),), (3,), 2),
]


def random_case(seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2, 3]))
    inner, depth = int(rng.integers(1, 10)), int(rng.integers(1, 12)) * groups
    if seed % 5 == 0:
        groups, inner, depth = 6, 1, 6 * int(rng.integers(1, 3))
    window = tuple(int(k) for k in rng.integers(1, 5, 2))
    stride = tuple(int(k) for k in rng.integers(1, 4, 2))
    dilation = tuple(int(k) for k in rng.choice([1, 1, 2, 3], 2))
    padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 4, (2, 2)))
    sizes = tuple(
        max(1, d * (k - 1) + 1 - sum(p)) + int(rng.integers(0, 30))
        for d, k, p in zip(dilation, window, padding, strict=True)
    )
    n = int(rng.choice([1, 2, 3, 5]))
    return (n, groups * inner, *sizes), (depth, inner, *window), stride, padding, dilation, groups


ALL = CASES + [random_case(seed) for seed in range(60)]


def operands(case, seed=0):
    """x, w, g in float32."""
    x_shape, w_shape, *_ = case
    rng = np.random.default_rng(seed)
    params = parameters(case)
    out = ops.output_sizes(x_shape[2:], w_shape[2:], params["stride"], params["padding"], params["dilation"])
    shapes = x_shape, w_shape, (x_shape[0], w_shape[0], *out)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def parameters(case):
    return dict(zip(("stride", "padding", "dilation", "groups"), case[2:], strict=True))


def built(which, case, threads=1, lanes=None):
    """(kernel, inputs, reference body with its arguments in float64, shape of the result)."""
    x, w, g = operands(case)
    params = parameters(case)
    made = {"threads": threads, "lanes": lanes, **params}
    if which == "conv":
        return kernels.conv("k", x.shape, w.shape, **made), (x, w), lambda *a: ops.conv.body(*a, **params), g.shape
    if which == "input_grad":
        kernel = kernels.conv_input_grad("k", g.shape, w.shape, input_shape=x.shape, **made)
        return kernel, (g, w), lambda *a: ops.conv_input_grad.body(*a, input_shape=x.shape, **params), x.shape
    kernel = kernels.conv_weight_grad("k", x.shape, g.shape, kernel_shape=w.shape, **made)
    return kernel, (x, g), lambda *a: ops.conv_weight_grad.body(*a, kernel_shape=w.shape, **params), w.shape


def assert_close(got, body, inputs):
    """Within the rounding of a sum: the error is at most about eps times the sum of magnitudes."""
    wide = [a.astype(np.float64) for a in inputs]
    want, magnitude = body(*wide), body(*map(np.abs, wide))
    terms = 4 + max(a.size for a in inputs) ** 0.5
    assert np.isfinite(got).all()
    assert np.all(np.abs(got - want) <= EPS * terms * magnitude + 1e-30)


WHICH = ["conv", "input_grad", "weight_grad"]


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("case", ALL, ids=str)
def test_values(which, case, compile_kernel, guarded):
    kernel, inputs, body, shape = built(which, case)
    program = compile_kernel(kernel, 3)
    buffers = [*map(guarded, inputs), guarded(shape)]
    program(*(b.array for b in buffers))
    assert_close(buffers[-1].array, body, inputs)
    assert all(b.untouched() for b in buffers)
