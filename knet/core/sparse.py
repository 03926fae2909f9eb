"""Gradients of rows: what a gather leaves of a table, kept as rows.

The gradient of ``table[ids]`` is zero but for the rows named. :class:`RowSparse` holds those; the operations that
optimizers are made of keep it sparse, and every other operation sees the dense array. It arises where the gradient is
taken last: under a further transformation the gather's derivative is dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import dtypes, errors
from .array import Array, DeviceArray
from .aval import size_of
from .device import from_numpy
from .ops import creation, elementwise, index, reduce
from .ops import shape as shape_ops
from .primitive import Primitive, registry


class RowSparse(Array):
    """Array [R, ...] that is zero but for some rows: row ``ids[i]`` is the sum of all ``values[i]`` that name it.

    Attributes:
      ids: int64 [I].
      values: [I, ...].
    """

    __slots__ = ("_shape", "ids", "values")

    def __init__(self, ids: Any, values: Any, shape: tuple[int, ...]) -> None:
        self.ids = ids
        self.values = values
        self._shape = shape

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def device(self) -> Any:
        return self.values.device

    def dense(self) -> Array:
        """The array with all its rows."""
        return index.put_add(creation.zeros(self._shape, self.dtype, self.device), self.ids, self.values)

    def coalesced(self) -> RowSparse:
        """The same with each row named once, in ascending order."""
        host = self.ids._host("coalesced") % self._shape[0]
        ids, place = np.unique(host, return_inverse=True)
        rows: Any = creation.zeros((len(ids), *self._shape[1:]), self.dtype, self.device)
        rows = index.put_add(rows, from_numpy(place.reshape(-1), self.device), self.values)
        return RowSparse(from_numpy(ids, self.device), rows, self._shape)

    def evaluate(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """Result of a primitive one of whose operands is row-sparse."""
        rule = _RULES.get(primitive)
        result = None if rule is None else rule(*args, **params)
        if result is None:
            result = primitive(*[x.dense() if isinstance(x, RowSparse) else x for x in args], **params)
        return result

    def like(self, values: Any) -> RowSparse:
        """The same rows with other values."""
        return RowSparse(self.ids, values, self._shape)

    def _host(self, wanted: str) -> np.ndarray[Any, Any]:
        return self.dense()._host(wanted)

    def block_until_ready(self) -> Array:
        self.values.block_until_ready()
        return self

    def __repr__(self) -> str:
        return f"RowSparse({errors.describe(self)}, {self.ids.size} rows {self.ids}: {self.values})"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        return RowSparse, (self.ids, self.values, self._shape)


_WORTHWHILE = 1 << 16  # elements; below, a dense gradient is as fast and simpler to look at


def take_gradient(g: Any, ids: Any, shape: tuple[int, ...]) -> Any:
    """Cotangent of a table for that of the rows gathered from it.

    Row-sparse if all is concrete, the table is large and few of its rows are named; else dense.
    """
    count = ids.size
    if type(g) is DeviceArray and type(ids) is DeviceArray and size_of(shape) >= _WORTHWHILE and 4 * count <= shape[0]:
        flat = shape_ops.reshape(ids, shape=(count,))
        return RowSparse(flat, shape_ops.reshape(g, shape=(count, *shape[1:])), shape)
    return index.put_add(creation.zeros(shape, g.dtype, g.device), ids, g)


# --- operations that keep rows, or need no dense gradient on the way. None: compute densely. --------------------------


def _is_scalar(x: Any) -> bool:
    return not getattr(x, "shape", ())


def _factor(x: Any, ids: Any) -> Any:
    """What multiplies the rows named: a scalar itself, of a dense array its rows."""
    return x if _is_scalar(x) else index.take(x, ids)


def _multiply(x: Any, y: Any) -> Any:
    if x is y:
        return _square(x)
    if isinstance(y, RowSparse):
        x, y = y, x
    if isinstance(y, RowSparse) or not (_is_scalar(y) or y.shape == x.shape):
        return None
    return x.like(elementwise.multiply(x.values, _factor(y, x.ids)))


def _divide(x: Any, y: Any) -> Any:
    if isinstance(y, RowSparse) or not (_is_scalar(y) or y.shape == x.shape):
        return None
    return x.like(elementwise.divide(x.values, _factor(y, x.ids)))


def _add(x: Any, y: Any) -> Any:
    if isinstance(x, RowSparse) and isinstance(y, RowSparse) and x.shape == y.shape and x.dtype == y.dtype:
        ids = shape_ops.concatenate(x.ids, y.ids, axis=0)
        return RowSparse(ids, shape_ops.concatenate(x.values, y.values, axis=0), x.shape)
    if isinstance(x, RowSparse):
        x, y = y, x
    if isinstance(x, RowSparse) or getattr(x, "shape", ()) != y.shape or x.dtype != y.dtype:
        return None
    return index.put_add(x, y.ids, y.values)


def _subtract(x: Any, y: Any) -> Any:
    return _add(x, y.like(-y.values)) if isinstance(y, RowSparse) else None


def _cast(x: Any, *, dtype: Any) -> Any:
    # To integers or booleans only whole rows can be cast, not the parts that add up to them.
    return x.like(elementwise.cast(x.values, dtype)) if dtypes.is_differentiable(dtype) else None


def _square(x: Any) -> Any:
    x = x.coalesced()
    return x.like(elementwise.square(x.values))


def _sum(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    return reduce.reduce_sum(x.values, axis=axis, keepdims=keepdims) if 0 in axis else None


_RULES: dict[Any, Any] = {
    elementwise.multiply: _multiply,
    elementwise.divide: _divide,
    elementwise.add: _add,
    elementwise.subtract: _subtract,
    elementwise.negative: lambda x: x.like(-x.values),
    registry["cast"]: _cast,
    elementwise.square: _square,
    elementwise.stop_gradient: lambda x: x,
    reduce.reduce_sum: _sum,
}

# The gather's rule and this module need each other; it is named there and given here.
index.take.define_vjp((lambda g, _y, x_aval, ids: take_gradient(g, ids, x_aval.shape), "an index has no derivative"))
