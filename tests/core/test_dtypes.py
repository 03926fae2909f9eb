"""The promotion lattice, and names of dtypes."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core.dtypes import canonical, promote

NAMES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128".split()
ALL = [*map(np.dtype, NAMES), knp.bfloat16]
SIGNED = [d for d in ALL if d.kind == "i"]
U64 = np.dtype("uint64")


def meet(a, b):
    """The promoted dtype, or None where there is none."""
    try:
        return promote(a, b)
    except knet.errors.DTypeError:
        return None


def rank(d):
    return "biufc".index("f" if d == knp.bfloat16 else d.kind) - (d.kind in "ufc" or d == knp.bfloat16)


def test_promotion_commutes_and_keeps_equals():
    for a, b in itertools.product(ALL, ALL):
        assert meet(a, b) == meet(b, a), f"{a} with {b}"
    for a in ALL:
        assert promote(a, a) == a


def test_a_result_promotes_with_its_operands_to_itself():
    for a, b in itertools.product(ALL, ALL):
        c = meet(a, b)
        assert c is None or (meet(a, c) == c and meet(b, c) == c) or c.kind in "fcV", f"{a} with {b} is {c}"


def test_promotion_is_associative_within_a_kind():
    for group in ("b", "iu", "fV", "c"):
        dtypes = [d for d in ALL if d.kind in group]
        for a, b, c in itertools.product(dtypes, dtypes, dtypes):
            ab, bc = meet(a, b), meet(b, c)
            if ab is None or bc is None or meet(ab, c) is None or meet(a, bc) is None:
                continue  # uint64 with a signed type: no answer on either way is none to compare
            assert meet(ab, c) == meet(a, bc), f"{a}, {b}, {c}"


def test_the_higher_kind_wins_with_its_own_width():
    for a, b in itertools.product(ALL, ALL):
        if rank(a) < rank(b) and not (a == knp.float64 and b == knp.complex64):
            assert promote(a, b) == b, f"{a} with {b}"
    assert promote(knp.float64, knp.complex64) == knp.complex128


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [
        ("int64", "float32", "float32"), ("int64", "float16", "float16"), ("uint64", "bfloat16", "bfloat16"),
        ("float16", "bfloat16", "float32"), ("bfloat16", "float32", "float32"), ("bfloat16", "float64", "float64"),
        ("float16", "float32", "float32"), ("float32", "float64", "float64"), ("int8", "uint8", "int16"),
        ("int32", "uint32", "int64"), ("int8", "uint16", "int32"), ("bool", "int8", "int8"), ("bool", "bool", "bool"),
        ("bool", "float16", "float16"), ("float32", "complex64", "complex64"), ("int64", "complex64", "complex64"),
        ("uint8", "uint32", "uint32"), ("uint8", "int64", "int64"), ("complex64", "complex128", "complex128"),
    ],
)  # fmt: skip
def test_table_of_promotions(a, b, want):
    assert promote(canonical(a), canonical(b)) == canonical(want)
    assert knp.result_type(a, b) == canonical(want)
    x, y = knp.ones(2, dtype=a), knp.ones(2, dtype=b)
    assert (x * y).dtype == canonical(want) and np.asarray(x * y).dtype == canonical(want)


@pytest.mark.parametrize("signed", SIGNED, ids=str)
def test_no_integer_holds_uint64_and_a_signed_one(signed):
    with pytest.raises(knet.errors.DTypeError, match=r"promotion: .*int64.*no data type holds both"):
        promote(U64, signed)
    with pytest.raises(knet.errors.DTypeError):
        knp.ones(2, dtype=U64) + knp.ones(2, dtype=signed)


def test_agrees_with_numpy_inside_a_kind():
    for group in ("iu", "f", "c"):
        for a, b in itertools.product([d for d in ALL if d.kind in group], repeat=2):
            want = np.promote_types(a, b)
            if group != "iu" or want.kind in "iu":
                assert promote(a, b) == want


def test_scalars():
    for dtype, scalar, want in (
        ("float16", float, "float16"), ("float16", int, "float16"), ("bfloat16", float, "bfloat16"),
        ("float32", bool, "float32"),
        ("int8", int, "int8"), ("int8", float, "float32"), ("int64", float, "float32"), ("bool", int, "int64"),
        ("bool", bool, "bool"), ("bool", float, "float32"), ("int32", complex, "complex64"),
        ("float64", complex, "complex128"),
        ("complex64", float, "complex64"), ("complex128", complex, "complex128"), ("uint8", bool, "uint8"),
    ):  # fmt: skip
        x = knp.ones(2, dtype=dtype)
        assert (x * scalar(1)).dtype == canonical(want), f"{dtype} array times {scalar.__name__}"
        assert (scalar(1) * x).dtype == canonical(want)


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("float32", "float32"), (float, "float32"), (int, "int64"), (bool, "bool"), (complex, "complex64"),
        (np.float64, "float64"), (np.dtype(">i4"), "int32"), ("<f8", "float64"), ("bfloat16", "bfloat16"),
        (ml_dtypes.bfloat16, "bfloat16"),
        (np.int8, "int8"),
        (knp.uint16, "uint16"), ("f4", "float32"), (np.single, "float32"),
    ],
    ids=str,
)  # fmt: skip
def test_names(name, want):
    got = canonical(name)
    assert got == (knp.bfloat16 if want == "bfloat16" else np.dtype(want))
    assert got is canonical(want), "canonical dtypes are compared by identity"
    assert knp.zeros(1, dtype=name).dtype is got


@pytest.mark.parametrize(
    "name", ["float33", "U5", object, str, np.longdouble, "datetime64[s]", 3, None.__class__], ids=repr
)
def test_what_is_no_dtype(name):
    if name is np.longdouble and np.dtype(np.longdouble) == np.float64:
        pytest.skip("long double is double here")
    with pytest.raises(knet.errors.DTypeError, match=r"\n  fix: "):
        knp.zeros(1, dtype=name)


def test_arrays_of_unsupported_dtypes():
    for x in (np.array(["a"]), np.array([object()]), np.array([1], np.longdouble), np.array(["2020"], "datetime64[Y]")):
        if x.dtype != np.float64:
            with pytest.raises(knet.errors.DTypeError):
                knp.asarray(x)
