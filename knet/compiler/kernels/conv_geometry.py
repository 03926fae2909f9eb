"""Sizes of convolutions and pooling, with axes of 1 put before one or two spatial axes: kernels are made for three."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...core.ops.conv import output_sizes
from .kernel import Writer
from .places import groups_of

Sizes = tuple[int, int, int]


@dataclass(frozen=True)
class Geometry:
    """A convolution of x [N, C, *sizes] and w [O, C/groups, *window] to y [N, O, *out]; position i of y and tap k meet
    x at i * stride - before + k * dilation. Pooling is one with a group for each channel.

    Attributes:
      images: N.
      channels: C / groups.
      depth: O / groups.
      groups: how many parts the channels fall into.
      before: padding in front of each axis; negative where x begins earlier.
    """

    images: int
    channels: int
    depth: int
    groups: int
    sizes: Sizes
    window: Sizes
    stride: Sizes
    before: Sizes
    dilation: Sizes
    out: Sizes

    @property
    def volume(self) -> int:
        """Elements of one channel of x."""
        return math.prod(self.sizes)

    @property
    def taps(self) -> int:
        """Elements of the window."""
        return math.prod(self.window)

    @property
    def pixels(self) -> int:
        """Elements of one channel of y."""
        return math.prod(self.out)

    def inside(self, axis: int) -> bool:
        """Whether no tap of any position lies outside of x on an axis."""
        last = (self.out[axis] - 1) * self.stride[axis] - self.before[axis]
        return self.before[axis] <= 0 and last + (self.window[axis] - 1) * self.dilation[axis] < self.sizes[axis]

    @property
    def work(self) -> float:
        """Multiplications and additions."""
        return 2.0 * self.images * self.groups * self.depth * self.channels * self.taps * self.pixels

    def backwards(self) -> Geometry:
        """The convolution, with the window turned round and channels exchanged, that the input gradient of one with
        stride 1 is.
        """
        before = tuple(d * (k - 1) - b for d, k, b in zip(self.dilation, self.window, self.before, strict=True))
        return replace(
            self,
            channels=self.depth,
            depth=self.channels,
            sizes=self.out,
            out=self.sizes,
            before=(before[0], before[1], before[2]),
        )


def geometry(x_shape: Sequence[int], w_shape: Sequence[int], params: dict[str, Any]) -> Geometry | None:
    """The sizes of a convolution; None for more than three spatial axes."""
    stride, padding, dilation = params["stride"], params["padding"], params["dilation"]
    return _made(x_shape, w_shape[0], w_shape[2:], stride, padding, dilation, params["groups"])


def pooling(x_shape: Sequence[int], params: dict[str, Any]) -> Geometry | None:
    """The sizes of pooling; None for more than three spatial axes."""
    window, channels = params["window"], x_shape[1]
    return _made(x_shape, channels, window, params["stride"], params["padding"], (1,) * len(window), channels)


def _made(
    x_shape: Sequence[int], depth: int, window: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Geometry | None:
    images, channels, *sizes = x_shape
    if len(sizes) > 3:
        return None
    out = output_sizes(tuple(sizes), tuple(window), tuple(stride), tuple(padding), tuple(dilation))
    before = [pair[0] for pair in padding]
    groups = max(1, groups)

    def three(numbers: Sequence[int], missing: int = 1) -> Sizes:
        a, b, c = (missing,) * (3 - len(sizes)) + tuple(numbers)
        return a, b, c

    return Geometry(
        images, channels // groups, depth // groups, groups, three(sizes), three(window), three(stride),
        three(before, 0), three(dilation), three(out),
    )  # fmt: skip


def numbers(g: Geometry) -> dict[str, int]:
    """What texts of kernels call the sizes: ``$S0`` to ``$S2`` sizes, ``$K`` window, ``$T`` stride, ``$B`` before,
    ``$D`` dilation, ``$P`` out; ``$N``, ``$C``, ``$O``, ``$G``; ``$V``, ``$W``, ``$Q`` elements of a channel of x, of a
    window and of a channel of y.
    """
    axes = {"S": g.sizes, "K": g.window, "T": g.stride, "B": g.before, "D": g.dilation, "P": g.out}
    named = {f"{letter}{axis}": n for letter, sizes in axes.items() for axis, n in enumerate(sizes)}
    whole = {"N": g.images, "C": g.channels, "O": g.depth, "G": g.groups, "V": g.volume, "W": g.taps, "Q": g.pixels}
    return named | whole


_TOKEN = re.compile(r"\$(\w+)")


def filled(w: Writer, text: str, values: dict[str, int]) -> str:
    """A body with the numbers that its ``$`` tokens stand for, each one parameter at most."""
    known: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in known:
            known[name] = w.number(values[name])
        return known[name]

    return _TOKEN.sub(number, text)


def each(w: Writer, total: int, body: str, work: float) -> tuple[str, tuple[int, int, int]]:
    """Text that does the body for every INDEX e < total, and the number of groups for it: a group of a CPU has a run
    of them, an item of a GPU one. ``work``: simple operations, all in all.
    """
    count, items = w.number(total), w.target.items
    if w.target.loops:
        groups = groups_of(total, work, w) if total else 0
        share = f"(long){count} * GROUP(0) / GROUPS(0)", f"(long){count} * (GROUP(0) + 1) / GROUPS(0)"
        return f"for (INDEX e = {share[0]}; e < {share[1]}; e++) {{\n{body}}}\n", (groups, 1, 1)
    text = f"const INDEX e = (INDEX)GROUP(0) * {items} + ITEM(0);\nif (e < {count}) {{\n{body}}}\n"
    return text, (-(-total // items), 1, 1)
