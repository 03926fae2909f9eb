"""Nests for CPUs: a group is one item that loops over its part of the kept points.

Inner loops run along contiguous memory and have independent turns, which the compiler turns into vector instructions.
Reductions along rows put down what they add up, a block at a time, and add the block to 32 sums side by side; those
over columns have a sum for each column. Both add up blocks, then the blocks' sums, so that long sums keep their digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import Node, Value
from ..scalar import HALF, arithmetic, expression, literal, register_type, rounded, stored
from .nest_part import Loop
from .nest_print import Printer
from .nest_reduce import SUMS, VECTORS, accumulate, kind_of, name_of, start_of

LANES = 32  # sums side by side, in two vectors
BLOCK = 1024  # elements of a row that are put down before they are added up
KEPT = 1 << 17  # bytes of a row's values that are kept from pass to pass
COLUMNS = 512  # columns that are reduced side by side
TURNS = 64  # rows that are added up before their sums are
SHORT = 32  # a row of fewer is no vector loop
TINY = 8  # a loop of so few turns is written out
SMALL = 1 << 15  # operations that are not worth a second thread


class Loops(Printer):
    """The printer for CPUs."""

    def body(self, units: int) -> int:
        """Print the kernel; returns the number of groups."""
        part = self.part
        widest = max(arithmetic(v.dtype).itemsize for n in part.nodes for v in (*n.values, *n.results))
        self.width = max(1, 4 * self.w.target.vector // widest)
        self.work = part.points * max(1, part.terms) * len(part.nodes)
        self.groups = 1 if self.work < SMALL else min(2 * units, self.work * 4 // SMALL)
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
            # Turns touch elements of their own, even where an output lies in an input's memory. A register full is
            # twice as fast as the half that the compiler takes by itself where registers are 64 bytes long.
            self.line(f"#pragma clang loop vectorize(assume_safety) vectorize_width({self.width})")
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
        known: dict[Any, str] = {}
        if not rest:
            self.hoisted(loops, [first], known, "h")
            self.turns(first, lo, hi, independent=True)
        elif self.w.literal and rest[0].extent <= TINY:  # vectors run across it
            self.hoisted(loops, [first, *rest], known, "h")
            self.turns(first, lo, hi, independent=True)
            self.line("#pragma unroll")
            self.turns(rest[0], "0", self.extent(rest[0]))
        else:
            self.turns(first, lo, hi)
            self.hoisted(loops, rest, known, "h")
            self.turns(rest[0], "0", self.extent(rest[0]), independent=True)
        self.point(self.part.nodes, loops, known, lambda y, x: None)
        self.close(2 + len(rest))

    # --- rows ---------------------------------------------------------------------------------------------------------

    def rows(self) -> None:
        """Rows contiguous in memory: a kept point after the other, in passes over the reduced dims."""
        part = self.part
        if self.w.literal and part.last > 0:
            room = KEPT
            for y in part.dear():
                room -= part.terms * arithmetic(y.dtype).itemsize
                if room >= 0:
                    self.keep[y] = f"keep{len(self.keep)}"
                    self.line(f"{register_type(y.dtype)} {self.keep[y]}[{part.terms}];")
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
        direct = {v: text for v in reductions if (text := self.direct(v, inner, loops)) is not None}
        for v in reductions:
            self.line(f"{kind_of(v)} b{self.k(v)}[{LANES if v in direct else BLOCK}];")
        self.open(f"for (INDEX from_{i} = {lo}; from_{i} < {hi}; from_{i} += {BLOCK})")
        self.line(f"const INDEX to_{i} = {hi} - from_{i} < {BLOCK} ? {hi} : from_{i} + {BLOCK};")
        self.line(f"const int count = (int)(to_{i} - from_{i});")
        if len(nodes) > len(direct):
            self.turns(inner, f"from_{i}", f"to_{i}", independent=True)
            put = [n for n in nodes if n.results[0] not in direct]
            self.point(put, loops, known, lambda v, x: self.line(f"b{self.k(v)}[{i} - from_{i}] = {x};"))
            self.close()
        for v in reductions:
            self.open("")
            if v in direct:
                self.line(f"const int whole = count / {LANES} * {LANES};")
                self.line(f"const INDEX {i} = from_{i};")
                self.line(f"GLOBAL const {kind_of(v)} *e = &{direct[v]};")
            else:
                self.line(f"const int whole = (count + {LANES - 1}) / {LANES} * {LANES};")
                self.line(f"for (int l = count; l < whole; l++) b{self.k(v)}[l] = {start_of(v)};")
                self.line(f"const {kind_of(v)} *e = b{self.k(v)};")
            self.add_block(v, v in direct)
            self.close()
        self.close()

    def direct(self, v: Value, inner: Loop, loops: Sequence[Loop]) -> str | None:
        """Text of a reduction's operand if it is contiguous in memory as it is, so that it need not be put down."""
        assert v.node is not None
        access = self.part.reads.get((v.node, 0))
        if access is None or inner.step(access) != 1 or access.dtype.name in HALF:
            return None
        return self.at(access, loops)

    def add_block(self, v: Value, tail: bool) -> None:
        """Take a block, ``whole`` elements at e, into a total; with a tail, also what is left of ``count``."""
        kind, k, name = kind_of(v), self.k(v), name_of(v)
        vector = f"{VECTORS[kind]}16"
        self.line(f"{vector} s = ({vector})({start_of(v)}), z = s;")
        nan = name not in SUMS and kind in ("float", "double")
        if nan:
            self.line(f"{'int' if kind == 'float' else 'long'}16 n = 0;")

        def take() -> None:
            self.line(f"const {vector} c = vload16(0, e + l), d = vload16(0, e + l + 16);")
            if name in SUMS:
                self.line(f"s = s {SUMS[name][1]} c; z = z {SUMS[name][1]} d;")
            else:
                sign = ">" if name == "reduce_max" else "<"
                self.line(f"s = c {sign} s ? c : s; z = d {sign} z ? d : z;")
            if nan:
                self.line("n |= (c != c) | (d != d);")

        self.open(f"for (int l = 0; l < whole; l += {LANES})")
        take()
        self.close()
        if tail:
            self.open("if (whole < count)")
            self.line(f"for (int l = 0; l < {LANES}; l++) b{k}[l] = whole + l < count ? e[whole + l] : {start_of(v)};")
            self.open("")
            self.line(f"const {kind} *e = b{k};")
            self.line("const int l = 0;")
            take()
            self.close(2)
        self.line(f"s = {self.joined(v, 's', 'z')};")
        for n in (8, 4, 2):
            x = "s" if n == 8 else f"s{2 * n}"
            self.line(f"const {VECTORS[kind]}{n} s{n} = {self.joined(v, f'{x}.lo', f'{x}.hi')};")
        self.line(f"{kind} all = {self.joined(v, 's2.x', 's2.y')};")
        if nan:
            self.line(f"if (any(n)) all = {literal(float('nan'), arithmetic(v.dtype))};")
        self.line(accumulate(v, f"t{k}", "all"))

    def joined(self, v: Value, x: str, y: str) -> str:
        """Text of two numbers, or vectors, as one."""
        name = name_of(v)
        if name in SUMS:
            return f"{x} {SUMS[name][1]} {y}"
        return f"{x} {'>' if name == 'reduce_max' else '<'} {y} ? {x} : {y}"

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
        length = max(1, min(COLUMNS, (lanes.extent // wanted + 16) // 16 * 16))
        chunks = max(1, -(-lanes.extent // length))
        self.units(outer, chunks)
        lo, hi = self.chunk(lanes, chunks, length)
        self.most = str(COLUMNS) if not self.w.literal else str(min(length, COLUMNS))
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
            self.line(f"{register_type(y.dtype)} g{k}[{self.most}];")
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
            self.line(f"{kind_of(v)} s{k}[{self.most}], t{k}[{self.most}];")
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
