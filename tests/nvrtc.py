"""NVIDIA's run-time compiler, which needs no GPU: whether a text is CUDA C++."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from knet.compiler.kernels.kernel import Kernel

ARCHITECTURES = ("sm_75", "sm_90")


@functools.cache
def _compiler():
    """CuPy's binding; where it or the compiler is absent the test is skipped, or fails if KNET_REQUIRE names cuda."""
    try:
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()
    except Exception as e:  # each way to fail is a reason
        report = pytest.fail if "cuda" in os.environ.get("KNET_REQUIRE", "").split(",") else pytest.skip
        report(f"NVRTC is absent: {type(e).__name__}: {e}".splitlines()[0])
    return nvrtc


def _includes():
    """The folder of CUDA's own headers, as an option."""
    try:
        import nvidia
    except ImportError:
        return []
    found = [path for root in nvidia.__path__ for path in Path(root).glob("*/include")]
    return [f"-I{path}" for path in found if (path / "cuda_fp16.h").exists()]


def compile(source: str, arch: str = "sm_90", options: tuple[str, ...] = ()) -> bytes:  # noqa: A001
    """Machine code of a CUDA text.

    Raises:
      AssertionError: the compiler reports an error; its log is the message.
    """
    nvrtc = _compiler()
    program = nvrtc.createProgram(source, "kernels.cu", [], [])
    try:
        nvrtc.compileProgram(program, [f"-arch={arch}", "-w", *_includes(), *options])
    except nvrtc.NVRTCError as e:
        raise AssertionError(f"{e}: {nvrtc.getProgramLog(program)}") from None
    return nvrtc.getCUBIN(program)


EVERY = ("sm_75", "sm_80", "sm_90", "sm_100")  # Turing, Ampere, Hopper, Blackwell
TOGETHER = 64  # kernels of a program: each program reads the prelude anew
QUICK = ("-Xptxas=-O0",)  # the assembler's optimizations take most of the time, and refuse nothing


def complaints(kernels: Iterable[Kernel], arch: str, options: Sequence[str] = QUICK) -> list[str]:
    """What the compiler has to say of kernels, warnings too, as the CUDA backend has them compiled."""
    nvrtc = _compiler()
    from knet.backends.cuda.nvrtc import OPTIONS  # needs CuPy
    from knet.backends.cuda.runtime import program

    def told(group: Sequence[Kernel]) -> str:
        made = nvrtc.createProgram(program(group), "kernels.cu", [], [])
        try:
            nvrtc.compileProgram(made, [f"-arch={arch}", *OPTIONS, *options])
        except nvrtc.NVRTCError as e:
            return f"errors of {group[0].name} ... {group[-1].name}: {e}\n{nvrtc.getProgramLog(made)[:4000]}"
        finally:
            log = nvrtc.getProgramLog(made)
            nvrtc.destroyProgram(made)
        return f"warnings of {group[0].name} ... {group[-1].name}\n{log[:4000]}" if log.strip() else ""

    kernels = list(kernels)
    with ThreadPoolExecutor() as pool:  # the compiler does not hold Python's lock
        return list(filter(None, pool.map(told, [kernels[i : i + TOGETHER] for i in range(0, len(kernels), TOGETHER)])))
