"""``python -m benchmarks.steps``: training steps of eight models, Knet jitted beside the other libraries.

Each model in each library has a process of its own, so that none sees another's threads, memory or imports. Before
anything is timed, all libraries must agree on the losses of the first steps. Then turns go round, as in
``benchmarks.eager``: a figure is the median over the turns, a ratio the median of the turns' ratios. Three tables:
seconds of a step, seconds until the first step is done (tracing and compiling, with an empty cache on disk and with
the one that this leaves), and peak memory of the process while it trains.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .training.problems import MODELS, Problem, problem
from .turns import (
    IDLE,
    THREAD_VARIABLES,
    Patience,
    Times,
    calls_within,
    figure,
    markdown,
    ratio,
    setting,
    spread,
    timed,
)

TOLERANCE = 1e-3  # relative, of losses in float32
CHECKED_STEPS = 5
TOO_LONG = 90  # seconds until the first step is done
ANSWER = 600  # seconds for any other answer


class Peer(NamedTuple):
    """A library, the module here that has its programs, and which of its ways is meant."""

    library: str
    module: str
    variant: str
    caches: tuple[str, ...] = ()  # variables that name the directory of its compiled code
    models: tuple[str, ...] = tuple(MODELS)
    environment: Mapping[str, str] = MappingProxyType({})  # of its process
    needs: tuple[str, ...] = ()  # further libraries


CPU, OPENCL = {"KNET_BACKEND": "cpu"}, {"KNET_BACKEND": "opencl"}
OPENCL_CACHES = ("XDG_CACHE_HOME", "POCL_CACHE_DIR")  # of PyOpenCL and tinygrad, of the driver
PEERS = {
    "Knet": Peer("knet", "in_knet", "jit", ("KNET_CACHE_DIR",), environment=CPU),
    "Knet eager": Peer("knet", "in_knet", "eager", environment=CPU),
    "PyTorch": Peer("torch", "in_pytorch", "eager"),
    "PyTorch compiled": Peer("torch", "in_pytorch", "compiled", ("TORCHINDUCTOR_CACHE_DIR",)),
    "PyTorch channels-last": Peer("torch", "in_pytorch", "channels-last", models=("lenet", "resnet8")),
    "JAX jit": Peer("jax", "in_jax", "jit"),
    "autograd": Peer("autograd", "in_autograd", "", models=("linreg", "softmax", "mlp", "charlm", "vae")),
    "Knet OpenCL": Peer(
        "knet", "in_knet", "jit", ("KNET_CACHE_DIR", *OPENCL_CACHES), environment=OPENCL, needs=("pyopencl",)
    ),
    "tinygrad OpenCL": Peer(
        "tinygrad", "in_tinygrad", "", OPENCL_CACHES, ("linreg", "softmax", "mlp", "lenet"), {"DEV": "CL"}
    ),
}
DEFAULT = [peer for peer in PEERS if peer != "Knet eager" and "OpenCL" not in peer]
REFERENCE = "PyTorch"


def libraries(peer: str) -> list[str]:
    """What must be installed."""
    return [PEERS[peer].library, *PEERS[peer].needs]


# --- the side of a library -------------------------------------------------------------------------------------------


def serve(connection: Any, peer: str, model: str, given: Problem, threads: int, environment: dict[str, str]) -> None:
    """Answer (request, number) with ("ok", answer) or ("failed", why) until None comes; in a process of its own."""
    os.environ.update(environment)
    if hasattr(os, "sched_setaffinity"):  # the only way to tell XLA how many threads to use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    worker: Worked | None = None
    try:
        while (message := connection.recv()) is not None:
            request, number = message
            if worker is None:
                worker = Worked(peer, model, given, threads)
            connection.send(("ok", getattr(worker, request)(number)))
    except EOFError:  # nobody asks any more
        pass
    except Exception as error:
        connection.send(("failed", f"{type(error).__name__}: {error}".splitlines()[0][:80]))


class Worked:
    """A model in a library: what it is asked."""

    def __init__(self, peer: str, model: str, given: Problem, threads: int) -> None:
        module = importlib.import_module(f"benchmarks.training.{PEERS[peer].module}")
        start = time.perf_counter()
        train = module.train(model, given, threads, PEERS[peer].variant)
        self.run = lambda: float(train())  # so that a device's work is done when it returns
        self.loss = self.run()
        self.seconds = time.perf_counter() - start
        self.calls = 0

    def first(self, _: float) -> tuple[float, float]:
        """Seconds from imported modules to the first loss, and that loss."""
        return self.seconds, self.loss

    def losses(self, steps: float) -> list[float]:
        """Losses of the next steps."""
        return [self.run() for _ in range(int(steps))]

    def time(self, seconds: float) -> tuple[float, float]:
        """Seconds of a step, and the share of other programs; see :func:`turns.timed`."""
        if not self.calls:
            self.calls = calls_within(self.run, seconds)
        return timed(self.run, self.calls)

    def memory(self, _: float) -> float:
        """Peak of the process's memory in bytes during some steps; since its start where the system knows no other."""
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        except OSError:
            pass
        for _ in range(3):
            self.run()
        try:
            with open("/proc/self/status") as lines:
                return 1024 * next(float(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# --- the side that asks ----------------------------------------------------------------------------------------------


class Failed(Exception):
    """A library did not do what it was asked; the text says why."""


class Worker:
    """A model in a library in its process."""

    def __init__(self, peer: str, model: str, given: Problem, threads: int, cache: str = "") -> None:
        context = multiprocessing.get_context("spawn")
        environment = dict(PEERS[peer].environment) | (dict.fromkeys(PEERS[peer].caches, cache) if cache else {})
        self.connection, other = context.Pipe()
        arguments = (other, peer, model, given, threads, environment)
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        other.close()

    def ask(self, request: str, number: float = 0.0, patience: float = ANSWER) -> Any:
        self.connection.send((request, number))
        if not self.connection.poll(patience):
            self.process.kill()
            raise Failed(f"more than {patience:.0f} s")
        try:
            state, answer = self.connection.recv()
        except EOFError:
            raise Failed("the process died") from None
        if state == "failed":
            raise Failed(answer)
        return answer

    def stop(self) -> None:
        try:
            self.connection.send(None)
        except OSError:
            pass  # it is gone already
        self.process.join()


class Measured(NamedTuple):
    """What was measured of one model, each by library."""

    turns: Times
    cold: dict[str, float]  # seconds to the first loss, the cache empty
    warm: dict[str, float]  # with what the cold process left in its cache
    memory: dict[str, float]  # bytes
    failures: dict[str, str]


def measure(model: str, given: Problem, peers: list[str], options: argparse.Namespace, patience: Patience) -> Measured:
    """Start a model in all libraries, let them agree, time them in turns."""
    result = Measured({}, {}, {}, {}, {})
    workers: dict[str, Worker] = {}
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for peer in (peer for peer in peers if model in PEERS[peer].models):
            cache = os.path.join(folder, peer.replace(" ", "-"))  # a space would split the compiler's arguments
            try:
                started = start(peer, model, given, cache, options, result)
                losses[peer] = [started.ask("first")[1], *started.ask("losses", CHECKED_STEPS - 1)]
                workers[peer] = started
            except Failed as failure:
                result.failures[peer] = str(failure)
        for peer, difference in differences(losses).items():
            if not difference <= TOLERANCE:
                result.failures[peer] = f"its losses differ by {difference:.1e}"
                workers.pop(peer).stop()
        result.turns.update({peer: [] for peer in workers})
        for _ in range(options.turns):
            for peer, worker in workers.items():
                ask = functools.partial(worker.ask, "time", options.seconds)
                result.turns[peer].append(patience.undisturbed(model, ask))
        for peer, worker in workers.items():
            result.memory[peer] = worker.ask("memory")
            worker.stop()
    return result


def start(peer: str, model: str, given: Problem, cache: str, options: argparse.Namespace, result: Measured) -> Worker:
    """A worker that has done its first step, the time of which is noted; a first one, if there is a cache to fill."""
    if PEERS[peer].caches and not options.no_cold:
        first = Worker(peer, model, given, options.threads, cache)
        result.cold[peer] = first.ask("first", patience=TOO_LONG)[0]
        first.stop()
    worker = Worker(peer, model, given, options.threads, cache)
    seconds = worker.ask("first", patience=TOO_LONG)[0]
    (result.warm if PEERS[peer].caches and not options.no_cold else result.cold)[peer] = seconds
    time.sleep(IDLE)
    return worker


def differences(losses: dict[str, list[float]]) -> dict[str, float]:
    """For each library the largest relative difference of a loss from PyTorch's, or from the first library's."""
    if not losses:
        return {}
    wanted = losses.get(REFERENCE) or next(iter(losses.values()))
    return {peer: max(abs(a - b) / abs(b) for a, b in zip(mine, wanted)) for peer, mine in losses.items()}


def check(models: list[str], peers: list[str], options: argparse.Namespace) -> int:
    """Train all models in all libraries for some steps, print how their losses differ; the number of those too far."""
    rows, wrong = [["model", "last loss", *peers]], 0
    for model in models:
        given, _ = problem(model)
        losses: dict[str, list[float]] = {}
        cells: dict[str, str] = {}
        for peer in (peer for peer in peers if model in PEERS[peer].models):
            worker = Worker(peer, model, given, options.threads)
            try:
                losses[peer] = [worker.ask("first", patience=TOO_LONG)[1], *worker.ask("losses", options.steps - 1)]
            except Failed as failure:
                cells[peer] = str(failure)
                wrong += peer == "Knet"
            worker.stop()
        for peer, difference in differences(losses).items():
            right = difference <= TOLERANCE
            cells[peer] = f"{difference:.1e}" if right else f"{difference:.1e} WRONG"
            wrong += not right
        last = losses.get(REFERENCE) or next(iter(losses.values()), [float("nan")])
        rows.append([MODELS[model][0].text, f"{last[-1]:.5f}", *(cells.get(peer, "-") for peer in peers)])
    print(markdown(rows))
    return wrong


# --- the report ------------------------------------------------------------------------------------------------------


def step_table(measured: dict[str, Measured], peers: list[str], base: str) -> str:
    """Medians; in brackets the base's time over the library's."""
    rows = [["step", "unit", *peers, f"{base} / fastest", f"{base}'s spread"]]
    for model, (turns, *_, failures) in measured.items():
        label, unit, scale = MODELS[model][0]
        cells = []
        for peer in peers:
            text = figure(statistics.median(turns[peer]) * scale) if peer in turns else failures.get(peer, "-")
            alone = peer == base or peer not in turns or base not in turns
            cells.append(text if alone else f"{text} ({ratio(turns, peer, base):.2f})")
        rows.append([label, unit, *cells, against_fastest(turns, base), spread(turns.get(base, []))])
    return markdown(rows)


def against_fastest(turns: Times, base: str) -> str:
    """The base's ratio to the fastest of those that are not Knet, and its name."""
    others = {peer: statistics.median(times) for peer, times in turns.items() if not peer.startswith("Knet")}
    if not others or base not in turns:
        return "-"
    fastest = min(others, key=lambda peer: others[peer])
    return f"{ratio(turns, fastest, base):.2f} ({fastest})"


def first_table(measured: dict[str, Measured], peers: list[str]) -> str:
    """Seconds to the first loss: cold, and after a slash warm."""
    rows = [["first step, s", *peers]]
    for model, (_, cold, warm, _, failures) in measured.items():
        cells = []
        for peer in peers:
            seconds = [times[peer] for times in (cold, warm) if peer in times]
            cells.append(" / ".join(f"{s:.2f}" for s in seconds) or failures.get(peer, "-"))
        rows.append([MODELS[model][0].text, *cells])
    return markdown(rows)


def memory_table(measured: dict[str, Measured], peers: list[str]) -> str:
    """Peak memory in MB."""
    rows = [["peak memory, MB", *peers]]
    for model, (_, _, _, memory, _) in measured.items():
        cells = [f"{memory[peer] / 1e6:.0f}" if peer in memory else "-" for peer in peers]
        rows.append([MODELS[model][0].text, *cells])
    return markdown(rows)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL", help="all")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=DEFAULT, metavar="PEER", help=", ".join(DEFAULT))
    parser.add_argument("--base", choices=PEERS, default="Knet", metavar="PEER", help="compared with all others (Knet)")
    parser.add_argument("--threads", type=int, default=2, help="of every library's pool (2)")
    parser.add_argument("--turns", type=int, default=11, help="11")
    parser.add_argument("--seconds", type=float, default=0.2, help="of work in each turn, one step at least (0.2)")
    parser.add_argument("--patience", type=float, default=120, help="seconds for doing disturbed work again (120)")
    parser.add_argument("--no-cold", action="store_true", help="leave out the first steps with an empty cache")
    parser.add_argument("--check", action="store_true", help="compare losses with PyTorch's, and measure nothing")
    parser.add_argument("--steps", type=int, default=20, help="of --check (20)")
    return parser.parse_args()


def main() -> int:
    """Measure and print. The exit status is 1 if losses of --check differ; times decide nothing."""
    options = arguments()
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(options.threads)))  # before a library's process starts
    peers = [peer for peer in options.peers if all(map(importlib.util.find_spec, libraries(peer)))]
    if options.check:
        return int(check(options.models, peers, options) > 0)

    patience = Patience(options.patience)
    measured, sources = {}, []
    for model in options.models:
        given, source = problem(model)
        sources.append(source)
        print(f"{model} ...", end=" ", file=sys.stderr, flush=True)
        measured[model] = measure(model, given, peers, options, patience)
    print(file=sys.stderr)
    modules = [library for peer in peers for library in libraries(peer)]
    print(setting(modules, options.threads, options.turns, ", ".join(dict.fromkeys(sources))), end="\n\n")
    base = options.base
    print(f"Medians; in brackets {base}'s time over the other's (below 1: {base} is faster).")
    print(patience, end="\n\n")
    print(step_table(measured, peers, base), end="\n\n")
    print("Seconds from imported modules to the first loss; after a slash with the compiled code on disk.\n")
    print(first_table(measured, peers), end="\n\n")
    print("Peak memory of the process, interpreter and libraries included, while it trains.\n")
    print(memory_table(measured, peers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
