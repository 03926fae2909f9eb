"""Compiled programs as CUDA graphs: all launches of a call recorded once, then queued by one call of the driver.

A graph has addresses in it. The workspace and the constants of a program never move. Its arguments and results do, but
in a training loop they return to the same few addresses, because the pool hands freed memory out again: so there is a
graph for each set of addresses that was met twice. An argument or a result that keeps moving is *staged* instead: the
graph has an address of its own for it, and its contents are copied there before, or from there after.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from cupy_backends.cuda.api import runtime as api

from ...compiler.device.program import Place, Program
from ...core.precisions import current_precision

MOVES = 4  # addresses of an argument or a result before it is staged
GRAPHS = 8  # of a program


class Slot:
    """An argument or a result of a program.

    Attributes:
      name: under which its place is found.
      staged: memory of the graphs' own for it, or None while they use the caller's.
    """

    __slots__ = ("met", "name", "nbytes", "staged")

    def __init__(self, name: str, nbytes: int) -> None:
        self.name = name
        self.nbytes = nbytes
        self.staged: Any = None
        self.met: set[int] = set()


class Captured:
    """A function that queues launches, replayed as a graph where its addresses were met before.

    Args:
      runtime: of the device.
      queue: queues all launches, given the places of all slots; the same launches each time, and nothing that waits.
      inputs, outputs: (name, bytes) of what moves.
    """

    def __init__(
        self,
        runtime: Any,
        queue: Callable[[dict[str, Place]], None],
        inputs: Sequence[tuple[str, int]],
        outputs: Sequence[tuple[str, int]],
    ) -> None:
        self.runtime = runtime
        self.queue = queue
        self.inputs = [Slot(*one) for one in inputs]
        self.outputs = [Slot(*one) for one in outputs]
        self.graphs: dict[Any, Any] = {}
        self.met: set[Any] = set()
        self.refusal: str | None = None  # why there will be no graph

    def __call__(self, places: dict[str, Place]) -> None:
        """Queue the launches, one by one or as a graph."""
        if self.refusal is not None:
            self.queue(places)
            return
        key = self._key(places)
        graph = self.graphs.get(key)
        if graph is None and key in self.met:
            graph = self._capture(places)
            if graph is not None:
                while len(self.graphs) >= GRAPHS:
                    del self.graphs[next(iter(self.graphs))]
                self.graphs[key] = graph
        if graph is None:
            self.met.add(key)
            self.queue(places)
            self._notice(places)
            return
        with self.runtime.current() as stream:
            for slot in self.inputs:
                if slot.staged is not None:
                    copy(slot.staged.ptr, address(places[slot.name]), slot.nbytes, stream)
            graph.launch(self.runtime.stream)
            for slot in self.outputs:
                if slot.staged is not None:
                    copy(address(places[slot.name]), slot.staged.ptr, slot.nbytes, stream)
        self.runtime.replayed += 1

    def _key(self, places: dict[str, Place]) -> tuple[Any, ...]:
        """All that a graph depends on."""
        slots = [*self.inputs, *self.outputs]
        addresses = [address(places[slot.name]) for slot in slots if slot.staged is None]
        status = places.get("status0")
        return (current_precision(), status and address(status), *addresses)

    def _notice(self, places: dict[str, Place]) -> None:
        """Stage what has been at too many addresses."""
        for slot in (*self.inputs, *self.outputs):
            if slot.staged is None:
                slot.met.add(address(places[slot.name]))
                if len(slot.met) > MOVES:
                    slot.staged = self.runtime.allocate(slot.nbytes)
                    self.graphs.clear()
                    self.met.clear()

    def _capture(self, places: dict[str, Place]) -> Any:
        """A graph of the launches; None, and none ever, where CUDA refuses."""
        runtime = self.runtime
        own = {slot.name: (slot.staged, 0) for slot in (*self.inputs, *self.outputs) if slot.staged is not None}
        before = runtime.launched
        try:
            with runtime.capturing() as captured:
                self.queue({**places, **own})
            return captured[0]
        except api.CUDARuntimeError as e:
            self.refusal = str(e)
            return None
        finally:
            runtime.launched = before  # nothing ran


def address(place: Place) -> int:
    """The device's address of a place."""
    memory, start = place
    return memory.ptr + start


def copy(target: int, source: int, nbytes: int, stream: int) -> None:
    """Queue a copy within the device."""
    if target != source and nbytes:
        api.memcpyAsync(target, source, nbytes, api.memcpyDeviceToDevice, stream)


def allowed() -> bool:
    """Whether programs become graphs: ``KNET_CUDA_GRAPHS=0`` forbids it."""
    return os.environ.get("KNET_CUDA_GRAPHS", "1") != "0"


class CudaProgram(Program):
    """A program that becomes graphs, unless operations in between run on the host."""

    def __init__(self, graph: Any, device: Any, runtime: Any, donated: tuple[int, ...]) -> None:
        super().__init__(graph, device, runtime, donated)
        self.captured: Captured | None = None
        if allowed() and not self.on_host:
            inputs = [(f"input{i}", x.nbytes) for i, x in enumerate(graph.inputs)]
            outputs = [(f"output{j}", nbytes) for j, nbytes in enumerate(self.sizes)]
            self.captured = Captured(runtime, super().queue, inputs, outputs)

    def queue(self, places: dict[str, Place]) -> None:
        """Queue all launches."""
        if self.captured is None:
            super().queue(places)
        else:
            self.captured(places)
