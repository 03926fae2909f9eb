"""donate_argnums: arrays that a call gives up refuse every use; all others live on."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core.errors import ArgumentError

V = knp.asarray([1.0, 2.0, 3.0])


def equal(got, want):
    for g, w in zip(knet.tree.leaves(got), knet.tree.leaves(want), strict=True):
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=1e-6)


def fresh():
    return {"w": knp.ones((3,)), "b": knp.zeros((2,))}


def test_donated_arrays_cannot_be_used_again():
    step = knet.jit(lambda p, x: knet.tree.map(lambda w: w + x.sum(), p), donate_argnums=0)
    p = fresh()
    q = step(p, V)
    equal(q["w"], knp.ones(3) * 7)
    text = r"argument 0\['w'\] of <lambda>: the array was donated to a jitted function"
    w = p["w"]
    uses = (
        repr, str, np.asarray, float, len, list, lambda x: x + 1, lambda x: 1 - x, lambda x: V * x, lambda x: x.shape,
        lambda x: x[0], lambda x: step({"w": x, "b": V}, V), lambda x: knet.grad(lambda y: y.sum())(x),
        lambda x: knet.vmap(knp.sin)(x), lambda x: knp.concatenate([V, x]), lambda x: x.tolist(), lambda x: x @ V,
        lambda x: x.__dlpack__(),
    )  # fmt: skip
    for use in uses:
        with pytest.raises(ArgumentError, match=text):
            use(w)
    q = step(q, V)
    equal(q["b"], knp.ones(2) * 12)


def test_a_donated_argument_that_is_returned_lives_on():
    f = knet.jit(lambda x, y: (x, x + y), donate_argnums=(0,))
    x = knp.ones(3)
    same, more = f(x, V)
    equal((same, more), (knp.ones(3), V + 1))
    with pytest.raises(ArgumentError, match="donated"):
        x.sum()
    equal(f(same, more)[1], V + 2)


def test_one_array_passed_twice_cannot_be_donated():
    f = knet.jit(lambda x, y: x + y, donate_argnums=1)
    x = knp.ones(3)
    with pytest.raises(ArgumentError, match="argument 1 is donated and is passed a second time in the same call"):
        f(x, x)
    equal(x + 0, knp.ones(3))
    closed = knp.ones(3)
    g = knet.jit(lambda x: x * closed, donate_argnums=0)
    with pytest.raises(ArgumentError, match="argument 0 is donated and is also closed over by the function"):
        g(closed)
    equal(g(x), knp.ones(3))


def test_donating_what_is_no_array_of_knet_s_does_nothing():
    f = knet.jit(lambda n, x, y: x * n + y, donate_argnums=(0, 1, -1))
    host = np.ones(3, "float32")
    for _ in range(2):
        equal(f(2.0, host, host), knp.ones(3) * 3)
    assert host.tolist() == [1, 1, 1]


def test_donated_positions_count_static_arguments():
    f = knet.jit(lambda n, x, y: x * n + y, static_argnums=0, donate_argnums=1)
    x, y = knp.ones(3), knp.ones(3)
    f(2, x, y)
    y.sum()
    with pytest.raises(ArgumentError, match="argument 1 of <lambda>: the array was donated"):
        x.sum()


def test_tracers_are_never_donated():
    f = knet.jit(lambda x: (x * x).sum(), donate_argnums=0)
    x = knp.ones(3)
    equal(knet.grad(f)(x), x * 2)
    equal(knet.jit(lambda x: f(x) + x.sum())(x), x.sum() * 2)
    equal(knet.vmap(f)(x), x)


def test_results_that_are_one_array_can_be_given_up_apart():
    init = knet.jit(lambda p: (knp.zeros_like(p), knp.zeros_like(p), p))
    step = knet.jit(lambda a, b, p: a + b + p, donate_argnums=(0, 1, 2))
    p = knp.ones(3)
    for _ in range(2):  # constants of init's program survive being given up
        equal(step(*init(p)), p)
