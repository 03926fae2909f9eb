"""Convolution and pooling over any number of spatial axes.

x is [N, C, *S]: batch, channels, then the spatial axes, as many as the window has sizes. Settings of an axis are given
as one number for all spatial axes, or one for each.
"""

from __future__ import annotations

import functools
from typing import Any

from ..core import dtypes, errors
from ..core.array import Array
from ..core.aval import size_of
from ..core.device import as_array
from ..core.ops import conv as conv_ops
from ..core.ops import elementwise
from ..core.ops import pool as pool_ops
from ..core.ops import shape as shape_ops

__all__ = ["avg_pool", "conv", "conv_transpose", "flatten", "max_pool"]

Sizes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]


def conv(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: int | Sizes = 1,
    padding: Any = 0,
    dilation: int | Sizes = 1,
    groups: int = 1,
) -> Array:
    """Convolution as networks use it: cross-correlation, the kernel not flipped.

    y[n, o, i] = b[o] + sum over c, k of w[o, c, k] x[n, c, i stride - before + k dilation], x being 0 outside.

    Args:
      x: [N, C, *S].
      w: [O, C / groups, *K].
      b: [O], or None.
      stride: step of i, at least 1.
      padding: cells added around x: a number for both ends of all axes, a number for each axis, or a pair (before,
        after) for each axis. "VALID" is 0; "SAME" makes S' = ceil(S / stride), the odd cell added after.
      dilation: distance of the kernel's cells, at least 1.
      groups: C and O are cut into so many parts, each convolved on its own; C gives a depthwise convolution.

    Returns:
      [N, O, *S'], S' = (S + before + after - dilation (K - 1) - 1) // stride + 1.

    Raises:
      ShapeError: operands that do not fit. ArgumentError: a setting out of range.

    Derivative: two further convolutions, to any order.

    The original Knet's conv4 flipped the kernel by default.

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.conv(knp.ones((1, 1, 28, 28)), knp.ones((20, 1, 5, 5))).shape
      (1, 20, 24, 24)
    """
    x, w = _pair(x, w)
    spatial = _spatial("conv", x, w)
    stride, padding, dilation = _settings("conv", spatial, w.shape[2:], stride, padding, dilation)
    y = conv_ops.conv(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return y if b is None else _add_bias("conv", y, b)


def conv_transpose(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: int | Sizes = 1,
    padding: Any = 0,
    dilation: int | Sizes = 1,
    groups: int = 1,
) -> Array:
    """Transposed convolution: the adjoint of :func:`conv` with the same w and settings, which enlarges by ``stride``.

    y[n, o, i stride - before + k dilation] = b[o] + the sum over c, k, i of w[c, o, k] x[n, c, i] that meet there

    Args:
      x: [N, C, *S].
      w: [C, O / groups, *K]: the weights of a convolution from O to C channels.
      b: [O], or None.
      stride: at least 1.
      padding: cells cut off from the result, as :func:`conv` adds them. "VALID" is 0; "SAME" makes S' = stride S.
      dilation: at least 1.
      groups: as in conv.

    Returns:
      [N, O, *S'], S' = (S - 1) stride + dilation (K - 1) + 1 - before - after.

    Raises:
      ShapeError: operands that do not fit. ArgumentError: a setting out of range.

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.conv_transpose(knp.ones((1, 8, 14, 14)), knp.ones((8, 3, 4, 4)), stride=2, padding=1).shape
      (1, 3, 28, 28)
    """
    x, w = _pair(x, w)
    sizes, kernel = _spatial("conv_transpose", x, w), w.shape[2:]
    if x.shape[1] != w.shape[0] or groups < 1 or w.shape[0] % groups:
        raise errors.conv(
            "conv_transpose", f"x has C = {x.shape[1]} channels; w must be [{x.shape[1]}, O / groups, *K], and groups "
            f"= {groups} must divide them", x.shape, w.shape, "exchange w's first two axes, or correct groups",
        )  # fmt: skip
    if padding == "SAME":
        steps = _settings("conv_transpose", sizes, kernel, stride, 0, dilation)[0]
        sizes = tuple(s * step for s, step in zip(sizes, steps))
        stride, padding, dilation = _settings("conv_transpose", sizes, kernel, stride, padding, dilation)
    else:
        stride, padding, dilation = _settings("conv_transpose", sizes, kernel, stride, padding, dilation)
        sizes = tuple(
            (s - 1) * step + d * (k - 1) + 1 - before - after
            for s, k, step, (before, after), d in zip(sizes, kernel, stride, padding, dilation)
        )
    if min(sizes) < 1:
        raise errors.conv(
            "conv_transpose", f"the padding cuts off all of the result: sizes {list(sizes)}", x.shape, w.shape,
            "pad less",
        )  # fmt: skip
    shape = (x.shape[0], groups * w.shape[1], *sizes)
    y = conv_ops.conv_input_grad(
        x, w, input_shape=shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return y if b is None else _add_bias("conv_transpose", y, b)


def max_pool(x: Any, window: int | Sizes, *, stride: int | Sizes | None = None, padding: Any = 0) -> Array:
    """Maximum over windows.

    y[n, c, i] = max over k < window of x[n, c, i stride - before + k], cells outside of x not counting.

    Args:
      x: [N, C, *S].
      window: sizes of the window, at least 1.
      stride: step of i, at least 1; ``window`` if None.
      padding: as in :func:`conv`, but smaller than the window.

    Returns:
      [N, C, *S'], S' = (S + before + after - window) // stride + 1.

    Raises:
      ShapeError: x and window do not fit. ArgumentError: a setting out of range.

    Derivative: goes to the first maximum of each window. NaN if one element is NaN.

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.max_pool(knp.reshape(knp.arange(16.0), (1, 1, 4, 4)), 2).tolist()
      [[[[5.0, 7.0], [13.0, 15.0]]]]
    """
    x = as_array(x)
    window, stride, padding = _pooling("max_pool", x.shape, window, stride, padding)
    return pool_ops.max_pool(x, window=window, stride=stride, padding=padding)


def avg_pool(
    x: Any,
    window: int | Sizes,
    *,
    stride: int | Sizes | None = None,
    padding: Any = 0,
    include_padding: bool = True,
) -> Array:
    """Mean over windows.

    y[n, c, i] = sum over k < window of x[n, c, i stride - before + k] / count, x being 0 outside.

    Args:
      x: [N, C, *S].
      window: sizes of the window, at least 1.
      stride: step of i, at least 1; ``window`` if None.
      padding: as in :func:`conv`, but smaller than the window.
      include_padding: whether count is the size of the window, or only of its part within x.

    Returns:
      [N, C, *S'], S' = (S + before + after - window) // stride + 1.

    Raises:
      ShapeError: x and window do not fit. ArgumentError: a setting out of range.

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.avg_pool(knp.reshape(knp.arange(16.0), (1, 1, 4, 4)), 2).tolist()
      [[[[2.5, 4.5], [10.5, 12.5]]]]
    """
    x = as_array(x)
    x = elementwise.cast(x, dtypes.to_float(x.dtype))
    window, stride, padding = _pooling("avg_pool", x.shape, window, stride, padding)
    return pool_ops.avg_pool(x, window=window, stride=stride, padding=padding, include_padding=include_padding)


def flatten(x: Any) -> Array:
    """All axes but the first made one: [N, ...] to [N, D].

    Raises:
      ShapeError: x has no axis.

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.flatten(knp.ones((32, 50, 4, 4))).shape
      (32, 800)
    """
    x = as_array(x)
    shape = x.shape
    if not shape:
        raise errors.window("flatten", "x needs a batch axis, which stays", shape, "use x.reshape(1, 1)")
    return x if len(shape) == 2 else shape_ops.reshape(x, shape=(shape[0], size_of(shape[1:])))


# --- settings in canonical form -------------------------------------------------------------------------------------


def convolved_sizes(name: str, sizes: Sizes, kernel: Sizes, stride: Any, padding: Any, dilation: Any) -> Sizes:
    """Spatial sizes after a convolution (or, with dilation 1, a pooling); < 1 where the kernel does not fit."""
    stride, padding, dilation = _settings(name, sizes, kernel, stride, padding, dilation)
    return conv_ops.output_sizes(sizes, kernel, stride, padding, dilation)


def per_axis(name: str, argument: str, value: Any, ndim: int, least: int = 1) -> Sizes:
    """One integer for each spatial axis."""
    try:
        sizes = (value.__index__(),) * ndim if hasattr(value, "__index__") else tuple(v.__index__() for v in value)
    except (TypeError, AttributeError):
        sizes = ()
    if len(sizes) != ndim or min(sizes) < least:
        raise errors.argument(
            name, argument, value, f"an integer >= {least} is needed, or one for each of the {ndim} spatial axes of x",
            f"write {argument}={max(least, 1)}, or a tuple of {ndim}",
        )  # fmt: skip
    return sizes


def _settings(
    name: str, sizes: Sizes, kernel: Sizes, stride: Any, padding: Any, dilation: Any
) -> tuple[Sizes, Pairs, Sizes]:
    try:
        return _cached_settings(name, sizes, kernel, stride, padding, dilation)
    except TypeError:  # a list does not hash
        stride, padding, dilation = frozen(stride), frozen(padding), frozen(dilation)
        return _cached_settings(name, sizes, kernel, stride, padding, dilation)


def frozen(value: Any) -> Any:
    """Lists turned into tuples, so that the value hashes."""
    return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value


@functools.lru_cache(1024)
def _cached_settings(
    name: str, sizes: Sizes, kernel: Sizes, stride: Any, padding: Any, dilation: Any
) -> tuple[Sizes, Pairs, Sizes]:
    ndim = len(sizes)
    steps = per_axis(name, "stride", stride, ndim)
    dilations = per_axis(name, "dilation", dilation, ndim)
    if padding == "SAME":
        totals = (
            max((-(-s // step) - 1) * step + d * (k - 1) + 1 - s, 0)
            for s, k, step, d in zip(sizes, kernel, steps, dilations)
        )
        return steps, tuple((t // 2, t - t // 2) for t in totals), dilations
    if padding == "VALID":
        padding = 0
    if isinstance(padding, tuple) and padding and all(isinstance(p, tuple) for p in padding):
        ends = [tuple(p[i] if len(p) == 2 else None for p in padding) for i in (0, 1)]
    else:
        ends = [padding, padding]
    try:
        before, after = (per_axis(name, "padding", end, ndim, 0) for end in ends)
    except errors.ArgumentError:
        raise errors.argument(
            name, "padding", padding, f"with {ndim} spatial axes, padding is an integer >= 0, {ndim} integers, {ndim} "
            "pairs (before, after), 'SAME' or 'VALID'", "write padding=1, for example",
        ) from None  # fmt: skip
    return steps, tuple(zip(before, after)), dilations


def _pooling(name: str, shape: Sizes, window: Any, stride: Any, padding: Any) -> tuple[Sizes, Sizes, Pairs]:
    try:
        return _cached_pooling(name, shape, window, stride, padding)
    except TypeError:  # a list does not hash
        return _cached_pooling(name, shape, frozen(window), frozen(stride), frozen(padding))


@functools.lru_cache(1024)
def _cached_pooling(name: str, shape: Sizes, window: Any, stride: Any, padding: Any) -> tuple[Sizes, Sizes, Pairs]:
    if len(shape) < 3:
        raise errors.window(
            name, "x must be [N, C, *S] with at least one spatial axis", shape,
            "add the missing axis, such as x[None] for a batch of one",
        )  # fmt: skip
    sizes = per_axis(name, "window", window, len(shape) - 2)
    steps, pairs, _ = _settings(name, shape[2:], sizes, sizes if stride is None else stride, padding, 1)
    return sizes, steps, pairs


# --- operands -------------------------------------------------------------------------------------------------------


def _pair(x: Any, w: Any) -> tuple[Array, Array]:
    x, w = as_array(x), as_array(w)
    if x.dtype is not w.dtype:
        x, w = elementwise.meet(x, w)
    return x, w


def _spatial(name: str, x: Array, w: Array) -> Sizes:
    shape = x.shape
    if len(shape) != w.ndim or len(shape) < 3:
        raise errors.conv(
            name, "x is [N, C, *S] and w has the same number of axes, at least 3", shape, w.shape,
            "add the missing axis, such as x[None] for a batch of one, or x[:, None] for a single channel",
        )  # fmt: skip
    return shape[2:]


def _add_bias(name: str, y: Array, b: Any) -> Array:
    b = as_array(b)
    if b.shape != (y.shape[1],):
        raise errors.shape_argument(
            f"{name}(x, w, b)", "b.shape", list(b.shape), f"b has one element for each of the {y.shape[1]} channels of "
            "the result", f"give b the shape [{y.shape[1]}]",
        )  # fmt: skip
    return y + shape_ops.reshape(b, shape=(y.shape[1],) + (1,) * (y.ndim - 2))
