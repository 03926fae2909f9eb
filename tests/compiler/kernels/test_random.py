"""The bits of kernels are those that core.ops.random specifies."""

import numpy as np
import pytest
from standin import TARGETS, run

from knet.compiler.kernels.random import GENERATORS
from knet.core.ops import random as spec

from .thorough import combinations

BOTH = [(form, literal) for form in TARGETS for literal in (False, True)]


def keys(*shape):
    return np.random.default_rng(3).integers(0, 2**64, (*shape, 2), np.uint64)


@pytest.mark.parametrize(
    "sizes, dtype, form, literal",
    combinations(
        [((), ()), ((), (7,)), ((), (4099,)), ((3,), (5, 3)), ((2, 2), (8,)), ((), (0,))],
        ["uint32", "uint64"], TARGETS, (False, True),
        default=lambda sizes, dtype, _form, literal: sizes == ((3,), (5, 3)) or (literal and dtype == "uint32"),
    ),
)  # fmt: skip
def test_random_bits(sizes, dtype, form, literal):
    lead, shape = sizes
    params = {"shape": shape, "dtype": np.dtype(dtype)}
    (y,), _ = run(GENERATORS["random_bits"], spec.random_bits, [keys(*lead)], params, TARGETS[form], literal)
    np.testing.assert_array_equal(y, spec.random_bits.body(keys(*lead), **params))


@pytest.mark.parametrize("form, literal", BOTH)
def test_keys_of_any_strides(form, literal):
    base = keys(5, 4)
    params = {"shape": (3,), "dtype": np.dtype("uint64")}
    for view in (base[::2, ::-1], base.transpose(1, 0, 2), np.broadcast_to(base[:1], (5, 4, 2)), base[..., ::-1]):
        (y,), _ = run(GENERATORS["random_bits"], spec.random_bits, [view], params, TARGETS[form], literal, [base])
        np.testing.assert_array_equal(y, spec.random_bits.body(view, **params))


@pytest.mark.parametrize(
    "sizes, dtype, form, literal",
    combinations(
        [((), ()), ((), (301,)), ((3, 1), (4,)), ((3, 4), ())], ["int64", "int32", "uint8", "uint64"], TARGETS,
        (False, True),
        default=lambda sizes, dtype, _form, literal: dtype == "int64" if literal else sizes == ((3, 1), (4,)),
    ),
)  # fmt: skip
def test_derive_key(sizes, dtype, form, literal):
    lead, shape = sizes
    data = np.random.default_rng(1).integers(-100 if dtype[0] == "i" else 0, 100, shape).astype(dtype)
    data = np.asarray(data)
    (y,), _ = run(GENERATORS["derive_key"], spec.derive_key, [keys(*lead), data], {"tag": 2}, TARGETS[form], literal)
    np.testing.assert_array_equal(y, spec.derive_key.body(keys(*lead), data, tag=2))
