/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of bytes over itiles.c. With a' = a + 128 where A is signed and b' = b - 128 where B is not, differences
 * from the zero points stay what they are, and sum (a - za)(b - zb) = sum a'b' - zb' sum a' - za' sum b' + k za' zb'.
 * All of it is counted modulo 2^32. Packed: sums of the columns of b', then the panels.
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

size_t gr_igemm_packed_size(int64_t k, int64_t n)
{
    const int64_t width = best()->width;
    size_t bytes;
    if (k < 0 || n < 0 || k > INT64_MAX / 64 || n > INT64_MAX / 64) return SIZE_MAX;
    const int64_t panels = quotient_up(n, width);
    if (__builtin_mul_overflow(panels, panel_size(k) + width * (int64_t)sizeof(int32_t), &bytes) ||
        bytes > SIZE_MAX / 2)
        return SIZE_MAX;
    return bytes ? bytes : 1;
}

static void pack_panel(int64_t k, int64_t cols, const uint8_t *b, uint8_t flip, int64_t row, int64_t col, int32_t *sums,
                       int8_t *panel)
{
    const int64_t width = best()->width;
    memset(panel, 0, (size_t)panel_size(k));
    for (int64_t j = 0; j < width; j++) sums[j] = 0;
    for (int64_t i = 0; i < k; i++) {
        int8_t *to = panel + i / 4 * 4 * width + i % 4;
        for (int64_t j = 0; j < cols; j++) {
            const int8_t v = (int8_t)(b[i * row + j * col] ^ flip);
            to[j * 4] = v;
            sums[j] = (int32_t)((uint32_t)sums[j] + (uint32_t)v);
        }
    }
}

void gr_igemm_pack(int64_t k, int64_t n, const void *b, bool b_signed, int64_t row, int64_t col, void *packed)
{
    const int64_t width = best()->width, panels = quotient_up(n, width);
    int8_t *data = (int8_t *)packed + sums_size(panels);
#pragma omp parallel for schedule(static) if (k * n > SMALL_WORK && !omp_in_parallel())
    for (int64_t p = 0; p < panels; p++)
        pack_panel(k, least(width, n - p * width), (const uint8_t *)b + p * width * col, b_signed ? 0 : 0x80, row, col,
                   (int32_t *)packed + p * width, data + p * panel_size(k));
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

static void run_item(const run *r, int64_t item)
{
    const gr_igemm *g = r->g;
    const gr_itiles *t = best();
    const int64_t block = item / r->groups, group = item % r->groups;
    const int64_t first = g->m * block / r->row_blocks, end = g->m * (block + 1) / r->row_blocks;
    const int64_t p0 = r->panels * group / r->groups, p1 = r->panels * (group + 1) / r->groups;
    const int8_t *data = (const int8_t *)g->packed + sums_size(r->panels);
    const int64_t col = p0 * t->width, cols = least(g->n, p1 * t->width) - col;
    _Alignas(64) int32_t sums[GR_ITILE_ROWS_MAX * GROUP * GR_ITILE_WIDTH_MAX];
    gr_itile_rows arranged;
    gr_itile tile = {.a = arranged, .stride = GROUP * t->width};
    for (int64_t row = first, rows; row < end; row += rows) {
        const uint8_t *a = (const uint8_t *)g->a + row * g->lda;
        rows = least(t->rows, end - row);
        tile.first = true;
        for (int64_t k = 0; k < g->k || tile.first; k += GR_ITILE_K, tile.first = false) {
            const int64_t depth = least(GR_ITILE_K, g->k - k);
            t->arrange((int)rows, depth, a + k, g->lda, g->a_signed ? 0x80 : 0, arranged);
            tile.fours = quotient_up(depth, 4);
            for (int64_t p = p0; p < p1; p++) {
                tile.b = data + p * panel_size(g->k) + k * t->width;
                tile.sums = sums + (p - p0) * t->width;
                t->tile[rows](&tile);
            }
        }
        for (int64_t i = 0; i < rows; i++) {
            correct(r, row + i, col, cols, sums + i * tile.stride);
            g->store(g->user, row + i, col, cols, sums + i * tile.stride);
        }
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
