"""The models that are trained, as NumPy arrays: first parameters and batches, the same ones for every library.

A matrix is [in, out] under the key "w", a kernel [O, C, K, K], a table of embeddings [V, D] under "table".
N batch, C channels, T time, D features, V vocabulary, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

BATCHES = 14  # as many as Hiawatha has of 128 x 100 characters
HIDDEN = 256  # of CharLM: embedding and LSTM
LAYERS, WIDTH, HEADS, CONTEXT = 4, 128, 4, 128  # of GPT
CODES = 20  # of the VAE
STAGES = ((16, 1), (32, 2), (64, 2))  # of ResNet-8: channels, stride
EPSILON = 1e-5  # of batch and layer normalisation


class Problem(NamedTuple):
    """First parameters (dicts and lists of arrays), batches (x, y), optimizer ("sgd" or "adam") and learning rate."""

    params: Any
    batches: list[tuple[np.ndarray, np.ndarray]]
    optimizer: str
    rate: float


class Label(NamedTuple):
    """What a row of a table says, its unit, and what seconds are multiplied with."""

    text: str
    unit: str
    scale: float


def problem(model: str, count: int = BATCHES, real: bool = True) -> tuple[Problem, str]:
    """A model's problem with ``count`` batches, and where its data come from: chance, if the real are not here."""
    _, make, source = MODELS[model]
    if real:
        try:
            return make(count, SOURCES[source]()), source
        except OSError:  # the data are nowhere
            pass
    return make(count, CHANCE[source]()), f"chance instead of {source}"


def mapped(function: Callable[[str, np.ndarray], Any], params: Any, key: str = "") -> Any:
    """The tree with function(key, array) in place of each array; a list's members have the key of the list."""
    if isinstance(params, dict):
        return {name: mapped(function, value, name) for name, value in params.items()}
    if isinstance(params, list):
        return [mapped(function, value, key) for value in params]
    return function(key, params)


def leaves(params: Any) -> list[Any]:
    """The arrays of a tree, in order."""
    if isinstance(params, dict | list):
        return [leaf for value in (params.values() if isinstance(params, dict) else params) for leaf in leaves(value)]
    return [params]


# --- data ------------------------------------------------------------------------------------------------------------


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [N, 1, 28, 28] and digits int64 [N]."""
    from knet import data  # here and below, because a process that measures another library must not import Knet

    return data.mnist()[0]


def text(name: str) -> np.ndarray:
    """Characters int64 [N], numbered by their order in Unicode."""
    from knet import data

    return np.unique(np.array(list(data.text(name))), return_inverse=True)[1].astype(np.int64)


def housing() -> tuple[np.ndarray, np.ndarray]:
    """Normalised properties [506, 13] and prices [506]."""
    from knet import data

    return data.housing()


SOURCES: dict[str, Callable[[], Any]] = {
    "Housing": housing,
    "MNIST": mnist,
    "Hiawatha": lambda: text("hiawatha"),
    "Shakespeare": lambda: text("shakespeare"),
}


def chance(*shape: int) -> np.ndarray:
    """Numbers of a normal distribution, float32."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


# Images of pixels that are not 0, because arithmetic on zeros is not typical.
CHANCE: dict[str, Callable[[], Any]] = {
    "Housing": lambda: (chance(506, 13), 22 + chance(506)),
    "MNIST": lambda: (np.abs(chance(3000, 1, 28, 28)) % 1, np.arange(3000) * 7 % 10),
    "Hiawatha": lambda: np.random.default_rng(0).integers(0, 63, 184138),
    "Shakespeare": lambda: np.random.default_rng(0).integers(0, 65, 184138),
}


def cut(x: np.ndarray, y: np.ndarray, size: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first ``count`` batches, copied, so that what is not used can go."""
    return [(x[i : i + size].copy(), y[i : i + size].copy()) for i in range(0, size * count, size)]


# --- parameters ------------------------------------------------------------------------------------------------------


class Draw:
    """First values of parameters from one stream of random numbers."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)

    def normal(self, stddev: float, *shape: int) -> np.ndarray:
        return (stddev * self.rng.standard_normal(shape)).astype(np.float32)

    def dense(self, inputs: int, outputs: int, stddev: float | None = None) -> dict[str, np.ndarray]:
        """Matrix of variance 2 / (in + out) if not told otherwise, and a bias of zeros."""
        stddev = (2 / (inputs + outputs)) ** 0.5 if stddev is None else stddev
        return {"w": self.normal(stddev, inputs, outputs), "b": np.zeros(outputs, np.float32)}

    def conv(self, channels: int, inputs: int, window: int, bias: bool = False) -> dict[str, np.ndarray]:
        """Kernel of variance 2 / fan in; a bias of zeros, or what batch normalisation begins with."""
        w = {"w": self.normal((2 / (inputs * window**2)) ** 0.5, channels, inputs, window, window)}
        return w | ({"b": np.zeros(channels, np.float32)} if bias else norm(channels))


def norm(features: int) -> dict[str, np.ndarray]:
    """A normalisation's first scale and shift."""
    return {"scale": np.ones(features, np.float32), "shift": np.zeros(features, np.float32)}


# --- the models ------------------------------------------------------------------------------------------------------


def linreg(count: int, rows: Any) -> Problem:
    x, y = rows
    params = {"w": Draw().normal(0.1, 13), "b": np.zeros((), np.float32)}
    return Problem(params, [(x.astype(np.float32), y.astype(np.float32))], "sgd", 0.1)


def softmax(count: int, images: Any) -> Problem:
    x, y = images
    return Problem(Draw().dense(784, 10), cut(x.reshape(len(x), 784), y, 100, count), "sgd", 0.5)


def mlp(count: int, images: Any) -> Problem:
    draw, (x, y) = Draw(), images
    params = [draw.dense(784, 64), draw.dense(64, 10)]
    return Problem(params, cut(x.reshape(len(x), 784), y, 100, count), "sgd", 0.5)


def lenet(count: int, images: Any) -> Problem:
    draw = Draw()
    params = [
        draw.conv(20, 1, 5, bias=True),
        draw.conv(50, 20, 5, bias=True),
        draw.dense(800, 500),
        draw.dense(500, 10),
    ]
    return Problem(params, cut(*images, 100, count), "sgd", 0.05)


def charlm(count: int, ids: Any) -> Problem:
    """128 streams side by side; a batch goes on where the one before it ended, with a state of zeros."""
    draw, vocabulary, streams, steps = Draw(), int(ids.max()) + 1, 128, 100
    length = (len(ids) - 1) // streams
    x, y = (part[: length * streams].reshape(streams, length) for part in (ids[:-1], ids[1:]))
    starts = [i % (length // steps) * steps for i in range(count)]
    params = {
        "table": draw.normal(0.1, vocabulary, HIDDEN),
        "lstm": {"wx": draw.normal(HIDDEN**-0.5, HIDDEN, 4 * HIDDEN), **_recurrent(draw)},
        "dense": draw.dense(HIDDEN, vocabulary),
    }
    return Problem(params, [(x[:, s : s + steps].copy(), y[:, s : s + steps].copy()) for s in starts], "adam", 2e-3)


def _recurrent(draw: Draw) -> dict[str, np.ndarray]:
    """The LSTM's gates are input, forget, cell, output; that of forgetting starts open."""
    b = np.zeros(4 * HIDDEN, np.float32)
    b[HIDDEN : 2 * HIDDEN] = 1
    return {"wh": draw.normal(HIDDEN**-0.5, HIDDEN, 4 * HIDDEN), "b": b}


def resnet8(count: int, images: Any) -> Problem:
    """MNIST with a border of zeros and its channel three times: 3 x 32 x 32."""
    draw, (x, y) = Draw(), images
    x = np.pad(x[: 64 * count], ((0, 0), (0, 0), (2, 2), (2, 2))).repeat(3, axis=1)
    blocks, inputs = [], 16
    for channels, stride in STAGES:
        block = {"conv1": draw.conv(channels, inputs, 3), "conv2": draw.conv(channels, channels, 3)}
        if stride != 1:
            block["shortcut"] = draw.conv(channels, inputs, 1)
        blocks.append(block)
        inputs = channels
    params = {"stem": draw.conv(16, 3, 3), "blocks": blocks, "dense": draw.dense(64, 10)}
    return Problem(params, cut(x, y, 64, count), "adam", 3e-4)


def gpt(count: int, ids: Any) -> Problem:
    """16 passages of 128 characters from anywhere in the text."""
    draw, vocabulary = Draw(), int(ids.max()) + 1
    small = 0.02  # standard deviation of all matrices
    blocks = [
        {
            "norm1": norm(WIDTH),
            "qkv": draw.dense(WIDTH, 3 * WIDTH, small),
            "out": draw.dense(WIDTH, WIDTH, small),
            "norm2": norm(WIDTH),
            "up": draw.dense(WIDTH, 4 * WIDTH, small),
            "down": draw.dense(4 * WIDTH, WIDTH, small),
        }
        for _ in range(LAYERS)
    ]
    params = {
        "table": draw.normal(small, vocabulary, WIDTH),
        "positions": draw.normal(small, CONTEXT, WIDTH),
        "blocks": blocks,
        "norm": norm(WIDTH),
        "head": draw.dense(WIDTH, vocabulary, small),
    }
    starts = draw.rng.integers(0, len(ids) - CONTEXT - 1, (count, 16, 1)) + np.arange(CONTEXT)
    return Problem(params, [(ids[i], ids[i + 1]) for i in starts], "adam", 1e-3)


def vae(count: int, images: Any) -> Problem:
    """In place of labels the noise that codes are drawn with, so that all libraries draw the same."""
    draw, (x, _) = Draw(), images
    params = {
        "encoder": draw.dense(784, 400),
        "code": draw.dense(400, 2 * CODES),
        "decoder": draw.dense(CODES, 400),
        "out": draw.dense(400, 784),
    }
    noise = draw.normal(1.0, 100 * count, CODES)
    return Problem(params, cut(x.reshape(len(x), 784), noise, 100, count), "adam", 1e-3)


MODELS: dict[str, tuple[Label, Callable[[int, Any], Problem], str]] = {
    "linreg": (Label("LinReg, Housing (506)", "us", 1e6), linreg, "Housing"),
    "softmax": (Label("Softmax, MNIST (100)", "us", 1e6), softmax, "MNIST"),
    "mlp": (Label("MLP 64, MNIST (100)", "us", 1e6), mlp, "MNIST"),
    "lenet": (Label("LeNet, MNIST (100)", "ms", 1e3), lenet, "MNIST"),
    "charlm": (Label("CharLM LSTM 256, Hiawatha (128 x 100)", "ms", 1e3), charlm, "Hiawatha"),
    "resnet8": (Label("ResNet-8, MNIST as 3 x 32 x 32 (64)", "ms", 1e3), resnet8, "MNIST"),
    "gpt": (Label("GPT 4 x 128, Shakespeare (16 x 128)", "ms", 1e3), gpt, "Shakespeare"),
    "vae": (Label("VAE 400-20, MNIST (100)", "us", 1e6), vae, "MNIST"),
}
