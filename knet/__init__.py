"""Knet: beginning deep learning with 100 lines of Python.

A model is a pure function over a pytree of parameters; ``grad`` differentiates it; the same program runs on every
backend. ``import knet.numpy as knp`` has the arrays, ``knet.nn`` the layers, ``knet.optim`` the optimizers.
"""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING

from . import errors, numpy, tree
from .compiler import jit, trace
from .core import (
    Array,
    ShapedArray,
    associative_scan,
    checkpoint,
    cond,
    custom_jvp,
    custom_vjp,
    debug_nans,
    default_device,
    eval_shape,
    fori_loop,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacrev,
    jvp,
    linear_transpose,
    linearize,
    map,
    precision,
    scan,
    set_backend,
    set_precision,
    stop_gradient,
    switch,
    use_backend,
    value_and_grad,
    vjp,
    vmap,
    while_loop,
)
from .progress import progress

if _TYPE_CHECKING:
    from . import data, extend, memory, nn, optim, random, testing

__version__ = "0.1.0"

__all__ = [
    "Array",
    "ShapedArray",
    "associative_scan",
    "checkpoint",
    "cond",
    "custom_jvp",
    "custom_vjp",
    "data",
    "debug_nans",
    "default_device",
    "errors",
    "eval_shape",
    "extend",
    "fori_loop",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacrev",
    "jit",
    "jvp",
    "linear_transpose",
    "linearize",
    "map",
    "memory",
    "nn",
    "numpy",
    "optim",
    "precision",
    "progress",
    "random",
    "scan",
    "set_backend",
    "set_precision",
    "stop_gradient",
    "switch",
    "testing",
    "trace",
    "tree",
    "use_backend",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]


def __getattr__(name: str) -> object:
    # What a program may do without is imported when first used: together that would double the time of import knet.
    if name in ("data", "extend", "memory", "nn", "optim", "random", "testing"):
        return _importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
