"""Kernels of rows that indices name: take, wrap_index; put, put_add and segment_extremum come from ``scatter.py``.

An index out of bounds is noted in the status (``headers/device.h``), and the kernel goes on: what it would have read is
row 0, and what it would have written is left out.
"""

from __future__ import annotations

from typing import Any

from ...core.aval import size_of
from ..graph import Node, Value
from .places import each
from .scatter import GENERATORS as SCATTER
from .scatter import Rows, matrix, vector


def take(lowering: Any, node: Node) -> bool:
    """y[i, :] = x[ids[i], :], as bits."""
    if any(type(v) is not Value for v in node.operands):
        return False
    x, ids = (lowering.ref(v) for v in node.operands)
    count, n, d = x.shape[0], ids.size, size_of(x.shape[1:])
    x, ids = matrix(lowering, x, count, d), vector(lowering, ids)
    y = lowering.result(node.results[0])
    w = lowering.writer("take", raw=True)
    a, rows, b = w.array(x), Rows(lowering, w, ids, count), w.array(y, write=True)
    columns, place = w.number(d), w.offset(x.strides, ("row", "j"))
    if not count:
        copied = ""  # every index is out of bounds
    elif w.target.loops:
        copied = f"        for (INDEX j = 0; j < {columns}; j++) {b}[u * {columns} + j] = {a}[{place}];\n"
    else:
        copied = f"        {b}[u] = {a}[{place}];\n"
    split = "" if w.target.loops else f"        const INDEX i = u / {columns}, j = u - i * {columns};\n"
    body = f"""{split}        INDEX row = {rows.text("u" if w.target.loops else "i")};
        row = row < 0 ? 0 : row;
{copied}"""
    work = n * (d / 4 + 4)
    text, groups = each(w, n if w.target.loops else n * d, body, work)
    lowering.launch(w.launch(text, groups, text=f"{list(y.shape)}: take", work=work))
    return True


def wrap_index(lowering: Any, node: Node) -> bool:
    """Indices counted from the start."""
    if type(node.operands[0]) is not Value:
        return False
    ids = vector(lowering, lowering.ref(node.operands[0]))
    y = lowering.result(node.results[0])
    w = lowering.writer("wrap_index")
    rows, b = Rows(lowering, w, ids, node.params["size"], node.params["axis"]), w.array(y, write=True)
    body = f"""        const int64_t row = {rows.text("u")};
        {b}[u] = row < 0 ? 0 : row;
"""
    text, groups = each(w, ids.size, body, ids.size * 2)
    lowering.launch(w.launch(text, groups, text=f"{list(y.shape)}: wrapped indices", work=ids.size * 2))
    return True


GENERATORS = {"take": take, "wrap_index": wrap_index, **SCATTER}
