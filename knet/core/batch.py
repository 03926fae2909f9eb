"""vmap: one more axis, in front, carried along by each primitive's batching rule.

Inside, the batch axis of every batched value is the first; vmap moves it there and back, which costs a view.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import batching, errors, tree
from .array import Array
from .aval import aval_of
from .device import as_array
from .ops import creation, reduce
from .primitive import Primitive
from .trace import Trace, Tracer


class BatchTrace(Trace):
    """The trace of vmap."""

    kind = "vmap"
    __slots__ = ("closed", "size")

    def __init__(self, function: str, size: int) -> None:
        super().__init__(function)
        self.size = size
        self.closed = False

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        if self.closed:
            raise errors.leaked_tracer(self.kind, self.function, f"an operand of {primitive.name}")
        rule = primitive.batch
        if isinstance(rule, str):
            raise errors.no_batching(primitive.name, rule)
        values, batched = self.split(args)
        # A batch of none: rules need not count with it, such as those that divide an axis by its size.
        y = rule(primitive, values, batched, self.size, **params) if self.size else _none(primitive, args, params)
        return tuple(BatchTracer(self, v) for v in y) if primitive.multiple else BatchTracer(self, y)

    def call(self, call: Any, leaves: Sequence[Any]) -> list[Any]:
        """Results of a function that brings its own derivative (see core.custom)."""
        return call.mapped(self, *self.split(leaves))

    @contextlib.contextmanager
    def reopened(self) -> Iterator[None]:
        """Context in which this trace goes on: for functions that run again in a backward pass."""
        closed, self.closed = self.closed, False
        try:
            yield
        finally:
            self.closed = closed

    def split(self, args: Sequence[Any]) -> tuple[list[Any], list[bool]]:
        """Values one level down, and which of them have the batch axis."""
        batched = [type(x) is BatchTracer and x.trace is self for x in args]
        return [x.value if b else x for x, b in zip(args, batched)], batched

    def whole(self, x: Any) -> Any:
        """A result one level down, with the batch axis in front whether it depends on the batch or not."""
        mine = type(x) is BatchTracer and x.trace is self
        return batching.spread(x.value if mine else as_array(x), mine, self.size)


def _none(primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
    """The results of no examples: shapes and dtypes of one, behind a batch axis of size 0."""
    avals = [x if isinstance(x, (bool, int, float, complex)) else aval_of(as_array(x)) for x in args]
    y = primitive.aval(*avals, **params)
    device = next(x.device for x in args if isinstance(x, Array))
    empty = [creation.zeros((0, *a.shape), a.dtype, device) for a in (y if primitive.multiple else (y,))]
    return tuple(empty) if primitive.multiple else empty[0]


class BatchTracer(Tracer):
    """One example of a batch: ``value`` one level down has the batch axis in front."""

    __slots__ = ("value",)

    def __init__(self, trace: BatchTrace, value: Any) -> None:
        self.trace = trace
        self.value = value

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype

    @property
    def device(self) -> Any:
        return self.value.device

    def _host(self, wanted: str) -> np.ndarray[Any, Any]:
        raise errors.batched_to_host(wanted, self.trace.function, errors.describe(self), self.trace.size)

    def __repr__(self) -> str:
        return f"Tracer<vmap>({errors.describe(self)}, {self.trace.size} of them in {self.value!r})"

    __str__ = __repr__


def vmap(fun: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """Function that applies ``fun`` to every example of a batch at once.

    ``vmap(f)(x)[i] = f(x[i])``, computed by one call of f with each operation on the whole batch.

    Args:
      fun: a function of pytrees of arrays, written for one example.
      in_axes: where the batch axis stands in each positional argument: an int, None for an argument that all examples
        share, or a tuple with one entry for each argument; an entry may be a pytree that is a prefix of the argument's.
        Keyword arguments have it in front.
      out_axes: likewise for the results.

    Returns:
      A function of the batched arguments.

    Raises:
      ShapeError: batch axes of different sizes, or an axis that an argument does not have.
      TreeError: in_axes or out_axes do not match the structure.
      TracerError: ``fun`` branches on a batched value; use knet.numpy.where or knet.cond.

    Example:
      >>> import knet, knet.numpy as knp
      >>> knet.vmap(lambda x, y: x @ y)(knp.ones((3, 2)), knp.ones((3, 2)))
      Array([2., 2., 2.], dtype=float32)
    """
    name = getattr(fun, "__name__", repr(fun))

    @functools.wraps(fun)
    def batched(*args: Any, **kwargs: Any) -> Any:
        if isinstance(in_axes, (tuple, list)) and len(in_axes) != len(args):
            raise errors.in_axes_count(name, in_axes, len(args))
        axes = tuple(in_axes) if isinstance(in_axes, (tuple, list)) else (in_axes,) * len(args)
        leaves, structure = tree.flatten((args, kwargs))
        places = tree.broadcast_prefix(
            (axes, 0), (args, kwargs), "vmap: in_axes", "give in_axes the arguments' structure"
        )
        size = _batch_size(name, leaves, places, (args, kwargs))
        trace = BatchTrace(name, size)
        try:
            traced = [
                leaf if axis is None else BatchTracer(trace, batching.to_front(as_array(leaf), _axis(axis, leaf)))
                for leaf, axis in zip(leaves, places, strict=True)
            ]
            new_args, new_kwargs = tree.unflatten(structure, traced)
            out = fun(*new_args, **new_kwargs)
            results, out_structure = tree.flatten(out)
            targets = tree.broadcast_prefix(
                out_axes, out, "vmap: out_axes", "give out_axes the structure of the result"
            )
            finished = [_finish(trace, name, y, axis) for y, axis in zip(results, targets, strict=True)]
        finally:
            trace.closed = True
        return tree.unflatten(out_structure, finished)

    return batched


def _axis(axis: int, leaf: Any) -> int:
    return axis % len(leaf.shape)


def _batch_size(name: str, leaves: Sequence[Any], places: Sequence[Any], arguments: Any) -> int:
    sizes: dict[str, int] = {}
    for path, leaf, axis in zip(tree.paths(arguments), leaves, places, strict=True):
        if axis is None:
            continue
        # A path starts with [0][i] for the i-th positional argument, with [1]['name'] for a keyword.
        number, _, rest = path[4:].partition("]")
        where = f"argument {number}{rest}"
        shape = getattr(leaf, "shape", None)
        if shape is None or not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
            raise errors.in_axes_range(name, where, leaf, axis)
        sizes[where] = shape[axis]
    if not sizes:
        raise errors.nothing_batched(name)
    if len(set(sizes.values())) > 1:
        raise errors.batch_sizes(name, sizes)
    return next(iter(sizes.values()))


def _finish(trace: BatchTrace, name: str, y: Any, axis: Any) -> Any:
    if axis is None:
        if type(y) is BatchTracer and y.trace is trace:
            raise errors.out_axes_none(name, y)
        return y
    y = trace.whole(y)
    if not isinstance(axis, int) or not -y.ndim <= axis < y.ndim:
        raise errors.out_axes_range(name, y, axis)
    return batching.from_front(y, axis % y.ndim)


def map_batch(trace: BatchTrace, function: Callable[..., Any], batched: Sequence[bool]) -> Callable[..., Any]:
    """``function`` of a list of examples as one of a list of batches; every result has the batch axis in front."""

    def on_batch(values: Sequence[Any]) -> list[Any]:
        with trace.reopened():
            outs = function([BatchTracer(trace, x) if b else x for x, b in zip(values, batched, strict=True)])
            trace.own(outs)
            return [trace.whole(y) if isinstance(y, Array) else y for y in outs]

    return on_batch


def sum_batch(x: Any) -> Any:
    """Sum over the batch axis: the cotangent of a value that all examples share."""
    return reduce.reduce_sum(x, axis=(0,), keepdims=False)
