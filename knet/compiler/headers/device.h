/* What the kernels of devices need beside scalar functions: a row that an index names, and random words.

   Before it stand, in the words of the dialect: GLOBAL; KNET_CLAIM(lock), whether this item set a word of 32 bits from 0
   to 1; KNET_FENCE; knet_mul_hi, the high half of a product of 64-bit numbers. */

/* The row that an index names; -1 and a note for one outside of [-size, size). The status has eight words: of the
   notes that of the first launch stays, and there that of the lowest position, in whatever order items come. */
KNET_INLINE int64_t knet_row(
    int64_t i, int64_t size, GLOBAL int64_t *words, int64_t launch, int64_t position, int64_t axis)
{
    const int64_t row = i < 0 ? i + size : i;
    if (row >= 0 && row < size) return row;
    volatile GLOBAL int64_t *status = words;
    for (int done = 0; !done;)
        if (KNET_CLAIM((volatile GLOBAL int *)(words + 7))) {
            KNET_FENCE;
            if (!status[0] || launch < status[0] || (launch == status[0] && position < status[4])) {
                status[0] = launch;
                status[1] = i;
                status[2] = size;
                status[3] = axis;
                status[4] = position;
            }
            KNET_FENCE;
            KNET_FREE((volatile GLOBAL int *)(words + 7));
            done = 1;
        }
    return -1;
}

/* Philox-4x64-10: ten rounds on a counter of four words. */
#define KNET_PHILOX(c0, c1, c2, c3, k0, k1) \
    for (int knet_round = 0; knet_round < 10; knet_round++) { \
        const uint64_t high0 = knet_mul_hi(0xD2E7470EE14C6C93UL, c0), low0 = 0xD2E7470EE14C6C93UL * c0; \
        const uint64_t high1 = knet_mul_hi(0xCA5A826395121157UL, c2), low1 = 0xCA5A826395121157UL * c2; \
        c0 = high1 ^ c1 ^ k0; \
        c1 = low1; \
        c2 = high0 ^ c3 ^ k1; \
        c3 = low0; \
        k0 += 0x9E3779B97F4A7C15UL; \
        k1 += 0xBB67AE8584CAA73BUL; \
    }
