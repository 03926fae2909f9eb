"""Operations that put arrays together: concatenate, unslice, update_slice, as copies into slices of the result.

What is computed for a concatenation alone is computed in its slice at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...core import ShapedArray
from ...core.ops import linalg, shape
from ..fuse import REDUCTIONS, Cluster
from ..graph import Graph, Node, Value
from ..layout import ALIASES, VIEWS, Buffer, Ref, base, reshaped, unreshaped, view
from ..scan import ScanCall


def plan(lowering: Any, items: Iterable[Cluster | Node]) -> None:
    """Places in ``lowering.direct`` that save copies: of a concatenation's operands in its result, and of results in
    the order in which they are read.

    Nests and products write with strides; other kernels need a place without gaps, and so do those that read an operand
    of a concatenation too.
    """
    nests = [item for item in items if isinstance(item, Cluster)]
    others = [item for item in items if isinstance(item, Node) and item.op not in VIEWS]
    elementwise = {n.results[0] for item in nests for n in item.nodes if n.op not in REDUCTIONS}
    read = {base(x) for node in others if node.op is not shape.concatenate for x in node.values}
    users = _users(lowering.graph)

    def strided(base: Value, place: Ref) -> bool:
        """Whether what computes a value can write it there."""
        node = base.node
        assert node is not None
        if base in elementwise or node.op is shape.concatenate:
            return True
        return node.op is linalg.matmul and lowering.fits(node, place)

    for node in reversed(others):
        y = node.results[0]
        if y not in lowering.direct and node.op in (linalg.matmul, shape.concatenate):
            place = _as_read(lowering, y, users)
            if place is not None and strided(y, place):
                lowering.direct[y] = place
        if node.op is not shape.concatenate:
            continue
        whole = lowering.direct.get(y) or lowering.new(y.aval)
        for x, piece in zip(node.operands, slices(node, whole), strict=True):
            made = unreshaped(x)
            place = reshaped(piece, made.shape)
            if made.node is None or made.node.op in ALIASES or made in lowering.direct or place is None:
                continue
            if isinstance(made.node.op, ScanCall):  # its results lie where its steps leave them
                continue
            if place.dense or (made not in read and strided(made, place)):
                lowering.direct[made] = place
                lowering.direct[y] = whole


def _users(graph: Graph) -> dict[Value, list[Node | None]]:
    """Nodes that read each value; None for the graph's outputs."""
    users: dict[Value, list[Node | None]] = {}
    for node in graph.nodes:
        for x in node.values:
            users.setdefault(x, []).append(node)
    for y in graph.outputs:
        users.setdefault(y, []).append(None)
    return users


def _as_read(lowering: Any, y: Value, users: dict[Value, list[Node | None]]) -> Ref | None:
    """A place for a value that is read permuted, and then reshaped, which would need a copy: so that it does not."""
    permuted = users.get(y, [])
    if not permuted or any(node is None or node.op is not shape.permute for node in permuted):
        return None
    first = permuted[0]
    assert first is not None
    axes = first.params["axes"]
    if any(node is None or node.params["axes"] != axes for node in permuted):
        return None
    dense = Ref(Buffer("work", -1, 0, y.dtype), y.shape)
    seen = view(first, dense)
    assert seen is not None
    last = [node for p in permuted if p is not None for node in users.get(p.results[0], [])]
    if not any(n is not None and n.op is shape.reshape and reshaped(seen, n.params["shape"]) is None for n in last):
        return None
    place = lowering.new(ShapedArray(seen.shape, y.dtype))
    inverse = shape.inverse_permutation(axes)
    return Ref(place.buffer, y.shape, tuple(place.strides[i] for i in inverse))


def slices(node: Node, y: Ref) -> list[Ref]:
    """The parts of a concatenation's result."""
    axis, start, result = node.params["axis"], 0, []
    for x in node.values:
        result.append(Ref(y.buffer, x.shape, y.strides, y.offset + start * y.strides[axis]))
        start += x.shape[axis]
    return result


def concatenate(lowering: Any, node: Node) -> None:
    """Copies of the operands that are not computed in place."""
    y = lowering.result(node.results[0])
    for x, piece in zip(node.operands, slices(node, y), strict=True):
        at = lowering.ref(x)
        if not _same(at, piece):
            lowering.copy(at, piece, f"{list(x.shape)}: copy to the concatenation")


def _same(x: Ref, y: Ref) -> bool:
    """Whether two references of one shape are to the same elements."""
    steps = all(a == b for n, a, b in zip(x.shape, x.strides, y.strides, strict=True) if n != 1)
    return x.buffer is y.buffer and x.offset == y.offset and steps


def unslice(lowering: Any, node: Node) -> None:
    """Zeros, then the slice."""
    y = lowering.result(node.results[0])
    zero = lowering.number(0, Value(ShapedArray((), y.dtype)))
    lowering.copy(Ref(zero.buffer, y.shape, (0,) * len(y.shape)), y, f"{list(y.shape)}: zeros")
    _into(lowering, node, node.operands[0], y)


def update_slice(lowering: Any, node: Node) -> None:
    """A copy, then the slice."""
    y = lowering.result(node.results[0])
    lowering.copy(lowering.ref(node.operands[0]), y, f"{list(y.shape)}: copy to update a slice")
    _into(lowering, node, node.operands[1], y)


def _into(lowering: Any, node: Node, u: Value, y: Ref) -> None:
    params = {"starts": node.params["starts"], "sizes": u.shape, "steps": node.params["steps"]}
    place = view(Node(shape.slice_axes, [u], params, [u.aval]), y)
    assert place is not None
    lowering.copy(lowering.ref(u), place, f"{list(u.shape)}: copy into the slice")


MOVEMENT = {"concatenate": concatenate, "unslice": unslice, "update_slice": update_slice}
