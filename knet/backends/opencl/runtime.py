"""One OpenCL device at work: memory from a pool, compiled kernels, and an in-order queue."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...compiler.device.memory import parse_limit
from ...compiler.kernels.kernel import Extent, Kernel
from ...compiler.kernels.prelude import prelude
from ...core import errors
from . import clblast
from .devices import Choice, build_options, cl, find_devices, target_of, works_in_host_memory
from .failures import decoded
from .memory import Memory
from .products import PRODUCTS, GemmFunction, PreparedGemm
from .programs import Function, build, pack_offset
from .transfers import Transfers


class OpenCLRuntime:
    """See :class:`knet.compiler.device.runtime.Runtime`. Memory is a ``pyopencl.MemoryObjectHolder``.

    Attributes:
      name: of the device and its platform.
      device, status, pending: Knet's device, and what kernels noted on it; see knet.compiler.device.
      launched, copied: kernels queued, and arrays moved between host and device.
    """

    def __init__(self, choice: Choice) -> None:
        self.name = str(choice)
        self.target = target_of(choice.device)
        if clblast.wanted(choice.device):
            self.target = self.target._replace(own=PRODUCTS)
        self.launched = 0
        self.copied = 0
        self.device: Any = None
        self.status: Any = None
        self.pending = False
        try:
            self._context = cl.Context([choice.device])
            self.queue = cl.CommandQueue(self._context)
        except cl.Error as e:
            raise decoded(e, self.name, "opening it") from e
        shared = works_in_host_memory(choice.device)
        self._memory = Memory(self._context, self.queue, choice.device, self.name, shared)
        self._transfers = Transfers(self.queue, self._memory, shared)
        self._options = build_options(choice.device)
        self.allocate = self._memory.allocate
        # Whoever launches a function holds it: the code of a program that is gone goes, too.
        self._functions: weakref.WeakValueDictionary[str, Function | GemmFunction] = weakref.WeakValueDictionary()
        self._lock = threading.RLock()
        _opened.add(self)

    # --- kernels -----------------------------------------------------------------------------------------------------

    def functions(self, kernels: Sequence[Kernel]) -> list[Function | GemmFunction]:
        with self._lock:
            found = {k.name: f for k in kernels if (f := self._functions.get(k.name)) is not None}
            new = {kernel.name: kernel for kernel in kernels if kernel.name not in found}
            made: dict[str, Function | GemmFunction] = {
                name: GemmFunction(self, kernel) for name, kernel in new.items() if not kernel.source
            }
            if written := [kernel for kernel in new.values() if kernel.source]:
                target = self.target
                text = prelude(target.dialect, target.doubles, target.loops)
                made |= build(self._context, self._options, self.name, text, written)
            self._functions.update(made)
            found |= made
            return [found[kernel.name] for kernel in kernels]

    def launch(
        self,
        function: Function | GemmFunction,
        groups: Extent,
        pointers: Sequence[tuple[Any, int]],
        numbers: Sequence[Any],
    ) -> None:
        if 0 in groups:
            return
        if isinstance(function, GemmFunction):
            return PreparedGemm(self, function, pointers, numbers).run()
        kernel = function.kernel
        try:
            with self._lock:  # arguments are the kernel's state: they are set and queued by one thread at a time
                function.set(kernel, pointers, numbers)
                cl.enqueue_nd_range_kernel(self.queue, kernel, groups, function.items, None, None, g_times_l=True)
                self.launched += 1
        except cl.Error as e:
            raise decoded(e, self.name, f"launching {function.name}") from e

    def prepare(
        self,
        function: Function | GemmFunction,
        groups: Extent,
        pointers: Sequence[tuple[Any, int]],
        numbers: Sequence[Any],
    ) -> Prepared | PreparedGemm:
        if isinstance(function, GemmFunction):
            return PreparedGemm(self, function, pointers, numbers)
        return Prepared(self, function, groups, pointers, numbers)

    # --- arrays ------------------------------------------------------------------------------------------------------

    def upload(self, array: np.ndarray[Any, Any]) -> Any:
        try:
            self.copied += 1
            return self._transfers.upload(array)
        except cl.Error as e:
            raise decoded(e, self.name, f"copying {array.nbytes} bytes to it") from e

    def download(self, memory: Any, offset: int, nbytes: int) -> np.ndarray[Any, Any]:
        try:
            self.copied += 1
            return self._transfers.download(memory, offset, nbytes)
        except cl.Error as e:
            raise decoded(e, self.name, f"copying {nbytes} bytes from it") from e

    def synchronize(self) -> None:
        try:
            self.queue.finish()
        except cl.Error as e:
            raise decoded(e, self.name, "waiting for it") from e

    # --- memory ------------------------------------------------------------------------------------------------------

    def memory_used(self) -> int:
        return self._memory.used

    def memory_held(self) -> int:
        return self._memory.held

    def memory_limit(self) -> int | None:
        return self._memory.limit

    def set_memory_limit(self, limit: int | str | None) -> None:
        total = self._memory.total
        self._memory.limit = None if limit is None else parse_limit("memory.set_limit: limit", limit, total)

    def free_memory(self) -> None:
        self._memory.free()


class Prepared:
    """A launch whose arguments are set: ``run`` queues it, ``set`` exchanges the memory behind one pointer.

    It has a kernel object of its own, is for one thread at a time, and keeps no memory alive: whoever runs it does.
    """

    __slots__ = ("_function", "_groups", "_kernel", "_offsets", "_runtime")

    def __init__(
        self,
        runtime: OpenCLRuntime,
        function: Function,
        groups: Extent,
        pointers: Sequence[tuple[Any, int]],
        numbers: Sequence[Any],
    ) -> None:
        self._runtime = runtime
        self._function = function
        self._groups = groups
        self._kernel = function.another()
        self._offsets = [offset for _, offset in pointers]
        function.set(self._kernel, pointers, numbers)

    def set(self, i: int, memory: Any, offset: int = 0) -> None:
        """Let pointer ``i`` begin at an element of another piece of memory, from the next ``run`` on."""
        self._kernel._set_arg_multi((2 * i, memory))
        if offset != self._offsets[i]:
            self._kernel._set_arg_buf_multi((2 * i + 1, pack_offset(offset)))
            self._offsets[i] = offset

    def run(self) -> None:
        """Queue it, unless it has no groups."""
        runtime, groups = self._runtime, self._groups
        if 0 in groups:
            return
        try:
            items = self._function.items
            cl.enqueue_nd_range_kernel(runtime.queue, self._kernel, groups, items, None, None, g_times_l=True)
        except cl.Error as e:
            raise decoded(e, runtime.name, f"launching {self._function.name}") from e
        runtime.launched += 1


_opening = threading.Lock()
_opened: weakref.WeakSet[OpenCLRuntime] = weakref.WeakSet()
_runtimes: list[OpenCLRuntime] = []


def runtimes() -> list[OpenCLRuntime]:
    """A runtime for each device, in the order of their numbers. Asks the drivers when it is first called.

    Raises:
      DeviceError: there is no device, or not the one that ``KNET_OPENCL_DEVICE`` names.
    """
    with _opening:
        if not _runtimes:
            _runtimes.extend(OpenCLRuntime(choice) for choice in find_devices())
        return _runtimes


class _Forked(OpenCLRuntime):
    """A runtime in a process that was forked from the one that opened it: the driver's threads stayed there."""

    def __getattr__(self, name: str) -> Any:
        raise errors.forked(f"OpenCL device {_name_of[id(self)]}")

    def __repr__(self) -> str:
        return "OpenCL runtime of the parent process"


_name_of: dict[int, str] = {}
_left: list[Any] = []  # what is released in a forked process would wait for the driver's threads


def _forget() -> None:
    for runtime in list(_opened):
        _name_of[id(runtime)] = runtime.name
        _left.append(dict(runtime.__dict__))
        runtime.__dict__.clear()
        runtime.__class__ = _Forked


os.register_at_fork(after_in_child=_forget)
