"""C kernels of two-dimensional pooling and its gradients, specialised to static shapes (float32, [N, C, H, W]).

Work goes plane by plane, all loops having constant bounds for the C compiler to vectorise. Maxima and sums are
separable: first down the columns of a window's rows into one row of scratch, whose padding stands there already, then
along it. For gradients see pool_gradient.py.

One-dimensional operands are taken as [N, C, 1, T]; three-dimensional ones are left to NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

from .kernel import Kernel
from .pool_gradient import maximum_gradient, mean_gradient
from .windows import INLINE_CELLS, Ints, Pairs, Pooling, counts, two_dimensional


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
    functions = counts(p, name, include_padding) + _reduced(
        p, f"{name}_plane", "(A + B)", "0", f"A / {name}_count(i, j)"
    )
    call = f"{name}_plane(x, y, (float *)own);"
    return p.kernel(name, functions, call, _reduced_scratch(p), threads, ("sx", "oy"))


def max_pool_grad(
    name: str, g_shape: Ints, x_shape: Ints, y_shape: Ints, *, window: Ints, stride: Ints, padding: Pairs, threads: int
) -> Kernel | None:
    """Kernel of operands (g, x, y, dx): each window's g added at its first maximum or NaN. None if unsupported."""
    p = two_dimensional(x_shape, window, stride, padding)
    if p is None:
        return None
    functions, own = maximum_gradient(p, name)
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
    functions, own = mean_gradient(p, name, include_padding)
    return p.kernel(name, functions, f"{name}_plane(g, dx, (float *)own);", own, threads, ("og", "sdx"))


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
