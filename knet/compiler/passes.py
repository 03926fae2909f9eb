"""Passes: graphs to equal graphs that compute less. Each is a function from a graph to a graph.

What they may assume: primitives are pure, and so is everything that a call with graphs of its own does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import ShapedArray
from ..core.custom import Call
from ..core.device import as_array, from_numpy
from .gathered import gather_products
from .graph import Builder, Graph, Node, Value, derive
from .hoist import hoist
from .simplify import simplify
from .slices import slice_early
from .trim import trim

_SMALL = 1 << 12  # elements; larger results of constants are computed by the program, not kept with it


def optimize(graph: Graph) -> Graph:
    """The graph after all passes, in their order; found once for each graph."""
    return derive(graph, "optimized", lambda: stages(graph)[-1][1])


def stages(graph: Graph) -> list[tuple[str, Graph]]:
    """The graph as traced and after each pass, with the pass's name."""
    result = [("traced", graph)]
    for name, pass_ in PASSES:
        result.append((name, pass_(result[-1][1])))
    return result


# --- functions with a derivative of their own -------------------------------------------------------------------------


def inline(graph: Graph) -> Graph:
    """Operations of custom_vjp, custom_jvp and checkpointed functions in the place of their calls."""
    builder = Builder(graph)
    _put_in(builder, graph)
    return builder.finish()


def _put_in(builder: Builder, graph: Graph, new: bool = False) -> None:
    """Append a graph's nodes; ``new`` ones for a graph that may stand in several places."""
    for node in graph.nodes:
        body = getattr(node.op, "inlined", None)
        if body is not None:
            builder.replaced.update(zip(body.inputs, builder.operands(node)))
            builder.graph.constants.update(body.constants)
            _put_in(builder, body, new=True)
            builder.replaced.update(zip(node.results, [builder.operand(y) for y in body.outputs]))
        elif new:
            made = builder.add(node.op, builder.operands(node), node.params, [y.aval for y in node.results])
            builder.replaced.update(zip(node.results, made.results))
        else:
            builder.copy(node)


# --- common subexpressions --------------------------------------------------------------------------------------------


def merge_equal(graph: Graph) -> Graph:
    """Each operation on the same operands once, and each small constant once."""
    builder = Builder(graph)
    seen: dict[Any, Any] = {}
    for value, array in graph.constants.items():
        if value.size <= _SMALL:
            host = np.ascontiguousarray(array._host("a constant"))
            known = seen.setdefault((value.aval, host.tobytes()), value)
            if known is not value:
                builder.replaced[value] = known
    for node in graph.nodes:
        operands = builder.operands(node)
        try:
            named = tuple(map(_identity_of, operands))
            order = frozenset(named) if node.op.name in _COMMUTATIVE else named
            key = node.op, order, tuple((k, type(v), v) for k, v in sorted(node.params.items()))
            known = seen.get(key)
        except TypeError:  # a parameter without a hash
            key, known = None, None
        if known is not None:
            builder.replaced.update(zip(node.results, known.results))
            continue
        builder.copy(node, operands)
        if key is not None:
            seen[key] = builder.graph.nodes[-1]
    return builder.finish()


_COMMUTATIVE = {"add", "multiply", "equal", "not_equal", "logical_and", "logical_or", "bitwise_and", "bitwise_or"}


def _identity_of(x: Any) -> Any:
    # 1, 1.0 and True are equal, and so are 0.0 and -0.0.
    return x if type(x) is Value else (type(x), repr(x))


# --- constants --------------------------------------------------------------------------------------------------------


def fold_constants(graph: Graph) -> Graph:
    """Small results of constants alone are computed now. An array that holds one element everywhere becomes a Python
    number where an elementwise operation takes one, and an array without axes where that gives the dtype."""
    builder = Builder(graph)
    constants = builder.graph.constants
    uniform = {v: x for v, a in constants.items() if (x := _uniform(a)) is not None}
    scalars: dict[Any, tuple[Value, Any]] = {}
    for node in graph.nodes:
        operands = builder.operands(node)
        foldable = not isinstance(node.op, Call) and all(
            type(x) is not Value or (x in constants and x.size <= _SMALL) for x in operands
        )
        if foldable and sum(y.size for y in node.results) <= _SMALL and any(type(x) is Value for x in operands):
            results = node.op(*(constants[x] if type(x) is Value else x for x in operands), **node.params)
            for y, array in zip(node.results, results if node.op.multiple else (results,)):
                new = Value(y.aval)
                constants[new] = as_array(array)
                builder.replaced[y] = new
                if (element := _uniform(constants[new])) is not None:
                    uniform[new] = element
            continue
        if getattr(node.op, "pointwise", False):
            operands = _with_elements(node, operands, uniform, scalars)
            constants.update((v, a) for v, a in scalars.values() if v not in constants)
        builder.copy(node, operands)
    return builder.finish()


def _uniform(array: Any) -> Any:
    """The one element that an array is full of, as an array without axes; else None."""
    host = array._host("a constant")
    if host.size == 0 or (not host.ndim and host.dtype.kind not in "biuf"):
        return None
    first = host.flat[0]
    return first if host.size == 1 or _same(host, first) else None


def _same(host: Any, first: Any) -> bool:
    # The strides of a broadcast number are 0: no need to look at its elements.
    index = tuple(slice(0, 1) if step == 0 else slice(None) for step in host.strides)
    part = np.ascontiguousarray(host[index])
    if part.size > 1 and not part.flat[-1] == first:  # most arrays are told apart by this
        return False
    return part.tobytes() == np.full(part.shape, first, part.dtype).tobytes()


def _with_elements(node: Node, operands: tuple[Any, ...], uniform: dict[Value, Any], scalars: Any) -> tuple[Any, ...]:
    """Operands with single elements in place of uniform arrays, as far as others give the result its shape."""
    result = list(operands)
    for i, x in enumerate(operands):
        if type(x) is not Value or x not in uniform:
            continue
        others = [r for j, r in enumerate(result) if j != i and type(r) is Value]
        if not others or np.broadcast_shapes(*(r.shape for r in others)) != node.results[0].shape:
            continue
        element = uniform[x]
        typed = any(type(r) is Value and j not in node.op.free for j, r in enumerate(result) if j != i)
        if typed and i not in node.op.free and x.dtype.kind in "biuf" and np.isfinite(element):
            result[i] = element.item()
        elif x.shape:
            key = x.dtype, element.tobytes()
            if key not in scalars:
                array = from_numpy(np.asarray(element, x.dtype))
                scalars[key] = Value(ShapedArray((), x.dtype)), array
            result[i] = scalars[key][0]
    return tuple(result)


# --- bodies -----------------------------------------------------------------------------------------------------------


def everywhere(pass_: Callable[[Graph], Graph]) -> Callable[[Graph], Graph]:
    """A pass that runs in the bodies of loops and branches as well, in the innermost first."""

    def run(graph: Graph) -> Graph:
        if not any(hasattr(node.op, "with_graphs") for node in graph.nodes):
            return pass_(graph)
        builder = Builder(graph)
        for node in graph.nodes:
            bodies = node.op.graphs if hasattr(node.op, "with_graphs") else ()
            new = [run(body) for body in bodies]
            if all(a is b for a, b in zip(new, bodies)):
                builder.copy(node)
                continue
            result = builder.add(
                node.op.with_graphs(new), builder.operands(node), node.params, [y.aval for y in node.results]
            )
            builder.replaced.update(zip(node.results, result.results))
        return pass_(builder.finish())

    return run


PASSES: tuple[tuple[str, Callable[[Graph], Graph]], ...] = tuple(
    (name, everywhere(pass_))
    for name, pass_ in (
        ("derivatives of one's own dropped", inline),
        ("dead code removed", trim),
        ("constants folded", fold_constants),
        ("simplified", simplify),
        ("equal operations merged", merge_equal),
        ("moved out of loops", hoist),
        ("products of gathered rows", gather_products),
        ("simplified again", simplify),
        ("equal operations merged again", merge_equal),
        ("slices taken early", slice_early),
        ("dead code removed again", trim),
    )
)
