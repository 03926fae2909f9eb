"""One matrix product to be printed: sizes and strides in a common form, arithmetic of its dtype, what surrounds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...core import dtypes
from ..layout import Ref
from ..scalar import HALF, c_type, loaded, register_type, rounded, stored
from .kernel import Writer

Epilogue = Callable[[Writer, str, str, str], str]
"""(writer, value, row, column) -> C statements that take the place of storing an element of y.

``value`` is the element as its dtype holds it, in the dtype of arithmetic; ``row`` counts the rows of all matrices of a
stack, batch * M + m. Each element is passed once. The statements may name arrays through the writer.
"""

Elements = Callable[[Writer, str, str], str]
"""(writer, row, k) -> C expression of an element of x in the dtype of arithmetic, for an x that is nowhere in memory.
``row`` counts the rows of all matrices of a stack."""


class Arithmetic(NamedTuple):
    """How products of a dtype are summed.

    Attributes:
      dtype: of the operands and the result.
      sums: dtype of the sums: float32 for half types; unsigned for integers, whose sums wrap; words for truth values.
    """

    dtype: Any
    sums: Any

    @staticmethod
    def of(dtype: Any) -> Arithmetic:
        """The arithmetic of a dtype that kernels compute with."""
        if dtype.name in HALF:
            return Arithmetic(dtype, dtypes.float32)
        if dtype.kind in "iub":
            return Arithmetic(dtype, dtypes.uint64 if dtype.itemsize == 8 else dtypes.uint32)
        return Arithmetic(dtype, dtype)

    @property
    def native(self) -> bool:
        """Whether elements in memory are summed as they are."""
        return self.dtype == self.sums

    @property
    def type(self) -> str:
        """C type of sums."""
        return c_type(self.sums)

    @property
    def stored(self) -> str:
        """C type of elements in memory."""
        return c_type(self.dtype)

    def load(self, text: str) -> str:
        """An element in memory, as a term of sums."""
        return text if self.native else f"({self.type}){loaded(text, self.dtype)}"

    def mac(self, total: str, x: str, y: str) -> str:
        """Statement that adds a product."""
        if self.dtype == dtypes.bool_:
            return f"{total} |= {x} & {y};"
        if self.dtype.kind in "iu":
            return f"{total} += {x} * {y};"
        return f"{total} = fma({x}, {y}, {total});"

    def value(self, total: str) -> str:
        """A sum as the result's dtype holds it, in the dtype of arithmetic."""
        if self.dtype.name in HALF:
            return rounded(total, self.dtype)
        return total if self.native else f"({register_type(self.dtype)}){total}"

    def store(self, total: str) -> str:
        """A sum as what is written to memory."""
        if self.dtype.name in HALF:
            return stored(total, self.dtype)
        return total if self.native else f"({self.stored}){total}"


class Axis(NamedTuple):
    """An axis of the batch: its size, and strides of x, w and y."""

    size: int
    x: int
    w: int
    y: int


class Contraction:
    """y[..., m, n] = sum_k x[..., m, k] w[..., k, n], with the axes of the batch merged where strides allow it.

    Where w is the same for the whole batch, its axes are rows of x. Where only y's columns lie contiguous, or where a
    vector is multiplied by a matrix whose rows run along the result, x and w are exchanged: the transpose is computed.

    Args:
      x: [..., M, K].
      w: [..., K, N].
      y: [..., M, N]; batch axes of x and w broadcast to its.
      epilogue: what is done with each element; None stores it in y.
      elements: x's elements as C text; x then tells the shape only.
    """

    def __init__(
        self, x: Ref, w: Ref, y: Ref, epilogue: Epilogue | None = None, elements: Elements | None = None
    ) -> None:
        *batch, self.m, self.n = y.shape
        self.k = x.shape[-1]
        self.x, self.w, self.y = x, w, y
        self.epilogue, self.elements = epilogue, elements
        self.arithmetic = Arithmetic.of(w.dtype)
        self.xm, self.xk = x.strides[-2:]
        self.wk, self.wn = w.strides[-2:]
        self.ym, self.yn = y.strides[-2:]
        axes = zip(batch, *(_batch_strides(ref, batch) for ref in (x, w, y)))
        self.batch = _merged([Axis(*axis) for axis in axes if axis[0] != 1])
        self._single()
        if epilogue is None and elements is None:
            self._fold()
            if (self.yn != 1 and self.ym == 1) or (self.n == 1 < self.m and self.xm == 1 != self.xk):
                self._exchange()

    def _single(self) -> None:
        """Strides of axes of size one do not matter: they are made those that most kernels are for."""
        if self.n == 1:
            self.wn = self.yn = 1
        if self.k == 1:
            self.xk = 1

    def _fold(self) -> None:
        """The last axis of the batch becomes rows, where w does not depend on it and strides allow it."""
        while self.batch and self.batch[-1].w == 0:
            axis = self.batch[-1]
            if self.m == 1:
                self.xm, self.ym = axis.x, axis.y
            elif axis.x != self.m * self.xm or axis.y != self.m * self.ym:
                return
            self.m *= axis.size
            self.batch.pop()

    def _exchange(self) -> None:
        self.x, self.w = self.w, self.x
        self.m, self.n = self.n, self.m
        self.xm, self.xk, self.wk, self.wn = self.wn, self.wk, self.xk, self.xm
        self.ym, self.yn = self.yn, self.ym
        self.batch = [Axis(axis.size, axis.w, axis.x, axis.y) for axis in self.batch]
        self._single()

    @property
    def count(self) -> int:
        """Matrices of the batch."""
        count = 1
        for axis in self.batch:
            count *= axis.size
        return count

    @property
    def work(self) -> int:
        """Products that are summed."""
        return self.count * self.m * self.n * self.k

    @property
    def text(self) -> str:
        """What is computed, for people."""
        lead = f"{self.count} x " if self.count > 1 else ""
        return f"product {lead}[{self.m}, {self.k}] [{self.k}, {self.n}] {self.arithmetic.dtype.name}"


def _batch_strides(ref: Ref, batch: list[int]) -> list[int]:
    """Strides of the batch, 0 along axes that broadcast."""
    lead = len(batch) - (len(ref.shape) - 2)
    own = [s if n == size else 0 for n, s, size in zip(ref.shape, ref.strides, batch[lead:])]
    return [0] * lead + own


def _merged(axes: list[Axis]) -> list[Axis]:
    """As few axes as the strides allow."""
    merged: list[Axis] = []
    for axis in axes:
        last = merged[-1] if merged else None
        if last and all(last[i] == axis[i] * axis.size for i in (1, 2, 3)):
            merged[-1] = Axis(last.size * axis.size, *axis[1:])
        else:
            merged.append(axis)
    return merged


# --- text that both forms share ---------------------------------------------------------------------------------------


def number(w: Writer, value: int) -> str:
    """C text of a stride: 0 and 1 are structure, and stand in the text of every kernel."""
    return str(value) if value in (0, 1) else w.number(value)


def at(*terms: tuple[str, str]) -> str:
    """C text of a sum of indices times strides."""
    texts = [index if step == "1" else f"({index}) * {step}" for index, step in terms if "0" not in (index, step)]
    return " + ".join(texts) or "0"


def batch_places(w: Writer, batch: list[Axis], item: str) -> tuple[str, str, str]:
    """C texts of where matrix ``item`` of the batch begins in x, w and y."""
    terms: tuple[list[tuple[str, str]], ...] = ([], [], [])
    inner = ""
    for i, axis in reversed(list(enumerate(batch))):
        size = w.number(axis.size) if len(batch) > 1 else ""
        index = f"{item} / ({inner})" if inner else item
        if i:
            index = f"({index}) % {size}"
        inner = f"{inner} * {size}" if inner else size
        for strides, step in zip(terms, axis[1:]):
            strides.append((index, number(w, step)))
    x, w_, y = (at(*reversed(strides)) for strides in terms)
    return x, w_, y
