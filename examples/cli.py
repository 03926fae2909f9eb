"""The command line of the examples: one parser, and every mistake told in one line before training starts."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import knet

SMOKE_TRAINING, SMOKE_TEST = 1000, 500  # images in a smoke run
SMOKE_TEXT = 20000  # characters


def parser(
    description: str | None,
    *,
    output: str,
    epochs: int,
    lr: float,
    layers_lr: float | None = None,
    batch_size: int | None = None,
    epoch: str = "passes over the training data",
    smoke_epochs: int = 1,
) -> argparse.ArgumentParser:
    """The options that all examples share.

    Args:
        description: the example's docstring.
        output, epochs, lr, batch_size: defaults; without a batch size the whole data are one batch.
        layers_lr: default of lr with --layers, where it differs.
        epoch: what is counted by --epochs.
        smoke_epochs: default of --epochs in a smoke run.
    """
    rate = f"{lr}" if layers_lr is None else f"{lr}, with --layers {layers_lr}"
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--layers", action="store_true", help="knet.nn layers and knet.optim, in place of from scratch")
    p.add_argument("--epochs", type=count, metavar="N", help=f"{epoch} (default {epochs}, smoke run {smoke_epochs})")
    if batch_size is not None:
        p.add_argument("--batch-size", type=count, metavar="N", default=batch_size, help="default %(default)s")
    p.add_argument("--lr", type=above_zero, help=f"learning rate (default {rate})")
    p.add_argument("--seed", type=_seed, default=0, metavar="N", help="same seed, same numbers (default %(default)s)")
    p.add_argument("--backend", help="cpu, cuda, opencl, or a device such as cuda:1 (default KNET_BACKEND, else cpu)")
    p.add_argument("--smoke", action="store_true", help="a few seconds on few data, to see that everything works")
    p.add_argument("--output", type=Path, default=Path(output), metavar="FILE", help="picture (default %(default)s)")
    p.set_defaults(default_epochs=(epochs, smoke_epochs), default_lr=(lr, lr if layers_lr is None else layers_lr))
    return p


def parse(p: argparse.ArgumentParser) -> argparse.Namespace:
    """The options given, checked, the backend chosen. `output` is None if there can be no picture; `asked_epochs` is
    what the user said of them, None if nothing.
    """
    options = p.parse_args()
    options.asked_epochs = options.epochs
    if options.epochs is None:
        options.epochs = options.default_epochs[options.smoke]
    if options.lr is None:
        options.lr = options.default_lr[options.layers]
    with mistakes(knet.errors.DeviceError, ValueError):
        knet.progress(())  # KNET_PROGRESS may be wrong
        if options.backend is not None:
            knet.set_backend(options.backend)
        knet.default_device()  # and so may KNET_BACKEND
    options.output = _picture_path(options.output)
    return options


def images(options: argparse.Namespace) -> tuple[Any, Any]:
    """MNIST or its stand-in, `((xtrn, ytrn), (xtst, ytst))`; the first few of them in a smoke run."""
    with mistakes(OSError, ValueError, ImportError):
        (xtrn, ytrn), (xtst, ytst) = knet.data.mnist_or_digits()
    if options.smoke:
        xtrn, ytrn, xtst, ytst = xtrn[:SMOKE_TRAINING], ytrn[:SMOKE_TRAINING], xtst[:SMOKE_TEST], ytst[:SMOKE_TEST]
    if options.batch_size > len(xtrn):
        fail(f"--batch-size is {options.batch_size}, more than the {len(xtrn)} training images")
    print(f"{len(xtrn)} images for training, {len(xtst)} for testing, on {knet.default_device()}", flush=True)
    return (xtrn, ytrn), (xtst, ytst)


def text(options: argparse.Namespace) -> str:
    """The text of --data; without it Hiawatha, or what stands in for it. A little of it in a smoke run."""
    with mistakes(OSError, ValueError):
        characters = _any_text() if options.data is None else knet.data.text(options.data)
    return characters[:SMOKE_TEXT] if options.smoke else characters


def _any_text() -> str:
    try:
        return knet.data.text("hiawatha")
    except knet.data.DatasetUnavailable:
        pass
    try:
        name, characters = "Shakespeare", knet.data.text("shakespeare")
    except knet.data.DatasetUnavailable:
        from pydoc_data import topics

        name, characters = "Python's help texts", "\n".join(topics.topics.values())
    print(f"Hiawatha is not on this machine (KNET_DATA_DIR/text/hiawatha.txt): {name} instead", file=sys.stderr)
    return characters


@contextlib.contextmanager
def mistakes(*types: type[Exception]) -> Iterator[None]:
    """Context in which these errors end the program with their text, not with a traceback."""
    try:
        yield
    except types as error:
        fail(" ".join(str(error).split()))


def fail(text: str) -> NoReturn:
    """End the program as argparse does after a mistake: one line on stderr, exit status 2."""
    print(f"{Path(sys.argv[0]).name}: error: {text}", file=sys.stderr)
    sys.exit(2)


def _picture_path(path: Path) -> Path | None:
    """The path, once it is certain that a picture can be written there."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        print(f"no picture, because matplotlib is missing ({error}): pip install matplotlib", file=sys.stderr)
        return None
    if path.suffix[1:].lower() not in FigureCanvasBase.get_supported_filetypes():
        fail(f"--output {path}: the name must end in .png, .pdf, .svg or another format of matplotlib")
    try:
        existed = path.exists()
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        fail(f"--output {path}: cannot be written: {error.strerror}")
    return path


def _number(convert: Callable[[str], Any], holds: Callable[[Any], bool], rule: str) -> Callable[[str], Any]:
    def checked(text: str) -> Any:
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not holds(value):
            raise argparse.ArgumentTypeError(f"{text} is not {rule}")
        return value

    return checked


count = _number(int, lambda n: n >= 1, "a whole number of 1 or more")
_seed = _number(int, lambda n: 0 <= n < 2**63, "a whole number of 0 or more, below 2**63")
above_zero = _number(float, lambda x: 0 < x < math.inf, "a number above 0")
share = _number(float, lambda x: 0 <= x < 1, "a number of 0 or more, below 1")
