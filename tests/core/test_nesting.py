"""Derivatives of derivatives: levels keep perturbations apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet import grad, vjp
from knet.core import registry


def test_perturbations_are_not_confused():
    assert grad(lambda x: x * grad(lambda y: x + y)(x))(5.0) == 1.0


def test_more_perturbations_are_not_confused():
    assert grad(lambda x: x * grad(lambda y: x * y)(2.0))(5.0) == 10.0
    assert grad(lambda x: grad(lambda y: x * y * y)(x))(3.0) == 12.0  # d/dx (2 x x) = 4 x
    assert grad(lambda x: grad(lambda y: y * y)(x) * x)(3.0) == 12.0
    assert grad(lambda x: grad(lambda y: grad(lambda z: x * y * z)(1.0) * y)(2.0) * x)(3.0) == 24.0


SUMS = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - (-y),
    "concatenate": lambda x, y: knp.concatenate([x[None], y[None]]).sum(),
    "stack": lambda x, y: knp.stack([x, y]).sum(),
    "matmul": lambda x, y: knp.stack([x, knp.ones_like(x)]) @ knp.stack([knp.ones_like(y), y]),
    "einsum": lambda x, y: knp.einsum("i,i->", knp.stack([x, knp.ones_like(x)]), knp.stack([knp.ones_like(y), y])),
    "where": lambda x, y: knp.where(x > 0, x, y) + knp.where(x > 0, y, x),
    "at.add": lambda x, y: x[None].at[knp.asarray([0])].add(y)[0],
    "at.set": lambda x, y: knp.stack([x, x]).at[0].set(y).sum(),
    "conv": lambda x, y: registry["conv"](
        knp.reshape(knp.stack([x, y]), (1, 2, 1)),
        knp.ones((1, 2, 1)),
        stride=(1,),
        padding=((0, 0),),
        dilation=(1,),
        groups=1,
    ).sum(),
    "put_add": lambda x, y: registry["put_add"](x[None], knp.asarray([0]), y[None]).sum(),
    "update_slice": lambda x, y: registry["update_slice"](knp.stack([x, x]), y[None], starts=(0,), steps=(1,)).sum(),
}


@pytest.mark.parametrize("name", SUMS)
def test_perturbations_are_not_confused_by_any_path_through_the_engine(name):
    f = SUMS[name]
    for g in (f, lambda x, y: f(y, x)):
        assert g(5.0 * knp.ones(()), 2.0 * knp.ones(())) == 7.0
        assert grad(lambda x, g=g: x * grad(lambda y: g(x, y))(x))(5.0) == 1.0
        assert grad(lambda x, g=g: grad(lambda y: g(x, y) * y)(x))(5.0) == 3.0  # d/dx (x + 2 x)
        assert grad(lambda x, g=g: grad(lambda y: g(x, y) ** 2)(x))(5.0) == 4.0


def test_a_closed_over_tracer_in_the_inner_function_alone():
    inner = grad(lambda y, x: x * y)
    assert grad(lambda x: inner(1.0, x))(7.0) == 1.0
    assert grad(lambda x: inner(x, 3.0))(7.0) == 0.0


def test_sine_to_the_ninth_order():
    f, x = knp.sin, knp.asarray(0.7, dtype=knp.float64)
    cycle = (math.sin, math.cos, lambda v: -math.sin(v), lambda v: -math.cos(v))
    for order in range(10):
        assert float(f(x)) == pytest.approx(cycle[order % 4](0.7), rel=1e-12), f"derivative of order {order}"
        f = grad(f)


T = math.tanh(0.5)


@pytest.mark.parametrize(
    ("f", "derivatives"),
    [
        (knp.exp, [math.exp(0.5)] * 6),
        (lambda x: x**4, [0.0625, 0.5, 3.0, 12.0, 24.0, 0.0]),
        (knp.log, [math.log(0.5), 2.0, -4.0, 16.0, -96.0, 768.0]),
        (lambda x: 1 / x, [2.0, -4.0, 16.0, -96.0, 768.0, -7680.0]),
        (lambda x: x.prod(), [0.5, 1.0, 0.0, 0.0]),
        (knp.tanh, [T, 1 - T**2, -2 * T * (1 - T**2), (6 * T**2 - 2) * (1 - T**2)]),
    ],
    ids=["exp", "x**4", "log", "1/x", "prod", "tanh"],
)
def test_higher_orders(f, derivatives):
    x = knp.asarray(0.5, dtype=knp.float64)
    for order, want in enumerate(derivatives):
        assert float(f(x)) == pytest.approx(want, rel=1e-12, abs=1e-12), f"derivative of order {order}"
        f = grad(f)


def test_the_hessian_by_rows():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 4))
    x = rng.normal(size=4)

    def f(x):
        return knp.sin(x @ a @ x)

    def hessian(x):
        return knp.stack([grad(lambda x, i=i: grad(f)(x)[i])(x) for i in range(4)])

    s = a + a.T
    q = x @ a @ x
    want = np.cos(q) * s - np.sin(q) * np.outer(s @ x, s @ x)
    np.testing.assert_allclose(np.asarray(hessian(knp.asarray(x))), want, rtol=1e-11, atol=1e-11)


def test_a_hessian_vector_product():
    x, v = knp.asarray([1.0, 2.0]), knp.asarray([3.0, -1.0])
    got = grad(lambda x: (grad(lambda x: (x**3).sum())(x) * v).sum())(x)
    assert got.tolist() == [18.0, -12.0]


def test_grad_of_vjp():
    def f(x):
        y, pull_back = vjp(lambda z: z * z * x, x)  # y = x^3, pull_back(g) = 2 g x^2
        return y + pull_back(x)[0]  # x^3 + 2 x^3

    assert grad(f)(2.0) == 36.0


def test_grad_by_a_cotangent():
    _, pull_back = vjp(lambda x: x**2, 3.0)
    assert grad(lambda g: pull_back(g)[0])(1.0) == 6.0


def test_pull_back_inside_another_trace_after_its_own_has_ended():
    _, pull_back = vjp(knp.sin, knp.asarray(0.5))
    y = grad(lambda x: pull_back(x)[0] * x)(knp.asarray(2.0))
    assert float(y) == pytest.approx(4 * math.cos(0.5), rel=1e-6)


def test_gradient_of_a_training_step():
    def loss(w, x):
        return (w * x - 1.0) ** 2

    def after_steps(rate):
        w = 0.5
        for _ in range(3):
            w = w - rate * grad(loss)(w, 2.0)
        return loss(w, 2.0)

    # w' - 1/2 = (1 - 8 rate) (w - 1/2): starting at the optimum nothing depends on the rate.
    assert grad(after_steps)(0.05) == 0.0

    def from_elsewhere(rate):
        w = knp.asarray(1.5, dtype=knp.float64)
        for _ in range(3):
            w = w - rate * grad(loss)(w, 2.0)
        return loss(w, 2.0)

    # loss = 4 (1 - 8 rate)^6
    want = -4 * 6 * 8 * (1 - 8 * 0.05) ** 5
    assert float(grad(from_elsewhere)(knp.asarray(0.05, dtype=knp.float64))) == pytest.approx(want, rel=1e-12)


def test_an_exception_leaves_nothing_behind():
    def fails(x):
        grad(lambda y: x * y)(x)
        raise KeyError("mine")

    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            grad(fails)(1.0)
        assert grad(lambda x: x * grad(lambda y: x + y)(x))(5.0) == 1.0


def test_an_exception_of_the_inner_function_can_be_handled_by_the_outer():
    def f(x):
        try:
            return grad(lambda y: y * (x @ y))(x)
        except knet.errors.ShapeError:
            return x * x

    assert grad(f)(3.0) == 6.0


def test_recursion():
    def tower(n, x):
        return x if n == 0 else x * grad(lambda y: tower(n - 1, y))(x)

    assert tower(3, 2.0) == 2.0 * 1.0
    assert grad(lambda x: tower(1, x))(2.0) == 1.0


def test_an_inner_tracer_that_leaks_to_the_outer_level():
    box = []

    def f(x):
        grad(lambda y: box.append(y) or y * x)(x)
        return box[-1] * x

    with pytest.raises(knet.errors.TracerError, match="leaked out"):
        grad(f)(2.0)
