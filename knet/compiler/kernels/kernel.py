"""Kernels, their launches, and the writer that generators make them with.

A kernel is one function in a dialect of C that OpenCL and CUDA share through the macros of ``prelude.py``. Its
parameters are pointers, then numbers. What depends on sizes is a literal in a program, where a kernel is made for one
shape and the compiler should know it; for eager operations it is a parameter, so that one kernel serves all shapes.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...core import dtypes
from ..layout import Buffer, Ref
from ..scalar import c_type, literal
from .target import Target

Extent = tuple[int, int, int]

LAYERS = 65535  # groups along dimensions 1 and 2 at most, in CUDA


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
    """The body of a kernel, the arrays behind its pointers, its numbers, and how many groups there are.

    Attributes:
      name: what it does, a C name.
      body: C text; ``a0``, ``a1``, ... are the arrays, ``n0``, ``n1``, ... the numbers.
      operands: the arrays.
      writes: positions of the operands that it writes.
      kinds: C types of the operands' elements.
      numbers: values, or Holes, of the numbers; ``number_kinds`` their C types.
      groups, items: how many groups, of how many items.
      restrict: whether no array that it writes overlaps another one.
      text: what it computes, for people.
      work: operations, for deciding what is small; ``flops`` those of products and convolutions, for people.
      same: pairs (read, written operand) that may share memory: each element is read right before it is written.
    """

    name: str
    body: str
    operands: list[Ref]
    writes: frozenset[int]
    kinds: list[str]
    numbers: list[Any]
    number_kinds: list[str]
    groups: Extent
    items: Extent
    restrict: bool
    text: str
    work: float = 0.0
    flops: float = 0.0
    same: tuple[tuple[int, int], ...] = ()

    @property
    def buffers(self) -> Iterable[Buffer]:
        """Everything that it reads or writes."""
        return (ref.buffer for ref in self.operands)

    @property
    def written(self) -> set[Buffer]:
        """What it writes."""
        return {self.operands[i].buffer for i in self.writes}

    @functools.cached_property
    def kernel(self) -> Kernel:
        """The kernel, named by its text."""
        where = "" if self.restrict else "SHARED_"
        typed = [k if i in self.writes else f"const {k}" for i, k in enumerate(self.kinds)]
        parameters = [f"{where}POINTER({kind}, a{i})" for i, kind in enumerate(typed)]
        parameters += [f"const {kind} n{i}" for i, kind in enumerate(self.number_kinds)]
        bases = "".join(f"    {where}BASE({kind}, a{i})\n" for i, kind in enumerate(typed))
        x, y, z = self.items
        source = f"KERNEL({x}, {y}, {z}) @({', '.join(parameters)}) {{\n{bases}{self.body}}}\n"
        name = f"{self.name}_{hashlib.sha256(source.encode()).hexdigest()[:12]}"
        sizes = tuple(ref.dtype.itemsize for ref in self.operands)
        return Kernel(name, source.replace("@", name, 1), tuple(self.number_kinds), self.items, sizes)


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
        """The kernel with this body, launched.

        Raises:
          ValueError: it declares more local memory than a group has; the generator chose sizes that do not fit.
        """
        needed = local_bytes(body)
        if needed > self.target.local_bytes:
            raise ValueError(f"{self.name}: {needed} bytes of local memory, and a group has {self.target.local_bytes}")
        if self.target.dialect == "cuda" and max(groups[1:]) > LAYERS:
            body, groups = placed(body, groups), (math.prod(groups), 1, 1)
        index = "int" if all(map(_fits, self.operands)) else "long"
        kinds = [f"knet_{ref.dtype.itemsize}" if self.raw else c_type(ref.dtype) for ref in self.operands]
        return Launch(
            self.name,
            re.sub(r"\bINDEX\b", index, body),
            self.operands,
            frozenset(self.written),
            kinds,
            [value for _, value in self._numbers],
            [index if kind == "INDEX" else kind for kind, _ in self._numbers],
            groups,
            items or (self.target.items, 1, 1),
            restrict,
            text or self.name,
            work,
            2 * work if text.startswith("product") else work if text.startswith("conv") else 0.0,
            same,
        )


def _fits(ref: Ref) -> bool:
    """Whether the places of all elements are 32-bit numbers, with room for rounding up."""
    return sum(abs(s) * (n - 1) for n, s in zip(ref.shape, ref.strides)) < 2**31 - 2**16 and ref.size < 2**31 - 2**16


def placed(text: str, groups: Extent, first: int = 0) -> str:
    """A body whose groups are counted along dimension 0 alone, from ``first`` on."""
    gx, gy, _ = groups
    own = f"(GROUP(0) - {first})" if first else "GROUP(0)"
    flat = groups[1:] == (1, 1)
    places = {
        "0": own if flat else f"({own} % {gx})",
        "1": "0" if flat else f"({own} / {gx} % {gy})",
        "2": "0" if flat else f"({own} / {gx * gy})",
    }
    text = re.sub(r"\bGROUPS\((\d)\)", lambda m: str(groups[int(m.group(1))]), text)
    return re.sub(r"\bGROUP\((\d)\)", lambda m: places[m.group(1)], text)


LOCAL = re.compile(r"^[ \t]*LOCAL (\w+) (\w+)((?:\[\d+\])*);\n", re.MULTILINE)
_SIZES = {"INDEX": 8, "int": 4, "long": 8, "float": 4, "double": 8}


def local_bytes(body: str) -> int:
    """Bytes of local memory that a body declares; INDEX counts as the larger of what it may become."""
    total = 0
    for kind, _, sizes in LOCAL.findall(body):
        bits = re.fullmatch(r"u?int(\d+)_t", kind)
        moved = re.fullmatch(r"knet_(\d+)", kind)
        size = int(bits[1]) // 8 if bits else int(moved[1]) if moved else _SIZES[kind]
        total += size * math.prod(map(int, re.findall(r"\d+", sizes)))
    return total
