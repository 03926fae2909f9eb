"""OpenCL devices: which there are, in which order, which of them is number 0, and what kernels are printed for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...compiler.kernels.target import Target
from ...core import errors

try:
    import pyopencl as cl
except ImportError as e:
    raise ImportError(f'{e} (pip install "knet[opencl]", or "knet[pocl]" with a driver for CPUs)') from e


class Choice(NamedTuple):
    """A device beside its platform, whose version tells drivers of one name apart."""

    platform: Any
    device: Any

    def __str__(self) -> str:
        version = self.platform.version.partition(",")[0]  # PoCL goes on with how it was built
        return " ".join(f"{self.device.name} ({self.platform.name}, {version})".split()).replace(" )", ")")


def find_devices(platforms: Sequence[Any] | None = None) -> list[Choice]:
    """Devices of all platforms: GPUs, then accelerators, then CPUs, otherwise as the drivers list them.

    The environment variable ``KNET_OPENCL_DEVICE`` puts one of them first: its number in this order, or part of the
    name of the device, or of its platform's name or version ("PoCL 3.1"), in capitals or not.

    Raises:
      DeviceError: no driver, no device, or none that the variable describes.
    """
    if platforms is None:
        platforms = _platforms()
    found = [Choice(platform, device) for platform in platforms for device in _devices(platform)]
    if not found:
        raise errors.no_opencl_device([f"{p.name.strip()} ({p.version.strip()})" for p in platforms])
    found.sort(key=lambda choice: _rank(choice.device))  # sorting is stable
    wanted = os.environ.get("KNET_OPENCL_DEVICE", "").strip()
    if wanted:
        number = _number(wanted, found)
        found.insert(0, found.pop(number))
    return found


def _platforms() -> list[Any]:
    try:
        return list(cl.get_platforms())
    except cl.Error as e:  # PLATFORM_NOT_FOUND_KHR, which loaders raise where no driver is registered
        raise errors.no_opencl_device([]) from e


def _devices(platform: Any) -> list[Any]:
    try:
        return list(platform.get_devices())
    except cl.Error:  # DEVICE_NOT_FOUND: a driver without its hardware must not hide those of others
        return []


def _rank(device: Any) -> int:
    order = (cl.device_type.GPU, cl.device_type.ACCELERATOR, cl.device_type.CPU)
    return next((rank for rank, kind in enumerate(order) if device.type & kind), len(order))


def _number(wanted: str, found: Sequence[Choice]) -> int:
    if wanted.isdecimal():
        if int(wanted) < len(found):
            return int(wanted)
    else:
        for number, choice in enumerate(found):
            names = (choice.device.name, choice.platform.name, choice.platform.version)
            if any(wanted.lower() in name.lower() for name in names):
                return number
    raise errors.no_such_opencl_device(wanted, [str(choice) for choice in found])


def target_of(device: Any) -> Target:
    """What kernels for a device are printed for.

    ``KNET_OPENCL_FORM``, "loops" or "items", asks for the form of CPUs or of GPUs whatever the device is: so the
    kernels of GPUs can be executed on a CPU.

    Raises:
      DeviceError: another value of the variable.
    """
    form = os.environ.get("KNET_OPENCL_FORM") or ("loops" if device.type & cl.device_type.CPU else "items")
    if form not in ("loops", "items"):
        raise errors.unknown_opencl_form(form)
    loops = form == "loops"
    return Target(
        dialect="opencl",
        loops=loops,
        items=1 if loops else _items(device),
        units=max(1, device.max_compute_units),
        local_bytes=device.local_mem_size,
        vector=max(1, device.native_vector_width_float) if loops else 1,
        doubles="cl_khr_fp64" in device.extensions.split(),
    )


def _items(device: Any) -> int:
    """256 items on GPUs, 64 where a CPU plays one, or as many as the device can."""
    wanted = 64 if device.type & cl.device_type.CPU else 256
    items = 1
    while items * 2 <= min(wanted, device.max_work_group_size):
        items *= 2
    return items


def build_options(device: Any) -> list[str]:
    """Options of its compiler. Quotients and roots are rounded exactly where it can, which GPUs do only if asked."""
    exact = device.single_fp_config & cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT
    return ["-cl-std=CL1.2", "-w", *(["-cl-fp32-correctly-rounded-divide-sqrt"] if exact else [])]


def works_in_host_memory(device: Any) -> bool:
    """Whether the device's memory is the host's, and what is mapped is no copy."""
    return bool(device.type & cl.device_type.CPU and device.host_unified_memory)
