"""An array on a device: memory, and shape, strides and offset in it. Views share memory and copy nothing."""

from __future__ import annotations

from typing import Any

from ...core.aval import size_of
from ..layout import dense_strides

Layout = tuple[tuple[int, ...], tuple[int, ...], Any]


class DeviceBuffer:
    """A strided array in a piece of a device's memory.

    Attributes:
      runtime: of the device.
      memory: what the runtime allocated; it is given back when no buffer holds it any more.
      layout: (shape, strides in elements, dtype), by which kernels are chosen.
      offset: of the first element, in elements.
    """

    __slots__ = ("dtype", "layout", "memory", "offset", "runtime", "shape")

    def __init__(self, runtime: Any, memory: Any, layout: Layout, offset: int = 0) -> None:
        self.runtime = runtime
        self.memory = memory
        self.layout = layout
        self.shape, _, self.dtype = layout
        self.offset = offset

    @property
    def size(self) -> int:
        """Number of elements."""
        return size_of(self.shape)


class Number:
    """A Python number beside arrays, in the dtype in which it meets them."""

    __slots__ = ("dtype", "value")

    shape = ()

    def __init__(self, value: Any, dtype: Any) -> None:
        self.value = value
        self.dtype = dtype


def dense_layout(shape: tuple[int, ...], dtype: Any) -> Layout:
    """Row-major order."""
    return shape, dense_strides(shape), dtype


def is_dense(layout: Layout) -> bool:
    """Whether the elements lie one after the other in row-major order."""
    expected = 1
    for n, step in zip(reversed(layout[0]), reversed(layout[1])):
        if n != 1 and step != expected:
            return False
        expected *= n
    return True
