"""Layers: parameters, shapes, equality, errors, and what Chain does with its members."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import traceback

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet import nn, tree
from knet.core import errors
from knet.testing import check_grads

KEY = knet.random.key(0)
RNG = np.random.default_rng(3)


def batch(*shape):
    return knp.asarray(RNG.standard_normal(shape).astype(np.float32))


def lenet():
    return nn.Chain(
        nn.Conv(20, 5), nn.relu, nn.MaxPool(2),
        nn.Conv(50, 5), nn.relu, nn.MaxPool(2),
        nn.flatten, nn.Dense(500), nn.relu, nn.Dense(10),
    )  # fmt: skip


LAYERS = [
    (nn.Dense(5), (7,), {"w": (7, 5), "b": (5,)}),
    (nn.Dense(5, use_bias=False), (3, 7), {"w": (7, 5)}),
    (nn.Conv(4, 3), (2, 8, 9), {"w": (4, 2, 3, 3), "b": (4,)}),
    (nn.Conv(4, 3), (2, 8), {"w": (4, 2, 3), "b": (4,)}),
    (nn.Conv(4, 2), (2, 3, 4, 5), {"w": (4, 2, 2, 2, 2), "b": (4,)}),
    (nn.Conv(4, (3, 2), 2, "SAME", dilation=2, groups=2, use_bias=False), (2, 9, 9), {"w": (4, 1, 3, 2)}),
    (nn.Conv(4, [3, 2], stride=[2, 1], padding=[[0, 1], [2, 2]]), (2, 9, 9), {"w": (4, 2, 3, 2), "b": (4,)}),
    (nn.MaxPool(2), (3, 9, 8), ()),
    (nn.MaxPool(3, stride=2, padding=1), (3, 9, 8), ()),
    (nn.AvgPool((2, 3), padding="SAME", include_padding=False), (3, 9, 8), ()),
    (nn.Dropout(0.5), (3, 4), ()),
    (nn.Flatten(), (3, 4), ()),
    (nn.Chain(), (3, 4), ()),
    (nn.Chain(nn.Dense(4), nn.relu, nn.Chain(nn.Dense(2), nn.tanh)), (3,), ({"w": (3, 4), "b": (4,)}, (),
     ({"w": (4, 2), "b": (2,)}, ()))),
]  # fmt: skip
each_layer = pytest.mark.parametrize(
    ("layer", "shape", "params_shapes"), LAYERS, ids=lambda v: repr(v).replace("\n", "")
)


@each_layer
def test_params_and_output_shapes(layer, shape, params_shapes):
    params = layer.init(KEY, shape)
    assert tree.map(lambda p: p.shape, params) == params_shapes
    assert all(p.dtype == np.float32 for p in tree.leaves(params))
    for size in (1, 6):
        y = layer(params, batch(size, *shape))
        assert y.shape == (size, *layer.output_shape(shape))
    assert layer.output_shape(list(shape)) == layer.output_shape(shape)


@each_layer
def test_a_layer_is_a_value(layer, shape, params_shapes):
    twin = copy.deepcopy(layer)
    assert twin == layer and hash(twin) == hash(layer) and repr(twin) == repr(layer)
    assert eval(repr(layer), {**vars(nn)}) == layer
    assert nn.Dense(6) != layer
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.new = 1


@each_layer
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_dtypes_go_through(layer, shape, params_shapes, dtype):
    params = layer.init(KEY, shape, dtype)
    assert all(p.dtype == dtype for p in tree.leaves(params))
    assert layer(params, batch(2, *shape).astype(dtype)).dtype == dtype


@each_layer
def test_init_is_a_function_of_its_key(layer, shape, params_shapes):
    a, b = layer.init(KEY, shape), layer.init(KEY, shape)
    assert all((np.asarray(x) == np.asarray(y)).all() for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True))
    c = layer.init(knet.random.key(1), shape)
    weights = [(x, y) for x, y in zip(tree.leaves(a), tree.leaves(c), strict=True) if x.ndim > 1]
    assert all((np.asarray(x) != np.asarray(y)).any() for x, y in weights)


def test_layers_compute_what_the_functions_compute():
    x, key = batch(2, 4, 6, 6), KEY
    conv = nn.Conv(6, 3, stride=2, padding=1, dilation=2, groups=2, b_init=nn.init.ones)
    p = conv.init(key, (4, 6, 6))
    expected = nn.conv(x, p["w"], p["b"], stride=2, padding=1, dilation=2, groups=2)
    np.testing.assert_array_equal(np.asarray(conv(p, x)), np.asarray(expected))
    dense = nn.Dense(3, b_init=nn.init.ones)
    q = dense.init(key, (6,))
    np.testing.assert_array_equal(np.asarray(dense(q, x)), np.asarray(x @ q["w"] + q["b"]))
    np.testing.assert_array_equal(
        np.asarray(nn.MaxPool(3, stride=1, padding=1)((), x)), np.asarray(nn.max_pool(x, 3, stride=1, padding=1))
    )
    np.testing.assert_array_equal(
        np.asarray(nn.AvgPool(3, padding=1, include_padding=False)((), x)),
        np.asarray(nn.avg_pool(x, 3, padding=1, include_padding=False)),
    )
    np.testing.assert_array_equal(np.asarray(nn.Flatten()((), x)), np.asarray(nn.flatten(x)))


def test_the_initialisers_of_a_layer_are_used():
    params = nn.Dense(200, w_init=nn.init.normal(0.5), b_init=nn.init.uniform(0.1)).init(KEY, (300,))
    assert abs(np.asarray(params["w"]).std() - 0.5) < 0.01 and 0 < np.abs(np.asarray(params["b"])).max() <= 0.1
    default = nn.Dense(200).init(KEY, (300,))
    assert abs(np.asarray(default["w"]).std() - np.sqrt(2 / 500)) < 1e-3 and not np.asarray(default["b"]).any()


def test_gradients_through_a_network():
    model = nn.Chain(nn.Conv(2, 2), nn.tanh, nn.AvgPool(2), nn.flatten, nn.Dense(3))
    params = model.init(KEY, (1, 5, 5), "float64")
    x, y = RNG.standard_normal((2, 1, 5, 5)), np.array([0, 2])
    check_grads(lambda p: nn.cross_entropy(model(p, x), y), (params,), order=2, rtol=1e-5)


def test_lenet_learns():
    model, x, y = lenet(), batch(20, 1, 28, 28), np.arange(20) % 10
    params = model.init(KEY, (1, 28, 28))
    assert sum(p.size for p in tree.leaves(params)) == 431_080
    step = knet.value_and_grad(lambda p: nn.cross_entropy(model(p, x), y))
    first = None
    for _ in range(8):
        value, g = step(params)
        first = float(value) if first is None else first
        params = tree.map(lambda p, g: p - 0.1 * g, params, g)
    assert float(value) < 0.75 * first
    assert tree.structure(g) == tree.structure(params)


# --- dropout ---------------------------------------------------------------------------------------------------------


def test_dropout_drops_with_a_key_only():
    layer, x = nn.Dropout(0.5), batch(100, 10)
    assert layer((), x) is x
    dropped = np.asarray(layer((), x, key=KEY))
    np.testing.assert_array_equal(dropped, np.asarray(nn.dropout(KEY, x, 0.5)))


def test_a_chain_gives_each_dropout_its_own_key():
    model, x = nn.Chain(nn.Dropout(0.5), nn.relu, nn.Dropout(0.5)), knp.ones((50, 20))
    params = model.init(KEY, (20,))
    assert (np.asarray(model(params, x)) == 1).all()
    once = np.asarray(model(params, x, key=KEY))
    assert (once == np.asarray(model(params, x, key=KEY))).all()
    assert (once != np.asarray(model(params, x, key=knet.random.key(1)))).any()
    assert abs((once != 0).mean() - 0.25) < 0.1  # two independent masks, not one mask twice
    nested = nn.Chain(nn.Chain(nn.Dropout(0.5)), nn.Dense(3))
    assert nested.uses_key and not nn.Chain(nn.Dense(3), nn.relu).uses_key
    p = nested.init(KEY, (20,))
    assert (np.asarray(nested(p, x, key=KEY)) != np.asarray(nested(p, x))).any()


def test_a_key_is_harmless_where_nothing_is_drawn():
    model = nn.Chain(nn.Dense(3), nn.relu)
    params, x = model.init(KEY, (4,)), batch(2, 4)
    np.testing.assert_array_equal(np.asarray(model(params, x, key=KEY)), np.asarray(model(params, x)))


# --- chain -----------------------------------------------------------------------------------------------------------


def test_a_chain_is_indexed_and_cut_together_with_its_params():
    model = lenet()
    params, x = model.init(KEY, (1, 28, 28)), batch(2, 1, 28, 28)
    assert len(model) == len(params) == 10 and model[0] == nn.Conv(20, 5) and list(model)[1] is nn.relu
    features, head = model[:7], model[7:]
    assert isinstance(features, nn.Chain)
    y = head(params[7:], features(params[:7], x))
    np.testing.assert_array_equal(np.asarray(y), np.asarray(model(params, x)))
    assert params[1] == () and set(params[0]) == {"w", "b"}


def test_functions_of_any_shape_are_members():
    model = nn.Chain(nn.Dense(6), lambda x: x.reshape(-1, 3, 2), knp.log, nn.Dense(4), lambda x: x.sum(-1))
    assert model.output_shape((5,)) == (3,)
    params = model.init(KEY, (5,))
    assert params[3]["w"].shape == (2, 4)


def test_printing():
    assert repr(nn.Chain(nn.Conv(20, 5, stride=2, w_init=nn.init.he_normal), nn.relu, nn.Chain(nn.Dense(2)))) == (
        "Chain(\n  Conv(20, 5, stride=2, w_init=he_normal),\n  relu,\n  Chain(\n    Dense(2),\n  ),\n)"
    )
    assert repr(nn.Dense(3, w_init=nn.init.normal(0.5))) == "Dense(3, w_init=normal(stddev=0.5))"


def test_models_pickle():
    model = nn.Chain(nn.Conv(2, 3), nn.relu, nn.flatten, nn.Dropout(0.1), nn.Dense(4))
    again = pickle.loads(pickle.dumps(model))
    assert again == model and hash(again) == hash(model) and again.uses_key


def test_summary():
    text = nn.summary(lenet(), (1, 28, 28)).splitlines()
    assert text[0].split() == ["Conv(20,", "5)", "(20,", "24,", "24)", "520"]
    assert text[-1].split() == ["total", "431,080"] and len(text) == 11
    assert nn.summary(nn.Dense(2), (3,)).splitlines()[0].split() == ["Dense(2)", "(2,)", "8"]


def test_a_layer_of_ones_own():
    class Plain(nn.Layer):
        def apply(self, params, x, *, key=None):
            return 2 * x

    model = nn.Chain(Plain(), nn.Dense(2))
    assert repr(Plain()) == "Plain()"
    assert model(model.init(KEY, (3,)), batch(4, 3)).shape == (4, 2)
    with pytest.raises(NotImplementedError):
        nn.Layer().apply((), batch(1))


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: nn.Dense(0), "Dense: features=0: a positive integer"),
        (lambda: nn.Dense(2.5), "features=2.5"),
        (lambda: nn.Conv(0, 3), "channels=0"),
        (lambda: nn.Conv(4, 3, groups=0), "groups=0"),
        (lambda: nn.Dropout(1.0), "Dropout: rate=1.0"),
    ],
)
def test_settings_out_of_range(make, text):
    with pytest.raises(errors.ArgumentError, match=text):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "text"),
    [
        (nn.Dense(3), (), "Dense\\(3\\): input_shape=\\(\\): an instance needs an axis of features"),
        (nn.Conv(3, 5), (5,), r"Conv\(3, 5\): input_shape=\(5,\): an instance is \(C, \*S\)(.|\n)*\(1, 28, 28\)"),
        (nn.Conv(3, 5), (1, 4, 4), r"Conv\(3, 5\): .*the window \[5, 5\] does not fit(.|\n)*smaller window"),
        (nn.Conv(3, (5, 5)), (1, 9), r"window=\(5, 5\)"),
        (nn.Conv(4, 3, groups=2), (3, 9, 9), "groups must divide C = 3 and 4"),
        (nn.Conv(4, 3, stride=(1, 2, 3)), (3, 9, 9), "stride="),
        (nn.MaxPool(3), (2,), r"MaxPool\(3\): input_shape=\(2,\)"),
        (nn.MaxPool(3), (2, 2, 2), r"MaxPool\(3\): .*does not fit"),
        (nn.AvgPool(3), (2, 2, 2), r"AvgPool\(3\): .*does not fit"),
    ],
)
def test_init_names_the_layer_and_the_fix(layer, shape, text):
    with pytest.raises((errors.ShapeError, errors.ArgumentError), match=text):
        layer.init(KEY, shape)


@pytest.mark.parametrize(
    ("layer", "shape", "x", "text"),
    [
        (nn.Dense(3), (6,), (2, 5), r"Dense\(3\): x.shape=\[2, 5\]: w is \[6, 3\], so the last axis of x must be 6"),
        (nn.Dense(3), (6,), (2, 3, 2), "put nn.flatten before this layer"),
        (nn.Conv(3, 2), (2, 5, 5), (2, 5, 5), r"so x must be \[N, 2, H, W\](.|\n)*add the batch axis with x\[None\]"),
        (nn.Conv(3, 2), (2, 5, 5), (1, 3, 5, 5), r"Conv\(3, 2\): x.shape=\[1, 3, 5, 5\](.|\n)*init the layer"),
        (nn.MaxPool(2), (2, 5, 5), (5, 5), r"max_pool\(x\): x \[5, 5\]"),
    ],
)
def test_apply_names_the_layer_and_the_fix(layer, shape, x, text):
    params = layer.init(KEY, shape)
    with pytest.raises(errors.ShapeError, match=text):
        layer(params, batch(*x))


def test_a_chain_says_which_member_failed():
    model = lenet()
    with pytest.raises(errors.ShapeError) as caught:
        model.init(KEY, (1, 14, 14))
    assert "in member 3 of the Chain, Conv(50, 5), for instances of shape (20, 5, 5)" not in str(caught.value)
    assert "in member 5 of the Chain, MaxPool(2), for instances of shape (50, 1, 1)" in "".join(
        traceback.format_exception(caught.value)
    )
    params = model.init(KEY, (1, 28, 28))
    with pytest.raises(errors.ShapeError) as caught:
        model(params, batch(2, 1, 30, 40))
    assert caught.value.__notes__ == ["  in member 7 of the Chain, Dense(500), given float32 [2, 1400]"]


def test_a_chain_refuses_what_is_no_member():
    with pytest.raises(errors.DTypeError, match=r"member 1 is <class .*MaxPool.*(.|\n)*write MaxPool\(...\)"):
        nn.Chain(nn.Dense(3), nn.MaxPool)
    with pytest.raises(errors.DTypeError, match="member 0 is 3: members are layers or functions"):
        nn.Chain(3)
    with pytest.raises(errors.ArgumentError, match=r"len\(params\)=1: params has one entry for each of the 2 members"):
        nn.Chain(nn.Dense(3), nn.relu)(((),), batch(1, 2))
