/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loop of row tiles, which tiles.c and attend.c have in common. A panel of B is two vectors wide; a tile
 * keeps up to `ROWS` rows of C for one panel in registers, or few rows for several panels so that there are always
 * enough independent sums to fill the multipliers' latency. Each element of C is one chain of fused multiplications and
 * additions in the order of k, whatever tile it belongs to.
 */
#ifndef GR_TILE_H
#define GR_TILE_H

#include "simd.h"
#include "steps_avx2.h"
#include "vec.h"

/* EACH_HEIGHT(T): T of every number of rows. */
#if GR_LANES == 16
#define ROWS           12
#define EACH_HEIGHT(T) T(1) T(2) T(3) T(4) T(5) T(6) T(7) T(8) T(9) T(10) T(11) T(12)
#elif GR_LANES == 8
#define ROWS           6
#define EACH_HEIGHT(T) T(1) T(2) T(3) T(4) T(5) T(6)
#elif defined(__aarch64__)
#define ROWS           8
#define EACH_HEIGHT(T) T(1) T(2) T(3) T(4) T(5) T(6) T(7) T(8)
#else
#define ROWS           4
#define EACH_HEIGHT(T) T(1) T(2) T(3) T(4)
#endif
enum {
    VECTORS = 2,
    WIDTH = VECTORS * GR_LANES,
    WIDEST = 4 * WIDTH,
    STEPS = HAS_AVX2_STEPS ? 8 : 4, /* of k in one turn of the inner loop, whose addresses and prefetches they share */
};
#define STORE_BYTES(store) ((store) == GR_STORE_FLOAT || (store) == GR_STORE_PAIRS ? 4 : 2)

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

VINLINE vf load_b(const char *b, const enum gr_gemm_store store)
{
    switch (store) {
    case GR_STORE_HALF: return vload_half(b);
    case GR_STORE_BFLOAT: return vload_bfloat(b);
    case GR_STORE_FLOAT:
    case GR_STORE_PAIRS: break;
    }
    return *(const vf_any *)b;
}

/* A row of a panel. bfloat16 is the upper half of a float, so two columns in one lane need two instructions, not four:
 * the vectors are the even and the odd columns then, and so are the sums, which turn() puts in order. */
VINLINE void load_row(const char *b, const enum gr_gemm_store store, vf *to)
{
    if (store == GR_STORE_BFLOAT) {
        const vu both = (vu) * (const vf_any *)b;
        to[0] = (vf)(both << 16);
        to[1] = (vf)(both & 0xFFFF0000);
        return;
    }
    UNROLL
    for (int v = 0; v < VECTORS; v++) to[v] = load_b(b + v * GR_LANES * STORE_BYTES(store), store);
}

/* An element of A in all lanes. */
VINLINE vf spread(const char *a, const enum gr_gemm_store store)
{
    typedef uint32_t word __attribute__((may_alias));
    if (store == GR_STORE_PAIRS) return (vf)(*(const word *)a + (vu){0});
    return vset(*(const float *)a);
}

/* One step of k, `at` behind the pointers. Every third row of A has one of `a`. */
VINLINE void step(const int rows, const int panels, const enum gr_gemm_store store, const int at, const char *const *a,
                  int64_t lda, const char *b, int64_t panel, vf (*acc)[4 * VECTORS])
{
    __asm__ volatile("" ::: "memory"); /* no loads for several steps at once: they would take the registers of sums */
    vf bv[4 * VECTORS];
    UNROLL
    for (int p = 0; p < panels; p++) load_row(b + p * panel + at * WIDTH * STORE_BYTES(store), store, bv + p * VECTORS);
    UNROLL
    for (int r = 0; r < rows; r++) {
        const vf av = spread(a[r / 3] + r % 3 * lda + at * 4, store);
        UNROLL
        for (int v = 0; v < panels * VECTORS; v++)
            store == GR_STORE_PAIRS ? vadd_product_pairs(&acc[r][v], av, bv[v]) : vadd_product(&acc[r][v], av, bv[v]);
    }
}

/* STEPS of them or one. */
VINLINE void steps(const bool all, const int rows, const int panels, const enum gr_gemm_store store,
                   const char *const *a, int64_t lda, const char *b, int64_t panel, vf (*acc)[4 * VECTORS])
{
#if HAS_AVX2_STEPS
    if (panels == 1 && store == GR_STORE_FLOAT) {
        avx2_steps(all, rows, a[0], rows > 3 ? a[1] : a[0], lda, b, acc);
        return;
    }
#endif
    step(rows, panels, store, 0, a, lda, b, panel, acc);
    if (!all) return;
    UNROLL
    for (int i = 1; i < STEPS; i++) step(rows, panels, store, i, a, lda, b, panel, acc);
}

/* acc += A[rows][k] x B, `panels` panels of it beside each other, `panel` elements apart. With `fetch`, two streams
 * are prefetched, from `ahead` on and from `apart` bytes behind it, `pace` bytes with each k. */
VINLINE void multiply(const int rows, const int panels, const enum gr_gemm_store store, int64_t k, const void *a0,
                      int64_t lda, const void *b0, int64_t panel, vf (*acc)[4 * VECTORS], const bool fetch,
                      const char *ahead, int64_t apart, int64_t pace)
{
    const char *b = b0, *a[(ROWS + 2) / 3], *beside = fetch ? ahead + apart : NULL;
    _Static_assert(2 * WIDTH * STEPS <= 256, "no more than four lines of each stream are fetched in a turn");
    lda *= 4;
    panel *= STORE_BYTES(store);
    pace *= STEPS;
    UNROLL
    for (int r = 0; r < rows; r += 3) a[r / 3] = (const char *)a0 + r * lda;
    for (; k >= STEPS; k -= STEPS) {
        if (fetch) {
            __builtin_prefetch(ahead, 0, 2);
            __builtin_prefetch(beside, 0, 2);
            if (pace > 64) { /* as with one tile alone: two lines of each stream */
                __builtin_prefetch(ahead + pace / 2, 0, 2);
                __builtin_prefetch(beside + pace / 2, 0, 2);
                if (2 * WIDTH * STEPS > 128 && pace > 128) { /* or four */
                    __builtin_prefetch(ahead + pace / 4, 0, 2);
                    __builtin_prefetch(beside + pace / 4, 0, 2);
                    __builtin_prefetch(ahead + pace / 4 * 3, 0, 2);
                    __builtin_prefetch(beside + pace / 4 * 3, 0, 2);
                }
            }
            ahead += pace;
            beside += pace;
        }
        steps(true, rows, panels, store, a, lda, b, panel, acc);
        UNROLL
        for (int r = 0; r < rows; r += 3) a[r / 3] += STEPS * 4;
        b += STEPS * WIDTH * STORE_BYTES(store);
    }
    for (; k > 0; k--) {
        steps(false, rows, panels, store, a, lda, b, panel, acc);
        UNROLL
        for (int r = 0; r < rows; r += 3) a[r / 3] += 4;
        b += WIDTH * STORE_BYTES(store);
    }
}

#endif
