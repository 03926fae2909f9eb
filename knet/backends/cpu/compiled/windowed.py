"""Kernels of convolutions and pooling from graph nodes."""

from __future__ import annotations

import math
from typing import Any

from ....compiler.graph import Node
from ....core import dtypes
from . import conv, pool
from .kernel import Kernel

# Name of the primitive -> (generator, how many operands' shapes it takes).
GENERATORS: dict[str, tuple[Any, int]] = {
    "conv": (conv.conv, 2),
    "conv_input_grad": (conv.conv_input_grad, 2),
    "conv_weight_grad": (conv.conv_weight_grad, 2),
    "max_pool": (pool.max_pool, 1),
    "max_pool_grad": (pool.max_pool_grad, 3),
    "avg_pool": (pool.avg_pool, 1),
    "avg_pool_grad": (pool.avg_pool_grad, 1),
}


def kernel(name: str, node: Node, threads: int) -> Kernel | None:
    """The kernel of a node; None where there is none for its dtype or number of axes."""
    if any(x.dtype != dtypes.float32 for x in (*node.values, *node.results)):
        return None
    generate, count = GENERATORS[node.op.name]
    return generate(name, *[x.shape for x in node.values][:count], **node.params, threads=threads)


def work(node: Node) -> float:
    """Operations of a node, vector instructions as one."""
    if not node.op.name.startswith("conv"):
        return max(x.size for x in (*node.values, *node.results))
    shapes = [x.shape for x in node.values] + [node.results[0].shape]
    x, w, y = {"conv": (0, 1, 2), "conv_input_grad": (2, 1, 0), "conv_weight_grad": (0, 2, 1)}[node.op.name]
    del x
    return math.prod(shapes[y]) * math.prod(shapes[w][1:]) / 8
