"""The examples on other devices than the CPU: unchanged, with the losses that they have there.

Every other step the device starts again from the CPU's parameters, because training is chaotic: on the CPU alone, first
parameters that differ by a millionth make LeNet's losses differ by a third after 50 steps.

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
import knet.numpy as knp
from knet import data, random

EXAMPLES = Path(__file__).parents[2] / "examples"
STRETCH = 2  # steps from the same parameters: the second loss is that after an update
TOLERANCE = 1e-4  # relative: sums in another order
RATES = {"housing": (0.1, 0.1), "softmax": (0.5, 0.5), "mlp": (0.5, 0.5), "lenet": (0.2, 0.001)}  # from scratch, layers
RUNS = [("housing", 50), ("softmax", 50), ("mlp", 50), ("lenet", 6), pytest.param("lenet", 50, marks=pytest.mark.slow)]
OTHERS = pytest.mark.parametrize("backend", ["cuda", "opencl"], indirect=True)


class Bar:
    """What the examples take for knet.progress: it keeps the losses shown."""

    def __init__(self, batches):
        self.batches = batches
        self.losses = []

    def __iter__(self):
        return iter(self.batches)

    def show(self, loss):
        self.losses.append(float(loss))


class Batches:
    """What the examples take for knet.data.minibatch, with a few of its batches."""

    epochs = 1

    def __init__(self, batches):
        self.batches = batches

    def epoch(self, number):
        return self.batches


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


def start(module, layers, rows):
    """First parameters, and batches of 100 rows; Housing is one batch in all steps."""
    params_key, data_key = random.split(random.key(0))
    x, _ = rows
    if x.ndim == 2:
        params = module.model.init(params_key, x.shape[1:]) if layers else module.init(params_key, x.shape[1])
        return params, itertools.repeat(rows)
    params = module.model.init(params_key, x.shape[1:]) if layers else module.init(params_key)
    return params, data.minibatch(*rows, 100, key=data_key)


def trained(module, layers, params, batches, rate, monkeypatch):
    """Parameters and losses after training on some batches, on the default backend."""
    if batches[0][0].ndim == 2:
        x, y = map(knp.asarray, batches[0])
        train, bar = module.layer_train if layers else module.train, Bar(batches)
        return train(params, x, y, bar, rate)[0], bar.losses
    bars = []
    monkeypatch.setattr(knet, "progress", lambda batches: bars.append(Bar(batches)) or bars[-1])
    train = module.model_train if layers else module.train
    return train(params, Batches(batches), rate, lambda params: None), bars[0].losses


@OTHERS
@pytest.mark.parametrize("layers", [False, True], ids=["from-scratch", "layers"])
@pytest.mark.parametrize(("name", "steps"), RUNS)
def test_losses_are_those_of_the_cpu(name, steps, layers, backend, example, real, monkeypatch):
    module, rows, rate = example(name), real(name), RATES[name][layers]
    first, _ = start(module, layers, rows)
    with knet.use_backend("cpu"):
        params, batches = start(module, layers, rows)
    for a, b in zip(knet.tree.leaves(first), knet.tree.leaves(params), strict=True):
        assert str(a.device).startswith(backend)
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-6, atol=1e-6)

    got, want, batches = [], [], iter(batches)
    for _ in range(0, steps, STRETCH):
        stretch = list(itertools.islice(batches, STRETCH))
        there = knet.tree.map(lambda w: w.to_device(backend), params)
        got += trained(module, layers, there, stretch, rate, monkeypatch)[1]
        with knet.use_backend("cpu"):
            params, values = trained(module, layers, params, stretch, rate, monkeypatch)
        want += values
    assert len(got) == steps
    assert min(want) < 0.98 * want[0]  # it has learnt something
    np.testing.assert_allclose(got, want, rtol=TOLERANCE)
