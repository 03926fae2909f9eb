"""Kernels along one axis: argmax, argmin, cumulative_sum, _prod, _argmax and _argmin, searchsorted.

A line is the elements along the axis at one place of the others. An item walks along a line; on GPUs a group does,
where lines are long, and puts what its items found together in a fixed order.
"""

from __future__ import annotations

from typing import Any

from ...core import dtypes
from ...core.aval import size_of
from ...core.ops import segment
from ..graph import Node, Value
from ..layout import Ref
from ..scalar import C_TYPES, HALF, arithmetic, c_type, literal, loaded, stored
from .kernel import Writer
from .places import each, walk, without

LONG = 128  # elements of a line that a group of a GPU shares out among its items
LANES = 16  # elements that a CPU compares side by side

_VECTORS = {  # of OpenCL: of a type, and of the truth values of comparisons
    "float": ("float", "int"), "double": ("double", "long"),
    "int8_t": ("char", "char"), "int16_t": ("short", "short"), "int32_t": ("int", "int"), "int64_t": ("long", "long"),
    "uint8_t": ("uchar", "char"), "uint16_t": ("ushort", "short"), "uint32_t": ("uint", "int"),
    "uint64_t": ("ulong", "long"),
}  # fmt: skip


def arg_extremum(lowering: Any, node: Node) -> bool:
    """Index of the first extremum of a line, or of its first NaN."""
    x = _operand(lowering, node)
    if x is None:
        return False
    y, axis = lowering.result(node.results[0]), node.params["axis"]
    line = _Line(lowering.writer(node.op.name), x, y, axis, ">" if node.op.name == "argmax" else "<")
    plain = x.dtype.name not in HALF and x.dtype != dtypes.bool_
    if lowering.target.loops and plain and line.step == 1 and line.n >= 2 * LANES:
        _launch(lowering, line, _in_lanes(line), f"argument of {list(x.shape)} along {axis}")
    elif lowering.target.loops or line.n < LONG:
        _launch(lowering, line, _one_by_one(line), f"argument of {list(x.shape)} along {axis}")
    else:
        _reduced(lowering, line, f"argument of {list(x.shape)} along {axis}")
    return True


class _Line:
    """The names of a kernel over lines: x at ``at(i)`` of line ``u``, y where it is written.

    ``before(a, b)``: whether a would be found before b, places aside.
    """

    def __init__(self, w: Writer, x: Ref, y: Ref, axis: int, sign: str = "", kept: bool = False) -> None:
        self.w = w
        self.dtype = x.dtype
        self.kind = "int" if x.dtype == dtypes.bool_ else c_type(arithmetic(x.dtype))
        self.n, self.step = x.shape[axis], x.strides[axis]
        self.count = x.size // max(1, self.n)
        self.length = w.number(self.n)
        self.x, self.y = w.array(x), w.array(y, write=True)
        sizes = without(x.shape, axis)
        to = without(y.strides, axis) if kept else y.strides
        self.walk = walk(w, sizes, {"from": without(x.strides, axis), "to": to}, "u", "        ")
        self.sign = sign
        self.floats = dtypes.is_differentiable(x.dtype)
        self.to_step = y.strides[axis] if kept else 0
        self._step = w.number(self.step) if self.step not in (0, 1) else str(self.step)
        self._to_step = w.number(self.to_step) if kept else ""

    def at(self, i: str) -> str:
        place = "from" if self.step == 0 else f"from + {i}" if self.step == 1 else f"from + {i} * {self._step}"
        return loaded(f"{self.x}[{place}]", self.dtype)

    def to(self, i: str) -> str:
        return f"{self.y}[to + {i} * {self._to_step}]"

    def before(self, a: str, b: str) -> str:
        return f"{a} {self.sign} {b}" + (f" || ({a} != {a} && {b} == {b})" if self.floats else "")


def _one_by_one(line: _Line) -> str:
    return f"""{line.walk}        {line.kind} best = {line.at("0")};
        INDEX place = 0;
        for (INDEX i = 1; i < {line.length}; i++) {{
            const {line.kind} v = {line.at("i")};
            if ({line.before("v", "best")}) {{
                best = v;
                place = i;
            }}
        }}
        {line.y}[to] = place;
"""


def _in_lanes(line: _Line) -> str:
    """The extremum in vectors of OpenCL's, then the first vector that has it, and the place there."""
    first = literal((segment.lowest if line.sign == ">" else segment.highest)(line.dtype), line.dtype)
    vector, mask = _VECTORS[c_type(line.dtype)]
    odd, nan, found = (
        ("odd |= v != v;", "any(odd)", "nan ? v != v : v == top") if line.floats else ("", "0", "v == top")
    )
    load = f"const {vector}{LANES} v = vload{LANES}(0, {line.x} + from + i);"
    return f"""{line.walk}        {vector}{LANES} best = {first};
        {mask}{LANES} odd = 0;
        const INDEX last = {line.length} - {LANES};
        for (INDEX start = 0; start < {line.length}; start += {LANES}) {{
            const INDEX i = MIN(start, last);
            {load}
            best = v {line.sign} best ? v : best;
            {odd}
        }}
        const int nan = {nan};
        {line.kind} all[{LANES}], top;
        vstore{LANES}(best, 0, all);
        top = all[0];
        for (int k = 1; k < {LANES}; k++) top = all[k] {line.sign} top ? all[k] : top;
        INDEX place = -1;
        for (INDEX start = 0; place < 0; start += {LANES}) {{
            const INDEX i = MIN(start, last);
            {load}
            const {mask}{LANES} same = {found};
            if (any(same)) {{
                {mask} each[{LANES}];
                int k = 0;
                vstore{LANES}(same, 0, each);
                while (!each[k]) k++;
                place = i + k;
            }}
        }}
        {line.y}[to] = place;
"""


def _launch(lowering: Any, line: _Line, body: str, text: str) -> None:
    work = line.count * max(1, line.n)
    body, groups = each(line.w, line.count, body, work)
    lowering.launch(line.w.launch(body, groups, text=text, work=work))


def _reduced(lowering: Any, line: _Line, text: str) -> None:
    """A group finds the place of a line: each item among every so many elements, then pairs of items."""
    items = lowering.target.items
    body = f"""    LOCAL {line.kind} found[{items}];
    LOCAL INDEX places[{items}];
    const int item = ITEM(0);
    const INDEX u = GROUP(0);
    {{
{line.walk}        {line.kind} best = {line.at("0")};
        INDEX place = 0;
        for (INDEX i = item; i < {line.length}; i += {items}) {{
            const {line.kind} v = {line.at("i")};
            if (i == item || {line.before("v", "best")}) {{
                best = v;
                place = i;
            }}
        }}
        found[item] = best;
        places[item] = place;
        for (int side = {items // 2}; side > 0; side /= 2) {{
            BARRIER;
            if (item < side) {{
                const {line.kind} a = found[item], b = found[item + side];
                const int later = {line.before("a", "b")};
                const int sooner = {line.before("b", "a")};
                if (sooner || (!later && places[item + side] < places[item])) {{
                    found[item] = b;
                    places[item] = places[item + side];
                }}
            }}
        }}
        if (item == 0) {line.y}[to] = places[0];
    }}
"""
    lowering.launch(line.w.launch(body, (line.count, 1, 1), text=text, work=line.count * line.n))


def cumulative(lowering: Any, node: Node) -> bool:
    """Sums or products of a line up to each element; half types in float32, whole numbers wrap around."""
    x = _operand(lowering, node)
    if x is None:
        return False
    y, axis = lowering.result(node.results[0]), node.params["axis"]
    total = node.op.name == "cumulative_sum"
    line = _Line(lowering.writer(node.op.name), x, y, axis, kept=True)
    dtype = x.dtype
    kind = f"u{c_type(dtype)}" if dtype.kind == "i" else line.kind
    first = "0" if total else "1"
    if dtype == dtypes.bool_:
        sign = "|" if total else "&"
    else:
        sign = "+" if total else "*"
    value = f"({kind})({line.at('i')})"
    last = stored("total", dtype) if dtype.name in HALF else f"({c_type(dtype)})total"
    text = f"{list(x.shape)}: {node.op.name} along {axis}"
    if lowering.target.loops or line.n < LONG:
        body = f"""{line.walk}        {kind} total = {first};
        for (INDEX i = 0; i < {line.length}; i++) {{
            total = ({kind})(total {sign} {value});
            {line.to("i")} = {last};
        }}
"""
        _launch(lowering, line, body, text)
    else:
        _scanned(lowering, line, (kind, first, sign, value, last), text)
    return True


def _scanned(lowering: Any, line: _Line, parts: tuple[str, str, str, str, str], text: str) -> None:
    """A group goes along a line in tiles: what its items hold is combined in pairs at doubling distances.

    Hillis and Steele 1986, "Data parallel algorithms".
    """
    kind, first, sign, value, last = parts
    items = lowering.target.items
    body = f"""    LOCAL {kind} sums[{2 * items}];
    const int item = ITEM(0);
    const INDEX u = GROUP(0);
    {{
{line.walk}        {kind} before = {first};
        for (INDEX start = 0; start < {line.length}; start += {items}) {{
            const INDEX i = start + item;
            int side = 0;
            sums[item] = i < {line.length} ? {value} : ({kind}){first};
            for (int step = 1; step < {items}; step *= 2) {{
                BARRIER;
                {kind} v = sums[side + item];
                if (item >= step) v = ({kind})(sums[side + item - step] {sign} v);
                side = {items} - side;
                sums[side + item] = v;
            }}
            BARRIER;
            {kind} total = ({kind})(before {sign} sums[side + item]);
            if (i < {line.length}) {line.to("i")} = {last};
            before = ({kind})(before {sign} sums[side + {items - 1}]);
            BARRIER;
        }}
    }}
"""
    lowering.launch(line.w.launch(body, (line.count, 1, 1), text=text, work=line.count * line.n * 8))


def cumulative_arg(lowering: Any, node: Node) -> bool:
    """Index of the first extremum, or NaN, of a line up to each element."""
    x = _operand(lowering, node)
    if x is None:
        return False
    y, axis = lowering.result(node.results[0]), node.params["axis"]
    sign = ">" if node.op.name == "cumulative_argmax" else "<"
    line = _Line(lowering.writer(node.op.name), x, y, axis, sign, kept=True)
    text = f"{list(x.shape)}: {node.op.name} along {axis}"
    if lowering.target.loops or line.n < LONG:
        body = f"""{line.walk}        {line.kind} best = 0;
        INDEX place = 0;
        for (INDEX i = 0; i < {line.length}; i++) {{
            const {line.kind} v = {line.at("i")};
            if (i == 0 || {line.before("v", "best")}) {{
                best = v;
                place = i;
            }}
            {line.to("i")} = place;
        }}
"""
        _launch(lowering, line, body, text)
    else:
        _scanned_places(lowering, line, text)
    return True


def _scanned_places(lowering: Any, line: _Line, text: str) -> None:
    """As sums are scanned, of pairs (element, its place); the former of two that are equal stays."""
    items = lowering.target.items
    body = f"""    LOCAL {line.kind} found[{2 * items}];
    LOCAL INDEX places[{2 * items}];
    const int item = ITEM(0);
    const INDEX u = GROUP(0);
    {{
{line.walk}        {line.kind} best = {line.at("0")};
        INDEX place = 0;
        for (INDEX start = 0; start < {line.length}; start += {items}) {{
            const INDEX i = start + item;
            int side = 0;
            found[item] = {line.at(f"MIN(i, {line.length} - 1)")};
            places[item] = i;
            for (int step = 1; step < {items}; step *= 2) {{
                BARRIER;
                {line.kind} v = found[side + item];
                INDEX at = places[side + item];
                if (item >= step) {{
                    const {line.kind} former = found[side + item - step];
                    if (!({line.before("v", "former")})) {{
                        v = former;
                        at = places[side + item - step];
                    }}
                }}
                side = {items} - side;
                found[side + item] = v;
                places[side + item] = at;
            }}
            BARRIER;
            {{
                const {line.kind} v = found[side + item], e = found[side + {items - 1}];
                const int changed = {line.before("v", "best")};
                if (i < {line.length}) {line.to("i")} = changed ? places[side + item] : place;
                if ({line.before("e", "best")}) {{
                    best = e;
                    place = places[side + {items - 1}];
                }}
            }}
            BARRIER;
        }}
    }}
"""
    lowering.launch(line.w.launch(body, (line.count, 1, 1), text=text, work=line.count * line.n * 8))


def searchsorted(lowering: Any, node: Node) -> bool:
    """Number of edges before each element, by bisection; NaN comes after all numbers."""
    if any(type(v) is not Value for v in node.operands):
        return False
    edges, x = (lowering.ref(v) for v in node.operands)
    if edges.dtype != x.dtype or not _computes(lowering, x.dtype):
        return False
    y, right = lowering.result(node.results[0]), node.params["right"]
    lead = len(edges.shape) - 1
    w = lowering.writer("searchsorted")
    a, b, out = w.array(edges), w.array(x), w.array(y, write=True)
    kind, n = c_type(arithmetic(x.dtype)), edges.shape[-1]
    inner = size_of(x.shape[lead:])
    steps = tuple(0 if m == 1 else s for m, s in zip(edges.shape[:-1], edges.strides, strict=False))
    rows = walk(w, x.shape[:lead], {"row": steps}, f"u / {w.number(inner)}", "        ", "line") if lead else ""
    floats = dtypes.is_differentiable(x.dtype)

    def less(p: str, q: str) -> str:
        return f"({p} < {q}" + (f" || ({q} != {q} && {p} == {p}))" if floats else ")")

    passed = f"!{less('v', 'e')}" if right else less("e", "v")
    edge = loaded(f"{a}[{'row + ' if rows else ''}{w.offset((edges.strides[-1],), ('middle',))}]", x.dtype)
    body = f"""{walk(w, x.shape, {"from": x.strides}, "u", "        ")}{rows}
        const {kind} v = {loaded(f"{b}[from]", x.dtype)};
        INDEX low = 0, high = {w.number(n)};
        while (low < high) {{
            const INDEX middle = low + (high - low) / 2;
            const {kind} e = {edge};
            const int passed = {passed};
            low = passed ? middle + 1 : low;
            high = passed ? high : middle;
        }}
        {out}[u] = low;
"""
    work = x.size * (n.bit_length() + 1) * 4
    text, groups = each(w, x.size, body, work)
    lowering.launch(w.launch(text, groups, text=f"{list(x.shape)}: searched in {n}", work=work))
    return True


def _computes(lowering: Any, dtype: Any) -> bool:
    """Whether the device computes with a dtype."""
    return (dtype.name in C_TYPES or dtype.name in HALF) and (dtype != dtypes.float64 or lowering.target.doubles)


def _operand(lowering: Any, node: Node) -> Ref | None:
    x = node.operands[0]
    return lowering.ref(x) if type(x) is Value and _computes(lowering, x.dtype) else None


GENERATORS = {
    "argmax": arg_extremum,
    "argmin": arg_extremum,
    "cumulative_sum": cumulative,
    "cumulative_prod": cumulative,
    "cumulative_argmax": cumulative_arg,
    "cumulative_argmin": cumulative_arg,
    "searchsorted": searchsorted,
}
