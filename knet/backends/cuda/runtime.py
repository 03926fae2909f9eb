"""One CUDA device: memory from CuPy's pool, kernels from NVRTC, one stream in which everything is done in order."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import cupy
import numpy as np
from cupy.cuda import memory
from cupy_backends.cuda.api import driver
from cupy_backends.cuda.api import runtime as api

from ...compiler.device.memory import environment_limit, parse_limit
from ...compiler.kernels.kernel import Extent, Kernel
from ...compiler.kernels.prelude import prelude
from ...compiler.kernels.target import Target
from ...core import errors
from . import nvrtc
from .by_cupy import library_of
from .cublas import Blas
from .cudnn import PREFIX, ConvolutionFunction, Cudnn
from .launch import Function
from .products import PRODUCTS, product_function
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
        self.queue = 0
        self.launched = self.copied = self.allocated = self.replayed = 0
        self._thread = _Thread()
        self._lock = threading.RLock()
        self._capture_lock = threading.Lock()
        self._capture_stream: Any = None
        self._functions: dict[str, Any] = {}
        self.status: Any = None  # see knet.compiler.device.status
        self.pending = False
        self.device: Any = None
        self.cudnn = Cudnn(self)
        with self.current():
            self.stream = cupy.cuda.Stream(non_blocking=True)
            self.queue = self._thread.queue = self.stream.ptr
            self.architecture: str = cupy.cuda.Device(index).compute_capability
            self.total_memory: int = api.memGetInfo()[1]
            self.target = Target(
                dialect="cuda",
                loops=False,
                items=256,
                units=api.deviceGetAttribute(api.cudaDevAttrMultiProcessorCount, index),
                local_bytes=api.deviceGetAttribute(api.cudaDevAttrMaxSharedMemoryPerBlock, index),
                own={**PRODUCTS, **self.cudnn.generators},
                aside=library_of,
            )
        self._pool = cupy.cuda.MemoryPool()
        self._staging = Staging(self.stream)
        self.blas = Blas(self)
        self._limit(environment_limit(self.total_memory))

    def __repr__(self) -> str:
        return f"cuda:{self.index}"

    @property
    def name(self) -> str:
        """Name of the device: "NVIDIA H200"."""
        return api.getDeviceProperties(self.index)["name"].decode()

    # --- the thread's device -----------------------------------------------------------------------------------------

    def here(self) -> int:
        """The handle of the stream to queue in, if the device is the thread's current one; else 0."""
        return self._thread.queue if api.getDevice() == self.index else 0

    @contextlib.contextmanager
    def current(self) -> Iterator[int]:
        """Context in which the device is the thread's current one, as CUDA demands; the handle of the stream."""
        before = api.getDevice()
        # Also where it is the current one already: in a new thread that is a number without a context behind it.
        api.setDevice(self.index)
        thread = self._thread
        thread.queue = thread.queue or self.queue
        try:
            yield thread.queue
        finally:
            if before != self.index:
                api.setDevice(before)

    @contextlib.contextmanager
    def queueing_in(self, stream: Any) -> Iterator[None]:
        """Context in which this thread's launches go into another stream of the device."""
        with self.current() as before:
            self._thread.queue = stream.ptr
            try:
                yield
            finally:
                self._thread.queue = before

    @contextlib.contextmanager
    def capturing(self) -> Iterator[list[Any]]:
        """Context in which this thread's launches are recorded and not queued; the list then has the graph.

        They go into a stream of their own, so that other threads go on queueing meanwhile.
        """
        graphs: list[Any] = []
        with self._capture_lock, self.current():
            if self._capture_stream is None:
                self._capture_stream = cupy.cuda.Stream(non_blocking=True)
            stream = self._capture_stream
            self.blas.prepare_for(stream.ptr)
            self.cudnn.prepare_for(stream.ptr)
            with self.queueing_in(stream):
                stream.begin_capture()
                try:
                    yield graphs
                except BaseException:
                    with contextlib.suppress(api.CUDARuntimeError):
                        stream.end_capture()
                    raise
                graphs.append(stream.end_capture())

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
                total = self.total_memory
        used, held, limit = self.memory_used(), self.memory_held(), self.memory_limit()
        raise errors.out_of_memory(str(self), nbytes, used, held, limit, None, total)

    def memory_used(self) -> int:
        """Bytes of the arrays that are alive, rounded up as the pool does."""
        with self.current():
            return self._pool.used_bytes()

    def memory_held(self) -> int:
        """Bytes that the pool has from the device, used and unused."""
        with self.current():
            return self._pool.total_bytes()

    def memory_limit(self) -> int | None:
        """Bytes that the pool may have, None without a limit."""
        with self.current():
            return self._pool.get_limit() or None

    def set_memory_limit(self, limit: int | str | None) -> None:
        """Set what the pool may have: bytes, "2GiB", "80%", or None for no limit.

        Raises:
          ArgumentError: anything else.
        """
        self._limit(None if limit is None else parse_limit("set_memory_limit: limit", limit, self.total_memory))

    def _limit(self, nbytes: int | None) -> None:
        with self.current():
            self._pool.set_limit(size=nbytes or 0)

    def free_memory(self) -> None:
        """Give the pool's unused blocks back to the device."""
        with self.current():
            self._pool.free_all_blocks()

    # --- kernels -----------------------------------------------------------------------------------------------------

    def functions(self, kernels: Sequence[Kernel]) -> list[Any]:
        """A function for each kernel; those not yet known are compiled as one program."""
        with self._lock:
            new = {kernel.name: kernel for kernel in kernels if kernel.name not in self._functions}
            for name, kernel in new.items():
                if not kernel.source:
                    self._functions[name] = library_function(kernel)
            if written := [kernel for kernel in new.values() if kernel.source]:
                self._load(written)
            return [self._functions[kernel.name] for kernel in kernels]

    def _load(self, kernels: list[Kernel]) -> None:
        source = program(kernels)
        code = nvrtc.cubin(source, self.architecture, kernels[0].name)
        with self.current():
            module = cupy.cuda.function.Module()
            module.load(code)
            for kernel in kernels:
                self._functions[kernel.name] = Function(
                    kernel, driver.moduleGetFunction(module.ptr, kernel.name), module
                )

    def launch(
        self, function: Any, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]
    ) -> None:
        """Queue a kernel once."""
        function.launch(self, groups, pointers, numbers)

    def prepare(
        self, function: Any, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]
    ) -> Any:
        """A launch for many runs."""
        return function.prepare(self, groups, pointers, numbers)

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
    """The stream in which a thread queues; 0 before it first does."""

    queue = 0


def library_function(kernel: Kernel) -> Any:
    """What runs a kernel without a text: a call of a library."""
    return ConvolutionFunction(kernel) if kernel.name.startswith(PREFIX) else product_function(kernel)


def program(kernels: Sequence[Kernel]) -> str:
    """The text of a program: the prelude, then the kernels."""
    return prelude("cuda", doubles=True) + "\n".join(kernel.source for kernel in kernels)
