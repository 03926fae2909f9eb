"""The primitives, one file for each family; importing this package fills the registry and installs the operators.

The families in ``LATER`` are registered when the module of knet.numpy that needs them is first used.
"""

from importlib import import_module

from . import conv, creation, elementwise, index, linalg, pool, random, reduce, shape, sort

__all__ = ["conv", "creation", "elementwise", "index", "linalg", "pool", "random", "reduce", "shape", "sort"]

LATER = ("decompositions", "fft", "segment", "special")


def register_all() -> None:
    """Register every primitive there is, for tests and tables that walk the registry."""
    for name in LATER:
        import_module(f"{__name__}.{name}")
