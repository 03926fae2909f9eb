"""grad, value_and_grad and vjp: arguments, structures, dtypes, and everything that a function may do inside."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet import grad, value_and_grad, vjp

F16, F32, F64 = knp.float16, knp.float32, knp.float64


def check(got, want, dtype=F32):
    assert isinstance(got, knet.Array) and got.dtype == dtype, f"{got!r} has dtype {got.dtype}, expected {dtype}"
    assert got.tolist() == want


# --- which arguments --------------------------------------------------------------------------------------------------


def f3(x, y, z):
    return x * y + y * z


def test_argnums():
    args = (2.0, 3.0, 5.0)
    check(grad(f3)(*args), 3.0)
    check(grad(f3, 1)(*args), 7.0)
    check(grad(f3, -1)(*args), 3.0)
    for numbers, want in (((0, 2), (3.0, 3.0)), ((2, 0, 1), (3.0, 3.0, 7.0)), ((-2,), (7.0,)), ([1], (7.0,)), ((), ())):
        got = grad(f3, numbers)(*args)
        assert isinstance(got, tuple) and tuple(g.item() for g in got) == want
    assert tuple(g.item() for g in grad(f3, range(3))(*args)) == (3.0, 7.0, 3.0)


def test_argnums_that_do_not_exist():
    for numbers in (3, -4, (0, 5)):
        with pytest.raises(knet.errors.ShapeError, match="3 positional arguments"):
            grad(f3, numbers)(1.0, 2.0, 3.0)


def test_keywords_and_other_arguments_are_passed_on():
    seen = []

    def f(x, label, *, power=1, scale=None):
        seen.append((label, power))
        return scale * x**power

    check(grad(f)(2.0, "name", power=3, scale=0.5), 6.0)
    assert seen == [("name", 3)]


def test_value_and_grad():
    value, slope = value_and_grad(lambda x: x**3)(2.0)
    check(value, 8.0)
    check(slope, 12.0)
    value, slopes = value_and_grad(f3, (0, 1))(1.0, 2.0, 3.0)
    assert value == 8.0 and [s.item() for s in slopes] == [2.0, 4.0]


def test_has_aux():
    def f(x):
        y = 3.0 * x
        return y.sum(), {"y": y, "name": "aux", "count": 2}

    x = knp.asarray([1.0, 2.0])
    (value, aux), g = value_and_grad(f, has_aux=True)(x)
    assert value == 9.0 and g.tolist() == [3.0, 3.0] and aux["name"] == "aux" and aux["count"] == 2
    assert aux["y"].tolist() == [3.0, 6.0]
    assert type(aux["y"]) is type(x), "a tracer escaped in aux"
    g, aux = grad(f, has_aux=True)(x)
    assert g.tolist() == [3.0, 3.0] and aux["count"] == 2
    y, pull_back, aux = vjp(lambda x: (2 * x, x + 1), x, has_aux=True)
    assert y.tolist() == [2.0, 4.0] and aux.tolist() == [2.0, 3.0] and type(aux) is type(x)
    assert pull_back(knp.ones(2))[0].tolist() == [2.0, 2.0]


def test_the_name_and_documentation_of_the_function_stay():
    def loss(x):
        """Help."""
        return x

    for g in (grad(loss), value_and_grad(loss)):
        assert g.__name__ == "loss" and g.__doc__ == "Help."


# --- structures -------------------------------------------------------------------------------------------------------

Point = collections.namedtuple("Point", "x y")


class Pair:
    def __init__(self, left, right, note):
        self.left, self.right, self.note = left, right, note


knet.tree.register(Pair, lambda p: ((p.left, p.right), p.note), lambda note, children: Pair(*children, note))


def test_pytrees():
    params = {"b": [knp.ones(2), (2.0,)], "a": Point(3.0, None), "c": Pair(1.0, knp.zeros((1, 1)), "note"), "d": {}}

    def f(p):
        assert isinstance(p["a"], Point) and p["a"].y is None and p["c"].note == "note"
        return (p["b"][0] * 2).sum() + p["b"][1][0] * p["a"].x + p["c"].left ** 2 + 5 * p["c"].right[0, 0]

    g = grad(f)(params)
    assert set(g) == {"a", "b", "c", "d"} and g["d"] == {}
    assert g["b"][0].tolist() == [2.0, 2.0] and isinstance(g["b"], list)
    check(g["b"][1][0], 3.0)
    assert isinstance(g["a"], Point) and g["a"].y is None
    check(g["a"].x, 2.0)
    assert isinstance(g["c"], Pair) and g["c"].note == "note"
    check(g["c"].left, 2.0)
    assert g["c"].right.tolist() == [[5.0]]


def test_leaves_that_are_no_arrays():
    with pytest.raises(knet.errors.TreeError, match=r"argument 0\['name'\] is str 'x'"):
        grad(lambda p: p["w"])({"w": 1.0, "name": "x"})
    with pytest.raises(knet.errors.TreeError, match=r"argument 1\[0\]"):
        grad(lambda a, b: a, (0, 1))(1.0, [print])


def test_integers_are_refused_with_their_place():
    with pytest.raises(knet.errors.DTypeError, match=r"argument 0\['n'\]\[1\] is int64"):
        grad(lambda p: p["w"])({"w": 1.0, "n": (1.0, 2)})
    with pytest.raises(knet.errors.DTypeError, match="argument 1 is bool"):
        grad(lambda a, b: a, (0, 1))(1.0, knp.zeros(2, dtype=bool))
    check(grad(lambda x, n: x * n)(2.0, 3), 3.0)  # as an argument that nobody differentiates by they are welcome


# --- results ----------------------------------------------------------------------------------------------------------


def test_arguments_that_are_not_used_get_zeros():
    x, y = knp.ones((2, 3)), knp.ones(4, dtype=F64)
    gx, gy = grad(lambda x, y: 1.0 * knp.asarray(2.0), (0, 1))(x, y)
    assert gx.shape == (2, 3) and gx.dtype == F32 and not gx.any()
    assert gy.shape == (4,) and gy.dtype == F64 and not gy.any()
    gx, gy = grad(lambda x, y: x.sum(), (0, 1))(x, y)
    assert gx.all() and gy.shape == (4,) and gy.dtype == F64 and not gy.any()


@pytest.mark.parametrize("constant", [1.0, np.float32(2.0), np.array(1.0)], ids=repr)
def test_constant_functions(constant):
    value, slope = value_and_grad(lambda x: constant)(3.0)
    assert value == constant and slope == 0.0 and slope.dtype == F32


def test_the_argument_itself_is_a_result():
    check(grad(lambda x: x)(3.0), 1.0)
    y, pull_back = vjp(lambda x: (x, x), 3.0)
    assert [v.item() for v in y] == [3.0, 3.0]
    check(pull_back((1.0, 2.0))[0], 3.0)
    y, pull_back = vjp(lambda a, b: b, 1.0, 2.0)
    assert [g.item() for g in pull_back(1.0)] == [0.0, 1.0]


def test_results_that_grad_refuses():
    x = knp.ones(3)
    for f, error, text in (
        (lambda x: x, knet.errors.ShapeError, r"float32 \[3\].*needs a scalar"),
        (lambda x: x[:1], knet.errors.ShapeError, r"loss.reshape\(\(\)\)"),
        (lambda x: (x.sum(), x), knet.errors.TreeError, "has_aux=True"),
        (lambda x: None, knet.errors.TreeError, "NoneType"),
        (lambda x: knp.argmax(x), knet.errors.DTypeError, "int64"),
        (lambda x: 3, knet.errors.DTypeError, "floating-point"),
        (lambda x: "loss", knet.errors.TreeError, "returned a str"),
    ):
        with pytest.raises(error, match=text):
            grad(f)(x)
    with pytest.raises(knet.errors.TreeError, match="must return a pair"):
        grad(lambda x: x.sum(), has_aux=True)(x)


# --- what a function may do -------------------------------------------------------------------------------------------


def test_control_flow_on_values():
    def f(x):
        y = x
        while y < 100:
            y = y * 2 if y > 5 else y * 3
        return y

    check(grad(f)(1.0), 3 * 3 * 2.0**4)
    check(grad(lambda x: x**2 if x.sum() > 0 else -x)(-3.0), -1.0)
    check(grad(lambda x: sum(x[i] * i for i in range(len(x))))(knp.ones(3)), [0.0, 1.0, 2.0])
    check(grad(lambda x: x * float(x) + int(x))(3.0), 3.0)  # numbers taken out of the trace are constants


def test_closures():
    w = knp.asarray([1.0, 2.0])

    def outer(scale):
        def inner(x):
            return (x * w * scale).sum()

        return grad(inner)(w).sum()

    check(outer(2.0), 6.0)
    check(grad(outer)(2.0), 3.0)


def test_reused_values_add_up():
    def f(x):
        y = x * x
        z = y + y + x
        return y * z + z

    x = 2.0
    # z = 2 x^2 + x; f = x^2 z + z
    check(grad(f)(x), 2 * x * (2 * x * x + x) + (x * x + 1) * (4 * x + 1))


def test_stop_gradient():
    check(grad(lambda x: x * knet.stop_gradient(x))(3.0), 3.0)
    check(grad(lambda x: knet.stop_gradient({"a": x, "b": 1})["a"] * x)(3.0), 3.0)
    assert knet.stop_gradient(2.0) == 2.0
    check(grad(lambda x: x * grad(lambda y: y * knet.stop_gradient(y))(x))(3.0), 3.0)  # at every level


def test_tracers_are_arrays():
    def f(x):
        assert isinstance(x, knet.Array) and x.shape == (2, 2) and x.dtype == F32 and x.ndim == 2 and x.size == 4
        assert len(x) == 2 and x.device == knet.default_device() and "Tracer<grad>" in repr(x)
        a, b = x
        assert bool((a < b).all()) and x[0, 1].item() == 2.0 and x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
        assert f"{x[0, 0]:.1f}" == "1.0" and 4.0 in x
        return (a * b).sum()

    assert grad(f)(knp.asarray([[1.0, 2.0], [3.0, 4.0]])).tolist() == [[3.0, 4.0], [1.0, 2.0]]


def test_numpy_operands():
    w = np.array([1.0, 2.0], np.float32)
    for f in (
        lambda x: (w * x).sum(),
        lambda x: (x * w).sum(),
        lambda x: w @ x,
        lambda x: knp.where(w > 0, x * w, 0).sum(),
    ):
        check(grad(f)(knp.ones(2)), [1.0, 2.0])


def test_a_numpy_array_of_a_tracer_is_refused():
    with pytest.raises(knet.errors.TracerError, match="silently drop its derivative"):
        grad(lambda x: knp.asarray(np.asarray(x)).sum())(knp.ones(2))
    with pytest.raises(knet.errors.TracerError, match=r"call knet\.numpy\.sin"):
        grad(lambda x: np.sin(x).sum())(knp.ones(2))


def test_a_leaked_tracer_is_refused_but_its_value_can_be_seen():
    leak = []
    grad(lambda x: leak.append(x) or x * x)(3.0)
    with pytest.raises(knet.errors.TracerError, match="leaked out"):
        leak[0] * 2
    assert "3." in repr(leak[0])


# --- dtypes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F16, knp.bfloat16, F32, F64], ids=str)
def test_gradients_have_the_dtype_of_their_argument(dtype):
    x = knp.asarray([1.0, 2.0], dtype=dtype)
    for f in (
        lambda x: (x * 2).sum(), lambda x: (x * 2.0).sum(), lambda x: knp.sin(x).mean(), lambda x: x @ x,
        lambda x: (2 / x).sum(),
        lambda x: x.max(), lambda x: (x**2).sum(), lambda x: (x**0.5).sum(), lambda x: x[0],
        lambda x: knp.where(x > 1, x, 0).sum(),
        lambda x: knp.stack([x, x]).sum(), lambda x: knp.logsumexp(x), lambda x: x.astype(F32).sum(), lambda x: x.var(),
        lambda x: knp.maximum(x, 0.5).sum(), lambda x: knp.clip(x, 0, 1).sum(), lambda x: x.prod(),
        lambda x: knp.hypot(x, 1.0).sum(),
    ):  # fmt: skip
        g = grad(f)(x)
        assert g.dtype == dtype and g.shape == (2,)


def test_mixed_dtypes_meet_in_the_wider_and_part_again():
    a, b = knp.ones(2, dtype=F32), knp.asarray([[2.0], [3.0]], dtype=F64)
    n = knp.asarray([1, 2])
    value, (ga, gb) = value_and_grad(lambda a, b: (a * b * n).sum(), (0, 1))(a, b)
    assert value.dtype == F64
    check(ga, [5.0, 10.0], F32)
    check(gb, [[3.0], [3.0]], F64)
    ga, gb = grad(lambda a, b: (a @ b).sum(), (0, 1))(knp.ones((1, 2), dtype=F16), knp.ones((2, 1)))
    assert ga.dtype == F16 and gb.dtype == F32
    ga, gb = grad(lambda a, b: knp.concatenate([a, b]).sum(), (0, 1))(a, knp.ones(1, dtype=F64))
    assert ga.dtype == F32 and gb.dtype == F64


def test_broadcasting_is_undone():
    shapes = [(), (1,), (3,), (2, 1), (1, 3), (2, 3), (1, 1, 1), (4, 1, 3)]
    for left in shapes:
        for right in shapes:
            x, y = knp.ones(left), knp.full(right, 2.0)
            gx, gy = grad(lambda x, y: (x * y).sum(), (0, 1))(x, y)
            size = np.broadcast(np.empty(left), np.empty(right)).size
            assert gx.shape == left and gy.shape == right
            assert gx.sum() == 2.0 * size and gy.sum() == 1.0 * size
            assert len(set(np.asarray(gx).ravel())) == 1


# --- vjp --------------------------------------------------------------------------------------------------------------


def test_vjp_of_trees_and_twice():
    x, y = knp.asarray([1.0, 2.0]), 3.0
    out, pull_back = vjp(lambda x, p: {"prod": x * p["y"], "sum": (x.sum(), p["y"])}, x, {"y": y})
    assert out["prod"].tolist() == [3.0, 6.0] and out["sum"][0] == 3.0
    cotangent = {"prod": knp.asarray([1.0, 10.0]), "sum": (100.0, 1000.0)}
    for _ in range(2):
        gx, gp = pull_back(cotangent)
        assert gx.tolist() == [103.0, 130.0] and gp["y"] == 1021.0
    gx, gp = pull_back({"prod": knp.zeros(2), "sum": (0.0, 1.0)})
    assert gx.tolist() == [0.0, 0.0] and gp["y"] == 1.0


def test_vjp_without_results_that_depend_on_anything():
    y, pull_back = vjp(lambda x: (knp.ones(2), 3), knp.ones(3))
    assert y[1] == 3
    assert pull_back((knp.ones(2), knp.asarray(1)))[0].tolist() == [0.0, 0.0, 0.0]


def test_cotangents_that_do_not_fit():
    _, pull_back = vjp(lambda x: {"y": 2 * x}, knp.ones(3))
    for cotangent, error, text in (
        ({"y": knp.ones(2)}, knet.errors.ShapeError, r"\['y'\] is float32 \[2\], the output there is float32 ?\[3\]"),
        ({"y": knp.ones(3, dtype=F64)}, knet.errors.ShapeError, "agree in shape and dtype"),
        ({"z": knp.ones(3)}, knet.errors.TreeError, "structures differ"),
        (knp.ones(3), knet.errors.TreeError, "structures differ"),
    ):
        with pytest.raises(error, match=text):
            pull_back(cotangent)


def test_linearity_of_pull_back():
    _, pull_back = vjp(lambda x: knp.sin(x) * x, knp.asarray([0.5, 1.0], dtype=F64))
    a, b = knp.asarray([1.0, 0.0], dtype=F64), knp.asarray([0.0, 1.0], dtype=F64)
    left = 2 * pull_back(a)[0] + 3 * pull_back(b)[0]
    np.testing.assert_allclose(np.asarray(pull_back(2 * a + 3 * b)[0]), np.asarray(left), rtol=1e-15)


def test_a_dataclass_of_parameters():
    @dataclasses.dataclass
    class Params:
        w: object
        b: object

    knet.tree.register(Params, lambda p: ((p.w, p.b), None), lambda _, c: Params(*c))
    g = grad(lambda p: p.w * 2 + p.b)(Params(1.0, 2.0))
    assert isinstance(g, Params) and g.w == 2.0 and g.b == 1.0
