"""Training steps of the classical models on batches of 100 images, eager."""

from __future__ import annotations

from .peers import Knet, NumPy
from .problems import problems


class Step:
    """One step of gradient descent: loss, gradient, new parameters."""

    params = (["softmax", "mlp", "lenet"],)
    param_names = ("model",)

    def setup(self, model: str) -> None:
        models, _ = problems()
        self.step = Knet(threads=2).train(model, models[model])
        self.step()
        self.control = NumPy(threads=2).train("mlp", models["mlp"])

    def time_knet(self, model: str) -> None:
        self.step()

    def time_numpy_control(self, model: str) -> None:
        """The MLP's step, derived by hand: the machine's speed at the time."""
        self.control()


class Memory:
    """Peak memory of a process that trains; 31 MB of it are the images. Random ones: reading MNIST takes more."""

    params = (["softmax", "mlp", "lenet"],)
    param_names = ("model",)

    def setup(self, model: str) -> None:
        models, _ = problems(real=False)
        self.step = Knet(threads=2).train(model, models[model])

    def peakmem_knet(self, model: str) -> None:
        for _ in range(3):
            self.step()
