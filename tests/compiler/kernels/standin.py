"""One operation's kernels, generated and run through PyOpenCL, without a backend."""

import numpy as np
import pytest

from knet.compiler.graph import Graph, Node, Value
from knet.compiler.kernels.kernel import Writer
from knet.compiler.kernels.prelude import DIALECTS
from knet.compiler.kernels.target import Target
from knet.compiler.layout import Buffer, Ref, dense_strides
from knet.core.aval import ShapedArray

cl = pytest.importorskip("pyopencl")

LOOPS = Target("opencl", True, 1, 2, 1 << 20, vector=16)
ITEMS = Target("opencl", False, 64, 4, 1 << 15)

HALVES = """
inline float knet_load_f16(uint16_t x) { return vload_half(0, (half *)&x); }
inline uint16_t knet_store_f16(float x) { uint16_t y; vstore_half_rte(x, 0, (half *)&y); return y; }
inline float knet_load_bf16(uint16_t x) { return as_float((uint)x << 16); }
inline uint16_t knet_store_bf16(float x)
{
    uint bits = as_uint(x);
    return isnan(x) ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
"""


class Standin:
    """What generators use of a lowering."""

    def __init__(self, target, literal):
        self.target, self.literal = target, literal
        self.refs, self.launches, self.graph = {}, [], Graph("test")

    def writer(self, name, raw=False):
        return Writer(name, self.target, self.literal, raw)

    def ref(self, value):
        return self.refs[value]

    result = ref

    def dense(self, ref):
        assert ref.dense
        return ref

    def new(self, aval):
        return Ref(Buffer("work", len(self.launches), max(1, aval.size) * aval.dtype.itemsize, aval.dtype), aval.shape)

    def launch(self, launch):
        if min(launch.groups) > 0:
            self.launches.append(launch)


def lowered(generate, op, arrays, params, target=LOOPS, literal=True):
    """(lowering with the launches of an operation, node), or None where there is no kernel."""
    lowering = Standin(target, literal)
    values = [Value(ShapedArray(x.shape, x.dtype)) for x in arrays]
    aval = op.aval(*[v.aval for v in values], **params)
    node = Node(op, values, params, [aval])
    for i, value in enumerate((*values, node.results[0])):
        buffer = Buffer("input", i, max(1, value.nbytes), value.dtype)
        lowering.refs[value] = Ref(buffer, value.shape, dense_strides(value.shape))
    return (lowering, node) if generate(lowering, node) else None


_context = []


def queue():
    if not _context:
        devices = [d for p in cl.get_platforms() for d in p.get_devices()]
        if not devices:
            pytest.skip("no OpenCL device")
        context = cl.Context(devices[:1])
        _context.extend([context, cl.CommandQueue(context)])
    return _context[1]


def source(launches):
    return DIALECTS["opencl"] + HALVES + "\n".join({x.kernel.name: x.kernel.source for x in launches}.values())


class Run:
    """Launches with their memory, to be run, and run again."""

    def __init__(self, lowering, node, arrays):
        self.node, self.queue = node, queue()
        context = self.queue.context
        program = cl.Program(context, source(lowering.items)).build()
        self.memory = {}
        for value, x in zip(node.operands, arrays, strict=True):
            self.memory[lowering.refs[value].buffer] = cl.Buffer(
                context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=np.ascontiguousarray(x)
            ) if x.size else cl.Buffer(context, cl.mem_flags.READ_WRITE, 16)
        self.out = lowering.refs[node.results[0]].buffer
        self.calls = []
        types = {"int": np.int32, "long": np.int64, "float": np.float32, "double": np.float64}
        for launch in lowering.items:
            kernel = cl.Kernel(program, launch.kernel.name)
            place = 0
            for ref in launch.operands:
                if ref.buffer not in self.memory:
                    poison = np.full(ref.buffer.nbytes, 0xFF, np.uint8)
                    self.memory[ref.buffer] = cl.Buffer(
                        context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=poison
                    )
                kernel.set_arg(place, self.memory[ref.buffer])
                kernel.set_arg(place + 1, np.int64(ref.offset))
                place += 2
            for number, kind in zip(launch.numbers, launch.kernel.numbers, strict=True):
                kernel.set_arg(place, types[kind](number))
                place += 1
            items = launch.kernel.items
            self.calls.append((kernel, tuple(g * i for g, i in zip(launch.groups, items)), items, launch))

    def once(self):
        for kernel, size, items, _ in self.calls:
            cl.enqueue_nd_range_kernel(self.queue, kernel, size, items)

    def result(self):
        value = self.node.results[0]
        y = np.empty(value.shape, value.dtype)
        if self.out in self.memory and y.size:
            cl.enqueue_copy(self.queue, y, self.memory[self.out])
        return y


def run(generate, op, arrays, params, target=LOOPS, literal=True):
    """Result of an operation; None where there is no kernel."""
    made = lowered(generate, op, arrays, params, target, literal)
    if made is None:
        return None
    it = Run(*made, arrays)
    it.once()
    return it.result()
