"""Memory of an OpenCL device: what is counted, what the limit does, and what is said when there is none left."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from opencl_here import opencl_runtime
from opencl_kernels import axpy

from knet.backends.opencl.devices import find_devices
from knet.backends.opencl.runtime import OpenCLRuntime
from knet.core.errors import OutOfMemory

MIB = 1 << 20


@pytest.fixture
def runtime(monkeypatch):
    """A runtime of its own, whose pool nobody else uses."""
    opencl_runtime()
    monkeypatch.delenv("KNET_MEMORY_LIMIT", raising=False)
    return OpenCLRuntime(find_devices()[0])


def test_used_and_held(runtime):
    assert (runtime.memory_used(), runtime.memory_held()) == (0, 0)
    x = runtime.allocate(MIB)
    assert runtime.memory_used() == MIB <= runtime.memory_held()
    held = runtime.memory_held()
    y = runtime.upload(np.ones(1000, np.uint8))
    assert runtime.memory_used() == MIB + 1000 and runtime.memory_held() == held + 1000
    del x
    gc.collect()
    assert runtime.memory_used() == 1000 and runtime.memory_held() == held + 1000
    x = runtime.allocate(MIB)  # the same block
    assert runtime.memory_held() == held + 1000
    del x, y
    runtime.free_memory()
    assert (runtime.memory_used(), runtime.memory_held()) == (0, 0)


def test_memory_of_no_bytes(runtime):
    assert runtime.allocate(0) is not None
    assert runtime.download(runtime.upload(np.zeros((0, 4))), 0, 0).size == 0


def test_ten_thousand_rounds_need_no_more_than_one(runtime):
    [function] = runtime.functions([axpy()])
    x = runtime.upload(np.ones(256, np.float32))

    def round_of(n):
        for _ in range(n):
            y, z = runtime.allocate(1024), runtime.allocate(4096)
            runtime.launch(function, (1, 1, 1), [(x, 0), (y, 0)], [16, 1.0])
            runtime.launch(function, (1, 1, 1), [(y, 0), (z, 0)], [16, 1.0])
            runtime.upload(np.float32(1))
        runtime.synchronize()

    round_of(2)
    held, used = runtime.memory_held(), runtime.memory_used()
    round_of(10_000)
    assert (runtime.memory_held(), runtime.memory_used()) == (held, used)


def test_more_than_the_device_gives_in_one_piece(runtime):
    largest = runtime._memory.largest
    with pytest.raises(
        OutOfMemory, match=f"no room for {largest + 1} bytes: the device allocates {largest} bytes at most"
    ):
        runtime.allocate(largest + 1)


def test_the_largest_piece(runtime):
    largest = runtime._memory.largest
    if not runtime._transfers._shared or largest > runtime._memory.total // 2:
        pytest.skip("another program may have that much of this device")
    x = runtime.allocate(largest)  # the pool alone would round it up to more than there is
    assert runtime.memory_used() == largest
    del x
    assert runtime.memory_used() == 0


def test_more_than_there_is(runtime):
    piece = runtime._memory.largest // 2
    kept = []
    with pytest.raises(OutOfMemory, match=f"no room for {piece} bytes: ") as info:
        for _ in range(2 + 2 * runtime._memory.total // piece):
            kept.append(runtime.allocate(piece))
    assert f"{len(kept) * piece} are in use" in str(info.value) and "fix: use smaller batches" in str(info.value)
    kept.clear()
    del info
    runtime.allocate(piece)  # there is room again


def test_the_limit(runtime):
    runtime.set_memory_limit("8MiB")
    assert runtime.memory_limit() == 8 * MIB
    kept = [runtime.allocate(3 * MIB), runtime.allocate(3 * MIB)]
    with pytest.raises(
        OutOfMemory, match=f"no room for {3 * MIB} bytes: the limit is {8 * MIB} bytes; {6 * MIB} are in use"
    ):
        runtime.allocate(3 * MIB)
    assert runtime.memory_held() <= 8 * MIB
    kept.pop()
    other = runtime.allocate(4 * MIB)  # the block of 3 MiB is given back for it
    assert runtime.memory_held() <= 8 * MIB
    small = [runtime.upload(np.ones(1000, np.uint8)) for _ in range(500)]
    assert runtime.memory_used() == 7 * MIB + 500_000
    with pytest.raises(OutOfMemory, match="the limit is"):
        small += [runtime.upload(np.ones(1000, np.uint8)) for _ in range(1000)]
    assert runtime.memory_held() <= 8 * MIB
    runtime.set_memory_limit(None)
    assert runtime.memory_limit() is None
    assert runtime.allocate(16 * MIB) is not None and other is not None


def test_a_limit_below_what_is_kept_gives_it_back(runtime):
    del [runtime.allocate(4 * MIB)][:]
    assert runtime.memory_held() >= 4 * MIB
    runtime.set_memory_limit(MIB)
    assert runtime.memory_held() == 0


def test_cycles_of_garbage_are_collected_before_giving_up(runtime):
    runtime.set_memory_limit(8 * MIB)
    gc.collect()
    gc.disable()
    try:
        cycle = [runtime.allocate(6 * MIB)]
        cycle.append(cycle)
        del cycle
        assert runtime.allocate(6 * MIB) is not None
    finally:
        gc.enable()


def test_the_limit_of_the_environment(runtime, monkeypatch):
    monkeypatch.setenv("KNET_MEMORY_LIMIT", "25%")
    total = runtime._memory.total
    assert OpenCLRuntime(find_devices()[0]).memory_limit() == total // 4
    monkeypatch.setenv("KNET_MEMORY_LIMIT", "2 MiB")
    small = OpenCLRuntime(find_devices()[0])
    with pytest.raises(OutOfMemory, match="raise KNET_MEMORY_LIMIT"):
        small.allocate(3 * MIB)
