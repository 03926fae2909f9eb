"""C kernels that walk along one axis: argmax, argmin, cumulative_sum, cumulative_prod. A unit is one walk."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....compiler.graph import Node
from ....compiler.layout import Ref, dense_strides
from ....compiler.scalar import C_TYPES, c_type, literal
from ....core.aval import size_of
from .kernel import Kernel, Phase

Generated = tuple[Kernel, list[Ref], float]

_SCRATCH = "char *shared, char *own, long lo, long hi, int thread, int threads"


def arg_extremum(lowering: Any, node: Node) -> Generated | None:
    """Index of the first extremum or NaN: the extremum first, in vectors, then where it is."""
    x = lowering.ref(node.operands[0])
    if x.dtype.name not in C_TYPES:
        return None
    y = lowering.result(node.results[0])
    name, kind, axis = lowering.shared.name(), c_type(x.dtype), node.params["axis"]
    largest = node.op.name == "argmax"
    n, at = x.shape[axis], f"row[i * {x.strides[axis]}]"
    floats = x.dtype.kind == "f"
    start = _lowest(x.dtype) if largest else _highest(x.dtype)
    sign, clause = (">", "max") if largest else ("<", "min")
    found = f"nan ? {at} != {at} : {at} == best" if floats else f"{at} == best"
    source = f"""
static void {name}(const {kind} *x, int64_t *y, {_SCRATCH}) {{
    for (long u = lo; u < hi; u++) {{
        const {kind} *row = x + {_start(x, axis)};
        {kind} best = {start};
        int nan = 0;
        #pragma omp simd reduction({clause}:best) reduction(|:nan)
        for (long i = 0; i < {n}; i++) {{
            best = {at} {sign} best ? {at} : best;
            {f"nan |= {at} != {at};" if floats else ""}
        }}
        long i = 0;
        while (i < {n - 1} && !({found})) i++;
        y[u] = i;
    }}
}}
"""
    by_rows = x.dense and axis == len(x.shape) - 1
    phase = Phase(name, y.size, reads=(0,), writes=(1,), rows=(0, 1) if by_rows else (1,))
    return Kernel(source, (phase,)), [x, y], x.size / 2


def cumulative(lowering: Any, node: Node) -> Generated | None:
    """Sums or products so far, one after the other as NumPy has them; integers wrap around."""
    x = lowering.ref(node.operands[0])
    if x.dtype.name not in C_TYPES or x.dtype.kind == "b":
        return None
    y = lowering.result(node.results[0])
    name, kind, axis = lowering.shared.name(), c_type(x.dtype), node.params["axis"]
    n, inner = x.shape[axis], size_of(x.shape[axis + 1 :])
    wide = "uint64_t" if x.dtype.kind in "iu" else kind
    first, sign = (0, "+") if node.op.name == "cumulative_sum" else (1, "*")
    source = f"""
static void {name}(const {kind} *x, {kind} *y, {_SCRATCH}) {{
    for (long u = lo; u < hi; u++) {{
        const {kind} *from = x + {_start(x, axis)};
        {kind} *to = y + u / {inner} * {n * inner} + u % {inner};
        {wide} total = {first};
        for (long i = 0; i < {n}; i++) {{
            total = total {sign} ({wide})from[i * {x.strides[axis]}];
            to[i * {inner}] = ({kind})total;
        }}
    }}
}}
"""
    rows = ((0, 1) if x.dense else (1,)) if inner == 1 else ()
    phase = Phase(name, x.size // n, reads=(0,), writes=(1,), rows=rows)
    return Kernel(source, (phase,)), [x, y], x.size


def _start(x: Ref, axis: int) -> str:
    """C text of where walk u begins: the other axes in row-major order."""
    shape, strides = ((*v[:axis], *v[axis + 1 :]) for v in (x.shape, x.strides))
    terms = [
        f"u / {step} % {n} * {stride}"
        for n, step, stride in zip(shape, dense_strides(shape), strides, strict=True)
        if n != 1
    ]
    return " + ".join(terms) or "0"


def _lowest(dtype: Any) -> str:
    return literal(-np.inf if dtype.kind == "f" else 0 if dtype.kind == "b" else np.iinfo(dtype).min, dtype)


def _highest(dtype: Any) -> str:
    return literal(np.inf if dtype.kind == "f" else 1 if dtype.kind == "b" else np.iinfo(dtype).max, dtype)
