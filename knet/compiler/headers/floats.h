/* Functions of float without a branch and without a call, so that compilers turn a loop over them into vector
   instructions. They are right for NaN, infinities, -0.0 and subnormal numbers. Largest errors, found over all exponents
   on a machine with fused multiply-add, stand at each function in units in the last place; without that instruction some
   are 2.

   Polynomials are minimax fits made for this file, coefficients rounded to float one after the other, each refitting
   those that follow. common.h says what must stand before. */
#ifndef KNET_FLOATS_H
#define KNET_FLOATS_H

/* --- exponentials -------------------------------------------------------------------------------------------------- */

/* To add this rounds to an integer, which then stands in the low bits. */
#define KNET_ROUND 12582912.0f /* 1.5 * 2^23 */

/* 2^n x for n in [-252, 254], rounded once: the first factor is never subnormal. */
KNET_INLINE float knet_scale(float x, int32_t n) {
    int32_t part = n >> 1;
    return x * knet_float((part + 127) << 23) * knet_float((n - part + 127) << 23);
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
    float p = knet_expm1_near_0(r), part = knet_float((n + 126) << 23); /* 2^n may overflow where e^x does not */
    y = part * p + (part - 0.5f);
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

#endif
