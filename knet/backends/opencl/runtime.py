"""One OpenCL device at work: memory from a pool, compiled kernels, and an in-order queue."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...compiler.kernels.kernel import Extent, Kernel
from ...compiler.kernels.prelude import prelude
from ...core import errors
from .devices import Choice, cl, find_devices, target_of
from .failures import decoded
from .memory import Memory
from .programs import Function, build, set_pointer


class Prepared:
    """A launch whose arguments are set: ``run`` queues it, ``set`` replaces the memory behind one pointer.

    For one thread at a time. It holds the memory that it was given.
    """

    __slots__ = ("_groups", "_kernel", "_memories", "_name", "_runtime", "_items")

    def __init__(
        self,
        runtime: OpenCLRuntime,
        function: Function,
        groups: Extent,
        pointers: Sequence[tuple[Any, int]],
        numbers: Sequence[Any],
    ) -> None:
        self._runtime = runtime
        self._name = function.name
        self._kernel = function.another()
        self._groups = groups
        self._items = function.items
        self._memories = [memory for memory, _ in pointers]
        function.set(self._kernel, pointers, numbers)

    def run(self) -> None:
        """Queue it; nothing to do if it has no groups."""
        if 0 in self._groups:
            return
        runtime = self._runtime
        try:
            cl.enqueue_nd_range_kernel(
                runtime.queue, self._kernel, self._groups, self._items, None, None, g_times_l=True
            )
        except cl.Error as e:
            raise decoded(e, runtime.name, f"launching {self._name}") from e
        runtime.launched += 1

    def set(self, i: int, memory: Any, offset: int = 0) -> None:
        """Let pointer ``i`` begin at an element of another piece of memory, from the next ``run`` on."""
        set_pointer(self._kernel, i, memory, offset)
        self._memories[i] = memory


class OpenCLRuntime:
    """One device: memory, kernels, and a queue in which work is done in order while Python goes on.

    See :class:`knet.compiler.device.runtime.Runtime`.
    """

    def __init__(self, choice: Choice) -> None:
        self.device: Any = None  # Knet's, which the backend tells
        self.status: Any = None
        self.pending = False
        self.name = str(choice)
        self.target = target_of(choice.device)
        self.launched = 0
        self.copied = 0
        try:
            self.context = cl.Context([choice.device])
            self.queue = cl.CommandQueue(self.context)
        except cl.Error as e:
            raise decoded(e, self.name, "opening the device") from e
        self.memory = Memory(self.context, self.queue, choice.device, self.name)
        self.allocate = self.memory.allocate
        self._functions: dict[str, Function] = {}
        self._lock = threading.RLock()  # a kernel's arguments are its state: set and queued by one thread at a time
        _opened.add(self)

    # --- kernels ---

    def functions(self, kernels: Sequence[Kernel]) -> list[Function]:
        with self._lock:
            new = {kernel.name: kernel for kernel in kernels if kernel.name not in self._functions}
            if new:
                self._functions.update(build(self.context, self.name, prelude("opencl", self.target.doubles, self.target.loops), list(new.values())))
        return [self._functions[kernel.name] for kernel in kernels]

    def launch(
        self, function: Function, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]
    ) -> None:
        if 0 in groups:
            return
        kernel = function.kernel
        with self._lock:
            try:
                function.set(kernel, pointers, numbers)
                cl.enqueue_nd_range_kernel(self.queue, kernel, groups, function.items, None, None, g_times_l=True)
            except cl.Error as e:
                raise decoded(e, self.name, f"launching {function.name}") from e
            self.launched += 1

    def prepare(
        self, function: Function, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]
    ) -> Prepared:
        """A launch whose arguments are set once, on a kernel object of its own."""
        return Prepared(self, function, groups, pointers, numbers)

    # --- arrays ---

    def upload(self, array: np.ndarray[Any, Any]) -> Any:
        host = np.ascontiguousarray(array)
        memory = self.allocate(host.nbytes)
        if host.nbytes:
            try:
                cl.enqueue_copy(self.queue, memory, host.reshape(-1).view(np.uint8), is_blocking=True)
            except cl.Error as e:
                raise decoded(e, self.name, f"copying {host.nbytes} bytes to it") from e
        self.copied += 1
        return memory

    def download(self, memory: Any, offset: int, nbytes: int) -> np.ndarray[Any, Any]:
        out = np.empty(nbytes, np.uint8)
        if nbytes:
            try:
                cl.enqueue_copy(self.queue, out, memory, src_offset=offset, is_blocking=True)
            except cl.Error as e:
                raise decoded(e, self.name, f"copying {nbytes} bytes from it") from e
        self.copied += 1
        return out

    def synchronize(self) -> None:
        try:
            self.queue.finish()
        except cl.Error as e:
            raise decoded(e, self.name, "waiting for it") from e

    def memory_used(self) -> int:
        return self.memory.used

    def memory_held(self) -> int:
        return self.memory.held

    def memory_limit(self) -> int | None:
        return self.memory.limit

    def set_memory_limit(self, nbytes: int | None) -> None:
        self.memory.limit = nbytes

    def free_memory(self) -> None:
        self.memory.free()


_opened: weakref.WeakSet[OpenCLRuntime] = weakref.WeakSet()


@functools.cache
def runtimes() -> list[OpenCLRuntime]:
    """A runtime for each device, in the order of their numbers. Probes the drivers when first called."""
    return [OpenCLRuntime(choice) for choice in find_devices()]
