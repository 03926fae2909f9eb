"""NumPy's shorthands for what takes two calls otherwise: pairs of results, choices, pieces, indices of triangles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import dtypes, errors
from ..core.array import Array
from ..core.device import as_array, from_numpy
from ..core.ops import elementwise, reduce
from ..core.ops.special import fmod
from .creation import eye
from .manipulation import canonical_axes, canonical_axis, concatenate, ravel, split
from .products import diag

__all__ = [
    "append",
    "array_split",
    "diagflat",
    "divmod",
    "dsplit",
    "float_power",
    "hsplit",
    "identity",
    "logaddexp2",
    "modf",
    "ptp",
    "rint",
    "select",
    "tril_indices",
    "triu_indices",
    "vsplit",
]

rint = elementwise.rint


# --- elementwise ------------------------------------------------------------------------------------------------------


def divmod(x: Any, y: Any, /) -> tuple[Array, Array]:
    """Quotient and remainder, floor_divide(x, y) and remainder(x, y)."""
    return elementwise.floor_divide(x, y), elementwise.remainder(x, y)


def modf(x: Any, /) -> tuple[Array, Array]:
    """Fractional and integer part, both with the sign of x, whose sum is x.

    Args:
      x: [...] real.

    Returns:
      Two arrays [...], floating. The derivative of the first is 1, of the second 0.
    """
    x = as_array(x)
    x = elementwise.cast(x, dtypes.to_float(x.dtype))
    infinite = elementwise.isinf(x)
    zero = elementwise.copysign(elementwise.where(infinite, 0.0, elementwise.stop_gradient(x)), x)
    return elementwise.where(infinite, zero, fmod(elementwise.where(infinite, 1.0, x), 1.0)), elementwise.trunc(x)


def logaddexp2(x: Any, y: Any, /) -> Array:
    """log2(2 ** x + 2 ** y), without overflow."""
    x, y = elementwise.operands(x, y)
    x, y = (elementwise.cast(v, dtypes.to_float(v.dtype)) * math.log(2) for v in (x, y))
    return elementwise.logaddexp(x, y) / math.log(2)


def float_power(x: Any, y: Any, /) -> Array:
    """x ** y in floating-point numbers, whatever the operands' dtypes: integers may have negative powers."""
    x, y = elementwise.operands(x, y)
    return elementwise.power(*(elementwise.cast(v, dtypes.to_float(v.dtype)) for v in (x, y)))


def select(conditions: Sequence[Any], choices: Sequence[Any], default: Any = 0) -> Array:
    """For each element the choice of the first condition that holds, else ``default``; all of them broadcast.

    Args:
      conditions: booleans, [...] each. choices: as many, [...].

    Raises:
      ArgumentError: other numbers of conditions and choices, or none.
    """
    if len(conditions) != len(choices) or not conditions:
        raise errors.argument(
            "select", "choices", f"{len(choices)} of them", f"there are {len(conditions)} conditions, each needs one",
            "pass one choice for each condition, and at least one",
        )  # fmt: skip
    *values, y = elementwise.operands(*choices, default)
    for condition, value in zip(reversed(conditions), reversed(values), strict=True):
        y = elementwise.where(elementwise.not_equal(condition, 0), value, y)
    return y


# --- arrays -----------------------------------------------------------------------------------------------------------


def ptp(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Largest less smallest element over axes."""
    x = as_array(x)
    axes = canonical_axes(axis, x.ndim, "ptp")
    high, low = (f(x, axis=axes, keepdims=keepdims) for f in (reduce.reduce_max, reduce.reduce_min))
    return elementwise.subtract(high, low)


def append(x: Any, values: Any, /, axis: int | None = None) -> Array:
    """x with values behind it along an axis; None: both flattened."""
    return concatenate(elementwise.operands(x, values), axis=axis)


def array_split(x: Any, indices_or_sections: Any, /, axis: int = 0) -> list[Array]:
    """Pieces of x along an axis, as :func:`split`; where n does not divide the size, the first ones are longer by 1."""
    x = as_array(x)
    axis = canonical_axis(axis, x.ndim, "array_split")
    if isinstance(indices_or_sections, int) and indices_or_sections > 0:
        each, longer = (x.shape[axis] // indices_or_sections, x.shape[axis] % indices_or_sections)
        sizes = [each + 1] * longer + [each] * (indices_or_sections - longer)
        indices_or_sections = list(np.cumsum(sizes)[:-1].tolist())
    return split(x, indices_or_sections, axis)


def hsplit(x: Any, indices_or_sections: Any, /) -> list[Array]:
    """Pieces of x along the second axis, or the only one; see :func:`split`."""
    x = as_array(x)
    return split(x, indices_or_sections, 0 if x.ndim == 1 else 1)


def vsplit(x: Any, indices_or_sections: Any, /) -> list[Array]:
    """Pieces of x along the first axis; see :func:`split`."""
    return split(x, indices_or_sections, 0)


def dsplit(x: Any, indices_or_sections: Any, /) -> list[Array]:
    """Pieces of x along the third axis; see :func:`split`."""
    return split(x, indices_or_sections, 2)


def diagflat(x: Any, /, k: int = 0) -> Array:
    """Matrix with the flattened x on its k-th diagonal."""
    return diag(ravel(as_array(x)), k)


def identity(n: int, *, dtype: Any = None, device: Any = None) -> Array:
    """Identity matrix, [n, n]."""
    return eye(n, dtype=dtype, device=device)


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, Array]:
    """Row and column numbers of the elements of an [n, m] matrix on and below the k-th diagonal, row by row."""
    rows, columns = np.tril_indices(n, k, m)
    return from_numpy(rows.astype(np.int64)), from_numpy(columns.astype(np.int64))


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, Array]:
    """Row and column numbers of the elements of an [n, m] matrix on and above the k-th diagonal, row by row."""
    rows, columns = np.triu_indices(n, k, m)
    return from_numpy(rows.astype(np.int64)), from_numpy(columns.astype(np.int64))
