"""C kernels of two-dimensional pooling and its gradients, specialised to static shapes (float32, [N, C, H, W]).

Work goes plane by plane, all loops having constant bounds for the C compiler to vectorise. Maxima and sums are
separable: first down the columns of a window's rows into one row of scratch, whose padding stands there already, then
along it. Gradients of windows that are disjoint and cover x write every cell once. Others are gathered: for each cell,
the shares of the windows that it is in are added up. Columns are sorted by their remainder modulo the stride for that,
so that neighbours are in neighbouring windows. (Adding shares to their cells instead makes the processor wait: each
vector is loaded from two that were stored just before.)

One-dimensional operands are taken as [N, C, 1, T]; three-dimensional ones are left to NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....core.ops.conv import output_sizes
from . import tiles
from .kernel import Kernel, Phase

Pairs = tuple[tuple[int, int], ...]
Ints = tuple[int, ...]
Pair = tuple[int, int]

INLINE_CELLS = 16  # windows up to this size have their cells written out within one loop


@dataclass(frozen=True)
class Pooling:
    """Static sizes: windows over x [N, C, *sizes], and the text of loops over them."""

    images: int
    channels: int
    sizes: Pair
    window: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    out: Pair

    @property
    def covered(self) -> bool:
        """Whether each cell of x belongs to one window at most, and windows leave gaps at the far edges only."""
        return self.window == self.stride and self.padding == ((0, 0), (0, 0))

    @property
    def lead(self) -> int:
        """Windows before window t that column t * stride + q, counted from the padding on, can be in."""
        return (self.window[1] - 1) // self.stride[1]

    @property
    def span(self) -> int:
        """Number of t, rounded up: whole vectors have no rests, which would be loops of branches."""
        return _whole((self.sizes[1] - 1 + self.padding[1][0]) // self.stride[1] + 1)

    @property
    def wide(self) -> int:
        """Floats of a row of windows with those before and behind it that are none."""
        return self.lead + _whole(max(self.out[1], self.span))

    @property
    def met(self) -> Pair:
        """Sizes of the padded plane as far as windows meet it."""
        rows, columns = ((n - 1) * s + k for n, s, k in zip(self.out, self.stride, self.window, strict=True))
        return rows, columns

    def merged(self, target: str) -> str:
        """C text: a row of x from `sums`, where columns are sorted by their remainders modulo the stride."""
        step, left = self.stride[1], self.padding[1][0]
        firsts = [((q - left) % step, q) for q in range(step)]
        moves = (
            f"for (long j = 0; j < {len(range(w, self.sizes[1], step))}; j++) "
            f"{target}[j * {step} + {w}] = sums[j + {q * self.span + (w + left) // step}];"
            for w, q in firsts
            if w < self.sizes[1]
        )
        return "\n".join(moves)

    def kernel(self, name: str, functions: str, call: str, own: int, threads: int, operands: Sequence[str]) -> Kernel:
        """Kernel whose function does planes one after the other by `call`. A unit is an image, or a plane if there are
        fewer images than threads. `operands` are names, "s" for those of x's size and "o" for those of the output's.
        """
        inner = 1 if self.images < threads else self.channels
        size = {"s": math.prod(self.sizes), "o": math.prod(self.out)}
        names = ", ".join(f"{'' if i == len(operands) - 1 else 'const '}float *{a[1:]}" for i, a in enumerate(operands))
        moves = ", ".join(f"{a[1:]} += {size[a[0]]}" for a in operands)
        starts = " ".join(f"{a[1:]} += lo * {size[a[0]] * inner};" for a in operands)
        source = f"""{functions}
static void {name}({names}, {tiles.SIGNATURE})
{{
{starts}
for (long u = lo * {inner}; u < hi * {inner}; u++, {moves}) {{
{call}
}}
}}
"""
        every = tuple(range(len(operands)))
        units = self.images * self.channels // inner
        return Kernel(source, (Phase(name, units, every[:-1], every[-1:], rows=every),), own=tiles.aligned(own))


def _whole(count: int) -> int:
    return -(-count // 16) * 16


def two_dimensional(x_shape: Ints, window: Ints, stride: Ints, padding: Pairs) -> Pooling | None:
    """The sizes, with an axis of 1 put before a single spatial axis; None for other than one or two spatial axes."""
    if len(x_shape) not in (3, 4) or 0 in x_shape:
        return None
    one = (1,) * (4 - len(x_shape))
    sizes, windows, strides = ((*one, *numbers) for numbers in (x_shape[2:], window, stride))
    pads = ((0, 0),) * len(one) + tuple(padding)
    out = output_sizes(sizes, windows, strides, pads, (1, 1))
    if min(out) < 1:
        return None
    return Pooling(*x_shape[:2], sizes, windows, strides, pads, out)  # type: ignore[arg-type,call-arg]


def max_pool(name: str, x_shape: Ints, *, window: Ints, stride: Ints, padding: Pairs, threads: int) -> Kernel | None:
    """Kernel of operands (x, y): maxima over windows, NaN where one is NaN. None if unsupported."""
    p = two_dimensional(x_shape, window, stride, padding)
    if p is None:
        return None
    # The comparison takes b if either is NaN, so only a NaN in a needs to be looked for.
    helper = f"""
static inline float {name}_of(float a, float b) {{ const float c = a > b ? a : b; return a != a ? a : c; }}
"""
    functions = helper + _reduced(p, f"{name}_plane", f"{name}_of(A, B)", "-__builtin_inff()", "A")
    call = f"{name}_plane(x, y, (float *)own);"
    return p.kernel(name, functions, call, _reduced_scratch(p), threads, ("sx", "oy"))


def avg_pool(
    name: str, x_shape: Ints, *, window: Ints, stride: Ints, padding: Pairs, include_padding: bool, threads: int
) -> Kernel | None:
    """Kernel of operands (x, y): means over windows. None if unsupported."""
    p = two_dimensional(x_shape, window, stride, padding)
    if p is None:
        return None
    functions = _counts(p, name, include_padding) + _reduced(
        p, f"{name}_plane", "(A + B)", "0", f"A / {name}_count(i, j)"
    )
    call = f"{name}_plane(x, y, (float *)own);"
    return p.kernel(name, functions, call, _reduced_scratch(p), threads, ("sx", "oy"))


def _reduced_scratch(p: Pooling) -> int:
    return p.sizes[1] + sum(p.padding[1])


def _reduced(p: Pooling, name: str, join: str, neutral: str, finish: str) -> str:
    """C function name(x, y, row) that reduces one plane by `join` of A and B."""
    (height, width), (top, bottom), (left, right) = p.sizes, *p.padding

    def joined(terms: Sequence[str]) -> str:
        text = terms[0]
        for term in terms[1:]:
            text = join.replace("A", "\0").replace("B", term).replace("\0", text)
        return text

    edges = "".join(
        f"for (long j = {start}; j < {start + count}; j++) row[j] = {neutral};\n"
        for start, count in ((0, left), (left + width, right))
        if count
    )
    if top == bottom == 0 and p.window[0] <= 4:
        rows = joined([f"s[j + {k * width}]" for k in range(p.window[0])])
        down = f"""const float *s = x + i * {p.stride[0] * width};
for (long j = 0; j < {width}; j++) t[j] = {rows};"""
    else:
        down = f"""long h = i * {p.stride[0]} - {top}, end = h + {p.window[0]};
if (h < 0) h = 0;
if (end > {height}) end = {height};
const float *s = x + h * {width};
for (long j = 0; j < {width}; j++) t[j] = s[j];
while (++h < end) {{
s += {width};
for (long j = 0; j < {width}; j++) t[j] = {joined(["t[j]", "s[j]"])};
}}"""
    if p.window[1] <= INLINE_CELLS:
        cells = joined([f"row[j * {p.stride[1]} + {k}]" for k in range(p.window[1])])
        along = f"for (long j = 0; j < {p.out[1]}; j++) d[j] = {finish.replace('A', cells)};"
    else:
        along = f"""for (long j = 0; j < {p.out[1]}; j++) {{
float a = row[j * {p.stride[1]}];
for (long k = 1; k < {p.window[1]}; k++) a = {joined(["a", f"row[j * {p.stride[1]} + k]"])};
d[j] = {finish.replace("A", "a")};
}}"""
    return f"""
static void {name}(const float *restrict x, float *restrict y, float *restrict row)
{{
float *t = row + {left};
{edges}for (long i = 0; i < {p.out[0]}; i++) {{
{down}
float *d = y + i * {p.out[1]};
{along}
}}
}}
"""


def _counts(p: Pooling, name: str, include_padding: bool) -> str:
    """C function of the number of cells by which the sum of window (i, j) is divided."""
    if include_padding or p.padding == ((0, 0), (0, 0)):
        return f"""
static inline float {name}_count(long i, long j) {{ return (void)i, (void)j, {math.prod(p.window)}.0f; }}
"""
    tables = []
    for axis in (0, 1):
        starts = [i * p.stride[axis] - p.padding[axis][0] for i in range(p.out[axis])]
        real = [min(s + p.window[axis], p.sizes[axis]) - max(s, 0) for s in starts]
        tables.append(", ".join(f"{count}.0f" for count in real))
    return f"""
static const float {name}_rows[] = {{{tables[0]}}}, {name}_columns[] = {{{tables[1]}}};
static inline float {name}_count(long i, long j) {{ return {name}_rows[i] * {name}_columns[j]; }}
"""


def max_pool_grad(
    name: str, g_shape: Ints, x_shape: Ints, y_shape: Ints, *, window: Ints, stride: Ints, padding: Pairs, threads: int
) -> Kernel | None:
    """Kernel of operands (g, x, y, dx): each window's g added at its first maximum or NaN. None if unsupported."""
    p = two_dimensional(x_shape, window, stride, padding)
    if p is None:
        return None
    cells = [(i, j) for i in range(p.window[0]) for j in range(p.window[1])]
    if p.covered and len(cells) <= INLINE_CELLS:
        functions, own = _covering_max_grad(p, f"{name}_plane", cells), 0
    else:
        functions = _any_max_grad(p, f"{name}_plane")
        own = 2 * p.out[0] * p.wide + p.stride[1] * p.span + _whole(p.out[1]) * (1 + p.stride[1]) + math.prod(p.met)
    call = f"{name}_plane(g, x, y, dx, (float *)own);"
    return p.kernel(name, functions, call, own, threads, ("og", "sx", "oy", "sdx"))


def avg_pool_grad(
    name: str, g_shape: Ints, *, input_shape: Ints, window: Ints, stride: Ints, padding: Pairs, include_padding: bool,
    threads: int,
) -> Kernel | None:  # fmt: skip
    """Kernel of operands (g, dx): each window shares its g out evenly. None if unsupported."""
    p = two_dimensional(input_shape, window, stride, padding)
    if p is None:
        return None
    functions = _counts(p, name, include_padding)
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
    return p.kernel(name, functions, f"{name}_plane(g, dx, (float *)own);", own, threads, ("og", "sdx"))


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


def _any_max_grad(p: Pooling, name: str) -> str:
    """C function of a plane's gradient for any windows: first where each window's first maximum is, then for each cell
    the sum over the windows that can have theirs there. Cells in the padding are candidates as any others: they are
    the first maximum of a window of -inf alone, as in the primitive.
    """
    (height, width), (top, _), (left, _) = p.sizes, *p.padding
    (rows, columns), (down, across) = p.met, p.stride
    kept, count = min(width, columns - left), _whole(p.out[1])
    fill = ""
    if p.padding != ((0, 0), (0, 0)):
        fill = f"for (long j = 0; j < {rows * columns}; j++) xp[j] = -__builtin_inff();"
    return f"""
static __attribute__((noinline)) void {name}_find(const float *restrict s, const float *restrict m,
    int *restrict first, int cell)
{{
for (long j = 0; j < {count}; j++) {{
const float a = s[j * {across}];
first[j] = {_same("a", "m[j]")} ? cell : first[j];
}}
}}
static __attribute__((noinline)) void {name}_add(float *restrict d, const float *restrict v, const int *restrict first,
    int cell)
{{
for (long j = 0; j < {p.span}; j++) d[j] += first[j] == cell ? v[j] : 0;
}}
static void {name}(const float *g, const float *x, const float *y, float *dx, float *scratch)
{{
int *first = (int *)scratch;
float *v = scratch + {p.out[0] * p.wide}, *sums = v + {p.out[0] * p.wide};
float *m = sums + {across * p.span}, *xp = m + {count};
{fill}
for (long h = 0; h < {max(0, min(height, rows - top))}; h++)
memcpy(xp + (h + {top}) * {columns} + {left}, x + h * {width}, {kept * 4});
memset(first, -1, {p.out[0] * p.wide * 4});
memset(v, 0, {p.out[0] * p.wide * 4});
for (long i = 0; i < {p.out[0]}; i++) {{
memcpy(v + i * {p.wide} + {p.lead}, g + i * {p.out[1]}, {p.out[1] * 4});
memcpy(m, y + i * {p.out[1]}, {p.out[1] * 4});
int *f = first + i * {p.wide} + {p.lead};
for (int k = {math.prod(p.window) - 1}; k >= 0; k--)
{name}_find(xp + (i * {down} + k / {p.window[1]}) * {columns} + k % {p.window[1]}, m, f, k);
for (long j = {p.out[1]}; j < {p.wide - p.lead}; j++) f[j] = -1;
}}
for (long h = 0; h < {height}; h++) {{
memset(sums, 0, {across * p.span * 4});
for (long k = (h + {top}) % {down}, i = (h + {top}) / {down}; k < {p.window[0]}; k += {down}, i--) {{
if (i < 0 || i >= {p.out[0]}) continue;
for (long q = 0; q < {p.window[1]}; q++) {{
const long at = i * {p.wide} + {p.lead} - q / {across};
{name}_add(sums + q % {across} * {p.span}, v + at, first + at, k * {p.window[1]} + q);
}}
}}
float *d = dx + h * {width};
{p.merged("d")}
}}
}}
"""


def _zero_rest(p: Pooling) -> str:
    """C text that clears the columns of a row d that no window meets."""
    met = p.out[1] * p.window[1]
    return f"for (long j = {met}; j < {p.sizes[1]}; j++) d[j] = 0;" if met < p.sizes[1] else ""


def _zero_below(p: Pooling) -> str:
    """C text that clears the rows of dx that no window meets."""
    (height, width), met = p.sizes, p.out[0] * p.window[0]
    return f"memset(dx + {met * width}, 0, {(height - met) * width * 4});" if met < height else ""
