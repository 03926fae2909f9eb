"""Eigenvalues and eigenvectors of matrices that need not be symmetric; see the catalogue for values, too."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core.errors import DTypeError, LinAlgError, ShapeError
from knet.testing import check_grads

la = knp.linalg
RNG = np.random.default_rng(0)


def matrices(*batch, dtype=float):
    """Eigenvalues about 0, 2 +- 3i and 5, at some distance from one another."""
    x = np.diag([0.0, 2.0, 2.0, 5.0])
    x[1, 2], x[2, 1] = 4.5, -2.0  # so that which component of an eigenvector is largest stays clear
    y = x + 0.3 * RNG.normal(size=(*batch, 4, 4))
    return y + 0.3j * RNG.normal(size=y.shape) if np.dtype(dtype).kind == "c" else y


def parts(*ys):
    return [p for y in ys for p in (knp.real(y), knp.imag(y))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_values(dtype):
    x = matrices(2, 3, dtype=dtype).astype(dtype)
    w, v = la.eig(x)
    assert w.dtype == v.dtype == np.result_type(dtype, np.complex64) and w.shape == (2, 3, 4) and v.shape == x.shape
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(np.asarray(x @ v), np.asarray(v * w[..., None, :]), atol=100 * eps)
    np.testing.assert_allclose(np.linalg.norm(np.asarray(v), axis=-2), 1, atol=10 * eps)
    np.testing.assert_allclose(np.sort(np.asarray(la.eigvals(x))), np.sort(np.linalg.eigvals(x)), atol=100 * eps)
    largest = np.take_along_axis(np.asarray(v), np.abs(np.asarray(v)).argmax(-2)[..., None, :], -2)
    assert not largest.imag.any()


def test_the_result_is_complex_whatever_the_values():
    assert la.eigvals(np.eye(2)).dtype == knp.complex128
    assert (
        la.eigvals(knp.eye(2, dtype=knp.float16)).dtype
        == la.eig(knp.asarray([[1, 2], [3, 4]]))[1].dtype
        == knp.complex64
    )
    assert la.eig(np.zeros((0, 0))).eigenvectors.shape == (0, 0) and la.eigvals(np.zeros((2, 0, 0))).shape == (2, 0)
    assert la.eig(np.eye(2))._fields == ("eigenvalues", "eigenvectors")


def test_derivatives():
    x, y = matrices(2), 0.3 * RNG.normal(size=(2, 4, 4))
    check_grads(lambda x: parts(*la.eig(x)), (x,), order=2)
    check_grads(lambda x: parts(la.eigvals(x)), (x,), order=2)
    check_grads(lambda x, y: parts(*la.eig(x + 1j * y)), (x, y), order=2)


def test_derivatives_in_closed_form():
    """The sum of f(w) is the trace of f(x), and its derivative f'(x)^T; v f(w) v^-1 is f(x)."""
    x = matrices()
    g = knet.grad(lambda x: knp.real((la.eigvals(x) ** 3).sum()))(x)
    np.testing.assert_allclose(np.asarray(g), 3 * (x @ x).T, atol=1e-12)
    g = knet.grad(lambda x: knp.real(knp.exp(la.eig(x)[0]).sum()))(x)
    np.testing.assert_allclose(np.asarray(g), np.asarray(la.expm(x)).T, atol=1e-10)
    c = RNG.normal(size=(4, 4))

    def by_eig(x):
        w, v = la.eig(x)
        return (knp.real((v * w**2) @ la.inv(v)) * c).sum()

    np.testing.assert_allclose(np.asarray(knet.grad(by_eig)(x)), c @ x.T + x.T @ c, atol=1e-12)


def test_of_a_symmetric_matrix_it_is_eigh():
    x = RNG.normal(size=(4, 4))
    x = x + x.T
    g = knet.grad(lambda x: knp.real(la.eigvals(x) ** 4).sum())(x)
    np.testing.assert_allclose(
        np.asarray(g), np.asarray(knet.grad(lambda x: (la.eigvalsh(x) ** 4).sum())(x)), rtol=1e-10
    )


def test_where_there_is_no_derivative():
    both = knet.grad(lambda x: knp.real(la.eig(x).eigenvectors).sum())(np.eye(2))
    assert np.isnan(np.asarray(both)).any(), "the eigenvectors of a multiple eigenvalue have no derivative"
    assert knet.grad(lambda x: knp.real(la.eigvals(x)).sum())(np.eye(2)).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    with pytest.raises(LinAlgError):  # one eigenvector alone
        knet.grad(lambda x: knp.real(la.eigvals(x)).sum())(np.array([[0.0, 1.0], [0.0, 0.0]]) * 1e300)


def test_errors():
    for f in (la.eig, la.eigvals):
        with pytest.raises(LinAlgError):
            f(np.full((2, 2), np.nan))
        with pytest.raises(ShapeError):
            f(np.ones((2, 3)))
        with pytest.raises(ShapeError):
            f(np.ones(3))
    with pytest.raises(DTypeError):
        knp.linalg.decompositions.eig(np.eye(2, dtype=int))


def test_vmap():
    x = matrices(3)
    w, v = knet.vmap(la.eig)(x)
    assert np.array_equal(np.asarray(w), np.asarray(la.eig(x)[0])) and np.array_equal(
        np.asarray(v), np.asarray(la.eig(x)[1])
    )
    grads = knet.vmap(knet.grad(lambda x: knp.abs(la.eigvals(x)).max()))(x)
    want = [knet.grad(lambda x: knp.abs(la.eigvals(x)).max())(a) for a in x]
    np.testing.assert_allclose(np.asarray(grads), want, rtol=1e-12)


@pytest.fixture
def jax():
    jax = pytest.importorskip("jax", reason="JAX, the oracle of complex derivatives, is not installed")
    with jax.enable_x64(True):
        yield jax


@pytest.mark.parametrize("dtype", [float, complex])
def test_derivatives_are_those_of_jax(dtype, jax):
    x = matrices(dtype=dtype)
    _, back = knet.vjp(la.eigvals, knp.asarray(x))
    _, jax_back = jax.vjp(jax.numpy.linalg.eigvals, jax.numpy.asarray(x))
    g = RNG.normal(size=4) + 1j * RNG.normal(size=4)
    np.testing.assert_allclose(
        np.asarray(back(knp.asarray(g))[0]), np.asarray(jax_back(jax.numpy.asarray(g))[0]), atol=1e-12
    )
    c = RNG.normal(size=(4, 4))

    def jax_loss(x):  # without the phases, which JAX leaves free
        v = jax.lax.linalg.eig(x, compute_left_eigenvectors=False, enable_eigvec_derivs=True)[1]
        return (jax.numpy.abs(v) ** 2 * c).sum()

    got = knet.grad(lambda x: (knp.abs(la.eig(x)[1]) ** 2 * c).sum())(knp.asarray(x.real))
    want = jax.grad(jax_loss)(jax.numpy.asarray(x.real))
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), atol=1e-12)
