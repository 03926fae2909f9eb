"""Convolutions of one to three spatial axes, on NumPy arrays: windows copied to patches, then a matrix product.

**Channels-last memory.** Results are logical [N, C, *S] whose memory is [N, *S, C]: the product writes them in place,
and a patch is made of runs of K * C numbers instead of K. Element-wise ufuncs keep the memory order of their input, so
a chain of conv, ReLU and pooling stays channels-last; other orders are accepted and copied once.

**Tiles.** One row of the product is a tile of t neighbouring outputs along the last axis, not one output. Its patch is
(t - 1) * stride + K cells long, its matrix holds the kernel t times, shifted, with zeros between. That is more
arithmetic and less copying, and it widens the skinny products in which BLAS is slow. `_tiling` chooses t by cost.

Median milliseconds for LeNet's two layers (batch 100, 5x5, float32; 1 to 20 channels of 28x28, 20 to 50 of 12x12),
NumPy 2.4 with OpenBLAS on two cores, beside PyTorch 2.13 (NCHW / channels-last) in the same run:

    layer 1            forward   input grad  weight grad   layer 2            forward   input grad  weight grad
    tiles of 4            1.03         1.71         1.13   tiles of 2            2.04         2.54         2.14
    tiles of 1            1.87         3.75         2.50   tiles of 1            2.10         3.23         2.24
    NCHW patches          1.14                             NCHW patches          5.79
    offset by offset     33.39                             offset by offset      6.62
    PyTorch        0.56 / 0.54  3.57 / 2.65  0.56 / 0.47   PyTorch        1.94 / 1.09  2.02 / 1.95  1.96 / 1.12

The **input gradient** scatters the patches' gradients back, except for stride 1 with a result about as large as g
("same" padding, 1x1): there a convolution of g with the flipped kernel takes 3.05 ms instead of 4.79 (64 images of
16x32x32, 3x3) or 1.70 instead of 2.35 (64x8x8). For layer 2, whose result is 2.25 times as large as g, it takes 5.36.

Known limit: grouped convolutions run group by group; depthwise ones take over ten times as long as PyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Array = NDArray[Any]
Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]

PATCH_BYTES = 2 << 20  # of patches held at once: they stay in the cache, and malloc hands out the same pages again
COPY_COST = 25  # multiply-adds in the time of copying one number into the patch matrix
RUN_COST = 300  # multiply-adds in the time of starting one contiguous run of such numbers
GATHER_RATIO = 1.3  # size of the input over size of g up to which the input gradient is a convolution


def conv(x: Array, w: Array, *, stride: Ints, padding: Pads, dilation: Ints, groups: int) -> Array:
    """Cross-correlation.

    y[n, o, p] = sum over c, k of xp[n, c, p * stride + k * dilation] * w[o, c, k], where xp is x with zeros around it
    and c runs over the channels of o's group.

    Args: x [N, C, *S]; w [O, C/groups, *K]; `padding` is a pair (before, after) per spatial axis.
    Returns: y [N, O, *S'], channels-last in memory.
    """
    xs = np.split(_channels_last(x, padding), groups, axis=-1)
    ws = np.split(w.astype(xs[0].dtype, copy=False), groups)
    return _channels_first([_conv(*pair, stride, dilation) for pair in zip(xs, ws, strict=True)], x.dtype)


def conv_input_grad(
    g: Array, w: Array, *, input_shape: Ints, stride: Ints, padding: Pads, dilation: Ints, groups: int
) -> Array:
    """Cotangent of `conv`'s x: the transpose of the linear map x -> y (no complex conjugation).

    Args: g [N, O, *S']; w [O, C/groups, *K]; input_shape (N, C, *S).
    Returns: [N, C, *S], channels-last in memory.
    """
    # With stride 1 the transpose is a convolution of g by the flipped kernel, padded to give the input's shape.
    around = tuple(
        ((k - 1) * d - a, (k - 1) * d - b) for k, d, (a, b) in zip(w.shape[2:], dilation, padding, strict=True)
    )
    gather = set(stride) == {1} and min(map(min, around)) >= 0
    if gather and math.prod(input_shape[2:]) <= GATHER_RATIO * math.prod(g.shape[2:]):
        taps = np.flip(w, tuple(range(2, w.ndim))).reshape(groups, -1, *w.shape[1:])
        taps = taps.swapaxes(1, 2).reshape(input_shape[1], -1, *w.shape[2:])
        return conv(g, taps, stride=stride, padding=around, dilation=dilation, groups=groups)
    sizes = tuple(s + a + b for s, (a, b) in zip(input_shape[2:], padding, strict=True))
    gs = np.split(_channels_last(g), groups, axis=-1)
    ws = np.split(w.astype(gs[0].dtype, copy=False), groups)
    dx = _channels_first([_input_grad(*pair, sizes, stride, dilation) for pair in zip(gs, ws, strict=True)], g.dtype)
    return dx[:, :, *_inside(input_shape[2:], padding)]


def conv_weight_grad(
    x: Array, g: Array, *, kernel_shape: Ints, stride: Ints, padding: Pads, dilation: Ints, groups: int
) -> Array:
    """Cotangent of `conv`'s w: the transpose of the linear map w -> y (no complex conjugation).

    Args: x [N, C, *S]; g [N, O, *S']; kernel_shape (O, C/groups, *K).
    Returns: [O, C/groups, *K].
    """
    xs = np.split(_channels_last(x, padding), groups, axis=-1)
    gs = np.split(_channels_last(g), groups, axis=-1)
    dw = [_weight_grad(*pair, kernel_shape[2:], stride, dilation) for pair in zip(xs, gs, strict=True)]
    return (dw[0] if groups == 1 else np.concatenate(dw)).astype(x.dtype, copy=False)


def _conv(x: Array, w: Array, stride: Ints, dilation: Ints) -> Array:
    """y [N, *S', O] of x [N, *S, C] and w [O, C, *K]."""
    tiling = _tiling(x.shape[1:-1], w.shape, stride, dilation)
    windows = tiling.windows(x)
    matrix = tiling.matrix(w)
    y = np.empty((*windows.shape[: x.ndim - 1], matrix.shape[1]), x.dtype)
    for block in _blocks(windows):
        np.matmul(_rows(windows[block], len(matrix)), matrix, out=y[block].reshape(-1, matrix.shape[1]))
    return y.reshape(len(x), *tiling.outputs, len(w))


def _weight_grad(x: Array, g: Array, kernel: Ints, stride: Ints, dilation: Ints) -> Array:
    """[O, C, *K] of x [N, *S, C] and g [N, *S', O]."""
    shape = (g.shape[-1], x.shape[-1], *kernel)
    tiling = _tiling(x.shape[1:-1], shape, stride, dilation)
    windows = tiling.windows(x)
    g = tiling.tiles(g)
    total = np.zeros((math.prod(windows.shape[g.ndim - 1 :]), g.shape[-1]), x.dtype)
    for block in _blocks(windows):
        total += _rows(windows[block], len(total)).T @ g[block].reshape(-1, g.shape[-1])
    return tiling.fold(total, shape)


def _input_grad(g: Array, w: Array, sizes: Ints, stride: Ints, dilation: Ints) -> Array:
    """[N, *S, C] of g [N, *S', O] and w [O, C, *K], where S = `sizes`."""
    tiling = _tiling(sizes, w.shape, stride, dilation)
    dx = np.zeros((len(g), *sizes, w.shape[1]), g.dtype)
    windows = tiling.windows(dx, writeable=True)
    matrix = tiling.matrix(w).T
    g = tiling.tiles(g)
    for block in _blocks(windows):
        part = windows[block]
        patches = np.matmul(g[block].reshape(-1, len(matrix)), matrix).reshape(part.shape)
        # Within one selection no two windows share a cell, so += may add them all at once.
        for selection in tiling.disjoint():
            part[selection] += patches[selection]
    return dx


class _Tiling(NamedTuple):
    """How a convolution becomes a matrix product: `tile` neighbours along the last axis make one row of the result."""

    outputs: Ints  # S'
    kernel: Ints
    stride: Ints
    dilation: Ints
    tile: int

    @property
    def length(self) -> int:
        """Cells of the last axis that one tile reads."""
        return (self.tile - 1) * self.stride[-1] + self.kernel[-1]

    def windows(self, x: Array, writeable: bool = False) -> Array:
        """View [N, *S'[:-1], tiles, *K[:-1], length, C] of x [N, *S, C]: what each tile reads, with overlaps."""
        n, *steps, c = x.strides
        moves = [step * s for step, s in zip(steps, self.stride, strict=True)]
        taps = [step * d for step, d in zip(steps, self.dilation, strict=True)]
        moves[-1] *= self.tile
        counts = (*self.outputs[:-1], self.outputs[-1] // self.tile)
        shape = (len(x), *counts, *self.kernel[:-1], self.length, x.shape[-1])
        return as_strided(x, shape, (n, *moves, *taps, c), writeable=writeable)

    def tiles(self, g: Array) -> Array:
        """g [N, *S', O] as [N, *S'[:-1], tiles, tile * O]."""
        return g.reshape(*g.shape[:-2], g.shape[-2] // self.tile, self.tile * g.shape[-1])

    def matrix(self, w: Array) -> Array:
        """w [O, C, *K] as [prod(K[:-1]) * length * C, tile * O]: a copy for each output of the tile, shifted."""
        taps = np.moveaxis(w, (0, 1), (-1, -2))
        matrix = np.zeros((*self.kernel[:-1], self.length, w.shape[1], self.tile, w.shape[0]), w.dtype)
        for i in range(self.tile):
            matrix[(..., self._shifted(i), slice(None), i, slice(None))] = taps
        return matrix.reshape(-1, self.tile * w.shape[0])

    def fold(self, matrix: Array, shape: Ints) -> Array:
        """Transpose of `matrix`: the sum of the copies, as [O, C, *K]."""
        matrix = matrix.reshape(*self.kernel[:-1], self.length, shape[1], self.tile, shape[0])
        taps: Any = sum(matrix[(..., self._shifted(i), slice(None), i, slice(None))] for i in range(self.tile))
        return np.ascontiguousarray(np.moveaxis(taps, (-1, -2), (0, 1)))

    def _shifted(self, i: int) -> slice:
        return slice(i * self.stride[-1], i * self.stride[-1] + self.kernel[-1])

    def disjoint(self) -> Iterator[tuple[Any, ...]]:
        """Indices into `windows`: together they select each entry once, and none of them selects a cell of x twice."""
        extent = (self.length - 1) * self.dilation[-1] + 1
        phases = -(-extent // (self.tile * self.stride[-1]))
        lead = (slice(None),) * len(self.kernel)
        for tap in np.ndindex(*self.kernel[:-1]):
            for phase in range(phases):
                yield (*lead, slice(phase, None, phases), *tap)


def _tiling(sizes: Ints, w_shape: Ints, stride: Ints, dilation: Ints) -> _Tiling:
    """Tiling for x of spatial shape `sizes` and w of shape `w_shape`, the tile chosen by the cost of one output."""
    kernel = w_shape[2:]
    outputs = tuple((s - (k - 1) * d - 1) // t + 1 for s, k, t, d in zip(sizes, kernel, stride, dilation, strict=True))
    one = _Tiling(outputs, kernel, stride, dilation, 1)
    if dilation[-1] != 1:
        return one  # a longer window would mostly hold cells that no tap reads
    tilings = [one._replace(tile=tile) for tile in range(1, outputs[-1] + 1) if outputs[-1] % tile == 0]
    outs, channels = w_shape[:2]

    def cost(t: _Tiling) -> float:
        return (t.length * (COPY_COST + t.tile * outs) + RUN_COST / max(1, channels)) / t.tile

    return min(tilings, key=cost, default=one)


def _blocks(windows: Array) -> Iterator[tuple[slice, slice]]:
    """Slices of the two leading axes, each selecting at most PATCH_BYTES (one row at the least)."""
    n, rows = windows.shape[:2]
    step = max(1, PATCH_BYTES // max(1, math.prod(windows.shape[2:]) * windows.itemsize))
    if step >= rows:
        images = step // max(1, rows)
        yield from ((slice(i, i + images), slice(None)) for i in range(0, n, images))
    else:
        yield from ((slice(i, i + 1), slice(r, r + step)) for i in range(n) for r in range(0, rows, step))


def _rows(windows: Array, width: int) -> Array:
    """Patch matrix [rows, width]; a view if the windows do not overlap (a 1x1 kernel with stride 1)."""
    return np.ascontiguousarray(windows).reshape(-1, width)


def _channels_last(x: Array, padding: Pads | None = None) -> Array:
    """x [N, C, *S] as a C-contiguous [N, *S, C], padded with zeros; half types become float32."""
    dtype = np.dtype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind in "fV" else x.dtype
    x = np.moveaxis(x, 1, -1)
    if padding is None or not any(map(any, padding)):
        return np.ascontiguousarray(x, dtype)
    n, *sizes, c = x.shape
    out = np.zeros((n, *(s + a + b for s, (a, b) in zip(sizes, padding, strict=True)), c), dtype)
    out[:, *_inside(sizes, padding)] = x
    return out


def _inside(sizes: Sequence[int], padding: Pads) -> tuple[slice, ...]:
    return tuple(slice(before, before + size) for size, (before, _) in zip(sizes, padding, strict=True))


def _channels_first(parts: list[Array], dtype: np.dtype[Any]) -> Array:
    """The groups' [N, *S, C/groups] as one [N, C, *S] of `dtype`, whose memory stays channels-last."""
    x = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
    return np.moveaxis(x.astype(dtype, copy=False), -1, 1)
