"""What CuPy is to compute, computed by NumPy and SciPy in its place: the table's calls against the bodies."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
import scipy.linalg
import scipy.special

pytest.importorskip("cupy", reason='the CUDA backend needs CuPy: pip install "knet[cuda13]"')
sys.path.insert(0, str(Path(__file__).parent))

import printed
from catalog import ROWS

import knet.core.ops.decompositions
import knet.core.ops.fft  # noqa: F401
from knet.backends.cuda import libraries
from knet.backends.cuda.libraries import CALLS, COMPLEX, call_of, compute, wide
from knet.compiler.device import eager
from knet.compiler.device.eager import Operation
from knet.core import ShapedArray, errors, registry
from knet.core.pointwise import Elementwise

NUMPY = SimpleNamespace(xp=np, special=scipy.special, linalg=scipy.linalg)
SINGLE, DOUBLE = np.dtype("float32"), np.dtype("float64")
COMPLEXES = np.dtype("complex64"), np.dtype("complex128")
ULPS = 64  # of two ways to the same number, over the largest of the array


def results_of(primitive, arrays, params):
    made = primitive.body(*arrays, **params)
    return list(made) if primitive.multiple else [made]


def avals_of(primitive, arrays, params):
    made = primitive.aval(*(ShapedArray(x.shape, x.dtype) for x in arrays), **params)
    return list(made) if primitive.multiple else [made]


def agrees(name, arrays, params, lib=NUMPY):
    """Compare a call with the body: dtypes, shapes and values, of half types in float32."""
    primitive = registry[name]
    avals = avals_of(primitive, arrays, params)
    call = call_of(primitive, arrays, avals)
    assert call is not None, f"{name} is not in the table"
    wider = [x.astype(wide(x.dtype)) for x in arrays]
    with np.errstate(all="ignore"):
        got = compute(lib, call, primitive, wider, params)
        want = results_of(primitive, arrays, params)
    assert len(got) == len(want) == len(avals)
    for y, expected, aval in zip(got, want, avals):
        assert y.shape == aval.shape == np.shape(expected)
        assert np.can_cast(y.dtype, wide(aval.dtype)), "what is left to do is to widen it"
        exact = aval.dtype.kind in "iub"
        eps = 0 if exact else float(ml_dtypes.finfo(aval.dtype).eps)
        y, expected = (np.asarray(a).astype(aval.dtype).astype(complex) for a in (y, expected))
        scale = np.abs(expected).max(initial=0, where=np.isfinite(expected))
        tolerance = eps * (2 if aval.dtype.itemsize == 2 else ULPS)
        np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance * scale)


def drawn(name, dtype):
    """Operands and parameters of a row's cases that are not empty."""
    for case in ROWS[name].cases:
        arrays = [np.asarray(x) for x in case.draw(dtype, "libraries")]
        if all(x.size for x in arrays):
            yield arrays, case.params


@pytest.mark.parametrize("name", CALLS)
def test_calls_compute_what_the_bodies_do(name):
    kinds = [d for d in ROWS[name].dtypes if d.kind not in "iub"]
    count = 0
    for dtype in kinds:
        for arrays, params in drawn(name, dtype):
            agrees(name, arrays, params)
            count += 1
    assert count >= len(kinds) > 1


LINEAR = [n for n, c in CALLS.items() if c.library == "cusolver"]


@pytest.mark.parametrize("dtype", COMPLEXES, ids=str)
@pytest.mark.parametrize("name", LINEAR)
def test_linear_algebra_of_complex_matrices(name, dtype):
    for arrays, params in drawn(name, dtype):
        if name == "pinv":
            arrays[1] = arrays[1].real
        agrees(name, arrays, params)


@pytest.mark.parametrize("dtype", COMPLEXES, ids=str)
@pytest.mark.parametrize("name", COMPLEX)
def test_complex_numbers(name, dtype):
    if name == "cast":
        x = np.array([[1 + 2j, 0j], [-0.5j, 3.0]], dtype)
        for target in ("complex64", "complex128", "float32", "float64", "bool", "int32"):
            agrees(name, [x], {"dtype": np.dtype(target)})
        agrees(name, [np.arange(3.0, dtype=np.float32)], {"dtype": dtype})
        return
    primitive = registry[name]
    for case in ROWS[name].cases:
        arrays = [np.asarray(x) for x in case.draw(dtype, "libraries")]
        if isinstance(primitive, Elementwise) and 0 in primitive.free:
            arrays[0] = np.asarray(arrays[0] != 0)
        if all(x.size for x in arrays):
            agrees(name, arrays, case.params)


SPECIAL_POINTS = [complex(a, b) for a, b in itertools.product((0.0, -0.0, 1.0, -1.0, 1e-9, np.inf, -np.inf), repeat=2)]


@pytest.mark.parametrize("name", ["expm1", "sqrt", "log", "abs", "reciprocal", "rint", "isfinite", "logical_not"])
def test_complex_special_points(name):
    """With NumPy in CuPy's place they are those of the table's own formulas."""
    x = np.array([*SPECIAL_POINTS, complex(np.nan, 0), complex(np.nan, 1)], np.complex128)
    primitive = registry[name]
    with np.errstate(all="ignore"):
        (got,) = compute(NUMPY, call_of(primitive, [x], []), primitive, [x], {})
        want = primitive.body(x)
    np.testing.assert_allclose(got, want, rtol=1e-15, atol=0)


def test_expm1_does_not_cancel():
    x = np.array([1e-12 + 1e-13j, -1e-9j])
    got = COMPLEX["expm1"].function(NUMPY, x)
    np.testing.assert_allclose(got, x + x * x / 2, rtol=1e-15)


def test_every_complex_elementwise_operation_is_there():
    takes = {n for n, p in registry.items() if isinstance(p, Elementwise) and "c" in p.accepts}
    assert takes <= set(COMPLEX)
    assert all(n in registry for n in (*CALLS, *COMPLEX))
    assert not set(CALLS) & set(COMPLEX)


def test_real_numbers_are_kernels():
    for name in ("add", "matmul", "reduce_sum", "where"):
        avals = [ShapedArray((3, 3), SINGLE)] * 2
        assert call_of(registry[name], avals, avals[:1]) is None
        assert call_of(registry[name], [avals[0], ShapedArray((), COMPLEXES[0])], avals[:1]) is COMPLEX[name]


# --- errors ----------------------------------------------------------------------------------------------------------


class Quiet:
    """NumPy as CuPy is: what fails is NaN, or infinite, and nothing is said."""

    class linalg:
        """See numpy.linalg."""

    def __getattr__(self, name):
        return getattr(np, name)


def quiet(function):
    def answers(*args, **options):
        try:
            return function(*args, **options)
        except np.linalg.LinAlgError:
            shape = args[0].shape
            name = function.__name__
            w, v = np.full(shape[:-1], np.nan), np.full(shape, np.nan)
            return {"eigh": (w, v), "eig": (w, v), "svd": (v, w, v), "eigvalsh": w, "eigvals": w}.get(name, v)

    return answers


for _name in ("eigh", "eig", "svd", "eigvalsh", "eigvals", "pinv", "inv", "solve", "det", "slogdet", "qr"):
    setattr(Quiet.linalg, _name, staticmethod(quiet(getattr(np.linalg, _name))))

QUIET = SimpleNamespace(
    xp=Quiet(),
    special=scipy.special,
    linalg=SimpleNamespace(solve_triangular=quiet(scipy.linalg.solve_triangular)),
)
NOT_FINITE = np.stack([np.eye(9), np.full((9, 9), np.nan)])
INDEFINITE = np.array([[[2.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]])
SINGULAR = np.array([[[2.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 4.0]]])
ZERO_DIAGONAL = np.array([[1.0, 0.0], [3.0, 0.0]])
RIGHT = np.ones((2, 1))

FAILURES = [
        ("eigh", (NOT_FINITE,), {}, errors.not_converged), ("eigvalsh", (NOT_FINITE,), {}, errors.not_converged),
    ("eig", (NOT_FINITE,), {}, errors.not_converged), ("eigvals", (NOT_FINITE,), {}, errors.not_converged),
    ("svd", (NOT_FINITE,), {"full": False}, errors.not_converged), ("svdvals", (NOT_FINITE,), {}, errors.not_converged),
    ("pinv", (NOT_FINITE, np.array(1e-9)), {}, errors.not_converged), ("cofactor", (NOT_FINITE,), {}, None),
    ("triangular_solve", (ZERO_DIAGONAL, RIGHT), {"lower": True, "unit": False}, errors.singular),
]  # fmt: skip
SAID = [
    ("cholesky", (INDEFINITE,), {}, errors.not_positive_definite),
    ("solve", (SINGULAR, RIGHT), {}, errors.singular), ("inv", (SINGULAR,), {}, errors.singular),
    ("expm", (np.full((2, 2), np.nan),), {}, None),
]  # fmt: skip


def raised(f):
    try:
        with np.errstate(all="ignore"):
            f()
    except errors.LinAlgError as e:
        return str(e)
    return None


@pytest.mark.parametrize(("name", "operands", "params", "error"), FAILURES, ids=lambda v: v if type(v) is str else "")
@pytest.mark.parametrize("lib", [NUMPY, QUIET], ids=["numpy", "quiet"])
def test_failures_are_the_primitives_errors_though_cupy_says_nothing(lib, name, operands, params, error):
    primitive = registry[name]
    want = raised(lambda: primitive.body(*operands, **params))
    assert want is not None
    assert raised(lambda: compute(lib, CALLS[name], primitive, operands, params)) == want
    if error is not None:
        argname = "a" if name == "triangular_solve" else "x"
        assert want == str(error(name, argname, ShapedArray(operands[0].shape, operands[0].dtype)))


@pytest.mark.parametrize(("name", "operands", "params", "error"), SAID, ids=lambda v: v if type(v) is str else "")
def test_failures_that_cupy_reports(name, operands, params, error):
    primitive = registry[name]
    want = raised(lambda: primitive.body(*operands, **params))
    assert raised(lambda: compute(NUMPY, CALLS[name], primitive, operands, params)) == want
    assert (want is None) == (error is None)


def test_a_unit_diagonal_is_not_looked_at():
    agrees("triangular_solve", [ZERO_DIAGONAL, RIGHT], {"lower": True, "unit": True}, QUIET)


def test_systems_broadcast():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 1, 4, 4)) + 4 * np.eye(4), rng.standard_normal((2, 4, 5))
    for x, w in ((a, b), (a, b[0]), (a[0, 0], b)):
        agrees("solve", [x, w], {})
        for lower in (True, False):
            agrees("triangular_solve", [x, w], {"lower": lower, "unit": False})


def test_imaginary_parts_that_do_not_count_are_not_shown_to_cufft():
    seen = []
    lib = SimpleNamespace(xp=SimpleNamespace(fft=SimpleNamespace(irfft=lambda x, n, axis, norm: seen.append(x))))
    x = np.ones((2, 4)) + 1j
    for n, kept in ((6, [0, 1, 1, 0]), (7, [0, 1, 1, 1])):
        CALLS["irfft"].function(lib, x, n=n, axis=1, norm="backward")
        np.testing.assert_array_equal(seen.pop().imag, [kept, kept])
    assert (x.imag == 1).all(), "the operand is not changed"


def test_special_functions_are_computed_in_float64():
    for name, theirs in libraries._SPECIAL.items():
        dtypes = []

        def noted(*operands, dtypes=dtypes):
            dtypes.extend(x.dtype for x in operands)
            return operands[-1]

        lib = SimpleNamespace(xp=np, special=SimpleNamespace(**{theirs: noted}))
        operands = [np.ones(2, np.float32)] * len(registry[name].argnames)
        assert CALLS[name].function(lib, *operands).dtype == SINGLE
        assert dtypes == [DOUBLE] * len(operands)


# --- the page --------------------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[3] / "docs" / "cuda.md"


def on_the_host():
    """{operation: kinds of dtype} of what neither a kernel nor CuPy computes, as the catalogue calls it."""
    recorder = printed.Recorder(printed.CUDA)
    found: dict[str, set[str]] = {}
    for name, row in ROWS.items():
        takes_complex = not isinstance(row.primitive, Elementwise) or "c" in row.primitive.accepts
        for dtype in (*row.dtypes, *(COMPLEXES[:1] if takes_complex else ())):
            for case in row.cases:
                arrays = [np.asarray(x) for x in case.draw(dtype, "printed")]
                operands = [printed._buffer(recorder, x, False) for x in arrays]
                if isinstance(row.primitive, Elementwise):  # operands come in the dtype that is computed in
                    dtypes = row.primitive.kernel_dtypes([ShapedArray(x.shape, x.dtype) for x in operands])
                    arrays = [x.astype(d) for x, d in zip(arrays, dtypes)]
                    operands = [printed._buffer(recorder, x, False) for x in arrays]
                try:
                    avals = avals_of(row.primitive, arrays, case.params)
                    plan = Operation(row.primitive).plan(operands, case.params)
                except (errors.DTypeError, errors.ShapeError):  # complex numbers are not for it
                    continue
                if isinstance(plan, eager._OnHost) and call_of(row.primitive, operands, avals) is None:
                    found.setdefault(name, set()).add("complex" if dtype.kind == "c" else "real")
    return found


def test_the_page_lists_what_runs_on_the_host():
    found = on_the_host()
    always = sorted(n for n, kinds in found.items() if "real" in kinds)
    of_complex = sorted(n for n, kinds in found.items() if kinds == {"complex"})
    text = " ".join(PAGE.read_text().split())
    for lead, names in (("What stays on the host:", always), ("of complex numbers:", of_complex)):
        assert f"{lead} " + ", ".join(f"`{n}`" for n in names) + "." in text, (lead, names)


def test_the_page_lists_what_cupy_computes():
    text = " ".join(PAGE.read_text().split())
    for lead, library in (("cuSOLVER:", "cusolver"), ("cuFFT:", "cufft"), ("special functions:", "")):
        names = sorted(n for n, c in CALLS.items() if c.library == library)
        assert f"{lead} " + ", ".join(f"`{n}`" for n in names) in text, (lead, names)
