"""What Knet is, in fewer than a hundred lines. Start reading the tests here."""

import numpy as np
import pytest

import knet
import knet.numpy as knp


def test_the_gradient_of_a_function():
    assert knet.grad(lambda x: x * x)(3.0) == 6.0
    value, slope = knet.value_and_grad(knp.sin)(0.0)
    assert value == 0.0 and slope == 1.0


def test_gradients_nest():
    assert knet.grad(lambda x: x * knet.grad(lambda y: x + y)(x))(5.0) == 1.0
    assert knet.grad(knet.grad(lambda x: x**3))(2.0) == 12.0


def test_any_python_goes():
    def power(x, n):
        y = 1.0
        while n > 0:  # loops, branches and recursion are Python's own
            y = y * x if n % 2 else y
            x, n = x * x, n // 2
        return y

    assert knet.grad(power)(2.0, 5) == 5 * 2.0**4


def test_a_gradient_has_the_structure_of_its_argument():
    params = {"w": knp.ones((2, 3)), "b": (knp.zeros(3), 1.0)}
    grads = knet.grad(lambda p: (p["w"] * 2).sum() + p["b"][1])(params)
    assert grads["w"].shape == (2, 3) and grads["w"].tolist() == [[2.0] * 3] * 2
    assert grads["b"][0].tolist() == [0.0, 0.0, 0.0]  # the result does not depend on it
    assert grads["b"][1] == 1.0


def test_linear_regression():
    rng = np.random.default_rng(0)
    x = knp.asarray(rng.normal(size=(100, 3)).astype("float32"))
    y = x @ knp.asarray([1.0, -2.0, 0.5]) + 3.0

    def loss(params):
        return knp.mean((x @ params["w"] + params["b"] - y) ** 2)

    params = {"w": knp.zeros(3), "b": 0.0}
    for _ in range(200):
        grads = knet.grad(loss)(params)
        params = knet.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    assert knp.abs(params["w"] - knp.asarray([1.0, -2.0, 0.5])).max() < 1e-4
    assert abs(float(params["b"]) - 3.0) < 1e-4


def test_arrays_look_like_those_of_numpy():
    x = knp.reshape(knp.arange(6), (2, 3))
    assert repr(x) == "Array([[0, 1, 2],\n       [3, 4, 5]])"
    assert x[1, ::-1].tolist() == [5, 4, 3]
    assert x[:, None].shape == (2, 1, 3)
    assert x[x > 2].tolist() == [3, 4, 5]
    assert x.T.shape == (3, 2) and (x + 1).sum() == 21 and knp.ones(3).dtype == knp.float32
    assert isinstance(np.asarray(x), np.ndarray)


def test_arrays_do_not_change_but_have_changed_copies():
    x = knp.zeros(4)
    y = x.at[1].set(5.0).at[knp.asarray([2, 2])].add(1.0)
    assert x.tolist() == [0.0, 0.0, 0.0, 0.0] and y.tolist() == [0.0, 5.0, 2.0, 0.0]
    with pytest.raises(TypeError, match=r"immutable.*\n  fix: x = x.at\[1\].set"):
        x[1] = 5.0


def test_errors_say_what_to_do():
    with pytest.raises(knet.errors.ShapeError) as info:
        knp.ones((32, 784)) @ knp.ones((512, 784))
    assert "[32, 784] and w [512, 784] do not fit" in str(info.value) and "fix: matmul(x, w.mT)" in str(info.value)
    with pytest.raises(knet.errors.DTypeError, match=r"int64.*floating-point.*\n  fix: pass 3.0 for 3"):
        knet.grad(lambda x: x * x)(3)
