"""``python -m benchmarks.overhead``: what a call of Knet costs over the same call of NumPy, on arrays of 20 elements.

Both compute the same with NumPy's kernels, so the difference is Knet's Python. Best of some repetitions, interleaved;
the last column is microseconds over NumPy's.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from typing import Any

import numpy as np

import knet.numpy as knp


def cases() -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """For each call Knet's and NumPy's."""
    rng = np.random.default_rng(0)
    h, hw, hi = rng.random((4, 5), dtype=np.float32), rng.random((5, 4), dtype=np.float32), np.array([0, 2])
    x, w, i = knp.asarray(h), knp.asarray(hw), knp.asarray(hi)
    return {
        "x + y": (lambda: x + x, lambda: h + h),
        "x * 2.0": (lambda: x * 2.0, lambda: h * 2.0),
        "exp": (lambda: knp.exp(x), lambda: np.exp(h)),
        "maximum": (lambda: knp.maximum(x, x), lambda: np.maximum(h, h)),
        "where": (lambda: knp.where(x > 0.5, x, x), lambda: np.where(h > 0.5, h, h)),
        "sum": (lambda: knp.sum(x), lambda: np.sum(h)),
        "x.sum(0)": (lambda: x.sum(0), lambda: h.sum(0)),
        "mean": (lambda: knp.mean(x, 0), lambda: np.mean(h, 0)),
        "x.max(1)": (lambda: x.max(1), lambda: h.max(1)),
        "argmax": (lambda: knp.argmax(x, 1), lambda: np.argmax(h, 1)),
        "reshape": (lambda: x.reshape(20), lambda: h.reshape(20)),
        "x.T": (lambda: x.T, lambda: h.T),
        "x @ w": (lambda: x @ w, lambda: h @ hw),
        "x[0]": (lambda: x[0], lambda: h[0]),
        "x[1:3]": (lambda: x[1:3], lambda: h[1:3]),
        "x[ids]": (lambda: x[i], lambda: h[hi]),
        "concatenate": (lambda: knp.concatenate([x, x]), lambda: np.concatenate([h, h])),
        "broadcast_to": (lambda: knp.broadcast_to(x, (2, 4, 5)), lambda: np.broadcast_to(h, (2, 4, 5))),
        "astype": (lambda: x.astype("float64"), lambda: h.astype("float64")),
        "zeros": (lambda: knp.zeros((4, 5)), lambda: np.zeros((4, 5), np.float32)),
        "asarray": (lambda: knp.asarray(h), lambda: np.asarray(h)),
    }


def main(calls: int = 2000, repeats: int = 7) -> None:
    """Measure and print the table."""
    print(f"{'':14} {'Knet us':>8} {'NumPy us':>9} {'over':>7}")
    for name, pair in cases().items():
        times = [[timeit.timeit(f, number=calls) for f in pair] for _ in range(repeats)]
        ours, theirs = (min(column) / calls * 1e6 for column in zip(*times, strict=True))
        print(f"{name:14} {ours:8.2f} {theirs:9.2f} {ours - theirs:+7.2f}")


if __name__ == "__main__":
    main()
