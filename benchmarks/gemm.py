"""``python -m benchmarks.gemm``: matrix products of the OpenCL backend's kernels against NumPy's.

Shapes are those of products in the models of ``examples/`` and their gradients; T marks an operand that is stored
transposed. Prints the medians of GFLOP/s of NumPy, of kernels made for the shape (as in compiled programs) and of
kernels for all shapes (as in eager operations), interleaved in one run. Launches and waiting for them are included.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from knet.backends.opencl import devices
from knet.compiler.device.buffer import DeviceBuffer, dense_layout
from knet.compiler.device.eager import Launches
from knet.compiler.graph import Graph, Node, Value
from knet.compiler.kernels.lower import Lowering, Shared, input_ref, output_ref
from knet.core import ShapedArray
from knet.core.ops import linalg
