"""Discrete Fourier transforms, ``knet.numpy.fft``: the array API's extension.

    y[k] = c sum_j x[j] exp(-2 pi i j k / n),   inverse:   x[j] = d sum_k y[k] exp(2 pi i j k / n)

Arguments that the functions share:
  n, s: size of the transform along the axis, along each of the axes (-1 is that of x); x is cut, or filled up with
    zeros.
  axis, axes: where to transform; the last axis, or all of them (the last ones, as many as s has).
  norm: "backward" (c = 1, d = 1/n), "ortho" (c = d = 1/sqrt(n)) or "forward" (c = 1/n, d = 1).

float64 and complex128 compute in double, all else in single precision. All transforms are linear, and so is their
derivative: each rule is a transform again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import dtypes, errors
from ..core.array import Array
from ..core.device import as_array, as_device, from_numpy
from ..core.ops import elementwise
from ..core.ops import fft as ops
from ..core.ops import shape as shape_ops
from .manipulation import canonical_axis, roll

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]


# --- arguments --------------------------------------------------------------------------------------------------------


def _complex(x: Any) -> Any:
    x = as_array(x)
    return elementwise.cast(x, ops.complex_dtype(x.dtype))


def _real(where: str, x: Any) -> Any:
    x = as_array(x)
    if x.dtype.kind == "c":
        raise errors.unsupported_dtype(where, ("x",), (x,), "real numbers")
    return elementwise.cast(x, dtypes.to_float(x.dtype))


def _norm(where: str, norm: str | None) -> str:
    if norm is None:
        return "backward"
    if norm not in ops.OPPOSITE:
        raise errors.argument(where, "norm", norm, "it is 'backward', 'ortho' or 'forward'", "use norm='ortho'")
    return norm


def _size(where: str, n: Any, default: int) -> int:
    size = default if n is None else n.__index__()
    if size < 1:
        raise errors.shape_argument(where, "n", size, "a transform has one point or more", "check the axis, or pass n=")
    return size


def _fit(x: Any, axis: int, n: int) -> Any:
    """x with n elements along an axis: cut, or filled up with zeros."""
    if x.shape[axis] == n:
        return x
    zeros, ones = (0,) * x.ndim, (1,) * x.ndim
    sizes = (*x.shape[:axis], n, *x.shape[axis + 1 :])
    if x.shape[axis] > n:
        return shape_ops.slice_axes(x, starts=zeros, sizes=sizes, steps=ones)
    return shape_ops.unslice(x, shape=sizes, starts=zeros, steps=ones)


def _sizes(where: str, x: Any, s: Any, axes: Any) -> tuple[list[int], list[Any]]:
    """The axes, counted from the front, and the size along each: -1 is that of x, None the function's default."""
    if axes is None:
        axes = range(x.ndim) if s is None else range(-len(s), 0)
    chosen = [canonical_axis(a, x.ndim, where) for a in axes]
    if s is not None and len(s) != len(chosen):
        raise errors.shape_argument(where, "s", s, f"one size for each of the axes {tuple(axes)}", "correct s or axes")
    if len(set(chosen)) != len(chosen):
        raise errors.repeated_axis(where, tuple(axes))
    sizes = (
        [None] * len(chosen) if s is None else [x.shape[a] if n == -1 else n for a, n in zip(chosen, s, strict=True)]
    )
    return chosen, sizes


# --- complex transforms -----------------------------------------------------------------------------------------------


def _transform(where: str, x: Any, s: Any, axes: Any, norm: str | None, inverse: bool) -> Array:
    x = _complex(x)
    chosen, sizes = _sizes(where, x, s, axes)
    for axis, n in zip(chosen, sizes, strict=True):
        x = _fit(x, axis, _size(where, n, x.shape[axis]))
    return ops.dft(x, axes=tuple(chosen), inverse=inverse, norm=_norm(where, norm)) if chosen else x


def fft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str | None = "backward") -> Array:
    """Fourier transform along an axis.

    Args:
      x: [..., n, ...]. n, axis, norm: see the module.

    Returns:
      Complex, x.shape with n along the axis.

    Raises:
      ShapeError: n < 1.

    Example:
      >>> import knet.numpy as knp
      >>> knp.fft.fft(knp.asarray([1.0, 1.0]))
      Array([2.+0.j, 0.+0.j], dtype=complex64)
    """
    return _transform("fft", x, [n], [axis], norm, False)


def ifft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str | None = "backward") -> Array:
    """Inverse of :func:`fft`: x [..., n, ...], complex result of that shape."""
    return _transform("ifft", x, [n], [axis], norm, True)


def fftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str | None = "backward") -> Array:
    """Fourier transform along several axes: x [...], complex result with the sizes s along the axes."""
    return _transform("fftn", x, s, axes, norm, False)


def ifftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str | None = "backward") -> Array:
    """Inverse of :func:`fftn`: x [...], complex result with the sizes s along the axes."""
    return _transform("ifftn", x, s, axes, norm, True)


# --- transforms from and to real numbers ------------------------------------------------------------------------------


def rfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str | None = "backward") -> Array:
    """Fourier transform of real numbers along an axis: the frequencies 0 to n // 2, whose mirror images are conjugate.

    Args:
      x: [..., n, ...] real. n, axis, norm: see the module.

    Returns:
      Complex, x.shape with n // 2 + 1 along the axis.
    """
    return _rfft("rfft", x, [n], [axis], norm)


def irfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str | None = "backward") -> Array:
    """Inverse of :func:`rfft`.

    Args:
      x: [..., m, ...]; imaginary parts at the frequencies 0 and n / 2 do not count.
      n: size of the result, 2 (m - 1) by default; pass it where it is odd. axis, norm: see the module.

    Returns:
      Real, x.shape with n along the axis.
    """
    return _irfft("irfft", x, [n], [axis], norm)


def rfftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str | None = "backward") -> Array:
    """Fourier transform of real numbers along several axes: :func:`rfft` along the last of them, then :func:`fftn`."""
    return _rfft("rfftn", x, s, axes, norm)


def irfftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str | None = "backward") -> Array:
    """Inverse of :func:`rfftn`: :func:`ifftn` along all axes but the last, then :func:`irfft` along that."""
    return _irfft("irfftn", x, s, axes, norm)


def fft2(x: Any, /, *, s: Any = None, axes: Any = (-2, -1), norm: str | None = "backward") -> Array:
    """Fourier transform along two axes, the last ones by default; see :func:`fftn`."""
    return fftn(x, s=s, axes=axes, norm=norm)


def ifft2(x: Any, /, *, s: Any = None, axes: Any = (-2, -1), norm: str | None = "backward") -> Array:
    """Inverse of :func:`fft2`."""
    return ifftn(x, s=s, axes=axes, norm=norm)


def rfft2(x: Any, /, *, s: Any = None, axes: Any = (-2, -1), norm: str | None = "backward") -> Array:
    """Fourier transform of real numbers along two axes, the last ones by default; see :func:`rfftn`."""
    return rfftn(x, s=s, axes=axes, norm=norm)


def irfft2(x: Any, /, *, s: Any = None, axes: Any = (-2, -1), norm: str | None = "backward") -> Array:
    """Inverse of :func:`rfft2`; see :func:`irfftn`."""
    return irfftn(x, s=s, axes=axes, norm=norm)


def _rfft(where: str, x: Any, s: Any, axes: Any, norm: str | None) -> Array:
    x, norm = _real(where, x), _norm(where, norm)
    chosen, sizes = _sizes(where, x, s, axes)
    if not chosen:
        raise errors.argument(where, "axes", axes, "a real transform has one axis or more", "pass axes=(-1,)")
    for axis, n in zip(chosen, sizes, strict=True):
        x = _fit(x, axis, _size(where, n, x.shape[axis]))
    y = ops.rfft(x, axis=chosen[-1], norm=norm)
    return ops.dft(y, axes=tuple(chosen[:-1]), inverse=False, norm=norm) if chosen[1:] else y


def _irfft(where: str, x: Any, s: Any, axes: Any, norm: str | None) -> Array:
    x, norm = _complex(x), _norm(where, norm)
    chosen, sizes = _sizes(where, x, s, axes)
    if not chosen:
        raise errors.argument(where, "axes", axes, "a real transform has one axis or more", "pass axes=(-1,)")
    n = _size(where, sizes[-1], 2 * (x.shape[chosen[-1]] - 1))
    for axis, size in zip(chosen[:-1], sizes[:-1], strict=True):
        x = _fit(x, axis, _size(where, size, x.shape[axis]))
    x = _fit(x, chosen[-1], n // 2 + 1)
    if chosen[1:]:
        x = ops.dft(x, axes=tuple(chosen[:-1]), inverse=True, norm=norm)
    return ops.irfft(x, n=n, axis=chosen[-1], norm=norm)


def hfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str | None = "backward") -> Array:
    """Fourier transform of a signal with Hermitian symmetry, which is real.

    Args:
      x: [..., m, ...], the first half: x[-j] = conj(x[j]).
      n: size of the result, 2 (m - 1) by default. axis, norm: see the module.

    Returns:
      Real, x.shape with n along the axis.
    """
    x, opposite = elementwise.conj(_complex(x)), ops.OPPOSITE[_norm("hfft", norm)]
    return _irfft("hfft", x, [n], [axis], opposite)


def ihfft(x: Any, /, *, n: int | None = None, axis: int = -1, norm: str | None = "backward") -> Array:
    """Inverse of :func:`hfft`: x [..., n, ...] real, complex result with n // 2 + 1 along the axis."""
    opposite = ops.OPPOSITE[_norm("ihfft", norm)]
    return elementwise.conj(_rfft("ihfft", x, [n], [axis], opposite))


# --- frequencies ------------------------------------------------------------------------------------------------------


def _frequencies(where: str, numbers: Any, n: int, d: float, dtype: Any, device: Any) -> Array:
    target = dtypes.default_float if dtype is None else dtypes.canonical(dtype)
    if not dtypes.is_differentiable(target):
        raise errors.argument(where, "dtype", dtype, "frequencies are floating-point numbers", "use dtype='float32'")
    return from_numpy((numbers / (n * d)).astype(target), as_device(device))


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Array:
    """Frequencies of :func:`fft`: [0, 1, ..., (n - 1) // 2, -(n // 2), ..., -1] / (n d).

    Args:
      n: size of the transform. d: distance between samples.
    """
    n = _size("fftfreq", n, 0)
    return _frequencies("fftfreq", (np.arange(n) + n // 2) % n - n // 2, n, d, dtype, device)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Array:
    """Frequencies of :func:`rfft`: [0, 1, ..., n // 2] / (n d)."""
    n = _size("rfftfreq", n, 0)
    return _frequencies("rfftfreq", np.arange(n // 2 + 1), n, d, dtype, device)


def fftshift(x: Any, /, *, axes: int | Sequence[int] | None = None) -> Array:
    """Frequency 0 moved from the start to the middle of the axes (all by default): rolled by n // 2."""
    return _shift(x, axes, lambda n: n // 2)


def ifftshift(x: Any, /, *, axes: int | Sequence[int] | None = None) -> Array:
    """Inverse of :func:`fftshift`: rolled by -(n // 2)."""
    return _shift(x, axes, lambda n: -(n // 2))


def _shift(x: Any, axes: Any, by: Any) -> Array:
    x = as_array(x)
    chosen = tuple(range(x.ndim)) if axes is None else (axes,) if isinstance(axes, int) else tuple(axes)
    chosen = tuple(canonical_axis(a, x.ndim, "fftshift") for a in chosen)
    return roll(x, tuple(by(x.shape[a]) for a in chosen), axis=chosen)
