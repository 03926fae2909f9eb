"""debug_nans names the operation in which the first NaN or infinity arose, and leaves no trace of itself."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet import errors
from knet.core import device, registry


@pytest.fixture(autouse=True)
def numpy_is_silent():
    """NumPy warns of the same operations, and warnings are errors in this suite."""
    with np.errstate(all="ignore"):
        yield
    assert device.inspect_results is None, "the switch was left on"


def error_of(function, *args):
    """Text of the NonFinite that a function raises under debug_nans, with its notes."""
    with knet.debug_nans(), pytest.raises(errors.NonFinite) as info:
        function(*args)
    assert isinstance(info.value, FloatingPointError)
    text = "\n".join([str(info.value), *getattr(info.value, "__notes__", [])])
    assert "\n  fix: " in text
    return text


X = knp.asarray([1.0, 0.0, -1.0])


@pytest.mark.parametrize(
    ("function", "name", "kind"),
    [
        (lambda: knp.log(X), "log(x)", "NaN"),
        (lambda: knp.log(knp.abs(X)), "log(x)", "infinity"),
        (lambda: X / 0.0, "divide(x, y)", "NaN"),
        (lambda: knp.exp(X * 1000.0), "exp(x)", "infinity"),
        (lambda: knp.sqrt(X), "sqrt(x)", "NaN"),
        (lambda: (X * 1e38).sum() + (X[:1] * 1e38 * 100.0).sum(), "multiply(x, y)", "infinity"),
        (lambda: knp.cumprod(knp.full(40, 1e10)), "cumulative_prod(x)", "infinity"),
        (lambda: knp.asarray(1e300, dtype=knp.float64).astype(knp.float32), "cast(x)", "infinity"),
        (lambda: knp.full((2, 2), 1e30) @ knp.full((2, 2), 1e30), "matmul(x, w)", "infinity"),
        (lambda: knp.asarray(-1.0, dtype=knp.float64) ** 0.5, "power(x, y)", "NaN"),
    ],
)
def test_the_operation_is_named(function, name, kind):
    text = error_of(function)
    assert text.startswith(f"{name}: the result has the first {kind}; "), text


def test_the_operands_and_their_ranges_are_named():
    assert "x is float32 [3] in [-1, 1]" in error_of(lambda: knp.log(X))
    text = error_of(lambda: knp.ones((2, 3)) / knp.zeros(3))
    assert "x is float32 [2, 3] in [1, 1], y is float32 [3] in [0, 0]" in text


def test_the_first_operation_of_many_is_named():
    def network(x):
        h = knp.tanh(x * 2.0)
        h = knp.log(h)  # here
        return knp.exp(h).sum() / knp.sqrt(h - 1.0).sum()

    assert error_of(network, X).startswith("log(x): ")
    assert error_of(knet.grad(network), X).startswith("log(x): "), "also where the operation is traced"
    assert error_of(knet.vmap(network), X[:, None]).startswith("log(x): ")
    assert error_of(lambda x: knet.jvp(network, (x,), (x,)), X).startswith("log(x): ")
    assert error_of(knet.grad(knet.checkpoint(network)), X).startswith("log(x): ")


@pytest.mark.parametrize(
    ("function", "point", "rule"),
    [
        (lambda x: knp.sqrt(x).sum(), 0.0, "sqrt"),
        (lambda x: (x**0.5).sum(), 0.0, "power"),
        (lambda x: knp.asin(x), 1.0, "asin"),
        (lambda x: knp.where(x > 0, knp.sqrt(x), 0.0), 0.0, "sqrt"),
        (lambda x: knp.linalg.norm(x * knp.ones(3) * 1e-30), 1.0, None),
    ],
)
def test_the_backward_pass_names_whose_derivative_it_was(function, point, rule):
    gradient = knet.grad(function)
    if rule is None:
        with knet.debug_nans():
            gradient(point)
        return
    with knet.debug_nans():
        function(knp.asarray(point))  # the value is finite
    text = error_of(gradient, point)
    assert text.endswith(f"in the backward pass, in the derivative of {rule}"), text
    assert error_of(knet.vjp(function, point)[1], 1.0).endswith(f"in the derivative of {rule}")
    assert error_of(knet.vmap(gradient), knp.asarray([point])).endswith(f"in the derivative of {rule}")


def test_what_came_in_is_not_blamed():
    bad = knp.asarray([np.nan, np.inf, 1.0])
    with knet.debug_nans():
        assert np.isnan(np.asarray(bad * 2.0)[0])
        assert np.isnan(float(bad.sum()))
        assert not np.isfinite(np.asarray(knp.ones(3) * np.inf)).any()  # a Python number may come in, too
        assert np.isnan(np.asarray(knet.grad(lambda x: (x * bad).sum())(bad))[0])
        knp.log(bad * -1.0)  # a NaN arises out of -1, beside those that came in
        assert knp.isnan(bad).tolist() == [True, False, False]
        assert knp.arange(3).tolist() == [0, 1, 2]


def test_values_are_the_same_as_without():
    def f(x):
        return (knp.sin(x) ** 2).sum() + sum(part[0] for part in knp.unstack(x * 3.0, axis=0))

    x = knp.asarray(np.random.default_rng(0).normal(size=(3, 2)))
    with knet.debug_nans():
        inside = [np.asarray(f(x)), np.asarray(knet.grad(f)(x)), np.asarray(knet.vmap(knp.cos)(x))]
    outside = [np.asarray(f(x)), np.asarray(knet.grad(f)(x)), np.asarray(knet.vmap(knp.cos)(x))]
    for a, b in zip(inside, outside, strict=True):
        assert np.array_equal(a, b)


def tables_are_restored():
    here = knet.default_device()
    for name in ("exp", "log", "matmul", "multiply", "unstack"):
        primitive = registry[name]
        assert here.kernels[primitive] is here.backend.kernel(primitive), f"the kernel of {name} is still wrapped"
    assert device.inspect_results is None
    knp.log(X)
    X / 0.0


def test_outside_of_the_context_there_is_no_cost():
    tables_are_restored()
    with knet.debug_nans():
        knp.exp(X)
        here = knet.default_device()
        assert here.kernels[registry["exp"]] is not here.backend.kernel(registry["exp"])
    tables_are_restored()


def test_it_is_switched_off_after_its_own_error():
    with pytest.raises(errors.NonFinite), knet.debug_nans():
        knp.log(X)
    tables_are_restored()


def test_it_is_switched_off_after_any_error():
    with pytest.raises(KeyError, match="mine"), knet.debug_nans():
        knp.exp(X)
        raise KeyError("mine")
    tables_are_restored()
    with pytest.raises(KeyError, match="mine"), knet.debug_nans():
        knet.grad(lambda x: {}["mine"])(1.0)
    tables_are_restored()


def test_contexts_nest():
    with knet.debug_nans():
        with knet.debug_nans():
            pass
        with pytest.raises(errors.NonFinite):
            knp.log(X)
        with pytest.raises(errors.NonFinite), knet.debug_nans():
            knp.sqrt(X)
        with pytest.raises(errors.NonFinite):
            knp.log(X)
    tables_are_restored()


def test_a_handled_error_leaves_the_context_on():
    def f(x):
        try:
            return knp.log(x)
        except errors.NonFinite:
            return x * 2.0

    with knet.debug_nans():
        assert float(knet.grad(f)(-1.0)) == 2.0
        with pytest.raises(errors.NonFinite):
            knp.log(X)


def test_the_switch_is_for_all_threads():
    caught = []

    def work():
        with np.errstate(all="ignore"):
            try:
                knp.log(X)
            except errors.NonFinite as e:
                caught.append(e)

    with knet.debug_nans():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(caught) == 1


def test_as_a_decorator():
    @knet.debug_nans()
    def f(x):
        return knp.log(x)

    for _ in range(2):
        with pytest.raises(errors.NonFinite):
            f(X)
        tables_are_restored()


def test_half_types_and_complex_numbers():
    assert error_of(lambda: knp.asarray(60000.0, dtype=knp.float16) * 2.0).startswith("multiply(x, y): ")
    assert error_of(lambda: knp.exp(knp.asarray(200.0, dtype=knp.bfloat16))).startswith("exp(x): ")
    assert error_of(lambda: knp.asarray(1j) / 0.0).startswith("divide(x, y): ")
