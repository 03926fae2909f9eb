"""Short programs of the kind that transformations are for, against closed forms, float64 differences, and JAX.

The programs are written for any namespace of NumPy's names and any set of transformations, so that one text runs on
Knet and, where it is installed, on JAX.
"""

from __future__ import annotations

import itertools
import math
import types

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.testing import assert_close, assert_trees_close, check_grads

F64 = knp.float64


def f64(x):
    return knp.asarray(np.asarray(x, np.float64))


def rng(seed=0):
    return np.random.default_rng(seed)


def differences(f, x, h=1e-5):
    """Jacobian of a function of one array, [*y.shape, *x.shape], by central differences."""
    x = np.asarray(x, np.float64)
    columns = []
    for place in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[place] = h
        columns.append((np.asarray(f(f64(x + step))) - np.asarray(f(f64(x - step)))) / (2 * h))
    return np.stack(columns, -1).reshape(*columns[0].shape, *x.shape)


# --- programs ---------------------------------------------------------------------------------------------------------
#
# Each takes ``k``, the transformations, and ``xp``, the arrays, and returns a pytree of results.

A = rng(1).normal(size=(4, 4))
V = rng(2).normal(size=4)
DATA = rng(3).normal(size=(6, 4))
LABELS = rng(4).normal(size=6)
PARAMS = {"w1": rng(5).normal(size=(4, 5)) * 0.5, "b1": np.zeros(5), "w2": rng(6).normal(size=5)}
ZERO, FIELD = np.zeros(()), A + 2 * np.eye(4)
ROOT_A, ROOT_B = np.array([1.0, 2.0, 0.5]), np.array([2.0, -1.0, 3.0])
WITH_ZEROS, TIED = np.array([2.0, 0.0, 3.0, 0.5]), np.array([1.0, 3.0, 3.0, 3.0])


def network(xp, p, x):
    return xp.tanh(x @ p["w1"] + p["b1"]) @ p["w2"]


def squared_error(xp, p, x, y):
    return (network(xp, p, x) - y) ** 2


def hessian_of_a_quadratic(k, xp):
    return k.hessian(lambda x: 0.5 * x @ xp.asarray(A) @ x + xp.asarray(V) @ x)(xp.asarray(V))


def hessian_of_a_network(k, xp):
    p = {name: xp.asarray(x) for name, x in PARAMS.items()}
    return k.hessian(lambda p: squared_error(xp, p, xp.asarray(DATA), xp.asarray(LABELS)).mean())(p)


def jacobians(k, xp):
    def f(x):
        return xp.stack([x[0] * x[1], xp.sin(x[2]), xp.exp(x[0] - x[3]), x.sum()])

    x = xp.asarray(V)
    return k.jacfwd(f)(x), k.jacrev(f)(x)


def gradients_per_example(k, xp):
    p = {name: xp.asarray(x) for name, x in PARAMS.items()}
    loss = lambda p, x, y: squared_error(xp, p, x, y)  # noqa: E731
    return k.vmap(k.grad(loss), in_axes=(None, 0, 0))(p, xp.asarray(DATA), xp.asarray(LABELS))


def ode_until_far(k, xp):
    """Forward mode through a loop whose number of steps depends on the values."""

    def solve(theta):
        def step(state):
            t, y = state
            return t + 1.0, y + 0.1 * xp.tanh(theta @ y)

        return k.while_loop(lambda s: (s[1] @ s[1] < 40.0) & (s[0] < 60.0), step, (xp.asarray(ZERO), xp.asarray(V)))[1]

    theta = xp.asarray(FIELD)
    return k.jvp(solve, (theta,), (xp.asarray(A),))


def ode_by_scan(k, xp):
    """Reverse mode through a fixed number of Runge-Kutta steps."""

    def solve(theta, y):
        field = lambda y: xp.tanh(theta @ y) - 0.1 * y  # noqa: E731

        def step(y, _):
            k1 = field(y)
            k2 = field(y + 0.05 * k1)
            return y + 0.1 * k2, y

        last, path = k.scan(step, y, None, length=8)
        return (last**2).sum() + path.sum()

    return k.grad(solve, (0, 1))(xp.asarray(A), xp.asarray(V))


def learning_to_start(k, xp):
    """MAML: the gradient through two steps of training on each task, by the parameters before them."""
    xs, ys = xp.asarray(DATA.reshape(3, 2, 4)), xp.asarray(LABELS.reshape(3, 2))

    def task_loss(w, x, y):
        return ((xp.tanh(x @ w) - y) ** 2).mean()

    def after_training(w, x, y):
        for _ in range(2):
            w = w - 0.3 * k.grad(task_loss)(w, x, y)
        return task_loss(w, x, y)

    return k.grad(lambda w: k.vmap(after_training, in_axes=(None, 0, 0))(w, xs, ys).mean())(xp.asarray(V))


def newton_root(k, xp):
    """A root solve whose derivative is given by the implicit function theorem: x with x^3 + a x = b."""

    def solve(a, b):
        x = b
        for _ in range(60):
            x = x - (x**3 + a * x - b) / (3 * x**2 + a)
        return x

    root = k.custom_vjp(solve)

    def backward(residuals, g):
        a, x = residuals
        slope = 3 * x**2 + a
        return -g * x / slope, g / slope

    root.defvjp(lambda a, b: (solve(a, b), (a, solve(a, b))), backward)
    a, b = xp.asarray(ROOT_A), xp.asarray(ROOT_B)
    first = k.vmap(k.grad(root, (0, 1)))(a, b)
    return k.vmap(root)(a, b), first, k.vmap(k.grad(k.grad(root)))(a, b)


def fixed_point(k, xp):
    """x = tanh(W x + u): the derivative solves another fixed point, whatever the number of iterations was."""

    def iterate(f, x):
        for _ in range(200):
            x = f(x)
        return x

    def solve(w, u):
        return iterate(lambda x: xp.tanh(w @ x + u), u * 0.0)

    layer = k.custom_vjp(solve)

    def backward(residuals, g):
        w, u, x = residuals
        _, pull = k.vjp(lambda w, u, x: xp.tanh(w @ x + u), w, u, x)
        adjoint = iterate(lambda v: g + pull(v)[2], g * 0.0)
        return pull(adjoint)[:2]

    layer.defvjp(lambda w, u: (solve(w, u), (w, u, solve(w, u))), backward)
    return k.grad(lambda w, u: (layer(w, u) ** 2).sum(), (0, 1))(xp.asarray(A * 0.15), xp.asarray(V))


def sums_products_and_orders(k, xp):
    x = xp.asarray(V)
    weights = xp.asarray(rng(8).normal(size=4))
    with_zeros = xp.asarray(WITH_ZEROS)
    return (
        k.grad(lambda x: (xp.cumsum(x) ** 2 * weights).sum())(x),
        k.grad(lambda x: (xp.cumprod(x) * weights).sum())(x),
        k.grad(lambda x: xp.prod(x))(with_zeros),
        k.grad(lambda x: (xp.sort(x) * weights).sum())(x),
        k.grad(lambda x: xp.max(x) * 2.0)(xp.asarray(TIED)),
        k.hessian(lambda x: xp.prod(x) + (xp.sort(x) ** 2 * weights).sum())(x),
        k.jacrev(lambda x: xp.cumsum(xp.sin(x)))(x),
    )


PROGRAMS = [
    hessian_of_a_quadratic,
    hessian_of_a_network,
    jacobians,
    gradients_per_example,
    ode_until_far,
    ode_by_scan,
    learning_to_start,
    newton_root,
    fixed_point,
    sums_products_and_orders,
]


def run(program):
    return program(knet, knp)


# --- the same programs on JAX -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jax_tools():
    """JAX's transformations under Knet's names, and its arrays, in float64."""
    jax = pytest.importorskip("jax", reason="JAX is not installed: the comparison with it is optional")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    names = ("grad", "vjp", "jvp", "vmap", "jacfwd", "jacrev", "hessian", "custom_vjp")
    k = types.SimpleNamespace(**{name: getattr(jax, name) for name in names})
    k.scan, k.while_loop = jax.lax.scan, jax.lax.while_loop
    yield k, jax.numpy
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
@pytest.mark.filterwarnings("default")
def test_jax_computes_the_same(program, jax_tools):
    theirs = knet.tree.map(lambda x: knp.asarray(np.asarray(x)), program(*jax_tools))
    assert_trees_close(run(program), theirs, rtol=1e-5, atol=1e-9)
    assert all(x.dtype == F64 for x in knet.tree.leaves(theirs)), "a comparison in float32 would show little"


# --- closed forms and differences -------------------------------------------------------------------------------------


def test_the_hessian_of_a_quadratic_is_its_matrix():
    assert_close(run(hessian_of_a_quadratic), f64((A + A.T) / 2), rtol=1e-13)


def test_the_hessian_of_a_network_is_symmetric_and_what_differences_say():
    h = run(hessian_of_a_network)
    sizes = {name: x.size for name, x in PARAMS.items()}
    names = sorted(sizes)
    whole = np.block([[np.asarray(h[a][b]).reshape(sizes[a], sizes[b]) for b in names] for a in names])
    np.testing.assert_allclose(whole, whole.T, rtol=1e-12, atol=1e-13)

    def loss(flat):
        p, start = {}, 0
        for name in names:
            p[name] = flat[start : start + sizes[name]].reshape(PARAMS[name].shape)
            start += sizes[name]
        return squared_error(knp, p, f64(DATA), f64(LABELS)).mean()

    flat = np.concatenate([PARAMS[name].ravel() for name in names])
    np.testing.assert_allclose(whole, differences(knet.grad(loss), flat), rtol=1e-6, atol=1e-8)
    # A product with the Hessian needs no Hessian.
    direction = rng(7).normal(size=flat.size)
    got = knet.hvp(loss, (f64(flat),), (f64(direction),))
    np.testing.assert_allclose(np.asarray(got), whole @ direction, rtol=1e-11, atol=1e-12)


def test_both_jacobians_are_what_differences_say():
    forward, reverse = run(jacobians)
    a, b, c, d = V
    e = math.exp(a - d)
    want = np.array([[b, a, 0, 0], [0, 0, math.cos(c), 0], [e, 0, 0, -e], [1, 1, 1, 1]])
    assert_close(forward, f64(want), rtol=1e-13)
    assert_close(reverse, f64(want), rtol=1e-13)


def test_gradients_per_example_are_a_loop():
    p = {name: f64(x) for name, x in PARAMS.items()}
    one = [knet.grad(lambda p, i=i: squared_error(knp, p, f64(DATA[i]), f64(LABELS[i])))(p) for i in range(6)]
    got = run(gradients_per_example)
    assert_trees_close(got, knet.tree.map(lambda *g: knp.stack(g), *one), rtol=1e-12, atol=1e-14)
    mean = knet.grad(lambda p: squared_error(knp, p, f64(DATA), f64(LABELS)).mean())(p)
    assert_trees_close(knet.tree.map(lambda g: g.mean(0), got), mean, rtol=1e-12, atol=1e-14)


def test_a_differential_equation_in_forward_mode():
    y, t = run(ode_until_far)

    def solve(theta):
        y, steps = V.copy(), 0
        while y @ y < 40 and steps < 60:
            y, steps = y + 0.1 * np.tanh(theta @ y), steps + 1
        assert 5 < steps < 60, "the number of steps depends on the values"
        return y

    h = 1e-6
    np.testing.assert_allclose(np.asarray(y), solve(FIELD), rtol=1e-12)
    np.testing.assert_allclose(
        np.asarray(t), (solve(FIELD + h * A) - solve(FIELD - h * A)) / (2 * h), rtol=1e-6, atol=1e-8
    )


def test_a_differential_equation_in_reverse_mode():
    def solve(theta, y):
        path = []
        for _ in range(8):
            path.append(y)
            k1 = np.tanh(theta @ y) - 0.1 * y
            middle = y + 0.05 * k1
            y = y + 0.1 * (np.tanh(theta @ middle) - 0.1 * middle)
        return (y**2).sum() + np.sum(path)

    of_theta, of_y = run(ode_by_scan)
    theta_differences = differences(lambda theta: solve(np.asarray(theta), V), A)
    np.testing.assert_allclose(np.asarray(of_theta), theta_differences, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        np.asarray(of_y), differences(lambda y: solve(A, np.asarray(y)), V), rtol=1e-6, atol=1e-8
    )


def test_a_gradient_through_training():
    def loss(w):
        xs, ys, total = DATA.reshape(3, 2, 4), LABELS.reshape(3, 2), 0.0
        for x, y in zip(xs, ys, strict=True):
            v = np.asarray(w)
            for _ in range(2):
                h = np.tanh(x @ v)
                v = v - 0.3 * (2 * (h - y) * (1 - h**2)) @ x / 2
            total += ((np.tanh(x @ v) - y) ** 2).mean()
        return total / 3

    np.testing.assert_allclose(np.asarray(run(learning_to_start)), differences(loss, V), rtol=1e-6, atol=1e-9)


def test_the_implicit_derivative_of_a_root():
    x, (of_a, of_b), second = (knet.tree.map(np.asarray, part) for part in run(newton_root))
    a, b = ROOT_A, ROOT_B
    np.testing.assert_allclose(x**3 + a * x, b, rtol=1e-13)
    slope = 3 * x**2 + a
    np.testing.assert_allclose(of_a, -x / slope, rtol=1e-12)
    np.testing.assert_allclose(of_b, 1 / slope, rtol=1e-12)
    # Differentiating a x' + x = -3 x^2 x' once more, with x' = -x / slope.
    np.testing.assert_allclose(second, -(2 * of_a + 6 * x * of_a**2) / slope, rtol=1e-10)
    unrolled = knet.vmap(knet.grad(_newton))(f64(a), f64(b))
    np.testing.assert_allclose(of_a, np.asarray(unrolled), rtol=1e-10)


def _newton(a, b):
    x = b
    for _ in range(60):
        x = x - (x**3 + a * x - b) / (3 * x**2 + a)
    return x


def test_the_implicit_derivative_of_a_fixed_point():
    of_w, of_u = (np.asarray(g) for g in run(fixed_point))
    w, x = A * 0.15, np.zeros(4)
    for _ in range(400):
        x = np.tanh(w @ x + V)
    d = np.diag(1 - x**2)
    adjoint = np.linalg.solve((np.eye(4) - d @ w).T, 2 * x) @ d
    np.testing.assert_allclose(of_u, adjoint, rtol=1e-10)
    np.testing.assert_allclose(of_w, np.outer(adjoint, x), rtol=1e-10, atol=1e-12)


# --- single points ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", range(10))
@pytest.mark.parametrize("x", [0.0, 0.7, -3.0])
def test_sine_to_the_ninth_order_in_any_mixture_of_modes(order, x):
    cycle = (math.sin, math.cos, lambda v: -math.sin(v), lambda v: -math.cos(v))
    modes = (
        knet.grad,
        lambda f: lambda x: knet.jvp(f, (x,), (knp.ones_like(x),))[1],
    )
    for pattern in ((0, 0), (1, 1), (0, 1), (1, 0)):
        f = knp.sin
        for mode in itertools.islice(itertools.cycle(pattern), order):
            f = modes[mode](f)
        assert float(f(f64(x))) == pytest.approx(cycle[order % 4](x), rel=1e-12, abs=1e-15)


def test_cumulative_sums_and_products():
    x, w = V, rng(8).normal(size=4)
    of_sums, of_products = (np.asarray(g) for g in run(sums_products_and_orders)[:2])
    sums = np.cumsum(x)
    np.testing.assert_allclose(of_sums, [(2 * sums * w)[i:].sum() for i in range(4)], rtol=1e-12)
    products = np.cumprod(x)
    np.testing.assert_allclose(of_products, [(products * w)[i:].sum() / x[i] for i in range(4)], rtol=1e-12)


@pytest.mark.parametrize("zeros", [(), (1,), (0, 2), (0, 1, 2, 3)])
def test_products_with_zeros_are_exact_to_second_order(zeros):
    x = np.array([2.0, -1.5, 3.0, 0.5])
    x[list(zeros)] = 0.0
    others = np.array([np.prod(np.delete(x, i)) for i in range(4)])
    pairs = np.array([[0.0 if i == j else np.prod(np.delete(x, [i, j])) for j in range(4)] for i in range(4)])
    assert_close(knet.grad(knp.prod)(f64(x)), f64(others), rtol=1e-14)
    assert_close(knet.hessian(knp.prod)(f64(x)), f64(pairs), rtol=1e-14)
    jacobian = np.array([[np.prod(np.delete(x[: t + 1], i)) if i <= t else 0.0 for i in range(4)] for t in range(4)])
    assert_close(knet.jacrev(knp.cumprod)(f64(x)), f64(jacobian), rtol=1e-14)
    assert_close(knet.jacfwd(knp.cumprod)(f64(x)), f64(jacobian), rtol=1e-14)
    check_grads(knp.cumprod, [f64(x)], order=2)


def test_ties_share_the_derivative():
    x = f64([1.0, 3.0, 3.0, 3.0])
    third = 2 / 3
    for f in (lambda x: 2 * knp.max(x), lambda x: -2 * knp.min(-x)):
        np.testing.assert_allclose(np.asarray(knet.grad(f)(x)), [0.0, third, third, third], rtol=1e-15)
        np.testing.assert_allclose(float(knet.jvp(f, (x,), (f64([5.0, 1.0, 2.0, 6.0]),))[1]), 2 * 3.0, rtol=1e-15)
    assert knet.grad(lambda x, y: knp.maximum(x, y), (0, 1))(2.0, 2.0) == (0.5, 0.5)
    assert knet.vmap(knet.grad(knp.max))(f64([[1.0, 1.0], [1.0, 2.0]])).tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_the_norm_at_zero_has_no_nan():
    zero = knp.zeros(3, dtype=F64)
    assert knet.grad(knp.linalg.norm)(zero).tolist() == [0.0, 0.0, 0.0]
    assert float(knet.jvp(knp.linalg.norm, (zero,), (knp.ones_like(zero),))[1]) == 0.0
    assert np.isfinite(np.asarray(knet.hessian(knp.linalg.norm)(zero))).all()
    x = np.array([3.0, 4.0])
    assert_close(knet.grad(knp.linalg.norm)(f64(x)), f64(x / 5), rtol=1e-15)
    unit = x / 5
    assert_close(knet.hessian(knp.linalg.norm)(f64(x)), f64((np.eye(2) - np.outer(unit, unit)) / 5), rtol=1e-14)


def test_where_guards_a_singularity_if_it_guards_the_argument():
    def guarded(x):
        safe = knp.where(x > 0, x, 1.0)
        return knp.where(x > 0, knp.sqrt(safe) * knp.log(safe), 0.0)

    def unguarded(x):
        return knp.where(x > 0, knp.sqrt(x) * knp.log(x), 0.0)

    x = f64([4.0, 0.0, -1.0])
    want = [(0.5 * math.log(4.0) + 1) / 2.0, 0.0, 0.0]
    assert_close(knet.vmap(knet.grad(guarded))(x), f64(want), rtol=1e-14)
    assert_close(knet.jvp(guarded, (x,), (knp.ones_like(x),))[1], f64(want), rtol=1e-14)
    assert np.isfinite(np.asarray(knet.vmap(knet.grad(knet.grad(guarded)))(x))).all()
    with np.errstate(all="ignore"):
        slopes = np.asarray(knet.vmap(knet.grad(unguarded))(x))
    assert np.isnan(slopes[1:]).all() and slopes[0] == pytest.approx(want[0])


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("descending", [False, True])
def test_sort_and_its_derivative(axis, descending):
    x = rng(11).permutation(12).reshape(3, 4) * 0.5
    want = -np.sort(-x, axis=axis) if descending else np.sort(x, axis=axis)
    assert_close(knp.sort(f64(x), axis=axis, descending=descending), f64(want))
    integers = knp.sort(knp.asarray((2 * x).astype(int)), axis=axis, descending=descending)
    assert integers.dtype == knp.int64 and integers.tolist() == (2 * want).tolist()
    weights = rng(12).normal(size=(3, 4))
    order = np.argsort(-x if descending else x, axis=axis)
    back = np.empty_like(weights)
    np.put_along_axis(back, order, weights, axis)
    f = lambda x: (knp.sort(x, axis=axis, descending=descending) * weights).sum()  # noqa: E731
    assert_close(knet.grad(f)(f64(x)), f64(back))
    by_index = lambda x: (knp.take_along_axis(x, knp.asarray(order), axis=axis) * weights).sum()  # noqa: E731
    assert_close(knet.grad(f)(f64(x)), knet.grad(by_index)(f64(x)))
    check_grads(lambda x: knp.sort(x, axis=axis, descending=descending) ** 2, [f64(x)], order=2)
    two = np.stack([x, -x])
    got = knet.vmap(lambda x: knp.sort(x, axis=axis, descending=descending))(f64(two))
    assert_close(got, knp.stack([knp.sort(f64(v), axis=axis, descending=descending) for v in two]))


def test_sort_of_nan_ties_and_nothing():
    x = f64([2.0, np.nan, 1.0, 2.0])
    assert np.array_equal(np.asarray(knp.sort(x)), [1.0, 2.0, 2.0, np.nan], equal_nan=True)
    assert np.array_equal(np.asarray(knp.sort(x, descending=True)), [np.nan, 2.0, 2.0, 1.0], equal_nan=True)
    assert knp.sort(knp.zeros((0, 3)), axis=0).shape == (0, 3)
    g = knet.grad(lambda x: (knp.sort(x) * f64([1.0, 10.0, 100.0])).sum())(f64([5.0, 5.0, 0.0]))
    assert g.tolist() == [10.0, 100.0, 1.0]  # stable: of equal elements the first comes first
    with pytest.raises(knet.errors.ShapeError, match="sort"):
        knp.sort(1.0)
    with pytest.raises(knet.errors.ShapeError, match="axis 2"):
        knp.sort(knp.ones((2, 2)), axis=2)
