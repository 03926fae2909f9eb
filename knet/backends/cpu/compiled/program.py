"""Compiled programs of graphs: the C text put together, built, and called from Python."""

from __future__ import annotations

import functools
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ....compiler.graph import Graph
from ....compiler.layout import Buffer, Ref, nbytes_of
from ....compiler.plan.donate import share
from ....compiler.plan.items import Begin, End, HostCall, Timing
from ....compiler.plan.loops import Loop
from ....core.array import DeviceArray
from ....core.primitive import Primitive
from . import status, toolchain
from .emit import Places, text_of
from .items import Group, Item, Step
from .lower import Lowering, Shared
from .schedule import Plan, schedule
from .team import Program, default_threads, prepare


def compile_graph(graph: Graph, device: Any, donated: tuple[int, ...]) -> Compiled | None:
    """The program of an optimised graph; None where this machine or the graph allows none."""
    missing = toolchain.available()
    if missing is not None:
        _explain_once(missing)
        return None
    return None if _holds_empty(graph) else Compiled(graph, device, donated)


@functools.cache
def _explain_once(reason: str) -> None:
    warnings.warn(
        f"jit: {reason}. Compiled functions run operation by operation on NumPy instead, several times slower. Install "
        f"gcc or clang, or set KNET_CC to a C compiler. (Said once.)",
        RuntimeWarning,
        stacklevel=2,
    )


def _holds_empty(graph: Graph) -> bool:
    """Whether an array without elements occurs, for which there are no kernels."""
    values = [*graph.inputs, *graph.constants, *(y for node in graph.nodes for y in node.results)]
    bodies = (body for node in graph.nodes for body in getattr(node.op, "graphs", ()))
    return any(x.size == 0 for x in values) or any(map(_holds_empty, bodies))


class Compiled:
    """A program of one or more C functions, with operations by NumPy between them."""

    def __init__(self, graph: Graph, device: Any, donated: tuple[int, ...]) -> None:
        self.device = device
        prepare()
        threads = default_threads()
        lowering = _lowered(graph, threads)
        if threads > 1 and sum(map(_work, lowering.items)) < _ALONE:  # a team costs more than it saves
            threads = 1
            lowering = _lowered(graph, threads)
        self.shares = share(lowering.items, donated)
        self.plan: Plan = schedule(lowering.items, threads)
        self.shared = lowering.shared
        self.threads = threads
        self.constants = [np.array(a._host("a constant"), order="C") for a in lowering.shared.constants]
        self.status = status.array(threads) if lowering.shared.noting else None
        if self.status is not None:
            self.constants.append(self.status)
        self.outputs = [(y.shape, y.dtype) for y in graph.outputs]
        # Shape and dtype of each result, and the input whose memory it may take, or -1.
        self.results = [(y.shape, y.dtype, self.shares.get(j, -1)) for j, y in enumerate(graph.outputs)]
        self.inputs = len(graph.inputs)
        self.peak_bytes = self.plan.workspace
        self.kernels = tuple(_texts(lowering.items))
        self.places = Places(self.inputs, len(self.constants), len(graph.outputs))
        texts, segments = text_of(self.plan, lowering.shared, self.places)
        self.source = "\n".join(texts)
        made = any(isinstance(s, str) for s in segments)
        library: Any = toolchain.build(texts, "program") if made else None
        host = any(isinstance(s, HostCall) for s in segments)
        # With operations of NumPy in between, the workspace must outlive each piece: it is an array of this program.
        self.workspace = _aligned(self.plan.workspace) if host else None
        inside = 0 if host else self.plan.workspace
        self.steps = [Program(library, s, threads, inside) if isinstance(s, str) else s for s in segments]
        self.lock = threading.Lock()
        self.single: Any = self.steps[0] if len(self.steps) == 1 and not host and self.status is None else None

    def __call__(self, arrays: Sequence[DeviceArray]) -> list[DeviceArray]:
        buffers = [x._buffer for x in arrays]
        results = []
        for shape, dtype, i in self.results:
            if i >= 0:
                b = buffers[i]
                # Nobody else may hold the memory.
                if type(b) is np.ndarray and sys.getrefcount(b) <= _OURS and b.flags.owndata and b.flags.carray:
                    results.append(b)
                    continue
            results.append(np.empty(shape, dtype))
        every = [*buffers, *self.constants, *results]
        if self.single is not None and self.single(every):
            return [DeviceArray(y, self.device) for y in results]
        every[: self.inputs] = list(map(_in_order, buffers))
        if self.single is not None:
            self.single(every)
        else:
            with self.lock:
                self._run_pieces(every)
        return [DeviceArray(y, self.device) for y in results]

    def profile(self, arrays: Sequence[DeviceArray], repeats: int = 10) -> list[Timing]:
        """Time of each group of calls, the median of ``repeats`` runs, with a barrier before and after each.

        Nothing is donated. Operations by NumPy are not measured.
        """
        places = Places(self.inputs, len(self.constants), len(self.outputs) + 1)
        texts, segments = text_of(self.plan, self.shared, places, timed=True)
        library = toolchain.build(texts, "profile")
        seconds = np.zeros((repeats, len(self.plan.steps)))
        buffers = [_in_order(x._buffer) for x in arrays] + self.constants
        buffers += [np.empty(shape, dtype) for shape, dtype in self.outputs]
        workspace = _aligned(self.plan.workspace)
        pieces = [Program(library, s, self.threads) if isinstance(s, str) else s for s in segments]
        for row in seconds:
            for piece in pieces:
                if isinstance(piece, HostCall):
                    self._on_host(piece, [*buffers, workspace])
                else:
                    piece([*buffers, row, workspace])
        return _timings(self.plan.steps, np.median(seconds, 0).tolist())

    def _run_pieces(self, buffers: list[Any]) -> None:
        """Pieces of C and operations of NumPy in turn."""
        if self.workspace is not None:
            buffers.append(self.workspace)
        if self.status is not None:
            self.status[:] = 0  # of a call that an operation by NumPy ended
        for step in self.steps:
            if isinstance(step, HostCall):
                self._on_host(step, buffers)
            else:
                step(buffers)
        if self.status is not None:
            status.check(self.status)

    def _on_host(self, call: HostCall, buffers: list[Any]) -> None:
        node = call.node
        operands = [
            DeviceArray(self._array(x, buffers), self.device) if isinstance(x, Ref) else x for x in call.operands
        ]
        if isinstance(node.op, Primitive):
            results = node.op(*operands, **node.params)
            results = results if node.op.multiple else (results,)
        else:
            results = node.op(operands)
        for ref, y in zip(call.results, results, strict=True):
            self._array(ref, buffers)[...] = y._host("a result")

    def _array(self, ref: Ref, buffers: list[Any]) -> Any:
        """NumPy's view of a reference."""
        buffer = ref.buffer
        size = ref.dtype.itemsize
        if buffer.kind == "work":
            flat = buffers[-1][buffer.place : buffer.place + buffer.nbytes].view(ref.dtype)
        else:
            flat = buffers[self.places.number(buffer)].reshape(-1)
        strides = [s * size for s in ref.strides]
        return np.lib.stride_tricks.as_strided(flat[ref.offset :], ref.shape, strides)


def _timings(steps: Sequence[Step], seconds: Sequence[float]) -> list[Timing]:
    """A row for each group; a launch counts where it takes longest."""
    times = 1
    most: dict[int, int] = {}
    repeats: dict[int, int] = {}
    for i, step in enumerate(steps):
        if isinstance(step, End):
            times //= step.loop.length
        elif isinstance(step, Begin):
            times *= step.loop.length
        elif isinstance(step, Group):
            repeats[i] = times
            for call in step.calls:
                before = most.get(id(call.launch), i)
                most[id(call.launch)] = i if seconds[i] >= seconds[before] else before
    rows = []
    for i, times in repeats.items():
        calls = steps[i].calls  # type: ignore[union-attr]
        launches = {id(c.launch): c.launch for c in calls if most[id(c.launch)] == i}.values()
        text = " + ".join(dict.fromkeys(c.launch.text for c in calls))
        flops = sum(launch.flops for launch in launches) * times
        nbytes = sum(ref.size * ref.dtype.itemsize for launch in launches for ref in launch.operands) * times
        rows.append(Timing(text, seconds[i], flops, nbytes))
    return rows


_ALONE = 1 << 16  # operations


def _in_order(buffer: Any) -> Any:
    """A buffer as programs take it: an array, its elements aligned and in row-major order."""
    return np.require(buffer, requirements=["C", "A"])


def _aligned(nbytes: int) -> Any:
    """Bytes at a multiple of 64, not initialised."""
    space = np.empty(nbytes + 64, np.uint8)
    return space[-space.ctypes.data % 64 :]


def _references() -> int:
    """References to an array held by its handle, by the list of a call and by a name, as this Python counts them."""
    buffers = [np.empty(0)]
    handle = (buffers[0],)
    b = buffers[0]
    return sys.getrefcount(b) if handle else 0


_OURS = _references()


def _lowered(graph: Graph, threads: int) -> Lowering:
    inputs = [Ref(Buffer("input", i, nbytes_of(x), x.dtype), x.shape) for i, x in enumerate(graph.inputs)]
    outputs = [Ref(Buffer("output", i, nbytes_of(y), y.dtype), y.shape) for i, y in enumerate(graph.outputs)]
    return Lowering(graph, inputs, outputs, Shared(threads))


def _work(item: Item) -> float:
    """Operations of an item."""
    if isinstance(item, Loop):
        return item.length * sum(map(_work, item.items))
    return 0 if isinstance(item, HostCall) else item.work


def _texts(items: Sequence[Item], indent: str = "") -> Iterator[str]:
    """What each item computes; a loop's items are indented."""
    for item in items:
        yield indent + item.text
        if isinstance(item, Loop):
            yield from _texts(item.items, indent + "  ")
