"""Where the time of compiled training steps goes: ``python -m benchmarks.where [models]``.

For each model a table of the groups of kernels that take longest: milliseconds, share, GFLOP/s of products and
convolutions, and two floors: what their arithmetic takes at the rate of a large product, and what the bytes of their
operands take at the rate of a copy, both measured in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

import knet
import knet.numpy as knp

from .training import in_knet, problems  # type: ignore[import-untyped]

ROWS = 8


def seconds_of(run, repeats: int = 9) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def rates() -> tuple[float, float]:
    """Operations a second of a product of 1024 x 1024 matrices, and bytes a second of adding 1 to 16 MB."""
    rng = np.random.default_rng(0)
    x = knp.asarray(rng.standard_normal((1024, 1024), np.float32))
    big = knp.asarray(rng.standard_normal(1 << 22, np.float32))
    product, copy = knet.jit(lambda x: x @ x), knet.jit(lambda x: x + 1)
    product(x), copy(big)
    return 2 * 1024**3 / seconds_of(lambda: product(x)), 2 * big.nbytes / seconds_of(lambda: copy(big))


def table(model: str, arithmetic: float, memory: float) -> None:
    """Print a model's rows."""
    problem, _ = problems.problem(model)
    step, params, state = in_knet.step_of(model, problem)
    x, y = (knp.asarray(a) for a in problem.batches[0])
    jitted = knet.jit(step)
    whole = seconds_of(lambda: jitted(params, state, x, y))
    rows = sorted(jitted.profile(params, state, x, y), key=lambda r: -r.seconds)
    total = sum(r.seconds for r in rows)
    flops, nbytes = sum(r.flops for r in rows), sum(r.nbytes for r in rows)
    print(f"\n### {model}: {whole * 1e3:.3g} ms a step, {total * 1e3:.3g} in {len(rows)} groups of kernels")
    print(f"arithmetic floor {flops / arithmetic * 1e3:.3g} ms, memory floor {nbytes / memory * 1e3:.3g} ms\n")
    print("| ms | share | GFLOP/s | floor, ms | what |\n|---|---|---|---|---|")
    for row in rows[:ROWS]:
        rate = f"{row.flops / row.seconds / 1e9:.0f}" if row.flops else "-"
        floor = max(row.flops / arithmetic, row.nbytes / memory) * 1e3
        text = row.text if len(row.text) < 150 else row.text[:147] + "..."
        print(f"| {row.seconds * 1e3:.3f} | {row.seconds / total:.0%} | {rate} | {floor:.3f} | {text} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(in_knet.LOSSES))
    models = parser.parse_args().models
    arithmetic, memory = rates()
    print(f"a product of 1024 x 1024: {arithmetic / 1e9:.0f} GFLOP/s; a copy: {memory / 1e9:.1f} GB/s")
    for model in models:
        table(model, arithmetic, memory)


if __name__ == "__main__":
    main()
