"""``python -m benchmarks.eager``: Knet's eager mode beside NumPy, autograd, PyTorch and JAX, as one table of medians.

Each library has a process of its own, so that none sees another's threads, memory allocator or imports; idle ones
sleep. Turns go round: in each, every library in turn does the same work for a tenth of a second, after steps that do
not count. A figure is the median over the turns. A ratio is the median of the turns' ratios, so that a slow spell of
the machine, which strikes the neighbours in its turn alike, cancels out. Work that other programs disturbed (on Linux:
they had more than a tenth of the processors' time) is done again, as long as patience lasts. Before anything is timed,
all libraries must agree on the losses of the first steps, and on the chain's values and gradients.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

from .peers import PEERS
from .problems import CHAIN, CHAINS, Problem, problems
from .turns import (
    THREAD_VARIABLES,
    Patience,
    calls_within,
    figure,
    markdown,
    others_seconds,
    ratio,
    setting,
    share,
    spread,
    timed,
)

TASKS = {  # name: what the row says, its unit, and what a call's seconds are multiplied with
    "arithmetic": ("100 x (*, +), forward", "us/op", 1e6 / CHAIN),
    "arithmetic-gradient": ("100 x (*, +), gradient", "us/op", 1e6 / CHAIN),
    "mixed": ("100 x (*, +, sin, tanh), forward", "us/op", 1e6 / CHAIN),
    "mixed-gradient": ("100 x (*, +, sin, tanh), gradient", "us/op", 1e6 / CHAIN),
    "softmax": ("Softmax step", "us", 1e6),
    "mlp": ("MLP-64 step", "us", 1e6),
    "lenet": ("LeNet step", "us", 1e6),
    "import": ("import, over NumPy's", "ms", 1e3),
}
PROGRAMS = [task for task in TASKS if task != "import"]
CHECKED_STEPS = 5
TOLERANCE = 1e-3  # relative, of losses in float32


# --- the side of a library -------------------------------------------------------------------------------------------


def serve(connection: Any, peer: str, threads: int, models: dict[str, Problem]) -> None:
    """Answer (request, task, seconds) until None comes; runs in a process of its own."""
    library = PEERS[peer](threads)
    runs: dict[str, Any] = {}
    counts: dict[str, int] = {}
    while (message := connection.recv()) is not None:
        request, task, seconds = message
        if request == "check":
            runs[task] = program(library, task, models)
            connection.send(None if runs[task] is None else first_results(runs[task], task))
        else:
            if task not in counts:
                counts[task] = calls_within(runs[task], seconds)
            connection.send(timed(runs[task], counts[task]))


def program(library: Any, task: str, models: dict[str, Problem]) -> Any:
    """Function that runs the task once in this library, or None where it has none."""
    kind, _, gradient = task.partition("-")
    if kind in CHAINS:
        return library.chain(kind, bool(gradient))
    return library.train(task, models[task])


def first_results(run: Any, task: str) -> list[float]:
    """What must be equal in all libraries: the chain's result, or the losses of the first steps."""
    if task.partition("-")[0] in CHAINS:
        return np.asarray(run(), np.float64).tolist()
    return [float(run()) for _ in range(CHECKED_STEPS)]


# --- the side that asks ----------------------------------------------------------------------------------------------


class Worker:
    """A library in its process."""

    def __init__(self, peer: str, threads: int, models: dict[str, Problem]) -> None:
        context = multiprocessing.get_context("spawn")
        self.peer = peer
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, peer, threads, models), daemon=True)
        self.process.start()
        other.close()

    def ask(self, request: str, task: str, seconds: float = 0.0) -> Any:
        self.connection.send((request, task, seconds))
        return self.connection.recv()

    def stop(self) -> None:
        self.connection.send(None)
        self.process.join()


def measure(
    peers: list[str], tasks: list[str], threads: int, repeats: int, seconds: float, patience: Patience
) -> tuple[Any, str]:
    """Seconds of one call in each turn, as {task: {peer: [...]}}, and where the images come from."""
    models, source = problems()
    workers = [Worker(peer, threads, models) for peer in peers]
    turns: dict[str, dict[str, list[float]]] = {}
    for task in (task for task in PROGRAMS if task in tasks):
        results = {worker.peer: worker.ask("check", task) for worker in workers}
        check_agreement(task, results)
        turns[task] = {peer: [] for peer in peers if results[peer] is not None}
        for _ in range(repeats):
            for worker in workers:
                if worker.peer in turns[task]:
                    ask = functools.partial(worker.ask, "time", task, seconds)
                    turns[task][worker.peer].append(patience.undisturbed(task, ask))
    for worker in workers:
        worker.stop()
    if "import" in tasks:
        turns["import"] = measure_imports(peers, patience)
    return turns, source


def check_agreement(task: str, results: dict[str, list[float] | None]) -> None:
    """Stop unless all libraries compute the same numbers: times of different programs must not be compared."""
    (first, wanted), *others = [(peer, r) for peer, r in results.items() if r is not None]
    for peer, got in others:
        if not np.allclose(got, wanted, rtol=TOLERANCE, atol=1e-6):
            sys.exit(f"benchmarks.eager: {task}: {peer} computes {got}, but {first} {wanted}; nothing was measured")


def measure_imports(peers: list[str], patience: Patience, repeats: int = 5) -> dict[str, list[float]]:
    """Seconds that ``import`` of each library takes in a new process, less NumPy's in the same turn."""
    modules = {peer: PEERS[peer].module for peer in peers if peer != "JAX eager"}
    for module in ("numpy", *modules.values()):
        import_seconds(module)  # fills the system's file cache
    turns: dict[str, list[float]] = {peer: [] for peer in modules if modules[peer] != "numpy"}
    for _ in range(repeats):
        numpy_seconds = patience.undisturbed("import", functools.partial(import_seconds, "numpy"))
        for peer, times in turns.items():
            seconds = patience.undisturbed("import", functools.partial(import_seconds, modules[peer]))
            times.append(seconds - numpy_seconds)
    return turns


def import_seconds(module: str) -> tuple[float, float]:
    """Seconds of one import statement in a new process, and :func:`share`."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    others, start = others_seconds(), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout), share(others_seconds() - others, time.perf_counter() - start)


# --- the report ------------------------------------------------------------------------------------------------------


def table(turns: Any, peers: list[str]) -> str:
    """The medians as a Markdown table; in brackets Knet's time over the library's."""
    lines = [["", "unit", *peers, "Knet's spread"]]
    for task, rows in turns.items():
        label, unit, scale = TASKS[task]
        cells = []
        for peer in peers:
            if peer not in rows:
                cells.append("-")
                continue
            text = figure(statistics.median(rows[peer]) * scale)
            compare = peer != "Knet" and "Knet" in rows and task != "import"
            cells.append(f"{text} ({ratio(rows, peer):.2f})" if compare else text)
        lines.append([label, unit, *cells, spread(rows.get("Knet", []))])
    return markdown(lines)


def bars(turns: Any) -> list[str]:
    """The marks that this version set out to reach, each with the measured figure and yes or no."""

    def line(label: str, mark: str, value: float, limit: float) -> str:
        return f"{'yes' if value <= limit else 'no':3}  {label}: {mark}; measured {value:.2f}"

    def absolute(label: str, task: str, mark: str, limit: float, scale: float) -> list[str]:
        if "Knet" not in turns.get(task, {}):
            return []
        return [line(label, mark, statistics.median(turns[task]["Knet"]) * scale, limit)]

    def relative(label: str, task: str, peer: str, limit: float) -> list[str]:
        if not {"Knet", peer} <= turns.get(task, {}).keys():
            return []
        return [line(label, f"at most {limit:g} x {peer}'s", ratio(turns[task], peer), limit)]

    return [
        *absolute("chain of * and +, gradient", "arithmetic-gradient", "at most 4 us an operation", 4.0, 1e6 / CHAIN),
        *absolute("chain of * and +, forward", "arithmetic", "at most 1 us an operation", 1.0, 1e6 / CHAIN),
        *absolute("mixed chain, gradient", "mixed-gradient", "at most 4 us an operation", 4.0, 1e6 / CHAIN),
        *absolute("mixed chain, forward", "mixed", "at most 1 us an operation", 1.0, 1e6 / CHAIN),
        *relative("MLP-64 step", "mlp", "autograd", 1.0),
        *relative("LeNet step", "lenet", "PyTorch", 3.0),
        *absolute("import", "import", "at most 0.1 s over NumPy's", 0.1, 1.0),
    ]


def main() -> int:
    """Measure and print; the exit status is 0 whatever the bars say, because a time decides nothing by itself."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eager", description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="of every library's pool (2)")
    parser.add_argument("--repeats", type=int, default=15, help="turns (15)")
    parser.add_argument("--seconds", type=float, default=0.1, help="of work in each turn (0.1)")
    parser.add_argument("--patience", type=float, default=60, help="seconds for doing disturbed work again (60)")
    parser.add_argument("--only", nargs="+", choices=[*TASKS, *PEERS], default=[], help="tasks, libraries, or both")
    options = parser.parse_args()
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(options.threads)))  # before a library's process starts

    installed = [peer for peer in PEERS if importlib.util.find_spec(PEERS[peer].module)]
    peers = [peer for peer in installed if peer in options.only] or installed
    tasks = [task for task in TASKS if task in options.only] or list(TASKS)
    patience = Patience(options.patience)
    turns, source = measure(peers, tasks, options.threads, options.repeats, options.seconds, patience)

    modules = [PEERS[peer].module for peer in peers]
    print(setting(modules, options.threads, options.repeats, f"{source}, batches of 100"), end="\n\n")
    print("Medians; in brackets Knet's time over the library's (below 1: Knet is faster).")
    print(patience, end="\n\n")
    print(table(turns, peers), end="\n\n")
    print(*bars(turns), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
