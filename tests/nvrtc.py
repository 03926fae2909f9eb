"""NVIDIA's run-time compiler, which needs no GPU: whether a text is CUDA C++."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

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
