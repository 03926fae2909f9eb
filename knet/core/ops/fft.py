"""Discrete Fourier transforms. They are linear and their matrices symmetric: each is its own derivative, or nearly so.

``norm`` scales: "backward" the inverse by 1/n, "forward" the forward transform by 1/n, "ortho" both by 1/sqrt(n).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import batching, dtypes, errors
from ..aval import ShapedArray
from ..device import from_numpy
from ..primitive import LINEAR, primitive
from . import creation, elementwise
from .linalg import complex_dtype, real_dtype

# The scale of a forward transform is that of the inverse one under another name.
OPPOSITE = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _dft_aval(x: Any, *, axes: tuple[int, ...], inverse: bool, norm: str) -> ShapedArray:
    if x.dtype.kind != "c":
        raise errors.unsupported_dtype("dft", ("x",), (x,), "complex numbers")
    return ShapedArray(x.shape, x.dtype)


def _next_axes(_size: int, *, axes: tuple[int, ...], **params: Any) -> dict[str, Any]:
    return {"axes": tuple(i + 1 for i in axes), **params}


@primitive(
    aval=_dft_aval,
    vjp=(lambda g, _y, _x, *, axes, inverse, norm: dft(g, axes=axes, inverse=inverse, norm=norm),),
    jvp=LINEAR(),
    batch=batching.shifted(_next_axes),
)
def dft(x: Any, *, axes: tuple[int, ...], inverse: bool, norm: Any) -> Any:
    """Fourier transform over axes: y[k] = c sum_j x[j] exp(-2 pi i j k / n), the inverse with +2 pi i.

    x: [...] complex. Returns x.shape. Derivative: the transform itself, as its matrix is symmetric.
    """
    if not x.size:
        return x
    return (np.fft.ifftn if inverse else np.fft.fftn)(x, axes=axes, norm=norm)


def _rfft_aval(x: Any, *, axis: int, norm: str) -> ShapedArray:
    if x.dtype.kind == "c" or not dtypes.is_differentiable(x.dtype):
        raise errors.unsupported_dtype("rfft", ("x",), (x,), "floating-point numbers")
    return ShapedArray((*x.shape[:axis], x.shape[axis] // 2 + 1, *x.shape[axis + 1 :]), complex_dtype(x.dtype))


def _weights(n: int, inner: float, axis: int, like: Any) -> Any:
    """1 at the frequencies that occur once (0, and n / 2 for even n) and ``inner`` at those with a mirror image."""
    w = np.full(n // 2 + 1, inner, real_dtype(like.dtype))
    w[0] = 1
    if n % 2 == 0:
        w[-1] = 1
    return from_numpy(w.reshape((-1,) + (1,) * (like.ndim - 1 - axis)), creation.device_of(like))


def _rfft_vjp(g: Any, _y: Any, x_aval: Any, *, axis: int, norm: str) -> Any:
    # Re sum_k g[k] exp(-2 pi i j k / n): irfft counts each inner frequency twice.
    n = x_aval.shape[axis]
    y = irfft(elementwise.conj(g) * _weights(n, 0.5, axis, g), n=n, axis=axis, norm=OPPOSITE[norm])
    return elementwise.cast(y, x_aval.dtype)


@primitive(aval=_rfft_aval, vjp=(_rfft_vjp,), jvp=LINEAR(), batch=batching.shifted(batching.next_axis))
def rfft(x: Any, *, axis: int, norm: Any) -> Any:
    """Fourier transform of real numbers along an axis of size n: the frequencies 0 to n // 2, others mirror them.

    x: [..., n, ...] real; half types compute in float32. Returns [..., n // 2 + 1, ...] complex.
    """
    if x.dtype.itemsize == 2:
        x = x.astype(np.float32)
    return np.fft.rfft(x, axis=axis, norm=norm)


def _irfft_aval(x: Any, *, n: int, axis: int, norm: str) -> ShapedArray:
    if x.dtype.kind != "c":
        raise errors.unsupported_dtype("irfft", ("x",), (x,), "complex numbers")
    if x.shape[axis] != n // 2 + 1:
        raise errors.shape_argument(
            "irfft", "n", n, f"axis {axis} of x {list(x.shape)} must have n // 2 + 1 frequencies", "pad or cut x"
        )
    return ShapedArray((*x.shape[:axis], n, *x.shape[axis + 1 :]), real_dtype(x.dtype))


def _irfft_vjp(g: Any, _y: Any, _x: Any, *, n: int, axis: int, norm: str) -> Any:
    y = elementwise.conj(rfft(g, axis=axis, norm=OPPOSITE[norm]))
    return y * _weights(n, 2.0, axis, y)


@primitive(aval=_irfft_aval, vjp=(_irfft_vjp,), jvp=LINEAR(), batch=batching.shifted(batching.next_axis))
def irfft(x: Any, *, n: int, axis: int, norm: Any) -> Any:
    """Inverse of rfft: n real numbers from their frequencies 0 to n // 2.

    x: [..., n // 2 + 1, ...] complex; the imaginary parts at 0, and at n / 2 for even n, do not count. Returns
    [..., n, ...] real.
    """
    return np.fft.irfft(x, n, axis=axis, norm=norm)
