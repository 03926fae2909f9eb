"""What PyOpenCL raises, put into words."""

from __future__ import annotations

from ...core import errors
from .devices import cl

# Why, and what helps, by the name of the status.
FIXES = {
    "OUT_OF_HOST_MEMORY": "free memory of the machine: the driver itself found none",
    "OUT_OF_RESOURCES": "use smaller arrays or batches; on a GPU this is also what a kernel that reads outside an array ends in",
    "MEM_OBJECT_ALLOCATION_FAILURE": "use smaller arrays or batches, or call knet.memory.free()",
    "DEVICE_NOT_AVAILABLE": "see whether another program holds the device, or choose another one with KNET_OPENCL_DEVICE",
    "INVALID_WORK_GROUP_SIZE": "report the kernel named above: it asks for more items than the device can run in a group",
    "COMPILER_NOT_AVAILABLE": "install the complete driver: this one cannot compile kernels",
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
