"""The laws of minibatches: coverage, order, reproducibility, lengths, and the errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knet.data import minibatch
from knet.data.minibatch import host_generator

KEYS = (
    st.none()
    | st.integers(0, 2**64 - 1)
    | st.tuples(*[st.integers(0, 2**64 - 1)] * 2).map(lambda words: np.array(words, np.uint64))
)


@st.composite
def settings_of_minibatch(draw):
    rows = draw(st.integers(1, 40))
    partial = draw(st.booleans())
    size = draw(st.integers(1, 50 if partial else rows))
    return rows, size, {"key": draw(KEYS), "epochs": draw(st.integers(1, 3)), "partial": partial}


def labels_of(data) -> list[list[int]]:
    return [batch.tolist() for batch in data]


@given(settings_of_minibatch())
def test_each_epoch_holds_each_instance_at_most_once_and_all_of_them_with_partial(settings):
    rows, size, options = settings
    data = minibatch(np.arange(rows), None, size, **options)
    batches = labels_of(data)
    assert len(batches) == len(data) == data.batches_per_epoch * options["epochs"]
    for number in range(options["epochs"]):
        start = number * data.batches_per_epoch
        epoch = batches[start : start + data.batches_per_epoch]
        seen = list(itertools.chain(*epoch))
        assert len(seen) == len(set(seen)) == (rows if options["partial"] else rows - rows % size)
        assert set(seen) <= set(range(rows))
        assert all(len(batch) == size for batch in epoch[:-1])
        assert len(epoch[-1]) == (rows % size or size if options["partial"] else size)
        if options["key"] is None:
            assert seen == list(range(len(seen)))


@given(settings_of_minibatch())
def test_iterating_again_gives_the_same_batches_and_epochs_can_be_had_one_by_one(settings):
    rows, size, options = settings
    data = minibatch(np.arange(rows), None, size, **options)
    first = labels_of(data)
    assert labels_of(data) == first
    assert labels_of(minibatch(np.arange(rows), None, size, **options)) == first
    assert list(itertools.chain(*(labels_of(data.epoch(i)) for i in range(options["epochs"])))) == first


@given(settings_of_minibatch())
def test_x_and_y_stay_together(settings):
    rows, size, options = settings
    x = np.random.default_rng(0).normal(size=(rows, 2, 3)).astype(np.float32)
    for images, labels in minibatch(x, np.arange(rows), size, **options):
        assert np.array_equal(images, x[labels])


def test_orders_differ_between_epochs_and_keys_and_from_the_given_order():
    orders = [
        tuple(next(iter(minibatch(np.arange(100), None, 100, key=key, epochs=3).epoch(epoch))).tolist())
        for key in (0, 1, np.array([0, 1], np.uint64), np.array([1, 1], np.uint64))
        for epoch in range(3)
    ]
    assert len({*orders, tuple(range(100))}) == 13


def test_every_position_is_equally_likely():
    first = [int(next(iter(minibatch(np.arange(5), None, 1, key=0).epoch(epoch)))[0]) for epoch in range(1000)]
    counts = np.bincount(first, minlength=5)
    assert ((counts - 200) ** 2 / 200).sum() < 18.5  # chi-squared with 4 degrees of freedom: one in a thousand


def test_an_int_key_is_the_key_of_these_words():
    x = np.arange(20)
    assert labels_of(minibatch(x, None, 5, key=7)) == labels_of(minibatch(x, None, 5, key=np.array([7, 0], np.uint64)))
    assert labels_of(minibatch(x, None, 5, key=7)) == labels_of(minibatch(x, None, 5, key=np.int32(7)))


def test_the_order_of_a_key_never_changes():
    assert host_generator(0).permutation(8).tolist() == [5, 0, 6, 1, 7, 2, 4, 3]
    assert host_generator(np.array([1, 2], np.uint64), 3).permutation(8).tolist() == [4, 2, 0, 5, 1, 6, 3, 7]


def test_unshuffled_batches_are_views_and_shuffled_ones_are_not():
    x = np.zeros((6, 2))
    assert all(np.shares_memory(batch, x) for batch in minibatch(x, None, 2))
    assert not any(np.shares_memory(batch, x) for batch in minibatch(x, None, 2, key=0))


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "u1", "?", "c8"])
@pytest.mark.parametrize("key", [None, 0])
def test_the_dtype_is_kept(dtype, key):
    assert next(iter(minibatch(np.zeros(4, dtype), None, 2, key=key))).dtype == np.dtype(dtype)


def test_endless_epochs_go_on_and_have_no_length():
    data = minibatch(np.arange(4), None, 2, key=3, epochs=None)
    batches = [batch.tolist() for batch in itertools.islice(data, 8)]
    assert batches == labels_of(minibatch(np.arange(4), None, 2, key=3, epochs=4))
    with pytest.raises(TypeError, match=r"(?s)the batches are endless.*fix: use batches_per_epoch"):
        len(data)
    assert data.batches_per_epoch == 2


def test_lists_frames_and_objects_with_only_a_length_are_data_too():
    class Rows:
        def __len__(self):
            return 5

        def __getitem__(self, rows):
            assert isinstance(rows, np.ndarray) and rows.dtype.kind == "i"
            return 10 * rows

    class Frame:  # like a data frame: square brackets select columns
        iloc = None

        def __array__(self, dtype=None, copy=None):
            return np.arange(10).reshape(5, 2)

    for key in (None, 4):
        for x, y, frame in zip(
            minibatch(Rows(), None, 2, key=key),
            minibatch([0, 10, 20, 30, 40], None, 2, key=key),
            minibatch(Frame(), None, 2, key=key),
            strict=True,
        ):
            assert x.tolist() == y.tolist() == (frame[:, 0] * 5).tolist()


def test_the_repr_says_it_all():
    x, y = np.zeros((10, 3)), np.zeros(10)
    assert repr(minibatch(x, y, 4, epochs=2)) == "<Minibatches of 4: x [10, 3], y [10], in order, 2 batches x 2 epochs>"
    assert (
        repr(minibatch(x, None, 4, key=0, epochs=None, partial=True))
        == "<Minibatches of 4: x [10, 3], shuffled, 3 batches x endless epochs>"
    )
    assert "1 epoch>" in repr(minibatch(x, y, 4))


X, Y = np.zeros((10, 3)), np.zeros(10)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: minibatch(X, Y), TypeError, r"batch_size is missing, it comes third.\n  fix: minibatch\(x, y, 100\)"),
        (lambda: minibatch(X, 4), TypeError, r"batch_size is missing, it comes third.\n  fix: minibatch\(x, None, 4\)"),
        (lambda: minibatch(X, Y, 2.5), TypeError, r"batch_size is 2.5, it must be an int.\n  fix: "),
        (lambda: minibatch(X, Y, 0), ValueError, r"batch_size is 0, it must be at least 1.\n  fix: "),
        (lambda: minibatch(X, Y, 2, epochs=0), ValueError, r"epochs is 0, it must be at least 1.\n  fix: "),
        (lambda: minibatch(X, Y, 2, epochs="3"), TypeError, r"epochs is '3', it must be an int.\n  fix: "),
        (lambda: minibatch(X, Y[:7], 2), ValueError, r"x \[10, 3\] and y \[7\] must .* 10 and 7 came.\n  fix: "),
        (lambda: minibatch(X, Y, 11), ValueError, r"batch_size 11 .* 10 instances .*no batch at all.\n  fix: .*=10 or"),
        (lambda: minibatch(X[:0], Y[:0], 1, partial=True), ValueError, r"x \[0, 3\] has no instances.\n  fix: "),
        (lambda: minibatch(np.float32(1), None, 1), TypeError, r"x is a float32 without a first axis .*\n  fix: "),
        (lambda: minibatch(X, iter(Y), 1), TypeError, r"y is a iterator without a first axis|y is a .*iterator"),
        (lambda: minibatch(X, Y, 2, key=-1), ValueError, r"key: -1 is neither a random key .*\n  fix: key=knet.random"),
        (lambda: minibatch(X, Y, 2, key=2**64), ValueError, r"key: 18446744073709551616 is neither .*\n  fix: "),
        (lambda: minibatch(X, Y, 2, key=0.5), ValueError, r"key: 0.5 is neither .*\n  fix: "),
        (lambda: minibatch(X, Y, 2, key=np.zeros(3, np.uint64)), ValueError, r"key: array.* is neither .*\n  fix: "),
    ],
)
def test_errors_say_what_came_and_what_to_do(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_an_epoch_has_a_length_and_can_be_walked_again():
    data = minibatch(np.arange(10), None, 3, key=1, partial=True)
    epoch = data.epoch(5)
    assert len(epoch) == 4
    first, second = ([batch.tolist() for batch in epoch] for _ in range(2))
    assert first == second and sorted(itertools.chain(*first)) == list(range(10))
