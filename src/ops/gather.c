/* SPDX-License-Identifier: Apache-2.0
 *
 * Gather, GatherElements, GatherND. Indices may be negative; one that is out of range is refused by its value before
 * anything is written from it. Embedding tables are read where they lie in the file, at any alignment.
 */
#include "exec/packs.h"
#include "move.h"
#include <omp.h>

enum { PARALLEL_BYTES = 128 << 10 };

typedef struct gather_params {
    int64_t axis; /* GatherND: batch_dims */
} gather_params;

static gr_status parse_axis(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    gather_params *p = GR_NEW(arena, gather_params);
    if (!p) return gr_nomem(err);
    *params = p;
    return gr_attr_int(attrs, "axis", 0, &p->axis, err);
}

static gr_status parse_batch(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    gather_params *p = GR_NEW(arena, gather_params);
    if (!p) return gr_nomem(err);
    *params = p;
    return gr_attr_int_in(attrs, "batch_dims", 0, 0, GR_MAX_RANK, &p->axis, err);
}

/* Every index is in [-n, n). */
static gr_status check_indices(const gr_tensor *t, int64_t n, gr_err *err)
{
    for (int64_t i = 0; i < t->elements; i++)
        if (gr_wrap_index(gr_int_at(t, i), n) < 0) return gr_bad_index(gr_int_at(t, i), n, err);
    return GR_OK;
}

static int team(int64_t bytes) { return bytes >= PARALLEL_BYTES ? omp_get_max_threads() : 1; }

/* ---- Gather ---- */

static gr_status infer_gather(const gr_infer *c, gr_err *err)
{
    const gather_params *p = c->params;
    gr_dtype t = gr_in_dtype(c, 0);
    int axis;
    GR_TRY(gr_require_movable(c, 0, err));
    GR_TRY(gr_require(c, 1, GR_T_INDEX, err));
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    const gr_type *x = c->in[0], *ix = c->in[1];
    GR_TRY(gr_axis(p->axis, x->rank, &axis, err));
    if (!gr_rank_known(c, 1)) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    int rank = x->rank - 1 + ix->rank, n = 0;
    GR_TRY(gr_check_rank(rank, err));
    if (c->konst[1] && gr_dim_known(x->dims[axis])) GR_TRY(check_indices(c->konst[1], x->dims[axis].k, err));
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < axis; i++) d[n++] = x->dims[i];
    for (int i = 0; i < ix->rank; i++) d[n++] = ix->dims[i];
    for (int i = axis + 1; i < x->rank; i++) d[n++] = x->dims[i];
    return gr_set(c, 0, t, rank, d);
}

/* y[o, k, :] = x[o, indices[k], :] for rows of `row` bytes */
static void gather_rows(const gr_tensor *x, const gr_tensor *ix, gr_tensor *y, int64_t outer, int64_t dim, int64_t row)
{
    int64_t n = ix->elements;
    const char *src = x->data;
    char *dst = y->data;
#pragma omp parallel for collapse(2) schedule(static) num_threads(team((int64_t)y->size)) if (outer * n > 1)
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < n; k++) {
            const char *from = src + (o * dim + gr_wrap_index(gr_int_at(ix, k), dim)) * row;
            char *to = dst + (o * n + k) * row;
            switch (row) {
            case 1: *to = *from; break;
            case 4: memcpy(to, from, 4); break;
            case 8: memcpy(to, from, 8); break;
            default: memcpy(to, from, (size_t)row);
            }
        }
}

/* The same where x is stored in 16 bits and y holds floats. */
static void gather_narrow(const gr_tensor *x, const gr_tensor *ix, gr_tensor *y, int64_t outer, int64_t dim, int64_t inner)
{
    int64_t n = ix->elements;
    const char *src = x->data;
    float *dst = y->data;
#pragma omp parallel for collapse(2) schedule(static) num_threads(team((int64_t)y->size)) if (outer * n > 1)
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < n; k++)
            gr_widen_const(x->dtype, src + (o * dim + gr_wrap_index(gr_int_at(ix, k), dim)) * inner * 2, inner,
                           dst + (o * n + k) * inner);
}

static gr_status run_gather(const gr_step *s, gr_err *err)
{
    const gather_params *p = s->params;
    const gr_tensor *x = s->in[0], *ix = s->in[1];
    gr_tensor *y = s->out[0];
    int axis, bits = gr_dtype_bits(x->dtype);
    GR_TRY(gr_axis(p->axis, x->rank, &axis, err));
    int64_t dim = x->dims[axis];
    int64_t outer = gr_product(x->dims, 0, axis), inner = gr_product(x->dims, axis + 1, x->rank);
    GR_TRY(check_indices(ix, dim, err));
    if (!y->elements) return GR_OK;
    if (x->dtype != y->dtype) {
        gather_narrow(x, ix, y, outer, dim, inner);
        return GR_OK;
    }
    if (inner * bits % 8 == 0) {
        gather_rows(x, ix, y, outer, dim, inner * bits / 8);
        return GR_OK;
    }
    gr_clear_tail(y); /* rows that end within a byte */
    gr_move m = {.rank = 0};
    gr_move_loop(&m, inner, 1, 1);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < ix->elements; k++)
            gr_move_run(&m, bits, x->data, (o * dim + gr_wrap_index(gr_int_at(ix, k), dim)) * inner, y->data,
                        (o * ix->elements + k) * inner);
    return GR_OK;
}

/* ---- GatherElements ---- */

static gr_status infer_elements(const gr_infer *c, gr_err *err)
{
    const gather_params *p = c->params;
    gr_dtype t = gr_in_dtype(c, 0);
    int axis;
    GR_TRY(gr_require_bytes(c, 0, err));
    GR_TRY(gr_require(c, 1, GR_T_INDEX, err));
    if (gr_rank_known(c, 0) && gr_rank_known(c, 1)) {
        const gr_type *x = c->in[0], *ix = c->in[1];
        if (x->rank != ix->rank)
            return gr_fail(err, GR_EMODEL, "data of rank %d and indices of rank %d", x->rank, ix->rank);
        GR_TRY(gr_axis(p->axis, x->rank, &axis, err));
        for (int i = 0; i < x->rank; i++)
            if (i != axis && gr_dim_known(x->dims[i]) && gr_dim_known(ix->dims[i]) && ix->dims[i].k > x->dims[i].k)
                return gr_fail(err, GR_EMODEL, "indices have %lld entries in axis %d, the data %lld",
                               (long long)ix->dims[i].k, i, (long long)x->dims[i].k);
    }
    return gr_set_like_as(c, 0, 1, t);
}

typedef struct line {
    const gr_tensor *ix;
    int64_t n, dim, step, along; /* entries, size and stride of the axis, stride of the innermost loop */
    size_t bytes;
} line;

/* One innermost row of indices, from element `at`; false if an index is out of range. */
static bool gather_line(const line *l, int64_t at, const char *src, char *dst)
{
    for (int64_t j = 0; j < l->n; j++) {
        int64_t k = gr_wrap_index(gr_int_at(l->ix, at + j), l->dim);
        if (k < 0) return false;
        const char *from = src + (j * l->along + k * l->step) * (int64_t)l->bytes;
        if (l->bytes == 4)
            memcpy(dst + j * 4, from, 4);
        else
            memcpy(dst + j * (int64_t)l->bytes, from, l->bytes);
    }
    return true;
}

/* y[i, j] = x[indices[i, j], j] for axis 0, and so on */
static gr_status run_elements(const gr_step *s, gr_err *err)
{
    const gather_params *p = s->params;
    const gr_tensor *x = s->in[0], *ix = s->in[1];
    gr_tensor *y = s->out[0];
    int axis, last = y->rank - 1;
    int64_t strides[GR_MAX_RANK];
    GR_TRY(gr_axis(p->axis, x->rank, &axis, err));
    if (!y->elements) return GR_OK;
    gr_dense_strides(x->rank, x->dims, strides);
    line l = {.ix = ix,
              .n = y->dims[last],
              .dim = x->dims[axis],
              .step = strides[axis],
              .along = axis != last,
              .bytes = (size_t)gr_dtype_bits(x->dtype) / 8};
    int64_t rows = y->elements / l.n;
    bool bad = false;
#pragma omp parallel for schedule(static) reduction(|| : bad) num_threads(team((int64_t)y->size)) if (rows > 1)
    for (int64_t r = 0; r < rows; r++) {
        int64_t rest = r, from = 0, at = r * l.n;
        for (int d = last - 1; d >= 0; d--) {
            if (d != axis) from += rest % y->dims[d] * strides[d];
            rest /= y->dims[d];
        }
        bad = !gather_line(&l, at, (const char *)x->data + from * (int64_t)l.bytes,
                           (char *)y->data + at * (int64_t)l.bytes) ||
              bad;
    }
    return bad ? check_indices(ix, l.dim, err) : GR_OK;
}

/* ---- GatherND ---- */

static gr_status infer_nd(const gr_infer *c, gr_err *err)
{
    int batch = c->params ? (int)((const gather_params *)c->params)->axis : 0;
    gr_dtype t = gr_in_dtype(c, 0);
    GR_TRY(gr_require_bytes(c, 0, err));
    GR_TRY(gr_require(c, 1, GR_T(INT64), err));
    if (!gr_rank_known(c, 0) || !gr_rank_known(c, 1)) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    const gr_type *x = c->in[0], *ix = c->in[1];
    if (x->rank <= batch || ix->rank <= batch)
        return gr_fail(err, GR_EMODEL, "batch_dims is %d for inputs of rank %d and %d", batch, x->rank, ix->rank);
    gr_dim depth = ix->dims[ix->rank - 1];
    if (!gr_dim_known(depth)) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    if (depth.k < 1 || depth.k > x->rank - batch)
        return gr_fail(err, GR_EMODEL, "indices have %lld entries each for data of rank %d", (long long)depth.k,
                       x->rank - batch);
    int skip = batch + (int)depth.k, rank = ix->rank - 1 + x->rank - skip;
    GR_TRY(gr_check_rank(rank, err));
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < ix->rank - 1; i++) {
        d[i] = ix->dims[i];
        if (i < batch) GR_TRY(gr_same_dim(c, x->dims[i], ix->dims[i], i, &d[i], err));
    }
    for (int i = skip; i < x->rank; i++) d[ix->rank - 1 + i - skip] = x->dims[i];
    return gr_set(c, 0, t, rank, d);
}

/* y[b, k, :] = x[b, indices[b, k, 0], indices[b, k, 1], ..., :] */
static gr_status run_nd(const gr_step *s, gr_err *err)
{
    int batch = s->params ? (int)((const gather_params *)s->params)->axis : 0;
    const gr_tensor *x = s->in[0], *ix = s->in[1];
    gr_tensor *y = s->out[0];
    int64_t depth = ix->dims[ix->rank - 1], strides[GR_MAX_RANK];
    if (!y->elements) return GR_OK;
    gr_dense_strides(x->rank, x->dims, strides);
    int64_t bytes = gr_dtype_bits(x->dtype) / 8, row = gr_product(x->dims, batch + (int)depth, x->rank) * bytes;
    int64_t groups = gr_product(x->dims, 0, batch), group = gr_product(x->dims, batch, x->rank);
    int64_t tuples = ix->elements / depth, each = tuples / groups;
    for (int64_t i = 0; i < ix->elements; i++) {
        int64_t dim = x->dims[batch + i % depth];
        if (gr_wrap_index(gr_int_at(ix, i), dim) < 0) return gr_bad_index(gr_int_at(ix, i), dim, err);
    }
#pragma omp parallel for schedule(static) num_threads(team((int64_t)y->size)) if (tuples > 1)
    for (int64_t k = 0; k < tuples; k++) {
        int64_t from = k / each * group;
        for (int i = 0; i < depth; i++)
            from += gr_wrap_index(gr_int_at(ix, k * depth + i), x->dims[batch + i]) * strides[batch + i];
        memcpy((char *)y->data + k * row, (const char *)x->data + from * bytes, (size_t)row);
    }
    return GR_OK;
}

static const gr_kernel k_gather[] = {{"ref", NULL, run_gather, NULL}, {0}};
static const gr_kernel k_elements[] = {{"ref", NULL, run_elements, NULL}, {0}};
static const gr_kernel k_nd[] = {{"ref", NULL, run_nd, NULL}, {0}};

enum { FLAGS = GR_OP_MOVE | GR_OP_UNALIGNED };
#define GATHER(since)    GR_OP_ROW("Gather", since, 2, 2, 1, FLAGS | GR_OP_NARROW, parse_axis, infer_gather, k_gather)
#define ELEMENTS(since)  GR_OP_ROW("GatherElements", since, 2, 2, 1, FLAGS, parse_axis, infer_elements, k_elements)
#define ND(since, parse) GR_OP_ROW("GatherND", since, 2, 2, 1, FLAGS, parse, infer_nd, k_nd)
/* clang-format off */
const gr_op op_gather[] = {
    GATHER(1), GATHER(11), GATHER(13), ELEMENTS(11), ELEMENTS(13),
    ND(11, NULL), ND(12, parse_batch), ND(13, parse_batch), {0},
};
