/* SPDX-License-Identifier: Apache-2.0
 *
 * Activation functions. Attributes are floats with the defaults of the schema; p[0] and p[1] in the formulas.
 */
#include "elementwise.h"
#include "graph/spell.h"
#include "simd/simd.h"

#include <tgmath.h>

struct params {
    float p[2];
};

/* ---- Rows: the formula in x ---- */
#define REF(name, ...)                                                                                                 \
    static const gr_rows1 name##_rows = {__VA_ARGS__};                                                                 \
    static gr_status name##_ref(const gr_step *s, gr_err *err)                                                         \
    {                                                                                                                  \
        return (void)err, gr_unary_run(s, &name##_rows, s->params ? GR_PARAMS(struct params, s)->p : NULL);            \
    }
#define FLOATS(name, ...) GR_ROW1(name##_f32, float, __VA_ARGS__) GR_ROW1(name##_f64, double, __VA_ARGS__)
#define PLAIN(name, ...)                                                                                               \
    FLOATS(name, __VA_ARGS__)                                                                                          \
    REF(name, .f32 = name##_f32, .f64 = name##_f64)                                                                    \
    static const gr_kernel name##_kernels[] = {{"ref", NULL, name##_ref, NULL}, {0}};
#define SIMD(name, op, cost, prepare)                                                                                  \
    static gr_status name##_simd(const gr_step *s, gr_err *err)                                                        \
    {                                                                                                                  \
        return (void)err, gr_simd_unary_run(s, gr_simd_best()->unary[op], cost);                                       \
    }                                                                                                                  \
    static const gr_kernel name##_kernels[] = {                                                                        \
        {"simd", prepare, name##_simd, NULL}, {"ref", NULL, name##_ref, NULL}, {0}};
#define VECTOR(name, op, prepare, ...)                                                                                 \
    FLOATS(name, __VA_ARGS__)                                                                                          \
    REF(name, .f32 = name##_f32, .f64 = name##_f64)                                                                    \
    SIMD(name, op, 8, prepare)

/* clang-format off */
FLOATS(relu, x < 0 ? 0 : x)
GR_ROW1(relu_i64, int64_t, x < 0 ? 0 : x)
REF(relu, .f32 = relu_f32, .f64 = relu_f64, .i64 = relu_i64)
SIMD(relu, GR_V_RELU, 1, gr_float_only)

/* 1 / (1 + exp(-x)), written so that exp never overflows. */
#define SIGMOID(v) ((v) < 0 ? exp(v) / (1 + exp(v)) : 1 / (1 + exp(-(v))))
VECTOR(sigmoid, GR_V_SIGMOID, gr_float_only, SIGMOID(x))
VECTOR(tanh, GR_V_TANH, gr_float_only, tanh(x))

PLAIN(leaky_relu, x < 0 ? p[0] * x : x)
PLAIN(thresholded_relu, x > p[0] ? x : 0)
/* max(0, min(1, alpha * x + beta)) */
#define CLAMP01(v) ((v) < 0 ? 0 : (v) > 1 ? 1 : (v))
PLAIN(hard_sigmoid, CLAMP01(p[0] * x + p[1]))
PLAIN(hard_swish, x * CLAMP01(x / 6 + (__typeof__(x))0.5))
/* log(1 + exp(x)) */
#define SOFTPLUS(v) (((v) < 0 ? 0 : (v)) + log1p(exp(-fabs(v))))
PLAIN(softplus, SOFTPLUS(x))
PLAIN(softsign, x / (1 + fabs(x)))
PLAIN(elu, x < 0 ? p[0] * expm1(x) : x)
PLAIN(selu, p[1] * (x > 0 ? x : p[0] * expm1(x)))
/* max(0, x) + min(0, alpha * (exp(x / alpha) - 1)); one of the two is 0 for positive alpha only */
#define NEGATIVE(v) ((v) > 0 ? 0 : (v))
PLAIN(celu, (x < 0 ? 0 : x) + NEGATIVE(p[0] * expm1(x / p[0])))
/* x / 2 * (1 + erf(x / sqrt(2))) */
FLOATS(gelu_erf, x / 2 * (1 + erf(x * (__typeof__(x))0.70710678118654752440)))
/* x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) */
FLOATS(gelu_tanh, x / 2 * (1 + tanh((__typeof__(x))0.79788456080286535588 * (x + (__typeof__(x))0.044715 * x * x * x))))
PLAIN(mish, x * tanh(SOFTPLUS(x)))
/* clang-format on */

#define QUICK_GELU 1.702f
static bool plain_swish(gr_step *s, gr_why *why)
{
    float alpha = GR_PARAMS(struct params, s)->p[0];
    if (alpha != 1 && alpha != QUICK_GELU) return gr_decline(why, "alpha is %g, neither 1 nor 1.702", (double)alpha);
    return gr_float_only(s, why);
}
/* clang-format off */
/* x * sigmoid(alpha * x) */
FLOATS(swish, x * SIGMOID(p[0] * x))
REF(swish, .f32 = swish_f32, .f64 = swish_f64)
/* clang-format on */
static gr_status swish_simd(const gr_step *s, gr_err *err)
{
    (void)err;
    const bool quick = GR_PARAMS(struct params, s)->p[0] == QUICK_GELU;
    return gr_simd_unary_run(s, gr_simd_best()->unary[quick ? GR_V_QUICK_GELU : GR_V_SILU], 8);
}
static const gr_kernel swish_kernels[] = {{"simd", plain_swish, swish_simd, NULL}, {"ref", NULL, swish_ref, NULL}, {0}};

/* x + bias below -lambd, x - bias above lambd, else 0; p = bias, lambd */
FLOATS(shrink, x < -p[1] ? x + p[0] : x > p[1] ? x - p[0] : 0)
/* clang-format on */

static int64_t to_int(double v) { return v >= -0x1p63 && v < 0x1p63 ? (int64_t)v : INT64_MIN; }
static double shrink(double x, const float *p) { return x < -p[1] ? x + p[0] : x > p[1] ? x - p[0] : 0; }
/* clang-format off */
GR_ROW1(shrink_i64, int64_t, to_int(shrink((double)x, p)))
GR_ROW1(shrink_u64, uint64_t, (uint64_t)to_int(shrink((double)x, p)))
REF(shrink, shrink_f32, shrink_f64, shrink_i64, shrink_u64)
static const gr_kernel shrink_kernels[] = {{"ref", NULL, shrink_ref, NULL}, {0}};
/* clang-format on */

/* ---- Attributes ---- */
#define PARSE(name, a0, d0, a1, d1)                                                                                    \
    static gr_status parse_##name(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)                   \
    {                                                                                                                  \
        struct params *p = GR_NEW(arena, struct params);                                                               \
        if (!p) return gr_nomem(err);                                                                                  \
        GR_TRY(gr_attr_float(attrs, a0, d0, &p->p[0], err));                                                           \
        if (a1) GR_TRY(gr_attr_float(attrs, a1, d1, &p->p[1], err));                                                   \
        *params = p;                                                                                                   \
        return GR_OK;                                                                                                  \
    }
#define NONE ((const char *)NULL)
/* clang-format off */
PARSE(leaky, "alpha", 0.01F, NONE, 0)
PARSE(alpha, "alpha", 1, NONE, 0)
PARSE(hard_sigmoid, "alpha", 0.2F, "beta", 0.5F)
PARSE(selu_1, "alpha", 1.6732F, "gamma", 1.0507F)
PARSE(selu, "alpha", 1.67326319217681884765625F, "gamma", 1.05070102214813232421875F)
PARSE(shrink, "bias", 0, "lambd", 0.5F)
/* clang-format on */

/* Gelu's attribute chooses between two formulas. */
struct gelu_params {
    bool tanh;
};
static const gr_rows1 gelu_rows[2] = {{.f32 = gelu_erf_f32, .f64 = gelu_erf_f64},
                                      {.f32 = gelu_tanh_f32, .f64 = gelu_tanh_f64}};
static gr_status parse_gelu(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    const char *how;
    struct gelu_params *p = GR_NEW(arena, struct gelu_params);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_string(attrs, "approximate", "none", &how, err));
    p->tanh = !strcmp(how, "tanh");
    if (!p->tanh && strcmp(how, "none"))
        return gr_fail(err, GR_EMODEL, "attribute 'approximate' is '%s', expected none or tanh", gr_show(how));
    *params = p;
    return GR_OK;
}
static gr_status gelu_simd(const gr_step *s, gr_err *err)
{
    (void)err;
    bool tanh = GR_PARAMS(struct gelu_params, s)->tanh;
    return gr_simd_unary_run(s, gr_simd_best()->unary[tanh ? GR_V_GELU_TANH : GR_V_GELU_ERF], 8);
}
static gr_status gelu_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    return gr_unary_run(s, &gelu_rows[GR_PARAMS(struct gelu_params, s)->tanh], NULL);
}
static const gr_kernel gelu_kernels[] = {{"simd", gr_float_only, gelu_simd, NULL}, {"ref", NULL, gelu_ref, NULL}, {0}};

/* ---- Inference ---- */
static gr_status infer_floats(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 1, GR_T_FLOATS, err));
    return gr_set_like(c, 0, 0);
}
static gr_status infer_relu(const gr_infer *c, gr_err *err)
{
    uint64_t ints = c->op->since >= 14 ? GR_T(INT8) | GR_T(INT16) | GR_T(INT32) | GR_T(INT64) : 0;
    GR_TRY(gr_need(c, 1, GR_T_FLOATS | ints, err));
    return gr_set_like(c, 0, 0);
}
static gr_status infer_shrink(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 1, GR_T_NUMBERS, err));
    return gr_set_like(c, 0, 0);
}

/* ---- In other operators ---- */
static gr_status spell_gelu(gr_spell *s)
{
    const char *how;
    GR_TRY(gr_attr_string(s->node->attrs, "approximate", "none", &how, s->err));
    gr_spell_begin(s, "x", "y");
    gr_spell_activation(s, "y", strcmp(how, "tanh") ? "gelu" : "gelu_tanh", "x", gr_spell_dtype(s, 0));
    return GR_OK;
}

static gr_status spell_swish(gr_spell *s)
{
    float alpha;
    GR_TRY(gr_attr_float(s->node->attrs, "alpha", 1, &alpha, s->err));
    gr_spell_begin(s, "x", "y");
    gr_spell_float(s, "alpha", gr_spell_dtype(s, 0), (double)alpha);
    gr_spell_node(s, "scaled = Mul (x, alpha)");
    gr_spell_node(s, "sigmoid = Sigmoid (scaled)");
    gr_spell_node(s, "y = Mul (x, sigmoid)");
    return GR_OK;
}

/* clang-format off */
#define ROW(name_, since_, what, parse_, infer_)                                                                       \
    {.name = name_, .since = since_, .in = {1, 1}, .out = 1, .flags = GR_OP_INPLACE, .parse = parse_,                  \
     .infer = infer_, .kernels = what##_kernels}
#define FLOAT_ROW(name, since, what, parse) ROW(name, since, what, parse, infer_floats)

const gr_op op_activation[] = {
    ROW("Relu", 1, relu, NULL, infer_relu), ROW("Relu", 6, relu, NULL, infer_relu),
    ROW("Relu", 13, relu, NULL, infer_relu), ROW("Relu", 14, relu, NULL, infer_relu),
    FLOAT_ROW("LeakyRelu", 1, leaky_relu, parse_leaky), FLOAT_ROW("LeakyRelu", 6, leaky_relu, parse_leaky),
    FLOAT_ROW("LeakyRelu", 16, leaky_relu, parse_leaky),
    FLOAT_ROW("ThresholdedRelu", 10, thresholded_relu, parse_alpha),
    FLOAT_ROW("ThresholdedRelu", 22, thresholded_relu, parse_alpha),
    FLOAT_ROW("Sigmoid", 1, sigmoid, NULL), FLOAT_ROW("Sigmoid", 6, sigmoid, NULL),
    FLOAT_ROW("Sigmoid", 13, sigmoid, NULL),
    FLOAT_ROW("Tanh", 1, tanh, NULL), FLOAT_ROW("Tanh", 6, tanh, NULL), FLOAT_ROW("Tanh", 13, tanh, NULL),
    FLOAT_ROW("HardSigmoid", 1, hard_sigmoid, parse_hard_sigmoid),
    FLOAT_ROW("HardSigmoid", 6, hard_sigmoid, parse_hard_sigmoid),
    FLOAT_ROW("HardSigmoid", 22, hard_sigmoid, parse_hard_sigmoid),
    FLOAT_ROW("HardSwish", 14, hard_swish, NULL), FLOAT_ROW("HardSwish", 22, hard_swish, NULL),
    FLOAT_ROW("Softplus", 1, softplus, NULL), FLOAT_ROW("Softplus", 22, softplus, NULL),
    FLOAT_ROW("Softsign", 1, softsign, NULL), FLOAT_ROW("Softsign", 22, softsign, NULL),
    FLOAT_ROW("Elu", 1, elu, parse_alpha), FLOAT_ROW("Elu", 6, elu, parse_alpha), FLOAT_ROW("Elu", 22, elu, parse_alpha),
    FLOAT_ROW("Selu", 1, selu, parse_selu_1), FLOAT_ROW("Selu", 6, selu, parse_selu),
    FLOAT_ROW("Selu", 22, selu, parse_selu),
    FLOAT_ROW("Celu", 12, celu, parse_alpha), FLOAT_ROW("Celu", 28, celu, parse_alpha),
    {.name = "Gelu", .since = 20, .in = {1, 1}, .out = 1, .flags = GR_OP_INPLACE, .parse = parse_gelu,
     .infer = infer_floats, .kernels = gelu_kernels, .function = spell_gelu},
    /* The same for graphs of older opsets, in which passes find it. */
    {.name = "Gelu", .since = 1, .in = {1, 1}, .out = 1, .flags = GR_OP_INPLACE, .parse = parse_gelu,
     .infer = infer_floats, .kernels = gelu_kernels, .function = spell_gelu, .domain = "graphrun"},
    {.name = "Swish", .since = 1, .in = {1, 1}, .out = 1, .flags = GR_OP_INPLACE, .parse = parse_alpha,
     .infer = infer_floats, .kernels = swish_kernels, .function = spell_swish, .domain = "graphrun"},
    FLOAT_ROW("Mish", 18, mish, NULL), FLOAT_ROW("Mish", 22, mish, NULL),
    {.name = "Swish", .since = 24, .in = {1, 1}, .out = 1, .flags = GR_OP_INPLACE, .parse = parse_alpha,
     .infer = infer_floats, .kernels = swish_kernels, .function = spell_swish},
    ROW("Shrink", 9, shrink, parse_shrink, infer_shrink),
    {0}};
/* clang-format on */
