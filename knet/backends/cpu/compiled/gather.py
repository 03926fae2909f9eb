"""C kernels of gathers and scatters of rows: take, put, put_add, wrap_index.

Results do not depend on the number of threads: rows are added in the order of the ids, by one thread each.
"""

from __future__ import annotations

from typing import Any

from ....compiler.graph import Node, Value
from ....compiler.layout import Ref, dense_strides, reshaped
from ....compiler.plan.lowering import is_zero
from ....compiler.scalar import C_TYPES, c_type
from ....core.aval import size_of
from .kernel import Kernel, Phase

Generated = tuple[Kernel, list[Ref], float]

_SCRATCH = "char *shared, char *own, long lo, long hi, int thread, int threads"


def take(lowering: Any, node: Node) -> Generated | None:
    """y[i, :] = x[ids[i], :]; a unit is an id."""
    if not _known(node.operands[1]):
        return None
    x, ids = (lowering.ref(v) for v in node.operands)
    name, n, d = lowering.shared.name(), ids.size, size_of(x.shape[1:])
    x, ids = _matrix(lowering, x, x.shape[0], d), _vector(lowering, ids)
    y = lowering.result(node.results[0])
    kind = c_type(x.dtype)
    source = f"""
static void {name}(const {kind} *x, const {c_type(ids.dtype)} *ids, int64_t *status, {kind} *y, {_SCRATCH}) {{
    for (long i = lo; i < hi; i++) {{
        long row = {_row("i", ids, x.shape[0], name)};
        row = row < 0 ? 0 : row;
        for (long j = 0; j < {d}; j++) y[i * {d} + j] = x[{_at("row", "j", x)}];
    }}
}}
"""
    phase = Phase(name, n, reads=(0, 1), writes=(3,), rows=(1, 3) if ids.dense else (3,))
    return Kernel(source, (phase,)), [x, ids, lowering.shared.status(), y], n * (d / 4 + 4)


def wrap_index(lowering: Any, node: Node) -> Generated | None:
    """Ids counted from the start; a unit is an id."""
    if not _known(node.operands[0]):
        return None
    name = lowering.shared.name()
    ids = _vector(lowering, lowering.ref(node.operands[0]))
    y = lowering.result(node.results[0])
    row = _row("i", ids, node.params["size"], name, node.params["axis"])
    source = f"""
static void {name}(const {c_type(ids.dtype)} *ids, int64_t *status, int64_t *y, {_SCRATCH}) {{
    for (long i = lo; i < hi; i++) y[i] = {row};
}}
"""
    phase = Phase(name, ids.size, reads=(0,), writes=(2,), rows=(0, 2) if ids.dense else (2,))
    return Kernel(source, (phase,)), [ids, lowering.shared.status(), y], ids.size * 2


def put(lowering: Any, node: Node) -> Generated | None:
    """y = x, then y[ids[i], :] = u[i, :], or += for put_add.

    Threads share the columns where rows are long, which is even; else the rows of the table, each thread reading all
    ids.
    """
    add = node.op.name == "put_add"
    if not _known(node.operands[1]) or (add and node.results[0].dtype.name not in C_TYPES):
        return None
    rows, d = node.results[0].shape[0], size_of(node.results[0].shape[1:])
    clear = is_zero(lowering.graph, node.operands[0])
    name = lowering.shared.name()
    x = _matrix(lowering, lowering.ref(node.operands[0]), rows, d)
    ids = _vector(lowering, lowering.ref(node.operands[1]))
    n = ids.size
    u = _matrix(lowering, lowering.ref(node.operands[2]), n, d)
    y = lowering.result(node.results[0])
    kind, line = c_type(y.dtype), 64 // y.dtype.itemsize
    columns = d >= 2 * line * lowering.threads
    bounds = f"0, end = {rows}, left = lo, right = hi" if columns else f"lo, end = hi, left = 0, right = {d}"
    start = "0" if clear else f"x[{_at('r', 'j', x)}]"
    if y.dtype.name == "bool" and add:
        update = "y[row * {d} + j] |= {v}"
    else:
        update = "y[row * {d} + j] {sign} {v}"
    update = update.format(d=d, sign="+=" if add else "=", v=f"u[{_at('i', 'j', u)}]")
    source = f"""
static void {name}(const {kind} *x, const {c_type(ids.dtype)} *ids, const {kind} *u, int64_t *status, {kind} *y,
                   {_SCRATCH}) {{
    const long begin = {bounds};
    for (long r = begin; r < end; r++)
        for (long j = left; j < right; j++) y[r * {d} + j] = {start};
    for (long i = 0; i < {n}; i++) {{
        const long row = {_row("i", ids, rows, name)};
        if (row >= begin && row < end)
            for (long j = left; j < right; j++) {update};
    }}
}}
"""
    reads = (1, 2) if clear else (0, 1, 2)
    if columns:
        phase = Phase(name, d, reads, (4,), grain=line, divisible=False)
    else:
        phase = Phase(name, rows, reads, (4,), rows=(0, 4) if x.dense else (4,), divisible=False)
    work = (rows * d + n * (d + 4)) / 4
    return Kernel(source, (phase,)), [x, ids, u, lowering.shared.status(), y], work


def _known(ids: Value) -> bool:
    """Whether all ids fit into int64."""
    return ids.dtype.kind in "iu" and ids.dtype.name != "uint64"


def _row(i: str, ids: Ref, size: int, name: str, axis: int = 0) -> str:
    """C text of the row that id ``i`` names, or -1."""
    at = i if ids.strides == (1,) else f"{i} * {ids.strides[0]}"
    return f"knet_row((int64_t)ids[{at}], {size}, status, thread, {name.removeprefix('k')}, {axis})"


def _at(row: str, column: str, x: Ref) -> str:
    return " + ".join(
        f"{name} * {step}L" if step != 1 else name for name, step in zip((row, column), x.strides) if step
    ) or "0"  # fmt: skip


def _matrix(lowering: Any, x: Ref, rows: int, columns: int) -> Ref:
    """x as [rows, columns], copied where its strides do not allow that."""
    result = reshaped(x, (rows, columns)) or reshaped(lowering.dense(x), (rows, columns))
    assert result is not None
    return result


def _vector(lowering: Any, ids: Ref) -> Ref:
    result = reshaped(ids, (ids.size,)) or Ref(lowering.dense(ids).buffer, (ids.size,))
    return result if ids.size != 1 else Ref(result.buffer, (1,), dense_strides((1,)), result.offset)
