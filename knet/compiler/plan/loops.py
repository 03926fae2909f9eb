"""Loops of a program: arrays that move along from step to step, and values handed over between steps.

Pointers that change are C variables; a buffer of kind "moving" is one. A carry is read where the step before wrote it,
and written elsewhere: two places take turns, or, if the carry is stacked anyway, it stays in the stack.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...core.aval import size_of
from ..layout import Buffer, Ref


class Slide:
    """One slice of an array after the other: ``ref`` is the step's slice."""

    def __init__(self, shared: Any, whole: Ref) -> None:
        self.whole = whole
        number = next(shared.numbers)
        self.moving = Buffer("moving", number, size_of(whole.shape[1:]) * whole.dtype.itemsize, whole.dtype)
        self.ref = Ref(self.moving, whole.shape[1:], whole.strides[1:])

    def at(self, step: int) -> Ref:
        """The slice of a step."""
        whole = self.whole
        return Ref(whole.buffer, whole.shape[1:], whole.strides[1:], whole.offset + step * whole.strides[0])


class Carry:
    """A value that each step hands to the next: ``current`` is read, ``next`` is written."""

    def __init__(self, shared: Any, start: Ref, out: Any) -> None:
        self.start = start
        self.slide: Slide | None = None
        nbytes = start.size * start.dtype.itemsize
        numbers = [next(shared.numbers) for _ in range(4)]
        self.reading, self.writing = (Buffer("moving", n, nbytes, start.dtype) for n in numbers[:2])
        self.places = [Buffer("work", n, nbytes, start.dtype) for n in numbers[2:]]
        self.current, self.next = Ref(self.reading, start.shape), Ref(self.writing, start.shape)

    def result(self, length: int, reverse: bool) -> Ref:
        """Where the last step wrote it."""
        if self.slide is not None:
            return self.slide.at(0 if reverse else length - 1)
        return Ref(self.places[(length - 1) % 2], self.start.shape)


@dataclass
class Loop:
    """A loop over launches."""

    length: int
    reverse: bool
    items: list[Any]
    slides: list[Slide]
    carries: list[Carry]
    text: str

    @property
    def buffers(self) -> Iterable[Buffer]:
        """Buffers that the moving pointers point into."""
        for slide in self.slides:
            yield slide.whole.buffer
        for carry in self.carries:
            yield carry.start.buffer
            if carry.slide is None:
                yield from carry.places

    @property
    def written(self) -> set[Buffer]:
        """Buffers that its steps write."""
        written: set[Buffer] = set()
        for item in self.items:
            written |= item.written
            if isinstance(item, Loop):
                written.update(item.buffers)
        return written

    @property
    def next_region(self) -> dict[str, str]:
        """In whose place the next step finds what this one touched."""
        regions: dict[str, str] = {}
        for carry in self.carries:
            regions[carry.writing.name] = carry.reading.name
            regions[carry.reading.name] = carry.writing.name if carry.slide is None else f"left {carry.reading.name}"
        for slide in self.slides:
            regions[slide.moving.name] = f"left {slide.moving.name}"
        return regions
