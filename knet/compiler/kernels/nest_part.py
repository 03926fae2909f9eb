"""Parts of a cluster: what one kernel computes of it, and the loops in the order of memory.

A cluster with reductions over different dims is cut into parts, one for each set of dims that is reduced. A part runs
over the *kept* dims, and for each of their points over the *reduced* dims, in one pass or several. What an earlier part
wrote is read; what lies nowhere is computed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..fuse import Cluster, origin
from ..graph import Node, Value
from ..layout import Ref
from ..plan.strides import Access, Loop
from ..scalar import CHEAP


class Part:
    """What one kernel computes.

    Attributes:
      nodes: in order of computation.
      writes: where the values lie that it writes.
      reads: operands that lie in memory, by (node, number of the operand).
      reductions: results of its reductions.
      kept, reduced: loops in the order of memory, outermost first.
      passes: the pass over the reduced dims in which each value is computed.
    """

    def __init__(
        self,
        cluster: Cluster,
        targets: dict[Value, Ref],
        reduced: frozenset[int],
        inputs: dict[Value, Ref],
        memory: dict[Value, Ref],
    ) -> None:
        self.cluster = cluster
        self.writes = {v: Access(ref, cluster.axes[v]) for v, ref in targets.items()}
        self.nodes = needed(cluster, targets, memory)
        members = {node.results[0] for node in self.nodes}
        self.reads: dict[tuple[Node, int], Access] = {}
        for node in self.nodes:
            for i, x in enumerate(node.operands):
                if type(x) is not Value or origin(x) in members:
                    continue
                source = origin(x)
                if source in memory and source in cluster.axes:
                    self.reads[node, i] = Access(memory[source], cluster.axes[source])
                else:
                    self.reads[node, i] = Access(inputs[x], cluster.accesses[node, i])
        self.reductions = [v for v in cluster.reduced if v in members]
        self._order(reduced)
        self._passes()

    def _order(self, reduced: frozenset[int]) -> None:
        sizes = self.cluster.sizes
        accesses = [*self.reads.values(), *self.writes.values()]
        template = max(accesses, key=lambda a: len(a.strides)).strides
        used = {d for a in accesses for d in a.strides} | {
            d for node in self.nodes for i in range(len(node.operands))
            for d in self.cluster.accesses.get((node, i), ()) if d is not None
        }  # fmt: skip
        order = sorted(used, key=lambda d: -abs(template.get(d, 0)))
        self.kept = _merged([d for d in order if d not in reduced], sizes, accesses)
        self.reduced = _merged([d for d in order if d in reduced], sizes, accesses)
        if not self.reductions and all(loop.extent == 1 for loop in self.kept):
            self.kept = [Loop((-1,), 1)]  # arrays of one element have the kernel of dense ones
            for access in accesses:
                access.strides = {-1: 1}
        for i, loop in enumerate(self.kept):
            loop.variable = f"k{i}"
        for i, loop in enumerate(self.reduced):
            loop.variable = f"r{i}"
        self.points = 1
        for loop in self.kept:
            self.points *= loop.extent
        self.terms = 1
        for loop in self.reduced:
            self.terms *= loop.extent
        self.inner = reduced

    def _passes(self) -> None:
        self.passes: dict[Value, int] = {}
        for node in self.nodes:
            at = 0
            for x in node.values:
                s = origin(x)
                if s in self.passes:
                    at = max(at, self.passes[s] + (s in self.reductions))
            self.passes[node.results[0]] = at
        self.last = max(self.passes.values())

    def single(self, value: Value) -> bool:
        """Whether a member has one value for each point of the kept dims."""
        return not (self.cluster.dims_of(value) & self.inner)

    def dear(self) -> list[Value]:
        """Values that a later pass needs, and that lie nowhere and cost more than to put them down."""
        members = {node.results[0]: node for node in self.nodes}
        later = {
            s for node in self.nodes for s in map(origin, node.values)
            if s in members and not self.single(s) and self.passes[s] < self.passes[node.results[0]]
        }  # fmt: skip
        found: list[Value] = []

        def cheap(value: Value) -> bool:
            node = members.get(value)
            if node is None or self.single(value) or value in self.writes or value in found:
                return True
            return node.op.name in CHEAP and all(cheap(origin(x)) for x in node.values)

        for node in self.nodes:
            y = node.results[0]
            if y in later and y not in self.writes and not cheap(y):
                found.append(y)
        return found

    @property
    def by_rows(self) -> bool:
        """Whether neighbours in memory are mostly along a reduced dim."""
        if not self.reduced or not self.kept:
            return bool(self.reduced)
        accesses = [*self.reads.values(), *self.writes.values()]
        rows = sum(abs(self.reduced[-1].step(a)) == 1 for a in accesses)
        columns = sum(abs(self.kept[-1].step(a)) == 1 and bool(self.reduced[-1].step(a)) for a in accesses)
        return rows >= columns


def _merged(dims: Iterable[int], sizes: Sequence[int], accesses: Sequence[Access]) -> list[Loop]:
    """Loops over dims; neighbours that every array runs through evenly are one."""
    loops: list[Loop] = []
    for d in dims:
        n = sizes[d]
        if loops and all(a.strides.get(loops[-1].dims[-1], 0) == n * a.strides.get(d, 0) for a in accesses):
            loops[-1] = Loop((*loops[-1].dims, d), loops[-1].extent * n)
        else:
            loops.append(Loop((d,), n))
    return loops


def needed(cluster: Cluster, targets: Iterable[Value], memory: Iterable[Value]) -> list[Node]:
    """Nodes of a cluster that must be computed for targets, when some values lie in memory."""
    known, seen, stack = set(memory), set(), list(targets)
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        assert value.node is not None
        stack += [s for s in map(origin, value.node.values) if s in cluster.axes and s not in known]
    return [node for node in cluster.nodes if node.results[0] in seen]
