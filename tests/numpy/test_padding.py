"""pad against NumPy in each mode, and its derivative."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core.errors import ArgumentError, ShapeError
from knet.testing import check_grads

RNG = np.random.default_rng(0)
STATISTICS = ("maximum", "minimum", "mean", "median")
OPTIONS = [
    *[(mode, {}) for mode in ("constant", "edge", "reflect", "symmetric", "wrap", "linear_ramp", *STATISTICS)],
    *[(mode, {"stat_length": n}) for mode in STATISTICS for n in (1, 2, (1, 2))],
    ("constant", {"constant_values": (3, -2)}),
    ("linear_ramp", {"end_values": (3, -2)}),
]


@pytest.mark.parametrize(("mode", "options"), OPTIONS)
@pytest.mark.parametrize("shape", [(5,), (3, 4), (1, 2)])
def test_pad(mode, options, shape):
    for width in (2, (1, 3), [(0, 2)] + [(9, 1)] * (len(shape) - 1), 0):
        for x in (RNG.normal(size=shape), RNG.integers(-9, 9, shape)):
            got, want = np.asarray(knp.pad(x, width, mode, **options)), np.pad(x, width, mode, **options)
            np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-14)
            assert got.dtype == want.dtype
    if not (mode in STATISTICS and shape == (1, 2)):
        check_grads(lambda x: knp.pad(x, (1, 3), mode, **options), (RNG.normal(size=shape),), order=2)
    batch = RNG.normal(size=(3, *shape))
    got = knet.vmap(lambda x: knp.pad(x, 2, mode, **options))(batch)
    np.testing.assert_allclose(np.asarray(got), [np.pad(x, 2, mode, **options) for x in batch], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_odd_reflection(mode, n):
    options = {"mode": mode, "reflect_type": "odd"}
    for width in ((0, 0), (1, 2), (4, 4), (9, 3), (2, 13), (13, 13)):  # with borders many times as long as x
        for x in (RNG.normal(size=(n, 2)), RNG.integers(-9, 9, (n, 2))):
            got, want = np.asarray(knp.pad(x, (width, (1, 0)), **options)), np.pad(x, (width, (1, 0)), **options)
            np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-13)
            assert got.dtype == want.dtype
    check_grads(lambda x: knp.pad(x, (5, 4), **options), (RNG.normal(size=n),), order=2)
    batch = RNG.normal(size=(3, n))
    got = knet.vmap(lambda x: knp.pad(x, 4, **options))(batch)
    np.testing.assert_allclose(np.asarray(got), [np.pad(x, 4, **options) for x in batch], rtol=1e-13, atol=1e-13)


def test_infinity_in_one_border_stays_out_of_the_other():
    x = np.array([1.0, 2.0, 4.0, np.inf])
    with np.errstate(all="ignore"):
        got = knp.pad(x, (2, 1), "reflect", reflect_type="odd").tolist()
    assert got == [-2.0, 0.0, 1.0, 2.0, 4.0, np.inf, np.inf]


def test_empty_borders_are_zeros_and_constants_may_be_traced():
    assert knp.pad(knp.ones(1), 1, "empty").tolist() == [0.0, 1.0, 0.0]
    grad = knet.grad(lambda c: knp.pad(knp.ones(3), 2, constant_values=c).sum())(5.0)
    assert float(grad) == 4.0


def test_arguments():
    with pytest.raises(ArgumentError, match=r"it is one of constant, empty"):
        knp.pad(knp.ones(2), 1, "mirror")
    with pytest.raises(ArgumentError, match="reflect_type='both': it is 'even' or 'odd'"):
        knp.pad(knp.ones(2), 1, "reflect", reflect_type="both")
    for width in (-1, (1.5, 2), [(1, 2), (3, 4)], [1, 2, 3]):
        with pytest.raises(ShapeError, match=r"x has 1 axes, each needs"):
            knp.pad(knp.ones(2), width)
    with pytest.raises(ShapeError):
        knp.pad(knp.ones(0), 1, "edge")
    with pytest.raises(ArgumentError, match="a statistic needs elements"):
        knp.pad(knp.ones(2), 1, "mean", stat_length=0)
