"""Convolutions as graphs of cuDNN's: what it is asked for, over a module that computes nothing."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("cupy", reason='the CUDA backend needs CuPy: pip install "knet[cuda13]"')
sys.path.insert(0, str(Path(__file__).parent))

import fakes
import printed
from fakes import Memory

import knet
import knet.numpy as knp
from knet.backends.cuda import cudnn
from knet.compiler.graph import Graph, Node, Value
from knet.compiler.kernels.lower import Lowering, Shared, input_ref, output_ref
from knet.compiler.layout import dense_strides
from knet.core import ShapedArray, registry


class NotSupported(Exception):
    pass


class Tensor:
    """A tensor of a graph, with what was said of it."""

    def __init__(self, dim=None, stride=None, data_type=None, name=""):
        self.dim, self.stride, self.data_type, self.name, self.output = dim, stride, data_type, name, False

    def set_output(self, value):
        self.output = value
        return self

    def set_data_type(self, value):
        self.data_type = value
        return self

    def set_dim(self, value):
        self.dim = value
        return self

    def set_stride(self, value):
        self.stride = value
        return self


class Library:
    """The module ``cudnn``: remembers graphs, handles and executions."""

    cudnnGraphNotSupportedError = NotSupported
    data_type = SimpleNamespace(FLOAT="FLOAT", HALF="HALF", BFLOAT16="BFLOAT16")
    heur_mode = SimpleNamespace(A="A", FALLBACK="FALLBACK")
    numerical_note = SimpleNamespace(
        NONDETERMINISTIC="NONDETERMINISTIC", REDUCED_PRECISION_REDUCTION="REDUCED", TENSOR_CORE="TENSOR_CORE",
        DOWN_CONVERT_INPUTS="DOWN", FFT="FFT", WINOGRAD="WINOGRAD",
    )  # fmt: skip

    def __init__(self):
        self.graphs, self.executed, self.handles = [], [], []
        self.refuses = lambda graph: False
        self.workspace = lambda graph: 256

    def backend_version(self):
        return 91000

    def create_handle(self):
        self.handles.append(SimpleNamespace(stream=0))
        return self.handles[-1]

    def set_stream(self, handle, stream):
        handle.stream = stream

    def pygraph(self, **types):
        self.graphs.append(PyGraph(self, types))
        return self.graphs[-1]


class PyGraph:
    """A graph: its steps in order, as the frontend's wants them."""

    ORDER = ("validate", "build_operation_graph", "create_execution_plans", "deselect_numeric_notes", "check_support",
             "build_plans")  # fmt: skip

    def __init__(self, library, types):
        self.library, self.types, self.calls, self.most = library, types, [], None

    def tensor(self, *, name, dim, stride, data_type):
        return Tensor(dim, stride, data_type, name)

    def _node(self, kind, **given):
        self.kind, self.given, self.made = kind, given, Tensor(name="made")
        return self.made

    def conv_fprop(self, *, image, weight, padding, stride, dilation):
        return self._node("fprop", a=image, b=weight, padding=padding, stride=stride, dilation=dilation)

    def conv_dgrad(self, *, loss, filter, padding, stride, dilation):  # noqa: A002
        return self._node("dgrad", a=loss, b=filter, padding=padding, stride=stride, dilation=dilation)

    def conv_wgrad(self, *, image, loss, padding, stride, dilation):
        return self._node("wgrad", a=image, b=loss, padding=padding, stride=stride, dilation=dilation)

    def validate(self):
        self.calls.append("validate")

    def build_operation_graph(self):
        self.calls.append("build_operation_graph")

    def create_execution_plans(self, modes):
        assert modes == ["A", "FALLBACK"]
        self.calls.append("create_execution_plans")

    def deselect_numeric_notes(self, notes):
        self.calls.append("deselect_numeric_notes")
        self.without = set(notes)

    def deselect_workspace_greater_than(self, most):
        self.most = most

    def check_support(self):
        self.calls.append("check_support")
        if self.library.refuses(self):
            raise NotSupported("no engine")

    def build_plans(self):
        self.calls.append("build_plans")

    def get_workspace_size(self):
        return self.library.workspace(self)

    def execute(self, pack, workspace, handle):
        self.library.executed.append((self, {t.name: a for t, a in pack.items()}, workspace, handle.stream))


@pytest.fixture
def library(monkeypatch):
    library = Library()
    monkeypatch.setattr(cudnn, "library", lambda: library)
    return library


@pytest.fixture
def runtime():
    runtime = fakes.Runtime()
    runtime.cudnn = cudnn.Cudnn(runtime)
    return runtime


def lowered(runtime, op, shapes, dtype=np.float32, strides=(None, None), **params):
    """Items for an operation of arrays with these shapes and strides."""
    params = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1} | params
    dtype = np.dtype(dtype)
    values = [Value(ShapedArray(shape, dtype)) for shape in shapes]
    primitive = registry[op]
    graph = Graph("f")
    graph.inputs = values
    graph.nodes = [Node(primitive, values, params, (primitive.aval(*(v.aval for v in values), **params),))]
    graph.outputs = list(graph.nodes[0].results)
    inputs = [input_ref(i, shape, dtype, s) for i, (shape, s) in enumerate(zip(shapes, strides))]
    target = printed.CUDA._replace(own=runtime.cudnn.generators)
    return Lowering(graph, inputs, [output_ref(0, graph.outputs[0])], Shared(target, literal=True)).items


def by_cudnn(items):
    return [isinstance(item, cudnn.Convolution) for item in items]


X, W, Y = (2, 6, 9, 8), (4, 3, 3, 2), (2, 4, 5, 10)
OPTIONS = {"stride": (2, 1), "padding": ((1, 1), (2, 2)), "dilation": (1, 2), "groups": 2}
CASES = [
    ("conv", (X, W), {}, "fprop", ("x", "w"), Y),
    ("conv_input_grad", (Y, W), {"input_shape": X}, "dgrad", ("g", "w"), X),
    ("conv_weight_grad", (X, Y), {"kernel_shape": W}, "wgrad", ("x", "g"), W),
]


@pytest.mark.parametrize(
    ("op", "shapes", "more", "kind", "names", "made"), CASES, ids=lambda v: v if type(v) is str else ""
)
def test_what_cudnn_is_asked_for(library, runtime, op, shapes, more, kind, names, made):
    (item,) = lowered(runtime, op, shapes, **OPTIONS, **more)
    (graph,) = library.graphs
    assert tuple(graph.calls) == PyGraph.ORDER
    assert graph.kind == kind and graph.types["compute_data_type"] == "FLOAT" and graph.types["io_data_type"] == "FLOAT"
    assert graph.types["handle"] is library.handles[0] and library.handles[0].stream == 7
    given = graph.given
    assert (given["stride"], given["padding"], given["dilation"]) == ([2, 1], [1, 2], [1, 2])
    for letter, name, shape in zip("ab", names, shapes):
        tensor = given[letter]
        assert (tensor.name, tensor.dim, tensor.stride) == (name, list(shape), list(dense_strides(shape)))
    assert graph.made.output and graph.made.dim == list(made) and graph.made.stride == list(dense_strides(made))
    assert item.writes == {2, 3} and item.operands[3].shape == (256,) and item.text == f"{list(made)}: {op} by cuDNN"


@pytest.mark.parametrize(
    ("op", "shapes", "more", "kind", "names", "made"), CASES, ids=lambda v: v if type(v) is str else ""
)
def test_a_launch_has_all_that_it_needs_in_its_numbers(library, runtime, op, shapes, more, kind, names, made):
    (item,) = lowered(runtime, op, shapes, **OPTIONS, **more)
    function = cudnn.ConvolutionFunction(item.kernel)
    pointers = [(Memory(1000 * (i + 1), 0), i) for i in range(4)]
    function.launch(runtime, item.groups, pointers, item.numbers)
    ((graph, pack, workspace, stream),) = library.executed
    assert graph is library.graphs[0] and len(library.graphs) == 1, "it was built when it was lowered"
    assert pack == {names[0]: 1000, names[1]: 2004, "made": 3008} and workspace == 4003 and stream == 7
    assert runtime.launched == 1


def test_graphs_are_kept(library, runtime):
    for _ in range(3):
        lowered(runtime, "conv", (X, W), groups=2)
    assert len(library.graphs) == 1
    lowered(runtime, "conv", (X, W), groups=2, dtype=np.float16)
    lowered(runtime, "conv", (X, W), groups=2, stride=(2, 2))
    lowered(runtime, "conv", ((3, *X[1:]), W), groups=2)
    assert len(library.graphs) == 4
    assert library.graphs[1].types["io_data_type"] == "HALF" and library.graphs[1].types["compute_data_type"] == "FLOAT"


@pytest.mark.parametrize(
    "change",
    [
        {"padding": ((0, 1), (0, 0))}, {"padding": ((-1, -1), (0, 0))}, {"dtype": np.float64}, {"dtype": np.int32},
        {"shapes": ((0, 6, 9, 8), W)}, {"shapes": ((2, 6, 9, 8), (0, 3, 3, 2))},
    ],
)  # fmt: skip
def test_what_cudnn_is_not_asked_for(library, runtime, change):
    change = {"shapes": (X, W)} | change
    items = lowered(runtime, "conv", groups=2, **change)
    assert not any(by_cudnn(items)) and not library.graphs


def test_what_has_no_engine_is_knets(library, runtime):
    library.refuses = lambda graph: True
    for _ in range(2):
        items = lowered(runtime, "conv", (X, W), groups=2)
        assert items and not any(by_cudnn(items))
    assert len(library.graphs) == 1, "and it is not tried again"


def test_cudnn_can_be_forbidden_and_may_be_absent(library, runtime, monkeypatch):
    monkeypatch.setenv("KNET_CUDNN", "0")
    assert not any(by_cudnn(lowered(runtime, "conv", (X, W), groups=2)))
    monkeypatch.delenv("KNET_CUDNN")
    assert all(by_cudnn(lowered(runtime, "conv", (X, W), groups=2)))
    monkeypatch.setattr(cudnn, "library", lambda: None)
    assert not any(by_cudnn(lowered(runtime, "conv", (X, W), groups=2)))


@pytest.mark.parametrize("failure", [ImportError, RuntimeError("Unable to find symbol cudnnGetVersion"), None])
def test_the_library_is_there_if_it_can_be_called(monkeypatch, failure):
    module = Library()
    if isinstance(failure, RuntimeError):
        module.backend_version = lambda: raises(failure)
    true_import = builtins.__import__

    def imported(name, *rest):
        if name != "cudnn":
            return true_import(name, *rest)
        if failure is ImportError:
            raise ImportError(name)
        return module

    monkeypatch.setattr(builtins, "__import__", imported)
    assert cudnn.library.__wrapped__() is (module if failure is None else None)


def raises(error):
    raise error


# --- strides ---------------------------------------------------------------------------------------------------------


def last(shape):
    """Strides with the channels last."""
    n, c, *sizes = shape
    inner = dense_strides((n, *sizes, c))
    return (inner[0], inner[-1], *inner[1:-1])


def test_channels_last_are_read_where_they_are(library, runtime):
    items = lowered(runtime, "conv", (X, W), strides=(last(X), None), groups=2)
    assert by_cudnn(items) == [True]
    assert library.graphs[0].given["a"].stride == [432, 1, 48, 6]


def test_other_strides_are_copied(library, runtime):
    items = lowered(runtime, "conv", (X, W), strides=((1000, 100, 10, 1), None), groups=2)
    assert by_cudnn(items) == [False, True]
    assert library.graphs[0].given["a"].stride == list(dense_strides(X))


def test_strides_along_axes_of_one_element_tell_the_order(library, runtime):
    shape = (1, 3, 9, 1)
    lowered(runtime, "conv", (shape, (4, 3, 1, 1)), strides=((5, 9, 1, 77), None))
    assert library.graphs[0].given["a"].stride == [27, 9, 1, 1]


def test_one_axis_is_two(library, runtime):
    one = {"stride": (2,), "padding": ((3, 3),), "dilation": (1,)}
    lowered(runtime, "conv", ((2, 3, 10), (4, 3, 5)), **one)
    given = library.graphs[0].given
    assert given["a"].dim == [2, 3, 1, 10] and given["a"].stride == [30, 10, 10, 1]
    assert given["b"].dim == [4, 3, 1, 5] and library.graphs[0].made.dim == [2, 4, 1, 6]
    assert (given["stride"], given["padding"], given["dilation"]) == ([1, 2], [0, 3], [1, 1])


def test_three_axes(library, runtime):
    three = {"stride": (1, 2, 1), "padding": ((1, 1), (0, 0), (2, 2)), "dilation": (1, 1, 1)}
    (item,) = lowered(runtime, "conv", ((2, 3, 4, 5, 6), (4, 3, 2, 2, 2)), **three)
    assert library.graphs[0].given["padding"] == [1, 0, 2] and library.graphs[0].made.dim == [2, 4, 5, 2, 9]
    problem = cudnn.Problem.of("float32", item.numbers[1:])
    assert problem.numbers == item.numbers[1:] and problem.stride == (1, 2, 1)


# --- precision and workspace -----------------------------------------------------------------------------------------


def test_float32_is_float32(library, runtime):
    lowered(runtime, "conv", (X, W), groups=2)
    assert library.graphs[0].without == set(vars(Library.numerical_note).values())
    lowered(runtime, "conv", (X, W), groups=2, dtype=np.float16)
    assert library.graphs[1].without == library.graphs[0].without - {"TENSOR_CORE"}


def run(runtime, item):
    pointers = [(Memory(1000 * (i + 1), 0), 0) for i in range(len(item.operands))]
    cudnn.ConvolutionFunction(item.kernel).launch(runtime, item.groups, pointers, item.numbers)


def test_tf32_is_another_graph_looked_up_at_each_run(library, runtime):
    (item,) = lowered(runtime, "conv", (X, W), groups=2)
    run(runtime, item)
    with knet.precision("tf32"):
        run(runtime, item)
    run(runtime, item)
    exact, fast = library.graphs
    assert [graph for graph, *_ in library.executed] == [exact, fast, exact]
    assert fast.without == {"NONDETERMINISTIC", "REDUCED"} and fast.most == 256, "the workspace that there is"
    with knet.precision("tf32"):
        (half,) = lowered(runtime, "conv", (X, W), groups=2, dtype=np.float16)
        run(runtime, half)
    assert len(library.graphs) == 3, "halves have one"


def test_a_program_made_for_tf32_has_room_for_both(library, runtime):
    library.workspace = lambda graph: 5000 if "TENSOR_CORE" in graph.without else 9000
    with knet.precision("tf32"):
        (item,) = lowered(runtime, "conv", (X, W), groups=2)
        run(runtime, item)
    run(runtime, item)
    assert item.operands[3].shape == (9000,) and len(library.graphs) == 2
    assert [graph for graph, *_ in library.executed] == library.graphs[::-1]


def test_a_faster_graph_that_needs_more_is_not_taken(library, runtime):
    library.workspace = lambda graph: 0 if "TENSOR_CORE" in graph.without else 9000
    (item,) = lowered(runtime, "conv", (X, W), groups=2)
    assert len(item.operands) == 3
    with knet.precision("tf32"):
        run(runtime, item)
    assert [(graph, workspace) for graph, _, workspace, _ in library.executed] == [(library.graphs[0], 0)]


def test_each_stream_has_a_handle(library, runtime):
    runtime.cudnn.prepare_for(99)
    assert not library.handles, "nothing is started for nothing"
    lowered(runtime, "conv", (X, W), groups=2)
    runtime.cudnn.prepare_for(99)
    assert [handle.stream for handle in library.handles] == [7, 99]


def test_convolutions_of_a_program(library, runtime):
    recorder = printed.Recorder(printed.CUDA._replace(own=runtime.cudnn.generators))
    x, w = knp.ones(X), knp.ones((4, 6, 3, 2))

    def loss(x, w):
        return knp.sum(knet.nn.conv(x, w) ** 2)

    program = printed.graph(knet.grad(loss, argnums=(0, 1)), [x, w], recorder)
    assert [text for text in program.kernels if "cuDNN" in text] != []
    assert {graph.kind for graph in library.graphs} == {"fprop", "dgrad", "wgrad"}
    calls = [kernel for kernel in recorder.kernels.values() if not kernel.source]
    assert {(kernel.name, kernel.itemsizes) for kernel in calls} == {("cudnn_float32_4", (4, 4, 4, 1))}
