"""Control flow in traced functions: one operation each, with the values and the derivatives of Python's statements."""

from __future__ import annotations

import numpy as np
import pytest
from core.test_control import F64, ONE, PAIRS, REFUSALS, TRANSFORMATIONS, X, f64, message, until_large, while_large

import knet
import knet.numpy as knp
from knet import errors
from knet.testing import assert_close, assert_trees_close

grad, jit, jvp, vmap = knet.grad, knet.jit, knet.jvp, knet.vmap
trace = knet.trace


def names(graph):
    """Names of all nodes, those in bodies after the node that has them."""
    found = []
    for node in graph.nodes:
        found.append(node.op.name)
        for body in getattr(node.op, "graphs", ()):
            found += names(body)
    return found


# --- every construct in every transformation --------------------------------------------------------------------------

BEFORE_JIT = {
    "value": lambda f: [jit(f)(x) for x in X],
    "grad": lambda f: [jit(grad(f))(x) for x in X],
    "grad of grad": lambda f: [jit(grad(grad(f)))(x) for x in X],
    "jvp": lambda f: [jit(lambda x: jvp(f, (x,), (ONE,))[1])(x) for x in X],
    "jvp of grad": lambda f: [jit(lambda x: jvp(grad(f), (x,), (ONE,))[1])(x) for x in X],
    "vmap": lambda f: jit(vmap(f))(X),
    "vmap of vmap": lambda f: jit(vmap(vmap(f)))(knp.stack([X, X + 0.25])),
    "vmap of grad": lambda f: jit(vmap(grad(f)))(X),
    "grad of vmap": lambda f: jit(grad(lambda x: (vmap(f)(x) * X).sum()))(X),
    "vmap of jvp": lambda f: jit(vmap(lambda x: jvp(f, (x,), (ONE,))[1]))(X),
    "jvp of vmap": lambda f: jit(lambda x: jvp(vmap(f), (x,), (x,))[1])(X),
    "vmap of hessian": lambda f: jit(vmap(knet.hessian(f)))(X),
    "checkpoint": lambda f: jit(vmap(grad(knet.checkpoint(f))))(X),
}


def test_all_transformations_are_taken_inside_jit_too():
    assert BEFORE_JIT.keys() == TRANSFORMATIONS.keys()


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("construct", PAIRS)
def test_a_construct_is_the_statement_it_replaces(construct, transformation):
    with_construct, statements = PAIRS[construct]
    left, right = TRANSFORMATIONS[transformation]
    want = right(statements)
    assert_trees_close(left(jit(with_construct)), want, rtol=1e-12, atol=1e-13)
    assert_trees_close(BEFORE_JIT[transformation](with_construct), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("transformation", ["value", "jvp", "vmap", "vmap of vmap", "vmap of jvp", "jvp of vmap"])
def test_while_loop_is_the_statement_it_replaces(transformation):
    left, right = TRANSFORMATIONS[transformation]
    assert_trees_close(left(jit(while_large)), right(until_large), rtol=1e-12)
    assert_trees_close(BEFORE_JIT[transformation](while_large), right(until_large), rtol=1e-12)


@pytest.mark.parametrize("construct", PAIRS)
def test_shapes_without_values(construct):
    with_construct, _ = PAIRS[construct]
    for f in (jit(with_construct), jit(grad(with_construct))):
        y = knet.eval_shape(f, knet.ShapedArray((), F64))
        assert (y.shape, y.dtype) == ((), F64)


# --- the graph --------------------------------------------------------------------------------------------------------


def test_the_graph_does_not_grow_with_the_number_of_steps():
    def loss(w, xs):
        c, ys = knet.scan(lambda c, x: (lambda h: (h, h * x))(knp.tanh(c * w + x)), ONE, xs)
        return c + ys.sum()

    sizes = set()
    for length in (2, 10, 100):
        args = ONE, knp.ones(length, dtype=F64)
        functions = loss, grad(loss, (0, 1)), knet.hessian(loss), vmap(loss, in_axes=(0, None))
        graphs = [trace(f)(knp.ones(3, dtype=F64) if i == 3 else ONE, args[1]) for i, f in enumerate(functions)]
        assert [names(g).count("scan") for g in graphs[:2]] == [1, 2]
        sizes.add(tuple(len(names(g)) for g in graphs))
    assert len(sizes) == 1, sizes


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x: knet.fori_loop(0, 9, lambda i, c: c * x, x), "scan"),
        (lambda x: knet.fori_loop(0, knp.asarray(9) + x.astype(int), lambda i, c: c * x, x), "while_loop"),
        (lambda x: knet.map(lambda t: t * x, knp.arange(9)).sum(), "scan"),
        (lambda x: knet.cond(x > 0, lambda: knp.sin(x), lambda: x), "switch"),
        (lambda x: knet.switch(x.astype(int), [lambda: x, lambda: -x]), "switch"),
    ],
)
def test_each_construct_is_one_operation(f, expected):
    assert names(trace(f)(ONE)).count(expected) == 1


def test_what_is_known_when_the_graph_is_written_is_no_operation_of_it():
    def f(x):
        table = knet.scan(lambda c, t: (c * t, c), 1.0, knp.arange(1, 5))[1]
        n = knet.while_loop(lambda n: n < 10, lambda n: n * 2, 1)
        return knet.cond(True, lambda: x * n, lambda: 1 / 0) + table.sum()

    assert not {"scan", "while_loop", "switch"} & set(names(trace(f)(ONE)))
    assert float(jit(f)(ONE)) == float(f(ONE))


def test_a_single_step_is_written_out():
    assert "scan" not in names(trace(lambda x: knet.scan(lambda c, t: (c * t, c), x, ONE[None]))(ONE))


def test_what_the_body_makes_of_constants_alone_is_computed_outside():
    f = lambda w, xs: knet.scan(lambda c, x: (c * knp.exp(w) + x, None), ONE, xs)[0]  # noqa: E731
    (loop,) = (n for n in trace(f)(ONE, X).nodes if n.op.name == "scan")
    assert names(loop.op.body) == ["multiply", "add"]


# --- scan -------------------------------------------------------------------------------------------------------------


def several(carry, x):
    key, subkey = knet.random.split(carry["key"])
    noise = knet.random.normal(subkey, (2,), dtype=F64)
    a = knp.sin(carry["a"]) * x["u"] + carry["b"].sum() + 0.1 * noise
    new = {"a": a, "b": carry["b"] * x["v"][0], "n": carry["n"] + x["i"], "key": key}
    return new, (a * carry["b"], {"n": new["n"], "none": None})


def arguments():
    rng = np.random.default_rng(0)
    floats = {"a": knp.asarray(rng.normal(size=2)), "b": knp.asarray(rng.normal(size=2))}
    xs = {"u": knp.asarray(rng.normal(size=(5, 2))), "v": (knp.asarray(rng.normal(size=5)),), "i": knp.arange(5)}
    return floats, xs


@pytest.mark.parametrize("reverse", [False, True])
def test_carries_of_several_dtypes_with_a_random_key(reverse):
    floats, xs = arguments()

    def f(floats, us):
        carry = {**floats, "n": 0, "key": knet.random.key(3)}
        return knet.scan(several, carry, {**xs, "u": us}, reverse=reverse)

    assert_trees_close(jit(f)(floats, xs["u"]), f(floats, xs["u"]), rtol=1e-12)

    def loss(floats, us):
        carry, (ys, rest) = f(floats, us)
        return (carry["a"] * ys[1]).sum() + (ys * ys).sum() + carry["n"] * carry["b"].sum() + rest["n"].sum()

    for g in (grad(loss, (0, 1)), knet.jacfwd(loss, 1), grad(lambda *a: grad(loss, 1)(*a).sum())):
        want = g(floats, xs["u"])
        assert_trees_close(jit(g)(floats, xs["u"]), want, rtol=1e-11)
    assert_trees_close(grad(jit(loss), (0, 1))(floats, xs["u"]), grad(loss, (0, 1))(floats, xs["u"]), rtol=1e-11)


def test_a_network_over_time_in_batches_and_second_derivatives():
    rng = np.random.default_rng(0)
    w, h = knp.asarray(rng.normal(size=(3, 3)) * 0.5), knp.asarray(rng.normal(size=3))
    xs = knp.asarray(rng.normal(size=(4, 3)))

    def loss(w, h, xs):
        h, ys = knet.scan(lambda h, x: (lambda h: (h, h * x))(knp.tanh(h @ w + x)), h, xs)
        return (h * ys.sum(0)).sum()

    for f in (
        grad(loss, (0, 1, 2)),
        knet.hessian(lambda w, h, xs: loss(w, h, xs), 1),
        lambda w, h, xs: jvp(lambda w: grad(loss)(w, h, xs), (w,), (w,))[1],
        lambda w, h, xs: vmap(grad(loss, (0, 1)), in_axes=(None, None, 0))(w, h, knp.stack([xs, -xs, 2 * xs])),
        lambda w, h, xs: vmap(grad(loss), in_axes=(0, None, None))(knp.stack([w, -w]), h, xs),
        lambda w, h, xs: grad(lambda w: vmap(lambda h: loss(w, h, xs))(knp.stack([h, -h])).sum())(w),
    ):
        assert_trees_close(jit(f)(w, h, xs), f(w, h, xs), rtol=1e-10, atol=1e-12)


def test_a_carry_that_gets_its_derivative_from_another_only_after_steps():
    # The derivative needs one step to reach b from a, one more to reach c: which carries have one is a fixpoint.
    def f(x):
        carry = x, ONE, ONE, knp.asarray(2)
        (_, _, c, _), _ = knet.scan(lambda s, _: ((s[0] * 2, s[0] * s[1], s[1] + s[2], s[3]), None), carry, length=4)
        return c

    for x in X:
        assert_close(jit(grad(f))(x), grad(f)(x), rtol=1e-13)
        assert_close(jit(lambda x: jvp(f, (x,), (ONE,))[1])(x), grad(f)(x), rtol=1e-13)
    assert_close(jit(vmap(f))(X), knp.stack([f(x) for x in X]), rtol=1e-13)


def test_a_carry_whose_first_value_is_replaced():
    def f(x, y):
        c, ys = knet.scan(lambda c, t: (y * t, c * t), x, f64(1.0, 2.0, 3.0))
        return c * ys.sum()

    args = f64(2.0)[0], f64(5.0)[0]
    assert_trees_close(jit(grad(f, (0, 1)))(*args), grad(f, (0, 1))(*args), rtol=1e-13)


def test_numbers_as_arguments_of_jit_keep_their_digits_in_a_body():
    # 0.1 is a float64 beside float64 arrays, a float16 beside float16 ones: with jit as without.
    for dtype in (F64, knp.float16):
        f = lambda w, x: knet.scan(lambda c, x: (c * w + x, w), knp.ones((), dtype=dtype), x)[0]  # noqa: B023, E731
        xs = knp.asarray(np.arange(3), dtype=dtype)
        assert_close(jit(f)(0.1, xs), f(0.1, xs), rtol=1e-15)
    carry = lambda w: knet.scan(lambda c, _: (w, c), ONE, length=2)[0]  # noqa: E731
    assert jit(carry)(0.1).dtype == F64


def test_a_gradient_of_rows_in_a_body():
    ids = knp.asarray([[0, 1], [2, 0], [0, 0]])

    def loss(table, c):
        return knet.scan(lambda c, i: (knp.sin(c) * table[i].sum(), None), c, ids)[0]

    table = knp.asarray(np.random.default_rng(0).normal(size=(4, 2)))
    assert_trees_close(jit(grad(loss, (0, 1)))(table, ONE), grad(loss, (0, 1))(table, ONE), rtol=1e-12)


def test_a_function_with_its_own_derivative_in_a_body():
    @knet.custom_vjp
    def clip_gradient(x):
        return x

    clip_gradient.defvjp(lambda x: (x, None), lambda _, g: (knp.clip(g, -0.5, 0.5),))
    f = lambda x: knet.scan(lambda c, _: (clip_gradient(c) * 2, None), x, length=3)[0]  # noqa: E731
    assert float(grad(f)(ONE)) == float(jit(grad(f))(ONE)) == 0.5


# --- while_loop -------------------------------------------------------------------------------------------------------


def test_a_loop_whose_end_depends_on_data():
    def newton(x):
        close = lambda c: knp.abs(c[0] * c[0] - x) > 1e-12  # noqa: E731
        return knet.while_loop(close, lambda c: (0.5 * (c[0] + x / c[0]), c[1] + 1), (x, 0))

    root, steps = jit(newton)(f64(2.0)[0])
    assert_close(root, f64(2.0**0.5)[0], rtol=1e-14)
    assert int(steps) == int(newton(f64(2.0)[0])[1]) > 3
    assert_close(jit(lambda x: jvp(lambda x: newton(x)[0], (x,), (ONE,))[1])(ONE * 2), ONE * 0.5 / 2**0.5, rtol=1e-12)
    roots, steps = jit(vmap(newton))(f64(1.0, 2.0, 900.0))
    assert_close(roots * roots, f64(1.0, 2.0, 900.0), rtol=1e-13)
    assert steps.tolist() == [int(newton(x)[1]) for x in f64(1.0, 2.0, 900.0)]


def test_examples_of_a_batch_end_one_by_one():
    def collatz(n):
        body = lambda c: (knp.where(c[0] % 2 == 0, c[0] // 2, 3 * c[0] + 1), c[1] + 1)  # noqa: E731
        return knet.while_loop(lambda c: c[0] != 1, body, (n, 0))[1]

    starts = knp.asarray([1, 2, 7, 27])
    assert jit(vmap(collatz))(starts).tolist() == vmap(jit(collatz))(starts).tolist() == [0, 1, 16, 111]
    double = vmap(lambda x: knet.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 2), (0, x))[1])
    assert jit(double)(X).tolist() == (8 * X).tolist()
    count = vmap(lambda n: knet.while_loop(lambda c: c < n, lambda c: c + 1, 0))
    assert jit(count)(knp.asarray([0, 3, 1])).tolist() == [0, 3, 1]
    table = vmap(lambda n: vmap(lambda x: knet.fori_loop(0, n, lambda _, c: c * x, 1.0))(knp.arange(3.0)))
    assert jit(table)(knp.arange(3)).tolist() == [[1.0, 1.0, 1.0], [0.0, 1.0, 2.0], [0.0, 1.0, 4.0]]


def test_a_shared_condition_stays_shared_in_a_batch():
    f = lambda x, n: knet.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * 2), (0, x))[1]  # noqa: E731
    graph = trace(vmap(f, in_axes=(0, None)))(X, 3)
    (loop,) = (n for n in graph.nodes if n.op.name == "while_loop")
    assert [y.shape for y in loop.results] == [(), (3,)]


def test_bounds_of_fori_loop():
    body = lambda i, c: c * 10 + i  # noqa: E731
    f = jit(lambda lower, upper: knet.fori_loop(lower, upper, body, 7))
    assert [int(f(knp.asarray(a), knp.asarray(b))) for a, b in ((2, 5), (5, 2), (0, 1))] == [7234, 7, 70]


@pytest.mark.parametrize(
    "run",
    [
        lambda: jit(grad(while_large))(ONE),
        lambda: grad(jit(while_large))(ONE),
        lambda: jit(grad(lambda w: knet.while_loop(lambda c: c < 10, lambda c: c * w, 1.0)))(2.0),
        lambda: jit(vmap(grad(while_large)))(X),
        lambda: jit(grad(lambda x: vmap(while_large)(x).sum()))(X),
        lambda: jit(lambda x: jvp(grad(while_large), (x,), (x,)))(ONE),
        lambda: jit(grad(lambda x: knet.scan(lambda c, _: (while_large(c), None), x, length=2)[0]))(ONE),
        lambda: jit(grad(lambda x: knet.cond(x > 0, while_large, lambda x: x, x)))(ONE),
    ],
)
def test_reverse_mode_through_while_loop_is_refused(run):
    with pytest.raises(errors.NotDifferentiable, match=r"while_loop.* number of steps") as e:
        run()
    assert "knet.scan" in message(e)


def test_reverse_mode_past_a_while_loop_that_needs_no_derivative():
    def f(x):
        n = knet.while_loop(lambda c: c < 10 * x, lambda c: c * 2, 1)  # x decides how often, not what
        return x * n + knet.stop_gradient(while_large(knet.stop_gradient(x)))

    assert float(jit(grad(f))(ONE)) == float(grad(jit(f))(ONE)) == float(grad(f)(ONE)) == 16.0


# --- cond and switch --------------------------------------------------------------------------------------------------


def test_only_the_branch_taken_is_computed():
    f = jit(lambda p, x: knet.cond(p, lambda: knp.log(x), lambda: x))
    with np.errstate(all="raise"):
        assert float(f(knp.asarray(False), knp.asarray(-1.0))) == -1.0


def test_a_branch_not_taken_spoils_no_derivative():
    # Were the logarithm of x, which the branch closes over, computed outside, its derivative would be 0 / 0.
    f = lambda x: knet.cond(x > 0, lambda: knp.log(x) + knp.sqrt(x), lambda: 3 * x)  # noqa: E731
    g = lambda x: knet.cond(x > 0, lambda: knet.scan(lambda c, t: (c + knp.log(x), c), x, X)[0], lambda: 3 * x)  # noqa: E731
    for function in (f, g):
        for x in f64(0.0, 2.0):
            assert_close(jit(grad(function))(x), grad(function)(x), rtol=1e-14)
            assert_close(grad(jit(function))(x), grad(function)(x), rtol=1e-14)
            assert_close(jit(grad(grad(function)))(x), grad(grad(function))(x), rtol=1e-14)
            assert_close(jit(lambda x, h=function: jvp(h, (x,), (ONE,))[1])(x), grad(function)(x), rtol=1e-14)
        assert_close(grad(lambda x, h=function: jit(lambda: h(x))())(f64(0.0)[0]), 3 * ONE)
    assert not {"log", "sqrt"} & {n.op.name for n in trace(grad(f))(ONE).nodes}


def test_an_index_outside_is_limited():
    f = lambda i: knet.switch(i, [lambda: 0.0, lambda: 1.0, lambda: 2.0])  # noqa: E731
    assert [float(jit(f)(knp.asarray(i))) for i in (-5, 0, 1, 2, 9)] == [0.0, 0.0, 1.0, 2.0, 2.0]
    assert jit(vmap(f))(knp.asarray([-5, 0, 1, 2, 9])).tolist() == [0.0, 0.0, 1.0, 2.0, 2.0]


def test_branches_that_keep_different_things_for_their_derivatives():
    w = knp.asarray(np.random.default_rng(0).normal(size=(2, 2)))

    def f(i, x, y):
        branches = [
            lambda: {"a": x @ w @ x.T, "b": y},
            lambda: {"a": knp.sin(x) * knp.exp(y).sum(), "b": knp.ones(3, dtype=F64)},
            lambda: {"a": knp.ones((2, 2), dtype=F64), "b": y * y * x[0, 0]},
        ]
        r = knet.switch(i, branches)
        return (r["a"] ** 2).sum() + (r["b"] ** 3).sum()

    x, y = knp.asarray(np.random.default_rng(1).normal(size=(2, 2))), f64(0.5, -1.0, 2.0)
    for i in range(3):
        index = knp.asarray(i)
        for g in (grad(f, (1, 2)), grad(f, 2), knet.hessian(f, 2), knet.jacfwd(f, 1)):
            assert_trees_close(jit(g)(index, x, y), g(index, x, y), rtol=1e-12, atol=1e-14)
    many = vmap(grad(f, (1, 2)), in_axes=(0, None, 0))
    args = knp.asarray([0, 1, 2]), x, knp.stack([y, -y, 2 * y])
    assert_trees_close(jit(many)(*args), many(*args), rtol=1e-12, atol=1e-14)
    shared = vmap(grad(f, 2), in_axes=(None, None, 0))  # the index is not batched: one branch runs
    assert_trees_close(jit(shared)(knp.asarray(1), *args[1:]), shared(knp.asarray(1), *args[1:]), rtol=1e-12)
    graph = trace(shared)(knp.asarray(1), *args[1:])
    assert names(graph).count("switch") == 2


# --- what they refuse -------------------------------------------------------------------------------------------------

# The bodies look at values, so that types differ between steps: in a graph there is one body.
ONLY_EAGER = {"ys of different shapes", "ys of different structures"}


@pytest.mark.parametrize("what", [name for name in REFUSALS if name not in ONLY_EAGER])
def test_what_control_flow_refuses(what):
    call, kind, parts = REFUSALS[what]
    with pytest.raises(kind) as e:
        jit(lambda _: call())(0.0)
    text = message(e)
    for part in parts:
        assert part.replace("DeviceArray", "StageTracer") in text or part in text, text


def different(first, second):
    return lambda x: knet.cond(x > 0, lambda: first(x), lambda: second(x))


@pytest.mark.parametrize(
    ("f", "parts"),
    [
        (different(lambda x: {"a": [x]}, lambda x: {"a": [x * f64(1, 2)]}), ("cond", "['a'][0]", "[2]", "float64[]")),
        (different(lambda x: x, lambda x: x.astype(knp.float32)), ("float64[]", "float32[]")),
        (different(lambda x: (x,), lambda x: x), ("cond", "the result")),
        (lambda x: knet.switch(x.astype(int), [lambda: x, lambda: (x,)]), ("switch", "the result")),
    ],
)
def test_branches_that_differ_are_refused(f, parts):
    with pytest.raises(errors.TreeError) as e:
        jit(f)(ONE)
    for part in parts:
        assert part in message(e)


def test_a_body_that_needs_a_value_is_told_where():
    def body(c, x):
        return (c + 1 if x > 0 else c), None

    with pytest.raises(errors.TracerError) as e:
        jit(lambda xs: knet.scan(body, ONE, xs)[0])(X)
    assert "test_loops.py" in message(e)


def test_a_value_that_leaves_its_body_is_refused():
    kept = []
    f = jit(lambda x: (knet.scan(lambda c, t: (kept.append(c) or c * t, None), x, X), kept[0] + 1)[1])
    with pytest.raises(errors.TracerError, match="jit"):
        f(ONE)
    assert float(jit(lambda x: knet.scan(lambda c, t: (c * t, None), x, X)[0])(ONE)) == -1.5


def test_an_exception_in_a_body_leaves_everything_usable():
    def f(x, fails):
        def body(c, t):
            if fails:
                raise KeyError("mine")
            return c * t, None

        return knet.scan(body, x, X)[0]

    for run in (lambda fails: jit(lambda x: f(x, fails))(ONE), lambda fails: jit(grad(lambda x: f(x, fails)))(ONE)):
        with pytest.raises(KeyError, match="mine"):
            run(True)
        assert float(run(False)) == -1.5
    assert float(f(ONE, False)) == -1.5  # and outside of jit, loops are Python's again
