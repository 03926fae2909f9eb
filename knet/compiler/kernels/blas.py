"""Products of strided row-major arrays in the words of BLAS, which is column-major and knows no other strides.

Row-major y = x w is column-major y^T = w^T x^T in the same memory: BLAS's first matrix is w, its second x. A matrix of
which one axis has stride 1 is read as it lies (N) or transposed (T). Nothing here needs a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..layout import Ref

N, T = 0, 1
_LARGEST = 2**31 - 1  # libraries have sizes and leading dimensions in C ints


class Gemm(NamedTuple):
    """C = op(A) op(B), column-major: op(A) is [m, k], op(B) is [k, n], C is [m, n]; ``batch`` of them.

    Attributes:
      swapped: whether A is the product's second operand. Otherwise the result is written transposed.
      trans_a, trans_b: N or T.
      lda, ldb, ldc: elements between columns.
      step_a, step_b, step_c: elements between the matrices of a batch, 0 where one serves all.
    """

    swapped: bool
    trans_a: int
    trans_b: int
    m: int
    n: int
    k: int
    lda: int
    ldb: int
    ldc: int
    step_a: int
    step_b: int
    step_c: int
    batch: int


def gemm(x: Ref, w: Ref, y: Ref) -> Gemm | None:
    """The call for y = x w, or None where BLAS cannot express the strides and an operand must be copied first.

    x: [..., M, K], w: [..., K, N], y: [..., M, N], no size 0; the batch axes of x and w broadcast to y's.
    """
    *lead, rows, columns = y.shape
    inner = x.shape[-1]
    steps = [_batch_steps(ref, lead) for ref in (x, w, y)]
    batch = _merged(lead, steps)
    if batch is None:
        return None
    size, (step_x, step_w, step_y) = batch
    (xm, xk), (wk, wn), (ym, yn) = (ref.strides[-2:] for ref in (x, w, y))
    if size > 1 and step_w == 0 and step_x == rows * xm and step_y == rows * ym and 1 not in (rows, size):
        rows, size = rows * size, 1  # one matrix w for all: the batch is more rows of x
    elif size > 1 and step_w == 0 and rows == 1:
        rows, size, xm, ym = size, 1, step_x, step_y
    steps_xwy = (step_x, step_w, step_y) if size > 1 else (0, 0, 0)
    for swapped in (True, False):
        # Not swapped is the same product transposed: y^T = w^T x^T row-major, so x is BLAS's first matrix.
        if swapped:
            m, n, c, a, b = columns, rows, (yn, ym), (wn, wk), (xk, xm)
        else:
            m, n, c, a, b = rows, columns, (ym, yn), (xm, xk), (wk, wn)
        read_a, read_b = _read(m, inner, *a), _read(inner, n, *b)
        written = _leading(m, n, *c)
        if read_a and read_b and written:
            step_a, step_b = (steps_xwy[1], steps_xwy[0]) if swapped else steps_xwy[:2]
            call = Gemm(swapped, read_a[0], read_b[0], m, n, inner, read_a[1], read_b[1], written,
                        step_a, step_b, steps_xwy[2], size)  # fmt: skip
            if max(m, n, inner, call.lda, call.ldb, call.ldc, size) <= _LARGEST:
                return call
    return None


def _batch_steps(ref: Ref, lead: Sequence[int]) -> list[int]:
    """Stride of each batch axis of the result: 0 where the operand has none, or one of size 1."""
    missing = len(lead) + 2 - len(ref.shape)
    own = zip(ref.shape[:-2], ref.strides[:-2])
    return [0] * missing + [0 if n == 1 else step for n, step in own]


def _merged(lead: Sequence[int], steps: list[list[int]]) -> tuple[int, tuple[int, int, int]] | None:
    """The batch axes as one: its size, and its strides in x, w and y; None if they do not follow one another."""
    size, at = 1, (0, 0, 0)
    for i in reversed(range(len(lead))):
        here = (steps[0][i], steps[1][i], steps[2][i])
        if lead[i] == 1:
            continue
        if size == 1:
            at = here
        elif any(step != size * inner for step, inner in zip(here, at)):
            return None
        size *= lead[i]
    # A negative step, or a result whose matrices lie in one another, is not BLAS's.
    return (size, at) if min(at) >= 0 and (size == 1 or at[2] > 0) else None


def _read(rows: int, columns: int, row_step: int, column_step: int) -> tuple[int, int] | None:
    """(N or T, leading dimension) with which a matrix [rows, columns] is read, or None."""
    as_it_lies = _leading(rows, columns, row_step, column_step)
    if as_it_lies:
        return N, as_it_lies
    transposed = _leading(columns, rows, column_step, row_step)
    return (T, transposed) if transposed else None


def _leading(rows: int, columns: int, row_step: int, column_step: int) -> int:
    """Leading dimension of a column-major matrix [rows, columns] with these strides, or 0 if it is none."""
    if rows != 1 and row_step != 1:
        return 0
    if columns == 1:
        return rows
    return column_step if column_step >= rows else 0
