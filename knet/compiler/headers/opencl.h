/* The words of OpenCL C 1.2 for common.h, floats.h and integers.h, and its own functions of float. */
#define KNET_INLINE static inline __attribute__((always_inline, unused))
#define KNET_TABLE __constant
#define KNET_F32(name) name
#define KNET_F64(name) name

/* Numbers are printed with these; compilers that know the names fold both alike. */
#define __builtin_inff() as_float(0x7f800000)
#define __builtin_nanf(text) as_float(0x7fc00000)
#define __builtin_fabsf(x) fabs(x)
#define __builtin_rintf(x) rint(x)
#define __builtin_copysignf(x, y) copysign(x, y)
#undef M_SQRT1_2 /* OpenCL has it only where there is double */
#define M_SQRT1_2 0.70710678118654752440

#define knet_bits_f32(x) as_int(x)
#define knet_float(i) as_float(i)
#ifdef KNET_DOUBLES
#define __builtin_inf() as_double(0x7ff0000000000000L)
#define __builtin_nan(text) as_double(0x7ff8000000000000L)
#define __builtin_fabs(x) fabs(x)
#define knet_bits_f64(x) as_long(x)
#define knet_double(i) as_double(i)
#endif

/* For device.h. */
#define KNET_CLAIM(lock) (atomic_cmpxchg(lock, 0, 1) == 0)
#define KNET_FREE(lock) atomic_xchg(lock, 0)
#define KNET_FENCE mem_fence(CLK_GLOBAL_MEM_FENCE)
#define knet_mul_hi(a, b) mul_hi((ulong)(a), (ulong)(b))
#define knet_ldexp_f32(x, n) ldexp(x, n)
#define knet_ldexp_f64(x, n) ldexp(x, n)
