"""Functions of knet.numpy against NumPy's: values, shapes, and the dtypes by Knet's own rules."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import knet
import knet.numpy as knp

F16, BF16, F32, F64 = knp.float16, knp.bfloat16, knp.float32, knp.float64
rng = np.random.default_rng(0)


def same(got, want, dtype=None, rtol=0.0):
    """Equal shape, dtype and (to rtol of the largest) values; NaN only where NumPy has NaN."""
    assert isinstance(got, knet.Array)
    want = np.asarray(want)
    assert got.shape == want.shape, f"shape {got.shape}, NumPy {want.shape}"
    assert got.dtype == (want.dtype if dtype is None else dtype), f"dtype {got.dtype}, expected {dtype or want.dtype}"
    host = np.asarray(got)
    if rtol and host.dtype.kind == "f":
        scale = np.max(np.abs(want), initial=0.0) or 1.0
        assert np.array_equal(np.isnan(host), np.isnan(want))
        error = np.max(np.abs(np.nan_to_num(host) - np.nan_to_num(want)), initial=0.0)
        assert error <= rtol * scale, f"{host.tolist()}, NumPy {want.tolist()}"
    else:
        assert np.array_equal(host, want, equal_nan=host.dtype.kind in "fc"), f"{host.tolist()}, NumPy {want.tolist()}"


shapes = st.lists(st.integers(0, 3), min_size=0, max_size=4).map(tuple)


def filled(shape):
    return np.arange(1.0, 1 + math.prod(shape)).reshape(shape)


# --- creation ---------------------------------------------------------------------------------------------------------


def test_default_dtypes():
    for x, dtype in (
        (knp.zeros(2), F32), (knp.ones((2, 1)), F32), (knp.empty(3), F32), (knp.eye(2), F32), (knp.tri(2), F32),
        (knp.full(2, 1.0), F32), (knp.full(2, 1), knp.int64), (knp.full(2, True), knp.bool), (knp.arange(3), knp.int64),
        (knp.arange(3.0), F32), (knp.linspace(0, 1, 3), F32), (knp.asarray(1), knp.int64), (knp.asarray(1.0), F32),
        (knp.asarray(True), knp.bool), (knp.asarray(1j), knp.complex64), (knp.asarray([1, 2]), knp.int64),
        (knp.asarray([1, 2.0]), F32), (knp.asarray([[True]]), knp.bool), (knp.asarray([]), F32),
        (knp.asarray([1j, 2]), knp.complex64),
        (knp.asarray([[], []]), F32), (knp.asarray(((1, 2), (3, 4))), knp.int64), (knp.asarray([True, 2]), knp.int64),
    ):  # fmt: skip
        assert x.dtype == dtype, f"{x!r} is {x.dtype}, expected {dtype}"


@pytest.mark.parametrize(
    "dtype",
    "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 complex128".split(),
)
def test_numpy_arrays_keep_their_dtype(dtype):
    x = np.ones((2, 3), dtype)
    same(knp.asarray(x), x)
    same(knp.asarray(np.array(1, dtype)), np.array(1, dtype))
    for function in (knp.zeros, knp.ones, knp.empty):
        assert function((2,), dtype=dtype).dtype == np.dtype(dtype)
    same(knp.asarray([1, 0], dtype=dtype), np.asarray([1, 0], dtype))
    same(knp.zeros_like(x), np.zeros_like(x))
    same(knp.ones_like(knp.asarray(x)), np.ones_like(x))
    assert knp.zeros_like(x, dtype=F32).dtype == F32


def test_bfloat16_by_every_name():
    for name in ("bfloat16", knp.bfloat16, knp.bfloat16.type):
        x = knp.asarray([1.0, 2.5], dtype=name)
        assert x.dtype == BF16 and x.tolist() == [1.0, 2.5]
    assert (x + 1).dtype == BF16 and (x * x).sum().dtype == BF16 and float((x * x).sum()) == 7.25


def test_python_types_name_the_defaults():
    assert knp.zeros(1, dtype=float).dtype == F32
    assert knp.zeros(1, dtype=int).dtype == knp.int64
    assert knp.zeros(1, dtype=bool).dtype == knp.bool
    assert knp.zeros(1, dtype=complex).dtype == knp.complex64
    assert knp.astype(knp.arange(2), float).dtype == F32


def test_asarray_copies_when_told(on_cpu):
    host = np.ones(3, np.float32)
    shared, copied = knp.asarray(host), knp.array(host)
    explicit = knp.asarray(host, copy=True)
    host[0] = 5
    assert shared[0] == 5 and copied[0] == 1 and explicit[0] == 1
    assert knp.asarray(shared) is shared
    with pytest.raises(ValueError, match="copy=False"):
        knp.asarray([1.0], copy=False)
    with pytest.raises(ValueError, match=r"float32 to float64 needs a copy"):
        knp.asarray(host, dtype=F64, copy=False)


def test_big_endian_arrays_are_converted():
    x = np.arange(3, dtype=">f4")
    assert knp.asarray(x).dtype == F32 and (knp.asarray(x) + 1).tolist() == [1.0, 2.0, 3.0]


def test_lists_of_arrays_stack_and_differentiate():
    got = knet.grad(lambda x: (knp.asarray([x, 2 * x, [3.0, 4.0]]) ** 2).sum())(knp.asarray([1.0, 2.0]))
    assert got.tolist() == [10.0, 20.0]
    assert knp.asarray([knp.asarray(1.0), 2]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("args", [(5,), (2, 7), (7, 2, -2), (0,), (1.0, 2.0, 0.25), (3, 3), (0, 1, 0.3), (-3,), (5, 2)])
def test_arange(args):
    want = np.arange(*args)
    same(knp.arange(*args), want.astype(np.float32) if want.dtype == float else want)


@pytest.mark.parametrize("args", [(0, 1, 5), (2.0, -3.0, 4), (0, 1, 1), (0, 1, 0)])
def test_linspace(args):
    same(knp.linspace(*args), np.linspace(*args).astype(np.float32))
    same(knp.linspace(*args, endpoint=False, dtype=F64), np.linspace(*args, endpoint=False))


def test_matrices_of_ones_and_zeros():
    for n, m, k in itertools.product((0, 1, 3), (None, 2, 4), (-1, 0, 2)):
        same(knp.eye(n, m, k=k), np.eye(n, m, k, np.float32))
        same(knp.tri(n, m, k), np.tri(n, m, k, np.float32))
    for shape in ((3, 3), (2, 4), (2, 3, 2)):
        x = filled(shape)
        for k in (-1, 0, 1, 5):
            same(knp.tril(x, k=k), np.tril(x, k))
            same(knp.triu(x, k=k), np.triu(x, k))


def test_full():
    same(knp.full((2, 2), 3.5), np.full((2, 2), 3.5, np.float32))
    same(knp.full(3, knp.asarray(2)), np.full(3, 2))
    same(knp.full_like(np.zeros((2, 1), np.int32), 7), np.full((2, 1), 7, np.int32))


# --- dtypes -----------------------------------------------------------------------------------------------------------


def test_promotion_of_arrays():
    i64, i32, b, f32 = knp.ones(2, dtype=int), knp.ones(2, dtype=knp.int32), knp.ones(2, dtype=bool), knp.ones(2)
    f16, bf, f64, u8 = (knp.ones(2, dtype=d) for d in (F16, BF16, F64, knp.uint8))
    for got, want in (
        (i64 * f32, F32), (f32 + i64, F32), (i64 * f16, F16), (b * bf, BF16), (f32 * f64, F64), (f16 * bf, F32),
        (f16 * f32, F32), (bf * f64, F64), (i32 + i64, knp.int64), (i32 + u8, knp.int32), (b + u8, knp.uint8),
        (i64 / i64, F32), (b / b, F32), (i32 / 2, F32), (i64 // i64, knp.int64), (i64**i64, knp.int64),
        (f64 / i64, F64),
        (i64 == f32, knp.bool), (knp.exp(i64), F32), (knp.sqrt(f16), F16), (knp.where(b, i64, f16), F16),
    ):  # fmt: skip
        assert got.dtype == want, f"{got.dtype}, expected {want}"


@pytest.mark.parametrize("dtype", [F16, BF16, F32, F64, knp.int32, knp.uint8, knp.bool], ids=str)
def test_python_scalars_are_weak(dtype):
    x = knp.ones(2, dtype=dtype)
    floating = knp.finfo if dtype in (F16, BF16, F32, F64) else None
    for scalar in (2.0, np.float64(2.0)):
        want = dtype if floating else F32
        assert (x * scalar).dtype == want and (scalar * x).dtype == want and (x / scalar).dtype == want
    assert (x * 2).dtype == (knp.int64 if dtype == knp.bool else dtype)
    assert (x * True).dtype == dtype
    assert (x * 1j).dtype == (knp.complex128 if dtype == F64 else knp.complex64)


def test_arrays_of_one_number_are_not_weak():
    x = knp.ones(2)
    assert (x * np.array(2.0)).dtype == F64 and (np.array(2.0) * x).dtype == F64
    assert (x * knp.asarray(2.0, dtype=F64)).dtype == F64
    assert (x * np.float32(2.0)).dtype == F32 and (knp.ones(2, dtype=F16) * np.float32(2)).dtype == F32


def test_functions_of_two_scalars():
    assert knp.add(1, 2).dtype == knp.int64 and knp.add(1, 2) == 3
    assert knp.add(1, 2.0).dtype == F32 and knp.divide(1, 2).dtype == F32 and knp.power(2.0, 3) == 8.0


def test_result_type():
    for operands, want in (
        ((knp.int64, knp.float32), F32), ((knp.ones(1), 1.0), F32), ((1, 2.0), F32), ((True, 1), knp.int64),
        (("int8", "uint8"), knp.int16), ((F16, BF16), F32), ((knp.ones(1, dtype=int), 1.5), F32), ((1,), knp.int64),
        ((np.ones(1), 1), F64), ((knp.bool, 1), knp.int64), ((F64, 1j), knp.complex128),
    ):  # fmt: skip
        assert knp.result_type(*operands) == want
    with pytest.raises(TypeError, match="uint64 with int64"):
        knp.result_type(knp.uint64, knp.int64)
    with pytest.raises(ValueError, match="empty list"):
        knp.result_type()


def test_finfo_and_iinfo():
    assert (
        knp.finfo(BF16).bits == 16 and float(knp.finfo("float32").eps) == 2.0**-23 and knp.finfo(knp.ones(1)).bits == 32
    )
    assert knp.iinfo("int8").max == 127 and knp.iinfo(knp.arange(2)).min == -(2**63)


def test_astype():
    x = knp.asarray([-1.7, 0.0, 2.7])
    assert x.astype("int32").tolist() == [-1, 0, 2] and x.astype(bool).tolist() == [True, False, True]
    assert x.astype(F32) is x and x.astype(F16).dtype == F16
    assert knet.grad(lambda x: x.astype(F16).astype(F32).sum())(x).dtype == F32


# --- manipulation -----------------------------------------------------------------------------------------------------


@given(shapes, st.data())
def test_transpositions(shape, data):
    x = filled(shape)
    a = knp.asarray(x)
    axes = data.draw(st.permutations(range(len(shape))))
    mixed = [i - len(shape) if data.draw(st.booleans()) else i for i in axes]
    same(knp.permute_dims(a, mixed), x.transpose(axes))
    same(a.transpose(*axes) if axes else a.transpose(), x.transpose(axes))
    same(a.T, x.T)
    same(knp.transpose(a), x.T)
    if len(shape) > 1:
        i, j = data.draw(st.integers(-len(shape), len(shape) - 1)), data.draw(st.integers(0, len(shape) - 1))
        same(knp.swapaxes(a, i, j), np.swapaxes(x, i, j))
        same(knp.moveaxis(a, i, j), np.moveaxis(x, i, j))
        same(a.mT, np.swapaxes(x, -1, -2))
        same(knp.moveaxis(a, (0, 1), (-1, 0)), np.moveaxis(x, (0, 1), (-1, 0)))


@given(shapes, st.data())
def test_axes_of_size_one(shape, data):
    x = filled(shape)
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    wide = np.expand_dims(x, axis)
    same(knp.expand_dims(x, axis), wide)
    same(knp.squeeze(wide, axis), x)
    same(knp.squeeze(x), np.squeeze(x))
    same(knp.expand_dims(x, (0, -1)), np.expand_dims(x, (0, -1)))


@given(shapes, st.data())
def test_joining_and_cutting(shape, data):
    x = filled(shape)
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    same(knp.stack([x, 2 * x], axis=axis), np.stack([x, 2 * x], axis))
    if not shape:
        return
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    same(knp.concatenate([x, x[..., :0] if axis in (-1, len(shape) - 1) else x, x], axis=axis),
         np.concatenate([x, x[..., :0] if axis in (-1, len(shape) - 1) else x, x], axis))  # fmt: skip
    same(knp.concat([x, x], axis=None), np.concatenate([x, x], None))
    cuts = sorted(data.draw(st.lists(st.integers(0, 4), max_size=3)))
    for got, want in zip(knp.split(x, cuts, axis=axis), np.split(x, cuts, axis), strict=True):
        same(got, want)
    for got, want in zip(knp.unstack(x, axis=axis), np.moveaxis(x, axis, 0), strict=True):
        same(got, want)
    size = shape[axis]
    for count in range(1, 4):
        if size % count == 0:
            for got, want in zip(knp.split(x, count, axis=axis), np.split(x, count, axis), strict=True):
                same(got, want)


@given(shapes, st.data())
def test_repetitions_and_orders(shape, data):
    x = filled(shape)
    ndim = len(shape)
    same(knp.flip(x), np.flip(x))
    shift = data.draw(st.integers(-5, 5))
    same(knp.roll(x, shift), np.roll(x, shift))
    reps = tuple(data.draw(st.lists(st.integers(0, 2), max_size=4)))
    same(knp.tile(x, reps), np.tile(x, reps))
    same(knp.repeat(x, 2), np.repeat(x, 2))
    if ndim:
        axis = data.draw(st.integers(-ndim, ndim - 1))
        same(knp.flip(x, axis=axis), np.flip(x, axis))
        same(knp.roll(x, shift, axis=axis), np.roll(x, shift, axis))
        same(knp.repeat(x, 3, axis=axis), np.repeat(x, 3, axis))
    if ndim > 1:
        same(knp.roll(x, (1, -1), axis=(0, 1)), np.roll(x, (1, -1), (0, 1)))
    pairs = [(data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))) for _ in shape]
    if ndim:
        same(knp.pad(x, pairs), np.pad(x, pairs))
        same(knp.pad(x, pairs, constant_values=3.0), np.pad(x, pairs, constant_values=3.0))
        same(knp.pad(x, 1), np.pad(x, 1))
        same(knp.pad(x, (1, 2)), np.pad(x, (1, 2)))


def test_broadcasting():
    x = filled((2, 1))
    same(knp.broadcast_to(x, (3, 2, 4)), np.broadcast_to(x, (3, 2, 4)))
    same(knp.broadcast_to(np.array(1.0), 3), np.ones(3))
    for got, want in zip(
        knp.broadcast_arrays(x, filled((3,)), 2), np.broadcast_arrays(x, filled((3,)), 2), strict=True
    ):
        assert got.shape == want.shape
    assert knp.broadcast_shapes((2, 1), (3,)) == (2, 3)


def test_concatenate_promotes():
    assert knp.concatenate([knp.arange(2), knp.ones(2)]).dtype == F32


# --- element by element -----------------------------------------------------------------------------------------------


def test_operators_are_those_of_numpy():
    x, y = np.array([-2.5, 0.5, 3.0]), np.array([2.0, -1.5, 0.5])
    a, b = knp.asarray(x), knp.asarray(y)
    for name in "add sub mul truediv floordiv mod lt le gt ge eq ne".split():
        method, swapped = f"__{name}__", f"__r{name}__"
        same(getattr(a, method)(b), getattr(x, method)(y))
        same(getattr(a, method)(2.0), getattr(x, method)(2.0))
        if hasattr(a, swapped):
            same(getattr(a, swapped)(2.0), getattr(x, swapped)(2.0))
            same(getattr(a, swapped)(y), getattr(x, swapped)(y))
    same(-a, -x), same(+a, +x), same(abs(a), abs(x))
    same(abs(a) ** b, abs(x) ** y, rtol=1e-15)
    same(a**2, x**2), same(a**3, x**3, rtol=1e-15), same(2.0**a, 2.0**x, rtol=1e-15), same(a**-1, x**-1.0, rtol=1e-15)
    i, j = np.array([5, 6, -7]), np.array([3, 2, 1])
    for name in "and or xor lshift rshift".split():
        same(getattr(knp.asarray(i), f"__{name}__")(knp.asarray(j)), getattr(i, f"__{name}__")(j))
        same(getattr(knp.asarray(j), f"__r{name}__")(7), getattr(j, f"__r{name}__")(7))
    same(~knp.asarray(i), ~i), same(~(a > 0), ~(x > 0))
    same(knp.asarray(i) ** 2, i**2), same(knp.asarray(i) % 3, i % 3), same(knp.asarray(i) // -2, i // -2)


def test_operators_leave_strangers_to_the_other_side():
    class Stranger:
        def __radd__(self, other):
            return "mine"

        def __rmatmul__(self, other):
            return "mine too"

    assert knp.ones(2) + Stranger() == "mine" and knp.ones(2) @ Stranger() == "mine too"
    for operand in ("text", [1.0, 2.0], None):
        with pytest.raises(TypeError, match="unsupported operand"):
            knp.ones(2) + operand
    assert (knp.ones(2) == "text") is False and (knp.ones(2) != None) is True  # noqa: E711


def test_functions_with_another_name_or_signature():
    x = np.array([-1.5, -0.5, 0.5, 1.5, 2.5])
    same(knp.clip(x, -1, 1), np.clip(x, -1, 1)), same(knp.clip(x, None, 0.5), np.clip(x, None, 0.5))
    same(knp.clip(x, 0), np.clip(x, 0, None)), same(knp.clip(x), x)
    (
        same(knp.round(x), np.round(x)),
        same(knp.round(x / 7, 2), np.round(x / 7, 2)),
        same(knp.round(x * 77, -1), np.round(x * 77, -1)),
    )
    same(knp.round(np.array([15, 25])), np.array([15, 25]))
    same(knp.where(x > 0, x, -1.0), np.where(x > 0, x, -1.0))
    same(knp.where(np.array([2, 0]), 1, 0), np.array([1, 0]))
    assert [i.tolist() for i in knp.where(knp.asarray(x) > 0)] == [[2, 3, 4]]
    assert knp.pow is knp.power and knp.arcsin is knp.asin and knp.absolute is knp.abs
    assert knp.pi == math.pi and knp.newaxis is None and math.isnan(knp.nan)


# --- statistics -------------------------------------------------------------------------------------------------------

PAIRS = [
    ("sum", np.sum), ("prod", np.prod), ("mean", np.mean), ("max", np.max), ("min", np.min), ("any", np.any),
    ("all", np.all), ("count_nonzero", np.count_nonzero), ("var", np.var), ("std", np.std),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function"), PAIRS, ids=[n for n, _ in PAIRS])
def test_reductions(name, function):
    for shape in ((), (3,), (2, 3), (2, 1, 4)):
        x = np.asarray(np.round(rng.normal(size=shape) * 2, 1))
        axes = [None, *range(-len(shape), len(shape)), (), *itertools.permutations(range(len(shape)), 2)]
        for axis, keepdims in itertools.product(axes, (False, True)):
            want = np.asarray(function(x, axis=axis, keepdims=keepdims))
            same(getattr(knp, name)(x, axis=axis, keepdims=keepdims), want, rtol=1e-14)
            if hasattr(knet.Array, name):
                same(getattr(knp.asarray(x), name)(axis, keepdims=keepdims), want, rtol=1e-14)


def test_reductions_of_nothing():
    x = knp.zeros((0, 2))
    assert x.sum(0).tolist() == [0.0, 0.0] and x.prod(0).tolist() == [1.0, 1.0] and x.sum().item() == 0.0
    assert np.isnan(np.asarray(x.mean(0))).all() and not x.any() and x.all()
    for name in ("max", "min", "argmax", "logsumexp"):
        with pytest.raises(ValueError, match=f"{name} of no elements is undefined"):
            getattr(knp, name)(x, axis=0)


def test_dtypes_of_reductions():
    for dtype, want in (
        (knp.int8, knp.int64),
        (bool, knp.int64),
        (knp.uint8, knp.uint64),
        (F16, F16),
        (BF16, BF16),
        (F32, F32),
    ):
        x = knp.ones(300, dtype=dtype)
        assert knp.sum(x).dtype == want and float(knp.sum(x)) == 300 and knp.prod(x).dtype == want
    assert knp.sum(knp.ones(2), dtype=F64).dtype == F64 and knp.mean(knp.arange(3)).dtype == F32
    assert knp.max(knp.ones(2, dtype=knp.int8)).dtype == knp.int8 and knp.var(knp.arange(4)).dtype == F32
    assert float(knp.sum(knp.full(5000, 0.1, dtype=F16))) == pytest.approx(500, rel=1e-3)  # accumulated in float32


def test_var_and_std_with_correction():
    x = rng.normal(size=(4, 3))
    same(knp.var(x, axis=0, correction=1), x.var(0, ddof=1), rtol=1e-14)
    same(knp.asarray(x).std(correction=1), np.asarray(x.std(ddof=1)), rtol=1e-14)
    assert math.isnan(knp.var(knp.ones(1), correction=1).item())


def test_arg_reductions_and_sorting():
    x = np.round(rng.normal(size=(3, 4)), 1)
    for name, function in (("argmax", np.argmax), ("argmin", np.argmin)):
        for axis, keepdims in itertools.product((None, 0, 1, -1), (False, True)):
            same(getattr(knp, name)(x, axis, keepdims=keepdims), function(x, axis, keepdims=keepdims))
            same(getattr(knp.asarray(x), name)(axis, keepdims=keepdims), function(x, axis, keepdims=keepdims))
    for axis in (0, 1, -1):
        same(knp.argsort(x, axis=axis), np.argsort(x, axis=axis, kind="stable"))


def test_scans():
    x = rng.normal(size=(2, 3))
    for axis in (None, 0, 1, -1):
        same(knp.cumsum(x, axis), np.cumsum(x, axis), rtol=1e-15)
        same(knp.cumprod(x, axis), np.cumprod(x, axis), rtol=1e-15)
    same(
        knp.cumulative_sum(x, axis=1, include_initial=True),
        np.concatenate([np.zeros((2, 1)), np.cumsum(x, 1)], 1),
        rtol=1e-15,
    )
    same(knp.cumulative_prod(x[0], include_initial=True), np.concatenate([[1.0], np.cumprod(x[0])]), rtol=1e-15)
    same(knp.cumsum(knp.asarray([1, 2], dtype=knp.int8)), np.array([1, 3]))
    with pytest.raises(ValueError, match="x has 2 axes, name one"):
        knp.cumulative_sum(x)


def test_logsumexp():
    x = rng.normal(size=(2, 3)) * 3
    for axis in (None, 0, (0, 1)):
        same(knp.logsumexp(x, axis=axis), np.log(np.exp(x).sum(axis)), rtol=1e-14)
    assert knp.logsumexp(knp.asarray([1000.0, 1000.0])).item() == pytest.approx(1000 + math.log(2), rel=1e-7)


# --- products and norms -----------------------------------------------------------------------------------------------

SPECS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,kj->ik", (2, 3), (4, 3)), ("ij,ij->", (2, 3), (2, 3)), ("i,j->ij", (2,), (3,)),
    ("i,i->", (3,), (3,)), ("i,i->i", (3,), (3,)), ("ii->i", (3, 3)), ("ii->", (3, 3)), ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ij->j", (2, 3)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)), ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)), ("i,ij,j->", (2,), (2, 3), (3,)),
    ("...ij,...jk->...ik", (2, 3, 4), (4, 2)),
    ("...i->...", (2, 3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ba", (2, 3)), ("i,i", (3,), (3,)),
    ("ij,k->kji", (2, 3), (4,)),
    ("...,i->...i", (2, 3), (4,)), ("iij->ij", (2, 2, 3)), ("iji->j", (2, 3, 2)), ("iij,j->i", (2, 2, 3), (3,)),
    (",i->i", (), (3,)),
    ("a,b,c->abc", (2,), (3,), (2,)), ("ij,ik->ijk", (2, 3), (2, 4)), ("ijk,ik->ij", (2, 3, 4), (2, 4)), ("i->", (0,)),
    ("ij,jk->ik", (2, 0), (0, 3)), ("ijkl,klm->ijm", (2, 2, 3, 2), (3, 2, 4)), ("b...,b...->...", (2, 3, 4), (2, 3, 4)),
    ("iii->i", (3, 3, 3)), ("ij,ij,ij->ij", (2, 3), (2, 3), (2, 3)), (" i j , j k -> k i ", (2, 3), (3, 4)),
    ("bd,de->be", (1, 3), (3, 2)), ("...ij,...jk", (3, 2, 2), (1, 2, 2)),
    ("ij,jk,kl,lm->im", (2, 2), (2, 3), (3, 2), (2, 2)),
    ("ik,jk->ij", (2, 3), (4, 3)), ("ki,kj->ij", (3, 2), (3, 4)), ("ijj->i", (2, 3, 3)), ("i,j,i->j", (2,), (3,), (2,)),
]  # fmt: skip


@pytest.mark.parametrize("case", SPECS, ids=[s[0] for s in SPECS])
def test_einsum(case):
    spec, *sizes = case
    arrays = [rng.normal(size=s) for s in sizes]
    same(knp.einsum(spec, *arrays), np.einsum(spec, *arrays), rtol=1e-13)
    # The gradient of a sum of products by one operand is a sum of products of the others.
    out = np.einsum(spec, *arrays)
    w = np.asarray(rng.normal(size=out.shape))
    grads = knet.vjp(lambda *xs: knp.einsum(spec, *xs), *map(knp.asarray, map(np.asarray, arrays)))[1](w)
    for x, g in zip(arrays, grads, strict=True):
        assert g.shape == np.shape(x)
        # <gradient, x> is the sum itself, because it is linear in each operand.
        assert float(np.sum(np.asarray(g) * x)) == pytest.approx(float(np.sum(w * out)), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(
    ("spec", "sizes", "text"),
    [
        ("ij,jk", [(2, 3)], "2 terms for 1 operands"),
        ("ij", [(2,)], "2 letters and 1 axes"),
        ("ij,jk->ik", [(2, 3), (4, 2)], "axis 'j' has sizes 3 and 4"),
        ("ij->k", [(2, 3)], "must name letters of the operands"),
        ("ij->ii", [(2, 3)], "each once"),
        ("i?", [(2, 3)], "only letters"),
        ("b...,b->b", [(2, 3), (2,)], "the output lacks"),
        ("...ijk", [(2, 3)], "more letters than its operand has axes"),
    ],
)
def test_einsum_errors(spec, sizes, text):
    with pytest.raises(ValueError, match=rf"(?s)einsum.*{text.replace('?', '.')}.*\n  fix: "):
        knp.einsum(spec, *map(knp.ones, sizes))


@given(st.data())
def test_matmul(data):
    m, k, n = (data.draw(st.integers(0, 3)) for _ in range(3))
    left = data.draw(st.sampled_from([(k,), (m, k), (2, m, k), (1, m, k), (3, 1, m, k)]))
    right = data.draw(st.sampled_from([(k,), (k, n), (2, k, n), (1, k, n), (1, 2, k, n)]))
    x, w = filled(left), filled(right)
    same(knp.matmul(x, w), np.matmul(x, w), rtol=1e-15)
    same(knp.asarray(x) @ w, np.matmul(x, w), rtol=1e-15)
    same(x @ knp.asarray(w), np.matmul(x, w), rtol=1e-15)


def test_matmul_promotes_and_counts():
    assert (knp.ones((2, 2)) @ knp.ones((2, 2), dtype=int)).dtype == F32
    assert (knp.arange(4).reshape(2, 2) @ knp.arange(2)).tolist() == [1, 3]
    x = knp.asarray(np.full((1, 2048), 0.1), dtype=F16)
    assert float((x @ x.T)[0, 0]) == pytest.approx(20.48, rel=2e-3)


@pytest.mark.parametrize(
    ("a", "b", "axes"),
    [((2, 3), (3, 2), 1), ((2, 3), (2, 3), 2), ((2,), (3,), 0), ((2, 3, 4), (4, 3), ([1, 2], [1, 0])),
     ((2, 3), (3, 4), ([-1], [0])),
     ((3, 2, 4), (5, 4, 3), ((0, 2), (2, 1)))],
)  # fmt: skip
def test_tensordot(a, b, axes):
    x, y = rng.normal(size=a), rng.normal(size=b)
    same(knp.tensordot(x, y, axes=axes), np.tensordot(x, y, axes), rtol=1e-14)


def test_dot_outer_vecdot():
    for a, b in (
        ((), (3,)),
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((2, 3), (3, 2)),
        ((2, 2, 3), (3,)),
        ((2, 3), (4, 3, 2)),
        ((4, 2, 3), (3, 2)),
    ):
        x, y = np.asarray(rng.normal(size=a)), rng.normal(size=b)
        same(knp.dot(x, y), np.dot(x, y), rtol=1e-14)
        same(knp.asarray(x).dot(y), np.dot(x, y), rtol=1e-14)
    x, y = rng.normal(size=(2, 3)), rng.normal(size=(4,))
    same(knp.outer(x, y), np.outer(x, y))
    z = rng.normal(size=(3,))
    same(knp.vecdot(x, z), np.vecdot(x, z), rtol=1e-14)
    same(knp.vecdot(x, x, axis=-2), (x * x).sum(0), rtol=1e-14)


def test_norms():
    x = rng.normal(size=(3, 4))
    for axis, keepdims in itertools.product((None, 0, 1, (0, 1)), (False, True)):
        for order in (1, 2, 3, 0.5, 0, math.inf, -math.inf):
            want = np.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=order)
            same(knp.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=order), want, rtol=1e-14)
    same(knp.linalg.norm(x), np.asarray(np.linalg.norm(x)), rtol=1e-14)
    same(knp.linalg.norm(x, "fro"), np.asarray(np.linalg.norm(x, "fro")), rtol=1e-14)
    same(knp.linalg.norm(x[0], 1), np.asarray(np.linalg.norm(x[0], 1)), rtol=1e-14)
    same(knp.linalg.norm(x, axis=1), np.linalg.norm(x, axis=1), rtol=1e-14)
    for order in (1, 2, math.inf, -1, "nuc"):
        same(knp.linalg.norm(x, order), np.asarray(np.linalg.norm(x, order)), rtol=1e-14)


@pytest.mark.parametrize("order", [1, 2, 3, math.inf])
def test_the_gradient_of_a_norm_is_finite_at_zero(order):
    got = knet.grad(lambda x: knp.linalg.vector_norm(x, ord=order))(knp.zeros(3))
    assert got.tolist() == [0.0, 0.0, 0.0]
    got = knet.grad(lambda x: knp.linalg.norm(x))(knp.asarray([3.0, 4.0]))
    np.testing.assert_allclose(np.asarray(got), [0.6, 0.8], rtol=1e-6)


@given(shapes)
@example((2, 3))
def test_every_method_is_the_function_of_its_name(shape):
    x = knp.asarray(filled(shape))
    for name in ("sum", "prod", "mean", "any", "all", "squeeze", "ravel", "round"):
        got, want = getattr(x, name)(), getattr(knp, name)(x)
        assert got.dtype == want.dtype and np.array_equal(np.asarray(got), np.asarray(want), equal_nan=True)
    assert x.flatten().shape == (x.size,) and x.clip(0, 2).shape == shape and x.ndim == len(shape)
    assert x.nbytes == 8 * x.size and x.itemsize == 8
