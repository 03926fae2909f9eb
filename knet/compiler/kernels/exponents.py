"""Kernels of exponent and ldexp, which work on the exponents of floating-point numbers."""

from __future__ import annotations

from typing import Any

from ...core import dtypes
from ..graph import Node, Value
from ..layout import Ref
from ..scalar import arithmetic, c_type, loaded, stored
from .places import each, walk


def exponent(lowering: Any, node: Node) -> bool:
    """n of x = m 2 ** n with 0.5 <= |m| < 1; subnormal numbers by way of the whole number that their bits are."""
    x = _operand(lowering, node)
    if x is None:
        return False
    y = lowering.result(node.results[0])
    w = lowering.writer("exponent")
    a, b = w.array(x), w.array(y, write=True)
    wide = x.dtype.itemsize == 8
    real, whole, suffix = ("double", "int64_t", "f64") if wide else ("float", "int32_t", "f32")
    fraction, mask, bias = (52, 0x7FF, 1022) if wide else (23, 0xFF, 126)
    place = walk(w, x.shape, {"from": x.strides}, "u", "        ")
    body = f"""{place}        const {real} v = {loaded(f"{a}[from]", x.dtype)};
        const {whole} bits = knet_bits_{suffix}(v), n = bits >> {fraction} & {mask};
        const {whole} small = bits & ((({whole})1 << {fraction}) - 1);
        const {whole} of_small = (knet_bits_{suffix}(({real})small) >> {fraction}) - {bias} - {bias + fraction};
        {b}[u] = (int32_t)(n == {mask} ? 0 : n ? n - {bias} : small ? of_small : 0);
"""
    text, groups = each(w, x.size, body, x.size * 4)
    lowering.launch(w.launch(text, groups, text=f"{list(x.shape)}: exponents", work=x.size * 4))
    return True


def ldexp(lowering: Any, node: Node) -> bool:
    """x 2 ** n, in float for half types."""
    x = _operand(lowering, node)
    if x is None or type(node.operands[1]) is not Value:
        return False
    n = lowering.ref(node.operands[1])
    y = lowering.result(node.results[0])
    w = lowering.writer("ldexp")
    a, b, out = w.array(x), w.array(n), w.array(y, write=True)
    steps = {"from": _spread(x, y.shape), "power": _spread(n, y.shape)}
    suffix = "f64" if x.dtype.itemsize == 8 else "f32"
    low = "" if n.dtype.kind == "u" else "m < -9999 ? -9999 : "
    value = f"({c_type(arithmetic(x.dtype))})knet_ldexp_{suffix}({loaded(f'{a}[from]', x.dtype)}, shift)"
    wide = "uint64_t" if n.dtype.kind == "u" else "int64_t"
    body = f"""{walk(w, y.shape, steps, "u", "        ")}        const {wide} m = {b}[power];
        const int shift = {low}m > 9999 ? 9999 : (int)m;
        {out}[u] = {stored(value, x.dtype)};
"""
    text, groups = each(w, y.size, body, y.size * 4)
    lowering.launch(w.launch(text, groups, text=f"{list(y.shape)}: ldexp", work=y.size * 4))
    return True


def _operand(lowering: Any, node: Node) -> Ref | None:
    x = node.operands[0]
    if type(x) is not Value or (x.dtype == dtypes.float64 and not lowering.target.doubles):
        return None
    return lowering.ref(x) if dtypes.kind(x.dtype) == "f" else None


def _spread(x: Ref, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Steps of an array broadcast to a shape."""
    lead = (0,) * (len(shape) - len(x.shape))
    return lead + tuple(0 if n == 1 else s for n, s in zip(x.shape, x.strides, strict=True))


GENERATORS = {"exponent": exponent, "ldexp": ldexp}
