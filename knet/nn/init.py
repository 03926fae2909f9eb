"""Initialisers: functions ``(key, shape, dtype) -> array`` that draw the first values of parameters.

Fan rule: how many inputs feed an output (fan in), and how many outputs an input feeds (fan out), by the weight's shape.

==================  =====================  ======================
shape               fan in                 fan out
==================  =====================  ======================
[in, out]           in                     out
[O, C/groups, *K]   C/groups * prod(K)     O * prod(K)
[n]                 n                      1
[]                  1                      1
==================  =====================  ======================

``zeros`` and ``ones`` ignore their key; ``normal(stddev)`` and ``uniform(limit)`` make an initialiser. A function of
your own with the same arguments serves as well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from .. import numpy as knp
from .. import random
from ..core import dtypes
from ..core.array import Array
from ..core.aval import size_of

__all__ = [
    "Initializer",
    "fans",
    "he_normal",
    "he_uniform",
    "normal",
    "ones",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

Initializer = Callable[..., Array]
Shape = tuple[int, ...]


def fans(shape: Shape) -> tuple[int, int]:
    """Fan in and fan out of a weight, by the table at the head of this module.

    Example:
      >>> from knet import nn
      >>> nn.init.fans((784, 64)), nn.init.fans((20, 1, 5, 5))
      ((784, 64), (25, 500))
    """
    if len(shape) < 2:
        return size_of(shape), 1
    if len(shape) == 2:
        return shape[0], shape[1]
    window = size_of(shape[2:])
    return shape[1] * window, shape[0] * window


def xavier_uniform(key: Any, shape: Shape, dtype: Any = dtypes.float32) -> Array:
    """Uniform over [-a, a), a = sqrt(6 / (fan_in + fan_out)): keeps the variance of signals both ways.

    Example:
      >>> import knet
      >>> from knet import nn
      >>> nn.init.xavier_uniform(knet.random.key(0), (784, 64)).shape
      (784, 64)

    Reference: Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks".
    """
    limit = math.sqrt(6 / max(sum(fans(shape)), 1))
    return random.uniform(key, shape, dtype, -limit, limit)


def xavier_normal(key: Any, shape: Shape, dtype: Any = dtypes.float32) -> Array:
    """Normal with mean 0 and variance 2 / (fan_in + fan_out).

    Reference: Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks".
    """
    return random.normal(key, shape, dtype) * math.sqrt(2 / max(sum(fans(shape)), 1))


def he_uniform(key: Any, shape: Shape, dtype: Any = dtypes.float32) -> Array:
    """Uniform over [-a, a), a = sqrt(6 / fan_in): keeps the variance of signals through relu.

    Reference: He, Zhang, Ren, Sun 2015, "Delving deep into rectifiers: surpassing human-level performance on ImageNet
    classification".
    """
    limit = math.sqrt(6 / max(fans(shape)[0], 1))
    return random.uniform(key, shape, dtype, -limit, limit)


def he_normal(key: Any, shape: Shape, dtype: Any = dtypes.float32) -> Array:
    """Normal with mean 0 and variance 2 / fan_in.

    Reference: He, Zhang, Ren, Sun 2015, "Delving deep into rectifiers: surpassing human-level performance on ImageNet
    classification".
    """
    return random.normal(key, shape, dtype) * math.sqrt(2 / max(fans(shape)[0], 1))


def zeros(key: Any, shape: Shape, dtype: Any = dtypes.float32) -> Array:
    """Zeros, whatever the key."""
    return knp.zeros(shape, dtype=dtype)


def ones(key: Any, shape: Shape, dtype: Any = dtypes.float32) -> Array:
    """Ones, whatever the key."""
    return knp.ones(shape, dtype=dtype)


# Classes, and not functions that return functions, so that two of the same settings are equal and layers compare.


@dataclasses.dataclass(frozen=True)
class normal:
    """Initialiser of numbers from the normal distribution with mean 0.

    Args:
      stddev: standard deviation, 0.01 as in the original Knet's gaussian.

    Example:
      >>> import knet
      >>> from knet import nn
      >>> nn.init.normal(0.02)
      normal(stddev=0.02)
      >>> nn.init.normal(0.02)(knet.random.key(0), (256, 128)).shape
      (256, 128)
    """

    stddev: float = 0.01

    def __call__(self, key: Any, shape: Shape, dtype: Any = dtypes.float32) -> Array:
        return random.normal(key, shape, dtype) * self.stddev


@dataclasses.dataclass(frozen=True)
class uniform:
    """Initialiser of numbers uniform over [-limit, limit).

    Args:
      limit: positive.
    """

    limit: float = 0.01

    def __call__(self, key: Any, shape: Shape, dtype: Any = dtypes.float32) -> Array:
        return random.uniform(key, shape, dtype, -self.limit, self.limit)
