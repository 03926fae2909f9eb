/* Matrix products of static shapes: what all kernels of one program share. Every int argument is a constant where a
   kernel calls these, so that the loops over a register tile unroll and its sums stay in registers. */
#if defined __AVX512F__
#define GEMM_W 16
#elif defined __AVX__
#define GEMM_W 8
#else
#define GEMM_W 4
#endif
#define GEMM_INLINE static inline __attribute__((always_inline))
#define GEMM_UNROLL _Pragma("GCC unroll 32")
#define GEMM_MIN(x, y) ((x) < (y) ? (x) : (y))

typedef float gemm_v __attribute__((vector_size(4 * GEMM_W)));
typedef float gemm_vu __attribute__((vector_size(4 * GEMM_W), aligned(4), may_alias));
typedef int gemm_vi __attribute__((vector_size(4 * GEMM_W)));

GEMM_INLINE gemm_v gemm_get(const float *p) { return *(const gemm_vu *)p; }
GEMM_INLINE void gemm_put(float *p, gemm_v x) { *(gemm_vu *)p = x; }

/* The first lanes of a vector, all or none where count is out of range: what lies behind them is not touched. The
   builtins stand here without immintrin.h because reading that header takes longer than compiling a kernel. */
#if GEMM_W == 16
typedef unsigned short gemm_mask;
GEMM_INLINE gemm_mask gemm_first(long count) { return count <= 0 ? 0 : count >= 16 ? 0xffff : (1u << count) - 1; }
GEMM_INLINE gemm_v gemm_load(const float *p, gemm_mask m) {
  return (gemm_v)__builtin_ia32_loadups512_mask((const void *)p, (gemm_v){0}, m);
}
GEMM_INLINE void gemm_store(float *p, gemm_mask m, gemm_v x) { __builtin_ia32_storeups512_mask((void *)p, x, m); }
#elif GEMM_W == 8
typedef gemm_vi gemm_mask;
GEMM_INLINE gemm_mask gemm_first(long count) {
  int n = count < 0 ? 0 : count > 8 ? 8 : (int)count;
  return (gemm_vi){0, 1, 2, 3, 4, 5, 6, 7} < (gemm_vi){n, n, n, n, n, n, n, n};
}
GEMM_INLINE gemm_v gemm_load(const float *p, gemm_mask m) {
  return (gemm_v)__builtin_ia32_maskloadps256((const void *)p, m);
}
GEMM_INLINE void gemm_store(float *p, gemm_mask m, gemm_v x) { __builtin_ia32_maskstoreps256((void *)p, m, x); }
#else
typedef long gemm_mask;
GEMM_INLINE gemm_mask gemm_first(long count) { return count < 0 ? 0 : count > GEMM_W ? GEMM_W : count; }
GEMM_INLINE gemm_v gemm_load(const float *p, gemm_mask m) {
  gemm_v x = {0};
  for (int i = 0; i < GEMM_W; i++)
    if (i < m) x[i] = p[i];
  return x;
}
GEMM_INLINE void gemm_store(float *p, gemm_mask m, gemm_v x) {
  for (int i = 0; i < GEMM_W; i++)
    if (i < m) p[i] = x[i];
}
#endif

/* c[R, cols] (+)= a[R, k] b[k, cols], cols <= NV vectors. a[i, p] is at a[i*ar + p*ak], b[p, j] at b[p*bk + j].
   U chains of sums hide the latency of the additions where R*NV is small. part: b ends at cols, do not read on. */
GEMM_INLINE void gemm_tile(const int R, const int NV, const int U, const int part, long k, const float *a,
                           const long ar, const long ak, const float *b, const long bk, float *c, long ldc,
                           long cols, int add) {
  gemm_v s[32], x[8];
  gemm_mask mask[8];
  GEMM_UNROLL for (int j = 0; j < NV; j++) mask[j] = gemm_first(cols - j * GEMM_W);
#if GEMM_W < 16 /* masked stores are slow there: a ragged tile goes through a buffer */
  float buffer[R * NV * GEMM_W], *edge = c;
  const long step = ldc;
  if (cols < NV * GEMM_W) {
    c = buffer;
    ldc = NV * GEMM_W;
    for (int i = 0; add && i < R; i++)
      for (int j = 0; j < cols; j++) c[i * ldc + j] = edge[i * step + j];
  }
#define GEMM_GET(p, m) gemm_get(p)
#define GEMM_PUT(p, m, x) gemm_put(p, x)
#else
#define GEMM_GET(p, m) gemm_load(p, m)
#define GEMM_PUT(p, m, x) gemm_store(p, m, x)
#endif
  GEMM_UNROLL for (int i = 0; i < U * R * NV; i++) s[i] = (gemm_v){0};
  if (add)
    GEMM_UNROLL for (int i = 0; i < R; i++)
      GEMM_UNROLL for (int j = 0; j < NV; j++) s[i * NV + j] = GEMM_GET(c + i * ldc + j * GEMM_W, mask[j]);
  long p = 0;
  for (; p + U <= k; p += U) {
    GEMM_UNROLL for (int u = 0; u < U; u++) {
      GEMM_UNROLL for (int j = 0; j < NV; j++)
        x[j] = part ? gemm_load(b + u * bk + j * GEMM_W, mask[j]) : gemm_get(b + u * bk + j * GEMM_W);
      GEMM_UNROLL for (int i = 0; i < R; i++) {
        float f = a[i * ar + u * ak];
        GEMM_UNROLL for (int j = 0; j < NV; j++) s[(u * R + i) * NV + j] += f * x[j];
      }
    }
    a += U * ak;
    b += U * bk;
  }
  if (U > 1) {
    for (; p < k; p++) {
      GEMM_UNROLL for (int j = 0; j < NV; j++)
        x[j] = part ? gemm_load(b + j * GEMM_W, mask[j]) : gemm_get(b + j * GEMM_W);
      GEMM_UNROLL for (int i = 0; i < R; i++)
        GEMM_UNROLL for (int j = 0; j < NV; j++) s[i * NV + j] += a[i * ar] * x[j];
      a += ak;
      b += bk;
    }
    GEMM_UNROLL for (int i = R * NV; i < U * R * NV; i++) s[i % (R * NV)] += s[i];
  }
  GEMM_UNROLL for (int i = 0; i < R; i++)
    GEMM_UNROLL for (int j = 0; j < NV; j++) GEMM_PUT(c + i * ldc + j * GEMM_W, mask[j], s[i * NV + j]);
#if GEMM_W < 16
  if (c != edge)
    for (int i = 0; i < R; i++)
      for (int j = 0; j < cols; j++) edge[i * step + j] = c[i * ldc + j];
#endif
}

/* to[q*ld + i] = from[i*ls + q] for i < rows, q < cols. Whole vectors are stored: rows are filled up to a multiple of
   GEMM_W with copies of the last, and where that exceeds ld, the next column overwrites the surplus, which ends
   GEMM_W floats behind the last column at most. */
static __attribute__((noinline, unused)) void gemm_transpose(const float *from, long ls, long rows, long cols,
                                                             float *to, long ld) {
#if defined __AVX2__ && !defined __clang__
  const gemm_mask mask = gemm_first(cols);
  for (long i = (rows - 1) / GEMM_W * GEMM_W; i >= 0; i -= GEMM_W)
    for (long q0 = 0; q0 < cols; q0 += GEMM_W) {
      long q = cols < GEMM_W ? 0 : GEMM_MIN(q0, cols - GEMM_W);
      gemm_v r[GEMM_W];
      gemm_vi lane;
      GEMM_UNROLL for (long u = 0; u < GEMM_W; u++) {
        r[u] = gemm_load(from + (i + GEMM_MIN(u, rows - 1 - i)) * ls + q, mask);
        lane[u] = u;
      }
      GEMM_UNROLL for (int s = GEMM_W / 2; s; s /= 2) { /* exchange blocks of s x s across the diagonal */
        gemm_vi low = lane + (((lane & s) != 0) & (GEMM_W - s)), high = low + s;
        GEMM_UNROLL for (int w = 0; w < GEMM_W / 2; w++) {
          int u = w + (w & -s);
          gemm_v x = r[u], y = r[u + s];
          r[u] = __builtin_shuffle(x, y, low);
          r[u + s] = __builtin_shuffle(x, y, high);
        }
      }
      if (cols >= GEMM_W) {
        GEMM_UNROLL for (int u = 0; u < GEMM_W; u++) gemm_put(to + (q + u) * ld + i, r[u]);
      } else {
        gemm_v t[GEMM_W];
        GEMM_UNROLL for (int u = 0; u < GEMM_W; u++) t[u] = r[u];
        for (int u = 0; u < cols; u++) gemm_put(to + u * ld + i, t[u]);
      }
    }
#else
  for (long q = 0; q < cols; q++)
    for (long i = 0; i < (rows + GEMM_W - 1) / GEMM_W * GEMM_W; i++)
      to[q * ld + i] = from[GEMM_MIN(i, rows - 1) * ls + q];
#endif
}

/* to[q*width + j] = from[j*ls + q] for q < steps and j < cols, zeros for the other j < width. */
static __attribute__((noinline, unused)) void gemm_panel(const float *from, long ls, long cols, long steps, float *to,
                                                         long width) {
  long whole = (cols + GEMM_W - 1) / GEMM_W * GEMM_W;
  gemm_transpose(from, ls, cols, steps, to, width);
  if (whole < width)
    for (long q = 0; q < steps; q++) __builtin_memset(to + q * width + whole, 0, 4 * (width - whole));
}

/* to[q*width + j] = from[q*ls + j] for j < cols, zeros for the other j < width. */
GEMM_INLINE void gemm_copy(const float *from, long ls, long rows, long cols, float *to, const long width) {
  for (long q = 0; q < rows; q++, from += ls, to += width) {
    if (cols == width) {
      __builtin_memcpy(to, from, 4 * width);
    } else {
      for (long j = 0; j < width; j += GEMM_W) {
        gemm_v x = gemm_load(from + j, gemm_first(cols - j));
        gemm_store(to + j, gemm_first(width - j), x);
      }
    }
  }
}

/* The same for panel after panel, which lie stride floats apart: rows of from are read in one go. */
static __attribute__((noinline, unused)) void gemm_spread(const float *from, long ls, long rows, long cols, float *to,
                                                          long width, long stride) {
  for (long q = 0; q < rows; q++, from += ls, to += width)
    for (long j = 0, g = 0; j < cols; j += width, g += stride) {
      float *t = to + g;
      for (long i = j; i < GEMM_MIN(cols, j + width); i += GEMM_W, t += GEMM_W)
        gemm_put(t, gemm_load(from + i, gemm_first(cols - i)));
    }
}

/* c[i*ci + j] (+)= sum over p of a[i*la + p] * b[j*lb + p], for i < R and j < S: both operands run along k. */
GEMM_INLINE void gemm_dot(const int R, const int S, const long k, const float *a, const long la, const float *b,
                          const long lb, float *c, const long ci, const int add) {
  typedef float quad __attribute__((vector_size(16)));
  gemm_v s[16], x[16];
  GEMM_UNROLL for (int i = 0; i < R * S; i++) s[i] = (gemm_v){0};
  long p = 0;
  for (; p + GEMM_W <= k; p += GEMM_W) {
    GEMM_UNROLL for (int j = 0; j < S; j++) x[j] = gemm_get(b + j * lb + p);
    GEMM_UNROLL for (int i = 0; i < R; i++) {
      gemm_v y = gemm_get(a + i * la + p);
      GEMM_UNROLL for (int j = 0; j < S; j++) s[i * S + j] += y * x[j];
    }
  }
  if (k % GEMM_W) {
    gemm_mask m = gemm_first(k % GEMM_W);
    GEMM_UNROLL for (int j = 0; j < S; j++) x[j] = gemm_load(b + j * lb + p, m);
    GEMM_UNROLL for (int i = 0; i < R; i++) {
      gemm_v y = gemm_load(a + i * la + p, m);
      GEMM_UNROLL for (int j = 0; j < S; j++) s[i * S + j] += y * x[j];
    }
  }
  GEMM_UNROLL for (int i = 0; i < R * S; i++) {
    quad t[GEMM_W / 4], q;
    __builtin_memcpy(t, &s[i], sizeof t);
    q = t[0];
    GEMM_UNROLL for (int u = 1; u < GEMM_W / 4; u++) q += t[u];
    float *y = c + i / S * ci + i % S, sum = (q[0] + q[2]) + (q[1] + q[3]);
    *y = add ? *y + sum : sum;
  }
}
