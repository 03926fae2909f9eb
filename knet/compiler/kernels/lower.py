"""From an optimised graph to launches of device kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...core import dtypes, errors
from ...core.ops import reduce
from ..fuse import REDUCTIONS, Cluster
from ..graph import Graph, Node, Value
from ..layout import Buffer, Ref
from ..plan import lowering as plan
from ..plan.scans import scan
from ..scalar import C_TYPES, HALF, compute_dtype, printable
from ..scan import ScanCall
from . import along, conv, exponents, gather, movement, pool, products, random, scalar, sort
from .kernel import Launch, Writer
from .nest import nest
from .target import Target

STATUS_WORDS = 8


class Shared(plan.Shared):
    """What the lowering of a program and of the loops in it have in common.

    ``literal``: whether sizes stand in the text. ``noting``: whether a kernel asked for the status.
    """

    def __init__(self, target: Target, literal: bool) -> None:
        super().__init__()
        self.target = target
        self.literal = literal
        self.noting = False


class Lowering(plan.Lowering):
    """The launches of a graph on a device."""

    widened = ()  # generators compute with half types in float32 themselves

    def __init__(self, graph: Graph, inputs: Sequence[Ref], outputs: Sequence[Ref], shared: Shared) -> None:
        self.target = shared.target
        self.literal = shared.literal
        super().__init__(graph, inputs, outputs, shared)

    # --- what generators use ------------------------------------------------------------------------------------------

    def writer(self, name: str, raw: bool = False) -> Writer:
        """A writer for a kernel; see :class:`Writer`."""
        return Writer(name, self.target, self.literal, raw)

    def launch(self, launch: Launch) -> None:
        """Append a launch, unless it has nothing to do."""
        if 0 not in launch.groups:
            self.items.append(launch)

    def status(self) -> Ref:
        """Where kernels note the first index out of bounds."""
        self.shared.noting = True
        return Ref(Buffer("status", 0, STATUS_WORDS * 8, dtypes.int64), (STATUS_WORDS,))

    # --- what the plan asks for ---------------------------------------------------------------------------------------

    def fusable(self, node: Node) -> bool:
        if not all(self._computed(x.dtype) for x in (*node.values, *node.results)):
            return False
        if node.op in REDUCTIONS:
            dtype = node.results[0].dtype
            extremum = node.op in (reduce.reduce_max, reduce.reduce_min)  # a sum of truth values would be another one
            return extremum or dtype != dtypes.bool_
        if not printable(node) or node.op.name == "cast":
            return printable(node)
        try:
            return bool(scalar.text(node.op, compute_dtype(node)))
        except KeyError:  # a function that does not exist for the dtype
            return False

    def _computed(self, dtype: Any) -> bool:
        if dtype.name == "float64" and not self.target.doubles:
            return False
        return dtype.name in C_TYPES or dtype.name in HALF

    def on_host(self, node: Node) -> None:
        # A cast is how numbers among the arguments of a program, which are float64, reach the device.
        if not self.target.doubles and node.op.name != "cast" and _has_kernel(node.op):
            if any(x.dtype == dtypes.float64 for x in (*node.values, *node.results)):
                raise errors.no_float64(node.op.name)
        super().on_host(node)
        self.items[-1].text = f"{node.op.name} by {self.target.aside(node)}"

    def fits(self, node: Node, y: Ref) -> bool:
        return node.op.name in GENERATORS or node.op.name in self.target.own

    def copy(self, x: Ref, y: Ref, text: str) -> None:
        movement.copy(self, x, y, text)

    def cluster(self, cluster: Cluster) -> None:
        inputs, outputs = self.operands(cluster)
        text = " ".join(n.op.name for n in cluster.nodes)
        nest(self, cluster, inputs, outputs, f"{cluster.sizes}: {text}")

    def node(self, node: Node) -> None:
        if isinstance(node.op, ScanCall) and scan(self, node):
            return
        own = self.target.own.get(node.op.name)
        if own is not None and own(self, node):
            return
        generate = GENERATORS.get(node.op.name)
        if generate is None or not generate(self, node):
            self.on_host(node)


def _has_kernel(op: Any) -> bool:
    return op in REDUCTIONS or bool(getattr(op, "c", "")) or getattr(op, "name", "") in GENERATORS


GENERATORS: dict[str, Callable[[Lowering, Node], bool]] = {
    **movement.GENERATORS,
    **gather.GENERATORS,
    **along.GENERATORS,
    **sort.GENERATORS,
    **random.GENERATORS,
    **exponents.GENERATORS,
    **products.GENERATORS,
    **conv.GENERATORS,
    **pool.GENERATORS,
}


def lower(graph: Graph, target: Target, literal: bool, inputs: Sequence[Ref] | None = None) -> Lowering:
    """The launches of a graph whose inputs lie densely, or as ``inputs`` says, and whose outputs shall lie densely."""
    if inputs is None:
        inputs = [input_ref(i, x.shape, x.dtype) for i, x in enumerate(graph.inputs)]
    outputs = [output_ref(i, y) for i, y in enumerate(graph.outputs)]
    return Lowering(graph, inputs, outputs, Shared(target, literal))


def input_ref(number: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None) -> Ref:
    """Where an input lies."""
    return Ref(Buffer("input", number, -1, dtype), shape, strides)


def output_ref(number: int, y: Value) -> Ref:
    """Where an output is wanted."""
    return Ref(Buffer("output", number, max(1, y.size) * y.dtype.itemsize, y.dtype), y.shape)
