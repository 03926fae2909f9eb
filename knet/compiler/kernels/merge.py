"""Fewer launches: kernels that do not need each other run side by side in one, small ones one after the other.

A launch costs some microseconds, and between two launches all groups of the first end before one of the second begins.
Launches are put into stages: each into the first one after everything that it needs. The parts of a stage become one
kernel whose groups are shared out among them. A launch of one group that needs nothing of the last stage but another
part of one group follows that one in its group, behind a barrier.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from ..layout import Buffer, Ref
from ..plan.items import HostCall
from ..plan.loops import Loop
from .kernel import LOCAL, Launch, local_bytes, placed
from .target import Target

_POINTERS = 28  # of a kernel: OpenCL guarantees 1024 bytes of arguments
_TEXT = 40_000  # characters; compilers take longer than linear
_GROUPS = 2**31 - 1  # along dimension 0, in CUDA
_SERIAL = 200_000.0  # operations that one group may do one after the other


class _Part:
    """Launches that one run of groups does one after the other."""

    def __init__(self, launch: Launch) -> None:
        self.launches = [launch]

    @property
    def single(self) -> bool:
        return self.launches[0].groups == (1, 1, 1)

    @property
    def work(self) -> float:
        return sum(launch.work for launch in self.launches)


class _Stage:
    """Parts that need nothing of each other."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.parts: list[_Part] = []

    @property
    def launches(self) -> list[Launch]:
        return [launch for part in self.parts for launch in part.launches]

    def takes(self, launch: Launch) -> bool:
        """Whether there is room for one more."""
        launches = [*self.launches, launch]
        places = {_place(ref, k) for one in launches for ref, k in zip(one.operands, one.kinds)}
        return (
            len(places) <= _POINTERS
            and sum(len(one.body) for one in launches) <= _TEXT
            and sum(local_bytes(one.body) for one in launches) <= self.target.local_bytes
            and sum(math.prod(one.groups) for one in launches) <= _GROUPS
            and launch.items == launches[0].items
            and not any(one.numbers for one in launches)
        )


def merge(items: Sequence[Any], target: Target) -> list[Any]:
    """The items of a program for a device with launches merged, in loops as well."""
    result: list[Any] = []
    run: list[Launch] = []

    def finish() -> None:
        result.extend(map(_printed, _stages(run, target)))
        run.clear()

    for item in items:
        if isinstance(item, (HostCall, Loop)):
            finish()
            if isinstance(item, Loop):
                item.items = merge(item.items, target)
            result.append(item)
        else:
            run.append(item)
    finish()
    return result


def _stages(launches: Sequence[Launch], target: Target) -> list[_Stage]:
    stages: list[_Stage] = []
    for launch in launches:
        needed = -1
        for number in reversed(range(len(stages))):
            if any(_depends(launch, other) for other in stages[number].launches):
                needed = number
                break
        if needed >= 0 and _follows(launch, stages[needed]):
            continue
        for stage in stages[needed + 1 :]:
            if stage.takes(launch):
                stage.parts.append(_Part(launch))
                break
        else:
            stages.append(_Stage(target))
            stages[-1].parts.append(_Part(launch))
    return stages


def _follows(launch: Launch, stage: _Stage) -> bool:
    """Whether a launch could be put behind a part of a stage; it is, then."""
    if launch.groups != (1, 1, 1) or not stage.takes(launch):
        return False
    parts = [p for p in stage.parts if any(_depends(launch, other) for other in p.launches)]
    if len(parts) != 1 or not parts[0].single or parts[0].work + launch.work > _SERIAL:
        return False
    if _ends_early(launch) or any(map(_ends_early, parts[0].launches)):
        return False
    parts[0].launches.append(launch)
    return True


def _ends_early(launch: Launch) -> bool:
    return re.search(r"\breturn\b", launch.body) is not None


def _depends(later: Launch, earlier: Launch) -> bool:
    """Whether one must wait for the other: either writes memory that the other touches."""
    return any(
        _meet(a, b)
        for i, a in enumerate(later.operands)
        for j, b in enumerate(earlier.operands)
        if i in later.writes or j in earlier.writes
    )


def _meet(a: Ref, b: Ref) -> bool:
    """Whether two references may be to the same elements."""
    if a.buffer.memory is not b.buffer.memory and not (_moves(a.buffer) and _moves(b.buffer)):
        return False
    if a.buffer.kind == "status":  # notes are made one after the other in any case
        return False
    if a.buffer is not b.buffer:
        return True
    (low, high), (start, stop) = _extent(a), _extent(b)
    return low < stop and start < high


def _moves(buffer: Buffer) -> bool:
    """Whether a buffer's place changes from step to step of a loop, and may be another's place."""
    return buffer.kind == "moving"


def _extent(ref: Ref) -> tuple[int, int]:
    steps = [(n - 1) * s for n, s in zip(ref.shape, ref.strides)]
    return ref.offset + sum(s for s in steps if s < 0), ref.offset + sum(s for s in steps if s > 0) + 1


def _place(ref: Ref, kind: str) -> tuple[Any, int, str]:
    return ref.buffer, ref.offset, kind


def _printed(stage: _Stage) -> Launch:
    """A stage as one launch."""
    launches = stage.launches
    if len(launches) == 1:
        return launches[0]
    operands: list[Ref] = []
    kinds: list[str] = []
    numbers: dict[tuple[Any, int, str], int] = {}
    writes: set[int] = set()
    local: list[str] = []
    text, first = "", 0
    for part in stage.parts:
        bodies = []
        for launch in part.launches:
            names = {}
            for i, (ref, kind) in enumerate(zip(launch.operands, launch.kinds)):
                number = numbers.setdefault(_place(ref, kind), len(operands))
                if number == len(operands):
                    operands.append(ref)
                    kinds.append(kind)
                names[f"a{i}"] = f"a{number}"
                if i in launch.writes:
                    writes.add(number)
            bodies.append(_without_local(_renamed(launch.body, names), local))
        gx, gy, gz = part.launches[0].groups
        count = gx * gy * gz
        barrier = "" if part.launches[0].items == (1, 1, 1) else "    GLOBAL_BARRIER;\n"
        joined = barrier.join(f"    {{\n{body}    }}\n" for body in bodies)
        branch = f"{'else ' if text else ''}if (GROUP(0) < {first + count})"
        text += f"    {branch} {{\n{placed(joined, (gx, gy, gz), first)}    }}\n"
        first += count
    serial = any(len(part.launches) > 1 for part in stage.parts)
    restrict = not serial and all(launch.restrict for launch in launches)
    return Launch(
        "merged",
        "".join(local) + text,
        operands,
        frozenset(writes),
        kinds,
        [],
        [],
        (first, 1, 1),
        launches[0].items,
        restrict,
        " | ".join("; ".join(one.text for one in part.launches) for part in stage.parts),
        sum(one.work for one in launches),
        sum(one.flops for one in launches),
    )


def _renamed(body: str, names: dict[str, str]) -> str:
    return re.sub(r"\ba\d+\b", lambda m: names.get(m.group(), m.group()), body)


def _without_local(body: str, declarations: list[str]) -> str:
    """A body whose local memory is declared elsewhere, under names of its own: OpenCL wants it at the top."""
    for found in list(LOCAL.finditer(body)):
        name = found.group(2)
        new = f"{name}_of_{len(declarations)}"
        body = re.sub(rf"\b{name}\b", new, body.replace(found.group(), "", 1))
        declarations.append(re.sub(rf"\b{name}\b", new, found.group()))
    return body
