"""Graphs made of a graph: its derivatives, forwards and backwards, and the same for a batch.

Each is staged once, by running the graph under the transformation, and kept with the graph that it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import dtypes
from ..core.aval import ShapedArray
from ..core.batch import BatchTrace, BatchTracer
from ..core.forward import JVPTrace
from ..core.reverse import ReverseTrace, accumulate, backward
from .graph import Graph, Node, Value, derive, extract
from .interpret import interpret
from .stage import StageTrace, stage


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
        inputs = [trace.graph.inputs[i] if n < 0 else nodes[n].results[i] for n, i in self.places]
        inputs += trace.graph.inputs[len(self.graph.inputs) :]
        outputs = [c for c in cs if c is not None]
        result = extract(f"{self.graph.name}'s derivative", inputs, nodes[cut:], outputs, trace.graph.constants)
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


def batch(graph: Graph, batched: tuple[bool, ...], size: int, whole: tuple[bool, ...] | None = None) -> Graph:
    """Graph for a batch: inputs marked have the batch axis in front, and so have results.

    All of them do, or with ``whole`` those that it marks and those that depend on the batch: ``derived["used"]`` says
    which have it.
    """

    def make() -> Graph:
        used: list[bool] = []

        def function(values: list[Any]) -> list[Any]:
            trace = BatchTrace(graph.name, size)
            try:
                outs = interpret(graph, [BatchTracer(trace, x) if b else x for x, b in zip(values, batched)])
                values, mine = trace.split(outs)
                used[:] = [b or whole is None or whole[i] for i, b in enumerate(mine)]
                return [trace.whole(y) if b else v for y, v, b in zip(outs, values, used)]
            finally:
                trace.closed = True

        avals = [ShapedArray((size, *a.shape), a.dtype) if b else a for a, b in zip(_avals(graph), batched)]
        result, _ = stage(function, avals, graph.name)
        result.derived["used"] = used
        return result

    return derive(graph, ("batched", batched, size, whole), make)


def dependent(graph: Graph, argnums: tuple[int, ...]) -> tuple[bool, ...]:
    """Which results have a derivative by the inputs ``argnums`` that may differ from zero."""

    def make() -> tuple[bool, ...]:
        with StageTrace(graph.name) as trace:
            tape = ReverseTrace(graph.name)
            try:
                inputs: list[Any] = [trace.input(a) for a in _avals(graph)]
                for i in argnums:
                    inputs[i] = tape.watch(inputs[i])
                return tuple(tape.number(y) is not None for y in interpret(graph, inputs))
            finally:
                tape.close()

    return derive(graph, ("dependent", argnums), make)
