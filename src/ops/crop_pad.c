/* SPDX-License-Identifier: Apache-2.0
 *
 * CenterCropPad: axes longer than asked for are cut on both sides, shorter ones are filled up with zeros on both; of an
 * odd number the one more is at the end.
 */
#include "move.h"

typedef struct params {
    int64_t n; /* -1: all axes */
    const int64_t *axes;
} params;

static gr_status parse(gr_attrs attrs, gr_arena *arena, const void **out, gr_err *err)
{
    params *p = GR_NEW(arena, params);
    if (!p) return gr_nomem(err);
    *out = p;
    return gr_attr_ints(attrs, "axes", &p->n, &p->axes, err);
}

/* The axis that element i of the shape is about. */
static gr_status axis_at(const params *p, int64_t i, int rank, int *axis, gr_err *err)
{
    return gr_axis(p->n >= 0 ? p->axes[i] : i, rank, axis, err);
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const params *p = GR_PARAMS(params, c);
    gr_dtype t = gr_in_dtype(c, 0);
    const gr_dim *v;
    int64_t n;
    unsigned seen = 0;
    for (uint32_t i = 0; i < 2; i++)
        if (!gr_has(c, i)) return gr_fail(err, GR_EMODEL, "input %u is missing", i);
    GR_TRY(gr_require_bytes(c, 0, err));
    GR_TRY(gr_require_list(c, 1, GR_T_INDEX, &n, err));
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    int rank = c->in[0]->rank;
    int64_t want = p->n >= 0 ? p->n : rank;
    if (n >= 0 && n != want)
        return gr_fail(err, GR_EMODEL, "the shape has %lld elements for %lld axes", (long long)n, (long long)want);
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < rank; i++) d[i] = c->in[0]->dims[i];
    bool known = gr_known_ints(c, 1, &n, &v);
    for (int64_t i = 0; i < want; i++) {
        int axis;
        GR_TRY(axis_at(p, i, rank, &axis, err));
        if (seen >> axis & 1) return gr_fail(err, GR_EMODEL, "axis %d is given twice", axis);
        seen |= 1u << axis;
        d[axis] = known ? v[i] : gr_sym_fresh(c->syms);
        if (gr_dim_known(d[axis]) && d[axis].k < 0)
            return gr_fail(err, GR_EINPUT, "the shape holds %lld", (long long)d[axis].k);
    }
    return gr_set(c, 0, t, rank, d);
}

static gr_status run(const gr_step *s, gr_err *err)
{
    const params *p = GR_PARAMS(params, s);
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0];
    static const uint8_t zero[16] = {0};
    int64_t from[GR_MAX_RANK], to[GR_MAX_RANK], source = 0, target = 0;
    int bits = gr_dtype_bits(x->dtype);
    for (int64_t i = 0; i < s->in[1]->elements; i++) {
        int axis;
        GR_TRY(axis_at(p, i, x->rank, &axis, err));
        GR_TRY(gr_check_extent(gr_int_at(s->in[1], i), y->dims[axis], err));
    }
    gr_dense_strides(x->rank, x->dims, from);
    gr_dense_strides(y->rank, y->dims, to);
    gr_move m = {.rank = 0};
    for (int i = 0; i < x->rank; i++) {
        int64_t have = x->dims[i], want = y->dims[i];
        gr_move_loop(&m, have < want ? have : want, from[i], to[i]);
        if (have > want) source += (have - want) / 2 * from[i];
        else target += (want - have) / 2 * to[i];
    }
    gr_move_fill(y->elements, bits, zero, y->data);
    gr_move_run(&m, bits, x->data, source, y->data, target);
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", gr_prepare_shaped, run, NULL}, {0}};

const gr_op op_crop_pad[] = {GR_OP_ROW("CenterCropPad", 18, 2, 2, 1, GR_OP_DYNAMIC, parse, infer, kernels), {0}};
