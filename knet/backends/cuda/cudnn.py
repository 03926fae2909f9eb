"""Convolution and its two gradients by cuDNN, where its frontend (the extra ``cudnn``) and its library are installed.

A convolution is a graph of cuDNN's with one node, built once for each set of shapes, strides and dtypes, and executed
with addresses. The names are those of nvidia-cudnn-frontend 1.23 to 1.28: ``python/cudnn/_pygraph.py``.

Engines whose results may differ from run to run are not taken, nor those that add half types up in less than float32.
Under precision "highest" float32 is float32: no tensor cores, no inputs rounded, no transforms (Winograd's and
Fourier's), whose errors are of another kind. Where cuDNN has no engine left Knet's own kernels are taken.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...compiler.graph import Node
from ...compiler.kernels.kernel import Extent, Kernel, Launch
from ...compiler.layout import Ref, dense_strides
from ...core import ShapedArray
from ...core.precisions import current_precision

KINDS = ("conv", "conv_input_grad", "conv_weight_grad")
PREFIX = "cudnn_"
_TYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BFLOAT16"}
_NEVER = ("NONDETERMINISTIC", "REDUCED_PRECISION_REDUCTION")
_TRANSFORMS = ("FFT", "WINOGRAD", "WINOGRAD_TILE_4x4", "WINOGRAD_TILE_6x6", "WINOGRAD_TILE_13x13")

Sizes = tuple[int, ...]


class Array(NamedTuple):
    """An array of cuDNN's: [N, C, *S], with strides in elements."""

    shape: Sizes
    strides: Sizes


class Problem(NamedTuple):
    """A convolution of x with w to y: all that a graph of cuDNN's depends on but the precision.

    Attributes:
      kind: position in ``KINDS``: whether y, x or w is computed from the others.
      padding: on both sides of each axis.
    """

    kind: int
    dtype: str
    x: Array
    w: Array
    y: Array
    stride: Sizes
    padding: Sizes
    dilation: Sizes

    @property
    def numbers(self) -> list[int]:
        """All but the dtype, as the numbers of a launch."""
        arrays = [n for array in (self.x, self.w, self.y) for part in array for n in part]
        return [self.kind, len(self.stride), *arrays, *self.stride, *self.padding, *self.dilation]

    @classmethod
    def of(cls, dtype: str, numbers: Sequence[int]) -> Problem:
        """The inverse of ``numbers``."""
        kind, axes, *rest = numbers
        cuts = [axes + 2] * 6 + [axes] * 3
        parts = []
        for n in cuts:
            parts.append(tuple(rest[:n]))
            del rest[:n]
        a, b, c, d, e, f, *options = parts
        return cls(kind, dtype, Array(a, b), Array(c, d), Array(e, f), *options)


def problem_of(node: Node, refs: Sequence[Ref]) -> Problem | None:
    """The problem that a node is, its operands where ``refs`` say; None where Knet's own kernels are for it.

    That is: other dtypes than float32 and halves, more than three spatial axes, padding that differs between the sides
    of an axis or is negative, and arrays without elements.
    """
    kind = KINDS.index(node.op.name)
    (result,) = node.results
    stride, padding, dilation = (node.params[name] for name in ("stride", "padding", "dilation"))
    sizes = [n for value in (*node.operands, result) for n in value.shape]
    if (
        result.dtype.name not in _TYPES
        or any(x.dtype != result.dtype for x in node.operands)
        or len(stride) > 3
        or any(before != after or before < 0 for before, after in padding)
        or 0 in sizes
    ):
        return None
    a, b = (Array(tuple(ref.shape), packed(ref) or dense_strides(tuple(ref.shape))) for ref in refs)
    c = Array(tuple(result.shape), dense_strides(tuple(result.shape)))
    x, w, y = ((a, b, c), (c, b, a), (a, c, b))[kind]
    options = tuple(stride), tuple(before for before, _ in padding), tuple(dilation)
    if len(stride) == 1:  # cuDNN has convolutions of two axes and three
        x, w, y = (Array((*s[:2], 1, s[2]), (*t[:2], t[2] * s[2], t[2])) for s, t in (x, w, y))
        before = ((1,), (0,), (1,))
        options = tuple((*one, *own) for one, own in zip(before, options))  # type: ignore[assignment]
    return Problem(kind, result.dtype.name, x, w, y, *options)


def packed(ref: Ref) -> Sizes | None:
    """Strides of an array whose elements follow one another, channels second or last; else None.

    Along axes of size 1 they are those of the order, as cuDNN tells orders by strides.
    """
    shape, axes = tuple(ref.shape), range(len(ref.shape))
    for order in (tuple(axes), (0, *axes[2:], 1)):
        steps = dense_strides(tuple(shape[i] for i in order))
        strides = tuple(steps[order.index(i)] for i in axes)
        if all(n == 1 or s == t for n, s, t in zip(shape, strides, ref.strides)):
            return strides
    return None


@functools.cache
def library() -> Any:
    """The frontend's module; None where that or cuDNN itself is not installed."""
    try:
        import cudnn

        cudnn.backend_version()  # loads the library
    except (ImportError, OSError, RuntimeError):
        return None
    return cudnn


def allowed() -> bool:
    """Whether cuDNN may be used: ``KNET_CUDNN=0`` forbids it."""
    return os.environ.get("KNET_CUDNN", "1") != "0"


class Plan(NamedTuple):
    """A graph that can be executed."""

    graph: Any
    tensors: tuple[Any, Any, Any]  # of the operands and the result
    workspace: int  # bytes


class Cudnn:
    """cuDNN on a device; loaded and started by the first convolution."""

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime
        self.plans: dict[tuple[Problem, bool], Plan | None] = {}
        self._handles: dict[int, Any] = {}
        self._lock = threading.RLock()  # a handle is used by one thread at a time

    @property
    def generators(self) -> Mapping[str, Callable[[Any, Node], bool]]:
        """Generators by the operation's name."""
        return dict.fromkeys(KINDS, self.generate)

    def generate(self, lowering: Any, node: Node) -> bool:
        """Append a convolution; False where cuDNN is not there, or has no engine for it."""
        if not allowed() or library() is None:
            return False
        refs = [lowering.ref(value) for value in node.operands]
        problem = problem_of(node, refs)
        if problem is None:
            return False
        plan = self.plan(problem, False)
        if plan is None:
            return False
        faster = self.plan(problem, True) if tf32(problem.dtype) else None
        a, b = (ref if packed(ref) else lowering.dense(ref) for ref in refs)
        operands = [a, b, lowering.result(node.results[0])]
        nbytes = max(plan.workspace, faster.workspace if faster else 0)
        if nbytes:
            operands.append(lowering.new(ShapedArray((nbytes,), np.dtype(np.uint8))))
        shape = list(node.results[0].shape)
        numbers = [nbytes, *problem.numbers]
        lowering.launch(
            Convolution(
                PREFIX + problem.dtype, "", operands, frozenset(range(2, len(operands))), [], numbers,
                ["long"] * len(numbers), (1, 1, 1), (1, 1, 1), True, f"{shape}: {node.op.name} by cuDNN", work(problem),
            )
        )  # fmt: skip
        return True

    def plan(self, problem: Problem, fast: bool, most: int | None = None) -> Plan | None:
        """The graph of a problem, ``fast`` in TF32; None where cuDNN has no engine with ``most`` bytes of workspace."""
        key = problem, fast
        with self._lock:
            if key not in self.plans:
                with self.runtime.current() as stream:
                    self.plans[key] = build(library(), self.handle(stream), problem, notes(problem.dtype, fast), most)
            return self.plans[key]

    def handle(self, stream: int) -> Any:
        """The handle whose work goes into a stream. The device must be current."""
        with self._lock:
            if stream not in self._handles:
                handle = library().create_handle()
                library().set_stream(handle, stream)
                self._handles[stream] = handle
            return self._handles[stream]

    def prepare_for(self, stream: int) -> None:
        """Have a handle for a stream before it is captured, if there were convolutions."""
        if self._handles:
            self.handle(stream)

    def run(self, problem: Problem, addresses: Sequence[int], nbytes: int, stream: int) -> None:
        """Queue a convolution: addresses of operands, result, and the workspace's ``nbytes``, if there is one."""
        plan = self.plan(problem, True, nbytes) if tf32(problem.dtype) else None
        if plan is None or plan.workspace > nbytes:
            plan = self.plan(problem, False)
        assert plan is not None and plan.workspace <= nbytes
        pack = dict(zip(plan.tensors, addresses[:3]))
        with self._lock:
            plan.graph.execute(pack, addresses[3] if nbytes else 0, handle=self.handle(stream))


def tf32(dtype: str) -> bool:
    """Whether TF32 is in force."""
    return dtype == "float32" and current_precision() == "tf32"


def notes(dtype: str, fast: bool) -> tuple[str, ...]:
    """What engines must not have among their numerical notes."""
    if fast:
        return _NEVER
    exact = ("TENSOR_CORE",) if dtype == "float32" else ()
    return (*_NEVER, *exact, "DOWN_CONVERT_INPUTS", *_TRANSFORMS)


def work(problem: Problem) -> float:
    """Multiplications and additions."""
    _, channels, *window = problem.w.shape
    return 2.0 * float(np.prod(problem.y.shape)) * channels * float(np.prod(window))


def build(cudnn: Any, handle: Any, problem: Problem, without: Sequence[str], most: int | None) -> Plan | None:
    """A graph of cuDNN's without engines of some numerical notes; None if that leaves none."""
    dtype = getattr(cudnn.data_type, _TYPES[problem.dtype])
    single = cudnn.data_type.FLOAT
    graph = cudnn.pygraph(io_data_type=dtype, intermediate_data_type=single, compute_data_type=single, handle=handle)
    sizes = {
        "padding": list(problem.padding), "stride": list(problem.stride), "dilation": list(problem.dilation),
    }  # fmt: skip

    def tensor(name: str, array: Array) -> Any:
        return graph.tensor(name=name, dim=list(array.shape), stride=list(array.strides), data_type=dtype)

    x, w, y = problem.x, problem.w, problem.y
    if problem.kind == 0:
        a, b, made = tensor("x", x), tensor("w", w), y
        c = graph.conv_fprop(image=a, weight=b, **sizes)
    elif problem.kind == 1:
        a, b, made = tensor("g", y), tensor("w", w), x
        c = graph.conv_dgrad(loss=a, filter=b, **sizes)
    else:
        a, b, made = tensor("x", x), tensor("g", y), w
        c = graph.conv_wgrad(image=a, loss=b, **sizes)
    c.set_output(True).set_data_type(dtype).set_dim(list(made.shape)).set_stride(list(made.strides))
    try:
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        known = cudnn.numerical_note
        graph.deselect_numeric_notes([getattr(known, name) for name in without if hasattr(known, name)])
        if most is not None:
            graph.deselect_workspace_greater_than(most)
        graph.check_support()
        graph.build_plans()
        return Plan(graph, (a, b, c), graph.get_workspace_size())
    except cudnn.cudnnGraphNotSupportedError:
        return None


class Convolution(Launch):
    """A launch that is a graph of cuDNN's: its numbers are the workspace's bytes and a :class:`Problem`."""

    @functools.cached_property
    def kernel(self) -> Kernel:
        sizes = tuple(ref.dtype.itemsize for ref in self.operands)
        return Kernel(f"{self.name}_{len(sizes)}", "", tuple(self.number_kinds), self.items, sizes)


class ConvolutionFunction:
    """cuDNN's convolutions of a dtype, in the place of a :class:`launch.Function`."""

    __slots__ = ("dtype", "itemsizes")

    def __init__(self, kernel: Kernel) -> None:
        self.dtype = kernel.name.removeprefix(PREFIX).rpartition("_")[0]
        self.itemsizes = kernel.itemsizes

    def launch(self, runtime: Any, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]) -> None:
        """Queue the convolution once."""
        self.prepare(runtime, groups, pointers, numbers).run()

    def prepare(
        self, runtime: Any, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]
    ) -> PreparedConvolution:
        """A convolution for many runs."""
        return PreparedConvolution(runtime, self, pointers, numbers)


class PreparedConvolution:
    """A convolution whose arrays are known; ``run`` queues it, in the precision in force then. It holds no memory."""

    __slots__ = ("_addresses", "_function", "_nbytes", "_problem", "_runtime")

    def __init__(
        self,
        runtime: Any,
        function: ConvolutionFunction,
        pointers: Sequence[tuple[Any, int]],
        numbers: Sequence[int],
    ) -> None:
        self._runtime = runtime
        self._function = function
        self._nbytes = numbers[0]
        self._problem = Problem.of(function.dtype, numbers[1:])
        self._addresses = [0] * len(pointers)
        for i, (memory, offset) in enumerate(pointers):
            if memory is not None:
                self.set(i, memory, offset)

    def set(self, i: int, memory: Any, offset: int) -> None:
        """Let pointer i point to another piece of memory, ``offset`` in elements."""
        self._addresses[i] = memory.ptr + offset * self._function.itemsizes[i]

    def run(self) -> None:
        """Queue the convolution."""
        runtime = self._runtime
        stream = runtime.here()
        if stream:
            runtime.cudnn.run(self._problem, self._addresses, self._nbytes, stream)
        else:
            with runtime.current() as stream:
                runtime.cudnn.run(self._problem, self._addresses, self._nbytes, stream)
        runtime.launched += 1
