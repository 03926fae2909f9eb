"""Moving arrays between NumPy and a device, with as few copies and as little waiting as the device allows."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np

from .devices import cl
from .memory import Memory

_SMALL = (
    4 << 20
)  # up to here a driver for CPUs fills a new buffer faster than a used one of the pool: measured with PoCL
_COPIED = 64 << 10  # below that, mapping costs as much as a copy, and keeps a block of the pool
_WAITING = 64 << 20  # bytes of arrays that are kept for copies in the queue


class Transfers:
    """Copies to and from one device.

    Args:
      shared: whether the device works in the host's memory, as CPUs do.
    """

    def __init__(self, queue: Any, memory: Memory, shared: bool) -> None:
        self._queue = queue
        self._memory = memory
        self._shared = shared
        self._lock = threading.Lock()
        self._waiting: deque[Any] = deque()  # (event, which keeps the array; bytes)
        self._bytes = 0

    def upload(self, array: np.ndarray[Any, Any]) -> Any:
        """Memory with the contents of an array, which may change when this returns."""
        if not array.nbytes:
            return self._memory.allocate(1)
        host = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        if self._shared and host.nbytes <= _SMALL:
            memory = self._memory.filled(host)
            if memory is not None:
                return memory
        memory = self._memory.allocate(host.nbytes)
        if self._shared:
            cl.enqueue_copy(self._queue, memory, host, is_blocking=True)
        else:
            self._send(memory, host.copy() if np.may_share_memory(host, array) else host)
        return memory

    def _send(self, memory: Any, host: np.ndarray[Any, Any]) -> None:
        """Queue a copy of an array that nobody else has, so that Python need not wait for what is queued before it."""
        done = cl.command_execution_status.COMPLETE
        with self._lock:
            event = cl.enqueue_copy(self._queue, memory, host, is_blocking=False)
            self._waiting.append((event, host.nbytes))
            self._bytes += host.nbytes
            while self._bytes > _WAITING or (self._waiting and self._waiting[0][0].command_execution_status == done):
                event, nbytes = self._waiting.popleft()
                event.wait()
                self._bytes -= nbytes

    def download(self, memory: Any, offset: int, nbytes: int) -> np.ndarray[Any, Any]:
        """Bytes of a piece of memory, once everything queued before is done; in place where the memory is shared."""
        if self._shared and nbytes >= _COPIED:
            return np.asarray(_Mapped(self._queue, memory, offset, nbytes))
        out = np.empty(nbytes, np.uint8)
        if nbytes:
            cl.enqueue_copy(self._queue, out, memory, src_offset=offset, is_blocking=True)
        return out


class _Mapped:
    """A piece of memory as the host sees it. The array that NumPy makes of it keeps it, and it keeps the memory.

    It stays mapped as long: kernels may read it then, and nothing writes, since arrays are immutable and what is
    donated must have no other holder.
    """

    __slots__ = ("__array_interface__", "_array", "_memory")

    def __init__(self, queue: Any, memory: Any, offset: int, nbytes: int) -> None:
        self._memory = memory
        self._array, _ = cl.enqueue_map_buffer(
            queue, memory, cl.map_flags.READ, offset, (nbytes,), np.uint8, is_blocking=True
        )
        self.__array_interface__ = {**self._array.__array_interface__, "data": (self._array.ctypes.data, True)}

    def __del__(self) -> None:
        self._array = None  # unmapped before the memory can return to the pool
