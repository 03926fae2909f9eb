"""What stands before the kernels of a program: the macros of each dialect, then the functions of scalars.

``KERNEL(x, y, z)`` begins a kernel of that local size; ``POINTER`` declares a parameter and ``BASE`` the pointer that
the body uses; the ``SHARED_`` forms are for arrays that may overlap. ``GROUP(d)``, ``GROUPS(d)`` and ``ITEM(d)`` tell a
group its place, ``BARRIER`` holds its items together and shows local memory, ``GLOBAL_BARRIER`` global memory as well.
"""

from __future__ import annotations

from .scalar import functions

_OPENCL = """
#pragma OPENCL FP_CONTRACT OFF
typedef char int8_t; typedef short int16_t; typedef int int32_t; typedef long int64_t;
typedef uchar uint8_t; typedef ushort uint16_t; typedef uint uint32_t; typedef ulong uint64_t;
typedef uchar knet_1; typedef ushort knet_2; typedef uint knet_4; typedef ulong knet_8; typedef ulong2 knet_16;
#define KERNEL(x, y, z) __kernel __attribute__((reqd_work_group_size(x, y, z))) void
#define GLOBAL __global
#define LOCAL __local
#define POINTER(type, name) __global type *restrict name##_0, const long name##_at
#define BASE(type, name) __global type *restrict name = name##_0 + name##_at;
#define SHARED_POINTER(type, name) __global type *name##_0, const long name##_at
#define SHARED_BASE(type, name) __global type *name = name##_0 + name##_at;
#define GROUP(d) ((int)get_group_id(d))
#define GROUPS(d) ((int)get_num_groups(d))
#define ITEM(d) ((int)get_local_id(d))
#define BARRIER barrier(CLK_LOCAL_MEM_FENCE)
#define GLOBAL_BARRIER barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
"""

_CUDA = """
typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long long int64_t;
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef uint8_t knet_1; typedef uint16_t knet_2; typedef uint32_t knet_4; typedef uint64_t knet_8;
typedef ulonglong2 knet_16;
#define KERNEL(x, y, z) extern "C" __global__ void __launch_bounds__((x) * (y) * (z))
#define GLOBAL
#define LOCAL __shared__
#define POINTER(type, name) type *__restrict__ name
#define BASE(type, name)
#define SHARED_POINTER(type, name) type *name
#define SHARED_BASE(type, name)
#define GROUP(d) ((int)(d == 0 ? blockIdx.x : d == 1 ? blockIdx.y : blockIdx.z))
#define GROUPS(d) ((int)(d == 0 ? gridDim.x : d == 1 ? gridDim.y : gridDim.z))
#define ITEM(d) ((int)(d == 0 ? threadIdx.x : d == 1 ? threadIdx.y : threadIdx.z))
#define BARRIER __syncthreads()
#define GLOBAL_BARRIER __syncthreads()
"""

_BOTH = """#define MIN(a, b) ((a) < (b) ? (a) : (b))
"""

DIALECTS = {"opencl": _OPENCL + _BOTH, "cuda": _CUDA + _BOTH}


def prelude(dialect: str, doubles: bool, loops: bool = False) -> str:
    """C text before the kernels of a program.

    Args:
      dialect: "opencl" or "cuda".
      doubles: whether the device computes with double.
      loops: whether it is a CPU, where loops over functions should become vector instructions: sine, cosine and power
        of float are then computed in double, of which GPUs have few units.
    """
    return DIALECTS[dialect] + functions(dialect, doubles, loops)
