"""Activations, the softmax family and dropout: functions of arrays of any shape.

``relu``, ``sigmoid``, ``softplus`` and ``tanh`` are primitives, defined in knet.core.ops.elementwise; the others are
made of them.
"""

from __future__ import annotations

import math
from typing import Any

from .. import random
from ..core import dtypes, errors
from ..core.array import Array
from ..core.device import as_array
from ..core.ops import elementwise, reduce, special
from ..core.ops.elementwise import relu, sigmoid, softplus, tanh
from ..numpy.manipulation import canonical_axes

__all__ = [
    "dropout",
    "elu",
    "gelu",
    "hard_sigmoid",
    "hard_swish",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]

_ROOT_HALF = math.sqrt(0.5)
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_GELU_LINEAR = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715 * _GELU_LINEAR


def _floating(x: Any) -> Array:
    x = as_array(x)
    return elementwise.cast(x, dtypes.to_float(x.dtype))


def log_sigmoid(x: Any) -> Array:
    """Logarithm of the logistic function, log(1 / (1 + e ** -x)) = -softplus(-x), without overflow.

    Example:
      >>> from knet import nn
      >>> nn.log_sigmoid(-1000.0)
      Array(-1000., dtype=float32)
    """
    return -softplus(-as_array(x))


def silu(x: Any) -> Array:
    """Sigmoid-weighted linear unit, x * sigmoid(x), also called swish.

    Reference: Elfwing, Uchibe, Doya 2017, "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning".
    """
    x = as_array(x)
    return x * sigmoid(x)


def elu(x: Any, alpha: float = 1.0) -> Array:
    """Exponential linear unit, x where x > 0, alpha (e ** x - 1) elsewhere; the derivative at 0 is alpha.

    Reference: Clevert, Unterthiner, Hochreiter 2015, "Fast and accurate deep network learning by exponential linear
    units (ELUs)".
    """
    x = _floating(x)
    positive = elementwise.greater(x, 0)
    # The inner where keeps expm1 from overflowing where its result is not used.
    return elementwise.where(positive, x, alpha * elementwise.expm1(elementwise.where(positive, 0.0, x)))


def selu(x: Any) -> Array:
    """Scaled exponential linear unit, 1.0507 elu(x, 1.6733): keeps mean 0 and variance 1 from layer to layer.

    Reference: Klambauer, Unterthiner, Mayr, Hochreiter 2017, "Self-normalizing neural networks".
    """
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


def leaky_relu(x: Any, slope: float = 0.01) -> Array:
    """Leaky rectified linear unit, x where x > 0, slope x elsewhere; the derivative at 0 is slope.

    Reference: Maas, Hannun, Ng 2013, "Rectifier nonlinearities improve neural network acoustic models".
    """
    x = _floating(x)
    return elementwise.where(elementwise.greater(x, 0), x, slope * x)


def gelu(x: Any, approximate: bool = False) -> Array:
    """Gaussian error linear unit, x times the normal distribution function of x: x (1 + erf(x / sqrt(2))) / 2.

    Args:
      x: [...].
      approximate: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x ** 3))) instead, which is within 5e-4. JAX's default.

    Numerics:
      The exact form is computed with erfc, so that it keeps its relative accuracy for negative x.

    Reference: Hendrycks, Gimpel 2016, "Gaussian error linear units (GELUs)".
    """
    x = _floating(x)
    if approximate:
        return 0.5 * x * (1.0 + tanh(x * (_GELU_LINEAR + _GELU_CUBIC * elementwise.square(x))))
    return 0.5 * x * special.erfc(x * -_ROOT_HALF)


def hard_sigmoid(x: Any) -> Array:
    """Piecewise linear approximation of the logistic function, min(max(x + 3, 0), 6) / 6.

    Reference: Howard et al. 2019, "Searching for MobileNetV3".
    """
    return elementwise.minimum(relu(_floating(x) + 3.0), 6.0) * (1 / 6)


def hard_swish(x: Any) -> Array:
    """Piecewise approximation of silu, x * hard_sigmoid(x).

    Reference: Howard et al. 2019, "Searching for MobileNetV3".
    """
    x = _floating(x)
    return x * hard_sigmoid(x)


def below_maximum(x: Array, axes: tuple[int, ...]) -> Array:
    """x less its maximum over axes, half types in float32: the softmax of it is that of x.

    log(sum(e ** x)) is as large as x, so x minus it would be wrong by an ulp of the largest element. Here it lies in
    [0, log(n)]. The shift cancels from the result, so no derivative flows through it.
    """
    if x.dtype.itemsize == 2:
        x = elementwise.cast(x, dtypes.float32)
    return x - reduce.reduce_max(elementwise.stop_gradient(x), axis=axes, keepdims=True)


def log_softmax(x: Any, axis: int | tuple[int, ...] = -1) -> Array:
    """Logarithm of the softmax, x - log(sum(e ** x)) over ``axis``, without overflow.

    Args:
      x: [...]; half types are computed in float32.
      axis: an int or a tuple of ints.

    Returns:
      x.shape; exp of it sums to 1 over ``axis``.

    Raises:
      ShapeError: no such axis, or one without elements.

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.log_softmax(knp.asarray([1000.0, 0.0]))
      Array([    0., -1000.], dtype=float32)
    """
    x = _floating(x)
    axes = canonical_axes(axis, x.ndim, "log_softmax")
    shifted = below_maximum(x, axes)
    return elementwise.cast(shifted - reduce.reduce_logsumexp(shifted, axis=axes, keepdims=True), x.dtype)


def softmax(x: Any, axis: int | tuple[int, ...] = -1) -> Array:
    """Softmax, e ** x / sum(e ** x) over ``axis``, without overflow.

    Args:
      x: [...]; half types are computed in float32. An element -inf gets 0.
      axis: an int or a tuple of ints. The original Knet normalised over the whole array unless told otherwise.

    Returns:
      x.shape; non-negative, sums to 1 over ``axis``. NaN where all elements are -inf.

    Raises:
      ShapeError: no such axis, or one without elements.

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.softmax(knp.asarray([[0.0, 0.0], [1000.0, 0.0]]))
      Array([[0.5, 0.5],
             [1. , 0. ]], dtype=float32)
    """
    x = _floating(x)
    axes = canonical_axes(axis, x.ndim, "softmax")
    shifted = below_maximum(x, axes)
    y = elementwise.exp(shifted - reduce.reduce_logsumexp(shifted, axis=axes, keepdims=True))
    return elementwise.cast(y, x.dtype)


def dropout(key: Any, x: Any, rate: float) -> Array:
    """Elements zeroed at random, the others scaled up so that the expectation stays.

    y = x / (1 - rate) with probability 1 - rate, else 0, independently for each element.

    Args:
      key: uint64 [2], from :mod:`knet.random`; a new one for each step.
      x: [...].
      rate: probability of zero, in [0, 1).

    Returns:
      x.shape.

    Raises:
      DTypeError: no key. ArgumentError: a rate outside [0, 1).

    Example:
      >>> import knet
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.dropout(knet.random.key(0), knp.ones(5), 0.5)
      Array([2., 2., 0., 2., 2.], dtype=float32)

    Reference: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014, "Dropout: a simple way to prevent neural
    networks from overfitting".
    """
    if not 0 <= rate < 1:
        raise errors.probability("dropout", "rate", rate)
    x = _floating(x)
    if rate == 0:
        return x
    keep = random.bernoulli(key, 1 - rate, x.shape)
    return elementwise.where(keep, x * (1 / (1 - rate)), 0.0)
