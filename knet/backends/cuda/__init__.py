"""The CUDA backend. Its place in the house; not written yet, and loading it says so."""

raise ImportError("the CUDA backend is not part of this version of Knet yet")
