"""Running kernels: what a device must be able to do, its arrays, eager operations, and compiled programs."""
