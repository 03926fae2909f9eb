"""What Knet raises. Every class is a :class:`KnetError` and the built-in exception that a user would expect as well."""

from .core.errors import *  # noqa: F403
from .core.errors import __all__ as __all__
