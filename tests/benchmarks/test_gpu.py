"""The benchmark of GPUs, tried out on the CPU: all its parts run, and what fails is told and stops nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # benchmarks is no part of the package that is installed

from benchmarks import gpu


@pytest.fixture
def at_once(monkeypatch):
    """Functions in this process, as far as they stay out of its settings."""
    monkeypatch.setattr(gpu, "apart", lambda function, *arguments: _told(function, arguments))


def _told(function, arguments):
    try:
        return function(*arguments)
    except Exception as e:
        return f"{type(e).__name__}: {e}".splitlines()[0][:80]


TINY = ["--device", "cpu", "--peers", "Knet", "--turns", "2", "--seconds", "0.001", "--epochs", "1", "--chance"]


def test_a_report_is_written(at_once, tmp_path, capsys):
    options = [
        *TINY,
        "--models",
        "softmax",
        "--dtypes",
        "float32",
        "bfloat16",
        "--tests",
        "",
        "--output",
        str(tmp_path),
    ]
    assert gpu.main(options) == 0
    (file,) = tmp_path.iterdir()
    text = file.read_text()
    assert file.name.endswith("-cpu-cpu-0.md") or file.name.endswith("-cpu-cpu.md")
    for line in ("# Knet on cpu", "## Training steps, float32", "## Training steps, bfloat16", "Softmax, MNIST (100)"):
        assert line in text
    assert "% of the test images right" in text and "WRONG" not in text and "Error" not in text
    assert text in capsys.readouterr().out


def test_the_suite_runs_with_the_device_as_default():
    passed, told = gpu.run_tests("cpu", ["tests/test_tiny.py", "-k", "grad"])
    assert passed and "passed" in told
    passed, told = gpu.run_tests("cpu", ["tests/no_such_file.py"])
    assert not passed and "not found" in told


def test_without_the_device_it_says_so_and_stops(at_once, capsys):
    assert gpu.main(["--device", "no_such_backend:0"]) == 2
    assert "no_such_backend" in capsys.readouterr().err


def test_a_library_that_fails_leaves_the_others_measured():
    good = gpu.Measured([1.0] * 5, 0.5, [0.001, 0.003, 0.002], 5_000_000)
    wrong = good._replace(losses=[1.0, 1.1, 1.0, 1.0, 1.0], memory=None)
    table = {"mlp": {"Knet": wrong, "PyTorch": good, "JAX jit": "ImportError: no jax"}}
    text = gpu.step_table(table, list(table["mlp"]), "float32")
    assert "2,000 WRONG" in text and "2,000 (1.00) |" in text and "ImportError: no jax" in text
    assert "0.50" in gpu.other_table(table, ["Knet"], "first", lambda m: f"{m.first:.2f}")


def test_processes_of_their_own():
    assert gpu.apart(divmod, 7, 2) == (3, 1)
    assert gpu.apart(divmod, 7, 0).startswith("ZeroDivisionError")
