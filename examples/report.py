"""What the examples print and draw: losses and accuracies by epoch, and a picture in a file."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import knet.numpy as knp
from knet import nn

CHUNK = 1000  # images that are classified at a time
RED, GREEN, BLUE, GREY = "#c0392b", "#2e8b57", "#1f5a96", "#8a8a8a"


class History:
    """Loss and accuracy on training and test data after each epoch, printed as they come.

    Args:
        predict: function of (params, x) that returns the logits [N, 10].
        trn, tst: pairs of images and labels.
        loss, accuracy: functions of (logits, labels), means over the rows.
    """

    def __init__(
        self,
        predict: Callable[..., Any],
        trn: Any,
        tst: Any,
        loss: Callable[..., Any] = nn.cross_entropy,
        accuracy: Callable[..., Any] = nn.accuracy,
    ) -> None:
        self.predict, self.data, self.metrics = predict, {"train": trn, "test": tst}, (loss, accuracy)
        self.loss: dict[str, list[float]] = {"train": [], "test": []}
        self.accuracy: dict[str, list[float]] = {"train": [], "test": []}
        self._since = time.perf_counter()

    def record(self, params: Any) -> None:
        """Evaluate these parameters and print one line; the first call is for the parameters before training."""
        seconds = time.perf_counter() - self._since
        line = f"epoch {len(self.loss['test']):2}"
        for name, (x, y) in self.data.items():
            loss, accuracy = evaluate(self.predict, params, x, y, *self.metrics)
            self.loss[name].append(loss)
            self.accuracy[name].append(accuracy)
            line += f"   {name} loss {loss:.5f} accuracy {accuracy:.4f}"
        print(line if len(self.loss["test"]) == 1 else f"{line}   ({seconds:.1f} s)", flush=True)
        self._since = time.perf_counter()

    def draw(self, figure: Any) -> None:
        """Two panels: loss, and error in percent, by epoch."""
        left, right = figure.subplots(1, 2)
        errors = {name: [100 * (1 - a) for a in values] for name, values in self.accuracy.items()}
        for axes, curves, title in (left, self.loss, "Loss"), (right, errors, "Wrong answers, %"):
            for (name, values), color in zip(curves.items(), (BLUE, RED), strict=True):
                axes.plot(values, "o-", color=color, markersize=4, label=f"{name}, at the end {values[-1]:.3g}")
            axes.set(title=title, xlabel="Epoch", yscale="log")
            axes.xaxis.get_major_locator().set_params(integer=True)
            plain_ticks(axes.yaxis)
            axes.legend(frameon=False)

    def finish(self) -> None:
        """Print the result; exit with status 1 if the training loss did not fall."""
        print(f"test accuracy {self.accuracy['test'][-1]:.4f}")
        check_fall(self.loss["train"][0], self.loss["train"][-1])


def plain_ticks(axis: Any) -> None:
    """Tick a logarithmic axis at 1, 2, 5, 10, 20 ..., written as plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def evaluate(predict: Any, params: Any, x: Any, y: Any, *metrics: Any) -> list[float]:
    """Means of metrics of (logits, labels) over all rows, which are classified in chunks to save memory."""
    totals = [0.0] * len(metrics)
    for start in range(0, len(x), CHUNK):
        labels = y[start : start + CHUNK]
        logits = predict(params, x[start : start + CHUNK])
        totals = [total + metric(logits, labels) * len(labels) for total, metric in zip(totals, metrics, strict=True)]
    return [float(total) / len(x) for total in totals]


def answers(predict: Any, params: Any, x: Any) -> np.ndarray[Any, Any]:
    """The most likely class of each row of x."""
    chunks = [predict(params, x[start : start + CHUNK]) for start in range(0, len(x), CHUNK)]
    return np.concatenate([np.asarray(knp.argmax(logits, axis=1)) for logits in chunks])


def check_fall(before: float, after: float) -> None:
    """Exit with status 1 unless the training loss fell."""
    if not after < before:
        fail(f"the training loss did not fall: {before:.5g} before, {after:.5g} after. Try a smaller --lr")
    if not math.isfinite(after):
        fail("the training loss is not finite. Try a smaller --lr")


def fail(text: str) -> NoReturn:
    """End the program: one line on stderr, exit status 1."""
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)
    sys.exit(1)


def save(path: Path | None, size: tuple[float, float], draw: Callable[[Any], None]) -> None:
    """Draw a figure of a size in inches, write it to a file, and print the file's name. Opens no window."""
    if path is None:
        return
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        figure.savefig(path, dpi=150)
    print(f"picture: {path}")
