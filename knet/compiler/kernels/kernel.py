"""Kernels, their launches, and the writer that generators make them with.

A kernel is one function in a dialect of C that OpenCL and CUDA share through the macros of ``prelude.py``. Its
parameters are pointers, then numbers. What depends on sizes is a literal in a program, where a kernel is made for one
shape and the compiler should know it; for eager operations it is a parameter, so that one kernel serves all shapes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...core import dtypes
from ..layout import Buffer, Ref
from ..scalar import c_type, literal
from .target import Target

Extent = tuple[int, int, int]


class Kernel(NamedTuple):
    """A function of the device: equal text, the same kernel.

    Attributes:
      name: of the function.
      source: its text.
      numbers: C types of the parameters behind the pointers.
      items: local size.
      itemsizes: bytes of an element behind each pointer.
    """

    name: str
    source: str
    numbers: tuple[str, ...]
    items: Extent
    itemsizes: tuple[int, ...]


class Hole:
    """The place of a Python number that each call brings: operand ``position`` of an eager operation."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position


@dataclass
class Launch:
    """A kernel, the arrays behind its pointers, its numbers, and how many groups there are.

    Attributes:
      written: positions of the operands that it writes.
      same: pairs (read operand, written operand) that may share memory: each element is read right before it is written.
      text: what it computes, for people.
      work: operations, for people and for deciding what is small.
    """

    kernel: Kernel
    operands: list[Ref]
    numbers: list[Any]
    groups: Extent
    written: frozenset[int]
    text: str
    work: float = 0.0
    same: tuple[tuple[int, int], ...] = field(default=())

    @property
    def buffers(self) -> Iterable[Buffer]:
        """Everything that it reads or writes."""
        return (ref.buffer for ref in self.operands)


class Writer:
    """Collects the parameters of a kernel while its body is written.

    Args:
      name: what the kernel does, a C name.
      target: the device.
      literal: whether sizes are literals in the text.
      raw: whether elements are only moved, as bits.
    """

    def __init__(self, name: str, target: Target, literal: bool, raw: bool = False) -> None:
        self.raw = raw
        self.name = name
        self.target = target
        self.literal = literal
        self.operands: list[Ref] = []
        self.written: set[int] = set()
        self._numbers: list[tuple[str, Any]] = []

    def array(self, ref: Ref, write: bool = False) -> str:
        """Name of a pointer to the first element of an array, for ``name[i]`` with i counted in elements.

        Its type is that of memory: half types are loaded and stored by ``scalar.loaded`` and ``stored``. In a kernel
        that only moves elements (``raw``) it is an unsigned integer of the element's size, for every dtype.
        """
        for i, known in enumerate(self.operands):
            if known.buffer is ref.buffer and known.offset == ref.offset:
                if write:
                    self.written.add(i)
                return f"a{i}"
        self.operands.append(ref)
        if write:
            self.written.add(len(self.operands) - 1)
        return f"a{len(self.operands) - 1}"

    def number(self, value: int) -> str:
        """C text of an index or a size."""
        if self.literal:
            return str(value) if value >= 0 else f"({value})"
        return self._parameter("INDEX", value)

    def scalar(self, value: Any, dtype: Any) -> str:
        """C text of a Python number among an operation's operands, in the dtype that it is computed in."""
        if isinstance(value, Hole) or not self.literal:
            return self._parameter("int" if dtype == dtypes.bool_ else c_type(dtype), value)
        return literal(value, dtype)

    def _parameter(self, kind: str, value: Any) -> str:
        self._numbers.append((kind, value))
        return f"n{len(self._numbers) - 1}"

    def offset(self, strides: Sequence[int], indices: Sequence[str]) -> str:
        """C text of the element at some indices: the sum of each index times its stride."""
        terms = []
        for index, step in zip(indices, strides, strict=True):
            if step and index != "0":
                terms.append(index if step == 1 else f"{index} * {self.number(step)}")
        return " + ".join(terms) or "0"

    def launch(
        self,
        body: str,
        groups: Extent,
        *,
        items: Extent | None = None,
        text: str = "",
        work: float = 0.0,
        same: tuple[tuple[int, int], ...] = (),
        restrict: bool = True,
    ) -> Launch:
        """The kernel with this body, launched."""
        items = items or (self.target.items, 1, 1)
        index = "int" if all(map(_fits, self.operands)) else "long"
        types = [f"knet_{ref.dtype.itemsize}" if self.raw else c_type(ref.dtype) for ref in self.operands]
        kinds = [kind if i in self.written else f"const {kind}" for i, kind in enumerate(types)]
        where = "POINTER" if restrict else "SHARED_POINTER"
        parameters = [f"{where}({kind}, a{i})" for i, kind in enumerate(kinds)]
        parameters += [f"const {kind} n{i}" for i, (kind, _) in enumerate(self._numbers)]
        bases = "".join(f"    {where.replace('POINTER', 'BASE')}({kind}, a{i})\n" for i, kind in enumerate(kinds))
        x, y, z = items
        text_ = f"KERNEL({x}, {y}, {z}) @({', '.join(parameters)}) {{\n{bases}{body}}}\n"
        text_ = re.sub(r"\bINDEX\b", index, text_)
        name = f"{self.name}_{hashlib.sha256(text_.encode()).hexdigest()[:12]}"
        kernel = Kernel(
            name,
            text_.replace("@", name, 1),
            tuple(index if kind == "INDEX" else kind for kind, _ in self._numbers),
            items,
            tuple(ref.dtype.itemsize for ref in self.operands),
        )
        numbers = [value for _, value in self._numbers]
        return Launch(kernel, self.operands, numbers, groups, frozenset(self.written), text or self.name, work, same)


def _fits(ref: Ref) -> bool:
    """Whether the places of all elements are 32-bit numbers, with room for rounding up."""
    return sum(abs(s) * (n - 1) for n, s in zip(ref.shape, ref.strides)) < 2**31 - 2**16 and ref.size < 2**31 - 2**16
