"""The C compiler and the cache of its libraries: found, kept, checked before they are loaded, rebuilt if damaged."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
import traceback

import pytest

from knet.backends.cpu.compiled import compiler, toolchain
from knet.compiler import cache as programs
from knet.core.errors import DeviceError

pytestmark = pytest.mark.skipif(toolchain.available() is not None, reason=str(toolchain.available()))

SEVEN = "int seven(void) { return 7; }"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and the number of builds and hits since."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("KNET_CACHE_DIR", str(folder))
    monkeypatch.setattr(toolchain, "_loaded", {})
    toolchain.counters.clear()
    return folder


def forget():
    """As a new process would begin."""
    toolchain._loaded.clear()


def entries(folder):
    return sorted(folder.rglob("*.so"))


def test_a_library_is_built_once_and_found_again(cache):
    library = toolchain.build(SEVEN)
    assert library.seven() == 7
    assert toolchain.build(SEVEN) is library
    assert toolchain.counters == {"builds": 1}
    forget()
    assert toolchain.build(SEVEN).seven() == 7
    assert toolchain.counters == {"builds": 1, "hits": 1}
    assert len(entries(cache)) == 1
    assert not list(cache.glob("building-*")), "a folder of the compiler was left behind"


def test_what_differs_in_anything_has_another_key(monkeypatch):
    keys = [toolchain._key(units, "a") for units in [("x",), ("y",), ("x", "y"), ("xy",), ("xy", ""), ()]]
    keys.append(toolchain._key(("x",), "b"))
    monkeypatch.setattr(toolchain, "_headers", lambda: "changed")
    keys.append(toolchain._key(("x",), "a"))
    found = compiler.compiler()
    monkeypatch.setattr(compiler, "compiler", lambda: dataclasses.replace(found, identity="another"))
    keys.append(toolchain._key(("x",), "a"))
    assert len(set(keys)) == len(keys)


def test_the_identity_knows_flags_and_version(tmp_path):
    path = os.environ["PATH"]
    plain = compiler._find("cc", path)
    portable = compiler._find("cc -march=x86-64" if "-march=native" in plain.command else "cc -DX", path)
    assert plain.version and plain.version in portable.version
    assert plain.identity != portable.identity
    assert plain.identity == compiler._find.__wrapped__("cc", path).identity


@pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b"", lambda b: b[:4000] + b"!" + b[4001:]])
def test_a_damaged_library_is_built_again(cache, damage):
    toolchain.build(SEVEN)
    (file,) = entries(cache)
    whole = file.read_bytes()
    file.unlink()  # what is loaded stays as it is
    file.write_bytes(damage(whole))
    forget()
    assert toolchain.build(SEVEN).seven() == 7
    assert toolchain.counters == {"builds": 2}
    (file,) = entries(cache)
    assert file.read_bytes() == whole, "the compiler's result is not reproducible"


def test_processes_build_the_same_library_at_once(cache, tmp_path):
    script = (
        "from knet.backends.cpu.compiled import toolchain\n"
        f"assert toolchain.build({SEVEN!r}).seven() == 7\n"
        "assert sum(toolchain.counters.values()) == 1"
    )
    running = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) for _ in range(4)]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    assert len(entries(cache)) == 1
    assert toolchain.build(SEVEN).seven() == 7
    assert toolchain.counters == {"hits": 1}


def test_units_are_compiled_apart_and_call_each_other(cache):
    library = toolchain.build(["int seven(void); int eight(void) { return seven() + 1; }", SEVEN])
    assert library.eight() == 8
    with pytest.raises(DeviceError, match=r"pair1\.c:1:.*'nine' undeclared"):
        toolchain.build([SEVEN, "int eight(void) { return nine; }"], "pair")


def test_a_compile_error_tells_command_and_output(cache):
    with pytest.raises(DeviceError, match=r"pond: .*/\w+ cannot compile this program: pond\.c:2:\d+: error") as info:
        toolchain.build("\nint seven(void) { return ducks; }", "pond")
    (note,) = info.value.__notes__
    assert "-O3" in note.splitlines()[0] and "ducks" in note
    assert "ducks" in "".join(traceback.format_exception(info.value))
    assert not list(cache.glob("building-*"))
    assert toolchain.build(SEVEN, "pond").seven() == 7, "the error must not stay"


def test_the_directory_is_private(cache):
    toolchain.build(SEVEN)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in cache.iterdir())


def test_a_directory_that_cannot_be_trusted_is_not_used(cache, monkeypatch):
    programs._directory.cache_clear()
    cache.mkdir(mode=0o700)
    (cache / "planted.so").write_bytes(b"")
    cache.chmod(0o770)
    with pytest.warns(RuntimeWarning, match="other users may write into it"):
        private = programs.directory()
    assert private != cache and private.stat().st_mode & 0o777 == 0o700
    assert toolchain.build(SEVEN).seven() == 7 and len(entries(private)) == 1
    assert programs.directory() == private, "one warning, one directory"
    cache.chmod(0o700)
    programs._directory.cache_clear()
    monkeypatch.setattr(os, "getuid", lambda: cache.stat().st_uid + 1)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert programs.directory() not in (cache, private)
    programs._directory.cache_clear()


def test_a_directory_that_cannot_be_made_is_replaced_for_this_process(tmp_path):
    (tmp_path / "file").write_text("")
    script = (
        "import warnings\n"
        "from knet.backends.cpu.compiled import toolchain\n"
        "with warnings.catch_warnings(record=True) as said:\n"
        "    warnings.simplefilter('always')\n"
        f"    assert toolchain.build({SEVEN!r}).seven() == 7\n"
        "assert len(said) == 1 and 'it cannot be made' in str(said[0].message), said\n"
        "print(toolchain.directory())"
    )
    environment = os.environ | {"KNET_CACHE_DIR": str(tmp_path / "file" / "cache")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not os.path.exists(done.stdout.strip()), "the private directory outlived its process"


def test_a_compiler_that_does_not_exist_is_an_error(cache, monkeypatch):
    monkeypatch.setenv("KNET_CC", "/absent/cc -O1")
    assert toolchain.available() == "there is no program KNET_CC=/absent/cc -O1"
    with pytest.raises(DeviceError, match="there is no program KNET_CC=/absent/cc"):
        toolchain.build(SEVEN)
    monkeypatch.setenv("KNET_CC", "")
    monkeypatch.setenv("PATH", str(cache))
    assert toolchain.available() == "neither cc, gcc nor clang is on the PATH"


def program(path, text):
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def test_a_program_that_is_no_compiler_is_an_error(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("KNET_CC", program(tmp_path / "duck", "echo 'error: I am a duck' >&2; exit 3"))
    with pytest.raises(DeviceError, match=r"duck is no C compiler that Knet can use \(error: I am a duck\)"):
        toolchain.build(SEVEN)
    monkeypatch.setenv("KNET_CC", program(tmp_path / "true", "exit 0"))
    assert "is no C compiler" in toolchain.available()


def test_flags_that_the_compiler_refuses_are_left_out(cache, tmp_path, monkeypatch):
    wrapper = 'case "$*" in *native*|*vect*) echo "error: bad flag" >&2; exit 1;; esac; exec cc "$@"'
    monkeypatch.setenv("KNET_CC", program(tmp_path / "modest", wrapper))
    command = compiler.compiler().command
    assert "-O3" in command and not any("native" in flag for flag in command)
    assert toolchain.build(SEVEN).seven() == 7


def test_compilers_are_not_left_running_when_interrupted(cache, tmp_path, monkeypatch):
    slow = 'case "$*" in *-E*) exec cc "$@";; esac; echo $$ > $KNET_PIDS/$$; exec sleep 60'
    monkeypatch.setenv("KNET_PIDS", str(tmp_path))
    monkeypatch.setenv("KNET_CC", program(tmp_path / "slow", slow))
    toolchain.available()

    def interrupt(self, timeout=None):
        while not list(tmp_path.glob("[0-9]*")):
            time.sleep(0.01)
        monkeypatch.undo()  # from here on, wait as usual
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        toolchain.build(SEVEN)
    (file,) = tmp_path.glob("[0-9]*")
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.name), 0)
