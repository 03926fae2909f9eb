"""Pytrees: nested dicts, lists, tuples, named tuples, registered classes, with arrays as leaves; ``None`` is empty."""

from .core.tree import *  # noqa: F403
from .core.tree import __all__ as __all__
