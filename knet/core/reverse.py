"""Reverse mode: the tape of one trace, and the walk back over it.

An operation on tracers computes its result one level down and appends one entry to the tape. Entries stand in the order
of computation, so walking the tape from its end meets every result after all its uses. Cotangents wait in a dictionary
under the number of their value; a value that nothing asked for has no entry there, which is the symbolic zero.

The engine, not the rules, undoes broadcasting and promotion, adds cotangents up, and drops each entry (with the arrays
that it keeps alive) as soon as it is used.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import dtypes, errors
from .array import Array, DeviceArray
from .aval import ShapedArray, aval_of
from .ops import elementwise, reduce
from .primitive import NOTHING, VALUE, Primitive, registry
from .trace import Trace, ValueTracer

# KNET_CHECKS=1: after each rule, the cotangent must have the shape and dtype of its primal. The test suite sets it.
CHECKS = os.environ.get("KNET_CHECKS", "0") not in ("", "0")


class ReverseTrace(Trace):
    """The trace of grad and vjp."""

    kind = "grad"
    __slots__ = ("count", "redirect", "tape")

    def __init__(self, function: str) -> None:
        super().__init__(function)
        self.tape: list[Any] | None = []
        self.count = 0
        # Without a tape, what a tracer stands for instead (core.custom re-runs functions in this way).
        self.redirect: Callable[[Any], Any] | None = None

    def watch(self, value: Any) -> ReverseTracer:
        """Tracer for an input of the function."""
        self.count += 1
        return ReverseTracer(self, value, self.count)

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        tape = self.tape
        if tape is None:
            return primitive(*self._redirected(args, f"an operand of {primitive.name}"), **params)
        # One and two operands are written out: at this size of work a loop costs as much as all the rest.
        argnums: tuple[int, ...]
        parents: tuple[int, ...]
        values: Sequence[Any]
        like_result = False  # whether the operands surely have the shape and dtype of the result
        if len(args) == 1:
            argnums, parents, values = (0,), (args[0].number,), (args[0].value,)
            like_result = True
        elif len(args) == 2:
            a, b = args
            if type(a) is ReverseTracer and a.trace is self:
                if type(b) is ReverseTracer and b.trace is self:
                    argnums, parents, values = (0, 1), (a.number, b.number), (a.value, b.value)
                else:
                    argnums, parents, values = (0,), (a.number,), (a.value, b)
                    like_result = type(b) is float or type(b) is int
            else:
                argnums, parents, values = (1,), (b.number,), (a, b.value)
                like_result = type(a) is float or type(a) is int
        else:
            argnums, parents, values = self._split(args)
        y = primitive(*values, **params) if params else primitive.apply(*values)
        if primitive.multiple:
            return self._record_multiple(tape, primitive, y, values, argnums, parents, params)
        if not primitive.smooth and not dtypes.is_differentiable(y.dtype):
            return y
        undo = None
        if primitive.pointwise and not like_result:
            undo = _to_undo(y, values, argnums)
        plan = primitive.plans.get(argnums) or primitive.plan(argnums, len(values))
        rules, keep_result, keep, keep_all, constant = plan
        if constant:
            return y
        if keep_all is VALUE:
            saved = values
        elif keep_all is NOTHING:
            saved = (None,) * len(values)
        else:
            saved = [v if k is VALUE else None if k is NOTHING else _abstract(v) for v, k in zip(values, keep)]
        if CHECKS:
            rules = _checked(primitive, rules, argnums, values)
        self.count = number = self.count + 1
        tape.append((number, rules, parents, y if keep_result is VALUE else None, saved, params, undo))
        return ReverseTracer(self, y, number)

    def _split(self, args: Sequence[Any]) -> tuple[tuple[int, ...], tuple[int, ...], Sequence[Any]]:
        """Positions of this trace's tracers, their numbers, and the operands one level down."""
        mine = [(i, x) for i, x in enumerate(args) if type(x) is ReverseTracer and x.trace is self]
        values = list(args)
        for i, x in mine:
            values[i] = x.value
        return tuple(i for i, _ in mine), tuple(x.number for _, x in mine), values

    def _record_multiple(
        self,
        tape: list[Any],
        primitive: Primitive,
        ys: tuple[Any, ...],
        values: Sequence[Any],
        argnums: tuple[int, ...],
        parents: tuple[int, ...],
        params: dict[str, Any],
    ) -> tuple[Any, ...]:
        numbers = tuple(range(self.count + 1, self.count + 1 + len(ys)))
        self.count += len(ys)
        rules = primitive.plan(argnums, len(values)).rules
        tape.append((numbers, rules, parents, ys, values, params, None))
        return tuple(
            ReverseTracer(self, y, n) if dtypes.is_differentiable(y.dtype) else y
            for y, n in zip(ys, numbers, strict=True)
        )

    @contextlib.contextmanager
    def standing_in(self, redirect: Callable[[Any], Any]) -> Iterator[None]:
        """Context in which nothing is recorded and this trace's tracers stand for other values.

        The trace is the highest meanwhile, so that the exchange comes before any other trace sees the operands.
        """
        before = self.tape, self.redirect, self.level
        self.tape, self.redirect, self.level = None, redirect, math.inf
        try:
            yield
        finally:
            self.tape, self.redirect, self.level = before

    def _redirected(self, args: Sequence[Any], where: str) -> list[Any]:
        """Operands with this trace's tracers replaced; the trace has ended, so a plain use of them is an error."""
        if self.redirect is None:
            raise errors.leaked_tracer(self.kind, self.function, where)
        return [self.redirect(x) if type(x) is ReverseTracer and x.trace is self else x for x in args]

    def call(self, call: Any, leaves: Sequence[Any]) -> list[Any]:
        """Results of a function that brings its own derivative (see core.custom)."""
        if self.tape is None:
            return call(self._redirected(leaves, f"an operand of {call.name}"))
        argnums, parents, values = self._split(leaves)
        outs, closed_over, pull = call.recorded(self, values, argnums)
        # A result that is a tracer of this trace already depends on it through the function's closure.
        direct = tuple((i, y.number) for i, y in enumerate(outs) if type(y) is ReverseTracer and y.trace is self)
        values = [self.lower(y) for y in outs]

        def rules(gs: Any, _ys: Any) -> list[Any]:
            return [*pull(gs), *(gs[i] for i, _ in direct)]

        numbers = tuple(range(self.count + 1, self.count + 1 + len(values)))
        self.count += len(values)
        self.tape.append((numbers, rules, (*parents, *closed_over, *(n for _, n in direct)), None, (), {}, None))
        return [
            ReverseTracer(self, y, n) if isinstance(y, Array) and dtypes.is_differentiable(y.dtype) else y
            for y, n in zip(values, numbers, strict=True)
        ]

    def lower(self, x: Any) -> Any:
        """x one level down, if it is a tracer of this trace."""
        return x.value if type(x) is ReverseTracer and x.trace is self else x

    def number(self, x: Any) -> int | None:
        """The number of x, if it is a tracer of this trace."""
        return x.number if type(x) is ReverseTracer and x.trace is self else None

    def take_tape(self) -> list[Any]:
        """The tape; the trace has ended with this."""
        tape, self.tape = self.tape, None
        assert tape is not None
        return tape

    def close(self) -> None:
        """End the trace: tracers that escaped raise from here on."""
        self.tape = None


def _to_undo(y: Any, values: Sequence[Any], argnums: tuple[int, ...]) -> Any:
    """Shapes and dtypes of pointwise operands, if one is smaller or narrower than the result; else None."""
    if len(values) == 2 and type(values[0]) is DeviceArray and type(values[1]) is DeviceArray:
        a, b = values[0]._buffer, values[1]._buffer  # buffers save the properties' calls
        if a.shape == b.shape and a.dtype is b.dtype:
            return None
    out = y._buffer if type(y) is DeviceArray else y
    shape, dtype = out.shape, out.dtype
    for i in argnums:
        x = values[i]
        x = x._buffer if type(x) is DeviceArray else x
        if x.shape != shape or x.dtype is not dtype:
            return tuple((values[j].shape, values[j].dtype) for j in argnums)
    return None


def _abstract(value: Any) -> Any:
    return aval_of(value) if isinstance(value, Array) else value


class ReverseTracer(ValueTracer):
    """A value on the tape, and its number there."""

    __slots__ = ("number",)

    def __init__(self, trace: ReverseTrace, value: Any, number: int) -> None:
        self.trace = trace
        self.value = value
        self.number = number


def backward(tape: list[Any], cotangents: dict[int, Any], consume: bool) -> dict[int, Any]:
    """Walk the tape back; see :func:`_walk`. An error of debug_nans learns whose derivative it arose in."""
    try:
        return _walk(tape, cotangents, consume)
    except errors.NonFinite as e:
        e.add_note(f"in the backward pass{_whose_rule(e)}")
        raise


def _whose_rule(error: errors.NonFinite) -> str:
    codes = {
        rule.__code__: primitive.name
        for primitive in registry.values()
        for rule in (primitive.vjp if isinstance(primitive.vjp, tuple) else (primitive.vjp,))
        if hasattr(rule, "__code__")
    }
    frame, name = error.__traceback__, ""
    while frame is not None:
        name = codes.get(frame.tb_frame.f_code, name)
        frame = frame.tb_next
    return f", in the derivative of {name}" if name else ""


def _walk(tape: list[Any], cotangents: dict[int, Any], consume: bool) -> dict[int, Any]:
    """Walk the tape back; ``cotangents`` holds those of the outputs, and in the end those of the inputs.

    Args:
      tape: entries in the order of computation.
      cotangents: by number; changed in place and returned.
      consume: drop each entry once it is used, which frees the arrays that only the tape keeps alive.
    """
    entries = tape if consume else tape.copy()
    add = elementwise.add.apply
    while entries:
        number, rules, parents, y, inputs, params, undo = entries.pop()
        if type(number) is int:
            g = cotangents.pop(number, None)
            if g is None:
                continue
        else:
            g = tuple(cotangents.pop(n, None) for n in number)
            if all(part is None for part in g):
                continue
            if not isinstance(rules, tuple):  # one rule for all operands
                for parent, c in zip(parents, rules(g, y), strict=True):
                    accumulate(cotangents, parent, c)
                continue
        c = None
        for i, parent in enumerate(parents):
            c = rules[i](g, y, *inputs, **params) if params else rules[i](g, y, *inputs)
            if c is None:
                continue
            if undo is not None:
                c = undo_broadcast(c, *undo[i])
            if parent in cotangents:
                c = add(cotangents[parent], c)
            cotangents[parent] = c
        # An entry's arrays must not outlive its turn: neither in the loop's variables nor, popped, on the tape.
        del y, inputs, g, c
    return cotangents


def accumulate(cotangents: dict[int, Any], number: int | None, g: Any) -> None:
    """Add a cotangent to what waits under a number; None on either side is nothing to add."""
    if number is not None and g is not None:
        cotangents[number] = elementwise.add(cotangents[number], g) if number in cotangents else g


def undo_broadcast(c: Any, to: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Cotangent of an operand that was broadcast or promoted: summed over the new axes, cast to its dtype."""
    c = reduce.sum_to(c, to)
    return c if c.dtype is dtype else elementwise.cast(c, dtype)


def _checked(primitive: Primitive, rules: Sequence[Any], argnums: Sequence[int], values: Sequence[Any]) -> Any:
    """The rules, each followed by a test that the cotangent has the shape and dtype of its primal."""

    def check(rule: Any, argnum: int, primal: ShapedArray) -> Any:
        def checked(g: Any, y: Any, *inputs: Any, **params: Any) -> Any:
            c = rule(g, y, *inputs, **params)
            seen = c if c is None or not primitive.pointwise else undo_broadcast(c, primal.shape, primal.dtype)
            if seen is not None and aval_of(seen) != primal:
                raise errors.wrong_cotangent(primitive.name, primitive.argname(argnum), seen, primal)
            return c

        return checked

    return tuple(check(r, i, aval_of(values[i])) for r, i in zip(rules, argnums))
