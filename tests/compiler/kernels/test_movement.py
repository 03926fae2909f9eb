"""Copies of every dtype, shape and order, and what is made of them."""

import numpy as np
import pytest
from standin import TARGETS, Lowering, run

from knet.compiler.kernels.movement import GENERATORS, copy
from knet.core import dtypes
from knet.core.ops import shape as shape_ops

from .thorough import combinations

DTYPES = ["bool", "int8", "uint16", "float16", "bfloat16", "float32", "int64", "complex64", "complex128"]


def numbers(shape, dtype, seed=0):
    """Bytes that are all different patterns, as some dtype."""
    dtype = dtypes.canonical(dtype)
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape, dtype=int))
    return rng.integers(0, 256, size * dtype.itemsize, np.uint8).view(dtype).reshape(shape)


def views(x):
    """Views of an array of three axes that copies meet."""
    return {
        "itself": x,
        "turned": x.transpose(2, 1, 0),
        "rows": x.transpose(1, 0, 2),
        "last two": x.transpose(0, 2, 1),
        "flipped": x[::-1, :, ::-1],
        "every other": x[::2, 1:, ::3],
        "repeated": np.broadcast_to(x[:, :1], x.shape),
        "one element": np.broadcast_to(x[:1, :1, :1], x.shape),
        "a column": x[:, :, :1],
    }


@pytest.mark.parametrize(
    "shape, form, literal",
    combinations(
        [(1, 1, 1), (3, 5, 7), (37, 2, 67), (5, 41, 130)], TARGETS, (False, True),
        default=lambda shape, _form, literal: literal or shape in [(3, 5, 7), (5, 41, 130)],
    ),
)  # fmt: skip
def test_copy_of_views(shape, form, literal):
    x = numbers(shape, "int32")
    for name, view in views(x).items():
        lowering = Lowering(TARGETS[form], literal)
        base = numbers(view.shape, "int32", 1)
        y = lowering.put(base)
        copy(lowering, lowering.put(view, x), y)
        np.testing.assert_array_equal(lowering.get(y), view, err_msg=name)
        # and into such a view, the rest of which stays
        if 0 in view.strides:
            continue
        base = numbers(shape, "int32", 1)
        lowering = Lowering(TARGETS[form], literal)
        into = views(base)[name]
        whole = lowering.put(base)
        place = lowering.put(into, base)
        place.buffer = whole.buffer
        u = numbers(view.shape, "int32", 2)
        copy(lowering, lowering.put(u), place)
        into[...] = u
        np.testing.assert_array_equal(lowering.get(whole), base, err_msg=name)


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_copy_of_dtypes(form, dtype):
    x = numbers((3, 33, 70), dtype)
    for view in (x, x.transpose(2, 0, 1), x[:, ::-2]):
        lowering = Lowering(TARGETS[form], False)
        y = lowering.put(numbers(view.shape, dtype, 1))
        copy(lowering, lowering.put(view, x), y)
        assert lowering.get(y).tobytes() == view.tobytes()


@pytest.mark.parametrize("form", TARGETS)
def test_nothing_is_launched_for_no_elements(form):
    lowering = Lowering(TARGETS[form], True)
    x = numbers((3, 0), "float32")
    copy(lowering, lowering.put(x), lowering.put(x.copy()))
    assert not lowering.items


@pytest.mark.parametrize("form", TARGETS)
def test_one_kernel_serves_all_sizes(form):
    """Of eager copies of one structure: sizes are parameters."""
    sources = set()
    for shape in ((3, 40, 50), (7, 60, 33)):
        for axes in ((0, 1, 2), (0, 2, 1), (2, 1, 0)):
            lowering = Lowering(TARGETS[form], False)
            x = numbers(shape, "float32")
            view = x.transpose(axes)
            copy(lowering, lowering.put(view, x), lowering.put(np.zeros(view.shape, "float32")))
            sources.add(lowering.items[0].kernel.source)
    assert len(sources) == 3


def check(name, op, arrays, params, form, literal, bases=None):
    (y,), lowering = run(GENERATORS[name], op, arrays, params, TARGETS[form], literal, bases)
    assert y.tobytes() == np.ascontiguousarray(op.body(*arrays, **params)).tobytes()
    return lowering


BOTH = [(form, literal) for form in TARGETS for literal in (False, True)]
SLICES = [  # shape, sizes, starts, steps
    ((), (), (), ()),
    ((7,), (3,), (2,), (2,)),
    ((7,), (0,), (2,), (1,)),
    ((9,), (4,), (8,), (-2,)),
    ((4, 6), (4, 3), (0, 2), (1, 1)),
    ((5, 3, 40), (2, 3, 40), (4, 0, 0), (-3, 1, 1)),
    ((5, 3, 40), (5, 2, 13), (0, 0, 1), (1, 2, 3)),
    ((3, 0), (2, 0), (0, 0), (1, 1)),
]


@pytest.mark.parametrize(
    "case, form, literal",
    combinations(SLICES, TARGETS, (False, True), default=lambda case, _f, literal: literal or case in SLICES[-3:]),
)
def test_unslice_and_update_slice(case, form, literal):
    shape, sizes, starts, steps = case
    params = {"starts": starts, "steps": steps}
    x, u = numbers(shape, "int32"), numbers(sizes, "int32", 1)
    lowering = check("unslice", shape_ops.unslice, [u], {"shape": shape, **params}, form, literal)
    assert len(lowering.items) <= 1
    check("update_slice", shape_ops.update_slice, [x, u], params, form, literal)
    check("update_slice", shape_ops.update_slice, [x.T.copy().T, u], params, form, literal)


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_slices_of_dtypes(form, dtype):
    x, u = numbers((6, 9), dtype), numbers((4, 8), dtype, 1)
    params = {"starts": (3, 1), "steps": (-1, 1)}
    check("unslice", shape_ops.unslice, [u.T[:4, :4].repeat(2, 1)], {"shape": (6, 9), **params}, form, False)
    check("update_slice", shape_ops.update_slice, [x, u[::-1]], params, form, False, [None, u])
    check("concatenate", shape_ops.concatenate, [x, numbers((2, 9), dtype, 2), x], {"axis": 0}, form, False)


@pytest.mark.parametrize("form, literal", BOTH)
def test_concatenate(form, literal):
    x = numbers((4, 5, 6), "float32")
    for axis, other in ((0, (3, 5, 6)), (1, (4, 0, 6)), (2, (4, 5, 70))):
        y = numbers(other, "float32", 1)
        check("concatenate", shape_ops.concatenate, [x, y, np.broadcast_to(x[:1], x.shape)], {"axis": axis}, form,
              literal, [x, None, x])  # fmt: skip
