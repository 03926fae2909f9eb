"""Compiling kernels and setting their arguments."""

from __future__ import annotations

import functools
import re
import struct
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...compiler.kernels.kernel import Extent, Kernel
from ...core import errors
from .devices import cl
from .failures import status_of

# NumPy's and struct's codes of the C types of numbers.
CODES = {
    "int": "i", "long": "q", "float": "f", "double": "d",
    "int8_t": "b", "int16_t": "h", "int32_t": "i", "int64_t": "q",
    "uint8_t": "B", "uint16_t": "H", "uint32_t": "I", "uint64_t": "Q",
}  # fmt: skip


class Function:
    """A compiled kernel.

    Attributes:
      kernel: PyOpenCL's; its arguments are set before each launch.
      set: sets the arguments: ``set(kernel, pointers, numbers)``.
      items: local size.
    """

    __slots__ = ("__weakref__", "items", "kernel", "name", "program", "set")

    def __init__(self, program: Any, kernel: Kernel) -> None:
        self.program = program
        self.name = kernel.name
        self.items: Extent = kernel.items
        self.kernel = self.another()
        pointers = (self.kernel.num_args - len(kernel.numbers)) // 2
        self.set = setter(pointers, tuple(CODES[kind] for kind in kernel.numbers))

    def another(self) -> Any:
        """A kernel object with arguments of its own."""
        return cl.Kernel(self.program, self.name)


def build(
    context: Any, options: list[str], device: str, prelude: str, kernels: Sequence[Kernel]
) -> dict[str, Function]:
    """Functions of some kernels, compiled as one program.

    Raises:
      DeviceError: the driver's compiler refuses them, with its words and the lines that it names; or it refuses every
        text, as PoCL does on processors that its LLVM does not know.
    """
    source = "\n".join([prelude, *(kernel.source for kernel in kernels)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what compilers say of texts that they accept
            program = cl.Program(context, source).build(options=options)
    except cl.Error as e:
        if "unknown target CPU" in str(e):  # https://github.com/pocl/pocl/issues/1049
            raise errors.unknown_processor(f"OpenCL device {device}") from None
        names = ", ".join(kernel.name for kernel in kernels)
        notes = _notes(source, str(e))
        raise errors.device_compilation(f"OpenCL device {device}", names, status_of(e), notes) from None
    return {kernel.name: Function(program, kernel) for kernel in kernels}


def _notes(source: str, message: str) -> str:
    """The compiler's words without the program that PyOpenCL repeats, and the lines around those that it names."""
    log = message.split("(options:")[0].strip()
    lines = source.splitlines()
    near: set[int] = set()
    for number in re.findall(r":(\d+):\d+", log):
        near |= set(range(int(number) - 3, int(number) + 4))
    shown = [f"{i:5}  {lines[i - 1]}" for i in sorted(near) if 1 <= i <= len(lines)]
    return "\n".join([log, *(shown or lines)])


@functools.cache
def setter(pointers: int, codes: tuple[str, ...]) -> Callable[[Any, Sequence[tuple[Any, int]], Sequence[Any]], None]:
    """Function that sets the arguments of kernels with so many pointers and numbers of these types.

    It is written out for each signature: a loop over the arguments would take longer than the launch. A pointer is two
    arguments: the buffer, and the offset of its first element.
    """
    names = [f"n{i}" for i in range(len(codes))]
    memories = "".join(f"{2 * i}, m{i}, " for i in range(pointers))
    packed = "".join(f"{2 * i + 1}, pack_q(o{i}), " for i in range(pointers))
    packed += "".join(f"{2 * pointers + i}, pack_{c}({n}), " for i, (c, n) in enumerate(zip(codes, names)))
    lines = ["def set(kernel, pointers, numbers):"]
    if pointers:
        lines += [f"    {''.join(f'(m{i}, o{i}), ' for i in range(pointers))} = pointers"]
        lines += [f"    kernel._set_arg_multi(({memories}))"]
    if names:
        lines += [f"    {', '.join(names)}, = numbers"]
    lines += [f"    kernel._set_arg_buf_multi(({packed}))"] if packed else ["    pass"]
    space: dict[str, Any] = {f"pack_{code}": packer(code) for code in {"q", *codes}}
    exec("\n".join(lines), space)  # a function of names and numbers that stand here, and of nothing from outside
    return space["set"]


def packer(code: str) -> Callable[[Any], bytes]:
    """Function of a Python number: its bytes, rounded as NumPy rounds it where struct refuses (1e300 as a float)."""
    pack = struct.Struct(code).pack
    if code != "f":
        return pack

    def pack_float(value: Any) -> bytes:
        try:
            return pack(value)
        except OverflowError:
            with np.errstate(over="ignore"):
                return np.float32(value).tobytes()

    return pack_float


pack_offset = packer("q")
