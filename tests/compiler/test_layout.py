"""Strided references against NumPy's own: chains of random views have the same elements, without a copy."""

from __future__ import annotations

import numpy as np
import pytest

from knet.compiler.graph import Node, Value
from knet.compiler.layout import Buffer, Ref, dense_strides, reshaped, unstacked, view
from knet.core import ShapedArray
from knet.core.ops import shape

BASE = np.arange(4000, dtype=np.int32)


def whole(sizes, offset=0):
    """A dense reference into BASE, and the same elements as NumPy's."""
    size = int(np.prod(sizes))
    ref = Ref(Buffer("input", 0, BASE.nbytes, BASE.dtype), tuple(sizes), None, offset)
    return ref, BASE[offset : offset + size].reshape(sizes)


def elements(ref):
    """What a reference refers to, by its definition."""
    index = np.full(ref.shape, ref.offset)
    for axis, (n, step) in enumerate(zip(ref.shape, ref.strides, strict=True)):
        index += (np.arange(n) * step).reshape([n if i == axis else 1 for i in range(len(ref.shape))])
    return BASE[index]


def node(op, ref, **params):
    x = Value(ShapedArray(ref.shape, ref.dtype))
    return Node(op, [x], params, [op.aval(x.aval, **params)])


def permuted(rng, ref, a):
    axes = tuple(int(i) for i in rng.permutation(a.ndim))
    return node(shape.permute, ref, axes=axes), a.transpose(axes)


def flipped(rng, ref, a):
    axis = tuple(i for i in range(a.ndim) if rng.random() < 0.5)
    return node(shape.flip, ref, axis=axis), np.flip(a, axis)


def cut(rng, ref, a):
    starts, sizes, steps = [], [], []
    for n in a.shape:
        start = int(rng.integers(n))
        step = int(rng.integers(1, 4))
        starts.append(start)
        steps.append(step)
        sizes.append(int(rng.integers(1, (n - start - 1) // step + 2)))
    parts = tuple(slice(s, s + (n - 1) * k + 1, k) for s, n, k in zip(starts, sizes, steps))
    return node(shape.slice_axes, ref, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps)), a[parts]


def repeated(rng, ref, a):
    lead = [int(n) for n in rng.integers(1, 4, int(rng.integers(3)))]
    target = (*lead, *(int(rng.integers(1, 4)) if n == 1 else n for n in a.shape))
    return node(shape.broadcast_to, ref, shape=target), np.broadcast_to(a, target)


def recut(rng, ref, a):
    n, sizes = a.size, []
    while n > 1:
        k = int(rng.choice([k for k in range(1, n + 1) if n % k == 0]))
        sizes.append(k)
        n //= k
    for _ in range(int(rng.integers(3))):
        sizes.insert(int(rng.integers(len(sizes) + 1)), 1)
    return node(shape.reshape, ref, shape=tuple(sizes)), a.reshape(sizes)


@pytest.mark.parametrize("seed", range(150))
def test_chains_of_views_are_those_of_numpy(seed):
    rng = np.random.default_rng(seed)
    ref, a = whole([int(n) for n in rng.choice([1, 2, 3, 4, 6], int(rng.integers(5)))], int(rng.integers(20)))
    for _ in range(6):
        step = (permuted, flipped, cut, repeated, recut)[int(rng.integers(5))]
        if a.size > 300:
            step = cut
        made, b = step(rng, ref, a)
        result = view(made, ref)
        if result is None:
            assert step is recut
            assert not np.shares_memory(b, BASE), "NumPy needs no copy either"
            continue
        assert result.shape == b.shape and result.buffer is ref.buffer
        np.testing.assert_array_equal(elements(result), b)
        assert result.dense == (b.flags.c_contiguous and not _has_zero_stride(b))
        ref, a = result, b


def _has_zero_stride(a):
    return any(s == 0 and n > 1 for s, n in zip(a.strides, a.shape))


@pytest.mark.parametrize("seed", range(30))
def test_unstack_is_a_list_of_slices(seed):
    rng = np.random.default_rng(seed)
    ref, a = whole([2, 3, 4], 5)
    made, a = permuted(rng, ref, a)
    ref = view(made, ref)
    axis = int(rng.integers(3))
    x = Value(ShapedArray(ref.shape, ref.dtype))
    rows = unstacked(Node(shape.unstack, [x], {"axis": axis}, []), ref)
    assert len(rows) == a.shape[axis]
    for k, row in enumerate(rows):
        np.testing.assert_array_equal(elements(row), a.take(k, axis))


def test_other_operations_are_no_views():
    ref, _ = whole([2, 3])
    x = Value(ShapedArray(ref.shape, ref.dtype))
    assert view(Node(shape.concatenate, [x, x], {"axis": 0}, [ShapedArray((4, 3), ref.dtype)]), ref) is None


def test_strides_and_density():
    assert dense_strides((2, 3, 4)) == (12, 4, 1) and dense_strides(()) == ()
    ref, _ = whole([6, 4])
    assert ref.dense and reshaped(ref, (3, 8)).strides == (8, 1)
    assert Ref(ref.buffer, (1, 4), (99, 1)).dense  # the stride of an axis of size 1 means nothing
    assert not Ref(ref.buffer, (2, 4), (8, 1)).dense
    assert reshaped(Ref(ref.buffer, (3, 4), (8, 1)), (12,)) is None
    assert reshaped(Ref(ref.buffer, (3, 4), (8, 2)), (12,)).strides == (2,)
    assert repr(Ref(ref.buffer, (2, 4), (8, 1))) == "input0[2, 4] strides [8, 1]"
