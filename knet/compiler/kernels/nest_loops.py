"""Nests for CPUs: a group is one item that loops over its part of the kept points.

Inner loops run along contiguous memory and have independent turns, which the compiler turns into vector instructions.
Reductions along rows put down what they add up, a block at a time, and add the block to 16 sums side by side; those
over columns have a sum for each column. Both add up blocks, then the blocks' sums, so that long sums keep their digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..fuse import origin
from ..graph import Node, Value
from ..scalar import expression, loaded, register_type, rounded, stored
from .nest_part import Loop
from .nest_print import Printer
from .nest_reduce import SUMS, VECTORS, accumulate, kind_of, name_of, start_of

BLOCK = 1024  # elements of a row that are put down before they are added up
COLUMNS = 512  # columns that are reduced side by side
TURNS = 64  # rows that are added up before their sums are
SHORT = 32  # a row of fewer is no vector loop
SMALL = 1 << 15  # operations that are not worth a second thread

# Turns of the loop touch elements of their own, even where an output lies in an input's memory.
INDEPENDENT = "#pragma clang loop vectorize(assume_safety)"


class Loops(Printer):
    """The printer for CPUs."""

    def body(self, units: int) -> int:
        """Print the kernel; returns the number of groups."""
        part = self.part
        self.work = part.points * max(1, part.terms) * len(part.nodes)
        self.groups = 1 if self.work < SMALL else 2 * units
        if not part.reductions:
            self.map()
        elif part.by_rows and part.terms >= SHORT:
            self.rows()
        else:
            self.columns()
        return self.groups

    # --- units of work ------------------------------------------------------------------------------------------------

    def units(self, outer: Sequence[Loop], chunks: int) -> None:
        """The loop over this group's units: points of the outer loops times chunks of the next one times segments."""
        count = chunks * self.split
        for loop in outer:
            count *= loop.extent
        self.groups = max(1, min(self.groups, count)) if count else 0
        total = self.size("units", count)
        self.line(f"const INDEX last = (INDEX)((long){total} * (GROUP(0) + 1) / GROUPS(0));")
        self.open(f"for (INDEX u = (INDEX)((long){total} * GROUP(0) / GROUPS(0)); u < last; u++)")
        rest = "u"
        if self.split > 1:
            per = self.size("per segment", count // self.split)
            self.line(f"const INDEX segment = u / {per}, w = u % {per};")
            rest = "w"
        if chunks > 1 or not self.w.literal:
            n = self.size("chunks", chunks)
            self.line(f"const INDEX chunk = {rest} % {n};")
            if outer:
                self.line(f"const INDEX outer = {rest} / {n};")
            rest = "outer"
        for i in range(len(outer) - 1, -1, -1):
            loop = outer[i]
            if i == 0:
                self.line(f"const INDEX {loop.variable} = {rest};")
            else:
                self.line(f"const INDEX {loop.variable} = {rest} % {self.extent(loop)};")
                self.line(f"const INDEX rest{i} = {rest} / {self.extent(loop)};")
                rest = f"rest{i}"

    def chunk(self, loop: Loop, chunks: int, length: int) -> tuple[str, str]:
        """Bounds of this unit's part of a loop."""
        if chunks == 1 and self.w.literal:
            return "0", self.extent(loop)
        n, extent = self.size("length", length), self.extent(loop)
        self.line(f"const INDEX lo = chunk * {n}, hi = {extent} - lo < {n} ? {extent} : lo + {n};")
        return "lo", "hi"

    def turns(self, loop: Loop, lo: str, hi: str, independent: bool = False) -> None:
        """Begin a loop."""
        if independent:
            self.line(INDEPENDENT)
        i = loop.variable
        self.open(f"for (INDEX {i} = {lo}; {i} < {hi}; {i}++)")

    # --- no reductions ------------------------------------------------------------------------------------------------

    def map(self) -> None:
        """Elementwise operations alone."""
        loops = self.part.kept or [Loop((), 1)]
        loops[-1].variable = loops[-1].variable or "k0"
        inside = 2 if len(loops) > 1 and loops[-1].extent < 4 * SHORT else 1
        outer, (first, *rest) = loops[:-inside], loops[-inside:]
        points = 1
        for loop in outer:
            points *= loop.extent
        chunks = max(1, min(-(-2 * self.groups // max(1, points)), first.extent)) if self.groups > 1 else 1
        length = -(-first.extent // chunks)
        if not rest:
            length = -(-length // 64) * 64
        chunks = max(1, -(-first.extent // max(1, length)))
        self.units(outer, chunks)
        lo, hi = self.chunk(first, chunks, length)
        for loop in rest[:1]:
            self.turns(first, lo, hi)
            first, lo, hi = loop, "0", self.extent(loop)
        known: dict[Any, str] = {}
        self.hoisted(loops, loops[-1:], known, "h")
        self.turns(first, lo, hi, independent=True)
        self.point(self.part.nodes, loops, known, lambda y, x: None)
        self.close(2 + len(rest))

    # --- rows ---------------------------------------------------------------------------------------------------------

    def rows(self) -> None:
        """Rows contiguous in memory: a kept point after the other, in passes over the reduced dims."""
        part = self.part
        self.units(part.kept, 1)
        known: dict[Any, str] = {}
        for p in range(part.last + 1):
            full, single = self.full_and_single(p)
            for node in single:
                self.single_value(node, part.kept, known)
            if full:
                self.row_pass(full, known)
        self.close()

    def single_value(self, node: Node, loops: Sequence[Loop], known: dict[Any, str]) -> None:
        """Compute what has one value for a kept point."""
        y = node.results[0]
        texts = [self.operand(node, i, loops, known, known) for i in range(len(node.operands))]
        known[y] = f"g{self.part.cluster.nodes.index(node)}"
        text = rounded(expression(node, texts, self.table), y.dtype)
        self.line(f"const {register_type(y.dtype)} {known[y]} = {text};")
        if y in self.part.writes:
            self.line(f"{self.at(self.part.writes[y], loops)} = {stored(known[y], y.dtype)};")

    def bounds(self, loop: Loop) -> tuple[str, str]:
        """Bounds of a reduced loop: the longest is cut into the segments."""
        if self.split == 1 or loop is not max(self.part.reduced, key=lambda r: r.extent):
            return "0", self.extent(loop)
        n, extent = self.size("segment", -(-loop.extent // self.split)), self.extent(loop)
        self.line(f"const INDEX from = segment * {n} < {extent} ? segment * {n} : {extent};")
        self.line(f"const INDEX to = {extent} - from < {n} ? {extent} : from + {n};")
        return "from", "to"

    def row_pass(self, nodes: Sequence[Node], known: dict[Any, str]) -> None:
        """One pass over the reduced dims of one kept point."""
        part = self.part
        reductions = [n.results[0] for n in nodes if n.results[0] in part.reductions]
        for v in reductions:
            self.line(f"{kind_of(v)} t{part.reductions.index(v)} = {start_of(v)};")
        loops = [*part.kept, *part.reduced]
        if not part.reduced:
            self.open("")
            self.point(nodes, loops, dict(known), lambda v, x: self.line(accumulate(v, f"t{self.k(v)}", x)))
            self.close()
        else:
            for loop in part.reduced[:-1]:
                self.turns(loop, *self.bounds(loop))
            inner = part.reduced[-1]
            self.open("")
            lo, hi = self.bounds(inner)
            inside = dict(known)
            self.hoisted(loops, [inner], inside, "h")
            if reductions:
                self.blocks(nodes, reductions, inner, lo, hi, loops, inside)
            else:
                self.turns(inner, lo, hi, independent=True)
                self.point(nodes, loops, inside, lambda v, x: None)
                self.close()
            self.close(len(part.reduced))
        for v in reductions:
            t = f"t{self.k(v)}"
            if rounded(t, v.dtype) != t and v not in self.partials:
                self.line(f"{t} = {rounded(t, v.dtype)};")
            known[v] = t
            if v in part.writes:
                self.line(self.total(v, t, part.kept))

    def k(self, value: Value) -> int:
        """Number of a reduction."""
        return self.part.reductions.index(value)

    def blocks(
        self, nodes: Sequence[Node], reductions: Sequence[Value], inner: Loop, lo: str, hi: str, loops: Sequence[Loop],
        known: dict[Any, str],
    ) -> None:  # fmt: skip
        """The innermost loop of a row with reductions, in blocks."""
        i = inner.variable
        for v in reductions:
            self.line(f"{kind_of(v)} b{self.k(v)}[{BLOCK}];")
        self.open(f"for (INDEX from_{i} = {lo}; from_{i} < {hi}; from_{i} += {BLOCK})")
        self.line(f"const INDEX to_{i} = {hi} - from_{i} < {BLOCK} ? {hi} : from_{i} + {BLOCK};")
        self.line(f"const int count = (int)(to_{i} - from_{i}), whole = (count + 15) / 16 * 16;")
        self.turns(inner, f"from_{i}", f"to_{i}", independent=True)
        self.point(nodes, loops, known, lambda v, x: self.line(f"b{self.k(v)}[{i} - from_{i}] = {x};"))
        self.close()
        for v in reductions:
            self.line(f"for (int l = count; l < whole; l++) b{self.k(v)}[l] = {start_of(v)};")
            self.add_block(v)
        self.close()

    def add_block(self, v: Value) -> None:
        """Take a block that was put down into a total."""
        kind, k, name = kind_of(v), self.k(v), name_of(v)
        vector = VECTORS[kind]
        extremum = name not in SUMS
        nan = extremum and kind in ("float", "double")
        signed = {"float": "int", "double": "long"}.get(kind)
        self.open("")
        self.line(f"{vector}16 s = ({vector}16)({start_of(v)});")
        if nan:
            self.line(f"{signed}16 n = ({signed}16)(0);")
        self.open("for (int l = 0; l < whole; l += 16)")
        self.line(f"const {vector}16 e = vload16(0, b{k} + l);")
        if not extremum:
            self.line(f"s = s {SUMS[name][1]} e;")
        else:
            self.line(f"s = e {'>' if name == 'reduce_max' else '<'} s ? e : s;")
            if nan:
                self.line("n |= e != e;")
        self.close()
        for n in (8, 4, 2):
            self.line(f"const {vector}{n} s{n} = {self.halves(v, 's' if n == 8 else f's{2 * n}')};")
        self.line(f"{kind} e = {self.halves(v, 's2').replace('.lo', '.x').replace('.hi', '.y')};")
        if nan:
            self.line(f"if (any(n)) e = {'NAN' if kind == 'float' else '(double)NAN'};")
        self.line(accumulate(v, f"t{k}", "e"))
        self.close()

    def halves(self, v: Value, x: str) -> str:
        """Text of one half of a vector taken into the other."""
        name = name_of(v)
        if name in SUMS:
            return f"{x}.lo {SUMS[name][1]} {x}.hi"
        return f"{x}.lo {'>' if name == 'reduce_max' else '<'} {x}.hi ? {x}.lo : {x}.hi"

    # --- columns ------------------------------------------------------------------------------------------------------

    def columns(self) -> None:
        """Kept points contiguous in memory: some columns side by side, in passes over the reduced dims."""
        part = self.part
        loops = part.kept or [Loop((), 1)]
        loops[-1].variable = loops[-1].variable or "k0"
        outer, lanes = loops[:-1], loops[-1]
        points = self.split
        for loop in outer:
            points *= loop.extent
        wanted = max(1, min(-(-self.groups // max(1, points)), lanes.extent // 16)) if self.groups > 1 else 1
        length = max(1, min(COLUMNS, -(-(-(-lanes.extent // wanted)) // 16) * 16))
        chunks = max(1, -(-lanes.extent // length))
        self.units(outer, chunks)
        lo, hi = self.chunk(lanes, chunks, length)
        self.width = str(COLUMNS) if not self.w.literal else str(min(length, COLUMNS))
        self.lane = f"{lanes.variable} - {lo}" if lo != "0" else lanes.variable
        known: dict[Any, str] = {}
        for p in range(part.last + 1):
            full, single = self.full_and_single(p)
            if single:
                self.single_values(single, loops, lo, hi, known)
            if full:
                self.column_pass(full, loops, lo, hi, known)
        self.close()

    def single_values(
        self, nodes: Sequence[Node], loops: Sequence[Loop], lo: str, hi: str, known: dict[Any, str]
    ) -> None:
        """Compute what has one value for a kept point, for some columns."""
        index = {n.results[0]: self.part.cluster.nodes.index(n) for n in nodes}
        for y, k in index.items():
            self.line(f"{register_type(y.dtype)} g{k}[{self.width}];")
        self.turns(loops[-1], lo, hi, independent=True)
        inside = dict(known)
        for node in nodes:
            y = node.results[0]
            self.compute(node, loops, inside, inside)
            self.line(f"g{index[y]}[{self.lane}] = {inside[y]};")
        for y in index:
            if y in self.part.writes:
                self.line(f"{self.at(self.part.writes[y], loops)} = {stored(inside[y], y.dtype)};")
        self.close()
        for y, k in index.items():
            known[y] = f"g{k}[{self.lane}]"

    def column_pass(self, nodes: Sequence[Node], kept: Sequence[Loop], lo: str, hi: str, known: dict[Any, str]) -> None:
        """One pass over the reduced dims of some columns."""
        part = self.part
        lanes = kept[-1]
        reductions = [n.results[0] for n in nodes if n.results[0] in part.reductions]
        for v in reductions:
            k = self.k(v)
            self.line(f"{kind_of(v)} s{k}[{self.width}], t{k}[{self.width}];")
            self.line(f"for (INDEX i = 0; i < {hi} - {lo}; i++) t{k}[i] = {start_of(v)};")
        loops = [*kept, *part.reduced]
        for loop in part.reduced[:-1]:
            self.turns(loop, *self.bounds(loop))
        depth = len(part.reduced[:-1])
        if part.reduced:
            inner = part.reduced[-1]
            i = inner.variable
            self.open("")
            first, last = self.bounds(inner)
            self.open(f"for (INDEX from_{i} = {first}; from_{i} < {last}; from_{i} += {TURNS})")
            self.line(f"const INDEX to_{i} = {last} - from_{i} < {TURNS} ? {last} : from_{i} + {TURNS};")
            depth += 2
        for v in reductions:
            self.line(f"for (INDEX i = 0; i < {hi} - {lo}; i++) s{self.k(v)}[i] = {start_of(v)};")
        if part.reduced:
            self.turns(inner, f"from_{i}", f"to_{i}")
        inside = dict(known)
        self.hoisted(loops, [lanes], inside, "h")
        self.turns(lanes, lo, hi, independent=True)
        self.point(nodes, loops, inside, lambda v, x: self.line(accumulate(v, f"s{self.k(v)}[{self.lane}]", x)))
        self.close(2 if part.reduced else 1)
        for v in reductions:
            k = self.k(v)
            self.open(f"for (INDEX i = 0; i < {hi} - {lo}; i++)")
            self.line(accumulate(v, f"t{k}[i]", f"s{k}[i]"))
            self.close()
        self.close(depth)
        for v in reductions:
            t = f"t{self.k(v)}[{self.lane}]"
            if v in part.writes or rounded(t, v.dtype) != t:
                self.turns(lanes, lo, hi, independent=True)
                if rounded(t, v.dtype) != t and v not in self.partials:
                    self.line(f"{t} = {rounded(t, v.dtype)};")
                if v in part.writes:
                    self.line(self.total(v, t, kept))
                self.close()
            known[v] = t


__all__ = ["Loops", "loaded", "origin"]
