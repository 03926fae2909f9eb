"""Kernels of random bits and derived keys: the words that core.ops.random specifies, Philox-4x64-10.

Samplers that reject (gamma, Poisson) stay on the host: how often they draw depends on values.
"""

from __future__ import annotations

from typing import Any

from ...core.aval import size_of
from ...core.ops import random as spec
from ..graph import Node, Value
from ..layout import Ref
from .places import each, walk


def random_bits(lowering: Any, node: Node) -> bool:
    """A unit is a block of four words; block b of each key's stream is that of counter b + 1."""
    y_aval, shape = node.results[0].aval, node.params["shape"]
    key = lowering.ref(node.operands[0])
    y = lowering.result(node.results[0])
    size, blocks, wide = size_of(shape), spec.blocks(shape, y_aval.dtype), y_aval.dtype.itemsize == 8
    units = blocks * size_of(key.shape[:-1])
    w = lowering.writer("random_bits")
    keys, out = w.array(key), w.array(y, write=True)
    per = 4 if wide else 8
    length, number = w.number(size), w.number(blocks)
    words = [f"c{i}" for i in range(4)]
    if not wide:  # the low half first
        words = [text for c in words for text in (f"(uint32_t){c}", f"(uint32_t)({c} >> 32)")]
    body = f"""        const INDEX k = u / {number}, b = u - k * {number};
{walk(w, key.shape[:-1], {"from": key.strides[:-1]}, "k", "        ")}
        uint64_t c0 = (uint64_t)b + 1, c1 = 0, c2 = 0, c3 = 0;
        uint64_t k0 = {keys}[from], k1 = {keys}[{" + ".join(["from", w.offset((key.strides[-1],), ("1",))])}];
        KNET_PHILOX(c0, c1, c2, c3, k0, k1)
        const INDEX left = {length} - b * {per}, to = k * {length} + b * {per};
        if (left >= {per}) {{
{_lines("            {out}[to + {i}] = {word};", out, words)}        }} else {{
{_lines("            if (left > {i}) {out}[to + {i}] = {word};", out, words[:-1])}        }}
"""
    text, groups = each(w, units, body, units * 24)
    lowering.launch(w.launch(text, groups, text=f"{list(y.shape)}: random bits", work=units * 24))
    return True


def _lines(statement: str, out: str, words: list[str]) -> str:
    return "".join(statement.format(out=out, i=i, word=word) + "\n" for i, word in enumerate(words))


def derive_key(lowering: Any, node: Node) -> bool:
    """A unit is a key."""
    if type(node.operands[1]) is not Value:
        return False
    key, data = (lowering.ref(x) for x in node.operands)
    y = lowering.result(node.results[0])
    keys, shape = y.size // 2, y.shape[:-1]
    w = lowering.writer("derive_key")
    a, b, out = w.array(key), w.array(data), w.array(y, write=True)
    steps = {"k": _spread(key, shape, 1), "d": _spread(data, shape, 0)}
    body = f"""{walk(w, shape, steps, "u", "        ")}
        uint64_t c0 = (uint64_t){b}[d], c1 = 0, c2 = 0, c3 = {w.number(node.params["tag"])};
        uint64_t k0 = {a}[k], k1 = {a}[{" + ".join(["k", w.offset((key.strides[-1],), ("1",))])}];
        KNET_PHILOX(c0, c1, c2, c3, k0, k1)
        {out}[2 * u] = c0;
        {out}[2 * u + 1] = c1;
"""
    text, groups = each(w, keys, body, keys * 30)
    lowering.launch(w.launch(text, groups, text=f"{list(shape)}: derived keys", work=keys * 30))
    return True


def _spread(x: Ref, shape: tuple[int, ...], own: int) -> tuple[int, ...]:
    """Steps of an array's axes but for the last ``own``, broadcast to a shape."""
    sizes, strides = (v[: len(v) - own] for v in (x.shape, x.strides))
    lead = len(shape) - len(sizes)
    return (0,) * lead + tuple(0 if n == 1 else s for n, s in zip(sizes, strides, strict=True))


GENERATORS = {"random_bits": random_bits, "derive_key": derive_key}
