"""The runtime over a pretended device: memory and its limit, transfers that come late, kernels loaded once."""

from __future__ import annotations

import ctypes
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cupy", reason='the CUDA backend needs CuPy: pip install "knet[cuda13]"')
sys.path.insert(0, str(Path(__file__).parent))

import device

from knet.backends.cuda import devices, staging
from knet.backends.cuda.runtime import CudaRuntime
from knet.compiler.kernels.kernel import Kernel
from knet.core.errors import ArgumentError, DeviceError, OutOfMemory


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.delenv("KNET_MEMORY_LIMIT", raising=False)
    return device.pretend(monkeypatch)


def contents(memory, nbytes):
    return ctypes.string_at(memory.ptr, nbytes)


# --- transfers -------------------------------------------------------------------------------------------------------


def test_an_array_may_change_when_upload_returns(cuda):
    runtime = CudaRuntime(0)
    x = np.arange(1000, dtype=np.float32)
    memory = runtime.upload(x)
    want = x.tobytes()
    x[:] = -1
    assert contents(memory, x.nbytes) != want, "the device is late"
    runtime.synchronize()
    assert contents(memory, x.nbytes) == want
    assert (runtime.copied, runtime.allocated) == (1, 1)


@pytest.mark.parametrize("sizes", [[1], [0, 3], [100] * 50, [1000, 1, 4096, 7] * 20, [5000], [3000, 9000, 1] * 3])
def test_uploads_of_every_size_arrive_whole(cuda, monkeypatch, sizes):
    """Blocks of 1 KB, so that sizes are less than a block, exactly one, and several; nothing waits but for them."""
    monkeypatch.setattr(staging, "BLOCK", 1024)
    runtime, rng = CudaRuntime(0), np.random.default_rng(0)
    arrays = [rng.integers(0, 256, n, np.uint8) for n in sizes]
    memories = [runtime.upload(x) for x in arrays]
    wants = [x.tobytes() for x in arrays]
    for x in arrays:
        x[:] = 0
    runtime.synchronize()
    assert [contents(m, len(w)) for m, w in zip(memories, wants, strict=True)] == wants
    assert cuda.pinned <= staging.BLOCKS


def test_small_uploads_share_a_block_and_wait_for_nothing(cuda):
    runtime = CudaRuntime(0)
    for value in range(1000):
        runtime.upload(np.full(8, value))
    assert cuda.pinned == 1 and cuda.done == 0


def test_strided_arrays_and_numbers_are_uploaded_in_row_major_order(cuda):
    runtime = CudaRuntime(0)
    x = np.arange(12, dtype=np.int16).reshape(3, 4).T
    memories = runtime.upload(x), runtime.upload(np.array(7.5))
    runtime.synchronize()
    assert contents(memories[0], 24) == np.ascontiguousarray(x).tobytes()
    assert contents(memories[1], 8) == np.float64(7.5).tobytes()


def test_download_waits_for_what_was_queued(cuda):
    runtime = CudaRuntime(0)
    x = np.arange(100, dtype=np.int32)
    memory, target = runtime.upload(x), runtime.allocate(400)
    runtime.copy(target, memory, 400)
    np.testing.assert_array_equal(runtime.download(target, 40, 80).view(np.int32), x[10:30])
    assert runtime.download(target, 0, 0).size == 0
    assert runtime.copied == 3


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, nbytes", [("2000", 2000), ("1KiB", 1024), ("0.5GB", 5 * 10**8), ("25%", 1 << 28)])
def test_the_limit_of_the_environment(cuda, monkeypatch, text, nbytes):
    monkeypatch.setenv("KNET_MEMORY_LIMIT", text)
    assert CudaRuntime(0).memory_limit() == nbytes


def test_limits_are_set_and_lifted(cuda):
    runtime = CudaRuntime(0)
    assert runtime.memory_limit() is None
    runtime.set_memory_limit("1MiB")
    kept = runtime.allocate(1 << 19)
    assert (runtime.memory_used(), runtime.memory_held()) == (1 << 19, (1 << 19) + 512)
    with pytest.raises(
        OutOfMemory, match=r"cuda:0: no room for 1048576 bytes: the limit is 1048576 bytes; 524288 are in"
    ):
        runtime.allocate(1 << 20)
    runtime.set_memory_limit(None)
    assert runtime.memory_limit() is None
    assert runtime.allocate(1 << 20).nbytes == 1 << 20 and kept is not None
    with pytest.raises(ArgumentError, match="2GiB"):
        runtime.set_memory_limit("much")


def test_memory_is_given_back_when_nothing_refers_to_it(cuda):
    runtime = CudaRuntime(0)
    memory = runtime.allocate(1000)
    del memory
    assert runtime.memory_used() == 0
    assert runtime.allocate(0).nbytes == 1


def test_one_more_try_when_memory_is_short(cuda):
    runtime = CudaRuntime(0)
    runtime._pool.refuses = 1
    assert runtime.allocate(100).nbytes == 100
    runtime._pool.refuses = 2
    with pytest.raises(OutOfMemory, match="the driver has no more"):
        runtime.allocate(100)


# --- kernels ---------------------------------------------------------------------------------------------------------


def kernel(name, source="text"):
    return Kernel(name, f"{source} of {name}\n", ("int",), (64, 1, 1), (4,))


def test_kernels_not_yet_known_are_one_program(cuda):
    runtime = CudaRuntime(0)
    a, b = runtime.functions([kernel("a"), kernel("b")])
    again, c, twice = runtime.functions([kernel("a"), kernel("c"), kernel("c")])
    assert again is a and c is twice and (a.name, b.name, c.name) == ("a", "b", "c")
    assert [name for _, name in cuda.loaded] == ["a", "b", "c"]
    programs = [code.decode() for code, _ in cuda.loaded]
    assert programs[0] == programs[1] and programs[0].startswith("90:") and "text of b" in programs[0]
    assert "text of a" not in programs[2] and "#define KERNEL" in programs[2]


def test_products_are_not_compiled(cuda):
    runtime = CudaRuntime(0)
    (f,) = runtime.functions([Kernel("cublas_gemm_float16", "", ("long",) * 13, (1, 1, 1), (2, 2, 2))])
    assert (f.dtype, f.itemsize) == ("float16", 2) and not cuda.loaded


# --- devices and threads ---------------------------------------------------------------------------------------------


def test_the_users_device_stays_current(cuda):
    runtime = CudaRuntime(1)
    assert cuda.current == 0 and runtime.here() == 0
    runtime.upload(np.ones(3))
    runtime.allocate(3)
    assert cuda.current == 0
    with runtime.current() as stream:
        assert cuda.current == 1 and runtime.here() == stream == runtime.queue
    with pytest.raises(KeyError), runtime.current():
        raise KeyError
    assert cuda.current == 0


def test_a_new_thread_makes_the_device_current_first(cuda):
    """Number 0 is every new thread's device, without a context behind it."""
    runtime = CudaRuntime(0)
    assert runtime.here() == runtime.queue
    seen = []
    thread = threading.Thread(
        target=lambda: seen.append((runtime.here(), runtime.current().__enter__(), runtime.here()))
    )
    thread.start()
    thread.join()
    assert seen == [(0, runtime.queue, runtime.queue)]


def test_captured_launches_go_elsewhere_in_this_thread_alone(cuda, monkeypatch):
    runtime = CudaRuntime(0)
    stream = type("Stream", (), {"ptr": 999, "begin_capture": lambda s: None, "end_capture": lambda s: "graph"})()
    runtime._capture_stream = stream
    others = []
    with runtime.capturing() as graphs:
        assert runtime.here() == 999
        thread = threading.Thread(target=lambda: others.append(runtime.current().__enter__()))
        thread.start()
        thread.join()
    assert graphs == ["graph"] and others == [runtime.queue] and runtime.here() == runtime.queue
    with pytest.raises(KeyError), runtime.capturing():
        raise KeyError
    assert runtime.here() == runtime.queue
    with runtime.capturing() as graphs:
        pass
    assert graphs == ["graph"], "an error does not stay"


# --- why there is no device ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "driver, count, text",
    [
        (0, None, r"no NVIDIA driver is installed.\n  fix: install the driver of the GPU, r580 or newer for CUDA 13"),
        (
            12040,
            None,
            r"made for CUDA 12.4, and this CuPy for CUDA 13.\n  fix: install driver r580 .* \"knet\[cuda12\]\"",
        ),
        (11080, None, r"made for CUDA 11.8, and this CuPy for CUDA 13.\n  fix: install driver r580 or newer\.$"),
        (13000, None, r"finds no device \(cudaErrorNoDevice.*\n  fix: .*CUDA_VISIBLE_DEVICES"),
        (13000, 0, r"finds no device.\n  fix: see what CUDA_VISIBLE_DEVICES says"),
    ],
)
def test_why_there_is_no_device(monkeypatch, driver, count, text):
    def get_count():
        if count is None:
            raise devices.api.CUDARuntimeError(100)
        return count

    monkeypatch.setattr(devices.api, "driverGetVersion", lambda: driver)
    monkeypatch.setattr(devices.api, "runtimeGetVersion", lambda: 13020)
    monkeypatch.setattr(devices.api, "getDeviceCount", get_count)
    with pytest.raises(DeviceError, match=text):
        devices.count_devices()


def test_devices_are_counted(monkeypatch):
    monkeypatch.setattr(devices.api, "driverGetVersion", lambda: 13000)
    monkeypatch.setattr(devices.api, "runtimeGetVersion", lambda: 13020)
    monkeypatch.setattr(devices.api, "getDeviceCount", lambda: 3)
    assert devices.count_devices() == 3
