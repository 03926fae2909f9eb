"""knet.memory: what a device with a pool tells, and that the CPU says it has none."""

from __future__ import annotations

import gc

import pytest

import knet
import knet.numpy as knp
from knet import memory
from knet.compiler.device.memory import parse_limit
from knet.core.errors import ArgumentError, DeviceError, OutOfMemory

MIB = 1 << 20


@pytest.fixture
def pool(backend):
    """Name of each backend with a pool in turn, whose limit is taken back after the test."""
    if backend == "cpu":
        pytest.skip("its arrays are NumPy's")
    gc.collect()
    before = memory.limit()
    yield backend
    memory.set_limit(before)


def test_arrays_are_counted(pool):
    used = memory.used()
    x = knp.zeros((1024, 1024)) + 1  # 4 MiB, and the pool rounds up
    x.item if x.ndim == 0 else x[0, 0].item()
    assert used + 4 * MIB <= memory.used(pool) <= memory.held(x.device)
    del x
    gc.collect()
    assert memory.used() <= used + MIB
    assert memory.held() >= 4 * MIB
    memory.free()
    assert memory.held() <= memory.used() + 4 * MIB


def test_a_limit_holds_and_is_taken_back(pool):
    assert memory.limit() is None
    memory.free()
    memory.set_limit(memory.held() + 12 * MIB)
    with pytest.raises(OutOfMemory, match="no room for 16777216 bytes: the limit is"):
        knp.zeros((4, MIB)) + 1
    x = knp.ones((MIB,)) + 1
    assert memory.held() <= memory.limit()
    memory.set_limit(None)
    y = knp.zeros((4, MIB)) + 1
    assert float(x[5]) == 2 and float(y[3, 5]) == 1


def test_devices_by_name_and_by_array(pool):
    x = knp.ones(3)
    memory.set_limit("90%", x.device)
    assert memory.limit(pool) == memory.limit(f"{pool}:0") == memory.limit() > 0
    with pytest.raises(ArgumentError, match="limit='a lot'"):
        memory.set_limit("a lot")


@pytest.mark.parametrize("function", [memory.used, memory.held, memory.limit, memory.free])
def test_the_cpu_has_no_pool(function):
    with pytest.raises(DeviceError, match=rf"memory.{function.__name__}: cpu:0 has no pool"):
        function("cpu")
    with knet.use_backend("cpu"), pytest.raises(DeviceError):
        function()


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("1", 1), (12345, 12345), ("2GiB", 2 * 1024**3), ("500 MB", 500 * 10**6), ("1.5k", 1500), ("3 kib", 3072),
        ("1TB", 10**12), ("80%", 800), (" 12.5% ", 125), ("7b", 7),
    ],
)  # fmt: skip
def test_limits(text, nbytes):
    assert parse_limit("here", text, 1000) == nbytes


@pytest.mark.parametrize(
    "value", ["", "GiB", "-1", -1, 0, "0", "0%", "1 2", "ten", 2.5, True, "1e9", "5 XB", None, "0.2"]
)
def test_what_is_no_limit(value):
    with pytest.raises(ArgumentError, match=r"here=.*a limit is a positive number of bytes"):
        parse_limit("here", value, 1000)
