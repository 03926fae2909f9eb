"""What is measured, as NumPy arrays, so that every library starts from the same values and sees the same data.

N batch, C channels, H height, W width, O outputs.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

BATCH = 100
BATCHES = 100
CHAIN = 100  # operations in a chain
# The chains: x * 0.9, x + 0.1 in turn, alone or followed by sin(x), tanh(x). In the first nearly all time is overhead;
# the second's derivatives need saved values, and several operations each.
CHAINS = {"arithmetic": 2, "mixed": 4}  # operations in a round

Params = dict[str, np.ndarray]


class Problem(NamedTuple):
    """Initial parameters, batches (images, labels), learning rate."""

    params: Params
    batches: list[tuple[np.ndarray, np.ndarray]]
    rate: float


def chain_input() -> np.ndarray:
    """The chain's x, float32 [4]."""
    return np.array([0.1, 0.2, 0.3, 0.4], np.float32)


def images(real: bool = True) -> tuple[np.ndarray, np.ndarray, str]:
    """Images float32 [N, 1, 28, 28], labels int64 [N], and where they come from: MNIST in KNET_DATA_DIR, or chance.

    Chance means pixels that are not zeros, because arithmetic on zeros and on ones that grow tiny is not typical.
    """
    count = BATCH * BATCHES
    root = os.environ.get("KNET_DATA_DIR")
    if root and real:
        from knet import data  # here, because what is measured must not import knet along with NumPy

        try:
            (x, y), _ = data.mnist(root)
            return x[:count], y[:count], "MNIST"
        except data.DatasetUnavailable:
            pass
    rng = np.random.default_rng(0)
    x = rng.random((count, 1, 28, 28), np.float32)
    return x, rng.integers(0, 10, count), "random images"


def problems(real: bool = True) -> tuple[dict[str, Problem], str]:
    """The three models by name, and where the images come from."""
    x, y, source = images(real)
    pictures = [(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, len(x), BATCH)]
    rows = [(a.reshape(BATCH, 784), b) for a, b in pictures]
    return {
        "softmax": Problem(_params(w=(784, 10), b=(10,)), rows, 0.5),
        "mlp": Problem(_params(w1=(784, 64), b1=(64,), w2=(64, 10), b2=(10,)), rows, 0.5),
        "lenet": Problem(
            _params(
                w1=(20, 1, 5, 5), b1=(20,), w2=(50, 20, 5, 5), b2=(50,),
                w3=(800, 500), b3=(500,), w4=(500, 10), b4=(10,),
            ),
            pictures, 0.1,
        ),
    }, source  # fmt: skip


def _params(**shapes: tuple[int, ...]) -> Params:
    """Biases 0, matrices and kernels uniform within sqrt(6 / (fan in + fan out))."""
    rng = np.random.default_rng(1)
    params = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            params[name] = np.zeros(shape, np.float32)
        else:
            taps = int(np.prod(shape[2:]))
            bound = np.sqrt(6.0 / (taps * (shape[0] + shape[1])))
            params[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    return params
