"""Eager operations: a graph of one operation, lowered once for each signature and launched from then on.

Its kernels take sizes, strides and Python numbers as parameters, so that most signatures share their text, and a new
shape compiles nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core import ShapedArray
from ...core.aval import size_of
from ...core.device import on_host
from ...core.ops import shape
from ...core.pointwise import Elementwise
from ..graph import Graph, Node, Value
from ..kernels.kernel import Hole
from ..kernels.lower import Lowering, Shared, input_ref, output_ref
from ..layout import VIEWS, Ref, unstacked, view
from ..plan.items import HostCall
from ..plan.memory import place
from .buffer import DeviceBuffer, Number, dense_layout
from .status import check, fresh


class Operation:
    """A primitive on buffers of a backend's devices."""

    def __init__(self, primitive: Any) -> None:
        self.primitive = primitive
        self.plans: dict[Any, Any] = {}

    def __call__(self, *operands: Any, **params: Any) -> Any:
        signature: list[Any] = [x.layout if type(x) is DeviceBuffer else getattr(x, "dtype", type(x)) for x in operands]
        if params:
            signature.extend(params.items())
        key = tuple(signature)
        plan = self.plans.get(key)
        if plan is None:
            plan = self.plan(operands, params)
            self.plans[key] = plan
        return plan(operands)

    def plan(self, operands: Sequence[Any], params: dict[str, Any]) -> Any:
        """What is done for operands like these."""
        primitive = self.primitive
        runtime = next(x.runtime for x in operands if type(x) is DeviceBuffer)
        if isinstance(primitive, Elementwise):
            typed = [x for i, x in enumerate(operands) if type(x) is DeviceBuffer and i not in primitive.free]
            if not typed:
                return _Placed(self)  # a dtype must be known from an array
        avals = [ShapedArray(x.shape, x.dtype) if isinstance(x, (DeviceBuffer, Number)) else x for x in operands]
        made = primitive.aval(*avals, **params)
        results = tuple(made) if primitive.multiple else (made,)
        graph = Graph(primitive.name)
        inputs = {i: Value(a) for i, a in enumerate(avals) if type(operands[i]) is DeviceBuffer}
        graph.inputs = list(inputs.values())
        node = Node(primitive, [inputs.get(i, Hole(i)) for i in range(len(operands))], params, results)
        graph.nodes = [node]
        graph.outputs = list(node.results)
        refs = [input_ref(k, *_parts(operands[i])) for k, i in enumerate(inputs)]
        if primitive is shape.unstack:
            return _Views(unstacked(node, refs[0]))
        if primitive in VIEWS:
            ref = view(node, refs[0])
            return _View(ref) if ref is not None else _copied(runtime, refs[0], results[0])
        if _changes_nothing(primitive, operands, results[0]):
            return lambda operands: operands[0]
        lowering = Lowering(
            graph, refs, [output_ref(j, y) for j, y in enumerate(graph.outputs)], Shared(runtime.target, literal=False)
        )
        if any(isinstance(item, HostCall) for item in lowering.items):
            return self.aside(operands, params, results)
        return Launches(runtime, lowering, list(inputs), primitive.multiple, results)

    def aside(self, operands: Sequence[Any], params: dict[str, Any], results: Sequence[ShapedArray]) -> Any:
        """What is done for operands of dtypes without a kernel: the body, on the host, or what a backend knows."""
        return _OnHost(self.primitive, params)


def _parts(buffer: DeviceBuffer) -> tuple[Any, Any, Any]:
    shape, strides, dtype = buffer.layout
    return shape, dtype, strides


def _changes_nothing(primitive: Any, operands: Sequence[Any], y: ShapedArray) -> bool:
    x = operands[0] if operands else None
    if len(operands) != 1 or type(x) is not DeviceBuffer or (x.shape, x.dtype) != (y.shape, y.dtype):
        return False
    if primitive.name == "cast":
        return True
    return getattr(primitive, "c", None) == "x" and x.dtype.kind != "c"  # conj is "x" of reals only


class _View:
    """The same memory under another layout."""

    def __init__(self, ref: Ref) -> None:
        self.layout = (tuple(ref.shape), tuple(ref.strides), ref.dtype)
        self.offset = ref.offset

    def __call__(self, operands: Sequence[Any]) -> DeviceBuffer:
        x = operands[0]
        return DeviceBuffer(x.runtime, x.memory, self.layout, x.offset + self.offset)


class _Views:
    def __init__(self, refs: Sequence[Ref]) -> None:
        self.views = [_View(ref) for ref in refs]

    def __call__(self, operands: Sequence[Any]) -> tuple[DeviceBuffer, ...]:
        return tuple(view(operands) for view in self.views)


class _Placed:
    """An operation all of whose typed operands are numbers: they become arrays."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation

    def __call__(self, operands: Sequence[Any]) -> Any:
        runtime = next(x.runtime for x in operands if type(x) is DeviceBuffer)
        arrays = []
        for x in operands:
            if type(x) is not DeviceBuffer:
                host = np.asarray(x.value if type(x) is Number else x, getattr(x, "dtype", None))
                x = DeviceBuffer(runtime, runtime.upload(host), dense_layout((), host.dtype))
            arrays.append(x)
        return self.operation(*arrays)


class _OnHost:
    """An operation for whose dtypes there is no kernel."""

    def __init__(self, primitive: Any, params: dict[str, Any]) -> None:
        self.primitive = primitive
        self.params = params

    def __call__(self, operands: Sequence[Any]) -> Any:
        device = next(x.runtime.device for x in operands if type(x) is DeviceBuffer)
        return on_host(self.primitive, device)(*operands, **self.params)


def _copied(runtime: Any, x: Ref, y: ShapedArray) -> Any:
    """A reshape that needs a copy."""
    copy = _copy(runtime, x)
    layout = dense_layout(y.shape, y.dtype)
    return lambda operands: DeviceBuffer(runtime, copy(operands).memory, layout)


def _copy(runtime: Any, x: Ref) -> Launches:
    a = ShapedArray(x.shape, x.dtype)
    graph = Graph("copy")
    graph.inputs = graph.outputs = [Value(a)]
    lowering = Lowering(graph, [x], [output_ref(0, graph.outputs[0])], Shared(runtime.target, literal=False))
    return Launches(runtime, lowering, [0], False, (a,))


_copies: dict[Any, Launches] = {}


def in_order(buffer: DeviceBuffer) -> DeviceBuffer:
    """The elements in row-major order, in memory of their own."""
    key = buffer.runtime, buffer.layout
    copy = _copies.get(key)
    if copy is None:
        copy = _copies[key] = _copy(buffer.runtime, input_ref(0, *_parts(buffer)))
    return copy((buffer,))


def copy_into(x: DeviceBuffer, y: DeviceBuffer) -> None:
    """Copy the elements of one buffer into another of the same shape and dtype."""
    key = x.runtime, x.layout, y.layout
    copy = _copies.get(key)
    if copy is None:
        graph = Graph("copy")
        graph.inputs = [Value(ShapedArray(b.shape, b.dtype)) for b in (x, y)]
        refs = [input_ref(k, *_parts(b)) for k, b in enumerate((x, y))]
        lowering = Lowering(graph, refs, [], Shared(x.runtime.target, literal=False))
        lowering.copy(refs[0], refs[1], "copy")
        copy = _copies[key] = Launches(x.runtime, lowering, [0, 1], True, ())
    copy((x, y))


class Launches:
    """Kernels in order, from operands to new results."""

    def __init__(
        self, runtime: Any, lowering: Lowering, inputs: list[int], multiple: bool, results: Sequence[ShapedArray]
    ) -> None:
        self.runtime = runtime
        self.inputs = inputs
        self.multiple = multiple
        self.noting = lowering.shared.noting
        self.layouts = [dense_layout(y.shape, y.dtype) for y in results]
        self.sizes = [max(1, size_of(y.shape)) * y.dtype.itemsize for y in results]
        self.workspace = place(lowering.items)
        constants = [runtime.upload(np.asarray(a._host("a constant"))) for a in lowering.shared.constants]
        functions = runtime.functions([item.kernel for item in lowering.items])
        outputs = len(inputs) + len(results)
        self.fixed = [*constants]
        self.steps = []
        for item, function in zip(lowering.items, functions):
            pointers = []
            for ref in item.operands:
                kind, number = ref.buffer.kind, ref.buffer.number
                if kind == "work":
                    pointers.append((outputs, ref.offset + ref.buffer.place // ref.dtype.itemsize))
                elif kind == "status":
                    pointers.append((outputs + 1, ref.offset))
                elif kind == "constant":
                    pointers.append((outputs + 2 + number, ref.offset))
                else:
                    pointers.append((number if kind == "input" else len(inputs) + number, ref.offset))
            holes = [(i, x.position, item.kernel.numbers[i]) for i, x in enumerate(item.numbers) if type(x) is Hole]
            self.steps.append((function, item.groups, pointers, item.numbers, holes))

    def __call__(self, operands: Sequence[Any]) -> Any:
        runtime = self.runtime
        memories: list[Any] = []
        offsets: list[int] = []
        for i in self.inputs:
            x = operands[i]
            memories.append(x.memory)
            offsets.append(x.offset)
        results = [runtime.allocate(n) for n in self.sizes]
        memories += results
        memories.append(runtime.allocate(self.workspace) if self.workspace else None)
        memories.append(fresh(runtime) if self.noting else None)
        memories += self.fixed
        count = len(offsets)
        for function, groups, pointers, numbers, holes in self.steps:
            if holes:
                numbers = list(numbers)
                for i, position, kind in holes:
                    numbers[i] = _number(operands[position], kind)
            runtime.launch(
                function, groups, [(memories[k], at + offsets[k] if k < count else at) for k, at in pointers], numbers
            )
        if self.noting:
            check(runtime)
        if self.multiple:
            return tuple(DeviceBuffer(runtime, m, y) for m, y in zip(results, self.layouts))
        return DeviceBuffer(runtime, results[0], self.layouts[0])


_FLOATS = ("float", "double")


def _number(x: Any, kind: str) -> Any:
    """The value of a Python number in a kernel's parameter."""
    value = x.value if type(x) is Number else x
    return float(value) if kind in _FLOATS else int(value)
