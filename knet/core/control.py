"""Control flow whose shape a compiler can keep: cond, switch, while_loop, fori_loop, scan, map, associative_scan.

Evaluated eagerly each is the Python statement that it replaces, so every transformation follows it step by step. While
a graph is written (knet.jit), it is handed to the graph's trace as a whole and becomes one operation. What they add to
Python's own statements: types are checked where a step hands over to the next, conditions may be batched by
vmap (both branches are computed, then selected), and reverse mode through an unbounded loop is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import dtypes, errors, tree
from .abstract import AbstractTracer
from .array import Array
from .aval import aval_of
from .batch import BatchTracer
from .device import as_array
from .ops import elementwise, shape
from .reverse import ReverseTracer
from .trace import Tracer, ValueTracer, staging

__all__ = ["associative_scan", "cond", "fori_loop", "map", "scan", "switch", "while_loop"]


def cond(predicate: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any) -> Any:
    """``true_fun(*operands)`` if the predicate holds, else ``false_fun(*operands)``.

    Args:
      predicate: scalar boolean (a number counts as true unless zero).
      true_fun, false_fun: functions that return like structures, shapes and dtypes.
      operands: pytrees of arrays.

    Under vmap with a batched predicate both functions are computed and the result selected, example by example.

    Raises:
      TreeError: the branches' results differ; the message names the place.
    """
    predicate = as_array(predicate, "cond")
    if predicate.shape != ():
        raise errors.not_a_predicate("cond", predicate)
    if not _is_many(predicate):
        if _is_staged(predicate):
            index = elementwise.cast(elementwise.not_equal(predicate, 0), dtypes.default_int)
            return _staged_switch("cond", index, (false_fun, true_fun), operands)
        return (true_fun if predicate else false_fun)(*operands)
    return _select("cond", elementwise.not_equal(predicate, 0), true_fun(*operands), false_fun(*operands))


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """``branches[index](*operands)``, with the index limited to [0, len(branches) - 1].

    Raises:
      TreeError: the branches' results differ (seen where the index is batched, as all are computed then).
    """
    if not branches:
        raise errors.argument("switch", "branches", branches, "at least one branch is needed", "pass a function")
    index = as_array(index, "switch")
    if index.shape != () or index.dtype.kind not in "iu":
        raise errors.argument(
            "switch",
            "index",
            errors.describe(index),
            "it must be a scalar integer",
            "pass an int, or index.astype(int)",
        )
    last = len(branches) - 1
    if _is_staged(index):
        return _staged_switch("switch", elementwise.minimum(elementwise.maximum(index, 0), last), branches, operands)
    if not _is_many(index):
        return branches[min(max(int(index), 0), last)](*operands)
    result = branches[last](*operands)
    for i in reversed(range(last)):
        result = _select("switch", elementwise.less_equal(index, i), branches[i](*operands), result)
    return result


def while_loop(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init: Any) -> Any:
    """``carry = init; while cond_fun(carry): carry = body_fun(carry)``.

    Args:
      cond_fun: carry -> scalar boolean.
      body_fun: carry -> carry of the same structure, shapes and dtypes.
      init: pytree of arrays.

    Under vmap the loop runs until every example is done; those that are keep their carry. Forward mode works; reverse
    mode would have to keep an unknown number of steps.

    Raises:
      TreeError: the body changes the carry's type; the message names the place.
      NotDifferentiable: reverse mode reaches the loop.
    """
    carry = tree.map(lambda x: as_array(x, "while_loop"), init)
    name = getattr(body_fun, "__name__", "body_fun")
    if staging.get() is not None:
        return _staged_while(name, cond_fun, body_fun, carry)
    while True:
        _refuse_reverse(name, carry)
        going = _condition(cond_fun, carry)
        abstract = _is_abstract(going)
        batched = _is_many(going)
        if not (abstract or _any_example(going)):
            return carry
        new = _checked_carry("while_loop", carry, body_fun(carry))
        _refuse_reverse(name, new)
        carry = _select("while_loop", elementwise.not_equal(going, 0), new, carry) if batched else new
        if abstract:  # the type does not change from here on
            return carry


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init: Any) -> Any:
    """``carry = init; for i in range(lower, upper): carry = body_fun(i, carry)``.

    With Python integers as bounds the number of steps is known, and reverse mode works; with arrays it is a while_loop.

    Raises:
      TreeError: the body changes the carry's type.
    """
    if not (isinstance(lower, (int, np.integer)) and isinstance(upper, (int, np.integer))):
        _, result = while_loop(
            lambda c: elementwise.less(c[0], upper),
            lambda c: (c[0] + 1, body_fun(c[0], c[1])),
            (as_array(lower), init),
        )
        return result
    carry = tree.map(lambda x: as_array(x, "fori_loop"), init)
    if staging.get() is not None and int(upper) - int(lower) > 1:
        steps = as_array(np.arange(int(lower), int(upper)))
        name = getattr(body_fun, "__name__", "body_fun")
        return _staged_scan("fori_loop", name, lambda c, i: (body_fun(i, c), None), carry, steps, False)[0]
    for i in range(int(lower), int(upper)):
        carry = _checked_carry("fori_loop", carry, body_fun(as_array(i), carry))
    return carry


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Loop over the leading axis with a carry: ``carry, y = f(carry, x)`` for each x of xs.

    Args:
      f: (carry, x) -> (carry of the same type, y).
      init: pytree of arrays, the first carry.
      xs: pytree of arrays [T, ...], or None.
      length: T, needed where xs is None.
      reverse: from the last x to the first.

    Returns:
      (last carry, ys): ys is the pytree of all y stacked, [T, ...], y of x[t] at t.

    Raises:
      TreeError: the carry changes its type, or the ys differ; the message names the place.
      ShapeError: leading axes of different sizes, or none and no length.

    Example:
      >>> import knet, knet.numpy as knp
      >>> knet.scan(lambda c, x: (c + x, c + x), 0.0, knp.asarray([1.0, 2.0, 3.0]))
      (Array(6., dtype=float32), Array([1., 3., 6.], dtype=float32))
    """
    leaves, structure = tree.flatten(xs)
    leaves = [as_array(x, "scan") for x in leaves]
    steps = _scan_length(leaves, tree.paths(xs), length)
    carry = tree.map(lambda x: as_array(x, "scan"), init)
    if staging.get() is not None and steps > 1:
        xs = tree.unflatten(structure, leaves)
        return _staged_scan("scan", getattr(f, "__name__", "f"), f, carry, xs, reverse, steps)
    slices = [shape.unstack(x, axis=0) for x in leaves]
    rows: list[Any] = [None] * steps
    out_structure = None
    for t in range(steps)[:: -1 if reverse else 1]:
        result = f(carry, tree.unflatten(structure, [s[t] for s in slices]))
        carry = _checked_carry("scan", carry, _pair(result)[0])
        y_leaves, y_structure = tree.flatten(result[1])
        if out_structure is not None and y_structure != out_structure:
            raise errors.tree_mismatch(f"scan: y in step {t}", y_structure, out_structure, _ONE_TYPE)
        out_structure = y_structure
        rows[t] = [as_array(y, "scan") for y in y_leaves]
    if out_structure is None:
        return carry, _no_steps(f, carry, structure, leaves)
    paths = tree.paths(tree.unflatten(out_structure, rows[0]))
    return carry, tree.unflatten(out_structure, [_stack(p, ys) for p, ys in zip(paths, zip(*rows))])


def _pair(result: Any) -> Any:
    if not (isinstance(result, tuple) and len(result) == 2):
        raise errors.tree_mismatch(
            "scan: the result of f", type(result).__name__, "a pair (carry, y)", "return carry, y"
        )
    return result


def _no_steps(f: Any, carry: Any, structure: Any, leaves: Sequence[Array]) -> Any:
    """ys of a scan without steps: run f once on zeros to learn what it returns, and keep none of it."""
    zero = [shape.broadcast_to(as_array(0).astype(x.dtype), shape=x.shape[1:]) for x in leaves]
    _, y = f(carry, tree.unflatten(structure, zero))
    return tree.map(
        lambda v: shape.broadcast_to(as_array(0).astype(as_array(v).dtype), shape=(0, *as_array(v).shape)), y
    )


_ONE_TYPE = "return a y of one structure, shape and dtype in every step"


def _scan_length(leaves: Sequence[Array], paths: Sequence[str], length: int | None, where: str = "scan") -> int:
    lengths = {"length": length} if length is not None else {}
    for path, x in zip(paths, leaves, strict=True):
        if not x.shape:
            raise errors.zero_dim_iteration(f"{where}: xs{path}")
        lengths[f"xs{path}"] = x.shape[0]
    if not lengths:
        raise errors.scan_needs_length()
    if len(set(lengths.values())) > 1:
        raise errors.scan_lengths(lengths, where)
    return next(iter(lengths.values()))


def _stack(path: str, ys: Sequence[Array]) -> Array:
    for t, y in enumerate(ys):
        if aval_of(y) != aval_of(ys[0]):
            raise errors.tree_mismatch(f"scan: y{path} in step {t}", aval_of(y), aval_of(ys[0]), _ONE_TYPE)
    return shape.concatenate(*[shape.expand(y, (0,)) for y in ys], axis=0)


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """``f(x)`` for each x of the leading axis, one after the other; :func:`knet.vmap` does them at once."""
    return scan(lambda carry, x: (carry, f(x)), None, xs)[1]


def associative_scan(fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All prefixes combined: ``y[t] = fn(y[t-1], x[t])``, in about log2(T) calls of an associative ``fn``.

    Args:
      fn: (a, b) -> combination, on pytrees of arrays with any leading sizes, elementwise along the axis.
      elems: pytree of arrays, [..., T, ...].
      reverse: suffixes in place of prefixes.
      axis: where T stands.

    References:
      Hillis and Steele 1986, "Data parallel algorithms".
    """
    leaves, structure = tree.flatten(elems)
    leaves = [as_array(x, "associative_scan") for x in leaves]
    moved = [Array.namespace.moveaxis(x, axis, 0) if x.shape else x for x in leaves]
    _scan_length(moved, tree.paths(elems), None, "associative_scan")
    axes = [axis % x.ndim for x in leaves]
    if reverse:
        leaves = [shape.flip(x, axis=(a,)) for x, a in zip(leaves, axes, strict=True)]
    size, step = leaves[0].shape[axes[0]], 1
    while step < size:
        early = tree.unflatten(structure, [_cut(x, a, 0, size - step) for x, a in zip(leaves, axes, strict=True)])
        late = tree.unflatten(structure, [_cut(x, a, step, size) for x, a in zip(leaves, axes, strict=True)])
        result = fn(early, late)
        tree.check_structure("associative_scan: the result of fn", result, early, "return what fn was given, combined")
        combined = tree.leaves(result)
        leaves = [
            shape.concatenate(_cut(x, a, 0, step), c, axis=a) for x, c, a in zip(leaves, combined, axes, strict=True)
        ]
        step *= 2
    if reverse:
        leaves = [shape.flip(x, axis=(a,)) for x, a in zip(leaves, axes, strict=True)]
    return tree.unflatten(structure, leaves)


def _cut(x: Any, axis: int, start: int, stop: int) -> Any:
    starts = tuple(start if i == axis else 0 for i in range(x.ndim))
    sizes = tuple(stop - start if i == axis else n for i, n in enumerate(x.shape))
    return shape.slice_axes(x, starts=starts, sizes=sizes, steps=(1,) * x.ndim)


# --- in a graph -------------------------------------------------------------------------------------------------------
#
# The innermost trace that writes a graph takes functions from lists of arrays to lists of arrays.


def _staged_scan(
    where: str, name: str, f: Callable[[Any, Any], Any], carry: Any, xs: Any, reverse: bool, length: int | None = None
) -> tuple[Any, Any]:
    leaves, structure = tree.flatten(carry)
    x_leaves, x_structure = tree.flatten(xs)
    y_structure: Any = None

    def step(values: list[Any]) -> list[Any]:
        nonlocal y_structure
        before = tree.unflatten(structure, values[: len(leaves)])
        result = _pair(f(before, tree.unflatten(x_structure, values[len(leaves) :])))
        after = tree.leaves(_checked_carry(where, before, result[0]))
        ys, y_structure = tree.flatten(result[1])
        return [*after, *(as_array(y, where) for y in ys)]

    steps = x_leaves[0].shape[0] if length is None else length
    results = staging.get().control.scan(name, step, leaves, x_leaves, steps, reverse)
    return tree.unflatten(structure, results[: len(leaves)]), tree.unflatten(y_structure, results[len(leaves) :])


def _staged_while(name: str, cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], carry: Any) -> Any:
    leaves, structure = tree.flatten(carry)

    def going(values: list[Any]) -> list[Any]:
        return [elementwise.not_equal(_condition(cond_fun, tree.unflatten(structure, values)), 0)]

    def step(values: list[Any]) -> list[Any]:
        before = tree.unflatten(structure, values)
        return tree.leaves(_checked_carry("while_loop", before, body_fun(before)))

    return tree.unflatten(structure, staging.get().control.while_loop(name, going, step, leaves))


def _staged_switch(where: str, index: Any, branches: Sequence[Callable[..., Any]], operands: Any) -> Any:
    results: list[Any] = []

    def flat(branch: Callable[..., Any]) -> Callable[[list[Any]], list[Any]]:
        def run(_: list[Any]) -> list[Any]:
            results.append(branch(*operands))
            return [as_array(y, where) for y in tree.leaves(results[-1])]

        return run

    def check(avals: Sequence[Sequence[Any]]) -> None:
        first, structure = results[0], tree.flatten(results[0])[1]
        for other, types in zip(results[1:], avals[1:], strict=True):
            if tree.flatten(other)[1] != structure:
                raise errors.branch_mismatch(where, "", structure, tree.flatten(other)[1])
            for path, a, b in zip(tree.paths(first), avals[0], types, strict=True):
                if a != b:
                    raise errors.branch_mismatch(where, path, a, b)

    names = [getattr(branch, "__name__", f"branch {i}") for i, branch in enumerate(branches)]
    leaves = staging.get().control.switch(names, index, [flat(branch) for branch in branches], check)
    return tree.unflatten(tree.flatten(results[0])[1], leaves)


# --- what the loops share ---------------------------------------------------------------------------------------------


def _is_many(x: Any) -> bool:
    """Whether there is no single value: it differs between the examples of some vmap around, or is not computed."""
    while isinstance(x, ValueTracer):
        x = x.value
    return isinstance(x, (BatchTracer, AbstractTracer))


def _is_staged(x: Any) -> bool:
    """Whether the value will be known only when a graph runs that is being written."""
    while isinstance(x, ValueTracer):
        x = x.value
    return staging.get() is not None and isinstance(x, Tracer) and x.trace.kind == "jit"


def _condition(cond_fun: Callable[[Any], Any], carry: Any) -> Any:
    going = as_array(cond_fun(carry), "while_loop")
    if going.shape != ():
        raise errors.not_a_predicate("while_loop", going)
    return going


def _is_abstract(x: Any) -> bool:
    """Whether eval_shape is at work, and there are no values."""
    while isinstance(x, (ValueTracer, BatchTracer)):
        x = x.value
    return isinstance(x, AbstractTracer)


def _any_example(going: Any) -> bool:
    """Whether a condition holds for at least one example."""
    while isinstance(going, (ValueTracer, BatchTracer)):
        going = going.value
    return bool(elementwise.not_equal(going, 0).any())


def _refuse_reverse(name: str, carry: Any) -> None:
    for x in tree.leaves(carry):
        while isinstance(x, (ValueTracer, BatchTracer)):
            if isinstance(x, ReverseTracer):
                raise errors.reverse_through_while(name)
            x = x.value


def _select(where: str, condition: Any, yes: Any, no: Any) -> Any:
    """Results of two branches, selected example by example."""
    yes_leaves, structure = tree.flatten(yes)
    no_leaves, other = tree.flatten(no)
    if structure != other:
        raise errors.branch_mismatch(where, "", structure, other)
    chosen = []
    for path, a, b in zip(tree.paths(yes), yes_leaves, no_leaves, strict=True):
        a, b = as_array(a, where), as_array(b, where)
        if aval_of(a) != aval_of(b):
            raise errors.branch_mismatch(where, path, aval_of(a), aval_of(b))
        chosen.append(elementwise.where(condition, a, b))
    return tree.unflatten(structure, chosen)


def _checked_carry(where: str, before: Any, after: Any) -> Any:
    """The carry after a step, which must have the type of the one before."""
    old, structure = tree.flatten(before)
    new, other = tree.flatten(after)
    if structure != other:
        raise errors.carry_mismatch(where, "", structure, other)
    arrays = []
    for path, a, b in zip(tree.paths(before), old, new, strict=True):
        number = getattr(b, "weak", b)  # of a graph's value that stands for a Python number
        if isinstance(number, (bool, int, float, complex)) and dtypes.promote_scalar(a.dtype, number) is a.dtype:
            b = as_array(b).astype(a.dtype)
        b = as_array(b, where)
        if aval_of(a) != aval_of(b):
            raise errors.carry_mismatch(where, path, aval_of(a), aval_of(b))
        arrays.append(b)
    return tree.unflatten(structure, arrays)
