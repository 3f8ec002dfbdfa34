/* SPDX-License-Identifier: Apache-2.0
 *
 * LinearAttention: for every head a state S [key size, value size] that each token updates and the queries read.
 *
 *     linear: S = S + k v'                 gated: S = exp(g) S + k v'
 *     delta:  S = S + k (b (v - S' k))'    gated_delta: S = exp(g) S, then as delta
 *     o = scale S' q
 *
 * Several query heads may share one state. Tokens come packed as [batch, tokens, heads * size].
 */
#include "elem.h"

enum { QUERY, KEY, VALUE, PAST, DECAY, BETA }; /* inputs */
enum { OUTPUT, PRESENT };

typedef struct params {
    int64_t heads, kv_heads;
    float scale; /* 0: 1 / sqrt(key size) */
    bool gated, delta;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    const char *rule;
    if (!p) return gr_nomem(err);
    *out = p;
    GR_TRY(gr_attr_int_in(attrs, "q_num_heads", 0, 1, INT32_MAX, &p->heads, err));
    GR_TRY(gr_attr_int_in(attrs, "kv_num_heads", 0, 1, INT32_MAX, &p->kv_heads, err));
    GR_TRY(gr_attr_float(attrs, "scale", 0, &p->scale, err));
    GR_TRY(gr_attr_string(attrs, "update_rule", "gated_delta", &rule, err));
    p->gated = !strcmp(rule, "gated") || !strcmp(rule, "gated_delta");
    p->delta = !strcmp(rule, "delta") || !strcmp(rule, "gated_delta");
    if (!p->gated && !p->delta && strcmp(rule, "linear"))
        return gr_fail(err, GR_EMODEL, "attribute 'update_rule' is '%s'", gr_show(rule));
    if (p->heads % p->kv_heads)
        return gr_fail(err, GR_EMODEL, "%lld query heads cannot be shared out among %lld states", (long long)p->heads,
                       (long long)p->kv_heads);
    return GR_OK;
}

/* ---- inference ---- */

#define T_STATE (GR_T(FLOAT) | GR_T(FLOAT16) | GR_T(BFLOAT16))

static gr_status check_types(const gr_infer *c, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    for (uint32_t i = 0; i <= BETA; i++) {
        bool needed = i <= VALUE || (i == DECAY && p->gated) || (i == BETA && p->delta);
        if (needed && !gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing, which its rule needs", i);
        GR_TRY(gr_require(c, i, T_STATE, err));
        if (i != PAST) GR_TRY(gr_require_same(c, QUERY, i, err));
        int rank = i == PAST ? 4 : 3;
        if (gr_rank_known(c, i) && c->in[i]->rank != rank)
            return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected %d", i, c->in[i]->rank, rank);
    }
    return GR_OK;
}

/* Size of one of `heads` in the last axis of input i. */
static gr_status head_size(const gr_infer *c, uint32_t i, int64_t heads, gr_dim *size, gr_err *err)
{
    *size = gr_sym_fresh(c->syms);
    if (!gr_rank_known(c, i)) return GR_OK;
    gr_dim d = c->in[i]->dims[2];
    if (gr_dim_known(d) && d.k % heads)
        return gr_fail(err, GR_EMODEL, "%lld elements of input %u do not make up %lld heads", (long long)d.k, i,
                       (long long)heads);
    *size = gr_sym_div(c->syms, d, GR_DIM(heads));
    return GR_OK;
}

static gr_status check_gates(const gr_infer *c, gr_dim size, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    const int64_t h = p->kv_heads;
    if (gr_rank_known(c, DECAY) && gr_dim_known(c->in[DECAY]->dims[2]) && gr_dim_known(size)) {
        int64_t n = c->in[DECAY]->dims[2].k;
        if (n != h && n / h != size.k)
            return gr_fail(err, GR_EMODEL, "the decay has %lld elements per token for %lld heads of %lld", (long long)n,
                           (long long)h, (long long)size.k);
    }
    if (gr_rank_known(c, BETA) && gr_dim_known(c->in[BETA]->dims[2])) {
        int64_t n = c->in[BETA]->dims[2].k;
        if (n != h && n != 1)
            return gr_fail(err, GR_EMODEL, "beta has %lld elements per token for %lld heads", (long long)n, (long long)h);
    }
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    GR_TRY(check_types(c, err));
    gr_dim batch = gr_sym_fresh(c->syms), tokens = gr_sym_fresh(c->syms), k, k2, v;
    if (gr_rank_known(c, QUERY)) batch = c->in[QUERY]->dims[0], tokens = c->in[QUERY]->dims[1];
    for (uint32_t i = 0; i <= BETA; i++) {
        GR_TRY(gr_unify_dim(c, i, 0, &batch, err));
        if (i != PAST) GR_TRY(gr_unify_dim(c, i, 1, &tokens, err));
    }
    GR_TRY(head_size(c, QUERY, p->heads, &k, err));
    GR_TRY(head_size(c, KEY, p->kv_heads, &k2, err));
    GR_TRY(head_size(c, VALUE, p->kv_heads, &v, err));
    if (gr_dim_known(k) && gr_dim_known(k2) && k.k != k2.k)
        return gr_fail(err, GR_EMODEL, "heads of queries have size %lld, those of keys %lld", (long long)k.k,
                       (long long)k2.k);
    if (gr_dim_known(k2)) k = k2;
    gr_dim heads = GR_DIM(p->kv_heads);
    GR_TRY(gr_unify_dim(c, PAST, 1, &heads, err));
    GR_TRY(gr_unify_dim(c, PAST, 2, &k, err));
    GR_TRY(gr_unify_dim(c, PAST, 3, &v, err));
    GR_TRY(check_gates(c, k, err));
    gr_dim *y = gr_dims(c, 3), *state = gr_dims(c, 4);
    y[0] = batch, y[1] = tokens, y[2] = gr_sym_mul(c->syms, v, GR_DIM(p->heads));
    state[0] = batch, state[1] = heads, state[2] = k, state[3] = v;
    gr_set(c, PRESENT, gr_has(c, PAST) ? c->in[PAST]->dtype : c->in[QUERY]->dtype, 4, state);
    return gr_set(c, OUTPUT, c->in[QUERY]->dtype, 3, y);
}

/* ---- ref: one state after the other in parallel, tokens in their order; computed in float ---- */

typedef struct layout {
    int64_t batch, tokens, keys, values, decays; /* sizes of a head; decays: 1 or keys */
    int64_t betas;                               /* per token */
    float scale;
} layout;

static layout layout_of(const gr_step *s)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *q = s->in[QUERY], *v = s->in[VALUE], *decay = gr_step_in(s, DECAY), *beta = gr_step_in(s, BETA);
    layout l = {.batch = q->dims[0], .tokens = q->dims[1], .keys = q->dims[2] / p->heads, .values = v->dims[2] / p->kv_heads};
    if (decay) l.decays = decay->dims[2] / p->kv_heads;
    if (beta) l.betas = beta->dims[2];
    l.scale = p->scale != 0 ? p->scale : (float)(1 / sqrt((double)l.keys));
    return l;
}

/* State, then rows of a token: key, query or decay, value, output. */
static int64_t floats_needed(const layout *l) { return l->keys * l->values + 2 * l->keys + 2 * l->values; }

static bool prepare(gr_step *s, gr_why *why)
{
    layout l = layout_of(s);
    int64_t state;
    size_t each;
    if (__builtin_mul_overflow(l.keys, l.values, &state) || state > INT64_MAX / 64 ||
        !gr_mul((size_t)floats_needed(&l), sizeof(float), &each) ||
        !gr_mul(each, (size_t)gr_step_threads(s), &s->scratch_size))
        return gr_decline(why, "its states are too large");
    return true;
}

/* y = S' x */
static void read_state(const layout *l, const float *state, const float *x, float *y)
{
    for (int64_t j = 0; j < l->values; j++) y[j] = 0;
    for (int64_t i = 0; i < l->keys; i++)
        for (int64_t j = 0; j < l->values; j++) y[j] += state[i * l->values + j] * x[i];
}

static void decay_state(const gr_step *s, const layout *l, int64_t first, float *state, float *row)
{
    gr_load_f32(s->in[DECAY]->dtype, l->decays, s->in[DECAY]->data, first, 1, row);
    for (int64_t i = 0; i < l->keys; i++) {
        float by = expf(row[l->decays == 1 ? 0 : i]);
        for (int64_t j = 0; j < l->values; j++) state[i * l->values + j] *= by;
    }
}

static void token(const gr_step *s, const layout *l, int64_t at, int64_t head, float *state, float *rows)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *q = s->in[QUERY], *y = s->out[OUTPUT];
    float *k = rows, *x = k + l->keys, *v = x + l->keys, *o = v + l->values, beta = 1;
    int64_t state_at = at * p->kv_heads + head, shared = p->heads / p->kv_heads;
    gr_load_f32(q->dtype, l->keys, s->in[KEY]->data, state_at * l->keys, 1, k);
    gr_load_f32(q->dtype, l->values, s->in[VALUE]->data, state_at * l->values, 1, v);
    if (p->gated) decay_state(s, l, state_at * l->decays, state, x);
    if (p->delta) {
        gr_load_f32(q->dtype, 1, s->in[BETA]->data, l->betas == 1 ? at : state_at, 1, &beta);
        read_state(l, state, k, o);
        for (int64_t j = 0; j < l->values; j++) v[j] = beta * (v[j] - o[j]);
    }
    for (int64_t i = 0; i < l->keys; i++)
        for (int64_t j = 0; j < l->values; j++) state[i * l->values + j] += k[i] * v[j];
    for (int64_t h = head * shared; y && h < (head + 1) * shared; h++) {
        gr_load_f32(q->dtype, l->keys, q->data, (at * p->heads + h) * l->keys, 1, x);
        read_state(l, state, x, o);
        for (int64_t j = 0; j < l->values; j++) o[j] *= l->scale;
        gr_store_f32(y->dtype, l->values, o, y->data, (at * p->heads + h) * l->values);
    }
}

static gr_status run(const gr_step *s, gr_err *err)
{
    (void)err;
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *past = gr_step_in(s, PAST), *present = gr_step_out(s, PRESENT);
    const layout l = layout_of(s);
    const int64_t items = l.batch * p->kv_heads, size = l.keys * l.values;
#pragma omp parallel for num_threads(gr_step_threads(s)) if (items * l.tokens * size > GR_PARALLEL_MIN / 4)
    for (int64_t i = 0; i < items; i++) {
        float *state = (float *)s->scratch + omp_get_thread_num() * floats_needed(&l);
        for (int64_t j = 0; j < size; j++) state[j] = 0;
        if (past) gr_load_f32(past->dtype, size, past->data, i * size, 1, state);
        for (int64_t t = 0; t < l.tokens; t++)
            token(s, &l, i / p->kv_heads * l.tokens + t, i % p->kv_heads, state, state + size);
        if (present) gr_store_f32(present->dtype, size, state, present->data, i * size);
    }
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", prepare, run, NULL}, {0}};

const gr_op op_linear_attention[] = {{.name = "LinearAttention",
                                      .since = 27,
                                      .in = {3, 6},
                                      .out = 2,
                                      .parse = parse,
                                      .infer = infer,
                                      .kernels = kernels},
                                     {0}};
