"""What only a GPU can show: graphs replayed, cuBLAS's results, memory, other libraries. Skipped where there is none."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet import nn, optim

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def runtime():
    """The first device's runtime, its device the default."""
    try:
        device = knet.core.get_device("cuda:0")
    except knet.errors.DeviceError as e:
        report = pytest.fail if "cuda" in os.environ.get("KNET_REQUIRE", "").split(",") else pytest.skip
        report(f"needs an NVIDIA GPU: {e}".splitlines()[0])
    with knet.use_backend("cuda:0"):
        yield device.backend.runtime(device)


def strided(rng, shape, order):
    """A random array whose axes lie in another order, and the same on the device."""
    back = np.argsort(order)
    host = rng.standard_normal([shape[i] for i in order]).astype(np.float32)
    return host.transpose(back), knp.permute_dims(knp.asarray(host), tuple(map(int, back)))


@pytest.mark.parametrize("order_x", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("order_w", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0)])
def test_products_of_strided_arrays(order_x, order_w):
    rng = np.random.default_rng(0)
    x, device_x = strided(rng, (4, 33, 17), order_x)
    w, device_w = strided(rng, (4, 17, 65), order_w)
    want = x.astype(np.float64) @ w
    for f in (knp.matmul, knet.jit(knp.matmul)):
        np.testing.assert_allclose(np.asarray(f(device_x, device_w)), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype, eps", [("float64", 1e-14), ("float32", 1e-5), ("float16", 4e-3), ("bfloat16", 3e-2)])
def test_products_of_each_dtype(dtype, eps):
    rng = np.random.default_rng(0)
    x, w = (
        knp.asarray(rng.standard_normal((64, 512))).astype(dtype),
        knp.asarray(rng.standard_normal((512, 96))).astype(dtype),
    )
    want = np.asarray(x).astype(np.float64) @ np.asarray(w).astype(np.float64)
    got = np.asarray(x @ w).astype(np.float64)
    assert np.abs(got - want).max() < eps * np.abs(want).max()


def test_tf32_is_asked_for():
    rng = np.random.default_rng(0)
    x = knp.asarray(rng.standard_normal((512, 512), np.float32))
    want = np.asarray(x).astype(np.float64) @ np.asarray(x)
    multiply = knet.jit(knp.matmul)

    def error(f):
        return float(np.abs(np.asarray(f(x, x)) - want).max())

    exact = [error(knp.matmul), *(error(multiply) for _ in range(3))]
    with knet.precision("tf32"):
        coarse = [error(knp.matmul), *(error(multiply) for _ in range(3))]
    assert max(exact) < 1e-3 < 5e-3 < min(coarse) or knet_has_no_tf32()
    assert max(error(multiply) for _ in range(2)) == exact[-1], "what was captured before is still there"


def knet_has_no_tf32():
    return int(knet.core.get_device("cuda:0").backend.runtimes()[0].architecture) < 80


def network(dtype=None):
    model = nn.Chain(nn.Dense(64), nn.relu, nn.Dense(10))
    params = model.init(knet.random.key(0), (20,))
    optimizer = optim.adam(1e-2)

    def step(params, state, x, y):
        value, grads = knet.value_and_grad(lambda p: nn.cross_entropy(model(p, x), y))(params)
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state, value

    return step, params, optimizer.init(params)


@pytest.mark.parametrize("donated", [(), (0, 1)])
def test_a_training_loop_is_replayed_and_computes_what_it_did(runtime, donated):
    rng = np.random.default_rng(0)
    batches = [(rng.standard_normal((32, 20), np.float32), rng.integers(0, 10, 32)) for _ in range(40)]

    def losses(transform):
        step, params, state = network()
        step = transform(step)
        kept = []
        for x, y in batches:
            params, state, value = step(params, state, knp.asarray(x), knp.asarray(y))
            kept.append(value)
        return [float(v) for v in kept]

    want = losses(lambda f: f)
    before = runtime.replayed
    got = losses(lambda f: knet.jit(f, donate_argnums=donated))
    np.testing.assert_allclose(got, want, rtol=2e-4)
    assert runtime.replayed - before > 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KNET_CUDA_GRAPHS", "0")
        before = runtime.replayed
        assert losses(lambda f: knet.jit(f, donate_argnums=donated)) == got, "the same launches, the same bits"
        assert runtime.replayed == before


def test_the_same_program_gives_the_same_bits():
    rng = np.random.default_rng(0)
    x = knp.asarray(rng.standard_normal((256, 300), np.float32))
    f = knet.jit(lambda x: knet.grad(lambda x: knp.sum(knp.tanh(x @ x.T) ** 2))(x))
    first = np.asarray(f(x))
    for _ in range(5):
        np.testing.assert_array_equal(np.asarray(f(x)), first)


def test_uploads_may_change_at_once():
    host = np.arange(3_000_000, dtype=np.float32)
    arrays = []
    for i in range(20):
        host[:] = i
        arrays.append(knp.asarray(host))
    assert [float(x[0]) for x in arrays] == [float(x[-1]) for x in arrays] == list(range(20))


def test_numbers_below_the_normal_ones_are_not_flushed():
    x = knp.asarray(np.array([1e-40, 2e-45], np.float32))
    np.testing.assert_array_equal(np.asarray(x * 1.0), np.asarray(x))
    assert float((x + x)[0]) == float(np.float32(1e-40) * 2)


def test_memory(runtime):
    used = knet.memory.used("cuda")
    x = knp.zeros((1024, 1024))
    assert knet.memory.used("cuda") - used == 4 << 20
    del x
    assert knet.memory.used("cuda") == used
    held = knet.memory.held("cuda")
    knet.memory.free("cuda")
    assert knet.memory.held("cuda") <= held
    limit = knet.memory.limit("cuda")
    knet.memory.set_limit(knet.memory.held("cuda") + (64 << 20), "cuda")
    try:
        with pytest.raises(knet.errors.OutOfMemory, match="cuda:0: no room for"):
            knp.zeros((1 << 28,))
    finally:
        knet.memory.set_limit(limit, "cuda")


def test_cupy_and_back():
    import cupy

    x = knp.arange(12, dtype="float32").reshape(3, 4)
    for view in (x, x.T, x[1:], x[:, 1]):
        for theirs in (cupy.from_dlpack(view), cupy.asarray(view)):
            np.testing.assert_array_equal(cupy.asnumpy(theirs), np.asarray(view))
        back = knp.from_dlpack(cupy.from_dlpack(view))
        assert str(back.device) == "cuda:0"
        np.testing.assert_array_equal(np.asarray(back), np.asarray(view))
    theirs = cupy.arange(5, dtype="float32")
    shared, copied = knp.from_dlpack(theirs), knp.from_dlpack(theirs, copy=True)
    theirs += 1
    cupy.cuda.Device().synchronize()
    assert shared.tolist() == [1, 2, 3, 4, 5] and copied.tolist() == [0, 1, 2, 3, 4]
    assert knp.from_dlpack(theirs, device="cpu").device == knet.core.get_device("cpu")


def test_pytorch_and_back():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    x = knp.ones((1000, 1000)) @ knp.ones((1000, 1000))  # still being computed
    assert float(torch.from_dlpack(x).sum()) == 1e9
    halves = torch.full((3,), 1.5, device="cuda", dtype=torch.bfloat16)
    assert knp.from_dlpack(halves).dtype == knp.bfloat16 and knp.from_dlpack(halves).tolist() == [1.5] * 3
    assert torch.from_dlpack(knp.asarray([1.5], dtype="bfloat16")).dtype == torch.bfloat16


def test_jax_and_back():
    jax = pytest.importorskip("jax")
    try:
        jax.devices("cuda")
    except RuntimeError as e:
        pytest.skip(f"this JAX has no CUDA: {e}")
    x = knp.arange(6, dtype="float32")
    y = jax.numpy.from_dlpack(x) * 2
    assert knp.from_dlpack(y).tolist() == [0, 2, 4, 6, 8, 10]


def test_threads():
    f = knet.jit(lambda x: knp.sum(knp.tanh(x @ x)))
    xs = [knp.asarray(np.full((64, 64), i / 1000, np.float32)) for i in range(8)]
    want = [float(f(x)) for x in xs]
    got = [None] * len(xs)

    def work(i):
        got[i] = {float(f(xs[i])) for _ in range(50)}

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [{w} for w in want]


def test_an_index_out_of_bounds_is_raised_when_the_host_looks():
    f = knet.jit(lambda x, i: x[i])
    x = knp.arange(4)
    with pytest.raises(IndexError, match="9"):
        f(x, knp.asarray([1, 9])).tolist()
    assert f(x, knp.asarray([1, 2])).tolist() == [1, 2]


def test_a_program_with_calls_of_cupy_between_its_graphs(runtime):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 64)) + 8 * np.eye(64)

    def f(x):
        a = knp.linalg.inv(knp.tanh(x) @ x + 8 * knp.eye(64, dtype=x.dtype))
        w, v = knp.linalg.eigh(a + a.T)
        return (v * w) @ v.T - a, knp.fft.ifft(knp.fft.fft(a)).real

    want = [np.asarray(y) for y in f(knp.asarray(x, device="cpu"))]
    compiled, before = knet.jit(f), runtime.replayed
    for _ in range(8):
        for got, y in zip(compiled(knp.asarray(x)), want):
            np.testing.assert_allclose(np.asarray(got), y, rtol=1e-9, atol=1e-12)
    assert runtime.replayed > before


@pytest.mark.parametrize("dtype, eps", [("float32", 1e-5), ("float16", 4e-3), ("bfloat16", 3e-2)])
@pytest.mark.parametrize("groups, stride, dilation", [(1, 1, 1), (2, 2, 1), (1, 1, 2)])
@pytest.mark.parametrize("last", [False, True])
def test_convolutions_by_cudnn(monkeypatch, dtype, eps, groups, stride, dilation, last):
    from knet.backends.cuda import cudnn

    if cudnn.library() is None:
        pytest.skip('cuDNN is absent: pip install "knet[cudnn]"')
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 8, 19, 17)), rng.standard_normal((16, 8 // groups, 3, 3))

    def f(x, w):
        options = {"stride": stride, "padding": 1, "dilation": dilation, "groups": groups}
        return knet.value_and_grad(
            lambda x, w: knp.sum(nn.conv(x, w, **options).astype("float32") ** 2), argnums=(0, 1)
        )(x, w)

    def result():
        a = knp.asarray(x.transpose(0, 2, 3, 1).copy()).astype(dtype) if last else knp.asarray(x).astype(dtype)
        a = knp.permute_dims(a, (0, 3, 1, 2)) if last else a
        value, (gx, gw) = knet.jit(f)(a, knp.asarray(w).astype(dtype))
        return [np.asarray(y).astype(np.float64) for y in (value, gx, gw)]

    got, again = result(), result()
    monkeypatch.setenv("KNET_CUDNN", "0")
    for y, same, want in zip(got, again, result()):
        np.testing.assert_array_equal(y, same)
        assert np.abs(y - want).max() < eps * np.abs(want).max()
