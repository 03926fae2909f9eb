"""Matrix products of programs and eager operations: launches of cuBLAS among those of kernels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from ...compiler.graph import Node
from ...compiler.kernels.kernel import Extent, Kernel, Launch
from ...compiler.layout import Ref
from ...core import ShapedArray
from .blas import Gemm, gemm
from .cublas import DATA, available

_PREFIX = "cublas_gemm_"


class Product(Launch):
    """A launch that is a call of cuBLAS: its numbers are the fields of :class:`Gemm`, and it has no text."""

    @functools.cached_property
    def kernel(self) -> Kernel:
        sizes = tuple(ref.dtype.itemsize for ref in self.operands)
        return Kernel(self.name, "", tuple(self.number_kinds), self.items, sizes)


def matmul(lowering: Any, node: Node) -> bool:
    """Generator of matmul."""
    (result,) = node.results
    if not _taken(node):
        return False
    x, w = (lowering.ref(value) for value in node.operands)
    _multiply(lowering, x, w, lowering.result(result))
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
    _multiply(lowering, x, w, Ref(y.buffer, (x.shape[0], w.shape[1]), None, y.offset))
    return True


def _taken(node: Node) -> bool:
    """Whether cuBLAS computes with these dtypes and sizes. Where there is nothing to add up it is not asked."""
    (result,) = node.results
    sizes = [n for value in (*node.operands, result) for n in value.shape]
    return result.dtype.name in DATA and 0 not in sizes and max(result.size, *sizes, 0) < 2**31 and available()


def _multiply(lowering: Any, x: Ref, w: Ref, y: Ref) -> None:
    """Append y = x w: one call; what has strides that BLAS cannot express is copied before it, or after it."""
    lead = y.shape[:-2]
    if gemm(Ref(x.buffer, (*lead, *x.shape[-2:])), Ref(w.buffer, (*lead, *w.shape[-2:])), y) is None:
        own = lowering.new(ShapedArray(y.shape, y.dtype))
        _multiply(lowering, x, w, own)
        lowering.copy(own, y, "product to its place")
        return
    call = gemm(x, w, y)
    if call is None:
        x, w = _readable(lowering, x, w, y)
        call = gemm(x, w, y)
    assert call is not None, (x, w, y)
    a, b = (w, x) if call.swapped else (x, w)
    text = f"{list(y.shape)}: matmul by cuBLAS"
    work = 2.0 * call.m * call.n * call.k * call.batch
    lowering.launch(
        Product(
            _PREFIX + y.dtype.name, "", [a, b, y], frozenset((2,)), [], list(call), ["long"] * len(call), (1, 1, 1),
            (1, 1, 1), True, text, work,
        )
    )  # fmt: skip


def _readable(lowering: Any, x: Ref, w: Ref, y: Ref) -> tuple[Ref, Ref]:
    """Operands of which those are copied that keep the product from being one call.

    One copy is tried before both: an operand alone may be what BLAS cannot read.
    """
    dense_x, dense_w = Ref(x.buffer, x.shape), Ref(w.buffer, w.shape)
    if gemm(dense_x, w, y):
        return _copied(lowering, x, x.shape), w
    if gemm(x, dense_w, y):
        return x, _copied(lowering, w, w.shape)
    if gemm(dense_x, dense_w, y):
        return _copied(lowering, x, x.shape), _copied(lowering, w, w.shape)
    # Batch axes of which one broadcasts and another does not: written out in full.
    lead = y.shape[:-2]
    return _copied(lowering, x, (*lead, *x.shape[-2:])), _copied(lowering, w, (*lead, *w.shape[-2:]))


def _copied(lowering: Any, ref: Ref, shape: tuple[int, ...]) -> Ref:
    missing = len(shape) - len(ref.shape)
    strides = tuple(
        0 if n != m else s for n, m, s in zip(shape, (0,) * missing + ref.shape, (0,) * missing + ref.strides)
    )
    return lowering.dense(Ref(ref.buffer, shape, strides, ref.offset))


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
