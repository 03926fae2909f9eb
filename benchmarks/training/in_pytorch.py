"""The models in PyTorch: its fused functions where it has them, gradients by autograd, parameters updated in place."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as f

from .problems import CODES, EPSILON, HEADS, HIDDEN, STAGES, Problem, leaves, mapped


def dense(p, x):
    return f.linear(x, p["w"], p["b"])


# --- the losses ------------------------------------------------------------------------------------------------------


def linreg(p, x, y):
    return f.mse_loss(x @ p["w"] + p["b"], y)


def softmax(p, x, y):
    return f.cross_entropy(dense(p, x), y)


def mlp(p, x, y):
    return f.cross_entropy(dense(p[1], torch.relu(dense(p[0], x))), y)


def lenet(p, x, y):
    conv1, conv2, dense1, dense2 = p
    x = f.max_pool2d(torch.relu(f.conv2d(x, conv1["w"], conv1["b"])), 2)
    x = f.max_pool2d(torch.relu(f.conv2d(x, conv2["w"], conv2["b"])), 2)
    return f.cross_entropy(dense(dense2, torch.relu(dense(dense1, x.flatten(1)))), y)


def charlm(p, x, y):
    lstm = p["lstm"]
    zeros = torch.zeros(1, len(x), HIDDEN)
    # What torch.nn.LSTM calls: it has a second bias, which is a constant here. One layer, no dropout, time first.
    weights = [lstm["wx"], lstm["wh"], lstm["b"], torch.zeros(4 * HIDDEN)]
    h, _, _ = torch.lstm(f.embedding(x.T, p["table"]), (zeros, zeros), weights, True, 1, 0.0, True, False, False)
    return f.cross_entropy(dense(p["dense"], h).flatten(0, 1), y.T.flatten())


def resnet8(p, x, y):
    x = torch.relu(conv_norm(p["stem"], x))
    for block, (_, stride) in zip(p["blocks"], STAGES):
        inner = conv_norm(block["conv2"], torch.relu(conv_norm(block["conv1"], x, stride)))
        x = torch.relu(inner + (conv_norm(block["shortcut"], x, stride) if "shortcut" in block else x))
    return f.cross_entropy(dense(p["dense"], x.mean((2, 3))), y)


def conv_norm(p, x, stride=1):
    x = f.conv2d(x, p["w"], stride=stride, padding=p["w"].shape[-1] // 2)
    return f.batch_norm(x, None, None, p["scale"], p["shift"], training=True, eps=EPSILON)


def gpt(p, x, y):
    x = f.embedding(x, p["table"]) + p["positions"]
    for block in p["blocks"]:
        x = x + attention(block, layer_norm(block["norm1"], x))
        x = x + dense(block["down"], f.gelu(dense(block["up"], layer_norm(block["norm2"], x))))
    return f.cross_entropy(dense(p["head"], layer_norm(p["norm"], x)).flatten(0, 1), y.flatten())


def layer_norm(p, x):
    return f.layer_norm(x, x.shape[-1:], p["scale"], p["shift"], EPSILON)


def attention(p, x):
    n, t, d = x.shape
    q, k, v = dense(p["qkv"], x).view(n, t, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
    x = f.scaled_dot_product_attention(q, k, v, is_causal=True)
    return dense(p["out"], x.transpose(1, 2).reshape(n, t, d))


def vae(p, x, noise):
    code = dense(p["code"], torch.relu(dense(p["encoder"], x)))
    mean, log_variance = code.split(CODES, 1)
    z = mean + torch.exp(0.5 * log_variance) * noise
    logits = dense(p["out"], torch.relu(dense(p["decoder"], z)))
    divergence = -0.5 * torch.sum(1 + log_variance - mean**2 - log_variance.exp())
    return (f.binary_cross_entropy_with_logits(logits, x, reduction="sum") + divergence) / len(x)


LOSSES = {loss.__name__: loss for loss in (linreg, softmax, mlp, lenet, charlm, resnet8, gpt, vae)}


# --- the step --------------------------------------------------------------------------------------------------------


MODES = {"compiled": None, "graphs": "reduce-overhead"}  # of torch.compile; graphs are CUDA's


def train(
    model: str, problem: Problem, threads: int, variant: str = "eager", device: str = "cpu", dtype: str = "float32"
) -> Callable[[], Any]:
    """A function that trains on the next batch and returns the loss.

    Variants are eager, compiled, graphs and channels-last.
    """
    torch.set_num_threads(threads)
    torch.set_default_device(device)
    torch.set_default_dtype(getattr(torch, dtype))
    layout = torch.channels_last if variant == "channels-last" else torch.contiguous_format

    def tensor(array: Any) -> Any:
        x = torch.tensor(array)
        x = x.to(torch.get_default_dtype()) if x.is_floating_point() else x
        return x.to(memory_format=layout) if x.ndim == 4 else x

    # torch's linear and lstm take their matrices as [out, in]
    def parameter(key: str, w: Any) -> Any:
        return tensor(np.ascontiguousarray(w.T) if key in ("w", "wx", "wh") and w.ndim == 2 else w).requires_grad_()

    params = mapped(parameter, problem.params)
    weights, rate = leaves(params), problem.rate
    loss = torch.compile(LOSSES[model], mode=MODES[variant]) if variant in MODES else LOSSES[model]
    batches = itertools.cycle([(tensor(x), tensor(y)) for x, y in problem.batches])
    adam = torch.optim.Adam(weights, rate, fused=True) if problem.optimizer == "adam" else None

    def run() -> Any:
        value = loss(params, *next(batches))
        if adam is None:  # for a few parameters a loop costs less than torch.optim.SGD
            grads = torch.autograd.grad(value, weights)
            with torch.no_grad():
                for w, g in zip(weights, grads):
                    w.sub_(g, alpha=rate)
        else:  # backward gives a gradient its parameter's layout in memory, which the fused optimizer takes for granted
            adam.zero_grad()
            value.backward()
            adam.step()
        return value.detach()

    return run
