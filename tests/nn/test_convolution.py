"""Convolution and pooling against loops over every output element."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet import nn
from knet.core import errors
from knet.testing import check_grads

RNG = np.random.default_rng(2)


def randn(*shape):
    return RNG.standard_normal(shape)


def windows(x, window, stride, pairs, dilation, outside):
    """[*S', N, C, *K]: for each output position, the cells under the window, ``outside`` beyond x."""
    x = np.pad(x, ((0, 0), (0, 0), *pairs), constant_values=outside)
    out = [
        (s - d * (k - 1) - 1) // step + 1 for s, k, step, d in zip(x.shape[2:], window, stride, dilation, strict=True)
    ]
    cells = np.empty((*out, *x.shape[:2], *window))
    for i in np.ndindex(*out):
        for k in np.ndindex(*window):
            at = tuple(a * s + b * d for a, s, b, d in zip(i, stride, k, dilation, strict=True))
            cells[(*i, ..., *k)] = x[(..., *at)]
    return cells


def reference_conv(x, w, stride, pairs, dilation, groups):
    cells = windows(x, w.shape[2:], stride, pairs, dilation, 0.0)
    ndim, per = w.ndim - 2, w.shape[0] // groups
    y = []
    for o in range(w.shape[0]):
        start = (o // per) * w.shape[1]
        part = cells[(slice(None),) * ndim + (slice(None), slice(start, start + w.shape[1]))]
        y.append((part * w[o]).sum(axis=tuple(range(ndim + 1, 2 * ndim + 2))))
    return np.moveaxis(np.stack(y, axis=-1), (-2, -1), (0, 1))


CASES = [
    # x, w, options, the same as canonical (stride, pairs, dilation, groups)
    ((2, 3, 7), (4, 3, 3), {}, ((1,), ((0, 0),), (1,), 1)),
    ((2, 3, 7), (4, 3, 3), {"stride": 2, "padding": ((1, 2),)}, ((2,), ((1, 2),), (1,), 1)),
    ((2, 2, 6, 5), (3, 2, 3, 2), {"padding": 1}, ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)),
    ((2, 2, 6, 5), (3, 2, 3, 2), {"padding": (2, 0), "stride": [2, 1]}, ((2, 1), ((2, 2), (0, 0)), (1, 1), 1)),
    ((1, 2, 7, 7), (2, 2, 3, 3), {"dilation": 2}, ((1, 1), ((0, 0), (0, 0)), (2, 2), 1)),
    ((1, 2, 7, 8), (2, 2, 3, 2), {"dilation": (2, 3), "padding": [[0, 1], [2, 0]]},
     ((1, 1), ((0, 1), (2, 0)), (2, 3), 1)),
    ((2, 4, 5, 5), (6, 2, 3, 3), {"groups": 2}, ((1, 1), ((0, 0), (0, 0)), (1, 1), 2)),
    ((2, 4, 5, 5), (8, 1, 2, 2), {"groups": 4, "stride": 3}, ((3, 3), ((0, 0), (0, 0)), (1, 1), 4)),
    ((1, 2, 4, 3, 4), (2, 2, 2, 2, 3), {"padding": "SAME"}, ((1, 1, 1), ((0, 1), (0, 1), (1, 1)), (1, 1, 1), 1)),
    ((1, 2, 7, 8), (2, 2, 3, 4), {"padding": "SAME", "stride": 2}, ((2, 2), ((1, 1), (1, 1)), (1, 1), 1)),
    ((1, 1, 9), (1, 1, 3), {"padding": "SAME", "dilation": 2, "stride": 3}, ((3,), ((1, 1),), (2,), 1)),
    ((1, 2, 5, 5), (2, 2, 5, 5), {"padding": "VALID"}, ((1, 1), ((0, 0), (0, 0)), (1, 1), 1)),
]  # fmt: skip
each_case = pytest.mark.parametrize(("x", "w", "options", "canonical"), CASES)


@each_case
def test_conv(x, w, options, canonical):
    x, w, b = randn(*x), randn(*w), randn(w[0])
    expected = reference_conv(x, w, *canonical)
    np.testing.assert_allclose(np.asarray(nn.conv(x, w, **options)), expected, rtol=1e-11, atol=1e-12)
    with_bias = expected + b.reshape(-1, *[1] * (x.ndim - 2))
    np.testing.assert_allclose(np.asarray(nn.conv(x, w, b, **options)), with_bias, rtol=1e-11, atol=1e-12)
    check_grads(lambda x, w, b: nn.conv(x, w, b, **options), (x, w, b), order=2, rtol=1e-5)


@each_case
def test_conv_transpose_is_the_adjoint_of_conv(x, w, options, canonical):
    """<conv(x, w), g> = <x, conv_transpose(g, w)>."""
    x, w = randn(*x), randn(*w)
    stride, pairs, dilation, _ = canonical
    options = options | {"padding": pairs}
    g = randn(*nn.conv(x, w, **options).shape)
    back = np.asarray(nn.conv_transpose(g, w, **options))
    sizes = tuple(
        (s - 1) * step + d * (k - 1) + 1 - sum(pair)
        for s, k, step, pair, d in zip(g.shape[2:], w.shape[2:], stride, pairs, dilation, strict=True)
    )
    assert back.shape == (x.shape[0], x.shape[1], *sizes)
    # Of the inputs for which conv gives sizes like g's, conv_transpose returns the smallest.
    x = x[(slice(None), slice(None), *map(slice, sizes))]
    y = np.asarray(nn.conv(x, w, **options))
    assert y.shape == g.shape
    np.testing.assert_allclose((y * g).sum(), (x * back).sum())


def test_conv_transpose_same_enlarges_by_the_stride_with_bias_and_gradients():
    for stride, kernel in itertools.product((1, 2, 3), (1, 2, 3, 4)):
        x, w, b = randn(2, 4, 5), randn(4, 3, kernel), randn(3)
        y = nn.conv_transpose(x, w, b, stride=stride, padding="SAME")
        assert y.shape == (2, 3, 5 * stride)
        z = randn(2, 3, 5 * stride)
        forward = np.asarray(nn.conv(z, w, stride=stride, padding="SAME"))
        np.testing.assert_allclose((forward * x).sum(), (z * (np.asarray(y) - b[:, None])).sum())
        check_grads(lambda x, w, b, s=stride: nn.conv_transpose(x, w, b, stride=s, padding="SAME"), (x, w, b))


def test_conv_transpose_errors():
    with pytest.raises(errors.ShapeError, match="exchange w's first two axes"):
        nn.conv_transpose(randn(1, 3, 5), randn(4, 3, 2))
    with pytest.raises(errors.ShapeError, match="groups = 2 must divide"):
        nn.conv_transpose(randn(1, 3, 5), randn(3, 3, 2), groups=2)
    with pytest.raises(errors.ShapeError, match="cuts off all"):
        nn.conv_transpose(randn(1, 3, 2), randn(3, 3, 2), padding=2)
    with pytest.raises(errors.ShapeError, match="same number of axes"):
        nn.conv_transpose(randn(1, 3, 2), randn(3, 3, 2, 2))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_stay_and_meet(dtype):
    x, w = knp.asarray(randn(2, 1, 5, 5)).astype(dtype), knp.asarray(randn(3, 1, 2, 2)).astype(dtype)
    assert nn.conv(x, w).dtype == nn.conv_transpose(x, knp.swapaxes(w, 0, 1)).dtype == x.dtype
    assert nn.max_pool(x, 2).dtype == nn.avg_pool(x, 2).dtype == nn.flatten(x).dtype == x.dtype
    pixels = knp.asarray(RNG.integers(0, 255, (2, 1, 5, 5)).astype(np.uint8))
    assert nn.conv(pixels, w).dtype == x.dtype
    assert nn.conv(x, w.astype("float64")).dtype == np.float64


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stride": 0}, "conv: stride=0: an integer >= 1"),
        ({"stride": (1, 1, 1)}, r"stride=\(1, 1, 1\).*2 spatial axes"),
        ({"stride": 1.5}, "stride=1.5"),
        ({"dilation": 0}, "dilation=0"),
        ({"padding": -1}, r"padding=-1: with 2 spatial axes, padding is an integer >= 0"),
        ({"padding": (1, 2, 3)}, "padding="),
        ({"padding": ((1, 2),)}, "padding="),
        ({"padding": ((1, 2, 3), (1, 2, 3))}, "padding="),
        ({"padding": "FULL"}, "padding='FULL'"),
        ({"padding": 3.0}, "padding=3.0"),
    ],
)
def test_settings_that_do_not_fit(options, text):
    with pytest.raises(errors.ArgumentError, match=text):
        nn.conv(randn(1, 2, 5, 5), randn(3, 2, 2, 2), **options)


@pytest.mark.parametrize(
    ("x", "w", "b", "text"),
    [
        ((2, 5, 5), (3, 2, 2, 2), None, "for a batch of one"),
        ((2, 5), (3, 5), None, "at least 3"),
        ((1, 3, 5, 5), (3, 2, 2, 2), None, "x has C = 3 channels"),
        ((1, 2, 5, 5), (3, 2, 6, 2), None, "does not fit"),
        ((1, 2, 5, 5), (3, 2, 2, 2), (2,), r"b.shape=\[2\]: b has one element for each of the 3 channels"),
    ],
)
def test_operands_that_do_not_fit(x, w, b, text):
    with pytest.raises(errors.ShapeError, match=text):
        nn.conv(randn(*x), randn(*w), None if b is None else randn(*b))


# --- pooling ---------------------------------------------------------------------------------------------------------

POOLS = [
    ((2, 3, 9), 3, {}, ((3,), (3,), ((0, 0),))),
    ((2, 2, 6, 7), 2, {}, ((2, 2), (2, 2), ((0, 0), (0, 0)))),
    ((2, 2, 6, 7), (3, 2), {"stride": 1}, ((3, 2), (1, 1), ((0, 0), (0, 0)))),
    ((2, 2, 6, 7), [3, 3], {"stride": (2, 3), "padding": 1}, ((3, 3), (2, 3), ((1, 1), (1, 1)))),
    ((1, 2, 5, 5), 3, {"stride": 2, "padding": ((0, 1), (2, 0))}, ((3, 3), (2, 2), ((0, 1), (2, 0)))),
    ((1, 2, 5, 6), 2, {"padding": "SAME"}, ((2, 2), (2, 2), ((0, 1), (0, 0)))),
    ((1, 1, 4, 4, 4), 2, {}, ((2, 2, 2), (2, 2, 2), ((0, 0),) * 3)),
]


@pytest.mark.parametrize(("shape", "window", "options", "canonical"), POOLS)
def test_pools(shape, window, options, canonical):
    x = randn(*shape)
    sizes, stride, pairs = canonical
    inner = tuple(range(-len(sizes), 0))

    def cells(outside):
        return np.moveaxis(
            windows(x, sizes, stride, pairs, (1,) * len(sizes), outside), (len(sizes), len(sizes) + 1), (0, 1)
        )

    largest = cells(-np.inf).max(inner)
    np.testing.assert_array_equal(np.asarray(nn.max_pool(x, window, **options)), largest)
    np.testing.assert_allclose(np.asarray(nn.avg_pool(x, window, **options)), cells(0.0).mean(inner))
    without = np.nanmean(cells(np.nan), inner)
    np.testing.assert_allclose(np.asarray(nn.avg_pool(x, window, include_padding=False, **options)), without)
    for f in (nn.max_pool, nn.avg_pool, lambda *a, **o: nn.avg_pool(*a, include_padding=False, **o)):
        check_grads(lambda x, f=f: f(x, window, **options), (x,), order=2, rtol=1e-5)


def test_pooling_of_integers_and_nan():
    x = np.arange(4).reshape(1, 1, 2, 2)
    assert nn.max_pool(x, 2).dtype == np.int64 and nn.max_pool(x, 2).item() == 3
    assert nn.avg_pool(x, 2).dtype == np.float32 and nn.avg_pool(x, 2).item() == 1.5
    assert math.isnan(nn.max_pool(np.array([[[math.nan, 1.0]]]), 2).item())


@pytest.mark.parametrize("pool", [nn.max_pool, nn.avg_pool])
def test_pooling_errors(pool):
    name = pool.__name__
    with pytest.raises(errors.ShapeError, match=rf"{name}\(x\): x \[4, 4\]: x must be \[N, C, \*S\]"):
        pool(randn(4, 4), 2)
    with pytest.raises(errors.ArgumentError, match=f"{name}: window=0: an integer >= 1"):
        pool(randn(1, 1, 4, 4), 0)
    with pytest.raises(errors.ArgumentError, match=rf"{name}: window=\(2, 2, 2\): .*2 spatial axes"):
        pool(randn(1, 1, 4, 4), (2, 2, 2))
    with pytest.raises(errors.ShapeError, match="does not fit"):
        pool(randn(1, 1, 4, 4), 5)
    with pytest.raises(errors.ShapeError, match="not smaller than window"):
        pool(randn(1, 1, 4, 4), 2, padding=2)


def test_flatten():
    x = randn(2, 3, 4)
    np.testing.assert_array_equal(np.asarray(nn.flatten(x)), x.reshape(2, 12))
    assert nn.flatten(randn(5)).shape == (5, 1) and nn.flatten(np.zeros((0, 2, 3))).shape == (0, 6)
    y = knp.asarray(randn(2, 3))
    assert nn.flatten(y) is y
    check_grads(nn.flatten, (x,))
    with pytest.raises(errors.ShapeError, match="batch axis"):
        nn.flatten(knet.numpy.asarray(1.0))
