"""Generated matrix products against NumPy in float64, in the forms of CPU devices and GPUs, both executed on PoCL."""

import itertools

import numpy as np
import nvrtc
import pytest
from standin import CUDA, ITEMS, LOOPS, Lowering, run

from knet.compiler.kernels.contraction import Contraction
from knet.compiler.kernels.prelude import prelude
from knet.compiler.kernels.products import matmul, product
from knet.compiler.layout import Buffer, Ref
from knet.compiler.scalar import loaded, stored
from knet.core import dtypes
from knet.core.ops import linalg

from .thorough import combinations

# The local memory of a CPU decides what is copied into it; registers, how large tiles are.
TARGETS = {
    "loops": LOOPS,
    "roomy": LOOPS._replace(local_bytes=1 << 20),
    "narrow": LOOPS._replace(vector=4),
    "items": ITEMS,
}
MAIN = ("roomy", "items")
BOTH = [pytest.param(TARGETS[name], literal, id=f"{name}-{literal}") for name in MAIN for literal in (True, False)]

SHAPES = [
    (1, 1, 1), (3, 5, 7), (17, 33, 65), (13, 97, 31), (100, 10, 64), (1, 50, 40), (1, 300, 40), (31, 1, 40),
    (5, 70, 100), (2, 3, 0), (65, 64, 64), (40, 70, 300),
]  # fmt: skip
EPS = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}


def some(dtype, form, literal):
    """float32 with sizes as literals for every target, and with sizes as parameters, and other dtypes, for two."""
    return (literal and (dtype == "float32" or form in MAIN)) or (dtype == "float32" and form in MAIN)


def array(rng, shape, dtype):
    """Numbers that a dtype holds."""
    dtype = dtypes.canonical(dtype)
    if dtype == dtypes.bool_:
        return rng.random(shape) < 0.1
    if dtype.kind in "iu":
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return rng.standard_normal(shape).astype(dtype)


def check(y, x, w, context=""):
    """Within the bound of k + 2 roundings of the exact product; integers and truth values are NumPy's."""
    name = y.dtype.name
    if name not in EPS:
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(y, np.matmul(x, w), err_msg=context)
        return
    wide = np.longdouble if name == "float64" else np.float64
    x, w = x.astype(wide), w.astype(wide)
    exact, size = np.matmul(x, w), np.matmul(np.abs(x), np.abs(w))
    sums = min(EPS[name], EPS["float32"])  # half types are summed in float32
    bound = (x.shape[-1] + 2) * sums * size + 2 * EPS[name] * np.abs(exact) + 1e-37
    assert y.shape == exact.shape, context
    assert (np.abs(y.astype(wide) - exact) <= bound).all(), (context, np.max(np.abs(y.astype(wide) - exact) / bound))


def turned(x):
    """The same matrices, stored by columns."""
    return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)


def whole(x):
    """The array whose memory a view shows."""
    while x.base is not None:
        x = x.base
    return x


def multiply(x, w, target, literal, op=linalg.matmul):
    (y,), lowering = run(matmul, op, (x, w), {}, target, literal, (whole(x), whole(w)))
    return y, lowering


@pytest.mark.parametrize(
    ("form", "literal"), combinations(TARGETS, (True, False), default=lambda form, literal: literal or form in MAIN)
)
def test_shapes_and_transposes(form, literal):
    rng = np.random.default_rng(0)
    turns = [(False, False), (True, False), (False, True), (True, True)]
    for number, (m, n, k) in enumerate(SHAPES):
        turn_x, turn_w = turns[number % 4]
        x, w = array(rng, (m, k), "float32"), array(rng, (k, n), "float32")
        x, w = turned(x) if turn_x else x, turned(w) if turn_w else w
        check(multiply(x, w, TARGETS[form], literal)[0], x, w, f"{(m, n, k)} {turn_x} {turn_w}")


@pytest.mark.parametrize(
    ("dtype", "form", "literal"),
    combinations(
        ["float64", "float16", "bfloat16", "bool", "int8", "uint16", "int32", "int64"], MAIN, (True, False),
        default=lambda dtype, _form, literal: literal or dtype in ("float16", "int32"),
    ),
)  # fmt: skip
def test_dtypes(dtype, form, literal):
    target = TARGETS[form]
    rng = np.random.default_rng(1)
    for (m, n, k), turn in itertools.product([(3, 5, 7), (33, 70, 65)], (False, True)):
        x, w = array(rng, (m, k), dtype), array(rng, (k, n), dtype)
        x, w = (turned(x), turned(w)) if turn else (x, w)
        y, _ = multiply(x, w, target, literal)
        assert y.dtype == x.dtype
        check(y, x, w, f"{(m, n, k)} {turn}")


@pytest.mark.parametrize(("target", "literal"), BOTH)
def test_batches_that_broadcast(target, literal):
    rng = np.random.default_rng(2)
    shapes = itertools.cycle([(5, 7, 9), (1, 20, 16), (18, 33, 17)])
    for a, b in [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((2, 1), (1, 4)),
        ((), (5,)),
        ((4,), ()),
        ((2, 3), (2, 1)),
        ((300,), (300,)),
    ]:
        m, n, k = next(shapes) if a != (300,) else (2, 3, 4)
        x, w = array(rng, (*a, m, k), "float32"), array(rng, (*b, k, n), "float32")
        check(multiply(x, w, target, literal)[0], x, w, f"{a} {b} {(m, n, k)}")
        check(multiply(turned(x), w, target, literal)[0], x, w, f"{a} {b} {(m, n, k)} turned")


@pytest.mark.parametrize(("target", "literal"), BOTH)
def test_any_strides(target, literal):
    """Reversed, every other and repeated rows and columns of x, w and y; nothing else of y's memory changes."""
    rng = np.random.default_rng(3)
    m, n, k = 19, 35, 18
    base_x, base_w = array(rng, (2, 2 * m, 3 * k), "float32"), array(rng, (2, 2 * k, 2 * n), "float32")
    views_x = [base_x[:, ::2, ::-3], base_x[::-1, m:, k : 2 * k], np.broadcast_to(base_x[:, :1, :k], (2, m, k))]
    views_w = [base_w[:, k:, ::2], base_w[:, ::-2, n:], np.broadcast_to(base_w[:, :k, :1], (2, k, n))]
    picks = [lambda y: y[:, 1::2, ::-2], lambda y: y[:, :n, m : 2 * m].swapaxes(1, 2), lambda y: y[::-1, :m, 3 : n + 3]]
    for i, x in enumerate(views_x):
        for j, pick in enumerate(picks):
            x, w = x[:, :m, :k], views_w[(i + j) % 3][:, :k, :n]
            lowering = Lowering(target, literal)
            host = array(rng, (2, 2 * n, 2 * n), "float32")
            view = pick(host)[:, :m, :n]
            y = lowering.put(view, host)
            everything = Ref(y.buffer, host.shape)
            product(lowering, lowering.put(x, base_x), lowering.put(w, base_w), y)
            check(lowering.get(y), x, w)
            got = lowering.get(everything)
            pick(got)[:, :m, :n] = 0
            view[...] = 0
            np.testing.assert_array_equal(got, host)


@pytest.mark.parametrize(("target", "literal"), BOTH)
def test_matvec(target, literal):
    rng = np.random.default_rng(4)
    for k, n in [(1, 1), (7, 5), (100, 70), (40, 130)]:
        v, w, u = array(rng, (k,), "float32"), array(rng, (k, n), "float32"), array(rng, (n,), "float32")
        for x, y in [(v, w), (v, turned(w)), (w, u), (turned(w), u), (v, v[::-1])]:
            got, _ = multiply(x, y, target, literal, linalg.matvec)
            assert got.shape == np.matmul(x, y).shape
            check(got.reshape(-1, 1), np.atleast_2d(x if x.ndim == 2 else y.T if y.ndim == 2 else x),
                  np.reshape(y if x.ndim == 2 or y.ndim == 1 else x, (-1, 1)))  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "form", "literal"),
    combinations(
        ["float32", "float16", "int8", "bool"], MAIN, (True, False),
        default=lambda dtype, _form, literal: literal or dtype == "float32",
    ),
)  # fmt: skip
def test_long_sums_are_split(dtype, form, literal):
    """Parts are summed in an order of their own, so that the same product has the same bits each time."""
    target = TARGETS[form]
    rng = np.random.default_rng(5)
    for m, n, k in [(9, 12, 9001), (1, 1, 20000), (3, 40, 8192)]:
        x, w = turned(array(rng, (m, k), dtype)), array(rng, (k, n), dtype)
        y, lowering = multiply(x, w, target, literal)
        assert [launch.name for launch in lowering.items][-1] == "parts"
        check(y, x, w, f"{(m, n, k)}")
        np.testing.assert_array_equal(y, multiply(x, w, target, literal)[0])


@pytest.mark.parametrize(
    ("dtype", "form", "literal"),
    combinations(["float32", "float16", "int32"], TARGETS, (True, False), default=some),
)
def test_epilogue(dtype, form, literal):
    """A bias and relu in place of storing: each element is passed once, with its row and column."""
    target = TARGETS[form]
    rng = np.random.default_rng(6)
    for batch, m, n, k in [((), 33, 70, 40), ((3,), 5, 21, 30), ((3,), 20, 1, 64), ((), 2, 3, 9000)]:
        x, w = array(rng, (*batch, m, k), dtype) // 8, array(rng, (*batch, k, n), dtype) // 8
        lowering = Lowering(target, literal)
        b, first = lowering.put(array(rng, (n,), dtype) // 8), array(rng, (*batch, m, n), dtype) // 8
        z = lowering.put(first)

        def add(writer, value, row, column, b=b, z=z, n=n, kind=b.dtype):
            bias = loaded(f"{writer.array(b)}[{column}]", kind)
            to = f"{writer.array(z, write=True)}[{row} * {writer.number(n)} + {column}]"
            y = f"{value} + {bias}"
            return f"{to} = {stored(f'{loaded(to, kind)} + ({y} > 0 ? {y} : 0)', kind)};"

        shape = Ref(Buffer("nowhere", 0, 0, z.dtype), (*batch, m, n))
        product(lowering, lowering.put(x), lowering.put(w), shape, epilogue=add)
        plain = Lowering(target, literal)
        y = plain.put(np.zeros_like(first))
        product(plain, plain.put(x), plain.put(w), y)
        wide = np.float32 if dtype == "float16" else first.dtype
        # float32: the product without an epilogue may be another sum, of rows of several matrices
        value, bias = plain.get(y).astype(wide), lowering.get(b).astype(wide)
        with np.errstate(over="ignore"):
            expected = (first.astype(wide) + np.maximum(value + bias, 0)).astype(first.dtype)
        if dtype == "int32":
            np.testing.assert_array_equal(lowering.get(z), expected)
        else:
            close = {"float32": 1e-5, "float16": 3e-3}[dtype] * (1 + np.sqrt(k))
            np.testing.assert_allclose(lowering.get(z).astype(wide), expected.astype(wide), atol=close, rtol=1e-2)


@pytest.mark.parametrize(
    ("dtype", "form", "literal"), combinations(["float32", "bfloat16"], TARGETS, (True, False), default=some)
)
def test_elements_by_a_function(dtype, form, literal):
    """x is read through a function of row and k: here a sliding window, whose products are convolutions."""
    target = TARGETS[form]
    rng = np.random.default_rng(7)
    for batch, (m, n, k) in itertools.product([(), (3,)], [(50, 20, 25), (4, 5, 9000)]):
        count = int(np.prod(batch))
        signal, w = array(rng, (count * m + k,), dtype), array(rng, (*batch, k, n), dtype)
        x = np.lib.stride_tricks.sliding_window_view(signal, k)[: count * m].reshape(*batch, m, k)
        lowering = Lowering(target, literal)
        s, y = lowering.put(signal), lowering.put(np.zeros((*batch, m, n), w.dtype))
        shape = Ref(Buffer("nowhere", 0, 0, w.dtype), x.shape)
        element = lambda writer, row, step, s=s: loaded(f"{writer.array(s)}[{row} + {step}]", s.dtype)  # noqa: E731
        product(lowering, shape, lowering.put(w), y, elements=element)
        check(lowering.get(y), x, w, f"{batch} {(m, n, k)}")


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_small_products_are_one_launch(target):
    rng = np.random.default_rng(8)
    for m, n, k in [(100, 10, 64), (64, 10, 100), (1, 10, 500), (32, 32, 64)]:
        x, w = array(rng, (m, k), "float32"), array(rng, (k, n), "float32")
        for a, b in itertools.product((x, turned(x)), (w, turned(w))):
            _, lowering = multiply(a, b, target._replace(local_bytes=max(target.local_bytes, 1 << 16)), True)
            assert len(lowering.items) == 1, (m, n, k)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_eager_products_share_kernels(target):
    """Sizes are parameters: products of one structure are one text, whatever their sizes."""
    rng = np.random.default_rng(9)
    texts = set()
    for m, n, k in [(40, 40, 50), (37, 61, 40), (50, 33, 64), (64, 64, 33)]:
        _, lowering = multiply(array(rng, (m, k), "float32"), array(rng, (k, n), "float32"), target, False)
        texts |= {launch.kernel.source for launch in lowering.items}
    assert len(texts) <= 3


def test_dtypes_without_products():
    x = np.ones((2, 2), np.complex64)
    assert run(matmul, linalg.matmul, (x, x), {}, LOOPS, True)[0] is None
    x = np.ones((2, 2), np.float64)
    assert run(matmul, linalg.matmul, (x, x), {}, ITEMS._replace(doubles=False), True)[0] is None


def test_nothing_is_launched_for_no_elements():
    for target in (LOOPS, ITEMS):
        _, lowering = multiply(np.ones((0, 3), np.float32), np.ones((3, 4), np.float32), target, True)
        assert not lowering.items


def test_batches_of_one_matrix_are_rows():
    """A stack of x times one w is one product; axes of the batch are merged where strides allow it."""

    def ref(shape, strides=None):
        return Ref(Buffer("input", 0, 0, dtypes.float32), shape, strides)

    p = Contraction(ref((4, 5, 6, 7)), ref((7, 8)), ref((4, 5, 6, 8)))
    assert (p.m, p.n, p.k, p.batch) == (120, 8, 7, [])
    p = Contraction(ref((4, 5, 6, 7)), ref((4, 5, 7, 8)), ref((4, 5, 6, 8)))
    assert [axis.size for axis in p.batch] == [20]
    p = Contraction(ref((4, 5, 6, 7)), ref((5, 7, 8)), ref((4, 5, 6, 8)))
    assert [axis.size for axis in p.batch] == [4, 5]
    p = Contraction(ref((6, 7)), ref((7, 8)), ref((6, 8), (1, 6)))  # the transpose lies by rows
    assert (p.m, p.n, p.yn) == (8, 6, 1)


@pytest.mark.parametrize("literal", [True, False])
def test_cuda_compiles_the_texts(literal):
    rng = np.random.default_rng(10)
    target = CUDA
    kernels = {}
    for dtype in ("float32", "float64", "float16", "bfloat16", "int8", "uint64", "bool"):
        for batch, m, n, k in [((), 512, 512, 512), ((3, 2), 5, 70, 9), ((), 20, 25, 9000)]:
            x, w = array(rng, (*batch, m, k), dtype), turned(array(rng, (*batch[1:], k, n), dtype))
            lowering = Lowering(target, literal)  # launches are kept and not executed
            product(
                lowering, lowering.put(x), lowering.put(w, whole(w)), lowering.put(np.zeros((*batch, m, n), x.dtype))
            )
            kernels.update({launch.kernel.name: launch.kernel.source for launch in lowering.items})
    assert len(kernels) > 20
    nvrtc.compile(prelude("cuda", True) + "".join(kernels.values()))
