"""Donated inputs whose memory takes a result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..layout import Buffer
from .items import HostCall
from .loops import Loop


def share(items: Sequence[Any], donated: Sequence[int]) -> dict[int, int]:
    """Output -> the donated input in whose memory it may be written; buffers are marked so (``Buffer.shares``).

    A result may take an input's place if the one launch that writes it reads each element right before, and nothing
    reads the input later.
    """
    last_reader: dict[Buffer, int] = {}
    writers: dict[Buffer, list[int]] = {}
    for number, item in enumerate(items):
        for buffer in _touched(item):
            last_reader[buffer] = number
        for buffer in _written(item):
            writers.setdefault(buffer, []).append(number)
    shared: dict[int, int] = {}
    free = set(donated)
    for number, item in enumerate(items):
        if isinstance(item, (HostCall, Loop)):
            continue
        for i, j in item.same:
            x, y = item.operands[i].buffer, item.operands[j].buffer
            if x.kind != "input" or y.kind != "output" or x.number not in free or y.shares is not None:
                continue
            # Another view of the input would find elements that are written already.
            if any(ref.buffer is x and (k, j) not in item.same for k, ref in enumerate(item.operands)):
                continue
            if x.nbytes == y.nbytes and last_reader[x] == number and writers[y] == [number]:
                y.shares = x
                shared[y.number] = x.number
                free.discard(x.number)
    return shared


def _touched(item: Any) -> Iterator[Buffer]:
    yield from item.buffers
    if isinstance(item, Loop):
        for inner in item.items:
            yield from _touched(inner)


def _written(item: Any) -> set[Buffer]:
    return set(item.buffers) if isinstance(item, Loop) else item.written
