"""Convolution and its gradients on GPUs: matrix products whose operands are read through the window's arithmetic.

    conv               y [O, N Q]    = w [O, C W]  times x [C W, N Q]
    conv_input_grad    dx [C, N V]   = w [C, O W]  times g [O W, N V]
    conv_weight_grad   dw [O, C W]   = g [O, N Q]  times x [N Q, C W]

for each group, with Q pixels of y, V of x and W taps. The items of a group lie in a square; each loads what is its part
of a tile of both operands into local memory, zeros for what is outside, and sums a few rows times columns. The sums of
weight gradients, which are long, are split among groups; parts are added in their order.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

from ...core import dtypes
from ...core.aval import ShapedArray
from ..layout import Ref
from ..scalar import arithmetic, c_type, loaded, stored
from .conv_geometry import Geometry, each, filled, numbers
from .kernel import LAYERS

SIDE = 16  # items along each side of a group
DEEP = 16  # steps of the tiles in local memory
SHARE = 512  # steps of a part of a split sum at least
TILES = ((4, 4), (2, 4), (1, 4), (4, 1), (2, 2), (1, 1))


class Product(NamedTuple):
    """One of the three as a product.

    Attributes:
      rows, columns, steps: its sizes for a group of channels.
      row: expression of the left operand's element for row ``m + r`` and what ``step`` declared.
      step: declarations for step ``q``.
      column: declarations for column ``p``.
      within: whether the right operand's element is inside.
      element: its place.
      place: of the result's element of row ``i`` and column ``p``.
      along: whether the right operand's neighbours are steps, not columns.
    """

    rows: int
    columns: int
    steps: int
    row: str
    step: str
    column: str
    within: str
    element: str
    place: str
    along: bool = False


_TAP = "const INDEX {0} = {1} / $W, k2 = {1} % $K2, k1 = {1} / $K2 % $K1, k0 = {1} / $K2 / $K1 % $K0;\n"
_PIXEL = (
    "const INDEX {0} = {1} / ${4}, {2}2 = {1} % ${3}2, {2}1 = {1} / ${3}2 % ${3}1,\n"
    "{2}0 = {1} / ${3}2 / ${3}1 % ${3}0;\n"
)
_MET = "const INDEX " + ", ".join(f"h{a} = i{a} * $T{a} - $B{a} + k{a} * $D{a}" for a in range(3)) + ";\n"
_MEETS = "const INDEX " + ", ".join(f"t{a} = h{a} + $B{a} - k{a} * $D{a}" for a in range(3)) + ";\n"
_IN_X = " && ".join(f"h{a} >= 0 && h{a} < $S{a}" for a in range(3))
_IN_Y = " && ".join(f"t{a} >= 0 && t{a} % $T{a} == 0 && t{a} / $T{a} < $P{a}" for a in range(3))
_X = "((n * $G + g) * $C + c) * $V + (h0 * $S1 + h1) * $S2 + h2"


def product(name: str, g: Geometry) -> Product:
    """The product that an operation is."""
    taps, pixels, volume = g.channels * g.taps, g.images * g.pixels, g.images * g.volume
    if name == "conv":
        return Product(
            g.depth, pixels, taps, "(g * $O + m + r) * $STEPS + q", _TAP.format("c", "q"),
            _PIXEL.format("n", "p", "i", "P", "Q"), _IN_X, _X, "((p / $Q * $G + g) * $O + i) * $Q + p % $Q",
        )  # fmt: skip
    if name == "conv_input_grad":
        return Product(
            g.channels, volume, g.depth * g.taps, "((g * $O + q / $W) * $C + m + r) * $W + q % $W",
            _TAP.format("o", "q"), _PIXEL.format("n", "p", "h", "S", "V"), _IN_Y,
            "((n * $G + g) * $O + o) * $Q + (t0 / $T0 * $P1 + t1 / $T1) * $P2 + t2 / $T2",
            "((p / $V * $G + g) * $C + i) * $V + p % $V",
        )  # fmt: skip
    return Product(
        g.depth, taps, pixels, "((q / $Q * $G + g) * $O + m + r) * $Q + q % $Q", _PIXEL.format("n", "q", "i", "P", "Q"),
        _TAP.format("c", "p"), _IN_X, _X, "(g * $O + i) * $COLUMNS + p", along=True,
    )  # fmt: skip


def tiled(lowering: Any, name: str, g: Geometry, operands: tuple[Ref, Ref], out: Ref) -> None:
    """Launches of one of the three operations."""
    p, dtype, units = product(name, g), out.dtype, lowering.target.units
    rows, columns = min(TILES, key=lambda tile: _cost(p, g.groups, tile, units))
    height, width = SIDE * rows, SIDE * columns
    across, down = -(-p.columns // width), -(-p.rows // height)
    parts = max(1, min(-(-2 * units // (across * down * g.groups)), p.steps // SHARE, LAYERS))
    share = -(-p.steps // parts // DEEP) * DEEP if parts > 1 else p.steps
    parts = max(1, -(-p.steps // share)) if p.steps else 1
    layers = g.groups * parts
    real = dtypes.is_differentiable(dtype)
    wide = dtypes.canonical("uint64" if dtype.itemsize == 8 else "uint32")  # integers wrap around
    sums = arithmetic(dtype) if real else wide
    kind = c_type(sums)
    w = lowering.writer(name)
    ra, la = (w.array(ref) for ref in operands)  # the left one is w, or g of the weight gradient
    split = lowering.new(ShapedArray((parts, math.prod(out.shape)), sums)) if parts > 1 else None
    ya = w.array(out if split is None else split, write=True)
    convert = "" if real else f"({kind})"
    element, factor = (f"{convert}{loaded(f'{a}[{at}]', dtype)}" for a, at in ((ra, p.element), (la, p.row)))
    met = _MET if name != "conv_input_grad" else _MEETS
    if p.along:
        load = f"""for (int e = ITEM(0) / {DEEP}; e < {width}; e += {SIDE * SIDE // DEEP}) {{
const INDEX p = j + e;
{p.column}{met}tile_b[t * {width + 1} + e] = q < k_1 && p < $COLUMNS && {p.within} ? {element} : 0;
}}
"""
        before = ""
    else:
        load = f"""for (int e = ITEM(0) / {width}; e < {DEEP}; e += {SIDE * SIDE // width}) {{
const INDEX q = k + e;
{p.step}{met}tile_b[e * {width + 1} + own] = q < k_1 && p < $COLUMNS && {p.within} ? {element} : 0;
}}
"""
        before = f"const int own = ITEM(0) % {width};\nconst INDEX p = j + own;\n{p.column}"
    pairs = [(i, k) for i in range(rows) for k in range(columns)]
    add = "s{0}_{1} = fma(u{0}, v{1}, s{0}_{1});" if real else "s{0}_{1} += u{0} * v{1};"
    text = "s{}_{}".format
    finish = str if split else partial(_finished, dtype=dtype)
    place = f"part * $TOTAL + {p.place}" if split else p.place
    stores = "".join(
        f"{{ const INDEX i = m + row + {i * SIDE}, p = j + column + {k * SIDE};\n"
        f"if (i < $M && p < $COLUMNS) {ya}[{place}] = {finish(text(i, k))}; }}\n"
        for i, k in pairs
    )
    body = f"""LOCAL {kind} tile_a[{DEEP * (height + 1)}];
LOCAL {kind} tile_b[{DEEP * (width + 1)}];
const int row = ITEM(0) / {SIDE}, column = ITEM(0) % {SIDE}, t = ITEM(0) % {DEEP};
const INDEX m = GROUP(0) / $ACROSS * {height}, j = GROUP(0) % $ACROSS * {width};
for (INDEX layer = GROUP(2); layer < $LAYERS; layer += GROUPS(2)) {{
const INDEX g = layer / $PARTS, part = layer % $PARTS, k_0 = part * $SHARE, k_1 = MIN($STEPS, k_0 + $SHARE);
{before}{kind} {", ".join(f"{text(i, k)} = 0" for i, k in pairs)};
for (INDEX k = k_0; k < k_1; k += {DEEP}) {{
{{
const INDEX q = k + t;
for (int r = ITEM(0) / {DEEP}; r < {height}; r += {SIDE * SIDE // DEEP})
tile_a[t * {height + 1} + r] = q < k_1 && m + r < $M ? {factor} : 0;
{p.step + load + "}" if p.along else "}" + chr(10) + load}
BARRIER;
for (int d = 0; d < {DEEP}; ++d) {{
const {kind} {", ".join(f"u{i} = tile_a[d * {height + 1} + row + {i * SIDE}]" for i in range(rows))};
const {kind} {", ".join(f"v{k} = tile_b[d * {width + 1} + column + {k * SIDE}]" for k in range(columns))};
{" ".join(add.format(i, k) for i, k in pairs)}
}}
BARRIER;
}}
{stores}}}
"""
    values = numbers(g) | {
        "M": p.rows, "COLUMNS": p.columns, "STEPS": p.steps, "ACROSS": across, "LAYERS": layers, "PARTS": parts,
        "SHARE": share, "TOTAL": math.prod(out.shape),
    }  # fmt: skip
    groups = (across * down, 1, min(layers, LAYERS))
    body = filled(w, body, values)
    lowering.launch(w.launch(body, groups, items=(SIDE * SIDE, 1, 1), text=f"{name} of {g.window}", work=g.work))
    if split is not None:
        _add_parts(lowering, name, split, out)


def _finished(text: str, dtype: Any) -> str:
    """The result's element for a sum."""
    return stored(text, dtype) if dtypes.is_differentiable(dtype) else f"({c_type(dtype)}){text}"


def _cost(p: Product, groups: int, tile: tuple[int, int], units: int) -> float:
    """Time of the product with a tile: an item loads rows + columns numbers for rows times columns products, and units
    that have no group wait. Long sums can be split.
    """
    rows, columns = tile
    tiles = -(-p.rows // (SIDE * rows)) * -(-p.columns // (SIDE * columns)) * groups
    parts = max(1, min(-(-2 * units // max(1, tiles)), p.steps // SHARE))
    return -(-tiles * parts // (2 * units)) / parts * (rows * columns + 2 * (rows + columns))


def _add_parts(lowering: Any, name: str, split: Ref, out: Ref) -> None:
    w, kind = lowering.writer(f"{name}_parts"), c_type(split.dtype)
    source, target = w.array(split), w.array(out, write=True)
    body = f"""{kind} sum = 0;
for (INDEX i = 0; i < $PARTS; i++) sum += {source}[i * $TOTAL + e];
{target}[e] = {_finished("sum", out.dtype)};
"""
    text, groups = each(w, out.size, filled(w, body, {"PARTS": split.shape[0], "TOTAL": out.size}), float(split.size))
    lowering.launch(w.launch(text, groups, text="parts added", work=float(split.size)))
