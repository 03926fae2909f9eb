"""Tests that do not hold with another default backend than the CPU, and why: the one list of what is skipped there.

A pattern is a test's id, in which ``*`` stands for any text. A test that is about the CPU itself is not listed: it says
so with the fixture ``on_cpu``, and runs with every default.
"""

from __future__ import annotations

import functools
import re

EXCEPTIONS: dict[str, dict[str, str]] = {
    "opencl": {},
    "cuda": {},
}


def reason_to_skip(backend: str, test: str) -> str | None:
    """Why a test is skipped when this backend is the default; None if it is not."""
    return next((why for pattern, why in EXCEPTIONS.get(backend, {}).items() if _compiled(pattern).fullmatch(test)), None)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
