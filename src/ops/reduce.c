/* SPDX-License-Identifier: Apache-2.0
 *
 * Reductions over axes that an attribute (before ONNX 13 or 18) or an input names. Floats are accumulated in double,
 * integers wrap; roots and logarithms of integers are computed in double and truncated. Over an empty set: the neutral
 * element (for Max and Min minus and plus infinity or the type's bounds), and NaN for the mean.
 */
#include "elementwise.h"
#include "simd/simd.h"

struct params {
    bool keepdims, noop, from_input;
    int64_t n; /* of the attribute; -1: absent */
    const int64_t *axes;
};

/* ---- What each operator accumulates: a is the accumulator, v an element, m the greatest one for LogSumExp ---- */
typedef struct reduction {
    double init;
    void (*f64)(double *acc, int64_t n, const double *x, double m);
    void (*i64)(int64_t *acc, int64_t n, const int64_t *x);
    void (*u64)(uint64_t *acc, int64_t n, const uint64_t *x);
    double (*finish)(double acc, double count, double m); /* NULL: the accumulator is the result */
    bool real;                                            /* integers are computed in double */
    bool mean, shifted, max, min;
} reduction;

#define STEP_F64(name, ...)                                                                                            \
    static void name##_f64(double *acc, int64_t n, const double *x, double m)                                          \
    {                                                                                                                  \
        double a = *acc;                                                                                               \
        (void)m;                                                                                                       \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            double v = x[i];                                                                                           \
            a = __VA_ARGS__;                                                                                           \
        }                                                                                                              \
        *acc = a;                                                                                                      \
    }
#define STEP_INT(name, C, ...)                                                                                         \
    static void name(C *acc, int64_t n, const C *x)                                                                    \
    {                                                                                                                  \
        C a = *acc;                                                                                                    \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            C v = x[i];                                                                                                \
            a = __VA_ARGS__;                                                                                           \
        }                                                                                                              \
        *acc = a;                                                                                                      \
    }
/* Wrapping arithmetic is the same for both signs. */
#define STEP_WRAP(name, ...)                                                                                           \
    STEP_INT(name##_u64, uint64_t, __VA_ARGS__)                                                                        \
    static void name##_i64(int64_t *acc, int64_t n, const int64_t *x)                                                  \
    {                                                                                                                  \
        name##_u64((uint64_t *)acc, n, (const uint64_t *)x);                                                           \
    }
/* clang-format off */
STEP_F64(sum, a + v)
STEP_WRAP(sum, a + v)
STEP_F64(prod, a * v)
STEP_WRAP(prod, a * v)
STEP_F64(l1, a + fabs(v))
STEP_INT(l1_i64, int64_t, (int64_t)((uint64_t)a + (v < 0 ? 0 - (uint64_t)v : (uint64_t)v)))
STEP_F64(squares, a + v * v)
STEP_WRAP(squares, a + v * v)
STEP_F64(max, v > a || v != v ? v : a)
STEP_INT(max_i64, int64_t, v > a ? v : a)
STEP_INT(max_u64, uint64_t, v > a ? v : a)
STEP_F64(min, v < a || v != v ? v : a)
STEP_INT(min_i64, int64_t, v < a ? v : a)
STEP_INT(min_u64, uint64_t, v < a ? v : a)
STEP_F64(exps, a + exp(v - m))
/* clang-format on */

static double finish_mean(double a, double count, double m) { return (void)m, a / count; }
static double finish_root(double a, double count, double m) { return (void)count, (void)m, sqrt(a); }
static double finish_log(double a, double count, double m) { return (void)count, log(a) + m; }

/* clang-format off */
static const reduction
    r_sum = {0, sum_f64, sum_i64, sum_u64, .finish = NULL},
    r_mean = {0, sum_f64, sum_i64, sum_u64, .finish = finish_mean, .mean = true},
    r_prod = {1, prod_f64, prod_i64, prod_u64, .finish = NULL},
    r_max = {-INFINITY, max_f64, max_i64, max_u64, .max = true},
    r_min = {INFINITY, min_f64, min_i64, min_u64, .min = true},
    r_l1 = {0, l1_f64, l1_i64, sum_u64, .finish = NULL},
    r_l2 = {0, squares_f64, .finish = finish_root, .real = true},
    r_squares = {0, squares_f64, squares_i64, squares_u64, .finish = NULL},
    r_logsum = {0, sum_f64, .finish = finish_log, .real = true},
    r_logsumexp = {0, exps_f64, .finish = finish_log, .real = true, .shifted = true};
/* clang-format on */

/* ---- Which axes ---- */

static gr_status mark_axis(int64_t axis, int rank, bool *reduced, gr_err *err)
{
    int at;
    GR_TRY(gr_axis(axis, rank, &at, err));
    if (reduced[at]) return gr_fail(err, GR_EMODEL, "axis %d is named twice", at);
    reduced[at] = true;
    return GR_OK;
}

/* No axes are named: all, or with noop_with_empty_axes none. */
static void mark_default(const struct params *p, int rank, bool *reduced)
{
    for (int i = 0; i < rank; i++) reduced[i] = !(p->from_input && p->noop);
}

/* The tensor's dims in runs of reduced and of kept ones, neighbours of a kind merged. */
typedef struct layout {
    gr_loop kept;
    int nreduced;
    int64_t dims[GR_MAX_RANK], stride[GR_MAX_RANK];
    int64_t count; /* elements per output */
} layout;

static void make_layout(layout *l, const gr_tensor *x, const bool *reduced)
{
    int64_t strides[GR_MAX_RANK];
    *l = (layout){.count = 1, .kept = {.nin = 1, .total = 1}};
    gr_dense_strides(x->rank, x->dims, strides);
    for (int i = 0; i < x->rank; i++) {
        int64_t d = x->dims[i];
        int *n = reduced[i] ? &l->nreduced : &l->kept.rank;
        int64_t *dims = reduced[i] ? l->dims : l->kept.dims, *stride = reduced[i] ? l->stride : l->kept.stride[0];
        *(reduced[i] ? &l->count : &l->kept.total) *= d;
        if (d == 1) continue;
        bool merge = *n && stride[*n - 1] == strides[i] * d;
        int at = merge ? *n - 1 : (*n)++;
        dims[at] = merge ? dims[at] * d : d;
        stride[at] = strides[i];
    }
    if (!l->kept.rank) l->kept.dims[l->kept.rank++] = 1;
    if (!l->nreduced) l->dims[l->nreduced++] = 1;
}

static gr_status layout_of(const gr_step *s, layout *l, gr_err *err)
{
    const struct params *p = s->params;
    const gr_tensor *x = s->in[0], *axes = s->nin > 1 ? s->in[1] : NULL;
    bool reduced[GR_MAX_RANK] = {false};
    int64_t n = p->from_input ? (axes ? axes->elements : 0) : p->n;
    if (n <= 0) mark_default(p, x->rank, reduced);
    for (int64_t i = 0; i < n; i++)
        GR_TRY(mark_axis(p->from_input ? ((const int64_t *)axes->data)[i] : p->axes[i], x->rank, reduced, err));
    make_layout(l, x, reduced);
    if (l->kept.total == s->out[0]->elements) return GR_OK;
    return gr_fail(err, GR_EINPUT, "the axes leave %lld elements where %lld were planned", (long long)l->kept.total,
                   (long long)s->out[0]->elements);
}

/* ---- The reference kernel ---- */
typedef struct job {
    const reduction *r;
    const layout *l;
    const gr_tensor *x;
    gr_tensor *y;
} job;

/* Calls `step` on spans of the elements that make the output whose first element is at `base`. */
#define FOR_ELEMENTS(C, suffix, step)                                                                                  \
    do {                                                                                                               \
        const layout *l_ = j->l;                                                                                       \
        int last = l_->nreduced - 1;                                                                                   \
        int64_t index[GR_MAX_RANK] = {0}, at = base, left = l_->count;                                                 \
        while (left) {                                                                                                 \
            for (int64_t i = 0; i < l_->dims[last]; i += GR_SPAN) {                                                    \
                C span[GR_SPAN];                                                                                       \
                int64_t m_ = l_->dims[last] - i < GR_SPAN ? l_->dims[last] - i : GR_SPAN;                              \
                gr_load_##suffix(j->x->dtype, m_, j->x->data, at + i * l_->stride[last], l_->stride[last], span);      \
                step;                                                                                                  \
            }                                                                                                          \
            left -= l_->dims[last];                                                                                    \
            for (int d = last - 1; d >= 0; d--) {                                                                      \
                at += l_->stride[d];                                                                                   \
                if (++index[d] < l_->dims[d]) break;                                                                   \
                at -= index[d] * l_->stride[d];                                                                        \
                index[d] = 0;                                                                                          \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

static double reduce_real(const job *j, int64_t base)
{
    double m = 0, acc = j->r->init;
    if (j->r->shifted) {
        m = -INFINITY;
        FOR_ELEMENTS(double, f64, max_f64(&m, m_, span, 0));
        if (isinf(m)) m = 0;
    }
    FOR_ELEMENTS(double, f64, j->r->f64(&acc, m_, span, m));
    return j->r->finish ? j->r->finish(acc, (double)j->l->count, m) : acc;
}

static int64_t reduce_signed(const job *j, int64_t base)
{
    int64_t top = (int64_t)(UINT64_MAX >> 1 >> (64 - gr_dtype_bits(j->x->dtype)));
    int64_t acc = j->r->max ? -top - 1 : j->r->min ? top : (int64_t)j->r->init;
    FOR_ELEMENTS(int64_t, i64, j->r->i64(&acc, m_, span));
    return j->r->mean ? acc / j->l->count : acc;
}

static uint64_t reduce_unsigned(const job *j, int64_t base)
{
    uint64_t top = UINT64_MAX >> (64 - gr_dtype_bits(j->x->dtype));
    uint64_t acc = j->r->max ? 0 : j->r->min ? top : (uint64_t)j->r->init;
    FOR_ELEMENTS(uint64_t, u64, j->r->u64(&acc, m_, span));
    return j->r->mean ? acc / (uint64_t)j->l->count : acc;
}

static int64_t to_int(double v) { return v >= -0x1p63 && v < 0x1p63 ? (int64_t)v : INT64_MIN; }

static void reduce_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const job *j = user;
    gr_dtype t = j->y->dtype;
    for (int64_t i = 0; i < n; i++) {
        int64_t base = off[0] + i * gr_loop_step(l, 0);
        if (gr_dtype_is_float(t)) {
            double v = reduce_real(j, base);
            gr_store_f64(t, 1, &v, j->y->data, at + i);
        } else if (j->r->real) {
            int64_t v = to_int(reduce_real(j, base));
            gr_store_i64(t, 1, &v, j->y->data, at + i);
        } else if (gr_dtype_is_signed(t)) {
            int64_t v = reduce_signed(j, base);
            gr_store_i64(t, 1, &v, j->y->data, at + i);
        } else {
            uint64_t v = reduce_unsigned(j, base);
            gr_store_u64(t, 1, &v, j->y->data, at + i);
        }
    }
}

static gr_status run_ref(const gr_step *s, const reduction *r, gr_err *err)
{
    layout l;
    GR_TRY(layout_of(s, &l, err));
    if (r->mean && !l.count && l.kept.total && !gr_dtype_is_float(s->in[0]->dtype))
        return gr_fail(err, GR_EINPUT, "the mean of no integers is not defined");
    job j = {r, &l, s->in[0], s->out[0]};
    gr_loop_run(&l.kept, l.count + 1, reduce_span, &j);
    return GR_OK;
}

/* ---- float32, one run of reduced axes: rows, or sums of rows ---- */

static bool simd_prepare(gr_step *s, gr_why *why)
{
    layout l;
    gr_err err;
    if (!gr_float_only(s, why)) return false;
    if (s->nin > 1 && s->in[1] && !s->in[1]->is_const) return gr_decline(why, "axes are not constant");
    if (layout_of(s, &l, &err) != GR_OK) return gr_decline(why, "axes do not fit");
    if (!l.count) return gr_decline(why, "nothing to reduce");
    if (l.nreduced > 1) return gr_decline(why, "reduces %d separate runs of axes", l.nreduced);
    return true;
}

/* Declines also where rows would have to be combined element by element, which the formula has no kernel for. */
static bool simd_prepare_rows(gr_step *s, gr_why *why)
{
    layout l;
    if (!simd_prepare(s, why)) return false;
    layout_of(s, &l, NULL);
    return l.count == 1 || l.stride[0] == 1 ? true : gr_decline(why, "reduced elements are not neighbours");
}

static float reduce_row(const reduction *r, int64_t n, const float *x)
{
    const gr_simd *v = gr_simd_best();
    if (r->max) return v->max((size_t)n, x);
    if (r->f64 == squares_f64) {
        float y = v->dot((size_t)n, x, x);
        return r->finish ? sqrtf(y) : y;
    }
    float y = v->sum((size_t)n, x);
    return r->mean ? y / (float)n : y;
}

enum { COLUMNS = 1024 }; /* of a block of rows that stays in the first cache while rows are added to it */

static void simd_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const job *j = user;
    const gr_simd *v = gr_simd_best();
    const float *x = (const float *)j->x->data + off[0];
    float *y = (float *)j->y->data + at;
    int64_t count = j->l->count, step = gr_loop_step(l, 0);
    if (count == 1 || j->l->stride[0] == 1) {
        for (int64_t i = 0; i < n; i++) y[i] = reduce_row(j->r, count, x + i * step);
        return;
    }
    for (int64_t c = 0; c < n; c += COLUMNS) {
        size_t m = (size_t)(n - c < COLUMNS ? n - c : COLUMNS);
        memcpy(y + c, x + c, m * sizeof *y);
        for (int64_t k = 1; k < count; k++)
            v->binary[j->r->max ? GR_V_MAX : GR_V_ADD](m, y + c, x + c + k * j->l->stride[0], y + c);
        if (j->r->mean) v->binary_scalar[GR_V_DIV](m, y + c, (float)count, y + c);
    }
}

static gr_status run_simd(const gr_step *s, const reduction *r, gr_err *err)
{
    layout l;
    GR_TRY(layout_of(s, &l, err));
    job j = {r, &l, s->in[0], s->out[0]};
    gr_loop_run(&l.kept, l.count, simd_span, &j);
    return GR_OK;
}

#define KERNELS(name)                                                                                                  \
    static gr_status name##_ref(const gr_step *s, gr_err *err) { return run_ref(s, &r_##name, err); }                  \
    static const gr_kernel name##_kernels[] = {{"ref", NULL, name##_ref, NULL}, {0}};
#define SIMD_KERNELS(name, prepare)                                                                                    \
    static gr_status name##_ref(const gr_step *s, gr_err *err) { return run_ref(s, &r_##name, err); }                  \
    static gr_status name##_simd(const gr_step *s, gr_err *err) { return run_simd(s, &r_##name, err); }                \
    static const gr_kernel name##_kernels[] = {                                                                        \
        {"simd", prepare, name##_simd, NULL}, {"ref", NULL, name##_ref, NULL}, {0}};
/* clang-format off */
SIMD_KERNELS(sum, simd_prepare)
SIMD_KERNELS(mean, simd_prepare)
SIMD_KERNELS(max, simd_prepare)
SIMD_KERNELS(squares, simd_prepare_rows)
SIMD_KERNELS(l2, simd_prepare_rows)
KERNELS(min)
KERNELS(prod)
KERNELS(l1)
KERNELS(logsum)
KERNELS(logsumexp)
/* clang-format on */

/* ---- Attributes and inference ---- */
static gr_status parse_common(gr_attrs attrs, gr_arena *arena, struct params **out, gr_err *err)
{
    struct params *p = GR_NEW(arena, struct params);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_bool(attrs, "keepdims", true, &p->keepdims, err));
    GR_TRY(gr_attr_bool(attrs, "noop_with_empty_axes", false, &p->noop, err));
    GR_TRY(gr_attr_ints(attrs, "axes", &p->n, &p->axes, err));
    *out = p;
    return GR_OK;
}
static gr_status parse_attr(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    struct params *p;
    GR_TRY(parse_common(attrs, arena, &p, err));
    *params = p;
    return GR_OK;
}
static gr_status parse_input(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    struct params *p;
    GR_TRY(parse_common(attrs, arena, &p, err));
    p->from_input = true;
    *params = p;
    return GR_OK;
}

/* The axes if they are known; *known = false if they depend on data. */
static gr_status find_axes(const gr_infer *c, bool *reduced, bool *known, gr_err *err)
{
    const struct params *p = c->params;
    int rank = c->in[0]->rank;
    int64_t n = p->n;
    const gr_dim *values = NULL;
    *known = true;
    if (p->from_input) {
        n = 0;
        if (gr_has(c, 1) && !gr_known_ints(c, 1, &n, &values)) {
            const gr_type *t = c->in[1];
            *known = t->rank == 1 && gr_dim_is(t->dims[0], 0);
        }
        for (int64_t i = 0; i < n && values; i++) *known = *known && gr_dim_known(values[i]);
    }
    if (!*known) return GR_OK;
    if (n <= 0) mark_default(p, rank, reduced);
    for (int64_t i = 0; i < n; i++) GR_TRY(mark_axis(values ? values[i].k : p->axes[i], rank, reduced, err));
    return GR_OK;
}

static gr_status set_unknown(const gr_infer *c)
{
    const struct params *p = c->params;
    const gr_type *x = c->in[0], *axes = c->in[1];
    int rank = x->rank;
    if (!p->keepdims) {
        if (axes->rank != 1 || !gr_dim_known(axes->dims[0]) || axes->dims[0].k < 0 || axes->dims[0].k > rank)
            return gr_set(c, 0, x->dtype, GR_RANK_UNKNOWN, NULL);
        rank -= (int)axes->dims[0].k;
    }
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < rank; i++) d[i] = p->keepdims && gr_dim_is(x->dims[i], 1) ? GR_DIM(1) : gr_sym_fresh(c->syms);
    return gr_set(c, 0, x->dtype, rank, d);
}

static gr_status infer_as(const gr_infer *c, gr_dtype dtype, const bool *reduced, bool keepdims)
{
    const gr_type *x = c->in[0];
    gr_dim *d = gr_dims(c, x->rank);
    int rank = 0;
    for (int i = 0; i < x->rank; i++)
        if (!reduced[i])
            d[rank++] = x->dims[i];
        else if (keepdims)
            d[rank++] = GR_DIM(1);
    return gr_set(c, 0, dtype, rank, d);
}

static gr_status infer_types(const gr_infer *c, uint64_t mask, gr_err *err)
{
    const struct params *p = c->params;
    GR_TRY(gr_need(c, 1, mask, err));
    if (p->from_input) GR_TRY(gr_require(c, 1, GR_T(INT64), err));
    if (p->from_input && gr_rank_known(c, 1) && c->in[1]->rank > 1)
        return gr_fail(err, GR_EMODEL, "axes must be a list, not of rank %d", c->in[1]->rank);
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, c->in[0]->dtype, GR_RANK_UNKNOWN, NULL);
    bool reduced[GR_MAX_RANK] = {false}, known;
    GR_TRY(find_axes(c, reduced, &known, err));
    return known ? infer_as(c, c->in[0]->dtype, reduced, p->keepdims) : set_unknown(c);
}
static gr_status infer_numbers(const gr_infer *c, gr_err *err) { return infer_types(c, GR_T_NUMBERS, err); }
static gr_status infer_bounds(const gr_infer *c, gr_err *err)
{
    return infer_types(c, GR_T_NUMBERS | (c->op->since >= 20 ? GR_T(BOOL) : 0), err);
}

/* ---- ArgMax and ArgMin ---- */
struct arg_params {
    int64_t axis;
    bool keepdims, last; /* of equals the last one */
};

static gr_status parse_arg(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    struct arg_params *p = GR_NEW(arena, struct arg_params);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_int(attrs, "axis", 0, &p->axis, err));
    GR_TRY(gr_attr_bool(attrs, "keepdims", true, &p->keepdims, err));
    GR_TRY(gr_attr_bool(attrs, "select_last_index", false, &p->last, err));
    *params = p;
    return GR_OK;
}

static gr_status infer_arg(const gr_infer *c, gr_err *err)
{
    const struct arg_params *p = c->params;
    int axis;
    bool reduced[GR_MAX_RANK] = {false};
    GR_TRY(gr_need(c, 1, GR_T_NUMBERS, err));
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, GR_INT64, GR_RANK_UNKNOWN, NULL);
    GR_TRY(gr_axis(p->axis, c->in[0]->rank, &axis, err));
    reduced[axis] = true;
    return infer_as(c, GR_INT64, reduced, p->keepdims);
}

typedef struct arg_job {
    const gr_tensor *x;
    int64_t *y;
    int64_t count, stride;
    bool last, min;
} arg_job;

/* NaN counts as the greatest, and as the least. */
static void arg_span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const arg_job *j = user;
    GR_DISPATCH_NUMBERS(j->x->dtype, T, {
        for (int64_t i = 0; i < n; i++) {
            const T *x = (const T *)j->x->data + off[0] + i * gr_loop_step(l, 0);
            GR_COMPUTE(T) best = GR_GET(x[0]);
            int64_t where = 0;
            for (int64_t k = 1; k < j->count; k++) {
                GR_COMPUTE(T) v = GR_GET(x[k * j->stride]);
                bool better = (j->min ? v < best : v > best) || (v != v && best == best);
                if (better || (j->last && (v == best || (v != v && best != best)))) {
                    best = v;
                    where = k;
                }
            }
            j->y[at + i] = where;
        }
    })
}

static gr_status run_arg(const gr_step *s, bool min, gr_err *err)
{
    const struct arg_params *p = s->params;
    const gr_tensor *x = s->in[0];
    bool reduced[GR_MAX_RANK] = {false};
    int axis;
    layout l;
    GR_TRY(gr_axis(p->axis, x->rank, &axis, err));
    reduced[axis] = true;
    make_layout(&l, x, reduced);
    if (!l.count && l.kept.total) return gr_fail(err, GR_EINPUT, "axis %d has no elements", axis);
    arg_job j = {x, s->out[0]->data, l.count, l.stride[0], p->last, min};
    gr_loop_run(&l.kept, l.count + 1, arg_span, &j);
    return GR_OK;
}
static gr_status argmax_ref(const gr_step *s, gr_err *err) { return run_arg(s, false, err); }
static gr_status argmin_ref(const gr_step *s, gr_err *err) { return run_arg(s, true, err); }
static const gr_kernel argmax_kernels[] = {{"ref", NULL, argmax_ref, NULL}, {0}};
static const gr_kernel argmin_kernels[] = {{"ref", NULL, argmin_ref, NULL}, {0}};

/* ---- of sizes: TensorFlow's exports flatten [batch, tokens, width] to [ReduceProd of the first two, width] ---- */

static const gr_ivals *contents_of(const gr_infer *c, gr_dim (*op)(gr_syms *, gr_dim, gr_dim), int64_t first)
{
    int64_t n;
    const gr_dim *v;
    const gr_type *y = &c->out[0];
    if (!gr_rank_known(c, 0) || c->in[0]->rank != 1 || !gr_known_ints(c, 0, &n, &v)) return NULL;
    if (y->rank < 0 || y->rank > 1 || (y->rank && !gr_dim_is(y->dims[0], 1))) return NULL;
    gr_ivals *all = gr_arena_alloc(c->arena, sizeof *all + sizeof all->v[0]);
    if (!all) return NULL;
    all->n = 1;
    all->v[0] = GR_DIM(first);
    for (int64_t i = 0; i < n; i++) all->v[0] = op(c->syms, all->v[0], v[i]);
    return all;
}

static const gr_ivals *contents_of_sum(const gr_infer *c) { return contents_of(c, gr_sym_add, 0); }
static const gr_ivals *contents_of_prod(const gr_infer *c) { return contents_of(c, gr_sym_mul, 1); }

/* clang-format off */
#define OLD(name_, since_, what, infer_, ...)                                                                          \
    {.name = name_, .since = since_, .in = {1, 1}, .out = 1, .parse = parse_attr, .infer = infer_,                     \
     .kernels = what##_kernels, __VA_ARGS__}
#define NEW(name_, since_, what, infer_, ...)                                                                          \
    {.name = name_, .since = since_, .in = {1, 2}, .out = 1, .flags = GR_OP_DYNAMIC, .parse = parse_input,             \
     .infer = infer_, .kernels = what##_kernels, __VA_ARGS__}
#define REDUCE(name, what)                                                                                             \
    OLD(name, 1, what, infer_numbers, ), OLD(name, 11, what, infer_numbers, ), OLD(name, 13, what, infer_numbers, ),         \
        NEW(name, 18, what, infer_numbers, )
#define BOUND(name, what)                                                                                              \
    OLD(name, 1, what, infer_bounds, ), OLD(name, 11, what, infer_bounds, ), OLD(name, 12, what, infer_bounds, ),            \
        OLD(name, 13, what, infer_bounds, ), NEW(name, 18, what, infer_bounds, ), NEW(name, 20, what, infer_bounds, )
#define ARG(name_, since_, what)                                                                                       \
    {.name = name_, .since = since_, .in = {1, 1}, .out = 1, .parse = parse_arg, .infer = infer_arg,                   \
     .kernels = what##_kernels}

const gr_op op_reduce[] = {
    OLD("ReduceSum", 1, sum, infer_numbers, .contents = contents_of_sum),
    OLD("ReduceSum", 11, sum, infer_numbers, .contents = contents_of_sum),
    NEW("ReduceSum", 13, sum, infer_numbers, .contents = contents_of_sum),
    REDUCE("ReduceMean", mean),
    BOUND("ReduceMax", max),
    BOUND("ReduceMin", min),
    OLD("ReduceProd", 1, prod, infer_numbers, .contents = contents_of_prod),
    OLD("ReduceProd", 11, prod, infer_numbers, .contents = contents_of_prod),
    OLD("ReduceProd", 13, prod, infer_numbers, .contents = contents_of_prod),
    NEW("ReduceProd", 18, prod, infer_numbers, .contents = contents_of_prod),
    REDUCE("ReduceL1", l1),
    REDUCE("ReduceL2", l2),
    REDUCE("ReduceSumSquare", squares),
    REDUCE("ReduceLogSum", logsum),
    NEW("ReduceLogSum", 28, logsum, infer_numbers, ),
    REDUCE("ReduceLogSumExp", logsumexp),
    NEW("ReduceLogSumExp", 28, logsumexp, infer_numbers, ),
    ARG("ArgMax", 1, argmax), ARG("ArgMax", 11, argmax), ARG("ArgMax", 12, argmax), ARG("ArgMax", 13, argmax),
    ARG("ArgMin", 1, argmin), ARG("ArgMin", 11, argmin), ARG("ArgMin", 12, argmin), ARG("ArgMin", 13, argmin),
    {0}};
/* clang-format on */
