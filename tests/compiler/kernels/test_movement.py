"""Copies of every dtype, shape and order, and what is made of them."""

import numpy as np
import pytest
from standin import TARGETS, Lowering

from knet.compiler.kernels.movement import copy
from knet.core import dtypes

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


@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (37, 2, 67), (5, 41, 130)])
def test_copy_of_views(form, literal, shape):
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
