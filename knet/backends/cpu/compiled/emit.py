"""The C text of a program: kernels, then functions that call them in the order of the plan."""

from __future__ import annotations

from typing import Any

from ....compiler.layout import Buffer, Ref
from ....compiler.plan.items import Begin, End, HostCall
from ....compiler.plan.loops import Loop
from ....compiler.scalar import c_type
from .items import Call, Group
from .lower import Shared
from .schedule import Plan
from .units import divide


class Places:
    """Numbers of buffers among those that a program is called with: inputs, constants, outputs, the workspace."""

    def __init__(self, inputs: int, constants: int, outputs: int) -> None:
        self.start = {"input": 0, "constant": inputs, "output": inputs + constants, "status": inputs + constants - 1}
        self.workspace = inputs + constants + outputs

    def number(self, buffer: Buffer) -> int:
        """Number of a buffer that Python allocates."""
        return self.start[buffer.kind] + buffer.number

    def pointer(self, buffer: Buffer) -> str:
        """C text of a buffer's address."""
        if buffer.kind == "moving":
            return buffer.name
        if buffer.kind == "work":
            return f"((char *)b[{self.workspace}] + {buffer.place})"
        return f"((char *)b[{self.number(buffer)}])"

    def address(self, ref: Ref) -> str:
        """C text of the address of a reference's first element."""
        offset = ref.offset * ref.dtype.itemsize
        return f"{self.pointer(ref.buffer)} + {offset}" if offset else self.pointer(ref.buffer)


def text_of(plan: Plan, shared: Shared, places: Places, timed: bool = False) -> tuple[list[str], list[str | HostCall]]:
    """The C texts of the program's files, and the pieces in order: names of functions, and host calls.

    With ``timed``, the buffer before the workspace gets the seconds that each call took, all threads together.
    """
    pieces: list[str] = []
    segments: list[Any] = []
    lines: list[str] = []

    def finish() -> None:
        if lines:
            name = f"piece{len(segments)}"
            body = "\n".join("    " + line for line in lines)
            pieces.append(f"void {name}(struct knet_team *team, int thread, void **b) {{\n{body}\n}}\n")
            segments.append(name)
            lines.clear()

    for number, step in enumerate(plan.steps):
        if isinstance(step, HostCall):
            finish()
            segments.append(step)
        elif isinstance(step, End):
            lines += [*_handed_over(step.loop, places), "} }", "knet_barrier(team, thread);"]
        elif isinstance(step, Begin):
            lines += ["knet_barrier(team, thread);", "{", *_moving(step.loop, places)]
        else:
            if (step.barrier and lines) or timed:
                lines.append("knet_barrier(team, thread);")
            clock = f"((double *)b[{places.workspace - 1}])[{number}]"
            lines += [f"if (thread == 0) {clock} -= seconds();"] * timed
            lines += _group(step, shared.threads, places)
            lines += ["knet_barrier(team, thread);", f"if (thread == 0) {clock} += seconds();"] * timed
    finish()
    return divide(shared.distinct, pieces, _CLOCK if timed else ""), segments


_CLOCK = """#include <time.h>
static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}
"""


def _moving(loop: Loop, places: Places) -> list[str]:
    """C text of a loop's head: pointers before the first step, and what moves in each."""
    lines = []
    for carry in loop.carries:
        lines.append(f"char *{carry.reading.name} = {places.address(carry.start)};")
        first = "0" if carry.slide is not None else places.pointer(carry.places[0])
        lines.append(f"char *{carry.writing.name} = {first};")
    lines.append(f"for (long s = 0; s < {loop.length}; s++) {{")
    lines.append(f"const long t = {f'{loop.length - 1} - s' if loop.reverse else 's'};")
    for slide in loop.slides:
        step = slide.whole.strides[0] * slide.whole.dtype.itemsize
        name = slide.moving.name
        lines.append(f"char *{name} = {places.address(slide.whole)} + t * {step}L; (void){name};")
    lines += [f"{c.writing.name} = {c.slide.moving.name};" for c in loop.carries if c.slide is not None]
    return lines


def _handed_over(loop: Loop, places: Places) -> list[str]:
    """C text at the end of a step: what was written is read next."""
    lines = []
    for carry in loop.carries:
        lines.append(f"{carry.reading.name} = {carry.writing.name};")
        if carry.slide is None:
            first, second = map(places.pointer, carry.places)
            lines.append(f"{carry.writing.name} = {carry.writing.name} == {first} ? {second} : {first};")
    return lines


def _group(group: Group, threads: int, places: Places) -> list[str]:
    """C text of a group: its calls on one part after the other."""
    if len(group.calls) == 1:
        call = group.calls[0]
        if call.alone:
            return [f"if (thread == 0) {_call(call, places, '0', str(call.phase.units), 1)}"]
        bounds = ", ".join(map(str, call.bounds))
        run = _call(call, places, "s[thread]", "s[thread + 1]", threads)
        return [f"{{ static const long s[] = {{{bounds}}}; if (s[thread] < s[thread + 1]) {run} }}"]
    bounds = ", ".join(map(str, group.bounds))
    lines = [f"{{ static const long s[] = {{{bounds}}};"]
    lines.append(f"  for (long u = s[thread]; u < s[thread + 1]; u += {group.part}) {{")
    lines.append(f"    const long e = u + {group.part} < s[thread + 1] ? u + {group.part} : s[thread + 1];")
    for call in group.calls:
        many = call.phase.units // group.units
        times = f" * {many}" if many > 1 else ""
        lines.append(f"    {_call(call, places, f'u{times}', f'e{times}', threads)}")
    return [*lines, "  } }"]


def _call(call: Call, places: Places, lo: str, hi: str, threads: int) -> str:
    launch = call.launch
    used = {*call.phase.reads, *call.phase.writes}
    arguments = [  # a phase hoisted out of a loop cannot name what moves there
        f"({c_type(ref.dtype)} *)({places.address(ref)})" if i in used or ref.buffer.kind != "moving" else "0"
        for i, ref in enumerate(launch.operands)
    ]
    arguments.append(places.pointer(launch.shared) if launch.shared is not None else "0")
    own = "0"
    if launch.own is not None:
        own = f"{places.pointer(launch.own)} + thread * {launch.own.nbytes // threads}L"
        if call.alone:
            own = places.pointer(launch.own)
    arguments += [own, lo, hi, "0" if call.alone else "thread", str(threads)]
    return f"{call.phase.function}({', '.join(arguments)});"
