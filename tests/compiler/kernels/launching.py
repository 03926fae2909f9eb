"""Launches of a graph, lowered for a target of choice and run through PyOpenCL, without a backend."""

from __future__ import annotations

import numpy as np
import pytest

import knet
from knet.compiler.kernels.kernel import Launch
from knet.compiler.kernels.lower import lower
from knet.compiler.kernels.prelude import prelude
from knet.compiler.kernels.target import Target
from knet.compiler.passes import optimize

try:
    import pyopencl as cl
except ImportError:
    cl = None

# A CPU, and what a GPU would be given: PoCL runs both forms.
TARGETS = {
    "loops": Target("opencl", True, 1, 2, 1 << 20, vector=16),
    "items": Target("opencl", False, 64, 4, 1 << 15),
}
CUDA = Target("cuda", False, 256, 132, 48 << 10)
_NUMBERS = {"int": np.int32, "long": np.int64, "float": np.float32, "double": np.float64}
_opened = []
_kernels = {}


def queue():
    """The queue of the first device; skips the test where there is none."""
    if cl is None:
        pytest.skip("no PyOpenCL")
    if not _opened:
        try:
            devices = [d for p in cl.get_platforms() for d in p.get_devices()]
        except cl.Error:
            devices = []
        if not devices:
            pytest.skip("no OpenCL device")
        _opened.append(cl.CommandQueue(cl.Context(devices[:1])))
    return _opened[0]


def lowered(f, arrays, form, literal):
    """Lowering of a function of arrays."""
    graph = optimize(knet.trace(f)(*map(knet.numpy.asarray, arrays)))
    return lower(graph, TARGETS.get(form, CUDA), literal)


def functions(launches, form):
    """The kernels of launches; new ones are built as one program."""
    new = {x.kernel.source: x.kernel for x in launches if (form, x.kernel.source) not in _kernels}
    if new:
        target = TARGETS[form]
        text = prelude(target.dialect, target.doubles, target.loops) + "\n".join(new)
        context = queue().context  # skips where there is none
        program = cl.Program(context, text).build("-w")
        _kernels.update({(form, source): cl.Kernel(program, kernel.name) for source, kernel in new.items()})
    return [_kernels[form, x.kernel.source] for x in launches]


def run(lowering, arrays, form, numbers=()):
    """Results of a lowered graph. ``numbers``: what the holes among its operands stand for, by position."""
    q, memory = queue(), {}
    assert all(isinstance(item, Launch) for item in lowering.items)

    def place(ref, array=None):
        if ref.buffer not in memory:
            nbytes = max(16, ref.buffer.nbytes, 0 if array is None else array.nbytes)
            host = np.full(nbytes, 0xFF, np.uint8)  # what nobody wrote shows
            if array is not None:
                host[: array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
            flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
            memory[ref.buffer] = cl.Buffer(q.context, flags, hostbuf=host)
        return memory[ref.buffer]

    for x, array in zip(lowering.graph.inputs, arrays, strict=True):
        place(lowering.refs[x], np.asarray(array))
    for ref in lowering.refs.values():
        if ref.buffer.kind == "constant":
            place(ref, np.asarray(lowering.shared.constants[ref.buffer.number]))
    for launch, kernel in zip(lowering.items, functions(lowering.items, form)):
        arguments = [x for ref in launch.operands for x in (place(ref), np.int64(ref.offset))]
        for kind, n in zip(launch.kernel.numbers, launch.numbers, strict=True):
            n = getattr(n, "position", n) if not numbers or not hasattr(n, "position") else numbers[n.position]
            arguments.append((_NUMBERS.get(kind) or np.dtype(kind.removesuffix("_t")).type)(n))
        kernel.set_args(*arguments)
        cl.enqueue_nd_range_kernel(q, kernel, launch.groups, launch.kernel.items, g_times_l=True)
    results = []
    for y, ref in zip(lowering.graph.outputs, lowering.outputs, strict=True):
        host = np.empty(y.shape, y.dtype)
        if y.size:
            cl.enqueue_copy(q, host.reshape(-1).view(np.uint8), place(ref))
        results.append(host)
    q.finish()
    return results
