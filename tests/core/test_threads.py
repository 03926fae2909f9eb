"""Transformations in several threads at once: levels and defaults do not mix."""

from __future__ import annotations

import math
import sys
import threading

import pytest

import knet
import knet.numpy as knp

THREADS = 8


@pytest.fixture(autouse=True)
def switch_often():
    """Let threads change after every few instructions, so that races show."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def run(work):
    """Run ``work(i)`` in threads that start together; the errors and results."""
    results, failures, barrier = [None] * THREADS, [], threading.Barrier(THREADS)

    def body(i):
        try:
            barrier.wait(10)
            results[i] = work(i)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not failures, failures
    return results


def test_gradients_in_eight_threads():
    def work(i):
        slopes = []
        for k in range(20):
            x = 0.1 * i + 0.01 * k
            slopes.append(knet.grad(lambda x: knp.sin(x) * x)(knp.asarray(x, dtype=knp.float64)).item())
        return slopes

    for i, slopes in enumerate(run(work)):
        for k, slope in enumerate(slopes):
            x = 0.1 * i + 0.01 * k
            assert slope == pytest.approx(math.cos(x) * x + math.sin(x), rel=1e-14)


def test_nested_gradients_in_eight_threads():
    def work(i):
        return [knet.grad(lambda x: x * knet.grad(lambda y: x + y * float(i))(x))(5.0).item() for _ in range(20)]

    for i, slopes in enumerate(run(work)):
        assert slopes == [float(i)] * 20


def test_one_function_shared_by_all_threads():
    gradient = knet.value_and_grad(lambda p, n: (p["w"] ** 3).sum() * n)

    def work(i):
        value, g = gradient({"w": knp.full(50, float(i))}, float(i))
        return value.item(), g["w"].tolist()

    for i, (value, g) in enumerate(run(work)):
        assert value == 50 * i**4 and g == [3.0 * i**3] * 50


def test_one_pull_back_shared_by_all_threads():
    _, pull_back = knet.vjp(lambda x: knp.sin(x), knp.asarray(0.5, dtype=knp.float64))
    for i, g in enumerate(run(lambda i: pull_back(float(i))[0].item())):
        assert g == pytest.approx(i * math.cos(0.5), rel=1e-15)
