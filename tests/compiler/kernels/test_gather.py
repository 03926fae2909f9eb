"""Gathers and scatters of rows against the NumPy bodies: every bit, whatever the order in which items come."""

import numpy as np
import pytest
from standin import TARGETS, run

from knet.compiler.kernels.gather import GENERATORS
from knet.core import dtypes
from knet.core.ops import index, segment

from .thorough import combinations

BOTH = [(form, literal) for form in TARGETS for literal in (False, True)]
DTYPES = ["bool", "int8", "int64", "uint32", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"]


def numbers(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return np.asarray(
        rng.integers(-50, 50, shape) / (1 if np.dtype(dtypes.canonical(dtype)).kind in "biu" else 8)
    ).astype(dtypes.canonical(dtype))


def ids_of(shape, rows, dtype="int64", seed=1):
    low = 0 if dtype[0] == "u" else -rows
    return np.asarray(np.random.default_rng(seed).integers(low, rows, shape)).astype(dtype)


def check(op, arrays, params, form, literal, bases=None):
    (y,), lowering = run(GENERATORS[op.name], op, arrays, params, TARGETS[form], literal, bases)
    np.testing.assert_array_equal(y, op.body(*arrays, **params))
    assert not lowering.get(lowering.status()).any()
    return lowering


@pytest.mark.parametrize(
    "sizes, form, literal",
    combinations(
        [(1, (), ()), (7, (5,), (3,)), (97, (13, 3), (67,)), (5, (0,), (2,)), (41, (257,), ())], TARGETS,
        (False, True), default=lambda sizes, _form, literal: literal or sizes[0] == 97,
    ),
)  # fmt: skip
def test_take_and_put(sizes, form, literal):
    rows, ids, rest = sizes
    x, where = numbers((rows, *rest), "float32"), ids_of(ids, rows)
    u = numbers((*ids, *rest), "float32", 2)
    check(index.take, [x, where], {}, form, literal)
    check(index.wrap_index, [where], {"size": rows, "axis": 1}, form, literal)
    for op in (index.put, index.put_add):
        check(op, [x, where, u], {}, form, literal)


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(form, dtype):
    x, where, u = numbers((9, 5), dtype), ids_of((23,), 9), numbers((23, 5), dtype, 2)
    check(index.take, [x, where], {}, form, False)
    check(index.put, [x, where, u], {}, form, False)
    if dtypes.canonical(dtype).kind == "c":
        assert run(GENERATORS["put_add"], index.put_add, [x, where, u], {}, TARGETS[form], False)[0] is None
        return
    check(index.put_add, [x, where, u], {}, form, False)
    for largest in (False, True):
        check(segment.segment_extremum, [u, where % 7], {"count": 9, "largest": largest}, form, False)


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_dtypes_of_indices(form, dtype):
    x = numbers((50, 3), "float32")
    check(index.take, [x, ids_of((20,), 50, dtype)], {}, form, False)
    check(index.take, [x.astype(np.complex64), ids_of((20,), 50, dtype)], {}, form, True)


@pytest.mark.parametrize(
    "sizes, form, literal",
    combinations(
        [(65, 2048, 16), (3000, 300, 40), (3, 40, 1000), (600, 700, 1)], TARGETS, (False, True),
        default=lambda sizes, _form, literal: literal or sizes[0] == 65,
    ),
)  # fmt: skip
def test_sums_of_repeated_rows(sizes, form, literal):
    """Rows are added in the order of the indices: in float32 another order would give other digits."""
    rows, n, d = sizes
    rng = np.random.default_rng(5)
    x, u = (rng.standard_normal(s).astype(np.float32) for s in ((rows, d), (n, d)))
    where = rng.integers(0, min(rows, 20), n)
    lowering = check(index.put_add, [x, where, u], {}, form, literal)
    assert len(lowering.items) == 1
    check(index.put, [x, where, u], {}, form, literal)
    check(segment.segment_extremum, [u, where], {"count": rows, "largest": True}, form, literal)


@pytest.mark.parametrize("form, literal", BOTH)
def test_views(form, literal):
    base, rows = numbers((12, 10, 6), "float32"), ids_of((8, 6), 5)
    check(index.take, [base[::2, ::-1], rows.T[:, ::2]], {}, form, literal, [base, rows])
    check(index.take, [np.broadcast_to(base[:1, 0], (5, 6)), rows], {}, form, literal, [base, None])
    u = numbers((8, 6, 6), "float32", 3)
    check(index.put_add, [base[0, ::2], rows, u.transpose(0, 2, 1)], {}, form, literal, [base, None, u])


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("largest", [False, True])
def test_nan_of_a_segment(form, largest):
    x = numbers((40, 3), "float32")
    x[[3, 17], 1] = np.nan
    x[5, 2] = np.inf
    check(segment.segment_extremum, [x, ids_of((40,), 6) % 5], {"count": 6, "largest": largest}, form, False)


@pytest.mark.parametrize(
    "name, form, literal",
    combinations(
        ["take", "put", "put_add", "wrap_index", "segment_extremum"], TARGETS, (False, True),
        default=lambda name, _form, literal: literal or name in ("take", "put_add"),
    ),
)  # fmt: skip
def test_first_index_out_of_bounds(name, form, literal):
    where = ids_of((3000,), 9)
    where[[100, 700, 2999]] = 12, -10, 9
    x, u = numbers((9, 2), "float32"), numbers((3000, 2), "float32", 2)
    op, arrays, params = {
        "take": (index.take, [x, where], {}),
        "put": (index.put, [x, where, u], {}),
        "put_add": (index.put_add, [x, where, u], {}),
        "wrap_index": (index.wrap_index, [where], {"size": 9, "axis": 3}),
        "segment_extremum": (segment.segment_extremum, [u, where], {"count": 9, "largest": True}),
    }[name]
    _, lowering = run(GENERATORS[name], op, arrays, params, TARGETS[form], literal)
    status = lowering.get(lowering.status())
    assert status[0] > 0 and status[1:4].tolist() == [12, 9, 3 if name == "wrap_index" else 0]


@pytest.mark.parametrize("form", TARGETS)
def test_an_index_beyond_int64(form):
    where = np.array([1, 2**64 - 1], np.uint64)
    _, lowering = run(GENERATORS["take"], index.take, [numbers((9, 2), "float32"), where], {}, TARGETS[form], False)
    assert lowering.get(lowering.status())[1] == 2**63 - 1


@pytest.mark.parametrize("form", TARGETS)
def test_no_rows(form):
    _, lowering = run(
        GENERATORS["take"], index.take, [np.zeros((0, 2), "float32"), np.zeros(3, "int64")], {}, TARGETS[form], True
    )
    assert lowering.get(lowering.status())[2] == 0 and lowering.get(lowering.status())[0]
