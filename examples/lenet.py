"""LeNet on MNIST: two convolutions with max pooling, then two dense layers.

From scratch with plain gradient descent, or with --layers by knet.nn with Adam. Draws test images with the answers of
the model, wrong ones in red.

Reference: LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE 86, 1998.
"""

from __future__ import annotations

import cli
import numpy as np
import report

import knet
import knet.numpy as knp
from knet import nn, optim, random

# --- LeNet from scratch in 20 lines -----------------------------------------------------------------------------------


def init(key):
    shapes = ((20, 1, 5, 5), 20), ((50, 20, 5, 5), 50), ((800, 500), 500), ((500, 10), 10)
    return [{"w": nn.init.xavier_uniform(k, w), "b": knp.zeros(b)} for k, (w, b) in zip(random.split(key, 4), shapes)]


def predict(params, x):
    conv1, conv2, dense1, dense2 = params
    x = nn.max_pool(nn.relu(nn.conv(x, conv1["w"], conv1["b"])), 2)  # [N, 1, 28, 28] to [N, 20, 12, 12]
    x = nn.max_pool(nn.relu(nn.conv(x, conv2["w"], conv2["b"])), 2)  # to [N, 50, 4, 4]
    x = nn.relu(nn.flatten(x) @ dense1["w"] + dense1["b"])  # to [N, 500]
    return x @ dense2["w"] + dense2["b"]  # to [N, 10], a score for each digit


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


# --- LeNet of layers, trained by Adam ---------------------------------------------------------------------------------

model = nn.Chain(
    nn.Conv(20, 5), nn.relu, nn.MaxPool(2),
    nn.Conv(50, 5), nn.relu, nn.MaxPool(2),
    nn.flatten, nn.Dense(500), nn.relu, nn.Dense(10),
)  # fmt: skip


def model_loss(params, x, y):
    return nn.cross_entropy(model(params, x), y)


def model_train(params, data, lr, record):
    optimizer = optim.adam(lr)
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
    options = cli.parse(cli.parser(__doc__, output="lenet.png", epochs=1, batch_size=100, lr=0.2, layers_lr=0.001))
    trn, tst = cli.images(options)
    params_key, data_key = random.split(random.key(options.seed))
    data = knet.data.minibatch(*trn, options.batch_size, key=data_key, epochs=options.epochs)
    classify = model if options.layers else predict
    history = report.History(classify, [part[:10000] for part in trn], tst)  # part of trn, to save time

    if options.layers:
        params = model.init(params_key, (1, 28, 28))
        history.record(params)
        params = model_train(params, data, options.lr, history.record)
    else:
        params = init(params_key)
        history.record(params)
        params = train(params, data, options.lr, history.record)

    images, labels = tst
    answers = report.answers(classify, params, images)
    report.save(options.output, (10, 6.3), lambda figure: draw(figure, images, labels, answers))
    history.finish()


def draw(figure, images, labels, answers, columns=12):
    """The first test images, wrong answers marked; below them the first of all mistakes."""

    def grid(axes, title, rows, chosen):
        for place, i in enumerate(chosen):
            top, left = -1.35 * (place // columns), 1.15 * (place % columns)
            bottom, right = top - 1, left + 1
            axes.imshow(images[i, 0], cmap="gray_r", extent=(left, right, bottom, top))
            text, color = f"{answers[i]}", report.GREEN
            if answers[i] != labels[i]:
                text, color = f"{answers[i]}, not {labels[i]}", report.RED
                axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=color)
            axes.text(left + 0.5, top + 0.06, text, color=color, horizontalalignment="center")
        axes.set(title=title, xlim=(-0.05, 1.15 * columns - 0.1), ylim=(-1.35 * rows + 0.3, 0.35))
        axes.axis("off")

    mistakes = np.flatnonzero(answers != labels)
    above, below = figure.subplots(2, 1, height_ratios=(3, 2))
    grid(above, "The first test images", 3, range(3 * columns))
    shown = f", the first {2 * columns}" if len(mistakes) > 2 * columns else ""
    grid(below, f"{len(mistakes)} wrong of {len(labels)}{shown}", 2, mistakes[: 2 * columns])


if __name__ == "__main__":
    main()
