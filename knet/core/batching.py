"""How primitives batch: the families' rules.

A batched operand has its batch axis in front; so has every result. A rule is called as
``rule(primitive, args, batched, size, **params)`` with a flag for each operand, at least one of them true.
Primitives are found in the registry here, because those that move axes are themselves defined with these rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .primitive import registry


def _reshape(x: Any, shape: tuple[int, ...]) -> Any:
    return registry["reshape"](x, shape=shape)


def align(x: Any, batched: bool, ndim: int) -> Any:
    """A batched operand with axes of size 1 behind the batch axis, so that it counts ``ndim`` axes without that."""
    missing = ndim + 1 - x.ndim if batched else 0
    return _reshape(x, (x.shape[0], *(1,) * missing, *x.shape[1:])) if missing else x


def spread(x: Any, batched: bool, size: int) -> Any:
    """An operand with a batch axis: its own, or a new one along which it repeats."""
    return x if batched else registry["broadcast_to"](x, shape=(size, *x.shape))


def to_front(x: Any, axis: int) -> Any:
    """An axis moved to the front."""
    return x if axis == 0 else registry["permute"](x, axes=(axis, *(i for i in range(x.ndim) if i != axis)))


def from_front(x: Any, axis: int) -> Any:
    """The first axis moved elsewhere."""
    if axis == 0:
        return x
    order = list(range(1, x.ndim))
    order.insert(axis, 0)
    return registry["permute"](x, axes=tuple(order))


def join(x: Any, axis: int) -> Any:
    """The first axis merged into another (counted without the first), in front of it."""
    x = from_front(x, axis)
    return _reshape(x, (*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :]))


def part(x: Any, axis: int, size: int) -> Any:
    """The inverse of :func:`join`: ``size`` taken out of an axis and put in front."""
    x = _reshape(x, (*x.shape[:axis], size, x.shape[axis] // size, *x.shape[axis + 1 :]))
    return to_front(x, axis)


def rank(x: Any, batched: bool) -> int:
    """Axes of an operand without its batch axis; 0 for a Python scalar."""
    return len(getattr(x, "shape", ())) - batched


def pointwise(primitive: Any, args: Sequence[Any], batched: Sequence[bool], size: int, /, **params: Any) -> Any:
    """Elementwise operands broadcast once their batch axes stand in the same place."""
    ndim = max(map(rank, args, batched))
    return primitive(*[align(x, b, ndim) for x, b in zip(args, batched)], **params)


def shifted(change: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    """Rule of primitives whose parameters name axes or sizes: ``change(size, **params)`` accounts for the new axis."""

    def rule(primitive: Any, args: Sequence[Any], batched: Sequence[bool], size: int, **params: Any) -> Any:
        return primitive(*[spread(x, b, size) for x, b in zip(args, batched)], **change(size, **params))

    return rule


def merged(primitive: Any, args: Sequence[Any], batched: Sequence[bool], size: int, **params: Any) -> Any:
    """Rule of primitives whose operands all have an axis N in front already: the batch becomes part of it."""
    if "input_shape" in params:
        n, *rest = params["input_shape"]
        params["input_shape"] = (size * n, *rest)
    return part(primitive(*[join(spread(x, b, size), 0) for x, b in zip(args, batched)], **params), 0, size)


def next_axes(_size: int, *, axis: tuple[int, ...], **params: Any) -> dict[str, Any]:
    """``axis`` (a tuple) moved by the batch axis."""
    return {"axis": tuple(i + 1 for i in axis), **params}


def next_axis(_size: int, *, axis: int, **params: Any) -> dict[str, Any]:
    """``axis`` (an int) moved by the batch axis."""
    return {"axis": axis + 1, **params}
