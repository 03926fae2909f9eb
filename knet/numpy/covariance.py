"""Weighted means, covariances and correlations."""

from __future__ import annotations

from typing import Any

from ..core import dtypes, errors
from ..core.array import Array
from ..core.device import as_array
from ..core.ops import creation, elementwise, linalg, reduce
from ..core.ops import shape as shape_ops
from .manipulation import broadcast_to, canonical_axes, concatenate, reshape, squeeze

__all__ = ["average", "corrcoef", "cov"]


def average(x: Any, /, axis: Any = None, weights: Any = None, *, returned: bool = False, keepdims: bool = False) -> Any:
    """Weighted mean over axes, sum(w x) / sum(w).

    Args:
      x: [...].
      axis: an int, a tuple of ints, or None for all axes.
      weights: of x's shape, or [N] for a single axis; equal ones if None.
      returned: also return the sum of the weights, with the mean's shape.

    Returns:
      x.shape without ``axis``; NaN or infinite where the weights add up to 0.
    """
    x = as_array(x)
    x = elementwise.cast(x, dtypes.to_float(x.dtype))
    axes = canonical_axes(axis, x.ndim, "average")
    w = as_array(1.0 if weights is None else weights)
    if w.ndim == 1 and len(axes) == 1 and w.shape != x.shape:
        w = reshape(w, (-1,) + (1,) * (x.ndim - axes[0] - 1))
    w = elementwise.cast(w, elementwise.meet(x, w)[0].dtype)
    if (w.ndim and weights is not None) and any(a not in (1, b) for a, b in zip(w.shape[::-1], x.shape[::-1])):
        raise errors.shape_argument(
            "average", "weights", list(w.shape), f"x is {list(x.shape)}", "pass weights of x's shape, or a vector"
        )
    w = broadcast_to(w, x.shape)
    total = reduce.reduce_sum(w, axis=axes, keepdims=keepdims)
    y = reduce.reduce_sum(x * w, axis=axes, keepdims=keepdims) / total
    return (y, total) if returned else y


def cov(
    x: Any, y: Any = None, /, *, rowvar: bool = True, bias: bool = False, ddof: float | None = None,
    fweights: Any = None, aweights: Any = None,
) -> Array:  # fmt: skip
    """Covariances of variables, sum over samples of w (x - mean) (x - mean)^T, divided.

    Args:
      x: [V, N], variables in rows (columns with rowvar=False), or [N].
      y: further variables.
      rowvar: see x.
      bias: divide by the number of samples n in place of n - 1.
      ddof: divide by n - ddof.
      fweights: [N], how often each sample counts. aweights: [N], how much each sample weighs.

    Returns:
      [V, V], or [] for a single variable.
    """
    x = _variables(x, rowvar)
    if y is not None:
        x = concatenate([x, _variables(y, rowvar)], axis=0)
    correction = ddof if ddof is not None else 0.0 if bias else 1.0
    count: Any = float(x.shape[1])
    w: Any = None
    for weights in (fweights, aweights):
        if weights is not None:
            weights = elementwise.cast(as_array(weights), x.dtype)
            if weights.shape != x.shape[1:]:
                raise errors.shape_argument(
                    "cov", "weights", list(weights.shape), f"there are {x.shape[1]} samples", "pass one for each"
                )
            w = weights if w is None else w * weights
    if w is None:
        centred = x - reduce.reduce_sum(x, axis=(1,), keepdims=True) / count
        divisor = count - correction
        weighted = centred
    else:
        total = reduce.reduce_sum(w, axis=(0,), keepdims=False)
        centred = x - reduce.reduce_sum(x * w, axis=(1,), keepdims=True) / total
        weighted = centred * w
        divisor = total
        if correction:
            a = 1.0 if aweights is None else elementwise.cast(as_array(aweights), x.dtype)
            divisor = total - correction * reduce.reduce_sum(w * a, axis=(0,), keepdims=False) / total
    return squeeze(linalg.matmul(weighted, shape_ops.permute(centred, axes=(1, 0))) / divisor)


def _variables(x: Any, rowvar: bool) -> Array:
    x = as_array(x)
    x = elementwise.cast(x, dtypes.to_float(x.dtype))
    if x.ndim > 2:
        raise errors.shape_argument(
            "cov", "x", list(x.shape), "variables and samples make two axes", "reshape x to [V, N]"
        )
    if x.ndim < 2:
        return reshape(x, (1, -1))
    return x if rowvar or x.shape[0] == 1 else shape_ops.permute(x, axes=(1, 0))


def corrcoef(x: Any, y: Any = None, /, *, rowvar: bool = True) -> Array:
    """Pearson's correlation coefficients, cov[i, j] / sqrt(cov[i, i] cov[j, j]); arguments as in :func:`cov`."""
    c = cov(x, y, rowvar=rowvar)
    if not c.ndim:
        return c / c
    places = creation.arange(c.shape[0], dtypes.default_int, c.device)
    deviation = elementwise.sqrt(c[places, places])
    c = c / deviation[:, None] / deviation[None, :]
    return elementwise.minimum(elementwise.maximum(c, -1.0), 1.0)
