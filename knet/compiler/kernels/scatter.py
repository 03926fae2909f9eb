"""Kernels that bring rows to the rows that indices name: put, put_add, segment_extremum.

An element of the result is written by one item alone, in the order of the indices, so that sums do not depend on how
many there are. On CPUs a group has a range of rows, or of columns, and reads all indices; on GPUs a group's items have
columns, of one or more rows each, and read the indices together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...core import dtypes
from ...core.aval import size_of
from ...core.ops import segment
from ..graph import Node, Value
from ..layout import Ref, reshaped
from ..plan.lowering import is_zero
from ..scalar import C_TYPES, HALF, c_type, literal, loaded, stored
from .kernel import Writer
from .places import SMALL

_WIDTHS = (1, 4, 16, 64, 256)  # columns of a group of items


class Rows:
    """The rows that indices name, in the text of a kernel."""

    def __init__(self, lowering: Any, w: Writer, ids: Ref, size: int, axis: int = 0) -> None:
        self.ids = ids
        self.w = w
        self.array = w.array(ids)
        self.size = w.number(size)
        self.status = w.array(lowering.status(), write=True)
        self.launch = w.number(len(lowering.items) + 1)
        self.axis = w.number(axis)
        self.step = w.number(ids.strides[0]) if ids.strides[0] != 1 else ""

    def text(self, i: str) -> str:
        """C text of the row that index number ``i`` names; -1, and a note, if there is none."""
        place = f"{i} * {self.step}" if self.step else i
        index = f"({c_type(self.ids.dtype)}){self.array}[{place}]"  # of a kernel that moves bits: with its sign
        if self.ids.dtype == dtypes.uint64:
            index = f"MIN({index}, 9223372036854775807UL)"
        status = f"(GLOBAL int64_t *){self.status}"
        return f"(INDEX)knet_row((int64_t)({index}), {self.size}, {status}, {self.launch}, {i}, {self.axis})"


class _Update(NamedTuple):
    """What becomes of an element: at first, and when a row comes to it.

    Attributes:
      first: its value before, from the offset of an element of x: C text with ``{r}`` and ``{j}`` as indices.
      then: C text of the value after, of ``{y}`` and ``{u}``, in memory's type.
    """

    first: Callable[[str, str], str]
    then: Callable[[str, str], str]


def put(lowering: Any, node: Node) -> bool:
    """y = x, then y[ids[i], :] = u[i, :], as bits."""
    return _put(lowering, node, raw=True, then=lambda _y, u: u)


def put_add(lowering: Any, node: Node) -> bool:
    """y = x, then y[ids[i], :] += u[i, :], each sum rounded."""
    dtype = node.results[0].dtype
    if not _computed(lowering, dtype):
        return False
    return _put(lowering, node, raw=False, then=lambda y, u: added(y, u, dtype))


def added(y: str, u: str, dtype: Any) -> str:
    """C text of a sum of elements in memory, as memory holds it; whole numbers wrap around."""
    if dtype == dtypes.bool_:
        return f"{y} | {u}"
    if dtype.kind == "i":
        kind, wide = c_type(dtype), f"u{c_type(dtype)}"
        return f"({kind})(({wide}){y} + ({wide}){u})"
    if dtype.kind == "u":
        return f"({c_type(dtype)})({y} + {u})"
    return stored(f"({loaded(y, dtype)} + {loaded(u, dtype)})", dtype)


def _put(lowering: Any, node: Node, raw: bool, then: Callable[[str, str], str]) -> bool:
    if any(type(v) is not Value for v in node.operands):
        return False
    if any(node.operands[i].dtype != node.results[0].dtype for i in (0, 2)):  # elements are moved as they are
        return False
    count, d = node.results[0].shape[0], size_of(node.results[0].shape[1:])
    ids = vector(lowering, lowering.ref(node.operands[1]))
    u = matrix(lowering, lowering.ref(node.operands[2]), ids.size, d)
    w = lowering.writer(node.op.name, raw)
    if is_zero(lowering.graph, node.operands[0]) and not raw:
        y = lowering.result(node.results[0])
        _launch(lowering, w, ids, u, y, _Update(lambda _r, _j: "0", then), (count, d))
        return True
    x = matrix(lowering, lowering.ref(node.operands[0]), count, d)
    y = lowering.result(node.results[0])
    a, steps = w.array(x), x.strides
    first = w.offset(steps, ("r", "j"))
    same = x.dense
    _launch(lowering, w, ids, u, y, _Update(lambda _r, _j: f"{a}[{first}]", then), (count, d), same)
    return True


def segment_extremum(lowering: Any, node: Node) -> bool:
    """Of the rows of each segment the largest (or smallest) elements, or NaN."""
    dtype, largest = node.results[0].dtype, node.params["largest"]
    if not _computed(lowering, dtype) or any(type(v) is not Value for v in node.operands):
        return False
    count, d = node.results[0].shape[0], size_of(node.results[0].shape[1:])
    ids = vector(lowering, lowering.ref(node.operands[1]))
    x = matrix(lowering, lowering.ref(node.operands[0]), ids.size, d)
    y = lowering.result(node.results[0])
    w = lowering.writer("segment_max" if largest else "segment_min")
    number = (segment.lowest if largest else segment.highest)(dtype)
    single = dtypes.float32 if dtype.name in HALF else dtype
    start = stored(literal(number, single), dtype)
    sign = ">" if largest else "<"

    def then(old: str, new: str) -> str:
        a, b = loaded(old, dtype), loaded(new, dtype)
        nan = f" || {b} != {b}" if dtypes.is_differentiable(dtype) else ""
        return f"{b} {sign} {a}{nan} ? {new} : {old}"

    _launch(lowering, w, ids, x, y, _Update(lambda _r, _j: start, then), (count, d))
    return True


def _launch(
    lowering: Any, w: Writer, ids: Ref, u: Ref, y: Ref, update: _Update, sizes: tuple[int, int], same: bool = False
) -> None:
    """Launch the scatter to y [count, d]."""
    count, d = sizes
    rows = Rows(lowering, w, ids, count)
    source, target = w.array(u), w.array(y, write=True)
    n, height, width = w.number(ids.size), w.number(count), w.number(d)
    place = f"{target}[row * {width} + j]"
    taken = w.offset(u.strides, ("i", "j"))
    first = f"{target}[r * {width} + j] = {update.first('r', 'j')};"
    then = f"{place} = {update.then(place, f'{source}[{taken}]')};"
    work = (count * d + ids.size * (d + 4)) / 4
    if w.target.loops:
        body, groups = _ranges(w, rows, first, then, sizes, (n, height, width), work)
    else:
        body, groups = _columns(w, rows, first, then, sizes, (n, height, width))
    pairs = ((0, int(target[1:])),) if same else ()  # x is the kernel's first operand
    text = f"{list(y.shape)}: {w.name} of {ids.size} rows"
    lowering.launch(w.launch(body, (groups, 1, 1), text=text, work=work, same=pairs))


def _ranges(
    w: Writer, rows: Rows, first: str, then: str, sizes: tuple[int, int], names: tuple[str, str, str], work: float
) -> tuple[str, int]:
    """A group has some columns, where there are enough, else some rows."""
    (count, d), (n, height, width) = sizes, names
    line = 64
    columns = d >= 2 * line * w.target.units
    total, groups = (d, d // line) if columns else (count, count)
    groups = max(1, min(groups, 2 * w.target.units)) if work > SMALL else 1
    per = -(-total // groups)
    if columns:
        per = -(-per // line) * line
    bounds = "0, end = {}, left = lo, right = hi" if columns else "lo, end = hi, left = 0, right = {}"
    size, other = (width, height) if columns else (height, width)
    body = f"""    const INDEX lo = GROUP(0) * {w.number(per)}, hi = MIN(lo + {w.number(per)}, {size});
    const INDEX begin = {bounds.format(other)};
    for (INDEX r = begin; r < end; r++)
        for (INDEX j = left; j < right; j++) {first}
    for (INDEX i = 0; i < {n}; i++) {{
        const INDEX row = {rows.text("i")};
        if (row >= begin && row < end)
            for (INDEX j = left; j < right; j++) {then}
    }}
"""
    return body, -(-total // per) if per else 0


def _columns(
    w: Writer, rows: Rows, first: str, then: str, sizes: tuple[int, int], names: tuple[str, str, str]
) -> tuple[str, int]:
    """An item has a column of some rows."""
    (count, d), (n, height, width) = sizes, names
    items = w.target.items
    across = next((c for c in _WIDTHS if c >= min(d, items)), items)
    across = min(across, items)
    blocks, down = -(-d // across), items // across
    per = max(1, count * blocks // (8 * w.target.units * down))
    body = f"""    LOCAL INDEX named[{items}];
    const INDEX blocks = {w.number(blocks)}, block = GROUP(0) / blocks, per = {w.number(per)};
    const INDEX j = (GROUP(0) - block * blocks) * {across} + ITEM(0) % {across};
    const INDEX begin = (block * {down} + ITEM(0) / {across}) * per;
    const INDEX end = j < {width} ? MIN(begin + per, {height}) : begin;
    for (INDEX r = begin; r < end; r++) {first}
    for (INDEX start = 0; start < {n}; start += {items}) {{
        const int count = (int)MIN({n} - start, {items});
        BARRIER;
        if (ITEM(0) < count) named[ITEM(0)] = {rows.text("(start + ITEM(0))")};
        BARRIER;
        for (int k = 0; k < count; k++) {{
            const INDEX row = named[k], i = start + k;
            if (row >= begin && row < end) {then}
        }}
    }}
"""
    return body, -(-count // (down * per)) * blocks


def matrix(lowering: Any, x: Ref, rows: int, columns: int) -> Ref:
    """x as [rows, columns], copied where its strides do not allow that."""
    result = reshaped(x, (rows, columns)) or reshaped(lowering.dense(x), (rows, columns))
    assert result is not None
    return result


def vector(lowering: Any, x: Ref) -> Ref:
    """x as one axis, copied where its strides do not allow that."""
    result = reshaped(x, (x.size,)) or reshaped(lowering.dense(x), (x.size,))
    assert result is not None
    return result


def _computed(lowering: Any, dtype: Any) -> bool:
    """Whether the device computes with a dtype."""
    return (dtype.name in C_TYPES or dtype.name in HALF) and (dtype != dtypes.float64 or lowering.target.doubles)


GENERATORS = {"put": put, "put_add": put_add, "segment_extremum": segment_extremum}
