"""A compiled program: prepared launches over planned memory, queued one after the other.

Everything is decided when the program is made: kernels, their arguments, places in the workspace. A call allocates its
results, exchanges the arguments that are its inputs and results, and queues the launches; nothing waits.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ...core.array import DeviceArray
from ...core.primitive import Primitive
from ..graph import Graph
from ..kernels.lower import lower
from ..kernels.merge import merge
from ..layout import Buffer, Ref
from ..plan.donate import share
from ..plan.items import Begin, End, HostCall, Timing
from ..plan.loops import Loop
from ..plan.memory import place
from .buffer import DeviceBuffer, dense_layout, is_dense
from .eager import copy_into, in_order
from .status import fresh

Place = tuple[Any, int]  # memory, offset in bytes


class Program:
    """A graph on a device; called with a list of arrays, it returns a list of arrays."""

    def __init__(self, graph: Graph, device: Any, runtime: Any, donated: tuple[int, ...]) -> None:
        self.device = device
        self.runtime = runtime
        lowering = lower(graph, runtime.target, literal=True)
        self.shares = share(lowering.items, donated)
        items = merge(lowering.items, runtime.target)
        self.peak_bytes = place(list(_flat(items)))
        self.noting = lowering.shared.noting
        self.on_host = any(map(waits, items))
        launches = list(_launches(items))
        kernels = {item.kernel.name: item.kernel for item in launches}
        functions = dict(zip(kernels, runtime.functions(list(kernels.values()))))
        self.source = "\n".join(kernel.source for kernel in kernels.values())
        self.kernels = tuple(_texts(items))
        self.items = items
        self.inputs = [dense_layout(x.shape, x.dtype) for x in graph.inputs]
        self.outputs = [dense_layout(y.shape, y.dtype) for y in graph.outputs]
        self.sizes = [max(1, y.nbytes) for y in graph.outputs]
        self.places: dict[str, Place] = {}
        for i, array in enumerate(lowering.shared.constants):
            self.places[f"constant{i}"] = (runtime.upload(np.asarray(array._host("a constant"))), 0)
        self.workspace = runtime.allocate(self.peak_bytes) if self.peak_bytes else None
        self.items = items
        self.steps = [self._step(item, functions) for item in items]
        self.lock = threading.Lock()

    def __call__(self, arrays: Sequence[DeviceArray]) -> list[DeviceArray]:
        runtime = self.runtime
        buffers = [x._buffer for x in arrays]
        for i, (b, layout) in enumerate(zip(buffers, self.inputs)):
            if b.layout is not layout and not is_dense(b.layout):
                buffers[i] = in_order(b)
        results = []
        for j, (layout, nbytes) in enumerate(zip(self.outputs, self.sizes)):
            i = self.shares.get(j, -1)
            if i >= 0 and buffers[i].offset == 0 and _alone(buffers, i):
                memory = buffers[i].memory
            else:
                memory = runtime.allocate(nbytes)
            results.append(DeviceBuffer(runtime, memory, layout))
        with self.lock:
            self._between(buffers, results, self.queue)
        return [DeviceArray(y, self.device) for y in results]

    def _between(
        self, buffers: Sequence[Any], results: Sequence[Any], queue: Callable[[dict[str, Place]], None]
    ) -> None:
        """Call ``queue`` with the places of arguments and results, which are forgotten then: they must not live on."""
        places = self.places
        for i, b in enumerate(buffers):
            places[f"input{i}"] = b.memory, b.offset * b.dtype.itemsize
        for j, y in enumerate(results):
            places[f"output{j}"] = y.memory, 0
        if self.noting:
            places["status0"] = fresh(self.runtime), 0
        queue(places)
        for i in range(len(buffers)):
            del places[f"input{i}"]
        for j in range(len(results)):
            del places[f"output{j}"]

    def profile(self, arrays: Sequence[DeviceArray], repeats: int = 10) -> list[Timing]:
        """Time of each launch, the median of ``repeats`` runs, from an idle device to an idle device: what queueing
        and waiting cost is in it. A loop counts as one. Nothing is donated."""
        runtime = self.runtime
        buffers = [x._buffer if is_dense(x._buffer.layout) else in_order(x._buffer) for x in arrays]
        results = [DeviceBuffer(runtime, runtime.allocate(n), y) for n, y in zip(self.sizes, self.outputs)]
        seconds: list[list[float]] = []

        def timed(places: dict[str, Place]) -> None:
            row = []
            for step in self.steps:
                runtime.synchronize()
                start = time.perf_counter()
                step.run(places)
                runtime.synchronize()
                row.append(time.perf_counter() - start)
            seconds.append(row)

        with self.lock:
            for _ in range(repeats):
                self._between(buffers, results, timed)
        return [_timing(item, s) for item, s in zip(self.items, np.median(seconds, 0).tolist())]

    def queue(self, places: dict[str, Place]) -> None:
        """Queue all launches; ``places`` has the memory of inputs, outputs, constants and status by name."""
        for step in self.steps:
            step.run(places)

    def _step(self, item: Any, functions: dict[str, Any]) -> Any:
        if isinstance(item, Loop):
            return _Loop(self, item, [self._step(inner, functions) for inner in item.items])
        if isinstance(item, HostCall):
            return _Call(self, item)
        return _Launch(self, item, functions[item.kernel.name])

    def place(self, buffer: Buffer) -> Place | None:
        """Where a buffer lies, if it lies there in each call."""
        if buffer.kind == "work":
            return self.workspace, buffer.place
        return self.places.get(buffer.name)


class _Launch:
    """A kernel whose arguments are set but for those that change from call to call, or from step to step of a loop."""

    def __init__(self, program: Program, item: Any, function: Any) -> None:
        pointers: list[tuple[Any, int]] = []
        self.moving: list[tuple[int, str, int, int]] = []  # argument, name, offset in elements, bytes of an element
        for i, ref in enumerate(item.operands):
            known = program.place(ref.buffer)
            size = ref.dtype.itemsize
            if known is None:
                pointers.append((program.workspace, 0))
                self.moving.append((i, ref.buffer.name, ref.offset, size))
            else:
                pointers.append((known[0], ref.offset + known[1] // size))
        self.prepared = program.runtime.prepare(function, item.groups, pointers, item.numbers)

    def run(self, places: dict[str, Place]) -> None:
        prepared = self.prepared
        for i, name, offset, size in self.moving:
            memory, start = places[name]
            prepared.set(i, memory, offset + start // size)
        prepared.run()


class _Loop:
    """Launches repeated; names of moving buffers are places that change from step to step."""

    def __init__(self, program: Program, loop: Loop, steps: list[Any]) -> None:
        self.program = program
        self.loop = loop
        self.steps = steps

    def run(self, places: dict[str, Place]) -> None:
        loop, program = self.loop, self.program

        def place_of(ref: Ref) -> Place:
            memory, start = program.place(ref.buffer) or places[ref.buffer.name]
            return memory, start + ref.offset * ref.dtype.itemsize

        turns = []
        for carry in loop.carries:
            places[carry.reading.name] = place_of(carry.start)
            if carry.slide is None:
                turns.append([(program.workspace, b.place) for b in carry.places])
            else:
                turns.append([])
        for s in range(loop.length):
            t = loop.length - 1 - s if loop.reverse else s
            for slide in loop.slides:
                places[slide.moving.name] = place_of(slide.at(t))
            for carry, turn in zip(loop.carries, turns):
                moving = carry.slide
                places[carry.writing.name] = turn[s % 2] if moving is None else places[moving.moving.name]
            for step in self.steps:
                step.run(places)
            for carry in loop.carries:
                places[carry.reading.name] = places[carry.writing.name]


class _Call:
    """An operation by NumPy, or one with graphs of its own, in between."""

    def __init__(self, program: Program, call: HostCall) -> None:
        self.program = program
        self.call = call

    def run(self, places: dict[str, Place]) -> None:
        node, device = self.call.node, self.program.device
        operands = [
            DeviceArray(self._buffer(x, places), device) if isinstance(x, Ref) else x for x in self.call.operands
        ]
        if isinstance(node.op, Primitive):
            results = node.op(*operands, **node.params)
            results = results if node.op.multiple else (results,)
        else:
            results = node.op(operands)
        for ref, y in zip(self.call.results, results, strict=True):
            copy_into(y._buffer, self._buffer(ref, places))

    def _buffer(self, ref: Ref, places: dict[str, Place]) -> DeviceBuffer:
        memory, start = self.program.place(ref.buffer) or places[ref.buffer.name]
        layout = tuple(ref.shape), tuple(ref.strides), ref.dtype
        return DeviceBuffer(self.program.runtime, memory, layout, ref.offset + start // ref.dtype.itemsize)


def _alone(buffers: list[Any], i: int) -> bool:
    """Whether nobody else holds a buffer, or its memory."""
    buffer = buffers[i]
    return sys.getrefcount(buffer) <= _HANDLES and sys.getrefcount(buffer.memory) <= _HOLDERS


def _references() -> tuple[int, int]:
    """References to a buffer held by its handle, the list of a call and a name, and to its memory, as Python counts."""
    buffers = [DeviceBuffer(None, object(), dense_layout((), np.dtype("float32")))]
    handle = (buffers[0],)
    buffer = buffers[0]
    return (sys.getrefcount(buffer), sys.getrefcount(buffer.memory)) if handle else (0, 0)


_HANDLES, _HOLDERS = _references()


def _flat(items: Sequence[Any]) -> Iterator[Any]:
    """Items with the ends of loops among them."""
    for item in items:
        if isinstance(item, Loop):
            yield Begin(item)
            yield from _flat(item.items)
            yield End(item)
        else:
            yield item


def waits(item: Any) -> bool:
    """Whether an item has an operation in it that is done eagerly, and may wait for the device."""
    return any(isinstance(inner, HostCall) for inner in _flat([item]))


def moving(items: Sequence[Any]) -> set[str]:
    """Names of the program's arguments and results that items touch."""
    buffers = (buffer for item in _flat(items) for buffer in item.buffers)
    return {buffer.name for buffer in buffers if buffer.kind in ("input", "output")}


def _launches(items: Sequence[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, Loop):
            yield from _launches(item.items)
        elif not isinstance(item, HostCall):
            yield item


def _timing(item: Any, seconds: float, times: int = 1) -> Timing:
    if isinstance(item, Loop):
        rows = [_timing(inner, 0.0, times * item.length) for inner in item.items]
        return Timing(item.text, seconds, sum(r.flops for r in rows), sum(r.nbytes for r in rows))
    arrays = [ref for ref in item.operands if isinstance(ref, Ref)]
    nbytes = times * sum(ref.size * ref.dtype.itemsize for ref in arrays)
    return Timing(item.text, seconds, times * getattr(item, "flops", 0.0), nbytes)


def _texts(items: Sequence[Any], indent: str = "") -> Iterator[str]:
    for item in items:
        yield indent + item.text
        if isinstance(item, Loop):
            yield from _texts(item.items, indent + "  ")
