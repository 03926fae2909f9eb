"""Measurements: an asv project (bench_*.py), and ``python -m benchmarks.eager``, a comparison with other libraries."""
