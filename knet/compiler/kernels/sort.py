"""Kernels of orders: argsort and top_places, both stable.

Elements become keys: unsigned numbers in the order wanted, NaN behind all others, equal ones equal. On CPUs a group
sorts a line by merging in the workspace. On GPUs a group sorts a run of a line in local memory (Batcher 1968, bitonic),
by (key, place), which no two elements share; longer lines are merged, run by run, each element finding its own place.
"""

from __future__ import annotations

from typing import Any

from ...core import ShapedArray, dtypes
from ..graph import Node, Value
from ..layout import Ref
from ..scalar import C_TYPES, HALF, loaded
from .kernel import Writer
from .places import each, walk, without

FEW = 64  # places that a CPU finds by insertion, where lines are longer
RUN = 16  # elements that a CPU sorts by insertion
ITEMS_RUN = 2048  # most elements that a group of a GPU sorts in local memory


def argsort(lowering: Any, node: Node) -> bool:
    """Places of the elements of lines in ascending order."""
    return _sorted(lowering, node, node.params["axis"], down=False)


def top_places(lowering: Any, node: Node) -> bool:
    """Places of the largest elements of lines, in descending order."""
    return _sorted(lowering, node, len(node.operands[0].shape) - 1, down=True)


def _sorted(lowering: Any, node: Node, axis: int, down: bool) -> bool:
    value = node.operands[0]
    if type(value) is not Value or not (value.dtype.name in C_TYPES or value.dtype.name in HALF):
        return False
    if value.dtype == dtypes.float64 and not lowering.target.doubles:
        return False
    x, y = lowering.ref(value), lowering.result(node.results[0])
    if not y.size:
        return True
    lines = _Lines(lowering, x, y, axis, down)
    if lowering.target.loops:
        (_by_insertion if lines.kept <= FEW and 8 * lines.kept <= lines.n else _by_merging)(lines)
    else:
        _in_runs(lines)
    return True


class _Lines:
    """What is sorted: x along an axis; the first ``kept`` places go to y."""

    def __init__(self, lowering: Any, x: Ref, y: Ref, axis: int, down: bool) -> None:
        self.lowering = lowering
        self.x, self.y, self.axis = x, y, axis
        self.down = down
        self.n, self.kept = x.shape[axis], y.shape[axis]
        self.count = x.size // max(1, self.n)
        self.wide = x.dtype.itemsize == 8
        self.kind = "uint64_t" if self.wide else "uint32_t"
        self.text = f"{list(x.shape)}: places in order along {axis}"

    def walk(self, w: Writer, place: str, indent: str) -> str:
        """C statements that declare the offsets ``from`` and ``to`` of a line."""
        steps = {"from": without(self.x.strides, self.axis), "to": without(self.y.strides, self.axis)}
        return walk(w, without(self.x.shape, self.axis), steps, place, indent, "line")

    def key(self, element: str, indent: str) -> str:
        """C statements that declare ``key`` for an element in memory."""
        dtype = self.x.dtype
        top = "0x8000000000000000UL" if self.wide else "0x80000000u"
        if dtypes.is_differentiable(dtype):
            real, bits, whole = ("double", "f64", "int64_t") if self.wide else ("float", "f32", "int32_t")
            lines = [
                f"const {real} real = {loaded(element, dtype)};",
                f"const {whole} bits = real == 0 ? 0 : ({whole})knet_bits_{bits}(real);",
                f"{self.kind} key = ({self.kind})bits ^ (bits < 0 ? ~({self.kind})0 : {top});",
                f"if (real != real) key = ~({self.kind})0;",
            ]
        elif dtype.kind == "i":
            whole = "int64_t" if self.wide else "int32_t"
            lines = [f"{self.kind} key = ({self.kind})({whole}){element} ^ {top};"]
        else:
            lines = [f"{self.kind} key = {element};"]
        if self.down:
            lines.append("key = ~key;")
        return "".join(f"{indent}{line}\n" for line in lines)

    def new(self, dtype: Any) -> Ref:
        """Two arrays of a number for each element, one behind the other."""
        return self.lowering.new(ShapedArray((2 * self.x.size,), dtype))

    def keys(self) -> Ref:
        return self.new(dtypes.uint64 if self.wide else dtypes.uint32)


def _at(w: Writer, name: str, step: int, index: str) -> str:
    """C text of a place: an offset and an index along the axis."""
    return f"{name} + {w.offset((step,), (index,))}" if step else name


def _by_merging(lines: _Lines) -> None:
    """Runs by insertion, then merged in twos, to and fro between the halves of the workspace."""
    w = lines.lowering.writer("sort")
    a, y = w.array(lines.x), w.array(lines.y, write=True)
    keys, places = w.array(lines.keys(), write=True), w.array(lines.new(dtypes.int32), write=True)
    n, size = w.number(lines.n), w.number(lines.x.size)
    axis = lines.axis
    body = f"""{lines.walk(w, "u", "        ")}        INDEX old = u * {n}, new = old + {size};
        for (INDEX start = 0; start < {n}; start += {RUN}) {{
            const INDEX end = MIN(start + {RUN}, {n});
            for (INDEX i = start; i < end; i++) {{
{lines.key(f"{a}[{_at(w, 'from', lines.x.strides[axis], 'i')}]", "                ")}                INDEX j = i;
                for (; j > start && {keys}[old + j - 1] > key; j--) {{
                    {keys}[old + j] = {keys}[old + j - 1];
                    {places}[old + j] = {places}[old + j - 1];
                }}
                {keys}[old + j] = key;
                {places}[old + j] = (int)i;
            }}
        }}
        for (INDEX run = {RUN}; run < {n}; run *= 2) {{
            for (INDEX start = 0; start < {n}; start += 2 * run) {{
                INDEX i = old + start, j = MIN(i + run, old + {n}), k = new + start;
                const INDEX middle = j, end = MIN(j + run, old + {n});
                while (i < middle && j < end) {{
                    const int later = {keys}[j] < {keys}[i];
                    const INDEX taken = later ? j : i;
                    {keys}[k] = {keys}[taken];
                    {places}[k++] = {places}[taken];
                    j += later;
                    i += !later;
                }}
                for (; i < middle; i++) {{
                    {keys}[k] = {keys}[i];
                    {places}[k++] = {places}[i];
                }}
                for (; j < end; j++) {{
                    {keys}[k] = {keys}[j];
                    {places}[k++] = {places}[j];
                }}
            }}
            {{
                const INDEX swapped = old;
                old = new;
                new = swapped;
            }}
        }}
        for (INDEX i = 0; i < {w.number(lines.kept)}; i++)
            {y}[{_at(w, "to", lines.y.strides[axis], "i")}] = {places}[old + i];
"""
    work = lines.x.size * (8 + 4 * max(0, (lines.n // RUN).bit_length()))
    text, groups = each(w, lines.count, body, work)
    lines.lowering.launch(w.launch(text, groups, text=lines.text, work=work))


def _by_insertion(lines: _Lines) -> None:
    """The first few in order so far; most elements come behind all of them."""
    w = lines.lowering.writer("sort_few")
    a, y = w.array(lines.x), w.array(lines.y, write=True)
    size, axis = lines.count * lines.kept, lines.axis
    best = w.array(lines.lowering.new(ShapedArray((size,), dtypes.uint64 if lines.wide else dtypes.uint32)), write=True)
    n, kept = w.number(lines.n), w.number(lines.kept)

    def place(i: str) -> str:
        return f"{y}[{_at(w, 'to', lines.y.strides[axis], i)}]"

    body = f"""{lines.walk(w, "u", "        ")}        const INDEX own = u * {kept};
        INDEX have = 0;
        for (INDEX i = 0; i < {n}; i++) {{
{lines.key(f"{a}[{_at(w, 'from', lines.x.strides[axis], 'i')}]", "            ")}\
            if (have < {kept} || key < {best}[own + {kept} - 1]) {{
                INDEX j = have < {kept} ? have : {kept} - 1;
                for (; j > 0 && {best}[own + j - 1] > key; j--) {{
                    {best}[own + j] = {best}[own + j - 1];
                    {place("j")} = {place("(j - 1)")};
                }}
                {best}[own + j] = key;
                {place("j")} = i;
                have += have < {kept};
            }}
        }}
"""
    work = lines.x.size * 4
    text, groups = each(w, lines.count, body, work)
    lines.lowering.launch(w.launch(text, groups, text=lines.text, work=work))


def _in_runs(lines: _Lines) -> None:
    """Runs in local memory; of lines longer than a run, merges until one is left."""
    lowering, n = lines.lowering, lines.n
    run = lowering.target.items
    while run < min(n, ITEMS_RUN) and 2 * run * (12 if lines.wide else 8) <= lowering.target.local_bytes:
        run *= 2
    whole = n <= run
    keys = None if whole else lines.keys()
    places = None if whole else lines.new(dtypes.int32)
    _runs(lines, run, keys, places)
    source = 0
    while run < n:
        assert keys is not None and places is not None
        _merge(lines, run, keys, places, source, last=2 * run >= n)
        source = 1 - source
        run *= 2


def _runs(lines: _Lines, run: int, keys: Ref | None, places: Ref | None) -> None:
    """Launch the sorting of runs: into the workspace, or, of lines that are one run, into y."""
    items = lines.lowering.target.items
    w = lines.lowering.writer("sort_runs")
    a = w.array(lines.x)
    n, runs = w.number(lines.n), -(-lines.n // run)
    if keys is None or places is None:
        y = w.array(lines.y, write=True)
        left = f"""            if (start + e < {w.number(lines.kept)})
                {y}[{_at(w, "to", lines.y.strides[lines.axis], "(start + e)")}] = start + place[e];
"""
    else:
        b, c = w.array(keys, write=True), w.array(places, write=True)
        left = f"""            if (start + e < {n}) {{
                {b}[u * {n} + start + e] = sorted[e];
                {c}[u * {n} + start + e] = (int)start + place[e];
            }}
"""
    count = w.number(runs)
    body = f"""    LOCAL {lines.kind} sorted[{run}];
    LOCAL int place[{run}];
    const INDEX u = GROUP(0) / {count}, start = (GROUP(0) - u * {count}) * {run};
    {{
{lines.walk(w, "u", "        ")}
        for (int e = ITEM(0); e < {run}; e += {items}) {{
            place[e] = e;
            sorted[e] = ~({lines.kind})0;
            if (start + e < {n}) {{
{lines.key(f"{a}[{_at(w, 'from', lines.x.strides[lines.axis], '(start + e)')}]", "                ")}\
                sorted[e] = key;
            }}
        }}
        for (int size = 2; size <= {run}; size *= 2)
            for (int step = size / 2; step > 0; step /= 2) {{
                BARRIER;
                for (int pair = ITEM(0); pair < {run // 2}; pair += {items}) {{
                    const int p = pair / step * step * 2 + pair % step, q = p + step;
                    const {lines.kind} first = sorted[p], second = sorted[q];
                    const int at = place[p], other = place[q];
                    const int later = first > second || (first == second && at > other);
                    if (later == ((p & size) == 0)) {{
                        sorted[p] = second;
                        sorted[q] = first;
                        place[p] = other;
                        place[q] = at;
                    }}
                }}
            }}
        BARRIER;
        for (int e = ITEM(0); e < {run}; e += {items}) {{
{left}        }}
    }}
"""
    work = lines.x.size * run.bit_length() ** 2
    lines.lowering.launch(w.launch(body, (lines.count * runs, 1, 1), text=lines.text, work=work))


def _merge(lines: _Lines, run: int, keys: Ref, places: Ref, source: int, last: bool) -> None:
    """Launch the merging of runs in twos: an element's place is its own and the number of those before it beside."""
    w = lines.lowering.writer("sort_merge")
    b, c = w.array(keys, write=True), w.array(places, write=True)
    n = w.number(lines.n)
    if last:
        y = w.array(lines.y, write=True)
        left = f"""{lines.walk(w, "line", "        ")}        if (to_place < {w.number(lines.kept)})
            {y}[{_at(w, "to", lines.y.strides[lines.axis], "to_place")}] = {c}[before + i];
"""
    else:
        left = f"""        {b}[after + to_place] = key;
        {c}[after + to_place] = {c}[before + i];
"""
    old, new = (w.number(k * lines.x.size) for k in (source, 1 - source))
    body = f"""        const INDEX line = u / {n}, i = u - line * {n}, run = {w.number(run)};
        const INDEX before = {old} + line * {n}, after = {new} + line * {n};
        const INDEX own = i / run * run, pair = own / run / 2 * run * 2, second = own != pair;
        const INDEX begin = second ? pair : MIN(own + run, {n}), end = second ? own : MIN(own + 2 * run, {n});
        const {lines.kind} key = {b}[before + i];
        INDEX low = begin, high = end;
        while (low < high) {{
            const INDEX middle = low + (high - low) / 2;
            const {lines.kind} other = {b}[before + middle];
            const int passed = other < key || (second && other == key);
            low = passed ? middle + 1 : low;
            high = passed ? high : middle;
        }}
        const INDEX to_place = pair + (i - own) + (low - begin);
{left}"""
    work = lines.x.size * run.bit_length() * 4
    text, groups = each(w, lines.x.size, body, work)
    lines.lowering.launch(w.launch(text, groups, text=lines.text, work=work))


GENERATORS = {"argsort": argsort, "top_places": top_places}
