"""Graphs: captured when the same addresses come again, staged where they never do, left alone where CUDA refuses."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

pytest.importorskip("cupy", reason='the CUDA backend needs CuPy: pip install "knet[cuda13]"')
sys.path.insert(0, str(Path(__file__).parent))

import device
import fakes
from fakes import Memory

import knet
import knet.numpy as knp
from knet.backends.cuda import graph, products
from knet.backends.cuda.runtime import CudaRuntime
from knet.compiler.device.buffer import DeviceBuffer, dense_layout
from knet.compiler.passes import optimize
from knet.core.array import DeviceArray


@pytest.fixture
def runtime(monkeypatch):
    runtime = fakes.Runtime()
    monkeypatch.setattr(graph, "copy", lambda *call: runtime.log.append(("copy", *call)))
    return runtime


def captured(runtime, inputs=2, outputs=1):
    """A function of two launches over its places."""

    def queue(places):
        for name in places:
            runtime.log.append((name, graph.address(places[name])))
            runtime.launched += 1

    return graph.Captured(
        runtime, queue, [(f"input{i}", 64) for i in range(inputs)], [(f"output{j}", 32) for j in range(outputs)]
    )


def call(captured, *addresses, start=0):
    """What was queued by a call with memory at these addresses."""
    names = [slot.name for slot in captured.slots]
    before = len(captured.runtime.log)
    captured({name: (Memory(a - start, 0), start) for name, a in zip(names, addresses, strict=True)})
    return captured.runtime.log[before:]


def launches(*addresses):
    return [("input0", addresses[0]), ("input1", addresses[1]), ("output0", addresses[2])]


def test_the_second_call_with_the_same_addresses_is_captured(runtime):
    f = captured(runtime)
    assert call(f, 1, 2, 3) == launches(1, 2, 3)
    for _ in range(3):
        assert call(f, 1, 2, 3) == [("replay", tuple(launches(1, 2, 3)))]
    assert runtime.replayed == 3 and runtime.launched == 3, "recorded launches ran not"
    assert len(f.graphs) == 1


def test_offsets_count(runtime):
    f = captured(runtime)
    call(f, 101, 102, 103, start=100)
    assert call(f, 101, 102, 103) == [("replay", tuple(launches(101, 102, 103)))], "the same, from other beginnings"
    assert call(f, 1, 2, 3) == launches(1, 2, 3)


def test_parameters_that_swap_places_have_two_graphs(runtime):
    """Without donation the results of one step are the arguments of the next."""
    f = captured(runtime)
    steps = [call(f, a, 9, b) for a, b in ((1, 2), (2, 1)) * 3]
    assert steps[:2] == [launches(1, 9, 2), launches(2, 9, 1)]
    assert steps[2:] == [[("replay", tuple(launches(1, 9, 2)))], [("replay", tuple(launches(2, 9, 1)))]] * 2


def test_what_keeps_moving_is_staged(runtime):
    f = captured(runtime)
    for step in range(graph.MOVES + 1):
        call(f, 1000 + step, 2, 3)
    own = f.inputs[0].staged.ptr
    assert f.inputs[1].staged is None and f.outputs[0].staged is None
    assert call(f, 5000, 2, 3) == launches(5000, 2, 3), "its key is met for the first time"
    replay = ("replay", tuple(launches(own, 2, 3)))
    for address in (6000, 7000):
        assert call(f, address, 2, 3) == [("copy", own, address, 64, 7), replay]
    assert f.inputs[0].staged.nbytes == 64


def test_results_that_keep_moving_are_copied_out(runtime):
    """Losses that are kept in a list."""
    f = captured(runtime)
    for step in range(graph.MOVES + 2):
        call(f, 1, 2, 1000 + step)
    own = f.outputs[0].staged.ptr
    assert call(f, 1, 2, 9000) == [("replay", tuple(launches(1, 2, own))), ("copy", 9000, own, 32, 7)]


def test_graphs_are_few(runtime):
    f = captured(runtime, inputs=3, outputs=0)
    for a, b, c in itertools.product((1, 2, 3), repeat=3):
        for _ in range(2):
            call(f, a, b, c)
    assert len(f.graphs) == graph.GRAPHS
    assert call(f, 3, 3, 3)[0][0] == "replay"
    assert call(f, 1, 1, 1)[0][0] == "replay", "captured anew: it was met before"


def test_a_precision_is_a_graph_of_its_own(runtime):
    f = captured(runtime)
    call(f, 1, 2, 3)
    with knet.precision("tf32"):
        assert call(f, 1, 2, 3) == launches(1, 2, 3)
        assert call(f, 1, 2, 3)[0][0] == "replay"
    assert call(f, 1, 2, 3)[0][0] == "replay"
    assert len(f.graphs) == 2


def test_a_status_that_moved_is_another_graph(runtime):
    f = captured(runtime, inputs=1, outputs=0)
    places = {"input0": (Memory(1, 0), 0), "status0": (Memory(50, 0), 0)}
    f(dict(places))
    f(dict(places))
    assert runtime.replayed == 1
    f(places | {"status0": (Memory(60, 0), 0)})
    assert runtime.replayed == 1


def test_what_cuda_refuses_to_capture_is_launched(runtime):
    f = captured(runtime)
    call(f, 1, 2, 3)
    runtime.fails = graph.api.CUDARuntimeError(900)
    for _ in range(3):
        assert call(f, 1, 2, 3) == launches(1, 2, 3)
    assert "Capture" in f.refusal and not f.graphs


def test_what_is_read_and_written_is_copied_both_ways(runtime):
    """A stretch of a program may find a part of a result and leave another part."""

    def queue(places):
        runtime.log.append(graph.address(places["output0"]))

    f = graph.Captured(runtime, queue, [("output0", 8)], [("output0", 8)])
    assert f.slots == f.inputs == f.outputs
    for address in range(1, graph.MOVES + 4):
        call(f, 100 * address)
    staged = f.slots[0].staged.ptr
    assert call(f, 9000) == [("copy", staged, 9000, 8, 7), ("replay", (staged,)), ("copy", 9000, staged, 8, 7)]


def test_other_errors_are_not_hidden(runtime):
    f = captured(runtime)
    call(f, 1, 2, 3)
    runtime.fails = KeyError("a mistake of Knet's")
    with pytest.raises(KeyError):
        call(f, 1, 2, 3)


def test_graphs_can_be_forbidden(monkeypatch):
    assert graph.allowed()
    monkeypatch.setenv("KNET_CUDA_GRAPHS", "0")
    assert not graph.allowed()


def test_a_program_from_beginning_to_end(monkeypatch):
    """The real runtime and a real program, over a pretended device."""
    cuda = device.pretend(monkeypatch)
    monkeypatch.setattr(products, "available", lambda: False)
    runtime = CudaRuntime(0)
    x = knp.ones((300, 40))
    traced = knet.jit(lambda x: knp.tanh(x).sum(axis=0) @ x.T).lower(x).traced
    program = graph.CudaProgram(optimize(traced), "device", runtime, ())
    assert len(program.captured) == len(program.parts) == 1 and not program.on_host
    layout = dense_layout((300, 40), knp.float32)
    argument = DeviceArray(DeviceBuffer(runtime, runtime.allocate(4 * 300 * 40), layout), "device")
    for _ in range(9):
        (result,) = program([argument])
        assert result.shape == (300,)
    stream, recorded = cuda.launches[-1]
    assert stream == runtime.queue and len(recorded) == len(program.kernels)
    assert runtime.replayed >= 3, "results of calls alternate between few places"
    assert runtime.launched == len(recorded) * (9 - runtime.replayed), "and every call was queued once"
