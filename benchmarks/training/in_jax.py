"""The models in JAX: the whole step under jit, its parameters and the optimizer's state donated."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .problems import CODES, CONTEXT, EPSILON, HEADS, HIDDEN, STAGES, WIDTH, Problem, mapped


def dense(p, x):
    return x @ p["w"] + p["b"]


def cross_entropy(logits, y):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[..., None], -1))


# --- the losses ------------------------------------------------------------------------------------------------------


def linreg(p, x, y):
    return jnp.mean((x @ p["w"] + p["b"] - y) ** 2)


def softmax(p, x, y):
    return cross_entropy(dense(p, x), y)


def mlp(p, x, y):
    return cross_entropy(dense(p[1], jax.nn.relu(dense(p[0], x))), y)


def lenet(p, x, y):
    for layer in p[:2]:
        x = jax.nn.relu(lax.conv(x, layer["w"], (1, 1), "VALID") + layer["b"][:, None, None])
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return cross_entropy(dense(p[3], jax.nn.relu(dense(p[2], x.reshape(len(x), -1)))), y)


def charlm(p, x, y):
    def cell(carry, gates):
        h, c = carry
        i, f, g, o = jnp.split(gates + h @ p["lstm"]["wh"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((len(x), HIDDEN), p["table"].dtype)
    gates = p["table"][x.T] @ p["lstm"]["wx"] + p["lstm"]["b"]  # of all times at once: XLA does not take it out
    _, h = lax.scan(cell, (zeros, zeros), gates)
    return cross_entropy(dense(p["dense"], h), y.T)


def resnet8(p, x, y):
    x = jax.nn.relu(conv_norm(p["stem"], x))
    for block, (_, stride) in zip(p["blocks"], STAGES):
        inner = conv_norm(block["conv2"], jax.nn.relu(conv_norm(block["conv1"], x, stride)))
        x = jax.nn.relu(inner + (conv_norm(block["shortcut"], x, stride) if "shortcut" in block else x))
    return cross_entropy(dense(p["dense"], x.mean(axis=(2, 3))), y)


def conv_norm(p, x, stride=1):
    padding = p["w"].shape[-1] // 2
    x = lax.conv_general_dilated(x, p["w"], (stride, stride), [(padding, padding)] * 2)
    return normalised(x, (0, 2, 3)) * p["scale"][:, None, None] + p["shift"][:, None, None]


def normalised(x, axes):
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + EPSILON)


def gpt(p, x, y):
    x = p["table"][x] + p["positions"]
    for block in p["blocks"]:
        x = x + attention(block, layer_norm(block["norm1"], x))
        up = dense(block["up"], layer_norm(block["norm2"], x))
        x = x + dense(block["down"], jax.nn.gelu(up, approximate=False))
    return cross_entropy(dense(p["head"], layer_norm(p["norm"], x)), y)


def layer_norm(p, x):
    return normalised(x, -1) * p["scale"] + p["shift"]


def attention(p, x):
    n, t, d = x.shape
    q, k, v = dense(p["qkv"], x).reshape(n, t, 3, HEADS, d // HEADS).transpose(2, 0, 3, 1, 4)
    scores = q @ k.mT * (WIDTH // HEADS) ** -0.5
    past = jnp.tril(jnp.ones((CONTEXT, CONTEXT), bool))
    shares = jax.nn.softmax(jnp.where(past, scores, -jnp.inf))
    return dense(p["out"], (shares @ v).transpose(0, 2, 1, 3).reshape(n, t, d))


def vae(p, x, noise):
    code = dense(p["code"], jax.nn.relu(dense(p["encoder"], x)))
    mean, log_variance = code[:, :CODES], code[:, CODES:]
    z = mean + jnp.exp(0.5 * log_variance) * noise
    logits = dense(p["out"], jax.nn.relu(dense(p["decoder"], z)))
    entropy = jnp.sum(jax.nn.softplus(logits) - x * logits)
    divergence = -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance))
    return (entropy + divergence) / len(x)


LOSSES = {loss.__name__: loss for loss in (linreg, softmax, mlp, lenet, charlm, resnet8, gpt, vae)}


# --- the step --------------------------------------------------------------------------------------------------------


def sgd(rate, params, grads, state):
    return jax.tree.map(lambda w, g: w - rate * g, params, grads), state


def adam(rate, params, grads, state):
    count, m, n = state
    count = count + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
    n = jax.tree.map(lambda n, g: 0.999 * n + 0.001 * g * g, n, grads)
    root = jnp.sqrt(-jnp.expm1(count * jnp.log(0.999)))
    step, eps = rate * root / (1 - 0.9**count), 1e-8 * root
    return jax.tree.map(lambda w, m, n: w - step * m / (jnp.sqrt(n) + eps), params, m, n), (count, m, n)


def train(model: str, problem: Problem, threads: int, variant: str = "jit") -> Callable[[], Any]:
    """A function that trains on the next batch and returns the loss; it waits for it unless the variant is "queued"."""
    loss, update = LOSSES[model], {"sgd": sgd, "adam": adam}[problem.optimizer]

    def step(params, state, x, y):
        value, grads = jax.value_and_grad(loss)(params, x, y)
        return *update(problem.rate, params, grads, state), value

    compiled = jax.jit(step, donate_argnums=(0, 1))
    params = mapped(lambda _, w: jnp.array(w), problem.params)
    moments = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    state: Any = (jnp.zeros(()), *moments) if problem.optimizer == "adam" else ()
    batches = itertools.cycle([(jnp.asarray(x), jnp.asarray(y)) for x, y in problem.batches])

    def run() -> Any:
        nonlocal params, state
        params, state, value = compiled(params, state, *next(batches))
        if variant != "queued":
            jax.block_until_ready((params, state, value))
        return value

    return run
