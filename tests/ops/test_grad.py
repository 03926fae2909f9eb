"""The derivative of each primitive by each operand.

Orders 1 and 2 are compared in float64 with central differences along a random direction (knet.testing.check_grads), so
a check costs a handful of evaluations whatever the size. Single precision is compared with double precision, never with
differences.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from catalog import (
    INDEX,
    REFUSED,
    ROWS,
    RULE,
    ZERO,
    Draw,
    assert_within_ulp,
    aval,
    each,
    from_reals,
    in_reals,
)

import knet
import knet.numpy as knp
from knet.core import registry
from knet.testing import check_grads

F32, F64 = knp.float32, knp.float64
C64, C128 = knp.complex64, knp.complex128
SINGLE = {F64: F32, C128: C64}


def pairs(*kinds):
    """(primitive, position of an operand) for the operands whose derivative is of these kinds."""
    found = []
    for name, row in ROWS.items():
        for i, kind in enumerate(row.grads):
            if kind in kinds:
                found.append(pytest.param(name, i, id=f"{name}-{operand_name(row, i)}"))
    return found


def operand_name(row, i):
    names = row.primitive.argnames
    return names[i] if i < len(names) else f"operand{i}"


def cases_of(row, i, dtype=None):
    """(text, operands, params) of the cases in which operand i is there to be differentiated by."""
    dtype = dtype or row.double
    for case in row.cases:
        if i < len(case.operands) and isinstance(case.operands[i], Draw):
            result = case.params.get("dtype", dtype)
            if result in (F32, F64) or "dtype" not in case.params:
                yield f"{row.name}({case})", case.draw(dtype, f"{row.name} gradient"), case.params


def rng_of(text):
    return np.random.default_rng(zlib.crc32(text.encode()))


def unit(rng, shape, dtype=F64):
    """A direction whose entries, or their parts, lie in [-1, 1] and away from 0."""
    if dtype.kind == "c":
        return unit(rng, shape) + 1j * unit(rng, shape)
    return np.asarray(rng.uniform(0.2, 1, shape) * rng.choice([-1.0, 1.0], shape))


def pull_back(primitive, arrays, params, i):
    """Result, and the function from its cotangent to that of operand i."""

    def f(x):
        return primitive(*arrays[:i], x, *arrays[i + 1 :], **params)

    y, back = knet.vjp(f, arrays[i])
    return y, lambda g: back(g)[0]


def function_of(name, arrays, params, moving):
    """The primitive as a function of some of its operands, under its own name; of complex ones, of their parts."""
    complexes = [arrays[i].dtype.kind == "c" for i in moving]

    def f(*parts):
        full = list(arrays)
        for i, x in zip(moving, from_reals(parts, complexes), strict=True):
            full[i] = x
        return in_reals(each(ROWS[name].primitive(*full, **params)))

    f.__name__ = name
    return f


def countable(row, arrays, params, moving):
    """Whether differences can say anything: operands and result have elements, and double precision."""
    results = each(aval(row, arrays, params))
    return any(r.size and r.dtype in (F64, C128) for r in results) and any(arrays[i].size for i in moving)


def test_an_operand_of_numpy_has_its_tangent_beside_it(backend):
    """It is computed with on the default device, whatever NumPy's own ``device`` says."""
    y, t = knet.jvp(
        lambda x: registry["concatenate"](x, np.ones(1, np.float32), axis=0), (knp.ones(2),), (knp.ones(2),)
    )
    assert y.device is t.device and y.device.backend.name == backend and t.tolist() == [1, 1, 0]


@pytest.mark.parametrize(("name", "i"), pairs(RULE))
def test_first_derivative(name, i):
    row, tested = ROWS[name], 0
    for label, arrays, params in cases_of(row, i):
        if countable(row, arrays, params, [i]):
            try:
                check_grads(function_of(name, arrays, params, [i]), in_reals([arrays[i]]))
            except AssertionError as e:
                raise AssertionError(f"{label}, operand {i}: {e}") from None
            tested += 1
    assert tested


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if RULE in row.grads])
def test_second_derivative(name):
    row = ROWS[name]
    i = row.grads.index(RULE)
    for label, arrays, params in cases_of(row, i):
        # By all operands, and by the cotangent: the first derivative must be linear in it.
        moving = [j for j, kind in enumerate(row.grads) if kind == RULE and j < len(arrays)]
        if countable(row, arrays, params, moving):
            try:
                points = in_reals([arrays[j] for j in moving])
                check_grads(function_of(name, arrays, params, moving), points, order=2)
            except AssertionError as e:
                raise AssertionError(f"{label}: {e}") from None


@pytest.mark.parametrize(("name", "i"), pairs(RULE))
def test_single_precision(name, i, backend):
    row = ROWS[name]
    single = SINGLE[row.double]
    for label, arrays, params in cases_of(row, i, single):
        y, back = pull_back(row.primitive, list(map(knp.asarray, arrays)), params, i)
        w = [unit(rng_of(label), v.shape, v.dtype) for v in each(y)]
        got = back(like(y, w))
        assert got.dtype == single, f"{label}: gradient {got.dtype} of a {single} operand"
        with knet.use_backend("cpu"):
            double = [knp.asarray(a.astype(row.double) if a.dtype == single else a) for a in arrays]
            wide, back = pull_back(row.primitive, double, params, i)
            want = np.asarray(back(like(wide, [v.astype(u.dtype) for v, u in zip(w, each(y), strict=True)])))
        size = np.full(want.shape, max(float(np.max(np.abs(want), initial=0)), 2.0**-10))
        assert_within_ulp(np.asarray(got), want, row.grad_ulp, size, label)


def like(result, cotangents):
    """Cotangents of the dtype and structure of a result."""
    arrays = [np.asarray(w.astype(y.dtype)) for y, w in zip(each(result), cotangents, strict=True)]
    return tuple(arrays) if isinstance(result, tuple) else arrays[0]


@pytest.mark.parametrize(("name", "i"), pairs(ZERO))
def test_zero_derivative(name, i):
    row = ROWS[name]
    for label, arrays, params in cases_of_any(row, i):
        y, back = pull_back(row.primitive, arrays, params, i)
        got = np.asarray(back(np.ones(y.shape, y.dtype)))
        assert got.shape == arrays[i].shape and got.dtype == F64 and not got.any(), (
            f"{label}: {got.tolist()}, expected zeros"
        )
        if row.elementwise and name != "stop_gradient":
            for t in (1e-3, -1e-3):
                moved = [*arrays[:i], np.asarray(arrays[i] + t), *arrays[i + 1 :]]
                assert np.array_equal(np.asarray(row.primitive(*map(knp.asarray, moved))), np.asarray(y)), (
                    f"{label}: the value moves with operand {i}, so its derivative is not zero"
                )


def cases_of_any(row, i):
    for case in row.cases:
        yield f"{row.name}({case})", case.draw(F64, f"{row.name} gradient"), case.params


@pytest.mark.parametrize(("name", "i"), pairs(REFUSED))
def test_refused_derivative_is_of_a_result_that_has_none(name, i):
    row = ROWS[name]
    for dtype in row.dtypes:
        y = row.primitive(*map(knp.asarray, row.cases[0].draw(dtype, name)), **row.cases[0].params)
        assert y.dtype.kind in "biu", f"{name} returns {y.dtype}, which could carry a derivative: give it a rule"


@pytest.mark.parametrize(("name", "i"), pairs(INDEX))
def test_an_index_or_condition_is_no_argument_to_differentiate_by(name, i):
    row = ROWS[name]
    arrays = row.cases[0].draw(row.dtypes[-1], name)
    with pytest.raises(knet.errors.DTypeError, match="floating-point arguments only"):
        pull_back(row.primitive, arrays, row.cases[0].params, i)


SLOPES = [
    pytest.param(name, dtype, id=f"{name}-{dtype}") for name, r in ROWS.items() if r.slopes for dtype in (F32, F64)
]


@pytest.mark.parametrize(("name", "dtype"), SLOPES)
def test_derivative_at_special_points(name, dtype, backend):
    row = ROWS[name]
    for point, i, want in row.slopes:
        arrays = [knp.asarray(np.asarray(v, bool if isinstance(v, bool) else dtype)) for v in point]
        with np.errstate(all="ignore"):
            y, back = pull_back(row.primitive, arrays, row.at_special, i)
            got = np.asarray(back(knp.ones_like(y)))
        assert_within_ulp(got, want, 4, label=f"derivative of {name}{point} by operand {i}")


def test_the_comparison_rejects_nan_infinity_and_half_an_ulp_too_much():
    one = np.ones(2, F32)
    assert_within_ulp(one, one, 0)
    assert_within_ulp(np.array([np.nan]), np.array([np.nan]), 0)
    for got, want in (
        (one * np.float32(np.nan), one),
        (one, one * np.float32(np.nan)),
        (one * np.float32(np.inf), one),
        (one, one * np.float32(np.inf)),
        (np.nextafter(one, np.float32(2)), one),
        (one[:1], one),
    ):
        with pytest.raises(AssertionError):
            assert_within_ulp(got, want, 0.5)
