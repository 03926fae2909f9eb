"""Headers of scalar functions: what is one text for CPU, OpenCL and CUDA, and the words of each device's dialect."""

from pathlib import Path

FOLDER = Path(__file__).parent
