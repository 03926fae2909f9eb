"""``python -m benchmarks.gpu``: all that is to be known of Knet on a GPU, in one file of results.

First the whole test suite runs with the GPU as default backend. Then the models of ``benchmarks.steps`` are trained by
Knet, PyTorch (eager, and compiled with CUDA graphs) and JAX, in float32 and bfloat16, each in a process of its own.
Last LeNet learns MNIST. The report is ``benchmarks/results/DATE-cuda-DEVICE.md``.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from .training.problems import MODELS, Problem, mapped, problem
from .turns import figure, markdown, setting

ROOT = Path(__file__).parent.parent
DTYPES = ("float32", "bfloat16")
TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2}  # relative, of the losses of the first steps
CHECKED_STEPS = 5
REFERENCE = "PyTorch"


class Peer(NamedTuple):
    """A library, the module of ``benchmarks.training`` that has its programs, and which of its ways is meant."""

    library: str
    module: str
    variant: str


PEERS = {
    "Knet": Peer("knet", "in_knet", "jit"),
    "PyTorch": Peer("torch", "in_pytorch", "eager"),
    "PyTorch compiled, CUDA graphs": Peer("torch", "in_pytorch", "graphs"),
    "JAX jit": Peer("jax", "in_jax", "queued"),
}


class Measured(NamedTuple):
    """A model in a library.

    Attributes:
      losses: of the first steps.
      first: seconds from imported modules to the first loss.
      seconds: of a step, in each turn.
      memory: bytes of the device that the library held at most; None where it does not tell.
    """

    losses: list[float]
    first: float
    seconds: list[float]
    memory: int | None


# --- the side of a library -------------------------------------------------------------------------------------------


def measure(peer: str, model: str, dtype: str, device: str, turns: int, seconds: float, real: bool = True) -> Measured:
    """Train a model in a library; in a process of its own. ``device`` is "cuda:0", or "cpu" to try this out."""
    given = cast(problem(model, real=real)[0], dtype)
    run, memory = STARTS[PEERS[peer].library](PEERS[peer], model, given, dtype, device)
    start = time.perf_counter()
    losses = [float(run())]
    first = time.perf_counter() - start
    losses += [float(run()) for _ in range(CHECKED_STEPS - 1)]
    count = max(1, int(seconds / max(timed(run, 3), 1e-6)))
    return Measured(losses, first, [timed(run, count) for _ in range(turns)], memory())


def timed(run: Any, count: int) -> float:
    """Seconds of a step: many are queued, and the last loss is waited for."""
    start = time.perf_counter()
    for _ in range(count):
        value = run()
    float(value)
    return (time.perf_counter() - start) / count


def cast(given: Problem, dtype: str) -> Problem:
    """The problem with its floating numbers in another dtype."""

    def converted(x: Any) -> Any:
        return x.astype(ml_dtypes.bfloat16) if dtype == "bfloat16" and x.dtype.kind == "f" else x

    params = mapped(lambda _, w: converted(w), given.params)
    return given._replace(params=params, batches=[(converted(x), converted(y)) for x, y in given.batches])


def start_knet(peer: Peer, model: str, given: Problem, dtype: str, device: str) -> tuple[Any, Any]:
    import knet

    knet.set_backend(device)

    def memory() -> int | None:
        try:
            return knet.memory.held()
        except knet.errors.DeviceError:  # the CPU has no pool
            return None

    return trainer(peer)(model, given, os.cpu_count(), peer.variant), memory


def start_torch(peer: Peer, model: str, given: Problem, dtype: str, device: str) -> tuple[Any, Any]:
    import torch

    plain = given._replace(  # NumPy's bfloat16 is none of PyTorch's dtypes
        params=mapped(lambda _, w: plain_array(w), given.params),
        batches=[(plain_array(x), plain_array(y)) for x, y in given.batches],
    )

    def memory() -> int | None:
        return torch.cuda.max_memory_reserved() if device.startswith("cuda") else None

    return trainer(peer)(model, plain, os.cpu_count(), peer.variant, device, dtype), memory


def start_jax(peer: Peer, model: str, given: Problem, dtype: str, device: str) -> tuple[Any, Any]:
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # what is held then says something
    import jax

    kind, _, number = device.partition(":")
    place = jax.devices(kind)[int(number or 0)]
    jax.config.update("jax_default_device", place)

    def memory() -> int | None:
        return (place.memory_stats() or {}).get("peak_bytes_in_use")

    return trainer(peer)(model, given, os.cpu_count(), peer.variant), memory


STARTS = {"knet": start_knet, "torch": start_torch, "jax": start_jax}


def trainer(peer: Peer) -> Any:
    return importlib.import_module(f"benchmarks.training.{peer.module}").train


def plain_array(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32) if x.dtype == ml_dtypes.bfloat16 else x


def learn_mnist(device: str, epochs: int, rows: int | None = None, real: bool = True) -> tuple[float, float]:
    """(seconds, accuracy on the test images) of LeNet trained by Adam; the second epoch on compiles nothing."""
    import knet
    import knet.numpy as knp
    from knet import nn, optim

    knet.set_backend(device)
    if real:
        (x, y), (images, digits) = knet.data.mnist()
    else:
        x = images = np.random.default_rng(0).random((rows or 200, 1, 28, 28), np.float32)
        y = digits = np.arange(len(x)) % 10
    x, y = x[:rows], y[:rows]
    model = nn.Chain(
        nn.Conv(20, 5), nn.relu, nn.MaxPool(2), nn.Conv(50, 5), nn.relu, nn.MaxPool(2),
        nn.flatten, nn.Dense(500), nn.relu, nn.Dense(10),
    )  # fmt: skip
    params = model.init(knet.random.key(0), (1, 28, 28))
    optimizer = optim.adam(1e-3)
    state = optimizer.init(params)

    @knet.jit(donate_argnums=(0, 1))
    def step(params, state, x, y):
        value, grads = knet.value_and_grad(lambda p: nn.cross_entropy(model(p, x), y))(params)
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state, value

    @knet.jit
    def correct(params, x, y):
        return knp.sum(knp.argmax(model(params, x), axis=-1) == y)

    start = time.perf_counter()
    for batch_x, batch_y in knet.data.minibatch(x, y, 100, key=knet.random.key(1), epochs=epochs):
        params, state, value = step(params, state, batch_x, batch_y)
    float(value)
    seconds = time.perf_counter() - start
    right = sum(int(correct(params, images[i : i + 1000], digits[i : i + 1000])) for i in range(0, len(images), 1000))
    return seconds, right / len(images)


# --- the side that asks ----------------------------------------------------------------------------------------------


def apart(function: Any, *arguments: Any, patience: float = 600) -> Any:
    """What a function returns in a process of its own, or one line of why it does not."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        try:
            return pool.submit(function, *arguments).result(patience)
        except TooLate:
            for process in list((pool._processes or {}).values()):
                process.kill()
            return f"more than {patience:.0f} s"
        except Exception as e:
            return f"{type(e).__name__}: {e}".splitlines()[0][:80]


def run_tests(device: str, arguments: list[str]) -> tuple[bool, str]:
    """Whether the suite passes with this device as default, and pytest's last line."""
    backend = device.partition(":")[0]
    required = ",".join(dict.fromkeys(("cpu", backend)))
    environment = os.environ | {"KNET_BACKEND": device, "KNET_REQUIRE": required}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, **pipes)
    lines = done.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))][:30]
    return done.returncode == 0, "\n".join([*failed, lines[-1] if lines else "pytest printed nothing"])


def device_name(device: str) -> str:
    """What the device is called.

    Raises:
      DeviceError: there is none; the text says why and what helps.
    """
    import knet

    found = knet.core.get_device(device)
    runtimes = getattr(found.backend, "runtimes", None)
    return getattr(runtimes()[found.index], "name", device) if runtimes else device


# --- the report ------------------------------------------------------------------------------------------------------

Table = dict[str, dict[str, Any]]  # by model and peer: Measured, or why not


def cell(measured: Any, text: Any) -> str:
    return measured if isinstance(measured, str) else text(measured)


def step_table(table: Table, peers: list[str], dtype: str) -> str:
    """Medians; in brackets Knet's time over the library's. WRONG behind losses that are not the reference's."""
    rows = [[f"step, {dtype}", "unit", *peers]]
    for model, results in table.items():
        label, unit, scale = MODELS[model][0]
        known = results.get("Knet"), results, dtype, scale
        rows.append([label, unit, *(cell(results[p], functools.partial(_step, p, *known)) for p in peers)])
    return markdown(rows)


def _step(peer: str, ours: Any, results: dict[str, Any], dtype: str, scale: float, measured: Measured) -> str:
    middle = statistics.median(measured.seconds)
    text = figure(middle * scale)
    if peer != "Knet" and isinstance(ours, Measured):
        text += f" ({statistics.median(ours.seconds) / middle:.2f})"
    return text + ("" if agrees(measured, results, dtype) else " WRONG")


def agrees(measured: Measured, results: dict[str, Any], dtype: str) -> bool:
    """Whether the losses are the reference's, or the first library's where that is absent."""
    known = [m for m in (results.get(REFERENCE), *results.values()) if isinstance(m, Measured)]
    differences = [abs(a - b) / max(abs(b), 1e-6) for a, b in zip(measured.losses, known[0].losses, strict=True)]
    return max(differences) <= TOLERANCES[dtype]


def other_table(table: Table, peers: list[str], head: str, text: Any) -> str:
    rows = [[head, *peers]]
    rows += [[MODELS[m][0].text, *(cell(results[p], text) for p in peers)] for m, results in table.items()]
    return markdown(rows)


def report(name: str, tests: str, tables: dict[str, Table], peers: list[str], lenet: Any, options: Any) -> str:
    """The file's text."""
    parts = [f"# Knet on {name}", setting([PEERS[p].library for p in peers], os.cpu_count() or 1, options.turns, "")]
    parts += ["## Tests", f"```\n{tests}\n```"]
    for dtype, table in tables.items():
        parts += [
            f"## Training steps, {dtype}",
            "Medians; in brackets Knet's time over the library's (below 1: Knet is faster).",
            step_table(table, peers, dtype),
            other_table(table, peers, "first step, s", lambda m: f"{m.first:.2f}"),
            other_table(table, peers, "device memory held, MB", lambda m: f"{m.memory / 1e6:.0f}" if m.memory else "-"),
        ]
    learned = lenet if isinstance(lenet, str) else f"{lenet[0]:.1f} s, {100 * lenet[1]:.2f} % of the test images right"
    parts += [f"## LeNet on MNIST, {options.epochs} epochs, batches of 100, Adam", learned]
    return "\n\n".join(parts) + "\n"


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cuda:0", help="cuda:0; cpu tries this out")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL", help="all")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER", help="all")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="both")
    parser.add_argument("--turns", type=int, default=7, help="7")
    parser.add_argument("--seconds", type=float, default=0.5, help="of work in each turn (0.5)")
    parser.add_argument("--epochs", type=int, default=3, help="of LeNet (3)")
    parser.add_argument("--tests", default="tests", help="what pytest is given (tests); an empty text leaves them out")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the report")
    parser.add_argument("--chance", action="store_true", help="random data in place of MNIST and texts")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    """Test, measure, write. The exit status is 1 if a test fails, 2 if there is no such device."""
    options = arguments(given)
    name = apart(device_name, options.device)
    if "Error: " in name:
        print(f"benchmarks.gpu: {name}\nRun python -m knet.backends for what to do about it.", file=sys.stderr)
        return 2
    passed, tests = run_tests(options.device, options.tests.split()) if options.tests else (True, "left out")
    print(tests, flush=True)
    peers = [peer for peer in options.peers if importlib.util.find_spec(PEERS[peer].library)]
    tables: dict[str, Table] = {}
    for dtype in options.dtypes:
        tables[dtype] = {}
        for model in options.models:
            asked = (model, dtype, options.device, options.turns, options.seconds, not options.chance)
            tables[dtype][model] = {peer: apart(measure, peer, *asked) for peer in peers}
            print(f"{dtype} {model} done", file=sys.stderr, flush=True)
    rows = 200 if options.chance else None
    lenet = apart(learn_mnist, options.device, options.epochs, rows, not options.chance)
    text = report(name, tests, tables, peers, lenet, options)
    options.output.mkdir(parents=True, exist_ok=True)
    backend = options.device.partition(":")[0]
    slug = re.sub(r"\W+", "-", name).strip("-")
    file = options.output / f"{time.strftime('%Y-%m-%d')}-{backend}-{slug}.md"
    file.write_text(text)
    print(f"{text}\nwritten to {file}")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
