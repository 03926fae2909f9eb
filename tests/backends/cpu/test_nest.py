"""Loop nests: special numbers, every dtype, partial sums of threads, passes over rows, orders of the loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from adversary import team_of

import knet
import knet.numpy as knp
from knet import nn
from knet.backends.cpu.compiled import toolchain
from knet.backends.cpu.compiled.nest import nest
from knet.compiler.fuse import Cluster, fuse
from knet.compiler.layout import Buffer, Ref, nbytes_of

pytestmark = pytest.mark.skipif(toolchain.available() is not None, reason=str(toolchain.available()))


def host(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype("float32")


def run(f, *arrays, kernels=None):
    """Results of a compiled function that has no operation by NumPy, as NumPy arrays."""
    args = [knp.asarray(a) for a in arrays]
    jitted = knet.jit(f)
    found = jitted.lower(*args).kernels
    assert found and not any("NumPy" in k for k in found), found
    assert kernels is None or len(found) == kernels, found
    return [np.asarray(y) for y in knet.tree.leaves(jitted(*args))]


def close(got, want, rtol=1e-5):
    for g, w in zip(got, want, strict=True):
        w = np.asarray(w)
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * float(np.max(np.abs(w), initial=0)))


# --- special numbers --------------------------------------------------------------------------------------------------

SPECIAL = np.array([1.0, -0.0, 0.0, np.inf, -np.inf, np.nan, -2.5, 1e-45, 3e38], np.float32)
OF_ONE = {
    "relu": nn.relu,
    "maximum": lambda x: knp.maximum(x, 0.0),
    "minimum": lambda x: knp.minimum(x, 1.0),
    "where": lambda x: knp.where(x > 0, x, -1.0),
    "compared": lambda x: (x == x, x < 1, x != 0, knp.isnan(x), knp.isinf(x), knp.signbit(x)),
    "signs": lambda x: (-x, knp.abs(x), knp.copysign(x, -x)),
    "rounded": lambda x: (knp.floor(x), knp.round(x), knp.sqrt(knp.abs(x))),
    "logical": lambda x: (knp.logical_not(x), knp.logical_and(x, x > 0)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OF_ONE)
def test_special_numbers_pass_through(name, dtype):
    x = np.tile(SPECIAL.astype(dtype), 5)  # in vectors, and in what is left over at the end
    want = [np.asarray(y) for y in knet.tree.leaves(OF_ONE[name](knp.asarray(x)))]
    for g, w in zip(run(OF_ONE[name], x), want, strict=True):
        np.testing.assert_array_equal(g, w)
        kept = np.isfinite(w) & ((w != 0) | (name != "relu"))  # relu(-0.0) is a zero of either sign
        np.testing.assert_array_equal(np.signbit(g[kept]), np.signbit(w[kept]))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 7, 33, 100])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_a_special_number_anywhere_reaches_the_reduction(special, size, threads, monkeypatch):
    team_of(threads, monkeypatch)
    x = np.tile(host(size), (size, 1))
    for i in {0, size // 2, size - 1}:
        x[i, i] = special
    with np.errstate(invalid="ignore"):
        want = [g(x, axis) for axis in (0, 1, None) for g in (np.max, np.min)]
        sums = [np.sum(x, axis) for axis in (0, 1, None)]
    got = run(lambda x: [g(x, axis=a) for a in (0, 1, None) for g in (knp.max, knp.min)], x)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_array_equal(g, w)
    for g, w in zip(run(lambda x: [knp.sum(x, axis=a) for a in (0, 1, None)], x), sums, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-4)


def test_extremes_of_infinities_and_of_nothing_but_nan():
    x = np.full((3, 40), -np.inf, np.float32)
    x[1] = np.nan
    x[2] = np.inf
    for f, g in ((knp.max, np.max), (knp.min, np.min)):
        np.testing.assert_array_equal(run(lambda x, f=f: f(x, axis=1), x)[0], g(x, 1))
    y = run(lambda x: nn.softmax(x, axis=1), np.where(x == np.inf, 1, x))[0]
    np.testing.assert_allclose(y[2], 1 / 40, rtol=1e-6)
    assert np.isnan(y[1]).all()


# --- dtypes -----------------------------------------------------------------------------------------------------------

WHOLE = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.mark.parametrize("dtype", WHOLE)
def test_integers_wrap_as_numpy_s(dtype):
    info = np.iinfo(dtype)
    x = np.array([info.max, info.min, 1, 0, info.max - 1, info.min + 1, 5] * 5, dtype)
    y = x[::-1].copy()
    got = run(lambda x, y: (x + y, x - y, x * y, -x, x * x, knp.maximum(x, y), x < y, x == y), x, y)
    want = (x + y, x - y, x * y, -x, x * x, np.maximum(x, y), x < y, x == y)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype
        np.testing.assert_array_equal(g, w)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_sums_and_extremes_of_integers(dtype):
    x = np.random.default_rng(0).integers(-1000, 1000, (7, 9)).astype(dtype)
    got = run(lambda x: (x.sum(0), x.sum(), x.max(1), x.min(), (x > 0).astype(dtype).sum(1)), x)
    for g, w in zip(got, (x.sum(0), x.sum(), x.max(1), x.min(), (x > 0).sum(1)), strict=True):
        np.testing.assert_array_equal(g, w)


CASTS = ["bool", "float32", "float64", "int32", "int64", "uint8"]


@pytest.mark.parametrize(("old", "new"), [*itertools.permutations(CASTS, 2)])
def test_casts_are_numpy_s(old, new):
    x = np.array([0, 1, 2, 100, 7, 0] * 7, "float64").astype(old)
    np.testing.assert_array_equal(run(lambda x: x.astype(new), x)[0], x.astype(new))


# --- reductions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("axes", [a for n in range(4) for a in itertools.combinations(range(3), n)])
def test_any_axes_may_be_added_up_and_used_again(axes, threads, monkeypatch):
    team_of(threads, monkeypatch)
    x = host(3, 4, 5)
    want = [x.sum(axes), x.max(axes, keepdims=True), x - x.mean(axes, keepdims=True)]
    close(run(lambda x: x.sum(axes), x), want[:1])
    close(run(lambda x: x.max(axes, keepdims=True), x), want[1:2])
    close(run(lambda x: x - x.mean(axes, keepdims=True), x), want[2:])
    t = x.transpose(2, 0, 1)  # the loops follow memory, not the order of axes
    close(run(lambda x: (x.transpose(2, 0, 1) * 2).sum(axes), x), [(t * 2).sum(axes)])


@pytest.mark.parametrize("shape", [(50, 1), (1, 50), (1, 1), (9, 1, 1)])
def test_axes_of_size_one(shape):
    x = host(*shape)
    e = np.exp(x)
    axes = tuple(range(1, len(shape)))
    f = lambda x: (knp.exp(x) - knp.exp(x).max(axes, keepdims=True)) * x + knp.exp(x).sum(axes, keepdims=True)  # noqa: E731
    close(run(f, x), [(e - e.max(axes, keepdims=True)) * x + e.sum(axes, keepdims=True)])


@pytest.mark.parametrize("length", [1, 15, 16, 17, 1000])
def test_rows_in_several_passes_keep_what_is_dear(length):
    x = host(6, length)
    e = np.exp(x - x.max(1, keepdims=True))
    got = run(lambda x: nn.softmax(knp.tanh(x) + x, axis=1), x, kernels=1)
    t = np.tanh(x) + x
    t = np.exp(t - t.max(1, keepdims=True))
    close(got, [t / t.sum(1, keepdims=True)])
    # A value of the first pass that is returned is read back, and not computed a second time.
    f = lambda e: (e, e / e.sum(1, keepdims=True))  # noqa: E731
    close(run(lambda x: f(knp.exp(x - x.max(1, keepdims=True))), x, kernels=1), f(e))


def clusters(f, *arrays):
    graph = knet.jit(f).lower(*map(knp.asarray, arrays)).graph
    return [
        c for c in fuse(graph, lambda n: n.op.pointwise or n.op.name.startswith("reduce")) if isinstance(c, Cluster)
    ]


def kernel_of(f, *arrays, threads=2):
    """The kernel of a function that is one cluster, with dense operands."""
    (cluster,) = clusters(f, *arrays)
    inputs = [x for node in cluster.nodes for x in node.values if x not in cluster.axes]
    refs = {x: Ref(Buffer("input", i, nbytes_of(x), x.dtype), x.shape) for i, x in enumerate(dict.fromkeys(inputs))}
    y = cluster.nodes[-1].results[0]
    return nest("k0", cluster, refs, {y: Ref(Buffer("output", 0, nbytes_of(y), y.dtype), y.shape)}, threads)


def test_what_a_kernel_tells_of_itself():
    (phase,) = kernel_of(lambda x: knp.exp(x) * 2, host(8, 6)).phases
    assert (phase.reads, phase.writes, phase.rows, phase.divisible) == ((0,), (1,), (0, 1), True)
    assert 8 % phase.units == 0 or phase.units % 8 == 0
    kernel = kernel_of(lambda x: x.sum(0), host(8, 6), threads=3)
    assert [p.function for p in kernel.phases] == ["k0_clear", "k0", "k0_add"]
    assert [p.private for p in kernel.phases] == [True, True, False] and kernel.shared == 3 * 64
    assert kernel.same == () and kernel_of(lambda x: x * 2, host(8)).same == ((0, 1),)
    kernel = kernel_of(lambda x: nn.softmax(knp.exp(x), axis=1), host(8, 100))
    assert kernel.own == 896 and kernel.source.count("exp") == 2  # rows of both are kept, each is computed once
    assert kernel.phases[0].rows == (0, 1) and kernel.phases[0].units == 8


def test_results_take_the_turn_s_inputs_before_they_are_written():
    source = kernel_of(lambda x: x * 2 + x.T * 0 + x * x, host(5, 5)).source
    writes = [i for i, line in enumerate(source.splitlines()) if line.strip().startswith("y0[")]
    reads = [i for i, line in enumerate(source.splitlines()) if "a0[" in line or "a1[" in line]
    assert len(writes) == 1 and max(reads) < writes[0]
