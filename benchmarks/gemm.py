"""``python -m benchmarks.gemm``: matrix products of the OpenCL backend's kernels against NumPy's.

Shapes are those of products in the examples and of their gradients: T marks an operand that is stored transposed.
Prints medians of the time of NumPy, of compiled products, whose kernels are made for the shape, and of eager ones,
whose kernels serve all shapes, interleaved in one run; launching and waiting are included. Then the rates.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import knet
import knet.numpy as knp

PRODUCTS = {
    "mlp": ["100x784x64", "784Tx100x64", "100x64x10", "64Tx100x10", "100x10x64T"],
    "lenet": ["57600x25x20", "25Tx57600x20", "6400x500x50", "500Tx6400x50", "6400x50x500T", "100x800x500"],
    "lstm": ["128x256x1024", "256Tx128x1024", "128x1024x256T"],
    "gpt": ["2048x128x512", "2048x512x128", "128Tx2048x512", "64:128x32x128T", "64:128x128x32"],
    "square": ["256x256x256", "1024x1024x1024", "1024Tx1024x1024", "1024x1024x1024T"],
    "vector": ["1x784x1000", "1x1000x784T", "1000x784x1"],
}


def operands(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Random operands of a product written as [batch:]M[T]xKxN[T]."""
    batch, _, sizes = text.rpartition(":")
    m, k, n = sizes.split("x")
    lead = (int(batch),) if batch else ()
    rng = np.random.default_rng(0)

    def matrix(rows: str, columns: str, turned: bool) -> np.ndarray:
        rows, columns = rows.rstrip("T"), columns.rstrip("T")
        shape = (*lead, int(columns), int(rows)) if turned else (*lead, int(rows), int(columns))
        x = rng.standard_normal(shape, dtype=np.float32)
        return x.swapaxes(-1, -2) if turned else x

    return matrix(m, k, m.endswith("T")), matrix(k, n, n.endswith("T"))


def on_device(x: np.ndarray) -> Any:
    """The array on the default device, stored in the same order."""
    if x.flags.c_contiguous:
        return knp.asarray(x)
    return knp.swapaxes(knp.asarray(np.ascontiguousarray(x.swapaxes(-1, -2))), -1, -2)


def ways(x: np.ndarray, w: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The functions to measure."""
    out = np.matmul(x, w)
    a, b = on_device(x), on_device(w)
    # A compiled function's operands are dense: it turns them itself.
    turn_a, turn_b = not x.flags.c_contiguous, not w.flags.c_contiguous
    c, d = (knp.swapaxes(v, -1, -2) if turn else v for v, turn in ((a, turn_a), (b, turn_b)))

    @knet.jit
    def compiled(c: Any, d: Any) -> Any:
        c, d = (knp.swapaxes(v, -1, -2) if turn else v for v, turn in ((c, turn_a), (d, turn_b)))
        return c @ d

    error = np.max(np.abs(np.asarray(compiled(c, d)) - out)) / np.max(np.abs(out))
    assert error < 1e-4, f"the product is wrong by {error:.1e}"
    return {
        "numpy": lambda: np.matmul(x, w, out=out),
        "compiled": lambda: compiled(c, d).block_until_ready(),
        "eager": lambda: (a @ b).block_until_ready(),
    }


def measure(functions: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Median times, the functions taking turns."""
    for function in functions.values():
        function()
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["numpy"]) < 5:
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filter", default="", help="regular expression that model or product must match")
    parser.add_argument("--backend", default="opencl")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each product")
    options = parser.parse_args()
    print(f"{'':8} {'product':18} {'numpy us':>9} {'compiled':>9} {'eager':>9}   {'GFLOP/s':>8} {'':>8} {'':>8}")
    with knet.use_backend(options.backend):
        for model, texts in PRODUCTS.items():
            for text in texts:
                if not re.search(options.filter, f"{model} {text}"):
                    continue
                x, w = operands(text)
                taken = measure(ways(x, w), options.seconds)
                work = 2 * x.size * w.shape[-1]
                micro = " ".join(f"{t * 1e6:9.0f}" for t in taken.values())
                rates = " ".join(f"{work / t / 1e9:8.1f}" for t in taken.values())
                print(f"{model:8} {text:18} {micro}   {rates}", flush=True)


if __name__ == "__main__":
    main()
