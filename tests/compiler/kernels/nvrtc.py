"""Kernels compiled as CUDA C++ by NVRTC, which needs neither a GPU nor a driver: ``pip install "knet[nvrtc]"``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("cupy", reason='compiles kernels without a GPU: pip install "knet[nvrtc]"')

from cupy_backends.cuda.libs import nvrtc

from knet.backends.cuda.nvrtc import OPTIONS
from knet.backends.cuda.runtime import program
from knet.compiler.kernels.kernel import Kernel

ARCHITECTURES = ("75", "80", "90", "100")
TOGETHER = 64  # kernels of a program: each program reads the prelude anew
# The assembler's optimizations take most of the time and refuse nothing.
QUICK = ("-Xptxas=-O0",)


def compile(source: str, architecture: str, options: Sequence[str] = QUICK) -> tuple[str, bytes]:  # noqa: A001
    """(messages, machine code) of a text; the machine code is empty if it is wrong."""
    made = nvrtc.createProgram(source, "kernels.cu", (), ())
    try:
        nvrtc.compileProgram(made, (f"-arch=sm_{architecture}", *OPTIONS, *options))
        return nvrtc.getProgramLog(made), nvrtc.getCUBIN(made)
    except nvrtc.NVRTCError as e:
        return nvrtc.getProgramLog(made) or str(e), b""
    finally:
        nvrtc.destroyProgram(made)


def complaints(kernels: Iterable[Kernel], architecture: str, options: Sequence[str] = QUICK) -> list[str]:
    """What NVRTC has to say of kernels: errors and warnings."""
    kernels = list(kernels)
    groups = [kernels[i : i + TOGETHER] for i in range(0, len(kernels), TOGETHER)]
    with ThreadPoolExecutor() as pool:
        done = pool.map(lambda group: compile(program(group), architecture, options), groups)
        return [_told(group, log, code) for group, (log, code) in zip(groups, done, strict=True) if log or not code]


def _told(group: Sequence[Kernel], log: str, code: bytes) -> str:
    return f"{'warnings' if code else 'errors'} of {group[0].name} ... {group[-1].name}:\n{log[:4000]}"
