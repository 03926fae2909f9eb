"""Softmax regression on MNIST: one matrix from 784 pixels to 10 digits, everything down to the loss by hand.

From scratch, or with --layers the same by knet.nn and knet.optim. Draws the weights as ten images: what the model
looks for in each digit.
"""

from __future__ import annotations

import cli
import numpy as np
import report

import knet
import knet.numpy as knp
from knet import nn, optim, random

# --- from scratch -----------------------------------------------------------------------------------------------------


def init(key):
    return {"w": 0.1 * random.normal(key, (784, 10)), "b": knp.zeros(10)}


def predict(params, x):
    return knp.reshape(x, (len(x), 784)) @ params["w"] + params["b"]


def cross_entropy(logits, y):
    logp = logits - knp.logsumexp(logits, axis=1, keepdims=True)
    return -knp.mean(logp[knp.arange(len(y)), y])


def accuracy(logits, y):
    return knp.mean(knp.argmax(logits, axis=1) == y)


def loss(params, x, y):
    return cross_entropy(predict(params, x), y)


def train(params, data, lr, record):
    for epoch in range(data.epochs):
        bar = knet.progress(data.epoch(epoch))
        for x, y in bar:
            value, grads = knet.value_and_grad(loss)(params, x, y)
            params = knet.tree.map(lambda p, g: p - lr * g, params, grads)
            bar.show(loss=value)
        record(params)
    return params


# --- the same with a layer and an optimizer ---------------------------------------------------------------------------

model = nn.Chain(nn.flatten, nn.Dense(10))


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
    options = cli.parse(cli.parser(__doc__, output="softmax.png", epochs=10, batch_size=100, lr=0.5))
    trn, tst = cli.images(options)
    params_key, data_key = random.split(random.key(options.seed))
    data = knet.data.minibatch(*trn, options.batch_size, key=data_key, epochs=options.epochs)

    if options.layers:
        history = report.History(model, trn, tst)
        params = model.init(params_key, (1, 28, 28))
        history.record(params)
        params = model_train(params, data, options.lr, history.record)
    else:
        history = report.History(predict, trn, tst, cross_entropy, accuracy)
        params = init(params_key)
        history.record(params)
        params = train(params, data, options.lr, history.record)

    report.save(options.output, (10, 4.6), lambda figure: draw(figure, params))
    history.finish()


def draw(figure, params):
    (w,) = (np.asarray(p) for p in knet.tree.leaves(params) if p.ndim == 2)
    limit = np.abs(w).max()
    panels = figure.subplots(2, 5)
    for digit, axes in enumerate(panels.flat):
        image = axes.imshow(w[:, digit].reshape(28, 28), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_title(digit)
        axes.axis("off")
    figure.colorbar(image, ax=panels, shrink=0.8, label="weight: red speaks for the digit, blue against it")
    figure.suptitle("Softmax regression: the weights of each digit")


if __name__ == "__main__":
    main()
