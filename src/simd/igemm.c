/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of bytes over itiles.c. With a' = a + 128 where A is signed and b' = b - 128 where B is not, differences
 * from the zero points stay what they are, and sum (a - za)(b - zb) = sum a'b' - zb' sum a' - za' sum b' + k za' zb'.
 * All of it is counted modulo 2^32. Packed: sums of the columns of b'; for each panel the order of its fours; the panels.
 */
#include "igemm.h"
#include "itiles.h"
#include "simd.h"
#include <omp.h>
#include <pthread.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum {
    ROW_BLOCK = 64,
    GROUP = 8,              /* panels whose sums are kept together */
    SMALL_WORK = 256 * 1024 /* multiplications below which waking other threads costs more than they save */
};

static const gr_itiles *tiles = &gr_itiles_base;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
static bool has_avx_vnni(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#endif

static void choose(void)
{
#if defined(__x86_64__)
    const char *isa = gr_simd_best()->name;
    __builtin_cpu_init();
    if (!strcmp(isa, "avx512"))
        tiles = __builtin_cpu_supports("avx512vnni") ? &gr_itiles_vnni_avx512 : &gr_itiles_avx512;
    else if (!strcmp(isa, "avx2"))
        tiles = has_avx_vnni() ? &gr_itiles_vnni_avx2 : &gr_itiles_avx2;
#endif
}

static const gr_itiles *best(void)
{
    pthread_once(&once, choose);
    return tiles;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t quotient_up(int64_t a, int64_t b) { return a / b + (a % b != 0); }

const char *gr_igemm_layout(void) { return best()->name; }

static size_t sums_size(int64_t panels) { return (size_t)panels * (size_t)best()->width * sizeof(int32_t); }
static int64_t panel_size(int64_t k) { return quotient_up(k, 4) * 4 * best()->width; }

/* For each piece of k the number of plain fours; then the places of all fours in their piece. */
static int64_t pieces_of(int64_t k) { return k ? quotient_up(k, GR_ITILE_K) : 1; }
static int64_t head_size(int64_t k)
{
    return quotient_up(pieces_of(k) * (int64_t)sizeof(uint16_t) + quotient_up(k, 4), 64) * 64;
}

size_t gr_igemm_packed_size(int64_t k, int64_t n)
{
    const int64_t width = best()->width;
    size_t bytes;
    if (k < 0 || n < 0 || k > INT64_MAX / 128 || n > INT64_MAX / 128) return SIZE_MAX;
    const int64_t panels = quotient_up(n, width);
    if (__builtin_mul_overflow(panels, panel_size(k) + head_size(k) + width * (int64_t)sizeof(int32_t), &bytes) ||
        bytes > SIZE_MAX / 2)
        return SIZE_MAX;
    return bytes ? bytes : 1;
}

typedef struct source {
    int64_t k, row, col; /* strides */
    const uint8_t *b;
    uint8_t flip;
} source;

/* Sums of two neighbours, times 255, fit 16 bits. */
static bool fits_pairs(const int8_t *four, int64_t width)
{
    for (int64_t j = 0; j < width * 4; j += 2) {
        const int sum = four[j] + four[j + 1];
        if ((sum > 128 && four[j] > 0 && four[j + 1] > 0) || (sum < -128 && four[j] < 0 && four[j + 1] < 0)) return false;
    }
    return true;
}

/* Rows k0.. of columns: four bytes for each of them. */
static void pack_four(const source *s, int64_t k0, int64_t cols, int32_t *sums, int8_t *to)
{
    const int64_t rows = least(4, s->k - k0);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            const int8_t v = (int8_t)(s->b[(k0 + i) * s->row + j * s->col] ^ s->flip);
            to[j * 4 + i] = v;
            sums[j] = (int32_t)((uint32_t)sums[j] + (uint32_t)v);
        }
}

/* One piece of a panel; returns how many fours are plain. */
static int pack_piece(const source *s, int64_t k0, int64_t cols, int32_t *sums, uint8_t *order, int8_t *panel)
{
    const gr_itiles *t = best();
    const int fours = (int)quotient_up(least(GR_ITILE_K, s->k - k0), 4);
    int plain = 0, end = fours; /* those that are not go to the end */
    for (int i = 0; i < fours; i++) {
        _Alignas(64) int8_t four[GR_ITILE_WIDTH_MAX * 4] = {0};
        pack_four(s, k0 + 4 * i, cols, sums, four);
        const bool is_plain = t->bytes == GR_BYTES_ALWAYS || (t->bytes == GR_BYTES_SMALL && fits_pairs(four, t->width));
        const int at = is_plain ? plain++ : --end;
        order[at] = (uint8_t)i;
        memcpy(panel + (int64_t)at * 4 * t->width, four, (size_t)t->width * 4);
    }
    return plain;
}

static void pack_panel(const source *s, int64_t cols, int32_t *sums, uint8_t *head, int8_t *panel)
{
    const int64_t pieces = pieces_of(s->k), width = best()->width;
    uint8_t *order = head + pieces * (int64_t)sizeof(uint16_t);
    for (int64_t j = 0; j < width; j++) sums[j] = 0;
    for (int64_t i = 0; i < pieces; i++) {
        const int64_t k0 = i * GR_ITILE_K;
        const uint16_t plain = (uint16_t)pack_piece(s, k0, cols, sums, order + k0 / 4, panel + k0 * width);
        memcpy(head + i * (int64_t)sizeof plain, &plain, sizeof plain);
    }
}

void gr_igemm_pack(int64_t k, int64_t n, const void *b, bool b_signed, int64_t row, int64_t col, void *packed)
{
    const int64_t width = best()->width, panels = quotient_up(n, width);
    uint8_t *heads = (uint8_t *)packed + sums_size(panels);
    int8_t *data = (int8_t *)heads + panels * head_size(k);
#pragma omp parallel for schedule(static) if (k * n > SMALL_WORK && !omp_in_parallel())
    for (int64_t p = 0; p < panels; p++) {
        const source s = {k, row, col, (const uint8_t *)b + p * width * col, b_signed ? 0 : 0x80};
        pack_panel(&s, least(width, n - p * width), (int32_t *)packed + p * width, heads + p * head_size(k),
                   data + p * panel_size(k));
    }
}

/* ---- run ---- */

typedef struct run {
    const gr_igemm *g;
    bool b_zero; /* some column has a zero point after the shift */
    int64_t row_blocks, groups, panels;
} run;

static uint32_t zero_a(const gr_igemm *g, int64_t row)
{
    const int32_t z = g->a_zero ? g->a_zero[row * g->a_zero_step] : 0;
    return (uint32_t)z + (g->a_signed ? 128u : 0);
}

static uint32_t zero_b(const gr_igemm *g, int64_t col)
{
    const int32_t z = g->b_zero ? g->b_zero[col * g->b_zero_step] : 0;
    return (uint32_t)z - (g->b_signed ? 0 : 128u);
}

static uint32_t row_sum(const gr_igemm *g, int64_t row)
{
    const uint8_t *a = (const uint8_t *)g->a + row * g->lda, flip = g->a_signed ? 0x80 : 0;
    uint32_t sum = 0;
    for (int64_t i = 0; i < g->k; i++) sum += (uint8_t)(a[i] ^ flip);
    return sum;
}

static void correct(const run *r, int64_t row, int64_t col, int64_t n, int32_t *sums)
{
    const gr_igemm *g = r->g;
    const int32_t *columns = (const int32_t *)g->packed + col;
    const uint32_t za = zero_a(g, row), rest = r->b_zero ? row_sum(g, row) - (uint32_t)g->k * za : 0;
    int32_t zeros[GR_ITILE_WIDTH_MAX];
    if (!r->b_zero) {
        best()->correct(n, za, columns, 0, NULL, sums);
        return;
    }
    for (int64_t j = 0, m; j < n; j += m) {
        m = least(GR_ITILE_WIDTH_MAX, n - j);
        for (int64_t i = 0; i < m; i++) zeros[i] = (int32_t)zero_b(g, col + j + i);
        best()->correct(m, za, columns + j, rest, zeros, sums + j);
    }
}

/* Rows of A as unsigned bytes, readable to the end of their last four: in place if they are so, else in `copy`. */
static const uint8_t *rows_of(const gr_igemm *g, int64_t row, int64_t rows, int64_t k, int64_t depth, uint8_t *copy,
                              int64_t *lda)
{
    const uint8_t *a = (const uint8_t *)g->a + row * g->lda + k;
    *lda = g->lda;
    if (!g->a_signed && depth % 4 == 0) return a;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < depth; i++) copy[r * GR_ITILE_K + i] = (uint8_t)(a[r * g->lda + i] ^ (g->a_signed ? 0x80 : 0));
    *lda = GR_ITILE_K;
    return copy;
}

static void run_rows(const run *r, int64_t row, int64_t rows, int64_t p0, int64_t p1, int32_t *sums)
{
    const gr_igemm *g = r->g;
    const gr_itiles *t = best();
    const uint8_t *heads = (const uint8_t *)g->packed + sums_size(r->panels);
    const int8_t *data = (const int8_t *)heads + r->panels * head_size(g->k);
    const int64_t pieces = pieces_of(g->k);
    uint8_t copy[GR_ITILE_ROWS_MAX * GR_ITILE_K];
    gr_itile tile = {.stride = GROUP * t->width};
    for (int64_t i = 0; i < pieces; i++) {
        const int64_t k = i * GR_ITILE_K, depth = least(GR_ITILE_K, g->k - k);
        tile.a = rows_of(g, row, rows, k, depth, copy, &tile.lda);
        tile.fours = (int)quotient_up(depth, 4);
        tile.first = i == 0;
        for (int64_t p = p0; p < p1; p++) {
            const uint8_t *head = heads + p * head_size(g->k);
            uint16_t plain;
            memcpy(&plain, head + i * (int64_t)sizeof plain, sizeof plain);
            tile.plain = plain;
            tile.order = head + pieces * (int64_t)sizeof plain + k / 4;
            tile.b = data + p * panel_size(g->k) + k * t->width;
            tile.sums = sums + (p - p0) * t->width;
            t->tile[rows](&tile);
        }
    }
}

static void run_item(const run *r, int64_t item)
{
    const gr_igemm *g = r->g;
    const gr_itiles *t = best();
    const int64_t block = item / r->groups, group = item % r->groups;
    const int64_t first = g->m * block / r->row_blocks, end = g->m * (block + 1) / r->row_blocks;
    const int64_t p0 = r->panels * group / r->groups, p1 = r->panels * (group + 1) / r->groups;
    const int64_t col = p0 * t->width, cols = least(g->n, p1 * t->width) - col;
    _Alignas(64) int32_t sums[GR_ITILE_ROWS_MAX * GROUP * GR_ITILE_WIDTH_MAX];
    const int64_t count = quotient_up(end - first, t->rows);
    int64_t row = first;
    for (int64_t i = 0; i < count; i++) {
        const int64_t rows = quotient_up(end - row, count - i); /* of even height */
        run_rows(r, row, rows, p0, p1, sums);
        for (int64_t j = 0; j < rows; j++) {
            int32_t *from = sums + j * GROUP * t->width;
            correct(r, row + j, col, cols, from);
            g->store(g->user, row + j, col, cols, from);
        }
        row += rows;
    }
}

void gr_igemm_run(const gr_igemm *g)
{
    if (g->m <= 0 || g->n <= 0) return;
    run r = {.g = g, .panels = quotient_up(g->n, best()->width)};
    const int64_t zeros = g->b_zero && g->b_zero_step ? g->n : 1;
    for (int64_t j = 0; j < zeros && !r.b_zero; j++) r.b_zero = zero_b(g, j) != 0;
    r.row_blocks = quotient_up(g->m, ROW_BLOCK);
    r.groups = quotient_up(r.panels, GROUP);
    const bool alone = (double)g->m * (double)g->n * (double)g->k < SMALL_WORK || omp_in_parallel();
    const int64_t threads = alone ? 1 : omp_get_max_threads();
    if (r.row_blocks * r.groups < threads) r.groups = least(r.panels, threads);
    const int64_t items = r.row_blocks * r.groups;
    if (alone) {
        for (int64_t i = 0; i < items; i++) run_item(&r, i);
        return;
    }
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < items; i++) run_item(&r, i);
}

void gr_igemm_scale(int64_t n, const int32_t *sums, const float *factors, float *to)
{
    best()->scale(n, sums, factors, to);
}

void gr_igemm_quantize(int64_t n, const float *x, float scale, int lowest, int highest, int zero, uint8_t *to)
{
    best()->quantize(n, x, scale, lowest, highest, zero, to);
}
