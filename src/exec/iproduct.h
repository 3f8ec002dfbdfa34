/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of quantised matrices as steps: what MatMulInteger, QLinearMatMul and their relatives have in common. An
 * operator says which of its inputs is what; the kernels are shared. Sums are exact, in 32 bits.
 */
#ifndef GR_IPRODUCT_H
#define GR_IPRODUCT_H

#include "ops/op.h"
#include "simd/simd.h"

/* Numbers of the inputs; -1: the operator has no such input. */
typedef struct gr_iproduct_form {
    int a, b, a_scale, b_scale, a_zero, b_zero, y_scale, y_zero, bias, addend, residual;
} gr_iproduct_form;

/* In which order a sum is multiplied by the two scales; it decides about the last bit. */
enum gr_iproduct_order { GR_SCALES_PRODUCT, GR_SCALES_A_FIRST, GR_SCALES_B_FIRST };

/* Params of the operators. */
typedef struct gr_iproduct {
    const gr_iproduct_form *form;
    bool trans_a, trans_b;
    float alpha;
    enum gr_gemm_act act;
    enum gr_iproduct_order order; /* not with y_scale */
} gr_iproduct;

extern const gr_kernel gr_iproduct_kernels[];

#endif
