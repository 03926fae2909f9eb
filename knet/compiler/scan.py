"""The loop over a leading axis as one operation of a graph, with its derivatives and its batch.

A scan's operands, and the inputs of its body, come in three groups: constants, which are the same in every step; the
carry, which each step hands to the next; and xs, of which each step sees one slice. The body returns the new carry and
the slices of ys. Every transformation makes a scan of a transformed body.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core import ShapedArray, default_device, dtypes
from ..core.aval import aval_of
from ..core.batch import BatchTrace, BatchTracer
from ..core.batching import from_front, to_front
from ..core.custom import Call
from ..core.forward import JVPTrace
from ..core.ops import creation, elementwise, shape
from ..core.reverse import ReverseTrace
from ..core.trace import Tracer
from .call import GraphCall
from .derived import batch, dependent, linearized, pulled, push_forward
from .execute import concrete, program
from .graph import Graph, Value, extract
from .interpret import interpret
from .stage import StageTrace, stage


class ScanCall(Call):
    """``for t in range(length): carry, y[t] = body(consts, carry, x[t])``, backwards with ``reverse``.

    Attributes:
      body: inputs (*consts, *carry, *slices of xs), outputs (*carry, *slices of ys).
      consts, carry: how many there are of each.
      length: number of steps, at least 1.
    """

    def __init__(self, body: Graph, consts: int, carry: int, length: int, reverse: bool) -> None:
        super().__init__("scan", self.execute)
        self.body = body
        self.consts = consts
        self.carry = carry
        self.length = length
        self.reverse = reverse

    @property
    def graphs(self) -> tuple[Graph, ...]:
        return (self.body,)

    def with_graphs(self, graphs: Sequence[Graph]) -> ScanCall:
        """The same loop around another body."""
        return self.around(graphs[0], self.consts, self.carry)

    def around(self, body: Graph, consts: int, carry: int) -> ScanCall:
        """As many steps of a body with other operands."""
        return ScanCall(body, consts, carry, self.length, self.reverse)

    @property
    def params(self) -> dict[str, Any]:
        """What is printed of a node."""
        return {"consts": self.consts, "carry": self.carry, "length": self.length, "reverse": self.reverse}

    @property
    def avals(self) -> list[ShapedArray]:
        """Types of the results."""
        outs = [y.aval for y in self.body.outputs]
        return [*outs[: self.carry], *(ShapedArray((self.length, *a.shape), a.dtype) for a in outs[self.carry :])]

    def split(self, values: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Operands, or inputs of the body, in their three groups."""
        a, b = self.consts, self.consts + self.carry
        return list(values[:a]), list(values[a:b]), list(values[b:])

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def execute(self, leaves: Sequence[Any]) -> list[Any]:
        """Results on concrete arrays, step by step; on abstract values, their types."""
        if any(isinstance(x, Tracer) for x in leaves):
            return self._abstract(leaves)
        consts, carry, xs = self.split(concrete(leaves))
        first: Any = next(iter([*consts, *carry, *xs]), None)
        step = program(self.body, default_device() if first is None else first.device)
        slices = [shape.unstack(x, axis=0) for x in xs]
        rows: list[Any] = [None] * self.length
        for t in range(self.length)[:: -1 if self.reverse else 1]:
            results = step([*consts, *carry, *(s[t] for s in slices)])
            carry, rows[t] = results[: self.carry], results[self.carry :]
        return [*carry, *(shape.concatenate(*[shape.expand(y, (0,)) for y in ys], axis=0) for ys in zip(*rows))]

    def _abstract(self, leaves: Sequence[Any]) -> list[Any]:
        consts, carry, xs = self.split(leaves)
        results = interpret(self.body, [*consts, *carry, *(shape.unstack(x, axis=0)[0] for x in xs)])
        ys = [shape.broadcast_to(y, shape=(self.length, *y.shape)) for y in results[self.carry :]]
        return [*results[: self.carry], *ys]

    def stage(self, trace: StageTrace, leaves: Sequence[Any]) -> list[Any]:
        """Inside another graph a loop is one node."""
        return trace.record(self, [trace.strong(x, self.name) for x in leaves], self.params, self.avals)

    # --- transformations ----------------------------------------------------------------------------------------------

    def recorded(self, trace: ReverseTrace, values: Sequence[Any], argnums: tuple[int, ...]) -> Any:
        return Recorded(self, values, argnums).taped()

    def pushed(self, trace: JVPTrace, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        present = [t is not None for t in tangents]
        consts, start, xs = self.split(present)
        carry = grown(start, lambda c: push_forward(self.body, (*consts, *c, *xs)).derived["used"][: self.carry])
        graph = push_forward(self.body, (*consts, *carry, *xs))
        used = graph.derived["used"]
        count = len(self.body.outputs)
        primal_ins = self.split(graph.inputs[: len(present)])
        rest = iter(graph.inputs[len(present) :])
        tangent_ins = [[next(rest) for p in part if p] for part in (consts, carry, xs)]
        body = Graph(f"{graph.name}'s tangents")
        body.constants, body.nodes = dict(graph.constants), graph.nodes
        body.inputs = [x for p, t in zip(primal_ins, tangent_ins) for x in (*p, *t)]
        touts = placed(used, graph.outputs[count:])
        tcarry = [or_zero(body, t, y) for t, y, c in zip(touts, self.body.outputs, carry) if c]
        tys = [t for t in touts[self.carry :] if t is not None]
        body.outputs = [*graph.outputs[: self.carry], *tcarry, *graph.outputs[self.carry : count], *tys]
        call = self.around(body, len(primal_ins[0]) + len(tangent_ins[0]), self.carry + len(tcarry))
        operands = []
        for ps, ts, mask in zip(self.split(primals), self.split(tangents), (consts, carry, xs)):
            operands += [*ps, *(creation.zeros_like(p) if t is None else t for p, t, m in zip(ps, ts, mask) if m)]
        results = iter(call(operands))
        outs = [next(results) for _ in range(self.carry)]
        pushed = [next(results) if c else None for c in carry]
        outs += [next(results) for _ in range(count - self.carry)]
        return outs, pushed + [next(results) if u else None for u in used[self.carry :]]

    def mapped(self, trace: BatchTrace, values: Sequence[Any], batched: Sequence[bool]) -> list[Any]:
        consts, start, xs = self.split(batched)
        ys = (False,) * (len(self.body.outputs) - self.carry)

        def outputs(c: Sequence[bool]) -> Graph:
            return batch(self.body, (*consts, *c, *xs), trace.size, (*c, *ys))

        carry = grown(start, lambda c: outputs(c).derived["used"][: self.carry])
        body = outputs(carry)
        a, b, x = self.split(values)
        b = whole(trace, b, start, carry)
        x = [from_front(v, 1) if m else v for v, m in zip(x, xs)]
        results = self.with_graphs([body])([*a, *b, *x])
        used = body.derived["used"]
        moved = [y if i < self.carry or not u else to_front(y, 1) for i, (y, u) in enumerate(zip(results, used))]
        return [BatchTracer(trace, y) if u else y for y, u in zip(moved, used)]


def whole(trace: BatchTrace, values: Sequence[Any], batched: Sequence[bool], wanted: Sequence[bool]) -> list[Any]:
    """Values with a batch axis where one is wanted."""
    return [trace.whole(BatchTracer(trace, v) if b else v) if w else v for v, b, w in zip(values, batched, wanted)]


def grown(mask: Sequence[bool], step: Callable[[tuple[bool, ...]], Sequence[bool]]) -> tuple[bool, ...]:
    """The smallest mask above the given one for which a step of the loop marks nothing new."""
    mask = tuple(mask)
    while True:
        new = tuple(m or s for m, s in zip(mask, step(mask), strict=True))
        if new == mask:
            return mask
        mask = new


def placed(mask: Sequence[bool], values: Sequence[Any]) -> list[Any]:
    """Values at the marked places, None elsewhere."""
    rest = iter(values)
    return [next(rest) if m else None for m in mask]


def or_zero(graph: Graph, value: Any, like: Value) -> Any:
    """A value, or zeros in its place."""
    if value is not None:
        return value
    zero = Value(like.aval)
    graph.constants[zero] = creation.zeros(like.shape, like.dtype)
    return zero


class Recorded:
    """Reverse mode: a scan that also returns what the backward steps need, and a scan in the opposite direction.

    The carry of the backward scan is the cotangents of the carry, and sums of those of the constants. What a backward
    step needs comes to it the cheapest way: a value that is the same in all steps as a constant, a slice of xs or of ys
    from there, anything else from an additional y of the forward scan.
    """

    def __init__(self, call: ScanCall, values: Sequence[Any], argnums: tuple[int, ...]) -> None:
        self.call = call
        self.values = list(values)
        self.argnums = argnums
        self.first = call.consts  # of the carry among the body's inputs
        inputs = call.body.inputs
        given = tuple(i in argnums for i in range(len(inputs)))
        consts, carry, xs = call.split(given)
        floating = [dtypes.is_differentiable(x.dtype) for x in call.split(inputs)[1]]

        def next_carry(c: tuple[bool, ...]) -> list[bool]:
            active = tuple(i for i, a in enumerate((*consts, *c, *xs)) if a)
            return [d and f for d, f in zip(dependent(call.body, active), floating)]

        self.active_carry = grown(carry, next_carry)
        self.active = tuple(i for i, a in enumerate((*consts, *self.active_carry, *xs)) if a)
        self.depends = dependent(call.body, self.active)

    def taped(self) -> Any:
        """Results, no captured numbers, and the pull-back; see core.custom."""
        if not any(self.depends) and not any(self.active_carry):
            return self.call(self.values), (), lambda _: [None] * len(self.argnums)
        outs = self._forward()
        return outs, (), self._pull

    def _forward(self) -> list[Any]:
        """Run the forward scan; keeps the residuals: ``self.fixed`` by place, ``self.stacked`` by place."""
        call = self.call
        graph = linearized(call.body, self.active)
        count = len(call.body.outputs)
        residuals = graph.outputs[count:]
        place = {x: i for i, x in enumerate(graph.inputs)}
        invariant = {**dict.fromkeys(graph.inputs[: call.consts]), **dict.fromkeys(graph.constants)}
        before = []
        for node in graph.nodes:
            if all(x in invariant for x in node.values):
                invariant.update(dict.fromkeys(node.results))
                before.append(node)
        outputs: list[Any] = list(graph.outputs[:count])
        where = {y: i for i, y in enumerate(outputs) if i >= call.carry}
        fixed: dict[int, Any] = {}
        stacked: dict[int, Any] = {}
        later: dict[int, Any] = {}
        results_at: dict[int, int] = {}
        for r, x in enumerate(residuals):
            i = place.get(x, -1)
            if 0 <= i < call.consts:
                fixed[r] = self.values[i]
            elif i >= call.consts + call.carry:
                stacked[r] = self.values[i]
            elif x in graph.constants:
                fixed[r] = graph.constants[x]
            elif x in invariant:
                later[r] = x
            else:
                if x not in where:
                    where[x] = len(outputs)
                    outputs.append(x)
                results_at[r] = where[x]
        if later:
            part = extract("invariants", graph.inputs[: call.consts], before, list(later.values()), graph.constants)
            fixed.update(zip(later, GraphCall(part)(self.values[: call.consts])))
        body = Graph(graph.name)
        body.inputs, body.nodes, body.outputs = graph.inputs, graph.nodes, outputs
        body.constants = dict(graph.constants)
        results = call.with_graphs([body])(self.values)
        stacked.update((r, results[i]) for r, i in results_at.items())
        self.fixed, self.stacked, self.residuals = fixed, stacked, len(residuals)
        return results[:count]

    def _pull(self, gs: Sequence[Any]) -> list[Any]:
        call, first = self.call, self.first
        last = first + call.carry
        gs = [g if d or (i < call.carry and self.active_carry[i]) else None
              for i, (g, d) in enumerate(zip(gs, self.depends))]  # fmt: skip
        if all(g is None for g in gs):
            return [None] * len(self.argnums)
        ys = [g is not None for g in gs[call.carry :]]

        def backward(c: Sequence[bool]) -> Graph:
            # The carry's last value may be replaced in each step: then its cotangent ends there.
            return pulled(call.body, self.active, (*(m and d for m, d in zip(c, self.depends)), *ys))

        def next_mask(c: tuple[bool, ...]) -> list[bool]:
            used = dict(zip(self.active, backward(c).derived["used"]))
            return [used.get(first + i, False) for i in range(call.carry)]

        mask = grown([g is not None for g in gs[: call.carry]], next_mask)
        graph = backward(mask)
        used = graph.derived["used"]
        wanted = [i for i, u in zip(self.active, used) if u]
        sums = [i for i in wanted if i < first]
        body = self._body(graph, mask, ys, wanted, sums)
        cs = [creation.zeros_like(y) if g is None else g
              for g, y, m in zip(gs, self.values[first:last], mask) if m]  # fmt: skip
        zeros = [creation.zeros_like(self.values[i]) for i in sums]
        operands = [*(self.fixed[r] for r in sorted(self.fixed)), *cs, *zeros]
        operands += [*(self.stacked[r] for r in sorted(self.stacked)), *(g for g in gs[call.carry :] if g is not None)]
        results = ScanCall(body, len(self.fixed), len(cs) + len(sums), call.length, not call.reverse)(operands)
        carried = [first + i for i, m in enumerate(mask) if m]
        found = dict(zip([*carried, *sums, *(i for i in wanted if i >= last)], results, strict=True))
        return [found.get(i) for i in self.argnums]

    def _body(self, graph: Graph, mask: Sequence[bool], ys: Sequence[bool], wanted: Any, sums: Any) -> Graph:
        call, first = self.call, self.first
        carried = [i for i, m in enumerate(mask) if m]
        inputs = call.body.inputs

        def step(values: list[Any]) -> list[Any]:
            rest = iter(values)
            residuals = {r: next(rest) for r in sorted(self.fixed)}
            cotangents = {i: next(rest) for i in carried}
            totals = {i: next(rest) for i in sums}
            residuals |= {r: next(rest) for r in sorted(self.stacked)}
            gs = [cotangents[i] for i in carried if self.depends[i]]
            cs = dict(zip(wanted, interpret(graph, [*(residuals[r] for r in range(self.residuals)), *gs, *rest])))
            carry = [
                cs[first + i] if first + i in cs else creation.zeros(inputs[first + i].shape, inputs[first + i].dtype)
                for i in carried
            ]
            total = [elementwise.add(totals[i], cs[i]) for i in sums]
            return [*carry, *total, *(c for i, c in cs.items() if i >= first + call.carry)]

        fixed = [aval_of(self.fixed[r]) for r in sorted(self.fixed)]
        carry = [inputs[i].aval for i in (*(first + i for i in carried), *sums)]
        xs = [_row(self.stacked[r]) for r in sorted(self.stacked)]
        xs += [y.aval for y, m in zip(call.body.outputs[call.carry :], ys) if m]
        return stage(step, [*fixed, *carry, *xs], f"{call.body.name}'s derivative")[0]


def _row(x: Any) -> ShapedArray:
    return ShapedArray(x.shape[1:], x.dtype)
