"""Which operations devices have kernels for: an operation that runs on the host stands here with its reason.

Operations are lowered for devices as when they run alone; no device is needed.
"""

from __future__ import annotations

import pytest
from catalog import ROWS, aval, each, kind

from knet.compiler.device.backend import has_kernel
from knet.compiler.graph import Graph, Node, Value
from knet.compiler.kernels.lower import lower
from knet.compiler.kernels.target import Target
from knet.compiler.plan.items import HostCall
from knet.core import ShapedArray

TARGETS = {
    "CPU": Target("opencl", loops=True, items=1, units=2, local_bytes=32768, vector=16),
    "GPU": Target("cuda", loops=False, items=256, units=80, local_bytes=49152),
}

# Operations without kernels, by the reason.
ON_HOST = {
    "a decomposition or a solution, which LAPACK computes": (
        "cholesky cofactor det eig eigh eigvals eigvalsh expm inv pinv qr slogdet solve svd svdvals triangular_solve"
    ),
    "a transform, which pocketfft computes": "dft irfft rfft",
    "a special function of long series and tables, which SciPy computes": (
        "betaln digamma erfinv gammainc gammaincc i0 i0e i1 i1e iv ive j0 j1 jv log_ndtr loggamma_slope ndtri "
        "polygamma zeta"
    ),
    "a draw that rejects and draws again": "random_loggamma random_poisson",
    "a number computed while a function is traced": "integration_end",
}
WITHOUT = {name: reason for reason, names in ON_HOST.items() for name in names.split()}

# Operations whose kernels are for some types only: the types of operands with which they run on the host.
PARTLY = {
    "nextafter": {"float16", "bfloat16"},  # devices compute half types in float32, whose neighbours are others
}


def on_host(row, dtype, target):
    """Whether an operation lowered for a device calls the host in some case of the catalogue."""
    for case in row.cases:
        arrays = case.draw(dtype, row.name)
        results = tuple(each(aval(row, arrays, case.params)))
        graph = Graph(row.name)
        graph.inputs = [Value(ShapedArray(a.shape, a.dtype)) for a in arrays]
        node = Node(row.primitive, list(graph.inputs), case.params, results)
        graph.nodes, graph.outputs = [node], list(node.results)
        if any(isinstance(item, HostCall) for item in lower(graph, target, literal=False).items):
            return True
    return False


def test_operations_without_a_kernel_are_listed_with_a_reason():
    assert {name for name, row in ROWS.items() if not has_kernel(row.primitive)} == set(WITHOUT)


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_are_for_all_floating_types(target):
    for name, row in ROWS.items():
        floats = [dtype for dtype in row.dtypes if kind(dtype) == "f"]
        if name not in WITHOUT and floats:
            got = {dtype.name for dtype in floats if on_host(row, dtype, TARGETS[target])}
            assert got == PARTLY.get(name, set()), f"{name} runs on the host for {sorted(got)}"


@pytest.mark.parametrize("target", TARGETS)
def test_integers_go_to_the_host_for_functions_of_reals_only(target):
    for name, row in ROWS.items():
        others = [dtype for dtype in row.dtypes if kind(dtype) in "ib"]
        if name not in WITHOUT and any(on_host(row, dtype, TARGETS[target]) for dtype in others):
            assert row.elementwise, f"{name} of integers runs on the host"
            made = {y.dtype.kind for y in each(aval(row, row.cases[0].draw(others[0], name), row.cases[0].params))}
            assert made == {"f"}, f"{name} runs on the host for integers, of which it makes {made}"
