"""Indexing and indexed updates against NumPy, over random mixtures of every kind of index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import knet
import knet.numpy as knp


@st.composite
def slices(draw, size):
    bound = st.none() | st.integers(-size - 2, size + 2)
    return slice(draw(bound), draw(bound), draw(st.none() | st.integers(-3, 3).filter(bool)))


@st.composite
def arrays_of_places(draw, size, shape):
    count = int(np.prod(shape))
    places = draw(st.lists(st.integers(-size, size - 1), min_size=count, max_size=count))
    array = np.array(places, np.int64).reshape(shape)
    return draw(st.sampled_from([array, array.astype(np.int32), array.tolist() if array.ndim == 1 else array]))


@st.composite
def indexed(draw):
    """An array and an index into it that NumPy accepts."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=0, max_size=4)))
    x = (np.arange(int(np.prod(shape))) + 1.0).reshape(shape)
    common = draw(st.sampled_from([(3,), (1,), (2, 2), (0,), ()]))
    index: list = []
    axis = 0
    while axis < len(shape):
        kind = draw(st.sampled_from(["int", "slice", "array", "mask", "none", "stop", "one"]))
        size = shape[axis]
        if kind == "none":
            index.append(None)
            if sum(i is None for i in index) > 2:
                break
            continue
        if kind == "stop":
            break
        if kind == "mask":
            span = draw(st.integers(1, len(shape) - axis))
            sizes = shape[axis : axis + span]
            # As many true elements as broadcast with the other index arrays: one.
            mask = np.zeros(sizes, bool)
            mask[tuple(draw(st.integers(0, n - 1)) for n in sizes)] = True
            index.append(mask)
            axis += span
            continue
        if kind == "int":
            index.append(draw(st.integers(-size, size - 1)))
        elif kind == "slice":
            index.append(draw(slices(size)))
        else:
            index.append(draw(arrays_of_places(size, common if kind == "array" else (1,) * min(1, len(common)))))
        axis += 1
    if draw(st.booleans()):
        # ... may stand anywhere, for the axes that nothing else names.
        rest = len(shape) - axis
        place = draw(st.integers(0, len(index)))
        if rest == 0 or place == len(index):
            index.insert(place, Ellipsis)
    if len(index) == 1 and draw(st.booleans()):
        return x, index[0]
    return x, tuple(index)


def in_knet(index):
    """The same index with NumPy arrays turned into Knet arrays."""
    if isinstance(index, tuple):
        return tuple(map(in_knet, index))
    return knp.asarray(index) if isinstance(index, np.ndarray) else index


GRID = np.arange(24.0).reshape(2, 3, 4)


@given(indexed())
@example((GRID, (slice(None), 1, [0, 1])))
@example((GRID, (1, slice(None), [0, 1])))
@example((GRID, ([0, 1], slice(None), [0, 1])))
@example((GRID, (..., np.array([[0, 1]]), None, 0)))
@example((GRID, (None, GRID[:, :, 0] > 3, ..., slice(None, None, -2))))
@example((GRID, (Ellipsis, GRID[0] > 5)))
@example((GRID, (GRID[0, 0] > 100)[:2]))
@example((GRID, ()))
@example((np.array(3.0), ...))
@example((GRID, np.int32(1)))
@example((GRID, []))
def test_getitem(case):
    x, index = case
    want = x[index]
    for form in (index, in_knet(index)):
        got = knp.asarray(x)[form]
        assert got.dtype == knp.float64
        assert np.array_equal(np.asarray(got), want), f"x{list(x.shape)}[{index}]"
        parsed = knp.getitem(knp.asarray(x), form)  # what tracers and other backends go through
        assert np.array_equal(np.asarray(parsed), want), f"getitem(x{list(x.shape)}, {index})"


@given(indexed(), st.integers(0, 3))
@example((GRID, (slice(None, None, -1), 1, [0, 0])), 0)
@example((GRID, ([1, 1, 0], slice(None), [0, 0, 2])), 1)
@example((GRID, (slice(None), np.array([2, 0, 0]))), 0)  # rows of a transposed view
@example((GRID, (..., np.array([3, 1, 1]))), 0)
def test_set_and_add(case, variant):
    x, index = case
    target = x[index].shape
    value = np.arange(1.0, 1 + int(np.prod(target))).reshape(target) * 10
    if variant == 1 and value.ndim:
        value = value[:1]  # broadcasts
    if variant == 2:
        value = np.array(7.0)
    a = knp.asarray(x)

    want = x.copy()
    want[index] = value
    assert np.array_equal(np.asarray(a.at[in_knet(index)].set(value)), want), f"x{list(x.shape)}.at[{index}].set"

    want = x.copy()
    np.add.at(want, index, value)
    assert np.array_equal(np.asarray(a.at[in_knet(index)].add(value)), want), f"x{list(x.shape)}.at[{index}].add"

    want = x.copy()
    np.subtract.at(want, index, value)
    assert np.array_equal(np.asarray(a.at[index].subtract(value)), want), f"x{list(x.shape)}.at[{index}].subtract"
    assert np.array_equal(np.asarray(a), x), "the array itself has changed"


@given(indexed())
@example((GRID, ([1, 1, 0], slice(None), [0, 0, 2])))
def test_gradient_of_getitem_counts_how_often_each_element_is_read(case):
    x, index = case
    w = np.arange(1.0, 1 + int(np.prod(x[index].shape))).reshape(x[index].shape)
    got = knet.grad(lambda a: (a[in_knet(index)] * w).sum())(knp.asarray(x))
    want = np.zeros_like(x)
    np.add.at(want, index, w)
    assert np.array_equal(np.asarray(got), want), f"gradient of x{list(x.shape)}[{index}]"


@given(indexed())
@example((GRID, ([1, 1, 0], slice(None), [0, 0, 2])))
def test_gradients_of_updates(case):
    x, index = case
    target = x[index].shape
    u = np.linspace(1.0, 2.0, int(np.prod(target))).reshape(target)
    w = np.cos(np.arange(x.size)).reshape(x.shape)

    def loss(a, u, update):
        return (getattr(a.at[in_knet(index)], update)(u) * w).sum()

    ga, gu = knet.grad(loss, (0, 1))(knp.asarray(x), knp.asarray(np.asarray(u)), "add")
    assert np.array_equal(np.asarray(ga), w)
    assert np.array_equal(np.asarray(gu), w[index])

    ga, gu = knet.grad(loss, (0, 1))(knp.asarray(x), knp.asarray(np.asarray(u)), "set")
    kept = w.copy()
    kept[index] = 0
    assert np.array_equal(np.asarray(ga), kept)
    # Only the update that NumPy wrote last survives: find it by writing numbers.
    order = np.arange(u.size).reshape(target)
    written = np.full(x.shape, -1)
    written[index] = order
    assert np.array_equal(np.asarray(gu), np.where(written[index] == order, w[index], 0))


def test_multiply_divide_and_get():
    x = knp.asarray([1.0, 2.0, 4.0])
    assert x.at[1:].multiply(3.0).tolist() == [1.0, 6.0, 12.0]
    assert x.at[[0, 2]].divide(2.0).tolist() == [0.5, 2.0, 2.0]
    assert x.at[-1].get() == 4.0


def test_updates_keep_the_dtype_of_the_array():
    x = knp.zeros(3, dtype=knp.int32)
    assert x.at[0].set(2.7).dtype == knp.int32 and x.at[0].set(2.7).tolist() == [2, 0, 0]
    assert x.at[[0]].add(knp.asarray(2.0)).dtype == knp.int32


def test_python_numbers_are_not_rounded_to_single_precision_on_their_way():
    x = knp.zeros(2, dtype=knp.float64)
    updates = (x.at[0].set(0.1), x.at[[0]].set(0.1), x.at[0].add(0.1), x.at[[0]].add(0.1), x.at[0].subtract(-0.1))
    assert [float(y[0]) for y in updates] == [0.1] * 5
    assert float(knp.put_along_axis(x, knp.asarray([0]), 0.1)[0]) == 0.1


@pytest.mark.parametrize("index", [3, -4, (0, 5), [0, 3], ([0, -4],), (slice(None), [5])])
def test_out_of_bounds(index):
    x = knp.zeros((3, 5))
    for f in (lambda: x[index], lambda: x.at[index].set(1.0), lambda: x.at[index].add(1.0)):
        with pytest.raises(IndexError, match=r"(?s)index -?\d on axis \d of size \d.*\n  fix: "):
            f()


def test_the_message_names_the_axis_and_the_index():
    x = knp.zeros((3, 5))
    cases = (
        ((0, 5), "index 5 on axis 1 of size 5"),
        (([0, 3],), "index 3 on axis 0 of size 3"),
        (-4, "index -4 on axis 0"),
    )
    for index, text in cases:
        with pytest.raises(IndexError, match=text):
            x[index]
    with pytest.raises(IndexError, match=r"index 7 on axis 1 of size 5: an index must lie in \[-5, 4\]"):
        x[:, [7]]


@pytest.mark.parametrize(
    ("index", "text"),
    [
        ((0, 0, 0), "3 indices for x .3, 5., which has 2 axes"),
        (np.ones((2, 5), bool), r"mask \[2, 5\] on x \[3, 5\]"),
        ((slice(None), np.ones(3, bool)), r"mask \[3\] on x \[3, 5\] from axis 1"),
    ],
    ids=["too many", "mask", "mask on axis 1"],
)
def test_indices_that_do_not_fit(index, text):
    with pytest.raises(IndexError, match=text):
        knp.zeros((3, 5))[index]


@pytest.mark.parametrize("index", [1.0, "a", (slice(0.5, None),), np.array([0.5]), (..., ...)], ids=repr)
def test_no_index(index):
    with pytest.raises(TypeError, match="an index is an integer, a slice, None"):
        knp.zeros((3, 5))[index]


def test_index_arrays_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"(?s)int64 \[2\].*int64 \[3\].*do not broadcast"):
        knp.zeros((3, 5))[[0, 1], [0, 1, 2]]


def test_values_that_do_not_fit():
    x = knp.zeros((3, 5))
    for index in (0, [0, 1], slice(0, 2)):
        with pytest.raises(ValueError, match=r"value \[4\] does not broadcast to the selected \[.*5\]"):
            x.at[index].set(knp.ones(4))


def test_take():
    x = np.arange(12.0).reshape(3, 4)
    for axis in (None, 0, 1, -1):
        for ids in (np.array([0, -1, 2]), np.array([[1, 0], [2, 2]]), np.array(1)):
            got = knp.take(knp.asarray(x), ids, axis=axis)
            assert np.array_equal(np.asarray(got), np.take(x, ids, axis=axis))
    assert knp.take(knp.asarray(x), [0, 1], axis=1).shape == (3, 2)
    with pytest.raises(IndexError, match="index 4 on axis 1 of size 4"):
        knp.take(knp.asarray(x), [4], axis=1)


def test_take_along_axis():
    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    for axis in (0, 1, 2, -1):
        order = np.argsort(x, axis=axis)
        got = knp.take_along_axis(knp.asarray(x), knp.asarray(order), axis=axis)
        assert np.array_equal(np.asarray(got), np.take_along_axis(x, order, axis=axis))
    got = knp.take_along_axis(knp.asarray(x), knp.zeros((3, 1, 2), dtype=int), axis=1)
    assert np.array_equal(np.asarray(got), x[:, :1])


def test_nonzero_and_masks_inside_grad():
    x = knp.asarray([[0.0, 2.0], [3.0, 0.0]])
    assert [i.tolist() for i in knp.nonzero(x)] == [[0, 1], [1, 0]]
    assert knet.grad(lambda a: (a[a > 1] ** 2).sum())(x).tolist() == [[0.0, 4.0], [6.0, 0.0]]


def test_second_derivative_through_indexing():
    x = knp.asarray([1.0, 2.0, 3.0])
    ids = knp.asarray([0, 0, 2])

    def cubes(x):
        return (x[ids] ** 3).sum()

    got = knet.grad(lambda x: (knet.grad(cubes)(x) * knp.asarray([1.0, 10.0, 100.0])).sum())(x)
    assert got.tolist() == [2 * 6 * 1.0, 0.0, 600 * 3.0]
