/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of 8-bit integers with sums in 32 bits, exact for every combination of signed and unsigned operands and of
 * zero points: C[i][j] = sum over k of (A[i][k] - a_zero[i]) (B[k][j] - b_zero[j]), modulo 2^32. B is packed once.
 */
#ifndef GR_IGEMM_H
#define GR_IGEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

size_t gr_igemm_packed_size(int64_t k, int64_t n); /* bytes, SIZE_MAX if too large; depends on the instruction set */
/* Name of the layout that gr_igemm_pack makes, or gr_igemm_pack_panel, for caches of packed weights. */
const char *gr_igemm_layout(bool by_panel);
/* B[k][n] is at b[k * row + n * col]. Runs in parallel over panels. */
void gr_igemm_pack(int64_t k, int64_t n, const void *b, bool b_signed, int64_t row, int64_t col, void *packed);

/* The same piece by piece: panel `number` has columns [number * width, ...) of B, which is signed; the caller has all of
 * them packed before it multiplies. `greatest`: what elements of A, as unsigned bytes, never exceed; the less, the more
 * sums fit 16 bits. Other layouts than gr_igemm_pack's if it is not 255. */
enum { GR_IGEMM_WIDTH_MAX = 32 };
int64_t gr_igemm_width(void);
void gr_igemm_pack_panel(int64_t k, int64_t n, int64_t number, const int8_t *columns, int64_t row, int64_t col,
                         int greatest, void *packed);

/* Whether that many bytes from anywhere can be used as such a matrix without reading beyond it. */
bool gr_igemm_check(int64_t k, int64_t n, const void *packed);

typedef struct gr_igemm {
    int64_t m, n, k;
    const void *a;
    int64_t lda;                    /* row stride of A; columns are contiguous */
    bool a_signed, b_signed;        /* b_signed: as when B was packed */
    const void *packed;             /* from gr_igemm_pack */
    const int32_t *a_zero, *b_zero; /* per row and column, with these steps; a step of 0 means one for all */
    int64_t a_zero_step, b_zero_step;
    /* Called for pieces of rows, from any thread of the team; together they cover C once. */
    void (*store)(void *user, int64_t row, int64_t col, int64_t n, const int32_t *sums);
    void *user;
} gr_igemm;
/* With the current OpenMP team, or in the calling thread if it is one of a team. */
void gr_igemm_run(const gr_igemm *g);

/* to[i] = sums[i] * factors[i], the sums as floats first. */
void gr_igemm_scale(int64_t n, const int32_t *sums, const float *factors, float *to);
/* to[i] = round(x[i] / scale) + zero, halves to even, within [least, greatest]; NaN becomes the least. The bounds are
 * those of a type of 8 bits. */
void gr_igemm_quantize(int64_t n, const float *x, float scale, int least, int greatest, int zero, uint8_t *to);
/* A panel of floats [k][width] as codes, one scale for each of its columns; it is not finite if an element of the column
 * is not. Before, `scales` has for each column what all of its elements are multiples of, or 0 if that is not known:
 * they are kept as they are where that costs no time. */
void gr_igemm_quantize_panel(int64_t k, const float *panel, int8_t *to, float *scales);
/* A row as codes from 0 to 255 with the scale and zero point that let them span its range: an element is
 * (to[i] - *zero) * *scale, rounded. The scale is not finite if an element is not. */
void gr_igemm_quantize_row(int64_t n, const float *x, uint8_t *to, float *scale, int32_t *zero);
/* to[i] = sums[i] * (row * columns[i]) + bias[i]; bias may be NULL. */
void gr_igemm_finish(int64_t n, const int32_t *sums, float row, const float *columns, const float *bias, float *to);

#endif
