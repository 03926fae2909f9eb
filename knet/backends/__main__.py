"""``python -m knet.backends``: each backend computes a gradient, and says PASS or why it cannot.

Below a backend that can stand the primitives for which it has no kernel; they are computed on the host.
"""

from __future__ import annotations

import sys
import textwrap
from importlib.metadata import PackageNotFoundError, version

import numpy as np

import knet
import knet.numpy as knp
from knet.core import device, registry
from knet.core.ops import register_all

INDENT = " " * 15  # below the names of devices


def check(name: str) -> str:
    """Compute a gradient on every device of a backend; the device names. Raises whatever goes wrong."""
    count = device.load_backend(name).device_count()
    for index in range(count):
        with knet.use_backend(f"{name}:{index}"):
            x = knp.asarray([[1.0, 2.0], [3.0, 4.0]])
            g = knet.grad(lambda x: (knp.tanh(x) @ x).sum())(x)
        host = np.asarray(x)
        y = np.tanh(host)
        want = (1 - y * y) * host.sum(1) + y.sum(0)[:, None]
        if not np.allclose(np.asarray(g), want, rtol=1e-5):
            raise ArithmeticError(f"{name}:{index} computed {np.asarray(g).tolist()}, expected {want.tolist()}")
    return ", ".join(_described(name, i) for i in range(count))


def _described(name: str, index: int) -> str:
    """The device's name, with its maker's where the backend tells."""
    found = device.get_device(f"{name}:{index}")
    runtime = getattr(found.backend, "runtime", None)
    return f"{found} ({runtime(found).name})" if runtime else str(found)


def without_kernel(name: str) -> list[str]:
    """Names of the primitives that a backend leaves to the host, in alphabetical order."""
    register_all()
    backend = device.load_backend(name)
    return sorted(p.name for p in registry.values() if backend.kernel(p) is None)


def main() -> int:
    """Print what each backend can do; the exit status is 1 if the default backend fails."""
    print(f"knet {knet.__version__}, python {sys.version.split()[0]}, numpy {np.__version__}{_versions()}")
    failed = set()
    for name in device.backend_names():
        try:
            devices, absent = check(name), without_kernel(name)
            print(f"PASS  {name:8} {devices}")
            if absent:
                text = f"{len(absent)} on the host, for lack of kernels: {', '.join(absent)}"
                print(textwrap.fill(text, 120, initial_indent=INDENT, subsequent_indent=INDENT))
        except Exception as e:  # whatever a driver or library does wrong is what this command is to report
            failed.add(name)
            print(f"FAIL  {name:8} {e}".replace("\n", f"\n{INDENT}"))
    try:
        default = device.default_device()
    except knet.errors.DeviceError as e:
        print(f"default: none: {e}")
        return 1
    print(f"default: {default} (KNET_BACKEND chooses)")
    return int(default.backend.name in failed)


def _versions() -> str:
    found = []
    for package in ("cupy-cuda13x", "cupy-cuda12x", "pyopencl"):
        try:
            found.append(f", {package} {version(package)}")
        except PackageNotFoundError:
            continue
    return "".join(found)


if __name__ == "__main__":
    sys.exit(main())
