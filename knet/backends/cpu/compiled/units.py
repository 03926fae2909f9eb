"""The C files of a program: kernels and the functions that call them, divided so that files compile side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence

from . import gemm, random, scalar, status, tiles
from .kernel import Kernel
from .team import HEADER

_SMALL = 24000  # characters of kernels in a file: for less, what two files both compile costs more than it saves
_EACH = 700  # characters that a kernel's functions cost before their first loop
# The functions that call kernels run once in a call: gcc takes for them at -O1 a quarter of the time of -O3.
_COLD = '__attribute__((optimize("O1"))) '
_APART = "__attribute__((noinline)) "  # else gcc puts kernels into the caller, or makes copies for its arguments


def divide(kernels: Sequence[Kernel], pieces: Sequence[str], head: str = "") -> list[str]:
    """The texts of a program's files.

    Args:
      kernels: whose phases the pieces call.
      pieces: texts of functions that begin with ``void``.
      head: text before the pieces.
    """
    calls = sum(map(len, pieces)) // 4
    kernels = sorted(kernels, key=_kind)  # the functions that kernels of one kind share are then in few files
    sizes = [len(k.source) + _EACH for k in kernels]
    total = calls + sum(sizes)
    count = max(1, min(_cores(), total // _SMALL, len(kernels)))
    files: list[list[Kernel]] = [[] for _ in range(count)]
    done = calls
    for kernel, size in zip(kernels, sizes, strict=True):
        files[min(count - 1, (done + size // 2) * count // total)].append(kernel)
        done += size
    texts = ["".join([preamble(file), *(_visible(k, count > 1) for k in file)]) for file in files]
    others = "".join(_declaration(k.source, p.function) for file in files[1:] for k in file for p in k.phases)
    texts[0] += "".join([others, head, *(_COLD + piece for piece in pieces)])
    return texts


def _kind(kernel: Kernel) -> int:
    """Which of the texts below a kernel needs."""
    return next((i for i, (_, word) in enumerate(_TEXTS) if word in kernel.source), len(_TEXTS))


_TEXTS = (  # text that kernels share, and what they call in it
    (gemm.PREAMBLE, "gemm_"),
    (tiles.PREAMBLE, "knet_f"),
    (status.PREAMBLE, "knet_row"),
    (random.PREAMBLE, "knet_philox"),
)


def preamble(kernels: Sequence[Kernel]) -> str:
    """What kernels' texts need before them."""
    text = "".join(k.source for k in kernels)
    parts = [scalar.INTEGER_HEADER, HEADER]
    parts += [part for part, word in _TEXTS if word in text]
    return "\n".join(parts) + "\n"


def _visible(kernel: Kernel, outside: bool) -> str:
    """A kernel's text with its phases as functions of their own, which other files can call if need be."""
    text = kernel.source
    storage = '__attribute__((visibility("hidden"))) ' if outside else "static "
    for phase in kernel.phases:
        text = text.replace(f"static void {phase.function}(", f"{storage}{_APART}void {phase.function}(")
    return text + "\n"


def _declaration(source: str, function: str) -> str:
    start = source.index(f"static void {function}(") + len("static ")
    return f'__attribute__((visibility("hidden"))) {source[start : source.index(")", start) + 1]};\n'


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
