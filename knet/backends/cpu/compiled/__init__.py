"""Compiled programs: generators of C kernels, the C compiler and its cache, the team of threads that runs programs."""
