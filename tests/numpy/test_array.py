"""Arrays as Python objects: printing, pickling, conversions, immutability, and company with NumPy."""

from __future__ import annotations

import copy
import operator
import pickle

import numpy as np
import pytest

import knet
import knet.numpy as knp

X = knp.asarray([[1.0, 2.0], [3.0, 4.0]])


# --- printing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        np.float32([1.5, 2]), np.float64([1.5]), np.arange(3), np.arange(3, dtype=np.int32), np.array([True, False]),
        np.array(2.5, np.float32), np.array(3), np.zeros((0, 2), np.float32), np.float32([[1, 2], [3, 4]]),
        np.float16([1e-7, 1]),
        np.float32([np.nan, np.inf]), np.arange(2000.0), np.complex64([1 + 2j]), np.uint8([1, 2]),
        np.zeros((2, 2, 2)), np.zeros((0,)),
    ],
    ids=lambda h: f"{h.dtype}{list(h.shape)}",
)  # fmt: skip
def test_repr_is_numpys_with_the_dtype(host):
    got, want = repr(knp.asarray(host)), repr(host)
    assert got.startswith("Array(")
    if host.dtype not in (np.int64, np.bool_):
        assert f"dtype={host.dtype}" in got
    values = got.removeprefix("Array").replace(f", dtype={host.dtype}", "").replace(" ", "")
    assert values == want.removeprefix("array").replace(f", dtype={host.dtype}", "").replace(" ", "")
    assert str(knp.asarray(host)) == str(host)


def test_repr_of_bfloat16_and_width():
    assert repr(knp.asarray([1.0, 2.5], dtype="bfloat16")) == "Array([1, 2.5], dtype=bfloat16)"
    assert repr(knp.arange(2)) == "Array([0, 1])"
    assert repr(knp.asarray([1.0])) == "Array([1.], dtype=float32)"
    assert repr(knp.asarray([1.0], dtype=knp.float64)) == "Array([1.], dtype=float64)"
    assert repr(knp.asarray([[1.0, 2.0]])) == "Array([[1., 2.]], dtype=float32)"


def test_format():
    x = knp.asarray(3.14159)
    assert f"{x:.2f}" == "3.14" and f"{knp.asarray([7]):3d}" == "  7" and f"{x}" == str(x) and f"{X}" == str(X)
    with pytest.raises(ValueError, match=r"format\(x\): x \[2, 2\]"):
        f"{X:.2f}"


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8", "bool", "complex64", "uint64"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)], ids=str)
def test_pickle(dtype, shape):
    x = knp.ones(shape, dtype=dtype)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        y = pickle.loads(pickle.dumps(x, protocol))
        assert y.dtype is x.dtype and y.shape == shape and y.tolist() == x.tolist() and (y + y).dtype == (x + x).dtype


def test_a_pickled_view_does_not_carry_its_base():
    x = knp.zeros((1000, 1000))[0]
    assert len(pickle.dumps(x)) < 10_000
    assert len(pickle.dumps(knp.broadcast_to(knp.asarray(1.0), (10,)))) < 1_000


def test_copy_and_deepcopy():
    tree = {"x": X, "list": [X]}
    assert copy.copy(X) is X and copy.deepcopy(X) is X  # nothing can change it, so a copy is itself
    other = copy.deepcopy(tree)
    assert other is not tree and other["list"] is not tree["list"] and other["x"] is X


# --- conversions ------------------------------------------------------------------------------------------------------


def test_numbers():
    one = knp.asarray([[2.5]])
    assert float(one) == 2.5 and int(one) == 2 and bool(one) is True and complex(one) == 2.5 + 0j and one.item() == 2.5
    assert isinstance(one.item(), float) and isinstance(knp.asarray(3).item(), int)
    assert not knp.asarray(0.0) and isinstance(bool(knp.asarray(True)), bool)
    assert (
        [10, 20, 30][knp.asarray(1)] == 20
        and operator.index(knp.asarray([2])) == 2
        and list(range(knp.asarray(2))) == [0, 1]
    )
    assert knp.asarray([1.0, 2.0], dtype="bfloat16").tolist() == [1.0, 2.0]
    for convert in (float, int, complex, lambda x: x.item()):
        with pytest.raises(ValueError, match=r"x \[2, 2\]: only an array of one element"):
            convert(X)
        with pytest.raises(ValueError, match=r"x \[0\]"):
            convert(knp.zeros(0))
    with pytest.raises(ValueError, match="the truth of an array"):
        bool(X)
    with pytest.raises(ValueError, match="0 elements"):
        bool(knp.zeros(0))
    with pytest.raises(TypeError, match="float32"):
        operator.index(knp.asarray(1.0))
    with pytest.raises(TypeError, match="bool"):
        operator.index(knp.asarray(True))


def test_sequences():
    a, b = X
    assert a.tolist() == [1.0, 2.0] and b.tolist() == [3.0, 4.0] and len(X) == 2
    assert [v.tolist() for v in X] == X.tolist() and [v.tolist() for v in reversed(X)] == X.tolist()[::-1]
    assert 3.0 in X and 5.0 not in X and list(knp.zeros((0, 3))) == []
    for f in (len, iter, list):
        with pytest.raises(TypeError, match="0-d array"):
            f(knp.asarray(1.0))


# --- immutability -----------------------------------------------------------------------------------------------------


def test_arrays_do_not_change():
    with pytest.raises(TypeError, match=r"x\[0, 1\] = value: .* immutable.\n  fix: x = x.at\[0, 1\].set\(value\)"):
        X[0, 1] = 2.0
    with pytest.raises(AttributeError):
        X.shape = (4,)
    with pytest.raises((AttributeError, TypeError)):
        del X[0]
    y = x = knp.ones(2)
    x += 1  # makes a new array
    assert y.tolist() == [1.0, 1.0] and x.tolist() == [2.0, 2.0]


def test_arrays_are_not_hashable_and_not_constructible():
    with pytest.raises(TypeError, match="no hash"):
        hash(X)
    with pytest.raises(TypeError, match=r"knet.numpy.asarray"):
        knet.Array([1.0])


# --- NumPy ------------------------------------------------------------------------------------------------------------


def test_numpy_arrays_of_them_share_memory_and_are_read_only(on_cpu):
    host = np.ones(3, np.float32)
    x = knp.asarray(host)
    view = np.asarray(x)
    assert np.shares_memory(view, host) and not view.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 2
    assert np.asarray(x, np.float64).dtype == np.float64 and np.array(x).flags.writeable
    assert not np.shares_memory(np.array(x), host)
    assert np.asarray(x[1:]).base is not None and np.shares_memory(np.asarray(x[1:]), host)
    assert np.asarray(knp.asarray(2.0)).shape == ()
    assert np.array(X, copy=True).tolist() == X.tolist()


@pytest.mark.parametrize("host", [np.array([1.0, 2.0]), np.array(2.0), np.float32(2.0), np.array([1, 2])], ids=repr)
def test_numpy_on_the_left(host):
    x = knp.asarray([3.0, 5.0])
    for op in (
        operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.floordiv, operator.mod,
        operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne,
    ):  # fmt: skip
        got = op(host, x)
        assert isinstance(got, knet.Array), f"{op.__name__} left Knet for {type(got)}"
        want = op(host, np.asarray(x))
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-6)
        assert got.dtype == op(knp.asarray(host), x).dtype
    assert isinstance(np.ones((2, 2)) @ x, knet.Array)


def test_numpy_functions_refuse():
    for f in (
        np.sin,
        np.exp,
        np.add.reduce,
        lambda x: np.add(x, 1),
        lambda x: np.multiply(np.ones(2), x, out=np.ones(2)),
    ):
        with pytest.raises(
            TypeError, match=r"a Knet array was passed to a NumPy function(?s:.)*\n  fix: call knet.numpy"
        ):
            f(knp.ones(2))
    host = np.ones(2)
    with pytest.raises(TypeError):
        host += knp.ones(2)


def test_numpy_functions_that_convert_work():
    assert np.array_equal(X, [[1, 2], [3, 4]]) and np.stack([X, X]).shape == (2, 2, 2)
    np.testing.assert_allclose(X, [[1, 2], [3, 4]])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8", "complex64"])
def test_dlpack(dtype):
    x = knp.asarray(np.arange(6, dtype=dtype).reshape(2, 3))
    host = np.from_dlpack(x)
    assert host.dtype == x.dtype and host.tolist() == x.tolist()
    assert np.shares_memory(host, np.asarray(x)) == (x.device.backend.name == "cpu")
    assert x.__dlpack_device__() == np.asarray(x).__dlpack_device__()
    view = x[:, ::2]
    assert np.from_dlpack(view).tolist() == view.tolist()


def test_array_api_attributes():
    assert X.__array_namespace__() is knp and X.ndim == 2 and X.size == 4 and X.itemsize == 4 and X.nbytes == 16
    assert X.to_device(X.device) is X and X.to_device(str(X.device)) is X and X.block_until_ready() is X
    assert str(X.to_device("cpu").device) == "cpu:0"
    assert isinstance(X.shape, tuple) and X.dtype == np.float32


def test_operators_return_arrays_of_no_axes():
    total = X.sum()
    assert isinstance(total, knet.Array) and total.shape == () and (total + 1).shape == () and (-total).item() == -10.0
    assert isinstance(X[0, 0], knet.Array) and isinstance(X > 1, knet.Array)
