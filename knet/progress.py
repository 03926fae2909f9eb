"""A progress bar around any iterable: how far, how fast, and the loss."""

from __future__ import annotations

import contextlib
import operator
import os
import sys
import time
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any, Generic, TypeVar

__all__ = ["Progress", "progress"]

T = TypeVar("T")


def progress(iterable: Iterable[T], *, total: int | None = None, every: float = 0.5) -> Progress[T]:
    """The same items, with a progress bar on stderr: items done, percentage, time left, rate, and values of your own.

    The bar appears when stderr is a terminal, or always with the environment variable KNET_PROGRESS=1, or never with
    KNET_PROGRESS=0. Without a bar, iterating costs nothing.

    Args:
        iterable: what to iterate over; of unknown length it gets a bar without percentage.
        total: the number of items, when `len(iterable)` does not tell.
        every: seconds between two refreshes of the bar, 0 to refresh at each item. The first and the last item are
            always shown.

    Returns:
        A re-iterable `Progress`; its method `show` puts values beside the bar.

    Raises:
        ValueError: total or every is negative, or KNET_PROGRESS is neither 0 nor 1.

    Example:
        >>> sum(x * y for x, y in progress([(1, 2), (3, 4)]))
        14
        >>> bar = progress(range(3))
        >>> for i in bar:
        ...     bar.show(loss=1 / (i + 1))
    """
    return Progress(iterable, total=total, every=every)


class Progress(Generic[T]):
    """An iterable with a progress bar; made by `progress`, which explains the arguments."""

    def __init__(self, iterable: Iterable[T], *, total: int | None = None, every: float = 0.5) -> None:
        for name, value in (("total", total), ("every", every)):
            if value is not None and not value >= 0:
                raise ValueError(f"progress: {name} is {value!r}, it must be 0 or more.\n  fix: leave {name} out.")
        self._iterable = iterable
        self._total = _length(iterable) if total is None else total
        self._every = every
        self._visible = _wanted()
        self._values: dict[str, Any] = {}

    def show(self, **values: Any) -> None:
        """Values to show beside the bar from its next refresh on; a value replaces the earlier one of its name.

        A value is a number, an array of shape `[]`, or a string; anything else shows as its text, cut to 40 characters.
        Only the latest is kept, and it is read when the bar refreshes, not before: the training loop does not wait for
        the device at every step.

        Example:
            >>> bar = progress(["a", "b"])
            >>> for batch in bar:
            ...     bar.show(loss=0.25, batch=batch)
        """
        if self._visible:
            self._values.update(values)

    def __len__(self) -> int:
        if self._total is None:
            raise TypeError("len(progress(...)): the iterable's length is unknown.\n  fix: progress(..., total=n).")
        return self._total

    def __iter__(self) -> Iterator[T]:
        return self._with_bar() if self._visible else iter(self._iterable)

    def _with_bar(self) -> Iterator[T]:
        from tqdm import tqdm

        # The refreshes are timed here, so that values are read only then: tqdm itself shows every update.
        bar = tqdm(total=self._total, mininterval=0, miniters=1, dynamic_ncols=True, leave=None)
        done, refresh_at = 0, 0.0
        try:
            for item in self._iterable:
                yield item
                done += 1
                if time.perf_counter() >= refresh_at:
                    self._refresh(bar, done)
                    refresh_at = time.perf_counter() + self._every
            self._refresh(bar, done)
        except GeneratorExit:  # a break or an error in the loop, not to be hidden by a value that cannot be read
            with contextlib.suppress(Exception):
                self._refresh(bar, done)
            raise
        finally:
            bar.close()
            self._values.clear()

    def _refresh(self, bar: Any, done: int) -> None:
        bar.set_postfix_str(", ".join(f"{name}={_text(value)}" for name, value in self._values.items()), refresh=False)
        bar.update(done - bar.n)


def _text(value: Any) -> str:
    if isinstance(value, str | Integral):
        return str(value)
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):  # an array of a shape other than [], a tuple, None
        return " ".join(str(value).split())[:40]


def _length(iterable: Iterable[Any]) -> int | None:
    length = operator.length_hint(iterable, -1)
    return None if length < 0 else length


def _wanted() -> bool:
    setting = os.environ.get("KNET_PROGRESS", "")
    if setting not in ("", "0", "1"):
        raise ValueError(
            f"progress: the environment variable KNET_PROGRESS is {setting!r}, it must be 0 or 1.\n"
            "  fix: KNET_PROGRESS=1 to show bars, 0 to hide them, unset to show them on terminals."
        )
    return setting == "1" or (setting == "" and sys.stderr is not None and sys.stderr.isatty())
