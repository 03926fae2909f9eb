"""A user's program under ``mypy --strict``: knet.numpy's names are exported, and arrays stay arrays."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import knet

ROOT = Path(knet.__file__).parents[1]

PROGRAM = '''
"""A network, its training, and what stands around it."""

from typing import NamedTuple

import knet
import knet.numpy as knp
from knet import Array


class Params(NamedTuple):
    w: Array
    b: Array


def init(key: Array, sizes: list[int]) -> list[Params]:
    keys = knet.random.split(key, len(sizes) - 1)
    return [
        Params(knet.random.normal(k, (m, n)) / knp.sqrt(knp.asarray(float(m))), knp.zeros(n))
        for k, m, n in zip(keys, sizes, sizes[1:])
    ]


def predict(params: list[Params], x: Array) -> Array:
    for w, b in params[:-1]:
        x = knp.tanh(x @ w + b)
    w, b = params[-1]
    return x @ w + b


def loss(params: list[Params], x: Array, y: Array) -> Array:
    scores = predict(params, x)
    picked = knp.take_along_axis(scores, y[:, None], axis=1, mode="clip")
    return knp.mean(knp.logsumexp(scores, axis=1) - picked[:, 0])


def accuracy(scores: Array, y: Array) -> float:
    return float((scores.argmax(axis=1) == y).astype(knp.float32).mean())


def statistics(x: Array) -> dict[str, Array]:
    spread = knp.where(x > 0, knp.exp(-x), knp.log1p(knp.abs(x)))
    return {
        "mean": x.mean(axis=0, keepdims=True),
        "median": knp.median(x, 0),
        "quantiles": knp.quantile(x, knp.linspace(0, 1, 5)),
        "spread": spread.reshape(-1)[:3].T,
        "clipped": knp.clip(x, -1.0, 1.0),
        "sorted": knp.sort(x, axis=-1),
        "set": x.at[0].set(0.0).at[1:].add(1.0, mode="drop"),
        "erf": knp.erf(x) + 2 * knp.maximum(x, 0.0) ** 2,
        "inverse": knp.linalg.inv(x.T @ x + knp.eye(x.shape[1])),
        "power": knp.abs(knp.fft.rfft(x, axis=0)),
        "product": knp.einsum("ij,kj->ik", x, x),
        "padded": knp.pad(x, 1, "reflect"),
    }


def decomposed(x: Array) -> Array:
    u, s, vh = knp.linalg.svd(x, full_matrices=False)
    values = knp.linalg.eigh(x.mT @ x).eigenvalues
    sign, logarithm = knp.linalg.slogdet(x.mT @ x)
    return (u * s) @ vh + values.sum() + sign * logarithm


def activation(x: Array) -> Array:
    return knp.tanh(x)


def places(x: Array) -> Array:
    rows, columns = knp.where(knp.isnan(x))
    return knp.where(x > 0, rows, columns)


def weighted(x: Array) -> tuple[Array, Array]:
    return knp.logsumexp(x, b=2.0, return_sign=True)


def train(params: list[Params], x: Array, y: Array, rate: float) -> list[Params]:
    value, gradients = knet.value_and_grad(loss)(params, x, y)
    print(float(value), value.item(), x.dtype.itemsize, x.shape[0] + x.ndim)
    return [Params(p.w - rate * g.w, p.b - rate * g.b) for p, g in zip(params, gradients)]


def per_example(params: list[Params], x: Array, y: Array) -> Array:
    norms: Array = knet.vmap(lambda a, b: loss(params, a[None], b[None]))(x, y)
    return norms
'''

MISTAKES = """
import knet.numpy as knp
from knet import Array


def f(x: Array) -> None:
    a: int = knp.tanh(x)  # wrong
    b: str = knp.sum(x)  # wrong
    x[0] = 1.0
    c: Array = knp.where(x > 0)  # wrong
    knp.linalg.qr(x, mode="full")  # wrong
    knp.no_such_function(x)  # wrong
    x.no_such_method()  # wrong
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory, request):
    """mypy's messages as (file, line, text)."""
    api = pytest.importorskip("mypy.api", reason="mypy, of the extra dev, is not installed")
    place = tmp_path_factory.mktemp("typed")
    (place / "program.py").write_text(PROGRAM.lstrip("\n"))
    (place / "mistakes.py").write_text(MISTAKES.lstrip("\n"))
    cache = request.config.rootpath / ".pytest_cache" / "mypy"  # half a minute less the next time
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MYPYPATH", str(ROOT))
        patch.chdir(place)
        out, err, _ = api.run(
            ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={cache}", "--no-error-summary",
             "program.py", "mistakes.py"]
        )  # fmt: skip
    assert not err, err
    found = [re.match(r"(\w+\.py):(\d+): error: (.*)", line) for line in out.splitlines() if ": note:" not in line]
    assert all(found), out
    return [(m[1], int(m[2]), m[3]) for m in found if m]


def test_a_program_without_mistakes_has_none(report):
    assert [entry for entry in report if entry[0] == "program.py"] == []


def test_mistakes_are_found_where_they_are(report):
    lines = MISTAKES.lstrip("\n").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert {number for file, number, _ in report if file == "mistakes.py"} == wrong, report
