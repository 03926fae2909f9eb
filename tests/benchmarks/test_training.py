"""Training steps of the benchmark models are compiled from end to end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import knet
import knet.numpy as knp
from knet.backends.cpu.compiled import program, toolchain

sys.path.insert(0, str(Path(__file__).parents[2]))  # benchmarks is no part of the package that is installed

from benchmarks.training import in_knet, problems


@pytest.mark.parametrize("model", problems.MODELS)
def test_no_operation_of_a_step_is_left_to_numpy(model, monkeypatch):
    monkeypatch.setattr(toolchain, "build", lambda *_: None)  # what is compiled is known before the compiler runs
    monkeypatch.setattr(program, "Program", lambda *_: None)
    problem, _ = problems.problem(model, 1, real=False)
    step, params, state = in_knet.step_of(model, problem)
    kernels = knet.jit(step).lower(params, state, *map(knp.asarray, problem.batches[0])).kernels
    assert kernels
    assert [k for k in kernels if "NumPy" in k] == []
