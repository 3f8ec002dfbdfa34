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

/* `count` of them; moves the pointers behind them. */
VINLINE void steps(const int count, const int rows, const int panels, const enum gr_gemm_store store, const char **a,
                   int64_t lda, const char **b, int64_t panel, vf (*acc)[4 * VECTORS])
{
#if HAS_AVX2_STEPS
    if (panels == 1 && store == GR_STORE_FLOAT)
        avx2_steps(count, rows, a[0], rows > 3 ? a[1] : a[0], lda, *b, acc);
    else
#endif
    {
        UNROLL
        for (int i = 0; i < count; i++) step(rows, panels, store, i, a, lda, *b, panel, acc);
    }
    UNROLL
    for (int r = 0; r < rows; r += 3) a[r / 3] += count * 4;
    *b += count * WIDTH * STORE_BYTES(store);
}

enum { LINE = 64 };

/* The lines of `bytes` bytes from p and from p + apart on into the second-level cache; returns what is behind them. */
VINLINE const char *fetch_lines(const char *p, int64_t apart, int64_t bytes)
{
    int64_t at = 0;
    do {
        __builtin_prefetch(p + at, 0, 2);
        __builtin_prefetch(p + apart + at, 0, 2);
    } while ((at += LINE) < bytes);
    return p + bytes;
}

/* acc += A[rows][k] x B, `panels` panels of it beside each other, `panel` elements apart. With `fetch`, two streams
 * are prefetched, from `ahead` on and from `apart` bytes behind it, `pace` bytes with each k. */
VINLINE void multiply(const int rows, const int panels, const enum gr_gemm_store store, int64_t k, const void *a0,
                      int64_t lda, const void *b0, int64_t panel, vf (*acc)[4 * VECTORS], const bool fetch,
                      const char *ahead, int64_t apart, int64_t pace)
{
    const char *b = b0, *a[(ROWS + 2) / 3];
    lda *= 4;
    panel *= STORE_BYTES(store);
    UNROLL
    for (int r = 0; r < rows; r += 3) a[r / 3] = (const char *)a0 + r * lda;
    /* Steps of one turn share its addresses and prefetches. More than 16 do not fit where decoded instructions are kept,
     * in a half of it if another thread has the core, too; few row tiles have many lines to fetch in a turn. */
    if (HAS_AVX2_STEPS && panels == 1 && store == GR_STORE_FLOAT && pace <= 2 * LINE / 16)
        for (; k >= 16; k -= 16) {
            if (fetch) ahead = fetch_lines(ahead, apart, 16 * pace);
            steps(16, rows, panels, store, a, lda, &b, panel, acc);
        }
    const int some = HAS_AVX2_STEPS ? 8 : 4;
    for (; k >= some; k -= some) {
        if (fetch) ahead = fetch_lines(ahead, apart, some * pace);
        steps(some, rows, panels, store, a, lda, &b, panel, acc);
    }
    for (; k > 0; k--) steps(1, rows, panels, store, a, lda, &b, panel, acc);
}

#endif
