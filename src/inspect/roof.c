/* SPDX-License-Identifier: Apache-2.0 */
#include "roof.h"
#include "exec/threads.h"
#include "simd/simd.h"
#include <time.h>

enum { TURNS = 1000, PIECES = 64, TRIES = 5 };
#define STREAM ((size_t)128 << 20) /* larger than last-level caches */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct work {
    double done[PIECES];
} work;

static void multiply_piece(void *user, int64_t i, int thread)
{
    work *w = user;
    (void)thread;
    w->done[i] = gr_simd_best()->multiply(TURNS);
}

/* Operations a second of all threads at once, of which some may have less than a core; the best of some tries. */
static double multiply_speed(int threads)
{
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        work w;
        const double start = now();
        gr_parallel(PIECES, threads, multiply_piece, &w);
        const double seconds = now() - start;
        double done = 0;
        for (int p = 0; p < PIECES; p++) done += w.done[p];
        if (done / seconds > best) best = done / seconds;
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
    float *block = gr_malloc_aligned(STREAM);
    if (!block) {
        (void)gr_nomem(err);
        return false;
    }
    gr_threads_state state = gr_threads_enter(threads);
    size_t n = STREAM / sizeof(float);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) block[i] = 0.5f;
    float sum = 0;
    *out = (gr_roof){.threads = threads};
    out->flops = multiply_speed(threads);
    out->bandwidth = (double)STREAM / stream_time(block, n, &sum);
    gr_threads_leave(state);
    /* The sum is used, or a compiler could leave the reading out. */
    volatile float used = sum;
    (void)used;
    gr_free_aligned(block, STREAM);
    return true;
}
