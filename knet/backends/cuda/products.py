"""Matrix products of programs and eager operations: launches of cuBLAS among those of kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...compiler.graph import Node
from ...compiler.kernels.blas import Gemm
from ...compiler.kernels.blas_calls import multiply
from ...compiler.kernels.kernel import Extent, Kernel
from ...compiler.layout import Ref
from .cublas import DATA, available

_LIBRARY, _PREFIX = "cuBLAS", "cublas_gemm_"


def matmul(lowering: Any, node: Node) -> bool:
    """Generator of matmul."""
    (result,) = node.results
    if not _taken(node):
        return False
    x, w = (lowering.ref(value) for value in node.operands)
    multiply(lowering, x, w, lowering.result(result), _LIBRARY, _PREFIX)
    return True


def matvec(lowering: Any, node: Node) -> bool:
    """Generator of matvec, which programs have as matmul: the vectors become matrices of one row or column."""
    (result,) = node.results
    if not _taken(node):
        return False
    x, w = (lowering.ref(value) for value in node.operands)
    if len(x.shape) == 1:
        x = Ref(x.buffer, (1, *x.shape), (0, *x.strides), x.offset)
    if len(w.shape) == 1:
        w = Ref(w.buffer, (*w.shape, 1), (*w.strides, 0), w.offset)
    y = lowering.result(result)
    y = Ref(y.buffer, (x.shape[0], w.shape[1]), None, y.offset)
    multiply(lowering, x, w, y, _LIBRARY, _PREFIX)
    return True


def _taken(node: Node) -> bool:
    """Whether cuBLAS computes with these dtypes and sizes. Where there is nothing to add up it is not asked."""
    (result,) = node.results
    sizes = [n for value in (*node.operands, result) for n in value.shape]
    return result.dtype.name in DATA and 0 not in sizes and max(result.size, *sizes, 0) < 2**31 and available()


PRODUCTS = {"matmul": matmul, "matvec": matvec}


def product_function(kernel: Kernel) -> GemmFunction:
    """What runs a product."""
    return GemmFunction(kernel.name.removeprefix(_PREFIX), kernel.itemsizes[0])


class GemmFunction:
    """cuBLAS's product for a dtype, in the place of a :class:`launch.Function`."""

    __slots__ = ("dtype", "itemsize")

    def __init__(self, dtype: str, itemsize: int) -> None:
        self.dtype = dtype
        self.itemsize = itemsize

    def launch(self, runtime: Any, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]) -> None:
        """Queue the product once."""
        self.prepare(runtime, groups, pointers, numbers).run()

    def prepare(
        self, runtime: Any, groups: Extent, pointers: Sequence[tuple[Any, int]], numbers: Sequence[Any]
    ) -> PreparedGemm:
        """A product for many runs."""
        return PreparedGemm(runtime, self, pointers, Gemm(*numbers))


class PreparedGemm:
    """A product whose arrays are known; ``run`` queues it, in the precision in force then. It holds no memory."""

    __slots__ = ("_addresses", "_call", "_function", "_runtime")

    def __init__(self, runtime: Any, function: GemmFunction, pointers: Sequence[tuple[Any, int]], call: Gemm) -> None:
        self._runtime = runtime
        self._function = function
        self._call = call
        self._addresses = [0] * len(pointers)
        for i, (memory, offset) in enumerate(pointers):
            if memory is not None:
                self.set(i, memory, offset)

    def set(self, i: int, memory: Any, offset: int) -> None:
        """Let pointer i point to another piece of memory, ``offset`` in elements."""
        self._addresses[i] = memory.ptr + offset * self._function.itemsize

    def run(self) -> None:
        """Queue the product."""
        runtime = self._runtime
        stream = runtime.here()
        if stream:
            runtime.blas.gemm(self._call, self._function.dtype, *self._addresses, stream)
        else:
            with runtime.current() as stream:
                runtime.blas.gemm(self._call, self._function.dtype, *self._addresses, stream)
        runtime.launched += 1
