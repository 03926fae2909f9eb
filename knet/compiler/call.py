"""A graph as a function that every transformation can pass through.

A :class:`GraphCall` on concrete arrays runs the compiled graph. Under a transformation it becomes calls of new graphs:
of a forward graph that also returns what the backward graph needs, of a graph that pushes tangents, of a graph for a
batch. Each is derived once and kept with the graph that it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.batch import BatchTrace
from ..core.custom import Call
from ..core.forward import JVPTrace
from ..core.reverse import ReverseTrace
from ..core.trace import Tracer
from .derived import batch, linearized, pulled, push_forward
from .execute import run
from .graph import Graph
from .interpret import interpret
from .stage import StageTrace


class GraphCall(Call):
    """A graph as a call: a list of leaves, one for each input, to a list of results."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.name, self.execute)
        self.graph = graph

    def execute(self, leaves: Sequence[Any]) -> list[Any]:
        """Results on concrete arrays, by the compiled graph; on tracers, operation by operation."""
        if any(isinstance(x, Tracer) for x in leaves):
            return interpret(self.graph, leaves)
        return run(self.graph, leaves)

    def stage(self, trace: StageTrace, leaves: Sequence[Any]) -> list[Any]:
        """Inside another graph the operations are that one's, and are optimised with what stands around them."""
        return interpret(self.graph, leaves)

    def recorded(self, trace: ReverseTrace, values: Sequence[Any], argnums: tuple[int, ...]) -> Any:
        results = GraphCall(linearized(self.graph, argnums))(values)
        count = len(self.graph.outputs)
        outs, residuals = results[:count], results[count:]

        def pull(gs: Sequence[Any]) -> list[Any]:
            graph = pulled(self.graph, argnums, tuple(g is not None for g in gs))
            cs = iter(GraphCall(graph)([*residuals, *(g for g in gs if g is not None)]))
            return [next(cs) if used else None for used in graph.derived["used"]]

        return outs, (), pull

    def pushed(self, trace: JVPTrace, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        graph = push_forward(self.graph, tuple(t is not None for t in tangents))
        results = iter(GraphCall(graph)([*primals, *(t for t in tangents if t is not None)]))
        outs = [next(results) for _ in self.graph.outputs]
        return outs, [next(results) if used else None for used in graph.derived["used"]]

    def batched(self, trace: BatchTrace, batched: Sequence[bool]) -> Call:
        return GraphCall(batch(self.graph, tuple(batched), trace.size))
