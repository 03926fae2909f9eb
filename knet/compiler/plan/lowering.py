"""From an optimised graph to a plan: where each value lies, and what is launched in which order.

What is common to all backends; a backend's subclass says what it can fuse, and makes its launches.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from ...core import ShapedArray, dtypes
from ...core.device import from_numpy
from ...core.ops import shape
from ..decompose import decompose
from ..fuse import Cluster, fuse, origin
from ..graph import Graph, Node, Value
from ..layout import ALIASES, VIEWS, Buffer, Ref, base, nbytes_of, unreshaped, unstacked, view
from . import movement
from .items import HostCall


class Shared:
    """What the lowering of a program and of the loops in it have in common: numbers of buffers, and constants."""

    def __init__(self) -> None:
        self.constants: list[Any] = []
        self.numbers = itertools.count()


def is_zero(graph: Graph, x: Value) -> bool:
    """Whether a value is a constant of zeros, none of them -0.0."""
    while x.node is not None and x.node.op in VIEWS:
        x = x.node.operands[0]
    constant = graph.constants.get(x)
    if constant is None:
        return False
    array = np.asarray(constant._host("a constant"))
    return not array.any() and (not dtypes.is_differentiable(array.dtype) or not np.signbit(array).any())


class Lowering:
    """The launches of a graph, in order, in ``items``.

    Args:
      graph: optimised.
      inputs, outputs: where its inputs lie and its outputs are wanted, densely.
    """

    widened: Container[str] | None = None  # see decompose

    def __init__(self, graph: Graph, inputs: Sequence[Ref], outputs: Sequence[Ref], shared: Any) -> None:
        self.graph = decompose(graph, self.widened)
        self.shared = shared
        self.items: list[Any] = []
        self.refs: dict[Value, Ref] = dict(zip(self.graph.inputs, inputs, strict=True))
        for x, array in self.graph.constants.items():
            self.refs[x] = self.constant(array, x)
        self.outputs = outputs
        self.direct = self._direct_outputs()
        items = fuse(self.graph, self.fusable)
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

    def result(self, value: Value) -> Ref:
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

    def number(self, x: Any, like: Value) -> Ref:
        """A Python number among the operands of a call, as an array."""
        return self.constant(from_numpy(np.full(like.shape, x, like.dtype)), like)

    def constant(self, array: Any, like: Value) -> Ref:
        """Where the elements of an array will lie that is known now."""
        shared = self.shared
        ref = Ref(Buffer("constant", len(shared.constants), nbytes_of(like), like.dtype), like.shape)
        shared.constants.append(array)
        return ref

    # --- what a backend does ------------------------------------------------------------------------------------------

    def fusable(self, node: Node) -> bool:
        """Whether a node can be printed as part of a nest."""
        raise NotImplementedError

    def fits(self, node: Node, y: Ref) -> bool:
        """Whether the product of a node can be written to a place that is not dense."""
        raise NotImplementedError

    def copy(self, x: Ref, y: Ref, text: str) -> None:
        """Launch a copy."""
        raise NotImplementedError

    def cluster(self, cluster: Cluster) -> None:
        """Launch a nest."""
        raise NotImplementedError

    def node(self, node: Node) -> None:
        """Launch an operation that is not part of a nest."""
        raise NotImplementedError

    def operands(self, cluster: Cluster) -> tuple[dict[Value, Ref], dict[Value, Ref]]:
        """What a cluster reads from outside of it, and what it must leave in memory."""
        outputs = {n.results[0]: self.result(n.results[0]) for n in cluster.nodes if n.results[0] in self.needed}
        inputs: dict[Value, Ref] = {}
        for node in cluster.nodes:
            for x in node.values:
                if origin(x) not in cluster.axes:
                    inputs[x] = self.ref(x)
        return inputs, outputs

    def on_host(self, node: Node) -> None:
        """Append an operation by NumPy."""
        operands = [self.ref(x) if type(x) is Value else x for x in node.operands]
        results = [self.result(y) for y in node.results]
        self.items.append(HostCall(node, operands, results, f"{node.op.name} by NumPy"))
