"""Finding the operation where the first NaN or infinity appeared."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import device, dtypes, errors
from .primitive import Primitive

__all__ = ["debug_nans"]


@contextlib.contextmanager
def debug_nans() -> Iterator[None]:
    """Context in which the first operation to make a NaN or an infinity out of finite numbers raises.

    Every kernel's result is read back and looked at, forward and backward, which is slow and meant for debugging. The
    switch is for the whole process, all threads included; outside of the context there is no cost.

    Raises:
      NonFinite (a FloatingPointError): names the operation and its operands, and in a backward pass whose derivative
        it was computing.

    Example:
      >>> import knet, knet.numpy as knp
      >>> with knet.debug_nans():
      ...     knp.log(knp.asarray([1.0, 2.0])).shape
      (2,)
    """
    previous = device.inspect_results
    _inspect(_check)
    try:
        yield
    finally:
        _inspect(previous)


def _inspect(function: Any) -> None:
    device.inspect_results = function
    for kernels in device.kernel_tables:
        kernels.clear()  # each kernel is looked up anew, and wrapped or not


def _check(primitive: Primitive, backend: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    bad = next((kind for y in outputs if (kind := _non_finite(backend, y))), None)
    if bad and not any(_non_finite(backend, x) for x in inputs):
        hosts = [x if isinstance(x, (int, float)) else np.asarray(backend.to_host(x)) for x in inputs]
        names = [primitive.argname(i) for i in range(len(inputs))]
        raise errors.non_finite(primitive.name, names, hosts, bad)


def _non_finite(backend: Any, x: Any) -> str:
    """ "NaN", "infinity", or "" for a buffer or number that is finite."""
    if isinstance(x, (int, float)):
        return "" if math.isfinite(x) else "infinity" if math.isinf(x) else "NaN"
    if not dtypes.is_differentiable(x.dtype):
        return ""
    host = np.asarray(backend.to_host(x))
    if np.isfinite(host).all():
        return ""
    return "NaN" if np.isnan(host).any() else "infinity"
