/* SPDX-License-Identifier: Apache-2.0
 *
 * RandomUniform and RandomNormal, with a shape of their own or that of an input, and Bernoulli: 1 where a uniform number
 * is less than the probability. A node gives the same numbers in every run, with or without a seed.
 */
#include "loops.h"
#include "move.h"
#include "random.h"

typedef struct random_params {
    gr_dtype dtype; /* GR_UNDEFINED: the input's */
    bool has_seed;
    float seed, a, b; /* low and high, or mean and scale */
    int64_t rank;
    const int64_t *dims;
} random_params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, gr_dtype type, random_params **out, const void **params, gr_err *err)
{
    random_params *p = GR_NEW(arena, random_params);
    if (!p) return gr_nomem(err);
    *params = *out = p;
    p->has_seed = gr_attr_find(attrs, "seed") != NULL;
    GR_TRY(gr_attr_float(attrs, "seed", 0, &p->seed, err));
    GR_TRY(gr_attr_dtype(attrs, "dtype", type, &p->dtype, err));
    return gr_attr_ints(attrs, "shape", &p->rank, &p->dims, err);
}

static gr_status parse_like(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    random_params *p;
    return parse(attrs, arena, GR_UNDEFINED, &p, params, err);
}

static gr_status parse_uniform_like(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    random_params *p;
    GR_TRY(parse(attrs, arena, GR_UNDEFINED, &p, params, err));
    GR_TRY(gr_attr_float(attrs, "low", 0, &p->a, err));
    return gr_attr_float(attrs, "high", 1, &p->b, err);
}

static gr_status parse_normal_like(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    random_params *p;
    GR_TRY(parse(attrs, arena, GR_UNDEFINED, &p, params, err));
    GR_TRY(gr_attr_float(attrs, "mean", 0, &p->a, err));
    return gr_attr_float(attrs, "scale", 1, &p->b, err);
}

static gr_status shaped(const random_params *p, gr_err *err)
{
    if (p->rank < 0) return gr_fail(err, GR_EMODEL, "attribute 'shape' is missing");
    return gr_check_rank(p->rank, err);
}

static gr_status parse_uniform(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    GR_TRY(parse_uniform_like(attrs, arena, params, err));
    random_params *p = (random_params *)*params;
    if (p->dtype == GR_UNDEFINED) p->dtype = GR_FLOAT;
    return shaped(p, err);
}

static gr_status parse_normal(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    GR_TRY(parse_normal_like(attrs, arena, params, err));
    random_params *p = (random_params *)*params;
    if (p->dtype == GR_UNDEFINED) p->dtype = GR_FLOAT;
    return shaped(p, err);
}

static gr_status check_type(gr_dtype t, uint64_t types, gr_err *err)
{
    if (t == GR_UNDEFINED || types >> t & 1) return GR_OK;
    return gr_fail(err, GR_EUNSUPPORTED, "random numbers of type %s are not supported", gr_dtype_name(t));
}

static gr_status infer_shaped(const gr_infer *c, gr_err *err)
{
    const random_params *p = c->params;
    gr_dim *d = gr_dims(c, (int)p->rank);
    GR_TRY(check_type(p->dtype, GR_T_FLOATS, err));
    for (int64_t i = 0; i < p->rank; i++) {
        if (p->dims[i] < 0) return gr_fail(err, GR_EMODEL, "dimension %lld is %lld", (long long)i, (long long)p->dims[i]);
        d[i] = GR_DIM(p->dims[i]);
    }
    return gr_set(c, 0, p->dtype, (int)p->rank, d);
}

static gr_status infer_as(const gr_infer *c, uint64_t types, gr_err *err)
{
    const random_params *p = c->params;
    gr_dtype t = p->dtype != GR_UNDEFINED ? p->dtype : gr_in_dtype(c, 0);
    GR_TRY(check_type(t, types, err));
    return gr_set_like_as(c, 0, 0, t);
}

static gr_status infer_like(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_require_movable(c, 0, err));
    return infer_as(c, GR_T_FLOATS, err);
}

static gr_status infer_bernoulli(const gr_infer *c, gr_err *err)
{
    GR_TRY(gr_require(c, 0, GR_T_FLOATS, err));
    return infer_as(c, GR_T_ALL, err);
}

static void start(const gr_step *s, gr_random *r)
{
    const random_params *p = s->params;
    float seed = p->seed >= 0 && p->seed < 0x1p32f ? p->seed : 0;
    gr_random_seed(r, p->has_seed ? (uint32_t)seed : gr_random_own_seed(s));
}

static gr_status run_random(const gr_step *s, double (*draw)(gr_random *), double scale, double shift)
{
    gr_tensor *y = s->out[0];
    gr_random r;
    start(s, &r);
    for (int64_t i = 0; i < y->elements; i++) {
        double v = draw(&r) * scale + shift;
        gr_store_f64(y->dtype, 1, &v, y->data, i);
    }
    return GR_OK;
}

static gr_status run_uniform(const gr_step *s, gr_err *err)
{
    const random_params *p = s->params;
    (void)err;
    return run_random(s, gr_random_uniform, (double)p->b - p->a, p->a);
}

static gr_status run_normal(const gr_step *s, gr_err *err)
{
    const random_params *p = s->params;
    (void)err;
    return run_random(s, gr_random_normal, p->b, p->a);
}

static gr_status run_bernoulli(const gr_step *s, gr_err *err)
{
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0];
    gr_random r;
    (void)err;
    start(s, &r);
    for (int64_t i = 0; i < y->elements; i++) {
        double chance = 0;
        gr_load_f64(x->dtype, 1, x->data, i, 1, &chance);
        int64_t hit = gr_random_uniform(&r) < chance;
        double v = (double)hit;
        if (gr_dtype_is_float(y->dtype))
            gr_store_f64(y->dtype, 1, &v, y->data, i);
        else
            gr_store_i64(y->dtype, 1, &hit, y->data, i);
    }
    return GR_OK;
}

static const gr_kernel k_uniform[] = {{"ref", NULL, run_uniform, NULL}, {0}};
static const gr_kernel k_normal[] = {{"ref", NULL, run_normal, NULL}, {0}};
static const gr_kernel k_bernoulli[] = {{"ref", NULL, run_bernoulli, NULL}, {0}};

#define SHAPED(name, since, which)                                                                                     \
    GR_OP_ROW(name, since, 0, 0, 1, GR_OP_IMPURE, parse_##which, infer_shaped, k_##which)
#define LIKE(name, since, which)                                                                                       \
    GR_OP_ROW(name, since, 1, 1, 1, GR_OP_IMPURE, parse_##which##_like, infer_like, k_##which)
#define BERNOULLI(since)                                                                                               \
    GR_OP_ROW("Bernoulli", since, 1, 1, 1, GR_OP_IMPURE, parse_like, infer_bernoulli, k_bernoulli)

const gr_op op_random[] = {
    SHAPED("RandomUniform", 1, uniform), SHAPED("RandomUniform", 22, uniform),
    SHAPED("RandomNormal", 1, normal), SHAPED("RandomNormal", 22, normal),
    LIKE("RandomUniformLike", 1, uniform), LIKE("RandomUniformLike", 22, uniform),
    LIKE("RandomNormalLike", 1, normal), LIKE("RandomNormalLike", 22, normal),
    BERNOULLI(15), BERNOULLI(22), {0},
};
