"""The engine. Reading order and the life of ``grad(f)(x)``: README.md beside this file."""

from . import dtypes, errors, ops, tree
from .array import Array
from .aval import ShapedArray
from .device import Device, as_array, default_device, get_device, set_backend, use_backend
from .primitive import Primitive, primitive, registry
from .transforms import grad, stop_gradient, value_and_grad, vjp

__all__ = [
    "Array",
    "Device",
    "Primitive",
    "ShapedArray",
    "as_array",
    "default_device",
    "dtypes",
    "errors",
    "get_device",
    "grad",
    "ops",
    "primitive",
    "registry",
    "set_backend",
    "stop_gradient",
    "tree",
    "use_backend",
    "value_and_grad",
    "vjp",
]
