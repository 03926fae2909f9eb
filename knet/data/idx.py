"""The IDX format, in which MNIST and its relatives are published.

A file is a header and the array's elements in C order, everything big-endian::

    byte 0, 1    zero
    byte 2       element type (_DTYPES below)
    byte 3       number of dimensions D
    D x uint32   the dimensions
    ...          the elements, and nothing after them
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

_GZIP_MAGIC = b"\x1f\x8b"
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}


class DataFormatError(ValueError):
    """A data file whose content breaks its format: the text names the file, what was found, and the rule."""


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array stored in an IDX file, plain or compressed with gzip (told apart by content, not by name).

    The whole file is checked: magic number, element type, number of bytes, gzip checksum.

    Args:
        path: the file.

    Returns:
        A writable array in native byte order: uint8, int8, int16, int32, float32 or float64, with the
        dimensions of the header.

    Raises:
        DataFormatError: the file is damaged, truncated, too long, or not IDX.
        FileNotFoundError: there is no such file.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "tiny-idx1-ubyte")
        ...     _ = path.write_bytes(b"\\0\\0\\x08\\x01" + b"\\0\\0\\0\\x03" + b"\\x05\\x00\\x04")
        ...     read_idx(path)
        array([5, 0, 4], dtype=uint8)

    References:
        Y. LeCun, C. Cortes, C. Burges: The MNIST database of handwritten digits, "file formats".
    """
    data = _read_bytes(path)
    if len(data) < 4:
        raise damaged(path, f"{len(data)} bytes, fewer than the 4 of the magic number")
    if data[:2] != b"\0\0":
        raise damaged(path, f"it starts with the bytes {data[:4].hex(' ')}, an IDX file starts with 00 00")
    code, ndim = data[2], data[3]
    if code not in _DTYPES:
        known = ", ".join(f"{c:#04x} {d}" for c, d in _DTYPES.items())
        raise damaged(path, f"unknown element type {code:#04x} in byte 2 (known: {known})")
    start = 4 + 4 * ndim
    if ndim == 0 or len(data) < start:
        raise damaged(path, f"{ndim} dimensions need a header of {start} bytes and at least one dimension")
    shape = struct.unpack(f">{ndim}I", data[4:start])
    dtype = np.dtype(_DTYPES[code])
    expected, found = math.prod(shape) * dtype.itemsize, len(data) - start
    if found != expected:
        what = "are missing" if found < expected else "too many follow"
        raise damaged(
            path, f"the header promises {list(shape)} {dtype}, {expected} bytes, but {abs(expected - found)} {what}"
        )
    try:
        stored = np.frombuffer(data, dtype.newbyteorder(">"), offset=start).reshape(shape)
    except ValueError as error:  # an empty array with more or larger dimensions than NumPy can hold
        raise damaged(path, f"the header's dimensions {list(shape)} make no array: {error}") from None
    return stored.astype(dtype)


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    data = Path(path).read_bytes()
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise damaged(path, f"gzip cannot unpack it: {error}") from None


def damaged(path: str | os.PathLike[str], reason: str) -> DataFormatError:
    """The error that says what is wrong with a file, and what to do."""
    return DataFormatError(
        f"{os.fspath(path)}: {reason}.\n"
        "  fix: replace the file by an intact copy, or delete it if it lies in the cache: it is downloaded again."
    )
