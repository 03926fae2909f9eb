"""Short paths: plans give what their functions give, errors included, and are made and used when they should be."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet import errors
from knet.core import device, shortcut

X = np.linspace(-1.0, 1.0, 24, dtype=np.float32).reshape(2, 3, 4)
CALLS = [
    ("sum", (X,), {}),
    ("sum", (X,), {"axis": (0, -1), "keepdims": True}),
    ("sum", (X > 0, 1), {}),
    ("sum", (X.astype("int8"), 1), {"dtype": "float64"}),
    ("prod", (X, 0), {}),
    ("max", (X, 1), {}),
    ("min", (X,), {"axis": None}),
    ("mean", (X, -1), {}),
    ("mean", (X.astype("int32"), 0), {}),
    ("mean", (np.zeros((0, 3)),), {}),
    ("var", (X,), {"correction": 1}),
    ("std", (X.astype("complex64"), 1), {}),
    ("any", (X > 0, 1), {}),
    ("all", (X,), {}),
    ("count_nonzero", (X, 2), {}),
    ("logsumexp", (X, 1), {}),
    ("argmax", (X,), {"keepdims": True}),
    ("argmin", (X, -1), {}),
    ("cumsum", (X,), {}),
    ("cumulative_sum", (X,), {"axis": 1}),
    ("cumprod", (X, 1), {}),
    ("diff", (X,), {"n": 2}),
    ("astype", (X, "float64"), {}),
    ("astype", (X, knp.bfloat16), {}),
    ("astype", (X, int), {}),
    ("reshape", (X, (4, -1)), {}),
    ("reshape", (X, -1), {}),
    ("ravel", (X,), {}),
    ("permute_dims", (X, (2, 0, 1)), {}),
    ("transpose", (X,), {}),
    ("matrix_transpose", (X,), {}),
    ("swapaxes", (X, 0, -1), {}),
    ("moveaxis", (X, 0, 2), {}),
    ("expand_dims", (X, (0, -1)), {}),
    ("squeeze", (X[:1, :, :1],), {}),
    ("broadcast_to", (X, (5, 2, 3, 4)), {}),
    ("flip", (X,), {"axis": 1}),
    ("concatenate", ([X, X],), {"axis": -1}),
    ("concatenate", ((X, X.astype("float64"), X > 0),), {}),
    ("stack", ([X, X, X],), {"axis": 1}),
    ("matmul", (X, np.ones((4, 2), "float32")), {}),
    ("matmul", (X, np.ones((2, 4, 5))), {}),
    ("matmul", (X, np.ones(4, "int64")), {}),
    ("matmul", (X[0, 0], X[0, 0]), {}),
    ("dot", (X, X[0, 0]), {}),
    ("tensordot", (X, X), {"axes": 3}),
    ("outer", (X, X), {}),
    ("vecdot", (X, X), {}),
    ("inner", (X, X), {}),
    ("diagonal", (X,), {"offset": 1}),
    ("trace", (X,), {}),
    ("take", (X, np.array([[1, -1]])), {"axis": 1}),
    ("einsum", ("abc,acd->bd", X, np.ones((2, 4, 5), "float32")), {}),
    ("einsum", ("...a,...a", X, X.astype("float64")), {}),
    ("einsum", ("aab->b", np.ones((3, 3, 2))), {}),
]


def on_device(arg):
    if isinstance(arg, list | tuple) and any(isinstance(a, np.ndarray) for a in arg):
        return type(arg)(map(on_device, arg))
    return knp.asarray(arg) if isinstance(arg, np.ndarray) else arg


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.device is b.device and np.array_equal(a, b, equal_nan=True)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS)
def test_a_plan_gives_what_the_function_gives(monkeypatch, name, args, kwargs):
    function, args = getattr(knp, name), [on_device(a) for a in args]
    searches, find = [], shortcut.Plan.find
    monkeypatch.setattr(shortcut.Plan, "find", lambda *a: searches.append(a) or find(*a))
    first = function(*args, **kwargs)
    again = function(*args, **kwargs)  # finds plans, unless another test did
    searches.clear()
    assert same(function(*args, **kwargs), first) and same(again, first)
    assert not searches
    monkeypatch.setattr(shortcut.Plan, "find", find)
    monkeypatch.setattr(shortcut, "DeviceArray", None)  # no short path from here on
    assert same(function(*args, **kwargs), first)


def test_the_function_is_called_for_the_first_use_and_for_the_plan_alone():
    seen = []

    @shortcut.of_one
    def double(x, /, axis=None):
        seen.append(type(x).__name__)
        return knp.sum(x, axis) * 2.0

    x = knp.asarray(X)
    results = [double(x, 0) for _ in range(5)]
    assert seen == ["DeviceArray", "Recorded"]
    assert all(same(y, results[0]) for y in results)
    double(x, axis=0)
    assert seen[2:] == ["DeviceArray"]  # another signature
    knet.grad(lambda x: double(x, 0).sum())(x)
    assert seen[3:] == ["ReverseTracer"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x if float(knp.sum(x)) > 0 else -x,  # looks at a value
        lambda x: x + knp.ones(3),  # makes an array, which is on one device
        lambda x: knp.unstack(x)[0],  # calls a primitive of several results
        lambda x: (x, x),
        lambda x: 1.0,
    ],
)
def test_what_cannot_be_planned_calls_the_function(function):
    seen = []

    @shortcut.of_one
    def counted(x, /):
        seen.append(x)
        return function(x)

    x = knp.ones(3)
    for _ in range(4):
        counted(x)
    assert sum(y is x for y in seen) == 4


def test_equal_arguments_of_different_types_are_different():
    x = knp.asarray(X)
    for _ in range(3):
        knp.sum(x, 1)
        knp.reshape(x, (4, 6))
        knp.concatenate([x, x], axis=1)
    for bad in (lambda: knp.sum(x, 1.0), lambda: knp.concatenate([x, x], axis=1.0)):
        with pytest.raises(errors.ShapeError, match="axis"):
            bad()
    with pytest.raises(errors.ShapeError, match="a tuple of ints"):
        knp.reshape(x, (4.0, 6))

    @shortcut.of_one
    def scaled(x, /, factor):
        return x * factor

    for factor in (0.0, -0.0, 0.0, -0.0):
        assert np.signbit(np.asarray(scaled(knp.ones(2), factor))).all() == np.signbit(factor)
    for _ in range(3):
        assert scaled(knp.arange(3), 2).dtype == knp.int64
        assert scaled(knp.arange(3), 2.0).dtype == knp.float32


@pytest.mark.parametrize(
    "call",
    [
        lambda: knp.sum(knp.asarray(X), 3),
        lambda: knp.argmax(knp.zeros((0, 2)), 0),
        lambda: knp.reshape(knp.asarray(X), (5, 5)),
        lambda: knp.asarray(X) @ knp.ones((3, 3)),
        lambda: knp.concatenate([knp.ones((2, 2)), knp.ones((3, 3))], axis=1),
        lambda: knp.concatenate([]),
        lambda: knp.einsum("ab,bc", knp.ones((2, 2)), knp.ones((3, 2))),
        lambda: knp.take(knp.ones(3), knp.asarray([0, 3]), axis=0),
        lambda: knp.where(knp.ones(2) > 0, knp.ones(3), knp.ones(3)),
        lambda: knp.ones((2, 3))[2],
        lambda: knp.ones((2, 3))[0, 1, 2],
        lambda: knp.ones((2, 3))[..., ...],
        lambda: knp.ones((2, 3))[1.0],
        lambda: knp.ones((2, 3))[::0],
        lambda: knp.ones((2, 3))[knp.ones(2)],
        lambda: knp.ones((2, 3))[knp.asarray([0, 2])],
        lambda: knp.ones((2, 3))[knp.asarray([True, False, True])],
        lambda: knp.ones((2, 3))[knp.asarray([0, 1]), knp.asarray([0, 1, 2])],
    ],
)
def test_errors_are_those_of_the_function(monkeypatch, call):
    texts = []
    for _ in range(4):
        with pytest.raises((errors.KnetError, ValueError)) as info:
            call()
        texts.append((type(info.value), str(info.value), info.value.__context__))
    monkeypatch.setattr(shortcut, "DeviceArray", None)
    monkeypatch.setattr(device.default_device(), "select", None)
    with pytest.raises((errors.KnetError, ValueError)) as info:
        call()
    assert {t[:2] for t in texts} == {(type(info.value), str(info.value))}
    assert all(type(t[2]) is type(info.value.__context__) for t in texts)


def test_a_plan_fails_as_the_function_does():
    table, good, bad = knp.ones((4, 2)), knp.asarray([0, 3]), knp.asarray([0, 4])
    for _ in range(3):
        knp.take(table, good, axis=0)
    with pytest.raises(errors.IndexOutOfBounds, match="index 4"):
        knp.take(table, bad, axis=0)
    assert knp.take(table, good, axis=0).shape == (2, 2)


def test_debug_nans_sees_what_plans_compute():
    x = knp.full((2, 2), 1e30)
    with np.errstate(over="ignore"):
        for _ in range(3):
            knp.einsum("ij,kj->ik", x, x)
        with knet.debug_nans(), pytest.raises(errors.NonFinite, match=r"matmul\(x, w\)"):
            knp.einsum("ij,kj->ik", x, x)
        assert np.isinf(np.asarray(knp.einsum("ij,kj->ik", x, x))).all()


def test_nothing_to_do_gives_the_array_itself():
    x = knp.asarray(X)
    for _ in range(4):
        assert knp.reshape(x, x.shape) is x and knp.squeeze(x) is x and x.astype(knp.float32) is x


def test_transformations_go_through(monkeypatch):
    x, w = knp.asarray(X), knp.ones((4, 2))

    def f(x):
        constant = knp.sum(w @ w.T, 0)  # not traced, so it has a plan within the trace
        return knp.mean(knp.concatenate([x @ w, knp.max(x, -1, keepdims=True)], axis=-1) * constant[:3])

    results = [knet.grad(f)(x) for _ in range(3)]
    rows = [knet.vmap(f)(x) for _ in range(3)]
    tangents = [knet.jvp(f, (x,), (x,))[1] for _ in range(3)]
    monkeypatch.setattr(shortcut, "DeviceArray", None)
    monkeypatch.setattr(device.default_device(), "select", None)
    for got, want in ((results, knet.grad(f)(x)), (rows, knet.vmap(f)(x)), (tangents, knet.jvp(f, (x,), (x,))[1])):
        assert all(same(y, want) for y in got)


@pytest.mark.filterwarnings("ignore:.*no kernel on pretended")
def test_functions_of_devices_have_no_plan(pretended):
    here, there = knp.ones(2), knp.ones(2, device="pretended:0")
    for _ in range(3):
        for x in (here, there):
            assert knp.astype(x, "float64", device=str(here.device)).device is here.device
            assert knp.astype(x, "float64", device="pretended:0").device is there.device


def test_devices_are_not_mixed(pretended):
    here, there = knp.ones((2, 2)), knp.ones((2, 2), device="pretended:0")
    for call in (
        lambda: knp.matmul(here, there),
        lambda: knp.concatenate([here, there]),
        lambda: knp.where(here > 0, here, there),
    ):
        for _ in range(3):
            with pytest.raises(errors.DeviceError):
                call()


@pytest.mark.filterwarnings("ignore:.*no kernel on pretended")
def test_a_plan_holds_for_every_device(pretended):
    seen = []

    @shortcut.of_two
    def product(x, y, /):
        seen.append(x)
        return knp.sum(x * y * 2.0, 0)

    here = knp.asarray(X)
    there = here.to_device("pretended:0")
    for _ in range(2):
        product(here, here)
    y = product(there, there)
    assert len(seen) == 2
    assert y.device is there.device
    assert np.array_equal(np.asarray(y.to_device("cpu")), np.asarray(product(here, here)))
