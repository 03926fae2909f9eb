"""Scalar functions of compiled programs are right to some ulp for all exponents; primitives compute what NumPy does."""

from __future__ import annotations

import ctypes
import re

import ml_dtypes
import numpy as np
import pytest
from scalars import (
    BINARY,
    CASES,
    PRIMITIVES,
    UNARY,
    body,
    check,
    check_primitive,
    near_halves,
    operands,
    pairs,
    samples,
)

from knet.backends.cpu.compiled import scalar, toolchain
from knet.compiler.scalar import C_TYPES, EXPRESSIONS, FUNCTIONS
from knet.core import registry

pytestmark = pytest.mark.skipif(toolchain.available() is not None, reason=str(toolchain.available()))


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
    x, y = pairs(name)
    with np.errstate(all="ignore"):
        want = reference(x.astype(np.float64), y.astype(np.float64))
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
    x = near_halves(dtype)
    with np.errstate(all="ignore"):
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


@pytest.mark.parametrize(("primitive", "dtype"), CASES, ids=lambda v: getattr(v, "name", v))
def test_a_primitive_computes_what_its_body_does(primitives, primitive, dtype):
    xs = operands(primitive, dtype)
    want = body(primitive, xs)
    assert want.dtype == ("bool" if primitive.result == "bool" else dtype)
    check_primitive(primitive, run(primitives, f"{primitive.name}_{dtype}", want.dtype, *xs), xs)


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
