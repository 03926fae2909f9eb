"""Sequences of samples: convolution, interpolation, differences and integrals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import dtypes, errors
from ..core.array import Array
from ..core.device import as_array
from ..core.ops import conv as conv_ops
from ..core.ops import elementwise, reduce, sort
from ..core.ops import shape as shape_ops
from .indexing import take
from .manipulation import canonical_axes, canonical_axis, concatenate, ravel

__all__ = [
    "convolve",
    "correlate",
    "ediff1d",
    "gradient",
    "interp",
    "polyval",
    "sinc",
    "trapezoid",
    "unwrap",
]


def _vectors(name: str, a: Any, v: Any, mode: str) -> list[Array]:
    a, v = elementwise.meet(as_array(a), as_array(v))
    if a.ndim != 1 or v.ndim != 1 or not a.size or not v.size:
        raise errors.shape_argument(
            name,
            "(a, v)",
            [list(a.shape), list(v.shape)],
            "both are vectors with elements",
            "ravel them, or use nn.conv",
        )
    if mode not in ("full", "same", "valid"):
        raise errors.argument(name, "mode", mode, "it is 'full', 'same' or 'valid'", "pass mode='full'")
    return [a, v]


def _slide(a: Array, v: Array, mode: str) -> Array:
    """sum over n of a[n + k] v[n], v not longer than a."""
    if dtypes.kind(a.dtype) == "c":
        # Real and imaginary parts of a as a batch, of v as channels: one convolution, whose four results combine.
        parts = [concatenate([elementwise.real(z), elementwise.imag(z)]) for z in (a, v)]
        y = _conv(parts[0], parts[1], 2, v.size, mode)
        return (y[0, 0] - y[1, 1]) + 1j * (y[0, 1] + y[1, 0])
    return _conv(a, v, 1, v.size, mode)[0, 0]


def _conv(a: Array, v: Array, count: int, size: int, mode: str) -> Array:
    """[count, count, K]: ``count`` sequences, which stand behind one another in a, with each of those in v."""
    left = {"full": size - 1, "same": size // 2, "valid": 0}[mode]
    right = {"full": size - 1, "same": (size - 1) // 2, "valid": 0}[mode]
    x, w = shape_ops.reshape(a, shape=(count, 1, a.size // count)), shape_ops.reshape(v, shape=(count, 1, size))
    return conv_ops.conv(x, w, stride=(1,), padding=((left, right),), dilation=(1,), groups=1)


def convolve(a: Any, v: Any, /, mode: str = "full") -> Array:
    """Convolution of two sequences, y[k] = sum over n of a[n] v[k - n].

    Args:
      a: [N], v: [M].
      mode: "full": all N + M - 1 places; "same": the max(N, M) in the middle; "valid": where both overlap completely.

    Example:
      >>> import knet.numpy as knp
      >>> knp.convolve(knp.asarray([1.0, 2.0, 3.0]), knp.asarray([1.0, -1.0]))
      Array([ 1.,  1.,  1., -3.], dtype=float32)
    """
    a, v = _vectors("convolve", a, v, mode)
    if a.size < v.size:
        a, v = v, a
    return _slide(a, shape_ops.flip(v, axis=(0,)), mode)


def correlate(a: Any, v: Any, /, mode: str = "valid") -> Array:
    """Correlation of two sequences, y[k] = sum over n of a[n + k] conj(v[n]); arguments as in :func:`convolve`."""
    a, v = _vectors("correlate", a, v, mode)
    v = elementwise.conj(v) if dtypes.kind(v.dtype) == "c" else v
    if a.size < v.size:
        return shape_ops.flip(_slide(v, a, mode), axis=(0,))
    return _slide(a, v, mode)


def interp(x: Any, xp: Any, fp: Any, /, left: Any = None, right: Any = None, period: float | None = None) -> Array:
    """Piecewise linear interpolation through the points (xp, fp).

    Args:
      x: [...], where to evaluate.
      xp: [N], ascending (any order with ``period``). fp: [N].
      left, right: results below xp[0] and above xp[-1]; by default fp[0] and fp[-1].
      period: of the function, if it is periodic; left and right have no meaning then.

    Returns:
      x.shape.

    Derivative: by x (the slope of the segment to the right at a point), xp and fp.
    """
    x, xp = elementwise.operands(x, xp)
    x, xp, fp = (elementwise.cast(v, dtypes.to_float(v.dtype)) for v in map(as_array, (x, xp, fp)))
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise errors.shape_argument(
            "interp", "fp", list(fp.shape), f"fp and xp {list(xp.shape)} are vectors of one size, at least 1",
            "pass one value for each point",
        )  # fmt: skip
    if period is not None:
        if not period > 0:
            raise errors.argument("interp", "period", period, "it must be positive", "pass abs(period)")
        x, xp = elementwise.remainder(x, period), elementwise.remainder(xp, period)
        order = sort.argsort(xp, axis=0)
        xp, fp = take(xp, order), take(fp, order)
        xp = concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = concatenate([fp[-1:], fp, fp[:1]])
        left = right = None
    last = xp.shape[0] - 1
    if last == 0:
        y = fp[0] + 0 * x
    else:
        place = sort.searchsorted(*elementwise.meet(xp, x), right=True)
        place = elementwise.minimum(elementwise.maximum(place, 1), last)
        x0, x1, f0, f1 = take(xp, place - 1), take(xp, place), take(fp, place - 1), take(fp, place)
        gap = x1 - x0
        jump = elementwise.equal(gap, 0)  # two points in one place
        y = f0 + elementwise.where(jump, 0.0, (x - x0) / elementwise.where(jump, 1.0, gap)) * (f1 - f0)
    y = elementwise.where(elementwise.less(x, xp[0]), fp[0] if left is None else left, y)
    return elementwise.where(elementwise.greater(x, xp[last]), fp[last] if right is None else right, y)


def ediff1d(x: Any, /, to_end: Any = None, to_begin: Any = None) -> Array:
    """Differences of neighbours of the flattened array, with ``to_begin`` in front and ``to_end`` behind."""
    x = ravel(as_array(x))
    ends = [None if v is None else ravel(elementwise.as_dtype(v, x.dtype, x.device)) for v in (to_begin, to_end)]
    return concatenate([v for v in (ends[0], x[1:] - x[:-1], ends[1]) if v is not None])


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, part)


def gradient(f: Any, /, *spacing: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Derivative of sampled values: central differences inside, one-sided ones at the ends.

    For spacings a to the left and b to the right: (a^2 f(x + b) + (b^2 - a^2) f(x) - b^2 f(x - a)) / (a b (a + b)).

    Args:
      f: [...], at least edge_order + 1 samples along each axis.
      spacing: the distance of samples; or for each axis its distance, or its coordinates [N]. 1 by default.
      axis: an int or a tuple of ints; all axes by default.
      edge_order: 1 or 2, the order of accuracy at the ends.

    Returns:
      f.shape for one axis, a tuple of such for several.
    """
    f = as_array(f)
    f = elementwise.cast(f, dtypes.to_float(f.dtype))
    axes = canonical_axes(axis, f.ndim, "gradient")
    if edge_order not in (1, 2):
        raise errors.argument("gradient", "edge_order", edge_order, "it is 1 or 2", "pass edge_order=1")
    if len(spacing) not in (0, 1, len(axes)) or (len(spacing) == 1 != len(axes) and np.ndim(spacing[0])):
        raise errors.argument(
            "gradient", "spacing", f"{len(spacing)} of them", f"{len(axes)} axes need none, one number, or one each",
            "pass one distance or vector for each axis",
        )  # fmt: skip
    spacings = list(spacing) * (len(axes) if len(spacing) == 1 else 1) or [1.0] * len(axes)
    results = []
    for i, h in zip(axes, spacings, strict=True):
        if f.shape[i] <= edge_order:
            raise errors.shape_argument(
                "gradient", "f", list(f.shape), f"axis {i} needs more than {edge_order} samples", "sample more densely"
            )
        results.append(_gradient(f, h, i, edge_order))
    return results[0] if len(results) == 1 else tuple(results)


def _gradient(f: Array, h: Any, axis: int, edge_order: int) -> Array:
    n = f.shape[axis]
    h = as_array(h) if isinstance(h, (Array, np.ndarray)) else h
    if getattr(h, "ndim", 0):
        if h.shape != (n,):
            raise errors.shape_argument(
                "gradient", "spacing", list(h.shape), f"axis {axis} has {n} samples", "pass a coordinate for each"
            )
        h = shape_ops.reshape(h, shape=(n,) + (1,) * (f.ndim - axis - 1))
        h = elementwise.cast(h[1:] - h[:-1], f.dtype)
        a, b = h[:-1], h[1:]
        first, second, last, before = h[:1], h[1:2], h[-1:], h[-2:-1]
    else:
        a = b = first = second = last = before = h

    def at(start: int | None, stop: int | None) -> Array:
        return f[_along(axis, slice(start, stop))]

    inner = (a * a * at(2, None) + (b * b - a * a) * at(1, -1) - b * b * at(None, -2)) / (a * b * (a + b))
    if edge_order == 1:
        head, tail = (at(1, 2) - at(0, 1)) / first, (at(-1, None) - at(-2, -1)) / last
    else:
        head = _one_sided(at(0, 1), at(1, 2), at(2, 3), first, second)
        tail = -_one_sided(at(-1, None), at(-2, -1), at(-3, -2), last, before)
    return concatenate([head, inner, tail], axis=axis)


def _one_sided(f0: Array, f1: Array, f2: Array, a: Any, b: Any) -> Array:
    """Derivative at the first of three samples, a and b apart, of the parabola through them."""
    return (f1 - f0) * ((a + b) / (a * b)) - (f2 - f0) * (a / (b * (a + b)))


def trapezoid(y: Any, x: Any = None, /, dx: Any = 1.0, axis: int = -1) -> Array:
    """Integral by the trapezoidal rule along an axis: sum of (y[i] + y[i + 1]) / 2 times the distance of the samples.

    Args:
      y: [..., N, ...].
      x: coordinates, [N] or of y's shape; None for samples ``dx`` apart.

    Returns:
      y.shape without ``axis``.
    """
    y = as_array(y)
    y = elementwise.cast(y, dtypes.to_float(y.dtype))
    axis = canonical_axis(axis, y.ndim, "trapezoid")
    if x is not None:
        x = as_array(x)
        if x.ndim == 1:
            x = shape_ops.reshape(x, shape=(x.shape[0],) + (1,) * (y.ndim - axis - 1))
            dx = x[1:] - x[:-1]
        else:
            dx = x[_along(axis, slice(1, None))] - x[_along(axis, slice(-1))]
    terms = (y[_along(axis, slice(1, None))] + y[_along(axis, slice(-1))]) * dx * 0.5
    return reduce.reduce_sum(terms, axis=(axis,), keepdims=False)


def polyval(p: Any, x: Any, /) -> Array:
    """Value of the polynomial p[0] x ** (N - 1) + ... + p[N - 1] at each x, by Horner's rule. p: [N]; x: [...]."""
    coefficients: Sequence[Any] = p if isinstance(p, (list, tuple)) else shape_ops.unstack(as_array(p), axis=0)
    x = as_array(x)
    y = x * 0
    for c in coefficients:
        y = y * x + c
    return y


def sinc(x: Any, /) -> Array:
    """sin(pi x) / (pi x), which is 1 at 0. The derivatives at 0 are those of the series, exact up to the fourth."""
    x = as_array(x)
    x = elementwise.cast(x, dtypes.to_float(x.dtype)) * math.pi
    near = elementwise.less(elementwise.abs(x), 1e-2 if x.dtype is dtypes.float64 else 0.1)
    safe, small = elementwise.where(near, 1.0, x), elementwise.where(near, x * x, 0.0)
    series = 1 - small / 6 * (1 - small / 20 * (1 - small / 42 * (1 - small / 72)))
    return elementwise.where(near, series, elementwise.sin(safe) / safe)


def unwrap(x: Any, /, *, period: float = 2 * math.pi, axis: int = -1) -> Array:
    """Angles with multiples of ``period`` added so that neighbours differ by half of it at most."""
    x = as_array(x)
    x = elementwise.cast(x, dtypes.to_float(x.dtype))
    axis = canonical_axis(axis, x.ndim, "unwrap")
    step = x[_along(axis, slice(1, None))] - x[_along(axis, slice(-1))]
    turns = step / period  # rounded; halves towards 0, so that a step of half a period keeps its sign
    turns = elementwise.where(turns > 0, elementwise.ceil(turns - 0.5), elementwise.floor(turns + 0.5))
    turns = reduce.cumulative_sum(turns, axis=axis)
    first = x[_along(axis, slice(1))]
    return concatenate([first, x[_along(axis, slice(1, None))] - turns * period], axis=axis)
