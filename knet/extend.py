"""What one needs to define a primitive outside of Knet; docs/extending.md shows how.

``primitive`` and ``elementwise`` register an operation with its NumPy body, shape rule, derivative and batching rule.
``batching`` has the families' batching rules, ``LINEAR`` and ``MULTILINEAR`` say how tangents pass, ``ZERO`` is the
derivative of a function that is constant in steps. ``ShapedArray`` is what a shape rule returns.
"""

from .core import batching
from .core.aval import ShapedArray
from .core.pointwise import elementwise
from .core.primitive import LINEAR, MULTILINEAR, ZERO, Primitive, primitive, registry

__all__ = [
    "LINEAR",
    "MULTILINEAR",
    "ZERO",
    "Primitive",
    "ShapedArray",
    "batching",
    "elementwise",
    "primitive",
    "registry",
]
