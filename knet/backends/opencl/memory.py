"""Memory of a device: PyOpenCL's pool, a limit, and what is said when there is none left."""

from __future__ import annotations

import gc
from typing import Any

from ...compiler.device.memory import environment_limit
from ...core import errors
from .devices import cl


class Memory:
    """The pool of a device. Blocks that are no longer used are kept for the next arrays.

    A block may be used again while kernels that were given it before are still waiting: the queue works in order.

    Attributes:
      limit: bytes that may be held, or None.
    """

    def __init__(self, context: Any, queue: Any, device: Any, name: str) -> None:
        self.pool = cl.tools.MemoryPool(cl.tools.ImmediateAllocator(queue))
        self.name = name
        self.largest = device.max_mem_alloc_size
        self.total = device.global_mem_size
        self.limit = environment_limit(self.total)

    def allocate(self, nbytes: int) -> Any:
        """A block of at least one byte, which returns to the pool when nothing refers to it any more."""
        memory = self._take(nbytes)
        if memory is None:
            gc.collect()  # cycles of garbage may hold arrays
            self.free()
            memory = self._take(nbytes)
        if memory is None:
            raise self._failure(nbytes)
        return memory

    def _take(self, nbytes: int) -> Any:
        if nbytes > self.largest or (self.limit is not None and self.pool.active_bytes + nbytes > self.limit):
            return None
        try:
            memory = self.pool.allocate(nbytes or 1)
        except cl.Error:
            return None
        if self.limit is not None and self.pool.managed_bytes > self.limit:
            self.pool.free_held()
            if self.pool.managed_bytes > self.limit:
                return None
        return memory

    def _failure(self, nbytes: int) -> Exception:
        return errors.out_of_memory(
            f"OpenCL device {self.name}", nbytes, self.used, self.held, self.limit, self.largest, self.total
        )

    @property
    def used(self) -> int:
        """Bytes of the blocks that arrays use."""
        return self.pool.active_bytes

    @property
    def held(self) -> int:
        """Bytes taken from the driver: those in use and those kept."""
        return self.pool.managed_bytes

    def free(self) -> None:
        """Give the blocks that are not in use back to the driver."""
        self.pool.free_held()
