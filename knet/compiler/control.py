"""Control flow inside a traced function: bodies are staged once, and the loop becomes one operation.

:mod:`knet.core.control` hands flat functions over: lists of arrays to lists of arrays, already checked. Arrays that
they close over become constants of the loop, whichever transformation they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core import ShapedArray
from ..core.aval import aval_of
from .branch import SwitchCall
from .graph import Graph, Value
from .repeat import WhileCall
from .scan import ScanCall
from .stage import StageTrace, stage

Flat = Callable[[list[Any]], Sequence[Any]]


class Control:
    """What a :class:`StageTrace` does with control flow."""

    @staticmethod
    def scan(name: str, step: Flat, carry: Sequence[Any], xs: Sequence[Any], length: int, reverse: bool) -> list[Any]:
        """(*carry, *stacked ys) of ``step``: (*carry, *slices of xs) -> (*carry, *y)."""
        avals = [*map(aval_of, carry), *(ShapedArray(x.shape[1:], x.dtype) for x in xs)]
        body, captured = _closed(step, avals, name)
        return ScanCall(body, len(captured), len(carry), length, reverse).enter([*captured, *carry, *xs])

    @staticmethod
    def while_loop(name: str, going: Flat, step: Flat, carry: Sequence[Any]) -> list[Any]:
        """Carry after the last ``step``: carry -> carry; ``going``: carry -> [scalar bool]."""
        avals = list(map(aval_of, carry))
        cond, tested = _closed(going, avals, name)
        body, captured = _closed(step, avals, name)
        return WhileCall(cond, body, (len(tested), len(captured))).enter([*tested, *captured, *carry])

    @staticmethod
    def switch(
        names: Sequence[str], index: Any, branches: Sequence[Flat], check: Callable[[list[list[ShapedArray]]], None]
    ) -> list[Any]:
        """Results of ``branches[index]``; ``check`` sees the types of all branches' results."""
        staged = [stage(branch, (), name, branch=True) for name, branch in zip(names, branches, strict=True)]
        check([[y.aval for y in graph.outputs] for graph, _ in staged])
        arrays = {id(x): x for _, captured in staged for x in captured}
        graphs = []
        for graph, captured in staged:
            own = dict(zip(map(id, captured), graph.inputs, strict=True))
            graph.inputs = [own.get(i) or Value(aval_of(x)) for i, x in arrays.items()]
            graphs.append(graph)
        return SwitchCall(graphs).enter([index, *arrays.values()])


def _closed(function: Flat, avals: Sequence[ShapedArray], name: str) -> tuple[Graph, list[Any]]:
    """Graph whose first inputs are what the function closes over, and that."""
    graph, captured = stage(function, avals, name)
    count = len(avals)
    graph.inputs = [*graph.inputs[count:], *graph.inputs[:count]]
    return graph, captured


StageTrace.control = Control
