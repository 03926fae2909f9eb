"""What kernels are printed for: the sort of device, and what it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Target(NamedTuple):
    """A device as the printer sees it.

    Attributes:
      dialect: "opencl" or "cuda".
      loops: how a group works. True on CPUs: it is one item, which loops over its part of the work, and the compiler
        turns inner loops into vector instructions. False on GPUs: it is many items side by side.
      items: items of a group of a kernel that has no reason for another number; 1 if ``loops``.
      units: compute units: threads of a CPU, multiprocessors of a GPU.
      local_bytes: local (shared) memory of a group.
      vector: floats in a vector register of a CPU; 1 on GPUs.
      doubles: whether float64 can be computed with.
      own: generators of the backend itself, by the operation's name, which are asked before those of all devices.
      aside: what computes a node that has no kernel, for people.
    """

    dialect: str
    loops: bool
    items: int
    units: int
    local_bytes: int
    vector: int = 1
    doubles: bool = True
    own: Mapping[str, Any] = MappingProxyType({})
    aside: Callable[[Any], str] = lambda node: "NumPy"
