"""The IDX reader: round trips of every type and shape, and each way in which a file can be damaged."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from knet.data import DataFormatError, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


GOOD = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))


def read_bytes(folder: Path, content: bytes) -> np.ndarray:
    path = folder / "file-idx"
    path.write_bytes(content)
    return read_idx(path)


@given(
    array=hnp.arrays(st.sampled_from(sorted(CODES)), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)),
    compressed=st.booleans(),
)
def test_what_was_written_is_read(tmp_path_factory, array, compressed):
    content = idx_bytes(array)
    read = read_bytes(tmp_path_factory.mktemp("idx"), gzip.compress(content, mtime=0) if compressed else content)
    assert read.dtype == array.dtype and read.dtype.isnative and read.flags.writeable
    assert read.shape == array.shape
    assert read.tobytes() == array.tobytes()


@given(st.binary(max_size=64))
def test_any_bytes_give_an_array_or_a_data_format_error(tmp_path_factory, content):
    try:
        array = read_bytes(tmp_path_factory.mktemp("idx"), content)
    except DataFormatError:
        return
    assert idx_bytes(array) == content


@given(cut=st.integers(0, len(GOOD) - 1))
def test_no_truncated_file_is_accepted(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("idx")
    with pytest.raises(DataFormatError):
        read_bytes(folder, GOOD[:cut])
    packed = gzip.compress(GOOD, mtime=0)
    if cut >= 2:
        with pytest.raises(DataFormatError, match="gzip"):
            read_bytes(folder, packed[:cut])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"0 bytes, fewer than the 4 of the magic number"),
        (b"\x89PNG\r\n", r"starts with the bytes 89 50 4e 47, an IDX file starts with 00 00"),
        (b"\0\0\x0a" + GOOD[3:], r"unknown element type 0x0a in byte 2 \(known: 0x08 u1"),
        (b"\0\0\x08\0\x07", r"0 dimensions need a header of 4 bytes and at least one dimension"),
        (GOOD[:9], r"2 dimensions need a header of 12 bytes"),
        (GOOD[:-2], r"the header promises \[2, 3\] uint8, 6 bytes, but 2 are missing"),
        (GOOD + b"\0", r"the header promises \[2, 3\] uint8, 6 bytes, but 1 too many follow"),
        (
            b"\0\0\x08\x01\xff\xff\xff\xff",
            r"promises \[4294967295\] uint8, 4294967295 bytes, but 4294967295 are missing",
        ),
        (b"\0\0\x08\xff" + b"\0" * 1020, r"make no array"),
        (gzip.compress(GOOD, mtime=0)[:-1], r"gzip cannot unpack it: Compressed file ended"),
        (gzip.compress(GOOD, mtime=0) + b"more", r"gzip cannot unpack it: Not a gzipped file"),
        (gzip.compress(GOOD[:-1], mtime=0), r"6 bytes, but 1 are missing"),
        (gzip.compress(GOOD, mtime=0)[:10] + b"\xff" * 20, r"gzip cannot unpack it: Error -3"),
    ],
)
def test_the_error_names_the_file_the_reason_and_a_fix(tmp_path, content, reason):
    with pytest.raises(DataFormatError, match=rf"^.*file-idx: .*{reason}.*\.\n  fix: replace the file"):
        read_bytes(tmp_path, content)


def test_a_wrong_checksum_is_noticed(tmp_path):
    packed = bytearray(gzip.compress(GOOD, mtime=0))
    packed[-8] ^= 1  # the CRC-32 and the length are the last eight bytes
    with pytest.raises(DataFormatError, match="CRC"):
        read_bytes(tmp_path, bytes(packed))


def test_a_missing_file_is_not_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "absent")
