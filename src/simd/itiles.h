/* SPDX-License-Identifier: Apache-2.0
 *
 * What itiles.c exports for each instruction set. Internal to this folder.
 *
 * Operands of a tile are unsigned bytes of A and signed bytes of B; operands of the other kind are shifted by 128 on
 * the way. B is in panels of `width` columns; a panel holds, for every four k, four bytes of each column. Within a piece
 * of at most GR_ITILE_K of k the fours are ordered by how many of them may be added up before their sums become wider
 * than 16 bits: first groups of three fours, then of two, then single ones, and last those that are wide at once.
 */
#ifndef GR_ITILES_H
#define GR_ITILES_H

#include <stdbool.h>
#include <stdint.h>

enum { GR_ITILE_ROWS_MAX = 12, GR_ITILE_WIDTH_MAX = 32, GR_ITILE_K = 1024, GR_ITILE_BESIDE = 4 };

enum gr_itile_class { GR_THREE_FOURS, GR_TWO_FOURS, GR_ONE_FOUR, GR_WIDE_FOUR, GR_ITILE_CLASSES };

typedef struct gr_itile {
    uint16_t count[GR_ITILE_CLASSES]; /* fours of each class, of k / 4, rounded up */
    const uint8_t *order;             /* of fours */
    const uint8_t *a;                 /* rows of whole fours */
    int64_t lda;
    const int8_t *b; /* the panel, at this tile's first k */
    int32_t *sums;   /* [rows][width], written, or added to unless `first` */
    int64_t stride;
    bool first;
} gr_itile;

/* Which products of bytes the instruction set adds up without loss: none, pairs that fit 16 bits, all. */
enum gr_itile_bytes { GR_BYTES_NEVER, GR_BYTES_SMALL, GR_BYTES_ALWAYS };

typedef struct gr_itiles {
    const char *name, *by_panel; /* of the layout that is made at once, and piece by piece */
    int width, rows; /* of a panel; greatest number of a tile */
    enum gr_itile_bytes bytes;
    void (*tile[GR_ITILE_ROWS_MAX + 1])(const gr_itile *t);
    /* One row by GR_ITILE_BESIDE panels, which memory delivers sooner side by side; NULL: it would not. */
    void (*beside)(const gr_itile *t);
    /* sums[j] -= a * columns[j] + rest * b_zero[j]; b_zero may be NULL. Modulo 2^32. */
    void (*correct)(int64_t n, uint32_t a, const int32_t *columns, uint32_t rest, const int32_t *b_zero, int32_t *sums);
    void (*scale)(int64_t n, const int32_t *sums, const float *factors, float *to);
    void (*quantize)(int64_t n, const float *x, float scale, int least, int greatest, int zero, uint8_t *to);
    void (*quantize_panel)(enum gr_itile_bytes bytes, int64_t k, const float *panel, int8_t *to, float *scales);
    void (*quantize_row)(int64_t n, const float *x, uint8_t *to, float *scale, int32_t *zero);
    void (*finish)(int64_t n, const int32_t *sums, float row, const float *columns, const float *bias, float *to);
} gr_itiles;

extern const gr_itiles gr_itiles_base;
#if defined(__x86_64__)
extern const gr_itiles gr_itiles_avx2, gr_itiles_avx512;
/* With the instruction that multiplies and adds four bytes at once. */
extern const gr_itiles gr_itiles_vnni_avx2, gr_itiles_vnni_avx512;
#endif

#endif
