"""Products of gathered rows: how many remain, of which size, and that they compute the same."""

from __future__ import annotations

import numpy as np
import pytest
from compiler.test_hoist import T, array, count, dense, loops, lstm_loss, optimized

import knet
import knet.numpy as knp
from knet.testing import assert_trees_close

D, H = 32, 6
IDS = knp.asarray(np.random.default_rng(0).integers(0, 5, size=(4, 3)))
W = array(D, H)
G = array(12, H, seed=1)


def table(rows=5, depth=D):
    return array(rows, depth, seed=2)


def sizes(graph):
    """(rows, depth, columns) of each product, batches not among them."""
    pairs = [[x.shape for x in node.values] for node in graph.nodes if node.op.name == "matmul"]
    return sorted((a[-2], a[-1], b[-1]) for a, b in pairs)


def names(graph):
    return [node.op.name for node in graph.nodes]


def same(f, *args):
    assert_trees_close(dense(knet.jit(f)(*args)), dense(f(*args)), rtol=1e-11, atol=1e-13)


FIRES = {
    "rows": (lambda e, w, g: e[IDS] @ w, [(5, D, H)]),
    "rows of a reshaped gather": (lambda e, w, g: e[IDS].reshape(2, 6, D) @ w, [(5, D, H)]),
    "rows of a permuted gather": (lambda e, w, g: e[IDS].transpose(1, 0, 2) @ w, [(5, D, H)]),
    "rows that something else needs": (lambda e, w, g: (e[IDS] @ w, e[IDS] * 2), [(5, D, H)]),
    "rows from the left": (lambda e, w, g: e[IDS].reshape(12, D).T @ g, [(D, 5, H)]),
    "rows from the right": (lambda e, w, g: g.T @ e[IDS].reshape(12, D), [(H, 5, D)]),
    "permuted rows from the left": (lambda e, w, g: e[IDS].transpose(1, 0, 2).reshape(12, D).T @ g, [(D, 5, H)]),
    "scattered rows": (
        lambda e, w, g: knp.zeros((5, D), dtype=g.dtype).at[IDS.reshape(12)].add(g @ w.T), [(5, H, D)]
    ),
    "scattered rows of several axes": (
        lambda e, w, g: knp.zeros((5, D), dtype=g.dtype).at[IDS].add((g @ w.T).reshape(4, 3, D)), [(5, H, D)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FIRES)
def test_fires(name):
    f, left = FIRES[name]
    assert sizes(optimized(f, table(), W, G)) == left
    same(f, table(), W, G)


LEAVES = {
    "as many rows in the table as ids": (lambda e, w, g: e[IDS] @ w, table(7), [(12, D, H)]),
    "a table of vectors of no depth": (lambda e, w, g: e[IDS].reshape(12, 8).T @ g, table(depth=8), [(8, 12, H)]),
    "last axis split": (lambda e, w, g: e[IDS].reshape(12, 4, 8).transpose(0, 2, 1) @ array(4, H), table(),
                        [(96, 4, H)]),
    "columns gathered": (lambda e, w, g: knp.take(e, IDS.reshape(12), axis=1).T @ array(12, H), table(12),
                         [(12, 12, H)]),
    "rows added to others": (lambda e, w, g: e.at[IDS.reshape(12)].add(g @ w.T), table(), [(12, H, D)]),
    "products that something else needs": (
        lambda e, w, g: (p := g @ w.T, knp.zeros((5, D), dtype=g.dtype).at[IDS.reshape(12)].add(p)), table(),
        [(12, H, D)],
    ),
    "one-hot rows": (lambda e, w, g: knet.nn.one_hot(IDS, 5).astype(e.dtype) @ e, table(), [(12, 5, D)]),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAVES)
def test_leaves(name):
    f, e, left = LEAVES[name]
    w = array(e.shape[1], H)
    assert sizes(optimized(f, e, w, G)) == left
    same(f, e, w, G)


def test_half_precision_adds_no_rows():
    """Sums of rows would be rounded each time; a product of rows is the same row of the product."""
    e, w, g = (x.astype("float16") for x in (table(), W, G))
    left, rows = FIRES["rows from the left"][0], FIRES["rows"][0]
    assert sizes(optimized(left, e, w, g)) == [(D, 12, H)]
    assert sizes(optimized(rows, e, w, g)) == [(5, D, H)]


def test_an_id_out_of_bounds_is_still_found():
    f = knet.jit(lambda e, ids, w: e[ids] @ w)
    with pytest.raises(IndexError, match="7"):
        f(table(), knp.asarray([0] * 11 + [7]), W).block_until_ready()


def test_lstm_gradient_has_one_product_with_all_steps():
    """Of input weights, table and hidden weights only the last meets every token; the sums of rows are shared."""
    n, v, h = 4, 5, 3
    p = {"table": array(v, D), "w": array(D, 4 * h), "u": array(h, 4 * h), "b": array(4 * h), "dense": array(h, v),
         "shift": array(v)}  # fmt: skip
    rng = np.random.default_rng(3)
    tokens, labels = (knp.asarray(rng.integers(0, v, size=(T, n))) for _ in range(2))
    graph = optimized(knet.grad(lstm_loss), p, tokens, labels)
    assert [s for s in sizes(graph) if T * n in s] == sorted(
        [(T * n, h, v), (T * n, v, h), (h, T * n, v), (h, T * n, 4 * h)]  # the last layer; hidden weights
    )
    assert [s for s in sizes(graph) if v in s and D in s] == [(v, 4 * h, D), (v, D, 4 * h), (D, v, 4 * h)]
    assert count(graph, "put_add") == 1 and count(graph, "take") == 1 and len(loops(graph)) == 2
    same(knet.grad(lstm_loss), p, tokens, labels)
