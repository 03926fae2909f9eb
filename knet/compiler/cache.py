"""Where compiled programs are kept on disk, for this process and later ones.

The directory is ``KNET_CACHE_DIR``, else ``knet`` in the platform's cache directory. Loading a program runs its code,
so a directory that others may write into is not used.

An entry is ``<key>/<digest><suffix>``. The key is a hash of everything that the program is made of; the digest is a
hash of the program itself, so that a truncated or altered file is noticed and built again. A single rename publishes
an entry: any number of processes may build the same one.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path


def kept(key: str, suffix: str, build: Callable[[], bytes]) -> bytes:
    """The program of a key: from disk if it is there and whole, else built and put there."""
    entry = directory() / key
    for file in _files(entry, suffix):
        with contextlib.suppress(OSError):  # another process removed it meanwhile
            program = file.read_bytes()
            if _digest(program) == file.stem:
                return program
            file.unlink()
    program = build()
    with contextlib.suppress(OSError):  # a full disk costs time, not the program
        entry.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=entry, prefix="writing-", delete=False) as writing:
            writing.write(program)
        os.replace(writing.name, entry / f"{_digest(program)}{suffix}")
    return program


def _files(entry: Path, suffix: str) -> list[Path]:
    try:
        return [file for file in entry.iterdir() if file.suffix == suffix]
    except OSError:
        return []


def _digest(program: bytes) -> str:
    return hashlib.sha256(program).hexdigest()[:32]


# --- the directory ----------------------------------------------------------------------------------------------------


def directory() -> Path:
    """Where compiled programs are kept."""
    return _directory(os.environ.get("KNET_CACHE_DIR", ""))


@functools.cache
def _directory(setting: str) -> Path:
    """The directory for KNET_CACHE_DIR=setting; one for this process alone if that one cannot be used."""
    path = Path(setting or "~/.cache/knet")
    try:
        path = Path(setting).expanduser().absolute() if setting else _platform_directory()
        reason = _refusal(path)
    except RuntimeError as e:  # there is no home directory
        reason = str(e)
    if reason is None:
        return path
    warnings.warn(
        f"{path} does not serve as cache of compiled programs: {reason}. This process compiles into a directory of its "
        f"own. Set KNET_CACHE_DIR to a directory that you alone can write.",
        RuntimeWarning,
        stacklevel=2,
    )
    private, owner = tempfile.mkdtemp(prefix="knet-"), os.getpid()
    atexit.register(lambda: shutil.rmtree(private, ignore_errors=True) if os.getpid() == owner else None)
    return Path(private)


def _platform_directory() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "knet"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "knet"


def _refusal(path: Path) -> str | None:
    """Why programs in this directory cannot be trusted, or not be written; None if all is well."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as e:
        return f"it cannot be made ({e.strerror})"
    if not stat.S_ISDIR(status.st_mode):
        return "it is no directory"
    if status.st_uid != os.getuid():
        return "it belongs to another user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "other users may write into it"
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return "it is not writable"
    return None
