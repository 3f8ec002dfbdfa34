/* SPDX-License-Identifier: Apache-2.0
 *
 * What kernels.c and tiles.c export for each instruction set they are compiled for, and how it is chosen. Internal to
 * this folder.
 */
#ifndef GR_ISA_H
#define GR_ISA_H

#include "simd.h"

/* One tile of a product, by one call: C[rows][cols] (+)= A[rows][k] x B[k][cols], then the epilogue if `last`. B is in
 * panels of `width` columns, each [depth][width] with k rows of it used here. Elements are as in gr_gemm. */
typedef struct gr_tile {
    int64_t k;
    const void *a;
    int64_t lda;
    const void *b;
    int64_t panel;         /* elements from one panel to the next */
    const char *ahead;     /* what to prefetch: from here on and from `apart` bytes behind it, `pace` bytes with each k; */
    int64_t apart, pace;   /* memory delivers two streams faster than one */
    float *c;
    int64_t ldc;
    uint16_t *rounded;     /* C in bfloat16, or NULL; C may be NULL then, in one block of k */
    int64_t ld_rounded;
    int64_t cols;          /* valid columns, from 1 to the tile's width */
    enum gr_gemm_store store;
    bool first, last;      /* of the blocks of k: start from zero, else from C; apply the epilogue */
    float alpha;
    const float *bias, *residual; /* at the tile's first column and row; may be NULL */
    enum gr_gemm_act act;
} gr_tile;

enum { GR_TILE_ROWS_MAX = 16 };

/* Rows of A a tile should have, of at most `most`, which lie `stride` bytes apart. Where that is a multiple of a page, the
 * lines that hold one k of all rows share one set of the first-level cache. It has room for eight, on some CPUs twelve:
 * twelve rows would push each other out in every step. */
static inline int64_t gr_tile_rows(int64_t most, int64_t stride)
{
    enum { PAGE = 4096, WAYS = 8 };
    return most > WAYS && stride % PAGE == 0 ? WAYS : most;
}

typedef struct gr_tiles {
    int width;                       /* columns of a panel */
    int rows;                        /* greatest number of rows of a tile */
    void (*tile[GR_TILE_ROWS_MAX + 1])(const gr_tile *t); /* by rows; one panel */
    void (*wide[GR_TILE_ROWS_MAX + 1])(const gr_tile *t); /* several panels at once, NULL where that has no use */
    int wide_panels[GR_TILE_ROWS_MAX + 1];
    /* One panel of B: `cols` columns of k rows of elements of `size` bytes, the rest of its width filled with zeros. Where
     * `col` is 1, `cols` may be those of several whole panels, one behind the other. */
    void (*pack)(size_t size, int64_t k, int64_t cols, const void *b, int64_t row, int64_t col, void *panel);
    /* The same for floats, rounded to bfloat16. */
    void (*pack_bfloat)(int64_t k, int64_t cols, const float *b, int64_t row, int64_t col, uint16_t *panel);
    /* The same for any numbers, and to pairs. */
    void (*pack_pairs)(enum gr_gemm_store from, int64_t k, int64_t cols, const void *b, int64_t row, int64_t col,
                       uint32_t *panel);
    void (*round_row)(int64_t k, const float *x, uint16_t *to); /* the last of an odd number gets a zero beside it */
} gr_tiles;

const gr_tiles *gr_tiles_best(void);

extern const gr_simd gr_simd_base;
extern const gr_tiles gr_tiles_base;
#if defined(__x86_64__)
extern const gr_simd gr_simd_avx2, gr_simd_avx512;
extern const gr_tiles gr_tiles_avx2, gr_tiles_avx512;
extern const gr_tiles gr_tiles_avx512bf16; /* with the instruction that multiplies and adds pairs */
#endif

#endif
