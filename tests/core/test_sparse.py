"""Row-sparse gradients of large tables: equal to the dense ones wherever they go, and never made dense on the way."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet import optim
from knet.core import debug
from knet.core.sparse import RowSparse
from knet.testing import assert_close, assert_trees_close

F64 = knp.float64
ROWS, WIDTH = 4096, 16  # 65536 elements, the size from which gradients are kept as rows
IDS = np.array([5, 17, -1, 5, 4095, 0, 5, -4096, 300, 17])  # repeated, negative, and two names for one row


def table(dtype=F64, seed=0):
    return knp.asarray(np.random.default_rng(seed).normal(size=(ROWS, WIDTH))).astype(dtype)


TARGET = np.random.default_rng(9).normal(size=(IDS.size, WIDTH))


def loss(params, ids=IDS):
    """Something like an embedding with a layer behind it."""
    picked = params["table"][knp.asarray(ids)]
    return ((picked @ params["w"] - knp.asarray(TARGET[: len(ids)], dtype=picked.dtype)) ** 2).sum()


def parameters(dtype=F64):
    w = np.random.default_rng(1).normal(size=(WIDTH, WIDTH)) * 0.3
    return {"table": table(dtype), "w": knp.asarray(w).astype(dtype)}


def sparse_gradient(ids=IDS, dtype=F64, seed=2):
    """A gradient as rows, and the same as NumPy array."""
    values = np.random.default_rng(seed).normal(size=(*np.shape(ids), WIDTH))
    weights = knp.asarray(values).astype(dtype)
    g = knet.grad(lambda t: (t[knp.asarray(ids)] * weights).sum())(table(dtype))
    assert isinstance(g, RowSparse)
    want = np.zeros((ROWS, WIDTH))
    np.add.at(want, ids, values)
    return g, want


def densified(tree):
    return knet.tree.map(lambda g: g.dense() if isinstance(g, RowSparse) else g, tree)


# --- what it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids", [IDS, IDS.reshape(2, 5), np.array(7), np.zeros((0,), int)], ids=["1d", "2d", "0d", "none"]
)
def test_the_gradient_is_the_dense_one(ids):
    g, want = sparse_gradient(ids)
    assert g.shape == (ROWS, WIDTH) and g.dtype == F64 and g.ids.shape == (np.size(ids),)
    assert_close(g.dense(), knp.asarray(want), rtol=1e-14)
    assert_close(knp.asarray(np.asarray(g)), knp.asarray(want), rtol=1e-14)


def test_every_way_to_pick_rows_leaves_rows():
    ids = knp.asarray(IDS)
    for pick in (lambda t: t[ids], lambda t: knp.take(t, ids, axis=0), lambda t: t[ids, :]):
        assert isinstance(knet.grad(lambda t, pick=pick: knp.sin(pick(t)).sum())(table()), RowSparse)
    value, g = knet.value_and_grad(lambda t: t[ids].sum())(table())
    assert isinstance(g, RowSparse) and value.shape == ()
    _, pull_back = knet.vjp(lambda t: t[ids], table())
    assert isinstance(pull_back(knp.ones((IDS.size, WIDTH), dtype=F64))[0], RowSparse)


def test_a_small_table_or_many_rows_have_a_dense_gradient():
    small = knp.zeros((ROWS - 1, WIDTH))
    assert not isinstance(knet.grad(lambda t: t[knp.asarray([1, 2])].sum())(small), RowSparse)
    many = knp.arange(ROWS // 2)
    g = knet.grad(lambda t: t[many].sum())(table())
    assert not isinstance(g, RowSparse) and np.asarray(g).sum() == many.size * WIDTH


def test_two_uses_of_a_table_add_up():
    first, second = knp.asarray(IDS), knp.asarray([1, 2, 5])
    f = lambda t: knp.sin(t[first]).sum() + (t[second] ** 2).sum()  # noqa: E731
    g = knet.grad(f)(table())
    assert isinstance(g, RowSparse) and g.ids.size == IDS.size + 3
    rows = np.asarray(table())
    want = np.zeros_like(rows)
    np.add.at(want, IDS, np.cos(rows[IDS]))
    np.add.at(want, [1, 2, 5], 2 * rows[[1, 2, 5]])
    assert_close(g.dense(), knp.asarray(want), rtol=1e-13)
    with_all = knet.grad(lambda t: f(t) + (t * t).sum())(table())  # beside a dense gradient it becomes dense
    assert not isinstance(with_all, RowSparse)
    assert_close(with_all, knp.asarray(want + 2 * rows), rtol=1e-13)


def test_coalesced_names_each_row_once():
    g, want = sparse_gradient()
    c = g.coalesced()
    assert c.ids.tolist() == sorted(set((IDS % ROWS).tolist()))
    assert_close(c.dense(), knp.asarray(want), rtol=1e-14)


def test_it_prints_pickles_and_copies():
    g, want = sparse_gradient()
    assert repr(g).startswith(f"RowSparse(float64 [{ROWS}, {WIDTH}], {IDS.size} rows [") and str(g) == repr(g)
    for other in (pickle.loads(pickle.dumps(g)), copy.copy(g), copy.deepcopy(g)):
        assert isinstance(other, RowSparse) and other.ids.tolist() == g.ids.tolist()
        assert_close(other.dense(), knp.asarray(want), rtol=1e-14)
    assert g.block_until_ready() is g and g.ndim == 2 and g.size == ROWS * WIDTH
    assert g.device is knet.default_device()


def test_an_index_outside_is_named():
    with pytest.raises(IndexError, match="5000"):
        knet.grad(lambda t: t[knp.asarray([1, 5000])].sum())(table())


# --- arithmetic -------------------------------------------------------------------------------------------------------

DENSE = np.random.default_rng(5).uniform(0.5, 2.0, (ROWS, WIDTH))

# name: (function of a gradient and a dense array, whether rows are kept)
OPERATIONS = {
    "scaled by a number": (lambda g, d: g * 2.5, True),
    "scaled by an array": (lambda g, d: d[0, 0] * g, True),
    "scaled by a number in front": (lambda g, d: 2 * g, True),
    "divided": (lambda g, d: g / 4, True),
    "divided by an array of its shape": (lambda g, d: g / d, True),
    "times an array of its shape": (lambda g, d: d * g, True),
    "negated": (lambda g, d: -g, True),
    "squared": (lambda g, d: knp.square(g), True),
    "times itself": (lambda g, d: g * g, True),
    "power of two": (lambda g, d: g**2, True),
    "added to itself": (lambda g, d: g + g, True),
    "minus itself, scaled": (lambda g, d: g - 0.5 * g, True),
    "cast": (lambda g, d: g.astype(knp.float32), True),
    "stopped": (lambda g, d: knet.stop_gradient(g), True),
    "added to a dense array": (lambda g, d: d + g, False),
    "with a dense array added": (lambda g, d: g + d, False),
    "taken from a dense array": (lambda g, d: d - g, False),
    "minus a dense array": (lambda g, d: g - d, False),
    "summed": (lambda g, d: g.sum(), False),
    "summed over rows": (lambda g, d: g.sum(axis=0), False),
    "summed over rows, axes kept": (lambda g, d: g.sum(axis=0, keepdims=True), False),
    "summed over columns": (lambda g, d: g.sum(axis=1), False),
    "mean": (lambda g, d: knp.mean(g), False),
    "norm": (lambda g, d: knp.sqrt((g * g).sum()), False),
    "shifted by a number": (lambda g, d: g + 1.0, False),
    "divided into a number": (lambda g, d: 1.0 / (g + 3.0), False),
    "a row": (lambda g, d: g[5], False),
    "transposed": (lambda g, d: g.T, False),
    "an elementwise function": (lambda g, d: knp.tanh(g), False),
    "compared": (lambda g, d: g > 0, False),
    "a product": (lambda g, d: g.T @ d, False),
    "times a row": (lambda g, d: g * d[0], False),
    "maximum": (lambda g, d: g.max(), False),
    "cast to integers": (lambda g, d: (g * 3).astype(int), False),
    "cast to booleans": (lambda g, d: g.astype(bool), False),
    "times another gradient": (lambda g, d: g * sparse_gradient(np.array([5, 0]), seed=7)[0], False),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_on_rows_is_the_operation_on_the_dense_array(operation):
    f, stays = OPERATIONS[operation]
    g, want = sparse_gradient()
    got, expected = f(g, knp.asarray(DENSE)), f(knp.asarray(want), knp.asarray(DENSE))
    assert isinstance(got, RowSparse) == stays
    assert_close(got.dense() if stays else got, expected, rtol=1e-5 if operation == "cast" else 1e-12, atol=1e-13)


def test_operands_are_left_alone():
    g, want = sparse_gradient()
    d = knp.asarray(DENSE.copy())
    for f, _ in OPERATIONS.values():
        f(g, d)
    assert_close(g.dense(), knp.asarray(want), rtol=1e-14)
    assert np.array_equal(np.asarray(d), DENSE)


# --- optimizers -------------------------------------------------------------------------------------------------------

SCHEDULE = optim.exponential_decay(0.05, 2, 0.5)
OPTIMIZERS = {
    "sgd": lambda: optim.sgd(0.05),
    "sgd, schedule": lambda: optim.sgd(SCHEDULE),
    "momentum": lambda: optim.sgd(0.05, momentum=0.9),
    "nesterov": lambda: optim.sgd(0.05, momentum=0.9, nesterov=True),
    "adagrad": lambda: optim.adagrad(0.1),
    "adadelta": lambda: optim.adadelta(),
    "rmsprop": lambda: optim.rmsprop(0.01),
    "rmsprop, centered": lambda: optim.rmsprop(0.01, centered=True, momentum=0.9),
    "rmsprop, eps outside": lambda: optim.rmsprop(0.01, eps_in_sqrt=False),
    "adam": lambda: optim.adam(0.01),
    "adamw": lambda: optim.adamw(SCHEDULE, weight_decay=0.1),
    "clip_by_global_norm": lambda: optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1)),
    "clip_by_global_norm and adam": lambda: optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.01)),
    "clip_by_norm": lambda: optim.chain(optim.clip_by_norm(0.5), optim.sgd(0.1)),
    "clip": lambda: optim.chain(optim.clip(0.1), optim.sgd(0.1)),
    "trace": lambda: optim.chain(optim.trace(0.9), optim.scale(-0.05)),
    "decayed weights": lambda: optim.chain(optim.add_decayed_weights(0.01), optim.scale_by_learning_rate(0.05)),
}


def test_every_optimizer_is_here():
    assert {n.split(",")[0].split(" ")[0] for n in OPTIMIZERS} >= {
        "sgd",
        "adagrad",
        "adadelta",
        "rmsprop",
        "adam",
        "adamw",
    }


def trained(make, change, steps=5, dtype=F64):
    params, optimizer = parameters(dtype), make()
    state = optimizer.init(params)
    for step in range(steps):
        grads = knet.grad(lambda p, step=step: loss(p, IDS[step:]))(params)
        assert isinstance(grads["table"], RowSparse)
        updates, state = optimizer.update(change(grads), state, params)
        params = optim.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_is_the_same_as_with_dense_gradients(optimizer):
    make = OPTIMIZERS[optimizer]
    got, want = trained(make, lambda g: g), trained(make, densified)
    assert_trees_close(got, want, rtol=1e-10, atol=1e-13)
    moved = np.abs(np.asarray(got["table"]) - np.asarray(parameters()["table"])).max()
    assert moved > 1e-4, "nothing was trained, so nothing was compared"


def test_training_in_half_precision():
    make = OPTIMIZERS["sgd"]
    got, want = (trained(make, change, steps=2, dtype=knp.float16) for change in (lambda g: g, densified))
    assert got["table"].dtype == knp.float16
    assert_trees_close(got, want, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "sgd, schedule", "clip_by_global_norm", "clip_by_norm"])
def test_a_step_makes_one_array_of_the_tables_size_which_is_the_new_table(optimizer):
    params, transformation = parameters(), OPTIMIZERS[optimizer]()
    state = transformation.init(params)
    made = []
    debug._inspect(lambda primitive, _b, _i, outputs: made.extend(primitive.name for y in outputs if y.size >= ROWS))
    try:
        grads = knet.grad(loss)(params)
        updates, state = transformation.update(grads, state, params)
        assert isinstance(updates["table"], RowSparse)
        assert made == [], f"arrays of the table's size before the step: {made}"
        optim.apply_updates(params, updates)
    finally:
        debug._inspect(None)
    assert made == ["put_add"], f"arrays of the table's size: {made}"


def test_the_memory_of_a_step_is_that_of_the_new_table(on_cpu, monkeypatch):
    monkeypatch.setattr("knet.core.reverse.CHECKS", False)
    params, optimizer = parameters(), optim.sgd(0.1)
    peaks = []
    for change in (lambda g: g, densified):
        tracemalloc.start()
        try:
            updates, _ = optimizer.update(change(knet.grad(loss)(params)), optimizer.init(params), params)
            before_step = tracemalloc.get_traced_memory()[1]
            optim.apply_updates(params, updates)
            peaks.append([before_step / (8 * ROWS * WIDTH), tracemalloc.get_traced_memory()[1] / (8 * ROWS * WIDTH)])
            del updates
        finally:
            tracemalloc.stop()
    (sparse_gradient_peak, sparse_peak), (dense_gradient_peak, dense_peak) = peaks
    assert sparse_gradient_peak < 0.2 and sparse_peak < 1.3, f"peaks in tables, sparse and dense: {peaks}"
    assert dense_gradient_peak > 1.9 and dense_peak > 1.9, f"the measure sees a dense gradient: {peaks}"


# --- under transformations it is dense --------------------------------------------------------------------------------


def test_under_another_transformation_the_gradient_is_dense_and_right():
    t, ids = table(), knp.asarray(IDS)
    rows = np.asarray(t)

    def f(t):
        return (t[ids] ** 3).sum()

    g = knet.grad(f)
    direction = table(seed=3)
    want = np.zeros_like(rows)
    np.add.at(want, IDS, 6 * rows[IDS] * np.asarray(direction)[IDS])
    for hvp in (
        knet.jvp(g, (t,), (direction,))[1],
        knet.grad(lambda t: (g(t) * direction).sum())(t),
        knet.hvp(f, (t,), (direction,)),
    ):
        assert_close(hvp.dense() if isinstance(hvp, RowSparse) else hvp, knp.asarray(want), rtol=1e-12, atol=1e-13)
    two = knp.stack([t, direction])
    batched = knet.vmap(g)(two)
    assert batched.shape == (2, ROWS, WIDTH) and not isinstance(batched, RowSparse)
    assert_close(batched, knp.stack([g(t).dense(), g(direction).dense()]), rtol=1e-13)
    each = knet.vmap(knet.grad(lambda t, i: (t[i] ** 3).sum()), in_axes=(None, 0))(t, knp.asarray(IDS.reshape(5, 2)))
    assert_close(each.sum(0), g(t).dense(), rtol=1e-12, atol=1e-13)
    assert_close(knet.grad(lambda t: knet.vmap(lambda i: (t[i] ** 3).sum())(ids).sum())(t) * 1.0 + knp.zeros_like(t),
                 g(t).dense(), rtol=1e-12, atol=1e-13)  # fmt: skip
    push = knet.linearize(lambda t: t[ids], t)[1]
    assert_close(push(direction), direction[ids])
    assert knet.eval_shape(g, t).shape == (ROWS, WIDTH)


def test_rows_enter_a_transformation_like_any_array():
    g, want = sparse_gradient()
    dense = knp.asarray(want)
    x = table(seed=4)
    assert_close(knet.grad(lambda x: (x * g).sum())(x), dense)
    assert_close(knet.grad(lambda x: ((x + g) ** 2).sum())(x), 2 * (x + dense), rtol=1e-13)
    assert_close(knet.grad(lambda s: (s * g).sum())(knp.asarray(2.0, dtype=F64)), dense.sum(), rtol=1e-12)
    assert_close(knet.vmap(lambda row: row.sum())(g), dense.sum(1), rtol=1e-12, atol=1e-14)
    assert_close(
        knet.vmap(lambda s: (s * g).sum())(knp.asarray([1.0, 2.0], dtype=F64)),
        dense.sum() * knp.asarray([1.0, 2.0], dtype=F64),
        rtol=1e-12,
    )
    assert_close(knet.jvp(lambda x: x * x, (x,), (g,))[1], 2 * x * dense, rtol=1e-13)
    assert_close(knet.grad(lambda x: (x**2).sum())(g) * 1.0, 2 * dense)


def test_a_training_step_inside_a_gradient():
    # The derivative of the loss after one step by the learning rate: the gradient within must not hide from it.
    params = parameters()

    def after(rate):
        grads = knet.grad(loss)(params)
        new = knet.tree.map(lambda p, g: p - rate * g, params, grads)
        return loss(new)

    rate, h = knp.asarray(0.01, dtype=F64), 1e-6
    numeric = (float(after(rate + h)) - float(after(rate - h))) / (2 * h)
    assert float(knet.grad(after)(rate)) == pytest.approx(numeric, rel=1e-6)
