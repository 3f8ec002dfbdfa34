/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention: softmax(q k^T scale + bias) v for every head. Two operators share the kernels: ONNX's (grouped heads,
 * caches, causal and windowed masks, soft cap) and the fused graphrun.Attention, which takes queries, keys and values
 * [batch, tokens, heads * size] as they leave their matrix product or split by heads [batch, heads, tokens, size] as
 * they leave a cache, gives [batch, tokens, heads * size], adds one mask, and may multiply the probabilities by factors
 * that broadcast to them (a head mask). Its output 3 is the probabilities after that.
 *
 * The bias of a query row is the sum of the mask and -inf for every key that may not be seen. ONNX gives zeros for a
 * query that sees no key at all; the fused operator is only a spelling of Softmax and gives NaN as that does, unless its
 * attribute empty_is_zero says otherwise (exporters guard Softmax with Where(IsNaN(p), 0, p)).
 */
#include "elem.h"
#include "exec/rows.h"
#include "exec/threads.h"
#include "graph/spell.h"
#include "simd/simd.h"

enum { QUERY, KEY, VALUE, MASK, PAST_KEY, PAST_VALUE, VALID, FACTORS }; /* inputs; the last one of the fused operator */
enum { Y, PRESENT_KEY, PRESENT_VALUE, SCORES };                         /* outputs */
enum scores_mode { RAW, CAPPED, BIASED, PROBABILITIES };

typedef struct params {
    bool fused;
    bool zero_empty;         /* a query that sees no key gives zeros, not NaN */
    bool causal;
    bool pads_mask;          /* a mask of one column is short, not repeated (from opset 24 on) */
    int64_t heads, kv_heads; /* of 3-D inputs; 0: not given */
    float scale, softcap;
    bool scaled;         /* scale is given, else it is 1 / sqrt(size of a head) */
    int64_t left, right; /* window; -1: unbounded */
    enum scores_mode mode;
    gr_dtype precision; /* of the softmax; GR_UNDEFINED: that of q */
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, bool pads_mask, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    int64_t mode;
    if (!p) return gr_nomem(err);
    *out = p;
    p->pads_mask = pads_mask;
    p->zero_empty = true;
    p->scaled = gr_attr_find(attrs, "scale") != NULL;
    GR_TRY(gr_attr_float(attrs, "scale", 0, &p->scale, err));
    GR_TRY(gr_attr_float(attrs, "softcap", 0, &p->softcap, err));
    GR_TRY(gr_attr_bool(attrs, "is_causal", false, &p->causal, err));
    GR_TRY(gr_attr_int_in(attrs, "q_num_heads", 0, 0, INT32_MAX, &p->heads, err));
    GR_TRY(gr_attr_int_in(attrs, "kv_num_heads", 0, 0, INT32_MAX, &p->kv_heads, err));
    GR_TRY(gr_attr_int_in(attrs, "left_window_size", -1, -1, INT64_MAX / 4, &p->left, err));
    GR_TRY(gr_attr_int_in(attrs, "right_window_size", -1, -1, INT64_MAX / 4, &p->right, err));
    GR_TRY(gr_attr_int_in(attrs, "qk_matmul_output_mode", RAW, RAW, PROBABILITIES, &mode, err));
    GR_TRY(gr_attr_dtype(attrs, "softmax_precision", GR_UNDEFINED, &p->precision, err));
    p->mode = (enum scores_mode)mode;
    if (p->precision != GR_UNDEFINED && !gr_dtype_is_float(p->precision))
        return gr_fail(err, GR_EMODEL, "attribute 'softmax_precision' is %s, expected a type of floating-point numbers",
                       gr_dtype_name(p->precision));
    return GR_OK;
}

static gr_status parse_23(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse(attrs, arena, false, out, err);
}

static gr_status parse_24(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    return parse(attrs, arena, true, out, err);
}

static gr_status parse_fused(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    *p = (params){.fused = true,
                  .left = -1,
                  .right = -1,
                  .scaled = gr_attr_find(attrs, "scale") != NULL,
                  .mode = PROBABILITIES};
    GR_TRY(gr_attr_bool(attrs, "empty_is_zero", false, &p->zero_empty, err));
    if (!gr_attr_find(attrs, "num_heads")) return gr_fail(err, GR_EMODEL, "attribute 'num_heads' is missing");
    GR_TRY(gr_attr_float(attrs, "scale", 0, &p->scale, err));
    GR_TRY(gr_attr_int_in(attrs, "num_heads", 1, 1, INT32_MAX, &p->heads, err));
    return gr_attr_int_in(attrs, "kv_num_heads", p->heads, 1, INT32_MAX, &p->kv_heads, err);
}

/* ---- inference ---- */

/* Sizes as far as they are known; a dimension that two inputs give is checked. */
typedef struct shape {
    gr_dim batch, heads, kv_heads, queries, keys, past, head, v_head;
} shape;

static gr_status unify(gr_dim *a, gr_dim b, const char *what, gr_err *err)
{
    if (gr_dim_known(*a) && gr_dim_known(b) && a->k != b.k)
        return gr_fail(err, GR_EMODEL, "inputs disagree about the %s: %lld and %lld", what, (long long)a->k,
                       (long long)b.k);
    if (gr_dim_known(b)) *a = b;
    return GR_OK;
}

/* Heads, tokens and size of a head of q, k or v. */
static gr_status split(const gr_infer *c, uint32_t i, int64_t heads, gr_dim *n, gr_dim *tokens, gr_dim *size,
                       gr_err *err)
{
    const gr_type *t = c->in[i];
    if (t->rank == 4) {
        *n = t->dims[1], *tokens = t->dims[2], *size = t->dims[3];
        if (heads && gr_dim_known(*n) && n->k != heads)
            return gr_fail(err, GR_EMODEL, "input %u has %lld heads, its attribute says %lld", i, (long long)n->k,
                           (long long)heads);
        return GR_OK;
    }
    if (t->rank != 3) return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected 3 or 4", i, t->rank);
    if (!heads)
        return gr_fail(err, GR_EMODEL, "attribute '%s' is missing, which 3-D inputs need",
                       i == QUERY ? "q_num_heads" : "kv_num_heads");
    if (gr_dim_known(t->dims[2]) && t->dims[2].k % heads)
        return gr_fail(err, GR_EMODEL, "%lld elements of input %u do not make up %lld heads", (long long)t->dims[2].k,
                       i, (long long)heads);
    *n = GR_DIM(heads), *tokens = t->dims[1], *size = gr_sym_div(c->syms, t->dims[2], GR_DIM(heads));
    return GR_OK;
}

static gr_status check_past(const gr_infer *c, shape *z, gr_err *err)
{
    if (gr_has(c, PAST_KEY) != gr_has(c, PAST_VALUE))
        return gr_fail(err, GR_EMODEL, "past_key and past_value must be given together");
    z->past = gr_has(c, PAST_KEY) ? gr_sym_fresh(c->syms) : GR_DIM(0);
    if (gr_has(c, PAST_KEY) && gr_has(c, VALID))
        return gr_fail(err, GR_EMODEL, "nonpad_kv_seqlen cannot be combined with past_key");
    bool first = true;
    for (uint32_t i = PAST_KEY; i <= PAST_VALUE; i++) {
        if (!gr_rank_known(c, i)) continue;
        const gr_type *t = c->in[i];
        if (t->rank != 4) return gr_fail(err, GR_EMODEL, "input %u has rank %d, expected 4", i, t->rank);
        GR_TRY(unify(&z->batch, t->dims[0], "batch size", err));
        GR_TRY(unify(&z->kv_heads, t->dims[1], "number of key heads", err));
        if (first)
            z->past = t->dims[2];
        else
            GR_TRY(unify(&z->past, t->dims[2], "length of the past", err));
        GR_TRY(unify(i == PAST_KEY ? &z->head : &z->v_head, t->dims[3], "size of a head", err));
        first = false;
    }
    return GR_OK;
}

static gr_status measure(const gr_infer *c, shape *z, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    gr_dim n, tokens;
    GR_TRY(split(c, QUERY, p->heads, &z->heads, &z->queries, &z->head, err));
    GR_TRY(split(c, KEY, p->kv_heads, &z->kv_heads, &z->keys, &n, err));
    GR_TRY(unify(&z->head, n, "size of a head", err));
    GR_TRY(split(c, VALUE, p->kv_heads, &n, &tokens, &z->v_head, err));
    GR_TRY(unify(&z->kv_heads, n, "number of key heads", err));
    GR_TRY(unify(&z->keys, tokens, "number of keys", err));
    z->batch = c->in[QUERY]->dims[0];
    GR_TRY(unify(&z->batch, c->in[KEY]->dims[0], "batch size", err));
    GR_TRY(unify(&z->batch, c->in[VALUE]->dims[0], "batch size", err));
    GR_TRY(check_past(c, z, err));
    if (gr_dim_known(z->heads) && gr_dim_known(z->kv_heads) && (z->kv_heads.k < 1 || z->heads.k % z->kv_heads.k))
        return gr_fail(err, GR_EMODEL, "%lld query heads cannot be shared out among %lld key heads",
                       (long long)z->heads.k, (long long)z->kv_heads.k);
    return GR_OK;
}

/* A mask or factors. */
static gr_status check_mask(const gr_infer *c, uint32_t input, const shape *z, gr_dim total, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    gr_dim want[4] = {z->batch, z->heads, z->queries, total};
    if (!gr_rank_known(c, input)) return GR_OK;
    const gr_type *t = c->in[input];
    if (t->rank > 4) return gr_fail(err, GR_EMODEL, "the mask has rank %d, expected at most 4", t->rank);
    for (int i = 0; i < t->rank; i++) {
        int at = i + 4 - t->rank;
        if (!gr_dim_known(t->dims[i]) || !gr_dim_known(want[at])) continue;
        int64_t have = t->dims[i].k, full = want[at].k;
        if (have != full && have != 1 && !(at == 3 && !p->fused && have < full))
            return gr_fail(err, GR_EMODEL, "axis %d of the mask has %lld elements, expected %lld or 1", i,
                           (long long)have, (long long)full);
    }
    return GR_OK;
}

static gr_status check_valid(const gr_infer *c, const shape *z, gr_err *err)
{
    if (!gr_rank_known(c, VALID)) return GR_OK;
    gr_dim batch = z->batch;
    if (c->in[VALID]->rank != 1)
        return gr_fail(err, GR_EMODEL, "nonpad_kv_seqlen has rank %d, expected 1", c->in[VALID]->rank);
    return unify(&batch, c->in[VALID]->dims[0], "batch size", err);
}

static gr_status check_types(const gr_infer *c, gr_err *err)
{
    bool fused = GR_PARAMS(params, c)->fused;
    for (uint32_t i = QUERY; i <= VALUE; i++) GR_TRY(gr_require(c, i, GR_T_FLOATS, err));
    GR_TRY(gr_require_same(c, QUERY, KEY, err));
    GR_TRY(gr_require(c, MASK, fused ? GR_T_FLOATS : GR_T_ALL, err));
    GR_TRY(gr_require(c, FACTORS, GR_T_FLOATS, err));
    GR_TRY(gr_require_same(c, PAST_KEY, KEY, err));
    GR_TRY(gr_require_same(c, PAST_VALUE, VALUE, err));
    return gr_require(c, VALID, GR_T(INT64), err);
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    gr_dtype dtype = gr_has(c, QUERY) ? c->in[QUERY]->dtype : GR_UNDEFINED;
    for (uint32_t i = QUERY; i <= VALUE; i++)
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
    GR_TRY(check_types(c, err));
    if (!gr_rank_known(c, QUERY) || !gr_rank_known(c, KEY) || !gr_rank_known(c, VALUE)) {
        for (uint32_t o = 0; o < c->nout; o++)
            gr_set(c, o, o == PRESENT_VALUE ? c->in[VALUE]->dtype : dtype, GR_RANK_UNKNOWN, NULL);
        return GR_OK;
    }
    shape z;
    int rank = c->in[QUERY]->rank;
    bool alike = c->in[KEY]->rank == rank && c->in[VALUE]->rank == rank;
    if (!p->fused && !alike)
        return gr_fail(err, GR_EMODEL, "inputs 0, 1 and 2 have ranks %d, %d and %d, expected 3 or 4 for all", rank,
                       c->in[KEY]->rank, c->in[VALUE]->rank);
    GR_TRY(measure(c, &z, err));
    gr_dim total = gr_sym_add(c->syms, z.past, z.keys);
    GR_TRY(check_mask(c, MASK, &z, total, err));
    GR_TRY(check_mask(c, FACTORS, &z, total, err));
    GR_TRY(check_valid(c, &z, err));
    gr_dim *y = gr_dims(c, 4), *keys = gr_dims(c, 4), *values = gr_dims(c, 4), *scores = gr_dims(c, 4);
    y[0] = keys[0] = values[0] = scores[0] = z.batch;
    if (p->fused) rank = 3;
    y[1] = rank == 4 ? z.heads : z.queries;
    y[2] = rank == 4 ? z.queries : gr_sym_mul(c->syms, z.heads, z.v_head);
    y[3] = z.v_head;
    keys[1] = values[1] = z.kv_heads;
    keys[2] = values[2] = total;
    keys[3] = z.head, values[3] = z.v_head;
    scores[1] = z.heads, scores[2] = z.queries, scores[3] = total;
    gr_set(c, PRESENT_KEY, dtype, 4, keys);
    gr_set(c, PRESENT_VALUE, c->in[VALUE]->dtype, 4, values);
    gr_set(c, SCORES, dtype, 4, scores);
    return gr_set(c, Y, dtype, rank, y);
}

/* ---- what both kernels share ---- */

/* Where an operand has its heads, as strides in elements; elements of a head are contiguous. */
typedef struct place {
    int64_t batch, head, token;
} place;

typedef struct layout {
    int64_t batch, heads, kv_heads, queries, keys, past, total, head, v_head;
    place q, k, v, y;           /* k and v without the past */
    int64_t factors[4];         /* strides */
    int64_t mask[4], mask_keys; /* strides, and keys that the mask has an entry for (others may not be seen) */
    double scale;
} layout;

static place place_of(const gr_tensor *t, int64_t size)
{
    if (t->head_pitch) return (place){t->row_pitch, t->head_pitch, size};
    if (t->rank == 4) return (place){t->dims[1] * t->dims[2] * size, t->dims[2] * size, size};
    return (place){t->dims[1] * t->dims[2], size, t->dims[2]};
}

static layout layout_of(const gr_step *s)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *q = s->in[QUERY], *k = s->in[KEY], *v = s->in[VALUE], *y = s->out[Y], *mask = gr_step_in(s, MASK);
    layout l = {.batch = q->dims[0],
                .heads = q->rank == 4 ? q->dims[1] : p->heads,
                .kv_heads = k->rank == 4 ? k->dims[1] : p->kv_heads,
                .queries = q->dims[q->rank - 2],
                .keys = k->dims[k->rank - 2]};
    l.head = q->rank == 4 ? q->dims[3] : q->dims[2] / l.heads;
    l.v_head = v->rank == 4 ? v->dims[3] : v->dims[2] / l.kv_heads;
    l.past = gr_step_in(s, PAST_KEY) ? s->in[PAST_KEY]->dims[2] : 0;
    l.total = l.past + l.keys;
    l.q = place_of(q, l.head);
    l.k = place_of(k, l.head);
    l.v = place_of(v, l.v_head);
    if (y) l.y = place_of(y, l.v_head);
    l.scale = p->scaled ? (double)p->scale : 1 / sqrt((double)l.head);
    l.mask_keys = l.total;
    int64_t full[4] = {l.batch, l.heads, l.queries, l.total};
    if (gr_step_in(s, FACTORS)) gr_broadcast_strides(s->in[FACTORS], 4, full, l.factors);
    if (!mask) return l;
    int64_t columns = mask->rank ? mask->dims[mask->rank - 1] : 1;
    if (columns < l.total && (columns != 1 || (p->pads_mask && mask->rank))) l.mask_keys = full[3] = columns;
    gr_broadcast_strides(mask, 4, full, l.mask);
    return l;
}

/* Keys [begin, end) that causality, window and padding leave for a query. */
typedef struct span {
    int64_t begin, end;
} span;

static span visible(const gr_step *s, const layout *l, int64_t b, int64_t query)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *valid = gr_step_in(s, VALID);
    int64_t n = valid ? ((const int64_t *)valid->data)[b] : l->total;
    int64_t at = query + (valid ? n - l->queries : l->past); /* position of the query among the keys */
    span v = {0, n < l->mask_keys ? n : l->mask_keys};
    if (p->causal && at + 1 < v.end) v.end = at + 1;
    if (p->right >= 0 && at + p->right + 1 < v.end) v.end = at + p->right + 1;
    if (p->left >= 0 && at - p->left > v.begin) v.begin = at - p->left;
    if (v.end < v.begin) v.begin = v.end = 0;
    return v;
}

static gr_status check_valid_counts(const gr_step *s, const layout *l, gr_err *err)
{
    const gr_tensor *valid = gr_step_in(s, VALID);
    for (int64_t b = 0; valid && b < l->batch; b++) {
        int64_t n = ((const int64_t *)valid->data)[b];
        if (n < 0 || n > l->total)
            return gr_fail(err, GR_EINPUT, "nonpad_kv_seqlen has %lld, expected 0 to %lld", (long long)n,
                           (long long)l->total);
    }
    return GR_OK;
}

/* Past and new rows behind each other: present[b, h, t], with elements of `bytes` bytes. */
static void concatenate(const layout *l, const gr_tensor *past, const gr_tensor *now, place at, int64_t size,
                        size_t bytes, void *present)
{
    char *to = present;
    for (int64_t i = 0; i < l->batch * l->kv_heads; i++) {
        size_t row = (size_t)size * bytes, old = row * (size_t)l->past;
        if (past && old) memcpy(to, (const char *)past->data + (size_t)i * old, old);
        to += old;
        int64_t from = i / l->kv_heads * at.batch + i % l->kv_heads * at.head;
        for (int64_t t = 0; t < l->keys; t++, to += row)
            if (row) memcpy(to, (const char *)now->data + (size_t)(from + t * at.token) * bytes, row);
    }
}

static void write_present(const gr_step *s, const layout *l, uint32_t o, uint32_t past, uint32_t now, place at,
                          int64_t size)
{
    const gr_tensor *present = gr_step_out(s, o);
    size_t bytes = (size_t)gr_dtype_bits(s->in[now]->dtype) / 8;
    if (present && present->elements) concatenate(l, gr_step_in(s, past), s->in[now], at, size, bytes, present->data);
}

/* ---- ref: every tensor of ONNX's function body is rounded to the type it has there ---- */

static bool ref_prepare(gr_step *s, gr_why *why)
{
    (void)why;
    layout l = layout_of(s);
    s->scratch_size = ((size_t)l.total + 1) * sizeof(double);
    return true;
}

/* Element j of row t of k or v, the past before the new. */
static double key_at(const gr_tensor *past, const gr_tensor *now, const layout *l, place at, int64_t size, int64_t b,
                     int64_t h, int64_t t, int64_t j)
{
    if (t < l->past) return gr_at(past, ((b * l->kv_heads + h) * l->past + t) * size + j);
    return gr_at(now, b * at.batch + h * at.head + (t - l->past) * at.token + j);
}

static double dot(const gr_step *s, const layout *l, int64_t b, int64_t h, int64_t query, int64_t key)
{
    gr_dtype dtype = s->in[QUERY]->dtype;
    int64_t first = b * l->q.batch + h * l->q.head + query * l->q.token;
    double sum = 0, root = l->scale < 0 ? 1 : gr_rounded(dtype, sqrt(l->scale)), rest = l->scale < 0 ? l->scale : 1;
    for (int64_t j = 0; j < l->head; j++) {
        double x = gr_at(s->in[QUERY], first + j);
        double y =
            key_at(gr_step_in(s, PAST_KEY), s->in[KEY], l, l->k, l->head, b, h / (l->heads / l->kv_heads), key, j);
        sum += gr_rounded(dtype, x * root) * gr_rounded(dtype, y * root);
    }
    return gr_rounded(dtype, sum * rest);
}

static double bias_at(const gr_step *s, const layout *l, span seen, int64_t b, int64_t h, int64_t query, int64_t key)
{
    const gr_tensor *mask = gr_step_in(s, MASK);
    double bias = key < seen.begin || key >= seen.end ? -INFINITY : 0;
    if (!mask || key >= l->mask_keys) return bias;
    double m = gr_at(mask, b * l->mask[0] + h * l->mask[1] + query * l->mask[2] + key * l->mask[3]);
    return bias + (mask->dtype != GR_BOOL ? m : m != 0 ? 0 : -INFINITY);
}

static void put_scores(const gr_step *s, const layout *l, enum scores_mode mode, int64_t row, const double *x)
{
    const gr_tensor *scores = gr_step_out(s, SCORES);
    if (scores && GR_PARAMS(params, s)->mode == mode)
        gr_store_f64(scores->dtype, l->total, x, scores->data, row * l->total);
}

/* x[i] = exp(x[i] - max) / sum(exp(x - max)) in the type of the softmax, then in that of q */
static void softmax(const gr_step *s, int64_t n, double *x)
{
    const params *p = GR_PARAMS(params, s);
    gr_dtype dtype = s->in[QUERY]->dtype, precision = p->precision == GR_UNDEFINED ? dtype : p->precision;
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = fmax(max, x[i] = gr_rounded(precision, x[i]));
    for (int64_t i = 0; i < n; i++) sum += x[i] = gr_rounded(precision, exp(gr_rounded(precision, x[i] - max)));
    sum = gr_rounded(precision, sum);
    for (int64_t i = 0; i < n; i++) x[i] = gr_rounded(dtype, gr_rounded(precision, x[i] / sum));
}

/* Probabilities of all keys for one query into p. */
static void ref_row(const gr_step *s, const layout *l, int64_t b, int64_t h, int64_t query, double *p)
{
    const params *a = GR_PARAMS(params, s);
    gr_dtype dtype = s->in[QUERY]->dtype;
    int64_t row = (b * l->heads + h) * l->queries + query;
    span seen = visible(s, l, b, query);
    double greatest = -INFINITY, cap = (double)a->softcap;
    for (int64_t t = 0; t < l->total; t++) p[t] = dot(s, l, b, h, query, t);
    put_scores(s, l, RAW, row, p);
    for (int64_t t = 0; t < l->total && cap > 0; t++) p[t] = gr_rounded(dtype, tanh(p[t] / cap) * cap);
    put_scores(s, l, CAPPED, row, p);
    for (int64_t t = 0; t < l->total; t++) {
        double bias = bias_at(s, l, seen, b, h, query, t);
        greatest = fmax(greatest, bias);
        p[t] = gr_rounded(dtype, p[t] + bias);
    }
    put_scores(s, l, BIASED, row, p);
    softmax(s, l->total, p);
    if (a->zero_empty && greatest == -INFINITY) memset(p, 0, (size_t)l->total * sizeof *p);
    const gr_tensor *factors = gr_step_in(s, FACTORS);
    const int64_t at = b * l->factors[0] + h * l->factors[1] + query * l->factors[2];
    for (int64_t t = 0; factors && t < l->total; t++)
        p[t] = gr_rounded(dtype, p[t] * gr_at(factors, at + t * l->factors[3]));
    put_scores(s, l, PROBABILITIES, row, p);
}

static gr_status ref_run(const gr_step *s, gr_err *err)
{
    layout l = layout_of(s);
    double *p = s->scratch;
    const gr_tensor *y = gr_step_out(s, Y);
    GR_TRY(check_valid_counts(s, &l, err));
    write_present(s, &l, PRESENT_KEY, PAST_KEY, KEY, l.k, l.head);
    write_present(s, &l, PRESENT_VALUE, PAST_VALUE, VALUE, l.v, l.v_head);
    if (!(y && y->elements) && !gr_step_out(s, SCORES)) return GR_OK;
    int64_t rows = l.batch * l.heads * l.queries;
    for (int64_t i = 0; i < rows; i++) {
        int64_t b = i / l.queries / l.heads, h = i / l.queries % l.heads, query = i % l.queries;
        ref_row(s, &l, b, h, query, p);
        for (int64_t j = 0; y && j < l.v_head; j++) {
            double sum = 0;
            for (int64_t t = 0; t < l.total; t++)
                sum += p[t] * key_at(gr_step_in(s, PAST_VALUE), s->in[VALUE], &l, l.v, l.v_head, b,
                                     h / (l.heads / l.kv_heads), t, j);
            gr_at_put(y, b * l.y.batch + h * l.y.head + query * l.y.token + j, sum);
        }
    }
    return GR_OK;
}

/* ---- tiled, float32 ----
 * A task is one head of one sample, or a stretch of its queries if there are few heads. It packs k^T and v once, and
 * for each tile of queries writes scores into scratch of the thread, turns them into probabilities there and multiplies
 * them with v straight into y. Only keys that some query of the tile can see take part. What a task does depends
 * neither on the batch nor on the number of threads, save for where stretches end, which changes no sum.
 * Under a mask with one row for each sequence, keys before the first and behind the last that it lets be seen are left
 * out: a padded sequence has the bits that it has alone. */

enum {
    TILE = 48, /* queries: a multiple of the row tiles of products */
    TASKS_PER_THREAD = 4,
    PARALLEL_FLOPS = 500000, /* about ten microseconds of one core: what waking others costs */
};

typedef struct tiled {
    layout l;
    place k, v;                 /* of keys and values with the past in front */
    const float *keys, *values; /* NULL: as the inputs say */
    int64_t tile, stretches;
    bool trims;                                 /* the mask has one row for each sequence, and nothing else hides keys */
    int64_t row;                                /* floats from one row of scores to the next */
    size_t present, packed_k, packed_v, thread; /* bytes: joined keys and values, then each thread's part */
} tiled;

/* What a task needs to know of its sequence: where it begins in the operands, in elements, and how long it is. */
typedef struct sequence {
    int64_t q, k, v, y;
    int64_t queries, keys;
    int64_t skipped; /* keys that are left out before the first */
} sequence;

static bool is_float(const gr_step *s, uint32_t i) { return !gr_step_in(s, i) || s->in[i]->dtype == GR_FLOAT; }

static size_t up(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Scratch for a cache of past and new rows, if no output holds them. */
static size_t joined_size(const gr_step *s, const layout *l, uint32_t o, int64_t size)
{
    if (!l->past || gr_step_out(s, o)) return 0;
    return up((size_t)(l->batch * l->kv_heads * l->total * size) * sizeof(float));
}

static bool tiled_sizes(gr_step *s, tiled *t)
{
    const layout *l = &t->l;
    int threads = gr_step_threads(s);
    int64_t tasks = l->batch * l->heads, tiles;
    t->tile = l->queries < TILE ? l->queries : TILE;
    tiles = (l->queries + t->tile - 1) / t->tile;
    t->stretches = tasks >= (int64_t)threads * TASKS_PER_THREAD ? 1 : (threads * TASKS_PER_THREAD + tasks - 1) / tasks;
    if (threads == 1) t->stretches = 1;
    if (t->stretches > tiles) t->stretches = tiles;
    t->row = (l->total + 15) / 16 * 16;
    t->packed_k = gr_gemm_small_scratch(l->total, l->head);
    t->packed_v = gr_gemm_small_scratch(l->v_head, l->total);
    t->present = joined_size(s, l, PRESENT_KEY, l->head) + joined_size(s, l, PRESENT_VALUE, l->v_head);
    size_t scores, all;
    if (t->packed_k > SIZE_MAX / 8 || t->packed_v > SIZE_MAX / 8) return false;
    if (!gr_mul((size_t)(t->tile + 1) * sizeof(float), (size_t)t->row, &scores) || scores > SIZE_MAX / 8) return false;
    t->packed_k = up(t->packed_k);
    t->packed_v = up(t->packed_v);
    t->thread = t->packed_k + t->packed_v + up(scores);
    return gr_mul(t->thread, (size_t)threads, &all) && gr_add(all, t->present, &s->scratch_size);
}

static bool may_trim(const gr_step *s, const layout *l)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *mask = gr_step_in(s, MASK);
    return p->fused && mask && mask->dtype == GR_FLOAT && l->mask[1] == 0 && l->mask[2] == 0 && l->mask[3] == 1 &&
           l->mask_keys == l->total && !l->past && !p->causal && p->left < 0 && p->right < 0 && !gr_step_in(s, VALID) &&
           !gr_step_in(s, FACTORS) && !gr_step_out(s, SCORES);
}

static bool tiled_prepare(gr_step *s, gr_why *why)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *mask = gr_step_in(s, MASK);
    for (uint32_t i = QUERY; i <= PAST_VALUE; i++)
        if (i != MASK && !is_float(s, i)) return gr_decline(why, "input %u is not float", i);
    if (mask && mask->dtype != GR_FLOAT && mask->dtype != GR_BOOL)
        return gr_decline(why, "the mask is not float or bool");
    if (p->precision != GR_UNDEFINED && p->precision != GR_FLOAT) return gr_decline(why, "the softmax is not in float");
    if (gr_step_out(s, SCORES) && p->mode != PROBABILITIES)
        return gr_decline(why, "the scores are wanted as an output");
    if (!is_float(s, FACTORS)) return gr_decline(why, "the factors are not float");
    tiled *t = GR_NEW(s->arena, tiled);
    if (!t) return gr_decline(why, "out of memory");
    t->l = layout_of(s);
    const layout *l = &t->l;
    if (!gr_step_out(s, Y)) return gr_decline(why, "the result is not wanted");
    if (!l->batch || !l->heads || !l->queries || !l->total || !l->head || !l->v_head)
        return gr_decline(why, "an operand is empty");
    if (!tiled_sizes(s, t)) return gr_decline(why, "too large");
    t->trims = may_trim(s, l);
    if (s->key_rows && (!t->trims || s->in[QUERY]->rank != 3 || s->in[KEY]->rank != 3))
        return gr_decline(why, "rows are not those of one grid");
    if (s->rows && (s->in[QUERY]->rank != 3 || gr_step_in(s, FACTORS) || gr_step_out(s, SCORES)))
        return gr_decline(why, "rows are not those of one grid");
    s->flops = 2.0 * (double)(l->batch * l->heads * l->queries) * (double)l->total * (double)(l->head + l->v_head);
    s->state = t;
    return true;
}

/* Sets where keys (or values) lie for a run, joining past and new rows if there is a past. */
static const float *joined(const gr_step *s, const layout *l, uint32_t o, uint32_t past, uint32_t now, int64_t size,
                           place *at, char **scratch)
{
    write_present(s, l, o, past, now, *at, size);
    if (!l->past) return s->in[now]->data;
    void *to = gr_step_out(s, o) ? s->out[o]->data : *scratch;
    if (!gr_step_out(s, o)) concatenate(l, gr_step_in(s, past), s->in[now], *at, size, sizeof(float), to);
    *scratch += joined_size(s, l, o, size);
    *at = (place){l->kv_heads * l->total * size, l->total * size, size};
    return to;
}

/* The bias of the first n keys for a query: NULL for none, the mask itself if that is all of it, else made in `row`. */
static const float *bias_row(const gr_step *s, const tiled *t, int64_t b, int64_t h, int64_t query, int64_t n,
                             int64_t skipped, float *row)
{
    const layout *l = &t->l;
    const gr_tensor *mask = gr_step_in(s, MASK);
    const int64_t at = mask ? b * l->mask[0] + h * l->mask[1] + query * l->mask[2] : 0, step = l->mask[3];
    if (t->trims) return (const float *)mask->data + at + skipped;
    const span seen = visible(s, l, b, query);
    if (seen.begin == 0 && seen.end >= n) {
        if (!mask) return NULL;
        if (mask->dtype == GR_FLOAT && step == 1) return (const float *)mask->data + at;
    }
    for (int64_t i = 0; i < n; i++) {
        row[i] = 0;
        if (i < seen.begin || i >= seen.end)
            row[i] = -INFINITY;
        else if (mask && mask->dtype == GR_BOOL)
            row[i] = ((const uint8_t *)mask->data)[at + i * step] ? 0 : -INFINITY;
        else if (mask)
            row[i] = ((const float *)mask->data)[at + i * step];
    }
    return row;
}

/* Where in its sequence the i-th query is that is held. */
static int64_t query_at(const gr_step *s, int64_t b, int64_t i)
{
    return s->rows ? s->rows->index[s->rows->first[b] + i] - b * s->rows->tokens : i;
}

/* Scores of the first n keys to probabilities, for `rows` queries from `query` on. */
static void probabilities(const gr_step *s, const tiled *t, int64_t b, int64_t h, int64_t query, int64_t rows,
                          int64_t n, int64_t skipped, float *scores)
{
    const gr_simd *v = gr_simd_best();
    const params *p = GR_PARAMS(params, s);
    const bool same_bias = t->l.mask[2] == 0 && !p->causal && p->left < 0 && p->right < 0;
    const float *bias = NULL;
    bool none = false;
    for (int64_t i = 0; i < rows; i++) {
        float *x = scores + i * t->row, scale = (float)t->l.scale;
        if (i == 0 || !same_bias) {
            bias = bias_row(s, t, b, h, query_at(s, b, query + i), n, skipped, scores + t->tile * t->row);
            none = p->zero_empty && bias && v->max((size_t)n, bias) == -INFINITY;
        }
        if (none) {
            memset(x, 0, (size_t)n * sizeof *x);
            continue;
        }
        if (p->softcap > 0) {
            v->binary_scalar[GR_V_MUL]((size_t)n, x, scale / p->softcap, x);
            v->unary[GR_V_TANH]((size_t)n, x, x);
            scale = p->softcap;
        }
        v->softmax((size_t)n, x, scale, bias, x);
    }
}

/* Probabilities of all keys for `rows` queries: times the factors, and to the output for them. */
static void finish_probabilities(const gr_step *s, const tiled *t, int64_t b, int64_t h, int64_t query, int64_t rows,
                                 float *scores)
{
    const layout *l = &t->l;
    const gr_tensor *factors = gr_step_in(s, FACTORS), *out = gr_step_out(s, SCORES);
    for (int64_t i = 0; i < rows && (factors || out); i++) {
        float *x = scores + i * t->row;
        if (factors) {
            const int64_t at = b * l->factors[0] + h * l->factors[1] + (query + i) * l->factors[2];
            const float *f = (const float *)factors->data + at;
            for (int64_t k = 0; k < l->total; k++) x[k] *= f[k * l->factors[3]];
        }
        if (out)
            memcpy((float *)out->data + ((b * l->heads + h) * l->queries + query + i) * l->total, x,
                   (size_t)l->total * sizeof *x);
    }
}

/* Keys up to the last that a query of the tile can see. A mask's values tell, too, whoever has made it causal; what it
 * hides adds zeros, so leaving it out behind the last key changes no bit. */
static int64_t seen_keys(const gr_step *s, const tiled *t, int64_t b, int64_t h, int64_t query, int64_t rows)
{
    const layout *l = &t->l;
    const gr_tensor *mask = gr_step_in(s, MASK);
    const bool reads = mask && l->mask[3] == 1 && mask->dtype == GR_FLOAT;
    int64_t n = 1, from, to;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t at = query_at(s, b, query + i);
        const span v = visible(s, l, b, at);
        int64_t end = v.end;
        if (end <= n) continue;
        if (reads && v.begin == 0) {
            gr_live_keys((const float *)mask->data + b * l->mask[0] + h * l->mask[1] + at * l->mask[2], end, &from, &to);
            end = to;
        }
        if (end > n) n = end;
    }
    return n;
}

/* Queries [query, query + rows) of one head, whose packed keys and values are in `own`. */
static void tile_run(const gr_step *s, const tiled *t, const sequence *z, int64_t b, int64_t h, int64_t query,
                     int64_t rows, char *own)
{
    const layout *l = &t->l;
    const float *q = (const float *)s->in[QUERY]->data + z->q + h * l->q.head + query * l->q.token;
    float *y = (float *)s->out[Y]->data + z->y + h * l->y.head + query * l->y.token;
    float *scores = (float *)(own + t->packed_k + t->packed_v);
    const int64_t n = t->trims ? z->keys : seen_keys(s, t, b, h, query, rows);
    gr_gemm_small_packed(rows, n, l->head, 1, q, l->q.token, own, scores, t->row);
    probabilities(s, t, b, h, query, rows, n, z->skipped, scores);
    const bool whole = gr_step_in(s, FACTORS) || gr_step_out(s, SCORES);
    for (int64_t i = 0; i < rows && n < z->keys && whole; i++)
        memset(scores + i * t->row + n, 0, (size_t)(z->keys - n) * sizeof *scores);
    finish_probabilities(s, t, b, h, query, rows, scores);
    gr_gemm_small_part(rows, l->v_head, n, z->keys, 1, scores, t->row, own + t->packed_k, y, l->y.token);
}

static sequence sequence_of(const gr_step *s, const tiled *t, int64_t b)
{
    const layout *l = &t->l;
    const gr_rows *rows = s->rows, *keys = s->key_rows;
    sequence z = {b * l->q.batch, b * t->k.batch, b * t->v.batch, b * l->y.batch, l->queries, l->total, 0};
    if (t->trims) {
        int64_t begin, end;
        gr_live_keys((const float *)s->in[MASK]->data + b * l->mask[0], l->total, &begin, &end);
        z.skipped = begin;
        z.keys = end - begin;
        if (keys) { /* what is held may begin before the first key that is seen */
            begin -= keys->index[keys->first[b]] - b * keys->tokens;
            z.k = keys->first[b] * t->k.token;
            z.v = keys->first[b] * t->v.token;
        }
        z.k += begin * t->k.token;
        z.v += begin * t->v.token;
    }
    if (rows) {
        z.q = rows->first[b] * l->q.token;
        z.y = rows->first[b] * l->y.token;
        z.queries = rows->first[b + 1] - rows->first[b];
    }
    return z;
}

static void task_run(const gr_step *s, const tiled *t, int64_t task, char *own)
{
    const layout *l = &t->l;
    int64_t b = task / t->stretches / l->heads, h = task / t->stretches % l->heads, part = task % t->stretches;
    const sequence z = sequence_of(s, t, b);
    int64_t kv = h / (l->heads / l->kv_heads), tiles = (z.queries + t->tile - 1) / t->tile;
    if (tiles * part / t->stretches == tiles * (part + 1) / t->stretches) return;
    gr_gemm_small_pack(l->head, z.keys, t->keys + z.k + kv * t->k.head, 1, t->k.token, own);
    gr_gemm_small_pack(z.keys, l->v_head, t->values + z.v + kv * t->v.head, t->v.token, 1, own + t->packed_k);
    for (int64_t i = tiles * part / t->stretches; i < tiles * (part + 1) / t->stretches; i++) {
        int64_t first = i * t->tile, rows = z.queries - first < t->tile ? z.queries - first : t->tile;
        tile_run(s, t, &z, b, h, first, rows, own);
    }
}

typedef struct tasks {
    const gr_step *s;
    const tiled *t;
    char *own; /* scratch of the first thread */
} tasks;

static void tasks_run(void *user, int64_t i, int thread)
{
    const tasks *all = user;
    task_run(all->s, all->t, i, all->own + (size_t)thread * all->t->thread);
}

static gr_status tiled_run(const gr_step *s, gr_err *err)
{
    tiled t = *(const tiled *)s->state;
    const layout *l = &t.l;
    char *joins = s->scratch, *own = joins + t.present;
    GR_TRY(check_valid_counts(s, l, err));
    t.k = l->k, t.v = l->v;
    t.keys = joined(s, l, PRESENT_KEY, PAST_KEY, KEY, l->head, &t.k, &joins);
    t.values = joined(s, l, PRESENT_VALUE, PAST_VALUE, VALUE, l->v_head, &t.v, &joins);
    gr_parallel(l->batch * l->heads * t.stretches, s->flops >= PARALLEL_FLOPS ? gr_step_threads(s) : 1, tasks_run,
                &(tasks){s, &t, own});
    return GR_OK;
}

static const gr_kernel kernels[] = {
    {"tiled", tiled_prepare, tiled_run, NULL}, {"ref", ref_prepare, ref_run, NULL}, {0}};

#define ROW(version, inputs, parse_function)                                                                           \
    {                                                                                                                  \
        .name = "Attention", .since = version, .in = {3, inputs}, .out = 4, .parse = parse_function, .infer = infer,   \
        .kernels = kernels                                                                                             \
    }

const gr_op op_attention[] = {
    ROW(23, 6, parse_23),
    ROW(24, 7, parse_24),
    ROW(25, 7, parse_24),
    {.name = "Attention",
     .since = 1,
     .in = {3, 8},
     .out = 4,
     .flags = GR_OP_KEY_ROWS,
     .parse = parse_fused,
     .infer = infer,
     .kernels = kernels,
     .function = gr_spell_attention,
     .domain = "graphrun"},
    {0},
};
