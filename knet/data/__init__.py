"""Data on the host: minibatches of arrays in memory, and the small data sets of the examples.

Everything here is NumPy: batches move to a device when the model first uses them.
"""

from __future__ import annotations

from .datasets import DatasetUnavailable, digits, housing, housing_or_diabetes, mnist, mnist_or_digits, text
from .idx import DataFormatError, read_idx
from .minibatch import Minibatches, minibatch

__all__ = [
    "DataFormatError",
    "DatasetUnavailable",
    "Minibatches",
    "digits",
    "housing",
    "housing_or_diabetes",
    "minibatch",
    "mnist",
    "mnist_or_digits",
    "read_idx",
    "text",
]
