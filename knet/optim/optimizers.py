"""The optimizers. Each does in one pass over the leaves what a chain of transformations would do in several.

In the formulas g is the gradient, u the update that :func:`apply_updates` adds to the parameter p, alpha the learning
rate, and t = 1, 2, ... the number of the step; products, squares and roots are taken element by element. A schedule as
learning rate is called with the number of steps done, t - 1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .. import numpy as knp
from ..core import errors, tree
from ..core.array import Array
from ..core.ops import elementwise
from .base import (
    GradientTransformation,
    ScalarOrSchedule,
    accumulators,
    aligned,
    counter,
    in_dtype,
    learning_rate_argument,
    like,
    number_argument,
    rate_advance,
    rate_counter,
    rate_now,
)
from .transforms import Mask, decay_terms

__all__ = [
    "AdadeltaState",
    "AdagradState",
    "AdamState",
    "RmspropState",
    "SgdState",
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "rmsprop",
    "sgd",
]


# --- sgd ------------------------------------------------------------------------------------------------------------


class SgdState(NamedTuple):
    """State of sgd.

    Fields:
      count: number of steps done, int64 []; None where the learning rate is a constant.
      trace: decaying sum of gradients, a tree like params; None without momentum.
    """

    count: Array | None  # type: ignore[assignment]  # tuple's method of this name is not needed
    trace: Any


def sgd(
    learning_rate: ScalarOrSchedule, momentum: float | None = None, nesterov: bool = False
) -> GradientTransformation:
    """Stochastic gradient descent, with momentum if asked for.

    Update::

        u = -alpha * g                                    momentum is None

        v <- momentum * v + g                             v = 0 at first
        u = -alpha * v                                    classical
        u = -alpha * (momentum * v + g)                   nesterov

    Args:
      learning_rate: alpha, a number, an array of shape [] or a schedule.
      momentum: in [0, 1), typically 0.9; None keeps no v.
      nesterov: evaluate as if the next step of v were taken already; needs momentum.

    Elsewhere:
      PyTorch and Optax agree. Knet.jl's ``SGD(lr)`` is ``sgd(lr)``, its ``Momentum(lr, gamma)`` and
      ``Nesterov(lr, gamma)`` are ``sgd(lr, momentum=gamma)`` and ``sgd(lr, momentum=gamma, nesterov=True)``, with
      defaults lr = 0.05 and gamma = 0.95 (SGD: lr = 0.1). It stores ``-alpha * v``: the same steps as long as alpha is
      constant; when alpha changes, only here do the earlier gradients count with the new one.

    References:
      Polyak, Some methods of speeding up the convergence of iteration methods (1964). Sutskever, Martens, Dahl and
      Hinton, On the importance of initialization and momentum in deep learning (2013).

    Example:
      >>> import knet
      >>> from knet import optim
      >>> optimizer = optim.sgd(0.1)
      >>> params = {"w": 3.0}
      >>> grads = knet.grad(lambda params: params["w"] ** 2)(params)
      >>> updates, state = optimizer.update(grads, optimizer.init(params))
      >>> optim.apply_updates(params, updates)
      {'w': Array(2.4, dtype=float32)}
    """
    rate = learning_rate_argument("sgd", learning_rate)
    decay = None if momentum is None else number_argument("sgd", "momentum", momentum, high=1.0)
    _check_nesterov("sgd", momentum, nesterov)

    def init(params: Any) -> SgdState:
        return SgdState(rate_counter(rate, params), None if decay is None else accumulators(params))

    def update(grads: Any, state: SgdState, params: Any = None) -> tuple[Any, SgdState]:
        factor = -rate_now(rate, state.count)
        count = rate_advance(state.count)
        if decay is None:
            structure, (leaves,) = aligned("sgd.update(grads, state)", grads)
            return tree.unflatten(structure, [like(g * factor, g) for g in leaves]), SgdState(count, None)
        structure, (leaves, traces) = aligned("sgd.update(grads, state)", grads, state.trace)
        updates, new = [], []
        for g, v in zip(leaves, traces):
            v = v * decay + g
            new.append(v)
            updates.append(like((v * decay + g if nesterov else v) * factor, g))
        return tree.unflatten(structure, updates), SgdState(count, tree.unflatten(structure, new))

    return GradientTransformation(init, update)


def _check_nesterov(where: str, momentum: float | None, nesterov: bool) -> None:
    if nesterov and momentum is None:
        raise errors.argument(
            where, "nesterov", nesterov, "it is a kind of momentum, and momentum is None", "pass momentum=0.9"
        )


# --- adagrad --------------------------------------------------------------------------------------------------------


class AdagradState(NamedTuple):
    """State of adagrad.

    Fields:
      count: number of steps done, int64 []; None where the learning rate is a constant.
      sum_of_squares: of the gradients, a tree like params.
    """

    count: Array | None  # type: ignore[assignment]  # tuple's method of this name is not needed
    sum_of_squares: Any


def adagrad(
    learning_rate: ScalarOrSchedule, initial_accumulator_value: float = 0.1, eps: float = 1e-7
) -> GradientTransformation:
    """Adagrad: each element's step shrinks with the sum of its squared gradients.

    Update::

        s <- s + g ** 2                                   s = initial_accumulator_value at first
        u = -alpha * g / sqrt(s + eps)                    0 where s = 0

    Args:
      learning_rate: alpha, a number, an array of shape [] or a schedule.
      initial_accumulator_value: at least 0.
      eps: at least 0.

    Elsewhere:
      Optax has these formulas and defaults. PyTorch begins with s = 0 and has eps = 1e-10 outside of the root, as has
      the paper's diagonal form. Knet.jl's ``Adagrad()`` has eps inside too and is
      ``adagrad(0.05, initial_accumulator_value=0.0, eps=1e-6)``.

    References:
      Duchi, Hazan and Singer, Adaptive subgradient methods for online learning and stochastic optimization (2011).
    """
    rate = learning_rate_argument("adagrad", learning_rate)
    first = number_argument("adagrad", "initial_accumulator_value", initial_accumulator_value)
    eps = number_argument("adagrad", "eps", eps)

    def init(params: Any) -> AdagradState:
        return AdagradState(rate_counter(rate, params), accumulators(params, first))

    def update(grads: Any, state: AdagradState, params: Any = None) -> tuple[Any, AdagradState]:
        factor = -rate_now(rate, state.count)
        structure, (leaves, sums) = aligned("adagrad.update(grads, state)", grads, state.sum_of_squares)
        updates, new = [], []
        for g, s in zip(leaves, sums):
            h = in_dtype(g, s.dtype)
            s = s + h * h
            new.append(s)
            updates.append(like(h * factor / _root(s, eps), g))
        state = AdagradState(rate_advance(state.count), tree.unflatten(structure, new))
        return tree.unflatten(structure, updates), state

    return GradientTransformation(init, update)


def _root(s: Any, eps: float) -> Any:
    """sqrt(s + eps); without eps, 1 where s = 0: a divisor for a numerator that is 0 there."""
    if eps:
        return knp.sqrt(s + eps)
    return knp.sqrt(elementwise.where(knp.equal(s, 0.0), 1.0, s))


# --- adadelta -------------------------------------------------------------------------------------------------------


class AdadeltaState(NamedTuple):
    """State of adadelta.

    Fields:
      count: number of steps done, int64 []; None where the learning rate is a constant.
      e_g: moving average of squared gradients, a tree like params.
      e_x: moving average of squared steps (before the learning rate), a tree like params.
    """

    count: Array | None  # type: ignore[assignment]  # tuple's method of this name is not needed
    e_g: Any
    e_x: Any


def adadelta(learning_rate: ScalarOrSchedule = 1.0, rho: float = 0.9, eps: float = 1e-6) -> GradientTransformation:
    """Adadelta: the step has the unit of the parameter, set by the size of earlier steps.

    Update::

        a <- rho * a + (1 - rho) * g ** 2                 a = 0 at first
        d = g * sqrt(b + eps) / sqrt(a + eps)
        b <- rho * b + (1 - rho) * d ** 2                 b = 0 at first
        u = -alpha * d

    Args:
      learning_rate: alpha, a number, an array of shape [] or a schedule; the paper has none, which is 1.
      rho: in [0, 1).
      eps: above 0: it sets the size of the first steps, sqrt(eps / (1 - rho)).

    Elsewhere:
      PyTorch, Optax and Knet.jl agree, with eps inside of the roots; Knet.jl's ``Adadelta()`` is ``adadelta()``.

    References:
      Zeiler, ADADELTA: an adaptive learning rate method (2012).
    """
    rate = learning_rate_argument("adadelta", learning_rate)
    rho, eps = number_argument("adadelta", "rho", rho, high=1.0), number_argument("adadelta", "eps", eps)
    if eps == 0:
        raise errors.argument("adadelta", "eps", eps, "with eps = 0 no step ever begins", "pass a number such as 1e-6")
    rest = 1.0 - rho

    def init(params: Any) -> AdadeltaState:
        return AdadeltaState(rate_counter(rate, params), accumulators(params), accumulators(params))

    def update(grads: Any, state: AdadeltaState, params: Any = None) -> tuple[Any, AdadeltaState]:
        factor = -rate_now(rate, state.count)
        structure, (leaves, e_g, e_x) = aligned("adadelta.update(grads, state)", grads, state.e_g, state.e_x)
        updates, new_g, new_x = [], [], []
        for g, a, b in zip(leaves, e_g, e_x):
            h = in_dtype(g, a.dtype)
            a = a * rho + h * h * rest
            d = h * knp.sqrt((b + eps) / (a + eps))
            new_g.append(a)
            new_x.append(b * rho + d * d * rest)
            updates.append(like(d * factor, g))
        state = AdadeltaState(
            rate_advance(state.count), tree.unflatten(structure, new_g), tree.unflatten(structure, new_x)
        )
        return tree.unflatten(structure, updates), state

    return GradientTransformation(init, update)


# --- rmsprop --------------------------------------------------------------------------------------------------------


class RmspropState(NamedTuple):
    """State of rmsprop.

    Fields:
      count: number of steps done, int64 []; None where the learning rate is a constant.
      nu: moving average of squared gradients, a tree like params.
      mu: moving average of gradients, a tree like params; None unless centered.
      trace: decaying sum of steps, a tree like params; None without momentum.
    """

    count: Array | None  # type: ignore[assignment]  # tuple's method of this name is not needed
    nu: Any
    mu: Any
    trace: Any


def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: float = 0.9,
    eps: float = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: float | None = None,
    nesterov: bool = False,
) -> GradientTransformation:
    """RMSProp: the gradient divided by the root of a moving average of its square.

    Update::

        n <- decay * n + (1 - decay) * g ** 2             n = initial_scale at first
        m <- decay * m + (1 - decay) * g                  centered; m = 0 at first
        r = max(n - m ** 2, 0) if centered else n
        d = -alpha * g / sqrt(r + eps)                    eps_in_sqrt
        d = -alpha * g / (sqrt(r) + eps)                  otherwise
        u = d                                             momentum is None
        v <- momentum * v + d;   u = v                    classical; v = 0 at first
        v <- momentum * v + d;   u = momentum * v + d     nesterov

    Args:
      learning_rate: alpha, a number, an array of shape [] or a schedule.
      decay: in [0, 1).
      eps: at least 0; where it is 0 and r = 0, u = 0.
      initial_scale: at least 0.
      eps_in_sqrt: where eps stands.
      centered: divide by the standard deviation. Rounding may make it negative, hence the max.
      momentum: in [0, 1); None keeps no v.
      nesterov: needs momentum.

    Elsewhere:
      Optax has these formulas and defaults (without the max). PyTorch has decay = 0.99 and eps outside of the root;
      its momentum sums g / (sqrt(r) + eps) and multiplies by alpha afterwards, the same as long as alpha is constant.
      Knet.jl's ``Rmsprop()`` has eps inside and is ``rmsprop(0.01, decay=0.9, eps=1e-6)``.

    References:
      Tieleman and Hinton, Lecture 6.5: rmsprop (2012). Graves, Generating sequences with recurrent neural networks
      (2013), for centered.
    """
    rate = learning_rate_argument("rmsprop", learning_rate)
    decay = number_argument("rmsprop", "decay", decay, high=1.0)
    eps = number_argument("rmsprop", "eps", eps)
    first = number_argument("rmsprop", "initial_scale", initial_scale)
    gamma = None if momentum is None else number_argument("rmsprop", "momentum", momentum, high=1.0)
    _check_nesterov("rmsprop", momentum, nesterov)
    rest = 1.0 - decay

    def init(params: Any) -> RmspropState:
        return RmspropState(
            rate_counter(rate, params),
            accumulators(params, first),
            accumulators(params) if centered else None,
            None if gamma is None else accumulators(params),
        )

    def update(grads: Any, state: RmspropState, params: Any = None) -> tuple[Any, RmspropState]:
        factor = -rate_now(rate, state.count)
        where = "rmsprop.update(grads, state)"
        structure, (leaves, nu) = aligned(where, grads, state.nu)
        mu = aligned(where, grads, state.mu)[1][1] if centered else leaves
        traces = leaves if gamma is None else aligned(where, grads, state.trace)[1][1]
        updates, new_nu, new_mu, new_trace = [], [], [], []
        for g, n, m, v in zip(leaves, nu, mu, traces):
            h = in_dtype(g, n.dtype)
            n = r = n * decay + h * h * rest
            if centered:
                m = m * decay + h * rest
                r = knp.maximum(n - m * m, 0.0)
                new_mu.append(m)
            d = h * factor / (_root(r, eps) if eps_in_sqrt or not eps else knp.sqrt(r) + eps)
            if gamma is not None:
                v = v * gamma + d
                new_trace.append(v)
                d = v * gamma + d if nesterov else v
            new_nu.append(n)
            updates.append(like(d, g))
        state = RmspropState(
            rate_advance(state.count),
            tree.unflatten(structure, new_nu),
            tree.unflatten(structure, new_mu) if centered else None,
            None if gamma is None else tree.unflatten(structure, new_trace),
        )
        return tree.unflatten(structure, updates), state

    return GradientTransformation(init, update)


# --- adam -----------------------------------------------------------------------------------------------------------


class AdamState(NamedTuple):
    """State of adam and adamw.

    Fields:
      count: number of steps done, int64 [].
      mu: moving average of gradients, a tree like params.
      nu: moving average of squared gradients, a tree like params.
    """

    count: Array  # type: ignore[assignment]
    mu: Any
    nu: Any


def adam(
    learning_rate: ScalarOrSchedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0
) -> GradientTransformation:
    """Adam: moving average of the gradient over the root of that of its square, both freed from their start at 0.

    Update::

        m <- b1 * m + (1 - b1) * g                        m = 0 at first
        n <- b2 * n + (1 - b2) * g ** 2                   n = 0 at first
        m' = m / (1 - b1 ** t),   n' = n / (1 - b2 ** t)
        u = -alpha * m' / (sqrt(n' + eps_root) + eps)

    Args:
      learning_rate: alpha, a number, an array of shape [] or a schedule; typically 1e-3.
      b1: in [0, 1).
      b2: in [0, 1).
      eps: outside of the root; at least 0, which makes NaN of gradients that are all 0.
      eps_root: inside of it; at least 0. A derivative through the step at n = 0 needs it.

    Numerics:
      The corrections are computed once a step, as ``-expm1(t * log(b))``, which keeps the digits that ``1 - b ** t``
      loses to cancellation in float32 (three of seven at b = 0.999, t = 1). They are folded into alpha and eps.

    Elsewhere:
      PyTorch, Optax and Knet.jl agree; Knet.jl's ``Adam()`` is ``adam(0.001)``.

    References:
      Kingma and Ba, Adam: a method for stochastic optimization (2015).

    Example:
      >>> from knet import optim
      >>> optimizer = optim.adam(0.5)
      >>> updates, state = optimizer.update([2.0, -0.01], optimizer.init([0.0, 0.0]))
      >>> [round(float(u), 4) for u in updates]
      [-0.5, 0.5]
    """
    return _adam("adam", learning_rate, b1, b2, eps, eps_root, 0.0, None)


def adamw(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    weight_decay: float = 1e-4,
    mask: Mask = None,
) -> GradientTransformation:
    """Adam with decoupled weight decay; ``update`` needs the parameters.

    Update::

        u = (the update of adam) - alpha * weight_decay * p

    Args:
      learning_rate, b1, b2, eps, eps_root: as in :func:`adam`.
      weight_decay: at least 0.
      mask: tree of bools with the structure of the parameters, or a function of the parameters that returns one: False
        leaves a parameter (typically biases and scales) out. None decays all.

    Raises:
      ValueError: from ``update`` without params. TreeError: a mask unlike the parameters.

    Elsewhere:
      Optax has these formulas and defaults; PyTorch has weight_decay = 0.01. In the paper the decay is multiplied by
      the schedule alone and not by alpha: divide weight_decay by the initial alpha for that. Knet.jl has none.

    References:
      Loshchilov and Hutter, Decoupled weight decay regularization (2019).
    """
    weight_decay = number_argument("adamw", "weight_decay", weight_decay)
    return _adam("adamw", learning_rate, b1, b2, eps, eps_root, weight_decay, mask)


def _adam(
    where: str,
    learning_rate: ScalarOrSchedule,
    b1: float,
    b2: float,
    eps: float,
    eps_root: float,
    weight_decay: float,
    mask: Mask,
) -> GradientTransformation:
    rate = learning_rate_argument(where, learning_rate)
    b1, b2 = number_argument(where, "b1", b1, high=1.0), number_argument(where, "b2", b2, high=1.0)
    eps, eps_root = number_argument(where, "eps", eps), number_argument(where, "eps_root", eps_root)
    rest1, rest2 = 1.0 - b1, 1.0 - b2
    decoupled = where == "adamw"

    def init(params: Any) -> AdamState:
        return AdamState(counter(params), accumulators(params), accumulators(params))

    def scalars(count: Any, alpha: Any, dtype: Any) -> tuple[Any, ...]:
        """Factor of m, addends inside and outside the root, factor of p. Expanded with sqrt(1 - b2^t)."""
        t = elementwise.cast(count, dtype)
        correction1, correction2 = -knp.expm1(t * _log(b1)), -knp.expm1(t * _log(b2))
        root = knp.sqrt(correction2)
        alpha = in_dtype(alpha, dtype)
        return root / correction1 * -alpha, correction2 * eps_root, root * eps, alpha * weight_decay

    def update(grads: Any, state: AdamState, params: Any = None) -> tuple[Any, AdamState]:
        structure, (leaves, mu, nu) = aligned(f"{where}.update(grads, state)", grads, state.mu, state.nu)
        decayed = decay_terms(where, grads, params, mask)[2] if decoupled else [None] * len(leaves)
        alpha = rate_now(rate, state.count)
        count = state.count + 1
        of_dtype: dict[Any, Any] = {}
        updates, new_mu, new_nu = [], [], []
        for g, m, n, p in zip(leaves, mu, nu, decayed):
            dtype = m.dtype
            found = of_dtype.get(dtype)
            if found is None:
                found = of_dtype[dtype] = scalars(count, alpha, dtype)
            factor, inside, outside, shrink = found
            h = g if g.dtype is dtype else in_dtype(g, dtype)
            m = m * b1 + h * rest1
            n = n * b2 + h * h * rest2
            u = m * factor / (knp.sqrt(n + inside if eps_root else n) + outside)
            if p is not None:
                u = u - in_dtype(p, dtype) * shrink
            new_mu.append(m)
            new_nu.append(n)
            updates.append(like(u, g))
        return tree.unflatten(structure, updates), AdamState(
            count, tree.unflatten(structure, new_mu), tree.unflatten(structure, new_nu)
        )

    return GradientTransformation(init, update)


def _log(decay: float) -> float:
    """log(decay), such that exp(t * log) is 0 for decay 0 and every t >= 1."""
    return math.log(decay) if decay else -1e4
