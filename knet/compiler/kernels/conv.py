"""Kernels of convolution and its two gradients.

``generate(lowering, node)`` for each of ``conv``, ``conv_input_grad`` and ``conv_weight_grad``: any stride, padding,
dilation and groups, one to three spatial axes, every real dtype that the device has; half types add up in float32.
"""

from __future__ import annotations

from typing import Any

from ...core import dtypes
from ..graph import Node
from .conv_direct import direct
from .conv_geometry import Geometry, geometry
from .conv_items import tiled
from .conv_rows import correlate
from .conv_scatter import scatter, scatters
from .conv_tiles import fits
from .conv_weights import weight_sums

FEW = 4  # rows of a product that are too few for tiles in local memory


def computes(lowering: Any, node: Node) -> bool:
    """Whether the device computes with a node's dtype."""
    dtype = node.results[0].dtype
    if dtype == dtypes.bool_ or dtype.kind == "c" or any(x.dtype != dtype for x in node.values):
        return False
    return bool(lowering.target.doubles or dtype != dtypes.float64)


def conv(lowering: Any, node: Node) -> bool:
    """y[n, o, i] = sum over c, k of w[o, c, k] x[n, c, i * stride - before + k * dilation]."""
    x, w = node.operands
    return _lowered(lowering, node, geometry(x.shape, w.shape, node.params))


def conv_input_grad(lowering: Any, node: Node) -> bool:
    """dx[n, c, i * stride - before + k * dilation] += w[o, c, k] g[n, o, i]."""
    _, w = node.operands
    return _lowered(lowering, node, geometry(node.params["input_shape"], w.shape, node.params))


def conv_weight_grad(lowering: Any, node: Node) -> bool:
    """dw[o, c, k] = sum over n, i of x[n, c, i * stride - before + k * dilation] g[n, o, i]."""
    x, _ = node.operands
    return _lowered(lowering, node, geometry(x.shape, node.params["kernel_shape"], node.params))


def _lowered(lowering: Any, node: Node, g: Geometry | None) -> bool:
    if g is None or not computes(lowering, node):
        return False
    a, b = (lowering.dense(lowering.ref(x)) for x in node.operands)
    name, out = node.op.name, lowering.result(node.results[0])
    loops, items = fits(lowering.target, out.dtype, g), not lowering.target.loops and out.size > 0
    if loops and name == "conv":
        correlate(lowering, name, g, a, b, out, turned=False)
    elif loops and name == "conv_input_grad":
        if scatters(lowering, g, out.dtype):
            scatter(lowering, name, g, a, b, out)
        else:
            correlate(lowering, name, g.backwards(), a, b, out, turned=True)
    elif loops and name == "conv_weight_grad":
        weight_sums(lowering, name, g, a, b, out)
    elif items and (g.depth >= FEW or name == "conv_weight_grad"):
        tiled(lowering, name, g, (a, b), out)
    else:
        direct(lowering, name, g, (a, b), out)
    return True


GENERATORS = {"conv": conv, "conv_input_grad": conv_input_grad, "conv_weight_grad": conv_weight_grad}
