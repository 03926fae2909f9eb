"""The switch of precision: where it is set, for how long, and for whom."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

import knet
from knet.core.precisions import current_precision


def test_exact_unless_asked_for():
    assert current_precision() == "highest"


def test_a_context_ends_also_by_an_error():
    with pytest.raises(KeyError), knet.precision("tf32"):
        with knet.precision("highest"):
            assert current_precision() == "highest"
        assert current_precision() == "tf32"
        raise KeyError
    assert current_precision() == "highest"


def test_a_context_is_the_threads_own_and_the_default_is_not():
    seen = []
    with knet.precision("tf32"):
        thread = threading.Thread(target=lambda: seen.append(current_precision()))
        thread.start()
        thread.join()
    assert seen == ["highest"]
    try:
        knet.set_precision("tf32")
        thread = threading.Thread(target=lambda: seen.append(current_precision()))
        thread.start()
        thread.join()
        assert seen[1] == current_precision() == "tf32"
        with knet.precision("highest"):
            assert current_precision() == "highest"
    finally:
        knet.set_precision("highest")


def test_unknown_names():
    for set_ in (knet.set_precision, lambda name: knet.precision(name).__enter__()):
        with pytest.raises(ValueError, match="name='fast': it must be 'highest' or 'tf32'"):
            set_("fast")
    assert current_precision() == "highest"


@pytest.mark.parametrize("setting, want", [("tf32", "tf32"), ("", "highest"), ("half", "ArgumentError")])
def test_the_environment(setting, want):
    script = "from knet.core.precisions import current_precision; print(current_precision())"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"KNET_PRECISION": setting}, capture_output=True, text=True
    )
    assert want in done.stdout + done.stderr and ("KNET_PRECISION" in done.stderr) == (setting == "half")
