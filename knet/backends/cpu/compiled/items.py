"""What a program is made of: launches of kernels, operations by NumPy, loops; and the calls that they become."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ....compiler.layout import Buffer, Ref
from .kernel import Kernel, Phase
from .loops import Loop


@dataclass
class Launch:
    """A kernel and its operands (inputs, then outputs); ``work`` in operations, ``text`` says what it computes."""

    kernel: Kernel
    operands: list[Ref]
    work: float
    text: str
    shared: Buffer | None = None
    own: Buffer | None = None

    @property
    def flops(self) -> float:
        """Floating-point operations, of products and convolutions alone: ``work`` counts eight multiply-adds as one."""
        return 16 * self.work if self.text.startswith(("matmul", "conv")) else 0.0

    @property
    def buffers(self) -> Iterable[Buffer]:
        yield from (ref.buffer for ref in self.operands)
        if self.shared is not None:
            yield self.shared
        if self.own is not None:
            yield self.own


@dataclass
class HostCall:
    """An operation that NumPy does between two pieces of the program."""

    node: Any
    operands: list[Any]  # Ref, or a Python number
    results: list[Ref]
    text: str = ""

    @property
    def buffers(self) -> Iterable[Buffer]:
        yield from (ref.buffer for ref in (*self.operands, *self.results) if isinstance(ref, Ref))


Item = Launch | HostCall | Loop


@dataclass
class Call:
    """One phase of a launch, with the bounds of each thread's run."""

    launch: Launch
    phase: Phase
    bounds: tuple[int, ...]

    @property
    def alone(self) -> bool:
        """Whether thread 0 does it all."""
        return self.bounds[1] == self.phase.units

    @property
    def buffers(self) -> Iterable[Buffer]:
        return self.launch.buffers

    @property
    def reads(self) -> Iterable[Ref]:
        """What the phase reads."""
        return (self.launch.operands[i] for i in self.phase.reads)

    @property
    def writes(self) -> Iterable[Ref]:
        """What the phase writes."""
        return (self.launch.operands[i] for i in self.phase.writes)

    @property
    def scratch_only(self) -> bool:
        """Whether it fills scratch and nothing else."""
        return not self.phase.writes


@dataclass
class Group:
    """Calls that each thread makes on one part of its run after the other, while the part is in its cache.

    Unit u of the group stands for ``calls[i].phase.units / units`` units of call i, beginning at u times as many.
    """

    calls: list[Call]
    units: int
    bounds: tuple[int, ...]
    part: int
    barrier: bool = False

    @property
    def buffers(self) -> Iterable[Buffer]:
        for call in self.calls:
            yield from call.buffers


@dataclass
class Begin:
    """The start of a loop's steps."""

    loop: Loop

    @property
    def buffers(self) -> Iterable[Buffer]:
        yield from self.loop.buffers


@dataclass
class End(Begin):
    """The end of a loop's steps."""


Step = Group | HostCall | Begin | End
