/* SPDX-License-Identifier: Apache-2.0
 *
 * com.microsoft's normalisations that take in what stands before them: SkipLayerNormalization and its simplified form
 * (residual and bias), EmbedLayerNormalization and its quantised form (look-up of words, positions and segments).
 */
#include "exec/body.h"

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    return gr_parse_epsilon(attrs, arena, 1e-12F, params, err);
}

#define NORM_ATTRS GR_ATTRS(GR_INT_ATTR("axis", -1), GR_FLOAT_ATTR("epsilon", p->epsilon))

/* ---- x, skip, gamma, beta?, bias? -> y, mean?, deviation?, sum? ---- */

static gr_status skip_body(gr_body *b)
{
    const gr_epsilon *p = b->params;
    gr_value *x = gr_body_in(b, 0), *skip = gr_body_in(b, 1), *gamma = gr_body_in(b, 2), *beta = gr_body_in(b, 3);
    if (gr_body_in(b, 4)) x = GR_BODY_NODE(b, "Add", GR_NO_ATTRS, x, b->in[4]);
    gr_value *out[3];
    if (gr_body_wants(b, 1) || gr_body_wants(b, 2)) {
        gr_value *sum = GR_BODY_NODE(b, "Add", GR_NO_ATTRS, x, skip), *in[] = {sum, gamma, beta};
        gr_body_node(b, "LayerNormalization", NORM_ATTRS, 3, in, 3, out);
        for (uint32_t o = 0; o < 3 && o < b->nout; o++) b->out[o] = out[o];
        if (gr_body_wants(b, 3)) b->out[3] = sum;
        return GR_OK;
    }
    gr_value *in[] = {x, skip, gamma, beta};
    gr_body_node(b, "graphrun.AddLayerNormalization", NORM_ATTRS, 4, in, 2, out);
    b->out[0] = out[0];
    if (gr_body_wants(b, 3)) b->out[3] = out[1];
    return GR_OK;
}

/* ---- x, skip, gamma, bias? -> y, mean?, deviation?, sum? ---- */

static gr_status simplified_body(gr_body *b)
{
    const gr_epsilon *p = b->params;
    gr_value *x = gr_body_in(b, 0), *out[2];
    if (gr_body_in(b, 3)) x = GR_BODY_NODE(b, "Add", GR_NO_ATTRS, x, b->in[3]);
    gr_value *sum = GR_BODY_NODE(b, "Add", GR_NO_ATTRS, x, gr_body_in(b, 1)), *in[] = {sum, gr_body_in(b, 2)};
    gr_body_node(b, "SimplifiedLayerNormalization", NORM_ATTRS, 2, in, 2, out);
    b->out[0] = out[0];
    if (gr_body_wants(b, 1)) /* which the norm itself has no use for */
        b->out[1] = GR_BODY_NODE(b, "ReduceMean", GR_NO_ATTRS, sum, gr_body_ints(b, 1, &(int64_t){-1}));
    if (gr_body_wants(b, 2)) b->out[2] = out[1];
    if (gr_body_wants(b, 3)) b->out[3] = sum;
    return GR_OK;
}

/* ---- embeddings ---- */

/* What the two forms have in common, once tables are floats. */
typedef struct embedding {
    gr_value *ids, *words, *positions, *segments; /* words and segments are looked up already, positions [S, H] too */
    gr_value *gamma, *beta, *mask;
} embedding;

static void embed(gr_body *b, const embedding *e)
{
    const gr_epsilon *p = b->params;
    const int64_t zero = 0, one = 1;
    gr_value *sum = GR_BODY_NODE(b, "Add", GR_NO_ATTRS, e->words, e->positions);
    if (e->segments) sum = GR_BODY_NODE(b, "Add", GR_NO_ATTRS, sum, e->segments);
    b->out[0] = GR_BODY_NODE(b, "LayerNormalization", NORM_ATTRS, sum, e->gamma, e->beta);
    if (gr_body_wants(b, 2)) b->out[2] = sum;
    if (!gr_body_wants(b, 1)) return;
    gr_value *rows = GR_BODY_NODE(b, "Shape", GR_ATTRS(GR_INT_ATTR("start", zero), GR_INT_ATTR("end", one)), e->ids);
    if (e->mask) /* tokens that count */
        b->out[1] =
            GR_BODY_NODE(b, "ReduceSum", GR_ATTRS(GR_INT_ATTR("keepdims", 0)), e->mask, gr_body_ints(b, 1, &one));
    else
        b->out[1] = GR_BODY_NODE(b, "Expand", GR_NO_ATTRS, gr_body_int32(b, 0), rows);
}

/* Rows of the table for positions 0, 1, ... of the tokens. */
static gr_value *first_rows(gr_body *b, gr_value *table, gr_value *ids)
{
    const int64_t zero = 0;
    gr_value *n = GR_BODY_NODE(b, "Shape", GR_ATTRS(GR_INT_ATTR("start", 1), GR_INT_ATTR("end", 2)), ids);
    gr_value *from = gr_body_ints(b, 1, &zero);
    return GR_BODY_NODE(b, "Slice", GR_NO_ATTRS, table, from, n, from);
}

static gr_value *look_up(gr_body *b, gr_value *table, gr_value *ids)
{
    return GR_BODY_NODE(b, "Gather", GR_ATTRS(GR_INT_ATTR("axis", 0)), table, ids);
}

static gr_status check_ids(gr_body *b)
{
    int rank = gr_body_rank(b, gr_body_in(b, 0));
    if (b->open || rank == 2) return GR_OK;
    return gr_fail(b->err, GR_EMODEL, "the token ids have rank %d, expected 2", rank);
}

/* ids, segment_ids?, words, positions, segments?, gamma, beta, mask?, position_ids? -> y, mask_index?, sum? */
static gr_status embed_body(gr_body *b)
{
    gr_value *ids = gr_body_in(b, 0);
    GR_TRY(check_ids(b));
    if (!gr_body_in(b, 1) != !gr_body_in(b, 4))
        return gr_fail(b->err, GR_EMODEL, "segment ids and the table of segments must be given together");
    embedding e = {.ids = ids,
                   .words = look_up(b, gr_body_in(b, 2), ids),
                   .gamma = gr_body_in(b, 5),
                   .beta = gr_body_in(b, 6),
                   .mask = gr_body_in(b, 7)};
    e.positions = gr_body_in(b, 8) ? look_up(b, gr_body_in(b, 3), b->in[8]) : first_rows(b, gr_body_in(b, 3), ids);
    if (gr_body_in(b, 1)) e.segments = look_up(b, b->in[4], b->in[1]);
    embed(b, &e);
    return GR_OK;
}

/* The same with tables, gamma and beta quantised; their scales from input 8 on, zero points from 13 on. */
static gr_status quantised_embed_body(gr_body *b)
{
    gr_value *ids = gr_body_in(b, 0), *v[5] = {0};
    GR_TRY(check_ids(b));
    if (!gr_body_in(b, 1) != !gr_body_in(b, 4))
        return gr_fail(b->err, GR_EMODEL, "segment ids and the table of segments must be given together");
    v[0] = look_up(b, gr_body_in(b, 2), ids);
    v[1] = first_rows(b, gr_body_in(b, 3), ids);
    if (gr_body_in(b, 1)) v[2] = look_up(b, b->in[4], b->in[1]);
    v[3] = gr_body_in(b, 5);
    v[4] = gr_body_in(b, 6);
    for (uint32_t i = 0; i < 5; i++)
        if (v[i])
            v[i] = GR_BODY_NODE(b, "DequantizeLinear", GR_NO_ATTRS, v[i], gr_body_in(b, 8 + i), gr_body_in(b, 13 + i));
    embed(b, &(embedding){ids, v[0], v[1], v[2], v[3], v[4], gr_body_in(b, 7)});
    return GR_OK;
}

#define ROW(name_, least, most, outputs, body_) GR_CONTRIB_ROW(name_, least, most, outputs, parse, body_)
const gr_op op_contrib_norm[] = {
    ROW("SkipLayerNormalization", 3, 5, 4, skip_body),
    ROW("SkipSimplifiedLayerNormalization", 3, 4, 4, simplified_body),
    ROW("EmbedLayerNormalization", 1, 9, 3, embed_body),
    ROW("QEmbedLayerNormalization", 1, 18, 2, quantised_embed_body),
    {0},
};
