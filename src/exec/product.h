/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products as steps: what MatMul, Gemm and their fused forms have in common. An operator describes its product
 * as strides over the step's inputs; the kernels here choose between a packed constant right-hand side with the
 * epilogue on each tile, and a batch of general products followed by passes over the result.
 */
#ifndef GR_PRODUCT_H
#define GR_PRODUCT_H

#include "ops/op.h"
#include "simd/simd.h"

/* For every index of the batch dims: C = act(alpha * A x B + bias) + residual + beta * addend. C, output 0 of the step,
 * is dense [batch..., m, n]. Strides are in elements, 0 where an operand repeats. */
typedef struct gr_product {
    gr_dtype dtype;
    int64_t m, n, k;
    int nbatch;
    int64_t batch[GR_MAX_RANK], a_batch[GR_MAX_RANK], b_batch[GR_MAX_RANK];
    int64_t a_row, a_col, b_row, b_col;
    int a, b;                        /* numbers of the step's inputs */
    int bias, residual, addend;      /* likewise, or -1; bias is [n], residual has C's shape */
    int64_t addend_row, addend_col;
    float alpha, beta;
    enum gr_gemm_act act;
} gr_product;

/* Drop batch dims of size 1 and count those as rows that only A has. Kernels expect it done. */
void gr_product_simplify(gr_product *p);

/* Kernels, for a step whose product is *p; `dtype` is that of the result, and constants may have another one. They decline element types other than float, float16 and bfloat16, which are
 * computed in float. s->state and s->scratch_size are theirs. */
bool gr_product_prepare_int8(gr_step *s, const gr_product *p, gr_why *why);
bool gr_product_prepare_dnnl(gr_step *s, const gr_product *p, gr_why *why);
bool gr_product_prepare_packed(gr_step *s, const gr_product *p, gr_why *why);
gr_status gr_product_run(const gr_step *s, gr_err *err);
void gr_product_release(gr_step *s);

/* The same for a step that is several products at once, up to GR_GEMM_MAX: the i-th makes output i, if that is wanted.
 * Each has the bits that it has as a step of its own. */
typedef bool gr_product_prepare(gr_step *s, const gr_product *p, gr_why *why);
bool gr_products_prepare(gr_step *s, int count, const gr_product *p, gr_product_prepare *prepare, gr_why *why);
gr_status gr_products_run(const gr_step *s, gr_err *err);
void gr_products_release(gr_step *s);

#endif
