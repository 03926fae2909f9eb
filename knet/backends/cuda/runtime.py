"""One CUDA device: memory from CuPy's pool, kernels from NVRTC, one stream in which everything is done in order."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import cupy
import numpy as np
from cupy.cuda import memory
from cupy_backends.cuda.api import driver
from cupy_backends.cuda.api import runtime as api

from ...compiler.device.limit import limit_in_bytes
from ...compiler.kernels.kernel import Extent, Kernel
from ...compiler.kernels.prelude import DIALECTS
from ...compiler.kernels.target import Target
from ...core import errors
from . import nvrtc
from .launch import Function, Prepared, Scratch
from .staging import Staging


class CudaRuntime:
    """See :class:`knet.compiler.device.runtime.Runtime`. Memory is a ``cupy.cuda.MemoryPointer``.

    The stream is not CuPy's current one and does not wait for the default stream; arrays from other libraries come and
    go through ``exchange.py``, which orders the streams. Memory that Python gives up may be handed out again while
    kernels that use it are queued: those that get it are queued behind them.

    Attributes:
      index: number of the device.
      queue: the stream's handle.
      launched, copied, allocated, replayed: kernels queued one by one, arrays moved between host and device, pieces of
        memory handed out, and graphs replayed; for tests.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.launched = self.copied = self.allocated = self.replayed = 0
        self._thread = _Thread()
        self._scratch = Scratch()
        self._lock = threading.RLock()
        self._functions: dict[str, Function] = {}
        with self.current():
            self.stream = cupy.cuda.Stream(non_blocking=True)
            self.queue: int = self.stream.ptr
            self.architecture: str = cupy.cuda.Device(index).compute_capability
            self.total_memory: int = api.memGetInfo()[1]
            self.target = Target(
                dialect="cuda",
                loops=False,
                items=256,
                units=api.deviceGetAttribute(api.cudaDevAttrMultiProcessorCount, index),
                local_bytes=api.deviceGetAttribute(api.cudaDevAttrMaxSharedMemoryPerBlock, index),
            )
        self._pool = cupy.cuda.MemoryPool()
        self._staging = Staging(self.stream)
        self.set_memory_limit(os.environ.get("KNET_MEMORY_LIMIT"))

    @property
    def name(self) -> str:
        """Name of the device: "NVIDIA H200"."""
        return api.getDeviceProperties(self.index)["name"].decode()

    # --- the thread's device -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Context in which the device is the thread's current one, as CUDA demands for whatever is done with it."""
        before = api.getDevice()
        # Also where it is the current one already: in a new thread that is a number without a context behind it.
        api.setDevice(self.index)
        self._thread.known = True
        try:
            yield
        finally:
            if before != self.index:
                api.setDevice(before)

    @property
    def is_current(self) -> bool:
        """Whether the device is the thread's current one."""
        return self._thread.known and api.getDevice() == self.index

    # --- memory ------------------------------------------------------------------------------------------------------

    def allocate(self, nbytes: int) -> Any:
        """Memory of at least one byte; the pool gives back what it does not use and tries again before it gives up."""
        with self.current():
            self.allocated += 1
            try:
                return self._pool.malloc(max(1, nbytes))
            except memory.OutOfMemoryError:
                cupy.get_default_memory_pool().free_all_blocks()  # what CuPy's own arrays left
            try:
                return self._pool.malloc(max(1, nbytes))
            except memory.OutOfMemoryError:
                free = api.memGetInfo()[0]
        raise errors.out_of_memory(
            f"cuda:{self.index}", nbytes, self.memory_used(), self.memory_held(), self.memory_limit(), free
        )

    def memory_used(self) -> int:
        """Bytes of the arrays that are alive, rounded up as the pool does."""
        with self.current():
            return self._pool.used_bytes()

    def memory_held(self) -> int:
        """Bytes that the pool has from the device, used and unused."""
        with self.current():
            return self._pool.total_bytes()

    def memory_limit(self) -> int:
        """Bytes that the pool may have, 0 without a limit."""
        with self.current():
            return self._pool.get_limit()

    def set_memory_limit(self, limit: int | float | str | None) -> None:
        """Set what the pool may have: bytes, "2GiB", "80%", or None for no limit."""
        with self.current():
            self._pool.set_limit(size=limit_in_bytes(limit, self.total_memory))

    def free_memory(self) -> None:
        """Give the pool's unused blocks back to the device."""
        with self.current():
            self._pool.free_all_blocks()

    # --- kernels -----------------------------------------------------------------------------------------------------

    def functions(self, kernels: Sequence[Kernel]) -> list[Function]:
        """A function for each kernel; those not yet known are compiled as one program."""
        with self._lock:
            new = {kernel.name: kernel for kernel in kernels if kernel.name not in self._functions}
            if new:
                self._load(list(new.values()))
            return [self._functions[kernel.name] for kernel in kernels]

    def _load(self, kernels: list[Kernel]) -> None:
        source = program(kernels)
        code = nvrtc.cubin(source, self.architecture, kernels[0].name)
        with self.current():
            module = cupy.cuda.function.Module()
            module.load(code)
            for kernel in kernels:
                self._functions[kernel.name] = Function(kernel, driver.moduleGetFunction(module.ptr, kernel.name), module)

    def launch(
        self, function: Function, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]
    ) -> None:
        """Queue a kernel once."""
        arguments = self._scratch.arguments
        function.fill(arguments, pointers, numbers)
        if self.is_current:
            driver.launchKernel(function.handle, *groups, *function.items, 0, self.queue, arguments.table, 0)
        else:
            with self.current():
                driver.launchKernel(function.handle, *groups, *function.items, 0, self.queue, arguments.table, 0)
        self.launched += 1

    def prepare(
        self, function: Function, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]
    ) -> Prepared:
        """A launch for many runs."""
        return Prepared(self, driver.launchKernel, function, groups, pointers, numbers)

    # --- copies ------------------------------------------------------------------------------------------------------

    def upload(self, array: np.ndarray[Any, Any]) -> Any:
        """Memory with the contents of an array in row-major order. The array may change when this returns."""
        target = self.allocate(array.nbytes)
        self.copied += 1
        with self.current():
            self._staging.send(target.ptr, np.ascontiguousarray(array))
        return target

    def download(self, source: Any, offset: int, nbytes: int) -> np.ndarray[Any, Any]:
        """``nbytes`` bytes of a piece of memory from byte ``offset`` on, once everything queued before is done."""
        out = np.empty(nbytes, np.uint8)
        self.copied += 1
        with self.current():
            if nbytes:
                api.memcpyAsync(out.ctypes.data, source.ptr + offset, nbytes, api.memcpyDeviceToHost, self.queue)
            api.streamSynchronize(self.queue)
        return out

    def copy(self, target: Any, source: Any, nbytes: int) -> None:
        """Queue a copy within the device."""
        if nbytes:
            with self.current():
                api.memcpyAsync(target.ptr, source.ptr, nbytes, api.memcpyDeviceToDevice, self.queue)

    def synchronize(self) -> None:
        """Wait for everything queued."""
        with self.current():
            api.streamSynchronize(self.queue)


class _Thread(threading.local):
    """Whether a thread has made a runtime's device current once."""

    known = False


def program(kernels: Sequence[Kernel]) -> str:
    """The text of a program: the prelude, then the kernels."""
    return DIALECTS["cuda"] + "\n".join(kernel.source for kernel in kernels)
