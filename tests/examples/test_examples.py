"""The examples as a user runs them: smoke runs, pictures, reproducible numbers, and what a mistake says.

The slow tests hold the examples to the numbers in examples/README.md; they need the real data in KNET_DATA_DIR or in
the cache, and run by `python -m pytest tests/examples -m slow`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import knet
from knet import data

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ["housing", "softmax", "mlp", "lenet", "charlm"]
VARIANTS = [[], ["--layers"]]
VARIANT_IDS = ["from-scratch", "layers"]
PNG = b"\x89PNG\r\n\x1a\n"
# No test downloads anything: without data on this machine, the examples use those that scikit-learn bundles.
OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


def run(cwd: Path, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "KNET_PROGRESS"}
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    env = {"OPENBLAS_NUM_THREADS": "1"} | env | OFFLINE | environment  # threads that spin would slow busy cores down
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=600, check=False)


def train_losses(stdout: str) -> list[float]:
    return [float(loss) for loss in re.findall(r"(?:steps|epoch +\d+) +train loss +(\S+)", stdout)]


def numbers(stdout: str) -> str:
    """The output without what differs between two runs: seconds."""
    return re.sub(r" +\(.* s\)", "", stdout)


def one_line(result: subprocess.CompletedProcess[str], text: str) -> None:
    """Assert that the program ended with status 2, one line that holds a text, and no output."""
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if "error: " in line]
    assert len(lines) == 1, result.stderr
    assert text in lines[0]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("variant", VARIANTS, ids=VARIANT_IDS)
@pytest.mark.parametrize("name", NAMES)
def test_smoke(tmp_path, name, variant):
    result = run(tmp_path, name, "--smoke", *variant)
    assert result.returncode == 0, result.stderr
    losses = train_losses(result.stdout)
    assert losses[-1] < losses[0]
    assert f"picture: {name}.png\n" in result.stdout
    assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]

    again = run(tmp_path, name, "--smoke", *variant, "--seed", "0", "--output", "again.png")
    assert numbers(again.stdout).replace("again.png", f"{name}.png") == numbers(result.stdout)


def test_another_seed_gives_other_numbers(tmp_path):
    first, second = (train_losses(run(tmp_path, "mlp", "--smoke", "--seed", seed).stdout) for seed in "01")
    assert len(first) == len(second) == 2
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_options(tmp_path):
    arguments = ["--smoke", "--epochs", "3", "--batch-size", "250", "--lr", "0.1", "--output", "curves.svg"]
    result = run(tmp_path, "mlp", *arguments, KNET_PROGRESS="1")
    assert result.returncode == 0, result.stderr
    assert f"on {knet.default_device()}\n" in result.stdout
    assert len(train_losses(result.stdout)) == 4
    assert "4/4" in result.stderr
    assert "loss=" in result.stderr
    assert "<svg" in (tmp_path / "curves.svg").read_text()


def test_housing_reports_test_loss(tmp_path):
    result = run(tmp_path, "housing", "--smoke", "--test", "0.2", "--epochs", "30")
    assert result.returncode == 0, result.stderr
    assert "after   30 steps" in result.stdout
    assert re.search(r"^test loss \d+\.\d+$", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_help(tmp_path, name):
    result = run(tmp_path, name, "--help")
    assert result.returncode == 0
    for option in ("--layers", "--epochs", "--lr", "--seed", "--backend", "--smoke", "--output"):
        assert option in result.stdout


def test_without_matplotlib(tmp_path):
    package = tmp_path / "absent" / "matplotlib"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('No module named matplotlib')\n")
    result = run(tmp_path, "housing", "--smoke", PYTHONPATH=str(package.parent))
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("matplotlib is missing") == 1
    assert "picture" not in result.stdout
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--backend", "gpu"], "backend 'gpu': unknown; the backends are 'cpu'"),
        (["--epochs", "0"], "--epochs: 0 is not a whole number of 1 or more"),
        (["--epochs", "-1"], "--epochs: -1 is not"),
        (["--lr", "nan"], "--lr: nan is not a number above 0"),
        (["--seed", "-1"], "--seed: -1 is not a whole number of 0 or more"),
        (["--batch-size", "100000"], "--batch-size is 100000, more than the "),
        (["--output", "no/such/folder/picture.png"], "cannot be written: No such file or directory"),
        (["--output", "picture.xyz"], "must end in .png"),
    ],
    ids=" ".join,
)
def test_mistakes(tmp_path, arguments, text):
    one_line(run(tmp_path, "mlp", *arguments), text)
    assert not list(tmp_path.iterdir())


def test_mistakes_in_the_environment(tmp_path):
    one_line(run(tmp_path, "housing", KNET_BACKEND="gpu"), "backend 'gpu': unknown")
    one_line(run(tmp_path, "housing", KNET_PROGRESS="yes"), "KNET_PROGRESS is 'yes'")


def test_a_picture_that_is_there_stays_until_the_new_one(tmp_path):
    (tmp_path / "mlp.png").write_text("the old one")
    one_line(run(tmp_path, "mlp", "--batch-size", "100000"), "--batch-size")
    assert (tmp_path / "mlp.png").read_text() == "the old one"


def test_a_loss_that_does_not_fall_is_a_failure(tmp_path):
    result = run(tmp_path, "housing", "--smoke", "--lr", "10")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("housing.py: the training loss did not fall")
    assert "Traceback" not in result.stderr


@pytest.fixture
def poem(tmp_path):
    """Path of a text that is easy to learn."""
    path = tmp_path / "poem.txt"
    path.write_text("The sun goes up,\nThe sun goes down,\n" * 300)
    return path


SMALL = ["--hidden", "32", "--batch-size", "8", "--steps", "16", "--generate", "120"]


def test_charlm_writes_what_it_has_read_and_remembers_it(tmp_path, poem):
    saved = tmp_path / "saved.npz"
    learnt = run(tmp_path, "charlm", "--layers", "--data", str(poem), *SMALL, "--lr", "0.02", "--save", str(saved))
    assert learnt.returncode == 0, learnt.stderr
    assert "9720 characters for training, 1080 for testing, 14 distinct" in learnt.stdout
    assert float(re.findall(r"test loss \S+ perplexity (\S+)", learnt.stdout)[-1]) < 1.5
    text = learnt.stdout.split("\n\n", 1)[1]
    assert text.count("The sun goes ") >= 4
    assert len(text) == 121  # print ends the line

    loaded = run(tmp_path, "charlm", "--load", str(saved), "--generate", "120")
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout == f"\n{text}"

    further = run(tmp_path, "charlm", "--data", str(poem), *SMALL, "--load", str(saved), "--epochs", "1")
    assert train_losses(further.stdout)[0] == train_losses(learnt.stdout)[-1]


def test_charlm_mistakes(tmp_path, poem):
    one_line(run(tmp_path, "charlm", "--data", "absent.txt"), "'absent.txt' is neither a file nor one of")
    one_line(run(tmp_path, "charlm", "--load", "absent.npz"), "absent.npz")
    one_line(run(tmp_path, "charlm", "--data", str(poem), "--save", "no/such/file.npz"), "there is no such folder")
    one_line(run(tmp_path, "charlm", "--data", str(poem), "--steps", "5000"), "the text has 10800 characters: too few")
    one_line(run(tmp_path, "charlm", "--data", str(poem), "--temperature", "0"), "0 is not a number above 0")


# --- the numbers of examples/README.md --------------------------------------------------------------------------------


@pytest.fixture
def real(monkeypatch):
    """Function that skips the test if a data set is not on this machine."""
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)

    def check(load):
        try:
            load()
        except data.DatasetUnavailable as error:
            pytest.skip(str(error))

    return check


@pytest.mark.parametrize("variant", VARIANTS, ids=VARIANT_IDS)
def test_housing_reaches_least_squares(tmp_path, real, variant):
    real(data.housing)
    result = run(tmp_path, "housing", *variant)
    assert result.returncode == 0, result.stderr
    assert float(re.search(r"after +10 steps +train loss +(\S+)", result.stdout)[1]) < 30
    assert abs(train_losses(result.stdout)[-1] - 21.89) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=VARIANT_IDS)
@pytest.mark.parametrize(("name", "least"), [("softmax", 0.915), ("mlp", 0.970), ("lenet", 0.975)])
def test_accuracy(tmp_path, real, name, least, variant):
    real(data.mnist)
    result = run(tmp_path, name, *variant)
    assert result.returncode == 0, result.stderr
    assert float(re.search(r"^test accuracy (\S+)$", result.stdout, re.MULTILINE)[1]) >= least


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=VARIANT_IDS)
def test_perplexity(tmp_path, real, variant):
    real(lambda: data.text("hiawatha"))
    result = run(tmp_path, "charlm", *variant, "--generate", "2000")
    assert result.returncode == 0, result.stderr
    perplexities = [float(p) for p in re.findall(r"test loss \S+ perplexity (\S+)", result.stdout)]
    assert perplexities[-1] <= (4.6 if variant else 5.3)
    known = set(re.findall("[a-z]+", data.text("hiawatha").lower()))
    words = re.findall("[a-z]{3,}", result.stdout.split("\n\n", 1)[1].lower())
    assert sum(word in known for word in words) >= (0.8 if variant else 0.6) * len(words)
