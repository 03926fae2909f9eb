"""Catalogue of optimizers x laws: an optimizer is tested by having a row here, and a test fails if it has none."""

from __future__ import annotations

import inspect
import math
from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet import optim
from knet.core import errors, tree
from knet.testing import assert_close, assert_trees_close

# --- the catalogue --------------------------------------------------------------------------------------------------
# A reference is a plain loop in float64: function(gradients, parameters' start, alphas) -> parameters' end.


def sgd_reference(gs, p, alphas, momentum=0.0, nesterov=False):
    v = np.zeros_like(p)
    for g, a in zip(gs, alphas):
        v = momentum * v + g
        p = p - a * (momentum * v + g if nesterov else v)
    return p


def adagrad_reference(gs, p, alphas, first=0.1, eps=1e-7):
    s = np.full_like(p, first)
    for g, a in zip(gs, alphas):
        s = s + g**2
        p = p - a * g / np.sqrt(s + eps)
    return p


def adadelta_reference(gs, p, alphas, rho=0.9, eps=1e-6):
    e_g, e_x = np.zeros_like(p), np.zeros_like(p)
    for g, a in zip(gs, alphas):
        e_g = rho * e_g + (1 - rho) * g**2
        d = g * np.sqrt(e_x + eps) / np.sqrt(e_g + eps)
        e_x = rho * e_x + (1 - rho) * d**2
        p = p - a * d
    return p


def rmsprop_reference(
    gs, p, alphas, decay=0.9, eps=1e-8, first=0.0, inside=True, centered=False, momentum=0.0, nesterov=False
):
    n, m, v = np.full_like(p, first), np.zeros_like(p), np.zeros_like(p)
    for g, a in zip(gs, alphas):
        n = decay * n + (1 - decay) * g**2
        m = decay * m + (1 - decay) * g
        r = n - m**2 if centered else n
        d = -a * g / (np.sqrt(r + eps) if inside else np.sqrt(r) + eps)
        v = momentum * v + d
        p = p + (momentum * v + d if nesterov else v)
    return p


def adam_reference(gs, p, alphas, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, weight_decay=0.0):
    m, n = np.zeros_like(p), np.zeros_like(p)
    for t, (g, a) in enumerate(zip(gs, alphas), 1):
        m = b1 * m + (1 - b1) * g
        n = b2 * n + (1 - b2) * g**2
        p = p - a * (m / (1 - b1**t) / (np.sqrt(n / (1 - b2**t) + eps_root) + eps) + weight_decay * p)
    return p


class Row(NamedTuple):
    make: object
    options: dict
    reference: object
    reference_options: dict
    alpha: float  # learning rate for a parabola
    rosenbrock: float  # and for Rosenbrock's function


CATALOG = {
    "sgd": Row(optim.sgd, {}, sgd_reference, {}, 0.2, 0.003),
    "momentum": Row(optim.sgd, {"momentum": 0.9}, sgd_reference, {"momentum": 0.9}, 0.05, 0.003),
    "nesterov": Row(
        optim.sgd, {"momentum": 0.9, "nesterov": True}, sgd_reference, {"momentum": 0.9, "nesterov": True}, 0.05,
        0.001,
    ),
    "adagrad": Row(optim.adagrad, {}, adagrad_reference, {}, 0.5, 0.3),
    "adagrad as in Knet.jl": Row(
        optim.adagrad, {"initial_accumulator_value": 0.0, "eps": 1e-6}, adagrad_reference, {"first": 0.0, "eps": 1e-6},
        0.5, 0.3,
    ),
    "adagrad without eps": Row(
        optim.adagrad, {"initial_accumulator_value": 0.0, "eps": 0.0}, adagrad_reference, {"first": 0.0, "eps": 1e-300},
        0.5, 0.3,
    ),
    "adadelta": Row(optim.adadelta, {}, adadelta_reference, {}, 10.0, 1.0),
    "adadelta rho eps": Row(
        optim.adadelta, {"rho": 0.5, "eps": 1e-3}, adadelta_reference, {"rho": 0.5, "eps": 1e-3}, 0.1, 0.01
    ),
    "rmsprop": Row(optim.rmsprop, {}, rmsprop_reference, {}, 0.02, 0.01),
    "rmsprop as in Knet.jl": Row(
        optim.rmsprop, {"decay": 0.8, "eps": 1e-6}, rmsprop_reference, {"decay": 0.8, "eps": 1e-6}, 0.02, 0.01
    ),
    "rmsprop eps outside": Row(
        optim.rmsprop, {"eps": 1e-2, "eps_in_sqrt": False}, rmsprop_reference, {"eps": 1e-2, "inside": False}, 0.02,
        0.01,
    ),
    "rmsprop without eps": Row(
        optim.rmsprop, {"eps": 0.0, "eps_in_sqrt": False}, rmsprop_reference, {"eps": 1e-300}, 0.02, 0.01
    ),
    "rmsprop initial_scale": Row(
        optim.rmsprop, {"initial_scale": 1.0}, rmsprop_reference, {"first": 1.0}, 0.02, 0.01
    ),
    "rmsprop centered": Row(
        optim.rmsprop, {"centered": True, "eps": 1e-4}, rmsprop_reference, {"centered": True, "eps": 1e-4}, 0.02,
        0.01,
    ),
    "rmsprop momentum": Row(
        optim.rmsprop, {"momentum": 0.5}, rmsprop_reference, {"momentum": 0.5}, 0.01, 0.01
    ),
    "rmsprop nesterov centered": Row(
        optim.rmsprop,
        {"momentum": 0.5, "nesterov": True, "centered": True, "eps": 1e-4},
        rmsprop_reference,
        {"momentum": 0.5, "nesterov": True, "centered": True, "eps": 1e-4},
        0.01, 0.003,
    ),
    "adam": Row(optim.adam, {}, adam_reference, {}, 0.1, 0.3),
    "adam betas eps": Row(
        optim.adam, {"b1": 0.5, "b2": 0.9, "eps": 1e-3}, adam_reference, {"b1": 0.5, "b2": 0.9, "eps": 1e-3}, 0.05,
        0.03,
    ),
    "adam eps_root": Row(
        optim.adam, {"eps_root": 1e-2}, adam_reference, {"eps_root": 1e-2}, 0.1, 0.3
    ),
    "adam without averages": Row(
        optim.adam, {"b1": 0.0, "b2": 0.0}, adam_reference, {"b1": 0.0, "b2": 0.0}, 0.01, 1.0
    ),
    "adamw": Row(optim.adamw, {}, adam_reference, {"weight_decay": 1e-4}, 0.1, 0.1),
    "adamw weight_decay": Row(
        optim.adamw, {"weight_decay": 1e-2, "b1": 0.8}, adam_reference, {"weight_decay": 1e-2, "b1": 0.8}, 0.1,
        0.1,
    ),
}  # fmt: skip

every = pytest.mark.parametrize("row", CATALOG.values(), ids=CATALOG.keys())
SCHEDULE = optim.piecewise_constant_schedule(0.25, {2: 0.5, 4: 2.0})  # exact in float32
SCHEDULED = [0.25, 0.25, 0.125, 0.125, 0.25]


def steps(optimizer, gradients, params):
    """Parameters and state after one update for each gradient."""
    state = optimizer.init(params)
    for grads in gradients:
        updates, state = optimizer.update(grads, state, params)
        params = optim.apply_updates(params, updates)
    return params, state


def minimize(optimizer, function, params, count):
    gradient = knet.grad(function)
    state = optimizer.init(params)
    for _ in range(count):
        updates, state = optimizer.update(gradient(params), state, params)
        params = optim.apply_updates(params, updates)
    return params


def random_tree(seed, dtype="float64"):
    random = np.random.default_rng(seed)
    make = lambda *shape: knp.asarray(random.standard_normal(shape).astype(dtype))  # noqa: E731
    return {"layer": [make(3, 4), make(4)], "scale": make(), "none": None, "empty": {}, "tuple": (make(0, 2),)}


def host(x):
    return np.asarray(x)


# --- laws of every optimizer ----------------------------------------------------------------------------------------


def test_every_option_of_every_optimizer_is_in_the_catalogue():
    for make in (optim.sgd, optim.adagrad, optim.adadelta, optim.rmsprop, optim.adam, optim.adamw):
        options = set(inspect.signature(make).parameters) - {"learning_rate", "mask"}
        if make is optim.adamw:  # shares the code of adam
            options -= {"b2", "eps", "eps_root"}
        tried = {name for row in CATALOG.values() if row.make is make for name in row.options}
        assert tried == options, make.__name__


@every
@pytest.mark.parametrize("scheduled", [False, True], ids=["constant", "scheduled"])
def test_reference(row, scheduled):
    start, gradients = random_tree(0), [random_tree(seed) for seed in range(1, 6)]
    got, _ = steps(row.make(SCHEDULE if scheduled else row.alpha, **row.options), gradients, start)
    alphas = SCHEDULED if scheduled else [row.alpha] * 5

    def reference(p, *gs):
        return row.reference([host(g) for g in gs], host(p), alphas, **row.reference_options)

    want = tree.map(reference, start, *gradients)
    assert_trees_close(got, tree.map(np.asarray, want), rtol=1e-11, atol=1e-13)


@every
def test_minimizes_a_parabola(row):
    goal = {"a": knp.asarray([1.0, -2.0]), "b": (knp.asarray(0.5), None)}

    def loss(params):
        return ((params["a"] - goal["a"]) ** 2).sum() + 2.0 * (params["b"][0] - goal["b"][0]) ** 2

    found = minimize(row.make(row.alpha, **row.options), loss, tree.map(knp.zeros_like, goal), 400)
    assert_trees_close(found, goal, atol=0.05)


@every
def test_minimizes_rosenbrock(row):
    def loss(params):
        x, y = params
        return (1.0 - x) ** 2 + 100.0 * (y - x * x) ** 2

    optimizer = row.make(optim.cosine_decay_schedule(row.rosenbrock, 1500), **row.options)
    found = minimize(optimizer, loss, (knp.asarray(-0.5), knp.asarray(0.5)), 1500)
    assert float(loss(found)) < 0.08  # 8.5 at the start, 2.25 where the curved valley is reached
    assert abs(float(found[0]) - 1.0) < 0.3


@every
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", ml_dtypes.bfloat16], ids=str)
@pytest.mark.parametrize("scheduled", [False, True], ids=["constant", "scheduled"])
def test_keeps_dtype_shape_and_structure(row, dtype, scheduled):
    params, grads = random_tree(0, dtype), random_tree(1, dtype)
    optimizer = row.make(SCHEDULE if scheduled else 0.25, **row.options)
    state = optimizer.init(params)
    updates, after = optimizer.update(grads, state, params)
    stepped = optim.apply_updates(params, updates)
    for other in (updates, stepped):
        assert tree.structure(other) == tree.structure(params)
        for x, p in zip(tree.leaves(other), tree.leaves(params)):
            assert (x.shape, x.dtype) == (p.shape, p.dtype)
    assert tree.structure(after) == tree.structure(state)
    for x, y in zip(tree.leaves(after), tree.leaves(state)):
        assert isinstance(x, knet.Array) and (x.shape, x.dtype) == (y.shape, y.dtype)
        assert y.dtype.itemsize >= 4  # histories of half types are kept in float32


@every
def test_half_precision_follows_float32(row):
    """eps = 1e-8 and (1 - b2) g ** 2 are zero in float16: only float32 in between gives the right step."""
    grads = [{"w": knp.asarray(np.array([1e-3, -2.0, 0.5, 0.0]), dtype="float16")} for _ in range(3)]
    start = {"w": knp.asarray(np.array([1.0, 2.0, 3.0, 4.0]), dtype="float16")}
    wide = [tree.map(lambda g: g.astype("float32"), g) for g in grads]
    optimizer = row.make(0.25, **row.options)
    half, state = optimizer.update(grads[0], optimizer.init(start), start)
    full, full_state = optimizer.update(wide[0], optimizer.init(start), start)
    assert_close(half["w"], full["w"].astype("float16"), rtol=1e-3)
    assert_trees_close(state, full_state)


@every
def test_update_is_pure(row):
    params, grads = random_tree(0), random_tree(1)
    optimizer = row.make(SCHEDULE, **row.options)
    _, state = steps(optimizer, [random_tree(2)], params)
    before = tree.map(lambda x: np.array(host(x)), (params, grads, state))
    first = optimizer.update(grads, state, params)
    second = optimizer.update(grads, state, params)
    assert_trees_close(first, second, rtol=0.0)
    assert_trees_close((params, grads, state), before, rtol=0.0)


@every
@pytest.mark.parametrize("empty", [{}, (), [], None, {"a": None, "b": [{}]}], ids=str)
def test_empty_trees(row, empty):
    optimizer = row.make(0.1, **row.options)
    updates, _ = optimizer.update(empty, optimizer.init(empty), empty)
    assert tree.structure(updates) == tree.structure(empty)
    assert optim.apply_updates(empty, updates) == empty


@every
def test_scalars_and_numpy_arrays_are_leaves(row):
    optimizer = row.make(0.1, **row.options)
    params = {"a": 1.0, "b": np.ones(3, np.float32)}
    updates, _ = optimizer.update({"a": 1.0, "b": np.ones(3, np.float32)}, optimizer.init(params), params)
    new = optim.apply_updates(params, updates)
    assert isinstance(new["a"], knet.Array) and new["b"].shape == (3,)
    assert_close(new["b"], np.full(3, float(new["a"]), np.float32))


@every
def test_zero_gradient_at_the_start_is_no_step(row):
    optimizer = row.make(0.1, **(row.options | ({"weight_decay": 0.0} if row.make is optim.adamw else {})))
    updates, _ = optimizer.update([knp.zeros((2,))], optimizer.init([knp.ones((2,))]), [knp.ones((2,))])
    assert_close(updates[0], [0.0, 0.0])


@every
def test_state_of_other_parameters_is_an_error(row):
    optimizer = row.make(0.1, **row.options)
    state = optimizer.init({"w": 1.0, "b": 2.0})
    if not tree.leaves(state):
        return  # plain sgd remembers nothing that could be wrong
    with pytest.raises(errors.TreeError, match=r"missing \['b'\]|unexpected \['b'\]"):
        optimizer.update({"w": 1.0}, state, {"w": 1.0})


@every
def test_learning_rate_as_an_array(row):
    params, grads = random_tree(0, "float32"), random_tree(1, "float32")
    constant, _ = steps(row.make(0.25, **row.options), [grads], params)
    array, _ = steps(row.make(knp.asarray(0.25), **row.options), [grads], params)
    assert_trees_close(array, constant)


@every
def test_differentiable_by_the_learning_rate(row):
    """The step is made of Knet's operations, so a derivative goes through it."""
    params, grads = random_tree(0), random_tree(1)

    def loss(alpha):
        new, _ = steps(row.make(alpha, **row.options), [grads], params)
        return sum((x * x).sum() for x in tree.leaves(new))

    alpha, h = 0.25, 2.0**-12
    wide = lambda value: knp.asarray(value, dtype="float64")  # noqa: E731
    slope = float(knet.grad(loss)(wide(alpha)))
    numeric = (float(loss(wide(alpha + h))) - float(loss(wide(alpha - h)))) / (2 * h)
    assert slope == pytest.approx(numeric, rel=1e-6)


# --- single optimizers ----------------------------------------------------------------------------------------------


def test_adam_bias_correction_is_exact_in_float32():
    gradient = np.float32(1e-3)
    optimizer = optim.adam(1.0, eps=0.0)
    updates, _ = optimizer.update([knp.asarray([gradient])], optimizer.init([knp.ones((1,))]))
    assert_close(updates[0], [-1.0], ulp=4)  # 1 - 0.999 ** 1, computed in float32, would miss by 400 ulp


def test_adam_after_very_many_steps():
    optimizer = optim.adam(1.0)
    state = optimizer.init([knp.zeros((1,))])._replace(count=knp.asarray(10**12))
    updates, state = optimizer.update([knp.ones((1,))], state)
    assert int(state.count) == 10**12 + 1
    assert_close(updates[0], [-0.1 / math.sqrt(1e-3)], rtol=1e-5)


def test_state_without_schedule_has_no_counter():
    assert optim.sgd(0.1).init({"w": 1.0}) == optim.SgdState(None, None)
    assert int(optim.sgd(lambda step: 0.1).init({"w": 1.0}).count) == 0


def test_schedule_sees_the_steps_from_zero():
    optimizer, seen = optim.sgd(lambda step: seen.append(int(step)) or 0.1), []
    steps(optimizer, [{"w": 1.0}] * 3, {"w": 1.0})
    assert seen == [0, 1, 2]


def test_nesterov_is_that_of_knet_jl():
    """w -= gamma v_old; v = gamma v_old - lr g; w += (1 + gamma) v, for a constant learning rate."""
    gamma, lr = 0.95, 0.05
    gs = np.random.default_rng(0).standard_normal((5, 3))
    w, v = np.ones(3), np.zeros(3)
    for g in gs:
        w = w - gamma * v
        v = gamma * v - lr * g
        w = w + (1 + gamma) * v
    got, _ = steps(optim.sgd(lr, momentum=gamma, nesterov=True), [knp.asarray(g) for g in gs], knp.asarray(np.ones(3)))
    assert_close(got, w, rtol=1e-13)


def test_centered_rmsprop_survives_rounding():
    """Under a constant gradient n - m ** 2 goes to 0 and rounds below it."""
    optimizer = optim.rmsprop(0.1, centered=True, eps=1e-12)
    params, _ = steps(optimizer, [[knp.asarray([3.3, 1e-4, 1e3])]] * 400, [knp.zeros((3,))])
    assert np.isfinite(host(params[0])).all()


def test_adamw_mask():
    params = {"w": knp.ones((2,)), "b": knp.ones((2,))}
    grads = tree.map(knp.zeros_like, params)
    want = {"w": knp.full((2,), -0.05), "b": knp.zeros((2,))}
    for mask in ({"w": True, "b": False}, lambda params: {"w": True, "b": False}):
        optimizer = optim.adamw(0.5, weight_decay=0.1, mask=mask)
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        assert_trees_close(updates, want)


@pytest.mark.parametrize("make", [lambda: optim.adamw(0.1), lambda: optim.add_decayed_weights(0.1)])
def test_weight_decay_needs_params(make):
    optimizer = make()
    state = optimizer.init({"w": 1.0})
    with pytest.raises(ValueError, match=r"params=None: weight decay needs the parameters"):
        optimizer.update({"w": 1.0}, state)
    with pytest.raises(errors.TreeError, match=r"unexpected \['b'\]"):
        optimizer.update({"w": 1.0}, state, {"w": 1.0, "b": 1.0})


def test_mask_unlike_the_parameters():
    optimizer = optim.add_decayed_weights(0.1, mask={"w": True})
    params = {"w": 1.0, "b": 1.0}
    with pytest.raises(errors.TreeError, match=r"mask.*missing \['b'\]"):
        optimizer.update(params, optimizer.init(params), params)


# --- transformations ------------------------------------------------------------------------------------------------


def test_apply_updates():
    params = {"w": knp.ones((2,), dtype="float16"), "n": None}
    new = optim.apply_updates(params, {"w": knp.full((2,), 0.5), "n": None})
    assert_trees_close(new, {"w": knp.full((2,), 1.5, dtype="float16"), "n": None})


def test_apply_updates_errors():
    with pytest.raises(errors.TreeError, match=r"missing \['w'\]; unexpected \['v'\]"):
        optim.apply_updates({"w": 1.0}, {"v": 1.0})
    for update in (knp.ones((2, 3)), knp.ones((1,))):  # one broadcasts the parameter, the other the update
        with pytest.raises(errors.ShapeError, match=r"updates\['w'\]=.*params\['w'\] has shape \[3\]"):
            optim.apply_updates({"w": knp.ones((3,))}, {"w": update})
    with pytest.raises(errors.DTypeError, match=r"apply_updates: params\['n'\] is int64"):
        optim.apply_updates({"n": knp.asarray(1)}, {"n": 0.5})


def test_chain_equals_the_parts_in_order():
    grads, params = random_tree(1), random_tree(0)
    chained = optim.chain(optim.trace(0.9), optim.scale(2.0), optim.scale_by_learning_rate(SCHEDULE))
    got, state = steps(chained, [grads, grads, grads], params)
    want, _ = steps(optim.sgd(SCHEDULE, momentum=0.9), [tree.map(lambda g: 2.0 * g, grads)] * 3, params)
    assert_trees_close(got, want, rtol=1e-12)
    assert isinstance(state, tuple) and len(state) == 3 and int(state[2].count) == 3


def test_chain_of_nothing_and_identity():
    grads = {"w": knp.ones((2,))}
    for nothing in (optim.chain(), optim.identity(), optim.chain(optim.identity(), optim.chain())):
        updates, _ = nothing.update(grads, nothing.init(grads))
        assert updates is grads


def test_chain_errors():
    with pytest.raises(ValueError, match=r"transformations\[1\].*init and update"):
        optim.chain(optim.clip(1.0), optim.adam)
    pair = optim.chain(optim.clip(1.0), optim.adam(0.1))
    for state in ((), optim.adam(0.1).init(1.0), None):
        with pytest.raises(ValueError, match=r"tuple of 2 states"):
            pair.update(1.0, state)


def test_trace():
    gs = [knp.asarray(1.0), knp.asarray(2.0)]
    for nesterov, want in ((False, [1.0, 2.5]), (True, [1.5, 3.25])):
        part = optim.trace(0.5, nesterov)
        state = part.init(gs[0])
        for g, w in zip(gs, want):
            u, state = part.update(g, state)
            assert_close(u, w)


def test_scale_by_learning_rate():
    for options, want in (({}, -0.5), ({"flip_sign": False}, 0.5)):
        part = optim.scale_by_learning_rate(0.25, **options)
        assert_close(part.update(2.0, part.init(0.0))[0], want)


def test_global_norm():
    assert_close(optim.global_norm({"a": knp.asarray([3.0, 0.0]), "b": [4.0, None]}), 5.0)
    assert_close(optim.global_norm({}), 0.0)
    assert_close(optim.global_norm([knp.full((400,), 100.0, dtype="float16")]), 2000.0)  # its square is not a float16
    assert optim.global_norm([knp.ones((2,), dtype="float64")]).dtype == knp.float64


def test_clip_by_global_norm():
    part = optim.clip_by_global_norm(1.0)
    grads = {"a": knp.asarray([3.0, 0.0]), "b": knp.asarray([[0.0], [4.0]])}
    updates, _ = part.update(grads, part.init(grads))
    assert_trees_close(updates, tree.map(lambda g: g / 5.0, grads))
    small = tree.map(lambda g: g * 0.1, grads)
    assert_trees_close(part.update(small, part.init(small))[0], small, rtol=0.0)  # untouched, to the bit
    zero = tree.map(knp.zeros_like, grads)
    assert_trees_close(part.update(zero, part.init(zero))[0], zero)
    nan = {"a": knp.asarray([math.nan, 1.0]), "b": knp.ones((2, 1))}
    assert all(np.isnan(host(x)).all() for x in tree.leaves(part.update(nan, part.init(nan))[0]))


def test_clip_by_norm_treats_each_leaf_alone():
    part = optim.clip_by_norm(1.0)
    grads = {"a": knp.asarray([3.0, 4.0]), "b": knp.asarray([0.3]), "c": knp.zeros((2,), dtype="float16")}
    updates, _ = part.update(grads, part.init(grads))
    assert_trees_close(updates, {"a": knp.asarray([0.6, 0.8]), "b": grads["b"], "c": grads["c"]})


def test_clip():
    part = optim.clip(0.5)
    grads = [knp.asarray([-2.0, -0.5, 0.25, 2.0])]
    assert_close(part.update(grads, part.init(grads))[0][0], [-0.5, -0.5, 0.25, 0.5])


@pytest.mark.parametrize("make", [optim.clip, optim.clip_by_norm, optim.clip_by_global_norm])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", ml_dtypes.bfloat16], ids=str)
def test_clipping_keeps_dtypes_of_mixed_trees(make, dtype):
    grads = {"x": random_tree(0, dtype), "y": random_tree(1, "float64")}
    updates, _ = make(0.1).update(grads, make(0.1).init(grads))
    for u, g in zip(tree.leaves(updates), tree.leaves(grads)):
        assert (u.shape, u.dtype) == (g.shape, g.dtype)


def test_add_decayed_weights():
    part = optim.add_decayed_weights(0.1)
    assert_close(part.update(1.0, part.init(2.0), 2.0)[0], 1.2)


# --- schedules ------------------------------------------------------------------------------------------------------

SCHEDULES = {
    "constant": (optim.constant_schedule(0.5), lambda t: 0.5),
    "linear": (
        optim.linear_schedule(1.0, 0.2, 10, transition_begin=5),
        lambda t: 1.0 - 0.8 * min(max(t - 5, 0), 10) / 10,
    ),
    "exponential": (optim.exponential_decay(2.0, 10, 0.5), lambda t: 2.0 * 0.5 ** (t / 10)),
    "exponential with all options": (
        optim.exponential_decay(2.0, 10, 0.5, transition_begin=4, staircase=True, end_value=0.3),
        lambda t: max(2.0 * 0.5 ** (max(t - 4, 0) // 10), 0.3),
    ),
    "exponential growth": (
        optim.exponential_decay(1.0, 10, 2.0, end_value=3.0),
        lambda t: min(2.0 ** (t / 10), 3.0),
    ),
    "cosine": (
        optim.cosine_decay_schedule(1.0, 20),
        lambda t: (1 + math.cos(math.pi * min(t, 20) / 20)) / 2,
    ),
    "cosine with all options": (
        optim.cosine_decay_schedule(2.0, 20, alpha=0.1, exponent=2.0),
        lambda t: 2.0 * (0.9 * ((1 + math.cos(math.pi * min(t, 20) / 20)) / 2) ** 2 + 0.1),
    ),
    "warm-up": (
        optim.warmup_cosine_decay_schedule(0.1, 1.0, 10, 30, end_value=0.2),
        lambda t: 0.1 + 0.9 * t / 10 if t < 10 else 0.2 + 0.8 * (1 + math.cos(math.pi * min(t - 10, 20) / 20)) / 2,
    ),
    "no warm-up": (
        optim.warmup_cosine_decay_schedule(0.1, 1.0, 0, 20),
        lambda t: (1 + math.cos(math.pi * min(t, 20) / 20)) / 2,
    ),
    "piecewise": (
        optim.piecewise_constant_schedule(1.0, {20: 0.1, 10: 0.5}),
        lambda t: 1.0 if t < 10 else 0.5 if t < 20 else 0.05,
    ),
    "no pieces": (optim.piecewise_constant_schedule(0.75), lambda t: 0.75),
    "joined": (
        optim.join_schedules([optim.constant_schedule(1.0), optim.linear_schedule(0.5, 0.0, 10)], [7]),
        lambda t: 1.0 if t < 7 else 0.5 * (1 - min(t - 7, 10) / 10),
    ),
}


@pytest.mark.parametrize("schedule, want", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_schedule(schedule, want):
    for step in (0, 1, 4, 5, 7, 10, 11, 14, 15, 20, 25, 30, 31, 1000):
        value, array = schedule(step), schedule(knp.asarray(step))
        assert float(value) == float(array)
        assert float(value) == pytest.approx(want(step), rel=2e-6, abs=1e-7), step
        if isinstance(array, knet.Array):
            assert (array.shape, array.dtype) == ((), knp.float32)


# --- hyperparameters ------------------------------------------------------------------------------------------------

BAD = [
    (lambda: optim.sgd(math.nan), "learning_rate"),
    (lambda: optim.sgd(math.inf), "learning_rate"),
    (lambda: optim.sgd("0.1"), "learning_rate"),
    (lambda: optim.sgd(knp.ones((2,))), "learning_rate"),
    (lambda: optim.sgd(None), "learning_rate"),
    (lambda: optim.sgd(0.1, momentum=1.0), "momentum"),
    (lambda: optim.sgd(0.1, momentum=-0.1), "momentum"),
    (lambda: optim.sgd(0.1, nesterov=True), "nesterov"),
    (lambda: optim.rmsprop(0.1, nesterov=True), "nesterov"),
    (lambda: optim.rmsprop(0.1, decay=1.5), "decay"),
    (lambda: optim.rmsprop(0.1, eps=-1.0), "eps"),
    (lambda: optim.rmsprop(0.1, initial_scale=math.nan), "initial_scale"),
    (lambda: optim.adagrad(0.1, initial_accumulator_value=-1.0), "initial_accumulator_value"),
    (lambda: optim.adagrad(0.1, eps=None), "eps"),
    (lambda: optim.adadelta(rho=1.0), "rho"),
    (lambda: optim.adadelta(eps=0.0), "eps"),
    (lambda: optim.adam(0.1, b1=1.0), "b1"),
    (lambda: optim.adam(0.1, b2=math.nan), "b2"),
    (lambda: optim.adam(0.1, b2=knp.asarray(0.9)), "b2"),
    (lambda: optim.adam(0.1, eps_root=math.inf), "eps_root"),
    (lambda: optim.adamw(0.1, weight_decay=-1.0), "weight_decay"),
    (lambda: optim.trace(2.0), "decay"),
    (lambda: optim.scale(math.nan), "step_size"),
    (lambda: optim.clip(0.0), "max_delta"),
    (lambda: optim.clip_by_norm(-1.0), "max_norm"),
    (lambda: optim.clip_by_global_norm(math.nan), "max_norm"),
    (lambda: optim.constant_schedule(math.nan), "value"),
    (lambda: optim.linear_schedule(1.0, 0.0, 0), "transition_steps"),
    (lambda: optim.linear_schedule(1.0, 0.0, 1.5), "transition_steps"),
    (lambda: optim.exponential_decay(1.0, 1, 0.0), "decay_rate"),
    (lambda: optim.cosine_decay_schedule(1.0, -1), "decay_steps"),
    (lambda: optim.warmup_cosine_decay_schedule(0.0, 0.0, 1, 2), "peak_value"),
    (lambda: optim.warmup_cosine_decay_schedule(0.0, 1.0, 10, 10), "decay_steps"),
    (lambda: optim.piecewise_constant_schedule(1.0, {-1: 0.5}), "boundary"),
    (lambda: optim.piecewise_constant_schedule(1.0, {1: math.nan}), "scale at 1"),
    (lambda: optim.join_schedules([optim.constant_schedule(1.0)], [1]), "boundaries"),
    (lambda: optim.join_schedules([optim.constant_schedule(1.0)] * 3, [2, 1]), "boundaries"),
]


@pytest.mark.parametrize("make, name", BAD, ids=range(len(BAD)))
def test_meaningless_hyperparameters(make, name):
    with pytest.raises(ValueError, match=rf"{name}=(.|\n)*fix: "):
        make()


def test_negative_learning_rate_ascends():
    optimizer = optim.sgd(-0.5)
    assert_close(optimizer.update(2.0, optimizer.init(0.0))[0], 1.0)


def test_everything_public_is_documented():
    assert sorted(optim.__all__) == optim.__all__
    for name in optim.__all__:
        doc = getattr(optim, name).__doc__
        assert doc and not doc.startswith(name), name  # a NamedTuple without one says Name(fields)
