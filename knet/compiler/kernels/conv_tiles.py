"""Register tiles of CPU devices: what their kernels of convolutions have in common.

A tile of M rows and V vectors keeps M V sums in registers; a step multiplies M broadcast numbers by V vectors of
neighbouring numbers. Half types are float32 here: they become that where they are copied, and half again where results
are stored.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...core import dtypes
from ...core.aval import ShapedArray
from ..layout import Ref
from ..scalar import arithmetic, c_type, loaded, stored
from .conv_geometry import Geometry, each, filled
from .target import Target

SCRATCH_BYTES = 256 << 10  # of a group's copy of a part of an image: a share of a core's second cache
# Loops of tiles are long enough as they are, and others so short that making vectors of them takes longer than they do:
# without this, most of a kernel's compilation goes into them.
ROLLED = "\n#pragma clang loop unroll(disable) vectorize(disable)\n"
EAGER_TILES = ((1, 1), (1, 4), (4, 1), (4, 4), (6, 4), (5, 5), (8, 3), (12, 2), (16, 1))


class Vectors(NamedTuple):
    """The vectors of a device: C names of a number and of a vector, its numbers, and how many registers there are."""

    scalar: str
    vector: str
    lanes: int
    registers: int

    @property
    def declared(self) -> str:
        """Declaration of the vector that lies anywhere: reading it takes PoCL a third of the time to compile that
        inlining vload and vstore does.
        """
        size = 4 if self.scalar == "float" else 8
        return f"typedef {self.vector} __attribute__((aligned({size}))) knet_vector;\n"

    def load(self, text: str) -> str:
        """C expression of the vector at a pointer to global memory."""
        return f"*(const GLOBAL knet_vector *)({text})"


def vectors(target: Target, dtype: Any) -> Vectors:
    """What tiles are made of for a floating dtype."""
    kind = arithmetic(dtype)
    lanes = max(2, min(target.vector, 16) * 4 // kind.itemsize)
    return Vectors(c_type(kind), f"{c_type(kind)}{lanes}", lanes, 32 if target.vector >= 16 else 16)


def choose_tile(rows: int, columns: int, steps: int, v: Vectors, literal: bool) -> tuple[int, int]:
    """(M, V) of the fastest tile for so many broadcast numbers and columns, by a count of cycles; of a few where one
    kernel is for all sizes.

    A step takes as long as its multiply-adds and its loads (two of each a cycle), and 4 cycles of latency at least.
    Columns that V vectors do not divide are computed twice, and rows that M does not divide in vain.
    """
    room = v.registers - 1
    tiles: Any = itertools.product(range(1, min(rows, room) + 1), range(1, 13)) if literal else EAGER_TILES
    best = (float("inf"), 0, 1, 1)
    for m, n in tiles:
        if m * n + min(m, n) > room or n * v.lanes > max(columns, v.lanes) or m > rows:
            continue
        count = -(-rows // m) * -(-columns // (n * v.lanes))
        step = max(m * n / 2, (m + n) / 2, 4) + 0.5
        best = min(best, (count * (steps * step + 8 + m * n), -m * n, m, n))
    return best[2:]


def sums(m: int, n: int, v: Vectors) -> str:
    """Declaration of a tile's sums, all 0."""
    names = ", ".join(f"a{i}_{j} = ({v.vector})(0)" for i in range(m) for j in range(n))
    return f"{v.vector} {names};\n"


def step(m: int, n: int, v: Vectors, rows: Sequence[str], columns: Sequence[str]) -> str:
    """A step of a tile: ``rows`` are expressions of numbers, ``columns`` pointers to vectors."""
    loads = ", ".join(f"x{j} = {v.load(columns[j])}" for j in range(n))
    lines = [f"const {v.vector} {loads};"]
    for i in range(m):
        lines.append(f"{{ const {v.vector} b = ({v.vector})({rows[i]});")
        lines.append(" ".join(f"a{i}_{j} = fma(b, x{j}, a{i}_{j});" for j in range(n)) + " }")
    return "\n".join(lines) + "\n"


def store(m: int, n: int, v: Vectors, dtype: Any, row: str, columns: str, left: str | None) -> str:
    """Text that writes a tile to ``y``: number p of row i to ``y[i * row + p]``, for p < columns.

    Args:
      row: distance of rows.
      columns: how many numbers of a row there are; may be more than the tile has.
      left: how many rows there are, None if all of the tile's.
    """
    lines = []
    half = dtype != arithmetic(dtype)
    if not half:
        lines.append(f"if ({columns} >= {n * v.lanes}) {{")
        for i in range(m):
            guard = f"if ({i} < {left}) " if left and i else ""
            puts = " ".join(f"*(GLOBAL knet_vector *)(y + {i} * {row} + {j * v.lanes}) = a{i}_{j};" for j in range(n))
            lines.append(f"{guard}{{ {puts} }}")
        lines.append("} else {")
    lines.append(f"{v.scalar} t[{n * v.lanes}];\nconst INDEX kept = MIN({columns}, {n * v.lanes});")
    for i in range(m):
        guard = f"if ({i} < {left}) " if left and i else ""
        puts = " ".join(f"*(knet_vector *)(t + {j * v.lanes}) = a{i}_{j};" for j in range(n))
        keep = f"{ROLLED}for (INDEX u = 0; u < kept; u++) y[{i} * {row} + u] = {stored('t[u]', dtype)};"
        lines.append(f"{guard}{{ {puts} {keep} }}")
    if not half:
        lines.append("}")
    return "\n".join(lines) + "\n"


class Copy(NamedTuple):
    """How the rows of an image are copied, so that what a tap meets from all pixels of a band is contiguous.

    copy[c][k0][k2][t][j] = x[c][i0 T0 - B0 + k0 D0][i1 - B1 + t][j T2 - B2 + k2 D2], with zeros outside of x, if rows
    are one apart: K copies of a number, not the K K of one for every tap. Else, or if ``whole``,
    copy[c][k0][k1][k2][t][j] = x[..][(i1 + t) T1 - B1 + k1 D1][..].

    Attributes:
      whole: whether there is a copy for every tap.
      band: rows of y that are done at once.
      bands: how many bands cover y.
    """

    whole: bool
    band: int
    bands: int

    def column(self, g: Geometry) -> int:
        """Numbers of a copy."""
        return self.rows(g) * g.out[2]

    def rows(self, g: Geometry) -> int:
        """Rows of a copy of a full band."""
        return self.band if self.whole else self.band + (g.window[1] - 1) * g.dilation[1]

    def size(self, g: Geometry) -> int:
        """Numbers of all copies for a group of channels."""
        return g.channels * (g.taps if self.whole else g.window[0] * g.window[2]) * self.column(g)


def copy_of(g: Geometry, itemsize: int, most: int = SCRATCH_BYTES, parts: int = 1, least: int = 1) -> Copy:
    """The copy for bands that are small: ``parts`` of them if there are rows enough, and of ``least`` pixels."""
    whole = g.stride[1] != 1 or g.window[1] == 1
    rows = g.out[1]
    at_least = min(rows, -(-least // g.out[2]))
    while rows > at_least and Copy(whole, rows, 1).size(g) * itemsize > most:
        rows -= 1
    bands = min(g.out[1], max(-(-g.out[1] // rows), parts))
    band = -(-g.out[1] // bands)
    return Copy(whole, band, -(-g.out[1] // band))


def copying(g: Geometry, copy: Copy, read: str, v: Vectors) -> str:
    """Text that makes the copy of group ``s`` for ``rows`` rows of y from row ``i1`` of plane ``i0``; uses ``$COLUMN``.

    Args:
      read: expression of an element with S for its place.
    """
    height = "(i1 + t) * $T1 - $B1 + k1 * $D1" if copy.whole else "i1 + t - $B1"
    rows = "rows" if copy.whole else "rows + ($K1 - 1) * $D1"
    outside = [f"h{a} < 0 || h{a} >= $S{a}" for a in (0, 1) if not g.inside(a)]
    put = f"e[j] = {read.replace('S', 'q[j * $T2]')};"
    if g.inside(2):
        fill = f"for (INDEX j = 0; j < $P2; j++) {put}"
    else:
        fill = f"""{ROLLED}for (INDEX j = 0; j < start; j++) e[j] = 0;
for (INDEX j = start; j < stop; j++) {put}
{ROLLED}for (INDEX j = stop; j < $P2; j++) e[j] = 0;"""
    if outside:
        zero = f"{ROLLED}for (INDEX j = 0; j < $P2; j++) e[j] = 0;\n"
        fill = f"if ({' || '.join(outside)}) {{{zero}}} else {{\n{fill}\n}}"
    bounds = ""
    if not g.inside(2):
        bounds = """INDEX start = shift < 0 ? (-shift + $T2 - 1) / $T2 : 0;
INDEX stop = shift < $S2 ? ($S2 - 1 - shift) / $T2 + 1 : 0;
start = start < $P2 ? start : $P2;
stop = stop < start ? start : stop < $P2 ? stop : $P2;
"""
    return f"""{{
GLOBAL {v.scalar} *d = copy;
for (INDEX c = 0; c < $C; c++) for (INDEX k0 = 0; k0 < $K0; k0++) {{
const INDEX h0 = i0 * $T0 - $B0 + k0 * $D0;
{"for (INDEX k1 = 0; k1 < $K1; k1++)" if copy.whole else ""}
for (INDEX k2 = 0; k2 < $K2; k2++, d += $COLUMN) {{
const INDEX shift = k2 * $D2 - $B2;
{bounds}for (INDEX t = 0; t < {rows}; t++) {{
const INDEX h1 = {height};
const GLOBAL X *q = s + ((c * $S0 + h0) * $S1 + h1) * $S2 + shift;
GLOBAL {v.scalar} *e = d + t * $P2;
{fill}
}}
}}
}}
}}
"""


def fits(target: Target, dtype: Any, g: Geometry) -> bool:
    """Whether a CPU device's tiles can do a convolution: floating, and none of its axes empty."""
    if not target.loops or not dtypes.is_differentiable(dtype):
        return False
    return min(g.images, g.channels, g.depth, g.volume, g.taps, g.pixels) > 0


def tiled_weights(
    lowering: Any, name: str, weights: Ref, sizes: tuple[int, int, int, int], place: str, values: dict[str, int]
) -> Ref:
    """Launch that puts weights in the order in which tiles read them: [groups, rows / M, steps, M], 0 beyond the last
    row of a group.

    Args:
      sizes: groups, rows, steps and M.
      place: expression of the weight of row o and step r in group k.
    """
    groups, rows, steps, m = sizes
    tiles, dtype = -(-rows // m), weights.dtype
    packed: Ref = lowering.new(ShapedArray((groups, tiles, steps, m), arithmetic(dtype)))
    w = lowering.writer(f"{name}_weights")
    source, target = w.array(weights), w.array(packed, write=True)
    body = f"""const INDEX r = e % $STEPS, t = e / $STEPS % $TILES, k = e / $STEPS / $TILES;
for (INDEX i = 0; i < {m}; i++) {{
const INDEX o = t * {m} + i;
{target}[e * {m} + i] = o < $ROWS ? {loaded(f"{source}[{place}]", dtype)} : 0;
}}
"""
    body = filled(w, body, values | {"STEPS": steps, "TILES": tiles, "ROWS": rows})
    text, count = each(w, groups * tiles * steps, body, float(packed.size))
    lowering.launch(w.launch(text, count, text="weights in tiles", work=float(packed.size)))
    return packed
