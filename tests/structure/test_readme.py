"""What the pages say is true: their code runs, their commands are those of CI, what they point to exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import knet
import knet.numpy as knp
from knet import nn, optim, random, testing

ROOT = Path(__file__).parents[2]
PROGRAMS = (
    "CONTRIBUTING.md", "docs/extending.md", "docs/jit.md", "docs/opencl.md", "knet/core/README.md",
    "knet/compiler/README.md",
)  # fmt: skip
PAGES = ("README.md", "CHANGELOG.md", "benchmarks/README.md", *PROGRAMS)
NAMESPACES = {"knet": knet, "knp": knp, "nn": nn, "optim": optim, "random": random, "testing": testing}
# The pages' programs run on 1500 small images, whatever data this machine has.
SMALL_DATA = "import knet; knet.data.mnist_or_digits = knet.data.digits\n"


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language):
    """The code blocks of a page in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


def run_blocks(page):
    """Standard output of the page's Python blocks, one program, in a process of its own."""
    found = blocks(page, "python")
    assert found, f"{page} has no Python"
    program = SMALL_DATA + "\n".join(found)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KNET_CHECKS": "0", "KNET_PROGRESS": "0"},
    )
    assert done.returncode == 0, f"{page}:\n{done.stderr}"
    return done.stdout


def test_the_readme_trains_a_network():
    accuracy = re.search(r"test accuracy (\S+)", run_blocks("README.md"))
    assert accuracy and float(accuracy[1]) > 0.9


@pytest.mark.parametrize("page", PROGRAMS)
def test_the_pages_code_runs(page):
    run_blocks(page)


def test_the_compilers_page_shows_the_graphs_that_its_code_prints(on_cpu):
    shown = re.findall(r"^ *```text\n(.*?)^ *```$", text_of("knet/compiler/README.md"), re.MULTILINE | re.DOTALL)
    printed = run_blocks("knet/compiler/README.md")
    assert len(shown) == 3
    assert "".join(map(textwrap.dedent, shown)) == printed


def test_ci_types_the_commands_of_the_readme():
    commands = [block.strip() for block in blocks("README.md", "bash")]
    typed = re.findall(r"^ *typed '(.*?)'", text_of(".ci/run"), re.MULTILINE)
    assert len(commands) == 3
    assert sorted(typed) == sorted(commands)


def test_the_readme_shows_an_error_that_knet_raises():
    with pytest.raises(knet.errors.ShapeError) as caught:
        knp.ones((32, 784)) @ knp.ones((512, 784))
    assert f"ShapeError: {caught.value}" in text_of("README.md")


def test_the_readme_names_what_exists():
    table = [line for line in text_of("README.md").splitlines() if line.startswith("| ")]
    code = " ".join(re.findall(r"`([^`]+)`", " ".join(line.split(" | ", 1)[1] for line in table)))
    names = re.findall(rf"\b((?:{'|'.join(NAMESPACES)})(?:\.\w+)+)", code)
    assert len(names) > 30
    for name in names:
        space, *path = name.split(".")
        value = NAMESPACES[space]
        for part in path:
            assert hasattr(value, part), f"README.md names {name}, which does not exist"
            value = getattr(value, part)


@pytest.mark.parametrize("page", PAGES)
def test_links_point_to_files(page):
    for target in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        if not target.startswith("https://"):
            assert ((ROOT / page).parent / target).exists(), f"{page} points to {target}"
