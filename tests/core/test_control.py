"""Control flow: each construct is the Python statement it replaces, in every transformation; and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from laws.test_laws import counted_kernels
from refusals import message, refuses

import knet
import knet.numpy as knp
from knet import errors
from knet.testing import assert_close, assert_trees_close, check_grads

F64 = knp.float64
grad, jvp, vmap = knet.grad, knet.jvp, knet.vmap


def f64(*values):
    return knp.asarray(np.array(values, np.float64))


X = f64(-1.5, 0.5, 2.0)
ONE = knp.ones((), dtype=F64)


def by_hand(f, xs=X):
    """f of each example, stacked."""
    return knet.tree.map(lambda *ys: knp.stack(ys), *[f(x) for x in xs])


# --- every construct in every transformation --------------------------------------------------------------------------
#
# Pairs of functions of one number: with the construct, and with Python's own statements.


def piecewise(x):
    return knp.sin(x) * 2 if x > 0 else x**3


def counted(x):
    for i in range(5):
        x = knp.sin(x) + i * 0.25
    return x


def until_large(x):
    while knp.abs(x) < 10:
        x = x * 1.7 + 0.1
    return x


def recurrence(x):
    c, ys = x, []
    for t in range(4):
        c = knp.tanh(c * x + t)
        ys.append(c * c)
    return c + sum(ys)


def branches():
    return [lambda x: x * 2, lambda x: knp.sin(x), lambda x: x**2]


def chosen(x):
    i = 0 if x < 0 else 1 if x < 1 else 2
    return branches()[i](x)


PAIRS = {
    "cond": (lambda x: knet.cond(x > 0, lambda x: knp.sin(x) * 2, lambda x: x**3, x), piecewise),
    "cond that closes over x": (lambda x: knet.cond(x > 0, lambda: knp.sin(x) * 2, lambda: x**3), piecewise),
    "cond in a branch of cond": (
        lambda x: knet.cond(x > 0, lambda: knet.cond(x > 1, lambda: x * x, lambda: knp.sin(x)), lambda: -x),
        lambda x: (x * x if x > 1 else knp.sin(x)) if x > 0 else -x,
    ),
    "switch": (
        lambda x: knet.switch((x >= 0).astype(int) + (x >= 1).astype(int), branches(), x),
        chosen,
    ),
    "fori_loop": (lambda x: knet.fori_loop(0, 5, lambda i, c: knp.sin(c) + i * 0.25, x), counted),
    "scan": (
        lambda x: (lambda r: r[0] + r[1].sum())(
            knet.scan(lambda c, t: (lambda h: (h, h * h))(knp.tanh(c * x + t)), x, knp.arange(4))
        ),
        recurrence,
    ),
    "scan with length": (
        lambda x: knet.scan(lambda c, _: (knp.sin(c) * x, None), x, length=3)[0],
        lambda x: knp.sin(knp.sin(knp.sin(x) * x) * x) * x,
    ),
    "map": (
        lambda x: knet.map(lambda t: knp.sin(t * x), f64(1.0, 2.0)).sum(),
        lambda x: knp.sin(x) + knp.sin(2.0 * x),
    ),
    "associative_scan": (
        lambda x: (knet.associative_scan(knp.multiply, knp.stack([x, x + 1, x * x, knp.sin(x), x])) ** 2).sum(),
        lambda x: (knp.cumprod(knp.stack([x, x + 1, x * x, knp.sin(x), x])) ** 2).sum(),
    ),
    "cond in the body of scan": (
        lambda x: knet.scan(
            lambda c, t: (knet.cond(c > 0, lambda: knp.sin(c + t), lambda: c * x + 1), None), x, knp.arange(4)
        )[0],
        lambda x: steps(x),
    ),
    "scan in a branch of cond": (
        lambda x: knet.cond(
            x > 0, lambda: knet.scan(lambda c, t: (c * x + t, None), x, knp.arange(3))[0], lambda: -x * x
        ),
        lambda x: ((x * x) * x + 1) * x + 2 if x > 0 else -x * x,
    ),
    "scan in the body of scan": (
        lambda x: knet.scan(
            lambda c, t: (knet.scan(lambda d, s: (knp.sin(d * x + s), None), c, knp.arange(2))[0] + t, None),
            x,
            knp.arange(3),
        )[0],
        lambda x: nested_steps(x),
    ),
    "a gradient in the body of scan": (
        lambda x: knet.scan(lambda c, t: (c - 0.1 * grad(lambda w: (w * x - t) ** 2)(c), None), x, knp.arange(3))[0],
        lambda x: descent(x),
    ),
}


def steps(x):
    c = x
    for t in range(4):
        c = knp.sin(c + t) if c > 0 else c * x + 1
    return c


def nested_steps(x):
    c = x
    for t in range(3):
        for s in range(2):
            c = knp.sin(c * x + s)
        c = c + t
    return c


def descent(x):
    w = x
    for t in range(3):
        w = w - 0.1 * 2 * (w * x - t) * x
    return w


TRANSFORMATIONS = {
    "value": (lambda f: [f(x) for x in X], lambda f: [f(x) for x in X]),
    "grad": (lambda f: [grad(f)(x) for x in X], lambda f: [grad(f)(x) for x in X]),
    "grad of grad": (lambda f: [grad(grad(f))(x) for x in X], lambda f: [grad(grad(f))(x) for x in X]),
    "jvp": (lambda f: [jvp(f, (x,), (ONE,))[1] for x in X], lambda f: [grad(f)(x) for x in X]),
    "jvp of grad": (lambda f: [jvp(grad(f), (x,), (ONE,))[1] for x in X], lambda f: [grad(grad(f))(x) for x in X]),
    "vmap": (lambda f: vmap(f)(X), by_hand),
    "vmap of vmap": (
        lambda f: vmap(vmap(f))(knp.stack([X, X + 0.25])),
        lambda f: knp.stack([by_hand(f), by_hand(f, X + 0.25)]),
    ),
    "vmap of grad": (lambda f: vmap(grad(f))(X), lambda f: by_hand(grad(f))),
    "grad of vmap": (lambda f: grad(lambda x: (vmap(f)(x) * X).sum())(X), lambda f: by_hand(grad(f)) * X),
    "vmap of jvp": (lambda f: vmap(lambda x: jvp(f, (x,), (ONE,))[1])(X), lambda f: by_hand(grad(f))),
    "jvp of vmap": (lambda f: jvp(vmap(f), (X,), (X,))[1], lambda f: by_hand(grad(f)) * X),
    "vmap of hessian": (lambda f: vmap(knet.hessian(f))(X), lambda f: by_hand(grad(grad(f)))),
    "checkpoint": (lambda f: vmap(grad(knet.checkpoint(f)))(X), lambda f: by_hand(grad(f))),
}


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("construct", PAIRS)
def test_a_construct_is_the_statement_it_replaces(construct, transformation):
    with_construct, statements = PAIRS[construct]
    left, right = TRANSFORMATIONS[transformation]
    assert_trees_close(left(with_construct), right(statements), rtol=1e-12, atol=1e-13)


def while_large(x):
    return knet.while_loop(lambda c: knp.abs(c) < 10, lambda c: c * 1.7 + 0.1, x)


@pytest.mark.parametrize("transformation", ["value", "jvp", "vmap", "vmap of vmap", "vmap of jvp", "jvp of vmap"])
def test_while_loop_is_the_statement_it_replaces(transformation):
    left, right = TRANSFORMATIONS[transformation]
    assert_trees_close(left(while_large), right(until_large), rtol=1e-12)


def test_second_derivatives_of_while_loop_in_forward_mode():
    def cube(x):  # x^4 by a loop that counts in its carry
        return knet.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * x), (0, x))[1]

    first = lambda x: jvp(cube, (x,), (ONE,))[1]  # noqa: E731
    assert_close(vmap(lambda x: jvp(first, (x,), (ONE,))[1])(X), 12 * X**2, rtol=1e-13)
    assert_close(knet.jacfwd(knet.jacfwd(cube))(X[0]), 12 * X[0] ** 2, rtol=1e-13)


@pytest.mark.parametrize("construct", PAIRS)
def test_shapes_without_values(construct):
    with_construct, _ = PAIRS[construct]
    x = knet.ShapedArray((), F64)
    for f in (with_construct, grad(with_construct), lambda x: jvp(with_construct, (x,), (x,))[1]):
        y = knet.eval_shape(f, x)
        assert (y.shape, y.dtype) == ((), F64)
    assert knet.eval_shape(vmap(with_construct), knet.ShapedArray((7,), F64)).shape == (7,)


def test_shapes_of_while_loop_without_values():
    carry = {"n": knet.ShapedArray((), knp.int64), "x": knet.ShapedArray((2, 3), F64)}

    def f(carry):
        return knet.while_loop(lambda c: c["n"] < 5, lambda c: {"n": c["n"] + 1, "x": c["x"] * 2}, carry)

    y = knet.eval_shape(f, carry)
    assert (y["n"].dtype, y["x"].shape) == (knp.int64, (2, 3))
    wrong = lambda c: knet.while_loop(lambda c: c.sum() < 5, lambda c: c[:, :2], c)  # noqa: E731
    with pytest.raises(errors.TreeError, match=r"float64\[2,3\] before a step and float64\[2,2\]"):
        knet.eval_shape(wrong, carry["x"])


# --- cond and switch --------------------------------------------------------------------------------------------------


def test_only_the_branch_taken_runs():
    runs = []

    def branch(name):
        return lambda x: runs.append(name) or x

    assert float(knet.cond(True, branch("yes"), branch("no"), 1.0)) == 1.0
    knet.cond(knp.asarray(0.0), branch("yes"), branch("no"), 1.0)
    knet.switch(1, [branch(0), branch(1)], 1.0)
    vmap(lambda x: knet.cond(False, branch("yes"), branch("no"), x))(X)  # the predicate is the same for all examples
    assert runs == ["yes", "no", 1, "no"]


def test_an_index_outside_is_limited():
    f = [lambda: 0.0, lambda: 1.0, lambda: 2.0]
    assert [float(knet.switch(i, f)) for i in (-5, 0, 1, 2, 9)] == [0.0, 0.0, 1.0, 2.0, 2.0]
    assert vmap(lambda i: knet.switch(i, f))(knp.asarray([-5, 0, 1, 2, 9])).tolist() == [0.0, 0.0, 1.0, 2.0, 2.0]


def test_branches_of_pytrees_and_of_numbers():
    def f(p):
        return knet.cond(
            p, lambda: {"a": 1.0, "b": (knp.arange(2), None)}, lambda: {"a": 2.0, "b": (-knp.arange(2), None)}
        )

    y = vmap(f)(knp.asarray([True, False]))
    assert y["a"].tolist() == [1.0, 2.0] and y["b"][0].tolist() == [[0, 1], [0, -1]] and y["b"][1] is None


def test_a_predicate_batched_by_the_outer_vmap_alone():
    got = vmap(lambda p: vmap(lambda x: knet.cond(p, lambda: x, lambda: -x))(X))(knp.asarray([True, False]))
    assert got.tolist() == [X.tolist(), (-X).tolist()]


def test_the_branch_not_taken_spoils_no_value_and_no_guarded_gradient():
    def f(x):
        return knet.cond(x > 0, lambda: knp.log(knp.where(x > 0, x, 1.0)), lambda: x)

    assert np.isfinite(np.asarray(vmap(f)(X))).all()
    assert_close(vmap(grad(f))(X), f64(1.0, 2.0, 0.5))


# --- while_loop and fori_loop -----------------------------------------------------------------------------------------


def test_examples_of_a_batch_end_one_by_one():
    def collatz(n):
        body = lambda c: (knp.where(c[0] % 2 == 0, c[0] // 2, 3 * c[0] + 1), c[1] + 1)  # noqa: E731
        return knet.while_loop(lambda c: c[0] != 1, body, (n, 0))[1]

    starts = [1, 2, 7, 27]
    assert vmap(collatz)(knp.asarray(starts)).tolist() == [int(collatz(n)) for n in starts] == [0, 1, 16, 111]


def test_a_batched_carry_with_a_shared_condition_and_the_reverse():
    double = vmap(lambda x: knet.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 2), (0, x))[1])
    assert double(X).tolist() == (8 * X).tolist()
    count = vmap(lambda n: knet.while_loop(lambda c: c < n, lambda c: c + 1, 0))
    assert count(knp.asarray([0, 3, 1])).tolist() == [0, 3, 1]
    table = vmap(lambda n: vmap(lambda x: knet.fori_loop(0, n, lambda _, c: c * x, 1.0))(knp.arange(3.0)))(
        knp.arange(3)
    )
    assert table.tolist() == [[1.0, 1.0, 1.0], [0.0, 1.0, 2.0], [0.0, 1.0, 4.0]]


def test_while_loop_of_no_steps_and_of_an_empty_batch():
    assert float(knet.while_loop(lambda c: c < 0, lambda c: c + 1, 1.0)) == 1.0
    assert vmap(while_large)(knp.zeros((0,))).shape == (0,)


def test_bounds_of_fori_loop():
    body = lambda i, c: c * 10 + i  # noqa: E731
    assert int(knet.fori_loop(2, 5, body, 0)) == int(knet.fori_loop(knp.asarray(2), knp.asarray(5), body, 0)) == 234
    assert int(knet.fori_loop(5, 2, body, 7)) == int(knet.fori_loop(knp.asarray(5), 2, body, 7)) == 7
    assert vmap(lambda n: knet.fori_loop(0, n, body, 0))(knp.arange(4)).tolist() == [0, 0, 1, 12]


# --- scan and map -----------------------------------------------------------------------------------------------------


def test_scan_with_pytrees():
    def f(carry, x):
        carry = {"sum": carry["sum"] + x["a"], "n": carry["n"] + 1}
        return carry, (carry["sum"], {"twice": 2 * x["b"], "none": None})

    xs = {"a": f64(1.0, 2.0, 3.0), "b": knp.asarray(np.arange(6).reshape(3, 2))}
    carry, (sums, rest) = knet.scan(f, {"sum": knp.zeros((), dtype=F64), "n": 0}, xs)
    assert float(carry["sum"]) == 6.0 and int(carry["n"]) == 3
    assert sums.tolist() == [1.0, 3.0, 6.0] and rest["twice"].tolist() == [[0, 2], [4, 6], [8, 10]]
    assert rest["none"] is None


def test_scan_backwards_puts_y_where_its_x_was():
    def f(c, x):
        return c + x, (c, x)

    xs = f64(1.0, 2.0, 3.0)
    carry, (before, seen) = knet.scan(f, knp.zeros((), dtype=F64), xs, reverse=True)
    assert float(carry) == 6.0 and before.tolist() == [5.0, 3.0, 0.0] and seen.tolist() == xs.tolist()
    weights = f64(1.0, 10.0, 100.0)
    g = grad(lambda xs: (knet.scan(f, knp.zeros((), dtype=F64), xs, reverse=True)[1][0] * weights).sum())(xs)
    assert g.tolist() == [0.0, 1.0, 11.0]


def test_scan_of_no_steps():
    f = lambda c, x: (c + x.sum(), {"y": c * knp.ones(2), "x": x})  # noqa: E731
    carry, ys = knet.scan(f, 3.0, knp.ones((0, 4)))
    assert float(carry) == 3.0 and ys["y"].shape == (0, 2) and ys["x"].shape == (0, 4)
    assert knet.scan(lambda c, _: (c, c), 3.0, length=0)[1].shape == (0,)
    assert float(grad(lambda c: knet.scan(f, c, knp.ones((0, 4)))[0])(3.0)) == 1.0
    assert grad(lambda xs: knet.scan(f, 3.0, xs)[0])(knp.ones((0, 4))).shape == (0, 4)
    assert knet.map(lambda x: x * 2, knp.ones((0, 3))).shape == (0, 3)
    assert vmap(lambda c: knet.scan(f, c, knp.ones((0, 4)))[1]["y"])(knp.ones(5)).shape == (5, 0, 2)


def test_python_numbers_in_the_carry():
    carry, ys = knet.scan(lambda c, x: (0.5, 1.0), 0.0, length=2)
    assert float(carry) == 0.5 and ys.tolist() == [1.0, 1.0]


def test_scan_is_checked_against_differences():
    w = knp.asarray(np.random.default_rng(0).normal(size=(3, 3)) * 0.5)

    def rnn(w, h, xs):
        return knet.scan(lambda h, x: (lambda h: (h, h.sum()))(knp.tanh(h @ w + x)), h, xs)

    xs = knp.asarray(np.random.default_rng(1).normal(size=(4, 3)))
    check_grads(rnn, (w, knp.zeros(3, dtype=F64), xs), order=2)
    batched = vmap(grad(lambda w, h, xs: rnn(w, h, xs)[1].sum()), in_axes=(None, None, 0))
    got = batched(w, knp.zeros(3, dtype=F64), knp.stack([xs, -xs]))
    want = [grad(lambda w, h, xs: rnn(w, h, xs)[1].sum())(w, knp.zeros(3, dtype=F64), v) for v in (xs, -xs)]
    assert_close(got, knp.stack(want), rtol=1e-12)


@pytest.mark.parametrize("batched", [False, True])
def test_the_gradient_of_scan_costs_as_many_kernels_for_each_step(batched):
    def loss(w, xs):
        carry, ys = knet.scan(lambda c, x: (lambda h: (h, h * x))(knp.tanh(c * w + x)), knp.zeros((), dtype=F64), xs)
        return carry + ys.sum()

    counts = []
    for length in (10, 20, 40):
        xs = knp.ones((3, length) if batched else length, dtype=F64)
        g = vmap(grad(loss, (0, 1)), in_axes=(None, 0)) if batched else grad(loss, (0, 1))
        with counted_kernels() as kernels:
            g(ONE, xs)
        counts.append(sum(kernels.values()))
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0]), f"kernels for 10, 20 and 40 steps: {counts}"
    assert counts[1] - counts[0] <= 10 * 25


def test_the_gradient_by_a_slice_of_each_step_makes_no_array_of_all_steps(monkeypatch):
    # Were each x[t] cut out alone, its derivative would be an array as large as x, and T of them would be added.
    length, made = 50, []
    xs = knp.ones((length, 30), dtype=F64)
    monkeypatch.setattr("knet.core.reverse.CHECKS", False)
    original = knet.core.device.inspect_results

    def look(primitive, _backend, _inputs, outputs):
        made.extend(primitive.name for y in outputs if y.size >= xs.size)

    knet.core.debug._inspect(look)
    try:
        grad(lambda xs: knet.scan(lambda c, x: (c + (x * x).sum(), None), knp.zeros((), dtype=F64), xs)[0])(xs)
    finally:
        knet.core.debug._inspect(original)
    assert len(made) <= 3, f"arrays of all steps were made by {made}"


# --- associative_scan -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 8, 13])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan_is_cumsum_and_cumprod(length, reverse):
    x = np.random.default_rng(length).uniform(0.5, 1.5, (2, length, 3))
    for fn, cumulative in ((knp.add, np.cumsum), (knp.multiply, np.cumprod), (knp.maximum, np.maximum.accumulate)):
        want = np.flip(cumulative(np.flip(x, 1), axis=1), 1) if reverse else cumulative(x, axis=1)
        for axis in (1, -2):
            got = knet.associative_scan(fn, knp.asarray(x), reverse=reverse, axis=axis)
            assert_close(got, knp.asarray(want), rtol=1e-13)


def affine(early, late):
    """x -> a x + b, first the early one, then the late one."""
    (a, b), (c, d) = early, late
    return a * c, b * c + d


def linear_recurrence(a, b):
    y, ys = knp.zeros((), dtype=F64), []
    for t in range(a.shape[0]):
        y = a[t] * y + b[t]
        ys.append(y)
    return knp.stack(ys)


def test_associative_scan_of_an_affine_recurrence():
    rng = np.random.default_rng(0)
    a, b = knp.asarray(rng.uniform(-1, 1, 11)), knp.asarray(rng.normal(size=11))

    def by_scan(a, b):
        return knet.associative_scan(affine, (a, b))[1]

    assert_close(by_scan(a, b), linear_recurrence(a, b), rtol=1e-12)
    assert_trees_close(
        knet.jacrev(by_scan, (0, 1))(a, b), knet.jacfwd(linear_recurrence, (0, 1))(a, b), rtol=1e-11, atol=1e-13
    )
    two = vmap(by_scan)(knp.stack([a, b]), knp.stack([b, a]))
    assert_close(two, knp.stack([linear_recurrence(a, b), linear_recurrence(b, a)]), rtol=1e-12, atol=1e-14)
    backwards = knet.associative_scan(affine, (a, b), reverse=True)[1]
    assert_close(backwards, linear_recurrence(a[::-1], b[::-1])[::-1], rtol=1e-12)


def test_associative_scan_combines_in_the_order_of_the_elements():
    # Matrix products do not commute.
    m = np.random.default_rng(1).normal(size=(5, 2, 2))
    got = knet.associative_scan(lambda a, b: b @ a, knp.asarray(m))
    want = [m[0]]
    for t in range(1, 5):
        want.append(m[t] @ want[-1])
    assert_close(got, knp.asarray(np.stack(want)), rtol=1e-12)


def test_associative_scan_calls_its_function_a_logarithm_of_times():
    for length, calls in ((1, 0), (2, 1), (8, 3), (9, 4), (1000, 10)):
        seen = []
        knet.associative_scan(lambda a, b, seen=seen: seen.append(1) or a + b, knp.ones(length))
        assert len(seen) == calls


# --- what they refuse -------------------------------------------------------------------------------------------------

V = knp.ones(3)


def different_ys(c, x):
    return c, {"h": knp.ones(int(x) + 1)}


def different_trees(c, x):
    return c, ({"h": x} if x > 0 else [x])


REFUSALS = {
    "a predicate with axes": (lambda: knet.cond(V > 0, lambda: 1, lambda: 2), errors.DTypeError, ("cond", "bool [3]")),
    "no branches": (lambda: knet.switch(0, []), errors.ArgumentError, ("switch: branches=[]",)),
    "an index that is no integer": (
        lambda: knet.switch(0.5, [lambda: 1]),
        errors.ArgumentError,
        ("switch: index='float32 []'", "integer"),
    ),
    "an index with axes": (
        lambda: knet.switch(knp.arange(2), [lambda: 1]),
        errors.ArgumentError,
        ("switch: index='int64 [2]'",),
    ),
    "branches of different shapes": (
        lambda: vmap(lambda x: knet.cond(x > 0, lambda: {"a": [x]}, lambda: {"a": [x * V]}))(V),
        errors.TreeError,
        ("cond", "['a'][0]", "float32[]", "float32[3]"),
    ),
    "branches of different dtypes": (
        lambda: vmap(lambda x: knet.cond(x > 0, lambda: {"a": [x]}, lambda: {"a": [x.astype(F64)]}))(V),
        errors.TreeError,
        ("['a'][0]", "float32[]", "float64[]"),
    ),
    "branches of different structures": (
        lambda: vmap(lambda i: knet.switch(i, [lambda: V, lambda: (V,)]))(knp.arange(2)),
        errors.TreeError,
        ("switch", "the result"),
    ),
    "a while_loop with axes in its condition": (
        lambda: knet.while_loop(lambda c: c < 3, lambda c: c + 1, V),
        errors.DTypeError,
        ("while_loop", "bool [3]"),
    ),
    "a while_loop that changes a dtype": (
        lambda: knet.while_loop(lambda c: c["a"] < 3, lambda c: {"a": c["a"].astype(F64)}, {"a": 1.0}),
        errors.TreeError,
        ("while_loop: the carry['a']", "float32[] before", "float64[] after"),
    ),
    "a while_loop that changes an integer": (
        lambda: knet.while_loop(lambda c: c < 3, lambda c: c * 1.5, 1),
        errors.TreeError,
        ("int64[] before", "float32[] after"),
    ),
    "a fori_loop that changes the structure": (
        lambda: knet.fori_loop(0, 2, lambda i, c: (c, c), 1.0),
        errors.TreeError,
        ("fori_loop: the carry",),
    ),
    "a scan that changes the shape of its carry": (
        lambda: knet.scan(lambda c, x: ({"h": (c["h"][0] * V,)}, x), {"h": (0.0,)}, V),
        errors.TreeError,
        ("scan: the carry['h'][0]", "float32[] before", "float32[3] after"),
    ),
    "a scan that changes the structure of its carry": (
        lambda: knet.scan(lambda c, x: ((c, c), x), 0.0, V),
        errors.TreeError,
        ("scan: the carry",),
    ),
    "a scan without a pair": (
        lambda: knet.scan(lambda c, x: c, 0.0, V),
        errors.TreeError,
        ("scan: the result of f", "DeviceArray", "a pair (carry, y)"),
    ),
    "ys of different shapes": (
        lambda: knet.scan(different_ys, 0.0, knp.arange(3)),
        errors.TreeError,
        ("scan: y['h'] in step 1", "float32[2]", "float32[1]"),
    ),
    "ys of different structures": (
        lambda: knet.scan(different_trees, 0.0, knp.arange(3)),
        errors.TreeError,
        ("scan: y in step 1", "'h'"),
    ),
    "xs of different lengths": (
        lambda: knet.scan(lambda c, x: (c, c), 0.0, {"a": V, "b": knp.ones(2)}),
        errors.ShapeError,
        ("scan", "xs['a'] has 3", "xs['b'] has 2"),
    ),
    "xs of another length": (
        lambda: knet.scan(lambda c, x: (c, c), 0.0, V, length=2),
        errors.ShapeError,
        ("length has 2", "xs has 3"),
    ),
    "xs without an axis": (
        lambda: knet.scan(lambda c, x: (c, c), 0.0, {"a": 1.0}),
        errors.DTypeError,
        ("scan: xs['a']", "0-d"),
    ),
    "neither xs nor length": (lambda: knet.scan(lambda c, x: (c, c), 0.0), errors.ShapeError, ("length=",)),
    "elements of different lengths": (
        lambda: knet.associative_scan(lambda a, b: a, (V, knp.ones(2))),
        errors.ShapeError,
        ("associative_scan", "xs[0] has 3", "xs[1] has 2"),
    ),
    "elements without an axis": (lambda: knet.associative_scan(knp.add, 1.0), errors.DTypeError, ("associative_scan",)),
    "an axis that is not there": (
        lambda: knet.associative_scan(knp.add, V, axis=1),
        errors.ShapeError,
        ("axis 1", "1 axes"),
    ),
    "a combination of another structure": (
        lambda: knet.associative_scan(lambda a, b: (a, b), V),
        errors.TreeError,
        ("associative_scan: the result of fn",),
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_control_flow_refuses(what):
    refuses(*REFUSALS[what])


def loop(x):
    return knet.while_loop(lambda c: knp.abs(c) < 10, lambda c: c * 2.0, x)


@pytest.mark.parametrize(
    "run",
    [
        lambda: grad(loop)(1.0),
        lambda: grad(lambda w: knet.while_loop(lambda c: c < 10, lambda c: c * w, 1.0))(2.0),
        lambda: grad(lambda x: vmap(loop)(x).sum())(V),
        lambda: vmap(grad(loop))(V),
        lambda: jvp(grad(loop), (1.0,), (1.0,)),
        lambda: grad(lambda x: jvp(loop, (x,), (1.0,))[1])(1.0),
        lambda: grad(lambda x: knet.scan(lambda c, _: (loop(c), None), x, length=2)[0])(1.0),
        lambda: grad(lambda x: knet.cond(x > 0, loop, lambda x: x, x))(1.0),
        lambda: grad(knet.checkpoint(loop))(1.0),
        lambda: grad(lambda x: knet.fori_loop(0, knp.asarray(3), lambda i, c: c * x, 1.0))(2.0),
        lambda: knet.vjp(loop, 1.0),
        lambda: knet.jacrev(loop)(1.0),
        lambda: knet.linearize(loop, 1.0),
    ],
)
def test_reverse_mode_through_while_loop_is_refused(run):
    with pytest.raises(errors.NotDifferentiable, match=r"while_loop.* number of steps") as e:
        run()
    assert "knet.scan" in message(e)


def test_reverse_mode_past_a_while_loop_of_constants():
    def f(x):
        n = knet.while_loop(lambda c: c < 10, lambda c: c * 2, 1)
        return x * n + knet.stop_gradient(loop(knet.stop_gradient(x)))

    assert float(grad(f)(1.0)) == 16.0


def failing(fails):
    def step(x):
        y = knp.sin(x)
        if fails[0]:
            raise KeyError("mine")
        return y

    return step


@pytest.mark.parametrize(
    "construct",
    [
        lambda step, x: knet.cond(x < 100, step, step, x),
        lambda step, x: knet.scan(lambda c, t: (step(c * t), c), x, V.astype(F64))[0],
        lambda step, x: knet.fori_loop(0, 2, lambda i, c: step(c), x),
        lambda step, x: knet.map(step, x * V).sum(),
        lambda step, x: knet.associative_scan(lambda a, b: step(a + b), x * V).sum(),
    ],
    ids=["cond", "scan", "fori_loop", "map", "associative_scan"],
)
def test_an_exception_inside_leaves_everything_usable(construct):
    fails = [True]
    f = lambda x: construct(failing(fails), x)  # noqa: E731
    for run in (lambda: f(ONE), lambda: grad(f)(ONE), lambda: jvp(f, (ONE,), (ONE,)), lambda: vmap(grad(f))(X)):
        fails[0] = True
        with pytest.raises(KeyError, match="mine"):
            run()
        fails[0] = False
        run()
    assert_close(vmap(grad(f))(X), by_hand(grad(f)), rtol=1e-13)
