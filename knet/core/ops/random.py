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
from .special import scipy_function

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_BUMPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_MASK = 0xFFFFFFFF

SPLIT, FOLD_IN, GAMMA, POISSON = 1, 2, 3, 4  # tags in the last word of a counter


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


# --- rejection samplers: element i of a draw owns the blocks of counters (i, round, 0, tag), so that its numbers depend
# on the key and on i alone, whatever the others need. Each round works on the elements not yet accepted. -------------

_ROUNDS = 64  # at an acceptance of 0.7 and more, all but 2 ** -111 of the elements are done by then


class _Elements:
    """The elements of a draw, flat: for each its number and its key."""

    def __init__(self, key: Any, parameter: Any, tag: int) -> None:
        lead = size_of(key.shape[:-1])
        count = parameter.size // max(lead, 1)
        self.place = np.tile(np.arange(count, dtype=np.uint64), lead)
        self.key = tuple(np.repeat(np.ravel(key[..., i]), count) for i in (0, 1))
        self.tag = np.uint64(tag)

    def uniforms(self, which: Any, round_: int) -> list[Any]:
        """Four float64 numbers in (0, 1) for each of the elements named, on a grid of 2 ** -53 (at half places)."""
        counter = (self.place[which], np.uint64(round_), np.uint64(0), self.tag)
        words = philox(counter, (self.key[0][which], self.key[1][which]))
        return [((w >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52 for w in words]


def _parameter_aval(dtype: np.dtype[Any]) -> Any:
    def aval(key: Any, parameter: Any) -> ShapedArray:
        _check_key(key)
        return ShapedArray(parameter.shape, dtype)

    return aval


def _parameter_batch(primitive: Any, args: Any, batched: Any, size: int) -> Any:
    return primitive(*[batching.spread(x, b, size) for x, b in zip(args, batched)])


@primitive(
    aval=_parameter_aval(dtypes.float64),
    vjp=("a key has no derivative", "knet.random.loggamma attaches the implicit derivative"),
    batch=_parameter_batch,
)
def random_loggamma(key: Any, a: Any) -> Any:
    """Logarithms of numbers from the gamma distribution of shape a and scale 1; NaN unless 0 < a < inf.

    Marsaglia and Tsang's method for a >= 1, which accepts more than 0.95 of its proposals; for a < 1 the logarithm of a
    uniform number, divided by a, is added to the result for a + 1. In float64 throughout.

    key: uint64 [*B, 2], a: real [*B, ...]. Returns float64 of a's shape.

    Reference: Marsaglia, Tsang 2000, "A simple method for generating gamma variables".
    """
    elements, shape = _Elements(key, a, GAMMA), np.ravel(a).astype(np.float64)
    valid = (shape > 0) & np.isfinite(shape)
    boosted = valid & (shape < 1)
    d = np.where(valid, shape + boosted, 1.0) - 1 / 3
    c = 1 / np.sqrt(9 * d)
    y = np.where(valid, np.log(d), np.nan)
    left = np.flatnonzero(valid)
    for round_ in range(_ROUNDS):
        u0, u1, u2, u3 = elements.uniforms(left, round_)
        if round_ == 0:
            boost = np.zeros_like(y)
            boost[left] = np.log(u3) / shape[left]
        z = np.sqrt(-2 * np.log(u0)) * np.cos(2 * np.pi * u1)
        root = 1 + c[left] * z
        possible = root > 0
        log_v = 3 * np.log(np.where(possible, root, 1.0))
        accepted = possible & (np.log(u2) < 0.5 * z * z + d[left] * (1 - root**3 + log_v))
        y[left[accepted]] += log_v[accepted]
        left = left[~accepted]
        if not left.size:
            break
    return np.where(boosted, y + boost, y).reshape(np.shape(a))


def _poisson_by_search(u: Any, rate: Any) -> Any:
    """Smallest k whose distribution function reaches u, for rates below 10."""
    k = np.zeros_like(rate)
    p = np.exp(-rate)
    total = p.copy()
    for i in range(1, 100):
        above = u > total
        if not above.any():
            break
        k += above
        p = p * rate / i
        total += p
    return k


def _poisson_by_rejection(elements: _Elements, left: Any, rate: Any) -> Any:
    """Hoermann's transformed rejection with squeeze (PTRS), for rates of 10 and more; accepts more than 0.7."""
    gammaln = scipy_function("gammaln")
    k = np.floor(rate)
    for round_ in range(_ROUNDS):
        u, v, *_ = elements.uniforms(left, round_)
        mean = rate[left]
        b = 0.931 + 2.53 * np.sqrt(mean)
        a = -0.059 + 0.02483 * b
        u = u - 0.5
        edge = 0.5 - np.abs(u)
        proposal = np.floor((2 * a / edge + b) * u + mean + 0.43)
        quick = (edge >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
        possible = (proposal >= 0) & ~((edge < 0.013) & (v > edge))
        n = np.maximum(proposal, 0)
        hat = np.log(v * (1.1239 + 1.1328 / (b - 3.4)) / (a / edge**2 + b))
        accepted = quick | (possible & (hat <= n * np.log(mean) - mean - gammaln(n + 1)))
        k[left[accepted]] = proposal[accepted]
        left = left[~accepted]
        if not left.size:
            break
    return k


@primitive(
    aval=_parameter_aval(dtypes.int64),
    vjp=("a key has no derivative", "a count has no derivative"),
    batch=_parameter_batch,
)
def random_poisson(key: Any, rate: Any) -> Any:
    """Counts from the Poisson distribution.

    key: uint64 [*B, 2], rate: float [*B, ...] in [0, 2 ** 53]. Returns int64 of rate's shape; -1 for other rates.

    Reference: Hoermann 1993, "The transformed rejection method for generating Poisson random variables".
    """
    elements, mean = _Elements(key, rate, POISSON), np.ravel(rate).astype(np.float64)
    valid = (mean >= 0) & (mean <= 2.0**53)
    small = valid & (mean < 10)
    large = np.flatnonzero(valid & ~small)
    k = _poisson_by_rejection(elements, large, np.where(valid, mean, 0.0))
    few = np.flatnonzero(small)
    k[few] = _poisson_by_search(elements.uniforms(few, 0)[0], mean[few])
    k[~valid] = -1
    return k.reshape(np.shape(rate)).astype(np.int64)
