"""The plan of a program: enough barriers and no more than needed, an order that computes, memory without overlap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from adversary import Adversary, first, last, team_of
from random_graphs import Maker

import knet
import knet.numpy as knp
from knet import nn
from knet.backends.cpu.compiled import toolchain
from knet.backends.cpu.compiled.items import Call, Group, Launch
from knet.backends.cpu.compiled.kernel import Kernel, Phase
from knet.backends.cpu.compiled.program import _lowered
from knet.backends.cpu.compiled.schedule import _reordered, schedule
from knet.compiler.layout import Buffer, Ref
from knet.compiler.plan.items import Begin, End
from knet.compiler.plan.loops import Loop

pytestmark = pytest.mark.skipif(toolchain.available() is not None, reason=str(toolchain.available()))


def draw(*shape):
    values = np.random.default_rng(len(shape)).normal(size=shape) / 8
    return knp.asarray(values.astype("float32"), device="cpu")


def at_random(able):
    return able[int(RNG.integers(len(able)))]


RNG = np.random.default_rng(5)


def program_of(f, *args):
    return knet.jit(f).lower(*args)._traced.program


def items_of(f, *args, threads=2):
    """Launches in the order of the graph."""
    return _lowered(knet.jit(f).lower(*args).graph, threads).items


# --- barriers ---------------------------------------------------------------------------------------------------------


def mlp(p, x):
    return nn.relu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]


def sgd(p, x, y):
    value, grads = knet.value_and_grad(lambda p: nn.cross_entropy(mlp(p, x), y))(p)
    return knet.tree.map(lambda w, g: w - 0.1 * g, p, grads), value


def mlp_args(batch=100, inputs=784):
    params = {"w1": draw(inputs, 64), "b1": draw(64), "w2": draw(64, 10), "b2": draw(10)}
    return params, draw(batch, inputs), knp.asarray(np.arange(batch) % 10, device="cpu")


def lenet(p, x, y):
    def loss(p):
        h = nn.max_pool(nn.relu(nn.conv(x, p["c1"])), 2)
        h = nn.max_pool(nn.relu(nn.conv(h, p["c2"])), 2)
        return nn.cross_entropy(mlp(p, h.reshape(len(x), -1)), y)

    return knet.grad(loss)(p)


def lstm(p, x):
    def cell(state, row):
        h, s = state
        i, f, o, g = knp.split(row @ p["wx"] + h @ p["wh"], 4, axis=-1)
        s = nn.sigmoid(f) * s + nn.sigmoid(i) * knp.tanh(g)
        h = nn.sigmoid(o) * knp.tanh(s)
        return (h, s), h

    def total(p):
        zeros = knp.zeros((x.shape[1], p["wh"].shape[0]))
        return (knet.scan(cell, (zeros, zeros), x)[1] ** 2).sum()

    return knet.value_and_grad(total)(p)


MODELS = {
    "mlp": (sgd, mlp_args(13, 20)),
    "lenet": (lenet, ({"c1": draw(4, 1, 5, 5), "c2": draw(6, 4, 5, 5)} | mlp_args(4, 96)[0], draw(4, 1, 28, 28),
                      knp.asarray(np.arange(4), device="cpu"))),
    "lstm": (lstm, ({"wx": draw(5, 32), "wh": draw(8, 32)}, draw(4, 6, 5))),
    "swapped carries": (lambda a, b: knet.fori_loop(0, 5, lambda i, c: (c[1], c[0] @ c[1]), (a, b)),
                        (draw(9, 9), draw(9, 9) + 1)),
    "a group and a part of its rows": (lambda x: (lambda z: (z[16:].reshape(32, 4) * 2, z))(knp.exp(x)),
                                       (draw(32, 8),)),
    "rows and columns in turn": (lambda x: (lambda e: (e.sum(0), e @ e, e.sum(1)))(knp.exp(x) @ x), (draw(20, 20),)),
}  # fmt: skip


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_no_thread_comes_too_early_or_too_late(name, threads, monkeypatch):
    f, args = MODELS[name]
    team_of(threads, monkeypatch)
    compiled = knet.jit(f)
    want = [np.asarray(y) for y in knet.tree.leaves(compiled(*args))]
    for g, w in zip(knet.tree.leaves(f(*args)), want, strict=True):
        np.testing.assert_allclose(np.asarray(g), w, rtol=1e-4, atol=1e-4 * float(np.max(np.abs(w), initial=0)))
    adversary = Adversary(first).install(monkeypatch)
    for order in (first, last, at_random):
        adversary.choose = order
        for g, w in zip(knet.tree.leaves(compiled(*args)), want, strict=True):
            np.testing.assert_array_equal(np.asarray(g), w)
    assert adversary.barriers


def random_programs(start, count):
    makers = [Maker(seed, length=(6, 14, 22)[seed % 3]) for seed in range(start, start + count)]
    args = [list(map(knp.asarray, m.inputs)) for m in makers]
    f = knet.jit(lambda args: [m(*a) for m, a in zip(makers, args)])
    return f, args, [m(*a) for m, a in zip(makers, args)]


def differing(got, want):
    return sum(
        not np.array_equal(np.asarray(g), np.asarray(w))
        for g, w in zip(*map(knet.tree.leaves, (got, want)), strict=True)
    )


@pytest.mark.parametrize("start", [500, 510, 520])
def test_random_programs_have_enough_barriers(start, monkeypatch):
    team_of(2 + start // 10 % 3, monkeypatch)
    f, args, want = random_programs(start, 10)
    adversary = Adversary(first).install(monkeypatch)
    for order in (first, last, at_random):
        adversary.choose = order
        assert differing(f(args), want) == 0
    assert adversary.barriers > 10


def test_the_adversary_finds_missing_barriers(monkeypatch):
    monkeypatch.setattr("knet.backends.cpu.compiled.schedule.add_barriers", lambda *_: None)
    team_of(2, monkeypatch)
    f, args, want = random_programs(500, 10)
    Adversary(last).install(monkeypatch)
    assert differing(f(args), want) > 0


def barriers(f, *args):
    return program_of(f, *args).source.count("knet_barrier(team, thread);")


def test_a_step_has_few_barriers_whatever_the_batch(monkeypatch):
    monkeypatch.setenv("KNET_NUM_THREADS", "2")
    counts = [barriers(sgd, *mlp_args(batch)) for batch in (100, 200, 400)]
    assert max(counts) <= 9 and counts[2] <= counts[1], counts
    # Rows that a thread made itself it may read without meeting the others.
    rows = lambda x, w: knp.tanh(nn.relu(x @ w) * 2 + x)  # noqa: E731
    assert barriers(rows, draw(512, 64), draw(64, 64)) == 0
    assert barriers(lambda x: knp.exp(x @ x) @ x, draw(128, 128)) == 1


# --- order and groups -------------------------------------------------------------------------------------------------


def phases_of(items):
    """(launch, phase) in the order of the graph, without what is inside of loops."""
    return [(item, phase) for item in items if isinstance(item, Launch) for phase in item.kernel.phases]


def calls_of(plan):
    return [call for step in plan.steps if isinstance(step, Group) for call in step.calls]


def bytes_of(launch, positions):
    """Bytes that may be touched, by buffer: as sets of numbers, from the references' definition."""
    touched = {}
    for i in positions:
        ref = launch.operands[i]
        index = np.full(ref.shape, ref.offset)
        for axis, (n, step) in enumerate(zip(ref.shape, ref.strides, strict=True)):
            index += (np.arange(n) * step).reshape([n if k == axis else 1 for k in range(len(ref.shape))])
        touched.setdefault(ref.buffer, set()).update(index.ravel().tolist())
    return touched


def conflict(one, other):
    """Whether one of two phases writes what the other touches, or both belong to a kernel."""
    if one[0] is other[0]:
        return True
    for (a, p), (b, q) in ((one, other), (other, one)):
        written, touched = bytes_of(a, p.writes), bytes_of(b, (*q.reads, *q.writes))
        if any(written[k] & touched[k] for k in written.keys() & touched.keys()):
            return True
    return False


@pytest.mark.parametrize("start", range(600, 660, 10))
def test_what_depends_on_one_another_keeps_its_order(start):
    f, args, _ = random_programs(start, 5)
    items = items_of(f, args)
    asked = phases_of(items)
    planned = [(c.launch, c.phase) for c in calls_of(schedule(items, 2))]
    place = {(id(launch), phase.function): i for i, (launch, phase) in enumerate(planned)}
    assert len(planned) == len(asked) == len(place)
    order = [place[id(launch), phase.function] for launch, phase in asked]
    swapped = [(i, j) for i, j in itertools.combinations(range(len(asked)), 2) if order[i] > order[j]]
    for i, j in swapped:
        assert not conflict(asked[i], asked[j]), (asked[i][0].text, asked[j][0].text)


def fake(name, phases, *operands):
    kernel = Kernel("", tuple(phases), shared=64)
    return Launch(kernel, list(operands), 1e6, name, Buffer("work", 99, 64, np.dtype("uint8")))


def test_phases_that_fill_scratch_keep_their_order_within_a_kernel():
    x, y, z = (Ref(Buffer("work", i, 64, np.dtype("float32")), (16,)) for i in range(3))
    before = fake("before", [Phase("k0", 16, (0,), (1,))], x, y)
    two = fake("two", [Phase("k1_a", 4, (0,)), Phase("k1_b", 4, (0,)), Phase("k1", 4, (0,), (1,))], x, z)
    late = fake("late", [Phase("k2_pack", 4, (0,)), Phase("k2", 4, (0,), (1,))], y, z)
    calls = [Call(launch, p, (0, p.units, p.units)) for launch in (before, two, late) for p in launch.kernel.phases]
    got = [call.phase.function for call in _reordered(calls)]
    assert got == ["k1_a", "k1_b", "k0", "k2_pack", "k1", "k2"] or got.index("k0") < got.index("k2_pack")
    assert got.index("k1_a") < got.index("k1_b") < got.index("k1") and got.index("k1_a") < got.index("k0")


def test_rows_pass_through_several_kernels_while_they_are_in_the_cache():
    items = items_of(lambda x, w: (lambda y: (nn.relu(y), y))(x @ w), draw(4096, 256), draw(256, 256))
    groups = [s for s in schedule(items, 2).steps if isinstance(s, Group) and len(s.calls) > 1]
    assert [len(g.calls) for g in groups] == [2]
    assert groups[0].part * (256 + 256 + 256) * 4 <= 400 << 10 < 2048 * 256 * 4


def test_packing_leaves_a_loop():
    def f(h, w, xs):
        return knet.scan(lambda h, x: (knp.tanh(h @ w + x), h.sum()), h, xs)

    steps = schedule(items_of(f, draw(64, 256), draw(256, 256), draw(5, 64, 256)), 2).steps
    begin = next(i for i, s in enumerate(steps) if isinstance(s, Begin))
    end = next(i for i, s in enumerate(steps) if isinstance(s, End))
    assert isinstance(steps[begin].loop, Loop)
    packs = [i for i, s in enumerate(steps) if isinstance(s, Group) and any(c.scratch_only and c.reads for c in s.calls)
             and any("pack" in c.phase.function for c in s.calls)]  # fmt: skip
    assert len(packs) == 1 and packs[0] < begin < end


# --- memory -----------------------------------------------------------------------------------------------------------


def lifetimes(steps):
    """First and last step of each work buffer; what is in use where a loop begins is in use until its end."""
    spans, open_ = {}, []
    for i, step in enumerate(steps):
        if isinstance(step, End):
            start = open_.pop()
            for span in spans.values():
                if span[0] <= start <= span[1]:
                    span[1] = i
        elif isinstance(step, Begin):
            open_.append(i)
        for buffer in step.buffers:
            if buffer.kind == "work":
                spans.setdefault(buffer, [i, i])[1] = i
    return spans


@pytest.mark.parametrize("name", ["mlp", "lenet", "lstm", "swapped carries", *range(700, 730, 10)])
def test_buffers_in_use_at_one_time_do_not_overlap(name):
    f, args = MODELS[name] if isinstance(name, str) else random_programs(name, 10)[:2]
    args = args if isinstance(name, str) else (args,)
    plan = schedule(items_of(f, *args), 2)
    spans = lifetimes(plan.steps)
    assert spans
    for (a, (s, t)), (b, (u, v)) in itertools.combinations(spans.items(), 2):
        if s <= v and u <= t:
            assert a.place + a.nbytes <= b.place or b.place + b.nbytes <= a.place
    assert all(0 <= b.place and b.place % 64 == 0 and b.place + b.nbytes <= plan.workspace for b in spans)


def test_memory_is_used_again():
    def chain(x):
        for _ in range(20):
            x = knp.exp(x @ x / 400)
        return x

    plan = schedule(items_of(chain, draw(256, 256)), 2)
    assert plan.workspace < 8 * 256 * 256 * 4  # of forty arrays and their packed copies


@pytest.mark.parametrize(("name", "count"), [("mlp", 13), ("lenet", 23)])
def test_the_kernels_of_a_step_are_counted(name, count):
    f, args = MODELS[name]
    found = knet.jit(f).lower(*args).kernels
    assert len(found) == count, found
    assert not any("NumPy" in k or "copy" in k for k in found)
