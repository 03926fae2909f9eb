"""Slices taken before elementwise operations instead of after: a cell's gates are computed where they are used.

A recurrent cell adds up [B, 4H] and cuts it into gates. Sums of slices make one loop with what follows them, while a
sum of which slices are taken has to be written for all gates first::

    f(x)[:, a:b] = f(x[:, a:b])
"""

from __future__ import annotations

from typing import Any

from ..core import ShapedArray
from ..core.custom import Call
from ..core.ops import shape
from .fuse import REDUCTIONS, source
from .graph import Builder, Graph, Node, Value

_Piece = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # starts, sizes, steps


def slice_early(graph: Graph) -> Graph:
    """The graph with slices in front of elementwise operations of which nothing but slices is used.

    Only where each element is computed once at most, and what the operations read lies in memory anyway.
    """
    cut = _cut(graph)
    if not cut:
        return graph
    builder = Builder(graph)
    pieces: dict[tuple[Value, _Piece], Value] = {}
    for node in graph.nodes:
        if any(y in cut for y in node.results):
            continue
        if node.op is shape.slice_axes and node.operands[0] in cut:
            builder.replaced[node.results[0]] = _taken(builder, pieces, node.operands[0], _piece(node), cut)
        else:
            builder.copy(node)
    return builder.finish()


def _piece(node: Node) -> _Piece:
    params = node.params
    return tuple(params["starts"]), tuple(params["sizes"]), tuple(params["steps"])


def _cut(graph: Graph) -> set[Value]:
    """Results of elementwise operations that give way to slices."""
    users: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        for x in node.values:
            users.setdefault(x, []).append(node)
    outputs = {y for y in graph.outputs if type(y) is Value}
    pieces: dict[Value, set[_Piece]] = {}
    for node in reversed(graph.nodes):
        if isinstance(node.op, Call) or not node.op.pointwise or node.results[0] in outputs:
            continue
        y, found = node.results[0], set()
        for user in users.get(y, ()):
            if user.op is shape.slice_axes and _is_computed_on(user.results[0], users):
                found.add(_piece(user))
            elif not isinstance(user.op, Call) and user.results[0] in pieces and user.results[0].shape == y.shape:
                found |= pieces[user.results[0]]
            else:
                found.clear()
                break
        if len(found) > 1 and sum(_size(p) for p in found) <= y.size:
            pieces[y] = found
    while True:  # what has to be computed whole, or could be but for a loop shared with what is, stays
        stay = {
            y for y in pieces
            if any(not _in_memory(x, pieces) for x in _node(y).values)
            or any(u.op is not shape.slice_axes and u.results[0] not in pieces for u in users[y])
        }  # fmt: skip
        if not stay:
            return set(pieces)
        for y in stay:
            del pieces[y]


def _is_computed_on(x: Value, users: dict[Value, list[Node]]) -> bool:
    return any(not isinstance(user.op, Call) and user.op.pointwise for user in users.get(x, ()))


def _in_memory(x: Value, cut: Any) -> bool:
    """Whether an operand is cut too, or does not come from a loop that its reader could be part of."""
    made = source(x)[0].node
    if x in cut or made is None:
        return True
    return made.op not in REDUCTIONS and not (not isinstance(made.op, Call) and made.op.pointwise)


def _node(y: Value) -> Node:
    assert y.node is not None
    return y.node


def _size(piece: _Piece) -> int:
    size = 1
    for n in piece[1]:
        size *= n
    return size


def _taken(builder: Builder, pieces: dict[tuple[Value, _Piece], Value], x: Value, piece: _Piece, cut: Any) -> Value:
    """A slice of a value of the old graph: of its operands, if it is cut."""
    if (x, piece) not in pieces:
        starts, sizes, steps = piece
        if x in cut:
            node = _node(x)
            operands = [
                _taken(builder, pieces, v, _of_operand(v, x, piece), cut) if type(v) is Value else v
                for v in node.operands
            ]
            made = builder.add(node.op, operands, node.params, [ShapedArray(sizes, x.dtype)])
        elif sizes == x.shape:
            return builder.operand(x)
        else:
            params = {"starts": starts, "sizes": sizes, "steps": steps}
            made = builder.add(shape.slice_axes, [builder.operand(x)], params, [ShapedArray(sizes, x.dtype)])
        pieces[x, piece] = made.results[0]
    return pieces[x, piece]


def _of_operand(v: Value, y: Value, piece: _Piece) -> _Piece:
    """The part of an operand that a part of the result needs; axes that are repeated stay whole."""
    lead = len(y.shape) - len(v.shape)
    kept = [
        (a, n, k) if m == w else (0, 1, 1) for a, n, k, m, w in zip(*(p[lead:] for p in piece), v.shape, y.shape[lead:])
    ]
    return tuple(a for a, _, _ in kept), tuple(n for _, n, _ in kept), tuple(k for _, _, k in kept)
