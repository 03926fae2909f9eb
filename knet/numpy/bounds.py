"""What becomes of indices outside their axis: the ``mode`` of take, take_along_axis and ``x.at[...]``.

Every mode leads the indices to places inside. Where that is not the whole answer it also says which ones were inside:
what the others name is filled in, or dropped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dtypes, errors
from ..core.array import Array
from ..core.ops import creation, elementwise

__all__: list[str] = []

TAKE = ("raise", "clip", "wrap", "fill")
AT = (*TAKE, "drop", "promise_in_bounds")


def check_mode(name: str, mode: Any, known: tuple[str, ...]) -> None:
    """Raise ArgumentError for a mode that there is not."""
    if mode not in known:
        raise errors.argument(name, "mode", mode, f"it is one of {', '.join(map(repr, known))}", "pass mode='clip'")


def lead_inside(
    name: str, ids: Array, size: int, axis: int, mode: str, *, from_end: bool
) -> tuple[Array, Array | None]:
    """Indices in [0, size) for any integers; and whether each was in bounds, if that matters for the mode.

    ``from_end``: whether "clip", too, takes -1 for the last element before it clips.
    """
    if ids.dtype.kind not in "iu":
        raise errors.bad_index(ids)
    if not size and ids.size and mode in ("clip", "wrap"):
        raise errors.empty_axis(name, mode, axis)
    ids = elementwise.cast(ids, dtypes.default_int)
    if mode == "wrap":
        return (elementwise.remainder(ids, size) if size else ids), None
    if from_end or mode != "clip":
        ids = elementwise.where(elementwise.less(ids, 0), ids + size, ids)
    led = elementwise.minimum(elementwise.maximum(ids, 0), max(size - 1, 0))
    return led, None if mode == "clip" else elementwise.equal(ids, led) & bool(size)


def filler(x: Array, fill_value: Any) -> Array:
    """What stands for an element that is not there: NaN, True, the lowest signed or the highest unsigned integer."""
    if fill_value is not None:
        return elementwise.as_dtype(fill_value, x.dtype, x.device)
    if dtypes.is_differentiable(x.dtype):
        fill_value = float("nan")
    elif x.dtype.kind == "b":
        fill_value = True
    else:
        limits = np.iinfo(x.dtype)
        fill_value = limits.min if x.dtype.kind == "i" else limits.max
    return creation.full((), fill_value, x.dtype, x.device)
