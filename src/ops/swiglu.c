/* SPDX-License-Identifier: Apache-2.0
 *
 * SwiGLU: y = a * sigmoid(alpha * a) * b, of two inputs of one shape.
 */
#include "elementwise.h"

#include <tgmath.h>

typedef struct params {
    float alpha;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    return gr_attr_float(attrs, "alpha", 1, &p->alpha, err);
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 2, GR_T_FLOATS, err));
    GR_TRY(gr_require_same(c, 0, 1, err));
    if (!gr_rank_known(c, 0) || !gr_rank_known(c, 1)) return gr_set_like(c, 0, gr_rank_known(c, 0) ? 0 : 1);
    for (int i = 0; i < c->in[0]->rank && c->in[0]->rank == c->in[1]->rank; i++) {
        gr_dim a = c->in[0]->dims[i], b = c->in[1]->dims[i];
        if (gr_dim_known(a) && gr_dim_known(b) && a.k != b.k)
            return gr_fail(err, GR_EMODEL, "dimensions %lld and %lld of axis %d must be equal", (long long)a.k,
                           (long long)b.k, i);
    }
    if (c->in[0]->rank != c->in[1]->rank)
        return gr_fail(err, GR_EMODEL, "inputs have ranks %d and %d, which must be equal", c->in[0]->rank,
                       c->in[1]->rank);
    return gr_set_like(c, 0, 0);
}

#define SPAN(C, suffix)                                                                                                \
    for (int64_t i = at; i < at + n; i += GR_SPAN) {                                                                   \
        C a[GR_SPAN], b[GR_SPAN];                                                                                      \
        int64_t m = at + n - i < GR_SPAN ? at + n - i : GR_SPAN;                                                       \
        gr_load_##suffix(dtype, m, s->in[0]->data, i, 1, a);                                                           \
        gr_load_##suffix(dtype, m, s->in[1]->data, i, 1, b);                                                           \
        for (int64_t k = 0; k < m; k++) a[k] = a[k] / (1 + exp(-alpha * a[k])) * b[k];                                 \
        gr_store_##suffix(dtype, m, a, s->out[0]->data, i);                                                            \
    }

static void span(void *user, const gr_loop *l, int64_t at, int64_t n, const int64_t *off)
{
    const gr_step *s = (const gr_step *)user;
    const float alpha = GR_PARAMS(params, s)->alpha;
    const gr_dtype dtype = s->in[0]->dtype;
    (void)l, (void)off;
    if (dtype == GR_DOUBLE) {
        SPAN(double, f64)
    } else {
        SPAN(float, f32)
    }
}

static gr_status run(const gr_step *s, gr_err *err)
{
    (void)err;
    gr_step job = *s;
    gr_loop l = {.rank = 1, .total = s->out[0]->elements, .dims = {s->out[0]->elements}};
    gr_loop_run(&l, GR_UNARY_COST, span, &job);
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", NULL, run, NULL}, {0}};

const gr_op op_swiglu[] = {{.name = "SwiGLU",
                            .since = 28,
                            .in = {2, 2},
                            .out = 1,
                            .flags = GR_OP_INPLACE,
                            .parse = parse,
                            .infer = infer,
                            .kernels = kernels},
                           {0}};
