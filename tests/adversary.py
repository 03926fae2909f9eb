"""A team whose threads run one at a time, in orders chosen to bring missing barriers to light.

A thread runs up to its next barrier, then another one. If all works whichever thread comes first, no thread reads or
overwrites what another has yet to write or read before the next barrier. The workspace is filled with NaN (or -1)
before each piece, so that what is read too early shows.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numpy as np


class Team(ctypes.Structure):
    """struct knet_team of team.h."""

    _fields_ = (
        ("threads", ctypes.c_int), ("wait", ctypes.c_void_p), ("wake", ctypes.c_void_p), ("_0", ctypes.c_char * 40),
        ("arrived", ctypes.c_uint), ("_1", ctypes.c_char * 60), ("round", ctypes.c_uint), ("sleepers", ctypes.c_uint),
        ("_2", ctypes.c_char * 56),
    )  # fmt: skip


WAIT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint)
PIECE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def team_of(count: int, monkeypatch: Any) -> None:
    """Have programs compiled for a team of this size, with all threads at work however small the arrays are."""
    monkeypatch.setenv("KNET_NUM_THREADS", str(count))
    monkeypatch.setattr("knet.backends.cpu.compiled.program._ALONE", 0)
    monkeypatch.setattr("knet.backends.cpu.compiled.schedule._SMALL", 0)


class Adversary:
    """What stands in for ``team.Program.__call__``; ``choose`` picks who runs next from the numbers of those who can.

    Attributes:
      barriers: rounds of the barrier that were passed.
    """

    def __init__(self, choose: Callable[[list[int]], int]) -> None:
        self.choose = choose
        self.barriers = 0

    def install(self, monkeypatch: Any) -> Adversary:
        """Run all programs this way from now on."""

        def call(program: Any, arrays: list[Any]) -> bool:
            suits = all(type(a) is np.ndarray and a.flags.c_contiguous and a.flags.aligned for a in arrays)
            if suits:
                self.run(program, arrays)
            return suits

        monkeypatch.setattr("knet.backends.cpu.compiled.team.Program.__call__", call)
        return self

    def run(self, program: Any, arrays: list[Any]) -> None:
        count = program.threads
        if program.workspace:
            raw = np.full(program.workspace + 64, 255, np.uint8)
            arrays = [*arrays, raw[-raw.ctypes.data % 64 :]]
        raw = np.zeros(ctypes.sizeof(Team) + 64, np.uint8)
        team = Team.from_buffer(raw, -raw.ctypes.data % 64)  # type: ignore[arg-type]
        pointers = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
        turn = threading.Condition()
        waits: dict[int, int | None] = dict.fromkeys(range(count))  # round that a thread waits for to pass
        local = threading.local()
        running = self.choose(list(waits))

        def hand_over() -> None:
            nonlocal running
            able = [t for t, r in waits.items() if r is None or r != team.round]
            running = self.choose(able) if able else -1
            turn.notify_all()

        def wait(_: int, number: int) -> None:
            with turn:
                waits[local.number] = number
                hand_over()
                assert turn.wait_for(lambda: running == local.number, 60)
                waits[local.number] = None

        def work(number: int) -> None:
            local.number = number
            with turn:
                assert turn.wait_for(lambda: running == number, 60)
            piece(ctypes.addressof(team), number, pointers)
            with turn:
                del waits[number]
                hand_over()

        callback = WAIT(wait)
        team.threads, team.wait = count, ctypes.cast(callback, ctypes.c_void_p).value
        piece = PIECE(program._address.value)
        workers = [threading.Thread(target=work, args=(t,)) for t in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
            assert not worker.is_alive()
        self.barriers += team.round


def first(able: list[int]) -> int:
    return able[0]


def last(able: list[int]) -> int:
    return able[-1]
