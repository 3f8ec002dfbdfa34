/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner part of products of bytes, compiled once per instruction set. Without VNNI, bytes are multiplied in pairs
 * whose sums are 16 bits wide and would saturate; pairs of weights for which that may happen are widened to 16 bits
 * first (255 * 128 * 2 fits 32 bits).
 */
#include "itiles.h"
#include "vec.h"

#if GR_LANES == 16
#define ROWS 8
#else
#define ROWS 4
#endif
enum { WIDTH = 2 * GR_LANES };

typedef int16_t vs __attribute__((vector_size(GR_LANES * 4)));
typedef uint16_t vus __attribute__((vector_size(GR_LANES * 4)));

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Products of 16-bit numbers, neighbours added. */
VINLINE vu multiply_pairs(vi x, vi y)
{
#if GR_LANES == 16 && defined(__AVX512BW__)
    return (vu)_mm512_madd_epi16((__m512i)x, (__m512i)y);
#elif GR_LANES == 8 && defined(__AVX2__)
    return (vu)_mm256_madd_epi16((__m256i)x, (__m256i)y);
#elif defined(__SSE2__)
    return (vu)_mm_madd_epi16((__m128i)x, (__m128i)y);
#else
    return (vu)(((vi)((vu)x << 16) >> 16) * ((vi)((vu)y << 16) >> 16) + (x >> 16) * (y >> 16));
#endif
}

/* Bytes 0 and 2 of every four as 16-bit numbers, and bytes 1 and 3. */
typedef struct halves {
    vi even, odd;
} halves;

VINLINE halves halves_of(vi v) { return (halves){(vi)((vs)((vs)v << 8) >> 8), (vi)((vs)v >> 8)}; }
VINLINE vi load_b(const int8_t *p) { return *(const vi_any *)p; }
VINLINE vi spread(uint32_t word) { return (vi)((vu){0} + word); }

VINLINE vi four_of(const uint8_t *a)
{
    uint32_t word;
    memcpy(&word, a, sizeof word);
    return spread(word);
}

VINLINE void begin(const gr_itile *t, const int rows, vu (*acc)[2])
{
    UNROLL
    for (int r = 0; r < rows; r++) {
        acc[r][0] = acc[r][1] = (vu){0};
        if (t->first) continue;
        acc[r][0] = (vu) * (const vi_any *)(t->sums + r * t->stride);
        acc[r][1] = (vu) * (const vi_any *)(t->sums + r * t->stride + GR_LANES);
    }
}

VINLINE void finish(const gr_itile *t, const int rows, vu (*acc)[2])
{
    UNROLL
    for (int r = 0; r < rows; r++) {
        *(vi_any *)(t->sums + r * t->stride) = (vi)acc[r][0];
        *(vi_any *)(t->sums + r * t->stride + GR_LANES) = (vi)acc[r][1];
    }
}

/* Sums of pairs of products of bytes, 16 bits wide; and acc += neighbours among such sums. */
#if GR_LANES == 16 && defined(__AVX512BW__)
#define PLAIN GR_BYTES_SMALL
VINLINE vs multiply_bytes(vi a, vi b) { return (vs)_mm512_maddubs_epi16((__m512i)a, (__m512i)b); }
#elif GR_LANES == 8 && defined(__AVX2__)
#define PLAIN GR_BYTES_SMALL
VINLINE vs multiply_bytes(vi a, vi b) { return (vs)_mm256_maddubs_epi16((__m256i)a, (__m256i)b); }
#else
#define PLAIN GR_BYTES_NEVER
VINLINE vs multiply_bytes(vi a, vi b) { return (vs)(a & b & 0); }
#endif

VINLINE vu add_pairs(vu acc, vs pairs)
{
    const vs ones = (vs){0} + 1;
    return acc + multiply_pairs((vi)pairs, (vi)ones);
}

/* Pointers to the rows in registers of their own, or the compiler would derive some from others in each turn. */
VINLINE void rows_of(const gr_itile *t, const int rows, const uint8_t **a)
{
    UNROLL
    for (int r = 0; r < rows; r++) {
        a[r] = t->a + r * t->lda;
        __asm__("" : "+r"(a[r]));
    }
}

/* Products of one row with `together` fours, added up in 16 bits. A word of A serves both halves of the panel. */
VINLINE void add_group(const int together, const uint8_t *a, const uint8_t *order, const int8_t *b, vu *acc)
{
    vs low = {0}, high = {0};
    UNROLL
    for (int j = 0; j < together; j++) {
        const vi four = four_of(a + 4 * (size_t)order[j]);
        const vs x = multiply_bytes(four, load_b(b + j * 8 * GR_LANES));
        const vs y = multiply_bytes(four, load_b(b + (j * 2 + 1) * 4 * GR_LANES));
        low = j ? low + x : x;
        high = j ? high + y : y;
    }
    acc[0] = add_pairs(acc[0], low);
    acc[1] = add_pairs(acc[1], high);
}

/* `count` fours, of which each `together` are added up in 16 bits. */
VINLINE void add_bytes(const gr_itile *t, const int rows, const int together, int first, int count, vu (*acc)[2])
{
    const int8_t *b = t->b + (int64_t)first * 4 * WIDTH;
    const uint8_t *order = t->order + first, *const end = order + count, *a[ROWS];
    rows_of(t, rows, a);
    for (; order < end; order += together, b += together * 4 * WIDTH) {
        UNROLL
        for (int r = 0; r < rows; r++) add_group(together, a[r], order, b, acc[r]);
    }
}

VINLINE void add_wide(const gr_itile *t, const int rows, int first, int count, vu (*acc)[2])
{
    const int8_t *b = t->b + (int64_t)first * 4 * WIDTH;
    const uint8_t *order = t->order + first, *const end = order + count, *a[ROWS];
    rows_of(t, rows, a);
    for (; order < end; order++, b += 4 * WIDTH) {
        const halves b0 = halves_of(load_b(b)), b1 = halves_of(load_b(b + 4 * GR_LANES));
        UNROLL
        for (int r = 0; r < rows; r++) {
            const vi four = four_of(a[r] + 4 * (size_t)*order), even = four & spread(0x00FF00FF);
            const vi odd = (vi)((vus)four >> 8);
            acc[r][0] += multiply_pairs(even, b0.even) + multiply_pairs(odd, b0.odd);
            acc[r][1] += multiply_pairs(even, b1.even) + multiply_pairs(odd, b1.odd);
        }
    }
}

VINLINE void tile(const gr_itile *t, const int rows)
{
    vu acc[ROWS][2];
    int at = 0;
    begin(t, rows, acc);
    if (PLAIN == GR_BYTES_SMALL) {
        add_bytes(t, rows, 3, at, t->count[GR_THREE_FOURS], acc);
        at += t->count[GR_THREE_FOURS];
        add_bytes(t, rows, 2, at, t->count[GR_TWO_FOURS], acc);
        at += t->count[GR_TWO_FOURS];
        add_bytes(t, rows, 1, at, t->count[GR_ONE_FOUR], acc);
        at += t->count[GR_ONE_FOUR];
    }
    add_wide(t, rows, at, t->count[GR_WIDE_FOUR], acc);
    finish(t, rows, acc);
}

/* ---- one row by several panels ---- */

enum { BESIDE = GR_ITILE_BESIDE };

/* Where each panel is read. */
typedef struct places {
    const int8_t *b[BESIDE];
    const uint8_t *order[BESIDE];
} places;

/* One four whose sums of pairs may leave 16 bits: products with even and odd bytes of A are kept apart. */
VINLINE void add_wide_four(const uint8_t *a, const uint8_t *order, const int8_t *b, vu *acc)
{
    const vi four = four_of(a + 4 * (size_t)*order), even = four & spread(0x00FF00FF), odd = four & spread(0xFF00FF00);
    UNROLL
    for (int h = 0; h < 2; h++) {
        acc[h] = add_pairs(acc[h], multiply_bytes(even, load_b(b + h * 4 * GR_LANES)));
        acc[h] = add_pairs(acc[h], multiply_bytes(odd, load_b(b + h * 4 * GR_LANES)));
    }
}

VINLINE int together_in(const enum gr_itile_class class)
{
    return class == GR_THREE_FOURS ? 3 : class == GR_TWO_FOURS ? 2 : 1;
}

VINLINE void add_of(const enum gr_itile_class class, const uint8_t *a, const uint8_t *order, const int8_t *b, vu *acc)
{
    if (class == GR_WIDE_FOUR)
        add_wide_four(a, order, b, acc);
    else
        add_group(together_in(class), a, order, b, acc);
}

/* What all panels have of a class side by side, then what is left in some. */
VINLINE void add_class(const gr_itile *t, const enum gr_itile_class class, places *at, vu (*acc)[2])
{
    const int64_t step = together_in(class);
    int64_t common = t->count[class];
    for (int p = 1; p < BESIDE; p++) common = t[p].count[class] < common ? t[p].count[class] : common;
    for (int64_t i = 0, j = 0; i < common; i += step, j += step * 4 * WIDTH) {
        __asm__("" : "+r"(i), "+r"(j)); /* two counters instead of two pointers for each panel */
        UNROLL
        for (int p = 0; p < BESIDE; p++) add_of(class, t->a, at->order[p] + i, at->b[p] + j, acc[p]);
    }
    UNROLL
    for (int p = 0; p < BESIDE; p++) {
        const uint8_t *order = at->order[p] + common, *const end = at->order[p] + t[p].count[class];
        const int8_t *b = at->b[p] + common * 4 * WIDTH;
        for (; order < end; order += step, b += step * 4 * WIDTH) add_of(class, t->a, order, b, acc[p]);
        at->order[p] = order;
        at->b[p] = b;
    }
}

static void beside(const gr_itile *t)
{
    vu acc[BESIDE][2];
    places at;
    UNROLL
    for (int p = 0; p < BESIDE; p++) {
        begin(t + p, 1, acc + p);
        at.b[p] = t[p].b;
        at.order[p] = t[p].order;
    }
    add_class(t, GR_THREE_FOURS, &at, acc);
    add_class(t, GR_TWO_FOURS, &at, acc);
    add_class(t, GR_ONE_FOUR, &at, acc);
    add_class(t, GR_WIDE_FOUR, &at, acc);
    UNROLL
    for (int p = 0; p < BESIDE; p++) finish(t + p, 1, acc + p);
}

#define TILE(rows)                                                                                                     \
    static void tile_##rows(const gr_itile *t) { tile(t, rows); }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
#if ROWS > 4
TILE(5)
TILE(6)
TILE(7)
TILE(8)
#define TILES(prefix)                                                                                                  \
    {                                                                                                                  \
        NULL, prefix##1, prefix##2, prefix##3, prefix##4, prefix##5, prefix##6, prefix##7, prefix##8                   \
    }
#else
#define TILES(prefix)                                                                                                  \
    {                                                                                                                  \
        NULL, prefix##1, prefix##2, prefix##3, prefix##4                                                               \
    }
#endif

/* ---- around the sums ---- */

static void correct(int64_t n, uint32_t a, const int32_t *columns, uint32_t rest, const int32_t *b_zero, int32_t *sums)
{
    for (int64_t j = 0; a && j < n; j++) sums[j] = (int32_t)((uint32_t)sums[j] - a * (uint32_t)columns[j]);
    for (int64_t j = 0; b_zero && j < n; j++) sums[j] = (int32_t)((uint32_t)sums[j] - rest * (uint32_t)b_zero[j]);
}

static void scale(int64_t n, const int32_t *restrict sums, const float *restrict factors, float *restrict to)
{
    for (int64_t i = 0; i < n; i++) to[i] = (float)sums[i] * factors[i];
}

static void quantize(int64_t n, const float *restrict x, float unit, int least, int greatest, int zero,
                     uint8_t *restrict to)
{
    const float low = (float)(least - zero), high = (float)(greatest - zero), shifter = 0x1.8p23f;
    for (int64_t i = 0; i < n; i++) {
        float v = x[i] / unit;
        v = v > low ? v : low;
        v = v < high ? v : high;
        to[i] = (uint8_t)((int32_t)((v + shifter) - shifter) + zero);
    }
}

/* The range of a row, widened to hold 0. NaN if any element is. */
static __attribute__((noinline)) void range_of_any(int64_t n, const float *x, float *low, float *high)
{
    *low = *high = 0;
    for (int64_t i = 0; i < n; i++) {
        *low = x[i] < *low || x[i] != x[i] ? x[i] : *low;
        *high = x[i] > *high || x[i] != x[i] ? x[i] : *high;
    }
}

/* `finite` stays 0 as long as elements are finite. */
typedef struct extent {
    vf least, most, finite;
} extent;

VINLINE void extend(extent *e, vf v)
{
    e->least = vlesser(v, e->least);
    e->most = vgreater(v, e->most);
    vadd_product(&e->finite, v, vset(0));
}

static void range(int64_t n, const float *x, float *low, float *high)
{
    extent a = {.least = {0}}, b = a, c = a, d = a;
    int64_t i = 0;
    for (; i + 4 * GR_LANES <= n; i += 4 * GR_LANES) {
        extend(&a, vload(x + i));
        extend(&b, vload(x + i + GR_LANES));
        extend(&c, vload(x + i + 2 * GR_LANES));
        extend(&d, vload(x + i + 3 * GR_LANES));
    }
    for (; i < n; i += GR_LANES) extend(&a, n - i < GR_LANES ? vload_part(x + i, (size_t)(n - i)) : vload(x + i));
    if (vsum(a.finite + b.finite + c.finite + d.finite) != 0) {
        range_of_any(n, x, low, high);
        return;
    }
    *low = -vgreatest(-vlesser(vlesser(a.least, b.least), vlesser(c.least, d.least)));
    *high = vgreatest(vgreater(vgreater(a.most, b.most), vgreater(c.most, d.most)));
}

/* The unit of a column's codes. `most` is the greatest magnitude, `square` the mean square in units of that; `own` is
 * the unit that the column has, which is kept if it serves. Where pairs are added up in 16 bits their mean decides how
 * many are too large for that: below 28 few are, and of most fours two are added up. The greatest code is at least 90
 * for that, as columns without outliers would lose precision, and at most 127. */
VINLINE vf unit_of(enum gr_itile_bytes bytes, vf most, vf square, vf own)
{
    const vf small = vmin(vsqrt(square) * (1.0f / 28), vset(1.0f / 90)) * most, least = most / INT8_MAX;
    const vf unit = bytes == GR_BYTES_SMALL ? vmax(small, least) : least;
    const vi keeps = (own > vset(0)) & (own >= least * 0.998f); /* it is rounded */
    return vselect(bytes == GR_BYTES_SMALL ? keeps & (own >= small) : keeps, own, unit);
}

/* [k][WIDTH] floats, one scale for each column; `scales` has units in which they are whole numbers, or 0. */
static void quantize_panel(enum gr_itile_bytes bytes, int64_t k, const float *panel, int8_t *to, float *scales)
{
    const float shifter = 0x1.8p23f;
    vf most[2] = {vset(0), vset(0)}, square[2] = {vset(0), vset(0)}, inverse[2];
    for (int64_t i = 0; i < k; i++)
        for (int h = 0; h < 2; h++) most[h] = vmax(vabs(vload(panel + i * WIDTH + h * GR_LANES)), most[h]);
    for (int64_t i = 0; i < k; i++)
        for (int h = 0; h < 2; h++) {
            const vf share = vload(panel + i * WIDTH + h * GR_LANES) / vmax(most[h], vset(0x1p-126f));
            square[h] += share * share;
        }
    for (int h = 0; h < 2; h++) {
        const vf unit = unit_of(bytes, most[h], square[h] / (float)k, vload(scales + h * GR_LANES));
        vstore(scales + h * GR_LANES, unit);
        inverse[h] = vselect(unit < vset(0x1p-100f), vset(0), 1 / unit); /* below: all but zero */
    }
    for (int64_t i = 0; i < k; i++)
        for (int h = 0; h < 2; h++) {
            const vf v = (vload(panel + i * WIDTH + h * GR_LANES) * inverse[h] + shifter) - shifter;
            const vi code = __builtin_convertvector(vselect(v == v, v, vset(0)), vi);
            for (int j = 0; j < GR_LANES; j++) to[i * WIDTH + h * GR_LANES + j] = (int8_t)code[j];
        }
}

/* GR_LANES integers, four times, as bytes from 0 to 255. */
VINLINE void store_bytes(uint8_t *to, const vi *v)
{
#if GR_LANES == 16 && defined(__AVX512F__)
    for (int i = 0; i < 4; i++)
        _mm_storeu_si128((__m128i *)(to + i * GR_LANES),
                         _mm512_cvtusepi32_epi8(_mm512_max_epi32((__m512i)v[i], _mm512_setzero_si512())));
#elif GR_LANES == 8 && defined(__AVX2__)
    const __m256i x = _mm256_packs_epi32((__m256i)v[0], (__m256i)v[1]),
                  y = _mm256_packs_epi32((__m256i)v[2], (__m256i)v[3]);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((__m256i *)to, _mm256_permutevar8x32_epi32(_mm256_packus_epi16(x, y), order));
#else
    for (int i = 0; i < 4 * GR_LANES; i++) {
        const int32_t code = v[i / GR_LANES][i % GR_LANES];
        to[i] = (uint8_t)(code < 0 ? 0 : code < UINT8_MAX ? code : UINT8_MAX);
    }
#endif
}

/* Codes of 4 * GR_LANES floats: adding `shifter` rounds to an integer that stands in the low bits. */
VINLINE void quantize_piece(const float *x, vf inverse, vi zero, uint8_t *to)
{
    const vf shifter = vset(0x1.8p23f);
    vi codes[4];
    for (int i = 0; i < 4; i++) codes[i] = (vi)vfma(vload(x + i * GR_LANES), inverse, shifter) + zero;
    store_bytes(to, codes);
}

static void quantize_row(int64_t n, const float *restrict x, uint8_t *restrict to, float *scale, int32_t *zero)
{
    enum { PIECE = 4 * GR_LANES };
    const float shifter = 0x1.8p23f, least = 0x1p-100f; /* a scale below is one of a row that is all but zero */
    float low, high;
    range(n, x, &low, &high);
    const float unit = (high - low) / UINT8_MAX, inverse = unit < least ? 0 : 1 / unit;
    const float first = (-low * inverse + shifter) - shifter;
    *scale = unit;
    *zero = first >= 0 && first <= UINT8_MAX ? (int32_t)first : 0;
    const vi shift = (vi){0} + *zero - (vi)vset(shifter);
    int64_t i = 0;
    for (; i + PIECE <= n; i += PIECE) quantize_piece(x + i, vset(inverse), shift, to + i);
    if (i < n) {
        float rest[PIECE] = {0};
        uint8_t codes[PIECE];
        memcpy(rest, x + i, (size_t)(n - i) * sizeof *x);
        quantize_piece(rest, vset(inverse), shift, codes);
        memcpy(to + i, codes, (size_t)(n - i));
    }
}

static void finish_row(int64_t n, const int32_t *sums, float row, const float *columns, const float *bias, float *to)
{
    int64_t i = 0;
    for (; i + GR_LANES <= n; i += GR_LANES) {
        vf v = __builtin_convertvector(*(const vi_any *)(sums + i), vf) * (vload(columns + i) * row);
        vstore(to + i, bias ? v + vload(bias + i) : v);
    }
    if (i < n) {
        const size_t rest = (size_t)(n - i);
        vi whole = {0};
        memcpy(&whole, sums + i, rest * sizeof *sums);
        vf v = __builtin_convertvector(whole, vf) * (vload_part(columns + i, rest) * row);
        vstore_part(to + i, bias ? v + vload_part(bias + i, rest) : v, rest);
    }
}

#define AROUND correct, scale, quantize, quantize_panel, quantize_row, finish_row
#define NAME   "bytes in threes " GR_ISA_TEXT(GR_LANES)
const gr_itiles GR_ISA_SYMBOL(gr_itiles) = {
    NAME, "panels of " NAME, WIDTH, ROWS, PLAIN, TILES(tile_), PLAIN == GR_BYTES_SMALL ? beside : NULL, AROUND};

/* ---- VNNI ---- */

#if defined(__x86_64__) && GR_LANES >= 8
#if GR_LANES == 16
#define VNNI           __attribute__((target("avx512vnni")))
#define DOT(acc, a, b) (vu) _mm512_dpbusd_epi32((__m512i)(acc), (__m512i)(a), (__m512i)(b))
#define VNNI_ROWS      12
#else
#define VNNI           __attribute__((target("avxvnni")))
#define DOT(acc, a, b) (vu) _mm256_dpbusd_avx_epi32((__m256i)(acc), (__m256i)(a), (__m256i)(b))
#define VNNI_ROWS      6
#endif
enum { AHEAD = 2048 }; /* bytes of B by which to prefetch */

/* All fours are of one class and keep their order. Two results a cycle, each ready after five, take ten sums or more.
 */
#define VNNI_TILE(rows)                                                                                                \
    static VNNI void vnni_##rows(const gr_itile *t)                                                                    \
    {                                                                                                                  \
        vu acc[VNNI_ROWS][2];                                                                                          \
        const int64_t lda = t->lda;                                                                                    \
        const int8_t *b = t->b;                                                                                        \
        const uint8_t *a[(rows + 2) / 3]; /* one pointer for three rows */                                             \
        UNROLL                                                                                                         \
        for (int r = 0; r < rows; r += 3) a[r / 3] = t->a + r * lda;                                                   \
        begin(t, rows, acc);                                                                                           \
        for (int i = t->count[GR_ONE_FOUR]; i > 0; i--, b += 4 * WIDTH) {                                              \
            const vi b0 = load_b(b), b1 = load_b(b + 4 * GR_LANES);                                                    \
            __builtin_prefetch(b + AHEAD);                                                                             \
            if (4 * WIDTH > 64) __builtin_prefetch(b + AHEAD + 64);                                                    \
            UNROLL                                                                                                     \
            for (int r = 0; r < rows; r++) {                                                                           \
                const vi four = four_of(a[r / 3] + r % 3 * lda);                                                       \
                acc[r][0] = DOT(acc[r][0], four, b0);                                                                  \
                acc[r][1] = DOT(acc[r][1], four, b1);                                                                  \
            }                                                                                                          \
            UNROLL                                                                                                     \
            for (int r = 0; r < rows; r += 3) a[r / 3] += 4;                                                           \
        }                                                                                                              \
        finish(t, rows, acc);                                                                                          \
    }
VNNI_TILE(1)
VNNI_TILE(2)
VNNI_TILE(3)
VNNI_TILE(4)
VNNI_TILE(5)
VNNI_TILE(6)
#if VNNI_ROWS == 12
VNNI_TILE(7)
VNNI_TILE(8)
VNNI_TILE(9)
VNNI_TILE(10)
VNNI_TILE(11)
VNNI_TILE(12)
#endif

static VNNI void vnni_beside(const gr_itile *t)
{
    vu acc[BESIDE][2];
    const int8_t *b[BESIDE];
    const uint8_t *a = t->a;
    UNROLL
    for (int p = 0; p < BESIDE; p++) {
        begin(t + p, 1, acc + p);
        b[p] = t[p].b;
    }
    for (int i = t->count[GR_ONE_FOUR]; i > 0; i--, a += 4) {
        const vi four = four_of(a);
        UNROLL
        for (int p = 0; p < BESIDE; p++) {
            acc[p][0] = DOT(acc[p][0], four, load_b(b[p]));
            acc[p][1] = DOT(acc[p][1], four, load_b(b[p] + 4 * GR_LANES));
            b[p] += 4 * WIDTH;
        }
    }
    UNROLL
    for (int p = 0; p < BESIDE; p++) finish(t + p, 1, acc + p);
}

const gr_itiles GR_ISA_SYMBOL(gr_itiles_vnni) = {NAME " VNNI",
                                                 "panels of " NAME " VNNI",
                                                 WIDTH,
                                                 VNNI_ROWS,
                                                 GR_BYTES_ALWAYS,
                                                 {NULL, vnni_1, vnni_2, vnni_3, vnni_4, vnni_5, vnni_6,
#if VNNI_ROWS == 12
                                                  vnni_7, vnni_8, vnni_9, vnni_10, vnni_11, vnni_12
#endif
                                                 },
                                                 vnni_beside,
                                                 AROUND};
#endif
