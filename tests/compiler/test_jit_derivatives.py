"""jit beneath and above every transformation, and functions that bring a derivative of their own."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet import nn

V = knp.asarray([0.5, -1.0, 2.0])
W = knp.asarray([[0.2, 0.1, -0.4], [1.0, -0.3, 0.7]])


def close(got, want, rtol=2e-6):
    got, want = knet.tree.flatten(got), knet.tree.flatten(want)
    assert got[1] == want[1]
    for g, w in zip(got[0], want[0], strict=True):
        g, w = np.asarray(g), np.asarray(w)
        assert (g.shape, g.dtype) == (w.shape, w.dtype)
        np.testing.assert_allclose(g, w, rtol=rtol, atol=1e-6)


def scalar(x):
    return (knp.tanh(x) * knp.exp(-x * x) + x**3).sum()


def vector(x):
    return W @ knp.sin(x) * x.sum()


TRANSFORMED = {
    "grad": lambda j: knet.grad(j(scalar))(V),
    "grad of grad": lambda j: knet.grad(lambda x: knet.grad(j(scalar))(x).sum())(V),
    "value_and_grad": lambda j: knet.value_and_grad(j(scalar))(V),
    "hessian": lambda j: knet.hessian(j(scalar))(V),
    "jacfwd": lambda j: knet.jacfwd(j(vector))(V),
    "jacrev": lambda j: knet.jacrev(j(vector))(V),
    "jvp": lambda j: knet.jvp(j(vector), (V,), (V,)),
    "vjp": lambda j: knet.vjp(j(vector), V)[1](W[:, 0]),
    "hvp": lambda j: knet.hvp(j(scalar), (V,), (V,)),
    "linearize": lambda j: knet.linearize(j(vector), V)[1](V),
    "vmap": lambda j: knet.vmap(j(scalar))(W),
    "vmap of vmap": lambda j: knet.vmap(knet.vmap(j(lambda x, y: x * knp.cos(y)), (0, None)), (None, 0))(V, V),
    "vmap of grad": lambda j: knet.vmap(knet.grad(j(scalar)))(W),
    "grad of vmap": lambda j: knet.grad(lambda x: knet.vmap(j(scalar))(x).sum())(W),
    "in_axes": lambda j: knet.vmap(j(lambda w, x: w @ x), in_axes=(None, 1), out_axes=1)(W, W.T),
    "checkpoint": lambda j: knet.grad(knet.checkpoint(j(scalar)))(V),
    "jit": lambda j: knet.jit(j(scalar))(V),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_jit_beneath(name):
    close(TRANSFORMED[name](knet.jit), TRANSFORMED[name](lambda f: f))


@pytest.mark.parametrize("name", TRANSFORMED)
def test_jit_above(name):
    close(knet.jit(lambda: TRANSFORMED[name](lambda f: f))(), TRANSFORMED[name](lambda f: f))
    close(knet.jit(lambda: TRANSFORMED[name](knet.jit))(), TRANSFORMED[name](lambda f: f))


JIT_ABOVE = {
    "grad": (knet.grad(scalar), V),
    "hessian": (knet.hessian(scalar), V),
    "jacfwd": (knet.jacfwd(vector), V),
    "jacrev": (knet.jacrev(vector), V),
    "jvp": (lambda x: knet.jvp(vector, (x,), (x,)), V),
    "vjp": (lambda x: knet.vjp(vector, x)[1](x[:2]), V),
    "vmap": (knet.vmap(scalar), W),
    "vmap of grad": (knet.vmap(knet.grad(scalar)), W),
    "grad of vmap": (knet.grad(lambda x: knet.vmap(scalar)(x).sum()), W),
}


@pytest.mark.parametrize("name", JIT_ABOVE)
def test_jit_of_a_transformed_function_of_traced_arguments(name):
    f, x = JIT_ABOVE[name]
    close(knet.jit(f)(x), f(x))
    close(knet.jit(knet.jit(f))(x), f(x))


def test_a_nested_jit_is_inlined():
    inner = knet.jit(lambda x: knp.sin(x))
    graph = knet.trace(lambda x: inner(x) + inner(2 * x))(V)
    assert [n.op.name for n in graph.nodes] == ["sin", "multiply", "sin", "add"]
    assert inner.trace_count == 1


def test_closures_over_outer_tracers():
    def f(w, x):
        inner = knet.jit(lambda y: (w * knp.sin(y * w)).sum())
        return inner(x)

    want = knet.grad(lambda w, x: (w * knp.sin(x * w)).sum(), (0, 1))(V, V)
    close(knet.grad(f, (0, 1))(V, V), want)
    close(knet.jit(knet.grad(f, (0, 1)))(V, V), want)
    close(knet.vmap(f)(V, V), knp.stack([f(v, v) for v in V]))
    close(knet.vmap(lambda w: knet.grad(f)(w, V))(V), knp.stack([knet.grad(f)(v, V) for v in V]))
    close(knet.jvp(lambda w: f(w, 2.0), (V,), (V,)), knet.jvp(lambda w: (w * knp.sin(2 * w)).sum(), (V,), (V,)))
    close(knet.grad(lambda w: knet.grad(lambda x: f(w, x))(w).sum())(V),
          knet.grad(lambda w: knet.grad(lambda x: (w * knp.sin(x * w)).sum())(w).sum())(V))  # fmt: skip


def test_a_closure_over_an_outer_tracer_is_not_kept():
    kept = []

    @knet.jit
    def inner(y):
        return y * kept[-1]

    def f(w):
        kept.append(w)
        return inner(2.0)

    assert [float(knet.grad(f)(w)) for w in (1.0, 5.0)] == [2.0, 2.0]
    assert not inner.traces


def test_perturbations_are_not_confused():
    assert float(knet.grad(knet.jit(lambda x: x * knet.grad(knet.jit(lambda y: x + y))(x)))(5.0)) == 1.0


def test_eval_shape():
    f = knet.jit(lambda x: {"y": W @ x, "n": x.sum() > 0})
    shapes = knet.eval_shape(f, V)
    assert (shapes["y"].shape, shapes["n"].dtype.name) == ((2,), "bool")
    assert knet.jit(lambda x: knp.zeros(knet.eval_shape(f, x)["y"].shape))(V).shape == (2,)


def test_derivatives_of_a_graph_are_made_once():
    f = knet.jit(scalar)
    for _ in range(3):
        knet.grad(f)(V), knet.vmap(f)(W), knet.jvp(f, (V,), (V,))
    (graph,) = [t.graph for t in f.traces.values()]
    kinds = sorted(k[0] for k in graph.derived)
    assert kinds == ["batched", "joint", "pulled", "pushed"] and f.trace_count == 1


# --- functions with a derivative of their own -------------------------------------------------------------------------


@knet.custom_vjp
def clipped(x):
    return x


clipped.defvjp(lambda x: (clipped(x), {"none": None, "two": 2.0}), lambda r, g: (knp.clip(r["two"] * g, -1.0, 1.0),))


@knet.custom_jvp
def log1pexp(x):
    return knp.log1p(knp.exp(x))


log1pexp.defjvp(lambda p, t: (log1pexp(*p), t[0] * (1 - 1 / (1 + knp.exp(p[0])))))


@knet.checkpoint
def remembered(x):
    return knp.sin(x) * x


def scaled_vjp(w, x):
    @knet.custom_vjp
    def f(x):
        return x * w

    f.defvjp(lambda x: (x * w, (x, w)), lambda r, g: (10 * g * r[1],))
    return f(x)


def scaled_checkpoint(w, x):
    return knet.checkpoint(lambda x: knp.sin(x * w))(x)


OWN = {
    "custom_vjp": lambda x: 5.0 * clipped(x),
    "custom_jvp": log1pexp,
    "checkpoint": remembered,
    "custom_vjp closing over": lambda x: scaled_vjp(knp.cos(x), x),
    "checkpoint closing over": lambda x: scaled_checkpoint(knp.cos(x), x),
    "within one another": lambda x: knet.checkpoint(lambda y: clipped(log1pexp(remembered(y)) * x))(x),
}
X = knp.asarray([0.3, -2.0, 40.0, 100.0])  # e ** 100 overflows: without the rule the derivative is NaN


def ways(f, j):
    """Derivatives of f that pass through j."""
    total = lambda x: f(x).sum()  # noqa: E731
    yield f(X)
    yield knet.grad(j(total))(X)
    yield knet.vmap(knet.grad(j(f)))(X)
    yield knet.grad(lambda x: j(knet.vmap(f))(x).sum())(X)
    yield knet.jvp(j(f), (X,), (knp.ones_like(X),))
    yield knet.grad(lambda x: knet.grad(j(total))(x).sum())(X)
    yield knet.vmap(knet.grad(knet.grad(j(f))))(X)


@pytest.mark.parametrize("name", OWN)
def test_derivatives_of_one_s_own_survive(name):
    f = OWN[name]
    with np.errstate(all="ignore"):
        for got, want in zip(ways(f, knet.jit), ways(f, lambda g: g), strict=True):
            close(got, want)
        close(knet.jit(lambda: list(ways(f, lambda g: g)))(), list(ways(f, lambda g: g)))
        for g in (lambda x: knet.grad(lambda x: f(x).sum())(x), knet.vmap(knet.grad(f)), knet.vmap(f)):
            close(knet.jit(g)(X), g(X))


def test_what_such_a_function_closes_over_is_differentiated():
    for f in (scaled_vjp, scaled_checkpoint):
        total = lambda w, x, f=f: f(w, x).sum()  # noqa: E731
        want = knet.grad(total, (0, 1))(V, V)
        close(knet.grad(knet.jit(total), (0, 1))(V, V), want)
        close(knet.jit(knet.grad(total, (0, 1)))(V, V), want)


def test_nondiff_argnums_and_integers():
    def f(x, times):
        return x * times

    g = knet.custom_vjp(f, nondiff_argnums=1)
    g.defvjp(lambda x, times: (f(x, times), None), lambda times, _, c: (c * times * 100,))
    close(knet.grad(knet.jit(lambda x: g(x, 3).sum()))(V), knp.full(3, 300.0))
    h = knet.custom_vjp(lambda x, i: x[i])
    h.defvjp(lambda x, i: (x[i], (x, i)), lambda r, c: (knp.zeros_like(r[0]).at[r[1]].set(7 * c), None))
    close(knet.grad(knet.jit(h))(V, knp.asarray(1)), knp.asarray([0.0, 7.0, 0.0]))


def test_a_call_is_one_node_until_it_is_compiled():
    lowered = knet.jit(lambda x: clipped(x) * 2).lower(V)
    assert [n.op.name for n in lowered.traced.nodes] == ["clipped", "multiply"]
    assert [n.op.name for n in lowered.graph.nodes] == ["multiply"]
    assert "    clipped(a: float32[3]):\n      return a" in str(lowered.traced)


def test_dropout_and_embedding_under_jit():
    table, ids, key = knet.random.normal(knet.random.key(0), (5000, 16)), knp.asarray([1, 7, 1]), knet.random.key(3)

    def loss(table):
        return (nn.dropout(key, knp.take(table, ids, axis=0), 0.5) ** 2).sum()

    want = knet.grad(loss)(table)
    close(knet.jit(knet.grad(loss))(table), want.dense())
    got = knet.grad(knet.jit(loss))(table)
    close(getattr(got, "dense", lambda: got)(), want.dense())
