"""The same programs in each library, written as its own users would write them for speed.

``chain(kind, gradient)`` returns a function of no arguments that runs one of ``problems.CHAINS`` once, or the gradient
of its sum; ``train(model, problem)`` returns ``step``, which trains on the next batch and returns the loss. Either is
None where the library has no such program. The methods named like models compute scores [N, O] from parameters and x.

Every result is ready when the function returns. A library is imported when its class is instantiated, so that each is
measured only where it is installed, and without the others in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from .problems import CHAIN, CHAINS, Problem, chain_input

Run = Callable[[], Any]


def chain_of(kind: str, sin: Callable[[Any], Any], tanh: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The chain with a library's sine and hyperbolic tangent; multiplication and addition are its operators."""

    def arithmetic(x: Any) -> Any:
        for _ in range(CHAIN // CHAINS["arithmetic"]):
            x = x * 0.9 + 0.1
        return x

    def mixed(x: Any) -> Any:
        for _ in range(CHAIN // CHAINS["mixed"]):
            x = tanh(sin(x * 0.9 + 0.1))
        return x

    return {"arithmetic": arithmetic, "mixed": mixed}[kind]


class Knet:
    """Knet, eager."""

    module = "knet"

    def __init__(self, threads: int) -> None:
        import knet
        import knet.numpy as knp
        from knet import nn

        self.knet, self.knp, self.nn = knet, knp, nn

    def chain(self, kind: str, gradient: bool) -> Run:
        knp, x = self.knp, self.knp.asarray(chain_input())
        forward = chain_of(kind, knp.sin, knp.tanh)
        run = self.knet.grad(lambda x: forward(x).sum()) if gradient else forward
        return lambda: run(x)

    def softmax(self, p: Any, x: Any) -> Any:
        return x @ p["w"] + p["b"]

    def mlp(self, p: Any, x: Any) -> Any:
        return self.nn.relu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]

    def lenet(self, p: Any, x: Any) -> Any:
        nn = self.nn
        x = nn.max_pool(nn.relu(nn.conv(x, p["w1"], p["b1"])), 2)
        x = nn.max_pool(nn.relu(nn.conv(x, p["w2"], p["b2"])), 2)
        return nn.relu(nn.flatten(x) @ p["w3"] + p["b3"]) @ p["w4"] + p["b4"]

    def loss(self, model: str) -> Callable[[Any, Any, Any], Any]:
        """Mean cross entropy of the model as a function of parameters, images and labels."""
        scores, cross_entropy = getattr(self, model), self.nn.cross_entropy
        return lambda params, x, y: cross_entropy(scores(params, x), y)

    def train(self, model: str, problem: Problem) -> Run:
        asarray, rate = self.knp.asarray, problem.rate
        value_and_grad = self.knet.value_and_grad(self.loss(model))
        params = {name: asarray(w) for name, w in problem.params.items()}
        batches = itertools.cycle([(asarray(x), asarray(y)) for x, y in problem.batches])

        def step() -> Any:
            nonlocal params
            loss, grads = value_and_grad(params, *next(batches))
            params = {name: w - rate * grads[name] for name, w in params.items()}
            return loss

        return step


class NumPy:
    """NumPy, derivatives by hand: what the arithmetic costs without a tape."""

    module = "numpy"

    def __init__(self, threads: int) -> None:
        pass

    def chain(self, kind: str, gradient: bool) -> Run | None:
        forward, x = chain_of(kind, np.sin, np.tanh), chain_input()
        return None if gradient else lambda: forward(x)

    def train(self, model: str, problem: Problem) -> Run | None:
        derived = {"softmax": self.softmax, "mlp": self.mlp}.get(model)
        if derived is None:
            return None
        params, rate = [w.copy() for w in problem.params.values()], problem.rate
        batches = itertools.cycle(problem.batches)

        def step() -> Any:
            loss, grads = derived(*params, *next(batches))
            for w, g in zip(params, grads):
                g *= rate
                w -= g
            return loss

        return step

    def softmax(self, w: Any, b: Any, x: Any, y: Any) -> tuple[Any, tuple[Any, ...]]:
        """Loss, and its derivatives in the order of the parameters."""
        loss, g = self.cross_entropy(x @ w + b, y)
        return loss, (x.T @ g, g.sum(0))

    def mlp(self, w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> tuple[Any, tuple[Any, ...]]:
        """Loss, and its derivatives in the order of the parameters."""
        h = np.maximum(x @ w1 + b1, 0)
        loss, g = self.cross_entropy(h @ w2 + b2, y)
        gh = (g @ w2.T) * (h > 0)
        return loss, (x.T @ gh, gh.sum(0), h.T @ g, g.sum(0))

    @staticmethod
    def cross_entropy(scores: Any, y: Any) -> tuple[Any, Any]:
        """Mean of -log softmax(scores)[y], and its derivative by the scores."""
        rows = np.arange(len(y))
        scores = scores - scores.max(1, keepdims=True)
        g = np.exp(scores)
        total = g.sum(1)
        loss = np.mean(np.log(total) - scores[rows, y])
        g /= total[:, None]
        g[rows, y] -= 1
        g *= 1.0 / len(y)
        return loss, g


class Autograd:
    """autograd; it has no convolution, so LeNet is left out."""

    module = "autograd"

    def __init__(self, threads: int) -> None:
        import autograd
        import autograd.numpy as anp
        from autograd.tracer import getval

        self.autograd, self.anp, self.getval = autograd, anp, getval

    def chain(self, kind: str, gradient: bool) -> Run:
        anp, x = self.anp, chain_input()
        forward = chain_of(kind, anp.sin, anp.tanh)
        run = self.autograd.grad(lambda x: anp.sum(forward(x))) if gradient else forward
        return lambda: run(x)

    def softmax(self, p: Any, x: Any) -> Any:
        return self.anp.dot(x, p["w"]) + p["b"]

    def mlp(self, p: Any, x: Any) -> Any:
        anp = self.anp
        return anp.dot(anp.maximum(anp.dot(x, p["w1"]) + p["b1"], 0), p["w2"]) + p["b2"]

    def train(self, model: str, problem: Problem) -> Run | None:
        scores, anp, getval, rate = getattr(self, model, None), self.anp, self.getval, problem.rate
        if scores is None:
            return None

        def loss(params: Any, x: Any, chosen: Any) -> Any:
            s = scores(params, x)
            s = s - getval(s).max(1, keepdims=True)  # the shift cancels out, so it may be a constant
            return anp.mean(anp.log(anp.sum(anp.exp(s), 1)) - anp.sum(s * chosen, 1))

        value_and_grad = self.autograd.value_and_grad(loss)
        params = dict(problem.params)
        one_hot = np.eye(10, dtype=np.float32)  # the derivative of indexing would be slower
        batches = itertools.cycle([(x, one_hot[y]) for x, y in problem.batches])

        def step() -> Any:
            nonlocal params
            value, grads = value_and_grad(params, *next(batches))
            params = {name: w - rate * grads[name] for name, w in params.items()}
            return value

        return step


class PyTorch:
    """PyTorch, eager, images as [N, C, H, W]; parameters are updated in place."""

    module = "torch"

    def __init__(self, threads: int) -> None:
        import torch
        from torch.nn import functional

        torch.set_num_threads(threads)
        self.torch, self.functional = torch, functional

    def chain(self, kind: str, gradient: bool) -> Run:
        torch, x = self.torch, self.torch.from_numpy(chain_input())
        forward = chain_of(kind, torch.sin, torch.tanh)
        if not gradient:
            return lambda: forward(x)
        x.requires_grad_()
        return lambda: torch.autograd.grad(forward(x).sum(), x)[0]

    def softmax(self, p: Any, x: Any) -> Any:
        return self.functional.linear(x, p["w"], p["b"])

    def mlp(self, p: Any, x: Any) -> Any:
        linear = self.functional.linear
        return linear(self.torch.relu(linear(x, p["w1"], p["b1"])), p["w2"], p["b2"])

    def lenet(self, p: Any, x: Any) -> Any:
        f, relu = self.functional, self.torch.relu
        x = f.max_pool2d(relu(f.conv2d(x, p["w1"], p["b1"])), 2)
        x = f.max_pool2d(relu(f.conv2d(x, p["w2"], p["b2"])), 2)
        return f.linear(relu(f.linear(x.flatten(1), p["w3"], p["b3"])), p["w4"], p["b4"])

    def train(self, model: str, problem: Problem) -> Run:
        torch, scores, rate = self.torch, getattr(self, model), problem.rate
        cross_entropy = self.functional.cross_entropy
        # linear takes its matrix as [out, in]
        start = {name: np.array(w.T if w.ndim == 2 else w, order="C") for name, w in problem.params.items()}
        params = {name: torch.from_numpy(w).requires_grad_() for name, w in start.items()}
        leaves = list(params.values())
        batches = itertools.cycle([(torch.tensor(x), torch.tensor(y)) for x, y in problem.batches])

        def step() -> Any:
            x, y = next(batches)
            loss = cross_entropy(scores(params, x), y)
            grads = torch.autograd.grad(loss, leaves)
            with torch.no_grad():
                for w, g in zip(leaves, grads):
                    w.sub_(g, alpha=rate)
            return loss.detach()

        return step


class JAX:
    """JAX, the chain and the whole training step compiled."""

    module = "jax"

    def __init__(self, threads: int) -> None:
        import jax

        jax.config.update("jax_platforms", "cpu")
        self.jax, self.jit = jax, jax.jit

    def chain(self, kind: str, gradient: bool) -> Run:
        jnp = self.jax.numpy
        x = jnp.asarray(chain_input())
        forward = chain_of(kind, jnp.sin, jnp.tanh)
        run = self.jit(self.jax.grad(lambda x: forward(x).sum()) if gradient else forward)
        return lambda: run(x).block_until_ready()

    def softmax(self, p: Any, x: Any) -> Any:
        return x @ p["w"] + p["b"]

    def mlp(self, p: Any, x: Any) -> Any:
        return self.jax.nn.relu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]

    def lenet(self, p: Any, x: Any) -> Any:
        lax, relu = self.jax.lax, self.jax.nn.relu
        for w, b in (("w1", "b1"), ("w2", "b2")):
            x = relu(lax.conv(x, p[w], (1, 1), "VALID") + p[b][:, None, None])
            x = lax.reduce_window(x, -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        return relu(x.reshape(len(x), -1) @ p["w3"] + p["b3"]) @ p["w4"] + p["b4"]

    def train(self, model: str, problem: Problem) -> Run | None:
        jax, jnp, scores, rate = self.jax, self.jax.numpy, getattr(self, model), problem.rate

        def loss(params: Any, x: Any, y: Any) -> Any:
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(scores(params, x)), y[:, None], 1))

        def update(params: Any, x: Any, y: Any) -> Any:
            value, grads = jax.value_and_grad(loss)(params, x, y)
            return value, jax.tree.map(lambda w, g: w - rate * g, params, grads)

        compiled = self.jit(update, donate_argnums=0)
        params = {name: jnp.array(w) for name, w in problem.params.items()}
        batches = itertools.cycle([(jnp.asarray(x), jnp.asarray(y)) for x, y in problem.batches])

        def step() -> Any:
            nonlocal params
            value, params = compiled(params, *next(batches))
            return jax.block_until_ready((value, params))[0]

        return step


class JAXEager(JAX):
    """JAX without jit: the chain alone."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.jit = lambda function: function

    def train(self, model: str, problem: Problem) -> Run | None:
        return None


PEERS: dict[str, Any] = {
    "Knet": Knet,
    "NumPy": NumPy,
    "autograd": Autograd,
    "PyTorch": PyTorch,
    "JAX jit": JAX,
    "JAX eager": JAXEager,
}
