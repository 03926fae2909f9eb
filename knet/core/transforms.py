"""What users call: grad, value_and_grad, vjp, stop_gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from . import dtypes, errors, tree
from .array import Array
from .aval import aval_of
from .device import as_array
from .ops import creation, elementwise
from .reverse import ReverseTrace, accumulate, backward

__all__ = ["grad", "stop_gradient", "value_and_grad", "vjp"]


def grad(fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Function that computes the gradient of a scalar-valued function.

    ``grad(f)(x)[i] = d f(x) / d x[i]``, for each leaf of x.

    Args:
      fun: returns a scalar (shape []) of floating dtype; with ``has_aux``, a pair (scalar, anything).
      argnums: positional argument to differentiate by, or several of them. Each is a pytree of floating arrays.
      has_aux: return (gradient, aux).

    Returns:
      A function of the same arguments. Its result has the structure, shapes and dtypes of the argument that argnums
      names; a tuple of these if argnums is a sequence. An argument that the result does not depend on gets zeros.

    Raises:
      ShapeError: the function did not return a scalar.
      DTypeError: an integer argument, or an integer result.
      TreeError: a leaf that is no array, or a result that is none.
      NotDifferentiable: an operation without a derivative lies on the way.

    Example:
      >>> import knet
      >>> knet.grad(lambda x: x * x)(3.0)
      Array(6., dtype=float32)
    """
    function = value_and_grad(fun, argnums, has_aux)

    @functools.wraps(fun)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, grads = function(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return gradient


def value_and_grad(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Function that computes a scalar-valued function and its gradient; arguments as in :func:`grad`.

    Returns:
      A function that returns (value, gradient), or ((value, aux), gradient) with ``has_aux``.

    Example:
      >>> import knet
      >>> knet.value_and_grad(lambda x: x * x)(3.0)
      (Array(9., dtype=float32), Array(6., dtype=float32))
    """
    name = getattr(fun, "__name__", repr(fun))

    @functools.wraps(fun)
    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        trace = ReverseTrace(name)
        try:
            traced_args, inputs, structure = _watch(trace, args, argnums)
            out = fun(*traced_args, **kwargs)
            del traced_args
            aux = None
            if has_aux:
                if not (isinstance(out, tuple) and len(out) == 2):
                    raise errors.aux_pair(name, out)
                out, aux = out
                aux = tree.map(lambda leaf: trace.lower(leaf), aux)
            value, number = _scalar_loss(trace, name, out)
            del out
            tape = trace.take_tape()
            cotangents = {} if number is None else {number: creation.ones_like(value)}
            backward(tape, cotangents, consume=True)
        finally:
            trace.close()
        grads = [_gradient(cotangents, n, leaf) for n, leaf in inputs]
        return ((value, aux) if has_aux else value), tree.unflatten(structure, grads)

    return value_and_gradient


def vjp(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Value of a function and its vector-Jacobian product.

    ``y, pull_back = vjp(f, *primals)``; ``pull_back(g)`` is ``(g^T J_1, ..., g^T J_n)``, ``J_i = d f / d primals[i]``.
    The saved arrays live as long as ``pull_back``, which may be called any number of times.

    Args:
      fun: takes pytrees of floating arrays, returns a pytree of arrays; with ``has_aux``, a pair (that, anything).
      primals: where to differentiate.

    Returns:
      (value, pull_back), or (value, pull_back, aux) with ``has_aux``.

    Raises:
      DTypeError: an integer primal.
      TreeError, ShapeError: from pull_back, for a cotangent unlike the value.

    Example:
      >>> import knet
      >>> y, pull_back = knet.vjp(lambda a, b: a * b, 2.0, 3.0)
      >>> pull_back(1.0)
      (Array(3., dtype=float32), Array(2., dtype=float32))
    """
    name = getattr(fun, "__name__", repr(fun))
    trace = ReverseTrace(name)
    try:
        traced, inputs, structure = _watch(trace, primals, tuple(range(len(primals))), "vjp")
        out, aux = fun(*traced), None
        if has_aux:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise errors.aux_pair(name, out, "vjp")
            out, aux = out
            aux = tree.map(lambda leaf: trace.lower(leaf), aux)
        outputs, out_structure = tree.flatten(out)
        outputs = [as_array(y, f"vjp({name})") for y in outputs]
        numbers = [trace.number(y) for y in outputs]
        values = [trace.lower(y) for y in outputs]
        avals = [aval_of(y) for y in values]
        tape = trace.take_tape()
    finally:
        trace.close()
    value = tree.unflatten(out_structure, values)

    def pull_back(cotangent: Any) -> tuple[Any, ...]:
        if tree.structure(cotangent) != out_structure:
            raise errors.tree_mismatch(
                "vjp", tree.structure(cotangent), out_structure, "give the cotangent the structure of the output"
            )
        cotangents: dict[int, Any] = {}
        for path, g, n, aval in zip(tree.paths(value), tree.leaves(cotangent), numbers, avals, strict=True):
            g = (
                creation.full(aval.shape, g, aval.dtype)
                if isinstance(g, (int, float)) and not aval.shape
                else as_array(g)
            )
            if aval_of(g) != aval:
                raise errors.cotangent_mismatch(path or "", g, aval)
            accumulate(cotangents, n, g)
        backward(tape, cotangents, consume=False)
        return tree.unflatten(structure, [_gradient(cotangents, n, leaf) for n, leaf in inputs])

    return (value, pull_back, aux) if has_aux else (value, pull_back)


def stop_gradient(x: Any) -> Any:
    """The same values, through which no derivative flows.

    Args:
      x: pytree of arrays.

    Example:
      >>> import knet
      >>> knet.grad(lambda x: x * knet.stop_gradient(x))(3.0)
      Array(3., dtype=float32)
    """
    return tree.map(lambda leaf: elementwise.stop_gradient(leaf) if isinstance(leaf, Array) else leaf, x)


def _watch(
    trace: ReverseTrace, args: Sequence[Any], argnums: int | Sequence[int], kind: str = "grad"
) -> tuple[list[Any], list[Any], Any]:
    """Arguments with the leaves of those that argnums names watched; (number, leaf) of each; their structure."""
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    count = len(args)
    if any(not -count <= n < count for n in numbers):
        raise errors.argnums(argnums, count)
    chosen = [args[n] for n in numbers]
    leaves, structure = tree.flatten(chosen[0] if isinstance(argnums, int) else tuple(chosen))
    arrays = []
    for i, leaf in enumerate(leaves):
        try:
            x = as_array(leaf)
        except errors.KnetError:
            raise errors.leaf_not_array(_place(args, argnums, i), leaf) from None
        if not dtypes.is_differentiable(x.dtype):
            raise errors.integer_argument(_place(args, argnums, i), x.dtype, kind)
        arrays.append(x)
    tracers = [trace.watch(x) for x in arrays]
    watched = tree.unflatten(structure, tracers)
    traced_args = list(args)
    for n, new in zip(numbers, (watched,) if isinstance(argnums, int) else watched, strict=True):
        traced_args[n] = new
    return traced_args, [(t.number, t.value) for t in tracers], structure


def _place(args: Sequence[Any], argnums: int | Sequence[int], leaf: int) -> str:
    """Which leaf of which argument, in words."""
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    places = [f"argument {n}{path}" for n in numbers for path in tree.paths(args[n])]
    return places[leaf]


def _scalar_loss(trace: ReverseTrace, name: str, out: Any) -> tuple[Any, int | None]:
    if isinstance(out, (bool, int, float)) or (not isinstance(out, Array) and hasattr(out, "__array__")):
        out = as_array(out)
    if not isinstance(out, Array):
        raise errors.non_array_loss(name, out)
    if out.shape != ():
        raise errors.non_scalar_loss(name, out)
    if out.dtype.kind == "c" or not dtypes.is_differentiable(out.dtype):
        raise errors.integer_loss(name, out)
    return trace.lower(out), trace.number(out)


def _gradient(cotangents: dict[int, Any], number: int, primal: Any) -> Any:
    g = cotangents.get(number)
    return creation.zeros_like(primal) if g is None else g
