"""A driver that computes nothing and remembers everything, in the place of CUDA's."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
from typing import Any


class Memory:
    """A piece of pretended device memory."""

    def __init__(self, ptr: int, nbytes: int) -> None:
        self.ptr = ptr
        self.nbytes = nbytes


class Runtime:
    """What launches and graphs ask of a runtime. ``log`` has what was queued, in order."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.launched = self.replayed = 0
        self.stream = "stream"
        self.known = True
        self.recording: list[Any] | None = None
        self.fails: Exception | None = None
        self._next = itertools.count(0x10000, 0x1000)
        self.switches = 0

    def allocate(self, nbytes: int) -> Memory:
        return Memory(next(self._next), nbytes)

    def here(self) -> int:
        return 7 if self.known else 0

    @contextlib.contextmanager
    def current(self):
        self.switches += 1
        yield 7

    @contextlib.contextmanager
    def capturing(self):
        graphs: list[Any] = []
        if self.fails is not None:
            raise self.fails
        queued, self.log = self.log, []
        try:
            yield graphs
        finally:
            recorded, self.log = self.log, queued
        graphs.append(Graph(self, recorded))


class Graph:
    """What was recorded, to be queued again with the same addresses."""

    def __init__(self, runtime: Runtime, recorded: list[Any]) -> None:
        self.runtime = runtime
        self.recorded = recorded

    def launch(self, stream: Any) -> None:
        assert stream == self.runtime.stream
        self.runtime.log.append(("replay", tuple(self.recorded)))


def parameters(table: int, kinds: list[Any]) -> list[Any]:
    """What a kernel would read from a table of addresses, given the types of its parameters."""
    addresses = (ctypes.c_uint64 * len(kinds)).from_address(table)
    return [kind.from_address(address).value for kind, address in zip(kinds, addresses, strict=True)]
