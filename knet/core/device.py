"""Backends by name, devices, the default device, and evaluation: the trace at level 0.

A backend is a module with an object ``backend`` that satisfies :class:`Backend`. Knet's own are found in ``_BUILT_IN``,
a third party's through the entry-point group ``knet.backends``. One is imported when its name is first used, never
before: ``import knet`` probes no device.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np

from . import dtypes, errors
from .array import Array, DeviceArray
from .trace import bottom

_BUILT_IN = {
    "cpu": "knet.backends.cpu",
    "cuda": "knet.backends.cuda",
    "opencl": "knet.backends.opencl",
}


class Backend(Protocol):
    """What core asks of a backend. A buffer is whatever the backend likes, with ``shape`` and ``dtype``.

    A backend may have more methods. ``select(buffer, index)``: ``buffer[index]`` by NumPy's rules, for an index made
    of integers, slices, None, ... and buffers of integers or booleans. Whatever it raises, another path is taken.
    ``exported(buffer)``: an object that speaks DLPack for a buffer without a copy, and ``from_dlpack(x, index,
    copy)``: a buffer in the memory of an object that speaks it on the backend's device ``index``, or in a copy.
    """

    name: str

    def device_count(self) -> int:
        """Number of devices; raises DeviceError with the reason where there is none."""

    def kernel(self, primitive: Any) -> Any:
        """Function of buffers and parameters that returns a buffer (a tuple for several), or None without a kernel."""

    def from_host(self, array: np.ndarray[Any, Any], device: Device) -> Any:
        """Buffer with the contents of a NumPy array; may share its memory."""

    def to_host(self, buffer: Any) -> np.ndarray[Any, Any]:
        """NumPy array with the contents of a buffer; may share its memory; waits for the device."""

    def scalar(self, value: Any, dtype: np.dtype[Any], device: Device) -> Any:
        """Operand for a Python scalar beside arrays with axes. Beside a 0-d buffer kernels get the Python scalar."""

    def cast(self, buffer: Any, dtype: np.dtype[Any]) -> Any:
        """Buffer converted to another dtype."""

    def synchronize(self, device: Device) -> None:
        """Wait until all work on the device is done."""


class Device:
    """One device of a backend, printed as ``cpu:0``.

    ``kernels[primitive]`` is a kernel, ``scalars[number, dtype]`` an operand for a Python scalar.
    """

    __slots__ = ("backend", "index", "kernels", "scalars", "select")

    def __init__(self, backend: Any, index: int, kernels: Any) -> None:
        self.backend = backend
        self.index = index
        self.kernels = kernels
        self.scalars = _Scalars(self)
        self.select = getattr(backend, "select", None)

    def __repr__(self) -> str:
        return f"{self.backend.name}:{self.index}"

    def __reduce__(self) -> Any:
        return get_device, (repr(self),)


# core.debug's way in: called with every result while it is set.
inspect_results: Any = None
kernel_tables: list[_Kernels] = []


class _Kernels(dict):
    """Kernels of a device, each looked up when first called; absent ones run their body on the host."""

    device: Device

    def __init__(self, backend: Any) -> None:
        super().__init__()
        self.backend = backend
        kernel_tables.append(self)

    def __missing__(self, primitive: Any) -> Any:
        kernel = self.backend.kernel(primitive) or on_host(primitive, self.device)
        if inspect_results is not None:
            kernel = self._inspected(primitive, kernel)
        self[primitive] = kernel
        return kernel

    def _inspected(self, primitive: Any, kernel: Any) -> Any:
        def inspected(*buffers: Any, **params: Any) -> Any:
            out = kernel(*buffers, **params)
            if inspect_results is not None:
                inspect_results(primitive, self.backend, buffers, out if primitive.multiple else (out,))
            return out

        return inspected


def on_host(primitive: Any, device: Device) -> Any:
    """What takes the place of a kernel that a backend lacks: the primitive's body, on the host.

    Said once for each primitive and backend (KNET_FALLBACK=warn), kept silent ("silent"), or refused ("error").

    Raises:
      MissingKernel: under KNET_FALLBACK=error.
    """
    backend, policy = device.backend, os.environ.get("KNET_FALLBACK", "warn")
    if policy == "error":
        raise errors.missing_kernel(primitive.name, backend.name)
    if policy == "warn" and (primitive.name, backend.name) not in _said:
        _said.add((primitive.name, backend.name))
        warnings.warn(
            f"{primitive.name}: no kernel on {backend.name}; computed on the host (said once; KNET_FALLBACK=silent "
            f"hides this, KNET_FALLBACK=error forbids it)",
            RuntimeWarning,
            stacklevel=5,
        )

    def computed(*buffers: Any, **params: Any) -> Any:
        hosts = [b if isinstance(b, (bool, int, float, complex)) else backend.to_host(b) for b in buffers]
        out = primitive.body(*hosts, **params)
        if primitive.multiple:
            return tuple(backend.from_host(np.asarray(y), device) for y in out)
        return backend.from_host(np.asarray(out), device)

    return computed


_said: set[tuple[str, str]] = set()


class _Scalars(dict):
    """Operands for Python scalars, kept because the same few constants come back in every step.

    Zeros are not kept: 0.0 and -0.0 are equal as keys, and differ.
    """

    _LIMIT = 4096

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device = device

    def __missing__(self, key: tuple[Any, np.dtype[Any]]) -> Any:
        value, dtype = key
        operand = self.device.backend.scalar(value, dtype, self.device)
        if value != 0:
            if len(self) >= self._LIMIT:
                self.clear()
            self[key] = operand
        return operand


def backend_names() -> list[str]:
    """Names of all backends, built in and plugged in, without importing any."""
    return [*_BUILT_IN, *(n for n in _entry_points() if n not in _BUILT_IN)]


@functools.cache
def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points  # deferred: 10 ms that only a look-up by name needs

    return {entry.name: entry for entry in entry_points(group="knet.backends")}


@functools.cache
def load_backend(name: str) -> Any:
    """The backend of this name, imported on first use.

    Raises:
      DeviceError: no such backend, or its library cannot be imported.
    """
    if name in _BUILT_IN:
        module = _BUILT_IN[name]
    elif name in _entry_points():
        module = _entry_points()[name].value.partition(":")[0]
    else:
        raise errors.unknown_backend(name, backend_names())
    try:
        return importlib.import_module(module).backend
    except ImportError as e:
        raise errors.backend_unavailable(name, str(e)) from e


_loading = threading.RLock()


def get_device(name: str) -> Device:
    """Device for "cpu", "cuda:1", "opencl:0"; without a number, the first.

    Raises:
      DeviceError: unknown backend, or no such device.
    """
    with _loading:  # devices are compared by identity, so two threads must not make one each
        return _device(name)


@functools.cache
def _device(name: str) -> Device:
    backend_name, _, number = name.partition(":")
    backend = load_backend(backend_name)
    count = backend.device_count()
    if not (number or "0").isdecimal() or int(number or 0) >= count:
        raise errors.unknown_device(name, count)
    canonical = f"{backend_name}:{int(number or 0)}"
    if name != canonical:
        return _device(canonical)
    kernels = _Kernels(backend)
    kernels.device = Device(backend, int(number), kernels)
    return kernels.device


_default: list[Device] = []
_override: ContextVar[Device | None] = ContextVar("knet_device", default=None)


def default_device() -> Device:
    """Where new arrays go: the innermost use_backend, else set_backend's, else KNET_BACKEND's, else the CPU."""
    device = _override.get()
    if device is None:
        if not _default:
            _default.append(get_device(os.environ.get("KNET_BACKEND") or "cpu"))
        device = _default[0]
    return device


def set_backend(name: str) -> None:
    """Make "cpu", "cuda", "opencl" or one of their devices ("cuda:1") the default of the process.

    Raises:
      DeviceError: unknown name, missing library, or no such device; the default stays as it was.

    Example:
      >>> import knet
      >>> knet.set_backend("cpu")
    """
    _default[:] = [get_device(name)]


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[Device]:
    """Context in which new arrays go to another backend or device; local to the thread or task.

    Example:
      >>> import knet
      >>> with knet.use_backend("cpu") as device:
      ...     print(device)
      cpu:0
    """
    token = _override.set(get_device(name))
    try:
        yield default_device()
    finally:
        _override.reset(token)


def as_device(device: Any) -> Device:
    """Device for a Device, a name, or None (the default)."""
    if device is None:
        return default_device()
    return device if isinstance(device, Device) else get_device(str(device))


# --- values in and out ----------------------------------------------------------------------------------------------


def from_numpy(array: np.ndarray[Any, Any], device: Device | None = None) -> DeviceArray:
    """Array on a device with the contents of a NumPy array (shared where the device allows)."""
    device = device or default_device()
    return DeviceArray(device.backend.from_host(array, device), device)


def as_array(x: Any, where: str = "asarray", device: Device | None = None) -> Array:
    """Array for anything that an operation accepts as an operand: an array, a Python or NumPy number, a NumPy array.

    What is no array of Knet's goes to ``device``, or to the default one.

    Lists are refused here, as in JAX, because converting them in every operation hides cost; knet.numpy.asarray takes
    them.
    """
    if isinstance(x, Array):
        return x
    if isinstance(x, (bool, int, float, complex)):
        return from_numpy(np.asarray(x, dtypes.of_scalar(x)), device)
    if isinstance(x, (np.ndarray, np.generic)):
        return from_numpy(np.asarray(x, dtypes.canonical(x.dtype)), device)
    if hasattr(x, "__array__") and not isinstance(x, (list, tuple)):
        host = np.asarray(x)
        return from_numpy(host.astype(dtypes.canonical(host.dtype), copy=False), device)
    raise errors.not_an_array(where, x)


_DLPACK_KINDS = {2: "cuda", 13: "cuda"}  # kDLCUDA, kDLCUDAManaged


def from_dlpack(x: Any, copy: bool) -> DeviceArray | None:
    """Array in the memory of another library's array on a device, or in a copy; None where NumPy is to read it."""
    if not hasattr(x, "__dlpack_device__"):
        return None
    kind, index = map(int, x.__dlpack_device__())
    if kind not in _DLPACK_KINDS:
        return None
    device = get_device(f"{_DLPACK_KINDS[kind]}:{index}")
    return DeviceArray(device.backend.from_dlpack(x, index, copy), device)


def to_device(x: Array, device: Any) -> Array:
    """The array on another device; itself if it is there already."""
    target = as_device(device)
    if x.device is target:
        return x
    if not isinstance(x, DeviceArray):
        raise errors.traced_move(errors.describe(x), target)
    return from_numpy(x._device.backend.to_host(x._buffer), target)


def _evaluate(primitive: Any, args: Sequence[Any], params: dict[str, Any]) -> Any:
    """Level 0: convert what is not an array yet, then run the kernel."""
    arrays = not primitive.scalars
    for x in args:
        if type(x) is DeviceArray:
            arrays = True
        elif not (primitive.scalars and isinstance(x, _SCALARS)):
            if isinstance(x, Array):  # not on a device: such an array knows itself what a primitive makes of it
                return x.evaluate(primitive, args, params)  # type: ignore[attr-defined]
            args = [x if primitive.scalars and isinstance(x, _SCALARS) else as_array(x, primitive.name) for x in args]
            return primitive(*args, **params)
    if not arrays:
        args = [as_array(x) for x in args]  # one operand must be an array: it decides the device
    return primitive.evaluate(args, params)


_SCALARS = (bool, int, float, complex)
bottom.process = _evaluate
