"""Convolutions on CPU devices as products of register tiles: weights are broadcast, vectors are of neighbouring pixels.

Two kernels. The first puts the weights of M output channels beside each other, tap by tap, as tiles read them. In the
second a group has some bands of images: it copies the rows of one (``conv_tiles.Copy``), so that the pixels which a tap
meets are contiguous however ragged the width, and multiplies. The input gradient of a convolution with stride 1 is such
a convolution too, with the window turned round.
"""

from __future__ import annotations

from typing import Any

from ...core.aval import ShapedArray
from ..layout import Ref
from ..scalar import arithmetic, c_type, loaded
from .conv_geometry import Geometry, filled, numbers
from .conv_tiles import ROLLED, choose_tile, copy_of, copying, step, store, sums, tiled_weights, vectors
from .places import groups_of


def correlate(lowering: Any, name: str, g: Geometry, x: Ref, weights: Ref, out: Ref, turned: bool) -> None:
    """Launches of the convolution ``g`` of x.

    Args:
      turned: whether weights are those of the convolution that ``g`` is the input gradient of.
    """
    dtype, target = out.dtype, lowering.target
    v = vectors(target, dtype)
    planes = g.images * g.groups * g.out[0]
    copy = copy_of(g, arithmetic(dtype).itemsize, parts=-(-2 * target.units // planes), least=4 * v.lanes)
    pixels, steps = copy.band * g.out[2], g.channels * g.taps
    m, n = choose_tile(g.depth, pixels, steps, v, lowering.literal)
    span = n * v.lanes
    row_tiles = -(-g.depth // m)
    place = "((k * $C + r / $W) * $O + o) * $W + ($W - 1 - r % $W)" if turned else "(k * $O + o) * $STEPS + r"
    packed = tiled_weights(lowering, name, weights, (g.groups, g.depth, steps, m), place, numbers(g))
    plain = (
        g.taps == 1 and g.stride == (1, 1, 1) and g.before == (0, 0, 0) and g.out == g.sizes and copy.bands == 1
        and g.out[0] == 1 and pixels >= span and dtype == arithmetic(dtype)
    )  # fmt: skip
    units = planes * copy.bands
    size = -(-(copy.size(g) + span) // 16) * 16
    w = lowering.writer(name)
    groups = groups_of(units, g.work / v.lanes, w)
    xa, qa, ya = w.array(x), w.array(packed), w.array(out, write=True)
    if plain:
        scratch, fill = f"const GLOBAL {v.scalar} *copy = s;", ""
    else:
        work = w.array(lowering.new(ShapedArray((groups * size,), arithmetic(dtype))), write=True)
        scratch = f"GLOBAL {v.scalar} *copy = {work} + GROUP(0) * $SIZE;"
        fill = copying(g, copy, loaded("S", dtype), v)
    tile = step(m, n, v, [f"q[{i}]" for i in range(m)], [f"p + {j * v.lanes}" for j in range(n)])
    if copy.whole:
        loops = f"{ROLLED}for (INDEX r = 0; r < $STEPS; r++, p += $COLUMN, q += {m}) {{\n{tile}}}\n"
    else:
        loops = f"""{ROLLED}for (INDEX c = 0; c < $DEEP; c++, x += $K2 * $COLUMN)
{ROLLED}for (INDEX k1 = 0; k1 < $K1; k1++) {{
const GLOBAL {v.scalar} *p = x + k1 * $D1 * $P2;
{ROLLED}for (INDEX k2 = 0; k2 < $K2; k2++, p += $COLUMN, q += {m}) {{
{tile}}}
}}
"""
    left = None if lowering.literal and g.depth % m == 0 else f"($O - m * {m})"
    start = f"const GLOBAL {v.scalar} *{'p' if copy.whole else 'x'} = copy + at,\n"
    start += f"*q = {qa} + (k * $TILES + m) * $STEPS * {m};\n"
    body = f"""{v.declared}const INDEX first = (long)$UNITS * GROUP(0) / GROUPS(0);
const INDEX end = (long)$UNITS * (GROUP(0) + 1) / GROUPS(0);
for (INDEX u = first; u < end; u++) {{
const INDEX i1 = u % $BANDS * $BAND, i0 = u / $BANDS % $P0, f = u / $BANDS / $P0, k = f % $G;
const INDEX rows = $P1 - i1 < $BAND ? $P1 - i1 : $BAND, pixels = rows * $P2;
const GLOBAL X *s = {xa} + f * $C * $V;
{scratch}
{fill}for (INDEX b = 0; b < pixels; b += {span}) {{
const INDEX last = pixels < {span} ? 0 : pixels - {span}, at = MIN(b, last);
for (INDEX m = 0; m < $TILES; m++) {{
{start}{sums(m, n, v)}{loops}GLOBAL X *y = {ya} + (f * $O + m * {m}) * $Q + (i0 * $P1 + i1) * $P2 + at;
{store(m, n, v, dtype, "$Q", "(pixels - at)", left)}}}
}}
}}
"""
    values = numbers(g) | {
        "UNITS": units, "BANDS": copy.bands, "BAND": copy.band, "SIZE": size, "TILES": row_tiles, "STEPS": steps,
        "COLUMN": g.volume if plain else copy.column(g), "DEEP": g.channels * g.window[0],
    }  # fmt: skip
    body = filled(w, body.replace("GLOBAL X ", f"GLOBAL {c_type(dtype)} "), values)
    lowering.launch(w.launch(body, (groups, 1, 1), text=f"{name} of {g.window}", work=g.work))
