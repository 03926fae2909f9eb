"""Fusion: what becomes one loop nest, what must not, and random graphs whose compiled results equal the eager ones."""

from __future__ import annotations

import numpy as np
import pytest
from adversary import team_of
from random_graphs import Maker

import knet
import knet.numpy as knp
from knet import nn, optim
from knet.backends.cpu.compiled import toolchain
from knet.compiler.fuse import Cluster, fuse
from knet.compiler.layout import VIEWS

pytestmark = pytest.mark.skipif(toolchain.available() is not None, reason=str(toolchain.available()))


def draw(*shape):
    return knp.asarray(np.random.default_rng(len(shape)).normal(size=shape).astype("float32"))


X, W, B, LABELS = draw(64, 50), draw(50, 20), draw(20), knp.asarray(np.arange(64) % 20)
IMAGES, CHANNELS = draw(8, 16, 10, 10), draw(16, 1, 1)
SQUARE = draw(30, 30)


def normalised(x, axes, scale, shift):
    mean = x.mean(axes, keepdims=True)
    variance = knp.square(x - mean).mean(axes, keepdims=True)
    return (x - mean) / knp.sqrt(variance + 1e-5) * scale + shift


def layer_norm(x, scale, shift):
    return normalised(x, -1, scale, shift)


def batch_norm(x, scale, shift):
    return normalised(x, (0, 2, 3), scale, shift)


def with_gradient(f):
    return knet.grad(lambda *args: (f(*args) * knp.cos(args[0])).sum(), argnums=(0, 1, 2))


def loss(x):
    return nn.cross_entropy(x, LABELS.to_device(x.device))


# Function, arguments, kernels.
COUNTS = {
    "softmax": (lambda x: nn.softmax(x, axis=-1), (X,), 1),
    "softmax along the first axis": (lambda x: nn.softmax(x, axis=0), (X,), 1),
    "log_softmax": (lambda x: nn.log_softmax(x, axis=-1), (X,), 1),
    "cross entropy": (loss, (X,), 2),
    "gradient of cross entropy": (knet.grad(loss), (X,), 1),
    "layer norm": (layer_norm, (X, draw(50), draw(50)), 1),
    "gradients of layer norm": (with_gradient(layer_norm), (X, draw(50), draw(50)), 1),
    "batch norm": (batch_norm, (IMAGES, CHANNELS, CHANNELS), 1),
    "gradients of batch norm": (with_gradient(batch_norm), (IMAGES, CHANNELS, CHANNELS), 1),
    "bias and relu": (lambda x, w, b: nn.relu(x @ w + b), (X, W, B), 2),
    "a view in between": (lambda x: knp.exp(x).T[:, None, :] * 2 + x.T[:, None, :], (X,), 1),
    "an argument read both ways": (lambda x: x + x.T, (SQUARE,), 1),
    "an argument reduced both ways": (lambda x: x - (x.sum(0) * 2 + x.max(1)), (SQUARE,), 1),
}


def kernels(f, *args):
    """Of the CPU: other devices put small ones behind or beside each other into one."""
    with knet.use_backend("cpu"):
        return knet.jit(f).lower(*knet.tree.map(lambda x: x.to_device("cpu"), args)).kernels


def assert_compiled_equals_eager(f, *args, rtol=2e-5):
    got, want = knet.jit(f)(*args), f(*args)
    for g, w in zip(knet.tree.leaves(got), knet.tree.leaves(want), strict=True):
        assert (g.shape, g.dtype) == (w.shape, w.dtype)
        w = np.asarray(w)
        np.testing.assert_allclose(np.asarray(g), w, rtol=rtol, atol=rtol * float(np.max(np.abs(w), initial=0)))


@pytest.mark.parametrize("name", COUNTS)
def test_chains_become_few_kernels(name):
    f, args, count = COUNTS[name]
    found = kernels(f, *args)
    assert len(found) == count, found
    assert_compiled_equals_eager(f, *args)


def test_an_update_by_adam_is_one_kernel_a_parameter():
    transform = optim.adam(1e-3)

    def update(params, state, grads):
        updates, state = transform.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    params = {"w": W, "b": B}
    args = params, transform.init(params), {"w": W * 0.5, "b": B - 1}
    assert len(kernels(update, *args)) == 3  # one more for the corrections of the averages, which are numbers
    assert_compiled_equals_eager(update, *args)


# Pairs of what would need one element before another nest has made it.
APART = {
    "a value and its transpose": (lambda x: (lambda e: e + e.T)(knp.exp(x)), 2),
    "a value and itself backwards": (lambda x: (lambda e: e - knp.flip(e))(knp.exp(x)), 2),
    "a value and its first row": (lambda x: (lambda e: e - e[:1])(knp.exp(x)), 2),
    "reductions along different axes, both used": (lambda x: x / x.sum(0) / x.sum(1, keepdims=True), 2),
    "a path through another operation": (lambda x: (lambda e: e + knp.cumulative_sum(e, axis=0))(knp.exp(x)), 3),
    "a path through a product": (lambda x: (lambda e: e + nn.relu(e @ e))(knp.exp(x)), 3),
}


@pytest.mark.parametrize("name", APART)
def test_what_must_stay_apart(name):
    f, count = APART[name]
    found = kernels(f, SQUARE)
    assert len(found) == count, found
    assert_compiled_equals_eager(f, SQUARE)


def clusters_of(f, *args):
    graph = knet.jit(f).lower(*args).graph
    return graph, fuse(graph, lambda node: node.op.pointwise or node.op.name in ("reduce_sum", "reduce_max"))


@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_the_order_is_one_of_computation_and_nothing_is_lost(seed):
    maker = Maker(seed, length=30)
    graph, items = clusters_of(maker, *map(knp.asarray, maker.inputs))
    known = {*graph.inputs, *graph.constants}
    seen = set()
    views = {y for node in graph.nodes if node.op in VIEWS for y in node.results}

    def source_is_known(x):
        while x in views:
            x = x.node.operands[0]
        return x in known

    for item in items:
        nodes = item.nodes if isinstance(item, Cluster) else [item]
        for node in nodes:
            assert node not in seen
            seen.add(node)
            assert all(source_is_known(x) for x in node.values)
            known.update(node.results)
    assert seen >= {node for node in graph.nodes if node.op not in VIEWS}


def test_a_nest_has_a_bounded_number_of_members():
    def chain(x):
        for i in range(450):
            x = knp.sin(x) if i % 2 else x * x
        return x

    graph, items = clusters_of(chain, X)
    assert len(graph.nodes) == 450
    assert [len(item.nodes) for item in items] == [400, 50]
    assert_compiled_equals_eager(chain, X)


# --- random graphs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", range(0, 200, 20))
def test_random_graphs_are_equal_compiled(start, monkeypatch):
    """Twenty graphs in one program; the size of the team changes from program to program."""
    team_of(start // 20 % 4 + 1, monkeypatch)
    makers = [Maker(seed, length=(5, 9, 14, 22)[seed % 4]) for seed in range(start, start + 20)]
    args = [list(map(knp.asarray, m.inputs)) for m in makers]
    got = knet.jit(lambda args: [m(*a) for m, a in zip(makers, args)])(args)
    for maker, a, results in zip(makers, args, got, strict=True):
        for g, w in zip(results, maker(*a), strict=True):
            assert (g.shape, g.dtype) == (w.shape, w.dtype), maker.seed
            np.testing.assert_array_equal(np.asarray(g), np.asarray(w), f"Maker({maker.seed}, {maker.length})")
