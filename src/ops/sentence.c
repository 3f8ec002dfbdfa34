/* SPDX-License-Identifier: Apache-2.0
 *
 * What makes one vector of a sentence from those of its tokens, as fused operators: graphrun.MeanPool, the mean over
 * the tokens that a mask keeps, and graphrun.Normalize, rows of length 1.
 */
#include "elem.h"
#include "graph/spell.h"
#include "simd/simd.h"

typedef struct params {
    float least; /* of the divisor */
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    return gr_attr_float(attrs, "min", 0, &p->least, err);
}

/* As Clip does: what is not a number stays that. */
static double at_least(double x, double least) { return x < least ? least : x; }

/* ---- y[b][j] = sum over t of x[b][t][j] m[b][t] / max(sum over t of m[b][t], min) ---- */

static gr_status infer_pool(const gr_infer *c, gr_err *err)
{
    for (uint32_t i = 0; i < 2; i++) {
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
        GR_TRY(gr_require(c, i, GR_T_FLOATS, err));
        if (gr_rank_known(c, i) && c->in[i]->rank != 3)
            return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected 3", i, c->in[i]->rank);
    }
    GR_TRY(gr_require_same(c, 0, 1, err));
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, c->in[0]->dtype, GR_RANK_UNKNOWN, NULL);
    for (int i = 0; i < 3 && gr_rank_known(c, 1); i++) {
        const gr_dim x = c->in[0]->dims[i], m = c->in[1]->dims[i];
        if (gr_dim_known(m) && m.k != 1 &&
            (i == 2 || (i == 1 && gr_dim_known(x) && x.k != m.k) || (i == 0 && gr_dim_known(x) && x.k != m.k)))
            return gr_fail(err, GR_EMODEL, "axis %d of the mask has %lld elements", i, (long long)m.k);
    }
    gr_dim *d = gr_dims(c, 2);
    d[0] = c->in[0]->dims[0];
    d[1] = c->in[0]->dims[2];
    return gr_set(c, 0, c->in[0]->dtype, 2, d);
}

typedef struct pool {
    int64_t batch, tokens, width, mask_batch, mask_token; /* the latter two are strides */
} pool;

static pool pool_of(const gr_step *s)
{
    const gr_tensor *x = s->in[0], *m = s->in[1];
    return (pool){x->dims[0], x->dims[1], x->dims[2], m->dims[0] == 1 ? 0 : m->dims[1], m->dims[1] == 1 ? 0 : 1};
}

static gr_status ref_pool(const gr_step *s, gr_err *err)
{
    (void)err;
    const pool p = pool_of(s);
    for (int64_t b = 0; b < p.batch; b++)
        for (int64_t j = 0; j < p.width; j++) {
            double sum = 0, count = 0;
            for (int64_t t = 0; t < p.tokens; t++) {
                const double m = gr_at(s->in[1], b * p.mask_batch + t * p.mask_token);
                sum += gr_at(s->in[0], (b * p.tokens + t) * p.width + j) * m;
                count += m;
            }
            gr_at_put(s->out[0], b * p.width + j, sum / at_least(count, (double)GR_PARAMS(params, s)->least));
        }
    return GR_OK;
}

static bool prepare_float(gr_step *s, gr_why *why)
{
    if (!s->out[0]) return gr_decline(why, "the result is not wanted");
    return s->in[0]->dtype == GR_FLOAT || gr_decline(why, "element type %s", gr_dtype_name(s->in[0]->dtype));
}

static gr_status run_pool(const gr_step *s, gr_err *err)
{
    (void)err;
    const pool p = pool_of(s);
    const float *mask = s->in[1]->data;
    const gr_simd *v = gr_simd_best();
    /* Columns in stretches, so that one sample keeps several threads busy. */
    enum { STRETCH = 64 };
    const int64_t stretches = (p.width + STRETCH - 1) / STRETCH;
#pragma omp parallel for schedule(static) num_threads(gr_step_threads(s)) if (s->in[0]->elements >= GR_PARALLEL_MIN)
    for (int64_t i = 0; i < p.batch * stretches; i++) {
        const int64_t b = i / stretches, from = i % stretches * STRETCH;
        const int64_t n = p.width - from < STRETCH ? p.width - from : STRETCH;
        float *y = (float *)s->out[0]->data + b * p.width + from, count = 0;
        memset(y, 0, (size_t)n * sizeof *y);
        const gr_rows *rows = s->key_rows;
        const int64_t first = rows ? rows->first[b] : b * p.tokens, end = rows ? rows->first[b + 1] : first + p.tokens;
        for (int64_t row = first; row < end; row++) {
            const int64_t t = (rows ? rows->index[row] : row) - b * p.tokens;
            const float m = mask[b * p.mask_batch + t * p.mask_token];
            const float *x = (const float *)s->in[0]->data + row * p.width + from;
            for (int64_t j = 0; j < n; j++) y[j] += x[j] * m;
            count += m;
        }
        v->binary_scalar[GR_V_DIV]((size_t)n, y, (float)at_least((double)count, (double)GR_PARAMS(params, s)->least),
                                   y);
    }
    return GR_OK;
}

/* ---- y = x / max(sqrt(sum of x^2), min), per row ---- */

static gr_status infer_normalize(const gr_infer *c, gr_err *err)
{
    if (!gr_has(c, 0)) return gr_fail(err, GR_EMODEL, "input 0 is missing");
    GR_TRY(gr_require(c, 0, GR_T_FLOATS, err));
    if (gr_rank_known(c, 0) && c->in[0]->rank < 1) return gr_fail(err, GR_EMODEL, "input 0 has rank 0, expected rows");
    return gr_set_like(c, 0, 0);
}

static gr_status ref_normalize(const gr_step *s, gr_err *err)
{
    (void)err;
    const gr_tensor *x = s->in[0];
    const int64_t n = x->dims[x->rank - 1], rows = n ? x->elements / n : 0;
    for (int64_t row = 0; row < rows; row++) {
        double sum = 0;
        for (int64_t j = row * n; j < (row + 1) * n; j++) sum += gr_at(x, j) * gr_at(x, j);
        const double length = at_least(sqrt(sum), (double)GR_PARAMS(params, s)->least);
        for (int64_t j = row * n; j < (row + 1) * n; j++) gr_at_put(s->out[0], j, gr_at(x, j) / length);
    }
    return GR_OK;
}

static gr_status run_normalize(const gr_step *s, gr_err *err)
{
    (void)err;
    const gr_tensor *x = s->in[0];
    const gr_simd *v = gr_simd_best();
    const int64_t n = x->dims[x->rank - 1], rows = n ? x->elements / n : 0;
#pragma omp parallel for schedule(static) num_threads(gr_step_threads(s)) if (x->elements >= GR_PARALLEL_MIN)
    for (int64_t row = 0; row < rows; row++) {
        const float *from = (const float *)x->data + row * n;
        const double length =
            at_least(sqrt((double)v->dot((size_t)n, from, from)), (double)GR_PARAMS(params, s)->least);
        v->binary_scalar[GR_V_DIV]((size_t)n, from, (float)length, (float *)s->out[0]->data + row * n);
    }
    return GR_OK;
}

static const gr_kernel pool_kernels[] = {{"simd", prepare_float, run_pool, NULL}, {"ref", NULL, ref_pool, NULL}, {0}};
static const gr_kernel normalize_kernels[] = {
    {"simd", prepare_float, run_normalize, NULL}, {"ref", NULL, ref_normalize, NULL}, {0}};

/* to = max(from, min) */
static gr_status spell_least(gr_spell *s, const char *to, const char *from)
{
    float least;
    GR_TRY(gr_attr_float(s->node->attrs, "min", 0, &least, s->err));
    gr_spell_float(s, "least", gr_spell_dtype(s, 0), (double)least);
    gr_spell_node(s, "%s = Max (%s, least)", to, from);
    return GR_OK;
}

static gr_status spell_pool(gr_spell *s)
{
    gr_spell_begin(s, "x, mask", "y");
    gr_spell_length(s, "tokens", "x", 1);
    gr_spell_ints(s, "one", 1, (int64_t[]){1});
    gr_spell_node(s, "column = Concat <axis = 0> (one, tokens, one)");
    gr_spell_node(s, "weights = Expand (mask, column)");
    gr_spell_node(s, "weighted = Mul (x, weights)");
    gr_spell_axes(s, "sum", "ReduceSum", "weighted", 1, (int64_t[]){1});
    gr_spell_axes(s, "count", "ReduceSum", "weights", 1, (int64_t[]){1});
    GR_TRY(spell_least(s, "divisor", "count"));
    gr_spell_node(s, "mean = Div (sum, divisor)");
    gr_spell_axes(s, "y", "Squeeze", "mean", 1, (int64_t[]){1});
    return GR_OK;
}

static gr_status spell_normalize(gr_spell *s)
{
    gr_spell_begin(s, "x", "y");
    gr_spell_node(s, "square = Mul (x, x)");
    gr_spell_axes(s, "sum", "ReduceSum", "square", 1, (int64_t[]){-1});
    gr_spell_node(s, "root = Sqrt (sum)");
    GR_TRY(spell_least(s, "length", "root"));
    gr_spell_node(s, "y = Div (x, length)");
    return GR_OK;
}

const gr_op op_sentence[] = {
    {.name = "MeanPool",
     .since = 1,
     .in = {2, 2},
     .out = 1,
     .parse = parse,
     .infer = infer_pool,
     .flags = GR_OP_POOL_ROWS,
     .kernels = pool_kernels,
     .function = spell_pool,
     .domain = "graphrun"},
    {.name = "Normalize",
     .since = 1,
     .in = {1, 1},
     .out = 1,
     .parse = parse,
     .infer = infer_normalize,
     .kernels = normalize_kernels,
     .function = spell_normalize,
     .domain = "graphrun"},
    {0},
};
