/* SPDX-License-Identifier: Apache-2.0
 *
 * See columns.h. A piece of columns fills whole panels, so that pieces packed one behind the other are all of B packed.
 */
#include "columns.h"
#include "ops/elem.h"
#include <omp.h>

enum { COLUMNS = 32, FEW_ROWS = 32, ALIGNMENT = 64 };

static bool rounded(size_t bytes, size_t *out)
{
    if (bytes == SIZE_MAX || !gr_add(bytes, ALIGNMENT - 1, out)) return false;
    *out = *out / ALIGNMENT * ALIGNMENT;
    return true;
}

/* Where the packed piece begins in a thread's part. */
static size_t piece_size(const gr_columns *c)
{
    return ((size_t)c->room * COLUMNS * sizeof(float) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

bool gr_columns_prepare(gr_columns *c, const gr_step *s, size_t *scratch)
{
    size_t piece, packed, all;
    c->few = c->m <= FEW_ROWS;
    if (!rounded(*scratch, scratch) || !gr_mul((size_t)c->room, COLUMNS * sizeof(float), &piece) ||
        !rounded(piece, &piece) || !rounded(gr_gemm_packed_size(c->k, c->few ? COLUMNS : c->n), &packed))
        return false;
    c->packed = *scratch;
    if (!c->few && !gr_add(*scratch, packed, scratch)) return false;
    c->own = *scratch;
    c->each = piece;
    if (c->few && !gr_add(piece, packed, &c->each)) return false;
    return gr_mul((size_t)gr_step_threads(s), c->each, &all) && gr_add(*scratch, all, scratch);
}

static void pack_piece(const gr_columns *c, const gr_step *s, int64_t first, int64_t count, float *own, void *to)
{
    c->unpack(s, first, count, own);
    gr_gemm_small_pack(c->k, count, own, c->by_column ? 1 : count, c->by_column ? c->room : 1, to);
}

void gr_columns_run(const gr_columns *c, const gr_step *s, int64_t m, const float *a, const float *bias, const float *residual,
                    enum gr_gemm_act act, float *y)
{
    const size_t packed_size = gr_gemm_packed_size(c->k, COLUMNS);
    char *packed = (char *)s->scratch + c->packed;
    gr_gemm g = {.m = m, .n = c->n, .k = c->k, .a = a, .lda = c->k, .packed = (float *)packed, .alpha = 1,
                 .bias = bias, .residual = residual, .act = act, .c = y, .ldc = c->n};
#pragma omp parallel for schedule(dynamic) num_threads(gr_step_threads(s)) if (c->n * c->k > GR_PARALLEL_MIN)
    for (int64_t first = 0; first < c->n; first += COLUMNS) {
        char *own = (char *)s->scratch + c->own + (size_t)omp_get_thread_num() * c->each;
        const int64_t count = c->n - first < COLUMNS ? c->n - first : COLUMNS;
        if (!c->few) {
            pack_piece(c, s, first, count, (float *)own, packed + (size_t)(first / COLUMNS) * packed_size);
            continue;
        }
        gr_gemm part = g;
        pack_piece(c, s, first, count, (float *)own, own + piece_size(c));
        part.n = count;
        part.packed = (float *)(own + piece_size(c));
        part.bias = bias ? bias + first : NULL;
        part.residual = residual ? residual + first : NULL;
        part.c = y + first;
        gr_gemm_run(&part);
    }
    if (!c->few) gr_gemm_run(&g);
}
