"""C text of reductions: accumulators, where they start, how they take up an element."""

from __future__ import annotations

import numpy as np

from ....compiler.graph import Value
from ....compiler.scalar import arithmetic, c_type, literal
from ....core import dtypes

SUMS = {"reduce_sum": ("0", "+"), "reduce_prod": ("1", "*")}  # their starts and operators


def tracks_nan(value: Value) -> bool:
    """Whether a NaN among the operands needs a look of its own, because comparisons do not see it."""
    return value.node.op.name not in SUMS and arithmetic(value.dtype).kind == "f"  # type: ignore[union-attr]


def nan(value: Value) -> str:
    """C text of NaN in a reduction's dtype."""
    return literal(float("nan"), arithmetic(value.dtype))


def accumulator_type(value: Value) -> str:
    """C type in which a reduction adds up."""
    """C type of a reduction's sum."""
    return c_type(arithmetic(value.dtype))


def start_of(value: Value) -> str:
    """C text of what a reduction starts from."""
    name = value.node.op.name  # type: ignore[union-attr]
    if name in SUMS:
        return SUMS[name][0]
    if arithmetic(value.dtype).kind == "f":
        return literal(float("-inf") if name == "reduce_max" else float("inf"), arithmetic(value.dtype))
    if value.dtype == dtypes.bool_:
        return "0" if name == "reduce_max" else "1"
    info = np.iinfo(value.dtype)
    return literal(info.min if name == "reduce_max" else info.max, value.dtype)


def clause(value: Value, name: str) -> str:
    """OpenMP's clauses for a reduction's local accumulator."""
    kind = {"reduce_sum": "+", "reduce_prod": "*", "reduce_max": "max", "reduce_min": "min"}[value.node.op.name]  # type: ignore[union-attr]
    nan = f" reduction(|:n{name[1:]})" if tracks_nan(value) else ""
    return f" reduction({kind}:{name}){nan}"


def accumulate(value: Value, target: str, x: str) -> str:
    """C statement that takes x into a reduction's target."""
    name = value.node.op.name  # type: ignore[union-attr]
    if name in SUMS:
        return f"{target} {SUMS[name][1]}= {x};"
    sign = ">" if name == "reduce_max" else "<"
    return f"{target} = {x} {sign} {target} || {x} != {x} ? {x} : {target};"
