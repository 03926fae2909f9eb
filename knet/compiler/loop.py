"""A scan in a graph taken apart, for the passes that move work across its boundary, and put together again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..core import ShapedArray
from .graph import Builder, Graph, Node, Value


def is_scan(node: Node) -> bool:
    """Whether a node is a :class:`~.scan.ScanCall` (which needs this module to run: its body is optimised)."""
    return node.op.name == "scan"


def needed_for(nodes: Sequence[Node], wanted: Iterable[Any]) -> list[Node]:
    """The nodes on which some values depend, in order."""
    needed, kept = set(wanted), []
    for node in reversed(nodes):
        if any(y in needed for y in node.results):
            kept.append(node)
            needed.update(node.values)
    return kept[::-1]


class Carried:
    """One value of the carry: in the body its ``inner`` input and ``out``; outside its ``start`` and its ``result``."""

    __slots__ = ("inner", "out", "result", "start")

    def __init__(self, inner: Value, start: Any, out: Any, result: Value) -> None:
        self.inner = inner
        self.start = start
        self.out = out
        self.result = result


class Stacked:
    """One of the ys: ``out`` in the body, the stacked ``result`` outside."""

    __slots__ = ("out", "result")

    def __init__(self, out: Any, result: Value) -> None:
        self.out = out
        self.result = result


class Loop:
    """The parts of a scan node, free to be changed.

    Attributes:
      consts, xs: input of the body -> operand outside.
      carry, ys: see above.
      nodes, constants: of the body.
    """

    def __init__(self, node: Node, operands: Iterable[Any]) -> None:
        self.call = call = node.op
        body = call.body
        self.name, self.length = body.name, call.length
        outer = call.split(list(operands))
        inner = call.split(body.inputs)
        count = call.carry
        self.consts = dict(zip(inner[0], outer[0], strict=True))
        self.carry = [
            Carried(i, s, o, r)
            for i, s, o, r in zip(inner[1], outer[1], body.outputs[:count], node.results[:count], strict=True)
        ]
        self.xs = dict(zip(inner[2], outer[2], strict=True))
        self.ys = [Stacked(o, r) for o, r in zip(body.outputs[count:], node.results[count:], strict=True)]
        self.nodes = list(body.nodes)
        self.constants = dict(body.constants)

    @property
    def outputs(self) -> list[Any]:
        """What the body returns."""
        return [*(c.out for c in self.carry), *(y.out for y in self.ys)]

    def emit(self, value: Value) -> Value:
        """The values of all steps, outside: a new y, unless the value is a slice of xs or a y already."""
        if value in self.xs:
            return self.xs[value]
        for y in self.ys:
            if y.out is value:
                return y.result
        self.ys.append(Stacked(value, Value(ShapedArray((self.length, *value.shape), value.dtype))))
        return self.ys[-1].result

    def stacks(self, value: Value) -> bool:
        """Whether :meth:`emit` costs nothing."""
        return value in self.xs or any(y.out is value for y in self.ys)

    def replace(self, values: dict[Value, Any]) -> None:
        """Other values take the place of some in the body; nodes that made those are left out."""
        rewrite = Builder(Graph(self.name))
        rewrite.replaced = dict(values)
        for node in self.nodes:
            if not all(y in values for y in node.results):
                rewrite.copy(node)
        self.nodes = rewrite.graph.nodes
        parts: list[Any] = [*self.carry, *self.ys]
        for part in parts:
            part.out = rewrite.operand(part.out)

    def build(self, builder: Builder) -> None:
        """Append the loop to a graph; its results are replaced there. Nothing, if it returns nothing."""
        if not self.outputs:
            return
        body = Graph(self.name)
        body.inputs = [*self.consts, *(c.inner for c in self.carry), *self.xs]
        body.nodes, body.outputs = self.nodes, self.outputs
        used = {x for node in self.nodes for x in node.values} | set(body.outputs)
        body.constants = {v: a for v, a in self.constants.items() if v in used}
        call = self.call.around(body, len(self.consts), len(self.carry))
        operands = [*self.consts.values(), *(c.start for c in self.carry), *self.xs.values()]
        node = builder.add(call, [builder.operand(x) for x in operands], call.params, call.avals)
        parts: list[Any] = [*self.carry, *self.ys]
        builder.replaced.update(zip((part.result for part in parts), node.results))
