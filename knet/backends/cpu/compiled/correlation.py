"""Correlations of one image as products of register tiles: the forward pass, and input gradients that gather.

The columns of a product are the output's pixels in row-major order, in vectors. For that each row of the source is
copied once for every column offset b of the kernel: lowered[c][b][h][j] = source[c][h][j * stride + b], with zeros
outside of the source. Rows of the copy are as wide as the output, so the pixels that a tap with row offset a meets are
contiguous from row a on, however ragged the width: there are K copies of a number, not the K * K of im2col.
With a row stride of s, rows are grouped by their remainder modulo s.

Images whose lowered copy is larger than a share of the L2 cache are done in bands of output rows.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

from . import tiles
from .kernel import Kernel, Phase

LOWERED_BYTES = 256 << 10


@dataclass(frozen=True)
class Lowering:
    """Copy of `rows` output rows' worth of a source [channels, *sizes], for row offsets `down` and column offsets
    `across` of the taps (which may be negative), written for outputs `width` wide.
    """

    channels: int
    sizes: tuple[int, int]
    stride: tuple[int, int]
    down: tuple[int, ...]
    across: tuple[int, ...]
    rows: int
    width: int

    @cached_property
    def groups(self) -> dict[int, tuple[int, int, int]]:
        """For each remainder of row offsets: first row (in strides), row count, place in the copy."""
        found: dict[int, tuple[int, int, int]] = {}
        place = 0
        for remainder in sorted({a % self.stride[0] for a in self.down}):
            steps = [a // self.stride[0] for a in self.down if a % self.stride[0] == remainder]
            count = self.rows + max(steps) - min(steps)
            found[remainder] = (min(steps), count, place)
            place += count
        return found

    @property
    def column(self) -> int:
        """Floats of the copy for one channel and column offset."""
        return sum(count for _, count, _ in self.groups.values()) * self.width

    @property
    def channel(self) -> int:
        """Floats of the copy of one channel."""
        return self.column * len(self.across)

    def bytes(self, lanes: int) -> int:
        """Scratch for the copy, and a vector more: the last tile may read, and drop, what stands behind."""
        return tiles.aligned(self.channel * self.channels + lanes)

    def offset(self, a: int, b: int) -> int:
        """Where the numbers that tap (a, b) meets begin in the copy of a channel."""
        first, _, place = self.groups[a % self.stride[0]]
        return self.across.index(b) * self.column + (place + a // self.stride[0] - first) * self.width

    @property
    def identity(self) -> bool:
        """Whether the copy would equal the source."""
        return self.stride == (1, 1) and self.down == self.across == (0,) and (self.rows, self.width) == self.sizes

    def source(self, name: str) -> str:
        """C function name(source, copy, first output row)."""
        (height, width), (down, across) = self.sizes, self.stride
        blocks = []
        for remainder, (first, count, place) in self.groups.items():
            copies, zeros = [], []
            for k, b in enumerate(self.across):
                start = min(self.width, max(0, -(b // across)))
                stop = max(start, min(self.width, (width - 1 - b) // across + 1))
                e = f"e + {k * self.column}"
                zeros.append(f"memset({e}, 0, {self.width * 4});")
                if start:
                    copies.append(f"memset({e}, 0, {start * 4});")
                if stop > start:
                    copies.append(f"for (long j = {start}; j < {stop}; j++) ({e})[j] = p[j * {across} + {b}];")
                if stop < self.width:
                    copies.append(f"memset({e} + {stop}, 0, {(self.width - stop) * 4});")
            blocks.append(f"""
for (long t = 0; t < {count}; t++) {{
const long h = (i + t + {first}) * {down} + {remainder};
const float *p = s + h * {width};
float *e = d + (t + {place}) * {self.width};
if (h < 0 || h >= {height}) {{ {" ".join(zeros)} continue; }}
{chr(10).join(copies)}
}}""")
        return f"""
static void {name}(const float *restrict s, float *restrict d, long i)
{{
for (long c = 0; c < {self.channels}; c++, s += {height * width}, d += {self.channel}) {{{"".join(blocks)}
}}
}}
"""


@dataclass(frozen=True)
class Correlation:
    """out[n, m, i s + p, j s + q] = sum over r and the taps (a, b, k) of plane (p, q) of
    w[m, r, k] source[n, r, i t + a, j t + b], for each group of rows m and channels r.

    Args:
      source: [N, groups * channels, *sizes].
      outputs: [groups * rows, *sizes], without N.
      stride: t.
      spread: s; there are s * s planes, in row-major order.
      planes: taps of each plane, k being the place of the tap in w.
      w_steps: distances in w of neighbouring groups, rows m and channels r.
    """

    source: tuple[int, int, int, int]
    outputs: tuple[int, int, int]
    groups: int
    stride: tuple[int, int]
    spread: tuple[int, int]
    planes: tuple[tuple[tuple[int, int, int], ...], ...]
    w_steps: tuple[int, int, int]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a plane."""
        return -(-self.outputs[1] // self.spread[0]), -(-self.outputs[2] // self.spread[1])

    def cost(self) -> float:
        """Multiply-adds for a row m and channel r of an image."""
        return sum(map(len, self.planes)) * math.prod(self.grid)

    def lowering(self, rows: int) -> Lowering:
        """The copy made for a band of rows of the planes."""
        taps = [tap for plane in self.planes for tap in plane]
        down, across = (tuple(sorted({tap[axis] for tap in taps})) for axis in (0, 1))
        channels = self.source[1] // self.groups
        return Lowering(channels, self.source[2:], self.stride, down, across, rows, self.grid[1])

    def band(self, threads: int, lanes: int) -> int:
        """Rows of a band: all if their copy is small, else as many as fit (a full tile of pixels at the least)."""
        height, width = self.grid
        rows = height
        if self.source[0] < threads:  # too few images: threads share the bands of one, which then must not overlap
            share = height // -(-threads // max(1, self.source[0]))
            rows = next((r for r in range(share, 0, -1) if height % r == 0), height)
        least = min(rows, -(-4 * lanes // width))
        while rows > least and self.lowering(rows).bytes(lanes) > LOWERED_BYTES:
            rows = rows - 1
            while self.source[0] < threads and height % rows:
                rows -= 1
        return rows

    def kernel(self, name: str, threads: int, lanes: int) -> Kernel:
        """Kernel of operands (source, w, out)."""
        images, depth = self.source[0], self.outputs[0] // self.groups
        band = self.band(threads, lanes)
        lowering = self.lowering(band)
        pixels = band * self.grid[1]
        steps = lowering.channels * max(map(len, self.planes))
        m, v = tiles.choose_tile(depth, pixels, steps, lanes)
        span = min(pixels, v * lanes)
        scattered = self.spread != (1, 1)
        taps = [t for plane in self.planes for a, b, k in plane for t in (lowering.offset(a, b), k)]
        places = [0, *itertools.accumulate(map(len, self.planes))]
        direct = lowering.identity and pixels >= v * lanes
        plane = m * pixels if scattered else 0
        bands = -(-self.grid[0] // band)
        inner = bands if images < threads else 1
        image = math.prod(self.outputs[1:])
        size = lowering.channels * math.prod(self.source[2:])
        tile = tiles.product_tile(
            f"{name}_tile", m, v, lanes=lanes, steps=lowering.channels, row_step=self.w_steps[1],
            w_step=self.w_steps[2], y_step=pixels if scattered else image, width=span,
        )  # fmt: skip
        if scattered:
            call = f"""for (int k = 0; k < {len(self.planes)}; k++)
for (long p = 0; p < {pixels}; p += {span}) {{
if (p > {pixels - span}) p = {pixels - span};
{name}_tile(copy + p, {lowering.channel}, w + g * {self.w_steps[0]} + m * {self.w_steps[1]}, planes + k * {plane} + p,
taps + 2 * places[k], places[k + 1] - places[k]);
}}
{name}_weave(planes, y + ((n * {self.groups} + g) * {depth} + m) * {image}, i);"""
            loops = f"""for (long m = 0; m < {depth}; m += {m}) {{
if (m > {depth - m}) m = {depth - m};
{call}
}}"""
        else:
            loops = f"""for (long p = 0; p < {pixels}; p += {span}) {{
if (p > {pixels - span}) p = {pixels - span};
for (long m = 0; m < {depth}; m += {m}) {{
if (m > {depth - m}) m = {depth - m};
{name}_tile(copy + p, {lowering.channel}, w + g * {self.w_steps[0]} + m * {self.w_steps[1]},
y + ((n * {self.groups} + g) * {depth} + m) * {image} + i * {self.grid[1]} + p, taps, {places[-1]});
}}
}}"""
        fill = "copy = s;" if direct else f"{name}_lower(s, (float *)own, i);"
        source = f"""
static void {name}(const float *x, const float *w, float *y, {tiles.SIGNATURE})
{{
static const int taps[] = {{{", ".join(map(str, taps)) or "0"}}}, places[] = {{{", ".join(map(str, places))}}};
const float *copy = (const float *)own;
float *planes = (float *)(own + {lowering.bytes(lanes)});
(void)planes; (void)places;
for (long u = lo; u < hi; u++) {{
const long n = u / {inner}, first = u % {inner} * {band}, last = {"first + 1" if inner > 1 else self.grid[0]};
for (long g = 0; g < {self.groups}; g++) {{
const float *s = x + (n * {self.groups} + g) * {size};
for (long i = first; i < last; i += {band}) {{
if (i > {self.grid[0] - band}) i = {self.grid[0] - band};
{fill}
{loops}
}}
}}
}}
}}
"""
        parts = [tile, "" if direct else lowering.source(f"{name}_lower")]
        if scattered:
            parts.append(self._weave(f"{name}_weave", m, band))
        rows = (0, 2) if inner == 1 else ()
        phase = Phase(name, images * inner, reads=(0, 1), writes=(2,), rows=rows)
        own = lowering.bytes(lanes) + tiles.aligned(plane * len(self.planes) + lanes)
        return Kernel("".join([*parts, source]), (phase,), own=own)

    def _weave(self, name: str, rows: int, band: int) -> str:
        """C function that puts the planes of some rows, for a band, together."""
        (_, height, width), (down, across) = self.outputs, self.spread
        pixels, full = band * self.grid[1], self.outputs[2] // self.spread[1]
        sources = [f"s + (p * {across} + {q}) * {rows * pixels}" for q in range(across)]
        assign = " ".join(f"d[j * {across} + {q}] = s{q}[j];" for q in range(across))
        rest = " ".join(f"d[{full * across + q}] = s{q}[{full}];" for q in range(width % across))
        declare = ", ".join(f"*s{q} = {text}" for q, text in enumerate(sources))
        return f"""
static void {name}(const float *restrict planes, float *restrict y, long first)
{{
for (long m = 0; m < {rows}; m++) for (long i = 0; i < {band}; i++) for (long p = 0; p < {down}; p++) {{
if ((first + i) * {down} + p >= {height}) continue;
const float *s = planes + m * {pixels} + i * {self.grid[1]};
float *d = y + m * {height * width} + ((first + i) * {down} + p) * {width};
const float {declare};
for (long j = 0; j < {full}; j++) {{ {assign} }}
{rest}
}}
}}
"""
