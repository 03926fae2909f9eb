"""Nests for GPUs: items side by side.

Elementwise: an item computes an element, then the one a grid further. Reductions: the items of a group are *columns*,
kept points, times *lanes*, which share the reduced dims of a point; each lane adds up its terms in blocks, and a tree
in local memory adds up the lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import Node, Value
from ..scalar import expression, register_type, rounded, stored
from .nest_part import Loop
from .nest_print import Printer
from .nest_reduce import accumulate, kind_of, start_of

TURNS = 64  # terms that are added up before their sums are
MOST = 1 << 16  # groups


class Items(Printer):
    """The printer for GPUs."""

    def body(self, units: int) -> int:
        """Print the kernel; returns the number of groups in the first direction."""
        if not self.part.reductions:
            return self.map()
        return self.reduce()

    def decode(self, loops: Sequence[Loop], flat: str, tag: str) -> None:
        """The loops' variables at a flat index."""
        rest = flat
        for i in range(len(loops) - 1, -1, -1):
            loop = loops[i]
            if i == 0:
                self.line(f"const INDEX {loop.variable} = {rest};")
            else:
                self.line(f"const INDEX {loop.variable} = {rest} % {self.extent(loop)};")
                self.line(f"const INDEX {tag}{i} = {rest} / {self.extent(loop)};")
                rest = f"{tag}{i}"

    def map(self) -> int:
        """Elementwise operations alone."""
        part, items = self.part, self.w.target.items
        total = self.size("points", part.points)
        self.open(f"for (INDEX p = (INDEX)GROUP(0) * {items} + ITEM(0); p < {total}; p += (INDEX)GROUPS(0) * {items})")
        self.decode(part.kept, "p", "rest")
        self.point(part.nodes, part.kept, {}, lambda y, x: None)
        self.close()
        return min(MOST, -(-part.points // items))

    def reduce(self) -> int:
        """Reductions."""
        part, items = self.part, self.w.target.items
        terms = -(-part.terms // self.split)
        if part.by_rows:
            self.lanes = 1 if terms <= 8 else min(32, items) if terms <= 256 else items
        else:
            self.lanes = 1 if terms <= 64 else max(1, items // 32)
        columns = items // self.lanes
        if self.lanes > 1:
            for v in part.reductions:
                self.line(f"LOCAL {kind_of(v)} l{self.k(v)}[{items}];")
        if part.by_rows:
            self.line(f"const int lane = ITEM(0) % {self.lanes}, column = ITEM(0) / {self.lanes};")
        else:
            self.line(f"const int column = ITEM(0) % {columns}, lane = ITEM(0) / {columns};")
        total = self.size("points", part.points)
        if self.split > 1:
            n, all_ = self.size("segment", terms), self.size("terms", part.terms)
            self.line("const INDEX segment = GROUP(1);")
            self.line(f"const INDEX from = segment * {n} < {all_} ? segment * {n} : {all_};")
            self.line(f"const INDEX to = {all_} - from < {n} ? {all_} : from + {n};")
            self.first, self.end = "from + lane", "to"
        else:
            self.first, self.end = "lane", self.size("terms", part.terms)
        self.open(f"for (INDEX p0 = (INDEX)GROUP(0) * {columns}; p0 < {total}; p0 += (INDEX)GROUPS(0) * {columns})")
        self.line("const INDEX p = p0 + column;")
        self.line(f"const int inside = p < {total};")
        self.decode(part.kept, "p", "rest")
        known: dict[Any, str] = {}
        for p in range(part.last + 1):
            full, single = self.full_and_single(p)
            for node in single:
                self.single_value(node, known)
            if full:
                self.one_pass(full, known)
        self.close()
        return min(MOST, -(-part.points // columns))

    def k(self, value: Value) -> int:
        """Number of a reduction."""
        return self.part.reductions.index(value)

    def single_value(self, node: Node, known: dict[Any, str]) -> None:
        """Compute what has one value for a kept point, in all lanes."""
        y, part = node.results[0], self.part
        known[y] = f"g{part.cluster.nodes.index(node)}"
        self.line(f"{register_type(y.dtype)} {known[y]} = 0;")
        self.open("if (inside)")
        inner = {v: t for v, t in known.items() if v is not y}
        texts = [self.operand(node, i, part.kept, inner, inner) for i in range(len(node.operands))]
        self.line(f"{known[y]} = {rounded(expression(node, texts, self.table), y.dtype)};")
        if y in part.writes:
            self.line(f"if (lane == 0) {self.at(part.writes[y], part.kept)} = {stored(known[y], y.dtype)};")
        self.close()

    def one_pass(self, nodes: Sequence[Node], known: dict[Any, str]) -> None:
        """One pass over the reduced dims."""
        part = self.part
        reductions = [n.results[0] for n in nodes if n.results[0] in part.reductions]
        loops = [*part.kept, *part.reduced]
        for v in reductions:
            self.line(f"{kind_of(v)} t{self.k(v)} = {start_of(v)};")
        self.open("if (inside)")
        inside = dict(known)
        if part.reduced:
            self.hoisted(loops, part.reduced, inside, f"h{part.passes[nodes[0].results[0]]}_")
        step = f"r += {self.lanes}"
        if reductions:
            self.open(f"for (INDEX from_r = {self.first}; from_r < {self.end}; from_r += {TURNS * self.lanes})")
            for v in reductions:
                self.line(f"{kind_of(v)} s{self.k(v)} = {start_of(v)};")
            block = TURNS * self.lanes
            self.line(f"const INDEX to_r = {self.end} - from_r < {block} ? {self.end} : from_r + {block};")
            self.open(f"for (INDEX r = from_r; r < to_r; {step})")
        else:
            self.open(f"for (INDEX r = {self.first}; r < {self.end}; {step})")
        self.decode(part.reduced, "r", "rest_r")
        self.point(nodes, loops, inside, lambda v, x: self.line(accumulate(v, f"s{self.k(v)}", x)))
        self.close()
        if reductions:
            for v in reductions:
                self.line(accumulate(v, f"t{self.k(v)}", f"s{self.k(v)}"))
            self.close()
        self.close()
        if reductions and self.lanes > 1:
            self.tree(reductions)
        for v in reductions:
            t = f"t{self.k(v)}"
            if rounded(t, v.dtype) != t and v not in self.partials:
                self.line(f"{t} = {rounded(t, v.dtype)};")
            if v in part.writes:
                self.line(f"if (inside && lane == 0) {self.total(v, t, part.kept)}")
            known[v] = t

    def tree(self, reductions: Sequence[Value]) -> None:
        """Add up the lanes of each column; all get the total."""
        items = self.w.target.items
        step = 1 if self.part.by_rows else items // self.lanes  # between a column's lanes
        for v in reductions:
            self.line(f"l{self.k(v)}[ITEM(0)] = t{self.k(v)};")
        self.line("BARRIER;")
        self.open(f"for (int span = {self.lanes // 2}; span > 0; span /= 2)")
        self.open("if (lane < span)")
        for v in reductions:
            k = self.k(v)
            self.line(f"const {kind_of(v)} e{k} = l{k}[ITEM(0) + span * {step}];")
            self.line(accumulate(v, f"l{k}[ITEM(0)]", f"e{k}"))
        self.close()
        self.line("BARRIER;")
        self.close()
        start = f"column * {self.lanes}" if self.part.by_rows else "column"
        for v in reductions:
            self.line(f"t{self.k(v)} = l{self.k(v)}[{start}];")
        self.line("BARRIER;")
