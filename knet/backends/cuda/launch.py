"""A kernel's arguments as the driver wants them, and its launch.

``cuLaunchKernel`` reads a table of addresses, one for each parameter. Here parameter i always lies in slot i of eight
bytes, so the table is the same for all kernels. CuPy's ``RawKernel`` makes an object for each argument at each launch;
filling the slots by one ``struct`` call costs a fraction of that, and a launch of a program is packed once.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from cupy_backends.cuda.api import driver

from ...compiler.kernels.kernel import Extent, Kernel

_FORMATS = {
    "int": "i4x", "long": "q", "float": "f4x", "double": "d",
    "int8_t": "b7x", "int16_t": "h6x", "int32_t": "i4x", "int64_t": "q",
    "uint8_t": "B7x", "uint16_t": "H6x", "uint32_t": "I4x", "uint64_t": "Q",
}  # fmt: skip
_DTYPES = {
    "b": np.int8, "h": np.int16, "i": np.int32, "q": np.int64, "B": np.uint8, "H": np.uint16, "I": np.uint32,
    "Q": np.uint64, "f": np.float32, "d": np.float64,
}  # fmt: skip
MOST = 512  # parameters of a kernel: CUDA allows 4 KB of them


class Arguments:
    """Slots for the parameters of a kernel, and the table of their addresses."""

    __slots__ = ("_table", "slots", "table")

    def __init__(self, count: int = MOST) -> None:
        self.slots = (ctypes.c_uint64 * max(1, count))()
        first = ctypes.addressof(self.slots)
        self._table = (ctypes.c_uint64 * max(1, count))(*range(first, first + 8 * count, 8))
        self.table = ctypes.addressof(self._table)


class Scratch(threading.local):
    """Slots of a thread for launches that happen once: the driver reads them without Python's lock."""

    def __init__(self) -> None:
        self.arguments = Arguments()


_scratch = Scratch()


class Function:
    """A kernel that is loaded on a device.

    Attributes:
      handle: the driver's.
      pack: writes addresses and numbers into slots.
      itemsizes: bytes of an element of each array.
      module: what it was loaded with; it is unloaded when nothing refers to it any more.
    """

    __slots__ = ("handle", "items", "itemsizes", "kinds", "module", "name", "pack")

    def __init__(self, kernel: Kernel, handle: int, module: Any) -> None:
        if len(kernel.itemsizes) + len(kernel.numbers) > MOST:
            raise ValueError(f"{kernel.name}: more than {MOST} parameters")
        formats = [_FORMATS[kind] for kind in kernel.numbers]
        self.name = kernel.name
        self.handle = handle
        self.module = module
        self.items: Extent = kernel.items
        self.itemsizes = kernel.itemsizes
        self.kinds = [_DTYPES[text[0]] for text in formats]
        self.pack = struct.Struct("=" + "Q" * len(kernel.itemsizes) + "".join(formats)).pack_into

    def fill(self, arguments: Arguments, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]) -> None:
        """Write the arguments of a launch; the memory of a pointer is None where it is set later."""
        addresses = [
            memory.ptr + offset * size if memory is not None else 0
            for (memory, offset), size in zip(pointers, self.itemsizes, strict=True)
        ]
        try:
            self.pack(arguments.slots, 0, *addresses, *numbers)
        except (struct.error, OverflowError):
            # A number that its type does not hold as it is: 2.0 for an int, 1e40 for a float, -1 for an unsigned one.
            wrapped = [converted(number, kind) for number, kind in zip(numbers, self.kinds, strict=True)]
            self.pack(arguments.slots, 0, *addresses, *wrapped)

    def launch(self, runtime: Any, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]) -> None:
        """Queue the kernel once."""
        arguments = _scratch.arguments
        self.fill(arguments, pointers, numbers)
        queue(runtime, self, groups, arguments)

    def prepare(
        self, runtime: Any, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]
    ) -> Prepared:
        """A launch for many runs."""
        return Prepared(runtime, self, groups, pointers, numbers)


def queue(runtime: Any, function: Function, groups: Extent, arguments: Arguments) -> None:
    """Queue a kernel whose arguments are written."""
    stream = runtime.here()
    if stream:
        driver.launchKernel(function.handle, *groups, *function.items, 0, stream, arguments.table, 0)
    else:
        with runtime.current() as stream:
            driver.launchKernel(function.handle, *groups, *function.items, 0, stream, arguments.table, 0)
    runtime.launched += 1


def converted(number: Any, kind: Any) -> Any:
    """A number as a type of C holds it: integers wrap around, and what is too large for a float is infinite."""
    if np.dtype(kind).kind == "f":
        with np.errstate(over="ignore"):
            return float(np.asarray(number, np.float64).astype(kind))
    return int(np.asarray(int(number) & 0xFFFF_FFFF_FFFF_FFFF, np.uint64).astype(kind))


class Prepared:
    """A launch whose arguments are written; ``run`` queues it.

    It has addresses and holds no memory: an argument of a program is the caller's, and only who holds it alone may have
    it overwritten. Memory that is given up after ``run`` is handed out again to what is queued behind it.
    """

    __slots__ = ("_arguments", "_function", "_groups", "_runtime")

    def __init__(
        self, runtime: Any, function: Function, groups: Extent, pointers: Sequence[Any], numbers: Sequence[Any]
    ) -> None:
        self._runtime = runtime
        self._function = function
        self._groups = groups
        self._arguments = Arguments(len(function.itemsizes) + len(function.kinds))
        function.fill(self._arguments, pointers, numbers)

    def set(self, i: int, memory: Any, offset: int) -> None:
        """Let pointer i point to another piece of memory, ``offset`` in elements."""
        self._arguments.slots[i] = memory.ptr + offset * self._function.itemsizes[i]

    def run(self) -> None:
        """Queue the kernel."""
        queue(self._runtime, self._function, self._groups, self._arguments)
