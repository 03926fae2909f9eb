"""Random numbers from explicit keys: the same key gives the same numbers, always.

A key is a uint64 array [2], made by :func:`key` from a seed. Nothing here has a state: a function of this module is a
pure function of its key, so a key is used once, and new ones come from :func:`split` or :func:`fold_in`::

    key, subkey = knet.random.split(key)
    x = knet.random.normal(subkey, (100, 784))

Every key names a stream of bits, those of ``numpy.random.Philox(key=key, counter=0)``: a counter-based generator
(Philox-4x64-10) whose 256-bit blocks are computed independently of one another, so every backend yields the same bits.
``uniform`` turns them into floats exactly; ``normal`` goes through log and cos, whose last bit depends on the backend.

Reference: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import numpy as knp
from .core import dtypes, errors
from .core.array import Array
from .core.aval import size_of
from .core.device import as_array, from_numpy
from .core.ops import creation, elementwise
from .core.ops import random as ops

__all__ = ["bernoulli", "bits", "fold_in", "key", "normal", "permutation", "randint", "split", "uniform"]

# Random bits in a float of [0, 1): as many as its significand holds, so that the conversion is exact.
_PRECISION = {dtypes.float16: 11, dtypes.bfloat16: 8, dtypes.float32: 24, dtypes.float64: 53}


def key(seed: int) -> Array:
    """Key for a seed: its low and its high 64 bits.

    Args:
      seed: integer in [0, 2**128).

    Returns:
      uint64 [2].

    Raises:
      ArgumentError: a seed outside the range, or no integer.

    Example:
      >>> import knet
      >>> knet.random.key(7)
      Array([7, 0], dtype=uint64)
    """
    if not isinstance(seed, (int, np.integer)) or not 0 <= int(seed) < 1 << 128:
        raise errors.argument(
            "random.key(seed)", "seed", seed, "a seed is an integer in [0, 2**128)", "pass such as knet.random.key(0)"
        )
    high, low = divmod(int(seed), 1 << 64)
    return from_numpy(np.array([low, high], np.uint64))


def split(key: Any, num: int = 2) -> Array:
    """New keys, independent of one another and of the stream of the old one, which should not be used again.

    Key i is half a block of the Philox function of key at a counter that no stream contains.

    Args:
      key: uint64 [2].
      num: how many, at least 0.

    Returns:
      uint64 [num, 2]; unpacks, as in ``key, subkey = split(key)``.

    Example:
      >>> import knet
      >>> weights, biases = knet.random.split(knet.random.key(0))
      >>> weights.shape
      (2,)
    """
    key = _checked(key)
    if not isinstance(num, (int, np.integer)) or num < 0:
        raise errors.argument("random.split(key, num)", "num", num, "an integer >= 0 is needed", "say how many keys")
    return ops.derive_key(key, creation.arange(int(num), dtypes.uint64, key.device), tag=ops.SPLIT)


def fold_in(key: Any, data: Any) -> Array:
    """New key from a key and an integer: a key for step ``data`` of a loop, say, without a chain of splits.

    Args:
      key: uint64 [2].
      data: integer, or an array of integers; negative ones count as data + 2**64. Different data, different keys.

    Returns:
      uint64 [2]; [*data.shape, 2] for an array.

    Raises:
      DTypeError: data that are no integers.

    Example:
      >>> import knet
      >>> knet.random.fold_in(knet.random.key(0), 3).shape
      (2,)
    """
    key = _checked(key)
    if isinstance(data, (int, np.integer)) and not isinstance(data, bool):
        data = from_numpy(np.asarray(int(data) & 0xFFFFFFFFFFFFFFFF, np.uint64), key.device)
    else:
        data = as_array(data, "random.fold_in")
        if data.dtype.kind not in "iu":
            raise errors.unsupported_dtype("fold_in", ("key", "data"), (key, data), "integers as data")
    return ops.derive_key(key, data, tag=ops.FOLD_IN)


def bits(key: Any, shape: int | Sequence[int] = (), dtype: Any = dtypes.uint32) -> Array:
    """Uniformly random bits, the words of ``numpy.random.Philox(key=key, counter=0)``, of each its low half first.

    Args:
      key: uint64 [2].
      shape: of the result.
      dtype: uint32 or uint64.

    Returns:
      ``shape``.

    Raises:
      DTypeError: no key, or another dtype.

    Example:
      >>> import knet
      >>> knet.random.bits(knet.random.key(0), (2,), "uint64").tolist()
      [213000021201967259, 4455796210202625458]
    """
    dtype = dtypes.canonical(dtype)
    if dtype not in (dtypes.uint32, dtypes.uint64):
        raise _wrong_dtype("bits", dtype, "uint32 or uint64")
    return ops.random_bits(_checked(key), shape=_shape("bits", shape), dtype=dtype)


def uniform(
    key: Any,
    shape: int | Sequence[int] = (),
    dtype: Any = dtypes.float32,
    minval: float = 0.0,
    maxval: float = 1.0,
) -> Array:
    """Numbers uniformly distributed over [minval, maxval).

    minval + (maxval - minval) u, where u in [0, 1) is a multiple of 2 ** -p: p random bits as an integer, times
    2 ** -p. p is 24 for float32, 53 for float64, 11 for float16, 8 for bfloat16.

    Args:
      key: uint64 [2].
      shape: of the result.
      dtype: floating.
      minval, maxval: finite numbers, minval < maxval in ``dtype``.

    Returns:
      ``shape``; each element >= minval and < maxval.

    Raises:
      DTypeError: no key, or no floating dtype. ArgumentError: an empty or unbounded interval.

    Numerics:
      u is exact, so it is the same on every backend, bit for bit. With minval = 0 so is the result; otherwise it is
      subject to the rounding of one product and one sum, which a backend may fuse.

    Example:
      >>> import knet
      >>> knet.random.uniform(knet.random.key(0), (2,))
      Array([0.03474188, 0.01154673], dtype=float32)
    """
    dtype = _float("uniform", dtype)
    precision = _PRECISION[dtype]
    width = 64 if dtype is dtypes.float64 else 32
    words = bits(key, shape, dtypes.uint64 if width == 64 else dtypes.uint32)
    u = elementwise.cast(words >> (width - precision), dtype) * 2.0**-precision
    if minval == 0 and maxval == 1:
        return u
    low, high = np.asarray([minval, maxval], dtype)
    span = float(high) - float(low)
    if not (low < high and math.isfinite(span) and span <= float(knp.finfo(dtype).max)):
        raise errors.argument(
            "random.uniform", "(minval, maxval)", (minval, maxval),
            f"minval < maxval is needed, both and their difference finite in {dtype}", "widen or bound the interval",
        )  # fmt: skip
    if low == 0:
        return u * float(high)
    # Rounding may carry the sum up to maxval: the largest number below it is the limit.
    return elementwise.minimum(u * span + float(low), float(np.nextafter(high, low)))


def normal(key: Any, shape: int | Sequence[int] = (), dtype: Any = dtypes.float32) -> Array:
    """Numbers from the standard normal distribution, mean 0 and variance 1, by the method of Box and Muller.

    For n numbers, with m = ceil(n / 2) and 2 m random words that make u[0..m-1] in (0, 1] and v[0..m-1] in [0, 1):
    z[i] = sqrt(-2 log u[i]) cos(2 pi v[i]) and z[m + i] = sqrt(-2 log u[i]) sin(2 pi v[i]), in row-major order.

    Args:
      key: uint64 [2].
      shape: of the result.
      dtype: floating. The words have 64 bits for float64 and 32 for the others; float16 and bfloat16 are rounded from
        float32.

    Returns:
      ``shape``, always finite: |z| < 6.8 (9.6 for float64).

    Raises:
      DTypeError: no key, or no floating dtype.

    Numerics:
      The random bits are the same on every backend, the numbers agree up to the rounding of log, cos, sin and sqrt.

    Example:
      >>> import knet
      >>> knet.random.normal(knet.random.key(0), (2, 3)).shape
      (2, 3)

    Reference: Box, Muller 1958, "A note on the generation of random normal deviates".
    """
    target = _float("normal", dtype)
    sizes = _shape("normal", shape)
    wide = target is dtypes.float64
    dtype, width = (dtypes.float64, 64) if wide else (dtypes.float32, 32)
    count = size_of(sizes)
    half = -(-count // 2)
    words = elementwise.cast(bits(key, (2, half), dtypes.uint64 if wide else dtypes.uint32), dtype)
    radius = elementwise.sqrt(elementwise.log((words[0] + 0.5) * 2.0**-width) * -2.0)
    angle = words[1] * (2.0 * math.pi * 2.0**-width)
    z = knp.concatenate([radius * elementwise.cos(angle), radius * elementwise.sin(angle)])
    return elementwise.cast(knp.reshape(z[:count], sizes), target)


def bernoulli(key: Any, p: Any = 0.5, shape: int | Sequence[int] | None = None) -> Array:
    """Truth values, each true with probability p.

    Args:
      key: uint64 [2].
      p: a number in [0, 1], or an array of such that broadcasts to ``shape``.
      shape: of the result; p's shape if None.

    Returns:
      bool, ``shape``.

    Raises:
      DTypeError: no key. ArgumentError: a number p outside [0, 1]. ShapeError: an array that does not broadcast.

    Numerics:
      A number p is rounded to a multiple of 2 ** -32, an array to one of 2 ** -24.

    Example:
      >>> import knet
      >>> knet.random.bernoulli(knet.random.key(0), 0.5, (4,))
      Array([ True,  True, False,  True])
    """
    if isinstance(p, (int, float)):
        if not 0 <= p <= 1:
            raise errors.argument("random.bernoulli", "p", p, "a probability lies in [0, 1]", "pass 0 <= p <= 1")
        sizes, threshold = _shape("bernoulli", () if shape is None else shape), round(p * 2**32)
        if threshold == 2**32:
            return creation.full(sizes, True, dtypes.bool_, _checked(key).device)
        return elementwise.less(bits(key, sizes), threshold)
    p = as_array(p, "random.bernoulli")
    sizes = p.shape if shape is None else _shape("bernoulli", shape)
    return elementwise.less(uniform(key, sizes), knp.broadcast_to(p, sizes))


def permutation(key: Any, x: Any) -> Array:
    """Random order of 0..n-1, or of the rows of an array: the order that sorts random 64-bit words.

    Args:
      key: uint64 [2].
      x: integer n >= 0, or an array [N, ...], whose rows are permuted.

    Returns:
      int64 [n], or [N, ...] of x's dtype. All orders are equally likely, but for a tie of two words, which has a
      probability below n ** 2 / 2 ** 65.

    Raises:
      DTypeError: no key. ArgumentError: n < 0. ShapeError: an array without axes.

    Example:
      >>> import knet
      >>> knet.random.permutation(knet.random.key(0), 5)
      Array([0, 2, 1, 4, 3])
    """
    if isinstance(x, (int, np.integer)):
        if x < 0:
            raise errors.argument("random.permutation", "x", x, "n >= 0 is needed", "pass the number of elements")
        return knp.argsort(bits(key, (int(x),), dtypes.uint64))
    x = as_array(x, "random.permutation")
    if not x.ndim:
        raise errors.shape_argument(
            "random.permutation",
            "x.shape",
            [],
            "an array needs an axis to permute",
            "pass int(x) for an order of 0..x-1",
        )
    return knp.take(x, knp.argsort(bits(key, x.shape[:1], dtypes.uint64)), axis=0)


def randint(key: Any, shape: int | Sequence[int], minval: int, maxval: int, dtype: Any = dtypes.default_int) -> Array:
    """Integers uniformly distributed over [minval, maxval): minval + (64 random bits) mod (maxval - minval).

    Args:
      key: uint64 [2].
      shape: of the result.
      minval, maxval: Python integers within ``dtype`` (maxval may be one above its largest); 1 <= maxval - minval <=
        2 ** 63.
      dtype: integer.

    Returns:
      ``shape``.

    Raises:
      DTypeError: no key, or no integer dtype. ArgumentError: an empty interval, or one beyond the dtype.

    Numerics:
      For n = maxval - minval not a power of two, low numbers are more likely than high ones, by a factor of at most
      1 + n / 2 ** 64: less than 1e-9 for n below 10 billion.

    Example:
      >>> import knet
      >>> knet.random.randint(knet.random.key(0), (4,), 0, 10)
      Array([9, 8, 9, 6])
    """
    dtype = dtypes.canonical(dtype)
    if dtype.kind not in "iu":
        raise _wrong_dtype("randint", dtype, "an integer dtype")
    limits = np.iinfo(dtype)
    low, high = (n if isinstance(n, (int, np.integer)) else None for n in (minval, maxval))
    if low is None or high is None or not limits.min <= low < high <= int(limits.max) + 1 or high - low > 1 << 63:
        raise errors.argument(
            "random.randint", "(minval, maxval)", (minval, maxval),
            f"integers minval < maxval within {dtype} are needed, at most 2**63 apart", "correct the interval",
        )  # fmt: skip
    low, high = int(low), int(high)
    steps = elementwise.remainder(bits(key, shape, dtypes.uint64), high - low)
    wide = dtypes.uint64 if dtype is dtypes.uint64 else dtypes.int64
    return elementwise.cast(elementwise.cast(steps, wide) + low, dtype)


def _checked(key: Any) -> Array:
    """The key as an array; an error that says how to make one for anything else."""
    if not isinstance(key, (Array, np.ndarray)) or key.dtype != dtypes.uint64 or key.shape != (2,):
        raise errors.key_expected(key)
    return as_array(key)


def _shape(name: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    try:
        sizes = (shape.__index__(),) if hasattr(shape, "__index__") else tuple(n.__index__() for n in shape)
    except (TypeError, AttributeError):
        sizes = (-1,)
    if any(n < 0 for n in sizes):
        raise errors.shape_argument(
            f"random.{name}", "shape", shape, "a shape is an int >= 0 or a tuple of them", "write shape=(2, 3)"
        )
    return sizes


def _float(name: str, dtype: Any) -> np.dtype[Any]:
    dtype = dtypes.canonical(dtype)
    if dtype not in _PRECISION:
        raise _wrong_dtype(name, dtype, "float16, bfloat16, float32 or float64")
    return dtype


def _wrong_dtype(name: str, dtype: Any, accepted: str) -> errors.DTypeError:
    return errors.DTypeError(
        f"random.{name}: dtype={dtype}: {accepted} is needed.\n  fix: draw with such a dtype, then x.astype(...)."
    )
