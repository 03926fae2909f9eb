"""Functions with a derivative of their own, recomputed functions, and primitives defined outside of Knet."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from laws import test_laws as laws
from refusals import refuses

import knet
import knet.numpy as knp
from knet import errors
from knet.core import registry
from knet.testing import assert_close, assert_trees_close, check_grads

F64 = knp.float64
ROOT = Path(__file__).parents[2]


def f64(*values):
    return knp.asarray(np.array(values, np.float64))


def with_vjp(fun, fwd, bwd, **options):
    f = knet.custom_vjp(fun, **options)
    f.defvjp(fwd, bwd)
    return f


def with_jvp(fun, rule):
    f = knet.custom_jvp(fun)
    f.defjvp(rule)
    return f


# --- every kind of call in every transformation -----------------------------------------------------------------------
#
# A custom rule that tells the truth changes nothing. So each program is run with the function as it is and wrapped;
# the wrapped function sees what the program batches or differentiates as arguments in some, through its closure in
# others.


def true_vjp(fun):
    return with_vjp(fun, lambda *xs: (fun(*xs), xs), lambda xs, g: knet.vjp(fun, *xs)[1](g))


def true_jvp(fun):
    return with_jvp(fun, lambda xs, ts: knet.jvp(fun, xs, ts))


WRAPPERS = {
    "custom_vjp": true_vjp,
    "custom_jvp": true_jvp,
    "checkpoint": knet.checkpoint,
    "checkpoint(checkpoint)": lambda f: knet.checkpoint(knet.checkpoint(f)),
    "checkpoint(custom_vjp)": lambda f: knet.checkpoint(true_vjp(f)),
    "checkpoint(custom_jvp)": lambda f: knet.checkpoint(true_jvp(f)),
    "custom_vjp(checkpoint)": lambda f: true_vjp(knet.checkpoint(f)),
}

grad, jvp, vmap = knet.grad, knet.jvp, knet.vmap
X, W, ONE = f64(0.3, 0.7, 1.1), knp.asarray(0.9, dtype=F64), knp.ones((), dtype=F64)
B = knp.asarray(0.4, dtype=F64)


def f(x, w):
    return knp.sin(x * w) * x


# Each is a function of the wrapper.
PROGRAMS = {
    "value": lambda c: c(f)(B, W),
    "grad": lambda c: grad(c(f), (0, 1))(B, W),
    "grad of grad": lambda c: grad(lambda w: grad(c(f))(B, w) ** 2)(W),
    "jvp": lambda c: jvp(c(f), (B, W), (ONE, 2 * ONE)),
    "jvp of grad": lambda c: jvp(grad(c(f), (0, 1)), (B, W), (ONE, 2 * ONE)),
    "grad of jvp": lambda c: grad(lambda x, w: jvp(c(f), (x, w), (ONE, x))[1], (0, 1))(B, W),
    "jvp of jvp": lambda c: jvp(lambda x: jvp(c(f), (x, W), (ONE, ONE))[1], (B,), (ONE,)),
    "hessian": lambda c: knet.hessian(c(f), (0, 1))(B, W),
    "linearize": lambda c: knet.linearize(c(f), B, W)[1](ONE, 3 * ONE),
    "vmap": lambda c: vmap(c(f))(X, W * X),
    "vmap with a shared argument": lambda c: vmap(c(f), in_axes=(0, None))(X, W),
    "vmap of grad": lambda c: vmap(grad(c(f), (0, 1)))(X, W * X),
    "vmap of grad with a shared argument": lambda c: vmap(grad(c(f), (0, 1)), in_axes=(0, None))(X, W),
    "grad of vmap": lambda c: grad(lambda x, w: vmap(c(f))(x, w).sum(), (0, 1))(X, W * X),
    "grad of vmap with a shared argument": lambda c: grad(
        lambda x, w: vmap(c(f), in_axes=(0, None))(x, w).sum(), (0, 1)
    )(X, W),
    "jvp of vmap with a shared argument": lambda c: jvp(vmap(c(f), in_axes=(0, None)), (X, W), (X, ONE)),
    "vmap of jvp": lambda c: vmap(lambda x: jvp(c(f), (x, W), (x, ONE)))(X),
    "vmap of hessian": lambda c: vmap(knet.hessian(c(f), (0, 1)), in_axes=(0, None))(X, W),
    "vmap of vmap": lambda c: vmap(vmap(c(f), in_axes=(None, 0)), in_axes=(0, None))(X, W * X),
    "grad by a closure": lambda c: grad(lambda w: c(lambda x: f(x, w))(B))(W),
    "grad by argument and closure": lambda c: grad(lambda x, w: c(lambda x: f(x, w))(x), (0, 1))(B, W),
    "jvp by argument and closure": lambda c: jvp(lambda x, w: c(lambda x: f(x, w))(x), (B, W), (ONE, X[0])),
    "hessian by argument and closure": lambda c: knet.hessian(lambda x, w: c(lambda x: f(x, w))(x), (0, 1))(B, W),
    "reverse over reverse by argument and closure": lambda c: knet.jacrev(
        knet.jacrev(lambda x, w: c(lambda x: f(x, w))(x), (0, 1)), (0, 1)
    )(B, W),
    "grad of vmap by a closure": lambda c: grad(lambda w: vmap(lambda x: c(lambda x: f(x, w))(x))(X).sum())(W),
    "jvp of vmap by a closure": lambda c: jvp(lambda w: vmap(lambda x: c(lambda x: f(x, w))(x))(X).sum(), (W,), (ONE,)),
    "grad of vmap over a closure": lambda c: grad(lambda w: vmap(lambda x: c(lambda w: f(x, w))(w))(X).sum())(W),
    "jvp of vmap over a closure": lambda c: jvp(
        lambda w: vmap(lambda x: c(lambda w: f(x, w))(w))(X).sum(), (W,), (ONE,)
    ),
    "vmap over a closure of grad": lambda c: vmap(lambda x: grad(lambda w: c(lambda w: f(x, w))(w))(W))(X),
    "vmap of grad by a closure": lambda c: vmap(lambda x: grad(lambda w: c(lambda x: f(x, w))(x))(W))(X),
    "vmap of jvp by a closure": lambda c: vmap(lambda x: jvp(lambda w: c(lambda x: f(x, w))(x), (W,), (ONE,)))(X),
    "vmap of vmap over a closure": lambda c: vmap(lambda x: vmap(lambda w: c(lambda x: f(x, w))(x))(W * X))(X),
    "vmap over a closure of vmap": lambda c: vmap(lambda x: vmap(lambda w: c(lambda w: f(x, w))(w))(W * X))(X),
    "grad of an inner grad by a closure": lambda c: grad(lambda x: grad(lambda w: c(lambda x: f(x, w))(x))(W))(B),
    "grad by a closure of an inner grad": lambda c: grad(lambda x: grad(lambda w: c(lambda w: f(x, w))(w))(W))(B),
    "grad of an inner jvp by a closure": lambda c: grad(
        lambda x: jvp(lambda w: c(lambda x: f(x, w))(x), (W,), (ONE,))[1]
    )(B),
    "jvp of an inner grad by a closure": lambda c: jvp(
        lambda x: grad(lambda w: c(lambda x: f(x, w))(x))(W), (B,), (ONE,)
    ),
    "jvp by a closure of an inner jvp": lambda c: jvp(
        lambda x: jvp(lambda w: c(lambda w: f(x, w))(w), (W,), (ONE,))[1], (B,), (ONE,)
    ),
    "pull-back after the trace": lambda c: knet.vjp(lambda x, w: c(lambda x: f(x, w))(x), B, W)[1](2 * ONE),
    "vmap of a pull-back": lambda c: vmap(knet.vjp(lambda x, w: c(lambda x: f(x, w))(x), B, W)[1])(X),
    "grad of vmap of jvp": lambda c: grad(
        lambda w: vmap(lambda x: jvp(lambda w: c(lambda x: f(x, w))(x), (w,), (ONE,))[1])(X).sum()
    )(W),
    "nested": lambda c: grad(lambda x, w: c(lambda x: c(lambda y: f(y, w) * y)(x) * w)(x), (0, 1))(B, W),
    "nested in forward mode": lambda c: jvp(
        lambda x, w: c(lambda x: c(lambda y: f(y, w) * y)(x) * w)(x), (B, W), (ONE, X[0])
    ),
    "nested around vmap": lambda c: grad(
        lambda w: c(lambda v: vmap(lambda x: c(lambda y: f(y, w) * x * v)(x) * w)(X).sum())(w)
    )(W),
    "a gradient inside": lambda c: grad(lambda w: c(lambda x: grad(lambda y: f(y, w) * x)(x))(w))(W),
    "inside of scan": lambda c: grad(
        lambda w: knet.scan(lambda carry, x: (c(lambda h: knp.tanh(f(h, w) + x))(carry), carry), w, X)[0]
    )(W),
    "what it closes over is its result": lambda c: grad(lambda x, w: c(lambda x: (w, x))(x)[0] * x, (0, 1))(B, W),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_rule_that_tells_the_truth_changes_nothing(program, wrapper):
    run = PROGRAMS[program]
    assert_trees_close(run(WRAPPERS[wrapper]), run(lambda fun: fun), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_eval_shape(wrapper):
    c = WRAPPERS[wrapper]
    matrix = lambda x, w: knp.tanh(x @ w)  # noqa: E731
    x, w = knet.ShapedArray((2, 3), F64), knet.ShapedArray((3, 4), F64)
    assert knet.eval_shape(c(matrix), x, w).shape == (2, 4)
    of_x, of_w = knet.eval_shape(grad(lambda x, w: c(matrix)(x, w).sum(), (0, 1)), x, w)
    assert (of_x.shape, of_w.shape, of_w.dtype) == ((2, 3), (3, 4), F64)
    assert knet.eval_shape(vmap(c(matrix), in_axes=(0, None)), x, w).shape == (2, 4)


# --- custom_vjp -------------------------------------------------------------------------------------------------------


def lying():
    """A function whose rule is no derivative, so that it shows whose rule was used: 100 in place of 2."""
    return with_vjp(lambda x: 2.0 * x, lambda x: (2.0 * x, None), lambda _, g: (100.0 * g,))


def test_the_rule_is_used_in_every_mode():
    f = lying()
    x = f64(1.0, 2.0)
    assert f(x).tolist() == [2.0, 4.0]
    assert grad(lambda x: f(x).sum())(x).tolist() == [100.0, 100.0]
    assert jvp(f, (x,), (f64(1.0, 0.5),))[1].tolist() == [100.0, 50.0]
    assert vmap(grad(f))(x).tolist() == [100.0, 100.0]
    assert grad(lambda x: vmap(f)(x).sum())(x).tolist() == [100.0, 100.0]
    assert knet.jacfwd(f)(x).tolist() == knet.jacrev(f)(x).tolist() == [[100.0, 0.0], [0.0, 100.0]]
    assert jvp(vmap(f), (x,), (x,))[1].tolist() == [100.0, 200.0]
    assert grad(lambda x: knet.checkpoint(f)(x).sum())(x).tolist() == [100.0, 100.0]


def test_the_second_derivative_goes_through_the_rule():
    cube = with_vjp(lambda x: x**3, lambda x: (x**3, x), lambda x, g: (g * 5 * x * x,))
    assert float(grad(cube)(2.0)) == 20.0
    assert float(grad(grad(cube))(2.0)) == 20.0  # d/dx 5 x^2 = 10 x
    assert float(jvp(grad(cube), (2.0,), (1.0,))[1]) == 20.0


def test_pytrees():
    def fun(params, xs):
        return {"y": params["w"] * xs[0] + xs[1]}, xs[1]

    def fwd(params, xs):
        return fun(params, xs), (params["w"], xs[0])

    def bwd(residuals, g):
        w, x = residuals
        gy, gb = g
        return {"w": gy["y"] * x, "unused": None}, [gy["y"] * w, gy["y"] + gb]

    f = with_vjp(fun, fwd, bwd)
    params, xs = {"w": f64(1.0, 2.0), "unused": None}, [f64(3.0, 4.0), f64(5.0, 6.0)]
    loss = lambda f: lambda params, xs: (lambda y: (y[0]["y"] ** 2).sum() + y[1].sum())(f(params, xs))  # noqa: E731
    assert_trees_close(grad(loss(f), (0, 1))(params, xs), grad(loss(fun), (0, 1))(params, xs))
    check_grads(f, (params, xs), order=2)


def test_none_stands_for_a_zero_cotangent():
    f = with_vjp(lambda x, y: x * y, lambda x, y: (x * y, y), lambda y, g: (g * y, None))
    of_x, of_y = grad(f, (0, 1))(2.0, 3.0)
    assert float(of_x) == 3.0 and float(of_y) == 0.0
    _, t = jvp(f, (2.0, 3.0), (1.0, 1.0))
    assert float(t) == 3.0
    of_x, of_y = vmap(grad(f, (0, 1)), in_axes=(0, None))(f64(1.0, 2.0), knp.asarray(3.0, dtype=F64))
    assert of_x.tolist() == [3.0, 3.0] and of_y.tolist() == [0.0, 0.0]
    of_x, of_y = grad(lambda x, y: vmap(f)(x, y).sum(), (0, 1))(f64(1.0, 2.0), f64(3.0, 4.0))
    assert of_x.tolist() == [3.0, 4.0] and of_y.tolist() == [0.0, 0.0]


def test_results_that_nothing_uses_have_zero_cotangents():
    seen = []

    def bwd(_, g):
        seen.append([np.asarray(part).tolist() for part in g])
        return (g[0] * 2 + g[1].sum(),)

    f = with_vjp(lambda x: (2 * x, knp.ones(3) * x), lambda x: ((2 * x, knp.ones(3) * x), None), bwd)
    assert float(grad(lambda x: f(x)[0])(1.0)) == 2.0
    assert float(grad(lambda x: f(x)[1][1])(1.0)) == 1.0
    assert seen == [[1.0, [0.0, 0.0, 0.0]], [0.0, [0.0, 1.0, 0.0]]]


def test_residuals_of_any_kind():
    def fwd(x):
        return knp.sin(x), {
            "x": x,
            "name": "sine",
            "cos": knp.cos,
            "none": None,
            "table": knp.arange(3),
            "pair": (1, 2.5),
        }

    def bwd(r, g):
        assert r["name"] == "sine" and r["none"] is None and r["pair"] == (1, 2.5) and r["table"].shape == (3,)
        return (g * r["cos"](r["x"]),)

    f = with_vjp(knp.sin, fwd, bwd)
    x = f64(0.2, 0.5)
    want = knp.cos(x)
    assert_close(vmap(grad(f))(x), want)
    assert_close(grad(lambda x: vmap(f)(x).sum())(x), want)
    assert_close(jvp(f, (x,), (knp.ones_like(x),))[1], want)
    assert_close(vmap(lambda x: jvp(f, (x,), (knp.ones_like(x),))[1])(x), want)
    assert_close(vmap(grad(grad(f)))(x), -knp.sin(x))


def test_arguments_that_are_no_arrays():
    def power(fun, x, n):
        return fun(x) ** n

    seen = []

    def bwd(fun, n, residuals, g):
        seen.append((fun, n))
        return (g * residuals,)

    f = with_vjp(
        power, lambda fun, x, n: (fun(x) ** n, n * fun(x) ** (n - 1) * knp.cos(x)), bwd, nondiff_argnums=(0, 2)
    )
    x = f64(0.2, 0.5)
    assert_close(vmap(lambda x: grad(f, 1)(knp.sin, x, 3))(x), 3 * knp.sin(x) ** 2 * knp.cos(x), rtol=1e-14)
    assert_close(f(knp.sin, x, 3), knp.sin(x) ** 3)
    assert seen == [(knp.sin, 3)]
    for argnums in (1, -1, (1,)):
        g = with_vjp(lambda x, n: x * n, lambda x, n: (x * n, None), lambda n, _, g: (g * n,), nondiff_argnums=argnums)
        assert float(grad(g)(2.0, 7)) == 7.0


def test_arguments_that_have_no_derivative_take_none():
    f = with_vjp(lambda x, ids, name: x[ids].sum(), lambda x, ids, name: (x[ids].sum(), (x, ids)),
                 lambda r, g: (knp.zeros_like(r[0]).at[r[1]].add(7.0 * g), None, None))  # fmt: skip
    got = grad(f)(f64(1.0, 2.0, 3.0), knp.asarray([0, 2, 2]), "name")
    assert got.tolist() == [7.0, 0.0, 14.0]


def test_dtypes_of_cotangents_and_tangents_are_mended():
    f = with_vjp(lambda x: x * 1, lambda x: (x * 1, None), lambda _, g: (g.astype(F64) * 2,))
    assert grad(f)(1.0).dtype == knp.float32
    f = with_vjp(lambda x: x * 1, lambda x: (x * 1, None), lambda _, g: (3,))
    assert grad(f)(1.0).dtype == knp.float32 and float(grad(f)(1.0)) == 3.0
    f = with_jvp(lambda x: x * 1, lambda p, t: (p[0] * 1, t[0].astype(F64) * 2))
    assert jvp(f, (1.0,), (1.0,))[1].dtype == knp.float32 and grad(f)(1.0).dtype == knp.float32
    f = with_jvp(lambda x: x * 1, lambda p, t: (p[0] * 1, 0))
    assert jvp(f, (knp.ones(2),), (knp.ones(2),))[1].tolist() == [0.0, 0.0]


def test_straight_through_and_reversed_gradients():
    through = with_vjp(lambda x: knp.round(x), lambda x: (knp.round(x), None), lambda _, g: (g,))
    x = f64(0.4, 1.6)
    assert vmap(grad(lambda x: through(x) ** 2))(x).tolist() == [0.0, 4.0]
    backwards = with_vjp(lambda x: x, lambda x: (x, None), lambda _, g: (-g,))
    assert grad(lambda x: (backwards(x) ** 2).sum())(x).tolist() == [-0.8, -3.2]


# --- custom_jvp -------------------------------------------------------------------------------------------------------


def test_a_forward_rule_is_used_in_every_mode():
    f = with_jvp(lambda x: 2.0 * x, lambda p, t: (2.0 * p[0], 100.0 * t[0]))
    x = f64(1.0, 2.0)
    assert f(x).tolist() == [2.0, 4.0]
    assert jvp(f, (x,), (f64(1.0, 0.5),))[1].tolist() == [100.0, 50.0]
    assert grad(lambda x: f(x).sum())(x).tolist() == [100.0, 100.0]
    assert vmap(grad(f))(x).tolist() == [100.0, 100.0]
    assert grad(lambda x: vmap(f)(x).sum())(x).tolist() == [100.0, 100.0]
    assert knet.jacfwd(f)(x).tolist() == knet.jacrev(f)(x).tolist() == [[100.0, 0.0], [0.0, 100.0]]


def test_a_forward_rule_with_pytrees_and_several_arguments():
    def fun(d, x):
        return {"a": d["w"] * x, "b": x.sum()}

    def rule(primals, tangents):
        (d, x), (dd, dx) = primals, tangents
        return fun(d, x), {"a": dd["w"] * x + d["w"] * dx, "b": dx.sum()}

    f = with_jvp(fun, rule)
    d, x = {"w": f64(1.0, 2.0)}, f64(3.0, 4.0)
    check_grads(f, (d, x), order=2)
    loss = lambda f: lambda d, x: (f(d, x)["a"] ** 2).sum() * f(d, x)["b"]  # noqa: E731
    assert_trees_close(knet.hessian(loss(f))(d, x), knet.hessian(loss(fun))(d, x), rtol=1e-13)
    batched = {"w": knp.stack([d["w"], x])}
    got = vmap(grad(loss(f)), in_axes=(0, None))(batched, x)
    assert_trees_close(got, vmap(grad(loss(fun)), in_axes=(0, None))(batched, x), rtol=1e-13)


def test_a_rule_that_calls_its_own_function():
    f = knet.custom_jvp(lambda x: knp.exp(x))
    f.defjvp(lambda p, t: (f(p[0]), t[0] * f(p[0])))
    x = knp.asarray(0.5, dtype=F64)
    g = f
    for _ in range(4):
        assert_close(g(x), knp.exp(x), rtol=1e-14)
        g = grad(g)
    assert_close(jvp(grad(f), (x,), (knp.ones_like(x),))[1], knp.exp(x), rtol=1e-14)


def test_arguments_of_a_forward_rule_that_are_no_arrays():
    f = with_jvp(lambda x, name: x * 2, lambda p, t: (p[0] * 2, t[0] * (3 if p[1] == "three" else 2)))
    assert float(grad(f)(1.0, "three")) == 3.0
    assert vmap(grad(f), in_axes=(0, None))(knp.ones(2), "other").tolist() == [2.0, 2.0]


# --- what they refuse -------------------------------------------------------------------------------------------------


def identity_vjp(bwd, fun=lambda x: x * 1):
    return with_vjp(fun, lambda x: (fun(x), None), bwd)


def named(x):
    return x


REFUSALS = {
    "custom_vjp without a rule": (
        lambda: knet.custom_vjp(named)(1.0),
        errors.TreeError,
        ("custom_vjp(named)", "named.defvjp(fwd, bwd)"),
    ),
    "custom_jvp without a rule": (
        lambda: knet.custom_jvp(named)(1.0),
        errors.TreeError,
        ("custom_jvp(named)", "named.defjvp(rule)"),
    ),
    "fwd without residuals": (
        lambda: grad(with_vjp(named, named, lambda r, g: (g,)))(1.0),
        errors.TreeError,
        ("custom_vjp(named): fwd returned", "(result, residuals)"),
    ),
    "bwd that returns an array": (
        lambda: grad(identity_vjp(lambda _, g: g))(1.0),
        errors.TreeError,
        ("bwd returned DeviceArray", "return (g,)"),
    ),
    "bwd with too many cotangents": (
        lambda: grad(identity_vjp(lambda _, g: (g, g)))(1.0),
        errors.TreeError,
        ("a tuple of 2", "each of the 1 arguments"),
    ),
    "bwd of another structure": (
        lambda: grad(with_vjp(lambda d: d["a"], lambda d: (d["a"], None), lambda _, g: ({"b": g},)))({"a": 1.0}),
        errors.TreeError,
        ("bwd's cotangent of argument 0", "'b'", "'a'"),
    ),
    "bwd of another shape": (
        lambda: grad(identity_vjp(lambda _, g: (g,), lambda x: x.sum()))(knp.ones(3)),
        errors.ShapeError,
        ("argument 0", "float32 []", "float32 [3]"),
    ),
    "bwd with a number for an array": (
        lambda: grad(identity_vjp(lambda _, g: (1.0,), lambda x: x.sum()))(knp.ones(3)),
        errors.ShapeError,
        ("argument 0", "float32 [3]"),
    ),
    "bwd with a text": (
        lambda: grad(identity_vjp(lambda _, g: ("text",)))(1.0),
        errors.DTypeError,
        ("bwd's cotangent of argument 0", "'text'"),
    ),
    "an argument that is not there": (
        lambda: (
            knet.custom_vjp(named, nondiff_argnums=(1,)).defvjp(named, named)
            or with_vjp(named, named, named, nondiff_argnums=(1,))(1.0)
        ),
        errors.ArgumentError,
        ("custom_vjp(named): nondiff_argnums=(1,)", "1 arguments"),
    ),
    "a result that is no array": (
        lambda: knet.checkpoint(lambda x: "text")(1.0),
        errors.DTypeError,
        ("the result of <lambda>", "'text'"),
    ),
    "a forward rule without a tangent": (
        lambda: grad(with_jvp(named, lambda p, t: t[0]))(1.0),
        errors.TreeError,
        ("custom_jvp(named)", "(result, tangent)"),
    ),
    "a tangent of another structure": (
        lambda: jvp(with_jvp(named, lambda p, t: (p[0], (t[0],))), (1.0,), (1.0,)),
        errors.TreeError,
        ("custom_jvp(named): the tangent",),
    ),
    "a tangent of another shape": (
        lambda: grad(with_jvp(named, lambda p, t: (p[0], t[0] * knp.ones(3))))(1.0),
        errors.ShapeError,
        ("custom_jvp(named)", "float32 [3]", "float32 []"),
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_custom_functions_refuse(what):
    refuses(*REFUSALS[what])


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_exceptions_leave_everything_usable(wrapper):
    fails = [True]

    def sometimes(x, w):
        y = knp.sin(x * w)
        if fails[0]:
            raise KeyError("mine")
        return y

    g = WRAPPERS[wrapper](sometimes)
    for run in (
        lambda: grad(g)(B, W),
        lambda: jvp(g, (B, W), (ONE, ONE)),
        lambda: vmap(grad(g))(X, X),
        lambda: g(B, W),
    ):
        fails[0] = True
        with pytest.raises(KeyError, match="mine"):
            run()
        fails[0] = False
        run()
    assert_close(grad(g)(B, W), grad(lambda x, w: knp.sin(x * w))(B, W))


def test_an_exception_in_the_backward_pass_leaves_everything_usable():
    fails = [True]

    def bwd(x, g):
        if fails[0]:
            raise KeyError("mine")
        return (g * knp.cos(x),)

    f = with_vjp(knp.sin, lambda x: (knp.sin(x), x), bwd)

    def program(w):
        return knet.checkpoint(lambda x: f(x * w))(W)

    with pytest.raises(KeyError, match="mine"):
        grad(program)(B)
    fails[0] = False
    assert_close(grad(program)(B), W * knp.cos(W * B))


# --- checkpoint -------------------------------------------------------------------------------------------------------


def test_checkpoint_runs_the_function_twice_and_keeps_keywords():
    calls = []

    def f(x, *, scale, name):
        calls.append(name)
        return knp.sin(x["a"]) * scale

    x = {"a": knp.asarray(0.5, dtype=F64)}
    c = knet.checkpoint(f)
    assert_close(c(x, scale=2.0, name="once"), knp.sin(x["a"]) * 2.0)
    assert calls == ["once"]
    got = grad(lambda x, s: c(x, scale=s, name="twice"), (0, 1))(x, knp.asarray(3.0, dtype=F64))
    assert calls == ["once", "twice", "twice"]
    assert_close(got[0]["a"], 3.0 * knp.cos(x["a"]))
    assert_close(got[1], knp.sin(x["a"]))
    assert c.__name__ == "f"


def test_results_that_are_arguments_or_do_not_depend_on_them():
    def f(x, w):
        a, b, c = knet.checkpoint(lambda x: (x, w, knp.ones(2, dtype=F64)))(x)
        return (a * b * c).sum()

    of_x, of_w = grad(f, (0, 1))(B, W)
    assert_close(of_x, 2 * W)
    assert_close(of_w, 2 * B)


def test_without_arguments():
    assert float(grad(lambda c: knet.checkpoint(lambda: c * c)())(3.0)) == 6.0
    assert knet.checkpoint(lambda: 2.0)().dtype == knp.float32


def test_random_numbers_are_the_same_in_both_runs():
    key = knet.random.key(3)

    def f(x):
        return (x * knet.random.normal(key, (3,), dtype=F64)).sum()

    assert_close(grad(knet.checkpoint(f))(W), grad(f)(W))


LAYERS, SEGMENT = 64, 8


def layer(x, w):
    return knp.sin(x * w)


def plain(w, x):
    for _ in range(LAYERS):
        x = layer(x, w)
    return x.sum()


def in_segments(w, x):
    def segment(x):
        for _ in range(SEGMENT):
            x = layer(x, w)
        return x

    for _ in range(LAYERS // SEGMENT):
        x = knet.checkpoint(segment)(x)
    return x.sum()


def in_segments_of_segments(w, x):
    def inner(x):
        for _ in range(4):
            x = layer(x, w)
        return x

    def outer(x):
        for _ in range(4):
            x = knet.checkpoint(inner)(x)
        return x

    for _ in range(4):
        x = knet.checkpoint(outer)(x)
    return x.sum()


def peak_arrays(loss, size=20000):
    """Most memory that the gradient of a loss holds beyond its arguments, in arrays of ``size`` float64 elements."""
    w, x = knp.asarray(1.1, dtype=F64), knp.asarray(np.linspace(0.1, 1.0, size))
    grad(loss, (0, 1))(w, x)  # what is made once, is made
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        grad(loss, (0, 1))(w, x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return (peak - before) / (8 * size)


def test_a_chain_of_n_layers_keeps_2_sqrt_n_of_them(on_cpu, monkeypatch, capsys):
    monkeypatch.setattr("knet.core.reverse.CHECKS", False)  # the suite's checks keep every result
    w, x = knp.asarray(1.1, dtype=F64), knp.asarray(np.linspace(0.1, 1.0, 50))
    want = grad(plain, (0, 1))(w, x)
    assert_trees_close(grad(in_segments, (0, 1))(w, x), want, rtol=1e-10)
    assert_trees_close(grad(in_segments_of_segments, (0, 1))(w, x), want, rtol=1e-10)
    plain_peak, segments_peak, nested_peak = map(peak_arrays, (plain, in_segments, in_segments_of_segments))
    with capsys.disabled():
        print(
            f"\n  arrays alive in the gradient of {LAYERS} layers: {plain_peak:.1f} plain, {segments_peak:.1f} in "
            f"{LAYERS // SEGMENT} checkpoints, {nested_peak:.1f} in 4 checkpoints of 4"
        )
    # Each layer keeps two arrays: x for the product's derivative by w, and the product for the sine's.
    per_layer, spare = 2, 6
    assert plain_peak >= per_layer * LAYERS
    segments = LAYERS // SEGMENT  # each segment keeps its argument, and the one at work all of its layers
    assert segments_peak <= segments + per_layer * SEGMENT + spare
    assert nested_peak <= 4 + 4 + per_layer * 4 + spare


# --- primitives from outside ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extensions():
    """What the page on defining operations defines; its own assertions hold, and the registry is restored."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    before, names = dict(registry), {}
    try:
        for block in blocks:
            exec(compile(block, "docs/extending.md", "exec"), names)
        yield names
    finally:
        for name in set(registry) - set(before):
            del registry[name]


def of_softsign():
    for shape in ((), (4,), (2, 3), (2, 0)):

        def draw(k, shape=shape):
            return [np.asarray(np.random.default_rng(k).uniform(0.2, 2.0, shape))]

        yield laws.Subject("softsign", f"softsign({list(shape)})", draw, {}, (0,), 0)


def of_tridiagonal_solve():
    for shape in ((1,), (5,), (2, 4)):

        def draw(k, shape=shape):
            rng = np.random.default_rng(k)
            return [np.asarray(rng.uniform(0.2, 1.0, shape) + shift) for shift in (0.0, 4.0, 0.0, 0.0)]

        yield laws.Subject("tridiagonal_solve", f"tridiagonal_solve({list(shape)})", draw, {}, (0, 1, 2, 3))


@pytest.mark.parametrize("subjects", [of_softsign, of_tridiagonal_solve], ids=["softsign", "tridiagonal_solve"])
@pytest.mark.parametrize("law", [*laws.VALUES, *laws.DERIVATIVES], ids=laws.title)
def test_a_primitive_from_outside_obeys_the_laws(law, subjects, extensions):
    chosen = list(subjects())
    laws.assert_law(law.check, laws.doubles(chosen) if law.subjects is laws.differentiable else chosen)


def test_a_wrong_rule_from_outside_is_found(extensions):
    solve = extensions["tridiagonal_solve"]
    rules = solve.vjp
    solve.define_vjp((rules[0], rules[2], rules[1], rules[3]))
    try:
        with pytest.raises(AssertionError, match=r"^tridiagonal_solve: "):
            laws.assert_law(laws.law_reverse_mode_is_what_differences_say, list(of_tridiagonal_solve()))
    finally:
        solve.define_vjp(rules)


def test_a_name_that_is_taken_is_refused(extensions):
    with pytest.raises(ValueError, match="'softsign' is registered already"):
        knet.extend.elementwise("softsign", np.abs, "fabs(x)", lambda g, _y, _x: g, "Again.")


@pytest.mark.parametrize("kind", ["vjp", "jvp"])
def test_arguments_by_keyword(kind):
    def scaled(x, factor=2.0):
        return x * factor

    if kind == "vjp":
        f = knet.custom_vjp(scaled)
        f.defvjp(lambda x, factor: (x * factor, factor), lambda factor, g: (10 * g * factor, None))
    else:
        f = knet.custom_jvp(scaled)
        f.defjvp(lambda p, t: (p[0] * p[1], 10 * t[0] * p[1]))
    assert float(knet.grad(lambda x: f(x, factor=3.0))(1.0)) == 30.0
    assert (
        float(knet.grad(lambda x: f(x=x))(1.0) if kind == "vjp" else knet.grad(lambda x: f(x, factor=2.0))(1.0)) == 20.0
    )


def test_arguments_by_keyword_only_are_refused():
    @knet.custom_vjp
    def f(x, *, factor):
        return x * factor

    f.defvjp(lambda x: (x, None), lambda _, g: (g,))
    with pytest.raises(errors.TreeError, match=r"f: factor can be passed by keyword only(.|\n)*fix: drop the \*"):
        f(1.0, factor=2.0)
