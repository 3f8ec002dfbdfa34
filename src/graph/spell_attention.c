/* SPDX-License-Identifier: Apache-2.0
 *
 * What graphrun.Attention and graphrun.AttentionBias are in operators of ONNX.
 */
#include "spell.h"
#include <float.h>
#include <math.h>
#include <stdio.h>

enum { QUERY, KEY, VALUE, MASK, PAST_KEY, PAST_VALUE, VALID, FACTORS };
enum { PRESENT_KEY = 1, PRESENT_VALUE, PROBABILITIES };

/* Size of a head of an input that has so many; -1: not known. */
static int64_t head_size(const gr_spell *s, uint32_t input, int64_t heads)
{
    int64_t width = gr_spell_dim(s, input, -1);
    return width < 0 || gr_spell_rank(s, input) == 4 ? width : width / heads;
}

/* `to` = `from` as [batch, heads, tokens, size] */
static void spell_split(gr_spell *s, uint32_t input, const char *from, const char *to, int64_t heads)
{
    if (gr_spell_rank(s, input) == 4) {
        gr_spell_node(s, "%s = Identity (%s)", to, from);
        return;
    }
    char shape[32];
    snprintf(shape, sizeof shape, "%s_shape", to);
    gr_spell_ints(s, shape, 4, (int64_t[]){0, 0, heads, head_size(s, input, heads)});
    gr_spell_node(s, "%s_split = Reshape (%s, %s)", to, from, shape);
    gr_spell_node(s, "%s = Transpose <perm = [0, 2, 1, 3]> (%s_split)", to, to);
}

/* `to` = keys or values with the past before them, each head for `times` heads of the queries. */
static gr_status spell_cached(gr_spell *s, uint32_t input, const char *from, const char *to, int64_t heads,
                              int64_t times)
{
    const uint32_t past = input == KEY ? PAST_KEY : PAST_VALUE, present = input == KEY ? PRESENT_KEY : PRESENT_VALUE;
    const char *kind = input == KEY ? "k" : "v";
    char name[32], whole[32];
    bool repeated = times > 1, wanted = gr_spell_wants(s, present);
    snprintf(name, sizeof name, "%s_heads", kind);
    snprintf(whole, sizeof whole, wanted ? "present_%s" : repeated ? "all_%s" : "%s", wanted || repeated ? kind : to);
    if (gr_spell_in(s, past)) {
        spell_split(s, input, from, name, heads);
        gr_spell_node(s, "%s = Concat <axis = 2> (past_%s, %s)", whole, kind, name);
    } else
        spell_split(s, input, from, whole, heads);
    if (!repeated) {
        if (wanted) gr_spell_node(s, "%s = Identity (%s)", to, whole);
        return GR_OK;
    }
    int64_t size = head_size(s, input, heads);
    if (size < 0) return gr_fail(s->err, GR_EUNSUPPORTED, "the size of a head is not known");
    snprintf(name, sizeof name, "%s_column", kind);
    gr_spell_axes(s, name, "Unsqueeze", whole, 1, (int64_t[]){2});
    snprintf(name, sizeof name, "%s_times", kind);
    gr_spell_ints(s, name, 5, (int64_t[]){1, 1, times, 1, 1});
    gr_spell_node(s, "%s_repeated = Expand (%s_column, %s_times)", kind, kind, kind);
    snprintf(name, sizeof name, "%s_merged", kind);
    gr_spell_ints(s, name, 4, (int64_t[]){0, heads * times, -1, size});
    gr_spell_node(s, "%s = Reshape (%s_repeated, %s_merged)", to, kind, kind);
    return GR_OK;
}

/* scale = 1 / sqrt(size of a head), from the heads if the type doesn't say. */
static gr_status spell_scale(gr_spell *s, int64_t heads)
{
    gr_dtype dtype = gr_spell_dtype(s, QUERY);
    int64_t size = head_size(s, QUERY, heads);
    float scale = 0;
    GR_TRY(gr_attr_float(s->node->attrs, "scale", 0, &scale, s->err));
    if (gr_attr_find(s->node->attrs, "scale"))
        gr_spell_float(s, "scale", dtype, (double)scale);
    else if (size > 0)
        gr_spell_float(s, "scale", dtype, 1 / sqrt((double)size));
    else {
        gr_spell_length(s, "size", "heads", 3);
        gr_spell_float(s, "one", dtype, 1);
        gr_spell_node(s, "size_cast = Cast <to = %d> (size)", (int)dtype);
        gr_spell_node(s, "size_root = Sqrt (size_cast)");
        gr_spell_node(s, "scale = Div (one, size_root)");
    }
    return GR_OK;
}

/* p = softmax(heads keys^T scale + mask) * factors */
static gr_status spell_probabilities(gr_spell *s)
{
    gr_dtype dtype = gr_spell_dtype(s, QUERY);
    bool empty_is_zero, mask = gr_spell_in(s, MASK), factors = gr_spell_in(s, FACTORS);
    bool alike = !mask || gr_spell_dtype(s, MASK) == dtype;
    GR_TRY(gr_attr_bool(s->node->attrs, "empty_is_zero", false, &empty_is_zero, s->err));
    gr_spell_node(s, "columns = Transpose <perm = [0, 1, 3, 2]> (keys)");
    gr_spell_node(s, "product = MatMul (heads, columns)");
    gr_spell_node(s, "scaled = Mul (product, scale)");
    if (!alike) gr_spell_node(s, "bias = Cast <to = %d> (mask)", (int)dtype);
    if (mask) gr_spell_node(s, "masked = Add (scaled, %s)", alike ? "mask" : "bias");
    const char *softmax = empty_is_zero ? "softmax" : factors ? "chosen" : "p", *chosen = factors ? "chosen" : "p";
    gr_spell_node(s, "%s = Softmax <axis = 3> (%s)", softmax, mask ? "masked" : "scaled");
    if (empty_is_zero) {
        gr_spell_float(s, "zero", dtype, 0);
        gr_spell_node(s, "empty = IsNaN (softmax)");
        gr_spell_node(s, "%s = Where (empty, zero, softmax)", chosen);
    }
    if (factors) gr_spell_node(s, "p = Mul (chosen, factors)");
    return GR_OK;
}

gr_status gr_spell_attention(gr_spell *s)
{
    int64_t heads, kv_heads;
    GR_TRY(gr_attr_int(s->node->attrs, "num_heads", 1, &heads, s->err));
    GR_TRY(gr_attr_int(s->node->attrs, "kv_num_heads", heads, &kv_heads, s->err));
    if (gr_spell_in(s, VALID)) return gr_fail(s->err, GR_EUNSUPPORTED, "it has lengths of its keys");
    for (uint32_t i = QUERY; i <= VALUE; i++)
        if (gr_spell_rank(s, i) < 0) return gr_fail(s->err, GR_EUNSUPPORTED, "the rank of input %u is not known", i);
    gr_spell_begin(s, "q, k, v, mask, past_k, past_v, valid, factors", "y, present_k, present_v, p");
    spell_split(s, QUERY, "q", "heads", heads);
    GR_TRY(spell_cached(s, KEY, "k", "keys", kv_heads, heads / kv_heads));
    GR_TRY(spell_cached(s, VALUE, "v", "values", kv_heads, heads / kv_heads));
    GR_TRY(spell_scale(s, heads));
    GR_TRY(spell_probabilities(s));
    int64_t size = head_size(s, VALUE, kv_heads);
    gr_spell_node(s, "context = MatMul (p, values)");
    gr_spell_node(s, "rows = Transpose <perm = [0, 2, 1, 3]> (context)");
    gr_spell_ints(s, "shape", 3, (int64_t[]){0, 0, size > 0 ? heads * size : -1});
    gr_spell_node(s, "y = Reshape (rows, shape)");
    return GR_OK;
}

/* ---- the bias that com.microsoft's masks stand for ---- */

enum { BIAS_MASK, BIAS_QUERY, BIAS_KEY, BIAS_PAST };

/* queries, past and total as int64[1] */
static void spell_lengths(gr_spell *s)
{
    bool past = gr_spell_in(s, BIAS_PAST) != NULL;
    gr_spell_length(s, "queries", "q", 1);
    gr_spell_length(s, past ? "new_keys" : "total", "k", gr_spell_rank(s, BIAS_KEY) - 2);
    if (past) {
        gr_spell_length(s, "past", "past_k", 2);
        gr_spell_node(s, "total = Add (new_keys, past)");
    } else
        gr_spell_ints(s, "past", 1, (int64_t[]){0});
}

/* name = first, first + 1, ... of n elements; both are int64[1] */
static void spell_range(gr_spell *s, const char *name, const char *first, const char *n)
{
    gr_spell_node(s, "%s_end = Add (%s, %s)", name, first, n);
    gr_spell_node(s, "%s_none = Constant <value = int64[0] {}> ()", name);
    gr_spell_node(s, "%s_from = Reshape (%s, %s_none)", name, first, name);
    gr_spell_node(s, "%s_to = Reshape (%s_end, %s_none)", name, name, name);
    gr_spell_node(s, "%s_step = Constant <value = int64 {1}> ()", name);
    gr_spell_node(s, "%s = Range (%s_from, %s_to, %s_step)", name, name, name, name);
}

/* visible [B, T] from a mask of ends, and starts behind them where there are twice as many as samples. */
static gr_status spell_ends(gr_spell *s)
{
    gr_syms *syms = s->node->graph->syms;
    const gr_type *mask = s->in[BIAS_MASK], *q = s->in[BIAS_QUERY];
    gr_dim batch = q->dims[0], twice = gr_sym_mul(syms, batch, GR_DIM(2));
    gr_dim packed = gr_sym_add(syms, gr_sym_mul(syms, batch, GR_DIM(3)), GR_DIM(2));
    bool starts = gr_dim_same(mask->dims[0], twice);
    if (!starts && !gr_dim_same(mask->dims[0], batch) && !gr_dim_same(mask->dims[0], packed))
        return gr_fail(s->err, GR_EUNSUPPORTED, "the meaning of its mask depends on a length that is not known");
    gr_spell_length(s, "batch", "q", 0);
    gr_spell_slice(s, "ends", "counts", 0, "none", "batch");
    gr_spell_axes(s, "ends_column", "Unsqueeze", "ends", 1, (int64_t[]){1});
    gr_spell_node(s, "%s = Less (positions, ends_column)", starts ? "before" : "visible");
    if (!starts) return GR_OK;
    gr_spell_node(s, "batch_twice = Add (batch, batch)");
    gr_spell_slice(s, "starts", "counts", 0, "batch", "batch_twice");
    gr_spell_axes(s, "starts_column", "Unsqueeze", "starts", 1, (int64_t[]){1});
    gr_spell_node(s, "early = Less (positions, starts_column)");
    gr_spell_node(s, "late = Not (early)");
    gr_spell_node(s, "visible = And (before, late)");
    return GR_OK;
}

/* visible, of as many axes as the mask. */
static gr_status spell_visible(gr_spell *s)
{
    int rank = gr_spell_rank(s, BIAS_MASK);
    const char *counts = "counts";
    if (rank == 1) return spell_ends(s);
    if (rank == 4) {
        gr_spell_node(s, "rows_end = Add (past, queries)");
        gr_spell_slice(s, "counted_rows", "counts", 2, "past", "rows_end");
        gr_spell_slice(s, "counted", "counted_rows", 3, "none", "total");
        counts = "counted";
    }
    /* A mask of one column says nothing, unless there is one key. */
    if (rank == 2 && gr_spell_dim(s, BIAS_MASK, 1) == 1) {
        gr_spell_node(s, "columns = Greater (counts, none)");
        gr_spell_node(s, "several = Greater (total, one)");
        gr_spell_node(s, "open = Or (columns, several)");
        gr_spell_node(s, "all = Not (before_first)");
        gr_spell_node(s, "visible = And (open, all)");
    } else
        gr_spell_node(s, "visible = Greater (%s, none)", counts);
    return GR_OK;
}

gr_status gr_spell_attention_bias(gr_spell *s)
{
    int rank = gr_spell_rank(s, BIAS_MASK);
    bool causal;
    float filter, least = gr_spell_dtype(s, BIAS_QUERY) == GR_FLOAT16 ? -65504.0F : -FLT_MAX;
    gr_dtype dtype = gr_spell_dtype(s, BIAS_QUERY);
    GR_TRY(gr_attr_float(s->node->attrs, "mask_filter_value", -10000, &filter, s->err));
    GR_TRY(gr_attr_bool(s->node->attrs, "unidirectional", false, &causal, s->err));
    if (rank < 1 || gr_spell_rank(s, BIAS_QUERY) < 0 || gr_spell_rank(s, BIAS_KEY) < 0)
        return gr_fail(s->err, GR_EUNSUPPORTED, "the ranks of its inputs are not known");
    gr_spell_begin(s, "mask, q, k, past_k", "bias");
    spell_lengths(s);
    gr_spell_ints(s, "none", 1, (int64_t[]){0});
    gr_spell_ints(s, "one", 1, (int64_t[]){1});
    spell_range(s, "positions", "none", "total");
    gr_spell_node(s, "before_first = Less (positions, none)");
    gr_spell_node(s, "counts = Cast <to = %d> (mask)", GR_INT64);
    GR_TRY(spell_visible(s));
    if (rank < 4)
        gr_spell_axes(s, "shown", "Unsqueeze", "visible", rank < 3 ? 2 : 1, (int64_t[]){1, 2});
    else
        gr_spell_node(s, "shown = Identity (visible)");
    gr_spell_float(s, "zero", dtype, 0);
    gr_spell_float(s, "filter", dtype, (double)(filter < least ? least : filter));
    gr_spell_node(s, "%s = Where (shown, zero, filter)", causal ? "padding" : "bias");
    if (!causal) return GR_OK;
    spell_range(s, "rows", "past", "queries");
    gr_spell_axes(s, "rows_column", "Unsqueeze", "rows", 1, (int64_t[]){1});
    gr_spell_node(s, "later = Greater (positions, rows_column)");
    gr_spell_float(s, "least", dtype, (double)least);
    gr_spell_node(s, "bias = Where (later, least, padding)");
    return GR_OK;
}
