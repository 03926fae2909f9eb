"""The progress bar: same items, shown or silent, values read only when the bar refreshes, always closed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tqdm import tqdm

from knet.data import minibatch

module = importlib.import_module("knet.progress")
progress = module.progress


class Stderr:
    """All that was written to stderr since the test began."""

    def __init__(self, capsys):
        self._capsys, self._text = capsys, ""

    def getvalue(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


class Counted:
    """A value that counts how often it is read."""

    def __init__(self, number):
        self.number, self.reads = number, 0

    def __float__(self):
        self.reads += 1
        return float(self.number)


@pytest.fixture
def pipe(monkeypatch, capsys):
    """A stderr that is no terminal; afterwards no bar may be left open."""
    monkeypatch.delenv("KNET_PROGRESS", raising=False)
    yield Stderr(capsys)
    assert not getattr(tqdm, "_instances", ())


@pytest.fixture
def terminal(monkeypatch, pipe):
    """A stderr that is a terminal."""
    seen_by_knet = SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(module, "sys", seen_by_knet)  # tqdm still writes to the captured stderr
    return pipe


def last(stderr) -> str:
    return stderr.getvalue().rstrip("\n").split("\r")[-1]


def test_a_terminal_gets_a_bar_with_count_and_rate(terminal):
    assert list(progress([3, 1, 4])) == [3, 1, 4]
    assert "100%" in last(terminal) and "3/3" in last(terminal) and "it/s" in last(terminal)
    assert terminal.getvalue().endswith("\n")


def test_a_pipe_gets_nothing(pipe):
    bar = progress([3, 1, 4])
    for _ in bar:
        bar.show(loss=Counted(1))
    assert pipe.getvalue() == ""
    assert bar._values == {}


def test_without_a_bar_the_items_come_straight_from_the_iterable(pipe):
    items = [1, 2]
    assert type(iter(progress(items))) is type(iter(items))


def test_without_stderr_there_is_no_bar(monkeypatch):
    monkeypatch.delenv("KNET_PROGRESS", raising=False)
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=None))
    assert list(progress(range(2))) == [0, 1]


def test_the_environment_variable_switches_the_bar_on(monkeypatch, pipe):
    monkeypatch.setenv("KNET_PROGRESS", "1")
    assert list(progress(range(2))) == [0, 1]
    assert "2/2" in last(pipe)


def test_the_environment_variable_switches_the_bar_off(monkeypatch, terminal):
    monkeypatch.setenv("KNET_PROGRESS", "0")
    assert list(progress(range(2))) == [0, 1]
    assert terminal.getvalue() == ""


def test_the_environment_variable_is_checked(monkeypatch):
    monkeypatch.setenv("KNET_PROGRESS", "yes")
    with pytest.raises(ValueError, match=r"KNET_PROGRESS is 'yes', it must be 0 or 1.\n  fix: KNET_PROGRESS=1 to show"):
        progress([])


def test_values_are_read_only_when_the_bar_refreshes(terminal):
    bar = progress(range(1000), every=1e9)
    values = [Counted(i) for i in range(1000)]
    for i in bar:
        bar.show(loss=values[i])
    assert [i for i, value in enumerate(values) if value.reads] == [0, 999]
    assert "loss=999" in last(terminal)


def test_every_zero_shows_every_item(terminal):
    bar = progress(range(5), every=0)
    for i in bar:
        bar.show(loss=i / 4)
    for shown in ("loss=0,", "loss=0.25", "loss=0.5", "loss=0.75", "loss=1]"):
        assert shown.rstrip(",") in terminal.getvalue()


def test_values_of_all_kinds(terminal):
    bar = progress(range(1))
    for _ in bar:
        bar.show(loss=np.float32(0.123456), step=7, epoch=np.int64(12345678), stage="warm up")
        bar.show(loss=np.array(2.5, np.float64), pair=(1, 2))
    assert "loss=2.5, step=7, epoch=12345678, stage=warm up, pair=(1, 2)" in last(terminal)
    assert "0.1235" not in terminal.getvalue()


def test_a_long_value_does_not_fill_the_screen(terminal):
    bar = progress(range(1))
    for _ in bar:
        bar.show(x=np.zeros((50, 50)))
    assert "\n" not in terminal.getvalue().rstrip("\n")
    assert len(last(terminal)) < 200


def test_values_are_not_kept_after_the_loop(terminal):
    bar = progress(range(2))
    for _ in bar:
        bar.show(loss=1.0)
    assert bar._values == {}
    list(bar)
    assert "loss" not in last(terminal)


def test_unknown_and_given_length(terminal):
    assert list(progress(i for i in range(3))) == [0, 1, 2]
    assert "3it" in last(terminal) and "%" not in last(terminal)
    assert list(progress((i for i in range(3)), total=6)) == [0, 1, 2]
    assert "3/6" in last(terminal)
    assert len(progress(range(4))) == 4 and len(progress(iter([]), total=2)) == 2
    with pytest.raises(TypeError, match=r"the iterable's length is unknown.\n  fix: progress\(..., total=n\)"):
        len(progress(i for i in range(3)))


def test_minibatches(terminal):
    data = minibatch(np.arange(10), np.arange(10), 3, epochs=2)
    assert sum(len(x) for x, _ in progress(data)) == 18
    assert "6/6" in last(terminal)
    for i, _ in enumerate(progress(minibatch(np.arange(4), None, 2, epochs=None))):
        if i == 5:
            break
    assert "5it" in last(terminal)


@pytest.mark.parametrize("nothing", [[], iter([]), (i for i in [])], ids=["list", "iterator", "generator"])
def test_nothing_to_do(terminal, nothing):
    assert list(progress(nothing)) == []
    assert terminal.getvalue().endswith("\n")


def test_break_closes_the_bar_and_shows_the_last_value(terminal):
    bar = progress(range(10), every=1e9)
    for i in bar:
        bar.show(loss=i)
        if i == 3:
            break
    assert "3/10" in last(terminal) and "loss=3" in last(terminal)
    assert terminal.getvalue().endswith("\n")


class Unreadable:
    def __float__(self):
        raise RuntimeError("the device is gone")


def test_an_error_in_the_loop_closes_the_bar_and_is_the_one_raised(terminal):
    bar = progress(range(10))
    with pytest.raises(KeyError):
        for _ in bar:
            bar.show(loss=Unreadable())
            raise KeyError
    assert terminal.getvalue().endswith("\n")


def test_an_error_of_the_iterable_or_of_a_value_is_raised_and_closes_the_bar(terminal):
    def broken():
        yield 1
        raise KeyError

    with pytest.raises(KeyError):
        list(progress(broken()))
    bar = progress(range(2))
    with pytest.raises(RuntimeError, match="the device is gone"):
        for _ in bar:
            bar.show(loss=Unreadable())


def test_nested_and_repeated(terminal):
    outer = progress("ab", every=0)
    seen = [(letter, i) for letter in outer for i in progress(range(2), every=0)]
    assert seen == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert list(outer) == ["a", "b"]
    assert list(progress(progress(range(2)))) == [0, 1]


@pytest.mark.parametrize("options", [{"total": -1}, {"every": -0.5}, {"every": float("nan")}])
def test_options_out_of_range(options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"progress: {name} is .*, it must be 0 or more.\n  fix: leave {name} out"):
        progress([], **options)


def test_a_silent_bar_does_not_import_tqdm():
    program = "import sys; from knet.progress import progress; list(progress([1])); print('tqdm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
