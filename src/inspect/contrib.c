/* SPDX-License-Identifier: Apache-2.0
 *
 * Our fused operators as com.microsoft's, for ONNX Runtime's fused kernels on the CPU. Only where they do exactly the
 * same: each test below says what that operator wants beyond ours. In the bodies, what is no operator of com.microsoft
 * is ONNX's.
 */
#include "optimize.h"
#include <stdio.h>

static const gr_type *type_of(const gr_value *v) { return v ? &v->type : NULL; }
static bool has_rank(const gr_value *v, int rank) { return v && v->type.rank == rank; }
static bool is_float(const gr_value *v) { return v && v->type.dtype == GR_FLOAT; }

static bool same_dim(const gr_value *a, int i, const gr_value *b, int j)
{
    const gr_type *s = type_of(a), *t = type_of(b);
    return s && t && i < s->rank && j < t->rank && gr_dim_same(s->dims[i], t->dims[j]);
}

/* ---- MultiHeadAttention: no rows that see nothing; keys and values of one form; a mask with all rows and columns ----
 */

enum { QUERY, KEY, VALUE, MASK };

static bool fits_attention(const gr_node *n)
{
    const gr_value *q = gr_in(n, QUERY), *k = gr_in(n, KEY), *v = gr_in(n, VALUE), *mask = gr_in(n, MASK);
    int64_t guarded = 0;
    float scale = 1;
    if (gr_attr_int(n->attrs, "empty_is_zero", 0, &guarded, NULL) != GR_OK || guarded) return false;
    if (gr_attr_find(n->attrs, "kv_num_heads") || n->nin > MASK + 1) return false;
    for (uint32_t o = 1; o < n->nout; o++)
        if (n->out[o]) return false;
    /* There, 0 stands for the default. */
    if (gr_attr_float(n->attrs, "scale", 1, &scale, NULL) != GR_OK || scale == 0) return false;
    if (!is_float(q) || !has_rank(q, 3) || (!has_rank(k, 3) && !has_rank(k, 4)) || !has_rank(v, k->type.rank))
        return false;
    return !mask || (is_float(mask) && mask->type.rank >= 0);
}

/* Whether the mask has the rows and columns of the scores, and is not merely repeated for them. */
static bool is_whole(const gr_node *n)
{
    const gr_value *mask = gr_in(n, MASK), *k = gr_in(n, KEY);
    return has_rank(mask, 4) && same_dim(mask, 2, gr_in(n, QUERY), 1) && same_dim(mask, 3, k, k->type.rank - 2);
}

static gr_status spell_attention(gr_spell *s)
{
    int64_t heads;
    float scale;
    bool mask = gr_spell_in(s, MASK), scaled = gr_attr_find(s->node->attrs, "scale");
    char factor[48] = "";
    GR_TRY(gr_attr_int(s->node->attrs, "num_heads", 1, &heads, s->err));
    GR_TRY(gr_attr_float(s->node->attrs, "scale", 0, &scale, s->err));
    gr_spell_begin(s, "q, k, v, mask", "y");
    if (scaled) snprintf(factor, sizeof factor, ", scale = %.9g", (double)scale);
    if (mask && !is_whole(s->node)) {
        gr_spell_length(s, "queries", "q", 1);
        gr_spell_length(s, "keys", "k", gr_spell_rank(s, KEY) - 2);
        gr_spell_ints(s, "ones", 2, (int64_t[]){1, 1});
        gr_spell_node(s, "shape = Concat <axis = 0> (ones, queries, keys)");
        gr_spell_node(s, "bias = Expand (mask, shape)");
    }
    gr_spell_node(s, "y = com.microsoft.MultiHeadAttention <num_heads = %lld%s> (q, k, v%s%s)", (long long)heads,
                  factor, mask ? ", \"\", \"\", " : "",
                  !mask               ? ""
                  : is_whole(s->node) ? "mask"
                                      : "bias");
    return GR_OK;
}

/* ---- SkipLayerNormalization: two or three axes, over the last; summands alike ---- */

static bool fits_skip(const gr_node *n)
{
    const gr_value *x = gr_in(n, 0), *r = gr_in(n, 1);
    int64_t axis;
    if (!is_float(x) || (!has_rank(x, 2) && !has_rank(x, 3)) || !has_rank(r, x->type.rank)) return false;
    if (gr_attr_int(n->attrs, "axis", -1, &axis, NULL) != GR_OK || (axis != -1 && axis != x->type.rank - 1))
        return false;
    for (int i = 0; i < x->type.rank; i++)
        if (!same_dim(x, i, r, i)) return false;
    int last = x->type.rank - 1;
    bool rows = has_rank(gr_in(n, 2), 1) && same_dim(gr_in(n, 2), 0, x, last);
    return rows && (!gr_in(n, 3) || (has_rank(gr_in(n, 3), 1) && same_dim(gr_in(n, 3), 0, x, last)));
}

static gr_status spell_skip(gr_spell *s)
{
    float epsilon;
    GR_TRY(gr_attr_float(s->node->attrs, "epsilon", 1e-5f, &epsilon, s->err));
    gr_spell_begin(s, "x, residual, scale, bias", "y, sum");
    gr_spell_node(s, "y%s = com.microsoft.SkipLayerNormalization <epsilon = %.9g> (x, residual, scale%s)",
                  gr_spell_wants(s, 1) ? ", \"\", \"\", sum" : "", (double)epsilon, gr_spell_in(s, 3) ? ", bias" : "");
    return GR_OK;
}

/* ---- EmbedLayerNormalization: two or three tables of one width, whose ids are one grid of tokens; those of positions
 * may be one row for all sequences. Ids are int32 there ----
 */

enum { SCALE, BIAS, TABLE, MOST_TABLES = 3 }; /* then each table with its ids */

static uint32_t tables_of(const gr_node *n) { return n->nin > TABLE ? (n->nin - TABLE) / 2 : 0; }
static const gr_value *ids_of(const gr_node *n, uint32_t table) { return gr_in(n, TABLE + 2 * table + 1); }

/* Which table takes the place of positions: one with a single row of ids, else the last. */
static uint32_t positions_of(const gr_node *n)
{
    uint32_t last = tables_of(n) - 1;
    for (uint32_t i = 0; i < last; i++)
        if (has_rank(ids_of(n, i), 2) && gr_dim_is(ids_of(n, i)->type.dims[0], 1)) return i;
    return last;
}

/* Whether there is a position for each token. A slice of all positions ends with them, but then nothing can be added. */
static bool is_as_long(const gr_node *n, const gr_value *positions, const gr_value *grid, const gr_value *table)
{
    const gr_dim length = positions->type.dims[1], tokens = grid->type.dims[1], most = table->type.dims[0];
    return gr_dim_same(length, tokens) ||
           (gr_dim_known(most) && most.k > 1 && gr_dim_same(length, gr_sym_min(n->graph->syms, tokens, most)));
}

static bool fits_embeddings(const gr_node *n)
{
    const gr_value *scale = gr_in(n, SCALE), *bias = gr_in(n, BIAS), *grid = NULL;
    uint32_t tables = tables_of(n);
    if (tables < 2 || tables > MOST_TABLES || n->nin != TABLE + 2 * tables) return false;
    if (!is_float(scale) || !has_rank(scale, 1) || !has_rank(bias, 1)) return false;
    uint32_t positions = positions_of(n);
    for (uint32_t i = 0; i < tables; i++) {
        const gr_value *table = gr_in(n, TABLE + 2 * i), *ids = ids_of(n, i);
        if (!ids || !has_rank(ids, 2) || !is_float(table) || !same_dim(table, 1, scale, 0)) return false;
        if (i == positions) continue;
        if (grid && (!same_dim(grid, 0, ids, 0) || !same_dim(grid, 1, ids, 1))) return false;
        grid = ids;
    }
    const gr_value *row = ids_of(n, positions);
    return is_as_long(n, row, grid, gr_in(n, TABLE + 2 * positions)) &&
           (same_dim(grid, 0, row, 0) || gr_dim_is(row->type.dims[0], 1));
}

static gr_status spell_embeddings(gr_spell *s)
{
    const uint32_t tables = tables_of(s->node), positions = positions_of(s->node);
    const uint32_t words = positions == 0, segments = tables == 2 ? MOST_TABLES : 3 - positions - words;
    char types[16] = "\"\"", rows[16] = "\"\""; /* absent */
    float epsilon;
    GR_TRY(gr_attr_float(s->node->attrs, "epsilon", 1e-5f, &epsilon, s->err));
    gr_spell_begin(s, "scale, bias, t0, i0, t1, i1, t2, i2", "y");
    for (uint32_t i = 0; i < tables; i++) gr_spell_node(s, "ids%u = Cast <to = %d> (i%u)", i, GR_INT32, i);
    if (segments < tables) {
        snprintf(types, sizeof types, "ids%u", segments);
        snprintf(rows, sizeof rows, "t%u", segments);
    }
    gr_spell_node(s,
                  "y, mask_index = com.microsoft.EmbedLayerNormalization <epsilon = %.9g> "
                  "(ids%u, %s, t%u, t%u, %s, scale, bias, \"\", ids%u)",
                  (double)epsilon, words, types, words, positions, rows, positions);
    return GR_OK;
}

/* ---- Gelu, FastGelu, BiasGelu, FusedMatMul: float ---- */

static bool fits_gelu(const gr_node *n) { return is_float(gr_in(n, 0)); }

static gr_status spell_gelu(gr_spell *s)
{
    const char *how;
    GR_TRY(gr_attr_string(s->node->attrs, "approximate", "none", &how, s->err));
    gr_spell_begin(s, "x", "y");
    gr_spell_node(s, "y = com.microsoft.%s (x)", strcmp(how, "tanh") ? "Gelu" : "FastGelu");
    return GR_OK;
}

static bool fits_linear(const gr_node *n) { return is_float(gr_in(n, 0)) && is_float(gr_in(n, 1)); }

static void spell_product(gr_spell *s, const char *y, const char *w, bool transposed)
{
    if (transposed)
        gr_spell_node(s, "%s = com.microsoft.FusedMatMul <transB = 1> (x, %s)", y, w);
    else
        gr_spell_node(s, "%s = MatMul (x, %s)", y, w);
}

static gr_status spell_linear(gr_spell *s)
{
    bool transposed, bias = gr_spell_in(s, 2), residual = gr_spell_in(s, 3);
    const char *how, *y = residual ? "activated" : "y", *x = "product";
    GR_TRY(gr_attr_bool(s->node->attrs, "transB", false, &transposed, s->err));
    GR_TRY(gr_attr_string(s->node->attrs, "activation", "", &how, s->err));
    bool gelu = !strcmp(how, "gelu"), fast = !strcmp(how, "gelu_tanh");
    gr_spell_begin(s, "x, w, b, residual", "y");
    spell_product(s, "product", "w", transposed);
    if (gelu || fast) {
        const char *op = fast ? "FastGelu" : bias ? "BiasGelu" : "Gelu";
        gr_spell_node(s, "%s = com.microsoft.%s (product%s)", y, op, bias ? ", b" : "");
    } else {
        if (bias) gr_spell_node(s, "%s = Add (product, b)", x = "biased");
        gr_spell_activation(s, y, how, x, GR_FLOAT);
    }
    if (residual) gr_spell_node(s, "y = Add (activated, residual)");
    return GR_OK;
}

/* ---- the list ---- */

static const struct {
    const char *op;
    bool (*fits)(const gr_node *n);
    gr_spell_fn spell;
} known[] = {{"Attention", fits_attention, spell_attention},
             {"AddLayerNormalization", fits_skip, spell_skip},
             {"Embeddings", fits_embeddings, spell_embeddings},
             {"Gelu", fits_gelu, spell_gelu},
             {"Linear", fits_linear, spell_linear}};

gr_spell_fn gr_contrib_body(const gr_node *n)
{
    if (!n->op->domain || strcmp(n->op->domain, "graphrun") != 0) return NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (gr_is_named(n, known[i].op)) return known[i].fits(n) ? known[i].spell : NULL;
    return NULL;
}
