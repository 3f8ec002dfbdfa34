/* SPDX-License-Identifier: Apache-2.0
 *
 * Expand (to a shape, both ways as in broadcasting) and Tile (repeat along axes). What to do follows from the shapes of
 * input and output, so the kernels do not need the other inputs.
 */
#include "loops.h"
#include "move.h"

static gr_status infer_expand(const gr_infer *c, gr_err *err)
{
    gr_dtype t = gr_in_dtype(c, 0);
    int64_t n;
    const gr_dim *v = NULL;
    GR_TRY(gr_require_movable(c, 0, err));
    GR_TRY(gr_require_list(c, 1, GR_T(INT64), &n, err));
    gr_known_ints(c, 1, &n, &v);
    GR_TRY(gr_check_rank(n, err));
    if (!gr_rank_known(c, 0) || n < 0) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    const gr_type *x = c->in[0];
    int rank = x->rank > n ? x->rank : (int)n;
    gr_dim *d = gr_dims(c, rank);
    for (int i = 0; i < rank; i++) {
        int at = i - (rank - x->rank), to = i - (rank - (int)n);
        gr_dim a = at < 0 ? GR_DIM(1) : x->dims[at], b = to < 0 ? GR_DIM(1) : v ? v[to] : gr_sym_fresh(c->syms);
        if (gr_dim_known(b) && b.k < 0)
            return gr_fail(err, GR_EINPUT, "dimension %d of the shape is %lld", to, (long long)b.k);
        if (!gr_sym_broadcast(c->syms, a, b, &d[i]))
            return gr_fail(err, GR_EINPUT, "dimensions %s and %s of axis %d do not broadcast", gr_sym_text(c->syms, a),
                           gr_sym_text(c->syms, b), i);
    }
    return gr_set(c, 0, t, rank, d);
}

/* The output's shape may be known from x alone; the shape that has come must agree. */
static gr_status check_shape(const gr_step *s, gr_err *err)
{
    const gr_tensor *shape = s->in[1], *y = s->out[0];
    for (int64_t i = 0; i < shape->elements; i++) {
        int64_t n, dim = y->dims[y->rank - shape->elements + i];
        memcpy(&n, (const char *)shape->data + i * 8, sizeof n);
        if (n != 1 && n != dim)
            return gr_fail(err, GR_EINPUT, "dimension %lld of the shape is %lld, expected 1 or %lld", (long long)i,
                           (long long)n, (long long)dim);
    }
    return GR_OK;
}

static gr_status run_expand(const gr_step *s, gr_err *err)
{
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0];
    int64_t from[GR_MAX_RANK], to[GR_MAX_RANK];
    gr_move m = {.rank = 0};
    GR_TRY(check_shape(s, err));
    gr_broadcast_strides(x, y->rank, y->dims, from);
    gr_dense_strides(y->rank, y->dims, to);
    for (int i = 0; i < y->rank; i++) gr_move_loop(&m, y->dims[i], from[i], to[i]);
    gr_clear_tail(y);
    gr_move_run(&m, gr_dtype_bits(x->dtype), x->data, 0, y->data, 0);
    return GR_OK;
}

/* ---- Tile: 6, 13 repeats for all axes; 1 a number of tiles and an axis, which are tensors of the input's type ---- */

static gr_status repeated(const gr_infer *c, gr_dim *d, gr_dim times, gr_err *err)
{
    if (gr_dim_known(times) && times.k < 0) return gr_fail(err, GR_EINPUT, "%lld repeats", (long long)times.k);
    bool numbers = gr_dim_known(*d) && gr_dim_known(times);
    *d = gr_sym_mul(c->syms, *d, times);
    return numbers && !gr_dim_known(*d) ? gr_fail(err, GR_ELIMIT, "a dimension that is too large") : GR_OK;
}

static gr_status infer_tile(const gr_infer *c, gr_err *err)
{
    gr_dtype t = gr_in_dtype(c, 0);
    int64_t n;
    const gr_dim *v = NULL;
    GR_TRY(gr_require_movable(c, 0, err));
    GR_TRY(gr_require_list(c, 1, GR_T(INT64), &n, err));
    gr_known_ints(c, 1, &n, &v);
    GR_TRY(gr_check_rank(n, err));
    if (!gr_rank_known(c, 0)) return n < 0 ? gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL) : gr_set_rank(c, 0, t, (int)n);
    const gr_type *x = c->in[0];
    if (n >= 0 && n != x->rank)
        return gr_fail(err, GR_EMODEL, "%lld repeats for an input of rank %d", (long long)n, x->rank);
    if (!v) return gr_set_rank(c, 0, t, x->rank);
    gr_dim *d = gr_dims(c, x->rank);
    for (int i = 0; i < x->rank; i++) {
        d[i] = x->dims[i];
        GR_TRY(repeated(c, &d[i], v[i], err));
    }
    return gr_set(c, 0, t, x->rank, d);
}

/* A whole number that is constant; false if it is not known. */
static bool whole(const gr_infer *c, uint32_t i, int64_t *out)
{
    const gr_tensor *t = gr_has(c, i) ? c->konst[i] : NULL;
    double x = -1;
    if (!t || t->elements != 1) return false;
    gr_load_f64(t->dtype, 1, t->data, 0, 1, &x);
    *out = x >= 0 && x < 1e15 ? (int64_t)x : -1;
    return true;
}

static gr_status infer_tile_1(const gr_infer *c, gr_err *err)
{
    gr_dtype t = gr_in_dtype(c, 0);
    int64_t tiles, at;
    int axis;
    GR_TRY(gr_require_bytes(c, 0, err));
    for (uint32_t i = 1; i < 3; i++) {
        GR_TRY(gr_require(c, i, GR_T_NUMBERS, err));
        GR_TRY(gr_require_scalar(c, i, err));
    }
    if (!gr_rank_known(c, 0)) return gr_set(c, 0, t, GR_RANK_UNKNOWN, NULL);
    const gr_type *x = c->in[0];
    if (!whole(c, 1, &tiles) || !whole(c, 2, &at)) return gr_set_rank(c, 0, t, x->rank);
    GR_TRY(gr_axis(at < 0 ? INT64_MAX : at, x->rank, &axis, err));
    gr_dim *d = gr_dims(c, x->rank);
    for (int i = 0; i < x->rank; i++) d[i] = x->dims[i];
    GR_TRY(repeated(c, &d[axis], GR_DIM(tiles), err));
    return gr_set(c, 0, t, x->rank, d);
}

static gr_status run_tile(const gr_step *s, gr_err *err)
{
    const gr_tensor *x = s->in[0];
    gr_tensor *y = s->out[0];
    int64_t from[GR_MAX_RANK], to[GR_MAX_RANK];
    gr_move m = {.rank = 0};
    (void)err;
    if (!y->elements) return GR_OK;
    gr_dense_strides(x->rank, x->dims, from);
    gr_dense_strides(y->rank, y->dims, to);
    for (int i = 0; i < x->rank; i++) {
        gr_move_loop(&m, y->dims[i] / x->dims[i], 0, x->dims[i] * to[i]);
        gr_move_loop(&m, x->dims[i], from[i], to[i]);
    }
    gr_clear_tail(y);
    gr_move_run(&m, gr_dtype_bits(x->dtype), x->data, 0, y->data, 0);
    return GR_OK;
}

static const gr_kernel k_expand[] = {{"ref", gr_prepare_shaped, run_expand, NULL}, {0}};
static const gr_kernel k_tile[] = {{"ref", gr_prepare_shaped, run_tile, NULL}, {0}};

enum { FLAGS = GR_OP_MOVE | GR_OP_UNALIGNED | GR_OP_DYNAMIC };
/* clang-format off */
const gr_op op_expand[] = {
    GR_OP_ROW("Expand", 8, 2, 2, 1, FLAGS, NULL, infer_expand, k_expand),
    GR_OP_ROW("Expand", 13, 2, 2, 1, FLAGS, NULL, infer_expand, k_expand),
    GR_OP_ROW("Tile", 1, 3, 3, 1, GR_OP_DYNAMIC, NULL, infer_tile_1, k_tile),
    GR_OP_ROW("Tile", 6, 2, 2, 1, FLAGS, NULL, infer_tile, k_tile),
    GR_OP_ROW("Tile", 13, 2, 2, 1, FLAGS, NULL, infer_tile, k_tile), {0},
};
