"""Tiles of dot products: where both operands of a product lie along k, so that nothing has to be packed."""

from __future__ import annotations

from .gemm_plan import Plan
from .kernel import Kernel, Phase


def dots(plan: Plan) -> Kernel:
    """Units are rows of C where there are many, else columns."""
    name, m, n, (a, b) = plan.name, plan.m, plan.n, plan.names
    columns = plan.items == 1 and m <= 8 and n > m
    fixed = m if columns else n  # what every unit takes in full, s at a time
    s = max(1, min(fixed, 4))
    r = 8 if s == 1 else 16 // s
    rest, whole = fixed % s, fixed - fixed % s
    along, other = ("j", "i") if columns else ("i", "j")
    text = "".join(_tile(plan, u, v, columns) for u in dict.fromkeys((r, 1)) for v in dict.fromkeys((s, rest)) if v)

    def tile(u: int, v: int, at: str) -> str:
        i, j = (at, along) if columns else (along, at)
        return f"{name}_d{u}x{v}(x + {i} * {plan.a.ld}L, y + {j} * {plan.b.ld}L, z + {i} * {plan.c.ld}L + {j})"

    def call(u: int) -> str:
        loop = f"for (long {other} = 0; {other} < {whole}; {other} += {s}) {tile(u, s, other)};"
        return loop + (f" {tile(u, rest, str(whole))};" if rest else "")

    count = n if columns else m
    text += plan.function(
        "compute",
        f"  while (lo < hi) {{\n    long item = lo / {max(count, 1)}, {along} = lo - item * {count}, "
        f"end = GEMM_MIN({count}, {along} + hi - lo);\n"
        f"    const float *x = {a} + {plan.offset(plan.a, 'item')}, *y = {b} + {plan.offset(plan.b, 'item')};\n"
        f"    float *z = c + {plan.offset(plan.c, 'item')};\n    lo += end - {along};\n"
        f"    for (; {along} + {r} <= end; {along} += {r}) {{ {call(r)} }}\n"
        f"    for (; {along} < end; {along}++) {{ {call(1)} }}\n  }}\n",
    )
    slabs = () if columns else plan.slabs(True)
    phase = Phase(f"{name}_compute", count * plan.items, plan.reads(), (2,), slabs, r if count > 8 * r else 1)
    return Kernel(text, (phase,))


def _tile(plan: Plan, u: int, v: int, columns: bool) -> str:
    """A tile of u units times v of what every unit takes in full."""
    r, s = (v, u) if columns else (u, v)
    return (
        f"static __attribute__((noinline)) void {plan.name}_d{u}x{v}(const float *a, const float *b, float *c) "
        f"{{ gemm_dot({r}, {s}, {plan.k}, a, {plan.a.ld}, b, {plan.b.ld}, c, {plan.c.ld}, {int(plan.accumulate)}); }}\n"
    )
