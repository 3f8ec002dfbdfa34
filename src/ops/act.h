/* SPDX-License-Identifier: Apache-2.0
 *
 * The attribute `activation` of linear layers: its values, what they compute, and the vector kernels for them.
 */
#ifndef GR_ACT_H
#define GR_ACT_H

#include "op.h"
#include "simd/simd.h"
#include <math.h>

static inline gr_status gr_act_parse(gr_attrs attrs, enum gr_gemm_act *out, gr_err *err)
{
    static const char *const names[] = {[GR_ACT_NONE] = "", [GR_ACT_GELU_ERF] = "gelu",
                                        [GR_ACT_GELU_TANH] = "gelu_tanh", [GR_ACT_RELU] = "relu",
                                        [GR_ACT_TANH] = "tanh", [GR_ACT_SIGMOID] = "sigmoid", [GR_ACT_SILU] = "silu",
                                        [GR_ACT_QUICK_GELU] = "quick_gelu"};
    const char *name;
    GR_TRY(gr_attr_string(attrs, "activation", "", &name, err));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i])) continue;
        *out = (enum gr_gemm_act)i;
        return GR_OK;
    }
    return gr_fail(err, GR_EMODEL, "attribute 'activation' is '%s', which is not known", gr_show(name));
}

static inline double gr_act_value(double x, enum gr_gemm_act act)
{
    switch (act) {
    case GR_ACT_GELU_ERF: return 0.5 * x * erfc(-x * M_SQRT1_2);
    case GR_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
    case GR_ACT_RELU: return x < 0 ? 0 : x;
    case GR_ACT_TANH: return tanh(x);
    case GR_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case GR_ACT_SILU: return x / (1 + exp(-x));
    case GR_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case GR_ACT_NONE: break;
    }
    return x;
}

/* Not for GR_ACT_NONE. */
static inline enum gr_simd_unary gr_act_unary(enum gr_gemm_act act)
{
    switch (act) {
    case GR_ACT_GELU_ERF: return GR_V_GELU_ERF;
    case GR_ACT_GELU_TANH: return GR_V_GELU_TANH;
    case GR_ACT_RELU: return GR_V_RELU;
    case GR_ACT_TANH: return GR_V_TANH;
    case GR_ACT_SIGMOID: return GR_V_SIGMOID;
    case GR_ACT_SILU: return GR_V_SILU;
    case GR_ACT_QUICK_GELU: return GR_V_QUICK_GELU;
    case GR_ACT_NONE: break;
    }
    return GR_V_UNARY_COUNT;
}

#endif
