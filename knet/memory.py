"""Memory of devices that have a pool: how much is used and held, a limit, and giving back what is not used.

A device's driver is slow at giving memory, so what arrays leave is held in a pool for the next ones. ``used`` counts
what arrays have, ``held`` what the process has from the driver. The CPU backend has no pool: its arrays are NumPy's,
and the functions raise DeviceError for it. ``KNET_MEMORY_LIMIT`` (bytes, "2GiB", "80%") limits every device from when
it is opened.

A backend takes part by a method ``runtime(device)``, whose result has ``memory_used()``, ``memory_held()``,
``memory_limit()``, ``set_memory_limit(limit)`` and ``free_memory()``.
"""

from __future__ import annotations

from typing import Any

from .core import errors
from .core.device import Device, as_device

__all__ = ["free", "held", "limit", "set_limit", "used"]


def used(device: Device | str | None = None) -> int:
    """Bytes of a device's memory that arrays and compiled programs have.

    Args:
      device: such as "opencl" or "cuda:1", or ``x.device``; the default device if None.

    Raises:
      DeviceError: the device has no pool.
    """
    return _pool("used", device).memory_used()


def held(device: Device | str | None = None) -> int:
    """Bytes that the process has of a device's memory: those in use, and those kept for the next arrays.

    Args:
      device: as of :func:`used`.

    Raises:
      DeviceError: the device has no pool.
    """
    return _pool("held", device).memory_held()


def limit(device: Device | str | None = None) -> int | None:
    """Bytes that may be held, or None without a limit.

    Args:
      device: as of :func:`used`.

    Raises:
      DeviceError: the device has no pool.
    """
    return _pool("limit", device).memory_limit()


def set_limit(limit: int | str | None, device: Device | str | None = None) -> None:
    """Limit what may be held. What would exceed it raises OutOfMemory; arrays that exist stay as they are.

    Args:
      limit: bytes, a text such as "2GiB", "500MB" or "80%" of the device's memory, or None for no limit.
      device: as of :func:`used`.

    Raises:
      DeviceError: the device has no pool.
      ArgumentError: the limit is none of these.
    """
    _pool("set_limit", device).set_memory_limit(limit)


def free(device: Device | str | None = None) -> None:
    """Give what is held and not in use back to the driver, for other programs. No array is lost.

    Args:
      device: as of :func:`used`.

    Raises:
      DeviceError: the device has no pool.
    """
    _pool("free", device).free_memory()


def _pool(where: str, device: Any) -> Any:
    device = as_device(device)
    runtime = getattr(device.backend, "runtime", None)
    if runtime is None:
        raise errors.no_pool(where, device)
    return runtime(device)
