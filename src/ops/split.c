/* SPDX-License-Identifier: Apache-2.0
 *
 * Split along one axis: sizes from an attribute (before 13) or an input, else equal parts; from 18 on a number of
 * parts, of which the last may be smaller.
 */
#include "move.h"

typedef struct split_params {
    int64_t axis;
    int64_t n; /* -1: no attribute */
    const int64_t *sizes;
    int64_t num_outputs; /* -1: not given */
    bool uneven;
} split_params;

static gr_status parse_1(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    split_params *p = GR_NEW(arena, split_params);
    if (!p) return gr_nomem(err);
    *params = p;
    p->num_outputs = -1;
    GR_TRY(gr_attr_int(attrs, "axis", 0, &p->axis, err));
    GR_TRY(gr_attr_ints(attrs, "split", &p->n, &p->sizes, err));
    for (int64_t i = 0; i < p->n; i++)
        if (p->sizes[i] < 0) return gr_fail(err, GR_EMODEL, "size %lld in attribute 'split'", (long long)p->sizes[i]);
    return GR_OK;
}

static gr_status parse_13(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    split_params *p = GR_NEW(arena, split_params);
    if (!p) return gr_nomem(err);
    *params = p;
    p->n = p->num_outputs = -1;
    return gr_attr_int(attrs, "axis", 0, &p->axis, err);
}

static gr_status parse_18(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    GR_TRY(parse_13(attrs, arena, params, err));
    split_params *p = (split_params *)*params;
    p->uneven = true;
    if (!gr_attr_find(attrs, "num_outputs")) return GR_OK;
    return gr_attr_int_in(attrs, "num_outputs", 1, 1, INT32_MAX, &p->num_outputs, err);
}

/* Sizes of equal parts, the last one smaller if the dimension leaves a rest and that is allowed. */
static gr_status equal_parts(int64_t dim, uint32_t n, bool uneven, int64_t *each, int64_t *last, gr_err *err)
{
    *each = dim / n + (dim % n != 0);
    *last = dim - *each * ((int64_t)n - 1);
    if (*last < 0 || (dim % n && !uneven))
        return gr_fail(err, GR_EMODEL, "a dimension of %lld cannot be split into %u parts", (long long)dim, n);
    return GR_OK;
}

static gr_status infer_sizes(const gr_infer *c, gr_dim dim, int64_t n, const gr_dim *v, gr_dim *size, gr_err *err)
{
    int64_t sum = 0;
    bool known = true;
    if (n != c->nout) return gr_fail(err, GR_EMODEL, "%lld sizes for %u outputs", (long long)n, c->nout);
    for (int64_t i = 0; i < n; i++) {
        size[i] = v[i];
        known = known && gr_dim_known(v[i]);
        if (gr_dim_known(v[i]) && (v[i].k < 0 || __builtin_add_overflow(sum, v[i].k, &sum)))
            return gr_fail(err, GR_EINPUT, "part %lld has the size %lld", (long long)i, (long long)v[i].k);
    }
    if (known && gr_dim_known(dim) && sum != dim.k)
        return gr_fail(err, GR_EINPUT, "the sizes add up to %lld, the dimension is %lld", (long long)sum,
                       (long long)dim.k);
    return GR_OK;
}

static gr_status infer_parts(const gr_infer *c, gr_dim dim, gr_dim *size, gr_err *err)
{
    const split_params *p = c->params;
    gr_dim n = GR_DIM(c->nout), each, last;
    if (p->num_outputs >= 0 && p->num_outputs != c->nout)
        return gr_fail(err, GR_EMODEL, "attribute 'num_outputs' is %lld for %u outputs", (long long)p->num_outputs,
                       c->nout);
    if (gr_dim_known(dim)) {
        int64_t a, b;
        GR_TRY(equal_parts(dim.k, c->nout, p->uneven, &a, &b, err));
        each = GR_DIM(a);
        last = GR_DIM(b);
    } else if (!p->uneven || gr_dim_is(gr_sym_mod(c->syms, dim, n), 0)) {
        each = last = gr_sym_div(c->syms, dim, n);
    } else {
        each = gr_sym_div(c->syms, gr_sym_add(c->syms, dim, GR_DIM(c->nout - 1)), n);
        last = gr_sym_sub(c->syms, dim, gr_sym_mul(c->syms, each, GR_DIM(c->nout - 1)));
    }
    for (uint32_t i = 0; i < c->nout; i++) size[i] = i + 1 < c->nout ? each : last;
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    const split_params *p = c->params;
    gr_dtype t = gr_in_dtype(c, 0);
    int64_t n = -1;
    const gr_dim *v = NULL;
    int axis;
    GR_TRY(gr_require_movable(c, 0, err));
    if (c->nout == 0) return gr_fail(err, GR_EMODEL, "it has no outputs");
    if (gr_has(c, 1)) {
        GR_TRY(gr_require_list(c, 1, GR_T(INT64), &n, err));
        gr_known_ints(c, 1, &n, &v);
    }
    if (!gr_rank_known(c, 0)) {
        for (uint32_t i = 0; i < c->nout; i++) GR_TRY(gr_set(c, i, t, GR_RANK_UNKNOWN, NULL));
        return GR_OK;
    }
    GR_TRY(gr_axis(p->axis, c->in[0]->rank, &axis, err));
    gr_dim dim = c->in[0]->dims[axis], *size = GR_NEWS(c->arena, c->nout, gr_dim);
    if (!size) return gr_nomem(err);
    if (p->n >= 0) {
        gr_dim *a = GR_NEWS(c->arena, (size_t)p->n, gr_dim);
        if (!a) return gr_nomem(err);
        for (int64_t i = 0; i < p->n; i++) a[i] = GR_DIM(p->sizes[i]);
        GR_TRY(infer_sizes(c, dim, p->n, a, size, err));
    } else if (v) {
        GR_TRY(infer_sizes(c, dim, n, v, size, err));
    } else if (gr_has(c, 1)) {
        for (uint32_t i = 0; i < c->nout; i++) size[i] = gr_sym_fresh(c->syms);
    } else {
        GR_TRY(infer_parts(c, dim, size, err));
    }
    for (uint32_t i = 0; i < c->nout; i++) {
        gr_dim *d = gr_dims(c, c->in[0]->rank);
        for (int k = 0; k < c->in[0]->rank; k++) d[k] = k == axis ? size[i] : c->in[0]->dims[k];
        GR_TRY(gr_set(c, i, t, c->in[0]->rank, d));
    }
    return GR_OK;
}

static gr_status run(const gr_step *s, gr_err *err)
{
    const split_params *p = s->params;
    const gr_tensor *x = s->in[0], *sizes = s->nin > 1 ? s->in[1] : NULL;
    int axis, bits = gr_dtype_bits(x->dtype);
    GR_TRY(gr_axis(p->axis, x->rank, &axis, err));
    int64_t dim = x->dims[axis], each = 0, last = 0, at = 0;
    int64_t outer = gr_product(x->dims, 0, axis), inner = gr_product(x->dims, axis + 1, x->rank);
    if (s->rows) outer = outer / (s->rows->batch * s->rows->tokens) * s->rows->count;
    if (p->n < 0 && !sizes) GR_TRY(equal_parts(dim, s->nout, p->uneven, &each, &last, err));
    for (uint32_t i = 0; i < s->nout; i++) {
        int64_t size = p->n >= 0 ? p->sizes[i] : sizes ? gr_int_at(sizes, i) : i + 1 < s->nout ? each : last;
        if (size < 0 || size > dim - at)
            return gr_fail(err, GR_EINPUT, "part %u of size %lld, %lld are left", i, (long long)size,
                           (long long)(dim - at));
        gr_tensor *y = s->out[i];
        if (y) {
            GR_TRY(gr_check_extent(size, y->dims[axis], err));
            gr_move m = {.rank = 0};
            gr_move_loop(&m, outer, dim * inner, size * inner);
            gr_move_loop(&m, size * inner, 1, 1);
            gr_clear_tail(y);
            gr_move_run(&m, bits, x->data, at * inner, y->data, 0);
        }
        at += size;
    }
    return GR_OK;
}

/* Some rows of tokens, which lie behind each other: of an axis of their own elements. */
static bool prepare_rows(gr_step *s, gr_why *why)
{
    const split_params *p = s->params;
    const gr_tensor *x = s->in[0];
    int axis;
    if (!s->rows) return gr_decline(why, "all rows");
    if (gr_axis(p->axis, x->rank, &axis, NULL) != GR_OK || axis < (x->rank == 2 ? 1 : 2))
        return gr_decline(why, "an axis of tokens");
    return true;
}

static const gr_kernel kernels[] = {{"rows", prepare_rows, run, NULL}, {"ref", gr_prepare_shaped, run, NULL}, {0}};

#define SPLIT(since, max, flags, parse)                                                                                \
    GR_OP_ROW("Split", since, 1, max, -1, GR_OP_MOVE | GR_OP_UNALIGNED | GR_OP_ROWS | (flags), parse, infer, kernels)
/* clang-format off */
const gr_op op_split[] = {
    SPLIT(1, 1, 0, parse_1), SPLIT(2, 1, 0, parse_1), SPLIT(11, 1, 0, parse_1),
    SPLIT(13, 2, GR_OP_DYNAMIC, parse_13), SPLIT(18, 2, GR_OP_DYNAMIC, parse_18), {0},
};
