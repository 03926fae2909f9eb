"""A graph as a function that every transformation can pass through.

A :class:`GraphCall` on concrete arrays runs the compiled graph. Under a transformation it becomes calls of new graphs:
of a forward graph that also returns what the backward graph needs, of a graph that pushes tangents, of a graph for a
batch. Each is derived once and kept with the graph that it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import dtypes
from ..core.aval import ShapedArray
from ..core.batch import BatchTrace, vmap
from ..core.custom import Call
from ..core.forward import JVPTrace
from ..core.reverse import ReverseTrace, accumulate, backward
from ..core.trace import Tracer
from .execute import run
from .graph import Builder, Graph, Node, Value, derive
from .interpret import interpret
from .stage import StageTrace, stage


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


# --- graphs made of a graph -------------------------------------------------------------------------------------------


def _avals(graph: Graph) -> list[ShapedArray]:
    return [x.aval for x in graph.inputs]


def linearized(graph: Graph, argnums: tuple[int, ...]) -> Graph:
    """Graph that returns the results, and then the residuals that :func:`pulled` takes."""
    return derive(graph, ("joint", argnums), lambda: _Joint(graph, argnums)).forward


def pulled(graph: Graph, argnums: tuple[int, ...], present: tuple[bool, ...]) -> Graph:
    """Graph from residuals and cotangents of the results that have one to cotangents of the inputs ``argnums``.

    ``derived["used"]`` says which of them are not zero: only those are returned.
    """
    joint = derive(graph, ("joint", argnums), lambda: _Joint(graph, argnums))
    return derive(graph, ("pulled", argnums, present), lambda: joint.backward(present))


class _Joint:
    """Forward and backward pass of a graph, staged one after the other and cut where the cotangents come in.

    What the backward pass needs of the forward pass, the residuals, are values computed before the cut and used after.
    All pull-backs share one forward graph, so the residuals are those of the pull-back in which every result that can
    have a cotangent has one.
    """

    def __init__(self, graph: Graph, argnums: tuple[int, ...]) -> None:
        self.graph = graph
        self.argnums = argnums
        trace, outs, cs = self._stage(tuple(dtypes.is_differentiable(y.dtype) for y in graph.outputs))
        nodes, cut = trace.graph.nodes, self.cut
        own = trace.graph.inputs[: len(graph.inputs)]
        # Every value of the forward pass and its place, by which it is found again in another staging.
        places = {x: (-1, i) for i, x in enumerate(own)}
        places |= {y: (n, i) for n, node in enumerate(nodes[:cut]) for i, y in enumerate(node.results)}
        needed = _needed(nodes[cut:], [c for c in cs if c is not None])
        self.places = [places[x] for x in needed if x in places]
        self.forward = Graph(graph.name)
        self.forward.inputs = own
        self.forward.nodes = nodes[:cut]
        self.forward.constants = dict(trace.graph.constants)
        self.forward.outputs = [*outs, *(x for x in needed if x in places)]

    def _stage(self, present: tuple[bool, ...]) -> Any:
        graph = self.graph
        trace = StageTrace(graph.name)
        with trace:
            inputs = [trace.input(a) for a in _avals(graph)]
            tape = ReverseTrace(graph.name)
            try:
                watched: list[Any] = list(inputs)
                for i in self.argnums:
                    watched[i] = tape.watch(inputs[i])
                results = interpret(graph, watched)
                outs = [trace.strong(tape.lower(y)) for y in results]
                numbers = [tape.number(y) for y in results]
                entries = tape.take_tape()
                self.cut = len(trace.graph.nodes)
                cotangents: dict[int, Any] = {}
                gs = [trace.input(y.aval) if p else None for y, p in zip(graph.outputs, present)]
                for n, g in zip(numbers, gs, strict=True):
                    accumulate(cotangents, n, g)
                backward(entries, cotangents, consume=True)
                cs = [cotangents.get(watched[i].number) for i in self.argnums]
            finally:
                tape.close()
        return trace, outs, [None if c is None else trace.strong(c) for c in cs]

    def backward(self, present: tuple[bool, ...]) -> Graph:
        trace, _, cs = self._stage(present)
        nodes, cut = trace.graph.nodes, self.cut
        # Staging is deterministic: the forward part is the one of __init__ node by node, so places name values.
        old = Graph(f"{self.graph.name}'s derivative")
        old.inputs = [trace.graph.inputs[i] if n < 0 else nodes[n].results[i] for n, i in self.places]
        old.inputs += trace.graph.inputs[len(self.graph.inputs) :]
        old.constants = dict(trace.graph.constants)
        old.outputs = [c for c in cs if c is not None]
        # Inputs of a graph are made by no node: residuals are replaced by values that are not.
        builder = Builder(old)
        builder.graph.inputs = [x if x.node is None else Value(x.aval) for x in old.inputs]
        builder.replaced.update(zip(old.inputs, builder.graph.inputs))
        for node in nodes[cut:]:
            builder.copy(node)
        result = builder.finish()
        result.derived["used"] = [c is not None for c in cs]
        return result


def _needed(nodes: Sequence[Node], results: Sequence[Value]) -> dict[Value, None]:
    """Values on which the results depend, in an order that is the same every time."""
    needed = dict.fromkeys(results)
    for node in reversed(nodes):
        if any(y in needed for y in node.results):
            needed.update(dict.fromkeys(node.values))
    return needed


def push_forward(graph: Graph, present: tuple[bool, ...]) -> Graph:
    """Graph from inputs and tangents of those that have one to results and their tangents.

    ``derived["used"]`` says which results have a tangent: only those are returned.
    """

    def make() -> Graph:
        count = len(graph.inputs)
        used: list[bool] = []

        def both(values: list[Any]) -> list[Any]:
            trace = JVPTrace(graph.name)
            tangents = iter(values[count:])
            try:
                joined = [trace.join(x, next(tangents) if p else None) for x, p in zip(values[:count], present)]
                outs, touts = trace.split(interpret(graph, joined))
            finally:
                trace.closed = True
            used[:] = [t is not None for t in touts]
            return [*outs, *(t for t in touts if t is not None)]

        avals = _avals(graph)
        result, _ = stage(both, [*avals, *(a for a, p in zip(avals, present) if p)], graph.name)
        result.derived["used"] = used
        return result

    return derive(graph, ("pushed", present), make)


def batch(graph: Graph, batched: tuple[bool, ...], size: int) -> Graph:
    """Graph for a batch: inputs marked, and all results, have the batch axis in front."""

    def make() -> Graph:
        avals = [ShapedArray((size, *a.shape), a.dtype) if b else a for a, b in zip(_avals(graph), batched)]
        function = vmap(lambda *xs: interpret(graph, xs), in_axes=tuple(0 if b else None for b in batched))
        return stage(lambda xs: function(*xs), avals, graph.name)[0]

    return derive(graph, ("batched", batched, size), make)
