"""Memory that other libraries share: where it lies is checked here, the protocols themselves on a GPU."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import knet
import knet.numpy as knp

pytest.importorskip("cupy", reason='the CUDA backend needs CuPy: pip install "knet[cuda13]"')
sys.path.insert(0, str(Path(__file__).parent))

import cupy
import fakes
from cupy.cuda.memory import MemoryPointer, UnownedMemory

from knet.backends.cuda import exchange
from knet.compiler.device.buffer import DeviceBuffer

BASE = 0x7F0000000000


class Stream:
    """A stream that knows whether it is the current one."""

    def __init__(self):
        self.entered = 0

    def __enter__(self):
        self.entered += 1

    def __exit__(self, *_):
        self.entered -= 1


@pytest.fixture
def runtime():
    runtime = fakes.Runtime()
    runtime.stream = Stream()
    return runtime


def memory(owner=None):
    return MemoryPointer(UnownedMemory(BASE, 1 << 20, owner, 0), 0)


@pytest.mark.parametrize(
    "shape, strides, dtype, offset",
    [((3, 4), (4, 1), "float32", 0), ((4, 3), (1, 4), "float64", 5), ((2, 3), (0, -1), ml_dtypes.bfloat16, 7),
     ((), (), "int8", 3), ((0, 3), (3, 1), "bool", 0)],
)  # fmt: skip
def test_a_buffer_as_cupys_array(runtime, shape, strides, dtype, offset):
    dtype = np.dtype(dtype)
    owner = object()
    held = sys.getrefcount(owner)
    array = exchange.exported(DeviceBuffer(runtime, memory(owner), (shape, strides, dtype), offset))._array
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.data.ptr == BASE + offset * dtype.itemsize
    assert array.strides == tuple(s * dtype.itemsize for s in strides)
    assert sys.getrefcount(owner) == held + 1, "the array holds the memory"
    del array
    assert sys.getrefcount(owner) == held


def test_both_protocols_are_spoken_in_knets_stream(runtime):
    asked = []

    class Spoken:
        def __dlpack__(self, **options):
            asked.append((runtime.stream.entered, options))
            return "capsule"

        def __dlpack_device__(self):
            return 2, 1

        @property
        def __cuda_array_interface__(self):
            asked.append((runtime.stream.entered, "interface"))
            return {"data": (BASE, False), "shape": (3,), "stream": 7}

        def copy(self):
            asked.append((runtime.stream.entered, "copy"))
            return self

    out = exchange.Exported(Spoken(), runtime)
    assert out.__dlpack__(stream=5, max_version=(1, 0), copy=None) == "capsule"
    assert out.__dlpack__(copy=True, stream=None) == "capsule"
    assert out.__dlpack_device__() == (2, 1)
    assert out.__cuda_array_interface__ == {"data": (BASE, True), "shape": (3,), "stream": 7}, "read-only"
    assert asked == [
        (1, {"stream": 5, "max_version": (1, 0)}), (1, "copy"), (1, {"stream": None}), (1, "interface"),
    ]  # fmt: skip


@pytest.mark.parametrize("copy", [False, True])
def test_another_librarys_array(runtime, monkeypatch, copy):
    theirs = cupy.ndarray((3, 4), np.float32, memory() + 8, strides=(4, 12))

    def from_dlpack(x):
        assert x == "theirs" and runtime.stream.entered, "its work is waited for by Knet's stream"
        return theirs

    monkeypatch.setattr(exchange.cupy, "from_dlpack", from_dlpack)
    if copy:
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):  # it does copy, and there is no device
            exchange.imported("theirs", runtime, True)
        return
    buffer = exchange.imported("theirs", runtime, False)
    assert buffer.layout == ((3, 4), (1, 3), knp.float32) and buffer.memory.ptr == BASE + 8 and buffer.offset == 0


def test_strides_between_elements_are_refused(runtime, monkeypatch):
    monkeypatch.setattr(exchange.cupy, "from_dlpack", lambda x: cupy.ndarray((3,), np.float32, memory(), strides=(6,)))
    with pytest.raises(BufferError, match="strides between elements"):
        exchange.imported("theirs", runtime, False)


def test_arrays_elsewhere_have_no_such_interface():
    assert not hasattr(knp.ones(3), "__cuda_array_interface__")


def test_arrays_of_a_gpu_are_asked_of_the_cuda_backend(monkeypatch):
    class Theirs:
        def __dlpack__(self, **options):
            raise AssertionError("the backend reads it")

        def __dlpack_device__(self):
            return 2, 0

    class Backend:
        name = "cuda"

        def from_dlpack(self, x, index, copy):
            return DeviceBuffer(None, "memory", ((3,), (1,), knp.float32)), index, copy

    class Device:
        backend = Backend()

    monkeypatch.setattr(knet.core.device, "get_device", lambda name: Device() if name == "cuda:0" else None)
    with contextlib.suppress(AttributeError):  # what comes back is no array of a device here
        knp.from_dlpack(Theirs())
    shared = knet.core.device.from_dlpack(Theirs(), True)
    assert shared._buffer[0].memory == "memory" and shared._buffer[1:] == (0, True)
    assert knet.core.device.from_dlpack(np.ones(3), False) is None
