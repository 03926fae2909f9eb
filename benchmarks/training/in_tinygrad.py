"""Four models in tinygrad: a step under TinyJit, on the device that the variable DEV names when this is imported."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from tinygrad import Context, Tensor, TinyJit, dtypes
from tinygrad.nn import optim

from .problems import Problem, leaves, mapped


def dense(p, x):
    return x.linear(p["w"], p["b"])  # its matrix is [in, out]


# --- the losses ------------------------------------------------------------------------------------------------------


def linreg(p, x, y):
    return (x @ p["w"] + p["b"] - y).square().mean()


def softmax(p, x, y):
    return dense(p, x).sparse_categorical_crossentropy(y)


def mlp(p, x, y):
    return dense(p[1], dense(p[0], x).relu()).sparse_categorical_crossentropy(y)


def lenet(p, x, y):
    for layer in p[:2]:
        x = x.conv2d(layer["w"], layer["b"]).relu().max_pool2d()  # of 2 x 2
    return dense(p[3], dense(p[2], x.flatten(1)).relu()).sparse_categorical_crossentropy(y)


LOSSES = {loss.__name__: loss for loss in (linreg, softmax, mlp, lenet)}


# --- the step --------------------------------------------------------------------------------------------------------


def tensor(array: Any) -> Any:
    """The array in the device's memory; labels as int32, which is faster."""
    return Tensor(array, dtype=dtypes.int32 if array.dtype == np.int64 else None).clone().realize()


def train(model: str, problem: Problem, threads: int, variant: str = "") -> Callable[[], Any]:
    """A function that trains on the next batch and returns the loss."""
    loss = LOSSES[model]
    params = mapped(lambda _, w: tensor(np.atleast_1d(w)), problem.params)  # its optimizers update no scalars
    optimizer = optim.SGD(leaves(params), problem.rate)

    @TinyJit
    @Context(TRAINING=1)
    def step(x, y):
        optimizer.zero_grad()
        value = loss(params, x, y).backward()
        return value.realize(*optimizer.schedule_step())

    batches = itertools.cycle([(tensor(x), tensor(y)) for x, y in problem.batches])
    return lambda: step(*next(batches)).item()
