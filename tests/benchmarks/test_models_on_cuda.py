"""Training steps of the benchmark models as programs for CUDA: none goes to the host, and all kernels compile."""

from __future__ import annotations

import sys
from pathlib import Path

import nvrtc
import printed
import pytest

import knet
import knet.numpy as knp

sys.path.insert(0, str(Path(__file__).parents[2]))  # benchmarks is no part of the package that is installed

from benchmarks.training import in_knet, problems


@pytest.mark.parametrize("model", problems.MODELS)
def test_a_step_is_a_program_of_kernels_that_compile(model):
    problem, _ = problems.problem(model, 1, real=False)
    step, params, state = in_knet.step_of(model, problem)
    leaves, tree = knet.tree.flatten((params, state, *map(knp.asarray, problem.batches[0])))
    recorder = printed.Recorder(printed.CUDA)
    program = printed.graph(lambda *xs: step(*knet.tree.unflatten(tree, xs)), leaves, recorder)
    assert not program.on_host
    assert nvrtc.complaints(recorder.kernels.values(), "sm_90") == []
