"""The OpenCL backend: PyOpenCL opens devices, compiles and queues; what is computed is printed by knet.compiler."""

from .runtime import runtimes

__all__ = ["runtimes"]


def __getattr__(name: str) -> object:
    if name == "backend":
        raise ImportError("the operations of the OpenCL backend are not part of this version of Knet yet")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
