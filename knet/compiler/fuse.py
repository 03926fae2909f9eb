"""Fusion: elementwise operations and reductions that run over the same elements become one loop nest, a cluster.

A cluster has *dims*, the loops of its nest. Every value in it varies along some of them: ``axes[value]`` names the dim
of each of its axes (None: size 1, or repeated). Values that vary along all dims are *full*. Reductions take dims away;
what they leave may be used again in the cluster, by full values too (softmax, layer normalisation): then all such
reductions run over the same dims, ``inner``, the others are the *grid*, and the nest computes one grid point after the
other in several passes over the inner dims. Reductions that nothing in the cluster uses may run over any dims.

Views (permutations, repetitions, axes of size 1 that come and go) between members of a cluster only rename axes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..core.aval import size_of
from ..core.ops import reduce, shape
from .graph import Graph, Node, Value

Axes = tuple[int | None, ...]

REDUCTIONS = (reduce.reduce_sum, reduce.reduce_prod, reduce.reduce_max, reduce.reduce_min)
_ROW = 1 << 17  # elements of a grid point's inner dims; more would not stay in a core's cache from pass to pass
_MEMBERS = 400  # more would make functions that compilers take long for


class Cluster:
    """Nodes that become one loop nest; see the module.

    Attributes:
      sizes: extents of the dims.
      nodes: members, in order of computation.
      axes: dims of each member's result, by value.
      accesses: dims of the axes of an operand, by (node, number of the operand).
      reduced: dims that a reduction takes away, by its result.
      inner: dims of the reductions whose results are used inside, or None.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = list(sizes)
        self.nodes: list[Node] = []
        self.axes: dict[Value, Axes] = {}
        self.accesses: dict[tuple[Node, int], Axes] = {}
        self.reduced: dict[Value, frozenset[int]] = {}
        self.inner: frozenset[int] | None = None

    def dims_of(self, value: Value) -> frozenset[int]:
        """Dims along which a member varies."""
        return frozenset(d for d in self.axes[value] if d is not None)

    @property
    def full(self) -> frozenset[int]:
        """All dims."""
        return frozenset(range(len(self.sizes)))

    @property
    def size(self) -> int:
        """Points of the nest."""
        return size_of(self.sizes)


_VIEWS = frozenset((shape.permute, shape.broadcast_to, shape.reshape))


def origin(value: Value) -> Value:
    """The value that ``value`` is a view of, as in :func:`source`."""
    while value.node is not None and value.node.op in _VIEWS and _step(value.node) is not None:
        value = value.node.operands[0]
    return value


def source(value: Value) -> tuple[Value, list[int | None]]:
    """The value that ``value`` is a view of, and for each axis of the view the axis that it runs along.

    Only views that rename, repeat, drop or add axes count; others are ends.
    """
    axes: list[int | None] = [i if n != 1 else None for i, n in enumerate(value.shape)]
    while value.node is not None and value.node.op in _VIEWS:
        step = _step(value.node)
        if step is None:
            break
        axes = [None if i is None else step[i] for i in axes]
        value = value.node.operands[0]
    return value, axes


def _step(node: Node) -> list[int | None] | None:
    """For each axis of a view the operand's axis, None where it is repeated or of size 1; None for no such view."""
    op = node.op
    if op is shape.permute:
        return list(node.params["axes"])
    if op is shape.broadcast_to:
        x, y = node.operands[0].shape, node.results[0].shape
        lead = len(y) - len(x)
        return [None if i < lead or x[i - lead] != n else i - lead for i, n in enumerate(y)]
    if op is shape.reshape:
        x, y = node.operands[0].shape, node.results[0].shape
        if [n for n in x if n != 1] != [n for n in y if n != 1]:
            return None
        rest = iter(i for i, n in enumerate(x) if n != 1)
        return [None if n == 1 else next(rest) for n in y]
    return None


def single(node: Node) -> Cluster:
    """A cluster of one node."""
    y = node.results[0]
    if node.op in REDUCTIONS:
        x = node.operands[0]
        sizes = [n for n in x.shape if n != 1]
        numbers = iter(range(len(sizes)))
        access: Axes = tuple(None if n == 1 else next(numbers) for n in x.shape)
        cluster = Cluster(sizes)
        gone = node.params["axis"]
        if node.params["keepdims"]:
            axes = [None if i in gone else d for i, d in enumerate(access)]
        else:
            axes = [d for i, d in enumerate(access) if i not in gone]
        cluster.accesses[node, 0] = access
        cluster.reduced[y] = frozenset(d for i in gone if (d := access[i]) is not None)
        cluster.axes[y] = tuple(axes)
    else:
        sizes = [n for n in y.shape if n != 1]
        numbers = iter(range(len(sizes)))
        axes = [None if n == 1 else next(numbers) for n in y.shape]
        cluster = Cluster(sizes)
        cluster.axes[y] = tuple(axes)
        for i, x in enumerate(node.operands):
            if type(x) is Value:
                lead = len(y.shape) - len(x.shape)
                cluster.accesses[node, i] = tuple(None if n == 1 else axes[lead + k] for k, n in enumerate(x.shape))
    cluster.nodes = [node]
    return cluster


def _edges(a: Cluster, b: Cluster) -> Iterable[tuple[Value, int | None, int | None]]:
    """(value of a, its dim, dim of b) for each axis along which b reads a value of a."""
    for (node, i), access in b.accesses.items():
        value, axes = source(node.operands[i])
        if value in a.axes:
            yield value, None, None
            own = a.axes[value]
            for k, d in zip(axes, access, strict=True):
                if k is not None:
                    yield value, own[k], d


def _match(a: Cluster, b: Cluster) -> dict[int, int] | None:
    """Dims of b -> dims of a, so that what b reads of a is at the point where a makes it; None if there is none."""
    mapping: dict[int, int] = {}

    def bind(d_b: int | None, d_a: int | None) -> bool:
        if d_a is None or d_b is None:
            return d_a is None and d_b is None
        if d_b in mapping:
            return mapping[d_b] == d_a
        if d_a in mapping.values() or a.sizes[d_a] != b.sizes[d_b]:
            return False
        mapping[d_b] = d_a
        return True

    for _, d_a, d_b in _edges(a, b):
        if not bind(d_b, d_a):
            return None
    for _, d_b, d_a in _edges(b, a):  # a merged cluster is not always the one whose values come first
        if not bind(d_b, d_a):
            return None
    # The other dims of b are free. Those along which both read the same array are best taken together.
    free = [d for d in range(len(b.sizes)) if d not in mapping]
    if free:
        seen: dict[Value, Axes] = {}
        for (node, i), access in a.accesses.items():
            value, axes = source(node.operands[i])
            seen[value] = _through(axes, access, value)
        for (node, i), access in b.accesses.items():
            value, axes = source(node.operands[i])
            for d_a, d_b in zip(seen.get(value, ()), _through(axes, access, value)):
                if d_a is not None and d_b is not None and d_b not in mapping:
                    bind(d_b, d_a)
    for d_b in free:
        if d_b not in mapping:
            for d_a in sorted(a.full - set(mapping.values())):
                if bind(d_b, d_a):
                    break
    return mapping


def _through(axes: list[int | None], access: Axes, value: Value) -> Axes:
    """Dims of the axes of a view's source."""
    result: list[int | None] = [None] * len(value.shape)
    for k, d in zip(axes, access, strict=True):
        if k is not None:
            result[k] = d
    return tuple(result)


def _merged(a: Cluster, b: Cluster, position: dict[Node, int]) -> Cluster | None:
    """The nest of both, or None if they do not make one."""
    if len(a.nodes) + len(b.nodes) > _MEMBERS:
        return None
    mapping = _match(a, b)
    if mapping is None:
        return None
    sizes = list(a.sizes)
    for d, n in enumerate(b.sizes):
        if d not in mapping:
            mapping[d] = len(sizes)
            sizes.append(n)
    merged = Cluster(sizes)

    def renamed(axes: Axes) -> Axes:
        return tuple(None if d is None else mapping[d] for d in axes)

    merged.nodes = sorted(a.nodes + b.nodes, key=position.__getitem__)
    merged.axes = a.axes | {v: renamed(axes) for v, axes in b.axes.items()}
    merged.accesses = a.accesses | {key: renamed(axes) for key, axes in b.accesses.items()}
    merged.reduced = a.reduced | {v: frozenset(mapping[d] for d in dims) for v, dims in b.reduced.items()}
    return merged if _legal(merged) else None


def _legal(cluster: Cluster) -> bool:
    full = cluster.full
    inner: frozenset[int] | None = None
    after: set[Value] = set()  # members that depend on a reduction of this cluster
    for node in cluster.nodes:
        y = node.results[0]
        sources = [origin(x) for x in node.operands if type(x) is Value]
        for x in sources:
            if x in cluster.reduced:
                if inner is not None and cluster.reduced[x] != inner:
                    return False
                inner = cluster.reduced[x]
        if any(x in after or x in cluster.reduced for x in sources):
            after.add(y)
        read = frozenset(
            d for i in range(len(node.operands)) for d in cluster.accesses.get((node, i), ()) if d is not None
        )
        nest = read | cluster.dims_of(y)
        if nest != full and y not in after:
            return False
    if inner is not None:
        if size_of([cluster.sizes[d] for d in inner]) > _ROW or (inner == full and cluster.size > _ROW // 8):
            return False
        grid = full - inner
        for node in cluster.nodes:  # what depends on a reduction is full, or one value a grid point
            y = node.results[0]
            dims = cluster.dims_of(y)
            if y in cluster.reduced:
                operand = frozenset(d for d in cluster.accesses[node, 0] if d is not None)
                if operand != full:
                    return False
            elif dims not in (full, grid):
                return False
    elif len(cluster.nodes) > 1:
        for node in cluster.nodes:
            if node.results[0] in cluster.reduced:
                if frozenset(d for d in cluster.accesses[node, 0] if d is not None) != full:
                    return False
            elif cluster.dims_of(node.results[0]) != full:
                return False
    cluster.inner = inner
    return True


def fuse(graph: Graph, fusable: Callable[[Node], bool]) -> list[Cluster | Node]:
    """The graph's nodes in an order of computation, fusable ones in clusters; views are left out where they are free.

    Args:
      fusable: whether a backend can print a node as part of a nest.
    """
    fusable = functools.cache(fusable)
    owner = _clusters(graph, fusable, frozenset())
    barred = _not_worthwhile(owner.values())
    if barred:
        owner = _clusters(graph, fusable, barred)
    return _ordered(graph, owner)


def _not_worthwhile(clusters: Iterable[Cluster]) -> frozenset[Value]:
    """Reductions whose results better leave their cluster: nothing full needs them, and they run across rows, so that
    keeping each grid point's elements together would tear rows apart."""
    barred: set[Value] = set()
    for cluster in {id(c): c for c in clusters}.values():
        if cluster.inner is None:
            continue
        after: set[Value] = set(cluster.reduced)
        for node in cluster.nodes:
            y = node.results[0]
            if y not in after and any(origin(x) in after for x in node.values):
                after.add(y)
        full_after = [v for v in after if v not in cluster.reduced and cluster.dims_of(v) == cluster.full]
        last = [access[-1] for access in cluster.accesses.values() if len(access) > 0 and access[-1] is not None]
        rows = all(d in cluster.inner for d in last) and len(cluster.inner) < len(cluster.sizes)
        if not full_after and not rows and cluster.size > 1 << 12:
            barred |= set(cluster.reduced)
    return frozenset(barred)


def _clusters(graph: Graph, fusable: Callable[[Node], bool], barred: frozenset[Value]) -> dict[Node, Cluster]:
    owner: dict[Node, Cluster] = {}
    position = {node: i for i, node in enumerate(graph.nodes)}

    def owner_of(value: Value) -> Any:
        node = value.node
        return None if node is None else owner.get(node, node)

    def reaches(start: Iterable[Value], targets: set[int], earliest: int) -> bool:
        """Whether any of the values depends on an item in ``targets`` (by id)."""
        stack = [owner_of(v) for v in start]
        seen: set[int] = set()
        while stack:
            item = stack.pop()
            if item is None or id(item) in seen:
                continue
            seen.add(id(item))
            if id(item) in targets:
                return True
            nodes = item.nodes if isinstance(item, Cluster) else [item]
            if position[nodes[-1]] < earliest:  # a cluster's nodes are sorted
                continue
            stack += [owner_of(x) for n in nodes for x in n.values]
        return False

    for node in graph.nodes:
        if not fusable(node):
            continue
        current = single(node)
        _legal(current)
        tried: set[int] = set()
        for x in node.operands:
            if type(x) is not Value:
                continue
            base = origin(x)
            made = base.node
            other = owner.get(made) if made is not None else None
            if other is None or id(other) in tried or other is current or base in barred:
                continue
            tried.add(id(other))
            # No path may leave the merged cluster and come back.
            inside = set(other.axes) | set(current.axes)
            outside = [x for n in (*other.nodes, *current.nodes) for x in n.values if origin(x) not in inside]
            earliest = min(position[other.nodes[0]], position[current.nodes[0]])
            if reaches(outside, {id(other), id(current)}, earliest):
                continue
            merged = _merged(other, current, position)
            if merged is not None:
                for n in merged.nodes:
                    owner[n] = merged
                current = merged
        for n in current.nodes:
            owner[n] = current
    return owner


def _ordered(graph: Graph, owner: dict[Node, Cluster]) -> list[Cluster | Node]:
    """Clusters and other nodes so that each comes after what it needs, else in the graph's order."""
    result: list[Cluster | Node] = []
    done: set[int] = set()

    def visit(item: Any) -> None:
        stack = [(item, False)]
        while stack:
            item, ready = stack.pop()
            if id(item) in done:
                continue
            if ready:
                done.add(id(item))
                result.append(item)
                continue
            stack.append((item, True))
            nodes = item.nodes if isinstance(item, Cluster) else [item]
            inside = item.axes if isinstance(item, Cluster) else {}
            for n in reversed(nodes):
                for x in n.values:
                    if x.node is not None and origin(x) not in inside:  # views within a cluster are part of it
                        needed = owner.get(x.node, x.node)
                        if id(needed) not in done and needed is not item:
                            stack.append((needed, False))

    for node in graph.nodes:
        visit(owner.get(node, node))
    return result
