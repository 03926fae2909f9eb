/* Scalar functions for the loops of compiled programs.

   knet_NAME_f32 and knet_NAME_f64 compute NAME of a float and a double. The frequent ones of float have no branch and
   call nothing, so that GCC and clang turn a loop over them into vector instructions (which needs -fno-math-errno and
   -fno-trapping-math); all others are the C library's. Those that are one text for all devices stand in
   compiler/headers. No system header is included, as reading <math.h> takes longer than these files. */
#ifndef KNET_SCALAR_H
#define KNET_SCALAR_H

typedef __INT8_TYPE__ int8_t;
typedef __INT16_TYPE__ int16_t;
typedef __INT32_TYPE__ int32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT8_TYPE__ uint8_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __UINT64_TYPE__ uint64_t;

#ifndef INFINITY
#define INFINITY __builtin_inff()
#endif
#ifndef NAN
#define NAN __builtin_nanf("")
#endif
#ifndef M_SQRT1_2
#define M_SQRT1_2 0.70710678118654752440
#endif

#define KNET_INLINE static inline __attribute__((always_inline, unused))

KNET_INLINE int32_t knet_bits_f32(float x) {
    union { float f; int32_t i; } u = {.f = x};
    return u.i;
}
KNET_INLINE float knet_float(int32_t i) {
    union { int32_t i; float f; } u = {.i = i};
    return u.f;
}
KNET_INLINE int64_t knet_bits_f64(double x) {
    union { double f; int64_t i; } u = {.f = x};
    return u.i;
}
KNET_INLINE double knet_double(int64_t i) {
    union { int64_t i; double f; } u = {.i = i};
    return u.f;
}

#define KNET_TABLE static const __attribute__((unused))
#define KNET_F32(name) __builtin_##name##f
#define KNET_F64(name) __builtin_##name
#define KNET_DOUBLES
#include "common.h"
#include "floats.h"
#include "doubles.h"

#endif
