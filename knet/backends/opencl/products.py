"""Matrix products of programs and eager operations as calls of CLBlast among the launches of kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...compiler.graph import Node
from ...compiler.kernels.blas import Gemm
from ...compiler.kernels.blas_calls import multiply
from ...compiler.kernels.kernel import Kernel
from ...compiler.kernels.products import computed
from ...compiler.layout import Ref
from .clblast import LETTERS, Gemms
from .devices import cl

_LIBRARY, _PREFIX = "CLBlast", "clblast_gemm_"
_THIN = 16  # rows or columns below which most of a tile of CLBlast's is padding
_TILE = 128  # the largest tile that it is tuned to: what it copies is padded to a multiple
_FAR = 2**30  # elements: offsets and extents are ints in its kernels, and are added


def matmul(lowering: Any, node: Node) -> bool:
    """Generator of matmul. Products that CLBlast does not take, or is slow at, are left to Knet's kernels."""
    (result,) = node.results
    if result.dtype.name not in LETTERS or not computed(lowering.target, result.dtype):
        return False
    x, w = (lowering.ref(value) for value in node.operands)
    if not _taken(x, w, result.shape):
        return False
    multiply(lowering, x, w, lowering.result(result), _LIBRARY, _PREFIX)
    return True


def _taken(x: Ref, w: Ref, shape: tuple[int, ...]) -> bool:
    """Whether neither rows nor columns are few, and every index of operands and padded copies is an int."""
    *lead, m, n = shape
    k, count = x.shape[-1], math.prod(lead)
    if len(w.shape) == 2:
        m, count = m * count, 1
    if min(m, n) < _THIN or min(k, count) == 0:
        return False
    rows, columns, inner = (-(-size // _TILE) * _TILE for size in (m, n, k))
    extents = (sum(abs(s) * (size - 1) for s, size in zip(ref.strides, ref.shape)) for ref in (x, w))
    return count * (rows * columns + rows * inner + inner * columns) < _FAR and max(extents) < _FAR


PRODUCTS = {"matmul": matmul}


class GemmFunction:
    """CLBlast's product for a dtype, in the place of a :class:`programs.Function`."""

    __slots__ = ("__weakref__", "gemms", "itemsize")

    def __init__(self, runtime: Any, kernel: Kernel) -> None:
        self.gemms = Gemms(runtime, kernel.name.removeprefix(_PREFIX))
        self.itemsize = kernel.itemsizes[0]


class PreparedGemm:
    """A product whose arrays are known; ``run`` queues it. It keeps no memory alive: whoever runs it does."""

    __slots__ = ("_call", "_function", "_places", "_runtime")

    def __init__(
        self, runtime: Any, function: GemmFunction, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]
    ) -> None:
        self._runtime = runtime
        self._function = function
        self._call = Gemm(*numbers)
        self._places: list[tuple[Any, int]] = [(None, 0)] * len(pointers)
        for i, (memory, offset) in enumerate(pointers):
            if memory is not None:  # it is set later
                self.set(i, memory, offset)

    def set(self, i: int, memory: Any, offset: int = 0) -> None:
        """Let pointer ``i`` begin at an element of another piece of memory, from the next ``run`` on."""
        self._places[i] = (memory.int_ptr, offset) if offset < _FAR else self._part(memory, offset)

    def _part(self, memory: Any, offset: int) -> tuple[Any, int]:
        """A buffer within a large one, and the offset in it: it begins where the device allows, before the element."""
        size = self._function.itemsize
        aligned = self._runtime.queue.device.mem_base_addr_align // 8
        start = offset * size // aligned * aligned
        whole = cl.Buffer.from_int_ptr(memory.int_ptr)
        return whole.get_sub_region(start, whole.size - start), offset - start // size

    def run(self) -> None:
        """Queue the product."""
        places = [(getattr(buffer, "int_ptr", buffer), offset) for buffer, offset in self._places]
        self._function.gemms.queue(self._call, places)
        self._runtime.launched += 1
