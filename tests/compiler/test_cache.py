"""Programs kept on disk: found again, built again when damaged, and no reason to fail."""

from __future__ import annotations

import pytest

from knet.compiler import cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KNET_CACHE_DIR", str(tmp_path / "programs"))
    return tmp_path / "programs"


def never():
    raise AssertionError("it is on disk")


def test_a_program_is_built_once(folder):
    assert cache.kept("key", ".cubin", lambda: b"machine code") == b"machine code"
    assert cache.kept("key", ".cubin", never) == b"machine code"
    assert cache.kept("other", ".cubin", lambda: b"other") == b"other"
    assert cache.kept("key", ".bin", lambda: b"another kind") == b"another kind"
    (file,) = (folder / "key").glob("*.cubin")
    assert file.stat().st_mode & 0o077 == 0 and not list((folder / "key").glob("writing-*"))


@pytest.mark.parametrize("damage", [b"", b"machine cod", b"Machine code"])
def test_a_damaged_file_is_built_again(folder, damage):
    cache.kept("key", ".cubin", lambda: b"machine code")
    (file,) = (folder / "key").iterdir()
    file.write_bytes(damage)
    assert cache.kept("key", ".cubin", lambda: b"machine code") == b"machine code"
    assert cache.kept("key", ".cubin", never) == b"machine code"
    assert len(list((folder / "key").iterdir())) == 1


def test_what_cannot_be_built_leaves_nothing(folder):
    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        cache.kept("key", ".cubin", fail)
    assert not (folder / "key").exists()
    assert cache.kept("key", ".cubin", lambda: b"now") == b"now"


def test_a_full_disk_costs_no_program(folder, monkeypatch):
    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(cache.tempfile, "NamedTemporaryFile", full)
    assert cache.kept("key", ".cubin", lambda: b"machine code") == b"machine code"
