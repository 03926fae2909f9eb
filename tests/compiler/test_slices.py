"""Slices in front of elementwise operations: where they go there, and what a step of a cell then is."""

from __future__ import annotations

import numpy as np
import pytest
from compiler.test_gathered import names
from compiler.test_hoist import array, dense, lstm_arguments, lstm_loss, optimized

import knet
import knet.numpy as knp
from knet.testing import assert_trees_close

X, Y, B = array(3, 8), array(3, 8, seed=1), array(8)


def gates(x):
    return knp.tanh(x[:, :4]) * x[:, 4:]


FIRES = {
    "a sum": (lambda x, y, b: gates(x + y), 4),
    "a sum of sums, with broadcasts": (lambda x, y, b: gates((x + b) * y[:1] + 2.0), 7),
    "every second column": (lambda x, y, b: knp.tanh((x * y)[:, ::2]) + (x * y)[:, 1::2], 4),
    "of a product": (lambda x, y, b: gates(x @ y.T @ y + b), 4),
    "of rows": (lambda x, y, b: knp.tanh((x + y)[:1]) * (x + y)[1:], 4),
}
LEAVES = {
    "used whole too": lambda x, y, b: (gates(x + y), x + y),
    "whose parts overlap": lambda x, y, b: knp.tanh((x + y)[:, :5]) * (x + y)[:, 3:],
    "of which there is one part": lambda x, y, b: knp.tanh((x + y)[:, :4]),
    "whose operand is computed whole": lambda x, y, b: (gates((z := knp.exp(x)) + y), z),
    "of a reduction": lambda x, y, b: gates(x - knp.max(x, axis=1, keepdims=True)),
    "that nothing elementwise reads": lambda x, y, b: (z := x + y)[:, :4] @ z[:, 4:].T,
}


def sliced_after(graph):
    """Slices of what elementwise operations compute."""
    return [n for n in graph.nodes if n.op.name == "slice" and (made := n.operands[0].node) and made.op.pointwise]


@pytest.mark.parametrize("name", FIRES)
def test_slices_go_first(name):
    f, slices = FIRES[name]
    graph = optimized(f, X, Y, B)
    assert not sliced_after(graph)
    assert names(graph).count("slice") == slices
    np.testing.assert_allclose(np.asarray(knet.jit(f)(X, Y, B)), np.asarray(f(X, Y, B)), rtol=1e-14)


@pytest.mark.parametrize("name", LEAVES)
def test_slices_stay(name):
    graph = optimized(LEAVES[name], X, Y, B)
    assert sliced_after(graph)
    assert_trees_close(knet.jit(LEAVES[name])(X, Y, B), LEAVES[name](X, Y, B), rtol=1e-13)


def test_an_lstm_step_is_a_product_and_a_loop_each_way(on_cpu):
    args = lstm_arguments(hidden=16, batch=4, steps=5)
    low = knet.jit(knet.value_and_grad(lstm_loss)).lower(*knet.tree.map(single, args))
    per_step = [k.strip().split(":")[0] for k in low.kernels if k.startswith("  ")]
    assert per_step == ["matmul [4, 16], [16, 64]", "[4, 16]", "[4, 16]", "matmul [4, 64], [64, 16]"]
    assert not any("copy to the result" in k for k in low.kernels)


def single(x):
    return x.astype("float32") if x.dtype.kind == "f" else x


def cumulative(length, reverse=False):
    """A scan that stacks its carry as each step gets it and as it leaves it."""

    def f(c, xs):
        def step(c, x):
            new = knp.tanh(c * x + 1)
            return new, (c, new, x + c)

        return knet.scan(step, c, xs, reverse=reverse)

    return f, array(4, seed=2), array(length, 4, seed=3)


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_carry_stacked_before_and_after_a_step(length, reverse):
    f, c, xs = cumulative(length, reverse)
    # Results of the program have places of their own; what it computes with lies in one array of length + 1 rows.
    for g in (f, lambda c, xs: knet.tree.map(lambda y: y * 2, f(c, xs)), lambda c, xs: f(c, xs)[1][0] * 2):
        assert_trees_close(knet.jit(g)(c, xs), g(c, xs), rtol=1e-13)
    total = lambda c, xs: sum(knp.sum(y * y) for y in knet.tree.leaves(f(c, xs)))  # noqa: E731
    assert_trees_close(
        dense(knet.jit(knet.grad(total, (0, 1)))(c, xs)), dense(knet.grad(total, (0, 1))(c, xs)), rtol=1e-11
    )


def test_a_stacked_carry_is_written_once():
    f, c, xs = cumulative(3)
    kernels = knet.jit(lambda c, xs: knet.tree.map(lambda y: y * 2, f(c, xs))).lower(c, xs).kernels
    assert [k for k in kernels if "copy" in k] == ["copy in front of the steps"]


def test_two_carries_of_one_value():
    def f(a, b, xs):
        def step(carry, x):
            new = knp.sin(carry[0] + carry[1] * x)
            return (new, new), (*carry, new)

        return knet.tree.map(lambda y: y * 2, knet.scan(step, (a, b), xs))

    args = array(3), array(3, seed=1), array(4, 3)
    assert_trees_close(knet.jit(f)(*args), f(*args), rtol=1e-13)
