"""Each pass and each rule of algebra: it fires where it should, and nowhere else; values and gradients stay."""

from __future__ import annotations

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.compiler import passes, simplify
from knet.compiler.graph import Value
from knet.compiler.trim import trim

inf, nan = np.inf, np.nan
SPECIAL = knp.asarray([1.5, -2.0, 0.0, -0.0, inf, -inf, nan, 1e-40, 3e38], dtype="float32")
V = knp.asarray([0.5, -1.0, 2.0])
M = knp.asarray(np.arange(6.0).reshape(2, 3), dtype="float32")
K = knp.asarray([3, -1, 0], dtype="int32")


def ops(f, *args):
    """Names of the operations that are left of a function."""
    return [n.op.name for n in knet.jit(f).lower(*args).graph.nodes]


def bits(x):
    return (x.shape, x.dtype, np.ascontiguousarray(np.asarray(x)).tobytes())


def identical(f, *args):
    """Bitwise, so that signs of zero count; any NaN is equal to any other."""
    with np.errstate(all="ignore"):
        pairs = zip(knet.tree.leaves(knet.jit(f)(*args)), knet.tree.leaves(f(*args)), strict=True)
    for got, want in pairs:
        got, want = np.array(got), np.array(want)
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        if got.dtype.kind == "f":
            assert np.array_equal(np.isnan(got), np.isnan(want))
            got[np.isnan(got)] = want[np.isnan(want)] = 0
        assert got.tobytes() == want.tobytes(), (got, want)


def same_gradient(f, *args):
    floats = tuple(i for i, x in enumerate(args) if x.dtype.kind == "f" and bool(knp.isfinite(x).all()))
    total = lambda *xs: sum(y.sum() for y in knet.tree.leaves(f(*xs)) if y.dtype.kind == "f")  # noqa: E731
    if floats:
        got, want = knet.jit(knet.grad(total, floats))(*args), knet.grad(total, floats)(*args)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=1e-5, atol=1e-6)


# Rule -> [(function, operands, operations left)].
FIRES = {
    "reshape of reshape": [
        (lambda x: x.reshape(3, 2).reshape(6), (M,), ["reshape"]),
        (lambda x: x.reshape(6).reshape(2, 3), (M,), []),
        (lambda x: x[:, None].squeeze(1), (V,), []),
    ],
    "permute of permute, or of axes of size 1": [
        (lambda x: x.T.T, (M,), []),
        (lambda x: knp.permute_dims(knp.permute_dims(x, (1, 2, 0)), (1, 2, 0)), (knp.ones((2, 3, 4)),), ["permute"]),
        (lambda x: x[None].transpose(1, 0, 2).reshape(6), (M,), ["reshape"]),
    ],
    "transposed product of transposed (rounds)": [
        (lambda x, y: (x.T @ y).T, (M, M), ["permute", "matmul"]),
        (lambda x, y: (x @ y.T).T, (M, M), ["permute", "matmul"]),
        (lambda x, y: (x.mT @ y).mT, (knp.ones((2, 3, 4)), knp.ones((2, 3, 5))), ["permute", "matmul"]),
    ],
    "product with a vector": [
        (lambda x, v: x @ v, (M, V), ["reshape", "matmul", "reshape"]),
        (lambda v, x: v @ x, (V, M.T), ["reshape", "matmul", "reshape"]),
        (lambda v, w: v @ w, (V, V + 1), ["reshape", "reshape", "matmul", "reshape"]),
    ],
    "broadcast of broadcast": [
        (lambda x: knp.broadcast_to(knp.broadcast_to(x, (2, 3)), (4, 2, 3)), (V,), ["broadcast_to"]),
        (lambda x: knp.broadcast_to(x, (3,)), (V,), []),
        (lambda x, y: knp.broadcast_to(x, (2, 3)) * y, (V, M), ["multiply"]),
        (lambda x: knp.broadcast_to(x, (2, 3)) * 2.0, (V,), ["broadcast_to", "multiply"]),
    ],
    "slices' cotangents side by side": [
        (lambda g, h: knet.vjp(lambda x: (x[:, :1], x[:, 1:]), M)[1]((g, h))[0], (M[:, :1], M[:, 1:]),
         ["concatenate"]),
        (lambda g, h: knet.vjp(lambda x: (x[:, 2:], x[:, 1:]), M)[1]((g, h))[0], (M[:, 2:], M[:, 1:]),
         ["unslice", "unslice", "add"]),
    ],
    "reduction of axes of size 1": [
        (lambda x: x[None].sum(0), (V,), []),
        (lambda x: x[:, None].max(1), (V,), []),
    ],
    **{
        f"whole {name} of reshape": [(lambda x, f=f: f(x.reshape(6)), (M + 1,), [name])]
        for name, f in {
            "reduce_sum": knp.sum, "reduce_max": knp.max, "reduce_min": knp.min, "reduce_prod": knp.prod,
        }.items()
    },
    "sum of broadcast (rounds)": [
        (lambda x: knp.broadcast_to(x, (4, 3)).sum(0), (V,), ["multiply"]),
        (lambda x: knp.broadcast_to(x, (4, 3)).sum(1), (V,), ["broadcast_to", "reduce_sum"]),
    ],
    "logsumexp below the maximum (rounds)": [
        (lambda x: knp.logsumexp(x - x.max(-1, keepdims=True), axis=-1), (M,),
         ["reduce_max", "subtract", "exp", "reduce_sum", "log"]),
        (lambda x: knp.logsumexp(x - x.max(), axis=-1), (M,), ["reduce_max", "subtract", "logsumexp"]),
    ],
    "exp(x - log(sum of exp(x))) (rounds)": [
        (lambda x: knet.nn.softmax(x), (M,), ["reduce_max", "subtract", "exp", "reduce_sum", "divide"]),
        (lambda x: knet.nn.softmax(x, axis=0), (M,), ["reduce_max", "subtract", "exp", "reduce_sum", "divide"]),
        (lambda x, y: knp.exp(x - knp.log(knp.exp(y).sum())), (M, M), ["exp", "reduce_sum", "log", "subtract", "exp"]),
    ],
    "x * 1": [(lambda x: (x * 1, 1.0 * x), (SPECIAL,), []), (lambda x: x * 1, (K,), [])],
    "x / 1, x ** 1": [(lambda x: (x / 1.0, x**1), (SPECIAL,), []), (lambda x: x / 1, (K,), ["cast"])],
    "x + -0.0, and of integers x + 0": [
        (lambda x: (x + -0.0, -0.0 + x), (SPECIAL,), []),
        (lambda x: x + 0.0, (SPECIAL,), ["add"]),
        (lambda x: x + 0, (SPECIAL,), ["add"]),
        (lambda x: x + 0, (K,), []),
    ],
    "x + x": [
        (lambda x: x + x, (SPECIAL,), ["multiply"]),
        (lambda x: x * 0.25 + x * 0.25, (V,), ["multiply"]),
        (lambda x: (x + x, (x > 0) + (x > 0)), (K,), ["multiply", "greater", "add"]),
    ],
    "x - 0": [
        (lambda x: x - 0.0, (SPECIAL,), []),
        (lambda x: x - -0.0, (SPECIAL,), ["subtract"]),
        (lambda x: 0.0 - x, (SPECIAL,), ["subtract"]),
    ],
    "(x * a) * b (rounds)": [
        (lambda x: (x * 0.3) * 0.7, (V,), ["multiply"]),
        (lambda x: 3 * (0.1 * x), (V,), ["multiply"]),
        (lambda x: (x / 3.0) * 0.7, (V,), ["multiply"]),
        (lambda x: (x * 1e30) * 1e30, (V,), ["multiply", "multiply"]),
        (lambda x: (x * 3) * 5, (K,), ["multiply", "multiply"]),
    ],
    "x / 2, (x * a) / b (rounds)": [
        (lambda x: x / 4.0, (SPECIAL,), ["multiply"]),
        (lambda x: x / 3.0, (SPECIAL,), ["divide"]),
        (lambda x: (x * 0.3) / 0.7, (V,), ["multiply"]),
        (lambda x: x / 0.0, (SPECIAL,), ["divide"]),
    ],
    "--x": [(lambda x: knp.negative(-x), (SPECIAL,), []), (lambda x: knp.negative(-x), (K,), [])],
    "-(x * a)": [
        (lambda x: -(x * 3.0), (SPECIAL,), ["multiply"]),
        (lambda x: -(3.0 / x), (SPECIAL,), ["divide"]),
        (lambda x: [-(y := x * 3.0), y], (SPECIAL,), ["multiply", "negative"]),
    ],
    "-x * a, -x * -y": [
        (lambda x: -x * 3.0, (SPECIAL,), ["multiply"]),
        (lambda x, y: -x * -y, (SPECIAL, SPECIAL[::-1]), ["multiply"]),
    ],
    "-x / a, -x / -y": [
        (lambda x: -x / 3.0, (SPECIAL,), ["divide"]),
        (lambda x, y: -x / -y, (SPECIAL, SPECIAL[::-1]), ["divide"]),
    ],
    "x + -y": [
        (lambda x, y: (x + -y, -x + y), (SPECIAL, SPECIAL[::-1]), ["subtract", "subtract"]),
        (lambda x: -x + 1.0, (SPECIAL,), ["subtract"]),
    ],
    "x - -y": [(lambda x, y: x - -y, (SPECIAL, SPECIAL[::-1]), ["add"])],
    "x ** 2, 3, 4 (rounds)": [
        (lambda x: knp.pow(x, 2.0), (SPECIAL[:7],), ["square"]),
        (lambda x: x**3, (V,), ["square", "multiply"]),
        (lambda x: x**4, (V,), ["square", "square"]),
        (lambda x: x**3, (K,), ["square", "multiply"]),
        (lambda x: x**0.5, (M,), ["power"]),
    ],
    "stop_gradient, +x": [(lambda x: +knet.stop_gradient(x), (SPECIAL,), [])],
    "real, conj of real numbers": [
        (lambda x: knp.conj(knp.real(x)), (SPECIAL,), []),
        (lambda x: knp.real(x), (knp.asarray([1 + 2j]),), ["real"]),
    ],
    "cast of lossless cast": [
        (lambda x: x.astype("float64").astype("float32"), (SPECIAL,), []),
        (lambda x: x.astype("float32").astype("float16"), (SPECIAL.astype("bfloat16"),), ["cast"]),
        (lambda x: x.astype("float16").astype("float32"), (SPECIAL,), ["cast", "cast"]),
        (lambda x: x.astype("float32").astype("int64"), (K,), ["cast", "cast"]),
        (lambda x: x.astype("float64").astype("int64"), (K,), ["cast"]),
        (lambda x: x.astype("int8").astype("int32"), (K,), ["cast", "cast"]),
    ],
    "where of equal sides or of where": [
        (lambda c, x: knp.where(c, x, x), (V > 0, V), []),
        (lambda c, x: knp.where(~c, 1.0, x), (V > 0, SPECIAL[:3]), ["where"]),
        (lambda c, x: knp.where(knp.logical_not(c), x, 0.0), (V > 0, SPECIAL[:3]), ["where"]),
        (lambda c, x, y: knp.where(c, knp.where(c, x, 1.0), y), (V > 0, V, V + 1), ["where"]),
        (lambda c, x, y: knp.where(c, x, knp.where(c, 1.0, y)), (V > 0, V, V + 1), ["where"]),
        (lambda c, x, y: knp.where(c, knp.where(c, x, y), 0.0), (V[:1] > 0, V[:1], M), ["where", "where"]),
    ],
}  # fmt: skip


def test_every_rule_has_a_row():
    assert list(FIRES) == [rule.name for rule in simplify.RULES]
    assert len({rule.name for rule in simplify.RULES}) == len(simplify.RULES)


@pytest.mark.parametrize(
    ("name", "f", "args", "left"),
    [pytest.param(name, *row, id=f"{name}-{i}") for name, rows in FIRES.items() for i, row in enumerate(rows)],
)
def test_rule(name, f, args, left):
    with np.errstate(all="ignore"):
        assert ops(f, *args) == left
        if "(rounds)" in name:
            for g, w in zip(knet.tree.leaves(knet.jit(f)(*args)), knet.tree.leaves(f(*args)), strict=True):
                assert (g.shape, g.dtype) == (w.shape, w.dtype)
                np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=1e-6, atol=1e-7)
        else:
            identical(f, *args)
        same_gradient(f, *args)


@pytest.mark.parametrize("name", [rule.name for rule in simplify.RULES])
def test_rule_is_needed(name, monkeypatch):
    """Without the rule its first row keeps more, or other, operations: the row shows this rule at work."""
    table: dict = {}
    for rule in simplify.RULES:
        for op in rule.ops:
            table.setdefault(op, [])
            if rule.name != name:
                table[op].append(rule.rule)
    monkeypatch.setattr(simplify, "_BY_NAME", table)
    f, args, left = FIRES[name][0]
    with np.errstate(all="ignore"):
        assert ops(f, *args) != left


# --- other passes -----------------------------------------------------------------------------------------------------


def test_dead_code_goes():
    def f(x):
        knp.exp(x), knp.sin(x) + 1
        a, _ = knp.unstack(knp.stack([x, x * 2]))
        return a

    graph = knet.trace(f)(V)
    assert len(graph.nodes) > len(trim(graph).nodes)
    assert "exp" not in ops(f, V) and "sin" not in ops(f, V) and "unstack" in ops(f, V)
    assert ops(lambda x: (knp.exp(x), 2.0)[1], V) == []


def merged(f, *args):
    return [n.op.name for n in passes.merge_equal(knet.trace(f)(*args)).nodes]


def test_equal_operations_merge():
    assert merged(lambda x: knp.sin(x) + knp.sin(x), V) == ["sin", "add"]
    assert merged(lambda x: (knp.exp(knp.sin(x)), knp.exp(knp.sin(x))), V) == ["sin", "exp"]
    assert merged(lambda x, y: (x + y, y + x, x * y, y * x, x - y, y - x), V, V) == [
        "add", "multiply", "subtract", "subtract",
    ]  # fmt: skip
    assert merged(lambda x: (x + x, x + 1), V) == ["add", "add"]


def test_different_operations_do_not_merge():
    different = (
        lambda x: (x.sum(0), x.sum(1), x.sum(0, keepdims=True)),
        lambda x: (x.astype("float16"), x.astype("bfloat16"), x.astype("float64")),
        lambda x: (x * 0.0, x * -0.0, x / 3),
        lambda x: (x.reshape(6), x.reshape(3, 2), x.reshape(1, 6)),
        lambda x: (x < 1, 1 < x, x <= 1),
    )
    for f in different:
        assert len(merged(f, M)) == 3
        identical(f, M)
    identical(lambda x: (1 / (x * 0.0), 1 / (x * -0.0)), V)


def test_equal_constants_merge():
    def f(x):
        return x + knp.asarray([1.0, 2.0, 4.0]), x + knp.asarray([1.0, 2.0, 4.0]), x + knp.asarray([-0.0, 2.0, 4.0])

    graph = passes.merge_equal(knet.trace(f)(V))
    assert len(graph.constants) == 2 and len(graph.nodes) == 2
    identical(f, V)
    identical(lambda x: (x + knp.asarray([0.0, 2.0, 4.0]), x + knp.asarray([-0.0, 2.0, 4.0])), V * -0.0)


def test_constants_are_folded():
    # Operations on constants alone run while tracing; a conversion that an operand needs is written down.
    c, x = knp.asarray([1.0, 2.0, 0.1]), V.astype("float64")
    graph = knet.trace(lambda x: x * c)(x)
    assert [n.op.name for n in graph.nodes] == ["cast", "multiply"]
    folded = passes.fold_constants(graph)
    assert [n.op.name for n in folded.nodes] == ["multiply"]
    ((value, array),) = folded.constants.items()
    assert value.dtype.name == array.dtype.name == "float64" and array[2] == np.float64(np.float32(0.1))
    identical(lambda x: x * c, x)


def test_large_constants_are_computed_by_the_program():
    big = knp.asarray(np.arange(5000.0), dtype="float32")
    x = knp.asarray(np.ones(5000))
    assert ops(lambda x: x * big, x) == ["cast", "multiply"]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "uint64", "float16", "bfloat16", "float32", "complex64"])
@pytest.mark.parametrize("value", [1, 3])
def test_uniform_constants(dtype, value):
    full, zero_d = knp.full((3,), value, dtype=dtype), knp.asarray(np.asarray(value, knp.asarray(0, dtype=dtype).dtype))
    x = knp.asarray([0, 1, 1]).astype(dtype)

    def f(x):
        return x + full, x * zero_d, knp.where(x == full, full, x), knp.where(x == x, full, full), full == x

    identical(f, x)
    graph = passes.fold_constants(knet.trace(f)(x))
    wide = [v for n in graph.nodes for v in n.values if v in graph.constants and v.shape]
    assert len(wide) <= 1  # where(c, full, full): one of them gives the dtype, the other is an element


def test_uniform_constants_of_all_values():
    for value in (0.0, -0.0, inf, nan, 1e-45):
        full = knp.full((9,), value, dtype="float32")
        identical(lambda x, full=full: (x * full, x + full, full - x, knp.maximum(x, full)), SPECIAL)
    huge = knp.full((2,), 2**64 - 1, dtype="uint64")
    identical(lambda x: (x & huge, x ^ huge), knp.asarray([5, 2**63], dtype="uint64"))
    mixed = knp.asarray([0.0, -0.0, 0.0])
    identical(lambda x: 1 / (x * mixed), V)
    assert len(passes.fold_constants(knet.trace(lambda x: x * mixed)(V)).constants) == 1


def test_a_uniform_constant_that_gives_the_shape_stays():
    full = knp.ones((4, 3))
    identical(lambda x: x * full, V)
    graph = knet.jit(lambda x: x * full).lower(V).graph
    assert graph.outputs[0].shape == (4, 3) and len(graph.constants) == 1


def test_passes_leave_their_argument_alone():
    def f(x):
        return (knp.negative(-x) * 1.0).reshape(3, 1).reshape(3) + knp.sin(x) * 0.5 * knp.sin(x)

    graph = knet.trace(f)(V)
    before = str(graph)
    optimized = passes.optimize(graph)
    assert str(graph) == before and len(optimized.nodes) < len(graph.nodes)
    assert optimized.inputs == graph.inputs and all(type(x) is Value for x in optimized.inputs)


def test_passes_are_idempotent():
    def loss(w):
        return (knp.tanh(M @ w) ** 2).mean() + knet.nn.cross_entropy(M @ w, knp.asarray([0, 1]))

    graph = passes.optimize(knet.trace(knet.value_and_grad(loss))(knp.ones((3, 2))))
    assert str(passes.optimize(graph)) == str(graph)


# --- what training steps become ---------------------------------------------------------------------------------------


def test_cross_entropy_has_no_gather_and_no_scatter():
    y = knp.asarray([2, 0])

    def loss(x):
        return knet.nn.cross_entropy(x, y)

    left = ops(knet.value_and_grad(loss), M)
    assert not {"take", "put_add", "logsumexp"} & set(left), left
    got, want = knet.jit(knet.value_and_grad(loss))(M), knet.value_and_grad(loss)(M)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=1e-6, atol=1e-7)
    wide = knp.ones((2, 5000))
    assert "take" in ops(lambda x: knet.nn.cross_entropy(x, y), wide)


def test_cross_entropy_under_jit():
    x = knet.random.normal(knet.random.key(0), (4, 300))
    labels = [knp.asarray([0, 7, 99, 3]).astype(d) for d in ("uint8", "int8", "int32", "int64")]
    options: list = [{}, {"ignore": 7}, {"reduction": "none"}, {"reduction": "sum"}]

    def losses(x, labels):
        return [knet.nn.cross_entropy(x, y, **o) for y, o in zip(labels, options, strict=True)]

    def total(x, labels):
        return sum(y.sum() for y in losses(x, labels))

    got = knet.jit(lambda x, labels: (losses(x, labels), knet.grad(total)(x, labels)))(x, labels)
    want = losses(x, labels), knet.grad(total)(x, labels)
    for g, w in zip(knet.tree.leaves(got), knet.tree.leaves(want), strict=True):
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=1e-5, atol=1e-7)
