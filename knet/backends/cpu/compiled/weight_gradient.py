"""The weights' gradient of a convolution as products of register tiles, summed over pixels and images.

Two forms, chosen by how well the kernel's runs fill vectors:

- *broadcast*: the image is transposed to [H, W, C], where the numbers that a pixel meets in one row of the window are
  one run of K C neighbours. A tile multiplies broadcast numbers of g by vectors of runs; its sums are gradients.
- *dots*: for few channels. Rows are lowered as in the forward pass, and a tile multiplies vectors of g's pixels by
  vectors of lowered pixels. Its sums are vectors whose lanes are added at the very end.

Every thread adds up its images in a slab of shared scratch; a second phase adds the slabs. Large gradients are divided
by output channels instead. Slabs belong to units of work, not to threads, so sums do not depend on who did the work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from . import tiles
from .correlation import Lowering
from .kernel import Kernel, Phase

Taps = Sequence[tuple[int, int, int]]
SLAB_BYTES = 1 << 20  # larger gradients are not kept once per thread
BAND_BYTES = 32 << 10  # of a transposed band of an image: about the L1 cache


@dataclass(frozen=True)
class Sums:
    """What both forms share: sizes, the division of the work, and slabs of tiles of M x V vectors.

    Args:
      images, groups, depth, channels: N; G; O / G and C / G.
      sizes, out, window, stride: spatial sizes of x, g, w.
      taps: (row offset, column offset, number) of the window's taps.
      rows, vectors: M and V.
      columns: tiles along the other axis than rows.
    """

    images: int
    groups: int
    depth: int
    channels: int
    sizes: tuple[int, int]
    out: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    taps: tuple[tuple[int, int, int], ...]
    threads: int
    lanes: int

    def kernel(self, name: str) -> Kernel:
        """Kernel of operands (x, g, dw)."""
        form = self._dots(name) if self.few() else self._broadcast(name)
        slab = form.columns * self.groups * form.row_tiles * form.m * form.v * self.lanes
        chunks, splits = min(self.threads, self.images), 1
        if slab * 4 * chunks > SLAB_BYTES * self.threads:
            chunks = 1
        if chunks < self.threads:
            splits = min(-(-self.threads // chunks), self.groups * form.row_tiles)
        tile = form.m * form.v * self.lanes
        per_row = form.columns * tile
        total = self.groups * form.row_tiles
        source = f"""
static void {name}(const float *x, const float *g, float *dw, {tiles.SIGNATURE})
{{
for (long u = lo; u < hi; u++) {{
const long chunk = u / {splits}, part = u % {splits};
const long from = {total} * part / {splits}, to = {total} * (part + 1) / {splits};
float *slab = (float *)shared + chunk * {slab};
memset(slab + from * {per_row}, 0, (to - from) * {per_row * 4});
for (long n = {self.images} * chunk / {chunks}; n < {self.images} * (chunk + 1) / {chunks}; n++)
for (long r = from; r < to;) {{
const long k = r / {form.row_tiles}, end = (k + 1) * {form.row_tiles} < to ? (k + 1) * {form.row_tiles} : to;
{name}_image(x + (n * {self.groups} + k) * {self.channels * math.prod(self.sizes)},
g + (n * {self.groups} + k) * {self.depth * math.prod(self.out)}, slab + k * {form.row_tiles * per_row},
(float *)own, r - k * {form.row_tiles}, end - k * {form.row_tiles});
r = end;
}}
}}
}}
static void {name}_sum(const float *x, const float *g, float *dw, {tiles.SIGNATURE})
{{
for (long u = lo; u < hi; u++) {{
const long k = u / {self.depth}, o = u % {self.depth};
long r = o / {form.m};
if (r > {form.row_tiles - 1}) r = {form.row_tiles - 1};
const long first = r * {form.m} > {self.depth - form.m} ? {self.depth - form.m} : r * {form.m};
const float *s = (const float *)shared + (k * {form.row_tiles} + r) * {per_row} + (o - first) * {form.v * self.lanes};
float *d = dw + u * {self.channels * len(self.taps)};
{form.gather.replace("SLABS", str(chunks)).replace("SLAB", str(slab))}
}}
}}
"""
        even = splits == 1 and self.images % chunks == 0
        outputs = self.groups * self.depth
        phases = (
            Phase(name, chunks * splits, reads=(0, 1), rows=(0, 1) if even else ()),
            Phase(f"{name}_sum", outputs, reads=(), writes=(2,), rows=(2,)),
        )
        return Kernel(form.source + source, phases, shared=tiles.aligned(slab * chunks), own=form.own)

    def few(self) -> bool:
        """Whether runs are too short for the broadcasting form, and images large enough for the dots."""
        run = self.channels * (self.window[1] if self.dilation[1] == 1 else 1)
        last = self.out[0] % self.dot_rows() or self.dot_rows()
        filled = run / (-(-run // self.lanes) * self.lanes)
        return filled < 0.7 and last * self.out[1] >= self.lanes

    def dot_rows(self) -> int:
        """Rows of a band of the dots."""
        rows = self.out[0]
        while rows * self.out[1] > 4 * self.lanes and self.lowering(rows).bytes(self.lanes) > 2 * BAND_BYTES:
            rows = -(-rows // 2)
        return rows

    def lowering(self, rows: int) -> Lowering:
        """The copy of a band of one group's channels."""
        down, across = (tuple(sorted({tap[axis] for tap in self.taps})) for axis in (0, 1))
        return Lowering(self.channels, self.sizes, self.stride, down, across, rows, self.out[1])

    def _dots(self, name: str) -> Form:
        rows, pixels, count = self.dot_rows(), math.prod(self.out), len(self.taps)
        lowering = self.lowering(rows)
        m, t = dot_tile(self.depth, count, tiles.registers(self.lanes))
        row_tiles, tap_tiles = -(-self.depth // m), -(-count // t)
        # The last tile of taps repeats the last tap; its sums there are not used.
        offsets = [lowering.offset(a, b) for a, b, _ in self.taps]
        offsets += offsets[-1:] * (t * tap_tiles - count)
        bands = -(-self.out[0] // rows)
        identity = lowering.identity
        last = (self.out[0] - (bands - 1) * rows) * self.out[1]
        columns, size = self.channels * tap_tiles, m * t * self.lanes
        fill = "" if identity else f"{name}_lower(x, own, i * {rows});"
        # The last band has fewer rows: what is lowered below them is not used.
        source = f"""{dot_product_tile(f"{name}_tile", m, t, self.lanes, pixels)}
{"" if identity else lowering.source(f"{name}_lower")}
static void {name}_image(const float *x, const float *g, float *slab, float *own, long from, long to)
{{
static const int taps[] = {{{", ".join(map(str, offsets))}}};
const float *copy = {"x" if identity else "own"};
for (long i = 0; i < {bands}; i++) {{
{fill}
const long count = i < {bands - 1} ? {rows * self.out[1]} : {last};
for (long c = 0; c < {self.channels}; c++) for (long t = 0; t < {tap_tiles}; t++) for (long r = from; r < to; r++) {{
const long m = r * {m} > {self.depth - m} ? {self.depth - m} : r * {m};
{name}_tile(copy + c * {lowering.channel}, g + m * {pixels} + i * {rows * self.out[1]},
slab + (r * {columns} + c * {tap_tiles} + t) * {size}, taps + t * {t}, count);
}}
}}
}}
"""
        gather = f"""for (long c = 0; c < {self.channels}; c++) for (long k = 0; k < {count}; k++) {{
const float *e = s + (c * {tap_tiles} + k / {t}) * {size} + k % {t} * {self.lanes};
float sum = 0;
for (long b = 0; b < SLABS; b++) for (long j = 0; j < {self.lanes}; j++) sum += e[b * SLAB + j];
d[c * {count} + k] = sum;
}}"""
        return Form(source, gather, m, t, row_tiles, columns, 0 if identity else lowering.bytes(self.lanes))

    def _broadcast(self, name: str) -> Form:
        # A window of one pixel meets a part of x only, or all of it: lowered first, it is one with stride 1.
        single = self.window == (1, 1)
        (height, width), stride = (self.out, (1, 1)) if single else (self.sizes, self.stride)
        (top, bottom), (left, right) = ((0, 0), (0, 0)) if single else self.padding
        c, wide = self.channels, width + left + right
        reach = (self.window[0] - 1) * self.dilation[0] + 1
        joined = self.dilation[1] == 1
        run = c * self.window[1] if joined else c
        vectors = -(-run // self.lanes)
        pixels, count = math.prod(self.out), len(self.taps)
        begins = [
            (i * self.dilation[0] * wide + (0 if joined else j * self.dilation[1])) * c + k * self.lanes
            for i in range(self.window[0])
            for j in range(1 if joined else self.window[1])
            for k in range(vectors)
        ]
        m, v = tiles.choose_tile(self.depth, len(begins) * self.lanes, pixels, self.lanes)
        row_tiles, columns = -(-self.depth // m), -(-len(begins) // v)
        used = len(begins)
        begins += begins[-1:] * (v * columns - used)
        rows = self.out[0]
        while rows * self.out[1] > 8 * self.lanes and ((rows - 1) * stride[0] + reach) * wide * c * 4 > BAND_BYTES:
            rows = -(-rows // 2)
        kept = (rows - 1) * stride[0] + reach
        size = m * v * self.lanes
        lowering = self.lowering(self.out[0])
        lowers = single and not lowering.identity
        band = tiles.aligned(kept * wide * c + self.lanes * 2)
        own = band + (lowering.bytes(self.lanes) if lowers else 0)
        inside = top == 0 and bottom == 0
        zero_left = f"memset(d, 0, {left * c * 4});" if left else ""
        zero_right = f"memset(d + {(left + width) * c}, 0, {right * c * 4});" if right else ""
        steps = stride[1] * c, stride[0] * wide * c
        source = f"""{broadcast_tile(f"{name}_tile", m, v, self.lanes, pixels, self.out[1], *steps)}
{lowering.source(f"{name}_lower") if lowers else ""}
static void {name}_image(const float *x, const float *g, float *slab, float *own, long from, long to)
{{
static const int begins[] = {{{", ".join(map(str, begins))}}};
{f"{name}_lower(x, own + {band // 4}, 0); x = own + {band // 4};" if lowers else ""}
for (long i = 0; i < {self.out[0]}; i += {rows}) {{
const long rows = {self.out[0]} - i < {rows} ? {self.out[0]} - i : {rows};
for (long t = 0; t < (rows - 1) * {stride[0]} + {reach}; t++) {{
const long h = i * {stride[0]} - {top} + t;
float *d = own + t * {wide * c};
{"" if inside else f"if (h < 0 || h >= {height}) {{ memset(d, 0, {wide * c * 4}); continue; }}"}
{zero_left} {zero_right}
knet_transpose(x + h * {width}, {height * width}, d + {left * c}, {c}, {c}, {width});
}}
for (long t = 0; t < {columns}; t++) for (long r = from; r < to; r++) {{
const long m = r * {m} > {self.depth - m} ? {self.depth - m} : r * {m};
{name}_tile(own, g + m * {pixels} + i * {self.out[1]}, slab + (r * {columns} + t) * {size}, begins + t * {v}, rows);
}}
}}
}}
"""
        place = "j % W * C + c" if joined else "c"
        first = f"j / W * {vectors}" if joined else f"j * {vectors}"
        place, first = (text.replace("W", str(self.window[1])).replace("C", str(c)) for text in (place, first))
        gather = f"""for (long j = 0; j < {count}; j++) for (long c = 0; c < {c}; c++) {{
const long p = {place}, q = {first} + p / {self.lanes};
const float *e = s + q / {v} * {size} + q % {v} * {self.lanes} + p % {self.lanes};
float sum = 0;
for (long b = 0; b < SLABS; b++) sum += e[b * SLAB];
d[c * {count} + j] = sum;
}}"""
        return Form(source, gather, m, v, row_tiles, columns, own)


@dataclass(frozen=True)
class Form:
    """C text that adds one image's products to a slab, and the loop that takes the gradient out of slabs."""

    source: str
    gather: str
    m: int
    v: int
    row_tiles: int
    columns: int
    own: int


def dot_tile(rows: int, taps: int, registers: int) -> tuple[int, int]:
    """(M, T) of the fastest tile of dot products."""
    best = (float("inf"), 0, 1, 1)
    for m in range(1, rows + 1):
        for t in range(1, taps + 1):
            if m * t + min(m, t) + 1 > registers:
                continue
            cost = -(-rows // m) * -(-taps // t) * (max(m * t / 2, (m + t) / 2, 4) + 0.5)
            best = min(best, (cost, -m * t, m, t))
    return best[2:]


def dot_product_tile(name: str, m: int, t: int, lanes: int, pixels: int) -> str:
    """C function of a tile: acc[i][k] += sum over p < count of g[i pixels + p] x[taps[k] + p], lane by lane.

    A last vector that would be ragged ends where the pixels end; the lanes that it has in common with the one before
    are cleared bit by bit, in both factors: 0 * inf would be NaN.
    """
    vector, sums = f"knet_f{lanes}", [(i, k) for i in range(m) for k in range(t)]
    declare = ", ".join(f"a{i}_{k} = *(const {vector} *)(acc + {(i * t + k) * lanes})" for i, k in sums)
    pointers = ", ".join(f"*x{k} = x + taps[{k}]" for k in range(t))
    step = f"{vector} " + ", ".join(f"g{i} = *(const {vector}u *)(g + {i * pixels} + p)" for i in range(m)) + ", b;\n"
    step += "\n".join(
        f"b = *(const {vector}u *)(x{k} + p); " + " ".join(f"a{i}_{k} += g{i} * b;" for i in range(m)) for k in range(t)
    )
    ragged = step.replace(", b;\n", ", b;\n" + " ".join(f"g{i} = KNET_KEEP({lanes}, g{i});" for i in range(m)) + "\n")
    ragged = ragged.replace("+ p); a", f"+ p); b = KNET_KEEP({lanes}, b); a")
    stores = "\n".join(f"*({vector} *)(acc + {(i * t + k) * lanes}) = a{i}_{k};" for i, k in sums)
    return f"""
static __attribute__((noinline)) void {name}(const float *x, const float *g, float *acc, const int *taps, long count)
{{
{vector} {declare};
const float {pointers};
long p = 0;
for (; p + {lanes} <= count; p += {lanes}) {{
{step}
}}
if (p < count) {{
const knet_i{lanes}u keep = *(const knet_i{lanes}u *)(knet_keep + (count - p) + {16 - lanes});
p = count - {lanes};
{ragged}
}}
{stores}
}}
"""


def broadcast_tile(name: str, m: int, v: int, lanes: int, pixels: int, width: int, x_step: int, row_step: int) -> str:
    """C function of a tile: acc[i][j] += sum over r < rows, q < width of g[i pixels + r width + q] times the vector at
    x[r row_step + q x_step + begins[j]].
    """
    vector, sums = f"knet_f{lanes}", [(i, j) for i in range(m) for j in range(v)]
    declare = ", ".join(f"a{i}_{j} = *(const {vector} *)(acc + {(i * v + j) * lanes})" for i, j in sums)
    begins = ", ".join(f"o{j} = begins[{j}]" for j in range(v))
    loads = ", ".join(f"x{j} = *(const {vector}u *)(p + o{j})" for j in range(v))
    rows = "\n".join(
        f"b = g[{i * pixels}] - ({vector}){{0}}; " + " ".join(f"a{i}_{j} += b * x{j};" for j in range(v))
        for i in range(m)
    )
    stores = "\n".join(f"*({vector} *)(acc + {(i * v + j) * lanes}) = a{i}_{j};" for i, j in sums)
    return f"""
static __attribute__((noinline)) void {name}(const float *x, const float *g, float *acc, const int *begins, long rows)
{{
{vector} {declare};
const long {begins};
for (long r = 0; r < rows; r++, x += {row_step}) {{
const float *p = x;
for (long q = 0; q < {width}; q++, p += {x_step}, g++) {{
{vector} {loads}, b;
{rows}
}}
}}
{stores}
}}
"""
