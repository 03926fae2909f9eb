"""Shared libraries of C texts, each compiled once and kept on disk.

An entry of the cache is ``<key>/<digest>.so``. The key is a hash of everything that goes into the library: the texts,
the headers, the flags, the compiler and the CPU features that it makes use of (a home directory may be shared by
unequal machines). The digest is a hash of the library itself. A single rename publishes an entry, so any number of
processes may build the same one; a truncated or altered file is noticed before it is loaded, and built again.

The directory is that of :mod:`knet.compiler.cache`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ....compiler.cache import directory
from . import compiler
from .compiler import available as available

counters: Counter[str] = Counter()  # builds: libraries compiled; hits: libraries found on disk
_loaded: dict[str, ctypes.CDLL] = {}
_locks: dict[str, threading.Lock] = {}  # one a key: to build a program is no reason for others to wait
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_locks.clear)  # no thread of the child would ever release one


def build(source: str | Sequence[str], name: str = "program") -> ctypes.CDLL:
    """The loaded shared library of C texts.

    Args:
      source: a C text, or several that are compiled side by side (which pays from some 0.1 s of compile time on);
        a function of one that another calls must not be static.
      name: of the files, in the compiler's messages and in profilers.

    Raises:
      DeviceError: there is no compiler, or it reports an error.
    """
    units = (source,) if isinstance(source, str) else tuple(source)
    key = _key(units, name)
    library = _loaded.get(key)
    if library is None:
        with _locks.setdefault(key, threading.Lock()):
            library = _loaded.get(key)
            if library is None:
                library = _loaded[key] = _fetch(key, units, name)
    return library


def _key(units: tuple[str, ...], name: str) -> str:
    parts = [compiler.compiler().identity, _headers(), name, *units]
    return hashlib.sha256("\0".join(f"{len(part)} {part}" for part in parts).encode()).hexdigest()


@functools.cache
def _headers() -> str:
    """The headers that programs may include."""
    return "".join(path.read_text() for folder in compiler.HEADERS for path in sorted(folder.glob("*.h")))


def _fetch(key: str, units: tuple[str, ...], name: str) -> ctypes.CDLL:
    """The library of a key, from disk or from the compiler."""
    entry = directory() / key
    library = _load(entry)
    if library is not None:
        counters["hits"] += 1
        return library
    counters["builds"] += 1
    with tempfile.TemporaryDirectory(dir=directory(), prefix="building-", ignore_cleanup_errors=True) as folder:
        built = compiler.compile_to(Path(folder), units, name)
        entry.mkdir(mode=0o700, exist_ok=True)
        target = entry / f"{_digest(built)}.so"
        built.replace(target)
    return ctypes.CDLL(str(target))


def _load(entry: Path) -> ctypes.CDLL | None:
    """The library in a key's directory, if one is there and whole."""
    try:
        files = [file for file in entry.iterdir() if file.suffix == ".so"]
    except OSError:
        return None
    for file in files:
        with contextlib.suppress(OSError):  # another process removed it meanwhile, or the system cannot load it
            if _digest(file) == file.stem:
                return ctypes.CDLL(str(file))
        with contextlib.suppress(OSError):
            file.unlink()
    return None


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:32]
