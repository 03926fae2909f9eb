"""CLBlast, where it is installed: a BLAS for OpenCL that is tuned for hundreds of GPUs.

Functions, types and statuses are those of ``clblast_c.h`` of its versions 1.5.3 to 1.7.0.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
import threading
from collections.abc import Sequence
from typing import Any

from ...compiler.kernels.blas import Gemm
from ...core import errors
from .devices import cl
from .failures import FIXES

LETTERS = {"float32": "S", "float64": "D"}  # CLBlast adds up half types in float16
COLUMN_MAJOR, NOT_TRANSPOSED = 102, 111  # 112 is transposed, as blas.T follows blas.N
_ALLOCATION_FAILED = -4
_STATUS = {
    -1024: "NOT_IMPLEMENTED", -1022: "INVALID_MATRIX_A", -1021: "INVALID_MATRIX_B", -1020: "INVALID_MATRIX_C",
    -1017: "INVALID_DIMENSION", -1016: "INVALID_LEAD_DIM_A", -1015: "INVALID_LEAD_DIM_B", -1014: "INVALID_LEAD_DIM_C",
    -1011: "INSUFFICIENT_MEMORY_A", -1010: "INSUFFICIENT_MEMORY_B", -1009: "INSUFFICIENT_MEMORY_C",
    -2049: "INVALID_BATCH_COUNT", -2046: "INVALID_LOCAL_MEM_USAGE", -2044: "NO_DOUBLE_PRECISION",
    -2041: "DATABASE_ERROR", -2040: "UNKNOWN_ERROR", -2039: "UNEXPECTED_ERROR",
}  # fmt: skip
_lock = threading.Lock()  # all queues share its caches, which were not safe among threads before 1.6.1


def wanted(device: Any) -> bool:
    """Whether products on a device are CLBlast's: on GPUs if it is installed, or as ``KNET_OPENCL_CLBLAST`` says.

    Raises:
      DeviceError: the variable is 1 and there is no CLBlast, or it is neither 0 nor 1.
    """
    asked = os.environ.get("KNET_OPENCL_CLBLAST", "")
    if asked not in ("", "0", "1"):
        raise errors.unknown_clblast_choice(asked)
    if asked == "1" and library() is None:
        raise errors.missing_clblast()
    return asked == "1" or (asked == "" and bool(device.type & cl.device_type.GPU) and library() is not None)


@functools.cache
def library() -> Any:
    """The library with its functions' types, or None where it is not installed."""
    name = ctypes.util.find_library("clblast")
    try:
        return typed(ctypes.CDLL(name)) if name else None
    except (OSError, AttributeError):  # AttributeError: it was built for CUDA, or is older
        return None


class Gemms:
    """Products of a dtype on the device of a runtime."""

    def __init__(self, runtime: Any, dtype: str) -> None:
        letter = LETTERS[dtype]
        self._runtime = runtime
        self._gemm = getattr(library(), f"CLBlast{letter}gemm")
        self._batched = getattr(library(), f"CLBlast{letter}gemmStridedBatched")
        self._temporary = getattr(library(), f"CLBlast{letter}GemmTempBufferSize")
        self._direct: dict[tuple[int, int, int], bool] = {}

    def queue(self, call: Gemm, places: Sequence[tuple[int, int]]) -> None:
        """Queue a product. ``places``: (buffer, offset in elements) of its three matrices.

        ``GemmStridedBatched`` is asked only where matrices are small enough to be multiplied as they lie. Larger ones
        are padded in copies, but for those that need no padding, and of these it ignores the offset and the step
        (``BatchedGemmIndirect`` in ``xgemmstridedbatched.cpp``): they are multiplied one by one.
        """
        (a, at_a), (b, at_b), (c, at_c) = places
        first = COLUMN_MAJOR, NOT_TRANSPOSED + call.trans_a, NOT_TRANSPOSED + call.trans_b, call.m, call.n, call.k, 1.0
        queue = ctypes.c_void_p(self._runtime.queue.int_ptr)
        last = ctypes.byref(queue), None
        with _lock:
            if call.batch > 1 and self._is_direct(call, queue):
                self._call(
                    self._batched, *first, a, at_a, call.lda, call.step_a, b, at_b, call.ldb, call.step_b, 0.0,
                    c, at_c, call.ldc, call.step_c, call.batch, *last,
                )  # fmt: skip
                return
            for i in range(call.batch):
                self._call(
                    self._gemm, *first, a, at_a + i * call.step_a, call.lda, b, at_b + i * call.step_b, call.ldb, 0.0,
                    c, at_c + i * call.step_c, call.ldc, *last,
                )  # fmt: skip

    def _is_direct(self, call: Gemm, queue: Any) -> bool:
        """Whether matrices of a size are multiplied as they lie: even at an offset they need no temporary memory."""
        key = call.m, call.n, call.k
        if key not in self._direct:
            size = ctypes.c_size_t()
            self._check(
                self._temporary(
                    COLUMN_MAJOR, NOT_TRANSPOSED, NOT_TRANSPOSED, *key, 1, call.m, 1, call.k, 1, call.m,
                    ctypes.byref(queue), ctypes.byref(size),
                )
            )  # fmt: skip
            self._direct[key] = size.value == 0
        return self._direct[key]

    def _call(self, function: Any, *arguments: Any) -> None:
        status = function(*arguments)
        if status == _ALLOCATION_FAILED:  # its copies lie beside the pool, which may have what they need
            self._runtime.free_memory()
            status = function(*arguments)
        self._check(status)

    def _check(self, status: int) -> None:
        if status:
            name = status_name(status)
            fix = FIXES.get(name, "set KNET_OPENCL_CLBLAST=0, which leaves products to Knet's own kernels")
            raise errors.device_call_failed(
                f"OpenCL device {self._runtime.name}", "multiplying matrices by CLBlast", f"{name} ({status})", fix
            )


def status_name(status: int) -> str:
    """The name of a status, which is CLBlast's own or the standard's."""
    if status in _STATUS:
        return _STATUS[status]
    try:
        return cl.status_code.to_string(status)
    except ValueError:
        return "an unknown failure"


_INT, _SIZE, _POINTER = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p


def prototypes() -> dict[str, tuple[Any, ...]]:
    """Types of the functions' arguments."""
    sizes = (_INT, _INT, _INT, _SIZE, _SIZE, _SIZE)  # layout, two transpositions, m, n, k
    matrix = (_POINTER, _SIZE, _SIZE)  # buffer, offset, leading dimension
    step = (*matrix, _SIZE)  # of a batch
    queue = (_POINTER, _POINTER)  # address of a queue, of an event
    types: dict[str, tuple[Any, ...]] = {}
    for letter, real in (("S", ctypes.c_float), ("D", ctypes.c_double)):
        types[f"CLBlast{letter}gemm"] = (*sizes, real, *matrix, *matrix, real, *matrix, *queue)
        types[f"CLBlast{letter}gemmStridedBatched"] = (*sizes, real, *step, *step, real, *step, _SIZE, *queue)
        types[f"CLBlast{letter}GemmTempBufferSize"] = (*sizes, *[_SIZE] * 6, _POINTER, _POINTER)
    return types


def typed(library: Any) -> Any:
    """The library with its functions' types: without them ctypes would cut pointers and sizes to ints."""
    for name, arguments in prototypes().items():
        function = getattr(library, name)
        function.restype = _INT
        function.argtypes = arguments
    return library
