"""Every kernel that is printed for the catalogue is CUDA C++ that NVRTC compiles, without a warning."""

from __future__ import annotations

import functools
import warnings

import nvrtc
import printed
import pytest
from catalog import ROWS

from knet.compiler.kernels.kernel import Kernel

PARTS = 8
NAMES = sorted(ROWS)


@functools.cache
def kernels(part: int) -> tuple[Kernel, ...]:
    """The kernels of every eighth row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what falls back to the host says so
        return tuple(printed.catalogue_kernels(NAMES[part::PARTS]))


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(
    "architecture", [a if a == "sm_90" else pytest.param(a, marks=pytest.mark.slow) for a in nvrtc.EVERY]
)
def test_every_kernel_compiles(architecture, part):
    found = kernels(part)
    assert len(found) > 100
    assert nvrtc.complaints(found, architecture) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_kernel_compiles_as_it_will_for_a_device(part):
    assert nvrtc.complaints(kernels(part), "sm_90", ()) == []


@pytest.mark.parametrize("architecture", nvrtc.EVERY)
def test_the_prelude_compiles_for_every_architecture(architecture):
    """And a kernel of each dtype, with functions of scalars; the whole catalogue for all of them is slow."""
    found = [kernel for kernel in kernels(NAMES.index("tanh") % PARTS) if "tanh" in kernel.source]
    assert len(found) > 4
    assert nvrtc.complaints(found, architecture) == []


def test_wrong_kernels_are_noticed():
    good = next(k for k in kernels(0) if "for (" in k.source)
    wrong = good._replace(source=good.source.replace("for (", "four (", 1))
    (complaint,) = nvrtc.complaints([good._replace(name="other"), wrong], "sm_90")
    assert "errors of" in complaint and "four" in complaint
    unused = good._replace(source=good.source.replace("{\n", "{\n    int never_used;\n", 1))
    (complaint,) = nvrtc.complaints([unused], "sm_90")
    assert "warnings of" in complaint and "never_used" in complaint
