"""What the two forms of a nest's kernel have in common: the text of one point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core import dtypes
from ..fuse import origin
from ..graph import Node, Value
from ..layout import Ref
from ..scalar import HALF, compute_dtype, expression, loaded, register_type, rounded, stored
from .kernel import Hole, Writer
from .nest_part import Access, Loop, Part
from .nest_reduce import kind_of

Table = Callable[[Any, Any], str]


class Printer:
    """Prints a part's kernel.

    Args:
      split: into how many segments the reduced dims are cut; each writes partial results.
      partials: where those lie, by reduction: [split, ...].
    """

    def __init__(
        self, writer: Writer, part: Part, table: Table, split: int = 1, partials: dict[Value, Ref] | None = None
    ) -> None:
        self.w = writer
        self.part = part
        self.table = table
        self.split = split
        self.partials = partials or {}
        self.lines: list[str] = []
        self.depth = 1
        self.late: list[str] = []
        self.pointers: dict[int, str] = {}
        self.texts: dict[Any, str] = {}
        self.keep: dict[Value, str] = {}  # values that later passes need: the arrays that they are put down in
        for access in part.reads.values():
            self.pointer(access, False)
        for v, access in part.writes.items():
            if v in self.partials:
                part.writes[v] = access = Access(self.partials[v], (None, *part.cluster.axes[v]))
            self.pointer(access, True)

    # --- lines --------------------------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Append a line."""
        self.lines.append("    " * self.depth + text)

    def open(self, text: str) -> None:
        """Begin a block."""
        self.line(text + " {")
        self.depth += 1

    def close(self, count: int = 1) -> None:
        """End blocks."""
        for _ in range(count):
            self.depth -= 1
            self.line("}")

    # --- texts --------------------------------------------------------------------------------------------------------

    def once(self, key: Any, make: Callable[[], str]) -> str:
        """A text, made when it is first asked for: a size or a number is one parameter."""
        if key not in self.texts:
            self.texts[key] = make()
        return self.texts[key]

    def size(self, key: Any, value: int) -> str:
        """Text of a size, known by what it is of."""
        return self.once(key, lambda: self.w.number(value))

    def extent(self, loop: Loop) -> str:
        """Text of a loop's extent."""
        return self.size(loop, loop.extent)

    def pointer(self, access: Access, write: bool) -> str:
        """Name of an array."""
        if id(access) not in self.pointers:
            self.pointers[id(access)] = self.w.array(access.ref, write)
        return self.pointers[id(access)]

    def at(self, access: Access, loops: Sequence[Loop]) -> str:
        """Text of the element at the loops' variables."""
        name = self.pointer(access, False)
        terms = []
        for loop in loops:
            step = loop.step(access)
            if step == 1:
                terms.append(loop.variable)
            elif step:
                strides = tuple(access.strides.get(d, 0) for d in loop.dims)
                terms.append(f"{loop.variable} * {self.size((name, strides, loop), step)}")
        if access.ref in self.partials.values():
            terms.append(f"segment * {self.size(('partial', name), access.ref.size // self.split)}")
        return f"{name}[{' + '.join(terms) or '0'}]"

    def number(self, node: Node, i: int) -> str:
        """Text of an operand that is a Python number."""
        x = node.operands[i]
        dtype = dtypes.bool_ if i in node.op.free else compute_dtype(node)
        common = next(
            (v.dtype for k, v in enumerate(node.operands) if type(v) is Value and k not in node.op.free), dtype
        )
        if common.name in HALF and not isinstance(x, Hole) and i not in node.op.free:
            x = float(np.asarray(x).astype(common))
        text = self.once((node, i), lambda: self.w.scalar(x, dtype))
        if common.name in HALF and isinstance(x, Hole) and i not in node.op.free:
            return rounded(text, common)
        return text

    # --- one point ----------------------------------------------------------------------------------------------------

    def hoisted(self, loops: Sequence[Loop], inside: Sequence[Loop], known: dict[Any, str], tag: str) -> None:
        """Read what does not change along the loops ``inside``, for the point that ``loops`` are at."""
        seen: dict[str, str] = {}
        for key, access in self.part.reads.items():
            if key in known or any(loop.step(access) for loop in inside):
                continue
            text = self.at(access, loops)
            if text not in seen:
                seen[text] = f"{tag}{len(seen)}"
                self.line(f"const {register_type(access.dtype)} {seen[text]} = {loaded(text, access.dtype)};")
            known[key] = seen[text]

    def compute(self, node: Node, loops: Sequence[Loop], names: dict[Value, str], known: dict[Any, str]) -> None:
        """Declare a variable with a node's value. Outputs are written at the end of the point, after all reads: memory
        may be shared (``Launch.same``)."""
        y = node.results[0]
        texts = [self.operand(node, i, loops, names, known) for i in range(len(node.operands))]
        names[y] = f"v{self.part.cluster.nodes.index(node)}"
        text = rounded(expression(node, texts, self.table), y.dtype)
        self.line(f"const {register_type(y.dtype)} {names[y]} = {text};")

    def operand(self, node: Node, i: int, loops: Sequence[Loop], names: dict[Value, str], known: dict[Any, str]) -> str:
        """Text of an operand at the current point."""
        x = node.operands[i]
        if type(x) is not Value:
            return self.number(node, i)
        if (node, i) in known:
            return known[node, i]
        if (node, i) in self.part.reads:
            access = self.part.reads[node, i]
            return loaded(self.at(access, loops), x.dtype)
        value = origin(x)
        if value in names:
            return names[value]
        if value in known:
            return known[value]
        if value in self.part.writes:  # of an earlier pass
            return loaded(self.at(self.part.writes[value], loops), value.dtype)
        if value in self.keep:
            return self.kept(value)
        assert value.node is not None
        self.compute(value.node, loops, names, known)
        return names[value]

    def point(
        self,
        nodes: Sequence[Node],
        loops: Sequence[Loop],
        known: dict[Any, str],
        take: Callable[[Value, str], None],
    ) -> None:
        """Compute nodes at one point, write outputs, hand what is reduced to ``take``."""
        names: dict[Value, str] = {}
        late = []
        for node in nodes:
            y = node.results[0]
            if y in self.part.reductions:
                x = f"x{self.part.reductions.index(y)}"
                self.line(f"const {kind_of(y)} {x} = {self.operand(node, 0, loops, names, known)};")
                late.append((y, x))
                continue
            if y not in names:
                self.compute(node, loops, names, known)
        for y, name in names.items():
            if y in self.part.writes and y.node in nodes:
                self.line(f"{self.at(self.part.writes[y], loops)} = {stored(name, y.dtype)};")
            if y in self.keep and y.node in nodes:
                self.line(f"{self.kept(y)} = {name};")
        for y, x in late:
            take(y, x)

    def kept(self, value: Value) -> str:
        """Text of a value that was put down, at the current point of the reduced dims."""
        place = "0"
        for loop in self.part.reduced:
            place = loop.variable if place == "0" else f"({place}) * {self.extent(loop)} + {loop.variable}"
        return f"{self.keep[value]}[{place}]"

    def total(self, value: Value, text: str, loops: Sequence[Loop]) -> str:
        """Statement that writes a reduction's result, or its part of it."""
        access = self.part.writes[value]
        return f"{self.at(access, loops)} = {stored(text, access.dtype)};"

    def full_and_single(self, p: int) -> tuple[list[Node], list[Node]]:
        """Nodes of a pass: those at every point, reductions among them, and those once for each kept point."""
        nodes = [n for n in self.part.nodes if self.part.passes[n.results[0]] == p]
        single = [n for n in nodes if n.results[0] not in self.part.reductions and self.part.single(n.results[0])]
        return [n for n in nodes if n not in single], single
