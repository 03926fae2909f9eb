"""The OpenCL device that tests run on, if there is one."""

from __future__ import annotations

import os

import pytest

from knet.core.errors import DeviceError


def opencl_runtime():
    """The first device's runtime. Where there is none, the test is skipped; it fails if KNET_REQUIRE names opencl."""
    try:
        from knet.backends.opencl.runtime import runtimes

        return runtimes()[0]
    except (ImportError, DeviceError) as e:
        required = "opencl" in os.environ.get("KNET_REQUIRE", "").split(",")
        report = pytest.fail if required else pytest.skip
        report(f"no OpenCL device: {e}".splitlines()[0])
