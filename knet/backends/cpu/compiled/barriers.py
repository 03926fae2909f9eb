"""Where threads have to meet: only where one would otherwise come upon bytes that another still writes or reads.

The bytes that each thread touches are known, because units of work are equal slabs of the operands named in
``Phase.rows``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....compiler.layout import Buffer, Ref
from ....compiler.plan.items import Begin, End, HostCall
from ....compiler.plan.memory import ends_of
from .items import Call, Step


@dataclass
class _Touch:
    """Bytes that each thread reads or writes in one region."""

    region: str
    ranges: list[tuple[int, int]]  # by thread; empty where start >= stop
    writes: bool


def _region(buffer: Buffer) -> tuple[str, int]:
    buffer = buffer.memory
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


def add_barriers(steps: Sequence[Step], threads: int) -> None:
    """Mark the groups before which all threads have to meet."""
    ends = ends_of(steps)
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
                touches = [t for call in step.calls for t in _touches(call, threads)]
                step.barrier = step.barrier or any(_meet(p, t) for p in pending for t in touches)
                if step.barrier:
                    pending = []
                pending += touches
            i += 1

    walk(0, len(steps))
