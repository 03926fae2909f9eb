"""Scalar functions of device kernels: on PoCL they are right to some ulp, and primitives compute what NumPy does; the
same text is CUDA C++."""

from __future__ import annotations

import math
import os
import re

import ml_dtypes
import numpy as np
import nvrtc
import pytest
import scipy.special
from scalars import BINARY, CASES, SPECIAL, UNARY, check, check_primitive, near_halves, operands, samples
from scalars import pairs as pairs_of

from knet.compiler.kernels import scalar
from knet.compiler.kernels.prelude import prelude
from knet.compiler.scalar import C_TYPES, FUNCTIONS, literal

COUNT = 1 << 17
FORMS = {"loops": True, "items": False}  # the two kinds of device, which have some functions of their own
DTYPES = list(dict.fromkeys(dtype for _, dtype in CASES))

# What PoCL's library has, for both types: largest error in ulp, and the reference.
LIBRARY = {
    "tan": (3, np.tan), "asin": (1, np.arcsin), "acos": (1, np.arccos), "atan": (1, np.arctan), "sinh": (2.5, np.sinh),
    "cosh": (2.5, np.cosh), "asinh": (1.5, np.arcsinh), "acosh": (2, np.arccosh), "atanh": (1, np.arctanh),
    "cbrt": (1, np.cbrt), "atan2": (2, np.arctan2), "hypot": (1, np.hypot), "fmod": (0, np.fmod),
    "remainder": (0, np.remainder),
}  # fmt: skip
TWO = {*BINARY, "atan2", "hypot", "fmod", "remainder"}
FLOAT = UNARY | BINARY | LIBRARY
# In double, all are the library's. SciPy's erf and erfc are less exact, so the references are Python's.
DOUBLE = {name: (max(limit, 1.2 if limit else 0), f) for name, (limit, f) in FLOAT.items()} | {
    "erf": (1.2, np.vectorize(math.erf)), "erfc": (4, np.vectorize(math.erfc)),
    "lgamma": (1e7, scipy.special.gammaln),  # near its roots at -2.46, -2.75, ...
}  # fmt: skip
# Without double, the library's; the standard allows 4 ulp, and 16 to pow.
ITEMS = {"sin": (4, np.sin), "cos": (4, np.cos), "pow": (16, np.power)}


class Device:
    """A queue of an OpenCL device."""

    def __init__(self, cl, device):
        self.cl = cl
        self.context = cl.Context([device])
        self.queue = cl.CommandQueue(self.context)

    def build(self, source):
        return self.cl.Program(self.context, source).build(["-cl-std=CL1.2", "-w"], cache_dir=False)

    def run(self, program, name, results, *arrays):
        """Fill results, given as (size, dtype), by a kernel of one group; no element beyond their end may change."""
        flags = self.cl.mem_flags.READ_WRITE | self.cl.mem_flags.COPY_HOST_PTR
        hosts = [np.full(size + 1, 77).astype(dtype) for size, dtype in results]
        buffers = [self.cl.Buffer(self.context, flags, hostbuf=host) for host in (*hosts, *arrays)]
        arguments = [argument for buffer in buffers for argument in (buffer, np.int64(0))]
        self.cl.Kernel(program, name)(self.queue, (1,), (1,), *arguments)
        for host, buffer in zip(hosts, buffers):
            self.cl.enqueue_copy(self.queue, host.view(np.uint8), buffer)
            assert host[-1] == np.array(77).astype(host.dtype)
        return [host[:-1] for host in hosts]


@pytest.fixture(scope="module")
def device():
    report = pytest.fail if "opencl" in os.environ.get("KNET_REQUIRE", "").split(",") else pytest.skip
    try:
        import pyopencl as cl

        found = [d for platform in cl.get_platforms() for d in platform.get_devices()]
    except Exception as e:  # drivers fail in many ways; each is a reason
        report(f"OpenCL is absent: {type(e).__name__}: {e}".splitlines()[0])
    doubles = [d for d in found if d.double_fp_config]
    if not doubles:
        report(f"no OpenCL device with double, of {found}")
    return Device(cl, doubles[0])


def kernel(name, count, arrays, lines):
    """A kernel of one item that runs lines of C for each i below count."""
    parameters = ", ".join(f"POINTER({kind}, {array})" for array, kind in arrays.items())
    bases = " ".join(f"BASE({kind}, {array})" for array, kind in arrays.items())
    return f"KERNEL(1, 1, 1) {name}({parameters}) {{ {bases}\n    for (int i = 0; i < {count}; i++) {{ {lines} }}\n}}\n"


# --- functions --------------------------------------------------------------------------------------------------------


def wide_samples(seed):
    """Doubles: those of ``samples``, random bit patterns, and where exponentials end."""
    rng = np.random.default_rng(seed)
    more = rng.integers(0, 1 << 64, COUNT, np.uint64).view(np.float64)
    ends = np.array([5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 709.78, -745.13, 1024, -1075])
    with np.errstate(invalid="ignore"):  # signalling NaN
        narrow = samples(seed, COUNT).astype(np.float64)
    return np.concatenate([narrow, more, rng.uniform(-750, 750, COUNT), ends])


def arguments_of(name, dtype):
    if dtype == "float32":
        return list(pairs_of(name, COUNT)) if name in TWO else [samples(1, COUNT)]
    xs = [wide_samples(2), wide_samples(3)] if name in TWO else [wide_samples(1)]
    if name in TWO:
        xs[1][: len(SPECIAL) ** 2] = np.tile(SPECIAL, len(SPECIAL))
    if name in ("fmax", "fmin"):  # of 0.0 and -0.0 either may come
        both = (xs[0] == 0) & (xs[1] == 0)
        xs = [x[~both] for x in xs]
    if name == "lgamma":  # at -inf, C has inf and SciPy -inf; right beside 0, where it is 744, SciPy has inf
        xs = [x[(x != -np.inf) & ((np.abs(x) > 1e-300) | (x == 0))] for x in xs]
    return xs


CALLS = [
    *[("float32", "loops", name) for name in FLOAT],
    *[("float32", "items", name) for name in ITEMS],
    *[("float64", "loops", name) for name in DOUBLE],
]


@pytest.fixture(scope="module")
def functions(device):
    built = {}
    for form in FORMS:
        source = prelude("opencl", True, FORMS[form])
        for dtype, own, name in CALLS:
            if own == form:
                kind = C_TYPES[dtype]
                arrays = {"y_": kind, "x_": f"const {kind}", "z_": f"const {kind}"}
                operand = "x_[i], z_[i]" if name in TWO else "x_[i]"
                size = arguments_of(name, dtype)[0].size
                source += kernel(f"{name}_{dtype}", size, arrays, f"y_[i] = {FUNCTIONS[name][dtype]}({operand});")
        built[form] = device.build(source)
    return built


@pytest.mark.parametrize(("dtype", "form", "name"), CALLS)
def test_a_function_is_right_for_all_exponents(device, functions, dtype, form, name):
    limit, reference = {"loops": DOUBLE if dtype == "float64" else FLOAT, "items": ITEMS}[form][name]
    xs = arguments_of(name, dtype)
    (got,) = device.run(functions[form], f"{name}_{dtype}", [(xs[0].size, dtype)], xs[0], xs[-1])
    # More digits than the result's; SciPy has no more than double, and a remainder is that of the operands as they are.
    wide = np.float64 if dtype == "float32" else np.longdouble
    exact = name in ("fmod", "remainder") or (dtype == "float64" and name in ("erf", "erfc", "lgamma"))
    with np.errstate(all="ignore"):
        want = np.asarray(reference(*(x if exact else x.astype(wide) for x in xs))).astype(wide)
    check(got, want, limit)


@pytest.mark.parametrize(("half", "dtype"), [("f16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_half_types_load_and_store(device, half, dtype):
    every, x = np.arange(1 << 16, dtype=np.uint16), near_halves(dtype)
    program = device.build(
        prelude("opencl", False)
        + kernel("load", every.size, {"y": "float", "x": "const uint16_t"}, f"y[i] = knet_load_{half}(x[i]);")
        + kernel("store", x.size, {"y": "uint16_t", "x": "const float"}, f"y[i] = knet_store_{half}(x[i]);")
    )
    (wide,) = device.run(program, "load", [(every.size, np.float32)], every)
    want = every.view(dtype).astype(np.float32)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(wide.view(np.uint32)[number], want.view(np.uint32)[number])
    assert np.isnan(wide[~number]).all()
    (got,) = device.run(program, "store", [(x.size, np.uint16)], x)
    with np.errstate(all="ignore"):
        want = x.astype(dtype)
    number = ~np.isnan(x)
    np.testing.assert_array_equal(got[number], want.view(np.uint16)[number])
    assert np.isnan(got.view(dtype)[~number].astype(np.float32)).all()


# --- primitives -------------------------------------------------------------------------------------------------------


def of_dtype(dtype):
    return [p for p, d in CASES if d == dtype]


def every_primitive(dtype):
    """One kernel of all primitives of a dtype: the k-th reads and writes the k-th row of its arrays.

    First kernels cost PoCL some 30 ms each.
    """
    own, rows = C_TYPES[dtype], []
    for k, p in enumerate(of_dtype(dtype)):
        reads = [f"const {own} {a} = {a}_[{k} * SIZE + i];" for i, a in enumerate(p.argnames) if i not in p.free]
        reads += [f"const int {p.argnames[i]} = condition_[{k} * SIZE + i];" for i in p.free]
        result = "truth" if p.result == "bool" else "number"
        rows.append(f"{{ {' '.join(reads)} {result}[{k} * SIZE + i] = {scalar.text(p, dtype)}; }}")
    arrays = {"number": own, "truth": "uint8_t", "x_": f"const {own}", "y_": f"const {own}"}
    arrays["condition_"] = "const uint8_t"
    return kernel(f"every_{dtype}", "SIZE", arrays, "\n".join(rows))


@pytest.fixture(scope="module")
def primitives(device):
    """For each form and dtype, the results of all primitives."""
    found = {}

    def results(form, dtype):
        if (form, dtype) not in found:
            each = [operands(p, dtype) for p in of_dtype(dtype)]
            n = max(x.size for xs in each for x in xs)
            free = [len(p.free) for p in of_dtype(dtype)]
            x = np.concatenate([xs[k] for xs, k in zip(each, free)])
            y = np.concatenate([xs[-1] for xs in each])
            condition = np.concatenate([xs[0].astype(bool) for xs in each])
            source = prelude("opencl", dtype == "float64", FORMS[form]) + f"#define SIZE {n}\n" + every_primitive(dtype)
            if dtype != "float64":
                source = "#define double there_may_be_none\n" + source
            program = device.build(source)
            numbers, truths = device.run(
                program, f"every_{dtype}", [(x.size, dtype), (x.size, bool)], x, y, condition.view(np.uint8)
            )
            found[form, dtype] = {
                p.name: (xs, (truths if p.result == "bool" else numbers)[k * n : (k + 1) * n])
                for k, (p, xs) in enumerate(zip(of_dtype(dtype), each))
            }
        return found[form, dtype]

    return results


@pytest.mark.parametrize(("primitive", "dtype"), CASES, ids=lambda v: getattr(v, "name", v))
@pytest.mark.parametrize("form", FORMS)
def test_a_primitive_computes_what_its_body_does(primitives, form, primitive, dtype):
    xs, got = primitives(form, dtype)[primitive.name]
    check_primitive(primitive, got, xs)


def numbers(dtype):
    """Python numbers whose text is not that of every other."""
    if dtype == "bool":
        return [False, True]
    if dtype.startswith("float"):
        return [0.0, -0.0, 0.1, -1e30, 1e-45, 5e-324, np.inf, -np.inf, np.nan, 1.7976931348623157e308]
    info = np.iinfo(dtype)
    return [info.min, info.min + 1, 0, 5, info.max - 1, info.max]


def every_number(dtype):
    lines = "".join(f"y[{k}] = {literal(x, np.dtype(dtype))};\n" for k, x in enumerate(numbers(dtype)))
    return kernel(f"numbers_{dtype}", 1, {"y": C_TYPES[dtype]}, lines)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_are_printed_as_they_are(device, dtype):
    program = device.build(prelude("opencl", True) + every_number(dtype))
    (got,) = device.run(program, f"numbers_{dtype}", [(len(numbers(dtype)), dtype)])
    with np.errstate(over="ignore"):
        want = np.array([np.array(x).astype(dtype) for x in numbers(dtype)])
    np.testing.assert_array_equal(got, want)
    if got.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


# --- CUDA -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
def test_the_same_text_is_cuda(arch):
    texts = [every_primitive(dtype) + every_number(dtype) for dtype in DTYPES]
    texts += [
        kernel(f"{half}", 9, {"y": "uint16_t"}, f"y[i] = knet_store_{half}(knet_load_{half}(y[i]) + 1.0f);")
        for half in ("f16", "bf16")
    ]
    assert nvrtc.compile(prelude("cuda", True) + "#define SIZE 100\n" + "".join(texts), arch)


@pytest.mark.parametrize("dialect", ["opencl", "cuda"])
@pytest.mark.parametrize("loops", [False, True])
def test_each_function_that_a_text_may_name_is_defined(dialect, loops):
    text = prelude(dialect, True, loops)
    for p, dtype in CASES:
        for name in re.findall(r"\bknet_(\w+)\(", scalar.text(p, dtype)):
            function, suffix = name.rsplit("_", 1)
            macro = {"f32": "FLOAT", "f64": "DOUBLE"}.get(suffix, "")
            assert re.search(rf"knet_{name}\(|KNET_{macro}_\d\({function}\)|knet_{function}_##suffix\(", text), name


def test_functions_of_float_need_no_double():
    for loops in (False, True):
        text = prelude("opencl", False, loops)
        inside = re.sub(r"#ifdef KNET_DOUBLES.*?#(else|endif)", "", text, flags=re.DOTALL)
        assert not re.search(r"\bdouble\b", inside)
