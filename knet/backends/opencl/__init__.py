"""The OpenCL backend: kernels of Knet's own printer, run by PyOpenCL on the devices of any maker."""

from __future__ import annotations

from typing import Any

from ...compiler.device.backend import KernelBackend
from . import runtime


class OpenCL(KernelBackend):
    """See :class:`knet.core.device.Backend`."""

    name = "opencl"

    def runtimes(self) -> list[Any]:
        return runtime.runtimes()


backend = OpenCL()
