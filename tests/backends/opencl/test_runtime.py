"""The runtime on a device: values of kernels, arguments, transfers, errors, threads, processes."""

from __future__ import annotations

import gc
import os
import sys
import threading

import numpy as np
import pytest
from opencl_here import opencl_runtime
from opencl_kernels import axpy, cl, one

from knet.backends.opencl import failures, programs
from knet.backends.opencl.devices import find_devices
from knet.backends.opencl.runtime import OpenCLRuntime
from knet.backends.opencl.transfers import Transfers
from knet.core.errors import DeviceError


@pytest.fixture(scope="module")
def runtime():
    return opencl_runtime()


def numbers(runtime, memory, n, offset=0):
    return runtime.download(memory, 4 * offset, 4 * n).view(np.float32).tolist()


def ramp(n, start=0):
    return np.arange(start, start + n, dtype=np.float32)


# --- launches -------------------------------------------------------------------------------------------------------


def test_a_kernel_with_offsets_and_numbers(runtime):
    [function] = runtime.functions([axpy()])
    x, y = runtime.upload(ramp(10)), runtime.upload(ramp(10))
    before = runtime.launched
    runtime.launch(function, (2, 1, 1), [(x, 4), (y, 2)], [3, 10.0])
    assert runtime.launched == before + 1
    assert numbers(runtime, y, 10) == [0, 1, 42, 53, 64, 5, 6, 7, 8, 9]


def test_no_groups_are_no_launch(runtime):
    [function] = runtime.functions([axpy()])
    x = runtime.upload(ramp(4))
    before = runtime.launched
    runtime.launch(function, (0, 1, 1), [(x, 0), (x, 0)], [4, 1.0])
    runtime.prepare(function, (1, 0, 1), [(x, 0), (x, 0)], [4, 1.0]).run()
    assert runtime.launched == before
    assert numbers(runtime, x, 4) == [0, 1, 2, 3]


def test_prepared_launches_keep_arguments_of_their_own(runtime):
    [function] = runtime.functions([axpy()])
    x, y, z = (runtime.upload(ramp(4, start)) for start in (0, 10, 20))
    first = runtime.prepare(function, (1, 1, 1), [(x, 0), (y, 0)], [4, 1.0])
    second = runtime.prepare(function, (1, 1, 1), [(x, 2), (z, 2)], [2, -1.0])
    first.run()
    second.run()
    first.run()
    assert numbers(runtime, y, 4) == [10, 13, 16, 19]
    assert numbers(runtime, z, 4) == [20, 21, 20, 20]
    first.set(1, z, 1)
    first.set(0, y, 1)
    runtime.launch(function, (1, 1, 1), [(z, 0), (x, 0)], [1, 1.0])  # changes nothing of what is prepared
    first.set(0, x, 0)
    first.set(0, x, 1)
    second.set(1, y, 0)
    second.run()
    assert numbers(runtime, y, 4) == [8, 10, 16, 19]
    x2 = runtime.upload(ramp(4))
    first.set(0, x2)
    first.set(1, y)
    first.run()
    assert numbers(runtime, y, 4) == [8, 11, 18, 22]


def test_prepared_launches_keep_no_memory(runtime):
    [function] = runtime.functions([axpy()])
    gc.collect()
    before = runtime.memory_used()
    x = runtime.allocate(1 << 21)
    prepared = runtime.prepare(function, (1, 1, 1), [(x, 0), (x, 0)], [4, 1.0])
    assert runtime.memory_used() == before + (1 << 21)
    del x
    assert runtime.memory_used() == before
    assert prepared is not None


def test_kernels_are_compiled_once_and_together(runtime, monkeypatch):
    built = []
    build = cl.Program.build

    def counted(program, *args, **kwargs):
        built.append(program)
        return build(program, *args, **kwargs)

    monkeypatch.setattr(cl.Program, "build", counted)
    kernels = [one(f"together_{i}", f"a0[0] = {i};") for i in range(3)]
    functions = runtime.functions([*kernels, kernels[0]])
    assert len(built) == 1 and functions[0] is functions[3]
    again = runtime.functions(kernels[1:])
    assert len(built) == 1 and again == functions[1:3]
    x = runtime.allocate(4)
    for i, function in enumerate(functions[:3]):
        runtime.launch(function, (1, 1, 1), [(x, 0)], [])
        assert numbers(runtime, x, 1) == [i]


KINDS = {
    "int": (np.int32, -(2**31)), "long": (np.int64, -(2**63)), "float": (np.float32, 0.1), "double": (np.float64, 0.1),
    "int8_t": (np.int8, -128), "int16_t": (np.int16, -(2**15)), "int32_t": (np.int32, 2**31 - 1),
    "int64_t": (np.int64, 2**63 - 1), "uint8_t": (np.uint8, 255), "uint16_t": (np.uint16, 2**16 - 1),
    "uint32_t": (np.uint32, 2**32 - 1), "uint64_t": (np.uint64, 2**64 - 1),
}  # fmt: skip


def test_every_type_of_number_arrives(runtime):
    assert set(KINDS) == set(programs.CODES)
    for kind, (dtype, value) in KINDS.items():
        if kind == "double" and not runtime.target.doubles:
            continue
        body = f"((__global {kind} *)a0)[0] = n1; a0[4] = n0; a0[5] = n2;"
        [function] = runtime.functions([one(f"number_{kind}", body, ("int8_t", kind, "float"))])
        x = runtime.allocate(64)
        runtime.launch(function, (1, 1, 1), [(x, 0)], [-7, value, 2.5])
        raw = runtime.download(x, 0, 24)
        assert raw.view(dtype)[0] == dtype(value), kind
        assert raw.view(np.float32)[4:].tolist() == [-7, 2.5], kind


def test_numbers_are_rounded_as_numpy_rounds_them():
    pack = programs.packer("f")
    for value in (1e300, -1e300, float("inf"), float("nan"), 0.1, -0.0, 1e-50, True, 3):
        with np.errstate(over="ignore"):
            assert pack(value) == np.float32(value).tobytes()
    assert programs.packer("i")(True) == np.int32(1).tobytes()


def test_the_form_of_gpus_runs(runtime, monkeypatch):
    monkeypatch.setenv("KNET_OPENCL_FORM", "items")
    other = OpenCLRuntime(find_devices()[0])
    items = other.target.items
    assert not other.target.loops and items > 1
    body = f"LOCAL float s[{items}]; s[ITEM(0)] = a0[GROUP(0) * {items} + ITEM(0)]; BARRIER; "
    body += f"a0[GROUP(0) * {items} + ITEM(0)] = s[{items - 1} - ITEM(0)];"
    [function] = other.functions([one("backwards", body, items=(items, 1, 1))])
    x = other.upload(ramp(2 * items))
    other.launch(function, (2, 1, 1), [(x, 0)], [])
    want = np.concatenate([ramp(items)[::-1], ramp(items, items)[::-1]])
    assert numbers(other, x, 2 * items) == want.tolist()


# --- transfers ------------------------------------------------------------------------------------------------------

SIZES = [1, 3, 1000, 100_000, 5_000_000]


@pytest.mark.parametrize("n", SIZES)
def test_there_and_back(runtime, n):
    host = np.random.default_rng(0).integers(0, 256, n, np.uint8)
    want = host.copy()
    before = runtime.copied
    memory = runtime.upload(host)
    host[:] = 0  # the array may change
    back = runtime.download(memory, 0, n)
    assert runtime.copied == before + 2
    assert np.array_equal(back, want)
    assert np.array_equal(runtime.download(memory, n // 2, n - n // 2), want[n // 2 :])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("n", SIZES)
def test_both_ways_of_transfer_on_this_device(runtime, shared, n):
    transfers = Transfers(runtime.queue, runtime._memory, shared)
    host = np.random.default_rng(1).integers(0, 256, n, np.uint8)
    want = host.copy()
    several = [transfers.upload(host + k if k else host) for k in range(3)]
    host[:] = 0
    for k, memory in enumerate(several):
        assert np.array_equal(transfers.download(memory, 0, n), want + np.uint8(k))


def test_arrays_that_wait_in_the_queue_are_let_go(runtime):
    transfers = Transfers(runtime.queue, runtime._memory, shared=False)
    host = np.ones(1 << 20, np.uint8)
    for _ in range(200):
        transfers.upload(host)
        assert transfers._bytes <= 64 << 20
    runtime.synchronize()
    transfers.upload(host)
    assert len(transfers._waiting) <= 64


@pytest.mark.parametrize("array", [np.ones((3, 4), np.float32).T, ramp(10)[::-2], np.float32(7), np.zeros((0, 3))])
def test_any_strides_in_row_major_order(runtime, array):
    memory = runtime.upload(np.asarray(array))
    raw = runtime.download(memory, 0, array.nbytes)
    assert raw.tobytes() == array.tobytes()


def test_what_was_downloaded_outlives_its_memory(runtime):
    n = 1 << 20
    [function] = runtime.functions([axpy()])
    memory = runtime.upload(np.ones(n, np.float32))
    view = runtime.download(memory, 0, 4 * n)
    part = view.view(np.float32)[5:]
    del memory, view
    for _ in range(4):  # memory that is free would be used again
        other = runtime.allocate(4 * n)
        runtime.launch(function, (2, 1, 1), [(other, 0), (other, 0)], [n, 5.0])
    runtime.synchronize()
    assert (part == 1).all()


def test_a_download_of_a_cpu_is_no_copy(runtime):
    if not runtime._transfers._shared:
        pytest.skip("this device has memory of its own")
    memory = runtime.upload(ramp(1 << 16))
    first, second = (runtime.download(memory, 0, 4 << 16) for _ in range(2))
    assert np.may_share_memory(first, second) and not first.flags.writeable
    holders = sys.getrefcount(memory)
    del first, second
    assert sys.getrefcount(memory) == holders - 2  # who may write asks who else holds the memory


def test_a_download_waits_for_what_is_queued(runtime):
    [function] = runtime.functions([axpy()])
    n = 1 << 18
    x, y = runtime.upload(np.ones(n, np.float32)), runtime.upload(np.zeros(n, np.float32))
    for _ in range(50):
        runtime.launch(function, (2, 1, 1), [(x, 0), (y, 0)], [n, 1.0])
    assert (runtime.download(y, 0, 4 * n).view(np.float32) == 50).all()


# --- threads and processes ------------------------------------------------------------------------------------------


def test_threads_share_a_kernel(runtime):
    [function] = runtime.functions([axpy()])
    wrong = []

    def work(number):
        x, y = runtime.upload(np.full(8, number, np.float32)), runtime.upload(np.zeros(8, np.float32))
        for _ in range(200):
            runtime.launch(function, (1, 1, 1), [(x, 0), (y, 0)], [8, 1.0])
        if numbers(runtime, y, 8) != [200.0 * number] * 8:
            wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_is_told(runtime):
    x = runtime.upload(ramp(4))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        texts = []
        for call in (lambda: runtime.allocate(4), runtime.synchronize, lambda: runtime.download(x, 0, 4)):
            try:
                call()
                texts.append("worked")
            except BaseException as e:  # nothing may leave the child but its report
                texts.append(f"{type(e).__name__}: {e}")
        os.write(writing, "\n".join(texts).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    assert told.count("DeviceError: OpenCL device") == 3 and told.count('get_context("spawn")') == 3, told
    assert numbers(runtime, x, 4) == [0, 1, 2, 3]


# --- errors ---------------------------------------------------------------------------------------------------------


def test_a_kernel_that_is_refused_is_shown(runtime):
    good, bad = one("good", "a0[0] = 1;"), one("bad", "int first = 1;\n    a0[0] = absent;")
    with pytest.raises(DeviceError, match="its compiler refuses good, bad: BUILD_PROGRAM_FAILURE") as info:
        runtime.functions([good, bad])
    [notes] = info.value.__notes__
    assert "absent" in notes.split("    a0[0]")[0], "the compiler's words come first"
    assert "    a0[0] = absent;" in notes and "int first = 1;" in notes and "typedef" not in notes
    [function] = runtime.functions([good])
    x = runtime.allocate(4)
    runtime.launch(function, (1, 1, 1), [(x, 0)], [])
    assert numbers(runtime, x, 1) == [1]


def test_a_launch_that_fails_is_decoded(runtime):
    [function] = runtime.functions([one("group_of_one", "a0[0] = 1;")])
    x = runtime.allocate(4)
    function.items = (2, 1, 1)  # not what the kernel was compiled for
    try:
        with pytest.raises(
            DeviceError, match=r"INVALID_WORK_GROUP_SIZE while launching group_of_one\.\n  fix: report the"
        ):
            runtime.launch(function, (1, 1, 1), [(x, 0)], [])
        with pytest.raises(DeviceError, match="INVALID_WORK_GROUP_SIZE while launching group_of_one"):
            runtime.prepare(function, (1, 1, 1), [(x, 0)], []).run()
    finally:
        function.items = (1, 1, 1)


def test_a_copy_that_fails_is_decoded(runtime):
    x = runtime.allocate(16)
    with pytest.raises(DeviceError, match="INVALID_VALUE while copying 64 bytes from it"):
        runtime.download(x, 1 << 20, 64)


@pytest.mark.parametrize("name", [*failures.FIXES, "INVALID_KERNEL_ARGS"])
def test_each_status_has_its_name_and_fix(name):
    class Failure(cl.RuntimeError):
        code = getattr(cl.status_code, name)

    error = failures.decoded(Failure("what the driver says"), "Card", "waiting for it")
    assert str(error).startswith(f"OpenCL device Card: {name} while waiting for it.\n  fix: ")
    assert failures.FIXES.get(name, "run python -m knet.backends") in str(error)


def test_a_status_that_the_standard_does_not_have():
    class Failure(cl.RuntimeError):
        code = -123456

    assert "while waiting" in str(failures.decoded(Failure("odd"), "Card", "waiting for it"))
