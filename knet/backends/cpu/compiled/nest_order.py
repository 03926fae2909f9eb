"""The loops of a cluster in the order of memory, and the arrays that they run through.

Neighbouring loops that every array runs through evenly are one. The outermost loop is the unit of work.
"""

from __future__ import annotations

from ....compiler.fuse import Axes, Cluster
from ....compiler.graph import Node, Value
from ....compiler.layout import Ref, dense_strides
from ....compiler.plan import strides
from ....compiler.plan.strides import Loop
from ....compiler.scalar import c_type


class Access(strides.Access):
    """An array that the nest reads or writes: pointer to its first element, C type, strides by dim."""

    def __init__(self, pointer: str, ref: Ref, axes: Axes) -> None:
        super().__init__(ref, axes)
        self.pointer = pointer
        self.type = c_type(ref.dtype)


class Order:
    """The loops of one cluster in their order, and the arrays that they run through."""

    def __init__(
        self, name: str, cluster: Cluster, inputs: dict[Value, Ref], outputs: dict[Value, Ref], threads: int
    ) -> None:
        self.name = name
        self.cluster = cluster
        self.threads = threads
        self.inputs = list(inputs)
        self.refs = inputs
        self.outputs = outputs
        self.pointers = {v: f"a{i}" for i, v in enumerate(self.inputs)}
        self.reads: dict[tuple[Node, int], Access] = {}
        for (node, i), axes in cluster.accesses.items():
            x = node.operands[i]
            if x in inputs:
                self.reads[node, i] = Access(self.pointers[x], inputs[x], axes)
        self.writes = {v: Access(f"y{i}", ref, cluster.axes[v]) for i, (v, ref) in enumerate(outputs.items())}
        self.across = self._across()  # reductions that run over units too
        self.partials: dict[Value, Access] = {}
        self.lines: list[str] = []
        self.late: list[str] = []
        self.apart: set[Value] = set()  # reductions whose operands are put down, to be reduced by a loop of their own
        self.depth = 1
        self.loops()

    # --- order of the loops -------------------------------------------------------------------------------------------

    def _across(self) -> list[Value]:
        inner = self.cluster.inner
        return [v for v, dims in self.cluster.reduced.items() if v in self.outputs and (inner is None or dims != inner)]

    def loops(self) -> None:
        """Dims in the order of memory, merged where all accesses allow."""
        cluster = self.cluster
        inner = cluster.inner or frozenset()
        for v in self.across:
            # A partial result has the layout of the dense result.
            ref = Ref(self.outputs[v].buffer, v.shape, dense_strides(v.shape))
            self.partials[v] = Access(f"part{list(self.outputs).index(v)}", ref, cluster.axes[v])
        accesses = [*self.reads.values(), *self.partials.values()]
        accesses += [a for v, a in self.writes.items() if v not in self.partials]
        template = max(accesses, key=lambda a: len(a.strides)).strides
        order = sorted(range(len(cluster.sizes)), key=lambda d: -abs(template.get(d, 0)))
        self.grid = self._merge([d for d in order if d not in inner], accesses)
        self.inner = self._merge([d for d in order if d in inner], accesses)
        if not self.grid:
            self.grid = [Loop((), 1)]
        self.unit = self.grid[0]
        self.lead = 1  # elements of the outermost loop in one unit
        if not self.inner and len(self.grid) == 1 and len(self.unit.dims) > 1 and not self.across:
            units = 1
            for d in self.unit.dims:  # whole rows are units, so that they can be those of other kernels
                units *= cluster.sizes[d]
                if units >= 2 * self.threads:
                    break
            self.lead = self.unit.extent // units
        self.units = self.unit.extent // self.lead
        for i, loop in enumerate((*self.grid, *self.inner)):
            loop.variable = f"i{i}"

    def _merge(self, dims: list[int], accesses: list[Access]) -> list[Loop]:
        loops: list[Loop] = []
        for d in dims:
            n = self.cluster.sizes[d]
            if loops and all(a.strides.get(loops[-1].dims[-1], 0) == n * a.strides.get(d, 0) for a in accesses):
                loops[-1] = Loop((*loops[-1].dims, d), loops[-1].extent * n)
            else:
                loops.append(Loop((d,), n))
        return loops

    def same(self) -> tuple[tuple[int, int], ...]:
        """Pairs (input, output) of a flat nest that lie alike: each point reads the one and then writes the other."""
        if self.cluster.inner is not None:
            return ()
        pairs = []
        for i, x in enumerate(self.inputs):
            reads = [a for (node, k), a in self.reads.items() if node.operands[k] is x]
            for j, (v, write) in enumerate(self.writes.items(), len(self.inputs)):
                alike = all(a.strides == write.strides and a.dtype == write.dtype for a in reads)
                if v not in self.partials and alike and write.ref.dense and self.refs[x].dense:
                    pairs.append((i, j))
        return tuple(pairs)

    def _by_rows(self, value: Value) -> bool:
        accesses = [a for (node, i), a in self.reads.items() if node.operands[i] is value]
        return all(self._slab(a) for a in accesses)

    def _slab(self, access: Access) -> bool:
        """Whether unit u touches the u-th of equal slabs of the array, and nothing else."""
        step = self.unit.step(access) * self.lead
        return self.units > 1 and access.ref.dense and step > 0 and step * self.units == access.ref.size
