"""Data types: names, defaults and promotion.

Promotion follows the array API standard inside a kind. Across kinds the higher kind wins and keeps its own width
(bool < integer < floating < complex), as in JAX and PyTorch: an int64 array times a float32 array is float32, so that
counting never doubles the width of a network. Python scalars are weak: they take the dtype of the array they meet.
numpy.float64 scalars are Python floats and weak likewise.
"""

from __future__ import annotations

import functools
from typing import Any

import ml_dtypes
import numpy as np

from . import errors

bool_ = np.dtype("bool")
int8, int16, int32, int64 = (np.dtype(f"int{n}") for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{n}") for n in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{n}") for n in (16, 32, 64))
bfloat16 = np.dtype(ml_dtypes.bfloat16)
complex64, complex128 = np.dtype("complex64"), np.dtype("complex128")

default_int, default_float, default_complex = int64, float32, complex64

_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def kind(dtype: np.dtype[Any]) -> str:
    """Kind letter of a dtype: b bool, i and u integers, f floating (bfloat16 too), c complex, O anything else."""
    return "f" if dtype is bfloat16 else dtype.kind if dtype.kind in _RANK else "O"


def is_differentiable(dtype: np.dtype[Any]) -> bool:
    """Whether derivatives with respect to values of this dtype exist."""
    return dtype.kind in "fc" or dtype is bfloat16


@functools.cache
def promote(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """Smallest dtype that both operands convert to, by the rule above.

    Raises:
      DTypeError: uint64 with a signed integer, for which no integer type is wide enough.
    """
    if a is b:
        return a
    rank_a, rank_b = _RANK[kind(a)], _RANK[kind(b)]
    if rank_a == rank_b == 2 and bfloat16 in (a, b):
        return np.promote_types(float32, b if a is bfloat16 else a)
    if rank_a == rank_b:
        result = np.promote_types(a, b)
        if rank_a == 1 and result.kind == "f":
            raise errors.no_promotion(a, b)
        return result
    low, high = (a, b) if rank_a < rank_b else (b, a)
    if kind(high) == "c" and low is float64:
        return complex128
    return high


def promote_scalar(dtype: np.dtype[Any], scalar: Any) -> np.dtype[Any]:
    """Result of an array of ``dtype`` with a Python scalar (bool, int, float or complex)."""
    rank, kind_of_scalar = _RANK[kind(dtype)], of_scalar(scalar).kind
    if _RANK[kind_of_scalar] <= rank:
        return dtype
    if kind_of_scalar == "c":
        return complex128 if dtype is float64 else complex64
    return default_int if kind_of_scalar == "i" else default_float


def of_scalar(value: Any) -> np.dtype[Any]:
    """Default dtype of a Python scalar."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return default_int
    return default_float if isinstance(value, float) else default_complex


def to_float(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype itself if it is floating or complex, else the default float."""
    return dtype if is_differentiable(dtype) else default_float


def real(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of a complex dtype's parts; any other dtype itself."""
    return {complex64: float32, complex128: float64}.get(dtype, dtype)


def can_cast(a: np.dtype[Any], b: np.dtype[Any]) -> bool:
    """Whether promotion leads from a to b: whether a value of dtype a takes part in computing with b as it is."""
    try:
        return promote(a, b) is b
    except errors.DTypeError:
        return False


_KINDS = {
    "bool": "b",
    "signed integer": "i",
    "unsigned integer": "u",
    "integral": "iu",
    "real floating": "f",
    "complex floating": "c",
    "numeric": "iufc",
}


def is_kind(dtype: np.dtype[Any], name: str) -> bool:
    """Whether a dtype is of a kind that the array API standard names, such as "real floating"."""
    if name not in _KINDS:
        known = ", ".join(map(repr, _KINDS))
        raise errors.argument("isdtype", "kind", name, f"the kinds are {known}", "use one of these, or a dtype")
    return kind(dtype) in _KINDS[name]


def canonical(dtype: Any) -> np.dtype[Any]:
    """NumPy dtype for anything that names one: "float32", float, np.float32, knet.numpy.bfloat16.

    The Python types mean Knet's defaults: float is float32, int is int64, complex is complex64.

    Raises:
      DTypeError: not a numeric or boolean dtype.
    """
    try:
        return _known(dtype)
    except TypeError:  # no dtype, or one without a hash
        pass
    return _canonical(dtype)


def _canonical(dtype: Any) -> np.dtype[Any]:
    if dtype is None:  # NumPy takes it for float64
        raise errors.not_an_array("dtype", dtype)
    if dtype is float:
        return default_float
    if dtype is complex:
        return default_complex
    if isinstance(dtype, str) and dtype == "bfloat16":
        return bfloat16
    try:
        result = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        raise errors.not_an_array("dtype", dtype) from None
    if result == bfloat16:
        return bfloat16
    if result.kind not in _RANK or result.itemsize > 16 or result.name in ("float128", "longdouble"):
        raise errors.not_an_array("dtype", dtype)
    return np.dtype(result.type)


_known = functools.lru_cache(1024, typed=True)(_canonical)
