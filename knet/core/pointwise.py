"""Elementwise primitives: broadcasting and promotion of their operands, and short paths for the eager operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import batching, dtypes, errors
from .array import OPERANDS, Array, DeviceArray
from .aval import ShapedArray, broadcast_shapes
from .primitive import NO_PARAMS, ZERO, Primitive, Rule
from .trace import Tracer, bottom, guards, handler, top_trace

_ACCEPTS = {
    "b": "booleans",
    "biu": "booleans and integers",
    "iu": "integers",
    "iuf": "integers and floating-point numbers",
    "biuf": "real numbers",
    "iufc": "numbers",
    "biufc": "numbers and booleans",
    "fc": "floating-point and complex numbers",
    "f": "floating-point numbers",
}


class Elementwise(Primitive):
    """A primitive that works on each element alone; operands broadcast and promote, and have no parameters.

    Args:
      c: the scalar expression in the operands' names, in the C dialect that the backends share.
      accepts: kinds of dtype that it takes, letters of b i u f c.
      compute: "promoted" (operands meet in their common dtype) or "float" (integers go to the default float).
      result: "same" dtype as computed in, "real" (of complex numbers, that of their parts), or "bool".
      free: operands that stay out of promotion, by position (the condition of where).
    """

    scalars = True
    pointwise = True

    def __init__(
        self,
        name: str,
        body: Callable[..., Any],
        *,
        argnames: tuple[str, ...],
        c: str,
        vjp: Rule | str | Sequence[Rule | str],
        accepts: str = "biufc",
        compute: str = "promoted",
        result: str = "same",
        free: tuple[int, ...] = (),
        doc: str | None = None,
    ) -> None:
        super().__init__(name, body, aval=self._aval, vjp=vjp, batch=batching.pointwise, doc=doc)
        self.argnames = argnames
        self.c = c
        self.accepts = accepts
        self.compute = compute
        self.result = result
        self.smooth = result != "bool"
        self.free = free
        # Kinds that need no conversion: such operands of one dtype go straight to the kernel.
        self.direct = frozenset(accepts if compute == "promoted" else "fc") & frozenset(accepts)

    if TYPE_CHECKING:

        def __call__(self, *args: Any, **params: Any) -> Array: ...

    def compute_dtype(self, args: Sequence[Any]) -> np.dtype[Any]:
        """The dtype in which the operands meet."""
        dtype, scalars = None, []
        for i, x in enumerate(args):
            if i in self.free:
                continue
            if isinstance(x, (bool, int, float, complex)):
                scalars.append(x)
            else:
                dtype = x.dtype if dtype is None else dtypes.promote(dtype, x.dtype)
        for x in scalars:
            own = dtypes.of_scalar(x)
            dtype = own if dtype is None else dtypes.promote_scalar(dtype, x)
        assert dtype is not None
        if dtypes.kind(dtype) not in self.accepts:
            raise errors.unsupported_dtype(self.name, self.argnames, args, _ACCEPTS[self.accepts])
        return dtypes.to_float(dtype) if self.compute == "float" else dtype

    def kernel_dtypes(self, args: Sequence[Any]) -> list[np.dtype[Any]]:
        """The dtype in which the kernel gets each operand."""
        dtype = self.compute_dtype(args)
        return [getattr(x, "dtype", dtypes.bool_) if i in self.free else dtype for i, x in enumerate(args)]

    def _aval(self, *avals: Any) -> ShapedArray:
        dtype = self.compute_dtype(avals)
        shape = broadcast_shapes(*(getattr(a, "shape", ()) for a in avals))
        if shape is None:
            raise errors.broadcast(self.name, self.argnames, avals)
        if self.result != "same":
            dtype = dtypes.bool_ if self.result == "bool" else dtypes.real(dtype)
        return ShapedArray(shape, dtype)

    def evaluate(self, args: Sequence[Any], params: dict[str, Any]) -> Any:
        dtype = self.compute_dtype(args)
        device: Any = None
        for x in args:
            if type(x) is DeviceArray:
                if device is None:
                    device = x._device
                elif x._device is not device:
                    raise errors.mixed_devices(self.name, self.argnames, args)
        backend = device.backend
        buffers = []
        for i, x in enumerate(args):
            if type(x) is not DeviceArray:
                buffers.append(device.scalars[x, dtypes.bool_ if i in self.free else dtype])
            elif x._buffer.dtype is dtype or i in self.free:
                buffers.append(x._buffer)
            else:
                buffers.append(backend.cast(x._buffer, dtype))
        try:
            return DeviceArray(device.kernels[self](*buffers), device)
        except ValueError:
            self._aval(*args)
            raise


class Unary(Elementwise):
    """Elementwise primitive of one operand, with a short path for concrete arrays."""

    def __init__(self, name: str, body: Callable[..., Any], **options: Any) -> None:
        super().__init__(name, body, **options)
        direct = self.direct

        def apply(x: Any) -> Any:
            if type(x) is DeviceArray:
                buffer = x._buffer
                if buffer.dtype.kind in direct:
                    device = x._device
                    return DeviceArray(device.kernels[self](buffer), device)
            elif isinstance(x, Tracer):
                return (handler(x.trace) if guards else x.trace).process(self, (x,), NO_PARAMS)
            return bottom.process(self, (x,), NO_PARAMS)

        self.apply = apply

    def __call__(self, x: Any) -> Any:
        return self.apply(x)


class Binary(Elementwise):
    """Elementwise primitive of two operands, with short paths for arrays of one dtype and for Python scalars.

    ``apply`` is the function behind the operator: it returns NotImplemented for an operand that is no number or array.
    It is a closure and not a method because at this size of work each Python call counts.
    """

    def __init__(self, name: str, body: Callable[..., Any], **options: Any) -> None:
        super().__init__(name, body, **options)
        direct, floats = self.direct, "f" in self.direct
        usual = dtypes.float32 if floats else None  # spares the look at the kind
        # Kinds of array whose dtype a Python float or int takes on.
        of_float, of_int = direct & {"f"}, direct & {"f", "i", "u"}

        def apply(x: Any, y: Any) -> Any:
            if type(x) is DeviceArray:
                a = x._buffer
                dtype = a.dtype
                if type(y) is DeviceArray:
                    b = y._buffer
                    device = x._device
                    if b.dtype is dtype and y._device is device and (dtype is usual or dtype.kind in direct):
                        try:
                            return DeviceArray(device.kernels[self](a, b), device)
                        except ValueError:
                            self._aval(x, y)
                            raise
                elif (type(y) is float or type(y) is int) and (
                    dtype is usual or dtype.kind in (of_float if type(y) is float else of_int)
                ):
                    device = x._device
                    return DeviceArray(device.kernels[self](a, device.scalars[y, dtype] if a.shape else y), device)
            elif type(y) is DeviceArray and (type(x) is float or type(x) is int) and floats:
                b = y._buffer
                if b.dtype.kind == "f":
                    device = y._device
                    return DeviceArray(device.kernels[self](device.scalars[x, b.dtype] if b.shape else x, b), device)
            trace = bottom
            if isinstance(x, Tracer):
                trace = x.trace
            elif not isinstance(x, OPERANDS):
                return NotImplemented
            if isinstance(y, Tracer):
                if y.trace.level > trace.level:
                    trace = y.trace
            elif not isinstance(y, OPERANDS):
                return NotImplemented
            if guards and trace is not bottom:
                trace = handler(trace)
            return trace.process(self, (x, y), NO_PARAMS)

        self.apply = apply

    def __call__(self, x: Any, y: Any) -> Any:
        result = self.apply(x, y)
        return top_trace((x, y)).process(self, (x, y), NO_PARAMS) if result is NotImplemented else result


class Ternary(Elementwise):
    """Elementwise primitive of three operands, with a short path for concrete arrays of one dtype, the first of any
    dtype if it is free, and for a number in place of the third."""

    def __init__(self, name: str, body: Callable[..., Any], **options: Any) -> None:
        super().__init__(name, body, **options)
        direct, free = self.direct, 0 in self.free

        def apply(x: Any, y: Any, z: Any) -> Any:
            if type(x) is DeviceArray and type(y) is DeviceArray:
                a, b, device = x._buffer, y._buffer, x._device
                dtype = b.dtype
                if y._device is device and (free or a.dtype is dtype) and dtype.kind in direct:
                    c = None
                    if type(z) is DeviceArray:
                        if z._device is device and z._buffer.dtype is dtype:
                            c = z._buffer
                    elif type(z) is float and dtype.kind == "f":
                        c = device.scalars[z, dtype]
                    if c is not None:
                        try:
                            return DeviceArray(device.kernels[self](a, b, c), device)
                        except ValueError:
                            self._aval(x, y, z)
                            raise
            return top_trace((x, y, z)).process(self, (x, y, z), NO_PARAMS)

        self.apply = apply

    def __call__(self, x: Any, y: Any, z: Any) -> Any:
        return self.apply(x, y, z)


def elementwise(
    name: str,
    body: Callable[..., Any],
    c: str,
    vjp: Rule | str | Sequence[Rule | str],
    doc: str,
    **options: Any,
) -> Elementwise:
    """Register an elementwise primitive; its operands are x, y, z as far as ``c`` names them."""
    argnames = options.pop("argnames", None)
    if argnames is None:
        count = getattr(body, "nin", None) or body.__code__.co_argcount
        argnames = ("x", "y", "z")[:count]
    cls = (Unary, Binary, Ternary)[len(argnames) - 1]
    rules = (vjp,) if callable(vjp) and vjp is not ZERO and len(argnames) == 1 else vjp
    return cls(name, body, argnames=argnames, c=c, vjp=rules, doc=doc, **options)
