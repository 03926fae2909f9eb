"""How much memory a device may give: ``KNET_MEMORY_LIMIT`` and ``set_memory_limit``."""

from __future__ import annotations

import re

from ...core import errors

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_FORM = re.compile(r"\s*(\d+(?:\.\d*)?)\s*(%|[KMG]?I?B?)\s*", re.IGNORECASE)


def limit_in_bytes(limit: int | float | str | None, total: int) -> int:
    """Bytes of a limit, 0 for none.

    Args:
      limit: bytes, "2GiB", "500 MB", "80%" of the device's memory, or None, "" and 0 for no limit.
      total: memory of the device.

    Raises:
      ArgumentError: it is none of these.
    """
    if limit is None or limit == "":
        return 0
    match = _FORM.fullmatch(str(limit))
    unit = match[2].upper() if match else ""
    if match and unit == "%" and float(match[1]) <= 100:
        return int(float(match[1]) / 100 * total)
    if match and unit in _UNITS:
        return int(float(match[1]) * _UNITS[unit])
    raise errors.argument(
        "memory limit", "limit", limit, "it is bytes, a size or a part of the device's memory",
        'write 2000000000, "2GiB", "500MB" or "80%"',
    )  # fmt: skip
