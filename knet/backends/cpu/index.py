"""Scatter-add of rows. numpy.add.at walks element by element; sorting the rows and adding runs of equal ones is several
times faster for rows of more than one element, and as deterministic."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.ops.index import check_bounds


def put_add(x: Any, ids: Any, u: Any) -> Any:
    """See core.ops.index.put_add."""
    rows = x.shape[0]
    check_bounds(ids, rows)
    y = np.array(x, order="C")  # the table below must be a view of it, also where x is a transposed view
    flat = np.asarray(ids).reshape(-1)
    if not flat.size or not u.size:
        return y
    flat = np.where(flat < 0, flat + rows, flat)
    updates = np.asarray(u).reshape(flat.size, -1)
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    wide = np.float32 if y.dtype.itemsize == 2 and y.dtype.kind not in "iu" else y.dtype
    sums = np.add.reduceat(updates[order].astype(wide, copy=False), starts, axis=0)
    table = y.reshape(rows, -1)
    table[ordered[starts]] += sums.astype(y.dtype, copy=False)
    return y
