"""The printer of device kernels: one text for every operation, in a dialect of C that OpenCL and CUDA both compile."""
