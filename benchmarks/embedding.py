"""``python -m benchmarks.embedding``: training an embedding table, with row-sparse gradients and with dense ones.

One step: gather the rows of a batch of ids, a loss, its gradient, an optimizer's update. Prints the median time and
the peak of the memory allocated during a step (tracemalloc, which NumPy reports its arrays to) for both ways,
interleaved in one run.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

import knet
import knet.numpy as knp
from knet import optim
from knet.core.sparse import RowSparse


def steps(rows: int, width: int, batch: int) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """For each kind of step the row-sparse and the dense way of it."""
    rng = np.random.default_rng(0)
    table = knp.asarray(rng.standard_normal((rows, width), dtype=np.float32))
    ids = knp.asarray(rng.integers(0, rows, batch))
    target = knp.asarray(rng.standard_normal((batch, width), dtype=np.float32))

    def gradient() -> Any:
        return knet.grad(lambda table: knp.square(table[ids] - target).mean())(table)

    def dense_gradient() -> Any:
        g = gradient()
        assert isinstance(g, RowSparse), "the gradient of a large table should be row-sparse"
        return g.dense()

    def step(optimizer: Any, state: Any, compute: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            updates, _ = optimizer.update(compute(), state, table)
            return optim.apply_updates(table, updates)

        return run

    pairs = {"gradient": (gradient, dense_gradient)}
    for name, optimizer in {
        "sgd": optim.sgd(0.1),
        "clip + sgd": optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1)),
        "momentum": optim.sgd(0.1, momentum=0.9),
        "adam": optim.adam(1e-3),
    }.items():
        state = optimizer.init(table)
        pairs[name] = (step(optimizer, state, gradient), step(optimizer, state, dense_gradient))
    return pairs


def peak(function: Callable[[], Any]) -> float:
    """Megabytes allocated at most during a call."""
    tracemalloc.start()
    function()
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest / 1e6


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    size = options.rows * options.width * 4 / 1e6
    print(f"table {options.rows} x {options.width} float32 ({size:.0f} MB), batch of {options.batch} ids")
    print(f"{'':12} {'sparse ms':>10} {'dense ms':>10} {'ratio':>7} {'sparse MB':>10} {'dense MB':>10}")
    for name, pair in steps(options.rows, options.width, options.batch).items():
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(options.repeats):
            for function, taken in zip(pair, times, strict=True):
                start = time.perf_counter()
                function()
                taken.append(time.perf_counter() - start)
        sparse, dense = (statistics.median(t) * 1e3 for t in times)
        print(
            f"{name:12} {sparse:10.2f} {dense:10.2f} {sparse / dense:7.3f} {peak(pair[0]):10.1f} {peak(pair[1]):10.1f}"
        )


if __name__ == "__main__":
    main()
