"""Primitives and their registry.

A primitive is defined in one place: its body in NumPy (specification, fallback and oracle of every backend), its shape
rule, its derivative. It is called like any function: arrays by position, static parameters by keyword.

Derivative rules
    One rule for each operand, called as ``rule(g, y, *inputs, **params)``: cotangent of the result, result, operands.
    It returns the operand's cotangent, is written in Knet's operations (so it can be differentiated again), may leave
    broadcasting and promotion of an elementwise operand to the engine, and may return None for zero.
    The names of a rule's arguments say what the tape must keep: ``x`` the value, ``x_aval`` only shape and dtype,
    ``_x`` nothing. In place of a rule stands ``ZERO`` for a function that is constant almost everywhere, or a string:
    the reason why there is none.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import errors
from .array import DeviceArray
from .aval import ShapedArray, aval_of
from .trace import top_trace

Rule = Callable[..., Any]


def ZERO(g: Any, _y: Any, *_inputs: Any, **_params: Any) -> None:
    """Rule of an operand on which the result depends in steps: its derivative is zero almost everywhere."""
    return None


class Linear(NamedTuple):
    """Operands in which a primitive is linear: jointly, or each with the others fixed."""

    operands: tuple[int, ...] | None  # None: all, of however many
    jointly: bool


def LINEAR(*operands: int) -> Linear:
    """``jvp`` entry of a primitive that is linear in these operands jointly (all of them by default)."""
    return Linear(operands or None, True)


def MULTILINEAR(*operands: int) -> Linear:
    """``jvp`` entry of a primitive that is linear in each of these operands alone."""
    return Linear(operands, False)


registry: dict[str, Primitive] = {}

_VARARGS = 0x04  # code flag of a function with *args


class Primitive:
    """An operation that traces see as one.

    Args:
      name: unique; the key in :data:`registry`.
      body: ``body(*numpy_arrays, **params)``, the specification.
      aval: ``aval(*avals, **params)``, the shape rule: returns a ShapedArray (a tuple of them for several results), and
        raises the error that the user sees for operands that do not fit.
      vjp: one entry for each operand: a rule, ``ZERO``, or the reason for there being none. A variadic primitive has a
        single rule that is called with ``argnum=`` in addition.
      batch: the rule by which vmap adds a batch axis, see core.ops.batching; or the reason for there being none.
      jvp: forward mode. ``LINEAR`` with the positions of the operands in which the primitive is linear jointly (the
        tangents pass through the primitive itself), ``MULTILINEAR`` with those in which it is linear one at a time, a
        rule ``jvp(primals, tangents, y, **params)`` with None for zero tangents, or None: the transpose of the VJP.
      multiple: whether the result is a tuple of arrays.
    """

    multiple = False
    scalars = False  # whether Python scalars are operands as they are
    pointwise = False  # whether operands broadcast and promote, which the engine undoes for their cotangents
    smooth = False  # whether floating operands surely give a floating result

    def __init__(
        self,
        name: str,
        body: Callable[..., Any],
        *,
        aval: Callable[..., Any],
        vjp: Rule | str | Sequence[Rule | str],
        batch: Rule | str,
        jvp: Any = None,
        multiple: bool = False,
        doc: str | None = None,
    ) -> None:
        if name in registry:
            raise ValueError(f"primitive {name!r} is registered already")
        self.name = self.__name__ = name
        self.body = body
        self.aval = aval
        self.batch = batch
        self.jvp = jvp
        self.multiple = multiple
        self.__doc__ = doc if doc is not None else body.__doc__
        code = getattr(body, "__code__", None)
        self.variadic = bool(code and code.co_flags & _VARARGS)
        self.argnames: tuple[str, ...] = code.co_varnames[: code.co_argcount] if code else ("x", "y", "z")
        self.define_vjp(vjp)
        self.apply: Callable[..., Any] = self.__call__
        # The shape rule, asked once for each signature; what it raises is not kept.
        self.fits = functools.lru_cache(1024, typed=True)(
            lambda *operands, **params: self.aval(*itertools.starmap(ShapedArray, operands), **params)
        )
        registry[name] = self

    def define_vjp(self, vjp: Rule | str | Sequence[Rule | str]) -> None:
        """Set the derivative rules."""
        self.vjp = vjp
        self.plans: dict[tuple[int, ...], Plan] = {}

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __reduce__(self) -> Any:
        return _registered, (self.name,)  # copies and pickles are the one object

    def __call__(self, *args: Any, **params: Any) -> Any:
        for x in args:
            if type(x) is not DeviceArray:
                return top_trace(args).process(self, args, params)
        return self.evaluate(args, params)

    # --- evaluation ------------------------------------------------------------------------------------------------

    def check(self, args: Sequence[Any], params: dict[str, Any]) -> None:
        """Raise the user's error if the operands, concrete arrays, do not fit."""
        try:
            self.fits(*[(x._buffer.shape, x._buffer.dtype) for x in args], **params)
            return
        except TypeError:  # the error itself, or a parameter without a hash
            pass
        self.aval(*map(aval_of, args), **params)

    def evaluate(self, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """Result on the operands' device; every operand is a concrete array."""
        self.check(args, params)
        device = common_device(self, args)
        out = device.kernels[self](*[x._buffer for x in args], **params)
        if self.multiple:
            return tuple(DeviceArray(buffer, device) for buffer in out)
        return DeviceArray(out, device)

    # --- derivatives -----------------------------------------------------------------------------------------------

    def rule(self, argnum: int) -> Rule:
        """Derivative rule of an operand; where there is none, one that raises NotDifferentiable when it is needed."""
        vjp: Any = self.vjp
        if isinstance(vjp, tuple):
            entry = vjp[argnum] if argnum < len(vjp) else "the rule is missing"
        elif isinstance(vjp, str) or vjp is ZERO:
            entry = vjp
        else:
            entry = functools.partial(vjp, argnum=argnum)
        if not isinstance(entry, str):
            return entry
        reason = entry

        def refuse(g: Any, _y: Any, *_inputs: Any, **_params: Any) -> Any:
            raise errors.no_rule(self.name, self.argname(argnum), reason)

        return refuse

    def argname(self, argnum: int) -> str:
        """Name of an operand, for messages."""
        return self.argnames[argnum] if argnum < len(self.argnames) else f"operand {argnum}"

    def plan(self, argnums: tuple[int, ...], count: int) -> Plan:
        """The rules for these operands out of ``count``, and what the tape must keep for them."""
        plan = self.plans.get(argnums)
        if plan is None:
            rules = tuple(map(self.rule, argnums))
            keep = [NOTHING] * (count + 1)
            for rule in rules:
                if rule is not ZERO:
                    names = _argument_names(rule, count + 2)[1:]
                    keep = [max(k, _need(n)) for k, n in zip(keep, names)]
            # Operands of a variadic primitive all need the same, so a plan holds for any count of them.
            same = keep[1] if len(set(keep[1:])) == 1 else None
            constant = all(rule is ZERO for rule in rules)
            plan = self.plans[argnums] = Plan(rules, keep[0], tuple(keep[1:]), same, constant)
        return plan


def _registered(name: str) -> Primitive:
    return registry[name]


class Plan(NamedTuple):
    """Rules of the differentiated operands; what to keep of the result and of each operand, and of all alike; and
    whether all rules are ZERO, so that the result is a constant."""

    rules: tuple[Rule, ...]
    keep_result: int
    keep: tuple[int, ...]
    keep_all: int | None
    constant: bool


NOTHING, AVAL, VALUE = range(3)
NO_PARAMS: dict[str, Any] = {}


def _argument_names(rule: Rule, count: int) -> list[str]:
    function: Any = rule.func if isinstance(rule, functools.partial) else rule
    code = function.__code__
    names = list(code.co_varnames[: code.co_argcount])
    if code.co_flags & _VARARGS:
        names += [code.co_varnames[code.co_argcount + code.co_kwonlyargcount]] * (count - len(names))
    return names


def _need(name: str) -> int:
    return NOTHING if name.startswith("_") else AVAL if name.endswith("_aval") else VALUE


def common_device(primitive: Primitive, args: Sequence[Any]) -> Any:
    """The one device of all operands."""
    device = args[0]._device
    for x in args:
        if x._device is not device:
            raise errors.mixed_devices(primitive.name, _names(primitive, args), args)
    return device


def _names(primitive: Primitive, args: Sequence[Any]) -> list[str]:
    names = list(primitive.argnames[: len(args)])
    return names + [f"operand {i}" for i in range(len(names), len(args))]


def primitive(
    name: str | None = None,
    *,
    aval: Callable[..., Any],
    vjp: Rule | str | Sequence[Rule | str],
    batch: Rule | str,
    jvp: Any = None,
    multiple: bool = False,
) -> Callable[[Callable[..., Any]], Primitive]:
    """Decorator that turns a NumPy body into a primitive of the same name; see :class:`Primitive`."""

    def make(body: Callable[..., Any]) -> Primitive:
        return Primitive(name or body.__name__, body, aval=aval, vjp=vjp, batch=batch, jvp=jvp, multiple=multiple)

    return make
