/* SPDX-License-Identifier: Apache-2.0
 *
 * Mathematical functions of one tensor, element by element. Integers wrap: the absolute value of the least one is
 * itself.
 */
#include "elementwise.h"
#include "simd/simd.h"

#include <tgmath.h>

/* ---- Rows: the formula in x, for floats of both widths and, where the schema has them, integers ---- */
#define FLOATS(name, ...)                                                                                              \
    GR_ROW1(name##_f32, float, __VA_ARGS__)                                                                            \
    GR_ROW1(name##_f64, double, __VA_ARGS__)                                                                           \
    static gr_status name##_ref(const gr_step *s, gr_err *err);
#define REF(name, ...)                                                                                                 \
    static const gr_rows1 name##_rows = {__VA_ARGS__};                                                                 \
    static gr_status name##_ref(const gr_step *s, gr_err *err)                                                         \
    {                                                                                                                  \
        return (void)err, gr_unary_run(s, &name##_rows, NULL);                                                         \
    }
#define PLAIN(name, ...)                                                                                               \
    FLOATS(name, __VA_ARGS__)                                                                                          \
    REF(name, .f32 = name##_f32, .f64 = name##_f64)                                                                    \
    static const gr_kernel name##_kernels[] = {{"ref", NULL, name##_ref, NULL}, {0}};
#define INTS(name, signed_formula, unsigned_formula)                                                                   \
    GR_ROW1(name##_i64, int64_t, signed_formula)                                                                       \
    GR_ROW1(name##_u64, uint64_t, unsigned_formula)                                                                    \
    REF(name, name##_f32, name##_f64, name##_i64, name##_u64)
#define SIMD(name, op, cost)                                                                                           \
    static gr_status name##_simd(const gr_step *s, gr_err *err)                                                        \
    {                                                                                                                  \
        return (void)err, gr_simd_unary_run(s, gr_simd_best()->unary[op], cost);                                       \
    }                                                                                                                  \
    static const gr_kernel name##_kernels[] = {                                                                        \
        {"simd", gr_float_only, name##_simd, NULL}, {"ref", NULL, name##_ref, NULL}, {0}};
#define VECTOR(name, op, cost, ...)                                                                                    \
    FLOATS(name, __VA_ARGS__)                                                                                          \
    REF(name, .f32 = name##_f32, .f64 = name##_f64)                                                                    \
    SIMD(name, op, cost)

/* clang-format off */
FLOATS(abs, fabs(x))
INTS(abs, x < 0 ? (int64_t)(0 - (uint64_t)x) : x, x)
SIMD(abs, GR_V_ABS, 1)
FLOATS(neg, -x)
INTS(neg, (int64_t)(0 - (uint64_t)x), 0 - x)
SIMD(neg, GR_V_NEG, 1)
VECTOR(sqrt, GR_V_SQRT, 2, sqrt(x))
VECTOR(reciprocal, GR_V_RECIPROCAL, 2, 1 / x)
VECTOR(exp, GR_V_EXP, 4, exp(x))
VECTOR(log, GR_V_LOG, 4, log(x))
FLOATS(erf, erf(x))
INTS(erf, (int64_t)erf((double)x), (uint64_t)erf((double)x)) /* ONNX 9 has integers here: truncated */
SIMD(erf, GR_V_ERF, 4)
/* The sign of NaN is NaN, as NumPy and ONNX Runtime have it. */
FLOATS(sign, x > 0 ? 1 : x < 0 ? -1 : x != x ? x : 0)
INTS(sign, (x > 0) - (x < 0), x > 0)
static const gr_kernel sign_kernels[] = {{"ref", NULL, sign_ref, NULL}, {0}};

PLAIN(ceil, ceil(x))
PLAIN(floor, floor(x))
PLAIN(round, rint(x)) /* halves to even */
PLAIN(sin, sin(x))
PLAIN(cos, cos(x))
PLAIN(tan, tan(x))
PLAIN(asin, asin(x))
PLAIN(acos, acos(x))
PLAIN(atan, atan(x))
PLAIN(sinh, sinh(x))
PLAIN(cosh, cosh(x))
PLAIN(asinh, asinh(x))
PLAIN(acosh, acosh(x))
PLAIN(atanh, atanh(x))
/* clang-format on */

/* ---- Inference ---- */
static gr_status infer_floats(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 1, GR_T_FLOATS, err));
    return gr_set_like(c, 0, 0);
}
static gr_status infer_numbers(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 1, GR_T_NUMBERS, err));
    return gr_set_like(c, 0, 0);
}
static gr_status infer_signed(const gr_infer *c, gr_err *err)
{
    uint64_t signed_ints = GR_T(INT8) | GR_T(INT16) | GR_T(INT32) | GR_T(INT64);
    GR_TRY(gr_need(c, 1, GR_T_FLOATS | signed_ints, err));
    return gr_set_like(c, 0, 0);
}

static gr_dim sym_neg(gr_syms *s, const gr_dim *a, int n, const void *p)
{
    return (void)n, (void)p, gr_sym_neg(s, a[0]);
}
static gr_dim sym_abs(gr_syms *s, const gr_dim *a, int n, const void *p)
{
    return (void)n, (void)p, gr_sym_abs(s, a[0]);
}

/* clang-format off */
#define ROW(name_, since_, what, infer_, sym)                                                                          \
    {.name = name_, .since = since_, .in = {1, 1}, .out = 1, .flags = GR_OP_INPLACE, .infer = infer_, .symbolic = sym, \
     .kernels = what##_kernels}
#define SINCE_1(name, what, infer, sym)                                                                                \
    ROW(name, 1, what, infer, sym), ROW(name, 6, what, infer, sym), ROW(name, 13, what, infer, sym)
#define FROM(name, what, first, second)                                                                                \
    ROW(name, first, what, infer_floats, NULL), ROW(name, second, what, infer_floats, NULL)

const gr_op op_unary[] = {
    SINCE_1("Abs", abs, infer_numbers, sym_abs),
    SINCE_1("Neg", neg, infer_signed, sym_neg),
    SINCE_1("Sqrt", sqrt, infer_floats, NULL),
    SINCE_1("Reciprocal", reciprocal, infer_floats, NULL),
    SINCE_1("Exp", exp, infer_floats, NULL),
    SINCE_1("Log", log, infer_floats, NULL),
    SINCE_1("Ceil", ceil, infer_floats, NULL),
    SINCE_1("Floor", floor, infer_floats, NULL),
    FROM("Round", round, 11, 22),
    ROW("Sign", 9, sign, infer_numbers, NULL), ROW("Sign", 13, sign, infer_numbers, NULL),
    ROW("Erf", 9, erf, infer_numbers, NULL), ROW("Erf", 13, erf, infer_floats, NULL),
    FROM("Sin", sin, 7, 22), FROM("Cos", cos, 7, 22), FROM("Tan", tan, 7, 22),
    FROM("Asin", asin, 7, 22), FROM("Acos", acos, 7, 22), FROM("Atan", atan, 7, 22),
    FROM("Sinh", sinh, 9, 22), FROM("Cosh", cosh, 9, 22),
    FROM("Asinh", asinh, 9, 22), FROM("Acosh", acosh, 9, 22), FROM("Atanh", atanh, 9, 22),
    {0}};
/* clang-format on */
