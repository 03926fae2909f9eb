"""Matrix products on GPUs: tiles of x and w in local memory, from which each item sums a few rows times columns.

The items of a group lie in a square of S x S; item (i, j) has the rows i, i + S, ... and the columns j, j + S, ... of
the tile, so that neighbours read and store neighbouring columns. Elements beyond the edges are loaded as zeros.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...core import ShapedArray
from ..layout import Ref
from .contraction import Contraction, at, batch_places, number
from .kernel import LAYERS, Writer
from .partial_sums import sum_parts

SIDE = 16  # items along each side of a group
DEEP = 16  # steps along k of the tiles in local memory
SHARE = 256  # steps along k of a part of a split sum at least


class Tile(NamedTuple):
    """Rows and columns of an item."""

    rows: int
    columns: int


TILES = (Tile(4, 4), Tile(4, 1), Tile(1, 4), Tile(2, 2), Tile(1, 1))


def _ceil(x: int, y: int) -> int:
    return -(-x // y)


def _tile(p: Contraction, units: int) -> Tile:
    """The largest tile that leaves some groups for each unit and few elements beyond the edges; else a small one."""

    def cost(tile: Tile) -> float:
        groups = _ceil(p.m, SIDE * tile.rows) * _ceil(p.n, SIDE * tile.columns) * p.count
        # An item loads rows + columns numbers for rows * columns products; units that have no group wait.
        each = tile.rows * tile.columns + 2 * (tile.rows + tile.columns)
        return _ceil(groups, 2 * units) * each

    return min(TILES, key=cost)


def _parts(p: Contraction, tile: Tile, units: int) -> int:
    """Parts of the sum: several where there are fewer groups than units."""
    groups = _ceil(p.m, SIDE * tile.rows) * _ceil(p.n, SIDE * tile.columns) * p.count
    return max(1, min(_ceil(2 * units, groups), p.k // SHARE, LAYERS)) if groups < units else 1


def gemm(lowering: Any, p: Contraction) -> None:
    """Append the launches of a product that has elements."""
    units = lowering.target.units
    tile = _tile(p, units)
    steps = _ceil(_ceil(p.k, _parts(p, tile, units)), DEEP) * DEEP if p.k else DEEP
    parts = max(1, _ceil(p.k, steps))
    sums = lowering.new(ShapedArray((parts, p.count * p.m * p.n), p.arithmetic.sums)) if parts > 1 else None
    _Tiles(lowering, p, tile, sums, parts, steps).launch()
    if sums is not None:
        sum_parts(lowering, p, sums, parts)


class _Tiles:
    """The kernel with the sums."""

    def __init__(self, lowering: Any, p: Contraction, tile: Tile, sums: Ref | None, parts: int, steps: int) -> None:
        self.lowering, self.p, self.tile, self.sums, self.parts, self.steps = lowering, p, tile, sums, parts, steps
        w: Writer = lowering.writer("gemm")
        self.w = w
        self.m, self.n, self.k = w.number(p.m), w.number(p.n), w.number(p.k)
        self.xm, self.xk = number(w, p.xm), number(w, p.xk)
        self.wk, self.wn = number(w, p.wk), number(w, p.wn)
        self.ym, self.yn = number(w, p.ym), number(w, p.yn)
        self.height, self.width = SIDE * tile.rows, SIDE * tile.columns

    def launch(self) -> None:
        """Append it."""
        p, w, kind = self.p, self.w, self.p.arithmetic.type
        across = _ceil(p.n, self.width)
        tiles = across * _ceil(p.m, self.height)
        many = w.number(across)
        layers = p.count * self.parts
        depth = min(layers, LAYERS)
        item = "0" if p.count == 1 else "item"
        places = batch_places(w, p.batch, item) if p.batch else ("0", "0", "0")
        text = (
            f"    LOCAL {kind} tile_x[{DEEP * (self.height + 1)}];\n"
            f"    LOCAL {kind} tile_w[{DEEP * (self.width + 1)}];\n"
            f"    const int row = ITEM(0) / {SIDE}, column = ITEM(0) % {SIDE};\n"
            f"    const INDEX m = (INDEX)(GROUP(0) / {many}) * {self.height};\n"
            f"    const INDEX j = (INDEX)(GROUP(0) % {many}) * {self.width};\n"
        )
        inner = self._sums(places[0], places[1]) + self._store(item, places[2])
        if layers == 1:
            text += f"    const INDEX k_0 = 0, k_1 = {self.k};\n{inner}"
        else:
            split = w.number(self.parts) if self.parts > 1 else "1"
            text += f"    for (INDEX layer = GROUP(2); layer < {w.number(layers)}; layer += GROUPS(2)) {{\n"
            if p.count > 1:
                text += f"    const INDEX item = layer / {split};\n"
            if self.parts > 1:
                steps = w.number(self.steps)
                text += (
                    f"    const INDEX part = layer % {split}, k_0 = part * {steps};\n"
                    f"    const INDEX k_1 = MIN({self.k}, k_0 + {steps});\n"
                )
            else:
                text += f"    const INDEX k_0 = 0, k_1 = {self.k};\n"
            text += f"{inner}    }}\n"
        groups = (tiles, 1, depth)
        self.lowering.launch(w.launch(text, groups, items=(SIDE * SIDE, 1, 1), text=p.text, work=float(p.work)))

    def _sums(self, x: str, w: str) -> str:
        p, tile, kind = self.p, self.tile, self.p.arithmetic.type
        a, b = self.height + 1, self.width + 1
        sums = ", ".join(f"s{i}_{j} = 0" for i in range(tile.rows) for j in range(tile.columns))
        text = f"    {kind} {sums};\n    for (INDEX k = k_0; k < k_1; k += {DEEP}) {{\n"
        text += self._load_x(x) + self._load_w(w) + "        BARRIER;\n"
        text += f"        for (int t = 0; t < {DEEP}; ++t) {{\n"
        for i in range(tile.rows):
            text += f"            const {kind} u{i} = tile_x[t * {a} + row + {i * SIDE}];\n"
        for j in range(tile.columns):
            text += f"            const {kind} v{j} = tile_w[t * {b} + column + {j * SIDE}];\n"
        for i in range(tile.rows):
            for j in range(tile.columns):
                text += f"            {p.arithmetic.mac(f's{i}_{j}', f'u{i}', f'v{j}')}\n"
        return text + "        }\n        BARRIER;\n    }\n"

    def _load_x(self, base: str) -> str:
        p = self.p
        if p.elements is not None:
            row = "(m + r)" if p.count == 1 else f"(item * {self.m} + m + r)"
            element = p.elements(self.w, row, "(k + t)")
        else:
            place = at(("(m + r)", self.xm), ("(k + t)", self.xk))
            element = p.arithmetic.load(f"{self.w.array(p.x)}[{base} + {place}]")
        return self._load("tile_x", self.height, "r", f"m + r < {self.m}", element, p.xk == 1)

    def _load_w(self, base: str) -> str:
        p = self.p
        place = at(("(k + t)", self.wk), ("(j + c)", self.wn))
        element = p.arithmetic.load(f"{self.w.array(p.w)}[{base} + {place}]")
        return self._load("tile_w", self.width, "c", f"j + c < {self.n}", element, p.wn != 1 and p.wk == 1)

    def _load(self, to: str, size: int, index: str, inside: str, element: str, along: bool) -> str:
        """Statements that fill a tile; neighbouring items load neighbours along k, or along rows or columns."""
        t, r = (f"e % {DEEP}", f"e / {DEEP}") if along else (f"e / {size}", f"e % {size}")
        return (
            f"        for (int e = ITEM(0); e < {size * DEEP}; e += {SIDE * SIDE}) {{\n"
            f"            const int t = {t}, {index} = {r};\n"
            f"            {to}[t * {size + 1} + {index}] = {inside} && k + t < k_1 ? {element} : 0;\n        }}\n"
        )

    def _store(self, item: str, y: str) -> str:
        p, text = self.p, ""
        if self.sums is not None:
            base = f"(part * {self.w.number(p.count)} + {item}) * {self.m}" if item != "0" else f"part * {self.m}"
        for i in range(self.tile.rows):
            for j in range(self.tile.columns):
                row, column = f"(m + row + {i * SIDE})", f"(j + column + {j * SIDE})"
                total = f"s{i}_{j}"
                if self.sums is not None:
                    place = f"({base} + {row}) * {self.n} + {column}"
                    statement = f"{self.w.array(self.sums, write=True)}[{place}] = {total};"
                elif p.epilogue is not None:
                    flat = row if item == "0" else f"({item} * {self.m} + {row})"
                    statement = p.epilogue(self.w, p.arithmetic.value(total), flat, column)
                else:
                    place = at((row, self.ym), (column, self.yn))
                    statement = f"{self.w.array(p.y, write=True)}[{y} + {place}] = {p.arithmetic.store(total)};"
                text += f"    if ({row} < {self.m} && {column} < {self.n}) {{ {statement} }}\n"
        return text
