"""Special functions against SciPy and against one another; the catalogue's rows hold them against series."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import knet
import knet.numpy as knp
from knet.core.errors import DTypeError, NotDifferentiable, ShapeError
from knet.core.ops.special import loggamma_slope
from knet.testing import check_grads

WIDE = st.floats(-30, 30)
POSITIVE = st.floats(1e-3, 1e3)
UNARY = {
    "erf": WIDE, "erfc": WIDE, "erfinv": st.floats(-1, 1), "ndtr": WIDE, "log_ndtr": st.floats(-1e4, 30),
    "ndtri": st.floats(1e-300, 1, exclude_max=True), "gammaln": POSITIVE, "digamma": POSITIVE, "i0": WIDE, "i1": WIDE,
    "i0e": WIDE, "i1e": WIDE, "j0": WIDE, "j1": WIDE, "logit": st.floats(0, 1), "expit": WIDE, "exp2": WIDE,
    "cbrt": WIDE,
}  # fmt: skip
# What the CPU computes by SciPy and others by functions of their own: rtol in double, in single, atol in their epsilon.
OTHERS = {
    "erfc": (2e-13, 1e-6, 0),  # SciPy's rounds x^2 before exp takes it: 500 ulp from the C library's at 24
    "ndtr": (2e-13, 2e-5, 0),  # so does its; in single -x / sqrt(2) is rounded, which counts x^2 2^-24
    "gammaln": (1e-14, 1e-6, 4),  # near its roots at 1 and 2
    "logit": (1e-14, 1e-6, 2),  # near its root at 1/2
}


@pytest.mark.parametrize("name", UNARY)
def test_unary_functions_are_scipys(name):
    other = getattr(scipy.special, "psi" if name == "digamma" else name)

    @given(st.lists(UNARY[name], max_size=4))
    def agrees(values):
        x = np.array(values)
        rtol, rtol_single, count = OTHERS.get(name, (1e-14, 1e-6, 0))
        np.testing.assert_allclose(np.asarray(getattr(knp, name)(x)), other(x), rtol, max(count * 2.0**-52, 1e-300))
        single = np.asarray(getattr(knp, name)(x.astype(np.float32)))
        with np.errstate(over="ignore", under="ignore"):
            want = other(x.astype(np.float32))
        np.testing.assert_allclose(single, want, rtol_single, max(count * 2.0**-23, 1e-37))
        assert single.dtype == np.float32

    agrees()


@pytest.mark.parametrize("name", ["betaln", "gammainc", "gammaincc", "xlogy", "xlog1py"])
@given(POSITIVE, POSITIVE)
def test_binary_functions_are_scipys(name, x, y):
    for a, b in ((np.array([x]), np.array(y)), (np.array([x]), y), (x, np.array([y]))):
        got = np.asarray(getattr(knp, name)(a, b))
        np.testing.assert_allclose(got, [getattr(scipy.special, name)(x, y)], rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("name", ["polygamma", "iv", "ive", "jv", "zeta"])
@given(st.integers(2, 5), st.floats(0.01, 20))
def test_functions_with_an_order_are_scipys(name, n, x):
    want = getattr(scipy.special, name)(n, x)
    np.testing.assert_allclose(np.asarray(getattr(knp, name)(n, np.array([x]))), [want], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_rounded_from_single_precision(dtype):
    x = knp.asarray([0.25, 1.5, -0.5]).astype(dtype)
    y = knp.erf(x)
    assert y.dtype == x.dtype
    assert np.array_equal(np.asarray(y), np.asarray(knp.erf(x.astype("float32")).astype(dtype)))


def test_integers_are_computed_in_the_default_float():
    assert knp.gammaln(5).dtype == np.float32 and knp.gammaln(np.arange(1, 3)).dtype == np.float32


@pytest.mark.parametrize("name", ["erf", "erfc", "gammaln", "digamma", "i0", "i1", "i0e", "i1e", "j0", "j1", "ndtr",
                                  "log_ndtr", "cbrt", "exp2", "sinc"])  # fmt: skip
def test_derivatives_to_second_order(name):
    check_grads(getattr(knp, name), (np.array([0.3, 0.9, 1.7, 4.2]),), order=2, rtol=1e-5)


def test_derivatives_of_bessel_functions_at_zero_to_third_order():
    third = knet.grad(knet.grad(knet.grad(knp.i1)))
    assert abs(float(third(0.0)) - 3 / 8) < 1e-6
    assert abs(float(knet.grad(knet.grad(knet.grad(knp.j1)))(0.0)) + 3 / 8) < 1e-6


def test_a_python_number_beside_float64_is_not_rounded_to_float32():
    x = knp.asarray(np.array([0.7, 1.1]))
    for f in (knp.xlogy, knp.xlog1py):
        grad = knet.grad(lambda x, f=f: f(x, 0.3).sum())(x)
        np.testing.assert_allclose(np.asarray(grad), [float(f(np.ones(()), 0.3))] * 2, rtol=1e-15)
    np.testing.assert_allclose(
        np.asarray(knet.grad(lambda x: knp.gammainc(2.3, x).sum())(x)), stats.gamma(2.3).pdf([0.7, 1.1]), rtol=1e-14
    )


def test_the_derivative_by_an_order_is_refused_with_the_reason():
    with pytest.raises(NotDifferentiable, match="by the order is not implemented"):
        knet.grad(lambda n: knp.iv(n, 1.0))(2.0)


# --- the slope of gamma quantiles -------------------------------------------------------------------------------------


@given(st.floats(0.05, 2000), st.floats(1e-9, 1 - 1e-9))
def test_the_slope_is_that_of_scipys_quantiles(a, u):
    # The better of the two tails on each side, where the quantile function itself is accurate.
    quantile = (lambda a: stats.gamma.ppf(u, a)) if u < 0.5 else (lambda a: stats.gamma.isf(1 - u, a))
    x, h = quantile(a), 1e-3 * a
    if x < 1e-280:
        return
    numeric = sum(w * np.log(quantile(a + k * h)) for k, w in ((-2, 1), (-1, -8), (1, 8), (2, -1))) / (12 * h)
    got = float(loggamma_slope(np.float64(a) + np.zeros(()), np.log(x) + np.zeros(())))
    np.testing.assert_allclose(got, numeric, rtol=1e-6)


def test_the_slope_where_the_quantile_underflows():
    # x ** a / gamma(a + 1) = u there, so a log x - gammaln(a + 1) stays.
    a, log_x = np.array([1e-3, 0.01]), np.array([-5000.0, -900.0])
    want = (scipy.special.psi(a + 1) - log_x) / a
    np.testing.assert_allclose(np.asarray(loggamma_slope(a, log_x)), want, rtol=1e-14)


def test_series_and_quadrature_meet():
    # At a = 8 the series gives way to the quadrature, at x = a + 0.3 the left side to the right.
    for a, x in ((8.0, 6.0), (3.0, 3.3), (0.5, 0.8), (20.0, 20.0)):
        steps = np.array([-1e-9, 1e-9])
        y = np.asarray(loggamma_slope(a + steps, np.log(np.full(2, x)) + steps))
        assert abs(y[0] / y[1] - 1) < 1e-7


def test_derivatives_of_incomplete_gamma_functions_by_both_operands():
    a, x = np.array([0.4, 1.5, 3.0, 9.0, 40.0]), np.array([0.3, 2.0, 1.0, 12.0, 35.0])
    check_grads(knp.gammainc, (a, x), order=2, rtol=1e-5)
    check_grads(knp.gammaincc, (a, x), order=2, rtol=1e-5)
    check_grads(loggamma_slope, (a, np.log(x)), order=3, rtol=1e-4)
    g = knet.grad(lambda a: knp.gammainc(a, np.array([0.0, np.inf])).sum())(np.float64(2.0) + np.zeros(2))
    assert np.array_equal(np.asarray(g), [0.0, 0.0])


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_angles_and_heaviside():
    x = np.array([-1.0, 0.0, 2.0, np.nan])
    np.testing.assert_allclose(np.asarray(knp.deg2rad(x)), np.deg2rad(x), rtol=1e-15)
    np.testing.assert_allclose(np.asarray(knp.rad2deg(x)), np.rad2deg(x), rtol=1e-15)
    np.testing.assert_array_equal(np.asarray(knp.heaviside(x, 0.5)), np.heaviside(x, 0.5))


def test_import_knet_does_not_import_scipy():
    code = "import sys, knet, knet.numpy; assert not any(m.split('.')[0] == 'scipy' for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- powers of two ----------------------------------------------------------------------------------------------------

ENDS = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -1e-310, 2.0**-1022, 1e308, 1.0, -0.5, 3.0])


@given(st.lists(st.floats(), max_size=4), st.sampled_from([np.float64, np.float32]))
def test_frexp(values, dtype):
    with np.errstate(over="ignore", under="ignore"):
        x = np.concatenate([ENDS, values]).astype(dtype)
    (m, n), (want, exponent) = knp.frexp(x), np.frexp(x)
    assert m.dtype == dtype and n.dtype == np.int32
    assert np.array_equal(np.asarray(m), want, equal_nan=True)
    assert np.array_equal(np.signbit(np.asarray(m)), np.signbit(want))
    assert np.array_equal(np.asarray(n)[np.isfinite(x)], exponent[np.isfinite(x)])
    assert not np.asarray(n)[~np.isfinite(x)].any()
    assert np.array_equal(np.asarray(knp.ldexp(m, n)), x, equal_nan=True), "the two do not make x again"


@given(st.floats(width=32), st.integers(-2500, 2500), st.sampled_from([np.float64, np.float32, np.float16]))
def test_ldexp(x, n, dtype):
    with np.errstate(all="ignore"):
        x = np.asarray(x, dtype)
        want = np.ldexp(x, n)
    got = np.asarray(knp.ldexp(x, n))
    assert got.dtype == dtype and np.array_equal(got, want, equal_nan=True) and np.signbit(got) == np.signbit(want)


def test_derivatives_of_powers_of_two():
    x = np.array([3.0, -0.2, 40.0])
    check_grads(lambda x: knp.frexp(x)[0], (x,), order=2)
    check_grads(lambda x: knp.ldexp(x, knp.asarray([[1], [-2]])), (x,), order=2)
    assert knet.grad(lambda x: knp.frexp(x)[0])(3.0) == 0.25 and knet.grad(lambda x: knp.ldexp(x, 3))(1.5) == 8
    got = knet.vmap(knp.ldexp, in_axes=(None, 0))(knp.asarray(x), knp.asarray([1, 2]))
    assert np.array_equal(np.asarray(got), [x * 2, x * 4])
    assert knp.ldexp(knp.ones(1, dtype=knp.bfloat16), 3).dtype == knp.bfloat16
    assert knp.frexp(knp.asarray([3, 4]))[0].dtype == knp.float32
    for f in (lambda: knp.ldexp(1.0, 0.5), lambda: knp.ldexp(1j, 1), lambda: knp.frexp(1j)):
        with pytest.raises(DTypeError):
            f()


# --- logsumexp with weights -------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.sampled_from([None, 0, 1, -1, (0, 1)]), st.booleans())
def test_weighted_logsumexp(seed, axis, keepdims):
    rng = np.random.default_rng(seed)
    x, b = rng.normal(size=(3, 4)) * 300, rng.normal(size=(4,))
    options = {"axis": axis, "b": b, "keepdims": keepdims, "return_sign": True}
    with np.errstate(all="ignore"):
        got, sign = knp.logsumexp(x, **options)
        want, want_sign = scipy.special.logsumexp(x, **options)
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-12)
    assert np.array_equal(np.asarray(sign), want_sign)
    np.testing.assert_allclose(
        np.asarray(knp.logsumexp(x, axis, b=2.0)), scipy.special.logsumexp(x, axis, 2.0), rtol=1e-14
    )


def test_weights_of_zero_and_below():
    inf = np.inf
    with np.errstate(all="ignore"):
        assert float(knp.logsumexp(np.array([1.0, inf]), b=np.array([1.0, 0.0]))) == 1.0
        assert float(knp.logsumexp(np.array([-inf, -inf]), b=np.array([1.0, 2.0]))) == -inf
        assert float(knp.logsumexp(np.array([1e4, 0.0]), b=np.array([0.0, 1.0]))) == 0.0
        assert np.isnan(float(knp.logsumexp(np.ones(2), b=-1.0)))
    x, b = np.array([[0.3, -1.0, 2.0]]), np.array([1.0, 0.0, 2.5])
    check_grads(lambda x, b: knp.logsumexp(x, 1, b=b), (x, b), order=2)  # by a weight of 0, too
    check_grads(lambda x: knp.logsumexp(x, b=-b, return_sign=True)[0], (x,), order=2)
    got = knet.vmap(lambda x: knp.logsumexp(x, b=b))(np.concatenate([x, 2 * x]))
    np.testing.assert_allclose(np.asarray(got), scipy.special.logsumexp(np.concatenate([x, 2 * x]), 1, b), rtol=1e-14)
    with pytest.raises(ShapeError, match="do not broadcast"):
        knp.logsumexp(np.ones(3), b=np.ones(2))
