"""Products as calls of a BLAS among the launches of kernels; the library itself is the backend's."""

from __future__ import annotations

import functools
from typing import Any

from ...core import ShapedArray
from ..layout import Ref
from .blas import gemm
from .kernel import Kernel, Launch


class Product(Launch):
    """A launch that is a call of a library: its numbers are the fields of :class:`blas.Gemm`, and it has no text."""

    @functools.cached_property
    def kernel(self) -> Kernel:
        sizes = tuple(ref.dtype.itemsize for ref in self.operands)
        return Kernel(self.name, "", tuple(self.number_kinds), self.items, sizes)


def multiply(lowering: Any, x: Ref, w: Ref, y: Ref, library: str, prefix: str) -> None:
    """Append y = x w: one call; what has strides that BLAS cannot express is copied before it, or after it.

    Args:
      x: [..., M, K], w: [..., K, N], y: [..., M, N]: arrays of one dtype and no size 0.
      library: its name, for people.
      prefix: of the name of the kernel that stands for the call; the dtype's follows.
    """
    lead = y.shape[:-2]
    if gemm(Ref(x.buffer, (*lead, *x.shape[-2:])), Ref(w.buffer, (*lead, *w.shape[-2:])), y) is None:
        own = lowering.new(ShapedArray(y.shape, y.dtype))
        multiply(lowering, x, w, own, library, prefix)
        lowering.copy(own, y, "product to its place")
        return
    call = gemm(x, w, y)
    if call is None:
        x, w = _readable(lowering, x, w, y)
        call = gemm(x, w, y)
    assert call is not None, (x, w, y)
    a, b = (w, x) if call.swapped else (x, w)
    text = f"{list(y.shape)}: matmul by {library}"
    work = 2.0 * call.m * call.n * call.k * call.batch
    lowering.launch(
        Product(
            prefix + y.dtype.name, "", [a, b, y], frozenset((2,)), [], list(call), ["long"] * len(call), (1, 1, 1),
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
