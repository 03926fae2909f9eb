"""Which combinations of a test's parameters run by default; the others are marked slow.

Each kernel text costs a driver for CPUs about 0.15 s. By default every case runs in both forms with sizes as literals;
sizes as parameters, and each further dtype, run in cases that stand for the rest. All of them:
``pytest -m "slow or not slow" tests/compiler/kernels``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest


def thorough(cases: Iterable[tuple], default: Callable[..., Any]) -> list[Any]:
    """Cases as they are where ``default(*case)`` is true, marked slow where it is not."""
    kept = [(case, default(*case)) for case in cases]
    assert any(keep for _, keep in kept), "nothing would run by default"
    return [case if keep else pytest.param(*case, marks=pytest.mark.slow) for case, keep in kept]


def combinations(*axes: Iterable[Any], default: Callable[..., Any]) -> list[Any]:
    """Every combination of some parameters, as :func:`thorough` marks them."""
    return thorough(itertools.product(*axes), default)
