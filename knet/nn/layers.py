"""Layers: a layer is a pair of pure functions, ``init`` and ``apply``.

``params = layer.init(key, input_shape)`` draws the parameters for inputs of that shape, the batch axis left out;
``y = layer(params, x)`` is ``layer.apply(params, x)``. A layer itself holds settings only: it is immutable, two of the
same settings are equal, and it hashes, so it can be a static argument of a compiled function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, overload

import numpy as np

from .. import numpy as knp
from .. import random
from ..core import dtypes, errors, tree
from ..core.array import Array
from ..core.aval import size_of
from ..core.device import as_array
from . import convolution, init
from .activations import dropout

__all__ = ["AvgPool", "Chain", "Conv", "Dense", "Dropout", "Flatten", "Layer", "MaxPool", "summary"]

Shape = tuple[int, ...]


class Layer:
    """Base of all layers, and how to write your own.

    A subclass is a frozen dataclass whose fields are its settings, and defines ``init``, ``apply`` and ``output_shape``
    as far as they differ from those here: no parameters, and outputs of the shape of the input.

    Example:
      >>> import knet
      >>> import knet.numpy as knp
      >>> import dataclasses
      >>> from knet import nn
      >>> @dataclasses.dataclass(frozen=True, repr=False)
      ... class Scale(nn.Layer):
      ...     start: float = 1.0
      ...     def init(self, key, input_shape, dtype="float32"):
      ...         return {"scale": knp.full(input_shape[-1:], self.start, dtype=dtype)}
      ...     def apply(self, params, x, *, key=None):
      ...         return x * params["scale"]
      >>> model = nn.Chain(nn.Dense(10), Scale(2.0))
      >>> model.init(knet.random.key(0), (4,))[1]
      {'scale': Array([2., 2., 2., 2., 2., 2., 2., 2., 2., 2.], dtype=float32)}
    """

    uses_key = False  # whether apply draws random numbers when it is given a key

    def init(self, key: Any, input_shape: Shape, dtype: Any = dtypes.float32) -> Any:
        """First values of the parameters.

        Args:
          key: uint64 [2], from :mod:`knet.random`.
          input_shape: of one instance, without the batch axis: (1, 28, 28) for x [N, 1, 28, 28].
          dtype: of the parameters.

        Returns:
          A pytree of arrays; () for a layer without parameters.

        Raises:
          ShapeError: the layer does not take such inputs.
        """
        self.output_shape(input_shape)
        return ()

    def apply(self, params: Any, x: Any, *, key: Any = None) -> Array:
        """Output for a batch x [N, *input_shape]; ``key`` is for layers that draw random numbers in training."""
        raise NotImplementedError

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the output for one instance of ``input_shape``, both without the batch axis."""
        return tuple(input_shape)

    def __call__(self, params: Any, x: Any, *, key: Any = None) -> Array:
        return self.apply(params, x, key=key)

    def __post_init__(self) -> None:
        for field in _fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, convolution.frozen(value))

    def __repr__(self) -> str:
        parts = []
        for field in _fields(self):
            value = getattr(self, field.name)
            text = _name(value)
            if field.default is dataclasses.MISSING:
                parts.append(text)
            elif value != field.default:
                parts.append(f"{field.name}={text}")
        return f"{type(self).__name__}({', '.join(parts)})"


def _fields(layer: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(layer) if dataclasses.is_dataclass(layer) else ()


def _name(value: Any) -> str:
    """A layer's or number's repr, a function's name."""
    return value.__name__ if callable(value) and hasattr(value, "__name__") else repr(value)


def _positive(layer: str, argument: str, value: Any) -> None:
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise errors.argument(layer, argument, value, "a positive integer is needed", f"write {layer}(10), for example")


def _wrong_input(layer: Layer, where: str, shape: Any, rule: str, fix: str) -> errors.ShapeError:
    return errors.shape_argument(f"{layer!r}", where, shape, rule, fix)


@dataclasses.dataclass(frozen=True, repr=False)
class Dense(Layer):
    """Affine map of the last axis: y = x w + b.

    Params {"w": [in, out], "b": [out]}, or {"w"} alone without bias. x [..., in] becomes [..., out]; in is taken from
    the last axis of ``input_shape``.

    Args:
      features: out, at least 1.
      use_bias: whether b is added.
      w_init, b_init: initialisers, see :mod:`knet.nn.init`.

    Raises:
      ShapeError: from apply, where the last axis of x is not in.

    Example:
      >>> import knet
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> layer = nn.Dense(64)
      >>> params = layer.init(knet.random.key(0), (784,))
      >>> layer(params, knp.ones((100, 784))).shape
      (100, 64)
    """

    features: int
    use_bias: bool = True
    w_init: init.Initializer = init.xavier_uniform
    b_init: init.Initializer = init.zeros

    def __post_init__(self) -> None:
        _positive("Dense", "features", self.features)

    def init(self, key: Any, input_shape: Shape, dtype: Any = dtypes.float32) -> dict[str, Array]:
        """See :meth:`Layer.init`."""
        self.output_shape(input_shape)
        w_key, b_key = random.split(key)
        params = {"w": self.w_init(w_key, (input_shape[-1], self.features), dtype)}
        if self.use_bias:
            params["b"] = self.b_init(b_key, (self.features,), dtype)
        return params

    def apply(self, params: Any, x: Any, *, key: Any = None) -> Array:
        """See :meth:`Layer.apply`."""
        w = params["w"]
        x = as_array(x, "Dense")
        shape = x.shape
        if not shape or shape[-1] != w.shape[0]:
            fits = len(shape) > 2 and size_of(shape[1:]) == w.shape[0]
            raise _wrong_input(
                self, "x.shape", list(shape), f"w is {list(w.shape)}, so the last axis of x must be {w.shape[0]}",
                "put nn.flatten before this layer" if fits else "init the layer for such inputs, or correct x",
            )  # fmt: skip
        y = knp.matmul(x, w)
        return y + params["b"] if self.use_bias else y

    def output_shape(self, input_shape: Shape) -> Shape:
        """See :meth:`Layer.output_shape`."""
        if not input_shape:
            raise _wrong_input(
                self, "input_shape", input_shape, "an instance needs an axis of features", "pass such as (784,)"
            )
        return (*input_shape[:-1], self.features)


@dataclasses.dataclass(frozen=True, repr=False)
class Conv(Layer):
    """Convolution over all spatial axes; see :func:`knet.nn.conv`.

    Params {"w": [O, C/groups, *K], "b": [O]}, or {"w"} alone without bias. x [N, C, *S] becomes [N, O, *S']; C and the
    number of spatial axes are taken from ``input_shape`` (C, *S).

    Args:
      channels: O, at least 1.
      window: sizes K of the kernel; one number for all spatial axes, or one for each.
      stride, padding, dilation, groups: as in :func:`knet.nn.conv`.
      use_bias: whether b is added.
      w_init, b_init: initialisers, see :mod:`knet.nn.init`.

    Raises:
      ShapeError: inputs that do not fit.

    Example:
      >>> import knet
      >>> from knet import nn
      >>> layer = nn.Conv(20, 5)
      >>> params = layer.init(knet.random.key(0), (1, 28, 28))
      >>> params["w"].shape, layer.output_shape((1, 28, 28))
      ((20, 1, 5, 5), (20, 24, 24))
    """

    channels: int
    window: int | Shape
    stride: int | Shape = 1
    padding: Any = 0
    dilation: int | Shape = 1
    groups: int = 1
    use_bias: bool = True
    w_init: init.Initializer = init.xavier_uniform
    b_init: init.Initializer = init.zeros

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive("Conv", "channels", self.channels)
        _positive("Conv", "groups", self.groups)

    def init(self, key: Any, input_shape: Shape, dtype: Any = dtypes.float32) -> dict[str, Array]:
        """See :meth:`Layer.init`."""
        self.output_shape(input_shape)
        window = convolution.per_axis(repr(self), "window", self.window, len(input_shape) - 1)
        w_key, b_key = random.split(key)
        params = {"w": self.w_init(w_key, (self.channels, input_shape[0] // self.groups, *window), dtype)}
        if self.use_bias:
            params["b"] = self.b_init(b_key, (self.channels,), dtype)
        return params

    def apply(self, params: Any, x: Any, *, key: Any = None) -> Array:
        """See :meth:`Layer.apply`."""
        w = params["w"]
        x = as_array(x, "Conv")
        shape, kernel = x.shape, w.shape
        if len(shape) != len(kernel) or shape[1] != kernel[1] * self.groups:
            wanted = (
                f"[N, {kernel[1] * self.groups}, {', '.join('HW' if len(kernel) == 4 else 'S' * (len(kernel) - 2))}]"
            )
            raise _wrong_input(
                self, "x.shape", list(shape), f"w is {list(kernel)}, so x must be {wanted}",
                "add the batch axis with x[None]" if len(shape) == len(kernel) - 1 else "reshape x, or init the layer "
                "for such inputs",
            )  # fmt: skip
        return convolution.conv(
            x, w, params["b"] if self.use_bias else None,
            stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups,
        )  # fmt: skip

    def output_shape(self, input_shape: Shape) -> Shape:
        """See :meth:`Layer.output_shape`."""
        sizes = _spatial(self, input_shape, self.window, self.stride, self.padding, self.dilation)
        if input_shape[0] % self.groups or self.channels % self.groups:
            raise _wrong_input(
                self, "input_shape", tuple(input_shape), f"groups must divide C = {input_shape[0]} and {self.channels}",
                "correct groups",
            )  # fmt: skip
        return (self.channels, *sizes)


def _spatial(layer: Layer, input_shape: Shape, window: Any, stride: Any, padding: Any, dilation: Any) -> Shape:
    if len(input_shape) < 2:
        raise _wrong_input(
            layer, "input_shape", tuple(input_shape), "an instance is (C, *S), channels and at least one spatial axis",
            "pass such as (1, 28, 28)",
        )  # fmt: skip
    name, sizes = repr(layer), tuple(input_shape[1:])
    window = convolution.per_axis(name, "window", window, len(sizes))
    out = convolution.convolved_sizes(name, sizes, window, stride, padding, dilation)
    if min(out) < 1:
        raise _wrong_input(
            layer, "input_shape", tuple(input_shape),
            f"the window {list(window)} does not fit: the output's sizes would be {list(out)}",
            "use larger inputs, a smaller window, or padding",
        )  # fmt: skip
    return out


@dataclasses.dataclass(frozen=True, repr=False)
class _Pool(Layer):
    window: int | Shape
    stride: int | Shape | None = None
    padding: Any = 0

    def output_shape(self, input_shape: Shape) -> Shape:
        """See :meth:`Layer.output_shape`."""
        stride = self.window if self.stride is None else self.stride
        return (input_shape[0], *_spatial(self, input_shape, self.window, stride, self.padding, 1))


@dataclasses.dataclass(frozen=True, repr=False)
class MaxPool(_Pool):
    """Maximum over windows: [N, C, *S] to [N, C, *S']; no params; see :func:`knet.nn.max_pool`.

    Args:
      window: sizes; one number for all spatial axes, or one for each.
      stride: ``window`` if None.
      padding: as in :func:`knet.nn.max_pool`.

    Example:
      >>> from knet import nn
      >>> nn.MaxPool(2).output_shape((20, 24, 24))
      (20, 12, 12)
    """

    def apply(self, params: Any, x: Any, *, key: Any = None) -> Array:
        """See :meth:`Layer.apply`."""
        return convolution.max_pool(x, self.window, stride=self.stride, padding=self.padding)


@dataclasses.dataclass(frozen=True, repr=False)
class AvgPool(_Pool):
    """Mean over windows: [N, C, *S] to [N, C, *S']; no params; see :func:`knet.nn.avg_pool`.

    Args:
      window: sizes; one number for all spatial axes, or one for each.
      stride: ``window`` if None.
      padding: as in :func:`knet.nn.avg_pool`.
      include_padding: whether the padding counts in the mean.
    """

    include_padding: bool = True

    def apply(self, params: Any, x: Any, *, key: Any = None) -> Array:
        """See :meth:`Layer.apply`."""
        return convolution.avg_pool(
            x, self.window, stride=self.stride, padding=self.padding, include_padding=self.include_padding
        )


@dataclasses.dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """Elements zeroed at random in training, the identity in inference; no params; see :func:`knet.nn.dropout`.

    Given a key it drops, as in ``model(params, x, key=key)`` with a new key for each step; without one it does not.

    Args:
      rate: probability of zero, in [0, 1).

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.Dropout(0.5)((), knp.ones(3))
      Array([1., 1., 1.], dtype=float32)
    """

    rate: float
    uses_key = True

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise errors.probability("Dropout", "rate", self.rate)

    def apply(self, params: Any, x: Any, *, key: Any = None) -> Array:
        """See :meth:`Layer.apply`; drops if a key is given."""
        return x if key is None else dropout(key, x, self.rate)


@dataclasses.dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """All axes but the first made one: [N, ...] to [N, D]; no params. The function nn.flatten does as well."""

    def apply(self, params: Any, x: Any, *, key: Any = None) -> Array:
        """See :meth:`Layer.apply`."""
        return convolution.flatten(x)

    def output_shape(self, input_shape: Shape) -> Shape:
        """See :meth:`Layer.output_shape`."""
        return (size_of(input_shape),)


@dataclasses.dataclass(frozen=True, repr=False, init=False)
class Chain(Layer):
    """Layers and functions, one after another.

    Params are a tuple with one entry for each member, () for those without parameters: ``params[i]`` belongs to
    ``model[i]``, and ``model[:3](params[:3], x)`` is the output of the first three. (A dict with names made up of
    numbers would be sorted as text, "10" before "2", and know no slices.)

    Args:
      layers: layers, or functions of one array. A function's output shape is found by calling it on a batch of one
        instance of zeros.

    Raises:
      DTypeError: a member that is neither. ShapeError: inputs that do not fit, or params of another model; a note names
        the member in which an error arose.

    A key given to the model reaches those members that draw random numbers, as ``fold_in(key, i)`` for member i.

    Example:
      >>> import knet
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> model = nn.Chain(nn.Dense(64), nn.relu, nn.Dense(10))
      >>> model
      Chain(
        Dense(64),
        relu,
        Dense(10),
      )
      >>> params = model.init(knet.random.key(0), (784,))
      >>> params[2]["w"].shape
      (64, 10)
      >>> model(params, knp.ones((100, 784))).shape
      (100, 10)
    """

    layers: tuple[Any, ...]

    def __init__(self, *layers: Any) -> None:
        for i, layer in enumerate(layers):
            if isinstance(layer, type) or not callable(layer):
                fix = f"write {layer.__name__}(...)" if isinstance(layer, type) else "wrap the value in a function of x"
                raise errors.DTypeError(
                    f"Chain: member {i} is {layer!r}: members are layers or functions of one array.\n  fix: {fix}."
                )
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "uses_key", any(isinstance(f, Layer) and f.uses_key for f in layers))

    def init(self, key: Any, input_shape: Shape, dtype: Any = dtypes.float32) -> tuple[Any, ...]:
        """See :meth:`Layer.init`."""
        params, shape = [], tuple(input_shape)
        for i, layer in enumerate(self.layers):
            try:
                params.append(layer.init(random.fold_in(key, i), shape, dtype) if isinstance(layer, Layer) else ())
                shape = _shape_after(layer, shape)
            except Exception as e:
                e.add_note(f"  in member {i} of the Chain, {_name(layer)}, for instances of shape {shape}")
                raise
        return tuple(params)

    def apply(self, params: Any, x: Any, *, key: Any = None) -> Array:
        """See :meth:`Layer.apply`."""
        layers = self.layers
        if len(params) != len(layers):
            raise errors.argument(
                "Chain", "len(params)", len(params), f"params has one entry for each of the {len(layers)} members",
                "pass the params that this model's init returned",
            )  # fmt: skip
        i, layer = 0, None
        try:
            for i, layer in enumerate(layers):
                if not isinstance(layer, Layer):
                    x = layer(x)
                elif key is not None and layer.uses_key:
                    x = layer.apply(params[i], x, key=random.fold_in(key, i))
                else:
                    x = layer.apply(params[i], x)
        except Exception as e:
            e.add_note(f"  in member {i} of the Chain, {_name(layer)}, given {errors.describe(x)}")
            raise
        return x

    def output_shape(self, input_shape: Shape) -> Shape:
        """See :meth:`Layer.output_shape`."""
        shape = tuple(input_shape)
        for layer in self.layers:
            shape = _shape_after(layer, shape)
        return shape

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Chain: ...
    def __getitem__(self, index: int | slice) -> Any:
        return Chain(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def __repr__(self) -> str:
        members = "".join(f"  {_name(layer)},\n".replace("\n", "\n  ").rstrip(" ") for layer in self.layers)
        return f"Chain(\n{members})" if self.layers else "Chain()"


def _shape_after(layer: Any, shape: Shape) -> Shape:
    """Shape of one output instance of a layer or a function."""
    if isinstance(layer, Layer):
        return tuple(layer.output_shape(shape))
    with np.errstate(all="ignore"):  # only the shape counts, so log(0) is no matter
        return tuple(layer(knp.zeros((1, *shape))).shape[1:])


def summary(model: Layer, input_shape: Shape) -> str:
    """Table of a model's members: output shape and number of parameters of each, and of all.

    Example:
      >>> from knet import nn
      >>> print(nn.summary(nn.Chain(nn.Dense(64), nn.relu, nn.Dense(10)), (784,)))
      Dense(64)  (64,)  50,240
      relu       (64,)       0
      Dense(10)  (10,)     650
      total             50,890
    """
    rows, total, shape = [], 0, tuple(input_shape)
    for layer in model if isinstance(model, Chain) else (model,):
        params = layer.init(random.key(0), shape) if isinstance(layer, Layer) else ()
        count = sum(leaf.size for leaf in tree.leaves(params))
        shape, total = _shape_after(layer, shape), total + count
        rows.append((_name(layer).replace("\n", ""), str(shape), f"{count:,}"))
    rows.append(("total", "", f"{total:,}"))
    name, size, number = (max(map(len, column)) for column in zip(*rows))
    return "\n".join(f"{a:<{name}}  {b:<{size}}  {c:>{number}}" for a, b, c in rows)
