"""Input gradient of a convolution by scattering: for windows much larger than their overlap with the padding.

The products of g's pixels [O, P] by w [O, C K] hold each multiply-add of the gradient once, where gathering ones meet
the zeros around g too (2.25 times as many for a 5x5 window over 12x12 pixels without padding). Their rows are then
added to dx, each shifted by its tap; with strides or padding that happens in scratch (sorted_columns.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import tiles
from .correlation import Lowering
from .kernel import Kernel, Phase
from .sorted_columns import SortedColumns

ADD_COST = 12  # multiply-adds in the time of adding a product, of which a share of the lanes is used, to dx


@dataclass(frozen=True)
class Scatter:
    """dx[n, c, tap k + stride i] += sum over o of w[o, c, k] g[n, o, i], for each group.

    Args:
      images, groups, depth, channels: N; G; O / G and C / G.
      taps: row and column of each tap in the padded plane.
      columns: the geometry of dx.
    """

    images: int
    groups: int
    depth: int
    channels: int
    taps: tuple[tuple[int, int], ...]
    columns: SortedColumns

    def cost(self, lanes: int) -> float:
        """Multiply-adds for a channel of g and dx of an image, the additions converted into them."""
        width = self.columns.out[1]
        filled = width / (-(-width // lanes) * lanes)
        return len(self.taps) * math.prod(self.columns.out) * (1 + ADD_COST / filled / self.depth)

    def kernel(self, name: str, lanes: int) -> Kernel:
        """Kernel of operands (g, w, dx). A unit is an image."""
        columns, count = self.columns, len(self.taps)
        (height, width), (down, across), out = columns.sizes, columns.stride, columns.out
        pixels, rows = math.prod(out), self.channels * count
        m, v = tiles.choose_tile(rows, pixels, self.depth, lanes)
        span = min(pixels, v * lanes)
        direct = across == 1 and columns.before == (0, 0) and columns.rows <= height and columns.row <= width
        pitch, plane = (width, height * width) if direct else (columns.row, columns.plane)
        places = ", ".join(str(a * pitch + columns.column(b)) for a, b in self.taps)
        # Images smaller than a vector are copied to where a vector may be read.
        lowering = Lowering(self.depth, out, (1, 1), (0,), (0,), *out)
        lowers = pixels < lanes
        copied = lowering.bytes(lanes) if lowers else 0
        products = tiles.aligned(m * pixels + lanes)
        total = self.channels * height * width
        tile = tiles.product_tile(
            f"{name}_tile", m, v, lanes=lanes, steps=self.depth, row_step=1, w_step=rows, y_step=pixels, width=span
        )
        finish = ""
        if not direct:
            finish = f"""for (long c = 0; c < {self.channels}; c++) {{
const float *plane = all + c * {plane};
float *y = d + c * {height * width};
{columns.unsort("plane", "y")}
}}"""
        source = f"""{tile}{lowering.source(f"{name}_lower") if lowers else ""}
static void {name}(const float *g, const float *w, float *dx, {tiles.SIGNATURE})
{{
static const int zero[2] = {{0, 0}}, places[] = {{{places}}};
float *products = (float *)(own + {copied});
for (long u = lo * {self.groups}; u < hi * {self.groups}; u++) {{
const float *s = g + u * {self.depth * pixels}, *v = w + u % {self.groups} * {self.depth * rows};
float *d = dx + u * {total}, *all = {"d" if direct else f"(float *)(own + {copied + products})"};
{f"{name}_lower(s, (float *)own, 0); s = (const float *)own;" if lowers else ""}
memset(all, 0, {self.channels * plane * 4});
for (long done = 0; done < {rows}; done += {m}) {{
const long first = done > {rows - m} ? {rows - m} : done;
for (long p = 0; p < {pixels}; p += {span}) {{
if (p > {pixels - span}) p = {pixels - span};
{name}_tile(s + p, {pixels}, v + first, products + p, zero, 1);
}}
for (long r = done; r < first + {m}; r++) {{
const float *restrict t = products + (r - first) * {pixels};
float *restrict e = all + r / {count} * {plane} + places[r % {count}];
for (long i = 0; i < {out[0]}; i++)
for (long j = 0; j < {out[1]}; j++) e[i * {down * pitch} + j] += t[i * {out[1]} + j];
}}
}}
{finish}
}}
}}
"""
        own = copied + products + (0 if direct else tiles.aligned(self.channels * plane))
        return Kernel(source, (Phase(name, self.images, reads=(0, 1), writes=(2,), rows=(0, 2)),), own=own)
