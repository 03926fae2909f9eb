"""Indexing: ``x[...]``, ``x.at[...]``, take, take_along_axis, nonzero.

An index comes apart in two steps. Integers, slices, None and ... make one strided slice and a reshape. Index arrays
then come down to a gather of rows: the indexed axes move to the front and become one axis of rows, the arrays one array
of row numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core import errors, shortcut
from ..core.array import Array
from ..core.aval import broadcast_shapes, size_of
from ..core.device import as_array, from_numpy
from ..core.ops import creation, elementwise
from ..core.ops import index as ops
from ..core.ops import shape as shape_ops
from . import bounds
from .manipulation import broadcast_to, canonical_axis, moveaxis, permute_dims, ravel, reshape

__all__ = ["getitem", "index_add", "index_set", "nonzero", "take", "take_along_axis"]


class Basic(NamedTuple):
    """Strided slice of all axes, and the shape in which the result is seen (integers gone, None put in)."""

    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]
    shape: tuple[int, ...]


class Rows(NamedTuple):
    """Index arrays in normal form: axis order that brings the indexed axes to the front, their sizes, row numbers,
    where the axes of the index arrays stand in the result, and which axis of x the first of them indexes."""

    order: tuple[int, ...]
    sizes: tuple[int, ...]
    ids: Any
    position: int
    axis: int


def _parse(x: Array, index: Any) -> tuple[Basic, Rows | None]:
    parts = _expand(index if isinstance(index, tuple) else (index,), x)
    starts, sizes, steps, shape = [], [], [], []
    arrays: list[tuple[int, int, Any]] = []  # (axis of the sliced view, axis of x, index array)
    separated, last_array = False, -1
    axis = 0
    for number, part in enumerate(parts):
        if part is None:
            shape.append(1)
            continue
        if isinstance(part, Choice):
            separated |= bool(arrays) and number != last_array + 1
            last_array = number
            arrays.append((len(shape), axis, part.ids))
            shape.append(1)
            continue
        size = x.shape[axis]
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            count = len(range(start, stop, step))
            starts.append(start if count else 0)
            sizes.append(count)
            steps.append(step)
            shape.append(count)
        elif isinstance(part, int):
            if not -size <= part < size:
                raise errors.index_out_of_bounds(part, size, axis)
            starts.append(part % size)
            sizes.append(1)
            steps.append(1)
        else:
            separated |= bool(arrays) and number != last_array + 1
            last_array = number
            arrays.append((len(shape), axis, part))
            starts.append(0)
            sizes.append(size)
            steps.append(1)
            shape.append(size)
        axis += 1
    basic = Basic(tuple(starts), tuple(sizes), tuple(steps), tuple(shape))
    return basic, _rows(arrays, basic.shape, separated) if arrays else None


class Choice(NamedTuple):
    """What a mask without axes comes to: a new axis of size 1, from which ``ids``, [0] or [], choose."""

    ids: Any


def _expand(parts: tuple[Any, ...], x: Array) -> list[Any]:
    """One part for each axis (and those that make new ones): ... spelled out, masks turned into index arrays."""
    if not any(isinstance(p, _NEED_CARE) for p in parts):
        return _simple(parts, x)
    any_array = any(isinstance(p, (Array, np.ndarray, list, bool, np.bool_)) for p in parts)
    normal = [_normal(part, any_array) for part in parts]
    masks = [p.ndim if isinstance(p, Array) and p.dtype.kind == "b" else None for p in normal]
    counts = [m if m is not None else p is not None and p is not Ellipsis for p, m in zip(normal, masks)]
    free = x.ndim - sum(counts)
    if free < 0:
        raise errors.too_many_indices(x.shape, sum(counts))
    dots = [i for i, p in enumerate(normal) if p is Ellipsis]
    if len(dots) > 1:
        raise errors.bad_index(Ellipsis)
    if not dots:
        normal, masks, counts = [*normal, Ellipsis], [*masks, None], [*counts, False]
    expanded: list[Any] = []
    axis = 0
    for part, mask, count in zip(normal, masks, counts):
        if part is Ellipsis:
            expanded += [slice(None)] * free
            axis += free
        elif mask == 0:
            expanded.append(Choice(from_numpy(np.zeros(int(bool(part)), np.int64), x.device)))
        elif mask is not None:
            expanded += _mask(part, x, axis)
        else:
            expanded.append(part)
        axis += count
    return expanded


_NEED_CARE = (Array, np.ndarray, np.generic, list, bool)


def _simple(parts: tuple[Any, ...], x: Array) -> list[Any]:
    """The same for integers, slices, None and ... alone."""
    used, dots, expanded = 0, -1, []
    for i, part in enumerate(parts):
        if part is Ellipsis:
            if dots >= 0:
                raise errors.bad_index(Ellipsis)
            dots = i
        elif isinstance(part, slice):
            used += 1
            part = _integers(part)
        elif isinstance(part, int):
            used += 1
        elif part is not None:
            raise errors.bad_index(part)
        expanded.append(part)
    if used > x.ndim:
        raise errors.too_many_indices(x.shape, used)
    at = dots if dots >= 0 else len(parts)
    return expanded[:at] + [slice(None)] * (x.ndim - used) + expanded[at + 1 :]


def _normal(part: Any, any_array: bool) -> Any:
    """An index as None, ..., a slice of integers, an int, or an array of integers or booleans."""
    if part is None or part is Ellipsis:
        return part
    if isinstance(part, slice):
        return _integers(part)
    if isinstance(part, (int, np.integer)) and not isinstance(part, bool):
        # Beside index arrays an integer is one of them, as in NumPy.
        return as_array(int(part)) if any_array else int(part)
    try:
        array = as_array(np.asarray(part) if isinstance(part, list) else part)
    except (errors.DTypeError, ValueError):  # not numbers, or rows of different lengths
        raise errors.bad_index(part) from None
    if array.dtype.kind in "biu":
        return array
    if array.size == 0 and isinstance(part, list):
        return elementwise.cast(array, np.dtype("int64"))
    raise errors.bad_index(array)


def _integers(part: slice) -> slice:
    try:
        return slice(*(None if v is None else v.__index__() for v in (part.start, part.stop, part.step)))
    except AttributeError:
        raise errors.bad_index(part) from None


def _mask(mask: Array, x: Array, axis: int) -> list[Any]:
    if any(m not in (0, n) for m, n in zip(mask.shape, x.shape[axis : axis + mask.ndim])):
        raise errors.mask_shape(mask.shape, x.shape, axis)
    return list(nonzero(mask))


def _rows(arrays: list[tuple[int, int, Any]], shape: tuple[int, ...], separated: bool) -> Rows:
    axes = tuple(axis for axis, _, _ in arrays)
    common = broadcast_shapes(*(a.shape for _, _, a in arrays))
    if common is None:
        raise errors.broadcast("x[...]", [f"index {i}" for i in range(len(arrays))], [a for _, _, a in arrays])
    sizes = tuple(shape[a] for a in axes)
    if len(arrays) == 1:
        ids: Any = arrays[0][2]
    else:
        ids, stride = 0, size_of(sizes)
        for (_, axis, array), size in zip(arrays, sizes, strict=True):
            stride //= max(size, 1)
            ids = ids + ops.wrap_index(array, size=size, axis=axis) * stride
        ids = broadcast_to(ids, common)
    order = axes + tuple(i for i in range(len(shape)) if i not in axes)
    # NumPy puts the axes of the index arrays where they stood, or first if something stood between them.
    return Rows(order, sizes, ids, 0 if separated else axes[0], arrays[0][1])


def _basic(x: Array, basic: Basic) -> Array:
    starts, sizes, steps, shape = basic
    if sizes != x.shape or any(s != 1 for s in steps):
        x = shape_ops.slice_axes(x, starts=starts, sizes=sizes, steps=steps)
    return reshape(x, shape)


def _as_rows(x: Array, rows: Rows) -> Array:
    """[R, ...] view of a sliced array: indexed axes in front, made one."""
    moved = permute_dims(x, rows.order)
    return reshape(moved, (size_of(rows.sizes), *moved.shape[len(rows.sizes) :]))


def _naming_the_axis(rows: Rows) -> errors.IndexOutOfBounds:
    """The error of a gather of rows, in terms of the axis of x that the rows came from."""
    try:
        ops.wrap_index(rows.ids, size=size_of(rows.sizes), axis=rows.axis)
    except errors.IndexOutOfBounds as e:
        return e
    raise AssertionError("the rows were in bounds")


def getitem(x: Any, index: Any) -> Array:
    """``x[index]``, by NumPy's rules: integers, slices, None, ..., integer arrays and boolean masks, mixed.

    Raises:
      IndexOutOfBounds (an IndexError): an index outside its axis, or too many of them.
      DTypeError: an index that is none.
    """
    x = as_array(x)
    basic, rows = _parse(x, index)
    view = _basic(x, basic)
    if rows is None:
        return view
    try:
        y = ops.take(_as_rows(view, rows), rows.ids)
    except errors.IndexOutOfBounds:
        raise _naming_the_axis(rows) from None
    lead = rows.ids.ndim
    if rows.position:
        y = moveaxis(y, tuple(range(lead)), tuple(range(rows.position, rows.position + lead)))
    return y


def _update(x: Any, index: Any, value: Any, scatter: Any) -> Array:
    x = as_array(x)
    basic, rows = _parse(x, index)
    value = elementwise.as_dtype(value, x.dtype)
    if rows is None:
        target = basic.shape
        if value.shape != target:
            if broadcast_shapes(value.shape, target) != target:
                raise errors.update_shape(value.shape, target)
            value = broadcast_to(value, target)
        value = reshape(value, basic.sizes)
        if scatter is ops.put_add:
            value = _basic(x, Basic(*basic[:3], basic.sizes)) + value
        return shape_ops.update_slice(x, value, starts=basic.starts, steps=basic.steps)
    view = _basic(x, basic)
    table = _as_rows(view, rows)
    lead, rest = rows.ids.ndim, table.shape[1:]
    target = (*rest[: rows.position], *rows.ids.shape, *rest[rows.position :])
    if broadcast_shapes(value.shape, target) != target:
        raise errors.update_shape(value.shape, target)
    value = broadcast_to(value, target)
    value = moveaxis(value, tuple(range(rows.position, rows.position + lead)), tuple(range(lead)))
    try:
        table = scatter(table, rows.ids, value)
    except errors.IndexOutOfBounds:
        raise _naming_the_axis(rows) from None
    moved = reshape(table, (*rows.sizes, *rest))
    new = permute_dims(moved, shape_ops.inverse_permutation(rows.order))
    if basic.sizes == x.shape and all(s == 1 for s in basic.steps):
        return reshape(new, x.shape)
    return shape_ops.update_slice(x, reshape(new, basic.sizes), starts=basic.starts, steps=basic.steps)


def index_set(x: Any, index: Any, value: Any) -> Array:
    """Copy of x with ``x[index] = value``; what ``x.at[index].set(value)`` calls."""
    return _update(x, index, value, ops.put)


def index_add(x: Any, index: Any, value: Any) -> Array:
    """Copy of x with value added at index, repeated indices adding up; what ``x.at[index].add(value)`` calls."""
    return _update(x, index, value, ops.put_add)


@shortcut.of_two
def take(x: Any, indices: Any, /, *, axis: int | None = None, mode: str = "raise", fill_value: Any = None) -> Array:
    """Elements of x along an axis (of all elements in row-major order by default).

    Args:
      x: [...].
      indices: [*I] integers in [-n, n) for an axis of size n.
      mode: what becomes of other integers. "raise": an error. "clip": the nearest of 0 and n - 1, so that negative ones
        do not count from the end, as in NumPy. "wrap": the remainder modulo n. "fill": ``fill_value``, as in JAX.
      fill_value: by default NaN, the lowest integer (the highest of an unsigned type), or True.

    Returns:
      x.shape with ``axis`` replaced by [*I].

    Raises:
      IndexOutOfBounds: by mode; with "clip" and "wrap" if n = 0.
    """
    x = as_array(x)
    if axis is None:
        x, axis = ravel(x), 0
    axis = canonical_axis(axis, x.ndim, "take")
    ids = as_array(np.asarray(indices) if isinstance(indices, list) else indices)
    if mode == "raise":
        return x[(slice(None),) * axis + (ids,)]
    bounds.check_mode("take", mode, bounds.TAKE)
    ids, inside = bounds.lead_inside("take", ids, x.shape[axis], axis, mode, from_end=False)
    if inside is None:
        return x[(slice(None),) * axis + (ids,)]
    fill = bounds.filler(x, fill_value)
    if not x.shape[axis]:
        return broadcast_to(fill, (*x.shape[:axis], *ids.shape, *x.shape[axis + 1 :]))
    inside = reshape(inside, ids.shape + (1,) * (x.ndim - axis - 1))
    return elementwise.where(inside, x[(slice(None),) * axis + (ids,)], fill)


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1, mode: str = "raise", fill_value: Any = None) -> Array:
    """Elements x[..., indices[..., i, ...], ...]: one index for each place of the result along an axis.

    Args:
      x: [...]. indices: integers; all axes but ``axis`` broadcast against those of x.
      mode, fill_value: what becomes of indices out of bounds, see :func:`take`; but for "clip", too, -1 is the last
        element, as in JAX.
    """
    x, ids = as_array(x), as_array(indices)
    axis = canonical_axis(axis, x.ndim, "take_along_axis")
    if ids.ndim != x.ndim:
        raise errors.shape_argument(
            "take_along_axis", "indices", list(ids.shape), f"indices needs the {x.ndim} axes of x {list(x.shape)}",
            "insert axes with indices[..., None]",
        )  # fmt: skip
    inside = None
    if mode != "raise":
        bounds.check_mode("take_along_axis", mode, bounds.TAKE)
        ids, inside = bounds.lead_inside("take_along_axis", ids, x.shape[axis], axis, mode, from_end=True)
    if inside is not None and not x.shape[axis]:
        sizes = broadcast_shapes(ids.shape, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
        return broadcast_to(bounds.filler(x, fill_value), sizes)
    places = []
    for i, n in enumerate(x.shape):
        if i == axis:
            places.append(ids)
        else:
            line = creation.arange(n, np.dtype("int64"), x.device)
            places.append(reshape(line, (1,) * i + (n,) + (1,) * (x.ndim - i - 1)))
    y = x[tuple(places)]
    return y if inside is None else elementwise.where(inside, y, bounds.filler(x, fill_value))


def nonzero(x: Any, /) -> tuple[Array, ...]:
    """Indices of the elements that are not zero, one array for each axis; their number is known on the host only.

    Raises:
      TracerError: within a transformation whose shapes must be known beforehand.
    """
    x = as_array(x)
    return tuple(from_numpy(ids.astype(np.int64), x.device) for ids in np.nonzero(x._host("nonzero")))
