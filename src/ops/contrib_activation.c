/* SPDX-License-Identifier: Apache-2.0
 *
 * com.microsoft's activations and products, in terms of the standard operators they stand for: Gelu, BiasGelu,
 * FastGelu, QuickGelu, FusedGemm, TransposeMatMul.
 */
#include "exec/body.h"

/* ---- activations ---- */

typedef struct activation_params {
    const char *approximate; /* of Gelu; NULL: x * sigmoid(alpha * x) */
    float alpha;
} activation_params;

static gr_status make(gr_arena *arena, activation_params given, const void **out, gr_err *err)
{
    activation_params *p = GR_NEW(arena, activation_params);
    *out = p;
    if (!p) return gr_nomem(err);
    *p = given;
    return GR_OK;
}

static gr_status parse_erf(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    (void)attrs;
    return make(arena, (activation_params){.approximate = "none"}, out, err);
}

static gr_status parse_tanh(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    (void)attrs;
    return make(arena, (activation_params){.approximate = "tanh"}, out, err);
}

static gr_status parse_quick(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    activation_params p = {.approximate = NULL};
    GR_TRY(gr_attr_float(attrs, "alpha", 1.702F, &p.alpha, err));
    return make(arena, p, out, err);
}

/* y = activation(x + bias) */
static gr_status activation_body(gr_body *b)
{
    const activation_params *p = b->params;
    gr_value *x = gr_body_in(b, 0);
    if (gr_body_in(b, 1)) x = GR_BODY_NODE(b, "Add", GR_NO_ATTRS, x, b->in[1]);
    if (p->approximate)
        b->out[0] = GR_BODY_NODE(b, "Gelu", GR_ATTRS(GR_STRING_ATTR("approximate", p->approximate)), x);
    else
        b->out[0] = GR_BODY_NODE(b, "Swish", GR_ATTRS(GR_FLOAT_ATTR("alpha", p->alpha)), x);
    return GR_OK;
}

/* ---- FusedGemm ---- */

typedef struct gemm_params {
    int64_t trans_a, trans_b;
    float alpha, beta;
    const char *activation; /* an operator */
    int nfactors;
    const char *names[2]; /* of its attributes */
    float factors[2];
} gemm_params;

static gr_status parse_gemm(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    static const struct {
        const char *name, *op;
        int n;
        const char *names[2], *from[2];
        float missing[2];
    } known[] = {
        {"Relu", "Relu", 0, {0}, {0}, {0}},
        {"Tanh", "Tanh", 0, {0}, {0}, {0}},
        {"Sigmoid", "Sigmoid", 0, {0}, {0}, {0}},
        {"Softplus", "Softplus", 0, {0}, {0}, {0}},
        {"Softsign", "Softsign", 0, {0}, {0}, {0}},
        {"LeakyRelu", "LeakyRelu", 1, {"alpha"}, {"activation_alpha"}, {0.01F}},
        {"Elu", "Elu", 1, {"alpha"}, {"activation_alpha"}, {1}},
        {"ThresholdedRelu", "ThresholdedRelu", 1, {"alpha"}, {"activation_alpha"}, {1}},
        {"HardSigmoid", "HardSigmoid", 2, {"alpha", "beta"}, {"activation_alpha", "activation_beta"}, {0.2F, 0.5F}},
        {"Selu", "Selu", 2, {"alpha", "gamma"}, {"activation_alpha", "activation_gamma"}, {1.67326319F, 1.05070102F}},
    };
    const char *name;
    gemm_params *p = GR_NEW(arena, gemm_params);
    *out = p;
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_float(attrs, "alpha", 1, &p->alpha, err));
    GR_TRY(gr_attr_float(attrs, "beta", 1, &p->beta, err));
    GR_TRY(gr_attr_int(attrs, "transA", 0, &p->trans_a, err));
    GR_TRY(gr_attr_int(attrs, "transB", 0, &p->trans_b, err));
    GR_TRY(gr_attr_string(attrs, "activation", "", &name, err));
    if (!*name) return GR_OK;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i].name)) continue;
        p->activation = known[i].op;
        p->nfactors = known[i].n;
        for (int k = 0; k < p->nfactors; k++) {
            p->names[k] = known[i].names[k];
            GR_TRY(gr_attr_float(attrs, known[i].from[k], known[i].missing[k], &p->factors[k], err));
        }
        return GR_OK;
    }
    return gr_fail(err, GR_EUNSUPPORTED, "attribute 'activation' is '%s', which is not known", gr_show(name));
}

static gr_status gemm_body(gr_body *b)
{
    const gemm_params *p = b->params;
    gr_attr factors[2];
    gr_value *y = GR_BODY_NODE(b, "Gemm",
                               GR_ATTRS(GR_FLOAT_ATTR("alpha", p->alpha), GR_FLOAT_ATTR("beta", p->beta),
                                        GR_INT_ATTR("transA", p->trans_a), GR_INT_ATTR("transB", p->trans_b)),
                               gr_body_in(b, 0), gr_body_in(b, 1), gr_body_in(b, 2));
    for (int k = 0; k < p->nfactors; k++) factors[k] = (gr_attr)GR_FLOAT_ATTR(p->names[k], p->factors[k]);
    if (p->activation) y = GR_BODY_NODE(b, p->activation, ((gr_attrs){(size_t)p->nfactors, factors}), y);
    b->out[0] = y;
    return GR_OK;
}

/* ---- TransposeMatMul: the former name of FusedMatMul ---- */

typedef struct transpose_params {
    int64_t trans_a, trans_b;
    float alpha;
} transpose_params;

static gr_status parse_transpose(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    transpose_params *p = GR_NEW(arena, transpose_params);
    *out = p;
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_float(attrs, "alpha", 1, &p->alpha, err));
    GR_TRY(gr_attr_int(attrs, "transA", 0, &p->trans_a, err));
    return gr_attr_int(attrs, "transB", 0, &p->trans_b, err);
}

static gr_status transpose_body(gr_body *b)
{
    const transpose_params *p = b->params;
    b->out[0] = GR_BODY_NODE(b, "com.microsoft.FusedMatMul",
                             GR_ATTRS(GR_FLOAT_ATTR("alpha", p->alpha), GR_INT_ATTR("transA", p->trans_a),
                                      GR_INT_ATTR("transB", p->trans_b)),
                             gr_body_in(b, 0), gr_body_in(b, 1));
    return GR_OK;
}

#define ROW(name_, least, most, parse_, body_) GR_CONTRIB_ROW(name_, least, most, 1, parse_, body_)
const gr_op op_contrib_activation[] = {
    ROW("Gelu", 1, 1, parse_erf, activation_body),
    ROW("BiasGelu", 2, 2, parse_erf, activation_body),
    ROW("FastGelu", 1, 2, parse_tanh, activation_body),
    ROW("QuickGelu", 1, 1, parse_quick, activation_body),
    ROW("FusedGemm", 2, 3, parse_gemm, gemm_body),
    ROW("TransposeMatMul", 2, 2, parse_transpose, transpose_body),
    {0},
};
