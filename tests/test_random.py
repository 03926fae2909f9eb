"""knet.random: the bits are Philox's, the distributions are the promised ones, and equal keys give equal numbers.

Every statistical test has fixed keys, so it passes always or never; its threshold is one that a correct generator
exceeds with a probability below 1e-6.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import knet.numpy as knp
from knet import grad
from knet import random as random_
from knet.core import errors
from knet.core.ops import random as ops

KEY = random_.key(2024)
FLOATS = ["float16", "bfloat16", "float32", "float64"]
SEEDS = st.integers(0, 2**128 - 1)
N = 100_000


def host(x) -> np.ndarray:
    return np.asarray(x)


def kolmogorov_smirnov(sample: np.ndarray, cdf) -> float:
    """sqrt(n) times the largest distance of the empirical distribution function from ``cdf``; exceeds 2.7 with a
    probability of 2 exp(-2 * 2.7 ** 2) = 9e-7."""
    sample = np.sort(sample.astype(np.float64))
    n, expected = len(sample), cdf(sample)
    steps = np.arange(n + 1) / n
    return math.sqrt(n) * max((steps[1:] - expected).max(), (expected - steps[:-1]).max())


def normal_cdf(x: np.ndarray) -> np.ndarray:
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])


# --- keys and bits ---------------------------------------------------------------------------------------------------


@given(SEEDS, st.integers(0, 20))
def test_bits_are_the_words_of_numpys_philox(seed, count):
    words = np.random.Philox(key=seed, counter=0).random_raw(count)
    key = random_.key(seed)
    assert host(random_.bits(key, count, "uint64")).tolist() == words.tolist()
    halves = words.astype("<u8").view("<u4")
    assert host(random_.bits(key, (2 * count,))).tolist() == halves.tolist()


@given(st.lists(SEEDS, min_size=1, max_size=3), st.integers(0, 9), st.sampled_from(["uint32", "uint64"]))
def test_the_specification_with_many_keys_equals_the_kernel_with_each(seeds, count, dtype):
    keys = np.stack([host(random_.key(s)) for s in seeds])
    shape = (count, 2)
    together = ops.random_bits.body(keys, shape=shape, dtype=np.dtype(dtype))
    assert together.shape == (len(seeds), *shape) and together.dtype == dtype
    for key, row in zip(keys, together, strict=True):
        np.testing.assert_array_equal(row, host(random_.bits(key, shape, dtype)))


@given(SEEDS)
def test_a_key_holds_the_seed_low_word_first(seed):
    key = random_.key(seed)
    assert key.shape == (2,) and key.dtype == np.uint64
    assert int(key[0]) + (int(key[1]) << 64) == seed


@pytest.mark.parametrize("seed", [-1, 2**128, 0.5, "seed", None])
def test_a_seed_out_of_range_is_an_error(seed):
    with pytest.raises(errors.ArgumentError, match=r"a seed is an integer in \[0, 2\*\*128\)"):
        random_.key(seed)


DRAWS = {
    "split": random_.split,
    "fold_in": lambda key: random_.fold_in(key, 1),
    "bits": random_.bits,
    "uniform": random_.uniform,
    "normal": random_.normal,
    "bernoulli": random_.bernoulli,
    "bernoulli of 1": lambda key: random_.bernoulli(key, 1.0),
    "permutation": lambda key: random_.permutation(key, 3),
    "permutation of rows": lambda key: random_.permutation(key, np.arange(3)),
    "randint": lambda key: random_.randint(key, (), 0, 5),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("key", [0, None, np.zeros(2), np.zeros((1, 2), np.uint64), np.zeros(3, np.uint64), [0, 1]])
def test_what_is_no_key_is_an_error_that_says_how_to_make_one(draw, key):
    with pytest.raises(errors.DTypeError, match=r"a key is a uint64 array of shape \[2\].*\n.*knet.random.key\(0\)"):
        draw(key)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_the_same_key_gives_the_same_numbers(draw):
    np.testing.assert_array_equal(host(draw(KEY)), host(draw(host(KEY))))


def test_split_unpacks_and_gives_distinct_keys():
    key, subkey = random_.split(KEY)
    assert key.shape == subkey.shape == (2,)
    keys = host(random_.split(KEY, 1000))
    assert keys.dtype == np.uint64 and len({tuple(k) for k in keys.tolist()} | {tuple(host(KEY).tolist())}) == 1001
    assert random_.split(KEY, 0).shape == (0, 2)
    np.testing.assert_array_equal(keys[:2], host(random_.split(KEY)))
    with pytest.raises(errors.ArgumentError, match="an integer >= 0"):
        random_.split(KEY, -1)


def test_fold_in_takes_numbers_and_arrays_and_differs_from_split():
    numbers = [0, 1, 2, 2**63, -1]
    folded = [tuple(host(random_.fold_in(KEY, n)).tolist()) for n in numbers]
    split = [tuple(k) for k in host(random_.split(KEY, 3)).tolist()]
    assert len(set(folded + split)) == 8
    together = random_.fold_in(KEY, np.array([0, 1, 2, -(2**63), -1]))
    assert [tuple(k) for k in host(together).tolist()] == folded
    with pytest.raises(errors.DTypeError, match="integers as data"):
        random_.fold_in(KEY, 0.5)


def test_bits_of_another_width_are_refused():
    with pytest.raises(errors.DTypeError, match=r"random\.bits: dtype=int32: uint32 or uint64 is needed"):
        random_.bits(KEY, (3,), "int32")


@pytest.mark.parametrize("draw", [random_.bits, random_.uniform, random_.normal])
def test_shapes(draw):
    assert draw(KEY).shape == () and draw(KEY, 3).shape == (3,) and draw(KEY, [2, 3]).shape == (2, 3)
    assert draw(KEY, (0, 3)).shape == (0, 3)
    for shape in ((2, -1), -1, 2.5, (1.5,), "ab"):
        with pytest.raises(errors.ShapeError, match="a shape is an int >= 0"):
            draw(KEY, shape)


# --- uniform ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "digits"), list(zip(FLOATS, [11, 8, 24, 53], strict=True)))
def test_uniform_is_the_leading_bits_exactly(dtype, digits):
    words = host(random_.bits(KEY, (1000,), "uint64" if dtype == "float64" else "uint32"))
    width = 8 * words.itemsize
    u = random_.uniform(KEY, (1000,), dtype)
    assert u.dtype == knp.zeros((), dtype=dtype).dtype
    expected = [(int(w) >> (width - digits)) / 2**digits for w in words]
    assert host(u).astype(np.float64).tolist() == expected


def test_uniform_has_the_moments_and_distribution_of_the_uniform_distribution():
    for dtype in ("float32", "float64"):
        u = host(random_.uniform(KEY, N, dtype)).astype(np.float64)
        assert u.min() >= 0 and u.max() < 1
        assert abs(u.mean() - 1 / 2) < 5 * math.sqrt(1 / 12 / N)
        assert abs(u.var() - 1 / 12) < 5 * math.sqrt(1 / 180 / N)
        assert kolmogorov_smirnov(u, lambda x: x) < 2.7


@given(SEEDS, st.floats(-1e4, 1e4, width=16), st.floats(2**-10, 1e4, width=16), st.sampled_from(FLOATS))
def test_uniform_stays_within_its_interval(seed, low, width, dtype):
    kind = knp.zeros((), dtype=dtype).dtype
    low_, high = (float(np.asarray(v).astype(kind)) for v in (low, low + width))
    if not low_ < high:
        high = low_ + max(1.0, abs(low_))
    u = host(random_.uniform(random_.key(seed), (50,), dtype, low_, high)).astype(np.float64)
    assert u.min() >= low_ and u.max() < high


def test_uniform_never_reaches_the_upper_end_by_rounding():
    # One step apart: every product rounds to one of the two ends.
    high = float(np.nextafter(np.float32(1000), np.float32(2000)))
    assert (host(random_.uniform(KEY, (1000,), "float32", 1000.0, high)) == 1000).all()


@pytest.mark.parametrize("interval", [(1, 1), (2, 1), (0, math.inf), (math.nan, 1), (1.0, 1 + 1e-12), (-3e38, 3e38)])
def test_an_empty_or_unbounded_interval_is_an_error(interval):
    with np.errstate(over="ignore"), pytest.raises(errors.ArgumentError, match="minval < maxval is needed"):
        random_.uniform(KEY, (2,), "float32", *interval)


@pytest.mark.parametrize("draw", [random_.uniform, random_.normal])
def test_numbers_of_other_kinds_are_refused(draw):
    for dtype in ("int64", "bool", "complex64"):
        with pytest.raises(errors.DTypeError, match=r"float16, bfloat16, float32 or float64 is needed"):
            draw(KEY, (2,), dtype)


# --- normal ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_has_the_moments_and_distribution_of_the_normal_distribution(dtype):
    z = host(random_.normal(KEY, N, dtype)).astype(np.float64)
    assert abs(z.mean()) < 5 / math.sqrt(N)
    assert abs(z.var() - 1) < 5 * math.sqrt(2 / N)
    assert abs((z**3).mean()) < 5 * math.sqrt(15 / N)
    assert abs((z**4).mean() - 3) < 5 * math.sqrt(96 / N)
    assert kolmogorov_smirnov(z[:20000], normal_cdf) < 2.7
    half = N // 2  # cosines and sines of the same angles are independent all the same
    assert abs(np.corrcoef(z[:half], z[half:])[0, 1]) < 5 / math.sqrt(half)
    assert abs(np.corrcoef(z[:half] ** 2, z[half:] ** 2)[0, 1]) < 5 / math.sqrt(half)


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal_is_the_box_muller_transform_of_the_bits(dtype):
    shape = (3, 3)
    wide = dtype == "float64"
    words = host(random_.bits(KEY, (2, 5), "uint64" if wide else "uint32")).astype(np.float64)
    u, v = (words + 0.5) / 2.0 ** (64 if wide else 32)
    radius, angle = np.sqrt(-2 * np.log(u)), 2 * np.pi * v
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:9].reshape(shape)
    z = random_.normal(KEY, shape, dtype)
    assert z.dtype == knp.zeros((), dtype=dtype).dtype
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 2e-6, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(host(z).astype(np.float64), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("word", [0, 1, 2**32 - 1, 2**64 - 1])
def test_normal_is_finite_for_every_word(dtype, word, monkeypatch):
    monkeypatch.setattr(
        random_, "bits", lambda key, shape, kind: knp.full(shape, word & int(np.iinfo(kind).max), dtype=kind)
    )
    z = host(random_.normal(KEY, (2,), dtype))
    assert np.isfinite(z).all() and np.abs(z).max() < (9.6 if dtype == "float64" else 6.8)


# --- the others ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 1e-3, 0.3, 0.5, 1.0])
def test_bernoulli_is_true_with_its_probability(p):
    for probability in (p, np.float32(p)):
        b = random_.bernoulli(KEY, probability, (N,))
        assert b.dtype == np.bool_
        assert abs(host(b).mean() - p) <= 5 * math.sqrt(p * (1 - p) / N)


def test_bernoulli_takes_an_array_of_probabilities():
    p = np.array([0.0, 0.2, 1.0], np.float32)
    assert random_.bernoulli(KEY, p).shape == (3,)
    rows = host(random_.bernoulli(KEY, p, (N, 3)))
    assert not rows[:, 0].any() and rows[:, 2].all()
    assert abs(rows[:, 1].mean() - 0.2) < 5 * math.sqrt(0.16 / N)
    with pytest.raises(errors.ShapeError, match="does not broadcast"):
        random_.bernoulli(KEY, p, (2,))
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(errors.ArgumentError, match=r"a probability lies in \[0, 1\]"):
            random_.bernoulli(KEY, wrong)


@given(SEEDS, st.integers(0, 50))
def test_permutation_holds_each_number_once(seed, n):
    order = random_.permutation(random_.key(seed), n)
    assert order.dtype == np.int64 and sorted(host(order).tolist()) == list(range(n))


def test_permutations_of_three_are_equally_likely():
    orders = [tuple(host(random_.permutation(k, 3)).tolist()) for k in random_.split(KEY, 3000)]
    counts = np.array([orders.count(o) for o in set(orders)])
    assert len(counts) == 6
    assert ((counts - 500) ** 2 / 500).sum() < 35  # chi-square, 5 degrees of freedom, p = 1.5e-6


def test_permutation_of_an_array_moves_rows_and_carries_gradients():
    x = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    order = host(random_.permutation(KEY, 4))
    np.testing.assert_array_equal(host(random_.permutation(KEY, x)), x[order])
    weights = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    g = grad(lambda x: knp.sum(random_.permutation(KEY, x) * weights))(x)
    np.testing.assert_array_equal(host(g)[order], weights)
    with pytest.raises(errors.ShapeError, match="an array needs an axis"):
        random_.permutation(KEY, knp.asarray(3))
    with pytest.raises(errors.ArgumentError, match="n >= 0"):
        random_.permutation(KEY, -1)


def test_randint_is_uniform_over_its_interval():
    r = host(random_.randint(KEY, (N,), -3, 7))
    assert r.dtype == np.int64
    counts = np.bincount(r + 3, minlength=10)
    assert len(counts) == 10 and ((counts - N / 10) ** 2 / (N / 10)).sum() < 45  # 9 degrees of freedom, p < 1e-6


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
def test_randint_reaches_both_ends_of_its_dtype(dtype):
    limits = np.iinfo(dtype)
    for low, high in ((limits.min, limits.min + 2), (int(limits.max) - 1, int(limits.max) + 1)):
        for shape in ((100,), ()):
            r = random_.randint(KEY, shape, low, high, dtype)
            assert r.dtype == dtype and r.shape == shape
            assert set(host(r).ravel().tolist()) <= {low, high - 1}
        assert len(set(host(random_.randint(KEY, (100,), low, high, dtype)).tolist())) == 2


def test_randint_over_half_of_all_integers():
    r = host(random_.randint(KEY, (1000,), -(2**63), 0))
    assert r.max() < 0 and r.min() < -(2**62)


@pytest.mark.parametrize(
    ("interval", "dtype"),
    [((0, 0), "int64"), ((1, 0), "int64"), ((0, 300), "uint8"), ((-1, 3), "uint64"), ((0.0, 1.0), "int64"),
     ((-(2**63), 2**63), "int64")],
)  # fmt: skip
def test_randint_refuses_what_does_not_fit(interval, dtype):
    with pytest.raises(errors.ArgumentError, match=f"integers minval < maxval within {dtype} are needed"):
        random_.randint(KEY, (), *interval, dtype)
    with pytest.raises(errors.DTypeError, match="an integer dtype is needed"):
        random_.randint(KEY, (), 0, 3, "float32")


# --- independence ----------------------------------------------------------------------------------------------------


def test_split_and_folded_streams_are_uncorrelated_with_the_old_one_and_one_another():
    n = 20_000
    keys = [KEY, *random_.split(KEY, 4), *(random_.fold_in(KEY, i) for i in range(4))]
    streams = np.stack([host(random_.uniform(k, n, "float64")) for k in keys])
    correlations = np.corrcoef(streams)[np.triu_indices(len(keys), 1)]
    assert np.abs(correlations).max() < 5 / math.sqrt(n)
    lagged = [np.corrcoef(s[:-lag], s[lag:])[0, 1] for s in streams for lag in (1, 2, 4)]
    assert np.abs(lagged).max() < 5 / math.sqrt(n)


def test_neighbouring_seeds_have_unrelated_bits():
    words = np.stack([host(random_.bits(random_.key(s), 2000, "uint64")) for s in range(8)])
    differing = [np.unpackbits((words[i] ^ words[i + 1]).view(np.uint8)).mean() for i in range(7)]
    assert np.abs(np.array(differing) - 0.5).max() < 5 * 0.5 / math.sqrt(2000 * 64)
