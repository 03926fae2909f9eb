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
    hv, hs, hmask = hw[:, 0], h[:, None], h > 0.5
    x, w, i, v, s, mask = map(knp.asarray, (h, hw, hi, hv, hs, hmask))
    return {
        "x + y": (lambda: x + x, lambda: h + h),
        "x * 2.0": (lambda: x * 2.0, lambda: h * 2.0),
        "exp": (lambda: knp.exp(x), lambda: np.exp(h)),
        "maximum": (lambda: knp.maximum(x, x), lambda: np.maximum(h, h)),
        "where": (lambda: knp.where(x > 0.5, x, x), lambda: np.where(h > 0.5, h, h)),
        "where(c, x, 0.0)": (lambda: knp.where(mask, x, 0.0), lambda: np.where(hmask, h, np.float32(0.0))),
        "sum": (lambda: knp.sum(x), lambda: np.sum(h)),
        "x.sum(0)": (lambda: x.sum(0), lambda: h.sum(0)),
        "mean": (lambda: knp.mean(x, 0), lambda: np.mean(h, 0)),
        "mean(axis=0)": (lambda: knp.mean(x, axis=0), lambda: np.mean(h, axis=0)),
        "x.max(1)": (lambda: x.max(1), lambda: h.max(1)),
        "min": (lambda: knp.min(x, axis=1), lambda: np.min(h, axis=1)),
        "argmax": (lambda: knp.argmax(x, 1), lambda: np.argmax(h, 1)),
        "cumsum": (lambda: knp.cumsum(x, 1), lambda: np.cumsum(h, 1)),
        "clip": (lambda: knp.clip(x, 0.2, 0.8), lambda: np.clip(h, 0.2, 0.8)),
        "reshape": (lambda: x.reshape(20), lambda: h.reshape(20)),
        "reshape(-1, 2)": (lambda: x.reshape(-1, 2), lambda: h.reshape(-1, 2)),
        "x.T": (lambda: x.T, lambda: h.T),
        "transpose": (lambda: knp.transpose(x, (1, 0)), lambda: np.transpose(h, (1, 0))),
        "expand_dims": (lambda: knp.expand_dims(x, 1), lambda: np.expand_dims(h, 1)),
        "squeeze": (lambda: knp.squeeze(s), lambda: np.squeeze(hs)),
        "x @ w": (lambda: x @ w, lambda: h @ hw),
        "x @ v": (lambda: x @ v, lambda: h @ hv),
        "einsum": (lambda: knp.einsum("ij,jk->ik", x, w), lambda: np.einsum("ij,jk->ik", h, hw)),
        "einsum, permuted": (lambda: knp.einsum("ij,kj->ik", x, x), lambda: np.einsum("ij,kj->ik", h, h)),
        "x[0]": (lambda: x[0], lambda: h[0]),
        "x[1:3]": (lambda: x[1:3], lambda: h[1:3]),
        "x[..., None]": (lambda: x[..., None], lambda: h[..., None]),
        "x[1:, 0]": (lambda: x[1:, 0], lambda: h[1:, 0]),
        "x[ids]": (lambda: x[i], lambda: h[hi]),
        "x[ids, ids]": (lambda: x[i, i], lambda: h[hi, hi]),
        "x[mask]": (lambda: x[mask], lambda: h[hmask]),
        "take": (lambda: knp.take(x, i, axis=0), lambda: np.take(h, hi, axis=0)),
        "concatenate": (lambda: knp.concatenate([x, x]), lambda: np.concatenate([h, h])),
        "stack": (lambda: knp.stack([x, x]), lambda: np.stack([h, h])),
        "broadcast_to": (lambda: knp.broadcast_to(x, (2, 4, 5)), lambda: np.broadcast_to(h, (2, 4, 5))),
        "astype": (lambda: x.astype("float64"), lambda: h.astype("float64")),
        "zeros": (lambda: knp.zeros((4, 5)), lambda: np.zeros((4, 5), np.float32)),
        "asarray": (lambda: knp.asarray(h), lambda: np.asarray(h)),
    }


def main(calls: int = 500, repeats: int = 41) -> None:
    """Measure and print the table."""
    print(f"{'':17} {'Knet us':>8} {'NumPy us':>9} {'over':>7}")
    for name, pair in cases().items():
        times = [[timeit.timeit(f, number=calls) for f in pair] for _ in range(repeats)]
        ours, theirs = (min(column) / calls * 1e6 for column in zip(*times, strict=True))
        print(f"{name:17} {ours:8.2f} {theirs:9.2f} {ours - theirs:+7.2f}")


if __name__ == "__main__":
    main()
