"""From a graph to a program: optimise, hand over to the device's backend, run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import default_device
from ..core import device as devices
from ..core.array import DeviceArray
from ..core.device import as_array
from .graph import Graph, derive
from .interpret import interpret
from .passes import optimize


class Stepwise:
    """A program for backends that compile none: each operation by its kernel, arrays freed after their last use."""

    kernels: tuple[Any, ...] = ()
    source = ""
    peak_bytes = 0

    def __init__(self, graph: Graph, device: Any) -> None:
        self.graph = graph
        self.device = device

    def __call__(self, arrays: Sequence[DeviceArray]) -> list[DeviceArray]:
        return [as_array(y) for y in interpret(self.graph, arrays)]  # type: ignore[misc]


def program(graph: Graph, device: Any, donated: Sequence[int] = ()) -> Any:
    """The program of a graph on a device, made on first use: a function from a list of arrays to a list of arrays.

    Args:
      donated: positions of inputs whose buffers the program may write its results into.
    """

    def make() -> Any:
        optimized = optimize(graph)
        compile_ = getattr(device.backend, "compile", None)
        compiled = compile_(optimized, device, tuple(donated)) if compile_ is not None else None
        return Stepwise(optimized, device) if compiled is None else compiled

    return derive(graph, ("program", device, tuple(donated)), make)


def concrete(leaves: Sequence[Any]) -> list[Any]:
    """Leaves as arrays on a device: numbers too, and gradients of rows with all their rows."""
    return [x if type(x) is DeviceArray else as_array(getattr(x, "dense", lambda x=x: x)()) for x in leaves]


def run(graph: Graph, arrays: Sequence[Any]) -> list[Any]:
    """Results of a graph on concrete arrays."""
    leaves = concrete(arrays)
    device = leaves[0].device if leaves else default_device()
    if devices.inspect_results is not None:  # debug_nans: each operation for itself
        return Stepwise(graph, device)(leaves)
    return program(graph, device)(leaves)
