"""Texts that kernels share: which part of the work a group does, and where elements lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..layout import Ref
from .kernel import Extent, Writer

SMALL = 1 << 14  # simple operations that one thread of a CPU does in the time of waking another


def groups_of(units: int, work: float, w: Writer) -> int:
    """Groups among which a CPU's threads share out ``units`` pieces of work."""
    return 1 if work <= SMALL else min(units, 4 * w.target.units)


def each(w: Writer, units: int, body: str, work: float) -> tuple[str, Extent]:
    """C text that does ``body`` for each number ``u`` below ``units``, and the groups to launch.

    Args:
      work: simple operations, all in all.
    """
    if w.target.loops:
        per = -(-units // max(1, groups_of(units, work, w)))
        text = f"""    const INDEX per = {w.number(per)}, begin = GROUP(0) * per;
    const INDEX limit = MIN(begin + per, {w.number(units)});
    for (INDEX u = begin; u < limit; u++) {{
{body}    }}
"""
        return text, (-(-units // per) if units else 0, 1, 1)
    items = w.target.items
    text = f"""    const INDEX u = (INDEX)GROUP(0) * {items} + ITEM(0);
    if (u < {w.number(units)}) {{
{body}    }}
"""
    return text, (-(-units // items), 1, 1)


def walk(
    w: Writer, sizes: Sequence[int], steps: Mapping[str, Sequence[int]], place: str, indent: str, name: str = "rest"
) -> str:
    """C statements that declare an offset for each name in ``steps``: of place number ``place`` of ``sizes``.

    Axes that lie one after the other in all arrays count as one; in eager kernels the text tells how many are left and
    which steps are 0 or 1, no more.
    """
    runs: list[tuple[int, tuple[int, ...]]] = []
    for n, *each_step in zip(sizes, *steps.values(), strict=True):
        found = tuple(each_step)
        if n == 1:
            continue
        if runs and all(old == n * new for old, new in zip(runs[-1][1], found, strict=True)):
            runs.append((runs.pop()[0] * n, found))
        else:
            runs.append((n, found))
    terms: dict[str, list[str]] = {name_: [] for name_ in steps}
    lines = []
    text = place
    for depth in reversed(range(len(runs))):
        n, found = runs[depth]
        if depth and any(found):
            lines.append(f"const INDEX {name}{depth} = {text}, {name}_{depth} = {name}{depth} / {w.number(n)};")
            index = f"({name}{depth} - {name}_{depth} * {w.number(n)})"
        elif depth:
            lines.append(f"const INDEX {name}_{depth} = ({text}) / {w.number(n)};")
        else:
            index = f"({text})"
        for key, step in zip(steps, found, strict=True):
            if step:
                terms[key].append(w.offset((step,), (index,)))
        text = f"{name}_{depth}"
    lines += [f"const INDEX {key} = {' + '.join(found) or 0};" for key, found in terms.items()]
    return "".join(f"{indent}{line}\n" for line in lines)


def at(w: Writer, x: Ref, *indices: str) -> str:
    """C text of the element of x at some indices, counted from its first."""
    return w.offset(tuple(0 if n == 1 else s for n, s in zip(x.shape, x.strides, strict=True)), indices)


def without(values: Sequence[int], axis: int) -> tuple[int, ...]:
    """All but the one at an axis."""
    return (*values[:axis], *values[axis + 1 :])
