"""NumPy's shorthands around stacking, turning and listing, and grids in geometric progression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import dtypes, errors
from ..core.array import Array
from ..core.device import as_array, from_numpy
from ..core.ops import elementwise
from .creation import linspace
from .indexing import nonzero, take
from .manipulation import canonical_axes, concatenate, expand_dims, flip, ravel, reshape, stack, swapaxes

__all__ = [
    "argwhere",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "column_stack",
    "dstack",
    "flatnonzero",
    "fliplr",
    "flipud",
    "geomspace",
    "hstack",
    "logspace",
    "rot90",
    "unique",
    "vstack",
]


def atleast_1d(x: Any, /) -> Array:
    """x with at least one axis: [] becomes [1]."""
    x = as_array(x)
    return x if x.ndim else reshape(x, (1,))


def atleast_2d(x: Any, /) -> Array:
    """x with at least two axes: [N] becomes [1, N]."""
    x = atleast_1d(x)
    return x if x.ndim > 1 else reshape(x, (1, *x.shape))


def atleast_3d(x: Any, /) -> Array:
    """x with at least three axes: [N] becomes [1, N, 1], [M, N] becomes [M, N, 1]."""
    x = atleast_2d(x)
    return x if x.ndim > 2 else reshape(x, (*x.shape, 1))


def vstack(arrays: Sequence[Any], /) -> Array:
    """Arrays joined along the first axis; vectors are rows."""
    return concatenate([atleast_2d(x) for x in arrays], axis=0)


def hstack(arrays: Sequence[Any], /) -> Array:
    """Arrays joined along the second axis; vectors one after the other."""
    xs = [atleast_1d(x) for x in arrays]
    return concatenate(xs, axis=0 if xs and xs[0].ndim == 1 else 1)


def dstack(arrays: Sequence[Any], /) -> Array:
    """Arrays joined along the third axis."""
    return concatenate([atleast_3d(x) for x in arrays], axis=2)


def column_stack(arrays: Sequence[Any], /) -> Array:
    """Matrices joined along the second axis; vectors are columns."""
    xs = [as_array(x) for x in arrays]
    return concatenate([x if x.ndim > 1 else expand_dims(ravel(x), axis=1) for x in xs], axis=1)


def fliplr(x: Any, /) -> Array:
    """Order reversed along the second axis."""
    return flip(x, axis=1)


def flipud(x: Any, /) -> Array:
    """Order reversed along the first axis."""
    return flip(x, axis=0)


def rot90(x: Any, /, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """x turned by k quarters of a circle in the plane of two axes, from the first to the second."""
    x = as_array(x)
    if len(axes) != 2:
        raise errors.argument("rot90", "axes", axes, "a plane has two axes", "pass axes=(0, 1)")
    canonical_axes(tuple(axes), x.ndim, "rot90")
    a, b = (axis % x.ndim for axis in axes)
    turns = k % 4
    if turns == 2:
        return flip(x, axis=(a, b))
    if turns:
        x = swapaxes(flip(x, axis=b), a, b) if turns == 1 else flip(swapaxes(x, a, b), axis=b)
    return x


def flatnonzero(x: Any, /) -> Array:
    """Places in row-major order of the elements that are not zero; their number is known on the host only."""
    return nonzero(ravel(as_array(x)))[0]


def argwhere(x: Any, /) -> Array:
    """Indices of the elements that are not zero, [count, x.ndim]; their number is known on the host only."""
    x = as_array(x)
    if not x.ndim:
        return reshape(nonzero(atleast_1d(x))[0], (-1, 1))[:, :0]
    return stack(nonzero(x), axis=1)


def unique(
    x: Any, /, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False,
    axis: int | None = None, *, equal_nan: bool = True,
) -> Any:  # fmt: skip
    """Different elements in ascending order (slices along ``axis``, if given); how many is known on the host only.

    Args:
      return_index: also return where each occurs first.
      return_inverse: also return which of them each element of x is.
      return_counts: also return how often each occurs.
      equal_nan: count NaN as one element.

    Returns:
      The elements; a tuple with what else is asked for, int64. The derivative of an element goes to where it is first.

    Raises:
      TracerError: within a transformation whose shapes must be known beforehand.
    """
    x = as_array(x)
    find: Any = np.unique
    _, first, inverse, counts = find(x._host("unique"), True, True, True, axis, equal_nan=equal_nan)
    elements = take(ravel(x) if axis is None else x, from_numpy(first, x.device), axis=axis or 0)
    asked = ((return_index, first), (return_inverse, inverse), (return_counts, counts))
    others = [from_numpy(np.asarray(v, np.int64), x.device) for wanted, v in asked if wanted]
    return (elements, *others) if others else elements


def logspace(
    start: float, stop: float, /, num: int = 50, *, endpoint: bool = True, base: float = 10.0, dtype: Any = None
) -> Array:
    """``num`` numbers base ** start to base ** stop (included if endpoint), in geometric progression. Returns [num]."""
    exponents = linspace(start, stop, num, endpoint=endpoint, dtype=dtypes.float64)
    target = dtypes.default_float if dtype is None else dtypes.canonical(dtype)
    return elementwise.cast(elementwise.power(base, exponents), target)


def geomspace(start: float, stop: float, /, num: int = 50, *, endpoint: bool = True, dtype: Any = None) -> Array:
    """``num`` numbers from start to stop (included if endpoint) in geometric progression; both of one sign, not 0."""
    if not start * stop > 0:
        raise errors.argument(
            "geomspace", "(start, stop)", (start, stop), "both must be positive, or both negative", "pass start > 0"
        )
    target = dtypes.default_float if dtype is None else dtypes.canonical(dtype)
    return from_numpy(np.geomspace(start, stop, num, endpoint=endpoint).astype(target))
