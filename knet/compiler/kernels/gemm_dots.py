"""Products on CPU devices whose operands both run along k, with few rows or columns: tiles of dot products.

A matrix times a vector, a few rows times a transposed w: copying w into panels would take as long as the product.
Each of R times S sums is a vector of partial sums along k, whose lanes are added last, in a tree.
"""

from __future__ import annotations

from typing import Any

from ...core import ShapedArray
from ..scalar import c_type
from .contraction import Contraction, at, batch_places, number
from .gemm_plan import ceil, dots_division, dots_tile, lanes_of, parts_of
from .partial_sums import sum_parts


def gemm_dots(lowering: Any, p: Contraction) -> None:
    """Append the launches."""
    target, w = lowering.target, lowering.writer("dots")
    kind = c_type(p.arithmetic.dtype)
    lanes = max(2, lanes_of(target) * 4 // p.arithmetic.dtype.itemsize)
    rows, columns = dots_tile(p, target)
    parts = parts_of(p, target)
    per_m, per_n, per_item = dots_division(p, target, rows, columns, parts)
    sums = lowering.new(ShapedArray((parts, p.count * p.m * p.n), p.arithmetic.sums)) if parts > 1 else None
    m, n, k = w.number(p.m), w.number(p.n), w.number(p.k)
    xm, wn = number(w, p.xm), number(w, p.wn)
    x, w_ = w.array(p.x), w.array(p.w)
    share_m, share_n = w.number(per_m), w.number(per_n)
    item = "0" if p.count == 1 else "item"
    base_x, base_w, base_y = batch_places(w, p.batch, item) if p.batch else ("0", "0", "0")

    tile = [(i, j) for i in range(rows) for j in range(columns)]
    vector = f"{kind}{lanes}"
    text = (
        f"    const INDEX m_0 = (INDEX)GROUP(0) * {share_m}, m_1 = MIN({m}, m_0 + {share_m});\n"
        f"    const INDEX j_0 = (INDEX)GROUP(1) * {share_n}, j_1 = MIN({n}, j_0 + {share_n});\n"
    )
    if parts == 1:
        text += f"    const INDEX k_0 = 0, k_1 = {k};\n"
    else:
        steps, many = w.number(ceil(p.k, parts)), w.number(parts)
        text += f"    const INDEX part = GROUP(2) % {many}, k_0 = part * {steps}, k_1 = MIN({k}, k_0 + {steps});\n"
    if p.count > 1:
        share = w.number(per_item)
        group = "GROUP(2)" if parts == 1 else f"(GROUP(2) / {many})"
        text += (
            f"    const INDEX item_0 = (INDEX){group} * {share}, item_1 = MIN({w.number(p.count)}, item_0 + {share});\n"
            "    for (INDEX item = item_0; item < item_1; ++item)\n"
        )
    # Tiles at the end overlap the ones before; elements are stored once.
    text += (
        f"    for (INDEX j_2 = j_0; j_2 < j_1; j_2 += {columns})\n"
        f"    for (INDEX m_2 = m_0; m_2 < m_1; m_2 += {rows}) {{\n"
        f"    const INDEX m = MIN(m_2, {m} - {rows}), j = MIN(j_2, {n} - {columns});\n"
        f"    const GLOBAL {kind} *u = {x} + {base_x} + {at(('m', xm))};\n"
        f"    const GLOBAL {kind} *v = {w_} + {base_w} + {at(('j', wn))};\n"
        f"    {vector} {', '.join(f's{i}_{j} = 0' for i, j in tile)};\n"
        f"    INDEX k = k_0;\n    for (; k + {lanes} <= k_1; k += {lanes}) {{\n"
    )
    for j in range(columns):
        text += f"        const {vector} v{j} = vload{lanes}(0, v + k + {at((str(j), wn))});\n"
    for i in range(rows):
        text += f"        {{ const {vector} f = vload{lanes}(0, u + k + {at((str(i), xm))});"
        text += "".join(" " + p.arithmetic.mac(f"s{i}_{j}", "f", f"v{j}") for j in range(columns)) + " }\n"
    text += f"    }}\n    {kind} dots[{rows * columns}];\n"
    for order, (i, j) in enumerate(tile):
        text += f"    {{ {_added(f's{i}_{j}', kind, lanes, f'dots[{order}]')} }}\n"
    mac = p.arithmetic.mac(f"dots[r * {columns} + c]", f"u[k + {at(('r', xm))}]", f"v[k + {at(('c', wn))}]")
    each = f"for (int r = 0; r < {rows}; ++r) for (int c = 0; c < {columns}; ++c)"
    text += f"    for (; k < k_1; ++k)\n        {each} {mac}\n"
    total = f"dots[r * {columns} + c]"
    if sums is not None:
        where = f"part * {w.number(p.count)} + {item}" if item != "0" else "part"
        place = f"(({where}) * {m} + m + r) * {n} + j + c"
        statement = f"{w.array(sums, write=True)}[{place}] = {total};"
    elif p.epilogue is not None:
        row = "(m + r)" if item == "0" else f"(item * {m} + m + r)"
        statement = f"{{ {p.epilogue(w, total, row, '(j + c)')} }}"
    else:
        place = at(("(m + r)", number(w, p.ym)), ("(j + c)", number(w, p.yn)))
        statement = f"{w.array(p.y, write=True)}[{base_y} + {place}] = {total};"
    own = each.replace("int r = 0", "int r = m_2 - m").replace("int c = 0", "int c = j_2 - j")
    text += f"    {own} {statement}\n    }}\n"
    groups = (ceil(p.m, per_m), ceil(p.n, per_n), ceil(p.count, per_item) * parts)
    lowering.launch(w.launch(text, groups, items=(1, 1, 1), text=p.text, work=float(p.work)))
    if sums is not None:
        sum_parts(lowering, p, sums, parts)


def _added(name: str, kind: str, lanes: int, to: str) -> str:
    """Statements that add the lanes of a vector, halves first."""
    text = ""
    while lanes > 2:
        lanes //= 2
        text += f"const {kind}{lanes} t{lanes} = {name}.lo + {name}.hi; "
        name = f"t{lanes}"
    return text + f"{to} = {name}.lo + {name}.hi;"
