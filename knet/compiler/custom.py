"""Functions with a derivative of their own inside a jitted function: custom_vjp, custom_jvp, checkpoint.

Each becomes one node, so that a derivative taken of the graph later still uses its rule. Function and rules are staged
at once, because they may close over tracers that do not outlive the tracing: what they close over become operands of
the node, after the function's own. The pass ``inline`` puts the function's operations in the place of the node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from ..core import derivatives, dtypes, transforms, tree
from ..core.array import Array
from ..core.aval import ShapedArray
from ..core.custom import CheckpointCall, JVPCall, VJPCall
from .graph import Graph, Value
from .interpret import interpret
from .stage import StageTrace, StageTracer, stage

Leaves = Sequence[Any]
_ARRAY = object()


class Part:
    """A function of a list of leaves, staged; ``graph`` takes the leaves that are arrays, and then what it captured.

    Results that are no arrays (a residual may be anything) are kept beside the graph.
    """

    def __init__(self, trace: StageTrace, name: str, function: Callable[[Leaves], Leaves], leaves: Leaves) -> None:
        self.arrays = [i for i, x in enumerate(leaves) if isinstance(x, Array)]
        self.others = [None if isinstance(x, Array) else x for x in leaves]
        self.results: list[Any] = []

        def on_arrays(tracers: list[Any]) -> list[Any]:
            results = list(function(self.filled(tracers)))
            self.results = [_ARRAY if isinstance(y, Array) else y for y in results]
            return [y for y in results if isinstance(y, Array)]

        avals = [ShapedArray(leaves[i].shape, _value_dtype(leaves[i])) for i in self.arrays]
        weak = [getattr(leaves[i], "weak", None) for i in self.arrays]
        self.graph, self.captured = stage(on_arrays, avals, name, weak, level=trace.just_above())
        self.avals = [y.aval for y in self.graph.outputs]

    def filled(self, arrays: Leaves, other: Any = None) -> list[Any]:
        """All leaves, given those that are arrays; ``other`` in the places of the others, or what stood there."""
        filled = list(self.others) if other is None else [other] * len(self.others)
        for i, x in zip(self.arrays, arrays, strict=True):
            filled[i] = x
        return filled

    def __call__(self, leaves: Leaves, captured: Leaves) -> list[Any]:
        arrays = iter(interpret(self.graph, [*(leaves[i] for i in self.arrays), *captured]))
        return [next(arrays) if y is _ARRAY else y for y in self.results]

    def examples(self) -> list[Any]:
        """What stands for the results when another part is staged on them."""
        arrays = iter(self.avals)
        return [_Example(next(arrays)) if y is _ARRAY else y for y in self.results]


class _Example(Array):
    """An array of which shape and dtype are known, to stage a function on."""

    def __init__(self, aval: ShapedArray) -> None:
        self.aval = aval

    shape = property(lambda self: self.aval.shape)
    dtype = property(lambda self: self.aval.dtype)


def _value_dtype(x: Any) -> Any:
    return x.value.dtype if type(x) is StageTracer else x.dtype


class StagedCall:
    """What staged calls share: their graph, and how they are written down once more, in another graph."""

    name: str
    inlined: Graph

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """What is printed below the node."""
        return (self.inlined,)

    def stage(self, trace: StageTrace, leaves: Leaves) -> list[Any]:
        """The call as a node of the trace's graph."""
        return trace.record(self, [trace.value(x) for x in leaves], {}, [y.aval for y in self.inlined.outputs])


def _record(trace: StageTrace, call: Any, part: Part, leaves: Leaves, captured: Leaves) -> list[Any]:
    """Results of a new node, with those that are no arrays put back."""
    operands = [trace.value(x) for x in (*(leaves[i] for i in part.arrays), *captured)]
    arrays = iter(trace.record(call, operands, {}, part.avals))
    return [next(arrays) if y is _ARRAY else y for y in part.results]


class StagedCheckpoint(StagedCall, CheckpointCall):
    """A checkpointed function; its derivative runs its graph again."""

    def __init__(self, part: Part) -> None:
        super().__init__(part.graph.name, lambda leaves: interpret(part.graph, leaves))
        self.inlined = part.graph


def _stage_checkpoint(trace: StageTrace, call: CheckpointCall, leaves: Leaves) -> list[Any]:
    part = Part(trace, call.name, call.run, leaves)
    return _record(trace, StagedCheckpoint(part), part, leaves, part.captured)


class StagedJVP(StagedCall, JVPCall):
    """A custom_jvp function: operands are its own, then what the function closes over, then what its rule does."""

    def __init__(self, call: JVPCall, part: Part, rule: Part | None) -> None:
        n = len(part.arrays)
        split = n + len(part.captured)

        def run(leaves: Leaves) -> list[Any]:
            return interpret(part.graph, leaves[:split])

        def jvp(primals: Leaves, tangents: Leaves) -> Any:
            if rule is None:
                return call.jvp(part.filled(primals[:n]), part.filled(tangents[:n], 0.0))
            pushed = rule([*part.filled(primals[:n]), *part.filled(tangents[:n], 0.0)], primals[split:])
            outs, touts = pushed[: len(pushed) // 2], pushed[len(pushed) // 2 :]
            if not part.captured:
                return outs, touts
            # As without jit: what the function closes over is differentiated through its operations.
            _, more = derivatives.jvp(
                lambda *captured: interpret(part.graph, [*primals[:n], *captured]),
                tuple(primals[n:split]),
                tuple(tangents[n:split]),
            )
            return outs, [t + m for t, m in zip(touts, more)]

        super().__init__(part.graph.name, run, jvp)
        self.inlined = _widened(part.graph, rule.captured if rule else ())


def _stage_jvp(trace: StageTrace, call: JVPCall, leaves: Leaves) -> list[Any]:
    part = Part(trace, call.name, call.run, leaves)
    count = len(leaves)

    def rule(values: Leaves) -> Leaves:
        outs, touts = call.jvp(values[:count], values[count:])
        return [*outs, *touts]

    # An operand that is no array has the tangent that core.custom gives it.
    tangents = [x if isinstance(x, Array) else 0.0 for x in leaves]
    pushed = _rule(lambda: Part(trace, f"{call.name}'s derivative", rule, [*leaves, *tangents]))
    captured = pushed.captured if pushed else ()
    return _record(trace, StagedJVP(call, part, pushed), part, leaves, [*part.captured, *captured])


class StagedVJP(StagedCall, VJPCall):
    """A custom_vjp function: operands are its own, then what function, forward and backward rule close over."""

    def __init__(self, call: VJPCall, part: Part, rules: tuple[Part, Part] | None) -> None:
        n, count = len(part.arrays), len(part.results)
        extra: list[Any] = [] if rules is None else [*rules[0].captured, *rules[1].captured]
        start = n + len(part.captured)
        end = start + (len(rules[0].captured) if rules else 0)

        def run(leaves: Leaves) -> list[Any]:
            return interpret(part.graph, leaves[:start])

        def forward(leaves: Leaves) -> Any:
            if rules is None:
                outs, residuals = call.forward(part.filled(leaves[:n]))
                return outs, (residuals, ())
            results = rules[0](part.filled(leaves[:n]), leaves[start:end])
            return results[:count], (results[count:], tuple(leaves))

        def backward(residuals: Any, gs: Leaves) -> list[Any]:
            values, leaves = residuals
            if rules is None:
                cs = call.backward(values, gs)
                return [*(cs[i] for i in part.arrays), *[None] * len(part.captured)]
            cs = rules[1]([*values, *gs], leaves[end:])
            own = [cs[i] for i in part.arrays]
            return [*own, *through_operations(leaves, gs), *[None] * (len(leaves) - start)]

        def through_operations(leaves: Leaves, gs: Leaves) -> Leaves:
            """Cotangents of what the function closes over: as without jit, they flow through its operations."""
            captured = leaves[n:start]
            where = [i for i, x in enumerate(captured) if dtypes.is_differentiable(x.dtype)]

            def of_captured(*chosen: Any) -> list[Any]:
                values = list(captured)
                for i, x in zip(where, chosen):
                    values[i] = x
                return run([*leaves[:n], *values])

            result = [None] * len(captured)
            if where:
                _, pull = transforms.vjp(of_captured, *(captured[i] for i in where))
                for i, c in zip(where, pull(list(gs))):
                    result[i] = c
            return result

        super().__init__(part.graph.name, run, forward, backward)
        self.inlined = _widened(part.graph, extra)


def _stage_vjp(trace: StageTrace, call: VJPCall, leaves: Leaves) -> list[Any]:
    part = Part(trace, call.name, call.run, leaves)
    count = len(part.results)
    structure: Any = None

    def forward(values: Leaves) -> Leaves:
        nonlocal structure
        outs, residuals = call.forward(values)
        flat, structure = tree.flatten(residuals)
        return [*outs, *flat]

    def backward(values: Leaves) -> Leaves:
        split = len(values) - count
        return call.backward(tree.unflatten(structure, values[:split]), values[split:])

    def both() -> tuple[Part, Part]:
        ahead = Part(trace, call.name, forward, leaves)
        return ahead, Part(trace, f"{call.name}'s derivative", backward, [*ahead.examples()[count:], *part.examples()])

    rules = _rule(both)
    captured = [x for p in (part, *(rules or ())) for x in p.captured]
    return _record(trace, StagedVJP(call, part, rules), part, leaves, captured)


_staging_rule: ContextVar[bool] = ContextVar("knet_staging_rule", default=False)


def _rule(make: Callable[[], Any]) -> Any:
    """What ``make`` stages of a rule; None inside of another rule, which may call the very function that it is for:
    there rules are called when a derivative is taken, as Python."""
    if _staging_rule.get():
        return None
    token = _staging_rule.set(True)
    try:
        return make()
    finally:
        _staging_rule.reset(token)


def _widened(graph: Graph, extra: Leaves) -> Graph:
    """The graph with inputs for what only the rules use."""
    if not extra:
        return graph
    wide = Graph(graph.name)
    wide.inputs = [*graph.inputs, *(Value(ShapedArray(x.shape, _value_dtype(x))) for x in extra)]
    wide.constants, wide.nodes, wide.outputs = graph.constants, graph.nodes, graph.outputs
    return wide


StageTrace.call_rules.update(
    {CheckpointCall: _stage_checkpoint, JVPCall: _stage_jvp, VJPCall: _stage_vjp},
)
