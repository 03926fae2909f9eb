"""python -m benchmarks.steps: its programs compute the same in all libraries, and it notices when they do not."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path

import pytest

from knet.core import device
from knet.core.errors import DeviceError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks is no part of the package that is installed

from benchmarks import steps  # noqa: E402
from benchmarks.training.problems import MODELS  # noqa: E402


def run(*arguments):
    command = [sys.executable, "-m", "benchmarks.steps", *arguments]
    env = {**os.environ, "KNET_CHECKS": "0", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False)


def cells(stdout, start):
    (line,) = (line for line in stdout.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_tables_of_a_quick_run():
    done = run("--models", "linreg", "--peers", "Knet", "Knet eager", "--turns", "2", "--seconds", "0.01")
    assert done.returncode == 0, done.stderr
    assert "WRONG" not in done.stdout
    tables = [block for block in done.stdout.split("\n\n") if block.startswith("| ")]
    assert [re.match(r"\| (\S+)", table)[1] for table in tables] == ["step", "first", "peak"]
    unit, ours, eager = cells(tables[0], "LinReg")[1:4]
    assert unit == "us"
    assert re.fullmatch(r"[\d,.]+ \(\d+\.\d\d\)", eager)  # Knet's time over that of eager Knet
    assert float(ours) > 0
    cold, warm = cells(tables[1], "LinReg")[1].split(" / ")
    assert float(cold) > 0 < float(warm)
    assert int(cells(tables[2], "LinReg")[1]) > 20  # megabytes: Python and NumPy alone take that


def test_a_check_fails_where_losses_differ(monkeypatch, capsys):
    class Worker:
        def __init__(self, peer, *arguments):
            self.factor = 1.002 if peer == "Knet" else 1.0

        def ask(self, request, number=0, patience=0):
            return (0.1, self.factor) if request == "first" else [self.factor] * number

        def stop(self):
            pass

    options = type("Options", (), {"threads": 1, "steps": 3})
    monkeypatch.setattr(steps, "Worker", Worker)
    assert steps.check(["linreg"], ["Knet", "PyTorch"], options) == 1
    assert "2.0e-03 WRONG" in capsys.readouterr().out
    assert steps.check(["linreg"], ["Knet eager", "PyTorch"], options) == 0


def test_ratios_are_those_of_the_base():
    turns = {"Knet": [1.0, 1.0], "Knet OpenCL": [3.0, 3.0], "tinygrad OpenCL": [12.0, 4.0]}
    measured = {"linreg": steps.Measured(turns, {}, {}, {}, {})}
    row = [cell.strip() for cell in steps.step_table(measured, list(turns), "Knet OpenCL").splitlines()[2].split("|")]
    assert row[3:7] == ["1,000,000 (3.00)", "3,000,000", "8,000,000 (0.50)", "0.50 (tinygrad OpenCL)"]
    measured = {"linreg": steps.Measured({"Knet": turns["Knet"]}, {}, {}, {}, {"Knet OpenCL": "no device"})}
    row = [cell.strip() for cell in steps.step_table(measured, list(turns), "Knet OpenCL").splitlines()[2].split("|")]
    assert row[3:7] == ["1,000,000", "no device", "-", "-"]


def test_a_process_has_the_environment_of_its_peer(monkeypatch):
    started = []

    class Process:
        def __init__(self, target, args, daemon):
            started.append(args[-1])

        def start(self):
            pass

    context = type("Context", (), {"Pipe": staticmethod(Pipe), "Process": Process})
    monkeypatch.setattr(steps.multiprocessing, "get_context", lambda _: context)
    given, _ = steps.problem("softmax", count=1, real=False)
    for peer in "Knet", "Knet OpenCL", "tinygrad OpenCL":
        steps.Worker(peer, "softmax", given, 1, "folder")
    cpu, opencl, other = started
    assert cpu == {"KNET_BACKEND": "cpu", "KNET_CACHE_DIR": "folder"}
    assert opencl["KNET_BACKEND"] == "opencl" and opencl["POCL_CACHE_DIR"] == "folder"
    assert other["DEV"] == "CL" and other["XDG_CACHE_HOME"] == "folder"


def test_a_library_that_fails_is_a_cell_of_the_table():
    given, _ = steps.problem("softmax", count=1, real=False)
    worker = steps.Worker("autograd", "lenet", given, threads=1)  # it has none
    with pytest.raises(steps.Failed, match=r"KeyError: 'lenet'|ModuleNotFoundError"):
        worker.ask("first")
    worker.stop()


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch, whose losses are the reference, is absent")
@pytest.mark.parametrize("model", MODELS)
def test_losses_are_those_of_pytorch(model):
    ours = ["Knet", "Knet eager"]
    with contextlib.suppress(DeviceError):  # it is compared where it is present
        device.get_device("opencl")
        ours.append("Knet OpenCL")
    done = run("--check", "--steps", "10", "--models", model, "--peers", *ours, "PyTorch")
    assert done.returncode == 0, done.stdout + done.stderr
    differences = [float(cell) for cell in cells(done.stdout, MODELS[model][0].text)[2:]]
    assert len(differences) == len(ours) + 1
    assert max(differences) <= 1e-3
