"""Whole derivatives and products with them, made of the modes: jvp, linearize, linear_transpose, jacfwd, jacrev,
hessian, hvp."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import dtypes, errors, tree
from .aval import aval_of
from .batch import BatchTracer, vmap
from .device import as_array
from .forward import JVPTrace
from .ops import creation, elementwise, shape
from .trace import Tracer, ValueTracer
from .transforms import grad, vjp

__all__ = ["hessian", "hvp", "jacfwd", "jacrev", "jvp", "linear_transpose", "linearize"]


def jvp(fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], *, has_aux: bool = False) -> Any:
    """Value of a function and its Jacobian-vector product.

    ``jvp(f, (x,), (t,)) = (f(x), J t)``, ``J = d f / d x``, in one forward pass that keeps nothing.

    Args:
      fun: takes and returns pytrees of arrays; with ``has_aux``, returns a pair (that, anything).
      primals: tuple of arguments, floating arrays.
      tangents: tuple of directions, of the primals' structure, shapes and dtypes.

    Returns:
      (value, tangent), or (value, tangent, aux); the tangent has the value's structure, zeros where it is constant.

    Raises:
      DTypeError: an integer primal. TreeError, ShapeError: tangents unlike the primals.

    Example:
      >>> import knet, knet.numpy as knp
      >>> knet.jvp(knp.sin, (0.0,), (2.0,))
      (Array(0., dtype=float32), Array(2., dtype=float32))
    """
    name = getattr(fun, "__name__", repr(fun))
    for role, values in (("primals", primals), ("tangents", tangents)):
        if not isinstance(values, (tuple, list)):
            raise errors.argument(
                f"jvp({name})", role, values, "it is a tuple with an entry for each argument", "pass (x,), (t,)"
            )
    primals, tangents = tuple(primals), tuple(tangents)
    tree.check_structure("jvp: tangents", tangents, primals, "give the tangents the structure of the primals")
    leaves, structure = tree.flatten(primals)
    trace = JVPTrace(name)
    try:
        traced = []
        for path, x, t in zip(tree.paths(primals), leaves, tree.leaves(tangents), strict=True):
            x = as_array(x, f"jvp({name})")
            if not dtypes.is_differentiable(x.dtype):
                raise errors.integer_argument(f"argument {path[1:].replace(']', '', 1)}", x.dtype, "jvp")
            t = creation.full((), t, x.dtype) if isinstance(t, (int, float)) and not x.shape else as_array(t)
            if aval_of(t) != aval_of(x):
                raise errors.tangent_mismatch(path, t, x)
            traced.append(trace.join(x, t))
        out, aux = fun(*tree.unflatten(structure, traced)), None
        if has_aux:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise errors.aux_pair(name, out, "jvp")
            out, aux = out
            aux = tree.map(lambda leaf: trace.split([leaf])[0][0], aux)
        results, out_structure = tree.flatten(out)
        values, pushed = trace.split([as_array(y, f"jvp({name})") for y in results])
    finally:
        trace.closed = True
    ts = [creation.zeros_like(y) if t is None else t for y, t in zip(values, pushed, strict=True)]
    value, tangent = tree.unflatten(out_structure, values), tree.unflatten(out_structure, ts)
    return (value, tangent, aux) if has_aux else (value, tangent)


def linearize(fun: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """Value of a function and its derivative as a linear function: ``y, push = linearize(f, x)``, ``push(t) = J t``.

    ``fun`` runs once; ``push`` transposes what the backward pass keeps, and may be called any number of times.
    """
    value, pull = vjp(fun, *primals)
    zeros = tree.map(creation.zeros_like, value)

    def push(*tangents: Any) -> Any:
        tree.check_structure("linearize: tangents", tangents, primals, "give the tangents the primals' structure")
        _, transposed = vjp(pull, zeros)
        return transposed(tree.map(as_array, tangents))[0]

    return value, push


def linear_transpose(fun: Callable[..., Any], *primals: Any) -> Callable[..., Any]:
    """Transpose of a linear function: ``linear_transpose(f, x)(g) = A^T g`` for ``f(x) = A x``.

    Args:
      fun: linear in its arguments.
      primals: arrays (or anything with shape and dtype) that tell shapes and dtypes; their values do not matter.

    Returns:
      A function of a cotangent of the result that returns a tuple of cotangents of the arguments.

    Raises:
      NotDifferentiable: the function is not linear: its value at zero is not zero, or its value at ones is not the
        derivative in that direction.
    """
    zeros = tree.map(lambda x: creation.zeros(x.shape, x.dtype), tree.map(_abstract, primals))
    ones = tree.map(creation.ones_like, zeros)
    value, pull = vjp(fun, *zeros)
    at_ones, pushed = fun(*ones), jvp(fun, zeros, ones)[1]
    for y, y1, t in zip(tree.leaves(value), tree.leaves(at_ones), tree.leaves(pushed), strict=True):
        off = elementwise.subtract(y1, t) if dtypes.is_differentiable(y.dtype) else y1
        if not (_size(y) == 0 and _size(off) <= 1e-3 * (1 + _size(y1))):
            raise errors.not_linear(getattr(fun, "__name__", repr(fun)))
    return pull


def _size(x: Any) -> float:
    """Largest absolute value, over all examples of a batch; 0 for an array without elements or values."""
    while isinstance(x, (ValueTracer, BatchTracer)):
        x = x.value
    return 0.0 if isinstance(x, Tracer) or not x.size else float(np.abs(x._host("linear_transpose")).max())


def _abstract(x: Any) -> Any:
    return x if hasattr(x, "shape") and hasattr(x, "dtype") else as_array(x)


def _basis(x: Any) -> Any:
    """Unit vectors of x's space along a new first axis: [x.size, *x.shape]."""
    n = x.size
    line = creation.arange(n, dtypes.default_int, x.device)
    unit = elementwise.cast(elementwise.equal(shape.reshape(line, shape=(n, 1)), line), x.dtype)
    return shape.reshape(unit, shape=(n, *x.shape))


def _bases(leaves: Sequence[Any]) -> list[list[Any]]:
    """For each leaf the unit vectors of its space, zeros in the others."""
    return [
        [_basis(x) if i == j else creation.zeros((x.size, *y.shape), y.dtype) for j, y in enumerate(leaves)]
        for i, x in enumerate(leaves)
    ]


def _chosen(args: Sequence[Any], argnums: int | Sequence[int]) -> Any:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if any(not -len(args) <= n < len(args) for n in numbers):
        raise errors.argnums(argnums, len(args))
    return args[numbers[0]] if isinstance(argnums, int) else tuple(args[n] for n in numbers)


def _partial(fun: Callable[..., Any], args: Sequence[Any], kwargs: Any, argnums: int | Sequence[int]) -> Any:
    """``fun`` as a function of the chosen arguments alone."""
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(fun)
    def of_chosen(chosen: Any) -> Any:
        new = list(args)
        for n, x in zip(numbers, (chosen,) if isinstance(argnums, int) else chosen, strict=True):
            new[n] = x
        return fun(*new, **kwargs)

    return of_chosen


def jacfwd(fun: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Function that computes the Jacobian by forward mode, one column a direction; best for few inputs.

    Returns:
      For a result y and an argument x: [*y.shape, *x.shape]; for pytrees, the tree of results of trees of arguments.

    Example:
      >>> import knet, knet.numpy as knp
      >>> knet.jacfwd(lambda x: x * x)(knp.asarray([1.0, 2.0]))
      Array([[2., 0.],
             [0., 4.]], dtype=float32)
    """

    @functools.wraps(fun)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        f = _partial(fun, args, kwargs, argnums)
        leaves, structure = tree.flatten(tree.map(as_array, _chosen(args, argnums)))

        def column(*tangents: Any) -> Any:
            return jvp(f, (tree.unflatten(structure, leaves),), (tree.unflatten(structure, tangents),))[1]

        columns = [vmap(column, out_axes=-1)(*basis) for basis in _bases(leaves)]
        results = [tree.leaves(c) for c in columns]
        out_structure = tree.structure(columns[0])
        rows = [
            tree.unflatten(
                structure,
                [shape.reshape(c[k], shape=(*c[k].shape[:-1], *x.shape)) for c, x in zip(results, leaves, strict=True)],
            )
            for k in range(len(results[0]))
        ]
        return tree.unflatten(out_structure, rows)

    return jacobian


def jacrev(fun: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Function that computes the Jacobian by reverse mode, one row a direction; best for few results.

    Returns:
      As :func:`jacfwd`.
    """

    @functools.wraps(fun)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        f = _partial(fun, args, kwargs, argnums)
        chosen = tree.map(as_array, _chosen(args, argnums))
        value, pull = vjp(f, chosen)
        leaves, out_structure = tree.flatten(value)
        rows = []
        for basis, y in zip(_bases(leaves), leaves, strict=True):
            row = vmap(lambda *gs: pull(tree.unflatten(out_structure, gs))[0])(*basis)
            rows.append(tree.map(lambda g, y=y: shape.reshape(g, shape=(*y.shape, *g.shape[1:])), row))
        return tree.unflatten(out_structure, rows)

    return jacobian


def hessian(fun: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Function that computes the matrix of second derivatives, forward over reverse mode.

    Returns:
      For a scalar result and an argument x: [*x.shape, *x.shape].

    Example:
      >>> import knet, knet.numpy as knp
      >>> knet.hessian(lambda x: (x ** 3).sum())(knp.asarray([1.0, 2.0]))
      Array([[ 6.,  0.],
             [ 0., 12.]], dtype=float32)
    """
    return jacfwd(jacrev(fun, argnums), argnums)


def hvp(fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Product of the Hessian of a scalar function with a vector, ``H t``, at the cost of about two gradients.

    Args:
      fun: scalar-valued.
      primals, tangents: tuples as in :func:`jvp`. With one argument the result has its structure, with several it is a
        tuple.
    """
    argnums = 0 if len(tuple(primals)) == 1 else tuple(range(len(tuple(primals))))
    return jvp(grad(fun, argnums), primals, tangents)[1]
