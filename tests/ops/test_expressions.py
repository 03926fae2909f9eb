"""The C expression of each elementwise primitive computes what its NumPy body does.

All expressions are compiled into one library by the system's compiler, in float and in double, and for the operations
on bits in 64-bit integers.
"""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess

import numpy as np
import pytest

from knet.core import registry
from knet.core.pointwise import Elementwise

COMPILER = shutil.which("cc")
# Those without an expression, because C99 has no such function, run their body everywhere.
PRIMITIVES = {name: p for name, p in registry.items() if isinstance(p, Elementwise) and p.c}
TYPES = {np.float32: "float", np.float64: "double", np.int64: "long long"}
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 30.0, -30.0]


def dtypes_of(primitive):
    return [np.float32, np.float64] if "f" in primitive.accepts else [np.int64]


def source():
    lines = ["#include <math.h>", "#include <tgmath.h>"]
    for (name, p), dtype in itertools.product(PRIMITIVES.items(), TYPES):
        if dtype not in dtypes_of(p):
            continue
        ctype = TYPES[dtype]
        result = "unsigned char" if p.result == "bool" else ctype
        types = ["unsigned char" if i in p.free else ctype for i in range(len(p.argnames))]
        parameters = ", ".join(f"const {t} *{a}_" for t, a in zip(types, p.argnames))
        values = " ".join(f"const {t} {a} = {a}_[i];" for t, a in zip(types, p.argnames))
        lines.append(
            f"void {name}_{np.dtype(dtype).name}(long n, {result} *out, {parameters})"
            f" {{ for (long i = 0; i < n; i++) {{ {values} out[i] = {p.c}; }} }}"
        )
    return "\n".join(lines)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("no C compiler on this machine")
    folder = tmp_path_factory.mktemp("expressions")
    (folder / "all.c").write_text(source())
    build = [COMPILER, "-O1", "-shared", "-fPIC", "-o", str(folder / "all.so"), str(folder / "all.c"), "-lm"]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "all.so"))


def operands(primitive, dtype):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "i":
        x, y = rng.integers(-1000, 1000, (2, 300))
        return [x, y % 20 if "shift" in primitive.name else y]
    columns = [
        np.concatenate([rng.normal(size=300) * 3, grid])
        for grid in np.array(list(itertools.product(SPECIAL, repeat=2))).T
    ]
    free = [rng.integers(0, 2, 400).astype(np.uint8) for _ in primitive.free]
    count = len(primitive.argnames) - len(free)
    return free + [c.astype(dtype) for c in (columns if count == 2 else [columns[0]])]


# Where C's own function rounds or treats infinities otherwise than NumPy's: finite operands alone, in ulps.
FINITE = {
    "remainder": 1e6, "floor_divide": 0, "power": 4, "hypot": 4, "atan2": 4, "logit": 64,
    "erfc": 64, "ndtr": 512,  # in the far tail, where the argument's rounding is magnified
    "gammaln": 1e6,  # near its roots at 1 and 2
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(n, d) for n, p in PRIMITIVES.items() for d in dtypes_of(p)],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_expression_computes_what_the_body_does(library, name, dtype):
    p = PRIMITIVES[name]
    xs = operands(p, dtype)
    if name in FINITE:
        keep = np.logical_and.reduce([np.isfinite(x) & (x != 0) for x in xs])
        xs = [np.ascontiguousarray(x[keep]) for x in xs]
    with np.errstate(all="ignore"):
        want = np.asarray(p.body(*[x.astype(bool) if i in p.free else x for i, x in enumerate(xs)]))
    got = np.empty(want.shape, want.dtype)
    function = getattr(library, f"{name}_{np.dtype(dtype).name}")
    function(
        ctypes.c_long(len(want)), got.ctypes.data_as(ctypes.c_void_p), *[x.ctypes.data_as(ctypes.c_void_p) for x in xs]
    )
    if want.dtype.kind in "bi":
        np.testing.assert_array_equal(got, want)
        return
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite & ~np.isnan(want)], want[~finite & ~np.isnan(want)])
    with np.errstate(over="ignore"):  # beyond the largest number
        ulp = np.spacing(np.maximum(np.abs(want[finite]), np.finfo(dtype).tiny))
    off = np.abs(got[finite].astype(np.float64) - want[finite]) / ulp
    assert off.size and off.max() <= FINITE.get(name, 4), f"{name}: {off.max()} ulp off at {int(off.argmax())}"
