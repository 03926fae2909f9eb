"""C text of the gradients of pooling over one plane.

Windows that are disjoint and cover x write every cell once. Others are gathered: for each cell, the shares of the
windows that it is in are added up. Columns are sorted by their remainder modulo the stride for that, so that neighbours
are in neighbouring windows. (Adding shares to their cells in memory instead makes the processor wait: each vector is
loaded from two that were stored just before.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .windows import INLINE_CELLS, Pair, Pooling, counts, whole


def mean_gradient(p: Pooling, name: str, include_padding: bool) -> tuple[str, int]:
    """C function name_plane(g, dx, scratch), and the floats of scratch."""
    functions = counts(p, name, include_padding)
    if p.covered and p.window[1] <= INLINE_CELLS:
        (down, across), width, own = p.window, p.sizes[1], 0
        spread = " ".join(f"d[j * {across} + {k}] = share;" for k in range(across))
        body = f"""for (long i = 0; i < {p.out[0]}; i++) for (long k = 0; k < {down}; k++) {{
float *d = dx + (i * {down} + k) * {width};
for (long j = 0; j < {p.out[1]}; j++) {{ const float share = g[i * {p.out[1]} + j] / {name}_count(i, j); {spread} }}
{_zero_rest(p)}
}}
{_zero_below(p)}"""
    else:
        (down, across), width = p.stride, p.sizes[1]
        own = p.wide + across * p.span + p.out[0] * width
        functions += f"""
static __attribute__((noinline)) void {name}_add(float *restrict d, const float *restrict s, long count)
{{
for (long j = 0; j < count; j++) d[j] += s[j];
}}
"""
        body = f"""float *shares = scratch, *sums = shares + {p.wide}, *rows = sums + {across * p.span};
memset(shares, 0, {p.wide * 4});
for (long i = 0; i < {p.out[0]}; i++) {{
for (long j = 0; j < {p.out[1]}; j++) shares[j + {p.lead}] = g[i * {p.out[1]} + j] / {name}_count(i, j);
memset(sums, 0, {across * p.span * 4});
for (long k = 0; k < {p.window[1]}; k++)
{name}_add(sums + k % {across} * {p.span}, shares + {p.lead} - k / {across}, {p.span});
float *d = rows + i * {width};
{p.merged("d")}
}}
for (long h = 0; h < {p.sizes[0]}; h++) {{
memset(dx + h * {width}, 0, {width * 4});
long i = (h + {p.padding[0][0]}) / {down};
for (long k = (h + {p.padding[0][0]}) % {down}; k < {p.window[0]}; k += {down}, i--)
if (i >= 0 && i < {p.out[0]}) {name}_add(dx + h * {width}, rows + i * {width}, {width});
}}"""
    functions += f"""
static void {name}_plane(const float *restrict g, float *restrict dx, float *restrict scratch)
{{
(void)scratch;
{body}
}}
"""
    return functions, own


def maximum_gradient(p: Pooling, name: str) -> tuple[str, int]:
    """C function name_plane(g, x, y, dx, scratch), and the floats of scratch."""
    cells = [(i, j) for i in range(p.window[0]) for j in range(p.window[1])]
    if p.covered and len(cells) <= INLINE_CELLS:
        return _covering_max_grad(p, f"{name}_plane", cells), 0
    own = (2 * p.out[0] + 1) * p.wide + p.stride[1] * p.span + whole(p.out[1]) * (1 + p.stride[1]) + math.prod(p.met)
    return _any_max_grad(p, f"{name}_plane", cells), own


def _same(a: str, m: str) -> str:
    """C expression: -1 where a equals m or both are NaN, else 0. Spelt so that gcc 12 makes vectors of it."""
    return f"(({a} == {m} ? -1 : 0) | (({a} != {a} ? -1 : 0) & ({m} != {m} ? -1 : 0)))"


def _covering_max_grad(p: Pooling, name: str, cells: Sequence[Pair]) -> str:
    """C function of a plane's gradient for windows that do not overlap. e_k is -1 where cell k is the window's first
    maximum, t_k where it or one before it is.
    """
    (down, across), width = p.window, p.sizes[1]
    at = {(i, j): f"[j * {across} + {i * width + j}]" for i, j in cells}
    loads = ", ".join(f"x{k} = s{at[cell]}" for k, cell in enumerate(cells))
    last = len(cells) - 1
    finds = "".join(
        f"const int e{k} = {_same(f'x{k}', 'm')}" + (f" & ~t{k - 1}" if k else "")
        + (f", t{k} = e{k}" + (f" | t{k - 1}" if k else "") if k < last else "") + ";\n"
        for k in range(len(cells))
    )  # fmt: skip
    stores = " ".join(f"d{at[cell]} = e{k} ? v : 0;" for k, cell in enumerate(cells))
    rest = "\n".join(f"{{ float *e = d; float *d = e + {k * width}; {_zero_rest(p)} }}" for k in range(down))
    return f"""
static void {name}(const float *restrict g, const float *restrict x, const float *restrict y, float *restrict dx,
    float *scratch)
{{
(void)scratch;
for (long i = 0; i < {p.out[0]}; i++) {{
const float *s = x + i * {down * width};
float *d = dx + i * {down * width};
for (long j = 0; j < {p.out[1]}; j++) {{
const float m = y[i * {p.out[1]} + j], v = g[i * {p.out[1]} + j], {loads};
{finds}{stores}
}}
{rest if _zero_rest(p) else ""}
}}
{_zero_below(p)}
}}
"""


def _any_max_grad(p: Pooling, name: str, cells: Sequence[Pair]) -> str:
    """C function of a plane's gradient for any windows: first where each window's first maximum is, then for each cell
    the sum over the windows that can have theirs there. Cells in the padding are candidates as any others: they are
    the first maximum of a window of -inf alone, as in the primitive.
    """
    (height, width), (top, _), (left, _) = p.sizes, *p.padding
    (rows, columns), (down, across) = p.met, p.stride
    kept, count = min(width, columns - left), whole(p.out[1])
    fill = ""
    if p.padding != ((0, 0), (0, 0)):
        fill = f"for (long j = 0; j < {rows * columns}; j++) xp[j] = -__builtin_inff();"
    functions, find, add = (_written_out if len(cells) <= INLINE_CELLS else _looping)(p, name, cells)
    return f"""{functions}
static void {name}(const float *g, const float *x, const float *y, float *dx, float *scratch)
{{
int *first = (int *)scratch + {p.wide};
float *v = scratch + {(p.out[0] + 1) * p.wide}, *sums = v + {p.out[0] * p.wide};
float *m = sums + {across * p.span}, *xp = m + {count};
{fill}
for (long h = 0; h < {max(0, min(height, rows - top))}; h++)
memcpy(xp + (h + {top}) * {columns} + {left}, x + h * {width}, {kept * 4});
memset(scratch, -1, {(p.out[0] + 1) * p.wide * 4});
memset(v, 0, {p.out[0] * p.wide * 4});
for (long i = 0; i < {p.out[0]}; i++) {{
memcpy(v + i * {p.wide} + {p.lead}, g + i * {p.out[1]}, {p.out[1] * 4});
memcpy(m, y + i * {p.out[1]}, {p.out[1] * 4});
int *f = first + i * {p.wide} + {p.lead};
const float *s = xp + i * {down * columns};
{find}
for (long j = {p.out[1]}; j < {p.wide - p.lead}; j++) f[j] = -1;
}}
for (long h = 0; h < {height}; h++) {{
const long k = (h + {top}) % {down}, i = (h + {top}) / {down};
{add}
float *d = dx + h * {width};
{p.merged("d")}
}}
}}
"""


def _written_out(p: Pooling, name: str, cells: Sequence[Pair]) -> tuple[str, str, str]:
    """C functions, and calls of them for a row of windows and a row of cells, that have all cells in one loop."""
    (down, across), count = p.stride, whole(p.out[1])
    finds = " ".join(
        f"a = s[j * {across} + {i * p.met[1] + j}]; f = {_same('a', 'w')} ? {k} : f;"
        for k, (i, j) in reversed(list(enumerate(cells)))
    )
    functions = f"""
static __attribute__((noinline)) void {name}_find(const float *restrict s, const float *restrict m, int *restrict first)
{{
for (long j = 0; j < {count}; j++) {{
const float w = m[j];
float a;
int f = -1;
{finds}
first[j] = f;
}}
}}
"""
    # first[-1], a row before the windows' first, is one of windows that are none: it stands in for those outside.
    reach = -(-p.window[0] // down)
    for k in range(down):
        loops = []
        for q in range(across):
            terms = [
                f"(f{a}[j - {b}] == {(k + a * down) * p.window[1] + q + b * across} ? v{a}[j - {b}] : 0)"
                for a in range(len(range(k, p.window[0], down)))
                for b in range(len(range(q, p.window[1], across)))
            ]
            loops.append(f"for (long j = 0; j < {p.span}; j++) sums[j + {q * p.span}] = {' + '.join(terms) or '0'};")
        pointers = ", ".join(f"const int *restrict f{a}, const float *restrict v{a}" for a in range(reach))
        functions += f"""
static __attribute__((noinline)) void {name}_sum{k}(float *restrict sums, {pointers})
{{
{chr(10).join(loops)}
}}
"""
    arguments = ", ".join(f"f[{a}], u[{a}]" for a in range(reach))
    calls = " else ".join(f"if (k == {k}) {name}_sum{k}(sums, {arguments});" for k in range(down))
    add = f"""const int *f[{reach}];
const float *u[{reach}];
for (long a = 0; a < {reach}; a++) {{
const long r = i - a < 0 || i - a >= {p.out[0]} ? -1 : i - a;
f[a] = first + r * {p.wide} + {p.lead};
u[a] = v + (r < 0 ? 0 : r) * {p.wide} + {p.lead};
}}
{calls}"""
    return functions, f"{name}_find(s, m, f);", add


def _looping(p: Pooling, name: str, cells: Sequence[Pair]) -> tuple[str, str, str]:
    """The same for large windows, with a call for each cell."""
    (down, across), width = p.stride, p.window[1]
    functions = f"""
static __attribute__((noinline)) void {name}_find(const float *restrict s, const float *restrict m,
    int *restrict first, int cell)
{{
for (long j = 0; j < {whole(p.out[1])}; j++) {{
const float a = s[j * {across}];
first[j] = {_same("a", "m[j]")} ? cell : first[j];
}}
}}
static __attribute__((noinline)) void {name}_add(float *restrict d, const float *restrict v, const int *restrict first,
    int cell)
{{
for (long j = 0; j < {p.span}; j++) d[j] += first[j] == cell ? v[j] : 0;
}}
"""
    find = f"""for (int k = {len(cells) - 1}; k >= 0; k--)
{name}_find(s + k / {width} * {p.met[1]} + k % {width}, m, f, k);"""
    add = f"""memset(sums, 0, {across * p.span * 4});
for (long r = k, t = i; r < {p.window[0]}; r += {down}, t--) {{
if (t < 0 || t >= {p.out[0]}) continue;
for (long q = 0; q < {width}; q++) {{
const long at = t * {p.wide} + {p.lead} - q / {across};
{name}_add(sums + q % {across} * {p.span}, v + at, first + at, r * {width} + q);
}}
}}"""
    return functions, find, add


def _zero_rest(p: Pooling) -> str:
    """C text that clears the columns of a row d that no window meets."""
    met = p.out[1] * p.window[1]
    return f"for (long j = {met}; j < {p.sizes[1]}; j++) d[j] = 0;" if met < p.sizes[1] else ""


def _zero_below(p: Pooling) -> str:
    """C text that clears the rows of dx that no window meets."""
    (height, width), met = p.sizes, p.out[0] * p.window[0]
    return f"memset(dx + {met * width}, 0, {(height - met) * width * 4});" if met < height else ""
