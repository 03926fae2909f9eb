"""The graph of a traced function: values, the operations that make them, and how it is printed.

A graph is in single-assignment form: every value is an input, a constant, or a result of one node, and nodes stand in
an order in which they can be computed. Operands of a node are values or Python numbers (which take the dtype of the
node's other operands). An operation is a primitive or a call with graphs of its own (a loop, a branch).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..core import ShapedArray
from ..core.aval import size_of


class Value:
    """An array in a graph: its shape and dtype, and the node that makes it (None for inputs and constants)."""

    __slots__ = ("aval", "node")

    def __init__(self, aval: ShapedArray, node: Node | None = None) -> None:
        self.aval = aval
        self.node = node

    @property
    def shape(self) -> tuple[int, ...]:
        return self.aval.shape

    @property
    def dtype(self) -> Any:
        return self.aval.dtype

    @property
    def size(self) -> int:
        return size_of(self.aval.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of a dense buffer that holds it."""
        return self.size * self.aval.dtype.itemsize


class Node:
    """An operation on values: ``op`` has a name, and is called like a primitive."""

    __slots__ = ("op", "operands", "params", "results")

    def __init__(self, op: Any, operands: Sequence[Any], params: dict[str, Any], avals: Sequence[ShapedArray]) -> None:
        self.op = op
        self.operands = tuple(operands)
        self.params = params
        self.results = tuple(Value(a, self) for a in avals)

    @property
    def values(self) -> Iterable[Value]:
        """Operands that are values."""
        return (x for x in self.operands if type(x) is Value)


class Graph:
    """A function as a graph.

    Attributes:
      name: of the traced function.
      inputs: values that a call brings, in order.
      constants: value -> the array that tracing met.
      nodes: in an order in which they can be computed.
      outputs: what a call returns: values, or Python numbers.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.constants: dict[Value, Any] = {}
        self.nodes: list[Node] = []
        self.outputs: list[Any] = []
        self.derived: dict[Any, Any] = {}  # graphs made of this one: derivatives, batches; and compiled programs

    def uses(self) -> dict[Value, int]:
        """How often each value is an operand or an output."""
        counts: dict[Value, int] = {}
        for node in self.nodes:
            for x in node.values:
                counts[x] = counts.get(x, 0) + 1
        for x in self.outputs:
            if type(x) is Value:
                counts[x] = counts.get(x, 0) + 1
        return counts

    def __str__(self) -> str:
        return "\n".join(_lines(self, _names(self)))


def extract(name: str, inputs: Sequence[Value], nodes: Iterable[Node], outputs: Sequence[Any], known: Any) -> Graph:
    """Part of a graph as a graph: new inputs stand for ``inputs``; ``known`` has the constants that nodes may use."""
    part = Graph(name)
    part.constants = dict(known)
    builder = Builder(part)
    # What was computed before the cut is an input after it: patterns must not look through to the node that made it.
    builder.replaced = {x: Value(x.aval) for x in inputs}
    builder.graph.inputs = [builder.replaced[x] for x in inputs]
    part.outputs = list(outputs)
    for node in nodes:
        builder.copy(node)
    return builder.finish()


def derive(graph: Graph, key: Any, make: Callable[[], Any]) -> Any:
    """What is made of a graph once and kept with it."""
    if key not in graph.derived:
        with _deriving:
            if key not in graph.derived:
                graph.derived[key] = make()
    return graph.derived[key]


_deriving = threading.RLock()  # two threads must not compile the same program


class Builder:
    """A new graph that is made from an old one node by node, with values replaced on the way."""

    def __init__(self, old: Graph) -> None:
        self.old = old
        self.graph = Graph(old.name)
        self.graph.inputs = list(old.inputs)
        self.graph.constants = dict(old.constants)
        self.replaced: dict[Value, Any] = {}

    def operand(self, x: Any) -> Any:
        """What stands for an operand of the old graph in the new one."""
        return self.replaced.get(x, x) if type(x) is Value else x

    def operands(self, node: Node) -> tuple[Any, ...]:
        """The operands of an old node in the new graph."""
        return tuple(map(self.operand, node.operands))

    def add(self, op: Any, operands: Sequence[Any], params: dict[str, Any], avals: Sequence[ShapedArray]) -> Node:
        """Append a node."""
        node = Node(op, operands, params, avals)
        self.graph.nodes.append(node)
        return node

    def copy(self, node: Node, operands: Sequence[Any] | None = None) -> None:
        """Append an old node as it is, but for replaced operands."""
        operands = self.operands(node) if operands is None else operands
        if all(a is b for a, b in zip(operands, node.operands)):
            self.graph.nodes.append(node)
            return
        new = self.add(node.op, operands, node.params, [y.aval for y in node.results])
        self.replaced.update(zip(node.results, new.results))

    def inline(self, graph: Graph, operands: Sequence[Any]) -> list[Any]:
        """Append another graph's nodes; returns what stands for its outputs."""
        before = self.replaced
        self.replaced = dict(zip(graph.inputs, operands, strict=True))
        self.graph.constants.update(graph.constants)
        for node in graph.nodes:
            new = self.add(node.op, self.operands(node), node.params, [y.aval for y in node.results])
            self.replaced.update(zip(node.results, new.results))
        outputs = [self.operand(y) for y in graph.outputs]
        self.replaced = before
        return outputs

    def finish(self) -> Graph:
        """The new graph."""
        self.graph.outputs = [self.operand(y) for y in self.old.outputs]
        used = {x for node in self.graph.nodes for x in node.values} | {
            y for y in self.graph.outputs if type(y) is Value
        }
        self.graph.constants = {v: a for v, a in self.graph.constants.items() if v in used}
        return self.graph


# --- printing ---------------------------------------------------------------------------------------------------------


def _names(graph: Graph) -> Callable[[Any], str]:
    numbers: dict[Value, str] = {}
    for x in graph.inputs:
        numbers[x] = _letters(len(numbers))
    for x in graph.constants:
        numbers[x] = f"c{len(numbers) - len(graph.inputs)}"
    count = 0
    for node in graph.nodes:
        for y in node.results:
            numbers[y] = f"v{count}"
            count += 1
    return lambda x: numbers.get(x, "?") if type(x) is Value else repr(x)


def _letters(i: int) -> str:
    return (_letters(i // 26 - 1) if i >= 26 else "") + chr(ord("a") + i % 26)


def _lines(graph: Graph, name: Callable[[Any], str], indent: str = "") -> list[str]:
    inputs = ", ".join(f"{name(x)}: {x.aval}" for x in graph.inputs)
    lines = [f"{indent}{graph.name}({inputs}):"]
    lines += [f"{indent}  {name(v)}: {v.aval} = constant" for v in graph.constants]
    for node in graph.nodes:
        left = ", ".join(f"{name(y)}: {y.aval}" for y in node.results)
        right = [name(x) for x in node.operands]
        right += [f"{k}={_short(v)}" for k, v in node.params.items()]
        lines.append(f"{indent}  {left} = {node.op.name}({', '.join(right)})")
        for body in getattr(node.op, "graphs", ()):
            lines += _lines(body, _names(body), indent + "    ")
    lines.append(f"{indent}  return {', '.join(map(name, graph.outputs))}")
    return lines


def _short(value: Any) -> str:
    text = repr(value).replace(" ", "")
    return text if len(text) < 60 else text[:57] + "..."
