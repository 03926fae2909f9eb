"""Strided products in the words of BLAS: every call is executed by a BLAS written here, on flat arrays."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from knet.compiler.kernels import blas
from knet.compiler.layout import Buffer, Ref

NUMBERS = np.dtype("float64")  # whole ones: sums are exact


def reference(call, a, b, c):
    """What cuBLAS's documentation says of gemmStridedBatchedEx, element by element, with its checks of arguments."""
    rows_a, rows_b = (call.m if call.trans_a == blas.N else call.k), (call.k if call.trans_b == blas.N else call.n)
    assert call.lda >= max(1, rows_a) and call.ldb >= max(1, rows_b) and call.ldc >= max(1, call.m)
    assert min(call.m, call.n, call.k, call.batch) >= 1 and call.step_c >= 0
    for p in range(call.batch):
        for i, j in itertools.product(range(call.m), range(call.n)):
            total = 0
            for l in range(call.k):  # noqa: E741
                at_a = i + l * call.lda if call.trans_a == blas.N else l + i * call.lda
                at_b = l + j * call.ldb if call.trans_b == blas.N else j + l * call.ldb
                total += a[p * call.step_a + at_a] * b[p * call.step_b + at_b]
            c[p * call.step_c + i + j * call.ldc] = total


def laid_out(shape, order, gaps, zero=()):
    """(memory, Ref) of a random array whose axes lie in this order, outermost first, each with a gap behind it."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(order):
        if axis in zero:
            continue
        strides[axis] = step
        step = step * shape[axis] + gaps[axis]
    return Ref(Buffer("input", 0, 8 * (step + 1), NUMBERS), tuple(shape), tuple(strides))


def memory_of(ref, rng):
    size = 1 + sum(s * (n - 1) for s, n in zip(ref.strides, ref.shape)) if ref.size else 1
    return rng.integers(-5, 6, size).astype(float)


def value(ref, memory):
    return np.lib.stride_tricks.as_strided(memory, ref.shape, tuple(8 * s for s in ref.strides))


def check(x, w, y):
    """Whether there is a call; if so, that it computes x w and writes nothing else."""
    call = blas.gemm(x, w, y)
    if call is None:
        return False
    rng = np.random.default_rng(0)
    mx, mw, my = memory_of(x, rng), memory_of(w, rng), memory_of(y, rng)
    want = my.copy()
    value(y, want)[...] = value(x, mx) @ value(w, mw)
    reference(call, *((mw, mx) if call.swapped else (mx, mw)), my)
    np.testing.assert_array_equal(my, want)
    return True


def dense(*shape):
    return laid_out(shape, range(len(shape)), [0] * len(shape))


SIZES = [(2, 3, 4), (1, 3, 4), (2, 1, 4), (2, 3, 1), (1, 1, 4), (1, 3, 1), (2, 1, 1), (1, 1, 1)]


@pytest.mark.parametrize("sizes", SIZES)
def test_matrices_in_every_order_with_gaps(sizes):
    m, n, k = sizes
    orders, gaps = [(0, 1), (1, 0)], [(0, 0), (0, 2), (3, 0)]
    for ox, ow, oy, gx, gw in itertools.product(orders, orders, orders, gaps, gaps):
        x, w, y = laid_out((m, k), ox, gx), laid_out((k, n), ow, gw), laid_out((m, n), oy, (0, 0))
        # A gap behind the innermost axis only moves the next one: one of the axes always has stride 1.
        assert check(x, w, y), (x, w, y)


@pytest.mark.parametrize("sizes", SIZES)
def test_batches_in_every_order(sizes):
    m, n, k = sizes
    called = 0
    for ox, ow in itertools.product(itertools.permutations(range(3)), repeat=2):
        x, w, y = laid_out((3, m, k), ox, (0, 0, 0)), laid_out((3, k, n), ow, (0, 0, 0)), dense(3, m, n)
        expressible = all(
            any(ref.strides[i] == 1 or ref.shape[i] == 1 for i in (1, 2)) or 1 in ref.shape[1:] for ref in (x, w)
        )
        did = check(x, w, y)
        called += did
        assert did or not expressible, (x, w)
    assert called >= 16


LEADS = [
    ((2, 3), (2, 3)), ((2, 3), (1, 1)), ((2, 3), ()), ((), (2, 3)), ((1, 1), (2, 3)), ((5,), ()), ((1,), (5,)),
    ((2, 1, 3), (2, 1, 3)), ((1, 1), (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("lead_x, lead_w", LEADS)
@pytest.mark.parametrize("sizes", SIZES)
def test_batches_that_broadcast(sizes, lead_x, lead_w):
    m, n, k = sizes
    lead = np.broadcast_shapes(lead_x, lead_w)
    assert check(dense(*lead_x, m, k), dense(*lead_w, k, n), dense(*lead, m, n))


def test_one_matrix_for_a_whole_batch_is_one_product():
    call = blas.gemm(dense(5, 7, 3), dense(3, 4), dense(5, 7, 4))
    assert (call.batch, call.n) == (1, 35)
    assert check(dense(5, 7, 3), dense(3, 4), dense(5, 7, 4))
    x = laid_out((5, 7, 3), (1, 0, 2), (0, 0, 0))  # its rows do not follow one another
    assert blas.gemm(x, dense(3, 4), dense(5, 7, 4)).batch == 5
    assert check(x, dense(3, 4), dense(5, 7, 4))


def test_half_a_batch_that_broadcasts_is_copied():
    assert not check(dense(2, 1, 4, 5), dense(2, 3, 5, 6), dense(2, 3, 4, 6))
    assert not check(dense(2, 3, 4, 5), dense(3, 5, 6), dense(2, 3, 4, 6))


def test_heads_of_attention_are_read_in_place_for_one_sequence():
    """Queries [T, H, D] as [H, T, D]: the batch lies inside the rows."""
    q, k = laid_out((4, 6, 8), (1, 0, 2), (0, 0, 0)), laid_out((4, 8, 6), (2, 0, 1), (0, 0, 0))
    assert check(q, k, dense(4, 6, 6))


@pytest.mark.parametrize(
    "strides, why",
    [((0, 1), "rows that are one"), ((3, 0), "columns that are one"), ((-3, 1), "reversed"), ((6, 2), "no stride 1"),
     ((2, 1), "rows that overlap")],
)  # fmt: skip
def test_what_blas_cannot_read_is_copied(strides, why):
    x = Ref(Buffer("input", 0, 100, NUMBERS), (2, 3), strides, 3)
    assert blas.gemm(x, dense(3, 4), dense(2, 4)) is None, why
    assert blas.gemm(dense(4, 2), x, dense(4, 3)) is None, why


def test_sizes_beyond_an_int_are_refused():
    x = Ref(Buffer("input", 0, 100, NUMBERS), (2, 3), (2**31, 1))
    assert blas.gemm(x, dense(3, 4), dense(2, 4)) is None


def test_the_reference_tells_wrong_calls():
    call = blas.gemm(dense(2, 3), dense(3, 4), dense(2, 4))
    rng = np.random.default_rng(0)
    x, w = rng.integers(-5, 6, (2, 3)).astype(float), rng.integers(-5, 6, (3, 4)).astype(float)
    got = np.zeros(8)
    reference(call, w.ravel(), x.ravel(), got)
    np.testing.assert_array_equal(got.reshape(2, 4), x @ w)
    with pytest.raises((AssertionError, IndexError)):
        reference(call._replace(lda=2), w.ravel(), x.ravel(), got)
        np.testing.assert_array_equal(got.reshape(2, 4), x @ w)
    with pytest.raises((AssertionError, IndexError)):
        reference(call._replace(trans_a=blas.T), w.ravel(), x.ravel(), got)
