"""The weights' gradient on CPU devices: products of register tiles, added up over pixels and images.

Two forms, chosen by how well the runs of an image's numbers fill vectors:

- *broadcast*: the image is turned to [H, W, C], where the numbers that a pixel meets in a row of the window are one run
  of K C neighbours. A tile multiplies broadcast numbers of g by vectors of runs; its sums are gradients.
- *dots*: for few channels. Rows are copied as in the forward pass, and a tile multiplies vectors of g's pixels by
  vectors of copied pixels. Its sums are vectors whose lanes are added at the very end.

A group adds up its share of the images in a slab of its own; a second kernel adds the slabs. Where slabs would be large
there is one, and groups divide the output channels instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...core.aval import ShapedArray
from ..layout import Ref
from ..scalar import arithmetic, c_type, loaded, stored
from .conv_geometry import Geometry, each, filled, numbers
from .conv_tiles import ROLLED, Copy, Vectors, choose_tile, copy_of, copying, step, vectors

SLAB_BYTES = 1 << 20
BAND_BYTES = 32 << 10  # of a turned band of an image: about the first cache
DOT_TILES = ((1, 1), (1, 4), (4, 1), (3, 3), (4, 5), (5, 5), (2, 9))


@dataclass(frozen=True)
class Form:
    """How an image is added to a slab, [groups, ..., columns, row tiles, tile] of tiles of ``m`` rows.

    Attributes:
      columns: tiles for one row of tiles.
      vectors: in a tile.
      copy: numbers of scratch.
      image: text that adds row tiles from ``from`` to ``to`` of group k of image n to ``slab``.
      place: text that sets ``t`` to the tile of dw's element (o, c, k0, k1, k2), less its row tile, ``j`` to its place
        in a row of vectors.
      lanes: how many numbers of the slab from there on belong to it.
    """

    m: int
    columns: int
    vectors: int
    copy: int
    image: str
    place: str
    lanes: int
    values: dict[str, int]


def weight_sums(lowering: Any, name: str, g: Geometry, x: Ref, gradient: Ref, out: Ref) -> None:
    """Launches of dw[o, c, k] = sum over n, i of x[n, c, i * stride - before + k * dilation] g[n, o, i]."""
    dtype, target = out.dtype, lowering.target
    v = vectors(target, dtype)
    w = lowering.writer(name)
    xa, ga = w.array(x), w.array(gradient)
    copy = copy_of(g, arithmetic(dtype).itemsize, 2 * BAND_BYTES, least=4 * v.lanes)
    form = (_dots if _few(g, copy, v, dtype) else _broadcast)(g, copy, v, dtype, ga, lowering.literal)
    row_tiles = -(-g.depth // form.m)
    tile = form.m * form.vectors * v.lanes
    slab = g.groups * form.columns * row_tiles * tile
    chunks, splits = min(g.images, target.units), 1
    if slab * arithmetic(dtype).itemsize * chunks > SLAB_BYTES * target.units:
        chunks = 1
    if chunks < target.units:
        splits = min(-(-target.units // chunks), row_tiles)
    slabs = lowering.new(ShapedArray((chunks * slab,), arithmetic(dtype)))
    scratch = lowering.new(ShapedArray((chunks * splits * form.copy,), arithmetic(dtype)))
    sa, ca = w.array(slabs, write=True), w.array(scratch, write=True)
    body = f"""{v.declared}const INDEX chunk = GROUP(0) / $SPLITS, part = GROUP(0) % $SPLITS;
const INDEX from = $ROWS * part / $SPLITS, to = $ROWS * (part + 1) / $SPLITS;
GLOBAL {v.scalar} *slab = {sa} + chunk * $SLAB, *copy = {ca} + GROUP(0) * $COPY;
for (INDEX i = 0; i < $G * $COLUMNS; i++) for (INDEX j = from * {tile}; j < to * {tile}; j++)
slab[i * $ROWS * {tile} + j] = 0;
for (INDEX n = (long)$N * chunk / $CHUNKS; n < (long)$N * (chunk + 1) / $CHUNKS; n++)
for (INDEX k = 0; k < $G; k++) {{
const GLOBAL X *s = {xa} + (n * $G + k) * $C * $V;
{form.image}}}
"""
    values = numbers(g) | form.values
    values |= {
        "SPLITS": splits, "CHUNKS": chunks, "ROWS": row_tiles, "COLUMNS": form.columns, "SLAB": slab, "COPY": form.copy,
    }  # fmt: skip
    body = filled(w, body.replace("GLOBAL X ", f"GLOBAL {c_type(dtype)} "), values)
    lowering.launch(w.launch(body, (chunks * splits, 1, 1), text=f"{name} of {g.window}", work=g.work))
    _add_slabs(lowering, name, form, slabs, out, values)


def _add_slabs(lowering: Any, name: str, form: Form, slabs: Ref, out: Ref, values: dict[str, int]) -> None:
    w = lowering.writer(f"{name}_sum")
    source, target, dtype = w.array(slabs), w.array(out, write=True), out.dtype
    width = form.vectors * vectors(lowering.target, dtype).lanes
    body = f"""const INDEX k2 = e % $K2, k1 = e / $K2 % $K1, k0 = e / $K2 / $K1 % $K0, c = e / $W % $C;
const INDEX o = e / $W / $C % $O, k = e / $W / $C / $O, row = o / {form.m} * {form.m};
const INDEX first = row > $O - {form.m} ? $O - {form.m} : row;
{form.place}const INDEX tile = (k * $COLUMNS + t) * $ROWS + o / {form.m};
const GLOBAL {c_type(slabs.dtype)} *s = {source} + (tile * {form.m} + o - first) * {width} + j;
{c_type(slabs.dtype)} sum = 0;
for (INDEX i = 0; i < $CHUNKS; i++) for (INDEX l = 0; l < {form.lanes}; l++) sum += s[i * $SLAB + l];
{target}[e] = {stored("sum", dtype)};
"""
    text, groups = each(w, out.size, filled(w, body, values), float(slabs.size))
    lowering.launch(w.launch(text, groups, text="slabs added", work=float(slabs.size)))


def _few(g: Geometry, copy: Copy, v: Vectors, dtype: Any) -> bool:
    """Whether runs are too short for the broadcasting form, and images large enough for the dots."""
    run = g.channels * (g.window[2] if g.dilation[2] == 1 else 1)
    last = g.out[1] - (copy.bands - 1) * copy.band
    filled = run / (-(-run // v.lanes) * v.lanes)
    return filled < 0.7 and last * g.out[2] >= v.lanes and dtype == arithmetic(dtype)


def _dot_tile(rows: int, taps: int, v: Vectors, literal: bool) -> tuple[int, int]:
    """(M, T) of the fastest tile of dot products."""
    tiles = ((m, t) for m in range(1, rows + 1) for t in range(1, taps + 1)) if literal else DOT_TILES
    best = (float("inf"), 0, 1, 1)
    for m, t in tiles:
        if m * t + min(m, t) + 1 <= v.registers and m <= rows:
            cost = -(-rows // m) * -(-taps // t) * (max(m * t / 2, (m + t) / 2, 4) + 0.5)
            best = min(best, (cost, -m * t, m, t))
    return best[2:]


def _tile(m: int, n: int, v: Vectors, loop: str) -> str:
    """Text that loads the sums of tile ``acc``, adds to them, and stores them."""
    names = [(f"a{i}_{j}", (i * n + j) * v.lanes) for i in range(m) for j in range(n)]
    loads = ", ".join(f"{a} = {v.load(f'acc + {at}')}" for a, at in names)
    stores = " ".join(f"*(GLOBAL knet_vector *)(acc + {at}) = {a};" for a, at in names)
    return f"{v.vector} {loads};\n{loop}{stores}\n"


def _dots(g: Geometry, copy: Copy, v: Vectors, dtype: Any, ga: str, literal: bool) -> Form:
    m, n = _dot_tile(g.depth, g.taps, v, literal)
    tap_tiles = -(-g.taps // n)
    begins = "".join(
        f"""const INDEX w{j} = t * {n} + {j} < $W ? t * {n} + {j} : $W - 1;
const GLOBAL {v.scalar} *p{j} = copy + c * $DEEP + """
        + (f"w{j} * $COLUMN;\n" if copy.whole else
           f"(w{j} / $K2 / $K1 * $K2 + w{j} % $K2) * $COLUMN + w{j} / $K2 % $K1 * $D1 * $P2;\n")
        for j in range(n)
    )  # fmt: skip
    mask = "int" if v.scalar == "float" else "long"
    kind = f"{mask}{v.lanes}"

    def added(load: Callable[[str], str]) -> str:
        text = f"const {v.vector} " + ", ".join(f"g{i} = {load(f'y + {i} * $Q + p')}" for i in range(m)) + ";\n"
        for j in range(n):
            adds = " ".join(f"a{i}_{j} = fma(g{i}, b, a{i}_{j});" for i in range(m))
            text += f"{{ const {v.vector} b = {load(f'p{j} + p')}; {adds} }}\n"
        return text

    # The last vector ends where the pixels end; lanes that it has in common with the one before are cleared in both.
    lines, ragged = added(v.load), added(lambda text: f"as_{v.vector}(keep & as_{kind}({v.load(text)}))")
    order = ", ".join(map(str, range(v.lanes)))
    tail = f"""if (p < pixels) {{
const {kind} keep = ({kind})({order}) >= ({kind})({v.lanes} - ({mask})(pixels - p));
p = pixels - {v.lanes};
{ragged}}}
"""
    if literal and copy.band * g.out[2] % v.lanes == 0 and g.out[1] * g.out[2] % v.lanes == 0:
        tail = ""
    loop = f"INDEX p = 0;{ROLLED}for (; p + {v.lanes} <= pixels; p += {v.lanes}) {{\n{lines}}}\n{tail}"
    image = f"""for (INDEX i0 = 0; i0 < $P0; i0++) for (INDEX i1 = 0; i1 < $P1; i1 += $BAND) {{
const INDEX rows = $P1 - i1 < $BAND ? $P1 - i1 : $BAND, pixels = rows * $P2;
{copying(g, copy, loaded("S", dtype), v)}for (INDEX c = 0; c < $C; c++) for (INDEX t = 0; t < $TAPS; t++) {{
{begins}for (INDEX r = from; r < to; r++) {{
const INDEX o = r * {m} > $O - {m} ? $O - {m} : r * {m};
const GLOBAL X *y = {ga} + ((n * $G + k) * $O + o) * $Q + (i0 * $P1 + i1) * $P2;
GLOBAL {v.scalar} *acc = slab + ((k * $COLUMNS + c * $TAPS + t) * $ROWS + r) * {m * n * v.lanes};
{_tile(m, n, v, loop)}}}
}}
}}
"""
    place = f"const INDEX q = e % $W, t = c * $TAPS + q / {n}, j = q % {n} * {v.lanes};\n"
    size = -(-(copy.size(g) + v.lanes) // 16) * 16
    column = copy.column(g)
    values = {"TAPS": tap_tiles, "BAND": copy.band, "COLUMN": column, "DEEP": copy.size(g) // g.channels}
    return Form(m, g.channels * tap_tiles, n, size, image, place, v.lanes, values)


def _broadcast(g: Geometry, _: Copy, v: Vectors, dtype: Any, ga: str, literal: bool) -> Form:
    # On an axis where the window has one tap, only what the stride meets is copied.
    (t1, t2), (d1, d2) = g.stride[1:], g.dilation[1:]
    apart = [1 if k == 1 else t for k, t in zip(g.window[1:], (t1, t2), strict=True)]
    skip = [t if k == 1 else 1 for k, t in zip(g.window[1:], (t1, t2), strict=True)]
    reach = [(k - 1) * d + 1 for k, d in zip(g.window[1:], (d1, d2), strict=True)]
    wide = (g.out[2] - 1) * apart[1] + reach[1]
    joined = d2 == 1
    run = g.channels * (g.window[2] if joined else 1)
    run_vectors, runs = -(-run // v.lanes), g.window[1] * (1 if joined else g.window[2])
    m, n = choose_tile(g.depth, runs * run_vectors * v.lanes, g.pixels, v, literal)
    tiles = -(-runs * run_vectors // n)
    itemsize, band = arithmetic(dtype).itemsize, g.out[1]
    line = wide * g.channels * itemsize
    while band * g.out[2] > 8 * v.lanes and ((band - 1) * apart[0] + reach[0]) * line > BAND_BYTES:
        band = -(-band // 2)
    kept = (band - 1) * apart[0] + reach[0]
    across = 1 if joined else g.window[2]
    begins = "".join(
        f"""const INDEX b{j} = t * {n} + {j} < $RUNS ? t * {n} + {j} : $RUNS - 1, v{j} = b{j} / $LONG;
const INDEX d{j} = v{j} / $ACROSS * $D1 * $WIDE + v{j} % $ACROSS * $D2;
const GLOBAL {v.scalar} *p{j} = copy + d{j} * $C + b{j} % $LONG * {v.lanes};
"""
        for j in range(n)
    )
    rows = [loaded(f"y[{i} * $Q + q]", dtype) for i in range(m)]
    lines = step(m, n, v, rows, [f"p{j} + p" for j in range(n)])
    loop = f"""{ROLLED}for (INDEX i = 0; i < rows; i++, y += $P2) {{
INDEX p = i * $APART1 * $WIDE * $C;{ROLLED}for (INDEX q = 0; q < $P2; q++, p += $APART2 * $C) {{
{lines}}}
}}
"""
    outside = f"if (h1 < 0 || h1 >= $S1) {{{ROLLED}for (INDEX i = 0; i < $WIDE * $C; i++) d[i] = 0;\ncontinue;\n}}\n"
    if g.inside(1):
        outside = ""
    element = loaded("z[c * $V]", dtype)
    if not g.inside(2):
        element = f"h2 < 0 || h2 >= $S2 ? 0 : {element}"
    image = f"""for (INDEX i0 = 0; i0 < $P0; i0++) for (INDEX k0 = 0; k0 < $K0; k0++) {{
const INDEX h0 = i0 * $T0 - $B0 + k0 * $D0;
if (h0 < 0 || h0 >= $S0) continue;
for (INDEX i1 = 0; i1 < $P1; i1 += $BAND) {{
const INDEX rows = $P1 - i1 < $BAND ? $P1 - i1 : $BAND;
for (INDEX u = 0; u < (rows - 1) * $APART1 + $REACH; u++) {{
const INDEX h1 = i1 * $T1 - $B1 + u * $SKIP1;
GLOBAL {v.scalar} *d = copy + u * $WIDE * $C;
{outside}for (INDEX j = 0; j < $WIDE; j++) {{
const INDEX h2 = j * $SKIP2 - $B2;
const GLOBAL X *z = s + (h0 * $S1 + h1) * $S2 + h2;{ROLLED}for (INDEX c = 0; c < $C; c++) d[j * $C + c] = {element};
}}
}}
for (INDEX t = 0; t < $TILES; t++) {{
{begins}for (INDEX r = from; r < to; r++) {{
const INDEX o = r * {m} > $O - {m} ? $O - {m} : r * {m};
const GLOBAL X *y = {ga} + ((n * $G + k) * $O + o) * $Q + (i0 * $P1 + i1) * $P2;
GLOBAL {v.scalar} *acc = slab + ((k * $COLUMNS + k0 * $TILES + t) * $ROWS + r) * {m * n * v.lanes};
{_tile(m, n, v, loop)}}}
}}
}}
}}
"""
    inner = "k2 * $C + c" if joined else "c"
    which = "k1" if joined else "k1 * $K2 + k2"
    place = f"""const INDEX q = {inner}, b = ({which}) * $LONG + q / {v.lanes}, t = k0 * $TILES + b / {n};
const INDEX j = b % {n} * {v.lanes} + q % {v.lanes};
"""
    values = {
        "RUNS": runs * run_vectors, "LONG": run_vectors, "ACROSS": across, "WIDE": wide, "BAND": band, "TILES": tiles,
        "APART1": apart[0], "APART2": apart[1], "SKIP1": skip[0], "SKIP2": skip[1], "REACH": reach[0],
    }  # fmt: skip
    size = -(-(kept * wide * g.channels + 2 * v.lanes) // 16) * 16
    return Form(m, g.window[0] * tiles, n, size, image, place, 1, values)
