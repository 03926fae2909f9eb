"""Gradient transformations: the parts from which :func:`chain` builds an optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import numpy as knp
from ..core import errors, tree
from ..core.array import Array
from ..core.ops import elementwise, reduce
from .base import (
    GradientTransformation,
    ScalarOrSchedule,
    accumulator_dtype,
    accumulators,
    aligned,
    arrays,
    learning_rate_argument,
    like,
    number_argument,
    rate_advance,
    rate_counter,
    rate_now,
    stateless,
)

__all__ = [
    "ScaleState",
    "TraceState",
    "add_decayed_weights",
    "clip",
    "clip_by_global_norm",
    "clip_by_norm",
    "global_norm",
    "scale",
    "scale_by_learning_rate",
    "trace",
]

Mask = Any  # a tree of bools, or a function of params that returns one


# --- scaling --------------------------------------------------------------------------------------------------------


def scale(step_size: float) -> GradientTransformation:
    """Multiplication by a constant, ``u = step_size * g``.

    Args:
      step_size: any number; negative for descent.

    Example:
      >>> from knet import optim
      >>> optimizer = optim.scale(-0.5)
      >>> optimizer.update(4.0, optimizer.init(0.0))[0]
      Array(-2., dtype=float32)
    """
    factor = number_argument("scale", "step_size", step_size, low=-math.inf)
    return stateless(lambda grads, params: _each(lambda g: like(g * factor, g), grads))


class ScaleState(NamedTuple):
    """Number of steps done, int64 []; None where the learning rate is a constant."""

    count: Array | None  # type: ignore[assignment]  # tuple's method of this name is not needed


def scale_by_learning_rate(learning_rate: ScalarOrSchedule, *, flip_sign: bool = True) -> GradientTransformation:
    """Multiplication by the negative learning rate, ``u = -learning_rate * g``: the last link of a chain.

    Args:
      learning_rate: a number, an array of shape [], or a schedule: a function of the number of steps done (0 in the
        first one) that returns one of these.
      flip_sign: False multiplies by the learning rate itself.
    """
    rate = learning_rate_argument("scale_by_learning_rate", learning_rate)

    def init(params: Any) -> ScaleState:
        return ScaleState(rate_counter(rate, params))

    def update(grads: Any, state: ScaleState, params: Any = None) -> tuple[Any, ScaleState]:
        factor = rate_now(rate, state.count)
        factor = -factor if flip_sign else factor
        return _each(lambda g: like(g * factor, g), grads), ScaleState(rate_advance(state.count))

    return GradientTransformation(init, update)


def _each(function: Callable[[Any], Any], grads: Any) -> Any:
    leaves, structure = tree.flatten(grads)
    return tree.unflatten(structure, [function(g) for g in arrays(leaves)])


# --- momentum -------------------------------------------------------------------------------------------------------


class TraceState(NamedTuple):
    """The trace: a tree like params."""

    trace: Any


def trace(decay: float, nesterov: bool = False) -> GradientTransformation:
    """Decaying sum of gradients::

        t <- decay * t + g
        u  = decay * t + g   if nesterov else   t

    Args:
      decay: in [0, 1). It is a sum and not an average: under a constant gradient t grows to g / (1 - decay).
      nesterov: look ahead by one decay.
    """
    decay = number_argument("trace", "decay", decay, high=1.0)

    def init(params: Any) -> TraceState:
        return TraceState(accumulators(params))

    def update(grads: Any, state: TraceState, params: Any = None) -> tuple[Any, TraceState]:
        structure, (leaves, traces) = aligned("trace.update(grads, state)", grads, state.trace)
        updates, new = [], []
        for g, t in zip(leaves, traces):
            t = t * decay + g
            new.append(t)
            updates.append(like(t * decay + g if nesterov else t, g))
        return tree.unflatten(structure, updates), TraceState(tree.unflatten(structure, new))

    return GradientTransformation(init, update)


# --- clipping -------------------------------------------------------------------------------------------------------


def global_norm(updates: Any) -> Array:
    """Euclidean norm of all leaves together, ``sqrt(sum of g ** 2)``.

    Args:
      updates: pytree of arrays.

    Returns:
      [], float32 or wider: half types add up in float32. 0 for an empty tree.

    Example:
      >>> from knet import optim
      >>> optim.global_norm({"w": 3.0, "b": 4.0})
      Array(5., dtype=float32)
    """
    leaves = arrays(tree.leaves(updates))
    if not leaves:
        return knp.zeros(())
    total = _sum_of_squares(leaves[0])
    for g in leaves[1:]:
        total = total + _sum_of_squares(g)
    return elementwise.sqrt(total)


def _sum_of_squares(g: Any) -> Any:
    g = elementwise.cast(g, accumulator_dtype(g.dtype))
    return reduce.reduce_sum(g * g, axis=tuple(range(g.ndim)), keepdims=False)


def clip_by_global_norm(max_norm: float) -> GradientTransformation:
    """Gradients scaled down together, so that their :func:`global_norm` is at most max_norm::

        u = g * max_norm / max(norm, max_norm),   norm = global_norm(grads)

    The direction stays. A NaN or infinity anywhere makes all updates NaN or zero, as in Optax.

    Args:
      max_norm: above 0.

    References:
      Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks (2013).
      Knet.jl's ``gclip`` clips each parameter by its own norm: that is :func:`clip_by_norm`.

    Example:
      >>> from knet import optim
      >>> optimizer = optim.clip_by_global_norm(1.0)
      >>> optimizer.update([3.0, 4.0], optimizer.init([0.0, 0.0]))[0]
      [Array(0.6, dtype=float32), Array(0.8, dtype=float32)]
    """
    limit = _limit("clip_by_global_norm", "max_norm", max_norm)

    def function(grads: Any, params: Any) -> Any:
        factor = limit / elementwise.maximum(global_norm(grads), limit)
        return _each(lambda g: like(g * factor, g), grads)

    return stateless(function)


def clip_by_norm(max_norm: float) -> GradientTransformation:
    """Each leaf scaled down by itself, so that its norm is at most max_norm: ``u = g * max_norm / max(|g|, max_norm)``.

    This is Knet.jl's ``gclip=max_norm`` (whose 0 means no clipping) and Keras' ``clipnorm``. The ratios between the
    leaves, and with them the direction of the step, change; :func:`clip_by_global_norm` preserves it.

    Args:
      max_norm: above 0.
    """
    limit = _limit("clip_by_norm", "max_norm", max_norm)

    def clipped(g: Any) -> Any:
        return like(g * (limit / elementwise.maximum(elementwise.sqrt(_sum_of_squares(g)), limit)), g)

    return stateless(lambda grads, params: _each(clipped, grads))


def clip(max_delta: float) -> GradientTransformation:
    """Each element limited to [-max_delta, max_delta].

    Args:
      max_delta: above 0.

    Example:
      >>> from knet import optim
      >>> optimizer = optim.clip(1.0)
      >>> optimizer.update([-3.0, 0.5], optimizer.init([0.0, 0.0]))[0]
      [Array(-1., dtype=float32), Array(0.5, dtype=float32)]
    """
    limit = _limit("clip", "max_delta", max_delta)
    return stateless(lambda grads, params: _each(lambda g: knp.clip(g, -limit, limit), grads))


def _limit(where: str, name: str, value: float) -> float:
    limit = number_argument(where, name, value)
    if limit == 0:
        raise errors.argument(
            where,
            name,
            value,
            "a limit of 0 leaves no gradient at all",
            "leave the clipping out, or pass a positive number",
        )
    return limit


# --- weight decay ---------------------------------------------------------------------------------------------------


def add_decayed_weights(weight_decay: float = 0.0, mask: Mask = None) -> GradientTransformation:
    """Weight decay, ``u = g + weight_decay * p``; ``update`` needs the parameters p.

    Before an adaptive optimizer in a chain this is L2 regularisation, after it (and before the learning rate) it is the
    decoupled decay of :func:`adamw`.

    Args:
      weight_decay: at least 0.
      mask: tree of bools with the structure of the parameters, or a function of the parameters that returns one: False
        leaves a parameter out. None decays all.

    Raises:
      ValueError: from ``update`` without params. TreeError: a mask unlike the parameters.
    """
    weight_decay = number_argument("add_decayed_weights", "weight_decay", weight_decay)

    def function(grads: Any, params: Any) -> Any:
        structure, leaves, decayed = decay_terms("add_decayed_weights", grads, params, mask)
        updates = [g if p is None else like(g + p * weight_decay, g) for g, p in zip(leaves, decayed)]
        return tree.unflatten(structure, updates)

    return stateless(function)


def decay_terms(where: str, grads: Any, params: Any, mask: Mask) -> tuple[Any, list[Any], list[Any]]:
    """Structure, leaves of grads, and the parameter of each leaf that decays (None for one that the mask excludes)."""
    if params is None and tree.leaves(grads):
        raise errors.argument(
            f"{where}.update(grads, state, params)", "params", None, "weight decay needs the parameters",
            "call update(grads, state, params)",
        )  # fmt: skip
    structure, (leaves, decayed) = aligned(
        f"{where}.update(grads, state, params)", grads, params, fix="pass the params that grads belong to"
    )
    if mask is not None:
        chosen = mask(params) if callable(mask) else mask
        tree.check_structure(f"{where}: mask", chosen, params, "give mask one bool for each parameter")
        decayed = [p if keep else None for p, keep in zip(decayed, tree.leaves(chosen))]
    return structure, leaves, decayed
