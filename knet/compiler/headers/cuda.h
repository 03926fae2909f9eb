/* The words of CUDA C++ for common.h and integers.h. Its functions of float are within 4 ulp, and no loop is to be turned
   into vector instructions, so that none of floats.h is needed. */
#pragma nv_diag_suppress 186 /* integers.h compares unsigned numbers with 0, as one text serves all types */
#define KNET_INLINE __device__ __forceinline__
#define KNET_F32(name) name##f
#define KNET_F64(name) name

/* Numbers are printed with these. */
#define __builtin_inff() __int_as_float(0x7f800000)
#define __builtin_nanf(text) __int_as_float(0x7fc00000)
#define __builtin_inf() __longlong_as_double(0x7ff0000000000000LL)
#define __builtin_nan(text) __longlong_as_double(0x7ff8000000000000LL)
#define __builtin_fabsf(x) fabsf(x)
#define __builtin_fabs(x) fabs(x)
#ifndef INFINITY
#define INFINITY __builtin_inff()
#endif
#ifndef NAN
#define NAN __builtin_nanf("")
#endif
#ifndef M_SQRT1_2
#define M_SQRT1_2 0.70710678118654752440
#endif

#define knet_bits_f32(x) __float_as_int(x)
#define knet_float(i) __int_as_float(i)
#define knet_bits_f64(x) __double_as_longlong(x)
#define knet_double(i) __longlong_as_double(i)

/* An instruction each; cuda_fp16.h, which has them under a name, is thousands of lines. */
#define KNET_OWN_F16
KNET_INLINE float knet_load_f16(uint16_t h) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}
KNET_INLINE uint16_t knet_store_f16(float x) {
    uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
/* For device.h. */
#define KNET_CLAIM(lock) (atomicCAS((int *)(lock), 0, 1) == 0)
#define KNET_FREE(lock) atomicExch((int *)(lock), 0)
#define KNET_FENCE __threadfence()
#define knet_mul_hi(a, b) __umul64hi(a, b)
#define knet_ldexp_f32(x, n) ldexpf(x, n)
#define knet_ldexp_f64(x, n) ldexp(x, n)
