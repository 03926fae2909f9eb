"""The CPU backend: buffers are NumPy arrays, kernels the primitives' own bodies except where a faster one is named."""

from __future__ import annotations

import importlib
import operator
from typing import Any

import numpy as np

from ...core import errors
from ...core.ops import conv as conv_ops
from ...core.ops import elementwise as elementwise_ops
from ...core.ops import index as index_ops
from ...core.ops import pool as pool_ops
from ...core.ops import random as random_ops
from . import conv, index, pool, random

_FASTER = {
    # On 0-d values Python's operators skip the ufunc machinery: 40 ns in place of 460; on arrays they are the same.
    elementwise_ops.add: operator.add,
    elementwise_ops.subtract: operator.sub,
    elementwise_ops.multiply: operator.mul,
    elementwise_ops.divide: operator.truediv,
    elementwise_ops.negative: operator.neg,
    conv_ops.conv: conv.conv,
    conv_ops.conv_input_grad: conv.conv_input_grad,
    conv_ops.conv_weight_grad: conv.conv_weight_grad,
    pool_ops.max_pool: pool.max_pool,
    pool_ops.max_pool_grad: pool.max_pool_grad,
    pool_ops.max_pool_gather: pool.max_pool_gather,
    pool_ops.avg_pool: pool.avg_pool,
    pool_ops.avg_pool_grad: pool.avg_pool_grad,
    index_ops.put_add: index.put_add,
    random_ops.random_bits: random.random_bits,
}


class CPU:
    """See :class:`knet.core.device.Backend`."""

    name = "cpu"
    select = staticmethod(operator.getitem)

    def device_count(self) -> int:
        return 1

    def kernel(self, primitive: Any) -> Any:
        return _FASTER.get(primitive, primitive.body)

    def from_host(self, array: np.ndarray[Any, Any], device: Any) -> Any:
        # A 0-d array becomes a NumPy scalar, which is what kernels return for 0-d results, and computes faster.
        return array if array.ndim else array[()]

    def to_host(self, buffer: Any) -> np.ndarray[Any, Any]:
        return np.asarray(buffer)

    def scalar(self, value: Any, dtype: np.dtype[Any], device: Any) -> Any:
        try:
            return np.asarray(value, dtype)
        except OverflowError:
            raise errors.scalar_overflow(value, dtype) from None

    def cast(self, buffer: Any, dtype: np.dtype[Any]) -> Any:
        return buffer.astype(dtype)

    def synchronize(self, device: Any) -> None:
        """NumPy computes at once: nothing to wait for."""

    def compile(self, graph: Any, device: Any, donated: tuple[int, ...]) -> Any:
        """Program of a graph (see knet.compiler.execute), or None where there is no C compiler."""
        # Imported when first used: it would lengthen the start of programs that compile nothing.
        return importlib.import_module(f"{__name__}.compiled.program").compile_graph(graph, device, donated)


def _keep_freed_pages() -> None:
    """Raise glibc's thresholds for returning memory to the system, which it adapts to the largest block freed.

    Without this each array of more than 128 KB is mapped and unmapped anew, and a training step of LeNet spends half of
    its time in page faults (6,500 a step; 1 with it). The block is never touched, so it costs no memory.
    """
    np.empty((32 << 20) - (1 << 16), np.uint8)


_keep_freed_pages()
backend = CPU()
