"""Compiled programs as CUDA graphs: all launches of a call recorded once, then queued by one call of the driver.

Operations that are done eagerly in between, by the host or by CuPy, are no part of a graph: there is one for each
stretch of launches before, between and behind them.

A graph has addresses in it. The workspace and the constants of a program never move. Its arguments and results do, but
in a training loop they return to the same few addresses, because the pool hands freed memory out again: so there is a
graph for each set of addresses that was met twice. An argument or a result that keeps moving is *staged* instead: the
graph has an address of its own for it, and its contents are copied there before, or from there after.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

from cupy_backends.cuda.api import runtime as api

from ...compiler.device.program import Place, Program, moving, waits
from ...compiler.plan.loops import Loop
from ...core.aval import size_of
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
      inputs, outputs: (name, bytes) of what moves: what is read, and what is written; some may be both.
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
        slots = {name: Slot(name, nbytes) for name, nbytes in (*inputs, *outputs)}
        self.slots = list(slots.values())
        self.inputs = [slots[name] for name, _ in inputs]
        self.outputs = [slots[name] for name, _ in outputs]
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
        addresses = [address(places[slot.name]) for slot in self.slots if slot.staged is None]
        status = places.get("status0")
        return (current_precision(), status and address(status), *addresses)

    def _notice(self, places: dict[str, Place]) -> None:
        """Stage what has been at too many addresses."""
        for slot in self.slots:
            if slot.staged is None:
                slot.met.add(address(places[slot.name]))
                if len(slot.met) > MOVES:
                    slot.staged = self.runtime.allocate(slot.nbytes)
                    self.graphs.clear()
                    self.met.clear()

    def _capture(self, places: dict[str, Place]) -> Any:
        """A graph of the launches; None, and none ever, where CUDA refuses."""
        runtime = self.runtime
        own = {slot.name: (slot.staged, 0) for slot in self.slots if slot.staged is not None}
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
    """A program that becomes a graph, or one for each stretch between operations that are not launches."""

    def __init__(self, graph: Any, device: Any, runtime: Any, donated: tuple[int, ...]) -> None:
        super().__init__(graph, device, runtime, donated)
        self.captured: list[Captured] = []
        self.parts: list[Callable[[dict[str, Place]], None]] = []
        pairs = zip(self.items, self.steps)
        for waiting, stretch in itertools.groupby(pairs, key=lambda pair: waits(pair[0])):
            items, steps = zip(*stretch)
            if waiting or not allowed() or (self.on_host and len(items) == 1 and not isinstance(items[0], Loop)):
                self.parts += [step.run for step in steps]
            else:
                self.captured.append(self._captured(items, steps))
                self.parts.append(self.captured[-1])

    def _captured(self, items: Sequence[Any], steps: Sequence[Any]) -> Captured:
        def queue(places: dict[str, Place]) -> None:
            for step in steps:
                step.run(places)

        touched = moving(items)
        inputs = [(f"input{i}", size_of(shape) * dtype.itemsize) for i, (shape, _, dtype) in enumerate(self.inputs)]
        outputs = [(f"output{j}", nbytes) for j, nbytes in enumerate(self.sizes)]
        # What a stretch leaves of a result, and what it finds there, is part of it only.
        kept = outputs if self.on_host else []
        return Captured(
            self.runtime,
            queue,
            [slot for slot in (*inputs, *kept) if slot[0] in touched],
            [slot for slot in outputs if slot[0] in touched],
        )

    def queue(self, places: dict[str, Place]) -> None:
        """Queue all launches."""
        for part in self.parts:
            part(places)
