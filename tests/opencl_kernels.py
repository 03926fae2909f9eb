"""Kernels and pretended devices for the tests of the runtime."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from knet.compiler.kernels.kernel import Kernel

if "opencl" in os.environ.get("KNET_REQUIRE", "").split(","):
    import pyopencl as cl
else:
    cl = pytest.importorskip("pyopencl", reason="PyOpenCL, of the extra opencl, is not installed")

GPU, ACCELERATOR, CPU = 4, 8, 2  # bits of cl_device_type

AXPY = """KERNEL(1, 1, 1) axpy(POINTER(const float, a0), POINTER(float, a1), const int n0, const float n1) {
    BASE(const float, a0)
    BASE(float, a1)
    for (int i = GROUP(0); i < n0; i += GROUPS(0)) a1[i] = n1 * a0[i] + a1[i];
}
"""


def axpy():
    """y + n1 * x for n0 elements."""
    return Kernel("axpy", AXPY, ("int", "float"), (1, 1, 1), (4, 4))


def one(name, body, numbers=(), items=(1, 1, 1), pointers=1):
    """A kernel on float arrays a0, a1, ... and numbers n0, n1, ..."""
    parameters = [f"POINTER(float, a{i})" for i in range(pointers)]
    parameters += [f"const {kind} n{i}" for i, kind in enumerate(numbers)]
    bases = "".join(f"    BASE(float, a{i})\n" for i in range(pointers))
    x, y, z = items
    text = f"KERNEL({x}, {y}, {z}) {name}({', '.join(parameters)}) {{\n{bases}    {body}\n}}\n"
    return Kernel(name, text, tuple(numbers), items, (4,) * pointers)


def device(name, kind, **more):
    """What a driver tells of a device."""
    told = {
        "max_compute_units": 8, "max_work_group_size": 1024, "local_mem_size": 49152, "native_vector_width_float": 1,
        "extensions": "cl_khr_fp64 cl_khr_fp16", "host_unified_memory": 0,
    }  # fmt: skip
    return SimpleNamespace(name=name, type=kind, **{**told, **more})


def platform(name, version, *devices):
    """A driver with these devices."""
    return SimpleNamespace(name=name, version=version, get_devices=lambda: list(devices))
