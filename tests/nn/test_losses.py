"""Losses, accuracy and one-hot vectors against formulas in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet import nn
from knet.core import errors
from knet.testing import check_grads

RNG = np.random.default_rng(1)
LOGITS = RNG.standard_normal((6, 4)) * 2
LABELS = np.array([0, 3, 1, 1, 2, 3])
DTYPES = ["float16", "bfloat16", "float32", "float64"]


def reference(logits, labels):
    """Cross entropy of each instance, classes last, one at a time."""
    rows = np.reshape(logits, (-1, np.shape(logits)[-1]))
    losses = [math.log(sum(math.exp(v - max(r)) for v in r)) + max(r) - r[k] for r, k in zip(rows, np.ravel(labels))]
    return np.array(losses).reshape(np.shape(labels))


# --- cross entropy ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "uint64", "int8"])
def test_cross_entropy_for_every_kind_of_integer(kind):
    loss = nn.cross_entropy(LOGITS, LABELS.astype(kind))
    assert loss.shape == () and loss.dtype == np.float64
    assert abs(float(loss) - reference(LOGITS, LABELS).mean()) < 1e-14


def test_reductions():
    losses = reference(LOGITS, LABELS)
    np.testing.assert_allclose(np.asarray(nn.cross_entropy(LOGITS, LABELS, reduction="none")), losses, rtol=1e-13)
    assert abs(float(nn.cross_entropy(LOGITS, LABELS, reduction="sum")) - losses.sum()) < 1e-13
    for loss in (
        lambda: nn.cross_entropy(LOGITS, LABELS, reduction="average"),
        lambda: nn.mse(LOGITS, LOGITS, reduction="average"),
        lambda: nn.accuracy(LOGITS, LABELS, reduction="average"),
    ):
        with pytest.raises(errors.ArgumentError, match="reduction='average': it is 'mean', 'sum' or 'none'"):
            loss()


def test_the_gradient_is_softmax_minus_one_hot():
    e = np.exp(LOGITS)
    expected = (e / e.sum(1, keepdims=True) - np.eye(4)[LABELS]) / 6
    np.testing.assert_allclose(np.asarray(knet.grad(nn.cross_entropy)(LOGITS, LABELS)), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"reduction": "sum"}, {"reduction": "none"}, {"ignore": 3}, {"ignore": 1, "reduction": "none"}]
)
def test_cross_entropy_derivatives_to_second_order(options):
    check_grads(lambda x: nn.cross_entropy(x, LABELS, **options), (LOGITS,), order=2, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2, -2])
def test_classes_on_another_axis(axis):
    logits = RNG.standard_normal((3, 4, 5))
    labels = RNG.integers(0, logits.shape[axis], tuple(np.delete(logits.shape, axis)))
    expected = reference(np.moveaxis(logits, axis, -1), labels)
    losses = nn.cross_entropy(logits, labels, axis=axis, reduction="none")
    np.testing.assert_allclose(np.asarray(losses), expected, rtol=1e-12)
    assert losses.shape == labels.shape
    check_grads(lambda x: nn.cross_entropy(x, labels, axis=axis), (logits,))


def test_a_single_instance_and_none_at_all():
    assert abs(float(nn.cross_entropy(LOGITS[0], 2)) - reference(LOGITS[:1], [2])[0]) < 1e-14
    empty = nn.cross_entropy(np.zeros((0, 4)), np.zeros(0, int), reduction="sum")
    assert float(empty) == 0
    assert np.isnan(float(nn.cross_entropy(np.zeros((0, 4)), np.zeros(0, int))))


@pytest.mark.parametrize("ignore", [3, -1, 255, 0])
def test_ignored_labels_count_neither_in_the_loss_nor_in_the_mean_nor_in_the_gradient(ignore):
    labels = np.where(LABELS == 3, ignore, LABELS)
    counted = labels != ignore
    losses = np.where(counted, reference(LOGITS, np.where(counted, labels, 0)), 0)
    options = {"ignore": ignore}
    np.testing.assert_allclose(np.asarray(nn.cross_entropy(LOGITS, labels, reduction="none", **options)), losses)
    assert abs(float(nn.cross_entropy(LOGITS, labels, **options)) - losses.sum() / counted.sum()) < 1e-14
    g = np.asarray(knet.grad(lambda x: nn.cross_entropy(x, labels, **options))(LOGITS))
    assert (g[~counted] == 0).all() and (g[counted] != 0).all()


def test_ignoring_all_gives_zero():
    value, g = knet.value_and_grad(lambda x: nn.cross_entropy(x, LABELS * 0, ignore=0))(LOGITS)
    assert float(value) == 0 and not np.asarray(g).any()


@pytest.mark.parametrize("label", [4, -1, -4, 2**40])
def test_a_label_out_of_range_is_an_error_on_the_cpu(on_cpu, label):
    labels = LABELS.copy()
    labels[2] = label
    with pytest.raises(IndexError, match=rf"label {label} for logits \[6, 4\].*\[0, 3\](.|\n)*ignore={label}"):
        nn.cross_entropy(LOGITS, labels)
    with pytest.raises(IndexError, match=f"label {label} "):
        knet.grad(nn.cross_entropy)(LOGITS, labels)
    with pytest.raises(IndexError, match=f"label {label} "):
        nn.cross_entropy(LOGITS[0], label)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_keeps_the_dtype_and_is_accurate_in_it(dtype):
    logits = knp.asarray(LOGITS * 4).astype(dtype)
    value, g = knet.value_and_grad(nn.cross_entropy)(logits, LABELS)
    assert value.dtype == g.dtype == logits.dtype
    expected = reference(np.asarray(logits).astype(np.float64), LABELS).mean()
    rtol = {"float16": 1e-3, "bfloat16": 5e-3, "float32": 1e-6, "float64": 1e-13}[dtype]
    assert abs(float(value) - expected) < rtol * expected


@pytest.mark.parametrize(("dtype", "large"), [("float16", 3e4), ("float32", 1e38), ("float64", 1e308)])
def test_extreme_logits_give_no_nan(dtype, large):
    logits = np.array([[large, -large / 2, 0], [0, 0, large], [-large, -large, -large]], dtype)
    losses = np.asarray(nn.cross_entropy(logits, np.array([0, 0, 0]), reduction="none")).astype(np.float64)
    np.testing.assert_allclose(losses, [0, float(logits[0, 0]), math.log(3)], rtol=1e-3)
    g = np.asarray(knet.grad(nn.cross_entropy)(logits, np.array([0, 0, 0]))).astype(np.float64) * 3
    np.testing.assert_allclose(g, [[0, 0, 0], [-1, 0, 1], [-2 / 3, 1 / 3, 1 / 3]], rtol=2e-3)


def test_a_masked_class_has_no_probability():
    logits = np.array([[0.0, -math.inf, 0.0]])
    assert abs(float(nn.cross_entropy(logits, np.array([0]))) - math.log(2)) < 1e-12
    g = np.asarray(knet.grad(nn.cross_entropy)(logits, np.array([0])))
    np.testing.assert_allclose(g, [[-0.5, 0, 0.5]])


def test_shapes_and_dtypes_that_do_not_fit():
    with pytest.raises(
        errors.ShapeError, match=r"labels.shape=\[5\]: logits \[6, 4\], classes last, need labels \[6\]"
    ):
        nn.cross_entropy(LOGITS, LABELS[:5])
    with pytest.raises(errors.ShapeError, match=r"accuracy.*need labels \[6\]"):
        nn.accuracy(LOGITS, LABELS[:, None])
    with pytest.raises(errors.DTypeError, match=r"labels are integers, one for each instance.\n.*argmax\(-1\)"):
        nn.cross_entropy(LOGITS, np.eye(4)[LABELS])
    with pytest.raises(errors.DTypeError, match="floating-point logits"):
        nn.cross_entropy(LABELS[:, None], LABELS)
    with pytest.raises(errors.ShapeError, match=r"need labels"):
        nn.cross_entropy(1.0, 0)


# --- the others ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bool", "int64", "float32", "float64"])
def test_binary_cross_entropy(kind):
    logits, labels = LOGITS[:, 0], (LABELS > 1).astype(kind)
    p = 1 / (1 + np.exp(-logits))
    expected = -np.where(LABELS > 1, np.log(p), np.log(1 - p))
    losses = nn.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    assert losses.dtype == np.float64
    np.testing.assert_allclose(np.asarray(losses), expected, rtol=1e-12)
    assert abs(float(nn.binary_cross_entropy_with_logits(logits, labels)) - expected.mean()) < 1e-14
    check_grads(lambda s: nn.binary_cross_entropy_with_logits(s, labels), (logits,), order=2, rtol=1e-5)


def test_binary_cross_entropy_of_probabilities_and_extremes():
    check_grads(nn.binary_cross_entropy_with_logits, (LOGITS, RNG.random(LOGITS.shape)), rtol=1e-5)
    s = np.array([1e38, -1e38, 30.0, -30.0, 0.0], np.float32)
    value, g = knet.value_and_grad(lambda s: nn.binary_cross_entropy_with_logits(s, knp.asarray([1, 0, 1, 0, 1])))(s)
    assert np.isfinite(float(value))
    # Small losses and gradients keep all their digits: nothing cancels.
    losses = nn.binary_cross_entropy_with_logits(s, knp.asarray([1, 0, 1, 0, 1]), reduction="none")
    np.testing.assert_allclose(np.asarray(losses), [0, 0, math.exp(-30), math.exp(-30), math.log(2)], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(g) * 5, [0, 0, -math.exp(-30), math.exp(-30), -0.5], rtol=1e-6)
    assert nn.binary_cross_entropy_with_logits(s[2:].astype("float16"), np.ones(3)).dtype == np.float16
    with pytest.raises(errors.ShapeError, match="must have one shape"):
        nn.binary_cross_entropy_with_logits(s, s[:, None])


def test_squared_error():
    x, y = LOGITS[:, 0], LOGITS[:, 1]
    assert abs(float(nn.mse(x, y)) - ((x - y) ** 2).mean()) < 1e-14
    assert abs(float(nn.mse(x, 2.0, reduction="sum")) - ((x - 2) ** 2).sum()) < 1e-13
    np.testing.assert_allclose(np.asarray(nn.mse(x, y, reduction="none")), (x - y) ** 2)
    check_grads(nn.mse, (x, y), order=2)
    assert nn.mse(x.astype("float16"), y.astype("float16")).dtype == np.float16
    assert nn.mse(x.astype("float16"), 2.0).dtype == np.float16
    assert float(nn.mse(np.array([1, 2]), np.array([2, 2]))) == 0.5
    with pytest.raises(errors.ShapeError, match=r"predictions \[6\] and targets must have one shape"):
        nn.mse(x, y[:, None])


def test_accuracy():
    hits = LOGITS.argmax(1) == LABELS
    value = nn.accuracy(LOGITS, LABELS)
    assert value.dtype == np.float32 and abs(float(value) - hits.mean()) < 1e-7
    assert float(nn.accuracy(LOGITS, LABELS, reduction="sum")) == hits.sum()
    np.testing.assert_array_equal(np.asarray(nn.accuracy(LOGITS, LABELS, reduction="none")), hits)
    assert abs(float(nn.accuracy(LOGITS, LABELS, ignore=3)) - hits[LABELS != 3].mean()) < 1e-7
    assert float(nn.accuracy(LOGITS.T, LABELS, axis=0)) == float(value)
    assert float(nn.accuracy(np.zeros((3, 2)), np.array([0, 0, 1]))) == np.float32(2 / 3)
    assert not np.asarray(knet.grad(nn.accuracy)(LOGITS, LABELS)).any()


@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "bool"])
def test_one_hot(dtype):
    y = nn.one_hot(np.array([[2, 0], [1, 2]], np.uint8), 3, dtype)
    assert y.dtype == knp.zeros((), dtype=dtype).dtype
    np.testing.assert_array_equal(np.asarray(y).astype(int), np.eye(3, dtype=int)[[[2, 0], [1, 2]]])


def test_one_hot_edges():
    assert np.asarray(nn.one_hot(np.array([-1, 3]), 3)).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert np.asarray(nn.one_hot(1, 2)).tolist() == [0, 1]
    with pytest.raises(errors.ArgumentError, match="at least 1 class"):
        nn.one_hot(np.array([0]), 0)
    with pytest.raises(errors.DTypeError, match="labels are integers"):
        nn.one_hot(np.array([0.5]), 2)
