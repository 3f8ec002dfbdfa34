/* SPDX-License-Identifier: Apache-2.0
 *
 * com.microsoft's Attention (with the projection of queries, keys and values), QAttention (that with a quantised
 * projection) and MultiHeadAttention, put together from products and our attention. Their masks come in several forms
 * with a value that is added to scores; graphrun.AttentionBias makes one tensor of that.
 */
#include "elem.h"
#include "exec/body.h"
#include "graph/spell.h"

#include <float.h>

typedef struct params {
    int64_t heads;
    float scale; /* 0: 1 / sqrt(size of a head) */
    float filter;
    bool causal;
    int64_t nsizes;
    const int64_t *sizes; /* of q, k, v; NULL: equal parts */
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    static const char *const unsupported[] = {"do_rotary", "past_present_share_buffer"};
    params *p = GR_NEW(arena, params);
    *out = p;
    if (!p) return gr_nomem(err);
    if (!gr_attr_find(attrs, "num_heads")) return gr_fail(err, GR_EMODEL, "attribute 'num_heads' is missing");
    GR_TRY(gr_attr_int_in(attrs, "num_heads", 1, 1, INT32_MAX, &p->heads, err));
    GR_TRY(gr_attr_float(attrs, "scale", 0, &p->scale, err));
    GR_TRY(gr_attr_float(attrs, "mask_filter_value", -10000, &p->filter, err));
    GR_TRY(gr_attr_bool(attrs, "unidirectional", false, &p->causal, err));
    GR_TRY(gr_attr_ints(attrs, "qkv_hidden_sizes", &p->nsizes, &p->sizes, err));
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        bool set;
        GR_TRY(gr_attr_bool(attrs, unsupported[i], false, &set, err));
        if (set) return gr_fail(err, GR_EUNSUPPORTED, "attribute '%s' is not supported", unsupported[i]);
    }
    if (p->sizes && p->nsizes != 3 && p->nsizes != 0)
        return gr_fail(err, GR_EMODEL, "attribute 'qkv_hidden_sizes' has %lld entries, expected 3",
                       (long long)p->nsizes);
    for (int64_t i = 0; i < p->nsizes; i++)
        if (p->sizes[i] < 1 || p->sizes[i] > INT32_MAX)
            return gr_fail(err, GR_EMODEL, "attribute 'qkv_hidden_sizes' holds %lld", (long long)p->sizes[i]);
    return GR_OK;
}

/* ---- the common part ---- */

typedef struct attention {
    gr_value *q, *k, *v;   /* [B, S, heads * size]; k and v may be [B, heads, T, size] */
    gr_value *mask, *bias; /* as in the operators; NULL: none */
    gr_value *past_k, *past_v;
    bool wants_present;
    gr_value *y, *present_k, *present_v; /* results */
} attention;

static gr_value *bias_of(gr_body *b, const attention *a)
{
    const params *p = b->params;
    if (!a->mask) return a->bias;
    gr_value *bias =
        GR_BODY_NODE(b, "graphrun.AttentionBias",
                     GR_ATTRS(GR_FLOAT_ATTR("mask_filter_value", p->filter), GR_INT_ATTR("unidirectional", p->causal)),
                     a->mask, a->q, a->k, a->past_k);
    return a->bias ? GR_BODY_NODE(b, "Add", GR_NO_ATTRS, bias, a->bias) : bias;
}

static gr_value *split_heads(gr_body *b, gr_value *v, int64_t heads)
{
    return gr_body_transpose(b, gr_body_reshape(b, v, 4, (int64_t[]){0, 0, heads, -1}), 4, (int64_t[]){0, 2, 1, 3});
}

static void attend(gr_body *b, attention *a)
{
    const params *p = b->params;
    const bool causal = p->causal && !a->mask, split = gr_body_rank(b, a->k) == 4;
    gr_value *bias = bias_of(b, a), *out[3] = {NULL, NULL, NULL};
    gr_attr attrs[4] = {GR_INT_ATTR("is_causal", causal)};
    size_t n = 1;
    if (p->scale != 0) attrs[n++] = (gr_attr)GR_FLOAT_ATTR("scale", p->scale);
    if (!causal && !split && !a->past_k && !a->wants_present) {
        attrs[0] = (gr_attr)GR_INT_ATTR("num_heads", p->heads);
        a->y = GR_BODY_NODE(b, "graphrun.Attention", ((gr_attrs){n, attrs}), a->q, a->k, a->v, bias);
        return;
    }
    if (!split) {
        attrs[n++] = (gr_attr)GR_INT_ATTR("q_num_heads", p->heads);
        attrs[n++] = (gr_attr)GR_INT_ATTR("kv_num_heads", p->heads);
    }
    gr_value *in[] = {split ? split_heads(b, a->q, p->heads) : a->q, a->k, a->v, bias, a->past_k, a->past_v};
    gr_body_node(b, "Attention", (gr_attrs){n, attrs}, 6, in, 3, out);
    a->y = out[0];
    if (split)
        a->y = gr_body_reshape(b, gr_body_transpose(b, out[0], 4, (int64_t[]){0, 2, 1, 3}), 3, (int64_t[]){0, 0, -1});
    a->present_k = out[1];
    a->present_v = out[2];
}

/* ---- Attention, QAttention: caches of keys and values stand behind each other ---- */

static gr_status sizes_of(gr_body *b, const gr_value *weights, int64_t *sizes)
{
    const params *p = b->params;
    int rank = gr_body_rank(b, weights);
    if (b->open) return GR_OK;
    if (rank != 2) return gr_fail(b->err, GR_EMODEL, "the weights have rank %d, expected 2", rank);
    int64_t total = gr_body_dim(b, weights, 1), sum = 0;
    if (b->open) return GR_OK;
    for (int i = 0; i < 3; i++) sum += sizes[i] = p->nsizes == 3 ? p->sizes[i] : total / 3;
    if (sum != total)
        return gr_fail(b->err, GR_EMODEL, "weights with %lld columns do not hold queries, keys and values",
                       (long long)total);
    return GR_OK;
}

static gr_status finish(gr_body *b, gr_value *qkv, const int64_t *sizes, attention *a, gr_value *past)
{
    const int64_t zero = 0;
    gr_value *parts[3], *caches[2];
    gr_body_split(b, qkv, 2, 3, sizes, parts);
    a->q = parts[0], a->k = parts[1], a->v = parts[2];
    a->wants_present = gr_body_wants(b, 1);
    if (past) {
        gr_value *axis = gr_body_ints(b, 1, &zero);
        gr_body_split(b, past, 0, 2, (int64_t[]){1, 1}, caches);
        a->past_k = GR_BODY_NODE(b, "Squeeze", GR_NO_ATTRS, caches[0], axis);
        a->past_v = GR_BODY_NODE(b, "Squeeze", GR_NO_ATTRS, caches[1], axis);
    }
    attend(b, a);
    b->out[0] = a->y;
    if (!a->wants_present) return GR_OK;
    gr_value *axis = gr_body_ints(b, 1, &zero);
    b->out[1] = GR_BODY_NODE(b, "Concat", GR_ATTRS(GR_INT_ATTR("axis", 0)),
                             GR_BODY_NODE(b, "Unsqueeze", GR_NO_ATTRS, a->present_k, axis),
                             GR_BODY_NODE(b, "Unsqueeze", GR_NO_ATTRS, a->present_v, axis));
    return GR_OK;
}

static gr_status need_rank_3(gr_body *b, gr_value *x, const char *what)
{
    int rank = gr_body_rank(b, x);
    if (b->open || rank == 3) return GR_OK;
    return gr_fail(b->err, GR_EMODEL, "%s has rank %d, expected 3", what, rank);
}

/* x, weights, bias?, mask?, past?, attention_bias?, past_length? */
static gr_status attention_body(gr_body *b)
{
    int64_t sizes[3];
    gr_value *x = gr_body_in(b, 0), *w = gr_body_in(b, 1), *bias = gr_body_in(b, 2);
    GR_TRY(need_rank_3(b, x, "the input"));
    GR_TRY(sizes_of(b, w, sizes));
    attention a = {.mask = gr_body_in(b, 3), .bias = gr_body_in(b, 5)};
    gr_value *qkv = bias ? GR_BODY_NODE(b, "graphrun.Linear", GR_NO_ATTRS, x, w, bias)
                         : GR_BODY_NODE(b, "MatMul", GR_NO_ATTRS, x, w);
    return finish(b, qkv, sizes, &a, gr_body_in(b, 4));
}

/* x, weights, bias, x_scale, weights_scale, mask?, x_zero?, weights_zero?, past? */
static gr_status quantised_body(gr_body *b)
{
    int64_t sizes[3];
    GR_TRY(need_rank_3(b, gr_body_in(b, 0), "the input"));
    GR_TRY(sizes_of(b, gr_body_in(b, 1), sizes));
    attention a = {.mask = gr_body_in(b, 5)};
    gr_value *qkv =
        GR_BODY_NODE(b, "com.microsoft.MatMulIntegerToFloat", GR_NO_ATTRS, gr_body_in(b, 0), gr_body_in(b, 1),
                     gr_body_in(b, 3), gr_body_in(b, 4), gr_body_in(b, 6), gr_body_in(b, 7), gr_body_in(b, 2));
    return finish(b, qkv, sizes, &a, gr_body_in(b, 8));
}

/* ---- MultiHeadAttention ---- */

/* Piece i of n along axis 3 of [B, S, heads, n, size], as [B, S, heads * size]. */
static void unpack(gr_body *b, gr_value *packed, int64_t n, gr_value **out)
{
    const int64_t ones[3] = {1, 1, 1};
    gr_value *parts[3] = {NULL, NULL, NULL};
    gr_body_split(b, packed, 3, n, ones, parts);
    for (int64_t i = 0; i < n; i++) out[i] = gr_body_reshape(b, parts[i], 3, (int64_t[]){0, 0, -1});
}

/* q, k and v as the operator has them, without the bias. */
static gr_status operands(gr_body *b, attention *a)
{
    gr_value *qkv[3] = {gr_body_in(b, 0), gr_body_in(b, 1), gr_body_in(b, 2)};
    int q = gr_body_rank(b, qkv[0]), k = qkv[1] ? gr_body_rank(b, qkv[1]) : 0;
    if (b->open) return GR_OK;
    if (q == 5 && !qkv[1])
        unpack(b, qkv[0], 3, qkv);
    else if (q == 3 && k == 5 && !qkv[2])
        unpack(b, qkv[1], 2, qkv + 1);
    else if (q != 3 || (k != 3 && k != 4) || !qkv[2])
        return gr_fail(b->err, GR_EMODEL, "query of rank %d and key of rank %d are not a known combination", q, k);
    a->q = qkv[0], a->k = qkv[1], a->v = qkv[2];
    return GR_OK;
}

/* The bias of all three projections is one vector; keys and values with heads split have theirs added already. */
static void add_biases(gr_body *b, attention *a, gr_value *bias)
{
    gr_value **of[] = {&a->q, &a->k, &a->v};
    bool split = gr_body_rank(b, a->k) == 4;
    int64_t first = 0;
    for (int i = 0; i < (split ? 1 : 3) && b->status == GR_OK && !b->open; i++) {
        int64_t n = gr_body_dim(b, *of[i], 2);
        if (b->open) return;
        *of[i] = GR_BODY_NODE(b, "Add", GR_NO_ATTRS, *of[i], gr_body_part(b, bias, first, n));
        first += n;
    }
}

/* query, key?, value?, bias?, key_padding_mask?, attention_bias?, past_key?, past_value? */
static gr_status multi_head_body(gr_body *b)
{
    attention a = {.mask = gr_body_in(b, 4),
                   .bias = gr_body_in(b, 5),
                   .past_k = gr_body_in(b, 6),
                   .past_v = gr_body_in(b, 7),
                   .wants_present = gr_body_wants(b, 1) || gr_body_wants(b, 2)};
    if (gr_body_in(b, 8) || gr_body_in(b, 9))
        return gr_fail(b->err, GR_EUNSUPPORTED, "caches that share a buffer are not supported");
    GR_TRY(operands(b, &a));
    if (gr_body_in(b, 3) && !b->open) add_biases(b, &a, b->in[3]);
    if (!b->open) attend(b, &a);
    b->out[0] = a.y;
    if (gr_body_wants(b, 1)) b->out[1] = a.present_k;
    if (gr_body_wants(b, 2)) b->out[2] = a.present_v;
    return GR_OK;
}

/* ---- graphrun.AttentionBias: mask, q, k, past_k? -> [B, 1, 1 or S, T] ----
 * `mask_filter_value` for keys that the mask leaves out, 0 for others, and the least float for keys behind the query if
 * `unidirectional`. The mask has rank
 *     1: [B] ends of the keys; [2B] ends, then starts; [3B + 2] ends, then what concerns packed batches
 *     2: [B, T], positive where a key counts; [B, 1] with T > 1 is none
 *     3: [B, S, T]
 *     4: [B, 1, M, M] with M >= T and M >= P + S, from which rows P... and columns 0... count */

enum { MASK, QUERY, KEY, PAST };

typedef struct bias_params {
    float filter;
    bool causal;
} bias_params;

static gr_status parse_bias(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    bias_params *p = GR_NEW(arena, bias_params);
    *out = p;
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_float(attrs, "mask_filter_value", -10000, &p->filter, err));
    return gr_attr_bool(attrs, "unidirectional", false, &p->causal, err);
}

static bool fits(gr_dim d, gr_dim want) { return !gr_dim_known(d) || !gr_dim_known(want) || d.k == want.k; }

static gr_status check_mask(const gr_infer *c, gr_dim batch, gr_dim queries, gr_dim rows, gr_dim total, gr_err *err)
{
    const gr_type *m = c->in[MASK];
    bool good = m->rank >= 1 && m->rank <= 4;
    if (m->rank == 1 && gr_dim_known(m->dims[0]) && gr_dim_known(batch) && batch.k <= INT32_MAX)
        good = m->dims[0].k == batch.k || m->dims[0].k == 2 * batch.k || m->dims[0].k == 3 * batch.k + 2;
    if (m->rank == 2) good = fits(m->dims[0], batch) && (fits(m->dims[1], total) || gr_dim_is(m->dims[1], 1));
    if (m->rank == 3) good = fits(m->dims[0], batch) && fits(m->dims[1], queries) && fits(m->dims[2], total);
    if (m->rank == 4) {
        good = fits(m->dims[0], batch) && fits(m->dims[1], GR_DIM(1)) && fits(m->dims[2], m->dims[3]);
        for (int i = 0; i < 2; i++) {
            gr_dim least = i ? total : rows;
            good = good && (!gr_dim_known(m->dims[2 + i]) || !gr_dim_known(least) || m->dims[2 + i].k >= least.k);
        }
    }
    return good ? GR_OK
                : gr_fail(err, GR_EMODEL, "the mask has a shape of rank %d that does not fit the keys", m->rank);
}

static gr_status infer_bias(const gr_infer *c, gr_err *err)
{
    const bias_params *p = c->params;
    for (uint32_t i = 0; i < 3; i++)
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
    gr_dtype dtype = c->in[QUERY]->dtype;
    GR_TRY(gr_require(c, MASK, GR_T(INT32) | GR_T(INT64), err));
    GR_TRY(gr_require(c, QUERY, GR_T_FLOATS, err));
    if (!gr_rank_known(c, MASK) || !gr_rank_known(c, QUERY) || !gr_rank_known(c, KEY) ||
        (gr_has(c, PAST) && !gr_rank_known(c, PAST)))
        return gr_set(c, 0, dtype, GR_RANK_UNKNOWN, NULL);
    const gr_type *q = c->in[QUERY], *k = c->in[KEY], *past = gr_has(c, PAST) ? c->in[PAST] : NULL;
    if (q->rank != 3 || (k->rank != 3 && k->rank != 4) || (past && past->rank != 4))
        return gr_fail(err, GR_EMODEL, "queries, keys and cache have ranks %d, %d and %d", q->rank, k->rank,
                       past ? past->rank : 4);
    gr_dim total = k->dims[k->rank - 2], rows = q->dims[1], *d = gr_dims(c, 4);
    if (past) total = gr_sym_add(c->syms, total, past->dims[2]);
    if (past) rows = gr_sym_add(c->syms, rows, past->dims[2]);
    GR_TRY(check_mask(c, q->dims[0], q->dims[1], rows, total, err));
    d[0] = q->dims[0];
    d[1] = GR_DIM(1);
    d[2] = p->causal || c->in[MASK]->rank > 2 ? q->dims[1] : GR_DIM(1);
    d[3] = total;
    return gr_set(c, 0, dtype, 4, d);
}

static int64_t mask_at(const gr_tensor *mask, int64_t i)
{
    return mask->dtype == GR_INT64 ? ((const int64_t *)mask->data)[i] : ((const int32_t *)mask->data)[i];
}

static bool counts(const gr_tensor *mask, int64_t batch, int64_t past, int64_t b, int64_t query, int64_t key)
{
    const int64_t *d = mask->dims;
    switch (mask->rank) {
    case 1: return key < mask_at(mask, b) && (d[0] != 2 * batch || key >= mask_at(mask, batch + b));
    case 2: return mask_at(mask, b * d[1] + key) > 0;
    case 3: return mask_at(mask, (b * d[1] + query) * d[2] + key) > 0;
    default: return mask_at(mask, (b * d[2] + past + query) * d[3] + key) > 0;
    }
}

static gr_status run_bias(const gr_step *s, gr_err *err)
{
    (void)err;
    const bias_params *p = s->params;
    const gr_tensor *mask = s->in[MASK], *y = s->out[0];
    const int64_t batch = y->dims[0], rows = y->dims[2], total = y->dims[3];
    const int64_t past = gr_step_in(s, PAST) ? s->in[PAST]->dims[2] : 0;
    const float least = y->dtype == GR_FLOAT16 ? -65504.0F : -FLT_MAX;
    const float filter = p->filter < least ? least : p->filter;
    const bool none = mask->rank == 2 && mask->dims[1] == 1 && total != 1;
    for (int64_t i = 0; i < batch * rows; i++)
        for (int64_t t = 0; t < total; t += GR_SPAN) {
            float v[GR_SPAN];
            const int64_t n = total - t < GR_SPAN ? total - t : GR_SPAN;
            for (int64_t j = 0; j < n; j++) {
                v[j] = none || counts(mask, batch, past, i / rows, i % rows, t + j) ? 0 : filter;
                if (p->causal && t + j > past + i % rows) v[j] = least;
            }
            if (y->dtype == GR_DOUBLE)
                for (int64_t j = 0; j < n; j++) gr_at_put(y, i * total + t + j, (double)v[j]);
            else
                gr_store_f32(y->dtype, n, v, y->data, i * total + t);
        }
    return GR_OK;
}

static const gr_kernel bias_kernels[] = {{"ref", NULL, run_bias, NULL}, {0}};

#define ROW(name_, least, most, outputs, body_) GR_CONTRIB_ROW(name_, least, most, outputs, parse, body_)
const gr_op op_contrib_attention[] = {
    ROW("Attention", 2, 7, 2, attention_body),
    ROW("QAttention", 5, 9, 2, quantised_body),
    ROW("MultiHeadAttention", 1, 10, 4, multi_head_body),
    {.name = "AttentionBias",
     .since = 1,
     .in = {3, 4},
     .out = 1,
     .parse = parse_bias,
     .infer = infer_bias,
     .kernels = bias_kernels,
     .function = gr_spell_attention_bias,
     .domain = "graphrun"},
    {0},
};
