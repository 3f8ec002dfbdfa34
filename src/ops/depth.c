/* SPDX-License-Identifier: Apache-2.0
 *
 * DepthToSpace, SpaceToDepth (blocks of pixels from and to channels) and ReverseSequence.
 */
#include "move.h"

/* ---- DepthToSpace, SpaceToDepth: x is [n, c, h, w] ---- */

typedef struct depth_params {
    int64_t block;
    bool columns_first; /* mode CRD: c = (c', b1, b2) and not (b1, b2, c') */
} depth_params;

static gr_status parse_depth(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    depth_params *p = GR_NEW(arena, depth_params);
    const char *mode;
    if (!p) return gr_nomem(err);
    *params = p;
    GR_TRY(gr_attr_int_in(attrs, "blocksize", 0, 1, INT32_MAX, &p->block, err));
    GR_TRY(gr_attr_string(attrs, "mode", "DCR", &mode, err));
    p->columns_first = !strcmp(mode, "CRD");
    if (!p->columns_first && strcmp(mode, "DCR"))
        return gr_fail(err, GR_EMODEL, "attribute 'mode' is '%s'", gr_show(mode));
    return GR_OK;
}

static gr_status divided(const gr_infer *c, gr_dim d, int64_t by, int axis, gr_dim *out, gr_err *err)
{
    if (gr_dim_known(d) && d.k % by)
        return gr_fail(err, GR_EMODEL, "dimension %d is %lld, not a multiple of %lld", axis, (long long)d.k,
                       (long long)by);
    *out = gr_sym_div(c->syms, d, GR_DIM(by));
    return GR_OK;
}

static gr_status infer_blocks(const gr_infer *c, bool to_space, gr_err *err)
{
    const depth_params *p = c->params;
    GR_TRY(gr_require_movable(c, 0, err));
    if (!gr_rank_known(c, 0)) return gr_set_rank(c, 0, gr_in_dtype(c, 0), 4);
    const gr_type *x = c->in[0];
    if (x->rank != 4) return gr_fail(err, GR_EMODEL, "the input must have rank 4, not %d", x->rank);
    gr_dim *d = gr_dims(c, 4), block = GR_DIM(p->block), area = GR_DIM(p->block * p->block);
    d[0] = x->dims[0];
    if (to_space) {
        GR_TRY(divided(c, x->dims[1], area.k, 1, &d[1], err));
        d[2] = gr_sym_mul(c->syms, x->dims[2], block);
        d[3] = gr_sym_mul(c->syms, x->dims[3], block);
    } else {
        d[1] = gr_sym_mul(c->syms, x->dims[1], area);
        GR_TRY(divided(c, x->dims[2], p->block, 2, &d[2], err));
        GR_TRY(divided(c, x->dims[3], p->block, 3, &d[3], err));
    }
    return gr_set(c, 0, gr_in_dtype(c, 0), 4, d);
}

static gr_status infer_to_space(const gr_infer *c, gr_err *err) { return infer_blocks(c, true, err); }
static gr_status infer_to_depth(const gr_infer *c, gr_err *err) { return infer_blocks(c, false, err); }

/* Loops over n, c', h, b1, w, b2 with the strides that these have in a tensor with space and in one with depth, where h
 * and w count blocks. */
static void run_blocks(const gr_step *s, bool to_space)
{
    const depth_params *p = s->params;
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0];
    const int64_t *deep = to_space ? x->dims : y->dims, b = p->block;
    if (!y->elements) return;
    int64_t h = deep[2], w = deep[3], c = deep[1] / (b * b), area = h * w;
    int64_t dims[6] = {deep[0], c, h, b, w, b};
    int64_t space[6] = {c * area * b * b, area * b * b, b * w * b, w * b, b, 1};
    int64_t dcr[6] = {c * area * b * b, area, w, b * c * area, 1, c * area};
    int64_t crd[6] = {c * area * b * b, b * b * area, w, b * area, 1, area};
    const int64_t *depth = p->columns_first ? crd : dcr;
    gr_move m = {.rank = 0};
    for (int i = 0; i < 6; i++)
        gr_move_loop(&m, dims[i], to_space ? depth[i] : space[i], to_space ? space[i] : depth[i]);
    gr_clear_tail(y);
    gr_move_run(&m, gr_dtype_bits(x->dtype), x->data, 0, y->data, 0);
}

static gr_status run_to_space(const gr_step *s, gr_err *err)
{
    (void)err;
    run_blocks(s, true);
    return GR_OK;
}

static gr_status run_to_depth(const gr_step *s, gr_err *err)
{
    (void)err;
    run_blocks(s, false);
    return GR_OK;
}

/* ---- ReverseSequence ---- */

typedef struct reverse_params {
    int64_t time, batch;
} reverse_params;

static gr_status parse_reverse(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    reverse_params *p = GR_NEW(arena, reverse_params);
    if (!p) return gr_nomem(err);
    *params = p;
    GR_TRY(gr_attr_int_in(attrs, "time_axis", 0, 0, 1, &p->time, err));
    GR_TRY(gr_attr_int_in(attrs, "batch_axis", 1, 0, 1, &p->batch, err));
    return p->time != p->batch ? GR_OK
                               : gr_fail(err, GR_EMODEL, "time_axis and batch_axis are both %lld", (long long)p->time);
}

static gr_status infer_reverse(const gr_infer *c, gr_err *err)
{
    const reverse_params *p = c->params;
    GR_TRY(gr_require_bytes(c, 0, err));
    GR_TRY(gr_require(c, 1, GR_T(INT64), err));
    if (gr_rank_known(c, 0) && c->in[0]->rank < 2)
        return gr_fail(err, GR_EMODEL, "the input must have a rank of at least 2, not %d", c->in[0]->rank);
    if (gr_rank_known(c, 1)) {
        gr_dim same;
        if (c->in[1]->rank != 1)
            return gr_fail(err, GR_EMODEL, "sequence_lens must have rank 1, not %d", c->in[1]->rank);
        if (gr_rank_known(c, 0))
            GR_TRY(gr_same_dim(c, c->in[0]->dims[p->batch], c->in[1]->dims[0], (int)p->batch, &same, err));
    }
    return gr_set_like(c, 0, 0);
}

/* y[t, b] = t < lens[b] ? x[lens[b] - 1 - t, b] : x[t, b] */
static gr_status run_reverse(const gr_step *s, gr_err *err)
{
    const reverse_params *p = s->params;
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0];
    int64_t times = x->dims[p->time], batch = x->dims[p->batch];
    size_t row = (size_t)gr_product(x->dims, 2, x->rank) * (size_t)gr_dtype_bits(x->dtype) / 8;
    int64_t step_t = p->time == 0 ? batch : 1, step_b = p->batch == 0 ? times : 1;
    for (int64_t b = 0; b < batch; b++) {
        int64_t n = gr_int_at(s->in[1], b);
        if (n < 0 || n > times)
            return gr_fail(err, GR_EINPUT, "sequence %lld has length %lld, expected 0 to %lld", (long long)b,
                           (long long)n, (long long)times);
        for (int64_t t = 0; row && t < times; t++) {
            int64_t from = t < n ? n - 1 - t : t;
            memcpy((char *)y->data + (size_t)(t * step_t + b * step_b) * row,
                   (const char *)x->data + (size_t)(from * step_t + b * step_b) * row, row);
        }
    }
    return GR_OK;
}

static const gr_kernel k_space[] = {{"ref", NULL, run_to_space, NULL}, {0}};
static const gr_kernel k_depth[] = {{"ref", NULL, run_to_depth, NULL}, {0}};
static const gr_kernel k_reverse[] = {{"ref", NULL, run_reverse, NULL}, {0}};

enum { FLAGS = GR_OP_MOVE | GR_OP_UNALIGNED };
#define SPACE(since) GR_OP_ROW("DepthToSpace", since, 1, 1, 1, FLAGS, parse_depth, infer_to_space, k_space)
#define DEPTH(since) GR_OP_ROW("SpaceToDepth", since, 1, 1, 1, FLAGS, parse_depth, infer_to_depth, k_depth)
/* clang-format off */
const gr_op op_depth[] = {
    SPACE(1), SPACE(11), SPACE(13), DEPTH(1), DEPTH(13),
    GR_OP_ROW("ReverseSequence", 10, 2, 2, 1, FLAGS, parse_reverse, infer_reverse, k_reverse), {0},
};
