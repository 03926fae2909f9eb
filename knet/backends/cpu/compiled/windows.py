"""Static sizes of two-dimensional pooling, and the C text that its kernels share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....core.ops.conv import output_sizes
from . import tiles
from .kernel import Kernel, Phase

Pairs = tuple[tuple[int, int], ...]
Ints = tuple[int, ...]
Pair = tuple[int, int]

INLINE_CELLS = 16  # windows up to this size have their cells written out within one loop


@dataclass(frozen=True)
class Pooling:
    """Static sizes: windows over x [N, C, *sizes], and the text of loops over them."""

    images: int
    channels: int
    sizes: Pair
    window: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    out: Pair

    @property
    def covered(self) -> bool:
        """Whether each cell of x belongs to one window at most, and windows leave gaps at the far edges only."""
        return self.window == self.stride and self.padding == ((0, 0), (0, 0))

    @property
    def lead(self) -> int:
        """Windows before window t that column t * stride + q, counted from the padding on, can be in."""
        return (self.window[1] - 1) // self.stride[1]

    @property
    def span(self) -> int:
        """Number of t, rounded up: whole vectors have no rests, which would be loops of branches."""
        return whole((self.sizes[1] - 1 + self.padding[1][0]) // self.stride[1] + 1)

    @property
    def wide(self) -> int:
        """Floats of a row of windows with those before and behind it that are none."""
        return self.lead + whole(max(self.out[1], self.span))

    @property
    def met(self) -> Pair:
        """Sizes of the padded plane as far as windows meet it."""
        rows, columns = ((n - 1) * s + k for n, s, k in zip(self.out, self.stride, self.window, strict=True))
        return rows, columns

    def merged(self, target: str) -> str:
        """C text: a row of x from `sums`, where columns are sorted by their remainders modulo the stride."""
        step, left = self.stride[1], self.padding[1][0]
        firsts = [((q - left) % step, q) for q in range(step)]
        moves = (
            f"for (long j = 0; j < {len(range(w, self.sizes[1], step))}; j++) "
            f"{target}[j * {step} + {w}] = sums[j + {q * self.span + (w + left) // step}];"
            for w, q in firsts
            if w < self.sizes[1]
        )
        return "\n".join(moves)

    def kernel(self, name: str, functions: str, call: str, own: int, threads: int, operands: Sequence[str]) -> Kernel:
        """Kernel whose function does planes one after the other by `call`. A unit is an image, or a plane if there are
        fewer images than threads. `operands` are names, "s" for those of x's size and "o" for those of the output's.
        """
        inner = 1 if self.images < threads else self.channels
        size = {"s": math.prod(self.sizes), "o": math.prod(self.out)}
        names = ", ".join(f"{'' if i == len(operands) - 1 else 'const '}float *{a[1:]}" for i, a in enumerate(operands))
        moves = ", ".join(f"{a[1:]} += {size[a[0]]}" for a in operands)
        starts = " ".join(f"{a[1:]} += lo * {size[a[0]] * inner};" for a in operands)
        source = f"""{functions}
static void {name}({names}, {tiles.SIGNATURE})
{{
{starts}
for (long u = lo * {inner}; u < hi * {inner}; u++, {moves}) {{
{call}
}}
}}
"""
        every = tuple(range(len(operands)))
        units = self.images * self.channels // inner
        return Kernel(source, (Phase(name, units, every[:-1], every[-1:], rows=every),), own=tiles.aligned(own))


def whole(count: int) -> int:
    """A number of floats, rounded up to whole vectors of any width."""
    return -(-count // 16) * 16


def two_dimensional(x_shape: Ints, window: Ints, stride: Ints, padding: Pairs) -> Pooling | None:
    """The sizes, with an axis of 1 put before a single spatial axis; None for other than one or two spatial axes."""
    if len(x_shape) not in (3, 4) or 0 in x_shape:
        return None
    one = (1,) * (4 - len(x_shape))
    sizes, windows, strides = ((*one, *numbers) for numbers in (x_shape[2:], window, stride))
    pads = ((0, 0),) * len(one) + tuple(padding)
    out = output_sizes(sizes, windows, strides, pads, (1, 1))
    if min(out) < 1:
        return None
    return Pooling(*x_shape[:2], sizes, windows, strides, pads, out)  # type: ignore[arg-type,call-arg]


def counts(p: Pooling, name: str, include_padding: bool) -> str:
    """C function of the number of cells by which the sum of window (i, j) is divided."""
    if include_padding or p.padding == ((0, 0), (0, 0)):
        return f"""
static inline float {name}_count(long i, long j) {{ return (void)i, (void)j, {math.prod(p.window)}.0f; }}
"""
    tables = []
    for axis in (0, 1):
        starts = [i * p.stride[axis] - p.padding[axis][0] for i in range(p.out[axis])]
        real = [min(s + p.window[axis], p.sizes[axis]) - max(s, 0) for s in starts]
        tables.append(", ".join(f"{count}.0f" for count in real))
    return f"""
static const float {name}_rows[] = {{{tables[0]}}}, {name}_columns[] = {{{tables[1]}}};
static inline float {name}_count(long i, long j) {{ return {name}_rows[i] * {name}_columns[j]; }}
"""
