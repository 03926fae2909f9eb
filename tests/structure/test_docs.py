"""Every public name has a docstring in the house's form."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

import knet

MODULES = "knet numpy numpy.linalg nn optim random data memory tree testing extend".split()
SECTIONS = (
    "Args", "Returns", "Raises", "Derivative", "Numerics", "Example", "Examples", "References", "Reference", "Fields",
    "Attributes", "Yields", "Elsewhere",
)  # fmt: skip


def public():
    """(module, name, object) of each public function and class that has a docstring of its own to write."""
    for module in MODULES:
        full = "knet" if module == "knet" else f"knet.{module}"
        loaded = knet.tree if module == "tree" else importlib.import_module(full)
        for name in getattr(loaded, "__all__", None) or [n for n in vars(loaded) if not n.startswith("_")]:
            thing = getattr(loaded, name)
            if callable(thing) and not inspect.ismodule(thing) and type(thing).__module__ != "numpy":
                yield pytest.param(name, thing, id=f"{full}.{name}")


@pytest.mark.parametrize(("name", "thing"), list(public()))
def test_docstring(name, thing):
    text = thing.__doc__
    assert text and text.strip(), f"{name} has no docstring"
    first = inspect.cleandoc(text).split("\n\n")[0].replace("\n", " ")
    assert re.search(r"[.:)]$|::$", first), f"{name}: the first paragraph ends without a period: {first!r}"
    assert not re.match(r"(Return|Returns|Compute|Computes|Get|Gets|This|Calculates?)\b", first), (
        f"{name}: the first line is a noun phrase, not {first!r}"
    )
    assert not text.startswith(" "), f"{name}: the docstring starts with a blank"


@pytest.mark.parametrize(("name", "thing"), list(public()))
def test_arguments_in_docstrings_exist(name, thing):
    """Names under Args: are parameters (or fields) of the function."""
    text = inspect.cleandoc(thing.__doc__ or "")
    block = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", text, re.M)
    if not block:
        return
    try:
        parameters = set(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        return
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in inspect.signature(thing).parameters.values()):
        return
    for line in block[1].splitlines():
        entry = re.match(r"  ([\w, ]+):(?: |$)", line)
        if entry and len(line) - len(line.lstrip()) == 2:
            for argument in re.split(r",\s*|\s+and\s+", entry[1].strip()):
                assert argument in parameters, f"{name}: Args names {argument}, the parameters are {sorted(parameters)}"


@pytest.mark.parametrize(("name", "thing"), list(public()))
def test_sections_are_those_of_the_house(name, thing):
    for line in inspect.cleandoc(thing.__doc__ or "").splitlines():
        if re.match(r"^[A-Z]\w+:$", line):
            assert line[:-1] in SECTIONS, f"{name}: a section {line!r}"
