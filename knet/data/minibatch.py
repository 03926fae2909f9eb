"""Minibatches: an in-memory data set cut into batches, in order or shuffled by a key."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np


def minibatch(
    x: Any,
    y: Any = None,
    batch_size: int | None = None,
    *,
    key: Any = None,
    epochs: int | None = 1,
    partial: bool = False,
) -> Minibatches:
    """An iterable of batches `(x[rows], y[rows])`, or of `x[rows]` alone without y.

    Batch b of an epoch holds rows `order[b * batch_size : (b + 1) * batch_size]`, where order is 0, 1, ..., N - 1,
    or with a key a fresh permutation of it for each epoch, a function of (key, epoch) only. Iterating again
    starts again at epoch 0 and gives the same batches: pass `epochs`, not a loop around the loop, for new orders.

    Args:
        x: `[N, ...]`, anything with a shape whose first axis takes slices and integer arrays (NumPy arrays, memory
            maps, `knet.Array`), or anything with a length that takes integer arrays. Lists, tuples and data frames
            are converted by `numpy.asarray`.
        y: `[N, ...]` likewise, or None.
        batch_size: rows in a batch, 1 to N (any positive number with partial).
        key: None for the given order; a random key (uint64 `[2]`) or an int in 0 to 2**64 - 1 to shuffle.
        epochs: passes over the data, at least 1; None to go on forever.
        partial: whether a last, smaller batch is kept when batch_size does not divide N. By default it is dropped, so
            that all batches have one shape (and a compiled step is compiled once).

    Returns:
        A re-iterable `Minibatches`. The dtype of x and y is kept. Unshuffled batches of NumPy arrays are views,
        shuffled ones are copies.

    Raises:
        TypeError: batch_size is missing or not an int; x or y has no length.
        ValueError: x and y differ in length; batch_size, epochs or key is out of range; there are no rows.

    Example:
        >>> x, y = np.arange(10).reshape(5, 2), np.arange(5)
        >>> data = minibatch(x, y, 2, epochs=3)
        >>> len(data), data.batches_per_epoch
        (6, 2)
        >>> [labels.tolist() for _, labels in minibatch(x, y, 2, partial=True)]
        [[0, 1], [2, 3], [4]]
        >>> sorted(int(label) for _, labels in minibatch(x, y, 1, key=0) for label in labels)
        [0, 1, 2, 3, 4]
    """
    return Minibatches(x, y, batch_size, key=key, epochs=epochs, partial=partial)


class Minibatches:
    """The batches of an in-memory data set; made by `minibatch`, which explains the arguments.

    `len(data)` is the number of batches of all epochs (a TypeError when they are endless), and
    `data.epoch(i)` iterates over the batches of epoch i alone, for instance to resume a training run.
    """

    def __init__(self, x: Any, y: Any, batch_size: int | None, *, key: Any, epochs: int | None, partial: bool) -> None:
        if batch_size is None:
            hint = f"minibatch(x, None, {y})" if isinstance(y, int) else "minibatch(x, y, 100)"
            raise TypeError(f"minibatch: batch_size is missing, it comes third.\n  fix: {hint}.")
        self.x, self.y = _indexable("x", x), None if y is None else _indexable("y", y)
        self.batch_size = _positive("batch_size", batch_size)
        self.epochs = None if epochs is None else _positive("epochs", epochs)
        self.partial = partial
        self._key = None if key is None else _key_words(key)
        self._rows = _length(self.x)
        if self.y is not None and _length(self.y) != self._rows:
            raise ValueError(
                f"minibatch: x {_shape(self.x)} and y {_shape(self.y)} must have the same number of instances,"
                f" {self._rows} and {_length(self.y)} came.\n  fix: put the instances on the first axis of both."
            )
        if self._rows == 0:
            raise ValueError(f"minibatch: x {_shape(self.x)} has no instances.\n  fix: check how the data are loaded.")
        if self._rows < self.batch_size and not partial:
            raise ValueError(
                f"minibatch: batch_size {self.batch_size} is more than the {self._rows} instances of x"
                f" {_shape(self.x)}, so there would be no batch at all.\n"
                f"  fix: minibatch(..., partial=True), or batch_size={self._rows} or less."
            )

    @property
    def batches_per_epoch(self) -> int:
        """The number of batches in one pass over the data."""
        return math.ceil(self._rows / self.batch_size) if self.partial else self._rows // self.batch_size

    def __len__(self) -> int:
        if self.epochs is None:
            raise TypeError("len(minibatch(..., epochs=None)): the batches are endless.\n  fix: use batches_per_epoch.")
        return self.batches_per_epoch * self.epochs

    def __iter__(self) -> Iterator[Any]:
        epoch = 0
        while self.epochs is None or epoch < self.epochs:
            yield from self.epoch(epoch)
            epoch += 1

    def epoch(self, epoch: int) -> Epoch:
        """The batches of one epoch, counted from 0, as an iterable with a length; epochs beyond `epochs` exist too.

        Example:
            >>> data = minibatch(np.arange(6), None, 3, key=1)
            >>> [batch.tolist() for batch in data.epoch(0)] == [batch.tolist() for batch in data]
            True
        """
        return Epoch(self, epoch)

    def _batches(self, epoch: int) -> Iterator[Any]:
        order = None if self._key is None else host_generator(self._key, epoch).permutation(self._rows)
        for batch in range(self.batches_per_epoch):
            start = batch * self.batch_size
            stop = min(start + self.batch_size, self._rows)
            rows = slice(start, stop) if order is None else order[start:stop]
            yield _take(self.x, rows) if self.y is None else (_take(self.x, rows), _take(self.y, rows))

    def __repr__(self) -> str:
        arrays = f"x {_shape(self.x)}" if self.y is None else f"x {_shape(self.x)}, y {_shape(self.y)}"
        order = "in order" if self._key is None else "shuffled"
        epochs = "endless epochs" if self.epochs is None else f"{self.epochs} epoch{'s' * (self.epochs > 1)}"
        return f"<Minibatches of {self.batch_size}: {arrays}, {order}, {self.batches_per_epoch} batches x {epochs}>"


class Epoch:
    """One epoch of :class:`Minibatches`: iterable any number of times, with the same batches."""

    def __init__(self, data: Minibatches, number: int) -> None:
        self._data = data
        self._number = number

    def __len__(self) -> int:
        return self._data.batches_per_epoch

    def __iter__(self) -> Iterator[Any]:
        return self._data._batches(self._number)


def host_generator(key: Any, stream: int = 0) -> np.random.Generator:
    """A NumPy generator on the host, a function of a key and the number of a stream (an epoch, say) only.

    The key is the key of a Philox generator and the stream the highest word of its counter: two streams of one key
    are 2**192 numbers apart.

    Args:
        key: a random key (uint64 `[2]`), or an int in 0 to 2**64 - 1.
        stream: an int in 0 to 2**64 - 1.

    Raises:
        ValueError: the key is neither.
    """
    counter = np.array([0, 0, 0, stream], np.uint64)
    return np.random.Generator(np.random.Philox(key=_key_words(key), counter=counter))


def _key_words(key: Any) -> np.ndarray:
    """The two uint64 of a key; an int k stands for the words k, 0."""
    words = np.asarray(key) if not isinstance(key, int) or 0 <= key < 2**64 else np.empty(0)
    if words.shape == () and words.dtype.kind in "iu" and words >= 0:
        words = np.array([words, 0], np.uint64)
    if words.shape != (2,) or words.dtype.kind not in "iu":
        raise ValueError(
            f"key: {key!r} is neither a random key (uint64 [2]) nor an int in 0 to 2**64 - 1.\n"
            "  fix: key=knet.random.key(0), or key=0."
        )
    return words.astype(np.uint64)


def _indexable(name: str, data: Any) -> Any:
    if isinstance(data, list | tuple) or hasattr(data, "iloc"):  # a data frame's [] would select columns
        data = np.asarray(data)
    if getattr(data, "shape", None) == () or not hasattr(data, "__len__"):
        raise TypeError(
            f"minibatch: {name} is a {type(data).__name__} without a first axis to cut into batches.\n"
            "  fix: minibatch(x, y, batch_size), or minibatch(x, None, batch_size), with arrays x and y."
        )
    return data


def _length(data: Any) -> int:
    return int(data.shape[0]) if hasattr(data, "shape") else len(data)


def _shape(data: Any) -> str:
    return str(list(data.shape)) if hasattr(data, "shape") else f"({len(data)} instances)"


def _take(data: Any, rows: Any) -> Any:
    if isinstance(rows, slice) and not hasattr(data, "shape"):
        rows = np.arange(rows.start, rows.stop)
    return data[rows]


def _positive(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"minibatch: {name} is {value!r}, it must be an int.\n  fix: {name}=int({name}), or leave it out."
        ) from None
    if number < 1:
        raise ValueError(f"minibatch: {name} is {number}, it must be at least 1.\n  fix: {name}=1 or more.")
    return number
