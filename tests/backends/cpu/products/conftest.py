"""A C compiler and guarded memory for tests of generated kernels: nothing outside of a buffer is read or written."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import subprocess

import numpy as np
import pytest

FLAGS = "-std=gnu11 -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast -Wall -Wno-unused-function -shared -fPIC"
PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
CANARY = np.float32(-123.25)


class Guarded:
    """Memory of a float32 array between two pages that cannot be touched, at the end of the space or at its beginning.

    What remains of the space holds canaries. ``offset`` moves the array by so many floats from its place.
    """

    def __init__(self, size: int, *, at_end: bool, offset: int = 0):
        space = -(-(size + offset) * 4 // PAGE) * PAGE or PAGE
        self.map = mmap.mmap(-1, space + 2 * PAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        for page in (base, base + PAGE + space):
            assert LIBC.mprotect(page, PAGE, 0) == 0
        self.whole = np.frombuffer(self.map, np.float32, space // 4, PAGE)
        self.whole[:] = CANARY
        start = space // 4 - size - offset if at_end else offset
        self.array = self.whole[start : start + size]
        self.before, self.after = self.whole[:start], self.whole[start + size :]

    def intact(self) -> bool:
        """Whether nothing was written outside of the array."""
        return bool((self.before == CANARY).all() and (self.after == CANARY).all())


class Program:
    """Kernels of one C file, called phase by phase."""

    def __init__(self, preamble, kernels, directory, march="native"):
        text = [preamble, *(kernel.source for kernel in kernels)]
        for kernel in kernels:
            for phase in kernel.phases:
                text.append(
                    f"__typeof__(&{phase.function}) entry_{phase.function}(void) {{ return {phase.function}; }}\n"
                )
        source = directory / "kernels.c"
        source.write_text("".join(text))
        library = directory / "kernels.so"
        command = [os.environ.get("CC", "cc"), *FLAGS.split(), f"-march={march}", str(source), "-o", str(library)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        self.library = ctypes.CDLL(str(library))

    def run(self, kernel, arrays, runs=None):
        """Calls each phase on runs of its units: by default on all at once."""
        shared, own = (Guarded(-(-size // 64) * 16, at_end=True) for size in (kernel.shared, kernel.own))
        for scratch in (shared, own):
            scratch.array[:] = np.nan  # scratch is not initialised
        for phase in kernel.phases:
            entry = getattr(self.library, f"entry_{phase.function}")
            entry.restype = ctypes.c_void_p
            pointers = [ctypes.c_void_p] * (len(arrays) + 2)
            function = ctypes.CFUNCTYPE(None, *pointers, ctypes.c_long, ctypes.c_long, ctypes.c_int, ctypes.c_int)(
                entry()
            )
            bounds = [0, phase.units] if runs is None else runs(phase)
            for lo, hi in itertools.pairwise(bounds):
                address = [x.ctypes.data for x in (*arrays, shared.array, own.array)]
                function(*address, lo, hi, 0, 1)
        assert shared.intact() and own.intact()


@pytest.fixture
def build(tmp_path):
    """Builder of a program from a preamble and kernels."""
    return lambda preamble, kernels, march="native": Program(preamble, kernels, tmp_path, march)


@pytest.fixture
def guarded():
    """Maker of guarded arrays."""
    return Guarded
