/* SPDX-License-Identifier: Apache-2.0
 *
 * What itiles.c exports for each instruction set. Internal to this folder.
 *
 * Operands of a tile are unsigned bytes of A and signed bytes of B; operands of the other kind are shifted by 128 on
 * the way. B is in panels of `width` columns; a panel holds, for every four k, four bytes of each column. Rows of A are
 * brought into the order in which a tile reads them, at most GR_ITILE_K of k at a time.
 */
#ifndef GR_ITILES_H
#define GR_ITILES_H

#include <stdbool.h>
#include <stdint.h>

enum { GR_ITILE_ROWS_MAX = 8, GR_ITILE_WIDTH_MAX = 32, GR_ITILE_K = 1024 };

/* For every four k: one or two words of each row. */
typedef uint32_t gr_itile_rows[GR_ITILE_K / 4 * GR_ITILE_ROWS_MAX * 2];

typedef struct gr_itile {
    int64_t fours;     /* k / 4, rounded up */
    const uint32_t *a; /* as arranged */
    const int8_t *b;   /* the panel, at this tile's first k */
    int32_t *sums;     /* [rows][width], written, or added to unless `first` */
    int64_t stride;
    bool first;
} gr_itile;

typedef struct gr_itiles {
    const char *name;
    int width, rows; /* of a panel; greatest number of a tile */
    /* `flip` is XORed to the bytes of A: 0, or 0x80 if they are signed. k <= GR_ITILE_K. */
    void (*arrange)(int rows, int64_t k, const uint8_t *a, int64_t lda, uint8_t flip, uint32_t *to);
    void (*tile[GR_ITILE_ROWS_MAX + 1])(const gr_itile *t);
    /* sums[j] -= a * columns[j] + rest * b_zero[j]; b_zero may be NULL. Modulo 2^32. */
    void (*correct)(int64_t n, uint32_t a, const int32_t *columns, uint32_t rest, const int32_t *b_zero, int32_t *sums);
    void (*scale)(int64_t n, const int32_t *sums, const float *factors, float *to);
    void (*quantize)(int64_t n, const float *x, float scale, int least, int greatest, int zero, uint8_t *to);
} gr_itiles;

extern const gr_itiles gr_itiles_base;
#if defined(__x86_64__)
extern const gr_itiles gr_itiles_avx2, gr_itiles_avx512;
/* With the instruction that multiplies and adds four bytes at once. */
extern const gr_itiles gr_itiles_vnni_avx2, gr_itiles_vnni_avx512;
#endif

#endif
