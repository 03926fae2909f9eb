"""Sums over overlapping windows: scratch in which neighbouring windows' cells are neighbours, whatever the stride.

Window j's cell k is column j * step + k of the padded plane. In scratch, columns are sorted by their remainder modulo
the step, so for a fixed k the cells of all windows are contiguous, and adding to them is a loop over vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

Pair = tuple[int, int]


@dataclass(frozen=True)
class SortedColumns:
    """Scratch for a plane of `sizes`, met by `out` windows that reach over `reach` cells, `stride` apart.

    `before` is the padding in front of each axis.
    """

    sizes: Pair
    out: Pair
    reach: Pair
    stride: Pair
    before: Pair

    @property
    def remainder(self) -> int:
        """Columns of one remainder."""
        return self.out[1] + (self.reach[1] - 1) // self.stride[1]

    @property
    def row(self) -> int:
        """Floats of a row."""
        return self.stride[1] * self.remainder

    @property
    def rows(self) -> int:
        """Rows that windows meet, counted from the first row of padding."""
        return (self.out[0] - 1) * self.stride[0] + self.reach[0]

    @property
    def plane(self) -> int:
        """Floats of a plane."""
        return self.rows * self.row

    def column(self, k: int) -> int:
        """Place in a row of window 0's column k; the next window's is next to it."""
        return k % self.stride[1] * self.remainder + k // self.stride[1]

    def unsort(self, source: str, target: str) -> str:
        """C text that writes a plane in its own order, without the padding; cells that no window meets are 0."""
        (height, width), (top, left), step = self.sizes, self.before, self.stride[1]
        rows = max(0, min(height, self.rows - top))
        moves = []
        for q in range(step):
            first = (q - left) % step  # the plane's first column of this remainder
            begin = (first + left) // step
            count = max(0, min(len(range(first, width, step)), self.remainder - begin))
            if count:
                moves.append(
                    f"for (long j = 0; j < {count}; j++) d[j * {step} + {first}] = s[j + {q * self.remainder + begin}];"
                )
            if missing := range(first + count * step, width, step):
                moves.append(f"for (long j = {missing[0]}; j < {width}; j += {step}) d[j] = 0;")
        below = f"memset({target} + {rows * width}, 0, {(height - rows) * width * 4});" if rows < height else ""
        return f"""for (long h = 0; h < {rows}; h++) {{
const float *s = {source} + (h + {top}) * {self.row};
float *d = {target} + h * {width};
{chr(10).join(moves)}
}}
{below}"""
