"""The loop whose number of steps only its condition knows, as one operation of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import ShapedArray, default_device, dtypes, errors
from ..core.aval import aval_of
from ..core.batch import BatchTrace, BatchTracer
from ..core.custom import Call
from ..core.forward import JVPTrace
from ..core.ops import creation, elementwise
from ..core.reverse import ReverseTrace
from ..core.trace import Tracer
from .call import GraphCall
from .derived import batch, dependent, push_forward
from .execute import concrete, program
from .graph import Graph
from .interpret import interpret
from .scan import grown, or_zero, placed, whole
from .stage import StageTrace, stage


class WhileCall(Call):
    """``while cond(cond constants, carry): carry = body(body constants, carry)``.

    Attributes:
      cond: inputs (*its constants, *carry), one output, a scalar bool.
      body: inputs (*its constants, *carry), outputs carry.
      consts: how many constants cond has, and body. Operands are (*cond's constants, *body's constants, *carry).
    """

    def __init__(self, cond: Graph, body: Graph, consts: tuple[int, int]) -> None:
        super().__init__("while_loop", self.execute)
        self.cond = cond
        self.body = body
        self.consts = consts

    @property
    def graphs(self) -> tuple[Graph, ...]:
        return self.cond, self.body

    def with_graphs(self, graphs: Sequence[Graph]) -> WhileCall:
        """The same loop around another condition and body."""
        return WhileCall(graphs[0], graphs[1], self.consts)

    @property
    def params(self) -> dict[str, Any]:
        """What is printed of a node."""
        return {"consts": self.consts}

    @property
    def avals(self) -> list[ShapedArray]:
        """Types of the results."""
        return [y.aval for y in self.body.outputs]

    def split(self, values: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Constants of the condition, of the body, carry."""
        a, b = self.consts[0], sum(self.consts)
        return list(values[:a]), list(values[a:b]), list(values[b:])

    def execute(self, leaves: Sequence[Any]) -> list[Any]:
        """Results on concrete arrays; on abstract values, their types."""
        if any(isinstance(x, Tracer) for x in leaves):
            _, consts, carry = self.split(leaves)
            return interpret(self.body, [*consts, *carry])
        arrays = concrete(leaves)
        device = arrays[0].device if arrays else default_device()
        going, step = program(self.cond, device), program(self.body, device)
        tested, consts, carry = self.split(arrays)
        while bool(going([*tested, *carry])[0]):
            carry = step([*consts, *carry])
        return list(carry)

    def stage(self, trace: StageTrace, leaves: Sequence[Any]) -> list[Any]:
        """Inside another graph a loop is one node."""
        return trace.record(self, [trace.strong(x, self.name) for x in leaves], self.params, self.avals)

    # --- transformations ----------------------------------------------------------------------------------------------

    def recorded(self, trace: ReverseTrace, values: Sequence[Any], argnums: tuple[int, ...]) -> Any:
        _, consts, carry = self.split([i in argnums for i in range(len(values))])
        floating = [dtypes.is_differentiable(a.dtype) for a in self.avals]

        def next_carry(c: tuple[bool, ...]) -> list[bool]:
            active = tuple(i for i, a in enumerate((*consts, *c)) if a)
            return [d and f for d, f in zip(dependent(self.body, active), floating)]

        if any(grown(carry, next_carry)):
            raise errors.reverse_through_while(self.body.name)
        return self(values), (), lambda _: [None] * len(argnums)

    def pushed(self, trace: JVPTrace, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        _, consts, start = self.split([t is not None for t in tangents])
        count = len(start)
        carry = grown(start, lambda c: push_forward(self.body, (*consts, *c)).derived["used"])
        graph = push_forward(self.body, (*consts, *carry))
        body = Graph(f"{graph.name}'s tangents")
        body.constants, body.nodes = dict(graph.constants), graph.nodes
        first, second = len(consts), len(consts) + count
        third = second + sum(consts)
        ins = graph.inputs
        body.inputs = [*ins[:first], *ins[second:third], *ins[first:second], *ins[third:]]
        touts = placed(graph.derived["used"], graph.outputs[count:])
        touts = [or_zero(body, t, y) for t, y, c in zip(touts, self.body.outputs, carry) if c]
        body.outputs = [*graph.outputs[:count], *touts]
        tested, fixed, begin = self.split(primals)
        _, tfixed, tbegin = self.split(tangents)
        tfixed = [t for t in tfixed if t is not None]
        tbegin = [creation.zeros_like(p) if t is None else t for p, t, c in zip(begin, tbegin, carry) if c]
        call = WhileCall(_ignoring(self.cond, touts), body, (len(tested), len(fixed) + len(tfixed)))
        results = call([*tested, *fixed, *tfixed, *begin, *tbegin])
        return results[:count], placed(carry, results[count:])

    def mapped(self, trace: BatchTrace, values: Sequence[Any], batched: Sequence[bool]) -> list[Any]:
        tested, consts, start = self.split(batched)
        carry = grown(start, lambda c: batch(self.body, (*consts, *c), trace.size, c).derived["used"])
        if batch(self.cond, (*tested, *carry), trace.size, (False,)).derived["used"][0]:
            return self._until_all_are_done(trace, values, batched)
        body = batch(self.body, (*consts, *carry), trace.size, carry)
        cond = batch(self.cond, (*tested, *carry), trace.size, (False,))
        a, b, c = self.split(values)
        c = whole(trace, c, start, carry)
        results = self.with_graphs([cond, body])([*a, *b, *c])
        return [BatchTracer(trace, y) if m else y for y, m in zip(results, carry)]

    def _until_all_are_done(self, trace: BatchTrace, values: Sequence[Any], batched: Sequence[bool]) -> list[Any]:
        """Examples end one by one: those that have keep their carry. Which go on is part of the carry."""
        tested, consts, start = self.split(batched)
        every = (True,) * len(start)
        cond = batch(self.cond, (*tested, *every), trace.size)
        counts = len(tested), len(tested) + len(consts)
        a, b, c = self.split(values)
        c = whole(trace, c, start, every)
        going = GraphCall(cond)([*a, *c])[0]
        shapes = [aval_of(x) for x in (*a, *b, going, *c)]

        def step(leaves: list[Any]) -> list[Any]:
            inner = BatchTrace(self.body.name, trace.size)
            try:
                mine = [BatchTracer(inner, x) if m else x
                        for x, m in zip(leaves, (*tested, *consts, True, *every))]  # fmt: skip
                before, fixed, (goes, *old) = mine[: counts[0]], mine[counts[0] : counts[1]], mine[counts[1] :]
                new = interpret(self.body, [*fixed, *old])
                kept = [elementwise.where(goes, n, o) for n, o in zip(new, old)]
                return [inner.whole(y) for y in (*interpret(self.cond, [*before, *kept]), *kept)]
            finally:
                inner.closed = True

        body, _ = stage(step, shapes, self.body.name)
        anyone, _ = stage(lambda leaves: [leaves[0].any()], shapes[counts[1] :], self.cond.name)
        results = WhileCall(anyone, body, (0, counts[1]))([*a, *b, going, *c])
        return [BatchTracer(trace, y) for y in results[1:]]


def _ignoring(cond: Graph, more: Sequence[Any]) -> Graph:
    """The condition with inputs that it does not look at."""
    graph = Graph(cond.name)
    graph.inputs = [*cond.inputs, *(type(x)(x.aval) for x in more)]
    graph.constants, graph.nodes, graph.outputs = dict(cond.constants), cond.nodes, cond.outputs
    return graph
