"""Programs of kernels compiled by NVRTC, kept on disk. Needs no device and no driver.

``cupy.RawModule`` is not used because it adds ``-ftz=true`` to whatever options it is given (``cupy/cuda/compiler.py``,
``_compile_with_cache_cuda``): float32 numbers below 1e-38 would become 0, which they do on no other backend.
"""

from __future__ import annotations

import hashlib
from collections import Counter

from cupy_backends.cuda.libs import nvrtc

from ...compiler import cache
from ...core import errors

# A product and a sum are not made one unless a kernel asks for it: values must not depend on what is fused.
OPTIONS = ("-std=c++17", "--fmad=false")

counters: Counter[str] = Counter()  # builds: programs compiled; those found on disk are not among them


def cubin(source: str, architecture: str, name: str) -> bytes:
    """The machine code of a program.

    Args:
      source: its text.
      architecture: "90" for compute capability 9.0.
      name: of the program, in messages.

    Raises:
      DeviceError: NVRTC reports an error; the notes have its messages and the text.
    """
    options = (f"-arch=sm_{architecture}", *OPTIONS)
    parts = (str(nvrtc.getVersion()), *options, source)
    key = hashlib.sha256("\0".join(f"{len(part)} {part}" for part in parts).encode()).hexdigest()
    return cache.kept(key, ".cubin", lambda: compiled(source, options, name))


def compiled(source: str, options: tuple[str, ...], name: str) -> bytes:
    """As :func:`cubin`, without the disk."""
    counters["builds"] += 1
    program = nvrtc.createProgram(source, f"{name}.cu", (), ())
    try:
        try:
            nvrtc.compileProgram(program, options)
        except nvrtc.NVRTCError as e:
            messages = nvrtc.getProgramLog(program)
            first = next((line for line in messages.splitlines() if "error" in line), str(e))
            notes = f"options: {' '.join(options)}\n{messages}\n{source}"
            release = ".".join(map(str, nvrtc.getVersion()))
            raise errors.device_compilation(f"NVRTC {release}", name, first.strip(), notes) from None
        return nvrtc.getCUBIN(program)
    finally:
        nvrtc.destroyProgram(program)
