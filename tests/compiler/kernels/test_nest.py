"""Kernels of clusters against the CPU's eager results: both forms, sizes as literals and as parameters."""

from __future__ import annotations

import numpy as np
import nvrtc
import pytest
from random_graphs import Maker

import knet
import knet.numpy as knp
from knet import nn
from knet.compiler.fuse import single
from knet.compiler.graph import Graph, Node, Value
from knet.compiler.kernels.kernel import Hole, Writer
from knet.compiler.kernels.lower import lower
from knet.compiler.kernels.nest import nest
from knet.compiler.kernels.prelude import prelude
from knet.compiler.layout import Buffer, Ref
from knet.core import ShapedArray, dtypes
from knet.core.ops import elementwise

from .launching import TARGETS, lowered, run
from .thorough import combinations

RNG = np.random.default_rng(0)


def draw(*shape, dtype="float32"):
    dtype = dtypes.canonical(dtype)
    if dtype.kind in "iu":
        return RNG.integers(0 if dtype.kind == "u" else -9, 10, shape).astype(dtype)
    return RNG.random(shape) < 0.5 if dtype == np.bool_ else RNG.normal(size=shape).astype(dtype)


def normalised(x, axes):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / knp.sqrt(knp.square(x - mean).mean(axes, keepdims=True) + 1e-5)


def layer_norm(x, scale, shift):
    return normalised(x, -1) * scale + shift


def gradients(f):
    return lambda *args: knet.grad(lambda *a: (f(*a) * knp.cos(a[0])).sum(), argnums=tuple(range(len(args))))(*args)


def everything(x):
    """Reductions over all sorts of axes, and an elementwise result."""
    y = knp.exp(x)
    return y, y.sum(0), y.sum(1), y.sum(), x.max(), (x * x).min(0), y.sum((), keepdims=True)


CASES = {
    "add": (lambda x, y: x + y, [draw(100, 70), draw(100, 70)]),
    "large": (lambda x, y: x * y - 1.0, [draw(301, 703), draw(301, 703)]),
    "row": (lambda x, y: x * y + 2.0, [draw(100, 70), draw(70)]),
    "column": (lambda x, y: x * y + 2.0, [draw(100, 70), draw(100, 1)]),
    "outer": (lambda x, y: x * y, [draw(100, 1), draw(1, 70)]),
    "three": (lambda x, y: x + y, [draw(20, 30, 40, 3), draw(3)]),
    "middle": (lambda x, y: x + y, [draw(20, 30, 40), draw(20, 1, 40)]),
    "turned": (lambda x, y: knp.exp(x.T) - y, [draw(100, 70), draw(70, 100)]),
    "strided": (lambda x: x[::2, ::-3] + knp.flip(x[1::2, ::3], axis=0), [draw(100, 70)]),
    "number": (lambda x: x + 1.0, [draw()]),
    "nothing": (lambda x: x + 1.0, [draw(0, 3)]),
    "nothing added up": (lambda x: (x.sum(0), x.sum(1), x.sum()), [draw(0, 3)]),
    "one element": (lambda x: (x.sum(), x.max(1)), [draw(1, 1)]),
    "sum": (lambda x: x.sum(), [draw(300, 70)]),
    "long sum": (lambda x: x.sum(), [abs(draw(1000, 703))]),
    "columns": (lambda x: x.sum(0), [draw(300, 70)]),
    "tall columns": (lambda x: x.sum(0), [abs(draw(60000, 7))]),
    "wide columns": (lambda x: x.sum(0), [draw(30, 3000)]),
    "rows": (lambda x: x.sum(1), [draw(300, 70)]),
    "short rows": (lambda x: x.sum(1), [draw(3000, 3)]),
    "long rows": (lambda x: x.sum(1), [abs(draw(2, 100000))]),
    "reduced apart": (lambda x: (x.sum((0, 2)), x.max((1, 3)), x.prod(2)), [draw(6, 5, 7, 9)]),
    "channels": (lambda x: normalised(x, (0, 2, 3)), [draw(8, 5, 9, 9)]),
    "few channels": (lambda x: normalised(x, (0, 1, 2)), [draw(16, 16, 40, 8)]),
    "few long rows": (lambda x: (normalised(x, -1), nn.softmax(x, -1)), [draw(1, 100000)]),
    "gradients of few channels": (gradients(lambda x: normalised(x, (0, 1, 2))), [draw(16, 16, 40, 8)]),
    "softmax": (lambda x: nn.softmax(x, axis=-1), [draw(300, 70)]),
    "softmax of columns": (lambda x: nn.softmax(x, axis=0), [draw(70, 300)]),
    "softmax of all": (lambda x: nn.softmax(x.reshape(-1), axis=0), [draw(30, 70)]),
    "log softmax": (lambda x: nn.log_softmax(x, axis=-1), [draw(40, 1000)]),
    "layer norm": (layer_norm, [draw(300, 70), draw(70), draw(70)]),
    "gradients of layer norm": (gradients(layer_norm), [draw(64, 50), draw(50), draw(50)]),
    "gradient of softmax": (gradients(lambda x: nn.softmax(x, axis=-1)), [draw(64, 50)]),
    "variance": (lambda x: knp.var(x, axis=1), [draw(64, 500)]),
    "gelu": (nn.gelu, [draw(1000)]),
    "several results": (everything, [draw(60, 50)]),
}


# Cases whose sizes are parameters by default, too: elementwise, rows, columns, all, and several passes.
EAGER = ("row", "strided", "nothing added up", "columns", "long sum", "layer norm", "several results")


def compare(f, arrays, form, literal, **tolerance):
    wanted = f(*map(knp.asarray, arrays))
    wanted = [np.asarray(y) for y in (wanted if isinstance(wanted, tuple) else (wanted,))]
    lowering = lowered(f, arrays, form, literal)
    for got, y in zip(run(lowering, arrays, form), wanted, strict=True):
        assert (got.shape, got.dtype) == (y.shape, y.dtype)
        if y.dtype.kind in "biu" or not tolerance:
            np.testing.assert_array_equal(got, y)
        else:
            np.testing.assert_allclose(got.astype(float), y.astype(float), **tolerance)
    return lowering


@pytest.mark.parametrize(
    ("name", "form", "literal"),
    combinations(CASES, TARGETS, (True, False), default=lambda name, _form, literal: literal or name in EAGER),
)
def test_cluster(name, form, literal):
    f, arrays = CASES[name]
    compare(f, arrays, form, literal, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(("seed", "form"), combinations(range(12), TARGETS, default=lambda seed, _form: seed < 4))
def test_random_graph(seed, form):
    maker = Maker(seed, 14, products=False)
    maker.kinds = tuple(kind for kind in maker.kinds if kind.__name__ not in ("join", "rows"))  # those are no nests
    compare(lambda *x: tuple(maker(*x)), maker.inputs, form, literal=seed % 2 == 0)


DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float16", "bfloat16", "float64"]


def of_every_dtype(x, y):
    """What all dtypes can do: arithmetic, comparisons, choices, extrema along rows, columns and all."""
    if x.dtype == np.bool_:
        z = knp.where(x, y, ~y)
        return z, x == y, z.max(0), z.min(1), z.max()
    z = knp.where(x > y, x * y + x, y - 2)
    total = (z.sum(0), z.sum(1), z.sum())
    return (z, x == y, z.max(0), z.min(1), z.max(), z.min(), *total, x.prod(1), x.astype("float32") * 0.5)


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype(dtype, form):
    arrays = [draw(37, 45, dtype=dtype), draw(37, 45, dtype=dtype)]
    half = dtype in ("float16", "bfloat16")
    with np.errstate(over="ignore"):
        compare(of_every_dtype, arrays, form, dtype < "f", rtol=2e-2 if half else 1e-12, atol=2e-2 if half else 1e-12)


@pytest.mark.parametrize(
    ("dtype", "form"),
    combinations(["float32", "float64", "float16"], TARGETS, default=lambda dtype, _form: dtype != "float64"),
)
def test_extremum_with_nan(dtype, form):
    x = draw(40, 300, dtype=dtype)
    x[3, 7] = x[39, 299] = x[20, 33] = np.nan
    x[5] = -np.inf
    compare(lambda a: (a.max(1), a.min(1), a.max(0), a.min(0), a.max(), a[4:12].max(), a[4:12].min(0)), [x], form, True)


@pytest.mark.parametrize(
    ("dtype", "form"),
    combinations(
        ["int8", "uint16", "int32", "int64"], TARGETS, default=lambda dtype, _form: dtype in ("int8", "int64")
    ),
)
def test_integer_sums_wrap_around(dtype, form):
    info = np.iinfo(dtype)
    x = np.full((40, 300), info.max, dtype)
    x[:, ::3] = info.max // 3 + 5
    compare(lambda a: (a.sum(0), a.sum(1), a.sum(), a.prod(1), a * a), [x], form, True)


SUMS = [
    ((65536, 16), (0,)),
    ((4099, 3), (0,)),
    ((3, 12801, 5), (1,)),
    ((64, 32, 32, 16), (0, 1, 2)),
    ((16, 65536), (1,)),
]


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize(("shape", "axis"), [*SUMS, ((1 << 20,), (0,))])
def test_a_long_sum_keeps_its_digits(shape, axis, form):
    # nearly equal terms, whose rounding errors have one sign when they are added one after the other
    x = (np.random.default_rng(0).random(shape) * 0.001 + 0.3).astype(np.float32)
    (got,) = run(lowered(lambda a: a.sum(axis), [x], form, False), [x], form)
    np.testing.assert_allclose(got, x.sum(axis, dtype=np.float64), rtol=5e-7)


def test_few_texts_for_many_shapes():
    texts = set()
    for shape in [(5,), (7, 9), (3, 4, 5), (1000, 1000), (2, 1, 8), (300000,)]:
        x = draw(*shape)
        texts |= {x.kernel.source for x in lowered(lambda a, b: a + b, [x, x + 1], "loops", False).items}
    assert len(texts) == 1
    texts = set()
    for shape in [(50, 70), (1, 200, 70), (33, 1000), (7, 5, 300)]:
        texts |= {x.kernel.source for x in lowered(lambda a: a.sum(-1), [draw(*shape)], "loops", False).items}
    assert len(texts) == 1


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
def test_numbers_of_each_call(form, dtype):
    dtype = dtypes.canonical(dtype)
    graph = Graph("eager")
    x = Value(ShapedArray((20, 30), dtype))
    node = Node(elementwise.multiply, [x, Hole(1)], {}, [x.aval])
    graph.inputs, graph.nodes, graph.outputs = [x], [node], [node.results[0]]
    lowering = lower(graph, TARGETS[form], literal=False)
    array = draw(20, 30, dtype=dtype)
    for number in (3, 5):
        (got,) = run(lowering, [array], form, numbers={1: number})
        np.testing.assert_array_equal(got, array * dtype.type(number))


class Lowering:
    """What a nest needs of a lowering."""

    def __init__(self, form):
        self.target, self.literal, self.items = TARGETS[form], True, []
        self.launch = self.items.append

    def writer(self, name):
        return Writer(name, self.target, self.literal)


@pytest.mark.parametrize("form", TARGETS)
def test_which_arrays_may_share_memory(form):
    aval = ShapedArray((64, 48), dtypes.float32)
    a, b = Value(aval), Value(ShapedArray((48,), dtypes.float32))
    node = Node(elementwise.add, [a, b], {}, [aval])
    refs = {v: Ref(Buffer("input", i, v.nbytes, v.dtype), v.shape) for i, v in enumerate((a, b))}
    out = Ref(Buffer("output", 0, 4 * 64 * 48, dtypes.float32), aval.shape)
    lowering = Lowering(form)
    nest(lowering, single(node), refs, {node.results[0]: out}, "")
    (launch,) = lowering.items
    pairs = {(launch.operands[i].buffer, launch.operands[j].buffer) for i, j in launch.same}
    assert pairs == {(refs[a].buffer, out.buffer)}  # not the row, which every row of the result needs
    assert not launch.restrict


@pytest.mark.parametrize("form", TARGETS)
def test_in_place(form):
    """A result written where an operand lies."""
    aval = ShapedArray((1000, 70), dtypes.float32)
    graph = Graph("in place")
    a, b = Value(aval), Value(aval)
    twice = Node(elementwise.add, [a, b], {}, [aval])
    both = Node(elementwise.multiply, [twice.results[0], a], {}, [aval])
    graph.inputs, graph.nodes, graph.outputs = [a, b], [twice, both], [twice.results[0], both.results[0]]
    lowering = lower(graph, TARGETS[form], literal=True)
    (launch,) = lowering.items
    x, y = draw(1000, 70), draw(1000, 70)
    moved = {lowering.outputs[0].buffer: lowering.refs[a].buffer, lowering.outputs[1].buffer: lowering.refs[b].buffer}
    assert {(lowering.refs[v].buffer, ref.buffer) for v, ref in zip((a, b), lowering.outputs)} <= {
        (launch.operands[i].buffer, launch.operands[j].buffer) for i, j in launch.same
    }
    for ref in (*launch.operands, *lowering.outputs):
        ref.buffer = moved.get(ref.buffer, ref.buffer)
    first, second = run(lowering, [x, y], form)
    np.testing.assert_array_equal(first, x + y)
    np.testing.assert_array_equal(second, (x + y) * x)


def test_a_sum_of_few_results_is_cut_into_segments():
    x = draw(1 << 20)
    for form in TARGETS:
        launches = lowered(lambda a: a.sum(), [x], form, True).items
        assert len(launches) == 2
        assert launches[0].groups[0] * launches[0].groups[1] > 1
    assert len(lowered(lambda a: a.sum(), [draw(100)], "loops", True).items) == 1


@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize("literal", [True, False], ids=["literal", "parameters"])
def test_texts_compile_as_cuda(literal, arch):
    launches = [x for f, arrays in CASES.values() for x in lowered(f, arrays, "cuda", literal).items]
    for dtype in DTYPES:
        x = draw(37, 45, dtype=dtype)
        launches += lowered(of_every_dtype, [x, x], "cuda", literal).items
    texts = {launch.kernel.source for launch in launches}
    assert nvrtc.compile(prelude("cuda", True) + "".join(texts), arch)


@pytest.mark.parametrize("form", TARGETS)
def test_passes_over_few_long_rows_are_launches_of_their_own(form):
    name = "few long rows" if form == "loops" else "few channels"
    f, arrays = CASES[name]
    assert len(lowered(f, arrays, form, True).items) > 2
    assert len(lowered(*CASES["softmax"], form, True).items) == 1
