"""The team of threads that runs compiled programs, seen from Python; the team itself is team.c.

Environment: KNET_NUM_THREADS, the size of the team (default: the physical cores that this process may use), and
KNET_SPIN, for how many microseconds a thread polls before it sleeps (default 50). A longer wait starts the next program
sooner, but takes a core away from other threads, those of NumPy's BLAS for one.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import sys
import threading
from pathlib import Path

import numpy as np

from ....core import errors
from . import toolchain

HEADER = '#include "team.h"\n'  # of the C text of a program
CAPACITY, NO_MEMORY, SLOW_WAY = 512, -2, -3  # as in team.c
_SOURCE = Path(__file__).with_name("team.c")


class Program:
    """A compiled program, called with a list of NumPy arrays that it reads and writes.

    Nothing is checked: the arrays must be those that the C text was written for, in dtype, shape and order of memory.
    Calls from several Python threads are safe; programs of more than one thread then run one after the other.

    Args:
      library: what ``toolchain.build`` returned.
      symbol: name of a function of type ``knet_program`` (team.h).
      threads: how many run it side by side.
      workspace: bytes of scratch, aligned to 64, that follow the arrays as the last buffer. Not initialised.

    Raises:
      OSError: the system gives no more threads.
      OutOfMemory: or no more memory.
    """

    __slots__ = ("_address", "_fast", "_library", "threads", "workspace")

    def __init__(self, library: ctypes.CDLL, symbol: str, threads: int, workspace: int = 0) -> None:
        if not 1 <= threads <= CAPACITY:
            raise errors.argument("Program", "threads", threads, f"1 to {CAPACITY} can run a program", "set fewer")
        self._library = library  # which must not be closed
        self._address = ctypes.cast(getattr(library, symbol), ctypes.c_void_p)
        self._fast = runtime().knet_call if _layout_is_known() else None
        self.threads = threads
        self.workspace = workspace

    def __call__(self, arrays: list[np.ndarray]) -> bool:
        """Run on arrays in row-major order. False if one is not (NumPy's scalars are none): then nothing was run."""
        if self._fast is not None:
            code = self._fast(self._address, self.threads, self.workspace, arrays)
            if code == 0:
                return True
            if code != SLOW_WAY:
                raise self._error(code)
        if not all(isinstance(x, np.ndarray) and x.flags.c_contiguous and x.flags.aligned for x in arrays):
            return False
        pointers = (ctypes.c_void_p * len(arrays))(*[np.asarray(x).ctypes.data for x in arrays])
        code = runtime().knet_run(self._address, self.threads, self.workspace, len(arrays), pointers)
        if code:
            raise self._error(code)
        return True

    def _error(self, code: int) -> Exception:
        if code == NO_MEMORY:
            return errors.no_workspace(self.workspace)
        return OSError(code, f"a team of {self.threads} threads cannot be made: {os.strerror(code)}")


@functools.cache
def runtime() -> ctypes.CDLL:
    """The library of team.c, ready to run programs.

    The first call ever on a machine compiles it, see :func:`prepare`.
    """
    library = toolchain.build(_SOURCE.read_text(), "team")
    library.knet_configure.argtypes = (ctypes.c_double, ctypes.c_long, ctypes.c_void_p)
    library.knet_configure.restype = None
    library.knet_call.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.py_object)
    library.knet_run.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_long, ctypes.c_void_p)
    library.knet_release.argtypes, library.knet_release.restype = (), None
    library.knet_configure(_spin(), object.__basicsize__, id(np.ndarray))
    return library


@functools.cache
def prepare() -> None:
    """Compile the library of team.c in a thread, beside other work. Errors come from :func:`runtime` again."""

    def compile_it() -> None:
        with contextlib.suppress(Exception):
            toolchain.build(_SOURCE.read_text(), "team")

    threading.Thread(target=compile_it, name="knet team.c", daemon=True).start()


def release() -> None:
    """Give back the memory of the largest workspace, which is kept between calls."""
    runtime().knet_release()


@functools.cache
def _layout_is_known() -> bool:
    """Whether lists and arrays lie in memory as team.c takes them to: the header of object, then a list's length and
    the address of its items, or an array's data. The header ends with the type.
    """
    if sys.implementation.name != "cpython":  # there, id is no address
        return False
    header, word = object.__basicsize__, ctypes.sizeof(ctypes.c_void_p)

    def at(address: int) -> int | None:
        return ctypes.c_void_p.from_address(address).value

    array = np.arange(3.0)
    objects = [array, array[1:], np.empty((2, 0))]
    if at(id(objects) + header) != len(objects):
        return False
    items = at(id(objects) + header + word) or 0
    # An array's data, ndim (a word with its padding), shape, strides, base, dtype, flags: NumPy's public struct.
    flags = [ctypes.c_int.from_address(id(x) + header + 6 * word).value for x in (array, array[::2])]
    if [f & 1 for f in flags] != [1, 0]:
        return False
    return all(
        (at(items + i * word), at(id(x) + header - word), at(id(x) + header)) == (id(x), id(type(x)), x.ctypes.data)
        for i, x in enumerate(objects)
    )


# --- how many threads -------------------------------------------------------------------------------------------------


def _spin() -> float:
    setting = os.environ.get("KNET_SPIN", "")
    try:
        microseconds = float(setting or 50)
    except ValueError:
        microseconds = -1.0
    if not 0 <= microseconds < math.inf:
        raise errors.argument("team", "KNET_SPIN", setting, "it is a number of microseconds", "set KNET_SPIN=50")
    return microseconds


def default_threads() -> int:
    """Size of the team: KNET_NUM_THREADS, else the physical cores that this process may use, within its quota."""
    setting = os.environ.get("KNET_NUM_THREADS", "")
    if not setting:
        return _cores()
    if not setting.isdecimal() or not 1 <= int(setting) <= CAPACITY:
        raise errors.argument(
            "team", "KNET_NUM_THREADS", setting, f"it is a whole number from 1 to {CAPACITY}", "set KNET_NUM_THREADS=1"
        )
    return int(setting)


@functools.cache
def _cores() -> int:
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cpus = os.sched_getaffinity(0)
    siblings = set()
    for cpu in cpus:
        try:
            siblings.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            siblings.add(str(cpu))
    count = len(siblings)
    with contextlib.suppress(OSError, ValueError):  # a container's share of processor time, or "max" for all of it
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, math.ceil(int(quota) / int(period)))
    return max(count, 1)
