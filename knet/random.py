"""Random numbers from explicit keys: the same key gives the same numbers, always.

A key is a uint64 array [2], made by :func:`key` from a seed. Nothing here has a state: a function of this module is a
pure function of its key, so a key is used once, and new ones come from :func:`split` or :func:`fold_in`::

    key, subkey = knet.random.split(key)
    x = knet.random.normal(subkey, (100, 784))

Every key names a stream of bits, those of ``numpy.random.Philox(key=key, counter=0)``: a counter-based generator
(Philox-4x64-10) whose 256-bit blocks are computed independently of one another, so every backend yields the same bits.
``uniform`` turns them into floats exactly; ``normal`` goes through log and cos, whose last bit depends on the backend.

Derivatives: numbers are differentiable functions of the parameters of their distribution where these are arrays, with
the bits held fixed: of a mean or a bound directly, of the shape parameters of gamma, beta and dirichlet implicitly.
Counts, indices and truth values have none.

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
from .core.custom import custom_jvp
from .core.device import as_array, from_numpy
from .core.ops import creation, elementwise, reduce, special
from .core.ops import random as ops

__all__ = [
    "bernoulli",
    "beta",
    "bits",
    "categorical",
    "cauchy",
    "chisquare",
    "choice",
    "dirichlet",
    "exponential",
    "fold_in",
    "gamma",
    "gumbel",
    "key",
    "laplace",
    "loggamma",
    "logistic",
    "multivariate_normal",
    "normal",
    "orthogonal",
    "permutation",
    "poisson",
    "rademacher",
    "randint",
    "split",
    "t",
    "truncated_normal",
    "uniform",
]

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


def rademacher(key: Any, shape: int | Sequence[int] = (), dtype: Any = dtypes.default_int) -> Array:
    """Signs, -1 and 1, each with probability 1/2.

    Args:
      key: uint64 [2]. shape: of the result. dtype: of the result, signed.

    Example:
      >>> import knet
      >>> knet.random.rademacher(knet.random.key(0), (4,))
      Array([ 1,  1, -1,  1])
    """
    return knp.where(bernoulli(key, 0.5, shape), 1, -1).astype(dtypes.canonical(dtype))


def _positive(name: str, key: Any, shape: int | Sequence[int], dtype: Any) -> tuple[Array, np.dtype[Any]]:
    """Numbers v in (0, 1), fine near 0: (bits + 1/2) / 2 ** width in at least float32; and the dtype asked for."""
    target = _float(name, dtype)
    wide = target is dtypes.float64
    words = bits(key, _shape(name, shape), dtypes.uint64 if wide else dtypes.uint32)
    v = (elementwise.cast(words, dtypes.float64 if wide else dtypes.float32) + 0.5) * 2.0 ** (-64 if wide else -32)
    return elementwise.minimum(v, float(np.nextafter(v.dtype.type(1), v.dtype.type(0)))), target


def exponential(key: Any, shape: int | Sequence[int] = (), dtype: Any = dtypes.float32) -> Array:
    """Numbers from the exponential distribution of rate 1, density e ** -x: -log(v) for v uniform in (0, 1).

    Args:
      key: uint64 [2]. shape: of the result. dtype: floating; half types are rounded from float32.

    Returns:
      ``shape``; > 0 and < 22.9 (45 for float64).
    """
    v, target = _positive("exponential", key, shape, dtype)
    return elementwise.cast(-elementwise.log(v), target)


def gumbel(key: Any, shape: int | Sequence[int] = (), dtype: Any = dtypes.float32) -> Array:
    """Numbers from the standard Gumbel distribution, F(x) = exp(-e ** -x): -log(-log(1 - v)) for v uniform in (0, 1).

    The upper tail, which decides a maximum, is the fine one: up to 22.8 in float32, 45 in float64.

    Args:
      key: uint64 [2]. shape: of the result. dtype: floating; half types are rounded from float32.
    """
    v, target = _positive("gumbel", key, shape, dtype)
    return elementwise.cast(-elementwise.log(-elementwise.log1p(-v)), target)


def logistic(key: Any, shape: int | Sequence[int] = (), dtype: Any = dtypes.float32) -> Array:
    """Numbers from the standard logistic distribution, F(x) = sigmoid(x): log(v / (1 - v)) for v uniform in (0, 1).

    Args:
      key: uint64 [2]. shape: of the result. dtype: floating; half types are rounded from float32.
    """
    v, target = _positive("logistic", key, shape, dtype)
    return elementwise.cast(elementwise.log(v) - elementwise.log1p(-v), target)


def laplace(key: Any, shape: int | Sequence[int] = (), dtype: Any = dtypes.float32) -> Array:
    """Numbers from the standard Laplace distribution, density e ** -|x| / 2: an exponential number with a random sign.

    Args:
      key: uint64 [2]. shape: of the result. dtype: floating; half types are rounded from float32.
    """
    signs, sizes = split(key)
    return rademacher(signs, shape, _float("laplace", dtype)) * exponential(sizes, shape, dtype)


def cauchy(key: Any, shape: int | Sequence[int] = (), dtype: Any = dtypes.float32) -> Array:
    """Numbers from the standard Cauchy distribution, density 1 / (pi (1 + x ** 2)): the ratio tan(pi (v - 1/2)), with v
    uniform in (0, 1), computed as a random sign times cot(pi v / 2), which keeps the tails.

    Args:
      key: uint64 [2]. shape: of the result. dtype: floating; half types are rounded from float32.
    """
    signs, sizes = split(key)
    v, target = _positive("cauchy", sizes, shape, dtype)
    x = 1.0 / elementwise.tan(v * (math.pi / 2))
    return elementwise.cast(rademacher(signs, shape, x.dtype) * x, target)


def truncated_normal(
    key: Any, lower: Any, upper: Any, shape: int | Sequence[int] | None = None, dtype: Any = dtypes.float32
) -> Array:
    """Numbers from the standard normal distribution given that they lie in [lower, upper].

    The quantile function at a uniform level between those of the bounds; for intervals above 0 of their mirror image,
    so that tails keep their accuracy: bounds up to 37.

    Args:
      key: uint64 [2].
      lower, upper: lower < upper, numbers or arrays that broadcast to ``shape``; infinite ones are no bounds.
      shape: of the result; that of the bounds if None.
      dtype: floating; computed in float64.

    Returns:
      ``shape``, within [lower, upper]; NaN where lower >= upper.

    Derivative: by the bounds, with the level held fixed.
    """
    target = _float("truncated_normal", dtype)
    low, high = (elementwise.cast(as_array(x), dtypes.float64) for x in (lower, upper))
    sizes, low, high = _parameters("truncated_normal", shape, low, high)
    mirrored = elementwise.greater(low, -high)  # more of the interval above 0 than below: NaN for (-inf, inf) never
    a, b = elementwise.where(mirrored, -high, low), elementwise.where(mirrored, -low, high)
    v, _ = _positive("truncated_normal", key, sizes, dtypes.float64)
    level = special.ndtr(a) * (1.0 - v) + special.ndtr(b) * v
    z = elementwise.minimum(elementwise.maximum(special.ndtri(level), a), b)
    z = elementwise.where(elementwise.less(a, b), z, math.nan)
    z = elementwise.cast(elementwise.where(mirrored, -z, z), target)
    if target is not dtypes.float64:  # rounding must not carry it beyond a bound
        z = elementwise.maximum(elementwise.minimum(z, elementwise.cast(high, target)), elementwise.cast(low, target))
    return z


def categorical(key: Any, logits: Any, axis: int = -1, shape: int | Sequence[int] | None = None) -> Array:
    """Indices i with probability softmax(logits)[i] along an axis: the place of the largest of logits + Gumbel noise.

    Args:
      key: uint64 [2].
      logits: [...], unnormalised logarithms of probabilities; -inf is never drawn.
      axis: of the categories.
      shape: of the result; logits.shape without ``axis`` must broadcast to it. That is its default.

    Returns:
      int64, ``shape``.

    Example:
      >>> import knet, math
      >>> import knet.numpy as knp
      >>> knet.random.categorical(knet.random.key(0), knp.asarray([0.0, -math.inf, 0.0]), shape=(4,))
      Array([0, 2, 0, 2])
    """
    logits = as_array(logits, "random.categorical")
    logits = elementwise.cast(logits, dtypes.to_float(logits.dtype))
    if logits.dtype.itemsize == 2:
        logits = elementwise.cast(logits, dtypes.float32)
    logits = knp.moveaxis(logits, axis, -1)
    sizes, _ = _parameters("categorical", shape, logits[..., 0])
    noise = gumbel(key, (*sizes, logits.shape[-1]), logits.dtype)
    return knp.argmax(logits + noise, axis=-1)


def choice(
    key: Any,
    a: Any,
    shape: int | Sequence[int] = (),
    replace: bool = True,
    p: Any = None,
    axis: int = 0,
) -> Array:
    """Elements drawn from 0..a-1, or from an array along an axis.

    Args:
      key: uint64 [2].
      a: integer n >= 1, or an array with n elements along ``axis``.
      shape: [*S], how many.
      replace: whether an element can be drawn more than once.
      p: [n], probabilities (their sum is divided out); equal ones if None. Without replacement, they are those of each
        next draw among what is left.
      axis: of ``a`` along which elements lie.

    Returns:
      int64 [*S], or a's elements, [*S] in place of ``axis``.

    Raises:
      ArgumentError: no elements to choose from, or more to be drawn without replacement than there are.

    References: for p without replacement: Efraimidis, Spirakis 2006, "Weighted random sampling with a reservoir".
    """
    sizes = _shape("choice", shape)
    array = None if isinstance(a, (int, np.integer)) else as_array(a, "random.choice")
    count = int(a) if array is None else array.shape[axis] if array.ndim else 0
    wanted = size_of(sizes)
    if count < 1 or (not replace and wanted > count):
        raise errors.argument(
            "random.choice", "a", a if array is None else errors.describe(array),
            f"{wanted} of {count} elements {'with' if replace else 'without'} replacement are not to be had",
            "draw fewer, or with replace=True",
        )  # fmt: skip
    if p is None:
        ids = randint(key, (wanted,), 0, count) if replace else permutation(key, count)[:wanted]
    else:
        p = knp.asarray(p)
        p = elementwise.cast(p, dtypes.to_float(p.dtype))
        if p.shape != (count,):
            raise errors.shape_argument(
                "random.choice",
                "p",
                list(p.shape),
                f"each of {count} elements needs a probability",
                f"pass p [{count}]",
            )
        if replace:
            levels = reduce.cumulative_sum(p, axis=0)
            # Below the last level also where rounding would carry it up to that; steps of zero are skipped.
            place = uniform(key, (wanted,), p.dtype) * levels[-1]
            ids = elementwise.minimum(knp.digitize(place, levels), knp.digitize(levels[-1], levels, right=True))
        else:
            some = elementwise.greater(p, 0)
            logits = elementwise.where(some, elementwise.log(elementwise.where(some, p, 1.0)), -math.inf)
            ids = knp.top_k(logits + gumbel(key, (count,), p.dtype), wanted)[1]
    ids = knp.reshape(ids, sizes)
    return ids if array is None else knp.take(array, ids, axis=axis)


# --- gamma and its relatives ------------------------------------------------------------------------------------------


def loggamma(key: Any, a: Any, shape: int | Sequence[int] | None = None, dtype: Any = dtypes.float32) -> Array:
    """Logarithms of numbers from the gamma distribution of shape a, density x ** (a - 1) e ** -x / gamma(a).

    Where a is small the numbers themselves underflow: half of those for a = 0.001 are below 1e-300.

    Args:
      key: uint64 [2].
      a: > 0, a number or an array that broadcasts to ``shape``.
      shape: of the result; a's if None.
      dtype: floating; computed in float64.

    Returns:
      ``shape``; NaN unless 0 < a < inf.

    Derivative: by a, implicit: that of the quantile at the level of the number, to any order.

    References: Marsaglia, Tsang 2000, "A simple method for generating gamma variables"; Figurnov, Mohamed, Mnih 2018,
    "Implicit reparameterization gradients".
    """
    return elementwise.cast(_loggamma("loggamma", key, a, shape), _float("loggamma", dtype))


def _loggamma(name: str, key: Any, a: Any, shape: int | Sequence[int] | None) -> Array:
    a = elementwise.cast(as_array(a, f"random.{name}"), dtypes.float64)
    return _implicit(_checked(key), _parameters(name, shape, a)[1])


@custom_jvp
def _implicit(key: Any, a: Any) -> Any:
    return ops.random_loggamma(key, a)


def _implicit_jvp(primals: Any, tangents: Any) -> Any:
    y = _implicit(*primals)
    return y, tangents[1] * special.loggamma_slope(primals[1], y)


_implicit.defjvp(_implicit_jvp)


def gamma(key: Any, a: Any, shape: int | Sequence[int] | None = None, dtype: Any = dtypes.float32) -> Array:
    """Numbers from the gamma distribution of shape a and scale 1, density x ** (a - 1) e ** -x / gamma(a).

    Arguments and derivative as in :func:`loggamma`, which does not underflow for small a. Divide by a rate.

    Example:
      >>> import knet
      >>> x = knet.random.gamma(knet.random.key(0), 2.0, (1000,))
      >>> bool(abs(x.mean() - 2.0) < 0.2)
      True
    """
    return elementwise.cast(elementwise.exp(_loggamma("gamma", key, a, shape)), _float("gamma", dtype))


def chisquare(key: Any, df: Any, shape: int | Sequence[int] | None = None, dtype: Any = dtypes.float32) -> Array:
    """Numbers from the chi-squared distribution with df > 0 degrees of freedom: twice a gamma number of shape df / 2.

    Arguments and derivative as in :func:`gamma`.
    """
    half = elementwise.cast(as_array(df), dtypes.float64) * 0.5
    return elementwise.cast(2.0 * gamma(key, half, shape, dtypes.float64), _float("chisquare", dtype))


def t(key: Any, df: Any, shape: int | Sequence[int] | None = None, dtype: Any = dtypes.float32) -> Array:
    """Numbers from Student's t distribution with df > 0 degrees of freedom: normal / sqrt(chisquare / df).

    Arguments and derivative as in :func:`gamma`.
    """
    above, below = split(key)
    df = elementwise.cast(as_array(df), dtypes.float64)
    sizes, df = _parameters("t", shape, df)
    log_half = _loggamma("t", below, df * 0.5, sizes)  # logarithm of half the chi-squared number
    x = normal(above, sizes, dtypes.float64) * elementwise.exp(0.5 * (elementwise.log(df * 0.5) - log_half))
    return elementwise.cast(x, _float("t", dtype))


def beta(key: Any, a: Any, b: Any, shape: int | Sequence[int] | None = None, dtype: Any = dtypes.float32) -> Array:
    """Numbers from the beta distribution, density proportional to x ** (a - 1) (1 - x) ** (b - 1) on [0, 1].

    x / (x + y) for gamma numbers x of shape a and y of shape b.

    Args:
      key: uint64 [2].
      a, b: > 0, numbers or arrays that broadcast to ``shape``.
      shape: of the result; that of a and b if None.
      dtype: floating; computed in float64.

    Derivative: by a and b, implicit, through the gamma numbers.
    """
    first, second = split(key)
    a, b = (elementwise.cast(as_array(x, "random.beta"), dtypes.float64) for x in (a, b))
    sizes, a, b = _parameters("beta", shape, a, b)
    x = elementwise.sigmoid(_loggamma("beta", first, a, sizes) - _loggamma("beta", second, b, sizes))
    return elementwise.cast(x, _float("beta", dtype))


def dirichlet(key: Any, alpha: Any, shape: int | Sequence[int] | None = None, dtype: Any = dtypes.float32) -> Array:
    """Points of the simplex from the Dirichlet distribution: gamma numbers of shapes alpha, divided by their sum.

    Args:
      key: uint64 [2].
      alpha: [..., K], > 0.
      shape: of the result without the last axis; alpha's if None.
      dtype: floating; computed in float64.

    Returns:
      [*shape, K], >= 0, sum 1 along the last axis.

    Derivative: by alpha, implicit, through the gamma numbers.
    """
    alpha = elementwise.cast(as_array(alpha, "random.dirichlet"), dtypes.float64)
    if not alpha.ndim:
        raise errors.shape_argument("random.dirichlet", "alpha", [], "it needs an axis of components", "pass alpha [K]")
    sizes = alpha.shape if shape is None else (*_shape("dirichlet", shape), alpha.shape[-1])
    y = _loggamma("dirichlet", key, alpha, sizes)
    last = (y.ndim - 1,)
    y = elementwise.exp(y - reduce.reduce_max(elementwise.stop_gradient(y), axis=last, keepdims=True))
    return elementwise.cast(y / reduce.reduce_sum(y, axis=last, keepdims=True), _float("dirichlet", dtype))


def poisson(key: Any, lam: Any, shape: int | Sequence[int] | None = None, dtype: Any = dtypes.default_int) -> Array:
    """Counts from the Poisson distribution, probability of k lam ** k e ** -lam / k!.

    Args:
      key: uint64 [2].
      lam: the mean, in [0, 2 ** 53], a number or an array that broadcasts to ``shape``.
      shape: of the result; lam's if None.
      dtype: integer.

    Returns:
      ``shape``; -1 where lam is out of range.

    Reference: Hoermann 1993, "The transformed rejection method for generating Poisson random variables".
    """
    dtype = dtypes.canonical(dtype)
    if dtype.kind not in "iu":
        raise _wrong_dtype("poisson", dtype, "an integer dtype")
    lam = elementwise.cast(as_array(lam, "random.poisson"), dtypes.float64)
    return elementwise.cast(ops.random_poisson(_checked(key), _parameters("poisson", shape, lam)[1]), dtype)


# --- several dimensions -----------------------------------------------------------------------------------------------


def multivariate_normal(
    key: Any, mean: Any, cov: Any, shape: int | Sequence[int] | None = None, dtype: Any = dtypes.float32
) -> Array:
    """Vectors from the normal distribution with a mean and a covariance: mean + L z, cov = L L.T (Cholesky).

    Args:
      key: uint64 [2].
      mean: [..., D].
      cov: [..., D, D], symmetric and positive definite.
      shape: of the result without the last axis; that to which the batch axes of mean and cov broadcast if None.
      dtype: floating.

    Returns:
      [*shape, D].

    Derivative: by mean and cov.
    """
    target = _float("multivariate_normal", dtype)
    wide = dtypes.float64 if target is dtypes.float64 else dtypes.float32
    mean, cov = (elementwise.cast(as_array(x, "random.multivariate_normal"), wide) for x in (mean, cov))
    if not mean.ndim or cov.shape[-2:] != (mean.shape[-1],) * 2:
        raise errors.shape_argument(
            "random.multivariate_normal", "cov", list(cov.shape), f"for mean {list(mean.shape)} it must be [..., D, D]",
            "pass mean [..., D] and cov [..., D, D]",
        )  # fmt: skip
    batch = np.broadcast_shapes(mean.shape[:-1], cov.shape[:-2])
    sizes = batch if shape is None else _shape("multivariate_normal", shape)
    z = normal(key, (*sizes, mean.shape[-1]), wide)
    y = mean + knp.matmul(knp.linalg.cholesky(cov), z[..., None])[..., 0]
    return elementwise.cast(y, target)


def orthogonal(key: Any, n: int, shape: int | Sequence[int] = (), dtype: Any = dtypes.float32) -> Array:
    """Orthogonal matrices, uniformly distributed (Haar): Q of the QR decomposition of a normal matrix, its columns'
    signs such that R has a positive diagonal.

    Args:
      key: uint64 [2]. n: size, >= 1. shape: [*S], how many. dtype: floating; half types are rounded from float32.

    Returns:
      [*S, n, n].

    Reference: Mezzadri 2007, "How to generate random matrices from the classical compact groups".
    """
    target = _float("orthogonal", dtype)
    wide = dtypes.float64 if target is dtypes.float64 else dtypes.float32
    q, r = knp.linalg.qr(normal(key, (*_shape("orthogonal", shape), n, n), wide))
    signs = elementwise.where(elementwise.less(knp.einsum("...ii->...i", r), 0), -1.0, 1.0)
    return elementwise.cast(q * signs[..., None, :], target)


def _parameters(name: str, shape: int | Sequence[int] | None, *parameters: Array) -> tuple[Any, ...]:
    """The shape of a draw (that of the parameters if None), and the parameters broadcast to it."""
    arrays = knp.broadcast_arrays(*parameters)
    if shape is None:
        return (arrays[0].shape, *arrays)
    sizes = _shape(name, shape)
    return (sizes, *(knp.broadcast_to(x, sizes) for x in arrays))


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
