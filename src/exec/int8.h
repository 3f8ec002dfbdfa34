/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of floats with constant weights, computed in bytes: weights have one scale for each column, and rows of
 * activations one scale and zero point for each row, chosen in the run. What follows the sum is float. A row's result
 * depends on that row alone.
 */
#ifndef GR_INT8_H
#define GR_INT8_H

#include "exec/packs.h"
#include "simd/simd.h"

/* Where weights come from: columns [first, first + count) as floats, element (i, j) at to[i * stride + j], and what all
 * elements of column j are multiples of in units[j], which is 0 before. Called from several threads. */
typedef void gr_int8_columns(const void *user, int64_t first, int64_t count, int64_t stride, float *to, float *units);

/* Whether matrices of that size are worth it: of few rows or columns not, and heads of few outputs lose most. */
bool gr_int8_wants(int64_t k, int64_t n);
/* The weights packed, key.rows by key.cols, once for all who ask with this key; its layout is set here. `source` bytes
 * from key.data on are what was packed. NULL if out of memory. */
const gr_pack *gr_int8_pack(gr_packs *packs, gr_pack_key key, size_t source, gr_int8_columns *columns,
                            const void *user);

/* Rows of activations in bytes, in memory of gr_int8_rows_size bytes, 64-byte aligned; SIZE_MAX: too large. */
size_t gr_int8_rows_size(int64_t m, int64_t k);
void gr_int8_quantize(int64_t m, int64_t k, const float *a, int64_t lda, void *rows);
/* g as for a product of floats, but g->packed is a pack of gr_int8_pack, and `rows` what gr_int8_quantize has made of
 * its m rows of A. */
void gr_int8_run(const gr_gemm *g, const void *rows);

#endif
