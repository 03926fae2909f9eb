"""From an optimised graph to launches: which kernel computes what, and which buffers it reads and writes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ....compiler.decompose import decompose
from ....compiler.fuse import REDUCTIONS, Cluster, fuse, origin, single
from ....compiler.graph import Graph, Node, Value
from ....compiler.layout import ALIASES, Buffer, Ref, base, nbytes_of, unreshaped, unstacked, view
from ....compiler.scalar import C_TYPES, HALF, compute_dtype, printable
from ....compiler.scan import ScanCall
from ....core import ShapedArray, dtypes
from ....core.device import from_numpy
from ....core.ops import elementwise, reduce, shape
from . import along, gather, movement, random, scalar, status, windowed
from .items import HostCall, Item, Launch
from .kernel import Kernel
from .nest import nest
from .products import product
from .scans import scan

Generated = tuple[Kernel, list[Ref], float]


def fusable(node: Node) -> bool:
    """Whether a node can be printed as part of a nest."""
    if node.op in REDUCTIONS:
        dtype = node.results[0].dtype
        extremum = node.op in (reduce.reduce_max, reduce.reduce_min)  # a sum of truth values would be another one
        return (dtype.name in C_TYPES or dtype.name in HALF) and (extremum or dtype != dtypes.bool_)
    if not printable(node) or node.op.name == "cast":
        return printable(node)
    try:
        return bool(scalar.expression(node.op, compute_dtype(node)))
    except KeyError:  # a function that does not exist for the dtype
        return False


class Shared:
    """What the lowering of a program and of the loops in it have in common."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.distinct: list[Kernel] = []
        self.constants: list[Any] = []
        self.kernels: dict[str, str] = {}
        self.numbers = itertools.count()
        self.noting = False  # whether a kernel asked for the status

    def name(self) -> str:
        """A new name of C functions."""
        return f"k{next(self.numbers)}"

    def known(self, kernel: Kernel) -> Kernel:
        """The kernel, or the one of the same text but for its name: layers of one shape share their code."""
        name = re.match(r"k\d+", kernel.phases[0].function)
        assert name is not None
        text = re.sub(rf"\b{name.group()}(?=\b|_)", "@", kernel.source)
        old = self.kernels.setdefault(text, name.group())
        if old == name.group():
            self.distinct.append(kernel)
            return kernel
        phases = [replace(p, function=old + p.function[len(name.group()) :]) for p in kernel.phases]
        return replace(kernel, phases=tuple(phases))

    def status(self) -> Ref:
        """Where a kernel notes an index out of bounds; see status.py."""
        self.noting = True
        return Ref(Buffer("status", 0, self.threads * status.WORDS * 8, dtypes.int64), (self.threads * status.WORDS,))


class Lowering:
    """The launches of a graph, in order, in ``items``.

    Args:
      graph: optimised.
      inputs, outputs: where its inputs lie and its outputs are wanted, densely.
    """

    def __init__(self, graph: Graph, inputs: Sequence[Ref], outputs: Sequence[Ref], shared: Shared) -> None:
        self.graph = decompose(graph)
        self.shared = shared
        self.threads = shared.threads
        self.items: list[Item] = []
        self.refs: dict[Value, Ref] = dict(zip(self.graph.inputs, inputs, strict=True))
        for x, array in self.graph.constants.items():
            self.refs[x] = Ref(Buffer("constant", len(shared.constants), nbytes_of(x), x.dtype), x.shape)
            shared.constants.append(array)
        self.outputs = outputs
        self.direct = self._direct_outputs()
        items = fuse(self.graph, fusable)
        self.needed = self._needed(items)
        movement.plan(self, items)
        for item in items:
            if isinstance(item, Cluster):
                self.cluster(item)
            elif item.op not in ALIASES:
                self.node(item)
        self._finish_outputs()

    # --- outputs ------------------------------------------------------------------------------------------------------

    def _direct_outputs(self) -> dict[Value, Ref]:
        """Values that are computed where they are returned; the others are copied there in the end."""
        direct: dict[Value, Ref] = {}
        self.copied: list[int] = []
        for i, y in enumerate(self.graph.outputs):
            made = unreshaped(y)
            if made.node is None or made.node.op in ALIASES or made in direct:
                self.copied.append(i)
            else:
                out = self.outputs[i]
                direct[made] = Ref(out.buffer, made.shape, None, out.offset)
        return direct

    def _finish_outputs(self) -> None:
        for i in self.copied:
            x, y = self.ref(self.graph.outputs[i]), self.outputs[i]
            if x.buffer is not y.buffer:
                self.copy(x, y, "copy to the result")

    def _needed(self, items: list[Cluster | Node]) -> set[Value]:
        """Values that must lie in memory: those that something outside of their cluster reads."""
        needed = set(map(base, self.graph.outputs))
        for item in items:
            if isinstance(item, Cluster):
                needed.update(base(x) for node in item.nodes for x in node.values if origin(x) not in item.axes)
            elif item.op not in ALIASES:
                needed.update(map(base, item.values))
        return needed

    # --- where values lie ---------------------------------------------------------------------------------------------

    def new(self, aval: ShapedArray) -> Ref:
        """A dense array in the workspace."""
        return Ref(Buffer("work", next(self.shared.numbers), nbytes_of(Value(aval)), aval.dtype), aval.shape)

    def scratch(self, nbytes: int) -> Buffer | None:
        """Scratch memory in the workspace."""
        return Buffer("work", next(self.shared.numbers), nbytes, np.dtype("uint8")) if nbytes else None

    def target(self, value: Value) -> Ref:
        """Where a value is to be computed."""
        ref = self.direct.get(value)
        if ref is None:
            ref = self.new(value.aval)
        self.refs[value] = ref
        return ref

    def ref(self, value: Value) -> Ref:
        """Where a value lies; views are made here, when they are first asked for."""
        known = self.refs.get(value)
        if known is not None:
            return known
        node = value.node
        assert node is not None
        x = self.ref(node.operands[0])
        if node.op is shape.unstack:
            self.refs.update(zip(node.results, unstacked(node, x), strict=True))
            return self.refs[value]
        result = view(node, x)
        if result is None:
            result = view(node, self.ordered(node.operands[0]))
            assert result is not None
        self.refs[value] = result
        return result

    def dense(self, x: Ref) -> Ref:
        """The same array with its elements in row-major order, copied if need be."""
        if x.dense:
            return x
        y = self.new(ShapedArray(x.shape, x.dtype))
        self.copy(x, y, "copy to row-major order")
        return y

    def ordered(self, value: Value) -> Ref:
        """Where a value lies in row-major order; if it is copied for that, all that come later read the copy."""
        ref = self.refs[value] = self.dense(self.ref(value))
        return ref

    def copy(self, x: Ref, y: Ref, text: str) -> None:
        """Launch a copy."""
        a = Value(ShapedArray(x.shape, x.dtype))
        node = Node(elementwise.stop_gradient, [a], {}, [a.aval])
        kernel = nest(self.shared.name(), single(node), {a: x}, {node.results[0]: y}, self.threads)
        self.launch((kernel, [x, y], x.size), text)

    # --- launches -----------------------------------------------------------------------------------------------------

    def launch(self, generated: Generated, text: str) -> None:
        """Append a kernel."""
        kernel, operands, work = generated
        kernel = self.shared.known(kernel)
        shared, own = self.scratch(kernel.shared), self.scratch(kernel.own * self.threads)
        self.items.append(Launch(kernel, operands, work, text, shared, own))

    def cluster(self, cluster: Cluster) -> None:
        """Launch a nest."""
        outputs = {n.results[0]: self.target(n.results[0]) for n in cluster.nodes if n.results[0] in self.needed}
        inputs: dict[Value, Ref] = {}
        for node in cluster.nodes:
            for x in node.values:
                if origin(x) not in cluster.axes:
                    inputs[x] = self.ref(x)
        kernel = nest(self.shared.name(), cluster, inputs, outputs, self.threads)
        text = " ".join(n.op.name for n in cluster.nodes)
        work = cluster.size * len(cluster.nodes)
        self.launch((kernel, [*inputs.values(), *outputs.values()], work), f"{cluster.sizes}: {text}")

    def node(self, node: Node) -> None:
        """Launch an operation that is not part of a nest."""
        if isinstance(node.op, ScanCall) and scan(self, node):
            return
        move = movement.MOVEMENT.get(node.op.name)
        if move is not None:
            move(self, node)
            return
        generate = GENERATORS.get(node.op.name)
        generated = generate(self, node) if generate is not None else None
        if generated is not None:
            shapes = ", ".join(str(list(x.shape)) for x in node.values)
            self.launch(generated, f"{node.op.name} {shapes}")
            return
        operands = [self.ref(x) if type(x) is Value else x for x in node.operands]
        results = [self.target(y) for y in node.results]
        self.items.append(HostCall(node, operands, results, f"{node.op.name} by NumPy"))

    def number(self, x: Any, like: Value) -> Ref:
        """A Python number among the operands of a call, as an array."""
        ref = Ref(Buffer("constant", len(self.shared.constants), nbytes_of(like), like.dtype), like.shape)
        self.shared.constants.append(from_numpy(np.full(like.shape, x, like.dtype)))
        return ref


def _matmul(lowering: Lowering, node: Node) -> Generated | None:
    if node.results[0].dtype != dtypes.float32:
        return None
    x, w = (lowering.ref(v) for v in node.values)
    y = lowering.target(node.results[0])
    generated = product(lowering.shared.name(), x, w, y, lowering.threads)
    if generated is None:
        x, w = (lowering.ordered(v) for v in node.values)
        generated = product(lowering.shared.name(), x, w, y, lowering.threads)
    return generated


def _window(lowering: Lowering, node: Node) -> Generated | None:
    kernel = windowed.kernel(lowering.shared.name(), node, lowering.threads)
    if kernel is None:
        return None
    operands = [lowering.ordered(x) for x in node.values]
    y = lowering.target(node.results[0])
    return kernel, [*operands, y], windowed.work(node)


GENERATORS: dict[str, Callable[[Lowering, Node], Generated | None]] = {
    "matmul": _matmul,
    **dict.fromkeys(windowed.GENERATORS, _window),
    "take": gather.take,
    "put": gather.put,
    "put_add": gather.put,
    "wrap_index": gather.wrap_index,
    "argmax": along.arg_extremum,
    "argmin": along.arg_extremum,
    "cumulative_sum": along.cumulative,
    "cumulative_prod": along.cumulative,
    "random_bits": random.random_bits,
    "derive_key": random.derive_key,
}
