"""Operations that put arrays together: concatenate, unslice, update_slice, as copies into slices of the result.

What is computed for a concatenation alone is computed in its slice at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ....compiler.fuse import REDUCTIONS, Cluster
from ....compiler.graph import Node, Value
from ....compiler.layout import VIEWS, Ref, reshaped, view
from ....compiler.scan import ScanCall
from ....core import ShapedArray
from ....core.ops import shape


def plan(lowering: Any, items: Iterable[Cluster | Node]) -> None:
    """Give operands of concatenations their place in the result, in ``lowering.direct``.

    Nests write with any strides; other kernels need a slice without gaps, and so do those that read the operand too.
    """
    nests = [item for item in items if isinstance(item, Cluster)]
    others = [item for item in items if isinstance(item, Node) and item.op not in VIEWS]
    elementwise = {n.results[0] for item in nests for n in item.nodes if n.op not in REDUCTIONS}
    joins = [node for node in others if node.op is shape.concatenate]
    read = {_base(x) for node in others if node.op is not shape.concatenate for x in node.values}
    for node in reversed(joins):
        y = node.results[0]
        whole = lowering.direct.get(y) or lowering.new(y.aval)
        for x, piece in zip(node.operands, slices(node, whole), strict=True):
            base = x
            while base.node is not None and base.node.op is shape.reshape:
                base = base.node.operands[0]
            place = reshaped(piece, base.shape)
            if base.node is None or base.node.op in (*VIEWS, shape.unstack) or base in lowering.direct or place is None:
                continue
            if isinstance(base.node.op, ScanCall):  # its results lie where its steps leave them
                continue
            if place.dense or (base not in read and (base in elementwise or base.node.op is shape.concatenate)):
                lowering.direct[base] = place
                lowering.direct[y] = whole


def _base(x: Value) -> Value:
    """What a value is a view of."""
    while x.node is not None and x.node.op in (*VIEWS, shape.unstack):
        x = x.node.operands[0]
    return x


def slices(node: Node, y: Ref) -> list[Ref]:
    """The parts of a concatenation's result."""
    axis, start, result = node.params["axis"], 0, []
    for x in node.values:
        result.append(Ref(y.buffer, x.shape, y.strides, y.offset + start * y.strides[axis]))
        start += x.shape[axis]
    return result


def concatenate(lowering: Any, node: Node) -> None:
    """Copies of the operands that are not computed in place."""
    y = lowering.target(node.results[0])
    for x, piece in zip(node.operands, slices(node, y), strict=True):
        at = lowering.ref(x)
        if (at.buffer, at.offset, at.strides) != (piece.buffer, piece.offset, piece.strides):
            lowering.copy(at, piece, f"{list(x.shape)}: copy to the concatenation")


def unslice(lowering: Any, node: Node) -> None:
    """Zeros, then the slice."""
    y = lowering.target(node.results[0])
    zero = lowering.number(0, Value(ShapedArray((), y.dtype)))
    lowering.copy(Ref(zero.buffer, y.shape, (0,) * len(y.shape)), y, f"{list(y.shape)}: zeros")
    _into(lowering, node, node.operands[0], y)


def update_slice(lowering: Any, node: Node) -> None:
    """A copy, then the slice."""
    y = lowering.target(node.results[0])
    lowering.copy(lowering.ref(node.operands[0]), y, f"{list(y.shape)}: copy to update a slice")
    _into(lowering, node, node.operands[1], y)


def _into(lowering: Any, node: Node, u: Value, y: Ref) -> None:
    params = {"starts": node.params["starts"], "sizes": u.shape, "steps": node.params["steps"]}
    place = view(Node(shape.slice_axes, [u], params, [u.aval]), y)
    assert place is not None
    lowering.copy(lowering.ref(u), place, f"{list(u.shape)}: copy into the slice")


MOVEMENT = {"concatenate": concatenate, "unslice": unslice, "update_slice": update_slice}
