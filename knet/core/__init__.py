"""The engine. Reading order and the life of ``grad(f)(x)``: README.md beside this file."""

from . import dtypes, errors, ops, sparse, tree
from .abstract import eval_shape
from .array import Array
from .aval import ShapedArray
from .batch import vmap
from .control import associative_scan, cond, fori_loop, map, scan, switch, while_loop
from .custom import checkpoint, custom_jvp, custom_vjp
from .debug import debug_nans
from .derivatives import hessian, hvp, jacfwd, jacrev, jvp, linear_transpose, linearize
from .device import Device, as_array, default_device, get_device, set_backend, use_backend
from .precisions import precision, set_precision
from .primitive import Primitive, primitive, registry
from .transforms import grad, stop_gradient, value_and_grad, vjp

__all__ = [
    "Array",
    "Device",
    "Primitive",
    "ShapedArray",
    "as_array",
    "associative_scan",
    "checkpoint",
    "cond",
    "custom_jvp",
    "custom_vjp",
    "debug_nans",
    "default_device",
    "dtypes",
    "errors",
    "eval_shape",
    "fori_loop",
    "get_device",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacrev",
    "jvp",
    "linear_transpose",
    "linearize",
    "map",
    "ops",
    "precision",
    "primitive",
    "registry",
    "scan",
    "sparse",
    "set_backend",
    "set_precision",
    "stop_gradient",
    "switch",
    "tree",
    "use_backend",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]
