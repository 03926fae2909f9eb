"""C kernels of two-dimensional convolution and its gradients, specialised to static shapes (float32, [N, C, H, W]).

One-dimensional operands are taken as [N, C, 1, T]; three-dimensional ones are left to NumPy. All three kernels are sums
of products over register tiles (tiles.py): see correlation.py for the forward pass and gathering input gradients,
scatter.py for scattering ones, weight_gradient.py for the weights'.

Least milliseconds of two threads (AVX-512) beside PyTorch 2.13 (NCHW / channels-last) in the same run, one run for
LeNet's layers (batch 100, 5x5; 1 to 20 channels of 28x28, 20 to 50 of 12x12) and one for the others (batch 64, 3x3,
padding 1). Other programs shared the two cores, and medians were up to five times as large; - was disturbed throughout.

                       forward                input grad              weight grad
    LeNet 1        0.20  0.41 / 0.35                              0.14  0.43 / 0.32
    LeNet 2        0.64  1.69 / 0.94      0.88  1.87 / -          0.76  1.83 / 0.94
    16x32x32       0.85  1.19 / 0.78      0.79  0.93 / 0.78       0.66  1.59 / 0.69
    64x8x8         0.64  0.71 / 0.62      0.67  0.70 / 0.59       0.79  0.78 / 0.68

A kernel adds 20 to 85 ms of processor time to the compilation of a program.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....core.ops.conv import output_sizes
from . import tiles
from .correlation import Correlation
from .kernel import Kernel
from .scatter import Scatter
from .sorted_columns import SortedColumns
from .weight_gradient import Sums

Pairs = tuple[tuple[int, int], ...]
Ints = tuple[int, ...]


@dataclass(frozen=True)
class Convolution:
    """Static sizes of a convolution of two spatial axes: x [N, C, *sizes], w [O, C/groups, *window], y [N, O, *out]."""

    images: int
    channels: int
    depth: int
    sizes: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int

    @property
    def out(self) -> tuple[int, int]:
        """Spatial sizes of y."""
        height, width = output_sizes(self.sizes, self.window, self.stride, self.padding, self.dilation)
        return height, width

    @property
    def taps(self) -> list[tuple[int, int, int]]:
        """(row, column, number) of each of the window's taps: its offset in the unpadded input."""
        (top, _), (left, _) = self.padding
        return [
            (i * self.dilation[0] - top, j * self.dilation[1] - left, i * self.window[1] + j)
            for i in range(self.window[0])
            for j in range(self.window[1])
        ]


def two_dimensional(
    x_shape: Ints, w_shape: Ints, stride: Sequence[int], padding: Pairs, dilation: Sequence[int], groups: int
) -> Convolution | None:
    """The sizes, with an axis of 1 put before a single spatial axis; None for other than one or two spatial axes."""
    if len(x_shape) not in (3, 4) or 0 in x_shape or 0 in w_shape:
        return None
    one = (1,) * (4 - len(x_shape))
    pads = ((0, 0),) * len(one) + tuple(padding)
    n, c, *sizes = x_shape
    o, _, *window = w_shape
    pair = [(*one, *numbers) for numbers in (sizes, window, stride, dilation)]
    return Convolution(n, c, o, pair[0], pair[1], pair[2], pads, pair[3], groups)  # type: ignore[arg-type]


def conv(
    name: str, x_shape: Ints, w_shape: Ints, *, stride: Ints, padding: Pairs, dilation: Ints, groups: int,
    threads: int, lanes: int | None = None,
) -> Kernel | None:  # fmt: skip
    """Kernel of operands (x, w, y): y[n, o, i] = sum over c, k of w[o, c, k] x[n, c, i stride - before + k dilation].

    A unit is an image, unless there are fewer images than threads. None if unsupported.
    """
    c = two_dimensional(x_shape, w_shape, stride, padding, dilation, groups)
    if c is None or min(c.out) < 1:
        return None
    inner, area = c.channels // groups, math.prod(c.window)
    return Correlation(
        source=(c.images, c.channels, *c.sizes),
        outputs=(c.depth, *c.out),
        groups=groups,
        stride=c.stride,
        spread=(1, 1),
        planes=(tuple(c.taps),),
        w_steps=(c.depth // groups * inner * area, inner * area, area),
    ).kernel(name, threads, lanes or tiles.native_lanes())


def conv_input_grad(
    name: str, g_shape: Ints, w_shape: Ints, *, input_shape: Ints, stride: Ints, padding: Pairs, dilation: Ints,
    groups: int, threads: int, lanes: int | None = None,
) -> Kernel | None:  # fmt: skip
    """Kernel of operands (g, w, dx): dx[n, c, i * stride - before + k * dilation] += w[o, c, k] g[n, o, i].

    A unit is an image, unless there are fewer images than threads. None if unsupported.
    """
    c = two_dimensional(input_shape, w_shape, stride, padding, dilation, groups)
    if c is None or min(c.out) < 1:
        return None
    lanes = lanes or tiles.native_lanes()
    gather, scatter = gathering(c), scattering(c)
    if c.images >= threads and scatter.cost(lanes) < gather.cost():
        return scatter.kernel(name, lanes)
    return gather.kernel(name, threads, lanes)


def conv_weight_grad(
    name: str, x_shape: Ints, g_shape: Ints, *, kernel_shape: Ints, stride: Ints, padding: Pairs, dilation: Ints,
    groups: int, threads: int, lanes: int | None = None,
) -> Kernel | None:  # fmt: skip
    """Kernel of operands (x, g, dw): dw[o, c, k] = sum over n, i of x[n, c, i * stride - before + k * dilation]
    g[n, o, i].

    A unit of the first phase is a share of the images, of the second an output channel. None if unsupported.
    """
    c = two_dimensional(x_shape, kernel_shape, stride, padding, dilation, groups)
    if c is None or min(c.out) < 1:
        return None
    return Sums(
        images=c.images,
        groups=groups,
        depth=c.depth // groups,
        channels=c.channels // groups,
        sizes=c.sizes,
        out=c.out,
        window=c.window,
        stride=c.stride,
        dilation=c.dilation,
        padding=c.padding,
        taps=tuple(c.taps),
        threads=threads,
        lanes=lanes or tiles.native_lanes(),
    ).kernel(name)


def gathering(c: Convolution) -> Correlation:
    """The input gradient as correlations of g with stride 1, one for each remainder of dx's positions by the stride.

    Position i * stride + p of dx meets tap k at g's position i + (p - offset of k) / stride, where that is whole.
    """
    inner, area = c.channels // c.groups, math.prod(c.window)
    down, across = c.stride
    planes = tuple(
        tuple(((p - a) // down, (q - b) // across, k) for a, b, k in c.taps if not ((p - a) % down or (q - b) % across))
        for p in range(down)
        for q in range(across)
    )
    return Correlation(
        source=(c.images, c.depth, *c.out),
        outputs=(c.channels, *c.sizes),
        groups=c.groups,
        stride=(1, 1),
        spread=c.stride,
        planes=planes,
        w_steps=(c.depth // c.groups * inner * area, area, inner * area),
    )


def scattering(c: Convolution) -> Scatter:
    """The input gradient as products of g's pixels and w, added up where the window's taps meet dx."""
    (top, _), (left, _) = c.padding
    reach = tuple(d * (k - 1) + 1 for d, k in zip(c.dilation, c.window, strict=True))
    return Scatter(
        images=c.images,
        groups=c.groups,
        depth=c.depth // c.groups,
        channels=c.channels // c.groups,
        taps=tuple((a + top, b + left) for a, b, _ in c.taps),
        columns=SortedColumns(c.sizes, c.out, (reach[0], reach[1]), c.stride, (top, left)),
    )
