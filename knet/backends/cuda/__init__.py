"""The CUDA backend: kernels printed by Knet and compiled by NVRTC, products by cuBLAS, memory and streams by CuPy.

What has no kernel is CuPy's as far as that goes (``libraries.py``), and the host's beyond.
"""

from __future__ import annotations

import threading
from typing import Any

try:
    import cupy  # noqa: F401
except ImportError as e:
    raise ImportError(
        f'{e}; pip install "knet[cuda13]" (NVIDIA driver r580 or newer) or "knet[cuda12]" (r525 or newer), with [ctk] '
        f'behind CuPy\'s name, as in "cupy-cuda13x[ctk]", where no CUDA toolkit is installed'
    ) from e

from ...compiler.device.backend import KernelBackend
from ...compiler.device.buffer import DeviceBuffer
from . import exchange
from .by_cupy import CudaOperation
from .devices import count_devices
from .graph import CudaProgram
from .libraries import CALLS
from .products import PRODUCTS
from .runtime import CudaRuntime


class CUDA(KernelBackend):
    """See :class:`knet.core.device.Backend`."""

    name = "cuda"
    operation = CudaOperation

    def __init__(self) -> None:
        super().__init__()
        self._runtimes: list[CudaRuntime] = []
        self._lock = threading.Lock()

    def runtimes(self) -> list[CudaRuntime]:
        """A runtime for each device, all made when one is first asked for."""
        with self._lock:
            if not self._runtimes:
                self._runtimes = [CudaRuntime(index) for index in range(count_devices())]
            return self._runtimes

    def kernel(self, primitive: Any) -> Any:
        if primitive.name in PRODUCTS or primitive.name in CALLS:
            return self.operations.setdefault(primitive, CudaOperation(primitive))
        return super().kernel(primitive)

    def compile(self, graph: Any, device: Any, donated: tuple[int, ...]) -> CudaProgram:
        """Program of a graph (see knet.compiler.execute)."""
        return CudaProgram(graph, device, self.runtime(device), donated)

    # --- other libraries ---------------------------------------------------------------------------------------------

    def exported(self, buffer: DeviceBuffer) -> Any:
        """What speaks DLPack and ``__cuda_array_interface__`` for a buffer, without a copy."""
        return exchange.exported(buffer)

    def from_dlpack(self, x: Any, index: int, copy: bool) -> DeviceBuffer:
        """Buffer in the memory of another library's array on device ``index``, or in a copy of it."""
        return exchange.imported(x, self.runtimes()[index], copy)


backend = CUDA()
