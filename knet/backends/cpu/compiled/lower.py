"""From an optimised graph to launches: which kernel computes what, and which buffers it reads and writes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ....compiler.fuse import REDUCTIONS, Cluster, single
from ....compiler.graph import Node, Value
from ....compiler.layout import Buffer, Ref
from ....compiler.plan import lowering as plan
from ....compiler.plan import movement
from ....compiler.plan.scans import scan
from ....compiler.scalar import C_TYPES, HALF, compute_dtype, printable
from ....compiler.scan import ScanCall
from ....core import ShapedArray, dtypes
from ....core.ops import elementwise, reduce
from . import along, gather, random, scalar, status, windowed
from .items import Launch
from .kernel import Kernel
from .nest import nest
from .products import fits, product

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


class Shared(plan.Shared):
    """What the lowering of a program and of the loops in it have in common."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.threads = threads
        self.distinct: list[Kernel] = []
        self.kernels: dict[str, str] = {}
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


class Lowering(plan.Lowering):
    """The launches of a graph for a team of ``shared.threads``."""

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return self.shared.threads

    def fusable(self, node: Node) -> bool:
        return fusable(node)

    def fits(self, node: Node, y: Ref) -> bool:
        return node.results[0].dtype == dtypes.float32 and fits(node, y)

    def scratch(self, nbytes: int) -> Buffer | None:
        """Scratch memory in the workspace."""
        return Buffer("work", next(self.shared.numbers), nbytes, np.dtype("uint8")) if nbytes else None

    def copy(self, x: Ref, y: Ref, text: str) -> None:
        a = Value(ShapedArray(x.shape, x.dtype))
        node = Node(elementwise.stop_gradient, [a], {}, [a.aval])
        kernel = nest(self.shared.name(), single(node), {a: x}, {node.results[0]: y}, self.threads)
        self.launch((kernel, [x, y], x.size), text)

    def launch(self, generated: Generated, text: str) -> None:
        """Append a kernel."""
        kernel, operands, work = generated
        kernel = self.shared.known(kernel)
        shared, own = self.scratch(kernel.shared), self.scratch(kernel.own * self.threads)
        self.items.append(Launch(kernel, operands, work, text, shared, own))

    def cluster(self, cluster: Cluster) -> None:
        inputs, outputs = self.operands(cluster)
        kernel = nest(self.shared.name(), cluster, inputs, outputs, self.threads)
        text = " ".join(n.op.name for n in cluster.nodes)
        work = cluster.size * len(cluster.nodes)
        self.launch((kernel, [*inputs.values(), *outputs.values()], work), f"{cluster.sizes}: {text}")

    def node(self, node: Node) -> None:
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
        self.on_host(node)


def _matmul(lowering: Lowering, node: Node) -> Generated | None:
    if node.results[0].dtype != dtypes.float32:
        return None
    x, w = (lowering.ref(v) for v in node.values)
    y = lowering.result(node.results[0])
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
    y = lowering.result(node.results[0])
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
