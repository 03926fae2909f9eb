"""The way from the host to the device: through pinned memory, from which the device fetches while Python goes on."""

from __future__ import annotations

import threading
from typing import Any

import cupy
import numpy as np
from cupy_backends.cuda.api import runtime as api

BLOCK = 4 << 20  # bytes of a block; what is larger goes through several
BLOCKS = 4


class Staging:
    """Blocks of pinned memory, filled one after the other in a ring.

    A block is written again only when the copies out of it are done, so the host waits for the device only when it is
    ``BLOCKS - 1`` blocks ahead. Small arrays share a block.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._blocks: list[Any] = []  # (pinned memory, the same as an array, event behind the copies out of it)
        self._at = 0  # number of the block in use
        self._used = 0  # bytes of it

    def send(self, target: int, array: np.ndarray[Any, Any]) -> None:
        """Queue the copy of an array in row-major order to an address; the array may change when this returns."""
        data = array.reshape(-1).view(np.uint8)
        with self._lock:
            start = 0
            while start < data.size:
                block, free = self._room(min(data.size - start, BLOCK))
                size = min(data.size - start, free)
                pinned, view, _ = block
                view[self._used : self._used + size] = data[start : start + size]
                api.memcpyAsync(target + start, pinned.ptr + self._used, size, api.memcpyHostToDevice, self._stream.ptr)
                self._used += -(-size // 64) * 64
                start += size

    def _room(self, wanted: int) -> tuple[Any, int]:
        """A block with room for some bytes, and how many it has room for."""
        if self._blocks and self._used + wanted > BLOCK:
            self._blocks[self._at][2].record(self._stream)
            self._at = (self._at + 1) % BLOCKS
            self._used = 0
            if self._at < len(self._blocks):
                self._blocks[self._at][2].synchronize()
        if self._at == len(self._blocks):
            pinned = cupy.cuda.alloc_pinned_memory(BLOCK)
            view = np.frombuffer(pinned, np.uint8, BLOCK)
            self._blocks.append((pinned, view, cupy.cuda.Event(disable_timing=True)))
        return self._blocks[self._at], BLOCK - self._used
