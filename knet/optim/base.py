"""The protocol of an optimizer: two pure functions, and what combines them.

``init(params) -> state`` and ``update(grads, state, params) -> (updates, state)`` are those of Optax: a training loop
written for the one runs with the other. Nothing is changed in place: an optimizer holds only its hyperparameters,
and its state is a pytree of arrays that can be saved, copied, or passed through a transformation like any other.

Conventions that every transformation here keeps:

- Updates are *added* to the parameters: a descent step has a negative sign already.
- An update has the dtype of its gradient. Accumulators of float16 and bfloat16 parameters are float32, and so is the
  arithmetic in between: in float16 Adam's ``eps`` of 1e-8 is zero, and in bfloat16 an average with decay 0.999 stands
  still. Optax keeps them in the parameters' dtype unless told otherwise.
- Values that change from step to step are arrays, never Python numbers, so that a step can be compiled once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import numpy as knp
from ..core import dtypes, errors, tree
from ..core.array import Array
from ..core.device import as_array
from ..core.ops import elementwise

__all__ = ["EmptyState", "GradientTransformation", "apply_updates", "chain", "identity"]

Schedule = Callable[[Any], Any]
ScalarOrSchedule = float | Array | Schedule


class GradientTransformation(NamedTuple):
    """A pair of pure functions that turns gradients into updates; every optimizer is one.

    Fields:
      init: ``init(params) -> state``, the state before the first step.
      update: ``update(grads, state, params=None) -> (updates, state)``; grads and updates have the structure of params.
    """

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]


class EmptyState(NamedTuple):
    """State of a transformation that remembers nothing."""


def identity() -> GradientTransformation:
    """The transformation that returns the gradients as they are."""
    return stateless(lambda grads, params: grads)


def stateless(function: Callable[[Any, Any], Any]) -> GradientTransformation:
    """Transformation ``updates = function(grads, params)`` without a state."""

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return function(grads, params), state

    return GradientTransformation(lambda params: EmptyState(), update)


def chain(*transformations: GradientTransformation) -> GradientTransformation:
    """Transformations one after the other: each takes the updates of the one before it.

    Args:
      transformations: in the order of application; none at all is the identity.

    Returns:
      A transformation whose state is the tuple of their states.

    Raises:
      ValueError: an argument that is no transformation, or in ``update`` a state of another chain.

    Example:
      >>> from knet import optim
      >>> optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.5))
      >>> updates, _ = optimizer.update(4.0, optimizer.init(0.0))
      >>> updates
      Array(-0.5, dtype=float32)
    """
    for position, part in enumerate(transformations):
        if not (hasattr(part, "init") and hasattr(part, "update")):
            raise errors.argument(
                "chain", f"transformations[{position}]", part, "a transformation has init and update",
                "call the function that makes it, as in chain(clip(1.0), adam(1e-3))",
            )  # fmt: skip

    def init(params: Any) -> Any:
        return tuple(part.init(params) for part in transformations)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if not isinstance(state, tuple) or len(state) != len(transformations):
            raise errors.argument(
                "chain.update", "state", type(state).__name__,
                f"the state of this chain is a tuple of {len(transformations)} states",
                "pass what chain(...).init returned",
            )  # fmt: skip
        states = []
        for part, old in zip(transformations, state):
            grads, new = part.update(grads, old, params)
            states.append(new)
        return grads, tuple(states)

    return GradientTransformation(init, update)


def apply_updates(params: Any, updates: Any) -> Any:
    """Parameters after a step, ``params + updates``, leaf by leaf.

    Args:
      params: pytree of floating arrays.
      updates: pytree of the same structure and shapes.

    Returns:
      A tree like params, with the dtypes of params.

    Raises:
      TreeError: the structures differ. ShapeError: a leaf and its update differ in shape.
      DTypeError: an integer parameter, which a step cannot move.

    Example:
      >>> from knet import optim
      >>> optim.apply_updates({"w": 1.0}, {"w": -0.25})
      {'w': Array(0.75, dtype=float32)}
    """
    structure, (old, steps) = aligned(
        "apply_updates(params, updates)", params, updates, fix="compute the updates from gradients of these params"
    )
    new: list[Any] = []
    for p, u in zip(old, steps):
        y = p + u
        if y.shape != p.shape or u.shape != p.shape:
            path = tree.paths(params)[len(new)]
            raise errors.shape_argument(
                "apply_updates(params, updates)", f"updates{path}", list(u.shape),
                f"params{path} has shape {list(p.shape)}",
                "compute the updates from gradients of these params",
            )  # fmt: skip
        if y.dtype is not p.dtype:
            if not dtypes.is_differentiable(p.dtype):
                path = tree.paths(params)[len(new)]
                raise errors.integer_argument(f"apply_updates: params{path}", p.dtype)
            y = elementwise.cast(y, p.dtype)
        new.append(y)
    return tree.unflatten(structure, new)


# --- for the transformations of this package ------------------------------------------------------------------------


def arrays(leaves: list[Any]) -> list[Any]:
    """Leaves as arrays."""
    return [x if isinstance(x, Array) else as_array(x) for x in leaves]


def aligned(
    where: str, first: Any, *rest: Any, fix: str = "pass the state that init returned for these params"
) -> tuple[Any, list[list[Any]]]:
    """Structure of trees that all have the same, and the leaves of each, as arrays.

    Raises:
      TreeError: a tree in ``rest`` differs from the first, naming the key path.
    """
    leaves, structure = tree.flatten(first)
    columns = [arrays(leaves)]
    for other in rest:
        leaves, its_structure = tree.flatten(other)
        if its_structure != structure:
            tree.check_structure(where, other, first, fix)
        columns.append(arrays(leaves))
    return structure, columns


def accumulators(params: Any, value: float = 0.0) -> Any:
    """Tree like params with one value everywhere, in the dtype in which a parameter's history is kept."""
    leaves, structure = tree.flatten(params)
    new = [knp.full_like(x, value, dtype=accumulator_dtype(x.dtype)) for x in arrays(leaves)]
    return tree.unflatten(structure, new)


def accumulator_dtype(dtype: Any) -> Any:
    """float32 for the half types, else the dtype itself; the default float for integers."""
    dtype = dtypes.to_float(dtype)
    return dtypes.float32 if dtype.itemsize == 2 else dtype


def in_dtype(x: Any, dtype: Any) -> Any:
    """An array in another dtype; anything else, such as a Python float, as it is."""
    return elementwise.cast(x, dtype) if isinstance(x, Array) and x.dtype is not dtype else x


def like(update: Any, grad: Any) -> Any:
    """The update in its gradient's dtype (in its own if that is an integer type)."""
    dtype = grad.dtype
    if update.dtype is dtype or not dtypes.is_differentiable(dtype):
        return update
    return elementwise.cast(update, dtype)


def counter(params: Any) -> Array:
    """Zero steps, where the parameters are."""
    leaves = tree.leaves(params)
    device = leaves[0].device if leaves and isinstance(leaves[0], Array) else None
    return knp.zeros((), dtype=int, device=device)


# A schedule needs the number of steps and a constant does not: the state then holds None, an empty subtree.


def rate_counter(rate: Any, params: Any) -> Any:
    """Step counter of a learning rate: zero for a schedule, None for a constant."""
    return counter(params) if callable(rate) else None


def rate_now(rate: Any, count: Any) -> Any:
    """Value of a learning rate in the step with this number."""
    return rate(count) if callable(rate) else rate


def rate_advance(count: Any) -> Any:
    """The counter of the next step."""
    return None if count is None else count + 1


# --- hyperparameters --------------------------------------------------------------------------------------------------


def learning_rate_argument(where: str, rate: Any) -> Any:
    """A learning rate: Python numbers as floats, arrays and schedules as they are. A negative one ascends.

    Raises:
      ValueError: NaN, infinity, or nothing of the kind.
    """
    if isinstance(rate, (int, float)):
        if not math.isfinite(rate):
            raise errors.argument(where, "learning_rate", rate, "it must be finite", "pass a number such as 1e-3")
        return float(rate)
    if callable(rate) or getattr(rate, "shape", None) == ():
        return rate
    raise errors.argument(
        where, "learning_rate", rate, "it is a number, an array of shape [] or a schedule",
        "pass 1e-3, or a function of the step's number",
    )  # fmt: skip


def number_argument(where: str, name: str, value: Any, low: float = 0.0, high: float = math.inf) -> float:
    """A hyperparameter in [low, high) as a Python float.

    Raises:
      ValueError: no Python number, NaN, or out of range.
    """
    number = isinstance(value, (int, float)) or (getattr(value, "shape", None) == () and not isinstance(value, Array))
    if not (number and low <= value < high):
        bound = f">= {low:g}" if high == math.inf else f"in [{low:g}, {high:g})"
        raise errors.argument(where, name, value, f"it must be a finite number {bound}", f"correct {name}=")
    return float(value)
