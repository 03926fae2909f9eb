"""exponent and ldexp against their bodies, subnormal numbers, infinities and NaN among them."""

import numpy as np
import pytest
from standin import TARGETS, run

from knet.compiler.kernels.exponents import GENERATORS
from knet.core import dtypes
from knet.core.ops import special

from .thorough import combinations

FLOATS = ["float16", "bfloat16", "float32", "float64"]


def numbers(dtype):
    """Numbers of every exponent."""
    dtype = dtypes.canonical(dtype)
    bits = np.random.default_rng(0).integers(0, 256, 2000 * dtype.itemsize, np.uint8).view(dtype)
    with np.errstate(all="ignore"):
        small = np.ldexp(1.5, np.arange(-1080, -100, 3)).astype(dtype)
    return np.concatenate([bits, small, np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -8]).astype(dtype)])


def expected(op, *arrays):
    with np.errstate(all="ignore"):  # some of the bits are signalling NaN
        return op.body(*arrays)


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_exponent(form, dtype):
    x = numbers(dtype)
    (y,), _ = run(GENERATORS["exponent"], special.exponent, [x], {}, TARGETS[form], False)
    np.testing.assert_array_equal(y, expected(special.exponent, x))
    base = x[:600].reshape(30, 20)
    (y,), _ = run(GENERATORS["exponent"], special.exponent, [base.T[::2]], {}, TARGETS[form], True, [base])
    np.testing.assert_array_equal(y, expected(special.exponent, base.T[::2]))


@pytest.mark.parametrize(
    "whole, dtype, form",
    combinations(
        ["int32", "int64", "uint8", "uint64"], FLOATS, TARGETS,
        default=lambda whole, dtype, _form: dtype == "float32" or whole == "int64",
    ),
)  # fmt: skip
def test_ldexp(whole, dtype, form):
    x = numbers(dtype)[:, None]
    n = np.array([0, 1, 3, 50, 120] + ([-1, -20, -140, -1060] if whole[0] == "i" else [])).astype(whole)
    n = np.append(n, np.iinfo(whole).max).astype(whole)
    (y,), _ = run(GENERATORS["ldexp"], special.ldexp, [x, n], {}, TARGETS[form], False)
    y, right = (v.astype("float64") for v in (y, expected(special.ldexp, x, n)))  # NumPy's bfloat16 NaN equals none
    np.testing.assert_array_equal(y, right)
