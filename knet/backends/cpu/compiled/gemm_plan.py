"""Decisions for a product of static shape: which way its work is divided, sizes of tiles and panels, what is packed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LANES = 16  # floats of the widest vector; panels of B are multiples of it on every machine
KC = 256  # most steps along k for which a panel of B and a tile of A stay in the caches
LONG = 1024  # steps along k from which a product with few rows is split along it
GROUP = 1 << 16  # floats of the panels that are packed together in a part of k
BLOCK = 128  # rows of A (about) that are taken through all panels before the next


@dataclass(frozen=True)
class Operand:
    """A matrix in memory: floats between rows, whether it is stored transposed, strides of the batch."""

    ld: int
    transposed: bool
    strides: tuple[int, ...]

    @staticmethod
    def of(
        batch: tuple[int, ...], shape: tuple[int, int], ld: int | None, strides: Sequence[int] | None, transposed: bool
    ) -> Operand:
        """An operand with the dense strides that were not given."""
        ld = shape[1] if ld is None else ld
        if strides is None:
            strides = tuple(shape[0] * ld * math.prod(batch[i + 1 :]) for i in range(len(batch)))
        return Operand(ld, transposed, tuple(strides))

    def flipped(self) -> Operand:
        """The transpose."""
        return Operand(self.ld, not self.transposed, self.strides)


def ceil(x: int, y: int) -> int:
    """x / y rounded up."""
    return -(-x // y)


class Plan:
    """Decisions for one product, and the C text that every way needs: heads of functions, offsets in a batch."""

    def __init__(
        self,
        name: str,
        m: int,
        n: int,
        k: int,
        a: Operand,
        b: Operand,
        c: Operand,
        batch: tuple[int, ...],
        accumulate: bool,
        threads: int,
        names: tuple[str, str],
    ) -> None:
        self.name, self.m, self.n, self.k, self.a, self.b, self.c = name, m, n, k, a, b, c
        self.batch, self.accumulate, self.threads, self.names = batch, accumulate, threads, names
        self.items = math.prod(batch)
        self._divide_columns()
        self.way = self._way()
        self.swapped = self.way == "split" and not b.transposed and _idle(m) < _idle(n)
        if self.swapped:  # C^T = B^T A leaves fewer lanes idle; the second phase transposes
            self.m, self.n, self.a, self.b, self.names = n, m, b.flipped(), a.flipped(), ("b", "a")
            self._divide_columns()
            m, n = n, m
        self.packs_b = self._packs_b()
        self.packs_a = self._packs_a()
        blocks = max(1, ceil(k, KC))
        self.kc = max(1, ceil(k, blocks))
        self.heights = _heights(m, self.nv, threads if self.way == "rows" and self.items == 1 else 1)
        tiles = ceil(m, self.heights[0]) if self.way == "split" else BLOCK // self.heights[0]
        self.mc = self.heights[0] * max(1, tiles)

    def _divide_columns(self) -> None:
        """Panels of columns."""
        self.nv = _vectors(self.n)
        self.width = LANES * self.nv  # floats of a panel of B
        self.panels = ceil(self.n, self.width)

    def _way(self) -> str:
        """How the work is divided."""
        m, n, k, threads = self.m, self.n, self.k, self.threads
        if not self.a.transposed and self.b.transposed and (m <= 8 or n == 1 or (n < 8 and k >= 64)):
            return "dots"
        if self.items == 1 and self.a.transposed and k >= LONG and m <= 512:
            return "split"
        if self.items == 1 and m <= 32 and not self.b.transposed and self.panels >= threads:
            return "columns"
        if self.items > 1 and self.items >= 2 * threads and n * k <= 1 << 17:
            return "items"
        return "rows"

    def _packs_b(self) -> bool:
        """Whether panels of B are copied before they are read."""
        if self.b.transposed:
            return True
        if self.way == "columns":
            return False
        return not (self.n <= 64 and self.b.ld <= 64)

    def _packs_a(self) -> bool:
        """Whether tiles of A are copied so that they lie contiguous."""
        if self.a.transposed:
            return self.panels > 2
        return self.panels >= 4 and self.m >= 16 and self.a.ld % 64 == 0 and self.a.ld >= 256

    def function(self, suffix: str, body: str) -> str:
        """A phase of the kernel."""
        a, b = self.names
        first, second = (a, b) if a == "a" else (b, a)
        return (
            f"static void {self.name}_{suffix}(const float *{first}, const float *{second}, float *c, char *shared, "
            f"char *own, long lo, long hi, int thread, int threads) {{\n{body}}}\n"
        )

    def offset(self, x: Operand, item: str) -> str:
        """C expression of where an item of the batch begins in an operand."""
        terms, inner = [], 1
        for size, stride in reversed(list(zip(self.batch, x.strides))):
            if size > 1 and stride:
                whole = inner * size == self.items
                terms.append(f"{item} / {inner}{'' if whole else f' % {size}'} * {stride}L")
            inner *= size
        return " + ".join(terms) or "0"

    def slabs(self, per_row: bool) -> tuple[int, ...]:
        """Operands that lie dense in the order of the units: rows of C, or items of the batch."""
        slabs: list[int] = []
        if self.names[0] != "a":
            return ()
        for position, x, shape in (
            (0, self.a, (self.k, self.m) if self.a.transposed else (self.m, self.k)),
            (1, self.b, (self.n, self.k) if self.b.transposed else (self.k, self.n)),
            (2, self.c, (self.m, self.n)),
        ):
            full = Operand.of(self.batch, shape, None, None, x.transposed)
            same = (x.ld == full.ld or shape[0] == 1) and all(
                s == f for s, f, size in zip(x.strides, full.strides, self.batch) if size > 1
            )
            if same and not (per_row and (position == 1 or x.transposed)):
                slabs.append(position)
        return tuple(slabs)

    def reads(self) -> tuple[int, ...]:
        """Operands that a phase with sums of products reads."""
        return (0, 1, 2) if self.accumulate else (0, 1)


def _idle(n: int) -> float:
    """Share of the lanes that stay idle where n columns are divided into panels."""
    width = LANES * _vectors(n)
    return 1 - n / max(1, ceil(n, width) * width)


def _vectors(n: int) -> int:
    """Vectors of 16 columns in a panel: as few lanes idle as possible, then the squarest tile."""
    count = max(1, ceil(n, LANES))
    if count <= 4:
        return count
    return min((2, 3, 4), key=lambda nv: (ceil(count, nv) * nv * (1 + 0.02 * abs(nv - 2)), nv))


def _heights(rows: int, nv: int, threads: int) -> tuple[int, ...]:
    """Heights of tiles, largest first: the first divides the rows evenly among threads, the next takes what is left.

    1 is the last, so that every run can be covered.
    """
    most = min(14 if nv > 1 else 24, 31 // nv - 1)

    def cost(height: int) -> float:
        return ceil(ceil(rows, height), threads) * (height + 0.5)

    top = min(range(min(4, most), most + 1), key=lambda height: (cost(height), -height))
    top = max(1, min(top, rows))
    rest = rows % top
    return tuple(dict.fromkeys((top, *((rest,) if rest > 2 else ()), 1)))
