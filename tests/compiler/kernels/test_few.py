"""Operations that run alone share kernels: what is compiled depends on as little as possible of shapes and strides."""

from __future__ import annotations

import itertools

import pytest

from knet.compiler.graph import Graph, Node, Value
from knet.compiler.kernels.lower import Lowering, Shared, input_ref, output_ref
from knet.compiler.kernels.target import Target
from knet.compiler.layout import dense_strides
from knet.core import ShapedArray, dtypes, registry
from knet.core.ops import register_all

register_all()
CPU = Target("opencl", loops=True, items=1, units=2, local_bytes=32768, vector=16)
GPU = Target("cuda", loops=False, items=256, units=80, local_bytes=49152)
F32 = dtypes.float32


def kernels(name, *operands, target=CPU, **params):
    """Names, which are made of the texts, of the kernels of an operation alone; operands are (shape, strides)."""
    primitive = registry[name]
    avals = [ShapedArray(shape, F32) for shape, _ in operands]
    graph = Graph(name)
    graph.inputs = list(map(Value, avals))
    node = Node(primitive, graph.inputs, params, (primitive.aval(*avals, **params),))
    graph.nodes, graph.outputs = [node], list(node.results)
    inputs = [input_ref(i, shape, F32, strides) for i, (shape, strides) in enumerate(operands)]
    lowering = Lowering(graph, inputs, [output_ref(0, node.results[0])], Shared(target, literal=False))
    return {item.kernel.name for item in lowering.items}


def dense(*shape):
    return shape, dense_strides(shape)


@pytest.mark.parametrize("target", [CPU, GPU], ids=["cpu", "gpu"])
def test_dense_arrays_of_all_shapes_share_one(target):
    shapes = [(), (1,), (1, 1), (2,), (3, 1), (2, 3), (64,), (10_000,), (4, 5, 6)]
    found = set().union(*(kernels("exp", dense(*shape), target=target) for shape in shapes))
    assert len(found) == 1
    found = set().union(*(kernels("add", dense(*shape), dense(*shape), target=target) for shape in shapes))
    assert len(found) == 1


def test_small_products_share_one_whatever_the_strides_are():
    found = set()
    for m, k, n in itertools.product((1, 3, 12), repeat=3):
        for x, w in itertools.product(((k, 1), (1, m), (2 * k, 2)), ((n, 1), (1, k), (1, 0))):
            found |= kernels("matmul", ((m, k), x), ((k, n), w))
    found |= kernels("matmul", dense(5, 2, 3), dense(5, 3, 4)) | kernels(
        "matmul", dense(5, 2, 3), ((5, 3, 4), (0, 4, 1))
    )
    assert len(found) == 1


def test_large_products_have_kernels_of_their_own():
    assert kernels("matmul", dense(64, 64), dense(64, 64)) != kernels("matmul", dense(2, 2), dense(2, 2))


def test_small_copies_share_one_for_each_number_of_axes():
    turned = ((1, 4), (2, 8), (0, 1), (1, 0), (0, 0))
    found = set().union(*(kernels("reshape", ((4, 3), strides), shape=(12,)) for strides in turned))
    assert len(found) == 1
