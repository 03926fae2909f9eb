"""Contractions and linear systems. Matrix product is the one contraction; einsum and tensordot are made of it.

Every primitive takes stacks of matrices, [..., M, N]. Derivatives follow Giles (2008), "An extended collection of
matrix derivative results for forward and reverse mode algorithmic differentiation", with plain transposes in place of
adjoints: the cotangent of a complex operand x is df/dx for holomorphic f, as everywhere in Knet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import batching, dtypes, errors
from ..aval import ShapedArray, broadcast_shapes, size_of
from ..device import from_numpy
from ..primitive import MULTILINEAR, primitive
from . import creation, elementwise
from . import shape as shape_ops
from .reduce import reduce_sum, sum_to, wide

# --- what the rules are written with ----------------------------------------------------------------------------------


def swap_last(x: Any) -> Any:
    """Last two axes exchanged; a view."""
    axes = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
    return shape_ops.permute(x, axes=axes)


def conj(x: Any) -> Any:
    """Complex conjugate; a real array itself."""
    return elementwise.conj(x) if x.dtype.kind == "c" else x


def adjoint(x: Any) -> Any:
    """Conjugate transpose of the last two axes."""
    return conj(swap_last(x))


def as_row(v: Any) -> Any:
    """[..., N] as [..., 1, N]: times a matrix, it scales the columns."""
    return shape_ops.expand(v, (v.ndim - 1,))


def as_column(v: Any) -> Any:
    """[..., N] as [..., N, 1]: times a matrix, it scales the rows."""
    return shape_ops.expand(v, (v.ndim,))


def as_matrix(v: Any) -> Any:
    """[...] as [..., 1, 1]: it scales whole matrices."""
    return shape_ops.expand(v, (v.ndim, v.ndim + 1))


def constant(host: Any, like: Any) -> Any:
    """A NumPy array on the device of an operand."""
    return from_numpy(np.asarray(host), creation.device_of(like))


def triangle(x: Any, lower: bool, k: int = 0) -> Any:
    """x with zeros beyond the k-th diagonal."""
    rows, columns = x.shape[-2:]
    mask = np.tri(rows, columns, k if lower else k - 1, dtype=bool)
    return elementwise.where(constant(mask if lower else ~mask, x), x, 0.0)


# --- what bodies and shape rules share --------------------------------------------------------------------------------


def lapack(x: Any, function: Callable[..., Any], *others: Any, failure: Callable[[], Exception], **params: Any) -> Any:
    """Result of a NumPy or SciPy function, which does not know half types: those compute in float32."""
    half = wide(x) is np.float32 and x.dtype != np.float32
    try:
        y = function(*((a.astype(np.float32) for a in (x, *others)) if half else (x, *others)), **params)
    except np.linalg.LinAlgError:
        raise failure() from None
    if not half:
        return tuple(y) if isinstance(y, tuple) else y
    return tuple(part.astype(x.dtype) for part in y) if isinstance(y, tuple) else y.astype(x.dtype)


def check_matrix(name: str, x: Any, argname: str = "x", square: bool = False) -> None:
    """Raise unless x is a stack of matrices of floating or complex numbers, square ones if that is asked for."""
    if not dtypes.is_differentiable(x.dtype):
        raise errors.unsupported_dtype(name, (argname,), (x,), "floating-point and complex numbers")
    if len(x.shape) < 2 or (square and x.shape[-1] != x.shape[-2]):
        raise errors.matrix(name, argname, x.shape)


def real_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Dtype of the absolute values."""
    return {dtypes.complex64: dtypes.float32, dtypes.complex128: dtypes.float64}.get(dtype, dtype)


def complex_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Dtype of complex numbers whose parts are as wide; complex64 for half types."""
    return dtypes.complex128 if dtype in (dtypes.float64, dtypes.complex128) else dtypes.complex64


def square_aval(name: str) -> Callable[..., ShapedArray]:
    """Shape rule: square matrices to matrices of that size."""

    def aval(x: Any) -> ShapedArray:
        check_matrix(name, x, square=True)
        return ShapedArray(x.shape, x.dtype)

    return aval


# --- products ---------------------------------------------------------------------------------------------------------


def _matmul_aval(x: Any, w: Any) -> ShapedArray:
    if x.dtype != w.dtype:
        raise errors.unsupported_dtype("matmul", ("x", "w"), (x, w), "operands of one dtype")
    if len(x.shape) < 2 or len(w.shape) < 2 or x.shape[-1] != w.shape[-2]:
        raise errors.matmul(x, w)
    batch = broadcast_shapes(x.shape[:-2], w.shape[:-2])
    if batch is None:
        raise errors.matmul(x, w)
    return ShapedArray((*batch, x.shape[-2], w.shape[-1]), x.dtype)


def _matmul_batch(primitive: Any, args: Any, batched: Any, size: int) -> Any:
    (x, w), ndim = args, max(map(batching.rank, args, batched))
    if not batched[1] and w.ndim == 2:
        # One tall product, not a batch of small ones.
        tall = shape_ops.reshape(x, shape=(size_of(x.shape[:-1]), x.shape[-1]))
        return shape_ops.reshape(matmul(tall, w), shape=(*x.shape[:-1], w.shape[-1]))
    return matmul(batching.align(x, batched[0], ndim), batching.align(w, batched[1], ndim))


@primitive(
    aval=_matmul_aval,
    vjp=(
        lambda g, _y, x_aval, w: sum_to(matmul(g, swap_last(w)), x_aval.shape),
        lambda g, _y, x, w_aval: sum_to(matmul(swap_last(x), g), w_aval.shape),
    ),
    jvp=MULTILINEAR(0, 1),
    batch=_matmul_batch,
)
def matmul(x: Any, w: Any) -> Any:
    """Matrix product of the last two axes, batched over the others: y[..., m, n] = sum_k x[..., m, k] w[..., k, n].

    x: [..., M, K], w: [..., K, N], one dtype; batch axes broadcast. Returns [..., M, N]. Half types accumulate in
    float32.
    """
    if x.dtype.itemsize == 2 and wide(x) is np.float32:
        return np.matmul(x.astype(np.float32), w.astype(np.float32)).astype(x.dtype)
    return np.matmul(x, w)


def _matvec_aval(x: Any, w: Any) -> ShapedArray:
    if x.dtype != w.dtype:
        raise errors.unsupported_dtype("matvec", ("x", "w"), (x, w), "operands of one dtype")
    ranks = len(x.shape), len(w.shape)
    if ranks not in ((2, 1), (1, 2), (1, 1)) or x.shape[-1] != w.shape[0]:
        raise errors.matmul(x, w)
    return ShapedArray((*x.shape[:-1], *w.shape[1:]), x.dtype)


def _outer(a: Any, b: Any) -> Any:
    return matmul(as_column(a), as_row(b)) if a.ndim and b.ndim else a * b


def _matvec_batch(primitive: Any, args: Any, batched: Any, size: int) -> Any:
    (x, w), (rank_x, rank_w) = args, map(batching.rank, args, batched)
    if not batched[0] and rank_w == 1:
        # A batch of vectors is a matrix: on the left it makes one product with x.
        x, w, batched = w, swap_last(x) if rank_x == 2 else x, (True, False)
        rank_x, rank_w = 1, rank_x
    matrices = as_row(x) if rank_x == 1 else x, as_column(w) if rank_w == 1 else w
    y = _matmul_batch(matmul, matrices, batched, size)
    return shape_ops.reshape(y, shape=(size, *y.shape[1:rank_x], *y.shape[4 - rank_w :]))


@primitive(
    aval=_matvec_aval,
    vjp=(
        lambda g, _y, _x, w: matvec(w, g) if w.ndim == 2 else _outer(g, w),
        lambda g, _y, x, _w: matvec(g, x) if x.ndim == 2 else _outer(x, g),
    ),
    jvp=MULTILINEAR(0, 1),
    batch=_matvec_batch,
)
def matvec(x: Any, w: Any) -> Any:
    """Product of a matrix and a vector, of a vector and a matrix, or of two vectors: a matmul of fewer axes.

    x: [M, K], w: [K]; or [K], [K, N]; or [K], [K], one dtype. Returns [M]; [N]; []. Half types accumulate in float32.
    Derivatives: outer products, and products with the matrix from the other side. Programs have matmul in its place.
    """
    return matmul.body(x, w)


# --- linear systems ---------------------------------------------------------------------------------------------------


def _system_aval(name: str) -> Callable[..., ShapedArray]:
    def aval(a: Any, b: Any, **_params: Any) -> ShapedArray:
        check_matrix(name, a, "a", square=True)
        check_matrix(name, b, "b")
        if a.dtype != b.dtype:
            raise errors.unsupported_dtype(name, ("a", "b"), (a, b), "operands of one dtype")
        batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        if batch is None or a.shape[-1] != b.shape[-2]:
            raise errors.right_side(name, a.shape, b.shape)
        return ShapedArray((*batch, *b.shape[-2:]), a.dtype)

    return aval


def _solve_vjp_matrix(g: Any, y: Any, a: Any, _b: Any) -> Any:
    return sum_to(-matmul(solve(swap_last(a), g), swap_last(y)), a.shape)


@primitive(
    aval=_system_aval("solve"),
    vjp=(_solve_vjp_matrix, lambda g, _y, a, b_aval: sum_to(solve(swap_last(a), g), b_aval.shape)),
    batch=batching.pointwise,
)
def solve(a: Any, b: Any) -> Any:
    """Solution of a y = b, by LU factorization with pivoting.

    a: [..., M, M], b: [..., M, K], one dtype; batch axes broadcast. Returns [..., M, K]. Raises LinAlgError where a is
    singular. Derivatives: gb = a^-T g, ga = -gb y^T.
    """
    return lapack(a, np.linalg.solve, b, failure=lambda: errors.singular("solve", "a", a))


@primitive(
    aval=square_aval("inv"),
    vjp=(lambda g, y, _x: -matmul(swap_last(y), matmul(g, swap_last(y))),),
    batch=batching.pointwise,
)
def inv(x: Any) -> Any:
    """Inverse matrices. Derivative: -y^T g y^T.

    x: [..., M, M]. Returns [..., M, M]. Raises LinAlgError where x is singular.
    """
    return lapack(x, np.linalg.inv, failure=lambda: errors.singular("inv", "x", x))


def _triangular(a: Any, b: Any, lower: bool, unit: bool) -> Any:
    import scipy.linalg  # deferred: a third of a second that programs without triangular systems do not pay

    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, (*batch, *a.shape[-2:])), np.broadcast_to(b, (*batch, *b.shape[-2:]))
    y = np.empty(b.shape, b.dtype)
    if not y.size:
        return y
    trtrs = scipy.linalg.get_lapack_funcs("trtrs", (a, b))
    for i in np.ndindex(*batch):
        # LAPACK's matrices go by columns: what it sees is the transpose, and is told so.
        y[i], info = trtrs(a[i].T, b[i], lower=not lower, trans=1, unitdiag=unit)
        if info:
            raise np.linalg.LinAlgError
    return y


def _triangular_vjp_matrix(g: Any, y: Any, a: Any, _b: Any, *, lower: bool, unit: bool) -> Any:
    gb = triangular_solve(swap_last(a), g, lower=not lower, unit=unit)
    k = (-1 if lower else 1) if unit else 0
    return sum_to(triangle(-matmul(gb, swap_last(y)), lower, k), a.shape)


@primitive(
    aval=_system_aval("triangular_solve"),
    vjp=(
        _triangular_vjp_matrix,
        lambda g, _y, a, b_aval, *, lower, unit: sum_to(
            triangular_solve(swap_last(a), g, lower=not lower, unit=unit), b_aval.shape
        ),
    ),
    batch=batching.pointwise,
)
def triangular_solve(a: Any, b: Any, *, lower: bool, unit: bool) -> Any:
    """Solution of t y = b, where t is the lower or upper triangle of a, with ones on its diagonal if ``unit``.

    a: [..., M, M], b: [..., M, K], one dtype; batch axes broadcast. Returns [..., M, K]. Raises LinAlgError for a zero
    on the diagonal. Derivatives: gb = t^-T g, ga = -gb y^T within the triangle, 0 outside.
    """
    failure = lambda: errors.singular("triangular_solve", "a", a)  # noqa: E731
    return lapack(a, _triangular, b, lower=lower, unit=unit, failure=failure)


# --- determinants -----------------------------------------------------------------------------------------------------


def _det_aval(x: Any) -> ShapedArray:
    check_matrix("det", x, square=True)
    return ShapedArray(x.shape[:-2], x.dtype)


@primitive(aval=_det_aval, vjp=(lambda g, _y, x: as_matrix(g) * cofactor(x),), batch=batching.pointwise)
def det(x: Any) -> Any:
    """Determinants. Derivative: the cofactors of x, which singular matrices have, too.

    x: [..., M, M]. Returns [...].
    """
    return lapack(x, np.linalg.det, failure=lambda: errors.singular("det", "x", x))


def cofactors(x: Any, xp: Any = np) -> Any:
    """Body of cofactor, by NumPy or a module of its functions."""
    # From x = u s v: det(u) conj(u) c conj(v) det(v), where c_i is the product of all s but s_i. No division.
    u, s, v = xp.linalg.svd(x)
    ones = xp.ones((*s.shape[:-1], 1), s.dtype)
    before = xp.concatenate([ones, xp.cumprod(s, -1)[..., :-1]], -1)[..., : s.shape[-1]]
    after = xp.concatenate([ones, xp.cumprod(s[..., ::-1], -1)[..., :-1]], -1)[..., : s.shape[-1]]
    c = before * after[..., ::-1] * (xp.linalg.det(u) * xp.linalg.det(v))[..., None]
    return (xp.conj(u) * c[..., None, :]) @ xp.conj(v)


def _cofactor_vjp(g: Any, y: Any, x: Any) -> Any:
    # y = det(x) x^-T, so dy = (x^-T : dx) y - x^-T dx^T y.
    inverse = swap_last(inv(x))
    inner = reduce_sum(g * y, axis=(y.ndim - 2, y.ndim - 1), keepdims=True)
    return inner * inverse - matmul(y, matmul(swap_last(g), inverse))


@primitive(aval=square_aval("cofactor"), vjp=(_cofactor_vjp,), batch=batching.pointwise)
def cofactor(x: Any) -> Any:
    """Cofactor matrices: y[i, j] = d det(x) / d x[i, j], which is det(x) x^-T where x is regular.

    x: [..., M, M]. Returns [..., M, M]. Derivative: for regular x; LinAlgError where x is singular.
    """
    return lapack(x, cofactors, failure=lambda: errors.not_converged("cofactor", "x", x))


def _slogdet_aval(x: Any) -> tuple[ShapedArray, ShapedArray]:
    check_matrix("slogdet", x, square=True)
    return ShapedArray(x.shape[:-2], x.dtype), ShapedArray(x.shape[:-2], real_dtype(x.dtype))


def _slogdet_vjp(gs: Any, ys: Any, x: Any) -> Any:
    # With t = tr(x^-1 dx): d log|det| = Re t, d sign = i sign Im t; the sign of a real determinant is constant.
    g_sign, g_log = gs
    total = None if g_log is None else elementwise.cast(g_log, x.dtype)
    if x.dtype.kind == "c" and g_sign is not None:
        turn = 1j * elementwise.imag(g_sign * ys[0])
        total = turn if total is None else total + turn
    return None if total is None else as_matrix(total) * swap_last(inv(x))


@primitive(aval=_slogdet_aval, vjp=(_slogdet_vjp,), batch=batching.pointwise, multiple=True)
def slogdet(x: Any) -> Any:
    """Determinants as sign * exp(log), which neither overflow nor underflow; a singular matrix has (0, -inf).

    x: [..., M, M]. Returns the signs [...] (of absolute value 1), and the logarithms [...] (real). Derivative of the
    logarithm: x^-T; LinAlgError where x is singular.
    """
    return lapack(x, lambda a: tuple(np.linalg.slogdet(a)), failure=lambda: errors.singular("slogdet", "x", x))


# --- exponential ------------------------------------------------------------------------------------------------------


def _expm_vjp(g: Any, _y: Any, x: Any) -> Any:
    # The exponential of [[x, g], [0, x]] has the derivative at x in the direction g in its upper right block.
    n = x.ndim
    x = swap_last(x)
    upper = shape_ops.concatenate(x, g, axis=n - 1)
    lower = shape_ops.concatenate(creation.zeros_like(x), x, axis=n - 1)
    y = expm(shape_ops.concatenate(upper, lower, axis=n - 2))
    return shape_ops.slice_axes(y, starts=(0,) * (n - 1) + (x.shape[-1],), sizes=x.shape, steps=(1,) * n)


# Coefficients of the [13/13] Pade approximant p(x) / p(-x) of exp, and the norm up to which that is good to float64.
_PADE = [
    math.factorial(26 - k) * math.factorial(13) / (math.factorial(26) * math.factorial(k) * math.factorial(13 - k))
    for k in range(14)
]
_PADE_RADIUS = 5.371920351148152


def exponentials(x: Any, xp: Any = np) -> Any:
    """Body of expm, by NumPy or a module of its functions."""
    if not x.size:
        return x
    size = xp.abs(x).sum(-2).max(-1)[..., None, None]
    halvings = xp.ceil(xp.log2(xp.where(xp.isfinite(size) & (size > _PADE_RADIUS), size / _PADE_RADIUS, 1)))
    x = x * xp.exp2(-halvings).astype(x.real.dtype)
    powers = [xp.broadcast_to(xp.eye(x.shape[-1], dtype=x.dtype), x.shape), x @ x]
    for _ in range(5):
        powers.append(powers[-1] @ powers[1])
    even, odd = (sum(c * p for c, p in zip(_PADE[start::2], powers, strict=True)) for start in (0, 1))
    odd = x @ odd
    y = xp.linalg.solve(even - odd, even + odd)
    for k in range(int(halvings.max())):
        y = xp.where(k < halvings, y @ y, y)
    return y


@primitive(aval=square_aval("expm"), vjp=(_expm_vjp,), batch=batching.pointwise)
def expm(x: Any) -> Any:
    """Matrix exponentials, the sum of x^k / k!, by scaling, a [13/13] Pade approximant, and squaring (Higham 2005).

    x: [..., M, M]. Returns [..., M, M]. Derivative: a block of the exponential of [[x^T, g], [0, x^T]] (Mathias 1996).
    """
    return lapack(x, exponentials, failure=lambda: errors.not_converged("expm", "x", x))
