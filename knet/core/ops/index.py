"""Gather and scatter of rows: the normal form to which array indexing comes down in knet.numpy.

``ids`` holds row numbers on axis 0 of x, in [-R, R) for R rows; negative ones count from the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import batching, dtypes, errors
from ..aval import ShapedArray
from ..primitive import LINEAR, primitive
from . import creation, elementwise
from . import shape as shape_ops


def check_bounds(ids: Any, size: int, axis: int = 0) -> None:
    """Raise IndexOutOfBounds naming the first index outside [-size, size)."""
    ids = np.asarray(ids)
    bad = (ids < -size) | (ids >= size)
    if bad.any():
        raise errors.index_out_of_bounds(int(ids[bad][0]), size, axis)


@primitive(
    aval=lambda ids, *, size, axis: ShapedArray(ids.shape, dtypes.default_int),
    vjp="an index has no derivative",
    batch=batching.pointwise,
)
def wrap_index(ids: Any, *, size: int, axis: int) -> Any:
    """Indices in [0, size) for indices in [-size, size).

    ids: [...] integer. Returns int64 [...]. ``axis`` serves the message.
    """
    check_bounds(ids, size, axis)
    ids = np.asarray(ids, np.int64)
    return np.where(ids < 0, ids + size, ids)


def _flat_rows(x: Any, ids: Any, batched: bool, size: int) -> tuple[Any, Any]:
    """The batch's tables as one table of size * R rows, and the row numbers in that."""
    rows = x.shape[1]
    own = wrap_index(batching.spread(ids, batched, size), size=rows, axis=0)
    first = creation.arange(size, dtypes.default_int, creation.device_of(x)) * rows
    return batching.join(x, 0), own + shape_ops.reshape(first, shape=(size,) + (1,) * (own.ndim - 1))


def _take_batch(primitive: Any, args: Any, batched: Any, size: int) -> Any:
    x, ids = args
    if not batched[0]:
        return take(x, ids)
    return take(*_flat_rows(x, ids, batched[1], size))


def _put_batch(primitive: Any, args: Any, batched: Any, size: int) -> Any:
    x, ids, u = args
    table, rows = _flat_rows(batching.spread(x, batched[0], size), ids, batched[1], size)
    return batching.part(primitive(table, rows, batching.spread(u, batched[2], size)), 0, size)


def _take_aval(x: Any, ids: Any) -> ShapedArray:
    return ShapedArray((*ids.shape, *x.shape[1:]), x.dtype)


@primitive(
    aval=_take_aval,
    vjp=(
        "core.sparse gives this rule",
        "an index has no derivative",
    ),
    jvp=LINEAR(0),
    batch=_take_batch,
)
def take(x: Any, ids: Any) -> Any:
    """Rows of x: y[i, ...] = x[ids[i], ...].

    x: [R, ...], ids: [*I] integer in [-R, R). Returns [*I, ...].
    """
    try:
        return x.take(ids, 0)
    except IndexError:
        check_bounds(ids, x.shape[0])
        raise


def _put_aval(x: Any, ids: Any, u: Any) -> ShapedArray:
    if u.shape != (*ids.shape, *x.shape[1:]):
        raise errors.update_shape(u.shape, (*ids.shape, *x.shape[1:]))
    return ShapedArray(x.shape, x.dtype)


@primitive(
    aval=_put_aval,
    vjp=(
        lambda g, _y, _x, _ids, _u: g,
        "an index has no derivative",
        lambda g, _y, _x, ids, _u: take(g, ids),
    ),
    jvp=LINEAR(0, 2),
    batch=_put_batch,
)
def put_add(x: Any, ids: Any, u: Any) -> Any:
    """Copy of x with rows of u added: y[ids[i], ...] += u[i, ...]; repeated rows add up.

    x: [R, ...], ids: [*I] integer in [-R, R), u: [*I, ...] of x's dtype. Returns x.shape.
    """
    check_bounds(ids, x.shape[0])
    y = np.array(x)
    np.add.at(y, ids, u)
    return y


def _last_writer(ids: Any, rows: int) -> Any:
    """Whether each entry of ids is the last one that names its row."""
    order = shape_ops.reshape(creation.arange(ids.size, dtypes.default_int, creation.device_of(ids)), shape=ids.shape)
    nobody = creation.full((rows,), -1, dtypes.default_int, creation.device_of(ids))
    return elementwise.equal(take(put(nobody, ids, order), ids), order)


def _put_vjp_update(g: Any, _y: Any, x_aval: Any, ids: Any, u_aval: Any) -> Any:
    # An update that a later one overwrote has no influence.
    last = _last_writer(ids, x_aval.shape[0])
    last = shape_ops.reshape(last, shape=ids.shape + (1,) * (len(u_aval.shape) - ids.ndim))
    return elementwise.where(last, take(g, ids), 0.0)


@primitive(
    aval=_put_aval,
    vjp=(
        lambda g, _y, _x, ids, u_aval: put(g, ids, creation.zeros(u_aval.shape, g.dtype, g.device)),
        "an index has no derivative",
        _put_vjp_update,
    ),
    jvp=LINEAR(0, 2),
    batch=_put_batch,
)
def put(x: Any, ids: Any, u: Any) -> Any:
    """Copy of x with rows replaced: y[ids[i], ...] = u[i, ...]; of repeated rows the last one counts.

    x: [R, ...], ids: [*I] integer in [-R, R), u: [*I, ...] of x's dtype. Returns x.shape.
    """
    check_bounds(ids, x.shape[0])
    y = np.array(x)
    y[np.asarray(ids)] = u
    return y
