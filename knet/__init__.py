"""Knet: beginning deep learning with 100 lines of Python.

A model is a pure function over a pytree of parameters; ``grad`` differentiates it; the same program runs on every
backend. ``import knet.numpy as knp`` has the arrays, ``knet.nn`` the layers, ``knet.optim`` the optimizers.
"""

from . import data, numpy
from .core import (
    Array,
    default_device,
    errors,
    grad,
    set_backend,
    stop_gradient,
    tree,
    use_backend,
    value_and_grad,
    vjp,
)
from .progress import progress

__version__ = "0.1.0"

__all__ = [
    "Array",
    "data",
    "default_device",
    "errors",
    "grad",
    "numpy",
    "progress",
    "set_backend",
    "stop_gradient",
    "tree",
    "use_backend",
    "value_and_grad",
    "vjp",
]
