"""What a plan is made of beside a backend's launches: operations on the host, and the ends of loops.

A launch is what a backend makes it, as long as it has

- ``operands``: the references that it reads or writes, and ``buffers``: all memory that it touches;
- ``written``: the buffers that it writes;
- ``same``: pairs (read operand, written operand) that may share memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..layout import Buffer, Ref


@dataclass
class HostCall:
    """An operation that is done eagerly between two pieces of the program: by NumPy, or by a backend's library."""

    node: Any
    operands: list[Any]  # Ref, or a Python number
    results: list[Ref]
    text: str = ""

    @property
    def buffers(self) -> Iterable[Buffer]:
        yield from (ref.buffer for ref in (*self.operands, *self.results) if isinstance(ref, Ref))

    @property
    def written(self) -> set[Buffer]:
        """Buffers of the results."""
        return {ref.buffer for ref in self.results}


class Timing(NamedTuple):
    """What a part of a program computes, its seconds, operations on floats in products, bytes of its arrays."""

    text: str
    seconds: float
    flops: float
    nbytes: int


@dataclass
class Begin:
    """The start of a loop's steps."""

    loop: Any

    @property
    def buffers(self) -> Iterable[Buffer]:
        yield from self.loop.buffers


@dataclass
class End(Begin):
    """The end of a loop's steps."""
