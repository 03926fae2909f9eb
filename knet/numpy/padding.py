"""Borders: pad, in NumPy's modes. A border copied from x is a gather: its cotangent comes back to where it is from."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import dtypes, errors
from ..core.array import Array
from ..core.device import as_array
from ..core.ops import elementwise
from ..core.ops import shape as ops
from . import order, statistics
from .indexing import take
from .manipulation import broadcast_to, concatenate

__all__ = ["pad"]

_COPIES = ("edge", "reflect", "symmetric", "wrap")
_STATISTICS: dict[str, Callable[..., Array]] = {
    "maximum": statistics.max,
    "minimum": statistics.min,
    "mean": statistics.mean,
    "median": order.median,
}
_MODES = ("constant", "empty", "linear_ramp", *_COPIES, *_STATISTICS)


def pad(
    x: Any,
    pad_width: Any,
    mode: str = "constant",
    *,
    constant_values: Any = 0,
    end_values: Any = 0,
    stat_length: Any = None,
    reflect_type: str = "even",
) -> Array:
    """x with a border.

    Args:
      x: [...].
      pad_width: an int, a pair (before, after) for all axes, or one pair for each axis; >= 0.
      mode: where the border's elements come from. Axes are padded one after the other, each with the borders of those
        before it.

        - "constant": ``constant_values``; "empty": zeros.
        - "edge": the outermost element; "reflect": x mirrored at that; "symmetric": x mirrored behind that; "wrap": x
          again from its other end.
        - "linear_ramp": a straight line from the outermost element to ``end_values``.
        - "maximum", "minimum", "mean", "median": that of the ``stat_length`` outermost elements along the axis (all of
          them by default). Means of integers are rounded.

      constant_values, end_values: a number, a pair, or one pair for each axis, like pad_width; for constant_values also
        an array of no axes.
      stat_length: likewise, >= 1.
      reflect_type: "even", or "odd" for "reflect" and "symmetric" in the outermost element, too: twice that less the
        mirrored one, so that a straight line goes on.

    Returns:
      x.shape with both widths added to each axis; x's dtype.

    Raises:
      ArgumentError: an unknown mode. ShapeError: widths that do not fit, or a border to be made from an empty axis.

    Example:
      >>> import knet.numpy as knp
      >>> knp.pad(knp.asarray([1, 2, 3]), (2, 1), "reflect")
      Array([3, 2, 1, 2, 3, 2])
    """
    x = as_array(x)
    if mode not in _MODES:
        raise errors.argument("pad", "mode", mode, f"it is one of {', '.join(_MODES)}", "pass mode='constant'")
    if reflect_type not in ("even", "odd"):
        raise errors.argument("pad", "reflect_type", reflect_type, "it is 'even' or 'odd'", "pass reflect_type='even'")
    widths = _pairs("pad_width", pad_width, x.ndim)
    if any(not isinstance(n, (int, np.integer)) or n < 0 for n in itertools.chain(*widths)):
        raise errors.shape_argument(
            "pad", "pad_width", pad_width, f"x has {x.ndim} axes, each needs integers (before, after) >= 0",
            "give one pair an axis",
        )  # fmt: skip
    if mode == "empty" or (isinstance(constant_values, (int, float)) and constant_values == 0 and mode == "constant"):
        shape = tuple(n + before + after for n, (before, after) in zip(x.shape, widths, strict=True))
        return ops.unslice(x, shape=shape, starts=tuple(before for before, _ in widths), steps=(1,) * x.ndim)
    values = {"constant": constant_values, "linear_ramp": end_values}.get(mode, stat_length)
    for axis, (width, value) in enumerate(zip(widths, _pairs("values", values, x.ndim), strict=True)):
        if not any(width):
            continue
        if mode != "constant" and not x.shape[axis]:
            raise errors.empty_reduction("pad", x.shape, axis)
        if reflect_type == "odd" and mode in ("reflect", "symmetric") and x.shape[axis] > 1:
            x = _mirrored(_mirrored(x, axis, width[0], 0, mode), axis, width[1], 1, mode, x.shape[axis])
            continue
        if mode in _COPIES:
            x = take(x, np.pad(np.arange(x.shape[axis]), width, mode), axis=axis)  # type: ignore[call-overload]
            continue
        before, after = (_border(x, axis, mode, n, v, end) for n, v, end in zip(width, value, (0, 1), strict=True))
        x = concatenate([before, x, after], axis=axis)
    return x


def _border(x: Array, axis: int, mode: str, width: int, value: Any, end: int) -> Array:
    """The border at the start (end = 0) or at the end (1) of an axis."""
    shape = (*x.shape[:axis], width, *x.shape[axis + 1 :])
    if mode == "constant":
        return broadcast_to(elementwise.as_dtype(value, x.dtype, x.device), shape)
    size = x.shape[axis]
    if mode == "linear_ramp":
        along = tuple(width if i == axis else 1 for i in range(x.ndim))
        # 0 at the far end, 1 at x (where the line meets the outermost element, which is not part of it).
        steps = np.arange(width) / width if width else np.zeros(0)
        dtype = dtypes.to_float(x.dtype) if dtypes.is_differentiable(x.dtype) else dtypes.float64
        fraction = as_array((steps if end == 0 else steps[::-1]).reshape(along).astype(dtype))
        edge = elementwise.cast(_outermost(x, axis, 1, end), dtype)
        line = value + (edge - value) * fraction
        return elementwise.cast(line if dtypes.is_differentiable(x.dtype) else elementwise.floor(line), x.dtype)
    if value is not None and value < 1:
        raise errors.argument("pad", "stat_length", value, "a statistic needs elements", "pass stat_length >= 1")
    chosen = _outermost(x, axis, size if value is None else min(value, size), end)
    y = _STATISTICS[mode](chosen, axis, keepdims=True)
    if y.dtype is not x.dtype:
        y = elementwise.cast(elementwise.rint(y), x.dtype)
    return broadcast_to(y, shape)


def _mirrored(x: Array, axis: int, width: int, end: int, mode: str, size: int | None = None) -> Array:
    """x continued by point reflections in its first (end = 0) or last (1) element; ``size``: of x without borders."""
    period = (size or x.shape[axis]) - (mode == "reflect")
    while width:
        n = x.shape[axis]
        count = min(width, (n - (mode == "reflect")) // period * period)
        first = 1 if mode == "reflect" else 0
        places = np.arange(first, first + count)[::-1] if end == 0 else n - 1 - np.arange(first, first + count)
        border = 2 * _outermost(x, axis, 1, end) - take(x, places, axis=axis)
        border = elementwise.cast(border, x.dtype)
        x = concatenate([border, x] if end == 0 else [x, border], axis=axis)
        width -= count
    return x


def _outermost(x: Array, axis: int, count: int, end: int) -> Array:
    """The first (end = 0) or last (1) elements along an axis."""
    return x[(slice(None),) * axis + (slice(x.shape[axis] - count, None) if end else slice(count),)]


def _pairs(name: str, values: Any, ndim: int) -> list[tuple[Any, Any]]:
    """One pair for each axis, for a single value, a pair, or one pair for each axis."""
    if not isinstance(values, (tuple, list, np.ndarray)):
        return [(values, values)] * ndim
    items = [tuple(v) if isinstance(v, (tuple, list, np.ndarray)) else v for v in values]
    if len(items) == 1:
        items = items * ndim if isinstance(items[0], tuple) else items * 2
    if len(items) == 2 and not any(isinstance(v, tuple) for v in items):
        return [(items[0], items[1])] * ndim
    pairs = [v * 2 if isinstance(v, tuple) and len(v) == 1 else v for v in items]
    if len(pairs) != ndim or any(not isinstance(v, tuple) or len(v) != 2 for v in pairs):
        raise errors.shape_argument(
            "pad", name, values, f"x has {ndim} axes, each needs (before, after)", "give one pair an axis"
        )
    return pairs
