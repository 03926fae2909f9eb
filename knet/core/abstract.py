"""Evaluation on shapes alone: what a function would return, without computing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import errors, tree
from .aval import ShapedArray, aval_of
from .device import as_array, default_device
from .primitive import Primitive
from .trace import Trace, Tracer

__all__ = ["eval_shape"]


class AbstractTrace(Trace):
    """The trace of eval_shape: each primitive's shape rule in place of its kernel."""

    kind = "eval_shape"
    __slots__ = ()

    def process(self, primitive: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        if not primitive.scalars:
            args = [as_array(x, primitive.name) for x in args]
        y = primitive.aval(*[x.aval if isinstance(x, AbstractTracer) else x for x in args], **params)
        return tuple(AbstractTracer(self, a) for a in y) if primitive.multiple else AbstractTracer(self, y)

    def call(self, call: Any, leaves: Sequence[Any]) -> list[Any]:
        """Results of a function that brings its own derivative (see core.custom)."""
        return call.run(leaves)


class AbstractTracer(Tracer):
    """An array of which shape and dtype are known."""

    __slots__ = ("aval",)

    def __init__(self, trace: AbstractTrace, aval: ShapedArray) -> None:
        self.trace = trace
        self.aval = aval

    @property
    def shape(self) -> tuple[int, ...]:
        return self.aval.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.aval.dtype

    @property
    def device(self) -> Any:
        return default_device()

    def _host(self, wanted: str) -> np.ndarray[Any, Any]:
        raise errors.abstract_to_host(wanted, self.trace.function, errors.describe(self))

    def __repr__(self) -> str:
        return f"Tracer<eval_shape>({self.aval})"

    __str__ = __repr__


def eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Shapes and dtypes of a function's results, without computing them.

    Args:
      fun: a function of pytrees of arrays.
      args, kwargs: its arguments; a leaf is anything with ``shape`` and ``dtype``, or a number.

    Returns:
      The results' pytree with a leaf of ``shape`` and ``dtype`` for each array.

    Raises:
      TracerError: the function needs a value, for instance to branch on it.

    Example:
      >>> import knet, knet.numpy as knp
      >>> knet.eval_shape(lambda x, w: x @ w, knp.ones((2, 3)), knp.ones((3, 4)))
      float32[2,4]
    """
    trace = AbstractTrace(getattr(fun, "__name__", repr(fun)))

    def abstract(leaf: Any) -> Any:
        x = leaf if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else as_array(leaf)
        return AbstractTracer(trace, ShapedArray(tuple(x.shape), x.dtype))

    new_args, new_kwargs = tree.map(abstract, (args, kwargs))
    return tree.map(lambda y: aval_of(as_array(y)), fun(*new_args, **new_kwargs))
