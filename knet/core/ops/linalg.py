"""Contractions. Matrix product is the one primitive; einsum, tensordot and dot are made of it in knet.numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import batching, errors
from ..aval import ShapedArray, broadcast_shapes, size_of
from ..primitive import MULTILINEAR, primitive
from . import shape as shape_ops
from .reduce import reduce_sum, wide


def swap_last(x: Any) -> Any:
    """Last two axes exchanged; a view."""
    axes = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
    return shape_ops.permute(x, axes=axes)


def _unbatch(c: Any, shape: Any) -> Any:
    """Cotangent summed over the batch axes along which the operand was broadcast."""
    if c.shape == shape:
        return c
    lead = c.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(i + lead for i, n in enumerate(shape[:-2]) if n == 1 and c.shape[i + lead] != 1)
    c = reduce_sum(c, axis=axes, keepdims=False)
    return c if c.shape == shape else shape_ops.reshape(c, shape=shape)


def _aval(x: Any, w: Any) -> ShapedArray:
    if x.dtype != w.dtype:
        raise errors.unsupported_dtype("matmul", ("x", "w"), (x, w), "operands of one dtype")
    if len(x.shape) < 2 or len(w.shape) < 2 or x.shape[-1] != w.shape[-2]:
        raise errors.matmul(x, w)
    batch = broadcast_shapes(x.shape[:-2], w.shape[:-2])
    if batch is None:
        raise errors.matmul(x, w)
    return ShapedArray((*batch, x.shape[-2], w.shape[-1]), x.dtype)


def _matmul_batch(primitive: Any, args: Any, batched: Any, size: int) -> Any:
    (x, w), ndim = args, max(map(batching.rank, args, batched))
    if not batched[1] and w.ndim == 2:
        # One tall product, not a batch of small ones.
        tall = shape_ops.reshape(x, shape=(size_of(x.shape[:-1]), x.shape[-1]))
        return shape_ops.reshape(matmul(tall, w), shape=(*x.shape[:-1], w.shape[-1]))
    return matmul(batching.align(x, batched[0], ndim), batching.align(w, batched[1], ndim))


@primitive(
    aval=_aval,
    vjp=(
        lambda g, _y, x_aval, w: _unbatch(matmul(g, swap_last(w)), x_aval.shape),
        lambda g, _y, x, w_aval: _unbatch(matmul(swap_last(x), g), w_aval.shape),
    ),
    jvp=MULTILINEAR(0, 1),
    batch=_matmul_batch,
)
def matmul(x: Any, w: Any) -> Any:
    """Matrix product of the last two axes, batched over the others: y[..., m, n] = sum_k x[..., m, k] w[..., k, n].

    x: [..., M, K], w: [..., K, N], one dtype; batch axes broadcast. Returns [..., M, N]. Half types accumulate in
    float32.
    """
    if wide(x) is np.float32:
        return np.matmul(x.astype(np.float32), w.astype(np.float32)).astype(x.dtype)
    return np.matmul(x, w)
