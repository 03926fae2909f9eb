"""Constant arrays. One element is stored and broadcast; what needs its own memory copies it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..array import Array
from ..aval import Shape
from ..device import as_device, from_numpy
from . import shape as shape_ops


def full(shape: Shape, value: Any, dtype: Any, device: Any = None) -> Any:
    """Array with one value everywhere."""
    scalar = from_numpy(np.asarray(value, dtype), as_device(device))
    return shape_ops.broadcast_to(scalar, shape=tuple(shape)) if shape else scalar


def zeros(shape: Shape, dtype: Any, device: Any = None) -> Any:
    """Array of zeros."""
    return full(shape, 0, dtype, device)


def _device_of(x: Any) -> Any:
    """Where an operand is computed with: a NumPy array, whose own ``device`` is text, on the default device."""
    return x.device if isinstance(x, Array) else None


def zeros_like(x: Any) -> Any:
    """Zeros with the shape, dtype and device of x."""
    return full(x.shape, 0, x.dtype, _device_of(x))


def ones_like(x: Any) -> Any:
    """Ones with the shape, dtype and device of x."""
    return full(x.shape, 1, x.dtype, _device_of(x))


def arange(stop: int, dtype: Any, device: Any = None) -> Any:
    """0, 1, ..., stop - 1."""
    return from_numpy(np.arange(stop, dtype=dtype), as_device(device))
