"""The NumPy body of each primitive, which is its specification, against an independent oracle and at special points."""

from __future__ import annotations

import numpy as np
import pytest
from catalog import FLOATS, ROWS, assert_within_ulp, aval, each, expected, special_case

import knet.numpy as knp

EXACT = (knp.float64, knp.float32)


def dtypes_of(row):
    """What a body takes without conversion: single and double precision, or whatever else the row has."""
    return [d for d in EXACT if d in row.dtypes] or row.dtypes


@pytest.mark.parametrize("name", ROWS)
def test_body_computes_what_the_oracle_says(name):
    row = ROWS[name]
    for dtype in dtypes_of(row):
        for case in row.cases:
            arrays = case.draw(dtype, name)
            rules = each(aval(row, arrays, case.params))
            results = each(row.primitive.body(*arrays, **case.params))
            for got, rule in zip(results, rules, strict=True):
                assert got.dtype == rule.dtype, (
                    f"{name}({case}): the body returns {got.dtype}, the rule says {rule.dtype}"
                )
                assert got.shape == rule.shape, (
                    f"{name}({case}): the body returns {got.shape}, the rule says {rule.shape}"
                )
            for got, want, scale in zip(results, *expected(row, case, arrays, rules[0].dtype), strict=True):
                assert_within_ulp(got, want, row.ulp, scale, f"{name}({case})")


@pytest.mark.parametrize("name", ROWS)
def test_body_leaves_its_operands_alone(name):
    row = ROWS[name]
    for case in row.cases:
        arrays = case.draw(dtypes_of(row)[0], name)
        copies = [a.copy() for a in arrays]
        for a in arrays:
            a.flags.writeable = False
        row.primitive.body(*arrays, **case.params)
        for a, b in zip(arrays, copies, strict=True):
            assert np.array_equal(a, b), f"{name}({case}) writes into an operand"


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.special])
def test_special_points(name):
    row = ROWS[name]
    for point, want in row.special:
        arrays, params = special_case(row, point, knp.float64)
        with np.errstate(all="ignore"):
            got = row.primitive.body(*arrays, **params)
        assert_special(got, want, row.ulp, f"{name}{point}")


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.special])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_special_points_on_each_backend(name, dtype, backend):
    row = ROWS[name]
    for point, want in row.special:
        arrays, params = special_case(row, point, dtype)
        with np.errstate(all="ignore"):
            got = np.asarray(row.primitive(*map(knp.asarray, arrays), **params))
        assert_special(got, want, row.ulp, f"{name}{point}")


def assert_special(got, want, ulp, label):
    """Within ulp of want, and of the same sign where want is zero."""
    want = np.asarray(want)
    assert_within_ulp(got, want, ulp, label=label)
    if want.dtype.kind == "f":
        zero = want == 0
        signs = np.signbit(np.asarray(got).astype(float))
        assert np.array_equal(signs[zero], np.signbit(want)[zero]), (
            f"{label}: {got}, the sign of zero differs from {want}"
        )
