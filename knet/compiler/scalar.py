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

# Half types are computed with in float, each result rounded, as without compilation: by knet_load_ and knet_store_ ...
HALF = {"float16": "f16", "bfloat16": "bf16"}

# Those that kernels move but do not compute with as they are.
_MOVED = {"float16": "uint16_t", "bfloat16": "uint16_t", "complex64": "float _Complex", "complex128": "double _Complex"}

# Operations that cost less than to keep their results.
CHEAP = {
    "add", "subtract", "multiply", "negative", "positive", "square", "relu", "where", "cast", "stop_gradient", "equal",
    "not_equal", "less", "less_equal", "greater", "greater_equal", "maximum", "minimum", "abs", "logical_and",
    "logical_or", "logical_not",
}  # fmt: skip

_NAME = re.compile(r"[A-Za-z_]\w*")


def c_type(dtype: Any) -> str:
    """Type in memory."""
    return C_TYPES.get(dtype.name) or _MOVED[dtype.name]


def register_type(dtype: Any) -> str:
    """Type of a local variable: truth values are ints, which vectorise beside floats."""
    return "int" if dtype == dtypes.bool_ else c_type(arithmetic(dtype))


def arithmetic(dtype: Any) -> Any:
    """The dtype in which expressions are computed and sums accumulate."""
    return dtypes.float32 if dtype.name in HALF else dtype


def loaded(text: str, dtype: Any) -> str:
    """C text of the number that an element in memory stands for."""
    return f"knet_load_{HALF[dtype.name]}({text})" if dtype.name in HALF else text


def stored(text: str, dtype: Any) -> str:
    """C text of what is written to memory for a number."""
    return f"knet_store_{HALF[dtype.name]}({text})" if dtype.name in HALF else text


def rounded(text: str, dtype: Any) -> str:
    """C text of a number as a dtype holds it."""
    return loaded(stored(text, dtype), dtype)


def compute_dtype(node: Node) -> Any:
    """The dtype in which an elementwise node's operands meet."""
    return arithmetic(_common(node))


def _common(node: Node) -> Any:
    return next(x.dtype for i, x in enumerate(node.operands) if type(x) is Value and i not in node.op.free)


def number(node: Node, i: int) -> str:
    """C text of an operand that is a Python number."""
    x, dtype = node.operands[i], dtypes.bool_ if i in node.op.free else _common(node)
    return literal(float(np.asarray(x).astype(dtype)) if dtype.name in HALF else x, arithmetic(dtype))


def printable(node: Node) -> bool:
    """Whether a node is an elementwise operation, or a cast, that can be printed."""
    avals = [x for x in node.operands if type(x) is Value]
    if any(x.dtype.name not in C_TYPES and x.dtype.name not in HALF for x in (*avals, *node.results)):
        return False
    if node.op.name == "nextafter" and node.results[0].dtype.name in HALF:  # float has others
        return False
    if node.op.name == "cast":
        return True
    if not isinstance(node.op, Elementwise) or not node.op.c:
        return False
    # where(condition, 1.0, 0.0) of numbers: their dtype is not known from operands
    return not all(i in node.op.free for i, x in enumerate(node.operands) if type(x) is Value)


def expression(node: Node, operands: Sequence[str], text: Callable[[Elementwise, Any], str]) -> str:
    """C expression of an elementwise node.

    Args:
      operands: C texts of its operands, numbers included.
      text: a backend's expression of a primitive for a dtype, in the names of the primitive's operands.
    """
    if node.op.name == "cast":
        return _cast(operands[0], node.operands[0].dtype, node.results[0].dtype)
    names = dict(zip(node.op.argnames, operands, strict=True))
    return _NAME.sub(lambda match: names.get(match.group(), match.group()), text(node.op, compute_dtype(node)))


def _cast(x: str, old: Any, new: Any) -> str:
    if new == dtypes.bool_:
        return f"({x} != 0)"
    return f"({c_type(arithmetic(new))}){x}"


def literal(value: Any, dtype: Any) -> str:
    """C text of a Python number in a dtype."""
    if dtype == dtypes.bool_:
        return "1" if value else "0"
    if dtype.kind in "iu":
        whole = int(np.asarray(value).astype(dtype))
        suffix = "u" if dtype.kind == "u" else ""
        wide = "LL" if dtype.itemsize == 8 else ""
        if whole == -(2**63):
            return "(-9223372036854775807LL - 1)"
        return f"({whole}{suffix}{wide})"
    with np.errstate(over="ignore"):
        number = float(np.asarray(value, np.float64).astype(dtype))
    if math.isnan(number):
        return '__builtin_nanf("")' if dtype == dtypes.float32 else '__builtin_nan("")'
    if math.isinf(number):
        return ("-" if number < 0 else "") + ("__builtin_inff()" if dtype == dtypes.float32 else "__builtin_inf()")
    text = np.format_float_scientific(np.float32(number) if dtype == dtypes.float32 else number, unique=True, trim="0")
    return f"({text}{'f' if dtype == dtypes.float32 else ''})"


# --- primitives -------------------------------------------------------------------------------------------------------

_FLOATS = {"float32": "f32", "float64": "f64"}
_INTEGERS = tuple(name for name in C_TYPES if "int" in name)

_OF_FLOATS = (
    "exp exp2 expm1 log log1p log2 log10 sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh erf erfc "
    "lgamma pow sqrt cbrt hypot fabs rint floor ceil trunc copysign nextafter fmod remainder floor_divide fmax fmin "
    "isinf isfinite signbit"
).split()
_OF_INTEGERS = (
    "add subtract multiply negative signbit fabs fmax fmin left_shift right_shift fmod remainder floor_divide pow"
).split()

# Name in an expression -> dtype -> name in C.
FUNCTIONS: dict[str, dict[str, str]] = {
    name: {dtype: f"knet_{name}_{suffix}" for dtype, suffix in _FLOATS.items()} for name in _OF_FLOATS
}
for _name in _OF_INTEGERS:
    FUNCTIONS.setdefault(_name, {}).update({dtype: f"knet_{_name}_{dtype}" for dtype in _INTEGERS})

# Primitives whose shared expression is not NumPy's arithmetic in some kinds of dtype: kinds and expression.
_WHOLE = {"iu": "x"}
EXPRESSIONS: dict[str, dict[str, str]] = {
    "add": {"b": "x | y", "iu": "add(x, y)"},
    "subtract": {"iu": "subtract(x, y)"},
    "multiply": {"b": "x & y", "iu": "multiply(x, y)"},
    "negative": {"iu": "negative(x)"},
    "square": {"iu": "multiply(x, x)"},
    "remainder": {"iuf": "remainder(x, y)"},
    "floor_divide": {"iuf": "floor_divide(x, y)"},
    "bitwise_invert": {"b": "!x"},
    "bitwise_left_shift": {"iu": "left_shift(x, y)"},
    "bitwise_right_shift": {"iu": "right_shift(x, y)"},
    "floor": _WHOLE, "ceil": _WHOLE, "trunc": _WHOLE, "rint": _WHOLE,
    "isinf": {"biu": "0"}, "isfinite": {"biu": "1"},
    "fmax": {"b": "x | y"}, "fmin": {"b": "x & y"},
}  # fmt: skip

_CALL = re.compile(r"\b([A-Za-z_]\w*)(?=\s*\()")
_LITERAL = re.compile(r"(?<![\w.])(\d+\.\d*(?:e[-+]?\d+)?|\d+e[-+]?\d+|M_\w+)(?![\w.])")


def text(primitive: Elementwise, dtype: Any) -> str:
    """C text of a primitive in its operands' names, all of them variables of this dtype.

    A primitive's own text (``Elementwise.c``) is in names of C's <math.h>; in their place come the functions of the
    dtype, knet_exp_f32 or knet_add_int8, which ``headers`` defines for each device. Half types are computed in float.

    Assign it to a variable of the result's type: C computes with integers narrower than int in int.

    Raises:
      KeyError: the expression has a function that does not exist for the dtype.
    """
    name = str(np.dtype(dtype))
    kind = np.dtype(dtype).kind
    c = next((c for kinds, c in EXPRESSIONS.get(primitive.name, {}).items() if kind in kinds), primitive.c)
    c = _CALL.sub(lambda call: FUNCTIONS[call[1]][name], c)
    # A literal of double would make all of a float expression double.
    return _LITERAL.sub(r"(float)\1", c) if name == "float32" else c
