"""The array: a thin immutable handle on a backend's buffer, and the operators and methods that tracers share with it.

``Array`` is what users see and test with isinstance: tracers are arrays too. ``DeviceArray`` is the one concrete class.
Operators are installed by core.ops from the table of primitives; methods call ``namespace``, which is knet.numpy, set
when that is imported, so that nothing here imports upwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from . import dtypes, errors
from .aval import size_of


class Array:
    """Multi-dimensional array with one dtype, on one device. Immutable: ``x.at[i].set(v)`` returns a changed copy.

    Built by :func:`knet.numpy.asarray`, ``zeros``, ``ones``, ``arange`` and their like. Speaks the array API standard,
    NumPy's ``__array__`` and DLPack. Arrays compare elementwise and are not hashable.
    """

    __slots__ = ()
    namespace: ClassVar[Any] = None
    operators: ClassVar[dict[Any, Any]] = {}
    __array_priority__ = 1000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise errors.not_constructible()

    if TYPE_CHECKING:
        # Installed by core.ops from the table of primitives.
        def __neg__(self) -> Array: ...
        def __pos__(self) -> Array: ...
        def __abs__(self) -> Array: ...
        def __invert__(self) -> Array: ...
        def __add__(self, other: Any) -> Array: ...
        def __radd__(self, other: Any) -> Array: ...
        def __sub__(self, other: Any) -> Array: ...
        def __rsub__(self, other: Any) -> Array: ...
        def __mul__(self, other: Any) -> Array: ...
        def __rmul__(self, other: Any) -> Array: ...
        def __truediv__(self, other: Any) -> Array: ...
        def __rtruediv__(self, other: Any) -> Array: ...
        def __floordiv__(self, other: Any) -> Array: ...
        def __rfloordiv__(self, other: Any) -> Array: ...
        def __mod__(self, other: Any) -> Array: ...
        def __rmod__(self, other: Any) -> Array: ...
        def __pow__(self, other: Any) -> Array: ...
        def __rpow__(self, other: Any) -> Array: ...
        def __and__(self, other: Any) -> Array: ...
        def __rand__(self, other: Any) -> Array: ...
        def __or__(self, other: Any) -> Array: ...
        def __ror__(self, other: Any) -> Array: ...
        def __xor__(self, other: Any) -> Array: ...
        def __rxor__(self, other: Any) -> Array: ...
        def __lshift__(self, other: Any) -> Array: ...
        def __rlshift__(self, other: Any) -> Array: ...
        def __rshift__(self, other: Any) -> Array: ...
        def __rrshift__(self, other: Any) -> Array: ...
        def __eq__(self, other: Any) -> Array: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Array: ...  # type: ignore[override]
        def __lt__(self, other: Any) -> Array: ...
        def __le__(self, other: Any) -> Array: ...
        def __gt__(self, other: Any) -> Array: ...
        def __ge__(self, other: Any) -> Array: ...

    # --- what it is ------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        raise NotImplementedError

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the elements."""
        raise NotImplementedError

    @property
    def device(self) -> Any:
        """Where the array lives."""
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return size_of(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        if api_version not in (None, *API_VERSIONS):
            raise errors.api_version(api_version, API_VERSIONS)
        return Array.namespace

    # --- conversion ------------------------------------------------------------------------------------------------

    def _host(self, wanted: str) -> np.ndarray[Any, Any]:
        """Contents as a NumPy array; a tracer raises, naming what was wanted."""
        raise NotImplementedError

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        host = self._host("numpy.asarray")
        if copy is False and self.device.backend.name != "cpu":
            raise ValueError(f"numpy.asarray: the array is on {self.device}: copy=False forbids to copy it to the host")
        return np.array(host, dtype, copy=copy) if dtype is not None or copy else host

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        # numpy_array * x arrives here: answer it as x.__rmul__ would. All else is a NumPy function given a Knet array.
        operator = Array.namespace.matmul if ufunc is np.matmul else Array.operators.get(ufunc)
        if method == "__call__" and operator is not None and len(inputs) == 2 and not kwargs:
            if isinstance(inputs[0], (np.ndarray, np.generic)):
                return operator(*inputs)
        raise errors.ufunc_refused(ufunc.__name__, hasattr(Array.namespace, ufunc.__name__))

    def item(self) -> Any:
        """The only element, as a Python number."""
        return self._single("item").item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self._host("tolist").tolist()

    def _single(self, kind: str) -> np.ndarray[Any, Any]:
        if self.size != 1:
            raise errors.not_scalar(kind, self.shape)
        return self._host(f"{kind}(x)").reshape(())

    def _real(self, kind: str) -> np.ndarray[Any, Any]:
        if self.dtype.kind == "c":
            raise errors.complex_to_real(self.dtype, kind)
        return self._single(kind)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise errors.ambiguous_truth(self.shape)
        return bool(self._host("bool(x)").reshape(()))

    def __int__(self) -> int:
        return int(self._real("int"))

    def __float__(self) -> float:
        return float(self._real("float"))

    def __complex__(self) -> complex:
        return complex(self._single("complex"))

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise errors.bad_index(self)
        return int(self._single("int"))

    def __format__(self, spec: str) -> str:
        return format(self._single("format").item(), spec) if spec else str(self)

    def __len__(self) -> int:
        if not self.shape:
            raise errors.zero_dim_iteration("len(x)")
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        if not self.shape:
            raise errors.zero_dim_iteration("iter(x)")
        # At once and not row by row: the derivative of T slices would add T arrays of the whole's size.
        return iter(Array.namespace.unstack(self))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __hash__(self) -> int:
        raise errors.unhashable()

    def to_device(self, device: Any, /, *, stream: Any = None) -> Array:
        """The array on another device, such as "cuda:0" or "cpu"; itself if it is there already."""
        return Array.namespace.to_device(self, device)

    def block_until_ready(self) -> Array:
        """The array itself, once its device has finished computing it."""
        return self

    # --- indexing --------------------------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Array:
        return Array.namespace.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise errors.immutable(index)

    @property
    def at(self) -> At:
        """Indexed update: ``x.at[i].set(v)``, likewise ``add``, ``subtract``, ``multiply``, ``divide``, ``power``,
        ``apply``, ``max``, ``min`` and ``get``, each with a ``mode`` for indices out of bounds."""
        return At(self)

    def __matmul__(self, other: Any) -> Array:
        return Array.namespace.matmul(self, other) if isinstance(other, OPERANDS) else NotImplemented

    def __rmatmul__(self, other: Any) -> Array:
        return Array.namespace.matmul(other, self) if isinstance(other, OPERANDS) else NotImplemented

    # --- methods: the functions of the same names in knet.numpy ------------------------------------------------------

    @property
    def real(self) -> Array:
        """Real part; see knet.numpy.real."""
        return Array.namespace.real(self)

    @property
    def imag(self) -> Array:
        """Imaginary part; see knet.numpy.imag."""
        return Array.namespace.imag(self)

    def conj(self) -> Array:
        """Complex conjugate; see knet.numpy.conj."""
        return Array.namespace.conj(self)

    @property
    def T(self) -> Array:
        """Axes in reverse order."""
        return Array.namespace.transpose(self)

    @property
    def mT(self) -> Array:
        """Last two axes exchanged."""
        return Array.namespace.matrix_transpose(self)

    def reshape(self, *shape: Any) -> Array:
        """Same elements in row-major order under another shape; one size may be -1."""
        return Array.namespace.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Array:
        """Axes permuted; without arguments, reversed."""
        if not axes:
            return self.T
        return Array.namespace.permute_dims(self, axes[0] if isinstance(axes[0], (tuple, list)) else axes)

    def ravel(self) -> Array:
        """All elements along one axis, in row-major order."""
        return Array.namespace.reshape(self, (-1,))

    def flatten(self) -> Array:
        """All elements along one axis, in row-major order."""
        return Array.namespace.reshape(self, (-1,))

    def dot(self, other: Any) -> Array:
        """Dot product; see knet.numpy.dot."""
        return Array.namespace.dot(self, other)

    if TYPE_CHECKING:
        # The functions themselves, installed by knet.numpy: a method that called them would cost as much as they do.
        def astype(self, dtype: Any, *, copy: bool = True) -> Array: ...
        def squeeze(self, axis: Any = None) -> Array: ...
        def sum(self, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Array: ...
        def prod(self, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> Array: ...
        def mean(self, axis: Any = None, *, keepdims: bool = False) -> Array: ...
        def var(self, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Array: ...
        def std(self, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Array: ...
        def max(self, axis: Any = None, *, keepdims: bool = False) -> Array: ...
        def min(self, axis: Any = None, *, keepdims: bool = False) -> Array: ...
        def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Array: ...
        def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Array: ...
        def any(self, axis: Any = None, *, keepdims: bool = False) -> Array: ...
        def all(self, axis: Any = None, *, keepdims: bool = False) -> Array: ...
        def clip(self, min: Any = None, max: Any = None) -> Array: ...
        def round(self, decimals: int = 0) -> Array: ...
        def cumsum(self, axis: int | None = None) -> Array: ...


class Donated:
    """What stands for the buffer of an array that was given up (``donate_argnums`` of jit): every use is an error."""

    __slots__ = ("was",)

    def __init__(self, was: str) -> None:
        self.was = was

    def __getattr__(self, name: str) -> Any:
        raise errors.donated(self.was)

    def __array__(self, *_args: Any, **_options: Any) -> Any:  # looked up on the type
        raise errors.donated(self.was)


class DeviceArray(Array):
    """An array whose elements are in a buffer of a backend."""

    __slots__ = ("__weakref__", "_buffer", "_device")
    _buffer: Any
    _device: Any

    def __init__(self, buffer: Any, device: Any) -> None:
        self._buffer = buffer
        self._device = device

    @property
    def shape(self) -> tuple[int, ...]:
        return self._buffer.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._buffer.dtype

    @property
    def device(self) -> Any:
        return self._device

    def __getitem__(self, index: Any) -> Array:
        kind, device = type(index), self._device
        if device.select is not None:
            try:
                own = index if kind is int or kind is slice else _on_device(index, device)
                return DeviceArray(device.select(self._buffer, own), device)
            except Exception:  # the function below says what is wrong
                pass
        return Array.namespace.getitem(self, index)

    def __iter__(self) -> Iterator[Array]:
        if not self.shape:
            raise errors.zero_dim_iteration("iter(x)")
        return (self[i] for i in range(self.shape[0]))

    def _host(self, wanted: str) -> np.ndarray[Any, Any]:
        host = np.asarray(self._device.backend.to_host(self._buffer))
        if host.flags.writeable:
            host = host.view()
            host.flags.writeable = False
        return host

    def block_until_ready(self) -> Array:
        self._device.backend.synchronize(self._device)
        return self

    def __repr__(self) -> str:
        text = repr(self._host("repr(x)"))
        text = "Array" + text[len("array") :]
        if "dtype=" in text or self.dtype in (dtypes.int64, dtypes.bool_):
            return text
        return f"{text[:-1]}, dtype={self.dtype})"

    def __str__(self) -> str:
        return str(self._host("str(x)"))

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Capsule with the memory, for another library's ``from_dlpack``.

        It shares the memory unless ``copy`` is True, the memory is shared already and the reader too old to be told
        that it is read-only, or ``dl_device`` is the CPU and the array elsewhere.
        """
        own, memory = self.__dlpack_device__(), self._exported()
        if copy is False and isinstance(memory, np.ndarray) and memory is not self._buffer:
            raise BufferError(f"__dlpack__: the memory of {self.device} is not for other libraries: let them copy it")
        if not _VERSIONED_DLPACK and isinstance(memory, np.ndarray):
            max_version = None
        if dl_device is not None and dl_device != own:
            if dl_device != DLPACK_CPU or copy is False:
                raise BufferError(f"__dlpack__: the array is on {own}, not on {dl_device}: move it with x.to_device")
            memory, copy = np.array(self._host("__dlpack__")), None
        if isinstance(memory, np.ndarray):
            if stream is not None:
                raise BufferError(f"__dlpack__: stream={stream!r}: the CPU has no streams, pass None")
            if copy or (not memory.flags.writeable and copy is None and (max_version is None or max_version < (1, 0))):
                memory = np.array(memory)
            return memory.__dlpack__() if max_version is None else memory.__dlpack__(max_version=max_version)
        return memory.__dlpack__(stream=stream, max_version=max_version, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self._exported().__dlpack_device__()
        return int(kind), number

    def _exported(self) -> Any:
        """What speaks DLPack for the buffer: itself, what the backend has for it, or a NumPy array."""
        buffer, backend = self._buffer, self._device.backend
        if hasattr(buffer, "__dlpack__"):
            return buffer
        return backend.exported(buffer) if hasattr(backend, "exported") else np.asarray(backend.to_host(buffer))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The memory of an array on CUDA, for libraries that ask for it; elsewhere there is no such attribute."""
        return self._exported().__cuda_array_interface__

    def __reduce__(self) -> Any:
        # Saved on one device, loaded on whichever is the default then.
        return _restore, (np.array(self._host("pickle")),)

    def __copy__(self) -> DeviceArray:
        return self

    def __deepcopy__(self, memo: Any) -> DeviceArray:
        return self


_PLAIN = frozenset((int, slice, type(None), type(Ellipsis)))


def _on_device(index: Any, device: Any) -> tuple[Any, ...]:
    """An index with buffers in place of arrays; raises if it holds anything that not every backend takes."""
    parts = []
    for part in index if type(index) is tuple else (index,):
        if type(part) is DeviceArray and part._device is device and part._buffer.dtype.kind in "biu":
            part = part._buffer
        elif type(part) is np.ndarray and part.dtype.kind in "biu":
            part = device.backend.from_host(part, device)
        elif type(part) not in _PLAIN:
            raise TypeError
        parts.append(part)
    return tuple(parts)


class At:
    """``x.at``; indexing it names the elements that the next method reads or changes."""

    __slots__ = ("array",)

    def __init__(self, array: Array) -> None:
        self.array = array

    def __getitem__(self, index: Any) -> AtIndex:
        return AtIndex(self.array, index)


class AtIndex:
    """``x.at[index]``; each method returns a new array and leaves x as it is. Repeated indices of add all count."""

    __slots__ = ("array", "index")

    def __init__(self, array: Array, index: Any) -> None:
        self.array = array
        self.index = index

    def get(self, *, mode: str = "raise", fill_value: Any = None) -> Array:
        """``x[index]``; ``mode`` says what becomes of indices out of bounds, see knet.numpy.index_get."""
        if mode == "raise":
            return self.array[self.index]
        return Array.namespace.index_get(self.array, self.index, mode=mode, fill_value=fill_value)

    def _update(self, value: Any, how: str, mode: str) -> Array:
        return Array.namespace.index_update(self.array, self.index, value, how=how, mode=mode)

    def set(self, value: Any, *, mode: str = "raise") -> Array:
        """Copy of x with ``x[index] = value``; of repeated indices the last one counts. Modes: "raise", "clip", "wrap",
        "drop", see knet.numpy.index_update."""
        if mode == "raise":
            return Array.namespace.index_set(self.array, self.index, value)
        return self._update(value, "set", mode)

    def add(self, value: Any, *, mode: str = "raise") -> Array:
        """Copy of x with value added at the index; repeated indices add up."""
        if mode == "raise":
            return Array.namespace.index_add(self.array, self.index, value)
        return self._update(value, "add", mode)

    def subtract(self, value: Any, *, mode: str = "raise") -> Array:
        """Copy of x with value subtracted at the index; repeated indices add up."""
        return self.add(
            -value if isinstance(value, (Array, float, complex)) else -Array.namespace.asarray(value), mode=mode
        )

    def multiply(self, value: Any, *, mode: str = "raise") -> Array:
        """Copy of x with the elements at the index multiplied; each index should occur once."""
        return self.set(self.get(mode=mode) * value, mode=mode)

    def divide(self, value: Any, *, mode: str = "raise") -> Array:
        """Copy of x with the elements at the index divided; each index should occur once."""
        return self.set(self.get(mode=mode) / value, mode=mode)

    def power(self, value: Any, *, mode: str = "raise") -> Array:
        """Copy of x with the elements at the index raised to a power; each index should occur once."""
        return self.set(self.get(mode=mode) ** value, mode=mode)

    def apply(self, function: Callable[[Array], Any], *, mode: str = "raise") -> Array:
        """Copy of x with ``function(x[index])`` at the index; each index should occur once."""
        return self.set(function(self.get(mode=mode)), mode=mode)

    def max(self, value: Any, *, mode: str = "raise") -> Array:
        """Copy of x with the larger of element and value at the index; of repeated indices the largest value counts."""
        return self._update(value, "max", mode)

    def min(self, value: Any, *, mode: str = "raise") -> Array:
        """Copy of x with the smaller of element and value at the index; of repeated indices the smallest counts."""
        return self._update(value, "min", mode)


METHODS = (
    "all", "any", "argmax", "argmin", "astype", "clip", "cumsum", "max", "mean", "min", "prod", "round", "squeeze",
    "std", "sum", "var",
)  # fmt: skip


def install_namespace(namespace: Any) -> None:
    """Give arrays and tracers the module behind their methods, and its functions that are methods as they are."""
    Array.namespace = namespace
    for name in METHODS:
        setattr(Array, name, getattr(namespace, name))


def install_operators(operators: Sequence[tuple[str, Any, bool]], ufuncs: dict[Any, Any]) -> None:
    """Give arrays and tracers their operators: rows of (method, function, whether its operands are swapped)."""
    for method, function, swapped in operators:
        setattr(Array, method, _swapped(function) if swapped else function)
    Array.operators = ufuncs


def _swapped(function: Any) -> Any:
    def operator(self: Array, other: Any) -> Any:
        return function(other, self)

    return operator


API_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")
DLPACK_CPU = (1, 0)  # kDLCPU, device 0
_VERSIONED_DLPACK = np.lib.NumpyVersion(np.__version__) >= "2.1.0"

OPERANDS = (Array, bool, int, float, complex, np.ndarray, np.generic)


def _restore(host: np.ndarray[Any, Any]) -> Any:
    return Array.namespace.asarray(host)
