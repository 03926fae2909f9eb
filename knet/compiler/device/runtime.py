"""What a backend's runtime does for the kernels of one device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..kernels.kernel import Extent, Kernel
from ..kernels.target import Target


class Runtime(Protocol):
    """One device: memory, kernels, and a queue in which work is done in order while Python goes on.

    ``launched`` counts kernels, ``copied`` arrays moved between host and device, for tests.
    """

    target: Target
    launched: int
    copied: int

    def allocate(self, nbytes: int) -> Any:
        """Memory of at least one byte, from the pool; given back to it when nothing refers to it any more.

        Raises:
          OutOfMemory: after the pool's unused blocks were given back and a second try.
        """

    def functions(self, kernels: Sequence[Kernel]) -> list[Any]:
        """A function for each kernel; those not yet known are compiled as one program."""

    def launch(
        self, function: Any, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]
    ) -> None:
        """Queue a kernel.

        Args:
          pointers: (memory, offset in elements) of each array.
          numbers: Python numbers, which become ``Kernel.numbers``.
        """

    def prepare(
        self, function: Any, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]
    ) -> Any:
        """A launch to be repeated: ``run()`` queues it, ``set(i, memory, offset)`` exchanges an array."""

    def upload(self, array: np.ndarray[Any, Any]) -> Any:
        """Memory with the contents of an array in row-major order. The array may change when this returns."""

    def download(self, memory: Any, offset: int, nbytes: int) -> bytearray | np.ndarray[Any, Any]:
        """Bytes of a piece of memory, once everything queued before is done."""

    def synchronize(self) -> None:
        """Wait for everything queued."""

    def memory_used(self) -> int:
        """Bytes of what ``allocate`` and ``upload`` gave and something still refers to."""

    def memory_held(self) -> int:
        """Bytes taken from the driver: those in use, and those kept for what is allocated next."""

    def memory_limit(self) -> int | None:
        """Bytes that may be held, or None; at first what ``KNET_MEMORY_LIMIT`` says."""

    def set_memory_limit(self, limit: int | str | None) -> None:
        """Set it: see ``memory.parse_limit``; None for no limit."""

    def free_memory(self) -> None:
        """Give the blocks that are not in use back to the driver."""
