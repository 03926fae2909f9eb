"""Set-up of the whole suite: checked cotangents, repeatable hypothesis, and the backends that are present.

``KNET_BACKEND=opencl pytest`` runs the suite with another default backend; ``exceptions.py`` has the tests that do not
hold there, and why.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import types
from pathlib import Path

os.environ["KNET_CHECKS"] = "1"  # read when knet is imported: each cotangent must have its primal's shape and dtype
os.environ.setdefault("KNET_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "compiled"))
os.environ.setdefault("KNET_FALLBACK", "silent")  # which operations run on the host is itself a test: test_complete.py
sys.path.insert(0, str(Path(__file__).parent))  # so that every test file can import catalog

import hypothesis
import hypothesis.configuration
import numpy as np
import pytest
from exceptions import EXCEPTIONS, reason_to_skip

import knet
from knet.core import device
from knet.core.ops import register_all

# Next to pytest's own cache: a directory .hypothesis at the root would be collected, with a warning, which is an error.
hypothesis.configuration.set_hypothesis_home_dir(Path(__file__).parent.parent / ".pytest_cache" / "hypothesis")
hypothesis.settings.register_profile("knet", deadline=None, derandomize=True, max_examples=60, database=None)
hypothesis.settings.load_profile("knet")

register_all()  # tests walk the registry

BACKENDS = ("cpu", "cuda", "opencl")
REQUIRED = {name for name in os.environ.get("KNET_REQUIRE", "").split(",") if name}

if unknown := REQUIRED - set(BACKENDS):
    raise pytest.UsageError(f"KNET_REQUIRE names {sorted(unknown)}; the backends are {', '.join(BACKENDS)}")


def reason_for_absence(name: str) -> str | None:
    """Why a backend cannot compute here, or None if it can."""
    try:
        with knet.use_backend(name):
            value = float(knet.numpy.asarray(1.0) + 1.0)
    except Exception as e:  # drivers and their Python libraries fail in many ways; each is a reason
        return f"{type(e).__name__}: {e}".splitlines()[0]
    return None if value == 2.0 else f"computed 1 + 1 = {value}"


ABSENT = {name: reason for name in BACKENDS if (reason := reason_for_absence(name)) is not None}


def pytest_report_header() -> list[str]:
    """One line for each backend: whether it is tested, and if not, why."""
    return [f"backend {name}: {'tested' if name not in ABSENT else 'skipped: ' + ABSENT[name]}" for name in BACKENDS]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest):
    """Name of each backend in turn, which is the default within the test."""
    name = request.param
    if name in ABSENT:
        report = pytest.fail if name in REQUIRED else pytest.skip
        report(f"backend {name} is absent: {ABSENT[name]}")
    with knet.use_backend(name):
        yield name


DEFAULT = os.environ.get("KNET_BACKEND", "").partition(":")[0] or "cpu"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what exceptions.py lists for the default backend."""
    listed = EXCEPTIONS.get(DEFAULT, {})
    for item in items:
        if (reason := reason_to_skip(listed, item.nodeid)) is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


class Everywhere:
    """Fixtures of all tests, the doctests of the package among them."""

    @pytest.fixture(autouse=True)
    def same_default(self):
        """What a test makes the default of the process is so for that test only."""
        before = [*device._default]
        yield
        device._default[:] = before


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Everywhere())


@pytest.fixture
def on_cpu(monkeypatch):
    """The CPU as default of the process, of its threads and of the processes that it starts, for tests of the CPU."""
    monkeypatch.setenv("KNET_BACKEND", "cpu")
    knet.set_backend("cpu")


class Buffer:
    """Memory of the pretended device: NumPy's, but nothing can take it for a NumPy array."""

    __slots__ = ("data", "device")

    def __init__(self, data, device):
        self.data = np.array(data)
        self.device = device

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)


class PretendedBackend:
    """A strict backend of two devices that has kernels for few primitives: see knet.core.device.Backend."""

    name = "pretended"
    kernels = ("add", "multiply", "broadcast_to", "reshape")

    def device_count(self):
        return 2

    def kernel(self, primitive):
        if primitive.name not in self.kernels:
            return None

        def on_buffers(*buffers, **params):
            (place,) = {b.device for b in buffers if isinstance(b, Buffer)}
            return Buffer(primitive.body(*(b.data if isinstance(b, Buffer) else b for b in buffers), **params), place)

        return on_buffers

    def from_host(self, array, device):
        return Buffer(array, self.own(device))

    def to_host(self, buffer):
        if not isinstance(buffer, Buffer):
            raise TypeError(f"the pretended device was asked for the contents of {type(buffer).__name__} {buffer!r}")
        return buffer.data

    def scalar(self, value, dtype, device):
        return Buffer(np.asarray(value, dtype), self.own(device))

    def cast(self, buffer, dtype):
        return Buffer(buffer.data.astype(dtype), buffer.device)

    def synchronize(self, device):
        pass

    def own(self, device):
        """Number of one of this backend's devices."""
        assert device.backend is self, f"the pretended backend was given the device {device}"
        return device.index


PRETENDED = PretendedBackend()


@pytest.fixture
def pretended(monkeypatch):
    """Name of a backend that a third party plugs in through the entry-point group ``knet.backends``.

    Beside it stands "absent", whose module does not exist.
    """
    module = types.ModuleType("pretended_backend")
    module.backend = PRETENDED
    monkeypatch.setitem(sys.modules, "pretended_backend", module)
    mine = [
        importlib.metadata.EntryPoint(name, f"{name}_backend:backend", "knet.backends")
        for name in ("pretended", "absent")
    ]
    found = importlib.metadata.entry_points

    def entry_points(**query):
        return [*found(**query), *mine] if query.get("group") == "knet.backends" else found(**query)

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    device._entry_points.cache_clear()
    for index in range(PRETENDED.device_count()):
        device.get_device(f"pretended:{index}").kernels.clear()  # so that each test sees the first look-up
    yield "pretended"
    device._entry_points.cache_clear()
