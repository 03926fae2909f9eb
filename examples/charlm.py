"""A language model of characters: an LSTM that learns to predict the next one, and then writes a text of its own.

From scratch with plain gradient descent, or with --layers by Adam of knet.optim. Draws the perplexity by epoch: 10
means that the model is as unsure of the next character as if it had to choose among 10.

Reference: Hochreiter, Schmidhuber: Long short-term memory, Neural Computation 9, 1997.
"""

from __future__ import annotations

import functools
import math
import time
from pathlib import Path

import cli
import numpy as np
import report

import knet
import knet.numpy as knp
from knet import nn, optim, random

# --- from scratch -----------------------------------------------------------------------------------------------------


def init(key, vocabulary, hidden):
    table, x, h, out = random.split(key, 4)
    return {
        "table": random.normal(table, (vocabulary, hidden)),
        "lstm": {
            "x": nn.init.xavier_uniform(x, (hidden, 4 * hidden)),
            "h": nn.init.xavier_uniform(h, (hidden, 4 * hidden)),
            "b": knp.zeros(4 * hidden),
        },
        "out": {"w": nn.init.xavier_uniform(out, (hidden, vocabulary)), "b": knp.zeros(vocabulary)},
    }


def start(params, streams):
    shape = streams, params["lstm"]["h"].shape[0]
    return knp.zeros(shape), knp.zeros(shape)  # two arrays: a step writes the new state in their memory


def predict(params, state, x):
    """Logits [T, N, V] of what follows each character x [T, N], and the state after the last."""
    lstm, out = params["lstm"], params["out"]

    def cell(state, x):
        h, c = state
        i, f, g, o = knp.split(x @ lstm["x"] + h @ lstm["h"] + lstm["b"], 4, axis=-1)
        c = nn.sigmoid(f + 1) * c + nn.sigmoid(i) * nn.tanh(g)
        h = nn.sigmoid(o) * nn.tanh(c)
        return (h, c), h

    state, h = knet.scan(cell, state, params["table"][x])
    return h @ out["w"] + out["b"], state


def loss(params, state, x, y):
    logits, state = predict(params, state, x)
    return nn.cross_entropy(logits, y), state


def gradient_descent(lr):
    @functools.partial(knet.jit, donate_argnums=(0, 1, 2))
    def step(params, memory, state, x, y):
        (value, state), grads = knet.value_and_grad(loss, has_aux=True)(params, state, x, y)
        length = knp.sqrt(sum(knp.sum(g**2) for g in knet.tree.leaves(grads)))
        rate = lr * knp.minimum(1.0, 1.0 / length)  # an LSTM's gradient may be huge: no step is longer than lr
        return knet.tree.map(lambda p, g: p - rate * g, params, grads), memory, state, value

    return step, lambda params: ()


# --- the same with an optimizer ---------------------------------------------------------------------------------------


def adam(lr):
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(lr))

    @functools.partial(knet.jit, donate_argnums=(0, 1, 2))
    def step(params, memory, state, x, y):
        (value, state), grads = knet.value_and_grad(loss, has_aux=True)(params, state, x, y)
        updates, memory = optimizer.update(grads, memory, params)
        return optim.apply_updates(params, updates), memory, state, value

    return step, optimizer.init


# --- training ---------------------------------------------------------------------------------------------------------


def batches(ids, streams, steps):
    """Pairs x, y [T, N]: the text cut into N streams, read side by side; y is x one character later."""
    length = (len(ids) - 1) // streams // steps * steps
    x, y = (part[: streams * length].reshape(streams, length).T for part in (ids[:-1], ids[1:]))
    return [(x[t : t + steps], y[t : t + steps]) for t in range(0, length, steps)]


def train(params, trn, epochs, step_and_memory, record):
    step, first_memory = step_and_memory
    memory = first_memory(params)
    for _ in range(epochs):
        bar = knet.progress(trn)
        state = start(params, trn[0][0].shape[1])
        for x, y in bar:
            params, memory, state, value = step(params, memory, state, x, y)
            bar.show(perplexity=knp.exp(value))
        record(params)
    return params


class History:
    """Mean loss on training and test text after each epoch, printed as it comes; a test text may be absent."""

    def __init__(self, data):
        self.data = {name: part for name, part in data.items() if part}
        self.loss = {name: [] for name in self.data}
        self.evaluate = knet.jit(loss)
        self.since = time.perf_counter()

    def record(self, params):
        seconds = time.perf_counter() - self.since
        line = f"epoch {len(self.loss['train']):2}"
        for name, part in self.data.items():
            state, total = start(params, part[0][0].shape[1]), 0.0
            for x, y in part:
                value, state = self.evaluate(params, state, x, y)
                total += float(value)
            self.loss[name].append(total / len(part))
            line += f"   {name} loss {total / len(part):.5f} perplexity {math.exp(total / len(part)):.3f}"
        print(line if len(self.loss["train"]) == 1 else f"{line}   ({seconds:.1f} s)", flush=True)
        self.since = time.perf_counter()

    def draw(self, figure):
        axes = figure.subplots()
        for (name, values), color in zip(self.loss.items(), (report.BLUE, report.RED)):
            curve = np.exp(values)
            axes.plot(curve, "o-", color=color, markersize=4, label=f"{name}, at the end {curve[-1]:.3g}")
        axes.set(title="Perplexity", xlabel="Epoch", yscale="log")
        axes.xaxis.get_major_locator().set_params(integer=True)
        report.plain_ticks(axes.yaxis)
        axes.legend(frameon=False)


# --- writing ----------------------------------------------------------------------------------------------------------


@knet.jit
def write_one(params, state, last, key, temperature):
    logits, state = predict(params, state, last)
    return random.categorical(key, logits / temperature), state


def write(params, characters, count, temperature, key):
    """A text of so many characters, each drawn from the model's softmax(logits / temperature)."""
    state, last = start(params, 1), knp.asarray([[characters.find("\n")]])
    text = []
    for number in range(count):
        last, state = write_one(params, state, last, random.fold_in(key, number), temperature)
        text.append(characters[int(last[0, 0])])
    return "".join(text)


# --- a file for parameters --------------------------------------------------------------------------------------------


def save(path, params, characters):
    with path.open("wb") as file:
        np.savez(file, *knet.tree.leaves(params), characters=np.array(characters))


def load(path):
    """Parameters and characters that save wrote."""
    with np.load(path) as file:
        characters = str(file["characters"])
        leaves = [knp.asarray(file[f"arr_{i}"]) for i in range(len(file.files) - 1)]
    structure = knet.tree.structure(init(random.key(0), 1, 1))
    return knet.tree.unflatten(structure, leaves), characters


# --- options, data, report, picture -----------------------------------------------------------------------------------


def parse():
    p = cli.parser(__doc__, output="charlm.png", epochs=8, batch_size=32, lr=6.0, layers_lr=0.005, smoke_epochs=2)
    p.add_argument("--data", metavar="FILE", help="text to learn from (default Longfellow's Hiawatha)")
    p.add_argument("--hidden", type=cli.count, metavar="N", default=256, help="size of the LSTM (default %(default)s)")
    p.add_argument("--steps", type=cli.count, metavar="N", default=64, help="characters a step (default %(default)s)")
    p.add_argument("--save", type=Path, metavar="FILE", help="where parameters go after training")
    p.add_argument("--load", type=Path, metavar="FILE", help="parameters to write with, or with --epochs to train on")
    p.add_argument("--generate", type=cli.count, metavar="N", default=500, help="characters (default %(default)s)")
    p.add_argument(
        "--temperature", type=cli.above_zero, metavar="X", default=0.7, help="1 writes as it has read, less more safely"
    )
    options = cli.parse(p)
    options.only_write = options.load is not None and options.asked_epochs is None
    if options.save is not None and not options.save.resolve().parent.is_dir():
        cli.fail(f"--save {options.save}: there is no such folder")
    return options


def main():
    options = parse()
    init_key, write_key = random.split(random.key(options.seed))
    params = characters = None
    if options.load is not None:
        with cli.mistakes(OSError, ValueError, KeyError):
            params, characters = load(options.load)
    if not options.only_write:
        text = cli.text(options)
        characters = characters or "".join(sorted(set(text)))
        params = init(init_key, len(characters), options.hidden) if params is None else params
        trn, tst = parts(text, characters, options)
        history = History({"train": trn, "test": tst})
        history.record(params)
        method = adam(options.lr) if options.layers else gradient_descent(options.lr)
        params = train(params, trn, options.epochs, method, history.record)
        if options.save is not None:
            save(options.save, params, characters)
            print(f"parameters: {options.save}")
        report.save(options.output, (6, 4), history.draw)

    print(f"\n{write(params, characters, options.generate, options.temperature, write_key)}")
    if not options.only_write:
        report.check_fall(history.loss["train"][0], history.loss["train"][-1])


def parts(text, characters, options):
    """Batches of the first nine tenths of the text, and of the last, if that is enough for one."""
    numbers = {character: number for number, character in enumerate(characters)}
    unknown = sorted(set(text) - set(characters))
    if unknown:
        cli.fail(f"--load {options.load}: it has not learnt {unknown[0]!r}, which the text has")
    ids = np.array([numbers[character] for character in text])
    needed = options.batch_size * options.steps + 1
    cut = len(ids) * 9 // 10
    if cut < needed:
        cli.fail(
            f"the text has {len(ids)} characters: too few for --batch-size {options.batch_size} --steps {options.steps}"
        )
    trn, tst = (batches(part, options.batch_size, options.steps) for part in (ids[:cut], ids[cut:]))
    sizes = f"{cut} characters for training, {len(ids) - cut} for testing, {len(characters)} distinct"
    print(f"{sizes}, on {knet.default_device()}", flush=True)
    return trn, tst


if __name__ == "__main__":
    main()
