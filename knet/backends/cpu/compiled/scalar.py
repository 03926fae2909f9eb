"""C text of elementwise primitives for each dtype, in the functions of scalar.h and integers.h.

A primitive's scalar expression (``Elementwise.c``) is the same for all backends and dtypes, in names of C's <math.h>.
``expression`` puts in their place the functions of the dtype. Half types are computed in float: load with
``knet_load_bf16`` or ``knet_load_f16``, store with ``knet_store_...``, and ask for the expression of float32.
"""

from __future__ import annotations

import re

import numpy as np

from ....compiler.scalar import C_TYPES
from ....core.pointwise import Elementwise

HEADER = '#include "scalar.h"\n'
INTEGER_HEADER = '#include "integers.h"\n'  # for programs that compute with integers; it includes the other one

_FLOATS = {"float32": "f32", "float64": "f64"}
_INTEGERS = tuple(name for name in C_TYPES if "int" in name)

# Functions without a branch and without a call for float32, which loops turn into vector instructions.
VECTOR = frozenset(
    "exp exp2 expm1 log log1p log2 log10 tanh erf erfc sin cos pow sqrt fabs rint floor ceil trunc copysign fmax fmin "
    "isinf isfinite signbit".split()
)
_LIBRARY = (
    "tan asin acos atan atan2 sinh cosh asinh acosh atanh lgamma cbrt hypot nextafter fmod remainder floor_divide"
).split()
_OF_INTEGERS = (
    "add subtract multiply negative signbit fabs fmax fmin left_shift right_shift fmod remainder floor_divide pow"
).split()

# Name in an expression -> dtype -> name in C.
FUNCTIONS: dict[str, dict[str, str]] = {
    name: {dtype: f"knet_{name}_{suffix}" for dtype, suffix in _FLOATS.items()} for name in (*sorted(VECTOR), *_LIBRARY)
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


def expression(primitive: Elementwise, dtype: np.dtype | str) -> str:
    """C text of a primitive in its operands' names, all of them variables of this dtype.

    Assign it to a variable of the result's type: C computes with integers narrower than int in int.

    Raises:
      KeyError: the expression has a function that does not exist for the dtype.
    """
    name = str(np.dtype(dtype))
    kind = np.dtype(dtype).kind
    text = next((c for kinds, c in EXPRESSIONS.get(primitive.name, {}).items() if kind in kinds), primitive.c)
    text = _CALL.sub(lambda call: FUNCTIONS[call[1]][name], text)
    # A literal of double would make all of a float expression double.
    return _LITERAL.sub(r"(float)\1", text) if name == "float32" else text
