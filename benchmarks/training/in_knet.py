"""The models in Knet: a loss is a function of parameters and a batch, a step its gradient and an optimizer."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import knet
import knet.numpy as knp
from knet import nn, optim

from .problems import CODES, CONTEXT, EPSILON, HEADS, HIDDEN, STAGES, WIDTH, Problem, mapped


def dense(p, x):
    return x @ p["w"] + p["b"]


# --- the losses ------------------------------------------------------------------------------------------------------


def linreg(p, x, y):
    return nn.mse(x @ p["w"] + p["b"], y)


def softmax(p, x, y):
    return nn.cross_entropy(dense(p, x), y)


def mlp(p, x, y):
    return nn.cross_entropy(dense(p[1], nn.relu(dense(p[0], x))), y)


def lenet(p, x, y):
    conv1, conv2, dense1, dense2 = p
    x = nn.max_pool(nn.relu(nn.conv(x, conv1["w"], conv1["b"])), 2)
    x = nn.max_pool(nn.relu(nn.conv(x, conv2["w"], conv2["b"])), 2)
    return nn.cross_entropy(dense(dense2, nn.relu(dense(dense1, nn.flatten(x)))), y)


def charlm(p, x, y):
    wx, wh, b = (p["lstm"][name] for name in ("wx", "wh", "b"))

    def cell(carry, x):
        h, c = carry
        i, f, g, o = knp.split(x @ wx + h @ wh + b, 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * nn.tanh(g)
        h = nn.sigmoid(o) * nn.tanh(c)
        return (h, c), h

    zeros = knp.zeros((len(x), HIDDEN), dtype=p["table"].dtype)
    _, h = knet.scan(cell, (zeros, zeros), p["table"][x.T])  # [T, N, D]
    return nn.cross_entropy(dense(p["dense"], h), y.T)


def resnet8(p, x, y):
    x = nn.relu(conv_norm(p["stem"], x))
    for block, (_, stride) in zip(p["blocks"], STAGES):
        inner = conv_norm(block["conv2"], nn.relu(conv_norm(block["conv1"], x, stride)))
        x = nn.relu(inner + (conv_norm(block["shortcut"], x, stride) if "shortcut" in block else x))
    return nn.cross_entropy(dense(p["dense"], x.mean(axis=(2, 3))), y)


def conv_norm(p, x, stride=1):
    """Convolution that keeps the size but for its stride, then batch normalisation with the batch's statistics."""
    x = nn.conv(x, p["w"], stride=stride, padding=p["w"].shape[-1] // 2)
    return normalised(x, (0, 2, 3)) * p["scale"][:, None, None] + p["shift"][:, None, None]


def normalised(x, axes):
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / knp.sqrt(knp.mean(centred**2, axis=axes, keepdims=True) + EPSILON)


def gpt(p, x, y):
    x = p["table"][x] + p["positions"]  # [N, T, D]
    for block in p["blocks"]:
        x = x + attention(block, layer_norm(block["norm1"], x))
        x = x + dense(block["down"], nn.gelu(dense(block["up"], layer_norm(block["norm2"], x))))
    return nn.cross_entropy(dense(p["head"], layer_norm(p["norm"], x)), y)


def layer_norm(p, x):
    return normalised(x, -1) * p["scale"] + p["shift"]


def attention(p, x):
    n, t, d = x.shape
    q, k, v = dense(p["qkv"], x).reshape(n, t, 3, HEADS, d // HEADS).transpose(2, 0, 3, 1, 4)  # each [N, heads, T, D]
    scores = q @ k.mT * (WIDTH // HEADS) ** -0.5
    past = knp.tril(knp.ones((CONTEXT, CONTEXT), dtype=bool))
    shares = nn.softmax(knp.where(past, scores, -knp.inf))
    return dense(p["out"], (shares @ v).transpose(0, 2, 1, 3).reshape(n, t, d))


def vae(p, x, noise):
    code = dense(p["code"], nn.relu(dense(p["encoder"], x)))
    mean, log_variance = code[:, :CODES], code[:, CODES:]
    z = mean + knp.exp(0.5 * log_variance) * noise
    logits = dense(p["out"], nn.relu(dense(p["decoder"], z)))
    divergence = -0.5 * knp.sum(1 + log_variance - mean**2 - knp.exp(log_variance))
    return (nn.binary_cross_entropy_with_logits(logits, x, reduction="sum") + divergence) / len(x)


LOSSES = {f.__name__: f for f in (linreg, softmax, mlp, lenet, charlm, resnet8, gpt, vae)}


# --- the step --------------------------------------------------------------------------------------------------------


def step_of(model: str, problem: Problem) -> tuple[Callable[..., Any], Any, Any]:
    """The step, a function of (params, state, x, y) not compiled yet, and the first params and state."""
    loss, optimizer = LOSSES[model], getattr(optim, problem.optimizer)(problem.rate)

    def step(params, state, x, y):
        value, grads = knet.value_and_grad(loss)(params, x, y)
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state, value

    params = mapped(lambda _, w: knp.asarray(w), problem.params)
    return step, params, optimizer.init(params)


def train(model: str, problem: Problem, threads: int, variant: str = "jit") -> Callable[[], Any]:
    """A function that trains on the next batch and returns the loss; variants are "jit" and "eager"."""
    step, params, state = step_of(model, problem)
    if variant == "jit":
        step = knet.jit(step, donate_argnums=(0, 1))
    batches = itertools.cycle([(knp.asarray(x), knp.asarray(y)) for x, y in problem.batches])

    def run() -> Any:
        nonlocal params, state
        params, state, value = step(params, state, *next(batches))
        return value

    return run
