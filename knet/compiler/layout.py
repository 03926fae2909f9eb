"""Where values lie in memory: buffers, and strided references into them, of which views are made without copying."""

from __future__ import annotations

from typing import Any

from ..core.aval import size_of
from ..core.ops import shape
from .graph import Node, Value

Strides = tuple[int, ...]


class Buffer:
    """A piece of memory.

    Attributes:
      kind: "input", "output", "constant" (each with its ``number``), "work" (planned), "moving" (a part of another
        buffer, which a loop moves along), or "status" (where kernels note errors).
      nbytes: its size.
      place: offset in the workspace, once planned.
      shares: the input whose memory an output may be given, or None.
    """

    __slots__ = ("dtype", "kind", "name", "nbytes", "number", "place", "shares")

    def __init__(self, kind: str, number: int, nbytes: int, dtype: Any) -> None:
        self.kind = kind
        self.number = number
        self.nbytes = nbytes
        self.dtype = dtype
        self.place = -1
        self.shares: Buffer | None = None
        self.name = f"{kind}{number}"

    @property
    def memory(self) -> Buffer:
        """The buffer in whose memory this one may lie: the donated input that it shares, or itself."""
        return self.shares or self

    def __repr__(self) -> str:
        return f"{self.name}[{self.nbytes}]"


class Ref:
    """An array in a buffer: shape, and strides and offset in elements."""

    __slots__ = ("buffer", "offset", "shape", "strides")

    def __init__(self, buffer: Buffer, shape: tuple[int, ...], strides: Strides | None = None, offset: int = 0) -> None:
        self.buffer = buffer
        self.shape = shape
        self.strides = dense_strides(shape) if strides is None else strides
        self.offset = offset

    @property
    def dtype(self) -> Any:
        return self.buffer.dtype

    @property
    def size(self) -> int:
        return size_of(self.shape)

    @property
    def dense(self) -> bool:
        """Whether the elements lie one after the other in row-major order."""
        expected = 1
        for n, step in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and step != expected:
                return False
            expected *= n
        return True

    def __repr__(self) -> str:
        return f"{self.buffer.name}{list(self.shape)}" + ("" if self.dense else f" strides {list(self.strides)}")


def dense_strides(shape: tuple[int, ...]) -> Strides:
    """Row-major strides in elements."""
    strides = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def view(node: Node, x: Ref) -> Ref | None:
    """Reference to the result of a node that only moves elements; None where it cannot be had without a copy."""
    op, params = node.op, node.params
    if op is shape.reshape:
        return reshaped(x, params["shape"])
    if op is shape.permute:
        axes = params["axes"]
        return Ref(x.buffer, tuple(x.shape[i] for i in axes), tuple(x.strides[i] for i in axes), x.offset)
    if op is shape.broadcast_to:
        target = params["shape"]
        lead = len(target) - len(x.shape)
        strides = (0,) * lead + tuple(s if m == n else 0 for s, m, n in zip(x.strides, x.shape, target[lead:]))
        return Ref(x.buffer, target, strides, x.offset)
    if op is shape.slice_axes:
        starts, sizes, steps = params["starts"], params["sizes"], params["steps"]
        offset = x.offset + sum(a * s for a, s, n in zip(starts, x.strides, sizes) if n)
        return Ref(x.buffer, tuple(sizes), tuple(s * k for s, k in zip(x.strides, steps)), offset)
    if op is shape.flip:
        axes = params["axis"]
        offset = x.offset + sum(x.strides[i] * (x.shape[i] - 1) for i in axes if x.shape[i])
        return Ref(x.buffer, x.shape, tuple(-s if i in axes else s for i, s in enumerate(x.strides)), offset)
    return None


VIEWS = (shape.reshape, shape.permute, shape.broadcast_to, shape.slice_axes, shape.flip)
ALIASES = (*VIEWS, shape.unstack)  # operations whose results lie in their operand's memory, or in a copy of it


def unreshaped(value: Value) -> Value:
    """The value that one is a reshape of: the same elements in the same order."""
    while value.node is not None and value.node.op is shape.reshape:
        value = value.node.operands[0]
    return value


def base(value: Value) -> Value:
    """The value in whose memory a view lies."""
    while value.node is not None and value.node.op in ALIASES:
        value = value.node.operands[0]
    return value


def unstacked(node: Node, x: Ref) -> list[Ref]:
    """References to the results of unstack."""
    axis = node.params["axis"]
    rest = tuple(n for i, n in enumerate(x.shape) if i != axis)
    strides = tuple(s for i, s in enumerate(x.strides) if i != axis)
    return [Ref(x.buffer, rest, strides, x.offset + k * x.strides[axis]) for k in range(x.shape[axis])]


def reshaped(x: Ref, target: tuple[int, ...]) -> Ref | None:
    """x under another shape, if its strides allow it: runs of axes that lie one after the other may be cut anew."""
    if x.size == 0:
        return Ref(x.buffer, target, None, x.offset)
    runs: list[list[int]] = []  # [elements, stride of the last]
    for n, step in zip(x.shape, x.strides, strict=True):
        if n == 1:
            continue
        if runs and runs[-1][1] == n * step:
            runs[-1] = [runs[-1][0] * n, step]
        else:
            runs.append([n, step])
    strides = []
    left, step = runs.pop() if runs else [1, 1]
    for n in reversed(target):
        if n == 1:
            strides.append(step)
            continue
        if left == 1:
            left, step = runs.pop()
        if left % n:
            return None
        strides.append(step)
        left //= n
        step *= n
    return Ref(x.buffer, target, tuple(reversed(strides)), x.offset)


def nbytes_of(value: Value) -> int:
    """Bytes of a dense buffer for a value."""
    return max(1, value.size) * value.dtype.itemsize
