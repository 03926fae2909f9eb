"""Functions that make arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import dtypes, errors
from ..core.array import Array
from ..core.device import as_array, as_device, from_numpy
from ..core.device import from_dlpack as _from_dlpack
from ..core.device import to_device as _to_device
from ..core.ops import elementwise
from . import manipulation

__all__ = [
    "arange",
    "array",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "to_device",
    "tri",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Array:
    """Array for a number, a (nested) list of numbers or arrays, a NumPy array, or anything with ``__array__``.

    Python numbers get the default dtypes: bool, int64, float32, complex64. NumPy arrays keep their dtype, and on the
    CPU their memory is shared unless ``copy=True``: do not write to it afterwards.

    Args:
      dtype: of the result; the data's own if None.
      device: where to put it; the default device if None.
      copy: True always copies, False raises where a copy is needed, None copies where needed.

    Raises:
      DTypeError: data that are no numbers. ShapeError: rows of different lengths.

    Example:
      >>> import knet.numpy as knp
      >>> knp.asarray([1.0, 2.0])
      Array([1., 2.], dtype=float32)
    """
    if dtype is device is copy is None and isinstance(obj, (Array, np.ndarray)):
        return as_array(obj)
    target = None if dtype is None else dtypes.canonical(dtype)
    if isinstance(obj, (list, tuple)):
        if copy is False:
            raise errors.argument("asarray", "copy", copy, "a list always has to be copied", "drop copy=False")
        return _from_list(obj, target, device)
    if isinstance(obj, (bool, int, float, complex)) and target is not None:
        x: Any = from_numpy(_convert(obj, target), as_device(device))
    else:
        if copy and isinstance(obj, np.ndarray):
            obj = np.array(obj, dtypes.canonical(obj.dtype))
        x = as_array(obj, device=as_device(device))
        if copy is False and isinstance(obj, np.ndarray) and x.device.backend.name != "cpu":
            rule = f"a NumPy array has to be copied to {x.device}"
            raise errors.argument("asarray", "copy", copy, rule, "drop copy=False, or pass device='cpu'")
    if device is not None:
        x = to_device(x, device)
    if target is not None and x.dtype is not target:
        if copy is False:
            raise errors.argument("asarray", "copy", copy, f"{x.dtype} to {target} needs a copy", "drop copy=False")
        x = elementwise.cast(x, target)
    return x


def _convert(data: Any, dtype: Any) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(data, dtype)
    except OverflowError as e:
        raise errors.argument("asarray", "obj", data, f"{e}", f"choose a wider dtype than {dtype}") from None
    except (TypeError, ValueError):
        raise errors.not_an_array("asarray", data) from None


def _from_list(data: Sequence[Any], target: Any, device: Any) -> Array:
    if _holds_arrays(data):
        # Tracers inside: stacking them keeps their derivative, which a NumPy array would lose.
        rows = [asarray(row, dtype=target, device=device) for row in data]
        if any(row.shape != rows[0].shape for row in rows):
            raise errors.ragged(data, "rows have different shapes")
        return manipulation.stack(rows)
    try:
        host = np.asarray(data)
    except ValueError as e:
        raise errors.ragged(data, str(e).partition(" The detected")[0].rstrip(".")) from None
    if host.dtype.kind not in "biufc":
        raise errors.not_an_array("asarray", data)
    if target is None:
        target = _list_dtype(data, host)
    return from_numpy(_convert(host, target), as_device(device))


def _holds_arrays(data: Any) -> bool:
    if isinstance(data, Array):
        return True
    return isinstance(data, (list, tuple)) and any(map(_holds_arrays, data))


def _list_dtype(data: Any, host: np.ndarray[Any, Any]) -> np.dtype[Any]:
    """NumPy's dtype if the list holds NumPy values, else the default of its kind."""
    if host.size == 0:
        return dtypes.default_float
    first = data
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    if isinstance(first, (np.ndarray, np.generic)) and not isinstance(first, float):
        return dtypes.canonical(host.dtype)
    return {"f": dtypes.default_float, "c": dtypes.default_complex, "b": dtypes.bool_}.get(
        host.dtype.kind, dtypes.canonical(host.dtype)
    )


def array(obj: Any, dtype: Any = None, *, copy: bool = True, device: Any = None) -> Array:
    """Array with a copy of the data; otherwise as :func:`asarray`."""
    return asarray(obj, dtype=dtype, device=device, copy=None if isinstance(obj, (list, tuple)) else copy or None)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """Array with the contents of another library's array, whose memory it shares where that is possible.

    Do not write to x afterwards: arrays here are immutable, and nobody tells them of a change.

    Args:
      x: an object with ``__dlpack__`` and ``__dlpack_device__``.
      device: where to put it; None leaves it in the memory where it is.
      copy: True always copies, False raises where a copy is needed.

    Raises:
      DTypeError: x does not speak DLPack. BufferError: its memory or dtype cannot be read, or not without a copy.

    Example:
      >>> import numpy
      >>> import knet.numpy as knp
      >>> knp.from_dlpack(numpy.arange(3))
      Array([0, 1, 2])
    """
    if isinstance(x, Array):
        return asarray(x, device=device, copy=copy)
    if not hasattr(x, "__dlpack__"):
        raise errors.not_an_array("from_dlpack", x)
    shared = _from_dlpack(x, bool(copy))
    if shared is not None:
        if copy is False and device is not None and as_device(device) is not shared.device:
            raise BufferError(f"from_dlpack: x is on {shared.device}, and copy=False forbids to move it to {device}")
        return asarray(shared, device=device)
    host = np.from_dlpack(x)
    host = host.astype(dtypes.canonical(host.dtype), copy=bool(copy))
    return from_numpy(host, as_device("cpu" if device is None else device))


def to_device(x: Any, device: Any, /) -> Array:
    """The array on another device; itself if it is there already.

    Raises:
      DeviceError: unknown device. TracerError: x is traced (move the data before the transformation).
    """
    return _to_device(as_array(x), device)


def _float(dtype: Any) -> np.dtype[Any]:
    return dtypes.default_float if dtype is None else dtypes.canonical(dtype)


def _shape(shape: Any, where: str) -> tuple[int, ...]:
    if type(shape) is tuple and all(type(n) is int and n >= 0 for n in shape):
        return shape
    try:
        result = (int(shape.__index__()),) if hasattr(shape, "__index__") else tuple(int(n.__index__()) for n in shape)
    except (TypeError, AttributeError):
        raise errors.shape_argument(
            where, "shape", shape, "a shape is an int or a tuple of ints", "write shape=(2, 3)"
        ) from None
    if any(n < 0 for n in result):
        raise errors.shape_argument(where, "shape", shape, "sizes must not be negative", "correct the size")
    return result


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """Array of ``shape`` with one value everywhere; its dtype is the value's (float32 for a Python float)."""
    shape = _shape(shape, "full")
    if isinstance(fill_value, Array):
        return manipulation.broadcast_to(asarray(fill_value, dtype=dtype, device=device), shape)
    target = dtypes.of_scalar(fill_value) if dtype is None else dtypes.canonical(dtype)
    return from_numpy(np.full(shape, _convert(fill_value, target), target), as_device(device))


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """Array of zeros, float32 by default."""
    return from_numpy(np.zeros(_shape(shape, "zeros"), _float(dtype)), as_device(device))


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """Array of ones, float32 by default."""
    return from_numpy(np.ones(_shape(shape, "ones"), _float(dtype)), as_device(device))


def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """Array of zeros: arrays are immutable, so an uninitialised one would be of no use."""
    return zeros(shape, dtype=dtype, device=device)


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """Array with the shape, dtype and device of x (as far as not given) and one value everywhere."""
    x = as_array(x)
    return full(x.shape, fill_value, dtype=x.dtype if dtype is None else dtype, device=device or x.device)


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Zeros with the shape, dtype and device of x (as far as not given)."""
    return full_like(x, 0, dtype=dtype, device=device)


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Ones with the shape, dtype and device of x (as far as not given)."""
    return full_like(x, 1, dtype=dtype, device=device)


def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Array:
    """Zeros with the shape, dtype and device of x; see :func:`empty`."""
    return zeros_like(x, dtype=dtype, device=device)


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Array:
    """Numbers from start (included) to stop (excluded) by step; one argument is stop. int64, or float32 for floats.

    Returns:
      [ceil((stop - start) / step)].
    """
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise errors.argument("arange", "step", step, "a step must not be 0", "give a positive or negative step")
    if dtype is None:
        dtype = dtypes.default_float if any(isinstance(v, float) for v in (start, stop, step)) else dtypes.default_int
    return from_numpy(np.arange(start, stop, step).astype(dtypes.canonical(dtype), copy=False), as_device(device))


def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Array:
    """``num`` evenly spaced numbers from start to stop (included if endpoint), along a new first axis.

    y[i] = start + (stop - start) i / (num - 1), with num in place of num - 1 without the endpoint.

    Args:
      start, stop: numbers, or arrays [...], by which the result can be differentiated.

    Returns:
      [num, ...], float32 or complex64 for Python numbers.
    """
    if num < 0:
        raise errors.argument("linspace", "num", num, "a count must not be negative", "give num >= 0")
    steps = num - 1 if endpoint else num
    if isinstance(start, (Array, np.ndarray)) or isinstance(stop, (Array, np.ndarray)):
        a, b = elementwise.operands(start, stop)
        kind = dtypes.to_float(a.dtype)
        weight = np.arange(num, dtype=dtypes.real(kind)).reshape((num,) + (1,) * max(a.ndim, b.ndim))
        t = from_numpy(np.asarray(weight / max(steps, 1), dtypes.real(kind)), a.device)
        y = a * (1 - t) + b * t  # exact at both ends
        return y if dtype is None else manipulation.astype(y, dtype)
    complex_numbers = isinstance(start, complex) or isinstance(stop, complex)
    target = (dtypes.default_complex if complex_numbers else dtypes.default_float) if dtype is None else dtype
    return from_numpy(_convert(np.linspace(start, stop, num, endpoint=endpoint), target), as_device(device))


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Array:
    """Ones on the k-th diagonal, zeros elsewhere. Returns [n_rows, n_cols]."""
    return from_numpy(np.eye(n_rows, n_cols, k, _float(dtype)), as_device(device))


def tri(n_rows: int, n_cols: int | None = None, k: int = 0, *, dtype: Any = None, device: Any = None) -> Array:
    """Ones on and below the k-th diagonal, zeros above. Returns [n_rows, n_cols]."""
    return from_numpy(np.tri(n_rows, n_cols, k, _float(dtype)), as_device(device))


def tril(x: Any, /, *, k: int = 0) -> Array:
    """x [..., M, N] with the elements above the k-th diagonal set to zero."""
    x = as_array(x)
    return elementwise.where(_triangle(x, k, "tril"), x, 0)


def triu(x: Any, /, *, k: int = 0) -> Array:
    """x [..., M, N] with the elements below the k-th diagonal set to zero."""
    x = as_array(x)
    return elementwise.where(_triangle(x, k - 1, "triu"), 0, x)


def _triangle(x: Array, k: int, where: str) -> Array:
    """Whether an element of x's last two axes is on or below the k-th diagonal."""
    if x.ndim < 2:
        raise errors.shape_argument(where, "x", list(x.shape), "x needs at least two axes", "pass a matrix")
    return tri(x.shape[-2], x.shape[-1], k, dtype=bool, device=x.device)
