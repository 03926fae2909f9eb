"""Loop-invariant code motion for scans, and its counterpart for what only steps of time separate.

What a step computes from constants alone moves in front of the loop. A contraction that does not need the carry is done
for all steps at once: an LSTM's projection of its inputs, T products [B, I] x [I, 4H], becomes one [T B, I] x [I, 4H].
One that the carry does not need moves behind the loop in the same way, and so do the sums of an unrolled derivative:
``dW += x[t]^T g[t]`` over T steps is one product [I, T B] x [T B, 4H] of stacked x and g. In the loop remains what the
recurrence is: one product with the hidden state forwards, one backwards.

Elementwise operations stay in the loop, where they are fused and their results stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .accumulate import hoist_sums, is_sum
from .derived import batch
from .graph import Builder, Graph, Node, Value, extract
from .layout import VIEWS
from .loop import Loop, is_scan, needed_for

CONTRACTIONS = {"matmul", "conv", "conv_input_grad", "conv_weight_grad", "take"}  # worth an array of all steps


def hoist(graph: Graph) -> Graph:
    """The graph with work moved out of its scans; their bodies come first, so it leaves nested loops altogether."""
    builder = Builder(graph)
    for node in graph.nodes:
        if is_scan(node):
            _hoist_from(builder, node)
        else:
            builder.copy(node)
    return builder.finish()


def _hoist_from(builder: Builder, node: Node) -> None:
    loop = Loop(node, builder.operands(node))
    _invariants(loop, builder)
    # Where all steps are independent, knet.map say, the loop is there to save memory.
    recurrent = any(not is_sum(loop, c) for c in loop.carry)
    sums = hoist_sums(loop, builder)
    late = None
    if recurrent:
        _independent_of_carry(loop, builder)
        late = _unneeded_by_carry(loop)
    loop.build(builder)
    for finish in reversed(sums):  # what was taken out last stands in what was taken out before
        finish()
    if late is not None:
        part, consts, stacked, results = late
        whole = batch(part, (False,) * len(consts) + (True,) * len(stacked), loop.length)
        outs = builder.inline(whole, [builder.operand(x) for x in (*consts, *stacked)])
        builder.replaced.update(zip(results, outs))


def _depending_on(loop: Loop, sources: Iterable[Value]) -> set[Any]:
    """Values of the body that depend on some of its inputs, with these."""
    found = set(sources)
    for node in loop.nodes:
        if any(x in found for x in node.values):
            found.update(node.results)
    return found


def _cut(loop: Loop, nodes: Sequence[Node], outputs: Sequence[Value]) -> tuple[Graph, list[Value], list[Value]]:
    """Nodes in front of the loop as a graph of (*constants, *slices of xs), and those."""
    used = {x for node in nodes for x in node.values}
    consts = [x for x in loop.consts if x in used]
    xs = [x for x in loop.xs if x in used]
    return extract(loop.name, [*consts, *xs], nodes, outputs, loop.constants), consts, xs


def _leaving(loop: Loop, gone: Sequence[Node]) -> list[Value]:
    """Results of some nodes that the rest of the body uses, or returns."""
    others = set(gone)
    used = {x for node in loop.nodes if node not in others for x in node.values} | set(loop.outputs)
    return [y for node in gone for y in node.results if y in used]


def _invariants(loop: Loop, builder: Builder) -> None:
    """Computed once, in front of the loop: what depends on constants alone. Views of them stay."""
    varying = _depending_on(loop, [*(c.inner for c in loop.carry), *loop.xs])
    fixed = [n for n in loop.nodes if not any(y in varying for y in n.results)]
    work = [n for n in fixed if n.op not in VIEWS]
    outputs = _leaving(loop, work)
    if not outputs:
        return
    part, consts, _ = _cut(loop, needed_for(fixed, outputs), outputs)
    outs = builder.inline(part, [loop.consts[x] for x in consts])
    fresh = {y: Value(y.aval) for y in outputs}
    loop.consts.update(zip(fresh.values(), outs))
    loop.replace(fresh)


def _independent_of_carry(loop: Loop, builder: Builder) -> None:
    """Computed for all steps at once, in front of the loop: contractions that the carry does not enter."""
    varying = _depending_on(loop, [c.inner for c in loop.carry])
    free = [n for n in loop.nodes if not any(y in varying for y in n.results)]
    stepwise = _depending_on(loop, loop.xs)
    work = [n for n in free if n.op.name in CONTRACTIONS and n.results[0] in stepwise]
    early = needed_for(free, [y for n in work for y in n.results])
    # What else those need is cheap, and computed again where the body has use for it.
    used = {x for n in loop.nodes if n not in set(early) for x in n.values} | set(loop.outputs)
    kept = needed_for([n for n in early if n not in set(work)], used)
    used |= {x for n in kept for x in n.values}
    outputs = [y for n in work for y in n.results if y in used]
    if not outputs:
        return
    part, consts, xs = _cut(loop, early, outputs)
    whole = batch(part, (False,) * len(consts) + (True,) * len(xs), loop.length)
    outs = builder.inline(whole, [*(loop.consts[x] for x in consts), *(loop.xs[x] for x in xs)])
    fresh = {y: Value(y.aval) for y in outputs}
    loop.xs.update(zip(fresh.values(), outs))
    loop.replace(fresh)


def _unneeded_by_carry(loop: Loop) -> Any:
    """Contractions on which only ys depend, and what follows them, to be computed for all steps behind the loop.

    Returns the part as a graph of (*constants, *values of one step), outside operands for both, and the ys' results.
    """
    feeding = set(needed_for(loop.nodes, [c.out for c in loop.carry]))
    behind = [n for n in loop.nodes if n not in feeding]
    moved: set[Any] = set()
    for node in behind:
        if node.op.name in CONTRACTIONS or any(x in moved for x in node.values):
            moved.update(node.results)
    ys = [y for y in loop.ys if y.out in moved]
    if not ys:
        return None
    late = needed_for([n for n in behind if n.results[0] in moved], [y.out for y in ys])
    varying = _depending_on(loop, [*(c.inner for c in loop.carry), *loop.xs])
    made = {y: n for n in loop.nodes for y in n.results}
    late_set = set(late)

    def follow(value: Value) -> None:
        """Views, and what constants make, are computed behind the loop too."""
        node = made.get(value)
        if node is not None and node not in late_set and (node.op in VIEWS or value not in varying):
            late_set.add(node)
            for x in node.values:
                follow(x)

    for node in late:
        for x in node.values:
            follow(x)
    late = [n for n in loop.nodes if n in late_set]
    inside = {y for n in late for y in n.results}
    frontier = list(dict.fromkeys(x for n in late for x in n.values if x not in inside and x not in loop.constants))
    consts = [x for x in frontier if x in loop.consts]
    steps = [x for x in frontier if x not in loop.consts]
    part = extract(loop.name, [*consts, *steps], late, [y.out for y in ys], loop.constants)
    loop.ys = [y for y in loop.ys if y not in ys]
    stacked = [loop.emit(x) for x in steps]
    loop.nodes = needed_for(loop.nodes, loop.outputs)
    return part, [loop.consts[x] for x in consts], stacked, [y.result for y in ys]
