"""Kernels that write an array and a slice of it at once: unslice and update_slice, as bits."""

from __future__ import annotations

from typing import Any

from ...core.aval import size_of
from ..graph import Node, Value
from ..layout import Ref, dense_strides
from .kernel import Writer
from .places import each, walk


def unslice(lowering: Any, node: Node) -> bool:
    """Zeros but for u at the places of a slice."""
    u = node.operands[0]
    if type(u) is not Value or u.dtype.itemsize == 16:  # which C has no number of
        return False
    _launch(lowering, node, lowering.ref(u), None)
    return True


def update_slice(lowering: Any, node: Node) -> bool:
    """x but for u at the places of a slice."""
    if any(type(v) is not Value or v.dtype != node.results[0].dtype for v in node.operands):
        return False
    x, u = (lowering.ref(v) for v in node.operands)
    _launch(lowering, node, u, x)
    return True


def _launch(lowering: Any, node: Node, u: Ref, x: Ref | None) -> None:
    """On CPUs a unit is a row: it is filled, then the slice's part is written over; on GPUs a unit is an element."""
    y = lowering.result(node.results[0])
    w = lowering.writer(node.op.name, raw=True)
    other = w.array(x) if x is not None else ""
    source, target = w.array(u), w.array(y, write=True)
    rank = len(y.shape)
    axes = list(zip(y.shape, u.shape, node.params["starts"], node.params["steps"], u.strides, strict=True))
    rows = w.target.loops and rank > 0
    outer = rank - 1 if rows else rank
    found, hit = _found(w, axes[:outer], "u", "        ")
    old = walk(w, y.shape[:outer], {"old": x.strides[:outer]}, "u", "        ", "place") if x is not None else ""
    same: tuple[tuple[int, int], ...] = ()
    if x is not None and x.dense:
        same = ((int(other[1:]), int(target[1:])),)
    if rows:
        n, size, start, step, stride = axes[-1]
        length = w.number(n)
        kept = f"{other}[{' + '.join(['old', w.offset((x.strides[-1],), ('j',))])}]" if x is not None else "0"
        place = " + ".join([w.number(start), w.offset((step,), ("j",))])
        body = f"""{found}{old}        for (INDEX j = 0; j < {length}; j++) {target}[u * {length} + j] = {kept};
        if ({hit})
            for (INDEX j = 0; j < {w.number(size)}; j++)
                {target}[u * {length} + {place}] = {source}[from + {w.offset((stride,), ("j",))}];
"""
        units = y.size // n if n else 0
    else:
        kept = f"{other}[old]" if x is not None else "0"
        body = f"""{found}{old}        if ({hit}) {target}[u] = {source}[from];
        else {target}[u] = {kept};
"""
        units = y.size
    text, groups = each(w, units, body, y.size / 2)
    name = f"{list(y.shape)}: {node.op.name} of {list(u.shape)}"
    lowering.launch(w.launch(text, groups, text=name, work=y.size / 2, same=same))


def _found(w: Writer, axes: list[Any], place: str, indent: str) -> tuple[str, str]:
    """C statements for the offset ``from`` of what the slice has at a place, and C text of whether it has it."""
    lines, hits, terms = [], [], []
    steps = dense_strides(tuple(n for n, *_ in axes))
    for k, ((n, size, start, step, stride), inner) in enumerate(zip(axes, steps, strict=True)):
        if n == 1 and size == 1:
            continue
        outer = size_of(tuple(m for m, *_ in axes[:k]))
        index = f"{place} / {w.number(inner)}" if inner != 1 else place
        index = f"{index} % {w.number(n)}" if outer != 1 else index
        if (size, start, step) == (n, 0, 1):
            lines.append(f"const INDEX i{k} = {index};")
        else:
            lines.append(f"const INDEX d{k} = {index} - {w.number(start)};")
            at = f"d{k}" if step == 1 else f"d{k} / {w.number(step)}"
            lines.append(f"const INDEX i{k} = {at};")
            inside = f"i{k} >= 0 && i{k} < {w.number(size)}"
            hits.append(inside if step == 1 else f"i{k} * {w.number(step)} == d{k} && {inside}")
        terms.append(w.offset((stride,), (f"i{k}",)))
    lines.append(f"const INDEX from = {' + '.join(terms) or 0};")
    return "".join(f"{indent}{line}\n" for line in lines), " && ".join(hits) or (
        "1" if all(a[1] for a in axes) else "0"
    )
