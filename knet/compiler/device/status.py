"""Indices out of bounds: kernels note the first on the device, and it is raised when the host next looks.

The status is eight words of 64 bits: whether there is a note, index, size, axis; see ``kernels/gather.py``. An eager
operation looks at once; a compiled program goes on, and the error comes with the next value that is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import errors
from ..kernels.lower import STATUS_WORDS


def fresh(runtime: Any) -> Any:
    """The device's status, without notes unless one is pending."""
    memory = runtime.status
    if memory is None:
        memory = runtime.status = runtime.upload(np.zeros(STATUS_WORDS, np.int64))
    runtime.pending = True
    return memory


def check(runtime: Any) -> None:
    """Raise IndexOutOfBounds for what was noted since the last look, and forget it."""
    if not runtime.pending:
        return
    runtime.pending = False
    words = np.frombuffer(runtime.download(runtime.status, 0, STATUS_WORDS * 8), np.int64)
    if words[0]:
        index, size, axis = map(int, words[1:4])
        runtime.status = None
        raise errors.index_out_of_bounds(index, size, axis)
