"""The models in autograd, as far as it has what they need: it has no convolution, and GPT would take seconds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.tracer import getval

from .problems import CODES, HIDDEN, Problem, leaves, mapped


def dense(p, x):
    return anp.dot(x, p["w"]) + p["b"]


def cross_entropy(logits, chosen):
    """Of one-hot labels, because the derivative of indexing is slower."""
    shifted = logits - getval(logits).max(-1, keepdims=True)  # the shift cancels out, so it may be a constant
    return anp.mean(anp.log(anp.sum(anp.exp(shifted), -1)) - anp.sum(shifted * chosen, -1))


def sigmoid(x):
    return 0.5 * anp.tanh(0.5 * x) + 0.5


# --- the losses ------------------------------------------------------------------------------------------------------


def linreg(p, x, y):
    return anp.mean((dense(p, x) - y) ** 2)


def softmax(p, x, y):
    return cross_entropy(dense(p, x), y)


def mlp(p, x, y):
    return cross_entropy(dense(p[1], anp.maximum(dense(p[0], x), 0)), y)


def charlm(p, x, y):
    lstm = p["lstm"]
    table = anp.dot(p["table"], lstm["wx"]) + lstm["b"]  # the gates' part of each character, one-hot x [T, N, V]
    gates = anp.dot(x, table)
    h = c = np.zeros((x.shape[1], HIDDEN), np.float32)
    states = []
    for t in range(len(x)):
        sums = gates[t] + anp.dot(h, lstm["wh"])
        i, f, g, o = (sums[:, k * HIDDEN : (k + 1) * HIDDEN] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * anp.tanh(g)
        h = sigmoid(o) * anp.tanh(c)
        states.append(h)
    return cross_entropy(dense(p["dense"], anp.stack(states)), y)


def vae(p, x, noise):
    code = dense(p["code"], anp.maximum(dense(p["encoder"], x), 0))
    mean, log_variance = code[:, :CODES], code[:, CODES:]
    z = mean + anp.exp(0.5 * log_variance) * noise
    logits = dense(p["out"], anp.maximum(dense(p["decoder"], z), 0))
    entropy = anp.sum(anp.maximum(logits, 0) + anp.log(1 + anp.exp(-anp.abs(logits))) - x * logits)
    divergence = -0.5 * anp.sum(1 + log_variance - mean**2 - anp.exp(log_variance))
    return (entropy + divergence) / len(x)


LOSSES = {loss.__name__: loss for loss in (linreg, softmax, mlp, charlm, vae)}


# --- the step --------------------------------------------------------------------------------------------------------


class Adam:
    """Adam, in place on lists of arrays."""

    def __init__(self, rate: float, weights: list[Any]) -> None:
        self.rate, self.count = rate, 0
        self.moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]

    def step(self, weights: list[Any], grads: list[Any]) -> None:
        self.count += 1
        root = (1 - 0.999**self.count) ** 0.5
        rate, eps = self.rate * root / (1 - 0.9**self.count), 1e-8 * root
        for w, g, (m, n) in zip(weights, grads, self.moments):
            m += np.float32(0.1) * (g - m)
            n += np.float32(0.001) * (g * g - n)
            w -= np.float32(rate) * m / (np.sqrt(n) + np.float32(eps))


def train(model: str, problem: Problem, threads: int, variant: str = "") -> Callable[[], Any]:
    """A function that trains on the next batch and returns the loss."""
    value_and_grad = autograd.value_and_grad(LOSSES[model])
    params = mapped(lambda _, w: w.copy(), problem.params)
    weights, rate = leaves(params), np.float32(problem.rate)
    adam = Adam(problem.rate, weights) if problem.optimizer == "adam" else None
    batches = itertools.cycle([encoded(model, problem, x, y) for x, y in problem.batches])

    def run() -> Any:
        value, grads = value_and_grad(params, *next(batches))
        if adam is None:
            for w, g in zip(weights, leaves(grads)):
                w -= rate * g
        else:
            adam.step(weights, leaves(grads))
        return value

    return run


def encoded(model: str, problem: Problem, x: Any, y: Any) -> tuple[Any, Any]:
    """The batch with one-hot vectors in place of labels and of characters, these with time first."""
    if model == "charlm":
        one_hot = np.eye(len(problem.params["table"]), dtype=np.float32)
        return one_hot[x.T], one_hot[y.T]
    return (x, np.eye(10, dtype=np.float32)[y]) if y.dtype == np.int64 else (x, y)
