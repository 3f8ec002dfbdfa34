/* SPDX-License-Identifier: Apache-2.0 */
#include "roof.h"
#include "exec/threads.h"
#include "simd/simd.h"
#include <time.h>

enum { ROWS = 384, DEPTH = 768, COLUMNS = 3072, TRIES = 5 };
#define STREAM ((size_t)128 << 20) /* larger than last-level caches */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The best of some tries, in seconds. */
static double product_time(const gr_gemm *g)
{
    double best = 0;
    for (int i = 0; i <= TRIES; i++) {
        double start = now();
        gr_gemm_run(g);
        double seconds = now() - start;
        if (i && (i == 1 || seconds < best)) best = seconds; /* the first one warms up */
    }
    return best;
}

static double stream_time(const float *data, size_t n, float *sum)
{
    const gr_simd *v = gr_simd_best();
    const size_t piece = 1 << 16;
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        double start = now();
        float all = 0;
#pragma omp parallel for schedule(static) reduction(+ : all)
        for (size_t at = 0; at < n; at += piece) all += v->sum(piece, data + at);
        double seconds = now() - start;
        *sum += all;
        if (!i || seconds < best) best = seconds;
    }
    return best;
}

bool gr_roof_measure(int threads, gr_roof *out, gr_err *err)
{
    const size_t a = (size_t)ROWS * DEPTH, b = (size_t)DEPTH * COLUMNS, c = (size_t)ROWS * COLUMNS;
    size_t packed = gr_gemm_packed_size(DEPTH, COLUMNS);
    float *block = gr_malloc_aligned(STREAM);
    /* The operands lie one behind the other in the memory that is streamed afterwards. */
    if (!block || (a + b + c) * sizeof(float) + packed > STREAM) {
        gr_free_aligned(block, STREAM);
        (void)gr_nomem(err);
        return false;
    }
    gr_threads_state state = gr_threads_enter(threads);
    size_t n = STREAM / sizeof(float);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) block[i] = 0.5f;
    gr_gemm_pack(DEPTH, COLUMNS, block + a, COLUMNS, 1, block + a + b + c);
    const gr_gemm g = {.m = ROWS,
                       .n = COLUMNS,
                       .k = DEPTH,
                       .a = block,
                       .lda = DEPTH,
                       .packed = block + a + b + c,
                       .alpha = 1,
                       .c = block + a + b,
                       .ldc = COLUMNS};
    float sum = 0;
    *out = (gr_roof){.threads = threads};
    out->flops = 2.0 * ROWS * COLUMNS * DEPTH / product_time(&g);
    out->bandwidth = (double)STREAM / stream_time(block, n, &sum);
    gr_threads_leave(state);
    /* The sum is used, or a compiler could leave the reading out. */
    volatile float used = sum;
    (void)used;
    gr_free_aligned(block, STREAM);
    return true;
}
