"""Products of arrays, and their diagonals. ``knet.numpy`` and ``knet.numpy.linalg`` export them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from ..core import errors, shortcut
from ..core.array import Array
from ..core.aval import broadcast_shapes, size_of
from ..core.device import as_array
from ..core.ops import elementwise, reduce
from ..core.ops import linalg as ops
from ..core.ops import shape as shape_ops
from .manipulation import broadcast_to, canonical_axis, permute_dims, reshape, stack, unstack
from .statistics import sum

__all__ = [
    "cross",
    "diag",
    "diagonal",
    "dot",
    "einsum",
    "inner",
    "kron",
    "matmul",
    "multi_dot",
    "outer",
    "tensordot",
    "trace",
    "vdot",
    "vecdot",
]


@shortcut.of_two
def matmul(x: Any, w: Any, /) -> Array:
    """Matrix product over the last two axes.

    y[..., m, n] = sum over k of x[..., m, k] w[..., k, n]

    Args:
      x: [..., M, K] or [K]. w: [..., K, N] or [K]. Batch axes broadcast; a 1-d operand is a row or column that drops
        out of the result.

    Returns:
      [..., M, N].

    Raises:
      ShapeError: K differs.
    """
    x, w = elementwise.meet(as_array(x), as_array(w))
    if x.ndim == 2 and w.ndim == 2:
        return ops.matmul(x, w)
    if not x.ndim or not w.ndim or x.shape[-1] != w.shape[-2 if w.ndim > 1 else 0]:
        raise errors.matmul(x, w)
    if x.ndim <= 2 and w.ndim <= 2:
        return ops.matvec(x, w)
    if x.ndim == 1:
        y = ops.matmul(shape_ops.expand(x, (0,)), w)
        return reshape(y, (*y.shape[:-2], y.shape[-1]))
    if w.ndim <= 2:
        # One tall product instead of a batch, and one product for w's gradient instead of a batch to add up.
        tall = reshape(x, (size_of(x.shape[:-1]), x.shape[-1]))
        y = ops.matmul(tall, w) if w.ndim == 2 else ops.matvec(tall, w)
        return reshape(y, (*x.shape[:-1], *w.shape[1:]))
    return ops.matmul(x, w)


@shortcut.of_two
def dot(x: Any, w: Any, /) -> Array:
    """NumPy's dot product: over x's last axis and w's second-to-last (or only) one; scalars multiply."""
    x, w = elementwise.operands(x, w)
    if not x.ndim or not w.ndim:
        return elementwise.multiply(x, w)
    if (x.ndim <= 2 and w.ndim <= 2) or w.ndim == 1:
        return matmul(x, w)
    return tensordot(x, w, axes=([-1], [-2]))


@shortcut.of_two
def tensordot(x: Any, w: Any, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Array:
    """Sum of products over pairs of axes: the last ``axes`` of x with the first of w, or those listed in pairs.

    Returns:
      The remaining axes of x, then those of w.
    """
    x, w = as_array(x), as_array(w)
    if isinstance(axes, int):
        if not 0 <= axes <= min(x.ndim, w.ndim):
            raise errors.axis_out_of_range("tensordot", axes, min(x.ndim, w.ndim))
        left, right = list(range(x.ndim - axes, x.ndim)), list(range(axes))
    else:
        left = [canonical_axis(a, x.ndim, "tensordot") for a in axes[0]]
        right = [canonical_axis(a, w.ndim, "tensordot") for a in axes[1]]
    if len(left) != len(right) or [x.shape[i] for i in left] != [w.shape[i] for i in right]:
        raise errors.shape_argument(
            "tensordot", "axes", axes, f"x {list(x.shape)} and w {list(w.shape)} differ in the sizes paired",
            "pair axes of equal size",
        )  # fmt: skip
    rows = [i for i in range(x.ndim) if i not in left]
    columns = [i for i in range(w.ndim) if i not in right]
    k = size_of([x.shape[i] for i in left])
    a = reshape(permute_dims(x, rows + left), (size_of([x.shape[i] for i in rows]), k))
    b = reshape(permute_dims(w, right + columns), (k, size_of([w.shape[i] for i in columns])))
    return reshape(matmul(a, b), tuple([x.shape[i] for i in rows] + [w.shape[i] for i in columns]))


@shortcut.of_two
def outer(x: Any, w: Any, /) -> Array:
    """Outer product of two vectors: y[i, j] = x[i] w[j]. Inputs with more axes are raveled."""
    x, w = (reshape(v, (-1,)) for v in elementwise.operands(x, w))
    return elementwise.multiply(shape_ops.expand(x, (1,)), w)


@shortcut.of_two
def vecdot(x: Any, w: Any, /, *, axis: int = -1) -> Array:
    """Sum of products along one axis, conj(x) * w where complex; the other axes broadcast.

    Args:
      axis: negative, of one size in both.
    """
    x, w = as_array(x), as_array(w)
    if axis >= 0 or axis < -min(x.ndim, w.ndim):
        raise errors.axis_out_of_range("vecdot", axis, min(x.ndim, w.ndim))
    if x.shape[axis] != w.shape[axis]:
        raise errors.shape_argument(
            "vecdot", "axis", axis, f"x {list(x.shape)} and w {list(w.shape)} differ in size there", "pass equal sizes"
        )
    product = elementwise.multiply(ops.conj(x), w)
    return reduce.reduce_sum(product, axis=(product.ndim + axis,), keepdims=False)


@functools.lru_cache(1024)
def _einsum_plan(spec: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[tuple[int, ...], str], ...]:
    """Steps (positions of the operands, pairwise spec), in the order that opt_einsum finds cheapest."""
    inputs = spec.partition("->")[0]
    for term, shape in zip(inputs.split(","), shapes, strict=True):
        if len(term) != len(shape):
            raise errors.einsum(spec, f"operand {term!r} has {len(term)} letters and {len(shape)} axes, {list(shape)}")
    sizes: dict[str, int] = {}
    for letter, n in (
        (c, n) for term, shape in zip(inputs.split(","), shapes, strict=True) for c, n in zip(term, shape, strict=True)
    ):
        if sizes.setdefault(letter, n) != n and 1 not in (n, sizes[letter]):
            raise errors.einsum(spec, f"axis {letter!r} has sizes {sizes[letter]} and {n}")
        sizes[letter] = max(sizes[letter], n)
    if len(shapes) <= 2:
        return ((tuple(range(len(shapes))), spec),)
    import opt_einsum  # deferred: half as long to import as all of Knet's arrays, for three operands or more

    _, info = opt_einsum.contract_path(spec, *shapes, shapes=True, optimize="auto")
    return tuple((tuple(step[0]), step[2]) for step in info.contraction_list)


def einsum(spec: str, /, *operands: Any) -> Array:
    """Einstein summation: sum of products over the letters that the output lacks.

    Args:
      spec: such as "bhqd,bhkd->bhqk"; without "->" the letters that occur once, in alphabetical order; "..." stands
        for any leading axes.
      operands: one array for each term; contracted pairwise in the order that opt_einsum finds cheapest, each pair by
        one (batched) matrix product.

    Raises:
      ShapeError: letters and axes do not match.

    Example:
      >>> import knet.numpy as knp
      >>> knp.einsum("ij,kj->ik", knp.ones((2, 3)), knp.ones((4, 3))).shape
      (2, 4)
    """
    return _einsum(operands, spec)


@shortcut.of_several
def _einsum(operands: Sequence[Any], spec: str) -> Array:
    arrays = elementwise.meet(*(as_array(x) for x in operands))
    text = _explicit(spec.replace(" ", ""), [x.ndim for x in arrays])
    for positions, step in _einsum_plan(text, tuple(x.shape for x in arrays)):
        chosen = [arrays.pop(i) for i in sorted(positions, reverse=True)]
        if len(positions) == 2 and positions[0] < positions[1]:
            chosen.reverse()
        arrays.append(_contract(step, chosen))
    return arrays[0]


def _explicit(spec: str, ndims: list[int]) -> str:
    """The spec with an output, and letters in place of '...'."""
    inputs, arrow, output = spec.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ndims):
        raise errors.einsum(spec, f"{len(terms)} terms for {len(ndims)} operands")
    extra = [n - len(t.replace("...", "")) if "..." in t else 0 for t, n in zip(terms, ndims, strict=True)]
    if min(extra, default=0) < 0:
        raise errors.einsum(spec, "a term has more letters than its operand has axes")
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in spec]
    dots = "".join(free[: max(extra, default=0)])
    terms = [t.replace("...", dots[len(dots) - n :]) for t, n in zip(terms, extra, strict=True)]
    letters = "".join(terms)
    if any(not c.isalpha() for c in letters + output.replace("...", "")):
        raise errors.einsum(spec, "only letters, ',', '...' and '->' may occur")
    if arrow:
        if dots and "..." not in output:
            raise errors.einsum(spec, "the output lacks the '...' of the operands")
        output = output.replace("...", dots)
    else:
        output = dots + "".join(sorted(c for c in set(letters) - set(dots) if letters.count(c) == 1))
    if any(c not in letters for c in output) or len(set(output)) != len(output):
        raise errors.einsum(spec, f"the output {output!r} must name letters of the operands, each once")
    return f"{','.join(terms)}->{output}"


def _contract(step: str, arrays: list[Any]) -> Array:
    """One or two operands contracted."""
    inputs, _, output = step.partition("->")
    terms = inputs.split(",")
    simple = [_diagonals(t, x) for t, x in zip(terms, arrays, strict=True)]
    if len(simple) == 1:
        term, x = _sum_out(*simple[0], keep=output)
        return permute_dims(x, [term.index(c) for c in output])
    (ta, a), (tb, b) = simple
    ta, a = _sum_out(ta, a, keep=tb + output)
    tb, b = _sum_out(tb, b, keep=ta + output)
    batch = [c for c in ta if c in tb and c in output]
    summed = [c for c in ta if c in tb and c not in output]
    rows = [c for c in ta if c not in tb]
    columns = [c for c in tb if c not in ta]
    a = permute_dims(a, [ta.index(c) for c in batch + rows + summed])
    b = permute_dims(b, [tb.index(c) for c in batch + summed + columns])
    nb = len(batch)
    batch_sizes = broadcast_shapes(a.shape[:nb], b.shape[:nb])
    assert batch_sizes is not None
    sums = broadcast_shapes(a.shape[a.ndim - len(summed) :], b.shape[nb : nb + len(summed)])
    assert sums is not None
    row_sizes, column_sizes = a.shape[nb : nb + len(rows)], b.shape[nb + len(summed) :]
    a = broadcast_to(a, (*a.shape[:nb], *row_sizes, *sums))
    b = broadcast_to(b, (*b.shape[:nb], *sums, *column_sizes))
    m, k, n = size_of(row_sizes), size_of(sums), size_of(column_sizes)
    a = reshape(a, (*a.shape[:nb], m, k))
    b = reshape(b, (*b.shape[:nb], k, n))
    y = reshape(matmul(a, b) if nb else ops.matmul(a, b), (*batch_sizes, *row_sizes, *column_sizes))
    letters = batch + rows + columns
    return permute_dims(y, [letters.index(c) for c in output])


def _diagonals(term: str, x: Any) -> tuple[str, Any]:
    """Repeated letters of one operand reduced to one: the diagonal of those axes."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            i = term.index(letter)
            j = term.index(letter, i + 1)
            x = permute_dims(x, [*(k for k in range(x.ndim) if k not in (i, j)), i, j])
            term = "".join(c for k, c in enumerate(term) if k not in (i, j)) + letter
            x = diagonal(x, axis1=-2, axis2=-1)
    return term, x


def _sum_out(term: str, x: Any, keep: str) -> tuple[str, Any]:
    axes = tuple(i for i, c in enumerate(term) if c not in keep)
    if axes:
        x = reduce.reduce_sum(x, axis=axes, keepdims=False)
        term = "".join(c for c in term if c in keep)
    return term, x


@shortcut.of_two
def vdot(x: Any, w: Any, /) -> Array:
    """Sum of conj(x) * w over all elements."""
    return vecdot(reshape(x, (-1,)), reshape(w, (-1,)))


@shortcut.of_two
def inner(x: Any, w: Any, /) -> Array:
    """Sums of products over the last axes: y[i.., j..] = sum over k of x[i.., k] w[j.., k]; scalars multiply."""
    x, w = elementwise.operands(x, w)
    return tensordot(x, w, axes=([-1], [-1])) if x.ndim and w.ndim else elementwise.multiply(x, w)


def kron(x: Any, w: Any, /) -> Array:
    """Kronecker product: blocks of w, each times an element of x; the smaller number of axes is filled up with 1."""
    x, w = elementwise.operands(x, w)
    ndim = max(x.ndim, w.ndim)
    a, b = (1,) * (ndim - x.ndim) + x.shape, (1,) * (ndim - w.ndim) + w.shape
    y = elementwise.multiply(
        reshape(x, tuple(n for size in a for n in (size, 1))), reshape(w, tuple(n for size in b for n in (1, size)))
    )
    return reshape(y, tuple(m * n for m, n in zip(a, b, strict=True)))


def cross(x: Any, w: Any, /, *, axis: int = -1) -> Array:
    """Cross product of vectors of three elements: (x1 w2 - x2 w1, x2 w0 - x0 w2, x0 w1 - x1 w0).

    Args:
      x, w: of size 3 along ``axis``; the other axes broadcast.

    Raises:
      ShapeError: another size.
    """
    x, w = as_array(x), as_array(w)
    parts = []
    for v in (x, w):
        i = canonical_axis(axis, v.ndim, "cross")
        if v.shape[i] != 3:
            raise errors.shape_argument(
                "cross", "axis", axis, f"the vectors of {list(v.shape)} must have 3 elements", "fill up with zeros"
            )
        parts.append(unstack(v, axis=i if axis >= 0 else axis))
    (x0, x1, x2), (w0, w1, w2) = parts
    return stack([x1 * w2 - x2 * w1, x2 * w0 - x0 * w2, x0 * w1 - x1 * w0], axis=axis)


def multi_dot(arrays: Sequence[Any], /) -> Array:
    """Product of two or more matrices in the cheapest order; the first may be a row, the last a column, of one axis.

    Raises:
      ShapeError: fewer than two, or sizes that do not fit.
    """
    xs = [as_array(x) for x in arrays]
    if len(xs) < 2:
        raise errors.shape_argument("multi_dot", "arrays", len(xs), "two or more are multiplied", "pass a list of them")
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    terms = [letters[i : i + 2] for i in range(len(xs))]
    if xs[0].ndim == 1:
        terms[0] = terms[0][1]
    if xs[-1].ndim == 1:
        terms[-1] = terms[-1][0]
    joined = "".join(terms)
    return einsum(f"{','.join(terms)}->{''.join(c for c in joined if joined.count(c) == 1)}", *xs)


# --- diagonals --------------------------------------------------------------------------------------------------------


@shortcut.of_one
def diagonal(x: Any, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The elements x[i, i + offset] of two axes, along a new last axis."""
    x = as_array(x)
    i, j = (canonical_axis(a, x.ndim, "diagonal") for a in (axis1, axis2))
    if i == j:
        raise errors.repeated_axis("diagonal", (axis1, axis2))
    x = permute_dims(x, [*(k for k in range(x.ndim) if k not in (i, j)), i, j])
    *batch, m, n = x.shape
    start = offset if offset >= 0 else -offset * n
    count = max(0, min(m, n - offset) if offset >= 0 else min(m + offset, n))
    zeros, ones = (0,) * len(batch), (1,) * len(batch)
    flat = reshape(x, (*batch, m * n))
    return shape_ops.slice_axes(flat, starts=(*zeros, start), sizes=(*batch, count), steps=(*ones, n + 1))


def diag(x: Any, /, k: int = 0) -> Array:
    """Matrix with x on its k-th diagonal, for x with one axis; the k-th diagonal of x, for a matrix."""
    x = as_array(x)
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise errors.shape_argument("diag", "x", list(x.shape), "it has one axis or two", "use linalg.diagonal")
    n = x.shape[0] + abs(k)
    start = k if k >= 0 else -k * n
    return reshape(shape_ops.unslice(x, shape=(n * n,), starts=(start,), steps=(n + 1,)), (n, n))


@shortcut.of_one
def trace(x: Any, /, offset: int = 0, axis1: int = 0, axis2: int = 1, *, dtype: Any = None) -> Array:
    """Sum of a diagonal; small integers add up in the default integer type, as in :func:`sum`."""
    return sum(diagonal(x, offset, axis1, axis2), axis=-1, dtype=dtype)
