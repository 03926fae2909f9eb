"""Derivatives of complex functions: the convention of docs/complex.md, for each function that takes complex numbers."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core.errors import DTypeError

rng = np.random.default_rng(0)
Z = rng.normal(size=5) + 1j * rng.normal(size=5)
H = 1e-6

HOLOMORPHIC = (
    "negative", "positive", "square", "reciprocal", "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "sin",
    "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
)  # fmt: skip
OTHERS = ("abs", "real", "imag", "conj", "angle", "sign")


def directional(f, z, v):
    """(f(z + h v) - f(z - h v)) / 2h"""
    return (np.asarray(f(knp.asarray(z + H * v))) - np.asarray(f(knp.asarray(z - H * v)))) / (2 * H)


@pytest.mark.parametrize("name", HOLOMORPHIC + OTHERS)
def test_both_modes_agree_with_differences(name):
    f, v = getattr(knp, name), rng.normal(size=5) + 1j * rng.normal(size=5)
    want = directional(f, Z, v)
    y, tangent = knet.jvp(f, (knp.asarray(Z),), (knp.asarray(v),))
    assert tangent.dtype == y.dtype
    assert np.allclose(tangent, want, rtol=1e-7, atol=1e-8)
    g = rng.normal(size=5) + (1j * rng.normal(size=5) if y.dtype.kind == "c" else 0)
    _, pull_back = knet.vjp(f, knp.asarray(Z))
    (c,) = pull_back(knp.asarray(g))
    assert c.dtype == np.complex128
    # The rule is the transpose of the derivative for <g, t> = Re(sum(g t)), which nothing conjugates.
    assert np.isclose(np.sum(np.asarray(c) * v).real, np.sum(g * want).real, rtol=1e-7)


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_a_holomorphic_function_multiplies_by_its_derivative(name):
    f = getattr(knp, name)
    _, pull_back = knet.vjp(f, knp.asarray(Z))
    assert np.allclose(pull_back(knp.ones(5, dtype="complex128"))[0], directional(f, Z, np.ones(5)), rtol=1e-7)


@pytest.mark.parametrize(
    "f",
    [
        lambda z: knp.sum(knp.abs(z)),
        lambda z: knp.sum(knp.real(z * knp.conj(z))),
        lambda z: knp.var(z),
        lambda z: knp.abs(knp.prod(z)),
        lambda z: knp.abs(knp.cumulative_prod(z)).sum(),
        lambda z: knp.mean(knp.real(z**3) + knp.imag(1j * z) * z.real),
        lambda z: knp.angle(z[0] * z[1]),
        lambda z: knp.real(knp.power(z, 2.5 + 1j)).sum(),
        lambda z: knp.real(2.0**z).sum(),
        lambda z: knp.real(knp.astype(z.real, "complex128") * 1j * z).sum(),
    ],
)
def test_gradient_of_a_real_function(f):
    g = np.asarray(knet.grad(f)(knp.asarray(Z)))
    steps = np.eye(5)
    want = [directional(f, Z, e) - 1j * directional(f, Z, 1j * e) for e in steps]
    assert np.allclose(g, want, rtol=1e-6, atol=1e-8)


def test_gradient_descent_goes_along_the_conjugate():
    target, z = 1 + 2j, knp.asarray(0j)
    for _ in range(60):
        z = z - 0.1 * knp.conj(knet.grad(lambda z: knp.abs(z - target) ** 2)(z))
    assert np.isclose(complex(z), target, atol=1e-4)


def test_real_operands_get_real_gradients():
    g = knet.grad(lambda x: knp.abs(x * (1 + 2j)))(3.0)
    assert g.dtype == knp.float32 and np.isclose(float(g), 5**0.5)


def test_zero_is_a_corner_with_derivative_zero():
    assert complex(knet.grad(knp.abs)(0j)) == 0


@pytest.mark.parametrize("function", [float, int, lambda z: knp.astype(z, "float32")])
def test_complex_numbers_are_not_real_ones(function):
    with pytest.raises(DTypeError, match=r"single real value.*\n.*knet.numpy.real"):
        function(knp.asarray(1 + 2j))


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin", "floor", "ceil", "trunc", "signbit"])
def test_complex_numbers_have_no_order(name):
    with pytest.raises(DTypeError):
        getattr(knp, name)(knp.asarray([1j]))
    for compare in (knp.less, knp.maximum, knp.remainder, knp.copysign):
        with pytest.raises(DTypeError):
            compare(knp.asarray(1j), 2)
    assert knp.sort(knp.asarray([2 + 0j, 1 + 2j, 1 + 1j])).tolist() == [1 + 1j, 1 + 2j, 2]


def test_a_loss_must_be_real():
    with pytest.raises(DTypeError, match="loss must be floating-point"):
        knet.grad(lambda z: z * z)(1j)


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "std", "var", "cumulative_sum", "cumulative_prod"])
def test_statistics(name):
    assert np.allclose(getattr(knp, name)(knp.asarray(Z)), getattr(np, name.replace("cumulative_", "cum"))(Z))
    z = knp.asarray(Z.astype("complex64"))
    assert getattr(knp, name)(z).dtype == (knp.float32 if name in ("std", "var") else knp.complex64)


def test_methods_and_parts(backend):
    z = knp.asarray(Z)
    assert np.array_equal(z.real, Z.real) and np.array_equal(z.imag, Z.imag) and np.array_equal(z.conj(), Z.conj())
    assert np.allclose(knp.angle(z), np.angle(Z)) and np.allclose(knp.sign(z), Z / abs(Z))
    assert np.array_equal(knp.angle(knp.asarray([-1.0, 0.0, 2.0])), np.angle([-1, 0, 2]).astype("float32"))
    assert complex(knp.sign(knp.asarray(0j))) == 0
