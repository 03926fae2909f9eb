"""Kernels that move elements as bits: strided copies, and concatenations made of them; ``slices.py`` has the rest."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..graph import Node, Value
from ..layout import Ref
from ..plan import movement as plan
from . import slices
from .kernel import Launch, Writer
from .places import SMALL

BLOCK = 1 << 12  # elements that a loop over two axes copies
FEW = 1 << 10  # elements that are copied in the time of a launch, one by one
EDGE = 32  # rows and columns of a tile of a transpose


class Axis(NamedTuple):
    """A run of elements of both arrays: how many, and the steps between them."""

    n: int
    x: int
    y: int


def copy(lowering: Any, x: Ref, y: Ref, text: str = "copy") -> None:
    """Launch of y[...] = x[...] for arrays of one shape, of any strides; those of x may be 0."""
    if y.size:
        lowering.launch(copied(lowering, x, y, text))


def copied(lowering: Any, x: Ref, y: Ref, text: str) -> Launch:
    """The launch of a copy."""
    axes, turned = _axes(x, y)
    w = lowering.writer("copy", raw=True)
    if lowering.target.loops:
        return _loops(w, x, y, axes, turned, text)
    return (_tiles if turned else _flat)(w, x, y, axes, text)


def _axes(x: Ref, y: Ref) -> tuple[list[Axis], bool]:
    """Two or more axes, in y's order in memory, and whether x is turned: contiguous along the last but one."""
    found = [Axis(*each) for each in zip(y.shape, x.strides, y.strides, strict=True) if each[0] != 1]
    found.sort(key=lambda a: (-abs(a.y), -abs(a.x)))
    axes: list[Axis] = []
    for a in found:
        if axes and axes[-1].x == a.n * a.x and axes[-1].y == a.n * a.y:
            a = Axis(axes.pop().n * a.n, a.x, a.y)
        axes.append(a)
    axes = [Axis(1, 0, 0)] * (2 - len(axes)) + axes
    last = axes[-1]
    if abs(last.x) > 1:
        inner = min(range(len(axes) - 1), key=lambda i: abs(axes[i].x) or last.x**2)
        if axes[inner].n >= 4 and last.n >= 4 and 0 < abs(axes[inner].x) < abs(last.x):
            axes.insert(-1, axes.pop(inner))
            return axes, True
    return axes, False


def _loops(w: Writer, x: Ref, y: Ref, axes: list[Axis], turned: bool, text: str) -> Launch:
    """A group copies a run of blocks, each of rows and columns: of as many columns as there are, or square."""
    middle, last = axes[-2:]
    columns = min(last.n, EDGE if turned else BLOCK)
    rows = min(middle.n, EDGE if turned else max(1, BLOCK // columns))
    across, down = -(-last.n // columns), -(-middle.n // rows)
    blocks = y.size // (last.n * middle.n) * across * down
    groups = 1 if y.size <= SMALL else min(blocks, 4 * w.target.units)
    a, b = w.array(x), w.array(y, write=True)
    number = w.number
    body = f"""    const INDEX per = {number(-(-blocks // groups))}, across = {number(across)}, down = {number(down)};
    const INDEX rows = {number(middle.n)}, columns = {number(last.n)};
    const INDEX begin = GROUP(0) * per, end = MIN(begin + per, {number(blocks)});
    for (INDEX u = begin; u < end; u++) {{
        const INDEX left = u % across * {number(columns)}, right = MIN(left + {number(columns)}, columns);
        const INDEX top = u / across % down * {number(rows)}, bottom = MIN(top + {number(rows)}, rows);
        INDEX from = 0, to = 0;
{_outer(w, axes[:-2], "u / across / down", "        ")}
        for (INDEX i = top; i < bottom; i++)
            for (INDEX j = left; j < right; j++)
                {b}[to + {_steps(w, (middle.y, last.y), y.size)}] = {a}[from + {_steps(w, (middle.x, last.x), y.size)}];
    }}
"""
    return w.launch(body, (-(-blocks // -(-blocks // groups)), 1, 1), text=text, work=y.size / 4)


def _flat(w: Writer, x: Ref, y: Ref, axes: list[Axis], text: str) -> Launch:
    """An item copies four elements, as far from each other as the group has items."""
    items, a, b = w.target.items, w.array(x), w.array(y, write=True)
    size = w.number(y.size)
    body = f"""    const INDEX first = (INDEX)GROUP(0) * {4 * items} + ITEM(0);
    for (int k = 0; k < 4; k++) {{
        const INDEX u = first + k * {items};
        if (u < {size}) {{
            INDEX from = 0, to = 0;
{_outer(w, axes, "u", "            ")}
            {b}[to] = {a}[from];
        }}
    }}
"""
    return w.launch(body, (-(-y.size // (4 * items)), 1, 1), text=text, work=y.size / 4)


def _tiles(w: Writer, x: Ref, y: Ref, axes: list[Axis], text: str) -> Launch:
    """A group copies a square through local memory: reads along the rows of x, writes along those of y."""
    middle, last = axes[-2:]
    across, down = -(-last.n // EDGE), -(-middle.n // EDGE)
    tiles = y.size // (last.n * middle.n) * across * down
    a, b = w.array(x), w.array(y, write=True)
    rows, columns = w.number(middle.n), w.number(last.n)
    body = f"""    LOCAL knet_{y.dtype.itemsize} tile[{EDGE}][{EDGE + 1}];
    const INDEX u = GROUP(0), across = {w.number(across)}, down = {w.number(down)};
    const INDEX left = u % across * {EDGE}, top = u / across % down * {EDGE};
    INDEX from = 0, to = 0;
{_outer(w, axes[:-2], "u / across / down", "    ")}
    for (int k = ITEM(1); k < {EDGE}; k += 8) {{
        const INDEX i = top + ITEM(0), j = left + k;
        if (i < {rows} && j < {columns}) tile[k][ITEM(0)] = {a}[from + {_steps(w, (middle.x, last.x))}];
    }}
    BARRIER;
    for (int k = ITEM(1); k < {EDGE}; k += 8) {{
        const INDEX i = top + k, j = left + ITEM(0);
        if (i < {rows} && j < {columns}) {b}[to + {_steps(w, (middle.y, last.y))}] = tile[ITEM(0)][k];
    }}
"""
    return w.launch(body, (tiles, 1, 1), items=(EDGE, 8, 1), text=text, work=y.size / 4)


def _steps(w: Writer, strides: tuple[int, int], size: int = FEW) -> str:
    if size < FEW and not w.literal:  # one kernel whatever the strides are
        return f"i * {w.number(strides[0])} + j * {w.number(strides[1])}"
    return w.offset(strides, ("i", "j"))


def _outer(w: Writer, axes: list[Axis], place: str, indent: str) -> str:
    """C statements that add to ``from`` and ``to`` the offsets of a place among the outer axes, in row-major order."""
    lines = []
    for depth, a in enumerate(reversed([a for a in axes if a.n != 1])):
        if depth == 0:
            lines.append(f"INDEX rest = {place};")
        is_first = depth == len([a for a in axes if a.n != 1]) - 1
        index = "rest" if is_first else f"rest % {w.number(a.n)}"
        lines.append("{")
        lines.append(f"    const INDEX i = {index};")
        for name, step in (("from", a.x), ("to", a.y)):
            if step:
                lines.append(f"    {name} += {w.offset((step,), ('i',))};")
        if not is_first:
            lines.append(f"    rest /= {w.number(a.n)};")
        lines.append("}")
    return "\n".join(indent + line for line in lines)


def concatenate(lowering: Any, node: Node) -> bool:
    """A copy of each operand that is not computed in place."""
    if any(type(x) is not Value or x.dtype != node.results[0].dtype for x in node.operands):
        return False  # what is copied as bits must have the result's; NumPy converts the rest
    plan.concatenate(lowering, node)
    return True


def unslice(lowering: Any, node: Node) -> bool:
    """One kernel, or, of elements that are no number of C's, zeros and a copy."""
    if not slices.unslice(lowering, node):
        plan.unslice(lowering, node)
    return True


GENERATORS = {"concatenate": concatenate, "unslice": unslice, "update_slice": slices.update_slice}
