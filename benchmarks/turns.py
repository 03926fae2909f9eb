"""What the comparisons with other libraries share: work timed in turns, noise noticed, medians and ratios written."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

IDLE = 0.03  # seconds in which the thread pool of the library before goes to sleep
DISTURBED = 0.1  # share of the processors' time that went to other programs
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POCL_MAX_PTHREAD_COUNT")

Times = dict[str, list[float]]  # by library, the seconds of one call in each turn


# --- the side of a library -------------------------------------------------------------------------------------------


def calls_within(run: Callable[[], Any], seconds: float) -> int:
    """How many calls fit into that time, 1 at least; found after three that do not count."""
    for _ in range(3):
        run()
    start = time.perf_counter()
    run()
    return max(1, int(seconds / max(time.perf_counter() - start, 1e-6)))


def timed(run: Callable[[], Any], calls: int) -> tuple[float, float]:
    """Seconds of one call of so many, after one that does not count; and :func:`share`."""
    run()
    others, start = others_seconds(), time.perf_counter()
    for _ in range(calls):
        run()
    elapsed = time.perf_counter() - start
    return elapsed / calls, share(others_seconds() - others, elapsed)


def others_seconds() -> float:
    """Time that the processors have worked for other programs than this and its children; 0 where no system tells."""
    try:
        with open("/proc/stat") as lines:
            user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(int, lines.readline().split()[1:])
    except (OSError, ValueError):
        return 0.0
    children = os.times()
    own = time.process_time() + children.children_user + children.children_system
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - own


def share(others: float, elapsed: float) -> float:
    """Share of the processors' time that others had; two ticks of the system's clock are within its error."""
    return (others - 2 / os.sysconf("SC_CLK_TCK")) / (elapsed * (os.cpu_count() or 1))


# --- the side that asks ----------------------------------------------------------------------------------------------


class Patience:
    """Seconds that may be spent on doing work again, and how much was disturbed in spite of that."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        self.asked = 0
        self.disturbed: Counter[str] = Counter()  # by task

    def undisturbed(self, task: str, work: Callable[[], tuple[float, float]]) -> float:
        """The time that ``work`` says it took, from a run without much work of others if possible."""
        self.asked += 1
        while True:
            start = time.perf_counter()
            time.sleep(IDLE)
            seconds, others = work()
            if others < DISTURBED:
                return seconds
            self.left -= time.perf_counter() - start
            if self.left < 0:
                self.disturbed[task] += 1
                return seconds

    def __str__(self) -> str:
        counts = ", ".join(f"{task} {count}" for task, count in self.disturbed.items())
        where = f" ({counts})" if counts else ""
        return f"Other programs disturbed {self.disturbed.total()} of {self.asked} pieces of work{where}."


# --- the report ------------------------------------------------------------------------------------------------------


def ratio(turns: Times, peer: str, base: str = "Knet") -> float:
    """The base's time over the peer's: the median of the turns' ratios."""
    return statistics.median(ours / theirs for ours, theirs in zip(turns[base], turns[peer]))


def spread(times: list[float]) -> str:
    """Half of the middle half's width, relative to the median."""
    if len(times) < 2:
        return "-"
    low, _, high = statistics.quantiles(times, n=4)
    return f"±{50 * (high - low) / statistics.median(times):.0f} %"


def figure(value: float) -> str:
    """Three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def markdown(lines: list[list[str]]) -> str:
    """A table, aligned; the first line is its head."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    rows = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths)) + " |" for line in lines]
    rows.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(rows)


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def setting(modules: list[str], threads: int, turns: int, source: str) -> str:
    """Day, machine, versions and data, in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in dict.fromkeys(["numpy", *modules]))
    return (
        f"{time.strftime('%Y-%m-%d')}; {os.cpu_count()} cores, {processor()}, {platform.system()}, "
        f"Python {platform.python_version()}; {versions}; {threads} threads, {turns} turns, {source}"
    )
