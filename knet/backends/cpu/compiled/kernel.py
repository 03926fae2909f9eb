"""What a generator of C kernels returns.

All threads of a team run a program side by side. A kernel is a sequence of phases; each phase is a C function that
works on a run of units of work, and every thread calls it on its own runs. A barrier stands between the phases of a
kernel, and before a phase that reads what another thread wrote.

C signature of a phase, with the kernel's operands (inputs, then outputs) in order:
    static void NAME(const float *a, ..., float *y, char *shared, char *own, long lo, long hi, int thread, int threads)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """A C function and how its work may be divided.

    Args:
      function: its name.
      units: the work is units 0 to units - 1.
      reads: positions of the operands that it reads.
      writes: positions of the operands that it writes; none for a phase that fills scratch alone.
      rows: operands of which unit u touches only the u-th of ``units`` equal contiguous slabs.
      grain: runs begin at multiples of this where possible.
      divisible: whether a thread may call it on consecutive parts of its run.
      private: of the shared scratch it touches the calling thread's part alone, one of ``threads`` equal parts.
    """

    function: str
    units: int
    reads: tuple[int, ...]
    writes: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    grain: int = 1
    divisible: bool = True
    private: bool = False


@dataclass(frozen=True)
class Kernel:
    """C source of a kernel's phases, and the bytes of scratch that they share or own one by one, aligned to 64.

    ``same``: pairs (input, output) that may share memory, because each element is read right before it is written.
    """

    source: str
    phases: tuple[Phase, ...]
    shared: int = 0
    own: int = 0
    same: tuple[tuple[int, int], ...] = ()
