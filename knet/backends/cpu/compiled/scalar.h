/* Scalar functions for the loops of compiled programs.

   knet_NAME_f32 and knet_NAME_f64 compute NAME of a float and a double. The frequent ones of float have no branch and
   call nothing, so that GCC and clang turn a loop over them into vector instructions (which needs -fno-math-errno and
   -fno-trapping-math); all others are the C library's. They are right for NaN, infinities, -0.0 and subnormal numbers.
   Largest errors, found over all exponents on a machine with fused multiply-add, stand at each function in units in the
   last place; without that instruction some are 2.

   Polynomials are minimax fits made for this file, coefficients rounded to float one after the other, each refitting
   those that follow. No system header is included, as reading <math.h> takes longer than this file. */
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

/* --- the C library's, under one name for both types ---------------------------------------------------------------- */

#define KNET_C1(name) \
    KNET_INLINE double knet_##name##_f64(double x) { return __builtin_##name(x); }
#define KNET_C1F(name) \
    KNET_C1(name) KNET_INLINE float knet_##name##_f32(float x) { return __builtin_##name##f(x); }
#define KNET_C2(name) \
    KNET_INLINE double knet_##name##_f64(double x, double y) { return __builtin_##name(x, y); }
#define KNET_C2F(name) \
    KNET_C2(name) KNET_INLINE float knet_##name##_f32(float x, float y) { return __builtin_##name##f(x, y); }

KNET_C1(exp) KNET_C1(exp2) KNET_C1(expm1) KNET_C1(log) KNET_C1(log1p) KNET_C1(log2) KNET_C1(log10) KNET_C1(tanh)
KNET_C1(erf) KNET_C1(erfc) KNET_C1(sin) KNET_C1(cos) KNET_C2(pow)
KNET_C1F(tan) KNET_C1F(asin) KNET_C1F(acos) KNET_C1F(atan) KNET_C1F(sinh) KNET_C1F(cosh) KNET_C1F(asinh)
KNET_C1F(acosh) KNET_C1F(atanh) KNET_C1F(lgamma) KNET_C1F(cbrt) KNET_C2F(atan2) KNET_C2F(hypot)
KNET_C2F(nextafter) KNET_C2F(fmod)
/* single instructions */
KNET_C1F(fabs) KNET_C1F(sqrt) KNET_C1F(rint) KNET_C1F(floor) KNET_C1F(ceil) KNET_C1F(trunc) KNET_C2F(copysign)

/* The number if the other one is NaN; the library's own would be called in a loop. */
#define KNET_ORDER(suffix, type) \
    KNET_INLINE type knet_fmax_##suffix(type x, type y) { return x > y || y != y ? x : y; } \
    KNET_INLINE type knet_fmin_##suffix(type x, type y) { return x < y || y != y ? x : y; }
KNET_ORDER(f32, float) KNET_ORDER(f64, double)

KNET_INLINE int knet_isinf_f32(float x) { return __builtin_fabsf(x) == __builtin_inff(); }
KNET_INLINE int knet_isinf_f64(double x) { return __builtin_fabs(x) == __builtin_inf(); }
KNET_INLINE int knet_isfinite_f32(float x) { return __builtin_fabsf(x) < __builtin_inff(); }
KNET_INLINE int knet_isfinite_f64(double x) { return __builtin_fabs(x) < __builtin_inf(); }
KNET_INLINE int knet_signbit_f32(float x) { return knet_bits_f32(x) < 0; }
KNET_INLINE int knet_signbit_f64(double x) { return knet_bits_f64(x) < 0; }

/* --- exponentials -------------------------------------------------------------------------------------------------- */

/* To add this rounds to an integer, which then stands in the low bits. */
#define KNET_ROUND 12582912.0f /* 1.5 * 2^23 */

/* 2^n x for n in [-252, 254], rounded once: the first factor is never subnormal. */
KNET_INLINE float knet_scale(float x, int32_t n) {
    int32_t half = n >> 1;
    return x * knet_float((half + 127) << 23) * knet_float((n - half + 127) << 23);
}

/* x = n log(2) + r, |r| <= log(2) / 2. A NaN stays in r. */
KNET_INLINE int32_t knet_exp_split(float x, float *r) {
    float shifted = x * 1.44269504f + KNET_ROUND, n = shifted - KNET_ROUND;
    *r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    return knet_bits_f32(shifted) - knet_bits_f32(KNET_ROUND);
}

/* e^r - 1 for |r| <= log(2) / 2, right beside 1. */
KNET_INLINE float knet_exp_near_0(float r) {
    float p = 0.00139411923f;
    p = p * r + 0.00836883206f;
    p = p * r + 0.041666396f;
    p = p * r + 0.166665196f;
    p = p * r + 0.5f;
    return p * (r * r) + r;
}

/* e^x: 1.0 ulp. */
KNET_INLINE float knet_exp_f32(float x) {
    float r;
    x = x > 89.0f ? 89.0f : x; /* beyond, it overflows or vanishes; comparisons let NaN pass */
    x = x < -104.0f ? -104.0f : x;
    int32_t n = knet_exp_split(x, &r);
    return knet_scale(knet_exp_near_0(r) + 1.0f, n);
}

/* 2^x: 0.9 ulp. */
KNET_INLINE float knet_exp2_f32(float x) {
    x = x > 129.0f ? 129.0f : x;
    x = x < -151.0f ? -151.0f : x;
    float shifted = x + KNET_ROUND, r = x - (shifted - KNET_ROUND);
    float p = 0.000154632871f;
    p = p * r + 0.00133910112f;
    p = p * r + 0.00961806159f;
    p = p * r + 0.0555035956f;
    p = p * r + 0.240226507f;
    p = p * r + 0.693147182f;
    return knet_scale(p * r + 1.0f, knet_bits_f32(shifted) - knet_bits_f32(KNET_ROUND));
}

/* e^r - 1 for |r| <= log(2) / 2. */
KNET_INLINE float knet_expm1_near_0(float r) {
    float p = 0.000199442657f;
    p = p * r + 0.00139326858f;
    p = p * r + 0.00833320804f;
    p = p * r + 0.0416664891f;
    p = p * r + 0.166666672f;
    p = p * r + 0.5f;
    return p * (r * r) + r;
}

/* e^x - 1: 1.4 ulp. */
KNET_INLINE float knet_expm1_f32(float x) {
    float r, y = x > 89.0f ? 89.0f : x;
    y = y < -20.0f ? -20.0f : y;
    int32_t n = knet_exp_split(y, &r);
    float p = knet_expm1_near_0(r), half = knet_float((n + 126) << 23); /* 2^n may overflow where e^x does not */
    y = half * p + (half - 0.5f);
    return x == 0.0f ? x : y + y;
}

/* tanh x = t / (t + 2), t = e^(2 |x|) - 1: 2.4 ulp. */
KNET_INLINE float knet_tanh_f32(float x) {
    float r, a = __builtin_fabsf(x);
    a = a > 9.1f ? 9.1f : a; /* from 9.02 on it rounds to 1 */
    int32_t n = knet_exp_split(a + a, &r);
    float scale = knet_float((n + 127) << 23), t = scale * knet_expm1_near_0(r) + (scale - 1.0f);
    return __builtin_copysignf(t / (t + 2.0f), x);
}

/* --- logarithms ---------------------------------------------------------------------------------------------------- */

/* For finite x > 0: x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2). */
KNET_INLINE int32_t knet_log_split(float x, float *f) {
    int32_t small = x < 1.17549435e-38f;
    int32_t i = knet_bits_f32(small ? x * 8388608.0f : x), e = (i - 0x3f3504f3) >> 23;
    *f = knet_float(i - e * 8388608) - 1.0f;
    return e - (small ? 23 : 0);
}

/* log(1 + f) - f for |f| as above. */
KNET_INLINE float knet_log_rest(float f) {
    float p = -0.078616634f;
    p = p * f + 0.12882942f;
    p = p * f - 0.131285042f;
    p = p * f + 0.141809478f;
    p = p * f - 0.16624558f;
    p = p * f + 0.20002301f;
    p = p * f - 0.250008106f;
    p = p * f + 0.333333164f;
    return (p * f - 0.5f) * (f * f);
}

/* y for x in (0, inf), else what a logarithm is there. */
KNET_INLINE float knet_log_ends(float x, float y) {
    y = x < __builtin_inff() ? y : x;                           /* inf, NaN */
    return x > 0.0f || x != x ? y : x == 0.0f ? -__builtin_inff() : __builtin_nanf("");
}

/* 0.9 ulp. */
KNET_INLINE float knet_log_f32(float x) {
    float f, e = (float)knet_log_split(x, &f);
    return knet_log_ends(x, e * 0.693145752f + (f + (knet_log_rest(f) + e * 1.42860677e-6f)));
}

/* 1.0 ulp; exact for powers of 2. */
KNET_INLINE float knet_log2_f32(float x) {
    float f, e = (float)knet_log_split(x, &f);
    float rest = knet_log_rest(f);
    return knet_log_ends(x, e + (f * 1.44269502f + (rest * 1.44269502f + f * 1.92596303e-8f)));
}

/* 1.0 ulp. */
KNET_INLINE float knet_log10_f32(float x) {
    float f, e = (float)knet_log_split(x, &f);
    float rest = knet_log_rest(f) * 0.434294492f;
    return knet_log_ends(x, e * 0.301025391f + (f * 0.434294492f + (rest + (f * -1.01030501e-8f + e * 4.60503856e-6f))));
}

/* log(1 + x): what 1 + x loses in rounding is added again after the split. 1.5 ulp. */
KNET_INLINE float knet_log1p_f32(float x) {
    float u = 1.0f + x, lost = x < 1.0f ? x - (u - 1.0f) : 1.0f - (u - x), f;
    int32_t e = knet_log_split(u, &f);
    f += lost * knet_float((127 - (e > 126 ? 126 : e)) << 23); /* for larger e it is nothing */
    float y = knet_log_ends(u, e * 0.693145752f + (f + (knet_log_rest(f) + e * 1.42860677e-6f)));
    return x == 0.0f ? x : y;
}

/* --- error function ------------------------------------------------------------------------------------------------ */

/* erf(x) / x - 1 from z = x^2 < 0.9. */
KNET_INLINE float knet_erf_near_0(float z) {
    float p = 7.98845067e-05f;
    p = p * z - 0.000804759795f;
    p = p * z + 0.00519221229f;
    p = p * z - 0.0268556643f;
    p = p * z + 0.112836249f;
    p = p * z - 0.376126289f;
    return p * z + 0.128379166f;
}

/* 1.1 ulp: x + x P(x^2) below 0.95, then 1 - e^(-x Q(x)). */
KNET_INLINE float knet_erf_f32(float x) {
    float a = __builtin_fabsf(x);
    float b = a > 4.0f ? 4.0f : a, q = -2.31978697e-06f;
    q = q * b + 3.69534318e-05f;
    q = q * b - 0.000234366089f;
    q = q * b + 0.000571823446f;
    q = q * b + 0.00168083643f;
    q = q * b - 0.0211024284f;
    q = q * b + 0.104053661f;
    q = q * b + 0.636145592f;
    q = q * b + 1.12845576f;
    float large = __builtin_copysignf(1.0f - knet_exp_f32(-b * q), x);
    return a < 0.95f ? x * knet_erf_near_0(x * x) + x : large;
}

/* 3.2 ulp: e^(-x^2) P(t) / (1 + 2 x), t = (x - 2) / (x + 2). x^2 in two parts, as its error counts in the exponent. */
KNET_INLINE float knet_erfc_f32(float x) {
    float a = __builtin_fabsf(x), e;
    a = a > 10.3f ? 10.3f : a; /* from 10.06 on it vanishes */
    float t = (a - 2.0f) / (a + 2.0f);
    float p = -0.00040232824f;
    p = p * t - 0.0012341746f;
    p = p * t + 0.0013136534f;
    p = p * t + 0.008637144f;
    p = p * t - 0.0080585f;
    p = p * t - 0.054206688f;
    p = p * t + 0.16405475f;
    p = p * t - 0.16603102f;
    p = p * t - 0.09276392f;
    p = p * t + 1.2769784f;
    float high = knet_float(knet_bits_f32(a) & (int32_t)0xfffff000), low = (a - high) * (a + high);
    int32_t n = knet_exp_split(-(high * high), &e);
    float d = a + a + 1.0f, rest = (d - 1.0f) - (a + a), y = p * knet_exp_near_0(e - low) + p;
    y = knet_scale((y + y * (rest / d)) / d, n);
    y = a < 0.5f ? 1.0f - (a * knet_erf_near_0(a * a) + a) : y;
    return x < 0.0f ? 2.0f - y : y;
}

/* --- sine and cosine ----------------------------------------------------------------------------------------------- */

/* 2^e 2 / pi modulo 4, in [-2, 2], in a part of 28 bits, whose product with a float's 24 is exact, and the rest. The
   last entry is that of infinities and NaN. */
static const double knet_turns[] __attribute__((unused)) = {
    0x1.45f307p-1, 0x1.45f306cp0, -0x1.7419f24p0, 0x1.17cc1b8p0, -0x1.d067c9p0, 0x1.7cc1b7p-2, 0x1.7cc1b7p-1,
    0x1.7cc1b74p0, -0x1.067c91cp0, 0x1.f306dc8p0, -0x1.9f246cp-4, -0x1.9f246cp-3, -0x1.9f246cp-2, -0x1.9f246c8p-1,
    -0x1.9f246c8p0, 0x1.836e4e8p-1, 0x1.836e4e4p0, -0x1.f246c7p-1, -0x1.f246c7p0, 0x1.b72724p-4, 0x1.b72722p-3,
    0x1.b72722p-2, 0x1.b72722p-1, 0x1.b72722p0, -0x1.236378p-1, -0x1.236377cp0, 0x1.b939104p0, -0x1.1b1bbe8p-1,
    -0x1.1b1bbecp0, 0x1.c9c882cp0, -0x1.b1bbebp-2, -0x1.b1bbebp-1, -0x1.b1bbeacp0, 0x1.3910548p-1, 0x1.391054cp0,
    -0x1.8ddf56cp0, 0x1.c882a5p-1, 0x1.c882a54p0, -0x1.bbead6p-2, -0x1.bbead6p-1, -0x1.bbead6p0, 0x1.1054a8p-1,
    0x1.1054a8p0, -0x1.df56bp0, 0x1.054a7fp-2, 0x1.054a7fp-1, 0x1.054a7fp0, -0x1.f56b02p0, 0x1.529fc4p-4,
    0x1.529fc2p-3, 0x1.529fc2p-2, 0x1.529fc28p-1, 0x1.529fc28p0, -0x1.5ac07bp0, 0x1.4a7f09cp0, -0x1.6b01ec4p0,
    0x1.29fc274p0, -0x1.ac07b14p0, 0x1.4fe13a8p-1, 0x1.4fe13acp0, -0x1.603d8a8p0, 0x1.3f84ebp0, -0x1.80f62ap0,
    0x1.fc2758p-1, 0x1.fc2757cp0, -0x1.ec541p-6, -0x1.ec5418p-5, -0x1.ec5418p-4, -0x1.ec5418p-3, -0x1.ec5417p-2,
    -0x1.ec5417p-1, -0x1.ec5417p0, 0x1.3abe9p-3, 0x1.3abe9p-2, 0x1.3abe8f8p-1, 0x1.3abe8fcp0, -0x1.8a82e0cp0,
    0x1.d5f47d8p-1, 0x1.d5f47d4p0, -0x1.505c16p-2, -0x1.505c158p-1, -0x1.505c158p0, 0x1.5f47d4cp0, -0x1.4170564p0,
    0x1.7d1f534p0, -0x1.05c1598p0, 0x1.f47d4d4p0, -0x1.705658p-4, -0x1.70565ap-3, -0x1.705659p-2, -0x1.705659p-1,
    -0x1.705659p0, 0x1.1f534dcp0, -0x1.c159644p0, 0x1.f534dep-2, 0x1.f534dep-1, 0x1.f534ddcp0, -0x1.596448p-4,
    -0x1.596448p-3, -0x1.596448p-2, -0x1.596448p-1, -0x1.596448p0, 0x1.4d37704p0, -0x1.65911f8p0, 0x1.34ddc0cp0,
    __builtin_nan(""),
};
static const double knet_turns_rest[] __attribute__((unused)) = {
    -0x1.1b1bbead603d9p-28, 0x1.c9c882a53f84fp-28, -0x1.b1bbead603d8bp-30, -0x1.b1bbead603d8bp-29,
    -0x1.b1bbead603d8bp-28, 0x1.391054a7f09d6p-29, 0x1.391054a7f09d6p-28, -0x1.8ddf56b01ec54p-28,
    0x1.c882a53f84ebp-29, 0x1.c882a53f84ebp-28, -0x1.bbead603d8a83p-30, -0x1.bbead603d8a83p-29,
    -0x1.bbead603d8a83p-28, 0x1.1054a7f09d5f4p-29, 0x1.1054a7f09d5f4p-28, -0x1.df56b01ec5417p-28,
    0x1.054a7f09d5f48p-30, 0x1.054a7f09d5f48p-29, 0x1.054a7f09d5f48p-28, -0x1.f56b01ec5417p-28, 0x1.529fc2757d1f5p-32,
    0x1.529fc2757d1f5p-31, 0x1.529fc2757d1f5p-30, 0x1.529fc2757d1f5p-29, 0x1.529fc2757d1f5p-28,
    -0x1.5ac07b1505c16p-28, 0x1.4a7f09d5f47d5p-28, -0x1.6b01ec5417056p-28, 0x1.29fc2757d1f53p-28,
    -0x1.ac07b1505c159p-28, 0x1.4fe13abe8fa9ap-29, 0x1.4fe13abe8fa9ap-28, -0x1.603d8a82e0acbp-28,
    0x1.3f84eafa3ea6ap-28, -0x1.80f62a0b82b2dp-28, 0x1.fc2757d1f534ep-29, 0x1.fc2757d1f534ep-28,
    -0x1.ec54170565912p-34, -0x1.ec54170565912p-33, -0x1.ec54170565912p-32, -0x1.ec54170565912p-31,
    -0x1.ec54170565912p-30, -0x1.ec54170565912p-29, -0x1.ec54170565912p-28, 0x1.3abe8fa9a6eep-31,
    0x1.3abe8fa9a6eep-30, 0x1.3abe8fa9a6eep-29, 0x1.3abe8fa9a6eep-28, -0x1.8a82e0acb223fp-28, 0x1.d5f47d4d37703p-29,
    0x1.d5f47d4d37703p-28, -0x1.505c1596447e5p-30, -0x1.505c1596447e5p-29, -0x1.505c1596447e5p-28,
    0x1.5f47d4d377037p-28, -0x1.4170565911f92p-28, 0x1.7d1f534ddc0dbp-28, -0x1.05c1596447e49p-28,
    0x1.f47d4d377036ep-28, -0x1.70565911f924fp-32, -0x1.70565911f924fp-31, -0x1.70565911f924fp-30,
    -0x1.70565911f924fp-29, -0x1.70565911f924fp-28, 0x1.1f534ddc0db63p-28, -0x1.c1596447e493bp-28,
    0x1.f534ddc0db629p-30, 0x1.f534ddc0db629p-29, 0x1.f534ddc0db629p-28, -0x1.596447e493ad5p-32,
    -0x1.596447e493ad5p-31, -0x1.596447e493ad5p-30, -0x1.596447e493ad5p-29, -0x1.596447e493ad5p-28,
    0x1.4d377036d8a56p-28, -0x1.65911f924eb53p-28, 0x1.34ddc0db6295ap-28, -0x1.96447e493ad4dp-28,
    0x1.a6ee06db14acdp-29, 0x1.a6ee06db14acdp-28, -0x1.6447e493ad4cep-29, -0x1.6447e493ad4cep-28,
    0x1.377036d8a5665p-28, -0x1.911f924eb5336p-28, 0x1.bb81b6c52b328p-29, 0x1.bb81b6c52b328p-28,
    -0x1.11f924eb53362p-29, -0x1.11f924eb53362p-28, 0x1.dc0db6295993cp-28, -0x1.1f924eb53361ep-30,
    -0x1.1f924eb53361ep-29, -0x1.1f924eb53361ep-28, 0x1.c0db6295993c4p-28, -0x1.f924eb53361dep-30,
    -0x1.f924eb53361dep-29, -0x1.f924eb53361dep-28, 0x1.b6c52b3278872p-33, 0x1.b6c52b3278872p-32,
    0x1.b6c52b3278872p-31, 0x1.b6c52b3278872p-30, 0x1.b6c52b3278872p-29, 0x1.b6c52b3278872p-28,
    -0x1.24eb53361de38p-29, -0x1.24eb53361de38p-28, 0x1.b6295993c439p-28, __builtin_nan(""),
};

/* sin(x + quarter pi / 2): 1.5 ulp. */
KNET_INLINE float knet_sine(float x, int32_t quarter) {
    int32_t e = ((knet_bits_f32(x) >> 23) & 255) - 150;
    e = e < 0 ? 0 : e; /* x = 2^e m, m an integer or, for e = 0, a smaller number */
    double m = (double)(x * knet_float((127 - e) << 23)), hi = knet_turns[e], lo = knet_turns_rest[e];
    double shifted = m * hi + m * lo + 6755399441055744.0, n = shifted - 6755399441055744.0;
    float r = (float)(((m * hi - n) + m * lo) * 1.5707963267948966), z = r * r;
    int32_t turn = (int32_t)knet_bits_f64(shifted) + quarter;
    float s = 2.83080362e-06f;
    s = s * z - 0.00019852983f;
    s = s * z + 0.0083333794f;
    s = s * z - 0.166666672f;
    s = (s * z) * r + r;
    float c = 2.44308831e-05f;
    c = c * z - 0.00138873025f;
    c = c * z + 0.0416666456f;
    c = (c * z - 0.5f) * z + 1.0f;
    return knet_float(knet_bits_f32(turn & 1 ? c : s) ^ (int32_t)((uint32_t)(turn & 2) << 30));
}

KNET_INLINE float knet_sin_f32(float x) { return x == 0.0f ? x : knet_sine(x, 0); }
KNET_INLINE float knet_cos_f32(float x) { return knet_sine(x, 1); }

/* --- power --------------------------------------------------------------------------------------------------------- */

/* 2^(y log2 |x|) in double, then C's rules for signs and special operands: 0.6 ulp. */
KNET_INLINE float knet_pow_f32(float x, float y) {
    float a = __builtin_fabsf(x), f;
    double e = knet_log_split(a, &f);
    double s = f / (2.0 + f), z = s * s; /* log(1 + f) = 2 artanh(f / (2 + f)) */
    double p = 0.28293673505377687;
    p = p * z + 0.31990319546466844;
    p = p * z + 0.41220931192938193;
    p = p * z + 0.57707794178712857;
    p = p * z + 0.96179669411531599;
    p = p * z + 2.8853900817778513;
    double t = y * (a > 0.0f ? a < __builtin_inff() ? s * p + e : (double)a : a == 0.0f ? -__builtin_inf() : (double)a);
    t = t > 130.0 ? 130.0 : t;
    t = t < -152.0 ? -152.0 : t;
    double shifted = t + 6755399441055744.0, r = t - (shifted - 6755399441055744.0);
    double q = 0.00015478079469435053;
    q = q * r + 0.0013400485293297891;
    q = q * r + 0.0096179943079090363;
    q = q * r + 0.05550327081647622;
    q = q * r + 0.24022651506911616;
    q = q * r + 0.69314720677253905;
    q = q * r + 0.99999999991882005;
    float w = (float)(q * knet_double((knet_bits_f64(shifted) + 1023) << 52));
    int whole = __builtin_rintf(y) == y, odd = whole & (__builtin_rintf(0.5f * y) != 0.5f * y);
    w = a == 1.0f && __builtin_fabsf(y) == __builtin_inff() ? 1.0f : w;
    w = x < 0.0f && a < __builtin_inff() && !whole ? __builtin_nanf("") : w;
    w = knet_float(knet_bits_f32(w) ^ (odd ? knet_bits_f32(x) & (int32_t)0x80000000 : 0));
    return y == 0.0f || x == 1.0f ? 1.0f : w;
}

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
KNET_DIVISION(f32, float) KNET_DIVISION(f64, double)

/* --- half types: computed with in float, rounded to nearest even -------------------------------------------------- */

KNET_INLINE float knet_load_bf16(uint16_t h) { return knet_float((int32_t)((uint32_t)h << 16)); }

KNET_INLINE uint16_t knet_store_bf16(float x) {
    uint32_t i = (uint32_t)knet_bits_f32(x);
    return (uint16_t)(x != x ? i >> 16 | 0x40 : (i + 0x7fff + (i >> 16 & 1)) >> 16);
}

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
