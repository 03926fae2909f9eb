"""An array on a device: memory, and shape, strides and offset in it. Views share memory and copy nothing."""

from __future__ import annotations

from typing import Any

from ..layout import dense_strides


class DeviceBuffer:
    """A strided array in a piece of a device's memory.

    Attributes:
      memory: what the runtime allocated; it is given back when no buffer holds it any more.
      layout: (shape, strides in elements, dtype), which kernels are chosen by.
      offset: of the first element, in elements.
    """

    __slots__ = ("dtype", "layout", "memory", "offset", "shape")

    def __init__(self, memory: Any, layout: tuple[Any, Any, Any], offset: int = 0) -> None:
        self.memory = memory
        self.layout = layout
        self.shape, _, self.dtype = layout
        self.offset = offset

    @property
    def strides(self) -> tuple[int, ...]:
        """Steps of the axes, in elements."""
        return self.layout[1]


def dense(memory: Any, shape: tuple[int, ...], dtype: Any) -> DeviceBuffer:
    """Buffer in row-major order from the beginning of a piece of memory."""
    return DeviceBuffer(memory, (shape, dense_strides(shape), dtype))
