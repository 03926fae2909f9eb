"""jit: from a traced function to a graph, from the graph to a program. Reading order: README.md beside this file."""

from . import (
    control,  # noqa: F401  # it says how loops and branches are staged
    custom,  # noqa: F401  # it says how functions with a derivative of their own are staged
)
from .jit import jit, trace

__all__ = ["jit", "trace"]
