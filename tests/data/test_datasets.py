"""The data sets: their real files, damaged files, and the way from KNET_DATA_DIR over the cache to the network."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import knet.data
from knet.data import DataFormatError, DatasetUnavailable, datasets, housing, mnist, text

MNIST_FILES = sorted(name for name in datasets._PUBLISHED if name.startswith("mnist/"))


def need(*files: str) -> None:
    """Skip the test unless these real files are on this machine."""
    folders = [Path(folder) for folder in (os.environ.get("KNET_DATA_DIR"), datasets._cache_directory()) if folder]
    for file in files:
        if not any((folder / file).is_file() for folder in folders):
            pytest.skip(f"{file} is neither in KNET_DATA_DIR nor in the cache")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No KNET_DATA_DIR, an empty cache, and a network where no name resolves; gives the list of addresses tried."""
    tried = []

    def retrieve(url, sha256, path):
        tried.append(url)
        raise OSError(-2, "Name or service not known")

    monkeypatch.delenv("KNET_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets, "_cache_directory", lambda: tmp_path / "cache")
    monkeypatch.setattr(datasets, "_retrieve", retrieve)
    return tried


def write(root: Path, relative: str, content: bytes) -> Path:
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def idx_bytes(array: np.ndarray) -> bytes:
    dimensions = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + dimensions + array.astype(np.uint8).tobytes()


def tiny_mnist(root: Path, images=None, labels=None) -> Path:
    images = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 256 if images is None else images
    labels = np.array([7, 0, 9]) if labels is None else labels
    for name in MNIST_FILES:
        write(root, name, gzip.compress(idx_bytes(images if "images" in name else labels)))
    return root


def housing_bytes(**changed: str) -> bytes:
    lines = [" ".join(str(i * j % 17) for j in range(1, 15)) for i in range(506)]
    for line, content in changed.items():
        lines[int(line.removeprefix("line")) - 1] = content
    return "\n".join(lines).encode() + b"\n"


# The real files


def test_mnist():
    need(*MNIST_FILES)
    (xtrn, ytrn), (xtst, ytst) = mnist()
    assert (xtrn.shape, ytrn.shape, xtst.shape, ytst.shape) == (
        (60000, 1, 28, 28),
        (60000,),
        (10000, 1, 28, 28),
        (10000,),
    )
    assert xtrn.dtype == xtst.dtype == np.float32 and ytrn.dtype == ytst.dtype == np.int64
    assert xtrn.min() == xtst.min() == 0 and xtrn.max() == xtst.max() == 1
    assert ytrn[:5].tolist() == [5, 0, 4, 1, 9] and ytst[:5].tolist() == [7, 2, 1, 0, 4]
    assert xtrn.mean(dtype=np.float64) == pytest.approx(33.3184 / 255, abs=1e-6)
    pixels = np.rint(xtst * 255).astype(np.uint8)
    digest = hashlib.sha256(idx_bytes(pixels[:, 0])).hexdigest()
    assert digest == "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"  # of the unpacked file


def test_housing():
    need("housing/housing.data")
    x, y = housing()
    assert (x.shape, y.shape, x.dtype, y.dtype) == ((506, 13), (506,), np.float32, np.float32)
    assert np.abs(x.mean(axis=0, dtype=np.float64)).max() < 1e-6
    assert np.abs(x.std(axis=0, dtype=np.float64) - 1).max() < 1e-6
    design = np.column_stack([x, np.ones(506)]).astype(np.float64)
    weights = np.linalg.lstsq(design, y.astype(np.float64), rcond=None)[0]
    assert np.mean((design @ weights - y) ** 2) == pytest.approx(21.8948, abs=5e-5)
    raw, _ = housing(normalize=False)
    assert raw[0].tolist() == pytest.approx([0.00632, 18, 2.31, 0, 0.538, 6.575, 65.2, 4.09, 1, 296, 15.3, 396.9, 4.98])


def test_housing_split():
    need("housing/housing.data")
    x, y = housing()
    (xtrn, ytrn), (xtst, ytst) = housing(test=0.2, key=3)
    assert (xtrn.shape, ytrn.shape, xtst.shape, ytst.shape) == ((405, 13), (405,), (101, 13), (101,))
    whole = np.column_stack([x, y])
    parts = np.vstack([np.column_stack([xtrn, ytrn]), np.column_stack([xtst, ytst])])
    assert sorted(map(tuple, parts.tolist())) == sorted(map(tuple, whole.tolist()))
    assert not np.array_equal(parts, whole)
    assert np.array_equal(housing(test=0.2, key=3)[1][0], xtst)
    assert not np.array_equal(housing(test=0.2, key=4)[1][0], xtst)


def test_texts():
    need("text/hiawatha.txt", "text/shakespeare.txt")
    shakespeare, hiawatha = text("shakespeare"), text("hiawatha")
    assert (len(shakespeare), len(set(shakespeare))) == (1115394, 65)
    assert (len(hiawatha), len(set(hiawatha))) == (184138, 63)
    assert shakespeare.startswith("First Citizen:\nBefore we proceed")
    assert hiawatha.startswith("Should you ask me, whence these stories?\nWhence these legends")
    assert "\r" not in hiawatha and "\ufeff" not in hiawatha


# Small and damaged files


def test_a_small_set_in_mnists_format_is_read(tmp_path):
    (xtrn, ytrn), (_, ytst) = mnist(tiny_mnist(tmp_path))
    assert xtrn.shape == (3, 1, 28, 28) and xtrn.dtype == np.float32
    assert ytrn.tolist() == ytst.tolist() == [7, 0, 9] and ytrn.dtype == np.int64
    assert np.array_equal(xtrn.ravel(), (np.arange(3 * 28 * 28) % 256 / np.float32(255)).astype(np.float32))


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (
            np.zeros((3, 28, 27)),
            None,
            r"images-idx3-ubyte.gz: uint8 \[3, 28, 27\], MNIST's images are uint8 \[N, 28, 28\]",
        ),
        (None, np.zeros((3, 1)), r"labels-idx1-ubyte.gz: uint8 \[3, 1\], MNIST's labels are uint8 \[N\] in 0 to 9"),
        (None, np.array([1, 2, 10]), r"labels-idx1-ubyte.gz: uint8 \[3\], MNIST's labels are uint8 \[N\] in 0 to 9"),
        (None, np.array([1, 2]), r"labels-idx1-ubyte.gz: 2 labels for the 3 images of .*images-idx3-ubyte.gz"),
    ],
)
def test_mnist_files_that_do_not_fit(tmp_path, images, labels, reason):
    with pytest.raises(DataFormatError, match=reason + r".*\.\n  fix: "):
        mnist(tiny_mnist(tmp_path, images, labels))


def test_a_truncated_mnist_file(tmp_path):
    path = tiny_mnist(tmp_path) / "mnist/t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataFormatError, match=r"t10k-images-idx3-ubyte.gz: gzip cannot unpack it"):
        mnist(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (housing_bytes(line7="1 2 3"), "line 7 has 3 numbers in place of 14"),
        (housing_bytes(line506="1 " * 15), "line 506 has 15 numbers in place of 14"),
        (housing_bytes(line2="1 " * 13 + "n/a"), "line 2: could not convert string to float: 'n/a'"),
        (housing_bytes(line3="1 " * 13 + "\u00e9"), "line 3: could not convert"),
        (housing_bytes(line4="1 " * 13 + "nan"), "line 4 has a value that is not finite"),
        (housing_bytes(line5=""), "505 rows in place of 506"),
        (housing_bytes() + b"1 " * 14, "507 rows in place of 506"),
        (b"", "0 rows in place of 506"),
    ],
)
def test_damaged_housing_files(tmp_path, content, reason):
    write(tmp_path, "housing/housing.data", content)
    with pytest.raises(DataFormatError, match=rf"housing.data: {reason}.*\n  fix: "):
        housing(tmp_path)


@pytest.mark.parametrize("test", [-0.1, 1.0, 1e-6, 0.9999, float("nan")])
def test_a_split_that_leaves_nothing_is_an_error(tmp_path, test):
    write(tmp_path, "housing/housing.data", housing_bytes() + b"\n \n")
    with pytest.raises(ValueError, match=r"test: .* of 506 rows must leave rows .*\n  fix: "):
        housing(tmp_path, test=test)


def test_text_of_any_file(tmp_path):
    path = write(tmp_path, "file.txt", "\ufeffone\r\ntwo\rthré\n".encode())
    assert text(path) == text(str(path)) == "one\ntwo\nthré\n"


def test_undecodable_text(tmp_path):
    path = write(tmp_path, "file.txt", b"one\ntw\xff\n")
    with pytest.raises(
        DataFormatError, match=r"file.txt: byte 6 \(line 2\) is 0xff, not UTF-8: invalid start byte\.\n  fix"
    ):
        text(path)


def test_a_text_that_is_not_there(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"'moby' is neither a file nor one of 'hiawatha', 'shakespeare'\.\n  fix: "
    ):
        text("moby")


# Where files are looked for


def test_the_order_is_data_dir_then_cache_then_network(monkeypatch, offline, tmp_path):
    given, cache = tmp_path / "given", tmp_path / "cache"

    def retrieve(url, sha256, path):
        offline.append(url)
        write(path.parent, path.name, b"downloaded")

    monkeypatch.setattr(datasets, "_retrieve", retrieve)
    monkeypatch.setenv("KNET_DATA_DIR", str(given))
    assert text("shakespeare") == "downloaded" and len(offline) == 1
    assert text("shakespeare") == "downloaded" and len(offline) == 1
    write(cache, "text/shakespeare.txt", b"cached")
    assert text("shakespeare") == "cached"
    write(given, "text/shakespeare.txt", b"given")
    assert text("shakespeare") == "given"
    assert len(offline) == 1


def test_root_is_the_only_place_when_given(offline, tmp_path):
    write(tmp_path / "cache", "text/shakespeare.txt", b"cached")
    with pytest.raises(
        DatasetUnavailable, match=r"^shakespeare: there is no file .*shakespeare.txt\.\n  fix: .*leave root out"
    ):
        text("shakespeare", root=tmp_path / "elsewhere")
    with pytest.raises(DatasetUnavailable, match=r"^mnist: there is no file .*train-images-idx3-ubyte.gz"):
        mnist(tmp_path)
    assert offline == []


def test_offline_every_mirror_is_tried_once_and_the_error_tells(offline, tmp_path):
    with pytest.raises(DatasetUnavailable) as caught:
        mnist()
    assert isinstance(caught.value, OSError)
    assert offline == [mirror + "train-images-idx3-ubyte.gz" for mirror in datasets._MNIST_MIRRORS]
    message = str(caught.value)
    assert message.startswith(
        "mnist: mnist/train-images-idx3-ubyte.gz is neither in KNET_DATA_DIR (not set) nor in the"
    )
    assert str(tmp_path / "cache") in message
    assert "ossci-datasets.s3.amazonaws.com: [Errno -2] Name or service not known; storage.googleapis.com: " in message
    assert message.endswith(
        "fix: set KNET_DATA_DIR to a directory that holds mnist/train-images-idx3-ubyte.gz,"
        " or connect to the network once."
    )


def test_the_second_mirror_serves_when_the_first_fails(monkeypatch, offline, tmp_path):
    source = tiny_mnist(tmp_path / "source")

    def retrieve(url, sha256, path):
        if "ossci" in url:
            raise ValueError("SHA256 hash of downloaded file does not match the known hash")
        relative = f"mnist/{path.name}"
        assert sha256 == datasets._PUBLISHED[relative].sha256
        write(path.parent, path.name, (source / relative).read_bytes())

    monkeypatch.setattr(datasets, "_retrieve", retrieve)
    assert mnist()[0][1].tolist() == [7, 0, 9]
    assert sorted(p.name for p in (tmp_path / "cache/mnist").iterdir()) == [name.split("/")[1] for name in MNIST_FILES]


def test_a_text_without_a_public_source_says_how_to_provide_it(offline, monkeypatch, tmp_path):
    monkeypatch.setenv("KNET_DATA_DIR", str(tmp_path))
    with pytest.raises(DatasetUnavailable) as caught:
        text("hiawatha")
    message = str(caught.value)
    assert "no public address serves this very file, so it cannot be downloaded" in message
    assert f"KNET_DATA_DIR ({tmp_path})" in message
    assert message.endswith("fix: set KNET_DATA_DIR to a directory that holds text/hiawatha.txt.")
    assert offline == []


@pytest.fixture
def server(tmp_path):
    """A web server on this machine; gives its folder and its address."""
    pytest.importorskip("pooch")
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def test_a_real_download_checks_the_sha256_and_leaves_no_half_file(monkeypatch, tmp_path, server, capfd):
    folder, address = server
    content = b"Speak, speak.\n"
    (folder / "good.txt").write_bytes(content)
    (folder / "bad.txt").write_bytes(content[:-1])
    good = hashlib.sha256(content).hexdigest()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("KNET_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets, "_cache_directory", lambda: tmp_path / "cache")

    def publish(*names):
        published = datasets._Published(good, tuple(address + name for name in names))
        monkeypatch.setitem(datasets._PUBLISHED, "text/shakespeare.txt", published)

    publish("bad.txt", "absent.txt")
    with pytest.raises(DatasetUnavailable, match=r"127.0.0.1: SHA256 hash of downloaded file .*; 127.0.0.1: 404 .*"):
        text("shakespeare")
    assert not list((tmp_path / "cache/text").iterdir())
    publish("bad.txt", "good.txt")
    assert text("shakespeare") == content.decode()
    assert [p.name for p in (tmp_path / "cache/text").iterdir()] == ["shakespeare.txt"]
    assert capfd.readouterr().err == ""  # no terminal, no chatter


def test_a_refused_connection_is_told_in_the_systems_words(monkeypatch, tmp_path):
    pytest.importorskip("pooch")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(datasets, "_cache_directory", lambda: tmp_path)
    monkeypatch.delenv("KNET_DATA_DIR", raising=False)
    published = datasets._Published("0" * 64, ("http://127.0.0.1:9/absent",))
    monkeypatch.setitem(datasets._PUBLISHED, "text/shakespeare.txt", published)
    with pytest.raises(DatasetUnavailable, match=r"\(127.0.0.1: \[Errno \d+\] [\w ]+\)"):
        text("shakespeare")


def test_the_cache_is_the_users(monkeypatch):
    pooch = pytest.importorskip("pooch")
    assert datasets._cache_directory() == Path(pooch.os_cache("knet"))


@pytest.mark.parametrize("published", datasets._PUBLISHED.values(), ids=list(datasets._PUBLISHED))
def test_published_files_have_a_sha256_and_secure_addresses(published):
    assert len(bytes.fromhex(published.sha256)) == 32
    assert published.urls and all(url.startswith("https://") for url in published.urls)


# Stand-ins


def test_digits_look_like_mnist():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    (xtrn, ytrn), (xtst, ytst) = knet.data.digits()
    assert (xtrn.shape, ytrn.shape, xtst.shape, ytst.shape) == ((1500, 1, 28, 28), (1500,), (297, 1, 28, 28), (297,))
    assert xtrn.dtype == xtst.dtype == np.float32 and ytrn.dtype == ytst.dtype == np.int64
    x, y = np.concatenate([xtrn, xtst]), np.concatenate([ytrn, ytst])
    assert x.min() == 0 and x.max() == 1
    assert np.bincount(ytst).min() >= 15 and np.bincount(ytrn).min() >= 120
    inner = x[:, 0, 2:26, 2:26]
    assert x.sum(dtype=np.float64) == inner.sum(dtype=np.float64)
    small = np.rint(inner[:, 1::3, 1::3] * 16).astype(int)
    assert np.array_equal(np.kron(small, np.ones((1, 3, 3))) / 16, inner)
    bunch = sklearn_datasets.load_digits()
    rows = {
        (*image.ravel().astype(int).tolist(), int(label))
        for image, label in zip(bunch.images, bunch.target, strict=True)
    }
    assert {(*image.ravel().tolist(), int(label)) for image, label in zip(small, y, strict=True)} == rows
    assert np.array_equal(knet.data.digits()[1][0], xtst)


def test_mnist_or_digits(offline, tmp_path, capsys):
    pytest.importorskip("sklearn")
    (xtrn, _), _ = knet.data.mnist_or_digits()
    assert xtrn.shape == (1500, 1, 28, 28)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.endswith("\n")
    assert line.startswith("knet.data: using scikit-learn's digits in place of MNIST. mnist: ")
    assert "Name or service not known" in line and "fix: set KNET_DATA_DIR" in line
    tiny_mnist(tmp_path)
    (xtrn, _), _ = knet.data.mnist_or_digits(tmp_path)
    assert xtrn.shape == (3, 1, 28, 28)
    assert capsys.readouterr().err == ""
    (tmp_path / MNIST_FILES[0]).write_bytes(b"damaged")
    with pytest.raises(DataFormatError):
        knet.data.mnist_or_digits(tmp_path)


def test_housing_or_diabetes(offline, tmp_path, capsys):
    pytest.importorskip("sklearn")
    x, y = knet.data.housing_or_diabetes()
    assert (x.shape, y.shape, x.dtype, y.dtype) == ((442, 10), (442,), np.float32, np.float32)
    assert np.abs(x.mean(axis=0)).max() < 1e-5 and np.abs(x.std(axis=0) - 1).max() < 1e-5
    assert (y.min(), y.max()) == (25, 346)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith("knet.data: using scikit-learn's diabetes data in place of Housing. housing: ")
    (_, ytrn), (_, ytst) = knet.data.housing_or_diabetes(test=0.25)
    assert (len(ytrn), len(ytst)) == (332, 110)
    write(tmp_path, "housing/housing.data", housing_bytes())
    assert knet.data.housing_or_diabetes(tmp_path)[0].shape == (506, 13)


def test_without_scikit_learn_the_stand_ins_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        ImportError, match=r"digits: scikit-learn, which bundles the data, is missing .*\n  fix: pip install"
    ):
        knet.data.digits()


def test_importing_and_reading_local_files_needs_no_download_tools(tmp_path):
    tiny_mnist(tmp_path)
    program = (
        "import sys, knet.data; knet.data.mnist(sys.argv[1]);"
        "print(sorted({'pooch', 'requests', 'sklearn', 'tqdm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
