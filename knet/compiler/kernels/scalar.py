"""The scalar functions of device kernels, for ``prelude.py`` to put together, and the text of primitives in them."""

from __future__ import annotations

import functools
import re

from ..headers import FOLDER
from ..scalar import text

__all__ = ["functions", "text"]

# The functions of float that come from floats.h, and those that the dialect's library has in their place.
_IN_FLOATS = "exp exp2 expm1 log log1p log2 log10 tanh erf erfc".split()
_LIBRARY = {"opencl": [], "cuda": _IN_FLOATS}
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_INCLUDE = re.compile(r"^#include .*\n", re.MULTILINE)


@functools.cache
def functions(dialect: str, doubles: bool) -> str:
    """C text that defines every function that ``text`` may name.

    Args:
      dialect: "opencl" or "cuda".
      doubles: whether the device computes with double.
    """
    library = [f"KNET_FLOAT_1({name})" for name in (*_LIBRARY[dialect], "sin", "cos")]
    parts = [
        "#define KNET_DOUBLES\n" if doubles else "",
        _header(f"{dialect}.h"),
        _header("common.h"),
        " ".join([*library, "KNET_FLOAT_2(pow)\n"]),
        # A polynomial is one chain of fused multiply-adds, wherever it stands.
        ("#pragma OPENCL FP_CONTRACT ON\n" + _header("floats.h") + "#pragma OPENCL FP_CONTRACT OFF\n")
        if dialect == "opencl"
        else "",
        _header("integers.h"),
    ]
    return "".join(parts)


def _header(name: str) -> str:
    """A header without what compilers of kernels need not read: comments, and the files of other dialects."""
    text = _INCLUDE.sub("", _COMMENT.sub("", (FOLDER / name).read_text()))
    return "\n".join(line.rstrip() for line in text.split("\n") if line.strip()) + "\n"
