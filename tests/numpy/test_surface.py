"""What people use beyond the array API standard: each function is there, has the derivative that mathematics allows, in
both modes and to the second order, and works in vmap as in a loop."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.testing import check_grads

RNG = np.random.default_rng(0)
X = RNG.uniform(0.2, 0.8, (4, 3))
S = X[:3] + 2 * np.eye(3)
V = np.sort(RNG.uniform(1, 2, 4))
IDS = np.array([[2, 0, 1], [1, 1, 0], [0, 2, 2], [2, 1, 0]])
OUTSIDE = np.array([-9, 0, 7])
la, fft = knp.linalg, knp.fft

# Functions of a real array, at a point where they are smooth; of several results each is a real array.
SMOOTH = {
    "einsum": (lambda x: knp.einsum("ij,kj->ik", x, x), X),
    "tensordot": (lambda x: knp.tensordot(x, x, axes=([0], [0])), X),
    "outer": (lambda x: knp.outer(x, x), V),
    **{
        f"pad, {mode}": (lambda x, mode=mode: knp.pad(x, (2, 1), mode), X)
        for mode in (
            "constant",
            "edge",
            "reflect",
            "symmetric",
            "wrap",
            "linear_ramp",
            "mean",
            "maximum",
            "minimum",
            "median",
        )
    },
    "pad, odd": (lambda x: knp.pad(x, 2, "reflect", reflect_type="odd"), X),
    "take_along_axis": (lambda x: knp.take_along_axis(x, IDS, axis=1), X),
    "put_along_axis": (lambda x: knp.put_along_axis(x, IDS[:, :1], x[:, :1] ** 2, axis=1), X),
    **{
        f"gather, {mode}": (lambda x, mode=mode: knp.take(x, OUTSIDE, axis=0, mode=mode, fill_value=0.5), X)
        for mode in ("clip", "wrap", "fill")
    },
    **{
        f"scatter, {mode}": (lambda x, mode=mode: x.at[OUTSIDE].add(x[:3] ** 2, mode=mode), X)
        for mode in ("clip", "wrap", "drop")
    },
    "segment_sum": (lambda x: knp.segment_sum(x**2, np.array([1, 0, 1, 2]), 3), X),
    "segment_prod": (lambda x: knp.segment_prod(x, np.array([1, 0, 1, 1]), 3), X),
    "segment_max": (lambda x: knp.segment_max(x, np.array([1, 0, 1, 0]), 2), X),
    "segment_min": (lambda x: knp.segment_min(x, np.array([1, 0, 1, 0]), 2), X),
    "cumsum": (lambda x: knp.cumsum(x**2, axis=0), X),
    "cumprod": (lambda x: knp.cumprod(x, axis=1), X),
    "cummax": (lambda x: knp.cummax(x, axis=0), X),
    "cummin": (lambda x: knp.cummin(x, axis=0), X),
    "logcumsumexp": (lambda x: knp.logcumsumexp(x), X),
    "sort": (lambda x: knp.sort(x, axis=0), X),
    "top_k": (lambda x: knp.top_k(x, 2)[0], X),
    "partition": (lambda x: knp.partition(x, 1)[..., 1], X),
    "histogram, weights": (lambda x: knp.histogram(X, 4, (0.0, 1.0), weights=x)[0], X),
    "interp": (lambda x: knp.interp(x[0] + 1, V, x[:, 1]), X),
    "linspace": (lambda x: knp.linspace(x[0], x[1], 5), X),
    "triu": (lambda x: knp.triu(x, k=1), X),
    "tril": (lambda x: knp.tril(x, k=-1), X),
    "roll": (lambda x: knp.roll(x, 2, axis=0), X),
    "flip": (lambda x: knp.flip(x, axis=1), X),
    "rot90": (knp.rot90, X),
    **{
        name: (lambda x, name=name: getattr(knp, name)(knp.where(X > 0.7, np.nan, x), axis=0), X)
        for name in (
            "nansum",
            "nanmean",
            "nanprod",
            "nanvar",
            "nanstd",
            "nanmax",
            "nanmin",
            "nanmedian",
            "nancumsum",
            "nancumprod",
        )
    },
    "percentile": (lambda x: knp.percentile(x, 30.0, axis=0), X),
    "quantile": (lambda x: knp.quantile(x, knp.asarray([0.2, 0.7], dtype=knp.float64), axis=0), X),
    "median": (lambda x: knp.median(x, axis=0), X),
    "convolve": (lambda x: knp.convolve(x[:, 0], x[:3, 1]), X),
    "correlate": (lambda x: knp.correlate(x[:, 0], x[:2, 1]), X),
    "meshgrid": (lambda x: knp.meshgrid(x, x**2), V),
    **{
        name: (getattr(knp, name), X)
        for name in (
            "erf",
            "erfc",
            "erfinv",
            "gammaln",
            "digamma",
            "i0",
            "i1",
            "i0e",
            "i1e",
            "j0",
            "j1",
            "logit",
            "expit",
            "ndtr",
            "ndtri",
            "log_ndtr",
            "sinc",
            "exp2",
            "cbrt",
        )
    },
    "polygamma": (lambda x: knp.polygamma(1, x + 1), X),
    "betaln": (lambda x: knp.betaln(x, x[0] + 1), X),
    "xlogy": (lambda x: knp.xlogy(x, x[0]), X),
    "xlog1py": (lambda x: knp.xlog1py(x, x[0]), X),
    "zeta": (lambda x: knp.zeta(3.0, x + 1), X),
    "gammainc": (lambda x: knp.gammainc(x + 1, x[0]), X),
    "logsumexp": (lambda x: knp.logsumexp(x, axis=0, b=x[0]), X),
    "logaddexp2": (lambda x: knp.logaddexp2(x, x[0]), X),
    "modf": (lambda x: knp.modf(3 * x)[0], X),
    "frexp": (lambda x: knp.frexp(x)[0], X),
    "ldexp": (lambda x: knp.ldexp(x, 3), X),
    "select": (lambda x: knp.select([X > 0.6, X > 0.4], [x**2, knp.sin(x)], 0.0), X),
    "ptp": (lambda x: knp.ptp(x, axis=0), X),
    "append": (lambda x: knp.append(x, x[:1] ** 2, axis=0), X),
    "array_split": (lambda x: knp.array_split(x**2, 3), X),
    "diagflat": (lambda x: knp.diagflat(x**2, 1), V),
    "linalg.expm": (la.expm, S),
    "linalg.pinv": (la.pinv, X),
    "linalg.matrix_power": (lambda x: la.matrix_power(x, -3), S),
    "linalg.slogdet": (lambda x: la.slogdet(x)[1], S),
    "linalg.lstsq": (lambda x: la.lstsq(x, x[:, 0] ** 2)[0], X),
    "linalg.cond": (la.cond, S),
    "linalg.multi_dot": (lambda x: la.multi_dot([x, x.T, x]), X),
    "linalg.eigvals": (lambda x: knp.abs(la.eigvals(x)), np.diag([1.0, 2.0, 4.0]) + X[:3]),
    **{
        f"linalg.norm, {p}": (lambda x, p=p: la.norm(x, p), X)
        for p in (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)
    },
    **{f"linalg.vector_norm, {p}": (lambda x, p=p: la.vector_norm(x, ord=p), V) for p in (1, 2, 3, 0.5, -1, np.inf)},
    "fft.fft2": (lambda x: knp.abs(fft.fft2(x)), X),
}

# Results that are integers or truth values, or do not move with the operand.
STEPS = {
    "argsort": lambda x: knp.argsort(x, axis=0),
    "top_k": lambda x: knp.top_k(x, 2)[1],
    "histogram": lambda x: knp.histogram(x, 4, (0.0, 1.0))[0],
    "tri": lambda x: knp.tri(3) + 0 * x[:3],
    "nanargmax": lambda x: knp.nanargmax(x, 0),
    "nanargmin": lambda x: knp.nanargmin(x, 0),
    "argpartition": lambda x: knp.argpartition(x, 0)[..., 0],
    "digitize": lambda x: knp.digitize(x, V),
    "isin": lambda x: knp.isin(x, V),
    "bincount": lambda x: knp.bincount(IDS[:, 0], length=4) + 0 * x[:, 0].astype(int),
    "heaviside": lambda x: knp.heaviside(x - 0.5, 1.0),
    "rint": knp.rint,
    "signbit": knp.signbit,
    "matrix_rank": la.matrix_rank,
    "searchsorted": lambda x: knp.searchsorted(V, x),
}


def leaves(value):
    return [np.asarray(y) for y in knet.tree.leaves(value)]


def assert_vmap_is_a_loop(f, x):
    batch = np.stack([x, np.flip(x, 0), x * 0.9 + 0.01])
    for got, *want in zip(leaves(knet.vmap(f)(batch)), *(leaves(f(knp.asarray(a))) for a in batch), strict=True):
        np.testing.assert_allclose(got, np.stack(want), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives(name):
    f, x = SMOOTH[name]
    check_grads(f, (x,), order=2, rtol=1e-5)


@pytest.mark.parametrize("name", SMOOTH)
def test_vmap(name):
    assert_vmap_is_a_loop(*SMOOTH[name])


@pytest.mark.parametrize("name", STEPS)
def test_what_moves_in_steps(name):
    f = STEPS[name]
    assert_vmap_is_a_loop(f, X)
    y = f(knp.asarray(X))
    if y.dtype.kind == "f":
        assert not np.asarray(knet.grad(lambda x: f(x).sum())(X)).any()


def test_unique_knows_its_size_on_the_host():
    x = knp.asarray([2.0, 1.0, 2.0])
    assert knp.unique(x).tolist() == [1.0, 2.0]
    with pytest.raises(knet.errors.TracerError):
        knet.vmap(knp.unique)(x[None])


# --- knet.random ------------------------------------------------------------------------------------------------------

KEY = knet.random.key(0)
P = RNG.uniform(0.5, 2.0, (3,))
WITHOUT_PARAMETERS = {
    name: lambda key, name=name: getattr(knet.random, name)(key, (3,))
    for name in ("uniform", "normal", "exponential", "gumbel", "laplace", "logistic", "cauchy", "rademacher")
} | {
    "bernoulli": lambda key: knet.random.bernoulli(key, 0.3, (5,)),
    "categorical": lambda key: knet.random.categorical(key, knp.asarray(P)),
    "choice": lambda key: knet.random.choice(key, knp.asarray(P), (4,)),
    "permutation": lambda key: knet.random.permutation(key, knp.asarray(P)),
    "randint": lambda key: knet.random.randint(key, (4,), -3, 9),
    "poisson": lambda key: knet.random.poisson(key, knp.asarray(P)),
    "truncated_normal": lambda key: knet.random.truncated_normal(key, -1.0, 1.0, (3,)),
    "orthogonal": lambda key: knet.random.orthogonal(key, 3),
}
# Those of gamma, beta, Dirichlet, chi-square and t are implicit, and not what differences at one key would show:
# tests/test_random.py holds them against the derivatives of distribution functions.
MOVING = {
    "truncated_normal": lambda p: knet.random.truncated_normal(KEY, -p, p, dtype=knp.float64),
    "multivariate_normal": lambda p: knet.random.multivariate_normal(
        KEY, p, knp.outer(p, p) + knp.eye(3, dtype=knp.float64), dtype=knp.float64
    ),
    "normal": lambda p: p * knet.random.normal(KEY, (3,), knp.float64),
}
IMPLICIT = ("gamma", "loggamma", "chisquare", "t", "dirichlet")


@pytest.mark.parametrize("name", WITHOUT_PARAMETERS)
def test_samplers_in_vmap(name):
    f, keys = WITHOUT_PARAMETERS[name], knet.random.split(KEY, 3)
    assert np.array_equal(np.asarray(knet.vmap(f)(keys)), np.stack([np.asarray(f(k)) for k in keys]))


@pytest.mark.parametrize("name", MOVING)
def test_samples_move_with_their_parameters(name):
    check_grads(MOVING[name], (P,), rtol=1e-5)


@pytest.mark.parametrize("name", IMPLICIT)
def test_samplers_with_implicit_derivatives_in_vmap(name):
    def gradient(key, p):
        return knet.grad(lambda p: (getattr(knet.random, name)(key, p) * P).sum())(p)

    keys, p = knet.random.split(KEY, 3), knp.asarray(P)
    got = np.asarray(knet.vmap(gradient, in_axes=(0, None))(keys, p))
    assert np.isfinite(got).all() and got.any()
    np.testing.assert_allclose(got, np.stack([np.asarray(gradient(k, p)) for k in keys]), rtol=1e-5)
