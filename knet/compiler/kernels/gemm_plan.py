"""Decisions for a product on a CPU device: the register tile, where panels of w are read, how the work is divided."""

from __future__ import annotations

from dataclasses import dataclass

from .contraction import Contraction
from .target import Target

SMALL = 100_000  # products of numbers that one thread sums in the time of waking another
LONG = 2048  # steps along k that a part of a split sum has at least
LOCAL = 1 << 18  # bytes of panels that stay in the second-level cache
BLOCK = 128  # rows, about, that are taken through all panels before the next
CLASSES = (1, 2, 4, 8, 14)  # heights of tiles of kernels for all sizes


def ceil(x: int, y: int) -> int:
    """x / y rounded up."""
    return -(-x // y)


@dataclass
class Plan:
    """Decisions for one product.

    Attributes:
      lanes: elements of a vector.
      vectors, height: of the register tile, which is ``height`` rows times ``vectors`` vectors.
      source: where panels of w are read: "direct", where they lie; "local", in a copy of a group's own; "packed", in a
        copy that a kernel before made.
      packs_x: whether rows of x are copied, converted, before they are read.
      tiles: tiles that are taken through all panels before the next ones.
      rows, columns, matrices, steps: what a group computes: rows, panels of columns, matrices of the batch, steps along
        k; the last are fewer than k where the sum is split.
      room_w, room_x: elements of the copies that a group makes.
    """

    lanes: int
    vectors: int
    height: int
    source: str
    packs_x: bool
    tiles: int
    rows: int
    columns: int
    matrices: int
    steps: int
    room_w: int
    room_x: int

    @property
    def width(self) -> int:
        """Columns of a panel."""
        return self.lanes * self.vectors


def plan(p: Contraction, target: Target, literal: bool) -> Plan:
    """The decisions for a product."""
    size = p.arithmetic.sums.itemsize
    lanes = max(2, min(16, 1 << (target.vector.bit_length() - 1)) * 4 // size)
    registers = 32 if target.vector >= 16 else 16
    vectors = _vectors(p.n, lanes, registers, literal)
    width = vectors * lanes
    height = _height(p.m, vectors, registers, literal)
    packs_x = p.elements is not None or p.arithmetic.dtype.itemsize == 2
    parts = _parts(p, target)
    room = min(LOCAL, target.local_bytes // 2) // size
    if packs_x:  # a copy of a tile of x must fit
        parts = max(parts, ceil(p.k * height, room // 2))
    steps = max(1, ceil(p.k, parts))
    rows, columns, matrices = _division(p, target, width, height, max(1, ceil(p.k, steps)))
    tiles = max(1, BLOCK // height)
    if packs_x:
        tiles = max(1, min(tiles, ceil(rows, height), room // 2 // max(1, height * steps)))
    source = _source(p, literal, width, height, steps, rows, room // 2 if packs_x else room)
    room_w, room_x = steps * width, tiles * height * steps
    if not literal:
        room_w, room_x = (1 << max(10, (n - 1).bit_length()) for n in (room_w, room_x))
    return Plan(lanes, vectors, height, source, packs_x, tiles, rows, columns, matrices, steps, room_w, room_x)


def _vectors(n: int, lanes: int, registers: int, literal: bool) -> int:
    """Vectors of a panel: one panel for few columns, otherwise a square tile."""
    needed = max(1, ceil(n, lanes))
    if needed <= (registers // 8 if literal else 2):
        return needed
    return 2


def _height(m: int, vectors: int, registers: int, literal: bool) -> int:
    """Rows of a tile, so that its sums and what is added next fit in registers; the last tile overlaps the one before."""
    most = min(14, (registers - 1) // vectors - 1)
    if not literal:
        return max(height for height in CLASSES if height <= max(1, min(m, most)))
    return max(1, ceil(m, max(1, ceil(m, most))))


def _parts(p: Contraction, target: Target) -> int:
    """Parts of the sum that are made side by side: several where there are few elements and many terms."""
    elements = p.count * p.m * p.n
    if elements * 16 > p.k * target.units or p.k < 2 * LONG:
        return 1
    return min(p.k // LONG, 2 * target.units)


def _division(p: Contraction, target: Target, width: int, height: int, parts: int) -> tuple[int, int, int]:
    """Rows, panels and matrices of a group, so that there are some groups for each thread, none of them too small."""
    panels, tiles, count = ceil(p.n, width), ceil(p.m, height), p.count
    wanted = max(1, min(4 * target.units, p.work // SMALL))
    wanted = ceil(wanted, parts)
    by_batch = min(count, wanted)
    by_columns = min(panels, ceil(wanted, by_batch))
    if by_columns * height * 4 > p.m and tiles >= wanted:  # few rows would be read by each group
        by_columns = 1
    by_rows = min(tiles, ceil(wanted, by_batch * by_columns))
    return height * ceil(tiles, by_rows), ceil(panels, by_columns), ceil(count, by_batch)


def _source(p: Contraction, literal: bool, width: int, height: int, steps: int, rows: int, room: int) -> str:
    """Where panels of w are read."""
    direct = p.arithmetic.native and p.wn == 1 and (literal or p.n >= width) and p.arithmetic.dtype.kind == "f"
    small = steps * p.n <= 1 << 13
    if direct and (p.m <= 2 * height or small):
        return "direct"
    if steps * width > room:
        return "packed"
    return "local" if rows * 2 > p.m or rows >= 8 * height or p.work <= SMALL else "packed"
