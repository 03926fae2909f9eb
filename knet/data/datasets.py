"""The data sets of the examples: MNIST, Boston Housing, two texts, and offline stand-ins from scikit-learn.

A file is looked for in the directory KNET_DATA_DIR, then in the user's cache (`pooch.os_cache("knet")`), then it is
downloaded into the cache, checked against the SHA-256 of the published file. Both directories are laid out so::

    mnist/train-images-idx3-ubyte.gz  mnist/train-labels-idx1-ubyte.gz
    mnist/t10k-images-idx3-ubyte.gz   mnist/t10k-labels-idx1-ubyte.gz
    housing/housing.data              text/hiawatha.txt    text/shakespeare.txt
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, overload
from urllib.parse import urlsplit

import numpy as np

from .idx import damaged, read_idx
from .minibatch import host_generator

StrPath = str | os.PathLike[str]
Pair = tuple[np.ndarray, np.ndarray]

_TEXTS = ("hiawatha", "shakespeare")
_HOUSING_SHAPE = (506, 14)
_CONNECT_SECONDS, _READ_SECONDS = 2, 20


class _Published(NamedTuple):
    """A file on the network: the SHA-256 of its bytes there, and the addresses to try in turn."""

    sha256: str
    urls: tuple[str, ...]


_MNIST_MIRRORS = "https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"
_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_PUBLISHED = {
    f"mnist/{name}": _Published(sha256, tuple(mirror + name for mirror in _MNIST_MIRRORS))
    for name, sha256 in _MNIST_SHA256.items()
} | {
    "housing/housing.data": _Published(
        "baadf72995725d76efe787b664e1f083388c79ba21ef9a7990d87f774184735a",
        ("https://archive.ics.uci.edu/ml/machine-learning-databases/housing/housing.data",),
    ),
    "text/shakespeare.txt": _Published(
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
    ),
}


class DatasetUnavailable(OSError):
    """A data set that is neither on this machine nor to be had from the network: the text says where it was sought."""


def mnist(root: StrPath | None = None) -> tuple[Pair, Pair]:
    """The MNIST handwritten digits, `((xtrn, ytrn), (xtst, ytst))`.

    Args:
        root: a directory laid out like KNET_DATA_DIR, read in place of it, the cache and the network.

    Returns:
        Images x: float32 `[N, 1, 28, 28]`, the pixels divided by 255, so 0 (paper) to 1 (ink). Labels y: int64 `[N]`,
        the digits 0 to 9. N is 60000 for training, 10000 for testing; files with another N are taken as they are.

    Raises:
        DatasetUnavailable: a file is nowhere to be found.
        DataFormatError: a file is damaged, or images and labels do not belong together.

    Example:
        >>> (xtrn, ytrn), (xtst, ytst) = mnist()  # doctest: +SKIP
        >>> xtrn.shape, ytst.shape  # doctest: +SKIP
        ((60000, 1, 28, 28), (10000,))

    References:
        LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE 86, 1998.
    """
    paths = [
        _locate(f"mnist/{part}-{kind}-ubyte.gz", root)
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    return _mnist_pair(*paths[:2]), _mnist_pair(*paths[2:])


def _mnist_pair(images_path: Path, labels_path: Path) -> Pair:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise damaged(images_path, f"{images.dtype} {list(images.shape)}, MNIST's images are uint8 [N, 28, 28]")
    if labels.dtype != np.uint8 or labels.ndim != 1 or labels.max(initial=0) > 9:
        raise damaged(labels_path, f"{labels.dtype} {list(labels.shape)}, MNIST's labels are uint8 [N] in 0 to 9")
    if len(images) != len(labels):
        raise damaged(labels_path, f"{len(labels)} labels for the {len(images)} images of {images_path}")
    x = images[:, None].astype(np.float32)
    x /= 255
    return x, labels.astype(np.int64)


@overload
def housing(root: StrPath | None = None, *, normalize: bool = True) -> Pair: ...
@overload
def housing(root: StrPath | None = None, *, test: float, key: Any = 0, normalize: bool = True) -> Any: ...
def housing(root: StrPath | None = None, *, test: float = 0.0, key: Any = 0, normalize: bool = True) -> Any:
    """The Boston Housing data: 13 properties of 506 districts, and the median value of their homes.

    Normalised, a column c of x is `(c - mean(c)) / std(c)` over all 506 rows (std divides by N), split or not.
    The mean squared error of least squares with a bias is then 21.8948.

    Args:
        root: a directory laid out like KNET_DATA_DIR, read in place of it, the cache and the network.
        test: the share of the rows set apart for testing, 0 or more and below 1.
        key: what the rows are shuffled by before they are split: a random key (uint64 `[2]`) or an int. Unused
            without a split: the order is then the file's.
        normalize: whether each column of x gets mean 0 and standard deviation 1.

    Returns:
        `(x, y)`, or with test above 0 `((xtrn, ytrn), (xtst, ytst))` where xtst has round(506 * test) rows.
        x: float32 `[N, 13]`. y: float32 `[N]` in thousands of dollars, 5 to 50.

    Raises:
        DatasetUnavailable: the file is nowhere to be found.
        DataFormatError: the file is damaged (line and reason are named).
        ValueError: test is out of range or leaves one part empty.

    Example:
        >>> x, y = housing()  # doctest: +SKIP
        >>> (xtrn, ytrn), (xtst, ytst) = housing(test=0.2, key=1)  # doctest: +SKIP

    References:
        Harrison, Rubinfeld: Hedonic prices and the demand for clean air, J. Environ. Economics & Management 5, 1978.
        The column "B" encodes a discredited assumption about race; the data serve as a classical test, not a model.
    """
    table = _housing_table(_locate("housing/housing.data", root))
    return _regression(table[:, :-1], table[:, -1], test, key, normalize)


def _housing_table(path: Path) -> np.ndarray:
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    rows, columns = _HOUSING_SHAPE
    table = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != columns:
            raise damaged(path, f"line {number} has {len(fields)} numbers in place of {columns}")
        try:
            row = [float(field) for field in fields]
        except ValueError as error:
            raise damaged(path, f"line {number}: {error}") from None
        if not np.isfinite(row).all():
            raise damaged(path, f"line {number} has a value that is not finite")
        table.append(row)
    if len(table) != rows:
        raise damaged(path, f"{len(table)} rows in place of {rows}")
    return np.array(table)


def _regression(x: np.ndarray, y: np.ndarray, test: float, key: Any, normalize: bool) -> Any:
    if normalize:
        x = (x - x.mean(axis=0)) / x.std(axis=0)
    x, y = x.astype(np.float32), y.astype(np.float32)
    if test == 0:
        return x, y
    held_out = round(len(x) * test) if 0 < test < 1 else 0
    if not 0 < held_out < len(x):
        raise ValueError(
            f"test: {test!r} of {len(x)} rows must leave rows for testing and for training.\n"
            "  fix: test=0.2, or test=0 for no split."
        )
    order = host_generator(key).permutation(len(x))
    trn, tst = order[held_out:], order[:held_out]
    return (x[trn], y[trn]), (x[tst], y[tst])


def text(name_or_path: StrPath, root: StrPath | None = None) -> str:
    r"""The text of a file in UTF-8, for language models of characters.

    As when Python opens a text file, every line end (`\r\n`, `\r`) becomes `\n`; a leading byte order mark is dropped.

    Args:
        name_or_path: "hiawatha" (Longfellow's poem, 184138 characters, 63 distinct), "shakespeare" (the corpus known as
            tiny shakespeare, 1115394 characters, 65 distinct), or the path of any file ("./hiawatha" for a file of that
            name). Hiawatha is not downloaded: no public address serves this very text.
        root: a directory laid out like KNET_DATA_DIR, read in place of it, the cache and the network.

    Returns:
        The text.

    Raises:
        DatasetUnavailable: the named text is nowhere to be found.
        DataFormatError: a byte is not UTF-8 (its position is named).
        FileNotFoundError: there is no file of this path.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "haiku.txt")
        ...     _ = path.write_bytes(b"an old silent pond\r\n")
        ...     text(path)
        'an old silent pond\n'
    """
    if name_or_path in _TEXTS:
        path = _locate(f"text/{name_or_path}.txt", root)
    else:
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"text: {os.fspath(name_or_path)!r} is neither a file nor one of {', '.join(map(repr, _TEXTS))}.\n"
                "  fix: check the path, or use one of these names."
            )
    data = path.read_bytes()
    try:
        characters = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise damaged(
            path, f"byte {error.start} (line {line}) is {data[error.start]:#04x}, not UTF-8: {error.reason}"
        ) from None
    return characters.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def digits() -> tuple[Pair, Pair]:
    """The 8 x 8 handwritten digits bundled with scikit-learn in MNIST's format, `((xtrn, ytrn), (xtst, ytst))`.

    Every pixel becomes 3 x 3 pixels and a margin of 2 is added, so models for MNIST run unchanged. The split is fixed.

    Returns:
        Images x: float32 `[N, 1, 28, 28]`, 0 (paper) to 1 (ink). Labels y: int64 `[N]`, the digits 0 to 9.
        N is 1500 for training, 297 for testing.

    Raises:
        ImportError: scikit-learn is not installed.

    Example:
        >>> (xtrn, ytrn), (xtst, ytst) = digits()  # doctest: +SKIP
        >>> xtrn.shape, ytst.shape  # doctest: +SKIP
        ((1500, 1, 28, 28), (297,))

    References:
        E. Alpaydin, C. Kaynak: Optical recognition of handwritten digits, UCI machine-learning repository, 1998.
    """
    bunch = _sklearn_datasets("digits").load_digits()
    small = np.asarray(bunch.images, np.float32)[:, None] / 16
    x = np.pad(small.repeat(3, axis=2).repeat(3, axis=3), ((0, 0), (0, 0), (2, 2), (2, 2)))
    y = np.asarray(bunch.target, np.int64)
    order = host_generator(0).permutation(len(x))
    trn, tst = order[:1500], order[1500:]
    return (x[trn], y[trn]), (x[tst], y[tst])


def mnist_or_digits(root: StrPath | None = None) -> tuple[Pair, Pair]:
    """`mnist(root)`, or `digits()` with a line on stderr that says why when MNIST is unavailable.

    Raises:
        DataFormatError: MNIST is there but damaged.
        ImportError: MNIST is unavailable and scikit-learn is not installed.

    Example:
        >>> (xtrn, ytrn), (xtst, ytst) = mnist_or_digits()  # doctest: +SKIP
    """
    try:
        return mnist(root)
    except DatasetUnavailable as error:
        _announce("scikit-learn's digits in place of MNIST", error)
    return digits()


def housing_or_diabetes(root: StrPath | None = None, *, test: float = 0.0, key: Any = 0, normalize: bool = True) -> Any:
    """`housing(...)`, or scikit-learn's diabetes data with a line on stderr that says why when Housing is unavailable.

    Returns:
        As `housing`; the diabetes data are x: float32 `[442, 10]` and y: float32 `[442]`, the progression of the
        disease in a year, 25 to 346.

    Raises:
        DataFormatError: Housing is there but damaged.
        ImportError: Housing is unavailable and scikit-learn is not installed.
        ValueError: test is out of range or leaves one part empty.

    Example:
        >>> x, y = housing_or_diabetes()  # doctest: +SKIP
    """
    try:
        return housing(root, test=test, key=key, normalize=normalize)
    except DatasetUnavailable as error:
        _announce("scikit-learn's diabetes data in place of Housing", error)
    bunch = _sklearn_datasets("housing_or_diabetes").load_diabetes(scaled=False)
    return _regression(np.asarray(bunch.data), np.asarray(bunch.target), test, key, normalize)


def _announce(choice: str, error: DatasetUnavailable) -> None:
    print(f"knet.data: using {choice}. {' '.join(str(error).split())}", file=sys.stderr)


def _sklearn_datasets(caller: str) -> Any:
    try:
        import sklearn.datasets
    except ImportError as error:
        raise ImportError(
            f"{caller}: scikit-learn, which bundles the data, is missing ({error}).\n  fix: pip install scikit-learn."
        ) from error
    return sklearn.datasets


def _locate(relative: str, root: StrPath | None) -> Path:
    """The path of one file of a data set, downloaded if need be."""
    name = relative.split("/")[0] if not relative.startswith("text/") else Path(relative).stem
    if root is not None:
        path = Path(root).expanduser() / relative
        if path.is_file():
            return path
        raise DatasetUnavailable(f"{name}: there is no file {path}.\n  fix: put it there, or leave root out.")
    given = os.environ.get("KNET_DATA_DIR")
    if given and (path := Path(given).expanduser() / relative).is_file():
        return path
    cached = _cache_directory() / relative
    if cached.is_file():
        return cached
    if relative not in _PUBLISHED:
        reason, once = "no public address serves this very file, so it cannot be downloaded", ""
    else:
        try:
            return _download(_PUBLISHED[relative], cached)
        except _DownloadFailed as error:
            reason, once = f"it could not be downloaded ({error})", ", or connect to the network once"
    raise DatasetUnavailable(
        f"{name}: {relative} is neither in KNET_DATA_DIR ({given or 'not set'}) nor in the cache"
        f" {_cache_directory()}, and {reason}.\n"
        f"  fix: set KNET_DATA_DIR to a directory that holds {relative}{once}."
    )


class _DownloadFailed(Exception):
    """No address gave the file; the text has a reason for each."""


def _download(published: _Published, path: Path) -> Path:
    reasons = []
    for url in published.urls:
        try:
            _retrieve(url, published.sha256, path)
            return path
        except (OSError, ValueError) as error:  # the network, or a SHA-256 that differs
            reasons.append(f"{urlsplit(url).hostname}: {_short_reason(error)}")
    raise _DownloadFailed("; ".join(reasons))


def _short_reason(error: BaseException) -> str:
    """One line: the operating system's word if it is the cause, else the error's own."""
    cause = next((link for link in _chain(error) if getattr(link, "errno", None) is not None), error)
    return " ".join(str(cause).split())[:200] or type(cause).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _cache_directory() -> Path:
    import pooch

    return Path(pooch.os_cache("knet"))


def _retrieve(url: str, sha256: str, path: Path) -> None:
    """Download one file: it appears under its name only whole and with the right SHA-256."""
    import pooch

    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=(_CONNECT_SECONDS, _READ_SECONDS))
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        pooch.retrieve(url, f"sha256:{sha256}", fname=path.name, path=path.parent, downloader=downloader)
    finally:
        logger.setLevel(level)
