"""Kernels of convolution and its gradients against the primitives' bodies, in both forms."""

import ml_dtypes
import numpy as np
import pytest

from knet.compiler.kernels.kernel import Launch
from knet.core import dtypes
from knet.core.ops import conv as ops

from .launching import TARGETS, lowered, run
from .thorough import combinations


def case(x, w, stride=1, padding=0, dilation=1, groups=1):
    n = len(x) - 2
    every = lambda v: (v,) * n if isinstance(v, int) else v  # noqa: E731
    padding = tuple(p if isinstance(p, tuple) else (p, p) for p in every(padding))
    return x, w, {"stride": every(stride), "padding": padding, "dilation": every(dilation), "groups": groups}


CASES = {
    "1d": case((2, 3, 17), (4, 3, 3)),
    "1d_strided": case((2, 3, 40), (5, 3, 4), stride=3, padding=((2, 1),)),
    "lenet1": case((3, 1, 28, 28), (20, 1, 5, 5)),
    "lenet2": case((3, 20, 12, 12), (50, 20, 5, 5)),
    "padded": case((2, 16, 16, 16), (16, 16, 3, 3), padding=1),
    "many": case((2, 40, 8, 8), (33, 40, 3, 3), padding=1),
    "strided": case((2, 16, 16, 16), (32, 16, 3, 3), stride=2, padding=1),
    "point": case((2, 16, 9, 9), (24, 16, 1, 1)),
    "point_strided": case((2, 16, 16, 16), (32, 16, 1, 1), stride=2),
    "tiny_out": case((2, 7, 5, 5), (9, 7, 4, 3)),
    "one_pixel": case((5, 8, 3, 3), (6, 8, 3, 3)),
    "dilated": case((2, 5, 20, 19), (7, 5, 3, 3), dilation=(2, 3), padding=((1, 2), (3, 0))),
    "dilated_strided": case((2, 6, 21, 20), (7, 6, 3, 2), dilation=(2, 3), stride=(2, 3), padding=((4, 0), (1, 3))),
    "grouped": case((2, 12, 9, 11), (6, 4, 3, 3), groups=3, padding=1),
    "depthwise": case((2, 10, 13, 13), (20, 1, 3, 3), groups=10, padding=1),
    "unreached": case((2, 3, 10, 11), (4, 3, 2, 2), stride=3),
    "far_padding": case((1, 2, 4, 4), (3, 2, 3, 3), padding=5),
    "wide": case((1, 3, 3, 70), (5, 3, 2, 3), padding=((0, 1), (1, 1))),
    "rgb": case((2, 3, 32, 32), (16, 3, 3, 3), padding=1),
    "large": case((1, 24, 60, 61), (10, 24, 3, 3), padding=1),
    "3d": case((2, 3, 6, 7, 8), (4, 3, 3, 2, 3), padding=((1, 0), (0, 1), (1, 1))),
    "3d_strided": case((2, 17, 6, 7, 18), (4, 17, 3, 2, 3), stride=(2, 1, 2), padding=1, dilation=(1, 2, 1)),
    "no_images": case((0, 3, 8, 8), (4, 3, 3, 3)),
    "no_channels": case((2, 0, 8, 8), (4, 0, 3, 3)),
}


def operands(name, x, w, params, dtype, rng):
    def draw(shape):
        if dtypes.is_differentiable(dtype):
            return rng.standard_normal(shape).astype(dtype)
        return rng.integers(0 if dtype.kind == "u" else -3, 4, shape).astype(dtype)

    y = ops.conv.aval(draw(x), draw(w), **params).shape
    if name == "conv":
        return [draw(x), draw(w)], params
    if name == "conv_input_grad":
        return [draw(y), draw(w)], {**params, "input_shape": x}
    return [draw(x), draw(y)], {**params, "kernel_shape": w}


def check(name, x, w, params, dtype, form, literal):
    dtype = dtypes.canonical(dtype)
    arrays, params = operands(name, x, w, params, dtype, np.random.default_rng(0))
    op = getattr(ops, name)
    (got,) = run(lowered(lambda *a: op(*a, **params), arrays, form, literal), arrays, form)
    wide = np.float64 if dtypes.is_differentiable(dtype) else dtype
    expected = op.body(*[a.astype(wide) for a in arrays], **params)
    if not dtypes.is_differentiable(dtype):
        np.testing.assert_array_equal(got, expected)
        return
    # Sums of s products have an error of about sqrt(s) roundings; the result is rounded once more.
    eps = float(ml_dtypes.finfo(dtypes.float32 if dtype.itemsize == 2 else dtype).eps)
    scale = float(np.abs(expected).max(initial=1.0))
    last = float(ml_dtypes.finfo(dtype).eps) if dtype.itemsize == 2 else 0.0
    error = np.abs(got.astype(np.float64) - expected)
    assert (error <= 16 * eps * scale + last * np.abs(expected)).all(), float(error.max())


NAMES = ("conv", "conv_input_grad", "conv_weight_grad")


EAGER = ("lenet1", "dilated_strided", "grouped")
# A geometry for each further dtype: one that is copied into tiles, and one that is not.
DTYPES = {
    "float64": "lenet1", "float16": "lenet1", "bfloat16": "dilated_strided",
    "int8": "lenet1", "uint16": "dilated_strided", "int64": "dilated_strided",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "geometry", "form", "literal"),
    combinations(NAMES, CASES, TARGETS, (True, False), default=lambda _n, geo, _f, literal: literal or geo in EAGER),
)
def test_geometries(name, geometry, form, literal):
    check(name, *CASES[geometry], "float32", form, literal)


@pytest.mark.parametrize(
    ("name", "geometry", "form", "dtype"),
    combinations(
        NAMES, ("lenet1", "dilated_strided"), TARGETS, DTYPES, default=lambda _n, geo, _f, dtype: geo == DTYPES[dtype]
    ),
)
def test_dtypes(name, geometry, form, dtype):
    check(name, *CASES[geometry], dtype, form, True)


def test_complex_is_left_to_the_host():
    x, w, params = CASES["1d"]
    arrays = [np.ones(x, np.complex64), np.ones(w, np.complex64)]
    lowering = lowered(lambda *a: ops.conv(*a, **params), arrays, "loops", True)
    assert not any(isinstance(item, Launch) for item in lowering.items)
