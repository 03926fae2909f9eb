"""knet.numpy.linalg and the products: values, residuals, derivatives to second order, vmap, special shapes, errors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core import errors
from knet.testing import check_grads

la = knp.linalg
DTYPES = (np.float32, np.float64, np.complex64, np.complex128)
SHAPES = [(*batch, m, n) for batch in ((), (3,), (2, 0), (2, 1)) for m, n in ((4, 4), (5, 3), (3, 5), (1, 1), (0, 0),
                                                                              (0, 3), (2, 0))]  # fmt: skip
SQUARE = [s for s in SHAPES if s[-1] == s[-2]]


def draw(shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng([seed, *shape])
    x = rng.uniform(-1, 1, shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.uniform(-1, 1, shape)
    return np.asarray(x, dtype)


def regular(shape, dtype=np.float64, seed=0):
    """Well-conditioned square matrices."""
    return np.asarray(draw(shape, dtype, seed) + 2 * np.eye(shape[-1]), dtype)


def positive(shape, dtype=np.float64, seed=0):
    """Hermitian positive definite matrices with distinct eigenvalues."""
    x = draw(shape, dtype, seed)
    return np.asarray(x @ adjoint(x) + np.diag(np.arange(1, shape[-1] + 1)), dtype)


def adjoint(x):
    return np.conj(np.swapaxes(np.asarray(x), -1, -2))


def near(got, want, scale=None, ulp=50):
    """Equal shapes and dtypes, and elements up to some rounding errors of the largest."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype and got.shape == want.shape, f"{got.dtype} {got.shape}, {want.dtype} {want.shape}"
    if want.dtype.kind not in "fc":
        assert np.array_equal(got, want)
        return
    size = max(np.abs(want).max(initial=0), 1.0) if scale is None else scale
    error = np.abs(got - want).max(initial=0)
    assert error <= ulp * np.finfo(want.dtype).eps * size, f"{error} of {size}"


every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
square_shapes = pytest.mark.parametrize("shape", SQUARE, ids=str)


# --- values: NumPy's, and what defines them ---------------------------------------------------------------------------


@every_dtype
@square_shapes
def test_square_functions(shape, dtype):
    x = regular(shape, dtype)
    near(la.det(x), np.linalg.det(x), ulp=200)
    near(la.inv(x), np.linalg.inv(x))
    for got, want in zip(la.slogdet(x), np.linalg.slogdet(x), strict=True):
        near(got, want)
    near(la.matrix_rank(x), np.asarray(np.linalg.matrix_rank(x)) if x.size else np.zeros(shape[:-2], np.int64))
    for n in (-2, -1, 0, 1, 2, 5):
        near(la.matrix_power(x, n), np.linalg.matrix_power(x, n), ulp=500)
    for k in (-1, 0, 2):
        near(la.trace(x, offset=k), np.trace(x, k, -2, -1))


@every_dtype
@square_shapes
def test_systems(shape, dtype):
    a, b, v = regular(shape, dtype), draw((*shape[:-1], 2), dtype, 1), draw(shape[-1:], dtype, 2)
    near(la.solve(a, b), np.linalg.solve(a, b))
    near(la.solve(a, v), np.linalg.solve(a, v))
    for lower, unit, trans in itertools.product((False, True), (False, True), (0, "T", 2)):
        t = np.tril(a) if lower else np.triu(a)
        if unit:
            t = t - t * np.eye(shape[-1], dtype=dtype) + np.eye(shape[-1], dtype=dtype)
        t = {0: t, "T": np.swapaxes(t, -1, -2), 2: adjoint(t)}[trans]
        y = la.triangular_solve(a, b, lower=lower, unit_diagonal=unit, trans=trans)
        assert y.shape == b.shape
        near(t @ np.asarray(y), b, scale=max(1, np.abs(np.asarray(y)).max(initial=0)))
        assert la.triangular_solve(a, v, lower=lower).shape == shape[:-1]


@every_dtype
@square_shapes
def test_hermitian(shape, dtype):
    x = positive(shape, dtype)
    lower, upper = la.cholesky(x), la.cholesky(x, upper=True)
    near(lower, np.linalg.cholesky(x))
    near(np.asarray(lower) @ adjoint(lower), x)
    near(upper, adjoint(lower))
    w, v = la.eigh(x)
    near(w, np.linalg.eigvalsh(x))
    near(la.eigvalsh(x), np.linalg.eigvalsh(x))
    w, v = np.asarray(w), np.asarray(v)
    near((v * w[..., None, :]) @ adjoint(v), x, scale=10)
    near(adjoint(v) @ v, np.broadcast_to(np.eye(shape[-1], dtype=dtype), x.shape))


def test_hermitian_part_counts():
    x, y = draw((3, 3), np.complex128), positive((3, 3), np.complex128)
    skew = (x - adjoint(x)) / 2
    for f in (la.cholesky, la.eigvalsh, lambda a: la.eigh(a).eigenvalues):
        near(f(y + skew), f(y))


@every_dtype
@every_shape
@pytest.mark.parametrize("mode", ["reduced", "complete"])
def test_qr(shape, dtype, mode):
    x = draw(shape, dtype)
    m, n = shape[-2:]
    k = m if mode == "complete" else min(m, n)
    q, r = map(np.asarray, la.qr(x, mode=mode))
    assert q.shape == (*shape[:-1], k) and r.shape == (*shape[:-2], k, n) and q.dtype == r.dtype == dtype
    near(q @ r, x)
    near(adjoint(q) @ q, np.broadcast_to(np.eye(k, dtype=dtype), (*shape[:-2], k, k)))
    assert np.array_equal(r, np.triu(r))


@every_dtype
@every_shape
@pytest.mark.parametrize("full", [True, False])
def test_svd(shape, dtype, full):
    x = draw(shape, dtype)
    m, n = shape[-2:]
    k = min(m, n)
    u, s, v = map(np.asarray, la.svd(x, full_matrices=full))
    assert u.shape == (*shape[:-1], m if full else k) and v.shape == (*shape[:-2], n if full else k, n)
    assert s.shape == (*shape[:-2], k) and s.dtype == x.real.dtype and (np.diff(s) <= 0).all() and (s >= 0).all()
    near((u[..., :k] * s[..., None, :]) @ v[..., :k, :], x)
    near(adjoint(u) @ u, np.broadcast_to(np.eye(u.shape[-1], dtype=dtype), (*shape[:-2], *u.shape[-1:] * 2)))
    near(v @ adjoint(v), np.broadcast_to(np.eye(v.shape[-2], dtype=dtype), (*shape[:-2], *v.shape[-2:-1] * 2)))
    near(la.svdvals(x), s)


@every_dtype
@every_shape
def test_pinv(shape, dtype):
    x = draw(shape, dtype)
    y = la.pinv(x)
    assert y.shape == (*shape[:-2], shape[-1], shape[-2])
    y = np.asarray(y)
    near(x @ y @ x, x, ulp=500)
    near(adjoint(x @ y), x @ y, ulp=500)
    near(y, np.linalg.pinv(x, rtol=max(shape[-2:]) * np.finfo(dtype).eps), ulp=500)


def test_pinv_and_rank_take_a_tolerance_for_each_matrix():
    x = np.stack([np.diag([1.0, 1e-3])] * 2)
    tolerance = np.array([1e-2, 1e-4])
    assert np.asarray(la.matrix_rank(x, rtol=tolerance)).tolist() == [1, 2]
    near(la.pinv(x, rtol=tolerance), np.stack([np.diag([1.0, 0.0]), np.diag([1.0, 1e3])]), ulp=1000)
    assert la.matrix_rank(np.zeros((3, 3))).item() == 0


@every_dtype
@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (2, 4, 4)], ids=str)
def test_lstsq(shape, dtype):
    a, b = draw(shape, dtype), draw((*shape[:-1], 2), dtype, 1)
    y, residuals, rank, s = la.lstsq(a, b)
    want = np.stack(
        [np.linalg.lstsq(m, r)[0] for m, r in zip(a.reshape(-1, *shape[-2:]), b.reshape(-1, *b.shape[-2:]))]
    )
    near(y, want.reshape(y.shape), ulp=2000)
    near(residuals, (np.abs(a @ np.asarray(y) - b) ** 2).sum(-2), ulp=2000)
    near(rank, np.asarray(np.linalg.matrix_rank(a)))
    near(s, np.linalg.svd(a, compute_uv=False))
    if len(shape) == 2:
        y, residuals, *_ = la.lstsq(a, b[:, 0])
        assert y.shape == (shape[1],) and residuals.shape == ()


@every_dtype
@square_shapes
def test_expm(shape, dtype):
    for scale in (0.1, 5.0):
        x = np.asarray(scale * draw(shape, dtype))
        near(la.expm(x), np.asarray(exponential(x), dtype), ulp=200)


def exponential(x):
    """Taylor's series of x / 256, squared eight times, in long double: SciPy's is off by some hundred ulp itself."""
    x = x.astype(np.clongdouble if x.dtype.kind == "c" else np.longdouble) / 256
    term = total = np.broadcast_to(np.eye(x.shape[-1], dtype=x.dtype), x.shape)
    for k in range(1, 25):
        term = term @ x / k
        total = total + term
    for _ in range(8):
        total = total @ total
    return total


@every_dtype
@every_shape
def test_norms(shape, dtype):
    x = draw(shape, dtype)
    if x.size:
        for order, keepdims in itertools.product(("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf), (False, True)):
            near(la.matrix_norm(x, ord=order, keepdims=keepdims), np.linalg.norm(x, order, (-2, -1), keepdims))
        for p in (None, 2, -2) + (("fro", 1, math.inf) if shape[-1] == shape[-2] else ()):
            near(la.cond(x, p), np.linalg.cond(x, p).real, scale=np.linalg.cond(x).max() ** 2)  # complex in NumPy 2.0
    for order, axis in itertools.product((2, 1, 0, 3, 0.5, math.inf), (None, 0, -1, (0, 1))):
        with np.errstate(all="ignore"):
            got = la.vector_norm(x, ord=order, axis=axis, keepdims=True)
            if 0 in shape:
                assert not np.asarray(got).any()
            else:
                near(got, np.linalg.vector_norm(x, ord=order, axis=axis, keepdims=True))
    assert la.matrix_norm(x).dtype == x.real.dtype


def test_negative_orders():
    x = np.array([[3.0, -4.0], [0.0, 1.0]])
    near(la.vector_norm(x, ord=-math.inf, axis=1), np.array([3.0, 0.0]))
    near(la.vector_norm(x, ord=-1, axis=1), np.array([12 / 7, 0.0]))


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((4,), {}), ((4,), {"ord": 3}), ((3, 4), {}), ((3, 4), {"ord": 2}), ((3, 4), {"ord": "nuc"}),
        ((2, 3, 4), {}), ((2, 3, 4), {"axis": 1}), ((2, 3, 4), {"axis": (0, 2), "ord": 1}),
        ((2, 3, 4), {"axis": (2, 0), "ord": 1, "keepdims": True}), ((2, 3, 4), {"axis": -1, "ord": 1}),
    ],
)  # fmt: skip
def test_norm_is_numpys(shape, arguments):
    x = draw(shape)
    near(la.norm(x, **arguments), np.asarray(np.linalg.norm(x, **arguments)))


@every_dtype
def test_products(dtype):
    a, b, v, w = draw((2, 3), dtype), draw((3, 4), dtype, 1), draw((3,), dtype, 2), draw((2, 3), dtype, 3)
    near(knp.vdot(a, w), np.vdot(a, w))
    near(knp.inner(a, w), np.inner(a, w))
    near(knp.inner(a, np.asarray(2, dtype)), 2 * a)
    near(knp.kron(a, b), np.kron(a, b))
    near(knp.kron(v, b), np.kron(v, b))
    near(la.cross(v, w), np.cross(v, w))
    near(la.cross(w.T, w.T[:, ::-1], axis=0), np.cross(w.T, w.T[:, ::-1], axis=0))
    near(la.vecdot(v, w), np.vecdot(v, w))
    near(la.outer(v, w[0]), np.outer(v, w[0]))
    near(la.tensordot(a, b, axes=1), np.tensordot(a, b, 1))
    near(la.tensordot(a, w, axes=((0, 1), (0, 1))), np.tensordot(a, w, ((0, 1), (0, 1))))
    near(la.multi_dot([v, b, b.T, a.T]), np.linalg.multi_dot([v, b, b.T, a.T]))
    near(la.multi_dot([a, b, b.T, v]), np.linalg.multi_dot([a, b, b.T, v]))
    near(la.multi_dot([a, b]), a @ b)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2), (2, 3, 4), (1, 1), (0, 2)], ids=str)
@pytest.mark.parametrize("k", [-5, -1, 0, 1, 5])
def test_diagonals(shape, k):
    x = np.arange(math.prod(shape)).reshape(shape)
    near(la.diagonal(x, offset=k), np.diagonal(x, k, -2, -1))
    near(la.trace(x, offset=k), np.asarray(np.trace(x, k, -2, -1)))
    near(knp.diagonal(x, k), np.diagonal(x, k))
    near(knp.trace(x, k), np.asarray(np.trace(x, k)))
    if len(shape) == 2:
        near(knp.diag(x, k), np.diag(x, k))
        near(knp.diag(x[0] if shape[0] else x.ravel(), k), np.diag(x[0] if shape[0] else x.ravel(), k))


def test_trace_of_small_integers_is_wide():
    assert la.trace(np.full((300, 300), 100, np.int8)).item() == 30_000
    assert la.trace(np.ones((2, 2), np.float32), dtype=knp.float64).dtype == knp.float64


def test_named_results():
    x = knp.asarray(positive((3, 3)))
    assert la.eigh(x)._fields == ("eigenvalues", "eigenvectors")
    assert la.qr(x)._fields == ("Q", "R")
    assert la.slogdet(x)._fields == ("sign", "logabsdet")
    assert la.svd(x)._fields == ("U", "S", "Vh")


def test_integers_become_floats():
    x = np.array([[2, 1], [1, 3]])
    assert la.det(x).dtype == knp.float32 and la.det(x).item() == pytest.approx(5)
    assert la.eigh(x).eigenvalues.dtype == la.solve(x, x).dtype == la.norm(x).dtype == knp.float32
    assert la.matrix_power(x, 2).dtype == knp.int64


HALF = [
    la.det, la.inv, la.cholesky, la.eigvalsh, la.svdvals, la.pinv, la.expm, lambda x: la.solve(x, x), la.norm,
    lambda x: la.triangular_solve(x, x), lambda x: la.slogdet(x).logabsdet, lambda x: knp.abs(la.qr(x).R),
    lambda x: knp.abs(la.eigh(x).eigenvectors), lambda x: knp.abs(la.svd(x).U),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [knp.float16, knp.bfloat16], ids=str)
@pytest.mark.parametrize("f", HALF)
def test_half_types_compute_in_single(f, dtype):
    x = knp.asarray(positive((3, 3))).astype(dtype)
    y = f(x)
    assert y.dtype == dtype
    near(y.astype(knp.float32), f(x.astype(knp.float32)).astype(dtype).astype(knp.float32), ulp=2)
    g = knet.grad(lambda x: f(x).astype(knp.float32).sum())(x)
    assert g.dtype == dtype and np.isfinite(np.asarray(g.astype(knp.float32))).all()


# --- derivatives ------------------------------------------------------------------------------------------------------

B = draw((1, 3, 2), seed=5)
GRADS = {
    "inv": (la.inv, regular((2, 3, 3))),
    "solve": (la.solve, regular((2, 3, 3)), B),
    "solve a vector": (la.solve, regular((2, 3, 3)), B[0, :, 0]),
    "triangular_solve": (la.triangular_solve, regular((2, 3, 3)), B),
    "triangular_solve, lower, unit": (
        lambda a, b: la.triangular_solve(a, b, lower=True, unit_diagonal=True, trans=1), regular((3, 3)), B,
    ),
    "det": (la.det, regular((2, 3, 3))),
    "slogdet": (lambda x: la.slogdet(x).logabsdet, regular((2, 3, 3))),
    "matrix_power": (lambda x: la.matrix_power(x, 3), regular((2, 3, 3))),
    "matrix_power, negative": (lambda x: la.matrix_power(x, -3), regular((3, 3))),
    "expm": (la.expm, draw((2, 3, 3))),
    "cholesky": (la.cholesky, positive((2, 3, 3))),
    "cholesky, upper": (lambda x: la.cholesky(x, upper=True), positive((3, 3))),
    "qr": (la.qr, regular((2, 3, 3))),
    "qr, tall": (la.qr, draw((5, 3))),
    "qr, wide": (la.qr, draw((3, 5))),
    "eigh": (la.eigh, positive((2, 3, 3))),
    "eigvalsh": (la.eigvalsh, positive((2, 3, 3))),
    "svd": (la.svd, regular((2, 3, 3))),
    "svd, tall": (lambda x: la.svd(x, full_matrices=False), draw((5, 3))),
    "svd, wide": (lambda x: la.svd(x, full_matrices=False), draw((3, 5))),
    "svdvals": (la.svdvals, draw((2, 3, 5))),
    "full svd, values": (lambda x: la.svd(x).S, draw((5, 3))),
    "pinv, tall": (la.pinv, draw((2, 5, 3))),
    "pinv, wide": (la.pinv, draw((3, 5))),
    "lstsq": (lambda a, b: la.lstsq(a, b)[:2], draw((5, 3)), draw((5, 2))),
    "nuclear norm": (lambda x: la.matrix_norm(x, ord="nuc"), draw((2, 5, 3))),
    "spectral norm": (lambda x: la.matrix_norm(x, ord=2, keepdims=True), draw((2, 5, 3))),
    "frobenius norm": (la.matrix_norm, draw((2, 5, 3))),
    "row sums": (lambda x: la.matrix_norm(x, ord=math.inf), draw((2, 5, 3))),
    "3-norm": (lambda x: la.vector_norm(x, ord=3, axis=(0, 2)), draw((2, 5, 3))),
    "-1.5-norm": (lambda x: la.vector_norm(x, ord=-1.5), regular((3, 3))),
    "cond": (la.cond, regular((2, 3, 3))),
    "cond, 1": (lambda x: la.cond(x, 1), regular((2, 3, 3))),
    "trace": (lambda x: la.trace(x, offset=1), draw((2, 3, 5))),
    "diagonal": (lambda x: la.diagonal(x, offset=-1), draw((2, 3, 5))),
    "diag": (lambda x: knp.diag(x, 1), draw((3,))),
    "cross": (la.cross, draw((3,)), draw((2, 3))),
    "kron": (knp.kron, draw((2, 3)), draw((3, 2))),
    "multi_dot": (lambda *xs: la.multi_dot(xs), draw((3,)), draw((3, 4)), draw((4, 2))),
    # The free signs cancel in functions of the factors.
    "root by eigh": (lambda x: (lambda w, v: (v * knp.sqrt(w)[..., None, :]) @ v.mT)(*la.eigh(x)), positive((3, 3))),
    "log det by cholesky": (lambda x: knp.log(la.diagonal(la.cholesky(x))).sum(), positive((3, 3))),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADS)
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives(name, order):
    f, *args = GRADS[name]
    # Results such as QRResult come back as plain tuples, whose free signs are the same nearby.
    # Forward mode pushes all results of a full svd at once, those without a derivative as well, and refuses.
    modes = ("rev",) if name == "full svd, values" else ("rev", "fwd")
    check_grads(lambda *xs: list(y) if isinstance(y := f(*xs), tuple) else y, args, order=order, modes=modes)


@pytest.mark.parametrize("name", [name for name in GRADS if name != "full svd, values"])
def test_forward_mode_agrees_with_reverse(name):
    f, *args = GRADS[name]
    args = [knp.asarray(a) for a in args]
    tangents = [knp.asarray(draw(a.shape, seed=7)) for a in args]
    y, t = knet.jvp(f, args, tangents)
    g = [knp.asarray(np.asarray(draw(v.shape, seed=8))) for v in knet.tree.leaves(y)]
    _, back = knet.vjp(f, *args)
    cotangents = back(knet.tree.unflatten(knet.tree.structure(y), g))
    forward = sum(float((a * b).sum()) for a, b in zip(g, knet.tree.leaves(t), strict=True))
    reverse = sum(float((a * b).sum()) for a, b in zip(cotangents, tangents, strict=True))
    assert forward == pytest.approx(reverse, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", GRADS)
def test_vmap_is_a_loop(name):
    f, *args = GRADS[name]
    batches = [np.stack([a, a + 0.1 * positive(a.shape) if a.ndim > 1 and a.shape[-1] == a.shape[-2] else 1.1 * a])
               for a in args]  # fmt: skip
    got = knet.tree.leaves(knet.vmap(f)(*map(knp.asarray, batches)))
    rows = [knet.tree.leaves(f(*(knp.asarray(b[i]) for b in batches))) for i in range(2)]
    for y, *each in zip(got, *rows, strict=True):
        near(y, np.stack(each), ulp=1000)
    # One operand batched, the others shared.
    got = knet.tree.leaves(knet.vmap(f, in_axes=(0,) + (None,) * (len(args) - 1))(batches[0], *args[1:]))
    want = [
        np.stack(e) for e in zip(*(knet.tree.leaves(f(knp.asarray(b), *args[1:])) for b in batches[0]), strict=True)
    ]
    for y, z in zip(got, want, strict=True):
        near(y, z, ulp=1000)


def complex_cases():
    a, h, t, b = draw((3, 3), np.complex128), positive((3, 3), np.complex128), draw((5, 3), np.complex128), draw(
        (3, 2), np.complex128, 4)  # fmt: skip
    a = a + 2 * np.eye(3)
    return {
        "matmul": ("linalg.matmul", {}, a, b),
        "inv": ("linalg.inv", {}, a),
        "solve": ("linalg.solve", {}, a, b),
        "det": ("linalg.det", {}, a),
        "slogdet": ("linalg.slogdet", {}, a),
        "cholesky": ("linalg.cholesky", {}, h),
        "cholesky, upper": ("linalg.cholesky", {"upper": True}, h),
        "qr": ("linalg.qr", {}, a),
        "qr, tall": ("linalg.qr", {}, t),
        "eigh": ("linalg.eigh", {}, h),
        "eigvalsh": ("linalg.eigvalsh", {}, h),
        "svd": ("linalg.svd", {}, a),
        "svd, tall": ("linalg.svd", {"full_matrices": False}, t),
        "svd, wide": ("linalg.svd", {"full_matrices": False}, t.T),
        "svdvals": ("linalg.svdvals", {}, t),
        "pinv, tall": ("linalg.pinv", {}, t),
        "pinv, wide": ("linalg.pinv", {}, t.T),
        "matrix_power": ("linalg.matrix_power", {"n": -2}, a),
        "vector_norm": ("linalg.vector_norm", {}, t),
        "vector_norm, 3": ("linalg.vector_norm", {"ord": 3, "axis": 0}, t),
        "matrix_norm, nuc": ("linalg.matrix_norm", {"ord": "nuc"}, t),
        "vecdot": ("linalg.vecdot", {}, t, t[::-1] + 1),
        "cross": ("linalg.cross", {}, t, t[::-1] + 1),
        "kron": ("kron", {}, a, b),
    }


@pytest.fixture
def jax():
    jax = pytest.importorskip("jax", reason="JAX, the oracle of complex derivatives, is not installed")
    with jax.enable_x64(True):
        yield jax


@pytest.mark.parametrize("name", complex_cases())
def test_complex_derivatives_are_those_of_jax(name, jax):
    """Convention of the cotangents included: df/dx, not conjugated."""
    path, params, *args = complex_cases()[name]
    params = dict(params)
    n = params.pop("n", None)

    def function(namespace):
        f = namespace
        for part in path.split("."):
            f = getattr(f, part)
        return lambda *xs: f(*xs, *(() if n is None else (n,)), **params)

    y, back = knet.vjp(function(knp), *map(knp.asarray, args))
    want, jax_back = jax.vjp(function(jax.numpy), *map(jax.numpy.asarray, args))
    cotangents = [draw(v.shape, v.dtype, 9) for v in knet.tree.leaves(y)]
    for got, expected in zip(knet.tree.leaves(y), jax.tree.leaves(want), strict=True):
        near(got, np.asarray(expected), ulp=1000)
    gots = back(knet.tree.unflatten(knet.tree.structure(y), [knp.asarray(c) for c in cotangents]))
    wants = jax_back(jax.tree.unflatten(jax.tree.structure(want), [jax.numpy.asarray(c) for c in cotangents]))
    for got, expected in zip(gots, wants, strict=True):
        near(got, np.asarray(expected), ulp=1000)


# --- where derivatives exist although a formula divides by zero, and where they do not --------------------------------


def test_values_of_equal_eigenvalues_are_differentiable():
    x = np.diag([2.0, 2.0, 5.0])
    for f in (lambda x: (la.eigh(x).eigenvalues ** 2).sum(), lambda x: (la.eigvalsh(x) ** 2).sum()):
        near(knet.grad(f)(x), 2 * x)  # the trace of x^2
    near(knet.grad(lambda x: (la.svdvals(x) ** 2).sum())(x), 2 * x)
    near(knet.grad(lambda x: (la.svd(x).S ** 2).sum())(x), 2 * x)
    near(knet.grad(lambda x: la.matrix_norm(x, ord="nuc"))(x), np.eye(3))


def test_vectors_of_equal_eigenvalues_are_not():
    g = knet.grad(lambda x: la.eigh(x).eigenvectors[0, 0])(np.eye(2))
    assert np.isnan(np.asarray(g)).all()
    g = knet.grad(lambda x: la.svd(x).U[0, 0])(np.eye(2))
    assert np.isnan(np.asarray(g)).any()


def test_zero_norms_have_zero_derivatives():
    x = np.zeros((2, 3))
    for f in (la.norm, la.vector_norm, la.matrix_norm, lambda x: la.vector_norm(x, ord=3),
              lambda x: la.vector_norm(x, ord=1.5), lambda x: la.vector_norm(x, ord=0.5),
              lambda x: la.vector_norm(x, ord=1)):  # fmt: skip
        near(knet.grad(f)(x), x)
    near(knet.grad(lambda x: la.vector_norm(x, ord=0.5))(np.array([4.0, 0.0])), np.array([1.0, 0.0]))
    near(knet.grad(lambda x: la.vector_norm(x, ord=1.5))(np.array([0.0, -2.0])), np.array([0.0, -1.0]))
    z = knet.grad(la.norm)(np.zeros(2, np.complex128))
    assert not np.asarray(z).any()


def test_determinant_of_a_singular_matrix_has_cofactors():
    x = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 1.0, 1.0]])
    want = np.array([[-2.0, -2.0, 2.0], [1.0, 1.0, -1.0], [0.0, 0.0, 0.0]])
    near(knet.grad(la.det)(x), want, scale=50)
    near(knet.grad(la.det)(np.zeros((1, 1))), np.ones((1, 1)))
    near(knet.grad(la.det)(np.zeros((3, 3))), np.zeros((3, 3)))


def test_pinv_of_a_deficient_matrix():
    """At constant rank: along outer products, whose pseudo-inverse is known."""
    u, v = draw((4,), seed=1), draw((3,), seed=2)
    f = lambda u, v: la.pinv(knp.outer(u, v), rtol=1e-10)  # noqa: E731
    near(f(u, v), np.outer(v, u) / ((u @ u) * (v @ v)))
    check_grads(f, (u, v))


def test_reasons_for_no_derivative():
    x = draw((4, 2))
    with pytest.raises(errors.NotDifferentiable, match=r"qr: .*arbitrary; mode='reduced'"):
        knet.grad(lambda x: la.qr(x, mode="complete").R.sum())(x)
    with pytest.raises(errors.NotDifferentiable, match=r"svd: .*arbitrary; full_matrices=False"):
        knet.grad(lambda x: la.svd(x).U.sum())(x)
    with pytest.raises(errors.DTypeError, match="must be floating-point"):
        knet.grad(la.matrix_rank)(x)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda: la.inv(np.zeros((2, 2))), r"inv\(x\): x is float64 \[2, 2\] and has a singular matrix"),
        (lambda: la.solve(np.ones((2, 2)), np.ones(2)), r"solve\(a\): a is float64 \[2, 2\] and has a singular"),
        (lambda: la.triangular_solve(np.zeros((2, 2)), np.ones(2)), r"triangular_solve\(a\): .* singular"),
        (lambda: la.matrix_power(np.zeros((2, 2)), -1), "inv.* singular"),
        (lambda: la.cholesky(-np.eye(2)), r"cholesky\(x\): x is float64 \[2, 2\] .* not positive definite"),
        (lambda: la.svd(np.full((2, 2), np.nan)), "svd.* did not converge"),
        (lambda: knet.grad(lambda x: la.slogdet(x).logabsdet)(np.zeros((2, 2))), "inv.* singular"),
    ],
)  # fmt: skip
def test_matrices_without_a_result(f, text):
    with pytest.raises(errors.LinAlgError, match=text) as caught:
        f()
    assert isinstance(caught.value, np.linalg.LinAlgError) and "\n  fix: " in str(caught.value)


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda: la.inv(np.ones((2, 3))), r"inv\(x\): x \[2, 3\]: the last two axes must be equal"),
        (lambda: la.det(np.ones(3)), r"det\(x\): x \[3\]: a matrix"),
        (lambda: la.qr(np.ones(3)), r"qr\(x\): x \[3\]: a matrix"),
        (lambda: la.svdvals(np.ones(3)), "svdvals"),
        (lambda: la.pinv(np.ones(3)), "pinv"),
        (lambda: la.pinv(np.ones((2, 2)), rtol=np.ones(3)), "pinv: rtol"),
        (lambda: la.matrix_norm(np.ones(3)), "matrix_norm"),
        (lambda: la.matrix_power(np.ones((2, 3)), 2), "matrix_power"),
        (lambda: la.solve(np.eye(2), np.ones(3)), r"solve\(a, b\): a \[2, 2\] and b \[3, 1\] do not fit"),
        (lambda: la.solve(np.eye(2), np.ones((3, 2))), "do not fit"),
        (lambda: la.triangular_solve(np.ones((2, 3)), np.ones(2)), "triangular_solve"),
        (lambda: la.cross(np.ones(2), np.ones(2)), "cross: axis=-1"),
        (lambda: la.vecdot(np.ones(2), np.ones(3)), "vecdot: axis=-1"),
        (lambda: la.tensordot(np.ones(2), np.ones(2), axes=2), "tensordot"),
        (lambda: la.multi_dot([np.ones((2, 2))]), "multi_dot: arrays=1"),
        (lambda: knp.diag(np.ones((2, 2, 2))), "diag: x"),
        (lambda: knp.diagonal(np.ones((2, 2)), 0, 1, -1), "diagonal"),
        (lambda: la.norm(np.ones((2, 2)), axis=(0, 0)), "norm"),
    ],
)
def test_shapes_that_do_not_fit(f, text):
    with pytest.raises(errors.ShapeError, match=text):
        f()


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda: la.qr(np.eye(2), mode="raw"), "qr: mode='raw'"),
        (lambda: la.matrix_norm(np.eye(2), ord=3), "matrix_norm: ord=3"),
        (lambda: la.norm(np.ones((2, 2, 2)), ord=2), "norm: axis=None"),
        (lambda: la.triangular_solve(np.eye(2), np.ones(2), trans=3), "trans=3"),
    ],
)
def test_settings_out_of_range(f, text):
    with pytest.raises(errors.ArgumentError, match=text):
        f()
