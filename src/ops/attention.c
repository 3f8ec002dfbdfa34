/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention: softmax(q k^T scale + bias) v for every head. Two operators share the kernels: ONNX's (grouped heads,
 * caches, causal and windowed masks, soft cap) and the fused graphrun.Attention, which takes queries, keys and values
 * [batch, tokens, heads * size] as they leave their matrix product or split by heads [batch, heads, tokens, size] as
 * they leave a cache, gives [batch, tokens, heads * size], adds one mask, and may multiply the probabilities by factors
 * that broadcast to them (a head mask). Its output 3 is the probabilities after that.
 *
 * The bias of a query row is the sum of the mask and -inf for every key that may not be seen. ONNX gives zeros for a
 * query that sees no key at all; the fused operator is only a spelling of Softmax and gives NaN as that does, unless
 * its attribute empty_is_zero says otherwise (exporters guard Softmax with Where(IsNaN(p), 0, p)).
 */
#include "exec/attention.h"
#include "elem.h"
#include "graph/spell.h"

static gr_status parse(gr_attrs attrs, gr_arena *arena, bool pads_mask, const void **out, gr_err *err)
{
    gr_att_params *p = GR_NEW(arena, gr_att_params);
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
    p->mode = (enum gr_att_mode)mode;
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
    gr_att_params *p = GR_NEW(arena, gr_att_params);
    if (!p) return gr_nomem(err);
    *out = p;
    *p = (gr_att_params){
        .fused = true, .left = -1, .right = -1, .scaled = gr_attr_find(attrs, "scale") != NULL, .mode = PROBABILITIES};
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
    const gr_att_params *p = GR_PARAMS(gr_att_params, c);
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
    const gr_att_params *p = GR_PARAMS(gr_att_params, c);
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
    bool fused = GR_PARAMS(gr_att_params, c)->fused;
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
    const gr_att_params *p = GR_PARAMS(gr_att_params, c);
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

static const gr_kernel kernels[] = {
    {"tiled", gr_att_tiled_prepare, gr_att_tiled_run, NULL}, {"ref", gr_att_ref_prepare, gr_att_ref_run, NULL}, {0}};

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
