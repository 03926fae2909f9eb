"""Register tiles: what the C kernels of convolutions and pooling have in common, and the text of their inner loops.

A tile of M rows and V vectors keeps M V accumulators in registers; one step multiplies M broadcast numbers by V vectors
of neighbouring numbers. With 32 registers, 5 x 5 or 6 x 4 vectors of 16 floats need 10 loads for 24 multiply-adds:
both of a core's multiply-add units stay busy as long as the operands are in its caches.
"""

from __future__ import annotations

import functools
import itertools
import platform
from pathlib import Path

PREAMBLE = """
#include <string.h>
#ifndef KNET_VECTORS
#define KNET_VECTORS
typedef float knet_f4 __attribute__((vector_size(16), may_alias));
typedef float knet_f8 __attribute__((vector_size(32), may_alias));
typedef float knet_f16 __attribute__((vector_size(64), may_alias));
typedef float knet_f4u __attribute__((vector_size(16), aligned(4), may_alias));
typedef float knet_f8u __attribute__((vector_size(32), aligned(4), may_alias));
typedef float knet_f16u __attribute__((vector_size(64), aligned(4), may_alias));
typedef int knet_i4u __attribute__((vector_size(16), aligned(4), may_alias));
typedef int knet_i8u __attribute__((vector_size(32), aligned(4), may_alias));
typedef int knet_i16u __attribute__((vector_size(64), aligned(4), may_alias));

/* A vector of which the last lanes are kept, the others being 0; keep is loaded from knet_keep + lanes kept - 16. */
static const int knet_keep[32] __attribute__((unused)) = {
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
#define KNET_KEEP(lanes, a) ((knet_f##lanes)((knet_i##lanes##u)(a) & keep))
#ifdef __clang__
#define KNET_MIX4(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int knet_i4 __attribute__((vector_size(16)));
#define KNET_MIX4(a, b, i, j, k, l) __builtin_shuffle(a, b, (knet_i4){i, j, k, l})
#endif

/* d[j * dstep + i] = s[j + i * sstep] for i < rows, j < columns, in blocks of 4 x 4. */
__attribute__((noinline, unused)) static void knet_transpose(
    const float *restrict s, long sstep, float *restrict d, long dstep, long rows, long columns)
{
    const long full = rows / 4 * 4, even = columns / 4 * 4;
    for (long i = 0; i < full; i += 4) {
        for (long j = 0; j < even; j += 4) {
            const float *p = s + i * sstep + j;
            float *q = d + j * dstep + i;
            knet_f4 r0 = *(const knet_f4u *)p, r1 = *(const knet_f4u *)(p + sstep);
            knet_f4 r2 = *(const knet_f4u *)(p + 2 * sstep), r3 = *(const knet_f4u *)(p + 3 * sstep);
            knet_f4 a = KNET_MIX4(r0, r1, 0, 4, 1, 5), b = KNET_MIX4(r2, r3, 0, 4, 1, 5);
            knet_f4 c = KNET_MIX4(r0, r1, 2, 6, 3, 7), e = KNET_MIX4(r2, r3, 2, 6, 3, 7);
            *(knet_f4u *)q = KNET_MIX4(a, b, 0, 1, 4, 5);
            *(knet_f4u *)(q + dstep) = KNET_MIX4(a, b, 2, 3, 6, 7);
            *(knet_f4u *)(q + 2 * dstep) = KNET_MIX4(c, e, 0, 1, 4, 5);
            *(knet_f4u *)(q + 3 * dstep) = KNET_MIX4(c, e, 2, 3, 6, 7);
        }
        for (long j = even; j < columns; j++)
            for (long k = i; k < i + 4; k++) d[j * dstep + k] = s[j + k * sstep];
    }
    for (long i = full; i < rows; i++)
        for (long j = 0; j < columns; j++) d[j * dstep + i] = s[j + i * sstep];
}
#endif
"""

SIGNATURE = "char *shared, char *own, long lo, long hi, int thread, int threads"
ALIGNMENT = 64


@functools.cache
def native_lanes() -> int:
    """Floats in a vector register of this machine: 16, 8 or 4. Kernels are right, if slower, for a wrong answer too."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    if " avx512f" in flags:
        return 16
    return 8 if " avx" in flags or platform.machine().lower() in ("x86_64", "amd64") else 4


def registers(lanes: int) -> int:
    """Vector registers: AVX-512 and NEON have 32, AVX and SSE 16."""
    neon = lanes == 4 and platform.machine().lower() in ("aarch64", "arm64")
    return 32 if lanes == 16 or neon else 16


def aligned(floats: int) -> int:
    """Bytes of so many floats, rounded up to the alignment of scratch."""
    return -(-floats * 4 // ALIGNMENT) * ALIGNMENT


def choose_tile(rows: int, columns: int, steps: int, lanes: int) -> tuple[int, int]:
    """(M, V) of the fastest tile for `rows` broadcast and `columns` vector numbers, by a count of cycles.

    A step takes as long as its multiply-adds and its loads (two of each a cycle), and 4 cycles of latency at least.
    Columns that V vectors do not divide are computed twice (the last tile is shifted back), and rows likewise.
    """
    room = registers(lanes) - 1
    best = (float("inf"), 0, 1, 1)
    for m, v in itertools.product(range(1, rows + 1), range(1, 13)):
        if m * v + min(m, v) > room or v * lanes > max(columns, lanes):
            continue
        tiles = -(-rows // m) * -(-columns // (v * lanes))
        step = max(m * v / 2, (m + v) / 2, 4) + 0.5
        best = min(best, (tiles * (steps * step + 8 + m * v), -m * v, m, v))
    return best[2:]


def product_tile(
    name: str, m: int, v: int, *, lanes: int, steps: int, row_step: int, w_step: int, y_step: int, width: int
) -> str:
    """C function of a tile: y[i][p] = sum over r, t of w[i row_step + r w_step + taps[t].w] x[r x_step + taps[t].x + p]

    Args:
      steps: number of r.
      row_step: distance of the broadcast numbers of neighbouring rows.
      y_step: distance of y's rows.
      width: number of columns to be stored, at most v * lanes.
    """
    vector, accumulators = f"knet_f{lanes}", list(itertools.product(range(m), range(v)))
    zeros = ", ".join(f"a{i}_{j} = {{0}}" for i, j in accumulators)
    loads = ", ".join(f"x{j} = *(const {vector}u *)(p + {j * lanes})" for j in range(v))
    rows = "\n".join(
        f"b = q[{i * row_step}] - ({vector}){{0}}; " + " ".join(f"a{i}_{j} += b * x{j};" for j in range(v))
        for i in range(m)
    )
    if width == v * lanes:
        stores = "\n".join(f"*({vector}u *)(y + {i * y_step + j * lanes}) = a{i}_{j};" for i, j in accumulators)
    else:
        stores = "\n".join(
            f"memcpy(y + {i * y_step + j * lanes}, &a{i}_{j}, {min(lanes, width - j * lanes) * 4});"
            for i, j in accumulators
        )
    return f"""
static __attribute__((noinline)) void {name}(const float *x, long x_step, const float *w, float *y, const int *taps,
    long count)
{{
{vector} {zeros};
for (long r = 0; r < {steps}; r++, x += x_step, w += {w_step})
for (long t = 0; t < count; t++) {{
const float *p = x + taps[2 * t], *q = w + taps[2 * t + 1];
{vector} {loads}, b;
{rows}
}}
{stores}
}}
"""
