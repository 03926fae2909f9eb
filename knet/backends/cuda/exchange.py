"""Arrays of CuPy, PyTorch and JAX as Knet's and back, without a copy: DLPack and ``__cuda_array_interface__``.

CuPy speaks both protocols, for its current stream. Knet's stream is made the current one for that: then a reader waits
for what Knet has queued, and Knet for what the writer has. When the last reference to exported memory is dropped, the
pool may use it again at once; whoever reads it in another stream keeps a reference until that is done.
"""

from __future__ import annotations

from typing import Any

import cupy

from ...compiler.device.buffer import DeviceBuffer
from ...core import dtypes


class Exported:
    """A buffer to other libraries. Each protocol is spoken in Knet's stream."""

    __slots__ = ("_array", "_runtime")

    def __init__(self, array: Any, runtime: Any) -> None:
        self._array = array
        self._runtime = runtime

    def __dlpack__(self, **options: Any) -> Any:
        with self._runtime.current(), self._runtime.stream:
            if options.pop("copy", None):
                return self._array.copy().__dlpack__(**options)
            return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self._array.__dlpack_device__()
        return int(kind), number

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        with self._runtime.current(), self._runtime.stream:
            described = dict(self._array.__cuda_array_interface__)
        address, _ = described["data"]
        return {**described, "data": (address, True)}  # read-only, as Knet's arrays are


def array_of(buffer: DeviceBuffer) -> Any:
    """An array of CuPy's in the memory of a buffer. The device must be current."""
    shape, strides, dtype = buffer.layout
    pointer = buffer.memory + buffer.offset * dtype.itemsize
    return cupy.ndarray(shape, dtype, pointer, strides=tuple(step * dtype.itemsize for step in strides))


def adopted(array: Any, runtime: Any) -> DeviceBuffer:
    """A buffer in the memory of an array of CuPy's, whose strides are multiples of the elements' size."""
    dtype = dtypes.canonical(array.dtype)
    strides = tuple(step // dtype.itemsize for step in array.strides)
    return DeviceBuffer(runtime, array.data, (array.shape, strides, dtype))


def exported(buffer: DeviceBuffer) -> Exported:
    """What speaks for a buffer."""
    with buffer.runtime.current():
        return Exported(array_of(buffer), buffer.runtime)


def imported(x: Any, runtime: Any, copy: bool) -> DeviceBuffer:
    """Buffer in the memory of another library's array on the runtime's device, or in a copy of it.

    Raises:
      BufferError: its strides are no multiples of the elements' size. DTypeError: a dtype that Knet has not.
    """
    with runtime.current(), runtime.stream:
        array = cupy.from_dlpack(x)
        dtype = dtypes.canonical(array.dtype)
        if copy:
            array = array.copy()
    if any(step % dtype.itemsize for step in array.strides):
        raise BufferError("from_dlpack: strides between elements: copy the array first")
    return adopted(array, runtime)
