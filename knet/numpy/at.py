"""``x.at[index]`` beyond the plain case: indices that may be out of bounds, and updates by extrema.

Its methods call these functions. An index out of bounds is led inside; what is to be dropped goes to a border that is
put behind the axis and cut off again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..core import dtypes, errors
from ..core.array import Array
from ..core.aval import broadcast_shapes
from ..core.device import as_array
from ..core.ops import creation, elementwise, segment
from . import bounds, indexing
from .indexing import getitem, index_add, index_set
from .manipulation import broadcast_to, concatenate, ravel, reshape

__all__ = ["index_get", "index_update"]


def _led(name: str, x: Array, index: Any, mode: str) -> tuple[list[Any], list[tuple[int, int, Array]], Any]:
    """The index with arrays led inside; (its part, the axis, the array) of each; and where all were in bounds."""
    whole = index if isinstance(index, tuple) else (index,)
    # An integer as an array without axes: it may be out of bounds, too.
    whole = tuple(as_array(p) if isinstance(p, int) and not isinstance(p, bool) else p for p in whole)
    parts = indexing._expand(whole, x)
    axis, found, within = 0, [], None
    for number, part in enumerate(parts):
        if isinstance(part, Array):
            ids, inside = bounds.lead_inside(name, part, x.shape[axis], axis, mode, from_end=True)
            parts[number] = ids
            found.append((number, axis, ids))
            if inside is not None:
                within = inside if within is None else within & inside
        if isinstance(part, indexing.Choice):
            parts[number] = bool(part.ids.size)  # the mask that it came from
        else:
            axis += part is not None
    return parts, found, within


def index_get(x: Any, index: Any, /, *, mode: str = "raise", fill_value: Any = None) -> Array:
    """``x[index]``, with a choice of what becomes of indices out of bounds; what ``x.at[index].get()`` calls.

    Args:
      x: [...].
      index: of any kind that ``x[...]`` takes; slices and masks are always inside, -1 is the last element.
      mode: "raise" or "promise_in_bounds": an error. "clip": the first or last element. "wrap": the remainder modulo
        the axis' size. "fill" or "drop": ``fill_value``.
      fill_value: by default NaN, the lowest integer (the highest of an unsigned type), or True.

    Raises:
      IndexOutOfBounds: by mode; with "clip" and "wrap" for an axis of size 0. ArgumentError: another mode.
    """
    x = as_array(x)
    bounds.check_mode("x.at[...].get", mode, bounds.AT)
    if mode in ("raise", "promise_in_bounds"):
        return getitem(x, index)
    parts, found, within = _led("x.at[...].get", x, index, mode)
    if within is None:
        return getitem(x, tuple(parts))
    fill = bounds.filler(x, fill_value)
    padded = x
    for _, axis, _ in found:  # so that an axis of size 0 has an element to be led to
        if not x.shape[axis]:
            padded = _bordered(padded, axis)
    y = getitem(padded, tuple(parts))
    rows = indexing._parse(padded, tuple(parts))[1]
    behind = y.ndim - rows.position - within.ndim if rows is not None else 0
    return elementwise.where(reshape(within, within.shape + (1,) * behind), y, fill)


def _bordered(x: Array, axis: int) -> Array:
    border = creation.zeros((*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype, x.device)
    return concatenate([x, border], axis=axis)


def index_update(x: Any, index: Any, value: Any, /, *, how: str = "set", mode: str = "raise") -> Array:
    """Copy of x changed at an index; what ``x.at[index].set(value)`` and its like call.

    Args:
      x: [...].
      index: as in :func:`index_get`.
      value: broadcast to x[index], cast to x's dtype.
      how: "set", where of repeated indices the last counts; "add", "min" or "max", where all of them do.
      mode: as in :func:`index_get`; "fill" and "drop" leave out updates out of bounds.

    Raises:
      IndexOutOfBounds: by mode. ArgumentError: another mode or update. ShapeError: a value that does not broadcast.

    Derivative: by x and value; of "min" and "max" ties share it.
    """
    x = as_array(x)
    name = f"x.at[...].{how}"
    update = _HOW.get(how)
    if update is None:
        known = ", ".join(map(repr, _HOW))
        raise errors.argument("index_update", "how", how, f"it is one of {known}", "pass how='set'")
    bounds.check_mode(name, mode, bounds.AT)
    if mode in ("raise", "promise_in_bounds"):
        return update(x, index, value)
    parts, found, within = _led(name, x, index, mode)
    if within is None:
        return update(x, tuple(parts), value)
    padded = x
    for place, (number, axis, ids) in enumerate(found):
        if not place or not x.shape[axis]:
            padded = _bordered(padded, axis)
        if not place:
            parts[number] = elementwise.where(within, ids, x.shape[axis])
    y = update(padded, tuple(parts), value)
    return y[tuple(slice(n) for n in x.shape)]


def _extremum(x: Array, index: Any, value: Any, largest: bool) -> Array:
    """Each element of x against all values for it: the extremum of those, segment by segment, and then of both."""
    places = getitem(reshape(creation.arange(x.size, dtypes.default_int, x.device), x.shape), index)
    value = elementwise.as_dtype(value, x.dtype)
    if broadcast_shapes(value.shape, places.shape) != places.shape:
        raise errors.update_shape(value.shape, places.shape)
    value = broadcast_to(value, places.shape)
    chosen = segment.segment_extremum(ravel(value), ravel(places), count=x.size, largest=largest)
    return (elementwise.maximum if largest else elementwise.minimum)(x, reshape(chosen, x.shape))


_HOW: dict[str, Callable[..., Array]] = {
    "set": index_set,
    "add": index_add,
    "max": functools.partial(_extremum, largest=True),
    "min": functools.partial(_extremum, largest=False),
}
