/* Functions of float that are computed in double, for CPUs: without a branch and without a call, as those of floats.h. */
#ifndef KNET_DOUBLES_H
#define KNET_DOUBLES_H

/* --- sine and cosine ----------------------------------------------------------------------------------------------- */

/* 2^e 2 / pi modulo 4, in [-2, 2], in a part of 28 bits, whose product with a float's 24 is exact, and the rest. The
   last entry is that of infinities and NaN. */
KNET_TABLE double knet_turns[] = {
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
    0.0 / 0.0,
};
KNET_TABLE double knet_turns_rest[] = {
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
    -0x1.24eb53361de38p-29, -0x1.24eb53361de38p-28, 0x1.b6295993c439p-28, 0.0 / 0.0,
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

#endif
