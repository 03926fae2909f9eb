"""knet.jit: arguments and results, signatures, traced values, threads; each call equals the one without."""

from __future__ import annotations

import functools
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet import nn
from knet.core import as_array, device
from knet.core.errors import ArgumentError, DTypeError, NonFinite, ShapeError, TracerError, TreeError
from knet.core.sparse import RowSparse
from knet.core.trace import staging

X = knp.asarray(np.linspace(-1, 1, 6).reshape(2, 3).astype("float32"))
V = knp.asarray([1.0, 2.0, 3.0])
NUMBERS = (2, 3.5, True, 1j)
DTYPES = ("bool", "int8", "uint8", "int32", "int64", "uint64", "float16", "bfloat16", "float32", "float64", "complex64")


def equal(got, want):
    """Same structure, dtypes and values; NaN equals NaN and -0.0 is not 0.0."""
    got, want = (knet.tree.map(lambda y: np.asarray(as_array(y)), t) for t in (got, want))
    assert knet.tree.structure(got) == knet.tree.structure(want)
    for g, w in zip(knet.tree.leaves(got), knet.tree.leaves(want), strict=True):
        assert (g.shape, g.dtype) == (w.shape, w.dtype)
        assert g.tobytes() == w.tobytes() or np.allclose(g, w, rtol=1e-6, atol=0, equal_nan=True), (g, w)


# --- arguments --------------------------------------------------------------------------------------------------------


class Point(NamedTuple):
    x: object
    y: object


def test_arguments_and_results_are_trees():
    def f(p, *rest, scale=1.0, **more):
        return {"a": p.x * scale, "b": [p.y["k"] + more["m"], None, rest], "c": Point(p.x, ())}

    args = (Point(V, {"k": X}), V, (X, None))
    equal(knet.jit(f)(*args, m=V), f(*args, m=V))
    equal(knet.jit(f)(*args, m=V, scale=3.0), f(*args, m=V, scale=3.0))
    assert type(knet.jit(f)(*args, m=V)["c"]) is Point


def test_results_may_be_arguments_constants_numbers_and_none():
    def f(x, y):
        return x, V, x, 2.5, 3, True, None, (), y, np.float32(1), knp.zeros((2,))

    equal(knet.jit(f)(X, V), f(X, V))
    assert knet.jit(lambda: None)() is None
    equal(knet.jit(lambda: (V + 1, 2.0))(), (V + 1, 2.0))


def test_empty_and_numpy_arrays():
    equal(knet.jit(lambda x: (x * 2, x.sum()))(knp.zeros((0, 3))), (knp.zeros((0, 3)), 0.0))
    host = np.arange(3.0)
    equal(knet.jit(lambda x: x + 1)(host), knp.asarray(host) + 1)
    equal(knet.jit(lambda x: x * V)(np.float32(2)), V * 2)
    assert host.tolist() == [0, 1, 2]


def test_rows_of_a_sparse_gradient():
    rows = knet.grad(lambda w: knp.take(w, knp.asarray([0, 1, 0]), axis=0).sum())(knp.ones((4096, 16)))
    assert isinstance(rows, RowSparse)
    equal(knet.jit(lambda g, x: g * 2 + x)(rows, 1.0), rows.dense() * 2 + 1.0)
    equal(knet.jit(lambda g: g)(rows), rows.dense())


def test_arguments_that_are_no_arrays():
    f = knet.jit(lambda x, mode: x)
    with pytest.raises(
        TreeError, match=r"jit\(<lambda>\): argument 1\['a'\] is of type str, 'train'.*\n  fix: name it in st"
    ):
        f(V, {"a": "train"})
    with pytest.raises(TreeError, match="argument mode is of type object"):
        f(V, mode=object())
    with pytest.raises(TreeError, match="argument 1 is of type str"):  # counted as written, static ones included
        knet.jit(lambda n, s: s, static_argnums=0)(2, "x")


def test_results_that_are_no_arrays():
    with pytest.raises(TreeError, match=r"jit\(f\): the result\[1\]\['s'\] is of type str, 'no'"):

        @knet.jit
        def f(x):
            return x, {"s": "no"}

        f(V)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: type(n).__name__)
def test_python_numbers_are_weak(number, dtype):
    x = knp.ones((2,), dtype=dtype)

    def f(n, x):
        return n * x, x + n, knp.where(x == 1, n, x), n * n, n + 1.5, x * (n * 2), n == x, (n + 1) * x

    equal(knet.jit(f)(number, x), f(number, x))


def test_weak_numbers_keep_double_precision_until_they_meet_an_array():
    x = knp.asarray([1.0], dtype="float64")
    assert knet.jit(lambda n, x: (n * 0.1) * x)(1.0, x).tolist() == [0.1]
    equal(knet.jit(knp.exp)(1.0), knp.exp(1.0))
    half = knp.ones(2, dtype="float16")
    for f in (lambda n: knp.exp(n) * half, lambda n: knp.maximum(n * half, 1), lambda n: knp.sqrt(n)):
        equal(knet.jit(f)(2.0), f(2.0))


def test_numpy_numbers_are_as_weak_as_python_s():
    half = knp.ones(2, dtype="float16")
    for n in (np.float64(2), np.float32(2), np.int8(2), np.complex128(2)):
        equal(knet.jit(lambda n: n * half)(n), n * half)


def test_a_number_beyond_64_bits():
    with pytest.raises(ArgumentError, match="does not fit into int64"):
        knet.jit(lambda n: V * n)(2**70)


# --- static arguments -------------------------------------------------------------------------------------------------


def power(x, n, *, mode="plus"):
    for _ in range(n):
        x = x * x
    return x if mode == "plus" else -x


@pytest.mark.parametrize("options", [{"static_argnums": 1}, {"static_argnames": "n"}, {"static_argnums": (1,)}])
def test_static_by_position_implies_by_name(options):
    f = knet.jit(functools.partial(power), **options)
    equal(f(V, 2), power(V, 2))
    equal(f(V, n=3), power(V, 3))
    assert f.trace_count == 2
    f(V, 2), f(V, n=3)
    assert f.trace_count == 2


def test_static_values_of_equal_hash_are_told_apart():
    f = knet.jit(lambda x, n: x * n, static_argnums=1)
    ones = knp.ones(2, dtype="int32")
    assert [f(ones, n).dtype.name for n in (1, 1.0, True)] == ["int32", "float32", "int32"]


def test_static_keyword_and_default():
    f = knet.jit(power, static_argnames=("n", "mode"))
    equal(f(V, 1), power(V, 1))
    equal(f(V, 1, mode="minus"), power(V, 1, mode="minus"))
    assert f.trace_count == 2


def test_static_arguments_must_be_hashable():
    with pytest.raises(
        DTypeError, match=r"static argument 1 is of type list, which has no hash.*\n  fix: pass a tuple"
    ):
        knet.jit(lambda x, axes: x.sum(axes), static_argnums=1)(X, [0, 1])


def test_an_unknown_static_name():
    with pytest.raises(ArgumentError, match="static_argnames='m': power has the arguments x, n, mode"):
        knet.jit(power, static_argnames="m")


def test_methods_partials_and_callables():
    class Model:
        def __init__(self, scale):
            self.scale = scale

        @functools.partial(knet.jit, static_argnums=0)
        def scaled(self, x):
            return x * self.scale

        def __call__(self, x):
            return x + self.scale

    two, three = Model(2.0), Model(3.0)
    equal((two.scaled(V), three.scaled(V), two.scaled(V)), (V * 2, V * 3, V * 2))
    assert Model.scaled.trace_count == 2
    equal(knet.jit(two)(V), V + 2)
    equal(knet.jit(functools.partial(power, n=2))(V), power(V, 2))
    assert knet.trace(functools.partial(power, n=1))(V).name == "power"
    assert knet.trace(two)(V).name == "Model"
    with pytest.raises(ArgumentError, match="it must be callable"):
        knet.jit(3)


def test_the_wrapper_looks_like_the_function():
    f = knet.jit(power, static_argnums=1)
    assert f.__name__ == "power" and f.__wrapped__ is power and repr(f) == "<jitted power>"


# --- signatures -------------------------------------------------------------------------------------------------------


def test_one_trace_for_each_signature():
    runs = []

    @knet.jit
    def f(x, n):
        runs.append(x.shape)
        return x * n

    for n in (1.0, 2.0, -3.0):
        equal(f(V, n), V * n)
    f(V, 1), f(V, 7), f(V, True), f(X, 1.0), f(V, V), f(V, V)
    assert f.trace_count == len(runs) == 5
    f.clear_cache()
    f(V, 1.0)
    assert f.trace_count == 6


def test_transformed_calls_use_the_same_trace():
    f = knet.jit(lambda x: (x * x).sum())
    f(V), knet.grad(f)(V), knet.jvp(f, (V,), (V,)), knet.grad(knet.grad(lambda x: f(x)))(V[0])
    assert f.trace_count == 2  # of a vector and of a scalar


def test_the_default_device_is_part_of_the_signature(pretended, monkeypatch):
    monkeypatch.setenv("KNET_FALLBACK", "silent")
    f = knet.jit(lambda n: n * 2.0)
    default = knp.asarray(1.0).device
    assert f(1.0).device is default
    with knet.use_backend(pretended):
        assert f(1.0).device.backend.name == pretended
    assert f(1.0).device is default


def test_many_traces_are_explained_once():
    f = knet.jit(lambda p, x: x * p["w"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in range(1, 8):
            f({"w": 1.0}, knp.ones(n))
    with pytest.warns(RuntimeWarning, match=r"traced 8 times .* argument 1: float32\[7\] -> float32\[8\]") as caught:
        f({"w": 1.0}, knp.ones(8))
    assert "pad batches" in str(caught[0].message) and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f({"w": 1.0}, knp.ones(9))


# --- values that are not there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "use"),
    [
        ("bool", lambda x: 1.0 if x > 0 else 2.0),
        ("float", lambda x: float(x)),
        ("int", lambda x: int(x)),
        ("int", lambda x: list(range(x.astype("int32")))),
        ("item", lambda x: x.item()),
        ("tolist", lambda x: x.tolist()),
        ("numpy.asarray", lambda x: np.asarray(x)),
        ("format", lambda x: f"{x:.2f}"),
    ],
)
def test_python_cannot_see_traced_values(wanted, use):
    with pytest.raises(TracerError) as info:
        knet.jit(use)(1.0)
    message = str(info.value)
    assert wanted in message and f"{__file__}:" in message and "jit(<lambda>)" in message
    assert "knet.cond" in message and "static_argnums" in message


def test_the_message_names_the_value():
    def f(p, x):
        return 1.0 if p["w"] else x

    with pytest.raises(TracerError, match=r"argument 0\['w'\], float32 \[\], has no value while jit\(f\)"):
        knet.jit(f)({"w": knp.asarray(1.0)}, V)
    with pytest.raises(TracerError, match=r"the result of greater, bool \[\]"):
        knet.jit(lambda x: 1 if x > 0 else 2)(1.0)


def test_a_printed_tracer():
    seen = []
    knet.jit(lambda x: seen.append(repr(x)) or x)(V)
    assert seen == ["Tracer<jit>(float32[3])"]


def test_a_leaked_tracer():
    kept = []
    knet.jit(lambda x: kept.append(x) or x * 2)(V)
    with pytest.raises(TracerError, match="jit: a traced value of <lambda>"):
        kept[0] + 1


def test_an_exception_while_tracing_leaves_nothing_behind():
    fail = [True]

    @knet.jit
    def f(x):
        y = x * 2
        if fail:
            raise ValueError("mine")
        return y

    with pytest.raises(ValueError, match="mine"):
        f(V)
    assert staging.get() is None and not f.traces
    with pytest.raises(ShapeError, match="matmul"):
        knet.jit(lambda x: x @ knp.ones((2, 2)))(V)
    fail.clear()
    equal(f(V), V * 2)


# --- debug_nans -------------------------------------------------------------------------------------------------------


def test_a_nan_inside_of_a_jitted_function_is_reported():
    f = knet.jit(lambda x: knp.exp(x * 0.0) + knp.log(x))
    with np.errstate(all="ignore"):
        f(-V)
        with knet.debug_nans(), pytest.raises(NonFinite, match=r"log\(x\): the result has the first NaN") as info:
            f(-V)
    assert any(entry.path.name == "test_jit.py" and "knp.log" in str(entry.statement) for entry in info.traceback)
    assert device.inspect_results is None
    equal(f(V), knp.log(V) + 1)


def test_a_nan_in_the_backward_pass_of_a_jitted_function():
    f = knet.jit(lambda x: knp.sqrt(x).sum())
    with np.errstate(all="ignore"), knet.debug_nans(), pytest.raises(NonFinite, match="divide"):
        knet.grad(f)(V * 0)
    _, pull = knet.vjp(f, V * 0)  # recorded before, and pulled back as a compiled graph
    with np.errstate(all="ignore"), knet.debug_nans(), pytest.raises(NonFinite, match="divide"):
        pull(knp.asarray(1.0))


def test_debug_nans_changes_no_result():
    def f(x, n):
        return {"y": x * n, "n": 2.5, "none": None}

    with knet.debug_nans():
        equal(knet.jit(f)(V, 2), f(V, 2))


# --- threads ----------------------------------------------------------------------------------------------------------


def test_threads_share_one_jitted_function():
    f = knet.jit(lambda x, n: knp.tanh(x * n).sum(0))
    start = threading.Barrier(8)

    def work(seed):
        start.wait()
        for i in range(20):
            x = knp.asarray(np.random.default_rng(seed).random((2, 1 + i % 4)), dtype="float32")
            equal(f(x, 2.0), knp.tanh(x * 2.0).sum(0))
            assert staging.get() is None
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert f.trace_count == 4


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_model_and_its_gradient():
    model = nn.Chain(nn.Conv(2, 3), nn.relu, nn.MaxPool(2), nn.flatten, nn.Dense(4))
    params = model.init(knet.random.key(0), (1, 8, 8))
    x = knet.random.normal(knet.random.key(1), (3, 1, 8, 8))
    y = knp.asarray([0, 3, 1])

    def loss(params):
        return nn.cross_entropy(model(params, x), y)

    want = knet.value_and_grad(loss)(params)
    for got in (knet.jit(knet.value_and_grad(loss))(params), knet.value_and_grad(knet.jit(loss))(params)):
        for g, w in zip(knet.tree.leaves(got), knet.tree.leaves(want), strict=True):
            np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=1e-5, atol=1e-6)
