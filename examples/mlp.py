"""A multilayer perceptron on MNIST: 784 pixels, 64 hidden units, 10 digits.

From scratch, or with --layers the same by knet.nn and knet.optim. Draws the loss and the share of wrong answers by
epoch, on training and on test images.
"""

from __future__ import annotations

import cli
import report

import knet
import knet.numpy as knp
from knet import nn, optim, random

# --- from scratch -----------------------------------------------------------------------------------------------------


def init(key, sizes=(784, 64, 10)):
    keys = random.split(key, len(sizes) - 1)
    return [{"w": 0.1 * random.normal(k, (i, o)), "b": knp.zeros(o)} for k, i, o in zip(keys, sizes, sizes[1:])]


def predict(params, x):
    *hidden, output = params
    x = nn.flatten(x)
    for layer in hidden:
        x = nn.relu(x @ layer["w"] + layer["b"])
    return x @ output["w"] + output["b"]


def loss(params, x, y):
    return nn.cross_entropy(predict(params, x), y)


def train(params, data, lr, record):
    for epoch in range(data.epochs):
        bar = knet.progress(data.epoch(epoch))
        for x, y in bar:
            value, grads = knet.value_and_grad(loss)(params, x, y)
            params = knet.tree.map(lambda p, g: p - lr * g, params, grads)
            bar.show(loss=value)
        record(params)
    return params


# --- the same with layers and an optimizer ----------------------------------------------------------------------------

model = nn.Chain(nn.flatten, nn.Dense(64), nn.relu, nn.Dense(10))


def model_loss(params, x, y):
    return nn.cross_entropy(model(params, x), y)


def model_train(params, data, lr, record):
    optimizer = optim.sgd(lr)
    state = optimizer.init(params)
    for epoch in range(data.epochs):
        bar = knet.progress(data.epoch(epoch))
        for x, y in bar:
            value, grads = knet.value_and_grad(model_loss)(params, x, y)
            updates, state = optimizer.update(grads, state, params)
            params = optim.apply_updates(params, updates)
            bar.show(loss=value)
        record(params)
    return params


# --- options, data, report, picture -----------------------------------------------------------------------------------


def main():
    options = cli.parse(cli.parser(__doc__, output="mlp.png", epochs=10, batch_size=100, lr=0.5))
    trn, tst = cli.images(options)
    params_key, data_key = random.split(random.key(options.seed))
    data = knet.data.minibatch(*trn, options.batch_size, key=data_key, epochs=options.epochs)

    if options.layers:
        history = report.History(model, trn, tst)
        params = model.init(params_key, (1, 28, 28))
        history.record(params)
        model_train(params, data, options.lr, history.record)
    else:
        history = report.History(predict, trn, tst)
        params = init(params_key)
        history.record(params)
        train(params, data, options.lr, history.record)

    report.save(options.output, (10, 4), history.draw)
    history.finish()


if __name__ == "__main__":
    main()
