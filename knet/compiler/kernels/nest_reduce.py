"""Text of reductions: their type, where they start, how they take up an element."""

from __future__ import annotations

import numpy as np

from ...core import dtypes
from ..graph import Value
from ..scalar import arithmetic, c_type, literal

SUMS = {"reduce_sum": ("0", "+"), "reduce_prod": ("1", "*")}  # their starts and operators
VECTORS = {
    "float": "float", "double": "double", "uint8_t": "uchar", "int8_t": "char", "int16_t": "short", "int32_t": "int",
    "int64_t": "long", "uint16_t": "ushort", "uint32_t": "uint", "uint64_t": "ulong",
}  # fmt: skip


def name_of(value: Value) -> str:
    """Name of a reduction's operation."""
    return value.node.op.name  # type: ignore[union-attr]


def kind_of(value: Value) -> str:
    """Type in which a reduction adds up."""
    return c_type(arithmetic(value.dtype))


def start_of(value: Value) -> str:
    """What a reduction starts from."""
    name, dtype = name_of(value), arithmetic(value.dtype)
    if name in SUMS:
        return SUMS[name][0]
    if dtype.kind == "f":
        return literal(float("-inf") if name == "reduce_max" else float("inf"), dtype)
    if dtype == dtypes.bool_:
        return "0" if name == "reduce_max" else "1"
    info = np.iinfo(dtype)
    return literal(info.min if name == "reduce_max" else info.max, dtype)


def accumulate(value: Value, target: str, x: str) -> str:
    """Statement that takes the variable x into a target. A NaN among the operands of an extremum stays."""
    name, kind = name_of(value), kind_of(value)
    if name in SUMS:
        if kind in ("float", "double"):
            return f"{target} {SUMS[name][1]}= {x};"
        wide = "uint64_t" if kind in ("int64_t", "uint64_t") else "uint32_t"  # they wrap around
        return f"{target} = ({kind})(({wide}){target} {SUMS[name][1]} ({wide}){x});"
    sign = ">" if name == "reduce_max" else "<"
    if kind in ("float", "double"):
        return f"{target} = {x} {sign} {target} || {x} != {x} ? {x} : {target};"
    return f"{target} = {x} {sign} {target} ? {x} : {target};"
