"""A pretended CUDA device under the real runtime: its memory is the host's, and its stream does things late.

Copies are kept in a queue and done when somebody waits for them, in order; so whoever writes too early over memory that
is still to be read is found out.
"""

from __future__ import annotations

import ctypes
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("cupy", reason='the CUDA backend needs CuPy: pip install "knet[cuda13]"')

import cupy
from cupy.cuda.memory import OutOfMemoryError

from knet.backends.cuda import nvrtc, runtime, staging

TOTAL = 1 << 30


class Block:
    """Memory of the device."""

    def __init__(self, nbytes: int) -> None:
        self.data = ctypes.create_string_buffer(nbytes)
        self.ptr = ctypes.addressof(self.data)
        self.nbytes = nbytes


class Pool:
    """What the runtime asks of cupy.cuda.MemoryPool."""

    def __init__(self) -> None:
        self.alive: weakref.WeakSet[Block] = weakref.WeakSet()
        self.limit = 0
        self.refuses = 0
        self.freed = 0

    def malloc(self, nbytes: int) -> Block:
        if self.refuses > 0 or (self.limit and self.used_bytes() + nbytes > self.limit):
            self.refuses -= 1
            raise OutOfMemoryError(nbytes, self.used_bytes(), self.limit)
        block = Block(nbytes)
        self.alive.add(block)
        return block

    def used_bytes(self) -> int:
        return sum(block.nbytes for block in self.alive)

    def total_bytes(self) -> int:
        return self.used_bytes() + 512

    def get_limit(self) -> int:
        return self.limit

    def set_limit(self, size: int) -> None:
        self.limit = size

    def free_all_blocks(self) -> None:
        self.freed += 1


class Cuda:
    """Devices, the current one, and the queue."""

    def __init__(self, devices: int = 2) -> None:
        self.devices = devices
        self.current = 0
        self.queue: list[tuple[int, int, int]] = []
        self.done = 0  # copies of the queue that are done
        self.pinned = 0
        self.loaded: list[tuple[bytes, str]] = []
        self.launches: list[Any] = []
        self.streams = 0

    def copy(self, target: int, source: int, nbytes: int, kind: int, stream: int) -> None:
        assert stream and nbytes > 0
        self.queue.append((target, source, nbytes))

    def finish(self, until: int | None = None) -> None:
        for target, source, nbytes in self.queue[self.done : until]:
            ctypes.memmove(target, source, nbytes)
        self.done = max(self.done, len(self.queue) if until is None else until)

    def set_device(self, index: int) -> None:
        assert 0 <= index < self.devices
        self.current = index


def pretend(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """Put a pretended CUDA under the runtime."""
    cuda = Cuda()

    class Stream:
        def __init__(self, non_blocking: bool) -> None:
            assert non_blocking
            cuda.streams += 1
            self.ptr = 100 * (cuda.current + 1) + cuda.streams

        def begin_capture(self) -> None:
            self.before, cuda.launches = cuda.launches, []

        def end_capture(self) -> Any:
            recorded, cuda.launches = cuda.launches, self.before
            assert all(stream == self.ptr for stream, _ in recorded), "what is captured goes into this stream"
            return SimpleNamespace(launch=lambda stream: cuda.launches.append((stream.ptr, recorded)))

    class Event:
        def __init__(self, disable_timing: bool) -> None:
            self.at = 0

        def record(self, stream: Any) -> None:
            self.at = len(cuda.queue)

        def synchronize(self) -> None:
            cuda.finish(self.at)

    def pinned(nbytes: int) -> Any:
        cuda.pinned += 1
        return _Pinned(nbytes)

    class Module:
        ptr = 5

        def load(self, code: bytes) -> None:
            cuda.code = code

    def get_function(module: int, name: str) -> int:
        cuda.loaded.append((cuda.code, name))
        return len(cuda.loaded)

    api = SimpleNamespace(
        getDevice=lambda: cuda.current,
        setDevice=cuda.set_device,
        memGetInfo=lambda: (TOTAL // 2, TOTAL),
        deviceGetAttribute=lambda attribute, index: {"units": 132, "local": 49152}[attribute],
        cudaDevAttrMultiProcessorCount="units",
        cudaDevAttrMaxSharedMemoryPerBlock="local",
        memcpyAsync=cuda.copy,
        memcpyHostToDevice=1,
        memcpyDeviceToHost=2,
        memcpyDeviceToDevice=3,
        streamSynchronize=lambda stream: cuda.finish(),
        CUDARuntimeError=cupy.cuda.runtime.CUDARuntimeError,
    )
    monkeypatch.setattr(runtime, "api", api)
    monkeypatch.setattr(staging, "api", api)
    monkeypatch.setattr(cupy.cuda, "Stream", Stream)
    monkeypatch.setattr(cupy.cuda, "Event", Event)
    monkeypatch.setattr(cupy.cuda, "MemoryPool", Pool)
    monkeypatch.setattr(cupy.cuda, "Device", lambda index: SimpleNamespace(compute_capability="90"))
    monkeypatch.setattr(cupy.cuda, "alloc_pinned_memory", pinned)
    monkeypatch.setattr(cupy.cuda.function, "Module", Module)
    monkeypatch.setattr(cupy, "get_default_memory_pool", Pool)
    monkeypatch.setattr(runtime.driver, "moduleGetFunction", get_function)
    monkeypatch.setattr(runtime.driver, "launchKernel", lambda handle, *rest: cuda.launches.append((rest[7], handle)))
    monkeypatch.setattr(nvrtc, "cubin", lambda source, architecture, name: f"{architecture}:{source}".encode())
    return cuda


class _Pinned(bytearray):
    """Pinned memory: a buffer with an address."""

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self.ptr = ctypes.addressof(ctypes.c_char.from_buffer(self))
