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
from scipy import stats

import knet.numpy as knp
from knet import grad, jvp, vmap
from knet import random as random_
from knet.core import errors
from knet.core.ops import random as ops
from knet.testing import check_grads

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
    "rademacher": random_.rademacher,
    "exponential": random_.exponential,
    "laplace": random_.laplace,
    "gamma": lambda key: random_.gamma(key, 2.0),
    "t": lambda key: random_.t(key, 2.0),
    "beta": lambda key: random_.beta(key, 2.0, 1.0),
    "dirichlet": lambda key: random_.dirichlet(key, np.ones(3)),
    "poisson": lambda key: random_.poisson(key, 3.0),
    "truncated_normal": lambda key: random_.truncated_normal(key, 0.0, 1.0),
    "categorical": lambda key: random_.categorical(key, np.zeros(3)),
    "choice": lambda key: random_.choice(key, 3),
    "orthogonal": lambda key: random_.orthogonal(key, 2),
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


# --- distributions ---------------------------------------------------------------------------------------------------

CONTINUOUS = {
    "exponential": (random_.exponential, stats.expon()),
    "gumbel": (random_.gumbel, stats.gumbel_r()),
    "logistic": (random_.logistic, stats.logistic()),
    "laplace": (random_.laplace, stats.laplace()),
    "cauchy": (random_.cauchy, stats.cauchy()),
    "truncated_normal": (lambda *a: random_.truncated_normal(a[0], -1, 2.0, *a[1:]), stats.truncnorm(-1, 2)),
    "truncated_normal above": (lambda *a: random_.truncated_normal(a[0], 9, 12, *a[1:]), stats.truncnorm(9, 12)),
    "truncated_normal below": (lambda *a: random_.truncated_normal(a[0], -math.inf, -5, *a[1:]),
                               stats.truncnorm(-np.inf, -5)),
    "truncated_normal without bounds": (lambda *a: random_.truncated_normal(a[0], -math.inf, math.inf, *a[1:]),
                                        stats.norm()),
    "gamma of 0.3": (lambda *a: random_.gamma(a[0], 0.3, *a[1:]), stats.gamma(0.3)),
    "gamma of 1": (lambda *a: random_.gamma(a[0], 1, *a[1:]), stats.gamma(1)),
    "gamma of 50": (lambda *a: random_.gamma(a[0], 50.0, *a[1:]), stats.gamma(50)),
    "loggamma of 0.001": (lambda *a: random_.loggamma(a[0], 0.001, *a[1:]), stats.loggamma(0.001)),
    "beta": (lambda *a: random_.beta(a[0], 0.5, 2.0, *a[1:]), stats.beta(0.5, 2)),
    "chisquare": (lambda *a: random_.chisquare(a[0], 3.0, *a[1:]), stats.chi2(3)),
    "t": (lambda *a: random_.t(a[0], 2.5, *a[1:]), stats.t(2.5)),
    "dirichlet": (lambda key, n, d: random_.dirichlet(key, np.array([0.5, 1, 2]), (n,), d)[:, 0], stats.beta(0.5, 3)),
    "multivariate_normal": (lambda key, n, d: random_.multivariate_normal(
        key, np.ones(2), np.array([[1, 0.5], [0.5, 2]]), (n,), d)[:, 1], stats.norm(1, math.sqrt(2))),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTINUOUS)
def test_distribution_functions_are_scipys(name):
    draw, distribution = CONTINUOUS[name]
    for dtype in ("float32", "float64"):
        x = draw(KEY, N, dtype)
        assert x.shape == (N,) and x.dtype == dtype
        # Exact points of a float32 sample are too coarse only where it is crowded at 0.
        assert kolmogorov_smirnov(host(x), distribution.cdf) < 2.7, name


@pytest.mark.parametrize("name", CONTINUOUS)
def test_half_types_are_rounded(name):
    draw, _ = CONTINUOUS[name]
    for dtype in ("float16", "bfloat16"):
        x = draw(KEY, 10, dtype)
        assert str(x.dtype) == dtype and x.shape == (10,)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_vmap_over_keys_is_a_loop(name):
    draw, _ = CONTINUOUS[name]
    keys = random_.split(KEY, 3)
    together = vmap(lambda key: draw(key, 4, "float64"))(keys)
    np.testing.assert_allclose(host(together), [host(draw(key, 4, "float64")) for key in keys], rtol=1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.3, 5, 9.99, 10, 30, 1e4])
def test_poisson_counts(rate):
    x = host(random_.poisson(KEY, rate, N))
    law = stats.poisson(rate)
    assert x.dtype == np.int64 and x.min() >= 0
    edges = np.unique(np.round(np.linspace(*law.ppf([0.001, 0.999]), 30)))
    expected = N * np.diff(np.concatenate([[0], law.cdf(edges), [1]]))
    seen = np.histogram(x, np.concatenate([[-1], edges + 0.5, [np.inf]]))[0]
    many = expected > 5
    statistic = ((seen - expected)[many] ** 2 / expected[many]).sum()
    assert stats.chi2.sf(statistic, max(many.sum() - 1, 1)) > 1e-6


def test_poisson_rates_of_an_array_and_out_of_range():
    x = host(random_.poisson(KEY, np.array([[0.5, 100.0], [-1.0, np.nan]]), (1000, 2, 2)))
    assert abs(x[:, 0, 1].mean() - 100) < 3 and (x[:, 1] == -1).all()
    with pytest.raises(errors.DTypeError, match="an integer dtype"):
        random_.poisson(KEY, 1.0, dtype="float32")


def test_an_element_does_not_depend_on_the_parameters_of_others():
    a = host(random_.gamma(KEY, np.array([0.5, 3.0, 7.0]), dtype="float64"))
    b = host(random_.gamma(KEY, np.array([50.0, 3.0, 0.1]), dtype="float64"))
    assert a[1] == b[1]


def test_gamma_of_what_is_no_shape_is_nan():
    x = host(random_.gamma(KEY, np.array([-1.0, 0.0, np.inf, np.nan, 1.0])))
    assert np.isnan(x[:4]).all() and x[4] > 0


def test_truncated_normal_stays_within_its_bounds_in_half_types():
    for dtype in FLOATS:
        x = host(random_.truncated_normal(KEY, 0.999, 1.0, (1000,), dtype)).astype(np.float64)
        low, high = (float(np.asarray(v).astype(knp.zeros((), dtype=dtype).dtype)) for v in (0.999, 1.0))
        assert x.min() >= low and x.max() <= high
    assert np.isnan(host(random_.truncated_normal(KEY, 1.0, 0.0)))


def frequencies(indices, count):
    return np.bincount(host(indices).ravel(), minlength=count) / indices.size


def test_categorical():
    p = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    with np.errstate(divide="ignore"):
        logits = np.log(p)
    x = random_.categorical(KEY, logits, shape=(N // 2, 2))
    for row, want in enumerate(p):
        assert np.abs(frequencies(x[:, row], 3) - want).max() < 5 * 0.5 / math.sqrt(N // 2)
    assert random_.categorical(KEY, logits).shape == (2,) and random_.categorical(KEY, logits, axis=0).shape == (3,)
    assert random_.categorical(KEY, logits.astype(np.float16)).dtype == np.int64


def test_choice():
    p = np.array([0.1, 0.0, 0.2, 0.7])
    assert np.abs(frequencies(random_.choice(KEY, 4, N, p=p), 4) - p).max() < 5 * 0.5 / math.sqrt(N)
    assert np.abs(frequencies(random_.choice(KEY, 4, (N,)), 4) - 0.25).max() < 5 * 0.5 / math.sqrt(N)
    assert sorted(host(random_.choice(KEY, 7, (7,), False))) == list(range(7))
    firsts = np.array([host(random_.choice(k, 4, (3,), False, p)) for k in random_.split(KEY, 2000)])
    assert (np.sort(firsts) == [0, 2, 3]).all()
    assert np.abs(np.bincount(firsts[:, 0], minlength=4) / 2000 - p).max() < 5 * 0.5 / math.sqrt(2000)
    table = np.arange(12).reshape(3, 4)
    x = host(random_.choice(KEY, table, (2, 2), axis=1))
    assert x.shape == (3, 2, 2) and (x % 4 == x[0] % 4).all()


def test_arguments_of_choice():
    with pytest.raises(errors.ArgumentError, match=r"4 of 3 elements without replacement"):
        random_.choice(KEY, 3, (4,), False)
    with pytest.raises(errors.ArgumentError, match=r"1 of 0 elements with replacement"):
        random_.choice(KEY, 0)
    with pytest.raises(errors.ShapeError, match="each of 3 elements needs a probability"):
        random_.choice(KEY, 3, p=np.ones(2))


def test_signs_dirichlet_and_orthogonal():
    signs = host(random_.rademacher(KEY, N))
    assert set(signs) == {-1, 1} and abs(signs.mean()) < 5 / math.sqrt(N)
    x = host(random_.dirichlet(KEY, np.full(3, 1e-4), (100,), "float64"))
    np.testing.assert_allclose(x.sum(-1), 1, rtol=1e-14)  # the gamma numbers themselves are all 0
    q = host(random_.orthogonal(KEY, 3, (500,), "float64"))
    np.testing.assert_allclose(q @ q.swapaxes(1, 2), np.broadcast_to(np.eye(3), q.shape), atol=1e-14)
    assert abs((q**2).mean() - 1 / 3) < 1e-12 and abs(q.mean()) < 5 / math.sqrt(3 * q.size)
    with pytest.raises(errors.ShapeError, match="it needs an axis of components"):
        random_.dirichlet(KEY, 1.0)


def test_covariance_of_a_multivariate_normal():
    cov = np.array([[1, 0.5], [0.5, 2]])
    x = host(random_.multivariate_normal(KEY, np.zeros(2), cov, (N,), "float64"))
    np.testing.assert_allclose(np.cov(x.T), cov, atol=0.04)
    assert random_.multivariate_normal(KEY, np.zeros((5, 2)), cov).shape == (5, 2)
    with pytest.raises(errors.ShapeError, match=r"it must be \[..., D, D\]"):
        random_.multivariate_normal(KEY, np.zeros(3), cov)
    check_grads(lambda m, c: random_.multivariate_normal(KEY, m, c, (3,), "float64"), (np.zeros(2), cov), rtol=1e-5)


# --- derivatives by the parameters -----------------------------------------------------------------------------------


def test_gamma_derivatives_are_those_of_the_quantile_at_the_level_of_the_number():
    a = np.random.default_rng(0).uniform(0.3, 20, 300)
    x = host(random_.gamma(KEY, a, dtype="float64"))
    u, h = stats.gamma(a).cdf(x), 1e-3 * a
    quantiles = [stats.gamma.ppf(u, a + k * h) for k in (-2, -1, 0, 1, 2)]
    slope = (quantiles[0] - 8 * quantiles[1] + 8 * quantiles[3] - quantiles[4]) / (12 * h)
    curve = (-quantiles[0] + 16 * quantiles[1] - 30 * quantiles[2] + 16 * quantiles[3] - quantiles[4]) / (12 * h * h)
    fine = u < 0.999  # above, ppf itself loses digits

    def f(a):
        return random_.gamma(KEY, a, dtype="float64").sum()

    np.testing.assert_allclose(host(grad(f)(a))[fine], slope[fine], rtol=1e-6)
    np.testing.assert_allclose(host(grad(lambda a: grad(f)(a).sum())(a))[fine], curve[fine], rtol=1e-3, atol=1e-5)
    tangent = jvp(lambda a: random_.gamma(KEY, a, dtype="float64"), (a,), (np.ones(300),))[1]
    np.testing.assert_allclose(host(tangent)[fine], slope[fine], rtol=1e-6)


def test_derivatives_of_expectations():
    # E x = a / (a + b) for beta, and alpha / sum(alpha) for dirichlet: the mean of the derivatives is its derivative.
    a, b = np.float64(1.5) + np.zeros(()), np.float64(0.7) + np.zeros(())
    got = grad(lambda a, b: random_.beta(KEY, a, b, (N,), "float64").mean(), (0, 1))(a, b)
    np.testing.assert_allclose([float(g) for g in got], [b / (a + b) ** 2, -a / (a + b) ** 2], atol=0.004)
    alpha = np.array([0.5, 1.0, 2.0])
    got = grad(lambda alpha: random_.dirichlet(KEY, alpha, (N,), "float64")[:, 0].mean())(alpha)
    np.testing.assert_allclose(host(got), [3.0 / 3.5**2, -0.5 / 3.5**2, -0.5 / 3.5**2], atol=0.004)


def test_derivatives_by_bounds():
    check_grads(lambda low, high: random_.truncated_normal(KEY, low, high, (5,), "float64"), (0.5, 2.0), order=2)


def test_counts_and_indices_have_no_derivative():
    with pytest.raises(errors.DTypeError):
        grad(lambda r: random_.poisson(KEY, r))(1.0)
