"""Random bits from a counter: Philox-4x64-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as
1, 2, 3").

A key is two 64-bit words. Block b of a stream is the Philox function of counter (b + 1, 0, 0, 0), which is what
numpy.random.Philox computes; derived keys use counters whose last word is a tag, so they never meet the stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import batching, dtypes, errors
from ..aval import Shape, ShapedArray, broadcast_shapes, size_of
from ..primitive import primitive

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_BUMPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_MASK = 0xFFFFFFFF

SPLIT, FOLD_IN = 1, 2  # tags in the last word of a counter


def _wide_product(a: int, b: Any) -> tuple[Any, Any]:
    """High and low 64 bits of the product of a constant and a uint64 array."""
    a_high, a_low = np.uint64(a >> 32), np.uint64(a & _MASK)
    b_high, b_low = b >> np.uint64(32), b & np.uint64(_MASK)
    middle = a_high * b_low + (a_low * b_low >> np.uint64(32))
    carry = (middle & np.uint64(_MASK)) + a_low * b_high
    return a_high * b_high + (middle >> np.uint64(32)) + (carry >> np.uint64(32)), np.uint64(a) * b


@np.errstate(over="ignore")  # arithmetic is modulo 2**64, also where NumPy has scalars and would warn
def philox(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Ten rounds of Philox-4x64 on uint64 arrays that broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for round_ in range(10):
        if round_:
            k0, k1 = k0 + np.uint64(_BUMPS[0]), k1 + np.uint64(_BUMPS[1])
        high0, low0 = _wide_product(_MULTIPLIERS[0], c0)
        high1, low1 = _wide_product(_MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3


def _check_key(key: Any) -> None:
    if key.dtype != dtypes.uint64 or not key.shape or key.shape[-1] != 2:
        raise errors.key_expected(key)


def _bits_aval(key: Any, *, shape: Shape, dtype: Any) -> ShapedArray:
    _check_key(key)
    return ShapedArray((*key.shape[:-1], *shape), dtype)


def unpack(words: Any, shape: Shape, dtype: Any) -> Any:
    """[..., W] words as ``shape`` numbers of ``dtype``: of each word the low half first."""
    size = size_of(shape)
    if dtype == dtypes.uint32:
        words = np.ascontiguousarray(words).astype("<u8", copy=False).view("<u4")
    return words[..., :size].reshape((*words.shape[:-1], *shape)).astype(dtype, copy=False)


def blocks(shape: Shape, dtype: Any) -> int:
    """Blocks of 256 bits that ``shape`` numbers of ``dtype`` take."""
    return -(-size_of(shape) * dtype.itemsize // 32)


@primitive(aval=_bits_aval, vjp="random bits have no derivative", batch=batching.shifted(lambda _size, **p: p))
def random_bits(key: Any, *, shape: Shape, dtype: Any) -> Any:
    """Uniformly random bits.

    key: uint64 [..., 2]; each key has a stream of its own. Returns [..., *shape] of ``dtype``, uint32 or uint64.
    """
    counter = np.arange(1, blocks(shape, dtype) + 1, dtype=np.uint64)
    zero = np.zeros((), np.uint64)
    k0, k1 = key[..., 0, None], key[..., 1, None]
    words = np.stack(np.broadcast_arrays(*philox((counter, zero, zero, zero), (k0, k1))), axis=-1)
    return unpack(words.reshape(*key.shape[:-1], 4 * blocks(shape, dtype)), shape, dtype)


def _derive_aval(key: Any, data: Any, *, tag: int) -> ShapedArray:
    _check_key(key)
    shape = broadcast_shapes(key.shape[:-1], data.shape)
    if shape is None:
        raise errors.broadcast("fold_in", ("key", "data"), (key, data))
    return ShapedArray((*shape, 2), dtypes.uint64)


def _derive_batch(primitive: Any, args: Any, batched: Any, size: int, **params: Any) -> Any:
    ndim = max(batching.rank(args[0], batched[0]) - 1, batching.rank(args[1], batched[1]))
    key = batching.align(args[0], batched[0], ndim + 1)
    return primitive(key, batching.align(args[1], batched[1], ndim), **params)


@primitive(aval=_derive_aval, vjp="a key has no derivative", batch=_derive_batch)
def derive_key(key: Any, data: Any, *, tag: int) -> Any:
    """New keys from a key and integers.

    key: uint64 [..., 2], data: integer [...]; all but the key's last axis broadcast. Returns uint64 [..., 2].
    """
    zero = np.zeros((), np.uint64)
    words = philox(
        (np.asarray(data).astype(np.uint64), zero, zero, np.asarray(tag, np.uint64)), (key[..., 0], key[..., 1])
    )
    return np.stack(np.broadcast_arrays(*words[:2]), axis=-1)
