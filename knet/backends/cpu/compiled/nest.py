"""C kernels of clusters: one loop nest for elementwise operations and the reductions among them.

The dims of a cluster become loops in the order of memory; neighbouring loops that every array runs through evenly are
one. The outermost loop is the unit of work. With reductions whose results are used again (``cluster.inner``) each grid
point is computed in passes over the inner loops: a value of an earlier pass that is needed again is read back if it was
written, computed again if that is cheap, or kept in scratch. Reductions across units add up in a part of scratch for
each thread, and a second phase adds the parts in the order of the threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....compiler.fuse import Cluster, origin
from ....compiler.graph import Node, Value
from ....compiler.layout import Ref
from ....compiler.scalar import CHEAP, arithmetic, c_type, expression, loaded, number, register_type, rounded, stored
from ....core.aval import size_of
from . import scalar
from .kernel import Kernel, Phase
from .nest_order import Access, Loop, Order
from .nest_reduce import SUMS, accumulate, accumulator_type, clause, nan, start_of, tracks_nan

_ROW = 4096  # elements that a loop may put down on the stack for each reduction


class Nest(Order):
    """The printer of one cluster; :func:`nest` makes the kernel."""

    # --- printing -----------------------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Append a line of C."""
        self.lines.append("    " * self.depth + text)

    def open(self, loop: Loop, start: str = "0", stop: str = "", simd: str | None = None) -> None:
        """Begin a loop; ``simd`` holds clauses if its turns are independent."""
        if simd is not None:
            self.line(f"#pragma omp simd{simd}")
        i = loop.variable
        self.line(f"for (long {i} = {start}; {i} < {stop or loop.extent}; {i}++) {{")
        self.depth += 1

    def close(self) -> None:
        """End a loop."""
        self.depth -= 1
        self.line("}")

    def at(self, access: Access, loops: Sequence[Loop]) -> str:
        """C text of the element at the loops' variables."""
        terms = []
        for loop in loops:
            step = loop.step(access)
            if step:
                terms.append(loop.variable if step == 1 else f"{loop.variable} * {step}")
        return f"{access.pointer}[{' + '.join(terms) or '0'}]"

    def kernel(self) -> Kernel:
        """The kernel."""
        self.body()
        arguments = [f"const {c_type(self.refs[v].dtype)} *a{i}" for i, v in enumerate(self.inputs)]
        arguments += [f"{a.type} *y{i}" for i, a in enumerate(self.writes.values())]
        signature = ", ".join(
            [*arguments, "char *shared", "char *own", "long lo", "long hi", "int thread", "int threads"]
        )
        count = len(self.inputs)
        everything = tuple(range(count))
        rows = tuple(i for i, v in enumerate(self.inputs) if self._by_rows(v))
        main_writes = tuple(count + i for i, v in enumerate(self.outputs) if v not in self.partials)
        rows += tuple(
            count + i for i, v in enumerate(self.outputs) if v not in self.partials and self._slab(self.writes[v])
        )
        source = f"static void {self.name}({signature}) {{\n" + "\n".join(self.lines) + "\n}\n"
        main = Phase(self.name, self.units, everything, main_writes, rows, private=bool(self.across))
        phases = [main]
        shared = 0
        if self.across:
            clear, combine, shared = self.partial_phases(signature)
            source = clear + source + combine
            outs = tuple(count + i for i, v in enumerate(self.outputs) if v in self.partials)
            phases = [
                Phase(f"{self.name}_clear", self.threads, (), divisible=False, private=True),
                main,
                Phase(f"{self.name}_add", 1, (), outs, divisible=False),
            ]
        return Kernel(source, tuple(phases), shared=shared, own=self.own_bytes, same=self.same())

    def partial_phases(self, signature: str) -> tuple[str, str, int]:
        """Phases before and after: each thread clears its part, then one adds the parts; bytes of all parts."""
        clear, combine = [], []
        for v in self.across:
            offset, n = self.part_offsets[v], max(1, v.size)
            i = list(self.outputs).index(v)
            kind = accumulator_type(v)
            start = start_of(v)
            clear.append(
                f"    {kind} *p{i} = ({kind} *)(shared + {offset} + lo * {self.part_stride});\n"
                f"    for (long i = 0; i < {n}; i++) p{i}[i] = {start};"
            )
            out = self.outputs[v]
            assert out.dense
            combine.append(
                f"    {kind} *p{i} = ({kind} *)(shared + {offset});\n"
                f"    for (long i = 0; i < {n}; i++) {{\n"
                f"        {kind} s = p{i}[i];\n"
                f"        for (int t = 1; t < threads; t++) {{ {kind} v = p{i}[i + t * ({self.part_stride} / "
                f"(long)sizeof({kind}))]; {accumulate(v, 's', 'v')} }}\n"
                f"        y{i}[i] = {stored('s', v.dtype)};\n    }}"
            )
        return (
            f"static void {self.name}_clear({signature}) {{\n" + "\n".join(clear) + "\n}\n",
            f"static void {self.name}_add({signature}) {{\n" + "\n".join(combine) + "\n}\n",
            self.part_stride * self.threads,
        )

    # --- the body -----------------------------------------------------------------------------------------------------

    def body(self) -> None:
        """Print the main phase."""
        self.plan()
        self.part_offsets, self.part_stride = {}, 0
        for v in self.across:
            self.part_offsets[v] = self.part_stride
            self.part_stride += -(-max(1, v.size) * arithmetic(v.dtype).itemsize // 64) * 64
        for v in self.across:
            kind = accumulator_type(v)
            access = self.partials[v]
            self.line(
                f"{kind} *{access.pointer} = ({kind} *)(shared + {self.part_offsets[v]} + thread * {self.part_stride});"
            )
        if self.cluster.inner is None:
            self.flat()
        else:
            self.in_passes()

    def plan(self) -> None:
        """The pass in which each full value is computed, and what is kept in scratch between passes."""
        self.own_bytes = 0
        self.stash: dict[Value, _Stash] = {}
        self.pass_of: dict[Value, int] = {}
        if self.cluster.inner is None:
            return
        cluster = self.cluster
        for node in cluster.nodes:
            at = 0
            for x in node.values:
                s = origin(x)
                if s in cluster.reduced:
                    at = max(at, self.pass_of[s] + 1)
                elif s in self.pass_of:
                    at = max(at, self.pass_of[s])
            self.pass_of[node.results[0]] = at
        inner_size = size_of([loop.extent for loop in self.inner])
        uses: dict[Value, set[int]] = {}
        self.final = max(self.pass_of.values())
        for node in cluster.nodes:
            y = node.results[0]
            if self.is_grid(y) and y not in cluster.reduced:
                continue
            for x in node.values:
                s = origin(x)
                if s in cluster.axes and not self.is_grid(s):
                    uses.setdefault(s, set()).add(self.pass_of[y])
        for node in cluster.nodes:
            y = node.results[0]
            later = {p for p in uses.get(y, ()) if p > self.pass_of[y]}
            if later and y not in self.writes and not self.cheap(y):
                self.stash[y] = _Stash(f"keep{len(self.stash)}", self.own_bytes)
                self.own_bytes += -(-inner_size * arithmetic(y.dtype).itemsize // 64) * 64

    def cheap(self, value: Value) -> bool:
        """Whether computing a full value again costs less than keeping it."""
        node = value.node
        assert node is not None
        if node.op.name not in CHEAP:
            return False
        sources = [origin(x) for x in node.values]
        return all(
            s not in self.cluster.axes or self.is_grid(s) or s in self.writes or s in self.stash or self.cheap(s)
            for s in sources
        )

    def is_grid(self, value: Value) -> bool:
        """Whether a member has one value a grid point."""
        return not (self.cluster.dims_of(value) & (self.cluster.inner or frozenset()))

    def unit_loop(self) -> None:
        """The loop over this call's units."""
        scale = f" * {self.lead}" if self.lead != 1 else ""
        self.open(self.unit, f"lo{scale}", f"hi{scale}")

    def flat(self) -> None:
        """A nest without passes: all dims are loops around one body."""
        loops = self.grid
        if len(loops) == 1:
            self.innermost(loops, loops[0], unit=True)
            return
        self.unit_loop()
        for loop in loops[1:-1]:
            self.open(loop)
        self.innermost(loops, loops[-1], unit=False)
        for _ in loops[:-1]:
            self.close()

    def innermost(self, loops: list[Loop], loop: Loop, unit: bool) -> None:
        """The innermost loop of a flat nest, and what is the same for all its turns before it."""
        known: dict[Any, str] = {}
        self.hoisted(loops[:-1] if not unit else [], loop, known)
        local = [v for v in self.across if not loop.step(self.partials[v])]
        scale = f" * {self.lead}" if self.lead != 1 else ""
        self.along(self.cluster.nodes, loops, known, local, (f"lo{scale}", f"hi{scale}") if unit else None)
        for v in local:
            part = self.at(self.partials[v], loops[:-1])
            self.line(self.fold(v, part, f"s{self.number(v)}"))

    def along(
        self,
        nodes: Sequence[Node],
        loops: Sequence[Loop],
        known: dict[Any, str],
        local: Sequence[Value],
        bounds: tuple[str, str] | None = None,
    ) -> None:
        """The innermost loop; ``local`` are the reductions along it.

        A loop that calls functions and adds up as well is no vector loop with GCC 12, and 30 times slower. There, what
        is to be reduced is put down, and a second loop adds it up.
        """
        loop, clauses = loops[-1], ""
        apart = bounds is None and loop.extent <= _ROW and any(n.op.name not in CHEAP for n in nodes)
        for v in local:
            if apart:
                self.line(f"{accumulator_type(v)} r{self.number(v)}[{loop.extent}];")
            self.accumulator(v)
            clauses += clause(v, f"s{self.number(v)}")
        start, stop = bounds or ("0", "")
        self.open(loop, start, stop, "" if apart else clauses)
        self.apart = set(local) if apart else set()
        self.statements(nodes, loops, known)
        self.close()
        self.apart = set()
        if apart and local:
            self.open(loop, simd=clauses)
            for v in local:
                self.add_to(v, f"r{self.number(v)}[{loop.variable}]")
            self.close()

    def hoisted(self, outer: Sequence[Loop], loop: Loop, known: dict[Any, str]) -> None:
        """Read what does not change along the innermost loop."""
        seen: dict[str, str] = {}
        for (node, i), access in self.reads.items():
            if loop.step(access):
                continue
            text = self.at(access, outer)
            if text not in seen:
                seen[text] = f"h{len(seen)}"
                self.line(f"const {register_type(access.dtype)} {seen[text]} = {loaded(text, access.dtype)};")
            known[node, i] = seen[text]

    def number(self, value: Value) -> int:
        """Number of a reduction's accumulator."""
        return list(self.cluster.reduced).index(value)

    def accumulator(self, value: Value) -> None:
        """Declare the local accumulator of a reduction."""
        k = self.number(value)
        self.line(f"{accumulator_type(value)} s{k} = {start_of(value)};")
        if tracks_nan(value):
            self.line(f"int n{k} = 0;")

    def fold(self, value: Value, target: str, total: str) -> str:
        """Statement that adds a local accumulator to a partial result."""
        k = self.number(value)
        corrected = f" if (n{k}) s{k} = {nan(value)};" if tracks_nan(value) else ""
        return f"{{{corrected} {accumulator_type(value)} v = {total}; {accumulate(value, target, 'v')} }}"

    def statements(self, nodes: Sequence[Node], loops: Sequence[Loop], known: dict[Any, str]) -> None:
        """Compute nodes at one point; write outputs, add to reductions."""
        names: dict[Value, str] = {}
        for node in nodes:
            y = node.results[0]
            if y in self.cluster.reduced:
                x = self.operand(node, 0, loops, names, known)
                if y in self.partials and self.partials[y] and loops[-1].step(self.partials[y]):
                    part = self.at(self.partials[y], loops)
                    self.line(f"{{ const {accumulator_type(y)} v = {x}; {accumulate(y, part, 'v')} }}")
                elif y in self.apart:
                    self.line(f"r{self.number(y)}[{loops[-1].variable}] = {x};")
                else:
                    self.add_to(y, x)
                continue
            self.compute(node, loops, names, known)
        for text in self.late:
            self.line(text)
        self.late.clear()

    def add_to(self, value: Value, x: str) -> None:
        """Statement of a reduction's turn with a local accumulator."""
        k = self.number(value)
        name = value.node.op.name  # type: ignore[union-attr]
        if name in SUMS:
            self.line(f"s{k} {SUMS[name][1]}= {x};")
            return
        sign = ">" if name == "reduce_max" else "<"
        self.line(f"s{k} = {x} {sign} s{k} ? {x} : s{k};")
        if tracks_nan(value):
            self.line(f"n{k} |= {x} != {x};")

    def compute(self, node: Node, loops: Sequence[Loop], names: dict[Value, str], known: dict[Any, str]) -> None:
        """Declare a variable with a node's value. Outputs, and what is kept, are written at the end of the turn: that
        may be where an input is read (``same``).
        """
        y = node.results[0]
        texts = [self.operand(node, i, loops, names, known) for i in range(len(node.operands))]
        names[y] = f"v{self.cluster.nodes.index(node)}"
        text = rounded(expression(node, texts, scalar.expression), y.dtype)
        self.line(f"const {register_type(y.dtype)} {names[y]} = {text};")
        if y in self.writes:
            self.late.append(f"{self.at(self.writes[y], loops)} = {stored(names[y], y.dtype)};")
        if y in self.stash:
            self.late.append(f"{self.kept(y)} = {names[y]};")

    def operand(self, node: Node, i: int, loops: Sequence[Loop], names: dict[Value, str], known: dict[Any, str]) -> str:
        """C text of an operand at the current point."""
        x = node.operands[i]
        if type(x) is not Value:
            return number(node, i)
        if (node, i) in known:
            return known[node, i]
        if (node, i) in self.reads:
            return loaded(self.at(self.reads[node, i], loops), x.dtype)
        value = origin(x)
        if value in names:
            return names[value]
        if value in known:
            return known[value]
        # Of an earlier pass: written, kept, or computed again.
        if value in self.writes:
            return loaded(self.at(self.writes[value], loops), value.dtype)
        if value in self.stash:
            return self.kept(value)
        assert value.node is not None
        self.compute(value.node, loops, names, known)
        return names[value]

    def kept(self, value: Value) -> str:
        """C text of a value in scratch."""
        terms, step = [], 1
        for loop in reversed(self.inner):
            terms.append(loop.variable if step == 1 else f"{loop.variable} * {step}")
            step *= loop.extent
        return f"{self.stash[value].pointer}[{' + '.join(reversed(terms))}]"

    # --- passes -------------------------------------------------------------------------------------------------------

    def in_passes(self) -> None:
        """A grid point after the other, each in passes over the inner loops."""
        for v, kept in self.stash.items():
            kind = accumulator_type(v)
            self.line(f"{kind} *{kept.pointer} = ({kind} *)(own + {kept.offset});")
        self.unit_loop()
        for loop in self.grid[1:]:
            self.open(loop)
        known: dict[Any, str] = {}
        for p in range(self.final + 1):
            nodes = [n for n in self.cluster.nodes if self.pass_of[n.results[0]] == p]
            scalars = [n for n in nodes if self.is_grid(n.results[0]) and n.results[0] not in self.cluster.reduced]
            for node in scalars:
                self.grid_value(node, known)
            full = [n for n in nodes if n not in scalars]
            if full:
                self.one_pass(full, known)
        for _ in self.grid:
            self.close()

    def grid_value(self, node: Node, known: dict[Any, str]) -> None:
        """Compute what has one value a grid point."""
        y = node.results[0]
        texts = [self.operand(node, i, self.grid, {}, known) for i in range(len(node.operands))]
        known[y] = f"g{self.cluster.nodes.index(node)}"
        text = rounded(expression(node, texts, scalar.expression), y.dtype)
        self.line(f"const {register_type(y.dtype)} {known[y]} = {text};")
        if y in self.writes:
            self.line(f"{self.at(self.writes[y], self.grid)} = {stored(known[y], y.dtype)};")

    def one_pass(self, nodes: Sequence[Node], known: dict[Any, str]) -> None:
        """The inner loops once, for the full values and reductions of one pass."""
        reductions = [n.results[0] for n in nodes if n.results[0] in self.cluster.reduced]
        local = [v for v in reductions if v not in self.partials or not self.inner[-1].step(self.partials[v])]
        own = [v for v in local if v not in self.partials]
        for v in own:
            self.line(f"{accumulator_type(v)} t{self.number(v)} = {start_of(v)};")
        for loop in self.inner[:-1]:
            self.open(loop)
        loops = [*self.grid, *self.inner]
        inside = dict(known)
        self.line("{")
        self.depth += 1
        self.hoisted(loops[:-1], self.inner[-1], inside)
        self.along(nodes, loops, inside, local)
        for v in local:
            target = f"t{self.number(v)}" if v in own else self.at(self.partials[v], loops[:-1])
            self.line(self.fold(v, target, f"s{self.number(v)}"))
        self.depth -= 1
        self.line("}")
        for _ in self.inner[:-1]:
            self.close()
        for v in own:
            known[v] = f"t{self.number(v)}"
            if rounded(known[v], v.dtype) != known[v]:
                self.line(f"{known[v]} = {rounded(known[v], v.dtype)};")
            if v in self.writes:
                self.line(f"{self.at(self.writes[v], self.grid)} = {stored(known[v], v.dtype)};")


class _Stash:
    """Scratch for one full value over the inner loops."""

    def __init__(self, pointer: str, offset: int) -> None:
        self.pointer = pointer
        self.offset = offset


def nest(name: str, cluster: Cluster, inputs: dict[Value, Ref], outputs: dict[Value, Ref], threads: int) -> Kernel:
    """The kernel of a cluster.

    Args:
      name: of its C functions.
      inputs: where the values lie that it reads; operands of its members, views among them.
      outputs: where the members lie that it writes, densely for reductions.
      threads: size of the team.

    Operands: the inputs in their order, then the outputs.
    """
    return Nest(name, cluster, inputs, outputs, threads).kernel()
