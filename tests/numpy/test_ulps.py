"""Each public function against NumPy or SciPy, within the ulp bound of its row in tests/ulps.py."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from catalog import ROWS, assert_within_ulp
from hypothesis import given, settings
from hypothesis import strategies as st
from ulps import ELSEWHERE, F32, F64, OWN, TABLE

import knet.numpy as knp
from knet.core.array import Array

EXAMPLES = 15  # for each function; the whole file takes half a minute


def public():
    """Names of the public functions of knet.numpy and its extensions."""
    for prefix, module in (("", knp), ("linalg.", knp.linalg), ("fft.", knp.fft)):
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value) and not isinstance(value, type):
                yield prefix + name


def arranged(made):
    """Arguments and keywords of what a row's maker made."""
    return (made[0], made[1]) if isinstance(made, tuple) else (made, {})


def in_knet(value):
    if isinstance(value, list):
        return [in_knet(v) for v in value]
    return knp.asarray(value) if isinstance(value, np.ndarray) else value


def results(value):
    """The results as a list of NumPy arrays."""
    if isinstance(value, (tuple, list)) and any(isinstance(v, (np.ndarray, np.generic, Array, bool)) for v in value):
        return [np.asarray(v) for v in value]
    return [np.asarray(value)]


def bound(row):
    """The row's; of elementary functions that other backends than the CPU have of their own, the catalogue's."""
    own = ROWS.get(OWN.get(row.name, getattr(row.function, "name", "")))
    if own is None or not own.elementwise or knp.asarray(0.0).device.backend.name == "cpu":
        return row.ulp
    return max(row.ulp, own.ulp)


def check(row, args, params):
    """Knet's results are the oracle's, within the row's bound."""
    label = f"{row.name}({', '.join(map(repr, args))}, {params})"
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # NumPy's, of empty slices and their like
        want = results(row.want(*args, **params))
        got = row.function(*map(in_knet, args), **params)
        got = results(got if row.view is None else row.view(got, *args, **params))
        assert len(got) == len(want), f"{label}: {len(got)} results, the oracle has {len(want)}"
        for g, w in zip(got, want, strict=True):
            if row.dtypes:
                assert g.dtype == w.dtype, f"{label}: {g.dtype}, the oracle says {w.dtype}"
            scale = None if row.scale is None else row.scale(w, *args, **params)
            if scale is not None:
                scale = np.where(np.isfinite(scale), scale, 1)  # where the oracle is not finite, nor is the magnitude
            assert_within_ulp(g, w, bound(row), scale, label)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_within_the_stated_bound(row):
    @settings(max_examples=EXAMPLES)
    @given(st.data(), st.sampled_from([F32, F64]))
    def agrees(data, dtype):
        check(row, *arranged(row.make(data.draw, dtype)))

    agrees()


def test_every_public_function_has_one_row_or_a_reason():
    names = [row.name for row in TABLE]
    twice = {n for n in names if names.count(n) > 1}
    assert not twice, f"two rows for {sorted(twice)}"
    missing = set(public()) - set(names) - set(ELSEWHERE)
    assert not missing, f"neither a row in tests/ulps.py nor a reason for {sorted(missing)}"
    stale = (set(names) | set(ELSEWHERE)) - set(public())
    assert not stale, f"rows or reasons for what is not public: {sorted(stale)}"
    assert not set(names) & set(ELSEWHERE)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_has_a_reason_is_tested_where_it_says(name):
    reason, _, place = ELSEWHERE[name].rpartition("; ")
    assert len(reason.split()) >= 3
    assert name.rpartition(".")[2] in (Path(__file__).parents[1] / place).read_text(), f"{place} does not test {name}"


def test_bounds_are_bounds():
    for row in TABLE:
        assert 0 <= row.ulp <= 64, f"{row.name}: {row.ulp}"
        assert row.scale is None or row.ulp, f"{row.name}: a scale, and no error allowed"


@pytest.mark.parametrize("name", ["sin", "sum", "linalg.inv", "sort", "fft.fft"])
def test_a_result_that_is_off_is_found(on_cpu, name):
    (row,) = (r for r in TABLE if r.name == name)
    x = np.array([[2.5, 0.5], [0.25, 1.5]], F32)
    check(row, [x], {})

    class Off:
        want, ulp, scale, dtypes, name = row.want, row.ulp, row.scale, True, row.name
        view = staticmethod(lambda y, *_args, **_params: np.asarray(y) * (1 + 2 * (row.ulp + 1) * np.float32(2.0**-23)))
        function = row.function

    with pytest.raises(AssertionError, match="ulp"):
        check(Off, [x], {})
