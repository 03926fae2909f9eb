"""Random bits by numpy.random.Philox, whose compiled loop yields the very words that core.ops.random specifies."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.ops import random as spec


def random_bits(key: Any, *, shape: Any, dtype: Any) -> Any:
    """See core.ops.random.random_bits."""
    if key.ndim > 1:
        return spec.random_bits.body(key, shape=shape, dtype=dtype)
    words = np.random.Philox(key=key, counter=0).random_raw(4 * spec.blocks(shape, dtype))
    return spec.unpack(words, shape, dtype)
