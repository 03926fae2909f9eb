"""Short paths for functions of arrays: what a function does is written down once, and replayed.

A function of ``knet.numpy`` looks at the shapes and dtypes of its operands and at its other arguments, normalises axes,
checks sizes, and calls primitives: the same ones each time for the same signature. The decorators below keep a
:class:`Plan` for each signature of concrete arrays, so that a call costs a look-up and the kernels. Whatever has no
plan runs the function itself: traced operands, functions that look at values, and every call that fails, so that each
message has one place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from .abstract import AbstractTrace, AbstractTracer
from .array import DeviceArray
from .aval import ShapedArray, aval_of
from .ops import elementwise
from .pointwise import Elementwise
from .primitive import Primitive

F = TypeVar("F", bound=Callable[..., Any])

_KEPT = 4096  # plans of one function; the one not used for longest goes


def of_one(function: F) -> F:
    """Decorator of a function whose first argument is its one array."""
    plans = functools.lru_cache(_KEPT, typed=True)(Plan)
    spread = lambda xs, args, kwargs: function(*xs, *args, **kwargs)  # noqa: E731

    @functools.wraps(function)
    def call(x: Any, /, *args: Any, **kwargs: Any) -> Any:
        if type(x) is DeviceArray:
            a, device = x._buffer, x._device
            try:
                plan = plans(a.shape, a.dtype, *args, **kwargs)
                if plan.nested:
                    check_integers(args, kwargs)
                run = plan.run or plan.find(spread, (x,), args, kwargs)
                y = run(device, a)
                return x if y is a else DeviceArray(y, device)
            except Exception:  # the function itself says what is wrong
                pass
        return function(x, *args, **kwargs)

    return cast(F, call)


def of_two(function: F) -> F:
    """Decorator of a function whose first two arguments are its arrays."""
    plans = functools.lru_cache(_KEPT, typed=True)(Plan)
    spread = lambda xs, args, kwargs: function(*xs, *args, **kwargs)  # noqa: E731

    @functools.wraps(function)
    def call(x: Any, y: Any, /, *args: Any, **kwargs: Any) -> Any:
        if type(x) is DeviceArray and type(y) is DeviceArray and x._device is y._device:
            a, b, device = x._buffer, y._buffer, x._device
            try:
                plan = plans(a.shape, a.dtype, b.shape, b.dtype, *args, **kwargs)
                if plan.nested:
                    check_integers(args, kwargs)
                run = plan.run or plan.find(spread, (x, y), args, kwargs)
                return DeviceArray(run(device, a, b), device)
            except Exception:
                pass
        return function(x, y, *args, **kwargs)

    return cast(F, call)


def of_several(function: F) -> F:
    """Decorator of a function whose first argument is the list or tuple of its arrays."""
    plans = functools.lru_cache(_KEPT, typed=True)(Plan)
    together = lambda xs, args, kwargs: function(xs, *args, **kwargs)  # noqa: E731

    @functools.wraps(function)
    def call(xs: Any, /, *args: Any, **kwargs: Any) -> Any:
        if type(xs) is list or type(xs) is tuple:
            buffers: list[Any] = []
            signature: list[Any] = []
            try:
                device = xs[0]._device  # raises for a tracer
                for x in xs:
                    if type(x) is not DeviceArray or x._device is not device:
                        break
                    a = x._buffer
                    buffers.append(a)
                    signature.append(a.shape)
                    signature.append(a.dtype)
                else:
                    plan = plans(*signature, *args, **kwargs)
                    if plan.nested:
                        check_integers(args, kwargs)
                    run = plan.run or plan.find(together, xs, args, kwargs)
                    return DeviceArray(run(device, *buffers), device)
            except Exception:
                pass
        return function(xs, *args, **kwargs)

    return cast(F, call)


class NoPlan(Exception):
    """Raised where the function itself is to be called."""


class Plan:
    """What a function does for one signature: shapes and dtypes of its operands, its other arguments.

    ``run(device, *buffers)`` gives the buffer of the result; None: not found yet. ``nested`` says that an argument is a
    tuple: equal arguments are of equal type, but what is in a tuple has to be looked at.
    """

    __slots__ = ("nested", "run", "uses")

    def __init__(self, *_signature: Any, **_named: Any) -> None:
        self.uses = 0
        self.nested = False
        self.run: Any = None

    def find(self, function: Any, operands: Sequence[DeviceArray], args: Any, kwargs: Any) -> Any:
        """``run``, made at the second use, because many a shape comes only once. Raises NoPlan where there is none."""
        self.uses += 1
        others = (*args, *kwargs.values())
        if self.uses != 2 or not all(isinstance(a, _STATIC) for a in others):
            raise NoPlan
        check_integers(args, kwargs)
        recorder = Recorder([aval_of(x) for x in operands])
        y = function(recorder.operands, args, kwargs)
        self.nested = any(type(a) is tuple for a in others)
        self.run = recorder.printed(y)
        return self.run


# What plans may depend on. No numbers but integers: those are equal where they are alike, but for zeros and NaN.
_STATIC = (int, str, type, tuple, np.dtype, type(None))


def check_integers(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise NoPlan if a tuple among the arguments holds anything but integers: its sum would be none, either."""
    for arg in (*args, *kwargs.values()) if kwargs else args:
        if type(arg) is tuple and type(sum(arg)) is not int:
            raise NoPlan


class Recorder(AbstractTrace):
    """The trace that finds a plan: calls each primitive's shape rule, and writes the kernel's call down as Python."""

    __slots__ = ("calls", "constants", "operands")

    def __init__(self, avals: Sequence[ShapedArray]) -> None:
        super().__init__()
        self.calls: list[tuple[str, str, list[str]]] = []  # name of the result, the call, names and numbers in it
        self.constants: list[Any] = []  # c0, c1, ... in the text
        self.operands = [Recorded(self, aval, f"x{i}") for i, aval in enumerate(avals)]

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        y = super().process(primitive, args, params)
        if primitive.multiple:
            raise NoPlan
        if isinstance(primitive, Elementwise):
            names = [self._converted(x, dtype) for x, dtype in zip(args, primitive.kernel_dtypes(args), strict=True)]
        else:
            names = [self._name(x) for x in args]
        named = [f"{key}={self._constant(value)}" for key, value in params.items()]
        call = f"device.kernels[{self._constant(primitive)}]({', '.join(names + named)})"
        result = f"y{len(self.calls)}"
        self.calls.append((result, call, names))
        return Recorded(self, y.aval, result)

    def printed(self, result: Any) -> Any:
        """Function of a device and buffers that does what was recorded, and keeps no buffer longer than it must."""
        lines = [f"    return {self._name(result)}\n"]
        needed = {result.name, *(x.name for x in self.operands)}
        for name, call, names in reversed(self.calls):
            over = sorted({n for n in names if n.startswith("y")} - needed)
            lines += [f"    del {', '.join(over)}\n"] if over else []
            lines.append(f"    {name} = {call}\n")
            needed.update(over)
        operands = ", ".join(x.name for x in self.operands)
        text = f"def run(device, {operands}):\n{''.join(reversed(lines))}"
        scope: dict[str, Any] = {f"c{i}": value for i, value in enumerate(self.constants)}
        exec(_compiled(text), scope)
        return scope["run"]

    def _constant(self, value: Any) -> str:
        self.constants.append(value)
        return f"c{len(self.constants) - 1}"

    def _name(self, x: Any) -> str:
        if type(x) is not Recorded or x.trace is not self:
            raise NoPlan  # an array that the function makes is on one device
        return x.name

    def _converted(self, x: Any, dtype: np.dtype[Any]) -> str:
        """An elementwise operand in the dtype that the kernel gets."""
        if isinstance(x, (bool, int, float, complex)):
            return f"device.scalars[{self._constant((x, dtype))}]"
        return self._name(elementwise.cast(x, dtype))


_compiled = functools.lru_cache(_KEPT)(functools.partial(compile, filename="<plan>", mode="exec"))


class Recorded(AbstractTracer):
    """An operand or result of a kernel's call, and its name in the text."""

    __slots__ = ("name",)

    def __init__(self, trace: Recorder, aval: ShapedArray, name: str) -> None:
        super().__init__(trace, aval)
        self.name = name

    @property
    def device(self) -> Any:
        raise NoPlan  # plans hold for every device
