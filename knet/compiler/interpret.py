"""Running a graph operation by operation: on arrays it is a program, on tracers a way to look at it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.custom import Call
from .graph import Graph, Node, Value


def interpret(graph: Graph, leaves: Sequence[Any]) -> list[Any]:
    """Results of a graph, computed operation by operation on whatever the leaves are."""
    values: dict[Value, Any] = dict(graph.constants)
    values.update(zip(graph.inputs, leaves, strict=True))
    last = _last_uses(graph)
    for node in graph.nodes:
        operands = [values[x] if type(x) is Value else x for x in node.operands]
        results = node.op(operands) if isinstance(node.op, Call) else node.op(*operands, **node.params)
        if len(node.results) == 1 and not getattr(node.op, "multiple", True):
            results = (results,)
        values.update(zip(node.results, results, strict=True))
        for x in last.get(node, ()):
            values.pop(x, None)
    return [values[y] if type(y) is Value else y for y in graph.outputs]


def _last_uses(graph: Graph) -> dict[Node, list[Value]]:
    """Values that no later node needs, by the node after which that is so."""
    kept = {y for y in graph.outputs if type(y) is Value}
    last: dict[Node, list[Value]] = {}
    for node in reversed(graph.nodes):
        for x in node.values:
            if x not in kept:
                kept.add(x)
                last.setdefault(node, []).append(x)
    return last
