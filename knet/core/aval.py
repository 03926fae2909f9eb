"""Abstract values: what is known of an array before it is computed, and the shape rules that families share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Shape = tuple[int, ...]


class ShapedArray:
    """Shape and dtype of an array."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return size_of(self.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapedArray) and self.shape == other.shape and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def __repr__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def aval_of(x: Any) -> ShapedArray:
    """Abstract value of an array-like with ``shape`` and ``dtype``."""
    return x if type(x) is ShapedArray else ShapedArray(x.shape, x.dtype)


def size_of(shape: Sequence[int]) -> int:
    """Number of elements."""
    size = 1
    for n in shape:
        size *= n
    return size


def broadcast_shapes(*shapes: Shape) -> Shape | None:
    """Common shape of NumPy's broadcasting, or None where there is none."""
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    ndim = max(map(len, shapes))
    result = [1] * ndim
    for shape in shapes:
        for axis, n in enumerate(shape, ndim - len(shape)):
            if n != 1:
                if result[axis] not in (1, n):
                    return None
                result[axis] = n
    return tuple(result)


def reduced_shape(shape: Shape, axis: tuple[int, ...], keepdims: bool) -> Shape:
    """Shape after reducing the (canonical) axes."""
    if keepdims:
        return tuple(1 if i in axis else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axis)
