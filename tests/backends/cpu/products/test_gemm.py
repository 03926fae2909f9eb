"""Generated matrix products against NumPy in float64: values, every flag, sub-runs, and the memory around buffers."""

from __future__ import annotations

import itertools
import math
import platform
from pathlib import Path

import numpy as np
import pytest

from knet.backends.cpu.compiled.gemm import PREAMBLE, gemm

EPS = 2.0**-24

X86 = platform.machine() in ("x86_64", "AMD64")


class Case:
    """Shapes and flags of one product, its arrays in guarded memory, and the value in float64."""

    def __init__(self, guarded, rng, *, m, n, k, batch=(), at_end=True, offset=0, fill=None, **flags):
        self.spec = {"m": m, "n": n, "k": k, "batch": batch, **flags}
        self.runs = None
        ta, tb = flags.get("transpose_a", False), flags.get("transpose_b", False)
        shapes = ((k, m) if ta else (m, k), (n, k) if tb else (k, n), (m, n))
        self.buffers, views = [], []
        for x, shape in zip("abc", shapes):
            ld = flags.get(f"ld{x}") or shape[1]
            dense = [shape[0] * ld * math.prod(batch[i + 1 :]) for i in range(len(batch))]
            strides = flags.get(f"strides_{x}") or dense
            empty = 0 in (*shape, *batch)
            last = sum((s - 1) * t for s, t in zip((*batch, *shape), (*strides, ld, 1)))
            buffer = guarded(0 if empty else last + 1, at_end=at_end, offset=offset)
            buffer.array[:] = rng.standard_normal(buffer.array.size)
            if fill:
                fill(x, buffer.array)
            self.buffers.append(buffer)
            if empty:
                views.append(np.zeros((*batch, *shape), np.float32))
            else:
                bytes_ = [4 * s for s in (*strides, ld, 1)]
                views.append(np.lib.stride_tricks.as_strided(buffer.array, (*batch, *shape), bytes_))
        a, b, self.c = views
        a, b = a.swapaxes(-1, -2) if ta else a, b.swapaxes(-1, -2) if tb else b
        a, b, before = (x.astype(np.float64) for x in (a, b, self.c))
        with np.errstate(invalid="ignore"):
            added = before if flags.get("accumulate") else np.zeros_like(before)
            self.expected = added + a @ b
            self.bound = (k + 2) * EPS * (np.abs(a) @ np.abs(b) + np.abs(added)) + 1e-37
        self.gaps = [buffer.array.copy() for buffer in self.buffers]

    def check(self):
        """The value is within the bound of k + 2 roundings; nothing else changed."""
        finite = np.isfinite(self.expected)
        np.testing.assert_array_equal(self.c[~finite].astype(np.float64), self.expected[~finite], str(self.spec))
        error = np.abs(self.c[finite] - self.expected[finite])
        assert (error <= self.bound[finite]).all(), (self.spec, np.max(error / self.bound[finite]))
        for buffer, before, changes in zip(self.buffers, self.gaps, (False, False, True)):
            assert buffer.intact(), self.spec
            if not changes:
                np.testing.assert_array_equal(buffer.array, before)
        written = np.zeros(self.buffers[2].array.size, bool)
        if written.size:
            offsets = (self.c.__array_interface__["data"][0] - self.buffers[2].array.ctypes.data) // 4
            index = np.lib.stride_tricks.as_strided(
                np.arange(written.size), self.c.shape, [2 * s for s in self.c.strides], writeable=False
            )
            written[index.ravel() + offsets] = True
        np.testing.assert_array_equal(self.buffers[2].array[~written], self.gaps[2][~written])


def pieces(rng, phase):
    """Bounds of up to four runs of a phase."""
    return sorted({0, phase.units, *(int(u) for u in rng.integers(0, phase.units + 1, size=3))})


def compute(build, cases, rng, march="native", threads=2, name="k"):
    """Runs each case's kernel, all of them from one program, in random sub-runs."""
    kernels = [gemm(f"{name}{i}", threads=threads, **case.spec) for i, case in enumerate(cases)]
    program = build(PREAMBLE, kernels, march)
    for case, kernel in zip(cases, kernels):
        program.run(kernel, [b.array for b in case.buffers], lambda phase: pieces(rng, phase))
        case.check()
    return program, kernels


def random_spec(rng):
    """A product of odd sizes, now and then long, wide, narrow, padded or batched."""
    m, n, k = (int(x) for x in rng.integers(1, 71, size=3))
    flags = {x: bool(rng.integers(2)) for x in ("transpose_a", "transpose_b", "accumulate")}
    match rng.integers(8):
        case 0:
            n = 1
        case 1:
            m = int(rng.integers(1, 9))
        case 2:
            k = int(rng.integers(300, 1200))
        case 3:
            n = int(rng.integers(70, 600))
        case 4:
            flags["batch"] = tuple(int(x) for x in rng.integers(1, 5, size=2))
        case 5:
            flags |= {"lda": 83, "ldb": 75, "ldc": 71}
        case 6:
            m = int(rng.integers(70, 300))
    return {"m": m, "n": n, "k": k, **flags}


@pytest.mark.parametrize("seed", range(3))
def test_random_shapes(build, guarded, seed):
    rng = np.random.default_rng(seed)
    cases = [
        Case(guarded, rng, at_end=bool(rng.integers(2)), offset=int(rng.integers(4)), **random_spec(rng))
        for _ in range(24)
    ]
    compute(build, cases, rng)


@pytest.mark.skipif(not X86, reason="instruction sets of x86")
@pytest.mark.parametrize("march", ["x86-64", "haswell"])
def test_other_vector_widths(build, guarded, march):
    if march == "haswell" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("no AVX2 here")
    rng = np.random.default_rng(7)
    compute(build, [Case(guarded, rng, **random_spec(rng)) for _ in range(16)], rng, march)


def test_every_flag(build, guarded):
    rng = np.random.default_rng(1)
    flags = itertools.product([False, True], repeat=3)
    cases = [
        Case(guarded, rng, m=37, n=45, k=29, transpose_a=ta, transpose_b=tb, accumulate=acc) for ta, tb, acc in flags
    ]
    compute(build, cases, rng)


def test_small_result_of_long_sums(build, guarded):
    rng = np.random.default_rng(2)
    cases = [
        Case(guarded, rng, m=m, n=n, k=k, transpose_a=True, transpose_b=tb, accumulate=acc, ldc=ldc)
        for m, n, k, tb, acc, ldc in (
            (25, 20, 5000, False, False, None),
            (25, 20, 5001, False, True, None),
            (7, 130, 4999, True, False, 133),
            (33, 90, 6001, False, False, None),
            (140, 20, 2001, False, False, 21),
            (130, 50, 1500, False, True, None),
            (300, 600, 1024, False, False, None),
        )
    ]
    _, kernels = compute(build, cases, rng)
    for kernel in kernels:
        assert kernel.phases[0].units == 2
        assert (kernel.phases[0].writes, kernel.phases[1].writes) == ((), (2,))


@pytest.mark.parametrize("threads", [1, 3])
def test_other_teams(build, guarded, threads):
    rng = np.random.default_rng(3)
    specs = [random_spec(rng) for _ in range(6)] + [{"m": 20, "n": 20, "k": 4500, "transpose_a": True}]
    compute(build, [Case(guarded, rng, **spec) for spec in specs], rng, threads=threads)


def test_empty(build, guarded):
    rng = np.random.default_rng(4)
    sizes = [(5, 7, 0), (0, 7, 5), (5, 0, 7), (0, 0, 0), (1, 1, 0), (40, 1, 0), (3, 40, 0), (40, 0, 20), (40, 50, 0)]
    flags = [{}, {"transpose_a": True}, {"transpose_b": True}, {"accumulate": True}]
    cases = [Case(guarded, rng, m=m, n=n, k=k, **f) for (m, n, k), f in itertools.product(sizes, flags)]
    cases.append(Case(guarded, rng, m=3, n=4, k=5, batch=(2, 0)))
    compute(build, cases, rng)


def test_strided_batch(build, guarded):
    rng = np.random.default_rng(5)
    heads = {"batch": (2, 3), "lda": 3 * 8, "ldb": 3 * 8, "strides_a": (5 * 24, 8), "strides_b": (7 * 24, 8)}
    cases = [
        Case(guarded, rng, m=5, n=7, k=8, transpose_b=True, **heads),  # queries times keys, heads interleaved
        Case(guarded, rng, m=33, n=20, k=9, batch=(6,), strides_b=(0,)),
        Case(guarded, rng, m=33, n=20, k=9, batch=(6,), strides_a=(0,)),
        Case(guarded, rng, m=33, n=20, k=9, batch=(2, 3), strides_b=(0, 180), transpose_a=True),
        Case(guarded, rng, m=33, n=20, k=9, batch=(3, 2), strides_b=(200, 0), transpose_b=True, accumulate=True),
        Case(guarded, rng, m=12, n=1, k=9, batch=(3,), transpose_a=True),
        Case(guarded, rng, m=12, n=1, k=9, batch=(3,), strides_b=(0,)),
        Case(guarded, rng, m=300, n=200, k=30, batch=(2,)),
        Case(guarded, rng, m=30, n=100, k=700, batch=(3,), strides_b=(0,), transpose_b=True),
    ]
    compute(build, cases, rng)


def test_infinities_and_nan_stay_where_they_belong(build, guarded):
    rng = np.random.default_rng(6)

    def fill(operand, x):
        x[rng.integers(x.size)] = {"a": np.inf, "b": np.nan, "c": 1}[operand]

    cases = [
        Case(guarded, rng, m=m, n=n, k=k, transpose_a=ta, transpose_b=tb, fill=fill)
        for m, n, k in ((19, 21, 13), (40, 1, 21), (60, 70, 410), (3, 50, 33))
        for ta, tb in itertools.product([False, True], repeat=2)
    ]
    compute(build, cases, rng)


def test_the_same_runs_give_the_same_bits(build, guarded):
    rng = np.random.default_rng(8)
    specs = [
        {"m": 100, "n": 70, "k": 500},
        {"m": 100, "n": 70, "k": 500, "transpose_a": True, "transpose_b": True},
        {"m": 4, "n": 200, "k": 90},
        {"m": 20, "n": 20, "k": 5000, "transpose_a": True},
    ]
    cases = [Case(guarded, rng, **spec) for spec in specs]
    program, kernels = compute(build, cases, rng)
    for case, kernel in zip(cases, kernels):
        in_pieces = case.c.copy()
        program.run(kernel, [b.array for b in case.buffers])
        at_once = case.c.copy()
        program.run(kernel, [b.array for b in case.buffers])
        np.testing.assert_array_equal(case.c, at_once)
        case.c[:] = in_pieces
        case.check()


def test_what_phases_say():
    forward = gemm("f", m=12800, n=1024, k=256)
    pack, rows = forward.phases
    assert (pack.reads, pack.writes, rows.rows, rows.units) == ((1,), (), (0, 2), 12800)
    assert gemm("t", m=784, n=64, k=100, transpose_a=True).phases[-1].rows == (2,)
    assert gemm("h", m=128, n=128, k=32, batch=(64,), transpose_b=True).phases[0].rows == (0, 1, 2)
    assert gemm("s", m=128, n=128, k=32, batch=(64,), strides_b=(0,)).phases[-1].rows == (0, 2)
    assert gemm("p", m=64, n=64, k=64, lda=80).phases[-1].rows == (2,)
    few = gemm("c", m=4, n=256, k=256)
    assert [(p.units, p.rows) for p in few.phases] == [(few.phases[0].units, ())]
    assert gemm("a", m=64, n=64, k=64, accumulate=True).phases[-1].reads == (0, 1, 2)
