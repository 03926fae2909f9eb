"""The checks themselves: each must be able to fail, and say where."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core import registry
from knet.core.ops.elementwise import relu, stop_gradient
from knet.core.pointwise import elementwise
from knet.testing import assert_close, assert_trees_close, check_grads

# --- throw-away primitives ------------------------------------------------------------------------------------------


@pytest.fixture
def define():
    """Function (NumPy body, rules) -> elementwise primitive, gone after the test."""
    made = []

    def make(body, rules, count=1):
        name = f"throw_away_{len(made)}"
        names = ("x", "y", "z")[:count]
        operation = elementwise(name, body, "", rules, "For a test.", argnames=names, accepts="f")
        made.append(name)
        return operation

    yield make
    for name in made:
        del registry[name]


POINT = knp.asarray([[0.3, -0.7, 1.2], [0.5, 2.0, -1.5]])


# --- it accepts what is right ---------------------------------------------------------------------------------------

RIGHT = {
    "scalar": (lambda x: x * x * x, (0.7,)),
    "matrix product": (lambda a, b: a @ b, (POINT, POINT.T)),
    "broadcast": (lambda a, b: a * b + b, (POINT, knp.asarray([1.0, 2.0, 3.0]))),
    "mean and root": (lambda x: knp.sqrt(knp.mean(x * x)), (POINT,)),
    "softmax": (lambda x: knp.exp(x - knp.logsumexp(x, axis=-1, keepdims=True)), (POINT,)),
    "normalisation": (lambda x: (x - x.mean(0)) / knp.sqrt(x.var(0) + 1e-5), (POINT,)),
    "large numbers": (lambda x: x * x, (knp.asarray([1e6, -3e5]),)),
    "small numbers": (lambda x: 1e-9 * knp.sin(x), (POINT,)),
    "exactly zero": (lambda x: stop_gradient(x) * 0.0 + x - x, (POINT,)),
    "constant": (lambda x: stop_gradient(knp.zeros_like(x)), (POINT,)),
    "indexing": (lambda x: x[1, :2] + x[0, 0], (POINT,)),
    "no elements in one argument": (lambda x, y: (x * 2.0, y), (POINT, knp.zeros((0, 3)))),
}


@pytest.mark.parametrize("f, args", RIGHT.values(), ids=RIGHT.keys())
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_accepts_right_derivatives(f, args, order, seed):
    check_grads(f, args, order=order, seed=seed)


def test_accepts_right_throw_away_primitives(define):
    cube = define(lambda x: x**3, lambda g, _y, x: g * (3.0 * x * x))
    product = define(lambda x, y: x * y, (lambda g, _y, x, y: g * y, lambda g, _y, x, y: g * x), 2)
    check_grads(lambda x, y: product(cube(x), y), (POINT, POINT), order=3)


def test_trees_of_arguments_and_results():
    def f(params, x, *, scale):
        hidden = knp.tanh(x @ params["w"][0]) * scale
        return {"y": hidden * params["b"], "shape": knp.asarray(x.shape), "name": "result"}, (None, hidden.sum())

    params = {"w": [POINT.T], "b": 0.5, "none": None}
    check_grads(f, (params, POINT), order=2, kwargs={"scale": 2.0})
    check_grads(f, [params, POINT], kwargs={"scale": 2.0})


def test_integer_and_other_leaves_are_left_alone():
    index = knp.asarray([0, 1, 1])
    seen = []

    def f(args):
        seen.append((args["index"] is index, args["flag"], args["count"], args["name"]))
        return args["x"][args["index"]] * (2.0 if args["flag"] else 1.0)

    check_grads(f, {"x": POINT, "index": index, "flag": True, "count": 3, "name": "text"})
    assert set(seen) == {(True, True, 3, "text")}


def test_float32_arguments_become_float64():
    seen = set()
    check_grads(lambda x, y: seen.add((x.dtype.name, y.dtype.name)) or x * y, (POINT, np.float16(0.5)))
    assert seen == {("float64", "float64")}


def test_same_seed_same_check(define):
    almost = define(np.sin, lambda g, _y, x: g * knp.cos(x) * 1.01)
    texts = []
    for seed in (3, 3, 4):
        with pytest.raises(AssertionError) as caught:
            check_grads(almost, POINT, seed=seed)
        texts.append(str(caught.value))
    assert texts[0] == texts[1] != texts[2]


# --- it rejects what is wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.0 + 1e-4, 1.0 - 1e-4, 1.0 + 1e-5, -1.0, 0.0, 2.0])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("point", [POINT, 0.4, 1e-3 * POINT], ids=["matrix", "scalar", "small"])
def test_rejects_a_wrong_factor(define, factor, seed, point):
    almost = define(np.sin, lambda g, _y, x: g * knp.cos(x) * factor)
    with pytest.raises(AssertionError, match=r"order 1, reverse mode, args\[0\]: .* by vjp and .* by central diff"):
        check_grads(almost, point, seed=seed)


def test_rejects_one_wrong_element_of_a_thousand(define):
    at = np.zeros(1000)
    at[123] = 1e-2
    almost = define(np.sin, lambda g, _y, x: g * knp.cos(x) * knp.asarray(1.0 + at))
    with pytest.raises(AssertionError):
        check_grads(almost, knp.linspace(-1.0, 1.0, 1000))


def test_message_gives_both_numbers(define):
    double = define(lambda x: 2.0 * x, lambda g, _y, x: g * 3.0)
    with pytest.raises(AssertionError) as caught:
        check_grads(lambda x: double(x), 1.0)
    text = str(caught.value)
    analytic = float(text.split("derivative is ")[1].split(" by vjp")[0])
    numeric = float(text.split("by vjp and ")[1].split(" by central")[0])
    assert analytic / numeric == pytest.approx(1.5)
    assert "check_grads(<lambda>), order 1" in text and "fix: " in text


@pytest.mark.parametrize("wrong, path", [(0, r"args\[0\]\['a'\]"), (1, r"args\[0\]\['b'\]\[0\]"), (2, r"args\[1\]")])
def test_rejects_a_missing_factor_on_one_argument_and_names_it(define, wrong, path):
    rules = [
        lambda g, _y, x, y, z: g * y * z,
        lambda g, _y, x, y, z: g * x * z,
        lambda g, _y, x, y, z: g * x * y,
    ]
    rules[wrong] = [
        lambda g, _y, x, y, z: g * y,
        lambda g, _y, x, y, z: g * x,
        lambda g, _y, x, y, z: g * x,
    ][wrong]
    product = define(lambda x, y, z: x * y * z, tuple(rules), 3)
    with pytest.raises(AssertionError, match=rf"reverse mode, {path}: "):
        check_grads(lambda p, z: product(p["a"], p["b"][0], z), ({"a": POINT, "b": [POINT]}, POINT + 2.0))


def test_rejects_a_wrong_second_derivative_with_a_right_first(define):
    # The rule's value is right, but its own dependence on x is hidden.
    exponential = define(np.exp, lambda g, _y, x: g * stop_gradient(knp.exp(x)))
    check_grads(exponential, POINT, order=1)
    with pytest.raises(AssertionError, match=r"order 2, reverse mode, args\[0\]: "):
        check_grads(exponential, POINT, order=2)


def test_rejects_a_second_derivative_that_is_wrong_by_the_cotangent(define):
    # Right at the cotangent's value, but not linear in it.
    odd = define(lambda x: 2.0 * x, lambda g, _y, x: stop_gradient(g) * 2.0)
    check_grads(odd, POINT, order=1)
    with pytest.raises(AssertionError, match=r"order 2, reverse mode, the cotangent of result 0 \(order 1\): "):
        check_grads(odd, POINT, order=2)


def test_rejects_a_wrong_third_derivative(define):
    inner = define(np.cos, lambda g, _y, x: g * -stop_gradient(knp.sin(x)))
    outer = define(np.sin, lambda g, _y, x: g * inner(x))
    check_grads(outer, POINT, order=2)
    with pytest.raises(AssertionError, match=r"order 3, "):
        check_grads(outer, POINT, order=3)


def test_rejects_pairs_of_nan(define):
    nothing = define(lambda x: x * math.nan, lambda g, _y, x: g * math.nan)
    with pytest.raises(AssertionError, match=r"result 0 is not finite"):
        check_grads(nothing, POINT)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_rejects_a_derivative_that_is_not_finite(define, value):
    identity = define(lambda x: x * 1.0, lambda g, _y, x: g * value)
    with pytest.raises(AssertionError, match=r"derivative is (nan|-?inf) by vjp"):
        check_grads(identity, 1.0, atol=1e30)
    with pytest.raises(AssertionError, match=r"derivative is (nan|-?inf) by vjp"):
        check_grads(identity, POINT, atol=1e30)


def test_rejects_nan_beside_the_point(define):
    def body(x):
        return np.where(x == 1.0, x, math.nan)  # finite at the point alone

    identity = define(body, lambda g, _y, x: g)
    with pytest.raises(AssertionError, match=r"nan by central differences"):
        check_grads(identity, 1.0)


def test_rejects_a_forgotten_result():
    """The second result is cut off from the argument: its differences are not zero, its vjp is."""
    with pytest.raises(AssertionError, match=r"args\[0\]"):
        check_grads(lambda x: (x * 1.0, stop_gradient(x * 1.0)), POINT)


def test_rejects_a_kink():
    with pytest.raises(AssertionError, match=r"kink"):
        check_grads(relu, knp.asarray([0.0, 1.0]))


def test_rejects_a_function_of_chance():
    random = np.random.default_rng(0)
    with pytest.raises(AssertionError, match=r"result 0 changes when it is differentiated"):
        check_grads(lambda x: x * float(random.random()), POINT)


def test_rejects_float32_inside():
    with pytest.raises(AssertionError, match=r"result 0 is float32 \[2, 3\] although the arguments are float64"):
        check_grads(lambda x: x.astype("float32") * 2.0, POINT)


def test_settings_of_the_difference():
    cube = lambda x: x * x * x  # noqa: E731
    with pytest.raises(AssertionError):
        check_grads(cube, 1.0, eps=0.1)  # truncation error, h ** 2
    check_grads(cube, 1.0, eps=0.1, rtol=0.1)
    check_grads(cube, 1.0, eps=0.1, atol=1.0)


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"args": (1,)}, "no floating-point element"),
        ({"args": ()}, "no floating-point element"),
        ({"args": knp.zeros((0,))}, "no floating-point element"),
        ({"args": 1.0, "order": 0}, "order=0"),
        ({"args": 1.0, "order": 1.5}, "order=1.5"),
        ({"args": 1.0, "modes": ()}, "modes="),
        ({"args": 1.0, "modes": "rev"}, "modes='rev'"),
        ({"args": 1.0, "modes": ("sideways",)}, "sideways"),
        ({"args": 1.0, "eps": 0.0}, "eps=0.0"),
        ({"args": 1.0, "rtol": math.nan}, "rtol=nan"),
        ({"args": 1.0, "atol": -1.0}, "atol=-1.0"),
        ({"args": 1j}, "complex"),
    ],
)
def test_nothing_to_check_is_an_error(arguments, text):
    with pytest.raises(ValueError, match=text):
        check_grads(lambda *xs: xs, **arguments)


def test_results_without_floats_are_an_error():
    with pytest.raises(ValueError, match="no floating-point element"):
        check_grads(lambda x: knp.argmax(x), POINT)


# --- assert_close ---------------------------------------------------------------------------------------------------

DTYPES = ["float64", "float32", "float16", ml_dtypes.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [1.0, 1.5, -3.0, 1e-3, 1000.0])
def test_ulp(dtype, value):
    x = np.asarray([value], dtype)
    bits = {8: np.int64, 4: np.int32, 2: np.int16}[x.itemsize]
    one_up, two_up = ((x.view(bits) + n).view(dtype) for n in (1, 2))
    assert_close(one_up, x, ulp=1)
    assert_close(two_up, x, ulp=2)
    with pytest.raises(AssertionError, match=r"1 of 1 elements differ by more than ulp=1; the worst at \[0\]"):
        assert_close(two_up, x, ulp=1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_default_tolerance_is_tight(dtype):
    eps = float(ml_dtypes.finfo(dtype).eps)
    x = np.asarray([1.0, 2.0], dtype)
    assert_close(x * np.asarray(1 + 2 * eps, dtype), x)
    with pytest.raises(AssertionError, match="rtol="):
        assert_close(x * np.asarray(1 + 64 * eps, dtype), x)


def test_subnormal_ulp():
    tiny = np.asarray([5e-324, 0.0])
    assert_close(tiny * 2, tiny, ulp=1)
    with pytest.raises(AssertionError):
        assert_close(tiny * 3, tiny, ulp=1)


def test_close_values():
    assert_close(knp.asarray([1.0, 2.0]), [1.0, 2.0])
    assert_close(knp.asarray([1.0, 2.0]), [1.1, 2.2], rtol=0.1)
    assert_close(knp.asarray([0.0]), [1e-3], atol=1e-2)
    assert_close(knp.zeros((0, 3)), knp.zeros((0, 3)))
    assert_close(knp.asarray([math.inf, -math.inf]), [math.inf, -math.inf])
    assert_close(knp.asarray([2**62 + 1, True]), [2**62 + 1, 1])
    assert_close(knp.asarray([True, False]), [True, False])
    assert_close(knp.asarray([1 + 1j]), [1 + 1j])
    assert_close(3, 3)
    assert_close(1.5, 1.5)
    assert_close(np.asarray([200], np.uint8), np.asarray([190], np.uint8), atol=10)


@pytest.mark.parametrize(
    "actual, desired, options, text",
    [
        ([1.0], [2.0], {}, r"1 of 1 elements.*worst at \[0\] is 1\.0, not 2\.0 \(difference 1, relative 0\.5\)"),
        ([[1.0, 2.0], [3.0, 9.0]], [[1.0, 2.5], [3.0, 4.0]], {}, r"2 of 4 .*worst at \[1, 1\]"),
        ([1.0, 1.0], [1.0], {}, r"shape \[2\] is not \[1\]"),
        (1.0, [1.0], {}, r"shape \[\] is not \[1\]"),
        (knp.ones((2,)), np.ones(2), {}, "dtype float32 is not float64"),
        (knp.ones((2,), dtype=int), np.ones(2, np.int32), {}, "dtype int64 is not int32"),
        ([math.nan], [math.nan], {}, "nan, not nan"),
        ([math.nan], [1.0], {"equal_nan": True}, "nan, not 1"),
        ([1.0], [math.nan], {"equal_nan": True}, "1.0, not nan"),
        ([math.nan], [1.0], {"rtol": math.inf}, "nan"),
        ([math.inf], [-math.inf], {}, "inf, not -inf"),
        ([math.inf], [1.0], {"rtol": 1.0}, "inf, not 1"),
        ([1.0], [math.inf], {"rtol": 1.0}, "1.0, not inf"),
        ([1.0], [math.inf], {"ulp": 100}, "1.0, not inf"),
        ([2**62 + 1], [2**62], {}, "difference 1,"),
        ([True], [False], {}, "True, not False"),
        ([1 + 1j], [1 - 1j], {}, "difference 2,"),
        ([1.0, math.nan], [2.0, 2.0], {}, r"2 of 2 .*worst at \[1\] is nan"),
    ],
)
def test_differences(actual, desired, options, text):
    with pytest.raises(AssertionError, match=text):
        assert_close(actual if isinstance(actual, knet.Array) else knp.asarray(actual), desired, **options)


def test_equal_nan():
    assert_close([math.nan, 1.0], [math.nan, 1.0], equal_nan=True)


def test_tolerances_exclude_one_another():
    for other in ({"rtol": 0.1}, {"atol": 0.1}):
        with pytest.raises(ValueError, match="in place of rtol and atol"):
            assert_close(1.0, 1.0, ulp=1, **other)


# --- assert_trees_close ---------------------------------------------------------------------------------------------


def test_trees():
    made = {"a": [knp.ones((2,)), None], "b": ("text", 2)}
    assert_trees_close(made, {"a": [np.ones(2, np.float32), None], "b": ("text", 2)})
    for other, text in [
        ({"a": [knp.ones((2,)), None]}, r"unexpected \['b'\]\[0\]"),
        ({"a": (knp.ones((2,)), None), "b": ("text", 2)}, "assert_trees_close"),
        ({"a": [knp.full((2,), 1.1), None], "b": ("text", 2)}, r"at \['a'\]\[0\]: 2 of 2"),
        ({"a": [knp.ones((2,)), None], "b": ("other", 2)}, r"at \['b'\]\[0\]: 'text' is not 'other'"),
        ({"a": [knp.ones((2,)), None], "b": ("text", 3)}, r"at \['b'\]\[1\]: 1 of 1"),
        ({"a": ["text", None], "b": ("text", 2)}, r"at \['a'\]\[0\]"),
    ]:
        with pytest.raises(AssertionError, match=text):
            assert_trees_close(made, other)
    with pytest.raises(AssertionError, match="at the only leaf: 1 of 1"):
        assert_trees_close(1.0, 2.0)
    assert_trees_close(1.1, 1.0, rtol=0.2)
    assert_trees_close([math.nan], [math.nan], equal_nan=True)


@pytest.mark.parametrize(("factor", "order", "modes"), [(1e-4, 1, ("fwd",)), (1e-4, 1, ("rev", "fwd"))])
def test_a_wrong_forward_rule_is_found_beside_a_right_reverse_one(factor, order, modes):
    @knet.custom_jvp
    def cube(x):
        return x**3

    cube.defjvp(lambda p, t: (p[0] ** 3, (1 + factor) * 3 * p[0] ** 2 * t[0]))
    with pytest.raises(AssertionError, match=r"order 1, (forward|reverse) mode, args\[0\].*by (jvp|vjp)"):
        check_grads(cube, [knp.asarray([1.0, 2.0])], order=order, modes=modes)


def test_forward_mode_alone_finds_what_reverse_mode_does_not_see():
    primitive = knet.extend.primitive(
        "doubled_with_a_wrong_jvp",
        aval=lambda x: knet.ShapedArray(x.shape, x.dtype),
        vjp=(lambda g, _y, _x: 2 * g,),
        jvp=lambda primals, tangents, y: 2.0002 * tangents[0],
        batch="not needed here",
    )(lambda x: 2 * x)
    try:
        x = [knp.asarray([1.0, 2.0])]
        check_grads(primitive, x, modes=("rev",))
        with pytest.raises(AssertionError, match=r"forward mode, args\[0\].*by jvp"):
            check_grads(primitive, x, modes=("fwd",))
    finally:
        del knet.extend.registry["doubled_with_a_wrong_jvp"]


def test_the_second_order_is_checked_in_every_combination_of_modes():
    # A first derivative by hand, right in value, whose own derivative is wrong.
    @knet.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * knet.stop_gradient(x) ** 2 * g,))
    x = [knp.asarray([1.0, 2.0])]
    check_grads(cube, x, order=1)
    for modes in (("rev",), ("fwd",), ("rev", "fwd")):
        with pytest.raises(AssertionError, match="order 2"):
            check_grads(cube, x, order=2, modes=modes)
