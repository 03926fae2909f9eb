"""How the loops of a nest run through arrays."""

from __future__ import annotations

from collections.abc import Sequence

from ..fuse import Axes
from ..layout import Ref


class Access:
    """An array that a nest reads or writes: strides by dim."""

    def __init__(self, ref: Ref, axes: Axes) -> None:
        self.ref = ref
        self.dtype = ref.dtype
        self.strides: dict[int, int] = {}
        for d, step, n in zip(axes, ref.strides, ref.shape, strict=True):
            if d is not None and n != 1:
                self.strides[d] = step


class Loop:
    """One loop of a nest: its extent, the dims merged in it (outermost first), its variable."""

    def __init__(self, dims: Sequence[int], extent: int) -> None:
        self.dims = tuple(dims)
        self.extent = extent
        self.variable = ""

    def step(self, access: Access) -> int:
        """Elements between neighbours: those of the innermost dim."""
        return access.strides.get(self.dims[-1], 0) if self.dims else 0
