/* SPDX-License-Identifier: Apache-2.0
 *
 * CumSum and CumProd: running sums and products along one axis, which is an input. Integers wrap.
 */
#include "elementwise.h"

struct params {
    bool exclusive, reverse;
};

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    struct params *p = GR_NEW(arena, struct params);
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_bool(attrs, "exclusive", false, &p->exclusive, err));
    GR_TRY(gr_attr_bool(attrs, "reverse", false, &p->reverse, err));
    *params = p;
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_need(c, 2, GR_T_NUMBERS, err));
    GR_TRY(gr_require(c, 1, GR_T(INT32) | GR_T(INT64), err));
    if (gr_rank_known(c, 1)) {
        const gr_type *t = c->in[1];
        if (t->rank > 1 || (t->rank == 1 && gr_dim_known(t->dims[0]) && t->dims[0].k != 1))
            return gr_fail(err, GR_EMODEL, "the axis must be a single number");
    }
    gr_dim axis;
    int at;
    if (gr_rank_known(c, 0) && gr_known_int(c, 1, &axis) && gr_dim_known(axis))
        GR_TRY(gr_axis(axis.k, c->in[0]->rank, &at, err));
    return gr_set_like(c, 0, 0);
}

/* y[k] = y[k - 1] op x[k], or with `exclusive` y[k - 1] op x[k - 1]; rows of `inner` elements, `step` apart. */
typedef struct line {
    int64_t count, inner, step;
    bool exclusive, product;
} line;

#define COMBINE(a, b) (g->product ? (a) * (b) : (a) + (b))
/* W is a type whose arithmetic wraps or rounds as T's should. */
#define LINE(T, W)                                                                                                     \
    {                                                                                                                  \
        const T *x = (const T *)src + first;                                                                           \
        T *y = (T *)dst + first;                                                                                       \
        for (int64_t k = 0; k < g->count; k++, x += g->step, y += g->step)                                             \
            for (int64_t i = 0; i < g->inner; i++) {                                                                   \
                W v = k ? (W)GR_GET(y[i - g->step]) : (W)g->product;                                                   \
                if (k || !g->exclusive) v = COMBINE(v, (W)GR_GET(x[g->exclusive ? i - g->step : i]));                  \
                GR_PUT(&y[i], (GR_COMPUTE(T))v);                                                                       \
            }                                                                                                          \
    }

static void run_line(gr_dtype dtype, const line *g, const void *src, void *dst, int64_t first)
{
    GR_DISPATCH_FLOATS(dtype, T, LINE(T, GR_COMPUTE(T)))
    GR_DISPATCH_INTS(dtype, T, LINE(T, uint64_t))
}

static gr_status run(const gr_step *s, bool product, gr_err *err)
{
    const struct params *p = s->params;
    const gr_tensor *x = s->in[0];
    int64_t axis = 0, outer = 1;
    int at;
    gr_load_i64(s->in[1]->dtype, 1, s->in[1]->data, 0, 0, &axis);
    if (gr_axis(axis, x->rank, &at, err) != GR_OK)
        return gr_fail(err, GR_EINPUT, "axis %lld is out of range for rank %d", (long long)axis, x->rank);
    line g = {.count = x->dims[at], .inner = 1, .exclusive = p->exclusive, .product = product};
    if (!x->elements) return GR_OK;
    for (int i = 0; i < at; i++) outer *= x->dims[i];
    for (int i = at + 1; i < x->rank; i++) g.inner *= x->dims[i];
    g.step = p->reverse ? -g.inner : g.inner;
    int64_t each = g.count * g.inner, start = p->reverse ? each - g.inner : 0;
#pragma omp parallel for if (x->elements > GR_PARALLEL_MIN)
    for (int64_t i = 0; i < outer; i++) run_line(x->dtype, &g, x->data, s->out[0]->data, i * each + start);
    return GR_OK;
}
static gr_status sum_ref(const gr_step *s, gr_err *err) { return run(s, false, err); }
static gr_status product_ref(const gr_step *s, gr_err *err) { return run(s, true, err); }
static const gr_kernel sum_kernels[] = {{"ref", NULL, sum_ref, NULL}, {0}};
static const gr_kernel product_kernels[] = {{"ref", NULL, product_ref, NULL}, {0}};

/* clang-format off */
#define ROW(name_, since_, what)                                                                                       \
    {.name = name_, .since = since_, .in = {2, 2}, .out = 1, .parse = parse, .infer = infer, .kernels = what##_kernels}

const gr_op op_cumulate[] = {
    ROW("CumSum", 11, sum), ROW("CumSum", 14, sum), ROW("CumProd", 26, product), {0}};
/* clang-format on */
