"""Pooling over windows: maxima and means, each with its adjoint.

Max pooling picks one position a window (the first maximum, in row-major order), so with x fixed it is linear: its
derivative ``max_pool_grad`` and that one's derivative ``max_pool_gather`` are each other's adjoints, to any order.
Parameters are canonical tuples as in conv.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import batching, dtypes, errors
from ..aval import Shape, ShapedArray
from ..primitive import LINEAR, ZERO, primitive
from .conv import Pairs, output_sizes


def pooled_shape(name: str, shape: Shape, window: Shape, stride: Shape, padding: Pairs) -> Shape:
    """[N, C, *S'] for [N, C, *S]."""
    if len(shape) != len(window) + 2:
        raise errors.window(
            name, f"window {list(window)} needs x to be [N, C, *S] with {len(window)} spatial axes", shape,
            "give a window with one size for each spatial axis, or add the batch axis with x[None]",
        )  # fmt: skip
    if any(p >= k for pair, k in zip(padding, window, strict=True) for p in pair):
        raise errors.window(
            name, f"padding {padding} is not smaller than window {list(window)}: a window could miss x altogether",
            shape, "pad less",
        )  # fmt: skip
    sizes = output_sizes(shape[2:], window, stride, padding, (1,) * len(window))
    if min(sizes) < 1:
        raise errors.window(
            name, f"window {list(window)} does not fit into the padded x", shape, "use a smaller window"
        )
    return (*shape[:2], *sizes)


def _windows(window: Shape, out: Shape, stride: Shape) -> Iterator[tuple[slice, ...]]:
    """For each offset in the window, the slice of the padded input that holds it for all windows."""
    for k in itertools.product(*map(range, window)):
        yield (..., *(slice(i, i + (n - 1) * s + 1, s) for i, n, s in zip(k, out, stride, strict=True)))  # type: ignore


def _pad(x: Any, padding: Pairs, value: Any) -> Any:
    return np.pad(x, ((0, 0), (0, 0), *padding), constant_values=value)


def _crop(x: Any, padding: Pairs, sizes: Shape) -> Any:
    return x[(..., *(slice(before, before + s) for (before, _), s in zip(padding, sizes, strict=True)))]


def _lowest(dtype: Any) -> Any:
    return -np.inf if dtypes.is_differentiable(dtype) else np.iinfo(dtype).min


def _chosen(x: Any, y: Any, window: Shape, stride: Shape, padding: Pairs) -> Iterator[tuple[Any, Any]]:
    """For each offset in the window: its slice, and for which windows it is the position chosen."""
    xp = _pad(x, padding, _lowest(x.dtype))
    open_ = np.ones(y.shape, bool)
    for cells in _windows(window, y.shape[2:], stride):
        here = open_ & ((xp[cells] == y) | (np.isnan(xp[cells]) & np.isnan(y)))
        open_ &= ~here
        yield cells, here


@primitive(
    aval=lambda x, *, window, stride, padding: ShapedArray(
        pooled_shape("max_pool", x.shape, window, stride, padding), x.dtype
    ),
    vjp=(lambda g, y, x, **p: max_pool_grad(g, x, y, **p),),
    jvp=lambda primals, tangents, y, **p: max_pool_gather(tangents[0], primals[0], y, **p),
    batch=batching.merged,
)
def max_pool(x: Any, *, window: Shape, stride: Shape, padding: Pairs) -> Any:
    """Maximum over windows; padding counts as -inf; NaN if one is NaN.

    x: [N, C, *S] real. Returns [N, C, *S'], S' = (S + before + after - window) // stride + 1.
    Derivative: the cotangent goes to the first maximum of each window.
    """
    xp = _pad(x, padding, _lowest(x.dtype))
    out = pooled_shape("max_pool", x.shape, window, stride, padding)[2:]
    y = None
    for cells in _windows(window, out, stride):
        y = xp[cells].copy() if y is None else np.maximum(y, xp[cells])
    return y


@primitive(
    aval=lambda g, x, y, **_: ShapedArray(x.shape, g.dtype),
    vjp=(lambda t, _z, _g, x, y, **p: max_pool_gather(t, x, y, **p), ZERO, ZERO),
    jvp=LINEAR(0),
    batch=batching.merged,
)
def max_pool_grad(g: Any, x: Any, y: Any, *, window: Shape, stride: Shape, padding: Pairs) -> Any:
    """Cotangent of max_pool's x: each window's g added at the position of its first maximum.

    g, y: [N, C, *S'], x: [N, C, *S]. Returns x.shape.
    """
    dx = np.zeros((*x.shape[:2], *(s + b + a for s, (b, a) in zip(x.shape[2:], padding, strict=True))), g.dtype)
    for cells, here in _chosen(x, y, window, stride, padding):
        dx[cells] += np.where(here, g, 0)
    return _crop(dx, padding, x.shape[2:])


@primitive(
    aval=lambda t, x, y, **_: ShapedArray(y.shape, t.dtype),
    vjp=(lambda g, _z, _t, x, y, **p: max_pool_grad(g, x, y, **p), ZERO, ZERO),
    jvp=LINEAR(0),
    batch=batching.merged,
)
def max_pool_gather(t: Any, x: Any, y: Any, *, window: Shape, stride: Shape, padding: Pairs) -> Any:
    """t at the position of each window's first maximum: the adjoint of max_pool_grad.

    t, x: [N, C, *S], y: [N, C, *S']. Returns y.shape.
    """
    tp = _pad(t, padding, 0)
    z = np.zeros(y.shape, t.dtype)
    for cells, here in _chosen(x, y, window, stride, padding):
        z += np.where(here, tp[cells], 0)
    return z


def _divisor(shape: Shape, dtype: Any, window: Shape, stride: Shape, padding: Pairs, include_padding: bool) -> Any:
    """Number of cells that each window averages over: the window's size, or its cells within x."""
    if include_padding:
        return np.asarray(np.prod(window), dtype)
    out = output_sizes(shape, window, stride, padding, (1,) * len(window))
    cells = np.pad(np.ones(shape, dtype), padding)
    return np.sum([cells[w] for w in _windows(window, out, stride)], axis=0, dtype=dtype)


@primitive(
    aval=lambda x, *, window, stride, padding, include_padding: ShapedArray(
        pooled_shape("avg_pool", x.shape, window, stride, padding), x.dtype
    ),
    vjp=(lambda g, _y, x_aval, **p: avg_pool_grad(g, input_shape=x_aval.shape, **p),),
    jvp=LINEAR(),
    batch=batching.merged,
)
def avg_pool(x: Any, *, window: Shape, stride: Shape, padding: Pairs, include_padding: bool) -> Any:
    """Mean over windows, of all cells with the padding's zeros or of those within x alone.

    x: [N, C, *S] float. Returns [N, C, *S'].
    """
    out = pooled_shape("avg_pool", x.shape, window, stride, padding)[2:]
    xp = _pad(x, padding, 0)
    total: Any = sum(xp[cells] for cells in _windows(window, out, stride))
    return (total / _divisor(x.shape[2:], x.dtype, window, stride, padding, include_padding)).astype(x.dtype)


@primitive(
    aval=lambda g, *, input_shape, **_: ShapedArray(input_shape, g.dtype),
    vjp=(lambda t, _y, _g, *, input_shape, **p: avg_pool(t, **p),),
    jvp=LINEAR(),
    batch=batching.merged,
)
def avg_pool_grad(
    g: Any, *, input_shape: Shape, window: Shape, stride: Shape, padding: Pairs, include_padding: bool
) -> Any:
    """Cotangent of avg_pool's x.

    g: [N, C, *S']. Returns input_shape = [N, C, *S].
    """
    share = g / _divisor(input_shape[2:], g.dtype, window, stride, padding, include_padding)
    padded = (*input_shape[:2], *(s + b + a for s, (b, a) in zip(input_shape[2:], padding, strict=True)))
    dx = np.zeros(padded, g.dtype)
    for cells in _windows(window, g.shape[2:], stride):
        dx[cells] += share
    return _crop(dx, padding, input_shape[2:])
