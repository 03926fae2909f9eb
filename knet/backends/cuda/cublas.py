"""Matrix products by cuBLAS, in the stream and the workspace of a runtime.

cuBLAS is called through ctypes and not through ``cupy_backends.cuda.libs.cublas``: that sets the stream before each
call, which takes a workspace away again, and refuses to while a graph is captured (``cublas.pyx``, ``setStream``).

A handle uses one stream and one workspace of its own, so that the same call gives the same bits each time (cuBLAS
documentation, "Results Reproducibility"), and a graph that was captured needs no memory but that. Types, sizes of the
workspace and modes are those of the documentation of cuBLAS 12 and 13.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import warnings
from collections.abc import Sequence
from typing import Any

from cuda import pathfinder

from ...compiler.kernels.blas import Gemm
from ...core import errors
from ...core.precisions import current_precision

DATA = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType
_COMPUTE_32F, _COMPUTE_64F, _COMPUTE_32F_FAST_TF32 = 68, 70, 77  # cublasComputeType_t
_ALGORITHM = -1  # CUBLAS_GEMM_DEFAULT
# The default, but for parts of sums of half types, which are added in float32, too:
# CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION.
_MATH_MODE = 16
_STATUS = {
    1: "not initialized", 3: "no memory", 7: "an invalid value", 8: "an unsupported device", 11: "no access to memory",
    13: "the execution failed", 14: "an internal error", 15: "not supported", 16: "a licence error",
}  # fmt: skip


class Blas:
    """cuBLAS on a device; loaded and started by the first product."""

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime
        self._lock = threading.Lock()
        self._handles: dict[int, int] = {}
        self._library: Any = None
        self._workspace: Any = None

    def handle(self, stream: int) -> int:
        """The handle whose calls go into a stream. The device must be current."""
        handle = self._handles.get(stream)
        return self._start(stream) if handle is None else handle

    def prepare_for(self, stream: int) -> None:
        """Have a handle for a stream before it is captured, if there were products: to start one then may wait."""
        if self._library is not None:
            self.handle(stream)

    def gemm(self, call: Gemm, dtype: str, a: int, b: int, c: int, stream: int) -> None:
        """Queue a product of matrices at three addresses."""
        handle = self.handle(stream)
        compute, one, zero = compute_type(dtype)
        kind = DATA[dtype]
        if call.batch == 1:
            status = self._library.cublasGemmEx(
                handle, call.trans_a, call.trans_b, call.m, call.n, call.k, one, a, kind, call.lda, b, kind, call.ldb,
                zero, c, kind, call.ldc, compute, _ALGORITHM,
            )  # fmt: skip
        else:
            status = self._library.cublasGemmStridedBatchedEx(
                handle, call.trans_a, call.trans_b, call.m, call.n, call.k, one, a, kind, call.lda, call.step_a,
                b, kind, call.ldb, call.step_b, zero, c, kind, call.ldc, call.step_c, call.batch, compute, _ALGORITHM,
            )  # fmt: skip
        check("multiplying matrices", status)

    def _start(self, stream: int) -> int:
        with self._lock:
            if stream in self._handles:
                return self._handles[stream]
            if self._library is None:
                self._library = library()
                self._workspace = self.runtime.allocate(self._workspace_bytes)
            handle = ctypes.c_void_p()
            check("starting", self._library.cublasCreate_v2(ctypes.byref(handle)))
            assert handle.value is not None
            check("taking its stream", self._library.cublasSetStream_v2(handle, stream))
            # After the stream: setting that takes the workspace away. One serves all: graphs that were captured in
            # another stream are launched in the runtime's.
            check(
                "setWorkspace", self._library.cublasSetWorkspace_v2(handle, self._workspace.ptr, self._workspace_bytes)
            )
            check("taking its mode", self._library.cublasSetMathMode(handle, _MATH_MODE))
            self._handles[stream] = handle.value
            return handle.value

    @property
    def _workspace_bytes(self) -> int:
        """What the documentation recommends for the device."""
        return (32 << 20) if int(self.runtime.architecture) >= 90 else (4 << 20)


_ONE_32, _ZERO_32 = ctypes.c_float(1.0), ctypes.c_float(0.0)
_ONE_64, _ZERO_64 = ctypes.c_double(1.0), ctypes.c_double(0.0)
_FACTORS_32 = ctypes.addressof(_ONE_32), ctypes.addressof(_ZERO_32)
_FACTORS_64 = ctypes.addressof(_ONE_64), ctypes.addressof(_ZERO_64)


def compute_type(dtype: str) -> tuple[int, int, int]:
    """cuBLAS's compute type for a dtype in the precision in force, and the addresses of 1 and 0 in it."""
    if dtype == "float64":
        return _COMPUTE_64F, *_FACTORS_64
    if dtype == "float32" and current_precision() == "tf32":
        return _COMPUTE_32F_FAST_TF32, *_FACTORS_32
    return _COMPUTE_32F, *_FACTORS_32


@functools.cache
def library() -> Any:
    """The library, wherever CuPy would find it.

    Raises:
      DeviceError: it is not installed.
    """
    try:
        return typed(ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path))
    except (pathfinder.DynamicLibNotFoundError, OSError) as e:
        raise errors.missing_cuda_library("cuBLAS", str(e).splitlines()[0]) from e


@functools.cache
def available() -> bool:
    """Whether the library is installed; said once if it is not: Knet's own kernels take its place."""
    try:
        library()
    except errors.DeviceError as e:
        warnings.warn(f"{e}\n  Until then matrix products are Knet's own kernels, which are slower.", RuntimeWarning, 2)
        return False
    return True


def check(what: str, status: int) -> None:
    """Raise DeviceError if a call did not succeed."""
    if status:
        raise errors.device_call_failed("cuBLAS", what, f"{_STATUS.get(status, 'an unknown failure')} ({status})")


_INT, _LONG, _POINTER = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
_MATRIX = (_POINTER, _INT, _INT)  # address, type, leading dimension
_PROTOTYPES: dict[str, Sequence[Any]] = {
    "cublasCreate_v2": (_POINTER,),
    "cublasSetStream_v2": (_POINTER, _POINTER),
    "cublasSetWorkspace_v2": (_POINTER, _POINTER, ctypes.c_size_t),
    "cublasSetMathMode": (_POINTER, _INT),
    "cublasGemmEx": (_POINTER, *[_INT] * 5, _POINTER, *_MATRIX, *_MATRIX, _POINTER, *_MATRIX, _INT, _INT),
    "cublasGemmStridedBatchedEx": (
        _POINTER, *[_INT] * 5, _POINTER, *_MATRIX, _LONG, *_MATRIX, _LONG, _POINTER, *_MATRIX, _LONG, _INT, _INT, _INT,
    ),
}  # fmt: skip


def typed(library: Any) -> Any:
    """The library with its functions' types: without them ctypes would cut pointers to ints."""
    for name, arguments in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype = _INT
        function.argtypes = arguments
    return library
