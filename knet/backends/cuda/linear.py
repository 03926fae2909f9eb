"""Linear algebra and Fourier transforms in the words that NumPy and CuPy share: what a primitive computes, by a module.

Each function takes a :class:`~.libraries.Modules`, the operands and the parameters of the primitive of its name, and
returns what that returns. CuPy's functions take fewer shapes than NumPy's, and keep silent where NumPy raises: the
rest is made up for here. Operands are not empty, and half types are float32 already.

Which failures CuPy reports (under ``cupyx.errstate(linalg="raise")``): ``cupy/linalg/_decomposition.py``, ``_solve.py``
and ``cupyx/lapack.py``. Iterations over NaN are not among them, and systems with a zero on the diagonal of a triangle.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.ops import linalg


def cholesky(lib: Any, x: Any) -> Any:
    """See :func:`knet.core.ops.decompositions.cholesky`."""
    return lib.xp.linalg.cholesky(_hermitian(lib, x))


def eigh(lib: Any, x: Any) -> Any:
    """See :func:`knet.core.ops.decompositions.eigh`."""
    return tuple(lib.xp.linalg.eigh(_hermitian(lib, _finite(lib, x))))


def eigvalsh(lib: Any, x: Any) -> Any:
    """See :func:`knet.core.ops.decompositions.eigvalsh`."""
    return lib.xp.linalg.eigvalsh(_hermitian(lib, _finite(lib, x)))


def eig(lib: Any, x: Any) -> Any:
    """See :func:`knet.core.ops.decompositions.eig`."""
    return tuple(_converged(lib, y) for y in lib.xp.linalg.eig(_finite(lib, x)))


def eigvals(lib: Any, x: Any) -> Any:
    """See :func:`knet.core.ops.decompositions.eigvals`."""
    return _converged(lib, lib.xp.linalg.eigvals(_finite(lib, x)))


def qr(lib: Any, x: Any, *, complete: bool) -> Any:
    """See :func:`knet.core.ops.decompositions.qr`."""
    return tuple(lib.xp.linalg.qr(x, "complete" if complete else "reduced"))


def svd(lib: Any, x: Any, *, full: bool) -> Any:
    """See :func:`knet.core.ops.decompositions.svd`."""
    return tuple(lib.xp.linalg.svd(_finite(lib, x), full_matrices=full))


def svdvals(lib: Any, x: Any) -> Any:
    """See :func:`knet.core.ops.decompositions.svdvals`."""
    return lib.xp.linalg.svd(_finite(lib, x), compute_uv=False)


def pinv(lib: Any, x: Any, rtol: Any) -> Any:
    """See :func:`knet.core.ops.decompositions.pinv`."""
    return lib.xp.linalg.pinv(_finite(lib, x), rtol)


def solve(lib: Any, a: Any, b: Any) -> Any:
    """See :func:`knet.core.ops.linalg.solve`."""
    return lib.xp.linalg.solve(*_stacked(lib, a, b))


def triangular_solve(lib: Any, a: Any, b: Any, *, lower: bool, unit: bool) -> Any:
    """See :func:`knet.core.ops.linalg.triangular_solve`."""
    _check(unit or bool((lib.xp.diagonal(a, 0, -2, -1) != 0).all()))
    a, b = _stacked(lib, a, b)
    return lib.linalg.solve_triangular(a, b, lower=lower, unit_diagonal=unit, check_finite=False)


def inv(lib: Any, x: Any) -> Any:
    """See :func:`knet.core.ops.linalg.inv`."""
    return lib.xp.linalg.inv(x)


def det(lib: Any, x: Any) -> Any:
    """See :func:`knet.core.ops.linalg.det`."""
    return lib.xp.linalg.det(x)


def slogdet(lib: Any, x: Any) -> Any:
    """See :func:`knet.core.ops.linalg.slogdet`."""
    return tuple(lib.xp.linalg.slogdet(x))


def cofactor(lib: Any, x: Any) -> Any:
    """See :func:`knet.core.ops.linalg.cofactor`."""
    return linalg.cofactors(_finite(lib, x), lib.xp)


def expm(lib: Any, x: Any) -> Any:
    """See :func:`knet.core.ops.linalg.expm`."""
    return linalg.exponentials(x, lib.xp)


def dft(lib: Any, x: Any, *, axes: tuple[int, ...], inverse: bool, norm: str) -> Any:
    """See :func:`knet.core.ops.fft.dft`."""
    return (lib.xp.fft.ifftn if inverse else lib.xp.fft.fftn)(x, axes=axes, norm=norm) if axes else x


def rfft(lib: Any, x: Any, *, axis: int, norm: str) -> Any:
    """See :func:`knet.core.ops.fft.rfft`."""
    return lib.xp.fft.rfft(x, axis=axis, norm=norm)


def irfft(lib: Any, x: Any, *, n: int, axis: int, norm: str) -> Any:
    """See :func:`knet.core.ops.fft.irfft`. Nothing is said of what cuFFT makes of imaginary parts that do not count."""
    x = x.copy()
    ends: list[Any] = [slice(None)] * x.ndim
    for end in (0, n // 2) if n % 2 == 0 else (0,):
        ends[axis] = end
        x.imag[tuple(ends)] = 0
    return lib.xp.fft.irfft(x, n, axis=axis, norm=norm)


FACTORS = {f.__name__: f for f in (cholesky, cofactor, eigh, eigvalsh, pinv, qr, svd, svdvals, det, slogdet, expm)}
GENERAL = {f.__name__: f for f in (eig, eigvals)}
SYSTEMS = {f.__name__: f for f in (solve, inv, triangular_solve)}
TRANSFORMS = {f.__name__: f for f in (dft, rfft, irfft)}


def _hermitian(lib: Any, x: Any) -> Any:
    return (x + lib.xp.conj(lib.xp.swapaxes(x, -1, -2))) / 2


def _stacked(lib: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """Matrices and right sides with the batch axes of both."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return lib.xp.broadcast_to(a, (*batch, *a.shape[-2:])), lib.xp.broadcast_to(b, (*batch, *b.shape[-2:]))


def _finite(lib: Any, x: Any) -> Any:
    """What an iteration may start from; LAPACK's end with an error where it is not finite."""
    _check(lib.xp.isfinite(x).all())
    return x


def _converged(lib: Any, y: Any) -> Any:
    """Eigenvalues of a stack: CuPy has the status of its last matrix alone."""
    _check(lib.xp.isfinite(y).all())
    return y


def _check(holds: Any) -> None:
    if not bool(holds):
        raise np.linalg.LinAlgError
