"""Losses, accuracy and one-hot vectors.

``reduction`` is "mean", "sum", or "none" for one loss an instance; N is the batch, C the number of classes.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

from ..core import dtypes, errors
from ..core.array import Array, DeviceArray
from ..core.aval import size_of
from ..core.device import as_array
from ..core.ops import creation, elementwise, index, reduce
from ..core.ops import shape as shape_ops
from ..core.trace import staging
from ..numpy.manipulation import canonical_axis, moveaxis
from .activations import below_maximum

__all__ = ["accuracy", "binary_cross_entropy_with_logits", "cross_entropy", "mse", "one_hot"]

Reduction = Literal["mean", "sum", "none"]
_COMPARED = 4096  # classes up to which a compiled program finds a label's score by comparison


def cross_entropy(
    logits: Any,
    labels: Any,
    *,
    axis: int = -1,
    ignore: int | None = None,
    reduction: Reduction = "mean",
) -> Array:
    """Cross entropy of integer labels, the negative log likelihood of a softmax classifier.

    loss[n] = log(sum over c of e ** logits[n, c]) - logits[n, labels[n]]

    Args:
      logits: [..., C], scores before any softmax; half types are computed in float32.
      labels: [...] integer in [0, C), the shape of logits without ``axis``.
      axis: the axis of classes; 1 for the scores [N, C, H, W] of a segmentation.
      ignore: a label, inside or outside of [0, C), whose instances do not count: their loss and gradient are 0, and
        the mean is over the others (0 if there are none).
      reduction: "mean", "sum" or "none".

    Returns:
      [], or labels.shape for "none"; of the dtype of the logits.

    Raises:
      ShapeError: logits and labels do not fit.
      DTypeError: labels that are not integers, logits that are not floating.
      IndexError: a label outside of [0, C). It is checked where labels are concrete and on the host; elsewhere the
        result for such a label is undefined.

    The original Knet counts classes from 1 and skips label 0 in its nll: here that is ignore=0 with one class more.

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.cross_entropy(knp.asarray([[0.0, 0.0], [1000.0, 0.0]]), knp.asarray([0, 0]))
      Array(0.3465736, dtype=float32)
    """
    logits, labels = _classes("cross_entropy", logits, labels, axis)
    if not dtypes.is_differentiable(logits.dtype):
        raise errors.unsupported_dtype("cross_entropy", ("logits",), (logits,), "floating-point logits")
    dtype, shape = logits.dtype, logits.shape
    counted = None
    if ignore is not None:
        counted = elementwise.not_equal(labels, ignore)
        labels = elementwise.where(counted, labels, 0)
    classes, count = shape[-1], labels.size
    _check_labels(labels, shape)
    shifted = below_maximum(logits, (len(shape) - 1,))
    total = reduce.reduce_logsumexp(shifted, axis=(len(shape) - 1,), keepdims=False)
    if staging.get() is not None and classes <= _COMPARED:
        # In a compiled program a comparison with every class runs along in the loops over the logits, and so does its
        # derivative; a gather and its scatter do not.
        ids = creation.arange(classes, dtypes.int32, labels.device)  # as wide as a float32, for vector instructions
        wanted = shape_ops.expand(elementwise.cast(labels, dtypes.int32), (len(shape) - 1,))
        is_label = elementwise.equal(wanted, ids)
        chosen = reduce.reduce_sum(elementwise.where(is_label, shifted, 0.0), axis=(len(shape) - 1,), keepdims=False)
    else:
        flat = shape_ops.reshape(shifted, shape=(count * classes,))
        ids = _row_starts(count, classes, labels.device) + shape_ops.reshape(labels, shape=(count,))
        chosen = index.take(flat, ids)
        if len(shape) != 2:
            chosen = shape_ops.reshape(chosen, shape=shape[:-1])
    return elementwise.cast(_reduced("cross_entropy", total - chosen, reduction, counted), dtype)


def binary_cross_entropy_with_logits(logits: Any, labels: Any, *, reduction: Reduction = "mean") -> Array:
    """Cross entropy of independent yes-or-no labels, given logits: the original Knet's bce.

    loss = -(y log(sigmoid(s)) + (1 - y) log(1 - sigmoid(s))) = y softplus(-s) + (1 - y) softplus(s)

    Args:
      logits: [...], s, scores before any sigmoid.
      labels: [...], y, 0 or 1 or a probability; boolean, integer or floating; the same shape.
      reduction: "mean", "sum" or "none".

    Returns:
      [], or logits.shape for "none".

    Raises:
      ShapeError: the shapes differ.

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.binary_cross_entropy_with_logits(knp.asarray([0.0, 1000.0]), knp.asarray([1, 1]))
      Array(0.3465736, dtype=float32)
    """
    logits, labels = as_array(logits), as_array(labels)
    _same_shape("binary_cross_entropy_with_logits", "logits", logits, "labels", labels)
    logits = elementwise.cast(logits, dtypes.to_float(logits.dtype))
    labels = elementwise.cast(labels, logits.dtype)
    loss = labels * elementwise.softplus(-logits) + (1.0 - labels) * elementwise.softplus(logits)
    return _reduced("binary_cross_entropy_with_logits", loss, reduction)


def mse(predictions: Any, targets: Any, *, reduction: Reduction = "mean") -> Array:
    """Squared error, (prediction - target) ** 2; its mean by default.

    Args:
      predictions: [...].
      targets: [...], the same shape, or a number.
      reduction: "mean", "sum" or "none".

    Returns:
      [], or predictions.shape for "none".

    Raises:
      ShapeError: the shapes differ. [N] against [N, 1] would broadcast to [N, N], which nobody means.

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.mse(knp.asarray([1.0, 2.0]), knp.asarray([1.0, 4.0]))
      Array(2., dtype=float32)
    """
    predictions = as_array(predictions)
    if not isinstance(targets, (int, float)):
        targets = as_array(targets)
        _same_shape("mse", "predictions", predictions, "targets", targets)
    difference = predictions - targets
    difference = elementwise.cast(difference, dtypes.to_float(difference.dtype))
    return _reduced("mse", elementwise.square(difference), reduction)


def accuracy(
    logits: Any,
    labels: Any,
    *,
    axis: int = -1,
    ignore: int | None = None,
    reduction: Reduction = "mean",
) -> Array:
    """Share of the instances whose largest logit is at the label; the first one if several are largest.

    Args:
      logits: [..., C] scores or probabilities.
      labels: [...] integer, the shape of logits without ``axis``.
      axis: the axis of classes.
      ignore: a label whose instances do not count; the mean is over the others (0 if there are none).
      reduction: "mean" in [0, 1], "sum" for the number of hits, "none" for 1 or 0 an instance.

    Returns:
      float32 [], or labels.shape for "none". Its derivative is zero.

    Raises:
      ShapeError: logits and labels do not fit. DTypeError: labels that are not integers.

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.accuracy(knp.asarray([[0.1, 0.9], [0.8, 0.2]]), knp.asarray([1, 1]))
      Array(0.5, dtype=float32)
    """
    logits, labels = _classes("accuracy", logits, labels, axis)
    hits = elementwise.equal(reduce.argmax(logits, axis=logits.ndim - 1), labels)
    counted = None if ignore is None else elementwise.not_equal(labels, ignore)
    return _reduced("accuracy", elementwise.cast(hits, dtypes.float32), reduction, counted)


def one_hot(labels: Any, num_classes: int, dtype: Any = dtypes.default_float) -> Array:
    """Vectors with a 1 at the label: y[..., c] = 1 if c == labels[...] else 0.

    Args:
      labels: [...] integer; one outside of [0, C) gives a vector of zeros.
      num_classes: C, at least 1.
      dtype: of the result.

    Returns:
      [..., C].

    Raises:
      DTypeError: labels that are not integers. ArgumentError: num_classes < 1.

    Example:
      >>> import knet.numpy as knp
      >>> from knet import nn
      >>> nn.one_hot(knp.asarray([2, 0]), 3)
      Array([[0., 0., 1.],
             [1., 0., 0.]], dtype=float32)
    """
    labels = _integer("one_hot", labels)
    if num_classes < 1:
        raise errors.argument("one_hot", "num_classes", num_classes, "at least 1 class is needed", "count the classes")
    numbers = creation.arange(num_classes, dtypes.default_int, labels.device)
    hits = elementwise.equal(shape_ops.expand(labels, (labels.ndim,)), numbers)
    return elementwise.cast(hits, dtypes.canonical(dtype))


def _integer(name: str, labels: Any) -> Array:
    labels = as_array(labels, name)
    if labels.dtype.kind not in "iu":
        raise errors.DTypeError(
            f"{name}: labels is {errors.describe(labels)}: labels are integers, one for each instance.\n"
            f"  fix: labels.astype('int64'), or labels.argmax(-1) for one-hot labels."
        )
    return elementwise.cast(labels, dtypes.default_int)


def _classes(name: str, logits: Any, labels: Any, axis: int) -> tuple[Array, Array]:
    """Logits with the classes on the last axis, and labels of the shape of the others."""
    logits, labels = as_array(logits, name), _integer(name, labels)
    if axis != -1:
        logits = moveaxis(logits, canonical_axis(axis, logits.ndim, name), -1)
    if logits.shape[:-1] != labels.shape or not logits.shape:
        raise errors.shape_argument(
            f"{name}(logits, labels)", "labels.shape", list(labels.shape), f"logits {list(logits.shape)}, classes last,"
            f" need labels {list(logits.shape[:-1])}, one integer for each instance",
            "take argmax of one-hot labels, or say axis= for another axis of classes",
        )  # fmt: skip
    return logits, labels


def _check_labels(labels: Array, shape: tuple[int, ...]) -> None:
    """Raise for labels outside of their range, where looking at them costs nothing: on the host."""
    if type(labels) is DeviceArray and labels.device.backend.name == "cpu":
        host = labels._host("cross_entropy")
        unsigned = host.view("uint64")  # in which negative labels are huge, so that one pass finds both ends
        if host.size and unsigned.max() >= shape[-1]:
            bad = int(host[unsigned >= shape[-1]][0])
            raise errors.IndexOutOfBounds(
                f"cross_entropy(logits, labels): label {bad} for logits {list(shape)}, classes last: labels lie in "
                f"[0, {shape[-1] - 1}].\n  fix: count the classes from 0, or pass ignore={bad} to skip such instances."
            )


@functools.lru_cache(16)
def _row_starts(count: int, classes: int, device: Any) -> Array:
    """0, C, 2 C, ...: where each row starts among all logits."""
    return creation.arange(count, dtypes.default_int, device) * classes


def _same_shape(name: str, x_name: str, x: Array, y_name: str, y: Array) -> None:
    if x.shape != y.shape:
        raise errors.shape_argument(
            f"{name}({x_name}, {y_name})", f"{y_name}.shape", list(y.shape), f"{x_name} {list(x.shape)} and {y_name} "
            "must have one shape", "reshape one of them, as in y[:, None] or y[:, 0]",
        )  # fmt: skip


def _reduced(name: str, loss: Array, reduction: str, counted: Array | None = None) -> Array:
    """Losses reduced; those not counted are 0 and no part of the mean."""
    if counted is not None:
        loss = elementwise.where(counted, loss, 0.0)
    if reduction == "none":
        return loss
    if reduction not in ("mean", "sum"):
        raise errors.argument(name, "reduction", reduction, "it is 'mean', 'sum' or 'none'", "write reduction='mean'")
    axes = tuple(range(loss.ndim))
    total = reduce.reduce_sum(loss, axis=axes, keepdims=False)
    if reduction == "sum":
        return total
    if counted is None:
        size = size_of(loss.shape)
        return total * (1.0 / size if size else float("nan"))
    number = reduce.reduce_sum(elementwise.cast(counted, loss.dtype), axis=axes, keepdims=False)
    return total / elementwise.maximum(number, 1.0)
