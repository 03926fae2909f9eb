"""Kernels of pooling over windows and its gradients.

``generate(lowering, node)`` for each of ``max_pool``, ``max_pool_grad``, ``max_pool_gather``, ``avg_pool`` and
``avg_pool_grad``: one to three spatial axes, any window, stride and padding. A window's maximum is NaN where it holds
one; its place is that of the first element equal to the maximum (or NaN as it is), padding being one of -inf.

Gradients never add to memory from two sides: on a GPU an element adds up the windows that it is in; on a CPU a group
has whole channels, whose windows add to their elements one after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import dtypes
from ..graph import Node
from ..scalar import arithmetic, c_type, literal, loaded, stored
from .conv_geometry import Geometry, each, filled, numbers, pooling
from .pool_pairs import maxima, maxima_gradient, means, means_gradient, pairs

# Window (i0, i1, i2) of channel r for place e of y.
_WINDOW = "const INDEX i2 = e % $P2, i1 = e / $P2 % $P1, i0 = e / $P2 / $P1 % $P0, r = e / $Q;\n"
# The places of x that a window meets: from f to l on each axis.
_RANGE = "".join(
    f"""const INDEX t{a} = i{a} * $T{a} - $B{a}, f{a} = t{a} < 0 ? 0 : t{a};
const INDEX l{a} = t{a} + $K{a} < $S{a} ? t{a} + $K{a} : $S{a};
"""
    for a in range(3)
)
_CELLS = "".join(f"for (INDEX h{a} = f{a}; h{a} < l{a}; h{a}++)\n" for a in range(3))
_CELL = "r * $V + (h0 * $S1 + h1) * $S2 + h2"
# Windows that place e of x is in, in the order of the taps by which they meet it.
_MEETING = "const INDEX h2 = e % $S2, h1 = e / $S2 % $S1, h0 = e / $S2 / $S1 % $S0, r = e / $V;\n" + "".join(
    f"""for (INDEX j{a} = 0; j{a} < $K{a}; j{a}++) {{
const INDEX u{a} = h{a} + $B{a} - j{a}, i{a} = u{a} / $T{a};
if (u{a} < 0 || u{a} % $T{a} || i{a} >= $P{a}) continue;
"""
    for a in range(3)
)
_WINDOWS = "".join(f"for (INDEX i{a} = 0; i{a} < $P{a}; i{a}++)\n" for a in range(3))
_PLACE = "((r * $P0 + i0) * $P1 + i1) * $P2 + i2"


class _Kernel:
    """A kernel while it is written: its arrays, and how their elements are read and written."""

    def __init__(self, lowering: Any, node: Node, g: Geometry) -> None:
        self.lowering, self.g, self.name = lowering, g, node.op.name
        self.w = lowering.writer(self.name)
        refs = [lowering.dense(lowering.ref(x)) for x in node.operands]
        self.out = lowering.result(node.results[0])
        self.arrays = [(self.w.array(ref), ref.dtype) for ref in refs]
        self.target, self.dtype = self.w.array(self.out, write=True), self.out.dtype
        self.kind = c_type(arithmetic(self.dtype))

    def read(self, operand: int, at: str) -> str:
        """Element of an operand."""
        name, dtype = self.arrays[operand]
        return loaded(f"{name}[{at}]", dtype)

    def write(self, at: str, text: str) -> str:
        """Statement that writes an element of the result."""
        return f"{self.target}[{at}] = {stored(text, self.dtype)};\n"

    def launch(self, total: int, body: str) -> None:
        """The launch that does a body for each e < total."""
        work = float(self.g.images * self.g.groups * (self.g.pixels * self.g.taps + self.g.volume))
        text, groups = each(self.w, total, filled(self.w, body, numbers(self.g)), work)
        self.lowering.launch(self.w.launch(text, groups, text=f"{self.name} over {self.g.window}", work=work))

    def scatter(self, body: str) -> None:
        """The launch in which the windows of each channel add to the result, all of which is 0 before."""
        zero = f"for (INDEX i = 0; i < $V; i++) {self.target}[r * $V + i] = 0;\n"
        self.launch(self.g.images * self.g.groups, f"const INDEX r = e;\n{zero}{_WINDOWS}{{\n{body}}}\n")

    def add(self, at: str, text: str) -> str:
        """Statement that adds to an element of the result."""
        return f"const INDEX p = {at};\n" + self.write("p", f"{loaded(f'{self.target}[p]', self.dtype)} + {text}")

    def pairs(self, covering: bool = False) -> int:
        """Windows in a vector, for windows that are pairs of columns."""
        return pairs(self.lowering.target, self.g, [self.dtype, *[dtype for _, dtype in self.arrays]], covering)

    def first(self) -> str:
        """Text that finds ``at``: the place in x of the first maximum of window (i0, i1, i2), whose maximum is y's;
        -1 where that lies in the padding, or nowhere.
        """
        dtype = self.arrays[1][1]
        real = dtypes.is_differentiable(dtype)
        lowest = literal(-np.inf if real else np.iinfo(dtype).min, arithmetic(dtype))
        value, within = self.read(1, "c"), "1"
        if not all(self.g.inside(axis) for axis in range(3)):
            within = " && ".join(f"h{a} >= 0 && h{a} < $S{a}" for a in range(3))
            value = f"within ? {value} : {lowest}"
        return f"""INDEX at = -1;
int open = 1;
const {c_type(arithmetic(dtype))} m = {self.read(2, _PLACE)};
for (INDEX k0 = 0; open && k0 < $K0; k0++) for (INDEX k1 = 0; open && k1 < $K1; k1++)
for (INDEX k2 = 0; open && k2 < $K2; k2++) {{
const INDEX h0 = i0 * $T0 - $B0 + k0, h1 = i1 * $T1 - $B1 + k1, h2 = i2 * $T2 - $B2 + k2, c = {_CELL};
const int within = {within};
const {c_type(arithmetic(dtype))} v = {value};
if ({_same("v", "m", real)}) {{
open = 0;
at = within ? c : -1;
}}
}}
"""

    def divisor(self, include_padding: bool) -> str:
        """Number of elements that window (i0, i1, i2) is the mean of."""
        if include_padding or all(self.g.inside(axis) for axis in range(3)):
            return f"({self.kind})$W"
        return f"({self.kind})((l0 - f0) * (l1 - f1) * (l2 - f2))"


def _same(a: str, b: str, real: bool) -> str:
    return f"{a} == {b} || ({a} != {a} && {b} != {b})" if real else f"{a} == {b}"


def _kernel(lowering: Any, node: Node, shape: Any, averages: bool = False) -> _Kernel | None:
    """The kernel of a node that pools an array of some shape; None if the device has none for its dtypes."""
    g = pooling(shape, node.params)
    for x in (*node.values, *node.results):
        if x.dtype.kind == "c" or (averages and not dtypes.is_differentiable(x.dtype)):
            return None
        if x.dtype == dtypes.bool_ or (x.dtype == dtypes.float64 and not lowering.target.doubles):
            return None
    return None if g is None else _Kernel(lowering, node, g)


def max_pool(lowering: Any, node: Node) -> bool:
    """Maxima over windows."""
    k = _kernel(lowering, node, node.operands[0].shape)
    if k is None:
        return False
    if lanes := k.pairs():
        maxima(k, lanes)
        return True
    nan = " || v != v" if dtypes.is_differentiable(k.dtype) else ""
    first = k.read(0, "r * $V + (f0 * $S1 + f1) * $S2 + f2")
    body = f"""{_WINDOW}{_RANGE}{k.kind} most = {first};
{_CELLS}{{
const {k.kind} v = {k.read(0, _CELL)};
most = v > most{nan} ? v : most;
}}
"""
    k.launch(k.out.size, body + k.write("e", "most"))
    return True


def max_pool_grad(lowering: Any, node: Node) -> bool:
    """Each window's g at the place of its first maximum in x, whose maxima are y; sums where windows meet."""
    k = _kernel(lowering, node, node.operands[1].shape)
    if k is None:
        return False
    if lanes := k.pairs(covering=True):
        maxima_gradient(k, lanes)
        return True
    if lowering.target.loops:
        k.scatter(f"{k.first()}if (at >= 0) {{\n{k.add('at', k.read(0, _PLACE))}}}\n")
        return True
    body = f"""{k.kind} sum = 0;
{_MEETING}{{
{k.first()}if (at == e) sum += {k.read(0, _PLACE)};
}}
}} }} }}
"""
    k.launch(k.out.size, body + k.write("e", "sum"))
    return True


def max_pool_gather(lowering: Any, node: Node) -> bool:
    """t at the place of each window's first maximum in x, whose maxima are y; 0 where that is padding."""
    k = _kernel(lowering, node, node.operands[1].shape)
    if k is None:
        return False
    k.launch(k.out.size, _WINDOW + k.first() + k.write("e", f"at < 0 ? 0 : {k.read(0, 'at')}"))
    return True


def avg_pool(lowering: Any, node: Node) -> bool:
    """Means over windows."""
    k = _kernel(lowering, node, node.operands[0].shape, averages=True)
    if k is None:
        return False
    if lanes := k.pairs():
        means(k, lanes)
        return True
    body = f"{_WINDOW}{_RANGE}{k.kind} sum = 0;\n{_CELLS}sum += {k.read(0, _CELL)};\n"
    k.launch(k.out.size, body + k.write("e", f"sum / {k.divisor(node.params['include_padding'])}"))
    return True


def avg_pool_grad(lowering: Any, node: Node) -> bool:
    """Each window's g shared out evenly among the elements that it is the mean of; sums where windows meet."""
    k = _kernel(lowering, node, node.params["input_shape"], averages=True)
    if k is None:
        return False
    if lanes := k.pairs(covering=True):
        means_gradient(k, lanes)
        return True
    share = f"{k.read(0, _PLACE)} / {k.divisor(node.params['include_padding'])}"
    if lowering.target.loops:
        add = k.add(_CELL, "share")
        k.scatter(f"{_RANGE}const {k.kind} share = {share};\n{_CELLS}{{\n{add}}}\n")
    else:
        bounds = _RANGE if "f0" in share else ""
        body = f"{k.kind} sum = 0;\n{_MEETING}{bounds}sum += {share};\n}} }} }}\n"
        k.launch(k.out.size, body + k.write("e", "sum"))
    return True


GENERATORS = {
    "max_pool": max_pool,
    "max_pool_grad": max_pool_grad,
    "max_pool_gather": max_pool_gather,
    "avg_pool": avg_pool,
    "avg_pool_grad": avg_pool_grad,
}
