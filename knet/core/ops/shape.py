"""Primitives that move elements without computing: reshape, permute, broadcast, slice, concatenate and their adjoints.

All are linear. Parameters are canonical: axes are non-negative and in range, shapes are tuples of ints without -1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import batching, errors
from ..aval import Shape, ShapedArray, broadcast_shapes, size_of
from ..primitive import LINEAR, primitive
from . import creation, reduce  # cyclic: rules use one another's primitives when called


def _reshape_aval(x: Any, *, shape: Shape) -> ShapedArray:
    if size_of(shape) != size_of(x.shape):
        raise errors.reshape(x.shape, shape)
    return ShapedArray(shape, x.dtype)


@primitive(
    aval=_reshape_aval,
    vjp=(lambda g, _y, x_aval, *, shape: reshape(g, shape=x_aval.shape),),
    jvp=LINEAR(),
    batch=batching.shifted(lambda size, *, shape: {"shape": (size, *shape)}),
)
def reshape(x: Any, *, shape: Shape) -> Any:
    """The same elements in row-major order under another shape.

    x: [...]. Returns ``shape``, which has as many elements.
    """
    return x.reshape(shape)


def _permute_aval(x: Any, *, axes: tuple[int, ...]) -> ShapedArray:
    if sorted(axes) != list(range(len(x.shape))):
        raise errors.permutation(axes, len(x.shape))
    return ShapedArray(tuple(x.shape[i] for i in axes), x.dtype)


def inverse_permutation(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes ``axes``."""
    inverse = [0] * len(axes)
    for i, axis in enumerate(axes):
        inverse[axis] = i
    return tuple(inverse)


@primitive(
    aval=_permute_aval,
    vjp=(lambda g, _y, _x, *, axes: permute(g, axes=inverse_permutation(axes)),),
    jvp=LINEAR(),
    batch=batching.shifted(lambda _size, *, axes: {"axes": (0, *(i + 1 for i in axes))}),
)
def permute(x: Any, *, axes: tuple[int, ...]) -> Any:
    """Axes in another order: axis i of the result is axis ``axes[i]`` of x.

    x: [...]. Returns x.shape permuted.
    """
    return x.transpose(axes)


def _broadcast_aval(x: Any, *, shape: Shape) -> ShapedArray:
    if broadcast_shapes(x.shape, shape) != shape:
        raise errors.broadcast_to(x.shape, shape)
    return ShapedArray(shape, x.dtype)


def _broadcast_batch(primitive: Any, args: Any, batched: Any, size: int, *, shape: Shape) -> Any:
    return primitive(batching.align(args[0], batched[0], len(shape)), shape=(size, *shape))


@primitive(
    aval=_broadcast_aval,
    vjp=(lambda g, _y, x_aval, *, shape: reduce.sum_to(g, x_aval.shape),),
    jvp=LINEAR(),
    batch=_broadcast_batch,
)
def broadcast_to(x: Any, *, shape: Shape) -> Any:
    """Repetition along new leading axes and axes of size 1, by NumPy's rules.

    x: [...]. Returns ``shape``.
    """
    return np.broadcast_to(x, shape)


def expand(x: Any, axes: tuple[int, ...]) -> Any:
    """x with axes of size 1 put in so that they stand at ``axes`` of the result."""
    shape = list(x.shape)
    for axis in sorted(axes):
        shape.insert(axis, 1)
    return reshape(x, shape=tuple(shape))


# --- slices: (starts, sizes, steps), one of each for every axis; steps may be negative --------------------------------


def _index(starts: tuple[int, ...], sizes: tuple[int, ...], steps: tuple[int, ...]) -> tuple[slice, ...]:
    index = []
    for start, size, step in zip(starts, sizes, steps, strict=True):
        stop = start + size * step
        index.append(slice(start, stop if stop >= 0 else None, step) if size else slice(0, 0))
    return tuple(index)


def _next_slice(size: int, **params: Any) -> dict[str, Any]:
    """Parameters of a slice with the whole batch axis in front."""
    whole = {"starts": 0, "sizes": size, "shape": size, "steps": 1}
    return {name: (whole[name], *value) for name, value in params.items()}


def _slice_aval(x: Any, *, starts: Any, sizes: Any, steps: Any) -> ShapedArray:
    return ShapedArray(sizes, x.dtype)


@primitive(
    "slice",
    aval=_slice_aval,
    vjp=(lambda g, _y, x_aval, *, starts, sizes, steps: unslice(g, shape=x_aval.shape, starts=starts, steps=steps),),
    jvp=LINEAR(),
    batch=batching.shifted(_next_slice),
)
def slice_axes(x: Any, *, starts: tuple[int, ...], sizes: tuple[int, ...], steps: tuple[int, ...]) -> Any:
    """Elements ``starts[i] + steps[i] * k`` for k in 0..sizes[i]-1 of each axis i.

    x: [...]. Returns ``sizes``.
    """
    return x[_index(starts, sizes, steps)]


def _unslice_aval(x: Any, *, shape: Shape, starts: Any, steps: Any) -> ShapedArray:
    return ShapedArray(shape, x.dtype)


@primitive(
    aval=_unslice_aval,
    vjp=(lambda g, _y, x_aval, *, shape, starts, steps: slice_axes(g, starts=starts, sizes=x_aval.shape, steps=steps),),
    jvp=LINEAR(),
    batch=batching.shifted(_next_slice),
)
def unslice(x: Any, *, shape: Shape, starts: tuple[int, ...], steps: tuple[int, ...]) -> Any:
    """Zeros of ``shape`` with x at the places that ``slice`` would read: the adjoint of slice.

    x: [...]. Returns ``shape``.
    """
    y = np.zeros(shape, x.dtype)
    y[_index(starts, x.shape, steps)] = x
    return y


def _update_slice_aval(x: Any, u: Any, *, starts: Any, steps: Any) -> ShapedArray:
    return ShapedArray(x.shape, x.dtype)


@primitive(
    aval=_update_slice_aval,
    vjp=(
        lambda g, _y, _x, u_aval, *, starts, steps: update_slice(
            g, creation.zeros(u_aval.shape, g.dtype, g.device), starts=starts, steps=steps
        ),
        lambda g, _y, _x, u_aval, *, starts, steps: slice_axes(g, starts=starts, sizes=u_aval.shape, steps=steps),
    ),
    jvp=LINEAR(),
    batch=batching.shifted(_next_slice),
)
def update_slice(x: Any, u: Any, *, starts: tuple[int, ...], steps: tuple[int, ...]) -> Any:
    """Copy of x with u at the places that ``slice`` would read.

    x: [...], u: the slice's sizes, of x's dtype. Returns x.shape.
    """
    y = np.array(x)
    y[_index(starts, u.shape, steps)] = u
    return y


@primitive(
    aval=lambda x, *, axis: ShapedArray(x.shape, x.dtype),
    vjp=(lambda g, _y, _x, *, axis: flip(g, axis=axis),),
    jvp=LINEAR(),
    batch=batching.shifted(batching.next_axes),
)
def flip(x: Any, *, axis: tuple[int, ...]) -> Any:
    """Order reversed along axes.

    x: [...]. Returns x.shape.
    """
    return np.flip(x, axis)


def _concatenate_aval(*xs: Any, axis: int) -> ShapedArray:
    first = xs[0].shape
    for x in xs[1:]:
        if len(x.shape) != len(first) or any(i != axis and a != b for i, (a, b) in enumerate(zip(x.shape, first))):
            raise errors.concatenate([x.shape for x in xs], axis)
    total = sum(x.shape[axis] for x in xs)
    return ShapedArray((*first[:axis], total, *first[axis + 1 :]), xs[0].dtype)


def _concatenate_vjp(g: Any, _y: Any, *xs_aval: Any, argnum: int, axis: int) -> Any:
    start = sum(x.shape[axis] for x in xs_aval[:argnum])
    sizes = xs_aval[argnum].shape
    starts = tuple(start if i == axis else 0 for i in range(len(sizes)))
    return slice_axes(g, starts=starts, sizes=sizes, steps=(1,) * len(sizes))


@primitive(
    aval=_concatenate_aval,
    vjp=_concatenate_vjp,
    jvp=LINEAR(),
    batch=batching.shifted(batching.next_axis),
)
def concatenate(*xs: Any, axis: int) -> Any:
    """Arrays joined along an existing axis.

    xs: [..., T_i, ...], shapes equal but for ``axis``, one dtype. Returns [..., sum of T_i, ...].
    """
    return np.concatenate(xs, axis)


def _unstack_aval(x: Any, *, axis: int) -> tuple[ShapedArray, ...]:
    return (ShapedArray((*x.shape[:axis], *x.shape[axis + 1 :]), x.dtype),) * x.shape[axis]


def _unstack_vjp(gs: Any, _ys: Any, x_aval: Any, *, axis: int) -> Any:
    like = (*x_aval.shape[:axis], *x_aval.shape[axis + 1 :])
    device = next(g.device for g in gs if g is not None)
    rows = [creation.zeros(like, x_aval.dtype, device) if g is None else g for g in gs]
    return concatenate(*[expand(g, (axis,)) for g in rows], axis=axis)


@primitive(
    aval=_unstack_aval,
    vjp=(_unstack_vjp,),
    jvp=LINEAR(),
    batch=batching.shifted(batching.next_axis),
    multiple=True,
)
def unstack(x: Any, *, axis: int) -> Any:
    """Slices of x along an axis.

    x: [..., T, ...]. Returns a tuple of T arrays without that axis. Its derivative puts the slices' cotangents together
    at once, where T separate slices would each add one of x's size.
    """
    return tuple(np.moveaxis(x, axis, 0))
