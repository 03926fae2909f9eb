"""The headers of compiled programs; ``expression`` prints elementwise primitives in the functions that they define."""

from __future__ import annotations

from ....compiler.scalar import text as expression

__all__ = ["HEADER", "INTEGER_HEADER", "expression"]

HEADER = '#include "scalar.h"\n'
INTEGER_HEADER = '#include "integers.h"\n'  # for programs that compute with integers; it includes the other one
