/* SPDX-License-Identifier: Apache-2.0
 *
 * RotaryEmbedding: pairs of elements of each head are rotated by an angle that depends on the token's position. With
 * `interleaved` a pair is (2i, 2i + 1), else (i, i + half); elements behind `rotary_embedding_dim` are copied.
 */
#include "elem.h"

typedef struct params {
    bool interleaved;
    int64_t heads; /* of a 3-D input; 0: not given */
    int64_t dim;   /* rotated elements of a head; 0: all */
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    GR_TRY(gr_attr_bool(attrs, "interleaved", false, &p->interleaved, err));
    GR_TRY(gr_attr_int_in(attrs, "num_heads", 0, 0, INT64_MAX, &p->heads, err));
    GR_TRY(gr_attr_int_in(attrs, "rotary_embedding_dim", 0, 0, INT64_MAX, &p->dim, err));
    if (p->dim % 2)
        return gr_fail(err, GR_EMODEL, "attribute 'rotary_embedding_dim' is %lld, expected an even number",
                       (long long)p->dim);
    return GR_OK;
}

static bool differ(gr_dim a, int64_t k) { return gr_dim_known(a) && a.k != k; }

/* Size of a head, -1 if it is not known yet. */
static gr_status head_size(const gr_infer *c, int64_t *out, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    const gr_type *x = c->in[0];
    *out = -1;
    if (x->rank == 3 && !p->heads)
        return gr_fail(err, GR_EMODEL, "attribute 'num_heads' is missing, which a 3-D input needs");
    if (!gr_dim_known(x->dims[x->rank - 1])) return GR_OK;
    *out = x->dims[x->rank - 1].k;
    if (x->rank == 3) {
        if (*out % p->heads)
            return gr_fail(err, GR_EMODEL, "%lld elements do not make up %lld heads", (long long)*out,
                           (long long)p->heads);
        *out /= p->heads;
    }
    if (p->dim > *out || (!p->dim && *out % 2))
        return gr_fail(err, GR_EMODEL, "heads of %lld elements cannot be rotated by pairs in %lld", (long long)*out,
                       (long long)(p->dim ? p->dim : *out));
    return GR_OK;
}

/* The caches are [positions, pairs] with position_ids, else [batch, sequence, pairs]. */
static gr_status check_cache(const gr_infer *c, uint32_t i, int64_t pairs, gr_err *err)
{
    const gr_type *t = c->in[i], *x = c->in[0];
    int rank = gr_has(c, 3) ? 2 : 3;
    if (!gr_rank_known(c, i)) return GR_OK;
    if (t->rank != rank) return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected %d", i, t->rank, rank);
    if (pairs >= 0 && differ(t->dims[rank - 1], pairs))
        return gr_fail(err, GR_EMODEL, "input %u has %lld angles for a token, expected %lld", i,
                       (long long)t->dims[rank - 1].k, (long long)pairs);
    if (rank == 2 || !gr_rank_known(c, 0)) return GR_OK;
    gr_dim tokens = x->dims[x->rank - 2];
    for (int k = 0; k < 2; k++) {
        gr_dim want = k ? tokens : x->dims[0];
        if (gr_dim_known(want) && differ(t->dims[k], want.k) && !(k == 0 && gr_dim_is(t->dims[0], 1)))
            return gr_fail(err, GR_EMODEL, "axis %d of input %u has %lld elements, expected %lld", k, i,
                           (long long)t->dims[k].k, (long long)want.k);
    }
    return GR_OK;
}

static gr_status check_positions(const gr_infer *c, gr_err *err)
{
    const gr_type *t = c->in[3], *x = c->in[0];
    if (t->rank != 2) return gr_fail(err, GR_EMODEL, "position_ids have rank %d, expected 2", t->rank);
    if (!gr_rank_known(c, 0)) return GR_OK;
    gr_dim want[2] = {x->dims[0], x->dims[x->rank - 2]};
    for (int k = 0; k < 2; k++)
        if (gr_dim_known(want[k]) && differ(t->dims[k], want[k].k))
            return gr_fail(err, GR_EMODEL, "axis %d of position_ids has %lld elements, expected %lld", k,
                           (long long)t->dims[k].k, (long long)want[k].k);
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    int64_t head = -1;
    for (uint32_t i = 0; i < 3; i++) {
        GR_TRY(gr_require(c, i, GR_T_FLOATS, err));
        GR_TRY(gr_require_same(c, i, 0, err));
    }
    GR_TRY(gr_require(c, 3, GR_T(INT64), err));
    if (gr_rank_known(c, 0)) {
        if (c->in[0]->rank != 3 && c->in[0]->rank != 4)
            return gr_fail(err, GR_EMODEL, "input 0 has rank %d, expected 3 or 4", c->in[0]->rank);
        GR_TRY(head_size(c, &head, err));
    }
    int64_t pairs = p->dim ? p->dim / 2 : head < 0 ? -1 : head / 2;
    for (uint32_t i = 1; i < 3; i++) GR_TRY(check_cache(c, i, pairs, err));
    if (gr_rank_known(c, 1) && gr_rank_known(c, 2))
        for (int k = 0; k < c->in[1]->rank; k++)
            if (gr_dim_known(c->in[1]->dims[k]) && differ(c->in[2]->dims[k], c->in[1]->dims[k].k))
                return gr_fail(err, GR_EMODEL, "the caches of cosines and sines differ in axis %d", k);
    if (gr_rank_known(c, 3)) GR_TRY(check_positions(c, err));
    return gr_set_like(c, 0, 0);
}

typedef struct layout {
    int64_t batch, heads, tokens, head; /* sizes */
    int64_t per_head, per_token;        /* strides of x */
    int64_t dim;                        /* rotated elements of a head */
    int64_t cache_batch, positions;     /* of the caches */
    int64_t apart, step;                /* of the two elements of a pair; from pair to pair */
} layout;

static layout layout_of(const gr_step *s)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *x = s->in[0], *cache = s->in[1];
    layout l = {.batch = x->dims[0], .tokens = x->dims[x->rank - 2]};
    l.heads = x->rank == 4 ? x->dims[1] : p->heads;
    l.head = x->rank == 4 ? x->dims[3] : x->dims[2] / p->heads;
    l.per_head = x->rank == 4 ? l.tokens * l.head : l.head;
    l.per_token = x->rank == 4 ? l.head : l.heads * l.head;
    l.dim = p->dim ? p->dim : l.head;
    l.cache_batch = cache->rank == 3 && cache->dims[0] != 1 ? cache->dims[1] * cache->dims[2] : 0;
    l.positions = cache->rank == 2 ? cache->dims[0] : 0;
    l.apart = p->interleaved ? 1 : l.dim / 2;
    l.step = p->interleaved ? 2 : 1;
    return l;
}

static gr_status check_ids(const gr_step *s, const layout *l, gr_err *err)
{
    const gr_tensor *ids = gr_step_in(s, 3);
    for (int64_t i = 0; ids && i < ids->elements; i++) {
        int64_t id = ((const int64_t *)ids->data)[i];
        if (id < 0 || id >= l->positions)
            return gr_fail(err, GR_EINPUT, "position id %lld is out of range, expected 0 to %lld", (long long)id,
                           (long long)l->positions - 1);
    }
    return GR_OK;
}

/* First angle of a token in the caches. */
static int64_t angles_of(const gr_step *s, const layout *l, int64_t b, int64_t t)
{
    const gr_tensor *ids = gr_step_in(s, 3);
    int64_t pairs = l->dim / 2;
    return ids ? ((const int64_t *)ids->data)[b * l->tokens + t] * pairs : b * l->cache_batch + t * pairs;
}

/* (u, v) becomes (cos u - sin v, sin u + cos v) */
static gr_status ref_run(const gr_step *s, gr_err *err)
{
    layout l = layout_of(s);
    const gr_tensor *x = s->in[0], *y = s->out[0];
    GR_TRY(check_ids(s, &l, err));
    if (!x->elements) return GR_OK;
    for (int64_t i = 0; i < l.batch * l.heads * l.tokens; i++) {
        int64_t b = i / l.heads / l.tokens, h = i / l.tokens % l.heads, t = i % l.tokens;
        int64_t at = b * l.heads * l.tokens * l.head + h * l.per_head + t * l.per_token, angle = angles_of(s, &l, b, t);
        for (int64_t k = 0; k < l.dim / 2; k++) {
            double cosine = gr_at(s->in[1], angle + k), sine = gr_at(s->in[2], angle + k);
            double u = gr_at(x, at + k * l.step), v = gr_at(x, at + k * l.step + l.apart);
            gr_at_put(y, at + k * l.step, cosine * u - sine * v);
            gr_at_put(y, at + k * l.step + l.apart, sine * u + cosine * v);
        }
        for (int64_t k = l.dim; k < l.head; k++) gr_at_put(y, at + k, gr_at(x, at + k));
    }
    return GR_OK;
}

static bool simd_prepare(gr_step *s, gr_why *why)
{
    return s->in[0]->dtype == GR_FLOAT || gr_decline(why, "elements are %s", gr_dtype_name(s->in[0]->dtype));
}

static gr_status simd_run(const gr_step *s, gr_err *err)
{
    const layout l = layout_of(s);
    const float *x = s->in[0]->data, *cosines = s->in[1]->data, *sines = s->in[2]->data;
    float *y = s->out[0]->data;
    GR_TRY(check_ids(s, &l, err));
    if (!s->in[0]->elements) return GR_OK;
#pragma omp parallel for schedule(static) if (s->in[0]->elements >= GR_PARALLEL_MIN)
    for (int64_t i = 0; i < l.batch * l.tokens; i++) {
        int64_t angle = angles_of(s, &l, i / l.tokens, i % l.tokens);
        const float *c = cosines + angle, *n = sines + angle;
        int64_t at = i / l.tokens * l.heads * l.tokens * l.head + i % l.tokens * l.per_token;
        for (int64_t h = 0; h < l.heads; h++, at += l.per_head) {
            for (int64_t k = 0; k < l.dim / 2; k++) {
                float u = x[at + k * l.step], v = x[at + k * l.step + l.apart];
                y[at + k * l.step] = c[k] * u - n[k] * v;
                y[at + k * l.step + l.apart] = n[k] * u + c[k] * v;
            }
            memmove(y + at + l.dim, x + at + l.dim, (size_t)(l.head - l.dim) * sizeof *y);
        }
    }
    return GR_OK;
}

static const gr_kernel kernels[] = {{"simd", simd_prepare, simd_run, NULL}, {"ref", NULL, ref_run, NULL}, {0}};

const gr_op op_rotary[] = {
    {.name = "RotaryEmbedding",
     .since = 23,
     .in = {3, 4},
     .out = 1,
     .parse = parse,
     .infer = infer,
     .kernels = kernels},
    {0},
};
