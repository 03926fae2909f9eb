"""Linear regression: the price of homes in 506 districts of Boston from 13 properties of each district.

Least squares by gradient descent on all rows at once: an epoch is one step. From scratch, or with --layers the same
by knet.nn and knet.optim. Draws the loss curve, and predicted against true prices.
"""

from __future__ import annotations

import cli
import numpy as np
import report

import knet
import knet.numpy as knp
from knet import nn, optim, random

# --- from scratch -----------------------------------------------------------------------------------------------------


def init(key, features):
    return {"w": 0.1 * random.normal(key, (features,)), "b": knp.zeros(())}


def predict(params, x):
    return x @ params["w"] + params["b"]


def loss(params, x, y):
    return knp.mean((predict(params, x) - y) ** 2)


def train(params, x, y, bar, lr):
    losses = []
    for _ in bar:
        value, grads = knet.value_and_grad(loss)(params, x, y)
        params = knet.tree.map(lambda p, g: p - lr * g, params, grads)
        losses.append(value)
        bar.show(loss=value)
    return params, losses


# --- the same with a layer and an optimizer ---------------------------------------------------------------------------

model = nn.Dense(1)


def layer_predict(params, x):
    return model(params, x)[:, 0]


def layer_loss(params, x, y):
    return nn.mse(layer_predict(params, x), y)


def layer_train(params, x, y, bar, lr):
    optimizer = optim.sgd(lr)
    state, losses = optimizer.init(params), []
    for _ in bar:
        value, grads = knet.value_and_grad(layer_loss)(params, x, y)
        updates, state = optimizer.update(grads, state, params)
        params = optim.apply_updates(params, updates)
        losses.append(value)
        bar.show(loss=value)
    return params, losses


# --- options, data, report, picture -----------------------------------------------------------------------------------


def main():
    parser = cli.parser(
        __doc__, output="housing.png", epochs=500, lr=0.1, epoch="steps on all training rows", smoke_epochs=20
    )
    parser.add_argument("--test", type=cli.share, default=0.0, metavar="SHARE", help="rows set apart (default none)")
    options = cli.parse(parser)
    params_key, split_key = random.split(random.key(options.seed))
    with cli.mistakes(OSError, ValueError, ImportError):
        data = knet.data.housing_or_diabetes(test=options.test, key=split_key)
    data = knet.tree.map(knp.asarray, data)  # to the device once, not at every step
    (x, y), tst = data if options.test else (data, None)
    print(f"{len(x)} rows for training, {x.shape[1]} columns, on {knet.default_device()}")

    bar = knet.progress(range(options.epochs))
    if options.layers:
        params, losses = layer_train(model.init(params_key, x.shape[1:]), x, y, bar, options.lr)
    else:
        params, losses = train(init(params_key, x.shape[1]), x, y, bar, options.lr)
    fit, error = (layer_predict, layer_loss) if options.layers else (predict, loss)
    losses = [float(value) for value in [*losses, error(params, x, y)]]
    for step, value in enumerate(losses):
        if step in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) or step == options.epochs:
            print(f"after {step:4} steps   train loss {value:9.4f}")
    optimum = least_squares(np.asarray(x), np.asarray(y))
    print(f"least squares      train loss {optimum:9.4f}")
    scatter = {"train": (y, fit(params, x))}
    if tst:
        print(f"test loss {float(error(params, *tst)):.4f}")
        scatter["test"] = tst[1], fit(params, tst[0])

    report.save(options.output, (10, 4.2), lambda figure: draw(figure, losses, optimum, scatter))
    report.check_fall(losses[0], losses[-1])


def least_squares(x, y):
    """The smallest training loss that a linear model can reach, by linear algebra in double precision."""
    columns = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    solution, *_ = np.linalg.lstsq(columns, y, rcond=None)
    return np.mean((columns @ solution - y) ** 2)


def draw(figure, losses, optimum, scatter):
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    left.axhline(optimum, color=report.GREY, linestyle="--", linewidth=1, label=f"least squares, {optimum:.4g}")
    left.plot(losses, color=report.BLUE, label=f"gradient descent, {losses[-1]:.4g} at the end")
    left.set(title="Loss", xlabel="Step", ylabel="Mean squared error", yscale="log")
    left.set_xscale("asinh", linear_width=4)
    left.xaxis.set_major_formatter("{x:g}")
    left.set_xlim(0, len(losses) - 1)
    report.plain_ticks(left.yaxis)
    left.legend(frameon=False)

    for (name, (y, p)), color in zip(scatter.items(), (report.BLUE, report.RED)):
        right.scatter(np.asarray(y), np.asarray(p), s=12, color=color, alpha=0.45, linewidths=0, label=name)
    corner = [min(right.get_xlim()[0], right.get_ylim()[0]), max(right.get_xlim()[1], right.get_ylim()[1])]
    right.plot(corner, corner, color=report.GREY, linestyle="--", linewidth=1, label="predicted = true")
    right.set(title="Each row", xlabel="True", ylabel="Predicted", xlim=corner, ylim=corner, aspect="equal")
    right.legend(frameon=False, loc="upper left")


if __name__ == "__main__":
    main()
