"""Scalar expressions of nodes in the C-family dialect that all backends' kernels share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core import dtypes
from ..core.pointwise import Elementwise
from .graph import Node, Value

C_TYPES = {
    "float32": "float", "float64": "double", "bool": "uint8_t",
    "int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t",
    "uint8": "uint8_t", "uint16": "uint16_t", "uint32": "uint32_t", "uint64": "uint64_t",
}  # fmt: skip

# Integers wrap, divide and compare as C's do only in these.
_INTEGER_OPS = {
    "add", "subtract", "multiply", "negative", "positive", "square", "maximum", "minimum", "equal", "not_equal", "less",
    "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor", "logical_not", "where",
    "bitwise_and", "bitwise_or", "bitwise_xor", "relu", "stop_gradient", "sign",
}  # fmt: skip
_BOOL_OPS = {
    "logical_and", "logical_or", "logical_xor", "logical_not", "where", "equal", "not_equal", "stop_gradient",
    "bitwise_and", "bitwise_or", "bitwise_xor", "maximum", "minimum",
}  # fmt: skip

_TOKEN = re.compile(r"0x[0-9a-fA-F]+|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|[A-Za-z_]\w*")


def c_type(dtype: Any) -> str:
    """Type in memory."""
    return C_TYPES[dtype.name]


def register_type(dtype: Any) -> str:
    """Type of a local variable: truth values are ints, which vectorise beside floats."""
    return "int" if dtype == dtypes.bool_ else C_TYPES[dtype.name]


def compute_dtype(node: Node) -> Any:
    """The dtype in which an elementwise node's operands meet."""
    free = node.op.free
    return next(x.dtype for i, x in enumerate(node.operands) if type(x) is Value and i not in free)


def printable(node: Node) -> bool:
    """Whether a node is an elementwise operation, or a cast, that can be printed."""
    avals = [x for x in node.operands if type(x) is Value]
    if any(x.dtype.name not in C_TYPES for x in (*avals, *node.results)):
        return False
    if node.op.name == "cast":
        return True
    if not isinstance(node.op, Elementwise) or not node.op.c:
        return False
    if all(i in node.op.free for i, x in enumerate(node.operands) if type(x) is Value):
        return False  # where(condition, 1.0, 0.0) of numbers: their dtype is not known from operands
    kind = compute_dtype(node).kind
    if kind == "f":
        return True
    return node.op.name in (_BOOL_OPS if kind == "b" else _INTEGER_OPS)


def expression(node: Node, operands: Sequence[str], function: Callable[[str, Any], str]) -> str:
    """C expression of an elementwise node.

    Args:
      operands: C texts of its operands, numbers included.
      function: C name of a mathematical function for a dtype.
    """
    if node.op.name == "cast":
        return _cast(operands[0], node.operands[0].dtype, node.results[0].dtype)  # type: ignore[union-attr]
    dtype = compute_dtype(node)
    names = dict(zip(node.op.argnames, operands, strict=True))

    def token(match: re.Match[str]) -> str:
        text = match.group()
        if text in names:
            return names[text]
        if text[0].isdigit() or text[0] == ".":
            return f"{text}f" if dtype == dtypes.float32 and ("." in text or "e" in text) else text
        following = match.string[match.end() : match.end() + 1]
        return function(text, dtype) if following == "(" else text

    return _TOKEN.sub(token, node.op.c)


def _cast(x: str, old: Any, new: Any) -> str:
    if new == dtypes.bool_:
        return f"({x} != 0)"
    return f"({c_type(new)}){x}"


def literal(value: Any, dtype: Any) -> str:
    """C text of a Python number in a dtype."""
    if dtype == dtypes.bool_:
        return "1" if value else "0"
    if dtype.kind in "iu":
        number = int(np.asarray(value).astype(dtype))
        suffix = "u" if dtype.kind == "u" else ""
        wide = "LL" if dtype.itemsize == 8 else ""
        if number == -(2**63):
            return "(-9223372036854775807LL - 1)"
        return f"({number}{suffix}{wide})"
    with np.errstate(over="ignore"):
        number = float(np.asarray(value, np.float64).astype(dtype))
    if math.isnan(number):
        return '__builtin_nanf("")' if dtype == dtypes.float32 else '__builtin_nan("")'
    if math.isinf(number):
        return ("-" if number < 0 else "") + ("__builtin_inff()" if dtype == dtypes.float32 else "__builtin_inf()")
    text = np.format_float_scientific(np.float32(number) if dtype == dtypes.float32 else number, unique=True, trim="0")
    return f"({text}{'f' if dtype == dtypes.float32 else ''})"
