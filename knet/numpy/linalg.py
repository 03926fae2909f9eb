"""Linear algebra, ``knet.numpy.linalg``: the array API's extension, and what NumPy and SciPy have beside it.

All functions take stacks of matrices, [..., M, N], of float or complex numbers (integers become the default float), and
are differentiable to any order unless they say otherwise. A matrix that has no result, such as a singular one for
:func:`inv`, raises LinAlgError.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from ..core import dtypes, errors
from ..core.array import Array
from ..core.device import as_array
from ..core.ops import creation, decompositions, elementwise, reduce
from ..core.ops import linalg as ops
from ..core.ops import shape as shape_ops
from . import products
from .creation import eye
from .manipulation import broadcast_to, canonical_axes, canonical_axis, matrix_transpose, moveaxis, reshape
from .products import cross, matmul, multi_dot, outer, tensordot, vecdot

__all__ = [
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "expm",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "triangular_solve",
    "vecdot",
    "vector_norm",
]


class EigResult(NamedTuple):
    """Eigenvalues [..., M] and eigenvectors [..., M, M], the columns; both complex."""

    eigenvalues: Array
    eigenvectors: Array


class EighResult(NamedTuple):
    """Eigenvalues [..., M], ascending, and eigenvectors [..., M, M], the columns."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """Q [..., M, K] with orthonormal columns and R [..., K, N], upper triangular."""

    Q: Array
    R: Array


class SlogdetResult(NamedTuple):
    """Signs [...] and logarithms [...] of determinants."""

    sign: Array
    logabsdet: Array


class SVDResult(NamedTuple):
    """Singular vectors, the columns of U, singular values, descending, and singular vectors, the rows of Vh."""

    U: Array
    S: Array
    Vh: Array


class LstsqResult(NamedTuple):
    """Solution, sums of squared residuals, rank, and singular values."""

    solution: Array
    residuals: Array
    rank: Array
    singular_values: Array


def _float(x: Any) -> Any:
    """x as an array of floating or complex numbers."""
    x = as_array(x)
    return elementwise.cast(x, dtypes.to_float(x.dtype))


# --- linear systems ---------------------------------------------------------------------------------------------------


def _right_side(function: Any, a: Any, b: Any) -> Array:
    """Result of a function of a and the matrix b, or the vector that is its only column."""
    a, b = elementwise.meet(_float(a), _float(b))
    if b.ndim != 1:
        return function(a, b)
    y = function(a, ops.as_column(b))
    return reshape(y, y.shape[:-1])


def solve(a: Any, b: Any, /) -> Array:
    """Solution y of the linear systems a y = b.

    Args:
      a: [..., M, M]. b: [M], or [..., M, K]; batch axes broadcast.

    Returns:
      [..., M] for a vector b, else [..., M, K].

    Raises:
      LinAlgError: a is singular. ShapeError: a is not square, or b does not fit.

    Derivative: gb = a^-T g, ga = -gb y^T.

    Example:
      >>> import knet.numpy as knp
      >>> knp.linalg.solve(knp.asarray([[2.0, 0.0], [0.0, 4.0]]), knp.asarray([2.0, 2.0]))
      Array([1. , 0.5], dtype=float32)
    """
    return _right_side(ops.solve, a, b)


def triangular_solve(
    a: Any, b: Any, /, *, trans: int | str = 0, lower: bool = False, unit_diagonal: bool = False
) -> Array:
    """Solution y of op(t) y = b for the upper (or lower) triangle t of a.

    Args:
      a: [..., M, M], of which the other triangle is not looked at. b: [M], or [..., M, K]; batch axes broadcast.
      trans: op: 0 or "N" t itself, 1 or "T" its transpose, 2 or "C" its conjugate transpose.
      lower: which triangle.
      unit_diagonal: take the diagonal as ones.

    Returns:
      [..., M] for a vector b, else [..., M, K].

    Raises:
      LinAlgError: a zero on the diagonal.

    Derivative: gb = t^-T g, ga = -gb y^T in the triangle.

    References: the arguments of scipy.linalg.solve_triangular.
    """
    if trans not in (0, 1, 2, "N", "T", "C"):
        raise errors.argument("triangular_solve", "trans", trans, "it is 0, 1, 2, 'N', 'T' or 'C'", "use trans='T'")

    def function(a: Any, b: Any) -> Any:
        if trans in (1, 2, "T", "C"):
            a = ops.swap_last(a) if trans in (1, "T") else ops.adjoint(a)
        return ops.triangular_solve(a, b, lower=bool(lower) ^ (trans not in (0, "N")), unit=bool(unit_diagonal))

    a = _float(a)
    ops.check_matrix("triangular_solve", a, "a", square=True)
    return _right_side(function, a, b)


def inv(x: Any, /) -> Array:
    """Inverse matrices.

    Args:
      x: [..., M, M].

    Raises:
      LinAlgError: a matrix is singular.

    Derivative: -y^T g y^T.
    """
    return ops.inv(_float(x))


def pinv(x: Any, /, *, rtol: Any = None) -> Array:
    """Pseudo-inverses (Moore-Penrose): y = v diag(1 / s) u^H over the singular values that do not count as 0.

    Args:
      x: [..., M, N].
      rtol: singular values up to rtol times the largest count as 0; [] or [...]. By default max(M, N) eps.

    Returns:
      [..., N, M].

    Derivative: that at constant rank (Golub and Pereyra 1973); none by rtol.
    """
    x = _float(x)
    ops.check_matrix("pinv", x)
    return decompositions.pinv(x, _rtol(x, rtol))


def _rtol(x: Any, rtol: Any) -> Any:
    """Relative tolerance as an array of the real dtype that x is computed in."""
    dtype = ops.real_dtype(x.dtype)
    if rtol is None:
        rtol = max(x.shape[-2:]) * _eps(dtype)
    if isinstance(rtol, (int, float)):
        return creation.full((), rtol, dtype, x.device)
    return elementwise.cast(as_array(rtol), dtype)


def _eps(dtype: Any) -> float:
    return 2.0**-52 if dtype is dtypes.float64 else 2.0**-23


def lstsq(a: Any, b: Any, /, rcond: Any = None) -> LstsqResult:
    """Solution of least squares: the y that minimizes |a y - b|, and of those the shortest.

    Args:
      a: [..., M, N]. b: [M], or [..., M, K].
      rcond: singular values up to rcond times the largest count as 0; by default max(M, N) eps.

    Returns:
      The solution, [..., N] or [..., N, K]; residuals, sum |a y - b|^2 for each column, [...] or [..., K] (also where
      NumPy leaves them out: rank below N, or M <= N); rank [...]; singular values [..., min(M, N)].

    Derivative: of solution and residuals, at constant rank.
    """
    a, b = elementwise.meet(_float(a), _float(b))
    y = matmul(pinv(a, rtol=rcond), b)
    vector = b.ndim == 1
    rest = matmul(a, y) - b
    residuals = _sum_of_squares(rest, (rest.ndim - (1 if vector else 2),), False)
    return LstsqResult(y, residuals, matrix_rank(a, rtol=rcond), svdvals(a))


def matrix_power(x: Any, n: int, /) -> Array:
    """n-th power of matrices by repeated squaring; of the inverse for n < 0.

    Args:
      x: [..., M, M].

    Raises:
      LinAlgError: n < 0 and a matrix is singular.
    """
    x = as_array(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise errors.matrix("matrix_power", "x", x.shape)
    n = n.__index__()
    if n == 0:
        return broadcast_to(eye(x.shape[-1], dtype=x.dtype, device=x.device), x.shape)
    power, result = inv(x) if n < 0 else x, None
    n = abs(n)
    while True:
        if n & 1:
            result = power if result is None else matmul(result, power)
        n >>= 1
        if not n:
            return result  # type: ignore[return-value]
        power = matmul(power, power)


def expm(x: Any, /) -> Array:
    """Matrix exponentials: the sum over k of x^k / k!.

    Args:
      x: [..., M, M].

    Numerics: x / 2^s, a [13/13] Pade approximant, s squarings.

    Derivative: a block of the exponential of [[x^T, g], [0, x^T]] (Mathias 1996).

    References: Higham (2005), "The scaling and squaring method for the matrix exponential revisited".
    """
    return ops.expm(_float(x))


# --- determinants and rank --------------------------------------------------------------------------------------------


def det(x: Any, /) -> Array:
    """Determinants.

    Args:
      x: [..., M, M].

    Derivative: the matrix of cofactors, which exists for singular x, too; a second derivative needs regular x.
    """
    return ops.det(_float(x))


def slogdet(x: Any, /) -> SlogdetResult:
    """Determinants as sign * exp(logabsdet), which neither overflow nor underflow; (0, -inf) for a singular matrix.

    Args:
      x: [..., M, M].

    Derivative: of logabsdet x^-T; LinAlgError for singular x.
    """
    return SlogdetResult(*ops.slogdet(_float(x)))


def matrix_rank(x: Any, /, *, rtol: Any = None) -> Array:
    """Number of singular values above rtol times the largest; an integer, so without derivative.

    Args:
      x: [..., M, N].
      rtol: [] or [...]; by default max(M, N) eps.
    """
    x = elementwise.stop_gradient(_float(x))
    s = svdvals(x)
    if not s.shape[-1]:
        return creation.zeros(s.shape[:-1], dtypes.default_int, s.device)
    largest = reduce.reduce_max(s, axis=(s.ndim - 1,), keepdims=True)
    above = elementwise.greater(s, largest * ops.as_column(_rtol(x, rtol)))
    return reduce.reduce_sum(elementwise.cast(above, dtypes.default_int), axis=(above.ndim - 1,), keepdims=False)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """Sums of the diagonals of the last two axes: [...] for x [..., M, N]."""
    return products.trace(x, offset, -2, -1, dtype=dtype)


def diagonal(x: Any, /, *, offset: int = 0) -> Array:
    """Diagonals of the last two axes, the elements x[..., i, i + offset]: [..., K] for x [..., M, N]."""
    return products.diagonal(x, offset, -2, -1)


# --- factorizations ---------------------------------------------------------------------------------------------------


def cholesky(x: Any, /, *, upper: bool = False) -> Array:
    """Triangular factor y with positive diagonal: x = y y^H for lower y, x = y^H y for upper y.

    Args:
      x: [..., M, M], positive definite; of a matrix that is not Hermitian the Hermitian part counts.

    Raises:
      LinAlgError: a matrix is not positive definite.

    Derivative: a symmetric cotangent (Murray 2016).
    """
    y = decompositions.cholesky(_float(x))
    return ops.adjoint(y) if upper else y


def qr(x: Any, /, *, mode: Literal["reduced", "complete"] = "reduced") -> QRResult:
    """Factors x = q r with orthonormal columns of q and upper triangular r.

    Args:
      x: [..., M, N].
      mode: "reduced": K = min(M, N) columns; "complete": K = M.

    Returns:
      Q [..., M, K], R [..., K, N].

    Derivative: for independent leading columns of x (Walter and Lehmann 2012); none of the complete factors if M > N.
    """
    if mode not in ("reduced", "complete"):
        raise errors.argument("qr", "mode", mode, "it is 'reduced' or 'complete'", "use mode='reduced'")
    return QRResult(*decompositions.qr(_float(x), complete=mode == "complete"))


def eigh(x: Any, /) -> EighResult:
    """Eigenvalues, ascending, and orthonormal eigenvectors of Hermitian matrices: x v = v diag(w).

    Args:
      x: [..., M, M]; of a matrix that is not Hermitian the Hermitian part counts.

    Returns:
      eigenvalues [..., M], real; eigenvectors [..., M, M], the columns.

    Raises:
      LinAlgError: the iteration does not converge, which NaN or infinity in x may cause.

    Derivative: of the eigenvalues always (a function that is not symmetric in equal ones has none there); of the
    eigenvectors for distinct eigenvalues, else NaN, for they are arbitrary within an eigenspace.
    """
    return EighResult(*decompositions.eigh(_float(x)))


def eigvalsh(x: Any, /) -> Array:
    """Eigenvalues of Hermitian matrices, ascending: [..., M] for x [..., M, M]; see :func:`eigh`."""
    return decompositions.eigvalsh(_float(x))


def eig(x: Any, /) -> EigResult:
    """Eigenvalues and eigenvectors of any square matrices: x v = v diag(w).

    Args:
      x: [..., M, M].

    Returns:
      eigenvalues [..., M], in no particular order; eigenvectors [..., M, M], columns of norm 1 whose component of
      largest magnitude is real. Both are complex, also where NumPy would give reals: no dtype depends on values.

    Raises:
      LinAlgError: the iteration does not converge, which NaN or infinity in x may cause; or, of the derivative,
      eigenvectors that are dependent.

    Derivative: of both for distinct eigenvalues (of the vectors else NaN), by JAX's convention for complex numbers, see
    docs/complex.md. The eigenvectors' is that of the ones returned, normalised as said.

    References: Giles (2008), "An extended collection of matrix derivative results".
    """
    return EigResult(*decompositions.eig(_float(x)))


def eigvals(x: Any, /) -> Array:
    """Eigenvalues of any square matrices, complex, in no order: [..., M] for x [..., M, M]; see :func:`eig`."""
    return decompositions.eigvals(_float(x))


def svd(x: Any, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular values, descending, and vectors: x = u diag(s) vh.

    Args:
      x: [..., M, N], K = min(M, N).
      full_matrices: complete the orthonormal columns of u and rows of vh to square matrices.

    Returns:
      U [..., M, K], S [..., K], Vh [..., K, N]; if full U [..., M, M], Vh [..., N, N].

    Raises:
      LinAlgError: the iteration does not converge, which NaN or infinity in x may cause.

    Derivative: of the values always (at 0 a subgradient); of the vectors for distinct values (else NaN) that are
    positive if M != N or x is complex, but not of the arbitrary ones that full_matrices adds if M != N.
    """
    return SVDResult(*decompositions.svd(_float(x), full=bool(full_matrices)))


def svdvals(x: Any, /) -> Array:
    """Singular values, descending: [..., min(M, N)] for x [..., M, N]; see :func:`svd`."""
    return decompositions.svdvals(_float(x))


# --- norms ------------------------------------------------------------------------------------------------------------


def _sum_of_squares(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    squares = elementwise.square(x)
    if x.dtype.kind == "c":
        squares = elementwise.square(elementwise.real(x)) + elementwise.square(elementwise.imag(x))
    return reduce.reduce_sum(squares, axis=axes, keepdims=keepdims)


def _safe_root(total: Any) -> Any:
    """Root whose derivative at 0 is 0: the singular branch is replaced before it is taken."""
    zero = elementwise.equal(total, 0)
    return elementwise.where(zero, 0.0, elementwise.sqrt(elementwise.where(zero, 1.0, total)))


def _extreme(size: Any, axes: tuple[int, ...], keepdims: bool, largest: bool) -> Any:
    if largest and any(size.shape[i] == 0 for i in axes):  # of nothing
        return reduce.reduce_sum(size, axis=axes, keepdims=keepdims)
    return (reduce.reduce_max if largest else reduce.reduce_min)(size, axis=axes, keepdims=keepdims)


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Array:
    """Norm of the elements over axes: (sum |x| ** ord) ** (1 / ord); inf and -inf: largest, smallest |x|; 0: count.

    Args:
      x: [...]. axis: an axis or several; all of them by default.

    Returns:
      Real, x.shape without ``axis``.

    Derivative: at x = 0 it is 0, as that of each |x| is; ties for inf share it.
    """
    x = _float(x)
    axes = canonical_axes(axis, x.ndim, "vector_norm")
    if ord == 2:
        return _safe_root(_sum_of_squares(x, axes, keepdims))
    if ord == 0:
        nonzero = elementwise.cast(elementwise.not_equal(x, 0), ops.real_dtype(x.dtype))
        return reduce.reduce_sum(nonzero, axis=axes, keepdims=keepdims)
    size = elementwise.abs(x)
    if abs(ord) == math.inf:
        return _extreme(size, axes, keepdims, ord > 0)
    if ord == 1:
        return reduce.reduce_sum(size, axis=axes, keepdims=keepdims)
    # 0 ** ord, whose derivative by the base may be infinite, is written down instead of computed.
    zero = elementwise.equal(size, 0)
    powers = elementwise.where(zero, 0.0 if ord > 0 else math.inf, elementwise.where(zero, 1.0, size) ** float(ord))
    total = reduce.reduce_sum(powers, axis=axes, keepdims=keepdims)
    if ord < 0:
        none = elementwise.isinf(total)
        return elementwise.where(none, 0.0, elementwise.where(none, 1.0, total) ** (1.0 / ord))
    none = elementwise.equal(total, 0)
    return elementwise.where(none, 0.0, elementwise.where(none, 1.0, total) ** (1.0 / ord))


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """Norm of the matrices in the last two axes.

    Args:
      x: [..., M, N].
      ord: "fro" root of the sum of squares; "nuc" sum of the singular values; 2, -2 the largest, the smallest of them;
        1, -1 the largest, the smallest sum of |x| over a column; inf, -inf over a row.

    Returns:
      Real, [...], or [..., 1, 1] with keepdims.

    Derivative: at 0 it is 0 for "fro"; one of the subgradients where a norm has a kink.
    """
    x = _float(x)
    ops.check_matrix("matrix_norm", x)
    axes = (x.ndim - 2, x.ndim - 1)
    if ord == "fro":
        return _safe_root(_sum_of_squares(x, axes, keepdims))
    if ord not in ("nuc", 1, -1, 2, -2, math.inf, -math.inf):
        known = "'fro', 'nuc', 1, -1, 2, -2, inf or -inf"
        raise errors.argument("matrix_norm", "ord", ord, f"it is {known}", "use ord='fro', or vector_norm")
    if ord in ("nuc", 2, -2):
        s = svdvals(x)
        last = (s.ndim - 1,)
        y = reduce.reduce_sum(s, axis=last, keepdims=False) if ord == "nuc" else _extreme(s, last, False, ord > 0)
    else:
        along = axes[0] if abs(ord) == 1 else axes[1]
        sums = reduce.reduce_sum(elementwise.abs(x), axis=(along,), keepdims=False)
        y = _extreme(sums, (sums.ndim - 1,), False, ord > 0)
    return ops.as_matrix(y) if keepdims else y


def norm(x: Any, /, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """Norm of vectors or matrices, as NumPy's: :func:`vector_norm` over one axis, :func:`matrix_norm` over two.

    Args:
      x: [...].
      ord: by default the root of the sum of squares.
      axis: an int or a pair. By default all axes: with an ord given, x must have one or two of them.
    """
    x = as_array(x)
    if axis is None and (ord is None or x.ndim == 1):
        return vector_norm(x, keepdims=keepdims, ord=2 if ord is None else ord)
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    if len(axes) == 1:
        return vector_norm(x, axis=axes[0], keepdims=keepdims, ord=2 if ord is None else ord)
    if len(axes) != 2:
        raise errors.argument("norm", "axis", axis, f"x {list(x.shape)}: norms are over one axis or two", "give axis=")
    pair = [canonical_axis(a, x.ndim, "norm") for a in axes]
    if pair[0] == pair[1]:
        raise errors.repeated_axis("norm", axis)
    y = matrix_norm(moveaxis(x, pair, (-2, -1)), ord="fro" if ord is None else ord)
    return shape_ops.expand(y, tuple(pair)) if keepdims else y


def cond(x: Any, /, p: Any = None) -> Array:
    """Condition number of matrices: norm(x) * norm(inv(x)); [...] for x [..., M, N].

    Args:
      p: None or 2: the largest by the smallest singular value (inf if that is 0); -2: the inverse of this; else the
        ``ord`` of :func:`matrix_norm`, for square matrices.

    Raises:
      LinAlgError: another p, and a matrix is singular.
    """
    x = _float(x)
    if p in (None, 2, -2):
        s = svdvals(x)
        largest, smallest = (_extreme(s, (s.ndim - 1,), False, largest) for largest in (True, False))
        if p == -2:
            return smallest / largest
        singular = elementwise.equal(smallest, 0)
        return elementwise.where(singular, math.inf, largest / elementwise.where(singular, 1.0, smallest))
    return matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)
