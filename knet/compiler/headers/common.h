/* Scalar functions that are one text for all devices, CPU, OpenCL and CUDA.

   Before it stand, in the words of the dialect: KNET_INLINE; knet_bits_f32 and its like; KNET_F32(name) and
   KNET_F64(name), the library's function of that name; KNET_DOUBLES if there is double; and, as macros where they are
   not built in, those of GCC's __builtin_ names that occur here. If KNET_OWN_F16 is defined, float16 is its matter. */
#ifndef KNET_COMMON_H
#define KNET_COMMON_H

/* --- the library's, under one name for both types ------------------------------------------------------------------ */

/* Not one by way of another: a name that is a macro, as in PoCL, must come to ## as it is. */
#define KNET_FLOAT_1(name) KNET_INLINE float knet_##name##_f32(float x) { return KNET_F32(name)(x); }
#define KNET_FLOAT_2(name) KNET_INLINE float knet_##name##_f32(float x, float y) { return KNET_F32(name)(x, y); }
#ifdef KNET_DOUBLES
#define KNET_DOUBLE_1(name) KNET_INLINE double knet_##name##_f64(double x) { return KNET_F64(name)(x); }
#define KNET_DOUBLE_2(name) KNET_INLINE double knet_##name##_f64(double x, double y) { return KNET_F64(name)(x, y); }
#else
#define KNET_DOUBLE_1(name)
#define KNET_DOUBLE_2(name)
#endif

KNET_FLOAT_1(tan) KNET_FLOAT_1(asin) KNET_FLOAT_1(acos) KNET_FLOAT_1(atan) KNET_FLOAT_1(sinh) KNET_FLOAT_1(cosh)
KNET_FLOAT_1(asinh) KNET_FLOAT_1(acosh) KNET_FLOAT_1(atanh) KNET_FLOAT_1(lgamma) KNET_FLOAT_1(cbrt) KNET_FLOAT_2(atan2)
KNET_FLOAT_2(hypot) KNET_FLOAT_2(nextafter) KNET_FLOAT_2(fmod) KNET_FLOAT_1(fabs) KNET_FLOAT_1(sqrt) KNET_FLOAT_1(rint)
KNET_FLOAT_1(floor) KNET_FLOAT_1(ceil) KNET_FLOAT_1(trunc) KNET_FLOAT_2(copysign)
KNET_DOUBLE_1(tan) KNET_DOUBLE_1(asin) KNET_DOUBLE_1(acos) KNET_DOUBLE_1(atan) KNET_DOUBLE_1(sinh) KNET_DOUBLE_1(cosh)
KNET_DOUBLE_1(asinh) KNET_DOUBLE_1(acosh) KNET_DOUBLE_1(atanh) KNET_DOUBLE_1(lgamma) KNET_DOUBLE_1(cbrt)
KNET_DOUBLE_2(atan2) KNET_DOUBLE_2(hypot) KNET_DOUBLE_2(nextafter) KNET_DOUBLE_2(fmod) KNET_DOUBLE_1(fabs)
KNET_DOUBLE_1(sqrt) KNET_DOUBLE_1(rint) KNET_DOUBLE_1(floor) KNET_DOUBLE_1(ceil) KNET_DOUBLE_1(trunc)
KNET_DOUBLE_2(copysign)

/* Of float, these are in floats.h or in the dialect's header. */
KNET_DOUBLE_1(exp) KNET_DOUBLE_1(exp2) KNET_DOUBLE_1(expm1) KNET_DOUBLE_1(log) KNET_DOUBLE_1(log1p) KNET_DOUBLE_1(log2)
KNET_DOUBLE_1(log10) KNET_DOUBLE_1(tanh) KNET_DOUBLE_1(erf) KNET_DOUBLE_1(erfc) KNET_DOUBLE_1(sin) KNET_DOUBLE_1(cos)
KNET_DOUBLE_2(pow)

/* --- order and tests ----------------------------------------------------------------------------------------------- */

/* The number if the other one is NaN; the library's own would be called in a loop. */
#define KNET_ORDER(suffix, type) \
    KNET_INLINE type knet_fmax_##suffix(type x, type y) { return x > y || y != y ? x : y; } \
    KNET_INLINE type knet_fmin_##suffix(type x, type y) { return x < y || y != y ? x : y; }
KNET_ORDER(f32, float)

KNET_INLINE int knet_isinf_f32(float x) { return __builtin_fabsf(x) == __builtin_inff(); }
KNET_INLINE int knet_isfinite_f32(float x) { return __builtin_fabsf(x) < __builtin_inff(); }
KNET_INLINE int knet_signbit_f32(float x) { return knet_bits_f32(x) < 0; }

/* --- division with a remainder of the divisor's sign, as in Python -------------------------------------------------- */

#define KNET_DIVISION(suffix, type) \
    KNET_INLINE type knet_remainder_##suffix(type x, type y) { \
        type r = knet_fmod_##suffix(x, y); \
        return r == 0 ? knet_copysign_##suffix(r, y) : (r < 0) != (y < 0) ? r + y : r; \
    } \
    KNET_INLINE type knet_floor_divide_##suffix(type x, type y) { \
        if (y == 0 || !knet_isfinite_##suffix(x) || !knet_isfinite_##suffix(y)) return knet_floor_##suffix(x / y); \
        type r = knet_fmod_##suffix(x, y), q = (x - r) / y, whole; /* whole but for its rounding */ \
        if (r != 0 && (r < 0) != (y < 0)) q -= 1; \
        whole = knet_floor_##suffix(q); \
        return q == 0 ? knet_copysign_##suffix(q, x / y) : q - whole > (type)0.5 ? whole + 1 : whole; \
    }
KNET_DIVISION(f32, float)

#ifdef KNET_DOUBLES
KNET_ORDER(f64, double)
KNET_INLINE int knet_isinf_f64(double x) { return __builtin_fabs(x) == __builtin_inf(); }
KNET_INLINE int knet_isfinite_f64(double x) { return __builtin_fabs(x) < __builtin_inf(); }
KNET_INLINE int knet_signbit_f64(double x) { return knet_bits_f64(x) < 0; }
KNET_DIVISION(f64, double)
#endif

/* --- half types: computed with in float, rounded to nearest even -------------------------------------------------- */

KNET_INLINE float knet_load_bf16(uint16_t h) { return knet_float((int32_t)((uint32_t)h << 16)); }

KNET_INLINE uint16_t knet_store_bf16(float x) {
    uint32_t i = (uint32_t)knet_bits_f32(x);
    return (uint16_t)(x != x ? i >> 16 | 0x40 : (i + 0x7fff + (i >> 16 & 1)) >> 16);
}

#ifndef KNET_OWN_F16
KNET_INLINE float knet_load_f16(uint16_t h) {
    int32_t i = (h & 0x7fff) << 13;
    int32_t finite = knet_bits_f32(knet_float(i) * 0x1p112f);
    i = i >= 0x7c00 << 13 ? i | 0x7f800000 : finite;
    return knet_float(i | (int32_t)((uint32_t)(h & 0x8000) << 16));
}

KNET_INLINE uint16_t knet_store_f16(float x) {
    uint32_t i = (uint32_t)knet_bits_f32(x), sign = i >> 16 & 0x8000, a = i & 0x7fffffff;
    uint32_t normal = (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13;
    uint32_t small = (uint32_t)knet_bits_f32(knet_float((int32_t)a) + 0.5f) - 0x3f000000; /* the addition rounds */
    uint32_t y = a < 0x38800000 ? small : a < 0x477ff000 ? normal : 0x7c00;               /* 2^-14, 65520 */
    return (uint16_t)(sign | (a > 0x7f800000 ? 0x7e00 | (a >> 13 & 0x3ff) : y));
}
#endif

#endif
