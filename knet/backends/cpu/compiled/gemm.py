"""Generator of matrix products of static shapes in float32: C[m, n] (+)= op(A) op(B).

The inner kernel keeps a tile of C in registers and runs along k: R rows times NV vectors of columns, a broadcast of A
times a vector of B each step.
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
from pathlib import Path

from .gemm_dots import dots
from .gemm_plan import GROUP, LANES, Operand, Plan, ceil
from .kernel import Kernel, Phase

PREAMBLE = Path(__file__).with_name("gemm.c").read_text()
"""C text that a program with kernels of this module includes once, before them."""


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
      threads: size of the team that the division of the work is made for; any other computes the same product.

    Operands: 0 is A, 1 is B, 2 is C, which overlaps neither.

    Returns:
      A kernel of one phase, or of two: B is packed into shared scratch first, or partial sums are combined last. Runs
      that begin at multiples of ``grain`` are fast; others are right, by tiles of one row.

    Numerics: each element is a sum of k products, rounded at most k + 2 times, in an order that depends on the shape,
    on ``threads`` and on the runs; the same runs give the same bits.

    References: K. Goto and R. van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34 (2008).
    """
    batch = tuple(batch)
    a = Operand.of(batch, (k, m) if transpose_a else (m, k), lda, strides_a, transpose_a)
    b = Operand.of(batch, (n, k) if transpose_b else (k, n), ldb, strides_b, transpose_b)
    c = Operand.of(batch, (m, n), ldc, strides_c, False)
    names = ("a", "b")
    if n == 1 and a.transposed and c.ld == 1:  # C^T = B^T A^T reads A by rows
        a, b, names, m, n = b.flipped(), a.flipped(), ("b", "a"), n, m
    if m == 1 and a.transposed and a.ld == 1:  # a vector is its own transpose
        a = Operand(k, False, a.strides)
    if n == 1 and not b.transposed and b.ld == 1:
        b = Operand(k, True, b.strides)
    plan = _Source(name, m, n, k, a, b, c, batch, accumulate, threads, names)
    return dots(plan) if plan.way == "dots" else plan.kernel()


class _Source(Plan):
    """The text of a product of tiles."""

    def kernel(self) -> Kernel:
        """The kernel."""
        body = "".join(self._tiles()) + self._block()
        return {"rows": self._rows, "columns": self._columns, "items": self._items, "split": self._split}[self.way](
            body
        )

    # text ------------------------------------------------------------------------------------------------------------

    def _tiles(self) -> Iterator[str]:
        """Register tiles and the loop over the rows of a block; for 32 vector registers, and for 16."""
        yield "\n#if GEMM_W == 16\n"
        yield from self._tiles_of(self.heights, self.nv)
        yield "#else\n"
        yield from self._tiles_of((6, 2, 1), 2)
        yield "#endif\n"

    def _tiles_of(self, heights: tuple[int, ...], nv: int) -> Iterator[str]:
        name, top = self.name, heights[0]
        part = int(not self.packs_b and self.n % self.width != 0)
        ar, ak = (1, top) if self.packs_a else (1, self.a.ld) if self.a.transposed else (self.a.ld, 1)
        bk, ldc = self.width if self.packs_b else self.b.ld, self._ldc()
        yield f"enum {{ {name}_top = {top} }};\n"
        calls = {}
        for r in heights:
            # Single rows below the others are few: all products share one narrow tile for them, a vector wide.
            one = r == 1 != top and nv > 1
            text, tile = _tile(r, 1, 1, ar) if one else _tile(r, nv, part, ar)
            yield text
            calls[r] = f"{tile}(k, a, {ak}, b, {bk}, c, {ldc}, cols, add);"
            if one:
                calls[r] = (
                    f"for (long j = 0; j < cols; j += GEMM_W) "
                    f"{tile}(k, a, {ak}, b + j, {bk}, c + j, {ldc}, GEMM_MIN(cols - j, GEMM_W), add);"
                )
        step = "k" if self.packs_a else ar  # a packed tile has k columns; within it rows lie side by side
        yield (
            f"static void {name}_strip(long rows, long k, const float *a, const float *b, float *c, long cols, int add)"
            f" {{\n  for (; rows >= {top}; rows -= {top}, a += {top} * {step}, c += {top} * {ldc}L) {calls[top]}\n"
        )
        for r in heights[1:]:
            yield f"  for (; rows >= {r}; rows -= {r}, a += {r} * {ar}, c += {r} * {ldc}L) {calls[r]}\n"
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
            tile = f"a + p * {self.a.ld}L + i + t" if self.a.transposed else f"a + (i + t) * {self.a.ld}L + p"
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

    def _rows(self, body: str) -> Kernel:
        """Units are rows of C, of all items one after the other."""
        name, m, add = self.name, self.m, int(self.accumulate)
        a, b = self.names
        phases, panel = [], self.k * self.width
        shared_b = self.packs_b
        b_items = self.items if any(s and size > 1 for s, size in zip(self.b.strides, self.batch)) else 1
        if shared_b:
            offset = self.offset(self.b, f"(u / {self.panels})") if b_items > 1 else "0"
            body += self.function(
                "pack",
                f"  const float *from = {b};\n  for (long u = lo; u < hi; u++) {{\n    long j = u % {self.panels};\n"
                f"    const float *b = from + {offset};\n"
                f"    {self._pack_panel(f'(float *)shared + u * {panel}L', '0', str(self.k))};\n  }}\n",
            )
            phases.append(Phase(f"{name}_pack", b_items * self.panels, (1 if b == "b" else 0,)))
            at = f"(float *)shared + {f'item * {self.panels * panel}L' if b_items > 1 else '0'}"
        else:
            at = f"{b} + {self.offset(self.b, 'item')}"
        body += self.function(
            "compute",
            f"  while (lo < hi) {{\n    long item = lo / {max(m, 1)}, i = lo - item * {m};\n"
            f"    long rows = GEMM_MIN({m} - i, hi - lo);\n"
            f"    {name}_block({a} + {self.offset(self.a, 'item')}, {at}, c + {self.offset(self.c, 'item')}, "
            f"(float *)own, i, i + rows, 0, {self.panels}, 0, {self.k}, {add});\n    lo += rows;\n  }}\n",
        )
        units = m * self.items
        phases.append(Phase(f"{name}_compute", units, self.reads(), (2,), self.slabs(True), self.heights[0]))
        return Kernel(
            body, tuple(phases), 4 * b_items * self.panels * panel if shared_b else 0, 4 * self._pack_floats()
        )

    def _columns(self, body: str) -> Kernel:
        """Units are panels of columns."""
        a, b = self.names
        body += self.function(
            "compute",
            f"  {self.name}_block({a}, {b}, c, (float *)own, 0, {self.m}, lo, hi, 0, {self.k}, "
            f"{int(self.accumulate)});\n",
        )
        phase = Phase(f"{self.name}_compute", self.panels, self.reads(), (2,))
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
        body += self.function(
            "compute",
            f"  for (long u = lo; u < hi; u++) {{\n    const float *from = {b} + {self.offset(self.b, 'u')};\n{pack}"
            f"    {name}_block({a} + {self.offset(self.a, 'u')}, {at}, c + {self.offset(self.c, 'u')}, (float *)own, "
            f"0, {self.m}, 0, {self.panels}, 0, {self.k}, {int(self.accumulate)});\n  }}\n",
        )
        phase = Phase(f"{name}_compute", self.items, self.reads(), (2,), self.slabs(False))
        own = 4 * (self._pack_floats() + (self.panels * panel if self.packs_b else 0))
        return Kernel(body, (phase,), 0, own)

    def _split(self, body: str) -> Kernel:
        """Units are parts of k, each with sums of its own; a second phase adds them up in order."""
        name, m, n, (a, b) = self.name, self.m, self.n, self.names
        parts, ld = max(1, self.threads), self._ldc()
        steps, size = ceil(self.k, parts), m * ld
        body += self.function(
            "parts",
            f"  for (long u = lo; u < hi; u++)\n"
            f"    {name}_block({a}, {b}, (float *)shared + u * {size}L, (float *)own, 0, {m}, 0, {self.panels}, "
            f"u * {steps}L, GEMM_MIN({self.k}, (u + 1) * {steps}L), 0);\n",
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
        body += self.function(
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


def _tile(r: int, nv: int, part: int, ar: int) -> tuple[str, str]:
    """Text and name of the function of a register tile: the kernels of a file share those that are equal.

    The rows' distance is a constant, as r pointers would not fit in registers; all other strides are arguments.
    """
    chains = min(1 << max(0, math.ceil(math.log2(8 / (r * nv)))), 8)
    ar = 0 if r == 1 else ar
    name = f"gemm_{r}x{nv}_{part}_{ar}"
    text = (
        f"#ifndef {name}\n#define {name} {name}\nstatic __attribute__((noinline)) void {name}(long k, const float *a, "
        f"long ak, const float *b, long bk, float *c, long ldc, long cols, int add) "
        f"{{ gemm_tile({r}, {nv}, {chains}, {part}, k, a, {ar}, ak, b, bk, c, ldc, cols, add); }}\n#endif\n"
    )
    return text, name
