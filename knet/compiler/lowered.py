"""What ``jit(f).lower(*args)`` shows: the graph after each pass, the plan, the kernels and their source."""

from __future__ import annotations

from typing import Any

from .graph import Graph
from .passes import optimize, stages


class Lowered:
    """A function on its way to a program, for given arguments."""

    def __init__(self, traced: Any) -> None:
        self._traced = traced

    @property
    def traced(self) -> Graph:
        """The graph as it was traced."""
        return self._traced.graph

    @property
    def graph(self) -> Graph:
        """The graph after all passes."""
        return optimize(self._traced.graph)

    @property
    def stages(self) -> list[tuple[str, Graph]]:
        """(pass, graph after it), in order, from the graph as traced."""
        return stages(self._traced.graph)

    @property
    def kernels(self) -> tuple[Any, ...]:
        """The program's kernels in the order of launch, each with what was fused in it."""
        return self._traced.program.kernels

    @property
    def source(self) -> str:
        """Source text of the kernels."""
        return self._traced.program.source

    @property
    def peak_bytes(self) -> int:
        """Bytes of the program's workspace: all intermediates at their planned places."""
        return self._traced.program.peak_bytes

    def __str__(self) -> str:
        kernels = "\n".join(f"  {k}" for k in self.kernels)
        return f"{self.graph}\n\n{len(self.kernels)} kernels, workspace {self.peak_bytes} bytes\n{kernels}"
