"""Compiled gathers and scatters of rows: the values of the primitives' bodies, for any team; errors by index."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core.ops import index

X = np.random.default_rng(1).standard_normal((7, 5)).astype(np.float32)
WIDE = np.random.default_rng(2).standard_normal((5, 3, 96)).astype(np.float32)  # columns enough for three threads
IDS = np.array([3, -1, 0, 3, 3, -7, 6, 2], np.int64)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint32])
@pytest.mark.parametrize("shape", [(8,), (2, 4), (4, 1, 2)])
def test_take(compiled, dtype, shape):
    ids = np.where(IDS < 0, IDS % 7, IDS) if dtype is np.uint32 else IDS
    ids = ids.reshape(shape).astype(dtype)
    np.testing.assert_array_equal(compiled(index.take, X, ids), X[ids])


def test_take_of_views(compiled):
    x, ids = np.arange(24.0, dtype=np.float32).reshape(4, 6), np.array([[5, 0, -2], [1, 1, 4]])
    got = compiled(lambda x, ids: index.take(x.T, ids.T), x, ids)
    np.testing.assert_array_equal(got, x.T[ids.T])
    got = compiled(lambda x, ids: index.take(x[::2, 1], ids[0] % 2), x, ids)
    np.testing.assert_array_equal(got, x[::2, 1][ids[0] % 2])


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "bfloat16", "float64", "complex64"])
def test_any_dtype_is_moved(compiled, dtype):
    x = knp.asarray(X).astype(dtype)
    u = knp.asarray(X[:4] * 3).astype(dtype)
    ids = np.array([1, -1, 2, 1])
    np.testing.assert_array_equal(compiled(index.take, x, ids), np.asarray(x)[ids])
    want = np.array(x)
    want[ids] = np.asarray(u)
    np.testing.assert_array_equal(compiled(index.put, x, ids, u), want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.bool_])
@pytest.mark.parametrize("x", [X, WIDE, X[:, 0]])
def test_put_add(compiled, dtype, x):
    ids = np.array([1, -1, 2, 1, 1, 0, -5])
    x = (x * 8).astype(dtype)
    u = (np.random.default_rng(3).standard_normal((7, *x.shape[1:])) * 8).astype(dtype)
    want = index.put_add.body(x, ids, u)
    np.testing.assert_array_equal(compiled(index.put_add, x, ids, u), want)


def test_put_add_to_zeros_and_of_views(compiled):
    ids = np.array([1, -1, 2, 1])
    u = np.random.default_rng(3).standard_normal((2, 2, 4)).astype(np.float32)
    got = compiled(lambda ids, u: index.put_add(knp.zeros((4, 2, 2)), ids, knp.permute_dims(u, (2, 0, 1))), ids, u)
    np.testing.assert_array_equal(got, index.put_add.body(np.zeros((4, 2, 2), np.float32), ids, u.transpose(2, 0, 1)))
    g = u[0, 0, :1]
    got = compiled(lambda ids, g: index.put_add(knp.zeros((4, 2)), ids, knp.broadcast_to(g, (4, 2))), ids, g)
    np.testing.assert_array_equal(got, np.array([[0, 0], [2, 2], [1, 1], [1, 1]], np.float32) * g)


def test_wrap_index(compiled):
    got = compiled(lambda ids: index.wrap_index(ids, size=7, axis=0), IDS)
    np.testing.assert_array_equal(got, IDS % 7)
    assert got.dtype == np.int64


@pytest.mark.parametrize("bad", [7, -8, 2**40, -(2**63)])
def test_an_index_out_of_bounds_raises_and_the_next_call_works(compiled, bad):
    wrong = IDS.copy()
    wrong[5] = bad
    u = np.ones((8, 5), np.float32)
    calls = [
        (knet.jit(index.take), (X,), ()),
        (knet.jit(index.put_add), (X,), (u,)),
        (knet.jit(index.put), (X,), (u,)),
    ]
    for f, before, after in calls:
        with pytest.raises(knet.errors.IndexOutOfBounds) as eager:
            index.take(knp.asarray(X), knp.asarray(wrong))
        right = [knp.asarray(a) for a in (*before, IDS, *after)]
        want = np.asarray(f(*right))
        with pytest.raises(knet.errors.IndexOutOfBounds) as error:
            f(*[knp.asarray(a) for a in (*before, wrong, *after)])
        assert str(error.value) == str(eager.value)
        np.testing.assert_array_equal(np.asarray(f(*right)), want)


def test_the_first_index_of_the_first_kernel_is_named(compiled):
    f = knet.jit(lambda x, i, j: index.take(index.take(x, i), index.wrap_index(j, size=8, axis=1)))
    i, j = IDS.copy(), IDS.copy()
    i[[2, 6]] = 70, 71
    j[0] = 80
    with pytest.raises(knet.errors.IndexOutOfBounds, match=r"index (70 on axis 0 of size 7|80 on axis 1 of size 8):"):
        f(knp.asarray(X), knp.asarray(i), knp.asarray(j))
    with pytest.raises(knet.errors.IndexOutOfBounds, match="index 80 on axis 1 of size 8"):
        f(knp.asarray(X), knp.asarray(IDS), knp.asarray(j))


def test_gathers_in_a_scan(compiled):
    def step(total, i):
        row = index.take(knp.asarray(X), i)
        return total + row, row.sum()

    f = knet.jit(lambda ids: knet.scan(step, knp.zeros(5), ids))
    total, sums = f(knp.asarray(IDS))
    assert not any("NumPy" in k for k in f.lower(knp.asarray(IDS)).kernels)
    np.testing.assert_allclose(np.asarray(total), X[IDS].sum(0), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(sums), X[IDS].sum(1), rtol=1e-5, atol=1e-6)
    with pytest.raises(knet.errors.IndexOutOfBounds, match="index 9 on axis 0 of size 7"):
        f(knp.asarray(np.where(IDS == 6, 9, IDS)))
