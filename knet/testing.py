"""Checks for tests: derivatives against finite differences, arrays and trees against expected ones.

A check that cannot fail proves nothing, so these are strict: NaN is unequal to everything unless asked otherwise,
shapes and dtypes count, and a derivative that is wrong by one part in ten thousand is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from . import numpy as knp
from .core import derivatives, dtypes, errors, transforms, tree
from .core.array import Array
from .core.device import as_array

__all__ = ["assert_close", "assert_trees_close", "check_grads"]


# --- derivatives ----------------------------------------------------------------------------------------------------

EPSILON = 2.0**-52  # of float64
STEP = 2.0**-17  # about the cube root of EPSILON, where truncation and rounding of a central difference balance
NOISE = 128  # rounding errors, in ulp, that the function itself may make


def check_grads(
    f: Callable[..., Any],
    args: Any,
    *,
    order: int = 1,
    modes: Sequence[str] = ("rev", "fwd"),
    eps: float | None = None,
    rtol: float = 1e-6,
    atol: float | None = None,
    seed: int = 0,
    kwargs: dict[str, Any] | None = None,
) -> None:
    """Check of derivatives against central differences; returns if they agree, raises AssertionError if not.

    For each floating leaf x of args, a random direction v in its space and a random w in the space of the result::

        analytic = <v, pull_back(w)>,   y, pull_back = vjp(f, x)
        numeric  = <w, f(x + h v) - f(x - h v)> / (2 h)
        passes if |analytic - numeric| <= atol + rtol * max(|analytic|, |numeric|)

    In forward mode ``analytic = <w, t>`` for ``_, t = jvp(f, (x,), (v,))``. Order 2 does the same to the functions
    (x, w) -> pull_back(w) and (x, v) -> t, and so on.

    Args:
      f: function of pytrees that returns a pytree. It must be differentiable at args and a small step around, and give
        the same result each time.
      args: sequence of positional arguments; anything that is no sequence is the only argument. Their floating leaves
        are converted to float64 with ``x.astype``, since differences in float32 show nothing; the function must then
        compute in float64. All other leaves are passed as they are.
      order: up to which derivatives are checked, at least 1.
      modes: "rev" for reverse mode, "fwd" for forward mode; of order 2 every combination of them is checked.
      eps: h, for elements of size 1 and less; it grows in proportion with larger ones. By default 2 ** -17.
      rtol: above 0.
      atol: by default what rounding does to the difference: 128 ulp of sum(|w f|), divided by 2 h.
      seed: of the random directions.
      kwargs: keyword arguments of f, passed as they are.

    Raises:
      AssertionError: the derivatives disagree, or are NaN or infinite, or the function's result is; it computes in
        another dtype than float64; or its value changes when it is differentiated. The text names the order, the leaf,
        and both numbers.
      ValueError: nothing to check, or meaningless arguments.

    Example:
      >>> import knet.numpy as knp
      >>> from knet.testing import check_grads
      >>> check_grads(lambda x, y: knp.sin(x) * y, (0.5, knp.ones((3,))), order=2)
    """
    _check_arguments(order, modes, eps, rtol, atol)
    args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    leaves, structure = tree.flatten(args)
    paths = [f"args{path}" for path in tree.paths(args)]
    inputs, names, places = [], [], []
    for place, (leaf, path) in enumerate(zip(leaves, paths)):
        x = _number_leaf(leaf)
        if x is not None and dtypes.is_differentiable(x.dtype):
            if x.dtype.kind == "c":
                raise errors.argument(
                    "check_grads", path, errors.describe(x), "complex leaves are not checked", "pass reals"
                )
            inputs.append(_as_float64(x))
            names.append(path)
            places.append(place)
    if not any(x.size for x in inputs):
        raise errors.argument(
            "check_grads", "args", paths, "no floating-point element to differentiate", "pass 3.0 for 3"
        )
    keywords = kwargs or {}

    def function(*xs: Any) -> list[Any]:
        filled = list(leaves)
        for place, x in zip(places, xs):
            filled[place] = x
        out = f(*tree.unflatten(structure, filled), **keywords)
        return [y for y in map(_number_leaf, tree.leaves(out)) if y is not None and dtypes.is_differentiable(y.dtype)]

    settings = _Settings(
        getattr(f, "__name__", repr(f)), STEP if eps is None else float(eps), rtol, atol, np.random.default_rng(seed)
    )
    _check_orders(settings, function, inputs, names, 1, order, tuple(modes))


class _Settings(NamedTuple):
    name: str
    eps: float
    rtol: float
    atol: float | None
    random: np.random.Generator


def _check_arguments(order: int, modes: Sequence[str], eps: float | None, rtol: float, atol: float | None) -> None:
    where = "check_grads"
    if not isinstance(order, int) or order < 1:
        raise errors.argument(where, "order", order, "it is an int, at least 1", "pass order=1")
    if isinstance(modes, str) or not modes or not set(modes) <= set(_MODES):
        known = ", ".join(map(repr, _MODES))
        raise errors.argument(
            where, "modes", modes, f"it is a non-empty tuple of modes, of {known}", 'pass modes=("rev",)'
        )
    for name, value in (("eps", eps), ("rtol", rtol), ("atol", atol)):
        if value is not None and not (0 <= value < math.inf and (value > 0 or name == "atol")):
            raise errors.argument(where, name, value, "it must be positive and finite", f"correct {name}=")


def _number_leaf(leaf: Any) -> Any:
    """The leaf as an array, or None if it is none."""
    if isinstance(leaf, Array):
        return leaf
    return as_array(leaf) if isinstance(leaf, (bool, int, float, complex, np.ndarray, np.generic)) else None


def _as_float64(x: Any) -> Any:
    return x if x.dtype is dtypes.float64 else x.astype(dtypes.float64)


Function = Callable[..., list[Any]]  # of arrays, returns a list of arrays


def _check_orders(
    settings: _Settings,
    function: Function,
    inputs: list[Any],
    names: list[str],
    now: int,
    last: int,
    modes: tuple[str, ...],
) -> None:
    for mode in modes:
        derivative, more, more_names = _MODES[mode](settings, function, inputs, names, now)
        if now < last:
            _check_orders(settings, derivative, [*inputs, *more], [*names, *more_names], now + 1, last, modes)


def _check_reverse(
    settings: _Settings, function: Function, inputs: list[Any], names: list[str], order: int
) -> tuple[Function, list[Any], list[str]]:
    """Check the vjp of one order; returns the function (inputs, cotangents) -> gradients, with those cotangents."""
    where = f"check_grads({settings.name}), order {order}, reverse mode"
    outputs = _outputs(where, function, inputs, order)
    values, pull_back = transforms.vjp(function, *inputs)
    _check_values(where, "vjp", values, outputs)
    weights = [_direction(settings, y) for y in outputs]
    cotangents = [knp.asarray(np.asarray(w)) for w in weights]  # a NumPy scalar would count as a weak float
    gradients = pull_back(cotangents)
    for i, (x, gradient, name) in enumerate(zip(inputs, gradients, names)):
        if x.size:
            _check_type(where, name, "gradient", gradient, x)
            direction, differences = _central_differences(settings, function, inputs, i)
            analytic = float(np.vdot(direction, _host(gradient)))
            _compare(settings, f"{where}, {name}", "vjp", name, analytic, weights, differences)
    count = len(inputs)

    def derivative(*xs: Any) -> list[Any]:
        _, pull_back = transforms.vjp(function, *xs[:count])
        return list(pull_back(list(xs[count:])))

    return derivative, cotangents, [f"the cotangent of result {i} (order {order})" for i in range(len(cotangents))]


def _check_forward(
    settings: _Settings, function: Function, inputs: list[Any], names: list[str], order: int
) -> tuple[Function, list[Any], list[str]]:
    """Check the jvp of one order; returns the function (inputs, tangents) -> tangents, with those tangents."""
    where = f"check_grads({settings.name}), order {order}, forward mode"
    outputs = _outputs(where, function, inputs, order)
    weights = [_direction(settings, y) for y in outputs]
    for i, (x, name) in enumerate(zip(inputs, names)):
        if x.size:
            direction, differences = _central_differences(settings, function, inputs, i)
            tangents = _replaced([knp.zeros_like(x) for x in inputs], i, direction)
            values, pushed = derivatives.jvp(function, inputs, tangents)
            _check_values(where, "jvp", values, outputs)
            for j, (t, y) in enumerate(zip(pushed, values)):
                _check_type(where, f"result {j}", "tangent", t, y)
            analytic = math.fsum(float(np.vdot(w, _host(t))) for w, t in zip(weights, pushed))
            _compare(settings, f"{where}, {name}", "jvp", name, analytic, weights, differences)
    count = len(inputs)
    tangents = [knp.asarray(np.asarray(_direction(settings, _host(x)))) for x in inputs]

    def derivative(*xs: Any) -> list[Any]:
        return derivatives.jvp(function, xs[:count], xs[count:])[1]

    return derivative, tangents, [f"the tangent of {name} (order {order})" for name in names]


def _outputs(where: str, function: Function, inputs: list[Any], order: int) -> list[Any]:
    ys = function(*inputs)
    outputs = [_host(y) for y in ys]
    _check_outputs(where, ys, outputs, order)
    return outputs


def _check_values(where: str, mode: str, values: Sequence[Any], outputs: list[Any]) -> None:
    for i, (value, y) in enumerate(zip(values, outputs)):
        if not _close(_host(value), y, 64 * EPSILON, 64 * EPSILON * np.abs(y).max(initial=0.0)):
            raise AssertionError(
                f"{where}: result {i} changes when it is differentiated: {_host(value)} under {mode}, {y} without.\n"
                f"  fix: the function must give the same result each time; pass random keys as arguments."
            )


def _check_type(where: str, name: str, what: str, derivative: Any, of: Any) -> None:
    if derivative.shape != of.shape or derivative.dtype is not dtypes.float64:
        raise AssertionError(
            f"{where}, {name}: the {what} is {errors.describe(derivative)} for {errors.describe(of)}: "
            f"both must have one shape and dtype.\n  fix: correct the rule of an operation that {name} enters."
        )


def _central_differences(
    settings: _Settings, function: Function, inputs: list[Any], i: int
) -> tuple[Any, list[tuple[Any, Any]]]:
    """A direction for one input, in units of eps, and the results ahead of it and behind."""
    point = _host(inputs[i])
    step = settings.eps * _direction(settings, point) * np.maximum(1.0, np.abs(point))
    ahead, behind = point + step, point - step
    above, below = ([_host(y) for y in function(*_replaced(inputs, i, p))] for p in (ahead, behind))
    # ahead - behind is what the function saw; 2 * step differs from it by rounding.
    return (ahead - behind) / (2 * settings.eps), list(zip(above, below))


def _compare(
    settings: _Settings, where: str, mode: str, name: str, analytic: float, weights: list[Any], differences: list[Any]
) -> None:
    numeric = math.fsum(float(np.vdot(w, (a - b) / (2 * settings.eps))) for w, (a, b) in zip(weights, differences))
    size = math.fsum(
        float(np.vdot(np.abs(w), np.maximum(np.abs(a), np.abs(b)))) for w, (a, b) in zip(weights, differences)
    )
    atol = NOISE * EPSILON * size / (2 * settings.eps) if settings.atol is None else settings.atol
    error = abs(analytic - numeric)
    # Written so that NaN fails. An infinity would make the tolerance infinite: it fails too.
    if not (math.isfinite(size + analytic) and error <= atol + settings.rtol * max(abs(analytic), abs(numeric))):
        raise AssertionError(
            f"{where}: along a random direction the derivative is {analytic:.12g} by {mode} and "
            f"{numeric:.12g} by central differences: they differ by {error:.3g}, more than atol + rtol * size "
            f"= {atol:.3g} + {settings.rtol:.3g} * {max(abs(analytic), abs(numeric)):.3g}.\n"
            f"  fix: correct the derivative with respect to {name}; or, where the function has a kink or is steep "
            f"here, check elsewhere or choose eps (now {settings.eps:.3g})."
        )


_MODES = {"rev": _check_reverse, "fwd": _check_forward}


def _check_outputs(where: str, ys: list[Any], outputs: list[Any], order: int) -> None:
    if not any(y.size for y in outputs):
        raise errors.argument(
            where, "f", "its result", "it has no floating-point element", "return what is to be checked"
        )
    for i, (y, host) in enumerate(zip(ys, outputs)):
        what = f"result {i}" if order == 1 else f"derivative {i} of order {order - 1}"
        if y.dtype is not dtypes.float64:
            raise AssertionError(
                f"{where}: {what} is {errors.describe(y)} although the arguments are float64: differences need "
                f"float64 all the way.\n  fix: do not convert inside of the function, and pass what it closes over as "
                f"arguments."
            )
        if not np.isfinite(host).all():
            raise AssertionError(
                f"{where}: {what} is not finite: {host}.\n  fix: choose arguments inside of the function's domain."
            )


def _direction(settings: _Settings, like: Any) -> Any:
    """Random signs times numbers in [0.5, 1.5]: no element of a direction is close to zero."""
    random = settings.random
    return random.choice([-1.0, 1.0], like.shape) * random.uniform(0.5, 1.5, like.shape)


def _replaced(inputs: list[Any], position: int, host: Any) -> list[Any]:
    return [knp.asarray(np.asarray(host)) if i == position else x for i, x in enumerate(inputs)]


def _host(x: Any) -> Any:
    return np.asarray(x)


# --- values ---------------------------------------------------------------------------------------------------------

# Relative tolerance by dtype: some tens of ulp, of the half types (which compute in float32) some few.
TOLERANCE = {
    "float64": 1e-14,
    "float32": 5e-6,
    "float16": 4e-3,
    "bfloat16": 3e-2,
    "complex128": 1e-14,
    "complex64": 5e-6,
}


def assert_close(
    actual: Any,
    desired: Any,
    *,
    rtol: float | None = None,
    atol: float = 0.0,
    ulp: float | None = None,
    equal_nan: bool = False,
) -> None:
    """Check that two arrays have one shape and dtype, and equal elements up to a tolerance.

    Passes if for every element ``|actual - desired| <= atol + rtol * |desired|``, or, with ulp,
    ``|actual - desired| <= ulp * (distance of |desired| to the next larger number of its dtype)``.

    Args:
      actual: array, or number.
      desired: array; a Python number or a (nested) list of numbers has no dtype and takes the one of actual.
      rtol: by default 1e-14 for float64, 5e-6 for float32, 4e-3 for float16, 3e-2 for bfloat16, and 0 for integers and
        bools.
      atol: by default 0.
      ulp: in place of rtol and atol.
      equal_nan: let NaN equal NaN. By default NaN equals nothing. Infinities equal those of their sign.

    Raises:
      AssertionError: shape, dtype or elements differ; the text counts them and shows the worst.
      ValueError: ulp beside rtol or atol.

    Example:
      >>> import knet.numpy as knp
      >>> from knet.testing import assert_close
      >>> assert_close(knp.sqrt(knp.asarray([1.0, 4.0])), [1.0, 2.0], ulp=1)
    """
    message = _difference(actual, desired, rtol, atol, ulp, equal_nan)
    if message:
        raise AssertionError(f"assert_close(actual, desired): {message}")


def assert_trees_close(
    actual: Any,
    desired: Any,
    *,
    rtol: float | None = None,
    atol: float = 0.0,
    ulp: float | None = None,
    equal_nan: bool = False,
) -> None:
    """Check that two pytrees have one structure, and that their leaves pass :func:`assert_close`.

    Leaves that are neither arrays nor numbers must be equal.

    Raises:
      AssertionError: the structures differ, or a leaf, which is named by its path.

    Example:
      >>> from knet.testing import assert_trees_close
      >>> assert_trees_close({"w": 1.0, "b": (2.0, None)}, {"w": 1.0, "b": (2.0, None)})
    """
    try:
        tree.check_structure("assert_trees_close", actual, desired, "compare trees of one structure")
    except errors.TreeError as e:
        raise AssertionError(str(e)) from None
    for path, x, y in zip(tree.paths(desired), tree.leaves(actual), tree.leaves(desired)):
        if _number_leaf(x) is None or _number_leaf(y) is None:
            message = "" if x == y else f"{x!r} is not {y!r}"
        else:
            message = _difference(x, y, rtol, atol, ulp, equal_nan)
        if message:
            raise AssertionError(f"assert_trees_close(actual, desired): at {path or 'the only leaf'}: {message}")


def _difference(actual: Any, desired: Any, rtol: float | None, atol: float, ulp: float | None, equal_nan: bool) -> str:
    """What is wrong, or nothing."""
    if ulp is not None and (rtol is not None or atol):
        raise errors.argument(
            "assert_close", "ulp", ulp, "it stands in place of rtol and atol", "pass one or the other"
        )
    a = _host(actual if isinstance(actual, Array) else knp.asarray(actual))
    weak = type(desired) in (bool, int, float, complex, list, tuple)
    d = np.asarray(desired, a.dtype) if weak else _host(as_array(desired))
    if a.shape != d.shape:
        return f"shape {list(a.shape)} is not {list(d.shape)}."
    if a.dtype != d.dtype:
        return f"dtype {a.dtype} is not {d.dtype}."
    if rtol is None:
        rtol = TOLERANCE.get(a.dtype.name, 0.0)
    if dtypes.kind(a.dtype) in "biu":
        wide = [x.astype(object) if x.dtype.kind != "b" else x.astype(int) for x in (a, d)]
    else:
        wide = [x.astype(complex if x.dtype.kind == "c" else float) for x in (a, d)]
    with np.errstate(all="ignore"):
        error = np.abs(wide[0] - wide[1])
        allowed = ulp * _spacing(d) if ulp is not None else atol + rtol * np.abs(wide[1])
        good = np.asarray((a == d) | ((error <= allowed) & np.asarray(np.abs(wide[1]) < math.inf)), bool)
    if equal_nan:
        good |= (a != a) & (d != d)
    if good.all():
        return ""
    bad = np.argwhere(~good)
    rank = np.where(good, -1.0, np.where(error == error, error, math.inf).astype(float))
    worst = np.unravel_index(int(np.argmax(rank)), rank.shape)
    limit = f"ulp={ulp:g}" if ulp is not None else f"rtol={rtol:g}, atol={atol:g}"
    place = f"at {[int(i) for i in worst]} " if a.ndim else ""
    size = float(np.abs(wide[1][worst]))
    relative = rank[worst] / size if 0.0 < size < math.inf else math.nan
    return (
        f"{len(bad)} of {a.size} elements differ by more than {limit}; the worst {place}is {a[worst]!s}, not "
        f"{d[worst]!s} (difference {rank[worst]:.3g}, relative {relative:.3g})."
    )


def _close(a: Any, b: Any, rtol: float, atol: float) -> bool:
    return a.shape == b.shape and bool((np.abs(a - b) <= atol + rtol * np.abs(b)).all())


def _spacing(x: Any) -> Any:
    """Distance of each |element| to the next larger number of its dtype; 1 for integers."""
    if dtypes.kind(x.dtype) in "biu":
        return 1.0
    info = ml_dtypes.finfo(x.real.dtype)
    _, exponent = np.frexp(np.abs(x).astype(float))
    return np.maximum(np.ldexp(float(info.eps), exponent - 1), float(info.smallest_subnormal))
