"""Kernels of matrix products from graph nodes: which strides the generator takes, and what is folded into it."""

from __future__ import annotations

from ....compiler.graph import Node
from ....compiler.layout import Ref, reshaped
from ....core import dtypes
from ....core.aval import size_of
from .gemm import gemm
from .kernel import Kernel


def product(name: str, x: Ref, w: Ref, y: Ref, threads: int) -> tuple[Kernel, list[Ref], float] | None:
    """The kernel of y = x @ w, its operands and its work; None if an operand must be copied to dense first."""
    if x.dtype != dtypes.float32:
        return None
    # A batch that shares w is one tall product.
    if len(w.shape) == 2 and len(x.shape) > 2:
        tall = reshaped(x, (size_of(x.shape[:-1]), x.shape[-1]))
        if tall is not None:
            flat = reshaped(y, (tall.shape[0], y.shape[-1]))
            if flat is None:
                return None
            x, y = tall, flat
    c = _matrix(y)
    if c is None or c[1]:
        return None
    m, k, n = x.shape[-2], x.shape[-1], w.shape[-1]
    a, b = _matrix(x), _matrix(w)
    if a is None or b is None:
        return None
    batch = y.shape[:-2]
    kernel = gemm(
        name, m=m, n=n, k=k, transpose_a=a[1], transpose_b=b[1], batch=batch, lda=a[0], ldb=b[0],
        strides_a=_batch_strides(x, batch), strides_b=_batch_strides(w, batch),
        ldc=c[0], strides_c=y.strides[:-2], threads=threads,
    )  # fmt: skip
    return kernel, [x, w, y], size_of(batch) * m * n * k / 8


def fits(node: Node, y: Ref) -> bool:
    """Whether the product of a node can be written to a place that is not dense."""
    x, w = node.values
    place = _matrix(y)
    return (len(w.shape) > 2 or len(x.shape) == 2) and place is not None and not place[1]


def _matrix(x: Ref) -> tuple[int, bool] | None:
    """(floats between stored rows, whether stored transposed) of the last two axes; None if neither has stride 1."""
    (rows, columns), (step, inner) = x.shape[-2:], x.strides[-2:]
    if columns == 1 and rows == 1:
        return 1, False
    if columns == 1:
        return (1, False) if step == 1 else (step, False) if step >= 1 else None
    if rows == 1:
        return (columns, False) if inner == 1 else (inner, True) if inner > 1 else None
    if inner == 1 and step >= columns:
        return step, False
    if step == 1 and inner >= rows:
        return inner, True
    return None


def _batch_strides(x: Ref, batch: tuple[int, ...]) -> tuple[int, ...]:
    own, lead = x.strides[:-2], len(batch) - (len(x.shape) - 2)
    steps = (0,) * lead + tuple(s if n != 1 else 0 for s, n in zip(own, x.shape[:-2], strict=True))
    return steps
