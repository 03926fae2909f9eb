"""A choice between functions as one operation of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..core import ShapedArray
from ..core.batch import BatchTrace, BatchTracer
from ..core.custom import Call
from ..core.forward import JVPTrace
from ..core.ops import elementwise
from ..core.reverse import ReverseTrace
from ..core.trace import Tracer
from .derived import batch, linearized, pulled, push_forward
from .execute import concrete, program
from .graph import Builder, Graph, Value, extract
from .interpret import interpret
from .scan import or_zero, placed
from .stage import StageTrace


class SwitchCall(Call):
    """``branches[index](operands)``; operands are (index, *operands), the index a scalar integer within its limits.

    Attributes:
      branches: graphs with inputs of the same types, and outputs of the same types.
    """

    def __init__(self, branches: Sequence[Graph]) -> None:
        super().__init__("switch", self.execute)
        self.branches = tuple(branches)

    params: ClassVar[dict[str, Any]] = {}

    @property
    def graphs(self) -> tuple[Graph, ...]:
        return self.branches

    def with_graphs(self, graphs: Sequence[Graph]) -> SwitchCall:
        """A choice between other functions."""
        return SwitchCall(graphs)

    @property
    def avals(self) -> list[ShapedArray]:
        """Types of the results."""
        return [y.aval for y in self.branches[0].outputs]

    def execute(self, leaves: Sequence[Any]) -> list[Any]:
        """Results on concrete arrays; on abstract values, their types."""
        if any(isinstance(x, Tracer) for x in leaves):
            return interpret(self.branches[0], leaves[1:])
        index, *arrays = concrete(leaves)
        return list(program(self.branches[int(index)], index.device)(arrays))

    def stage(self, trace: StageTrace, leaves: Sequence[Any]) -> list[Any]:
        """Inside another graph a choice is one node."""
        return trace.record(self, [trace.strong(x, self.name) for x in leaves], self.params, self.avals)

    # --- transformations ----------------------------------------------------------------------------------------------

    def recorded(self, trace: ReverseTrace, values: Sequence[Any], argnums: tuple[int, ...]) -> Any:
        index, *operands = values
        argnums = tuple(i - 1 for i in argnums)
        count = len(self.avals)
        graphs = [linearized(b, argnums) for b in self.branches]
        places, slots = _shared(graphs, count)
        forward = []
        for graph, found in zip(graphs, places):
            own = _copy(graph)
            filled = dict(found)
            own.outputs = [*graph.outputs[:count], *(or_zero(own, filled.get(s), v) for s, v in enumerate(slots))]
            forward.append(own)
        results = self.with_graphs(forward)(values)
        outs, residuals = results[:count], results[count:]

        def pull(gs: Sequence[Any]) -> list[Any]:
            present = tuple(g is not None for g in gs)
            given = [g for g in gs if g is not None]
            parts = [pulled(b, argnums, present) for b in self.branches]
            used = [any(p.derived["used"][i] for p in parts) for i in range(len(argnums))]
            branches = []
            for branch, part, graph, found in zip(self.branches, parts, graphs, places):
                where = {v: s for s, v in found}
                order = [
                    graph.inputs.index(r) if r in graph.inputs else len(operands) + where[r]
                    for r in graph.outputs[count:]
                ]
                branches.append(_pull_back(branch, part, slots, order, used, argnums))
            cs = SwitchCall(branches)([index, *operands, *residuals, *given])
            return placed(used, cs)

        return outs, (), pull

    def pushed(self, trace: JVPTrace, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        parts = [push_forward(b, tuple(t is not None for t in tangents[1:])) for b in self.branches]
        count = len(self.avals)
        used = [any(p.derived["used"][i] for p in parts) for i in range(count)]
        branches = []
        for part in parts:
            graph = _copy(part)
            touts = placed(part.derived["used"], part.outputs[count:])
            outs = self.branches[0].outputs
            graph.outputs = [
                *part.outputs[:count],
                *(or_zero(graph, t, y) for t, y, u in zip(touts, outs, used) if u),
            ]
            branches.append(graph)
        results = SwitchCall(branches)([*primals, *(t for t in tangents[1:] if t is not None)])
        return results[:count], placed(used, results[count:])

    def mapped(self, trace: BatchTrace, values: Sequence[Any], batched: Sequence[bool]) -> list[Any]:
        if batched[0]:  # all are computed, and the result selected example by example
            index, *operands = [BatchTracer(trace, v) if b else v for v, b in zip(values, batched)]
            *others, result = [interpret(b, operands) for b in self.branches]
            for i, other in reversed(list(enumerate(others))):
                chosen = elementwise.less_equal(index, i)
                result = [elementwise.where(chosen, a, b) for a, b in zip(other, result)]
            return result
        inner = tuple(batched[1:])
        none = (False,) * len(self.avals)
        masks = [batch(b, inner, trace.size, none).derived["used"] for b in self.branches]
        whole = tuple(any(m[i] for m in masks) for i in range(len(none)))
        results = self.with_graphs([batch(b, inner, trace.size, whole) for b in self.branches])(values)
        return [BatchTracer(trace, y) if w else y for y, w in zip(results, whole)]


def _copy(graph: Graph) -> Graph:
    copy = Graph(graph.name)
    copy.inputs, copy.constants, copy.nodes = graph.inputs, dict(graph.constants), graph.nodes
    return copy


def _shared(graphs: Sequence[Graph], count: int) -> tuple[list[list[tuple[int, Value]]], list[Value]]:
    """A place for what each branch keeps for its derivative: branches use the same places, as only one of them runs.

    Operands need none. Returns [(place, value), ...] for each branch, and a value of the type of each place.
    """
    slots: list[Value] = []
    places: list[list[tuple[int, Value]]] = []
    for graph in graphs:
        own = dict.fromkeys(graph.inputs)
        free = list(range(len(slots)))
        found: list[tuple[int, Value]] = []
        for r in graph.outputs[count:]:
            if r in own:
                continue
            slot = next((s for s in free if slots[s].aval == r.aval), None)
            if slot is None:
                slot = len(slots)
                slots.append(r)
            else:
                free.remove(slot)
            found.append((slot, r))
        places.append(found)
    return places, slots


def _pull_back(branch: Graph, part: Graph, slots: Any, order: Any, used: Any, argnums: tuple[int, ...]) -> Graph:
    """A branch of the backward switch: inputs (*operands, *places, *cotangents), outputs the cotangents in ``used``."""
    graph = extract(part.name, part.inputs, part.nodes, part.outputs, part.constants)
    residuals, gs = graph.inputs[: len(order)], graph.inputs[len(order) :]
    ins = [Value(x.aval) for x in (*branch.inputs, *slots)]
    builder = Builder(graph)
    builder.replaced = {r: ins[i] for r, i in zip(residuals, order)}
    for node in graph.nodes:
        builder.copy(node)
    result = builder.finish()
    result.inputs = [*ins, *gs]
    cs = placed(part.derived["used"], result.outputs)
    result.outputs = [or_zero(result, c, branch.inputs[i]) for c, i, u in zip(cs, argnums, used) if u]
    return result
