/* SPDX-License-Identifier: Apache-2.0
 *
 * Arithmetic on two or more tensors that broadcast together. Integers wrap; dividing an integer by zero is an error of
 * the input; the least integer divided by -1 is itself.
 */
#include "elementwise.h"
#include "simd/simd.h"

/* ---- Rows: x and z are the operands ---- */
#define FLOAT_ROWS(name, ...) GR_ROW2(name##_f32, float, __VA_ARGS__) GR_ROW2(name##_f64, double, __VA_ARGS__)
#define INT_ROWS(name, ...)                                                                                            \
    GR_ROW2(name##_u64, uint64_t, __VA_ARGS__)                                                                         \
    static void name##_i64(int64_t n, const int64_t *a, const int64_t *b, int64_t *y)                                  \
    {                                                                                                                  \
        name##_u64(n, (const uint64_t *)a, (const uint64_t *)b, (uint64_t *)y);                                        \
    }
#define TABLE(name) static const gr_rows2 name##_rows = {name##_f32, name##_f64, name##_i64, name##_u64};

/* clang-format off */
FLOAT_ROWS(add, x + z) INT_ROWS(add, x + z) TABLE(add)
FLOAT_ROWS(sub, x - z) INT_ROWS(sub, x - z) TABLE(sub)
FLOAT_ROWS(mul, x * z) INT_ROWS(mul, x * z) TABLE(mul)

/* Divisors are checked before, so z != 0 for integers. */
FLOAT_ROWS(div, x / z)
GR_ROW2(div_i64, int64_t, z == -1 ? (int64_t)(0 - (uint64_t)x) : x / z)
GR_ROW2(div_u64, uint64_t, x / z)
TABLE(div)

/* NaN wins over every number. */
FLOAT_ROWS(min, x < z || x != x ? x : z)
GR_ROW2(min_i64, int64_t, x < z ? x : z)
GR_ROW2(min_u64, uint64_t, x < z ? x : z)
TABLE(min)
FLOAT_ROWS(max, x > z || x != x ? x : z)
GR_ROW2(max_i64, int64_t, x > z ? x : z)
GR_ROW2(max_u64, uint64_t, x > z ? x : z)
TABLE(max)

static double floor_mod(double x, double z)
{
    double m = fmod(x, z);
    if (m == 0) return copysign(0, z);
    return (m < 0) != (z < 0) ? m + z : m;
}
static int64_t floor_mod_int(int64_t x, int64_t z)
{
    int64_t m = z == -1 ? 0 : x % z;
    return m && (m < 0) != (z < 0) ? m + z : m;
}
/* fmod = 0: x - floor(x / z) * z */
FLOAT_ROWS(mod, (__typeof__(x))floor_mod(x, z))
GR_ROW2(mod_i64, int64_t, floor_mod_int(x, z))
GR_ROW2(mod_u64, uint64_t, x % z)
TABLE(mod)
/* fmod = 1: x - trunc(x / z) * z */
FLOAT_ROWS(fmod, (__typeof__(x))fmod(x, z))
GR_ROW2(fmod_i64, int64_t, z == -1 ? 0 : x % z)
#define fmod_u64 mod_u64
TABLE(fmod)

FLOAT_ROWS(prelu, x < 0 ? x * z : x)
GR_ROW2(prelu_i64, int64_t, x < 0 ? (int64_t)((uint64_t)x * (uint64_t)z) : x)
static void prelu_u64(int64_t n, const uint64_t *x, const uint64_t *slope, uint64_t *y)
{
    (void)slope;
    memcpy(y, x, (size_t)n * sizeof *y);
}
TABLE(prelu)

/* Values are sign- or zero-extended to 64 bits, so only counts from 64 on and negative ones need care. */
GR_ROW2(left_u64, uint64_t, z < 64 ? x << z : 0)
GR_ROW2(left_i64, int64_t, z >= 0 && z < 64 ? (int64_t)((uint64_t)x << z) : 0)
GR_ROW2(right_u64, uint64_t, z < 64 ? x >> z : 0)
GR_ROW2(right_i64, int64_t, x >> (z >= 0 && z < 64 ? z : 63))
static const gr_rows2 left_rows = {.i64 = left_i64, .u64 = left_u64};
static const gr_rows2 right_rows = {.i64 = right_i64, .u64 = right_u64};
/* clang-format on */

/* ---- The reference loop ---- */
typedef struct job {
    const gr_rows2 *rows;
    gr_dtype dtype;
    const void *a, *b;
    void *y;
    bool divides; /* integer divisors must not be zero */
    int zero;     /* one was */
} job;

#define SPANS(C, suffix, check)                                                                                        \
    for (int64_t i = 0; i < n; i += GR_SPAN) {                                                                         \
        C a[GR_SPAN], b[GR_SPAN], y[GR_SPAN];                                                                          \
        int64_t m = n - i < GR_SPAN ? n - i : GR_SPAN;                                                                 \
        gr_load_##suffix(j->dtype, m, j->a, off[0] + i * sa, sa, a);                                                   \
        gr_load_##suffix(j->dtype, m, j->b, off[1] + i * sb, sb, b);                                                   \
        check j->rows->suffix(m, a, b, y);                                                                             \
        gr_store_##suffix(j->dtype, m, y, j->y, at + i);                                                               \
    }
#define CHECK_ZERO                                                                                                     \
    for (int64_t k = 0; j->divides && k < m; k++)                                                                      \
        if (!b[k]) {                                                                                                   \
            __atomic_store_n(&j->zero, 1, __ATOMIC_RELAXED);                                                           \
            return;                                                                                                    \
        }

static void span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    job *j = user;
    int64_t sa = gr_loop_step(l, 0), sb = gr_loop_step(l, 1);
    switch (gr_class_of(j->dtype)) {
    case GR_CLASS_F32: SPANS(float, f32, ) break;
    case GR_CLASS_F64: SPANS(double, f64, ) break;
    case GR_CLASS_I64: SPANS(int64_t, i64, CHECK_ZERO) break;
    case GR_CLASS_U64: SPANS(uint64_t, u64, CHECK_ZERO) break;
    }
}

static gr_status run_pair(const gr_rows2 *rows, const gr_tensor *a, const gr_tensor *b, gr_tensor *y, bool divides,
                          gr_err *err)
{
    job j = {rows, y->dtype, a->data, b->data, y->data, divides, 0};
    gr_loop l = gr_loop_make(2, (const gr_tensor *[]){a, b}, y->rank, y->dims);
    gr_loop_run(&l, 1, span, &j);
    return j.zero ? gr_fail(err, GR_EINPUT, "an integer is divided by zero") : GR_OK;
}

static gr_status run_ref(const gr_step *s, const gr_rows2 *rows, bool divides, gr_err *err)
{
    gr_tensor b = gr_legacy_view(s->params, s->in[0], s->in[1]);
    return run_pair(rows, s->in[0], &b, s->out[0], divides, err);
}

/* ---- float32 ---- */
typedef struct simd_job {
    enum gr_simd_binary op;
    const float *a, *b;
    float *y;
} simd_job;

static void simd_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const simd_job *j = user;
    const gr_simd *v = gr_simd_best();
    const float *a = j->a + off[0], *b = j->b + off[1];
    if (!gr_loop_step(l, 0) && !gr_loop_step(l, 1)) { /* of many operands the first two may both be repeated */
        v->binary[j->op](1, a, b, j->y + at);
        for (int64_t i = 1; i < n; i++) j->y[at + i] = j->y[at];
        return;
    }
    if (gr_loop_step(l, 0) == gr_loop_step(l, 1))
        v->binary[j->op]((size_t)n, a, b, j->y + at);
    else if (gr_loop_step(l, 0))
        v->binary_scalar[j->op]((size_t)n, a, *b, j->y + at);
    else
        v->scalar_binary[j->op]((size_t)n, *a, b, j->y + at);
}

static gr_status run_simd_pair(enum gr_simd_binary op, const gr_tensor *a, const gr_tensor *b, gr_tensor *y)
{
    simd_job j = {op, a->data, b->data, y->data};
    gr_loop l = gr_loop_make(2, (const gr_tensor *[]){a, b}, y->rank, y->dims);
    gr_loop_run(&l, 1, simd_span, &j);
    return GR_OK;
}

static gr_status run_simd(const gr_step *s, enum gr_simd_binary op)
{
    gr_tensor b = gr_legacy_view(s->params, s->in[0], s->in[1]);
    return run_simd_pair(op, s->in[0], &b, s->out[0]);
}

#define ARITHMETIC(name, op, divides)                                                                                  \
    static gr_status name##_ref(const gr_step *s, gr_err *err) { return run_ref(s, &name##_rows, divides, err); }      \
    static gr_status name##_simd(const gr_step *s, gr_err *err) { return (void)err, run_simd(s, op); }                 \
    static const gr_kernel name##_kernels[] = {                                                                        \
        {"simd", gr_float_only, name##_simd, NULL}, {"ref", NULL, name##_ref, NULL}, {0}};
/* clang-format off */
ARITHMETIC(add, GR_V_ADD, false)
ARITHMETIC(sub, GR_V_SUB, false)
ARITHMETIC(mul, GR_V_MUL, false)
ARITHMETIC(div, GR_V_DIV, true)
/* clang-format on */

static gr_status infer(const gr_infer *c, gr_err *err) { return gr_infer_binary(c, GR_T_NUMBERS, GR_UNDEFINED, err); }

/* ---- Mod and BitShift: the attribute chooses the rows ---- */
typedef struct choice {
    const gr_rows2 *rows;
    bool floats; /* defined for floats */
    bool trunc;  /* Mod with fmod = 1 */
} choice;

static gr_status parse_mod_kind(gr_attrs attrs, gr_arena *arena, bool floor_floats, const void **params, gr_err *err)
{
    int64_t trunc;
    choice *p = GR_NEW(arena, choice);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_int_in(attrs, "fmod", 0, 0, 1, &trunc, err));
    *p = (choice){trunc ? &fmod_rows : &mod_rows, trunc || floor_floats, trunc};
    *params = p;
    return GR_OK;
}
static gr_status parse_mod_10(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    return parse_mod_kind(attrs, arena, false, params, err);
}
static gr_status parse_mod_28(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    return parse_mod_kind(attrs, arena, true, params, err);
}

static gr_status parse_shift(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    const char *direction;
    choice *p = GR_NEW(arena, choice);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_string(attrs, "direction", "", &direction, err));
    if (!strcmp(direction, "LEFT"))
        p->rows = &left_rows;
    else if (!strcmp(direction, "RIGHT"))
        p->rows = &right_rows;
    else
        return gr_fail(err, GR_EMODEL, "attribute 'direction' is '%s', expected LEFT or RIGHT", gr_show(direction));
    *params = p;
    return GR_OK;
}

static gr_status infer_choice(const gr_infer *c, gr_err *err)
{
    const choice *p = c->params;
    gr_infer plain = *c;
    plain.params = NULL; /* not those of the broadcasting before ONNX 7 */
    return gr_infer_binary(&plain, p->floats ? GR_T_NUMBERS : GR_T_INTS, GR_UNDEFINED, err);
}

static gr_status choice_ref(const gr_step *s, gr_err *err)
{
    const choice *p = s->params;
    bool divides = p->rows == &mod_rows || p->rows == &fmod_rows;
    return run_pair(p->rows, s->in[0], s->in[1], s->out[0], divides, err);
}
static const gr_kernel choice_kernels[] = {{"ref", NULL, choice_ref, NULL}, {0}};

/* ---- Variadic ---- */

static gr_status infer_variadic(const gr_infer *c, uint64_t mask, gr_err *err)
{
    gr_dtype dtype = GR_UNDEFINED;
    GR_TRY(gr_need(c, c->nin, mask, err));
    for (uint32_t i = 0; i < c->nin; i++) {
        GR_TRY(gr_require_same(c, 0, i, err));
        if (c->in[i]->dtype) dtype = c->in[i]->dtype;
    }
    return gr_set_broadcast(c, 0, 0, c->nin - 1, dtype, err);
}
static gr_status infer_floats(const gr_infer *c, gr_err *err) { return infer_variadic(c, GR_T_FLOATS, err); }
static gr_status infer_numbers(const gr_infer *c, gr_err *err) { return infer_variadic(c, GR_T_NUMBERS, err); }

/* y = in0; y = y op in1; y = y op in2; ... so that y must not share memory with an input. */
static gr_status variadic_ref(const gr_step *s, const gr_rows2 *rows, gr_err *err)
{
    gr_tensor *y = s->out[0];
    if (s->nin == 1) memcpy(y->data, s->in[0]->data, y->size);
    for (uint32_t i = 1; i < s->nin; i++) GR_TRY(run_pair(rows, i > 1 ? y : s->in[0], s->in[i], y, false, err));
    return GR_OK;
}
static gr_status variadic_simd(const gr_step *s, enum gr_simd_binary op)
{
    gr_tensor *y = s->out[0];
    if (s->nin == 1) memcpy(y->data, s->in[0]->data, y->size);
    for (uint32_t i = 1; i < s->nin; i++) GR_TRY(run_simd_pair(op, i > 1 ? y : s->in[0], s->in[i], y));
    return GR_OK;
}
#define VARIADIC(name, rows, op)                                                                                       \
    static gr_status name##_ref(const gr_step *s, gr_err *err) { return variadic_ref(s, &rows, err); }                 \
    static gr_status name##_simd(const gr_step *s, gr_err *err) { return (void)err, variadic_simd(s, op); }            \
    static const gr_kernel name##_kernels[] = {                                                                        \
        {"simd", gr_float_only, name##_simd, NULL}, {"ref", NULL, name##_ref, NULL}, {0}};
/* clang-format off */
VARIADIC(min, min_rows, GR_V_MIN)
VARIADIC(max, max_rows, GR_V_MAX)
VARIADIC(sum, add_rows, GR_V_ADD)
/* clang-format on */

/* mean = (in0 + in1 + ...) / n */
static gr_status mean_ref(const gr_step *s, gr_err *err)
{
    GR_TRY(variadic_ref(s, &add_rows, err));
    double n = s->nin;
    GR_DISPATCH_FLOATS(s->out[0]->dtype, T, {
        T *y = s->out[0]->data;
        for (int64_t i = 0; i < s->out[0]->elements; i++)
            GR_PUT(&y[i], (GR_COMPUTE(T))(GR_GET(y[i]) / (GR_COMPUTE(T))n));
    })
    return GR_OK;
}
static const gr_kernel mean_kernels[] = {{"ref", NULL, mean_ref, NULL}, {0}};

/* ---- PRelu: the slope broadcasts to x, never x to the slope; before ONNX 7 it stands at the channel axis ---- */
static gr_status parse_prelu_legacy(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    (void)attrs;
    gr_legacy *p = GR_NEW(arena, gr_legacy);
    if (!p) return gr_nomem(err);
    *p = (gr_legacy){.broadcast = true, .has_axis = true, .axis = 1};
    *params = p;
    return GR_OK;
}

/* The slope of ONNX 1 and 6 as a tensor that aligns from the right: a single one, or one per channel. */
static gr_tensor slope_view(const gr_step *s)
{
    const gr_tensor *x = s->in[0], *slope = s->in[1];
    bool channels = s->params && slope->rank == 1 && x->rank > 1 && slope->dims[0] != 1;
    return channels ? gr_legacy_view(s->params, x, slope) : *slope;
}

static gr_status infer_prelu(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 2, GR_T_NUMBERS, err));
    GR_TRY(gr_require_same(c, 0, 1, err));
    if (gr_rank_known(c, 0) && gr_rank_known(c, 1)) {
        const gr_type *x = c->in[0], *slope = c->in[1];
        bool channels = c->params && slope->rank == 1 && x->rank > 1 && !gr_dim_is(slope->dims[0], 1);
        int at = channels ? 1 : x->rank - slope->rank;
        if (at < 0)
            return gr_fail(err, GR_EMODEL, "the slope of rank %d does not broadcast to an input of rank %d",
                           slope->rank, x->rank);
        for (int i = 0; i < slope->rank; i++) {
            gr_dim a = x->dims[at + i], b = slope->dims[i];
            if (gr_dim_known(a) && gr_dim_known(b) && a.k != b.k && b.k != 1)
                return gr_fail(err, GR_EMODEL, "dimensions %lld and %lld of axis %d do not broadcast", (long long)a.k,
                               (long long)b.k, at + i);
        }
    }
    return gr_set_like(c, 0, 0);
}

static gr_status prelu_ref(const gr_step *s, gr_err *err)
{
    gr_tensor slope = slope_view(s);
    return run_pair(&prelu_rows, s->in[0], &slope, s->out[0], false, err);
}
static const gr_kernel prelu_kernels[] = {{"ref", NULL, prelu_ref, NULL}, {0}};

/* ---- Pow: base and exponent may have different types; the result has the base's ---- */

/* base to the e-th, wrapping. */
static uint64_t int_power(uint64_t base, uint64_t e)
{
    uint64_t y = 1;
    for (; e; e >>= 1, base *= base)
        if (e & 1) y *= base;
    return y;
}
/* Negative exponents give the true value truncated: 0, unless the base is 1 or -1 (and 0, for want of a better). */
static int64_t signed_power(int64_t base, int64_t e)
{
    if (e >= 0) return (int64_t)int_power((uint64_t)base, (uint64_t)e);
    return base == 1 ? 1 : base == -1 ? (e & 1 ? -1 : 1) : 0;
}
static int64_t to_int(double x) { return x >= -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN; }

typedef struct pow_job {
    const gr_tensor *x, *e;
    gr_tensor *y;
} pow_job;

static void pow_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const pow_job *j = user;
    gr_dtype tx = j->x->dtype, te = j->e->dtype;
    int64_t sx = gr_loop_step(l, 0), se = gr_loop_step(l, 1);
    enum { M = GR_SPAN };
    union {
        double f[M];
        int64_t i[M];
    } x, e;
    for (int64_t i = 0; i < n; i += M) {
        int64_t m = n - i < M ? n - i : M, ox = off[0] + i * sx, oe = off[1] + i * se;
        if (gr_dtype_is_int(tx) && gr_dtype_is_int(te)) {
            gr_load_i64(tx, m, j->x->data, ox, sx, x.i);
            gr_load_i64(te, m, j->e->data, oe, se, e.i);
            for (int64_t k = 0; k < m; k++)
                x.i[k] = te == GR_UINT64 ? (int64_t)int_power((uint64_t)x.i[k], (uint64_t)e.i[k])
                                         : signed_power(x.i[k], e.i[k]);
            gr_store_i64(tx, m, x.i, j->y->data, at + i);
            continue;
        }
        gr_load_f64(tx, m, j->x->data, ox, sx, x.f);
        gr_load_f64(te, m, j->e->data, oe, se, e.f);
        for (int64_t k = 0; k < m; k++) x.f[k] = pow(x.f[k], e.f[k]);
        if (gr_dtype_is_float(tx)) {
            gr_store_f64(tx, m, x.f, j->y->data, at + i);
        } else {
            for (int64_t k = 0; k < m; k++) e.i[k] = to_int(x.f[k]);
            gr_store_i64(tx, m, e.i, j->y->data, at + i);
        }
    }
}

static gr_status pow_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    gr_tensor e = gr_legacy_view(s->params, s->in[0], s->in[1]);
    pow_job j = {s->in[0], &e, s->out[0]};
    gr_loop l = gr_loop_make(2, (const gr_tensor *[]){s->in[0], &e}, s->out[0]->rank, s->out[0]->dims);
    gr_loop_run(&l, 32, pow_span, &j);
    return GR_OK;
}

/* One exponent for all of a float32 tensor. */
static bool pow_prepare(gr_step *s, gr_why *why)
{
    if (s->in[0]->dtype != GR_FLOAT) return gr_decline(why, "base of type %s", gr_dtype_name(s->in[0]->dtype));
    if (s->in[1]->elements != 1) return gr_decline(why, "more than one exponent");
    return true;
}

static void square(size_t n, const float *x, float *y) { gr_simd_best()->binary[GR_V_MUL](n, x, x, y); }
static void cube(size_t n, const float *x, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] = x[i] * x[i] * x[i];
}
/* As pow does it: pow(-0, 0.5) is +0 and pow(-inf, 0.5) is inf, where sqrt says -0 and NaN. */
static void root(size_t n, const float *x, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] = x[i] == -INFINITY ? INFINITY : sqrtf(x[i]) + 0.0f;
}
static void same(size_t n, const float *x, float *y) { memmove(y, x, n * sizeof *y); }

static gr_status pow_fast(const gr_step *s, gr_err *err)
{
    double e = 0;
    gr_load_f64(s->in[1]->dtype, 1, s->in[1]->data, 0, 0, &e);
    gr_simd_row row = e == 2 ? square : e == 3 ? cube : e == 0.5 ? root : e == 1 ? same : NULL;
    return row ? gr_simd_unary_run(s, row, 1) : pow_ref(s, err);
}
static const gr_kernel pow_kernels[] = {{"simd", pow_prepare, pow_fast, NULL}, {"ref", NULL, pow_ref, NULL}, {0}};

static gr_status infer_pow(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 2, GR_T_NUMBERS, err));
    GR_TRY(gr_require(c, 0, GR_T_FLOATS | GR_T(INT32) | GR_T(INT64), err));
    if (c->op->since < 12) GR_TRY(gr_require_same(c, 0, 1, err));
    gr_dtype dtype = c->in[0]->dtype;
    return c->params ? gr_legacy_infer(c, dtype, err) : gr_set_broadcast(c, 0, 0, 1, dtype, err);
}

/* ---- Symbolic ---- */
#define SYMBOLIC(name)                                                                                                 \
    static gr_dim sym_##name(gr_syms *s, const gr_dim *a, int n, const void *params)                                   \
    {                                                                                                                  \
        (void)n, (void)params;                                                                                         \
        return gr_sym_##name(s, a[0], a[1]);                                                                           \
    }
/* clang-format off */
SYMBOLIC(add)
SYMBOLIC(sub)
SYMBOLIC(mul)
SYMBOLIC(div)
/* clang-format on */

static gr_dim sym_mod(gr_syms *s, const gr_dim *a, int n, const void *params)
{
    (void)n;
    const choice *p = params;
    if (p->trunc && gr_dim_known(a[0]) && gr_dim_known(a[1]) && a[1].k)
        return GR_DIM(a[1].k == -1 ? 0 : a[0].k % a[1].k);
    bool alike = gr_sym_lower(a[0]) >= 0 && gr_sym_lower(a[1]) > 0; /* both roundings agree */
    return p->trunc && !alike ? gr_sym_fresh(s) : gr_sym_mod(s, a[0], a[1]);
}
static gr_dim sym_min(gr_syms *s, const gr_dim *a, int n, const void *p)
{
    (void)p;
    gr_dim y = a[0];
    for (int i = 1; i < n; i++) y = gr_sym_min(s, y, a[i]);
    return y;
}
static gr_dim sym_max(gr_syms *s, const gr_dim *a, int n, const void *p)
{
    (void)p;
    gr_dim y = a[0];
    for (int i = 1; i < n; i++) y = gr_sym_max(s, y, a[i]);
    return y;
}

/* ---- Rows ---- */
/* clang-format off */
#define OLD(name_, since_, what, extra)                                                                                \
    {.name = name_, .since = since_, .in = {2, 2}, .out = 1, .flags = GR_OP_INPLACE | (extra),                         \
     .parse = gr_legacy_parse, .infer = infer, .kernels = what##_kernels}
#define NEW(name_, since_, what, extra)                                                                                \
    {.name = name_, .since = since_, .in = {2, 2}, .out = 1, .flags = GR_OP_INPLACE | (extra), .infer = infer,         \
     .symbolic = sym_##what, .kernels = what##_kernels}
#define ARITH(name, what, extra)                                                                                       \
    OLD(name, 1, what, 0), OLD(name, 6, what, 0), NEW(name, 7, what, extra), NEW(name, 13, what, extra),               \
        NEW(name, 14, what, extra)
#define POW(since_, flags_, parse_)                                                                                    \
    {.name = "Pow", .since = since_, .in = {2, 2}, .out = 1, .flags = flags_, .parse = parse_, .infer = infer_pow,     \
     .kernels = pow_kernels}
#define MOD(since_, parse_)                                                                                            \
    {.name = "Mod", .since = since_, .in = {2, 2}, .out = 1, .flags = GR_OP_INPLACE, .parse = parse_,                  \
     .infer = infer_choice, .symbolic = sym_mod, .kernels = choice_kernels}
#define SHIFT(since_)                                                                                                  \
    {.name = "BitShift", .since = since_, .in = {2, 2}, .out = 1, .flags = GR_OP_INPLACE, .parse = parse_shift,        \
     .infer = infer_choice, .kernels = choice_kernels}
#define MANY(name_, since_, what, infer_, sym)                                                                         \
    {.name = name_, .since = since_, .in = {1, -1}, .out = 1, .infer = infer_, .symbolic = sym,                        \
     .kernels = what##_kernels}
#define PRELU(since_, parse_)                                                                                          \
    {.name = "PRelu", .since = since_, .in = {2, 2}, .out = 1, .flags = GR_OP_INPLACE, .parse = parse_,                \
     .infer = infer_prelu, .kernels = prelu_kernels}

const gr_op op_binary[] = {
    ARITH("Add", add, GR_OP_COMMUTES),
    ARITH("Sub", sub, 0),
    ARITH("Mul", mul, GR_OP_COMMUTES),
    ARITH("Div", div, 0),
    POW(1, GR_OP_INPLACE, gr_legacy_parse),
    POW(7, GR_OP_INPLACE, NULL),
    POW(12, 0, NULL), /* an exponent of another type could have the output's size in bytes and fewer elements */
    POW(13, 0, NULL),
    POW(15, 0, NULL),
    MOD(10, parse_mod_10),
    MOD(13, parse_mod_10),
    MOD(28, parse_mod_28),
    SHIFT(11),
    SHIFT(28),
    MANY("Min", 1, min, infer_numbers, NULL),
    MANY("Min", 6, min, infer_numbers, NULL),
    MANY("Min", 8, min, infer_numbers, sym_min),
    MANY("Min", 12, min, infer_numbers, sym_min),
    MANY("Min", 13, min, infer_numbers, sym_min),
    MANY("Max", 1, max, infer_numbers, NULL),
    MANY("Max", 6, max, infer_numbers, NULL),
    MANY("Max", 8, max, infer_numbers, sym_max),
    MANY("Max", 12, max, infer_numbers, sym_max),
    MANY("Max", 13, max, infer_numbers, sym_max),
    MANY("Sum", 1, sum, infer_floats, NULL),
    MANY("Sum", 6, sum, infer_floats, NULL),
    MANY("Sum", 8, sum, infer_floats, NULL),
    MANY("Sum", 13, sum, infer_floats, NULL),
    MANY("Mean", 1, mean, infer_floats, NULL),
    MANY("Mean", 6, mean, infer_floats, NULL),
    MANY("Mean", 8, mean, infer_floats, NULL),
    MANY("Mean", 13, mean, infer_floats, NULL),
    PRELU(1, parse_prelu_legacy),
    PRELU(6, parse_prelu_legacy),
    PRELU(7, NULL),
    PRELU(9, NULL),
    PRELU(16, NULL),
    {0}};
/* clang-format on */
