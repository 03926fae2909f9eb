"""Backends by name, the default device, devices that meet, and kernels that a backend lacks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import knet
import knet.numpy as knp
from knet.backends.__main__ import main, without_kernel
from knet.core import device, registry
from knet.core.errors import DeviceError


def python(*args, **variables):
    """A fresh interpreter with these environment variables."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KNET_")} | variables
    return subprocess.run(
        [sys.executable, *args], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


# --- the default ------------------------------------------------------------------------------------------------------


def test_the_default_is_the_cpu():
    got = python("-c", "import knet; print(knet.default_device())")
    assert got.stdout == "cpu:0\n" and got.stderr == ""


def test_the_environment_variable_names_the_default():
    assert python("-c", "import knet; print(knet.default_device())", KNET_BACKEND="cpu:0").stdout == "cpu:0\n"
    got = python("-c", "import knet.numpy as knp; knp.zeros(1)", KNET_BACKEND="cuad")
    assert got.returncode == 1
    assert "backend 'cuad': unknown; the backends are 'cpu', 'cuda', 'opencl'" in got.stderr
    assert "fix: Did you mean 'cuda'?" in got.stderr


def test_a_wrong_name_is_found_at_the_first_use_not_at_import():
    assert python("-c", "import knet", KNET_BACKEND="nonsense").returncode == 0


def test_use_backend_nests_and_survives_exceptions(pretended):
    usual = knet.default_device()
    with knet.use_backend(pretended) as outer:
        assert str(outer) == "pretended:0" and knp.zeros(1).device is outer
        with pytest.raises(KeyError), knet.use_backend("pretended:1") as inner:
            assert knp.zeros(1).device is inner is not outer
            raise KeyError
        assert knet.default_device() is outer
        with knet.use_backend("cpu"):
            assert str(knp.zeros(1).device) == "cpu:0"
        assert knet.default_device() is outer
    assert knet.default_device() is usual


def test_use_backend_is_local_to_a_thread(pretended):
    seen = []
    with knet.use_backend(pretended):
        thread = threading.Thread(target=lambda: seen.append(str(knet.default_device())))
        thread.start()
        thread.join()
    assert seen == [str(knet.default_device())] != [str(pretended)]


def test_set_backend(pretended):
    knet.set_backend("pretended:1")
    assert str(knet.default_device()) == "pretended:1"
    with pytest.raises(DeviceError):
        knet.set_backend("nonsense")
    assert str(knet.default_device()) == "pretended:1", "a failed set_backend has changed the default"
    knet.set_backend("cpu")
    assert str(knet.default_device()) == "cpu:0"


@pytest.mark.parametrize("name", ["cpu:1", "cpu:x", "cpu:-1", "cpu:0:0"])
def test_devices_that_do_not_exist(name):
    with pytest.raises(DeviceError, match=rf"device '{name}': this backend has 1 device.*\n  fix: use an index"):
        knet.set_backend(name)


@pytest.mark.parametrize(
    ("name", "suggestion"), [("cup", "cpu"), ("open_cl", "opencl"), ("CUDA:1", None), ("tpu", "cpu")]
)
def test_unknown_backends(name, suggestion):
    with pytest.raises(DeviceError, match="unknown; the backends are 'cpu', 'cuda', 'opencl'") as info:
        knet.set_backend(name)
    meant = f"Did you mean '{suggestion}'?" if suggestion else "fix: Set KNET_BACKEND"
    assert meant in str(info.value)


def test_a_backend_whose_library_is_missing(pretended):
    with pytest.raises(DeviceError, match="'absent': cannot be loaded: No module named 'absent_backend'") as info:
        knet.set_backend("absent")
    assert isinstance(info.value.__cause__, ImportError)


# --- a backend plugged in ---------------------------------------------------------------------------------------------


def test_a_plugged_in_backend_computes(pretended, monkeypatch):
    monkeypatch.setenv("KNET_FALLBACK", "silent")
    with knet.use_backend(pretended):
        x = knp.asarray([1.0, 2.0])
        assert str(x.device) == "pretended:0"
        g = knet.grad(lambda x: (knp.sin(x) * x * 2 + 1.5).sum())(x)
        assert str(g.device) == "pretended:0"
        np.testing.assert_allclose(np.asarray(g), 2 * (np.cos([1.0, 2.0]) * [1.0, 2.0] + np.sin([1.0, 2.0])), rtol=1e-6)
        assert (x + 1).tolist() == [2.0, 3.0] and repr(x) == "Array([1., 2.], dtype=float32)"
        assert [v.tolist() for v in x] == [1.0, 2.0]


def test_a_distribution_plugs_a_backend_in(tmp_path):
    info = tmp_path / "mydevice-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mydevice\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[knet.backends]\nmydevice = mydevice_backend\n")
    (tmp_path / "mydevice_backend.py").write_text(
        "from knet.backends.cpu import CPU\n\n\nclass Mine(CPU):\n    name = 'mydevice'\n\n\nbackend = Mine()\n"
    )
    program = "import sys, knet, knet.numpy as knp; print((knp.ones(2) + 1).device, 'mydevice_backend' in sys.modules)"
    got = python("-c", program, KNET_BACKEND="mydevice", PYTHONPATH=str(tmp_path))
    assert got.stdout == "mydevice:0 True\n", got.stderr
    got = python("-m", "knet.backends", KNET_BACKEND="mydevice", PYTHONPATH=str(tmp_path))
    assert got.returncode == 0 and "PASS  mydevice mydevice:0" in got.stdout


# --- between devices --------------------------------------------------------------------------------------------------


def test_moving(pretended):
    x = knp.asarray([1.0, 2.0])
    y = x.to_device("pretended:1")
    assert str(y.device) == "pretended:1" and y.tolist() == x.tolist() and y.dtype == x.dtype
    assert y.to_device("pretended:1") is y and x.to_device(x.device) is x
    assert str(y.to_device("cpu").device) == "cpu:0"
    assert str(knp.asarray([1.0], device="pretended").device) == "pretended:0"
    assert str(knp.zeros(2, device=y.device).device) == "pretended:1"
    assert str(knp.zeros_like(y).device) == "pretended:1"


def test_gradients_live_where_their_arguments_do(pretended, monkeypatch):
    monkeypatch.setenv("KNET_FALLBACK", "silent")
    x, y = knp.asarray(np.ones(2, np.float32), device="pretended:1"), knp.ones(2)
    gx, gy = knet.grad(lambda x, y: (x * x).sum().to_device("cpu") * 0 + y.sum() if False else y.sum(), (0, 1))(x, y)
    assert str(gx.device) == "pretended:1" and gy.device is knet.default_device()


def test_operands_on_two_devices(pretended):
    x, y = knp.ones(2), knp.asarray([1.0, 2.0], device=pretended)
    message = rf"(?s)on {knet.default_device()}.*on pretended:0.*one device.*\n  fix: move one of them"
    for f in (lambda: x + y, lambda: knp.concatenate([x, y]), lambda: knp.where(x > 0, y, y), lambda: x @ y):
        with pytest.raises(DeviceError, match=message):
            f()


def test_devices_and_pickles(pretended):
    import pickle

    device = knp.asarray([1.0], device="pretended:1").device
    assert pickle.loads(pickle.dumps(device)) is device
    x = pickle.loads(pickle.dumps(knp.asarray([1.0], device="pretended:1")))
    assert x.device is knet.default_device() and x.tolist() == [1.0], "a pickled array is loaded to the default device"


# --- kernels that are missing -----------------------------------------------------------------------------------------


def test_fallback_warns_once_for_each_primitive(pretended, monkeypatch):
    monkeypatch.delenv("KNET_FALLBACK", raising=False)
    with knet.use_backend(pretended):
        x = knp.asarray([0.0, 1.0])
        with pytest.warns(RuntimeWarning, match="sin: no kernel on pretended; computed on the host") as record:
            knp.sin(x)
        assert len(record) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            y = knp.sin(x)
            x + x  # has a kernel
        np.testing.assert_allclose(np.asarray(y), np.sin([0.0, 1.0]), rtol=1e-6)
        with pytest.warns(RuntimeWarning, match="cos: no kernel"):
            knp.cos(x)


def test_fallback_silent(pretended, monkeypatch):
    monkeypatch.setenv("KNET_FALLBACK", "silent")
    with knet.use_backend(pretended):
        x = knp.sin(knp.asarray([0.0, 1.0]))
        assert str(x.device) == "pretended:0" and x[0] == 0.0


def test_fallback_error(pretended, monkeypatch):
    monkeypatch.setenv("KNET_FALLBACK", "error")
    with knet.use_backend(pretended):
        x = knp.asarray([0.0, 1.0])
        with pytest.raises(knet.errors.MissingKernel, match=r"sin: the pretended backend has no kernel") as info:
            knp.sin(x)
        assert isinstance(info.value, NotImplementedError) and "fix: set KNET_FALLBACK=warn" in str(info.value)
        assert (x + x).tolist() == [0.0, 2.0]


def test_fallback_stays_on_the_device_of_the_operands(pretended, monkeypatch):
    monkeypatch.setenv("KNET_FALLBACK", "silent")
    x = knp.asarray([0.0, 1.0], device="pretended:1")
    y = knp.sin(x)
    assert str(y.device) == "pretended:1" and (y + x).tolist() == pytest.approx([0.0, 1.0 + np.sin(1.0)], rel=1e-6)


def test_one_device_has_one_object(pretended):
    assert knet.core.get_device("cpu:00") is knet.core.get_device("cpu") is knet.core.get_device("cpu:0")
    found, barrier = [], threading.Barrier(8)

    def look():
        barrier.wait(10)
        found.append(knet.core.get_device("pretended:1"))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(10)
    assert len(found) == 8 and len(set(map(id, found))) == 1


def test_fallback_takes_python_scalars(pretended, monkeypatch):
    monkeypatch.setenv("KNET_FALLBACK", "silent")
    with knet.use_backend(pretended):
        for x in (knp.asarray([1.0, 4.0]), knp.asarray(4.0)):
            assert knp.maximum(x, 2.0).tolist() == np.maximum(np.asarray(x), 2).tolist()
            assert (x - 1).tolist() == (np.asarray(x) - 1).tolist() and (8 / x).tolist() == (8 / np.asarray(x)).tolist()


# --- python -m knet.backends ------------------------------------------------------------------------------------------


def test_the_self_test_passes():
    got = python("-m", "knet.backends")
    assert got.returncode == 0, got.stdout + got.stderr
    lines = got.stdout.splitlines()
    assert lines[0].startswith(f"knet {knet.__version__}, python {sys.version.split()[0]}, numpy {np.__version__}")
    after = lines[lines.index("PASS  cpu      cpu:0") + 1]
    assert after.startswith(("PASS", "FAIL")), "the CPU has a kernel for everything"
    for name in ("cuda", "opencl"):
        assert any(line.split()[:2] in (["PASS", name], ["FAIL", name]) for line in lines)
    assert lines[-1] == "default: cpu:0 (KNET_BACKEND chooses)"


def test_the_self_test_says_what_is_computed_on_the_host(pretended, monkeypatch, capsys):
    assert without_kernel("cpu") == []
    absent = without_kernel(pretended)
    assert len(absent) == len(registry) - 4
    assert "add" not in absent and "multiply" not in absent and "tanh" in absent and absent == sorted(absent)
    monkeypatch.setattr(device, "backend_names", lambda: ["cpu", pretended])
    monkeypatch.setenv("KNET_FALLBACK", "silent")
    assert main() == 0
    _, cpu, works, *listed, default = capsys.readouterr().out.splitlines()
    assert cpu == "PASS  cpu      cpu:0"
    assert works == "PASS  pretended pretended:0, pretended:1"
    assert default == f"default: {knet.default_device()} (KNET_BACKEND chooses)"
    assert max(map(len, listed)) <= 120 and {line[:15] for line in listed} == {" " * 15}
    text = " ".join(line.strip() for line in listed)
    assert text == f"{len(absent)} on the host, for lack of kernels: {', '.join(absent)}"


def test_the_self_test_fails_if_the_default_does():
    got = python("-m", "knet.backends", KNET_BACKEND="nonsense")
    assert got.returncode == 1 and "default: none: backend 'nonsense': unknown" in got.stdout


def test_the_self_test_finds_a_wrong_backend(tmp_path):
    info = tmp_path / "liar-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: liar\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[knet.backends]\nliar = liar_backend\n")
    (tmp_path / "liar_backend.py").write_text(
        "import numpy as np\n"
        "from knet.backends.cpu import CPU\n\n\n"
        "class Liar(CPU):\n"
        "    name = 'liar'\n\n"
        "    def kernel(self, primitive):\n"
        "        return (lambda x: np.sin(x)) if primitive.name == 'tanh' else super().kernel(primitive)\n\n\n"
        "backend = Liar()\n"
    )
    got = python("-m", "knet.backends", KNET_BACKEND="liar", PYTHONPATH=str(tmp_path))
    assert got.returncode == 1 and "FAIL  liar     liar:0 computed" in got.stdout
    got = python("-m", "knet.backends", PYTHONPATH=str(tmp_path))
    assert got.returncode == 0 and "FAIL  liar" in got.stdout, "another backend than the default may fail"
