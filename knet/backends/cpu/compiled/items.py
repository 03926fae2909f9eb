"""What a program is made of: launches of kernels, operations by NumPy, loops; and the calls that they become."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ....compiler.layout import Buffer, Ref
from ....compiler.plan.items import Begin, End, HostCall
from ....compiler.plan.loops import Loop
from .kernel import Kernel, Phase


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

    @property
    def written(self) -> set[Buffer]:
        """Buffers of the operands that it writes."""
        return {self.operands[i].buffer for phase in self.kernel.phases for i in phase.writes}

    @property
    def same(self) -> tuple[tuple[int, int], ...]:
        """Pairs of operands that may share memory."""
        return self.kernel.same


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


Step = Group | HostCall | Begin | End
