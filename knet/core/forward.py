"""Forward mode: tangents travel with their primals.

One rule serves both modes wherever the mathematics allows it. An elementwise operation has a diagonal Jacobian, so its
VJP rule is its JVP rule; a linear one is its own JVP; a multilinear one is a sum of itself. What remains is the
transpose of the VJP, which is linear in its cotangent: the reverse engine transposes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from . import dtypes, errors
from .ops import creation, elementwise, shape
from .primitive import Linear, Primitive
from .reverse import ReverseTrace, ReverseTracer, accumulate, backward
from .trace import Trace, ValueTracer


class JVPTrace(Trace):
    """The trace of jvp."""

    kind = "jvp"
    __slots__ = ("closed",)

    def __init__(self, function: str) -> None:
        super().__init__(function)
        self.closed = False

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        if self.closed:
            raise errors.leaked_tracer(self.kind, self.function, f"an operand of {primitive.name}")
        primals, tangents = self.split(args)
        y = primitive(*primals, **params)
        if primitive.multiple:
            ts = push_multiple(primitive, primals, tangents, y, params)
            return tuple(self.join(p, t) for p, t in zip(y, ts))
        if not dtypes.is_differentiable(y.dtype):
            return y
        return self.join(y, push(primitive, primals, tangents, y, params))

    def call(self, call: Any, leaves: Sequence[Any]) -> list[Any]:
        """Results of a function that brings its own derivative (see core.custom)."""
        if self.closed:
            raise errors.leaked_tracer(self.kind, self.function, f"an operand of {call.name}")
        outs, touts = call.pushed(self, *self.split(leaves))
        # What the function closes over may already have made its results tracers of this trace.
        values, own = self.split(outs)
        pushed, _ = self.split(touts)
        return [
            self.join(y, t if s is None else s if t is None else elementwise.add(s, t))
            for y, s, t in zip(values, own, pushed, strict=True)
        ]

    @contextlib.contextmanager
    def reopened(self) -> Iterator[None]:
        """Context in which this trace goes on: for functions that run again in a backward pass."""
        closed, self.closed = self.closed, False
        try:
            yield
        finally:
            self.closed = closed

    def split(self, args: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Primals and tangents of operands; the tangent None is zero."""
        mine = [type(x) is JVPTracer and x.trace is self for x in args]
        return [x.value if m else x for x, m in zip(args, mine)], [x.tangent if m else None for x, m in zip(args, mine)]

    def join(self, primal: Any, tangent: Any) -> Any:
        """A tracer, or the primal alone where the tangent is zero."""
        return primal if tangent is None else JVPTracer(self, primal, tangent)


class JVPTracer(ValueTracer):
    """A primal ``value`` and its tangent, both one level down."""

    __slots__ = ("tangent",)

    def __init__(self, trace: JVPTrace, value: Any, tangent: Any) -> None:
        self.trace = trace
        self.value = value
        self.tangent = tangent


def push(primitive: Primitive, primals: Sequence[Any], tangents: Sequence[Any], y: Any, params: dict[str, Any]) -> Any:
    """Tangent of a primitive's single result, or None for zero."""
    jvp = primitive.jvp
    if primitive.pointwise:
        total = None
        for i, t in enumerate(tangents):
            c = None if t is None else primitive.rule(i)(t, y, *primals, **params)
            if c is not None:
                total = c if total is None else elementwise.add(total, c)
        if total is None:
            return None
        total = elementwise.cast(total, y.dtype)
        return total if total.shape == y.shape else shape.broadcast_to(total, shape=y.shape)
    if isinstance(jvp, Linear):
        where = range(len(primals)) if jvp.operands is None else jvp.operands
        if jvp.jointly:
            if all(tangents[i] is None for i in where):
                return None
            return primitive(*[_or_zeros(tangents[i], x) if i in where else x for i, x in enumerate(primals)], **params)
        terms = [
            primitive(*primals[:i], tangents[i], *primals[i + 1 :], **params) for i in where if tangents[i] is not None
        ]
        if not terms:
            return None
        return terms[0] if len(terms) == 1 else elementwise.add(*terms)
    if jvp is not None:
        return jvp(primals, tangents, y, **params)
    return transpose_of_vjp(primitive, primals, tangents, (y,), params)[0]


def push_multiple(
    primitive: Primitive, primals: Sequence[Any], tangents: Sequence[Any], ys: Sequence[Any], params: dict[str, Any]
) -> Sequence[Any]:
    """Tangents of a primitive's several results."""
    jvp = primitive.jvp
    if isinstance(jvp, Linear) and jvp.jointly and jvp.operands is None:
        return primitive(*[_or_zeros(t, x) for t, x in zip(tangents, primals, strict=True)], **params)
    if jvp is not None and not isinstance(jvp, Linear):
        return jvp(primals, tangents, ys, **params)
    return transpose_of_vjp(primitive, primals, tangents, ys, params)


def _or_zeros(tangent: Any, primal: Any) -> Any:
    return creation.zeros_like(primal) if tangent is None else tangent


def transpose_of_vjp(
    primitive: Primitive, primals: Sequence[Any], tangents: Sequence[Any], ys: Sequence[Any], params: dict[str, Any]
) -> list[Any]:
    """Tangents of the results, found by transposing the VJP, which is linear in the cotangents."""
    argnums = tuple(i for i, t in enumerate(tangents) if t is not None)
    plan = primitive.plan(argnums, len(primals))
    result = tuple(ys) if primitive.multiple else ys[0]

    def pull(gs: Sequence[Any]) -> list[Any]:
        g = tuple(gs) if primitive.multiple else gs[0]
        if callable(plan.rules):
            return plan.rules(g, result, *primals, **params)
        return [rule(g, result, *primals, **params) for rule in plan.rules]

    return transpose(pull, ys, [tangents[i] for i in argnums])


def transpose(pull: Any, ys: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
    """J t for ``pull``: cotangents of ys -> J^T g, a linear function; None for zero.

    Args:
      pull: takes a list with a cotangent for each of ys, returns a list with one for each of ``tangents``.
      ys: where J ends; integer ones have no tangent.
      tangents: t.
    """
    trace = ReverseTrace("a transposed derivative")
    try:
        gs = [trace.watch(creation.zeros_like(y)) if dtypes.is_differentiable(y.dtype) else None for y in ys]
        cs = pull(gs)
        cotangents: dict[int, Any] = {}
        for c, t in zip(cs, tangents, strict=True):
            if type(c) is ReverseTracer and c.trace is trace and t is not None:
                t = t if t.dtype is c.dtype else elementwise.cast(t, c.dtype)
                accumulate(cotangents, c.number, t)
        tape = trace.take_tape()
        backward(tape, cotangents, consume=True)
    finally:
        trace.close()
    return [None if g is None else cotangents.get(g.number) for g in gs]
