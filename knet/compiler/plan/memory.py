"""Places of buffers in a program's workspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..layout import Buffer
from .items import Begin, End

_ALIGN = 64


def place(steps: Sequence[Any]) -> int:
    """Give each work buffer an offset such that buffers alive at one time do not overlap; returns the bytes needed."""
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    open_: list[tuple[int, int]] = []  # loops around a step: their first step and the one after their last
    ends = ends_of(steps)
    for i, step in enumerate(steps):
        if isinstance(step, Begin):
            open_.append((i, ends[i])) if not isinstance(step, End) else open_.pop()
        for buffer in step.buffers:
            if buffer.kind == "work":
                first.setdefault(buffer, i)
                last[buffer] = i
                for start, end in open_:  # what comes from before a loop is needed until its end
                    if first[buffer] <= start:
                        last[buffer] = max(last[buffer], end)
    # Large ones first: small ones fit into the gaps.
    placed: list[Buffer] = []
    total = 0
    for buffer in sorted(first, key=lambda b: (-b.nbytes, first[b])):
        taken = sorted(
            (b.place, b.place + rounded(b.nbytes))
            for b in placed
            if first[b] <= last[buffer] and first[buffer] <= last[b]
        )
        offset, size = 0, rounded(buffer.nbytes)
        for start, stop in taken:
            if offset + size <= start:
                break
            offset = max(offset, stop)
        buffer.place = offset
        total = max(total, offset + size)
        placed.append(buffer)
    return total


def ends_of(steps: Sequence[Any]) -> dict[int, int]:
    """Number of the End step of each Begin step."""
    ends: dict[int, int] = {}
    stack: list[int] = []
    for i, step in enumerate(steps):
        if isinstance(step, End):
            ends[stack.pop()] = i
        elif isinstance(step, Begin):
            stack.append(i)
    return ends


def rounded(nbytes: int) -> int:
    """Bytes that a buffer takes up."""
    return -(-max(nbytes, 1) // _ALIGN) * _ALIGN
