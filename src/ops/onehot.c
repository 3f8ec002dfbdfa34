/* SPDX-License-Identifier: Apache-2.0
 *
 * OneHot: a new axis of size `depth` that is `on` where the index is and `off` elsewhere. An index out of range gives
 * `off` everywhere; from 11 on indices may be negative. Indices and depth may be of any numeric type.
 */
#include "loops.h"
#include "move.h"

typedef struct onehot_params {
    int64_t axis;
    bool negative;
} onehot_params;

static gr_status parse_9(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    onehot_params *p = GR_NEW(arena, onehot_params);
    if (!p) return gr_nomem(err);
    *params = p;
    return gr_attr_int(attrs, "axis", -1, &p->axis, err);
}

static gr_status parse_11(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    GR_TRY(parse_9(attrs, arena, params, err));
    ((onehot_params *)*params)->negative = true;
    return GR_OK;
}

/* An element as an integer, fractions cut off; INT64_MAX for what no index can be: NaN, infinite, huge. */
static int64_t whole(const gr_tensor *t, int64_t i)
{
    int64_t k = 0;
    double x = 0;
    if (!gr_dtype_is_float(t->dtype)) {
        gr_load_i64(t->dtype, 1, t->data, i, 1, &k);
        return t->dtype == GR_UINT64 && k < 0 ? INT64_MAX : k;
    }
    gr_load_f64(t->dtype, 1, t->data, i, 1, &x);
    return fabs(x) < 1e18 ? (int64_t)x : INT64_MAX;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const onehot_params *p = c->params;
    gr_dtype t = gr_in_dtype(c, 2);
    gr_dim depth;
    int axis;
    GR_TRY(gr_require(c, 0, GR_T_NUMBERS, err));
    GR_TRY(gr_require(c, 1, GR_T_NUMBERS, err));
    GR_TRY(gr_require_bytes(c, 2, err));
    GR_TRY(gr_require_scalar(c, 1, err));
    if (gr_rank_known(c, 2) && (c->in[2]->rank != 1 || (gr_dim_known(c->in[2]->dims[0]) && c->in[2]->dims[0].k != 2)))
        return gr_fail(err, GR_EMODEL, "input 2 must hold two values, off and on");
    if (!gr_known_int(c, 1, &depth))
        depth = c->konst[1] && c->konst[1]->elements == 1 ? GR_DIM(whole(c->konst[1], 0)) : gr_sym_fresh(c->syms);
    if (gr_dim_known(depth) && (depth.k < 0 || depth.k == INT64_MAX))
        return gr_fail(err, GR_EINPUT, "a depth of %lld", (long long)depth.k);
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    int rank = c->in[0]->rank + 1;
    GR_TRY(gr_check_rank(rank, err));
    GR_TRY(gr_axis(p->axis, rank, &axis, err));
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < rank; i++) d[i] = i == axis ? depth : c->in[0]->dims[i - (i > axis)];
    return gr_set(c, 0, t, rank, d);
}

/* y[o, d, i] = d == indices[o, i] ? on : off */
static gr_status run(const gr_step *s, gr_err *err)
{
    const onehot_params *p = s->params;
    const gr_tensor *ix = s->in[0], *values = s->in[2];
    gr_tensor *y = s->out[0];
    int axis, bits = gr_dtype_bits(y->dtype);
    size_t bytes = (size_t)bits / 8;
    GR_TRY(gr_axis(p->axis, y->rank, &axis, err));
    if (!y->elements) return GR_OK;
    int64_t depth = y->dims[axis], inner = gr_product(y->dims, axis + 1, y->rank);
    gr_move_fill(y->elements, bits, values->data, y->data);
    for (int64_t i = 0; i < ix->elements; i++) {
        int64_t k = whole(ix, i);
        if (k < 0 && !p->negative) continue;
        k = gr_wrap_index(k, depth);
        if (k < 0) continue;
        int64_t at = (i / inner * depth + k) * inner + i % inner;
        memcpy((char *)y->data + (size_t)at * bytes, (const char *)values->data + bytes, bytes);
    }
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", gr_prepare_shaped, run, NULL}, {0}};

/* clang-format off */
const gr_op op_onehot[] = {
    GR_OP_ROW("OneHot", 9, 3, 3, 1, GR_OP_DYNAMIC, parse_9, infer, kernels),
    GR_OP_ROW("OneHot", 11, 3, 3, 1, GR_OP_DYNAMIC, parse_11, infer, kernels), {0},
};
