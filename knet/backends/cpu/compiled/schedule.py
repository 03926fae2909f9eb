"""When each thread does what, and where: shares of the work, barriers, and places of buffers in the workspace.

Every launch is a kernel with its operands. Its phases are run by all threads on their shares. A barrier is put in only
where a thread would otherwise meet bytes that another one still writes or reads: the bytes that each thread touches are
known, because units of work are equal slabs of the operands named in ``Phase.rows``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ....compiler.layout import Buffer, Ref
from .kernel import Kernel, Phase
from .loops import Loop

_ALIGN = 64
_SMALL = 1 << 14  # operations; less than that one thread does sooner than two meet


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


@dataclass
class Call:
    """One phase of a launch, with the bounds of each thread's run."""

    launch: Launch
    phase: Phase
    bounds: tuple[int, ...]
    barrier: bool = False

    @property
    def alone(self) -> bool:
        """Whether thread 0 does it all."""
        return self.bounds[1] == self.phase.units


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


Item = Launch | HostCall | Loop
Step = Call | HostCall | Begin | End


@dataclass
class Plan:
    """The scheduled program: steps in order, bytes of workspace."""

    steps: list[Step] = field(default_factory=list)
    workspace: int = 0


def bounds_of(phase: Phase, threads: int, small: bool) -> tuple[int, ...]:
    """Where each thread's run begins, and the end: equal shares, in whole grains."""
    if small or threads == 1:
        return (0, *([phase.units] * threads))
    grains = -(-phase.units // phase.grain)
    return tuple(min(grains * t // threads * phase.grain, phase.units) for t in range(threads + 1))


def schedule(items: Sequence[Item], threads: int) -> Plan:
    """The program for a team."""
    plan = Plan()
    _flatten(items, threads, plan.steps)
    plan.workspace = place(plan.steps)
    _add_barriers(plan.steps, threads)
    return plan


def _flatten(items: Sequence[Item], threads: int, steps: list[Step]) -> None:
    for item in items:
        if isinstance(item, HostCall):
            steps.append(item)
        elif isinstance(item, Loop):
            inside: list[Step] = []
            _flatten(item.items, threads, inside)
            early = [s for s in inside if isinstance(s, Call) and _invariant(s, item)]
            steps += early
            steps += [Begin(item), *(s for s in inside if not any(s is e for e in early)), End(item)]
        else:
            small = item.work < _SMALL
            steps += [Call(item, phase, bounds_of(phase, threads, small)) for phase in item.kernel.phases]


def _invariant(call: Call, loop: Loop) -> bool:
    """Whether a phase does the same in every step of a loop: it fills scratch from what does not change."""
    phase = call.phase
    if phase.writes or phase.private or not phase.reads:
        return False
    return all(call.launch.operands[i].buffer in loop.outer for i in phase.reads)


# --- memory -----------------------------------------------------------------------------------------------------------


def place(steps: Sequence[Step]) -> int:
    """Give each work buffer an offset such that buffers alive at one time do not overlap; returns the bytes needed."""
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    open_: list[tuple[int, int]] = []  # loops around a step: their first step and the one after their last
    ends = _ends(steps)
    for i, step in enumerate(steps):
        if isinstance(step, Begin):
            open_.append((i, ends[i])) if not isinstance(step, End) else open_.pop()
        for buffer in step.launch.buffers if isinstance(step, Call) else step.buffers:
            if buffer.kind == "work":
                first.setdefault(buffer, i)
                last[buffer] = i
                for start, end in open_:  # what comes from before a loop is needed until its end
                    if first[buffer] <= start:
                        last[buffer] = max(last[buffer], end)
    # Large ones first: small ones fit into the gaps.
    placed: list[Buffer] = []
    total = 0
    for buffer in sorted(first, key=lambda b: (-b.nbytes, first[b])):
        taken = sorted(
            (b.place, b.place + _rounded(b.nbytes))
            for b in placed
            if first[b] <= last[buffer] and first[buffer] <= last[b]
        )
        offset, size = 0, _rounded(buffer.nbytes)
        for start, stop in taken:
            if offset + size <= start:
                break
            offset = max(offset, stop)
        buffer.place = offset
        total = max(total, offset + size)
        placed.append(buffer)
    return total


def _ends(steps: Sequence[Step]) -> dict[int, int]:
    """Number of the End step of each Begin step."""
    ends: dict[int, int] = {}
    stack: list[int] = []
    for i, step in enumerate(steps):
        if isinstance(step, End):
            ends[stack.pop()] = i
        elif isinstance(step, Begin):
            stack.append(i)
    return ends


def _rounded(nbytes: int) -> int:
    return -(-max(nbytes, 1) // _ALIGN) * _ALIGN


# --- barriers ---------------------------------------------------------------------------------------------------------


@dataclass
class _Touch:
    """Bytes that each thread reads or writes in one region."""

    region: str
    ranges: list[tuple[int, int]]  # by thread; empty where start >= stop
    writes: bool


def _region(buffer: Buffer) -> tuple[str, int]:
    return ("work", buffer.place) if buffer.kind == "work" else (buffer.name, 0)


def _touches(call: Call, threads: int) -> list[_Touch]:
    result = []
    phase, operands = call.phase, call.launch.operands
    for i in (*phase.reads, *phase.writes):
        ref = operands[i]
        region, start = _region(ref.buffer)
        size = ref.dtype.itemsize
        low, high = _extent(ref)
        ranges = []
        for t in range(threads):
            lo, hi = call.bounds[t], call.bounds[t + 1]
            if lo >= hi:
                ranges.append((0, 0))
            elif i in phase.rows and phase.units:
                slab = ref.size // phase.units
                ranges.append((start + (low + lo * slab) * size, start + (low + hi * slab) * size))
            else:
                ranges.append((start + low * size, start + high * size))
        result.append(_Touch(region, ranges, i in phase.writes))
    for scratch, mine in ((call.launch.shared, phase.private), (call.launch.own, True)):
        if scratch is not None:
            region, start = _region(scratch)
            part = scratch.nbytes // threads
            parts = [(start + t * part, start + (t + 1) * part) if mine else (start, start + scratch.nbytes)
                     for t in range(threads)]  # fmt: skip
            ranges = [r if call.bounds[t] < call.bounds[t + 1] else (0, 0) for t, r in enumerate(parts)]
            result.append(_Touch(region, ranges, True))
    return result


def _extent(ref: Ref) -> tuple[int, int]:
    """First and one past the last element that a reference may touch."""
    low = high = ref.offset
    for n, step in zip(ref.shape, ref.strides, strict=True):
        if step < 0:
            low += (n - 1) * step
        else:
            high += (n - 1) * step
    return low, high + 1


def _meet(a: _Touch, b: _Touch) -> bool:
    if a.region != b.region or not (a.writes or b.writes):
        return False
    for s, (low, high) in enumerate(a.ranges):
        for t, (start, stop) in enumerate(b.ranges):
            if s != t and low < stop and start < high and low < high and start < stop:
                return True
    return False


def _add_barriers(steps: Sequence[Step], threads: int) -> None:
    """Mark the calls before which all threads have to meet."""
    ends = _ends(steps)
    pending: list[_Touch] = []

    def walk(start: int, stop: int) -> None:
        nonlocal pending
        i = start
        while i < stop:
            step = steps[i]
            if isinstance(step, HostCall):
                pending = []
            elif isinstance(step, End):
                pass
            elif isinstance(step, Begin):
                pending = []  # threads meet before a loop and after it
                walk(i + 1, ends[i])
                # The next step meets what this one did; where a carry was written it is read then.
                for touch in pending:
                    touch.region = step.loop.next_region.get(touch.region, touch.region)
                walk(i + 1, ends[i])
                pending = []
                i = ends[i]
            else:
                touches = _touches(step, threads)
                step.barrier = step.barrier or any(_meet(p, t) for p in pending for t in touches)
                if step.barrier:
                    pending = []
                pending += touches
            i += 1

    walk(0, len(steps))
