"""Names of mathematical functions in the C text of programs (scalar.h)."""

from __future__ import annotations

from typing import Any

from ....core import dtypes


def name_of(name: str, dtype: Any) -> str:
    """C name of a function of numbers of a dtype."""
    return f"knet_{name}_f32" if dtype == dtypes.float32 else f"knet_{name}_f64"
