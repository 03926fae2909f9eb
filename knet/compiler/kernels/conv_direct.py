"""Convolution and its gradients one output element at a time: for every dtype and geometry, on every device."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..layout import Ref
from ..scalar import arithmetic, c_type, loaded, stored
from .conv_geometry import Geometry, each, filled, numbers

# Taps of a window, with the place of x that each meets from position (i0, i1, i2) of y.
_TAPS = """for (INDEX k0 = 0; k0 < $K0; k0++) {
const INDEX h0 = i0 * $T0 - $B0 + k0 * $D0;
if (h0 < 0 || h0 >= $S0) continue;
for (INDEX k1 = 0; k1 < $K1; k1++) {
const INDEX h1 = i1 * $T1 - $B1 + k1 * $D1;
if (h1 < 0 || h1 >= $S1) continue;
for (INDEX k2 = 0; k2 < $K2; k2++) {
const INDEX h2 = i2 * $T2 - $B2 + k2 * $D2;
if (h2 < 0 || h2 >= $S2) continue;
"""

_FORWARD = f"""const INDEX i2 = e % $P2, i1 = e / $P2 % $P1, i0 = e / $P2 / $P1 % $P0, r = e / $Q;
const INDEX n = r / ($G * $O), o = r % ($G * $O);
for (INDEX c = 0; c < $C; c++) {{
const GLOBAL X *s = XA + ((n * $G + o / $O) * $C + c) * $V;
const GLOBAL X *q = YA + (o * $C + c) * $W;
{_TAPS}ADD(s[(h0 * $S1 + h1) * $S2 + h2], q[(k0 * $K1 + k1) * $K2 + k2])
}} }} }}
}}
"""

_INPUT = """const INDEX h2 = e % $S2, h1 = e / $S2 % $S1, h0 = e / $S2 / $S1 % $S0, r = e / $V;
const INDEX n = r / ($G * $C), m = r % ($G * $C), g = m / $C, c = m % $C;
for (INDEX k0 = 0; k0 < $K0; k0++) {
const INDEX t0 = h0 + $B0 - k0 * $D0, i0 = t0 / $T0;
if (t0 < 0 || t0 % $T0 || i0 >= $P0) continue;
for (INDEX k1 = 0; k1 < $K1; k1++) {
const INDEX t1 = h1 + $B1 - k1 * $D1, i1 = t1 / $T1;
if (t1 < 0 || t1 % $T1 || i1 >= $P1) continue;
for (INDEX k2 = 0; k2 < $K2; k2++) {
const INDEX t2 = h2 + $B2 - k2 * $D2, i2 = t2 / $T2;
if (t2 < 0 || t2 % $T2 || i2 >= $P2) continue;
const GLOBAL X *s = XA + (n * $G + g) * $O * $Q + (i0 * $P1 + i1) * $P2 + i2;
const GLOBAL X *q = YA + (g * $O * $C + c) * $W + (k0 * $K1 + k1) * $K2 + k2;
for (INDEX o = 0; o < $O; o++) ADD(s[o * $Q], q[o * $C * $W])
} } }
"""

_WEIGHT = """const INDEX k2 = e % $K2, k1 = e / $K2 % $K1, k0 = e / $K2 / $K1 % $K0, r = e / $W, c = r % $C, o = r / $C;
for (INDEX n = 0; n < $N; n++)
for (INDEX i0 = 0; i0 < $P0; i0++) {
const INDEX h0 = i0 * $T0 - $B0 + k0 * $D0;
if (h0 < 0 || h0 >= $S0) continue;
for (INDEX i1 = 0; i1 < $P1; i1++) {
const INDEX h1 = i1 * $T1 - $B1 + k1 * $D1;
if (h1 < 0 || h1 >= $S1) continue;
const GLOBAL X *s = XA + ((n * $G + o / $O) * $C + c) * $V + (h0 * $S1 + h1) * $S2;
const GLOBAL X *q = YA + (n * $G * $O + o) * $Q + (i0 * $P1 + i1) * $P2;
for (INDEX i2 = 0; i2 < $P2; i2++) {
const INDEX h2 = i2 * $T2 - $B2 + k2 * $D2;
if (h2 >= 0 && h2 < $S2) ADD(s[h2], q[i2])
} } }
"""

_BODIES = {"conv": _FORWARD, "conv_input_grad": _INPUT, "conv_weight_grad": _WEIGHT}


def direct(lowering: Any, name: str, g: Geometry, operands: Sequence[Ref], out: Ref) -> None:
    """Launch of one of the three operations. Integers wrap around."""
    w, dtype = lowering.writer(f"{name}_direct"), out.dtype
    x, y = (w.array(ref) for ref in operands)
    target = w.array(out, write=True)
    if dtype.kind in "iu":
        kind = "uint64_t" if dtype.itemsize == 8 else "uint32_t"
        add = rf"sum += ({kind})A * ({kind})B;"
        result = f"({c_type(dtype)})sum"
    else:
        kind = c_type(arithmetic(dtype))
        add = f"sum = fma({loaded('A', dtype)}, {loaded('B', dtype)}, sum);"
        result = stored("sum", dtype)
    body = f"{kind} sum = 0;\n{_added(_BODIES[name], add)}{target}[e] = {result};\n"
    body = body.replace("XA", x).replace("YA", y).replace("GLOBAL X ", f"GLOBAL {c_type(dtype)} ")
    text, groups = each(w, out.size, filled(w, body, numbers(g)), g.work)
    lowering.launch(w.launch(text, groups, text=f"{name} of {g.window}", work=g.work))


def _added(body: str, add: str) -> str:
    """The body with its line ``ADD(a, b)`` written out."""
    before, _, rest = body.partition("ADD(")
    (a, b), after = rest.partition(")\n")[0].split(", "), rest.partition(")\n")[2]
    operands = {"A": a, "B": b}
    return before + re.sub(r"\b[AB]\b", lambda match: operands[match.group()], add) + "\n" + after
