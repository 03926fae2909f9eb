"""knet.numpy.fft: values against NumPy's and the defining sum, derivatives, vmap, dtypes, errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core import errors, registry
from knet.testing import check_grads

fft = knp.fft
COMPLEX_1D, REAL_1D = ("fft", "ifft", "irfft", "hfft"), ("rfft", "ihfft")
COMPLEX_ND, REAL_ND = ("fftn", "ifftn", "irfftn"), ("rfftn",)
NORMS = ("backward", "ortho", "forward")
DTYPES = (np.float32, np.float64, np.complex64, np.complex128)


def draw(shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng([seed, *shape])
    x = rng.uniform(-1, 1, shape)
    return np.asarray(x + 1j * rng.uniform(-1, 1, shape) if np.dtype(dtype).kind == "c" else x, dtype)


def near(got, want, ulp=20):
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype and got.shape == want.shape, f"{got.dtype} {got.shape}, {want.dtype} {want.shape}"
    error = np.abs(got - want).max(initial=0)
    assert error <= ulp * np.finfo(want.dtype).eps * max(1, np.abs(want).max(initial=0)), error


def operand(name, shape, dtype):
    """An operand that the function takes: real transforms take real numbers."""
    return draw(shape, np.zeros((), dtype).real.dtype if name in REAL_1D + REAL_ND else dtype)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_the_defining_sum(n, norm):
    x = draw((n,), np.complex128)
    scale = {"backward": 1.0, "ortho": n**-0.5, "forward": 1 / n}[norm]
    j = np.arange(n)
    matrix = np.exp(-2j * np.pi * np.outer(j, j) / n)
    near(fft.fft(x, norm=norm), scale * matrix @ x)
    near(fft.ifft(x, norm=norm), np.conj(matrix) @ x / (n * scale))
    near(fft.rfft(x.real, norm=norm), (scale * matrix @ x.real)[: n // 2 + 1])
    near(fft.irfft(fft.rfft(x.real, norm=norm), n=n, norm=norm), x.real)
    near(fft.ihfft(fft.hfft(x[: n // 2 + 1], n=n, norm=norm), norm=norm).real, x[: n // 2 + 1].real)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("name", COMPLEX_1D + REAL_1D)
def test_along_an_axis(name, dtype):
    for shape, n, axis, norm in itertools.product(((4,), (3, 5), (2, 3, 6), (0, 4)), (None, 1, 3, 6), (-1, 0), NORMS):
        if shape[axis] == 0:
            continue
        x = operand(name, shape, dtype)
        if n is None and x.shape[axis] == 1:
            continue
        near(getattr(fft, name)(x, n=n, axis=axis, norm=norm), getattr(np.fft, name)(x, n, axis, norm))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("name", COMPLEX_ND + REAL_ND)
def test_along_axes(name, dtype):
    x = operand(name, (3, 4, 5), dtype)
    for s, axes in (
        (None, None),
        (None, (0,)),
        (None, (2, 0)),
        ((2, 7), (1, 2)),
        ((6, 3, 4), (2, 1, 0)),
        ((2, -1), (0, 2)),
    ):
        for norm in NORMS:
            near(getattr(fft, name)(x, s=s, axes=axes, norm=norm), getattr(np.fft, name)(x, s, axes, norm))
    last = getattr(np.fft, name)(x, (4, 3), (-2, -1))
    near(getattr(fft, name)(x, s=(4, 3)), last)


@pytest.mark.parametrize("name", COMPLEX_ND + REAL_ND)
def test_inverse(name):
    pairs = {"fftn": fft.ifftn, "ifftn": fft.fftn}
    if name in pairs:
        x = draw((3, 4), np.complex128)
        near(pairs[name](getattr(fft, name)(x)), x)
    else:
        x = draw((3, 5))
        near(fft.irfftn(fft.rfftn(x), s=x.shape), x)


def test_no_axes():
    x = draw((2, 3), np.complex128)
    near(fft.fftn(x, axes=()), x)


@pytest.mark.parametrize("dtype", [knp.float16, knp.bfloat16, knp.int32, knp.bool])
def test_other_dtypes_compute_in_single_precision(dtype):
    x = knp.asarray([1, 0, 1, 1]).astype(dtype)
    assert fft.fft(x).dtype == fft.rfft(x).dtype == knp.complex64 and fft.irfft(x).dtype == knp.float32
    near(fft.rfft(x), np.fft.rfft(np.array([1, 0, 1, 1], np.float32)))


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_frequencies(n):
    near(fft.fftfreq(n, d=0.5, dtype=knp.float64), np.fft.fftfreq(n, 0.5))
    near(fft.rfftfreq(n, d=0.5, dtype=knp.float64), np.fft.rfftfreq(n, 0.5))
    assert fft.fftfreq(n).dtype == fft.rfftfreq(n).dtype == knp.float32


@pytest.mark.parametrize("axes", [None, 0, (1,), (0, -1)])
def test_shifts(axes):
    x = np.arange(20).reshape(4, 5)
    assert np.array_equal(fft.fftshift(x, axes=axes), np.fft.fftshift(x, axes))
    assert np.array_equal(fft.ifftshift(x, axes=axes), np.fft.ifftshift(x, axes))
    assert np.array_equal(fft.ifftshift(fft.fftshift(x, axes=axes), axes=axes), x)


# --- derivatives ------------------------------------------------------------------------------------------------------


def of_reals(name, **params):
    """The transform as a function of real arrays to real arrays: real and imaginary parts."""

    def f(*parts):
        x = parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]
        y = getattr(fft, name)(x, **params)
        return (knp.real(y), knp.imag(y)) if y.dtype.kind == "c" else y

    f.__name__ = name
    return f


CASES = [
    *((name, {"n": n, "axis": axis, "norm": norm}) for name in COMPLEX_1D + REAL_1D
      for n, axis, norm in ((None, -1, "backward"), (7, 0, "ortho"), (2, 1, "forward"), (3, 0, "forward"))),
    *((name, {"s": s, "axes": axes, "norm": norm}) for name in COMPLEX_ND + REAL_ND
      for s, axes, norm in ((None, None, "backward"), ((5, 2), (0, 1), "ortho"), ((3,), (1,), "forward"))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "params"), CASES, ids=str)
def test_derivatives(name, params):
    parts = [draw((4, 3), seed=i) for i in range(1 if name in REAL_1D + REAL_ND else 2)]
    check_grads(of_reals(name, **params), parts, order=2)


@pytest.mark.parametrize(("name", "params"), CASES, ids=str)
def test_transposes(name, params):
    """Reverse mode is the transpose of forward mode, without conjugation: Re sum(g f(t)) = Re sum(vjp(g) t)."""
    f = lambda x: getattr(fft, name)(x, **params)  # noqa: E731
    x, t = (knp.asarray(operand(name, (4, 3), np.complex128) * i) for i in (1, 2))
    y, tangent = knet.jvp(f, (x,), (t,))
    near(tangent, f(t))
    g = knp.asarray(draw(y.shape, y.dtype, 3))
    (c,) = knet.vjp(f, x)[1](g)
    assert c.dtype == x.dtype
    left, right = complex((g * tangent).sum()).real, complex((c * t).sum()).real
    assert left == pytest.approx(right, rel=1e-12, abs=1e-12)


@pytest.fixture
def jax():
    jax = pytest.importorskip("jax", reason="JAX, the oracle of complex derivatives, is not installed")
    with jax.enable_x64(True):
        yield jax


@pytest.mark.parametrize(("name", "params"), CASES, ids=str)
def test_derivatives_are_those_of_jax(name, params, jax):
    x = operand(name, (4, 3), np.complex128)
    y, back = knet.vjp(lambda x: getattr(fft, name)(x, **params), knp.asarray(x))
    want, jax_back = jax.vjp(lambda x: getattr(jax.numpy.fft, name)(x, **params), jax.numpy.asarray(x))
    near(y, np.asarray(want))
    g = draw(y.shape, y.dtype, 5)
    near(back(knp.asarray(g))[0], np.asarray(jax_back(jax.numpy.asarray(g))[0]))


@pytest.mark.parametrize(("name", "params"), CASES, ids=str)
def test_vmap_is_a_loop(name, params):
    f = lambda x: getattr(fft, name)(x, **params)  # noqa: E731
    x = operand(name, (2, 4, 3), np.complex128)
    near(knet.vmap(f)(x), np.stack([f(x[0]), f(x[1])]))
    near(knet.vmap(f, in_axes=2)(np.moveaxis(x, 0, 2)), np.stack([f(x[0]), f(x[1])]))


def test_half_gradient():
    g = knet.grad(lambda x: knp.abs(fft.rfft(x)).sum())(knp.asarray([1.0, 2.0, 4.0]).astype(knp.float16))
    assert g.dtype == knp.float16


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "error", "text"),
    [
        (lambda: fft.fft(np.ones(3), n=0), errors.ShapeError, "fft: n=0: a transform has one point or more"),
        (lambda: fft.fft(np.ones(0)), errors.ShapeError, "fft: n=0"),
        (lambda: fft.irfft(np.ones(1)), errors.ShapeError, "irfft: n=0"),
        (lambda: fft.fft(np.ones(3), axis=1), errors.ShapeError, "axis 1 for x with 1 axes"),
        (lambda: fft.fftn(np.ones((3, 3)), s=(3,), axes=(0, 1)), errors.ShapeError, "fftn: s="),
        (lambda: fft.fftn(np.ones((3, 3)), axes=(0, -2)), errors.ShapeError, "names an axis twice"),
        (lambda: fft.fft(np.ones(3), norm="both"), errors.ArgumentError, "fft: norm='both'"),
        (lambda: fft.rfftn(np.ones(3), axes=()), errors.ArgumentError, r"rfftn: axes=\(\)"),
        (lambda: fft.irfftn(np.ones(3), axes=()), errors.ArgumentError, r"irfftn: axes=\(\)"),
        (lambda: fft.rfft(np.ones(3, np.complex64)), errors.DTypeError, "rfft"),
        (lambda: fft.fftfreq(0), errors.ShapeError, "fftfreq: n=0"),
        (lambda: fft.fftfreq(3, dtype=int), errors.ArgumentError, "fftfreq: dtype"),
        (lambda: registry["dft"](np.ones(3), axes=(0,), inverse=False, norm="ortho"), errors.DTypeError, "dft"),
        (lambda: registry["rfft"](np.ones(3, int), axis=0, norm="ortho"), errors.DTypeError, "rfft"),
        (lambda: registry["irfft"](np.ones(3), n=4, axis=0, norm="ortho"), errors.DTypeError, "irfft"),
        (lambda: registry["irfft"](np.ones(3, complex), n=6, axis=0, norm="ortho"), errors.ShapeError, "irfft"),
    ],
)  # fmt: skip
def test_errors(f, error, text):
    with pytest.raises(error, match=text):
        f()
