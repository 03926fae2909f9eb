"""Shapes and dtypes: the rule of each primitive says what the computation yields, over random shapes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from catalog import BOOL, DTYPES, ROWS, Draw, aval, each
from hypothesis import example, given
from hypothesis import strategies as st

import knet.numpy as knp
from knet.core import ShapedArray, registry

shapes = st.lists(st.integers(0, 3), min_size=0, max_size=4).map(tuple)
ELEMENTWISE = [name for name, row in ROWS.items() if row.elementwise]


def agree(name, arrays, params):
    """The rule and the computation on arrays."""
    primitive = registry[name]
    rules = each(primitive.aval(*(ShapedArray(a.shape, a.dtype) for a in arrays), **params))
    with np.errstate(all="ignore"):
        results = each(primitive(*map(knp.asarray, arrays), **params))
    for rule, got in zip(rules, results, strict=True):
        assert (got.shape, got.dtype) == (rule.shape, rule.dtype), (
            f"{name}: {got.dtype}{got.shape}, the rule says {rule}"
        )
        host = np.asarray(got)
        assert (host.shape, host.dtype) == (rule.shape, rule.dtype)
    return results


@st.composite
def broadcasting(draw, count):
    """Shapes that broadcast with one another."""
    common = draw(shapes)
    found = []
    for _ in range(count):
        start = draw(st.integers(0, len(common)))
        found.append(tuple(1 if draw(st.booleans()) else n for n in common[start:]))
    return found


@pytest.mark.parametrize("name", ELEMENTWISE)
@given(st.data())
def test_elementwise(name, data):
    row = ROWS[name]
    operands = [o for o in row.cases[0].operands if isinstance(o, Draw)]
    sizes = data.draw(broadcasting(len(operands)))
    rng = np.random.default_rng(0)
    arrays = []
    for operand, shape in zip(operands, sizes, strict=True):
        dtype = operand.dtype or data.draw(st.sampled_from(row.dtypes))
        arrays.append(operand.domain.draw(rng, shape, dtype))
    (result,) = agree(name, arrays, {})
    assert result.shape == np.broadcast_shapes(*sizes)


@pytest.mark.parametrize("name", ROWS)
def test_every_case_in_every_dtype(name):
    row = ROWS[name]
    for case, dtype in itertools.product(row.cases, row.dtypes):
        arrays = case.draw(dtype, name)
        agree(name, arrays, case.params)
        assert aval(row, arrays, case.params) == aval(row, arrays, case.params)


@given(shapes, shapes)
def test_shapes_broadcast_as_in_numpy(a, b):
    x, y = np.zeros(a), np.zeros(b)
    try:
        want = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(ValueError, match="do not broadcast"):
            knp.asarray(x) + knp.asarray(y)
        return
    got = knp.asarray(x) + knp.asarray(y)
    assert got.shape == want and (knp.asarray(y) + knp.asarray(x)).shape == want
    assert knp.broadcast_to(x, want).shape == want


@given(shapes, st.data())
@example((2, 0, 3), None)
def test_reductions_over_random_axes(shape, data):
    axes = (1,) if data is None else tuple(data.draw(st.sets(st.integers(0, len(shape) - 1)))) if shape else ()
    keepdims = data is None or data.draw(st.booleans())
    x = np.arange(1.0, 1 + math.prod(shape)).reshape(shape)
    for name, function in (
        ("reduce_sum", np.sum),
        ("reduce_prod", np.prod),
        ("reduce_any", np.any),
        ("reduce_all", np.all),
    ):
        (got,) = agree(name, [x], {"axis": tuple(sorted(axes)), "keepdims": keepdims})
        np.testing.assert_allclose(np.asarray(got), function(x, axis=axes, keepdims=keepdims), rtol=1e-14)
    if all(shape[i] for i in axes):
        for name, function in (("reduce_max", np.max), ("reduce_min", np.min)):
            (got,) = agree(name, [x], {"axis": tuple(sorted(axes)), "keepdims": keepdims})
            assert np.array_equal(np.asarray(got), function(x, axis=axes, keepdims=keepdims))


@given(shapes, st.data())
def test_reshape_there_and_back(shape, data):
    size = math.prod(shape)
    x = np.arange(float(size)).reshape(shape)
    divisors = [n for n in range(1, size + 1) if size % n == 0] or [0]
    n = data.draw(st.sampled_from(divisors))
    target = (n, size // n) if n else (0, 3)
    (y,) = agree("reshape", [x], {"shape": target})
    assert np.array_equal(np.asarray(y), x.reshape(target))
    (back,) = agree("reshape", [np.asarray(y)], {"shape": shape})
    assert np.array_equal(np.asarray(back), x)
    if size:
        assert knp.reshape(x, (-1, n)).shape == (size // n, n) and knp.reshape(x, -1).shape == (size,)


@given(shapes, st.data())
def test_permute_there_and_back(shape, data):
    axes = tuple(data.draw(st.permutations(range(len(shape)))))
    x = np.arange(float(math.prod(shape))).reshape(shape)
    (y,) = agree("permute", [x], {"axes": axes})
    assert np.array_equal(np.asarray(y), x.transpose(axes))
    (back,) = agree("permute", [np.asarray(y)], {"axes": tuple(np.argsort(axes).tolist())})
    assert np.array_equal(np.asarray(back), x)


@given(shapes, st.data())
def test_slice_and_its_adjoint(shape, data):
    x = np.arange(1.0, 1 + math.prod(shape)).reshape(shape)
    cuts = []
    for n in shape:
        bound = st.none() | st.integers(-n - 1, n + 1)
        cuts.append(slice(data.draw(bound), data.draw(bound), data.draw(st.sampled_from([1, 2, 3, -1, -2]))))
    ranges = [range(*c.indices(n)) for c, n in zip(cuts, shape, strict=True)]
    sizes = tuple(len(r) for r in ranges)
    starts = tuple(r.start if len(r) else 0 for r in ranges)
    steps = tuple(r.step for r in ranges)
    (y,) = agree("slice", [x], {"starts": starts, "sizes": sizes, "steps": steps})
    assert np.array_equal(np.asarray(y), x[tuple(cuts)])
    (spread,) = agree("unslice", [np.asarray(y)], {"shape": shape, "starts": starts, "steps": steps})
    want = np.zeros(shape)
    want[tuple(cuts)] = x[tuple(cuts)]
    assert np.array_equal(np.asarray(spread), want)
    # <slice x, z> = <x, unslice z>
    assert float(np.sum(np.asarray(y) * np.asarray(y))) == float(np.sum(x * want))
    (changed,) = agree("update_slice", [x, -np.asarray(y)], {"starts": starts, "steps": steps})
    want = x.copy()
    want[tuple(cuts)] *= -1
    assert np.array_equal(np.asarray(changed), want)


def test_parts_of_another_dtype_are_converted(backend):
    """Though rules say one dtype: memory of another must not be read as if it had the result's."""
    x, u, ids = knp.arange(4.0, dtype="float64"), knp.asarray([9.0, 8.0]), knp.asarray([1, 2])
    assert np.array_equal(registry["update_slice"](x, u, starts=(1,), steps=(1,)), [0, 9, 8, 3])
    assert np.array_equal(registry["concatenate"](x, u, axis=0), [0, 1, 2, 3, 9, 8])
    assert np.array_equal(registry["put"](x, ids, u), [0, 9, 8, 3])
    assert np.array_equal(registry["put_add"](x, ids, u), [0, 10, 10, 3])


@given(shapes.filter(bool), st.data())
def test_concatenate_and_split(shape, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    xs = [np.random.default_rng(i).normal(size=(*shape[:axis], n, *shape[axis + 1 :])) for i, n in enumerate(sizes)]
    (y,) = agree("concatenate", xs, {"axis": axis})
    assert np.array_equal(np.asarray(y), np.concatenate(xs, axis))
    for got, want in zip(knp.split(y, np.cumsum(sizes)[:-1].tolist(), axis=axis), xs, strict=True):
        assert np.array_equal(np.asarray(got), want)


@given(shapes, st.data())
def test_flip_is_its_own_inverse(shape, data):
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, len(shape) - 1))))) if shape else ()
    x = np.arange(float(math.prod(shape))).reshape(shape)
    (y,) = agree("flip", [x], {"axis": axes})
    assert np.array_equal(np.asarray(y), np.flip(x, axes))
    assert np.array_equal(np.asarray(registry["flip"](y, axis=axes)), x)


@given(st.data())
def test_matmul(data):
    m, k, n = (data.draw(st.integers(0, 4)) for _ in range(3))
    left, right = data.draw(broadcasting(2))
    x, w = np.ones((*left[:2], m, k)), np.ones((*right[:2], k, n))
    try:
        want = np.matmul(x, w)
    except ValueError:
        return
    (y,) = agree("matmul", [x, w], {})
    assert np.array_equal(np.asarray(y), want)


@given(st.data())
def test_windows_that_fit(data):
    dims = data.draw(st.integers(1, 3))
    sizes = [data.draw(st.integers(1, 6)) for _ in range(dims)]
    kernel = tuple(data.draw(st.integers(1, 3)) for _ in range(dims))
    stride = tuple(data.draw(st.integers(1, 3)) for _ in range(dims))
    padding = tuple((data.draw(st.integers(0, k - 1)), data.draw(st.integers(0, k - 1))) for k in kernel)
    dilation = tuple(data.draw(st.integers(1, 2)) for _ in range(dims))
    x = np.random.default_rng(0).normal(size=(2, 2, *sizes))

    def outputs(spread):
        found = zip(sizes, kernel, stride, padding, spread, strict=True)
        return tuple((s + a + b - d * (k - 1) - 1) // t + 1 for s, k, t, (a, b), d in found)

    conv = {"stride": stride, "padding": padding, "dilation": dilation, "groups": 1}
    w = np.random.default_rng(1).normal(size=(3, 2, *kernel))
    if min(outputs(dilation)) > 0:
        (y,) = agree("conv", [x, w], conv)
        assert y.shape == (2, 3, *outputs(dilation))
        (dx,) = agree("conv_input_grad", [np.asarray(y), w], {"input_shape": x.shape, **conv})
        (dw,) = agree("conv_weight_grad", [x, np.asarray(y)], {"kernel_shape": w.shape, **conv})
        # All three are one trilinear form: <y, y> = <dx, x> = <dw, w>.
        form = float(np.sum(np.asarray(y) ** 2))
        assert float(np.sum(np.asarray(dx) * x)) == pytest.approx(form, rel=1e-12)
        assert float(np.sum(np.asarray(dw) * w)) == pytest.approx(form, rel=1e-12)
    pool = {"window": kernel, "stride": stride, "padding": padding}
    if min(outputs((1,) * dims)) > 0:
        (y,) = agree("max_pool", [x], pool)
        (g,) = agree("max_pool_grad", [np.ones(y.shape), x, np.asarray(y)], pool)
        assert float(np.sum(np.asarray(g))) == y.size, "each window gives its cotangent to one cell"
        (z,) = agree("max_pool_gather", [x, x, np.asarray(y)], pool)
        assert np.array_equal(np.asarray(z), np.asarray(y)), "x at its own maxima is the maxima"
        for include in (True, False):
            (y,) = agree("avg_pool", [x], {**pool, "include_padding": include})
            agree("avg_pool_grad", [np.asarray(y)], {"input_shape": x.shape, **pool, "include_padding": include})
            if not include:
                (ones,) = agree("avg_pool", [np.ones_like(x)], {**pool, "include_padding": include})
                np.testing.assert_allclose(np.asarray(ones), 1.0, rtol=1e-15)


def test_the_catalogue_spans_the_dtypes():
    tested = {d for row in ROWS.values() for d in row.dtypes}
    assert tested >= set(DTYPES) and BOOL in tested
