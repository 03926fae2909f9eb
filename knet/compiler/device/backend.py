"""A backend made of runtimes: what :class:`knet.core.device.Backend` asks for, by way of kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import errors
from ...core.aval import size_of
from ...core.ops import elementwise
from ...core.pointwise import Elementwise
from ..decompose import TAKEN_APART
from ..fuse import REDUCTIONS
from ..kernels.lower import GENERATORS
from ..layout import ALIASES
from .buffer import DeviceBuffer, Number, dense_layout, is_dense
from .eager import Operation, in_order
from .program import Program
from .status import check


class KernelBackend:
    """See :class:`knet.core.device.Backend`; a subclass names itself and its runtimes.

    Attributes:
      operation: the class of eager operations.
    """

    name = ""
    operation = Operation

    def __init__(self) -> None:
        self.operations: dict[Any, Operation] = {}

    def runtimes(self) -> list[Any]:
        """A runtime for each device; raises DeviceError where there is none."""
        raise NotImplementedError

    def device_count(self) -> int:
        return len(self.runtimes())

    def runtime(self, device: Any) -> Any:
        """The runtime of a device, which knows the device from then on."""
        runtime = self.runtimes()[device.index]
        runtime.device = device
        return runtime

    def kernel(self, primitive: Any) -> Any:
        if not has_kernel(primitive):
            return None
        return self.operations.setdefault(primitive, self.operation(primitive))

    def from_host(self, array: np.ndarray[Any, Any], device: Any) -> DeviceBuffer:
        runtime = self.runtime(device)
        # What is broadcast is uploaded once: of axes with stride 0 the first element.
        index = tuple(slice(0, 1) if step == 0 else slice(None) for step in array.strides)
        part = np.ascontiguousarray(array[index]) if array.ndim else array
        layout = dense_layout(part.shape, array.dtype)
        strides = tuple(0 if n != m else s for n, m, s in zip(array.shape, part.shape, layout[1]))
        memory = runtime.upload(np.asarray(part)) if part.size else runtime.allocate(1)
        return DeviceBuffer(runtime, memory, (array.shape, strides, array.dtype))

    def to_host(self, buffer: DeviceBuffer | Number) -> np.ndarray[Any, Any]:
        if isinstance(buffer, Number):
            return np.asarray(buffer.value, buffer.dtype)
        runtime = buffer.runtime
        shape, strides, dtype = buffer.layout
        if not size_of(shape):
            check(runtime)
            return np.empty(shape, dtype)
        kept = tuple(1 if step == 0 else n for n, step in zip(shape, strides))
        part = DeviceBuffer(runtime, buffer.memory, (kept, strides, dtype), buffer.offset)
        if not is_dense(part.layout):
            part = in_order(part)
        raw = runtime.download(part.memory, part.offset * dtype.itemsize, size_of(kept) * dtype.itemsize)
        check(runtime)
        host = np.frombuffer(raw, dtype).reshape(kept)
        return host if kept == shape else np.broadcast_to(host, shape)

    def scalar(self, value: Any, dtype: np.dtype[Any], device: Any) -> Number:
        try:
            return Number(np.asarray(value, dtype).item(), dtype)
        except OverflowError:
            raise errors.scalar_overflow(value, dtype) from None

    def cast(self, buffer: DeviceBuffer, dtype: np.dtype[Any]) -> DeviceBuffer:
        cast = elementwise._cast
        return self.operations.setdefault(cast, self.operation(cast))(buffer, dtype=dtype)

    def synchronize(self, device: Any) -> None:
        runtime = self.runtime(device)
        runtime.synchronize()
        check(runtime)

    def select(self, buffer: DeviceBuffer, index: Any) -> DeviceBuffer:
        """``buffer[index]`` for an integer or a slice, as a view."""
        shape, strides, dtype = buffer.layout
        if type(index) is int:
            n = shape[0]
            if not -n <= index < n:
                raise IndexError(index)
            offset = buffer.offset + index % n * strides[0]
            return DeviceBuffer(buffer.runtime, buffer.memory, (shape[1:], strides[1:], dtype), offset)
        if type(index) is not slice:
            raise NotImplementedError
        start, stop, step = index.indices(shape[0])
        n = len(range(start, stop, step))
        layout = (n, *shape[1:]), (strides[0] * step, *strides[1:]), dtype
        return DeviceBuffer(buffer.runtime, buffer.memory, layout, buffer.offset + start * strides[0] if n else 0)

    def compile(self, graph: Any, device: Any, donated: tuple[int, ...]) -> Program:
        """Program of a graph (see knet.compiler.execute)."""
        return Program(graph, device, self.runtime(device), donated)


def has_kernel(primitive: Any) -> bool:
    """Whether there is a kernel for some dtypes at least."""
    if isinstance(primitive, Elementwise):
        return bool(primitive.c)
    return (
        primitive in REDUCTIONS
        or primitive in ALIASES
        or primitive is elementwise._cast
        or primitive.name in TAKEN_APART
        or primitive.name in GENERATORS
    )
