"""Every kernel that the catalogue makes Knet print for a target, without a device.

A runtime that keeps what it is given to compile, and has memory for nothing, stands for the device: operations are
planned and programs made as on a real one, and none of them is run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from catalog import ROWS

import knet
import knet.numpy as knp
from knet.compiler.device.buffer import DeviceBuffer, Number, dense_layout
from knet.compiler.device.eager import Operation
from knet.compiler.device.program import Program
from knet.compiler.kernels.kernel import Kernel
from knet.compiler.kernels.target import Target
from knet.compiler.passes import optimize
from knet.core.pointwise import Elementwise

CUDA = Target("cuda", loops=False, items=256, units=132, local_bytes=48 << 10)


class Recorder:
    """See :class:`knet.compiler.device.runtime.Runtime`: it keeps kernels by name."""

    launched = copied = 0
    status: Any = None
    pending = False
    device: Any = None

    def __init__(self, target: Target) -> None:
        self.target = target
        self.kernels: dict[str, Kernel] = {}

    def functions(self, kernels: Sequence[Kernel]) -> list[Any]:
        for kernel in kernels:
            known = self.kernels.setdefault(kernel.name, kernel)
            assert known == kernel, f"{kernel.name} names two kernels"
        return list(kernels)

    def allocate(self, nbytes: int) -> Any:
        return "memory"

    def upload(self, array: Any) -> Any:
        return "memory"

    def prepare(self, function: Any, groups: Any, pointers: Any, numbers: Any) -> Any:
        assert len(pointers) == len(function.itemsizes) and len(numbers) == len(function.numbers)
        return None


def eager_kernels(name: str, recorder: Recorder) -> None:
    """Plan an operation for each of its cases, in each of its dtypes, with operands in row-major order and not."""
    row = ROWS[name]
    for dtype, case in itertools.product(row.dtypes, row.cases):
        arrays = [np.asarray(x) for x in case.draw(dtype, "printed")]
        for other in (False, True):
            operands = [_buffer(recorder, x, other) for x in arrays]
            Operation(row.primitive).plan(operands, case.params)


def _buffer(recorder: Recorder, array: np.ndarray, other: bool) -> DeviceBuffer:
    shape, strides, dtype = dense_layout(array.shape, np.dtype(array.dtype))
    if other and len(shape) > 1:  # column-major, with a gap
        steps = itertools.accumulate((1, *(max(1, n) + 1 for n in shape[:-1])), lambda a, b: a * b)
        strides = tuple(steps)
    return DeviceBuffer(recorder, "memory", (shape, strides, dtype))


def numbered_kernels(name: str, recorder: Recorder) -> None:
    """Plan an operation of two arrays with a Python number in the place of either."""
    row = ROWS[name]
    if isinstance(row.primitive, Elementwise) and len(row.cases[0].operands) == 2:
        for dtype in row.dtypes:
            arrays = [np.asarray(x) for x in row.cases[0].draw(dtype, "printed")]
            for i in range(2):
                operands: list[Any] = [_buffer(recorder, x, False) for x in arrays]
                operands[i] = Number(arrays[i].dtype.type(1).item(), arrays[1 - i].dtype)
                Operation(row.primitive).plan(operands, row.cases[0].params)


def program_kernels(name: str, recorder: Recorder) -> None:
    """Make the program of an operation's first cases in all its dtypes, with its gradients."""
    row = ROWS[name]
    for dtype in row.dtypes:
        for case in row.cases[:2]:
            arrays = [knp.asarray(x) for x in case.draw(dtype, "printed")]

            def values(*xs: Any, case: Any = case) -> Any:
                return row.primitive(*xs, **case.params)

            graph(values, arrays, recorder)
            moving = [i for i, rule in enumerate(row.grads[: len(arrays)]) if rule == "rule" and dtype.kind == "f"]
            if moving:
                graph(_gradient(values, moving), arrays, recorder)


def _gradient(f: Any, moving: list[int]) -> Any:
    def gradient(*xs: Any) -> Any:
        def partial(*some: Any) -> Any:
            full = list(xs)
            for i, x in zip(moving, some, strict=True):
                full[i] = x
            return f(*full)

        results, back = knet.vjp(partial, *(xs[i] for i in moving))
        return back(knet.tree.map(knp.ones_like, results))

    return gradient


def graph(f: Any, arrays: Sequence[Any], recorder: Recorder) -> Program:
    """The program of a function for some arrays."""
    with np.errstate(all="ignore"):
        return Program(optimize(knet.jit(f).lower(*arrays).traced), None, recorder, ())


def catalogue_kernels(names: Sequence[str], target: Target = CUDA) -> Iterator[Kernel]:
    """All kernels of some rows, each once."""
    recorder = Recorder(target)
    for name in names:
        eager_kernels(name, recorder)
        numbered_kernels(name, recorder)
        program_kernels(name, recorder)
    return iter([kernel for kernel in recorder.kernels.values() if kernel.source])
