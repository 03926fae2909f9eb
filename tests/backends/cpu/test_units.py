"""The files of a program: each kernel is in one of them, and all of them together make a library."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from knet.backends.cpu.compiled import toolchain, units
from knet.backends.cpu.compiled.gemm import gemm
from knet.backends.cpu.compiled.kernel import Kernel, Phase

needs_compiler = pytest.mark.skipif(toolchain.available() is not None, reason=str(toolchain.available()))


def kernel(number, length=0):
    """A kernel that adds 2^number to y[0], in a text of some length."""
    name = f"k{number}"
    signature = "float *y, char *shared, char *own, long lo, long hi, int thread, int threads"
    text = f"static void {name}({signature}) {{ y[0] += {2**number}; }}\n" + " " * length
    return Kernel(text, (Phase(name, 1, (), (0,)),))


def piece(kernels):
    calls = " ".join(f"{p.function}((float *)b[0], 0, 0, 0, 1, 0, 1);" for k in kernels for p in k.phases)
    return f"void piece0(struct knet_team *team, int thread, void **b) {{ {calls} }}\n"


def run(texts):
    library = toolchain.build(texts, "units")
    y = np.zeros(1, np.float32)
    library.piece0(None, 0, (ctypes.c_void_p * 1)(y.ctypes.data))
    return y[0]


@needs_compiler
@pytest.mark.parametrize(("cores", "length", "files"), [(8, 0, 1), (1, 30_000, 1), (2, 30_000, 2), (8, 30_000, 6)])
def test_long_programs_are_divided_among_the_cores(monkeypatch, cores, length, files):
    monkeypatch.setattr(units, "_cores", lambda: cores)
    kernels = [kernel(i, length) for i in range(5)]
    texts = units.divide(kernels, [piece(kernels)])
    assert len(texts) == min(files, len(kernels))
    for k in kernels:
        assert sum(f"y[0] += {2 ** int(k.phases[0].function[1:])};" in t for t in texts) == 1
    assert run(texts) == 31


def test_kernels_of_one_kind_stand_together(monkeypatch):
    monkeypatch.setattr(units, "_cores", lambda: 2)
    products = [gemm(f"k{i}", m=100, n=100 + i, k=100) for i in range(10, 20)]
    nests = [kernel(i, 3000) for i in range(8)]
    mixed = [k for pair in zip(nests, products[:8], strict=True) for k in pair] + products[8:]
    first, second = units.divide(mixed, [])
    assert all(f"y[0] += {2**i};" in second and f"y[0] += {2**i};" not in first for i in range(8))
    assert "k10_block(const float" in first and "k10_block(const float" not in second


def test_equal_tiles_are_compiled_once():
    first, second = (gemm(f"k{i}", m=130, n=n, k=128) for i, n in enumerate((384, 512)))
    tiles = [
        {line.split()[1] for line in k.source.splitlines() if line.startswith("#ifndef gemm_")} for k in (first, second)
    ]
    assert tiles[0] & tiles[1]
