"""Compiled programs of graphs: the C text put together, built, and called from Python."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ....compiler.graph import Graph
from ....compiler.layout import Buffer, Ref, nbytes_of
from ....compiler.scalar import c_type
from ....core.array import DeviceArray
from ....core.primitive import Primitive
from . import gemm, random, scalar, status, tiles, toolchain
from .loops import Loop
from .lower import Lowering, Shared
from .schedule import Begin, Call, End, HostCall, Item, Plan, schedule
from .team import HEADER, Program, default_threads

PREAMBLE = scalar.INTEGER_HEADER + HEADER
# C text that programs include which mention a name.
_PREAMBLES = (
    (gemm.PREAMBLE, "gemm_"),
    (tiles.PREAMBLE, "knet_f"),
    (status.PREAMBLE, "knet_row"),
    (random.PREAMBLE, "knet_philox"),
)


def compile(graph: Graph, device: Any, donated: tuple[int, ...]) -> Compiled | None:
    """The program of an optimised graph; None where this machine or the graph allows none."""
    if toolchain.available() is not None:
        return None
    if any(y.size == 0 for node in graph.nodes for y in node.results) or any(x.size == 0 for x in graph.inputs):
        return None
    return Compiled(graph, device, donated)


class Compiled:
    """A program of one or more C functions, with operations by NumPy between them."""

    def __init__(self, graph: Graph, device: Any, donated: tuple[int, ...]) -> None:
        self.device = device
        threads = default_threads()
        lowering = _lowered(graph, threads)
        if threads > 1 and sum(map(_work, lowering.items)) < _ALONE:  # a team costs more than it saves
            threads = 1
            lowering = _lowered(graph, threads)
        self.plan: Plan = schedule(lowering.items, threads)
        self.constants = [np.array(a._host("a constant"), order="C") for a in lowering.shared.constants]
        self.status = status.array(threads) if lowering.shared.noting else None
        if self.status is not None:
            self.constants.append(self.status)
        self.outputs = [(y.shape, y.dtype) for y in graph.outputs]
        self.inputs = len(graph.inputs)
        self.peak_bytes = self.plan.workspace
        self.kernels = tuple(_texts(lowering.items))
        self.source, segments = _print(
            self.plan, lowering.shared, _Places(self.inputs, len(self.constants), len(graph.outputs))
        )
        library = toolchain.build(self.source, "program") if any(isinstance(s, str) for s in segments) else None
        host = any(isinstance(s, HostCall) for s in segments)
        # With operations of NumPy in between, the workspace must outlive each piece: it is an array of this program.
        self.workspace = np.empty(self.plan.workspace + 64, np.uint8) if host else None
        inside = 0 if host else self.plan.workspace
        self.steps = [Program(library, s, threads, inside) if isinstance(s, str) else s for s in segments]
        self.lock = threading.Lock()
        self.single = self.steps[0] if len(self.steps) == 1 and not host and self.status is None else None

    def __call__(self, arrays: Sequence[DeviceArray]) -> list[DeviceArray]:
        buffers = [x._buffer for x in arrays]
        for i, b in enumerate(buffers):
            if type(b) is not np.ndarray:
                buffers[i] = np.asarray(b)
            elif not b.flags.c_contiguous:
                buffers[i] = np.ascontiguousarray(b)
        results = [np.empty(shape, dtype) for shape, dtype in self.outputs]
        buffers += self.constants
        buffers += results
        if self.single is not None:
            self.single(buffers)
        else:
            with self.lock:
                self._run_pieces(buffers)
        device = self.device
        return [DeviceArray(y if y.ndim else y[()], device) for y in results]

    def _run_pieces(self, buffers: list[Any]) -> None:
        """Pieces of C and operations of NumPy in turn."""
        if self.workspace is not None:
            offset = -self.workspace.ctypes.data % 64
            buffers.append(self.workspace[offset:])
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
            flat = buffers[_Places(self.inputs, len(self.constants), 0).number(buffer)].reshape(-1)
        strides = [s * size for s in ref.strides]
        return np.lib.stride_tricks.as_strided(flat[ref.offset :], ref.shape, strides)


_ALONE = 1 << 16  # operations


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


class _Places:
    """Numbers of buffers among those that a program is called with: inputs, constants, outputs, the workspace."""

    def __init__(self, inputs: int, constants: int, outputs: int) -> None:
        self.start = {"input": 0, "constant": inputs, "output": inputs + constants, "status": inputs + constants - 1}
        self.workspace = inputs + constants + outputs

    def number(self, buffer: Buffer) -> int:
        """Number of a buffer that Python allocates."""
        return self.start[buffer.kind] + buffer.number

    def pointer(self, buffer: Buffer) -> str:
        """C text of a buffer's address."""
        if buffer.kind == "moving":
            return buffer.name
        if buffer.kind == "work":
            return f"((char *)b[{self.workspace}] + {buffer.place})"
        return f"((char *)b[{self.number(buffer)}])"

    def address(self, ref: Ref) -> str:
        """C text of the address of a reference's first element."""
        offset = ref.offset * ref.dtype.itemsize
        return f"{self.pointer(ref.buffer)} + {offset}" if offset else self.pointer(ref.buffer)


def _print(plan: Plan, shared: Shared, places: _Places) -> tuple[str, list[str | HostCall]]:
    """The C text of all pieces, and the pieces in order: names of functions, and host calls."""
    everything = "".join(shared.sources)
    parts = [PREAMBLE]
    parts += [text for text, used in _PREAMBLES if used in everything]
    parts += shared.sources
    segments: list[Any] = []
    lines: list[str] = []

    def finish() -> None:
        if lines:
            name = f"piece{len(segments)}"
            body = "\n".join("    " + line for line in lines)
            parts.append(f"void {name}(struct knet_team *team, int thread, void **b) {{\n{body}\n}}\n")
            segments.append(name)
            lines.clear()

    for step in plan.steps:
        if isinstance(step, HostCall):
            finish()
            segments.append(step)
        elif isinstance(step, End):
            lines += [*_handed_over(step.loop, places), "} }", "knet_barrier(team, thread);"]
        elif isinstance(step, Begin):
            lines += ["knet_barrier(team, thread);", "{", *_moving(step.loop, places)]
        else:
            if step.barrier and lines:
                lines.append("knet_barrier(team, thread);")
            lines.append(_call(step, shared.threads, places))
    finish()
    return "\n".join(parts), segments


def _moving(loop: Loop, places: _Places) -> list[str]:
    """C text of a loop's head: pointers before the first step, and what moves in each."""
    lines = []
    for carry in loop.carries:
        lines.append(f"char *{carry.reading.name} = {places.address(carry.start)};")
        first = "0" if carry.slide is not None else places.pointer(carry.places[0])
        lines.append(f"char *{carry.writing.name} = {first};")
    lines.append(f"for (long s = 0; s < {loop.length}; s++) {{")
    lines.append(f"const long t = {f'{loop.length - 1} - s' if loop.reverse else 's'};")
    for slide in loop.slides:
        step = slide.whole.strides[0] * slide.whole.dtype.itemsize
        lines.append(
            f"char *{slide.moving.name} = {places.address(slide.whole)} + t * {step}L; (void){slide.moving.name};"
        )
    lines += [f"{c.writing.name} = {c.slide.moving.name};" for c in loop.carries if c.slide is not None]
    return lines


def _handed_over(loop: Loop, places: _Places) -> list[str]:
    """C text at the end of a step: what was written is read next."""
    lines = []
    for carry in loop.carries:
        lines.append(f"{carry.reading.name} = {carry.writing.name};")
        if carry.slide is None:
            first, second = map(places.pointer, carry.places)
            lines.append(f"{carry.writing.name} = {carry.writing.name} == {first} ? {second} : {first};")
    return lines


def _call(call: Call, threads: int, places: _Places) -> str:
    launch, phase = call.launch, call.phase
    touched = {*phase.reads, *phase.writes}
    # A phase hoisted out of a loop stands where the loop's pointers do not exist; it does not need them.
    operands = [
        "0" if ref.buffer.kind == "moving" and i not in touched else f"({c_type(ref.dtype)} *)({places.address(ref)})"
        for i, ref in enumerate(launch.operands)
    ]
    shared = places.pointer(launch.shared) if launch.shared is not None else "0"
    own = "0"
    if launch.own is not None:
        own = f"{places.pointer(launch.own)} + thread * {launch.own.nbytes // threads}L"
    arguments = ", ".join([*operands, shared, own])
    if call.alone:
        return f"if (thread == 0) {phase.function}({arguments}, 0, {phase.units}, 0, 1);"
    bounds = ", ".join(map(str, call.bounds))
    return (
        f"{{ static const long s[] = {{{bounds}}}; if (s[thread] < s[thread + 1])\n"
        f"      {phase.function}({arguments}, s[thread], s[thread + 1], thread, {threads}); }}"
    )
