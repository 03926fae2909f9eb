"""Decisions for a product on a CPU device: the register tile, where panels of w are read, how the work is divided."""

from __future__ import annotations

from dataclasses import dataclass

from .contraction import Contraction
from .target import Target

SMALL = 100_000  # products of numbers that one thread sums in the time of waking another
LONG = 1024  # steps along k of a part of a split sum, about
SUMS = 1 << 26  # bytes of the sums of all parts
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
    lanes = max(2, lanes_of(target) * 4 // size)
    registers = registers_of(target)
    vectors = _vectors(p, lanes, registers, literal)
    width = vectors * lanes
    height = _height(p.m, vectors, registers, literal)
    room = min(LOCAL, target.local_bytes // 2) // size
    parts = parts_of(p, target)
    packs_x = _packs_x(p, ceil(p.n, width))
    if packs_x:  # a copy of a tile of x must fit
        parts = max(parts, ceil(p.k * height, room // 2))
    steps = max(1, ceil(p.k, parts))
    rows, columns, matrices = _division(p, target, width, height, max(1, ceil(p.k, steps)))
    tiles = max(1, BLOCK // height)
    if packs_x:
        tiles = max(1, min(tiles, ceil(rows, height), room // 2 // max(1, height * steps)))
    source = "packed"
    if _direct(p, literal, height, width, steps):
        source = "direct"
    elif steps * width <= (room // 2 if packs_x else room) and not (packs_x and tiles * height < rows):
        source = _copied(p, lanes, rows)
    room_w, room_x = steps * width, tiles * height * steps
    if not literal:
        room_w, room_x = (1 << max(10, (n - 1).bit_length()) for n in (room_w, room_x))
    return Plan(lanes, vectors, height, source, packs_x, tiles, rows, columns, matrices, steps, room_w, room_x)


def lanes_of(target: Target) -> int:
    """Floats of a vector type that fills a register."""
    return max(4, min(16, 1 << (target.vector.bit_length() - 1)))


def registers_of(target: Target) -> int:
    """Vector registers."""
    return 32 if target.vector >= 16 else 16


def _vectors(p: Contraction, lanes: int, registers: int, literal: bool) -> int:
    """Vectors of a panel: one panel for few columns, long rows for few rows, otherwise a square tile."""
    needed = max(1, ceil(p.n, lanes))
    if not literal:
        return 1 if needed == 1 else registers // 4 if p.m == 1 and needed >= registers // 4 else 2
    if p.m <= 2:
        return min(needed, registers // 4)
    if p.xk != 1 and p.m >= 14:  # lines of the cache run along rows: a tall tile uses all of each
        return min(needed, 2)
    return needed if needed <= registers // 8 else 2


def _height(m: int, vectors: int, registers: int, literal: bool) -> int:
    """Rows of a tile, so that its sums and what is added fit in registers; the last one overlaps the one before."""
    most = min(14, (registers - 1) // vectors - 1)
    if not literal:
        return max(height for height in CLASSES if height <= max(1, min(m, most)))
    return max(1, ceil(m, max(1, ceil(m, most))))


def dots(p: Contraction) -> bool:
    """Whether tiles of dot products are better: both operands run along k, and panels would be used a few times."""
    return p.xk == 1 == p.wk and p.arithmetic.native and p.elements is None and (p.m <= 8 or p.n <= 2) and p.k >= 16


def dots_tile(p: Contraction, target: Target) -> tuple[int, int]:
    """Rows and columns of a tile of dot products: fewer sums than registers, and few numbers are loaded for each."""
    most = 4 if registers_of(target) == 32 else 3
    rows = max(r for r in (1, 2, most) if r <= p.m)
    columns = max(c for c in (1, 2, most) if c <= p.n)
    if columns == 1 and p.m >= 8:
        rows = 8
    if rows == 1 and p.n >= 8:
        columns = 8
    return rows, columns


def dots_division(p: Contraction, target: Target, rows: int, columns: int, parts: int) -> tuple[int, int, int]:
    """Rows, columns and matrices of a group."""
    across, down = ceil(p.n, columns), ceil(p.m, rows)
    wanted = ceil(max(1, min(4 * target.units, p.work // SMALL)), parts)
    by_batch = min(p.count, wanted)
    by_columns = min(across, ceil(wanted, by_batch))
    by_rows = min(down, ceil(wanted, by_batch * by_columns))
    return rows * ceil(down, by_rows), columns * ceil(across, by_columns), ceil(p.count, by_batch)


def _packs_x(p: Contraction, panels: int) -> bool:
    """Whether rows of x are copied: to convert them once, or where steps along k are far apart and taken often."""
    if p.elements is not None or p.arithmetic.dtype.itemsize == 2:
        return True
    return p.xk >= 512 and panels >= 4 and p.m >= 14 and p.k >= 256


def parts_of(p: Contraction, target: Target) -> int:
    """Parts of the sum: several where there are few elements and many terms, or panels that no cache holds."""
    if p.k < 2 * LONG:
        return 1
    elements = p.count * p.m * p.n
    if elements * 16 <= p.k * target.units:
        return min(p.k // LONG, max(2 * target.units, p.k // (4 * LONG)))
    parts = ceil(p.k, LONG)
    return parts if parts * elements * p.arithmetic.sums.itemsize <= SUMS else 1


def _division(p: Contraction, target: Target, width: int, height: int, parts: int) -> tuple[int, int, int]:
    """Rows, panels and matrices of a group, so that there are some groups for each thread, none of them too small."""
    panels, tiles, count = ceil(p.n, width), ceil(p.m, height), p.count
    wanted = ceil(max(1, min(4 * target.units, p.work // SMALL)), parts)
    by_batch = min(count, wanted)
    by_columns = min(panels, ceil(wanted, by_batch))
    by_rows = min(tiles, ceil(wanted, by_batch * by_columns))
    return height * ceil(tiles, by_rows), ceil(panels, by_columns), ceil(count, by_batch)


def _direct(p: Contraction, literal: bool, height: int, width: int, steps: int) -> bool:
    """Whether panels of w are read where they lie."""
    if not p.arithmetic.native or p.wn != 1 or not (literal or p.n >= width):
        return False
    near = p.wk <= 2 * width  # rows of a panel lie one after the other
    return near or p.m <= 2 * height or steps * p.n <= 1 << 13


def _copied(p: Contraction, lanes: int, rows: int) -> str:
    """Whose copy of a panel is read: each group's own, unless several would spend much of their time on the same."""
    if rows >= p.m or p.work <= SMALL:
        return "local"
    cost = 0.3 if p.arithmetic.native and 1 in (p.wn, p.wk) else 1.5  # of an element, in vector operations
    return "local" if cost * 2 * lanes <= 0.2 * rows else "packed"
