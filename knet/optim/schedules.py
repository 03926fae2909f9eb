"""Schedules: functions of the number of steps done, 0 in the first step, that return a learning rate.

The step may be a Python int or an integer array, traced or not; the value is a float32 array of shape []. Any function
of this kind is a schedule: these are the usual ones. Names and arguments are Optax's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import numpy as knp
from ..core import errors
from .base import Schedule, number_argument

__all__ = [
    "constant_schedule",
    "cosine_decay_schedule",
    "exponential_decay",
    "join_schedules",
    "linear_schedule",
    "piecewise_constant_schedule",
    "warmup_cosine_decay_schedule",
]


def _number(where: str, name: str, value: float) -> float:
    return number_argument(where, name, value, low=-math.inf)


def _steps(where: str, name: str, value: int, least: int = 1) -> int:
    if not hasattr(value, "__index__") or value < least:
        raise errors.argument(where, name, value, f"a number of steps is an int >= {least}", f"correct {name}=")
    return int(value)


def _fraction(step: Any, steps: int) -> Any:
    """step / steps, limited to [0, 1]."""
    return knp.clip(step, 0, steps) / steps


def constant_schedule(value: float) -> Schedule:
    """The same value in every step.

    Example:
      >>> from knet import optim
      >>> optim.constant_schedule(0.5)(100)
      0.5
    """
    value = _number("constant_schedule", "value", value)
    return lambda step: value


def linear_schedule(init_value: float, end_value: float, transition_steps: int, transition_begin: int = 0) -> Schedule:
    """Straight line between two values::

        f = clip((step - transition_begin) / transition_steps, 0, 1)
        value = (1 - f) * init_value + f * end_value

    Args:
      init_value: until step transition_begin.
      end_value: from step transition_begin + transition_steps on.
      transition_steps: at least 1.
      transition_begin: at least 0.

    Example:
      >>> from knet import optim
      >>> optim.linear_schedule(1.0, 0.0, transition_steps=10)(5)
      Array(0.5, dtype=float32)
    """
    where = "linear_schedule"
    first, last = _number(where, "init_value", init_value), _number(where, "end_value", end_value)
    steps = _steps(where, "transition_steps", transition_steps)
    begin = _steps(where, "transition_begin", transition_begin, 0)

    def schedule(step: Any) -> Any:
        f = _fraction(step - begin, steps)
        return (1.0 - f) * first + f * last

    return schedule


def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """Geometric decay (growth, if decay_rate > 1)::

        n = max(step - transition_begin, 0) / transition_steps        (its floor if staircase)
        value = init_value * decay_rate ** n

    Args:
      init_value: until step transition_begin.
      transition_steps: steps in which the value changes by one factor decay_rate; at least 1.
      decay_rate: above 0.
      transition_begin: at least 0.
      staircase: change only at multiples of transition_steps.
      end_value: bound that the value does not pass; None is no bound.

    Example:
      >>> from knet import optim
      >>> optim.exponential_decay(1.0, transition_steps=10, decay_rate=0.5)(20)
      Array(0.25, dtype=float32)
    """
    where = "exponential_decay"
    first, rate = _number(where, "init_value", init_value), number_argument(where, "decay_rate", decay_rate)
    if rate == 0:
        raise errors.argument(where, "decay_rate", decay_rate, "it must be positive", "pass a number such as 0.5")
    steps = _steps(where, "transition_steps", transition_steps)
    begin = _steps(where, "transition_begin", transition_begin, 0)
    bound = None if end_value is None else _number(where, "end_value", end_value)

    def schedule(step: Any) -> Any:
        n = knp.maximum(step - begin, 0)
        n = n // steps if staircase else n / steps
        value = first * rate**n
        if bound is None:
            return value
        return knp.maximum(value, bound) if rate < 1 else knp.minimum(value, bound)

    return schedule


def cosine_decay_schedule(init_value: float, decay_steps: int, alpha: float = 0.0, exponent: float = 1.0) -> Schedule:
    """Half a wave of the cosine, from init_value down to alpha * init_value::

        f = min(step / decay_steps, 1)
        value = init_value * ((1 - alpha) * ((1 + cos(pi * f)) / 2) ** exponent + alpha)

    Args:
      init_value: at step 0.
      decay_steps: from there on the value stays; at least 1.
      alpha: the last value as a fraction of the first.
      exponent: above 1 decays sooner.

    References:
      Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts (2017).

    Example:
      >>> from knet import optim
      >>> schedule = optim.cosine_decay_schedule(1.0, decay_steps=100, alpha=0.25)
      >>> [float(schedule(step)) for step in (0, 100, 200)]
      [1.0, 0.25, 0.25]
    """
    where = "cosine_decay_schedule"
    first, steps = _number(where, "init_value", init_value), _steps(where, "decay_steps", decay_steps)
    alpha, exponent = _number(where, "alpha", alpha), number_argument(where, "exponent", exponent)

    def schedule(step: Any) -> Any:
        wave = (1.0 + knp.cos(_fraction(step, steps) * math.pi)) * 0.5
        if exponent != 1.0:
            wave = wave**exponent
        return first * ((1.0 - alpha) * wave + alpha)

    return schedule


def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    """Straight line from init_value up to peak_value, then :func:`cosine_decay_schedule` down to end_value.

    Args:
      init_value: at step 0.
      peak_value: at step warmup_steps; not 0.
      warmup_steps: at least 0.
      decay_steps: of both parts together, above warmup_steps.
      end_value: from step decay_steps on.
      exponent: of the cosine.

    Example:
      >>> from knet import optim
      >>> schedule = optim.warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=10, decay_steps=110)
      >>> [float(schedule(step)) for step in (0, 5, 10, 110)]
      [0.0, 0.5, 1.0, 0.0]
    """
    where = "warmup_cosine_decay_schedule"
    peak, end = _number(where, "peak_value", peak_value), _number(where, "end_value", end_value)
    if peak == 0:
        raise errors.argument(where, "peak_value", peak_value, "it must not be 0", "pass the largest learning rate")
    warmup = _steps(where, "warmup_steps", warmup_steps, 0)
    decay = cosine_decay_schedule(
        peak, _steps(where, "decay_steps", decay_steps, warmup + 1) - warmup, end / peak, exponent
    )
    if not warmup:
        return decay
    return join_schedules([linear_schedule(init_value, peak, warmup), decay], [warmup])


def piecewise_constant_schedule(init_value: float, boundaries_and_scales: dict[int, float] | None = None) -> Schedule:
    """Stairs: from each boundary on, the value is multiplied by that boundary's scale.

    Args:
      init_value: before the first boundary.
      boundaries_and_scales: step -> factor; each factor is at least 0 and applies from that step on.

    Example:
      >>> from knet import optim
      >>> schedule = optim.piecewise_constant_schedule(1.0, {10: 0.5, 20: 0.5})
      >>> [float(schedule(step)) for step in (9, 10, 20)]
      [1.0, 0.5, 0.25]
    """
    where = "piecewise_constant_schedule"
    first = _number(where, "init_value", init_value)
    stairs = [
        (_steps(where, "boundary", boundary, 0), number_argument(where, f"scale at {boundary}", factor))
        for boundary, factor in sorted((boundaries_and_scales or {}).items())
    ]

    def schedule(step: Any) -> Any:
        value = knp.asarray(first)
        for boundary, factor in stairs:
            value = value * knp.where(knp.less(step, boundary), 1.0, factor)
        return value

    return schedule


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """Schedules one after the other, each counting from its own beginning.

    Args:
      schedules: one or more.
      boundaries: the step at which each but the first begins, in rising order.

    Raises:
      ValueError: the numbers of schedules and boundaries do not fit, or the boundaries fall.

    Example:
      >>> from knet import optim
      >>> schedule = optim.join_schedules([optim.constant_schedule(1.0), optim.linear_schedule(1.0, 0.0, 10)], [5])
      >>> [float(schedule(step)) for step in (0, 5, 10)]
      [1.0, 1.0, 0.5]
    """
    where = "join_schedules"
    if len(schedules) != len(boundaries) + 1:
        raise errors.argument(
            where, "boundaries", list(boundaries),
            f"{len(schedules)} schedules meet at {len(schedules) - 1} boundaries",
            "name the step at which each schedule but the first begins",
        )  # fmt: skip
    begins = [_steps(where, "boundary", boundary, 0) for boundary in boundaries]
    if begins != sorted(begins):
        raise errors.argument(where, "boundaries", begins, "boundaries must rise", "sort them with their schedules")

    def schedule(step: Any) -> Any:
        value = schedules[0](step)
        for begin, part in zip(begins, schedules[1:]):
            value = knp.where(knp.less(step, begin), value, part(step - begin))
        return value

    return schedule
