"""How exactly products of float32 matrices are computed where a device offers a faster way.

``"highest"``, the default, rounds nothing but the result of each multiplication and addition. ``"tf32"`` lets CUDA's
tensor cores round the factors to 10 bits of mantissa, and accumulates in float32 as before. Backends without such a way
ignore the switch, and so do all other dtypes. ``KNET_PRECISION`` sets it for the process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar

from . import errors

PRECISIONS = ("highest", "tf32")
_default: list[str] = []
_override: ContextVar[str | None] = ContextVar("knet_precision", default=None)


def _checked(where: str, name: str) -> str:
    if name not in PRECISIONS:
        fix = "use one of these; KNET_PRECISION sets it for the process"
        raise errors.argument(where, "name", name, f"it must be {' or '.join(map(repr, PRECISIONS))}", fix)
    return name


def current_precision() -> str:
    """The precision in force: that of the innermost ``precision``, else ``set_precision``'s, else KNET_PRECISION's."""
    name = _override.get()
    if name is None:
        if not _default:
            _default.append(_checked("KNET_PRECISION", os.environ.get("KNET_PRECISION") or "highest"))
        name = _default[0]
    return name


def set_precision(name: str) -> None:
    """Set how products of float32 matrices are computed: "highest" (the default), or "tf32" on CUDA's tensor cores.

    Compiled functions heed it, too: it is looked up when they are called.

    Raises:
      ArgumentError: an unknown name; the precision stays as it was.

    Example:
      >>> import knet
      >>> knet.set_precision("highest")
    """
    _default[:] = [_checked("set_precision", name)]


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Context with another precision; local to the thread or task. See :func:`set_precision`.

    Example:
      >>> import knet
      >>> with knet.precision("tf32"):
      ...     pass
    """
    token = _override.set(_checked("precision", name))
    try:
        yield
    finally:
        _override.reset(token)
