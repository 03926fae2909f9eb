"""The CUDA devices of this machine, or why there are none and what to do about it."""

from __future__ import annotations

from cupy_backends.cuda.api import runtime as api

from ...core import errors

DRIVERS = {12: "r525", 13: "r580"}  # the first driver of each CUDA release (CUDA release notes, table of drivers)


def count_devices() -> int:
    """Number of devices.

    Raises:
      DeviceError: no driver, one too old for CuPy's CUDA, or no device.
    """
    release = api.runtimeGetVersion() // 1000
    needed = DRIVERS.get(release, f"one for CUDA {release}")
    driver = api.driverGetVersion()
    if driver == 0:
        raise errors.no_cuda_device(
            "no NVIDIA driver is installed",
            f"install the driver of the GPU, {needed} or newer for CUDA {release}; nvidia-smi shows it",
        )
    if driver // 1000 < release:
        found = f"{driver // 1000}.{driver % 1000 // 10}"
        older = f'pip install "knet[cuda{driver // 1000}]" in place of CuPy for CUDA {release}'
        raise errors.no_cuda_device(
            f"the NVIDIA driver is made for CUDA {found}, and this CuPy for CUDA {release}",
            f"install driver {needed} or newer" + (f", or {older}" if driver // 1000 in DRIVERS else ""),
        )
    try:
        count = api.getDeviceCount()
    except api.CUDARuntimeError as e:
        raise errors.no_cuda_device(
            f"the driver finds no device ({e})", "see whether nvidia-smi lists one, and what CUDA_VISIBLE_DEVICES says"
        ) from e
    if count == 0:
        raise errors.no_cuda_device("the driver finds no device", "see what CUDA_VISIBLE_DEVICES says")
    return count
