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
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import dtypes, errors
from .array import OPERANDS, DeviceArray
from .aval import ShapedArray, aval_of, broadcast_shapes
from .trace import Tracer, bottom, top_trace

Rule = Callable[..., Any]


def ZERO(g: Any, _y: Any, *_inputs: Any, **_params: Any) -> None:
    """Rule of an operand on which the result depends in steps: its derivative is zero almost everywhere."""
    return None


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
      multiple: whether the result is a tuple of arrays.
      family: "elementwise", "reduction", "structural", "contraction", "window", "index" or "random": how it batches.
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
        family: str,
        multiple: bool = False,
        doc: str | None = None,
    ) -> None:
        if name in registry:
            raise ValueError(f"primitive {name!r} is registered already")
        self.name = self.__name__ = name
        self.body = body
        self.aval = aval
        self.family = family
        self.multiple = multiple
        self.__doc__ = doc if doc is not None else body.__doc__
        code = getattr(body, "__code__", None)
        self.variadic = bool(code and code.co_flags & _VARARGS)
        self.argnames: tuple[str, ...] = code.co_varnames[: code.co_argcount] if code else ("x", "y", "z")
        self.define_vjp(vjp)
        self.apply: Callable[..., Any] = self.__call__
        registry[name] = self

    def define_vjp(self, vjp: Rule | str | Sequence[Rule | str]) -> None:
        """Set the derivative rules."""
        self.vjp = vjp
        self.plans: dict[tuple[int, ...], Plan] = {}

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __call__(self, *args: Any, **params: Any) -> Any:
        return top_trace(args).process(self, args, params)

    # --- evaluation ------------------------------------------------------------------------------------------------

    def check(self, args: Sequence[Any], params: dict[str, Any]) -> None:
        """Raise the user's error if the operands do not fit."""
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
            plan = self.plans[argnums] = Plan(rules, keep[0], tuple(keep[1:]), same)
        return plan


class Plan(NamedTuple):
    """Rules of the differentiated operands; what to keep of the result and of each operand, and of all alike."""

    rules: tuple[Rule, ...]
    keep_result: int
    keep: tuple[int, ...]
    keep_all: int | None


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


# --- elementwise ----------------------------------------------------------------------------------------------------

_ACCEPTS = {
    "b": "booleans",
    "biu": "booleans and integers",
    "biuf": "real numbers",
    "iufc": "numbers",
    "biufc": "numbers and booleans",
    "fc": "floating-point and complex numbers",
    "f": "floating-point numbers",
}


class Elementwise(Primitive):
    """A primitive that works on each element alone; operands broadcast and promote, and have no parameters.

    Args:
      c: the scalar expression in the operands' names, in the C dialect that the backends share.
      accepts: kinds of dtype that it takes, letters of b i u f c.
      compute: "promoted" (operands meet in their common dtype) or "float" (integers go to the default float).
      result: "same" dtype as computed in, or "bool".
      free: operands that stay out of promotion, by position (the condition of where).
    """

    scalars = True
    pointwise = True

    def __init__(
        self,
        name: str,
        body: Callable[..., Any],
        *,
        argnames: tuple[str, ...],
        c: str,
        vjp: Rule | str | Sequence[Rule | str],
        accepts: str = "biufc",
        compute: str = "promoted",
        result: str = "same",
        free: tuple[int, ...] = (),
        doc: str | None = None,
    ) -> None:
        super().__init__(name, body, aval=self._aval, vjp=vjp, family="elementwise", doc=doc)
        self.argnames = argnames
        self.c = c
        self.accepts = accepts
        self.compute = compute
        self.result = result
        self.smooth = result == "same"
        self.free = free
        # Kinds that need no conversion: such operands of one dtype go straight to the kernel.
        self.direct = frozenset(accepts if compute == "promoted" else "fc") & frozenset(accepts)

    def compute_dtype(self, args: Sequence[Any]) -> np.dtype[Any]:
        """The dtype in which the operands meet."""
        dtype, scalars = None, []
        for i, x in enumerate(args):
            if i in self.free:
                continue
            if isinstance(x, (bool, int, float, complex)):
                scalars.append(x)
            else:
                dtype = x.dtype if dtype is None else dtypes.promote(dtype, x.dtype)
        for x in scalars:
            own = dtypes.of_scalar(x)
            dtype = own if dtype is None else dtypes.promote_scalar(dtype, x)
        assert dtype is not None
        if dtypes.kind(dtype) not in self.accepts:
            raise errors.unsupported_dtype(self.name, self.argnames, args, _ACCEPTS[self.accepts])
        return dtypes.to_float(dtype) if self.compute == "float" else dtype

    def _aval(self, *avals: Any) -> ShapedArray:
        dtype = self.compute_dtype(avals)
        shape = broadcast_shapes(*(getattr(a, "shape", ()) for a in avals))
        if shape is None:
            raise errors.broadcast(self.name, self.argnames, avals)
        return ShapedArray(shape, dtypes.bool_ if self.result == "bool" else dtype)

    def evaluate(self, args: Sequence[Any], params: dict[str, Any]) -> Any:
        dtype = self.compute_dtype(args)
        device: Any = None
        for x in args:
            if type(x) is DeviceArray:
                if device is None:
                    device = x._device
                elif x._device is not device:
                    raise errors.mixed_devices(self.name, self.argnames, args)
        backend = device.backend
        buffers = []
        for i, x in enumerate(args):
            if type(x) is not DeviceArray:
                buffers.append(device.scalars[x, dtypes.bool_ if i in self.free else dtype])
            elif x._buffer.dtype is dtype or i in self.free:
                buffers.append(x._buffer)
            else:
                buffers.append(backend.cast(x._buffer, dtype))
        try:
            return DeviceArray(device.kernels[self](*buffers), device)
        except ValueError:
            self._aval(*args)
            raise


class Unary(Elementwise):
    """Elementwise primitive of one operand, with a short path for concrete arrays."""

    def __init__(self, name: str, body: Callable[..., Any], **options: Any) -> None:
        super().__init__(name, body, **options)
        direct = self.direct

        def apply(x: Any) -> Any:
            if type(x) is DeviceArray:
                buffer = x._buffer
                if buffer.dtype.kind in direct:
                    device = x._device
                    return DeviceArray(device.kernels[self](buffer), device)
            elif isinstance(x, Tracer):
                return x.trace.process(self, (x,), NO_PARAMS)
            return bottom.process(self, (x,), NO_PARAMS)

        self.apply = apply

    def __call__(self, x: Any) -> Any:
        return self.apply(x)


class Binary(Elementwise):
    """Elementwise primitive of two operands, with short paths for arrays of one dtype and for Python scalars.

    ``apply`` is the function behind the operator: it returns NotImplemented for an operand that is no number or array.
    It is a closure and not a method because at this size of work each Python call counts.
    """

    def __init__(self, name: str, body: Callable[..., Any], **options: Any) -> None:
        super().__init__(name, body, **options)
        direct, floats = self.direct, "f" in self.direct
        usual = dtypes.float32 if floats else None  # spares the look at the kind

        def apply(x: Any, y: Any) -> Any:
            if type(x) is DeviceArray:
                a = x._buffer
                dtype = a.dtype
                if type(y) is DeviceArray:
                    b = y._buffer
                    device = x._device
                    if b.dtype is dtype and y._device is device and (dtype is usual or dtype.kind in direct):
                        try:
                            return DeviceArray(device.kernels[self](a, b), device)
                        except ValueError:
                            self._aval(x, y)
                            raise
                elif (type(y) is float or type(y) is int) and (dtype is usual or (floats and dtype.kind == "f")):
                    device = x._device
                    return DeviceArray(device.kernels[self](a, device.scalars[y, dtype] if a.shape else y), device)
            elif type(y) is DeviceArray and (type(x) is float or type(x) is int) and floats:
                b = y._buffer
                if b.dtype.kind == "f":
                    device = y._device
                    return DeviceArray(device.kernels[self](device.scalars[x, b.dtype] if b.shape else x, b), device)
            trace = bottom
            if isinstance(x, Tracer):
                trace = x.trace
            elif not isinstance(x, OPERANDS):
                return NotImplemented
            if isinstance(y, Tracer):
                if y.trace.level > trace.level:
                    trace = y.trace
            elif not isinstance(y, OPERANDS):
                return NotImplemented
            return trace.process(self, (x, y), NO_PARAMS)

        self.apply = apply

    def __call__(self, x: Any, y: Any) -> Any:
        result = self.apply(x, y)
        return top_trace((x, y)).process(self, (x, y), NO_PARAMS) if result is NotImplemented else result


def elementwise(
    name: str,
    body: Callable[..., Any],
    c: str,
    vjp: Rule | str | Sequence[Rule | str],
    doc: str,
    **options: Any,
) -> Any:
    """Register an elementwise primitive; its operands are x, y, z as far as ``c`` names them."""
    argnames = options.pop("argnames", None)
    if argnames is None:
        count = getattr(body, "nin", None) or body.__code__.co_argcount
        argnames = ("x", "y", "z")[:count]
    cls = (Unary, Binary, Elementwise)[len(argnames) - 1]
    rules = (vjp,) if callable(vjp) and vjp is not ZERO and len(argnames) == 1 else vjp
    return cls(name, body, argnames=argnames, c=c, vjp=rules, doc=doc, **options)


def primitive(
    name: str | None = None,
    *,
    aval: Callable[..., Any],
    vjp: Rule | str | Sequence[Rule | str],
    family: str,
    multiple: bool = False,
) -> Callable[[Callable[..., Any]], Primitive]:
    """Decorator that turns a NumPy body into a primitive of the same name; see :class:`Primitive`."""

    def make(body: Callable[..., Any]) -> Primitive:
        return Primitive(name or body.__name__, body, aval=aval, vjp=vjp, family=family, multiple=multiple)

    return make
