"""Compiled training steps of the eight models: their time, and counts of the compiled program.

``track_*`` are counts, which noise does not touch: kernels of a step, nodes of its graph, planned bytes of its buffers.
"""

from __future__ import annotations

import knet
import knet.numpy as knp

from .peers import NumPy
from .problems import problems
from .training.in_knet import step_of, train
from .training.problems import MODELS, problem


class Step:
    """One step: loss, gradient, the optimizer's update, all in one compiled function that reuses its buffers."""

    params = (list(MODELS),)
    param_names = ("model",)
    timeout = 300

    def setup(self, model: str) -> None:
        given, _ = problem(model)
        self.step = train(model, given, threads=2)
        self.step()  # traces and compiles
        models, _ = problems()
        self.control = NumPy(threads=2).train("mlp", models["mlp"])

    def time_knet(self, model: str) -> None:
        self.step()

    def time_numpy_control(self, model: str) -> None:
        """An MLP's step, derived by hand: the machine's speed at the time."""
        self.control()


Counts = dict[str, tuple[int, int, int]]  # by model: kernels, nodes, bytes


class Program:
    """The compiled step, which is not run; the data are chance, so that counts are the same on every machine."""

    params = (list(MODELS),)
    param_names = ("model",)

    def setup_cache(self) -> Counts:
        """All models are traced once, for all counts."""
        counts = {}
        for model in MODELS:
            given, _ = problem(model, count=1, real=False)
            step, params, state = step_of(model, given)
            x, y = map(knp.asarray, given.batches[0])
            lowered = knet.jit(step, donate_argnums=(0, 1)).lower(params, state, x, y)
            counts[model] = len(lowered.kernels), len(lowered.graph.nodes), int(lowered.peak_bytes)
        return counts

    setup_cache.timeout = 600  # type: ignore[attr-defined]

    def track_kernels(self, counts: Counts, model: str) -> int:
        return counts[model][0]

    def track_nodes(self, counts: Counts, model: str) -> int:
        return counts[model][1]

    def track_peak_bytes(self, counts: Counts, model: str) -> int:
        return counts[model][2]

    track_kernels.unit = "kernels"  # type: ignore[attr-defined]
    track_nodes.unit = "nodes"  # type: ignore[attr-defined]
    track_peak_bytes.unit = "bytes"  # type: ignore[attr-defined]


class Memory:
    """Peak memory of a process that trains; the data are chance, because reading MNIST takes more than training."""

    params = (list(MODELS),)
    param_names = ("model",)
    timeout = 300

    def setup(self, model: str) -> None:
        given, _ = problem(model, real=False)
        self.step = train(model, given, threads=2)

    def peakmem_knet(self, model: str) -> None:
        for _ in range(3):
            self.step()
