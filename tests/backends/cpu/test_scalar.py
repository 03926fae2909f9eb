"""Scalar functions of compiled programs are right to some ulp for all exponents; primitives compute what NumPy does."""

from __future__ import annotations

import ctypes
import itertools
import re
import zlib

import ml_dtypes
import numpy as np
import pytest
import scipy.special

from knet.backends.cpu.compiled import scalar, toolchain
from knet.compiler.scalar import C_TYPES, EXPRESSIONS, FUNCTIONS
from knet.core import registry
from knet.core.pointwise import Elementwise

pytestmark = pytest.mark.skipif(toolchain.available() is not None, reason=str(toolchain.available()))

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

PRIMITIVES = [p for p in registry.values() if isinstance(p, Elementwise) and p.c]
DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")


def loop(name, result, operands, value):
    """A C function that fills y[n] with a value of the operands' elements."""
    parameters = "".join(f", const {t} *restrict {a}_" for a, t in operands.items())
    reads = " ".join(f"{t} {a} = {a}_[i];" for a, t in operands.items())
    return (
        f"void loop_{name}(long n, {result} *restrict result_{parameters}) "
        f"{{ for (long i = 0; i < n; i++) {{ {reads} result_[i] = {value}; }} }}\n"
    )


def run(library, name, dtype, *operands):
    result = np.full(operands[0].size + 1, 77, dtype)  # the last element must stay
    function = getattr(library, f"loop_{name}")
    function(ctypes.c_long(result.size - 1), *[ctypes.c_void_p(a.ctypes.data) for a in (result, *operands)])
    assert result[-1] == np.array(77).astype(dtype)
    return result[:-1]


@pytest.fixture(scope="module")
def functions():
    text = scalar.HEADER
    for name in UNARY:
        text += loop(name, "float", {"x": "float"}, f"knet_{name}_f32(x)")
    for name in BINARY:
        text += loop(name, "float", {"x": "float", "y": "float"}, f"knet_{name}_f32(x, y)")
    for half in ("f16", "bf16"):
        text += loop(f"load_{half}", "float", {"x": "uint16_t"}, f"knet_load_{half}(x)")
        text += loop(f"store_{half}", "uint16_t", {"x": "float"}, f"knet_store_{half}(x)")
    text += (
        "void sum(long n, float *y, const float *x) { float s = 0;\n#pragma omp simd reduction(+:s)\n"
        "for (long i = 0; i < n; i++) s += x[i]; y[0] = s; }\n"
    )
    return toolchain.build(text, "functions")


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


def check(got, want, limit):
    """Same NaN, infinities and signs of zero; elsewhere off by at most so many ulp of float32."""
    with np.errstate(all="ignore"):
        rounded = want.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    infinite = np.isinf(rounded) | np.isinf(got)
    np.testing.assert_array_equal(got[infinite], rounded[infinite])
    zero = rounded == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(rounded[zero]))
    usual = ~(np.isnan(rounded) | infinite)
    off = np.abs(got[usual].astype(np.float64) - want[usual]) / ulp_of(rounded[usual])
    assert off.max() <= limit, f"{off.max()} ulp for {want[usual][off.argmax()]!r}"


@pytest.mark.parametrize("name", UNARY)
def test_a_function_of_float_is_right_for_all_exponents(functions, name):
    limit, reference = UNARY[name]
    x = samples(1)
    with np.errstate(all="ignore"):
        want = reference(x.astype(np.float64)).astype(np.float64)
    check(run(functions, name, np.float32, x), want, limit)


@pytest.mark.parametrize("name", BINARY)
def test_a_function_of_two_floats_is_right_for_all_exponents(functions, name):
    limit, reference = BINARY[name]
    x, y = samples(2), samples(3)
    y[: len(SPECIAL) ** 2] = np.tile(SPECIAL, len(SPECIAL))
    if name == "pow":  # so that results are within the range of float
        rng = np.random.default_rng(4)
        some = slice(300_000, 500_000)
        x[some] = np.exp(rng.uniform(-80, 80, 200_000))
        y[some] = rng.uniform(-150, 128, 200_000) / np.log2(x[some].astype(np.float64))
        x[500_000:600_000] = -np.abs(x[500_000:600_000])
        y[500_000:600_000] = rng.integers(-30, 30, 100_000)
    with np.errstate(all="ignore"):
        want = reference(x.astype(np.float64), y.astype(np.float64))
    if name in ("fmax", "fmin"):  # of 0.0 and -0.0 either may come
        both = (x == 0) & (y == 0)
        x, y, want = x[~both], y[~both], want[~both]
    check(run(functions, name, np.float32, x, y), want, limit)


def test_powers_of_two_are_exact(functions):
    n = np.arange(-149, 128, dtype=np.float32)
    powers = np.ldexp(np.float32(1), n.astype(int)).astype(np.float32)
    np.testing.assert_array_equal(run(functions, "exp2", np.float32, n), powers)
    np.testing.assert_array_equal(run(functions, "log2", np.float32, powers), n)
    np.testing.assert_array_equal(run(functions, "pow", np.float32, np.full_like(n, 2), n), powers)


@pytest.mark.parametrize(("half", "dtype"), [("f16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_half_types_load_and_store(functions, half, dtype):
    every = np.arange(1 << 16, dtype=np.uint16)
    wide = run(functions, f"load_{half}", np.float32, every)
    want = every.view(dtype).astype(np.float32)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(wide.view(np.uint32)[number], want.view(np.uint32)[number])
    assert np.isnan(wide[~number]).all()
    finite = wide[np.isfinite(wide)].astype(np.float64)
    x = np.concatenate([samples(5), wide, ((finite[:-1] + finite[1:]) / 2).astype(np.float32)])  # ties, too
    with np.errstate(all="ignore"):
        x = np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))])
        want = x.astype(dtype)
    got = run(functions, f"store_{half}", np.uint16, x)
    number = ~np.isnan(x)
    np.testing.assert_array_equal(got[number], want.view(np.uint16)[number])
    assert np.isnan(got.view(dtype)[~number].astype(np.float32)).all()


def test_a_sum_is_split_over_the_lanes_of_a_vector(functions):
    # 2^24 + 1 is 2^24 in float: added one after the other, the ones after it would all be lost.
    x = np.ones(1 << 12, np.float32)
    x[0] = 1 << 24
    total = np.empty(1, np.float32)
    functions.sum(ctypes.c_long(x.size), ctypes.c_void_p(total.ctypes.data), ctypes.c_void_p(x.ctypes.data))
    assert (1 << 24) < total[0] <= (1 << 24) + (1 << 12)


# --- primitives -------------------------------------------------------------------------------------------------------


def dtypes_of(primitive):
    """Dtypes in which its operands can meet."""
    kinds = "f" if primitive.compute == "float" else primitive.accepts
    return [d for d in DTYPES if np.dtype(d).kind in kinds]


CASES = [(p, dtype) for p in PRIMITIVES for dtype in dtypes_of(p)]


@pytest.fixture(scope="module")
def primitives():
    units = {}
    for p, dtype in CASES:
        own = C_TYPES[dtype]
        result = "uint8_t" if p.result == "bool" else own
        operands = {a: "uint8_t" if i in p.free else own for i, a in enumerate(p.argnames)}
        group = "floats" if "float" in dtype else "integers"
        units[group] = units.get(group, scalar.INTEGER_HEADER) + loop(
            f"{p.name}_{dtype}", result, operands, scalar.expression(p, dtype)
        )
    return toolchain.build(list(units.values()), "primitives")


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


@pytest.mark.parametrize(("primitive", "dtype"), CASES, ids=lambda v: getattr(v, "name", v))
def test_a_primitive_computes_what_its_body_does(primitives, primitive, dtype):
    xs = operands(primitive, dtype)
    if apart := APART.get(primitive.name):
        keep = ~apart(*xs)
        xs = [x[keep] for x in xs]
    with np.errstate(all="ignore"):
        want = np.asarray(primitive.body(*xs))
    assert want.dtype == ("bool" if primitive.result == "bool" else dtype)
    got = run(primitives, f"{primitive.name}_{dtype}", want.dtype, *xs)
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite])
    off = np.abs(got[finite].astype(np.float64) - want[finite]) / ulp_of(want[finite])
    assert off.max() <= ROUGH.get(primitive.name, 4), f"{off.max()} ulp for {[x[finite][off.argmax()] for x in xs]}"


def test_each_function_of_an_expression_is_in_the_table():
    used = {name for p in PRIMITIVES for name in re.findall(r"([A-Za-z_]\w*)\s*\(", p.c)}
    assert used <= set(FUNCTIONS), used - set(FUNCTIONS)
    assert set(EXPRESSIONS) <= {p.name for p in PRIMITIVES}


def test_expressions_of_float_have_no_double_in_them():
    assert scalar.expression(registry["ndtr"], "float32") == "(float)0.5 * knet_erfc_f32(-x * (float)M_SQRT1_2)"
    assert scalar.expression(registry["ndtr"], "float64") == "0.5 * knet_erfc_f64(-x * M_SQRT1_2)"
    assert scalar.expression(registry["softplus"], "float32") == (
        "knet_fmax_f32(x, 0) + knet_log1p_f32(knet_exp_f32(-knet_fabs_f32(x)))"
    )
