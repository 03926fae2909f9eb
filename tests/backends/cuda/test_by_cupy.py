"""Eager operations and programs that call CuPy, with NumPy in its place, over a pretended device."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import scipy.special

pytest.importorskip("cupy", reason='the CUDA backend needs CuPy: pip install "knet[cuda13]"')
sys.path.insert(0, str(Path(__file__).parent))

import cupy
import cupyx
import device
import fakes

import knet
import knet.backends.cuda as package
import knet.numpy as knp
from knet.backends.cuda import by_cupy, products
from knet.compiler.device.buffer import DeviceBuffer, dense_layout
from knet.compiler.passes import optimize
from knet.core import Device
from knet.core import device as devices
from knet.core.device import from_numpy


@pytest.fixture
def here(monkeypatch):
    """A device whose library is NumPy; ``called`` counts the contexts in which that computes."""
    cuda = device.pretend(monkeypatch)
    cuda.called = 0

    def array_of(buffer):
        cuda.finish()
        shape, strides, dtype = buffer.layout
        memory = (ctypes.c_char * buffer.memory.nbytes).from_address(buffer.memory.ptr)
        steps = tuple(step * dtype.itemsize for step in strides)
        return np.ndarray(shape, dtype, memory, buffer.offset * dtype.itemsize, steps)

    def adopted(array, runtime):
        memory = runtime.allocate(array.nbytes)
        ctypes.memmove(memory.ptr, np.ascontiguousarray(array).ctypes.data, array.nbytes)
        return DeviceBuffer(runtime, memory, dense_layout(array.shape, array.dtype))

    @contextlib.contextmanager
    def queued(runtime):
        cuda.called += 1
        yield

    monkeypatch.setattr(by_cupy, "array_of", array_of)
    monkeypatch.setattr(by_cupy, "adopted", adopted)
    monkeypatch.setattr(by_cupy, "queued_by_cupy", queued)
    monkeypatch.setattr(by_cupy, "_own", lambda y, operands: y)
    monkeypatch.setattr(by_cupy, "available", lambda library: True)
    monkeypatch.setattr(by_cupy, "CUPY", SimpleNamespace(xp=np, special=scipy.special, linalg=scipy.linalg))
    monkeypatch.setattr(package, "count_devices", lambda: 1)
    monkeypatch.setattr(products, "available", lambda: False)
    monkeypatch.setenv("KNET_FALLBACK", "error")
    backend = package.CUDA()
    kernels = devices._Kernels(backend)
    kernels.device = Device(backend, 0, kernels)
    backend.runtime(kernels.device)
    cuda.device = kernels.device
    yield cuda
    devices.kernel_tables.remove(kernels)


def test_linear_algebra(here):
    host = np.array([[4.0, 1.0], [1.0, 3.0]])
    x = from_numpy(host, here.device)
    np.testing.assert_allclose(np.asarray(knp.linalg.inv(x)), np.linalg.inv(host))
    w, v = knp.linalg.eigh(x)
    np.testing.assert_allclose(np.asarray(w), np.linalg.eigvalsh(host))
    assert v.shape == (2, 2) and here.called == 2
    np.testing.assert_allclose(np.asarray(knp.linalg.inv(x.T)), np.linalg.inv(host.T))  # a view


def test_errors_are_knets(here):
    x = from_numpy(np.ones((2, 2), np.float32), here.device)
    with pytest.raises(knet.errors.LinAlgError, match=r"inv\(x\): x is float32 \[2, 2\] and has a singular matrix"):
        knp.linalg.inv(x)


def test_special_functions_with_numbers(here):
    x = from_numpy(np.array([0.5, 2.0], np.float32), here.device)
    y = knet.core.ops.special.polygamma(1, x)
    assert y.dtype == knp.float32
    np.testing.assert_allclose(np.asarray(y), [4.934802, 0.644934], rtol=1e-6)


def test_complex_numbers_with_numbers(here):
    z = from_numpy(np.array([1 + 2j, -1j], np.complex64), here.device)
    np.testing.assert_array_equal(np.asarray(z * 2.0 + 1j), [2 + 5j, -1j])
    chosen = from_numpy(np.array([True, False]), here.device)
    np.testing.assert_array_equal(np.asarray(knp.where(chosen, z, 0.0)), [1 + 2j, 0])
    assert complex(knp.sum(z)) == 1 + 1j and (z * 2.0).dtype == knp.complex64


def test_what_has_no_elements_is_not_asked_of_cupy(here):
    x = from_numpy(np.zeros((0, 3, 3), np.float32), here.device)
    assert knp.linalg.inv(x).shape == (0, 3, 3)
    assert float(knp.linalg.det(from_numpy(np.zeros((0, 0)), here.device))) == 1
    assert here.called == 0


def test_the_rest_is_the_hosts(here):
    x = from_numpy(np.ones(3, np.float32), here.device)
    with pytest.raises(knet.errors.MissingKernel, match="i0e"):
        knet.core.ops.special.i0e(x)


def test_a_library_that_is_not_installed_is_said_once(here, monkeypatch):
    monkeypatch.setattr(by_cupy, "available", lambda library: library != "cufft")
    x = from_numpy(np.ones(4, np.float32), here.device)
    with pytest.raises(knet.errors.MissingKernel, match="rfft"):
        knp.fft.rfft(x)
    monkeypatch.undo()
    by_cupy.available.cache_clear()
    monkeypatch.setattr(by_cupy.pathfinder, "load_nvidia_dynamic_lib", _missing)
    with pytest.warns(RuntimeWarning, match="cufft cannot be loaded: it is nowhere"):
        assert not by_cupy.available("cufft")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not by_cupy.available("cufft") and by_cupy.available("")
    by_cupy.available.cache_clear()


def _missing(library):
    raise by_cupy.pathfinder.DynamicLibNotFoundError("it is nowhere\nand much more")


def test_a_program_has_graphs_between_its_calls(here):
    backend = here.device.backend
    runtime = backend.runtimes()[0]

    def f(x):
        a = knp.cumulative_sum(knp.tanh(x) * 2, axis=0) @ x
        b = knp.linalg.inv(x)
        return knp.cumulative_sum(a + b, axis=0) @ b, b

    host = 3 * np.eye(128, dtype=np.float32)
    program = backend.compile(optimize(knet.jit(f).lower(knp.asarray(host)).traced), here.device, ())
    at = [i for i, text in enumerate(program.kernels) if text == "inv by CuPy"]
    assert len(at) == 1 and program.on_host
    assert len(program.captured) == 2 and len(program.parts) == 3
    for _ in range(8):
        program([from_numpy(host, here.device)])
    assert here.called == 8, "the call is in no graph"
    assert runtime.replayed > 4, "what is around it is"


def test_graphs_around_calls_can_be_forbidden(here, monkeypatch):
    monkeypatch.setenv("KNET_CUDA_GRAPHS", "0")
    traced = knet.jit(lambda x: knp.linalg.inv(x) + 1).lower(knp.eye(3)).traced
    program = here.device.backend.compile(optimize(traced), here.device, ())
    assert program.captured == [] and len(program.parts) == len(program.steps) == 2


# --- CuPy's side -----------------------------------------------------------------------------------------------------


def test_cupy_works_in_the_runtimes_stream_and_memory(monkeypatch):
    entered = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            entered.append(self.name)

        def __exit__(self, *_):
            entered.remove(self.name)

    runtime = fakes.Runtime()
    runtime.stream = Stream("Knet's")
    monkeypatch.setattr(cupy.cuda.Stream, "null", Stream("null"))
    taken = []
    monkeypatch.setattr(runtime, "allocate", lambda nbytes: taken.append((nbytes, list(entered))))
    with by_cupy.queued_by_cupy(runtime):
        assert entered == ["Knet's"] and cupyx.geterr()["linalg"] == "raise"
        cupy.cuda.get_allocator()(100)
    assert taken == [(100, ["Knet's", "null"])], "where all of Knet's memory comes from"
    assert cupyx.geterr()["linalg"] == "ignore" and entered == [] and runtime.switches == 1


def test_results_do_not_share_memory_with_operands():
    """Who holds an argument alone may have it overwritten, and looks at the buffers for that."""

    class Memory:
        def __init__(self, mem):
            self.mem = mem

    pieces = object(), object()

    class View:
        def __init__(self, mem):
            self.data = Memory(mem)

        def copy(self):
            return "copied"

    x, shared, own = View(pieces[0]), View(pieces[0]), View(pieces[1])
    assert by_cupy._own(shared, [x, np.float32(1)]) == "copied"
    assert by_cupy._own(own, [x]) is own


def test_eig_is_asked_of_cupy_if_it_has_it(monkeypatch):
    module = type(sys)("cupyx.cusolver")
    monkeypatch.setitem(sys.modules, "cupyx.cusolver", module)
    monkeypatch.setattr(by_cupy, "available", lambda library: True)
    call = by_cupy.call_of(knet.core.registry["eigvals"], [], [])
    module.check_availability = lambda name: name == "geev"
    assert by_cupy.callable_here("eigvals", call)
    module.check_availability = lambda name: False
    assert not by_cupy.callable_here("eigvals", call) and by_cupy.callable_here("eigvalsh", call)

    def unknown(name):
        raise ValueError(name)

    module.check_availability = unknown
    assert not by_cupy.callable_here("eig", call)
