"""The second pass of products whose sums are split: parts are added in their order."""

from __future__ import annotations

from typing import Any

from ..layout import Ref
from .contraction import Contraction, at, batch_places, number


def sum_parts(lowering: Any, p: Contraction, sums: Ref, parts: int) -> None:
    """Append the launch of y = sum of ``sums`` [parts, batch * M * N] over its first axis."""
    w, target = lowering.writer("parts"), lowering.target
    total = p.count * p.m * p.n
    source = w.array(sums)
    items = 1 if target.loops else target.items
    groups = max(1, min(-(-total // (4096 if target.loops else items)), 4 * target.units if target.loops else 1 << 20))
    share = -(-total // groups)
    size, many, m, n = w.number(total), w.number(parts), w.number(p.m), w.number(p.n)
    each = w.number(share)
    if target.loops:
        loop = (
            f"    for (INDEX e = GROUP(0) * (INDEX){each}; e < MIN({size}, (GROUP(0) + 1) * (INDEX){each}); ++e) {{\n"
        )
    else:
        step = f"GROUPS(0) * (INDEX){items}"
        loop = f"    for (INDEX e = GROUP(0) * (INDEX){items} + ITEM(0); e < {size}; e += {step}) {{\n"
    kind = p.arithmetic.type
    add = "total |=" if p.arithmetic.dtype.kind == "b" else "total +="
    body = (
        f"{loop}        {kind} total = {source}[e];\n"
        f"        for (INDEX part = 1; part < {many}; ++part) {add} {source}[part * {size} + e];\n"
    )
    if p.epilogue is not None:
        body += f"        {p.epilogue(w, p.arithmetic.value('total'), f'(e / {n})', f'(e % {n})')}\n"
    else:
        _, _, y = batch_places(w, p.batch, f"(e / ({m} * {n}))")
        place = at((f"e / {n} % {m}", number(w, p.ym)), (f"e % {n}", number(w, p.yn)))
        y_ = w.array(p.y, write=True)
        body += f"        {y_}[{y} + {place}] = {p.arithmetic.store('total')};\n"
    text = f"sum of {parts} parts of {p.text}"
    lowering.launch(w.launch(body + "    }\n", (groups, 1, 1), items=(items, 1, 1), text=text, work=float(sums.size)))
