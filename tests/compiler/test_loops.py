"""Control flow in traced functions: one operation each, with the values and the derivatives of Python's statements."""

from __future__ import annotations

import numpy as np
import pytest
from core.test_control import F64, ONE, PAIRS, REFUSALS, TRANSFORMATIONS, X, f64, until_large, while_large

import knet
import knet.numpy as knp
from knet import errors
from knet.testing import assert_close, assert_trees_close

grad, jit, jvp, vmap = knet.grad, knet.jit, knet.jvp, knet.vmap


def counts(graph):
    """How many nodes of each name there are, in bodies too."""
    total: dict[str, int] = {}
    for node in graph.nodes:
        total[node.op.name] = total.get(node.op.name, 0) + 1
        for body in getattr(node.op, "graphs", ()):
            for name, n in counts(body).items():
                total[name] = total.get(name, 0) + n
    return total


def size(graph):
    return sum(counts(graph).values())


# --- every construct in every transformation, before and after jit ----------------------------------------------------


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("construct", PAIRS)
def test_a_construct_is_the_statement_it_replaces(construct, transformation):
    with_construct, statements = PAIRS[construct]
    left, right = TRANSFORMATIONS[transformation]
    want = right(statements)
    assert_trees_close(left(jit(with_construct)), want, rtol=1e-12, atol=1e-13)
    got = jit(lambda _: left(with_construct))(0.0) if transformation.startswith("vmap") else None
    if got is not None:  # X is known when the graph is written: nothing is left but constants
        assert_trees_close(got, want, rtol=1e-12, atol=1e-13)
