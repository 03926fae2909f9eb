"""What moves out of loops, counted; and that it computes the same."""

from __future__ import annotations

import numpy as np
import pytest
from compiler.test_loops import names

import knet
import knet.numpy as knp
from knet.testing import assert_trees_close

F64 = knp.float64
grad, jit = knet.grad, knet.jit
T, B, V, E, H, C = 6, 3, 11, 5, 4, 2


def array(*shape, seed=0):
    return knp.asarray(np.asarray(np.random.default_rng([seed, *shape]).normal(size=shape) * 0.5))


def optimized(f, *args):
    return jit(f).lower(*args).graph


def loops(graph):
    return [node for node in graph.nodes if node.op.name == "scan"]


def same(f, *args, rtol=1e-11):
    """The graph is optimised before it is run: jit's results are those of the passes."""
    assert_trees_close(dense(jit(f)(*args)), dense(f(*args)), rtol=rtol, atol=1e-13)


def dense(results):
    return knet.tree.map(lambda y: y.dense() if hasattr(y, "dense") else y, results)


def count(graph, name):
    return [node.op.name for node in graph.nodes].count(name)


# --- an LSTM ----------------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + knp.exp(-x))


def lstm_loss(p, tokens, labels):
    """Embedding -> LSTM -> dense -> cross entropy at every step."""

    def step(carry, x):
        h, c = carry
        i, f, g, o = knp.split(x @ p["w"] + h @ p["u"] + p["b"], 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * knp.tanh(g)
        h = sigmoid(o) * knp.tanh(c)
        return (h, c), h @ p["dense"] + p["shift"]

    zeros = knp.zeros((tokens.shape[1], p["u"].shape[0]), dtype=p["u"].dtype)
    _, logits = knet.scan(step, (zeros, zeros), p["table"][tokens])
    shifted = logits - knp.log(knp.exp(logits).sum(-1, keepdims=True))
    return -(shifted * (labels[..., None] == knp.arange(logits.shape[-1]))).sum()


def lstm_arguments(hidden=H, batch=B, steps=T):
    p = {
        "table": array(V, E), "w": array(E, 4 * hidden), "u": array(hidden, 4 * hidden), "b": array(4 * hidden),
        "dense": array(hidden, C), "shift": array(C),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    return p, knp.asarray(rng.integers(0, V, (steps, batch))), knp.asarray(rng.integers(0, C, (steps, batch)))


def test_an_lstm_keeps_one_product_in_each_loop():
    args = lstm_arguments(hidden=256, batch=8, steps=20)
    graph = optimized(knet.value_and_grad(lstm_loss), *args)
    forward, backward = loops(graph)
    assert (forward.op.reverse, backward.op.reverse) == (False, True)
    for loop, weight in ((forward, (256, 1024)), (backward, (1024, 256))):
        assert count(loop.op.body, "matmul") == 1
        (product,) = (n for n in loop.op.body.nodes if n.op.name == "matmul")
        assert product.operands[1].shape == weight  # h @ U, g @ U^T
        assert not {"reduce_sum", "put_add", "take"} & set(names(loop.op.body))
    # Outside: projection of each row of the table, dense layer; gradients of its weights, of w, of u; cotangents of h
    # and of the table's rows.
    products = [tuple(x.shape for x in n.operands) for n in graph.nodes if n.op.name == "matmul"]
    rows = 20 * 8
    assert sorted(products) == sorted([
        ((V, E), (E, 1024)), ((rows, 256), (256, C)), ((rows, C), (C, 256)), ((256, rows), (rows, C)),
        ((E, rows), (rows, 1024)), ((256, rows), (rows, 1024)), ((rows, 1024), (1024, E)),
    ])  # fmt: skip
    assert count(graph, "put_add") == 1  # all rows of the table at once
    assert len(backward.op.body.inputs) == len(backward.operands)
    assert len(backward.results) == 3  # cotangents of h and c; those of the gates, stacked


def test_an_lstm_computes_what_it_did():
    args = lstm_arguments()
    same(knet.value_and_grad(lstm_loss), *args)
    same(lambda p, *rest: grad(lambda p: sum(knp.sum(g * g) for g in knet.tree.leaves(grad(lstm_loss)(p, *rest))))(p),
         *args, rtol=1e-9)  # fmt: skip
    p, tokens, labels = args
    examples = knet.vmap(grad(lstm_loss), in_axes=(None, 0, 0))
    many = knp.stack([tokens, tokens[::-1]]), knp.stack([labels, labels])
    same(lambda p: examples(p, *many), p, rtol=1e-10)


def test_an_lstm_of_ordinary_size_in_float32():
    # Large enough that weights are packed, once, in front of the loops.
    p, tokens, labels = lstm_arguments(hidden=256, batch=64, steps=4)
    p = knet.tree.map(lambda x: (0.3 * x).astype(knp.float32), p)
    f = knet.value_and_grad(lstm_loss)
    exact = dense(f(knet.tree.map(lambda x: x.astype(F64), p), tokens, labels))
    got = dense(jit(f)(p, tokens, labels))
    for y, want in zip(knet.tree.leaves(got), knet.tree.leaves(exact)):
        assert float(knp.abs(y - want).max()) <= 1e-5 * float(knp.abs(want).max())


def test_without_a_batch_gradients_of_weights_are_one_product_too():
    def loss(w, u, h, xs):
        h, ys = knet.scan(lambda h, x: (lambda h: (h, h))(knp.tanh(x @ w + h @ u)), h, xs)
        return (ys * ys).sum()

    args = array(E, H), array(H, H), array(H), array(T, E)
    same(grad(loss, (0, 1, 2, 3)), *args)
    forward, backward = loops(optimized(grad(loss, (0, 1, 2, 3)), *args))
    assert [count(loop.op.body, "matmul") for loop in (forward, backward)] == [1, 1]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_stack_of_examples_and_positions_is_contracted_at_once(reverse):
    def loss(w, u, b, h, xs):  # x [T, B, E, E], h [B, E, H]
        def step(h, x):
            h = knp.tanh(x @ w + h @ u + b)
            return h, (h, x @ w)

        h, (ys, zs) = knet.scan(step, h, xs, reverse=reverse)
        return (ys * zs).sum()

    args = array(E, H), array(H, H), array(H), array(B, E, H), array(T, B, E, E)
    same(grad(loss, (0, 1, 2, 3, 4)), *args)
    graph = optimized(grad(loss, (0, 1, 2)), *args)
    forward, backward = loops(graph)
    assert [count(loop.op.body, "matmul") for loop in (forward, backward)] == [1, 1]
    assert (H, T * B * E) in [n.operands[0].shape for n in graph.nodes if n.op.name == "matmul"]


# --- each kind of motion ----------------------------------------------------------------------------------------------


def scanned(step, *carry_and_xs):
    graph = optimized(lambda c, xs: knet.scan(step, c, xs), *carry_and_xs)
    return graph, loops(graph)


def test_what_only_constants_enter_is_computed_once():
    def f(w, c, xs):
        def step(c, x):
            inner = knet.scan(lambda d, s: (d * knp.exp(w) + s * x, None), c, xs)[0]  # exp(w) leaves both loops
            return inner, None

        return knet.scan(step, c, xs)[0]

    # As derivatives are staged, values from outside are inputs of the body: nothing has left it yet.
    args = array(), array(), array(T)
    graph = optimized(grad(f), *args)
    assert all("exp" not in names(loop.op.body) for loop in loops(graph))
    assert count(graph, "exp") == 1
    same(grad(f), *args)


def test_views_of_constants_stay_with_what_uses_them():
    w, c, xs = array(H, H), array(B, H), array(T, B, H)
    f = lambda w, c, xs: knet.scan(lambda c, x: (knp.tanh(c @ w + x), None), c, xs)[0].sum()  # noqa: E731
    backward = loops(optimized(grad(f), w, c, xs))[1].op.body
    assert count(backward, "permute") == 1


def test_contractions_without_the_carry_are_done_for_all_steps_in_front():
    w = array(E, E)
    f = lambda c, x: ((c + knp.sin(knp.exp(x) @ w) @ w) * x, c)  # noqa: E731
    graph, (loop,) = scanned(f, array(B, E), array(T, B, E))
    assert [n.operands[0].shape for n in graph.nodes if n.op.name == "matmul"] == [(T * B, E)] * 2
    assert names(loop.op.body) == ["add", "multiply"]
    same(lambda c, xs: knet.scan(f, c, xs), array(B, E), array(T, B, E))


def test_elementwise_work_stays_inside():
    f = lambda c, x: (c * knp.exp(knp.sin(x)), knp.cos(x) * c)  # noqa: E731
    _, (loop,) = scanned(f, array(B), array(T, B))
    assert sorted(names(loop.op.body)) == ["cos", "exp", "multiply", "multiply", "sin"]


def test_contractions_that_the_carry_does_not_need_are_done_for_all_steps_behind():
    w, v = array(H, H), array(H, C)

    def f(c, x):
        c = knp.tanh(c @ w + x)
        return c, knp.exp(c @ v + 1) @ array(C, C)

    graph, (loop,) = scanned(f, array(B, H), array(T, B, H))
    assert count(loop.op.body, "matmul") == 1 and "exp" not in names(loop.op.body)
    assert [n.operands[0].shape for n in graph.nodes if n.op.name == "matmul"] == [(T * B, H), (T * B, C)]
    same(lambda c, xs: knet.scan(f, c, xs), array(B, H), array(T, B, H))


def test_independent_steps_stay_one_after_the_other():
    # knet.map is written to save memory: all at once is what vmap is for.
    w = array(E, E)
    f = lambda w, xs: knet.map(lambda x: knp.tanh(x @ w) @ w, xs).sum()  # noqa: E731
    args = w, array(T, B, E)
    assert "matmul" not in [n.op.name for n in optimized(f, *args).nodes]
    same(grad(f, (0, 1)), *args)


def test_sums_over_steps_are_taken_behind_the_loop():
    def f(carry, x):
        a, b, c, state = carry
        g = knp.tanh(state * x)
        return (a + x.T @ g + g.T @ x, b + g.sum(0), knp.exp(g) + c, g), g

    start = array(E, E), array(E), array(B, E), array(B, E, seed=1)
    graph, (loop,) = scanned(f, start, array(T, B, E))
    assert len(loop.op.body.outputs) == 3  # c, the state, and g
    assert "matmul" not in names(loop.op.body) and "reduce_sum" not in names(loop.op.body)
    assert [n.operands[0].shape for n in graph.nodes if n.op.name == "matmul"] == [(E, T * B)] * 2
    assert count(graph, "reduce_sum") == 1
    same(lambda c, xs: knet.scan(f, c, xs), start, array(T, B, E))


def test_a_sum_that_is_looked_at_stays():
    f = lambda c, x: ((c[0] + x.T @ x, c[1] + c[0].sum()), None)  # noqa: E731
    _, (loop,) = scanned(f, (array(E, E), array()), array(T, B, E))
    assert len(loop.op.body.outputs) == 2
    same(lambda c, xs: knet.scan(f, c, xs), (array(E, E), array()), array(T, B, E))


def test_a_sum_to_which_only_some_terms_can_be_added_later():
    def f(c, x):
        total, state = c
        state = knp.sin(state + x)
        return (total + x.T @ state + knp.exp(state[:E]), state), None

    start = array(E, E), array(B + E, E)
    graph, (loop,) = scanned(f, start, array(T, B + E, E))
    assert count(loop.op.body, "matmul") == 0 and count(graph, "matmul") == 1
    assert len(loop.op.body.outputs) == 3
    same(lambda c, xs: knet.scan(f, c, xs), start, array(T, B + E, E))


def test_terms_of_several_kinds_in_one_sum():
    def f(c, x):
        total, state = c
        state = knp.tanh(state * x)
        cube = state[:, :, None] * x[:, None]
        return (total + x.T @ state + cube.sum(0) + knp.exp(state[:E]), state), cube

    start = array(E, E), array(B + E, E)
    graph, (loop,) = scanned(f, start, array(T, B + E, E))
    assert not {"matmul", "reduce_sum"} & set(names(loop.op.body))
    assert (count(graph, "matmul"), count(graph, "reduce_sum")) == (1, 1)
    same(lambda c, xs: knet.scan(f, c, xs), start, array(T, B + E, E))


def test_rows_of_a_table_are_looked_up_and_added_to_at_once():
    ids = knp.asarray(np.random.default_rng(0).integers(0, V, (T, B)))

    def loss(table, w):
        h, ys = knet.scan(lambda h, i: (lambda h: (h, h))(knp.tanh(table[i] + h @ w)), array(B, E), ids)
        return (h * ys).sum()

    args = array(V, E), array(E, E)
    same(grad(loss, (0, 1)), *args)
    graph = optimized(grad(loss, (0, 1)), *args)
    assert all(not {"take", "put_add"} & set(names(loop.op.body)) for loop in loops(graph))
    assert (count(graph, "take"), count(graph, "put_add")) == (1, 1)


def test_nested_loops_are_left_by_what_needs_neither():
    w, u = array(E, E), array(E, E, seed=1)

    def f(w, u, c, xs):  # xs [T, T, B, E]
        def outer(c, x):
            return knet.scan(lambda d, s: (knp.tanh(d @ u + s @ w), d @ u), c, x)

        return knet.scan(outer, c, xs)

    args = w, u, array(B, E), array(T, T, B, E)
    graph = optimized(f, *args)
    (outer,) = loops(graph)
    assert names(outer.op.body).count("matmul") == 1
    assert (T * T * B, E) in [n.operands[0].shape for n in graph.nodes if n.op.name == "matmul"]
    same(f, *args)
    same(grad(lambda *a: (f(*a)[1] ** 2).sum(), (0, 1, 2, 3)), *args)


def test_a_choice_in_a_loop_is_differentiated_with_what_it_needs():
    w = array(E, E)

    def loss(w, c, xs):
        step = lambda c, x: (knet.cond(x[0, 0] > 0, lambda: knp.tanh(c @ w), lambda: c * x), None)  # noqa: E731
        return knet.scan(step, c, xs)[0].sum()

    same(grad(loss, (0, 1, 2)), w, array(B, E), array(T, B, E))


# --- dead code across the boundary ------------------------------------------------------------------------------------


def test_results_that_nobody_uses_are_not_computed():
    def f(c, xs):
        (a, _, _), (y, _) = knet.scan(
            lambda c, x: ((c[0] * x, knp.exp(c[1]) * c[0], c[2] + 1), (c[0] + x, knp.sin(c[0]))), c, xs
        )
        return a, y

    args = (array(B), array(B), array()), array(T, B)
    (loop,) = loops(optimized(f, *args))
    assert names(loop.op.body) == ["multiply", "add"]
    assert (len(loop.operands), len(loop.results)) == (2, 2)
    same(f, *args)


def test_results_of_a_choice_that_nobody_uses_are_not_computed():
    def f(p, x, y):
        branches = (lambda: (x * y, knp.exp(y), x)), (lambda: (x, knp.sin(x + y), x))
        a, _, _ = knet.cond(p, *branches)
        return a * 2 + y

    args = knp.asarray(True), array(B), array(B, seed=1)
    (choice,) = (n for n in optimized(f, *args).nodes if n.op.name == "switch")
    assert (len(choice.operands), len(choice.results)) == (3, 1)
    assert [names(g) for g in choice.op.graphs] == [[], ["multiply"]]
    same(f, *args)

    def g(p, x, y):
        return knet.cond(p, lambda: (x, knp.exp(y)), lambda: (x * 2, y))[0]

    (choice,) = (n for n in optimized(g, *args).nodes if n.op.name == "switch")
    assert (len(choice.operands), len(choice.results)) == (2, 1)  # y is no operand any longer
    same(g, *args)
    same(grad(lambda x: g(args[0], x, args[2]).sum()), args[1])


def test_a_loop_that_nobody_needs_is_gone():
    f = lambda c, xs: (knet.scan(lambda c, x: (c * x, c), c, xs), c + 1)[1]  # noqa: E731
    assert not loops(optimized(f, array(B), array(T, B)))


def test_equal_operands_and_results_are_one():
    def f(w, c, xs):
        step = lambda c, x: ((c[0] * x[0] * w + x[1], c[1]), (c[0], c[0], x[0], c[1]))  # noqa: E731
        return knet.scan(step, (c, w), (xs, xs))

    args = array(B), array(B, seed=1), array(T, B)
    (loop,) = loops(optimized(f, *args))
    assert (len(loop.operands), len(loop.results)) == (3, 2)  # w, c, xs; c and its stack
    same(f, *args)


def test_passes_run_in_bodies():
    f = lambda c, x: (knp.exp(c * 1.0) * knp.sin(knp.exp(c)) + x * (knp.ones(()) + 1), None)  # noqa: E731
    _, (loop,) = scanned(f, array(B), array(T, B))
    assert sorted(names(loop.op.body)) == ["add", "exp", "multiply", "multiply", "sin"]


def test_optimising_again_changes_nothing():
    from knet.compiler.passes import optimize

    args = lstm_arguments()
    graph = optimized(grad(lstm_loss), *args)
    assert str(optimize(graph)) == str(graph)
