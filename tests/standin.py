"""Generators run on PoCL alone: a lowering of one operation whose operands and results are NumPy arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

try:
    import pyopencl as cl
except ImportError:  # texts can be had without it
    cl = None

from knet.compiler.graph import Graph, Node, Value
from knet.compiler.kernels.kernel import Launch, Writer
from knet.compiler.kernels.movement import copy
from knet.compiler.kernels.prelude import prelude
from knet.compiler.kernels.target import Target
from knet.compiler.layout import Buffer, Ref
from knet.core import ShapedArray

LOOPS = Target("opencl", loops=True, items=1, units=2, local_bytes=32768, vector=16)
ITEMS = Target("opencl", loops=False, items=256, units=4, local_bytes=32768)
CUDA = Target("cuda", loops=False, items=256, units=132, local_bytes=49152)  # texts alone
TARGETS = {"loops": LOOPS, "items": ITEMS}


class Device:
    """The first CPU device, and the kernels built on it."""

    def __init__(self) -> None:
        if cl is None:
            pytest.skip("PyOpenCL is absent")
        device = next((d for p in cl.get_platforms() for d in p.get_devices() if d.type & cl.device_type.CPU), None)
        if device is None:
            pytest.skip("no OpenCL CPU device")
        self.context = cl.Context([device])
        self.queue = cl.CommandQueue(self.context)
        self.built: dict[str, Any] = {}

    def function(self, kernel: Any) -> Any:
        if kernel.source not in self.built:
            program = cl.Program(self.context, prelude("opencl", True, kernel.items[0] == 1) + kernel.source).build(
                ["-w"], cache_dir=False
            )
            self.built[kernel.source] = cl.Kernel(program, kernel.name)
        return self.built[kernel.source]


_DEVICE: list[Device] = []


def device() -> Device:
    if not _DEVICE:
        _DEVICE.append(Device())
    return _DEVICE[0]


class Lowering:
    """What generators use, each launch executed at once."""

    def __init__(self, target: Target, literal: bool) -> None:
        self.target, self.literal = target, literal
        self.graph = Graph("test")
        self.memory: dict[int, Any] = {}
        self.buffers: list[Buffer] = []
        self.refs: dict[Value, Ref] = {}
        self.items: list[Launch] = []
        self._status: Ref | None = None

    def put(self, array: np.ndarray, base: np.ndarray | None = None) -> Ref:
        """A reference to a copy of an array's memory (of ``base``, of which it is a view), with its strides."""
        if base is None:
            base = array = np.array(array, order="C")
        buffer = Buffer("input", len(self.buffers), base.nbytes, base.dtype)
        if self.target.dialect == "opencl":
            context, flags = device().context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
            self.memory[id(buffer)] = cl.Buffer(context, flags, hostbuf=base if base.nbytes else np.zeros(1))
        self.buffers.append(buffer)
        k = base.dtype.itemsize
        at = 0 if not array.size else array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        return Ref(buffer, array.shape, tuple(s // k for s in array.strides), at // k)

    def get(self, ref: Ref) -> np.ndarray:
        host = np.zeros(max(1, ref.buffer.nbytes // ref.dtype.itemsize), ref.dtype)
        cl.enqueue_copy(device().queue, host.view(np.uint8), self.memory[id(ref.buffer)])
        k = ref.dtype.itemsize
        return np.lib.stride_tricks.as_strided(host[ref.offset :], ref.shape, tuple(s * k for s in ref.strides)).copy()

    def bind(self, array: np.ndarray, base: np.ndarray | None = None) -> Value:
        value = Value(ShapedArray(array.shape, array.dtype))
        self.refs[value] = self.put(array, base)
        return value

    # --- what generators use ---

    def writer(self, name: str, raw: bool = False) -> Writer:
        return Writer(name, self.target, self.literal, raw)

    def ref(self, value: Value) -> Ref:
        return self.refs[value]

    def new(self, aval: ShapedArray) -> Ref:
        junk = np.full(max(1, math.prod(aval.shape)) * aval.dtype.itemsize, 0xA5, np.uint8).view(aval.dtype)
        return Ref(self.put(junk).buffer, aval.shape)

    def result(self, value: Value) -> Ref:
        if value not in self.refs:
            self.refs[value] = self.new(value.aval)
        return self.refs[value]

    def dense(self, ref: Ref) -> Ref:
        if ref.dense:
            return ref
        new = self.new(ShapedArray(ref.shape, ref.dtype))
        copy(self, ref, new, "dense")
        return new

    def number(self, x: Any, like: Any) -> Ref:
        return self.put(np.full((), x, like.dtype))

    def copy(self, x: Ref, y: Ref, text: str) -> None:
        copy(self, x, y, text)

    def status(self) -> Ref:
        if self._status is None:
            self._status = self.put(np.zeros(8, np.int64))
        return self._status

    def launch(self, launch: Launch) -> None:
        if not all(launch.groups):
            return
        self.items.append(launch)
        if self.target.dialect != "opencl":
            return
        function = device().function(launch.kernel)
        arguments: list[Any] = []
        for ref in launch.operands:
            arguments += [self.memory[id(ref.buffer)], np.int64(ref.offset)]
        kinds = {
            "int": np.int32, "long": np.int64, "float": np.float32, "double": np.float64,
            "int8_t": np.int8, "int16_t": np.int16, "int32_t": np.int32, "int64_t": np.int64,
            "uint8_t": np.uint8, "uint16_t": np.uint16, "uint32_t": np.uint32, "uint64_t": np.uint64,
        }  # fmt: skip
        arguments += [kinds[k](v) for k, v in zip(launch.kernel.numbers, launch.numbers, strict=True)]
        function.set_args(*arguments)
        size = tuple(g * i for g, i in zip(launch.groups, launch.kernel.items))
        cl.enqueue_nd_range_kernel(device().queue, function, size, launch.kernel.items)


def run(generate: Any, op: Any, arrays: Any, params: Any, target: Target, literal: bool, bases: Any = None) -> Any:
    """Results of an operation by its generator, and the lowering; None where it has no kernel."""
    lowering = Lowering(target, literal)
    bases = bases or [None] * len(arrays)
    operands = [lowering.bind(a, b) if isinstance(a, np.ndarray) else a for a, b in zip(arrays, bases, strict=True)]
    avals = op.aval(*[x.aval if type(x) is Value else x for x in operands], **params)
    avals = avals if isinstance(avals, tuple) and not isinstance(avals, ShapedArray) else (avals,)
    node = Node(op, operands, params, avals)
    if not generate(lowering, node):
        assert not lowering.items
        return None, lowering
    if target.dialect != "opencl":
        return [], lowering
    return [lowering.get(lowering.refs[y]) for y in node.results], lowering
