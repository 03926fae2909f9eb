"""Long sums in float32 keep their digits, whatever the layout in memory and the axes."""

from __future__ import annotations

import numpy as np
import pytest

import knet.numpy as knp

SHAPES = [  # of the memory, the order of the axes seen, the axes added up
    ((65536, 16), (0, 1), (0,)),
    ((4099, 3), (0, 1), (0,)),  # 64 x 64 and a rest in both stages
    ((3, 12801, 5), (0, 1, 2), (1,)),
    ((64, 32, 32, 16), (0, 3, 1, 2), (0, 2, 3)),
    ((70, 1, 130, 3), (3, 0, 1, 2), (1, 2, 3)),
    ((16, 65536), (0, 1), (1,)),
    ((65536,), (0,), (0,)),
]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("memory", "order", "axis"), SHAPES)
def test_a_long_sum_keeps_its_digits(memory, order, axis, keepdims):
    # nearly equal terms, whose rounding errors have one sign when they are added one after the other
    x = (np.random.default_rng(0).random(memory) * 0.001 + 0.3).astype(np.float32).transpose(order)
    wanted = np.mean(x, axis=axis, keepdims=keepdims, dtype=np.float64)
    got = np.asarray(knp.mean(knp.asarray(x), axis=axis, keepdims=keepdims))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=5e-7)
