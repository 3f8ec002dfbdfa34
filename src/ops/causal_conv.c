/* SPDX-License-Identifier: Apache-2.0
 *
 * CausalConvWithState: every channel by itself sees the present and the k - 1 positions before it, which come from the
 * state of the last run at first, and leaves its last k - 1 positions as the state for the next.
 *
 *     y[b, c, t] = activation(bias[c] + sum over j of w[c, 0, j] * (state, x)[b, c, t + j])
 */
#include "elem.h"

enum { X, W, BIAS, PAST };

typedef struct params {
    bool silu;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    const char *name;
    if (!p) return gr_nomem(err);
    *out = p;
    GR_TRY(gr_attr_string(attrs, "activation", "none", &name, err));
    p->silu = !strcmp(name, "silu") || !strcmp(name, "swish");
    if (!p->silu && strcmp(name, "none"))
        return gr_fail(err, GR_EMODEL, "attribute 'activation' is '%s', expected silu, swish or none", gr_show(name));
    return GR_OK;
}

static gr_status expect(const gr_infer *c, uint32_t i, int axis, gr_dim *want, gr_err *err)
{
    if (!gr_rank_known(c, i)) return GR_OK;
    gr_dim d = c->in[i]->dims[axis];
    if (gr_dim_known(d) && gr_dim_known(*want) && d.k != want->k)
        return gr_fail(err, GR_EMODEL, "axis %d of input %u has %lld elements, expected %lld", axis, i, (long long)d.k,
                       (long long)want->k);
    if (gr_dim_known(d)) *want = d;
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    static const int ranks[] = {3, 3, 1, 3};
    for (uint32_t i = 0; i <= PAST; i++) {
        if (i <= W && !gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
        GR_TRY(gr_require(c, i, GR_T(FLOAT) | GR_T(FLOAT16) | GR_T(BFLOAT16), err));
        GR_TRY(gr_require_same(c, X, i, err));
        if (gr_rank_known(c, i) && c->in[i]->rank != ranks[i])
            return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected %d", i, c->in[i]->rank, ranks[i]);
    }
    gr_dim *y = gr_dims(c, 3), *state = gr_dims(c, 3), one = GR_DIM(1);
    for (int i = 0; i < 3; i++) y[i] = gr_rank_known(c, X) ? c->in[X]->dims[i] : gr_sym_fresh(c->syms);
    GR_TRY(expect(c, W, 0, &y[1], err));
    GR_TRY(expect(c, W, 1, &one, err));
    GR_TRY(expect(c, BIAS, 0, &y[1], err));
    GR_TRY(expect(c, PAST, 0, &y[0], err));
    GR_TRY(expect(c, PAST, 1, &y[1], err));
    gr_dim k = gr_rank_known(c, W) ? c->in[W]->dims[2] : gr_sym_fresh(c->syms);
    if (gr_dim_is(k, 0)) return gr_fail(err, GR_EMODEL, "the kernel is empty");
    state[0] = y[0], state[1] = y[1], state[2] = gr_sym_sub(c->syms, k, GR_DIM(1));
    GR_TRY(expect(c, PAST, 2, &state[2], err));
    gr_set(c, 1, c->in[X]->dtype, 3, state);
    return gr_set(c, 0, c->in[X]->dtype, 3, y);
}

/* Floats of a thread: state and x behind each other, the kernel, y. */
static bool prepare(gr_step *s, gr_why *why)
{
    int64_t length = s->in[X]->dims[2], kernel = s->in[W]->dims[2], floats;
    if (length > INT64_MAX / 64 || kernel > INT64_MAX / 64) return gr_decline(why, "its rows are too large");
    floats = 2 * (length + kernel);
    if (!gr_mul((size_t)floats, sizeof(float) * (size_t)gr_step_threads(s), &s->scratch_size))
        return gr_decline(why, "its rows are too large");
    return true;
}

static void row(const gr_step *s, int64_t item, float *seen)
{
    const gr_tensor *x = s->in[X], *w = s->in[W], *bias = gr_step_in(s, BIAS), *past = gr_step_in(s, PAST);
    const gr_tensor *out = gr_step_out(s, 0), *present = gr_step_out(s, 1);
    int64_t length = x->dims[2], kernel = w->dims[2], before = kernel - 1, channel = item % x->dims[1];
    float *weights = seen + before + length, *y = weights + kernel;
    for (int64_t i = 0; i < before; i++) seen[i] = 0;
    if (past) gr_load_f32(past->dtype, before, past->data, item * before, 1, seen);
    gr_load_f32(x->dtype, length, x->data, item * length, 1, seen + before);
    gr_load_f32(w->dtype, kernel, w->data, channel * kernel, 1, weights);
    float start = bias ? (float)gr_at(bias, channel) : 0;
    for (int64_t t = 0; t < length; t++) y[t] = start;
    for (int64_t j = 0; j < kernel; j++)
        for (int64_t t = 0; t < length; t++) y[t] += weights[j] * seen[t + j];
    for (int64_t t = 0; t < length && GR_PARAMS(params, s)->silu; t++) y[t] = y[t] / (1 + expf(-y[t]));
    if (out) gr_store_f32(out->dtype, length, y, out->data, item * length);
    if (present) gr_store_f32(present->dtype, before, seen + length, present->data, item * before);
}

static gr_status run(const gr_step *s, gr_err *err)
{
    (void)err;
    const gr_tensor *x = s->in[X];
    const int64_t items = x->dims[0] * x->dims[1], each = 2 * (x->dims[2] + s->in[W]->dims[2]);
#pragma omp parallel for num_threads(gr_step_threads(s)) if (x->elements > GR_PARALLEL_MIN / 4)
    for (int64_t i = 0; i < items; i++) row(s, i, (float *)s->scratch + omp_get_thread_num() * each);
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", prepare, run, NULL}, {0}};

const gr_op op_causal_conv[] = {{.name = "CausalConvWithState",
                                 .since = 27,
                                 .in = {2, 4},
                                 .out = 2,
                                 .parse = parse,
                                 .infer = infer,
                                 .kernels = kernels},
                                {0}};
