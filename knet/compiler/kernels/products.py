"""Matrix products of any strides: the generator of matmul and matvec, and ``product`` for what is made of one."""

from __future__ import annotations

from typing import Any

from ...core import dtypes
from ..graph import Node
from ..layout import Ref
from ..scalar import C_TYPES, HALF
from . import gemm_items, gemm_loops
from .contraction import Contraction, Elements, Epilogue


def product(
    lowering: Any, x: Ref, w: Ref, y: Ref, epilogue: Epilogue | None = None, elements: Elements | None = None
) -> None:
    """Launches of y[..., m, n] = sum_k x[..., m, k] w[..., k, n].

    Args:
      x: [..., M, K], of any strides.
      w: [..., K, N], of any strides; batch axes of x and w broadcast to those of y.
      y: [..., M, N], of any strides, which overlaps neither.
      epilogue: statements for each element in place of storing it in y; see ``contraction.Epilogue``.
      elements: C text of an element of x, which then is nowhere in memory and only tells its shape (and may be w's
        Ref under another shape); see ``contraction.Elements``.

    Numerics: sums have no fixed rounding but depend on shapes, strides and the device only. Half types accumulate in
    float32 and are rounded once, integers wrap, truth values are or-ed.
    """
    if y.size == 0:
        return
    form = gemm_loops if lowering.target.loops else gemm_items
    form.gemm(lowering, Contraction(x, w, y, epilogue, elements))


def computed(target: Any, dtype: Any) -> bool:
    """Whether there are products of a dtype on a device."""
    if dtype == dtypes.float64 and not target.doubles:
        return False
    return dtype.name in C_TYPES or dtype.name in HALF


def matmul(lowering: Any, node: Node) -> bool:
    """Launches of matmul, and of matvec, whose vectors are matrices of one row or column."""
    if not computed(lowering.target, node.results[0].dtype):
        return False
    x, w = (lowering.ref(operand) for operand in node.operands)
    y = lowering.result(node.results[0])
    if node.op.name == "matvec":
        if len(x.shape) == 1:
            x, y = _row(x), _row(y)
        if len(w.shape) == 1:
            w, y = _column(w), _column(y)
    product(lowering, x, w, y)
    return True


def _row(v: Ref) -> Ref:
    return Ref(v.buffer, (1, *v.shape), (0, *v.strides), v.offset)


def _column(v: Ref) -> Ref:
    return Ref(v.buffer, (*v.shape, 1), (*v.strides, 0), v.offset)


GENERATORS = {"matmul": matmul, "matvec": matmul}
