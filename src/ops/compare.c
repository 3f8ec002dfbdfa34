/* SPDX-License-Identifier: Apache-2.0
 *
 * Comparisons, logic on bools, bitwise logic on integers, and tests for NaN and infinity. A byte of a bool tensor is
 * true if it is not 0; results are 0 or 1. Comparisons with NaN are false.
 */
#include "elementwise.h"
#include "minifloat.h"

typedef struct job {
    gr_dtype dtype;
    const void *a, *b;
    void *y;
    bool positive, negative; /* IsInf */
} job;

static gr_status run_pair(const gr_step *s, gr_loop_fn span)
{
    gr_tensor b = gr_legacy_view(s->params, s->in[0], s->in[1]);
    job j = {.dtype = s->in[0]->dtype, .a = s->in[0]->data, .b = b.data, .y = s->out[0]->data};
    gr_loop l = gr_loop_make(2, (const gr_tensor *[]){s->in[0], &b}, s->out[0]->rank, s->out[0]->dims);
    gr_loop_run(&l, 1, span, &j);
    return GR_OK;
}

static gr_status run_one(const gr_step *s, gr_loop_fn span, job j)
{
    j.dtype = s->in[0]->dtype;
    j.a = s->in[0]->data;
    j.y = s->out[0]->data;
    gr_loop l = {.rank = 1, .total = s->in[0]->elements, .dims = {s->in[0]->elements}};
    gr_loop_run(&l, 1, span, &j);
    return GR_OK;
}

/* ---- Spans over pairs ---- */

/* y = value of p, q for i < n; strides are 0 or 1, and each case has its own loop so that compilers vectorise it. */
#define LOOP(T, sa, sb, ...)                                                                                           \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
        GR_COMPUTE(T) p = GR_GET(a[i * (sa)]), q = GR_GET(b[i * (sb)]);                                                \
        y[i] = __VA_ARGS__;                                                                                            \
    }
#define BY_STRIDE(T, ...)                                                                                              \
    if (gr_loop_step(l, 0) && gr_loop_step(l, 1))                                                                      \
        LOOP(T, 1, 1, __VA_ARGS__)                                                                                     \
    else if (gr_loop_step(l, 0))                                                                                       \
        LOOP(T, 1, 0, __VA_ARGS__)                                                                                     \
    else                                                                                                               \
        LOOP(T, 0, gr_loop_step(l, 1), __VA_ARGS__)
#define SPAN_BEGIN(name)                                                                                               \
    static void name(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)                          \
    {                                                                                                                  \
        const job *j = user;
#define OPERANDS(T, Y)                                                                                                 \
    const T *a = (const T *)j->a + off[0], *b = (const T *)j->b + off[1];                                              \
    Y *y = (Y *)j->y + at;
#define COMPARE(name, ...)                                                                                             \
    SPAN_BEGIN(name##_span)                                                                                            \
    GR_DISPATCH_NUMBERS(j->dtype, T, {OPERANDS(T, uint8_t) BY_STRIDE(T, __VA_ARGS__)})                                 \
    }                                                                                                                  \
    KERNEL(name)
#define KERNEL(name)                                                                                                   \
    static gr_status name##_ref(const gr_step *s, gr_err *err) { return (void)err, run_pair(s, name##_span); }         \
    static const gr_kernel name##_kernels[] = {{"ref", NULL, name##_ref, NULL}, {0}};

/* clang-format off */
COMPARE(less, p < q)
COMPARE(greater, p > q)
COMPARE(less_equal, p <= q)
COMPARE(greater_equal, p >= q)

#define LOGIC(name, ...)                                                                                               \
    SPAN_BEGIN(name##_span)                                                                                            \
    OPERANDS(uint8_t, uint8_t)                                                                                         \
    BY_STRIDE(uint8_t, __VA_ARGS__)                                                                                    \
    }                                                                                                                  \
    KERNEL(name)
LOGIC(and, (p != 0) & (q != 0))
LOGIC(or, (p | q) != 0)
LOGIC(xor, (p != 0) ^ (q != 0))

SPAN_BEGIN(equal_span)
    if (j->dtype == GR_BOOL) {
        OPERANDS(uint8_t, uint8_t)
        BY_STRIDE(uint8_t, (p != 0) == (q != 0))
        return;
    }
    GR_DISPATCH_NUMBERS(j->dtype, T, { OPERANDS(T, uint8_t) BY_STRIDE(T, p == q) })
}
KERNEL(equal)

/* Signs do not matter to bits. */
#define BITWISE(name, op)                                                                                              \
    SPAN_BEGIN(name##_span)                                                                                            \
    GR_DISPATCH_INTS(j->dtype, T, { OPERANDS(T, T) BY_STRIDE(T, (T)(p op q)) })                                        \
    }                                                                                                                  \
    KERNEL(name)
BITWISE(bit_and, &)
BITWISE(bit_or, |)
BITWISE(bit_xor, ^)
/* clang-format on */

/* ---- Spans over one input ---- */

static void not_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const job *j = user;
    (void)l, (void)off;
    for (int64_t i = at; i < at + n; i++) ((uint8_t *)j->y)[i] = !((const uint8_t *)j->a)[i];
}
static gr_status not_ref(const gr_step *s, gr_err *err) { return (void)err, run_one(s, not_span, (job){0}); }
static const gr_kernel not_kernels[] = {{"ref", NULL, not_ref, NULL}, {0}};

static void bit_not_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const job *j = user;
    (void)l, (void)off;
    GR_DISPATCH_INTS(j->dtype, T, {
        const T *a = j->a;
        T *y = j->y;
        for (int64_t i = at; i < at + n; i++) y[i] = (T)~a[i];
    })
}
static gr_status bit_not_ref(const gr_step *s, gr_err *err) { return (void)err, run_one(s, bit_not_span, (job){0}); }
static const gr_kernel bit_not_kernels[] = {{"ref", NULL, bit_not_ref, NULL}, {0}};

#define GR_T_FLOAT8 (GR_T(FLOAT8E4M3FN) | GR_T(FLOAT8E4M3FNUZ) | GR_T(FLOAT8E5M2) | GR_T(FLOAT8E5M2FNUZ))

/* y[i] = test of the double v, for every float type. */
#define TEST_SPAN(name, ...)                                                                                           \
    static void name(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)                          \
    {                                                                                                                  \
        const job *j = user;                                                                                           \
        uint8_t *y = j->y;                                                                                             \
        (void)l, (void)off;                                                                                            \
        if (GR_T_FLOAT8 >> j->dtype & 1) {                                                                             \
            const gr_minifloat *f = gr_minifloat_find(j->dtype);                                                       \
            for (int64_t i = at; i < at + n; i++) {                                                                    \
                float v = gr_minifloat_decode(f, ((const uint8_t *)j->a)[i]);                                          \
                y[i] = __VA_ARGS__;                                                                                    \
            }                                                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
        GR_DISPATCH_FLOATS(j->dtype, T, {                                                                              \
            const T *a = j->a;                                                                                         \
            for (int64_t i = at; i < at + n; i++) {                                                                    \
                GR_COMPUTE(T) v = GR_GET(a[i]);                                                                        \
                y[i] = __VA_ARGS__;                                                                                    \
            }                                                                                                          \
        })                                                                                                             \
    }
TEST_SPAN(is_nan_span, v != v)

static gr_status is_nan_ref(const gr_step *s, gr_err *err) { return (void)err, run_one(s, is_nan_span, (job){0}); }
static const gr_kernel is_nan_kernels[] = {{"ref", NULL, is_nan_ref, NULL}, {0}};

struct inf_params {
    bool positive, negative;
};
TEST_SPAN(is_inf_span, (v == INFINITY && j->positive) || (v == -INFINITY && j->negative))
static gr_status is_inf_ref(const gr_step *s, gr_err *err)
{
    const struct inf_params *p = s->params;
    return (void)err, run_one(s, is_inf_span, (job){.positive = p->positive, .negative = p->negative});
}
static const gr_kernel is_inf_kernels[] = {{"ref", NULL, is_inf_ref, NULL}, {0}};

static gr_status parse_inf(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    struct inf_params *p = GR_NEW(arena, struct inf_params);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_bool(attrs, "detect_positive", true, &p->positive, err));
    GR_TRY(gr_attr_bool(attrs, "detect_negative", true, &p->negative, err));
    *params = p;
    return GR_OK;
}

/* ---- Inference ---- */
static gr_status infer_equal(const gr_infer *c, gr_err *err) { return gr_infer_binary(c, GR_T_ALL, GR_BOOL, err); }
static gr_status infer_order(const gr_infer *c, gr_err *err) { return gr_infer_binary(c, GR_T_NUMBERS, GR_BOOL, err); }
static gr_status infer_logic(const gr_infer *c, gr_err *err) { return gr_infer_binary(c, GR_T(BOOL), GR_BOOL, err); }
static gr_status infer_bits(const gr_infer *c, gr_err *err) { return gr_infer_binary(c, GR_T_INTS, GR_UNDEFINED, err); }
static gr_status infer_not(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 1, GR_T(BOOL), err));
    return gr_set_like_as(c, 0, 0, GR_BOOL);
}
static gr_status infer_bit_not(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 1, GR_T_INTS, err));
    return gr_set_like(c, 0, 0);
}
static gr_status infer_test(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 1, GR_T_FLOATS | (c->op->since >= 20 ? GR_T_FLOAT8 : 0), err));
    return gr_set_like_as(c, 0, 0, GR_BOOL);
}

/* ---- Symbolic: bools are 0 or 1 ---- */
#define SYMBOLIC(name, ...)                                                                                            \
    static gr_dim sym_##name(gr_syms *s, const gr_dim *a, int n, const void *params)                                   \
    {                                                                                                                  \
        (void)n, (void)params;                                                                                         \
        return __VA_ARGS__;                                                                                            \
    }
/* clang-format off */
SYMBOLIC(equal, gr_sym_eq(s, a[0], a[1]))
SYMBOLIC(less, gr_sym_lt(s, a[0], a[1]))
SYMBOLIC(greater, gr_sym_lt(s, a[1], a[0]))
SYMBOLIC(less_equal, gr_sym_not(s, gr_sym_lt(s, a[1], a[0])))
SYMBOLIC(greater_equal, gr_sym_not(s, gr_sym_lt(s, a[0], a[1])))
SYMBOLIC(not, gr_sym_not(s, a[0]))
/* clang-format on */

static gr_dim sym_and(gr_syms *s, const gr_dim *a, int n, const void *params)
{
    (void)n, (void)params;
    if (gr_dim_known(a[0])) return a[0].k ? a[1] : GR_DIM(0);
    if (gr_dim_known(a[1])) return a[1].k ? a[0] : GR_DIM(0);
    return gr_sym_mul(s, a[0], a[1]);
}
static gr_dim sym_or(gr_syms *s, const gr_dim *a, int n, const void *params)
{
    (void)n, (void)params;
    if (gr_dim_known(a[0])) return a[0].k ? GR_DIM(1) : a[1];
    if (gr_dim_known(a[1])) return a[1].k ? GR_DIM(1) : a[0];
    return gr_sym_max(s, a[0], a[1]);
}

/* ---- Rows: the results of comparisons are smaller than their inputs, so they never share memory ---- */
/* clang-format off */
#define OLD(name_, since_, infer_, what)                                                                               \
    {.name = name_, .since = since_, .in = {2, 2}, .out = 1, .parse = gr_legacy_parse, .infer = infer_,                \
     .kernels = what##_kernels}
#define PAIR(name_, since_, flags_, infer_, sym, what)                                                                 \
    {.name = name_, .since = since_, .in = {2, 2}, .out = 1, .flags = flags_, .infer = infer_, .symbolic = sym,        \
     .kernels = what##_kernels}
#define ORDER(name, what)                                                                                              \
    OLD(name, 1, infer_order, what), PAIR(name, 7, 0, infer_order, sym_##what, what),                                  \
        PAIR(name, 9, 0, infer_order, sym_##what, what), PAIR(name, 13, 0, infer_order, sym_##what, what)
#define ORDER_OR_EQUAL(name, what)                                                                                     \
    PAIR(name, 12, 0, infer_order, sym_##what, what), PAIR(name, 16, 0, infer_order, sym_##what, what)
#define LOGICAL(name, sym, what)                                                                                       \
    OLD(name, 1, infer_logic, what), PAIR(name, 7, GR_OP_INPLACE | GR_OP_COMMUTES, infer_logic, sym, what)
#define EQUAL(since) PAIR("Equal", since, GR_OP_COMMUTES, infer_equal, sym_equal, equal)
#define BITS(name, what) PAIR(name, 18, GR_OP_INPLACE | GR_OP_COMMUTES, infer_bits, NULL, what)
#define TEST(name_, since_, parse_, what)                                                                              \
    {.name = name_, .since = since_, .in = {1, 1}, .out = 1, .parse = parse_, .infer = infer_test,                     \
     .kernels = what##_kernels}

const gr_op op_compare[] = {
    OLD("Equal", 1, infer_equal, equal), EQUAL(7), EQUAL(11), EQUAL(13), EQUAL(19),
    ORDER("Less", less),
    ORDER("Greater", greater),
    ORDER_OR_EQUAL("LessOrEqual", less_equal),
    ORDER_OR_EQUAL("GreaterOrEqual", greater_equal),
    LOGICAL("And", sym_and, and),
    LOGICAL("Or", sym_or, or),
    LOGICAL("Xor", NULL, xor),
    {.name = "Not", .since = 1, .in = {1, 1}, .out = 1, .flags = GR_OP_INPLACE, .infer = infer_not,
     .symbolic = sym_not, .kernels = not_kernels},
    BITS("BitwiseAnd", bit_and),
    BITS("BitwiseOr", bit_or),
    BITS("BitwiseXor", bit_xor),
    {.name = "BitwiseNot", .since = 18, .in = {1, 1}, .out = 1, .flags = GR_OP_INPLACE, .infer = infer_bit_not,
     .kernels = bit_not_kernels},
    TEST("IsNaN", 9, NULL, is_nan), TEST("IsNaN", 13, NULL, is_nan), TEST("IsNaN", 20, NULL, is_nan),
    TEST("IsInf", 10, parse_inf, is_inf), TEST("IsInf", 20, parse_inf, is_inf),
    {0}};
/* clang-format on */
