"""The scalar functions of device kernels, for ``prelude.py`` to put together, and the text of primitives in them."""

from __future__ import annotations

import functools
import re

from ..headers import FOLDER
from ..scalar import text

__all__ = ["functions", "text"]

# Functions of float that a header has and otherwise the dialect's library.
_IN_HEADER = {
    "floats.h": "KNET_FLOAT_1(exp) KNET_FLOAT_1(exp2) KNET_FLOAT_1(expm1) KNET_FLOAT_1(log) KNET_FLOAT_1(log1p) "
    "KNET_FLOAT_1(log2) KNET_FLOAT_1(log10) KNET_FLOAT_1(tanh) KNET_FLOAT_1(erf) KNET_FLOAT_1(erfc)\n",
    "doubles.h": "KNET_FLOAT_1(sin) KNET_FLOAT_1(cos) KNET_FLOAT_2(pow)\n",
}
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_INCLUDE = re.compile(r"^#include .*\n", re.MULTILINE)


@functools.cache
def functions(dialect: str, doubles: bool, loops: bool) -> str:
    """C text that defines every function that ``text`` may name: see ``prelude``."""
    parts = ["#define KNET_DOUBLES\n" if doubles else "", _header(f"{dialect}.h"), _header("common.h")]
    for name, use in (("floats.h", dialect == "opencl"), ("doubles.h", dialect == "opencl" and doubles and loops)):
        if use:  # polynomials are chains of fused multiply-adds, in whatever kernel they stand
            parts += ["#pragma OPENCL FP_CONTRACT ON\n", _header(name), "#pragma OPENCL FP_CONTRACT OFF\n"]
        else:
            parts.append(_IN_HEADER[name])
    return "".join([*parts, _header("integers.h"), _header("device.h")])


def _header(name: str) -> str:
    """A header without what compilers of kernels need not read: comments, and the CPU's headers."""
    text = _INCLUDE.sub("", _COMMENT.sub("", (FOLDER / name).read_text()))
    return "\n".join(line.rstrip() for line in text.split("\n") if line.strip()) + "\n"
