"""Compiled programs of graphs: the C text put together, built, and called from Python."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....compiler.graph import Graph
from ....compiler.layout import Buffer, Ref
from ....compiler.scalar import c_type
from ....core.array import DeviceArray
from ....core.custom import Call as GraphsCall
from . import gemm, scalar, tiles, toolchain
from .lower import Lowering
from .schedule import Call, HostCall, Plan, schedule
from .team import HEADER, Program, default_threads

PREAMBLE = scalar.INTEGER_HEADER + HEADER


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
        lowering = Lowering(graph, threads)
        work = sum(0 if isinstance(i, HostCall) else i.work for i in lowering.items)
        if threads > 1 and work < _ALONE:  # a team costs more than it saves
            threads = 1
            lowering = Lowering(graph, threads)
        self.plan: Plan = schedule(lowering.items, threads)
        self.constants = [np.array(a._host("a constant"), order="C") for a in lowering.constants]
        self.outputs = [(y.shape, y.dtype) for y in graph.outputs]
        self.inputs = len(graph.inputs)
        self.peak_bytes = self.plan.workspace
        self.kernels = tuple(item.text for item in lowering.items)
        self.source, segments = _print(self.plan, lowering, threads, self.inputs, len(self.constants))
        library = toolchain.build(self.source, "program") if any(isinstance(s, str) for s in segments) else None
        host = any(isinstance(s, HostCall) for s in segments)
        # With operations of NumPy in between, the workspace must outlive each piece: it is an array of this program.
        self.workspace = np.empty(self.plan.workspace + 64, np.uint8) if host else None
        inside = 0 if host else self.plan.workspace
        self.steps = [Program(library, s, threads, inside) if isinstance(s, str) else s for s in segments]
        self.lock = threading.Lock()
        self.single = self.steps[0] if len(self.steps) == 1 and not host else None

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

    def _on_host(self, call: HostCall, buffers: list[Any]) -> None:
        node = call.node
        operands = [
            DeviceArray(self._array(x, buffers), self.device) if isinstance(x, Ref) else x for x in call.operands
        ]
        if isinstance(node.op, GraphsCall):  # a loop or a branch, whose bodies have programs of their own
            results = node.op(operands)
        else:
            result = node.op(*operands, **node.params)
            results = result if node.op.multiple else [result]
        for ref, y in zip(call.results, results, strict=True):
            self._array(ref, buffers)[...] = y._host("a result")

    def _array(self, ref: Ref, buffers: list[Any]) -> Any:
        """NumPy's view of a reference."""
        buffer = ref.buffer
        size = ref.dtype.itemsize
        if buffer.kind == "work":
            flat = buffers[-1][buffer.place : buffer.place + buffer.nbytes].view(ref.dtype)
        else:
            flat = buffers[_number(buffer, self.inputs, len(self.constants))].reshape(-1)
        strides = [s * size for s in ref.strides]
        return np.lib.stride_tricks.as_strided(flat[ref.offset :], ref.shape, strides)


_ALONE = 1 << 16  # operations


def _number(buffer: Buffer, inputs: int, constants: int) -> int:
    """Place of a buffer among those that a program is called with: inputs, constants, outputs, the workspace."""
    return buffer.number + {"input": 0, "constant": inputs, "output": inputs + constants}[buffer.kind]


def _print(
    plan: Plan, lowering: Lowering, threads: int, inputs: int, constants: int
) -> tuple[str, list[str | HostCall]]:
    """The C text of all pieces, and the pieces in order: names of functions, and host calls."""
    everything = "".join(lowering.sources)
    parts = [PREAMBLE]
    parts += [text for text, used in ((gemm.PREAMBLE, "gemm_"), (tiles.PREAMBLE, "knet_f")) if used in everything]
    parts += lowering.sources
    total = inputs + constants + len(lowering.graph.outputs)
    segments: list[Any] = []
    lines: list[str] = []

    def finish() -> None:
        if lines:
            name = f"piece{len(segments)}"
            parts.append(f"void {name}(struct knet_team *team, int thread, void **b) {{\n" + "\n".join(lines) + "\n}\n")
            segments.append(name)
            lines.clear()

    for step in plan.steps:
        if isinstance(step, HostCall):
            finish()
            segments.append(step)
            continue
        if step.barrier and lines:
            lines.append("    knet_barrier(team, thread);")
        lines.append(_call(step, threads, inputs, constants, total))
    finish()
    return "\n".join(parts), segments


def _call(call: Call, threads: int, inputs: int, constants: int, total: int) -> str:
    launch, phase = call.launch, call.phase

    def pointer(buffer: Buffer) -> str:
        if buffer.kind == "work":
            return f"(char *)b[{total}] + {buffer.place}"
        return f"b[{_number(buffer, inputs, constants)}]"

    operands = []
    for ref in launch.operands:
        operands.append(f"({c_type(ref.dtype)} *)({pointer(ref.buffer)})")
    shared = pointer(launch.shared) if launch.shared is not None else "0"
    own = "0"
    if launch.own is not None:
        own = f"{pointer(launch.own)} + thread * {launch.own.nbytes // threads}L"
    arguments = ", ".join([*operands, shared, own])
    if call.alone:
        return f"    if (thread == 0) {phase.function}({arguments}, 0, {phase.units}, 0, 1);"
    bounds = ", ".join(map(str, call.bounds))
    return (
        f"    {{ static const long s[] = {{{bounds}}};\n"
        f"      if (s[thread] < s[thread + 1]) {phase.function}({arguments}, s[thread], s[thread + 1], thread, {threads}); }}"
    )
