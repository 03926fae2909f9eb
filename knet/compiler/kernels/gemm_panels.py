"""Panels of w in the order they are read in: all k of the first columns, then of the next ones."""

from __future__ import annotations

from typing import Any

from ...core import ShapedArray
from ..layout import Ref
from .contraction import Contraction, at, batch_places, number
from .gemm_plan import Plan, ceil

VECTOR = {"float": "float", "double": "double", "uint32_t": "uint", "uint64_t": "ulong"}
"""OpenCL's names of vectors of these types, without the number of elements."""


def packed(lowering: Any, p: Contraction, how: Plan) -> Ref:
    """Panels of w in the order [matrix, panel, k, column], converted and filled up with zeros."""
    count = 1 if all(axis.w == 0 for axis in p.batch) else p.count
    panels = ceil(p.n, how.width)
    packed = lowering.new(ShapedArray((count, panels, p.k, how.width), p.arithmetic.sums))
    w = lowering.writer("pack")
    to, source = w.array(packed, write=True), w.array(p.w)
    steps, columns, many = w.number(p.k), w.number(p.n), w.number(panels)
    wk, wn = number(w, p.wk), number(w, p.wn)
    _, base, _ = batch_places(w, p.batch, "GROUP(1)") if count > 1 else ("0", "0", "0")
    body = (
        f"    const INDEX j = (INDEX)GROUP(0) * {how.width}, cols = MIN({how.width}, {columns} - j);\n"
        f"    const GLOBAL {p.arithmetic.stored} *from = {source} + {base} + {at(('j', wn))};\n"
        f"    const INDEX place = (INDEX)GROUP(1) * {many} + GROUP(0);\n"
        f"    GLOBAL {p.arithmetic.type} *pack = {to} + place * {steps} * {how.width};\n"
        + pack_panel(p, how, "from", "pack", steps, wk, wn)
    )
    groups = (panels, count, 1)
    lowering.launch(w.launch(body, groups, items=(1, 1, 1), text=f"panels of {p.text}", work=float(packed.size)))
    return packed


def pack_panel(p: Contraction, how: Plan, source: str, to: str, steps: str, wk: str, wn: str) -> str:
    """Statements that copy a panel of ``cols`` columns, filled up with zeros."""
    width = how.width
    element = p.arithmetic.load(f"{source}[{at(('k', wk), ('c', wn))}]")
    each_k = f"for (INDEX k = 0; k < {steps}; ++k)"
    put = f"{to}[k * {width} + c] = {element};"
    if wn == "1" or p.n == 1:
        text = (
            f"    if (cols == {width})\n        {each_k} for (INDEX c = 0; c < {width}; ++c) {put}\n"
            f"    else {each_k} for (INDEX c = 0; c < cols; ++c) {put}\n"
        )
    elif wk == "1" and p.arithmetic.native:
        text = _transposed(p, how, source, to, steps, wn, put)
    else:
        text = f"    for (INDEX c = 0; c < cols; ++c) {each_k} {put}\n"
    return text + f"    for (INDEX c = cols; c < {width}; ++c) {each_k} {to}[k * {width} + c] = 0;\n"


def _transposed(p: Contraction, how: Plan, source: str, to: str, steps: str, wn: str, put: str) -> str:
    """Statements that copy a panel whose columns lie contiguous: squares of vectors are transposed in registers.

    Each stage rotates the bits of (row, lane) by one: rows i and i + half become rows 2i and 2i + 1, interleaved.
    """
    lanes, half = how.lanes, how.lanes // 2
    kind = f"{VECTOR[p.arithmetic.type]}{lanes}"
    text = (
        f"    for (INDEX c_1_ = 0; c_1_ < cols; c_1_ += {lanes}) {{\n    INDEX k_1_ = 0;\n"
        f"    if (c_1_ + {lanes} <= cols)\n        for (; k_1_ + {lanes} <= {steps}; k_1_ += {lanes}) {{\n"
        f"            const GLOBAL {p.arithmetic.type} *e = {source} + {at(('c_1_', wn))} + k_1_;\n"
    )
    names = [f"e0_{i}" for i in range(lanes)]
    for i, name in enumerate(names):
        text += f"            const {kind} {name} = vload{lanes}(0, e + {at((str(i), wn))});\n"
    stage = 1
    while 1 << stage <= lanes:
        new = [f"e{stage}_{i}" for i in range(lanes)]
        text += f"            {kind} {', '.join(new)};\n"
        for i in range(half):
            x, y = names[i], names[i + half]
            for part, z in (("lo", new[2 * i]), ("hi", new[2 * i + 1])):
                text += f"            {z}.even = {x}.{part}; {z}.odd = {y}.{part};\n"
        names = new
        stage += 1
    for i, name in enumerate(names):
        text += f"            vstore{lanes}({name}, 0, {to} + (k_1_ + {i}) * {how.width} + c_1_);\n"
    return text + (
        "        }\n"
        f"    for (INDEX c = c_1_; c < MIN(cols, c_1_ + {lanes}); ++c)\n"
        f"        for (INDEX k = k_1_; k < {steps}; ++k) {put}\n    }}\n"
    )
