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


ALL = CASES + [random_case(seed) for seed in range(45)]


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


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("lanes", [4, 8])
@pytest.mark.parametrize("case", ALL[:: len(ALL) // 12], ids=str)
def test_narrower_vectors(which, lanes, case, compile_kernel, guarded):
    kernel, inputs, body, shape = built(which, case, lanes=lanes)
    buffers = [*map(guarded, inputs), guarded(shape)]
    compile_kernel(kernel, 3)(*(b.array for b in buffers))
    assert_close(buffers[-1].array, body, inputs)
    assert all(b.untouched() for b in buffers)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize(("case", "threads"), [(c, 2 + i % 3) for i, c in enumerate(CASES + ALL[-8:])], ids=str)
def test_any_division_of_the_units_gives_the_same_bits(which, threads, case, compile_kernel, guarded):
    kernel, inputs, body, shape = built(which, case, threads=threads)
    program = compile_kernel(kernel, 3)
    results = []
    for runs, team in ((1, 1), (threads, threads), (2 * threads + 1, threads), (1, 1)):
        buffers = [*map(guarded, inputs), guarded(shape)]
        program(*(b.array for b in buffers), runs=runs, threads=team)
        results.append(buffers[-1].array.tobytes())
    assert len(set(results)) == 1
    assert_close(buffers[-1].array, body, inputs)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("shift", [4, 20, 60])
@pytest.mark.parametrize("case", CASES[:5] + CASES[9:11], ids=str)
def test_buffers_at_any_alignment(which, shift, case, compile_kernel, guarded):
    kernel, inputs, body, shape = built(which, case)
    buffers = [*(guarded(a, shift) for a in inputs), guarded(shape, shift)]
    assert any(b.array.ctypes.data % 64 for b in buffers)
    compile_kernel(kernel, 3)(*(b.array for b in buffers))
    assert_close(buffers[-1].array, body, inputs)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_infinities_reach_what_they_should_and_nothing_else(which, case, compile_kernel, guarded):
    kernel, (data, other), body, shape = built(which, case)
    data = data.copy()
    data[-1, -1].flat[[0, -1]] = np.inf
    data[0, 0].flat[data[0, 0].size // 2] = np.nan
    out = guarded(shape)
    compile_kernel(kernel, 3)(data, other, out.array)
    with np.errstate(invalid="ignore"):
        want = body(data.astype(np.float64), other.astype(np.float64))
    np.testing.assert_array_equal(np.isfinite(out.array), np.isfinite(want))


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_unit_touches_its_own_slabs_alone(which, case, compile_kernel):
    kernel, inputs, _, shape = built(which, case)
    program = compile_kernel(kernel, 3)
    arrays = [*inputs, np.full(shape, np.nan, np.float32)]
    program(*arrays)
    for number, phase in enumerate(kernel.phases):
        assert phase.rows or number == 0
        for unit in {0, phase.units // 2, phase.units - 1}:
            lonely = [np.full_like(a, np.nan) if i in phase.rows else a for i, a in enumerate(arrays)]
            slabs = {i: (a.reshape(phase.units, -1), lonely[i].reshape(phase.units, -1)) for i, a in enumerate(arrays)
                     if i in phase.rows}  # fmt: skip
            for i, (whole, own) in slabs.items():
                if i not in phase.writes:
                    own[unit] = whole[unit]
            if len(kernel.phases) == 1:  # others' scratch is not at hand
                program.one(number, lonely, unit)
                np.testing.assert_array_equal(slabs[2][1][unit], slabs[2][0][unit])
                assert np.isnan(np.delete(slabs[2][1], unit, 0)).all()


def test_few_images_are_divided_among_threads():
    x, w = (1, 16, 32, 32), (16, 16, 3, 3)
    params = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    for threads in (2, 4):
        forward = kernels.conv("k", x, w, threads=threads, **params)
        gradient = kernels.conv_input_grad("k", x, w, input_shape=x, threads=threads, **params)
        weights = kernels.conv_weight_grad("k", x, x, kernel_shape=w, threads=threads, **params)
        assert min(k.phases[0].units for k in (forward, gradient)) >= threads
        assert weights.phases[0].units >= 2


def test_unsupported_shapes_are_left_to_numpy():
    params = {"stride": (1, 1, 1), "padding": ((0, 0),) * 3, "dilation": (1, 1, 1), "groups": 1, "threads": 1}
    assert kernels.conv("k", (1, 2, 5, 5, 5), (3, 2, 2, 2, 2), **params) is None
    assert kernels.conv_input_grad("k", (1, 3, 4, 4, 4), (3, 2, 2, 2, 2), input_shape=(1, 2, 5, 5, 5), **params) is None
    kernel = kernels.conv_weight_grad("k", (1, 2, 5, 5, 5), (1, 3, 4, 4, 4), kernel_shape=(3, 2, 2, 2, 2), **params)
    assert kernel is None
