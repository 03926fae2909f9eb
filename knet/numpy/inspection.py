"""What there is and what it can do: dtypes, their limits and promotion, devices, capabilities."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np

from ..core import device as devices
from ..core import dtypes, errors
from ..core.array import Array

__all__ = ["can_cast", "finfo", "iinfo", "isdtype", "result_type"]


def _dtype(x: Any) -> np.dtype[Any]:
    """Dtype of an array, or the dtype that is named."""
    return x.dtype if isinstance(x, (Array, np.ndarray, np.generic)) else dtypes.canonical(x)


def result_type(*operands: Any) -> np.dtype[Any]:
    """The dtype in which operands (arrays, dtypes, Python scalars) meet.

    Raises:
      DTypeError: uint64 with a signed integer.
    """
    dtype, scalars = None, []
    for x in operands:
        if type(x) in (bool, int, float, complex):
            scalars.append(x)
            continue
        own = _dtype(x)
        dtype = own if dtype is None else dtypes.promote(dtype, own)
    for scalar in scalars:
        dtype = dtypes.of_scalar(scalar) if dtype is None else dtypes.promote_scalar(dtype, scalar)
    if dtype is None:
        raise errors.no_arrays("result_type")
    return dtype


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether ``from_`` (an array or a dtype) promotes to the dtype ``to``: whether the two meet in ``to``."""
    return dtypes.can_cast(_dtype(from_), dtypes.canonical(to))


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind.

    Args:
      dtype: a dtype.
      kind: a dtype, "bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating",
        "numeric", or a tuple of these, any of which may apply. bfloat16 is real floating.

    Raises:
      ArgumentError: no such kind.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    dtype = dtypes.canonical(dtype)
    return dtypes.is_kind(dtype, kind) if isinstance(kind, str) else dtype is dtypes.canonical(kind)


@dataclasses.dataclass(frozen=True)
class FloatLimits:
    """Limits of a floating dtype, as Python numbers."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype[Any]


@dataclasses.dataclass(frozen=True)
class IntegerLimits:
    """Limits of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: np.dtype[Any]


def finfo(type: Any, /) -> FloatLimits:
    """Limits of a floating dtype (or an array's): bits, eps, max, min, smallest_normal, dtype.

    eps is the distance from 1 to the next number. A complex dtype has the limits of its parts.

    Raises:
      DTypeError: a dtype that is not floating.
    """
    dtype = dtypes.real(_dtype(type))
    if not dtypes.is_differentiable(dtype):
        raise errors.unsupported_limits("finfo", dtype, "floating-point", "iinfo")
    info = ml_dtypes.finfo(dtype)
    return FloatLimits(info.bits, float(info.eps), float(info.max), float(info.min), float(info.smallest_normal), dtype)


def iinfo(type: Any, /) -> IntegerLimits:
    """Limits of an integer dtype (or an array's): bits, max, min, dtype.

    Raises:
      DTypeError: a dtype that is not an integer one.
    """
    dtype = _dtype(type)
    if dtype.kind not in "iu":
        raise errors.unsupported_limits("iinfo", dtype, "integer", "finfo")
    info = np.iinfo(dtype)
    return IntegerLimits(info.bits, int(info.max), int(info.min), dtype)


_DTYPES = {
    str(d): d
    for d in (
        dtypes.bool_,
        *(dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64),
        *(dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64),
        *(dtypes.float32, dtypes.float64, dtypes.complex64, dtypes.complex128),
    )
}


class Information:
    """What the array API standard lets a library say of itself."""

    def capabilities(self) -> dict[str, Any]:
        """Optional behaviour: boolean indexing and shapes that depend on data work; an array has at most 64 axes."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Any:
        """Where new arrays go."""
        return devices.default_device()

    def devices(self) -> list[Any]:
        """Devices of all backends whose library is there; this loads the libraries."""
        found = [devices.default_device()]
        for name in devices.backend_names():
            try:
                backend = devices.load_backend(name)
                found += [devices.get_device(f"{name}:{i}") for i in range(backend.device_count())]
            except errors.DeviceError:
                continue
        return list(dict.fromkeys(found))

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype[Any]]:
        """Dtypes of arrays that are made without naming one."""
        return {
            "real floating": dtypes.default_float,
            "complex floating": dtypes.default_complex,
            "integral": dtypes.default_int,
            "indexing": dtypes.default_int,
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype[Any]]:
        """The standard's dtypes by name: all, or those of a kind; see :func:`isdtype`."""
        return {name: d for name, d in _DTYPES.items() if kind is None or isdtype(d, kind)}


def __array_namespace_info__() -> Information:
    """What the library can do: capabilities, devices and dtypes, with their defaults."""
    return Information()
