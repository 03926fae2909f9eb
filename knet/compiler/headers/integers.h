/* Arithmetic of integers as NumPy does it: it wraps around, shifts may be longer than the number, division rounds down,
   and x / 0 is 0. knet_NAME_DTYPE for each of the eight types. */
#ifndef KNET_INTEGERS_H
#define KNET_INTEGERS_H

#ifndef KNET_INLINE
#include "scalar.h"
#endif

/* type: of the numbers; wide: unsigned, not narrower than int, so that arithmetic in it is defined; bits: of type. */
#define KNET_INTEGER(suffix, type, wide, bits) \
    KNET_INLINE type knet_add_##suffix(type x, type y) { return (type)((wide)x + (wide)y); } \
    KNET_INLINE type knet_subtract_##suffix(type x, type y) { return (type)((wide)x - (wide)y); } \
    KNET_INLINE type knet_multiply_##suffix(type x, type y) { return (type)((wide)x * (wide)y); } \
    KNET_INLINE type knet_negative_##suffix(type x) { return (type)(0 - (wide)x); } \
    KNET_INLINE int knet_signbit_##suffix(type x) { return x < 0; } \
    KNET_INLINE type knet_fabs_##suffix(type x) { return x < 0 ? (type)(0 - (wide)x) : x; } \
    KNET_INLINE type knet_fmax_##suffix(type x, type y) { return x > y ? x : y; } \
    KNET_INLINE type knet_fmin_##suffix(type x, type y) { return x < y ? x : y; } \
    KNET_INLINE type knet_left_shift_##suffix(type x, type y) { \
        return y >= 0 && y < bits ? (type)((wide)x << y) : 0; \
    } \
    KNET_INLINE type knet_right_shift_##suffix(type x, type y) { \
        return y >= 0 && y < bits ? x >> y : x < 0 ? (type)-1 : 0; \
    } \
    KNET_INLINE type knet_fmod_##suffix(type x, type y) { \
        return y == 0 || ((type)-1 < 0 && y == (type)-1) ? 0 : x % y; /* the lowest number % -1 would trap */ \
    } \
    KNET_INLINE type knet_remainder_##suffix(type x, type y) { \
        type r = knet_fmod_##suffix(x, y); \
        return r != 0 && (r < 0) != (y < 0) ? (type)(r + y) : r; \
    } \
    KNET_INLINE type knet_floor_divide_##suffix(type x, type y) { \
        if (y == 0) return 0; \
        if ((type)-1 < 0 && y == (type)-1) return (type)(0 - (wide)x); \
        type q = (type)(x / y); \
        return x % y != 0 && (x < 0) != (y < 0) ? (type)(q - 1) : q; \
    } \
    KNET_INLINE type knet_pow_##suffix(type x, type y) { \
        wide power = 1, factor = (wide)x; \
        if (y < 0) return x == 1 ? 1 : x == (type)-1 ? (y & 1 ? x : 1) : 0; \
        for (; y; y >>= 1, factor *= factor) \
            if (y & 1) power *= factor; \
        return (type)power; \
    }

KNET_INTEGER(int8, int8_t, uint32_t, 8)
KNET_INTEGER(int16, int16_t, uint32_t, 16)
KNET_INTEGER(int32, int32_t, uint32_t, 32)
KNET_INTEGER(int64, int64_t, uint64_t, 64)
KNET_INTEGER(uint8, uint8_t, uint32_t, 8)
KNET_INTEGER(uint16, uint16_t, uint32_t, 16)
KNET_INTEGER(uint32, uint32_t, uint32_t, 32)
KNET_INTEGER(uint64, uint64_t, uint64_t, 64)

#endif
