"""C kernels of random bits and derived keys: the words that core.ops.random specifies, Philox-4x64-10.

A block of four words costs twenty products of 64 by 64 bits, which scalar instructions do and vector ones do not.
"""

from __future__ import annotations

from typing import Any

from ....compiler.graph import Node
from ....compiler.layout import Ref, dense_strides
from ....compiler.scalar import c_type
from ....core.aval import size_of
from ....core.ops import random as spec
from .kernel import Kernel, Phase

_SCRATCH = "char *shared, char *own, long lo, long hi, int thread, int threads"


def _text() -> str:
    (m0, m1), (b0, b1) = spec._MULTIPLIERS, spec._BUMPS
    return f"""
/* Ten rounds on a counter of four words, in place. */
KNET_INLINE void knet_philox(uint64_t *c, uint64_t k0, uint64_t k1) {{
    uint64_t c0 = c[0], c1 = c[1], c2 = c[2], c3 = c[3];
    for (int round = 0; round < 10; round++) {{
        unsigned __int128 p = (unsigned __int128){m0}ULL * c0, q = (unsigned __int128){m1}ULL * c2;
        c0 = (uint64_t)(q >> 64) ^ c1 ^ k0;
        c1 = (uint64_t)q;
        c2 = (uint64_t)(p >> 64) ^ c3 ^ k1;
        c3 = (uint64_t)p;
        k0 += {b0}ULL, k1 += {b1}ULL;
    }}
    c[0] = c0, c[1] = c1, c[2] = c2, c[3] = c3;
}}
"""


PREAMBLE = _text()
"""C text that programs with these kernels include once."""


def random_bits(lowering: Any, node: Node) -> tuple[Kernel, list[Ref], float]:
    """A unit is a block of four words; block b of each key's stream is that of counter b + 1."""
    key = lowering.dense(lowering.ref(node.operands[0]))
    y = lowering.result(node.results[0])
    name, size, kind = lowering.shared.name(), size_of(node.params["shape"]), c_type(y.dtype)
    blocks, per = spec.blocks(node.params["shape"], y.dtype), 32 // y.dtype.itemsize
    words = "c[i]" if y.dtype.itemsize == 8 else "(uint32_t)(c[i / 2] >> i % 2 * 32)"  # the low half first
    source = f"""
static void {name}(const uint64_t *key, {kind} *y, {_SCRATCH}) {{
    for (long u = lo; u < hi; u++) {{
        const long k = u / {blocks}, b = u % {blocks};
        uint64_t c[4] = {{b + 1, 0, 0, 0}};
        knet_philox(c, key[2 * k], key[2 * k + 1]);
        {kind} *to = y + k * {size} + b * {per};
        const long left = {size} - b * {per};
        if (left >= {per})
            for (int i = 0; i < {per}; i++) to[i] = {words};
        else
            for (int i = 0; i < left; i++) to[i] = {words};
    }}
}}
"""
    units = blocks * (key.size // 2)
    phase = Phase(name, units, reads=(0,), writes=(1,), rows=(1,) if size % per == 0 else ())
    return Kernel(source, (phase,)), [key, y], units * 24


def derive_key(lowering: Any, node: Node) -> tuple[Kernel, list[Ref], float]:
    """A unit is a key."""
    key, data = (lowering.ref(x) for x in node.operands)
    y = lowering.result(node.results[0])
    name, keys = lowering.shared.name(), y.size // 2
    shape = y.shape[:-1]
    half = f" + {key.strides[-1]}"
    source = f"""
static void {name}(const uint64_t *key, const {c_type(data.dtype)} *data, uint64_t *y, {_SCRATCH}) {{
    for (long u = lo; u < hi; u++) {{
        const long k = {_offset(key.shape[:-1], key.strides[:-1], shape)};
        uint64_t c[4] = {{(uint64_t)data[{_offset(data.shape, data.strides, shape)}], 0, 0, {node.params["tag"]}}};
        knet_philox(c, key[k], key[k{half}]);
        y[2 * u] = c[0], y[2 * u + 1] = c[1];
    }}
}}
"""
    phase = Phase(name, keys, reads=(0, 1), writes=(2,), rows=(2,))
    return Kernel(source, (phase,)), [key, data, y], keys * 30


def _offset(own: tuple[int, ...], strides: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """C text of where the element lies that element u of ``shape`` takes from an array broadcast to it."""
    lead = len(shape) - len(own)
    terms = [
        f"u / {step} % {n} * {stride}"
        for n, step, stride in zip(own, dense_strides(shape)[lead:], strides, strict=True)
        if n != 1
    ]
    return " + ".join(terms) or "0"
