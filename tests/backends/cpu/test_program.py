"""Compiled programs as they are called: any team, any arrays, donated memory, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from adversary import team_of

import knet
import knet.numpy as knp
from knet import nn, optim
from knet.backends.cpu.compiled import toolchain
from knet.core.array import DeviceArray

ROOT = Path(knet.__file__).parent.parent
pytestmark = pytest.mark.skipif(toolchain.available() is not None, reason=str(toolchain.available()))


def host(*shape):
    return (np.random.default_rng(len(shape)).normal(size=shape) / 4).astype("float32")


def draw(*shape):
    return knp.asarray(host(*shape)) + 0.0  # computed: no NumPy array shares the memory


def leaves(tree):
    return [np.asarray(x) for x in knet.tree.leaves(tree)]


def assert_close(got, want, rtol=1e-5):
    for g, w in zip(leaves(got), leaves(want), strict=True):
        assert (g.shape, g.dtype) == (w.shape, w.dtype)
        finite = np.abs(w[np.isfinite(w)]) if w.dtype.kind == "f" else np.abs(w).astype(float)
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * float(np.max(finite, initial=0)))


def compiled(f, *args):
    """The program, which is no fallback."""
    program = knet.jit(f).lower(*args)._traced.program
    assert type(program).__name__ == "Compiled"
    return program


# --- teams ------------------------------------------------------------------------------------------------------------

TEAM = {
    "rows": (lambda x: knp.exp(x) * 2, (host(5, 7),)),
    "columns added up": (lambda x: x.sum(0), (host(9, 3),)),
    "all added up": (lambda x: (x.sum(), x.max(), (x * x).min()), (host(3, 5, 2),)),
    "an axis in the middle": (lambda x: (x.sum(1), x.max((0, 2))), (host(3, 5, 2),)),
    "one unit": (lambda x: x - x.sum(1, keepdims=True), (host(1, 40),)),
    "one number": (lambda x: x * 2 + x.sum(), (host(1),)),
    "softmax": (lambda x: nn.softmax(x), (host(2, 33),)),
    "product": (lambda x, w: nn.relu(x @ w).sum(0), (host(3, 8), host(8, 5))),
    "whole numbers": (lambda x: (x.sum(0), x.max(), x // 2), (np.arange(-7, 8).reshape(5, 3),)),
}


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("name", TEAM)
def test_a_team_of_any_size_computes_the_same(name, threads, monkeypatch):
    team_of(threads, monkeypatch)
    f, args = TEAM[name]
    args = [knp.asarray(a) for a in args]
    program = compiled(f, *args)
    assert program.threads == threads
    want = f(*args)
    got = [knet.jit(f)(*args) for _ in range(2)]
    assert_close(got[0], want)
    for a, b in zip(*map(leaves, got), strict=True):
        np.testing.assert_array_equal(a, b)  # repeatable


def test_python_threads_may_call_one_program(monkeypatch):
    team_of(2, monkeypatch)
    f = knet.jit(lambda x: (nn.softmax(x @ x.T) @ x, knp.sort(x, axis=0) * 2))
    inputs = [draw(24, 16) + i for i in range(8)]
    want = [leaves(f(x)) for x in inputs]
    wrong = []

    def work(i):
        for _ in range(30):
            for g, w in zip(leaves(f(inputs[i])), want[i], strict=True):
                if not np.array_equal(g, w):
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_inputs_in_any_order_of_memory():
    f = knet.jit(lambda x: (knp.exp(x) - x.sum(0), x @ x.T))
    a = host(6, 8, 2)
    for view in (
        a[..., 0],
        a[::-1, :, 1],
        a[:3, ::2, 0],
        np.asfortranarray(a[..., 1]),
        np.broadcast_to(a[0, :, 0], (6, 8)),
    ):
        x = DeviceArray(view, knet.default_device())
        assert_close(f(x), (np.exp(view) - view.sum(0), view @ view.T))


@pytest.mark.parametrize("shift", [1, 2, 4])
def test_unaligned_inputs(shift):
    a = np.zeros(4 * 400 + 8, np.uint8)[shift : shift + 1600].view(np.float32)
    a[...] = host(400)
    x = DeviceArray(a, knet.default_device())
    f = knet.jit(lambda x: (knp.exp(x), x.sum(), x.reshape(20, 20) @ x.reshape(20, 20)))
    assert_close(f(x), (np.exp(a), a.sum(dtype=np.float64).astype("f"), a.reshape(20, 20) @ a.reshape(20, 20)))


def test_numbers_constants_and_arguments_among_the_results():
    table = draw(3, 4)

    def f(x, n):
        return x, n * 2, knp.exp(n), x.T, table, x[1], knp.arange(3), x + table, n + 1

    args = draw(3, 4), knp.asarray(0.5)
    got, want = knet.jit(f)(*args), f(*args)
    assert_close(got, want)
    assert got[1].shape == () and got[0]._buffer is not args[0]._buffer


def test_empty_arrays_run_by_numpy():
    def loop(xs):
        return knet.scan(lambda c, x: (c + x.sum() + knp.exp(x[:0]).sum(), x[:0] * c), knp.asarray(0.0), xs)

    for f, x in ((lambda x: (x * 2).sum(), knp.zeros((0, 3))), (lambda x: knp.exp(x[:0]), draw(3)), (loop, draw(4, 3))):
        assert_close(knet.jit(f)(x), f(x))


def test_half_and_complex_types_go_by_numpy():
    f = lambda x: (x.astype("float16") * 2, x.astype("bfloat16") + 1, x.astype("complex64") * 1j, knp.exp(x))  # noqa: E731
    x = draw(5, 4)
    found = knet.jit(f).lower(x).kernels
    assert any("NumPy" in k for k in found) and any("exp" in k and "NumPy" not in k for k in found)
    for g, w in zip(knet.jit(f)(x), f(x), strict=True):
        assert g.dtype == w.dtype
        np.testing.assert_allclose(np.asarray(g).astype("complex64"), np.asarray(w).astype("complex64"), rtol=2e-7)


def test_a_failed_call_leaves_no_error_for_the_next(monkeypatch):
    f = knet.jit(lambda x, i: knp.take(x, i, axis=0) * 2)
    x = draw(5, 3)
    with pytest.raises(knet.errors.IndexOutOfBounds, match="index 9 on axis 0 of size 5"):
        f(x, knp.asarray([0, 9]))
    assert_close(f(x, knp.asarray([0, -1])), x[knp.asarray([0, -1])] * 2)


# --- without a compiler -----------------------------------------------------------------------------------------------

WITHOUT = """
import warnings
import numpy as np
import knet, knet.numpy as knp
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    x = knp.asarray(np.arange(6.0, dtype="float32").reshape(2, 3))
    y = knet.jit(lambda x: knp.exp(x) @ x.T + x.sum())(x)
    z = knet.jit(lambda x: (x * 2).sum())(x)
print(float(y.sum()), float(z), sum("several times slower" in str(w.message) for w in said), len(said))
"""


def test_without_a_compiler_results_are_the_same_and_it_is_said_once():
    def numbers(setting):
        env = os.environ | {"KNET_CC": setting, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, env=env, timeout=60)
        assert done.returncode == 0, done.stderr
        return [float(word) for word in done.stdout.split()]

    *want, zero, _ = numbers("")
    *got, told, said = numbers("/nonexistent")
    assert (zero, told, said) == (0, 1, 1)
    np.testing.assert_allclose(got, want, rtol=1e-6)


# --- donated memory ---------------------------------------------------------------------------------------------------


def address(x):
    return x._buffer.ctypes.data


def test_updates_are_written_in_place():
    sgd = knet.jit(lambda p, g: knet.tree.map(lambda w, d: w - 0.1 * d, p, g), donate_argnums=0)
    params, grads = {"w": draw(40, 30), "b": draw(30)}, {"w": draw(40, 30), "b": draw(30)}
    want = {k: np.asarray(params[k] - 0.1 * grads[k]) for k in params}
    before = {k: address(v) for k, v in params.items()}
    new = sgd(params, grads)
    assert {k: address(v) for k, v in new.items()} == before
    assert_close(new, want)
    transform = optim.adam(1e-2)

    def update(params, state, grads):
        updates, state = transform.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    params = {"w": draw(40, 30)}
    state = knet.jit(lambda s: knet.tree.map(lambda x: x + 0, s))(transform.init(params))
    want = update(params, state, {"w": grads["w"]})
    jitted = knet.jit(update, donate_argnums=(0, 1))
    large = sorted(address(x) for x in knet.tree.leaves((params, state)) if x.size > 1)
    got = jitted(params, state, {"w": grads["w"]})
    assert sorted(address(x) for x in knet.tree.leaves(got) if x.size > 1) == large
    assert_close(got, want)


def double(x):
    return x * 2 + 1


@pytest.mark.parametrize("who", ["a NumPy array", "a view", "another handle", "an exporter", "nobody"])
def test_memory_that_someone_else_holds_is_left_alone(who):
    x = draw(50, 40)
    before = np.array(np.asarray(x))
    held = {
        "a NumPy array": lambda: np.asarray(x),
        "a view": lambda: np.asarray(x)[3:],
        "another handle": lambda: DeviceArray(x._buffer, x._device),
        "an exporter": lambda: memoryview(np.asarray(x)),
        "nobody": lambda: None,
    }[who]()
    place = address(x)
    y = knet.jit(double, donate_argnums=0)(x)
    np.testing.assert_allclose(np.asarray(y), before * 2 + 1, rtol=1e-6)
    assert (address(y) == place) == (who == "nobody")
    if held is not None:
        np.testing.assert_array_equal(np.asarray(held), before[3:] if who == "a view" else before)


READERS = {
    "the input backwards": lambda x: x - knp.flip(x),
    "the input transposed": lambda x: x - x.T,
    "the input's first row": lambda x: x - x[:1],
    "another result": lambda x: (x * 2, x + 1, x - 3),
    "a later kernel": lambda x: (x * 2, knp.tanh(x @ x)),
    "an operation by NumPy": lambda x: (x * 2, knp.cumulative_sum(x, axis=0)),
    "a loop": lambda x: (x * 2, knet.fori_loop(0, 4, lambda i, c: knp.tanh(c @ x), knp.ones((40, 40)))),
    "the result itself": lambda x: (x * 2, x),
    "a reduction": lambda x: (x / (x * x).sum(0), x.max()),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", READERS)
def test_nothing_is_overwritten_that_is_still_read(name, threads, monkeypatch):
    team_of(threads, monkeypatch)
    f = READERS[name]
    want = leaves(f(draw(40, 40)))
    got = knet.jit(f, donate_argnums=0)(draw(40, 40))
    assert_close(got, want, rtol=2e-5)


# --- many steps -------------------------------------------------------------------------------------------------------


def training():
    transform = optim.adam(1e-3)
    params = {"w1": draw(64, 32), "b1": draw(32), "w2": draw(32, 10), "b2": draw(10)}

    def step(params, state, x, y):
        def loss(p):
            return nn.cross_entropy(nn.relu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"], y)

        value, grads = knet.value_and_grad(loss)(params)
        updates, state = transform.update(grads, state, params)
        return optim.apply_updates(params, updates), state, value

    return step, params, transform.init(params), draw(40, 64), knp.asarray(np.arange(40) % 10)


@pytest.mark.parametrize("donated", [(), (0, 1)])
def test_two_hundred_steps_take_no_more_memory(donated):
    step, params, state, x, y = training()
    jitted = knet.jit(step, donate_argnums=donated)
    first = None
    tracemalloc.start()
    try:
        for i in range(220):
            params, state, value = jitted(params, state, x, y)
            first = float(value) if first is None else first
            if i == 19:
                settled = tracemalloc.get_traced_memory()[0]
                tracemalloc.reset_peak()
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = sum(a.nbytes for a in leaves((params, state)))
    assert now - settled < 20_000 and peak - settled < 2 * size + 50_000
    assert jitted.trace_count == 1 and float(value) < first


def test_a_step_s_kernels_are_counted():
    step, *args = training()
    lowered = knet.jit(step).lower(*args)
    assert len(lowered.kernels) == 15, lowered.kernels
    assert not any("NumPy" in k or "copy" in k for k in lowered.kernels)


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_a_lowered_function_shows_graph_kernels_and_source():
    lowered = knet.jit(lambda x, w: nn.softmax(x @ w)).lower(draw(8, 4), draw(4, 5))
    text = str(lowered)
    assert "matmul" in text and "2 kernels, workspace" in text and "[8, 5]: reduce_max" in text
    assert len(lowered.stages) > 3 and str(lowered.graph) == str(lowered.stages[-1][1])
    assert "static void k" in lowered.source and lowered.peak_bytes % 64 == 0
    assert len(lowered.kernels) == 2


def test_a_profile_names_each_group_and_its_time():
    f, args = lambda x: (knp.sort(knp.exp(x), axis=0) @ x.T, x.sum(0)), (draw(64, 64),)
    program = compiled(f, *args)
    rows = program.profile(args, repeats=3)
    assert all(0 <= row.seconds < 1 for row in rows)
    texts = " ".join(row.text for row in rows)
    assert all(word in texts for word in ("exp", "matmul", "reduce_sum"))
    assert_close(knet.jit(f)(*args), f(*args))
