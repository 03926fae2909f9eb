"""Convolution and its two gradients: three bilinear primitives, each one's derivatives made of the other two.

Parameters are canonical: stride and dilation are tuples, padding is a tuple of (before, after) pairs, one of each for
every spatial axis. N batch, C and O channels in and out, G groups, S spatial sizes, K kernel sizes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import batching, errors
from ..aval import Shape, ShapedArray, size_of
from ..primitive import MULTILINEAR, primitive
from . import shape as shape_ops

Pairs = tuple[tuple[int, int], ...]


def output_sizes(sizes: Shape, kernel: Shape, stride: Shape, padding: Pairs, dilation: Shape) -> Shape:
    """(S + before + after - dilation (K - 1) - 1) // stride + 1, for each axis; can be <= 0 where nothing fits."""
    return tuple(
        (s + before + after - d * (k - 1) - 1) // step + 1
        for s, k, step, (before, after), d in zip(sizes, kernel, stride, padding, dilation, strict=True)
    )


def _conv_aval(x: Any, w: Any, *, stride: Shape, padding: Pairs, dilation: Shape, groups: int) -> ShapedArray:
    if x.dtype != w.dtype:
        raise errors.unsupported_dtype("conv", ("x", "w"), (x, w), "operands of one dtype")
    if len(x.shape) != len(w.shape) or len(x.shape) < 3:
        raise errors.conv(
            "conv", "x is [N, C, *S] and w [O, C/groups, *K] with the same number of axes, at least 3",
            x.shape, w.shape, "add the missing axis, such as x[:, None] for a single channel",
        )  # fmt: skip
    if x.shape[1] != groups * w.shape[1] or w.shape[0] % groups:
        raise errors.conv(
            "conv", f"x has C = {x.shape[1]} channels; with groups={groups} w must be [O, {x.shape[1]}/{groups}, *K], "
            f"O divisible by {groups}", x.shape, w.shape, "make w's second axis C / groups",
        )  # fmt: skip
    sizes = output_sizes(x.shape[2:], w.shape[2:], stride, padding, dilation)
    if min(sizes) < 1:
        raise errors.conv(
            "conv", f"the (dilated) kernel does not fit into the padded input: output sizes {list(sizes)}",
            x.shape, w.shape, "use a smaller kernel, or more padding",
        )  # fmt: skip
    return ShapedArray((x.shape[0], w.shape[0], *sizes), x.dtype)


def _offsets(kernel: Shape, out: Shape, stride: Shape, dilation: Shape) -> Iterator[tuple[Any, Any]]:
    """Each offset in the kernel, with the slice of the padded input that it meets."""
    for k in itertools.product(*map(range, kernel)):
        yield (
            k,
            tuple(
                slice(i * d, i * d + (n - 1) * s + 1, s) for i, d, n, s in zip(k, dilation, out, stride, strict=True)
            ),
        )


def _padded(x: Any, padding: Pairs) -> Any:
    return np.pad(x, ((0, 0), (0, 0), *padding))


def _grouped(x: Any, groups: int, axis: int) -> Any:
    return x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])


# --- batching: one convolution in place of a batch of them. The batch joins N where only x-like operands have it, the
# channels where only w has it, and the groups where both have it.


def _join_groups(x: Any, axis: int, groups: int) -> Any:
    """The batch axis merged into a channel axis inside each of its groups: [B, .., G c, ..] to [.., G B c, ..]."""
    x = shape_ops.reshape(x, shape=(*x.shape[: axis + 1], groups, x.shape[axis + 1] // groups, *x.shape[axis + 2 :]))
    x = batching.join(x, axis + 1)
    return shape_ops.reshape(x, shape=(*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :]))


def _part_groups(y: Any, axis: int, groups: int, size: int) -> Any:
    """The inverse of :func:`_join_groups`."""
    y = shape_ops.reshape(y, shape=(*y.shape[:axis], groups, y.shape[axis] // groups, *y.shape[axis + 1 :]))
    y = batching.part(y, axis + 1, size)
    return shape_ops.reshape(
        y, shape=(*y.shape[: axis + 1], y.shape[axis + 1] * y.shape[axis + 2], *y.shape[axis + 3 :])
    )


def _conv_batch(primitive: Any, args: Any, batched: Any, size: int, *, groups: int, **p: Any) -> Any:
    x, w = args
    if not batched[1]:
        return batching.part(conv(batching.join(x, 0), w, groups=groups, **p), 0, size)
    if not batched[0]:
        return _part_groups(conv(x, _join_groups(w, 0, groups), groups=groups, **p), 1, groups, size)
    return batching.part(conv(batching.join(x, 1), batching.join(w, 0), groups=size * groups, **p), 1, size)


def _input_grad_batch(
    primitive: Any, args: Any, batched: Any, size: int, *, input_shape: Shape, groups: int, **p: Any
) -> Any:
    (g, w), (n, c, *s) = args, input_shape
    if not batched[1]:
        dx = conv_input_grad(batching.join(g, 0), w, input_shape=(size * n, c, *s), groups=groups, **p)
        return batching.part(dx, 0, size)
    if not batched[0]:
        dx = conv_input_grad(g, batching.join(w, 1), input_shape=(n, size * c, *s), groups=groups, **p)
        return _part_groups(dx, 1, groups, size)
    g, w = batching.join(g, 1), batching.join(w, 0)
    dx = conv_input_grad(g, w, input_shape=(n, size * c, *s), groups=size * groups, **p)
    return batching.part(dx, 1, size)


def _weight_grad_batch(
    primitive: Any, args: Any, batched: Any, size: int, *, kernel_shape: Shape, groups: int, **p: Any
) -> Any:
    (x, g), (o, c, *k) = args, kernel_shape
    if not batched[1]:
        dw = conv_weight_grad(_join_groups(x, 1, groups), g, kernel_shape=(o, size * c, *k), groups=groups, **p)
        return batching.part(dw, 1, size)
    if not batched[0]:
        dw = conv_weight_grad(x, _join_groups(g, 1, groups), kernel_shape=(size * o, c, *k), groups=groups, **p)
        return _part_groups(dw, 0, groups, size)
    x, g = batching.join(x, 1), batching.join(g, 1)
    dw = conv_weight_grad(x, g, kernel_shape=(size * o, c, *k), groups=size * groups, **p)
    return batching.part(dw, 0, size)


@primitive(
    aval=_conv_aval,
    vjp=(
        lambda g, _y, x_aval, w, **p: conv_input_grad(g, w, input_shape=x_aval.shape, **p),
        lambda g, _y, x, w_aval, **p: conv_weight_grad(x, g, kernel_shape=w_aval.shape, **p),
    ),
    jvp=MULTILINEAR(0, 1),
    batch=_conv_batch,
)
def conv(x: Any, w: Any, *, stride: Shape, padding: Pairs, dilation: Shape, groups: int) -> Any:
    """Cross-correlation of x with w (no kernel flip).

    y[n, o, i] = sum over c, k of w[o, c, k] x[n, c, i * stride - before + k * dilation]

    x: [N, C, *S], w: [O, C/groups, *K], one dtype. Returns [N, O, *S'].
    """
    xp = _grouped(_padded(x, padding), groups, 1)
    wg = _grouped(w, groups, 0)
    out = output_sizes(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = np.zeros((x.shape[0], groups, w.shape[0] // groups, *out), np.result_type(x.dtype, np.float32))
    for k, cells in _offsets(w.shape[2:], out, stride, dilation):
        y += np.einsum("ngc...,goc->ngo...", xp[(..., *cells)], wg[(..., *k)])
    return y.reshape(x.shape[0], w.shape[0], *out).astype(x.dtype)


@primitive(
    aval=lambda g, w, *, input_shape, **_: ShapedArray(input_shape, g.dtype),
    vjp=(
        lambda t, _y, _g, w, *, input_shape, **p: conv(t, w, **p),
        lambda t, _y, g, w_aval, *, input_shape, **p: conv_weight_grad(t, g, kernel_shape=w_aval.shape, **p),
    ),
    jvp=MULTILINEAR(0, 1),
    batch=_input_grad_batch,
)
def conv_input_grad(
    g: Any, w: Any, *, input_shape: Shape, stride: Shape, padding: Pairs, dilation: Shape, groups: int
) -> Any:
    """Cotangent of conv's x; also the transposed convolution.

    dx[n, c, i * stride - before + k * dilation] += w[o, c, k] g[n, o, i]

    g: [N, O, *S'], w: [O, C/groups, *K]. Returns input_shape = [N, C, *S].
    """
    gg, wg = _grouped(g, groups, 1), _grouped(w, groups, 0)
    padded = tuple(s + before + after for s, (before, after) in zip(input_shape[2:], padding, strict=True))
    dx = np.zeros((input_shape[0], groups, input_shape[1] // groups, *padded), np.result_type(g.dtype, np.float32))
    for k, cells in _offsets(w.shape[2:], g.shape[2:], stride, dilation):
        dx[(..., *cells)] += np.einsum("ngo...,goc->ngc...", gg, wg[(..., *k)])
    inner: Any = tuple(slice(before, before + s) for s, (before, _) in zip(input_shape[2:], padding, strict=True))
    return dx[(..., *inner)].reshape(input_shape).astype(g.dtype)


@primitive(
    aval=lambda x, g, *, kernel_shape, **_: ShapedArray(kernel_shape, g.dtype),
    vjp=(
        lambda t, _y, x_aval, g, *, kernel_shape, **p: conv_input_grad(g, t, input_shape=x_aval.shape, **p),
        lambda t, _y, x, _g, *, kernel_shape, **p: conv(x, t, **p),
    ),
    jvp=MULTILINEAR(0, 1),
    batch=_weight_grad_batch,
)
def conv_weight_grad(
    x: Any, g: Any, *, kernel_shape: Shape, stride: Shape, padding: Pairs, dilation: Shape, groups: int
) -> Any:
    """Cotangent of conv's w.

    dw[o, c, k] = sum over n, i of x[n, c, i * stride - before + k * dilation] g[n, o, i]

    x: [N, C, *S], g: [N, O, *S']. Returns kernel_shape = [O, C/groups, *K].
    """
    xp, gg = _grouped(_padded(x, padding), groups, 1), _grouped(g, groups, 1)
    dw = np.zeros((groups, kernel_shape[0] // groups, *kernel_shape[1:]), np.result_type(g.dtype, np.float32))
    size = size_of(g.shape[2:])
    flat = gg.reshape(*gg.shape[:3], size)
    for k, cells in _offsets(kernel_shape[2:], g.shape[2:], stride, dilation):
        seen = xp[(..., *cells)]
        dw[(..., *k)] = np.einsum("ngcs,ngos->goc", seen.reshape(*seen.shape[:3], size), flat)
    return dw.reshape(kernel_shape).astype(g.dtype)
