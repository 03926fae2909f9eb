"""Each primitive on each backend in each dtype: value, dtype, shape and exceptions are those of the specification."""

from __future__ import annotations

import numpy as np
import pytest
from catalog import BOOL, DTYPES, ROWS, assert_within_ulp, aval, each, expected, kind

import knet.numpy as knp
from knet.core.errors import DTypeError

CELLS = [pytest.param(name, dtype, id=f"{name}-{dtype}") for name, row in ROWS.items() for dtype in row.dtypes]


@pytest.mark.parametrize(("name", "dtype"), CELLS)
def test_value_dtype_and_shape(name, dtype, backend):
    row = ROWS[name]
    for case in row.cases:
        arrays = case.draw(dtype, name)
        rules = each(aval(row, arrays, case.params))
        results = each(row.primitive(*map(knp.asarray, arrays), **case.params))
        assert len(results) == len(rules)
        for got, rule, want, scale in zip(results, rules, *expected(row, case, arrays, rules[0].dtype), strict=True):
            assert got.shape == rule.shape, f"{name}({case}) has shape {got.shape}, its rule says {rule.shape}"
            assert got.dtype == rule.dtype, f"{name}({case}) has dtype {got.dtype}, its rule says {rule.dtype}"
            assert got.device.backend.name == backend
            host = np.asarray(got)
            assert host.dtype == rule.dtype, f"{name}({case}) holds {host.dtype} and claims {rule.dtype}"
            assert_within_ulp(host, want, row.ulp, scale, f"{name}({case})")


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.bad])
def test_operands_that_do_not_fit_raise(name, backend):
    row = ROWS[name]
    for case, error in row.bad:
        arrays = case.draw(row.dtypes[-1] if row.dtypes[-1] != BOOL else row.dtypes[0], name)
        with pytest.raises(error, match=r"(?s)\S.*\n  fix: \S"):
            row.primitive(*map(knp.asarray, arrays), **case.params)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.elementwise and row.rejected])
def test_dtypes_that_are_not_accepted_raise(name, backend):
    row = ROWS[name]
    for dtype in row.rejected:
        arrays = [knp.zeros((2,), dtype=dtype)] * len(row.grads)
        with pytest.raises(DTypeError, match=f"{name}.* accepts .*\n  fix: "):
            row.primitive(*arrays)


@pytest.mark.parametrize("name", [n for n, r in ROWS.items() if r.elementwise and "f" in r.kinds and len(r.grads) == 2])
@pytest.mark.parametrize("dtype", [d for d in DTYPES if kind(d) == "f"], ids=str)
def test_python_scalars_take_the_dtype_of_the_array(name, dtype, backend):
    primitive = ROWS[name].primitive
    x = knp.asarray(np.array([0.5, 1.5, 3.0]).astype(dtype))
    for scalar in (2.0, 2):
        other = knp.full((), 2.0, dtype=dtype)
        for got, want in ((primitive(x, scalar), primitive(x, other)), (primitive(scalar, x), primitive(other, x))):
            assert got.dtype == want.dtype and got.shape == (3,)
            assert np.array_equal(np.asarray(got), np.asarray(want)), (
                f"{name}: {got} for the scalar, {want} for the array"
            )
