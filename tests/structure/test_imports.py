"""The layers, read from the source: imports run downwards, vendors' libraries stay in their backend, and
``import knet`` does nothing but import.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import knet

ROOT = Path(knet.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# From the bottom up. A package may import those below it, and itself. knet.numpy comes before what is written in it.
LAYERS = (
    ("core",),
    ("compiler",),
    ("backends", "numpy"),
    ("random",),
    ("nn", "optim", "data", "memory", "io", "testing", "progress", "extend", "errors", "tree"),
    ("__init__", "interop", "distributed"),
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}

VENDORS = {
    "cupy": "backends/cuda",
    "cupy_backends": "backends/cuda",
    "cuda": "backends/cuda",
    "cudnn": "backends/cuda",
    "pyopencl": "backends/opencl",
    "torch": None,
    "jax": None,
    "tensorflow": None,
    "autograd": None,
    "numba": None,
}


def part_of(path):
    """The layer of a file: the package or module directly below knet."""
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


@functools.cache
def nodes_of(path):
    """All nodes of a file's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text())))


def imports_of(path):
    """(absolute module name, imported names, node, whether inside a function) of each import."""
    inside = set()
    for node in nodes_of(path):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            inside |= {id(n) for n in ast.walk(node)}
    package = ("knet", *path.relative_to(ROOT).parent.parts)
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, (), node, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *((node.module or "").split(".") if node.module else ())))
            yield module, tuple(a.name for a in node.names), node, id(node) in inside


def knet_parts(module, names):
    """Layers of knet that an import reaches, or nothing for other packages."""
    parts = module.split(".")
    if parts[0] != "knet":
        return set()
    if len(parts) > 1:
        return {parts[1]}
    return {n if n in HEIGHT else "__init__" for n in names} or {"__init__"}


def at(path, node):
    return f"{path.relative_to(ROOT.parent)}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downwards(path):
    mine = part_of(path)
    assert mine in HEIGHT, f"{mine} has no place in LAYERS"
    if path == ROOT / "backends" / "__main__.py":
        return  # the self-test is a program that uses Knet from outside
    for module, names, node, _ in imports_of(path):
        for other in knet_parts(module, names):
            assert other in HEIGHT, f"{at(path, node)}: {other} has no place in LAYERS"
            assert other == mine or HEIGHT[other] < HEIGHT[mine], f"{at(path, node)}: {mine} imports {other}, above it"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_vendors_stay_in_their_backend(path):
    place = str(path.relative_to(ROOT))
    for module, _, node, _ in imports_of(path):
        vendor = module.split(".")[0]
        if vendor in VENDORS:
            home = VENDORS[vendor]
            assert home and place.startswith(home), f"{at(path, node)}: {vendor} belongs to {home or 'no part of Knet'}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_knet_module_is_imported_inside_a_function(path):
    for module, _, node, inside in imports_of(path):
        if inside:
            assert module.split(".")[0] != "knet", f"{at(path, node)}: import knet's own modules at the top"


def test_modules_are_loaded_by_name_where_that_is_the_point_only():
    # Backends in core/device.py; families that are registered when first used in core/ops; what the first jit imports.
    allowed = [
        ("backends/cpu/__init__.py", "importlib.import_module"),
        ("core/device.py", "importlib.import_module"),
        ("core/ops/__init__.py", "import_module"),
    ]
    found = []
    for path in FILES:
        for node in nodes_of(path):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in ("importlib.import_module", "import_module", "__import__"):
                    found.append((str(path.relative_to(ROOT)), name))
    assert [f for f in found if f[1] != "__import__"] == allowed
    assert all(path == "numpy/__init__.py" for path, name in found if name == "__import__")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_backend_imports_no_other_backend(path):
    place = path.relative_to(ROOT).parts
    if place[0] != "backends" or len(place) < 3:
        return
    for module, _, node, _ in imports_of(path):
        parts = module.split(".")
        if parts[:2] == ["knet", "backends"] and len(parts) > 2:
            assert parts[2] == place[1], f"{at(path, node)}: {place[1]} imports {parts[2]}"


def test_core_has_no_cycle_but_the_rules_of_its_primitives():
    """Files of core, without those of core/ops, which name one another's primitives inside rules."""
    graph = {}
    for path in (ROOT / "core").glob("*.py"):
        own = set()
        for module, names, node, inside in imports_of(path):
            parts = module.split(".")
            if parts[:2] != ["knet", "core"] or inside or _only_for_types(path, node):
                continue
            own |= {parts[2]} if len(parts) > 2 else set(names)
        graph[path.stem] = own - {"ops", "__init__"}
    done: set[str] = set()

    def visit(name, way):
        assert name not in way, f"a cycle of imports: {' -> '.join((*way[way.index(name) :], name))}"
        if name not in done and name in graph:
            for other in sorted(graph[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        if name != "__init__":
            visit(name, ())


def _only_for_types(path, node):
    """Whether an import stands under ``if TYPE_CHECKING``."""
    for test in nodes_of(path):
        if isinstance(test, ast.If) and ast.unparse(test.test) == "TYPE_CHECKING":
            if test.lineno <= node.lineno <= (test.end_lineno or 0):
                return True
    return False


PROGRAM = """
import json, os, sys, warnings
warnings.simplefilter("error")
before = dict(os.environ)
threads = __import__("threading").active_count()
import knet
print(json.dumps({
    "modules": sorted(sys.modules),
    "changed": sorted(k for k in {*before, *os.environ} if before.get(k) != os.environ.get(k)),
    "devices": len(knet.core.device._default),
    "threads": __import__("threading").active_count() - threads,
}))
"""


@pytest.fixture(scope="module")
def imported():
    """What ``import knet`` does in a fresh interpreter, with KNET_BACKEND naming a backend that cannot be there."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KNET_")} | {"KNET_BACKEND": "nonsense"}
    got = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60)
    assert got.returncode == 0, got.stderr
    assert not got.stderr, f"import knet prints {got.stderr}"
    return json.loads(got.stdout)


@pytest.mark.parametrize(
    "package",
    "cupy pyopencl scipy tqdm pooch sklearn matplotlib torch jax pandas IPython hypothesis pytest mpi4py cffi".split(),
)
def test_import_knet_leaves_out(package, imported):
    found = [m for m in imported["modules"] if m.split(".")[0] == package]
    assert not found, f"import knet imports {found[0]}"


def test_import_knet_imports_no_backend(imported):
    loaded = {m.split(".")[2] for m in imported["modules"] if m.startswith("knet.backends.")}
    assert not loaded - {"__init__"}, f"import knet imports the backends {loaded}"


def test_import_knet_changes_nothing(imported):
    assert imported["changed"] == [], "import knet writes environment variables"
    assert imported["threads"] == 0, "import knet starts threads"


def test_import_knet_probes_no_device(imported):
    assert imported["devices"] == 0
