"""Memory of a device: PyOpenCL's pool, a limit, and what is said when there is none left."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np

from ...compiler.device.memory import environment_limit
from ...core import errors
from .devices import cl

_READ_WRITE = cl.mem_flags.READ_WRITE
_LARGE = 1 << 20
_BITS = 7  # that blocks of one size share: they are at most 1/128 larger than what is asked for


class Memory:
    """The pool of a device. Blocks that are no longer used are kept for the next arrays.

    A block may be used again while kernels that were given it before are still waiting: the queue works in order.

    Attributes:
      limit: bytes that may be held, or None.
      largest: bytes that the device gives in one piece.
      total: bytes of the device. Where they are the host's (``shared``) that is a bound as well: the system promises
        more than there is, and ends the process that uses it.
    """

    def __init__(self, context: Any, queue: Any, device: Any, name: str, shared: bool) -> None:
        self._context = context
        self._pool = cl.tools.MemoryPool(cl.tools.ImmediateAllocator(queue), _BITS)
        self._outside: dict[int, int] = {}  # bytes of buffers beside the pool
        self._name = name
        self.largest: int = device.max_mem_alloc_size
        self.total: int = device.global_mem_size
        self._limit = environment_limit(self.total)
        self._bound = self.total if shared else None

    @property
    def limit(self) -> int | None:
        return self._limit

    @limit.setter
    def limit(self, nbytes: int | None) -> None:
        self._limit = nbytes
        if nbytes is not None and self.held > nbytes:
            self.free()

    def allocate(self, nbytes: int) -> Any:
        """A block of at least one byte, which returns to the pool when nothing refers to it any more.

        Raises:
          OutOfMemory: even after cycles of garbage were collected and unused blocks given back.
        """
        memory = self._take(nbytes)
        if memory is None and nbytes <= self.largest:
            gc.collect()
            self.free()
            memory = self._take(nbytes)
        if memory is None:
            raise errors.out_of_memory(
                f"OpenCL device {self._name}", nbytes, self.used, self.held, self._limit, self.largest, self.total
            )
        return memory

    def filled(self, host: np.ndarray[Any, Any]) -> Any:
        """A block beside the pool with the contents of an array; None if the driver has none, or a limit is set.

        The driver copies before it returns, whatever is queued: nothing can be using a new block. Blocks of the pool
        can be in use by kernels that are still waiting.
        """
        if self._limit is not None:
            return None
        try:
            return _Block(self._outside, self._context, _READ_WRITE | cl.mem_flags.COPY_HOST_PTR, 0, host)
        except cl.Error:
            return None

    def _take(self, nbytes: int) -> Any:
        limit = self._limit
        if limit is not None or nbytes > _LARGE:  # the others are not worth a sum
            bound = limit if limit is not None else self._bound
            if nbytes > self.largest or (bound is not None and self.used + nbytes > bound):
                return None
        try:
            if nbytes > _LARGE and self._pool.alloc_size(self._pool.bin_number(nbytes)) > self.largest:
                return _Block(self._outside, self._context, _READ_WRITE, nbytes)  # the pool would round it up
            memory = self._pool.allocate(nbytes or 1)
        except cl.Error:
            return None
        if limit is not None and self.held > limit:
            self.free()  # of what the pool kept, not what it gave now
            if self.held > limit:
                del memory
                self.free()
                return None
        return memory

    @property
    def used(self) -> int:
        """Bytes of the blocks that something refers to."""
        return self._pool.active_bytes + sum([*self._outside.values()])

    @property
    def held(self) -> int:
        """Bytes taken from the driver: those in use and those kept."""
        return self._pool.managed_bytes + sum([*self._outside.values()])

    def free(self) -> None:
        """Give the blocks that are not in use back to the driver."""
        self._pool.free_held()


class _Block(cl.Buffer):
    """A buffer beside the pool. It is counted in a dict, not by a number: threads and destructors interrupt sums."""

    def __init__(self, counted: dict[int, int], *args: Any) -> None:
        super().__init__(*args)
        self._counted = counted
        counted[id(self)] = self.size

    def __del__(self) -> None:
        counted = getattr(self, "_counted", None)  # absent where there was no memory to make it of
        if counted is not None:
            counted.pop(id(self), None)
