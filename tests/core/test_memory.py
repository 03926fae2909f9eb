"""What stays alive, and for how long: counted with weak references, never timed."""

from __future__ import annotations

import gc
import itertools
import weakref

import numpy as np
import pytest

import knet
import knet.numpy as knp


@pytest.fixture(autouse=True)
def no_collector():
    """Without the cycle collector only reference counts free memory, so a cycle shows as a leak."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Watch:
    """Weak references to arrays as they pass (of a tracer: to its value at level 0), and how many of them are alive."""

    def __init__(self):
        self.references = []

    def see(self, x):
        while not hasattr(x, "_buffer"):
            x = x.value
        self.references.append(weakref.ref(x))

    def alive(self):
        return sum(r() is not None for r in self.references)


def chain(x, watch, length=20):
    for _ in range(length):
        x = knp.sin(x)
        watch.see(x)
    return x.sum()


def test_nothing_survives_grad():
    watch = Watch()
    knet.grad(lambda x: chain(x, watch))(knp.ones(1000))
    assert len(watch.references) == 20 and watch.alive() == 0


def test_nothing_survives_value_and_grad_of_every_kind_of_operation():
    watch = Watch()

    def f(x, w):
        for y in (x @ w, x * x[0], knp.concatenate([x, x]), x.max(0), knp.logsumexp(x, axis=1), x[knp.asarray([0, 0])]):
            watch.see(y)
            x = x + y.sum()
            watch.see(x)
        return x.sum() * 2.0

    value, grads = knet.value_and_grad(f, (0, 1))(knp.ones((3, 3)), knp.ones((3, 3)))
    assert watch.alive() == 0
    assert value.shape == () and grads[0].shape == (3, 3)


def test_nothing_survives_an_exception():
    watch = Watch()

    def fails(x):
        chain(x, watch)
        raise KeyError

    try:
        knet.grad(fails)(knp.ones(10))
    except KeyError:
        pass
    assert watch.alive() == 0


def test_nothing_survives_a_second_derivative():
    watch = Watch()
    knet.grad(lambda x: (knet.grad(lambda x: chain(x, watch))(x) ** 2).sum())(knp.ones(5))
    assert len(watch.references) == 20 and watch.alive() == 0


def test_the_tape_is_freed_as_the_backward_pass_consumes_it(monkeypatch):
    # Each cosine of the backward pass belongs to one sine of the chain. By then the values after it must be gone.
    watch, counts = Watch(), []
    body = knp.cos.apply

    def counting(x):
        counts.append(watch.alive())
        return body(x)

    monkeypatch.setattr(knp.cos, "apply", counting)
    knet.grad(lambda x: chain(x, watch))(knp.ones(10))
    assert len(counts) == 20
    assert counts[0] >= 18, "the chain was not kept to begin with"
    assert all(b <= a for a, b in itertools.pairwise(counts)), f"values alive at each step back: {counts}"
    assert counts[10] <= 11 and counts[-1] <= 2, f"values alive at each step back: {counts}"


def test_pull_back_keeps_what_it_needs_and_frees_it_in_the_end():
    watch = Watch()
    y, pull_back = knet.vjp(lambda x: chain(x, watch), knp.ones(10))
    del y
    assert watch.alive() >= 19
    pull_back(1.0)
    assert watch.alive() >= 19
    del pull_back
    assert watch.alive() == 0


def test_what_no_rule_needs_is_not_kept(monkeypatch):
    monkeypatch.setattr("knet.core.reverse.CHECKS", False)  # the checks that the suite turns on keep every result
    watch = Watch()

    def f(x):
        y = x * 2.0
        watch.see(y)
        z = y + x  # the sum's derivative needs neither operand
        watch.see(z)
        w = -z
        watch.see(w)
        total = w.sum()  # the reduction's needs only the shape
        del y, z, w
        assert watch.alive() == 0, "the tape keeps values that no rule asks for"
        return total

    knet.grad(f)(knp.ones(10))
    assert len(watch.references) == 3


def test_operations_outside_a_trace_keep_nothing():
    x = knp.ones(10)
    y = knp.sin(x)
    z = weakref.ref(y)
    w = y * 2
    del y
    assert z() is None and w.shape == (10,)


def test_arrays_die_with_their_last_reference(on_cpu):
    host = np.ones(100)
    buffer = weakref.ref(host)
    x = knp.asarray(host)
    del host
    assert buffer() is not None, "the memory is shared, so the array keeps it"
    del x
    assert buffer() is None
