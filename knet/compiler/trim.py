"""Dead code across the boundary of loops: what nobody outside looks at is not computed inside."""

from __future__ import annotations

from typing import Any

from ..core import ShapedArray
from ..core.ops import shape
from .graph import Builder, Graph, Node, Value
from .loop import Loop, is_scan


def trim(graph: Graph) -> Graph:
    """Without the nodes that no output depends on, and without operands and results of scans that nobody needs.

    Of a scan, equal operands become one, a carry that never changes becomes a constant, and ys that repeat a slice of
    xs or a constant are not written.
    """
    graph = _merge(graph)
    needed = {y for y in graph.outputs if type(y) is Value}
    kept: list[tuple[Node, Loop | None]] = []
    renamed: dict[Node, dict[Value, Value]] = {}  # results of nodes that stand for others, by those they stand for
    for node in reversed(graph.nodes):
        if not any(y in needed for y in node.results):
            continue
        loop = None
        if is_scan(node):
            loop = Loop(node, node.operands)
            _drop(loop, needed)
            needed.update(x for x in (*loop.consts.values(), *loop.xs.values()) if type(x) is Value)
            needed.update(c.start for c in loop.carry if type(c.start) is Value)
        elif node.op.name == "switch":
            node = _narrowed(node, needed, renamed)
            needed.update(node.values)
        else:
            needed.update(node.values)
        kept.append((node, loop))
    builder = Builder(graph)
    for node, loop in reversed(kept):
        if loop is None:
            builder.copy(node)
            builder.replaced.update((old, builder.operand(new)) for old, new in renamed.get(node, {}).items())
        else:
            loop.build(builder)
    return builder.finish()


def _narrowed(node: Node, needed: set[Value], renamed: dict[Node, dict[Value, Value]]) -> Node:
    """A choice that returns what is needed, and takes what its branches then use."""
    results = [i for i, y in enumerate(node.results) if y in needed]
    if len(results) == len(node.results):
        outs = node.op.graphs
    else:
        outs = [trim(_with(g, g.inputs, [g.outputs[i] for i in results])) for g in node.op.graphs]
    used = [{x for n in g.nodes for x in n.values} | set(g.outputs) for g in outs]
    inputs = [i for i in range(len(node.operands) - 1) if any(g.inputs[i] in u for g, u in zip(outs, used))]
    if len(results) == len(node.results) and len(inputs) == len(node.operands) - 1:
        return node
    call = node.op.with_graphs([_with(g, [g.inputs[i] for i in inputs], g.outputs) for g in outs])
    operands = [node.operands[0], *(node.operands[1 + i] for i in inputs)]
    new = Node(call, operands, node.params, [node.results[i].aval for i in results])
    renamed[new] = dict(zip((node.results[i] for i in results), new.results))
    return new


def _with(graph: Graph, inputs: list[Value], outputs: list[Any]) -> Graph:
    part = Graph(graph.name)
    part.inputs, part.constants, part.nodes, part.outputs = inputs, dict(graph.constants), graph.nodes, outputs
    return part


def _drop(loop: Loop, needed: set[Value]) -> None:
    """Leave out what is not needed; ``needed`` has values outside."""
    loop.ys = [y for y in loop.ys if y.result in needed]
    alive = {y.out for y in loop.ys}
    wanted: set[Any] = {c for c in loop.carry if c.result in needed}
    while True:
        inside = alive | {c.out for c in wanted}
        nodes = []
        for node in reversed(loop.nodes):
            if any(y in inside for y in node.results):
                nodes.append(node)
                inside.update(node.values)
        more = {c for c in loop.carry if c.inner in inside} - wanted
        if not more:
            break
        wanted |= more
    loop.nodes = nodes[::-1]
    loop.carry = [c for c in loop.carry if c in wanted]
    loop.consts = {i: x for i, x in loop.consts.items() if i in inside}
    loop.xs = {i: x for i, x in loop.xs.items() if i in inside}


def _merge(graph: Graph) -> Graph:
    """Equal operands and results of each scan as one."""
    builder = Builder(graph)
    for node in graph.nodes:
        if not is_scan(node):
            builder.copy(node)
            continue
        loop = Loop(node, builder.operands(node))
        same: dict[Value, Any] = {}
        for c in loop.carry:
            if c.out is c.inner:
                loop.consts[c.inner] = c.start
                builder.replaced[c.result] = c.start
        loop.carry = [c for c in loop.carry if c.out is not c.inner]
        loop.consts = _distinct(loop.consts, same)
        loop.xs = _distinct(loop.xs, same)
        if same:
            loop.replace(same)
        repeated = _merge_ys(loop, builder)
        loop.build(builder)
        builder.replaced.update((y, builder.replaced[x]) for y, x in repeated.items())
    return builder.finish()


def _distinct(operands: dict[Value, Any], same: dict[Value, Any]) -> dict[Value, Any]:
    first: dict[Any, Value] = {}
    for inner, outer in operands.items():
        if first.setdefault(outer, inner) is not inner:
            same[inner] = first[outer]
    return {inner: outer for inner, outer in operands.items() if inner not in same}


def _merge_ys(loop: Loop, builder: Builder) -> dict[Value, Value]:
    """Results of ys that are the same as another's, with that."""
    repeated: dict[Value, Value] = {}
    first: dict[Value, Value] = {}
    kept = []
    for y in loop.ys:
        fixed = y.out in loop.consts or y.out in loop.constants
        if fixed:
            x = loop.consts.get(y.out, y.out)
            if x is y.out:
                builder.graph.constants[x] = loop.constants[x]
            full = (loop.length, *y.out.shape)
            node = builder.add(shape.broadcast_to, [x], {"shape": full}, [ShapedArray(full, y.out.dtype)])
            builder.replaced[y.result] = node.results[0]
        elif y.out in loop.xs:
            builder.replaced[y.result] = loop.xs[y.out]
        elif y.out in first:
            repeated[y.result] = first[y.out]
        else:
            first[y.out] = y.result
            kept.append(y)
    loop.ys = kept
    return repeated
