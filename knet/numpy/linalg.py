"""Products and norms: ``knet.numpy.linalg``, and the products that knet.numpy exports."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from ..core import dtypes, errors
from ..core.array import Array
from ..core.aval import broadcast_shapes, size_of
from ..core.device import as_array
from ..core.ops import elementwise, reduce
from ..core.ops import linalg as ops
from ..core.ops import shape as shape_ops
from .manipulation import broadcast_to, canonical_axes, canonical_axis, matrix_transpose, permute_dims, reshape

__all__ = ["matmul", "matrix_transpose", "norm", "outer", "tensordot", "vecdot", "vector_norm"]


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
    if x.ndim == 1 or w.ndim == 1:
        a = shape_ops.expand(x, (0,)) if x.ndim == 1 else x
        b = shape_ops.expand(w, (1,)) if w.ndim == 1 else w
        y = matmul(a, b)
        drop = ((y.ndim - 2,) if x.ndim == 1 else ()) + ((y.ndim - 1,) if w.ndim == 1 else ())
        return reshape(y, tuple(n for i, n in enumerate(y.shape) if i not in drop))
    if w.ndim == 2:
        # One tall product instead of a batch, and one product for w's gradient instead of a batch to add up.
        tall = reshape(x, (size_of(x.shape[:-1]), x.shape[-1]))
        return reshape(ops.matmul(tall, w), (*x.shape[:-1], w.shape[-1]))
    return ops.matmul(x, w)


def dot(x: Any, w: Any, /) -> Array:
    """NumPy's dot product: over x's last axis and w's second-to-last (or only) one; scalars multiply."""
    x, w = as_array(x), as_array(w)
    if not x.ndim or not w.ndim:
        return elementwise.multiply(x, w)
    if (x.ndim <= 2 and w.ndim <= 2) or w.ndim == 1:
        return matmul(x, w)
    return tensordot(x, w, axes=([-1], [-2]))


def tensordot(x: Any, w: Any, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Array:
    """Sum of products over pairs of axes: the last ``axes`` of x with the first of w, or those listed in pairs.

    Returns:
      The remaining axes of x, then those of w.
    """
    x, w = as_array(x), as_array(w)
    if isinstance(axes, int):
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


def outer(x: Any, w: Any, /) -> Array:
    """Outer product of two vectors: y[i, j] = x[i] w[j]. Inputs with more axes are raveled."""
    x, w = reshape(x, (-1,)), reshape(w, (-1,))
    return elementwise.multiply(shape_ops.expand(x, (1,)), w)


def vecdot(x: Any, w: Any, /, *, axis: int = -1) -> Array:
    """Sum of products along one axis; the others broadcast."""
    x, w = as_array(x), as_array(w)
    if axis >= 0 or axis < -min(x.ndim, w.ndim):
        raise errors.axis_out_of_range("vecdot", axis, min(x.ndim, w.ndim))
    product = elementwise.multiply(x, w)
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
            n = x.shape[-1]
            flat = reshape(x, (*x.shape[:-2], n * n))
            zeros, ones = (0,) * (flat.ndim - 1), (1,) * (flat.ndim - 1)
            x = shape_ops.slice_axes(flat, starts=(*zeros, 0), sizes=(*flat.shape[:-1], n), steps=(*ones, n + 1))
    return term, x


def _sum_out(term: str, x: Any, keep: str) -> tuple[str, Any]:
    axes = tuple(i for i, c in enumerate(term) if c not in keep)
    if axes:
        x = reduce.reduce_sum(x, axis=axes, keepdims=False)
        term = "".join(c for c in term if c in keep)
    return term, x


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Array:
    """Norm of the elements over axes: (sum |x| ** ord) ** (1 / ord); inf and -inf: largest, smallest |x|; 0: count.

    The derivative at x = 0 is 0.
    """
    x = as_array(x)
    x = elementwise.cast(x, dtypes.to_float(x.dtype))
    axes = canonical_axes(axis, x.ndim, "vector_norm")
    if ord == 2:
        total = reduce.reduce_sum(elementwise.square(x), axis=axes, keepdims=keepdims)
        return _safe_root(total)
    size = elementwise.abs(x)
    if ord == math.inf:
        return reduce.reduce_max(size, axis=axes, keepdims=keepdims)
    if ord == -math.inf:
        return reduce.reduce_min(size, axis=axes, keepdims=keepdims)
    if ord == 0:
        nonzero = elementwise.cast(elementwise.not_equal(x, 0), x.dtype)
        return reduce.reduce_sum(nonzero, axis=axes, keepdims=keepdims)
    if ord == 1:
        return reduce.reduce_sum(size, axis=axes, keepdims=keepdims)
    total = reduce.reduce_sum(size ** float(ord), axis=axes, keepdims=keepdims)
    zero = elementwise.equal(total, 0)
    return elementwise.where(zero, 0.0, elementwise.where(zero, 1.0, total) ** (1.0 / ord))


def _safe_root(total: Any) -> Any:
    """Root whose derivative at 0 is 0: the singular branch is replaced before it is taken."""
    zero = elementwise.equal(total, 0)
    return elementwise.where(zero, 0.0, elementwise.sqrt(elementwise.where(zero, 1.0, total)))


def norm(x: Any, /, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """Norm of a vector, or the Frobenius norm of a matrix; see :func:`vector_norm` for ``ord``."""
    x = as_array(x)
    matrix = x.ndim == 2 if axis is None else isinstance(axis, (tuple, list)) and len(axis) == 2
    if ord not in (None, "fro") and matrix:
        raise errors.argument("norm", "ord", ord, "of a matrix only the Frobenius norm is supported", "use ord='fro'")
    return vector_norm(x, axis=axis, keepdims=keepdims, ord=2 if ord in (None, "fro") else ord)
