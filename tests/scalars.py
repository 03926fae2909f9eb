"""What tests of scalar functions share: primitives and dtypes, operands from all over their range, what is right."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import scipy.special

from knet.core import registry
from knet.core.pointwise import Elementwise

SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, -3.0, 1000.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.1754944e-38,
     -1.1754944e-38, 3.4028235e38, -3.4028235e38, 88.72283, 88.72284, -87.4, -103.97, -104.0, 127.99999, 128.0, -126.5,
     -149.0, -149.5, -150.0, 16777216.0, -16777217.0],
    np.float32,
)  # fmt: skip

# Largest error in ulp, and the reference in double. With a fused multiply-add, exp2 and the logarithms stay below 1.1.
UNARY = {
    "exp": (1.1, np.exp), "exp2": (1.2, np.exp2), "expm1": (1.5, np.expm1), "log": (1.0, np.log),
    "log1p": (1.6, np.log1p), "log2": (2.0, np.log2), "log10": (2.0, np.log10), "tanh": (2.5, np.tanh),
    "erf": (1.2, scipy.special.erf), "erfc": (3.3, scipy.special.erfc), "sin": (1.6, np.sin),
    "cos": (1.6, np.cos), "sqrt": (0.501, np.sqrt),
    "rint": (0, np.rint), "floor": (0, np.floor), "ceil": (0, np.ceil), "trunc": (0, np.trunc), "fabs": (0, np.abs),
    "isinf": (0, np.isinf), "isfinite": (0, np.isfinite), "signbit": (0, np.signbit),
}  # fmt: skip
BINARY = {"pow": (0.7, np.power), "fmax": (0, np.fmax), "fmin": (0, np.fmin), "copysign": (0, np.copysign)}


def samples(seed, count=1 << 19):
    """Random bit patterns (all exponents, subnormal numbers, NaN), ordinary numbers, and special ones."""
    rng = np.random.default_rng(seed)
    return np.concatenate([
        np.repeat(SPECIAL, len(SPECIAL)),
        rng.integers(0, 1 << 32, count, np.uint32).view(np.float32),
        rng.uniform(-120, 120, count // 2).astype(np.float32),
        rng.uniform(-5, 11, count // 2).astype(np.float32),
        rng.uniform(-1.5, 1.5, count // 2).astype(np.float32),
        np.exp(rng.uniform(-30, 5, count // 2)).astype(np.float32),
    ])  # fmt: skip


def ulp_of(x):
    """Distance of neighbours at x, of subnormal numbers that of the smallest normal one."""
    info = np.finfo(x.dtype)
    return np.spacing(np.clip(np.abs(x), info.tiny, np.nextafter(info.max, x.dtype.type(0)))).astype(np.float64)


def pairs(name, count=1 << 19):
    """Operands of a function of two floats."""
    x, y = samples(2, count), samples(3, count)
    y[: len(SPECIAL) ** 2] = np.tile(SPECIAL, len(SPECIAL))
    if name == "pow":  # so that results are within the range of float
        rng = np.random.default_rng(4)
        n = x.size // 10
        some = slice(2 * n, 4 * n)
        x[some] = np.exp(rng.uniform(-80, 80, 2 * n))
        y[some] = rng.uniform(-150, 128, 2 * n) / np.log2(x[some].astype(np.float64))
        x[4 * n : 5 * n] = -np.abs(x[4 * n : 5 * n])
        y[4 * n : 5 * n] = rng.integers(-30, 30, n)
    if name in ("fmax", "fmin"):  # of 0.0 and -0.0 either may come
        both = (x == 0) & (y == 0)
        x, y = x[~both], y[~both]
    return x, y


def near_halves(dtype):
    """Floats to be rounded to a half type: its numbers, those right between two of them, their neighbours, any."""
    wide = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(np.float32)
    finite = wide[np.isfinite(wide)].astype(np.float64)
    x = np.concatenate([samples(5), wide, ((finite[:-1] + finite[1:]) / 2).astype(np.float32)])
    with np.errstate(all="ignore"):
        return np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))])


def check(got, want, limit):
    """Same NaN, infinities and signs of zero; elsewhere off by at most so many ulp of got's dtype."""
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    infinite = np.isinf(rounded) | np.isinf(got)
    np.testing.assert_array_equal(got[infinite], rounded[infinite])
    zero = rounded == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(rounded[zero]))
    usual = ~(np.isnan(rounded) | infinite)
    off = np.abs(got[usual].astype(want.dtype) - want[usual]) / ulp_of(rounded[usual])
    assert off.max() <= limit, f"{off.max()} ulp for {want[usual][off.argmax()]!r}"


# --- primitives -------------------------------------------------------------------------------------------------------

PRIMITIVES = [p for p in registry.values() if isinstance(p, Elementwise) and p.c]
DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")


def dtypes_of(primitive):
    """Dtypes in which its operands can meet."""
    kinds = "f" if primitive.compute == "float" else primitive.accepts
    return [d for d in DTYPES if np.dtype(d).kind in kinds]


CASES = [(p, dtype) for p in PRIMITIVES for dtype in dtypes_of(p)]


def operands(primitive, dtype):
    """Pairs of special and of random numbers."""
    rng = np.random.default_rng(zlib.crc32(primitive.name.encode()))
    kind = np.dtype(dtype).kind
    if kind == "b":
        columns = np.array(list(itertools.product([False, True], repeat=2))).T
    elif kind == "f":
        special = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, np.inf, -np.inf, np.nan, 30.0, -30.0]
        columns = np.array(list(itertools.product(special, repeat=2))).T
        columns = np.concatenate([columns, rng.normal(size=(2, 400)) * 3], axis=1)
    else:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        special = [low, low + 1, 0, 1, 2, 3, 7, high // 2, high - 1, high] + ([-1, -2, -7] if low else [])
        columns = np.array(list(itertools.product(special, repeat=2)), dtype).T
        columns = np.concatenate([columns, rng.integers(low, high, (2, 400), dtype, endpoint=True)], axis=1)
        if "shift" in primitive.name:
            columns[1] %= np.array(80, dtype)
        if primitive.name == "power":
            columns[1] %= np.array(9, dtype)  # NumPy refuses negative ones
    columns = [np.ascontiguousarray(c.astype(dtype)) for c in columns]
    free = [rng.integers(0, 2, columns[0].size).astype(bool) for _ in primitive.free]
    return free + columns[: len(primitive.argnames) - len(free)]


# Where C's function rounds otherwise than NumPy's or SciPy's: in ulp.
ROUGH = {
    "logit": 64,
    "logaddexp": 16,  # near its root
    "erfc": 64, "ndtr": 512,  # in the far tail, where the argument's rounding is magnified
    "gammaln": 1e6,  # near its roots at 1 and 2
}  # fmt: skip
# Operands for which C's function differs from SciPy's.
APART = {"gammaln": lambda x: x == -np.inf}


def body(primitive, xs):
    """What the primitive's NumPy body makes of operands."""
    with np.errstate(all="ignore"):
        return np.asarray(primitive.body(*xs))


def check_primitive(primitive, got, xs):
    """The same as by the body: integers and truth values equal, floats up to some ulp."""
    want = body(primitive, xs)
    if apart := APART.get(primitive.name):
        keep = ~apart(*xs)
        got, want, xs = got[keep], want[keep], [x[keep] for x in xs]
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite])
    off = np.abs(got[finite].astype(np.float64) - want[finite]) / ulp_of(want[finite])
    assert off.max() <= ROUGH.get(primitive.name, 4), f"{off.max()} ulp for {[x[finite][off.argmax()] for x in xs]}"
