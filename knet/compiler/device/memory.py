"""Limits of memory: what ``KNET_MEMORY_LIMIT`` and ``knet.memory.set_limit`` accept."""

from __future__ import annotations

import os
import re
from typing import Any

from ...core import errors

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", 1)}
_TEXT = re.compile(r"(\d+(?:\.\d*)?)\s*(%|([kmgt]i?)?b?)", re.IGNORECASE)


def environment_limit(total: int) -> int | None:
    """The limit that ``KNET_MEMORY_LIMIT`` sets for a device of so many bytes, or None.

    Raises:
      ArgumentError: it is not a number of bytes or a share.
    """
    text = os.environ.get("KNET_MEMORY_LIMIT", "").strip()
    return parse_limit("KNET_MEMORY_LIMIT", text, total) if text else None


def parse_limit(where: str, value: Any, total: int) -> int:
    """Bytes for a number, or a text as "2000000000", "2GiB", "500 MB", "80%".

    Raises:
      ArgumentError: anything else, or nothing left.
    """
    limit = 0
    if isinstance(value, str):
        found = _TEXT.fullmatch(value.strip())
        if found and found[2] == "%":
            limit = int(total * float(found[1]) / 100)
        elif found:
            limit = int(float(found[1]) * _UNITS[(found[3] or "").lower()])
    elif isinstance(value, int) and not isinstance(value, bool):
        limit = value
    if limit <= 0:
        raise errors.memory_limit(where, value)
    return limit
