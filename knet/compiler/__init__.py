"""jit: from a traced function to a graph, from the graph to a program. Reading order: README.md beside this file."""

from . import control as control
from .jit import jit, trace

__all__ = ["jit", "trace"]
