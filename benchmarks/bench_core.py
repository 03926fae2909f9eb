"""The engine: overhead of an operation eagerly and on the tape, of grad, and of import.

``track_*`` are counts, which noise does not touch: a change in one is a change in the code.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np

import knet
import knet.numpy as knp
from knet.core.reverse import ReverseTrace

from .peers import Knet, NumPy
from .problems import CHAINS, problems


class Chain:
    """100 operations on float32 [4]."""

    params = (list(CHAINS),)
    param_names = ("kind",)

    def setup(self, kind: str) -> None:
        library = Knet(threads=1)
        self.forward = library.chain(kind, gradient=False)
        self.gradient = library.chain(kind, gradient=True)
        self.numpy = NumPy(threads=1).chain(kind, gradient=False)

    def time_forward(self, kind: str) -> None:
        self.forward()

    def time_gradient(self, kind: str) -> None:
        self.gradient()

    def time_numpy_control(self, kind: str) -> None:
        self.numpy()


class SmallGradient:
    """Gradient of a function of one operation: what grad costs by itself; and of a small tree of parameters."""

    def setup(self) -> None:
        self.x = knp.asarray(3.0)
        self.host = np.float32(3.0)
        self.square = knet.grad(lambda x: x * x)
        self.second = knet.grad(knet.grad(lambda x: x * x * x))
        self.tree = {"w": knp.ones((4, 4)), "b": [knp.ones(4), knp.ones(4)]}
        self.of_tree = knet.grad(lambda p: (p["w"] @ p["b"][0] + p["b"][1]).sum())

    def time_grad(self) -> None:
        self.square(self.x)

    def time_grad_of_grad(self) -> None:
        self.second(self.x)

    def time_grad_of_tree(self) -> None:
        self.of_tree(self.tree)

    def time_numpy_control(self) -> None:
        self.host * self.host


class Tape:
    """Operations that the gradient of a model records."""

    params = (["softmax", "mlp", "lenet"],)
    param_names = ("model",)

    def track_nodes(self, model: str) -> int:
        models, _ = problems()
        problem = models[model]
        loss = Knet(threads=1).loss(model)
        trace = ReverseTrace(model)
        params = {name: trace.watch(knp.asarray(w)) for name, w in problem.params.items()}
        loss(params, *map(knp.asarray, problem.batches[0]))
        assert trace.tape is not None
        return len(trace.tape)

    track_nodes.unit = "entries"  # type: ignore[attr-defined]


def _loaded_modules(statement: str) -> int:
    code = f"{statement}; import sys; print(len(sys.modules))"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


class Import:
    """``import knet`` in a new process."""

    def timeraw_knet(self) -> str:
        return "import knet"

    def timeraw_numpy_control(self) -> str:
        return "import numpy"

    def track_modules_over_numpy(self) -> int:
        return _loaded_modules("import numpy, knet") - _loaded_modules("import numpy")

    track_modules_over_numpy.unit = "modules"  # type: ignore[attr-defined]
