"""The team of threads: barriers hold, calls may come from anywhere, and nothing hangs at the end or after a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from knet.backends.cpu.compiled import team, toolchain
from knet.core.errors import ArgumentError

pytestmark = pytest.mark.skipif(toolchain.available() is not None, reason=str(toolchain.available()))

SOURCE = (
    team.HEADER
    + """
/* Each thread writes the round's number, then all must see it at all others. buffers: slots, [rounds], errors. */
void rounds(struct knet_team *team, int thread, void **buffers) {
    volatile int *slots = buffers[0];
    int count = *(int *)buffers[1], *errors = buffers[2];
    for (int round = 1; round <= count; round++) {
        slots[16 * thread] = round;
        knet_barrier(team, thread);
        for (int i = 0; i < team->threads; i++)
            if (slots[16 * i] != round) errors[16 * thread]++;
        knet_barrier(team, thread);
    }
}
/* y[thread] = threads * x[0] + thread */
void mark(struct knet_team *team, int thread, void **buffers) {
    const double *x = buffers[0];
    double *y = buffers[1];
    y[thread] = team->threads * x[0] + thread;
}
/* Threads that come late: all but the first wait long enough to fall asleep. */
void late(struct knet_team *team, int thread, void **buffers) {
    int *y = buffers[0];
    if (thread == 0)
        for (volatile long i = 0; i < 20000000; i++) {}
    y[thread] = 1;
    knet_barrier(team, thread);
    if (thread == team->threads - 1)
        for (volatile long i = 0; i < 20000000; i++) {}
    y[thread]++;
}
/* The sum of all operands but the last into the last. */
void total(struct knet_team *team, int thread, void **buffers) {
    long n = *(long *)buffers[0];
    double sum = 0;
    for (long i = 1; i < n; i++) sum += *(double *)buffers[i];
    *(double *)buffers[n] = sum;
}
/* Fill the workspace, the last of two buffers, and report its address. */
void scratch(struct knet_team *team, int thread, void **buffers) {
    unsigned long *y = buffers[0];
    char *workspace = buffers[1];
    y[0] = (unsigned long)workspace;
    for (unsigned long i = 0; i < y[1]; i++) workspace[i] = (char)i;
}
"""
)


@pytest.fixture(scope="module")
def library():
    return toolchain.build(SOURCE, "team_test")


def count_errors(library, threads, rounds):
    errors = np.zeros(16 * threads, np.int32)
    slots = np.zeros(16 * threads, np.int32)
    team.Program(library, "rounds", threads)([slots, np.array(rounds, np.int32), errors])
    assert (slots[::16] == rounds).all()
    return errors.sum()


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_what_was_written_before_a_barrier_is_seen_after_it(library, threads):
    assert count_errors(library, threads, 5000 if threads <= 2 else 300) == 0


def test_teams_of_changing_size(library):
    x, y = np.array([10.0]), np.empty(8)
    programs = {n: team.Program(library, "mark", n) for n in range(1, 6)}
    for n in [1, 5, 2, 3, 1, 4, 2, 5] * 10:
        y[:] = -1
        programs[n]([x, y])
        np.testing.assert_array_equal(y, [n * 10.0 + i if i < n else -1 for i in range(8)])


def test_late_threads_are_waited_for(library):
    y = np.zeros(3, np.int32)
    for _ in range(3):
        y[:] = 0
        team.Program(library, "late", 3)([y])
        np.testing.assert_array_equal(y, [2, 2, 2])


def test_calls_after_a_pause_wake_the_workers(library):
    program, x, y = team.Program(library, "mark", 3), np.array([1.0]), np.empty(3)
    for i in range(30):
        x[0] = i
        time.sleep(0.002)
        program([x, y])
        np.testing.assert_array_equal(y, [3 * i, 3 * i + 1, 3 * i + 2])


def test_python_threads_may_call_at_once(library):
    failures = []

    def work(threads):
        try:
            program, y = team.Program(library, "mark", threads), np.empty(threads)
            for i in range(300):
                program([np.array([float(i)]), y])
                assert (y == threads * i + np.arange(threads)).all()
            assert count_errors(library, threads, 200) == 0
        except BaseException as e:
            failures.append(e)

    callers = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 2, 3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
        assert not caller.is_alive(), "a call hangs"
    assert not failures, failures


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
def test_threads_are_made_once(library):
    def count():
        return len(os.listdir("/proc/self/task"))

    program, x, y = team.Program(library, "mark", 4), np.array([1.0]), np.empty(4)
    program([x, y])
    before = count()
    for _ in range(20):
        program([x, y])
    assert count() <= before  # a thread of an earlier test may end meanwhile


def test_operands_of_any_kind_and_number(library):
    program = team.Program(library, "total", 1)

    class Subclass(np.ndarray):
        pass

    for count in (3, 255, 256, 300):
        values = [np.array(float(i)) for i in range(count)]
        values[1] = np.array([5.0]).view(Subclass)
        result = np.zeros(())
        program([np.array(count + 1), *values, result])
        assert result == sum(v.item() for v in values), count
    if sys.implementation.name == "cpython":
        assert team._layout_is_known()


def test_the_slow_way_gives_the_same(library, monkeypatch):
    monkeypatch.setattr(team, "_layout_is_known", lambda: False)
    program, y = team.Program(library, "mark", 2), np.empty(2)
    assert program._fast is None
    program([np.array([4.0]), y])
    np.testing.assert_array_equal(y, [8, 9])


@pytest.mark.parametrize("size", [1, 64, 1000, 3_000_000, 10, 5_000_000, 0])
def test_the_workspace_is_aligned_and_kept(library, size):
    y = np.array([1, size], np.uint64)
    program = team.Program(library, "scratch", 1, workspace=size)
    program([y])
    address = int(y[0])
    assert address % 64 == 0 and (address != 0) == (size > 0)
    program([y])
    assert int(y[0]) == address, "the next call should find the same memory"
    team.release()
    program([y])


def test_the_number_of_threads_is_checked(library, monkeypatch):
    for threads in (0, -1, 513):
        with pytest.raises(ArgumentError, match=f"threads={threads}"):
            team.Program(library, "mark", threads)
    for setting in ("0", "two", "-1", "1.5", "100000"):
        monkeypatch.setenv("KNET_NUM_THREADS", setting)
        with pytest.raises(ArgumentError, match="KNET_NUM_THREADS"):
            team.default_threads()
    monkeypatch.setenv("KNET_NUM_THREADS", "3")
    assert team.default_threads() == 3
    monkeypatch.delenv("KNET_NUM_THREADS")
    assert 1 <= team.default_threads() <= os.cpu_count()
    for setting in ("fast", "-1", "nan", "inf"):
        monkeypatch.setenv("KNET_SPIN", setting)
        with pytest.raises(ArgumentError, match="KNET_SPIN"):
            team._spin()


# --- in processes of their own ----------------------------------------------------------------------------------------

BEGIN = """
import os, signal, sys, threading, time
import numpy as np
from knet.backends.cpu.compiled import team, toolchain
library = toolchain.build(open(sys.argv[1]).read(), "team_test")
def mark(threads):
    y = np.empty(threads)
    team.Program(library, "mark", threads)([np.array([1.0]), y])
    assert (y == threads + np.arange(threads)).all(), y
"""


def in_process(tmp_path, script, **environment):
    (tmp_path / "source.c").write_text(SOURCE)
    command = [sys.executable, "-W", "ignore", "-c", BEGIN + script, str(tmp_path / "source.c")]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)


def succeeds(tmp_path, script, **environment):
    done = in_process(tmp_path, script, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("spin", ["0", "1", "200"])
def test_barriers_hold_however_long_threads_poll(tmp_path, spin):
    # With 0, each wait of more than an instant goes to sleep.
    script = """
def stress(threads, rounds):
    errors, slots = np.zeros(16 * threads, np.int32), np.zeros(16 * threads, np.int32)
    team.Program(library, "rounds", threads)([slots, np.array(rounds, np.int32), errors])
    assert not errors.any() and (slots[::16] == rounds).all()
for threads, rounds in ((2, 5000), (4, 500), (3, 500)):
    callers = [threading.Thread(target=stress, args=(threads, rounds)) for _ in range(2)]
    [c.start() for c in callers]
    [c.join() for c in callers]
for _ in range(300):
    mark(3)
print("done")
"""
    if spin == "200":  # with more threads than cores, each barrier takes that long
        script = script.replace("5000", "1000").replace("500)", "20)").replace("300", "20")
    assert succeeds(tmp_path, script, KNET_SPIN=spin) == "done\n"


def test_a_forked_child_makes_a_team_of_its_own(tmp_path):
    script = """
mark(3)
for busy in (False, True):
    stop = threading.Event()
    caller = threading.Thread(target=lambda: [mark(2) for _ in iter(stop.is_set, True)])
    if busy:  # the fork may come in the middle of another thread's call
        caller.start()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        for _ in range(50):
            mark(3)
            mark(5)
        os._exit(0)
    mark(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    stop.set()
    if busy:
        caller.join()
print("done")
"""
    assert succeeds(tmp_path, script) == "done\n"


def test_the_interpreter_exits_while_workers_sleep_or_poll(tmp_path):
    assert succeeds(tmp_path, "mark(4); print('done')", KNET_SPIN="0") == "done\n"
    assert succeeds(tmp_path, "mark(4); print('done')", KNET_SPIN="100000") == "done\n"


def test_ctrl_c_takes_effect_after_the_call(tmp_path):
    script = """
y = np.zeros(2, np.int32)
program = team.Program(library, "late", 2)
threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    for _ in range(1000):
        program([y])
except KeyboardInterrupt:
    mark(2)
    print("interrupted")
"""
    assert succeeds(tmp_path, script) == "interrupted\n"
