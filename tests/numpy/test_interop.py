"""Other libraries on Knet's arrays: exchange without copies, SciPy and scikit-learn, and Python's own protocols."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.core.errors import DTypeError

SHARED = ["float32", "float64", "int8", "int64", "uint8", "complex64", "bool"]


def address(x):
    """Where an array's memory starts."""
    return np.asarray(x).__array_interface__["data"][0]


# --- exchange of memory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", SHARED)
def test_numpy_shares_memory_both_ways(on_cpu, dtype):
    host = np.array([[1, 0, 1], [0, 1, 1]], dtype)
    for x in (
        knp.from_dlpack(host),
        knp.asarray(host),
        knp.from_dlpack(host, copy=False),
        knp.asarray(host, copy=False),
    ):
        assert address(x) == address(host) and x.dtype == host.dtype and np.array_equal(x, host)
    for x in (knp.from_dlpack(host, copy=True), knp.asarray(host, copy=True), knp.array(host)):
        assert address(x) != address(host) and np.array_equal(x, host)


def test_numpy_may_not_write():
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(knp.ones(3))[0] = 2


def test_what_is_asked_for_on_the_cpu_is_shared_whatever_the_default(backend):
    host = np.ones(3, np.float32)
    assert address(knp.asarray(host, device="cpu")) == address(host)
    assert address(knp.asarray(host, device="cpu", copy=False)) == address(host)


def test_memory_is_copied_where_it_must_be_unless_that_is_forbidden(backend):
    host = np.ones(3, np.float32)
    x = knp.asarray(host)
    assert np.from_dlpack(x.to_device("cpu")).tolist() == np.asarray(x).tolist() == [1, 1, 1]
    if backend == "cpu":
        assert address(knp.asarray(host, copy=False)) == address(x.__array__(copy=False)) == address(host)
        return
    with pytest.raises(ValueError, match=rf"has to be copied to {backend}:0"):
        knp.asarray(host, copy=False)
    with pytest.raises(ValueError, match=rf"the array is on {backend}:0"):
        x.__array__(copy=False)
    if backend == "opencl":  # DLPack has a name for its memory, but no library reads it
        with pytest.raises(BufferError, match="memory of opencl:0"):
            x.__dlpack__(copy=False)
        assert np.from_dlpack(x).tolist() == [1, 1, 1]


def test_dlpack_options(on_cpu):
    x = knp.ones((2, 2))
    assert x.__dlpack_device__() == (1, 0)
    assert address(np.from_dlpack(x)) == address(x)

    class Reader:
        """What from_dlpack of another library would call, with the options given."""

        def __init__(self, **options):
            self.options = options

        def __dlpack__(self, **_):
            return x.__dlpack__(**self.options)

        def __dlpack_device__(self):
            return x.__dlpack_device__()

    for options in ({}, {"max_version": (1, 0)}, {"dl_device": (1, 0)}, {"copy": False}, {"stream": None}):
        assert address(np.from_dlpack(Reader(**options))) == address(x), options
    assert address(np.from_dlpack(Reader(copy=True))) != address(x)
    with pytest.raises(BufferError, match="to_device"):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match="stream"):
        x.__dlpack__(stream=1)


def test_memory_that_is_repeated_is_copied_for_old_readers():
    x = knp.broadcast_to(knp.asarray(2.0), (3,))
    assert np.from_dlpack(x).tolist() == [2, 2, 2]
    x.__dlpack__(max_version=None)
    with pytest.raises(BufferError):
        x.__dlpack__(copy=False)


def test_what_dlpack_cannot_say():
    with pytest.raises(BufferError):
        knp.ones(2, dtype="bfloat16").__dlpack__()
    with pytest.raises(DTypeError):
        knp.from_dlpack("text")
    with pytest.raises((TypeError, AttributeError)):
        knet.grad(lambda x: np.from_dlpack(x).sum())(knp.ones(2))


@pytest.mark.parametrize("dtype", SHARED)
def test_pytorch_shares_memory_both_ways(on_cpu, dtype):
    torch = pytest.importorskip("torch")
    x = knp.asarray(np.array([[1, 0, 1], [0, 1, 1]], dtype))
    there = torch.from_dlpack(x)
    assert there.data_ptr() == address(x) and there.tolist() == x.tolist()
    back = knp.from_dlpack(there)
    assert address(back) == there.data_ptr() and back.dtype == x.dtype
    assert address(knp.from_dlpack(there, copy=True)) != there.data_ptr()


@pytest.mark.parametrize("dtype", ["float32", "int32", "complex64"])
def test_jax_reads_and_is_read(dtype):
    jnp = pytest.importorskip("jax.numpy")
    x = knp.asarray(np.arange(64, dtype=dtype))
    there = jnp.from_dlpack(x)  # JAX copies what is not aligned to 64 bytes
    assert there.dtype == dtype and np.array_equal(there, x)
    back = knp.from_dlpack(there)
    assert address(back) == there.unsafe_buffer_pointer() and np.array_equal(back, x)


# --- libraries of the array API ---------------------------------------------------------------------------------------

SCIPY = """
import numpy as np, scipy.cluster, scipy.fft, scipy.integrate, scipy.signal, scipy.special, scipy.stats
import knet.numpy as knp
from knet import Array
x = np.random.default_rng(0).normal(size=(12, 4))
a = knp.asarray(x)
for name, f in {
    "softmax": lambda x: scipy.special.softmax(x, axis=0),
    "xlogy": lambda x: scipy.special.xlogy(x * x, x * x + 1),
    "gmean": lambda x: scipy.stats.gmean(x * x),
    "skew": scipy.stats.skew,
    "kurtosis": scipy.stats.kurtosis,
    "moment": lambda x: scipy.stats.moment(x, 3),
    "entropy": lambda x: scipy.stats.entropy(x * x),
    "ttest": lambda x: scipy.stats.ttest_1samp(x, 0.0).statistic,
    "trapezoid": lambda x: scipy.integrate.trapezoid(x, axis=0),
    "detrend": lambda x: scipy.signal.detrend(x, axis=0),
    "fft": scipy.fft.fft,
    "vq": lambda x: scipy.cluster.vq.vq(x, x[:3])[0],
}.items():
    got = f(a)
    assert isinstance(got, Array), (name, type(got))
    assert np.allclose(got, f(x)), name
print("agreed")
"""

SKLEARN = """
import numpy as np, sklearn
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score, mean_squared_error
from sklearn.preprocessing import LabelEncoder
import knet.numpy as knp
from knet import Array
x = np.random.default_rng(0).normal(size=(30, 4))
y = np.array([0, 1, 1] * 10)
a, b = knp.asarray(x), knp.asarray(y)
model = PCA(n_components=2, svd_solver="full")
want = model.fit_transform(x)
with sklearn.config_context(array_api_dispatch=True):
    got = model.fit(a).transform(a)
    assert isinstance(got, Array) and isinstance(model.components_, Array)
    assert np.allclose(np.abs(np.asarray(got)), np.abs(want))
    assert mean_squared_error(a, a + 2) == 4 and accuracy_score(b, 1 - b) == 0
    assert np.array_equal(LabelEncoder().fit_transform(b + 7), y)
print("agreed")
"""


def run(program):
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONPATH": str(Path(knet.__file__).parent.parent)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "agreed", ran.stderr[-4000:]


def test_scipy_computes_on_knets_arrays():
    pytest.importorskip("scipy", minversion="1.17")
    run(SCIPY)


def test_scikit_learn_computes_on_knets_arrays():
    pytest.importorskip("sklearn", minversion="1.7")
    run(SKLEARN)


# --- Python's protocols -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*SHARED, "bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_pickles_and_copies(dtype, shape):
    x = knp.ones(shape, dtype=dtype)
    for y in (pickle.loads(pickle.dumps(x)), copy.copy(x), copy.deepcopy(x), copy.deepcopy({"w": [x]})["w"][0]):
        assert isinstance(y, knet.Array) and y.dtype == x.dtype and y.shape == x.shape and np.array_equal(y, x)


def test_dtypes_and_functions_survive_pickling():
    for x in (knp.bfloat16, knp.float32, knp.exp, knp.sign):
        assert pickle.loads(pickle.dumps(x)) is x or pickle.loads(pickle.dumps(x)) == x


def test_no_hash():
    with pytest.raises(DTypeError, match="no hash"):
        {knp.ones(2)}
    with pytest.raises(DTypeError, match="no hash"):
        hash(knp.asarray(1))


def test_printing():
    assert repr(knp.asarray([1.0, 2.0])) == "Array([1., 2.], dtype=float32)"
    assert repr(knp.asarray([1, 2])) == "Array([1, 2])"
    assert repr(knp.asarray(1j)) == "Array(0.+1.j, dtype=complex64)"
    assert repr(knp.asarray([True])) == "Array([ True])" and str(knp.asarray([[1, 2]])) == "[[1 2]]"
    assert f"{knp.asarray(2.5):.2f} {knp.asarray(3)}" == "2.50 3"


def test_python_numbers():
    assert [float(knp.asarray(2.5)), int(knp.asarray(3)), bool(knp.asarray(0)), complex(knp.asarray(1j))] == [
        2.5,
        3,
        False,
        1j,
    ]
    assert list(range(5))[knp.asarray(3)] == 3 and knp.asarray([[1, 2]]).tolist() == [[1, 2]]
    x = before = knp.ones(2)
    x += 1
    assert x.tolist() == [2, 2] and before.tolist() == [1, 1], "in-place operators bind a new array"
