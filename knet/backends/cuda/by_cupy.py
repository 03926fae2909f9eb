"""Operations by CuPy: its arrays in the memory of Knet's buffers, its calls in Knet's stream and its pool."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import cupy
import cupyx
import numpy as np
from cuda import pathfinder

from ...compiler.device.buffer import DeviceBuffer, Number
from ...compiler.device.eager import Operation
from ...core import ShapedArray, errors
from ...core.pointwise import Elementwise
from . import linear
from .exchange import adopted, array_of
from .libraries import Call, call_of, compute, wide


class CuPy:
    """See :class:`.libraries.Modules`."""

    xp = cupy

    @functools.cached_property
    def special(self) -> Any:
        """Special functions."""
        import cupyx.scipy.special  # deferred: it defines hundreds

        return cupyx.scipy.special

    @functools.cached_property
    def linalg(self) -> Any:
        """Linear algebra beyond that of ``cupy.linalg``."""
        import cupyx.scipy.linalg  # deferred: it loads cuBLAS

        return cupyx.scipy.linalg


CUPY: Any = CuPy()


class CudaOperation(Operation):
    """A primitive on CUDA devices: by CuPy, where Knet has no kernel for its dtypes."""

    def aside(self, operands: Sequence[Any], params: dict[str, Any], results: Sequence[ShapedArray]) -> Any:
        """What is done where there is no kernel."""
        call = call_of(self.primitive, operands, results)
        runtime = next(x.runtime for x in operands if type(x) is DeviceBuffer)
        with runtime.current():
            if call is None or not callable_here(self.primitive.name, call):
                return super().aside(operands, params, results)
        return ByCuPy(call, self.primitive, operands, params, results)


def library_of(node: Any) -> str:
    """What computes a node that has no kernel, for people."""
    return "CuPy" if call_of(node.op, node.operands, node.results) else "NumPy"


def callable_here(name: str, call: Call) -> bool:
    """Whether CuPy has what a call needs. The device must be current."""
    if not available(call.library):
        return False
    if name not in linear.GENERAL:
        return True
    from cupyx.cusolver import check_availability  # deferred: it loads cuSOLVER

    try:
        return bool(check_availability("geev"))  # not in the first releases of CUDA 12
    except ValueError:  # nor in those of CuPy 14
        return False


@functools.cache
def available(library: str) -> bool:
    """Whether a library is installed; said once if it is not."""
    if not library:
        return True
    try:
        pathfinder.load_nvidia_dynamic_lib(library)
    except (pathfinder.DynamicLibNotFoundError, OSError) as e:
        missing = errors.missing_cuda_library(library, str(e).splitlines()[0])
        warnings.warn(f"{missing}\n  Until then what it computes is computed on the host.", RuntimeWarning, 2)
        return False
    return True


class ByCuPy:
    """A primitive for operands of one signature, by a call."""

    def __init__(
        self,
        call: Call,
        primitive: Any,
        operands: Sequence[Any],
        params: dict[str, Any],
        results: Sequence[ShapedArray],
    ) -> None:
        self.call = call
        self.primitive = primitive
        self.params = params
        self.results = results
        self.empty = any(0 in getattr(x, "shape", ()) for x in operands)
        avals = [ShapedArray(x.shape, x.dtype) if isinstance(x, (DeviceBuffer, Number)) else x for x in operands]
        elementwise = isinstance(primitive, Elementwise)
        self.dtypes = primitive.kernel_dtypes(avals) if elementwise else [getattr(x, "dtype", None) for x in operands]

    def __call__(self, operands: Sequence[Any]) -> Any:
        runtime = next(x.runtime for x in operands if type(x) is DeviceBuffer)
        backend, device = runtime.device.backend, runtime.device
        if self.empty:
            hosts = [backend.to_host(x) if type(x) is DeviceBuffer else getattr(x, "value", x) for x in operands]
            made = self.primitive.body(*hosts, **self.params)
            buffers = [backend.from_host(np.asarray(y), device) for y in (made if self.primitive.multiple else (made,))]
            return tuple(buffers) if self.primitive.multiple else buffers[0]
        wider = [self._wider(x, backend) for x in operands]
        with queued_by_cupy(runtime):
            arrays = [
                array_of(x) if type(x) is DeviceBuffer else np.dtype(dtype).type(getattr(x, "value", x))
                for x, dtype in zip(wider, self.dtypes, strict=True)
            ]
            made = compute(CUPY, self.call, self.primitive, arrays, self.params)
            ours = [
                adopted(_own(y.astype(wide(aval.dtype), copy=False), arrays), runtime)
                for y, aval in zip(made, self.results, strict=True)
            ]
        buffers = [y if y.dtype == aval.dtype else backend.cast(y, aval.dtype) for y, aval in zip(ours, self.results)]
        return tuple(buffers) if self.primitive.multiple else buffers[0]

    @staticmethod
    def _wider(x: Any, backend: Any) -> Any:
        if type(x) is DeviceBuffer and wide(x.dtype) != x.dtype:
            return backend.cast(x, wide(x.dtype))
        return x


@contextlib.contextmanager
def queued_by_cupy(runtime: Any) -> Iterator[None]:
    """Context in which CuPy works for a runtime: on its device, in its stream, in its memory, and raising errors."""

    def allocate(nbytes: int) -> Any:
        with cupy.cuda.Stream.null:  # a pool keeps the memory of each stream apart
            return runtime.allocate(nbytes)

    with runtime.current(), runtime.stream, cupy.cuda.using_allocator(allocate), cupyx.errstate(linalg="raise"):
        yield


def _own(y: Any, operands: Sequence[Any]) -> Any:
    """A result in memory of its own: who gives up an operand alone may have it overwritten."""
    shared = any(not isinstance(x, np.generic) and x.data.mem is y.data.mem for x in operands)
    return y.copy() if shared else y
