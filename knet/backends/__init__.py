"""Backends, loaded by name on first use. ``python -m knet.backends`` says which of them work here.

How to write one: a module with an object ``backend`` that satisfies :class:`knet.core.device.Backend` (eight short
methods), named in the entry-point group ``knet.backends``::

    [project.entry-points."knet.backends"]
    mydevice = "my_package.backend"

``kernel(primitive)`` returns a function of buffers for the primitives that the backend has kernels for, and None for
the others, which then run their NumPy body on the host with one warning.
"""
