"""Factorizations of matrices, and what is made of their factors. Every primitive takes stacks, [..., M, N].

Factors are unique only up to signs (or phases, where complex), and only for distinct eigenvalues or singular values.
The derivative of a function in which that freedom cancels is the true one, whichever factors came out. Where two values
are equal the derivative of their vectors does not exist: it is NaN, and never a wrong number. Values alone
(``eigvalsh``, ``svdvals``, or the values of ``eigh`` and ``svd`` with the vectors unused) are differentiable there as
far as the function is symmetric in them.

Cotangents are df/dx without conjugation. The formulas in the literature are written for adjoints, so each rule
conjugates its cotangents first and its result last, which real ones do not notice.

References: Giles (2008), "An extended collection of matrix derivative results"; Murray (2016), "Differentiation of the
Cholesky decomposition"; Walter and Lehmann (2012), "Algorithmic differentiation of linear algebra functions"; Wan and
Zhang (2019), "Automatic differentiation for complex valued SVD"; Golub and Pereyra (1973) for the pseudo-inverse.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import batching, errors
from ..aval import ShapedArray, broadcast_shapes
from ..primitive import ZERO, primitive
from . import creation, elementwise
from . import shape as shape_ops
from .linalg import (
    adjoint,
    as_column,
    as_row,
    check_matrix,
    complex_dtype,
    conj,
    constant,
    lapack,
    matmul,
    real_dtype,
    solve,
    square_aval,
    triangular_solve,
)
from .reduce import argmax, reduce_sum


def _hermitian(x: Any) -> Any:
    return (x + adjoint(x)) * 0.5


def _hermitian_part(x: Any) -> Any:
    return (x + np.conj(np.swapaxes(x, -1, -2))) / 2  # bodies see NumPy arrays


def _block(x: Any, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """x[..., rows, columns] for ranges (start, stop)."""
    n = x.ndim - 2
    sizes = (*x.shape[:-2], rows[1] - rows[0], columns[1] - columns[0])
    return shape_ops.slice_axes(x, starts=(0,) * n + (rows[0], columns[0]), sizes=sizes, steps=(1,) * x.ndim)


def _inverse_gaps(gap: Any) -> Any:
    """1 / gap off the diagonal and 0 on it; NaN where different values are equal, as no derivative exists there."""
    tie = elementwise.equal(gap, 0)
    inverse = elementwise.where(tie, float("nan"), 1.0 / elementwise.where(tie, 1.0, gap))
    return elementwise.where(constant(np.eye(gap.shape[-1], dtype=bool), gap), 0.0, inverse)


def _diagonal_weight(n: int, dtype: Any, like: Any) -> Any:
    """Matrix that times another gives its lower triangle with the diagonal halved."""
    return constant((np.tri(n) - 0.5 * np.eye(n)).astype(real_dtype(dtype)), like)


# --- Cholesky ---------------------------------------------------------------------------------------------------------


def _cholesky_vjp(g: Any, y: Any, _x: Any) -> Any:
    # y^-H s y^-1 with the Hermitian part s of y^H g's lower triangle.
    up = adjoint(y)
    s = _hermitian(matmul(up, conj(g)) * _diagonal_weight(y.shape[-1], y.dtype, y))
    half = triangular_solve(up, s, lower=False, unit=False)
    return conj(triangular_solve(up, adjoint(half), lower=False, unit=False))


@primitive(aval=square_aval("cholesky"), vjp=(_cholesky_vjp,), batch=batching.pointwise)
def cholesky(x: Any) -> Any:
    """Lower triangular y with positive diagonal and y y^H = (x + x^H) / 2.

    x: [..., M, M], Hermitian and positive definite. Returns [..., M, M]. Raises LinAlgError where x is not positive
    definite. Derivative: symmetric, as the result depends on the Hermitian part of x alone.
    """
    failure = lambda: errors.not_positive_definite("cholesky", "x", x)  # noqa: E731
    return lapack(x, lambda a: np.linalg.cholesky(_hermitian_part(a)), failure=failure)


# --- QR ---------------------------------------------------------------------------------------------------------------


def _qr_aval(x: Any, *, complete: bool) -> tuple[ShapedArray, ShapedArray]:
    check_matrix("qr", x)
    *batch, m, n = x.shape
    k = m if complete else min(m, n)
    return ShapedArray((*batch, m, k), x.dtype), ShapedArray((*batch, k, n), x.dtype)


_COMPLETE = "the columns that complete an orthogonal matrix are arbitrary"


def _qr_vjp(gs: Any, ys: Any, x: Any, *, complete: bool) -> Any:
    m, n = x.shape[-2:]
    if complete and m > n:
        raise errors.no_rule("qr", "x", f"{_COMPLETE}; mode='reduced' has a derivative")
    q, r = ys
    gq, gr = (creation.zeros_like(y) if g is None else conj(g) for g, y in zip(gs, ys, strict=True))
    if m >= n:
        return conj(_qr_tall(gq, gr, q, r))
    # x = [x1 x2], x1 = q r1 and r2 = q^H x2: the cotangent of r2 reaches x2 through the product, x1 through q.
    g2 = _block(gr, (0, m), (m, n))
    gq = gq + matmul(_block(x, (0, m), (m, n)), adjoint(g2))
    g1 = _qr_tall(gq, _block(gr, (0, m), (0, m)), q, _block(r, (0, m), (0, m)))
    return conj(shape_ops.concatenate(g1, matmul(q, g2), axis=x.ndim - 1))


def _qr_tall(gq: Any, gr: Any, q: Any, r: Any) -> Any:
    """(gq + q (f - s)) r^-H with s = q^H gq - gr r^H and f the lower triangle of s - s^H, its diagonal halved."""
    s = matmul(adjoint(q), gq) - matmul(gr, adjoint(r))
    f = (s - adjoint(s)) * _diagonal_weight(r.shape[-1], r.dtype, r)
    total = gq + matmul(q, f - s)
    return adjoint(triangular_solve(r, adjoint(total), lower=False, unit=False))


@primitive(aval=_qr_aval, vjp=(_qr_vjp,), batch=batching.pointwise, multiple=True)
def qr(x: Any, *, complete: bool) -> Any:
    """x = q r with orthonormal columns of q and upper triangular r, by Householder reflections.

    x: [..., M, N]. Returns q [..., M, K] and r [..., K, N], K = M if complete, else min(M, N). Derivative: for K =
    min(M, N) and independent leading columns, else LinAlgError.
    """
    if not x.size:
        *batch, m, n = x.shape
        k = m if complete else min(m, n)
        return np.zeros((*batch, m, k), x.dtype) + np.eye(m, k, dtype=x.dtype), np.zeros((*batch, k, n), x.dtype)
    mode = "complete" if complete else "reduced"
    return lapack(x, lambda a: tuple(np.linalg.qr(a, mode)), failure=lambda: errors.not_converged("qr", "x", x))


# --- eigenvalues ------------------------------------------------------------------------------------------------------


def _eigvalsh_aval(x: Any) -> ShapedArray:
    check_matrix("eigvalsh", x, square=True)
    return ShapedArray(x.shape[:-1], real_dtype(x.dtype))


def _eigh_aval(x: Any) -> tuple[ShapedArray, ShapedArray]:
    check_matrix("eigh", x, square=True)
    return ShapedArray(x.shape[:-1], real_dtype(x.dtype)), ShapedArray(x.shape, x.dtype)


def _eigh_vjp(gs: Any, ys: Any, _x: Any) -> Any:
    # v (diag(gw) + f (v^H gv)) v^H with f[i, j] = 1 / (w[j] - w[i]); its Hermitian part, as the body takes x's.
    (gw, gv), (w, v) = gs, ys
    if gv is None:
        return conj(matmul(v * as_row(gw), adjoint(v)))
    inner = _inverse_gaps(as_row(w) - as_column(w)) * matmul(adjoint(v), conj(gv))
    if gw is not None:
        inner = inner + as_row(gw) * constant(np.eye(w.shape[-1], dtype=w.dtype), w)
    return conj(_hermitian(matmul(v, matmul(inner, adjoint(v)))))


@primitive(aval=_eigh_aval, vjp=(_eigh_vjp,), batch=batching.pointwise, multiple=True)
def eigh(x: Any) -> Any:
    """Eigenvalues and eigenvectors of the Hermitian part: (x + x^H) / 2 v = v diag(w).

    x: [..., M, M], Hermitian. Returns w [..., M], real and ascending, and v [..., M, M], orthonormal columns. Raises
    LinAlgError where the iteration does not converge, as with NaN. Derivative: of v for distinct eigenvalues, else NaN;
    of w alone always (a function of equal eigenvalues must be symmetric in them to be differentiable).
    """
    failure = lambda: errors.not_converged("eigh", "x", x)  # noqa: E731
    return lapack(x, lambda a: tuple(np.linalg.eigh(_hermitian_part(a))), failure=failure)


@primitive(
    aval=_eigvalsh_aval,
    vjp=(lambda g, _y, x: _eigh_vjp((g, None), eigh(x), x),),
    batch=batching.pointwise,
)
def eigvalsh(x: Any) -> Any:
    """Eigenvalues of the Hermitian part, (x + x^H) / 2.

    x: [..., M, M], Hermitian. Returns [..., M], real and ascending. Raises and derivative: see eigh.
    """
    failure = lambda: errors.not_converged("eigvalsh", "x", x)  # noqa: E731
    return lapack(x, lambda a: np.linalg.eigvalsh(_hermitian_part(a)), failure=failure)


def _wide(x: Any) -> Any:
    """x with single precision at least, as its complex results have."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


def _eigvals_aval(x: Any) -> ShapedArray:
    check_matrix("eigvals", x, square=True)
    return ShapedArray(x.shape[:-1], complex_dtype(x.dtype))


def _eig_aval(x: Any) -> tuple[ShapedArray, ShapedArray]:
    check_matrix("eig", x, square=True)
    dtype = complex_dtype(x.dtype)
    return ShapedArray(x.shape[:-1], dtype), ShapedArray(x.shape, dtype)


def _eig_vjp(gs: Any, ys: Any, x: Any) -> Any:
    # With u = v^-1 dx v: dw = diag(u), dv = p - v diag(c), p = v (f u), f[i, j] = 1 / (w[j] - w[i]). The c keep each
    # column as LAPACK leaves it: its norm 1 (their real part) and its largest component real (their imaginary part).
    (gw, gv), (w, v) = gs, ys
    n = v.shape[-1]
    if not n:
        return creation.zeros_like(x)
    inner = None
    if gv is not None:
        gv = conj(gv)
        h = reduce_sum(conj(gv) * v, axis=(v.ndim - 2,), keepdims=True)
        size = elementwise.abs(elementwise.stop_gradient(v))
        rows = constant(np.arange(n)[:, None], v)
        largest = elementwise.equal(rows, shape_ops.expand(argmax(size, axis=v.ndim - 2), (v.ndim - 2,)))
        turn = elementwise.where(
            largest, elementwise.imag(h) / elementwise.where(largest, elementwise.real(v), 1.0), 0.0
        )
        gp = gv - v * elementwise.real(h) + turn * 1j
        inner = conj(_inverse_gaps(as_row(w) - as_column(w))) * matmul(adjoint(v), gp)
    if gw is not None:
        diagonal = as_row(conj(gw)) * constant(np.eye(n, dtype=w.dtype), w)
        inner = diagonal if inner is None else inner + diagonal
    up = adjoint(v)
    return elementwise.cast(conj(solve(up, matmul(inner, up))), x.dtype)


@primitive(aval=_eig_aval, vjp=(_eig_vjp,), batch=batching.pointwise, multiple=True)
def eig(x: Any) -> Any:
    """Eigenvalues and right eigenvectors: x v = v diag(w).

    x: [..., M, M]. Returns w [..., M] in no order and v [..., M, M], columns of norm 1 whose largest component is real;
    both complex. Raises LinAlgError where the iteration does not converge, as with NaN. Derivative: for distinct
    eigenvalues, v's else NaN; LinAlgError if there are not M independent eigenvectors.
    """
    if not x.size:
        return tuple(np.zeros(a.shape, a.dtype) for a in _eig_aval(x))
    dtype = complex_dtype(x.dtype)
    w, v = lapack(_wide(x), lambda a: tuple(np.linalg.eig(a)), failure=lambda: errors.not_converged("eig", "x", x))
    return w.astype(dtype), v.astype(dtype)


@primitive(
    aval=_eigvals_aval,
    vjp=(lambda g, _y, x: _eig_vjp((g, None), eig(x), x),),
    batch=batching.pointwise,
)
def eigvals(x: Any) -> Any:
    """Eigenvalues.

    x: [..., M, M]. Returns [..., M], complex, in no order. Raises and derivative: see eig.
    """
    if not x.size:
        return np.zeros(x.shape[:-1], complex_dtype(x.dtype))
    failure = lambda: errors.not_converged("eigvals", "x", x)  # noqa: E731
    return lapack(_wide(x), np.linalg.eigvals, failure=failure).astype(complex_dtype(x.dtype))


# --- singular values --------------------------------------------------------------------------------------------------


def _svdvals_aval(x: Any) -> ShapedArray:
    check_matrix("svdvals", x)
    return ShapedArray((*x.shape[:-2], min(x.shape[-2:])), real_dtype(x.dtype))


def _svd_aval(x: Any, *, full: bool) -> tuple[ShapedArray, ShapedArray, ShapedArray]:
    check_matrix("svd", x)
    *batch, m, n = x.shape
    k = min(m, n)
    return (
        ShapedArray((*batch, m, m if full else k), x.dtype),
        ShapedArray((*batch, k), real_dtype(x.dtype)),
        ShapedArray((*batch, n if full else k, n), x.dtype),
    )


def _svd_vjp(gs: Any, ys: Any, x: Any, *, full: bool) -> Any:
    (gu, gs_, gv), (u, s, v) = gs, ys
    m, n = x.shape[-2:]
    k = min(m, n)
    if full and m != n:
        if gu is not None or gv is not None:
            raise errors.no_rule("svd", "x", f"{_COMPLETE}; full_matrices=False has a derivative")
        u, _, v = svd(x, full=False)
    if gu is None and gv is None:
        return conj(matmul(u * as_row(gs_), v))
    # With x = u s v and p = u^H dx v^H:  gp = diag(gs) + (f (a - a^H)) s + s (f (b - b^H)),  a = u^H gu, b = v gv^H,
    # f[i, j] = 1 / (s[j]^2 - s[i]^2). The phases on the diagonal, which are free, go to u.
    row, column = as_row(s), as_column(s)
    f = _inverse_gaps((row - column) * (row + column))
    zero = elementwise.equal(s, 0)
    s_inverse = elementwise.where(zero, float("nan"), 1.0 / elementwise.where(zero, 1.0, s))
    eye = constant(np.eye(k, dtype=s.dtype), s)
    inner, outside = None, None
    if gu is not None:
        gu = conj(gu)
        a = matmul(adjoint(u), gu)
        skew = a - adjoint(a)
        inner = skew * f * row
        if x.dtype.kind == "c":
            inner = inner + skew * (eye * (0.5 * as_row(s_inverse)))
        if m > n:
            outside = matmul((gu - matmul(u, a)) * as_row(s_inverse), v)
    if gv is not None:
        gv = conj(gv)
        b = matmul(v, adjoint(gv))
        part = column * (f * (b - adjoint(b)))
        inner = part if inner is None else inner + part
        if n > m:
            part = matmul(u * as_row(s_inverse), gv - matmul(adjoint(b), v))
            outside = part if outside is None else outside + part
    if gs_ is not None:
        inner = inner + eye * as_row(gs_)
    total = matmul(u, matmul(inner, v))
    return conj(total if outside is None else total + outside)


@primitive(aval=_svd_aval, vjp=(_svd_vjp,), batch=batching.pointwise, multiple=True)
def svd(x: Any, *, full: bool) -> Any:
    """Singular values and vectors: x = u diag(s) v with orthonormal columns of u and rows of v.

    x: [..., M, N], K = min(M, N). Returns u [..., M, K], s [..., K], real and descending, v [..., K, N]; if ``full`` u
    [..., M, M] and v [..., N, N]. Raises LinAlgError where the iteration does not converge, as with NaN. Derivative: of
    s, and of all three if u and v have K columns and rows and s is distinct and, where it is divided by, positive; else
    NaN. Forward mode takes all three.
    """
    if not x.size:
        return tuple(
            (np.zeros(a.shape, a.dtype) + _eye(a.shape, a.dtype)).astype(a.dtype) for a in _svd_aval(x, full=full)
        )
    failure = lambda: errors.not_converged("svd", "x", x)  # noqa: E731
    return lapack(x, lambda a: tuple(np.linalg.svd(a, full_matrices=full)), failure=failure)


def _eye(shape: Any, dtype: Any) -> Any:
    return np.eye(*shape[-2:], dtype=dtype) if len(shape) > 1 else 0


@primitive(
    aval=_svdvals_aval,
    vjp=(lambda g, _y, x: _svd_vjp((None, g, None), svd(x, full=False), x, full=False),),
    batch=batching.pointwise,
)
def svdvals(x: Any) -> Any:
    """Singular values, the roots of the eigenvalues of x^H x.

    x: [..., M, N]. Returns [..., K], real and descending, K = min(M, N). Raises LinAlgError where the iteration does
    not converge, as with NaN. Derivative: u diag(g) v, at singular values 0 one of the subgradients.
    """
    if not x.size:
        return np.zeros((*x.shape[:-2], min(x.shape[-2:])), x.real.dtype)
    failure = lambda: errors.not_converged("svdvals", "x", x)  # noqa: E731
    return lapack(x, lambda a: np.linalg.svd(a, compute_uv=False), failure=failure)


# --- pseudo-inverse ---------------------------------------------------------------------------------------------------


def _pinv_aval(x: Any, rtol: Any) -> ShapedArray:
    check_matrix("pinv", x)
    *batch, m, n = x.shape
    if broadcast_shapes(rtol.shape, tuple(batch)) != tuple(batch):
        raise errors.shape_argument("pinv", "rtol", list(rtol.shape), f"it must broadcast to {batch}", "pass a number")
    return ShapedArray((*batch, n, m), x.dtype)


def _pinv_batch(primitive: Any, args: Any, batched: Any, size: int) -> Any:
    x, rtol = args
    x = batching.spread(x, batched[0], size)
    return primitive(x, batching.align(rtol, batched[1], x.ndim - 3) if batched[1] else rtol)


def _pinv_vjp(g: Any, y: Any, x: Any, _rtol: Any) -> Any:
    # dy = -y dx y + y y^H dx^H (1 - x y) + (1 - y x) dx^H y^H y, where the rank stays.
    g, up = conj(g), adjoint(y)
    total = -matmul(up, matmul(g, up))
    down = adjoint(g)
    left = matmul(down, matmul(y, up))
    right = matmul(matmul(up, y), down)
    return conj(total + left - matmul(x, matmul(y, left)) + right - matmul(matmul(right, y), x))


@primitive(aval=_pinv_aval, vjp=(_pinv_vjp, ZERO), batch=_pinv_batch)
def pinv(x: Any, rtol: Any) -> Any:
    """Pseudo-inverse (Moore-Penrose), in which singular values up to rtol times the largest count as 0.

    x: [..., M, N], rtol: real, [] or broadcastable to [...]. Returns [..., N, M]. Raises LinAlgError where the
    iteration does not converge, as with NaN. Derivative: that at constant rank.
    """
    failure = lambda: errors.not_converged("pinv", "x", x)  # noqa: E731
    return lapack(x, lambda a, tolerance: np.linalg.pinv(a, rtol=tolerance), rtol, failure=failure)
