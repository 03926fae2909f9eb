"""Staging: running a Python function once on abstract values, and writing down what it does as a graph."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ..core import ShapedArray, as_array, default_device, dtypes, errors
from ..core.array import Array, DeviceArray
from ..core.aval import aval_of
from ..core.ops import elementwise
from ..core.trace import Trace, Tracer, guards, staging
from .graph import Graph, Node, Value

# What Python's operators on numbers become: their results are Python numbers again, which take on any array's dtype.
_OF_NUMBERS = {
    "abs", "add", "divide", "floor_divide", "multiply", "negative", "positive", "power", "remainder", "square",
    "subtract", "equal", "greater", "greater_equal", "less", "less_equal", "not_equal",
}  # fmt: skip
_EXACT = {"b": dtypes.int64, "i": dtypes.int64, "f": dtypes.float64, "c": dtypes.complex128}  # in which Python computes


class StageTrace(Trace):
    """The trace of jit: every primitive becomes a node.

    Attributes:
      graph: what has been written down.
      captured: arrays of traces around this one that the function closes over, by the input that stands for them.
    """

    kind = "jit"
    # How a function with a derivative of its own is written down, by the type of its call; filled by .custom.
    call_rules: ClassVar[dict[type, Callable[..., list[Any]]]] = {}
    control: ClassVar[Any]  # loops and branches are made of this module: compiler.control sets it
    __slots__ = ("branch", "captured", "closed", "graph", "guard", "lifted", "token")

    def __init__(self, function: str, branch: bool = False) -> None:
        super().__init__(function)
        self.branch = branch
        self.guard: Any = None  # the innermost trace of a branch, this one or around it; see core.trace.handler
        self.graph = Graph(function)
        self.captured: dict[Value, Any] = {}
        self.lifted: dict[int, tuple[Any, Value]] = {}
        self.closed = False

    def __enter__(self) -> StageTrace:
        self.guard = self if self.branch else getattr(staging.get(), "guard", None)
        if self.branch:
            guards.append(self)
        self.token = staging.set(self)
        return self

    def __exit__(self, *_: Any) -> None:
        staging.reset(self.token)
        if self.branch:
            guards.remove(self)
        self.closed = True

    def input(self, aval: ShapedArray, weak: Any = None, name: str = "") -> StageTracer:
        """Tracer for a new input; ``weak`` is a Python number of the type that the input stands for."""
        value = Value(aval)
        self.graph.inputs.append(value)
        return StageTracer(self, value, weak, name)

    def process(self, primitive: Any, args: Sequence[Any], params: dict[str, Any]) -> Any:
        if self.closed:
            raise errors.leaked_tracer(self.kind, self.function, f"an operand of {primitive.name}")
        if primitive.pointwise:
            return self._pointwise(primitive, args)
        operands = [self.strong(x, primitive.name) for x in args]
        avals = primitive.aval(*[x.aval for x in operands], **params)
        node = self.record(primitive, operands, params, avals if primitive.multiple else (avals,))
        return tuple(node) if primitive.multiple else node[0]

    def _pointwise(self, primitive: Any, args: Sequence[Any]) -> Any:
        """Operands meet in one dtype here, so that a node's numbers and arrays all have it."""
        seen = [x.weak if type(x) is StageTracer and x.weak is not None else x for x in args]
        for i, x in enumerate(seen):
            if not isinstance(x, (bool, int, float, complex, Array)):
                seen[i] = as_array(x, primitive.name)
        weak = primitive.name in _OF_NUMBERS and all(isinstance(x, (bool, int, float, complex)) for x in seen)
        dtype = primitive.compute_dtype(seen)
        if weak:
            dtype = _EXACT[dtype.kind]
        operands: list[Any] = []
        for i, (x, s) in enumerate(zip(args, seen)):
            if type(x) is StageTracer and x.weak is not None:
                operands.append(self.value(x) if i in primitive.free else self._cast(self.value(x), dtype))
            elif isinstance(s, Array):
                v = self.value(s)
                operands.append(v if i in primitive.free else self._cast(v, dtype))
            else:
                operands.append(s)
        aval = primitive.aval(*[x.aval if type(x) is Value else x for x in operands])
        (y,) = self.record(primitive, operands, {}, (aval,))
        if weak:
            y.weak = {"b": False, "i": 0, "f": 0.0, "c": 0j}[y.value.dtype.kind]
        return y

    def _cast(self, x: Value, dtype: Any) -> Value:
        if x.dtype == dtype:
            return x
        return self.append(elementwise._cast, [x], {"dtype": dtype}, (ShapedArray(x.shape, dtype),)).results[0]

    def record(
        self, op: Any, operands: Sequence[Any], params: dict[str, Any], avals: Sequence[ShapedArray]
    ) -> list[Any]:
        """Tracers of a new node's results."""
        return [StageTracer(self, y) for y in self.append(op, operands, params, avals).results]

    def append(self, op: Any, operands: Sequence[Any], params: dict[str, Any], avals: Sequence[ShapedArray]) -> Node:
        """Add a node to the graph."""
        node = Node(op, operands, params, avals)
        self.graph.nodes.append(node)
        return node

    def call(self, call: Any, leaves: Sequence[Any]) -> list[Any]:
        """A function with a derivative of its own: a node, made by the rule for its kind, or by itself."""
        rule = self.call_rules.get(type(call))
        return call.stage(self, leaves) if rule is None else rule(self, call, leaves)

    def strong(self, x: Any, where: str = "jit") -> Value:
        """Graph value of an operand that is not elementwise: numbers have their default dtype there."""
        v = self.value(x if isinstance(x, Array) else as_array(x, where))
        if type(x) is StageTracer and x.weak is not None:
            return self._cast(v, dtypes.of_scalar(x.weak))
        return v

    def value(self, x: Any) -> Value:
        """Graph value of an array: this trace's own, a constant, or an input that stands for an outer trace's value."""
        if type(x) is StageTracer and x.trace is self:
            return x.value
        known = self.lifted.get(id(x))
        if known is not None:
            return known[1]
        if not isinstance(x, (DeviceArray, Tracer)):
            return self.value(x.dense())  # rows of a sparse gradient
        held: Any = x
        if type(x) is StageTracer and x.weak is not None:
            held = StageTracer(x.trace, x.value)  # a number is an array of 64 bits here, which keeps all its digits
        value = Value(aval_of(held))
        self.lifted[id(x)] = x, value
        if type(held) is DeviceArray:
            self.graph.constants[value] = held
        else:
            self.captured[value] = held
            self.graph.inputs.append(value)
        return value


class StageTracer(Tracer):
    """An array that will be computed when the graph runs; ``weak`` if it stands for a Python number."""

    __slots__ = ("name", "value", "weak")

    def __init__(self, trace: StageTrace, value: Value, weak: Any = None, name: str = "") -> None:
        self.trace = trace
        self.value = value
        self.weak = weak
        self.name = name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.aval.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.aval.dtype if self.weak is None else dtypes.of_scalar(self.weak)

    @property
    def device(self) -> Any:
        return default_device()

    def _host(self, wanted: str) -> np.ndarray[Any, Any]:
        node = self.value.node
        what = (
            f"argument {self.name}" if self.name else "a constant" if node is None else f"the result of {node.op.name}"
        )
        raise errors.staged_to_host(wanted, self.trace.function, what, errors.describe(self), _user_line())

    def __repr__(self) -> str:
        return f"Tracer<jit>({self.value.aval})"

    __str__ = __repr__


def _user_line() -> str:
    """File and line of the innermost frame outside of this package."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "knet":
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "an unknown line"


def stage(
    function: Callable[[list[Any]], Sequence[Any]],
    avals: Sequence[ShapedArray],
    name: str,
    weak: Sequence[Any] = (),
    names: Sequence[str] = (),
    level: float | None = None,
    branch: bool = False,
) -> tuple[Graph, list[Any]]:
    """Graph of a function from a list of arrays to a list of arrays, and what it captured from traces around.

    The graph's inputs are those of ``avals``, then one for each captured array. ``level`` places the trace below others
    that exist already, which the function then sees as it would without being staged. In a ``branch``, operations on
    captured arrays alone belong to the graph, too.
    """
    trace = StageTrace(name, branch)
    if level is not None:
        trace.level = level
    numbers = weak or (None,) * len(avals)
    texts = names or ("",) * len(avals)
    with trace:
        outs = function([trace.input(a, w, n) for a, w, n in zip(avals, numbers, texts, strict=True)])
        trace.graph.outputs = [trace.strong(y) for y in trace.own([as_array(y) for y in outs])]
    # Inputs for captured arrays arose between others only if more inputs were made later; keep them last.
    captured = trace.captured
    own = [x for x in trace.graph.inputs if x not in captured]
    trace.graph.inputs = [*own, *captured]
    return trace.graph, list(captured.values())
