"""The primitives, one file for each family; importing this package fills the registry and installs the operators."""

from . import (
    conv,
    creation,
    decompositions,
    elementwise,
    fft,
    index,
    linalg,
    pool,
    random,
    reduce,
    segment,
    shape,
    sort,
    special,
)

__all__ = [
    "conv",
    "creation",
    "decompositions",
    "elementwise",
    "fft",
    "index",
    "linalg",
    "pool",
    "random",
    "reduce",
    "segment",
    "shape",
    "sort",
    "special",
]
