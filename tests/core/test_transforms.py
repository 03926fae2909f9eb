"""Transformations around whole functions: jvp, Jacobians, Hessians, transposes, vmap; and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from refusals import message, refuses

import knet
import knet.numpy as knp
from knet import errors
from knet.testing import assert_close, assert_trees_close

F32, F64 = knp.float32, knp.float64


def f64(*values):
    return knp.asarray(np.array(values, np.float64))


def quadratic(params, x):
    return {"y": knp.sin(params["w"]) * x + params["b"][0], "z": (params["b"][0] ** 2).sum()}


PARAMS = {"w": f64(0.1, -0.4), "b": (f64(2.0, 3.0), knp.asarray(1.0, dtype=F32))}
X = f64(1.5, -2.0)


# --- jvp --------------------------------------------------------------------------------------------------------------


def test_jvp_of_a_product():
    y, t = knet.jvp(lambda a, b: a * b, (f64(2.0, 3.0), f64(5.0, 7.0)), (f64(1.0, 0.0), f64(0.0, 10.0)))
    assert y.tolist() == [10.0, 21.0] and t.tolist() == [5.0, 30.0]


def test_jvp_of_pytrees_has_the_structure_of_the_result():
    tangents = {"w": f64(1.0, 1.0), "b": (f64(0.5, -0.5), knp.asarray(3.0, dtype=F32))}
    y, t = knet.jvp(quadratic, (PARAMS, X), (tangents, f64(0.0, 2.0)))
    w, b, x = np.asarray(PARAMS["w"]), np.asarray(PARAMS["b"][0]), np.asarray(X)
    assert_trees_close(y, {"y": knp.asarray(np.sin(w) * x + b), "z": knp.asarray(np.asarray(b @ b))})
    want = np.cos(w) * x + np.array([0.5, -0.5]) + np.sin(w) * np.array([0.0, 2.0])
    assert_trees_close(t, {"y": knp.asarray(want), "z": knp.asarray(np.asarray(2 * b @ [0.5, -0.5]))}, rtol=1e-14)


def test_jvp_takes_lists_and_python_numbers():
    y, t = knet.jvp(lambda x, y: x * y, [3.0, 4.0], [1.0, 2])
    assert (float(y), float(t), t.dtype) == (12.0, 10.0, F32)


@pytest.mark.parametrize("dtype", [F64, F32, knp.float16, knp.bfloat16], ids=str)
def test_derivatives_have_the_dtype_of_their_primals(dtype):
    x = knp.asarray([0.5, 0.25], dtype=dtype)
    y, t = knet.jvp(lambda x: knp.exp(x) * 2, (x,), (knp.ones_like(x),))
    assert y.dtype == t.dtype == dtype
    scalar = lambda x: (x * x * x).sum()  # noqa: E731
    assert knet.jacfwd(scalar)(x).dtype == dtype and knet.jacrev(scalar)(x).dtype == dtype
    assert knet.hessian(scalar)(x).dtype == dtype and knet.hvp(scalar, (x,), (x,)).dtype == dtype
    assert knet.hessian(scalar)(x).tolist() == [[3.0, 0.0], [0.0, 1.5]]


def test_the_tangent_of_what_does_not_depend_on_the_input_is_zero():
    y, t = knet.jvp(lambda x, y: (knp.ones(2), 3.0, y, knp.argmax(y)), (X, PARAMS["w"]), (X, knp.zeros_like(X)))
    assert [np.asarray(v).tolist() for v in t] == [[0.0, 0.0], 0.0, [0.0, 0.0], 0]
    assert [v.shape for v in t] == [v.shape for v in y]


def test_jvp_with_aux():
    y, t, aux = knet.jvp(lambda x: (x * x, {"twice": 2 * x, "name": "square"}), (3.0,), (1.0,), has_aux=True)
    assert (float(y), float(t), float(aux["twice"]), aux["name"]) == (9.0, 6.0, 6.0, "square")
    np.asarray(aux["twice"])  # no tracer is left in it


def test_stop_gradient_in_forward_mode():
    assert float(knet.jvp(lambda x: x * knet.stop_gradient(x), (3.0,), (1.0,))[1]) == 3.0
    assert float(knet.jvp(lambda x: knet.stop_gradient(x * x), (3.0,), (1.0,))[1]) == 0.0
    tree = {"a": 2.0, "name": "kept", "b": (knp.ones(2),)}
    assert knet.stop_gradient(tree)["name"] == "kept"
    assert float(knet.jacfwd(lambda x: x * knet.stop_gradient({"x": x})["x"])(5.0)) == 5.0
    # The order of the derivatives does not matter.
    assert float(knet.jvp(knet.grad(lambda x: x**2 * knet.stop_gradient(x)), (3.0,), (1.0,))[1]) == 6.0
    assert float(knet.grad(lambda x: knet.jvp(lambda y: y**2 * knet.stop_gradient(x), (x,), (1.0,))[1])(3.0)) == 6.0


def test_perturbations_of_forward_mode_are_not_confused():
    def d(f, x):
        return knet.jvp(f, (x,), (1.0,))[1]

    assert float(d(lambda x: x * d(lambda y: x + y, 1.0), 5.0)) == 1.0
    assert float(d(lambda x: x * d(lambda y: x * y, 2.0), 5.0)) == 10.0
    assert float(knet.grad(lambda x: x * d(lambda y: x + y, 1.0))(5.0)) == 1.0
    assert float(d(lambda x: x * knet.grad(lambda y: x + y)(1.0), 5.0)) == 1.0


def test_branches_on_values_follow_the_primal():
    def f(x):
        return x * 2 if x > 0 else x * 3

    assert float(knet.jvp(f, (1.0,), (1.0,))[1]) == 2.0 and float(knet.jvp(f, (-1.0,), (1.0,))[1]) == 3.0


def test_forward_mode_nests_to_the_sixth_order():
    f, x = knp.sin, knp.asarray(0.3, dtype=F64)
    for order in range(7):
        want = (math.sin(0.3), math.cos(0.3), -math.sin(0.3), -math.cos(0.3))[order % 4]
        assert float(f(x)) == pytest.approx(want, rel=1e-13), f"derivative of order {order}"
        f = lambda x, f=f: knet.jvp(f, (x,), (knp.ones_like(x),))[1]  # noqa: E731


# --- linearize, linear_transpose --------------------------------------------------------------------------------------


def test_linearize_is_jvp_and_runs_the_function_once():
    calls = []

    def f(params, x):
        calls.append(1)
        return quadratic(params, x)

    y, push = knet.linearize(f, PARAMS, X)
    for scale in (1.0, -2.0):
        tangents = knet.tree.map(lambda x, scale=scale: x * scale + 1, (PARAMS, X))
        want_y, want_t = knet.jvp(quadratic, (PARAMS, X), tangents)
        assert_trees_close(push(*tangents), want_t, rtol=1e-13)
        assert_trees_close(y, want_y)
    assert len(calls) == 1
    assert_trees_close(
        push(*knet.tree.map(knp.zeros_like, (PARAMS, X))), {"y": f64(0.0, 0.0), "z": knp.zeros((), dtype=F64)}
    )


def test_linearize_where_the_result_does_not_depend_on_the_input():
    _, push = knet.linearize(lambda x: (knp.ones(2), x[0]), f64(1.0, 2.0))
    ones, first = push(f64(3.0, 4.0))
    assert ones.tolist() == [0.0, 0.0] and float(first) == 3.0


def test_linearize_differentiates_again():
    _, push = knet.linearize(lambda x: x**3, 2.0)
    assert float(knet.grad(push)(1.0)) == 12.0
    got = knet.grad(lambda x: knet.linearize(lambda y: y**3, x)[1](1.0))(2.0)
    assert float(got) == 12.0


def test_linear_transpose_is_the_transposed_matrix():
    a = np.random.default_rng(0).normal(size=(3, 2))
    transposed = knet.linear_transpose(lambda x: knp.asarray(a) @ x, f64(0.0, 0.0))
    (x,) = transposed(f64(1.0, 2.0, 3.0))
    assert_close(x, knp.asarray(a.T @ [1.0, 2.0, 3.0]), rtol=1e-14)


def test_linear_transpose_of_pytrees_and_of_bare_shapes():
    def f(d, z):
        return d["a"] + 2 * z[:2], z.sum()

    shapes = {"a": knet.ShapedArray((2,), F64)}, knet.ShapedArray((3,), F64)
    d, z = knet.linear_transpose(f, *shapes)((f64(1.0, 10.0), knp.asarray(100.0, dtype=F64)))
    assert d["a"].tolist() == [1.0, 10.0] and z.tolist() == [102.0, 120.0, 100.0]


def test_linear_transpose_under_vmap_and_grad():
    a, g = knp.asarray(np.arange(12.0).reshape(2, 2, 3)), f64(1.0, -1.0)
    got = knet.vmap(lambda a: knet.linear_transpose(lambda x: a @ x, knp.zeros(3, dtype=F64))(g)[0])(a)
    assert_close(got, knp.asarray(np.einsum("bij,i->bj", np.asarray(a), [1.0, -1.0])))
    assert float(knet.grad(lambda c: knet.linear_transpose(lambda x: c * x, 0.0)(3.0)[0])(2.0)) == 3.0


@pytest.mark.parametrize(
    "f", [lambda x: x + 1, lambda x: x * x, knp.sin, lambda x: knp.abs(x), lambda x: x.at[0].set(2.0)]
)
def test_linear_transpose_refuses_what_is_not_linear(f):
    with pytest.raises(errors.NotDifferentiable, match=r"is not linear") as e:
        knet.linear_transpose(f, knp.ones(3))
    message(e)


# --- Jacobians --------------------------------------------------------------------------------------------------------


def test_jacobians_of_a_matrix_function():
    rng = np.random.default_rng(1)
    a, x = rng.normal(size=(2, 3)), rng.normal(size=(3, 2))

    def f(x):
        return knp.asarray(a) @ x

    want = np.einsum("ij,kl->ikjl", a, np.eye(2))  # d (a x)[i, k] / d x[j, l]
    for jacobian in (knet.jacfwd, knet.jacrev):
        got = jacobian(f)(knp.asarray(x))
        assert got.shape == (2, 2, 3, 2)
        assert_close(got, knp.asarray(want), rtol=1e-14)


@pytest.mark.parametrize("jacobian", [knet.jacfwd, knet.jacrev])
def test_jacobians_of_pytrees_are_trees_of_trees(jacobian):
    j = jacobian(quadratic, argnums=(0, 1))(PARAMS, X)
    w, b, x = np.asarray(PARAMS["w"]), np.asarray(PARAMS["b"][0]), np.asarray(X)
    of_params, of_x = j["y"]
    assert_close(of_params["w"], knp.asarray(np.diag(np.cos(w) * x)), atol=1e-15)
    assert_close(of_params["b"][0], knp.asarray(np.eye(2)))
    assert_close(of_params["b"][1], knp.zeros(2, dtype=of_params["b"][1].dtype))
    assert_close(of_x, knp.asarray(np.diag(np.sin(w))), atol=1e-15)
    assert_close(j["z"][0]["b"][0], knp.asarray(2 * b))
    assert_close(j["z"][0]["w"], f64(0.0, 0.0))
    assert_close(j["z"][1], f64(0.0, 0.0))


@pytest.mark.parametrize("jacobian", [knet.jacfwd, knet.jacrev])
def test_argnums_and_keywords_of_jacobians(jacobian):
    def f(x, y, *, power=1):
        return x * y**power

    assert float(jacobian(f, 1)(2.0, 3.0, power=2)) == 12.0
    assert float(jacobian(f, -1)(2.0, 3.0, power=2)) == 12.0
    by_y, by_x = jacobian(f, (1, 0))(2.0, 3.0)
    assert (float(by_y), float(by_x)) == (2.0, 3.0)
    assert isinstance(jacobian(f, (0,))(2.0, 3.0), tuple)


@pytest.mark.parametrize("jacobian", [knet.jacfwd, knet.jacrev])
def test_jacobians_of_what_is_empty_or_constant(jacobian):
    assert jacobian(lambda x: x * 2)(knp.zeros((0,))).shape == (0, 0)
    assert jacobian(lambda x: knp.ones((2, 0)))(knp.ones(3)).shape == (2, 0, 3)
    assert jacobian(lambda x: 1.0)(knp.ones(3)).tolist() == [0.0, 0.0, 0.0]


def test_jacobians_under_vmap_and_again_differentiated():
    x = knp.asarray(np.random.default_rng(2).normal(size=(4, 3)))

    def f(x):
        return knp.sin(x) * x.sum()

    for jacobian in (knet.jacfwd, knet.jacrev):
        got = knet.vmap(jacobian(f))(x)
        want = knp.stack([jacobian(f)(row) for row in x])
        assert_close(got, want, rtol=1e-13, atol=1e-14)
        third = knet.jacfwd(jacobian(knet.grad(lambda x: (x**4).sum())))(x[0])
        want = np.einsum("i,ij,ik->ijk", 24 * np.asarray(x[0]), np.eye(3), np.eye(3))
        assert_close(third, knp.asarray(want), rtol=1e-12)


def test_hessian_by_blocks():
    def f(params, x):
        return (params["a"] ** 2 * x).sum() + params["b"] * x[0] ** 2

    params, x = {"a": f64(1.0, 2.0), "b": knp.asarray(3.0, dtype=F64)}, f64(5.0, 7.0)
    h = knet.hessian(f)(params, x)
    assert h["a"]["a"].tolist() == [[10.0, 0.0], [0.0, 14.0]]
    assert h["a"]["b"].tolist() == [0.0, 0.0] and h["b"]["a"].tolist() == [0.0, 0.0] and float(h["b"]["b"]) == 0.0
    both = knet.hessian(f, argnums=(0, 1))(params, x)
    assert both[0]["a"][1].tolist() == [[2.0, 0.0], [0.0, 4.0]]
    assert both[1][0]["b"].tolist() == [10.0, 0.0] and both[1][1].tolist() == [[6.0, 0.0], [0.0, 0.0]]


def test_hvp_is_the_hessian_times_a_vector():
    def f(params, x):
        return knp.sin(params["a"] * x).sum() + (params["b"] * x).prod()

    params, x = {"a": f64(0.3, 0.7), "b": f64(1.0, 2.0)}, f64(0.5, -0.2)
    vector = {"a": f64(1.0, -1.0), "b": f64(0.5, 2.0)}
    h = knet.hessian(lambda p: f(p, x))(params)
    got = knet.hvp(lambda p: f(p, x), (params,), (vector,))
    for row in "ab":
        want = sum(np.asarray(h[row][col]) @ np.asarray(vector[col]) for col in "ab")
        assert_close(got[row], knp.asarray(want), rtol=1e-12)
    of_params, of_x = knet.hvp(f, (params, x), (vector, f64(0.0, 0.0)))
    assert_trees_close(of_params, got, rtol=1e-13)
    assert of_x.shape == (2,)


# --- what derivatives refuse ------------------------------------------------------------------------------------------

V = knp.ones(3)
REFUSALS = {
    "tangents of another structure": (
        lambda: knet.jvp(lambda d: d["w"], ({"w": V},), ({"v": V},)),
        errors.TreeError,
        ("jvp: tangents", "missing [0]['w']", "unexpected [0]['v']"),
    ),
    "a tangent of another shape": (
        lambda: knet.jvp(lambda d: d["w"], ({"w": V},), ({"w": knp.ones(2)},)),
        errors.ShapeError,
        ("jvp: the tangent [0]['w']", "float32 [2]", "float32 [3]"),
    ),
    "a tangent of another dtype": (
        lambda: knet.jvp(knp.sin, (V,), (knp.ones(3, dtype=F64),)),
        errors.ShapeError,
        ("float64 [3]", "float32 [3]", "ones_like"),
    ),
    "an integer primal": (
        lambda: knet.jvp(lambda d: d, ({"n": knp.arange(3)},), ({"n": V},)),
        errors.DTypeError,
        ("jvp: argument 0['n'] is int64", "floating-point"),
    ),
    "primals that are no tuple": (
        lambda: knet.jvp(knp.sin, V, V),
        errors.ArgumentError,
        ("jvp(sin): primals=", "tuple", "pass (x,), (t,)"),
    ),
    "jvp without the pair": (
        lambda: knet.jvp(knp.sin, (1.0,), (1.0,), has_aux=True),
        errors.TreeError,
        ("jvp(sin, has_aux=True)", "float32 []", "(result, aux)"),
    ),
    "vjp without the pair": (
        lambda: knet.vjp(knp.sin, 1.0, has_aux=True),
        errors.TreeError,
        ("vjp(sin, has_aux=True)", "(result, aux)"),
    ),
    "a result that is no array": (
        lambda: knet.jvp(lambda x: "text", (1.0,), (1.0,)),
        errors.DTypeError,
        ("jvp", "'text'"),
    ),
    "an argument that is not there": (
        lambda: knet.jacfwd(knp.sin, 1)(1.0),
        errors.ShapeError,
        ("argnums=1", "1 positional argument"),
    ),
    "an argument that is not there, in reverse": (
        lambda: knet.jacrev(knp.sin, (0, -2))(1.0),
        errors.ShapeError,
        ("argnums=(0, -2)", "1 positional argument"),
    ),
    "the Jacobian by integers": (
        lambda: knet.jacfwd(lambda x: x * 1.0)(knp.arange(3)),
        errors.DTypeError,
        ("argument 0", "int64"),
    ),
    "the Hessian by integers": (lambda: knet.hessian(lambda x: x * 1.0)(3), errors.DTypeError, ("argument 0", "int64")),
    "hvp of an array": (
        lambda: knet.hvp(lambda x: x, (V,), (V,)),
        errors.ShapeError,
        ("float32 [3]", "needs a scalar"),
    ),
    "linearize with another structure": (
        lambda: knet.linearize(knp.sin, V)[1](V, V),
        errors.TreeError,
        ("linearize: tangents", "unexpected [1]"),
    ),
    "linearize with another shape": (
        lambda: knet.linearize(knp.sin, V)[1](knp.ones(2)),
        errors.ShapeError,
        ("float32 [2]", "float32 [3]"),
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_derivatives_refuse(what):
    refuses(*REFUSALS[what])


def test_a_tracer_of_forward_mode_that_leaks_is_named():
    box = []
    knet.jvp(lambda x: box.append(x) or x, (1.0,), (1.0,))
    with pytest.raises(errors.TracerError, match=r"jvp: .*leaked") as e:
        box[0] + 1.0
    message(e)


def test_an_exception_ends_forward_mode():
    box = []

    def f(x):
        box.append(x)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        knet.jvp(f, (1.0,), (1.0,))
    with pytest.raises(errors.TracerError, match="leaked"):
        box[0] + 1.0


# --- vmap -------------------------------------------------------------------------------------------------------------

M = knp.asarray(np.arange(24.0).reshape(2, 3, 4))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_in_axes_and_out_axes_are_any_axis(axis):
    got = knet.vmap(lambda x: x * 2, in_axes=axis, out_axes=axis)(M)
    assert got.tolist() == (M * 2).tolist()
    sums = knet.vmap(lambda x: x.sum(), in_axes=axis)(M)
    others = tuple(i for i in range(3) if i != axis % 3)
    assert sums.tolist() == np.asarray(M).sum(others).tolist()
    spread = knet.vmap(lambda x: knp.ones((5, 6)) * x.sum(), in_axes=axis, out_axes=-1)(M)
    assert spread.shape == (5, 6, M.shape[axis]) and spread[2, 3].tolist() == sums.tolist()


def test_in_axes_for_each_argument():
    x, y, z = knp.ones((3, 2)), knp.asarray(np.arange(6.0).reshape(2, 3)), knp.asarray(10.0)
    got = knet.vmap(lambda x, y, z: x * y + z, in_axes=(0, 1, None))(x, y, z)
    assert got.tolist() == (np.arange(6.0).reshape(2, 3).T + 10).tolist()
    assert knet.vmap(lambda x, y: x + y, in_axes=[0, None])(knp.ones(3), 1.0).tolist() == [2.0, 2.0, 2.0]


def test_in_axes_as_a_prefix_of_the_arguments():
    params = {"w": knp.ones((4, 3)), "b": (knp.ones((3, 4)), knp.asarray(2.0))}

    def f(p, x):
        return p["w"].sum() + p["b"][0].sum() * p["b"][1] + x

    got = knet.vmap(f, in_axes=({"w": 0, "b": (1, None)}, None))(params, 0.0)
    assert got.tolist() == [3.0 + 6.0] * 4
    shared = knet.vmap(f, in_axes=({"w": None, "b": None}, 0))(params, knp.arange(2.0))
    assert shared.tolist() == [12.0 + 24.0, 12.0 + 24.0 + 1.0]
    whole = knet.vmap(lambda t: t["a"] + t["b"]["c"], in_axes=1)({"a": knp.ones((2, 3)), "b": {"c": knp.ones((2, 3))}})
    assert whole.shape == (3, 2)


def test_out_axes_as_a_prefix_of_the_result():
    def f(x):
        return {"a": x, "b": (x * 2, knp.ones(5))}

    y = knet.vmap(f, out_axes={"a": 1, "b": 0})(knp.ones((3, 2)))
    assert (y["a"].shape, y["b"][0].shape, y["b"][1].shape) == ((2, 3), (3, 2), (3, 5))
    y = knet.vmap(f, out_axes={"a": -1, "b": (0, None)})(knp.ones((3, 2)))
    assert (y["a"].shape, y["b"][0].shape, y["b"][1].shape) == ((2, 3), (3, 2), (5,))


def test_keyword_arguments_are_batched_in_front():
    got = knet.vmap(lambda x, *, shift: x + shift["by"])(knp.ones(3), shift={"by": knp.arange(3.0)})
    assert got.tolist() == [1.0, 2.0, 3.0]
    only = knet.vmap(lambda *, x: x * 2)(x=knp.arange(3.0))
    assert only.tolist() == [0.0, 2.0, 4.0]


def test_results_that_do_not_depend_on_the_batch():
    x = knp.arange(3.0)
    constant, number, own = knet.vmap(lambda x: (knp.ones(2), 7.0, x))(x)
    assert constant.shape == (3, 2) and number.tolist() == [7.0] * 3 and own.tolist() == [0.0, 1.0, 2.0]
    assert knet.vmap(lambda x: knp.ones(2), out_axes=None)(x).shape == (2,)
    assert knet.vmap(lambda x: None)(x) is None
    assert knet.vmap(lambda x: {"nothing": ()})(x) == {"nothing": ()}


def test_closures():
    w = knp.asarray([1.0, 2.0])
    assert knet.vmap(lambda x: x @ w)(knp.ones((3, 2))).tolist() == [3.0] * 3
    # What an outer vmap batches may be closed over by an inner one, and be all that the result depends on.
    table = knet.vmap(lambda x: knet.vmap(lambda y: x * 10 + y)(knp.arange(3.0)))(knp.arange(2.0))
    assert table.tolist() == [[0.0, 1.0, 2.0], [10.0, 11.0, 12.0]]
    outer = knet.vmap(lambda x: knet.vmap(lambda y: x)(knp.arange(3.0)))(knp.arange(2.0))
    assert outer.tolist() == [[0.0] * 3, [1.0] * 3]
    # A gradient by a value that vmap's function closes over.
    got = knet.grad(lambda w: knet.vmap(lambda x: (x * w).sum())(knp.ones((3, 2))).sum())(w)
    assert got.tolist() == [3.0, 3.0]


def test_vmap_nests_over_different_axes():
    got = knet.vmap(knet.vmap(knet.vmap(lambda x: x + 1)), in_axes=2, out_axes=1)(M)
    assert got.tolist() == np.moveaxis(np.asarray(M) + 1, 2, 1).tolist()
    pairs = knet.vmap(knet.vmap(lambda x, y: x - y, in_axes=(None, 0)), in_axes=(0, None))(
        knp.arange(2.0), knp.arange(3.0)
    )
    assert pairs.tolist() == [[0.0, -1.0, -2.0], [1.0, 0.0, -1.0]]


def test_arguments_of_numpy_and_of_every_dtype():
    assert knet.vmap(lambda x: x + 1)(np.arange(3)).tolist() == [1, 2, 3]
    assert knet.vmap(lambda x, y: knp.where(x, y, -y))(knp.asarray([True, False]), knp.ones(2)).tolist() == [1.0, -1.0]


def test_a_batch_of_one_and_of_none():
    def f(x):
        return knp.tanh(x @ knp.ones((2, 3))).sum(), knp.argmax(x), knp.linalg.norm(x)

    one = knet.vmap(f)(knp.ones((1, 2)))
    assert [y.shape for y in one] == [(1,)] * 3
    none = knet.vmap(f)(knp.ones((0, 2)))
    assert [(y.shape, y.dtype) for y in none] == [((0,), F32), ((0,), knp.int64), ((0,), F32)]
    assert knet.vmap(knet.grad(lambda x: f(x)[0]))(knp.ones((0, 2))).shape == (0, 2)
    assert knet.grad(lambda w: knet.vmap(lambda x: w * x)(knp.ones((0,))).sum())(3.0).tolist() == 0.0


def test_random_numbers_under_vmap_are_those_of_the_loop():
    keys = knet.random.split(knet.random.key(7), 5)

    def f(key):
        first, second = knet.random.split(key)
        return {
            "normal": knet.random.normal(first, (3,)),
            "uniform": knet.random.uniform(second),
            "permutation": knet.random.permutation(first, 6),
            "bernoulli": knet.random.bernoulli(second, 0.3, (4,)),
            "randint": knet.random.randint(first, (2,), 0, 100),
            "folded": knet.random.normal(knet.random.fold_in(key, 3)),
        }

    got = knet.vmap(f)(keys)
    rows = [f(key) for key in keys]
    for name, y in got.items():
        assert y.tolist() == [row[name].tolist() for row in rows], f"{name} differs from the loop"
    normals = np.asarray(got["normal"])
    assert len(np.unique(normals)) == normals.size, "two examples share a stream"
    shared = knet.vmap(lambda x: knet.random.normal(knet.random.key(1), (2,)) + x)(knp.zeros(3))
    assert len({tuple(row) for row in shared.tolist()}) == 1, "one key is one stream for all examples"


def test_every_order_of_vmap_and_derivatives():
    x = knp.asarray(np.random.default_rng(3).normal(size=(4, 3)))

    def f(x):
        return knp.sin(x).prod() + (x[0] * x[1:]).sum()

    grads = knp.stack([knet.grad(f)(row) for row in x])
    hessians = knp.stack([knet.hessian(f)(row) for row in x])
    assert_close(knet.vmap(knet.grad(f))(x), grads, rtol=1e-13)
    assert_close(knet.grad(lambda x: knet.vmap(f)(x).sum())(x), grads, rtol=1e-13)
    assert_close(knet.vmap(knet.hessian(f))(x), hessians, rtol=1e-12, atol=1e-13)
    assert_close(knet.vmap(knet.jacfwd(knet.jacfwd(f)))(x), hessians, rtol=1e-12, atol=1e-13)
    assert_close(knet.vmap(knet.jacrev(knet.jacrev(f)))(x), hessians, rtol=1e-12, atol=1e-13)
    pushed = knet.jvp(knet.vmap(knet.grad(f)), (x,), (knp.ones_like(x),))[1]
    assert_close(pushed, hessians.sum(-1), rtol=1e-12, atol=1e-13)
    full = knet.jacrev(knet.vmap(f))(x)
    assert full.shape == (4, 4, 3)
    for i in range(4):
        for j in range(4):
            assert_close(full[i, j], grads[i] if i == j else knp.zeros(3, dtype=F64), rtol=1e-13)


def sized(*sizes):
    return tuple(knp.ones(n) for n in sizes)


VMAP_REFUSALS = {
    "sizes that differ": (
        lambda: knet.vmap(lambda x, y: x)(*sized(3, 2)),
        errors.ShapeError,
        ("vmap(<lambda>)", "argument 0 has 3", "argument 1 has 2", "in_axes=None"),
    ),
    "sizes that differ within an argument": (
        lambda: knet.vmap(lambda d: d)({"a": knp.ones(3), "b": [knp.ones(2)]}),
        errors.ShapeError,
        ("argument 0['a'] has 3", "argument 0['b'][0] has 2"),
    ),
    "a keyword of another size": (
        lambda: knet.vmap(lambda x, *, k: x)(knp.ones(3), k=knp.ones(2)),
        errors.ShapeError,
        ("argument 0 has 3", "argument 'k' has 2"),
    ),
    "an axis that is not there": (
        lambda: knet.vmap(lambda x: x, in_axes=1)(knp.ones(3)),
        errors.ShapeError,
        ("argument 0 is float32 [3]", "no axis 1"),
    ),
    "a negative axis that is not there": (
        lambda: knet.vmap(lambda x: x, in_axes=-2)(knp.ones(3)),
        errors.ShapeError,
        ("no axis -2",),
    ),
    "a number": (lambda: knet.vmap(lambda x: x)(1.0), errors.ShapeError, ("float 1.0", "no axis 0")),
    "an axis that is no number": (
        lambda: knet.vmap(lambda x: x, in_axes="a")(knp.ones(3)),
        errors.ShapeError,
        ("no axis a",),
    ),
    "nothing to map over": (
        lambda: knet.vmap(lambda x: x, in_axes=None)(knp.ones(3)),
        errors.ShapeError,
        ("no argument has a batch axis", "map over at least one"),
    ),
    "no arguments": (lambda: knet.vmap(lambda: 1.0)(), errors.ShapeError, ("no argument has a batch axis",)),
    "in_axes for another number of arguments": (
        lambda: knet.vmap(lambda x, y: x, in_axes=(0,))(*sized(3, 3)),
        errors.TreeError,
        ("in_axes=(0,) has 1 entries for 2 positional arguments",),
    ),
    "in_axes of another structure": (
        lambda: knet.vmap(lambda x: x, in_axes=({"a": 0},))(knp.ones(3)),
        errors.TreeError,
        ("vmap: in_axes", "arguments' structure"),
    ),
    "out_axes of another structure": (
        lambda: knet.vmap(lambda x: x, out_axes=(0, 0))(knp.ones(3)),
        errors.TreeError,
        ("vmap: out_axes", "structure of the result"),
    ),
    "out_axes=None for a batched result": (
        lambda: knet.vmap(lambda x: (1.0, x), out_axes=(None, None))(knp.ones(3)),
        errors.ShapeError,
        ("out_axes=None", "float32 []", "out_axes=0"),
    ),
    "an output axis that is not there": (
        lambda: knet.vmap(lambda x: x, out_axes=1)(knp.ones(3)),
        errors.ShapeError,
        ("out_axes=1", "[-1, 0]"),
    ),
    "a branch on a batched value": (
        lambda: knet.vmap(lambda x: x if x > 0 else -x)(knp.ones(3)),
        errors.TracerError,
        ("bool(x)", "3 examples at once", "knet.cond"),
    ),
    "a number from a batched value": (
        lambda: knet.vmap(lambda x: float(x))(knp.ones(3)),
        errors.TracerError,
        ("float(x)", "vmap(<lambda>)"),
    ),
    "a NumPy array from a batched value": (
        lambda: knet.vmap(lambda x: np.asarray(x))(knp.ones(3)),
        errors.TracerError,
        ("numpy.asarray",),
    ),
    "a branch inside of two transformations": (
        lambda: knet.vmap(knet.grad(lambda x: x if x > 0 else -x))(knp.ones(3)),
        errors.TracerError,
        ("bool(x)", "3 examples"),
    ),
    "a result that is no array": (
        lambda: knet.vmap(lambda x: (x, "text"))(knp.ones(3)),
        errors.DTypeError,
        ("'text'",),
    ),
}


@pytest.mark.parametrize("what", VMAP_REFUSALS)
def test_what_vmap_refuses(what):
    refuses(*VMAP_REFUSALS[what])
    assert knet.vmap(lambda x: x + 1)(knp.ones(2)).tolist() == [2.0, 2.0], "a refusal leaves nothing behind"


def test_a_primitive_without_a_batching_rule_is_named():
    exp = knet.core.registry["exp"]
    rule = exp.batch
    exp.batch = "it is a test"
    try:
        with pytest.raises(errors.NotDifferentiable, match="vmap: exp does not batch: it is a test") as e:
            knet.vmap(knp.exp)(knp.ones(3))
        message(e)
    finally:
        exp.batch = rule


def test_a_batched_tracer_that_leaks_is_named():
    box = []
    knet.vmap(lambda x: box.append(x) or x)(knp.ones(3))
    with pytest.raises(errors.TracerError, match=r"vmap: .*leaked") as e:
        box[0] + 1.0
    message(e)


def test_a_batched_tracer_prints_what_it_is():
    texts = []
    knet.vmap(lambda x: texts.append(repr(x)) or x)(knp.ones((3, 2)))
    assert texts[0].startswith("Tracer<vmap>(float32 [2], 3 of them in ")


# --- eval_shape -------------------------------------------------------------------------------------------------------


def test_eval_shape_computes_nothing():
    def f(x, w, *, scale):
        return {"y": knp.tanh(x @ w) * scale, "n": knp.argmax(x, axis=1)}

    shapes = knet.eval_shape(
        f, knet.ShapedArray((5, 2), F64), knet.ShapedArray((2, 3), F64), scale=knet.ShapedArray((), F64)
    )
    assert (shapes["y"].shape, shapes["y"].dtype) == ((5, 3), F64)
    assert (shapes["n"].shape, shapes["n"].dtype) == ((5,), knp.int64)


def test_eval_shape_of_transformed_functions():
    def loss(w, x):
        return knp.tanh(x @ w).sum()

    w, x = knp.ones((2, 3)), knp.ones((5, 2))
    assert knet.eval_shape(knet.grad(loss), w, x).shape == (2, 3)
    assert knet.eval_shape(knet.vmap(knet.grad(loss), in_axes=(None, 0)), w, x).shape == (5, 2, 3)
    assert knet.eval_shape(lambda w: knet.jvp(lambda w: loss(w, x), (w,), (w,)), w)[1].shape == ()
    assert knet.eval_shape(knet.hessian(loss), w, x).shape == (2, 3, 2, 3)


def test_eval_shape_refuses_what_needs_values():
    with pytest.raises(errors.TracerError, match="only shapes are being computed") as e:
        knet.eval_shape(lambda x: x if x > 0 else -x, 1.0)
    assert "knet.cond" in message(e)
