"""Functions that change the shape or the order of elements."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import dtypes, errors, shortcut
from ..core.array import Array
from ..core.aval import broadcast_shapes as common_shape
from ..core.aval import size_of
from ..core.device import as_array
from ..core.ops import elementwise
from ..core.ops import shape as ops

__all__ = [
    "astype",
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "concat",
    "concatenate",
    "expand_dims",
    "flip",
    "matrix_transpose",
    "meshgrid",
    "moveaxis",
    "permute_dims",
    "ravel",
    "repeat",
    "reshape",
    "roll",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "tile",
    "transpose",
    "unstack",
]


def canonical_axis(axis: Any, ndim: int, where: str) -> int:
    """The axis counted from the front."""
    try:
        number = axis.__index__()
    except AttributeError:
        raise errors.axis_out_of_range(where, axis, ndim) from None
    if not -ndim <= number < ndim:
        raise errors.axis_out_of_range(where, axis, ndim)
    return number % ndim


def canonical_axes(axis: Any, ndim: int, where: str) -> tuple[int, ...]:
    """Axes counted from the front, in order; None means all."""
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, (tuple, list)):
        return (canonical_axis(axis, ndim, where),)
    axes = tuple(canonical_axis(a, ndim, where) for a in axis)
    if len(set(axes)) != len(axes):
        raise errors.repeated_axis(where, axis)
    return tuple(sorted(axes))


@shortcut.of_one
def astype(x: Any, /, dtype: Any, *, copy: bool = True, device: Any = None) -> Array:
    """Elements converted to another dtype; floats to integers truncate towards zero. x itself if it has the dtype.

    Raises:
      DTypeError: complex to real, which would have to choose a part.
    """
    x, target = as_array(x), dtypes.canonical(dtype)
    if x.dtype.kind == "c" and dtypes.kind(target) not in "cb":
        raise errors.complex_to_real(x.dtype, target)
    y = elementwise.cast(x, target)
    return y if device is None else y.to_device(device)


@shortcut.of_one
def reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Array:
    """The same elements in row-major order under another shape.

    Args:
      x: [...].
      shape: an int or a tuple of ints with the same product; one of them may be -1, which then follows.

    Raises:
      ShapeError: the number of elements differs.

    Example:
      >>> import knet.numpy as knp
      >>> knp.reshape(knp.arange(6), (2, -1)).shape
      (2, 3)
    """
    x = as_array(x)
    try:
        sizes = [shape.__index__()] if hasattr(shape, "__index__") else [n.__index__() for n in shape]
    except (TypeError, AttributeError):
        raise errors.shape_argument(
            "reshape", "shape", shape, "a shape is an int or a tuple of ints", "write shape=(2, 3)"
        ) from None
    if -1 in sizes:
        rest = size_of([n for n in sizes if n != -1])
        if sizes.count(-1) > 1 or rest == 0 or x.size % rest:
            raise errors.reshape(x.shape, sizes)
        sizes[sizes.index(-1)] = x.size // rest
    if min(sizes, default=0) < 0:
        raise errors.reshape(x.shape, sizes)
    target = tuple(sizes)
    return x if target == x.shape else ops.reshape(x, shape=target)


@shortcut.of_one
def ravel(x: Any, /) -> Array:
    """All elements along one axis, in row-major order."""
    return reshape(x, (-1,))


@shortcut.of_one
def permute_dims(x: Any, /, axes: Any) -> Array:
    """Axes in another order: axis i of the result is axis ``axes[i]`` of x."""
    x = as_array(x)
    if len(axes) != x.ndim:
        raise errors.permutation(tuple(axes), x.ndim)
    order = tuple(canonical_axis(a, x.ndim, "permute_dims") for a in axes)
    return x if order == tuple(range(x.ndim)) else ops.permute(x, axes=order)


@shortcut.of_one
def transpose(x: Any, /, axes: Any = None) -> Array:
    """Axes in another order; reversed if none is given."""
    x = as_array(x)
    return permute_dims(x, tuple(range(x.ndim))[::-1] if axes is None else axes)


@shortcut.of_one
def matrix_transpose(x: Any, /) -> Array:
    """Last two axes exchanged."""
    x = as_array(x)
    if x.ndim < 2:
        raise errors.axis_out_of_range("matrix_transpose", -2, x.ndim)
    return swapaxes(x, -1, -2)


@shortcut.of_one
def swapaxes(x: Any, /, axis1: int, axis2: int) -> Array:
    """Two axes exchanged."""
    x = as_array(x)
    order = list(range(x.ndim))
    i, j = (canonical_axis(a, x.ndim, "swapaxes") for a in (axis1, axis2))
    order[i], order[j] = j, i
    return permute_dims(x, order)


@shortcut.of_one
def moveaxis(x: Any, source: Any, destination: Any, /) -> Array:
    """Axes moved to other positions; the rest keep their order."""
    x = as_array(x)
    sources = [
        canonical_axis(a, x.ndim, "moveaxis") for a in (source if isinstance(source, (tuple, list)) else [source])
    ]
    targets = [
        canonical_axis(a, x.ndim, "moveaxis")
        for a in (destination if isinstance(destination, (tuple, list)) else [destination])
    ]
    if len(set(sources)) != len(sources) or len(set(targets)) != len(targets) or len(sources) != len(targets):
        raise errors.repeated_axis("moveaxis", (source, destination))
    order = [i for i in range(x.ndim) if i not in sources]
    for target, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(target, axis)
    return permute_dims(x, order)


@shortcut.of_one
def expand_dims(x: Any, /, axis: Any = 0) -> Array:
    """Axes of size 1 put in at ``axis`` of the result."""
    x = as_array(x)
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    return ops.expand(x, canonical_axes(axis, x.ndim + count, "expand_dims"))


@shortcut.of_one
def squeeze(x: Any, /, axis: Any = None) -> Array:
    """Without the axes of size 1: those named, or all."""
    x = as_array(x)
    if axis is None:
        axes: tuple[int, ...] = tuple(i for i, n in enumerate(x.shape) if n == 1)
    else:
        axes = canonical_axes(axis, x.ndim, "squeeze")
    for i in axes:
        if x.shape[i] != 1:
            raise errors.squeeze(x.shape, i)
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


@shortcut.of_one
def broadcast_to(x: Any, /, shape: Any) -> Array:
    """Repetition along new leading axes and axes of size 1, by NumPy's rules."""
    x = as_array(x)
    target = (shape,) if isinstance(shape, int) else tuple(shape)
    return x if x.shape == target else ops.broadcast_to(x, shape=target)


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape to which arrays of these shapes broadcast; of none, ().

    Raises:
      ShapeError: there is none.
    """
    found = common_shape((), *((s,) if isinstance(s, int) else tuple(s) for s in shapes))
    if found is None:
        raise errors.broadcast("broadcast_shapes", [f"shapes[{i}]" for i in range(len(shapes))], shapes)
    return found


def broadcast_arrays(*arrays: Any) -> list[Array]:
    """The arrays broadcast against one another."""
    xs = [as_array(x) for x in arrays]
    if not xs:
        return []
    shape = common_shape(*(x.shape for x in xs))
    if shape is None:
        raise errors.broadcast("broadcast_arrays", [f"arrays[{i}]" for i in range(len(xs))], xs)
    return [broadcast_to(x, shape) for x in xs]


@shortcut.of_several
def concatenate(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Array:
    """Arrays joined along an existing axis (None: all elements along one), in their common dtype.

    Raises:
      ShapeError: sizes differ on another axis.
    """
    xs = [as_array(x) for x in arrays]
    if not xs:
        raise errors.no_arrays("concatenate")
    if axis is None:
        xs, axis = [ravel(x) for x in xs], 0
    axis = canonical_axis(axis, xs[0].ndim, "concatenate")
    return ops.concatenate(*elementwise.meet(*xs), axis=axis)


def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Array:
    """:func:`concatenate` under its name in the array API."""
    return concatenate(arrays, axis=axis)


@shortcut.of_several
def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Array:
    """Arrays of one shape joined along a new axis."""
    xs = elementwise.operands(*arrays) if arrays else []
    if not xs:
        raise errors.no_arrays("stack")
    axis = canonical_axis(axis, xs[0].ndim + 1, "stack")
    return concatenate([ops.expand(x, (axis,)) for x in xs], axis=axis)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices of x along an axis."""
    x = as_array(x)
    return ops.unstack(x, axis=canonical_axis(axis, x.ndim, "unstack"))


def split(x: Any, indices_or_sections: Any, /, axis: int = 0) -> list[Array]:
    """Pieces of x along an axis: that many equal ones, or cut before the indices given."""
    x = as_array(x)
    axis = canonical_axis(axis, x.ndim, "split")
    size = x.shape[axis]
    if isinstance(indices_or_sections, int):
        if indices_or_sections < 1 or size % indices_or_sections:
            raise errors.shape_argument(
                "split", "indices_or_sections", indices_or_sections, f"it must divide the axis of size {size}",
                "give the cutting points as a list",
            )  # fmt: skip
        cuts = list(range(0, size + 1, size // indices_or_sections)) if size else [0] * (indices_or_sections + 1)
    else:
        cuts = [0, *indices_or_sections, size]
    return [x[(slice(None),) * axis + (slice(a, b),)] for a, b in itertools.pairwise(cuts)]


@shortcut.of_one
def flip(x: Any, /, *, axis: Any = None) -> Array:
    """Order reversed along axes; all of them by default."""
    x = as_array(x)
    return ops.flip(x, axis=canonical_axes(axis, x.ndim, "flip"))


def roll(x: Any, /, shift: Any, *, axis: Any = None) -> Array:
    """Elements moved along axes, those that leave at the end coming in at the start."""
    x = as_array(x)
    if axis is None:
        return reshape(roll(ravel(x), shift, axis=0), x.shape)
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    shifts = shift if isinstance(shift, (tuple, list)) else (shift,) * len(axes)
    for a, s in zip(axes, shifts, strict=True):
        i = canonical_axis(a, x.ndim, "roll")
        cut = -s % x.shape[i] if x.shape[i] else 0
        if cut:
            before = (slice(None),) * i
            x = concatenate([x[(*before, slice(cut, None))], x[(*before, slice(None, cut))]], axis=i)
    return x


def tile(x: Any, repetitions: Any, /) -> Array:
    """x repeated as a whole, ``repetitions[i]`` times along axis i."""
    x = as_array(x)
    reps = (repetitions,) if isinstance(repetitions, int) else tuple(repetitions)
    ndim = max(x.ndim, len(reps))
    reps = (1,) * (ndim - len(reps)) + reps
    sizes = (1,) * (ndim - x.ndim) + x.shape
    pairs = reshape(x, tuple(n for size in sizes for n in (1, size)))
    return reshape(
        broadcast_to(pairs, tuple(n for pair in zip(reps, sizes, strict=True) for n in pair)),
        tuple(r * n for r, n in zip(reps, sizes, strict=True)),
    )


def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Array:
    """Each element repeated along an axis (of all elements by default).

    Args:
      x: [..., N, ...].
      repeats: how often: a number, or [N] integers, which must be known when this is called.

    Returns:
      [..., sum of the repeats, ...].
    """
    x = as_array(x)
    if axis is None:
        x, axis = ravel(x), 0
    axis = canonical_axis(axis, x.ndim, "repeat")
    size = x.shape[axis]
    if hasattr(repeats, "__index__") and not getattr(repeats, "shape", ()):
        count = repeats.__index__()
        if count < 0:
            raise errors.argument("repeat", "repeats", count, "a count must not be negative", "give repeats >= 0")
        wide = broadcast_to(ops.expand(x, (axis + 1,)), (*x.shape[: axis + 1], count, *x.shape[axis + 1 :]))
        return reshape(wide, (*x.shape[:axis], size * count, *x.shape[axis + 1 :]))
    counts = on_host(repeats, "repeat")
    if counts.shape not in ((size,), (1,)) or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise errors.shape_argument(
            "repeat", "repeats", counts.tolist(), f"it is a count, or one for each of the axis's {size} elements",
            "give as many integers >= 0",
        )  # fmt: skip
    ids = np.repeat(np.arange(size), np.broadcast_to(counts, (size,)))
    return x[(slice(None),) * axis + (ids,)]


def on_host(x: Any, wanted: str) -> np.ndarray[Any, Any]:
    """Values of an array that decide a shape; under a trace that knows its values, too."""
    return x._host(wanted) if isinstance(x, Array) else np.asarray(x)


def meshgrid(*arrays: Any, indexing: str = "xy") -> list[Array]:
    """Coordinates of a grid: array i varies along axis i alone.

    Args:
      arrays: each [N_i] or a number.
      indexing: "ij", or "xy", for which the first two axes are exchanged.

    Returns:
      As many arrays, each [N_0, N_1, N_2, ...], or [N_1, N_0, N_2, ...] for "xy".
    """
    xs = [as_array(x) for x in arrays]
    if indexing not in ("xy", "ij"):
        raise errors.argument("meshgrid", "indexing", indexing, "it is 'xy' or 'ij'", "pass indexing='ij'")
    for i, x in enumerate(xs):
        if x.ndim > 1:
            raise errors.shape_argument(
                "meshgrid", f"arrays[{i}]", list(x.shape), "each is a vector", "pass x.reshape(-1)"
            )
    places = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        places[:2] = 1, 0
    lines = [
        reshape(x, tuple(x.size if axis == place else 1 for axis in range(len(xs)))) for x, place in zip(xs, places)
    ]
    return broadcast_arrays(*lines) if lines else []
