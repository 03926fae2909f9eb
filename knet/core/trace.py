"""Traces and their levels.

Every transformation makes a trace, wraps the values that it follows into tracers, and runs the user's function.
An operation is handled by the highest trace among its operands: the transformation entered last. That trace computes
the result by running the same operation one level down, so transformations nest without knowing of one another.

Because a level is drawn from a counter that only grows, an inner trace is always higher than the ones around it, there
is no stack to restore, and threads cannot confuse each other's levels. Level 0 is evaluation: ``bottom`` holds the
trace that runs kernels; ``core.device`` puts it there, so this module knows of no device and of no derivative.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from . import errors
from .array import Array

if TYPE_CHECKING:
    from .primitive import Primitive

_levels = itertools.count(1)

# The innermost trace that writes a graph in this thread or task: control flow keeps its shape in it (core.control).
staging: ContextVar[Any] = ContextVar("knet_staging", default=None)


# Traces that write a branch, in any thread: see handler. Mostly there are none, which is cheap to see.
guards: list[Any] = []


class ClosesOver(Exception):
    """Raised where the result of a call depends on a trace above the one that handles it, through a closure."""

    def __init__(self, trace: Trace) -> None:
        super().__init__("internal: the call goes to the trace that it closes over")
        self.trace = trace


class Trace:
    """One run of one transformation.

    A subclass defines :meth:`process`. ``function`` names the user's function for messages.
    """

    kind = "trace"
    __slots__ = ("function", "level")

    def __init__(self, function: str = "a function") -> None:
        self.function = function
        self.level: float = next(_levels)

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """Result of the primitive, at least one of whose operands is a tracer of this trace."""
        raise NotImplementedError

    def just_above(self) -> float:
        """A level above this trace's and below those of all traces made after it."""
        return (self.level + math.floor(self.level) + 1) / 2

    def own(self, results: Sequence[Any]) -> Sequence[Any]:
        """Results of a function that this trace runs one level down, none of them a tracer of a trace above it.

        Raises:
          ClosesOver: one is.
        """
        for y in results:
            if isinstance(y, Tracer) and self.level < y.trace.level < math.inf:
                raise ClosesOver(y.trace)
        return results


class Tracer(Array):
    """A value that a trace follows; it has the shape, dtype and operators of an array."""

    __slots__ = ("trace",)
    trace: Any


class ValueTracer(Tracer):
    """A tracer that knows its value one level down, and may therefore be looked at: printed, compared, branched on."""

    __slots__ = ("value",)
    value: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype

    @property
    def device(self) -> Any:
        return self.value.device

    def _host(self, wanted: str) -> np.ndarray[Any, Any]:
        if wanted == "numpy.asarray":
            trace = self.trace
            raise errors.tracer_to_host(trace.kind, wanted, trace.function, f"x, {errors.describe(self)},")
        # A Python number or a printed text carries no derivative, and control flow on values is what tracing allows.
        return self.value._host(wanted)

    def block_until_ready(self) -> Array:
        self.value.block_until_ready()
        return self

    def __repr__(self) -> str:
        return f"Tracer<{self.trace.kind}>({self.value!r})"

    __str__ = __repr__


class Bottom:
    """Level 0: where no operand is a tracer. ``process`` runs the kernel; set by core.device."""

    level: float = 0
    process: Any = None


bottom = Bottom()


def top_trace(args: Sequence[Any]) -> Any:
    """The highest trace among the operands, or ``bottom``."""
    top: Any = bottom
    for x in args:
        if isinstance(x, Tracer) and x.trace.level > top.level:
            top = x.trace
    return handler(top) if guards and top is not bottom else top


def handler(trace: Any) -> Any:
    """The trace that handles operations on tracers of ``trace`` alone.

    While the branch of a cond is written into a graph, all of its operations belong to it, those on values from outside
    too: they are computed, and differentiated, only if the branch is taken.
    """
    inner = staging.get()
    guard = None if inner is None else inner.guard
    return trace if guard is None or guard.level <= trace.level else guard
