"""``knet.jit``: a function traced once for each signature of its arguments, compiled, and run as one program."""

from __future__ import annotations

import functools
import inspect
import threading
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core import ShapedArray, as_array, default_device, errors, tree
from ..core import device as devices
from ..core.array import Array, DeviceArray, Donated
from ..core.device import from_numpy
from ..core.trace import Tracer, staging
from .call import GraphCall
from .execute import program
from .graph import Graph
from .lowered import Lowered
from .passes import optimize
from .stage import stage

__all__ = ["jit", "trace"]

_NUMBERS = (bool, int, float, complex)
_EXACT = {bool: np.bool_, int: np.int64, float: np.float64, complex: np.complex128}
_MANY = 8  # traces of one structure after which the user is told why


class Traced:
    """One signature of a function: its graph, the structure of its result, and the leaves that its callers give up."""

    def __init__(
        self, graph: Graph, structure: Any, captured: Sequence[Any], device: Any, donated: dict[int, str]
    ) -> None:
        self.graph = graph
        self.structure = structure
        self.captured = captured
        self.device = device
        self.donated = donated  # by position among the leaves, what messages call it

    @functools.cached_property
    def program(self) -> Any:
        """The compiled graph."""
        return program(self.graph, self.device, tuple(self.donated))

    @functools.cached_property
    def run(self) -> Callable[[Sequence[DeviceArray]], list[DeviceArray]]:
        """Function from the leaves of a call to its results, on concrete arrays."""
        outputs = optimize(self.graph).outputs
        # Results that are arguments, constants or one another: each gets a handle of its own, so that giving up one
        # (donate_argnums) leaves the others.
        alike = [i for i, y in enumerate(outputs) if getattr(y, "node", None) is None or outputs.index(y) < i]
        if not (alike or self.donated):
            return self.program
        program_ = self.program
        gone = [(i, Donated(f"{name} of {self.graph.name}")) for i, name in self.donated.items()]
        kept = {id(a) for a in self.graph.constants.values()}

        def run(leaves: Sequence[DeviceArray]) -> list[DeviceArray]:
            if gone:
                ids = set(map(id, leaves))
                if len(ids) < len(leaves) or not kept.isdisjoint(ids):
                    self._check_donated(leaves, kept)
            try:
                results = program_(leaves)
            except errors.IndexOutOfBounds:  # found when results had been written already
                for i, mark in gone:
                    leaves[i]._buffer = mark
                raise
            for i in alike:
                results[i] = DeviceArray(results[i]._buffer, results[i]._device)
            for i, mark in gone:
                leaves[i]._buffer = mark
            return results

        return run

    def _check_donated(self, leaves: Sequence[DeviceArray], kept: set[int]) -> None:
        ids = [id(x) for x in leaves]
        for i, name in self.donated.items():
            if ids[i] in kept or ids.count(ids[i]) > 1:
                raise errors.donated_twice(self.graph.name, name, ids[i] in kept)


class _Last:
    """The signature of a call, in the form that is compared soonest."""

    __slots__ = ("argument_structure", "device", "run", "static", "structure", "types")

    def __init__(self, traced: Traced, argument_structure: Any, static: Any, leaves: Sequence[Any]) -> None:
        self.argument_structure = argument_structure
        self.static = static
        self.types = [(x.shape, x.dtype) for x in leaves]
        self.device = leaves[0]._device
        self.structure = traced.structure
        self.run = traced.run

    def fits(self, structure: Any, static: Any, leaves: Sequence[Any]) -> bool:
        """Whether a call has this signature, on the same device; False also where a longer look is needed."""
        if structure != self.argument_structure or static != self.static:
            return False
        device = self.device
        for x, (shape, dtype) in zip(leaves, self.types):
            if type(x) is not DeviceArray or x._device is not device:
                return False
            buffer = x._buffer
            if buffer.dtype is not dtype or buffer.shape != shape:
                return False
        return True


class Jitted:
    """A function that compiles itself; see :func:`jit`."""

    def __init__(self, fun: Callable[..., Any], static: Sequence[Any], donate_argnums: tuple[int, ...]) -> None:
        functools.update_wrapper(self, fun)
        self.fun = fun
        self.name = _name(fun)
        self.static_argnums, self.static_argnames = static
        self.donate_argnums = donate_argnums
        self.traces: dict[Any, Traced] = {}
        self.lock = threading.RLock()
        self.trace_count = 0
        self.signatures: dict[Any, list[Any]] = {}
        self.last: _Last | None = None  # most calls have the signature of the one before

    def __repr__(self) -> str:
        return f"<jitted {self.name}>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if devices.inspect_results is not None and staging.get() is None:
            return self._call_untraced(args, kwargs)
        static: Any = ()
        if self.static_argnums or self.static_argnames:
            args, kwargs, static = self._split(args, kwargs)
        leaves, structure = tree.flatten((args, kwargs))
        last = self.last
        if last is not None and last.fits(structure, static, leaves):
            return tree.unflatten(last.structure, last.run(leaves))
        device, signature = None, [structure, static]
        for x in leaves:
            if type(x) is DeviceArray:
                buffer = x._buffer
                signature += (buffer.shape, buffer.dtype)
                if x._device is not device:
                    device = self._one_device(device, x)
            else:
                return self._call_slowly(args, kwargs, static)
        signature.append(device or default_device())
        buffer = None  # a reference that is left would keep a donated array from being written to
        traced = self.traces.get(tuple(signature))
        if traced is None:
            return self._call_slowly(args, kwargs, static)
        if device is not None:
            self.last = _Last(traced, structure, static, leaves)
        results = traced.run(leaves)
        return tree.unflatten(traced.structure, results)

    def _one_device(self, device: Any, x: Array) -> Any:
        if device is not None:
            raise errors.arguments_on_devices(self.name, device, x.device)
        return x.device

    def _call_untraced(self, args: Any, kwargs: Any) -> Any:
        """A call under debug_nans, which looks at each operation, and names the one in the user's own traceback."""
        out = self.fun(*args, **kwargs)
        return tree.map(lambda y: as_array(y, f"the result of {self.name}"), out)

    def _call_slowly(self, args: Any, kwargs: Any, static: Any) -> Any:
        """A call with a new signature, with numbers, NumPy arrays or tracers among the arguments."""
        leaves, traced = self._trace(args, kwargs, static)
        if any(isinstance(x, Tracer) for x in leaves) or traced.captured:
            results = GraphCall(traced.graph).enter([*leaves, *traced.captured])
        else:
            results = traced.run(leaves)
        return tree.unflatten(traced.structure, results)

    def _trace(self, args: Any, kwargs: Any, static: Any) -> tuple[list[Any], Traced]:
        """The call's leaves as arrays, and the traced function for their signature."""
        leaves, structure = tree.flatten((args, kwargs))
        device, avals, weak, arrays, signature = None, [], [], [], [structure, static]
        for i, x in enumerate(leaves):
            number = next((t for t in _NUMBERS if isinstance(x, t)), None)
            if number is not None:
                try:
                    x = np.asarray(x, _EXACT[number])
                except OverflowError:
                    raise errors.scalar_overflow(x, "int64") from None
            elif not isinstance(x, Array):
                if not hasattr(x, "__array__"):
                    raise errors.jit_leaf(self.name, self._paths(args, kwargs, static)[i], x)
                x = as_array(x, f"jit({self.name})")
            elif not isinstance(x, (DeviceArray, Tracer)):
                x = x.dense()  # type: ignore[attr-defined]
            if number is None and (device is None or (type(x) is DeviceArray and x._device is not device)):
                device = self._one_device(device, x)
            arrays.append(x)
            avals.append(ShapedArray(x.shape, x.dtype))
            weak.append(None if number is None else number())
            signature += (x.shape, x.dtype) if number is None else (number,)
        device = device or default_device()
        arrays = [from_numpy(x, device) if type(x) is np.ndarray else x for x in arrays]
        signature.append(device)
        key = tuple(signature)
        with self.lock:
            traced = self.traces.get(key)
            if traced is None:
                paths = self._paths(args, kwargs, static)
                traced = self._trace_new(args, kwargs, static, structure, avals, weak, paths, device)
                if not traced.captured:  # values of a trace around this call are good for this call alone
                    self.traces[key] = traced
                    self._explain(structure, static, paths, avals)
        return arrays, traced

    def _trace_new(
        self, args: Any, kwargs: Any, static: Any, structure: Any, avals: Any, weak: Any, paths: Any, device: Any
    ) -> Traced:
        self.trace_count += 1
        out_structure: Any = None

        def flat(tracers: list[Any]) -> list[Any]:
            nonlocal out_structure
            new_args, new_kwargs = tree.unflatten(structure, tracers)
            out = self.fun(*self._join(new_args, static), **new_kwargs, **dict(static[1] if static else ()))
            results, out_structure = tree.flatten(out)
            for path, y in zip(tree.paths(out), results, strict=True):
                if not isinstance(y, (Array, np.ndarray, np.generic, *_NUMBERS)):
                    raise errors.jit_result(self.name, path, y)
            return results

        graph, captured = stage(flat, avals, self.name, weak, paths)
        return Traced(graph, out_structure, captured, device, self._donated(args, static, paths))

    def _paths(self, args: Any, kwargs: Any, static: Any) -> list[str]:
        """What messages call each leaf: ``argument 0['w']``, with arguments counted as the user wrote them."""
        places = self._places(len(args), static)
        return [_argument(p, places) for p in tree.paths((args, kwargs))]

    def _places(self, count: int, static: Any) -> list[int]:
        """Positions of the arguments that are not static."""
        taken = {i for i, _ in static[0]} if static else set()
        return [i for i in range(count + len(taken)) if i not in taken]

    def _donated(self, args: Any, static: Any, paths: Sequence[str]) -> dict[int, str]:
        """Leaves that belong to donated arguments, and their names."""
        if not self.donate_argnums:
            return {}
        places = self._places(len(args), static)
        total = len(args) + (len(static[0]) if static else 0)
        numbers = {i % total for i in self.donate_argnums if -total <= i < total}
        chosen: dict[int, str] = {}
        start = 0
        for i, arg in zip(places, args):
            count = len(tree.leaves(arg))
            if i in numbers:
                chosen |= {n: paths[n] for n in range(start, start + count)}
            start += count
        return chosen

    # --- static arguments ---------------------------------------------------------------------------------------------

    def _split(self, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
        """Arguments without the static ones, and those: ((position, value), ...), ((name, value), ...)."""
        places = {i % len(args) for i in self.static_argnums if -len(args) <= i < len(args)}
        positional = tuple((i, args[i]) for i in sorted(places))
        named = tuple((k, kwargs[k]) for k in sorted(kwargs) if k in self.static_argnames)
        for where, value in (*positional, *named):
            try:
                hash(value)
            except TypeError:
                raise errors.static_unhashable(self.name, where, value) from None
        rest = tuple(x for i, x in enumerate(args) if i not in places)
        # The type belongs to the key: 1, 1.0 and True are equal, and trace differently.
        types = tuple(type(v) for _, v in (*positional, *named))
        return rest, {k: v for k, v in kwargs.items() if k not in self.static_argnames}, (positional, named, types)

    def _join(self, args: Any, static: Any) -> Any:
        if not static:
            return args
        joined = list(args)
        for i, value in static[0]:
            joined.insert(i, value)
        return joined

    # --- what users look at -------------------------------------------------------------------------------------------

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """What becomes of a call with these arguments: graphs, plan, kernels, source; nothing is run."""
        _, traced = self._trace(*self._separated(args, kwargs))
        return Lowered(traced)

    def _separated(self, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
        """Arguments without the static ones, and those."""
        return self._split(args, kwargs) if self.static_argnums or self.static_argnames else (args, kwargs, ())

    def profile(self, *args: Any, repeats: int = 10, **kwargs: Any) -> list[Any]:
        """Where the time of a call goes: rows of (text, seconds, flops, nbytes), one for each group of kernels.

        Raises:
          DeviceError: the function is not compiled here, but run operation by operation.
        """
        leaves, traced = self._trace(*self._separated(args, kwargs))
        run = getattr(traced.program, "profile", None)
        if run is None:
            raise errors.not_compiled(self.name, traced.device)
        return run(leaves, repeats)

    def clear_cache(self) -> None:
        """Forget all traces of this function."""
        with self.lock:
            self.traces.clear()
            self.last = None
            self.signatures.clear()

    def _explain(self, structure: Any, static: Any, paths: Sequence[str], avals: Sequence[ShapedArray]) -> None:
        """Warn once when one structure was traced often, with the argument that changed last."""
        try:
            before = self.signatures.setdefault((structure, static), [])
        except TypeError:
            return
        before.append(avals)
        if len(before) == _MANY:
            changed = [
                f"{p}: {old} -> {new}" for p, old, new in zip(paths, before[-2], avals, strict=True) if old != new
            ]
            warnings.warn(
                f"jit({self.name}) was traced {len(before)} times for arguments of different shapes or dtypes, last "
                f"because of {'; '.join(changed[:3]) or 'the types of numbers'}. Each costs a compilation: pad batches "
                f"to one size, or drop the last, shorter one. (Said once for each function.)",
                RuntimeWarning,
                stacklevel=5,
            )


def _argument(path: str, places: Sequence[int]) -> str:
    """``argument 2['w']`` for the path [0][1]['w'] of a pair (args, kwargs), whose args stood at ``places``."""
    which, _, rest = path[4:].partition("]")
    return f"argument {places[int(which)] if path.startswith('[0]') else which[1:-1]}{rest}"


def _name(fun: Any) -> str:
    if isinstance(fun, functools.partial):
        return _name(fun.func)
    return getattr(fun, "__name__", type(fun).__name__)


def jit(
    fun: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    donate_argnums: int | Sequence[int] = (),
) -> Any:
    """Function that is traced to a graph, optimised and compiled for the device of its arguments.

    ``jit(f)(x)`` equals ``f(x)`` within rounding. f runs as Python once for each signature: structure of the arguments,
    shapes and dtypes of their arrays, values of static arguments. Prints and other side effects happen then.

    Args:
      fun: a pure function of pytrees of arrays and numbers. Without it, a decorator is returned.
      static_argnums, static_argnames: arguments that are no arrays, or whose value Python code must know; hashable.
        Each value is traced for itself.
      donate_argnums: positional arguments that the caller gives up: results are written into their memory, and using
        them afterwards is an error. For training: the old parameters and the optimizer's state.

    Returns:
      A function of the same arguments; it can be differentiated, batched and called in other jitted functions. It has
      ``lower(*args)``, which shows what is compiled.

    Raises:
      TracerError: Python control flow, or NumPy, needs the value of a traced array; the message names the line.
      TreeError: an argument or a result that is no array.

    Example:
      >>> import knet, knet.numpy as knp
      >>> knet.jit(lambda x: knp.tanh(x) * 2)(1.0)
      Array(1.5231884, dtype=float32)
    """
    numbers = _as_tuple(static_argnums, int)
    names = _as_tuple(static_argnames, str)
    donated = _as_tuple(donate_argnums, int)

    def make(function: Callable[..., Any]) -> Jitted:
        if not callable(function):
            raise errors.argument(
                "jit", "fun", function, "it must be callable", "pass the function itself, without calling it"
            )
        return Jitted(function, _both(function, numbers, names), donated)

    return make if fun is None else make(fun)


def _as_tuple(value: Any, kind: type) -> tuple[Any, ...]:
    return (value,) if isinstance(value, kind) else tuple(value)


def _both(fun: Callable[..., Any], numbers: tuple[int, ...], names: tuple[str, ...]) -> tuple[Any, Any]:
    """Static arguments by position and by name, each completed by the other where the signature tells."""
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        return numbers, names
    ordinary = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    known = [p.name for p in parameters]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for name in names:
            if name not in known:
                raise errors.argument(
                    "jit", "static_argnames", name, f"{_name(fun)} has the arguments "
                    f"{', '.join(known)}", "name one of them",
                )  # fmt: skip
    by_number = {ordinary[i] for i in numbers if -len(ordinary) <= i < len(ordinary)}
    by_name = {i for i, name in enumerate(ordinary) if name in names}
    return tuple({*numbers, *by_name}), tuple({*names, *by_number})


def trace(fun: Callable[..., Any], **options: Any) -> Callable[..., Graph]:
    """Function that returns the graph of ``fun`` for given arguments, as traced; ``print`` shows it.

    Args:
      fun, options: as in :func:`jit`.

    Example:
      >>> import knet, knet.numpy as knp
      >>> print(knet.trace(lambda x: knp.exp(x) + 1.0)(2.0))
      <lambda>(a: float64[]):
        v0: float32[] = cast(a, dtype=dtype('float32'))
        v1: float32[] = exp(v0)
        v2: float32[] = add(v1, 1.0)
        return v2
    """
    jitted = fun if isinstance(fun, Jitted) else jit(fun, **options)

    def traced(*args: Any, **kwargs: Any) -> Graph:
        return jitted.lower(*args, **kwargs).traced

    return traced
