"""Python numbers beside arrays take the array's dtype at once, as in the operators, and are not rounded before."""

from __future__ import annotations

import numpy as np
import pytest

import knet.numpy as knp

E = knp.asarray(np.array([0.0, 0.1, 0.2]))  # float64
Z = knp.zeros(3, dtype=knp.float64)


@pytest.mark.parametrize(
    "f",
    [
        lambda: knp.pad(Z, 1, constant_values=0.1)[0],
        lambda: knp.ediff1d(Z, to_end=0.1)[-1],
        lambda: knp.histogram_bin_edges(Z, 3, (0.1, 0.7))[0],
        lambda: knp.heaviside(Z, 0.1)[0],
        lambda: knp.interp(0.1, E, E),
        lambda: knp.diff(E, prepend=-0.1)[0],
        lambda: knp.diff(Z, append=0.1)[-1],
        lambda: knp.dot(0.1, Z + 1)[0],
        lambda: knp.inner(Z + 1, 0.1)[0],
        lambda: knp.kron(Z + 1, 0.1)[0],
        lambda: knp.outer(0.1, Z + 1)[0, 0],
        lambda: knp.stack([0.1, E[0]])[0],
        lambda: knp.linspace(0.1, E, 2)[0, 0],
        lambda: knp.linspace(0.1, np.array(1.0), 2)[0],
        lambda: knp.where(E >= 0, 0.1, E)[0],
        lambda: knp.take(E, [9], mode="fill", fill_value=0.1)[0],
    ],
)
def test_float64_stays_exact(f):
    y = f()
    assert y.dtype == knp.float64 and y.item() == 0.1


def test_comparisons_are_exact():
    assert knp.searchsorted(E, 0.1).item() == 1
    assert knp.isin(E, 0.1).tolist() == [False, True, False]
    assert knp.digitize(0.1, E).item() == 2
    assert knp.array_equal(E[1], 0.1) and knp.array_equiv(E[1:2], 0.1)
    assert knp.isclose(E, 0.1, rtol=0, atol=1e-12).tolist() == [False, True, False]


def test_the_array_decides_the_width():
    half = knp.ones(2, dtype=knp.float16)
    for y in (knp.dot(half, 2.5), knp.kron(2, half), knp.stack([half[0], 1.0]), knp.heaviside(half, 0.5)):
        assert y.dtype == knp.float16
    assert knp.heaviside(knp.asarray([1, 0, -1]), 0.5).dtype == knp.float32
    assert (
        knp.stack([1, knp.asarray(2.0)]).dtype == knp.float32 and knp.stack([0.5, knp.asarray(2)]).dtype == knp.float32
    )
    assert knp.stack([1, 2]).dtype == knp.int64 and knp.stack([1.0, 2]).dtype == knp.float32
    with pytest.raises(ValueError, match="stack"):
        knp.stack([])
