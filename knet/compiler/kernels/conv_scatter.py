"""The input gradient on CPU devices by scattering: for strides, and for windows larger than their overlap with padding.

The products of g's pixels [O, P] by w [O, C K] hold each multiply-add of the gradient once, where a convolution with
the window turned round meets the zeros around g too (2.25 times as many for a 5x5 window over 12x12 pixels without
padding). Rows of products are added to planes of scratch, shifted by their taps. There columns are sorted by their
remainder modulo the stride, so that the cells of neighbouring windows are neighbours; at last they are put in order.
"""

from __future__ import annotations

from typing import Any

from ...core.aval import ShapedArray
from ..layout import Ref
from ..scalar import arithmetic, c_type, loaded, stored
from .conv_geometry import Geometry, filled, numbers
from .conv_tiles import ROLLED, choose_tile, step, store, sums, tiled_weights, vectors
from .places import groups_of

ADD_COST = 12  # multiply-adds in the time of adding a product, of which a share of the lanes is used, to a plane


def scatters(lowering: Any, g: Geometry, dtype: Any) -> bool:
    """Whether to scatter."""
    lanes, width = vectors(lowering.target, dtype).lanes, g.out[2]
    used = width / (-(-width // lanes) * lanes)
    return g.stride != (1, 1, 1) or g.pixels * (1 + ADD_COST / used / g.depth) < g.volume


def scatter(lowering: Any, name: str, g: Geometry, gradient: Ref, weights: Ref, out: Ref) -> None:
    """Launches of dx[n, c, i * stride - before + k * dilation] += w[o, c, k] g[n, o, i]."""
    dtype, target = out.dtype, lowering.target
    v = vectors(target, dtype)
    images = g.images * g.groups
    parts = min(g.channels, -(-2 * target.units // images)) if images < 2 * target.units else 1
    channels = -(-g.channels // parts)
    parts = -(-g.channels // channels)
    m, n = choose_tile(channels * g.taps, g.pixels, g.depth, v, lowering.literal)
    span = n * v.lanes
    reach = [(k - 1) * d for k, d in zip(g.window, g.dilation, strict=True)]
    deep, high = ((g.out[a] - 1) * g.stride[a] + reach[a] + 1 for a in (0, 1))
    remainder = g.out[2] + reach[2] // g.stride[2]
    row = remainder * g.stride[2]
    plane = deep * high * row
    copies = dtype != arithmetic(dtype) or g.pixels < span  # g, where its vectors cannot be read as they are
    size = [g.depth * g.pixels + span if copies else 0, m * g.pixels + span, channels * plane]
    size = [-(-s // 16) * 16 for s in size]
    units = images * parts
    values = numbers(g) | {
        "UNITS": units, "PARTS": parts, "CHANNELS": channels, "TILES": -(-channels * g.taps // m), "DEEP": deep,
        "HIGH": high, "ROW": row, "REMAINDER": remainder, "PLANE": plane, "SIZE": sum(size), "PRODUCTS": size[0],
        "PLANES": size[0] + size[1],
    }  # fmt: skip
    # Parts are groups of weights here, of as many rows each.
    place = "(k / $PARTS * $O + r) * $C * $W + k % $PARTS * $CHANNELS * $W + o"
    if channels * parts != g.channels:
        place = f"k % $PARTS * $CHANNELS * $W + o >= $C * $W ? 0 : {place}"
    packed = tiled_weights(lowering, name, weights, (g.groups * parts, channels * g.taps, g.depth, m), place, values)
    w = lowering.writer(name)
    groups = groups_of(units, g.work / v.lanes, w)
    ga, qa, ya = w.array(gradient), w.array(packed), w.array(out, write=True)
    work = w.array(lowering.new(ShapedArray((groups * sum(size),), arithmetic(dtype))), write=True)
    begin = f"const GLOBAL X *s = {ga} + f * $O * $Q;\n"
    if copies:
        begin = f"""const GLOBAL X *z = {ga} + f * $O * $Q;
for (INDEX i = 0; i < $O * $Q; i++) own[i] = {loaded("z[i]", dtype)};
const GLOBAL {v.scalar} *s = own;
"""
    tile = step(m, n, v, [f"q[{i}]" for i in range(m)], [f"p + {j * v.lanes}" for j in range(n)])
    add = "for (INDEX j = 0; j < $P2; j++) d[j] += t[j];"
    if g.stride[2] == 1:
        order = f"""for (INDEX j = 0; j < $S2; j++) d[j] = {stored("j + $B2 < $ROW ? t[j + $B2] : 0", dtype)};"""
    else:
        order = f"""for (INDEX b = 0; b < $T2; b++) {{
const INDEX first = (b + $T2 * $B2 - $B2) % $T2, k = b * $REMAINDER + (first + $B2) / $T2;
const INDEX within = $REMAINDER - (first + $B2) / $T2, all = ($S2 - first + $T2 - 1) / $T2;
const INDEX met = within < all ? within : all;
for (INDEX j = 0; j < met; j++) d[j * $T2 + first] = {stored("t[k + j]", dtype)};
for (INDEX j = met < 0 ? 0 : met; j < all; j++) d[j * $T2 + first] = 0;
}}"""
    body = f"""{v.declared}GLOBAL {v.scalar} *own = {work} + GROUP(0) * $SIZE;
GLOBAL {v.scalar} *products = own + $PRODUCTS, *planes = own + $PLANES;
for (INDEX u = (long)$UNITS * GROUP(0) / GROUPS(0); u < (long)$UNITS * (GROUP(0) + 1) / GROUPS(0); u++) {{
const INDEX part = u % $PARTS, f = u / $PARTS, k = f % $G, first = part * $CHANNELS;
const INDEX channels = $C - first < $CHANNELS ? $C - first : $CHANNELS;
{begin}for (INDEX i = 0; i < channels * $PLANE; i++) planes[i] = 0;
for (INDEX m = 0; m * {m} < channels * $W; m++) {{
for (INDEX b = 0; b < $Q; b += {span}) {{
const INDEX last = $Q < {span} ? 0 : $Q - {span}, at = MIN(b, last);
const GLOBAL {v.scalar} *p = s + at, *q = {qa} + ((k * $PARTS + part) * $TILES + m) * $O * {m};
{sums(m, n, v)}{ROLLED}for (INDEX r = 0; r < $O; r++, p += $Q, q += {m}) {{
{tile}}}
GLOBAL {v.scalar} *y = products + at;
{store(m, n, v, arithmetic(dtype), "$Q", "($Q - at)", None)}}}
for (INDEX i = 0; i < {m} && m * {m} + i < channels * $W; i++) {{
const INDEX r = m * {m} + i, k2 = r % $K2 * $D2, k1 = r / $K2 % $K1 * $D1, k0 = r / $K2 / $K1 % $K0 * $D0;
GLOBAL {v.scalar} *e = planes + r / $W * $PLANE + (k0 * $HIGH + k1) * $ROW + k2 % $T2 * $REMAINDER + k2 / $T2;
for (INDEX i0 = 0; i0 < $P0; i0++) for (INDEX i1 = 0; i1 < $P1; i1++) {{
GLOBAL {v.scalar} *d = e + (i0 * $T0 * $HIGH + i1 * $T1) * $ROW;
const GLOBAL {v.scalar} *t = products + i * $Q + (i0 * $P1 + i1) * $P2;
{add}
}}
}}
}}
for (INDEX c = 0; c < channels; c++) for (INDEX h0 = 0; h0 < $S0; h0++) for (INDEX h1 = 0; h1 < $S1; h1++) {{
GLOBAL X *d = {ya} + (((f * $C + first + c) * $S0 + h0) * $S1 + h1) * $S2;
if (h0 + $B0 >= $DEEP || h1 + $B1 >= $HIGH) {{
for (INDEX j = 0; j < $S2; j++) d[j] = 0;
continue;
}}
const GLOBAL {v.scalar} *t = planes + c * $PLANE + ((h0 + $B0) * $HIGH + h1 + $B1) * $ROW;
{order}
}}
}}
"""
    body = filled(w, body.replace("GLOBAL X ", f"GLOBAL {c_type(dtype)} "), values)
    lowering.launch(w.launch(body, (groups, 1, 1), text=f"{name} of {g.window}", work=g.work))
