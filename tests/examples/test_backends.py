"""The examples on other devices than the CPU: unchanged, with the losses that they have there.

The data are the real ones; without them in KNET_DATA_DIR or in the cache the tests are skipped, for the stand-ins are
fewer than 50 batches.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

import knet
from knet import data, random

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = 50
TOLERANCE = 1e-4  # relative: sums in another order, 50 times one after the other
RATES = {"housing": (0.1, 0.1), "softmax": (0.5, 0.5), "mlp": (0.5, 0.5), "lenet": (0.2, 0.001)}  # from scratch, layers
OTHERS = pytest.mark.parametrize("backend", ["cuda", "opencl"], indirect=True)


class Bar:
    """What the examples take for knet.progress: the first steps, and the losses shown."""

    def __init__(self, batches):
        self.batches = batches
        self.losses = []

    def __iter__(self):
        return itertools.islice(self.batches, STEPS)

    def show(self, loss):
        self.losses.append(float(loss))


@pytest.fixture
def example(monkeypatch):
    """Function from the name of an example to its module."""
    monkeypatch.syspath_prepend(EXAMPLES)  # for cli and report
    before = set(sys.modules)

    def load(name):
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in {"cli", "report"} - before:
        sys.modules.pop(name, None)


@pytest.fixture
def real(monkeypatch):
    """Function from a data set's name to its training part, which skips the test if it is not on this machine."""
    for name in "http_proxy", "https_proxy":
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    def load(name):
        try:
            return data.housing() if name == "housing" else data.mnist()[0]
        except data.DatasetUnavailable as error:
            pytest.skip(str(error))

    return load


def losses(module, name, layers, rows, monkeypatch):
    """Losses of the first steps, on the default backend."""
    params_key, data_key = random.split(random.key(0))
    rate, bars = RATES[name][layers], []
    if name == "housing":
        x, y = map(knet.numpy.asarray, rows)
        params = module.model.init(params_key, x.shape[1:]) if layers else module.init(params_key, x.shape[1])
        train = module.layer_train if layers else module.train
        _, values = train(params, x, y, Bar(range(STEPS)), rate)
        return [float(value) for value in values]
    monkeypatch.setattr(knet, "progress", lambda batches: bars.append(Bar(batches)) or bars[-1])
    params = module.model.init(params_key, (1, 28, 28)) if layers else module.init(params_key)
    train = module.model_train if layers else module.train
    train(params, data.minibatch(*rows, 100, key=data_key, epochs=1), rate, lambda params: None)
    return bars[0].losses


@OTHERS
@pytest.mark.parametrize("layers", [False, True], ids=["from-scratch", "layers"])
@pytest.mark.parametrize("name", RATES)
def test_losses_are_those_of_the_cpu(name, layers, backend, example, real, monkeypatch):
    module, rows = example(name), real("housing" if name == "housing" else "mnist")
    got = losses(module, name, layers, rows, monkeypatch)
    with knet.use_backend("cpu"):
        want = losses(module, name, layers, rows, monkeypatch)
    assert len(want) == STEPS
    assert np.mean(want[-5:]) < 0.9 * want[0]  # it has learnt something
    np.testing.assert_allclose(got, want, rtol=TOLERANCE)
