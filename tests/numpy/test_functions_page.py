"""docs/functions.md is what docs/generate.py writes today, and says what is true."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import knet
import knet.numpy as knp
from knet.core import registry

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate():
    """The generator, and its page as ``text``."""
    pytest.importorskip("scipy.special")
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with knet.use_backend("cpu"):  # whose to_device("cpu") can be differentiated, for it moves nothing
        module.text = module.page()
    return module


def rows(text, part):
    """Cells of a part's table, by name."""
    lines = [line for line in text.split("\n# ")[part].splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.replace("\\|", "").strip("|").split("|")] for line in lines]
    return {name.strip("`"): rest for name, *rest in cells}


def test_the_page_is_up_to_date(generate):
    written = (DOCS / "functions.md").read_text(encoding="utf-8")
    assert written == generate.text, "run python docs/generate.py"


def test_every_name_of_the_standard_is_there(generate):
    assert generate.ARRAY_API <= rows(generate.text, 0).keys()


def test_every_primitive_is_there(generate):
    assert set(registry) <= rows(generate.text, 1).keys()


@pytest.mark.parametrize(
    ("name", "derivative"),
    [
        ("exp", "yes"),
        ("sort", "yes"),
        ("where", "yes"),
        ("angle", "yes"),
        ("broadcast_to", "yes"),
        ("floor", "zero"),
        ("copysign", "by x yes; by y zero"),
        ("argmax", "none: the result is int64"),
        ("isin", "none: the result is bool"),
        ("isnan", "none: a truth value has no derivative"),
        ("zeros", "none: it takes no arrays of numbers"),
        ("arcsin", ""),
        ("linalg.svdvals", "yes"),
        ("fft.fft", "yes"),
    ],
)
def test_what_it_says_of_derivatives(generate, name, derivative):
    assert rows(generate.text, 0)[name][2] == derivative


@pytest.mark.parametrize(
    ("name", "backends"),
    [
        ("exp", "all; kernels: C"),
        ("add", "all; kernels: CPU, C"),
        ("median", "all"),
        ("linalg.eig", "all"),
        ("segment_sum", "all"),
        ("zeros", "all"),
        ("unique", "all, by way of the host"),
        ("nonzero", "all, by way of the host"),
        ("arcsin", ""),
    ],
)
def test_what_it_says_of_backends(generate, name, backends):
    assert rows(generate.text, 0)[name][3] == backends


def test_the_namespace_exports_no_modules_but_the_extensions():
    modules = [name for name in knp.__all__ if isinstance(getattr(knp, name), type(pytest))]
    assert modules == ["fft", "linalg"]
