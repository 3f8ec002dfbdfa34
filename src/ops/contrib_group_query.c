/* SPDX-License-Identifier: Apache-2.0
 *
 * com.microsoft's GroupQueryAttention: causal attention in which several query heads share a key and value head, over a
 * cache that it fills. Inputs: query, key?, value? (or all packed in the first), past_key?, past_value?, the index of
 * each sample's last token, the greatest number of tokens, cosines?, sines? and positions? of the rotation, what is
 * added to scores?, and for each head the score of a key? without a value (0 for all of them with `smooth_softmax`).
 *
 * Of sample b the cache holds past = last + 1 - S tokens, or none if S is the greatest number of tokens; query s sees
 * keys 0 to past + s, at most the last `local_window_size` of them. What the outputs hold behind a sample's end is
 * zero.
 */
#include "elem.h"
#include "exec/eval.h"
#include "move.h"
#include "simd/simd.h"

#include <omp.h>

enum { QUERY, KEY, VALUE, PAST_KEY, PAST_VALUE, LAST, TOTAL, COSINES, SINES, POSITIONS, BIAS, SINK };
enum { Y, PRESENT_KEY, PRESENT_VALUE };

typedef struct params {
    int64_t heads, kv_heads, window; /* window -1: all */
    float scale, softcap;
    bool rotary, interleaved, smooth;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    static const char *const unsupported[] = {"qk_output", "kv_cache_bit_width"};
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    if (!gr_attr_find(attrs, "num_heads")) return gr_fail(err, GR_EMODEL, "attribute 'num_heads' is missing");
    if (!gr_attr_find(attrs, "kv_num_heads")) return gr_fail(err, GR_EMODEL, "attribute 'kv_num_heads' is missing");
    GR_TRY(gr_attr_int_in(attrs, "num_heads", 1, 1, INT32_MAX, &p->heads, err));
    GR_TRY(gr_attr_int_in(attrs, "kv_num_heads", 1, 1, p->heads, &p->kv_heads, err));
    GR_TRY(gr_attr_int_in(attrs, "local_window_size", -1, -1, INT32_MAX, &p->window, err));
    GR_TRY(gr_attr_float(attrs, "scale", 0, &p->scale, err));
    GR_TRY(gr_attr_float(attrs, "softcap", 0, &p->softcap, err));
    GR_TRY(gr_attr_bool(attrs, "do_rotary", false, &p->rotary, err));
    GR_TRY(gr_attr_bool(attrs, "rotary_interleaved", false, &p->interleaved, err));
    int64_t smooth;
    GR_TRY(gr_attr_int(attrs, "smooth_softmax", -1, &smooth, err));
    p->smooth = smooth > 0;
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        int64_t set;
        GR_TRY(gr_attr_int(attrs, unsupported[i], 0, &set, err));
        if (set > 0) return gr_fail(err, GR_EUNSUPPORTED, "attribute '%s' is not supported", unsupported[i]);
    }
    if (p->heads % p->kv_heads)
        return gr_fail(err, GR_EMODEL, "%lld heads of queries do not share %lld of keys", (long long)p->heads,
                       (long long)p->kv_heads);
    return GR_OK;
}

/* ---- inference ---- */

static gr_status check_types(const gr_infer *c, gr_err *err)
{
    const params *p = c->params;
    const uint64_t floats = GR_T(FLOAT) | GR_T(FLOAT16) | GR_T(BFLOAT16), ids = GR_T(INT32) | GR_T(INT64);
    for (uint32_t i = 0; i < c->nin; i++) {
        if (!gr_has(c, i)) continue;
        GR_TRY(gr_require(c, i, i == LAST || i == TOTAL || i == POSITIONS ? ids : floats, err));
        if (i != LAST && i != TOTAL && i != POSITIONS) GR_TRY(gr_require_same(c, QUERY, i, err));
    }
    if (!gr_has(c, QUERY) || !gr_has(c, LAST) || !gr_has(c, TOTAL))
        return gr_fail(err, GR_EMODEL, "the query or the lengths are missing");
    if (gr_has(c, KEY) != gr_has(c, VALUE) || gr_has(c, PAST_KEY) != gr_has(c, PAST_VALUE))
        return gr_fail(err, GR_EMODEL, "keys come without values or values without keys");
    if (p->rotary && (!gr_has(c, COSINES) || !gr_has(c, SINES)))
        return gr_fail(err, GR_EMODEL, "the cosines or sines of the rotation are missing");
    return GR_OK;
}

static bool is(gr_dim d, gr_dim want) { return !gr_dim_known(d) || !gr_dim_known(want) || d.k == want.k; }

static gr_status check_rank(const gr_infer *c, uint32_t i, int rank, gr_err *err)
{
    if (!gr_rank_known(c, i) || c->in[i]->rank == rank) return GR_OK;
    return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected %d", i, c->in[i]->rank, rank);
}

/* What is added to the scores [batch or 1, heads or 1, queries, keys], and the scores of sinks. */
static gr_status check_scores(const gr_infer *c, gr_err *err)
{
    const params *p = c->params;
    const gr_dim *q = c->in[QUERY]->dims, heads = GR_DIM(p->heads);
    GR_TRY(check_rank(c, BIAS, 4, err));
    GR_TRY(check_rank(c, SINK, 1, err));
    if (gr_rank_known(c, SINK) && !is(c->in[SINK]->dims[0], heads))
        return gr_fail(err, GR_EMODEL, "there are %lld scores of sinks for %lld heads",
                       (long long)c->in[SINK]->dims[0].k, (long long)p->heads);
    if (!gr_rank_known(c, BIAS)) return GR_OK;
    const gr_dim *d = c->in[BIAS]->dims;
    if ((is(d[0], q[0]) || gr_dim_is(d[0], 1)) && (is(d[1], heads) || gr_dim_is(d[1], 1)) && is(d[2], q[1]))
        return GR_OK;
    return gr_fail(err, GR_EMODEL, "what is added to the scores does not have their shape");
}

/* The inputs fit each other, as far as their shapes are known. */
static gr_status check_shapes(const gr_infer *c, gr_dim size, gr_err *err)
{
    static const uint8_t ranks[] = {3, 3, 3, 4, 4};
    const params *p = c->params;
    const gr_dim *q = c->in[QUERY]->dims, width = gr_sym_mul(c->syms, size, GR_DIM(p->kv_heads));
    for (uint32_t i = KEY; i <= PAST_VALUE; i++) {
        GR_TRY(check_rank(c, i, ranks[i], err));
        if (!gr_rank_known(c, i)) continue;
        const gr_dim *d = c->in[i]->dims;
        bool fits = is(d[0], q[0]);
        if (i < PAST_KEY)
            fits = fits && is(d[1], q[1]) && is(d[2], width);
        else
            fits = fits && is(d[1], GR_DIM(p->kv_heads)) && is(d[3], size) && is(d[2], c->in[PAST_KEY]->dims[2]);
        if (!fits) return gr_fail(err, GR_EMODEL, "input %u does not fit the query and the numbers of heads", i);
    }
    GR_TRY(check_scores(c, err));
    if (!p->rotary) return GR_OK;
    GR_TRY(check_rank(c, COSINES, 2, err));
    GR_TRY(check_rank(c, SINES, 2, err));
    if (!gr_rank_known(c, COSINES) || !gr_rank_known(c, SINES)) return GR_OK;
    const gr_dim *a = c->in[COSINES]->dims, *b = c->in[SINES]->dims;
    if (!is(a[0], b[0]) || !is(a[1], b[1]) || (gr_dim_known(a[1]) && gr_dim_known(size) && 2 * a[1].k > size.k))
        return gr_fail(err, GR_EMODEL, "cosines and sines do not fit a head");
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const params *p = c->params;
    GR_TRY(check_types(c, err));
    const gr_dtype dtype = c->in[QUERY]->dtype;
    GR_TRY(check_rank(c, QUERY, 3, err));
    for (uint32_t o = 0; o < c->nout; o++) GR_TRY(gr_set(c, o, dtype, GR_RANK_UNKNOWN, NULL));
    if (!gr_rank_known(c, QUERY)) return GR_OK;
    const gr_dim *q = c->in[QUERY]->dims;
    const int64_t all = gr_has(c, KEY) ? p->heads : p->heads + 2 * p->kv_heads;
    if (gr_dim_known(q[2]) && (q[2].k % all || !q[2].k))
        return gr_fail(err, GR_EMODEL, "%lld elements do not make up %lld heads", (long long)q[2].k, (long long)all);
    const gr_dim size = gr_sym_div(c->syms, q[2], GR_DIM(all));
    GR_TRY(check_shapes(c, size, err));
    gr_dim *y = gr_dims(c, 3), *present = gr_dims(c, 4), total;
    y[0] = present[0] = q[0];
    y[1] = q[1];
    y[2] = gr_sym_mul(c->syms, size, GR_DIM(p->heads));
    present[1] = GR_DIM(p->kv_heads);
    present[2] = gr_sym_fresh(c->syms);
    present[3] = size;
    const bool past = gr_has(c, PAST_KEY);
    if (gr_known_int(c, TOTAL, &total) && gr_dim_known(total) && (!past || gr_rank_known(c, PAST_KEY))) {
        const gr_dim held = past ? c->in[PAST_KEY]->dims[2] : GR_DIM(0);
        if (total.k < 0) return gr_fail(err, GR_EINPUT, "the number of tokens is %lld", (long long)total.k);
        if (gr_dim_known(held)) present[2] = GR_DIM(held.k > total.k ? held.k : total.k);
    }
    GR_TRY(gr_set(c, Y, dtype, 3, y));
    for (uint32_t o = PRESENT_KEY; o < c->nout; o++) GR_TRY(gr_set(c, o, dtype, 4, present));
    return GR_OK;
}

/* ---- the kernel ---- */

typedef struct work {
    const params *p;
    const gr_step *s;
    int64_t batch, tokens, size, held, room; /* held: tokens that the past has room for, room: the present */
    int64_t q_width, pairs;                  /* pairs of numbers that are rotated */
    bool prompt;
    float scale;
} work;

static int64_t past_of(const work *w, int64_t b)
{
    return w->prompt ? 0 : gr_int_at(w->s->in[LAST], b) + 1 - w->tokens;
}

static int64_t position_of(const work *w, int64_t b, int64_t s)
{
    const gr_tensor *ids = gr_step_in(w->s, POSITIONS);
    return ids ? gr_int_at(ids, b * w->tokens + s) : past_of(w, b) + s;
}

static gr_status check_lengths(const work *w, gr_err *err)
{
    const gr_step *s = w->s;
    const gr_tensor *ids = gr_step_in(s, POSITIONS), *bias = gr_step_in(s, BIAS);
    if (s->in[LAST]->elements != w->batch)
        return gr_fail(err, GR_EINPUT, "there are %lld lengths for %lld samples", (long long)s->in[LAST]->elements,
                       (long long)w->batch);
    if (ids && w->p->rotary && ids->elements != w->batch * w->tokens)
        return gr_fail(err, GR_EINPUT, "there are %lld positions for %lld tokens", (long long)ids->elements,
                       (long long)(w->batch * w->tokens));
    for (int64_t b = 0; b < w->batch; b++) {
        const int64_t past = past_of(w, b), last = gr_int_at(s->in[LAST], b);
        if (past < 0 || past > w->held || past + w->tokens > w->room || last < 0 || last >= w->room)
            return gr_fail(err, GR_EINPUT,
                           "sample %lld ends at token %lld, which %lld cached and %lld new tokens do not reach",
                           (long long)b, (long long)last, (long long)w->held, (long long)w->tokens);
        if (bias && past + w->tokens > bias->dims[3])
            return gr_fail(err, GR_EINPUT, "something is added to the scores of %lld keys, sample %lld has %lld",
                           (long long)bias->dims[3], (long long)b, (long long)(past + w->tokens));
        for (int64_t i = 0; w->p->rotary && i < w->tokens; i++)
            if (position_of(w, b, i) < 0 || position_of(w, b, i) >= s->in[COSINES]->dims[0])
                return gr_fail(err, GR_EINPUT, "position %lld has no cosine", (long long)position_of(w, b, i));
    }
    return GR_OK;
}

static void rotate(const work *w, int64_t b, int64_t s, float *x)
{
    const int64_t first = position_of(w, b, s) * w->pairs;
    for (int64_t i = 0; i < w->pairs; i++) {
        const float c = (float)gr_at(w->s->in[COSINES], first + i), d = (float)gr_at(w->s->in[SINES], first + i);
        float *u = w->p->interleaved ? x + 2 * i : x + i, *v = w->p->interleaved ? u + 1 : u + w->pairs;
        const float a = *u;
        *u = a * c - *v * d;
        *v = *v * c + a * d;
    }
}

/* A row of the new queries (which 0), keys (1) or values (2) in float. */
static void new_row(const work *w, int which, int64_t b, int64_t s, int64_t head, float *to)
{
    const gr_tensor *t = gr_step_in(w->s, (uint32_t)which);
    int64_t width = w->p->kv_heads * w->size, skip = 0;
    if (!which || !t) {
        t = w->s->in[QUERY];
        width = w->q_width;
        skip = which == 0 ? 0 : which == 1 ? w->p->heads : w->p->heads + w->p->kv_heads;
    }
    gr_load_f32(t->dtype, w->size, t->data, (b * w->tokens + s) * width + (skip + head) * w->size, 1, to);
    if (which < 2 && w->p->rotary) rotate(w, b, s, to);
}

/* Keys (1) or values (2) of a head, past and new, in float; and to the output if it is wanted. */
static void gather(const work *w, int which, int64_t b, int64_t head, float *rows)
{
    const gr_tensor *past = gr_step_in(w->s, which == 1 ? PAST_KEY : PAST_VALUE);
    const gr_tensor *present = gr_step_out(w->s, (uint32_t)which);
    const int64_t n = past_of(w, b), at = b * w->p->kv_heads + head;
    memset(rows, 0, (size_t)(w->room * w->size) * sizeof *rows);
    if (n) gr_load_f32(past->dtype, n * w->size, past->data, at * w->held * w->size, 1, rows);
    for (int64_t s = 0; s < w->tokens; s++) new_row(w, which, b, s, head, rows + (n + s) * w->size);
    if (present) gr_store_f32(present->dtype, w->room * w->size, rows, present->data, at * w->room * w->size);
}

/* Adds to the scores of query s of a head, which are those of keys [first, end). */
static void add_bias(const work *w, int64_t b, int64_t s, int64_t head, int64_t first, int64_t end, float *x)
{
    const gr_tensor *t = gr_step_in(w->s, BIAS);
    if (!t) return;
    const int64_t plane = (t->dims[0] > 1 ? b : 0) * t->dims[1] + (t->dims[1] > 1 ? head : 0);
    const int64_t row = (plane * w->tokens + s) * t->dims[3];
    for (int64_t i = first; i < end; i++) x[i] += (float)gr_at(t, row + i);
}

static void attend(const work *w, int64_t b, int64_t s, int64_t head, const float *keys, const float *values, float *x)
{
    const gr_simd *v = gr_simd_best();
    const int64_t end = past_of(w, b) + s + 1, size = w->size;
    const int64_t first = w->p->window > 0 && end > w->p->window ? end - w->p->window : 0;
    const gr_tensor *sinks = gr_step_in(w->s, SINK);
    const bool sink = sinks || w->p->smooth;
    float *q = x + w->room + 1, *y = q + size;
    new_row(w, 0, b, s, head, q);
    for (int64_t t = first; t < end; t++) {
        x[t] = w->scale * v->dot((size_t)size, q, keys + t * size);
        if (w->p->softcap > 0) x[t] = w->p->softcap * tanhf(x[t] / w->p->softcap);
    }
    add_bias(w, b, s, head, first, end, x);
    if (sink) x[end] = sinks ? (float)gr_at(sinks, head) : 0;
    v->softmax((size_t)(end - first + sink), x + first, 1, NULL, x + first);
    memset(y, 0, (size_t)size * sizeof *y);
    for (int64_t t = first; t < end; t++)
        for (int64_t i = 0; i < size; i++) y[i] += x[t] * values[t * size + i];
    const gr_tensor *out = gr_step_out(w->s, Y);
    if (out) gr_store_f32(out->dtype, size, y, out->data, ((b * w->tokens + s) * w->p->heads + head) * size);
}

static gr_status run(const gr_step *s, gr_err *err)
{
    const params *p = s->params;
    const gr_tensor *q = s->in[QUERY], *past = gr_step_in(s, PAST_KEY);
    work w = {.p = p, .s = s, .batch = q->dims[0], .tokens = q->dims[1], .q_width = q->dims[2]};
    if (s->in[TOTAL]->elements != 1) return gr_fail(err, GR_EINPUT, "the number of tokens is not one number");
    const int64_t total = gr_int_at(s->in[TOTAL], 0), group = p->heads / p->kv_heads;
    w.size = w.q_width / (gr_step_in(s, KEY) ? p->heads : p->heads + 2 * p->kv_heads);
    w.held = past ? past->dims[2] : 0;
    if (total < 0 || total > w.held + w.tokens)
        return gr_fail(err, GR_EINPUT, "the number of tokens is %lld, with %lld cached and %lld new ones",
                       (long long)total, (long long)w.held, (long long)w.tokens);
    w.room = w.held > total ? w.held : total;
    w.prompt = w.tokens == total;
    w.scale = p->scale != 0 ? p->scale : 1 / sqrtf((float)w.size);
    w.pairs = p->rotary ? s->in[COSINES]->dims[1] : 0;
    GR_TRY(check_lengths(&w, err));
    for (uint32_t o = PRESENT_KEY; o < s->nout; o++)
        if (s->out[o] && s->out[o]->rank < 0)
            GR_TRY(gr_out_alloc(s, o, 4, (int64_t[]){w.batch, p->kv_heads, w.room, w.size}, err));
    const size_t each = (size_t)(2 * w.room * w.size + w.room + 1 + 2 * w.size) * sizeof(float);
    const int threads = gr_step_threads(s);
    bool failed = false;
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(threads) reduction(|| : failed)
    for (int64_t b = 0; b < w.batch; b++)
        for (int64_t head = 0; head < p->kv_heads; head++) {
            float *keys = gr_malloc_aligned(each), *values = keys ? keys + w.room * w.size : NULL;
            if (!(failed = !keys || failed)) {
                gather(&w, 1, b, head, keys);
                gather(&w, 2, b, head, values);
                for (int64_t t = 0; t < w.tokens; t++)
                    for (int64_t g = 0; g < group; g++)
                        attend(&w, b, t, head * group + g, keys, values, values + w.room * w.size);
            }
            gr_free_aligned(keys, each);
        }
    return failed ? gr_nomem(err) : GR_OK;
}

static const gr_kernel kernels[] = {{"ref", NULL, run, NULL}, {0}};

const gr_op op_contrib_group_query[] = {
    {.name = "GroupQueryAttention",
     .since = 1,
     .in = {1, 12},
     .out = 3,
     .flags = GR_OP_DYNAMIC,
     .parse = parse,
     .infer = infer,
     .kernels = kernels,
     .domain = "com.microsoft"},
    {0},
};
