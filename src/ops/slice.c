/* SPDX-License-Identifier: Apache-2.0
 *
 * Slice. Version 1 has starts, ends and axes as attributes; from 10 on they are inputs and there are steps. Positions
 * count from the end if negative and are clamped: to [0, d] going forward; going backward to [0, d-1] for the start and
 * [-1, d-1] for the end.
 */
#include "move.h"

enum { STARTS, ENDS, AXES, STEPS, LISTS };

/* Dimensions are smaller: exporters write this, or more, for "to the end", and its negative for the beginning. */
enum { FAR = INT32_MAX };

typedef struct slice_params { /* version 1 */
    int64_t n, naxes;         /* naxes -1: the first n */
    const int64_t *list[LISTS];
} slice_params;

static gr_status parse_1(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    slice_params *p = GR_NEW(arena, slice_params);
    if (!p) return gr_nomem(err);
    int64_t ends;
    GR_TRY(gr_attr_ints(attrs, "starts", &p->n, &p->list[STARTS], err));
    GR_TRY(gr_attr_ints(attrs, "ends", &ends, &p->list[ENDS], err));
    GR_TRY(gr_attr_ints(attrs, "axes", &p->naxes, &p->list[AXES], err));
    if (p->n < 0 || ends < 0) return gr_fail(err, GR_EMODEL, "attribute '%s' is missing", p->n < 0 ? "starts" : "ends");
    if (ends != p->n || (p->naxes >= 0 && p->naxes != p->n))
        return gr_fail(err, GR_EMODEL, "attributes 'starts', 'ends' and 'axes' must have one length");
    GR_TRY(gr_check_rank(p->n, err));
    *params = p;
    return GR_OK;
}

/* Number of elements of positions start, start + step, ... before `end` in a dimension; *first is the first of them. */
static int64_t extent(int64_t dim, int64_t start, int64_t end, int64_t step, int64_t *first)
{
    *first = 0;
    if (dim == 0) return 0;
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? dim : dim - 1;
    if (start < 0) start += dim;
    if (end < 0) end += dim;
    start = start < 0 ? 0 : start > high ? high : start;
    end = end < low ? low : end > high ? high : end;
    if (step > 0 ? end <= start : end >= start) return 0;
    *first = start;
    uint64_t span = (uint64_t)(step > 0 ? end - start : start - end),
             size = step > 0 ? (uint64_t)step : -(uint64_t)step;
    return (int64_t)((span - 1) / size + 1);
}

/* A position that is not negative; d + x for one counted from the end, which may fall before the beginning. */
static bool position(gr_syms *s, gr_dim x, gr_dim d, gr_dim *out)
{
    *out = x;
    if (gr_dim_known(x)) {
        if (x.k >= FAR) *out = d;
        if (x.k <= -FAR)
            *out = GR_DIM(0);
        else if (x.k < 0)
            *out = gr_sym_add(s, d, x);
        return true;
    }
    if (gr_sym_lower(x) >= 0) return true;
    if (gr_sym_lower(gr_sym_neg(s, x)) < 1) return false;
    *out = gr_sym_add(s, d, x);
    return true;
}

static gr_dim symbolic_extent(gr_syms *s, gr_dim d, gr_dim start, gr_dim end, int64_t step)
{
    gr_dim from, to, n, size = GR_DIM(step < 0 ? -step : step);
    if (step < 0) {
        bool whole = gr_dim_known(start) && gr_dim_known(end) && (start.k == -1 || start.k >= FAR) && end.k <= -FAR;
        if (!whole) return gr_sym_fresh(s);
        n = d;
    } else if (gr_dim_known(start) && start.k < 0 && start.k > -FAR && gr_dim_known(end) && end.k >= FAR) {
        n = gr_sym_min(s, d, GR_DIM(-start.k));
    } else {
        if (!position(s, start, d, &from) || !position(s, end, d, &to)) return gr_sym_fresh(s);
        from = gr_sym_max(s, from, GR_DIM(0));
        /* min(to, d) - from, as the minimum of two differences, in which symbols cancel */
        n = gr_sym_min(s, gr_sym_sub(s, to, from), gr_sym_sub(s, d, from));
        n = gr_sym_max(s, n, GR_DIM(0));
    }
    if (gr_dim_is(size, 1)) return n;
    if (gr_dim_is(gr_sym_mod(s, n, size), 0)) return gr_sym_div(s, n, size);
    return gr_sym_div(s, gr_sym_add(s, n, GR_DIM(size.k - 1)), size);
}

static gr_status sliced(const gr_infer *c, gr_dim d, gr_dim start, gr_dim end, gr_dim step, gr_dim *out, gr_err *err)
{
    int64_t first;
    if (!gr_dim_known(step)) {
        *out = gr_sym_fresh(c->syms);
        return GR_OK;
    }
    if (step.k == 0) return gr_fail(err, GR_EINPUT, "a step is 0");
    if (gr_dim_known(d) && gr_dim_known(start) && gr_dim_known(end))
        *out = GR_DIM(extent(d.k, start.k, end.k, step.k, &first));
    else if (step.k <= -FAR || step.k >= FAR)
        *out = gr_sym_fresh(c->syms);
    else
        *out = symbolic_extent(c->syms, d, start, end, step.k);
    return GR_OK;
}

/* Contents of one of the lists: *v NULL if not known; *n the number of entries or -1. */
static gr_status list_of(const gr_infer *c, int which, int64_t *n, const gr_dim **v, gr_err *err)
{
    const slice_params *p = c->params;
    *v = NULL;
    *n = -1;
    if (!p) {
        GR_TRY(gr_require_list(c, (uint32_t)which + 1, GR_T_INDEX, n, err));
        if (gr_has(c, (uint32_t)which + 1)) gr_known_ints(c, (uint32_t)which + 1, n, v);
        return gr_check_rank(*n, err);
    }
    if (!p->list[which] && p->n) return GR_OK;
    gr_dim *d = gr_dims(c, (int)p->n);
    for (int64_t i = 0; i < p->n; i++) d[i] = GR_DIM(p->list[which][i]);
    *n = p->n;
    *v = d;
    return GR_OK;
}

static gr_status infer_lists(const gr_infer *c, int64_t *n, const gr_dim **v, gr_err *err)
{
    *n = -1;
    for (int k = 0; k < LISTS; k++) {
        int64_t count;
        GR_TRY(list_of(c, k, &count, &v[k], err));
        if (count >= 0 && *n >= 0 && count != *n)
            return gr_fail(err, GR_EMODEL, "starts, ends, axes and steps must have one length, not %lld and %lld",
                           (long long)*n, (long long)count);
        if (count >= 0) *n = count;
    }
    return GR_OK;
}

static gr_status infer(const gr_infer *c, gr_err *err)
{
    gr_dtype t = gr_in_dtype(c, 0);
    int64_t n;
    const gr_dim *v[LISTS];
    unsigned seen = 0;
    GR_TRY(gr_require_movable(c, 0, err));
    GR_TRY(infer_lists(c, &n, v, err));
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    int rank = c->in[0]->rank;
    bool axes_given = c->params ? v[AXES] != NULL : gr_has(c, 1 + AXES);
    bool steps_given = !c->params && gr_has(c, 1 + STEPS);
    if (n < 0 || (axes_given && !v[AXES])) return gr_set_rank(c, 0, t, rank);
    if (n > rank) return gr_fail(err, GR_EMODEL, "%lld axes for an input of rank %d", (long long)n, rank);
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < rank; i++) d[i] = c->in[0]->dims[i];
    for (int64_t i = 0; i < n; i++) {
        int axis = (int)i;
        if (axes_given && !gr_dim_known(v[AXES][i])) return gr_set_rank(c, 0, t, rank);
        if (axes_given) GR_TRY(gr_axis(v[AXES][i].k, rank, &axis, err));
        if (seen >> axis & 1) return gr_fail(err, GR_EMODEL, "axis %d is given twice", axis);
        seen |= 1u << axis;
        if (!v[STARTS] || !v[ENDS] || (steps_given && !v[STEPS]))
            d[axis] = gr_sym_fresh(c->syms);
        else
            GR_TRY(sliced(c, d[axis], v[STARTS][i], v[ENDS][i], v[STEPS] ? v[STEPS][i] : GR_DIM(1), &d[axis], err));
    }
    return gr_set(c, 0, t, rank, d);
}

static int64_t entry(const gr_step *s, int which, int64_t i, int64_t missing)
{
    const slice_params *p = s->params;
    if (p) return p->list[which] ? p->list[which][i] : missing;
    const gr_tensor *t = s->nin > (uint32_t)which + 1 ? s->in[which + 1] : NULL;
    return t ? gr_int_at(t, i) : missing;
}

/* y[i] = x[first + i * step] along each axis */
static gr_status run(const gr_step *s, gr_err *err)
{
    const slice_params *p = s->params;
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0];
    int64_t strides[GR_MAX_RANK], to[GR_MAX_RANK], from = 0, n = p ? p->n : s->in[1]->elements;
    gr_dense_strides(x->rank, x->dims, strides);
    gr_dense_strides(y->rank, y->dims, to);
    for (int64_t i = 0; i < n; i++) {
        int axis;
        int64_t first, step = entry(s, STEPS, i, 1);
        GR_TRY(gr_axis(entry(s, AXES, i, i), x->rank, &axis, err));
        if (step == 0) return gr_fail(err, GR_EINPUT, "a step is 0");
        int64_t count = extent(x->dims[axis], entry(s, STARTS, i, 0), entry(s, ENDS, i, 0), step, &first);
        GR_TRY(gr_check_extent(count, y->dims[axis], err));
        from += first * strides[axis];
        strides[axis] *= count > 1 ? step : 1; /* a step that is not taken may be of any size */
    }
    gr_move m = {.rank = 0};
    for (int i = 0; i < y->rank; i++) gr_move_loop(&m, y->dims[i], strides[i], to[i]);
    gr_clear_tail(y);
    gr_move_run(&m, gr_dtype_bits(x->dtype), x->data, from, y->data, 0);
    return GR_OK;
}

static const gr_kernel kernels[] = {{"ref", gr_prepare_shaped, run, NULL}, {0}};

#define SLICE(since)                                                                                                   \
    GR_OP_ROW("Slice", since, 3, 5, 1, GR_OP_MOVE | GR_OP_UNALIGNED | GR_OP_DYNAMIC, NULL, infer, kernels)
/* clang-format off */
const gr_op op_slice[] = {
    GR_OP_ROW("Slice", 1, 1, 1, 1, GR_OP_MOVE | GR_OP_UNALIGNED, parse_1, infer, kernels),
    SLICE(10), SLICE(11), SLICE(13), {0},
};
