"""Functions that bring their own derivative: custom_vjp, custom_jvp, checkpoint.

A call of one is handed to the highest trace among its arguments, like an operation: ``trace.call(call, leaves)``. A
:class:`Call` knows how to run, how to be recorded on a tape, how to push tangents and how to batch; the latter two make
another Call one level down, so these functions nest in every transformation.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from . import errors, tree
from .array import Array
from .batch import BatchTrace, BatchTracer, map_batch, sum_batch
from .device import as_array
from .forward import JVPTrace, transpose
from .ops import creation, elementwise
from .reverse import ReverseTrace, ReverseTracer, accumulate, backward
from .trace import ClosesOver, bottom, top_trace

Leaves = Sequence[Any]


class Call:
    """A function of a list of leaves that returns a list of leaves, with a derivative of its own."""

    def __init__(self, name: str, run: Callable[[Leaves], list[Any]]) -> None:
        self.name = name
        self.run = run

    def __call__(self, leaves: Leaves) -> list[Any]:
        trace = top_trace(leaves)
        return self.run(leaves) if trace is bottom else trace.call(self, leaves)

    def enter(self, leaves: Leaves) -> list[Any]:
        """The call as the user makes it. It goes to the highest trace, even if only a closure brings that in."""
        trace = top_trace(leaves)
        while trace is not bottom:
            try:
                return trace.call(self, leaves)
            except ClosesOver as e:
                trace = e.trace
        return self.run(leaves)

    def recorded(self, trace: ReverseTrace, values: Leaves, argnums: tuple[int, ...]) -> Any:
        """Results, numbers of values that the function closes over, and the pull-back of cotangents to both."""
        raise NotImplementedError

    def pushed(self, trace: JVPTrace, primals: Leaves, tangents: Leaves) -> tuple[list[Any], list[Any]]:
        """Results and their tangents (None for zero)."""
        raise NotImplementedError

    def batched(self, trace: BatchTrace, batched: Sequence[bool]) -> Call:
        """The same for a batch: operands marked have the batch axis in front, all results do."""
        raise NotImplementedError

    def mapped(self, trace: BatchTrace, values: Leaves, batched: Sequence[bool]) -> list[Any]:
        """Results for a batch, one example each; those that are the same for all examples may be values below."""
        return [BatchTracer(trace, y) for y in self.batched(trace, batched)(values)]


# --- custom_vjp -------------------------------------------------------------------------------------------------------


class VJPCall(Call):
    """``forward(leaves) -> (results, residuals)``, ``backward(residuals, cotangents) -> cotangents of the leaves``."""

    def __init__(self, name: str, run: Any, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        super().__init__(name, run)
        self.forward = forward
        self.backward = backward

    def recorded(self, trace: ReverseTrace, values: Leaves, argnums: tuple[int, ...]) -> Any:
        outs, residuals = self.forward(values)
        outs = trace.own(_redirected(outs))
        zeros = [_zero_maker(y) for y in outs]

        def pull(gs: Leaves) -> list[Any]:
            # The rule may use values of this trace, kept as residuals or closed over: they count as constants.
            with trace.standing_in(_value):
                cs = self.backward(residuals, [zero() if g is None else g for g, zero in zip(gs, zeros, strict=True)])
            return [trace.lower(cs[i]) for i in argnums]

        return outs, (), pull

    def pushed(self, trace: JVPTrace, primals: Leaves, tangents: Leaves) -> tuple[list[Any], list[Any]]:
        outs, residuals = self.forward(primals)
        trace.own(outs)
        where = [i for i, t in enumerate(tangents) if t is not None]

        def pull(gs: Leaves) -> list[Any]:
            cs = self.backward(residuals, [_zero_maker(y)() if g is None else g for g, y in zip(gs, outs, strict=True)])
            return [cs[i] for i in where]

        return outs, transpose(pull, outs, [tangents[i] for i in where])

    def batched(self, trace: BatchTrace, batched: Sequence[bool]) -> Call:
        def forward(values: Leaves) -> Any:
            with trace.reopened():
                outs, residuals = self.forward([BatchTracer(trace, x) if b else x for x, b in zip(values, batched)])
                trace.own(outs)
                leaves, structure = tree.flatten(residuals)
                return [trace.whole(y) for y in outs], (*trace.split(leaves), structure)

        def backward_(saved: Any, gs: Leaves) -> list[Any]:
            kept, which, structure = saved
            with trace.reopened():
                residuals = tree.unflatten(structure, [BatchTracer(trace, x) if b else x for x, b in zip(kept, which)])
                cs = self.backward(residuals, [BatchTracer(trace, g) for g in gs])
                whole = [c if c is None else trace.whole(c) for c in cs]
            return [c if c is None or b else sum_batch(c) for c, b in zip(whole, batched, strict=True)]

        return VJPCall(self.name, map_batch(trace, self.run, batched), forward, backward_)


def _value(x: ReverseTracer) -> Any:
    return x.value


def _redirected(results: Leaves) -> list[Any]:
    """Results, with what other values stand in for replaced by those (see ReverseTrace.standing_in)."""
    found = []
    for y in results:
        while type(y) is ReverseTracer and y.trace.redirect is not None:
            y = y.trace.redirect(y)
        found.append(y)
    return found


def _zero_maker(y: Any) -> Callable[[], Any]:
    shape, dtype, device = y.shape, y.dtype, y.device
    return lambda: creation.zeros(shape, dtype, device)


class custom_vjp:
    """Function with a reverse-mode derivative given by hand.

    Args:
      fun: the function; computes the value where no derivative is asked for.
      nondiff_argnums: positions of arguments that are no arrays (functions, numbers, strings); they come first in
        ``bwd``'s arguments, and get no cotangent.

    ``f.defvjp(fwd, bwd)`` gives the rule: ``fwd(*args) -> (result, residuals)``, and ``bwd(*nondiff, residuals,
    cotangent of the result) -> tuple with a cotangent for each other argument`` (None for zero). Forward mode
    transposes ``bwd``, which must therefore be linear in the cotangent, as derivatives are.

    Raises:
      TreeError: called before defvjp, or ``bwd`` returns a structure unlike the arguments'.

    Example:
      >>> import knet, knet.numpy as knp
      >>> @knet.custom_vjp
      ... def clip_gradient(x):
      ...     return x
      >>> clip_gradient.defvjp(lambda x: (x, None), lambda _, g: (knp.clip(g, -1.0, 1.0),))
      >>> knet.grad(lambda x: 5.0 * clip_gradient(x))(2.0)
      Array(1., dtype=float32)
    """

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: int | Sequence[int] = ()) -> None:
        self.fun = fun
        self.nondiff_argnums = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
        self.fwd: Callable[..., Any] | None = None
        self.bwd: Callable[..., Any] | None = None
        functools.update_wrapper(self, fun)

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Give the derivative; see the class."""
        self.fwd, self.bwd = fwd, bwd

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = getattr(self.fun, "__name__", repr(self.fun))
        args = _positional(self.fun, args, kwargs)
        fwd, bwd = self.fwd, self.bwd
        if fwd is None or bwd is None:
            raise errors.rule_missing("custom_vjp", name, "defvjp(fwd, bwd)")
        if any(not -len(args) <= i < len(args) for i in self.nondiff_argnums):
            raise errors.argument(
                f"custom_vjp({name})", "nondiff_argnums", self.nondiff_argnums,
                f"the function was called with {len(args)} arguments", "name positions of arguments, from 0",
            )  # fmt: skip
        static = {i % len(args): args[i] for i in self.nondiff_argnums}
        leaves, structure = tree.flatten(tuple(a for i, a in enumerate(args) if i not in static))
        outer = _Structure(name)

        def rebuild(values: Leaves) -> tuple[Any, ...]:
            rest = iter(tree.unflatten(structure, values))
            return tuple(static[i] if i in static else next(rest) for i in range(len(args)))

        def run(values: Leaves) -> list[Any]:
            return outer.flatten(self.fun(*rebuild(values)))

        def forward(values: Leaves) -> Any:
            result = fwd(*rebuild(values))
            if not (isinstance(result, tuple) and len(result) == 2):
                raise errors.fwd_pair(name, result)
            return outer.flatten(result[0]), result[1]

        def backward_(residuals: Any, gs: Leaves) -> list[Any]:
            cs = bwd(*static.values(), residuals, outer.unflatten(gs))
            return _matching(name, cs, structure, leaves)

        return outer.unflatten(VJPCall(name, run, forward, backward_).enter(leaves))


def _positional(fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """All arguments by position, since rules take them so."""
    if not kwargs:
        return args
    bound = inspect.signature(fun).bind(*args, **kwargs)
    bound.apply_defaults()
    if bound.kwargs:
        raise errors.keyword_only(getattr(fun, "__name__", repr(fun)), list(bound.kwargs))
    return bound.args


class _Structure:
    """Remembers the structure of a function's result."""

    def __init__(self, name: str) -> None:
        self.name = name

    def flatten(self, result: Any) -> list[Any]:
        leaves, self.structure = tree.flatten(result)
        return [as_array(y, f"the result of {self.name}") for y in leaves]

    def unflatten(self, leaves: Leaves) -> Any:
        return tree.unflatten(self.structure, leaves)


def _matching(name: str, cs: Any, structure: Any, leaves: Leaves) -> list[Any]:
    """Cotangents as a list with one for each leaf: None entries stand for whole arguments."""
    if not isinstance(cs, tuple) or len(cs) != structure.num_children:
        raise errors.bwd_structure(name, cs, structure.num_children)
    flat: list[Any] = []
    start = 0
    for i, (c, child) in enumerate(zip(cs, structure.children(), strict=True)):
        own = leaves[start : start + child.num_leaves]
        start += child.num_leaves
        if c is None:
            flat += [None] * len(own)
            continue
        values, got = tree.flatten(c)
        if got != child:
            raise errors.tree_mismatch(
                f"custom_vjp({name}): bwd's cotangent of argument {i}", got, child, "return the argument's structure"
            )
        for v, x in zip(values, own, strict=True):
            if isinstance(x, Array):
                v = as_array(v, f"custom_vjp({name}): bwd's cotangent of argument {i}")
                if v.shape != x.shape:
                    raise errors.wrong_cotangent(name, f"argument {i}", v, x)
                v = elementwise.cast(v, x.dtype)
            flat.append(v)
    return flat


# --- custom_jvp -------------------------------------------------------------------------------------------------------


class JVPCall(Call):
    """``jvp(primals, tangents) -> (results, tangents of the results)``, with zeros in place of None."""

    def __init__(self, name: str, run: Any, jvp: Callable[..., Any]) -> None:
        super().__init__(name, run)
        self.jvp = jvp

    def recorded(self, trace: ReverseTrace, values: Leaves, argnums: tuple[int, ...]) -> Any:
        # The tangents depend linearly on those of the operands: record that, and transpose it.
        inner = ReverseTrace(self.name)
        inner.level = trace.just_above()  # what came in between, such as a vmap within, stays above
        try:
            ts = [inner.watch(creation.zeros_like(x)) if i in argnums else _zero(x) for i, x in enumerate(values)]
            outs, touts = self.jvp(values, ts)
            outs = trace.own(_redirected([inner.lower(y) for y in outs]))  # results do not depend on the tangents
            numbers = [inner.number(t) for t in touts]
            tape = inner.take_tape()
        finally:
            inner.close()

        def pull(gs: Leaves) -> list[Any]:
            cotangents: dict[int, Any] = {}
            for n, g in zip(numbers, gs, strict=True):
                accumulate(cotangents, n, g)
            with trace.standing_in(_value):
                backward(tape, cotangents, consume=False)
            return [trace.lower(cotangents.get(ts[i].number)) for i in argnums]

        return outs, (), pull

    def pushed(self, trace: JVPTrace, primals: Leaves, tangents: Leaves) -> tuple[list[Any], list[Any]]:
        outs, touts = self.jvp(primals, [_zero(x) if t is None else t for x, t in zip(primals, tangents, strict=True)])
        trace.own(outs)
        return outs, touts

    def batched(self, trace: BatchTrace, batched: Sequence[bool]) -> Call:
        count = len(batched)

        def jvp(primals: Leaves, tangents: Leaves) -> Any:
            def both(values: Leaves) -> list[Any]:
                outs, touts = self.jvp(values[:count], values[count:])
                return [*outs, *touts]

            flags = [*batched, *(b and isinstance(t, Array) for b, t in zip(batched, tangents))]
            results = map_batch(trace, both, flags)([*primals, *tangents])
            return results[: len(results) // 2], results[len(results) // 2 :]

        return JVPCall(self.name, map_batch(trace, self.run, batched), jvp)


def _tangent(name: str, t: Any, y: Any) -> Any:
    """Tangent of a result; a Python number stands for an array full of it."""
    if isinstance(t, (int, float)):
        return creation.full(y.shape, t, y.dtype, y.device)
    t = as_array(t, f"custom_jvp({name}): the tangent")
    if t.shape != y.shape:
        raise errors.tangent_mismatch(f"of the result of custom_jvp({name})", t, y)
    return elementwise.cast(t, y.dtype)


def _zero(x: Any) -> Any:
    return creation.zeros_like(x) if isinstance(x, Array) else 0.0


class custom_jvp:
    """Function with a forward-mode derivative given by hand; reverse mode transposes it.

    ``f.defjvp(rule)``: ``rule(primals, tangents) -> (result, tangent of the result)``, both arguments tuples with an
    entry for each argument. The tangent must be linear in ``tangents``.

    Raises:
      TreeError: called before defjvp, or the rule returns no pair of like structures.

    Example:
      >>> import knet, knet.numpy as knp
      >>> @knet.custom_jvp
      ... def log1pexp(x):
      ...     return knp.log1p(knp.exp(x))
      >>> log1pexp.defjvp(lambda p, t: (log1pexp(*p), t[0] * (1 - 1 / (1 + knp.exp(p[0])))))
      >>> knet.grad(log1pexp)(50.0)
      Array(1., dtype=float32)
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.fun = fun
        self.rule: Callable[..., Any] | None = None
        functools.update_wrapper(self, fun)

    def defjvp(self, rule: Callable[..., Any]) -> None:
        """Give the derivative; see the class."""
        self.rule = rule

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = getattr(self.fun, "__name__", repr(self.fun))
        args = _positional(self.fun, args, kwargs)
        rule = self.rule
        if rule is None:
            raise errors.rule_missing("custom_jvp", name, "defjvp(rule)")
        leaves, structure = tree.flatten(args)
        outer = _Structure(name)

        def run(values: Leaves) -> list[Any]:
            return outer.flatten(self.fun(*tree.unflatten(structure, values)))

        def jvp(primals: Leaves, tangents: Leaves) -> Any:
            pair = rule(tree.unflatten(structure, primals), tree.unflatten(structure, tangents))
            if not (isinstance(pair, tuple) and len(pair) == 2):
                raise errors.jvp_pair(name, pair)
            touts, got = tree.flatten(pair[1])
            outs = outer.flatten(pair[0])
            if got != outer.structure:
                raise errors.tree_mismatch(
                    f"custom_jvp({name}): the tangent", got, outer.structure, "return the structure of the result"
                )
            return outs, [_tangent(name, t, y) for t, y in zip(touts, outs, strict=True)]

        return outer.unflatten(JVPCall(name, run, jvp).enter(leaves))


# --- checkpoint -------------------------------------------------------------------------------------------------------


class CheckpointCall(Call):
    """A function that is run again during the backward pass, in place of keeping what it computed on the way."""

    def recorded(self, trace: ReverseTrace, values: Leaves, argnums: tuple[int, ...]) -> Any:
        # Run one level down; values of this trace that the function closes over are noted and count as operands.
        closed_over: dict[int, Any] = {}

        def note(x: ReverseTracer) -> Any:
            closed_over[x.number] = x.value
            return x.value

        with trace.standing_in(note):
            outs = _redirected(self.run(values))
        trace.own(outs)

        def pull(gs: Leaves) -> list[Any]:
            inner = ReverseTrace(self.name)
            inner.level = trace.level  # it takes the place of this trace, which only passes values on meanwhile
            again = list(values)
            for i in argnums:
                again[i] = inner.watch(values[i])
            stand_ins = {n: inner.watch(x) for n, x in closed_over.items()}

            def stand_in(x: ReverseTracer) -> Any:
                return stand_ins.get(x.number, x.value)

            try:
                with trace.standing_in(stand_in):
                    results = _redirected(self.run(again))
                    tape = inner.take_tape()
                    cotangents: dict[int, Any] = {}
                    for y, g in zip(results, gs, strict=True):
                        accumulate(cotangents, inner.number(y), g)
                    # Within, because checkpoints inside of this one run again here, with what they close over.
                    backward(tape, cotangents, consume=True)
            finally:
                inner.close()
            watched = [again[i] for i in argnums] + list(stand_ins.values())
            return [cotangents.get(x.number) for x in watched]

        return outs, tuple(closed_over), pull

    def pushed(self, trace: JVPTrace, primals: Leaves, tangents: Leaves) -> tuple[list[Any], list[Any]]:
        where = [i for i, t in enumerate(tangents) if t is not None]
        count = len(primals)
        differentiable: list[bool] = []

        def both(values: Leaves) -> list[Any]:
            with trace.reopened():
                pushed = list(values[:count])
                for i, t in zip(where, values[count:], strict=True):
                    pushed[i] = trace.join(pushed[i], t)
                outs, touts = trace.split(trace.own(self.run(pushed)))
            differentiable[:] = [t is not None for t in touts]
            return [*outs, *(t for t in touts if t is not None)]

        results = CheckpointCall(self.name, both)([*primals, *(tangents[i] for i in where)])
        rest = iter(results[len(differentiable) :])
        return results[: len(differentiable)], [next(rest) if d else None for d in differentiable]

    def batched(self, trace: BatchTrace, batched: Sequence[bool]) -> Call:
        return CheckpointCall(self.name, map_batch(trace, self.run, batched))


def checkpoint(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Function whose intermediate results are not kept for the backward pass but computed again there.

    The gradient of a chain of n layers keeps n results; cut into sqrt(n) checkpointed pieces it keeps about 2 sqrt(n),
    for one more forward pass (Chen, Xu, Zhang, Guestrin 2016, arXiv:1604.06174). Values that ``fun`` closes over are
    differentiated as well.

    Args:
      fun: a pure function of pytrees of arrays; called twice with the same values.

    Example:
      >>> import knet, knet.numpy as knp
      >>> knet.grad(knet.checkpoint(lambda x: knp.square(x) * x))(2.0)
      Array(12., dtype=float32)
    """
    name = getattr(fun, "__name__", repr(fun))

    @functools.wraps(fun)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten((args, kwargs))
        outer = _Structure(name)

        def run(values: Leaves) -> list[Any]:
            new_args, new_kwargs = tree.unflatten(structure, values)
            return outer.flatten(fun(*new_args, **new_kwargs))

        return outer.unflatten(CheckpointCall(name, run).enter(leaves))

    return checkpointed
