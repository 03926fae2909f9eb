"""Products as calls of cuBLAS: what is launched for which strides, and what the library is given."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cupy", reason='the CUDA backend needs CuPy: pip install "knet[cuda13]"')
sys.path.insert(0, str(Path(__file__).parent))

import fakes
import printed
from fakes import Memory

import knet
import knet.numpy as knp
from knet.backends.cuda import cublas, products
from knet.compiler.graph import Graph, Node, Value
from knet.compiler.kernels.blas import Gemm
from knet.compiler.kernels.blas_calls import Product
from knet.compiler.kernels.lower import Lowering, Shared, input_ref, output_ref
from knet.compiler.layout import Ref
from knet.core import ShapedArray, registry

TARGET = printed.CUDA._replace(own=products.PRODUCTS)


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(products, "available", lambda: True)


def lowered(x, w, op="matmul", dtype=np.float32):
    """Items for operands given as (shape, strides)."""
    values = [Value(ShapedArray(shape, np.dtype(dtype))) for shape, _ in (x, w)]
    graph = Graph("f")
    graph.inputs = values
    primitive = registry[op]
    node = Node(primitive, values, {}, (primitive.aval(*(v.aval for v in values)),))
    graph.nodes, graph.outputs = [node], list(node.results)
    inputs = [input_ref(i, shape, np.dtype(dtype), strides) for i, (shape, strides) in enumerate((x, w))]
    return Lowering(graph, inputs, [output_ref(0, graph.outputs[0])], Shared(TARGET, literal=True)).items


def names(items):
    return ["cublas" if isinstance(item, Product) else item.name for item in items]


@pytest.mark.parametrize(
    "x, w, want",
    [
        (((2, 3), None), ((3, 4), None), ["cublas"]),
        (((2, 3), (1, 2)), ((3, 4), (1, 3)), ["cublas"]),  # both transposed
        (((5, 2, 3), None), ((3, 4), None), ["cublas"]),
        (((5, 2, 3), (6, 1, 2)), ((5, 3, 4), None), ["cublas"]),
        (((6, 4, 8), (8, 48, 1)), ((6, 8, 4), (8, 1, 48)), ["cublas"]),  # heads of attention in place
        (((2, 3), (6, 2)), ((3, 4), None), ["copy", "cublas"]),
        (((2, 3), None), ((3, 4), (-4, 1)), ["copy", "cublas"]),
        (((2, 3), (6, 2)), ((3, 4), (8, 2)), ["copy", "copy", "cublas"]),
        (((2, 3, 4, 8), (96, 8, 24, 1)), ((2, 3, 8, 4), None), ["copy", "cublas"]),  # heads of several sequences
    ],
)
def test_what_is_launched(x, w, want):
    assert names(lowered(x, w)) == want


def test_a_result_in_the_memory_of_another_is_copied_there():
    """Heads of several sequences, written where they are to be side by side."""
    recorder = printed.Recorder(TARGET)

    def f(shares, v):
        return (shares @ v).transpose(0, 2, 1, 3).reshape(2, 4, 24)

    program = printed.graph(f, [knp.ones((2, 3, 4, 4)), knp.ones((2, 3, 4, 8))], recorder)
    assert ["cuBLAS" in text for text in program.kernels] == [True, False]


def test_a_batch_of_which_a_part_broadcasts_is_written_out():
    items = lowered(((2, 1, 4, 5), None), ((2, 3, 5, 6), None))
    assert names(items)[-1] == "cublas" and "copy" in names(items)[0]
    assert items[-1].numbers == list(Gemm(True, 0, 0, 6, 4, 5, 6, 5, 6, 30, 20, 24, 6))


@pytest.mark.parametrize("x, w", [((3, 4), (4,)), ((3,), (3, 4)), ((3,), (3,))])
def test_vectors_are_matrices_of_one_row_or_column(x, w):
    (item,) = lowered((x, None), (w, None), "matvec")
    call = Gemm(*item.numbers)
    assert sorted((call.m, call.n)) == sorted((*x[:-1], *w[1:], 1, 1)[:2]) and call.k == x[-1] and call.batch == 1


@pytest.mark.parametrize("dtype", [np.int32, np.bool_])
def test_other_dtypes_are_kernels(dtype):
    assert "cublas" not in names(lowered(((2, 3), None), ((3, 4), None), dtype=dtype))


@pytest.mark.parametrize("dtype", [np.float16, "bfloat16", np.float64])
def test_halves_are_not_widened_first(dtype):
    (item,) = lowered(((20, 30), None), ((30, 40), None), dtype=np.dtype(dtype))
    assert item.name == f"cublas_gemm_{np.dtype(dtype)}"


def test_nothing_to_add_up_is_not_asked_of_cublas():
    assert "cublas" not in names(lowered(((2, 0), None), ((0, 4), None)))


def test_products_are_no_part_of_merged_kernels(monkeypatch):
    recorder = printed.Recorder(TARGET)

    def f(x, w):
        return knp.tanh(x) @ w + 1.0, w * 2.0

    program = printed.graph(f, [knp.ones((3, 4)), knp.ones((4, 5))], recorder)
    (call,) = [k for k in recorder.kernels.values() if not k.source]
    assert call.name == "cublas_gemm_float32" and call.itemsizes == (4, 4, 4)
    assert any("cuBLAS" in text for text in program.kernels)
    assert "cublas" not in program.source


# --- the library's side ----------------------------------------------------------------------------------------------


class Library:
    """Keeps what each function is given, under the types that the real one's has."""

    def __init__(self):
        self.calls = []
        for name, arguments in cublas._PROTOTYPES.items():
            kind = ctypes.CFUNCTYPE(ctypes.c_int, *arguments)
            setattr(self, name, kind(lambda *given, name=name: self.note(name, given)))

    def note(self, name, given):
        self.calls.append((name, given))
        if name == "cublasCreate_v2":
            ctypes.c_void_p.from_address(given[0]).value = 0x7F0000001000 + len(self.calls)
        return self.status if name.startswith("cublasGemm") else 0

    status = 0


@pytest.fixture
def library(monkeypatch):
    library = Library()
    monkeypatch.setattr(cublas, "library", lambda: library)
    return library


@pytest.fixture
def runtime():
    runtime = fakes.Runtime()
    runtime.architecture = "90"
    runtime.blas = cublas.Blas(runtime)
    return runtime


def prepared(runtime, dtype="float32", call=None):
    call = call or Gemm(True, 1, 0, 4, 2, 3, 3, 3, 4, 0, 0, 0, 1)
    f = products.GemmFunction(dtype, np.dtype(dtype).itemsize if dtype != "bfloat16" else 2)
    pointers = [(Memory(0x7F0000000000, 0), 1), (None, 0), (Memory(0x7F0000200000, 0), 0)]
    made = f.prepare(runtime, (1, 1, 1), pointers, list(call))
    made.set(1, Memory(0x7F0000100000, 0), 2)
    return made


def test_a_handle_has_its_stream_before_its_workspace(runtime, library):
    prepared(runtime).run()
    prepared(runtime).run()
    assert [name for name, _ in library.calls] == [
        "cublasCreate_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasSetMathMode", "cublasGemmEx",
        "cublasGemmEx",
    ]  # fmt: skip
    handle = library.calls[1][1][0]
    assert handle > 2**32 and library.calls[1][1][1] == 7 and library.calls[2][1][2] == 32 << 20
    assert runtime.launched == 2
    runtime.blas.prepare_for(99)
    assert [(n, a[1]) for n, a in library.calls[7:8]] == [("cublasSetStream_v2", 99)]
    assert library.calls[8][1][1] == library.calls[2][1][1], "one workspace for all"


def value_at(address, kind):
    return kind.from_address(address).value


def test_a_product(runtime, library):
    prepared(runtime).run()
    name, given = library.calls[-1]
    assert name == "cublasGemmEx"
    _, *sizes, one, a, kind_a, lda, b, kind_b, ldb, zero, c, kind_c, ldc, compute, algorithm = given
    assert sizes == [1, 0, 4, 2, 3] and (lda, ldb, ldc) == (3, 3, 4)
    assert (a, b, c) == (0x7F0000000004, 0x7F0000100008, 0x7F0000200000), "no pointer is cut"
    assert (kind_a, kind_b, kind_c, compute, algorithm) == (0, 0, 0, 68, -1)
    assert (value_at(one, ctypes.c_float), value_at(zero, ctypes.c_float)) == (1.0, 0.0)


def test_a_batch(runtime, library):
    prepared(runtime, "float64", Gemm(True, 0, 1, 4, 2, 3, 5, 6, 7, 2**33, 0, 28, 9)).run()
    name, given = library.calls[-1]
    assert name == "cublasGemmStridedBatchedEx"
    _, *sizes, one, _, kind, lda, step_a, _, _, ldb, step_b, zero, _, _, ldc, step_c, batch, compute, _ = given
    assert sizes == [0, 1, 4, 2, 3] and (lda, ldb, ldc) == (5, 6, 7)
    assert (step_a, step_b, step_c, batch) == (2**33, 0, 28, 9) and (kind, compute) == (1, 70)
    assert (value_at(one, ctypes.c_double), value_at(zero, ctypes.c_double)) == (1.0, 0.0)


@pytest.mark.parametrize("dtype, kind", [("float16", 2), ("bfloat16", 14)])
def test_half_types_accumulate_in_float32(runtime, library, dtype, kind):
    prepared(runtime, dtype).run()
    _, given = library.calls[-1]
    assert (given[8], given[11], given[15], given[17]) == (kind, kind, kind, 68)


def test_the_precision_in_force_when_it_runs_counts(runtime, library):
    made, halves = prepared(runtime), prepared(runtime, "float16")
    with knet.precision("tf32"):
        made.run()
        halves.run()
    made.run()
    assert [given[17] for _, given in library.calls[-3:]] == [77, 68, 68]


def test_a_status_is_an_error(runtime, library):
    library.status = 13
    with pytest.raises(knet.errors.DeviceError, match=r"cuBLAS: the execution failed \(13\) while multiplying"):
        prepared(runtime).run()


def test_without_the_library_products_are_kernels_and_that_is_said_once(monkeypatch):
    def absent(name):
        raise cublas.pathfinder.DynamicLibNotFoundError("no libcublas")

    monkeypatch.setattr(cublas.pathfinder, "load_nvidia_dynamic_lib", absent)
    cublas.library.cache_clear()
    cublas.available.cache_clear()
    with pytest.warns(RuntimeWarning, match="no libcublas"):
        assert not cublas.available()
    assert not cublas.available()
    monkeypatch.setattr(products, "available", cublas.available)
    assert "cublas" not in names(lowered(((2, 3), None), ((3, 4), None)))
    cublas.available.cache_clear()


def test_references_are_what_they_say():
    """The strides of the rows above are those of what they name."""
    x = np.arange(6 * 4 * 8).reshape(4, 6, 8).transpose(1, 0, 2)
    assert tuple(s // 8 for s in x.strides) == (8, 48, 1) and x.shape == (6, 4, 8)
    assert Ref(None, (2, 3)).dense
