/* SPDX-License-Identifier: Apache-2.0
 *
 * ScatterElements (Scatter before 11), ScatterND and TensorScatter: the first input with some elements replaced by, or
 * from 16 on combined with, updates. Where indices repeat, updates are applied in their order.
 */
#include "loops.h"
#include "move.h"

typedef enum reduction { REPLACE, ADD, MUL, MIN, MAX } reduction;

typedef struct scatter_params {
    int64_t axis;
    reduction how;
    bool circular;
} scatter_params;

static gr_status parse_reduction(gr_attrs attrs, reduction last, reduction *how, gr_err *err)
{
    static const char *const names[] = {"none", "add", "mul", "min", "max"};
    const char *name;
    GR_TRY(gr_attr_string(attrs, "reduction", "none", &name, err));
    for (*how = REPLACE; *how <= last; ++*how)
        if (!strcmp(name, names[*how])) return GR_OK;
    return gr_fail(err, GR_EMODEL, "attribute 'reduction' is '%s'", gr_show(name));
}

static gr_status parse_any(gr_attrs attrs, gr_arena *arena, const void **params, reduction last, gr_err *err)
{
    scatter_params *p = GR_NEW(arena, scatter_params);
    if (!p) return gr_nomem(err);
    *params = p;
    GR_TRY(gr_attr_int(attrs, "axis", 0, &p->axis, err));
    return parse_reduction(attrs, last, &p->how, err);
}

static gr_status parse_9(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    return parse_any(attrs, arena, params, REPLACE, err);
}

static gr_status parse_16(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    return parse_any(attrs, arena, params, MUL, err);
}

static gr_status parse_18(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    return parse_any(attrs, arena, params, MAX, err);
}

static gr_status parse_tensor(gr_attrs attrs, gr_arena *arena, const void **params, gr_err *err)
{
    scatter_params *p = GR_NEW(arena, scatter_params);
    const char *mode;
    if (!p) return gr_nomem(err);
    *params = p;
    GR_TRY(gr_attr_int(attrs, "axis", -2, &p->axis, err));
    GR_TRY(gr_attr_string(attrs, "mode", "linear", &mode, err));
    p->circular = !strcmp(mode, "circular");
    if (p->circular || !strcmp(mode, "linear")) return GR_OK;
    return gr_fail(err, GR_EMODEL, "attribute 'mode' is '%s'", gr_show(mode));
}

static gr_status check_types(const gr_infer *c, uint32_t updates, reduction how, gr_err *err)
{
    GR_TRY(gr_require_bytes(c, 0, err));
    GR_TRY(gr_require_bytes(c, updates, err));
    GR_TRY(gr_require_same(c, 0, updates, err));
    return how == REPLACE ? GR_OK : gr_require(c, 0, GR_T_ALL, err);
}

static void copy_data(const gr_step *s)
{
    const gr_tensor *x = s->in[0];
    gr_move m = {.rank = 0};
    if (x->data == s->out[0]->data) return;
    gr_move_loop(&m, x->elements, 1, 1);
    gr_move_run(&m, gr_dtype_bits(x->dtype), x->data, 0, s->out[0]->data, 0);
}

/* NaN wins, as in NumPy. */
#define COMBINE(r, a, b)                                                                                               \
    ((r) == ADD                    ? (a) + (b)                                                                         \
     : (r) == MUL                  ? (a) * (b)                                                                         \
     : (a) != (a)                  ? (a)                                                                               \
     : (b) != (b)                  ? (b)                                                                               \
     : ((a) < (b)) == ((r) == MIN) ? (a)                                                                               \
                                   : (b))

/* y[at] = y[at] (r) u[from]. Integers wrap, bool adds as "or" and multiplies as "and". */
static void combine(reduction r, gr_dtype t, void *y, int64_t at, const void *u, int64_t from)
{
    switch (gr_class_of(t)) {
    case GR_CLASS_F32: {
        float a = 0, b = 0;
        gr_load_f32(t, 1, y, at, 1, &a);
        gr_load_f32(t, 1, u, from, 1, &b);
        a = COMBINE(r, a, b);
        gr_store_f32(t, 1, &a, y, at);
        break;
    }
    case GR_CLASS_F64: {
        double a = ((double *)y)[at], b = ((const double *)u)[from];
        ((double *)y)[at] = COMBINE(r, a, b);
        break;
    }
    case GR_CLASS_I64: {
        int64_t a = 0, b = 0;
        gr_load_i64(t, 1, y, at, 1, &a);
        gr_load_i64(t, 1, u, from, 1, &b);
        if (r == ADD || r == MUL)
            a = (int64_t)(r == ADD ? (uint64_t)a + (uint64_t)b : (uint64_t)a * (uint64_t)b);
        else
            a = (a < b) == (r == MIN) ? a : b;
        gr_store_i64(t, 1, &a, y, at);
        break;
    }
    case GR_CLASS_U64: {
        uint64_t a = 0, b = 0;
        gr_load_u64(t, 1, y, at, 1, &a);
        gr_load_u64(t, 1, u, from, 1, &b);
        a = r == ADD ? a + b : r == MUL ? a * b : (a < b) == (r == MIN) ? a : b;
        gr_store_u64(t, 1, &a, y, at);
        break;
    }
    }
}

/* n consecutive elements of y from u. */
static void put(reduction r, gr_dtype t, gr_tensor *y, int64_t at, const gr_tensor *u, int64_t from, int64_t n)
{
    size_t bytes = (size_t)gr_dtype_bits(t) / 8;
    if (r == REPLACE) {
        memcpy((char *)y->data + (size_t)at * bytes, (const char *)u->data + (size_t)from * bytes, (size_t)n * bytes);
        return;
    }
    for (int64_t i = 0; i < n; i++) combine(r, t, y->data, at + i, u->data, from + i);
}

/* ---- ScatterElements ---- */

static gr_status infer_elements(const gr_infer *c, gr_err *err)
{
    const scatter_params *p = c->params;
    int axis = 0;
    GR_TRY(check_types(c, 2, p->how, err));
    GR_TRY(gr_require(c, 1, GR_T_INDEX, err));
    bool ranks = gr_rank_known(c, 1) && gr_rank_known(c, 2);
    if (ranks && c->in[1]->rank != c->in[2]->rank)
        return gr_fail(err, GR_EMODEL, "indices of rank %d and updates of rank %d", c->in[1]->rank, c->in[2]->rank);
    for (int i = 0; ranks && i < c->in[1]->rank; i++) {
        gr_dim same;
        GR_TRY(gr_same_dim(c, c->in[1]->dims[i], c->in[2]->dims[i], i, &same, err));
    }
    if (gr_rank_known(c, 0)) GR_TRY(gr_axis(p->axis, c->in[0]->rank, &axis, err));
    if (gr_rank_known(c, 0) && gr_rank_known(c, 1)) {
        const gr_type *x = c->in[0], *ix = c->in[1];
        if (x->rank != ix->rank)
            return gr_fail(err, GR_EMODEL, "data of rank %d and indices of rank %d", x->rank, ix->rank);
        for (int i = 0; i < x->rank; i++)
            if (i != axis && gr_dim_known(x->dims[i]) && gr_dim_known(ix->dims[i]) && ix->dims[i].k > x->dims[i].k)
                return gr_fail(err, GR_EMODEL, "indices have %lld entries in axis %d, the data %lld",
                               (long long)ix->dims[i].k, i, (long long)x->dims[i].k);
    }
    return gr_set_like(c, 0, 0);
}

/* y = x; y[indices[i, j], j] (r)= updates[i, j] for axis 0, and so on */
static gr_status run_elements(const gr_step *s, gr_err *err)
{
    const scatter_params *p = s->params;
    const gr_tensor *ix = s->in[1], *u = s->in[2];
    gr_tensor *y = s->out[0];
    int axis;
    int64_t strides[GR_MAX_RANK], index[GR_MAX_RANK] = {0}, base = 0;
    GR_TRY(gr_axis(p->axis, y->rank, &axis, err));
    gr_dense_strides(y->rank, y->dims, strides);
    copy_data(s);
    for (int64_t i = 0; i < ix->elements; i++) {
        int64_t given = gr_int_at(ix, i), k = gr_wrap_index(given, y->dims[axis]);
        if (k < 0) return gr_bad_index(given, y->dims[axis], err);
        put(p->how, y->dtype, y, base + k * strides[axis], u, i, 1);
        for (int d = y->rank - 1; d >= 0; d--) {
            int64_t step = d == axis ? 0 : strides[d];
            base += step;
            if (++index[d] < ix->dims[d]) break;
            base -= ix->dims[d] * step;
            index[d] = 0;
        }
    }
    return GR_OK;
}

/* ---- ScatterND ---- */

static gr_status infer_nd(const gr_infer *c, gr_err *err)
{
    const scatter_params *p = c->params;
    GR_TRY(check_types(c, 2, p->how, err));
    GR_TRY(gr_require(c, 1, GR_T(INT64), err));
    GR_TRY(gr_set_like(c, 0, 0));
    if (!gr_rank_known(c, 0) || !gr_rank_known(c, 1)) return GR_OK;
    const gr_type *x = c->in[0], *ix = c->in[1];
    if (x->rank < 1 || ix->rank < 1) return gr_fail(err, GR_EMODEL, "data and indices must have a rank of at least 1");
    gr_dim depth = ix->dims[ix->rank - 1];
    if (!gr_dim_known(depth)) return GR_OK;
    if (depth.k < 0 || depth.k > x->rank)
        return gr_fail(err, GR_EMODEL, "indices have %lld entries each for data of rank %d", (long long)depth.k,
                       x->rank);
    if (!gr_rank_known(c, 2)) return GR_OK;
    const gr_type *u = c->in[2];
    if (u->rank != ix->rank - 1 + x->rank - (int)depth.k)
        return gr_fail(err, GR_EMODEL, "updates have rank %d, expected %d", u->rank,
                       ix->rank - 1 + x->rank - (int)depth.k);
    for (int i = 0; i < u->rank; i++) {
        gr_dim same, other = i < ix->rank - 1 ? ix->dims[i] : x->dims[i - (ix->rank - 1) + (int)depth.k];
        GR_TRY(gr_same_dim(c, other, u->dims[i], i, &same, err));
    }
    return GR_OK;
}

/* y = x; y[indices[k, 0], indices[k, 1], ..., :] (r)= updates[k, :] */
static gr_status run_nd(const gr_step *s, gr_err *err)
{
    const scatter_params *p = s->params;
    const gr_tensor *ix = s->in[1], *u = s->in[2];
    gr_tensor *y = s->out[0];
    int64_t depth = ix->dims[ix->rank - 1], strides[GR_MAX_RANK];
    gr_dense_strides(y->rank, y->dims, strides);
    int64_t tuples = gr_product(ix->dims, 0, ix->rank - 1), row = gr_product(y->dims, (int)depth, y->rank);
    copy_data(s);
    if (!u->elements) return GR_OK;
    for (int64_t k = 0; k < tuples; k++) {
        int64_t at = 0;
        for (int i = 0; i < depth; i++) {
            int64_t given = gr_int_at(ix, k * depth + i), j = gr_wrap_index(given, y->dims[i]);
            if (j < 0) return gr_bad_index(given, y->dims[i], err);
            at += j * strides[i];
        }
        put(p->how, y->dtype, y, at, u, k * row, row);
    }
    return GR_OK;
}

/* ---- TensorScatter: write `update` into a cache at a position of its own for each batch entry ---- */

static gr_status tensor_axis(const scatter_params *p, int rank, int *axis, gr_err *err)
{
    GR_TRY(gr_axis(p->axis, rank, axis, err));
    return *axis ? GR_OK : gr_fail(err, GR_EMODEL, "axis 0 is the batch, another one is expected");
}

static gr_status infer_tensor(const gr_infer *c, gr_err *err)
{
    GR_TRY(check_types(c, 1, REPLACE, err));
    GR_TRY(gr_require(c, 2, GR_T(INT64), err));
    GR_TRY(gr_set_like(c, 0, 0));
    if (!gr_rank_known(c, 0)) return GR_OK;
    const gr_type *x = c->in[0];
    int axis;
    gr_dim same;
    GR_TRY(tensor_axis(c->params, x->rank, &axis, err));
    if (gr_rank_known(c, 2)) {
        if (c->in[2]->rank != 1)
            return gr_fail(err, GR_EMODEL, "write_indices must have rank 1, not %d", c->in[2]->rank);
        GR_TRY(gr_same_dim(c, x->dims[0], c->in[2]->dims[0], 0, &same, err));
    }
    if (!gr_rank_known(c, 1)) return GR_OK;
    const gr_type *u = c->in[1];
    if (u->rank != x->rank)
        return gr_fail(err, GR_EMODEL, "a cache of rank %d, an update of rank %d", x->rank, u->rank);
    for (int i = 0; i < x->rank; i++)
        if (i != axis) GR_TRY(gr_same_dim(c, x->dims[i], u->dims[i], i, &same, err));
    if (gr_dim_known(x->dims[axis]) && gr_dim_known(u->dims[axis]) && u->dims[axis].k > x->dims[axis].k)
        return gr_fail(err, GR_EMODEL, "an update of %lld entries for a cache of %lld", (long long)u->dims[axis].k,
                       (long long)x->dims[axis].k);
    return GR_OK;
}

/* y = x; y[b, ..., (write[b] + t) (mod size), :] = update[b, ..., t, :] */
static gr_status run_tensor(const gr_step *s, gr_err *err)
{
    const scatter_params *p = s->params;
    const gr_tensor *u = s->in[1], *write = s->nin > 2 ? s->in[2] : NULL;
    gr_tensor *y = s->out[0];
    int axis;
    GR_TRY(tensor_axis(p, y->rank, &axis, err));
    int64_t outer = gr_product(y->dims, 0, axis), row = gr_product(y->dims, axis + 1, y->rank);
    int64_t size = y->dims[axis], n = u->dims[axis], per_batch = y->dims[0] ? outer / y->dims[0] : 1;
    copy_data(s);
    if (!u->elements) return GR_OK;
    for (int64_t o = 0; o < outer; o++) {
        int64_t first = write ? gr_int_at(write, o / per_batch) : 0;
        if (first < 0 || (!p->circular && first > size - n))
            return gr_fail(err, GR_EINPUT, "%lld entries from position %lld do not fit a cache of %lld", (long long)n,
                           (long long)first, (long long)size);
        for (int64_t t = 0; t < n; t++)
            put(REPLACE, y->dtype, y, (o * size + (first % size + t) % size) * row, u, (o * n + t) * row, row);
    }
    return GR_OK;
}

static const gr_kernel k_elements[] = {{"ref", NULL, run_elements, NULL}, {0}};
static const gr_kernel k_nd[] = {{"ref", NULL, run_nd, NULL}, {0}};
static const gr_kernel k_tensor[] = {{"ref", NULL, run_tensor, NULL}, {0}};

#define ELEMENTS(name, since, parse) GR_OP_ROW(name, since, 3, 3, 1, 0, parse, infer_elements, k_elements)
#define ND(since, parse)             GR_OP_ROW("ScatterND", since, 3, 3, 1, 0, parse, infer_nd, k_nd)
/* clang-format off */
const gr_op op_scatter[] = {
    ELEMENTS("Scatter", 9, parse_9), ELEMENTS("Scatter", 11, parse_9),
    ELEMENTS("ScatterElements", 11, parse_9), ELEMENTS("ScatterElements", 13, parse_9),
    ELEMENTS("ScatterElements", 16, parse_16), ELEMENTS("ScatterElements", 18, parse_18),
    ND(11, parse_9), ND(13, parse_9), ND(16, parse_16), ND(18, parse_18),
    GR_OP_ROW("TensorScatter", 24, 2, 3, 1, 0, parse_tensor, infer_tensor, k_tensor), {0},
};
