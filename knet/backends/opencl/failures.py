"""What PyOpenCL raises, put into words."""

from __future__ import annotations

from ...core import errors
from .devices import cl

# Why, and what helps, by the name of the status.
FIXES = {
    "OUT_OF_HOST_MEMORY": "free memory of the machine, of which the driver found none",
    "OUT_OF_RESOURCES": "use smaller arrays or batches, and drop arrays that are not needed",
    "MEM_OBJECT_ALLOCATION_FAILURE": "use smaller arrays or batches, or call knet.memory.free()",
    "DEVICE_NOT_AVAILABLE": "see whether another program holds it, or set KNET_OPENCL_DEVICE to another one",
    "INVALID_WORK_GROUP_SIZE": "report the kernel: it asks for larger groups than the device can run",
    "COMPILER_NOT_AVAILABLE": "install the complete driver, with its compiler",
}


def decoded(error: cl.Error, device: str, doing: str) -> Exception:
    """The error that a user sees for one of PyOpenCL's: its name, what was being done on which device, and the fix."""
    status = status_of(error)
    return errors.device_call_failed(f"OpenCL device {device}", doing, status, FIXES.get(status))


def status_of(error: cl.Error) -> str:
    """The standard's name of an error, as OUT_OF_RESOURCES; the text itself where there is no code."""
    try:
        return cl.status_code.to_string(error.code)
    except (AttributeError, ValueError):
        return str(error)
