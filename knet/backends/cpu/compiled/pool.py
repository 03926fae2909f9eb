"""C kernels of two-dimensional pooling and its gradients, specialised to static shapes (float32, [N, C, H, W]).

Work goes plane by plane, all loops having constant bounds for the C compiler to vectorise. Maxima and sums are
separable: first down the columns of a window's rows into one row of scratch, whose padding stands there already, then
along it. Gradients of windows that are disjoint and cover x write every cell once; others are added up in scratch where
columns are sorted by their remainder modulo the stride, so that neighbouring windows' cells are neighbours.

One-dimensional operands are taken as [N, C, 1, T]; three-dimensional ones are left to NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....core.ops.conv import output_sizes
from . import tiles
from .kernel import Kernel, Phase
from .sorted_columns import SortedColumns

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
    def sorted(self) -> SortedColumns:
        """Scratch in which overlapping windows are added up."""
        (top, _), (left, _) = self.padding
        return SortedColumns(self.sizes, self.out, self.window, self.stride, (top, left))

    def real(self, k: int) -> tuple[int, int]:
        """The windows, as a range of columns of the output, whose k-th column is within x."""
        (left, _), step = self.padding[1], self.stride[1]
        start = min(self.out[1], max(0, -((k - left) // step)))
        return start, max(start, min(self.out[1], (self.sizes[1] - 1 - k + left) // step + 1))

    def kernel(self, name: str, functions: str, call: str, own: int, threads: int, operands: Sequence[str]) -> Kernel:
        """Kernel whose function does planes one after the other by `call`. A unit is an image, or a plane if there are
        fewer images than threads. `operands` are names, "s" for those of x's size and "o" for those of the output's.
        """
        inner = 1 if self.images < threads else self.channels
        size = {"s": math.prod(self.sizes), "o": math.prod(self.out)}
        names = ", ".join(
            f"{'' if i == len(operands) - 1 else 'const '}float *{a[1:]}" for i, a in enumerate(operands)
        )
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
    return Pooling(*x_shape[:2], sizes, windows, strides, pads, out)  # type: ignore[arg-type]


def max_pool(
    name: str, x_shape: Ints, *, window: Ints, stride: Ints, padding: Pairs, threads: int
) -> Kernel | None:
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
    functions = _counts(p, name, include_padding) + _reduced(p, f"{name}_plane", "(A + B)", "0", f"A / {name}_count(i, j)")
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
    """Kernel of operands (g, x, y, dx): each window's g added at its first maximum, or first NaN. None if unsupported."""
    p = two_dimensional(x_shape, window, stride, padding)
    if p is None:
        return None
    cells = [(i, j) for i in range(p.window[0]) for j in range(p.window[1])]
    if p.covered and len(cells) <= INLINE_CELLS:
        functions, own = _covering_max_grad(p, f"{name}_plane", cells), 0
    else:
        functions, own = _sorted_max_grad(p, f"{name}_plane"), p.out[1] + p.sorted.plane
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
        columns = p.sorted
        own = p.out[1] + columns.row + columns.plane
        body = f"""float *row = scratch + {p.out[1]}, *all = row + {columns.row};
memset(all, 0, {columns.plane * 4});
for (long i = 0; i < {p.out[0]}; i++) {{
for (long j = 0; j < {p.out[1]}; j++) scratch[j] = g[i * {p.out[1]} + j] / {name}_count(i, j);
memset(row, 0, {columns.row * 4});
for (long k = 0; k < {p.window[1]}; k++) {{
float *d = row + k % {p.stride[1]} * {columns.remainder} + k / {p.stride[1]};
for (long j = 0; j < {p.out[1]}; j++) d[j] += scratch[j];
}}
for (long k = 0; k < {p.window[0]}; k++) {{
float *d = all + (i * {p.stride[0]} + k) * {columns.row};
for (long j = 0; j < {columns.row}; j++) d[j] += row[j];
}}
}}
{columns.unsort('all', 'dx')}"""
    functions += f"""
static void {name}_plane(const float *restrict g, float *restrict dx, float *restrict scratch)
{{
(void)scratch;
{body}
}}
"""
    return p.kernel(name, functions, f"{name}_plane(g, dx, (float *)own);", own, threads, ("og", "sdx"))


def _covering_max_grad(p: Pooling, name: str, cells: Sequence[Pair]) -> str:
    """C function of a plane's gradient for windows that do not overlap: from the last cell to the first, so that the
    first match is the one that stays.
    """
    (down, across), width = p.window, p.sizes[1]
    at = {(i, j): f"[j * {across} + {i * width + j}]" for i, j in cells}
    loads = ", ".join(f"x{k} = s{at[cell]}" for k, cell in enumerate(cells))
    finds = " ".join(
        f"first = (x{k} == m) | ((x{k} != x{k}) & (m != m)) ? {k} : first;" for k in reversed(range(len(cells)))
    )
    stores = " ".join(f"d{at[cell]} = first == {k} ? v : 0;" for k, cell in enumerate(cells))
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
int first = -1;
{finds}
{stores}
}}
{rest if _zero_rest(p) else ""}
}}
{_zero_below(p)}
}}
"""


def _sorted_max_grad(p: Pooling, name: str) -> str:
    """C function of a plane's gradient for any windows. Cells in the padding are candidates as any others: they are
    the first maximum of a window of -inf alone, as in the primitive.
    """
    (height, width), (top, _), (left, _) = p.sizes, *p.padding
    columns, step = p.out[1], p.stride[1]
    finds, adds = [], []
    for k in reversed(range(p.window[1])):
        start, stop = p.real(k)
        number = f"k * {p.window[1]} + {k}"
        for a, b in ((0, start), (stop, columns)):
            if a < b:
                finds.append(f"for (long j = {a}; j < {b}; j++) if (m[j] == -__builtin_inff()) first[j] = {number};")
        if start < stop:
            cell = f"s[j * {step} + {k - left}]"
            finds.append(
                f"for (long j = {start}; j < {stop}; j++) {{ const float a = {cell}; "
                f"first[j] = (a == m[j]) | ((a != a) & (m[j] != m[j])) ? {number} : first[j]; }}"
            )
    for k in range(p.window[1]):
        adds.append(
            f"for (long j = 0; j < {columns}; j++) d[j + {p.sorted.column(k)}] += first[j] == k * {p.window[1]} + {k} ? v[j] : 0;"
        )
    outside = ""
    if any(p.padding[0]):
        outside = f"""if (h < 0 || h >= {height}) {{
for (long j = 0; j < {columns}; j++) if (m[j] == -__builtin_inff()) first[j] = k * {p.window[1]};
continue;
}}
"""
    return f"""
static void {name}(const float *restrict g, const float *restrict x, const float *restrict y, float *restrict dx,
    float *restrict scratch)
{{
int *restrict first = (int *)scratch;
float *restrict all = scratch + {columns};
memset(all, 0, {p.sorted.plane * 4});
for (long i = 0; i < {p.out[0]}; i++) {{
const float *m = y + i * {columns}, *v = g + i * {columns};
for (long j = 0; j < {columns}; j++) first[j] = -1;
for (long k = {p.window[0] - 1}; k >= 0; k--) {{
const long h = i * {p.stride[0]} + k - {top};
{outside}const float *s = x + h * {width};
{chr(10).join(finds)}
}}
for (long k = 0; k < {p.window[0]}; k++) {{
float *d = all + (i * {p.stride[0]} + k) * {p.sorted.row};
{chr(10).join(adds)}
}}
}}
{p.sorted.unsort('all', 'dx')}
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
