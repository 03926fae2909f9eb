"""Generator of matrix products of static shapes in float32: C[m, n] (+)= op(A) op(B).

The inner kernel keeps a tile of C in registers and runs along k: R rows times NV vectors of columns, a broadcast of A
times a vector of B each step (K. Goto and R. van de Geijn, Anatomy of high-performance matrix multiplication, 2008).
What is static decides the rest: heights of tiles that fit the rows of a thread, panels of B packed or read in place,
A packed or not, and which of four ways the work is divided:

rows:    units are rows of C; B is packed once into shared scratch, or read in place if it is narrow.
columns: few rows; units are panels of columns, B is read in place.
items:   a batch of small products; units are items, each packs its own B.
split:   C is small and k is long; units are parts of k with partial sums, which a second phase adds in order.

Where A and B both run along k (a matrix times a vector, few rows times a transposed B) tiles of dot products take the
place of broadcasts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .kernel import Kernel, Phase

PREAMBLE = Path(__file__).with_name("gemm.c").read_text()
"""C text that a program with kernels of this module includes once, before them."""

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


def gemm(
    name: str,
    *,
    m: int,
    n: int,
    k: int,
    transpose_a: bool = False,
    transpose_b: bool = False,
    batch: Sequence[int] = (),
    lda: int | None = None,
    ldb: int | None = None,
    ldc: int | None = None,
    strides_a: Sequence[int] | None = None,
    strides_b: Sequence[int] | None = None,
    strides_c: Sequence[int] | None = None,
    accumulate: bool = False,
    threads: int = 2,
) -> Kernel:
    """A matrix product of static shape: C[..., m, n] = op(A) op(B), or C += op(A) op(B).

    Args:
      name: prefix of the C functions.
      m, n, k: op(A) is [m, k], op(B) is [k, n].
      transpose_a: A is stored as [k, m].
      transpose_b: B is stored as [n, k].
      batch: shape of the leading batch.
      lda, ldb, ldc: floats between rows as stored; dense by default.
      strides_a, strides_b, strides_c: floats between the items of each axis of the batch, 0 to broadcast; dense by
        default.
      accumulate: add to C.
      threads: size of the team that the division of the work is made for; any other size computes the same.

    Operands: 0 is A, 1 is B, 2 is C. The sums along k are taken in an order that depends on the shape and on
    ``threads`` alone.
    """
    batch = tuple(batch)
    a = _operand(batch, (k, m) if transpose_a else (m, k), lda, strides_a, transpose_a)
    b = _operand(batch, (n, k) if transpose_b else (k, n), ldb, strides_b, transpose_b)
    c = _operand(batch, (m, n), ldc, strides_c, False)
    names = ("a", "b")
    if n == 1 and a.transposed and c.ld == 1:  # C^T = B^T A^T reads A by rows
        a, b, names, m, n = _flipped(b), _flipped(a), ("b", "a"), n, m
    if m == 1 and a.transposed and a.ld == 1:  # a vector is its own transpose
        a = Operand(k, False, a.strides)
    if n == 1 and not b.transposed and b.ld == 1:
        b = Operand(k, True, b.strides)
    return _Generator(name, m, n, k, a, b, c, batch, accumulate, threads, names).kernel()


def _operand(
    batch: tuple[int, ...], shape: tuple[int, int], ld: int | None, strides: Sequence[int] | None, transposed: bool
) -> Operand:
    """An operand with the dense strides that were not given."""
    ld = shape[1] if ld is None else ld
    if strides is None:
        strides = tuple(shape[0] * ld * math.prod(batch[i + 1 :]) for i in range(len(batch)))
    return Operand(ld, transposed, tuple(strides))


def _flipped(x: Operand) -> Operand:
    """The transpose of an operand."""
    return Operand(x.ld, not x.transposed, x.strides)


def _ceil(x: int, y: int) -> int:
    """x / y rounded up."""
    return -(-x // y)


class _Generator:
    """Decisions for one product, and the text they lead to."""

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
            self.m, self.n, self.a, self.b, self.names = n, m, _flipped(b), _flipped(a), ("b", "a")
            self._divide_columns()
            m, n = n, m
        self.packs_b = self._packs_b()
        self.packs_a = self._packs_a()
        blocks = max(1, _ceil(k, KC))
        self.kc = max(1, _ceil(k, blocks))
        self.heights = _heights(m, self.nv, threads if self.way == "rows" and self.items == 1 else 1)
        tiles = _ceil(m, self.heights[0]) if self.way == "split" else BLOCK // self.heights[0]
        self.mc = self.heights[0] * max(1, tiles)

    def _divide_columns(self) -> None:
        """Panels of columns."""
        self.nv = _vectors(self.n)
        self.width = LANES * self.nv  # floats of a panel of B
        self.panels = _ceil(self.n, self.width)

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

    def kernel(self) -> Kernel:
        """The kernel."""
        if self.way == "dots":
            return self._dots()
        body = "".join(self._tiles()) + self._block()
        return {"rows": self._rows, "columns": self._columns, "items": self._items, "split": self._split}[self.way](
            body
        )

    # text ------------------------------------------------------------------------------------------------------------

    def _function(self, suffix: str, body: str) -> str:
        """A phase of the kernel."""
        a, b = self.names
        first, second = (a, b) if a == "a" else (b, a)
        return (
            f"static void {self.name}_{suffix}(const float *{first}, const float *{second}, float *c, char *shared, "
            f"char *own, long lo, long hi, int thread, int threads) {{\n{body}}}\n"
        )

    def _offset(self, x: Operand, item: str) -> str:
        """C expression of where an item of the batch begins in an operand."""
        terms, inner = [], 1
        for size, stride in reversed(list(zip(self.batch, x.strides))):
            if size > 1 and stride:
                whole = inner * size == self.items
                terms.append(f"{item} / {inner}{'' if whole else f' % {size}'} * {stride}L")
            inner *= size
        return " + ".join(terms) or "0"

    def _tiles(self) -> Iterator[str]:
        """Register tiles and the loop over the rows of a block; for 32 vector registers, and for 16."""
        yield "#if GEMM_W == 16\n"
        yield from self._tiles_of(self.heights, self.nv)
        yield "#else\n"
        yield from self._tiles_of((6, 2, 1), 2)
        yield "#endif\n"

    def _tiles_of(self, heights: tuple[int, ...], nv: int) -> Iterator[str]:
        name, top = self.name, heights[0]
        part = int(not self.packs_b and self.n % self.width != 0)
        ar, ak = (1, top) if self.packs_a else (1, self.a.ld) if self.a.transposed else (self.a.ld, 1)
        bk = self.width if self.packs_b else self.b.ld
        yield f"enum {{ {name}_top = {top} }};\n"
        for r in heights:
            chains = min(1 << max(0, math.ceil(math.log2(8 / (r * nv)))), 8)
            yield (
                f"static __attribute__((noinline)) void {name}_t{r}(long k, const float *a, const float *b, float *c, "
                f"long cols, int add) {{ gemm_tile({r}, {nv}, {chains}, {part}, k, a, {ar}, {ak}, b, {bk}, c, "
                f"{self._ldc()}, cols, add); }}\n"
            )
        step, inner = ("k", "1") if self.packs_a else (f"{ar}", f"{ar}")
        yield (
            f"static void {name}_strip(long rows, long k, const float *a, const float *b, float *c, long cols, int add)"
            f" {{\n  for (; rows >= {top}; rows -= {top}, a += {top} * {step}, c += {top} * {self._ldc()}L) "
            f"{name}_t{top}(k, a, b, c, cols, add);\n"
        )
        for r in heights[1:]:
            yield (
                f"  for (; rows >= {r}; rows -= {r}, a += {r} * {inner}, c += {r} * {self._ldc()}L) "
                f"{name}_t{r}(k, a, b, c, cols, add);\n"
            )
        yield "}\n"
        yield (
            f"static inline void {name}_rows(long rows, long k, const float *a, const float *b, float *c, long cols, "
            f"int add) {{\n  for (long j = 0; j < cols; j += {nv} * GEMM_W) "
            f"{name}_strip(rows, k, a, b + j, c + j, GEMM_MIN(cols - j, {nv} * GEMM_W), add);\n}}\n"
        )

    def _ldc(self) -> int:
        """Floats between rows of what the tiles are added to."""
        return self.panels * self.width if self.way == "split" else self.c.ld

    def _block(self) -> str:
        """The product of rows i0 to i1, panels j0 to j1 and steps p0 to p1: blocked along k and rows."""
        name, width = self.name, self.width
        just_in_time = self.packs_b and self.way == "split"
        if self.packs_a:
            load = f"a + i * {self.a.ld}L + p" if not self.a.transposed else f"a + p * {self.a.ld}L + i"
            tile = f"{load[:-1]}(i + t)" if self.a.transposed else f"a + (i + t) * {self.a.ld}L + p"
            height = f"GEMM_MIN(rows - t, {name}_top)"
            copy = (
                f"gemm_copy({tile}, {self.a.ld}, kc, {height}, pack + t * kc, {name}_top)"
                if self.a.transposed
                else f"gemm_transpose({tile}, {self.a.ld}, {height}, kc, pack + t * kc, {name}_top)"
            )
            pack = f"      for (long t = 0; t < rows; t += {name}_top) {copy};\n      const float *x = pack;\n"
        else:
            at = f"a + p * {self.a.ld}L + i" if self.a.transposed else f"a + i * {self.a.ld}L + p"
            pack = f"      const float *x = {at};\n"
        if just_in_time:
            group = self._group()
            panel = (
                f"        float *y = pack + {self._pack_floats()} + (j - j0) % {group} * kc * {width};\n"
                f"        if ((j - j0) % {group} == 0) {self._pack_group('y', f'GEMM_MIN({group}, j1 - j)')};\n"
            )
        elif self.packs_b:
            panel = f"        const float *y = b + (j * {self.k}L + p) * {width};\n"
        else:
            panel = f"        const float *y = b + p * {self.b.ld}L + j * {width};\n"
        cols = f"GEMM_MIN({width}, {self._ldc() if just_in_time else self.n} - j * {width})"
        return (
            f"static void {name}_block(const float *a, const float *b, float *c, float *pack, long i0, long i1, "
            f"long j0, long j1, long p0, long p1, int add) {{\n"
            f"  for (long i = i0; i < i1; i += {self.mc}) {{\n"
            f"    long rows = GEMM_MIN(i1 - i, {self.mc}), p = p0, kc;\n"
            f"    do {{\n      kc = GEMM_MIN(p1 - p, {self.kc});\n{pack}"
            f"      for (long j = j0; j < j1; j++) {{\n{panel}"
            f"        {name}_rows(rows, kc, x, y, c + i * {self._ldc()}L + j * {width}, {cols}, add || p > p0);\n"
            f"      }}\n      p += kc;\n    }} while (p < p1);\n  }}\n}}\n"
        )

    def _pack_panel(self, to: str, p: str, steps: str) -> str:
        """C statement that packs panel j of B, from step p on."""
        cols = f"GEMM_MIN({self.width}, {self.n} - j * {self.width})"
        if self.b.transposed:
            at = f"b + j * {self.width * self.b.ld}L + {p}"
            return f"gemm_panel({at}, {self.b.ld}, {cols}, {steps}, {to}, {self.width})"
        return f"gemm_copy(b + {p} * {self.b.ld}L + j * {self.width}, {self.b.ld}, {steps}, {cols}, {to}, {self.width})"

    def _group(self) -> int:
        """Panels that are packed together, so that rows of B are read in long pieces."""
        return min(max(self.panels, 1), max(1, GROUP // (self.kc * self.width)))

    def _pack_group(self, to: str, count: str) -> str:
        """C statement that packs panels from j on, of kc steps from p on."""
        if self.b.transposed:
            return (
                f"for (long g = 0, h = j; g < {count}; g++) {{ long j = h + g; "
                f"{self._pack_panel(f'{to} + g * kc * {self.width}', 'p', 'kc')}; }}"
            )
        cols = f"GEMM_MIN({count} * {self.width}, {self.n} - j * {self.width})"
        return (
            f"gemm_spread(b + p * {self.b.ld}L + j * {self.width}, {self.b.ld}, kc, {cols}, {to}, {self.width}, "
            f"kc * {self.width})"
        )

    def _pack_floats(self) -> int:
        """Floats of the scratch that a packed block of A takes."""
        return (self.mc + 2 * LANES) * self.kc // LANES * LANES + 2 * LANES if self.packs_a else 0

    # ways ------------------------------------------------------------------------------------------------------------

    def _slabs(self, per_row: bool) -> tuple[int, ...]:
        """Operands that lie dense in the order of the units: rows of C, or items of the batch."""
        slabs: list[int] = []
        if self.names[0] != "a":
            return ()
        for position, x, shape in (
            (0, self.a, (self.k, self.m) if self.a.transposed else (self.m, self.k)),
            (1, self.b, (self.n, self.k) if self.b.transposed else (self.k, self.n)),
            (2, self.c, (self.m, self.n)),
        ):
            full = _operand(self.batch, shape, None, None, x.transposed)
            same = (x.ld == full.ld or shape[0] == 1) and all(
                s == f for s, f, size in zip(x.strides, full.strides, self.batch) if size > 1
            )
            if same and not (per_row and (position == 1 or x.transposed)):
                slabs.append(position)
        return tuple(slabs)

    def _pointers(self, item: str) -> str:
        """C text that moves the operands to an item of the batch."""
        if self.items == 1:
            return ""
        return f"    const float *x = {self.names[0]} + {self._offset(self.a, item)};\n"

    def _reads(self, *more: int) -> tuple[int, ...]:
        return (0, 1, 2) if self.accumulate else (0, 1)

    def _rows(self, body: str) -> Kernel:
        """Units are rows of C, of all items one after the other."""
        name, m, add = self.name, self.m, int(self.accumulate)
        a, b = self.names
        phases, panel = [], self.k * self.width
        shared_b = self.packs_b
        b_items = self.items if any(s and size > 1 for s, size in zip(self.b.strides, self.batch)) else 1
        if shared_b:
            offset = self._offset(self.b, f"(u / {self.panels})") if b_items > 1 else "0"
            body += self._function(
                "pack",
                f"  const float *from = {b};\n  for (long u = lo; u < hi; u++) {{\n    long j = u % {self.panels};\n"
                f"    const float *b = from + {offset};\n    {self._pack_panel(f'(float *)shared + u * {panel}L', '0', str(self.k))};\n  }}\n",
            )
            phases.append(Phase(f"{name}_pack", b_items * self.panels, (1 if b == "b" else 0,)))
            at = f"(float *)shared + {f'item * {self.panels * panel}L' if b_items > 1 else '0'}"
        else:
            at = f"{b} + {self._offset(self.b, 'item')}"
        body += self._function(
            "compute",
            f"  while (lo < hi) {{\n    long item = lo / {max(m, 1)}, i = lo - item * {m}, rows = GEMM_MIN({m} - i, hi - lo);\n"
            f"    {name}_block({a} + {self._offset(self.a, 'item')}, {at}, c + {self._offset(self.c, 'item')}, (float *)own, "
            f"i, i + rows, 0, {self.panels}, 0, {self.k}, {add});\n    lo += rows;\n  }}\n",
        )
        units = m * self.items
        phases.append(Phase(f"{name}_compute", units, self._reads(), (2,), self._slabs(True), self.heights[0]))
        return Kernel(body, tuple(phases), 4 * b_items * self.panels * panel if shared_b else 0, 4 * self._pack_floats())

    def _columns(self, body: str) -> Kernel:
        """Units are panels of columns."""
        a, b = self.names
        body += self._function(
            "compute",
            f"  {self.name}_block({a}, {b}, c, (float *)own, 0, {self.m}, lo, hi, 0, {self.k}, {int(self.accumulate)});\n",
        )
        phase = Phase(f"{self.name}_compute", self.panels, self._reads(), (2,))
        return Kernel(body, (phase,), 0, 4 * self._pack_floats())

    def _items(self, body: str) -> Kernel:
        """Units are items of the batch; each packs its B into scratch of the thread."""
        name, panel, (a, b) = self.name, self.k * self.width, self.names
        pack = ""
        at = "from"
        if self.packs_b:
            at = f"(float *)own + {self._pack_floats()}"
            pack = (
                f"    for (long j = 0; j < {self.panels}; j++) {{\n      const float *b = from;\n"
                f"      {self._pack_panel(f'{at} + j * {panel}L', '0', str(self.k))};\n    }}\n"
            )
        body += self._function(
            "compute",
            f"  for (long u = lo; u < hi; u++) {{\n    const float *from = {b} + {self._offset(self.b, 'u')};\n{pack}"
            f"    {name}_block({a} + {self._offset(self.a, 'u')}, {at}, c + {self._offset(self.c, 'u')}, (float *)own, "
            f"0, {self.m}, 0, {self.panels}, 0, {self.k}, {int(self.accumulate)});\n  }}\n",
        )
        phase = Phase(f"{name}_compute", self.items, self._reads(), (2,), self._slabs(False))
        own = 4 * (self._pack_floats() + (self.panels * panel if self.packs_b else 0))
        return Kernel(body, (phase,), 0, own)

    def _split(self, body: str) -> Kernel:
        """Units are parts of k, each with sums of its own; a second phase adds them up in order."""
        name, m, n, (a, b) = self.name, self.m, self.n, self.names
        parts, ld = max(1, self.threads), self._ldc()
        steps, size = _ceil(self.k, parts), m * ld
        body += self._function(
            "parts",
            f"  for (long u = lo; u < hi; u++)\n    {name}_block({a}, {b}, (float *)shared + u * {size}L, (float *)own, "
            f"0, {m}, 0, {self.panels}, u * {steps}L, GEMM_MIN({self.k}, (u + 1) * {steps}L), 0);\n",
        )
        if self.swapped:  # from here on in the terms of C again
            m, n = n, m
            at = f"j * {ld}L + i"
        else:
            at = f"i * {ld}L + j"
        total = "".join(f" + x[{u * size}L + {at}]" for u in range(1, parts))
        target = f"c[i * {self.c.ld}L + j]"
        loops = f"for (long i = lo; i < hi; i++)\n    for (long j = 0; j < {n}; j++)"
        if self.swapped:  # 16 columns of the sums at a time, so that they are read by whole lines
            loops = (
                f"for (long i0 = lo; i0 < hi; i0 += {LANES})\n    for (long j = 0; j < {n}; j++)\n"
                f"      for (long i = i0; i < GEMM_MIN(hi, i0 + {LANES}); i++)"
            )
        body += self._function(
            "combine",
            f"  const float *x = (float *)shared;\n  {loops} {target} {'+=' if self.accumulate else '='} "
            f"x[{at}]{total};\n",
        )
        reads = (2,) if self.accumulate else ()
        phases = (
            Phase(f"{name}_parts", parts, (0, 1)),
            Phase(f"{name}_combine", m, reads, (2,), (2,) if self.c.ld == n else (), LANES if self.swapped else 1),
        )
        own = self._pack_floats() + (self._group() * self.kc * self.width if self.packs_b else 0)
        return Kernel(body, phases, 4 * parts * size, 4 * own)

    def _dots(self) -> Kernel:
        """Units are rows of C where there are many, else columns."""
        name, m, n, (a, b) = self.name, self.m, self.n, self.names
        columns = self.items == 1 and m <= 8 and n > m
        fixed = m if columns else n
        s = max(1, min(fixed, 4))
        r = max(1, 16 // s // (2 if s == 1 else 1))
        add = int(self.accumulate)
        ci, cj = self.c.ld, 1
        text = ""
        for u in dict.fromkeys((r, 1)):
            for v in dict.fromkeys((s, fixed % s)):
                if v:
                    text += self._dot_tile(u, v, columns, add)
        along, other = ("j", "i") if columns else ("i", "j")
        pitch = {"i": self.a.ld, "j": self.b.ld}
        cpitch = {"i": ci, "j": cj}
        where = {"i": "x", "j": "y"}
        whole = fixed - fixed % s

        def call(u: int) -> str:
            def at(p: str, q: str) -> str:
                pointer = {along: f"{where[along]} + {along} * {pitch[along]}L", other: f"{where[other]} + {q} * {pitch[other]}L"}
                return f"{name}_d{u}x{p}({pointer['i']}, {pointer['j']}, z + {along} * {cpitch[along]}L + {q} * {cpitch[other]}L)"

            out = f"for (long {other} = 0; {other} < {whole}; {other} += {s}) {at(str(s), other)};"
            return out + (f" {at(str(fixed % s), str(whole))};" if fixed % s else "")

        count = n if columns else m
        text += self._function(
            "compute",
            f"  while (lo < hi) {{\n    long item = lo / {max(count, 1)}, {along} = lo - item * {count}, "
            f"end = GEMM_MIN({count}, {along} + hi - lo);\n"
            f"    const float *x = {a} + {self._offset(self.a, 'item')}, *y = {b} + {self._offset(self.b, 'item')};\n"
            f"    float *z = c + {self._offset(self.c, 'item')};\n    lo += end - {along};\n"
            f"    for (; {along} + {r} <= end; {along} += {r}) {{ {call(r)} }}\n"
            f"    for (; {along} < end; {along}++) {{ {call(1)} }}\n  }}\n",
        )
        slabs = () if columns else self._slabs(True)
        phase = Phase(f"{name}_compute", count * self.items, self._reads(), (2,), slabs, r if count > 8 * r else 1)
        return Kernel(text, (phase,))

    def _dot_tile(self, u: int, v: int, columns: bool, add: int) -> str:
        """A tile of u units times v of what every unit takes in full."""
        r, s = (v, u) if columns else (u, v)
        return (
            f"static __attribute__((noinline)) void {self.name}_d{u}x{v}(const float *a, const float *b, float *c) "
            f"{{ gemm_dot({r}, {s}, {self.k}, a, {self.a.ld}, b, {self.b.ld}, c, {self.c.ld}, {add}); }}\n"
        )


def _idle(n: int) -> float:
    """Share of the lanes that stay idle where n columns are divided into panels."""
    width = LANES * _vectors(n)
    return 1 - n / max(1, _ceil(n, width) * width)


def _vectors(n: int) -> int:
    """Vectors of 16 columns in a panel: as few lanes idle as possible, then the squarest tile."""
    count = max(1, _ceil(n, LANES))
    if count <= 4:
        return count
    return min((2, 3, 4), key=lambda nv: (_ceil(count, nv) * nv * (1 + 0.02 * abs(nv - 2)), nv))


def _heights(rows: int, nv: int, threads: int) -> tuple[int, ...]:
    """Heights of tiles, largest first: the first divides the rows evenly among threads, the next takes what is left.

    1 is the last, so that every run can be covered.
    """
    most = min(14 if nv > 1 else 24, 31 // nv - 1)

    def cost(height: int) -> float:
        return _ceil(_ceil(rows, height), threads) * (height + 0.5)

    top = min(range(min(4, most), most + 1), key=lambda height: (cost(height), -height))
    top = max(1, min(top, rows))
    rest = rows % top
    return tuple(dict.fromkeys((top, *((rest,) if rest > 2 else ()), 1)))
