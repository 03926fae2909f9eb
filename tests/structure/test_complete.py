"""Each primitive has all that a primitive needs, and each exported name exists."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest
from catalog import INDEX, REFUSED, ROWS, RULE, ZERO

import knet
from knet.core import registry
from knet.core.primitive import ZERO as ZERO_RULE
from knet.core.primitive import Primitive

OWN = sorted(name for name, p in registry.items() if isinstance(p, Primitive))


def test_every_primitive_has_a_row_and_every_row_a_primitive():
    missing, stale = set(OWN) - set(ROWS), set(ROWS) - set(OWN)
    assert not missing, f"no row in tests/catalog.py for {sorted(missing)}"
    assert not stale, f"rows in tests/catalog.py without a primitive: {sorted(stale)}"


@pytest.mark.parametrize("name", OWN)
def test_a_rule_or_a_reason_for_each_operand(name):
    primitive, row = registry[name], ROWS[name]
    entries = primitive.vjp if isinstance(primitive.vjp, tuple) else (primitive.vjp,) * len(row.grads)
    assert len(entries) == len(row.grads), f"{name} has {len(entries)} rules for {len(row.grads)} operands"
    for i, (entry, kind) in enumerate(zip(entries, row.grads, strict=True)):
        if kind == RULE:
            assert callable(entry) and entry is not ZERO_RULE, f"{name}: operand {i} has no rule, but {entry!r}"
        elif kind == ZERO:
            assert entry is ZERO_RULE, f"{name}: operand {i} should be ZERO"
        elif kind == REFUSED:
            assert isinstance(entry, str), f"{name}: operand {i} should have a reason for its missing derivative"
        else:
            assert kind == INDEX and (isinstance(entry, str) or entry is ZERO_RULE), f"{name}: operand {i}"
        if isinstance(entry, str):
            assert len(entry.split()) >= 3, f"{name}: {entry!r} is no reason"


@pytest.mark.parametrize("name", OWN)
def test_as_many_operands_as_the_row_has(name):
    primitive, row = registry[name], ROWS[name]
    if not primitive.variadic:
        assert len(primitive.argnames) == len(row.grads), f"{name} has the operands {primitive.argnames}"
    for case in row.cases:
        assert primitive.variadic or len(case.operands) == len(primitive.argnames), f"{name}({case})"


@pytest.mark.parametrize("name", OWN)
def test_a_docstring(name):
    text = registry[name].__doc__
    assert text and text.strip(), f"{name} has no docstring"
    first = text.strip().split("\n\n")[0]
    assert first.endswith((".", ":")), f"{name}: {first!r}"
    if not ROWS[name].elementwise and name != "cast":
        assert "[" in text, f"{name}: its docstring shows no shape"


@pytest.mark.parametrize("name", OWN)
def test_a_kernel_on_the_cpu(name):
    kernel = knet.core.device.load_backend("cpu").kernel(registry[name])
    assert callable(kernel), f"{name} has no kernel on the CPU"


@pytest.mark.parametrize("name", OWN)
def test_a_batching_rule_or_a_reason(name):
    batch = registry[name].batch
    assert callable(batch) or (isinstance(batch, str) and batch), f"{name} has no batching rule"


@pytest.mark.parametrize("name", OWN)
def test_the_catalogue_is_strict(name):
    row = ROWS[name]
    assert row.cases and row.dtypes
    assert 0 <= row.ulp <= 16 and row.grad_ulp <= 64, f"{name}: {row.ulp} ulp is no bound"
    if RULE in row.grads:
        shapes = [tuple(o.shape for o in c.operands if hasattr(o, "shape")) for c in row.cases]
        assert any(0 in s for group in shapes for s in group), f"{name} is not tested on an empty operand"
    if row.elementwise and "f" in row.kinds:
        assert row.special, f"{name} is tested at no special point"


# --- names ------------------------------------------------------------------------------------------------------------


def modules():
    """Every module of Knet that imports here."""
    for info in pkgutil.walk_packages(knet.__path__, "knet."):
        if not info.name.startswith(("knet.backends.cuda", "knet.backends.opencl")) and "__main__" not in info.name:
            yield info.name


@pytest.mark.parametrize("module", list(modules()))
def test_every_name_in_all_exists(module):
    loaded = importlib.import_module(module)
    names = getattr(loaded, "__all__", [])
    assert len(set(names)) == len(names), f"{module}.__all__ names something twice"
    for name in names:
        assert hasattr(loaded, name), f"{module}.__all__ names {name}, which does not exist"


@pytest.mark.parametrize(
    "module", ["knet", "knet.numpy", "knet.nn", "knet.optim", "knet.random", "knet.data", "knet.core"]
)
def test_public_packages_say_what_they_export(module):
    loaded = importlib.import_module(module)
    assert loaded.__all__, f"{module} has no __all__"
    assert not [n for n in loaded.__all__ if n.startswith("_")]


def test_every_file_says_what_it_is_and_is_finished():
    root = Path(knet.__file__).parent
    for path in root.rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{path.relative_to(root)} does not say what it is"
        marks = [mark for mark in ("TODO", "FIXME", "XXX") if mark in path.read_text()]
        assert not marks, f"{path.relative_to(root)} is unfinished: {marks}"
