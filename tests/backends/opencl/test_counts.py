"""What a compiled training step costs a device, in counts: kernels, copies to and from the host, and memory."""

from __future__ import annotations

import gc
import itertools
import sys
from pathlib import Path

import pytest

import knet
import knet.numpy as knp
from knet import memory, optim
from knet.core import device

sys.path.insert(0, str(Path(__file__).parents[3]))  # benchmarks is no part of the package that is installed

from benchmarks.training import in_knet, problems

KERNELS = {  # of a step
    "mlp": 4,  # 784-64-10, loss, gradient and gradient descent
    "lenet": 21,  # two convolutions with pooling, two dense layers, likewise
    "adam": 3,  # update of LeNet's parameters from gradients that are given
}
BATCHES = 3

pytestmark = pytest.mark.parametrize("backend", ["opencl"], indirect=True)


@pytest.fixture
def runtime(backend):
    """The runtime of the first device."""
    first = device.default_device()
    return first.backend.runtime(first)


def descent(model):
    """Function of no arguments that trains on the next batch, which is on the device already, and returns the loss."""
    problem, _ = problems.problem(model, BATCHES, real=False)
    return in_knet.train(model, problem, 1)


def adam():
    """Function of no arguments that updates LeNet's parameters."""
    problem, _ = problems.problem("lenet", 1, real=False)
    optimizer = optim.adam(1e-3)

    def update(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    update = knet.jit(update, donate_argnums=(0, 1))
    params, grads = (problems.mapped(lambda _, w: knp.asarray(w), problem.params) for _ in range(2))
    state = optimizer.init(params)

    def run():
        nonlocal params, state
        params, state = update(params, state, grads)

    return run


@pytest.mark.parametrize("work", KERNELS)
def test_a_step_launches_so_many_kernels_and_copies_nothing(work, runtime):
    run = adam() if work == "adam" else descent(work)
    run()  # compiles
    counts = []
    for _ in range(2 * BATCHES):
        before = runtime.launched, runtime.copied
        run()
        counts.append((runtime.launched - before[0], runtime.copied - before[1]))
    assert counts == [(KERNELS[work], 0)] * len(counts)


def test_batches_that_come_from_the_host_are_copied_once_each(runtime):
    problem, _ = problems.problem("mlp", BATCHES, real=False)
    step, params, state = in_knet.step_of("mlp", problem)
    step = knet.jit(step, donate_argnums=(0, 1))
    for number, (x, y) in enumerate(itertools.islice(itertools.cycle(problem.batches), 2 * BATCHES)):
        before = runtime.launched, runtime.copied
        params, state, value = step(params, state, x, y)
        moved = runtime.copied - before[1]
        if number:
            assert (runtime.launched - before[0], moved) == (KERNELS["mlp"], 2)  # x and y
    copied = runtime.copied
    assert float(value) > 0
    assert runtime.copied == copied + 1  # the loss


def test_steps_take_no_more_memory_as_time_goes_by(runtime):
    run = descent("mlp")
    for _ in range(20):
        loss = run()
    float(loss)
    gc.collect()
    before = memory.used(), memory.held()
    for number in range(1, 10_001):
        loss = run()
        if number % 1000 == 0:
            float(loss)  # waits
            assert (memory.used(), memory.held()) == before, f"after {number} steps"
    assert float(loss) > 0


def test_memory_that_is_kept_is_noticed(runtime):
    run = descent("mlp")
    kept = [run()]
    float(kept[0])
    gc.collect()
    used = memory.used()
    kept += [run() for _ in range(10)]
    assert memory.used() - used >= 10 * kept[0].nbytes


def test_a_profile_has_a_row_for_each_launch(backend):
    x = knp.ones((64, 32))
    step = knet.jit(lambda x: knp.tanh(x @ x.T).sum(axis=1))
    rows = step.profile(x, repeats=2)
    assert [row.text for row in rows] == list(step.lower(x).kernels)
    assert all(row.seconds > 0 and row.nbytes > 0 for row in rows)
    assert sum(row.flops for row in rows) == 2 * 64 * 32 * 64
    assert step(x).shape == (64,)


def test_kernels_of_a_function_that_is_gone_are_gone(runtime):
    def known():
        gc.collect()
        return len(runtime._functions)

    before = known()
    step = knet.jit(lambda x: (knp.tanh(x) * 3.25 - x).sum(axis=1) / 7.75)
    assert step(knp.ones((19, 23))).shape == (19,)
    assert known() > before
    del step
    assert known() <= before + 1  # an array of ones may have one of its own
