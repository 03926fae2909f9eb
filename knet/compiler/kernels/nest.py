"""Kernels of clusters: elementwise operations and the reductions among them, one launch for each part."""

from __future__ import annotations

from typing import Any

from ...core import ShapedArray
from ..fuse import Cluster, origin, single
from ..graph import Node, Value
from ..layout import Ref
from ..scalar import arithmetic
from . import scalar
from .nest_items import Items
from .nest_loops import SHORT, SMALL, Loops
from .nest_part import Access, Part, needed

_SEGMENT = 1 << 11  # terms, at least, of a GPU's segment


def nest(lowering: Any, cluster: Cluster, inputs: dict[Value, Ref], outputs: dict[Value, Ref], text: str) -> None:
    """Launch the kernels of a cluster.

    Args:
      inputs: where the operands lie that come from outside of it.
      outputs: where the members lie that must be in memory.
      text: what it computes, for people.

    A reduction with few results is cut into segments of its terms; a second launch adds up theirs, in their order.
    """
    memory: dict[Value, Ref] = {}
    for targets, reduced in _targets(lowering, cluster, outputs):
        part = Part(cluster, targets, reduced, inputs, memory)
        if part.last > 0 and _too_few(lowering.target, part):
            stages = _stages(lowering, part, targets, reduced, memory)
        else:
            stages = [(targets, reduced)]
        for wanted, dims in stages:
            if len(stages) > 1:
                part = Part(cluster, wanted, dims, inputs, memory)
            _launch(lowering, part, text)
            memory.update(wanted)


def _targets(
    lowering: Any, cluster: Cluster, outputs: dict[Value, Ref]
) -> list[tuple[dict[Value, Ref], frozenset[int]]]:
    """What each launch writes, and the dims that it reduces."""
    inner = cluster.inner
    groups: dict[frozenset[int], dict[Value, Ref]] = {}
    first: dict[Value, Ref] = {}  # all but reductions
    for v, ref in outputs.items():
        if v not in cluster.reduced:
            first[v] = ref
        else:
            groups.setdefault(cluster.reduced[v], {})[v] = ref
    if inner is None:
        if not groups:
            return [(first, frozenset())]
        order = sorted(groups, key=lambda dims: -len(dims))
        return [({**(first if i == 0 else {}), **groups[dims]}, dims) for i, dims in enumerate(order)]
    main = {**first, **groups.pop(inner, {})}
    if groups:
        # What the others need of one value for each kept point is written once.
        for targets in groups.values():
            for node in needed(cluster, targets, main):
                for s in map(origin, node.values):
                    if s in cluster.axes and s not in main and _depends(cluster, s):
                        if not cluster.dims_of(s) & inner:
                            main[s] = lowering.new(s.aval)
    return [(main, inner), *((targets, dims) for dims, targets in groups.items())]


def _too_few(target: Any, part: Part) -> bool:
    """Whether passes over a few long rows would leave most of a device idle, so that each pass is a launch."""
    rows = part.by_rows and part.terms >= SHORT
    if target.loops:
        units = part.points if rows else part.points // 16
        return units < target.units and part.points * part.terms >= 4 * SMALL
    return (part.points if rows else -(-part.points // 32)) < target.units and part.terms >= 2 * _SEGMENT


def _stages(
    lowering: Any, part: Part, targets: dict[Value, Ref], reduced: frozenset[int], memory: dict[Value, Ref]
) -> list[tuple[dict[Value, Ref], frozenset[int]]]:
    """A part's reductions pass by pass, then what has one value for each kept point, then what is full."""
    stages: list[tuple[dict[Value, Ref], frozenset[int]]] = []
    for p in range(part.last + 1):
        found = [v for v in part.reductions if part.passes[v] == p]
        if found:
            stages.append(({v: targets.get(v) or lowering.new(v.aval) for v in found}, reduced))
    full = {v: ref for v, ref in targets.items() if not part.single(v)}
    single_ones = {v: ref for v, ref in targets.items() if part.single(v) and v not in part.reductions}
    for node in needed(part.cluster, full, memory):
        y = node.results[0]
        if part.single(y):
            continue
        for s in map(origin, node.values):
            if s in part.passes and part.single(s) and s not in part.reductions and s not in single_ones:
                single_ones[s] = lowering.new(s.aval)
    return [*stages, *((some, frozenset[int]()) for some in (single_ones, full) if some)]


def _depends(cluster: Cluster, value: Value) -> bool:
    """Whether a member depends on a reduction of the cluster."""
    stack = [value]
    while stack:
        v = stack.pop()
        if v in cluster.reduced:
            return True
        assert v.node is not None
        stack += [s for s in map(origin, v.node.values) if s in cluster.axes]
    return False


def _launch(lowering: Any, part: Part, text: str) -> None:
    if not part.points:
        return
    target = lowering.target
    split = _split(target, part)
    partials: dict[Value, Ref] = {}
    finals = {v: access.ref for v, access in part.writes.items()}
    if split > 1:
        for v in part.reductions:
            partials[v] = lowering.new(ShapedArray((split, *v.shape), arithmetic(v.dtype)))
    writer = lowering.writer("nest")
    same = _same(part) if not part.reductions else ()
    printer = (Loops if target.loops else Items)(writer, part, scalar.text, split, partials)
    groups = printer.body(target.units)
    pairs = [(printer.pointer(r, False), printer.pointer(w, True)) for r, w in same]
    launch = writer.launch(
        "\n".join(printer.lines) + "\n",
        (groups, 1 if target.loops else split, 1),
        text=text,
        work=float(part.points * max(1, part.terms) * len(part.nodes)),
        same=tuple((int(r[1:]), int(w[1:])) for r, w in pairs),
        restrict=not pairs,
    )
    lowering.launch(launch)
    for v, ref in partials.items():
        assert v.node is not None
        x = Value(ShapedArray(ref.shape, ref.dtype))
        node = Node(v.node.op, [x], {"axis": (0,), "keepdims": False}, [v.aval])
        _launch(
            lowering,
            Part(single(node), {node.results[0]: finals[v]}, single_dims(node), {x: ref}, {}),
            f"{text}: segments",
        )


def single_dims(node: Node) -> frozenset[int]:
    """Dims that a reduction takes away in the cluster of it alone."""
    return single(node).reduced[node.results[0]]


def _split(target: Any, part: Part) -> int:
    """Segments of the reduced dims."""
    if not part.reductions or part.last > 0 or any(v not in part.writes for v in part.reductions):
        return 1
    if target.loops:
        if part.points * part.terms < 4 * SMALL:
            return 1
        rows = part.by_rows and part.terms >= SHORT
        units = part.points if rows else part.points // 16
        longest = max(loop.extent for loop in part.reduced)
        if units >= 2 * target.units:
            return 1
        return max(1, min(-(-2 * target.units // max(1, units)), part.terms // 4096, longest // 2, 64))
    columns = part.points if part.by_rows else -(-part.points // 32)
    return max(1, min(-(-4 * target.units // max(1, columns)), part.terms // _SEGMENT, 512))


def _same(part: Part) -> list[tuple[Access, Access]]:
    """Reads and writes that may share memory: every read of the array lies like the write."""
    pairs = []
    for write in part.writes.values():
        seen: set[Any] = set()
        for read in part.reads.values():
            key = (read.ref.buffer, read.ref.offset)
            if key in seen:
                continue
            seen.add(key)
            alike = [r for r in part.reads.values() if r.ref.buffer is read.ref.buffer]
            if all(
                r.strides == write.strides and r.dtype == write.dtype and r.ref.offset == read.ref.offset for r in alike
            ):
                if read.ref.dense and write.ref.dense:
                    pairs.append((read, write))
    return pairs


__all__ = ["nest"]
