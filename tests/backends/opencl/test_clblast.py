"""Products by CLBlast: which are, what the library is given, and, where it is installed, that the numbers are right."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest
from opencl_here import opencl_runtime
from opencl_kernels import ACCELERATOR, CPU, GPU, device

import knet
import knet.numpy as knp
from knet.backends.opencl import clblast, products
from knet.backends.opencl.devices import find_devices
from knet.backends.opencl.runtime import OpenCLRuntime
from knet.compiler.device.buffer import DeviceBuffer, dense_layout
from knet.compiler.device.eager import Operation
from knet.compiler.device.program import Program
from knet.compiler.graph import Graph, Node, Value
from knet.compiler.kernels.blas import Gemm
from knet.compiler.kernels.blas_calls import Product
from knet.compiler.kernels.kernel import Kernel
from knet.compiler.kernels.lower import Lowering, Shared, input_ref, output_ref
from knet.compiler.kernels.target import Target
from knet.compiler.passes import optimize
from knet.core import ShapedArray, registry
from knet.core.array import DeviceArray
from knet.core.errors import DeviceError, DTypeError

TARGET = Target("opencl", False, 256, 8, 49152, own=products.PRODUCTS)


class Library:
    """Keeps what each function is given, under the types that the real one's has."""

    status = temporary = 0  # temporary: bytes that each product is said to need

    def __init__(self):
        self.calls = []
        for name, arguments in clblast.prototypes().items():
            kind = ctypes.CFUNCTYPE(ctypes.c_int, *arguments)
            setattr(self, name, kind(lambda *given, name=name: self.note(name, given)))

    def note(self, name, given):
        if name.endswith("TempBufferSize"):
            self.queue = ctypes.c_void_p.from_address(given[-2]).value
            ctypes.c_size_t.from_address(given[-1]).value = self.temporary
            given = given[:-2]
        else:
            self.queue = ctypes.c_void_p.from_address(given[-2]).value
            assert given[-1] is None, "nobody waits for the event"
            given = given[:-2]
        self.calls.append((name, given))
        return self.status


@pytest.fixture
def library(monkeypatch):
    library = Library()
    monkeypatch.setattr(clblast, "library", lambda: library)
    return library


# --- whether it is used ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "gpu", "others"), [(None, True, False), ("", True, False), ("0", False, False), ("1", True, True)]
)
def test_it_is_used_on_gpus_or_as_the_variable_says(asked, gpu, others, library, monkeypatch):
    monkeypatch.delenv("KNET_OPENCL_CLBLAST", raising=False)
    if asked is not None:
        monkeypatch.setenv("KNET_OPENCL_CLBLAST", asked)
    assert [clblast.wanted(device("It", kind)) for kind in (GPU, ACCELERATOR, CPU)] == [gpu, others, others]


def test_where_it_is_absent_nothing_is_said_unless_it_was_asked_for(monkeypatch):
    monkeypatch.setattr(clblast, "library", lambda: None)
    monkeypatch.delenv("KNET_OPENCL_CLBLAST", raising=False)
    assert not clblast.wanted(device("Card", GPU))
    monkeypatch.setenv("KNET_OPENCL_CLBLAST", "1")
    with pytest.raises(DeviceError, match=r"there is no CLBlast for OpenCL.*\n  fix: install it"):
        clblast.wanted(device("Card", GPU))
    monkeypatch.setenv("KNET_OPENCL_CLBLAST", "yes")
    with pytest.raises(DeviceError, match="KNET_OPENCL_CLBLAST='yes'"):
        clblast.wanted(device("Card", GPU))


@pytest.mark.parametrize("opened", [OSError("libOpenCL.so.1 is missing"), SimpleNamespace()])
def test_what_cannot_be_loaded_or_lacks_functions_is_absent(opened, monkeypatch):
    def load(name):
        assert name == "libclblast.so.1"
        if isinstance(opened, OSError):
            raise opened
        return opened

    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"lib{name}.so.1")
    monkeypatch.setattr(ctypes, "CDLL", load)
    clblast.library.cache_clear()
    assert clblast.library() is None
    clblast.library.cache_clear()


# --- which products --------------------------------------------------------------------------------------------------


def lowered(x, w, dtype="float32", target=TARGET, op="matmul", steps=None):
    """Names of what is launched for dense operands of these shapes; ``steps``: the first one's strides."""
    values = [Value(ShapedArray(shape, np.dtype(dtype))) for shape in (x, w)]
    graph = Graph("f")
    graph.inputs = values
    primitive = registry[op]
    node = Node(primitive, values, {}, (primitive.aval(*(v.aval for v in values)),))
    graph.nodes, graph.outputs = [node], list(node.results)
    inputs = [input_ref(0, x, np.dtype(dtype), steps), input_ref(1, w, np.dtype(dtype))]
    lowering = Lowering(graph, inputs, [output_ref(0, graph.outputs[0])], Shared(target, literal=True))
    return [item.name if isinstance(item, Product) else "kernel" for item in lowering.items]


@pytest.mark.parametrize(
    ("x", "w", "dtype", "want"),
    [
        ((20, 3), (3, 40), "float32", ["clblast_gemm_float32"]),
        ((20, 3), (3, 40), "float64", ["clblast_gemm_float64"]),
        ((5, 20, 3), (5, 3, 40), "float32", ["clblast_gemm_float32"]),
        ((5, 4, 3), (3, 40), "float32", ["clblast_gemm_float32"]),  # one matrix of 20 rows
        ((5, 4, 3), (5, 3, 40), "float32", ["kernel"]),
        ((15, 3), (3, 40), "float32", ["kernel"]),  # thin
        ((20, 3), (3, 1), "float32", ["kernel"]),
        ((20, 3), (3, 40), "float16", ["kernel"]),  # its sums would be half, too
        ((20, 3), (3, 40), "int32", ["kernel"]),
        ((20, 0), (0, 40), "float32", ["kernel"]),
        ((0, 20, 3), (0, 3, 40), "float32", []),
        ((2**15, 20), (20, 2**15), "float32", ["kernel"]),  # more elements than its ints count
        ((100, 16, 2**12), (100, 2**12, 16), "float32", ["clblast_gemm_float32"]),
        ((1100, 16, 2**12), (1100, 2**12, 16), "float32", ["kernel"]),  # its padded copies would have too many
    ],
)
def test_which_products_are_taken(x, w, dtype, want):
    assert lowered(x, w, dtype) == want


def test_where_float64_cannot_be_computed_with_it_is_not_asked():
    with pytest.raises(DTypeError, match="matmul: the device does not compute with float64"):
        lowered((20, 3), (3, 40), "float64", TARGET._replace(doubles=False))


def test_strides():
    assert lowered((20, 3), (3, 40), steps=(6, 2)) == ["kernel", "clblast_gemm_float32"]  # copied first
    assert lowered((20, 3), (3, 40), steps=(1, 20)) == ["clblast_gemm_float32"]
    assert lowered((20, 3), (3, 40), steps=(2**26, 1)) == ["kernel"]  # too far apart


def test_the_targets_of_other_devices_have_kernels():
    assert lowered((20, 3), (3, 40), target=TARGET._replace(own={})) == ["kernel"]


# --- what it is given ------------------------------------------------------------------------------------------------

A, B, C, QUEUE = (0x7F0000000000 + 0x1000 * i for i in range(4))


def pretended():
    """A runtime that counts."""
    runtime = SimpleNamespace(name="Card (Maker)", queue=SimpleNamespace(int_ptr=QUEUE), launched=0, freed=0)
    runtime.free_memory = lambda: setattr(runtime, "freed", runtime.freed + 1)
    return runtime


def prepared(runtime, call, dtype="float32"):
    size = np.dtype(dtype).itemsize
    kernel = Kernel(f"clblast_gemm_{dtype}", "", ("long",) * len(call), (1, 1, 1), (size,) * 3)
    function = products.GemmFunction(runtime, kernel)
    pointers = [(SimpleNamespace(int_ptr=A), 1), (None, 0), (SimpleNamespace(int_ptr=C), 0)]
    made = products.PreparedGemm(runtime, function, pointers, list(call))
    made.set(1, SimpleNamespace(int_ptr=B), 2)
    return made


def test_a_product(library):
    runtime = pretended()
    prepared(runtime, Gemm(True, 1, 0, 4, 2, 3, 5, 6, 7, 0, 0, 0, 1)).run()
    [(name, given)] = library.calls
    assert (name, library.queue, runtime.launched) == ("CLBlastSgemm", QUEUE, 1)
    assert given == (102, 112, 111, 4, 2, 3, 1.0, A, 1, 5, B, 2, 6, 0.0, C, 0, 7), "no pointer is cut"


def test_a_batch_of_small_matrices_is_one_call(library):
    runtime = pretended()
    made = prepared(runtime, Gemm(True, 0, 1, 4, 2, 3, 5, 6, 7, 2**29, 0, 28, 9), "float64")
    made.run()
    made.run()
    [asked, call, again] = library.calls
    assert asked == ("CLBlastDGemmTempBufferSize", (102, 111, 111, 4, 2, 3, 1, 4, 1, 3, 1, 4)), "asked once"
    assert call == again and (call[0], runtime.launched) == ("CLBlastDgemmStridedBatched", 2)
    assert call[1] == (102, 111, 112, 4, 2, 3, 1.0, A, 1, 5, 2**29, B, 2, 6, 0, 0.0, C, 0, 7, 28, 9)


def test_a_batch_of_large_matrices_is_multiplied_one_by_one(library):
    runtime = pretended()
    library.temporary = 4096
    prepared(runtime, Gemm(True, 0, 0, 4, 2, 3, 5, 6, 7, 15, 0, 28, 3)).run()
    assert [name for name, _ in library.calls[1:]] == ["CLBlastSgemm"] * 3
    assert [(given[8], given[11], given[15]) for _, given in library.calls[1:]] == [(1, 2, 0), (16, 2, 28), (31, 2, 56)]
    assert runtime.launched == 1


@pytest.mark.parametrize(
    ("status", "text"),
    [(-1011, "INSUFFICIENT_MEMORY_A"), (-2046, "INVALID_LOCAL_MEM_USAGE"), (-54, "INVALID_WORK_GROUP_SIZE"),
     (-1, "DEVICE_NOT_FOUND"), (-77777, "an unknown failure")],
)  # fmt: skip
def test_a_status_is_an_error(status, text, library):
    runtime = pretended()
    library.status = status
    with pytest.raises(DeviceError) as info:
        prepared(runtime, Gemm(True, 1, 0, 4, 2, 3, 5, 6, 7, 0, 0, 0, 1)).run()
    said = f"OpenCL device Card (Maker): {text} ({status}) while multiplying matrices by CLBlast.\n  fix: "
    assert str(info.value).startswith(said)
    assert ("KNET_OPENCL_CLBLAST=0" in str(info.value)) == (status != -54)
    assert (runtime.launched, runtime.freed, len(library.calls)) == (0, 0, 1)


def test_without_room_for_its_copies_the_pool_gives_back_what_it_does_not_use(library):
    runtime = pretended()
    library.status = -4
    call = Gemm(True, 1, 0, 4, 2, 3, 5, 6, 7, 0, 0, 0, 1)
    with pytest.raises(DeviceError, match=r"MEM_OBJECT_ALLOCATION_FAILURE.*\n  fix: use smaller arrays"):
        prepared(runtime, call).run()
    assert (runtime.freed, len(library.calls)) == (1, 2)
    runtime.free_memory = lambda: setattr(library, "status", 0)
    prepared(runtime, call).run()
    assert runtime.launched == 1


# --- the real one ----------------------------------------------------------------------------------------------------


@pytest.fixture
def runtime(monkeypatch):
    """The first device, whatever it is, with products by CLBlast."""
    opencl_runtime()
    if clblast.library() is None:
        pytest.skip("CLBlast is not installed: apt install libclblast1")
    monkeypatch.setenv("KNET_OPENCL_CLBLAST", "1")
    return OpenCLRuntime(find_devices()[0])


@pytest.fixture
def padded(runtime):
    """Makes CLBlast treat all matrices as large ones, which it copies if they need padding, in float32."""
    override = clblast.library().CLBlastOverrideParameters
    override.argtypes = (
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p
    )  # fmt: skip

    def beyond(size):
        names, values = (ctypes.c_char_p * 1)(b"XGEMM_MIN_INDIRECT_SIZE"), (ctypes.c_size_t * 1)(size)
        assert override(runtime.queue.device.int_ptr, b"GemmRoutine", 32, 1, names, values) == 0

    beyond(1)
    yield
    beyond(4096)  # of the matrices here none is as large


def whole(shape, seed, dtype="float32"):
    """Small whole numbers, of which sums are exact."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def buffer(runtime, array, before=0):
    """An array on the device, with some elements before it, and NaN there."""
    host = np.concatenate([np.full(before, np.nan, array.dtype), array.ravel()])
    return DeviceBuffer(runtime, runtime.upload(host), dense_layout(array.shape, array.dtype), before)


def host(y):
    shape, _, dtype = y.layout
    return y.runtime.download(y.memory, y.offset * dtype.itemsize, int(np.prod(shape)) * dtype.itemsize).view(
        dtype
    ).reshape(shape)  # fmt: skip


def check_eager(runtime, x, w, before=0):
    operation = Operation(registry["matmul"])
    buffers = [buffer(runtime, x, before), buffer(runtime, w, before)]
    launched = runtime.launched
    np.testing.assert_array_equal(host(operation(*buffers)), x @ w)
    assert runtime.launched == launched + 1
    return operation, buffers


def check_program(runtime, f, *arrays):
    traced = knet.jit(f).lower(*map(knp.asarray, arrays)).traced
    program = Program(optimize(traced), None, runtime, ())
    assert any("CLBlast" in text for text in program.kernels)
    want = np.asarray(f(*map(knp.asarray, arrays)))
    for _ in range(2):
        [y] = program([DeviceArray(buffer(runtime, array), None) for array in arrays])
        np.testing.assert_array_equal(host(y._buffer), want)


def test_products_here(runtime):
    """One function of the library: it compiles for seconds."""
    x, w = whole((20, 30), 0), whole((30, 40), 1)
    operation, [a, _] = check_eager(runtime, x, w)
    check_eager(runtime, x, w, before=3)
    transposed = DeviceBuffer(runtime, a.memory, ((30, 20), (1, 30), a.dtype))
    square = buffer(runtime, whole((20, 25), 2))
    np.testing.assert_array_equal(host(operation(transposed, square)), x.T @ whole((20, 25), 2))
    check_program(runtime, lambda x, w: (x * 2) @ w + (x @ w)[:1], x, w)
    check_program(runtime, lambda x, w: knet.grad(lambda w: ((x @ w) ** 2).sum())(w), x, w)


def test_elements_beyond_its_ints_are_reached_in_a_part_of_the_buffer(runtime, monkeypatch):
    x, w = whole((20, 30), 0), whole((30, 40), 1)
    monkeypatch.setattr(products, "_FAR", 700)  # from here on
    call = Gemm(True, 0, 0, 40, 20, 30, 40, 30, 40, 0, 0, 0, 1)
    kernel = Kernel("clblast_gemm_float32", "", ("long",) * len(call), (1, 1, 1), (4, 4, 4))
    [function] = runtime.functions([kernel])
    a, b = buffer(runtime, w, 1234), buffer(runtime, x, 777)
    y = buffer(runtime, np.zeros((20, 40), np.float32), 5000)
    made = runtime.prepare(function, (1, 1, 1), [(p.memory, p.offset) for p in (a, b, y)], list(call))
    assert all(0 <= offset < 700 for _, offset in made._places)
    made.run()
    np.testing.assert_array_equal(host(y), x @ w)


@pytest.mark.slow
def test_batches_here(runtime):
    x, w = whole((3, 32, 32), 0), whole((3, 32, 32), 1)
    check_eager(runtime, x, w)
    check_eager(runtime, x, w, before=3)
    check_eager(runtime, x[0], w, before=3)
    check_program(runtime, lambda x, w: (x + 1) @ w.transpose(0, 2, 1), x, w)


@pytest.mark.slow
def test_large_matrices_here(runtime, padded):
    """Of multiples of a tile it takes no copies, of others it does."""
    for size in (32, 45, 128):
        x, w = whole((3, size, size), 0), whole((3, size, size), 1)
        check_eager(runtime, x[0], w[0])
        check_eager(runtime, x[0], w[0], before=4)
        check_eager(runtime, x, w)
        check_eager(runtime, x, w, before=4)
        check_eager(runtime, x[0], w, before=4)
        check_program(runtime, lambda x, w: (x + 1) @ w.transpose(0, 2, 1), x, w)


@pytest.mark.slow
def test_float64_here(runtime):
    if not runtime.target.doubles:
        pytest.skip("the device computes no float64")
    x, w = whole((3, 20, 30), 0, "float64") + 2.0**-40, whole((3, 30, 40), 1, "float64")
    check_eager(runtime, x[0], w[0], before=3)
    check_eager(runtime, x, w, before=3)
