"""Kernels of pooling against the primitives' bodies, in both forms: values, ties, NaN and padding."""

import numpy as np
import pytest

from knet.compiler.kernels.kernel import Launch
from knet.core import dtypes
from knet.core.ops import pool as ops

from .launching import TARGETS, functions, lowered, run
from .thorough import thorough

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # bfloat16's comparisons with NaN


def case(shape, window, stride=None, padding=0):
    n = len(shape) - 2
    every = lambda v: (v,) * n if isinstance(v, int) else v  # noqa: E731
    padding = tuple(p if isinstance(p, tuple) else (p, p) for p in every(padding))
    return shape, {"window": every(window), "stride": every(window if stride is None else stride), "padding": padding}


CASES = {
    "lenet1": case((3, 4, 24, 24), 2),
    "lenet2": case((3, 5, 8, 8), 2),
    "odd": case((2, 3, 9, 11), 2),
    "wide": case((2, 2, 6, 70), 2),
    "narrow": case((3, 5, 6, 6), 2),
    "thirds": case((2, 3, 10, 33), 3),
    "tall": case((2, 3, 12, 40), (3, 2)),
    "flat": case((2, 3, 12, 40), (1, 2)),
    "overlapping": case((2, 3, 13, 13), 3, 2),
    "overlapping_padded": case((2, 3, 14, 15), 3, 2, 1),
    "dense": case((2, 3, 9, 9), 3, 1, 1),
    "uneven_padding": case((2, 3, 10, 11), (3, 4), (2, 1), ((0, 2), (3, 1))),
    "gaps": case((2, 3, 11, 12), 2, 3),
    "whole": case((4, 6, 8, 8), 8),
    "1d": case((3, 4, 37), 2),
    "1d_overlapping": case((3, 4, 37), 4, 3, 2),
    "3d": case((2, 2, 6, 8, 10), 2),
    "3d_padded": case((2, 2, 5, 6, 7), (3, 2, 3), (2, 2, 1), 1),
    "no_images": case((0, 3, 8, 8), 2),
}


def inputs(shape, dtype, rng):
    """Few different values, so that ties are everywhere; NaN and infinities among them."""
    x = rng.integers(0, 5, shape)
    if not dtypes.is_differentiable(dtype):
        return x.astype(dtype)
    x = x.astype(np.float64) - 2
    for value in (np.nan, np.inf, -np.inf, -0.0):
        x[rng.random(shape) < 0.05] = value
    return x.astype(dtype)


def results(calls, form, literal):
    """The result of each operation; their kernels are built as one program."""
    lowerings = [lowered(lambda *a, op=op, p=p: op(*a, **p), arrays, form, literal) for op, arrays, p in calls]
    functions([item for lowering in lowerings for item in lowering.items if isinstance(item, Launch)], form)
    return [run(lowering, arrays, form)[0] for lowering, (_, arrays, _) in zip(lowerings, calls, strict=True)]


def whole(shape, dtype, rng):
    return rng.integers(1, 9, shape).astype(dtype)


FORMS = [(form, literal) for form in TARGETS for literal in (True, False)]
OTHERS = ("odd", "overlapping_padded", "3d")  # geometries for dtypes other than float32
MAXIMA = [("float32", geometry, *form) for geometry in CASES for form in FORMS] + [
    (dtype, geometry, form, True)
    for dtype in ("float64", "float16", "bfloat16", "int8", "uint8", "int64")
    for geometry in OTHERS
    for form in TARGETS
]
MEANS = [
    ("float32", geometry, *form, include)
    for geometry, (_, params) in CASES.items()
    for form in FORMS
    for include in (True, False)
    if include or any(map(any, params["padding"]))
] + [
    (dtype, geometry, form, True, False)
    for dtype in ("float64", "float16", "bfloat16")
    for geometry in OTHERS
    for form in TARGETS
]


def default(dtype, geometry, _form, literal, _include=True):
    """One geometry for each further dtype, three with sizes as parameters."""
    return geometry in (OTHERS if dtype == "float32" else OTHERS[1:2]) or (dtype == "float32" and literal)


@pytest.mark.parametrize(("dtype", "geometry", "form", "literal"), thorough(MAXIMA, default))
def test_maxima(dtype, geometry, form, literal):
    (shape, params), dtype, rng = CASES[geometry], dtypes.canonical(dtype), np.random.default_rng(1)
    x = inputs(shape, dtype, rng)
    y = ops.max_pool.body(x, **params)
    g, t = whole(y.shape, dtype, rng), whole(shape, dtype, rng)  # whole numbers: sums are exact in any order
    operands = ((ops.max_pool, [x]), (ops.max_pool_grad, [g, x, y]), (ops.max_pool_gather, [t, x, y]))
    calls = [(op, arrays, params) for op, arrays in operands]
    for got, (op, arrays, _) in zip(results(calls, form, literal), calls, strict=True):
        assert got.dtype == dtype
        wide = np.float64 if dtype.itemsize < 8 else dtype  # NumPy does not find bfloat16's NaN
        np.testing.assert_array_equal(got.astype(wide), op.body(*arrays, **params).astype(wide), err_msg=op.name)


def test_maxima_that_are_nowhere():
    """y need not be x's maxima, in derivatives of derivatives."""
    shape, params = CASES["overlapping_padded"]
    rng = np.random.default_rng(2)
    x = inputs(shape, np.dtype("float32"), rng)
    y = inputs(ops.max_pool.aval(x, **params).shape, np.dtype("float32"), rng)
    for form in TARGETS:
        for name, first in (("max_pool_grad", y.shape), ("max_pool_gather", shape)):
            arrays, op = [whole(first, "float32", rng), x, y], getattr(ops, name)
            (got,) = results([(op, arrays, params)], form, True)
            np.testing.assert_array_equal(got, op.body(*arrays, **params))


@pytest.mark.parametrize(("dtype", "geometry", "form", "literal", "include"), thorough(MEANS, default))
def test_means(dtype, geometry, form, literal, include):
    (shape, params), dtype, rng = CASES[geometry], dtypes.canonical(dtype), np.random.default_rng(1)
    params = {**params, "include_padding": include}
    x = rng.standard_normal(shape).astype(dtype)
    g = rng.standard_normal(ops.avg_pool.aval(x, **params).shape).astype(dtype)
    grad = {**params, "input_shape": shape}
    rtol = {2: 0.05, 4: 1e-5, 8: 1e-13}[dtype.itemsize]
    calls = [(ops.avg_pool, [x], params), (ops.avg_pool_grad, [g], grad)]
    for got, (op, (array,), p) in zip(results(calls, form, literal), calls, strict=True):
        expected = op.body(array.astype(np.float64), **p)
        np.testing.assert_allclose(got.astype(np.float64), expected, rtol=rtol, atol=rtol, err_msg=op.name)


def test_means_of_integers_are_left_to_the_host():
    shape, params = CASES["lenet2"]
    params = {**params, "include_padding": True}
    lowering = lowered(lambda x: ops.avg_pool(x, **params), [np.ones(shape, int)], "loops", True)
    assert not any(isinstance(item, Launch) for item in lowering.items)
