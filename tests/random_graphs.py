"""Random functions of arrays whose every result is exact, so that compiled and eager results are equal or wrong.

All numbers are whole and small: sums, products, maxima and casts of them have no rounding in any dtype, and no order
of additions matters. A function makes its choices from a seed and from shapes alone, so that it does the same traced.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import knet.numpy as knp

DTYPES = ("float32", "float32", "float32", "float64", "int32", "int64", "bool")
_LARGE = 1 << 18  # numbers beyond are clipped, so that sums of them are exact in float32
_MOST = 6000  # elements of an array


class Drawn:
    """An array with a bound of its numbers."""

    def __init__(self, array: Any, bound: float) -> None:
        self.array, self.bound = array, bound
        if bound > _LARGE:
            self.array, self.bound = knp.clip(array, -9, 9), 9


class Maker:
    """One random function: ``inputs`` as NumPy arrays, and a call that computes its results from arrays of them."""

    def __init__(self, seed: int, length: int = 14, products: bool = True) -> None:
        self.seed, self.length = seed, length
        self.kinds: tuple[Callable[..., Any], ...] = (
            self.unary, self.binary, self.binary, self.binary, self.compare, self.select, self.cast, self.permute,
            self.reshape, self.broadcast, self.cut, self.flip, self.reduce, self.reduce, self.reduce, self.centre,
            self.join, self.rows,
        )  # fmt: skip
        if products:
            self.kinds += (self.product,)
        rng = np.random.default_rng(seed)
        self.dims = [int(n) for n in rng.choice([1, 2, 3, 4, 5, 8, 16, 17, 33], int(rng.integers(1, 4)))]
        if rng.random() < 0.3:
            self.dims[0] = self.dims[-1]  # equal sizes are easily taken for one another
        self.inputs = []
        for _ in range(int(rng.integers(1, 4))):
            shape = [n for n in self.dims if rng.random() < 0.8]
            shape = [n if rng.random() < 0.9 else 1 for n in rng.permutation(shape).tolist()]
            dtype = str(rng.choice(DTYPES))
            low, high = (0, 2) if dtype == "bool" else (-4, 5)
            self.inputs.append(rng.integers(low, high, shape).astype(dtype))

    def __call__(self, *arrays: Any) -> list[Any]:
        self.rng = np.random.default_rng([self.seed, 1])
        self.values = [Drawn(x, 4) for x in arrays]
        made = 0
        while made < self.length:
            kind = self.kinds[int(self.rng.integers(len(self.kinds)))]
            y = kind()
            if y is not None and y.array.size <= _MOST:
                self.values.append(y)
                made += 1
        some = [v.array for v in self.values if self.rng.random() < 0.15]
        return [*some, self.values[-1].array]

    # --- choices ------------------------------------------------------------------------------------------------------

    def pick(self) -> Drawn:
        """A value; recent ones more often."""
        n = len(self.values)
        i = n - 1 - int(self.rng.integers(1 + self.rng.integers(n)))
        return self.values[i]

    def number(self, n: int) -> int:
        return int(self.rng.integers(n))

    def same(self, x: Drawn, dtype: Any) -> Drawn:
        """x in a dtype."""
        if x.array.dtype == dtype:
            return x
        return Drawn(x.array.astype(dtype), 1 if dtype == np.bool_ else x.bound)

    def arithmetic(self, x: Drawn) -> Drawn:
        """x, which is no truth value."""
        return self.same(x, np.dtype("float32")) if x.array.dtype == np.bool_ else x

    def fitting(self, x: Drawn) -> Any:
        """Another value, or a number, that broadcasts with x."""
        if self.number(5) == 0:
            return float(self.number(7) - 3) if x.array.dtype.kind == "f" else self.number(7) - 3
        for _ in range(6):
            y = self.pick()
            shape = y.array.shape
            try:
                np.broadcast_shapes(shape, x.array.shape)
            except ValueError:
                axes = [int(i) for i in self.rng.permutation(len(shape))]
                y = Drawn(knp.permute_dims(y.array, axes), y.bound)
                try:
                    np.broadcast_shapes(y.array.shape, x.array.shape)
                except ValueError:
                    continue
            return self.same(y, x.array.dtype)
        return x

    # --- operations ---------------------------------------------------------------------------------------------------

    def unary(self) -> Drawn:
        x = self.arithmetic(self.pick())
        f = (knp.negative, knp.abs, knp.square, lambda a: knp.maximum(a, 0))[self.number(4)]
        return Drawn(f(x.array), x.bound**2 if f is knp.square else x.bound)

    def binary(self) -> Drawn:
        x = self.arithmetic(self.pick())
        y = self.fitting(x)
        bound = y.bound if isinstance(y, Drawn) else abs(y)
        other = y.array if isinstance(y, Drawn) else y
        if self.number(4) == 0 and bound * x.bound < 1 << 22:
            return Drawn(x.array * other, x.bound * bound)
        f = (knp.add, knp.subtract, knp.maximum, knp.minimum, knp.add)[self.number(5)]
        a, b = (x.array, other) if self.number(2) else (other, x.array)
        return Drawn(f(a, b), x.bound + bound)

    def compare(self) -> Drawn:
        x = self.arithmetic(self.pick())
        y = self.fitting(x)
        f = (knp.less, knp.greater_equal, knp.equal, knp.not_equal)[self.number(4)]
        return Drawn(f(x.array, y.array if isinstance(y, Drawn) else y), 1)

    def select(self) -> Drawn:
        x = self.arithmetic(self.pick())
        y, c = self.fitting(x), self.fitting(x)
        bound = y.bound if isinstance(y, Drawn) else abs(y)
        other = y.array if isinstance(y, Drawn) else y
        if not isinstance(c, Drawn):
            return x
        try:
            shape = np.broadcast_shapes(c.array.shape, x.array.shape, np.shape(other))
        except ValueError:
            return x
        return Drawn(knp.where(c.array > 0, x.array, other), max(x.bound, bound)) if math.prod(shape) <= _MOST else x

    def cast(self) -> Drawn:
        x = self.pick()
        return self.same(x, np.dtype(DTYPES[self.number(len(DTYPES))]))

    def permute(self) -> Drawn:
        x = self.pick()
        return Drawn(knp.permute_dims(x.array, [int(i) for i in self.rng.permutation(x.array.ndim)]), x.bound)

    def reshape(self) -> Drawn:
        x = self.pick()
        n, shape = x.array.size, []
        while n > 1 and self.number(4):
            k = next((k for k in self.rng.permutation([2, 3, 4, 5, 8, 16, 17, 33]).tolist() if n % k == 0), n)
            shape.append(k)
            n //= k
        shape.append(n)
        for _ in range(self.number(2)):
            shape.insert(self.number(len(shape) + 1), 1)
        return Drawn(x.array.reshape(tuple(shape)), x.bound)

    def broadcast(self) -> Drawn | None:
        x = self.pick()
        lead = [self.dims[self.number(len(self.dims))] for _ in range(self.number(2))]
        shape = [
            self.dims[self.number(len(self.dims))] if n == 1 and self.number(2) else n for n in x.array.shape
        ]  # fmt: skip
        shape = [*lead, *shape]
        return Drawn(knp.broadcast_to(x.array, tuple(shape)), x.bound) if math.prod(shape) <= _MOST else None

    def cut(self) -> Drawn:
        x = self.pick()
        parts = []
        for n in x.array.shape:
            start = self.number(n) if self.number(2) else 0
            stop = start + 1 + self.number(n - start) if self.number(2) else n
            parts.append(slice(start, stop, 1 + self.number(3) // 2))
        return Drawn(x.array[tuple(parts)], x.bound)

    def flip(self) -> Drawn:
        x = self.pick()
        if x.array.ndim == 0:
            return x
        return Drawn(knp.flip(x.array, axis=self.number(x.array.ndim)), x.bound)

    def axes(self, x: Drawn) -> tuple[int, ...]:
        return tuple(i for i in range(x.array.ndim) if self.number(2))

    def reduce(self) -> Drawn:
        x = self.arithmetic(self.pick())
        axes, keep = self.axes(x), bool(self.number(2))
        kind = self.number(4)
        if kind < 2:
            if x.bound * x.array.size > 1 << 22:
                x = Drawn(knp.clip(x.array, -9, 9), 9)
            count = math.prod(x.array.shape[i] for i in axes)
            return Drawn(knp.sum(x.array, axis=axes, keepdims=keep).astype(x.array.dtype), x.bound * count)
        return Drawn((knp.max, knp.min)[kind - 2](x.array, axis=axes, keepdims=keep), x.bound)

    def centre(self) -> Drawn:
        """x less its maximum along some axes: a reduction that is used where it was made."""
        x = self.arithmetic(self.pick())
        axes = self.axes(x)
        return Drawn(x.array - knp.max(x.array, axis=axes, keepdims=True), 2 * x.bound)

    def join(self) -> Drawn | None:
        x = self.pick()
        if x.array.ndim == 0:
            return None
        axis = self.number(x.array.ndim)
        others = [v for v in self.values if _besides(v.array.shape, axis) == _besides(x.array.shape, axis)]
        y = self.same(others[self.number(len(others))], x.array.dtype)
        return Drawn(
            knp.concatenate([x.array, y.array, x.array][: 2 + self.number(2)], axis=axis), max(x.bound, y.bound)
        )

    def rows(self) -> Drawn | None:
        x = self.pick()
        if x.array.ndim == 0:
            return None
        places = [self.number(x.array.shape[0]) for _ in range(1 + self.number(6))]
        return Drawn(knp.take(x.array, knp.asarray(places), axis=0), x.bound)

    def product(self) -> Drawn | None:
        x = self.same(self.pick(), np.dtype("float32"))
        y = self.same(self.pick(), np.dtype("float32"))
        if x.array.ndim < 2 or y.array.ndim < 2:
            return None
        for b in (y.array, knp.swapaxes(y.array, -1, -2)):
            if b.shape[-2] == x.array.shape[-1] and (b.ndim == 2 or b.shape[:-2] == x.array.shape[:-2]):
                bound = x.bound * y.bound * b.shape[-2]
                if bound < 1 << 23:
                    return Drawn(x.array @ b, bound)
        return None


def _besides(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """Rank and sizes without one axis."""
    return (len(shape), *shape[:axis], *shape[axis + 1 :])
