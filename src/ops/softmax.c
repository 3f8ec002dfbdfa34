/* SPDX-License-Identifier: Apache-2.0
 *
 * Softmax, LogSoftmax, Hardmax. Opsets 1 and 11 see the input as a matrix whose rows begin at `axis`; from 13 on they
 * work along one axis. Sums run in double in the reference kernels.
 */
#include "elem.h"
#include "simd/simd.h"

typedef struct params {
    int64_t axis;
    bool flatten;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, params given, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *p = given;
    *out = p;
    return gr_attr_int(attrs, "axis", given.axis, &p->axis, err);
}

static gr_status parse_1(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse(attrs, arena, (params){.axis = 1, .flatten = true}, out, err);
}

static gr_status parse_13(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse(attrs, arena, (params){.axis = -1}, out, err);
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    int axis;
    GR_TRY(gr_require(c, 0, GR_T_FLOATS, err));
    if (gr_rank_known(c, 0)) GR_TRY(gr_axis(GR_PARAMS(params, c)->axis, c->in[0]->rank, &axis, err));
    return gr_set_like(c, 0, 0);
}

/* outer x n x inner: n elements `inner` apart make up a row. */
typedef struct rows {
    int64_t outer, n, inner;
} rows;

static rows rows_of(const gr_step *s)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *x = s->in[0];
    int axis = (int)(p->axis < 0 ? p->axis + x->rank : p->axis);
    if (p->flatten) return (rows){gr_extent(x, 0, axis), gr_extent(x, axis, x->rank), 1};
    return (rows){gr_extent(x, 0, axis), x->dims[axis], gr_extent(x, axis + 1, x->rank)};
}

typedef void row_fn(const gr_tensor *x, const gr_tensor *y, int64_t first, int64_t n, int64_t step);

static gr_status each_row(const gr_step *s, row_fn *fn)
{
    rows r = rows_of(s);
    if (!s->in[0]->elements) return GR_OK;
    for (int64_t o = 0; o < r.outer; o++)
        for (int64_t i = 0; i < r.inner; i++) fn(s->in[0], s->out[0], o * r.n * r.inner + i, r.n, r.inner);
    return GR_OK;
}

/* Greatest element of a row, and the sum of exp(x - max) over it. */
static double sum_exp(const gr_tensor *x, int64_t first, int64_t n, int64_t step, double *max)
{
    double sum = 0;
    *max = -INFINITY;
    for (int64_t i = 0; i < n; i++) *max = fmax(*max, gr_at(x, first + i * step));
    for (int64_t i = 0; i < n; i++) sum += exp(gr_at(x, first + i * step) - *max);
    return sum;
}

/* y = exp(x - max) / sum(exp(x - max)) */
static void softmax_row(const gr_tensor *x, const gr_tensor *y, int64_t first, int64_t n, int64_t step)
{
    double max, sum = sum_exp(x, first, n, step, &max);
    for (int64_t i = first; n > 0; n--, i += step) gr_at_put(y, i, exp(gr_at(x, i) - max) / sum);
}

/* y = x - max - log(sum(exp(x - max))) */
static void log_softmax_row(const gr_tensor *x, const gr_tensor *y, int64_t first, int64_t n, int64_t step)
{
    double max, log_sum = log(sum_exp(x, first, n, step, &max));
    for (int64_t i = first; n > 0; n--, i += step) gr_at_put(y, i, gr_at(x, i) - max - log_sum);
}

/* y = 1 at the first greatest element, else 0 */
static void hardmax_row(const gr_tensor *x, const gr_tensor *y, int64_t first, int64_t n, int64_t step)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (gr_at(x, first + i * step) > gr_at(x, first + best * step)) best = i;
    for (int64_t i = 0; i < n; i++) gr_at_put(y, first + i * step, i == best);
}

static gr_status softmax_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    return each_row(s, softmax_row);
}

static gr_status log_softmax_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    return each_row(s, log_softmax_row);
}

static gr_status hardmax_ref(const gr_step *s, gr_err *err)
{
    (void)err;
    return each_row(s, hardmax_row);
}

/* ---- rows contiguous, float32 or converted to it row by row ---- */

enum {
    ROWS_OF_SCRATCH = 2
}; /* per thread: the row as floats, and exp(x - max) of LogSoftmax so that y may lie where x does */

static bool simd_prepare(gr_step *s, gr_why *why)
{
    if (s->in[0]->dtype == GR_DOUBLE) return gr_decline(why, "elements are double");
    rows r = rows_of(s);
    if (r.inner != 1) return gr_decline(why, "the axis is not the last one");
    s->scratch_size = (size_t)gr_step_threads(s) * (size_t)r.n * ROWS_OF_SCRATCH * sizeof(float);
    return true;
}

typedef void simd_row_fn(const gr_simd *v, size_t n, const float *x, float *y, float *scratch);

static gr_status each_simd_row(const gr_step *s, simd_row_fn *fn)
{
    const gr_simd *v = gr_simd_best();
    const rows r = rows_of(s);
    if (!s->in[0]->elements) return GR_OK;
#pragma omp parallel for schedule(static) num_threads(gr_step_threads(s)) if (s->in[0]->elements >= GR_PARALLEL_MIN / 4)
    for (int64_t o = 0; o < r.outer; o++) {
        float *own = (float *)s->scratch + (int64_t)omp_get_thread_num() * r.n * ROWS_OF_SCRATCH;
        const float *x = gr_row_read(s->in[0], o * r.n, r.n, own);
        float *y = gr_row_open(s->out[0], o * r.n, own);
        fn(v, (size_t)r.n, x, y, own + r.n);
        gr_row_write(s->out[0], o * r.n, r.n, y);
    }
    return GR_OK;
}

static void softmax_simd_row(const gr_simd *v, size_t n, const float *x, float *y, float *scratch)
{
    (void)scratch;
    v->softmax(n, x, 1, NULL, y);
}

static void log_softmax_simd_row(const gr_simd *v, size_t n, const float *x, float *y, float *scratch)
{
    float max = v->max(n, x);
    v->binary_scalar[GR_V_SUB](n, x, max, scratch);
    v->unary[GR_V_EXP](n, scratch, scratch);
    float log_sum = logf(v->sum(n, scratch));
    v->binary_scalar[GR_V_SUB](n, x, max, y);
    v->binary_scalar[GR_V_SUB](n, y, log_sum, y);
}

static gr_status softmax_simd(const gr_step *s, gr_err *err)
{
    (void)err;
    return each_simd_row(s, softmax_simd_row);
}

static gr_status log_softmax_simd(const gr_step *s, gr_err *err)
{
    (void)err;
    return each_simd_row(s, log_softmax_simd_row);
}

static const gr_kernel softmax[] = {{"simd", simd_prepare, softmax_simd, NULL}, {"ref", NULL, softmax_ref, NULL}, {0}};
static const gr_kernel log_softmax[] = {
    {"simd", simd_prepare, log_softmax_simd, NULL}, {"ref", NULL, log_softmax_ref, NULL}, {0}};
static const gr_kernel hardmax[] = {{"ref", NULL, hardmax_ref, NULL}, {0}};

#define ROW(Name, version, parse_function, list)                                                                       \
    {                                                                                                                  \
        .name = Name, .since = version, .in = {1, 1}, .out = 1, .flags = GR_OP_INPLACE, .parse = parse_function,       \
        .infer = infer, .kernels = list                                                                                \
    }

const gr_op op_softmax[] = {
    ROW("Softmax", 1, parse_1, softmax),         ROW("Softmax", 11, parse_1, softmax),
    ROW("Softmax", 13, parse_13, softmax),       ROW("LogSoftmax", 1, parse_1, log_softmax),
    ROW("LogSoftmax", 11, parse_1, log_softmax), ROW("LogSoftmax", 13, parse_13, log_softmax),
    ROW("Hardmax", 1, parse_1, hardmax),         ROW("Hardmax", 11, parse_1, hardmax),
    ROW("Hardmax", 13, parse_13, hardmax),       {0},
};
