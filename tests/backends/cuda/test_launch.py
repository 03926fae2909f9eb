"""Arguments of launches: what the driver is given is read back as a kernel would read it."""

from __future__ import annotations

import ctypes
import math
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("cupy", reason='the CUDA backend needs CuPy: pip install "knet[cuda13]"')
sys.path.insert(0, str(Path(__file__).parent))

import fakes
from fakes import Memory

from knet.backends.cuda import launch
from knet.compiler.kernels.kernel import Kernel

KINDS = {
    "int": ctypes.c_int32, "long": ctypes.c_int64, "float": ctypes.c_float, "double": ctypes.c_double,
    "int8_t": ctypes.c_int8, "int16_t": ctypes.c_int16, "int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64,
    "uint8_t": ctypes.c_uint8, "uint16_t": ctypes.c_uint16, "uint32_t": ctypes.c_uint32, "uint64_t": ctypes.c_uint64,
}  # fmt: skip


@pytest.fixture
def runtime(monkeypatch):
    """A runtime whose driver notes (kernel, groups, items, shared memory, stream, parameters) of each launch."""
    runtime = fakes.Runtime()

    def launch_kernel(handle, gx, gy, gz, bx, by, bz, shared, stream, table, extra):
        kinds = [ctypes.c_uint64] * len(runtime.kernel.itemsizes) + [KINDS[k] for k in runtime.kernel.numbers]
        got = fakes.parameters(table, kinds)
        runtime.log.append((handle, (gx, gy, gz), (bx, by, bz), shared, stream, got))
        assert extra == 0

    monkeypatch.setattr(launch.driver, "launchKernel", launch_kernel, raising=True)
    return runtime


def function(runtime, itemsizes=(), numbers=(), items=(256, 1, 1)):
    runtime.kernel = Kernel("f", "", tuple(numbers), items, tuple(itemsizes))
    return launch.Function(runtime.kernel, 42, module=None)


def sent(runtime, *numbers, kind):
    function(runtime, (), [kind] * len(numbers)).launch(runtime, (1, 1, 1), [], numbers)
    return runtime.log[-1][-1]


def test_a_launch_has_addresses_then_numbers(runtime):
    f = function(runtime, (4, 2, 8), ("int", "float", "long", "double", "uint8_t"), (64, 2, 1))
    pointers = [(Memory(1000, 0), 0), (Memory(5000, 0), 3), (Memory(9000, 0), 5)]
    f.launch(runtime, (7, 3, 2), pointers, (-5, 0.5, 2**40, 1e300, 255))
    assert runtime.log == [(42, (7, 3, 2), (64, 2, 1), 0, 7, [1000, 5006, 9040, -5, 0.5, 2**40, 1e300, 255])]
    assert runtime.launched == 1 and runtime.switches == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_ends_of_each_type(runtime, kind):
    if kind in ("float", "double"):
        numbers = [0.0, -0.0, 1.5, math.inf, -math.inf, 2.0**-149, 3.4028234663852886e38]
        got = sent(runtime, *numbers, kind=kind)
        assert got == numbers and math.copysign(1, got[1]) == -1
        assert math.isnan(sent(runtime, math.nan, kind=kind)[0])
    else:
        bits = 8 * ctypes.sizeof(KINDS[kind])
        low, high = (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        assert sent(runtime, low, high, True, False, kind=kind) == [low, high, 1, 0]


def test_numbers_that_a_type_does_not_hold(runtime):
    assert sent(runtime, 1e40, -1e40, kind="float") == [math.inf, -math.inf]
    assert sent(runtime, 2.0, kind="int") == [2]
    assert sent(runtime, -1, 2**32 + 3, kind="uint32_t") == [2**32 - 1, 3]
    assert sent(runtime, 2**31, kind="int") == [-(2**31)]


def test_an_argument_too_few_is_an_error(runtime):
    f = function(runtime, (4, 4), ("int",))
    with pytest.raises(ValueError, match="zip"):
        f.launch(runtime, (1, 1, 1), [(Memory(1, 0), 0)], (1,))
    with pytest.raises((ValueError, launch.struct.error)):
        f.launch(runtime, (1, 1, 1), [(Memory(1, 0), 0)] * 2, ())
    with pytest.raises(ValueError, match="parameters"):
        function(runtime, (4,) * 600)
    assert not runtime.log and not runtime.launched


def test_a_prepared_launch_is_packed_once_and_holds_no_memory(runtime):
    f = function(runtime, (4, 8), ("int",))
    a, b = Memory(1000, 0), Memory(2000, 0)
    prepared = f.prepare(runtime, (5, 1, 1), [(a, 1), (None, 9)], (3,))
    references = sys.getrefcount(b)
    prepared.set(1, b, 2)
    prepared.run()
    assert sys.getrefcount(b) == references, "nobody could be alone with memory that a program holds"
    prepared.set(1, a, 0)
    prepared.run()
    assert [entry[-1] for entry in runtime.log] == [[1004, 2016, 3], [1004, 1000, 3]]
    assert runtime.launched == 2


def test_preparing_does_not_touch_other_launches(runtime):
    f = function(runtime, (4,), ("int",))
    first = f.prepare(runtime, (1, 1, 1), [(Memory(1000, 0), 0)], (1,))
    second = f.prepare(runtime, (1, 1, 1), [(Memory(2000, 0), 0)], (2,))
    f.launch(runtime, (1, 1, 1), [(Memory(3000, 0), 0)], (3,))
    first.run()
    second.run()
    assert [entry[-1] for entry in runtime.log] == [[3000, 3], [1000, 1], [2000, 2]]


def test_threads_do_not_share_slots(runtime, monkeypatch):
    """The driver reads arguments without Python's lock: another thread's launch must not write over them."""
    f = function(runtime, (4,), ("int",))
    inside, go = threading.Barrier(2), []

    def slow(handle, *rest):
        inside.wait(10)  # both have written their arguments
        go.append(fakes.parameters(rest[-2], [ctypes.c_uint64, ctypes.c_int32]))

    monkeypatch.setattr(launch.driver, "launchKernel", slow)
    threads = [
        threading.Thread(target=f.launch, args=(runtime, (1, 1, 1), [(Memory(1000 * i, 0), 0)], (i,))) for i in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(go) == [[1000, 1], [2000, 2]]


def test_where_the_device_is_not_current_it_is_made_so(runtime):
    runtime.known = False
    function(runtime, (), ("int",)).launch(runtime, (1, 1, 1), [], (1,))
    assert runtime.switches == 1 and runtime.log[0][4] == 7
