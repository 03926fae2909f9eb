"""Each primitive of the catalogue under jit: values and derivatives are those without it.

Those without it are the CPU's: another backend's operations one by one are compared with NumPy in tests/ops, and
compiling each of them here would take most of the time.

One program a row computes all its cases, in all its dtypes, with the gradients of the floating ones; a second and a
third are the forward and the backward graph of a jitted function that is differentiated from outside.
"""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np
import pytest
from catalog import BOOL, INT32, ROWS, RULE, Draw, each, kind

import knet
import knet.numpy as knp

F32 = knp.float32
CLOSE = 64  # units in the last place of the largest element: fused loops round otherwise


DIFFERENTIABLE = (F32, knp.float64, knp.complex64, knp.complex128)


def close(got, want, label):
    """Equal dtype and shape, integers and booleans exactly, floats within rounding of the result's magnitude."""
    assert (got.shape, got.dtype) == (want.shape, want.dtype), label
    got, want = np.asarray(got), np.asarray(want)
    if kind(got.dtype) not in "fc":
        assert np.array_equal(got, want), label
        return
    eps = float(ml_dtypes.finfo(got.dtype if kind(got.dtype) == "f" else got.real.dtype).eps)
    wide = np.result_type(got.dtype, np.float32) if kind(got.dtype) == "c" else np.float64
    got, want = got.astype(wide), want.astype(wide)
    finite = np.abs(want[np.isfinite(want)])
    atol = CLOSE * eps * max(1e-3, float(np.max(finite, initial=0.0)))
    np.testing.assert_allclose(got, want, rtol=CLOSE * eps, atol=atol, err_msg=label)


def cases_of(row):
    """(case, operands) in single precision, and two cases in each other dtype of the row."""
    main = F32 if F32 in row.dtypes else row.dtypes[0]
    for dtype in row.dtypes:
        for case in row.cases if dtype is main else [c for c in row.cases if _sized(c)][:2]:
            yield case, list(map(knp.asarray, case.draw(dtype, f"{row.name} jit")))


def _sized(case):
    return any(isinstance(o, Draw) and o.shape and 0 not in o.shape for o in case.operands)


def plainly(f, operands):
    """f of the operands, one operation after the other on the CPU."""
    with knet.use_backend("cpu"):
        return f(knet.tree.map(lambda x: x.to_device("cpu"), operands))


def moving(row, case, arrays):
    """Operands to differentiate by."""
    return [
        i
        for i, rule in enumerate(row.grads[: len(arrays)])
        if rule == RULE and isinstance(case.operands[i], Draw) and arrays[i].dtype in DIFFERENTIABLE
    ]


def weighted(row, case, arrays, where):
    """Scalar function of the differentiated operands: results with weights that tell elements apart."""

    def f(*xs):
        full = list(arrays)
        for i, x in zip(where, xs, strict=True):
            full[i] = x
        total = 0.0
        for y in each(row.primitive(*full, **case.params)):
            y = y.real + 0.7 * y.imag if y.dtype.kind == "c" else y
            if y.dtype in (F32, knp.float64):
                total = total + (y * weights(y.shape, y.dtype)).sum()
        return total

    return f


def weights(shape, dtype):
    return _weights(shape, dtype, knp.asarray(0.0).device)


@functools.cache
def _weights(shape, dtype, _device):
    return knp.asarray(np.linspace(-1.0, 1.5, int(np.prod(shape))).reshape(shape)).astype(dtype)


def values_and_gradients(row, specs, operands):
    """Per case the results, and the gradient by all operands that have one."""
    out = []
    for case, arrays in zip(specs, operands, strict=True):
        where = moving(row, case, arrays)
        gradient = knet.grad(weighted(row, case, arrays, where), tuple(range(len(where)))) if where else None
        out.append(
            (each(row.primitive(*arrays, **case.params)), gradient(*(arrays[i] for i in where)) if where else ())
        )
    return out


@pytest.mark.parametrize("name", ROWS)
def test_values_and_gradients(name):
    row = ROWS[name]
    specs, operands = zip(*cases_of(row), strict=True)
    with np.errstate(all="ignore"):
        want = plainly(lambda operands: values_and_gradients(row, specs, operands), operands)
        got = knet.jit(lambda operands: values_and_gradients(row, specs, operands))(operands)
    for case, g, w in zip(specs, got, want, strict=True):
        for a, b in zip(knet.tree.leaves(g), knet.tree.leaves(w), strict=True):
            close(a, getattr(b, "dense", lambda b=b: b)(), f"{name}({case})")


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if RULE in row.grads])
def test_gradient_of_a_jitted_function(name):
    row = ROWS[name]
    found = [(c, a, moving(row, c, a)) for c, a in cases_of(row) if _sized(c)]
    case, arrays, where = next((c, a, w) for c, a, w in found if w)

    def gradient(arrays, j):
        f = weighted(row, case, arrays, where)
        return knet.grad(j(f), tuple(range(len(where))))(*(arrays[i] for i in where))

    with np.errstate(all="ignore"):
        want = plainly(lambda arrays: gradient(arrays, lambda f: f), arrays)
        got = gradient(arrays, knet.jit)
    for g, w in zip(got, want, strict=True):
        dense = [getattr(x, "dense", lambda x=x: x)() for x in (g, w)]
        close(*dense, f"{name}({case})")


@pytest.mark.parametrize("name", list(ROWS)[::4])
def test_batches(name):
    row = ROWS[name]
    if isinstance(row.primitive.batch, str):
        with pytest.raises(knet.errors.NotDifferentiable, match="does not batch"):
            _batched(row, lambda f: f)
        with pytest.raises(knet.errors.NotDifferentiable, match="does not batch"):
            _batched(row, knet.jit)
        return
    with np.errstate(all="ignore"):
        want = plainly(lambda _: _batched(row, lambda f: f), ())
        for g, w in zip(_batched(row, knet.jit), want, strict=True):
            close(g, w, name)


def _batched(row, j):
    case, arrays = next(((c, a) for c, a in cases_of(row) if _sized(c)), next(cases_of(row)))
    drawn = [isinstance(o, Draw) for o in case.operands]
    drawn = drawn if any(drawn) else [True] * len(drawn)
    batches = [knp.stack([a, a]) if d else a for a, d in zip(arrays, drawn, strict=True)]
    f = j(lambda *xs: each(row.primitive(*xs, **case.params)))
    return knet.vmap(f, in_axes=tuple(0 if d else None for d in drawn))(*batches)


def test_the_catalogue_has_other_dtypes_than_floats():
    assert {d for row in ROWS.values() for d in row.dtypes} >= {BOOL, INT32, F32, knp.bfloat16}
