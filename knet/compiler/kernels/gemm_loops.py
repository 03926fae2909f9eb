"""Matrix products on CPU devices: tiles of sums in vector registers, panels of w that lie in the order they are read.

A group is one item, which computes some rows and panels of some matrices. The tile in the middle keeps R rows times V
vectors of sums in registers and adds, for each k, a number of x times a vector of w to each. Tiles at the end overlap
the ones before, so that all are whole; elements are stored once. The text is OpenCL C.

References: K. Goto and R. van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34 (2008).
"""

from __future__ import annotations

from typing import Any

from ...core import ShapedArray
from ..layout import Ref
from .contraction import Contraction, at, batch_places, number
from .gemm_dots import gemm_dots
from .gemm_panels import VECTOR, pack_panel, packed
from .gemm_plan import Plan, ceil, dots, plan
from .gemm_small import gemm_small, small
from .kernel import Writer
from .partial_sums import sum_parts

_HEX = "0123456789abcdef"


def gemm(lowering: Any, p: Contraction) -> None:
    """Append the launches of a product that has elements."""
    if small(lowering, p):
        gemm_small(lowering, p)
        return
    if dots(p):
        gemm_dots(lowering, p)
        return
    how = plan(p, lowering.target, lowering.literal)
    parts = max(1, ceil(p.k, how.steps))
    panels = packed(lowering, p, how) if how.source == "packed" else None
    sums = lowering.new(ShapedArray((parts, p.count * p.m * p.n), p.arithmetic.sums)) if parts > 1 else None
    _Tiles(lowering, p, how, panels, sums, parts).launch()
    if sums is not None:
        sum_parts(lowering, p, sums, parts)


class _Tiles:
    """The kernel with the sums."""

    def __init__(
        self, lowering: Any, p: Contraction, how: Plan, panels: Ref | None, sums: Ref | None, parts: int
    ) -> None:
        self.lowering, self.p, self.how, self.sums, self.parts = lowering, p, how, sums, parts
        self.literal = lowering.literal
        self.w: Writer = lowering.writer("gemm")
        w = self.w
        self.m, self.n, self.k = w.number(p.m), w.number(p.n), w.number(p.k)
        self.panels = panels
        self.one = self.literal and p.n <= how.width  # the only panel
        self.type = p.arithmetic.type
        self.vector = f"{VECTOR[self.type]}{how.lanes}"
        self.xm, self.xk = number(w, p.xm), number(w, p.xk)
        self.wk, self.wn = number(w, p.wk), number(w, p.wn)
        self.ym, self.yn = number(w, p.ym), number(w, p.yn)

    def launch(self) -> None:
        """Append it."""
        p, how, w = self.p, self.how, self.w
        groups = (
            ceil(p.m, how.rows),
            ceil(ceil(p.n, how.width), how.columns),
            ceil(p.count, how.matrices) * self.parts,
        )
        body = self._declarations() + self._matrices()
        self.lowering.launch(w.launch(body, groups, items=(1, 1, 1), text=p.text, work=float(p.work)))

    # --- loops --------------------------------------------------------------------------------------------------------

    def _declarations(self) -> str:
        how, w = self.how, self.w
        text = ""
        if how.source == "local":
            text += f"    LOCAL {self.type} panel_[{how.room_w}];\n"
        if how.packs_x:
            text += f"    LOCAL {self.type} rows_[{how.room_x}];\n"
        rows, columns = w.number(how.rows), w.number(how.columns * how.width)
        text += (
            f"    const INDEX m_0 = (INDEX)GROUP(0) * {rows}, m_1 = MIN({self.m}, m_0 + {rows});\n"
            f"    const INDEX c_0 = (INDEX)GROUP(1) * {columns}, c_1 = MIN({self.n}, c_0 + {columns});\n"
        )
        if self.parts == 1:
            return text + f"    const INDEX k_0 = 0, steps = {self.k};\n"
        steps, parts = w.number(how.steps), w.number(self.parts)
        return text + (
            f"    const INDEX part = GROUP(2) % {parts}, k_0 = part * {steps}, steps = MIN({steps}, {self.k} - k_0);\n"
        )

    def _matrices(self) -> str:
        """The loop over matrices of the batch."""
        p, w = self.p, self.w
        group = f"GROUP(2) / {w.number(self.parts)}" if self.parts > 1 else "GROUP(2)"
        if p.count == 1:
            return self._blocks("0", "0", "0", "0")
        places = batch_places(w, p.batch, "item")
        count, share = w.number(p.count), w.number(self.how.matrices)
        inner = self._blocks("item", *places)
        return (
            f"    const INDEX item_0 = (INDEX)({group}) * {share}, item_1 = MIN({count}, item_0 + {share});\n"
            f"    for (INDEX item = item_0; item < item_1; ++item) {{\n{inner}    }}\n"
        )

    def _blocks(self, item: str, x: str, w: str, y: str) -> str:
        """Loops over blocks of rows, panels, tiles."""
        p, how = self.p, self.how
        block = how.tiles * how.height
        step = self.w.number(block)
        text = (
            f"    const GLOBAL {p.arithmetic.stored} *w_ = {self.w.array(p.w)} + {w};\n"
            if how.source != "packed"
            else ""
        )
        if p.elements is None:
            text += f"    const GLOBAL {p.arithmetic.stored} *x_ = {self.w.array(p.x)} + {x};\n"
        if how.source == "packed":
            assert self.panels is not None
            each = self.w.number(self.panels.size // self.panels.shape[0])
            first = at((item, each)) if self.panels.shape[0] > 1 else "0"
            text += f"    const GLOBAL {self.type} *w_ = {self.w.array(self.panels)} + {first};\n"
        inner = self._pack_x(item) + self._panels(item, y)
        return text + (
            f"    for (INDEX i_0 = m_0; i_0 < m_1; i_0 += {step}) {{\n"
            f"    const INDEX i_1 = MIN(m_1, i_0 + {step});\n{inner}    }}\n"
        )

    def _pack_x(self, item: str) -> str:
        """A copy of the block's rows, in the order [tile, k, row]."""
        p, how = self.p, self.how
        if not how.packs_x:
            return ""
        r = how.height
        if p.elements is not None:
            row = "(m + r)" if item == "0" else f"({item} * {self.m} + m + r)"
            element = p.elements(self.w, row, "(k_0 + k)")
        else:
            element = p.arithmetic.load(f"x_[{at(('m + r', self.xm), ('(k_0 + k)', self.xk))}]")
        loops = [f"for (INDEX r = 0; r < {r}; ++r)", "for (INDEX k = 0; k < steps; ++k)"]
        if p.elements is None and p.xm == 1:
            loops.reverse()
        return (
            f"    for (INDEX i = i_0, t = 0; i < i_1; i += {r}, t += steps * {r}) {{\n"
            f"        const INDEX m = MIN(i, {self.m} - {r});\n"
            f"        {' '.join(loops)} rows_[t + k * {r} + r] = {element};\n    }}\n"
        )

    def _panels(self, item: str, y: str) -> str:
        how, p = self.how, self.p
        width = how.width
        k0 = "k_0"
        if how.source == "direct":
            # The last panel begins where it ends with the matrix; its first columns have been stored.
            start = "c" if self.one else f"MIN(c, {self.n} - {width})"
            cols = self.n if self.one else str(width)
            head = (
                f"    const INDEX j = {start}, skip = c - j, cols = {cols};\n"
                f"    const GLOBAL {self.type} *panel = w_ + j + {at((k0, self.wk))};\n"
            )
        else:
            head = f"    const INDEX j = c, skip = 0, cols = MIN({width}, {self.n} - c);\n"
            if how.source == "local":
                head += (
                    f"    const GLOBAL {p.arithmetic.stored} *from = w_ + {at(('c', self.wn), (k0, self.wk))};\n"
                    + pack_panel(p, how, "from", "panel_", "steps", self.wk, self.wn)
                    + f"    const LOCAL {self.type} *panel = panel_;\n"
                )
            else:
                head += f"    const GLOBAL {self.type} *panel = w_ + c * {self.k} + k_0 * {width};\n"
        r = how.height
        return (
            f"    for (INDEX c = c_0; c < c_1; c += {width}) {{\n{head}"
            f"    for (INDEX i = i_0; i < i_1; i += {r}) {{\n"
            f"    const INDEX m = MIN(i, {self.m} - {r}), above = i - m;\n"
            f"{self._tile()}{self._store(item, y)}    }}\n    }}\n"
        )

    # --- the tile -----------------------------------------------------------------------------------------------------

    def _tile(self) -> str:
        how, p = self.how, self.p
        r, v, lanes, vector = how.height, how.vectors, how.lanes, self.vector
        sums = [[f"s{i}_{j}" for j in range(v)] for i in range(r)]
        text = f"    {vector} {', '.join(f'{s} = 0' for row in sums for s in row)};\n"
        space = "LOCAL" if how.source == "local" else "GLOBAL"
        text += f"    const {space} {self.type} *q = panel;\n"
        if how.packs_x:
            text += f"    const LOCAL {self.type} *u = rows_ + (i - i_0) * steps;\n"
            elements, move = [f"u[{i}]" for i in range(r)], f"u += {r}"
        else:
            text += f"    const GLOBAL {p.arithmetic.stored} *u = x_ + {at(('m', self.xm), ('k_0', self.xk))};\n"
            elements = [p.arithmetic.load(f"u[{at((str(i), self.xm))}]") for i in range(r)]
            move = f"u += {self.xk}"
        step = self.wk if how.source == "direct" else str(how.width)
        text += f"    for (INDEX k = 0; k < steps; ++k, {move}, q += {step}) {{\n"
        for j in range(v):
            count = min(lanes, p.n - j * lanes) if self.one and how.source == "direct" else lanes
            text += f"        const {vector} b{j} = {_load(vector, lanes, count, 'q', j * lanes)};\n"
        for i in range(r):
            text += f"        {{ const {vector} f = ({vector})({elements[i]});"
            for j in range(v):
                text += " " + p.arithmetic.mac(sums[i][j], "f", f"b{j}")
            text += " }\n"
        return text + "    }\n"

    # --- storing ------------------------------------------------------------------------------------------------------

    def _store(self, item: str, y: str) -> str:
        p, how = self.p, self.how
        r, v, lanes, width = how.height, how.vectors, how.lanes, how.width
        if self.sums is not None:
            place = f"(part * {self.w.number(p.count)} + {item}) * {self.m}" if item != "0" else f"part * {self.m}"
            base = f"{self.w.array(self.sums, write=True)} + ({place}) * {self.n}"
            row, column, simple = self.n, "1", True
        else:
            simple = p.epilogue is None and p.yn == 1 and p.arithmetic.native
            row, column = self.ym, self.yn
            base = "" if p.epilogue else f"{self.w.array(p.y, write=True)} + {y}"
        kind = self.type if self.sums is not None else p.arithmetic.stored
        target = f"    GLOBAL {kind} *z = {base} + {at(('m', row), ('j', column))};\n" if base else ""
        stage = "".join(
            f"    vstore{lanes}(s{i}_{j}, 0, stage + {i * width + j * lanes});\n" for i in range(r) for j in range(v)
        )
        total = f"stage[r * {width} + c]"
        if self.sums is None and p.epilogue is not None:
            flat = "(m + r)" if item == "0" else f"({item} * {self.m} + m + r)"
            statement = "{ " + p.epilogue(self.w, p.arithmetic.value(total), flat, "(j + c)") + " }"
        else:
            stored = total if self.sums is not None else p.arithmetic.store(total)
            statement = f"z[{at(('r', row), ('c', column))}] = {stored};"
        slow = (
            f"    {self.type} stage[{r * width}];\n{stage}"
            f"    for (INDEX r = above; r < {r}; ++r)\n        for (INDEX c = skip; c < cols; ++c) {statement}\n"
        )
        if not simple:
            return target + slow
        fast = ""
        for i in range(r):
            for j in range(v):
                count = min(lanes, p.n - j * lanes) if self.one else lanes
                fast += "".join(
                    f"        {text}\n"
                    for text in _put(f"s{i}_{j}", lanes, count, f"z + {at((str(i), row))} + {j * lanes}")
                )
        whole = "above == 0"
        if not self.one:
            whole += " && skip == 0" if how.source == "direct" else f" && cols == {width}"
        return f"{target}    if ({whole}) {{\n{fast}    }} else {{\n{slow}    }}\n"


def _pieces(count: int, lanes: int) -> list[tuple[int, int]]:
    """Beginnings and sizes of the vectors that count elements are moved in."""
    pieces, start, size = [], 0, lanes
    while start < count:
        while size > count - start:
            size //= 2
        pieces.append((start, size))
        start += size
    return pieces


def _load(vector: str, lanes: int, count: int, pointer: str, offset: int) -> str:
    """C expression of a vector whose first elements are in memory, and whose others are 0."""
    kind = vector.rstrip("0123456789")
    if count == lanes:
        return f"vload{lanes}(0, {pointer} + {offset})"
    parts = []
    for start, size in _pieces(count, lanes):
        place = f"{pointer} + {offset + start}"
        parts.append(f"vload{size}(0, {place})" if size > 1 else f"*({place})")
    end = count
    while end < lanes:
        size = end & -end
        parts.append(f"({kind}{size})(0)" if size > 1 else f"({kind})0")
        end += size
    return f"({vector})({', '.join(parts)})"


def _put(name: str, lanes: int, count: int, pointer: str) -> list[str]:
    """Statements that store the first elements of a vector."""
    if count == lanes:
        return [f"vstore{lanes}({name}, 0, {pointer});"]
    texts = []
    for start, size in _pieces(count, lanes):
        part = f"{name}.s{_HEX[start : start + size]}"
        texts.append(
            f"vstore{size}({part}, 0, {pointer} + {start});" if size > 1 else f"*({pointer} + {start}) = {part};"
        )
    return texts
