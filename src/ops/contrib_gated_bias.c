/* SPDX-License-Identifier: Apache-2.0
 *
 * com.microsoft's GatedRelativePositionBias (WavLM), put together from others:
 *     q = heads of (query + query_bias)
 *     u, r = sigmoid of the sums over both halves of q * weight + bias
 *     y = (u * (r * eco_a - 1) + 2) * rel_pos
 */
#include "exec/body.h"

enum { QUERY, QUERY_BIAS, REL_POS, WEIGHT, BIAS, ECO_A, TOKEN_OFFSET };

typedef struct params {
    int64_t heads;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    *out = p;
    if (!p) return gr_nomem(err);
    if (!gr_attr_find(attrs, "num_heads")) return gr_fail(err, GR_EMODEL, "attribute 'num_heads' is missing");
    return gr_attr_int_in(attrs, "num_heads", 1, 1, INT32_MAX, &p->heads, err);
}

static gr_status body(gr_body *b)
{
    const params *p = b->params;
    const int64_t last = -1;
    gr_value *gates[2];
    if (gr_body_in(b, TOKEN_OFFSET))
        return gr_fail(b->err, GR_EUNSUPPORTED, "queries without their padding (token_offset) are not supported");
    for (uint32_t i = QUERY; i <= ECO_A; i++)
        if (!gr_body_in(b, i)) return gr_fail(b->err, GR_EMODEL, "input %u is missing", i);
    gr_value *q = GR_BODY_NODE(b, "Add", GR_NO_ATTRS, gr_body_in(b, QUERY), gr_body_in(b, QUERY_BIAS));
    q = gr_body_reshape(b, q, 4, (int64_t[]){0, 0, p->heads, -1});
    q = GR_BODY_NODE(b, "MatMul", GR_NO_ATTRS, gr_body_transpose(b, q, 4, (int64_t[]){0, 2, 1, 3}),
                     gr_body_in(b, WEIGHT));
    q = GR_BODY_NODE(b, "Add", GR_NO_ATTRS, q, gr_body_in(b, BIAS));
    q = GR_BODY_NODE(b, "ReduceSum", GR_ATTRS(GR_INT_ATTR("keepdims", 0)),
                     gr_body_reshape(b, q, 5, (int64_t[]){0, 0, 0, 2, -1}), gr_body_ints(b, 1, &last));
    gr_body_split(b, GR_BODY_NODE(b, "Sigmoid", GR_NO_ATTRS, q), 3, 2, (int64_t[]){1, 1}, gates);
    gr_value *r = GR_BODY_NODE(b, "Mul", GR_NO_ATTRS, gates[1], gr_body_in(b, ECO_A));
    r = GR_BODY_NODE(b, "Sub", GR_NO_ATTRS, r, gr_body_float(b, 1));
    r = GR_BODY_NODE(b, "Add", GR_NO_ATTRS, GR_BODY_NODE(b, "Mul", GR_NO_ATTRS, gates[0], r), gr_body_float(b, 2));
    b->out[0] = GR_BODY_NODE(b, "Mul", GR_NO_ATTRS, r, gr_body_in(b, REL_POS));
    return GR_OK;
}

const gr_op op_contrib_gated_bias[] = {GR_CONTRIB_ROW("GatedRelativePositionBias", 6, 7, 1, parse, body), {0}};
