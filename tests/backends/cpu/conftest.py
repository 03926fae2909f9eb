"""C kernels, compiled and called alone: as many runs, threads and guarded buffers as a test asks for."""

from __future__ import annotations

import ctypes
import mmap
import shutil
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.backends.cpu.compiled.kernel import Kernel
from knet.backends.cpu.compiled.tiles import PREAMBLE

FLAGS = "-std=gnu11 -O3 -march=native -fno-math-errno -fno-trapping-math -ffp-contract=fast -shared -fPIC".split()
WARNINGS = "-Wall -Wextra -Werror -Wno-unused-parameter".split()
PAGE = mmap.PAGESIZE


class Guarded:
    """A float32 array whose last byte is the last of a page, with a page behind it that may not be touched.

    `shift` bytes stay free between its end and the page's, so that its beginning has any alignment wanted.
    """

    def __init__(self, shape: Sequence[int], shift: int = 0):
        size = int(np.prod(shape)) * 4
        pages = -(-(size + shift) // PAGE) + 1
        self.memory = mmap.mmap(-1, (pages + 1) * PAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        assert mprotect(base + pages * PAGE, PAGE, 0) == 0
        start = pages * PAGE - size - shift
        whole = np.frombuffer(self.memory, np.float32, pages * PAGE // 4)
        whole.fill(np.nan)  # what stands before the array must not be used either
        self.canary = whole[: start // 4]
        self.array = whole[start // 4 : start // 4 + size // 4].reshape(shape)

    def untouched(self) -> bool:
        """Whether all numbers in front of the array are as they were."""
        return bool(np.isnan(self.canary).all())


class Program:
    """Functions of one kernel. Calling it runs its phases one after the other, each on the runs given."""

    def __init__(self, kernel: Kernel, library: ctypes.CDLL):
        self.kernel, self.library = kernel, library

    def __call__(self, *operands: np.ndarray, runs: int = 1, threads: int = 1) -> None:
        """Run all phases; the units of each are cut into `runs` parts, of which thread i % threads does the i-th."""
        shared = _scratch(self.kernel.shared)
        own = [_scratch(self.kernel.own) for _ in range(threads)]
        pointers = (ctypes.c_void_p * len(operands))(*(a.ctypes.data for a in operands))
        for number, phase in enumerate(self.kernel.phases):
            parts = min(runs, phase.units) if phase.divisible else min(threads, phase.units)
            cuts = [phase.units * i // parts for i in range(parts + 1)]
            for i in reversed(range(parts)):  # backwards: no run may count on an earlier one
                self.library[f"run_{number}"](
                    pointers, _address(shared), _address(own[i % threads]), ctypes.c_long(cuts[i]),
                    ctypes.c_long(cuts[i + 1]), i % threads, threads,
                )  # fmt: skip

    def one(self, number: int, operands: Sequence[np.ndarray], unit: int) -> None:
        """Run one unit of one phase."""
        pointers = (ctypes.c_void_p * len(operands))(*(a.ctypes.data for a in operands))
        shared, own = _scratch(self.kernel.shared), _scratch(self.kernel.own)
        self.library[f"run_{number}"](
            pointers, _address(shared), _address(own), ctypes.c_long(unit), ctypes.c_long(unit + 1), 0, 1
        )


def _scratch(size: int) -> np.ndarray:
    """Bytes at a multiple of 64, filled with NaN: scratch is not initialised."""
    raw = np.full(size // 4 + 32, np.nan, np.float32)
    shift = -raw.ctypes.data % 64 // 4
    return raw[shift : shift + size // 4 + 1]


def _address(a: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(a.ctypes.data)


def program_text(kernel: Kernel, operands: int) -> str:
    """C text of a library with the functions run_0, run_1, ... for the kernel's phases."""
    pointers = ", ".join(f"p[{i}]" for i in range(operands))
    wrappers = "\n".join(
        f"void run_{i}(float **p, char *shared, char *own, long lo, long hi, int thread, int threads)\n"
        f"{{ {phase.function}({pointers}, shared, own, lo, hi, thread, threads); }}"
        for i, phase in enumerate(kernel.phases)
    )
    return PREAMBLE + kernel.source + wrappers


@pytest.fixture(autouse=True)
def cpu_as_default(on_cpu):
    """The tests of the CPU are the same whatever the default is."""


@pytest.fixture(scope="session")
def compile_kernel(tmp_path_factory: pytest.TempPathFactory):
    """Function from a kernel and its number of operands to a callable program."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("needs gcc on Linux")
    folder = tmp_path_factory.mktemp("kernels")
    libraries: dict[str, ctypes.CDLL] = {}

    def compiled(kernel: Kernel, operands: int) -> Program:
        text = program_text(kernel, operands)
        if text in libraries:
            return Program(kernel, libraries[text])
        source, library = folder / f"k{len(libraries)}.c", folder / f"k{len(libraries)}.so"
        source.write_text(text)
        got = subprocess.run(
            ["gcc", *FLAGS, *WARNINGS, "-o", str(library), str(source)], capture_output=True, text=True
        )
        assert got.returncode == 0, got.stderr
        libraries[text] = ctypes.CDLL(str(library))
        return Program(kernel, libraries[text])

    return compiled


@pytest.fixture
def guarded():
    """Factory of guarded arrays: guarded(values) is a copy of an array, guarded(shape) uninitialised (NaN)."""
    return _guarded


def _guarded(values: np.ndarray | Sequence[int], shift: int = 0) -> Guarded:
    if isinstance(values, np.ndarray):
        buffer = Guarded(values.shape, shift)
        buffer.array[...] = values
        return buffer
    return Guarded(tuple(values), shift)


@pytest.fixture(params=[1, 2, 3])
def compiled(request, monkeypatch):
    """Result of a compiled function that has no operation by NumPy; for teams of 1, 2 and 3, all of whom work."""
    monkeypatch.setenv("KNET_NUM_THREADS", str(request.param))
    monkeypatch.setattr("knet.backends.cpu.compiled.program._ALONE", 0)
    monkeypatch.setattr("knet.backends.cpu.compiled.schedule._SMALL", 0)

    def run(f, *arrays):
        arrays = [knp.asarray(a) for a in arrays]
        f = knet.jit(f)
        kernels = f.lower(*arrays).kernels
        assert kernels, "nothing was compiled"
        assert not any("NumPy" in k for k in kernels), kernels
        return np.asarray(f(*arrays))

    return run
