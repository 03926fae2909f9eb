"""The list of tests that are skipped with another default backend: each entry means a test, and says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from exceptions import EXCEPTIONS, reason_to_skip

ROOT = Path(__file__).parents[2]
PATTERNS = sorted({pattern for patterns in EXCEPTIONS.values() for pattern in patterns})


@pytest.fixture(scope="module")
def tests():
    """Ids of all tests in the files that the list names."""
    files = sorted({pattern.partition("::")[0] for pattern in PATTERNS})
    if not files:
        return []
    missing = [file for file in files if not (ROOT / file).is_file()]
    assert not missing, f"the list names files that do not exist: {missing}"
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", "-m", "", *files]
    got = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert got.returncode == 0, got.stdout + got.stderr
    return got.stdout.split("\n")


def test_an_entry_means_a_test(tests):
    stale = [pattern for pattern in PATTERNS if not any(reason_to_skip({pattern: "Listed."}, test) for test in tests)]
    assert not stale, f"no test has such an id: {stale}"


@pytest.mark.parametrize("backend", EXCEPTIONS)
def test_an_entry_says_why(backend):
    for pattern, reason in EXCEPTIONS[backend].items():
        assert reason[0].isalpha() and reason.endswith(".") and len(reason.split()) >= 5, f"{pattern}: {reason!r}"


def test_a_star_is_any_text_and_brackets_are_brackets():
    patterns = {"tests/a.py::test_b[[]*]": "This is any text.", "tests/a.py::test_c": "This is one test."}
    assert reason_to_skip(patterns, "tests/a.py::test_b[[]1-x]") == "This is any text."
    assert reason_to_skip(patterns, "tests/a.py::test_c") == "This is one test."
    assert reason_to_skip(patterns, "tests/a.py::test_c[1]") is None
    assert reason_to_skip(patterns, "tests/a.py::test_b[1]") is None
