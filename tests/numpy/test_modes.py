"""Indices out of bounds: the modes of take, take_along_axis and x.at[...], against NumPy and plain loops."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import knet
import knet.numpy as knp
from knet.core.errors import ArgumentError, DTypeError, IndexOutOfBounds, ShapeError
from knet.testing import check_grads

X = np.arange(24.0).reshape(3, 4, 2) + 1
IDS = np.array([-9, -5, -4, -1, 0, 2, 3, 4, 11])
MODES = ("clip", "wrap", "fill", "drop")


def place(i, n, mode, from_end=True):
    """Where an index leads, or None for nowhere."""
    if mode == "wrap":
        return i % n
    if from_end or mode != "clip":
        i = i + n if i < 0 else i
    return min(max(i, 0), n - 1) if mode == "clip" else i if 0 <= i < n else None


# --- take -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [IDS, IDS.reshape(3, 3), np.array(7), IDS[:0], IDS.astype(np.int8)], ids=str)
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("mode", ["clip", "wrap"])
def test_take_as_in_numpy(mode, axis, ids):
    got = knp.take(knp.asarray(X), knp.asarray(ids), axis=axis, mode=mode)
    assert np.array_equal(np.asarray(got), np.take(X, ids, axis=axis, mode=mode))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_fills(axis):
    got = np.asarray(knp.take(knp.asarray(X), IDS, axis=axis, mode="fill", fill_value=-7.5))
    n = X.shape[axis]
    want = np.stack(
        [np.take(X, i, axis) if -n <= i < n else np.full_like(np.take(X, 0, axis), -7.5) for i in IDS], axis
    )
    assert np.array_equal(got, want)


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [("int8", -128), ("int64", -(2**63)), ("uint8", 255), ("uint64", 2**64 - 1), ("bool", True), ("float16", np.nan)],
)
def test_what_is_filled_in(dtype, fill):
    x = knp.zeros(3, dtype=dtype)
    for got in (knp.take(x, [5], mode="fill"), x.at[[-4]].get(mode="fill"), x[:0].at[[0]].get(mode="fill")):
        assert got.dtype == x.dtype and np.array_equal(
            np.asarray(got), np.array([fill], dtype), equal_nan=dtype[0] == "f"
        )
    assert float(knp.take(knp.zeros(1, dtype=knp.float64), [5], mode="fill", fill_value=0.1)[0]) == 0.1


def test_take_from_nothing():
    x = knp.zeros((2, 0, 3))
    got = knp.take(x, [0, 1], axis=1, mode="fill", fill_value=4.0)
    assert got.shape == (2, 2, 3) and np.all(np.asarray(got) == 4)
    assert knp.take(x, IDS[:0], axis=1, mode="clip").shape == (2, 0, 3)
    for mode in ("raise", "clip", "wrap"):
        with pytest.raises(IndexOutOfBounds):
            knp.take(x, [0], axis=1, mode=mode)


@pytest.mark.parametrize("mode", ["clip", "wrap", "fill"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_take_along_axis(mode, axis):
    ids = np.random.default_rng(axis).integers(-9, 9, (3, 4, 2))
    got = np.asarray(knp.take_along_axis(knp.asarray(X), ids, axis=axis, mode=mode, fill_value=-1.0))
    for at in np.ndindex(*ids.shape):
        i = place(ids[at], X.shape[axis], mode)
        want = -1.0 if i is None else X[(*at[:axis], i, *at[axis + 1 :])]
        assert got[at] == want, (at, ids[at])
    empty = knp.take_along_axis(knp.zeros((2, 0)), np.zeros((1, 3), int), axis=1, mode="fill")
    assert empty.shape == (2, 3) and np.isnan(np.asarray(empty)).all()


# --- x.at[...] --------------------------------------------------------------------------------------------------------

INDICES = [
    IDS, 7, -8, (0, IDS), (slice(None), IDS), (..., IDS), (IDS, None, IDS), (IDS[:, None], slice(1, 3), IDS), (7, 2, 1),
    (slice(None), -9), (slice(None, None, -1), IDS, 1), (True, IDS), (False, IDS[:1]), (X[:, :, 0] > 9, 5),
    slice(1, 2), None, (np.array([], int),), [5, 0, -3],
]  # fmt: skip


@functools.cache
def surroundings(mode):
    """The numbers of X's cells, with 20 more on each side that lead to one of them or, as -1, to none."""
    numbers = np.full([n + 40 for n in X.shape], -1)
    for at in itertools.product(*(range(-20, n + 20) for n in X.shape)):
        led = [place(i, n, mode) for i, n in zip(at, X.shape)]
        if None not in led:
            numbers[tuple(i + 20 for i in at)] = np.ravel_multi_index(led, X.shape)
    return numbers


def cells(index, mode):
    """For each place of x[index] the cell of x that it comes to, or None; by an array of cell numbers, one axis at a
    time."""
    parts = list(index) if isinstance(index, tuple) else [index]
    named = sum(p.ndim if isinstance(p, np.ndarray) and p.dtype == bool else p is not None and p is not Ellipsis
                and not isinstance(p, bool) for p in parts)  # fmt: skip
    if Ellipsis in [p for p in parts if not isinstance(p, np.ndarray)]:
        at = [p is Ellipsis for p in parts].index(True)
        parts[at : at + 1] = [slice(None)] * (X.ndim - named)
    numbers = surroundings(mode)
    axis, moved = 0, []
    for p in parts:
        if p is None or isinstance(p, bool):
            moved.append(p)
        elif isinstance(p, slice):
            moved.append(np.s_[20 : X.shape[axis] + 20] if p == slice(None) else slice(*(
                None if v is None else v + 20 for v in range_of(p, X.shape[axis])), p.step))  # fmt: skip
            axis += 1
        elif isinstance(p, np.ndarray) and p.dtype == bool:
            wide = np.zeros([n + 40 for n in p.shape], bool)
            wide[tuple(slice(20, n + 20) for n in p.shape)] = p
            moved.append(wide)
            axis += p.ndim
        else:
            moved.append(np.asarray(p) + 20 if not isinstance(p, int) else p + 20)
            axis += 1
    while axis < X.ndim:
        moved.append(np.s_[20 : X.shape[axis] + 20])
        axis += 1
    return numbers[tuple(moved)]


def range_of(part, size):
    start, stop, _ = part.indices(size)
    return start, stop


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_get(index, mode):
    want = cells(index, mode)
    got = knp.asarray(X).at[index].get(mode=mode, fill_value=-1.0)
    assert np.array_equal(np.asarray(got), np.where(want < 0, -1.0, X.ravel()[want]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_updates(index, mode):
    where = cells(index, mode)
    value = np.random.default_rng(0).uniform(0, 40, where.shape)
    x = knp.asarray(X)
    for how, ufunc in (("add", np.add), ("subtract", np.subtract), ("max", np.maximum), ("min", np.minimum)):
        want = X.ravel().copy()
        ufunc.at(want, where[where >= 0], value[where >= 0])
        got = np.asarray(getattr(x.at[index], how)(value, mode=mode))
        np.testing.assert_allclose(got, want.reshape(X.shape), rtol=1e-14, err_msg=how)
    want = X.ravel().copy()
    for cell, v in zip(where.ravel(), value.ravel()):
        if cell >= 0:
            want[cell] = v
    assert np.array_equal(np.asarray(x.at[index].set(value, mode=mode)), want.reshape(X.shape))
    if mode != "wrap" and np.unique(where[where >= 0]).size == (where >= 0).sum():  # each cell once
        for how, function in (("multiply", np.multiply), ("divide", np.divide), ("power", np.power)):
            want = X.ravel().copy()
            want[where[where >= 0]] = function(want[where[where >= 0]], 3.0)
            got = np.asarray(getattr(x.at[index], how)(3.0, mode=mode))
            np.testing.assert_allclose(got, want.reshape(X.shape), rtol=1e-15, err_msg=how)
    assert np.array_equal(np.asarray(x), X)


@given(
    st.lists(st.integers(-12, 12), max_size=6), st.sampled_from(MODES), st.sampled_from(["set", "add", "max", "min"])
)
@example([5, 5, -6], "drop", "set")
def test_updates_of_a_vector(ids, mode, how):
    x, values = np.arange(5.0), np.linspace(-3.0, 7.0, len(ids))
    want = x.copy()
    for i, v in zip(ids, values):
        p = place(i, 5, mode)
        if p is not None:
            want[p] = {"set": v, "add": want[p] + v, "max": max(want[p], v), "min": min(want[p], v)}[how]
    got = getattr(knp.asarray(x).at[np.array(ids, int)], how)(values, mode=mode)
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-15)


def test_extrema_without_a_mode():
    x = knp.asarray([1.0, 5.0, 2.0])
    assert x.at[[0, 0, 2]].max(knp.asarray([4.0, 3.0, 0.0])).tolist() == [4.0, 5.0, 2.0]
    assert x.at[1:].min(2.5).tolist() == [1.0, 2.5, 2.0]
    assert knp.asarray([3, -1]).at[0].max(7).tolist() == [7, -1]
    assert x.at[:2].apply(knp.sqrt).tolist() == [1.0, np.float32(5) ** np.float32(0.5), 2.0]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_there_has_no_element(mode):
    x = knp.zeros((0, 3))
    if mode in ("clip", "wrap"):
        for f in (x.at[IDS].get, lambda mode: x.at[IDS].set(1.0, mode=mode)):
            with pytest.raises(IndexOutOfBounds, match="axis 0 of size 0"):
                f(mode=mode)
        return
    assert x.at[IDS].get(mode=mode).shape == (9, 3) and np.isnan(np.asarray(x.at[IDS].get(mode=mode))).all()
    for how in ("set", "add", "max"):
        assert getattr(x.at[IDS], how)(1.0, mode=mode).shape == (0, 3)
        assert getattr(knp.zeros((2, 0)).at[IDS, IDS], how)(1.0, mode=mode).shape == (2, 0)


def test_promised_indices_are_checked():
    x = knp.asarray(X)
    assert np.array_equal(np.asarray(x.at[1].get(mode="promise_in_bounds")), X[1])
    for f in (x.at[7].get, lambda mode: x.at[7].add(1.0, mode=mode)):
        with pytest.raises(IndexOutOfBounds):
            f(mode="promise_in_bounds")


# --- transformations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["clip", "wrap", "fill"])
def test_derivatives_of_reading(mode):
    check_grads(lambda x: knp.take(x, IDS, axis=1, mode=mode, fill_value=0.5), (X,), order=2)
    check_grads(lambda x: x.at[IDS, :, 9].get(mode=mode, fill_value=0.5), (X,), order=2)
    ids = np.random.default_rng(0).integers(-9, 9, (3, 4, 2))
    check_grads(lambda x: knp.take_along_axis(x, ids, axis=1, mode=mode, fill_value=0.5), (X,), order=2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["set", "add", "max", "min"])
def test_derivatives_of_updates(how, mode):
    v = np.random.default_rng(1).uniform(0, 40, (9, 4, 2))
    check_grads(lambda x, v: getattr(x.at[IDS], how)(v, mode=mode) ** 2, (X, v), order=2)


def test_a_filled_element_spoils_no_derivative():
    g = knet.grad(lambda x: knp.nansum(knp.take(x, [0, 9], mode="fill")))(knp.asarray([2.0, 3.0]))
    assert g.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("mode", MODES)
def test_vmap(mode):
    x = knp.asarray(X)
    ids = knp.asarray([[0, 9], [-8, 1], [2, -1]])
    if mode != "drop":
        got = knet.vmap(lambda x, i: knp.take(x, i, axis=0, mode=mode, fill_value=0.0))(x, ids)
        assert np.array_equal(
            np.asarray(got), [knp.take(a, i, axis=0, mode=mode, fill_value=0.0) for a, i in zip(x, ids)]
        )
    for how in ("set", "add", "max"):
        got = knet.vmap(lambda x, i, how=how: getattr(x.at[i], how)(5.0, mode=mode))(x, ids)
        assert np.array_equal(np.asarray(got), [getattr(a.at[i], how)(5.0, mode=mode) for a, i in zip(x, ids)])


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "error", "text"),
    [
        (
            lambda x: knp.take(x, IDS, mode="drop"),
            ArgumentError,
            "take: mode='drop': it is one of 'raise', 'clip', 'wr",
        ),
        (lambda x: knp.take_along_axis(x, knp.zeros((1, 1, 1), dtype=int), mode=None), ArgumentError, "mode=None"),
        (lambda x: x.at[0].get(mode="no"), ArgumentError, r"x.at\[...\].get: mode='no': .*'promise_in_bounds'"),
        (lambda x: x.at[0].set(1.0, mode="no"), ArgumentError, r"x.at\[...\].set: mode='no'"),
        (
            lambda x: knp.index_update(x, 0, 1.0, how="no"),
            ArgumentError,
            "index_update: how='no': it is one of 'set', 'a",
        ),
        (lambda x: x.at[0].max(knp.ones(3)), ShapeError, r"value \[3\] does not broadcast to the selected \[4, 2\]"),
        (lambda x: x.at[9].set(knp.ones(3), mode="drop"), ShapeError, r"value \[3\] does not broadcast"),
        (lambda x: knp.take(x, [0.5], mode="clip"), DTypeError, "an index is an integer"),
        (lambda x: x.at[0, 0, 0, 0].get(mode="clip"), IndexOutOfBounds, "4 indices for x"),
    ],
)
def test_errors(f, error, text):
    with pytest.raises(error, match=text):
        f(knp.asarray(X))
