"""Pooling on CPU devices whose windows are two columns wide and two apart: the pairs of a vector are its even and its
odd numbers.

A row of windows is done in vectors of as many windows as fill one half, the last of them shifted back to the row's end.
"""

from __future__ import annotations

from typing import Any

from ...core import dtypes
from ..scalar import c_type
from .conv_geometry import Geometry, each, filled, numbers
from .target import Target


def pairs(target: Target, g: Geometry, dtypes_: Any, covering: bool) -> int:
    """How many windows a vector has; 0 if windows are not pairs. ``covering``: whether no two may share an element."""
    fits = g.window[2] == g.stride[2] == 2 and all(g.inside(axis) for axis in range(3)) and g.out[2] >= 2
    if not (target.loops and fits) or any(d not in (dtypes.float32, dtypes.float64) for d in dtypes_):
        return 0
    if len(set(dtypes_)) > 1 or (covering and any(t < k for t, k in zip(g.stride, g.window, strict=True))):
        return 0
    lanes = max(2, target.vector * 2 // dtypes_[0].itemsize)
    while lanes > g.out[2]:
        lanes //= 2
    return min(lanes, 8)


_ROWS = """for (INDEX k0 = 0; k0 < $K0; k0++) for (INDEX k1 = 0; k1 < $K1; k1++) {
const INDEX at = ((r * $S0 + i0 * $T0 + k0) * $S1 + i1 * $T1 + k1) * $S2 + 2 * j;
"""


def maxima(kernel: Any, lanes: int) -> None:
    """Launch of max_pool."""
    start = f"({_vector(kernel, lanes)})(-INFINITY)"
    kinds = " ".join(f"most = z.{half} > most || z.{half} != z.{half} ? z.{half} : most;" for half in ("even", "odd"))
    _reduce(kernel, lanes, start, kinds, "most")


def means(kernel: Any, lanes: int) -> None:
    """Launch of avg_pool."""
    _reduce(kernel, lanes, f"({_vector(kernel, lanes)})(0)", "most += z.even + z.odd;", f"most / ({kernel.kind})$W")


def _vector(kernel: Any, lanes: int) -> str:
    return f"{c_type(kernel.dtype)}{lanes}"


def _reduce(kernel: Any, lanes: int, start: str, take: str, result: str) -> None:
    x, wide = kernel.arrays[0][0], f"{c_type(kernel.dtype)}{2 * lanes}"
    body = f"""{_vector(kernel, lanes)} most = {start};
{_ROWS}const {wide} z = vload{2 * lanes}(0, {x} + at);
{take}
}}
vstore{lanes}({result}, 0, {kernel.target} + ((r * $P0 + i0) * $P1 + i1) * $P2 + j);
"""
    _launch(kernel, lanes, body, "")


def maxima_gradient(kernel: Any, lanes: int) -> None:
    """Launch of max_pool_grad: in each window, of the numbers equal to the maximum the first is open still."""
    g, x, y = (name for name, _ in kernel.arrays)
    vector, wide = _vector(kernel, lanes), f"{c_type(kernel.dtype)}{2 * lanes}"
    mask = f"{'int' if kernel.dtype == dtypes.float32 else 'long'}{lanes}"
    halves = "".join(
        f"here = open & (z.{half} == m || (z.{half} != z.{half} && m != m)); open &= ~here; d.{half} = here ? v : 0;\n"
        for half in ("even", "odd")
    )
    body = f"""const INDEX place = ((r * $P0 + i0) * $P1 + i1) * $P2 + j;
const {vector} m = vload{lanes}(0, {y} + place), v = vload{lanes}(0, {g} + place);
{mask} open = -1, here;
{_ROWS}const {wide} z = vload{2 * lanes}(0, {x} + at);
{wide} d;
{halves}vstore{2 * lanes}(d, 0, {kernel.target} + at);
}}
"""
    _launch(kernel, lanes, body, _cleared(kernel))


def means_gradient(kernel: Any, lanes: int) -> None:
    """Launch of avg_pool_grad."""
    vector, wide = _vector(kernel, lanes), f"{c_type(kernel.dtype)}{2 * lanes}"
    load = f"vload{lanes}(0, {kernel.arrays[0][0]} + ((r * $P0 + i0) * $P1 + i1) * $P2 + j)"
    body = f"""const {vector} v = {load} / ({kernel.kind})$W;
{wide} d;
d.even = v;
d.odd = v;
{_ROWS}vstore{2 * lanes}(d, 0, {kernel.target} + at);
}}
"""
    _launch(kernel, lanes, body, _cleared(kernel))


def _cleared(kernel: Any) -> str:
    """Text that clears channel r of the gradient, if there are elements in no window."""
    g = kernel.g
    covered = all(p * t == s for p, t, s in zip(g.out, g.stride, g.sizes, strict=True))
    if kernel.w.literal and g.stride == g.window and covered:
        return ""
    return f"for (INDEX i = 0; i < $V; i++) {kernel.target}[r * $V + i] = 0;\n"


def _launch(kernel: Any, lanes: int, body: str, before: str) -> None:
    g, w = kernel.g, kernel.w
    text = f"""const INDEX r = e;
{before}for (INDEX i0 = 0; i0 < $P0; i0++) for (INDEX i1 = 0; i1 < $P1; i1++)
for (INDEX b = 0; b < $P2; b += {lanes}) {{
const INDEX j = b < $P2 - {lanes} ? b : $P2 - {lanes};
{body}}}
"""
    work = float(g.images * g.groups * g.pixels * g.taps)
    text, groups = each(w, g.images * g.groups, filled(w, text, numbers(g)), work)
    kernel.lowering.launch(w.launch(text, groups, text=f"{kernel.name} over {g.window}", work=work))
