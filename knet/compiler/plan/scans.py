"""From a scan to a loop of launches: where its carry and its ys lie.

What a step hands to the next is often stacked as well, as the step's result (h[t]), as what the step was given (h[t-1],
of which a derivative is made), or as both. These are one array [h[-1], h[0], ..., h[T-1]]: each step reads a row of it
and writes the next one.
"""

from __future__ import annotations

from typing import Any

from ...core import ShapedArray
from ...core.aval import size_of
from ..graph import Graph, Node, Value
from ..layout import Ref
from .items import HostCall
from .loops import Carry, Loop, Slide


def scan(lowering: Any, node: Node) -> bool:
    """Append a loop whose steps are launches; False if NumPy is needed in it."""
    call, shared = node.op, lowering.shared
    loop = Loop(call.length, call.reverse, [], [], [], f"scan of {call.length} steps")
    pairs = zip(node.operands, call.body.inputs, strict=True)
    outer = [lowering.ref(x) if type(x) is Value else lowering.number(x, v) for x, v in pairs]
    consts, starts, xs = call.split(outer)
    loop.carries = [Carry(shared, lowering.dense(start), v) for start, v in zip(starts, call.body.outputs)]
    loop.slides = [Slide(shared, x) for x in xs]
    inner = [*consts, *(c.current for c in loop.carries), *(s.ref for s in loop.slides)]
    histories = _histories(lowering, node)
    made = {y for n in call.body.nodes for y in n.results}
    stacked = {history.out: Slide(shared, history.after) for history in histories}
    loop.slides += stacked.values()
    outs: list[tuple[Any, Ref]] = []
    places = {y: ref for history in histories for y, ref in history.places.items()}
    for y, v in zip(node.results[call.carry :], call.body.outputs[call.carry :], strict=True):
        if y in places:
            continue
        slide = Slide(shared, lowering.result(y))
        loop.slides.append(slide)
        if v in made and v not in stacked and v in call.body.outputs[: call.carry]:
            stacked[v] = slide  # read in the next step from where it is stacked
        else:
            outs.append((v, slide.ref))
    for carry, v in zip(loop.carries, call.body.outputs):
        carry.slide = stacked.get(v)
    constants = len(shared.constants)
    carried = [*zip(call.body.outputs, (c.next for c in loop.carries))]
    written = list({carry.slide or carry: pair for pair, carry in zip(carried, loop.carries)}.values())
    body = type(lowering)(_returning(call.body, [v for v, _ in (*written, *outs)]), inner,
                          [ref for _, ref in (*written, *outs)], shared)  # fmt: skip
    if any(isinstance(item, HostCall) for item in body.items):
        del shared.constants[constants:]
        return False
    for history in histories:
        lowering.copy(history.start, history.first, "copy in front of the steps")
        lowering.refs.update(history.places)
    loop.items = body.items
    lowering.items.append(loop)
    for y, carry in zip(node.results, loop.carries):
        result = carry.result(call.length, call.reverse)
        if y in lowering.direct:
            lowering.copy(result, lowering.result(y), "copy to the result")
        else:
            lowering.refs[y] = result
    return True


class _History:
    """All values of a carry in one array: ``first`` is for its ``start``, ``after`` for those that the steps make.

    Attributes:
      out: what a step makes, in the body.
      places: where the stacked results lie that are parts of it.
    """

    def __init__(self, lowering: Any, node: Node, k: int) -> None:
        call = node.op
        self.out = call.body.outputs[k]
        aval, length = self.out.aval, call.length
        buffer = lowering.new(ShapedArray((length + 1, *aval.shape), aval.dtype)).buffer
        row, full = size_of(aval.shape), (length, *aval.shape)
        before, self.after = Ref(buffer, full), Ref(buffer, full, None, row)
        if call.reverse:
            before, self.after = self.after, before
        self.first = Ref(buffer, aval.shape, None, length * row if call.reverse else 0)
        start = node.operands[call.consts + k]
        self.start = lowering.ref(start) if type(start) is Value else lowering.number(start, self.out)
        given = call.body.inputs[call.consts + k]
        self.places = {y: before if v is given else self.after for y, v in _ys(node) if v in (given, self.out)}


def _ys(node: Node) -> list[tuple[Value, Any]]:
    """The stacked results, with the values of one step."""
    carry = node.op.carry
    return list(zip(node.results[carry:], node.op.body.outputs[carry:], strict=True))


def _histories(lowering: Any, node: Node) -> list[_History]:
    """One of each carry that is stacked as a step gets it, unless that has a place of its own."""
    call, body = node.op, node.op.body
    made = {y for n in body.nodes for y in n.results}
    result: dict[Value, _History] = {}
    for k, (given, out) in enumerate(zip(body.inputs[call.consts :], body.outputs[: call.carry])):
        ys = [y for y, v in _ys(node) if v in (given, out)]
        stacked = any(v is given for _, v in _ys(node))
        if stacked and out in made and out not in result and not any(y in lowering.direct for y in ys):
            result[out] = _History(lowering, node, k)
    return list(result.values())


def _returning(body: Graph, outputs: list[Any]) -> Graph:
    part = Graph(body.name)
    part.inputs, part.constants, part.nodes, part.outputs = body.inputs, body.constants, body.nodes, outputs
    return part
