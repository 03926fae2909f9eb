"""Graphs: how they print, count uses, and are rebuilt; what jit shows of a function."""

from __future__ import annotations

import textwrap

import numpy as np

import knet
import knet.numpy as knp
from knet.compiler.graph import Builder, Graph, Node, Value, derive
from knet.compiler.interpret import interpret
from knet.core import ShapedArray
from knet.core.ops import elementwise

V = knp.asarray([1.0, 2.0, 3.0])


def text(string):
    return textwrap.dedent(string).strip("\n")


def test_a_graph_prints_inputs_constants_nodes_and_results():
    def f(p, x):
        y = knp.tanh(x @ p["w"]) + knp.asarray([1.0, 2.0])
        return y.sum(0), 2.0, x

    assert str(knet.trace(f)({"w": knp.ones((3, 2))}, knp.ones((4, 3)))) == text("""
        f(a: float32[3,2], b: float32[4,3]):
          c0: float32[2] = constant
          c1: float32[] = constant
          v0: float32[4,2] = matmul(b, a)
          v1: float32[4,2] = tanh(v0)
          v2: float32[4,2] = add(v1, c0)
          v3: float32[2] = reduce_sum(v2, axis=(0,), keepdims=False)
          return v3, c1, b
    """)


def test_a_graph_prints_several_results_and_no_results():
    def f(x):
        a, b = knp.unstack(x)
        return {"d": a - b}

    assert str(knet.trace(f)(knp.ones((2, 3)))) == text("""
        f(a: float32[2,3]):
          v0: float32[3], v1: float32[3] = unstack(a, axis=0)
          v2: float32[3] = subtract(v0, v1)
          return v2
    """)
    assert str(knet.trace(lambda: None)()) == "<lambda>():\n  return "


def test_many_inputs_have_letters():
    printed = str(knet.trace(lambda xs: xs[0])([1.0] * 28))
    assert "z: float64[], aa: float64[], ab: float64[]):" in printed


def test_a_long_parameter_is_cut():
    index = tuple(range(40))
    graph = Graph("f")
    x = Value(ShapedArray((40,), np.dtype("float32")))
    graph.inputs = [x]
    node = Node(elementwise.negative, [x], {"order": index}, [x.aval])
    graph.nodes, graph.outputs = [node], list(node.results)
    (line,) = [line for line in str(graph).splitlines() if "negative" in line]
    assert line.endswith("...)") and len(line) < 110


def test_uses_count_operands_and_results():
    graph = knet.trace(lambda x: (x * x, x))(V)
    (x,) = graph.inputs
    (product,) = graph.nodes[0].results
    assert graph.uses() == {x: 3, product: 1}
    assert (x.size, x.nbytes, x.shape, x.node, product.node) == (3, 12, (3,), None, graph.nodes[0])


def test_the_builder_replaces_values():
    graph = knet.trace(lambda x: knp.exp(knp.sin(x)) + knp.sin(x))(V)
    builder = Builder(graph)
    for node in graph.nodes:
        if node.op.name == "sin":
            builder.replaced[node.results[0]] = graph.inputs[0]
        else:
            builder.copy(node)
    rebuilt = builder.finish()
    assert [n.op.name for n in rebuilt.nodes] == ["exp", "add"]
    assert [n.op.name for n in graph.nodes] == ["sin", "exp", "sin", "add"]
    (y,) = interpret(rebuilt, [V])
    np.testing.assert_allclose(np.asarray(y), np.exp(np.arange(1, 4)) + np.arange(1, 4), rtol=1e-6)


def test_derived_things_are_made_once():
    graph, made = Graph("f"), []
    assert [derive(graph, "k", lambda: made.append(1) or "thing") for _ in range(3)] == ["thing"] * 3
    assert made == [1]


def test_interpreting_frees_values_after_their_last_use():
    alive = []

    class Probe:
        name, multiple = "probe", False

        def __call__(self, x):
            alive.append(x)
            return x

    graph = Graph("f")
    x = Value(ShapedArray((), np.dtype("float32")))
    nodes = [Node(Probe(), [x], {}, [x.aval])]
    for _ in range(3):
        nodes.append(Node(Probe(), nodes[-1].results, {}, [x.aval]))
    graph.inputs, graph.nodes, graph.outputs = [x], nodes, list(nodes[-1].results)
    assert interpret(graph, ["leaf"]) == ["leaf"] and alive == ["leaf"] * 4


def test_lower_shows_each_stage():
    jitted = knet.jit(lambda x: (x * 1.0).reshape(3, 1).reshape(3))
    lowered = jitted.lower(V)
    assert jitted.trace_count == 1
    names = [name for name, _ in lowered.stages]
    assert names[0] == "traced" and "simplified" in names and len(set(names)) == len(names)
    assert len(lowered.traced.nodes) == 3 and len(lowered.graph.nodes) == 0
    assert lowered.stages[0][1] is lowered.traced
    assert str(lowered.graph) in str(lowered) and isinstance(lowered.source, str)
    assert lowered.peak_bytes >= 0 and "workspace" in str(lowered)
    assert str(knet.trace(jitted)(V)) == str(lowered.traced)


def test_inputs_of_derived_graphs_are_made_by_no_node():
    f = knet.jit(lambda x, y: (knp.tanh(x * y) * knp.exp(x)).sum())
    knet.grad(f, (0, 1))(V, V)
    (graph,) = [t.graph for t in f.traces.values()]
    pulled = [g for k, g in graph.derived.items() if k[0] == "pulled"]
    assert pulled and all(x.node is None for g in pulled for x in g.inputs)
    for g in pulled:
        known = {*g.inputs, *g.constants}
        for node in g.nodes:
            assert set(node.values) <= known
            known.update(node.results)
        assert set(g.outputs) <= known
