"""When each thread does what: shares of the work, an order of the calls, and groups of calls that share a cache.

Each phase of a kernel is called by every thread on its share of the units. Packing goes to the front, sums of the
threads' parts go to the back; what is left of consecutive calls often divides its work in the same way, each reading
just the rows that the one before wrote. Such calls are a group: a thread takes a part of its rows through all of them
before the next part, so that what one writes the next finds in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ....compiler.layout import Buffer
from ....compiler.plan.items import Begin, End, HostCall
from ....compiler.plan.loops import Loop
from ....compiler.plan.memory import place
from .barriers import add_barriers
from .items import Call, Group, Item, Step
from .kernel import Phase

_SMALL = 1 << 14  # operations; less than that one thread does sooner than two meet
_CACHE = 384 << 10  # bytes that a group's part may touch: some of a core's second cache


@dataclass
class Plan:
    """The scheduled program: steps in order, bytes of workspace."""

    steps: list[Step] = field(default_factory=list)
    workspace: int = 0


def schedule(items: Sequence[Item], threads: int) -> Plan:
    """The program for a team."""
    plan = Plan()
    _flatten(items, threads, plan.steps)
    plan.workspace = place(plan.steps)
    add_barriers(plan.steps, threads)
    return plan


def bounds_of(phase: Phase, threads: int, small: bool) -> tuple[int, ...]:
    """Where each thread's run begins, and the end: equal shares, in whole grains."""
    if small or threads == 1:
        return (0, *([phase.units] * threads))
    grains = -(-phase.units // phase.grain)
    return tuple(min(grains * t // threads * phase.grain, phase.units) for t in range(threads + 1))


def _flatten(items: Sequence[Item], threads: int, steps: list[Step]) -> None:
    run: list[Call] = []  # calls with nothing else in between

    def finish() -> None:
        steps.extend(_grouped(_reordered(run)))
        run.clear()

    for item in items:
        if isinstance(item, HostCall):
            finish()
            steps.append(item)
        elif isinstance(item, Loop):
            inside: list[Step] = []
            _flatten(item.items, threads, inside)
            written = item.written
            rest: list[Step] = []
            for step in inside:
                if isinstance(step, Group) and _invariant(step, written):
                    run.append(step.calls[0])
                else:
                    rest.append(step)
            finish()
            steps += [Begin(item), *rest, End(item)]
        else:
            small = item.work < _SMALL
            run += [Call(item, phase, bounds_of(phase, threads, small)) for phase in item.kernel.phases]
    finish()


def _invariant(group: Group, written: set[Buffer]) -> bool:
    """Whether a call does the same in every step of a loop: it fills scratch from what no step writes."""
    call = group.calls[0]
    if len(group.calls) > 1 or not call.scratch_only or call.phase.private or not call.phase.reads:
        return False
    return all(ref.buffer.kind != "moving" and ref.buffer not in written for ref in call.reads)


# --- order ------------------------------------------------------------------------------------------------------------


def _reordered(calls: Sequence[Call]) -> list[Call]:
    """Calls that only fill scratch as early as what they read allows, sums of parts as late as their readers allow."""
    early: list[Call] = []
    for call in calls:
        if call.scratch_only and not (call.phase.private and call.phase.reads):
            needed = {ref.buffer.memory for ref in call.reads}
            place = len(early)
            while place and not (
                early[place - 1].launch is call.launch
                or any(ref.buffer.memory in needed for ref in early[place - 1].writes)
            ):
                place -= 1
            early.insert(place, call)
        else:
            early.append(call)
    late: list[Call] = []
    for call in reversed(early):
        if _is_sum(call):
            written = {ref.buffer.memory for ref in call.writes}
            place = len(late)  # late is backwards: its end comes first
            while place and not written & _touched(late[place - 1]):
                place -= 1
            late.insert(place, call)
        else:
            late.append(call)
    return late[::-1]


def _is_sum(call: Call) -> bool:
    """Whether a call adds up what the threads left in scratch."""
    phases = call.launch.kernel.phases
    return phases[-1] is call.phase and len(phases) > 1 and not call.phase.reads


# --- groups -----------------------------------------------------------------------------------------------------------


def _grouped(calls: Sequence[Call]) -> list[Group]:
    groups: list[Group] = []
    for call in calls:
        if groups and _joins(groups[-1], call):
            _join(groups[-1], call)
        else:
            groups.append(Group([call], call.phase.units, call.bounds, call.phase.units))
    for group in groups:
        group.part = _part(group)
    return groups


def _joins(group: Group, call: Call) -> bool:
    """Whether a call can follow on each part of a group's run; if so, its bounds are made to fit."""
    first = group.calls[0]
    if call.alone or first.alone or not (call.phase.divisible and first.phase.divisible):
        return False
    if any(c.scratch_only and not c.phase.private for c in (first, call)):  # packing may leave a loop
        return False
    few, many = sorted((group.units, call.phase.units))
    if many % few:
        return False
    bounds = call.bounds
    if not _same_shares(group, call):  # of whole register tiles, say: a call that may be cut anywhere is cut alike
        if (
            call.phase.units != many
            or call.phase.grain > 1
            or not any(_touched(c) & _touched(call) for c in group.calls)
        ):
            return False
        bounds = tuple(b * (many // few) for b in group.bounds)
    for other in group.calls:
        if other.launch is call.launch:
            return False
        mine, theirs = _slabs(call), _slabs(other)
        written = {ref.buffer.memory for ref in (*other.writes, *call.writes)}
        for key in written & _touched(other) & _touched(call):
            if len(mine[key] | theirs[key]) > 1 or None in mine[key] | theirs[key]:
                return False
    call.bounds = bounds
    return True


def _same_shares(group: Group, call: Call) -> bool:
    return all(a * call.phase.units == b * group.units for a, b in zip(group.bounds, call.bounds, strict=True))


def _touched(call: Call) -> set[Buffer]:
    return {ref.buffer.memory for ref in (*call.reads, *call.writes)}


def _slabs(call: Call) -> dict[Buffer, set[tuple[int, int] | None]]:
    """Parts of memory (first element, elements) of which a call's unit u touches the u-th slab; None: other uses."""
    slabs: dict[Buffer, set[tuple[int, int] | None]] = {}
    for i in (*call.phase.reads, *call.phase.writes):
        ref = call.launch.operands[i]
        part = (ref.offset, ref.size) if i in call.phase.rows else None
        slabs.setdefault(ref.buffer.memory, set()).add(part)
    return slabs


def _join(group: Group, call: Call) -> None:
    group.calls.append(call)
    if call.phase.units < group.units:
        group.units, group.bounds = call.phase.units, call.bounds


def _part(group: Group) -> int:
    """Units of a part: as many as the cache holds, in whole grains."""
    whole = max(b - a for a, b in zip(group.bounds, group.bounds[1:]))
    if len(group.calls) == 1:
        return max(whole, 1)
    slabs = {
        ref.buffer.memory: ref.size * ref.dtype.itemsize / group.units
        for call in group.calls
        for i, ref in enumerate(call.launch.operands)
        if i in call.phase.rows
    }
    part = max(1, int(_CACHE / max(1.0, sum(slabs.values()))))
    grain = max((call.phase.grain for call in group.calls if call.phase.units == group.units), default=1)
    if part > grain:
        part -= part % grain
    return max(1, min(part, whole))
