"""The kernels of movement, gathers, lines, orders, random bits and exponents are CUDA C++ too."""

import numpy as np
import nvrtc
import pytest
from standin import CUDA, Lowering, run

from knet.compiler.kernels import along, exponents, gather, movement, random, sort
from knet.compiler.kernels.prelude import prelude
from knet.core import dtypes
from knet.core.ops import index, reduce, segment, special
from knet.core.ops import random as random_ops
from knet.core.ops import shape as shape_ops
from knet.core.ops import sort as sort_ops

GENERATORS = {
    **along.GENERATORS, **exponents.GENERATORS, **gather.GENERATORS,
    **movement.GENERATORS, **random.GENERATORS, **sort.GENERATORS,
}  # fmt: skip


def calls(dtype):
    """An operation, operands and parameters for each kernel of a dtype."""
    x = np.zeros((40, 300), dtypes.canonical(dtype))
    ids = np.zeros(60, "int32")
    u = np.zeros((60, 300), x.dtype)
    slices = {"starts": (3, 1), "steps": (2, 1)}
    yield shape_ops.concatenate, [x, x], {"axis": 1}
    yield shape_ops.unslice, [x], {"shape": (99, 400), **slices}
    yield shape_ops.update_slice, [x, x[:10, :20]], slices
    yield index.take, [x, ids], {}
    yield index.put, [x, ids, u], {}
    if x.dtype.kind == "c":
        return
    yield index.put_add, [x, ids.astype("uint64"), u], {}
    for largest in (False, True):
        yield segment.segment_extremum, [u, ids], {"count": 40, "largest": largest}
    for axis in (0, 1):
        for op in (reduce.argmax, reduce.argmin, reduce.cumulative_sum, reduce.cumulative_prod, sort_ops.argsort,
                   sort_ops.cumulative_argmax, sort_ops.cumulative_argmin):  # fmt: skip
            yield op, [x], {"axis": axis}
    yield sort_ops.top_places, [x], {"k": 3}
    yield sort_ops.argsort, [x.reshape(12000)], {"axis": 0}
    for right in (False, True):
        yield sort_ops.searchsorted, [x[0], x], {"right": right}
    if dtypes.kind(x.dtype) == "f":
        yield special.exponent, [x], {}
        yield special.ldexp, [x, np.zeros(300, "int64")], {}


def others():
    keys = np.zeros((5, 2), "uint64")
    for dtype in ("uint32", "uint64"):
        yield random_ops.random_bits, [keys], {"shape": (100,), "dtype": np.dtype(dtype)}
    yield random_ops.derive_key, [keys, np.zeros(5, "int64")], {"tag": 1}
    yield index.wrap_index, [np.zeros(60, "int64")], {"size": 5, "axis": 0}


@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "bfloat16", "float32", "float64", "complex128"])
def test_texts_compile_with_nvrtc(dtype, literal, arch):
    sources = {}
    for op, arrays, params in [*calls(dtype), *others()]:
        results, lowering = run(GENERATORS[op.name], op, arrays, params, CUDA, literal)
        assert results is not None
        sources.update((launch.kernel.name, launch.kernel.source) for launch in lowering.items)
    lowering = Lowering(CUDA, literal)
    x = np.zeros((40, 300), dtypes.canonical(dtype))
    movement.copy(lowering, lowering.put(x.T, x), lowering.put(np.zeros((300, 40), x.dtype)))  # through local memory
    sources.update((launch.kernel.name, launch.kernel.source) for launch in lowering.items)
    assert len(sources) > 9
    assert nvrtc.compile(prelude("cuda", True) + "".join(sources.values()), arch)
