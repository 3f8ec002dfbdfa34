/* SPDX-License-Identifier: Apache-2.0
 *
 * com.microsoft's RotaryEmbedding(x, positions, cosines, sines) as the standard operator of that name. Positions are
 * given for every token, or as one offset that is added to 0, 1, ...
 */
#include "exec/body.h"

typedef struct params {
    int64_t interleaved, heads, dim;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    float scale;
    params *p = GR_NEW(arena, params);
    *out = p;
    if (!p) return gr_nomem(err);
    GR_TRY(gr_attr_int(attrs, "interleaved", 0, &p->interleaved, err));
    GR_TRY(gr_attr_int_in(attrs, "num_heads", 0, 0, INT32_MAX, &p->heads, err));
    GR_TRY(gr_attr_int_in(attrs, "rotary_embedding_dim", 0, 0, INT32_MAX, &p->dim, err));
    GR_TRY(gr_attr_float(attrs, "scale", 1, &scale, err));
    if (scale != 1) return gr_fail(err, GR_EUNSUPPORTED, "attribute 'scale' is %g, expected 1", (double)scale);
    return GR_OK;
}

static gr_value *dims_of(gr_body *b, gr_value *x, int first, int end)
{
    return GR_BODY_NODE(b, "Shape", GR_ATTRS(GR_INT_ATTR("start", first), GR_INT_ATTR("end", end)), x);
}

/* offset + 0, 1, ... for every sample */
static gr_value *positions(gr_body *b, gr_value *x, gr_value *offset, int rank)
{
    const int64_t zero = 0, one = 1;
    gr_value *first = gr_body_ints(b, 1, &zero), *tokens = dims_of(b, x, rank - 2, rank - 1);
    gr_value *n = GR_BODY_NODE(b, "Squeeze", GR_NO_ATTRS, tokens, first);
    gr_value *from = GR_BODY_NODE(b, "Squeeze", GR_NO_ATTRS, first, first);
    gr_value *step = GR_BODY_NODE(b, "Squeeze", GR_NO_ATTRS, gr_body_ints(b, 1, &one), first);
    gr_value *ids = GR_BODY_NODE(b, "Add", GR_NO_ATTRS, GR_BODY_NODE(b, "Range", GR_NO_ATTRS, from, n, step), offset);
    gr_value *shape = GR_BODY_NODE(b, "Concat", GR_ATTRS(GR_INT_ATTR("axis", 0)), dims_of(b, x, 0, 1), tokens);
    return GR_BODY_NODE(b, "Expand", GR_NO_ATTRS, ids, shape);
}

static gr_status body(gr_body *b)
{
    const params *p = b->params;
    gr_value *x = gr_body_in(b, 0), *ids = gr_body_in(b, 1), *cosines = gr_body_in(b, 2);
    int rank = gr_body_rank(b, x), ids_rank = gr_body_rank(b, ids);
    int64_t heads = p->heads;
    if (b->open) return GR_OK;
    if (rank != 3 && rank != 4) return gr_fail(b->err, GR_EMODEL, "the input has rank %d, expected 3 or 4", rank);
    if (rank == 3 && !heads) { /* the caches tell the size of a head */
        int64_t width = gr_body_dim(b, x, 2), pairs = gr_body_dim(b, cosines, 1);
        if (b->open) return GR_OK;
        if (p->dim || pairs < 1 || pairs > INT32_MAX)
            return gr_fail(b->err, GR_EMODEL, "attribute 'num_heads' is missing, which part of a head rotated needs");
        heads = width / (2 * pairs);
    }
    if (ids_rank < 2) ids = positions(b, x, ids, rank);
    b->out[0] = GR_BODY_NODE(b, "RotaryEmbedding",
                             GR_ATTRS(GR_INT_ATTR("interleaved", p->interleaved), GR_INT_ATTR("num_heads", heads),
                                      GR_INT_ATTR("rotary_embedding_dim", p->dim)),
                             x, cosines, gr_body_in(b, 3), ids);
    return GR_OK;
}

const gr_op op_contrib_rotary[] = {GR_CONTRIB_ROW("RotaryEmbedding", 4, 4, 1, parse, body), {0}};
