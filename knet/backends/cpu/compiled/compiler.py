"""The system's C compiler: which one, what it can, and how it makes a shared library of C texts."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....compiler import headers
from ....core import errors

HEADERS = (Path(__file__).parent, headers.FOLDER)
# Measured with gcc 12 on 6 GEMMs, 8 maps and 4 sums: -O3 213 ms, -O2 -ftree-vectorize 202 ms, -O1 137 ms (no vectors),
# an empty file 24 ms. No single pass of -O3 is worth leaving out.
FLAGS = (
    "-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fopenmp-simd",
    "-fPIC", "-pthread", "-pipe", "-w",
)  # fmt: skip
# The first of these that the compiler takes. The parameter leaves out loops of half vectors behind those of whole ones:
# a file of 36 maps compiles in 330 ms and not 440.
NATIVE = (("-march=native", "--param=vect-epilogues-nomask=0"), ("-march=native",), ("-mcpu=native",), ())


@dataclass(frozen=True)
class Compiler:
    """A C compiler that works on this machine.

    Args:
      command: what runs it, with the flags common to all programs.
      identity: hash of the command, the compiler's version and the CPU features that it makes use of.
      version: what it says about itself.
    """

    command: tuple[str, ...]
    identity: str
    version: str


def compiler() -> Compiler:
    """The C compiler: KNET_CC, else the first of cc, gcc and clang on the PATH.

    Raises:
      DeviceError: there is none that works.
    """
    found = _find(os.environ.get("KNET_CC", "").strip(), os.environ.get("PATH", os.defpath))
    if isinstance(found, str):
        raise errors.no_compiler(found)
    return found


def available() -> str | None:
    """Why programs cannot be compiled here, or None if they can."""
    found = _find(os.environ.get("KNET_CC", "").strip(), os.environ.get("PATH", os.defpath))
    return found if isinstance(found, str) else None


@functools.cache
def _find(setting: str, path: str) -> Compiler | str:
    """The compiler for KNET_CC=setting and this PATH, or why there is none."""
    if os.name != "posix":
        return f"compiled programs need a POSIX system, and this is {sys.platform}"
    choices = [shlex.split(setting)] if setting else [["cc"], ["gcc"], ["clang"]]
    words = next((w for w in choices if shutil.which(w[0], path=path)), None)
    if words is None:
        return f"there is no program KNET_CC={setting}" if setting else "neither cc, gcc nor clang is on the PATH"
    command = [shutil.which(words[0], path=path) or words[0], *words[1:]]
    said = ""
    for native in NATIVE:
        flags = [*command, *FLAGS, *native]
        # All predefined macros: the version, the CPU's features, and the proof that it takes these flags, in one run.
        try:
            done = subprocess.run(
                [*flags, "-dM", "-E", "-x", "c", "-"], input="", capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.SubprocessError) as e:
            return f"{command[0]} does not run: {e}"
        if done.returncode == 0 and "__VERSION__" in done.stdout:
            macros = sorted(done.stdout.splitlines())
            version = next(line for line in macros if " __VERSION__ " in line).split('"')[1]
            identity = "\n".join([*flags, platform.machine(), *macros])
            return Compiler(tuple(flags), hashlib.sha256(identity.encode()).hexdigest(), version)
        said = said or first_error(done.stderr)
    return f"{command[0]} is no C compiler that Knet can use" + (f" ({said})" if said else "")


def first_error(output: str) -> str:
    """The first line of a compiler's output that tells of an error, else its first line."""
    lines = [line.strip().rstrip(".") for line in output.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")


def compile_to(folder: Path, units: Sequence[str], name: str) -> Path:
    """A shared library of these texts, made in a folder; several are compiled at the same time and may name each
    other's functions.

    Raises:
      DeviceError: the compiler reports an error. The whole output is in the exception's notes.
    """
    command = [*compiler().command, *(f"-I{folder}" for folder in HEADERS)]
    library = folder / f"{name}.so"
    names = [name] if len(units) == 1 else [f"{name}{i}" for i in range(len(units))]
    for unit, text in zip(names, units):
        (folder / f"{unit}.c").write_text(text)
    if len(units) == 1:
        _run(folder, [[*command, "-shared", f"{name}.c", "-o", library.name, "-lm"]], name)
    else:
        _run(folder, [[*command, "-c", f"{unit}.c", "-o", f"{unit}.o"] for unit in names], name)
        _run(folder, [[*command, "-shared", *(f"{u}.o" for u in names), "-o", library.name, "-lm"]], name)
    return library


def _run(folder: Path, commands: Sequence[Sequence[str]], name: str) -> None:
    """Run compilers side by side in a folder."""
    env = os.environ | {"LC_ALL": "C"}  # messages in the language that first_error reads
    outputs = [folder / f"{i}.log" for i in range(len(commands))]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command, output in zip(commands, outputs):
            with output.open("wb") as log:  # a file, as a pipe could fill up while another compiler is waited for
                running.append(
                    subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                )
        codes = [process.wait() for process in running]
    except BaseException:  # Ctrl-C, or no memory for another process
        for process in running:
            process.kill()
            process.wait()
        raise
    for code, command, output in zip(codes, commands, outputs):
        if code:
            text = output.read_text(errors="replace")
            error = errors.compilation(name, command[0], first_error(text) or f"it returned {code}")
            error.add_note(f"{shlex.join(command)}\n{text}")
            raise error
