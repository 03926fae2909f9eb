"""Small products of operations that run alone: a plain kernel for all shapes and strides, so that few are compiled.

A kernel of tiles depends on heights, orders and unit strides, and takes longer to compile than thousands of small
products take in this one.
"""

from __future__ import annotations

from typing import Any

from .contraction import Axis, Contraction

WORK = 1 << 11  # products of numbers: some microseconds, less than a launch takes


def small(lowering: Any, p: Contraction) -> bool:
    """Whether this kernel computes a product."""
    plain = p.epilogue is None and p.elements is None and len(p.batch) <= 1
    return plain and not lowering.literal and p.work <= WORK


def gemm_small(lowering: Any, p: Contraction) -> None:
    """Append the launch of a product that has elements."""
    w, sums = lowering.writer("gemm"), p.arithmetic
    x, m, y = w.array(p.x), w.array(p.w), w.array(p.y, write=True)
    batch = p.batch[0] if p.batch else Axis(1, 0, 0, 0)
    at = {name: w.number(step) for name, step in zip(("x", "w", "y"), batch[1:])}
    xm, xk, wk, wn, ym, yn = map(w.number, (p.xm, p.xk, p.wk, p.wn, p.ym, p.yn))
    body = f"""    for (INDEX b = 0; b < {w.number(batch.size)}; ++b)
        for (INDEX i = 0; i < {w.number(p.m)}; ++i)
            for (INDEX j = 0; j < {w.number(p.n)}; ++j) {{
                const GLOBAL {sums.stored} *u = {x} + b * {at["x"]} + i * {xm};
                const GLOBAL {sums.stored} *v = {m} + b * {at["w"]} + j * {wn};
                {sums.type} total = 0;
                for (INDEX k = {w.number(p.k)}; k > 0; --k, u += {xk}, v += {wk}) {{
                    const {sums.type} f = {sums.load("*u")}, g = {sums.load("*v")};
                    {sums.mac("total", "f", "g")}
                }}
                {y}[b * {at["y"]} + i * {ym} + j * {yn}] = {sums.store("total")};
            }}
"""
    lowering.launch(w.launch(body, (1, 1, 1), items=(1, 1, 1), text=p.text, work=float(p.work)))
