/* SPDX-License-Identifier: Apache-2.0
 *
 * See int8.h. Packed: what gr_igemm_pack_panel makes, then the scales of the columns. Rows: the bytes of all, then a
 * scale and a zero point for each.
 */
#include "int8.h"
#include "ops/act.h"
#include "simd/igemm.h"
#include "threads.h"
#include <omp.h>

enum {
    ALIGNMENT = 64,
    PIECE = 256, /* columns of a row that are finished together */
    LEAST_K = 32,
    LEAST_N = 16,
    GREATEST = 255,            /* code of an activation */
    PARALLEL_FROM = 32 * 1024, /* elements below which waking other threads costs more than they save */
};

bool gr_int8_wants(int64_t k, int64_t n) { return k >= LEAST_K && n >= LEAST_N; }

static bool round_up(size_t *bytes)
{
    if (!gr_add(*bytes, ALIGNMENT - 1, bytes)) return false;
    *bytes = *bytes / ALIGNMENT * ALIGNMENT;
    return true;
}

/* ---- weights ---- */

static size_t scales_at(int64_t k, int64_t n)
{
    size_t bytes = gr_igemm_packed_size(k, n);
    return bytes != SIZE_MAX && round_up(&bytes) ? bytes : SIZE_MAX;
}

typedef struct pack_job {
    int64_t k, n;
    gr_int8_columns *columns;
    const void *user;
} pack_job;

/* Room of one thread: a panel of floats, and of bytes. */
static bool panel_room(int64_t k, size_t *floats, size_t *all)
{
    size_t elements;
    return gr_mul((size_t)k, (size_t)gr_igemm_width(), &elements) && gr_mul(elements, sizeof(float), floats) &&
           round_up(floats) && gr_add(*floats, elements, all) && round_up(all);
}

static void pack_panels(const pack_job *j, size_t floats, size_t each, char *room, void *packed)
{
    const int64_t width = gr_igemm_width(), panels = (j->n + width - 1) / width;
    float *scales = (float *)((char *)packed + scales_at(j->k, j->n));
#pragma omp parallel for schedule(dynamic) num_threads(omp_get_max_threads()) if (j->k * j->n > PARALLEL_FROM)
    for (int64_t p = 0; p < panels; p++) {
        float *from = (float *)(room + (size_t)omp_get_thread_num() * each), own[GR_IGEMM_WIDTH_MAX] = {0};
        int8_t *codes = (int8_t *)from + floats;
        const int64_t first = p * width, count = j->n - first < width ? j->n - first : width;
        if (count < width) memset(from, 0, floats);
        j->columns(j->user, first, count, width, from, own);
        gr_igemm_quantize_panel(j->k, from, codes, own);
        memcpy(scales + first, own, (size_t)count * sizeof *own);
        gr_igemm_pack_panel(j->k, j->n, p, codes, width, 1, GREATEST, packed);
    }
}

static bool make_pack(void *user, gr_pack *pack)
{
    const pack_job *j = user;
    size_t floats, each, all, scales;
    pack->size = scales_at(j->k, j->n);
    if (pack->size == SIZE_MAX || !gr_mul((size_t)j->n, sizeof(float), &scales) ||
        !gr_add(pack->size, scales, &pack->size) || !panel_room(j->k, &floats, &each) ||
        !gr_mul(each, (size_t)omp_get_max_threads(), &all))
        return false;
    if (gr_pack_fits_saved(pack) && !gr_igemm_check(j->k, j->n, pack->saved)) pack->saved = NULL;
    if (!gr_pack_alloc(pack)) return false;
    if (pack->empty) return true;
    char *room = gr_malloc_pages(all);
    if (room) pack_panels(j, floats, each, room, pack->data);
    if (!room) gr_pack_release(pack);
    gr_free_pages(room, all);
    return room != NULL;
}

const gr_pack *gr_int8_pack(gr_packs *packs, gr_pack_key key, size_t source, gr_int8_columns *columns, const void *user)
{
    key.layout = gr_igemm_layout(true);
    return gr_packs_get(packs, &key, source, make_pack, &(pack_job){key.rows, key.cols, columns, user});
}

/* ---- rows ---- */

typedef struct row_scale {
    float scale;
    int32_t zero;
} row_scale;

static size_t row_scales_at(int64_t m, int64_t k)
{
    size_t bytes;
    return gr_mul((size_t)m, (size_t)k, &bytes) && round_up(&bytes) ? bytes : SIZE_MAX;
}

size_t gr_int8_rows_size(int64_t m, int64_t k)
{
    size_t bytes = row_scales_at(m, k), scales;
    if (bytes == SIZE_MAX || !gr_mul((size_t)m, sizeof(row_scale), &scales) || !gr_add(bytes, scales, &bytes))
        return SIZE_MAX;
    return round_up(&bytes) ? bytes : SIZE_MAX;
}

typedef struct quantized {
    int64_t k, lda;
    const float *a;
    uint8_t *codes;
    row_scale *scales;
} quantized;

static void quantize_rows(void *user, int64_t first, int64_t end, int thread)
{
    const quantized *q = user;
    (void)thread;
    for (int64_t i = first; i < end; i++)
        gr_igemm_quantize_row(q->k, q->a + i * q->lda, q->codes + i * q->k, &q->scales[i].scale, &q->scales[i].zero);
}

void gr_int8_quantize(int64_t m, int64_t k, const float *a, int64_t lda, void *rows)
{
    row_scale *scales = (row_scale *)((char *)rows + row_scales_at(m, k));
    gr_parallel_rows(m, m * k > PARALLEL_FROM ? gr_team_size() : 1, quantize_rows,
                     &(quantized){k, lda, a, rows, scales});
}

typedef struct job {
    const gr_gemm *g;
    const row_scale *rows;
    const float *columns;
} job;

static void store(void *user, int64_t row, int64_t col, int64_t n, const int32_t *sums)
{
    const job *j = user;
    const gr_gemm *g = j->g;
    const gr_simd *simd = gr_simd_best();
    for (int64_t i = 0, m; i < n; i += m, col += m, sums += m) {
        m = n - i < PIECE ? n - i : PIECE;
        float *to = g->c + row * g->ldc + col;
        const size_t count = (size_t)m;
        gr_igemm_finish(m, sums, g->alpha * j->rows[row].scale, j->columns + col, g->bias ? g->bias + col : NULL, to);
        if (g->act != GR_ACT_NONE) simd->unary[gr_act_unary(g->act)](count, to, to);
        if (g->residual) simd->binary[GR_V_ADD](count, to, g->residual + row * g->ldc + col, to);
    }
}

void gr_int8_run(const gr_gemm *g, const void *rows)
{
    const row_scale *scales = (const row_scale *)((const char *)rows + row_scales_at(g->m, g->k));
    const job j = {g, scales, (const float *)((const char *)g->packed + scales_at(g->k, g->n))};
    gr_igemm_run(&(gr_igemm){.m = g->m,
                             .n = g->n,
                             .k = g->k,
                             .a = rows,
                             .lda = g->k,
                             .b_signed = true,
                             .packed = g->packed,
                             .a_zero = &scales->zero,
                             .a_zero_step = (int64_t)(sizeof *scales / sizeof(int32_t)),
                             .store = store,
                             .user = (void *)(uintptr_t)&j});
}
