"""Indices out of bounds in compiled programs: noted by the thread that meets one, raised by Python after the call.

The status is an array of one line of 64 bytes for each thread: number of the kernel, index, size, axis. A thread notes
the first that it meets; of all threads' notes that of the first kernel counts, and there that of the first thread.
"""

from __future__ import annotations

import numpy as np

from ....core import errors

WORDS = 8

PREAMBLE = """
/* The row that an index names; -1 and a note for one outside of [-size, size). */
KNET_INLINE int64_t knet_row(int64_t i, int64_t size, int64_t *status, int thread, int64_t kernel, int64_t axis) {
    int64_t row = i < 0 ? i + size : i;
    if (__builtin_expect((uint64_t)row < (uint64_t)size, 1)) return row;
    status += thread * 8;
    if (!status[0]) status[0] = kernel + 1, status[1] = i, status[2] = size, status[3] = axis;
    return -1;
}
"""


def array(threads: int) -> np.ndarray:
    """A status without notes."""
    return np.zeros(threads * WORDS, np.int64)


def check(status: np.ndarray) -> None:
    """Raise IndexOutOfBounds for what was noted, and forget it."""
    if not status.any():
        return
    notes = status.reshape(-1, WORDS)
    kernel = notes[:, 0]
    first = min(np.flatnonzero(kernel), key=lambda t: kernel[t])
    index, size, axis = map(int, notes[first, 1:4])
    status[:] = 0
    raise errors.index_out_of_bounds(index, size, axis)
