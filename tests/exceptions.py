"""Tests that do not hold with another default backend than the CPU, and why: the one list of what is skipped there.

A pattern is a test's id, in which ``*`` stands for any text. A test that is about the CPU itself is not listed: it says
so with the fixture ``on_cpu``, and runs with every default.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

EXCEPTIONS: dict[str, dict[str, str]] = {
    "opencl": {},
    "cuda": {},
}


def reason_to_skip(patterns: Mapping[str, str], test: str) -> str | None:
    """The reason beside the first pattern that a test's id fits; None if it fits none."""
    return next((reason for pattern, reason in patterns.items() if _compiled(pattern).fullmatch(test)), None)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
