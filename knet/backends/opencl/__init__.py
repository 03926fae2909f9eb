"""The OpenCL backend: PyOpenCL opens devices, compiles and queues; what is computed is printed by knet.compiler."""

from __future__ import annotations

from typing import Any

from ...compiler.device.backend import KernelBackend
from .runtime import runtimes


class OpenCL(KernelBackend):
    """See :class:`knet.core.device.Backend`."""

    name = "opencl"

    def runtimes(self) -> list[Any]:
        return runtimes()


backend = OpenCL()
