/* SPDX-License-Identifier: Apache-2.0
 *
 * Concat along one axis. Version 1 has a default axis, 1; from 4 on it is required, from 11 on it may be negative.
 */
#include "move.h"

typedef struct concat_params {
    int64_t axis;
} concat_params;

static gr_status parse_1(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    concat_params *p = GR_NEW(arena, concat_params);
    if (!p) return gr_nomem(err);
    *params = p;
    return gr_attr_int(attrs, "axis", 1, &p->axis, err);
}

static gr_status parse_4(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    if (!gr_attr_find(attrs, "axis")) return gr_fail(err, GR_EMODEL, "attribute 'axis' is missing");
    return parse_1(attrs, arena, params, err);
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const concat_params *p = c->params;
    gr_dtype t = GR_UNDEFINED;
    int rank = GR_RANK_UNKNOWN, axis;
    bool all = true;
    for (uint32_t i = 0; i < c->nin; i++) {
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
        GR_TRY(gr_require_movable(c, i, err));
        GR_TRY(gr_require_same(c, 0, i, err));
        if (t == GR_UNDEFINED) t = c->in[i]->dtype;
        all = all && gr_rank_known(c, i);
        if (!gr_rank_known(c, i)) continue;
        if (rank >= 0 && rank != c->in[i]->rank)
            return gr_fail(err, GR_EMODEL, "inputs of ranks %d and %d", rank, c->in[i]->rank);
        rank = c->in[i]->rank;
    }
    if (rank < 0) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    GR_TRY(gr_axis(p->axis, rank, &axis, err));
    gr_dim *d = gr_dims(c, rank), sum = GR_DIM(0);
    bool first = true;
    for (uint32_t i = 0; i < c->nin; i++) {
        if (!gr_rank_known(c, i)) continue;
        for (int k = 0; k < rank; k++) {
            if (first || k == axis)
                d[k] = c->in[i]->dims[k];
            else
                GR_TRY(gr_same_dim(c, d[k], c->in[i]->dims[k], k, &d[k], err));
        }
        sum = gr_sym_add(c->syms, sum, c->in[i]->dims[axis]);
        first = false;
    }
    d[axis] = all ? sum : gr_sym_fresh(c->syms);
    return gr_set(c, 0, t, rank, d);
}

static gr_status run(const gr_step *s, gr_err *err)
{
    const concat_params *p = s->params;
    gr_tensor *y = s->out[0];
    int axis, bits = gr_dtype_bits(y->dtype);
    GR_TRY(gr_axis(p->axis, y->rank, &axis, err));
    int64_t outer = gr_product(y->dims, 0, axis), inner = gr_product(y->dims, axis + 1, y->rank);
    int64_t row = y->dims[axis] * inner, at = 0;
    gr_clear_tail(y);
    for (uint32_t i = 0; i < s->nin; i++) {
        int64_t piece = s->in[i]->dims[axis] * inner;
        gr_move m = {.rank = 0};
        gr_move_loop(&m, outer, piece, row);
        gr_move_loop(&m, piece, 1, 1);
        gr_move_run(&m, bits, s->in[i]->data, 0, y->data, at);
        at += piece;
    }
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", NULL, run, NULL}, {0}};

#define CONCAT(since, parse)                                                                                           \
    GR_OP_ROW("Concat", since, 1, -1, 1, GR_OP_MOVE | GR_OP_MOVE_ALL | GR_OP_UNALIGNED, parse, infer, kernels)
const gr_op op_concat[] = {CONCAT(1, parse_1), CONCAT(4, parse_4), CONCAT(11, parse_4), CONCAT(13, parse_4), {0}};
