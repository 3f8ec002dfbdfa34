/* SPDX-License-Identifier: Apache-2.0
 *
 * Products with weights that are not floats in memory: some columns at a time become floats and are packed, used at once
 * if there are few rows, else all of them in scratch. Results have the bits of a product with the weights as floats.
 */
#ifndef GR_COLUMNS_H
#define GR_COLUMNS_H

#include "ops/op.h"
#include "simd/simd.h"

typedef struct gr_columns {
    int64_t m, n, k;
    /* Columns [first, first + count) as floats: element (i, j) at to[i * row + j * col], of room for count * room. */
    void (*unpack)(const gr_step *s, int64_t first, int64_t count, float *to);
    int64_t room; /* >= k */
    bool by_column; /* a column's elements lie next to each other, columns `room` apart; else rows of `count` */
    bool few; /* rows: set by gr_columns_prepare */
    size_t packed, own, each; /* offsets in the step's scratch, and bytes of one thread's part */
} gr_columns;

/* c has sizes, room and unpack; adds to *scratch what the run needs. False if sizes overflow. */
bool gr_columns_prepare(gr_columns *c, const gr_step *s, size_t *scratch);
/* y = act(a x W + bias) + residual for the first `m` rows, at most c->m; rows of a lie k apart, those of y and residual
 * n. */
void gr_columns_run(const gr_columns *c, const gr_step *s, int64_t m, const float *a, const float *bias, const float *residual,
                    enum gr_gemm_act act, float *y);

#endif
